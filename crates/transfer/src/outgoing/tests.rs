use super::*;
use crate::journal;
use hickory_proto::op::Message;
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder, NameEncoding};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use table::SourceStamp;
use zone::CompileOptions;

/// A zone with names that share tails in every way that compression knows, and what is written when it is read.
pub(super) const ZONE: &str = "$ORIGIN Example.\n$TTL 300\n@ SOA ns.Example. host.mail 7 3600 900 604800 60\n NS ns\n NS a.ns\n \
                    NS ns.elsewhere.test.\n MX 10 mail\n TXT \"x\"\nns A 192.0.2.1\na.ns A 192.0.2.2\nmail A 192.0.2.3\n \
                    AAAA 2001:db8::3\n*.w CNAME mail\nsub NS ns.sub\n NS other.sub\n NS ns\nns.sub A 192.0.2.4\n\
                    other.sub AAAA 2001:db8::4\ndeep.er.name MX 5 mail.deep.er.name\nmail.deep.er.name A 192.0.2.5\n";

fn zone_of(text: &str) -> zone::Zone {
    let apex = NameBuf::from_text(b"example.", None).unwrap();
    let mut includes = zone::master::NoIncludes;
    let reading = zone::read(apex.as_name(), "test", text.as_bytes(), &mut includes, &mut |_| {});
    reading.zone.unwrap_or_else(|| panic!("{:?}", reading.problems))
}

pub(super) fn table_of(text: &str) -> Arc<Table> {
    let options = CompileOptions { rotate: true, source: SourceStamp::default() };
    Arc::new(zone::compile(zone_of(text), &options).unwrap())
}

/// A request for `Example.`, with an OPT record.
fn request(qtype: RecordType, serial: Option<u32>) -> Vec<u8> {
    let mut octets = vec![0x12, 0x34, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    octets.extend(b"\x07Example\0");
    octets.extend([qtype.0, 1].map(u16::to_be_bytes).as_flattened());
    if let Some(serial) = serial {
        octets[9] = 1;
        octets.extend(b"\xc0\x0c\0\x06\0\x01\0\0\0\0\0\x16\0\0");
        octets.extend([serial, 0, 0, 0, 0].map(u32::to_be_bytes).as_flattened());
    }
    octets.extend(b"\0\0\x29\x04\xd0\0\0\0\0\0\0");
    octets
}

fn messages(request: &[u8], table: &Arc<Table>, reserve: usize) -> Vec<Vec<u8>> {
    assert!(is_request(request));
    let mut outgoing = Outgoing::new(Request::read(request).unwrap(), Arc::clone(table)).unwrap();
    let mut messages = Vec::new();
    while let Some(message) = outgoing.next_message(reserve).unwrap() {
        messages.push(message.clone());
    }
    messages
}

/// Owner, type, TTL and uncompressed data, as an independent reader takes them.
type Plain = (String, u16, u32, Vec<u8>);

fn read(message: &[u8]) -> (Message, Vec<Plain>) {
    let message = Message::from_vec(message).unwrap();
    let plain = message.answers.iter().map(|record| {
        let mut data = Vec::new();
        let mut encoder = BinEncoder::new(&mut data);
        encoder.set_name_encoding(NameEncoding::Uncompressed);
        record.data.emit(&mut encoder).unwrap();
        (record.name.to_string().to_lowercase(), u16::from(record.record_type()), record.ttl, data)
    });
    let plain = plain.collect();
    (message, plain)
}

fn records_of(zone: &zone::Zone) -> BTreeSet<Plain> {
    let mut records = BTreeSet::new();
    for owner in zone.owners() {
        for set in owner.rrsets() {
            for (index, rdata) in set.rdatas().enumerate() {
                let owner = owner.name().to_string();
                records.insert((owner, set.rtype().0, set.ttl_of(index), rdata.to_vec()));
            }
        }
    }
    records
}

/// Every record once, the SOA record first and last and nowhere else.
fn check_whole(zone: &zone::Zone, messages: &[Vec<u8>]) {
    let mut records: Vec<Plain> = messages.iter().flat_map(|message| read(message).1).collect();
    let last = records.pop().unwrap();
    assert_eq!(records.first(), Some(&last));
    assert_eq!(last.1, RecordType::SOA.0);
    let count = records.len();
    let lower = |(owner, rtype, ttl, data): Plain| (owner, rtype, ttl, data.to_ascii_lowercase());
    let sent: BTreeSet<Plain> = records.into_iter().map(lower).collect();
    assert_eq!(sent.len(), count, "nothing is sent twice");
    let expected: BTreeSet<Plain> = records_of(zone).into_iter().map(lower).collect();
    assert_eq!(sent, expected);
}

#[test]
fn a_zone_is_sent_whole() {
    let (zone, table) = (zone_of(ZONE), table_of(ZONE));
    let messages = messages(&request(RecordType::AXFR, None), &table, 0);
    assert_eq!(messages.len(), 1);
    check_whole(&zone, &messages);
    let (message, _) = read(&messages[0]);
    assert_eq!(message.metadata.id, 0x1234);
    assert!(message.metadata.authoritative && message.metadata.recursion_desired);
    assert_eq!(message.queries.len(), 1);
    assert!(message.edns.is_some());
    assert!(messages[0].windows(10).any(|name| name == b"\x07Example\0\0"), "the question as it was asked");
}

#[test]
fn a_large_zone_goes_in_messages_that_leave_room_for_a_signature() {
    let mut text = ZONE.to_owned();
    for i in 0..4000 {
        writeln!(text, "host-{i}.many MX {} mail.host-{}.many\n A 192.0.2.7", i % 7, i / 2).unwrap();
    }
    let (zone, table) = (zone_of(&text), table_of(&text));
    for reserve in [0, 300] {
        let messages = messages(&request(RecordType::AXFR, None), &table, reserve);
        check_whole(&zone, &messages);
        assert!(messages.len() > 3);
        for (index, message) in messages.iter().enumerate() {
            assert!(message.len() + reserve <= LEN_WANTED);
            assert_eq!(message[5], u8::from(index == 0), "the question is in the first message");
            assert!(
                index + 1 == messages.len() || message.len() + reserve > LEN_WANTED - 100,
                "messages are full"
            );
        }
    }
}

#[test]
fn sets_that_are_larger_than_a_message_are_cut_between_records() {
    let mut text = ZONE.to_owned();
    for i in 0..1200 {
        writeln!(text, "large NS server-{i}.large-{}.servers", i % 3).unwrap();
        writeln!(text, "server-{i}.large-{}.servers A 192.0.2.9", i % 3).unwrap();
    }
    check_whole(&zone_of(&text), &messages(&request(RecordType::AXFR, None), &table_of(&text), 0));
}

#[test]
fn a_record_of_any_length_has_a_message_to_itself() {
    let long = format!("long TXT {}\nafter A 192.0.2.8\n", format!("\"{}\" ", "y".repeat(255)).repeat(200));
    let text = format!("{ZONE}{long}");
    let zone = zone_of(&text);
    let messages = messages(&request(RecordType::AXFR, None), &table_of(&text), 300);
    check_whole(&zone, &messages);
    let lengths: Vec<usize> = messages.iter().map(Vec::len).collect();
    assert!(lengths.iter().any(|len| *len > 50_000), "{lengths:?}");
    assert!(lengths.iter().filter(|len| **len > LEN_WANTED).count() == 1, "{lengths:?}");
}

#[test]
fn what_changed_is_nothing_or_the_whole_zone() {
    let (zone, table) = (zone_of(ZONE), table_of(ZONE));
    for (serial, is_current) in [
        (7, true),
        (8, true),
        (7 + (1 << 31) - 1, true),
        (6, false),
        (7 + (1 << 31), false),
        (u32::MAX, false),
    ] {
        let messages = messages(&request(RecordType::IXFR, Some(serial)), &table, 0);
        if is_current {
            let (_, records) = read(&messages[0]);
            assert_eq!((messages.len(), records.len(), records[0].1), (1, 1, RecordType::SOA.0), "{serial}");
        } else {
            check_whole(&zone, &messages);
        }
    }
}

#[test]
fn requests_that_are_none_are_told_from_malformed_ones() {
    let good = request(RecordType::IXFR, Some(1));
    assert_eq!(Request::read(&good).unwrap().kind, Kind::Ixfr { serial: 1 });
    let without_serial = request(RecordType::IXFR, None);
    assert!(is_request(&without_serial) && Request::read(&without_serial).is_err());
    for len in 0..good.len() {
        assert!(!is_request(&good[..len]) || Request::read(&good[..len]).is_err(), "{len}");
        let _any_octets_do = error_response(&good[..len], Rcode::FORMERR);
    }
    let mut response = good.clone();
    response[2] |= 0x80;
    assert!(!is_request(&response));
    assert!(!is_request(&request(RecordType::A, None)));
    let refused = error_response(&good, Rcode::REFUSED);
    let message = Message::from_vec(&refused).unwrap();
    assert_eq!(message.metadata.response_code, hickory_proto::op::ResponseCode::Refused);
    assert_eq!((message.metadata.id, message.queries.len(), message.edns.is_some()), (0x1234, 1, true));
}

/// Versions of the zone, each a step on.
fn versions(count: u32) -> Vec<String> {
    let version = |serial: u32| {
        let mut text = ZONE.replace("host.mail 7 ", &format!("host.mail {serial} "));
        for i in 0..700 {
            writeln!(text, "h{} A 192.0.2.{}\n TXT \"{}\"", (serial * 31 + i) % 900, i % 250, serial / 2)
                .unwrap();
        }
        text
    };
    (7..7 + count).map(version).collect()
}

/// The journal of these versions, in front of what is sent: the octets, and the marks.
fn journal_of(tables: &[Arc<Table>]) -> (Vec<u8>, Vec<journal::Mark>) {
    let version = |table: &Table| journal::Version { serial: table.serial(), digest: [0; 32] };
    let (mut octets, mark) = journal::heading(tables[0].apex_name(), version(&tables[0]));
    let mut marks = vec![mark];
    for pair in tables.windows(2) {
        let difference = zone::compare(&pair[0], &pair[1], usize::MAX).unwrap();
        let (frame, mark) = journal::frame(&marks[marks.len() - 1], &difference, [0; 32]).unwrap();
        octets.extend(frame);
        marks.push(mark);
    }
    (octets, marks)
}

fn incremental(tables: &[Arc<Table>], from: usize, reserve: usize) -> Vec<Vec<u8>> {
    let (octets, marks) = journal_of(tables);
    let rest = octets[marks[from].at as usize..].to_vec();
    let records =
        Records::new(Box::new(std::io::Cursor::new(rest)) as Box<_>, marks[from], marks[marks.len() - 1]);
    let request = Request::read(&request(RecordType::IXFR, Some(tables[from].serial()))).unwrap();
    let mut outgoing =
        Outgoing::incremental(request, Arc::clone(&tables[tables.len() - 1]), records).unwrap();
    let mut messages = Vec::new();
    while let Some(message) = outgoing.next_message(reserve).unwrap() {
        messages.push(message.clone());
    }
    messages
}

#[test]
fn what_has_changed_leads_from_the_version_of_the_client_to_ours() {
    let texts = versions(5);
    let tables: Vec<_> = texts.iter().map(|text| table_of(text)).collect();
    let zones: Vec<_> = texts.iter().map(|text| records_of(&zone_of(text))).collect();
    for (from, reserve) in [(0, 0), (0, 300), (2, 0), (3, 0)] {
        let messages = incremental(&tables, from, reserve);
        assert!(messages.len() > 1 && messages.iter().all(|message| message.len() + reserve <= LEN_WANTED));
        let mut records: Vec<Plain> = messages.iter().flat_map(|message| read(message).1).collect();
        let last = records.pop().unwrap();
        assert_eq!(records.remove(0), last, "RFC 1995 §4: the SOA record of our version first and last");
        let lower = |(owner, rtype, ttl, data): Plain| (owner, rtype, ttl, data.to_ascii_lowercase());
        let mut zone: BTreeSet<Plain> = zones[from].iter().cloned().map(lower).collect();
        // Each SOA record turns from what goes to what comes.
        let (mut comes, mut soas) = (true, 0);
        for record in records.into_iter().map(lower) {
            if record.1 == RecordType::SOA.0 {
                comes = !comes;
                soas += 1;
            }
            let changed = if comes { zone.insert(record.clone()) } else { zone.remove(&record) };
            assert!(changed, "{record:?}");
        }
        assert_eq!(soas, 2 * (tables.len() - 1 - from), "the sequence as it is in the journal");
        let ours: BTreeSet<Plain> = zones[tables.len() - 1].iter().cloned().map(lower).collect();
        assert_eq!(zone, ours);
        let (message, _) = read(&messages[0]);
        assert!(message.metadata.authoritative && message.queries.len() == 1 && message.edns.is_some());
    }
}

#[test]
fn a_damaged_journal_does_not_look_like_a_whole_transfer() {
    let tables: Vec<_> = versions(2).iter().map(|text| table_of(text)).collect();
    let (octets, marks) = journal_of(&tables);
    let mut rest = octets[marks[0].at as usize..].to_vec();
    let last = rest.len() - 1;
    rest[last] ^= 1;
    let records = Records::new(Box::new(std::io::Cursor::new(rest)) as Box<_>, marks[0], marks[1]);
    let request = Request::read(&request(RecordType::IXFR, Some(7))).unwrap();
    let mut outgoing = Outgoing::incremental(request, Arc::clone(&tables[1]), records).unwrap();
    let mut soas = 0;
    let end = loop {
        match outgoing.next_message(0) {
            Ok(Some(message)) => {
                let (_, records) = read(message);
                soas += records.iter().filter(|record| record.1 == RecordType::SOA.0).count();
            }
            end => break end.map(|_| ()),
        }
    };
    assert_eq!((end, soas), (Err(StreamError::Journal(Damage::Checksum)), 3), "the last one never comes");
}
