//! What holds for every response, whatever the query was.

use nameserver::{Responder, Transport};
use starling_tests::message::Message;

/// The largest response over UDP, in octets, with the default settings.
const UDP_MAX: usize = 1232;
const PLAIN_MAX: usize = 512;

/// Lets the responder answer and checks all of it; `None` where it rightly keeps silent.
pub(crate) fn checked(
    responder: &mut Responder,
    query: &[u8],
    transport: Transport,
    response: &mut [u8],
) -> Option<Message> {
    let len = responder.respond(query, transport, response);
    let is_answerable = query.len() >= 12 && query[2] & 0x80 == 0;
    assert_eq!(
        len != 0,
        is_answerable,
        "silence for responses and for less than a header, and for nothing else"
    );
    if len == 0 {
        return None;
    }
    let reply = &response[..len];
    assert_eq!(reply[..2], query[..2], "the identifier comes back");
    assert_eq!(reply[2] & 0x80, 0x80, "QR is set");
    assert_eq!(reply[2] & 0x79, query[2] & 0x79, "opcode and RD come back");
    assert!(len <= response_max(query, transport).min(response.len()), "{len} octets over {transport:?}");
    let message = Message::decode(reply).unwrap_or_else(|error| panic!("{error}: {reply:02x?}"));
    let question_len = message.question.len();
    match message.question_count {
        0 => assert!([1, 4].contains(&message.rcode()), "only FORMERR and NOTIMP come without the question"),
        1 => assert_eq!(message.question, query[12..12 + question_len], "the question comes back as it was"),
        count => panic!("{count} questions"),
    }
    if let Some(opt) = &message.opt {
        assert_eq!((opt.version, usize::from(opt.size)), (0, UDP_MAX));
        assert_eq!(opt.flags & 0x7fff, 0, "flags that are not ours to set");
    }
    let sections = [&message.answer, &message.authority, &message.additional];
    if ![0, 3, 6].contains(&message.rcode()) {
        assert!(sections.iter().all(|section| section.is_empty()), "an error has no records");
    }
    if message.has(starling_tests::message::TC) && transport == Transport::Tcp {
        assert!(len > 60_000, "truncated at {len} octets of 65,535");
    }
    let reply = reply.to_vec();
    assert_eq!(responder.respond(&reply, transport, response), 0, "a response is never answered");
    Some(message)
}

/// How much the client may be sent. Where this reader doesn't understand the query, the answer may be as large as
/// the largest: ours may have found an OPT record in it all the same.
fn response_max(query: &[u8], transport: Transport) -> usize {
    match (transport, Message::decode(query)) {
        (Transport::Tcp, _) => 65_535,
        (Transport::Udp, Ok(query)) => {
            query.opt.map_or(PLAIN_MAX, |opt| usize::from(opt.size).clamp(PLAIN_MAX, UDP_MAX))
        }
        (Transport::Udp, Err(_)) => UDP_MAX,
    }
}
