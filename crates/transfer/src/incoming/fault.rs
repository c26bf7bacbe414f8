//! What can be wrong with what a primary sends.

use wire::{Class, NameBuf, Rcode, RecordType};
use zone::rdata::RdataError;

/// What is wrong with what a primary sent.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// A message that ends too soon, or whose names are none.
    #[error("it sent a malformed message")]
    Malformed,
    /// The identifier or the question is another one.
    #[error("it sent something that is no response to the question")]
    NotTheAnswer,
    /// An error.
    #[error("it answered {0}; is this node allowed to transfer the zone there?")]
    Refused(Rcode),
    /// No authority.
    #[error("it has no authority for the zone: it does not have it, or its own copy has expired")]
    NoAuthority,
    /// A truncated message on a stream.
    #[error("it sent a truncated message over TCP")]
    Truncated,
    /// An answer without the SOA record.
    #[error("its answer has no SOA record of the zone")]
    NoSoa,
    /// A transfer that doesn't begin with the SOA record.
    #[error("the transfer does not begin with the SOA record of the zone, but with {owner} {rtype}")]
    BeginsWrong {
        /// The owner of its first record.
        owner: Box<NameBuf>,
        /// Its type.
        rtype: RecordType,
    },
    /// A transfer that ends with a SOA record other than its first.
    #[error(
        "the transfer ends with another SOA record (serial {ends}) than it began with (serial {begins}): the zone changed meanwhile"
    )]
    EndsWrong {
        /// The first serial.
        begins: u32,
        /// The last.
        ends: u32,
    },
    /// Records after the end.
    #[error("{0} more records follow the SOA record that ends the transfer")]
    AfterTheEnd(u32),
    /// Octets after the last record of a message.
    #[error("octets follow the last record of a message")]
    Trailing,
    /// A record of another zone.
    #[error("it sent a record of {0}, which is not in the zone")]
    OutOfZone(Box<NameBuf>),
    /// A record of another class.
    #[error("it sent a record of class {class} at {owner}")]
    WrongClass {
        /// The owner.
        owner: Box<NameBuf>,
        /// The class.
        class: Class,
    },
    /// A record of a type that no zone has.
    #[error("it sent a record of type {rtype} at {owner}, which can't be in a zone")]
    MetaType {
        /// The owner.
        owner: Box<NameBuf>,
        /// The type.
        rtype: RecordType,
    },
    /// A record whose data is not that of its type.
    #[error("the data of {owner} {rtype} is wrong: {reason}")]
    Data {
        /// The owner.
        owner: Box<NameBuf>,
        /// The type.
        rtype: RecordType,
        /// Why.
        reason: RdataError,
    },
    /// Differences of which one does not go on from the version that the one before has led to.
    #[error("its differences go on with serial {found}, where {expected} has to be")]
    ChainBroken {
        /// The serial that has to come.
        expected: u32,
        /// The one that came.
        found: u32,
    },
    /// A difference to a version that is not newer.
    #[error("its differences go back from serial {from} to {to}")]
    GoesBack {
        /// The version it changes.
        from: u32,
        /// The version it leads to.
        to: u32,
    },
    /// More octets than are allowed.
    #[error("the transfer has more than {0} octets; `transfer-max-bytes` allows no more")]
    TooLarge(u64),
}

impl Fault {
    /// Whether the version of the zone that the primary has is what is wrong, and not how it sends it: the same will come
    /// again until there is another version.
    pub fn is_of_the_zone(&self) -> bool {
        matches!(
            self,
            Fault::OutOfZone(_)
                | Fault::WrongClass { .. }
                | Fault::MetaType { .. }
                | Fault::Data { .. }
                | Fault::TooLarge(_)
        )
    }
}
