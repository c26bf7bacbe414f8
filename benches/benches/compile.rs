//! From a master file to a table, and from an image to a table.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use starling_benches::{compiled, hosts_zone};
use std::hint::black_box;
use table::Table;
use table::map::Backing;

fn compile(criterion: &mut Criterion) {
    for size in [1_000, 1_000_000] {
        let text = hosts_zone(size);
        let table = compiled("example.com", &text);
        let mut group = criterion.benchmark_group(format!("{size} hosts"));
        group.throughput(Throughput::Elements(u64::from(table.record_count()))).sample_size(10);
        group.bench_function("compile", |bencher| bencher.iter(|| compiled("example.com", black_box(&text))));
        group.bench_function("verify", |bencher| {
            bencher.iter(|| {
                let image = table.image();
                let backing = Backing::filled(image.len(), |octets| octets.copy_from_slice(image));
                Table::from_backing(backing.expect("memory")).is_ok()
            });
        });
        group.finish();
    }
}

criterion_group!(benches, compile);
criterion_main!(benches);
