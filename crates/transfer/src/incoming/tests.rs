use super::*;
use wire::Rcode;
use wire::message::{AA, QR};
use zone::master::rdata_from_text;

const ID: u16 = 4711;

fn name(text: &str) -> NameBuf {
    NameBuf::from_text(text.as_bytes(), None).unwrap()
}

/// A record as `owner class type data`.
fn record(owner: &str, class: u16, rtype: RecordType, data: &str) -> Vec<u8> {
    let data = rdata_from_text(rtype, data.as_bytes(), Name::ROOT).unwrap();
    let mut record = name(owner).as_name().as_wire().to_vec();
    record.extend([rtype.0, class].map(u16::to_be_bytes).as_flattened());
    record.extend(300u32.to_be_bytes());
    record.extend((data.len() as u16).to_be_bytes());
    record.extend(data);
    record
}

fn soa(serial: u32) -> Vec<u8> {
    record("example.", 1, RecordType::SOA, &format!("ns.example. host.example. {serial} 2 3 4 5"))
}

fn a(owner: &str) -> Vec<u8> {
    record(owner, 1, RecordType::A, "192.0.2.1")
}

fn message(records: &[Vec<u8>]) -> Vec<u8> {
    message_of(RecordType::AXFR, records)
}

fn message_of(qtype: RecordType, records: &[Vec<u8>]) -> Vec<u8> {
    let mut message = question(name("example.").as_name(), qtype, ID);
    message[2..4].copy_from_slice(&(QR | AA).to_be_bytes());
    message[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
    message.extend(records.concat());
    message
}

fn transfer(messages: &[Vec<u8>]) -> Result<Incoming, Fault> {
    transfer_within(messages, 1 << 20)
}

fn transfer_within(messages: &[Vec<u8>], octets_max: u64) -> Result<Incoming, Fault> {
    let mut incoming = Incoming::new(name("example.").as_name(), ID, Limits { octets_max });
    for (index, message) in messages.iter().enumerate() {
        let complete = incoming.take(message)? == Progress::Complete;
        assert_eq!(complete, index + 1 == messages.len(), "message {index}");
    }
    Ok(incoming)
}

/// The records of a whole zone.
fn zone_of(incoming: Incoming) -> Gatherer {
    match incoming.into_content() {
        Some(Content::Zone(gatherer)) => *gatherer,
        _ => panic!("a whole zone"),
    }
}

fn fault(messages: &[Vec<u8>]) -> Fault {
    transfer(messages).err().unwrap()
}

#[test]
fn a_transfer_gives_its_records_in_one_message_or_many() {
    let records = [soa(7), record("example.", 1, RecordType::NS, "ns.example."), a("ns.example."), soa(7)];
    let one = transfer(&[message(&records)]).unwrap();
    let many =
        transfer(&records.iter().map(|record| message(std::slice::from_ref(record))).collect::<Vec<_>>());
    for incoming in [one, many.unwrap()] {
        assert_eq!(incoming.soa().unwrap().serial, 7);
        assert_eq!(incoming.counts().2, 3);
        let zone = zone_of(incoming).finish().unwrap();
        assert_eq!((zone.record_count(), zone.serial()), (3, 7));
    }
}

#[test]
fn only_later_messages_may_leave_the_question_out() {
    let bare = |records: &[Vec<u8>]| {
        let mut message = message(records);
        message[5] = 0;
        message.drain(12..12 + 9 + 4);
        message
    };
    transfer(&[message(&[soa(1)]), bare(&[a("a.example."), soa(1)])]).unwrap();
    assert_eq!(fault(&[bare(&[soa(1)])]), Fault::NotTheAnswer);
}

#[test]
fn lies_are_told_apart() {
    let other = |owner: &str| Box::new(name(owner));
    assert_eq!(
        fault(&[message(&[a("a.example.")])]),
        Fault::BeginsWrong { owner: other("a.example."), rtype: RecordType::A }
    );
    assert_eq!(fault(&[message(&[soa(1), soa(2)])]), Fault::EndsWrong { begins: 1, ends: 2 });
    assert_eq!(fault(&[message(&[soa(1), soa(1), a("a.example.")])]), Fault::AfterTheEnd(1));
    assert_eq!(fault(&[message(&[soa(1), a("a.example.org.")])]), Fault::OutOfZone(other("a.example.org.")));
    assert_eq!(
        fault(&[message(&[soa(1), record("a.example.", 3, RecordType::A, "192.0.2.1")])]),
        Fault::WrongClass { owner: other("a.example."), class: Class(3) }
    );
    let mut meta = a("a.example.");
    meta[12] = 255; // the type's low octet
    assert_eq!(
        fault(&[message(&[soa(1), meta])]),
        Fault::MetaType { owner: other("a.example."), rtype: RecordType::ANY }
    );
    let mut short = a("a.example.");
    short.pop();
    let data_len = short.len() - 4;
    short[data_len] = 3;
    assert!(matches!(fault(&[message(&[soa(1), short])]), Fault::Data { rtype: RecordType::A, .. }));
    assert_eq!(fault(&[[message(&[soa(1)]), vec![0]].concat()]), Fault::Trailing);
    let mut truncated = message(&[soa(1)]);
    truncated[2] |= 2;
    assert_eq!(fault(&[truncated]), Fault::Truncated);
    let mut refused = message(&[]);
    refused[3] |= 5;
    assert_eq!(fault(&[refused]), Fault::Refused(Rcode::REFUSED));
}

#[test]
fn size_is_bounded_also_where_it_is_compressed_or_empty() {
    let whole = [message(&[soa(1), a("a.example."), soa(1)])];
    assert_eq!(transfer_within(&whole, 100).err(), Some(Fault::TooLarge(100)));
    // Long names behind pointers: 16 octets each in the message, 255 and more outside.
    let long = format!("{0}.{0}.{0}.example.", "x".repeat(60));
    let mut first = message(&[soa(1), a(&long)]);
    let long_at = (message(&[soa(1)]).len()) as u16;
    let mut pointer = (0xc000 | long_at).to_be_bytes().to_vec();
    pointer.extend(&a(".")[1..]);
    let count = 200;
    first[6..8].copy_from_slice(&(2 + count as u16).to_be_bytes());
    first.extend(pointer.repeat(count));
    assert!(first.len() < 8_000);
    assert_eq!(transfer_within(&[first], 10_000).err(), Some(Fault::TooLarge(10_000)));
    let mut incoming = Incoming::new(name("example.").as_name(), ID, Limits { octets_max: 1000 });
    incoming.take(&message(&[soa(1)])).unwrap();
    let empty = (0..100).find_map(|_| incoming.take(&message(&[])).err());
    assert_eq!(empty, Some(Fault::TooLarge(1000)), "messages without records have an end too");
}

#[test]
fn no_part_of_a_transfer_passes_for_all_of_it() {
    let whole = message(&[soa(1), a("a.example."), soa(1)]);
    for len in 0..whole.len() {
        let mut incoming = Incoming::new(name("example.").as_name(), ID, Limits { octets_max: 1 << 20 });
        assert!(incoming.take(&whole[..len]).is_err(), "{len}");
        assert!(incoming.into_content().is_none(), "{len}");
    }
    let open = transfer(&[]).unwrap();
    assert!(open.into_content().is_none());
}

/// The answer to a request for what has changed since serial 5, in one message or one for each record.
fn changes(records: &[Vec<u8>]) -> Result<Content, Fault> {
    let take = |messages: &[Vec<u8>]| {
        let limits = Limits { octets_max: 1 << 20 };
        let mut incoming = Incoming::since(name("example.").as_name(), 5, ID, limits);
        for (index, message) in messages.iter().enumerate() {
            let complete = incoming.take(message)? == Progress::Complete;
            assert_eq!(complete, index + 1 == messages.len(), "message {index}");
        }
        Ok(incoming.into_content().unwrap())
    };
    let together = take(&[message_of(RecordType::IXFR, records)]);
    let apart: Vec<_> = records.chunks(1).map(|record| message_of(RecordType::IXFR, record)).collect();
    let shown = |content: &Result<Content, Fault>| match content {
        Ok(Content::Zone(_)) => "a zone".to_owned(),
        Ok(Content::Differences(differences)) => format!("{differences:?}"),
        Ok(Content::Current) => "nothing".to_owned(),
        Err(fault) => fault.to_string(),
    };
    if !matches!(together, Err(Fault::AfterTheEnd(_))) {
        assert_eq!(shown(&take(&apart)), shown(&together));
    }
    together
}

fn changes_fault(records: &[Vec<u8>]) -> Fault {
    changes(records).err().unwrap()
}

#[test]
fn differences_are_those_that_were_sent() {
    // Twice the same host removed and added, as RFC 1995 §7 has it.
    let records = [
        soa(8),
        soa(5),
        a("old.example."),
        soa(6),
        a("new.example."),
        soa(6),
        soa(8),
        a("old.example."),
        a("b.example."),
        soa(8),
    ];
    let Ok(Content::Differences(differences)) = changes(&records) else { panic!("differences") };
    let shown: Vec<_> = differences
        .iter()
        .map(|difference| {
            let names =
                |list: &zone::RecordList| list.iter().map(|record| record.owner.to_string()).collect();
            let (removed, added): (Vec<_>, Vec<_>) = (names(&difference.removed), names(&difference.added));
            (difference.from, difference.to, removed.join(" "), added.join(" "))
        })
        .collect();
    let text = str::to_owned;
    assert_eq!(
        shown,
        [
            (5, 6, text("example. old.example."), text("example. new.example.")),
            (6, 8, text("example."), text("example. old.example. b.example."))
        ]
    );
    assert!(differences[0].removed.iter().next().is_some_and(|record| record.rtype == RecordType::SOA));
}

#[test]
fn to_a_request_for_differences_there_are_other_answers() {
    assert!(matches!(changes(&[soa(5)]), Ok(Content::Current)));
    assert!(matches!(changes(&[soa(4)]), Ok(Content::Current)), "an older one is nothing to take");
    let ns = record("example.", 1, RecordType::NS, "ns.example.");
    for serial in [6, 9] {
        let Ok(Content::Zone(gatherer)) = changes(&[soa(serial), ns.clone(), a("ns.example."), soa(serial)])
        else {
            panic!("a whole zone")
        };
        assert_eq!(gatherer.finish().unwrap().serial(), serial);
    }
    assert!(matches!(changes(&[soa(6), soa(6)]), Ok(Content::Zone(_))), "for the checks to refuse");
    let mut incoming = Incoming::since(name("example.").as_name(), 5, ID, Limits { octets_max: 1 << 20 });
    assert_eq!(incoming.take(&message_of(RecordType::IXFR, &[soa(6)])), Ok(Progress::More));
    assert!(incoming.into_content().is_none(), "one record of something newer is the begin of it");
    let mut incoming = Incoming::since(name("example.").as_name(), 5, ID, Limits { octets_max: 1 << 20 });
    assert_eq!(incoming.take(&message(&[soa(5)])), Err(Fault::NotTheAnswer), "to another question");
}

#[test]
fn lies_in_differences_are_told_apart() {
    let broken = |expected, found| Fault::ChainBroken { expected, found };
    assert_eq!(changes_fault(&[soa(8), soa(4)]), Fault::EndsWrong { begins: 8, ends: 4 });
    assert_eq!(changes_fault(&[soa(8), soa(5), soa(6), soa(7)]), broken(6, 7));
    assert_eq!(changes_fault(&[soa(8), soa(5), soa(9)]), broken(8, 9), "past the end");
    assert_eq!(changes_fault(&[soa(8), soa(5), soa(8), soa(9)]), broken(8, 9));
    assert_eq!(changes_fault(&[soa(8), soa(5), soa(5)]), Fault::GoesBack { from: 5, to: 5 });
    assert_eq!(changes_fault(&[soa(8), soa(5), soa(6), soa(6), soa(5)]), Fault::GoesBack { from: 6, to: 5 });
    let other_end = record("example.", 1, RecordType::SOA, "ns.example. other.example. 8 2 3 4 5");
    assert_eq!(changes_fault(&[soa(8), soa(5), soa(8), other_end]), Fault::EndsWrong { begins: 8, ends: 8 });
    assert_eq!(changes_fault(&[soa(8), soa(5), soa(8), soa(8), a("late.example.")]), Fault::AfterTheEnd(1));
    assert_eq!(
        changes_fault(&[soa(8), soa(5), a("a.example.org."), soa(8), soa(8)]),
        Fault::OutOfZone(Box::new(name("a.example.org.")))
    );
    let limits = Limits { octets_max: 10_000 };
    let mut incoming = Incoming::since(name("example.").as_name(), 5, ID, limits);
    incoming.take(&message_of(RecordType::IXFR, &[soa(8), soa(5)])).unwrap();
    let removals = message_of(RecordType::IXFR, &vec![a("a.example."); 20]);
    let endless = (0..100).find_map(|_| incoming.take(&removals).err());
    assert_eq!(endless, Some(Fault::TooLarge(10_000)));
    assert!(incoming.into_content().is_none());
}

#[test]
fn any_octet_of_differences_may_be_wrong() {
    let records = [soa(8), soa(5), a("b.example."), soa(6), a("a.example."), soa(6), soa(8), soa(8)];
    let whole = message_of(RecordType::IXFR, &records);
    let mut rng = fastrand::Rng::with_seed(6);
    let mut chains = 0;
    for _ in 0..20_000 {
        let mut changed = whole.clone();
        for _ in 0..rng.usize(1..4) {
            let at = rng.usize(..changed.len());
            changed[at] = rng.u8(..);
        }
        let limits = Limits { octets_max: 1 << 16 };
        let mut incoming = Incoming::since(name("example.").as_name(), 5, ID, limits);
        if incoming.take(&changed) != Ok(Progress::Complete) {
            continue;
        }
        let ends = incoming.soa().unwrap().serial;
        if let Some(Content::Differences(differences)) = incoming.into_content() {
            chains += 1;
            assert_eq!(
                differences.iter().fold(5, |at, next| if next.from == at { next.to } else { 0 }),
                ends
            );
        }
    }
    assert!(chains > 1000, "{chains}");
}

#[test]
fn any_octet_may_be_wrong() {
    let whole =
        message(&[soa(1), a("a.example."), record("b.example.", 1, RecordType::MX, "1 a.example."), soa(1)]);
    let mut rng = fastrand::Rng::with_seed(5);
    for _ in 0..20_000 {
        let mut changed = whole.clone();
        for _ in 0..rng.usize(1..4) {
            let at = rng.usize(..changed.len());
            changed[at] = rng.u8(..);
        }
        let mut incoming = Incoming::new(name("example.").as_name(), ID, Limits { octets_max: 1 << 16 });
        // Whatever it is: an error or a zone, and no panic.
        if incoming.take(&changed) == Ok(Progress::Complete) {
            let _a_zone_or_not = zone::conclude(zone_of(incoming));
        }
    }
}
