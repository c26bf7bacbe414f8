//! Asking a responder that serves one random zone.

use crate::signing::compile;
use crate::zones::{Question, RandomZone};
use nameserver::{Counters, Responder, Settings, Transport};
use starling_tests::message::Message;
use std::sync::Arc;
use table::Table;
use table::publish::{Directory, Publisher, SlotIndex};
use wire::probe::Seat;

/// Whether the client wants DNSSEC records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Dnssec {
    Unwanted,
    Wanted,
}

/// A responder for this zone alone.
pub(crate) fn serve(zone: &RandomZone) -> Responder {
    serve_table(Arc::new(compile(zone.apex.as_name(), &zone.records)))
}

/// A responder for the zone of this table alone.
pub(crate) fn serve_table(table: Arc<Table>) -> Responder {
    let mut publisher = Publisher::new();
    publisher.publish_directory(Directory::new([(table.apex_name(), SlotIndex(0))]));
    publisher.publish(SlotIndex(0), Some(table));
    let (settings, counters) = (Arc::new(Settings::default()), Arc::new(Counters::default()));
    Responder::new(publisher.reader(), settings, counters, Seat::UdpWorker(0))
}

/// The answer to a question, read strictly.
pub(crate) fn ask(
    responder: &mut Responder,
    question: &Question,
    transport: Transport,
    dnssec: Dnssec,
) -> Message {
    let query = query(question, dnssec);
    let mut response = vec![0; 65_535];
    let len = responder.respond(&query, transport, &mut response);
    let message = Message::decode(&response[..len]).expect("a well-made response");
    assert_eq!(message.question, query[12..12 + message.question.len()], "the question comes back as it was");
    message
}

/// The octets of a query.
pub(crate) fn query(question: &Question, dnssec: Dnssec) -> Vec<u8> {
    let mut query = vec![0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    query.extend_from_slice(question.name.as_name().as_wire());
    query.extend(question.rtype.0.to_be_bytes());
    let dnssec_ok = if dnssec == Dnssec::Wanted { 0x80 } else { 0 };
    query.extend([0, 1, 0, 0, 41, 4, 208, 0, 0, dnssec_ok, 0, 0, 0]);
    query
}
