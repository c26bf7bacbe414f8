use super::*;
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
    let mut message = question(name("example.").as_name(), RecordType::AXFR, ID);
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
        let zone = incoming.into_records().unwrap().finish().unwrap();
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
        assert!(incoming.into_records().is_none(), "{len}");
    }
    let open = transfer(&[]).unwrap();
    assert!(open.into_records().is_none());
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
            let _a_zone_or_not = zone::conclude(incoming.into_records().unwrap());
        }
    }
}
