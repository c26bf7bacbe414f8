//! What a connection is made of: TCP, or TLS over it.

use crate::config::ALPN;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

/// How long the last words of TLS may take: some 30 octets that the socket nearly always has room for.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// Whether others can read what is said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Channel {
    /// Whoever is between can.
    Clear,
    /// Nobody can, but client and server have not agreed upon what they speak: enough for queries (RFC 7858 knows of no such
    /// agreement), and not for transfers (RFC 9103 §7.1).
    Tls,
    /// Nobody can, and DNS is spoken.
    DnsOverTls,
}

/// A stream of octets over TCP.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin {
    /// Whether others can read it.
    fn channel(&self) -> Channel;

    /// The socket beneath.
    fn socket(&self) -> &TcpStream;

    /// Says that nothing more comes, where the protocol has words for it.
    async fn close(&mut self);
}

impl Stream for TcpStream {
    fn channel(&self) -> Channel {
        Channel::Clear
    }

    fn socket(&self) -> &TcpStream {
        self
    }

    /// Closing says it.
    async fn close(&mut self) {}
}

impl Stream for TlsStream<TcpStream> {
    fn channel(&self) -> Channel {
        // The server offers this alone: anything else would have ended the handshake.
        if self.get_ref().1.alpn_protocol() == Some(ALPN) { Channel::DnsOverTls } else { Channel::Tls }
    }

    fn socket(&self) -> &TcpStream {
        self.get_ref().0
    }

    /// Without it the client can't tell an end from a connection that somebody else has cut (RFC 8446 §6.1).
    async fn close(&mut self) {
        // A client that is gone, or takes nothing, need not be told.
        let _said = timeout(CLOSE_WITHIN, self.shutdown()).await;
    }
}
