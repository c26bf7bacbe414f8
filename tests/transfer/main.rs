//! Zones between nodes: Starling and Knot, NSD and BIND copy zones from each other.

mod notify;
mod primary;
mod secondaries;
