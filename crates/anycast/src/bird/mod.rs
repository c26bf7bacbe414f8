//! BIRD, asked and told over its control socket.
//!
//! Nobody needs it for a withdrawal: the route goes with the lease. It is asked, once a second or so, to see that what is
//! announced is what is meant ([`Bird::observe`], [`compare`]); a restricted socket will do for that. Only the second
//! driver, [`Protocols`], tells it something.
//!
//! A BIRD that is stopped still accepts connections and never answers, so everything has a limit in time, and that is an
//! error like any other. Replies are told by their codes; their text serves for names of states and attributes, where
//! there are no codes.

mod client;
mod error;
mod name;
mod observe;
mod protocols;
mod reply;
mod verification;

pub use client::Bird;
pub use error::BirdError;
pub use name::{NameError, ProtocolName};
pub use observe::{Attributes, Export, Observation, Session, SessionState, Watch};
pub use protocols::{Asserted, Protocols};
pub use verification::{Verification, compare};
