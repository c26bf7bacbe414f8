//! The loads of endpoints, and the weights that follow them. A load is what this node measures or is told itself: nodes
//! share what is good, and not what is busy.

use super::memory::Memory;
use super::probe::Reading;
use super::watched::Watched;
use crate::config::{
    Answer, EndpointConfig, LoadConfig, Measure, Place, PlacedMember, PoolCheck, PoolConfig, Side,
};
use crate::status::LoadStatus;
use health::Moment;
use pool::{Admin, Balance, Basis, Gauge, Kind, Known, Member, Report, Selection, Spec};
use std::net::IpAddr;

/// The load of a target.
pub(super) struct Meter {
    config: LoadConfig,
    gauge: Gauge,
    /// Why the last look has shown none.
    trouble: Option<String>,
    /// Whether the endpoint itself wishes not to be answered with as long as anything else is left.
    is_drained: bool,
}

impl Meter {
    /// What looks by a check have shown, if they show loads: nothing yet.
    pub(super) fn of(check: &PoolCheck) -> Option<Meter> {
        let config = check.load.clone()?;
        Some(Meter { config, gauge: Gauge::default(), trouble: None, is_drained: false })
    }

    /// Takes what a look has shown; whether the endpoint wishes something else than before.
    pub(super) fn take(&mut self, reading: Option<Reading>, now: Moment) -> bool {
        let Some(Reading { number, is_drained }) = reading else {
            self.gauge.miss();
            return false;
        };
        self.trouble = match number {
            Ok(load) if self.gauge.take(load, self.config.smoothing, now) => None,
            Ok(load) => Some(format!("{load} is no load")),
            Err(why) => {
                self.gauge.miss();
                Some(why)
            }
        };
        std::mem::replace(&mut self.is_drained, is_drained) != is_drained
    }

    fn report(&self) -> Report {
        let is_room = matches!(self.config.measure, Measure::Agent { .. });
        match self.gauge.known() {
            Known::Nothing => Report::Unknown,
            Known::Load(percent) if is_room => Report::Room(percent / 100.0),
            Known::Load(load) => Report::Load(load),
            Known::NoMore => Report::Silent,
        }
    }

    /// How it is, of an endpoint with this weight that has this part of its share.
    fn status(&self, weight: u16, factor: Option<f64>) -> LoadStatus {
        // Loads are at most 10^9, and factors at most as many as members.
        let milli = |number: f64| (number * 1e3).round() as u64;
        LoadStatus {
            of: self.config.measure.word().to_owned(),
            unit: self.config.measure.unit().to_owned(),
            last_milli: self.gauge.last().map(milli),
            smoothed_milli: self.gauge.smoothed().map(milli),
            counts: matches!(self.gauge.known(), Known::Load(_)),
            weight_milli: factor.map(|factor| milli(f64::from(weight) * factor)),
            drained: self.is_drained,
            trouble: self.trouble.clone(),
        }
    }
}

/// What an operator has said of an endpoint; where he has said nothing, what it wishes itself.
pub(super) fn wish(admin: Admin, watched: Option<&Watched>) -> Admin {
    let is_drained = watched.and_then(|watched| watched.meter.as_ref()).is_some_and(|it| it.is_drained);
    if admin == Admin::Auto && is_drained { Admin::Drain } else { admin }
}

/// The address whose load is that of a member: where a target has several, the first.
pub(super) fn address(endpoint: &EndpointConfig, place: &Place<'_>) -> Option<IpAddr> {
    match place {
        Place::Itself(Answer::Address(address)) => Some(*address),
        Place::Itself(Answer::Target(_)) => endpoint.addresses.first().copied(),
        Place::Pool(_) => None,
    }
}

/// What is known of the load of a target.
pub(super) fn report(watched: Option<&Watched>) -> Report {
    watched.and_then(|watched| watched.meter.as_ref()).map_or(Report::Unknown, Meter::report)
}

/// The weights of a pool's addresses of a family, where they follow loads.
#[derive(Default)]
pub(super) struct Weights {
    balance: Balance,
    /// What they are now; none where they are as configured.
    now: Vec<u16>,
}

impl Weights {
    /// What an earlier run has noted of a pool.
    pub(super) fn recall(pool: &PoolConfig, side: Side, memory: &Memory) -> Weights {
        let factor = |(endpoint, place, member): PlacedMember<'_>| {
            Some((member.identity, memory.factor(&pool.name, &endpoint.name, address(endpoint, &place)?)?))
        };
        Weights { balance: Balance::recall(pool.members(side).filter_map(factor)), now: Vec::new() }
    }

    /// Gives `members` the weights that they have now; whether these are others than before. `reports` has one for
    /// each.
    pub(super) fn follow(
        &mut self,
        spec: &Spec,
        members: &mut [Member],
        selection: &Selection,
        reports: &[Report],
        now: Moment,
    ) -> bool {
        let Kind::LeastLoad { tuning, .. } = spec.kind else {
            *self = Weights::default();
            return false;
        };
        // Where health is not believed, or nothing has any, loads say nothing.
        let weights = match selection.basis {
            Basis::Good { .. } => self.balance.weigh(&tuning, members, &selection.members, reports, now),
            Basis::Panic | Basis::AllDown(_) => Vec::new(),
        };
        for (member, weight) in members.iter_mut().zip(&weights) {
            member.weight = *weight;
        }
        let is_change = self.now != weights;
        self.now = weights;
        is_change
    }

    /// When they may be others, though nothing happens.
    pub(super) fn due(&self) -> Option<Moment> {
        self.balance.due().filter(|_| !self.now.is_empty())
    }

    /// How much of the share of its configured weight an address has, where it has any and that follows its load.
    pub(super) fn factor(&self, index: usize) -> Option<f64> {
        self.balance.factor(index).filter(|_| !self.now.is_empty())
    }

    /// How the load of an address is, and what follows from it.
    pub(super) fn status(
        &self,
        index: usize,
        member: &Member,
        watched: Option<&Watched>,
    ) -> Option<LoadStatus> {
        watched?.meter.as_ref().map(|meter| meter.status(member.weight, self.factor(index)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pool::{AllDown, Portion, Tuning};
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);

    fn reading(number: Result<f64, &str>, is_drained: bool) -> Option<Reading> {
        Some(Reading { number: number.map_err(str::to_owned), is_drained })
    }

    #[test]
    fn a_number_that_is_missing_is_said_and_the_last_one_kept_for_a_while() {
        let config = LoadConfig { measure: Measure::ResponseTime, smoothing: SECOND };
        let mut meter = Meter { config, gauge: Gauge::default(), trouble: None, is_drained: false };
        assert_eq!(meter.report(), Report::Unknown);
        assert!(!meter.take(reading(Ok(7.25), false), Moment(SECOND)));
        assert_eq!(meter.report(), Report::Load(7.25));
        assert!(
            meter.take(reading(Err("it was not seen"), true), Moment(SECOND * 2)),
            "it wishes to be drained"
        );
        meter.take(reading(Ok(-1.0), true), Moment(SECOND * 2));
        let status = meter.status(10, Some(0.5));
        assert_eq!((status.last_milli, status.weight_milli), (Some(7250), Some(5000)));
        assert_eq!(
            (status.trouble.as_deref(), status.counts, status.drained),
            (Some("-1 is no load"), true, true)
        );
        for second in 3..6 {
            meter.take(None, Moment(SECOND * second));
        }
        assert_eq!((meter.report(), meter.status(10, None).counts), (Report::Silent, false));
        assert!(meter.take(reading(Ok(9.0), false), Moment(SECOND * 60)), "it wishes nothing any more");
        assert!(meter.status(10, None).trouble.is_none());
    }

    #[test]
    fn weights_are_as_configured_where_health_is_not_believed() {
        let tuning = Tuning { period: SECOND, step_percent: 10, least_percent: 5, idle_milli: 0 };
        let kind = Kind::LeastLoad { portion: Portion::One, tuning };
        let spec = Spec { kind, answers_max: None, all_down: AllDown::All, panic_percent: 50 };
        let member = |weight, identity| Member { tier: 1, weight, identity };
        let reports = [Report::Load(90.0), Report::Load(10.0)];
        let mut weights = Weights::default();
        let mut follow = |basis, second| {
            let mut members = [member(10, 1), member(30, 2)];
            let selection = Selection { members: vec![0, 1], basis, again_at: None };
            let is_change =
                weights.follow(&spec, &mut members, &selection, &reports, Moment(SECOND * second));
            (members.map(|member| member.weight), is_change, weights.due())
        };
        let good = Basis::Good { tier: 1 };
        assert_eq!(follow(good, 1), ([15_000, 45_000], true, Some(Moment(SECOND * 2))));
        let (moved, is_change, _) = follow(good, 2);
        assert!(is_change && moved[0] < 15_000 && moved[0] > 13_000, "{moved:?}");
        assert_eq!(follow(Basis::Panic, 3), ([10, 30], true, None));
        assert_eq!(follow(Basis::Panic, 4), ([10, 30], false, None));
        let (again, is_change, _) = follow(good, 5);
        assert!(is_change && again[0] <= moved[0], "what was known is known: {again:?}");
    }
}
