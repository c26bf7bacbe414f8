//! HTTP/2, frame by frame (RFC 9113), as a server that a test tells what to answer: header fields are written as literals (RFC 7541 §6.2.2),
//! and those of requests are not read.

use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Result, ensure};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
const ACK: u8 = 1;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// Header fields.
pub(super) type Fields = Vec<(String, String)>;

/// What is answered.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) head: Fields,
    pub(super) data: Vec<u8>,
    /// After the data; none where there are none.
    pub(super) trailers: Fields,
}

pub(super) fn fields(all: &[(&str, &str)]) -> Fields {
    all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Writes a frame, whose length is that of the payload.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = payload.len() as u32;
    [&len.to_be_bytes()[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Writes fields, each shorter than 127 octets.
pub(super) fn block(fields: &Fields) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(text.len() as u8);
            block.extend(text.as_bytes());
        }
    }
    block
}

/// Reads the beginning of a connection, and says hello.
pub(super) fn greet(stream: &mut TcpStream) -> Result<()> {
    let mut preface = [0; PREFACE.len()];
    stream.read_exact(&mut preface)?;
    ensure!(preface == PREFACE, "no HTTP/2: {preface:?}");
    stream.write_all(&frame(SETTINGS, 0, 0, &[]))?;
    Ok(())
}

/// Reads up to the end of a request; its stream, and its data.
pub(super) fn request(stream: &mut TcpStream) -> Result<(u32, Vec<u8>)> {
    let mut data = Vec::new();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head)?;
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (kind, flags) = (head[3], head[4]);
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let mut payload = vec![0; len];
        stream.read_exact(&mut payload)?;
        match kind {
            SETTINGS | PING if flags & ACK == 0 => {
                let echo = if kind == PING { &payload[..] } else { &[] };
                stream.write_all(&frame(kind, ACK, 0, echo))?;
            }
            DATA => data.extend(payload),
            _ => {}
        }
        if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
            return Ok((id, data));
        }
    }
}

/// Serves one request, which may have data.
pub(super) fn serve(stream: &mut TcpStream, answer: impl FnOnce(&[u8]) -> Answer) -> Result<()> {
    greet(stream)?;
    let (id, data) = request(stream)?;
    let Answer { head, data, trailers } = answer(&data);
    let is_short = data.is_empty() && trailers.is_empty();
    let mut octets = frame(HEADERS, END_HEADERS | if is_short { END_STREAM } else { 0 }, id, &block(&head));
    if !is_short {
        octets.extend(frame(DATA, if trailers.is_empty() { END_STREAM } else { 0 }, id, &data));
    }
    if !trailers.is_empty() {
        octets.extend(frame(HEADERS, END_HEADERS | END_STREAM, id, &block(&trailers)));
    }
    stream.write_all(&octets)?;
    // Until the other side has had enough: what is closed with something unread is reset.
    let mut rest = [0; 1024];
    while stream.read(&mut rest)? > 0 {}
    Ok(())
}
