//! TCP connections to endpoints.

use super::{Fault, Visit};
use std::io;
use std::net::{IpAddr, SocketAddr};
use tokio::net::{TcpSocket, TcpStream};

/// Connects to the endpoint.
pub(super) async fn connect(visit: &Visit<'_>) -> Result<TcpStream, Fault> {
    visit.await_now("no connection");
    let at = visit.at;
    let socket = if at.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let socket = socket.map_err(|error| no_socket(&error))?;
    if let Some(source) = visit.check.source_for(at.ip()) {
        socket.bind(SocketAddr::new(source, 0)).map_err(|error| no_source(source, &error))?;
    }
    socket.connect(at).await.map_err(|error| Fault::Bad(format!("no connection: {error}")))
}

/// This machine has no socket for a look.
pub(super) fn no_socket(error: &io::Error) -> Fault {
    Fault::Blind(format!("this node can't open a socket: {error}"))
}

/// This machine can't ask from the address that is configured.
pub(super) fn no_source(source: IpAddr, error: &io::Error) -> Fault {
    Fault::Blind(format!("this node can't ask from {source}, its `source`: {error}"))
}
