//! A client that asks for one host after the other, a few hundred times a second, and notes how long each answer took.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use starling_tests::name::Name;
use starling_tests::query::Query;

use super::TYPE_A;
use crate::site::ZONE;

/// Between an answer and the next query: some 400 a second, so that 4 of them are above the 99th percentile.
const PAUSE: Duration = Duration::from_millis(2);
/// What has not come by then is lost.
const LOST_AFTER: Duration = Duration::from_secs(2);

/// What it has seen since it was last asked.
#[derive(Default, Debug)]
pub(super) struct Times {
    /// How long answers took.
    pub(super) micros: Vec<u32>,
    /// Queries without an answer, or with one that has no address.
    pub(super) lost: u32,
}

pub(super) struct Light {
    ends: Arc<AtomicBool>,
    times: Arc<Mutex<Times>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Light {
    /// Begins to ask for the hosts below this number.
    pub(super) fn start(server: SocketAddr, hosts: usize) -> Result<Self> {
        let (ends, times) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Times::default())));
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(LOST_AFTER))?;
        let thread = thread::spawn({
            let (ends, times) = (ends.clone(), times.clone());
            move || ask(&socket, hosts, &ends, &times)
        });
        Ok(Self { ends, times, thread: Some(thread) })
    }

    /// What was seen since the last time.
    pub(super) fn take(&self) -> Times {
        std::mem::take(&mut *self.times.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks no more; the error that ended it before, if there was one.
    pub(super) fn end(mut self) -> Result<Times> {
        self.ends.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("ended once")?;
        thread.join().map_err(|_| anyhow::anyhow!("the client panicked"))??;
        Ok(self.take())
    }
}

impl Drop for Light {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
    }
}

fn ask(socket: &UdpSocket, hosts: usize, ends: &AtomicBool, times: &Mutex<Times>) -> Result<()> {
    let mut rng = fastrand::Rng::with_seed(400);
    let mut buffer = [0; 1232];
    let mut id = 0_u16;
    while !ends.load(Ordering::Relaxed) {
        let host = rng.usize(..hosts);
        id = id.wrapping_add(1);
        let query = Query::new(Name::parse(&format!("h{host}.{ZONE}"))?, TYPE_A).bytes(id);
        let start = Instant::now();
        socket.send(&query)?;
        let micros = answer(socket, id, start, &mut buffer);
        let mut times = times.lock().unwrap_or_else(PoisonError::into_inner);
        match micros {
            Some(micros) => times.micros.push(micros),
            None => times.lost += 1,
        }
        drop(times);
        thread::park_timeout(PAUSE);
    }
    Ok(())
}

/// How long the answer to this query took; none where it doesn't come or has not the one address.
fn answer(socket: &UdpSocket, id: u16, start: Instant, buffer: &mut [u8]) -> Option<u32> {
    loop {
        let len = socket.recv(buffer).ok()?;
        let took = start.elapsed();
        let message = &buffer[..len];
        // One that came late is of a query that counts as lost already.
        if message.get(..2) != Some(&id.to_be_bytes()[..]) {
            continue;
        }
        let (code, answers) = (message.get(3)? & 15, message.get(6..8)?);
        return (code == 0 && answers == [0, 1]).then(|| u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
    }
}
