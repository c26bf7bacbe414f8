//! The program runs on the kernel's machine, without an interface, and is compared with what a ring would send.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use super::super::Reply;
use super::super::program::{Filter, Tag, program};
use super::*;
use crate::sys::bpf;

const PASS: u32 = 2;
const OURS: [u8; 6] = [2, 0, 0, 0, 0, 1];
const THEIRS: [u8; 6] = [2, 0, 0, 0, 0, 2];
const TAGGED: [u8; 6] = [2, 0, 0, 0, 0, 3];
const UDP_PAYLOAD_MAX: u16 = 1232;

/// The program and its maps; `None`: this may not be had here.
fn load_all() -> Option<(OwnedFd, KernelCounts, Authority)> {
    load_with(&Limited::new().ok()?)
}

fn load_with(limited: &Limited) -> Option<(OwnedFd, KernelCounts, Authority)> {
    let sockets = match bpf::socket_map(1) {
        Ok(map) => map,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            eprintln!("skipped: programs for the kernel take privileges");
            return None;
        }
        Err(error) => panic!("{error}"),
    };
    let copies = bpf::per_cpu_value(COPY_LEN).expect("a map of copies");
    let counts = KernelCounts::new(1).expect("a map of counts");
    let authority = Authority::new().expect("maps of apexes");
    let answers = KernelAnswers { udp_payload_max: UDP_PAYLOAD_MAX, authority: &authority, limited };
    let services = services();
    let instructions = program(&Filter {
        services: &services,
        interface: 1,
        hardware_address: OURS,
        tags: &[Tag { id: 9, hardware_address: TAGGED, interface: 2 }],
        frame_max_len: 1518,
        reply: Reply::Reflect,
        map: sockets.as_raw_fd(),
        answers: Some(answers.with(copies.as_raw_fd(), counts.descriptor())),
    });
    let program =
        bpf::load("starling", bpf::Purpose::Xdp, &instructions).expect("the verifier takes the program");
    Some((program, counts, authority))
}

/// The same, for a node that is told of no apexes.
fn load() -> Option<(OwnedFd, KernelCounts)> {
    load_all().map(|(program, counts, _)| (program, counts))
}

fn services() -> [SocketAddr; 2] {
    ["10.53.0.1:53", "[fd00:53::1]:53"].map(|text| text.parse().expect("an address"))
}

fn clients() -> [SocketAddr; 2] {
    ["10.53.0.2:4053", "[fd00:53::2]:4054"].map(|text| text.parse().expect("an address"))
}

/// A name of these labels on the wire.
fn name(labels: &[usize]) -> Vec<u8> {
    let mut wire = Vec::new();
    for (index, len) in labels.iter().enumerate() {
        wire.push(*len as u8);
        wire.extend((0..*len).map(|at| b"AbcDeXyZ"[(at + index) % 8]));
    }
    wire.push(0);
    wire
}

/// A query with these flags, and an OPT record of this version and flags (RFC 6891 §6.1.3).
fn query(flags: [u8; 2], name: &[u8], version: u8, opt_flags: u8) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, flags[0], flags[1], 0, 1, 0, 0, 0, 0, 0, 1];
    message.extend(name);
    message.extend([0, 28, 0, 1]);
    message.extend([0, 0, 41, 0x10, 0, 0, version, opt_flags, 0, 0, 0]);
    message
}

/// Its response: BADVERS, with the question, RD and DO as they came.
fn response(query: &[u8]) -> Vec<u8> {
    let mut message = query.to_vec();
    let opt = message.len() - 11;
    message[2] = 0x80 | query[2] & 1;
    message[3] = 0;
    let [high, low] = UDP_PAYLOAD_MAX.to_be_bytes();
    message[opt + 3..].copy_from_slice(&[high, low, 1, 0, query[opt + 7] & 0x80, 0, 0, 0]);
    message
}

fn tagged(frame: &[u8]) -> Vec<u8> {
    let mut whole = frame.to_vec();
    whole[..6].copy_from_slice(&TAGGED);
    whole.splice(12..12, [0x81, 0, 0x60, 9]);
    whole
}

/// The frame that a ring would send, whose identification is one of its own.
fn turned(frame: &[u8], made: &[u8]) -> Vec<u8> {
    turned_with(frame, made, response)
}

fn turned_with(frame: &[u8], made: &[u8], response: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let (layout, _) = frame::read(frame).expect("a good frame");
    let reply = response(&frame[layout.payload()]);
    let identification = match layout.family {
        Family::V4 => {
            let at = layout.headers_len() - 28 + 4;
            u16::from_be_bytes([made[at], made[at + 1]])
        }
        Family::V6 => 0,
    };
    let mut turned = vec![0; frame.len() + EDE_LEN as usize];
    turned[layout.payload().start..][..reply.len()].copy_from_slice(&reply);
    let len = frame::turn_round(frame, &layout, identification, reply.len(), &mut turned);
    turned.truncate(len);
    turned
}

/// A query in frames of both families, without a tag and with one.
fn frames(message: &[u8]) -> Vec<Vec<u8>> {
    let plain = services()
        .into_iter()
        .zip(clients())
        .map(|(service, client)| frame::query((THEIRS, client), (OURS, service), message));
    plain.flat_map(|frame| [tagged(&frame), frame]).collect()
}

fn names() -> Vec<Vec<u8>> {
    let mut names = vec![name(&[]), name(&[63, 63, 63, 61]), name(&[1; 127]), name(&[1; 126])];
    names.extend((1..=63).map(|len| name(&[len, 3])));
    names
}

#[test]
fn another_version_is_answered_as_a_ring_answers_it() {
    let Some((program, counts)) = load() else { return };
    let mut answered = KernelAnswered::default();
    for name in names() {
        for (flags, version, opt_flags) in [([0, 0], 1, 0), ([1, 0x20], 255, 0x80), ([0x07, 0xff], 7, 0xff)] {
            for frame in frames(&query(flags, &name, version, opt_flags)) {
                let (returned, made) = bpf::run(program.as_fd(), &frame).expect("a run");
                assert_eq!(returned, SEND as u32, "{frame:02x?}");
                assert_eq!(made, turned(&frame, &made), "{frame:02x?}");
                match frame::read(&frame).expect("a good frame").0.family {
                    Family::V4 => answered.bad_version.ipv4 += 1,
                    Family::V6 => answered.bad_version.ipv6 += 1,
                }
            }
        }
    }
    assert_eq!(counts.read().expect("counts"), answered);
}

/// What may be wrong with the UDP checksum, and whether a ring answers over either family.
#[test]
fn checksums_are_looked_at_as_a_ring_does() {
    let Some((program, _)) = load() else { return };
    let message = query([1, 0], &name(&[3, 7]), 1, 0);
    for frame in frames(&message) {
        let (layout, _) = frame::read(&frame).expect("a good frame");
        let at = layout.headers_len() - 2;
        for checksum in 0..=u16::MAX {
            let mut frame = frame.clone();
            frame[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
            let is_good = frame::read(&frame).is_ok();
            let (returned, made) = bpf::run(program.as_fd(), &frame).expect("a run");
            assert_eq!(returned == SEND as u32, is_good, "{checksum:#06x} in {frame:02x?}");
            let expected = if is_good { turned(&frame, &made) } else { frame };
            assert_eq!(made, expected);
        }
    }
}

#[test]
fn what_is_not_plain_is_left_as_it_is() {
    let Some((program, _)) = load() else { return };
    let plain = query([0, 0], &name(&[3, 7]), 1, 0);
    let opt = plain.len() - 11;
    let changed = |at: usize, octet: u8| {
        let mut message = plain.clone();
        message[at] = octet;
        message
    };
    let with = |more: &[u8]| [&plain[..], more].concat();
    let cases = [
        ("version 0", changed(opt + 6, 0)),
        ("a response", changed(2, 0x80)),
        ("another opcode", changed(2, 0x20)),
        ("no question", changed(5, 0)),
        ("two questions", changed(5, 2)),
        ("many questions", changed(4, 1)),
        ("an answer", changed(7, 1)),
        ("an authority record", changed(9, 1)),
        ("two additional records", changed(11, 2)),
        ("no additional record", changed(11, 0)),
        ("a compressed name", changed(12, 0xc0)),
        ("a label of another kind", changed(12, 0x40)),
        ("a label that is longer than the name", changed(12, 63)),
        ("a name that ends early", changed(12, 0)),
        ("an OPT record that is not at the root", changed(opt, 1)),
        ("another type", changed(opt + 2, 42)),
        ("options that are not there", changed(opt + 10, 4)),
        ("an option", [&changed(opt + 10, 4)[..], &[0, 3, 0, 0]].concat()),
        ("octets behind it", with(&[0])),
        ("a name of 256 octets", query([0, 0], &name(&[63, 63, 63, 62]), 1, 0)),
        ("a name of 128 labels", query([0, 0], &name(&[1; 128]), 1, 0)),
        ("a message that was cut", plain[..plain.len() - 1].to_vec()),
        ("a header alone", plain[..12].to_vec()),
        ("a long one", with(&[0; 600])),
    ];
    for (what, message) in cases {
        for frame in frames(&message) {
            let (returned, made) = bpf::run(program.as_fd(), &frame).expect("a run");
            assert_eq!((returned, made), (PASS, frame), "{what}");
        }
    }
    for frame in frames(&plain) {
        let padded = [&frame[..], &[0; 3]].concat();
        let (returned, made) = bpf::run(program.as_fd(), &padded).expect("a run");
        assert_eq!((returned, made), (PASS, padded), "padding");
    }
}

#[test]
fn a_damaged_ip_header_is_left_as_it_is() {
    let Some((program, _)) = load() else { return };
    let message = query([0, 0], &name(&[3, 7]), 1, 0);
    let mut frame = frame::query((THEIRS, clients()[0]), (OURS, services()[0]), &message);
    frame[frame::UNTAGGED_LEN + 10] ^= 1;
    let (returned, made) = bpf::run(program.as_fd(), &frame).expect("a run");
    assert_eq!((returned, made), (PASS, frame));
}

/// Names on the wire, of labels.
fn wire(text: &str) -> Vec<u8> {
    let labels = text.split('.').filter(|label| !label.is_empty());
    labels.flat_map(|label| [&[label.len() as u8][..], label.as_bytes()].concat()).chain([0]).collect()
}

/// A query for a name and a type, with an OPT record or without.
fn question(flags: [u8; 2], name: &[u8], qtype: u16, class: u16, opt_flags: Option<u8>) -> Vec<u8> {
    let mut message =
        vec![0x12, 0x34, flags[0], flags[1], 0, 1, 0, 0, 0, 0, 0, u8::from(opt_flags.is_some())];
    message.extend(name);
    message.extend([qtype.to_be_bytes(), class.to_be_bytes()].concat());
    if let Some(opt_flags) = opt_flags {
        message.extend([0, 0, 41, 0x10, 0, 0, 0, opt_flags, 0, 0, 0]);
    }
    message
}

/// Its response: REFUSED, with the question, RD and DO as they came, and the error where there is an OPT record.
fn refusal(query: &[u8]) -> Vec<u8> {
    let mut message = query.to_vec();
    message[2] = 0x80 | query[2] & 1;
    message[3] = 5;
    if query[11] == 1 {
        let opt = message.len() - 11;
        let [high, low] = UDP_PAYLOAD_MAX.to_be_bytes();
        message[opt + 3..].copy_from_slice(&[high, low, 0, 0, query[opt + 7] & 0x80, 0, 0, 6]);
        message.extend([0, 15, 0, 2, 0, 20]);
    }
    message
}

/// Has the program know these apexes.
fn tell(authority: &Authority, told: &mut Apexes, apexes: &[&str]) {
    let apexes: Vec<_> = apexes.iter().map(|apex| wire(apex)).collect();
    authority.tell(told, apexes.iter().map(Vec::as_slice)).expect("room for them");
}

const SERVED: [&str; 5] = [
    "example.com",
    "Sub.Example.ORG",
    "a.very-Long-Label-that-is-63-octets-long-or-so.test",
    "x",
    "1.2.3.ip6.arpa",
];

#[test]
fn what_is_below_no_apex_is_refused_as_a_ring_refuses_it() {
    let Some((program, counts, authority)) = load_all() else { return };
    tell(&authority, &mut Apexes::default(), &SERVED);
    authority.open().expect("a value that can be set");
    let outside = [
        "",
        "com",
        "org",
        "example.org",
        "badexample.com",
        "example.comm",
        "example.co",
        "com.example",
        "y",
        "xx",
        "test",
        "other.very-Long-Label-that-is-63-octets-long-or-so.test",
        "2.3.ip6.arpa",
        "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r.s.t",
    ];
    let long = name(&[63, 63, 63, 61]);
    let names = outside.iter().map(|text| wire(text)).chain([long]);
    let mut answered = KernelAnswered::default();
    for name in names {
        for (flags, opt_flags) in
            [([0, 0], None), ([1, 0x20], Some(0)), ([0x07, 0xff], Some(0x80)), ([1, 0x10], None)]
        {
            for qtype in [1, 28, 127, 65, 43] {
                for frame in frames(&question(flags, &name, qtype, 1, opt_flags)) {
                    let (returned, made) = bpf::run(program.as_fd(), &frame).expect("a run");
                    assert_eq!(returned, SEND as u32, "{frame:02x?}");
                    assert_eq!(made, turned_with(&frame, &made, refusal), "{frame:02x?}");
                    match frame::read(&frame).expect("a good frame").0.family {
                        Family::V4 => answered.refused.ipv4 += 1,
                        Family::V6 => answered.refused.ipv6 += 1,
                    }
                }
            }
        }
    }
    assert_eq!(counts.read().expect("counts"), answered);
}

#[test]
fn what_is_not_to_be_refused_is_left_as_it_is() {
    let Some((program, _, authority)) = load_all() else { return };
    let mut told = Apexes::default();
    let left = |message: &[u8], what: &str| {
        for frame in frames(message) {
            let (returned, made) = bpf::run(program.as_fd(), &frame).expect("a run");
            assert_eq!((returned, made), (PASS, frame), "{what}");
        }
    };
    let outside = wire("www.other.test");
    let refused = question([1, 0], &outside, 1, 1, Some(0));
    left(&refused, "closed, as it begins");
    tell(&authority, &mut told, &SERVED);
    left(&refused, "closed");
    authority.open().expect("a value that can be set");
    for apex in SERVED {
        for name in [apex.to_owned(), format!("www.{apex}"), format!("a.b.c.d.{apex}").to_uppercase()] {
            for opt_flags in [None, Some(0)] {
                left(&question([1, 0], &wire(&name), 1, 1, opt_flags), &name);
            }
        }
        // However long the name is.
        let long = [&name(&[63, 63])[..128], &wire(apex)].concat();
        left(&question([1, 0], &long, 1, 1, None), "a long name");
    }
    for qtype in [0, 41, 128, 249, 250, 251, 252, 255, 256, 0x0100, 0xff01] {
        left(&question([1, 0], &outside, qtype, 1, Some(0)), &format!("type {qtype}"));
    }
    for class in [0, 3, 254, 255, 0x0100] {
        left(&question([1, 0], &outside, 1, class, Some(0)), &format!("class {class}"));
    }
    left(&question([0x20, 0], &outside, 1, 1, None), "another opcode");
    left(&[&question([1, 0], &outside, 1, 1, None)[..], &[0]].concat(), "an octet behind it");
    left(&question([1, 0], &outside, 1, 1, Some(0))[..16 + outside.len()], "an OPT record that is missing");
    // The root has all names below it.
    authority.close().expect("a value that can be set");
    left(&refused, "closed again");
    wait_for_programs().expect("a wait");
    tell(&authority, &mut told, &["", "example.com"]);
    authority.open().expect("a value that can be set");
    left(&refused, "the root");
    authority.close().expect("a value that can be set");
    tell(&authority, &mut told, &["example.com"]);
    authority.open().expect("a value that can be set");
    let [frame, ..] = &frames(&refused)[..] else { panic!("frames") };
    assert_eq!(bpf::run(program.as_fd(), frame).expect("a run").0, SEND as u32);
}

/// Apexes of more octets than are looked at: more is left to the ring, never less.
#[test]
fn below_a_long_apex_nothing_is_refused() {
    let Some((program, _, authority)) = load_all() else { return };
    let apex = name(&[63, 40]);
    authority.tell(&mut Apexes::default(), [apex.as_slice()].into_iter()).expect("room for it");
    authority.open().expect("a value that can be set");
    let run = |name: &[u8]| {
        let [frame, ..] = &frames(&question([1, 0], name, 1, 1, None))[..] else { panic!("frames") };
        bpf::run(program.as_fd(), frame).expect("a run").0
    };
    let below = [&[3][..], b"www", &apex].concat();
    assert_eq!((run(&apex), run(&below)), (PASS, PASS));
    assert_eq!(run(&apex[64..]), SEND as u32);
}

/// The response to a query over the limit: its question, and where the rest is to be had.
fn shortened(query: &[u8]) -> Vec<u8> {
    let mut message = query.to_vec();
    message[2] = 0x82 | query[2] & 1;
    message[3] = 0;
    if query[11] == 1 {
        let opt = message.len() - 11;
        let [high, low] = UDP_PAYLOAD_MAX.to_be_bytes();
        message[opt + 3..].copy_from_slice(&[high, low, 0, 0, query[opt + 7] & 0x80, 0, 0, 0]);
    }
    message
}

const RULE: LimitRule = LimitRule { slip: 1, prefix_lens: [24, 56] };
const LONG: Duration = Duration::from_secs(3600);

/// Privileges are there, and so are the maps.
fn limited() -> Option<(Limited, OwnedFd, KernelCounts, Authority)> {
    let limited = Limited::new().ok()?;
    let (program, counts, authority) = load_with(&limited)?;
    limited.set_rule(Some(RULE)).expect("a value that can be set");
    Some((limited, program, counts, authority))
}

/// What becomes of a query from each of the two clients.
fn returned(program: &OwnedFd, message: &[u8]) -> [u32; 2] {
    let returned = frames(message).into_iter().map(|frame| {
        let (returned, made) = bpf::run(program.as_fd(), &frame).expect("a run");
        if returned == SEND as u32 {
            assert_eq!(made, turned_with(&frame, &made, shortened), "{frame:02x?}");
        }
        returned
    });
    let returned: Vec<u32> = returned.collect();
    // With a tag and without.
    assert_eq!((returned[0], returned[2]), (returned[1], returned[3]));
    [returned[0], returned[2]]
}

#[test]
fn a_network_over_the_limit_is_told_to_come_over_tcp() {
    let Some((limited, program, counts, _)) = limited() else { return };
    let plain = question([1, 0x30], &wire("www.example.com"), 1, 1, Some(0x80));
    let (sent, pass) = (SEND as u32, PASS);
    assert_eq!(returned(&program, &plain), [pass, pass], "nobody is over it");
    let [ipv4, ipv6] = clients();
    limited.limit(RULE, ipv4.ip(), LONG).expect("room");
    assert_eq!(returned(&program, &plain), [sent, pass]);
    limited.limit(RULE, ipv6.ip(), LONG).expect("room");
    for (flags, opt_flags) in
        [([0, 0], None), ([1, 0x20], Some(0)), ([0x07, 0xff], Some(0x80)), ([1, 0x10], None)]
    {
        for name in names() {
            assert_eq!(returned(&program, &question(flags, &name, 28, 1, opt_flags)), [sent, sent]);
        }
    }
    let count = 1 + 4 * names().len() as u64;
    let both = |ipv4: u64, ipv6: u64| ByFamily { ipv4: 2 * ipv4, ipv6: 2 * ipv6 };
    let answered = KernelAnswered { shortened: both(count, count - 1), ..KernelAnswered::default() };
    assert_eq!(counts.read().expect("counts"), answered);
    // What is not plain, and other questions than those for data, are looked at by a worker.
    for odd in [
        question([0x20, 0], &wire("example.com"), 1, 1, None),
        question([1, 0], &wire("example.com"), 252, 1, None),
        question([1, 0], &wire("example.com"), 1, 3, None),
        [&plain[..], &[0]].concat(),
    ] {
        assert_eq!(returned(&program, &odd), [pass, pass]);
    }
    let other_version = query([1, 0], &wire("example.com"), 1, 0);
    for frame in frames(&other_version) {
        let (returned, made) = bpf::run(program.as_fd(), &frame).expect("a run");
        assert_eq!((returned, &made), (sent, &turned(&frame, &made)), "BADVERS");
    }
}

#[test]
fn whom_a_limit_is_for() {
    let Some((limited, program, _, authority)) = limited() else { return };
    let plain = question([1, 0], &wire("www.example.com"), 1, 1, None);
    let (sent, pass) = (SEND as u32, PASS);
    let neighbours = |texts: [&str; 2]| texts.map(|text| text.parse::<IpAddr>().expect("an address"));
    for (prefix_lens, others, wanted) in [
        ([24, 56], ["10.53.0.255", "fd00:53:0:ff::9"], [sent, sent]),
        ([24, 56], ["10.53.1.2", "fd00:53:0:100::2"], [pass, pass]),
        ([32, 64], ["10.53.0.2", "fd00:53::ffff"], [sent, sent]),
        ([32, 64], ["10.53.0.3", "fd00:53:0:1::2"], [pass, pass]),
        ([0, 0], ["192.0.2.1", "2001:db8::"], [sent, sent]),
        ([16, 32], ["::ffff:10.53.9.9", "fd00:53:9::"], [sent, sent]),
    ] {
        let limited = Limited::new().expect("maps");
        let Some((program, ..)) = load_with(&limited) else { return };
        let rule = LimitRule { prefix_lens, ..RULE };
        limited.set_rule(Some(rule)).expect("a value that can be set");
        for address in neighbours(others) {
            limited.limit(rule, address, LONG).expect("room");
        }
        assert_eq!(returned(&program, &plain), wanted, "{others:?}");
    }
    // Until the time is over, or there is no rule.
    for address in clients().map(|client| client.ip()) {
        limited.limit(RULE, address, Duration::ZERO).expect("room");
    }
    assert_eq!(returned(&program, &plain), [pass, pass]);
    for address in clients().map(|client| client.ip()) {
        limited.limit(RULE, address, LONG).expect("room");
    }
    assert_eq!(returned(&program, &plain), [sent, sent]);
    limited.set_rule(None).expect("a value that can be set");
    assert_eq!(returned(&program, &plain), [pass, pass]);
    limited.set_rule(Some(RULE)).expect("a value that can be set");
    // It comes before what is in no zone.
    authority.open().expect("a value that can be set");
    assert_eq!(returned(&program, &plain), [sent, sent]);
}

#[test]
fn over_the_limit_one_of_so_many_is_answered() {
    let Some((limited, program, counts, _)) = limited() else { return };
    let plain = question([1, 0], &wire("www.example.com"), 1, 1, None);
    let frame = frame::query((THEIRS, clients()[0]), (OURS, services()[0]), &plain);
    limited.limit(RULE, clients()[0].ip(), LONG).expect("room");
    for (slip, expected) in [(0, 0..=0), (2, 800..=1200), (10, 120..=280)] {
        limited.set_rule(Some(LimitRule { slip, ..RULE })).expect("a value that can be set");
        let before = counts.read().expect("counts");
        let runs = (0..2000).map(|_| bpf::run(program.as_fd(), &frame).expect("a run").0);
        let sent = runs.filter(|returned| *returned != DROP as u32).count() as u64;
        assert!(expected.contains(&sent), "{sent} of 2000 with a slip of {slip}");
        let after = counts.read().expect("counts");
        assert_eq!(after.shortened.ipv4 - before.shortened.ipv4, sent);
        assert_eq!(after.withheld.ipv4 - before.withheld.ipv4, 2000 - sent);
    }
}
