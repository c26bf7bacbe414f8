//! Names that answer with the endpoints of a service that are good: a real node, and endpoints that fail, lie and come back.

#![allow(missing_docs, reason = "tests")]

mod checks;
mod endpoint;
mod failing;
mod gdnsd;
mod given;
mod haproxy;
mod load;
mod lookup;
mod mmdb;
mod moments;
mod nearest;
mod nested;
mod node;
mod operators;
mod peer;
mod portions;
mod records;
mod sharing;
mod signed;
mod subnet;
mod targets;
mod withheld;
mod zones;
