//! What sends queries: kxdpgun to offer more than a server can answer, a steady one of our own for latency and loss, and
//! dnsperf because that is what operators use.

pub(crate) mod dnsperf;
pub(crate) mod histogram;
pub(crate) mod kxdpgun;
pub(crate) mod probe;
pub(crate) mod steady;
