//! DNS message bytes: names, the header, the question, EDNS, records.
//!
//! Everything here is a borrowed view over bytes or a fixed-size buffer. The crate never allocates, does no
//! I/O, reads no clock and knows nothing of zones; it is the one place that knows where a byte of a message
//! stands. Names are kept in uncompressed wire form (RFC 1035 §3.1).

mod fold;
pub mod message;
mod name;
pub mod probe;
pub mod query;
mod rtype;
mod subnet;

pub use fold::FoldedName;
pub use name::{LABEL_MAX, Labels, NAME_MAX, Name, NameBuf, NameError, NameTextError};
pub use query::{Behind, Edns, Options, Query, Rejected};
pub use rtype::{Class, Opcode, Rcode, RecordType};
pub use subnet::{ClientSubnet, SUBNET_LEN_MAX};
