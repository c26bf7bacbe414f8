//! What changes from one version of a zone to a later one.
//!
//! An incremental transfer brings differences (RFC 1995 §4), the journal keeps them, and two versions of a master file
//! make one. They hold records as octets in one piece: a change of ten million records has no ten million allocations.

use wire::{Name, RecordType};

/// Octets of a record between its owner and its data: type, class, TTL, length.
const FIXED_LEN: usize = 10;
/// The class of all records here.
const CLASS_IN: u16 = 1;

/// A record of a [`RecordList`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordRef<'l> {
    /// Who owns it, in the case it was given in.
    pub owner: Name<'l>,
    /// The type.
    pub rtype: RecordType,
    /// The TTL in seconds.
    pub ttl: u32,
    /// The data, without compression.
    pub rdata: &'l [u8],
}

impl<'l> RecordRef<'l> {
    /// The first record of `octets` and what follows it; `None` where they begin with no record of class IN.
    pub fn split_from(octets: &'l [u8]) -> Option<(RecordRef<'l>, &'l [u8])> {
        let (owner, rest) = Name::split_from(octets).ok()?;
        let (fixed, rest) = rest.split_first_chunk::<FIXED_LEN>()?;
        let word = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
        let (rdata, rest) = rest.split_at_checked(usize::from(word(8)))?;
        let ttl = u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
        (word(2) == CLASS_IN).then_some((RecordRef { owner, rtype: RecordType(word(0)), ttl, rdata }, rest))
    }
}

/// Records one after the other, in the form that they have in a message without compression (RFC 1035 §3.2.1).
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct RecordList {
    octets: Vec<u8>,
    count: u32,
}

/// Octets that are no list of records.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("these octets are no records of class IN")]
pub struct NotRecords;

impl RecordList {
    /// A list of what [`RecordList::octets`] gave.
    ///
    /// # Errors
    /// They are no records.
    pub fn from_octets(octets: Vec<u8>) -> Result<RecordList, NotRecords> {
        let mut count = 0;
        let mut rest = octets.as_slice();
        while !rest.is_empty() {
            (_, rest) = RecordRef::split_from(rest).ok_or(NotRecords)?;
            count += 1;
        }
        Ok(RecordList { octets, count })
    }

    /// Adds a record at the end.
    ///
    /// # Panics
    /// The data has more than 65,535 octets.
    pub fn push(&mut self, owner: Name<'_>, rtype: RecordType, ttl: u32, rdata: &[u8]) {
        let len = u16::try_from(rdata.len()).expect("the data of a record has at most 65,535 octets");
        self.octets.extend_from_slice(owner.as_wire());
        self.octets.extend_from_slice(&rtype.0.to_be_bytes());
        self.octets.extend_from_slice(&CLASS_IN.to_be_bytes());
        self.octets.extend_from_slice(&ttl.to_be_bytes());
        self.octets.extend_from_slice(&len.to_be_bytes());
        self.octets.extend_from_slice(rdata);
        self.count += 1;
    }

    /// Leaves none, and keeps the room that they took.
    pub fn clear(&mut self) {
        self.octets.clear();
        self.count = 0;
    }

    /// How many records.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// All records as octets, which is also what they take.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// The records in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = RecordRef<'_>> {
        let mut rest = self.octets.as_slice();
        std::iter::from_fn(move || {
            let (record, behind) = RecordRef::split_from(rest)?;
            rest = behind;
            Some(record)
        })
    }
}

/// What one version of a zone has less and more than the one before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// The serial of the version that it changes.
    pub from: u32,
    /// The serial of the version that it leads to.
    pub to: u32,
    /// What is no longer there. The first is the SOA record with the serial `from`.
    pub removed: RecordList,
    /// What is new. The first is the SOA record with the serial `to`.
    pub added: RecordList,
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::NameBuf;

    fn list() -> RecordList {
        let mut list = RecordList::default();
        for (name, ttl, rdata) in
            [("www.example.", 300, &[192, 0, 2, 1][..]), (".", 0, &[]), ("x.", u32::MAX, &[7; 900])]
        {
            let owner = NameBuf::from_text(name.as_bytes(), None).expect("a name");
            list.push(owner.as_name(), RecordType::A, ttl, rdata);
        }
        list
    }

    #[test]
    fn records_are_given_back() {
        let list = list();
        let seen: Vec<_> =
            list.iter().map(|r| (r.owner.to_string(), r.rtype, r.ttl, r.rdata.len())).collect();
        assert_eq!(
            seen,
            [
                ("www.example.".to_owned(), RecordType::A, 300, 4),
                (".".to_owned(), RecordType::A, 0, 0),
                ("x.".to_owned(), RecordType::A, u32::MAX, 900)
            ]
        );
        assert_eq!(RecordList::from_octets(list.octets().to_vec()), Ok(list));
    }

    #[test]
    fn octets_that_are_no_records_are_refused() {
        let list = list();
        let ends: Vec<usize> = list
            .iter()
            .scan(0, |end, r| {
                *end += r.owner.len() + FIXED_LEN + r.rdata.len();
                Some(*end)
            })
            .collect();
        for len in 1..list.octets().len() {
            let cut = RecordList::from_octets(list.octets()[..len].to_vec());
            assert_eq!(cut.is_ok(), ends.contains(&len), "{len}");
        }
        let mut other_class = list.octets().to_vec();
        other_class[13 + 3] = 3;
        assert_eq!(RecordList::from_octets(other_class), Err(NotRecords));
    }
}
