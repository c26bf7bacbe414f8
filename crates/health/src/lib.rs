//! Probes and checks: what is asked of the node, and when a row of results makes it good or bad.
//!
//! The state machine of a check is pure and takes the time as an argument; probes do the asking. The crate decides
//! nothing about routes: it hands a [`Verdict`] to whoever does. What endpoints of pools say is read by [`said`]. It must never read configuration, and a probe must
//! never go around the path that clients take.

mod check;
pub mod exec;
mod panel;
mod probe;
pub mod resources;
pub mod said;
mod verdict;

pub use check::{
    Check, CheckSpec, INTERVAL_MIN, LATE, NAME_MAX, Observation, RESULTS_KEPT, ROW_MAX, SPAN_MAX, SpecError,
    Standing,
};
pub use panel::{CheckIndex, Panel};
pub use probe::{Answered, ProbePlan, Prober, Steering, Transports};
pub use verdict::{Action, Failing, Gravity, Moment, Outcome, Verdict};
