//! An HTTP/1.1 client as plain as can be: one request, the answer up to the end of the connection.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};

use crate::client;

/// The longest answer in octets that a test takes.
const ANSWER_LEN_MAX: u64 = 16 << 20;

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The header fields, names in lower case; each may stand once.
    pub headers: BTreeMap<String, String>,
    /// What follows the head.
    pub body: String,
}

/// Gets a path.
pub fn get(server: SocketAddr, path: &str) -> Result<Answer> {
    ask(server, "GET", path)
}

/// Sends a request without a body; reads the answer.
pub fn ask(server: SocketAddr, method: &str, path: &str) -> Result<Answer> {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {server}\r\n\r\n");
    let octets = exchange(server, request.as_bytes())?;
    let answer = read(&octets).with_context(|| format!("{method} {path}"))?;
    // RFC 9110 §8.6: the length that a body would have stands in the answer to HEAD as well.
    let len = answer.headers.get("content-length").context("no content-length")?;
    ensure!(method == "HEAD" || *len == answer.body.len().to_string(), "{method} {path}: {answer:?}");
    Ok(answer)
}

/// Sends octets and reads until the server closes the connection, within the limits of [`client::connect`].
pub fn exchange(server: SocketAddr, octets: &[u8]) -> Result<Vec<u8>> {
    let mut stream = client::connect(server)?;
    stream.write_all(octets).context("request")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_LEN_MAX).read_to_end(&mut answer).with_context(|| format!("answer of {server}"))?;
    Ok(answer)
}

/// Reads an answer that is as RFC 9112 has it.
pub fn read(octets: &[u8]) -> Result<Answer> {
    let text = std::str::from_utf8(octets)?;
    let (head, body) =
        text.split_once("\r\n\r\n").with_context(|| format!("no end of the head: {text:?}"))?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).context("no status line")?;
    let status = status.split(' ').next().unwrap_or_default().parse().context("status code")?;
    let mut headers = BTreeMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ").with_context(|| format!("header line {line:?}"))?;
        let before = headers.insert(name.to_ascii_lowercase(), value.to_owned());
        ensure!(before.is_none(), "two header fields {name}");
    }
    Ok(Answer { status, headers, body: body.to_owned() })
}
