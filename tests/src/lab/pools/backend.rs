//! The endpoints of the lab's pools: small servers for HTTP at addresses of the PoPs.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::answers::{BACKENDS, Backend};
use super::share::USUAL;
use crate::lab::topology::Topology;
use crate::netns::Namespace;

/// The port that each of them has.
pub const PORT: u16 = 8080;
/// How long a client may take to ask, and to give up.
const ASKS_WITHIN: Duration = Duration::from_secs(2);
/// How often a server looks whether it shall end.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// All of them.
pub struct Backends(Vec<Site>);

/// Where a backend is, and what runs there.
struct Site {
    backend: Backend,
    listen: Box<dyn Fn() -> Result<TcpListener> + Send>,
    server: Option<Server>,
}

impl Backends {
    /// Starts all, each good.
    pub(in crate::lab) fn start(topology: &Topology) -> Result<Self> {
        let mut sites = Vec::new();
        for backend in BACKENDS {
            let pop = &topology.pops[backend.pop];
            let address = backend.address();
            pop.add_address("lo", &format!("{address}/32"))?;
            sites.push(Site { backend, listen: listen_later(pop, address), server: None });
        }
        let mut backends = Self(sites);
        BACKENDS.iter().try_for_each(|backend| backends.revive(*backend))?;
        Ok(backends)
    }

    /// Ends one as a process that dies: its port is closed when this returns. When that was.
    pub fn kill(&mut self, backend: Backend) -> Result<Instant> {
        drop(self.site(backend)?.server.take().context("it runs")?);
        Ok(Instant::now())
    }

    /// Starts it again.
    pub fn revive(&mut self, backend: Backend) -> Result<()> {
        let site = self.site(backend)?;
        site.server = Some(Server::start((site.listen)()?)?);
        Ok(())
    }

    /// Has it take requests and say nothing.
    pub fn hang(&mut self, backend: Backend) -> Result<()> {
        self.hanging(backend).map(|hangs| hangs.store(true, Ordering::SeqCst))
    }

    /// Has it answer again.
    pub fn answer(&mut self, backend: Backend) -> Result<()> {
        self.hanging(backend).map(|hangs| hangs.store(false, Ordering::SeqCst))
    }

    /// Has it report a load, in percent.
    pub fn report(&mut self, backend: Backend, load: u32) -> Result<()> {
        self.site(backend)?.server.as_ref().context("it runs")?.load.store(load, Ordering::SeqCst);
        Ok(())
    }

    fn hanging(&mut self, backend: Backend) -> Result<&AtomicBool> {
        Ok(&self.site(backend)?.server.as_ref().context("it runs")?.hangs)
    }

    fn site(&mut self, backend: Backend) -> Result<&mut Site> {
        self.0.iter_mut().find(|site| site.backend == backend).context("there is such a backend")
    }
}

/// What opens a port in a namespace, whoever calls it.
fn listen_later(namespace: &Namespace, address: Ipv4Addr) -> Box<dyn Fn() -> Result<TcpListener> + Send> {
    let handle = namespace.handle();
    Box::new(move || {
        let handle = handle.clone();
        // The socket stays where the thread was that opened it.
        let opened = thread::spawn(move || {
            crate::netns::enter(&handle)?;
            TcpListener::bind((address, PORT)).with_context(|| format!("{address}"))
        });
        opened.join().map_err(|_| anyhow!("opening the port of {address} panicked"))?
    })
}

/// A server; its port is closed when it is dropped.
struct Server {
    hangs: Arc<AtomicBool>,
    load: Arc<AtomicU32>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(listener: TcpListener) -> Result<Self> {
        // Who has gone before he is taken in leaves nobody to wait for.
        listener.set_nonblocking(true)?;
        let (hangs, ends) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let load = Arc::new(AtomicU32::new(USUAL));
        let (of_thread, loaded, end) = (Arc::clone(&hangs), Arc::clone(&load), Arc::clone(&ends));
        let thread = thread::spawn(move || {
            while !end.load(Ordering::SeqCst) {
                let _ = poll(&mut [PollFd::new(&listener, PollFlags::IN)], Some(&LOOK_EVERY));
                while let Ok((stream, _)) = listener.accept() {
                    let (hangs, load) = (Arc::clone(&of_thread), Arc::clone(&loaded));
                    // One whose way is cut must not keep the others waiting. Each ends after twice `ASKS_WITHIN` at
                    // the latest.
                    thread::spawn(move || serve(stream, &hangs, &load));
                }
            }
        });
        Ok(Self { hangs, load, ends, thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Serves one request. A connection that fails is no harm: the client is gone, or its way is cut.
fn serve(mut stream: TcpStream, hangs: &AtomicBool, load: &AtomicU32) -> Option<()> {
    stream.set_nonblocking(false).ok()?;
    stream.set_read_timeout(Some(ASKS_WITHIN)).ok()?;
    let mut request = Vec::new();
    let mut some = [0; 1024];
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut some) {
            Ok(0) | Err(_) => return None,
            Ok(len) => request.extend_from_slice(&some[..len]),
        }
    }
    if hangs.load(Ordering::SeqCst) {
        // Until the client gives up.
        return stream.read(&mut some).ok().map(drop);
    }
    stream.write_all(response(load.load(Ordering::SeqCst)).as_bytes()).ok()
}

/// What a good one says that has this load.
fn response(load: u32) -> String {
    format!("HTTP/1.1 200 OK\r\nx-load: {load}\r\ncontent-length: 3\r\n\r\nok\n")
}
