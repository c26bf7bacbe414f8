//! Names of which every answer has a part of a set: how often each part comes, and to whom.

use crate::serving::{Dnssec, query, serve_table};
use crate::signing::{Record, compile};
use crate::zones::Question;
use nameserver::{Batch, Family, Responder, Transport};
use starling_tests::message::Message;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use table::publish::{Directory, Publisher, SlotIndex};
use table::{SLOTS, Table};
use wire::{Name, NameBuf, RecordType};
use zone::amend::{Choice, Decider, Steered, steer};

const ANSWERS: usize = 1_000_000;
const TTL: u32 = 30;

fn name(text: &str) -> NameBuf {
    NameBuf::from_text(text.as_bytes(), Some(Name::ROOT)).expect("a name of this file")
}

fn record(owner: &str, rtype: RecordType, rdata: Vec<u8>) -> Record {
    Record { owner: name(owner), ttl: TTL, rtype, rdata }
}

fn zone() -> Arc<Table> {
    let soa =
        [name("ns.example.").as_name().as_wire(), name("h.example.").as_name().as_wire(), &[0; 20]].concat();
    let records = [
        record("example.", RecordType::SOA, soa),
        record("example.", RecordType::NS, name("ns.example.").as_name().as_wire().to_vec()),
        record("ns.example.", RecordType::A, vec![192, 0, 2, 1]),
        record("alias.example.", RecordType::CNAME, name("pool.example.").as_name().as_wire().to_vec()),
    ];
    Arc::new(compile(name("example.").as_name(), &records))
}

/// A set of as many addresses as there are endpoints, in these parts.
fn steered(owner: &str, rtype: RecordType, endpoints: u8, parts: &[&[u16]], by: Decider) -> Steered {
    let len = if rtype == RecordType::A { 4 } else { 16 };
    let choice = Choice { parts: parts.iter().map(|part| part.to_vec()).collect(), by };
    let rdata = (0..endpoints).map(|endpoint| vec![endpoint; len]).collect();
    Steered { owner: name(owner), rtype, ttl: TTL, rdata, choice: Some(Arc::new(choice)) }
}

fn question(name_text: &str, rtype: RecordType) -> Vec<u8> {
    query(&Question { name: name(name_text), rtype }, Dnssec::Unwanted)
}

/// The endpoints of an answer, in its order.
fn endpoints(responder: &mut Responder, query: &[u8]) -> Vec<u8> {
    let mut response = [0; 512];
    let len = responder.respond(query, Transport::Udp, &mut response);
    of_answer(&response[..len])
}

fn of_answer(response: &[u8]) -> Vec<u8> {
    let message = Message::decode(response).expect("a well-made response");
    let addresses = message.answer.iter().filter(|record| matches!(record.rtype, 1 | 28));
    addresses.map(|record| record.rdata[0]).collect()
}

/// Every 100th part of the shares is as much as they may be off.
fn check_shares(counts: &[usize], wanted: &[f64], what: &str) {
    let total: usize = counts.iter().sum();
    for (count, wanted) in counts.iter().zip(wanted) {
        let share = *count as f64 / total as f64;
        assert!((share - wanted).abs() <= wanted / 100.0, "{what}: {counts:?} of {total}, and not {wanted}");
    }
}

#[test]
fn a_million_answers_are_in_proportion_to_weights() {
    let weights = [1, 5, 14, 30, 50, 0];
    let parts: Vec<[u16; 1]> = (0..6).map(|endpoint| [endpoint]).collect();
    let parts: Vec<&[u16]> = parts.iter().map(|part| &part[..]).collect();
    let of_type = |rtype| steered("pool.example.", rtype, 6, &parts, Decider::Turns(weights.to_vec()));
    let version = zone();
    let table = steer(&version, &[of_type(RecordType::A), of_type(RecordType::AAAA)], None)
        .expect("it can be steered");
    let table = Arc::new(table);
    let wanted = weights.map(|weight| f64::from(weight) / 100.0);
    let [ipv4, ipv6, alias, other] = [
        question("pool.example.", RecordType::A),
        question("pool.example.", RecordType::AAAA),
        question("alias.example.", RecordType::A),
        question("ns.example.", RecordType::A),
    ];
    // Whatever comes in between, and through the alias, which takes the general way.
    for (workers, mix) in [
        (1, &[&ipv4][..]),
        (1, &[&ipv4, &ipv6]),
        (4, &[&ipv4, &ipv6, &other]),
        (2, &[&alias, &other, &ipv6, &other, &other]),
    ] {
        let mut counts = [[0; 6]; 2];
        for _ in 0..workers {
            let mut responder = serve_table(Arc::clone(&table));
            for index in 0..ANSWERS / workers {
                let query = mix[index % mix.len()];
                if std::ptr::eq(query, &raw const other) {
                    assert!(responder.respond(query, Transport::Udp, &mut [0; 512]) > 0);
                    continue;
                }
                let found = endpoint(&mut responder, query);
                counts[usize::from(std::ptr::eq(query, &raw const ipv6))][usize::from(found)] += 1;
            }
        }
        for counts in counts.iter().filter(|counts| counts.iter().any(|count| *count > 0)) {
            check_shares(counts, &wanted, &format!("{workers} workers, {} questions", mix.len()));
        }
    }
}

/// The one endpoint of an answer without more: the last record is its address.
fn endpoint(responder: &mut Responder, query: &[u8]) -> u8 {
    let mut response = [0; 512];
    let len = responder.respond(query, Transport::Udp, &mut response);
    // Before it comes the OPT record.
    response[len - 12]
}

#[test]
fn windows_give_each_endpoint_the_same_share_and_each_the_first_place() {
    let windows: [&[u16]; 5] = [&[0, 1], &[1, 2], &[2, 3], &[3, 4], &[0, 4]];
    let pool = steered("pool.example.", RecordType::A, 5, &windows, Decider::Turns(vec![1; 5]));
    let mut responder = serve_table(Arc::new(steer(&zone(), &[pool], None).expect("it can be steered")));
    let query = question("pool.example.", RecordType::A);
    let (mut counts, mut firsts) = ([0; 5], [0; 5]);
    for _ in 0..ANSWERS / 10 {
        let found = endpoints(&mut responder, &query);
        assert_eq!(found.len(), 2);
        found.iter().for_each(|endpoint| counts[usize::from(*endpoint)] += 1);
        firsts[usize::from(found[0])] += 1;
    }
    check_shares(&counts, &[0.2; 5], "in answers");
    check_shares(&firsts, &[0.2; 5], "first in answers");
}

struct Asked<'q> {
    query: &'q [u8],
    clients: &'q [IpAddr],
    answers: Vec<Vec<u8>>,
}

impl Batch for Asked<'_> {
    type Client<'c> = Option<IpAddr>;

    fn len(&self) -> usize {
        self.clients.len()
    }

    fn query(&self, _: usize) -> &[u8] {
        self.query
    }

    fn reply(&mut self, index: usize, answer: impl FnOnce(&[u8], &Self::Client<'_>, &mut [u8]) -> usize) {
        let mut response = [0; 512];
        let len = answer(self.query, &Some(self.clients[index]), &mut response);
        self.answers.push(of_answer(&response[..len]));
    }
}

#[test]
fn a_network_of_clients_has_one_answer_and_networks_have_all() {
    let mut slots = Box::new([0; SLOTS]);
    slots.iter_mut().enumerate().for_each(|(slot, part)| *part = (slot % 4) as u16);
    let parts: [&[u16]; 4] = [&[0], &[1], &[2], &[3]];
    let pool = |owner| steered(owner, RecordType::A, 4, &parts, Decider::Clients(slots.clone()));
    let table =
        steer(&zone(), &[pool("pool.example."), pool("*.example.")], None).expect("it can be steered");
    let mut responder = serve_table(Arc::new(table));
    let clients: Vec<IpAddr> = (0..4000u32)
        .flat_map(|network| -> [IpAddr; 4] {
            let ipv4 = |host| Ipv4Addr::from_bits(10 << 24 | network << 8 | host);
            let ipv6 = |host| Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(network) << 80 | host);
            [ipv4(1).into(), ipv4(200).into(), ipv6(1).into(), ipv6(1 << 79).into()]
        })
        .collect();
    let query = question("pool.example.", RecordType::A);
    let mut batch = Asked { query: &query, clients: &clients, answers: Vec::new() };
    responder.respond_batch(Family::V4, &mut batch);
    let mut counts = [[0; 4]; 2];
    for (of_network, clients) in batch.answers.chunks(2).zip(clients.chunks(2)) {
        assert_eq!(of_network[0], of_network[1], "{clients:?}");
        counts[usize::from(clients[0].is_ipv6())][usize::from(of_network[0][0])] += 1;
    }
    for counts in counts {
        assert!(counts.iter().all(|count: &usize| count.abs_diff(1000) < 120), "{counts:?}");
    }
    // By every way, and through an alias and a wildcard.
    for (client, batched) in clients.iter().zip(&batch.answers) {
        responder.expect_client(Some(*client));
        for asked in ["pool.example.", "alias.example.", "anything.example."] {
            let query = question(asked, RecordType::A);
            assert_eq!(endpoints(&mut responder, &query), *batched, "{client} asks for {asked}");
            let mut response = [0; 512];
            let (len, explanation) = responder.explain(&query, Transport::Tcp, &mut response);
            assert_eq!(of_answer(&response[..len]), *batched, "{client} asks for {asked}");
            assert!(explanation.rules.iter().any(|rule| rule.to_string().contains("answers with a pool")));
        }
    }
}

#[test]
fn a_reader_has_one_version_of_the_parts_or_the_next() {
    let version = zone();
    let parts: [&[u16]; 3] = [&[0], &[1], &[2]];
    let even = steered("pool.example.", RecordType::A, 3, &parts, Decider::Turns(vec![1; 3]));
    let mut other = steered("pool.example.", RecordType::A, 3, &parts[..2], Decider::Turns(vec![3, 1]));
    other.rdata = vec![vec![7; 4], vec![8; 4], vec![9; 4]];
    let mut publisher = Publisher::new();
    publisher.publish_directory(Directory::new([(version.apex_name(), SlotIndex(0))]));
    let tables = [&even, &other].map(|pool| {
        let pool = std::slice::from_ref(pool);
        Arc::new(steer(&version, pool, None).expect("it can be steered"))
    });
    publisher.publish(SlotIndex(0), Some(Arc::clone(&tables[0])));
    let seat = wire::probe::Seat::UdpWorker(0);
    let mut responder = Responder::new(publisher.reader(), Arc::default(), Arc::default(), seat);
    let query = question("pool.example.", RecordType::A);
    let seen = |responder: &mut Responder| {
        let mut seen: Vec<u8> = (0..100).flat_map(|_| endpoints(responder, &query)).collect();
        seen.sort_unstable();
        seen.dedup();
        seen
    };
    for round in 0..6 {
        let (standing, next) = ([vec![0, 1, 2], vec![7, 8]][round % 2].clone(), (round + 1) % 2);
        responder.refresh();
        assert_eq!(seen(&mut responder), standing);
        publisher.publish(SlotIndex(0), Some(Arc::clone(&tables[next])));
        assert_eq!(seen(&mut responder), standing, "who has not looked goes on with what it has");
    }
}
