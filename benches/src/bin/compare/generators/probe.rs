//! Single queries beside a flood: how long those wait that are answered.

use std::io::ErrorKind;
use std::net::{IpAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::histogram::Histogram;
use crate::interrupt::Interrupt;
use crate::site::{CLIENT_ADDRESS, Site};

/// The port that queries are sent from. kxdpgun takes all datagrams to ports from 2,000 off the interface.
const PORT: u16 = 1_053;
/// How long an answer is waited for. A queue of 8 MiB holds 10,000 queries, which the slowest server answers in half a
/// second and the fast ones in 50 ms; a longer wait would leave too few probes where most are dropped.
const ANSWER_MAX: Duration = Duration::from_millis(100);
/// Pause between two queries: each wakes a thread on the generator's CPU, and few do not slow that down.
const PAUSE: Duration = Duration::from_millis(5);

/// Asks for so long, one query after the other; the times of those that were answered. With an overload half are not.
pub(crate) fn ask(
    site: &Site,
    messages: &[Vec<u8>],
    time: Duration,
    interrupt: &Interrupt,
) -> Result<Histogram> {
    let bound = site.client.inside(|| UdpSocket::bind((IpAddr::V4(CLIENT_ADDRESS), PORT)))?;
    let socket = bound.context("socket of the probe")?;
    socket.connect(Site::address())?;
    let end = Instant::now() + time;
    let mut latency = Histogram::default();
    for (number, message) in messages.iter().cycle().enumerate() {
        if Instant::now() >= end {
            break;
        }
        interrupt.pause(PAUSE)?;
        let mut message = message.clone();
        message[..2].copy_from_slice(&(number as u16).to_be_bytes());
        let sent_at = Instant::now();
        socket.send(&message)?;
        if answer(&socket, number as u16, sent_at + ANSWER_MAX)? == Answer::Came {
            latency.add(sent_at.elapsed().as_nanos() as u64);
        }
    }
    Ok(latency)
}

#[derive(PartialEq, Eq)]
enum Answer {
    Came,
    Missing,
}

fn answer(socket: &UdpSocket, id: u16, deadline: Instant) -> Result<Answer> {
    let mut buffer = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Answer::Missing);
        }
        socket.set_read_timeout(Some(left))?;
        match socket.recv(&mut buffer) {
            Ok(len) if len >= 2 && buffer[..2] == id.to_be_bytes() => return Ok(Answer::Came),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error).context("answer to a probe"),
        }
    }
}
