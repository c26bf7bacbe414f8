//! Zones between nodes: Starling and Knot, NSD and BIND copy zones from each other; and from primaries that lie.

mod admission;
mod hostile;
mod notify;
mod primary;
mod secondaries;
mod secondary;
mod site;
