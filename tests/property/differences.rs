//! Differences of two versions: what set arithmetic says, and leading from the one to the other.

use crate::config;
use crate::signing::{Record, compile};
use crate::zones::versions;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;
use table::Table;
use wire::{NameBuf, RecordType};
use zone::{Difference, Incomparable, RecordList};

type Plain = (Vec<u8>, u16, u32, Vec<u8>);

fn plain(records: &[Record]) -> BTreeSet<Plain> {
    let octets = |owner: &NameBuf| owner.as_name().as_wire().to_ascii_lowercase();
    let ttl = |record: &Record| {
        if record.rtype != RecordType::RRSIG {
            return record.ttl;
        }
        // That of what it covers, or what it says that was (RFC 4034 §3).
        let number = |at: usize| record.rdata[at..].iter().take(if at == 0 { 2 } else { 4 });
        let [covered, original] =
            [0, 4].map(|at| number(at).fold(0, |sum, octet| sum << 8 | u32::from(*octet)));
        let is_covered = |other: &&Record| {
            octets(&other.owner) == octets(&record.owner) && u32::from(other.rtype.0) == covered
        };
        records.iter().find(is_covered).map_or(original, |set| set.ttl)
    };
    records.iter().map(|r| (octets(&r.owner), r.rtype.0, ttl(r), r.rdata.clone())).collect()
}

fn listed(list: &RecordList) -> Vec<Plain> {
    let plain = |r: zone::RecordRef<'_>| (r.owner.as_wire().to_vec(), r.rtype.0, r.ttl, r.rdata.to_vec());
    list.iter().map(plain).collect()
}

fn is_soa(record: &Plain) -> bool {
    record.1 == RecordType::SOA.0
}

/// As the zone's table has them: with their serials.
fn tables(versions: &[Vec<Record>], apex: &NameBuf) -> Vec<Arc<Table>> {
    versions.iter().map(|records| Arc::new(compile(apex.as_name(), records))).collect()
}

proptest! {
    #![proptest_config(config(1000))]

    #[test]
    fn a_difference_is_that_of_the_sets((apex, versions) in versions(2)) {
        let tables = tables(&versions, &apex);
        let difference = zone::compare(&tables[0], &tables[1], usize::MAX).expect("versions of one zone");
        let (old, new) = (plain(&versions[0]), plain(&versions[1]));
        for (list, mine, other, serial) in
            [(&difference.removed, &old, &new, difference.from), (&difference.added, &new, &old, difference.to)]
        {
            let listed = listed(list);
            prop_assert!(is_soa(&listed[0]) && mine.contains(&listed[0]));
            prop_assert!(listed[0].3.ends_with(&[&serial.to_be_bytes()[..], &listed[0].3[listed[0].3.len() - 16..]].concat()));
            let naive: BTreeSet<Plain> = mine.difference(other).filter(|record| !is_soa(record)).cloned().collect();
            let found: BTreeSet<Plain> = listed[1..].iter().cloned().collect();
            prop_assert_eq!(found.len(), listed.len() - 1, "nothing is listed twice");
            prop_assert_eq!(found, naive);
        }
        let octets = difference.removed.octets().len() + difference.added.octets().len();
        if difference.removed.len() + difference.added.len() > 2 {
            prop_assert_eq!(zone::compare(&tables[0], &tables[1], octets - 1), Err(Incomparable::TooLarge));
        }
        prop_assert_eq!(zone::compare(&tables[0], &tables[1], octets), Ok(difference));
    }

    #[test]
    fn differences_lead_from_version_to_version((apex, versions) in versions(3)) {
        let tables = tables(&versions, &apex);
        let step = |from: usize| zone::compare(&tables[from], &tables[from + 1], usize::MAX).expect("versions");
        let steps = [step(0), step(1)];
        let gatherer = zone::apply(&tables[0], &steps).expect("they follow one another");
        let zone = gatherer.finish().expect("room");
        let table = zone::compile(zone, &zone::CompileOptions { rotate: true, ..Default::default() }).expect("a zone");
        prop_assert_eq!(table.digest(), tables[2].digest());
        prop_assert!(zone::apply(&tables[0], &steps[1..]).is_err(), "one is left out");
        let twice = Difference { from: steps[0].to, to: steps[0].from, ..steps[0].clone() };
        prop_assert!(zone::apply(&tables[0], &[steps[0].clone(), twice.clone()]).is_err(), "what went can't go again");
        let twice = Difference { added: RecordList::default(), ..twice };
        prop_assert!(zone::apply(&tables[1], &[twice]).is_err(), "nor from a table that hasn't got it");
    }
}

#[test]
fn the_case_of_names_in_data_makes_no_other_record() {
    let apex = NameBuf::from_text(b"z.", None).expect("a name");
    let version = |serial: u8, hosts: &[&[u8]]| {
        let soa = [&b"\x01n\x01z\0\x01h\x01z\0"[..], &[0, 0, 0, serial], &[0; 16]].concat();
        let mut records = vec![Record { owner: apex.clone(), rtype: RecordType::SOA, ttl: 1, rdata: soa }];
        for host in hosts {
            let rdata = [host, &b"\x03out\0"[..]].concat();
            records.push(Record { owner: apex.clone(), rtype: RecordType::NS, ttl: 1, rdata });
        }
        Arc::new(compile(apex.as_name(), &records))
    };
    let counts = |old, new| {
        let difference = zone::compare(old, new, usize::MAX)?;
        Ok((difference.removed.len(), difference.added.len()))
    };
    let (lower, upper, both) =
        (version(1, &[b"\x01a"]), version(2, &[b"\x01A"]), version(3, &[b"\x01A", b"\x01a"]));
    assert_eq!(counts(&lower, &upper), Ok((1, 1)));
    // A secondary that is told of the second record has it already, and one that is told that it goes would lose the first.
    assert_eq!(counts(&upper, &both), Err(Incomparable::Mixed));
    assert_eq!(counts(&both, &version(4, &[b"\x01b"])), Err(Incomparable::Mixed));
}
