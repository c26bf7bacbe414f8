//! A generator on sockets that sends at a steady rate and sees every answer: latency, loss and silence.
//!
//! One pinned thread that never sleeps sends what is due, one datagram a call, and reads what has come. That costs about as
//! much for a query as a server on sockets does, so a CPU of it is enough for six tenths of what the fastest can
//! answer. Where it can't keep up it sends less and says so, instead of sending late queries in bursts that a server would
//! never see otherwise.

use std::io::ErrorKind;
use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use netio::pin::{self, CpuIndex};
use rustix::net::sockopt::set_socket_recv_buffer_size_force;

use super::histogram::Histogram;
use crate::site::{CLIENT_ADDRESS, Site};

/// Queries that may be sent in one go. What is due beyond that was missed and is left out: the default receive buffer of a
/// server holds about 200, and a burst after a pause of ours must not be its loss.
const BURST_MAX: u64 = 16;
/// Answers that are read in one go before what is due is looked at.
const READ_MAX: usize = 32;
/// The longest pause between two looks for answers that is put down to the server. In a longer one this thread did not
/// run: others have the CPU for 1 to 4 ms at a time.
const LOOK_MAX_NS: u64 = 300_000;
/// How long answers to the last queries are waited for: longer than any queue of a server holds.
const LAST_ANSWERS_MS: u64 = 300;
/// Receive buffer: 50 ms of answers while this thread does not run.
const RECEIVE_BUFFER_LEN: usize = 8 << 20;
/// Sockets where the server has several workers, so that the kernel's hash of the addresses reaches all of them.
const SOCKETS_FOR_MANY: usize = 32;
/// Message ids of a socket.
const IDS: usize = 1 << 16;

/// What was sent and what came back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Queries sent.
    pub(crate) sent: u64,
    /// Queries that were due, and were left out because this thread did not keep up.
    pub(crate) missed: u64,
    /// Answers with NOERROR, NXDOMAIN or REFUSED.
    pub(crate) answered: u64,
    /// The longest time without an answer, in nanoseconds, while this thread looked.
    pub(crate) silence_ns: u64,
    /// From just before a query was sent to when its answer was seen.
    pub(crate) latency: Histogram,
}

impl Tally {
    /// Of a hundred queries, those without a good answer.
    pub(crate) fn lost_percent(&self) -> f64 {
        if self.sent == 0 { 0.0 } else { (self.sent - self.answered) as f64 * 100.0 / self.sent as f64 }
    }

    /// The part of the queries that was left out.
    pub(crate) fn missed_part(&self) -> f64 {
        self.missed as f64 / (self.sent + self.missed).max(1) as f64
    }
}

/// A running generator.
pub(crate) struct Steady {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Tally>,
}

impl Steady {
    /// Begins to send so many queries a second from the client's namespace; an infinite rate is as many as can be.
    pub(crate) fn start(
        site: &Site,
        messages: Arc<[Vec<u8>]>,
        rate: f64,
        cpu: usize,
        workers: usize,
    ) -> Result<Self> {
        let count = if workers == 1 { 1 } else { SOCKETS_FOR_MANY };
        let lanes = site.client.inside(|| (0..count).map(|_| Lane::open()).collect::<Result<Vec<_>>>())??;
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let thread = thread::Builder::new().name("steady".to_owned()).spawn(move || {
            // Unpinned it still sends; a CPU that is not there has been refused before.
            let _ = pin::pin_current_thread(CpuIndex(cpu));
            run(lanes, &messages, rate, &asked)
        })?;
        Ok(Self { stop, thread })
    }

    /// Ends the load, waits for the last answers, and says what was seen.
    pub(crate) fn stop(self) -> Result<Tally> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the steady generator panicked"))
    }
}

/// A socket and when each of its queries was sent, by id; 0 where none is out.
struct Lane {
    socket: UdpSocket,
    id: u16,
    sent_at: Vec<u64>,
}

impl Lane {
    fn open() -> Result<Self> {
        let socket = UdpSocket::bind((IpAddr::V4(CLIENT_ADDRESS), 0)).context("socket of the generator")?;
        socket.connect(Site::address())?;
        socket.set_nonblocking(true)?;
        set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER_LEN).context("its receive buffer")?;
        Ok(Self { socket, id: 0, sent_at: vec![0; IDS] })
    }

    fn send(&mut self, message: &mut [u8], now_ns: u64) -> bool {
        message[..2].copy_from_slice(&self.id.to_be_bytes());
        // A full send buffer or an unreachable port (the server is being replaced) is a query that gets no answer.
        if let Err(error) = self.socket.send(message)
            && error.kind() == ErrorKind::WouldBlock
        {
            return false;
        }
        self.sent_at[usize::from(self.id)] = now_ns.max(1);
        self.id = self.id.wrapping_add(1);
        true
    }

    /// Reads what has come; gives how many answers that was.
    fn read(&mut self, start: Instant, tally: &mut Tally) -> usize {
        let mut buffer = [0; 4096];
        let mut read = 0;
        while read < READ_MAX {
            let len = match self.socket.recv(&mut buffer) {
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => continue,
                Err(_) => break,
            };
            read += 1;
            if len < 12 || buffer[2] & 0x80 == 0 {
                continue;
            }
            let id = usize::from(u16::from_be_bytes([buffer[0], buffer[1]]));
            let sent_at = std::mem::take(&mut self.sent_at[id]);
            // NOERROR, NXDOMAIN and REFUSED; whoever says SERVFAIL has nothing to serve.
            if sent_at != 0 && matches!(buffer[3] & 15, 0 | 3 | 5) {
                tally.answered += 1;
                tally.latency.add((start.elapsed().as_nanos() as u64).saturating_sub(sent_at));
            }
        }
        read
    }
}

fn run(mut lanes: Vec<Lane>, messages: &[Vec<u8>], rate: f64, stop: &AtomicBool) -> Tally {
    let mut tally = Tally::default();
    let mut pace = Pace { rate, ..Pace::default() };
    let mut next = messages.iter().cycle();
    let mut message = Vec::new();
    let (mut lane, mut silent_ns, mut looked_ns) = (0, 0, 0);
    let start = Instant::now();
    let mut end_ns = u64::MAX;
    loop {
        let now_ns = start.elapsed().as_nanos() as u64;
        if end_ns == u64::MAX && stop.load(Ordering::Relaxed) {
            end_ns = now_ns + LAST_ANSWERS_MS * 1_000_000;
        }
        if now_ns >= end_ns || (end_ns != u64::MAX && tally.answered == tally.sent) {
            return tally;
        }
        let due = if end_ns == u64::MAX { pace.due(now_ns, &mut tally.missed) } else { 0 };
        for _ in 0..due {
            let Some(template) = next.next() else { break };
            message.clear();
            message.extend_from_slice(template);
            lane = (lane + 1) % lanes.len();
            let now_ns = start.elapsed().as_nanos() as u64;
            tally.sent += u64::from(lanes[lane].send(&mut message, now_ns));
        }
        let read: usize = lanes.iter_mut().map(|lane| lane.read(start, &mut tally)).sum();
        silent_ns = if read > 0 { 0 } else { silent_ns + (now_ns - looked_ns).min(LOOK_MAX_NS) };
        looked_ns = now_ns;
        if end_ns == u64::MAX {
            tally.silence_ns = tally.silence_ns.max(silent_ns);
        }
        if due == 0 && read == 0 {
            std::hint::spin_loop();
        }
    }
}

/// When queries are due.
#[derive(Default)]
struct Pace {
    rate: f64,
    /// Queries that were due so far, sent or left out.
    given: u64,
}

impl Pace {
    /// How many to send now; what is more than a burst is left out.
    fn due(&mut self, now_ns: u64, missed: &mut u64) -> u64 {
        if self.rate.is_infinite() {
            return BURST_MAX;
        }
        let total = (now_ns as f64 * self.rate / 1e9) as u64;
        let due = total.saturating_sub(self.given);
        let now = due.min(BURST_MAX);
        *missed += due - now;
        self.given += due;
        now
    }
}

/// Waits until it has surely begun: what is measured from then on is under load.
pub(crate) const BEGUN_AFTER: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_and_what_is_left_out() {
        let mut pace = Pace { rate: 1e6, given: 0 };
        let mut missed = 0;
        assert_eq!(pace.due(10_000, &mut missed), 10);
        assert_eq!(pace.due(10_500, &mut missed), 0);
        assert_eq!(pace.due(12_000, &mut missed), 2);
        assert_eq!((pace.due(1_012_000, &mut missed), missed), (BURST_MAX, 1_000 - BURST_MAX));
        assert_eq!(pace.due(1_013_000, &mut missed), 1);
    }

    #[test]
    fn the_part_that_was_left_out() {
        let tally = Tally { sent: 95, missed: 5, ..Tally::default() };
        assert!((tally.missed_part() - 0.05).abs() < 1e-9);
        assert!(Tally::default().missed_part().abs() < 1e-9);
    }

    #[test]
    fn lost_is_what_has_no_good_answer() {
        let tally = Tally { sent: 200, answered: 199, ..Tally::default() };
        assert!((tally.lost_percent() - 0.5).abs() < 1e-9);
        assert!(Tally::default().lost_percent().abs() < 1e-9);
    }
}
