//! What is asked of a primary, and answered: the SOA record, and transfers.

use super::budget::Share;
use super::stream::{Failure, Stream, io};
use crate::config::{Primary, SecondaryConfig};
use crate::transfers::now;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout, timeout_at};
use transfer::Soa;
use transfer::incoming::{Fault, Incoming, Limits, Progress};
use transfer::request::{SoaAnswer, question, read_soa};
use transfer::tsig::{Verifier, sign_request};
use wire::message::u16_at;
use wire::{NameBuf, Rcode, RecordType};

/// How long each datagram with a question may wait for its answer. The first is lost now and then; a primary on the other
/// side of the world answers within 0.4 s. Longer would have a round wait for a dead primary, shorter ask a slow one twice.
const UDP_ATTEMPTS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];
/// How long a question over TCP may take, from the connection to the answer. A frozen primary still has its connections
/// accepted, by the kernel.
const TCP_ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The largest datagram that an answer without EDNS comes in, and more, so that a longer one is not taken for a cut one.
const DATAGRAM_MAX: usize = 4096;

/// A question, signed if the primary has a key, and what its answers are checked with then.
struct Question {
    message: Vec<u8>,
    verifier: Option<Verifier>,
}

impl Question {
    fn new(mut message: Vec<u8>, primary: &Primary) -> Question {
        let verifier = primary.key.as_ref().map(|key| sign_request(&mut message, key, now()));
        Question { message, verifier }
    }

    /// Checks the signature of the next message that answers it; what is left out is one that may be, so far.
    fn check(&mut self, answer: &[u8]) -> Result<(), Failure> {
        let Some(verifier) = &mut self.verifier else { return Ok(()) };
        let rcode = Rcode(u16_at(answer, 2).unwrap_or_default() & 0xf);
        verifier.verify(answer, now()).map(|_| ()).map_err(|why| Failure::Untrusted { why, rcode })
    }

    /// Whether all messages were signed, those included that were not each signed themselves.
    fn finish(&self) -> Result<(), Failure> {
        let Some(verifier) = &self.verifier else { return Ok(()) };
        verifier.finish().map_err(|why| Failure::Untrusted { why, rcode: Rcode::NOERROR })
    }
}

/// Asks a primary for its SOA record: over UDP, and over TCP if that gives no answer, half of one, or one that is not to be
/// trusted: anybody may have sent that.
pub(super) async fn ask_soa(
    zone: &NameBuf,
    primary: &Primary,
    config: &SecondaryConfig,
) -> Result<Soa, Failure> {
    let source = config.sources.to(primary.address.ip());
    let asked = match primary.tls {
        None => ask_over_udp(zone, primary, source).await,
        // Nobody else is to know of it, or to answer (RFC 9103 §6.1).
        Some(_) => Ok(SoaAnswer::Truncated),
    };
    match asked {
        Ok(SoaAnswer::Soa(soa)) => Ok(soa),
        // An error is an answer; only silence and truncation call for another way to ask. Knot refuses everything that is asked
        // of a catalog zone over UDP, and answers over TCP.
        Err(Failure::Fault(fault)) if fault != Fault::Refused(Rcode::REFUSED) => Err(fault.into()),
        Ok(SoaAnswer::Truncated) | Err(_) => {
            timeout(TCP_ANSWER_WITHIN, ask_over_tcp(zone, primary, source)).await.unwrap_or(Err(
                Failure::TooSlow { doing: "asking for the SOA record over TCP", within: TCP_ANSWER_WITHIN },
            ))
        }
    }
}

async fn ask_over_udp(
    zone: &NameBuf,
    primary: &Primary,
    source: Option<IpAddr>,
) -> Result<SoaAnswer, Failure> {
    const DOING: &str = "asking for the SOA record over UDP";
    let is_ipv4 = primary.address.is_ipv4();
    let any = if is_ipv4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // The kernel picks a port at random, and takes datagrams from the primary alone (RFC 5452 §9.2, §9.1).
    let socket = UdpSocket::bind((source.unwrap_or(any), 0)).await.map_err(io("binding the `source`"))?;
    socket.connect(primary.address).await.map_err(io(DOING))?;
    let id = fastrand::u16(..);
    let mut query = Question::new(question(zone.as_name(), RecordType::SOA, id), primary);
    let mut buffer = vec![0; DATAGRAM_MAX];
    let mut untrusted = None;
    for within in UDP_ATTEMPTS {
        socket.send(&query.message).await.map_err(io(DOING))?;
        let deadline = Instant::now() + within;
        while let Ok(received) = timeout_at(deadline, socket.recv(&mut buffer)).await {
            let len = received.map_err(io(DOING))?;
            let answer = read_soa(&buffer[..len], zone.as_name(), id);
            match query.check(&buffer[..len]) {
                // The answer to an earlier question, or a forger's: the right one may follow.
                _ if answer == Err(Fault::NotTheAnswer) => {}
                Ok(()) => return Ok(answer?),
                Err(failure) => untrusted = Some(failure),
            }
        }
        if let Some(failure) = untrusted {
            return Err(failure); // a second one would be as good
        }
    }
    Err(Failure::TooSlow { doing: DOING, within: UDP_ATTEMPTS.iter().sum() })
}

async fn ask_over_tcp(zone: &NameBuf, primary: &Primary, source: Option<IpAddr>) -> Result<Soa, Failure> {
    let id = fastrand::u16(..);
    let mut query = Question::new(question(zone.as_name(), RecordType::SOA, id), primary);
    let mut stream = Stream::open(primary, source).await?;
    stream.send(&query.message).await?;
    stream.receive(0).await?;
    query.check(&stream.message)?;
    match read_soa(&stream.message, zone.as_name(), id)? {
        SoaAnswer::Soa(soa) => Ok(soa),
        SoaAnswer::Truncated => Err(Fault::Truncated.into()),
    }
}

/// Transfers a zone from a primary: as a whole (RFC 5936), or what has changed since the version with the serial `since`
/// (RFC 1995). The result is complete; with a failure goes the serial of what was on its way, if that is known.
pub(super) async fn transfer(
    zone: &NameBuf,
    primary: &Primary,
    config: &SecondaryConfig,
    since: Option<u32>,
    share: &mut Share,
) -> Result<Incoming, (Failure, Option<u32>)> {
    let within = config.transfer_timeout;
    let limits = Limits { octets_max: config.transfer_max };
    let id = fastrand::u16(..);
    let mut incoming = match since {
        Some(serial) => Incoming::since(zone.as_name(), serial, id, limits),
        None => Incoming::new(zone.as_name(), id, limits),
    };
    let transferring = async {
        let mut query = Question::new(incoming.question(), primary);
        let mut stream = Stream::open(primary, config.sources.to(primary.address.ip())).await?;
        stream.send(&query.message).await?;
        loop {
            stream.receive(incoming.counts().0).await?;
            query.check(&stream.message)?;
            share.take(stream.message.len() as u64, config.transfer_max)?;
            if incoming.take(&stream.message)? == Progress::Complete {
                return query.finish();
            }
            // A fast primary always has the next message there: others on this thread get their turn all the same.
            tokio::task::yield_now().await;
        }
    };
    let too_slow = Failure::TooSlow { doing: "transferring the zone as a whole", within };
    match timeout(within, transferring).await.unwrap_or(Err(too_slow)) {
        Ok(()) => Ok(incoming),
        Err(failure) => Err((failure, incoming.soa().map(|soa| soa.serial))),
    }
}
