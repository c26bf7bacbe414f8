//! Findings on their way out: bounded by kind.

use super::{Finding, Kind};
use crate::records::{OwnerView, RrsetView};
use std::mem::{Discriminant, discriminant};
use wire::{Name, NameBuf};

/// Where a finding is: file, line, column.
pub(super) type Spot = Option<(u16, u32, u32)>;

/// Tells findings, the first of each kind one by one and the rest as a number.
pub(super) struct Report<'t> {
    tell: &'t mut dyn FnMut(Finding),
    /// The kinds found so far: a few dozen at most.
    tallies: Vec<Tally>,
}

struct Tally {
    kind: Discriminant<Kind>,
    count: u64,
    told_max: u64,
    /// The last one that was not told.
    last: Option<(Spot, Kind)>,
}

impl<'t> Report<'t> {
    pub(super) fn new(tell: &'t mut dyn FnMut(Finding)) -> Report<'t> {
        Report { tell, tallies: Vec::new() }
    }

    pub(super) fn add(&mut self, place: Spot, kind: Kind) {
        self.add_last_of(1, place, kind);
    }

    /// Adds `count` findings, of which this is one; the others are not known.
    pub(super) fn add_last_of(&mut self, count: u64, place: Spot, kind: Kind) {
        let which = discriminant(&kind);
        let at = self.tallies.iter().position(|tally| tally.kind == which).unwrap_or_else(|| {
            let told_max = kind.told_max() as u64;
            self.tallies.push(Tally { kind: which, count: 0, told_max, last: None });
            self.tallies.len() - 1
        });
        let tally = &mut self.tallies[at];
        tally.count += count;
        if tally.count <= tally.told_max {
            (self.tell)(Finding { severity: kind.severity(), place, kind });
        } else {
            tally.last = Some((place, kind));
        }
    }

    /// Tells how many findings were held back.
    pub(super) fn finish(self) {
        for tally in self.tallies {
            if let Some((place, last)) = tally.last {
                let severity = last.severity();
                let kind = Kind::More(tally.count - tally.told_max, Box::new(last));
                (self.tell)(Finding { severity, place, kind });
            }
        }
    }
}

/// A name as findings have it.
pub(super) fn found(name: Name<'_>) -> Box<NameBuf> {
    Box::new(name.into())
}

/// Where a record of a set stands.
pub(super) fn record_spot(set: RrsetView<'_>, index: usize) -> Spot {
    let (file, line) = set.place_of(index);
    Some((file, line, 0))
}

/// Where the first record of an owner stands.
pub(super) fn owner_spot(owner: OwnerView<'_>) -> Spot {
    owner.rrsets().next().and_then(|set| record_spot(set, 0))
}
