//! Least-load pools in a closed loop: traffic follows answers late, loads follow traffic, and weights follow loads.

mod plot;
mod service;

use fastrand::Rng;
use pool::Balance;
use service::{Law, PERIOD, Sense, Service, TTL_S};
use starling_tests::tools;
use std::ops::RangeFrom;

use crate::each_seed;

/// How often weights have changed when all has come to rest.
const SETTLED: u64 = 60;
/// How much more of one endpoint is used than of another at rest, at most. Loads are seen wrong by a tenth, five percent
/// are nothing to move for, and a little is left to configured weights.
const UNEVEN_MAX: f64 = 1.4;
/// How much a share moves at rest, at most, as a part of it.
const SWING_MAX: f64 = 0.15;

/// A service whose weights are wrong: some endpoints can take up to three times as much as others with the same.
fn service(seed: u64, law: Law) -> Service {
    with_sense(seed, Sense::ALL[(seed % 4) as usize], law)
}

fn with_sense(seed: u64, sense: Sense, law: Law) -> Service {
    let mut rng = Rng::with_seed(seed);
    let count = rng.usize(2..8);
    let endpoints: Vec<(f64, u16)> =
        (0..count).map(|_| (100.0 + 200.0 * rng.f64(), if rng.bool() { 10 } else { 20 })).collect();
    let all: f64 = endpoints.iter().map(|(capacity, _)| capacity).sum();
    Service::new(seed, sense, law, &endpoints, all * (0.4 + 0.35 * rng.f64()))
}

fn balanced(seed: u64) -> Service {
    service(seed, Law::Balance(Balance::default()))
}

/// What some endpoints can take.
fn capacity(service: &Service, which: RangeFrom<usize>) -> f64 {
    service.endpoints[which].iter().map(|it| it.capacity).sum()
}

/// By how much a share has moved in the last periods, as a part of its mean.
fn swing(service: &Service, index: usize, periods: usize) -> f64 {
    let shares = service.shares_of(index, periods);
    let (least, most) =
        shares.iter().fold((f64::MAX, 0.0_f64), |(least, most), it| (least.min(*it), most.max(*it)));
    (most - least) * shares.len() as f64 / shares.iter().sum::<f64>()
}

/// How uneven the use of those endpoints is.
fn unevenness(service: &Service) -> f64 {
    let used = service.used();
    used.iter().fold(0.0_f64, |most, it| most.max(*it))
        / used.iter().fold(f64::MAX, |least, it| least.min(*it))
}

/// At rest nothing swings, and all are used alike: where that matters, as times say little of a service that has nothing to
/// do, and as well as can be seen. Agents say what is left, and get shares in proportion to it, which evens out less.
fn is_at_rest(service: &Service, sense: Sense) {
    for index in 0..service.endpoints.len() {
        let swing = swing(service, index, 30);
        assert!(
            swing < SWING_MAX,
            "{sense:?}: the share of {index} swings by {swing}: {:?}",
            service.shares_of(index, 30)
        );
    }
    let (uneven, is_busy) = (unevenness(service), service.used().iter().any(|used| *used > 0.5));
    assert!(
        sense == Sense::Room || !is_busy || uneven < UNEVEN_MAX,
        "{sense:?}: {uneven}, {:?}",
        service.used()
    );
    assert!(service.used().iter().all(|used| *used < 1.0), "{sense:?}: {:?}", service.used());
}

/// No share rises by more than a step in a period, and none is ever nothing.
fn moves_gradually(service: &Service, from: usize) {
    let periods: Vec<_> = service.past[from..].iter().step_by(TTL_S as usize).collect();
    for both in periods.windows(2) {
        for (before, now) in both[0].shares.iter().zip(&both[1].shares) {
            assert!(*now > 0.0 && now / before < 1.11, "from {before} to {now}");
        }
    }
}

#[test]
fn loads_are_evened_out_without_a_swing() {
    each_seed("loads_are_evened_out_without_a_swing", 40, |seed| {
        let mut service = balanced(seed);
        service.periods(SETTLED + 40);
        is_at_rest(&service, Sense::ALL[(seed % 4) as usize]);
        moves_gradually(&service, 0);
        service.now()
    });
}

/// A queue that is nearly full grows by twenty times what traffic does, and steps that are fit for others would swing.
#[test]
fn however_steep_a_load_is_it_does_not_swing() {
    each_seed("however_steep_a_load_is_it_does_not_swing", 40, |seed| {
        let sense = [Sense::Time, Sense::InUse][(seed % 2) as usize];
        let mut service = with_sense(seed, sense, Law::Balance(Balance::default()));
        service.demand = 0.95 * capacity(&service, 0..);
        service.periods(160);
        for index in 0..service.endpoints.len() {
            let swing = swing(&service, index, 40);
            assert!(swing < 0.13, "{sense:?}: {swing}: {:?}", service.shares_of(index, 40));
        }
        assert!(unevenness(&service) < 1.05, "{sense:?}: {:?}", service.used());
        service.now()
    });
}

#[test]
fn an_endpoint_that_gets_slow_loses_its_traffic_and_no_more() {
    each_seed("an_endpoint_that_gets_slow_loses_its_traffic_and_no_more", 40, |seed| {
        let sense = Sense::ALL[(seed % 4) as usize];
        let mut service = balanced(seed);
        // There will be room for it elsewhere.
        service.demand = 0.75 * (capacity(&service, 0..) - service.endpoints[0].capacity * 2.0 / 3.0);
        service.periods(SETTLED);
        service.endpoints[0].capacity /= 3.0;
        let from = service.past.len();
        service.periods(40);
        moves_gradually(&service, from);
        service.periods(40);
        is_at_rest(&service, sense);
        // It never had much less than it has in the end.
        let shares = service.shares_of(0, 80);
        let (least, last) = (shares.iter().fold(f64::MAX, |least, it| least.min(*it)), shares[79]);
        assert!(least > 0.8 * last, "{sense:?}: {least}, {last} in the end: {shares:?}");
        service.now()
    });
}

#[test]
fn who_comes_back_gets_its_traffic_by_and_by() {
    each_seed("who_comes_back_gets_its_traffic_by_and_by", 40, |seed| {
        let sense = Sense::ALL[(seed % 4) as usize];
        let mut service = balanced(seed);
        service.demand = 0.75 * capacity(&service, 1..);
        service.periods(SETTLED);
        let weights = service.endpoints.iter().map(|it| f64::from(it.weight));
        let own = f64::from(service.endpoints[0].weight) / weights.sum::<f64>();
        service.kill(0);
        service.periods(10);
        assert!(service.shares_of(0, 1)[0] == 0.0);
        assert!(service.used().iter().skip(1).all(|used| used.is_finite()));
        let from = service.past.len();
        service.revive(0);
        service.periods(1);
        let back = service.shares_of(0, 1)[0];
        assert!(back > 0.0 && back < 0.3 * own, "{back}, of {own} by its weight");
        service.periods(SETTLED + 20);
        moves_gradually(&service, from + TTL_S as usize);
        is_at_rest(&service, sense);
        service.now()
    });
}

/// What the law is for: without it this very loop swings.
#[test]
fn weights_in_inverse_proportion_to_loads_swing() {
    let mut swinging = 0;
    for seed in 0..40 {
        let mut service = service(seed, Law::Inverse);
        service.periods(SETTLED + 40);
        let swings = (0..service.endpoints.len()).map(|index| swing(&service, index, 30));
        swinging += usize::from(swings.fold(0.0, f64::max) > 2.0 * SWING_MAX);
    }
    assert!(swinging >= 10, "{swinging} of 40");
}

#[test]
fn the_plot_in_the_documentation_is_what_the_simulation_gives() {
    let endpoints = [(400.0, 1), (400.0, 1), (200.0, 1), (200.0, 1)];
    let mut service = Service::new(7, Sense::Time, Law::Balance(Balance::default()), &endpoints, 600.0);
    let minutes = |service: &mut Service, minutes: u64| service.periods(minutes * 60 / PERIOD.as_secs());
    minutes(&mut service, 40);
    service.endpoints[0].capacity /= 3.0;
    minutes(&mut service, 40);
    service.kill(3);
    minutes(&mut service, 20);
    service.revive(3);
    minutes(&mut service, 40);
    let plot = plot::plot(&service, &["a", "b", "c", "d"]);
    let readme = std::fs::read_to_string(tools::repository().join("README.md")).unwrap();
    assert!(readme.contains(&format!("```text\n{plot}```\n")), "the plot in README.md has to be:\n{plot}");
}
