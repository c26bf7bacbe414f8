//! What a change of ten records costs, on tables of different sizes and with more or less changed before; and other answers of one name, in
//! zones with signatures and without.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use starling_benches::{compiled, hosts_zone, signed_delegations_zone};
use std::hint::black_box;
use std::sync::Arc;
use table::Table;
use wire::{NameBuf, RecordType};
use zone::amend::{Steered, amend, steer};
use zone::sign::{PrivateKey, Signer};
use zone::{Difference, RecordList};

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
        let next = amend(&table, &[ten_hosts(&table)]);
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
                bencher.iter(|| amend(&table, &[ten_hosts(&table)]).is_ok());
            });
        }
        group.finish();
    }
}

/// The keys of RFC 6605 §6.1 and RFC 8080 §6.1.
const KEYS: [(&str, &str, &str); 2] = [
    (
        "ECDSA P-256",
        "13\nPrivateKey: GU6SnQ/Ou+xC5RumuIUIuJZteXT2z0O/ok1s38Et6mQ=",
        "13 GojIhhXUN/u4v54ZQqGSnyhWJwaubCvTmeexv7bR6edbkrSqQpF64cYbcB7wNcP+e+MAnLr+Wi9xMWyQLc8NAA==",
    ),
    (
        "Ed25519",
        "15\nPrivateKey: ODIyNjAzODQ2MjgwODAxMjI2NDUxOTAyMDQxNDIyNjI=",
        "15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=",
    ),
];

/// Other addresses for one name.
fn steered(number: u8) -> [Steered; 1] {
    let rdata = vec![vec![192, 0, 2, number]];
    [Steered { owner: name("www."), rtype: RecordType::A, ttl: 30, rdata, choice: None }]
}

fn answers(criterion: &mut Criterion) {
    const PLAIN: &str =
        "$TTL 300\n@ SOA ns1 h 1 7200 3600 1209600 300\n@ NS ns1\nns1 A 192.0.2.1\nwww A 192.0.2.2\n";
    let mut group = criterion.benchmark_group("another answer");
    let plain = Arc::new(compiled("example.com", PLAIN));
    group.bench_function("unsigned", |bencher| bencher.iter(|| steer(&plain, &steered(9), None).is_ok()));
    for (algorithm, private, public) in KEYS {
        let chain = format!(
            "@ DNSKEY 257 3 {public}\n@ NSEC ns1 A NS SOA RRSIG NSEC DNSKEY\nns1 NSEC www A RRSIG NSEC\n"
        );
        let text = format!("{PLAIN}{chain}www NSEC @ A RRSIG NSEC\n");
        let signed = Arc::new(compiled("example.com", &text));
        let private = format!("Private-key-format: v1.3\nAlgorithm: {private}\n");
        let key = PrivateKey::from_text("a key", private.as_bytes()).expect("a key");
        let mut signer = Signer::new([key].into(), 604_800);
        // Each time a week later: nothing is fresh that was signed before.
        let mut now = 1_800_000_000;
        group.bench_function(format!("{algorithm}, signed"), |bencher| {
            bencher.iter(|| {
                now += 604_800;
                steer(&signed, &steered(9), Some((&mut signer, now))).is_ok()
            });
        });
        group.bench_function(format!("{algorithm}, signed before"), |bencher| {
            bencher.iter(|| steer(&signed, &steered(9), Some((&mut signer, now))).is_ok());
        });
    }
    group.finish();
}

/// A copy of the table that nothing is known of yet.
fn compiled_again(table: &Table) -> Table {
    let image = table.image();
    let backing = table::map::Backing::filled(image.len(), |octets| octets.copy_from_slice(image));
    Table::from_backing(backing.expect("memory")).expect("a good image")
}

criterion_group!(all, benches, answers);
criterion_main!(all);
