//! Zones between nodes: Starling and Knot, NSD and BIND copy zones from each other; and from primaries that lie.

mod changes;
mod fake;
mod hostile;
mod keys;
mod notify;
mod peers;
mod primary;
mod secondaries;
mod secondary;
mod site;
mod tls;
