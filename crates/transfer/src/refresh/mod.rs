//! When a secondary looks at its primaries, and when its copy has expired (RFC 1034 §4.3.5, RFC 1035 §3.3.13).
//!
//! A [`Machine`] holds the state of one zone. Whoever drives it asks [`Machine::due`] when to come back, begins a round
//! with [`Machine::begin`] when one is due, asks the primaries it names, lets [`choose`] say whom to transfer from, and
//! tells what came of it with [`Machine::finish`]. Moments are durations since the driver's clock began, so that the
//! machine runs on a virtual clock as well.
//!
//! What keeps a copy from expiring is a primary that has answered with authority and has nothing newer, or a transfer that
//! was taken into service. A NOTIFY only makes a round due at once; it is evidence of nothing.

mod choice;

pub use choice::{Choice, End, Purpose, Rejected, Report, Round, Surveyed, choose};

use crate::Soa;
use fastrand::Rng;
use std::time::Duration;

/// A point in time: how long ago the driver's clock began.
pub type Moment = Duration;

/// By how much of itself a refresh or retry interval is shortened at most, at random, in percent: zones that were loaded
/// together drift apart. Less keeps them together for hours; more asks needlessly often.
const JITTER_PERCENT: u64 = 10;

/// How long after the first failed round the next one follows while there is no copy yet, doubling from one to the next.
/// A node that starts before its primary has it within seconds; a primary that stays away isn't bothered much.
const FIRST_RETRY: Duration = Duration::from_secs(2);
/// Where that doubling ends: five minutes is what a new zone may be late when the primary begins to allow its transfer.
const FIRST_RETRY_MAX: Duration = Duration::from_secs(300);

/// How long a primary that did not answer is left out while others do, doubling from one failure to the next. A round
/// costs the full time-out of a dead primary, so a shorter time slows every round; a longer one notices its return later.
const ASLEEP_FOR: Duration = Duration::from_secs(30);
/// Where that doubling ends.
const ASLEEP_FOR_MAX: Duration = Duration::from_secs(600);

/// How long a version that is no good is not transferred again, doubling from one time to the next. It is mended with a
/// new serial, or an operator says that it is; transferring and compiling it in vain again and again would cost a large
/// zone's primary and this node more than all else they do.
const REJECTED_FOR: Duration = Duration::from_secs(600);
/// Where that doubling ends: a day, within which what was mended without either is seen.
const REJECTED_FOR_MAX: Duration = Duration::from_secs(86_400);

/// How long after the begin of a round that found nothing new the next may be begun because of a NOTIFY. Longer delays a change
/// behind a NOTIFY that came too early; shorter lets whoever can send with a primary's address have it asked more often. Where
/// there was something new the NOTIFY was true, and the next is believed at once: there may be ten changes a second.
const NOTICES_APART: Duration = Duration::from_secs(1);
/// How many rounds in vain, after each that found something new, don't make a NOTIFY wait: it comes from every primary, and from
/// BIND 9.18 twice at once when changes are less than half a second apart. None would hold up each change behind such a pair
/// by a second; each one more is another round that a forged NOTIFY can cause for every change.
const VAIN_ROUNDS_FREE: u32 = 2;

/// The shortest and the longest that an operator allows of an interval, whatever the SOA record says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Clamp {
    /// The shortest.
    pub min: Duration,
    /// The longest; not below `min`.
    pub max: Duration,
}

impl Clamp {
    fn apply(self, interval: Duration) -> Duration {
        // Not `Ord::clamp`, which panics where the bounds are the wrong way round.
        interval.min(self.max).max(self.min)
    }
}

/// The bounds of a zone's intervals.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Clamps {
    /// Of the refresh interval.
    pub refresh: Clamp,
    /// Of the retry interval.
    pub retry: Clamp,
    /// Of the time until the copy expires.
    pub expire: Clamp,
}

/// The copy that a secondary has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Copy {
    /// Its SOA record.
    pub soa: Soa,
    /// How long ago a primary last confirmed it.
    pub age: Duration,
}

/// Who wants a round to be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asker {
    /// An operator, who knows better than what was found out before.
    Operator,
    /// A NOTIFY request, of this primary or of somebody else who is heard.
    Notice(Option<usize>),
}

#[derive(Clone, Default)]
struct Primary {
    failures: u32,
    asleep_until: Moment,
    rejected: Option<KeptRejected>,
}

#[derive(Clone)]
struct KeptRejected {
    rejected: Rejected,
    times: u32,
    until: Moment,
}

/// A round that is wanted while another one is under way.
#[derive(Clone, Copy)]
struct Again {
    purpose: Purpose,
    is_operators: bool,
}

#[derive(Clone, Copy)]
struct Held {
    soa: Soa,
    expires: Moment,
    expired: bool,
}

/// The state of one secondary zone.
pub struct Machine {
    clamps: Clamps,
    primaries: Vec<Primary>,
    copy: Option<Held>,
    next_round: Moment,
    rounds_failed: u32,
    busy: bool,
    /// Asked for while a round was under way, which may have read an older version.
    again: Option<Again>,
    purpose: Purpose,
    /// When the last round was begun, unless it found something new or was one of the free ones after that.
    began: Option<Moment>,
    /// Rounds that found nothing new since the last that did.
    in_vain: u32,
    rng: Rng,
}

impl Machine {
    /// The state of a zone with so many primaries, of which there may be a copy from before. A first round is due at once.
    pub fn new(clamps: Clamps, primaries: usize, copy: Option<Copy>, now: Moment, seed: u64) -> Machine {
        let copy = copy.map(|copy| {
            let left = clamps.expire.apply(copy.soa.expire).saturating_sub(copy.age);
            Held { soa: copy.soa, expires: now.saturating_add(left), expired: false }
        });
        Machine {
            clamps,
            primaries: vec![Primary::default(); primaries],
            copy,
            next_round: now,
            rounds_failed: 0,
            busy: false,
            again: None,
            purpose: Purpose::Refresh,
            began: None,
            in_vain: VAIN_ROUNDS_FREE,
            rng: Rng::with_seed(seed),
        }
    }

    /// When something is to be done next: a round, or saying that the copy has expired.
    pub fn due(&self) -> Moment {
        let expires = self.copy.filter(|copy| !copy.expired).map(|copy| copy.expires);
        let round = if self.busy { Moment::MAX } else { self.next_round };
        expires.map_or(round, |expires| expires.min(round))
    }

    /// When the next round is due, if none is under way.
    pub fn next_round(&self) -> Option<Moment> {
        (!self.busy).then_some(self.next_round)
    }

    /// When the copy expires or has expired, if there is one.
    pub fn expires(&self) -> Option<Moment> {
        self.copy.map(|copy| copy.expires)
    }

    /// Whether the copy has expired.
    pub fn is_expired(&self) -> bool {
        self.copy.is_some_and(|copy| copy.expired)
    }

    /// The SOA record of the copy.
    pub fn soa(&self) -> Option<Soa> {
        self.copy.map(|copy| copy.soa)
    }

    /// Takes in that an operator has put another version in place of the copy. It expires when the copy would have.
    pub fn replace(&mut self, now: Moment, soa: Soa) {
        match &mut self.copy {
            Some(copy) => copy.soa = soa,
            None => {
                let expires = now.saturating_add(self.clamps.expire.apply(soa.expire));
                self.copy = Some(Held { soa, expires, expired: false });
            }
        }
    }

    /// Whether the copy expires now; true once.
    pub fn expire(&mut self, now: Moment) -> bool {
        let Some(copy) = self.copy.as_mut().filter(|copy| !copy.expired && copy.expires <= now) else {
            return false;
        };
        copy.expired = true;
        true
    }

    /// Whom a round asks that begins now, by index.
    pub fn whom(&self, now: Moment) -> Vec<usize> {
        let all = 0..self.primaries.len();
        let awake: Vec<usize> =
            all.clone().filter(|index| self.primaries[*index].asleep_until <= now).collect();
        // Without any, nobody is left to make up for the dead ones.
        if awake.is_empty() { all.collect() } else { awake }
    }

    /// Begins a round if one is due.
    pub fn begin(&mut self, now: Moment) -> Option<Round> {
        if self.busy || now < self.next_round {
            return None;
        }
        self.busy = true;
        self.began = Some(now);
        let ask = self.whom(now);
        let purpose = std::mem::replace(&mut self.purpose, Purpose::Refresh);
        let kept = self.primaries.iter().filter_map(|primary| primary.rejected.as_ref());
        let is_for_now = |kept: &&KeptRejected| kept.until > now && purpose == Purpose::Refresh;
        let rejected = kept.filter(is_for_now).map(|kept| kept.rejected.clone()).collect();
        Some(Round { purpose, serial: self.copy.map(|copy| copy.soa.serial), ask, rejected })
    }

    /// Takes in what came of the round that was begun.
    pub fn finish(&mut self, now: Moment, report: &Report) {
        self.busy = false;
        for answer in &report.surveyed {
            let Some(primary) = self.primaries.get_mut(answer.primary) else { continue };
            match answer.serial {
                Some(_) => primary.wake(),
                None => {
                    primary.asleep_until =
                        now.saturating_add(doubled(ASLEEP_FOR, primary.failures, ASLEEP_FOR_MAX));
                    primary.failures = primary.failures.saturating_add(1);
                }
            }
        }
        report.rejected.iter().for_each(|rejected| self.reject(rejected, now));
        match report.end {
            End::Renewed(soa) => {
                (self.began, self.in_vain) = (None, 0);
                self.confirm(now, Some(soa));
            }
            End::Current => {
                if self.in_vain < VAIN_ROUNDS_FREE {
                    (self.began, self.in_vain) = (None, self.in_vain + 1);
                }
                self.confirm(now, None);
            }
            End::Failed => {
                let wait = match self.copy {
                    Some(copy) => self.clamps.retry.apply(copy.soa.retry),
                    None => doubled(FIRST_RETRY, self.rounds_failed, FIRST_RETRY_MAX),
                };
                self.rounds_failed = self.rounds_failed.saturating_add(1);
                self.next_round = now.saturating_add(self.jittered(wait));
            }
        }
        if let Some(again) = self.again.take() {
            self.purpose = again.purpose;
            self.next_round = if again.is_operators { now } else { self.after_the_last(now) };
            if again.is_operators {
                self.forget_rejected();
            }
        }
    }

    fn reject(&mut self, rejected: &Rejected, now: Moment) {
        let Some(primary) = self.primaries.get_mut(rejected.primary) else { return };
        let before = primary.rejected.as_ref().filter(|kept| kept.rejected.serial == rejected.serial);
        let times = before.map_or(0, |kept| kept.times.saturating_add(1));
        let until = now.saturating_add(doubled(REJECTED_FOR, times, REJECTED_FOR_MAX));
        primary.rejected = Some(KeptRejected { rejected: rejected.clone(), times, until });
    }

    fn forget_rejected(&mut self) {
        self.primaries.iter_mut().for_each(|primary| primary.rejected = None);
    }

    /// Now, or when enough time has passed since the last round, if that was in vain.
    fn after_the_last(&self, now: Moment) -> Moment {
        self.began.map_or(now, |began| now.max(began.saturating_add(NOTICES_APART)))
    }

    /// A primary has confirmed the copy, or there is a new one.
    fn confirm(&mut self, now: Moment, renewed: Option<Soa>) {
        self.rounds_failed = 0;
        let Some(soa) = renewed.or(self.copy.map(|copy| copy.soa)) else {
            // `Current` without a copy says nothing that could be served.
            self.next_round = now.saturating_add(FIRST_RETRY);
            return;
        };
        let expires = now.saturating_add(self.clamps.expire.apply(soa.expire));
        self.copy = Some(Held { soa, expires, expired: false });
        let wait = self.clamps.refresh.apply(soa.refresh);
        self.next_round = now.saturating_add(self.jittered(wait));
    }

    /// Makes a round due: at once for an operator, and for a NOTIFY when the last one is not too short a time ago. Where a
    /// round is under way, one more follows it, and one is enough for any number of requests.
    pub fn request(&mut self, now: Moment, purpose: Purpose, asker: Asker) {
        let is_operators = asker == Asker::Operator;
        if let Asker::Notice(Some(index)) = asker
            && let Some(primary) = self.primaries.get_mut(index)
        {
            primary.wake(); // whoever sends is awake
        }
        if is_operators {
            self.forget_rejected();
        }
        let waiting = if self.busy { self.again.map(|again| again.purpose) } else { Some(self.purpose) };
        let purpose = if waiting == Some(Purpose::Retransfer) { Purpose::Retransfer } else { purpose };
        if self.busy {
            let was_operators = self.again.is_some_and(|again| again.is_operators);
            self.again = Some(Again { purpose, is_operators: is_operators || was_operators });
        } else {
            self.purpose = purpose;
            let at = if is_operators { now } else { self.after_the_last(now) };
            self.next_round = self.next_round.min(at);
        }
    }

    fn jittered(&mut self, interval: Duration) -> Duration {
        let millis = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
        let shortened = millis / 100 * JITTER_PERCENT + millis % 100 * JITTER_PERCENT / 100;
        Duration::from_millis(millis - self.rng.u64(0..=shortened))
    }
}

impl Primary {
    /// It has answered, or said something itself.
    fn wake(&mut self) {
        (self.failures, self.asleep_until) = (0, Moment::ZERO);
    }
}

fn doubled(first: Duration, times: u32, most: Duration) -> Duration {
    first.saturating_mul(1 << times.min(16)).min(most)
}

#[cfg(test)]
mod tests;
