//! The entry: reading a query, finding its zone, finishing the response.

use crate::answer::{Answering, Outcome};
use crate::chaos;
use crate::counters::{CounterSnapshot, Counters, Family};
use crate::negative::Proofs;
use crate::trace::{Explanation, Rule, Silent, Trace};
use crate::writer::{Signatures, Writer, copy};
use std::sync::Arc;
use table::publish::{Reader, SlotIndex, Standing};
use table::{ImageFlags, Node, NodeFlags, Table};
use wire::message::{
    AA, DO, HEADER_LEN, MESSAGE_MAX, OPCODE_MASK, OPT_LEN, QR, RD, TC, UDP_PLAIN_MAX, ede, option,
};
use wire::probe::{self, Seat, TOKEN_LEN};
use wire::query::is_notify;
use wire::{Class, Edns, FoldedName, NAME_MAX, Query, Rcode, RecordType, Rejected};

/// The largest response over UDP that any setting allows, in octets: a response buffer for UDP needs no more.
pub const UDP_RESPONSE_MAX: usize = 4096;
/// The most octets of [`Settings::server_id`]: with it, the longest question and an error code, a response still has no
/// more than 512 octets.
pub const SERVER_ID_MAX: usize = 128;
const _: () = assert!(
    HEADER_LEN + NAME_MAX + 4 + OPT_LEN + OPTION_FIXED + SERVER_ID_MAX + PROBE_LEN + EDE_LEN <= UDP_PLAIN_MAX,
    "an error fits the smallest response"
);
/// Octets of an EDNS option's code and length.
const OPTION_FIXED: usize = 4;
/// Octets of the option that tells a probe which thread answered.
const PROBE_LEN: usize = OPTION_FIXED + probe::SEAT_LEN;

/// Octets of the option with an Extended DNS Error.
const EDE_LEN: usize = OPTION_FIXED + 2;

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
        }
    }
}

/// Answers queries from the published tables. One for each thread.
pub struct Responder {
    reader: Reader,
    desk: Desk,
}

/// What a responder has beside the tables, so that a table can be borrowed while this changes.
struct Desk {
    settings: Arc<Settings>,
    seat: Seat,
    counters: Arc<Counters>,
    /// Where the messages come from, by what [`Responder::expect_family`] last said.
    family: Family,
    /// The counts of that family, so that counting a message takes no index; and those of the other one.
    counts: CounterSnapshot,
    other_counts: CounterSnapshot,
    name: FoldedName,
    spare: FoldedName,
    proofs: Proofs,
    rotation: usize,
    /// NOTIFY requests that were left to the caller.
    notifies: u32,
}

/// A query as it came.
struct Asked<'q> {
    bytes: &'q [u8],
    query: Query,
    transport: Transport,
}

/// Where a question leads.
enum Lead<'t> {
    /// To a zone: its table, and the node of the name if there is one that is not below a cut.
    Zone(&'t Table, Option<Node<'t>>),
    /// To a zone, by a question for any class: no answer to that has authority (RFC 1035 §6.2).
    AnyClass(&'t Table, Option<Node<'t>>),
    /// To a zone whose copy is older than it should be, which answers say.
    Stale(&'t Table, Option<Node<'t>>),
    /// To the server itself.
    Chaos,
    /// No further.
    End(Outcome),
}

/// What goes into the OPT record of the response.
#[derive(Clone, Copy, Default)]
struct OptPlan {
    dnssec_ok: bool,
    nsid: bool,
    /// The thread that answers is told.
    seat: bool,
    /// Octets of the record with its options.
    len: u16,
}

impl OptPlan {
    /// Octets of the record with its options.
    #[inline]
    fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether there are options, errors aside.
    #[inline]
    fn has_options(&self) -> bool {
        self.len() > OPT_LEN
    }
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
        let desk = Desk {
            settings,
            seat,
            counters,
            family: Family::default(),
            counts: CounterSnapshot::default(),
            other_counts: CounterSnapshot::default(),
            name: FoldedName::default(),
            spare: FoldedName::default(),
            proofs: Proofs::default(),
            rotation: 0,
            notifies: 0,
        };
        Responder { reader, desk }
    }

    /// Takes in new tables. Once a batch, after it was received and before any of it is answered; and when idle.
    #[inline]
    pub fn refresh(&mut self) {
        self.reader.refresh();
    }

    /// Says over which family the messages come that are answered next. Once a batch, before any of it is answered; a
    /// batch has one family.
    #[inline]
    pub fn expect_family(&mut self, family: Family) {
        if self.desk.family != family {
            self.desk.family = family;
            std::mem::swap(&mut self.desk.counts, &mut self.desk.other_counts);
        }
    }

    /// Makes the counts of the batch's family known to others. Once a batch, after its last answer.
    #[inline]
    pub fn publish_counts(&self) {
        self.desk.counters.publish(self.desk.family, &self.desk.counts);
    }

    /// How many NOTIFY requests were left to the caller since the last call; see [`Settings::notifies`]. Once a batch, or
    /// where nothing was written.
    #[inline]
    pub fn take_notifies(&mut self) -> u32 {
        std::mem::take(&mut self.desk.notifies)
    }

    /// Counts a response that the caller wrote, to a NOTIFY request.
    pub fn count_response(&mut self, rcode: Rcode) {
        self.desk.counts.count_rcode(rcode);
    }

    /// Writes the response to `query` and returns its length in octets; 0 means that nothing must be sent.
    ///
    /// `response` should have [`UDP_RESPONSE_MAX`] octets for datagrams and 65,535 for streams; with fewer, the
    /// response is cut to them. Under 512 octets nothing is written.
    #[inline]
    pub fn respond(&mut self, query: &[u8], transport: Transport, response: &mut [u8]) -> usize {
        self.respond_traced(query, transport, response, &mut Silent)
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

    #[inline]
    fn respond_traced(
        &mut self,
        bytes: &[u8],
        transport: Transport,
        response: &mut [u8],
        trace: &mut impl Trace,
    ) -> usize {
        let Responder { reader, desk } = self;
        match transport {
            Transport::Udp => desk.counts.udp_queries += 1,
            Transport::Tcp => desk.counts.tcp_queries += 1,
        }
        if response.len() < UDP_PLAIN_MAX {
            return 0;
        }
        match Query::read(bytes, &mut desk.name) {
            Ok(query) => desk.answer(reader, &Asked { bytes, query, transport }, response, trace),
            Err(rejected) => desk.reject(bytes, rejected, response, trace),
        }
    }
}

impl Desk {
    #[inline]
    fn answer(
        &mut self,
        reader: &Reader,
        asked: &Asked<'_>,
        response: &mut [u8],
        trace: &mut impl Trace,
    ) -> usize {
        let opt = self.plan_opt(asked.query.edns, asked.bytes);
        self.rotation = self.rotation.wrapping_add(1);
        let lead = self.lead(reader, asked, trace);
        if let Lead::Zone(table, Some(node)) = lead
            && let Some(len) = self.plain_hit(asked, table, node, opt, response)
        {
            trace.note(Rule::Exact);
            return len;
        }
        self.assemble(asked, lead, opt, response, trace)
    }

    /// The commonest answer by far: one set at the name, in the place that its node foresaw, in a message of at most
    /// 512 octets. Everything else, and nothing else, takes the general way; the two give the same octets.
    #[inline]
    fn plain_hit(
        &mut self,
        asked: &Asked<'_>,
        table: &Table,
        node: Node<'_>,
        opt: OptPlan,
        response: &mut [u8],
    ) -> Option<usize> {
        let Asked { bytes, query, .. } = asked;
        let rrset = node.rrset(query.qtype)?;
        let count = usize::from(rrset.count());
        let turns = count != 1 && table.flags().has(ImageFlags::ROTATE);
        let first = if turns { self.rotation % count } else { 0 };
        // Records of different lengths are turned by walking over them.
        let is_plain = first == 0 || (rrset.stride() != 0 && !rrset.has_fixups());
        if node.flags().has(NodeFlags::CUT) || query.qtype == RecordType::NS || opt.has_options() || !is_plain
        {
            return None;
        }
        let response = response.first_chunk_mut::<UDP_PLAIN_MAX>()?;
        let (signatures, signature_count) =
            if opt.dnssec_ok { (rrset.signatures(), rrset.signature_count()) } else { (&[][..], 0) };
        let records = rrset.records();
        let records_end = query.question_end + records.len();
        let end = records_end + signatures.len();
        if end + opt.len() > UDP_PLAIN_MAX {
            return None;
        }
        copy(&mut response[..query.question_end], &bytes[..query.question_end]);
        if first == 0 {
            copy(&mut response[query.question_end..records_end], records);
        } else {
            let (head, tail) = records.split_at(first * rrset.stride());
            let middle = query.question_end + tail.len();
            copy(&mut response[query.question_end..middle], tail);
            copy(&mut response[middle..records_end], head);
        }
        if !signatures.is_empty() {
            response[records_end..end].copy_from_slice(signatures);
        }
        let flags = QR | AA | (query.flags & RD);
        let answers = rrset.count() + signature_count;
        let counts = [flags, 1, answers, 0, u16::from(opt.len != 0)].map(u16::to_be_bytes);
        response[2..HEADER_LEN].copy_from_slice(counts.as_flattened());
        if opt.len != 0 {
            response[end..end + OPT_LEN].copy_from_slice(&self.fixed_opt(Rcode::NOERROR, opt));
        }
        self.counts.count_rcode(Rcode::NOERROR);
        Some(end + opt.len())
    }

    /// Puts any answer together.
    fn assemble(
        &mut self,
        asked: &Asked<'_>,
        lead: Lead<'_>,
        opt: OptPlan,
        response: &mut [u8],
        trace: &mut impl Trace,
    ) -> usize {
        let Asked { bytes, query, transport } = asked;
        let limit = match (transport, query.edns) {
            (Transport::Tcp, _) => MESSAGE_MAX,
            (Transport::Udp, None) => UDP_PLAIN_MAX,
            // RFC 6891 §6.2.3: less than 512 means 512.
            (Transport::Udp, Some(edns)) => {
                usize::from(edns.udp_size.min(self.settings.udp_payload_max)).max(UDP_PLAIN_MAX)
            }
        };
        let end = query.question_end;
        response[..end].copy_from_slice(&bytes[..end]);
        // The OPT record goes last; its room is kept in what the caller gave, too.
        let stale_len = if matches!(lead, Lead::Stale(..)) && opt.len != 0 { EDE_LEN } else { 0 };
        let limit = limit.min(response.len()) - opt.len() - stale_len;
        let mut writer = Writer::new(response, end, limit);
        let outcome = match lead {
            Lead::End(outcome) => outcome,
            Lead::Chaos => chaos::answer(&self.settings, &self.name, query.qtype, &mut writer),
            Lead::Zone(table, exact) => self.look_up(asked, table, exact, opt, &mut writer, trace),
            Lead::AnyClass(table, exact) => {
                let outcome = self.look_up(asked, table, exact, opt, &mut writer, trace);
                Outcome { authoritative: false, ..outcome }
            }
            Lead::Stale(table, exact) => {
                self.look_up(asked, table, exact, opt, &mut writer, trace).with_ede(ede::STALE_ANSWER)
            }
        };
        self.finish(query.flags, outcome, opt, writer)
    }

    /// Goes through the whole algorithm.
    fn look_up(
        &mut self,
        asked: &Asked<'_>,
        table: &Table,
        exact: Option<Node<'_>>,
        opt: OptPlan,
        writer: &mut Writer<'_>,
        trace: &mut impl Trace,
    ) -> Outcome {
        self.proofs.clear();
        Answering {
            table,
            name: &mut self.name,
            spare: &mut self.spare,
            qtype: asked.query.qtype,
            transport: asked.transport,
            signatures: if opt.dnssec_ok { Signatures::With } else { Signatures::Without },
            rotation: self.rotation,
            writer,
            proofs: &mut self.proofs,
            trace,
        }
        .run(exact)
    }

    /// Finds the table and the node for a question, or what is to be said instead.
    #[inline]
    fn lead<'t>(&self, reader: &'t Reader, asked: &Asked<'_>, trace: &mut impl Trace) -> Lead<'t> {
        let query = &asked.query;
        if query.is_odd() {
            return self.oddity(reader, asked, trace);
        }
        self.zone_lead(reader, query, trace)
    }

    /// Finds the table and the node for a question for zone data.
    #[inline(always)]
    fn zone_lead<'t>(&self, reader: &'t Reader, query: &Query, trace: &mut impl Trace) -> Lead<'t> {
        let Some(mut slot) = reader.directory().find(&self.name) else {
            trace.note(Rule::Outside);
            return Lead::End(Outcome::error(Rcode::REFUSED).with_ede(ede::NOT_AUTHORITATIVE));
        };
        if query.qtype == RecordType::DS
            && let Some(above) = self.zone_for_ds(reader, slot)
        {
            trace.note(Rule::DsAtParent);
            slot = above;
        }
        let Some(table) = reader.table(slot) else { return self.unusual_lead(reader, slot, trace) };
        Lead::Zone(table, table.find_exact(&self.name))
    }

    /// Where a question for a zone without a current table leads.
    #[cold]
    fn unusual_lead<'t>(&self, reader: &'t Reader, slot: SlotIndex, trace: &mut impl Trace) -> Lead<'t> {
        let code = match reader.standing(slot) {
            Standing::Stale(table) => return Lead::Stale(table, table.find_exact(&self.name)),
            // RFC 8914 §4.25 names a zone that has expired.
            Standing::Expired => ede::INVALID_DATA,
            Standing::Absent | Standing::Current(_) => ede::NOT_READY,
        };
        trace.note(Rule::NotLoaded);
        Lead::End(Outcome::error(Rcode::SERVFAIL).with_ede(code))
    }

    /// Where DS records of an apex are, if that zone is here too.
    #[cold]
    fn zone_for_ds(&self, reader: &Reader, slot: SlotIndex) -> Option<SlotIndex> {
        // An apex without a table still has its place in the directory, so compare labels there.
        let above = reader.directory().find_above(&self.name)?;
        (above != slot).then_some(above)
    }

    /// What is not a question for zone data.
    #[cold]
    fn oddity<'t>(&self, reader: &'t Reader, asked: &Asked<'_>, trace: &mut impl Trace) -> Lead<'t> {
        let Asked { query, transport, .. } = asked;
        if query.edns.is_some_and(|edns| edns.version != 0) {
            trace.note(Rule::BadVersion);
            return Lead::End(Outcome::error(Rcode::BADVERS));
        }
        if query.qclass == Class::CH {
            trace.note(Rule::Chaos);
            return Lead::Chaos;
        }
        if query.qclass == Class::ANY && query.asks_for_data() {
            return match self.zone_lead(reader, query, trace) {
                Lead::Zone(table, exact) | Lead::Stale(table, exact) => Lead::AnyClass(table, exact),
                other => other,
            };
        }
        if query.qclass != Class::IN {
            trace.note(Rule::Outside);
            return Lead::End(Outcome::error(Rcode::REFUSED).with_ede(ede::NOT_AUTHORITATIVE));
        }
        trace.note(Rule::MetaType);
        Lead::End(match query.qtype {
            // RFC 6891 §6.1.1 and RFC 8945: these are parts of messages, not questions.
            RecordType::OPT | RecordType::TSIG | RecordType::TKEY | RecordType(0) => {
                Outcome::error(Rcode::FORMERR)
            }
            // RFC 5936 §4.2: there are no transfers over UDP.
            RecordType::AXFR if *transport == Transport::Udp => Outcome::error(Rcode::NOTIMP),
            // Transfers are for those who are allowed them; where no zone begins there is nothing to transfer.
            RecordType::AXFR | RecordType::IXFR if self.is_apex(reader) => Outcome::error(Rcode::REFUSED),
            RecordType::AXFR | RecordType::IXFR => Outcome::error(Rcode::NOTAUTH),
            _ => Outcome::error(Rcode::NOTIMP).with_ede(ede::NOT_SUPPORTED),
        })
    }

    /// Whether the name of the question is that of a zone.
    fn is_apex(&self, reader: &Reader) -> bool {
        let slot = reader.directory().find(&self.name);
        slot.and_then(|slot| reader.standing(slot).table())
            .is_some_and(|table| table.apex_len() == self.name.as_wire().len())
    }

    #[cold]
    fn reject(
        &mut self,
        bytes: &[u8],
        rejected: Rejected,
        response: &mut [u8],
        trace: &mut impl Trace,
    ) -> usize {
        let Rejected::Answer { rcode, question_end, edns } = rejected else {
            self.counts.silent += 1;
            return 0;
        };
        if rcode == Rcode::NOTIMP && self.settings.notifies == Notifies::Caller && is_notify(bytes) {
            self.notifies = self.notifies.saturating_add(1);
            return 0;
        }
        trace.note(if rcode == Rcode::NOTIMP { Rule::UnknownOpcode } else { Rule::Malformed });
        self.counts.malformed += u64::from(rcode == Rcode::FORMERR);
        let flags = u16::from_be_bytes([bytes[2], bytes[3]]);
        response[..question_end].copy_from_slice(&bytes[..question_end]);
        let opt = self.plan_opt(edns, bytes);
        let writer = Writer::new(response, question_end, UDP_PLAIN_MAX - opt.len());
        self.finish(flags, Outcome::error(rcode), opt, writer)
    }

    #[inline]
    fn plan_opt(&self, edns: Option<Edns>, query: &[u8]) -> OptPlan {
        let Some(edns) = edns else { return OptPlan::default() };
        let plan = OptPlan { dnssec_ok: edns.dnssec_ok, len: OPT_LEN as u16, ..OptPlan::default() };
        if edns.nsid || edns.probe_at.is_some() { self.plan_options(edns, plan, query) } else { plan }
    }

    /// Adds the options that a query asks for.
    #[cold]
    fn plan_options(&self, edns: Edns, mut plan: OptPlan, query: &[u8]) -> OptPlan {
        if edns.nsid
            && let Some(id) = &self.settings.server_id
        {
            plan.nsid = true;
            plan.len += (OPTION_FIXED + id.len()) as u16; // `SERVER_ID_MAX`
        }
        if self.is_probe(edns, query) {
            plan.seat = true;
            plan.len += PROBE_LEN as u16;
        }
        plan
    }

    /// Whether a query has a probe option, with the token of this server.
    fn is_probe(&self, edns: Edns, query: &[u8]) -> bool {
        let tokens = self.settings.probe_token.as_ref().zip(edns.probe_token(query));
        tokens.is_some_and(|(ours, theirs)| probe::is_same_token(ours, theirs))
    }

    /// Writes the header and the OPT record.
    #[inline]
    fn finish(&mut self, query_flags: u16, outcome: Outcome, opt: OptPlan, writer: Writer<'_>) -> usize {
        let [answers, authority, mut additional] = writer.counts();
        let question_len = u16::from(writer.question_end() > HEADER_LEN);
        let mut len = writer.len;
        let octets = writer.octets;
        if opt.len != 0 {
            additional += 1;
            len = self.write_opt(octets, len, &outcome, opt);
        }
        let mut flags = QR | (query_flags & (OPCODE_MASK | RD)) | (outcome.rcode.0 & 0xf);
        if outcome.authoritative {
            flags |= AA;
        }
        if outcome.truncated {
            flags |= TC;
            self.counts.truncated += 1;
        }
        // The identifier is in place, with the question.
        if let Some(header) = octets[2..].first_chunk_mut::<10>() {
            let words = [flags, question_len, answers, authority, additional].map(u16::to_be_bytes);
            header.copy_from_slice(words.as_flattened());
        }
        self.counts.count_rcode(outcome.rcode);
        len
    }

    /// The OPT record (RFC 6891 §6.1.2), for which room was kept.
    #[inline]
    fn write_opt(&self, octets: &mut [u8], at: usize, outcome: &Outcome, opt: OptPlan) -> usize {
        octets[at..at + OPT_LEN].copy_from_slice(&self.fixed_opt(outcome.rcode, opt));
        let mut end = at + OPT_LEN;
        if opt.has_options() || outcome.ede.is_some() {
            end = self.write_options(octets, end, outcome, opt);
            let options_len = (end - at - OPT_LEN) as u16;
            octets[at + OPT_LEN - 2..at + OPT_LEN].copy_from_slice(&options_len.to_be_bytes());
        }
        end
    }

    /// An OPT record without options.
    #[inline]
    fn fixed_opt(&self, rcode: Rcode, opt: OptPlan) -> [u8; OPT_LEN] {
        let [size_high, size_low] = self.settings.udp_payload_max.to_be_bytes();
        let flags = if opt.dnssec_ok { (DO >> 8) as u8 } else { 0 };
        [0, 0, RecordType::OPT.0 as u8, size_high, size_low, (rcode.0 >> 4) as u8, 0, flags, 0, 0, 0]
    }

    #[cold]
    fn write_options(&self, octets: &mut [u8], mut at: usize, outcome: &Outcome, opt: OptPlan) -> usize {
        let mut put = |parts: &[&[u8]]| {
            for part in parts {
                octets[at..at + part.len()].copy_from_slice(part);
                at += part.len();
            }
        };
        if let Some(id) = self.settings.server_id.as_ref().filter(|_| opt.nsid) {
            put(&[&option::NSID.to_be_bytes(), &(id.len() as u16).to_be_bytes(), id]);
        }
        if opt.seat {
            let seat = self.seat.to_octets();
            put(&[&option::PROBE.to_be_bytes(), &(seat.len() as u16).to_be_bytes(), &seat]);
        }
        if let Some(code) = outcome.ede {
            // Errors carry nothing but the question, at most 271 octets: there is room in 512. For what is stale, room
            // was kept.
            put(&[&option::EDE.to_be_bytes(), &2u16.to_be_bytes(), &code.to_be_bytes()]);
        }
        at
    }
}
