use super::*;
use std::collections::VecDeque;
use wire::{NameBuf, RecordType};
use zone::RecordList;

const APEX: &str = "Example.";

fn name(text: &str) -> NameBuf {
    NameBuf::from_text(text.as_bytes(), None).unwrap()
}

fn list(serial: u32, hosts: u32) -> RecordList {
    let mut list = RecordList::default();
    list.push(
        name(APEX).as_name(),
        RecordType::SOA,
        9,
        &[&[0, 0][..], &serial.to_be_bytes(), &[0; 16]].concat(),
    );
    for host in 0..hosts {
        let rdata = vec![host as u8; 1 + host as usize % 300];
        list.push(name(&format!("h{host}.{APEX}")).as_name(), RecordType::TXT, host, &rdata);
    }
    list
}

fn step(from: u32, to: u32) -> Difference {
    Difference { from, to, removed: list(from, from % 50), added: list(to, to % 3000) }
}

/// A journal with these steps, and its marks.
fn journal(steps: &[Difference]) -> (Vec<u8>, Vec<Mark>) {
    let (mut octets, start) =
        heading(name(APEX).as_name(), Version { serial: steps[0].from, digest: [3; 32] });
    let mut marks = vec![start];
    for step in steps {
        let (frame, mark) = frame(marks.last().unwrap(), step, [step.to as u8; 32]).unwrap();
        octets.extend(frame);
        assert_eq!(mark.at, octets.len() as u64);
        marks.push(mark);
    }
    (octets, marks)
}

fn steps() -> Vec<Difference> {
    vec![step(7, 8), step(8, 4000), step(4000, u32::MAX), step(u32::MAX, 2)]
}

fn scanned(octets: &[u8]) -> Result<(VecDeque<Mark>, Option<Damage>), Damage> {
    scan(octets, name("example.").as_name(), 100)
}

#[test]
fn what_was_written_is_found() {
    let (octets, marks) = journal(&steps());
    let (found, damage) = scanned(&octets).unwrap();
    assert_eq!((Vec::from(found), damage), (marks.clone(), None));
    assert_eq!(marks[4].version, Version { serial: 2, digest: [2; 32] });
    let (last, _) = scan(&octets[..], name(APEX).as_name(), 2).unwrap();
    assert_eq!(Vec::from(last), marks[3..]);
    for (pair, step) in marks.windows(2).zip(steps()) {
        let octets = &octets[pair[0].at as usize..pair[1].at as usize];
        assert_eq!(difference(octets, &pair[0]), Ok(step));
        assert!(difference(&octets[..octets.len() - 1], &pair[0]).is_err());
    }
}

#[test]
fn records_come_in_the_order_of_a_transfer() {
    let (octets, marks) = journal(&steps());
    for from in 0..marks.len() {
        let mut records = Records::new(&octets[marks[from].at as usize..], marks[from], marks[4]);
        let steps = steps();
        let lists = steps[from..].iter().flat_map(|step| [&step.removed, &step.added]);
        for expected in lists.flat_map(RecordList::iter) {
            assert_eq!(records.next_record(), Ok(Some(expected)));
        }
        assert_eq!(records.next_record(), Ok(None));
        assert_eq!(records.next_record(), Ok(None));
    }
}

#[test]
fn a_torn_end_is_found_wherever_it_is() {
    let (octets, marks) = journal(&[step(1, 2), step(2, 3), step(3, 4)]);
    for len in 0..octets.len() {
        let whole = marks.iter().filter(|mark| mark.at <= len as u64).count();
        match scanned(&octets[..len]) {
            Err(damage) => assert!(whole == 0 && damage == Damage::OtherFile, "{len}"),
            Ok((found, damage)) => {
                assert_eq!(Vec::from(found), marks[..whole], "{len}");
                let is_whole = marks.iter().any(|mark| mark.at == len as u64);
                assert_eq!(damage, (!is_whole).then_some(Damage::Torn), "{len}");
            }
        }
    }
}

#[test]
fn a_changed_octet_is_found_wherever_it_is() {
    let (octets, marks) = journal(&[step(1, 2), step(2, 3), step(3, 4)]);
    for at in 0..octets.len() {
        let mut changed = octets.clone();
        changed[at] ^= 0x20;
        let good = marks.iter().filter(|mark| mark.at <= at as u64).count();
        match scanned(&changed) {
            Err(_) => assert_eq!(good, 0, "{at}"),
            Ok((found, damage)) => {
                assert_eq!(Vec::from(found), marks[..good], "{at}");
                assert!(damage.is_some(), "{at}");
            }
        }
        let mut records = Records::new(&changed[marks[0].at as usize..], marks[0], marks[3]);
        let ended = loop {
            match records.next_record() {
                Ok(Some(_)) => {}
                end => break end.map(drop),
            }
        };
        assert!(ended.is_err() || good == 0, "{at}");
    }
}

#[test]
fn frames_stand_only_where_they_were_written() {
    let (octets, marks) = journal(&[step(1, 2), step(2, 1), step(1, 2)]);
    let part = |index: usize| &octets[marks[index].at as usize..marks[index + 1].at as usize];
    let without = [&octets[..marks[0].at as usize], part(2)].concat();
    let (found, damage) = scanned(&without).unwrap();
    assert_eq!((found.len(), damage), (1, Some(Damage::Checksum)));
    // Written anew, it stands.
    let (mut octets, mark) = heading(name(APEX).as_name(), marks[2].version);
    let mut moved = part(2).to_vec();
    seal(mark.checksum, &mut moved);
    octets.extend(moved);
    let (found, damage) = scanned(&octets).unwrap();
    assert_eq!((found.len(), found[1].version, damage), (2, marks[3].version, None));
}

#[test]
fn no_difference_follows_another_version() {
    let (_, mark) = heading(name(APEX).as_name(), Version { serial: 5, digest: [0; 32] });
    assert_eq!(frame(&mark, &step(4, 6), [0; 32]), Err(Unwritable::DoesNotFollow));
}

#[test]
fn a_journal_of_another_zone_is_none() {
    let (octets, _) = journal(&steps());
    for apex in ["example.com.", "exbmple.", "."] {
        assert_eq!(scan(&octets[..], name(apex).as_name(), 100), Err(Damage::OtherFile));
    }
}
