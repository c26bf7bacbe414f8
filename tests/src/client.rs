//! A DNS client that moves raw bytes: one query at a time, or many in flight.

use std::collections::VecDeque;
use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// Queries in flight. 64 answers of 1232 octets fit the kernel's default receive buffer of 208 KiB (counted
/// with its bookkeeping) with room to spare; more gains no speed against servers with one worker.
const WINDOW_LEN: usize = 64;
/// How long nothing has to arrive before what is outstanding is sent again.
const RESEND_AFTER: Duration = Duration::from_millis(400);
/// Times a query is sent before it counts as unanswered.
const ATTEMPTS_MAX: u32 = 5;

/// Sends every query over UDP and returns the responses in the order of the queries.
///
/// Ids are chosen here. A query without an answer after several attempts has `None`.
pub fn udp(server: SocketAddr, queries: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>> {
    let socket = UdpSocket::bind(SocketAddr::new(unspecified(server), 0)).context("UDP socket")?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(RESEND_AFTER))?;
    let mut answers: Vec<Option<Vec<u8>>> = vec![None; queries.len()];
    let mut buffer = vec![0; 65_536];
    // Slots of the window: index of the query and times it was sent. The id is the index's low 16 bits,
    // unique in the window because indices in flight are less than 65,536 apart.
    let mut flying: Vec<(usize, u32)> = Vec::with_capacity(WINDOW_LEN);
    let mut next = 0;
    while next < queries.len() || !flying.is_empty() {
        while flying.len() < WINDOW_LEN
            && next < queries.len()
            && flying.first().is_none_or(|(oldest, _)| next - oldest < 32_768)
        {
            send(&socket, queries, next)?;
            flying.push((next, 1));
            next += 1;
        }
        match socket.recv(&mut buffer) {
            Ok(len) if len >= 2 => {
                let id = usize::from(u16::from_be_bytes([buffer[0], buffer[1]]));
                if let Some(slot) = flying.iter().position(|(index, _)| index & 0xffff == id) {
                    let (index, _) = flying.remove(slot);
                    answers[index] = Some(buffer[..len].to_vec());
                }
            }
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                flying.retain(|(_, attempts)| *attempts < ATTEMPTS_MAX);
                for (index, attempts) in &mut flying {
                    *attempts += 1;
                    send(&socket, queries, *index)?;
                }
            }
            Err(error) => return Err(error).with_context(|| format!("answers from {server}")),
        }
    }
    Ok(answers)
}

fn send(socket: &UdpSocket, queries: &[Vec<u8>], index: usize) -> Result<()> {
    let mut query = queries[index].clone();
    query[..2].copy_from_slice(&((index & 0xffff) as u16).to_be_bytes());
    let len = socket.send(&query)?;
    ensure!(len == query.len(), "short datagram");
    Ok(())
}

/// Sends every query over TCP, pipelined on one connection (RFC 7766 §6.2.1.1), in any order back.
///
/// Opens a new connection when the server has closed the old one, as it may after any number of queries.
pub fn tcp(server: SocketAddr, queries: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>> {
    let mut answers: Vec<Option<Vec<u8>>> = vec![None; queries.len()];
    let mut stream = BufReader::new(connect(server)?);
    let mut waiting: VecDeque<usize> = (0..queries.len()).collect();
    let mut flying: Vec<usize> = Vec::with_capacity(WINDOW_LEN);
    let mut fruitless = 0;
    loop {
        let fresh: Vec<usize> = (flying.len()..WINDOW_LEN).map_while(|_| waiting.pop_front()).collect();
        if !fresh.is_empty() {
            // A query after every answer carries the ACK; refilling the window by halves had NSD wait 40 ms
            // for a delayed ACK each time.
            // A failed write shows as the end of the connection at the next read.
            let _ = stream.get_mut().write_all(&framed(queries, &fresh));
            flying.extend(fresh);
        }
        if flying.is_empty() {
            return Ok(answers);
        }
        let Some(message) = read_framed(&mut stream)? else {
            fruitless += 1;
            ensure!(fruitless < ATTEMPTS_MAX, "{server} closes TCP connections without an answer");
            flying.drain(..).rev().for_each(|index| waiting.push_front(index));
            stream = BufReader::new(connect(server)?);
            continue;
        };
        ensure!(message.len() >= 2, "TCP message of {} octets", message.len());
        let id = usize::from(u16::from_be_bytes([message[0], message[1]]));
        let Some(slot) = flying.iter().position(|index| index & 0xffff == id) else {
            bail!("TCP answer with id {id}, which was not asked")
        };
        answers[flying.remove(slot)] = Some(message);
        fruitless = 0;
    }
}

fn framed(queries: &[Vec<u8>], indices: &[usize]) -> Vec<u8> {
    let mut out = Vec::new();
    for index in indices {
        out.extend_from_slice(&(queries[*index].len() as u16).to_be_bytes());
        out.extend_from_slice(&((index & 0xffff) as u16).to_be_bytes());
        out.extend_from_slice(&queries[*index][2..]);
    }
    out
}

/// One message with its two-octet length (RFC 1035 §4.2.2); none when the connection is closed.
pub fn read_framed(stream: &mut impl Read) -> Result<Option<Vec<u8>>> {
    let mut len = [0; 2];
    match stream.read_exact(&mut len) {
        Ok(()) => {}
        Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
            return Ok(None);
        }
        Err(error) => return Err(error).context("length of a TCP message"),
    }
    let mut message = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut message).context("TCP message")?;
    Ok(Some(message))
}

/// Writes one message with its two-octet length.
pub fn write_framed(stream: &mut TcpStream, message: &[u8]) -> Result<()> {
    let mut out = (message.len() as u16).to_be_bytes().to_vec();
    out.extend_from_slice(message);
    stream.write_all(&out).context("TCP query")
}

/// A TCP connection with deadlines on every read and write.
pub fn connect(server: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&server, Duration::from_secs(5))
        .with_context(|| format!("TCP connection to {server}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    Ok(stream)
}

/// Sends arbitrary bytes in one datagram and waits for whatever comes back, or nothing.
///
/// The socket is not connected, so that an answer from another address shows; its source comes along.
pub fn udp_raw(server: SocketAddr, bytes: &[u8], limit: Duration) -> Result<Option<(Vec<u8>, SocketAddr)>> {
    let socket = UdpSocket::bind(SocketAddr::new(unspecified(server), 0)).context("UDP socket")?;
    socket.send_to(bytes, server)?;
    let deadline = Instant::now() + limit;
    let mut buffer = vec![0; 65_536];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        socket.set_read_timeout(Some(left))?;
        match socket.recv_from(&mut buffer) {
            Ok((len, from)) => return Ok(Some((buffer[..len].to_vec(), from))),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error).context("answer"),
        }
    }
}

fn unspecified(server: SocketAddr) -> IpAddr {
    match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}
