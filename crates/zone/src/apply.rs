//! The next version of a zone: the records of the one that stands, without what a chain of differences removes, and with
//! what it adds.

use crate::{Difference, Gatherer, RecordRef, rdata};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use table::{ImageFlags, Table, Walk};
use wire::{Name, NameBuf, RecordType};

/// Octets of master file that a record stands for, for what a [`Gatherer`] sets aside.
const RECORD_TEXT: usize = 40;

/// Why differences don't fit the version that stands. They were made from another one, or not as RFC 1995 §4 has it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Mismatch {
    /// They begin, or go on, with another version.
    #[error("they change serial {from}, where serial {standing} stands")]
    OtherVersion {
        /// What they change.
        from: u32,
        /// What there is.
        standing: u32,
    },
    /// A record is removed that isn't there.
    #[error("they remove a record of {owner} {rtype} that is not there")]
    NotThere {
        /// The owner.
        owner: Box<NameBuf>,
        /// The type.
        rtype: RecordType,
    },
    /// A record is added that is there.
    #[error("they add a record of {owner} {rtype} that is there already")]
    ThereAlready {
        /// The owner.
        owner: Box<NameBuf>,
        /// The type.
        rtype: RecordType,
    },
    /// They leave a set with several TTLs. Which records have which is known where all of them are.
    #[error("they leave {owner} {rtype} with several TTLs, or a record of it in several spellings")]
    Mixed {
        /// The owner.
        owner: Box<NameBuf>,
        /// The type.
        rtype: RecordType,
    },
    /// The records of the table can't be read: it was not made by our compiler.
    #[error("the version that stands can't be read")]
    Unreadable,
}

/// Makes the records of a new version of the one that stands and a chain of differences, the oldest first.
///
/// A record is what its owner, type and data say, names in any case; TTLs are as they were given last. Takes time for all
/// records of the zone, and memory for a copy of them and three times the differences.
///
/// What is made of a mixed version ([`table::ImageFlags::MIXED`]) is mixed. Differences that others have made don't lead on from such a
/// one, which is for the caller to know.
///
/// # Errors
/// The differences are not from this version, or contradict it or themselves.
pub fn apply(standing: &Arc<Table>, differences: &[Difference]) -> Result<Gatherer, Mismatch> {
    let changes = Changes::of(standing.serial(), differences)?;
    let apex = standing.apex_name();
    let mut gatherer = Gatherer::new(apex, standing.record_count() as usize * RECORD_TEXT);
    gatherer.set_mixed(standing.flags().has(ImageFlags::MIXED));
    changes.add_kept(standing, &mut gatherer)?;
    for change in changes.of_records.values() {
        if let Some(record) = change.now {
            gatherer.add_received(record.owner, record.rtype, record.ttl, record.rdata);
        }
    }
    Ok(gatherer)
}

/// What becomes of one record.
struct Change<'d> {
    /// The record as it was given first.
    first: RecordRef<'d>,
    /// Whether it has to be there before.
    was_there: bool,
    /// As it is in the end, if it is there.
    now: Option<RecordRef<'d>>,
}

/// What becomes of all records that are named in the differences.
struct Changes<'d> {
    /// By [`key`]. Hashed with a secret, as the keys are a primary's choice.
    of_records: HashMap<Box<[u8]>, Change<'d>>,
    /// Their owners, in lower case.
    owners: HashSet<Box<[u8]>>,
}

impl<'d> Changes<'d> {
    fn of(mut standing: u32, differences: &'d [Difference]) -> Result<Changes<'d>, Mismatch> {
        let mut changes = Changes { of_records: HashMap::new(), owners: HashSet::new() };
        for difference in differences {
            if difference.from != standing {
                return Err(Mismatch::OtherVersion { from: difference.from, standing });
            }
            standing = difference.to;
            difference.removed.iter().try_for_each(|record| changes.remove(record))?;
            difference.added.iter().try_for_each(|record| changes.add(record))?;
        }
        Ok(changes)
    }

    fn remove(&mut self, record: RecordRef<'d>) -> Result<(), Mismatch> {
        let change = self.change(record, true);
        if change.now.take().is_none() { Err(not_there(record)) } else { Ok(()) }
    }

    fn add(&mut self, record: RecordRef<'d>) -> Result<(), Mismatch> {
        let change = self.change(record, false);
        if change.now.replace(record).is_some() { Err(there_already(record)) } else { Ok(()) }
    }

    /// The change of a record; one that was not named before is there or isn't, as it has to be.
    fn change(&mut self, record: RecordRef<'d>, is_there: bool) -> &mut Change<'d> {
        let mut owner = NameBuf::from(record.owner);
        owner.make_lowercase();
        let key = key(owner.as_name(), record.rtype, record.rdata);
        if !self.owners.contains(owner.as_name().as_wire()) {
            self.owners.insert(owner.as_name().as_wire().into());
        }
        let now = is_there.then_some(record);
        self.of_records.entry(key.into()).or_insert(Change { first: record, was_there: is_there, now })
    }

    /// The TTLs of the sets that records are added to, but for signatures: theirs are those of what they cover.
    fn ttls(&self) -> Result<HashMap<&[u8], u32>, Mismatch> {
        let mut ttls = HashMap::new();
        for (key, change) in &self.of_records {
            let Some(record) = change.now.filter(|record| record.rtype != RecordType::RRSIG) else {
                continue;
            };
            let ttl = *ttls.entry(set_of(key, record.owner)).or_insert(record.ttl);
            if ttl != record.ttl {
                return Err(mixed(record.owner, record.rtype));
            }
        }
        Ok(ttls)
    }

    /// Adds the records that stay as they are.
    fn add_kept(&self, standing: &Arc<Table>, gatherer: &mut Gatherer) -> Result<(), Mismatch> {
        let mut walk = Walk::new(Arc::clone(standing));
        let mut left = self.of_records.values().filter(|change| change.was_there).count();
        let mut found: HashSet<&[u8]> = HashSet::new();
        let ttls = self.ttls()?;
        while let Some(record) = walk.next_record().map_err(|_| Mismatch::Unreadable)? {
            if self.owners.contains(record.owner.as_wire()) {
                let key = key(record.owner, record.rtype, record.rdata);
                match self.of_records.get_key_value(&*key) {
                    Some((_, Change { was_there: false, first, .. })) => return Err(there_already(*first)),
                    Some((key, _)) => {
                        // A set holds each record once, but nothing here depends on that.
                        left -= usize::from(found.insert(key));
                        continue;
                    }
                    None if ttls.get(set_of(&key, record.owner)).is_some_and(|ttl| *ttl != record.ttl) => {
                        return Err(mixed(record.owner, record.rtype));
                    }
                    None => {}
                }
            }
            gatherer.add_received(record.owner, record.rtype, record.ttl, record.rdata);
        }
        if left == 0 {
            return Ok(());
        }
        let mut changes = self.of_records.iter();
        let missing = changes.find(|(key, change)| change.was_there && !found.contains(&***key));
        missing.map_or(Ok(()), |(_, change)| Err(not_there(change.first)))
    }
}

/// What the [`key`] of a record has of its set.
fn set_of<'k>(key: &'k [u8], owner: Name<'_>) -> &'k [u8] {
    &key[..owner.len() + 2]
}

/// What tells a record from others: owner in lower case, type, canonical data.
fn key(owner: Name<'_>, rtype: RecordType, data: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(owner.len() + 2 + data.len());
    key.extend_from_slice(owner.as_wire());
    key.extend_from_slice(&rtype.0.to_be_bytes());
    let data_at = key.len();
    key.extend_from_slice(data);
    rdata::to_canonical(rtype, &mut key[data_at..]);
    key
}

pub(crate) fn mixed(owner: Name<'_>, rtype: RecordType) -> Mismatch {
    Mismatch::Mixed { owner: Box::new(owner.into()), rtype }
}

pub(crate) fn not_there(record: RecordRef<'_>) -> Mismatch {
    Mismatch::NotThere { owner: Box::new(record.owner.into()), rtype: record.rtype }
}

pub(crate) fn there_already(record: RecordRef<'_>) -> Mismatch {
    Mismatch::ThereAlready { owner: Box::new(record.owner.into()), rtype: record.rtype }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amend::{AmendError, amend};
    use crate::{CompileOptions, RecordList, compile, conclude, master};

    const ZONE: &str = "$TTL 60\n@ SOA n.Example. h 1 2 3 4 5\n@ NS n\n@ NS Out.Example.ORG.\nn A 192.0.2.1\n\
                        n A 192.0.2.2\n*.w TXT \"Case\"\nm MX 1 n\nd NS n.d\nn.d A 192.0.2.3\n";

    fn apex() -> NameBuf {
        NameBuf::from_text(b"example.", None).unwrap()
    }

    fn table_of(gatherer: Gatherer) -> Arc<Table> {
        let reading = conclude(gatherer);
        let zone = reading.zone.unwrap_or_else(|| panic!("{:?}", reading.problems));
        Arc::new(compile(zone, &CompileOptions::default()).unwrap())
    }

    fn table(text: &str) -> Arc<Table> {
        let apex = apex();
        let mut gatherer = Gatherer::new(apex.as_name(), 0);
        let options = master::Options::new(apex.as_name(), "zone");
        let report = master::parse(text.as_bytes(), &options, &mut master::NoIncludes, &mut gatherer);
        assert!(report.errors.is_empty());
        table_of(gatherer)
    }

    /// Records as `owner TTL type data`, names as they are below the apex.
    fn list(records: &[&str]) -> RecordList {
        let mut list = RecordList::default();
        for record in records {
            let mut words = record.splitn(4, ' ');
            let mut next = || words.next().unwrap();
            let owner = NameBuf::from_text(next().as_bytes(), Some(apex().as_name())).unwrap();
            let ttl = next().parse().unwrap();
            let rtype = RecordType::from_text(next().as_bytes()).unwrap();
            let data = master::rdata_from_text(rtype, next().as_bytes(), apex().as_name()).unwrap();
            list.push(owner.as_name(), rtype, ttl, &data);
        }
        list
    }

    fn soa(serial: u32) -> String {
        format!("example. 60 SOA n.example. h {serial} 2 3 4 5")
    }

    fn difference(from: u32, removed: &[&str], added: &[&str]) -> Difference {
        let (old, new) = (soa(from), soa(from + 1));
        Difference {
            from,
            to: from + 1,
            removed: list(&[&[&*old], removed].concat()),
            added: list(&[&[&*new], added].concat()),
        }
    }

    #[test]
    fn a_chain_of_differences_leads_to_the_version_it_says() {
        let first = difference(
            1,
            &["N 60 A 192.0.2.2", "*.W 60 TXT Case", "example. 60 NS OUT.example.org."],
            &["new 60 AAAA 2001:db8::1", "m 60 MX 2 n"],
        );
        // What the first one added goes again, what it removed comes back with another TTL.
        let second = difference(2, &["new 60 AAAA 2001:db8::1"], &["n 60 A 192.0.2.2", "*.w 99 TXT Case"]);
        let made = table_of(apply(&table(ZONE), &[first, second]).unwrap());
        let expected = ZONE
            .replace("n.Example. h 1 ", "n.example. h 3 ")
            .replace("*.w TXT", "*.w 99 TXT")
            .replace("@ NS Out.Example.ORG.\n", "")
            .replace("m MX 1 n\n", "m MX 1 n\nm MX 2 n\n");
        assert_eq!(made.serial(), 3);
        assert_eq!(made.digest(), table(&expected).digest(), "as if it were compiled from its master file");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let table = table(ZONE);
        let refused = |differences: &[Difference]| apply(&table, differences).err().unwrap().to_string();
        assert_eq!(
            refused(&[difference(2, &[], &[])]),
            "they change serial 2, where serial 1 stands",
            "another version"
        );
        assert_eq!(
            refused(&[difference(1, &[], &[]), difference(3, &[], &[])]),
            "they change serial 3, where serial 2 stands",
            "a gap"
        );
        for gone in ["n 60 A 192.0.2.9", "x 60 A 192.0.2.1", "n 60 TXT x", "*.w 60 TXT case"] {
            let said = refused(&[difference(1, &[gone], &[])]);
            assert!(said.starts_with("they remove a record of ") && said.ends_with("not there"), "{said}");
        }
        let said = refused(&[difference(1, &["n 60 A 192.0.2.1", "N 60 A 192.0.2.1"], &[])]);
        assert_eq!(said, "they remove a record of N.example. A that is not there", "twice");
        for there in ["n 5 A 192.0.2.1", "M 60 MX 1 N", "n.d 60 A 192.0.2.3"] {
            let said = refused(&[difference(1, &[], &[there])]);
            assert!(said.starts_with("they add a record of ") && said.ends_with("already"), "{said}");
        }
        let said = refused(&[difference(1, &[], &["y 60 A 192.0.2.1", "Y 60 A 192.0.2.1"])]);
        assert_eq!(said, "they add a record of Y.example. A that is there already", "twice");
        let other_soa =
            Difference { removed: list(&["example. 60 SOA m. h 1 2 3 4 5"]), ..difference(1, &[], &[]) };
        assert_eq!(refused(&[other_soa]), "they remove a record of example. SOA that is not there");
    }

    /// Which records of a set have which TTL is not in its table, which has the lowest (RFC 2181 §5.2).
    #[test]
    fn what_leaves_a_set_with_several_ttls_does_not_fit() {
        let standing = table(ZONE);
        let both = |difference: Difference| {
            let applied = apply(&standing, std::slice::from_ref(&difference)).err();
            let amended = match amend(&standing, &[difference]) {
                Err(AmendError::Mismatch(mismatch)) => Some(mismatch),
                Err(AmendError::Recompile(reason)) => panic!("{reason}"),
                Ok(_) => None,
            };
            assert_eq!(applied, amended);
            applied.map(|mismatch| mismatch.to_string())
        };
        let several = |owner: &str, rtype| {
            Some(format!(
                "they leave {owner}.example. {rtype} with several TTLs, or a record of it in several spellings"
            ))
        };
        assert_eq!(both(difference(1, &[], &["n 90 A 192.0.2.9"])), several("n", "A"), "beside what stays");
        assert_eq!(
            both(difference(1, &[], &["x 1 MX 1 n", "x 2 MX 2 n"])),
            several("x", "MX"),
            "among themselves"
        );
        let all = ["n 60 A 192.0.2.1", "n 60 A 192.0.2.2"];
        assert_eq!(
            both(difference(1, &all, &["n 90 A 192.0.2.1", "n 90 A 192.0.2.9"])),
            None,
            "all of the set"
        );
        let signature = "n 5 RRSIG A 8 2 60 20300101000000 20200101000000 7 example. AAAA";
        let other = "n 7 RRSIG MX 8 2 60 20300101000000 20200101000000 7 example. AAAA";
        assert_eq!(both(difference(1, &[], &[signature, other])), None, "signatures of different sets");
    }

    #[test]
    fn a_table_of_mixed_sets_says_so() {
        let is_mixed = |text: &str| table(&format!("{ZONE}{text}")).flags().has(ImageFlags::MIXED);
        for mixed in [
            "x 1 A 192.0.2.1\nx 2 A 192.0.2.2\n",
            "x 1 A 192.0.2.1\nx 2 A 192.0.2.1\n",
            "x 1 MX 1 n\nx 1 MX 1 N\n",
        ] {
            assert!(is_mixed(mixed), "{mixed}");
        }
        for uniform in [
            "x 1 A 192.0.2.1\nx 1 A 192.0.2.1\nx 2 AAAA ::1\n",
            "x 1 TXT a\nx 1 TXT A\n",
            "n 5 RRSIG A 8 2 60 20300101000000 20200101000000 7 example. AAAA\n\
             n 7 RRSIG MX 8 2 60 20300101000000 20200101000000 7 example. AAAA\n",
        ] {
            assert!(!is_mixed(uniform), "{uniform}");
        }
        // Of one record the lowest TTL stays, wherever it stands in the text, and what is made of the table is mixed, too.
        let lowest = |texts: [&str; 2]| {
            let mut walk = Walk::new(table(&format!("{ZONE}{}\n{}\n", texts[0], texts[1])));
            std::iter::from_fn(|| walk.next_record().unwrap().map(|record| (record.owner.len(), record.ttl)))
                .filter_map(|(owner_len, ttl)| (owner_len == 12).then_some(ttl))
                .collect::<Vec<_>>()
        };
        let (first, second) = ("yy 90 A 192.0.2.1", "yy 60 A 192.0.2.1");
        assert_eq!((lowest([first, second]), lowest([second, first])), (vec![60], vec![60]));
        let mixed = table(&format!("{ZONE}x 1 A 192.0.2.1\nx 2 A 192.0.2.2\n"));
        let next = Arc::new(amend(&mixed, &[difference(1, &[], &[])]).unwrap());
        assert!(next.flags().has(ImageFlags::MIXED));
        assert!(crate::amend::fold(&next).unwrap().flags().has(ImageFlags::MIXED));
        assert!(table_of(apply(&mixed, &[difference(1, &[], &[])]).unwrap()).flags().has(ImageFlags::MIXED));
    }
}
