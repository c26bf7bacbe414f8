//! No allocation per query: every kind of answer, counted by the allocator itself.

mod counting;
#[path = "../fuzz/src/fixtures.rs"]
mod fixtures;
#[path = "../fuzz/src/seeds.rs"]
mod seeds;
#[path = "../property/signing.rs"]
mod signing;

use counting::calls_during;
use nameserver::{Batch, Family, Responder, Transport};
use starling_tests::message::{AA, Message, TC};
use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;
use table::{PlacesBuilder, SLOTS};
use wire::RecordType;
use zone::amend::{Choice, Decider, Steered, Withheld, steer};

const NSEC: u16 = 47;
const NSEC3: u16 = 50;
/// An OPT record of 1,232 octets without options; the second with DO, the third with the fixture's probe token, the fourth
/// with DO and NSID.
const EDNS: &[u8] = b"\0\0\x29\x04\xd0\0\0\0\0\0\0";
const DO: &[u8] = b"\0\0\x29\x04\xd0\0\0\x80\0\0\0";
const PROBE: &[u8] = b"\0\0\x29\x04\xd0\0\0\0\0\0\x14\xfe\x81\0\x10probe-probe-prob";
/// For the network 10.1.0.0/16.
const SUBNET: &[u8] = b"\0\0\x29\x04\xd0\0\0\0\0\0\x0a\0\x08\0\x06\0\x01\x10\0\x0a\x01";
const DO_NSID: &[u8] = b"\0\0\x29\x04\xd0\0\0\x80\0\0\x04\0\x03\0\0";

/// A kind of answer: what is asked, and how to see that it is what it is called.
struct Kind {
    title: &'static str,
    query: Vec<u8>,
    transport: Transport,
    is_it: fn(&Message) -> bool,
}

fn kind(
    title: &'static str,
    question: (&str, RecordType, &[u8]),
    transport: Transport,
    is_it: fn(&Message) -> bool,
) -> Kind {
    let (name, rtype, edns) = question;
    Kind { title, query: seeds::query(name, rtype, 1, edns), transport, is_it }
}

fn denies_with(message: &Message, rtype: u16) -> bool {
    message.authority.iter().any(|record| record.rtype == rtype)
}

/// Zone data of every kind.
fn answers() -> Vec<Kind> {
    use RecordType as T;
    use Transport::{Tcp, Udp};
    let a = RecordType::A;
    vec![
        kind("hit", ("a.p.", a, b""), Udp, |m| m.answer.len() == 3 && m.has(AA)),
        kind("hit with signature", ("a.s.", a, DO), Udp, |m| m.answer.len() == 4),
        kind("NSID", ("a.s.", a, DO_NSID), Udp, |m| {
            m.opt.as_ref().is_some_and(|opt| !opt.options.is_empty())
        }),
        kind("probe", ("a.s.", a, PROBE), Udp, |m| m.opt.as_ref().is_some_and(|opt| !opt.options.is_empty())),
        kind("NODATA", ("a.p.", T::LOC, EDNS), Udp, |m| m.rcode() == 0 && m.answer.is_empty()),
        kind("NODATA, NSEC", ("a.s.", T::LOC, DO), Udp, |m| m.rcode() == 0 && denies_with(m, NSEC)),
        kind("NODATA, NSEC3", ("a.o.", T::LOC, DO), Udp, |m| m.rcode() == 0 && denies_with(m, NSEC3)),
        kind("NXDOMAIN", ("none.p.", a, EDNS), Udp, |m| m.rcode() == 3),
        kind("NXDOMAIN, NSEC", ("x.none.s.", a, DO), Udp, |m| m.rcode() == 3 && denies_with(m, NSEC)),
        kind("NXDOMAIN, NSEC3", ("x.none.o.", a, DO), Udp, |m| m.rcode() == 3 && denies_with(m, NSEC3)),
        kind("NXDOMAIN at the root", ("x.none.", a, DO), Udp, |m| m.rcode() == 3),
        kind("empty non-terminal", ("f.g.s.", a, DO), Udp, |m| m.rcode() == 0 && denies_with(m, NSEC)),
        kind("wildcard", ("x.t.p.", T::TXT, EDNS), Udp, |m| m.answer.len() == 1),
        kind("wildcard, NSEC", ("x.t.s.", T::TXT, DO), Udp, |m| m.answer.len() == 2 && denies_with(m, NSEC)),
        kind("wildcard, NSEC3", ("x.t.o.", T::TXT, DO), Udp, |m| {
            m.answer.len() == 2 && denies_with(m, NSEC3)
        }),
        kind("wildcard without the type", ("x.t.o.", T::LOC, DO), Udp, |m| {
            m.answer.is_empty() && denies_with(m, NSEC3)
        }),
        kind("referral", ("x.i.p.", a, EDNS), Udp, |m| !m.has(AA) && !m.authority.is_empty()),
        kind("referral with DS", ("x.d.s.", a, DO), Udp, |m| denies_with(m, 43)),
        kind("insecure referral, NSEC", ("x.i.s.", a, DO), Udp, |m| !m.has(AA) && denies_with(m, NSEC)),
        kind("insecure referral, NSEC3", ("x.i.o.", a, DO), Udp, |m| !m.has(AA) && denies_with(m, NSEC3)),
        kind("no DS", ("i.o.", T::DS, DO), Udp, |m| m.has(AA) && denies_with(m, NSEC3)),
        kind("chain", ("c1.s.", a, DO), Udp, |m| m.answer.len() > 8),
        kind("chain to nothing", ("gone.o.", a, DO), Udp, |m| m.rcode() == 3 && m.answer.len() == 2),
        kind("chain that leaves", ("out.p.", a, EDNS), Udp, |m| m.answer.len() == 1),
        kind("loop", ("l1.p.", a, EDNS), Udp, |m| m.answer.len() == 2),
        kind("DNAME", ("x.dn.s.", a, DO), Udp, |m| m.answer.iter().any(|record| record.rtype == 39)),
        kind("DNAME too long", (LONG, a, EDNS), Udp, |m| m.rcode() == 6),
        kind("ANY over UDP", ("a.s.", T::ANY, DO), Udp, |m| m.answer.len() == 4),
        kind("ANY over TCP", ("a.s.", T::ANY, DO), Tcp, |m| m.answer.len() > 10),
        kind("RRSIG", ("a.s.", T::RRSIG, DO), Tcp, |m| m.answer.len() > 2),
        kind("truncated", ("big.p.", T::TXT, b""), Udp, |m| m.has(TC)),
        kind("large, over TCP", ("glue.o.", T::NS, DO), Tcp, |m| m.additional.len() == 40),
    ]
}

const LONG: &str = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.dl.p.";

/// What is no question for zone data, and what is malformed.
fn oddities() -> Vec<Kind> {
    use Transport::Udp;
    let a = RecordType::A;
    let mut kinds = vec![
        kind("outside", ("x.other.", a, DO), Udp, |m| m.rcode() == 5),
        kind("no table", ("x.empty.", a, DO), Udp, |m| m.rcode() == 2),
        kind("BADVERS", ("a.p.", a, b"\0\0\x29\x04\xd0\0\x01\0\0\0\0"), Udp, |m| m.rcode() == 16),
        kind("AXFR", ("p.", RecordType::AXFR, b""), Udp, |m| [4, 5].contains(&m.rcode())),
        kind("two OPT", ("a.p.", a, &[EDNS, EDNS].concat()), Udp, |m| m.rcode() == 1),
        kind("half an OPT", ("a.p.", a, &EDNS[..6]), Udp, |m| m.rcode() == 1),
    ];
    let mut opcode = kind("NOTIMP", ("a.p.", a, b""), Udp, |m| m.rcode() == 4);
    opcode.query[2] |= 0x28;
    let mut pointer = kind("pointer in the question", ("a.p.", a, b""), Udp, |m| m.rcode() == 1);
    pointer.query[12] = 0xc0;
    let version = seeds::query("version.bind.", RecordType::TXT, 3, EDNS);
    kinds.extend([
        opcode,
        pointer,
        Kind { title: "CHAOS", query: version, transport: Udp, is_it: |m| m.answer.len() == 1 },
    ]);
    kinds
}

#[test]
fn the_count_sees_allocations() {
    assert_eq!(calls_during(|| drop(black_box(Box::new(1)))), 2);
    assert_eq!(calls_during(|| drop(black_box(Vec::<u8>::with_capacity(1)))), 2);
    assert_eq!(calls_during(|| assert_eq!(black_box([0u8; 64])[0], 0)), 0);
}

#[test]
fn no_answer_allocates() {
    let mut several = fixtures::several();
    let mut root = fixtures::root();
    let mut response = vec![0; 65_535];
    for kind in answers().into_iter().chain(oddities()) {
        let responder = if kind.title.ends_with("root") { &mut root } else { &mut several };
        let (calls, len) = counted(responder, &kind.query, kind.transport, &mut response);
        let message =
            Message::decode(&response[..len]).unwrap_or_else(|error| panic!("{}: {error}", kind.title));
        assert!((kind.is_it)(&message), "{} is something else: {message}", kind.title);
        assert_eq!(calls, 0, "{}", kind.title);
    }
}

#[test]
fn silence_and_the_seeds_of_the_fuzzer_allocate_nothing() {
    let mut response = vec![0; 65_535];
    let queries = seeds::of("message").into_iter().chain([vec![], vec![0; 11], vec![0xff; 12], vec![0; 600]]);
    let mut responders = [fixtures::several(), fixtures::root()];
    for query in queries {
        for responder in &mut responders {
            for transport in [Transport::Udp, Transport::Tcp] {
                let (calls, _) = counted(responder, &query, transport, &mut response);
                assert_eq!(calls, 0, "{query:02x?} over {transport:?}");
            }
        }
    }
}

#[test]
fn no_batch_allocates() {
    let queries = seeds::of("message");
    for mut responder in [fixtures::several(), fixtures::root()] {
        for queries in queries.chunks(40) {
            let mut batch = Together { queries, response: vec![0; 4096] };
            assert_eq!(calls_during(|| responder.respond_batch(Family::V4, &mut batch)), 0);
        }
    }
}

#[test]
fn names_with_several_sets_allocate_nothing() {
    let mut responder = steered();
    let mut response = vec![0; 65_535];
    responder.expect_client(Some([192, 0, 2, 7].into()));
    let names = [
        ("turns.p.", 1),
        ("clients.p.", 1),
        ("places.p.", 1),
        ("to-turns.p.", 1),
        ("x.wild.p.", 2),
        ("to-any.p.", 1),
        ("empty.p.", 0),
        ("to-failing.p.", 0),
    ];
    for (name, addresses) in names {
        for (edns, transport) in [
            (EDNS, Transport::Udp),
            (DO_NSID, Transport::Udp),
            (SUBNET, Transport::Udp),
            (SUBNET, Transport::Tcp),
            (b"", Transport::Tcp),
        ] {
            let query = seeds::query(name, RecordType::A, 1, edns);
            counted(&mut responder, &query, transport, &mut response);
            for _ in 0..20 {
                let (calls, len) = counted(&mut responder, &query, transport, &mut response);
                let message = Message::decode(&response[..len]).expect("a well-made response");
                let found = message.answer.iter().filter(|record| record.rtype == 1).count();
                assert_eq!((calls, found), (0, addresses), "{name}");
            }
        }
        for edns in [EDNS, SUBNET] {
            let queries = vec![seeds::query(name, RecordType::A, 1, edns); 40];
            let mut batch = Together { queries: &queries, response: vec![0; 4096] };
            assert_eq!(calls_during(|| responder.respond_batch(Family::V4, &mut batch)), 0);
        }
    }
}

/// The plain zone with names that have several sets, by turns, by who asks and by where that is, an alias and a wildcard among
/// them.
fn steered() -> Responder {
    let name = fixtures::name;
    let part = |by, parts: &[&[u16]]| {
        Some(Arc::new(Choice { parts: parts.iter().map(|part| part.to_vec()).collect(), by }))
    };
    let turns = part(Decider::Turns(vec![1, 2, 3]), &[&[0], &[1], &[2]]);
    let clients = part(Decider::Clients(Box::new([1; SLOTS])), &[&[0], &[2]]);
    let mut map = PlacesBuilder::default();
    map.add([10, 0, 0, 0].into(), 8, 1).expect("a network");
    map.add([10, 1, 2, 0].into(), 24, 2).expect("a network");
    let places = part(Decider::Places(Arc::new(map.finish()), Box::new([0, 1, 2])), &[&[0], &[1], &[2]]);
    let pairs = part(Decider::Turns(vec![1; 3]), &[&[0, 1], &[1, 2], &[0, 2]]);
    let steered = |owner, choice| Steered {
        owner: name(owner),
        rtype: RecordType::A,
        ttl: 5,
        rdata: (0..3).map(|last| vec![192, 0, 2, last]).collect(),
        choice,
    };
    let alias = Steered {
        owner: name("to-turns.p."),
        rtype: RecordType::CNAME,
        ttl: 5,
        rdata: vec![name("turns.p.").as_name().as_wire().to_vec()],
        choice: None,
    };
    let any = Steered {
        owner: name("to-any.p."),
        rdata: ["turns.p.", "clients.p."].map(|target| name(target).as_name().as_wire().to_vec()).into(),
        choice: part(Decider::Turns(vec![1; 2]), &[&[0], &[1]]),
        ..alias.clone()
    };
    let failing = name("failing.p.").as_name().as_wire().to_vec();
    let to_failing = Steered { owner: name("to-failing.p."), rdata: vec![failing], ..alias.clone() };
    let withheld = |withheld| Some(Arc::new(Choice::withheld(withheld)));
    let names = [
        steered("turns.p.", turns),
        steered("clients.p.", clients),
        steered("places.p.", places),
        steered("*.wild.p.", pairs),
        steered("empty.p.", withheld(Withheld::Nothing)),
        steered("failing.p.", withheld(Withheld::Failure)),
        alias,
        any,
        to_failing,
    ];
    let version = Arc::new(fixtures::zone("p.", &signing::Denial::Unsigned));
    fixtures::responder(vec![steer(&version, &names, None).expect("they can be steered")])
}

/// A batch, the responses of which all go to the same place.
struct Together<'q> {
    queries: &'q [Vec<u8>],
    response: Vec<u8>,
}

impl Batch for Together<'_> {
    type Client<'c> = Option<IpAddr>;

    fn len(&self) -> usize {
        self.queries.len()
    }

    fn query(&self, index: usize) -> &[u8] {
        &self.queries[index]
    }

    fn reply(&mut self, index: usize, answer: impl FnOnce(&[u8], &Self::Client<'_>, &mut [u8]) -> usize) {
        answer(&self.queries[index], &None, &mut self.response);
    }
}

/// How often the allocator was called for one batch of one query, and the length of the response.
fn counted(
    responder: &mut Responder,
    query: &[u8],
    transport: Transport,
    response: &mut [u8],
) -> (u64, usize) {
    let mut len = 0;
    let calls = calls_during(|| {
        responder.refresh();
        len = responder.respond(query, transport, response);
        responder.publish_counts();
    });
    (calls, len)
}
