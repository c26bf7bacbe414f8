//! Names that answer with endpoints at the PoPs: endpoints die, hang and come back, and a PoP is cut off. Every node
//! is asked a hundred times a second, and each answer has to be the right one for its moment.

use std::sync::PoisonError;

use starling_tests::lab::pools::{Course, Pool};
use starling_tests::lab::{Lab, Plan, Steering};
use starling_tests::netns::usable;
use starling_tests::tools;

use crate::ONE;

#[test]
fn every_node_answers_with_the_endpoints_that_are_good() {
    if !usable() {
        return;
    }
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    // What the client of all labs asks for is no pool's; it only keeps the machine at work.
    let plan = Plan { steering: Steering::Pools, rate: 1_000, ..Plan::default() };
    let mut lab = Lab::up(plan, None).unwrap_or_else(|error| panic!("{error:#}"));
    let course = Course::run(&mut lab, || true, tools::announce).unwrap_or_else(|error| panic!("{error:#}"));
    tools::announce(&course.figures());
    Pool::ALL.iter().for_each(|pool| tools::announce(&course.picture(*pool)));
    tools::announce(&course.shares_pictured());
    let faults = course.faults();
    let explained = lab.explain(0);
    assert!(faults.is_empty(), "{} faults:\n{}\n{explained}", faults.len(), faults.join("\n"));
}
