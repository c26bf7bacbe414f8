//! Black-box tests of the whole: what they share.
//!
//! Real processes (Starling and the peers NSD, Knot and BIND) on loopback addresses of their own, a DNS
//! client that sends and receives raw bytes, and a reader of responses. Nothing here may use Starling's own
//! crates: a test that encodes and decodes with the code under test only shows that it agrees with itself.

pub mod certificates;
pub mod client;
pub mod http;
pub mod lab;
pub mod message;
pub mod name;
pub mod netns;
pub mod normalise;
pub mod openmetrics;
pub mod process;
pub mod query;
pub mod rdata;
pub mod server;
pub mod signing;
pub mod tls;
pub mod tools;
pub mod zonedata;
