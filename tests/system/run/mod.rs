//! `starling run`: a node with a route, each in a network namespace of its own and without BIRD.
//!
//! What the operator configures, asks and sees is looked at here, and the kernel's routes beside it; what upstream routers
//! and clients see of it is shown in `tests/bird` and `tests/lab`.

mod agent;

mod checks;
mod commands;
mod configuration;
mod ending;
mod expired;
mod flood;
mod limits;
mod metrics;
mod peers;
mod privileges;
mod probes;
mod start;
mod starved;
mod upgrade;
mod wrong;
mod zones;
