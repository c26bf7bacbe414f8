//! The HTTP server: few connections, each for one request and with one deadline over all of it.

use super::{SNAPSHOT_WITHIN, Source, pages};
use anyhow::Context;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

/// How many connections there may be. A monitoring system and a hundred peers come one request at a time, each done
/// within milliseconds; each that hangs holds a socket and some 16 KiB.
const CONNECTIONS_MAX: usize = 64;

/// How long a connection may take from accept to close: request, answer and all. More than a far scraper on a bad line
/// needs for a megabyte, and less than the time-out of any scraper.
const REQUEST_WITHIN: Duration = Duration::from_secs(5);

/// How long the request's head may take; it fits one segment.
const HEAD_WITHIN: Duration = Duration::from_secs(2);
const _: () = assert!(HEAD_WITHIN.as_millis() < REQUEST_WITHIN.as_millis());
const _: () = assert!(SNAPSHOT_WITHIN.as_millis() < REQUEST_WITHIN.as_millis());

/// The longest request head in octets: ten times what scrapers send. It is also the least that hyper buffers.
const HEAD_LEN_MAX: usize = 8192;

/// How long an accept that failed, most likely for lack of descriptors, is followed by none.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Bound management addresses.
pub(crate) struct Endpoint {
    listeners: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
}

impl Endpoint {
    /// Binds all addresses; within a tokio runtime.
    ///
    /// # Errors
    /// What the system says, on which address, and what to do about it.
    pub(crate) fn bind(addresses: &[SocketAddr]) -> anyhow::Result<Endpoint> {
        let mut endpoint = Endpoint { listeners: Vec::new(), addresses: Vec::new() };
        for address in addresses {
            let bound = || -> io::Result<(TcpListener, SocketAddr)> {
                let listener = listen(*address)?;
                let address = listener.local_addr()?;
                Ok((listener, address))
            };
            let (listener, address) = bound().with_context(|| advice(*address))?;
            endpoint.listeners.push(listener);
            endpoint.addresses.push(address);
        }
        Ok(endpoint)
    }

    /// Where it listens, with the ports that the kernel chose.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Answers requests for as long as it is polled, within a `LocalSet`.
    ///
    /// When there are as many connections as may be, a new one takes the place of the oldest: an honest request is
    /// answered at once, so who is there for long has nothing to ask.
    pub(crate) async fn serve(&self, source: Source) -> Infallible {
        let mut connections = JoinSet::new();
        let mut oldest_first: VecDeque<AbortHandle> = VecDeque::new();
        let mut turn = 0;
        loop {
            tokio::select! {
                Some(_) = connections.join_next(), if !connections.is_empty() => {
                    oldest_first.retain(|connection| !connection.is_finished());
                }
                accepted = self.accept(turn) => match accepted {
                    Ok(stream) => {
                        if oldest_first.len() == CONNECTIONS_MAX
                            && let Some(oldest) = oldest_first.pop_front()
                        {
                            oldest.abort();
                            tokio::task::yield_now().await; // so that its socket is closed before the next comes
                        }
                        turn = turn.wrapping_add(1);
                        oldest_first.push_back(connections.spawn_local(converse(stream, Rc::clone(&source))));
                    }
                    Err(error) => {
                        tracing::debug!("a management address can't accept a connection: {error}");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }

    /// The next connection of any listener. Each gets its turn to be looked at first, so that a flood at one
    /// address doesn't make the others deaf.
    async fn accept(&self, turn: usize) -> io::Result<TcpStream> {
        poll_fn(|context| {
            let count = self.listeners.len();
            for listener in self.listeners.iter().cycle().skip(turn % count.max(1)).take(count) {
                if let Poll::Ready(accepted) = listener.poll_accept(context) {
                    return Poll::Ready(accepted.map(|(stream, _)| stream));
                }
            }
            Poll::Pending
        })
        .await
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Without it a restarted node would wait for the connections of the last one to leave TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(CONNECTIONS_MAX as i32)?;
    TcpListener::from_std(socket.into())
}

fn advice(address: SocketAddr) -> String {
    format!(
        "cannot listen on {address} for the management; `listen` under [management] must name an address of this host \
         and a port that no other process has (`ss -ltnp 'sport = :{}'` shows which has it)",
        address.port()
    )
}

async fn converse(stream: TcpStream, source: Source) {
    // It only saves time; an answer goes out without it too.
    let _refused = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let source = Rc::clone(&source);
        async move { Ok::<_, Infallible>(pages::answer(&request, &source).await) }
    });
    // One request a connection, so that one deadline bounds everything a slow or hostile client can do.
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .keep_alive(false)
        .max_header_size(HEAD_LEN_MAX)
        .max_buf_size(HEAD_LEN_MAX)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(REQUEST_WITHIN, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!("a client of the management address went away: {error}"),
        Err(_) => tracing::debug!("a client of the management address was too slow"),
    }
}
