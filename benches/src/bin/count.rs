//! Runs one kind of query many times, so that callgrind can count the instructions of one.
//!
//! `count image KIND NAMES FILE` stores the table that the kind is asked of, and `count query KIND NAMES TIMES FILE` asks:
//! the difference of two runs divided by the difference of their times is one query, parse to response. `scripts/bench
//! count` does that. `count zone TIMES ZONE-FILE APEX NAME TYPE [dnssec]` asks any question of any zone.

use nameserver::{RateLimit, RateLimits, Responder, Settings, Subnets};
use starling_benches::{
    BATCH_LEN, Edns, SameQuery, compiled, delegations_zone, hosts_zone, query, responder_with,
    signed_delegations_zone,
};
use std::fs::File;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;
use table::map::Backing;
use table::{PlacesBuilder, Table};
use wire::RecordType;
use zone::amend::{Choice, Decider, Steered, steer};

const USAGE: &str = "usage: count image KIND NAMES FILE
       count query KIND NAMES TIMES FILE
       count zone TIMES ZONE-FILE APEX NAME TYPE [dnssec]
KIND is one of hit, hit-edns, hit-limited, hit-subnet-ignored, hit-of-four, miss, nxdomain-signed, referral, referral-signed, and of a table with a name that answers
with a pool: beside-steered, steered, weighted, by-client, nearest, nearest-subnet; the last four also with clients from all networks of the map:
by-client-ipv4, by-client-ipv6, nearest-ipv4, nearest-ipv6";
/// Networks of the map of places, about as many as countries have, of IPv4 and of IPv6.
const NETWORKS: u32 = 200_000;
const IPV6_NETWORKS: u64 = 50_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["image", kind, names, file] => store(&zone_of(kind, number(names)), Path::new(file)),
        ["query", kind, names, times, file] => {
            let (qname, edns) = question_of(kind, number(names));
            let table = steered_for(kind, Arc::new(stored(Path::new(file))));
            let subnets = if kind == "nearest-subnet" { Subnets::Heeded } else { Subnets::Ignored };
            let mut responder = responder_with(table, Settings { subnets, ..Settings::default() });
            if kind == "hit-limited" {
                responder = responder.limited(limits());
            }
            ask(responder, &query(&qname, RecordType::A, edns), number(times), &clients_of(kind));
        }
        ["zone", times, file, apex, qname, qtype, ref more @ ..] => {
            let text = std::fs::read_to_string(file).expect("the zone file can be read");
            let rtype = RecordType::from_text(qtype.as_bytes()).expect("TYPE is a record type");
            let edns = if more == ["dnssec"] { Edns::Dnssec } else { Edns::Plain };
            let query = query(qname, rtype, edns);
            let responder = responder_with(Arc::new(compiled(apex, &text)), Settings::default());
            ask(responder, &query, number(times), &[]);
        }
        _ => {
            eprintln!("{USAGE}");
            std::process::exit(2);
        }
    }
}

fn number(text: &str) -> usize {
    text.parse().unwrap_or_else(|_| {
        eprintln!("{text} is no number\n{USAGE}");
        std::process::exit(2)
    })
}

fn zone_of(kind: &str, names: usize) -> Table {
    match kind {
        "hit" | "hit-edns" | "hit-limited" | "hit-subnet-ignored" | "miss" | "beside-steered" | "steered"
        | "weighted" | "by-client" | "by-client-ipv4" | "by-client-ipv6" | "nearest" | "nearest-ipv4"
        | "nearest-ipv6" | "nearest-subnet" => compiled("example.com", &hosts_zone(names)),
        "hit-of-four" => {
            let addresses = (1..=4).map(|i| format!("pool IN A 192.0.2.{i}\n")).collect::<String>();
            compiled("example.com", &(hosts_zone(names) + &addresses))
        }
        "nxdomain-signed" | "referral-signed" => {
            compiled("example", &signed_delegations_zone("example", names))
        }
        "referral" => compiled(".", &delegations_zone(names)),
        _ => panic!("no such kind: {kind}"),
    }
}

fn question_of(kind: &str, names: usize) -> (String, Edns) {
    let middle = names / 2;
    match kind {
        "hit" => (format!("host{middle}.example.com"), Edns::None),
        "nearest-subnet" => ("pool.example.com".to_owned(), Edns::Subnet),
        "hit-subnet-ignored" => (format!("host{middle}.example.com"), Edns::Subnet),
        "steered" | "weighted" | "by-client" | "by-client-ipv4" | "by-client-ipv6" | "nearest"
        | "nearest-ipv4" | "nearest-ipv6" => ("pool.example.com".to_owned(), Edns::Plain),
        "hit-edns" | "hit-limited" | "beside-steered" => (format!("host{middle}.example.com"), Edns::Plain),
        "hit-of-four" => ("pool.example.com".to_owned(), Edns::Plain),
        "miss" => ("nothing.example.com".to_owned(), Edns::Plain),
        "nxdomain-signed" => ("nothing.example".to_owned(), Edns::Dnssec),
        "referral-signed" => (format!("www.host.tld{middle}.example"), Edns::Dnssec),
        "referral" => (format!("www.example.tld{middle}"), Edns::Plain),
        _ => panic!("no such kind: {kind}"),
    }
}

/// The table that is asked: for some kinds one with names that answer with pools.
fn steered_for(kind: &str, table: Arc<Table>) -> Arc<Table> {
    let endpoints: u8 = match kind {
        "beside-steered" | "steered" => 1,
        "weighted" | "by-client" | "by-client-ipv4" | "by-client-ipv6" | "nearest" | "nearest-ipv4"
        | "nearest-ipv6" | "nearest-subnet" => 4,
        _ => return table,
    };
    let by = match kind {
        "by-client" | "by-client-ipv4" | "by-client-ipv6" => {
            let slot = |slot: usize| (slot % usize::from(endpoints)) as u16;
            Decider::Clients(Box::new(std::array::from_fn(slot)))
        }
        "nearest" | "nearest-ipv4" | "nearest-ipv6" | "nearest-subnet" => {
            let mut map = PlacesBuilder::default();
            for index in 0..NETWORKS {
                let (network, len) = ipv4_network(index);
                map.add(network.into(), len, (index % 250) as u16).expect("a network");
            }
            for index in 0..IPV6_NETWORKS {
                let (network, len) = ipv6_network(index);
                map.add(network.into(), len, (index % 250) as u16).expect("a network");
            }
            let map = map.finish();
            eprintln!("{map:?}, {} KiB", map.memory_bytes() >> 10);
            let parts = (0..250).map(|place| place % u16::from(endpoints)).collect();
            Decider::Places(Arc::new(map), parts)
        }
        _ => Decider::Turns(vec![1, 2, 3, 4]),
    };
    let parts = (0..endpoints).map(|endpoint| vec![u16::from(endpoint)]).collect();
    let choice = (endpoints > 1).then(|| Arc::new(Choice { parts, by }));
    let rdata = (0..endpoints).map(|endpoint| vec![192, 0, 2, endpoint]).collect();
    let owner = starling_benches::name("pool.example.com");
    let steered = Steered { owner, rtype: RecordType::A, ttl: 30, rdata, choice };
    Arc::new(steer(&table, &[steered], None).expect("the name can be steered"))
}

/// A network of the map: they are spread evenly, and of all sizes from /14 to /24.
fn ipv4_network(index: u32) -> (Ipv4Addr, u8) {
    let (bits, len) = (index.wrapping_mul(0x9e37_79b9), 14 + (index % 11) as u8);
    (Ipv4Addr::from_bits(bits & (u32::MAX << (32 - len))), len)
}

/// The same of 2000::/3, from /20 to /48.
fn ipv6_network(index: u64) -> (Ipv6Addr, u8) {
    let (bits, len) = (index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 3 | 1 << 61, 20 + (index % 29) as u8);
    (Ipv6Addr::from_bits(u128::from(bits & (u64::MAX << (64 - len))) << 64), len)
}

/// Those who ask: clients in networks of the map, and as many at any address; nobody in particular for most kinds.
fn clients_of(kind: &str) -> Vec<IpAddr> {
    const CLIENTS: u64 = 1 << 12;
    let any = |index: u64| index.wrapping_mul(0xd6e8_feb8_6659_fd93);
    let client = |index: u64| -> IpAddr {
        let is_in_network = index.is_multiple_of(2);
        if kind.ends_with("ipv4") {
            let (network, len) = ipv4_network(any(index) as u32 % NETWORKS);
            let fixed = if is_in_network { u32::MAX << (32 - len) } else { 0 };
            Ipv4Addr::from_bits(network.to_bits() & fixed | (any(index) >> 32) as u32 & !fixed).into()
        } else {
            let (network, len) = ipv6_network(any(index) % IPV6_NETWORKS);
            let fixed = if is_in_network { u128::MAX << (128 - len) } else { 7 << 125 };
            Ipv6Addr::from_bits(network.to_bits() & fixed | u128::from(any(index)) << 64 & !fixed).into()
        }
    };
    let are_many = kind.ends_with("-ipv4") || kind.ends_with("-ipv6");
    (0..if are_many { CLIENTS } else { 0 }).map(client).collect()
}

fn store(table: &Table, file: &Path) {
    std::fs::write(file, table.image()).expect("the file can be written");
}

fn stored(file: &Path) -> Table {
    let file = File::open(file).expect("the file can be read");
    Table::from_backing(Backing::mapped(&file).expect("it can be mapped")).expect("an image of this version")
}

/// A limit that nobody reaches: no moment passes here.
fn limits() -> Arc<RateLimits> {
    let limits = RateLimits::default();
    let responses_per_s = nameserver::RESPONSES_PER_S_MAX;
    let burst = responses_per_s * nameserver::BURST_MAX_S;
    limits.set(Some(RateLimit {
        responses_per_s,
        burst,
        slip: 1,
        prefix_lens: [24, 56],
        exempt: Vec::new(),
    }));
    Arc::new(limits)
}

/// Asks so many times, in batches as a worker does.
fn ask(mut responder: Responder, query: &[u8], times: usize, clients: &[IpAddr]) {
    let mut batch = SameQuery::new(query);
    let mut clients = clients.chunks(BATCH_LEN).cycle();
    for asked in (0..times).step_by(BATCH_LEN) {
        if let Some(clients) = clients.next() {
            batch.set_clients(clients);
        }
        batch.set_len(times - asked);
        responder.respond_batch(nameserver::Family::V4, black_box(&mut batch));
    }
    let response = batch.response();
    println!("{} octets, rcode {}", response.len(), response[3] & 15);
}
