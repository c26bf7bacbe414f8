//! Probes and checks: what is asked of the node, and when a row of results makes it good or bad.
//!
//! The state machine of a check is pure and takes the time as an argument; probes do the asking. The crate decides
//! nothing about routes: it hands a [`Verdict`] to whoever does. It must never read configuration, and a probe must
//! never go around the path that clients take.

pub mod exec;
mod probe;
pub mod resources;
mod verdict;

pub use probe::{Answered, ProbePlan, Prober, Steering, Transports};
pub use verdict::{Action, Failing, Gravity, Moment, Outcome, Verdict};
