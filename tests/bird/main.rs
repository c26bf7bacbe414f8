//! The lease and BIRD: real BIRD on both ends of a cable between network namespaces, configured by the templates of
//! `bird-config`, and a holder of the lease that goes up the ladder, down, and dies.

mod agent;
mod driver;
mod held;
mod holder;
mod ladder;
mod no_delay;
mod signals;
mod site;
mod templates;
mod upstream;
