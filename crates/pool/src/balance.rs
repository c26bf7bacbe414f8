//! Weights that follow loads, without swinging.
//!
//! Who is told of a weight acts on it late: resolvers keep an answer for its TTL, and a load is seen after that.
//! Weights in inverse proportion to loads overshoot by what happens meanwhile, and swing for ever. So nothing is set,
//! things are only moved: once in a period each share is changed by a little in the direction in which its load lies
//! from that of the others (integral control of the logarithm of the load), and at rest loads are equal, whatever
//! they measure. How little is found out: an endpoint whose load has passed that of the others halves its steps, one
//! whose load stays on its side makes them longer again.
//!
//! With a delay of d periods between a step and its effect, and a load that grows by s percent for one percent more
//! traffic, steps of g · ln(load) die out without a swing while g · s ≤ dᵈ / (d + 1)ᵈ⁺¹, 0.25 for one period. s is 1
//! for a utilisation, and ρ / (1 − ρ) for a time in a queue, 9 at 90 %; no g fits both, hence the halving.
//!
//! Beside that a weak pull leads back to configured weights, which is all there is while loads are alike: without it
//! what once went wrong would stay so.

use crate::Member;
use health::Moment;
use std::time::Duration;

/// How weights follow loads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tuning {
    /// How often weights change; more than nothing. Were it shorter than the TTL of answers, a step would be made
    /// before the last one is seen.
    pub period: Duration,
    /// By how much of itself a share changes in a period, up or down, in percent, 1 to 50.
    pub step_percent: u8,
    /// How much of the share that its configured weight gives it an endpoint has at least, in percent, 1 to 100.
    pub least_percent: u8,
    /// Loads up to this one are alike, in thousandths of their unit.
    pub idle_milli: u64,
}

impl Tuning {
    /// Whether weights can follow loads so.
    pub(crate) fn is_sound(&self) -> bool {
        !self.period.is_zero()
            && (1..=50).contains(&self.step_percent)
            && (1..=100).contains(&self.least_percent)
    }
}

/// What is known of the load of a member.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Report {
    /// Nothing yet: it goes to the share of its configured weight.
    Unknown,
    /// So much, in the unit of all members. It grows with traffic.
    Load(f64),
    /// Of its configured weight it can take so much, as an agent says: 1 is all.
    Room(f64),
    /// It has said something, and does no more: it goes to the share of its configured weight if it has more.
    Silent,
}

/// The part of its own share that an endpoint gets which joins others. A quarter is seen in its load, and is no shock.
const START: f64 = 0.25;
/// The first step for a load e times that of the others, as a part of the share. With a delay of a period and a half,
/// and loads that grow twice as fast as traffic, steps die out with it.
const GAIN_FIRST: f64 = 0.12;
/// The longest such step: beyond it the limit of a step would be all there is.
const GAIN_MAX: f64 = 0.2;
/// The shortest such step: a queue at 97 % needs it; below it nothing would move for hours. In simulated pools that are
/// used to 95 % shares swing by 2 to 10 % of themselves, and by 14 to 19 % where steps are never halved.
const GAIN_MIN: f64 = 0.01;
/// How much longer steps get where the last was too short: over half a swing of a loop with a delay of three periods,
/// seven of them, as much as one halving takes.
const GAIN_GROWTH: f64 = 1.1;
/// Differences of loads up to this one are chance, as a logarithm: five percent.
const DEAD: f64 = 0.05;
/// The part of the mean load that is as good as none.
const LEAST_OF_MEAN: f64 = 0.01;
/// The largest difference that counts, as a logarithm: four times the load. What is more is as urgent.
const LEAN_MAX: f64 = 1.386;
/// By how much a share goes back to that of its configured weight in a period, as a part of the way. A twentieth of what
/// loads do, so that these are equal at rest but for a few percent; with twice as much an endpoint that can take a third
/// of what its weight says is still used by two fifths more than others.
const PULL: f64 = 0.01;
/// The shortest move, as a part of the share: less is not worth a publication.
const MOVE_MIN: f64 = 0.0005;
/// The part of its own share with which an endpoint is no newcomer any more.
const GROWN: f64 = 0.99;
/// What all weights come to.
const TOTAL: f64 = 60_000.0;

/// The weights of a pool's members.
#[derive(Clone, Default, Debug)]
pub struct Balance {
    members: Vec<State>,
    /// Since when some member has traffic.
    since: Moment,
    due: Option<Moment>,
}

/// Where a member should go, as a logarithm of its share.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Lean {
    /// This way, from the load that is seen, until it is seen to be enough.
    By(f64),
    /// So far.
    To(f64),
}

/// What is known of a member.
#[derive(Clone, Copy, Debug)]
struct State {
    identity: u64,
    /// How much of the share of its configured weight it has, where 1 is all.
    factor: f64,
    gain: f64,
    /// On which side its load was last: 1 where it was less than that of others.
    side: i8,
    /// Whether it has joined others, and has not had its own share yet: it rises by whole steps while its load is no
    /// more than theirs.
    is_new: bool,
    /// Whether it has traffic.
    is_in: bool,
}

impl Balance {
    /// What was known earlier: identities of members, and the part of the share of its configured weight that each had.
    pub fn recall(known: impl IntoIterator<Item = (u64, f64)>) -> Balance {
        let state = |(identity, factor): (u64, f64)| State {
            factor: factor.clamp(0.001, 1000.0),
            ..State::new(identity)
        };
        Balance { members: known.into_iter().map(state).collect(), ..Balance::default() }
    }

    /// The weights of `members` for now, of which those that are `selected`, in ascending order, have traffic.
    /// `reports` has one for each member. What is configured to have no weight has none.
    pub fn weigh(
        &mut self,
        tuning: &Tuning,
        members: &[Member],
        selected: &[usize],
        reports: &[Report],
        now: Moment,
    ) -> Vec<u16> {
        self.take_in(tuning, members, selected, now);
        if self.due.is_some_and(|due| due <= now) {
            self.step(tuning, members, reports);
        }
        if self.due.is_none_or(|due| due <= now) {
            self.due = Some(next(now, tuning.period));
        }
        let shares = self.shares(members);
        let weight = |(state, share): (&State, &f64)| match state.is_in {
            true => (share * TOTAL).round().max(1.0) as u16, // at most `TOTAL`
            false => 0,
        };
        self.members.iter().zip(&shares).map(weight).collect()
    }

    /// When weights may be others, though nothing happens.
    pub fn due(&self) -> Option<Moment> {
        self.due.filter(|_| self.members.iter().filter(|state| state.is_in).count() > 1)
    }

    /// How much of the share of its configured weight a member has, where 1 is all; of the members that were given
    /// last.
    pub fn factor(&self, member: usize) -> Option<f64> {
        self.members.get(member).filter(|state| state.is_in).map(|state| state.factor)
    }

    /// Takes these members, with what is known of those that were there before.
    fn take_in(&mut self, tuning: &Tuning, members: &[Member], selected: &[usize], now: Moment) {
        let before = std::mem::take(&mut self.members);
        if !before.iter().any(|state| state.is_in) {
            self.since = now;
        }
        // Who comes in the first period has come with the others: looks after a start come in by chance.
        let is_founding = now.since(self.since) < tuning.period;
        let start = START.max(f64::from(tuning.least_percent) / 100.0);
        let state = |(index, member): (usize, &Member)| {
            let same = |state: &&State| state.identity == member.identity;
            let known = before.get(index).filter(same).or_else(|| before.iter().find(same));
            let is_in = member.weight > 0 && selected.binary_search(&index).is_ok();
            match known {
                Some(state) if state.is_in || !is_in => State { is_in, ..*state },
                // It comes back.
                Some(state) if is_founding => State { is_in, gain: GAIN_FIRST, side: 0, ..*state },
                Some(state) => State {
                    is_in,
                    is_new: true,
                    factor: state.factor.min(start),
                    ..State::new(state.identity)
                },
                None if is_in && !is_founding => {
                    State { is_in, is_new: true, factor: start, ..State::new(member.identity) }
                }
                None => State { is_in, ..State::new(member.identity) },
            }
        };
        self.members = members.iter().enumerate().map(state).collect();
        let has_joined = |state: &State| {
            state.is_new && !before.iter().any(|known| known.identity == state.identity && known.is_in)
        };
        self.even_out(members, has_joined);
    }

    /// Has the members that are in have the traffic of all, and no more; those that have just joined have what they begin with.
    fn even_out(&mut self, members: &[Member], has_joined: impl Fn(&State) -> bool) {
        let all = self.sum(members, |_| 1.0);
        let joined = self.sum(members, |state| if has_joined(state) { state.factor } else { 0.0 });
        let had = self.sum(members, |state| if has_joined(state) { 0.0 } else { state.factor });
        if had > 0.0 {
            let others = self.members.iter_mut().filter(|state| state.is_in && !has_joined(state));
            others.for_each(|state| state.factor *= (all - joined) / had);
        }
    }

    /// The sum of something over the members that are in, by configured weight.
    fn sum(&self, members: &[Member], of: impl Fn(&State) -> f64) -> f64 {
        let states = self.members.iter().zip(members).filter(|(state, _)| state.is_in);
        states.map(|(state, member)| f64::from(member.weight) * of(state)).sum()
    }

    /// The share of each member, by its configured weight and its factor.
    fn shares(&self, members: &[Member]) -> Vec<f64> {
        let all = self.sum(members, |state| state.factor);
        let share = |(state, member): (&State, &Member)| match state.is_in && all > 0.0 {
            true => f64::from(member.weight) * state.factor / all,
            false => 0.0,
        };
        self.members.iter().zip(members).map(share).collect()
    }

    /// Moves the shares by a step.
    fn step(&mut self, tuning: &Tuning, members: &[Member], reports: &[Report]) {
        let shares = self.shares(members);
        let leans = self.leans(tuning, members, reports, &shares);
        let mut is_moved = false;
        let mut wanted = Vec::with_capacity(shares.len());
        for ((state, lean), share) in self.members.iter_mut().zip(&leans).zip(&shares) {
            let by = state.steer(*lean);
            is_moved |= by != 0.0;
            wanted.push(share * by.exp());
        }
        if !is_moved {
            return;
        }
        let all = self.sum(members, |_| 1.0);
        let step = 1.0 + f64::from(tuning.step_percent) / 100.0;
        let least = f64::from(tuning.least_percent) / 100.0;
        // Where others have come in it may have less than it is to have; it comes up from there then.
        let floor = |(share, member): (&f64, &Member)| (least * f64::from(member.weight) / all).min(*share);
        let low: Vec<f64> = shares.iter().zip(members).map(|it| (it.0 / step).max(floor(it))).collect();
        // Who says nothing is not lifted by others that go down either.
        let most =
            |(share, report): (&f64, &Report)| if *report == Report::Silent { *share } else { share * step };
        let high: Vec<f64> = shares.iter().zip(reports).map(most).collect();
        let moved = within(&wanted, &low, &high);
        for ((state, member), share) in self.members.iter_mut().zip(members).zip(moved) {
            if state.is_in {
                state.factor = share * all / f64::from(member.weight);
            }
        }
    }

    /// Where each member should go.
    fn leans(&self, tuning: &Tuning, members: &[Member], reports: &[Report], shares: &[f64]) -> Vec<Lean> {
        // Means are by traffic: that is what clients find, and one that has little of it says little.
        let loads = || {
            let seen = self.members.iter().zip(reports).zip(shares).filter(|((state, _), _)| state.is_in);
            seen.filter_map(|((_, report), share)| match report {
                Report::Load(load) => Some((*load, *share)),
                _ => None,
            })
        };
        let mean = |of: &dyn Fn(f64) -> f64| {
            let (all, of_all) = loads()
                .fold((0.0, 0.0), |(all, of_all), (load, share)| (all + share * of(load), of_all + share));
            all / f64::max(of_all, f64::MIN_POSITIVE)
        };
        let idle = tuning.idle_milli as f64 / 1e3; // exact below 2^53
        let least = idle.max(LEAST_OF_MEAN * mean(&|load| load)).max(f64::MIN_POSITIVE);
        let seen = |load: f64| load.max(least).ln();
        let (load, room) = (mean(&seen), self.mean_room(members, reports));
        let lean = |(state, report): (&State, &Report)| match report {
            _ if !state.is_in => Lean::To(0.0),
            Report::Load(own) => Lean::By(load - seen(*own)),
            Report::Room(own) => Lean::To(state.way(own / room)),
            Report::Unknown => Lean::To(state.way(1.0)),
            Report::Silent => Lean::To(state.way(1.0).min(0.0)),
        };
        self.members.iter().zip(reports).map(lean).collect()
    }

    /// What is left where agents say it, of all weights.
    fn mean_room(&self, members: &[Member], reports: &[Report]) -> f64 {
        let (mut rooms, mut of_rooms) = (0.0, 0.0);
        for ((state, report), member) in self.members.iter().zip(reports).zip(members) {
            if let (true, Report::Room(room)) = (state.is_in, report) {
                rooms += f64::from(member.weight) * room;
                of_rooms += f64::from(member.weight);
            }
        }
        f64::max(rooms / f64::max(of_rooms, f64::MIN_POSITIVE), f64::MIN_POSITIVE)
    }
}

impl State {
    fn new(identity: u64) -> State {
        State { identity, factor: 1.0, gain: GAIN_FIRST, side: 0, is_new: false, is_in: false }
    }

    /// Takes where it should go, and adapts its steps; by how much it goes, as a logarithm.
    fn steer(&mut self, lean: Lean) -> f64 {
        let (Lean::By(way) | Lean::To(way)) = lean;
        let side = i8::from(way > DEAD) - i8::from(way < -DEAD);
        self.is_new &= self.factor < GROWN && side >= 0;
        if let (Lean::By(_), true) = (lean, self.is_new) {
            return self.way(1.0);
        }
        match side * self.side {
            1 => self.gain = (self.gain * GAIN_GROWTH).min(GAIN_MAX),
            -1 => self.gain = (self.gain / 2.0).max(GAIN_MIN),
            _ => {}
        }
        if side != 0 {
            self.side = side;
        }
        let beyond = if side == 0 { 0.0 } else { way - DEAD * f64::from(side) };
        let pull = if let Lean::By(_) = lean { PULL * self.way(1.0) } else { 0.0 };
        let by = self.gain * beyond.clamp(-LEAN_MAX, LEAN_MAX) + pull;
        if by.abs() < MOVE_MIN { 0.0 } else { by }
    }

    /// The way from the factor that it has to another.
    fn way(&self, factor: f64) -> f64 {
        (factor.max(f64::MIN_POSITIVE) / self.factor.max(f64::MIN_POSITIVE)).ln()
    }
}

/// The next moment that is a multiple of the period: pools with the same period then change at once.
fn next(now: Moment, period: Duration) -> Moment {
    let period = period.as_nanos().max(1);
    let next = (now.0.as_nanos() / period + 1) * period;
    Moment(Duration::from_nanos(u64::try_from(next).unwrap_or(u64::MAX)))
}

/// The shares that have the proportions of `wanted` as far as bounds allow, and come to 1. The sum of `low` is at
/// most 1, and that of `high` at least 1.
fn within(wanted: &[f64], low: &[f64], high: &[f64]) -> Vec<f64> {
    /// Halvings after which what is left is less than an f64 can tell.
    const HALVINGS: usize = 60;
    let bounded = |scale: f64| -> Vec<f64> {
        let bounds = low.iter().zip(high);
        wanted.iter().zip(bounds).map(|(wanted, (low, high))| (wanted * scale).max(*low).min(*high)).collect()
    };
    // Beyond these all shares are at their bounds.
    let (mut less, mut more) = (1e-3, 1e3);
    for _ in 0..HALVINGS {
        let scale = (less + more) / 2.0;
        match bounded(scale).iter().sum::<f64>() < 1.0 {
            true => less = scale,
            false => more = scale,
        }
    }
    bounded(more)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const TUNING: Tuning = Tuning { period: SECOND, step_percent: 10, least_percent: 5, idle_milli: 0 };

    fn members(weights: &[u16]) -> Vec<Member> {
        let member =
            |(index, weight): (usize, &u16)| Member { tier: 1, weight: *weight, identity: index as u64 };
        weights.iter().enumerate().map(member).collect()
    }

    /// The shares of `members` after so many periods in which it is the same that is reported.
    fn after(
        balance: &mut Balance,
        (from, periods): (u32, u32),
        members: &[Member],
        selected: &[usize],
        reports: &[Report],
    ) -> Vec<f64> {
        let mut weights = Vec::new();
        for period in from..=from + periods {
            weights = balance.weigh(&TUNING, members, selected, reports, Moment(SECOND * period));
        }
        let all: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        weights.iter().map(|weight| f64::from(*weight) / all).collect()
    }

    fn are_near(found: &[f64], wanted: &[f64]) {
        let is_near = |(found, wanted): (&f64, &f64)| (found - wanted).abs() < 0.002;
        let are_near = found.len() == wanted.len() && found.iter().zip(wanted).all(is_near);
        assert!(are_near, "{found:?}, and not {wanted:?}");
    }

    #[test]
    fn with_equal_loads_or_none_it_is_as_weights_say() {
        let members = members(&[10, 30, 0, 60]);
        for reports in [
            [Report::Load(0.7); 4],
            [Report::Load(0.0); 4],
            [Report::Unknown; 4],
            [Report::Silent; 4],
            [Report::Room(0.5); 4],
        ] {
            let shares = after(&mut Balance::default(), (0, 50), &members, &[0, 1, 2, 3], &reports);
            are_near(&shares, &[0.1, 0.3, 0.0, 0.6]);
        }
        // Loads that are not more than nothing are alike.
        let tuning = Tuning { idle_milli: 1500, ..TUNING };
        let reports = [1.5, 0.3, 0.0, 0.001].map(Report::Load);
        let mut balance = Balance::default();
        let before = balance.weigh(&tuning, &members, &[0, 1, 3], &reports, Moment(SECOND));
        assert_eq!(balance.weigh(&tuning, &members, &[0, 1, 3], &reports, Moment(SECOND * 40)), before);
    }

    #[test]
    fn who_has_more_load_gets_less_by_and_by_and_never_nothing() {
        let members = members(&[1, 1, 2]);
        let reports = [90.0, 10.0, 10.0].map(Report::Load);
        let mut balance = Balance::default();
        let mut before = after(&mut balance, (0, 0), &members, &[0, 1, 2], &reports);
        for period in 1..100 {
            let now = after(&mut balance, (period, 0), &members, &[0, 1, 2], &reports);
            for (before, now) in before.iter().zip(&now) {
                let step = now / before;
                assert!((0.9..1.102).contains(&step), "{step} in period {period}");
            }
            before = now;
        }
        // A twentieth of its quarter, and the others as their weights say.
        are_near(&before, &[0.0125, 0.329, 0.658]);
        // Nothing happens between periods.
        let again = balance.weigh(&TUNING, &members, &[0, 1, 2], &reports, Moment(SECOND * 99 + SECOND / 2));
        assert_eq!(again, balance.weigh(&TUNING, &members, &[0, 1, 2], &reports, Moment(SECOND * 99)));
        assert_eq!(balance.due(), Some(Moment(SECOND * 100)));
    }

    #[test]
    fn what_is_left_by_an_agent_is_of_the_weight() {
        let members = members(&[20, 20, 60]);
        let reports = [1.0, 0.5, 0.75].map(Report::Room);
        // 20, 10 and 45 of 75, but for differences that are chance.
        let shares = after(&mut Balance::default(), (0, 300), &members, &[0, 1, 2], &reports);
        for (share, wanted) in shares.iter().zip([20.0 / 75.0, 10.0 / 75.0, 45.0 / 75.0]) {
            assert!((share / wanted).ln().abs() < 0.08, "{shares:?}");
        }
    }

    #[test]
    fn who_comes_begins_with_little() {
        let members = members(&[1, 1, 1, 1]);
        let reports = [Report::Load(1.0); 4];
        let mut balance = Balance::default();
        // In the first period all are of the beginning.
        after(&mut balance, (0, 0), &members, &[0], &reports);
        let soon = balance.weigh(&TUNING, &members, &[0, 1, 2], &reports, Moment(SECOND / 2));
        assert_eq!(soon, [20_000, 20_000, 20_000, 0]);
        let joined = after(&mut balance, (5, 0), &members, &[0, 1, 2, 3], &reports);
        assert!((0.06..0.07).contains(&joined[3]), "{joined:?}");
        // What it had before it went is not what it begins with.
        let gone = after(&mut balance, (6, 0), &members, &[0, 3], &reports);
        assert!((0.17..0.22).contains(&gone[3]) && gone[1] + gone[2] == 0.0, "{gone:?}");
        let back = after(&mut balance, (7, 0), &members, &[0, 1, 3], &reports);
        assert!((0.08..0.1).contains(&back[1]), "{back:?}");
        // Its place among others is nothing.
        let turned: Vec<Member> = members.iter().rev().copied().collect();
        let shares = after(&mut balance, (7, 0), &turned, &[0, 2, 3], &reports);
        are_near(&shares, &[back[3], 0.0, back[1], back[0]]);
        assert!(balance.factor(1).is_none() && balance.factor(3).is_some());
        // And with a load that is that of the others it comes to what its weight says.
        let shares = after(&mut balance, (8, 30), &turned, &[0, 2, 3], &reports);
        let is_third = |share: &f64| (share * 3.0 - 1.0).abs() < 0.02;
        assert!([0, 2, 3].iter().all(|index| is_third(&shares[*index])), "{shares:?}");
    }

    #[test]
    fn with_equal_loads_shares_go_back_to_those_of_weights() {
        let members = members(&[10, 30]);
        let mut balance = Balance::default();
        let apart = [90.0, 10.0].map(Report::Load);
        let shares = after(&mut balance, (0, 20), &members, &[0, 1], &apart);
        assert!(shares[0] < 0.08, "{shares:?}");
        let shares = after(&mut balance, (21, 500), &members, &[0, 1], &[Report::Load(20.0); 2]);
        assert!((0.23..0.27).contains(&shares[0]), "{shares:?}");
    }

    #[test]
    fn what_was_known_before_a_start_is_begun_with() {
        let members = members(&[10, 10, 20]);
        let reports = [Report::Unknown; 3];
        let mut balance = Balance::recall([(0, 0.2), (2, 1.4)]);
        let weights = balance.weigh(&TUNING, &members, &[0, 1, 2], &reports, Moment(SECOND / 4));
        // 2, 10 and 28 of 40.
        assert_eq!(weights, [3000, 15_000, 42_000]);
    }

    #[test]
    fn who_says_nothing_any_more_keeps_no_more_than_its_own() {
        let members = members(&[1, 1, 1]);
        let all = &[0, 1, 2];
        let mut balance = Balance::default();
        let loads = [10.0, 40.0, 40.0].map(Report::Load);
        let shares = after(&mut balance, (0, 10), &members, all, &loads);
        assert!(shares[0] > 0.5, "{shares:?}");
        // The least loaded falls silent: it goes back to a third.
        let reports = [Report::Silent, Report::Load(40.0), Report::Load(40.0)];
        let shares = after(&mut balance, (11, 200), &members, all, &reports);
        assert!((0.3..0.36).contains(&shares[0]), "{shares:?}");
        // The most loaded falls silent: it does not rise.
        let mut balance = Balance::default();
        let loads = [90.0, 40.0, 40.0].map(Report::Load);
        let low = after(&mut balance, (0, 20), &members, all, &loads)[0];
        let reports = [Report::Silent, Report::Load(40.0), Report::Load(40.0)];
        let shares = after(&mut balance, (21, 200), &members, all, &reports);
        assert!(low < 0.2 && shares[0] < low * 1.01, "{low}: {shares:?}");
    }

    /// Whatever happens, who is in has something, who isn't has nothing, and a share changes by a step at most while
    /// the same are in.
    #[test]
    fn whatever_is_reported_bounds_hold() {
        for seed in 0..300 {
            let mut random = fastrand::Rng::with_seed(seed);
            let weights: Vec<u16> = (0..random.usize(1..20)).map(|_| random.u16(0..1000)).collect();
            let members = members(&weights);
            let mut balance = Balance::default();
            let mut selected: Vec<usize> = (0..members.len()).collect();
            let mut before: Option<Vec<f64>> = None;
            for second in 0..200 {
                let is_other = random.u8(0..20) == 0;
                if is_other {
                    selected = (0..members.len()).filter(|_| random.u8(0..4) > 0).collect();
                }
                let report = |_: &Member| match random.u8(0..10) {
                    0 => Report::Unknown,
                    1 => Report::Silent,
                    2 => Report::Load(0.0),
                    3 => Report::Load(crate::LOAD_MAX),
                    4 => Report::Room(random.f64()),
                    _ => Report::Load(random.f64() * 100.0),
                };
                let reports: Vec<Report> = members.iter().map(report).collect();
                let now = Moment(SECOND * second);
                let weights = balance.weigh(&TUNING, &members, &selected, &reports, now);
                for (index, weight) in weights.iter().enumerate() {
                    let is_in = members[index].weight > 0 && selected.contains(&index);
                    assert_eq!(*weight > 0, is_in, "seed {seed}: {weights:?}");
                }
                let shares = balance.shares(&members);
                if selected.iter().any(|index| members[*index].weight > 0) {
                    assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9, "seed {seed}: {shares:?}");
                }
                if let Some(before) = before.filter(|_| !is_other) {
                    for (before, now) in before.iter().zip(&shares) {
                        assert!(*now <= before * 1.1 + 1e-9 && *now >= before / 1.1 - 1e-9, "seed {seed}");
                    }
                }
                before = Some(shares);
            }
        }
    }
}
