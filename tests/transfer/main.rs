//! Zones between nodes: Starling and Knot, NSD and BIND copy zones from each other; and from primaries that lie.

mod admission;
mod catalog;
mod chain;
mod changes;
mod changing;
mod copies;
mod crash;
mod fake;
mod hostile;
mod incremental;
mod journal;
mod keys;
mod leaving;
mod load;
mod many;
mod notify;
mod over_tls;
mod peers;
mod powerdns;
mod primary;
mod published;
mod roads;
mod secondaries;
mod secondary;
mod site;
mod tls;
