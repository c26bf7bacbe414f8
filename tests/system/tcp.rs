//! TCP as RFC 7766 wants it, and clients that misuse it.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use starling_tests::client;
use starling_tests::message::Message;
use starling_tests::name::Name;
use starling_tests::query::Query;
use starling_tests::tools;

use crate::node::{Node, Site, TYPE_A};

fn node(tcp_lines: &str) -> Result<(Node, Site)> {
    let file = tools::data("zones/everything.zone");
    let site = Site::new(&[("everything.example", &file)], &format!("[node.tcp]\n{tcp_lines}"))?;
    Ok((site.start()?, site))
}

fn query(name: &str, id: u16) -> Result<Vec<u8>> {
    Ok(Query::new(Name::parse(name)?, TYPE_A).bytes(id))
}

fn answered(stream: &mut TcpStream, id: u16) -> Result<Message> {
    let bytes = client::read_framed(stream)?.context("closed instead of an answer")?;
    let message = Message::decode(&bytes)?;
    ensure!(message.id == id && message.rcode() == 0 && !message.answer.is_empty(), "{message}");
    Ok(message)
}

#[test]
fn many_queries_share_a_connection() -> Result<()> {
    let (node, _site) = node("")?;
    let mut stream = client::connect(node.address())?;
    let mut segment = Vec::new();
    for id in 0..200_u16 {
        let query = query(
            if id.is_multiple_of(2) { "www.everything.example." } else { "a250.big.everything.example." },
            id,
        )?;
        segment.extend_from_slice(&(query.len() as u16).to_be_bytes());
        segment.extend_from_slice(&query);
    }
    stream.write_all(&segment)?;
    // RFC 7766 §6.2.1.1: answers may come in any order.
    let mut waiting: Vec<u16> = (0..200).collect();
    while !waiting.is_empty() {
        let bytes = client::read_framed(&mut stream)?
            .with_context(|| format!("closed with {waiting:?} unanswered"))?;
        let message = Message::decode(&bytes)?;
        let at = waiting.iter().position(|id| *id == message.id).with_context(|| message.to_string())?;
        let id = waiting.swap_remove(at);
        let wanted = if id.is_multiple_of(2) { 2 } else { 250 };
        ensure!(message.answer.len() == wanted, "{message}");
    }
    Ok(())
}

#[test]
fn framing_survives_any_segmentation() -> Result<()> {
    let (node, _site) = node("")?;
    let mut bytes = Vec::new();
    for id in [1, 2, 3] {
        let query = query("www.everything.example.", id)?;
        bytes.extend_from_slice(&(query.len() as u16).to_be_bytes());
        bytes.extend_from_slice(&query);
    }
    for step in [1, 2, 3, 7, bytes.len() / 2, bytes.len() - 1] {
        let mut stream = client::connect(node.address())?;
        for segment in bytes.chunks(step) {
            stream.write_all(segment)?;
        }
        for id in [1, 2, 3] {
            answered(&mut stream, id).with_context(|| format!("in segments of {step}"))?;
        }
    }
    Ok(())
}

#[test]
fn idle_connections_are_closed_and_no_sooner() -> Result<()> {
    let (node, _site) = node("idle-timeout-ms = 400")?;
    for beginning in [&[][..], &[0], &[0, 40, 1, 2, 3]] {
        let mut stream = client::connect(node.address())?;
        answered_after(&mut stream, 9)?;
        let start = Instant::now();
        stream.write_all(beginning)?;
        ensure!(closed(&mut stream)?, "still open");
        let waited = start.elapsed();
        ensure!(waited > Duration::from_millis(200), "closed after {waited:?}, {beginning:02x?}");
        ensure!(waited < Duration::from_secs(8), "closed only after {waited:?}, {beginning:02x?}");
    }
    Ok(())
}

fn answered_after(stream: &mut TcpStream, id: u16) -> Result<Message> {
    client::write_framed(stream, &query("www.everything.example.", id)?)?;
    answered(stream, id)
}

/// Whether the other side has ended the connection; whatever still comes is read and dropped.
fn closed(stream: &mut TcpStream) -> Result<bool> {
    let mut buffer = [0; 65_536];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(true),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                return Ok(true);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

#[test]
fn slow_readers_are_cut_off_and_harm_nobody() -> Result<()> {
    let (node, _site) = node("idle-timeout-ms = 2000\ntransfer-timeout-ms = 500")?;
    let mut slow = client::connect(node.address())?;
    slow.set_write_timeout(Some(Duration::from_millis(200)))?;
    // 4 KB each: far more than both sides' socket buffers hold.
    let query = query("a250.big.everything.example.", 1)?;
    for _ in 0..20_000 {
        if client::write_framed(&mut slow, &query).is_err() {
            break;
        }
    }
    let mut other = client::connect(node.address())?;
    answered_after(&mut other, 5).context("another client while one does not read")?;
    // Reading at last, there is an end: the node did not go on collecting answers.
    tools::poll("the slow reader is cut off", Duration::from_secs(10), || {
        let peeked = slow.take_error()?.is_some() || write_fails(&mut slow);
        Ok(peeked.then_some(()))
    })?;
    let mut again = client::connect(node.address())?;
    answered_after(&mut again, 6)?;
    Ok(())
}

fn write_fails(stream: &mut TcpStream) -> bool {
    match stream.write_all(&[0]) {
        Ok(()) => false,
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

#[test]
fn connections_are_limited_for_one_client_and_overall() -> Result<()> {
    for limits in ["connections-per-client-max = 3", "connections-max = 3"] {
        let (node, _site) = node(limits)?;
        let mut held = Vec::new();
        for id in 0..3 {
            let mut stream = client::connect(node.address())?;
            answered_after(&mut stream, id).with_context(|| format!("connection {id} of 3, {limits}"))?;
            held.push(stream);
        }
        // One too many: either it is turned away or it takes the place of the one idle for longest.
        let mut fourth = client::connect(node.address())?;
        fourth.set_read_timeout(Some(Duration::from_secs(2)))?;
        let admitted = answered_after(&mut fourth, 4).is_ok();
        let mut alive = usize::from(admitted);
        for (id, stream) in held.iter_mut().enumerate() {
            alive += usize::from(answered_after(stream, 10 + id as u16).is_ok());
        }
        ensure!(alive == 3, "{alive} of 4 connections answer with {limits}");
        // A place that is given up is free again.
        drop(fourth);
        held.clear();
        tools::poll("a place is free again", Duration::from_secs(5), || {
            let mut stream = client::connect(node.address())?;
            Ok(answered_after(&mut stream, 20).ok())
        })?;
        ensure!(!node.ask("www.everything.example.", TYPE_A)?.answer.is_empty(), "UDP is not affected");
    }
    Ok(())
}

#[test]
fn broken_framing_ends_only_its_own_connection() -> Result<()> {
    let (node, _site) = node("idle-timeout-ms = 1000")?;
    // A length of zero, of less than a header, and one that nothing follows.
    for bytes in [&[0, 0][..], &[0, 5, 1, 2, 3, 4, 5], &[0xff, 0xff, 1, 2]] {
        let mut stream = client::connect(node.address())?;
        stream.write_all(bytes)?;
        ensure!(closed(&mut stream)?, "{bytes:02x?}: still open");
    }
    let mut gone = client::connect(node.address())?;
    client::write_framed(&mut gone, &query("a250.big.everything.example.", 1)?)?;
    drop(gone);
    let mut stream = client::connect(node.address())?;
    answered_after(&mut stream, 8)?;
    Ok(())
}
