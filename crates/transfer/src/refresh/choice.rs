//! What a round asks, and whom it transfers from.

use crate::Soa;
use crate::serial::is_newer;

/// What a round is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// To have what the primaries have, if that is newer.
    Refresh,
    /// To have what a primary has, whatever its serial.
    Retransfer,
}

/// A round to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Round {
    /// What for.
    pub purpose: Purpose,
    /// The serial of the copy, if there is one.
    pub serial: Option<u32>,
    /// Whom to ask, by index.
    pub ask: Vec<usize>,
    /// What of theirs is not to be transferred again yet.
    pub rejected: Vec<Rejected>,
}

/// A version of a primary's that was transferred and is no good, so that the same would come again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rejected {
    /// Whose.
    pub primary: usize,
    /// Its serial.
    pub serial: u32,
    /// What is wrong with it, for operators.
    pub why: String,
}

/// What a primary answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Surveyed {
    /// Which primary.
    pub primary: usize,
    /// Its serial; `None` where it gave no answer that can be used.
    pub serial: Option<u32>,
}

/// What is to be done after the primaries were asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Choice {
    /// To transfer, from the first of these that works: the freshest first.
    Transfer(Vec<usize>),
    /// Nothing: no primary has anything newer.
    Current,
    /// Nothing: what is newer is no good, and was transferred not long ago.
    Rejected(Vec<Rejected>),
    /// Nothing: no primary answered.
    Unknown,
}

/// What came of a round.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// What the primaries answered; a transfer that failed on the way counts as no answer.
    pub surveyed: Vec<Surveyed>,
    /// What was transferred and is no good.
    pub rejected: Vec<Rejected>,
    /// How it ended.
    pub end: End,
}

/// How a round ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The copy is as new as any.
    Current,
    /// There is a new copy.
    Renewed(Soa),
    /// Neither could be found out or done.
    Failed,
}

/// Decides what follows from the primaries' answers in a round.
pub fn choose(round: &Round, answers: &[Surveyed]) -> Choice {
    let mut answered: Vec<(usize, u32)> =
        answers.iter().filter_map(|answer| Some((answer.primary, answer.serial?))).collect();
    if answered.is_empty() {
        return Choice::Unknown;
    }
    if let (Purpose::Refresh, Some(copy)) = (round.purpose, round.serial) {
        answered.retain(|(_, serial)| is_newer(*serial, copy));
    }
    // RFC 1982 orders pairs only, so the freshest is found by comparing each with each: there are few.
    let newer_than_it =
        |serial: u32, all: &[(usize, u32)]| all.iter().filter(|(_, other)| is_newer(*other, serial)).count();
    let all = answered.clone();
    answered.sort_by_key(|(primary, serial)| (newer_than_it(*serial, &all), *primary));
    if answered.is_empty() {
        return Choice::Current;
    }
    let is_it = |rejected: &Rejected| answered.contains(&(rejected.primary, rejected.serial));
    let rejected: Vec<Rejected> = round.rejected.iter().filter(|rejected| is_it(rejected)).cloned().collect();
    let good = |(primary, serial): &(usize, u32)| {
        !rejected.iter().any(|rejected| (rejected.primary, rejected.serial) == (*primary, *serial))
    };
    let good: Vec<usize> =
        answered.iter().filter(|answer| good(answer)).map(|(primary, _)| *primary).collect();
    if good.is_empty() { Choice::Rejected(rejected) } else { Choice::Transfer(good) }
}
