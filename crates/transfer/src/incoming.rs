//! The messages of a zone transfer (RFC 5936), taken apart as they come.
//!
//! An [`Incoming`] is fed one message after the other and says when the transfer is complete. Records go straight into a
//! [`zone::Gatherer`]; nothing is kept of a message once it was taken. A primary is not trusted: each record must be of the
//! zone and valid for its type, the first and the last must be the same SOA record with nothing behind it, and what all
//! records together take is bounded.

use crate::Soa;
use crate::request::{Question, question, read_header};
use wire::message::{RecordView, TC, u16_at};
use wire::{Class, Name, NameBuf, Rcode, RecordType};
use zone::Gatherer;
use zone::rdata::{self, RdataError};

/// What a record takes besides its owner and its data, in octets, for [`Limits::octets_max`]: type, class, TTL and length.
const RECORD_OCTETS: u64 = 10;

/// Octets of a master file that are expected before anything is known: room for a small zone.
const EXPECTED_OCTETS: usize = 4096;

/// What a transfer may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The most octets of all records, uncompressed, and of all messages. Records with short names and data take about six
    /// times as much memory while the zone is put together.
    pub octets_max: u64,
}

/// Whether more messages belong to a transfer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// At least one.
    More,
    /// None: the transfer is complete.
    Complete,
}

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
    /// More octets than are allowed.
    #[error("the transfer has more than {0} octets; `transfer-max-bytes` allows no more")]
    TooLarge(u64),
}

/// A transfer on its way in.
pub struct Incoming {
    apex: NameBuf,
    id: u16,
    limits: Limits,
    gatherer: Gatherer,
    /// Of the first record, in canonical form.
    soa_data: Option<Vec<u8>>,
    octets: u64,
    wire_octets: u64,
    messages: u64,
    records: u64,
    complete: bool,
    failed: bool,
    /// Kept, so that a record takes no allocation.
    data: Vec<u8>,
}

impl Incoming {
    /// A transfer of the zone that [`Incoming::question`] asks for.
    pub fn new(apex: Name<'_>, id: u16, limits: Limits) -> Incoming {
        Incoming {
            apex: apex.into(),
            id,
            limits,
            gatherer: Gatherer::new(apex, EXPECTED_OCTETS),
            soa_data: None,
            octets: 0,
            wire_octets: 0,
            messages: 0,
            records: 0,
            complete: false,
            failed: false,
            data: Vec::new(),
        }
    }

    /// The request for it.
    pub fn question(&self) -> Vec<u8> {
        question(self.apex.as_name(), RecordType::AXFR, self.id)
    }

    /// Takes the next message.
    ///
    /// # Errors
    /// What is wrong with it; the transfer is then to be given up.
    pub fn take(&mut self, message: &[u8]) -> Result<Progress, Fault> {
        let progress = self.take_message(message);
        self.failed |= progress.is_err();
        progress
    }

    fn take_message(&mut self, message: &[u8]) -> Result<Progress, Fault> {
        self.wire_octets += message.len() as u64;
        self.check_size()?;
        // RFC 5936 §2.2.1, §2.2.2: only the first message must repeat the question.
        let question = if self.messages == 0 { Question::Required } else { Question::MayBeMissing };
        self.messages += 1;
        let mut at = read_header(message, self.apex.as_name(), RecordType::AXFR, self.id, question)?;
        let word = |index: usize| u16_at(message, 2 * index).ok_or(Fault::Malformed);
        if word(1)? & TC != 0 {
            return Err(Fault::Truncated);
        }
        let answers = word(3)?;
        for index in 0..answers {
            let record = RecordView::read(message, at).ok_or(Fault::Malformed)?;
            at = record.end;
            self.record(message, record)?;
            if self.complete && index + 1 < answers {
                return Err(Fault::AfterTheEnd(u32::from(answers - index - 1)));
            }
        }
        // The other sections hold nothing of the zone (RFC 5936 §2.2.4, §2.2.5), but have to be whole.
        for _ in 0..u32::from(word(4)?) + u32::from(word(5)?) {
            at = RecordView::read(message, at).ok_or(Fault::Malformed)?.end;
        }
        if at != message.len() {
            return Err(Fault::Trailing);
        }
        Ok(if self.complete { Progress::Complete } else { Progress::More })
    }

    fn record(&mut self, message: &[u8], record: RecordView) -> Result<(), Fault> {
        let (owner, _) = NameBuf::read_compressed(message, record.owner_at).map_err(|_| Fault::Malformed)?;
        let boxed = || Box::new(owner.clone());
        let rtype = record.rtype;
        if record.class != Class::IN.0 {
            return Err(Fault::WrongClass { owner: boxed(), class: Class(record.class) });
        }
        if rtype.is_meta() {
            return Err(Fault::MetaType { owner: boxed(), rtype });
        }
        if !owner.as_name().is_at_or_below(self.apex.as_name()) {
            return Err(Fault::OutOfZone(boxed()));
        }
        self.data.clear();
        rdata::from_message(rtype, message, record.data_at, record.end, &mut self.data)
            .map_err(|reason| Fault::Data { owner: boxed(), rtype, reason })?;
        let is_soa = rtype == RecordType::SOA && owner.as_name().eq_ignore_case(self.apex.as_name());
        match (&self.soa_data, is_soa) {
            (None, false) => return Err(Fault::BeginsWrong { owner: boxed(), rtype }),
            (None, true) => {
                let mut data = self.data.clone();
                rdata::to_canonical(rtype, &mut data);
                self.soa_data = Some(data);
            }
            (Some(first), true) => {
                let begins = zone_serial(first);
                rdata::to_canonical(rtype, &mut self.data);
                if *first != self.data {
                    return Err(Fault::EndsWrong { begins, ends: zone_serial(&self.data) });
                }
                self.complete = true;
                return Ok(());
            }
            (Some(_), false) => {}
        }
        self.octets += owner.as_name().len() as u64 + RECORD_OCTETS + self.data.len() as u64;
        self.check_size()?;
        // RFC 2181 §8: a TTL with its highest bit set counts as zero.
        let ttl = if record.ttl > i32::MAX as u32 { 0 } else { record.ttl };
        self.gatherer.add_received(owner.as_name(), rtype, ttl, &self.data);
        self.records += 1;
        Ok(())
    }

    fn check_size(&self) -> Result<(), Fault> {
        if self.octets.max(self.wire_octets) > self.limits.octets_max {
            return Err(Fault::TooLarge(self.limits.octets_max));
        }
        Ok(())
    }

    /// The SOA record that the transfer began with.
    pub fn soa(&self) -> Option<Soa> {
        self.soa_data.as_deref().and_then(Soa::from_rdata)
    }

    /// How many messages, octets in them, and records have come.
    pub fn counts(&self) -> (u64, u64, u64) {
        (self.messages, self.wire_octets, self.records)
    }

    /// The records of a complete transfer; `None` for one that isn't.
    pub fn into_records(self) -> Option<Gatherer> {
        (self.complete && !self.failed).then_some(self.gatherer)
    }
}

fn zone_serial(soa_data: &[u8]) -> u32 {
    Soa::from_rdata(soa_data).map_or(0, |soa| soa.serial)
}

#[cfg(test)]
mod tests;
