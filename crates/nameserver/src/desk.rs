//! What a responder has beside the tables: finishing the response to a query that was taken in.

use crate::answer::{Answering, Outcome};
use crate::chaos;
use crate::client::{self, Client};
use crate::counters::{CounterSnapshot, Counters, Family};
use crate::limit::{self, Limiter, Verdict};
use crate::negative::Proofs;
use crate::opt::{self, EDE_LEN, OptPlan, Told};
use crate::pending::{Kind, Lookup, NOWHERE, Pending};
use crate::responder::{Notifies, Settings, Transport};
use crate::short;
use crate::trace::{Rule, Trace};
use crate::writer::{Signatures, Writer, copy};
use std::sync::Arc;
use table::publish::{Reader, SlotIndex, Standing};
use table::{Found, ImageFlags, Node, NodeFlags, Seek, Table};
use wire::message::{AA, HEADER_LEN, MESSAGE_MAX, OPCODE_MASK, OPT_LEN, QR, RD, TC, UDP_PLAIN_MAX, ede};
use wire::probe::Seat;
use wire::query::is_notify;
use wire::{Behind, Class, Edns, FoldedName, Query, Rcode, RecordType, Rejected};

/// What a pointer has above the place that it leads to (RFC 1035 §4.1.4).
const POINTER: usize = 0xc000;

/// Settings, counts, and what is used again for every query.
pub(crate) struct Desk {
    settings: Arc<Settings>,
    /// The OPT records of answers without options, that with the DO bit second.
    plain_opts: [[u8; OPT_LEN]; 2],
    /// What options tell.
    told: Told,
    counters: Arc<Counters>,
    /// Where the messages come from, by what [`Desk::expect_family`] last said.
    family: Family,
    /// The counts of that family, so that counting a message takes no index; and those of the other one.
    counts: CounterSnapshot,
    other_counts: CounterSnapshot,
    spare: FoldedName,
    proofs: Proofs,
    rotation: usize,
    /// NOTIFY requests that were left to the caller.
    notifies: u32,
    /// What decides which responses are too many, if anything does.
    pub(crate) limiter: Option<Limiter>,
}

/// A query as it came. It is handed on by reference: what only some answers use takes no register on the way.
struct Came<'q> {
    bytes: &'q [u8],
    /// Who has sent it.
    client: &'q dyn Client,
    transport: Transport,
}

/// A query that was read.
struct Asked<'q> {
    came: &'q Came<'q>,
    query: &'q Query,
    opt: OptPlan,
}

/// Where a question leads.
enum Lead<'t> {
    /// To a zone: its table, and where the name leads there.
    Zone(&'t Table, Found<'t>),
    /// To a zone, by a question for any class: no answer to that has authority (RFC 1035 §6.2).
    AnyClass(&'t Table, Found<'t>, Age),
    /// To the SOA record of a zone, whatever the type that was asked for.
    Soa(&'t Table, Found<'t>, Age),
    /// To a zone whose copy is older than it should be, which answers say.
    Stale(&'t Table, Found<'t>),
    /// To the server itself.
    Chaos,
    /// No further.
    End(Outcome),
}

/// Whether a table is as old as it may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Age {
    /// It is not older.
    Current,
    /// It is older, which answers say.
    Stale,
}

impl Desk {
    /// A desk for the thread at this seat.
    pub(crate) fn new(settings: Arc<Settings>, counters: Arc<Counters>, seat: Seat) -> Desk {
        let plain_opts =
            [false, true].map(|dnssec_ok| opt::fixed(Rcode::NOERROR, dnssec_ok, settings.udp_payload_max));
        Desk {
            settings,
            plain_opts,
            told: Told::new(seat),
            counters,
            family: Family::default(),
            counts: CounterSnapshot::default(),
            other_counts: CounterSnapshot::default(),
            spare: FoldedName::default(),
            proofs: Proofs::default(),
            rotation: 0,
            notifies: 0,
            limiter: None,
        }
    }

    /// How many NOTIFY requests were left to the caller since the last call.
    #[inline]
    pub(crate) fn take_notifies(&mut self) -> u32 {
        std::mem::take(&mut self.notifies)
    }

    /// Counts a response that the caller wrote.
    pub(crate) fn count_response(&mut self, rcode: Rcode) {
        self.counts.count_rcode(rcode);
    }

    /// Says over which family the messages come that are answered next.
    #[inline]
    pub(crate) fn expect_family(&mut self, family: Family) {
        if self.family != family {
            self.family = family;
            std::mem::swap(&mut self.counts, &mut self.other_counts);
        }
    }

    /// Counts a message that was answered elsewhere.
    pub(crate) fn count(&mut self, transport: Transport, rcode: Rcode) {
        match transport {
            Transport::Udp => self.counts.udp_queries += 1,
            Transport::Tcp => self.counts.tcp_queries += 1,
        }
        self.counts.count_rcode(rcode);
    }

    /// Makes the counts of the family known to others.
    #[inline]
    pub(crate) fn publish_counts(&self) {
        self.counters.publish(self.family, &self.counts);
    }

    /// Writes the response to a query that was taken in, given with who has sent it; its length.
    #[inline(always)]
    pub(crate) fn respond(
        &mut self,
        reader: &Reader,
        pending: &mut Pending,
        (bytes, client): (&[u8], &impl Client),
        transport: Transport,
        response: &mut [u8],
        trace: &mut impl Trace,
    ) -> usize {
        match transport {
            Transport::Udp => self.counts.udp_queries += 1,
            Transport::Tcp => self.counts.tcp_queries += 1,
        }
        self.rotation = self.rotation.wrapping_add(1);
        if let Kind::Usual = pending.kind
            && !trace.is_wanted()
            && let Some(table) = pending.lookup.table(reader)
        {
            match table.find_exact(&pending.lookup.name, &pending.lookup.seek) {
                Some(node) => {
                    let len = self.plain_hit(&pending.query, (bytes, client), table, node, response);
                    if let Some(len) = len {
                        return len;
                    }
                }
                None => pending.kind = Kind::Inexact,
            }
        }
        self.respond_at_length(reader, pending, &Came { bytes, client, transport }, response, trace)
    }

    /// Writes any response. A function of its own, so that the registers belong to the short way.
    #[cold]
    #[inline(never)]
    fn respond_at_length(
        &mut self,
        reader: &Reader,
        pending: &mut Pending,
        came: &Came<'_>,
        response: &mut [u8],
        trace: &mut impl Trace,
    ) -> usize {
        if response.len() < UDP_PLAIN_MAX {
            return 0;
        }
        let Pending { kind, query, lookup, rejected } = pending;
        let opt = OptPlan::new(query.edns, query, came.bytes, &self.settings, &mut self.told);
        let asked = Asked { came, query, opt };
        let lead = match kind {
            Kind::Usual => zone_lead(reader, lookup, query.qtype, trace),
            Kind::Inexact => inexact_lead(reader, lookup),
            Kind::Odd => self.oddity(reader, &asked, lookup, trace),
            Kind::Rejected => return self.reject(came.bytes, query, *rejected, response, trace),
        };
        self.assemble(&asked, lookup, lead, response, trace)
    }

    /// Whether responses may be too many.
    #[inline]
    pub(crate) fn is_limiting(&self) -> bool {
        self.limiter.as_ref().is_some_and(Limiter::is_on)
    }

    /// Leaves a response over UDP of so many octets as it is, or, where the client's network has had enough of these, without its records, or unsent;
    /// its length.
    #[cold]
    #[inline(never)]
    pub(crate) fn limit(
        &mut self,
        pending: &Pending,
        (bytes, client): (&[u8], &dyn Client),
        response: &mut [u8],
        len: usize,
    ) -> usize {
        let (Some(limiter), Some(client)) = (&mut self.limiter, client.address()) else { return len };
        // What is wrong with a query that can't be read, or its version, fits no other response. And whatever clients are told,
        // the node is well.
        let is_apart = |edns: Edns| edns.version != 0 || opt::is_probe(edns, bytes, &self.settings);
        if len < HEADER_LEN
            || matches!(pending.kind, Kind::Rejected)
            || pending.query.edns.is_some_and(is_apart)
        {
            return len;
        }
        let (kind, name) = limited_as(pending, &response[..len]);
        match limiter.judge(client, kind, name) {
            Verdict::Sent => len,
            Verdict::Withheld => {
                self.counts.limited_withheld += 1;
                0
            }
            Verdict::Shortened => {
                self.counts.limited_shortened += 1;
                self.counts.truncated += u64::from(response[2] & (TC >> 8) as u8 == 0);
                self.without_records(&pending.query, response)
            }
        }
    }

    /// Leaves of a response its question alone, and says that all the rest is to be had over TCP: the same whatever it was.
    fn without_records(&self, query: &Query, response: &mut [u8]) -> usize {
        let flags = QR | TC | (query.flags & (OPCODE_MASK | RD));
        let additional = u16::from(query.edns.is_some());
        response[2..HEADER_LEN].copy_from_slice(&header(flags, 1, [0, 0, additional]));
        let end = query.question_end;
        let Some(edns) = query.edns else { return end };
        response[end..end + OPT_LEN].copy_from_slice(&self.plain_opts[usize::from(edns.dnssec_ok)]);
        end + OPT_LEN
    }

    /// The commonest answer by far: one set at the name, in the place that its node foresaw, in a message of at most
    /// 512 octets. Everything else, and nothing else, takes the general way, and so does this where rules are noted; the
    /// two give the same octets.
    #[inline(always)]
    fn plain_hit(
        &mut self,
        query: &Query,
        (bytes, client): (&[u8], &impl Client),
        table: &Table,
        node: Node<'_>,
        response: &mut [u8],
    ) -> Option<usize> {
        if query.behind == Behind::Other {
            return None;
        }
        let opt_len = if query.behind == Behind::Nothing { 0 } else { OPT_LEN };
        let dnssec_ok = query.behind == Behind::OptWithDo;
        if node.flags().has(NodeFlags::CUT) || query.qtype == RecordType::NS {
            return None;
        }
        let mut rrset = node.rrset(query.qtype)?;
        if rrset.is_steered() {
            rrset = client::chosen_here(table, rrset.variants_number(), self.rotation, client)?.rrset();
        }
        let mut first = 0;
        if rrset.count() != 1 && table.flags().has(ImageFlags::ROTATE) {
            first = self.rotation % usize::from(rrset.count());
            // Records of different lengths are turned by walking over them.
            if first != 0 && (rrset.stride() == 0 || rrset.has_fixups()) {
                return None;
            }
        }
        let response = response.first_chunk_mut::<UDP_PLAIN_MAX>()?;
        let records = rrset.records();
        let mut end = query.question_end + records.len();
        if end + opt_len > UDP_PLAIN_MAX {
            return None;
        }
        copy(&mut response[..query.question_end], &bytes[..query.question_end]);
        if first == 0 {
            copy(&mut response[query.question_end..end], records);
        } else {
            let (head, tail) = records.split_at(first * rrset.stride());
            let middle = query.question_end + tail.len();
            copy(&mut response[query.question_end..middle], tail);
            copy(&mut response[middle..end], head);
        }
        let mut answers = rrset.count();
        if dnssec_ok && rrset.is_signed() {
            let (from, signatures) = (end, rrset.signatures());
            end += signatures.len();
            if end + opt_len > UDP_PLAIN_MAX {
                return None;
            }
            response[from..end].copy_from_slice(signatures);
            answers += rrset.signature_count();
        }
        // The other counts came with the question and are right: see `Behind`.
        let flags = QR | AA | (query.flags & RD);
        response[2..4].copy_from_slice(&flags.to_be_bytes());
        response[6..8].copy_from_slice(&answers.to_be_bytes());
        if opt_len != 0 {
            response[end..end + OPT_LEN].copy_from_slice(&self.plain_opts[usize::from(dnssec_ok)]);
        }
        self.counts.count_rcode(Rcode::NOERROR);
        Some(end + opt_len)
    }

    /// Puts any answer together.
    #[inline(always)]
    fn assemble(
        &mut self,
        asked: &Asked<'_>,
        lookup: &mut Lookup,
        lead: Lead<'_>,
        response: &mut [u8],
        trace: &mut impl Trace,
    ) -> usize {
        let Asked { came, query, opt } = *asked;
        if opt.has_options()
            && let Lead::Zone(table, _)
            | Lead::AnyClass(table, ..)
            | Lead::Soa(table, ..)
            | Lead::Stale(table, _) = &lead
        {
            self.told.answered_from(table);
        }
        let limit = match (came.transport, query.edns) {
            (Transport::Tcp, _) => MESSAGE_MAX,
            (Transport::Udp, None) => UDP_PLAIN_MAX,
            // RFC 6891 §6.2.3: less than 512 means 512.
            (Transport::Udp, Some(edns)) => {
                usize::from(edns.udp_size.min(self.settings.udp_payload_max)).max(UDP_PLAIN_MAX)
            }
        };
        let end = query.question_end;
        response[..end].copy_from_slice(&came.bytes[..end]);
        // The OPT record goes last; its room is kept in what the caller gave, too.
        let limit = limit.min(response.len()) - opt.len();
        let mut writer = Writer::new(response, end, limit);
        let outcome = match lead {
            Lead::End(outcome) => outcome,
            Lead::Chaos => chaos::answer(&self.settings, &lookup.name, query.qtype, &mut writer),
            Lead::Zone(table, found) => self.look_up(asked, lookup, table, found, &mut writer, trace),
            Lead::AnyClass(table, found, age) => {
                let outcome = match age {
                    Age::Current => self.look_up(asked, lookup, table, found, &mut writer, trace),
                    Age::Stale => self.look_up_stale(asked, lookup, table, found, &mut writer, trace),
                };
                Outcome { authoritative: false, ..outcome }
            }
            Lead::Soa(table, found, age) => {
                let query = Query { qtype: RecordType::SOA, ..*query };
                let asked = Asked { came, query: &query, opt };
                match age {
                    Age::Current => self.look_up(&asked, lookup, table, found, &mut writer, trace),
                    Age::Stale => self.look_up_stale(&asked, lookup, table, found, &mut writer, trace),
                }
            }
            Lead::Stale(table, found) => self.look_up_stale(asked, lookup, table, found, &mut writer, trace),
        };
        self.finish(query.flags, outcome, opt, &mut writer)
    }

    /// Answers from a table, by the short way or else by the whole algorithm.
    #[inline(always)]
    fn look_up(
        &mut self,
        asked: &Asked<'_>,
        lookup: &mut Lookup,
        table: &Table,
        found: Found<'_>,
        writer: &mut Writer<'_>,
        trace: &mut impl Trace,
    ) -> Outcome {
        let apex_labels = table.apex_labels();
        let apex_at = HEADER_LEN + lookup.name.label_start(lookup.name.label_count() - apex_labels);
        writer.set_apex(apex_at, table.apex_len(), apex_labels);
        let signatures = if asked.opt.dnssec_ok() { Signatures::With } else { Signatures::Without };
        if !trace.is_wanted() {
            let start = writer.mark();
            let qtype = asked.query.qtype;
            if let Some(outcome) = short::answer(table, &lookup.name, qtype, found, signatures, writer) {
                return outcome;
            }
            writer.reset(start);
        }
        self.proofs.clear();
        Answering {
            table,
            name: &mut lookup.name,
            spare: &mut self.spare,
            qtype: asked.query.qtype,
            transport: asked.came.transport,
            signatures,
            rotation: self.rotation,
            client: asked.came.client,
            subnet: asked.opt.has_subnet().then_some(&self.told.subnet),
            writer,
            proofs: &mut self.proofs,
            trace,
        }
        .run(found)
    }

    /// Answers from a table that is older than it should be, and says so where the client can be told.
    #[cold]
    #[inline(never)]
    fn look_up_stale(
        &mut self,
        asked: &Asked<'_>,
        lookup: &mut Lookup,
        table: &Table,
        found: Found<'_>,
        writer: &mut Writer<'_>,
        trace: &mut impl Trace,
    ) -> Outcome {
        if asked.opt.len() != 0 {
            writer.keep_room(EDE_LEN);
        }
        let outcome = self.look_up(asked, lookup, table, found, writer, trace);
        // An error says why it is one.
        if outcome.ede.is_some() { outcome } else { outcome.with_ede(ede::STALE_ANSWER) }
    }

    /// What is not a question for zone data.
    #[cold]
    fn oddity<'t>(
        &self,
        reader: &'t Reader,
        asked: &Asked<'_>,
        lookup: &mut Lookup,
        trace: &mut impl Trace,
    ) -> Lead<'t> {
        let Asked { query, came: Came { transport, .. }, .. } = asked;
        if query.edns.is_some_and(|edns| edns.version != 0) {
            trace.note(Rule::BadVersion);
            return Lead::End(Outcome::error(Rcode::BADVERS));
        }
        if query.qclass == Class::CH {
            trace.note(Rule::Chaos);
            return Lead::Chaos;
        }
        if query.qclass == Class::ANY && query.asks_for_data() {
            lookup.begin(reader, query.qtype, trace);
            lookup.approach(reader);
            return match zone_lead(reader, lookup, query.qtype, trace) {
                Lead::Zone(table, found) => Lead::AnyClass(table, found, Age::Current),
                Lead::Stale(table, found) => Lead::AnyClass(table, found, Age::Stale),
                other => other,
            };
        }
        if query.qtype == RecordType::IXFR
            && *transport == Transport::Udp
            && query.qclass == Class::IN
            && is_apex(reader, &lookup.name)
        {
            // RFC 1995 §2 and §4: what doesn't fit a datagram is answered with the SOA record alone, from which the client learns
            // whether to come over TCP. Whether it would fit is nothing that a packet thread finds out.
            trace.note(Rule::Incremental);
            lookup.begin(reader, RecordType::SOA, trace);
            lookup.approach(reader);
            return match zone_lead(reader, lookup, RecordType::SOA, trace) {
                Lead::Zone(table, found) => Lead::Soa(table, found, Age::Current),
                Lead::Stale(table, found) => Lead::Soa(table, found, Age::Stale),
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
            RecordType::AXFR | RecordType::IXFR if is_apex(reader, &lookup.name) => {
                Outcome::error(Rcode::REFUSED)
            }
            RecordType::AXFR | RecordType::IXFR => Outcome::error(Rcode::NOTAUTH),
            _ => Outcome::error(Rcode::NOTIMP).with_ede(ede::NOT_SUPPORTED),
        })
    }

    #[cold]
    fn reject(
        &mut self,
        bytes: &[u8],
        query: &Query,
        rejected: Option<Rejected>,
        response: &mut [u8],
        trace: &mut impl Trace,
    ) -> usize {
        let Some(Rejected::Answer { rcode, question_end, edns }) = rejected else {
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
        let opt = OptPlan::new(edns, query, bytes, &self.settings, &mut self.told);
        let mut writer = Writer::new(response, question_end, UDP_PLAIN_MAX - opt.len());
        self.finish(flags, Outcome::error(rcode), opt, &mut writer)
    }

    /// Writes the header and the OPT record.
    #[inline(always)]
    fn finish(&mut self, query_flags: u16, outcome: Outcome, opt: OptPlan, writer: &mut Writer<'_>) -> usize {
        let [answers, authority, mut additional] = writer.counts();
        let question_len = u16::from(writer.question_end() > HEADER_LEN);
        let mut len = writer.len;
        let octets = &mut *writer.octets;
        if opt.len() != 0 {
            additional += 1;
            len = opt.write(octets, len, answers, &outcome, &self.settings, &self.told);
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
        if let Some(start) = octets.first_chunk_mut::<HEADER_LEN>() {
            start[2..].copy_from_slice(&header(flags, question_len, [answers, authority, additional]));
        }
        self.counts.count_rcode(outcome.rcode);
        len
    }
}

/// Which responses count together with this one for a limit: by kind, and by name where there is one.
fn limited_as<'p>(pending: &'p Pending, response: &[u8]) -> (limit::Kind, &'p [u8]) {
    let number =
        |at: usize| response.get(at..at + 2).map_or(0, |octets| u16::from_be_bytes([octets[0], octets[1]]));
    let lookup = &pending.lookup;
    let rcode = u32::from(response[3] & 0xf);
    // A zone has fewer bits than the rest.
    let of_zone = limit::Kind(lookup.zone.0 << 8 | 1 << 4 | rcode);
    if rcode != 0 {
        return (of_zone, &[]);
    }
    match pending.kind {
        Kind::Usual | Kind::Odd => (limit::Kind(0), lookup.name.as_wire()),
        Kind::Inexact if number(6) == 0 => {
            // The first record is of the delegation, or of the zone, whose name is part of the question's.
            let pointer = usize::from(number(pending.query.question_end));
            let name =
                pointer.checked_sub(POINTER + HEADER_LEN).and_then(|at| lookup.name.as_wire().get(at..));
            name.map_or((of_zone, &[]), |name| (limit::Kind(1), name))
        }
        // What a wildcard makes is as good as what there is not.
        Kind::Inexact | Kind::Rejected => (of_zone, &[]),
    }
}

/// Finds the table and the node for a question for zone data.
#[inline(always)]
fn zone_lead<'t>(reader: &'t Reader, lookup: &Lookup, qtype: RecordType, trace: &mut impl Trace) -> Lead<'t> {
    let Some(table) = lookup.table(reader) else {
        if lookup.zone == NOWHERE {
            trace.note(Rule::Outside);
            return Lead::End(Outcome::error(Rcode::REFUSED).with_ede(ede::NOT_AUTHORITATIVE));
        }
        return unusual_lead(reader, lookup.zone, &lookup.name, qtype, trace);
    };
    Lead::Zone(table, find(table, &lookup.name, &lookup.seek))
}

/// As [`zone_lead`], for a name that was looked for and that its zone does not have.
#[inline(always)]
fn inexact_lead<'t>(reader: &'t Reader, lookup: &Lookup) -> Lead<'t> {
    match lookup.table(reader) {
        Some(table) => Lead::Zone(table, table.find_encloser(&lookup.name, &lookup.seek)),
        // It is the one that the name was looked for in.
        None => Lead::End(Outcome::error(Rcode::SERVFAIL)),
    }
}

#[inline(always)]
fn find<'t>(table: &'t Table, name: &FoldedName, seek: &Seek) -> Found<'t> {
    table.find_exact(name, seek).map_or_else(|| table.find_encloser(name, seek), Found::Exact)
}

/// Where a question for a zone without a current table leads.
#[cold]
fn unusual_lead<'t>(
    reader: &'t Reader,
    slot: SlotIndex,
    name: &FoldedName,
    qtype: RecordType,
    trace: &mut impl Trace,
) -> Lead<'t> {
    // On the way here nothing was looked for in it.
    let found = |table: &'t Table| {
        let mut seek = Seek::default();
        table.seek(name, &mut seek);
        table.approach(&mut seek);
        find(table, name, &seek)
    };
    let code = match reader.standing(slot) {
        Standing::Stale(table) => return Lead::Stale(table, found(table)),
        // Secondaries ask for the serial before they transfer; who they are is not known here, and it tells nothing.
        Standing::Private(table) if qtype == RecordType::SOA && name.as_wire().len() == table.apex_len() => {
            return Lead::Zone(table, found(table));
        }
        Standing::Private(_) => {
            trace.note(Rule::ForSecondaries);
            return Lead::End(Outcome::error(Rcode::REFUSED).with_ede(ede::PROHIBITED));
        }
        // RFC 8914 §4.25 names a zone that has expired.
        Standing::Expired => ede::INVALID_DATA,
        Standing::Absent | Standing::Current(_) => ede::NOT_READY,
    };
    trace.note(Rule::NotLoaded);
    Lead::End(Outcome::error(Rcode::SERVFAIL).with_ede(code))
}

/// Whether the name of the question is that of a zone.
fn is_apex(reader: &Reader, name: &FoldedName) -> bool {
    let slot = reader.directory().find(name);
    let table = |slot| reader.table(slot).or_else(|| reader.standing(slot).table().map(|table| &**table));
    slot.and_then(table).is_some_and(|table| table.apex_len() == name.as_wire().len())
}

/// What follows the identifier in a header: flags, and how many questions and records of each section.
#[inline]
fn header(flags: u16, questions: u16, [answers, authority, additional]: [u16; 3]) -> [u8; HEADER_LEN - 2] {
    // Put together as one number: octet by octet takes three times the instructions.
    let numbers = [flags, questions, answers, authority, additional];
    let whole = numbers.into_iter().fold(0u128, |whole, number| whole << 16 | u128::from(number)) << 48;
    let mut octets = [0; HEADER_LEN - 2];
    octets.copy_from_slice(&whole.to_be_bytes()[..HEADER_LEN - 2]);
    octets
}
