//! Copies of zones between nodes: the messages of a transfer, and who may have them.
//!
//! Everything here is a pure function or a state machine over octets. The crate opens no sockets, starts no tasks and
//! reads no clock: its caller does, and hands it what arrived and what time it is.

pub mod outgoing;
pub mod tsig;
