//! Questions over TLS, asked by OpenSSL's client.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

/// The answer to a question; `None` if there is none, as where there was no handshake. `openssl` is the program, and
/// `options` are those of its `s_client`.
pub fn ask(
    mut openssl: Command,
    at: SocketAddr,
    options: &[&str],
    question: &[u8],
) -> Result<Option<Vec<u8>>> {
    openssl.args(["s_client", "-quiet", "-connect", &at.to_string()]).args(options);
    openssl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut client = openssl.spawn()?;
    let mut stdin = client.stdin.take().context("no standard input")?;
    let mut stdout = client.stdout.take().context("no standard output")?;
    let framed = [&(question.len() as u16).to_be_bytes()[..], question].concat();
    let mut answer = Vec::new();
    // Where there was no handshake it may be gone already.
    if stdin.write_all(&framed).and_then(|()| stdin.flush()).is_ok() {
        let mut len = [0; 2];
        if stdout.read_exact(&mut len).is_ok() {
            answer.resize(usize::from(u16::from_be_bytes(len)), 0);
            stdout.read_exact(&mut answer)?;
        }
    }
    client.kill()?;
    client.wait()?;
    Ok((!answer.is_empty()).then_some(answer))
}
