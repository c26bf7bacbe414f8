//! The entry: one query or a batch of them, from octets to octets.

use crate::batch::Batch;
use crate::counters::{Counters, Family};
use crate::desk::Desk;
use crate::limit::{Limiter, Moment, RateLimits};
use crate::opt::{EDE_OTHER_LEN, OPTION_FIXED, PROBE_LEN, SUBNET_LEN, ZONE_VERSION_LEN};
use crate::pending::Pending;
use crate::samples::{self, Samples, Sampling};
use crate::trace::{Explanation, Silent, Trace};
use std::net::IpAddr;
use std::sync::Arc;
use table::Table;
use table::publish::Reader;
use wire::message::{HEADER_LEN, OPT_LEN, UDP_PLAIN_MAX};
use wire::probe::{Seat, TOKEN_LEN};
use wire::{FoldedName, NAME_MAX, Name, Rcode};

/// The largest response over UDP that any setting allows, in octets: a response buffer for UDP needs no more.
pub const UDP_RESPONSE_MAX: usize = 4096;
/// The most octets of [`Settings::server_id`]: with it, the longest question and an error code, a response still has no
/// more than 512 octets.
pub const SERVER_ID_MAX: usize = 128;
const _: () = assert!(
    HEADER_LEN
        + NAME_MAX
        + 4
        + OPT_LEN
        + OPTION_FIXED
        + SERVER_ID_MAX
        + PROBE_LEN
        + ZONE_VERSION_LEN
        + SUBNET_LEN
        + EDE_OTHER_LEN
        <= UDP_PLAIN_MAX,
    "an error fits the smallest response"
);

/// How a message came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// In a datagram: the response has to fit what the client takes.
    Udp,
    /// Over a stream: up to 65,535 octets.
    Tcp,
}

/// What an operator sets.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The node's name: NSID (RFC 5001), and `id.server` and `hostname.bind` in CHAOS (RFC 4892); at most
    /// [`SERVER_ID_MAX`] octets. `None` hides it.
    pub server_id: Option<Box<[u8]>>,
    /// What `version.bind` and `version.server` in CHAOS say. `None` hides it.
    pub version: Option<Box<[u8]>>,
    /// The largest response over UDP, 512 to 4,096 octets; 1,232 avoids fragments everywhere (RFC 9715).
    pub udp_payload_max: u16,
    /// What makes a query a probe, which is told the thread that answers it ([`wire::probe`]). `None` tells nobody.
    pub probe_token: Option<[u8; TOKEN_LEN]>,
    /// Who answers NOTIFY requests.
    pub notifies: Notifies,
    /// Whether queries may say for which network an answer is to be.
    pub subnets: Subnets,
}

/// What is made of a client subnet in a query (RFC 7871).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Subnets {
    /// Nothing, as of any option that nobody knows.
    #[default]
    Ignored,
    /// The answer is that for the network, and says for how much of it it holds.
    Heeded,
}

/// Who answers NOTIFY requests (RFC 1996).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Notifies {
    /// The responder: that this is not implemented.
    #[default]
    Unknown,
    /// The caller, who knows from whom they come: they get no response here, and are noted, see
    /// [`Responder::take_notifies`].
    Caller,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            server_id: None,
            version: None,
            udp_payload_max: 1232,
            probe_token: None,
            notifies: Notifies::Unknown,
            subnets: Subnets::Ignored,
        }
    }
}

/// How many queries are worked on in phases at once. Measured with `starling bench answer` on a table of 10 million names,
/// asked for evenly, on a busy machine: 824 ns a query one at a time, 525 in twos, 373 in fours, 279 in eights, 259 in
/// sixteens, 256 in 32s. With fewer, memory has not answered when a query's turn comes again; with more, the names that
/// were read and the lines that were asked for push each other out of the first-level cache. It is what `netio` receives
/// at once.
const BATCH_LEN: usize = 32;

/// Answers queries from the published tables. One for each thread.
pub struct Responder {
    reader: Reader,
    desk: Desk,
    pending: Box<[Pending]>,
    /// Where the messages come from that are answered one by one.
    client: Option<IpAddr>,
    sampling: Option<Sampling>,
}

impl Responder {
    /// A responder of the thread at `seat` that answers from what `reader` sees and publishes its counts to `counters`.
    ///
    /// # Panics
    /// When the settings are out of their bounds.
    pub fn new(reader: Reader, settings: Arc<Settings>, counters: Arc<Counters>, seat: Seat) -> Responder {
        assert!(
            settings.server_id.as_ref().is_none_or(|id| id.len() <= SERVER_ID_MAX),
            "the server's name is too long"
        );
        let payloads = UDP_PLAIN_MAX..=UDP_RESPONSE_MAX;
        assert!(payloads.contains(&usize::from(settings.udp_payload_max)), "the payload is out of bounds");
        let pending = (0..BATCH_LEN).map(|_| Pending::new(settings.subnets)).collect();
        Responder { reader, desk: Desk::new(settings, counters, seat), pending, client: None, sampling: None }
    }

    /// Has it leave samples of what it answers in batches.
    #[must_use]
    pub fn sampled(mut self, samples: Arc<Samples>) -> Responder {
        self.sampling = Some(Sampling::new(samples));
        self
    }

    /// Has it limit responses over UDP.
    #[must_use]
    pub fn limited(mut self, limits: Arc<RateLimits>) -> Responder {
        self.desk.limiter = Some(Limiter::new(limits));
        self
    }

    /// Takes in new tables. Once a batch, after it was received and before any of it is answered; and when idle.
    #[inline]
    pub fn refresh(&mut self) {
        self.reader.refresh();
        if let Some(limiter) = &mut self.desk.limiter {
            limiter.refresh();
        }
    }

    /// Whether it has to be told when it is.
    #[inline]
    pub fn is_limiting(&self) -> bool {
        self.desk.is_limiting()
    }

    /// Says when the messages have come that are answered next. Once a batch, where there is a limit.
    pub fn expect_moment(&mut self, now: Moment) {
        if let Some(limiter) = &mut self.desk.limiter {
            limiter.expect_moment(now);
        }
    }

    /// Says over which family the messages come that are answered next. Once a batch, before any of it is answered; a
    /// batch has one family.
    #[inline]
    pub fn expect_family(&mut self, family: Family) {
        self.desk.expect_family(family);
    }

    /// Says who sends the messages that [`Responder::respond`] answers next; `None` where nobody knows, as before the first call.
    /// Some names answer clients of different networks differently.
    #[inline]
    pub fn expect_client(&mut self, client: Option<IpAddr>) {
        self.client = client;
    }

    /// Makes the counts of the batch's family known to others. Once a batch, after its last answer.
    #[inline]
    pub fn publish_counts(&self) {
        self.desk.publish_counts();
    }

    /// How many NOTIFY requests were left to the caller since the last call; see [`Settings::notifies`]. Once a batch, or
    /// where nothing was written.
    #[inline]
    pub fn take_notifies(&mut self) -> u32 {
        self.desk.take_notifies()
    }

    /// Counts a response that the caller wrote, to a NOTIFY request.
    pub fn count_response(&mut self, rcode: Rcode) {
        self.desk.count_response(rcode);
    }

    /// Writes the response to `query` and returns its length in octets; 0 means that nothing must be sent.
    ///
    /// `response` should have [`UDP_RESPONSE_MAX`] octets for datagrams and 65,535 for streams; with fewer, the
    /// response is cut to them. Under 512 octets nothing is written.
    #[inline]
    pub fn respond(&mut self, query: &[u8], transport: Transport, response: &mut [u8]) -> usize {
        self.respond_traced(query, transport, response, &mut Silent)
    }

    /// Answers datagrams that came together, over one family: takes in new tables, writes the responses, and publishes the
    /// counts.
    ///
    /// The responses are those that [`Responder::respond`] gives to one query after the other, each with its client. What is done at once is the
    /// waiting for memory: all names are hashed before the first bucket is looked at, and all buckets looked at before the
    /// first node is.
    pub fn respond_batch(&mut self, family: Family, batch: &mut impl Batch) {
        self.refresh();
        self.expect_family(family);
        let Responder { reader, desk, pending, sampling, .. } = self;
        let sampled = sampling.as_mut().map_or(samples::NONE, |sampling| sampling.choose(batch.len()));
        for from in (0..batch.len()).step_by(BATCH_LEN) {
            let queries = from..batch.len().min(from + BATCH_LEN);
            for (pending, index) in pending.iter_mut().zip(queries.clone()) {
                pending.take_in(reader, batch.query(index), &mut Silent);
            }
            for (pending, _) in pending.iter_mut().zip(queries.clone()) {
                pending.lookup.approach(reader);
            }
            for (pending, index) in pending.iter_mut().zip(queries) {
                batch.reply(index, |query, client, response| {
                    let from = (query, client);
                    let mut len = desk.respond(reader, pending, from, Transport::Udp, response, &mut Silent);
                    if desk.is_limiting() {
                        len = desk.limit(pending, (query, client), response, len);
                    }
                    if index == sampled
                        && let Some(sampling) = sampling
                    {
                        sampling.take(&response[..len]);
                    }
                    len
                });
            }
        }
        self.publish_counts();
    }

    /// As [`Responder::respond`], and tells which rules led to the response.
    pub fn explain(
        &mut self,
        query: &[u8],
        transport: Transport,
        response: &mut [u8],
    ) -> (usize, Explanation) {
        let mut explanation = Explanation::default();
        let len = self.respond_traced(query, transport, response, &mut explanation);
        (len, explanation)
    }

    /// The table of the zone with this apex, in the version that queries are answered from.
    pub fn zone(&mut self, apex: Name<'_>) -> Option<Arc<Table>> {
        let mut name = FoldedName::default();
        name.set(apex);
        let slot = self.reader.directory().find(&name)?;
        self.reader.shared(slot).filter(|table| table.apex_len() == apex.len())
    }

    /// Counts a message that somebody else has answered, with this code.
    pub fn count(&mut self, transport: Transport, rcode: Rcode) {
        self.desk.count(transport, rcode);
    }

    #[inline]
    fn respond_traced(
        &mut self,
        bytes: &[u8],
        transport: Transport,
        response: &mut [u8],
        trace: &mut impl Trace,
    ) -> usize {
        let Responder { reader, desk, pending, client, .. } = self;
        let pending = &mut pending[0];
        pending.take_in(reader, bytes, trace);
        pending.lookup.approach(reader);
        let len = desk.respond(reader, pending, (bytes, client), transport, response, trace);
        let is_limited = transport == Transport::Udp && desk.is_limiting();
        if is_limited { desk.limit(pending, (bytes, client), response, len) } else { len }
    }
}
