//! Names that answer with the endpoints of a service that are good: a real node, and endpoints that fail, lie and come back.

#![allow(missing_docs, reason = "tests")]

mod checks;
mod endpoint;
mod failing;
mod mmdb;
mod nearest;
mod node;
mod operators;
mod peer;
mod portions;
mod sharing;
mod signed;
mod subnet;
mod zones;
