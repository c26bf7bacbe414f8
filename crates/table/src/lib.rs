//! The answer table: one immutable, position-independent image for each zone.
//!
//! The image is made by [`Builder`] (the zone compiler decides what goes in), written to disk or kept in
//! memory, verified once as a whole, and from then on only read. [`Table::find`] takes a folded name to its
//! node or to its closest encloser; the node's record sets are in wire form and need no more than copying.
//! [`publish`] gives packet threads the current images without locks.
//!
//! The crate knows the shape of records and of denial, but decides nothing about answers; it parses no zone
//! files and reads no clock. The only `unsafe` is in [`map`], where a file is mapped and
//! memory is asked for ahead.

mod build;
mod claims;
pub mod denial;
mod digest;
mod format;
mod hash;
pub mod map;
mod node;
mod overlay;
mod parallel;
mod part;
mod places;
pub mod publish;
mod seek;
mod table;
mod variants;
mod verify;
mod walk;

pub use build::{BuildError, Builder, Fixups, ITERATIONS_MAX, NodeIndex, NodeSpec, RrsetSpec};
pub use claims::Claims;
pub use format::{ContentDigest, Digest, ImageFlags, NodeFlags, NodeRef, SourceStamp, VERSION, sort_prefix};
pub use node::{Additional, Denial, Link, Links, Node, NodeId, Rrset};
pub use part::{Extent, Part};
pub use places::{Place, Places, PlacesBuilder, PlacesError};
pub use seek::{Encloser, Found, Seek};
pub use table::Table;
pub use variants::{OfPlaces, Pick, SLOTS, Variant, Variants, Withheld};
pub use verify::ImageError;
pub use walk::{BadPointer, Record, Walk};
