//! Pools: which of the endpoints of a service a name answers with, by what is known of each.
//!
//! [`Selector::select`] decides it from the [`Condition`] of every member and from what it has decided before: it goes
//! to a worse tier at once and comes back when the better one has been good for a while. It is pure and takes the time
//! as an argument; who runs checks and who answers is for others to know. [`Spread`] says what each answer has of what
//! was selected, with pools within pools, [`View`] whose view of a member counts where several nodes look at it, and
//! [`Balance`] what weights members have whose load is known ([`Gauge`]). The crate must never read configuration, ask the network, or know a DNS
//! name.

mod balance;
mod condition;
#[cfg(test)]
mod documented;
mod gauge;
mod select;
mod spec;
mod spread;
mod unfold;
mod view;

pub use balance::{Balance, Report, Tuning};
pub use condition::{Admin, Condition, Health};
pub use gauge::{Gauge, Known, LOAD_MAX, MISSES_MAX};
pub use select::{Basis, Selection, Selector};
pub use spec::{AllDown, FailBack, Kind, MEMBERS_MAX, Member, Portion, Spec, SpecError, TIERS_MAX};
pub use spread::{Decider, Distance, SLOTS, Spread};
pub use unfold::Deciding;
pub use view::{Others, View};
