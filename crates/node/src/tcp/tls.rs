//! The beginning of a connection over TLS.

use super::Shared;
use super::admission::Ticket;
use std::io;
use std::net::IpAddr;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Agrees with the client upon keys; `None` where that came to nothing, or not in the time of a query.
pub(super) async fn shake_hands(
    stream: TcpStream,
    client: IpAddr,
    shared: &Shared,
    ticket: &Ticket,
) -> Option<TlsStream<TcpStream>> {
    // As it is now: a certificate that was renewed is shown from the reload on.
    let identity = shared.transfers.identity()?;
    let accepted = tokio::select! {
        biased;
        () = ticket.evicted() => return None,
        accepted = timeout(shared.limits.transfer_timeout, TlsAcceptor::from(identity.server()).accept(stream)) => {
            accepted.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "it took too long")))
        }
    };
    match accepted {
        Ok(stream) => {
            shared.admission.count_handshake();
            Some(stream)
        }
        Err(error) => {
            shared.admission.count_failed_handshake();
            tracing::debug!("{client}: no TLS handshake: {error}");
            None
        }
    }
}
