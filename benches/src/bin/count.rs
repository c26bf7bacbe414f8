//! Runs one kind of query many times, so that callgrind can count the instructions of one.
//!
//! `count KIND TIMES [ZONE-FILE APEX NAME TYPE]`: the difference of two runs divided by the difference of their times
//! is one query, parse to response. `scripts/bench count` does that.

use starling_benches::{
    Edns, compiled, delegations_zone, hosts_zone, query, responder, signed_delegations_zone,
};
use std::hint::black_box;
use std::sync::Arc;
use wire::RecordType;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, times, ..] = &arguments[..] else {
        eprintln!(
            "usage: count hit|hit-edns|hit-of-four|miss|nxdomain-signed|referral|referral-signed|file|file-dnssec TIMES [ZONE-FILE APEX NAME TYPE]"
        );
        std::process::exit(2);
    };
    let times: u64 = times.parse().expect("TIMES is a number");
    let (apex, text, qname, qtype, edns) = match kind.as_str() {
        "hit" => {
            ("example.com", hosts_zone(1000), "host500.example.com".to_owned(), RecordType::A, Edns::None)
        }
        "hit-edns" => {
            ("example.com", hosts_zone(1000), "host500.example.com".to_owned(), RecordType::A, Edns::Plain)
        }
        "hit-of-four" => {
            let addresses = (1..=4).map(|i| format!("pool IN A 192.0.2.{i}\n")).collect::<String>();
            let text = hosts_zone(1000) + &addresses;
            ("example.com", text, "pool.example.com".to_owned(), RecordType::A, Edns::Plain)
        }
        "miss" => {
            ("example.com", hosts_zone(1000), "nothing.example.com".to_owned(), RecordType::A, Edns::Plain)
        }
        "nxdomain-signed" => {
            let text = signed_delegations_zone("example", 1000);
            ("example", text, "nothing.example".to_owned(), RecordType::A, Edns::Dnssec)
        }
        "referral-signed" => {
            let text = signed_delegations_zone("example", 1000);
            ("example", text, "www.host.tld500.example".to_owned(), RecordType::A, Edns::Dnssec)
        }
        "referral" => {
            (".", delegations_zone(1000), "www.example.tld500".to_owned(), RecordType::A, Edns::Plain)
        }
        "file" | "file-dnssec" => {
            let [_, _, file, apex, qname, qtype] = &arguments[..] else {
                eprintln!("count {kind} needs ZONE-FILE APEX NAME TYPE");
                std::process::exit(2);
            };
            let text = std::fs::read_to_string(file).expect("the zone file can be read");
            let rtype = RecordType::from_text(qtype.as_bytes()).expect("TYPE is a record type");
            let edns = if kind == "file" { Edns::Plain } else { Edns::Dnssec };
            (apex.as_str(), text, qname.clone(), rtype, edns)
        }
        _ => panic!("no such kind: {kind}"),
    };
    let mut responder = responder(Arc::new(compiled(apex, &text)));
    let query = query(&qname, qtype, edns);
    let mut response = vec![0; nameserver::UDP_RESPONSE_MAX];
    let mut len = 0;
    for _ in 0..times {
        len = responder.respond(black_box(&query), nameserver::Transport::Udp, black_box(&mut response));
    }
    println!("{len} octets, rcode {}", response[3] & 15);
}
