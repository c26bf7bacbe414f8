//! One connection: queries in, answers out, each with its length in front (RFC 1035 §4.2.2, RFC 7766 §8).

use super::admission::Ticket;
use super::stream::{Channel, Stream};
use super::{Answering, Shared, padding};
use bytes::{Buf, BufMut, BytesMut};
use nameserver::{Family, Transport};
use std::io;
use std::net::IpAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::unconstrained;
use tokio::time::{Instant, timeout, timeout_at};
use transfer::outgoing;

/// Octets of the length in front of each message.
pub(super) const PREFIX: usize = 2;

/// How much room a read gets. A query has some 50 octets, so this holds what a resolver pipelines at once; the buffer grows
/// with the octets that are really there, up to one whole message and one read.
const READ_LEN: usize = 2048;

/// Answers are sent together until there are this many octets of them. Larger blocks would let a client that
/// pipelines many queries have more memory and keep others waiting; smaller ones cost more system calls.
const FLUSH_FROM: usize = 16 << 10;

/// By how much connections are hurried when they are becoming scarce (RFC 7766 §6.2.3).
const SCARCE_DIVISOR: u32 = 10;

/// What is at the start of the octets received.
#[derive(PartialEq, Eq, Debug)]
enum Frame {
    /// Not yet a whole message.
    Incomplete,
    /// A message of no octets, which no client that knows DNS sends.
    Empty,
    /// A message of so many octets after its length.
    Whole(usize),
}

fn frame(received: &[u8]) -> Frame {
    let Some(&[high, low]) = received.first_chunk::<PREFIX>() else { return Frame::Incomplete };
    match usize::from(u16::from_be_bytes([high, low])) {
        0 => Frame::Empty,
        len if received.len() < PREFIX + len => Frame::Incomplete,
        len => Frame::Whole(len),
    }
}

/// What remains to do after answering.
#[derive(PartialEq, Eq, Debug)]
enum Next {
    /// More queries are there, and enough answers to send first.
    Answer,
    /// Everything is answered.
    Read,
    /// A request for a transfer is next, of so many octets after its length.
    Transfer(usize),
    /// The client doesn't speak DNS.
    Close,
}

/// Answers queries until the client, a limit or the end of the node closes the connection.
pub(super) async fn serve<S: Stream>(mut stream: S, client: IpAddr, shared: &Shared, ticket: &Ticket) {
    let mut connection = Connection {
        input: BytesMut::new(),
        output: BytesMut::new(),
        query_began: None,
        client,
        family: if client.is_ipv4() { Family::V4 } else { Family::V6 },
        channel: stream.channel(),
        shared,
        ticket,
    };
    // An error of the connection is the client's affair; it needs no more than closing.
    if connection.run(&mut stream).await.is_ok() {
        stream.close().await;
    }
}

pub(super) struct Connection<'s> {
    input: BytesMut,
    pub(super) output: BytesMut,
    /// When the first octet of a query was seen that isn't complete yet.
    query_began: Option<Instant>,
    pub(super) client: IpAddr,
    pub(super) family: Family,
    pub(super) channel: Channel,
    pub(super) shared: &'s Shared,
    ticket: &'s Ticket,
}

impl Connection<'_> {
    async fn run<S: Stream>(&mut self, stream: &mut S) -> io::Result<()> {
        loop {
            let received = self.input.len();
            let next = answer(
                &mut self.shared.answering.borrow_mut(),
                (self.client, self.channel),
                &mut self.input,
                &mut self.output,
            );
            if self.input.len() < received {
                self.query_began = None; // what is left belongs to another query
            }
            self.flush(stream).await?;
            match next {
                // Others on this thread get their turn, however many queries one client sends at once.
                Next::Answer => tokio::task::yield_now().await,
                Next::Transfer(len) => {
                    self.query_began = None;
                    let request = self.input.split_to(PREFIX + len);
                    self.transfer(stream, &request[PREFIX..]).await?;
                }
                Next::Close => return Ok(()),
                Next::Read => {
                    if !self.read(stream).await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Sends the answers; a client that doesn't take them in time is cut off.
    pub(super) async fn flush<S: Stream>(&mut self, stream: &mut S) -> io::Result<()> {
        if self.output.is_empty() {
            return Ok(());
        }
        let write = async {
            stream.write_all_buf(&mut self.output).await?;
            stream.flush().await
        };
        let Ok(written) = timeout(self.shared.limits.transfer_timeout, write).await else {
            self.shared.admission.count_slow();
            // Answers that wait in the kernel would be kept for a client that doesn't read them.
            let _closed_all_the_same = stream.socket().set_zero_linger();
            return Err(io::ErrorKind::TimedOut.into());
        };
        written?;
        if self.output.capacity() > 2 * FLUSH_FROM {
            self.output = BytesMut::new(); // one long answer shall not keep its memory
        }
        Ok(())
    }

    /// Waits for more octets; `false` when the connection is to be closed.
    async fn read<S: Stream>(&mut self, stream: &mut S) -> io::Result<bool> {
        let mut stop = self.shared.stop.clone();
        let ending = *stop.borrow_and_update();
        let mut deadline = self.deadline();
        if let Some(ending) = ending {
            if ending.is_due() {
                return self.read_rest(stream).await;
            }
            deadline = deadline.min(ending.deadline(self.input.is_empty()));
        }
        if self.input.is_empty() && self.input.capacity() > 2 * READ_LEN {
            self.input = BytesMut::new();
        }
        self.input.reserve(READ_LEN);
        tokio::select! {
            biased;
            // An error means that the service itself is gone: what has arrived is the last.
            changed = stop.changed() => if changed.is_ok() { Ok(true) } else { self.read_rest(stream).await },
            () = self.ticket.evicted() => Ok(false),
            read = timeout_at(deadline, stream.read_buf(&mut self.input)) => match read {
                Ok(read) => {
                    self.ticket.busy();
                    Ok(read? > 0)
                }
                Err(_) if ending.is_some() => self.read_rest(stream).await,
                Err(_) if self.query_began.is_some() => {
                    self.shared.admission.count_slow();
                    Ok(false)
                }
                Err(_) => {
                    self.shared.admission.count_idle();
                    Ok(false)
                }
            },
        }
    }

    /// Until when to wait for octets: for the rest of a query from when it began, however slowly it trickles in.
    fn deadline(&mut self) -> Instant {
        let now = Instant::now();
        if self.input.is_empty() {
            self.query_began = None;
            self.ticket.quiet();
            return now + self.idle_timeout();
        }
        *self.query_began.get_or_insert(now) + self.shared.limits.transfer_timeout
    }

    fn idle_timeout(&self) -> Duration {
        let timeout = self.shared.limits.idle_timeout;
        if self.shared.admission.is_scarce() { timeout / SCARCE_DIVISOR } else { timeout }
    }

    /// Takes what has already arrived, for the last answers; `false` when that is all answered.
    async fn read_rest<S: Stream>(&mut self, stream: &mut S) -> io::Result<bool> {
        self.input.reserve(READ_LEN);
        tokio::select! {
            biased;
            // Whatever this task has done before: a read that is put off would look like one that has nothing.
            read = unconstrained(stream.read_buf(&mut self.input)) => Ok(read? > 0),
            () = std::future::ready(()) => Ok(false),
        }
    }
}

/// Answers the queries in `input` until it has no whole one left, or there is enough to send.
fn answer(
    answering: &mut Answering,
    (peer, channel): (IpAddr, Channel),
    input: &mut BytesMut,
    output: &mut BytesMut,
) -> Next {
    answering.responder.refresh();
    answering.keyring.refresh();
    answering.responder.expect_family(if peer.is_ipv4() { Family::V4 } else { Family::V6 });
    answering.responder.expect_client(Some(peer));
    let next = answer_all(answering, (peer, channel), input, output);
    answering.responder.publish_counts();
    next
}

fn answer_all(
    answering: &mut Answering,
    (peer, channel): (IpAddr, Channel),
    input: &mut BytesMut,
    output: &mut BytesMut,
) -> Next {
    let Answering { responder, keyring, notices, response } = answering;
    while output.len() < FLUSH_FROM {
        let len = match frame(input) {
            Frame::Incomplete => return Next::Read,
            Frame::Empty => return Next::Close,
            Frame::Whole(len) => len,
        };
        if outgoing::is_request(&input[PREFIX..PREFIX + len]) {
            return Next::Transfer(len);
        }
        let query = &input[PREFIX..PREFIX + len];
        let mut answer_len = if keyring.is_for(query) {
            keyring.respond(responder, query, Transport::Tcp, response)
        } else {
            responder.respond(query, Transport::Tcp, response)
        };
        if answer_len == 0
            && responder.take_notifies() > 0
            && let Some(notices) = notices
        {
            let rcode;
            (answer_len, rcode) = notices.answer(query, peer, keyring, response);
            if answer_len > 0 {
                responder.count_response(rcode);
            }
        }
        // What is in the clear tells more than its length.
        if channel != Channel::Clear && answer_len > 0 {
            answer_len = padding::pad(query, response, answer_len);
        }
        input.advance(PREFIX + len);
        if answer_len > 0 {
            output.put_u16(answer_len as u16); // `response` has 65,535 octets
            output.put_slice(&response[..answer_len]);
        }
    }
    Next::Answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfers::Keyring;
    use nameserver::{Counters, Responder, Settings};
    use std::sync::Arc;
    use table::publish::Publisher;
    use wire::probe::Seat;

    const CLIENT: (IpAddr, Channel) = (IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), Channel::Clear);

    fn answering() -> Answering {
        let reader = Publisher::new().reader();
        let (settings, counters) = (Arc::new(Settings::default()), Arc::new(Counters::default()));
        let responder = Responder::new(reader, settings, counters, Seat::TcpThread(0));
        Answering {
            responder,
            keyring: Keyring::default(),
            notices: None,
            response: vec![0; 65_535].into_boxed_slice(),
        }
    }

    fn framed(id: u8) -> Vec<u8> {
        let mut query = vec![0, 17, 0, id, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        query.extend(b"\x00\x00\x01\x00\x01");
        query
    }

    #[test]
    fn frames_are_found_at_any_segmentation() {
        let whole = [framed(1), framed(2)].concat();
        let mut expected = BytesMut::new();
        answer(&mut answering(), CLIENT, &mut BytesMut::from(&whole[..]), &mut expected);
        assert!(!expected.is_empty());
        for cut in 0..whole.len() {
            let (mut input, mut output, mut answering) = (BytesMut::new(), BytesMut::new(), answering());
            for part in [&whole[..cut], &whole[cut..]] {
                input.extend_from_slice(part);
                assert_eq!(answer(&mut answering, CLIENT, &mut input, &mut output), Next::Read);
            }
            assert!(input.is_empty());
            assert_eq!(output, expected, "cut at {cut}");
        }
    }

    #[test]
    fn an_empty_message_ends_the_connection_after_the_answers_before_it() {
        let mut input = BytesMut::from(&[framed(1), vec![0, 0], framed(2)].concat()[..]);
        let mut output = BytesMut::new();
        assert_eq!(answer(&mut answering(), CLIENT, &mut input, &mut output), Next::Close);
        assert_eq!(output[3], 1);
        assert_eq!(usize::from(u16::from_be_bytes([output[0], output[1]])), output.len() - PREFIX);
    }

    #[test]
    fn responses_get_no_answer_and_the_next_query_does() {
        let mut response = framed(1);
        response[4] |= 0x80;
        let mut input = BytesMut::from(&[response, framed(2)].concat()[..]);
        let mut output = BytesMut::new();
        assert_eq!(answer(&mut answering(), CLIENT, &mut input, &mut output), Next::Read);
        assert_eq!(output[3], 2);
        assert_eq!(usize::from(u16::from_be_bytes([output[0], output[1]])), output.len() - PREFIX);
    }

    #[test]
    fn answers_are_sent_before_there_are_too_many() {
        let mut input = BytesMut::from(&framed(1).repeat(10_000)[..]);
        let mut output = BytesMut::new();
        assert_eq!(answer(&mut answering(), CLIENT, &mut input, &mut output), Next::Answer);
        assert!((FLUSH_FROM..2 * FLUSH_FROM).contains(&output.len()));
        assert!(!input.is_empty());
    }
}
