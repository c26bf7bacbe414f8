//! What goes over the network between a secondary and a primary.

use crate::config::SecondaryConfig;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::time::{Instant, timeout, timeout_at};
use transfer::Soa;
use transfer::incoming::{Fault, Incoming, Limits, Progress};
use transfer::request::{SoaAnswer, question, read_soa};
use wire::{NameBuf, RecordType};

/// How long each datagram with a question may wait for its answer. The first is lost now and then; a primary on the other
/// side of the world answers within 0.4 s. Longer would have a round wait for a dead primary, shorter ask a slow one twice.
const UDP_ATTEMPTS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];
/// How long a question over TCP may take, from the connection to the answer. A frozen primary still has its connections
/// accepted, by the kernel.
const TCP_ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long a connection may take: three SYN packets are sent in that time.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long a primary may take from one message to the next. It has the zone in memory; after half a minute without a
/// message it is stuck.
const MESSAGE_WITHIN: Duration = Duration::from_secs(30);
/// The largest datagram that an answer without EDNS comes in, and more, so that a longer one is not taken for a cut one.
const DATAGRAM_MAX: usize = 4096;

/// Why a primary was of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The network, or this machine.
    #[error("{doing}: {source}")]
    Io {
        /// While doing what.
        doing: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Time.
    #[error("{doing}: nothing within {} s", within.as_secs_f32())]
    TooSlow {
        /// While doing what.
        doing: &'static str,
        /// How long it was given.
        within: Duration,
    },
    /// The connection was closed before the end.
    #[error("the primary closed the connection after {messages} messages, in the middle of the transfer")]
    CutOff {
        /// Whole messages before.
        messages: u64,
    },
    /// What it sent.
    #[error(transparent)]
    Fault(#[from] Fault),
}

fn io(doing: &'static str) -> impl Fn(io::Error) -> Failure {
    move |source| Failure::Io { doing, source }
}

/// Asks a primary for its SOA record: over UDP, and over TCP if that gives no answer or half of one.
pub(super) async fn ask_soa(
    zone: &NameBuf,
    primary: SocketAddr,
    config: &SecondaryConfig,
) -> Result<Soa, Failure> {
    let source = config.source_for(primary);
    match ask_over_udp(zone, primary, source).await {
        Ok(SoaAnswer::Soa(soa)) => Ok(soa),
        // A refusal is an answer; only silence and truncation call for another way to ask.
        Err(Failure::Fault(fault)) => Err(fault.into()),
        Ok(SoaAnswer::Truncated) | Err(_) => {
            timeout(TCP_ANSWER_WITHIN, ask_over_tcp(zone, primary, source)).await.unwrap_or(Err(
                Failure::TooSlow { doing: "asking for the SOA record over TCP", within: TCP_ANSWER_WITHIN },
            ))
        }
    }
}

async fn ask_over_udp(
    zone: &NameBuf,
    primary: SocketAddr,
    source: Option<IpAddr>,
) -> Result<SoaAnswer, Failure> {
    const DOING: &str = "asking for the SOA record over UDP";
    let any = if primary.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // The kernel picks a port at random, and takes datagrams from the primary alone (RFC 5452 §9.2, §9.1).
    let socket = UdpSocket::bind((source.unwrap_or(any), 0)).await.map_err(io("binding the `source`"))?;
    socket.connect(primary).await.map_err(io(DOING))?;
    let id = fastrand::u16(..);
    let query = question(zone.as_name(), RecordType::SOA, id);
    let mut buffer = vec![0; DATAGRAM_MAX];
    for within in UDP_ATTEMPTS {
        socket.send(&query).await.map_err(io(DOING))?;
        let deadline = Instant::now() + within;
        while let Ok(received) = timeout_at(deadline, socket.recv(&mut buffer)).await {
            let len = received.map_err(io(DOING))?;
            match read_soa(&buffer[..len], zone.as_name(), id) {
                // The answer to an earlier question, or a forger's: the right one may follow.
                Err(Fault::NotTheAnswer) => {}
                answer => return Ok(answer?),
            }
        }
    }
    Err(Failure::TooSlow { doing: DOING, within: UDP_ATTEMPTS.iter().sum() })
}

async fn ask_over_tcp(zone: &NameBuf, primary: SocketAddr, source: Option<IpAddr>) -> Result<Soa, Failure> {
    let id = fastrand::u16(..);
    let mut stream = Stream::open(primary, source).await?;
    stream.send(&question(zone.as_name(), RecordType::SOA, id)).await?;
    stream.receive(0).await?;
    match read_soa(&stream.message, zone.as_name(), id)? {
        SoaAnswer::Soa(soa) => Ok(soa),
        SoaAnswer::Truncated => Err(Fault::Truncated.into()),
    }
}

/// Transfers a zone from a primary (RFC 5936); the result is complete.
pub(super) async fn transfer(
    zone: &NameBuf,
    primary: SocketAddr,
    config: &SecondaryConfig,
) -> Result<Incoming, Failure> {
    let within = config.transfer_timeout;
    let transferring = async {
        let limits = Limits { octets_max: config.transfer_max };
        let mut incoming = Incoming::new(zone.as_name(), fastrand::u16(..), limits);
        let mut stream = Stream::open(primary, config.source_for(primary)).await?;
        stream.send(&incoming.question()).await?;
        loop {
            stream.receive(incoming.counts().0).await?;
            if incoming.take(&stream.message)? == Progress::Complete {
                return Ok(incoming);
            }
            // A fast primary always has the next message there: others on this thread get their turn all the same.
            tokio::task::yield_now().await;
        }
    };
    timeout(within, transferring)
        .await
        .unwrap_or(Err(Failure::TooSlow { doing: "transferring the zone as a whole", within }))
}

/// Messages over TCP, each with its length in front (RFC 1035 §4.2.2).
struct Stream {
    stream: TcpStream,
    /// The last one received; its memory is kept from one to the next.
    message: Vec<u8>,
}

impl Stream {
    async fn open(primary: SocketAddr, source: Option<IpAddr>) -> Result<Stream, Failure> {
        const DOING: &str = "connecting over TCP";
        let socket = if primary.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        let socket = socket.map_err(io(DOING))?;
        if let Some(source) = source {
            socket.bind(SocketAddr::new(source, 0)).map_err(io("binding the `source`"))?;
        }
        let stream = timeout(CONNECT_WITHIN, socket.connect(primary))
            .await
            .map_err(|_| Failure::TooSlow { doing: DOING, within: CONNECT_WITHIN })?
            .map_err(io(DOING))?;
        // The question is written whole; without this it only might be late.
        let _slower_otherwise = stream.set_nodelay(true);
        Ok(Stream { stream, message: Vec::new() })
    }

    async fn send(&mut self, message: &[u8]) -> Result<(), Failure> {
        const DOING: &str = "sending the question over TCP";
        let len = message.len() as u16; // questions have at most 271 octets
        let framed = [&len.to_be_bytes()[..], message].concat();
        timeout(MESSAGE_WITHIN, self.stream.write_all(&framed))
            .await
            .map_err(|_| Failure::TooSlow { doing: DOING, within: MESSAGE_WITHIN })?
            .map_err(io(DOING))
    }

    /// Receives the next message; `before` is how many have come.
    async fn receive(&mut self, before: u64) -> Result<(), Failure> {
        const DOING: &str = "waiting for the next message";
        let receiving = async {
            let len = usize::from(self.stream.read_u16().await?);
            self.message.resize(len, 0);
            self.stream.read_exact(&mut self.message).await.map(|_| ())
        };
        match timeout(MESSAGE_WITHIN, receiving).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(Failure::CutOff { messages: before })
            }
            Ok(Err(source)) => Err(Failure::Io { doing: DOING, source }),
            Err(_) => Err(Failure::TooSlow { doing: DOING, within: MESSAGE_WITHIN }),
        }
    }
}
