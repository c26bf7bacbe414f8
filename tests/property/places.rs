//! Answers for the place or the network that a query names: for all addresses for which an answer says that it holds, it does.

use crate::serving::{Dnssec, query};
use crate::signing::{Record, compile};
use crate::zones::Question;
use nameserver::{Responder, Settings, Subnets, Transport};
use starling_tests::message::Message;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use table::publish::{Directory, Publisher, SlotIndex};
use table::{Place, PlacesBuilder, SLOTS};
use wire::{Name, NameBuf, RecordType};
use zone::amend::{Choice, Decider, Steered, steer};

/// How many places there are, and endpoints: fewer, so that some places get the same.
const PLACES: u32 = 6;
const ENDPOINTS: u16 = 3;
const MAPS: u64 = 150;

/// A network: its upper 32 bits, how many of them count, and its place.
type Network = (u32, u8, Place);

fn name(text: &str) -> NameBuf {
    NameBuf::from_text(text.as_bytes(), Some(Name::ROOT)).expect("a name of this file")
}

fn host_bits(len: u8) -> u32 {
    u32::MAX.checked_shr(len.into()).unwrap_or(0)
}

/// The endpoint that an address gets by the rule alone: that of the smallest network it is in.
fn endpoint_of(networks: &[Network], address: u32) -> u8 {
    let of_address = networks.iter().filter(|(bits, len, _)| (bits ^ address) & !host_bits(*len) == 0);
    let place = of_address.max_by_key(|(_, len, _)| *len).map_or(0, |(.., place)| *place);
    (place % ENDPOINTS) as u8
}

fn responder(networks: &[Network]) -> Responder {
    let soa =
        [name("ns.example.").as_name().as_wire(), name("h.example.").as_name().as_wire(), &[0; 20]].concat();
    let record = |owner: &str, rtype, rdata: Vec<u8>| Record { owner: name(owner), ttl: 30, rtype, rdata };
    let of_name = |name: NameBuf| name.as_name().as_wire().to_vec();
    let records = [
        record("example.", RecordType::SOA, soa),
        record("example.", RecordType::NS, of_name(name("ns.example."))),
        record("ns.example.", RecordType::A, vec![192, 0, 2, 1]),
        record("alias.example.", RecordType::CNAME, of_name(name("place.example."))),
        record("sub.example.", RecordType::NS, of_name(name("place.example."))),
    ];
    let version = Arc::new(compile(name("example.").as_name(), &records));
    let mut map = PlacesBuilder::default();
    for (bits, len, place) in networks {
        map.add(Ipv4Addr::from_bits(*bits).into(), *len, *place).expect("a network");
        map.add(Ipv6Addr::from_bits(u128::from(*bits) << 96).into(), *len, *place).expect("a network");
    }
    let of_places = (0..PLACES as u16).map(|place| place % ENDPOINTS).collect();
    let slots = Box::new(std::array::from_fn::<u16, SLOTS, _>(|slot| slot as u16 % ENDPOINTS));
    let parts: Vec<Vec<u16>> = (0..ENDPOINTS).map(|endpoint| vec![endpoint]).collect();
    let steered = |owner: &str, by| Steered {
        owner: name(owner),
        rtype: RecordType::A,
        ttl: 30,
        rdata: (0..ENDPOINTS as u8).map(|endpoint| vec![endpoint; 4]).collect(),
        choice: Some(Arc::new(Choice { parts: parts.clone(), by })),
    };
    let pools = [
        steered("place.example.", Decider::Places(Arc::new(map.finish()), of_places)),
        steered("network.example.", Decider::Clients(slots)),
        steered("turns.example.", Decider::Turns(vec![1; 3])),
    ];
    let table = Arc::new(steer(&version, &pools, None).expect("it can be steered"));
    let mut publisher = Publisher::new();
    publisher.publish_directory(Directory::new([(table.apex_name(), SlotIndex(0))]));
    publisher.publish(SlotIndex(0), Some(table));
    let settings = Settings { subnets: Subnets::Heeded, ..Settings::default() };
    let seat = wire::probe::Seat::UdpWorker(0);
    Responder::new(publisher.reader(), Arc::new(settings), Arc::default(), seat)
}

/// The option for so many bits of an address.
fn subnet(address: IpAddr, len: u8) -> Vec<u8> {
    let (family, octets) = match address {
        IpAddr::V4(address) => (1, address.octets().to_vec()),
        IpAddr::V6(address) => (2, address.octets().to_vec()),
    };
    let mut given = octets[..usize::from(len).div_ceil(8)].to_vec();
    if !len.is_multiple_of(8) {
        *given.last_mut().expect("some bits") &= !(0xff >> (len % 8));
    }
    [&[0, family, len, 0][..], &given].concat()
}

fn with_subnet(asked: &str, option: &[u8]) -> Vec<u8> {
    let mut query = query(&Question { name: name(asked), rtype: RecordType::A }, Dnssec::Unwanted);
    let end = query.len();
    query[end - 1] = 4 + option.len() as u8;
    query.extend([0, 8, 0, option.len() as u8]);
    query.extend(option);
    query
}

/// The endpoint of an answer, and its scope.
fn ask(responder: &mut Responder, asked: &str, option: &[u8]) -> (Option<u8>, u8) {
    let mut response = [0; 1232];
    let len = responder.respond(&with_subnet(asked, option), Transport::Udp, &mut response);
    let message = Message::decode(&response[..len]).expect("a well-made response");
    let options = &message.opt.as_ref().expect("an OPT record").options;
    let [(8, echoed)] = &options[..] else { panic!("{options:?}") };
    assert_eq!([&echoed[..3], &echoed[4..]].concat(), [&option[..3], &option[4..]].concat());
    let endpoint = message.answer.iter().find(|record| record.rtype == 1).map(|record| record.rdata[0]);
    (endpoint, echoed[3])
}

#[test]
fn an_answer_holds_for_all_of_its_scope() {
    for seed in 0..MAPS {
        let mut random = fastrand::Rng::with_seed(seed);
        let networks: Vec<Network> = (0..random.usize(0..60))
            .map(|_| {
                let len = random.u8(0..=32);
                // Few upper bits, so that networks lie in each other.
                let bits = random.u32(0..4) << 30 | random.u32(0..4) << 14 | random.u32(0..256);
                (bits & !host_bits(len), len, random.u32(0..PLACES) as Place)
            })
            .collect();
        let mut responder = responder(&networks);
        let edges = networks.iter().flat_map(|(bits, len, _)| {
            let last = bits | host_bits(*len);
            [*bits, last, bits.wrapping_sub(1), last.wrapping_add(1)]
        });
        let edges: Vec<u32> = edges.chain([0, u32::MAX, random.u32(..)]).collect();
        for address in &edges {
            let len = *random.choice(&[32, 32, 24, 20, 9, 1]).expect("some");
            // It is the first address of what is named that decides.
            let first = address & !host_bits(len);
            let wanted = endpoint_of(&networks, first);
            let of_both = [
                ask(&mut responder, "place.example.", &subnet(Ipv4Addr::from_bits(*address).into(), len)),
                ask(
                    &mut responder,
                    "alias.example.",
                    &subnet(Ipv6Addr::from_bits(u128::from(*address) << 96).into(), len),
                ),
            ];
            for (found, scope) in of_both {
                assert_eq!(found, Some(wanted), "{seed}: {address:x}/{len}");
                assert!(scope <= 32);
                let host = host_bits(scope);
                let inside = edges.iter().copied().filter(|edge| (edge ^ first) & !host == 0);
                for other in inside.chain([first & !host, first | host]) {
                    assert_eq!(
                        endpoint_of(&networks, other),
                        wanted,
                        "{seed}: {first:x}/{scope} has {other:x}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_network_has_the_scope_of_what_is_hashed_and_turns_have_none() {
    let mut responder = responder(&[(10 << 24, 8, 1)]);
    for network in 0..300u32 {
        let ipv4 = |host: u32| IpAddr::from(Ipv4Addr::from_bits(172 << 24 | network << 8 | host));
        let ipv6 = |host: u128| {
            IpAddr::from(Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(network) << 80 | host))
        };
        for (scope, asked) in [
            (24, [subnet(ipv4(0), 24), subnet(ipv4(255), 32), subnet(ipv4(128), 25)]),
            (48, [subnet(ipv6(0), 48), subnet(ipv6(0xff << 72), 56), subnet(ipv6(7), 128)]),
        ] {
            let answers = asked.map(|option| ask(&mut responder, "network.example.", &option));
            assert_eq!(answers, [(answers[0].0, scope); 3], "{network}");
        }
        // The same as who asks from there without the option.
        responder.expect_client(Some(ipv4(7)));
        let mut response = [0; 512];
        let question = Question { name: name("network.example."), rtype: RecordType::A };
        let len = responder.respond(&query(&question, Dnssec::Unwanted), Transport::Udp, &mut response);
        let message = Message::decode(&response[..len]).expect("a well-made response");
        let of_client = ask(&mut responder, "network.example.", &subnet(ipv4(7), 24)).0;
        assert_eq!(message.answer.first().map(|record| record.rdata[0]), of_client);
        // Who wants nothing said of it, too (RFC 7871 §7.1.2).
        assert_eq!(ask(&mut responder, "network.example.", &[0, 2, 0, 0]), (of_client, 0));
    }
    for asked in ["turns.example.", "ns.example."] {
        assert_eq!(ask(&mut responder, asked, &[0, 1, 24, 0, 10, 0, 0]).1, 0, "{asked}");
    }
    // What is not there is so for everybody, and so is what is elsewhere, whatever is told of the server there (RFC 7871 §7.4).
    for asked in ["none.example.", "x.sub.example."] {
        assert_eq!(ask(&mut responder, asked, &[0, 1, 24, 0, 10, 0, 0]), (None, 0), "{asked}");
    }
    responder.expect_client(None);
    let mut response = [0; 512];
    let query = with_subnet("x.sub.example.", &[0, 1, 24, 0, 10, 0, 0]);
    let len = responder.respond(&query, Transport::Udp, &mut response);
    let message = Message::decode(&response[..len]).expect("a well-made response");
    let of_server = message.additional.iter().find(|record| record.rtype == 1).expect("its address");
    assert_eq!(of_server.rdata[0], 0, "that for the resolver, of which nobody knows where it is");
    assert_eq!(ask(&mut responder, "place.example.", &[0, 1, 24, 0, 10, 0, 0]), (Some(1), 8));
}
