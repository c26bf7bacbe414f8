//! TCP connections to endpoints.

use super::{Fault, Visit, milliseconds};
use crate::config::Measure;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;
use tokio::net::{TcpSocket, TcpStream};

/// Connects to the endpoint, and notes how long that takes where it is taken for the load.
pub(super) async fn connect(visit: &Visit<'_>) -> Result<TcpStream, Fault> {
    visit.await_now("no connection");
    let began = Instant::now();
    let stream = to(visit, visit.at).await?;
    if let Some(Measure::ConnectTime) = visit.measure() {
        visit.note_load(Ok(milliseconds(began.elapsed())));
    }
    Ok(stream)
}

/// Connects to a port of the endpoint.
pub(super) async fn to(visit: &Visit<'_>, at: SocketAddr) -> Result<TcpStream, Fault> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let socket = socket.map_err(|error| no_socket(&error))?;
    if let Some(source) = visit.check.sources.to(at.ip()) {
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
