use super::*;
use crate::serial::is_newer;
use std::time::Duration;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const CLAMPS: Clamps = Clamps {
    refresh: Clamp { min: s(10), max: s(1000) },
    retry: Clamp { min: s(5), max: s(100) },
    expire: Clamp { min: s(50), max: s(10_000) },
};

fn soa(serial: u32, refresh: u64, retry: u64, expire: u64) -> Soa {
    Soa { serial, refresh: s(refresh), retry: s(retry), expire: s(expire) }
}

fn answers(serials: &[Option<u32>]) -> Vec<Surveyed> {
    serials.iter().enumerate().map(|(primary, serial)| Surveyed { primary, serial: *serial }).collect()
}

fn report(serials: &[Option<u32>], end: End) -> Report {
    Report { surveyed: answers(serials), rejected: Vec::new(), end }
}

fn within(moment: Moment, from: Moment, interval: Duration) {
    assert!(moment <= from + interval, "{moment:?} is later than {from:?} + {interval:?}");
    assert!(moment >= from + interval * 9 / 10, "{moment:?} is much earlier than {from:?} + {interval:?}");
}

#[test]
fn the_freshest_primary_comes_first_and_older_ones_not_at_all() {
    let round = |purpose, serial| Round { purpose, serial, ask: Vec::new(), rejected: Vec::new() };
    let choice = |copy, serials: &[Option<u32>]| choose(&round(Purpose::Refresh, copy), &answers(serials));
    assert_eq!(choice(Some(5), &[Some(6), Some(8), None, Some(7)]), Choice::Transfer(vec![1, 3, 0]));
    assert_eq!(choice(Some(5), &[Some(5), Some(4), None]), Choice::Current);
    assert_eq!(choice(None, &[Some(5), Some(6)]), Choice::Transfer(vec![1, 0]));
    assert_eq!(choice(Some(u32::MAX), &[Some(3), Some(u32::MAX - 1)]), Choice::Transfer(vec![0]), "it wraps");
    assert_eq!(choice(Some(5), &[None, None]), Choice::Unknown);
    assert_eq!(choose(&round(Purpose::Retransfer, Some(5)), &answers(&[Some(4)])), Choice::Transfer(vec![0]));
}

#[test]
fn intervals_are_those_of_the_soa_record_within_the_clamps() {
    let mut machine = Machine::new(CLAMPS, 1, None, s(7), 1);
    assert_eq!(machine.due(), s(7));
    assert_eq!(
        machine.begin(s(7)),
        Some(Round { purpose: Purpose::Refresh, serial: None, ask: vec![0], rejected: Vec::new() })
    );
    assert_eq!(machine.begin(s(7)), None, "one round at a time");
    machine.finish(s(8), &report(&[Some(1)], End::Renewed(soa(1, 100, 20, 500))));
    within(machine.due(), s(8), s(100));
    assert_eq!(machine.expires(), Some(s(508)));
    let at = machine.due();
    machine.begin(at).unwrap();
    machine.finish(at, &report(&[None], End::Failed));
    within(machine.due(), at, s(20));
    assert_eq!(machine.expires(), Some(s(508)), "what failed confirms nothing");
    let at = machine.due();
    machine.begin(at).unwrap();
    machine.finish(at, &report(&[Some(1)], End::Current));
    assert_eq!(machine.expires(), Some(at + s(500)));
    // Out of the clamps on either side.
    let at = machine.due();
    machine.begin(at).unwrap();
    machine.finish(at, &report(&[Some(2)], End::Renewed(soa(2, 0, 0, 0))));
    within(machine.due(), at, s(10));
    assert_eq!(machine.expires(), Some(at + s(50)));
    let at = machine.due();
    machine.begin(at).unwrap();
    let most = u64::from(u32::MAX);
    machine.finish(at, &report(&[Some(3)], End::Renewed(soa(3, most, most, most))));
    within(machine.due(), at, s(1000));
    assert_eq!(machine.expires(), Some(at + s(10_000)));
}

#[test]
fn zones_that_were_loaded_together_drift_apart() {
    let waits = |end: End, serial: Option<u32>| -> Vec<Duration> {
        let wait = |seed| {
            let copy = Copy { soa: soa(1, 100, 20, 500), age: s(0) };
            let mut machine = Machine::new(CLAMPS, 1, Some(copy), s(0), seed);
            machine.begin(s(0)).unwrap();
            machine.finish(s(0), &report(&[serial], end));
            machine.next_round().unwrap()
        };
        (0..100).map(wait).collect()
    };
    for (end, serial, interval) in [(End::Current, Some(1), s(100)), (End::Failed, None, s(20))] {
        let waits = waits(end, serial);
        waits.iter().for_each(|wait| within(*wait, s(0), interval));
        let distinct: std::collections::BTreeSet<&Duration> = waits.iter().collect();
        assert!(distinct.len() > 50, "{distinct:?}");
        assert!(waits.iter().any(|wait| *wait < interval * 95 / 100), "{waits:?}");
    }
}

#[test]
fn a_copy_from_before_is_as_old_as_it_is() {
    let copy = Copy { soa: soa(1, 100, 20, 500), age: s(450) };
    let mut machine = Machine::new(CLAMPS, 1, Some(copy), s(0), 1);
    assert_eq!((machine.due(), machine.expires()), (s(0), Some(s(50))), "looked at at once");
    machine.begin(s(0)).unwrap();
    assert!(!machine.expire(s(49)));
    assert!(machine.expire(s(50)));
    assert!(!machine.expire(s(51)), "said once");
    assert!(machine.is_expired());
    machine.finish(s(60), &report(&[Some(1)], End::Current));
    assert!(!machine.is_expired());
    let mut machine = Machine::new(CLAMPS, 1, Some(Copy { age: s(501), ..copy }), s(3), 1);
    assert!(machine.expire(s(3)));
}

#[test]
fn without_a_copy_it_is_tried_again_soon_and_then_less_often() {
    let mut machine = Machine::new(CLAMPS, 1, None, s(0), 1);
    let mut waits = Vec::new();
    for _ in 0..12 {
        let at = machine.due();
        machine.begin(at).unwrap();
        machine.finish(at, &report(&[None], End::Failed));
        waits.push(machine.due() - at);
    }
    assert!(waits[0] <= s(2) && waits[11] >= s(270) && waits[11] <= s(300), "{waits:?}");
}

#[test]
fn a_dead_primary_is_left_alone_while_another_lives() {
    let mut machine = Machine::new(CLAMPS, 2, None, s(0), 1);
    machine.begin(s(0)).unwrap();
    machine.finish(s(0), &report(&[None, Some(1)], End::Renewed(soa(1, 10, 5, 500))));
    let at = machine.due();
    assert_eq!(machine.begin(at).unwrap().ask, [1]);
    let surveyed = vec![Surveyed { primary: 1, serial: Some(1) }];
    machine.finish(at, &Report { surveyed, rejected: Vec::new(), end: End::Current });
    machine.request(s(12), Purpose::Refresh, Asker::Notice(Some(0)));
    assert_eq!(machine.begin(s(12)).unwrap().ask, [0, 1], "it has sent something, so it lives");
    machine.finish(s(12), &report(&[None, None], End::Failed));
    assert_eq!(machine.begin(machine.due()).unwrap().ask, [0, 1], "when all are dead, all are asked");
    let at = s(20);
    machine.finish(at, &report(&[None, Some(1)], End::Current));
    machine.request(s(200), Purpose::Refresh, Asker::Notice(None));
    assert_eq!(machine.begin(s(200)).unwrap().ask, [0, 1], "it is tried again some time");
}

#[test]
fn what_is_asked_for_during_a_round_is_done_after_it_once() {
    let mut machine = Machine::new(CLAMPS, 1, None, s(0), 1);
    machine.begin(s(0)).unwrap();
    machine.request(s(1), Purpose::Retransfer, Asker::Operator);
    machine.request(s(1), Purpose::Refresh, Asker::Notice(Some(0)));
    assert_eq!(machine.begin(s(1)), None);
    machine.finish(s(2), &report(&[Some(1)], End::Renewed(soa(1, 100, 20, 500))));
    assert_eq!(machine.begin(s(2)).map(|round| round.purpose), Some(Purpose::Retransfer));
    machine.finish(s(3), &report(&[Some(1)], End::Current));
    assert_eq!(machine.begin(s(3)), None);
    machine.request(s(4), Purpose::Refresh, Asker::Notice(None));
    assert_eq!(machine.begin(s(4)).map(|round| round.purpose), Some(Purpose::Refresh));
}

#[test]
fn what_is_no_good_is_not_transferred_again_and_again() {
    let bad = |serial| Rejected { primary: 0, serial, why: "two SOA records".to_owned() };
    let mut machine = Machine::new(CLAMPS, 1, None, s(0), 1);
    machine.begin(s(0)).unwrap();
    machine.finish(s(0), &report(&[Some(1)], End::Renewed(soa(1, 10, 5, 5000))));
    let rejecting = |serial| Report { rejected: vec![bad(serial)], ..report(&[None], End::Failed) };
    let mut waits = Vec::new();
    let (mut now, mut transferred) = (s(10), s(0));
    while waits.len() < 10 {
        now = now.max(machine.next_round().unwrap());
        let round = machine.begin(now).unwrap();
        match choose(&round, &answers(&[Some(7)])) {
            Choice::Rejected(rejected) => {
                assert_eq!(rejected, [bad(7)]);
                machine.finish(now, &report(&[Some(7)], End::Failed));
            }
            Choice::Transfer(_) => {
                waits.push((now - transferred).as_secs());
                transferred = now;
                machine.finish(now, &rejecting(7));
            }
            other => panic!("{other:?}"),
        }
    }
    assert!((600..610).contains(&waits[1]) && (1200..1210).contains(&waits[2]), "{waits:?}");
    assert!((86_400..86_410).contains(&waits[9]), "{waits:?}");
    // Another serial is another chance, and an operator's word is one.
    let at = machine.next_round().unwrap();
    let round = machine.begin(at).unwrap();
    assert_eq!(choose(&round, &answers(&[Some(8)])), Choice::Transfer(vec![0]));
    machine.request(at, Purpose::Refresh, Asker::Operator);
    machine.finish(at, &rejecting(8));
    let round = machine.begin(at).unwrap();
    assert_eq!(choose(&round, &answers(&[Some(8)])), Choice::Transfer(vec![0]));
    machine.finish(at, &rejecting(8));
    machine.request(at, Purpose::Refresh, Asker::Operator);
    assert_eq!(machine.begin(at).unwrap().rejected, []);
}

#[test]
fn a_flood_of_notices_is_a_round_a_second() {
    let mut machine = Machine::new(CLAMPS, 1, None, s(0), 1);
    let mut rounds = 0;
    for at in (0..10_000).map(Duration::from_millis) {
        machine.request(at, Purpose::Refresh, Asker::Notice(Some(0)));
        if machine.begin(at).is_some() {
            machine.request(at, Purpose::Refresh, Asker::Notice(None));
            let end = if rounds == 0 { End::Renewed(soa(1, 1000, 20, 500)) } else { End::Current };
            machine.finish(at, &report(&[Some(1)], end));
            rounds += 1;
        }
    }
    // The first three after that which found something follow at once, and the last of them is no longer free.
    assert_eq!(rounds, 13);
    machine.request(s(10), Purpose::Refresh, Asker::Notice(None));
    let at = s(10) - Duration::from_millis(1);
    machine.request(at, Purpose::Refresh, Asker::Operator);
    assert!(machine.begin(at).is_some(), "an operator doesn't wait");
    machine.finish(at, &report(&[Some(1)], End::Current));
    machine.request(s(60), Purpose::Refresh, Asker::Notice(None));
    assert!(machine.begin(s(60)).is_some(), "the first after a while is followed at once");
    for serial in 2..20 {
        machine.finish(s(60), &report(&[Some(serial)], End::Renewed(soa(serial, 1000, 20, 500))));
        machine.request(s(60), Purpose::Refresh, Asker::Notice(Some(0)));
        assert!(machine.begin(s(60)).is_some(), "those that are true are followed at once");
    }
}

/// As BIND sends them: one of the two is in vain.
#[test]
fn a_notice_that_comes_twice_holds_up_no_change() {
    let mut machine = Machine::new(CLAMPS, 1, None, s(0), 1);
    for serial in 1..100 {
        let at = Duration::from_millis(u64::from(serial) * 100);
        machine.request(at, Purpose::Refresh, Asker::Notice(Some(0)));
        assert!(machine.begin(at).is_some(), "serial {serial}");
        machine.request(at, Purpose::Refresh, Asker::Notice(Some(0)));
        machine.finish(at, &report(&[Some(serial)], End::Renewed(soa(serial, 1000, 20, 500))));
        assert!(machine.begin(at).is_some(), "the round that was under way may have been too early");
        machine.finish(at, &report(&[Some(serial)], End::Current));
    }
}

/// Primaries that come and go and move on, seen through rounds that take their time: the rules hold at every step.
#[test]
fn random_lives_keep_the_rules() {
    for seed in 0..200 {
        let mut rng = Rng::with_seed(seed);
        let count = rng.usize(1..4);
        let mut now = s(rng.u64(0..100));
        let mut machine = Machine::new(CLAMPS, count, None, now, seed);
        let mut serials = vec![rng.u32(..); count];
        let (mut copy, mut confirmed): (Option<Soa>, Option<Moment>) = (None, None);
        for step in 0..300 {
            let context = format!("seed {seed}, step {step}");
            now = now.max(machine.due().min(now + s(2000)));
            let expires = confirmed.zip(copy).map(|(at, soa)| at + CLAMPS.expire.apply(soa.expire));
            assert_eq!(machine.expires(), expires, "{context}");
            machine.expire(now);
            assert_eq!(machine.is_expired(), expires.is_some_and(|expires| expires <= now), "{context}");
            if rng.u8(0..10) == 0 {
                machine.request(now, Purpose::Refresh, Asker::Notice(Some(rng.usize(0..count))));
            }
            let Some(round) = machine.begin(now) else { continue };
            assert!(!round.ask.is_empty(), "{context}");
            assert_eq!(round.serial, copy.map(|soa| soa.serial), "{context}");
            let alive: Vec<bool> = (0..count).map(|_| rng.u8(0..4) > 0).collect();
            for serial in &mut serials {
                *serial = serial.wrapping_add(rng.u32(0..3) * rng.u32(..1 << 20));
            }
            let mut surveyed: Vec<Surveyed> = round
                .ask
                .iter()
                .map(|&primary| Surveyed { primary, serial: alive[primary].then_some(serials[primary]) })
                .collect();
            now += Duration::from_millis(rng.u64(0..5000));
            let end = match choose(&round, &surveyed) {
                Choice::Unknown => End::Failed,
                Choice::Current => End::Current,
                Choice::Rejected(_) => panic!("{context}: nothing was rejected"),
                Choice::Transfer(order) => {
                    let first = order[0];
                    let best = surveyed.iter().filter_map(|answer| answer.serial);
                    assert!(
                        best.clone().all(|other| !is_newer(other, serials[first])) || best.count() > 2,
                        "{context}"
                    );
                    if rng.bool() {
                        End::Renewed(soa(
                            serials[first],
                            rng.u64(0..2000),
                            rng.u64(0..200),
                            rng.u64(0..20_000),
                        ))
                    } else {
                        surveyed.iter_mut().for_each(|answer| answer.serial = None);
                        End::Failed
                    }
                }
            };
            if let End::Renewed(soa) = end {
                assert!(
                    copy.is_none_or(|copy| is_newer(soa.serial, copy.serial)),
                    "{context}: it goes forward"
                );
                copy = Some(soa);
            }
            if end != End::Failed {
                confirmed = Some(now);
            }
            machine.finish(now, &Report { surveyed, rejected: Vec::new(), end });
            let next = machine.next_round().unwrap();
            let longest = match (end, copy) {
                (End::Failed, None) => FIRST_RETRY_MAX,
                (End::Failed, Some(_)) => CLAMPS.retry.max,
                _ => CLAMPS.refresh.max,
            };
            assert!(next <= now + longest, "{context}: the next round comes in time");
        }
    }
}

#[test]
fn another_version_by_an_operators_hand_is_gone_on_from() {
    let held = Copy { soa: soa(5, 100, 20, 500), age: s(100) };
    let mut machine = Machine::new(CLAMPS, 1, Some(held), s(0), 1);
    machine.replace(s(10), soa(4, 100, 20, 900));
    assert_eq!(machine.begin(s(10)).unwrap().serial, Some(4));
    assert_eq!(machine.expires(), Some(s(400)), "its primary has not said any more of it");
    machine.finish(s(11), &report(&[Some(5)], End::Current));
    assert_eq!(machine.expires(), Some(s(911)));
    let mut machine = Machine::new(CLAMPS, 1, None, s(0), 1);
    machine.replace(s(10), soa(4, 100, 20, 500));
    assert_eq!((machine.soa().map(|soa| soa.serial), machine.expires()), (Some(4), Some(s(510))));
}
