//! The table's answers against those of the naive model.

use crate::config;
use crate::model::{Expected, Flat, Model};
use crate::serving::{Dnssec, ask, query, serve};
use crate::zones::{Question, RandomZone, question, questions, signed, unsigned};
use nameserver::Transport;
use proptest::prelude::*;
use starling_tests::message::{AA, Message, TC};
use starling_tests::name::Name;
use std::collections::BTreeSet;
use wire::RecordType;

const QUESTIONS: usize = 40;

proptest! {
    #![proptest_config(config(1500))]

    #[test]
    fn an_unsigned_zone_is_answered_as_the_model_does(zone in unsigned(), asked in questions(QUESTIONS)) {
        for asked in &asked {
            compare(&zone, &question(&zone, asked), Dnssec::Wanted)?;
        }
        compare_owners(&zone)?;
    }

    #[test]
    fn a_signed_zone_is_answered_as_the_model_does(zone in signed(), asked in questions(QUESTIONS)) {
        for asked in &asked {
            compare(&zone, &question(&zone, asked), Dnssec::Unwanted)?;
            compare(&zone, &question(&zone, asked), Dnssec::Wanted)?;
        }
        compare_owners(&zone)?;
    }
}

proptest! {
    #![proptest_config(config(700))]

    /// An explanation goes through the whole algorithm, and has the octets of the short ways.
    #[test]
    fn short_ways_give_the_octets_of_the_whole_algorithm(
        zone in prop_oneof![unsigned(), signed(), signed()],
        asked in questions(QUESTIONS),
    ) {
        let (mut short, mut whole) = (serve(&zone), serve(&zone));
        let (mut from_short, mut from_whole) = (vec![0; 65_535], vec![0; 65_535]);
        for question in asked.iter().map(|asked| question(&zone, asked)) {
            for dnssec in [Dnssec::Wanted, Dnssec::Unwanted] {
                for (transport, room) in [(Transport::Udp, 4096), (Transport::Udp, 512), (Transport::Tcp, 65_535)] {
                    let query = query(&question, dnssec);
                    let len = short.respond(&query, transport, &mut from_short[..room]);
                    let (whole_len, explanation) = whole.explain(&query, transport, &mut from_whole[..room]);
                    prop_assert!(
                        from_short[..len] == from_whole[..whole_len],
                        "{question:?} {dnssec:?} {transport:?} {:?}:\n{:02x?}\n{:02x?}",
                        explanation.rules, &from_short[..len], &from_whole[..whole_len]
                    );
                }
            }
        }
    }
}

/// Every record is asked for by its own name and type.
fn compare_owners(zone: &RandomZone) -> Result<(), TestCaseError> {
    for record in &zone.records {
        if ![RecordType::RRSIG, RecordType::NSEC3].contains(&record.rtype) {
            let question = Question { name: record.owner.clone(), rtype: record.rtype };
            compare(zone, &question, Dnssec::Unwanted)?;
        }
    }
    Ok(())
}

fn compare(zone: &RandomZone, question: &Question, dnssec: Dnssec) -> Result<(), TestCaseError> {
    let model = Model::new(zone.apex.as_name(), &zone.records);
    let mut responder = serve(zone);
    let qname = Name::from_wire(question.name.as_name().as_wire().to_ascii_lowercase());
    let expected = model.answer(&qname, question.rtype);
    for transport in [Transport::Tcp, Transport::Udp] {
        let got = ask(&mut responder, question, transport, dnssec);
        if transport == Transport::Udp && got.has(TC) {
            continue;
        }
        let fault = difference(&model, question, transport, &expected, &got);
        prop_assert!(
            fault.is_none(),
            "{:?} {transport:?} {dnssec:?}: {}\n{expected}{got}",
            question,
            fault.unwrap_or_default()
        );
        if dnssec == Dnssec::Unwanted && ![RecordType::ANY, RecordType::NSEC].contains(&question.rtype) {
            let all = got.answer.iter().chain(&got.authority).chain(&got.additional);
            let stray = all.clone().any(|record| [46, 47, 50].contains(&record.rtype));
            prop_assert!(!stray, "{:?}: DNSSEC records that nobody asked for\n{got}", question);
        }
    }
    Ok(())
}

/// What is wrong with an answer; none where it is as expected.
fn difference(
    model: &Model,
    question: &Question,
    transport: Transport,
    expected: &Expected,
    got: &Message,
) -> Option<String> {
    let answer: Vec<Flat> = flat(&got.answer).filter(|record| record.1 != 46).collect();
    let answer_set: BTreeSet<Flat> = answer.iter().cloned().collect();
    if answer.len() != answer_set.len() {
        return Some("a record of the answer comes twice".to_owned());
    }
    if expected.endless {
        return (!answer_set.is_superset(&expected.answer)).then(|| "the chain's beginning".to_owned());
    }
    if got.has(TC) {
        return Some("truncated".to_owned());
    }
    if got.rcode() != expected.rcode {
        return Some(format!("RCODE {}", got.rcode()));
    }
    if got.has(AA) != expected.authoritative {
        return Some("AA".to_owned());
    }
    let one_set = question.rtype == RecordType::ANY && transport == Transport::Udp;
    if one_set && !answer_set.is_empty() {
        if !is_whole_set(&answer_set, &expected.answer) {
            return Some("one whole set of the answer (RFC 8482 §4.1)".to_owned());
        }
    } else if answer_set != expected.answer {
        return Some("the answer".to_owned());
    }
    let authority: Vec<Flat> = flat(&got.authority).collect();
    let referral: BTreeSet<Flat> = authority.iter().filter(|record| record.1 == 2).cloned().collect();
    if referral != expected.referral {
        return Some("the referral".to_owned());
    }
    if authority.iter().filter(|record| record.1 == 6).count() != usize::from(expected.soa) {
        return Some("the SOA record".to_owned());
    }
    let additional: Vec<Flat> = flat(&got.additional).filter(|record| record.1 != 46).collect();
    if let Some(stray) = additional.iter().find(|record| !model.contains(record)) {
        return Some(format!("{} is not in the zone", stray.0));
    }
    let additional: BTreeSet<Flat> = additional.into_iter().collect();
    (!additional.is_superset(&expected.glue)).then(|| "the glue".to_owned())
}

/// Whether `set` is all that `all` has of one type, and beside it the DNAME and CNAME that led there.
fn is_whole_set(set: &BTreeSet<Flat>, all: &BTreeSet<Flat>) -> bool {
    let types: BTreeSet<u16> = set.iter().map(|record| record.1).collect();
    set.is_subset(all)
        && (types.len() == 1 || types == BTreeSet::from([5, 39]))
        && all.iter().filter(|record| types.contains(&record.1)).all(|record| set.contains(record))
}

fn flat(records: &[starling_tests::message::Record]) -> impl Iterator<Item = Flat> {
    records.iter().map(|record| (record.owner.clone(), record.rtype, record.ttl, record.rdata.clone()))
}
