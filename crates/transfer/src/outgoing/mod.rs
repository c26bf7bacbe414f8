//! Transfers to secondaries: AXFR (RFC 5936) straight from the table, IXFR (RFC 1995) from the journal.
//!
//! Incremental transfers have the differences as they are in the journal, one after the other (RFC 1995 §4): nothing has to be
//! held to send them, and each is small beside the zone. To condense them into one would save octets only where the
//! same records change again and again. Where there is no way from the client's version, the whole zone is the answer.
//!
//! [`Outgoing`] makes the messages one at a time, so that whoever sends them waits for its client between two of
//! them and holds the memory of one. It owns the table it began with, whatever is published meanwhile.

pub mod notify;
mod request;
mod writer;

pub use request::{Kind, Malformed, Request, is_request};

use crate::journal::{Damage, Records};
use std::io::Read;
use std::sync::Arc;
use table::{BadPointer, Table, Walk};
use wire::message::{AA, HEADER_LEN, MESSAGE_MAX, OPCODE_MASK, POINTER_MAX, QR, RD, skip_name, u16_at};
use wire::{Name, NameBuf, Rcode, RecordType};
use writer::Writer;

/// How long a message gets by its second record and those after it. So far reach compression pointers, so that any name
/// may be pointed to; longer messages compress worse and keep others on the thread waiting for longer, shorter ones
/// cost a header and the apex more often. A record that is longer by itself has a message to itself.
const LEN_WANTED: usize = POINTER_MAX + 1;

/// What the OPT record says of datagrams, which a client of a stream has no use for: the value that avoids fragments
/// everywhere (RFC 9715).
const UDP_SIZE: u16 = 1232;

/// Why a transfer can't go on.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StreamError {
    /// The table is damaged.
    #[error(transparent)]
    Table(#[from] BadPointer),
    /// The journal is damaged.
    #[error("the zone's journal: {0}")]
    Journal(#[from] Damage),
    /// The apex has no SOA record.
    #[error("the zone's table has no SOA record; compile the zone anew")]
    NoSoa,
    /// A record that fits no message.
    #[error(
        "the {rtype} record of {owner} with its signature of the message is longer than 65,535 octets; make it shorter"
    )]
    TooLong {
        /// Who owns it.
        owner: String,
        /// Its type.
        rtype: RecordType,
    },
}

/// How far a transfer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Nothing was sent.
    First,
    /// The SOA record was sent, and nothing else is to be.
    Current,
    /// Records are being sent.
    Records,
    /// The SOA record that ends the transfer is to be sent.
    Last,
    /// All is sent.
    Done,
}

/// A record that found no room in the message before.
struct Kept {
    owner: NameBuf,
    rtype: RecordType,
    ttl: u32,
    rdata: Vec<u8>,
}

impl Kept {
    fn new(owner: Name<'_>, rtype: RecordType, ttl: u32, rdata: &[u8]) -> Kept {
        Kept { owner: NameBuf::from(owner), rtype, ttl, rdata: rdata.to_vec() }
    }
}

/// The differences of a journal that lead from the client's version to that of a table. They are read as they are sent, a
/// piece at a time, as the pages of a mapped table are.
pub type Differences = Records<Box<dyn Read + Send>>;

/// Where the records come from.
enum Content {
    Zone(Walk),
    Differences(Box<Differences>),
}

/// A transfer that is being sent.
pub struct Outgoing {
    request: Request,
    table: Arc<Table>,
    content: Content,
    soa: Kept,
    kept: Option<Kept>,
    stage: Stage,
    writer: Writer,
}

impl Outgoing {
    /// Begins the answer to a request for the zone of `table`.
    ///
    /// # Errors
    /// The table is damaged.
    pub fn new(request: Request, table: Arc<Table>) -> Result<Outgoing, StreamError> {
        let content = Content::Zone(Walk::new(Arc::clone(&table)));
        Outgoing::begin(request, table, content)
    }

    /// Begins the answer to a request for what has changed up to the version in `table`: `differences` lead there from the
    /// version that the request names.
    ///
    /// # Errors
    /// The table is damaged.
    pub fn incremental(
        request: Request,
        table: Arc<Table>,
        differences: Differences,
    ) -> Result<Outgoing, StreamError> {
        Outgoing::begin(request, table, Content::Differences(Box::new(differences)))
    }

    fn begin(request: Request, table: Arc<Table>, content: Content) -> Result<Outgoing, StreamError> {
        let soa = soa_of(&table)?;
        Ok(Outgoing { request, table, content, soa, kept: None, stage: Stage::First, writer: Writer::new() })
    }

    /// The table that is sent.
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// Whether only what has changed is sent.
    pub fn is_incremental(&self) -> bool {
        matches!(self.content, Content::Differences(_))
    }

    /// The request that is answered.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Whether the client has the zone as it is: its serial is ours, or a later one (RFC 1995 §2).
    pub fn is_current(&self) -> bool {
        match self.request.kind {
            Kind::Axfr => false,
            // RFC 1982 §3.2. Where neither comes before the other, the whole zone puts that right.
            Kind::Ixfr { serial } => serial.wrapping_sub(self.table().serial()) < 1 << 31,
        }
    }

    /// The next message, into which `reserve` octets more would fit; `None` after the last.
    ///
    /// # Errors
    /// The rest can't be sent, so the connection has to be closed: the client must not take what it has for the zone.
    pub fn next_message(&mut self, reserve: usize) -> Result<Option<&mut Vec<u8>>, StreamError> {
        let has_question = self.stage == Stage::First;
        match self.stage {
            Stage::Current | Stage::Done => return Ok(None),
            Stage::First | Stage::Records | Stage::Last => {}
        }
        self.writer.begin(self.request.id, QR | AA | self.request.flags);
        if has_question {
            // RFC 5936 §2.2.1: in the first message; later ones need none.
            self.writer.question(self.request.asked_name.as_name(), self.request.qtype());
            let soa = &self.soa;
            put(&mut self.writer, soa.owner.as_name(), soa.rtype, soa.ttl, &soa.rdata, reserve)?;
            self.stage = if self.is_current() { Stage::Current } else { Stage::Records };
        }
        if self.stage == Stage::Records {
            self.records(reserve)?;
        }
        if self.stage == Stage::Last {
            let soa = &self.soa;
            if put(&mut self.writer, soa.owner.as_name(), soa.rtype, soa.ttl, &soa.rdata, reserve)? {
                self.stage = Stage::Done;
            }
        }
        if has_question && self.request.has_edns {
            self.writer.opt(UDP_SIZE);
        }
        Ok(Some(self.writer.finish()))
    }

    /// Adds records until one finds no room, or none is left.
    fn records(&mut self, reserve: usize) -> Result<(), StreamError> {
        if let Some(kept) = &self.kept {
            if !put(&mut self.writer, kept.owner.as_name(), kept.rtype, kept.ttl, &kept.rdata, reserve)? {
                return Ok(());
            }
            self.kept = None;
        }
        let apex_len = self.table.apex_len();
        loop {
            let (owner, rtype, ttl, rdata) = match &mut self.content {
                Content::Zone(walk) => match walk.next_record()? {
                    // It is first and last (RFC 5936 §2.2).
                    Some(soa) if soa.rtype == RecordType::SOA && soa.owner.len() == apex_len => continue,
                    Some(record) => (record.owner, record.rtype, record.ttl, record.rdata),
                    None => break,
                },
                // Each difference has the SOA records of its two versions (RFC 1995 §4).
                Content::Differences(records) => match records.next_record()? {
                    Some(record) => (record.owner, record.rtype, record.ttl, record.rdata),
                    None => break,
                },
            };
            if !put(&mut self.writer, owner, rtype, ttl, rdata, reserve)? {
                self.kept = Some(Kept::new(owner, rtype, ttl, rdata));
                return Ok(());
            }
        }
        self.stage = Stage::Last;
        Ok(())
    }
}

/// Adds a record to the message, if there is room; the first one has all the room there can be.
fn put(
    writer: &mut Writer,
    owner: Name<'_>,
    rtype: RecordType,
    ttl: u32,
    rdata: &[u8],
    reserve: usize,
) -> Result<bool, StreamError> {
    let is_first = writer.answers() == 0;
    let len_max = if is_first { MESSAGE_MAX } else { LEN_WANTED };
    let fits = writer.record(owner, rtype, ttl, rdata, len_max.saturating_sub(reserve + OPT_ROOM));
    if is_first && !fits {
        return Err(StreamError::TooLong { owner: owner.to_string(), rtype });
    }
    Ok(fits)
}

/// Room for an OPT record.
const OPT_ROOM: usize = wire::message::OPT_LEN;

/// The SOA record of a table.
fn soa_of(table: &Arc<Table>) -> Result<Kept, StreamError> {
    let apex_len = table.apex_len();
    let mut walk = Walk::new(Arc::clone(table));
    while let Some(record) = walk.next_record()? {
        if record.owner.len() != apex_len {
            break;
        }
        if record.rtype == RecordType::SOA {
            return Ok(Kept::new(record.owner, record.rtype, record.ttl, record.rdata));
        }
    }
    Err(StreamError::NoSoa)
}

/// An answer without records to a request for which [`is_request`] holds.
pub fn error_response(request: &[u8], rcode: Rcode) -> Vec<u8> {
    let question_end = skip_name(request, HEADER_LEN).map_or(HEADER_LEN, |end| end + 4);
    let mut response = request.get(..question_end).unwrap_or_default().to_vec();
    let Some(header) = response.first_chunk_mut::<HEADER_LEN>() else { return Vec::new() };
    let flags = u16_at(request, 2).unwrap_or_default() & (OPCODE_MASK | RD);
    header[2..4].copy_from_slice(&(QR | flags | rcode.0 & 0xf).to_be_bytes());
    header[6..].fill(0);
    if Request::read(request).is_ok_and(|request| request.has_edns) {
        response.push(0);
        response.extend([RecordType::OPT.0, UDP_SIZE].map(u16::to_be_bytes).as_flattened());
        response.extend([0; 6]);
        response[11] = 1;
    }
    response
}

#[cfg(test)]
mod tests;
