//! An endpoint: a server for HTTP on an address of its own, that does what a test wants.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use starling_tests::server::{free_port, own_address};
use starling_tests::tools;

use crate::node::SEEN_WITHIN;

/// How long a client may take to ask.
const ASKS_WITHIN: Duration = Duration::from_secs(2);

/// What it does with a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Manner {
    /// It answers with this status and body.
    Answers(u16, String),
    /// It takes the request and says nothing.
    Hangs,
    /// It says what is no HTTP.
    Babbles,
}

impl Manner {
    pub(crate) fn good() -> Self {
        Self::Answers(200, "all is well".to_owned())
    }
}

/// Addresses for endpoints, all with the same port, which is free on each.
pub(crate) fn addresses<const N: usize>() -> Result<([Ipv4Addr; N], u16)> {
    let addresses = [(); N].map(|()| own_address());
    let port = free_port(*addresses.first().context("at least one")?)?;
    Ok((addresses, port))
}

/// A server that ends with the value.
pub(crate) struct Endpoint {
    address: SocketAddr,
    manner: Arc<Mutex<Manner>>,
    /// Who is served; everybody where there is nobody.
    only: Arc<Mutex<Vec<IpAddr>>>,
    asked: Arc<AtomicUsize>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Endpoint {
    /// A good one.
    pub(crate) fn start(address: Ipv4Addr, port: u16) -> Result<Self> {
        let address = SocketAddr::new(IpAddr::V4(address), port);
        // A child of another test may have a port that was closed for a moment, until it is a program of its own.
        let is_free = || match TcpListener::bind(address) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => Ok(None),
            listener => listener.map(Some).with_context(|| format!("{address}")),
        };
        let listener = tools::poll("the port is free", SEEN_WITHIN, is_free)?;
        let manner = Arc::new(Mutex::new(Manner::good()));
        let (asked, ends) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let (of_thread, count, end) = (Arc::clone(&manner), Arc::clone(&asked), Arc::clone(&ends));
        let only = Arc::<Mutex<Vec<IpAddr>>>::default();
        let served = Arc::clone(&only);
        let thread = std::thread::spawn(move || {
            // What was accepted and is not answered stays open until the end.
            let mut hanging = Vec::new();
            while let Ok((stream, client)) = listener.accept() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                count.fetch_add(1, Ordering::SeqCst);
                let served = served.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if !served.is_empty() && !served.contains(&client.ip()) {
                    continue;
                }
                let manner = of_thread.lock().unwrap_or_else(PoisonError::into_inner).clone();
                hanging.extend(serve(stream, &manner));
            }
        });
        Ok(Self { address, manner, only, asked, ends, thread: Some(thread) })
    }

    /// From now on it does this.
    pub(crate) fn set(&self, manner: Manner) {
        *self.manner.lock().unwrap_or_else(PoisonError::into_inner) = manner;
    }

    /// From now on only these clients are served; others are cut off.
    pub(crate) fn only_for(&self, clients: &[Ipv4Addr]) {
        let mut only = self.only.lock().unwrap_or_else(PoisonError::into_inner);
        *only = clients.iter().copied().map(IpAddr::V4).collect();
    }

    /// How many connections it was asked for.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        // Wakes the thread; where that fails it has ended.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Serves one request; the connection if it is to stay open.
fn serve(mut stream: TcpStream, manner: &Manner) -> Option<TcpStream> {
    stream.set_read_timeout(Some(ASKS_WITHIN)).ok()?;
    let mut request = Vec::new();
    let mut some = [0; 1024];
    // A check that only connects asks nothing.
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut some) {
            Ok(0) | Err(_) => return None,
            Ok(len) => request.extend_from_slice(&some[..len]),
        }
    }
    let text = match manner {
        Manner::Hangs => return Some(stream),
        Manner::Babbles => "220 mail.example ESMTP\r\n".to_owned(),
        Manner::Answers(status, body) => {
            format!("HTTP/1.1 {status} Said\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        }
    };
    // A client that has gone away is no harm.
    drop(stream.write_all(text.as_bytes()));
    None
}
