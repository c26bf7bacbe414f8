//! A table with differences applied against one that is compiled of the whole new version: the same octets in every answer,
//! the same records in a walk.

use crate::config;
use crate::serving::{Dnssec, query, serve, serve_table};
use crate::signing::{Record, compile, gather};
use crate::zones::{Question, RandomZone, odd_steps, question, questions, small_steps};
use nameserver::Transport;
use proptest::prelude::*;
use std::sync::Arc;
use table::{ImageFlags, PlacesBuilder, SLOTS, Table, Walk};
use wire::{NameBuf, RecordType};
use zone::amend::{
    AmendError, Choice, Decider, NotRenewed, Reason, SteerError, Steered, amend, fold, renew, steer,
};
use zone::{CompileOptions, Difference, Incomparable, RecordList};

const QUESTIONS: usize = 60;
const VERSIONS: usize = 5;

proptest! {
    #![proptest_config(config(1500))]

    #[test]
    fn every_version_is_as_if_compiled(versions in small_steps(VERSIONS), asked in questions(QUESTIONS)) {
        let mut table = Arc::new(compile(versions[0].apex.as_name(), &versions[0].records));
        for (from, to) in versions.iter().zip(&versions[1..]) {
            table = match amend(&table, &[difference(from, to)]) {
                Ok(next) => Arc::new(next),
                Err(AmendError::Recompile(reason)) => {
                    prop_assert!(may_recompile(reason, to), "{reason}\n{from:?}{to:?}");
                    Arc::new(compile(to.apex.as_name(), &to.records))
                }
                Err(misfit) => return Err(TestCaseError::fail(format!("{misfit}\n{from:?}{to:?}"))),
            };
            compare(&table, to, &asked).map_err(|fault| TestCaseError::fail(format!("{fault}\n{from:?}{to:?}")))?;
        }
    }

    /// What is odd comes to the same as in a table of the whole, or is refused; so does it when all records are gone through. Only
    /// what leaves a set with several TTLs, or a record in several spellings, may be refused.
    #[test]
    fn odd_versions_are_as_if_compiled(versions in odd_steps(VERSIONS), asked in questions(QUESTIONS)) {
        let whole = |zone: &RandomZone| Arc::new(compile(zone.apex.as_name(), &zone.records));
        let mut table = whole(&versions[0]);
        for (from, to) in versions.iter().zip(&versions[1..]) {
            let said = |fault: String| TestCaseError::fail(format!("{fault}\n{from:?}{to:?}"));
            let next = whole(to);
            let is_mixed = |table: &Table| table.flags().has(ImageFlags::MIXED);
            if is_mixed(&table) {
                table = next;
                continue;
            }
            let differences = [difference(from, to)];
            let applied = zone::apply(&table, &differences);
            let amended = amend(&table, &differences);
            match applied {
                Ok(gatherer) => {
                    let zone = gatherer.finish().expect("a small zone");
                    let options = CompileOptions { rotate: true, ..Default::default() };
                    let applied = zone::compile(zone, &options).map_err(|error| said(error.to_string()))?;
                    prop_assert!(!is_mixed(&next), "taken, and mixed\n{from:?}{to:?}");
                    prop_assert_eq!(applied.image(), next.image(), "{:?}{:?}", from, to);
                }
                Err(misfit) => {
                    prop_assert!(is_mixed(&next), "{misfit}\n{from:?}{to:?}");
                    prop_assert!(amended.is_err(), "taken all the same\n{from:?}{to:?}");
                }
            }
            table = match amended {
                Ok(amended) => Arc::new(amended),
                Err(AmendError::Recompile(reason)) => {
                    prop_assert!(may_recompile(reason, to), "{reason}\n{from:?}{to:?}");
                    next
                }
                Err(AmendError::Mismatch(misfit)) => {
                    prop_assert!(is_mixed(&next), "{misfit}\n{from:?}{to:?}");
                    table = next;
                    continue;
                }
            };
            compare(&table, to, &asked).map_err(said)?;
        }
    }

    /// The same where all records of each version are there, and what is other is yet to be found.
    #[test]
    fn every_version_is_as_if_compiled_when_all_of_it_is_read(
        versions in prop_oneof![small_steps(VERSIONS), odd_steps(VERSIONS)],
        asked in questions(QUESTIONS),
    ) {
        let mut table = Arc::new(compile(versions[0].apex.as_name(), &versions[0].records));
        for (from, to) in versions.iter().zip(&versions[1..]) {
            let options = CompileOptions { rotate: table.flags().has(ImageFlags::ROTATE), source: table.source() };
            table = match renew(&table, &gather(to.apex.as_name(), &to.records), &options) {
                Ok(next) => Arc::new(next),
                Err(NotRenewed::Amend(AmendError::Recompile(reason))) => {
                    prop_assert!(may_recompile(reason, to), "{reason}\n{from:?}{to:?}");
                    Arc::new(compile(to.apex.as_name(), &to.records))
                }
                Err(NotRenewed::Incomparable(Incomparable::MixedOwner | Incomparable::Mixed)) => {
                    Arc::new(compile(to.apex.as_name(), &to.records))
                }
                Err(misfit) => return Err(TestCaseError::fail(format!("{misfit}\n{from:?}{to:?}"))),
            };
            compare(&table, to, &asked).map_err(|fault| TestCaseError::fail(format!("{fault}\n{from:?}{to:?}")))?;
        }
    }

    /// Differences in a row come to the same as one after the other.
    #[test]
    fn many_differences_at_once(versions in small_steps(VERSIONS), asked in questions(QUESTIONS)) {
        let table = Arc::new(compile(versions[0].apex.as_name(), &versions[0].records));
        let differences: Vec<_> =
            versions.iter().zip(&versions[1..]).map(|(from, to)| difference(from, to)).collect();
        let last = versions.last().expect("there is one");
        if let Ok(next) = amend(&table, &differences) {
            compare(&Arc::new(next), last, &asked).map_err(TestCaseError::fail)?;
        }
    }
}

proptest! {
    #![proptest_config(config(1500))]

    /// Names that answer with something else than the zone says give the answers that they would give, were it in the zone.
    #[test]
    fn steered_names_answer_as_if_compiled(
        versions in small_steps(2),
        sought in questions(3),
        counts in prop::array::uniform3(0u8..4),
        by in 0u8..3,
        asked in questions(QUESTIONS),
    ) {
        let mut table = Arc::new(compile(versions[0].apex.as_name(), &versions[0].records));
        // Mostly over an overlay.
        let mut zone = &versions[0];
        if let Some(next) = versions.get(1)
            && let Ok(amended) = amend(&table, &[difference(zone, next)])
        {
            (table, zone) = (Arc::new(amended), next);
        }
        let whole: Vec<Steered> =
            sought.iter().zip(counts).map(|(sought, count)| addresses(question(zone, sought).name, count)).collect();
        let is_signed = zone.records.iter().any(|record| record.rtype == RecordType::NSEC || record.rtype == RecordType::NSEC3);
        let expected = with(zone, &whole);
        // Every set as a whole, and then each of its parts, of which the answers that follow have the same one.
        for part in [None, Some(0), Some(1), Some(2)] {
            let steered: Vec<Steered> = whole.iter().map(|whole| part.map_or(whole.clone(), |part| in_parts(whole, part, by))).collect();
            let said = |fault| TestCaseError::fail(format!("{fault}\n{steered:?}\n{zone:?}"));
            match steer(&table, &steered, None) {
                Ok(over) => {
                    prop_assert!(!is_signed);
                    let over = Arc::new(over);
                    prop_assert!(Arc::ptr_eq(over.version(), &table));
                    compare_content(&over, &expected).map_err(said)?;
                    let answered: Vec<Steered> = steered.iter().map(answered).collect();
                    compare_answers(&over, &with(zone, &answered), &asked).map_err(said)?;
                }
                Err(SteerError::Signed) => prop_assert!(is_signed),
                Err(SteerError::Outside(name)) => prop_assert!(!name.as_name().is_at_or_below(zone.apex.as_name())),
                Err(SteerError::Bare(name)) => prop_assert!(expected.records.iter().all(|record| record.owner != *name)),
                // Whether a name is below a cut is the model's to say, and whether a zone is wrong the check's.
                Err(SteerError::Elsewhere(_) | SteerError::Wrong(AmendError::Recompile(Reason::Errors))) => {}
                Err(error) => return Err(said(error.to_string())),
            }
        }
    }
}

/// So many addresses, of IPv4 where the number is odd.
pub(crate) fn addresses(mut owner: NameBuf, count: u8) -> Steered {
    owner.make_lowercase();
    let (rtype, len) = if count % 2 == 1 { (RecordType::A, 4) } else { (RecordType::AAAA, 16) };
    Steered { owner, rtype, ttl: 7, rdata: (0..count).map(|index| vec![index; len]).collect(), choice: None }
}

/// The same in parts, of which all answers have this one: by turns, by who asks, or by where that is.
fn in_parts(whole: &Steered, part: u16, by: u8) -> Steered {
    let all: Vec<u16> = (0..whole.rdata.len() as u16).rev().collect();
    if all.len() < 2 {
        return whole.clone();
    }
    let parts = vec![all[..1].to_vec(), all[1..].to_vec(), all];
    let by = match by {
        0 => Decider::Turns((0..3).map(|other| u32::from(other == part)).collect()),
        1 => Decider::Clients(Box::new([part; SLOTS])),
        _ => Decider::Places(Arc::new(PlacesBuilder::default().finish()), Box::new([part])),
    };
    Steered { choice: Some(Arc::new(Choice { parts, by })), ..whole.clone() }
}

/// What answers have of it.
fn answered(steered: &Steered) -> Steered {
    let Some(choice) = &steered.choice else { return steered.clone() };
    let part = match &choice.by {
        Decider::Turns(weights) => weights.iter().position(|weight| *weight > 0).expect("one has a weight"),
        Decider::Clients(slots) => usize::from(slots[0]),
        Decider::Withheld(_) => unreachable!("answers here have something"),
        Decider::Places(_, parts) => usize::from(parts[0]),
    };
    let rdata = choice.parts[part].iter().map(|place| steered.rdata[usize::from(*place)].clone()).collect();
    Steered { rdata, choice: None, ..steered.clone() }
}

/// The zone with these answers as its own.
fn with(zone: &RandomZone, answers: &[Steered]) -> RandomZone {
    let mut zone = zone.clone();
    for Steered { owner, rtype, ttl, rdata, .. } in answers {
        zone.records.retain(|record| (&record.owner, record.rtype) != (owner, *rtype));
        let record =
            |rdata: &Vec<u8>| Record { owner: owner.clone(), ttl: *ttl, rtype: *rtype, rdata: rdata.clone() };
        zone.records.extend(rdata.iter().map(record));
    }
    zone
}

/// Random zones are made of few names, so that the check finds something in many. Only these are left to a compilation.
fn may_recompile(reason: Reason, zone: &RandomZone) -> bool {
    match reason {
        Reason::Errors => true,
        // With opt-out a change of one name may bring or take records of others.
        Reason::Chain => matches!(&zone.denial, crate::signing::Denial::Nsec3 { .. }),
        Reason::Denial | Reason::TooMany | Reason::Table => false,
    }
}

fn key(record: &Record) -> (NameBuf, RecordType, Vec<u8>) {
    (record.owner.clone(), record.rtype, record.rdata.clone())
}

pub(crate) fn difference(from: &RandomZone, to: &RandomZone) -> Difference {
    let list = |of: &RandomZone, other: &RandomZone| {
        let mut list = RecordList::default();
        let is_there = |record: &Record| {
            other.records.iter().any(|kept| key(kept) == key(record) && kept.ttl == record.ttl)
        };
        let mut records: Vec<_> = of.records.iter().filter(|record| !is_there(record)).collect();
        records.sort_by_key(|record| record.rtype != RecordType::SOA);
        let mut seen = Vec::new();
        for record in records {
            if !seen.contains(&key(record)) {
                list.push(record.owner.as_name(), record.rtype, record.ttl, &record.rdata);
                seen.push(key(record));
            }
        }
        list
    };
    Difference { from: serial(from), to: serial(to), removed: list(from, to), added: list(to, from) }
}

fn serial(zone: &RandomZone) -> u32 {
    let soa = zone.records.iter().find(|record| record.rtype == RecordType::SOA).expect("a zone has one");
    let at = soa.rdata.len() - 20;
    u32::from_be_bytes(soa.rdata[at..at + 4].try_into().expect("four octets"))
}

/// What is different between the table and one of the whole zone.
fn compare(
    table: &Arc<Table>,
    zone: &RandomZone,
    asked: &[(Vec<&'static str>, u32, RecordType)],
) -> Result<(), String> {
    compare_content(table, zone)?;
    compare_answers(table, zone, asked)
}

/// What is different about what is in them.
fn compare_content(table: &Arc<Table>, zone: &RandomZone) -> Result<(), String> {
    let whole = Arc::new(compile(zone.apex.as_name(), &zone.records));
    let counts = |table: &Table| (table.serial(), table.name_count(), table.record_count(), table.content());
    if counts(table) != counts(&whole) {
        return Err(format!("{:?}, and compiled {:?}", counts(table), counts(&whole)));
    }
    if records(table) != records(&whole) {
        return Err(format!("{:#?}\nand compiled {:#?}", records(table), records(&whole)));
    }
    let folded = fold(table).map_err(|error| error.to_string())?;
    // Where records were given in several spellings, one has found its place among others, and what is left is the same.
    let is_mixed = whole.flags().has(ImageFlags::MIXED);
    if folded.is_overlaid() || (folded.image() != whole.image() && !is_mixed) {
        return Err("folded it is another image than compiled".to_owned());
    }
    Ok(())
}

/// What is different about what they answer.
fn compare_answers(
    table: &Arc<Table>,
    zone: &RandomZone,
    asked: &[(Vec<&'static str>, u32, RecordType)],
) -> Result<(), String> {
    let mut amended = serve_table(Arc::clone(table));
    let mut compiled = serve(zone);
    let (mut one, mut other) = (vec![0; 65_535], vec![0; 65_535]);
    let owners =
        zone.records.iter().map(|record| Question { name: record.owner.clone(), rtype: record.rtype });
    let questions: Vec<_> = asked.iter().map(|asked| question(zone, asked)).chain(owners).collect();
    for question in &questions {
        for dnssec in [Dnssec::Wanted, Dnssec::Unwanted] {
            for (transport, room) in [(Transport::Udp, 1232), (Transport::Tcp, 65_535)] {
                let query = query(question, dnssec);
                let len = amended.respond(&query, transport, &mut one[..room]);
                let compiled_len = compiled.respond(&query, transport, &mut other[..room]);
                if one[..len] != other[..compiled_len] {
                    let message = |octets: &[u8]| {
                        starling_tests::message::Message::decode(octets).map(|message| message.to_string())
                    };
                    return Err(format!(
                        "{question:?} {dnssec:?} {transport:?}:\n{}\ncompiled\n{}",
                        message(&one[..len]).unwrap_or_default(),
                        message(&other[..compiled_len]).unwrap_or_default()
                    ));
                }
            }
        }
    }
    Ok(())
}

fn records(table: &Arc<Table>) -> Vec<String> {
    let mut walk = Walk::new(Arc::clone(table));
    let mut records = Vec::new();
    while let Some(record) = walk.next_record().expect("good pointers") {
        records.push(format!("{} {} {} {:02x?}", record.owner, record.ttl, record.rtype, record.rdata));
    }
    records
}
