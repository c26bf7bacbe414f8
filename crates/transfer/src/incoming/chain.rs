//! The differences of an incremental transfer (RFC 1995 §4), as their records come.

use super::Fault;
use crate::serial::is_newer;
use wire::{Name, RecordType};
use zone::{Difference, RecordList};

/// A chain of differences that is on its way in: each begins with the version that the one before has led to.
pub(super) struct Chain {
    /// The version it has to lead to.
    ends: u32,
    whole: Vec<Difference>,
    from: u32,
    /// Once its SOA record has come, which begins what is added.
    to: Option<u32>,
    removed: RecordList,
    added: RecordList,
}

/// What a SOA record is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// The first record of what is removed or added.
    OfDifference,
    /// The end of the transfer.
    End,
}

impl Chain {
    /// A chain from one version to another. The next record is the SOA record of `from`.
    pub(super) fn new(from: u32, ends: u32) -> Chain {
        let (removed, added) = (RecordList::default(), RecordList::default());
        Chain { ends, whole: Vec::new(), from, to: None, removed, added }
    }

    /// Takes the next record that is no SOA record of the zone, or is one in its [`Place::OfDifference`].
    pub(super) fn push(&mut self, owner: Name<'_>, rtype: RecordType, ttl: u32, data: &[u8]) {
        let part = if self.to.is_some() { &mut self.added } else { &mut self.removed };
        part.push(owner, rtype, ttl, data);
    }

    /// Says what the next SOA record of the zone is, which has this serial.
    ///
    /// # Errors
    /// There is no place for it.
    pub(super) fn place(&mut self, serial: u32) -> Result<Place, Fault> {
        let Some(to) = self.to else {
            if !is_newer(serial, self.from) {
                return Err(Fault::GoesBack { from: self.from, to: serial });
            }
            if is_newer(serial, self.ends) {
                return Err(Fault::ChainBroken { expected: self.ends, found: serial });
            }
            self.to = Some(serial);
            return Ok(Place::OfDifference);
        };
        let removed = std::mem::take(&mut self.removed);
        let added = std::mem::take(&mut self.added);
        self.whole.push(Difference { from: self.from, to, removed, added });
        (self.from, self.to) = (to, None);
        if serial != to {
            return Err(Fault::ChainBroken { expected: to, found: serial });
        }
        Ok(if to == self.ends { Place::End } else { Place::OfDifference })
    }

    /// The differences, when the end has come.
    pub(super) fn into_differences(self) -> Vec<Difference> {
        self.whole
    }
}
