//! What a change of ten records costs, on tables of different sizes and with more or less changed before.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use starling_benches::{compiled, hosts_zone, signed_delegations_zone};
use std::hint::black_box;
use std::sync::Arc;
use table::Table;
use wire::{NameBuf, RecordType};
use zone::amend::amend;
use zone::{CompileOptions, Difference, RecordList};

fn name(text: &str) -> NameBuf {
    NameBuf::from_text(format!("{text}example.com.").as_bytes(), None).expect("a name of this file")
}

/// Ten new hosts, and the next serial.
fn ten_hosts(table: &Table) -> Difference {
    let from = table.serial();
    let mut lists = [RecordList::default(), RecordList::default()];
    for (list, serial) in lists.iter_mut().zip([from, from + 1]) {
        let numbers = [serial, 7200, 3600, 1_209_600, 300];
        let mut soa = [name("ns1.").as_name().as_wire(), name("host.").as_name().as_wire()].concat();
        soa.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
        list.push(name("").as_name(), RecordType::SOA, 3600, &soa);
    }
    let [removed, mut added] = lists;
    for i in 0..10 {
        added.push(name(&format!("new{from}x{i}.")).as_name(), RecordType::A, 3600, &[192, 0, 2, i]);
    }
    Difference { from, to: from + 1, removed, added }
}

fn changed(table: Arc<Table>, times: usize) -> Arc<Table> {
    (0..times).fold(table, |table, _| {
        let next = amend(&table, &[ten_hosts(&table)], &CompileOptions::default());
        Arc::new(next.expect("ten new names fit any zone"))
    })
}

fn benches(criterion: &mut Criterion) {
    for (kind, text) in [
        ("1000 hosts", hosts_zone(1_000)),
        ("1000000 hosts", hosts_zone(1_000_000)),
        ("100000 signed delegations", signed_delegations_zone("example.com", 100_000)),
    ] {
        let mut group = criterion.benchmark_group(kind);
        group.sample_size(20);
        let base = Arc::new(compiled("example.com", &text));
        group.bench_function("first change", |bencher| {
            let fresh = || Arc::new(compiled_again(&base));
            bencher.iter_batched(fresh, |table| black_box(changed(table, 1)), BatchSize::PerIteration);
        });
        for times in [0, 10, 100, 700] {
            let table = changed(Arc::clone(&base), times + 1);
            group.bench_function(format!("after {times} changes"), |bencher| {
                bencher.iter(|| amend(&table, &[ten_hosts(&table)], &CompileOptions::default()).is_ok());
            });
        }
        group.finish();
    }
}

/// A copy of the table that nothing is known of yet.
fn compiled_again(table: &Table) -> Table {
    let image = table.image();
    let backing = table::map::Backing::filled(image.len(), |octets| octets.copy_from_slice(image));
    Table::from_backing(backing.expect("memory")).expect("a good image")
}

criterion_group!(all, benches);
criterion_main!(all);
