//! What a connection is made of: TCP, or TLS over it.

use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

/// How long the last words of TLS may take: some 30 octets that the socket nearly always has room for.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// A stream of octets over TCP.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin {
    /// Whether it is TLS.
    const BY_TLS: bool;

    /// The socket beneath.
    fn socket(&self) -> &TcpStream;

    /// Says that nothing more comes, where the protocol has words for it.
    async fn close(&mut self);
}

impl Stream for TcpStream {
    const BY_TLS: bool = false;

    fn socket(&self) -> &TcpStream {
        self
    }

    /// Closing says it.
    async fn close(&mut self) {}
}

impl Stream for TlsStream<TcpStream> {
    const BY_TLS: bool = true;

    fn socket(&self) -> &TcpStream {
        self.get_ref().0
    }

    /// Without it the client can't tell an end from a connection that somebody else has cut (RFC 8446 §6.1).
    async fn close(&mut self) {
        // A client that is gone, or takes nothing, need not be told.
        let _said = timeout(CLOSE_WITHIN, self.shutdown()).await;
    }
}
