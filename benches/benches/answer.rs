//! What one query costs, parse to response, by kind of answer and size of zone.
//!
//! The names asked for go around in an order that no cache foresees, so on the large zone each hit is a miss of the
//! caches, as it is on a server.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use nameserver::{Responder, Transport, UDP_RESPONSE_MAX};
use starling_benches::{
    Edns, compiled, delegations_zone, hosts_zone, query, responder, signed_delegations_zone,
};
use std::hint::black_box;
use std::sync::Arc;
use table::{Found, Table};
use wire::{FoldedName, Name, NameBuf, Query, RecordType};

/// Queries that are gone through; more than caches hold the answers of.
const QUERIES: usize = 1 << 16;

fn run(criterion: &mut Criterion, group: &str, size: usize, mut responder: Responder, queries: &[Vec<u8>]) {
    let mut response = vec![0; UDP_RESPONSE_MAX];
    let mut at = 0;
    criterion.benchmark_group(group).bench_function(BenchmarkId::from_parameter(size), |bencher| {
        bencher.iter(|| {
            // A step that has no factor in common with the length visits every query.
            at = (at + 40_503) % queries.len();
            responder.respond(black_box(&queries[at]), Transport::Udp, black_box(&mut response))
        });
    });
}

fn parse(criterion: &mut Criterion) {
    let query = query("www.example.com", RecordType::A, Edns::Dnssec);
    let (mut read, mut name) = (Query::default(), FoldedName::default());
    criterion.bench_function("parse", |bencher| {
        bencher.iter(|| read.read(black_box(&query), &mut name).is_ok());
    });
}

fn lookup(criterion: &mut Criterion, group: &str, size: usize, table: &Table, names: &[FoldedName]) {
    let mut at = 0;
    criterion.benchmark_group(group).bench_function(BenchmarkId::from_parameter(size), |bencher| {
        bencher.iter(|| {
            at = (at + 40_503) % names.len();
            matches!(table.find(black_box(&names[at])), Found::Exact(_))
        });
    });
}

fn folded(text: &str) -> FoldedName {
    let name = NameBuf::from_text(text.as_bytes(), Some(Name::ROOT)).expect("a name of this file");
    let mut folded = FoldedName::default();
    folded.set(name.as_name());
    folded
}

fn hosts(criterion: &mut Criterion) {
    for size in [1_000, 1_000_000] {
        let table = Arc::new(compiled("example.com", &hosts_zone(size)));
        let names = |i: usize| i.wrapping_mul(2_654_435_761) % size;
        for (group, prefix) in [("lookup hit", "host"), ("lookup miss", "no")] {
            let names: Vec<_> =
                (0..QUERIES).map(|i| folded(&format!("{prefix}{}.example.com", names(i)))).collect();
            lookup(criterion, group, size, &table, &names);
        }
        let hits: Vec<_> = (0..QUERIES)
            .map(|i| query(&format!("host{}.example.com", names(i)), RecordType::A, Edns::Plain))
            .collect();
        run(criterion, "hit", size, responder(Arc::clone(&table)), &hits);
        let aliases: Vec<_> = (0..QUERIES)
            .map(|i| query(&format!("alias{}.example.com", names(i) / 20 * 20), RecordType::A, Edns::Plain))
            .collect();
        run(criterion, "alias", size, responder(Arc::clone(&table)), &aliases);
        let misses: Vec<_> = (0..QUERIES)
            .map(|i| query(&format!("no{}.example.com", names(i)), RecordType::A, Edns::Plain))
            .collect();
        run(criterion, "nxdomain", size, responder(table), &misses);
    }
}

fn delegations(criterion: &mut Criterion) {
    for size in [1_000, 1_000_000] {
        let referrals = |edns| -> Vec<_> {
            (0..QUERIES)
                .map(|i| {
                    query(
                        &format!("www.host.tld{}.example", i.wrapping_mul(7919) % size),
                        RecordType::A,
                        edns,
                    )
                })
                .collect()
        };
        let plain = Arc::new(compiled("example", &delegations_zone(size)));
        run(criterion, "referral", size, responder(plain), &referrals(Edns::Plain));
        let signed = Arc::new(compiled("example", &signed_delegations_zone("example", size)));
        run(criterion, "referral signed", size, responder(Arc::clone(&signed)), &referrals(Edns::Dnssec));
        let misses: Vec<_> = (0..QUERIES)
            .map(|i| {
                query(&format!("n{}.example", i.wrapping_mul(2_654_435_761)), RecordType::A, Edns::Dnssec)
            })
            .collect();
        run(criterion, "nxdomain signed", size, responder(signed), &misses);
    }
}

criterion_group!(benches, parse, hosts, delegations);
criterion_main!(benches);
