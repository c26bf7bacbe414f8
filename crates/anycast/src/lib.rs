//! The route of a node: a lease that ends with the process that holds it.
//!
//! It hangs on a non-persistent TUN interface: when the holder dies, in whatever way, the kernel removes interface,
//! addresses and routes, and BIRD withdraws. The crate must never call a command such as `ip` or `birdc`, never keep
//! state in BIRD that would outlive the process, and never wait for BIRD without a deadline.

pub mod bird;
pub mod governor;
pub mod lease;
mod routes;
mod rung;

pub use lease::{KernelView, Lease, LeaseError, LeasePlan};
pub use routes::{Family, Routes};
pub use rung::Rung;
