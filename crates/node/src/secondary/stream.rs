//! Messages to and from a primary over TCP or TLS (RFC 9103), and what may go wrong with a primary.

use crate::config::{Primary, Tls};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use transfer::incoming::Fault;
use transfer::tsig::Untrusted;
use wire::Rcode;

/// How long a connection may take: three SYN packets are sent in that time.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long a primary may take from one message to the next. It has the zone in memory; after half a minute without a
/// message it is stuck.
const MESSAGE_WITHIN: Duration = Duration::from_secs(30);

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
    /// Memory.
    #[error("the transfers under way have {max} octets in sum, the most there may be; it is tried again")]
    TooMuchAtOnce {
        /// The most there may be.
        max: u64,
    },
    /// TLS, but for something else.
    #[error(
        "it has not agreed to speak DNS over TLS (the ALPN token `dot`); `alpn = false` in its [[tls]] takes it as it is"
    )]
    OtherProtocol,
    /// What it sent.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// What it sent is not signed, or not as it should be.
    #[error("{why}{}", said(*rcode))]
    Untrusted {
        /// Why it is not believed.
        why: Untrusted,
        /// What it says nevertheless.
        rcode: Rcode,
    },
}

impl Failure {
    /// Whether nothing came, so that others need not wait for the same.
    pub(super) fn is_silence(&self) -> bool {
        matches!(self, Failure::Io { .. } | Failure::TooSlow { .. })
    }
}

/// A response code that says why a message is not signed as it should be.
fn said(rcode: Rcode) -> String {
    if rcode == Rcode::NOERROR { String::new() } else { format!("; it answered {rcode}") }
}

pub(super) fn io(doing: &'static str) -> impl Fn(io::Error) -> Failure {
    move |source| Failure::Io { doing, source }
}

/// What messages are sent over.
trait Octets: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Octets for T {}

async fn connect(primary: SocketAddr, source: Option<IpAddr>) -> Result<TcpStream, Failure> {
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
    Ok(stream)
}

async fn handshake(tcp: TcpStream, tls: &Tls, address: IpAddr) -> Result<Box<dyn Octets>, Failure> {
    const DOING: &str = "the TLS handshake";
    let connecting = TlsConnector::from(tls.client()).connect(tls.server_name(address), tcp);
    let stream = timeout(CONNECT_WITHIN, connecting)
        .await
        .map_err(|_| Failure::TooSlow { doing: DOING, within: CONNECT_WITHIN })?
        .map_err(io(DOING))?;
    if !tls.takes(stream.get_ref().1.alpn_protocol()) {
        return Err(Failure::OtherProtocol);
    }
    Ok(Box::new(stream))
}

/// Messages over TCP or TLS, each with its length in front (RFC 1035 §4.2.2).
pub(super) struct Stream {
    stream: Box<dyn Octets>,
    /// The last one received; its memory is kept from one to the next.
    pub(super) message: Vec<u8>,
}

impl Stream {
    /// Connects to a primary, and is sure that it is this one where that is by TLS.
    pub(super) async fn open(primary: &Primary, source: Option<IpAddr>) -> Result<Stream, Failure> {
        let tcp = connect(primary.address, source).await?;
        let stream: Box<dyn Octets> = match &primary.tls {
            Some(tls) => handshake(tcp, tls, primary.address.ip()).await?,
            None => Box::new(tcp),
        };
        Ok(Stream { stream, message: Vec::new() })
    }

    pub(super) async fn send(&mut self, message: &[u8]) -> Result<(), Failure> {
        const DOING: &str = "sending the question over TCP";
        let len = message.len() as u16; // questions have less than a thousand octets, their signature included
        let framed = [&len.to_be_bytes()[..], message].concat();
        let sending = async {
            self.stream.write_all(&framed).await?;
            self.stream.flush().await // TLS keeps back what isn't
        };
        timeout(MESSAGE_WITHIN, sending)
            .await
            .map_err(|_| Failure::TooSlow { doing: DOING, within: MESSAGE_WITHIN })?
            .map_err(io(DOING))
    }

    /// Receives the next message; `before` is how many have come.
    pub(super) async fn receive(&mut self, before: u64) -> Result<(), Failure> {
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
