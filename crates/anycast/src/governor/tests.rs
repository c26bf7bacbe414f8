//! Each rule by name; `tests/simulation` has what holds for all histories.

use super::*;
use health::{Action, Failing};
use std::time::Duration;

use Action::{Degrade, Report, Withdraw};
use Gravity::{Hard, Soft};

const DRAIN: Command = Command::Drain { lasting: None, then: Then::Down };

/// A governor, its clock in milliseconds, and the checks that fail.
struct Bench {
    governor: Governor,
    now: u64,
    verdict: Verdict,
}

impl Bench {
    fn new(change: impl FnOnce(&mut Policy)) -> Bench {
        let mut policy = Policy::default();
        change(&mut policy);
        let governor = Governor::new(policy, Mode::Normal, 1, Moment::default()).unwrap();
        Bench { governor, now: 0, verdict: Verdict::default() }
    }

    /// A node that is up, and has been for a day, so that no flap is remembered.
    fn up(change: impl FnOnce(&mut Policy)) -> Bench {
        let mut bench = Bench::new(change);
        bench.ready();
        bench.observe();
        assert_eq!(bench.after(10_000).rung, Rung::Up);
        bench.after(86_400_000);
        bench
    }

    fn moment(&self) -> Moment {
        Moment(Duration::from_millis(self.now))
    }

    fn poll(&mut self) -> Decision {
        self.governor.poll(self.moment())
    }

    /// Lets time pass, deciding whenever it is said to be needed.
    fn after(&mut self, ms: u64) -> Decision {
        let end = self.moment() + Duration::from_millis(ms);
        let mut decision = self.poll();
        while let Some(next) = decision.next.filter(|next| *next < end) {
            decision = self.governor.poll(next);
        }
        self.now += ms;
        self.poll()
    }

    fn ready(&mut self) {
        self.governor.server_ready(self.moment());
    }

    fn observe(&mut self) {
        self.governor.observe(self.moment(), self.verdict.clone());
    }

    fn fail(&mut self, check: &str, action: Action, gravity: Gravity) -> Decision {
        let (since, saw) = (self.moment(), "seen".to_owned());
        self.verdict.failing.push(Failing { check: check.to_owned(), action, gravity, since, saw });
        self.observe();
        self.poll()
    }

    fn pass(&mut self, check: &str) -> Decision {
        self.verdict.failing.retain(|failing| failing.check != check);
        self.observe();
        self.poll()
    }

    fn command(&mut self, command: Command) -> Decision {
        self.governor.command(self.moment(), command).unwrap();
        self.poll()
    }

    fn peers(&mut self, healthy: u32) -> Decision {
        self.governor.peers(self.moment(), healthy, self.moment());
        self.poll()
    }

    /// The state of the peers, read every half second for a time.
    fn after_with_peers(&mut self, ms: u64, healthy: u32) -> Decision {
        for _ in 0..ms / 500 {
            self.peers(healthy);
            self.after(500);
        }
        self.peers(healthy)
    }
}

fn guarded(policy: &mut Policy) {
    policy.last_site = Some(LastSite { peers_min: 1, peers_age_max: Duration::from_secs(2) });
}

fn texts(decision: &Decision) -> Vec<&str> {
    let name = |reason: &'_ Reason| match reason {
        Reason::NotReady => "not ready",
        Reason::ServerLost { .. } => "lost",
        Reason::Check(failing) if failing.check == "a" => "a",
        Reason::Check(failing) if failing.check == "b" => "b",
        Reason::Check(_) => "check",
        Reason::Drain { .. } => "drain",
        Reason::Drained => "drained",
        Reason::Maintenance => "maintenance",
        Reason::Shutdown => "shutdown",
        Reason::Waits { .. } => "waits",
        Reason::LastSite { .. } => "last site",
    };
    decision.reasons.iter().map(name).collect()
}

#[test]
fn nothing_is_announced_before_all_is_known_and_stable() {
    let mut bench = Bench::new(|_| {});
    bench.verdict.unknown.push("udp".to_owned());
    bench.observe();
    assert_eq!(bench.after(60_000).rung, Rung::Down);
    bench.ready();
    let decision = bench.after(60_000);
    assert_eq!(decision.blocked, [Block::Unknown(vec!["udp".to_owned()])]);
    bench.verdict.unknown.clear();
    bench.observe();
    let decision = bench.after(9_999);
    assert_eq!(decision.rung, Rung::Down);
    assert_eq!(
        decision.blocked,
        [
            Block::Stable { rung: Rung::Up, until: decision.next.unwrap() },
            Block::Stable { rung: Rung::Degraded, until: decision.next.unwrap() }
        ]
    );
    let decision = bench.after(1);
    assert_eq!((decision.rung, decision.healthy), (Rung::Up, true));
    assert_eq!(decision.transition.unwrap().by, Cause::Recovery);
    assert!(decision.reasons.is_empty() && decision.blocked.is_empty());
}

#[test]
fn without_a_word_from_the_checks_nothing_is_announced() {
    let mut bench = Bench::new(|_| {});
    bench.ready();
    assert_eq!(bench.after(3_600_000).rung, Rung::Down);
}

#[test]
fn the_worst_action_of_all_reasons_counts_and_all_are_shown() {
    let mut bench = Bench::up(|_| {});
    assert_eq!(bench.fail("r", Report, Hard).rung, Rung::Up);
    let decision = bench.fail("a", Degrade, Soft);
    assert_eq!((decision.rung, decision.healthy), (Rung::Degraded, false));
    let decision = bench.fail("b", Withdraw, Hard);
    assert_eq!(decision.rung, Rung::Down);
    assert_eq!(texts(&decision), ["b", "a"]);
    let transition = decision.transition.unwrap();
    assert_eq!((transition.from, transition.to, transition.by), (Rung::Degraded, Rung::Down, Cause::Hard));
    assert!(transition.why.contains("check b") && transition.why.contains("check a"));
}

#[test]
fn a_lost_server_withdraws_at_once_and_has_to_prove_itself_anew() {
    let mut bench = Bench::up(|_| {});
    bench.governor.server_lost(bench.moment(), "killed by signal 9");
    bench.ready();
    bench.governor.server_lost(bench.moment(), "killed by signal 9");
    let decision = bench.poll();
    assert_eq!((decision.rung, decision.transition.unwrap().by), (Rung::Down, Cause::Hard));
    assert_eq!(texts(&bench.poll()), ["lost"]);
    bench.ready();
    assert_eq!(bench.after(9_999).rung, Rung::Down);
    // The hold-down is up to a quarter longer than the time that has to be stable.
    assert_eq!(bench.after(2_501).rung, Rung::Up);
}

#[test]
fn a_server_that_was_replaced_between_two_decisions_proves_itself_too() {
    let mut bench = Bench::new(|_| {});
    bench.ready();
    bench.observe();
    bench.after(9_000);
    bench.governor.server_lost(bench.moment(), "ended");
    bench.ready();
    assert_eq!(bench.after(9_999).rung, Rung::Down);
    assert_eq!(bench.after(1).rung, Rung::Up);
    bench.governor.server_lost(bench.moment(), "ended");
    bench.ready();
    let decision = bench.poll();
    assert_eq!((decision.rung, decision.transition.unwrap().by), (Rung::Down, Cause::Hard));
}

#[test]
fn hold_downs_double_with_each_flap() {
    let mut bench = Bench::up(|_| {});
    for expected in [10, 20, 40, 80, 160, 320, 600, 600] {
        bench.fail("a", Degrade, Hard);
        let fell = bench.moment();
        let mut decision = bench.pass("a");
        while decision.rung != Rung::Up {
            let next = decision.next.expect("it gets up by itself");
            bench.now = u64::try_from(next.0.as_millis()).unwrap() + 1;
            decision = bench.poll();
        }
        let held = decision.since.since(fell).as_secs_f64() / f64::from(expected);
        // The very first may end before the stable time does.
        assert!((0.75..1.26).contains(&held), "{held} of {expected} s");
    }
}

#[test]
fn the_limit_keeps_room_for_hard_reasons() {
    let mut bench = Bench::up(|policy| {
        policy.transitions_per_hour_max = 5;
        policy.hold_down_max = policy.hold_down;
    });
    let mut rungs = Vec::new();
    for _ in 0..3 {
        rungs.push(bench.fail("a", Withdraw, Hard).rung);
        bench.pass("a");
        rungs.push(bench.after(20_000).rung);
    }
    // Two fewer than the limit when it got up, one fewer when it could only get degraded.
    assert_eq!(rungs, [Rung::Down, Rung::Up, Rung::Down, Rung::Degraded, Rung::Down, Rung::Down]);
    let decision = bench.poll();
    assert!(decision.blocked.iter().any(|block| matches!(block, Block::Limit { max: 5, .. })));
    assert_eq!(bench.after(3_600_000).rung, Rung::Up);
}

#[test]
fn soft_reasons_act_at_once_where_there_are_no_peers() {
    let mut bench = Bench::up(|_| {});
    let decision = bench.fail("a", Withdraw, Soft);
    assert_eq!((decision.rung, decision.transition.unwrap().by), (Rung::Down, Cause::Soft));
}

#[test]
fn the_last_site_stays_degraded_and_goes_when_others_are_back() {
    let mut bench = Bench::up(guarded);
    bench.peers(0);
    let decision = bench.fail("a", Withdraw, Soft);
    assert_eq!((decision.rung, texts(&decision)), (Rung::Degraded, vec!["a", "waits"]));
    let decision = bench.after_with_peers(60_000, 0);
    assert_eq!((decision.rung, texts(&decision)), (Rung::Degraded, vec!["a", "last site"]));
    let decision = bench.peers(1);
    assert_eq!((decision.rung, decision.transition.unwrap().by), (Rung::Down, Cause::Soft));
}

#[test]
fn a_soft_withdrawal_waits_longer_than_the_peers_state_may_be_old() {
    let mut bench = Bench::up(guarded);
    bench.peers(3);
    assert_eq!(bench.fail("a", Withdraw, Soft).rung, Rung::Degraded);
    assert_eq!(bench.after_with_peers(2_000, 3).rung, Rung::Degraded);
    assert_eq!(bench.after_with_peers(2_000, 3).rung, Rung::Down);
}

#[test]
fn peers_that_were_not_read_lately_are_none() {
    let mut bench = Bench::up(guarded);
    bench.peers(3);
    bench.after(1_000);
    bench.fail("a", Withdraw, Soft);
    assert_eq!(bench.after(60_000).rung, Rung::Degraded);
}

#[test]
fn hard_reasons_ignore_the_guard() {
    let mut bench = Bench::up(guarded);
    assert_eq!(bench.peers(0).rung, Rung::Up);
    assert_eq!(bench.fail("a", Withdraw, Hard).rung, Rung::Down);
}

#[test]
fn a_softly_withdrawn_node_comes_back_when_it_is_the_last() {
    let mut bench = Bench::up(guarded);
    bench.fail("a", Withdraw, Soft);
    assert_eq!(bench.after_with_peers(60_000, 1).rung, Rung::Down);
    let decision = bench.after_with_peers(9_500, 0);
    assert_eq!(decision.rung, Rung::Down);
    let decision = bench.after_with_peers(500, 0);
    assert_eq!(decision.rung, Rung::Degraded);
    assert!(!decision.healthy);
    assert_eq!(bench.peers(1).rung, Rung::Down);
}

#[test]
fn a_drain_lasts_until_undrain() {
    let mut bench = Bench::up(|_| {});
    let decision = bench.command(DRAIN);
    assert_eq!((decision.rung, decision.transition.unwrap().by), (Rung::Draining, Cause::Operator));
    assert_eq!(bench.after(86_400_000).rung, Rung::Draining);
    let decision = bench.command(Command::Undrain);
    assert_eq!((decision.rung, decision.transition.unwrap().by), (Rung::Up, Cause::Operator));
}

#[test]
fn a_drain_with_a_time_goes_on_as_it_was_told() {
    let lasting = Some(Duration::from_secs(60));
    let mut bench = Bench::up(|_| {});
    bench.command(Command::Drain { lasting, then: Then::Up });
    assert_eq!(bench.after(59_999).rung, Rung::Draining);
    assert_eq!(bench.after(1).rung, Rung::Up);
    bench.command(Command::Drain { lasting, then: Then::Down });
    assert_eq!(bench.after(60_000).rung, Rung::Down);
    assert_eq!(bench.governor.mode(), Mode::Drained);
    assert_eq!(bench.after(86_400_000).rung, Rung::Down);
    assert_eq!(bench.command(Command::Undrain).rung, Rung::Up);
}

#[test]
fn a_drain_never_raises_the_rung() {
    let mut bench = Bench::up(|_| {});
    bench.fail("a", Withdraw, Hard);
    assert_eq!(bench.command(DRAIN).rung, Rung::Down);
    bench.pass("a");
    assert_eq!(bench.after(60_000).rung, Rung::Down, "healthy again, but still drained");
    assert_eq!(bench.command(Command::Undrain).rung, Rung::Up);
    bench.fail("a", Degrade, Soft);
    assert_eq!(bench.command(DRAIN).rung, Rung::Draining);
    assert_eq!(bench.command(Command::Undrain).rung, Rung::Degraded);
}

#[test]
fn hard_reasons_withdraw_a_draining_node_at_once() {
    let mut bench = Bench::up(|_| {});
    bench.command(DRAIN);
    let decision = bench.fail("a", Withdraw, Hard);
    assert_eq!((decision.rung, decision.transition.unwrap().by), (Rung::Down, Cause::Hard));
}

#[test]
fn maintenance_drains_then_withdraws_and_is_kept() {
    let mut bench = Bench::up(|_| {});
    bench.command(Command::Maintenance(Switch::On));
    assert_eq!(bench.after(29_999).rung, Rung::Draining);
    assert_eq!(bench.after(1).rung, Rung::Down);
    let mode = bench.governor.mode();
    bench.governor = Governor::new(Policy::default(), mode, 1, bench.moment()).unwrap();
    bench.ready();
    bench.observe();
    assert_eq!(bench.after(86_400_000).rung, Rung::Down);
    assert_eq!(bench.command(Command::Maintenance(Switch::Off)).rung, Rung::Up);
}

#[test]
fn a_shutdown_drains_withdraws_waits_and_ends() {
    let mut bench = Bench::up(|_| {});
    assert_eq!(bench.command(Command::Shutdown).rung, Rung::Draining);
    let decision = bench.after(30_000);
    assert_eq!((decision.rung, decision.finished), (Rung::Down, false));
    assert!(!bench.after(9_999).finished);
    assert!(bench.after(1).finished);
    assert_eq!(bench.governor.command(bench.moment(), DRAIN), Err(Refused::ShuttingDown));
}

#[test]
fn a_shutdown_of_what_is_not_announced_takes_no_time() {
    let mut bench = Bench::new(|_| {});
    assert!(bench.command(Command::Shutdown).finished);
    let mut bench = Bench::up(|_| {});
    bench.fail("a", Withdraw, Hard);
    bench.after(4_000);
    assert!(!bench.command(Command::Shutdown).finished);
    assert!(bench.after(6_000).finished, "the grace period began with the withdrawal");
}

#[test]
fn commands_count_for_neither_limit_nor_hold_down() {
    let mut bench = Bench::up(|policy| policy.transitions_per_hour_max = 3);
    for _ in 0..100 {
        assert_eq!(bench.command(DRAIN).rung, Rung::Draining);
        let decision = bench.command(Command::Undrain);
        assert_eq!((decision.rung, decision.next), (Rung::Up, None));
    }
}

#[test]
fn an_undrain_still_leaves_room_for_hard_reasons() {
    let mut bench = Bench::up(|policy| policy.transitions_per_hour_max = 3);
    bench.fail("a", Withdraw, Hard);
    bench.command(DRAIN);
    bench.pass("a");
    bench.after(60_000);
    assert_eq!(bench.command(Command::Undrain).rung, Rung::Up, "one is spent, two are left");
    bench.fail("a", Withdraw, Hard);
    bench.command(DRAIN);
    bench.pass("a");
    bench.after(60_000);
    let decision = bench.command(Command::Undrain);
    assert_eq!(decision.rung, Rung::Degraded, "two are spent, one is left");
    assert!(decision.blocked.iter().any(|block| matches!(block, Block::Limit { .. })));
    assert_eq!(bench.after(3_600_000).rung, Rung::Up);
}

#[test]
fn a_node_that_takes_over_goes_on_as_it_was() {
    let mut bench = Bench::up(|_| {});
    bench.fail("a", Degrade, Soft);
    bench.pass("a");
    bench.after(1_000);
    let carried = bench.governor.carried();
    assert_eq!((carried.rung, carried.doublings, carried.transitions.len()), (Rung::Degraded, 1, 1));
    // The other process counts its time from somewhere else.
    bench.now += 50_000_000;
    bench.governor = Governor::resume(Policy::default(), &carried, 2, bench.moment()).unwrap();
    assert_eq!(bench.governor.carried(), carried);
    let decision = bench.poll();
    assert_eq!((decision.rung, decision.transition), (Rung::Degraded, None));
    bench.observe();
    assert_eq!(bench.after(9_999).rung, Rung::Degraded);
    assert_eq!(bench.after(3_000).rung, Rung::Up);
}
