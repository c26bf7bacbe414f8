//! A service in a closed loop: its endpoints get the traffic that answers send them, by clients that keep an answer
//! for its TTL, and their load follows from it.

use fastrand::Rng;
use health::Moment;
use pool::{AllDown, Balance, Gauge, Kind, Known, Member, Portion, Report, Spec, Spread, Tuning};
use std::collections::VecDeque;
use std::time::Duration;

/// How long clients keep answers, in seconds.
pub(crate) const TTL_S: u64 = 30;
/// How often weights change.
pub(crate) const PERIOD: Duration = Duration::from_secs(TTL_S);
/// What a node has by default.
pub(crate) const TUNING: Tuning =
    Tuning { period: PERIOD, step_percent: 10, least_percent: 5, idle_milli: 0 };
/// How long a death goes unseen, in seconds.
const UNSEEN_S: u64 = 2;

/// What is seen of an endpoint that is used to this part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sense {
    /// How much of it is used.
    Use,
    /// How long a request takes, queue included.
    Time,
    /// How many requests are there at once.
    InUse,
    /// How much is left.
    Room,
}

impl Sense {
    pub(crate) const ALL: [Sense; 4] = [Sense::Use, Sense::Time, Sense::InUse, Sense::Room];

    fn of(self, used: f64) -> f64 {
        // A queue is not endless: beyond 98 % requests are turned away.
        let busy = used.min(0.98);
        match self {
            Sense::Use => used.min(1.0),
            Sense::Time => 1.0 / (1.0 - busy),
            Sense::InUse => busy / (1.0 - busy),
            Sense::Room => 1.0 - busy,
        }
    }
}

/// How weights are made.
pub(crate) enum Law {
    /// As pools have it.
    Balance(Balance),
    /// In inverse proportion to loads, at once.
    Inverse,
}

pub(crate) struct Endpoint {
    /// So many requests a second use all of it.
    pub(crate) capacity: f64,
    /// What its weight is configured to be.
    pub(crate) weight: u16,
    died: Option<u64>,
    gauge: Gauge,
}

/// What was so in a second.
pub(crate) struct Second {
    /// The share of answers of each endpoint.
    pub(crate) shares: Vec<f64>,
    /// How much of each is used.
    pub(crate) used: Vec<f64>,
}

pub(crate) struct Service {
    rng: Rng,
    sense: Sense,
    law: Law,
    pub(crate) endpoints: Vec<Endpoint>,
    /// Requests a second.
    pub(crate) demand: f64,
    /// By how much a load is seen wrong by chance, as a part of it.
    noise: f64,
    /// The answers that clients may still have, the oldest first.
    kept: VecDeque<Vec<f64>>,
    /// The weights at the last change, where the law has no memory of its own.
    weights: Vec<u16>,
    pub(crate) past: Vec<Second>,
}

impl Service {
    /// Endpoints with these capacities and weights.
    pub(crate) fn new(seed: u64, sense: Sense, law: Law, endpoints: &[(f64, u16)], demand: f64) -> Service {
        let endpoint = |(capacity, weight): &(f64, u16)| Endpoint {
            capacity: *capacity,
            weight: *weight,
            died: None,
            gauge: Gauge::default(),
        };
        Service {
            rng: Rng::with_seed(seed),
            sense,
            law,
            endpoints: endpoints.iter().map(endpoint).collect(),
            demand,
            noise: 0.1,
            kept: VecDeque::new(),
            weights: Vec::new(),
            past: Vec::new(),
        }
    }

    /// The second that begins.
    pub(crate) fn now(&self) -> u64 {
        self.past.len() as u64
    }

    pub(crate) fn kill(&mut self, index: usize) {
        self.endpoints[index].died = Some(self.now());
    }

    pub(crate) fn revive(&mut self, index: usize) {
        self.endpoints[index].died = None;
    }

    /// Lets so many periods go by.
    pub(crate) fn periods(&mut self, count: u64) {
        (0..count * TTL_S).for_each(|_| self.second());
    }

    pub(crate) fn second(&mut self) {
        let shares = self.answers();
        self.kept.push_back(shares.clone());
        if self.kept.len() as u64 > TTL_S {
            self.kept.pop_front();
        }
        let clients = self.kept.len() as f64;
        // Day and night, and people.
        let demand = self.demand * (1.0 + 0.02 * (self.rng.f64() - 0.5));
        let mut used = Vec::with_capacity(shares.len());
        let now = Moment(Duration::from_secs(self.now()));
        for (index, endpoint) in self.endpoints.iter_mut().enumerate() {
            let traffic = demand * self.kept.iter().map(|shares| shares[index]).sum::<f64>() / clients;
            used.push(traffic / endpoint.capacity);
            if endpoint.died.is_some() {
                continue;
            }
            let chance = 1.0 + self.noise * (2.0 * self.rng.f64() - 1.0);
            if self.rng.u8(0..30) == 0 {
                endpoint.gauge.miss();
            } else {
                endpoint.gauge.take(self.sense.of(used[index]) * chance, PERIOD / 2, now);
            }
        }
        self.past.push(Second { shares, used });
    }

    /// The share of answers of each endpoint now.
    fn answers(&mut self) -> Vec<f64> {
        let now = self.now();
        let member =
            |(index, it): (usize, &Endpoint)| Member { tier: 1, weight: it.weight, identity: index as u64 };
        let mut members: Vec<Member> = self.endpoints.iter().enumerate().map(member).collect();
        let is_good = |it: &Endpoint| it.died.is_none_or(|died| now < died + UNSEEN_S);
        let good = self.endpoints.iter().enumerate().filter(|(_, it)| is_good(it));
        let good: Vec<usize> = good.map(|(index, _)| index).collect();
        let report = |it: &Endpoint| match (it.gauge.known(), self.sense) {
            (Known::Nothing, _) => Report::Unknown,
            (Known::NoMore, _) => Report::Silent,
            (Known::Load(room), Sense::Room) => Report::Room(room),
            (Known::Load(load), _) => Report::Load(load),
        };
        let reports: Vec<Report> = self.endpoints.iter().map(report).collect();
        let weights = match &mut self.law {
            Law::Balance(balance) => {
                balance.weigh(&TUNING, &members, &good, &reports, Moment(Duration::from_secs(now)))
            }
            Law::Inverse if now.is_multiple_of(TTL_S) => {
                let weight = |(report, member): (&Report, &Member)| match report {
                    Report::Load(load) => (f64::from(member.weight) * 100.0 / load.max(0.01)) as u16,
                    _ => member.weight,
                };
                reports.iter().zip(&members).map(weight).collect()
            }
            Law::Inverse => self.weights.clone(),
        };
        members.iter_mut().zip(&weights).for_each(|(member, weight)| member.weight = *weight);
        self.weights = weights;
        let kind = Kind::LeastLoad { portion: Portion::One, tuning: TUNING };
        let spec = Spec { kind, answers_max: None, all_down: AllDown::All, panic_percent: 0 };
        let spread = Spread::new(&spec, &members, &good);
        (0..members.len()).map(|member| spread.share(member)).collect()
    }

    /// The share of an endpoint at the end of each of the last periods, the newest last.
    pub(crate) fn shares_of(&self, index: usize, periods: usize) -> Vec<f64> {
        let mut shares: Vec<f64> =
            self.past.iter().rev().step_by(TTL_S as usize).take(periods).map(|it| it.shares[index]).collect();
        shares.reverse();
        shares
    }

    /// How much of each endpoint was used in the last period.
    pub(crate) fn used(&self) -> Vec<f64> {
        let last = &self.past[self.past.len().saturating_sub(TTL_S as usize)..];
        let mean = |index: usize| last.iter().map(|it| it.used[index]).sum::<f64>() / last.len() as f64;
        (0..self.endpoints.len()).map(mean).collect()
    }
}
