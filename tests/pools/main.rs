//! Names that answer with the endpoints of a service that are good: a real node, and endpoints that fail, lie and come back.

#![allow(missing_docs, reason = "tests")]

mod checks;
mod endpoint;
mod failing;
mod given;
mod lookup;
mod node;
mod operators;
mod peer;
mod portions;
mod sharing;
mod signed;
mod zones;
