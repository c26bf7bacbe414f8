//! From query bytes to response bytes: the one answer function.
//!
//! UDP sockets, AF_XDP, TCP and TLS all call [`Responder::respond`]. It does no I/O, takes no lock, allocates
//! nothing and reads no clock, so it can be fuzzed, compared with other servers, and counted in instructions.
//! It never sees a zone file: what it answers from is a verified [`table::Table`].

mod answer;
mod batch;
mod chaos;
mod client;
mod counters;
mod desk;
mod limit;
mod negative;
mod opt;
mod pending;
mod responder;
mod samples;
mod short;
mod trace;
mod writer;

pub use batch::Batch;
pub use client::{Client, network_of};
pub use counters::{CounterSnapshot, Counters, Family, RCODES};
pub use limit::{BURST_MAX_S, EXEMPT_MAX, Moment, RESPONSES_PER_S_MAX, RateLimit, RateLimits};
pub use responder::{Notifies, Responder, SERVER_ID_MAX, Settings, Subnets, Transport, UDP_RESPONSE_MAX};
pub use samples::Samples;
pub use trace::{Explanation, Rule};
