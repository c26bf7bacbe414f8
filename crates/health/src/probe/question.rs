//! What a probe asks, and which answer is good.

use crate::Outcome;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use wire::message::option;
use wire::probe::{Seat, TOKEN_LEN};

/// The UDP payload that a probe offers: an SOA record always fits, and it is what resolvers offer (RFC 9715).
const PAYLOAD_LEN: u16 = 1232;

/// The query of a round, and what is known of its answer.
pub(super) struct Question {
    id: u16,
    query: Query,
    serials: Vec<u32>,
    octets: Vec<u8>,
}

/// What octets that came back are.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Judged {
    /// Not the answer: it has another identifier, as an answer has that comes too late.
    Stray,
    /// The answer.
    Answer {
        /// The thread that gave it, if it says so.
        seat: Option<Seat>,
        /// Whether it is good.
        outcome: Outcome,
    },
}

/// An identifier to begin with.
pub(super) fn random_id() -> u16 {
    Message::query().metadata.id
}

impl Question {
    pub(super) fn new(id: u16, zone: wire::Name<'_>, serials: &[u32], token: &[u8; TOKEN_LEN]) -> Question {
        let name = Name::from_labels(zone.labels()).expect("a name in wire form has labels of legal length");
        let query = Query::query(name, RecordType::SOA);
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.add_query(query.clone());
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD_LEN).set_version(0);
        edns.options_mut().insert(EdnsOption::Unknown(option::PROBE, token.to_vec()));
        message.set_edns(edns);
        let octets = message.to_vec().expect("one name and an OPT record fit any message");
        Question { id, query, serials: serials.to_vec(), octets }
    }

    /// The query.
    pub(super) fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Judges what came back.
    pub(super) fn judge(&self, octets: &[u8]) -> Judged {
        if octets.first_chunk() != Some(&self.id.to_be_bytes()) {
            return Judged::Stray;
        }
        let answer = match Message::from_vec(octets) {
            Ok(answer) => answer,
            Err(error) => {
                let outcome = Outcome::Fail(format!("the answer can't be read: {error}"));
                return Judged::Answer { seat: None, outcome };
            }
        };
        let outcome = match self.fault(&answer) {
            None => Outcome::Pass,
            Some(fault) => Outcome::Fail(fault),
        };
        Judged::Answer { seat: seat(&answer), outcome }
    }

    /// What is wrong with an answer.
    fn fault(&self, answer: &Message) -> Option<String> {
        let header = &answer.metadata;
        if header.message_type != MessageType::Response {
            return Some("the answer is no response: QR is not set".to_owned());
        }
        if header.response_code != ResponseCode::NoError {
            let code = wire::Rcode(header.response_code.into());
            return Some(format!("the response code is {code}"));
        }
        if header.truncation {
            return Some("the answer is truncated".to_owned());
        }
        if !header.authoritative {
            return Some("the answer has no authority: AA is not set".to_owned());
        }
        let [query] = &answer.queries[..] else {
            return Some(format!("the answer has {} questions", answer.queries.len()));
        };
        // The name comes back as it was sent, in its case too.
        if *query != self.query || !query.name.eq_case(&self.query.name) {
            return Some(format!("the answer is to another question: {query}"));
        }
        match &answer.answers[..] {
            [record] => self.fault_of_record(record),
            records => Some(format!("the answer has {} records, not one SOA", records.len())),
        }
    }

    fn fault_of_record(&self, record: &Record) -> Option<String> {
        let RData::SOA(soa) = &record.data else {
            let rtype = wire::RecordType(record.record_type().into());
            return Some(format!("the answer is of type {rtype}, not SOA"));
        };
        if record.name != self.query.name || record.dns_class != DNSClass::IN {
            return Some(format!("the SOA record is that of {} {}", record.name, record.dns_class));
        }
        if self.serials.is_empty() || self.serials.contains(&soa.serial) {
            return None;
        }
        let wanted: Vec<String> = self.serials.iter().map(u32::to_string).collect();
        Some(format!("the serial is {}, and {} is published", soa.serial, wanted.join(" or ")))
    }
}

/// The thread that an answer names.
fn seat(answer: &Message) -> Option<Seat> {
    match answer.edns.as_ref()?.option(EdnsCode::Unknown(option::PROBE))? {
        EdnsOption::Unknown(_, octets) => Seat::from_octets(octets),
        _ => None,
    }
}
