//! Nodes whose zone comes from one primary over the management network: a change, the primary's death, a node that is cut off
//! past expiry, and versions that are no good. The client asks 5,000 times a second.

use std::sync::PoisonError;

use starling_tests::lab::copies::{Outcome, Step};
use starling_tests::lab::node::Weight;
use starling_tests::lab::primary::PrimaryKind;
use starling_tests::lab::{Lab, Plan, Source};
use starling_tests::netns::usable;
use starling_tests::tools;

use crate::ONE;

#[test]
fn three_nodes_and_knot_as_their_primary() {
    check(PrimaryKind::Knot, Weight::Critical);
}

#[test]
fn three_nodes_and_starling_as_their_primary() {
    check(PrimaryKind::Starling, Weight::Ordinary);
}

/// Makes all steps, each of which fails where a node does not do what it must, and looks at what the client saw.
fn check(kind: PrimaryKind, weight: Weight) {
    if !usable() {
        return;
    }
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let plan = Plan { source: Source::Primary { kind, weight }, ..Plan::default() };
    let mut lab = Lab::up(plan, None).unwrap_or_else(|error| panic!("{error:#}"));
    let steps = Step::ALL.into_iter().filter(|step| step.is_possible(kind));
    tools::announce(&format!("{kind} as primary\n{}", Outcome::heading()));
    let mut faults = Vec::new();
    for step in steps {
        let outcome = step.make(&mut lab).unwrap_or_else(|error| panic!("{error:#}"));
        tools::announce(&outcome.to_string());
        let Outcome { during, moves, .. } = &outcome;
        // Who is cut off answers with SERVFAIL once the copy has expired, until the routers know.
        if step != Step::CutOff && (during.lost > 0 || *moves > 0) {
            faults.push(outcome.to_string());
        }
    }
    assert!(faults.is_empty(), "queries were lost, or routes moved:\n{}", faults.join("\n"));
}
