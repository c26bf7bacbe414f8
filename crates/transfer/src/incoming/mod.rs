//! The messages of a zone transfer, whole (RFC 5936) or of what has changed (RFC 1995), taken apart as they come.
//!
//! An [`Incoming`] is fed one message after the other and says when the transfer is complete. Records go straight into a
//! [`zone::Gatherer`] or into [`zone::Difference`]s; nothing is kept of a message once it was taken. A primary is not trusted:
//! each record must be of the zone and valid for its type, the first and the last must be the same SOA record with nothing
//! behind it, differences must lead from the version that there is to the one they promise, and what all records together
//! take is bounded. Whether differences fit the records that there are is for [`zone::apply`] to say.

mod chain;
mod fault;

pub use fault::Fault;

use crate::Soa;
use crate::request::{Question, question, question_since, read_header};
use crate::serial::is_newer;
use chain::{Chain, Place};
use wire::message::{RecordView, TC, u16_at};
use wire::{Class, Name, NameBuf, RecordType};
use zone::{Difference, Gatherer, rdata};

/// What a record takes besides its owner and its data, in octets, for [`Limits::octets_max`]: type, class, TTL and length.
const RECORD_OCTETS: u64 = 10;

/// Octets of a master file that are expected before anything is known: room for a small zone.
const EXPECTED_OCTETS: usize = 4096;

/// The most octets of differences, whatever the limits: their records are counted with 32 bits, and each takes some.
const DIFFERENCES_MAX: u64 = u32::MAX as u64;

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

/// What a complete transfer has brought.
pub enum Content {
    /// All records of the zone.
    Zone(Box<Gatherer>),
    /// What has changed, the oldest first.
    Differences(Vec<Difference>),
    /// Nothing: the primary has no newer version.
    Current,
}

/// The SOA record that a transfer begins with.
struct First {
    owner: NameBuf,
    ttl: u32,
    data: Vec<u8>,
}

/// What the records make, as far as can be told.
enum Shape {
    /// There is nothing but the first record, if that.
    Unknown,
    Zone(Box<Gatherer>),
    Differences(Chain),
}

/// A transfer on its way in.
pub struct Incoming {
    apex: NameBuf,
    id: u16,
    limits: Limits,
    /// The version that there is, where differences to it are asked for.
    since: Option<u32>,
    first: Option<First>,
    shape: Shape,
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
    /// A transfer of the whole zone, which [`Incoming::question`] asks for.
    pub fn new(apex: Name<'_>, id: u16, limits: Limits) -> Incoming {
        Incoming {
            apex: apex.into(),
            id,
            limits,
            since: None,
            first: None,
            shape: Shape::Unknown,
            octets: 0,
            wire_octets: 0,
            messages: 0,
            records: 0,
            complete: false,
            failed: false,
            data: Vec::new(),
        }
    }

    /// A transfer of what has changed since the version with this serial. The primary may send the whole zone all the same
    /// (RFC 1995 §4).
    pub fn since(apex: Name<'_>, serial: u32, id: u16, limits: Limits) -> Incoming {
        let octets_max = limits.octets_max.min(DIFFERENCES_MAX);
        Incoming { since: Some(serial), ..Incoming::new(apex, id, Limits { octets_max }) }
    }

    /// The request for it.
    pub fn question(&self) -> Vec<u8> {
        match self.since {
            Some(serial) => question_since(self.apex.as_name(), serial, self.id),
            None => question(self.apex.as_name(), RecordType::AXFR, self.id),
        }
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
        let qtype = if self.since.is_some() { RecordType::IXFR } else { RecordType::AXFR };
        let mut at = read_header(message, self.apex.as_name(), qtype, self.id, question)?;
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
        self.complete |= self.is_current();
        Ok(if self.complete { Progress::Complete } else { Progress::More })
    }

    /// Whether the primary has answered a request for differences with its SOA record alone, and has nothing newer (RFC 1995
    /// §2). One record of something newer may be the first message of a transfer with a message for each record.
    fn is_current(&self) -> bool {
        let serial = self.soa().map(|soa| soa.serial);
        matches!(self.shape, Shape::Unknown)
            && serial.zip(self.since).is_some_and(|(serial, since)| !is_newer(serial, since))
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
        let mut data = std::mem::take(&mut self.data);
        data.clear();
        rdata::from_message(rtype, message, record.data_at, record.end, &mut data)
            .map_err(|reason| Fault::Data { owner: boxed(), rtype, reason })?;
        // RFC 2181 §8: a TTL with its highest bit set counts as zero.
        let ttl = if record.ttl > i32::MAX as u32 { 0 } else { record.ttl };
        let is_soa = rtype == RecordType::SOA && owner.as_name().eq_ignore_case(self.apex.as_name());
        if is_soa {
            self.soa_record(&owner, ttl, &data)?;
        } else {
            self.other_record(&owner, rtype, ttl, &data)?;
        }
        self.data = data;
        Ok(())
    }

    fn soa_record(&mut self, owner: &NameBuf, ttl: u32, data: &[u8]) -> Result<(), Fault> {
        let Some(first) = &self.first else {
            self.first = Some(First { owner: owner.clone(), ttl, data: data.to_vec() });
            self.count(owner, data)?;
            if self.since.is_none() {
                self.begin_zone();
            }
            return Ok(());
        };
        let (begins, serial) = (zone_serial(&first.data), zone_serial(data));
        if let (Shape::Unknown, Some(since)) = (&self.shape, self.since)
            && since == serial
            && begins != serial
        {
            self.shape = Shape::Differences(Chain::new(since, begins));
            return self.keep(owner, RecordType::SOA, ttl, data);
        }
        if let Shape::Differences(chain) = &mut self.shape
            && chain.place(serial)? == Place::OfDifference
        {
            return self.keep(owner, RecordType::SOA, ttl, data);
        }
        if canonical(&first.data) != canonical(data) {
            return Err(Fault::EndsWrong { begins, ends: serial });
        }
        if matches!(self.shape, Shape::Unknown) {
            self.begin_zone(); // of nothing but its SOA record: for the checks to refuse
        }
        self.complete = true;
        Ok(())
    }

    fn other_record(
        &mut self,
        owner: &NameBuf,
        rtype: RecordType,
        ttl: u32,
        data: &[u8],
    ) -> Result<(), Fault> {
        if self.first.is_none() {
            return Err(Fault::BeginsWrong { owner: Box::new(owner.clone()), rtype });
        }
        if matches!(self.shape, Shape::Unknown) {
            self.begin_zone();
        }
        self.keep(owner, rtype, ttl, data)
    }

    /// From the second record on it is clear that this is the whole zone.
    fn begin_zone(&mut self) {
        let Some(First { owner, ttl, data }) = &self.first else { return };
        let mut gatherer = Box::new(Gatherer::new(self.apex.as_name(), EXPECTED_OCTETS));
        gatherer.add_received(owner.as_name(), RecordType::SOA, *ttl, data);
        self.shape = Shape::Zone(gatherer);
    }

    fn keep(&mut self, owner: &NameBuf, rtype: RecordType, ttl: u32, data: &[u8]) -> Result<(), Fault> {
        self.count(owner, data)?;
        match &mut self.shape {
            Shape::Unknown => {}
            Shape::Zone(gatherer) => gatherer.add_received(owner.as_name(), rtype, ttl, data),
            Shape::Differences(chain) => chain.push(owner.as_name(), rtype, ttl, data),
        }
        Ok(())
    }

    fn count(&mut self, owner: &NameBuf, data: &[u8]) -> Result<(), Fault> {
        self.octets += owner.as_name().len() as u64 + RECORD_OCTETS + data.len() as u64;
        self.records += 1;
        self.check_size()
    }

    fn check_size(&self) -> Result<(), Fault> {
        if self.octets.max(self.wire_octets) > self.limits.octets_max {
            return Err(Fault::TooLarge(self.limits.octets_max));
        }
        Ok(())
    }

    /// The SOA record that the transfer began with: that of the version it leads to.
    pub fn soa(&self) -> Option<Soa> {
        self.first.as_ref().and_then(|first| Soa::from_rdata(&first.data))
    }

    /// How many messages, octets in them, and records have come.
    pub fn counts(&self) -> (u64, u64, u64) {
        (self.messages, self.wire_octets, self.records)
    }

    /// What a complete transfer has brought; `None` for one that isn't.
    pub fn into_content(self) -> Option<Content> {
        if !self.complete || self.failed {
            return None;
        }
        Some(match self.shape {
            Shape::Unknown => Content::Current,
            Shape::Zone(gatherer) => Content::Zone(gatherer),
            Shape::Differences(chain) => Content::Differences(chain.into_differences()),
        })
    }
}

fn zone_serial(soa_data: &[u8]) -> u32 {
    Soa::from_rdata(soa_data).map_or(0, |soa| soa.serial)
}

fn canonical(soa_data: &[u8]) -> Vec<u8> {
    let mut data = soa_data.to_vec();
    rdata::to_canonical(RecordType::SOA, &mut data);
    data
}

#[cfg(test)]
mod tests;
