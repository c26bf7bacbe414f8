//! How the loads of endpoints are found out, as it is configured.

use hyper::header::HeaderName;
use std::time::Duration;

/// How often weights follow loads where nothing is said and answers are not kept, in seconds.
pub(crate) const PERIOD_MIN_S: u32 = 5;
/// By how much of itself a share changes in a period where nothing is said, in percent.
pub(crate) const STEP_PERCENT: u8 = 10;
/// How much of the share by its weight an endpoint has at least where nothing is said, in percent.
pub(crate) const LEAST_PERCENT: u8 = 5;
/// Times up to this are alike where nothing is said, in thousandths of a millisecond: what networks and schedulers make
/// of nothing.
pub(crate) const IDLE_MILLI: u64 = 1000;

/// How the load of an endpoint is found out.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct LoadConfig {
    /// What is taken for it.
    pub(crate) measure: Measure,
    /// What came so long ago has a weight of 1/e.
    pub(crate) smoothing: Duration,
}

/// What is taken for a load.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Measure {
    /// How long it takes to connect.
    ConnectTime,
    /// How long a look takes.
    ResponseTime,
    /// A number in the body of its page: at the beginning, or after a text.
    Body { after: Option<String> },
    /// A number in a field of the page's head.
    Header(HeaderName),
    /// What an agent says at this port that is left.
    Agent { port: u16 },
}

impl Measure {
    /// The word of the configuration and of commands.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Measure::ConnectTime => "connect-time",
            Measure::ResponseTime => "response-time",
            Measure::Body { .. } => "body",
            Measure::Header(_) => "header",
            Measure::Agent { .. } => "agent",
        }
    }

    /// What stands after the number where it is shown.
    pub(crate) fn unit(&self) -> &'static str {
        match self {
            Measure::ConnectTime | Measure::ResponseTime => " ms",
            Measure::Body { .. } | Measure::Header(_) => "",
            Measure::Agent { .. } => " %",
        }
    }
}
