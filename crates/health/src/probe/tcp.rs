//! Asking over TCP: with a new connection each time, as clients do.

use super::Errand;
use super::question::Judged;
use super::search::{Reply, Way, What};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout_at};

/// A source port that leads to a thread.
pub(super) struct TcpWay {
    /// 0 where any will do.
    port: u16,
    keeps_port: bool,
}

/// Where new ways come from.
pub(super) struct Source {
    /// Whether the port says which thread answers, there being several.
    keeps_port: bool,
}

impl Source {
    pub(super) fn new(threads: u16) -> Source {
        Source { keeps_port: threads > 1 }
    }
}

impl Way for TcpWay {
    type Source = Source;

    fn new(source: &Source, _: &Errand, _: usize) -> Result<TcpWay, String> {
        Ok(TcpWay { port: 0, keeps_port: source.keeps_port })
    }

    async fn ask(mut self, errand: Arc<Errand>) -> Reply<TcpWay> {
        let asked_at = Instant::now();
        let address = errand.address;
        let what = match open(address, self.port) {
            // Somebody else has taken the port since.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && self.port != 0 => {
                return Reply { way: None, took: asked_at.elapsed(), what: What::Blocked };
            }
            Err(error) => What::Refusal(format!("TCP {address}: {error}")),
            Ok(socket) => {
                if self.keeps_port {
                    self.port = socket.local_addr().map_or(0, |local| local.port());
                }
                match timeout_at(errand.deadline, exchange(socket, &errand)).await {
                    Ok(what) => what,
                    Err(_) => {
                        What::Silence(format!("no answer from TCP {address} within {:?}", asked_at.elapsed()))
                    }
                }
            }
        };
        Reply { way: Some(self), took: asked_at.elapsed(), what }
    }
}

fn open(address: SocketAddr, port: u16) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Closing sends a reset, so that the port can be used again at once: five probes a second would otherwise keep
    // 300 connections in TIME_WAIT for each thread.
    socket.set_zero_linger()?;
    socket.set_nodelay(true)?;
    let mut source = address;
    source.set_port(port);
    socket.bind(source)?;
    Ok(socket)
}

/// Connects, asks, and reads the answer.
async fn exchange(socket: TcpSocket, errand: &Errand) -> What {
    let address = errand.address;
    let mut stream = match socket.connect(address).await {
        Ok(stream) => stream,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            return What::Refusal(format!("nobody listens on TCP {address}"));
        }
        Err(error) => return What::Refusal(format!("TCP {address}: {error}")),
    };
    let answer = match read_answer(&mut stream, errand.question.octets()).await {
        Ok(answer) => answer,
        Err(error) => {
            return What::Silence(format!(
                "the connection to TCP {address} ended without an answer: {error}"
            ));
        }
    };
    match errand.question.judge(&answer) {
        Judged::Answer { seat, outcome } => What::Answer(seat, outcome),
        Judged::Stray => What::Silence(format!("the answer from TCP {address} has another identifier")),
    }
}

/// Sends a query and reads one message, of at most 65,535 octets (RFC 1035 §4.2.2).
async fn read_answer(stream: &mut TcpStream, query: &[u8]) -> io::Result<Vec<u8>> {
    let len = query.len() as u16; // a name and an OPT record
    stream.write_all(&[&len.to_be_bytes(), query].concat()).await?;
    let mut prefix = [0; 2];
    stream.read_exact(&mut prefix).await?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(prefix))];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}
