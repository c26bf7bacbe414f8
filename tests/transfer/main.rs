//! Zones between nodes: Starling and Knot, NSD and BIND copy zones from each other; and from primaries that lie.

mod changing;
mod crash;
mod hostile;
mod incremental;
mod journal;
mod notify;
mod primary;
mod secondaries;
mod secondary;
mod site;
