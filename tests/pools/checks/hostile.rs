//! Endpoints that mean no good: what they send costs little, and ends.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::net::sockopt::set_socket_recv_buffer_size;
use starling_tests::server::own_address;
use starling_tests::tools;

use super::http2::{self, END_HEADERS, HEADERS, PING, SETTINGS, frame};
use super::{Fake, all_checked, listen};
use crate::node::Node;

/// How many looks at each: enough for what is kept of one to add up.
const LOOKS: u64 = 30;
/// How long that may take.
const LOOKED_WITHIN: Duration = Duration::from_secs(120);
/// By how much the process may grow, in KiB: the allocator keeps what was used at once.
const GROWTH_MAX_KIB: u64 = 48 << 10;
/// How many descriptors more it may have open than at first: those of looks that go on at the same time, and of commands.
const DESCRIPTORS_MORE: usize = 24;

/// Connections that are never closed from this side.
static HELD: Mutex<Vec<TcpStream>> = Mutex::new(Vec::new());

type Serve = fn(&mut TcpStream) -> std::io::Result<()>;

/// Sends the same again and again, until the other side has had enough.
fn forever(stream: &mut TcpStream, octets: &[u8]) -> std::io::Result<()> {
    let many = octets.repeat(16_384_usize.div_ceil(octets.len()));
    loop {
        stream.write_all(&many)?;
    }
}

/// Waits until the other side closes; what it sends is not of interest.
fn wait(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut rest = [0; 4096];
    while stream.read(&mut rest)? > 0 {}
    Ok(())
}

/// Answers a request, up to the first line.
fn head(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut request = [0; 4096];
    let _len = stream.read(&mut request)?;
    stream.write_all(b"HTTP/1.1 200 OK\r\n")
}

/// What each does, with the check that meets it, and what that says.
const ALL: &[(&str, Serve, &str)] = &[
    (
        "kind = \"http\"",
        |stream| head(stream).and_then(|()| forever(stream, b"x: yyyyyyyyyyyyyyyy\r\n")),
        "no answer",
    ),
    (
        "kind = \"http\"",
        |stream| forever(stream, b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"),
        "no answer",
    ),
    (
        "kind = \"http\", contains = \"never\"",
        |stream| {
            head(stream).and_then(|()| stream.write_all(b"\r\n")).and_then(|()| forever(stream, b"neve"))
        },
        "is not in the first",
    ),
    (
        "kind = \"http\"",
        |stream| {
            head(stream)?;
            // A read that gets nothing lasts for a moment.
            stream.set_read_timeout(Some(Duration::from_millis(10)))?;
            loop {
                stream.write_all(b"x")?;
                let mut rest = [0; 512];
                let _none = stream.read(&mut rest);
            }
        },
        "no answer within",
    ),
    ("kind = \"http\", http-version = \"2\"", |stream| forever(stream, &[0xff; 9]), "no answer"),
    ("kind = \"http\", http-version = \"2\"", wait, "no answer within"),
    (
        "kind = \"http\", http-version = \"2\"",
        |stream| {
            http2::greet(stream).map_err(std::io::Error::other)?;
            // The head begins, and goes on in CONTINUATION frames without end.
            stream.write_all(&frame(HEADERS, 0, 1, &http2::block(&http2::fields(&[(":status", "200")]))))?;
            forever(
                stream,
                &frame(9, 0, 1, &http2::block(&http2::fields(&[("x", "yyyyyyyyyyyyyyyyyyyyyy")]))),
            )
        },
        "no answer",
    ),
    (
        "kind = \"http\", http-version = \"2\"",
        |stream| {
            http2::greet(stream)
                .map_err(std::io::Error::other)
                .and_then(|()| forever(stream, &frame(SETTINGS, 0, 0, &[])))
        },
        "no answer",
    ),
    // What has to be answered, by one who takes no answers: what waits to be sent to it can't be sent, nor the end be said.
    (
        "kind = \"http\", http-version = \"2\"",
        |stream| {
            set_socket_recv_buffer_size(&*stream, 1)?;
            http2::greet(stream).map_err(std::io::Error::other)?;
            drop(forever(stream, &frame(PING, 0, 0, &[0; 8])));
            HELD.lock().unwrap_or_else(PoisonError::into_inner).push(stream.try_clone()?);
            Ok(())
        },
        "no answer",
    ),
    (
        "kind = \"http\", http-version = \"2\", contains = \"never\"",
        |stream| {
            http2::greet(stream).map_err(std::io::Error::other)?;
            let (id, _) = http2::request(stream).map_err(std::io::Error::other)?;
            let block = http2::block(&http2::fields(&[(":status", "200")]));
            stream.write_all(&frame(HEADERS, END_HEADERS, id, &block))?;
            // As much as it likes, whatever it was allowed.
            forever(stream, &frame(http2::DATA, 0, id, &[b'x'; 16_384]))
        },
        "is not in the first",
    ),
    (
        "kind = \"grpc\"",
        |stream| {
            http2::greet(stream).map_err(std::io::Error::other)?;
            let (id, _) = http2::request(stream).map_err(std::io::Error::other)?;
            let fields = http2::fields(&[(":status", "200"), ("content-type", "application/grpc")]);
            stream.write_all(&frame(HEADERS, END_HEADERS, id, &http2::block(&fields)))?;
            forever(stream, &frame(http2::DATA, 0, id, &[0; 1024]))
        },
        "half an answer",
    ),
    ("kind = \"tls\", verify = false", |stream| forever(stream, b"no TLS at all"), "no TLS handshake"),
    // A handshake message of 16 MiB, in records of the greatest length.
    (
        "kind = \"tls\", verify = false",
        |stream| {
            stream.write_all(&[22, 3, 3, 0x40, 0, 2, 0xff, 0xff, 0xff])?;
            stream.write_all(&[0; 0x4000 - 4])?;
            forever(stream, &[&[22, 3, 3, 0x40, 0][..], &[0; 0x4000]].concat())
        },
        "no TLS handshake",
    ),
    ("kind = \"https\", verify = false", wait, "no TLS handshake within"),
    (
        "kind = \"dns\", transport = \"tcp\", name = \"example.com\"",
        |stream| forever(stream, &[0xff; 65_537]),
        "no answer within",
    ),
];

/// The memory of a process in KiB.
fn resident(pid: i32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

#[test]
fn what_they_send_is_bounded_and_ends() -> Result<()> {
    let address = own_address();
    let (mut checks, mut fakes) = (Vec::new(), Vec::new());
    for (check, serve, _) in ALL {
        let (listener, at) = listen(address)?;
        fakes.push(Fake::start(listener, move |mut stream| drop(serve(&mut stream)))?);
        checks.push(format!("{check}, port = {}", at.port()));
    }
    let (listener, good) = listen(address)?;
    fakes.push(Fake::start(listener, |mut stream| {
        drop(head(&mut stream).and_then(|()| stream.write_all(b"\r\n")))
    })?);
    checks.push(format!("kind = \"http\", port = {}", good.port()));
    let checks: Vec<&str> = checks.iter().map(String::as_str).collect();
    let pools = all_checked(address, &checks)
        .replace("timeout-ms = 1500", "timeout-ms = 300")
        .replace("interval-ms = 50", "interval-ms = 300");
    let node = Node::running(&pools)?;
    for (index, (_, _, said)) in ALL.iter().enumerate() {
        node.sees(&format!("p{index}"), "down", said)?;
    }
    let pid = node.pid()?;
    let open = || -> Result<usize> { Ok(std::fs::read_dir(format!("/proc/{pid}/fd"))?.count()) };
    let (before, descriptors, began) = (resident(pid)?, open()?, Instant::now());
    tools::poll("many looks", LOOKED_WITHIN, || {
        let mut all = true;
        for index in 0..ALL.len() {
            let pool = node.pool(&format!("p{index}"))?;
            all &= pool["addresses"][0]["runs"].as_u64().context("runs")? >= LOOKS;
        }
        let now = open()?;
        ensure!(now < descriptors + DESCRIPTORS_MORE, "{now} descriptors are open, and were {descriptors}");
        Ok(all.then_some(()))
    })?;
    let after = resident(pid)?;
    println!(
        "{LOOKS} looks at each of {}: {before} KiB before, {after} after, in {:?}",
        ALL.len(),
        began.elapsed()
    );
    ensure!(after < before + GROWTH_MAX_KIB, "{before} KiB before, {after} after");
    // Who waits for them has time for others.
    node.sees(&format!("p{}", ALL.len()), "up", "")?;
    node.answers(&format!("p{}.example.com", ALL.len()), &[address])
}
