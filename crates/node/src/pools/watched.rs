//! What is known of a target: what looks have shown, what was known before, and what keeps this node from looking.

use super::loads::Meter;
use super::probe::Look;
use crate::config::CheckId;
use health::{Check, Moment, Outcome, Standing};
use pool::Health;
use std::time::{Duration, SystemTime};

/// What is known of a target.
pub(super) struct Watched {
    pub(super) check: Check,
    /// Which one, on other nodes too.
    pub(super) id: CheckId,
    /// What the last run knew, until this one knows better.
    remembered: Health,
    /// When it was looked at last.
    pub(super) looked: Option<SystemTime>,
    /// When it was bad last, and what was seen.
    pub(super) failed: Option<(SystemTime, String)>,
    /// That it can't be looked at.
    pub(super) blind: Option<Blind>,
    /// How much it has to do, where that is looked at.
    pub(super) meter: Option<Meter>,
}

/// That a target can't be looked at.
pub(super) struct Blind {
    /// How often in a row.
    row: u32,
    pub(super) why: String,
}

impl Watched {
    /// It was not looked at yet.
    pub(super) fn new(check: Check, id: CheckId, remembered: Health, meter: Option<Meter>) -> Watched {
        Watched { check, id, remembered, looked: None, failed: None, blind: None, meter }
    }

    /// Takes what a look has shown; whether that changes what is known.
    pub(super) fn observe(&mut self, took: Duration, look: Look, now: Moment) -> bool {
        let at = SystemTime::now();
        self.looked = Some(at);
        let (outcome, wishes_otherwise) = match look {
            Look::Saw(outcome, reading) => {
                // What a bad look has taken, or shown, is not the load of a good endpoint.
                let reading = reading.filter(|_| outcome == Outcome::Pass);
                let wishes_otherwise = self.meter.as_mut().is_some_and(|meter| meter.take(reading, now));
                (outcome, wishes_otherwise)
            }
            Look::Blind(why) => {
                if let Some(meter) = &mut self.meter {
                    meter.take(None, now);
                }
                let row = self.blind.as_ref().map_or(0, |blind| blind.row).saturating_add(1);
                self.blind = Some(Blind { row, why });
                if row < self.check.spec().fall || self.health() == Health::Unknown {
                    return false;
                }
                // What was known is too old now to be believed, good or bad.
                self.check.forget(now);
                self.remembered = Health::Unknown;
                return true;
            }
        };
        self.blind = None;
        if let Outcome::Fail(why) | Outcome::Overloaded(why) = &outcome {
            self.failed = Some((at, why.clone()));
        }
        self.check.observe(now, took, outcome).is_some() || wishes_otherwise
    }

    /// What it is taken for.
    pub(super) fn health(&self) -> Health {
        match self.seen() {
            Health::Unknown => self.remembered,
            seen => seen,
        }
    }

    /// What looks have shown in this run.
    pub(super) fn seen(&self) -> Health {
        match self.check.standing() {
            Standing::Unknown => Health::Unknown,
            Standing::Passing => Health::Up,
            Standing::Failing => Health::Down,
        }
    }
}
