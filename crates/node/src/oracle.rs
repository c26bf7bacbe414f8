//! One table and the answer function: what a server with this one zone would answer.

use nameserver::{Counters, Explanation, Responder, Settings, Transport};
use std::net::IpAddr;
use std::sync::Arc;
use table::Table;
use table::publish::{Directory, Publisher, SlotIndex};
use wire::message::{HEADER_LEN, MESSAGE_MAX};
use wire::probe::Seat;
use wire::{Class, Name, RecordType};

/// The identifier of queries that are never sent.
const ID: u16 = 0;

/// A question and how it is asked.
#[derive(Clone, Copy)]
pub(crate) struct Question<'n> {
    pub(crate) name: Name<'n>,
    pub(crate) rtype: RecordType,
    /// Whether DNSSEC records are asked for.
    pub(crate) dnssec: bool,
    /// The UDP size of the client; over TCP where there is none.
    pub(crate) udp_size: Option<u16>,
    /// Who asks, where that is known.
    pub(crate) client: Option<IpAddr>,
}

/// Answers from one table. With a new one, what answers have by turns begins with the first.
pub(crate) struct Oracle {
    responder: Responder,
    response: Box<[u8]>,
}

impl Oracle {
    pub(crate) fn new(table: Arc<Table>) -> Oracle {
        let mut publisher = Publisher::new();
        publisher.publish(SlotIndex(0), Some(Arc::clone(&table)));
        publisher.publish_directory(Directory::new([(table.apex_name(), SlotIndex(0))]));
        let (settings, counters) = (Arc::new(Settings::default()), Arc::new(Counters::default()));
        let responder = Responder::new(publisher.reader(), settings, counters, Seat::UdpWorker(0));
        Oracle { responder, response: vec![0; MESSAGE_MAX].into_boxed_slice() }
    }

    /// The response, and the rules that led to it.
    pub(crate) fn ask(&mut self, question: Question<'_>) -> (&[u8], Explanation) {
        let query = query(question);
        self.responder.expect_client(question.client);
        let transport = if question.udp_size.is_some() { Transport::Udp } else { Transport::Tcp };
        let (len, explanation) = self.responder.explain(&query, transport, &mut self.response);
        (&self.response[..len], explanation)
    }
}

/// The rules in words; one that was applied several times in a row is told once.
pub(crate) fn reasons(explanation: &Explanation) -> Vec<String> {
    let mut reasons: Vec<String> = explanation.rules.iter().map(ToString::to_string).collect();
    reasons.dedup();
    reasons
}

/// The query as a client would send it, with EDNS.
fn query(question: Question<'_>) -> Vec<u8> {
    let mut query = vec![0; HEADER_LEN];
    query[..2].copy_from_slice(&ID.to_be_bytes());
    query[5] = 1; // QDCOUNT
    query[11] = 1; // ARCOUNT
    query.extend(question.name.as_wire());
    query.extend(question.rtype.0.to_be_bytes());
    query.extend(Class::IN.0.to_be_bytes());
    // OPT (RFC 6891 §6.1.2): the root, the type, the size, extended bits and version, DO, no options.
    query.extend([0, 0, RecordType::OPT.0 as u8]);
    query.extend(question.udp_size.unwrap_or(u16::MAX).to_be_bytes());
    query.extend([0, 0, if question.dnssec { 0x80 } else { 0 }, 0, 0, 0]);
    query
}
