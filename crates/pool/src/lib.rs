//! Pools: which of the endpoints of a service a name answers with, by what is known of each.
//!
//! [`Selector::select`] decides it from the [`Condition`] of every member and from what it has decided before: it goes
//! to a worse tier at once and comes back when the better one has been good for a while. It is pure and takes the time
//! as an argument; who runs checks and who answers is for others to know. [`Spread`] says what each answer has of what
//! was selected, [`View`] whose view of a member counts where several nodes look at it. The crate must never read
//! configuration, ask the network, or know a DNS name.

mod condition;
mod select;
mod spec;
mod spread;
mod view;

pub use condition::{Admin, Condition, Health};
pub use select::{Basis, Selection, Selector};
pub use spec::{AllDown, FailBack, Kind, MEMBERS_MAX, Member, Portion, Spec, SpecError, TIERS_MAX};
pub use spread::{Decider, Distance, SLOTS, Spread};
pub use view::{Others, View};
