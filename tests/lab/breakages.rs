//! Each breakage at a node that carries everything: what the client lost, and when the routes were gone.
//!
//! The limits are wider than what is promised where a busy machine with two processors can hold things up; what was
//! measured is printed. The client asks 5,000 times a second.

use std::sync::PoisonError;
use std::time::Duration;

use starling_tests::lab::breakage::Breakage;
use starling_tests::lab::breakage::Breakage::*;
use starling_tests::lab::report::Report;
use starling_tests::lab::{Lab, Plan};
use starling_tests::netns::usable;
use starling_tests::tools;

use crate::ONE;

/// What the promise of 10 ms after any death is checked with. A process that is killed needs a processor to die, and so does all
/// that has to run after it: with a load average of 13 to 18 on two processors it took 225 ms once.
const DEAD_LIMIT: Duration = Duration::from_millis(500);
/// What the promise of a second after any freeze is checked with.
const FROZEN_LIMIT: Duration = Duration::from_millis(1_500);
/// Within which a router sees with BFD that BIRD is gone or stopped (1 s), or with a hold time of 3 s.
const BIRD_LIMIT: Duration = Duration::from_millis(3_500);

/// What must come of a breakage.
enum Expected {
    /// The routes leave the node within so long, and others answer.
    Leaves(Duration),
    /// As with `Leaves`, and the node says that BIRD can't be reached.
    LeavesAndTells(Duration),
    /// Others answer, nothing is lost.
    MovesWithoutLoss,
    /// No route changes, nothing is lost.
    Nothing,
    /// As with `Nothing`, and the command that did it is told this: else it would be nothing that was broken.
    NothingBut(&'static str),
    /// As with `Nothing`, and this check fails.
    NothingButFails(&'static str),
    /// Nothing is lost, and routes change, but at most so often.
    AtMost(usize),
    /// Somebody goes on answering, and nothing is lost.
    SomebodyStays,
}

#[test]
fn dead_or_frozen_the_route_goes() {
    check(&[
        (KillAgent, Expected::Leaves(DEAD_LIMIT)),
        (KillServer, Expected::Leaves(DEAD_LIMIT)),
        (StopAgent, Expected::Leaves(FROZEN_LIMIT)),
        (StopServer, Expected::Leaves(FROZEN_LIMIT)),
        (StuckWorker, Expected::Leaves(FROZEN_LIMIT)),
    ]);
}

#[test]
fn other_nodes_take_over_when_routing_breaks() {
    check(&[
        (KillBird, Expected::LeavesAndTells(BIRD_LIMIT)),
        (StopBird, Expected::LeavesAndTells(BIRD_LIMIT)),
        (LinkDown, Expected::Leaves(BIRD_LIMIT)),
        (ReconfigureBird, Expected::Nothing),
        (BreakBirdConfig, Expected::Nothing),
    ]);
}

#[test]
fn what_all_nodes_share_changes_no_route() {
    check(&[
        (BadZone, Expected::NothingBut("example.com.zone:")),
        (PrimaryUnreachable, Expected::NothingButFails("primary")),
        (DiskFull, Expected::NothingButFails("disk")),
        // Eight flips would be eight changes; hold-down lets through what fits into the time.
        (FlappingCheck, Expected::AtMost(4)),
        (DegradeTwo, Expected::MovesWithoutLoss),
        (DegradeAll, Expected::SomebodyStays),
    ]);
}

#[test]
fn work_by_hand_loses_no_query() {
    check(&[
        (Drain, Expected::MovesWithoutLoss),
        (Undrain, Expected::MovesWithoutLoss),
        (Upgrade, Expected::Nothing),
    ]);
}

/// Goes through breakages one after the other, in one lab, and tells at the end which of them went wrong.
fn check(breakages: &[(Breakage, Expected)]) {
    if !usable() {
        return;
    }
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut lab = Lab::up(Plan::default(), None).unwrap_or_else(|error| panic!("{error:#}"));
    let mut faults = Vec::new();
    for (breakage, expected) in breakages {
        let report = breakage.observe(&mut lab, 0).unwrap_or_else(|error| panic!("{breakage}: {error:#}"));
        tools::announce(&report.to_string());
        if let Err(fault) = verdict(&report, expected) {
            faults.push(format!("{fault}\n{report}"));
        }
        if let Err(error) = lab.mend() {
            panic!("mending after {breakage}: {error:#}\n{}", faults.join("\n"));
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

fn verdict(report: &Report, expected: &Expected) -> Result<(), String> {
    let Report { during, before, after, .. } = report;
    let lossless = || match during.lost + during.tcp_lost {
        0 => Ok(()),
        lost => Err(format!("{lost} queries were lost")),
    };
    let calm = || match report.changes() {
        0 => Ok(()),
        changes => Err(format!("a route changed {changes} times")),
    };
    if after.lost > 0 {
        return Err("queries are lost at the end".to_owned());
    }
    let fails = |check: &str| {
        report
            .explained
            .lines()
            .any(|line| line.starts_with(&format!("{check} ")) && line.contains(" failing "))
    };
    match expected {
        Expected::LeavesAndTells(_) if !fails("bird") => {
            Err(format!("nothing is said of BIRD:\n{}", report.explained))
        }
        Expected::NothingButFails(check) if !fails(check) => {
            Err(format!("the check {check} doesn't fail:\n{}", report.explained))
        }
        Expected::NothingBut(told) if !report.said.contains(told) => {
            Err(format!("nothing was broken, by what it says: {:?}", report.said))
        }
        Expected::AtMost(_) if report.changes() == 0 => Err("no route changed at all".to_owned()),
        Expected::Leaves(limit) | Expected::LeavesAndTells(limit) => match report.left_after() {
            Some(left) if left <= *limit => Ok(()),
            Some(left) => Err(format!("the route was there for {left:?}, and {limit:?} are allowed")),
            None => Err("the route did not go".to_owned()),
        },
        Expected::MovesWithoutLoss if before.who() == after.who() => {
            Err(format!("{} answers as before", after.who()))
        }
        Expected::MovesWithoutLoss | Expected::SomebodyStays => lossless(),
        Expected::Nothing | Expected::NothingBut(_) | Expected::NothingButFails(_) => {
            calm().and_then(|()| lossless())
        }
        Expected::AtMost(limit) if report.changes() > *limit => {
            Err(format!("a route changed {} times, and {limit} are allowed", report.changes()))
        }
        Expected::AtMost(_) => lossless(),
    }
}
