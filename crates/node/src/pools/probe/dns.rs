//! DNS queries to endpoints.

use super::tcp::{connect, no_socket, no_source};
use super::{Fault, Visit};
use crate::config::{DnsProbe, DnsTransport};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use transfer::request::question;
use wire::message::{AA, HEADER_LEN, OPCODE_MASK, QR, RD, RecordView, TC, u16_at};
use wire::{Class, NameBuf, Rcode};
use zone::rdata;

/// The largest datagram in octets that is looked at: without EDNS there is none beyond 512 (RFC 1035 §4.2.1).
const DATAGRAM_MAX: usize = 4096;

/// Asks the endpoint, and looks at what it answers.
pub(super) async fn ask(visit: &Visit<'_>, query: &DnsProbe) -> Result<(), Fault> {
    let id = fastrand::u16(..);
    let mut message = question(query.name.as_name(), query.rtype, id);
    if query.recursion {
        message[2] |= (RD >> 8) as u8; // the upper octet of the flags
    }
    match query.transport {
        DnsTransport::Udp => over_udp(visit, query, &message).await,
        DnsTransport::Tcp => over_tcp(visit, query, &message).await,
    }
}

async fn over_udp(visit: &Visit<'_>, query: &DnsProbe, message: &[u8]) -> Result<(), Fault> {
    let is_ipv4 = visit.at.is_ipv4();
    let any: IpAddr = if is_ipv4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // The kernel picks a port at random, and takes datagrams from the endpoint alone (RFC 5452 §9.2, §9.1).
    let source = visit.check.sources.to(visit.at.ip());
    let socket = match source {
        Some(source) => UdpSocket::bind((source, 0)).await.map_err(|error| no_source(source, &error))?,
        None => UdpSocket::bind((any, 0)).await.map_err(|error| no_socket(&error))?,
    };
    socket.connect(visit.at).await.map_err(no_answer)?;
    socket.send(message).await.map_err(no_answer)?;
    let mut buffer = vec![0; DATAGRAM_MAX];
    loop {
        let len = socket.recv(&mut buffer).await.map_err(no_answer)?;
        // What does not belong to the query may be a forger's, or late: the right one may follow.
        if let Some(judged) = judge(query, message, &buffer[..len]) {
            return judged.map_err(Fault::Bad);
        }
    }
}

/// RFC 1035 §4.2.2: the length of a message stands in front of it.
async fn over_tcp(visit: &Visit<'_>, query: &DnsProbe, message: &[u8]) -> Result<(), Fault> {
    let mut stream = connect(visit).await?;
    visit.await_now("no answer");
    let len = message.len() as u16; // a name has at most 255 octets
    stream.write_all(&[&len.to_be_bytes()[..], message].concat()).await.map_err(no_answer)?;
    loop {
        let len = stream.read_u16().await.map_err(no_answer)?;
        let mut answer = vec![0; usize::from(len)];
        stream.read_exact(&mut answer).await.map_err(no_answer)?;
        if let Some(judged) = judge(query, message, &answer) {
            return judged.map_err(Fault::Bad);
        }
    }
}

fn no_answer(error: io::Error) -> Fault {
    Fault::Bad(match error.kind() {
        io::ErrorKind::ConnectionRefused => "nobody listens there".to_owned(),
        io::ErrorKind::UnexpectedEof => "no answer: it closed the connection".to_owned(),
        _ => format!("no answer: {error}"),
    })
}

/// What an answer comes to; `None` if it is none to this message.
fn judge(query: &DnsProbe, message: &[u8], answer: &[u8]) -> Option<Result<(), String>> {
    let flags = u16_at(answer, 2)?;
    if u16_at(answer, 0) != u16_at(message, 0) || flags & QR == 0 || flags & OPCODE_MASK != 0 {
        return None;
    }
    let rcode = Rcode(flags & 0xf);
    let end = match u16_at(answer, 4)? {
        1 => {
            let (name, end) = NameBuf::read_compressed(answer, HEADER_LEN).ok()?;
            let asked = (u16_at(answer, end)?, u16_at(answer, end + 2)?);
            let is_ours = name.as_name().eq_ignore_case(query.name.as_name());
            if !is_ours || asked != (query.rtype.0, Class::IN.0) {
                return None;
            }
            end + 4
        }
        // Who can't read a question, or won't, need not repeat it.
        0 if rcode != Rcode::NOERROR => HEADER_LEN,
        _ => return None,
    };
    Some(judge_content(query, answer, end, flags))
}

fn judge_content(query: &DnsProbe, answer: &[u8], at: usize, flags: u16) -> Result<(), String> {
    let rcode = Rcode(flags & 0xf);
    if rcode != query.rcode {
        return Err(format!("it answers {rcode}, and not {}", query.rcode));
    }
    if query.authoritative && flags & AA == 0 {
        return Err("its answer has no authority (the AA bit)".to_owned());
    }
    let Some(wanted) = &query.answer else { return Ok(()) };
    match has_record(query, answer, at, wanted) {
        Some(true) => Ok(()),
        _ if flags & TC != 0 => {
            Err("its answer is cut short, and the rest does not have the record: ask over TCP".to_owned())
        }
        Some(false) => Err(format!("its answer has no {} record {}", query.rtype, shown(query, wanted))),
        None => Err("its answer can't be read".to_owned()),
    }
}

/// Whether the answer section has a record of the type with this data; `None` where it can't be read.
///
/// The owner may be another one than was asked for: that an alias leads to.
fn has_record(query: &DnsProbe, answer: &[u8], mut at: usize, wanted: &[u8]) -> Option<bool> {
    for _ in 0..u16_at(answer, 6)? {
        let record = RecordView::read(answer, at)?;
        at = record.end;
        if record.rtype != query.rtype || record.class != Class::IN.0 {
            continue;
        }
        let mut data = Vec::new();
        rdata::from_message(record.rtype, answer, record.data_at, record.end, &mut data).ok()?;
        rdata::to_canonical(record.rtype, &mut data);
        if data == wanted {
            return Some(true);
        }
    }
    Some(false)
}

fn shown(query: &DnsProbe, data: &[u8]) -> String {
    super::shown(&rdata::display(query.rtype, data).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use wire::{Name, RecordType};

    fn query(rtype: RecordType, answer: Option<&str>) -> DnsProbe {
        let data = |text: &str| {
            let mut data = zone::master::rdata_from_text(rtype, text.as_bytes(), Name::ROOT).unwrap();
            rdata::to_canonical(rtype, &mut data);
            data
        };
        DnsProbe {
            name: NameBuf::from_text(b"a.example.", None).unwrap(),
            rtype,
            transport: DnsTransport::Udp,
            recursion: false,
            rcode: Rcode::NOERROR,
            authoritative: true,
            answer: answer.map(data),
        }
    }

    /// An answer with authority to `message`, with a record of this data, whose owner is compressed.
    fn answer(message: &[u8], rtype: RecordType, data: &[u8]) -> Vec<u8> {
        let mut answer = message.to_vec();
        (answer[2], answer[7]) = (0x84, 1);
        answer.extend([0xc00c, rtype.0, 1, 0, 60, data.len() as u16].map(u16::to_be_bytes).as_flattened());
        answer.extend(data);
        answer
    }

    #[test]
    fn names_in_data_may_be_compressed() {
        let query = query(RecordType::MX, Some("10 Mail.A.example."));
        let message = question(query.name.as_name(), query.rtype, 7);
        let good = answer(&message, RecordType::MX, b"\x00\x0a\x04mAIl\xc0\x0c");
        assert_eq!(judge(&query, &message, &good), Some(Ok(())));
        let other = answer(&message, RecordType::MX, b"\x00\x0b\x04mail\xc0\x0c");
        let said = judge(&query, &message, &other).unwrap().unwrap_err();
        assert_eq!(said, "its answer has no MX record 10 mail.a.example.");
    }

    #[test]
    fn what_is_no_answer_to_the_message_is_passed_over() {
        let query = query(RecordType::A, Some("192.0.2.1"));
        let message = question(query.name.as_name(), query.rtype, 7);
        let good = answer(&message, RecordType::A, &[192, 0, 2, 1]);
        assert_eq!(judge(&query, &message, &good), Some(Ok(())));
        for (at, octet) in [(1, 8), (2, 0x04), (2, 0x8c), (13, b'b'), (HEADER_LEN + 12, 28)] {
            let mut other = good.clone();
            other[at] = octet;
            assert_eq!(judge(&query, &message, &other), None, "octet {at}");
        }
        let mut refused = good[..HEADER_LEN].to_vec();
        refused[3] = 5;
        refused[4..8].fill(0);
        assert!(judge(&query, &message, &refused).unwrap().unwrap_err().contains("REFUSED"));
    }

    /// Types whose data has names, texts, bit maps and lists, with data as a zone file has it.
    const TYPES: &[(RecordType, &str)] = &[
        (RecordType::A, "192.0.2.1"),
        (RecordType::MX, "10 mail.a.example."),
        (RecordType::TXT, "\"one\" \"another\""),
        (RecordType::SOA, "a.example. b.example. 1 2 3 4 5"),
        (RecordType::NSEC, "b.example. A TXT TYPE1234"),
        (RecordType::RRSIG, "A 13 2 60 20260101000000 20250101000000 7 example. AAAA"),
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        /// Octets that somebody sends in place of an answer, or of a part of one.
        #[test]
        fn only_an_answer_to_the_message_is_good(
            kind in 0..TYPES.len(),
            changes in vec((prop_oneof![0..HEADER_LEN, 0_usize..200], prop_oneof![(0..8).prop_map(|bit| 1_u8 << bit), any::<u8>()]), 0..4),
            cut in prop::option::weighted(0.2, 0_usize..200),
            behind in vec(any::<u8>(), 0..64),
        ) {
            let (rtype, text) = TYPES[kind];
            let query = query(rtype, Some(text));
            let message = question(query.name.as_name(), rtype, 7);
            let good = answer(&message, rtype, query.answer.as_deref().unwrap_or_default());
            prop_assert_eq!(judge(&query, &message, &good), Some(Ok(())));
            let mut sent = good.clone();
            for (at, bits) in changes {
                let at = at % sent.len();
                sent[at] ^= bits;
            }
            sent.truncate(cut.unwrap_or(sent.len()));
            sent.extend(behind);
            match judge(&query, &message, &sent) {
                None => {}
                Some(Ok(())) => {
                    // The id, that it is a response with authority to a query, and that it went well; and the data is there,
                    // whose names may be written in other ways.
                    prop_assert_eq!((&sent[..2], sent[2] & 0xfc, sent[3] & 0xf), (&[0, 7][..], 0x84, 0));
                    prop_assert!(u16_at(&sent, 6) > Some(0));
                    let data = query.answer.as_deref().unwrap_or_default();
                    let has_data = sent.windows(data.len()).any(|it| it.eq_ignore_ascii_case(data));
                    prop_assert!(has_data || rtype != RecordType::A);
                }
                Some(Err(why)) => prop_assert!(!why.contains(char::is_control) && why.chars().count() < 300, "{}", why),
            }
        }

        /// Octets of which nothing is known.
        #[test]
        fn any_octets_are_judged(kind in 0..TYPES.len(), sent in vec(any::<u8>(), 0..600)) {
            let (rtype, text) = TYPES[kind];
            let query = query(rtype, Some(text));
            let message = question(query.name.as_name(), rtype, 7);
            // As they are, and as the answer section of a response to the message.
            let with_head = [&answer(&message, rtype, b"")[..HEADER_LEN], &message[HEADER_LEN..], &sent].concat();
            for sent in [&sent, &with_head] {
                prop_assert!(!matches!(judge(&query, &message, sent), Some(Err(why)) if why.contains(char::is_control)));
            }
        }
    }
}
