//! The kinds of checks: what each finds of real endpoints, and of such as lie, fail and come back.

mod certificates;
mod commands;
mod dns;
mod echo;
mod files;
mod grpc;
mod hostile;
mod http;
mod http2;
mod times;

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result};

use crate::node::{FALL, pool};

/// A pool of one endpoint, with this check.
fn checked(name: &str, address: Ipv4Addr, keys: &str) -> String {
    let check = format!(
        "check = {{ {keys}, interval-ms = 50, timeout-ms = 1500, rise = 1, fall = {FALL}, jitter-percent = 20 }}"
    );
    pool(name, &format!("\"{name}.example.com\""), &check, &[(address, 1)])
}

/// Pools named `p0`, `p1`, … with these checks of one address.
fn all_checked(address: Ipv4Addr, checks: &[&str]) -> String {
    checks.iter().enumerate().map(|(index, keys)| checked(&format!("p{index}"), address, keys)).collect()
}

/// A listener at a port that the kernel chooses, and where that is.
pub(crate) fn listen(address: Ipv4Addr) -> Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((address, 0)).with_context(|| address.to_string())?;
    let at = listener.local_addr()?;
    Ok((listener, at))
}

/// A server that does with each connection what a test wants. It ends with the value, and its connections with their other ends.
pub(crate) struct Fake {
    at: SocketAddr,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Fake {
    pub(crate) fn start(
        listener: TcpListener,
        serve: impl Fn(TcpStream) + Send + Sync + 'static,
    ) -> Result<Self> {
        let at = listener.local_addr()?;
        let (ends, serve) = (Arc::<AtomicBool>::default(), Arc::new(serve));
        let end = Arc::clone(&ends);
        let thread = std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let serve = Arc::clone(&serve);
                std::thread::spawn(move || serve(stream));
            }
        });
        Ok(Self { at, ends, thread: Some(thread) })
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        // Wakes the thread; where that fails it has ended.
        drop(TcpStream::connect(self.at));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
