//! The zones that there are, and which of them others have yet to learn of.
//!
//! A node may have a hundred thousand zones, of which a change touches one. So what follows from a change is done for the zones
//! that somebody has had his hands on since it was done last, and not for all.

use super::Entry;
use std::collections::{BTreeSet, HashMap};
use std::ops::{Index, IndexMut};
use wire::NameBuf;

/// The zones, in the order in which they came.
#[derive(Default)]
pub(super) struct Entries {
    list: Vec<Entry>,
    by_name: HashMap<Box<[u8]>, usize>,
    /// Those that are otherwise on the board.
    unshown: BTreeSet<usize>,
    /// Those whose secondaries have not been told.
    untold: BTreeSet<usize>,
    /// Whether zones have gone, so that others have their places.
    has_moved: bool,
    /// Whether who keeps copies has to know of some that have come, gone, or become others.
    has_new_copies: bool,
}

/// The zones that are otherwise on the board.
pub(super) enum Unshown {
    /// These, in ascending order.
    Some(BTreeSet<usize>),
    /// All of them, and others are there that are gone.
    All,
}

impl Entries {
    /// How many zones there are.
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// All zones.
    pub(super) fn iter(&self) -> std::slice::Iter<'_, Entry> {
        self.list.iter()
    }

    /// A zone, if there are so many.
    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut Entry> {
        if index < self.list.len() { Some(&mut self[index]) } else { None }
    }

    /// Where a zone is; configured names are in lower case, and so has this one to be.
    pub(super) fn position(&self, name: &NameBuf) -> Option<usize> {
        self.at(name.as_name().as_wire())
    }

    /// The same, by the octets of the name.
    pub(super) fn at(&self, name: &[u8]) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// Adds a zone, of a name that no other has; where it is.
    pub(super) fn push(&mut self, entry: Entry) -> usize {
        let index = self.list.len();
        self.by_name.insert(entry.zone.name.as_name().as_wire().into(), index);
        self.list.push(entry);
        self.touch(index);
        self.has_new_copies = true;
        index
    }

    /// Takes out those that are gone. The others have other places then.
    pub(super) fn extract(&mut self, is_gone: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        if !self.list.iter().any(&is_gone) {
            return Vec::new();
        }
        let (gone, stay): (Vec<Entry>, Vec<Entry>) =
            std::mem::take(&mut self.list).into_iter().partition(is_gone);
        *self = Entries { has_moved: true, has_new_copies: true, ..Entries::default() };
        for entry in stay {
            self.push(entry);
        }
        gone
    }

    /// Notes that a zone is not as it was.
    pub(super) fn touch(&mut self, index: usize) {
        self.unshown.insert(index);
        self.untold.insert(index);
    }

    /// Notes that a copy is to be kept otherwise.
    pub(super) fn renew_copies(&mut self) {
        self.has_new_copies = true;
    }

    /// The zones that have been touched since [`Entries::take_unshown`].
    pub(super) fn unshown(&self) -> impl Iterator<Item = usize> + '_ {
        self.unshown.iter().copied()
    }

    /// The zones to show on the board.
    pub(super) fn take_unshown(&mut self) -> Unshown {
        let unshown = std::mem::take(&mut self.unshown);
        if std::mem::take(&mut self.has_moved) { Unshown::All } else { Unshown::Some(unshown) }
    }

    /// The zones whose secondaries are to be told.
    pub(super) fn take_untold(&mut self) -> BTreeSet<usize> {
        std::mem::take(&mut self.untold)
    }

    /// Whether who keeps copies is to be told of them.
    pub(super) fn take_new_copies(&mut self) -> bool {
        std::mem::take(&mut self.has_new_copies)
    }
}

impl Index<usize> for Entries {
    type Output = Entry;

    fn index(&self, index: usize) -> &Entry {
        &self.list[index]
    }
}

impl IndexMut<usize> for Entries {
    /// A zone, to be changed: that it was is noted.
    fn index_mut(&mut self, index: usize) -> &mut Entry {
        self.touch(index);
        &mut self.list[index]
    }
}
