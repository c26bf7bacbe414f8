//! The entry: reading a query, finding its zone, finishing the response.

use crate::answer::{Answering, Outcome, first_record};
use crate::chaos;
use crate::counters::{CounterSnapshot, Counters};
use crate::negative::Proofs;
use crate::trace::{Explanation, Rule, Silent, Trace};
use crate::writer::{Owner, Section, Signatures, Writer, copy};
use std::sync::Arc;
use table::NodeFlags;
use table::publish::Reader;
use wire::message::{AA, DO, HEADER_LEN, MESSAGE_MAX, OPCODE_MASK, OPT_LEN, QR, RD, TC, UDP_PLAIN_MAX, ede, option};
use wire::{Class, Edns, FoldedName, Query, Rcode, RecordType, Rejected};

/// The largest response over UDP that any setting allows, in octets: a response buffer for UDP needs no more.
pub const UDP_RESPONSE_MAX: usize = 4096;
/// Octets of an EDNS option's code and length.
const OPTION_FIXED: usize = 4;

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
    /// The node's name: NSID (RFC 5001), and `id.server` and `hostname.bind` in CHAOS (RFC 4892). `None` hides it.
    pub server_id: Option<Box<[u8]>>,
    /// What `version.bind` and `version.server` in CHAOS say. `None` hides it.
    pub version: Option<Box<[u8]>>,
    /// The largest response over UDP, 512 to 4,096 octets; 1,232 avoids fragments everywhere (RFC 9715).
    pub udp_payload_max: u16,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { server_id: None, version: None, udp_payload_max: 1232 }
    }
}

/// Answers queries from the published tables. One for each thread.
pub struct Responder {
    reader: Reader,
    settings: Arc<Settings>,
    counters: Arc<Counters>,
    counts: CounterSnapshot,
    name: FoldedName,
    spare: FoldedName,
    proofs: Proofs,
    rotation: usize,
}

/// What goes into the OPT record of the response.
#[derive(Clone, Copy, Default)]
struct OptPlan {
    dnssec_ok: bool,
    nsid: bool,
    /// Octets of the record with its options.
    len: usize,
}

impl Responder {
    /// A responder that answers from what `reader` sees and publishes its counts to `counters`.
    pub fn new(reader: Reader, settings: Arc<Settings>, counters: Arc<Counters>) -> Responder {
        Responder {
            reader,
            settings,
            counters,
            counts: CounterSnapshot::default(),
            name: FoldedName::default(),
            spare: FoldedName::default(),
            proofs: Proofs::default(),
            rotation: 0,
        }
    }

    /// Takes in new tables and publishes counts. Once a batch, after it was received and before any of it is
    /// answered; and when idle.
    #[inline]
    pub fn refresh(&mut self) {
        self.reader.refresh();
        self.counters.publish(&self.counts);
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
    pub fn explain(&mut self, query: &[u8], transport: Transport, response: &mut [u8]) -> (usize, Explanation) {
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
        match transport {
            Transport::Udp => self.counts.udp_queries += 1,
            Transport::Tcp => self.counts.tcp_queries += 1,
        }
        if response.len() < UDP_PLAIN_MAX {
            return 0;
        }
        match Query::read(bytes, &mut self.name) {
            Ok(query) => self.answer(bytes, &query, transport, response, trace),
            Err(rejected) => self.reject(bytes, rejected, response, trace),
        }
    }

    #[inline]
    fn answer(
        &mut self,
        bytes: &[u8],
        query: &Query,
        transport: Transport,
        response: &mut [u8],
        trace: &mut impl Trace,
    ) -> usize {
        let opt = self.plan_opt(query.edns);
        let limit = match (transport, query.edns) {
            (Transport::Tcp, _) => MESSAGE_MAX,
            (Transport::Udp, None) => UDP_PLAIN_MAX,
            // RFC 6891 §6.2.3: less than 512 means 512.
            (Transport::Udp, Some(edns)) => {
                usize::from(edns.udp_size.min(self.settings.udp_payload_max)).max(UDP_PLAIN_MAX)
            }
        };
        let end = query.question_end;
        copy(&mut response[..end], &bytes[..end]);
        // The OPT record goes last; its room is kept in what the caller gave, too.
        let limit = limit.min(response.len()) - opt.len;
        let mut writer = Writer::new(response, end, limit);
        let outcome = self.look_up(query, transport, &mut writer, trace);
        self.finish(query.flags, outcome, &opt, writer)
    }

    #[inline]
    fn look_up(
        &mut self,
        query: &Query,
        transport: Transport,
        writer: &mut Writer<'_>,
        trace: &mut impl Trace,
    ) -> Outcome {
        let edns_version = query.edns.map_or(0, |edns| edns.version);
        if edns_version != 0 || query.qclass != Class::IN || (query.qtype.is_meta() && query.qtype != RecordType::ANY) {
            return self.oddity(query, edns_version, transport, writer, trace);
        }
        let Some(mut slot) = self.reader.directory().find(&self.name) else {
            trace.note(Rule::Outside);
            return Outcome::error(Rcode::REFUSED).with_ede(ede::NOT_AUTHORITATIVE);
        };
        if query.qtype == RecordType::DS
            && let Some(above) = self.zone_for_ds(slot)
        {
            trace.note(Rule::DsAtParent);
            slot = above;
        }
        let Some(table) = self.reader.table(slot) else {
            trace.note(Rule::NotLoaded);
            return Outcome::error(Rcode::SERVFAIL).with_ede(ede::NOT_READY);
        };
        let signatures = match query.edns {
            Some(edns) if edns.dnssec_ok => Signatures::With,
            _ => Signatures::Without,
        };
        self.rotation = self.rotation.wrapping_add(1);
        let exact = table.find_exact(&self.name);
        // The commonest answer by far is one set at the name, and needs nothing of what follows.
        if let Some(node) = exact
            && !node.flags().has(NodeFlags::CUT)
            && query.qtype != RecordType::NS
            && let Some(rrset) = node.rrset(query.qtype)
        {
            trace.note(Rule::Exact);
            writer.set_apex(HEADER_LEN + node.relative_len(), table.apex_len(), table.apex_labels());
            let first = first_record(table, rrset, self.rotation);
            let placed = writer.rrset(Section::Answer, node, rrset, Owner::At(HEADER_LEN), signatures, first);
            return Outcome { truncated: placed.is_err(), ..Outcome::authoritative(Rcode::NOERROR) };
        }
        self.proofs.clear();
        Answering {
            table,
            name: &mut self.name,
            spare: &mut self.spare,
            qtype: query.qtype,
            transport,
            signatures,
            rotation: self.rotation,
            writer,
            proofs: &mut self.proofs,
            trace,
        }
        .run(exact)
    }

    /// Where DS records of an apex are, if that zone is here too.
    #[cold]
    fn zone_for_ds(&self, slot: table::publish::SlotIndex) -> Option<table::publish::SlotIndex> {
        // An apex without a table still has its place in the directory, so compare labels there.
        let directory = self.reader.directory();
        let above = directory.find_above(&self.name)?;
        (above != slot).then_some(above)
    }

    /// What is not a question for zone data.
    #[cold]
    fn oddity(
        &mut self,
        query: &Query,
        edns_version: u8,
        transport: Transport,
        writer: &mut Writer<'_>,
        trace: &mut impl Trace,
    ) -> Outcome {
        if edns_version != 0 {
            trace.note(Rule::BadVersion);
            return Outcome::error(Rcode::BADVERS);
        }
        if query.qclass == Class::CH {
            trace.note(Rule::Chaos);
            return chaos::answer(&self.settings, &self.name, query.qtype, writer);
        }
        if query.qclass != Class::IN {
            trace.note(Rule::Outside);
            return Outcome::error(Rcode::REFUSED).with_ede(ede::NOT_AUTHORITATIVE);
        }
        trace.note(Rule::MetaType);
        match query.qtype {
            // RFC 6891 §6.1.1 and RFC 8945: these are parts of messages, not questions.
            RecordType::OPT | RecordType::TSIG | RecordType::TKEY | RecordType(0) => Outcome::error(Rcode::FORMERR),
            // RFC 5936 §4.2: there are no transfers over UDP.
            RecordType::AXFR if transport == Transport::Udp => Outcome::error(Rcode::NOTIMP),
            // Transfers are for those who are allowed them; where no zone begins there is nothing to transfer.
            RecordType::AXFR | RecordType::IXFR if self.is_apex() => Outcome::error(Rcode::REFUSED),
            RecordType::AXFR | RecordType::IXFR => Outcome::error(Rcode::NOTAUTH),
            _ => Outcome::error(Rcode::NOTIMP).with_ede(ede::NOT_SUPPORTED),
        }
    }

    /// Whether the name of the question is that of a zone.
    fn is_apex(&self) -> bool {
        let slot = self.reader.directory().find(&self.name);
        slot.and_then(|slot| self.reader.table(slot)).is_some_and(|table| table.apex_len() == self.name.as_wire().len())
    }

    #[cold]
    fn reject(&mut self, bytes: &[u8], rejected: Rejected, response: &mut [u8], trace: &mut impl Trace) -> usize {
        let Rejected::Answer { rcode, question_end, edns } = rejected else {
            self.counts.silent += 1;
            return 0;
        };
        trace.note(if rcode == Rcode::NOTIMP { Rule::UnknownOpcode } else { Rule::Malformed });
        self.counts.malformed += u64::from(rcode == Rcode::FORMERR);
        let flags = u16::from_be_bytes([bytes[2], bytes[3]]);
        response[..question_end].copy_from_slice(&bytes[..question_end]);
        let opt = self.plan_opt(edns);
        let writer = Writer::new(response, question_end, UDP_PLAIN_MAX - opt.len);
        self.finish(flags, Outcome::error(rcode), &opt, writer)
    }

    #[inline]
    fn plan_opt(&self, edns: Option<Edns>) -> OptPlan {
        let Some(edns) = edns else { return OptPlan::default() };
        let server_id = self.settings.server_id.as_ref().filter(|_| edns.nsid);
        let nsid_len = server_id.map_or(0, |id| OPTION_FIXED + id.len());
        OptPlan { dnssec_ok: edns.dnssec_ok, nsid: server_id.is_some(), len: OPT_LEN + nsid_len }
    }

    /// Writes the header and the OPT record.
    #[inline]
    fn finish(&mut self, query_flags: u16, outcome: Outcome, opt: &OptPlan, writer: Writer<'_>) -> usize {
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
    fn write_opt(&self, octets: &mut [u8], at: usize, outcome: &Outcome, opt: &OptPlan) -> usize {
        let mut fixed = [0u8; OPT_LEN];
        fixed[2] = RecordType::OPT.0 as u8;
        fixed[3..5].copy_from_slice(&self.settings.udp_payload_max.to_be_bytes());
        fixed[5] = (outcome.rcode.0 >> 4) as u8;
        fixed[7] = if opt.dnssec_ok { (DO >> 8) as u8 } else { 0 };
        octets[at..at + OPT_LEN].copy_from_slice(&fixed);
        let mut end = at + OPT_LEN;
        if opt.nsid || outcome.ede.is_some() {
            end = self.write_options(octets, end, outcome, opt);
            let options_len = (end - at - OPT_LEN) as u16;
            octets[at + OPT_LEN - 2..at + OPT_LEN].copy_from_slice(&options_len.to_be_bytes());
        }
        end
    }

    #[cold]
    fn write_options(&self, octets: &mut [u8], mut at: usize, outcome: &Outcome, opt: &OptPlan) -> usize {
        let mut put = |parts: &[&[u8]]| {
            for part in parts {
                octets[at..at + part.len()].copy_from_slice(part);
                at += part.len();
            }
        };
        if let Some(id) = self.settings.server_id.as_ref().filter(|_| opt.nsid) {
            put(&[&option::NSID.to_be_bytes(), &(id.len() as u16).to_be_bytes(), id]);
        }
        if let Some(code) = outcome.ede {
            // Errors carry nothing but the question, at most 271 octets: there is room in 512.
            put(&[&option::EDE.to_be_bytes(), &2u16.to_be_bytes(), &code.to_be_bytes()]);
        }
        at
    }
}
