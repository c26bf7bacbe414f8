//! Checks over HTTP/1.1 and HTTP/2, of servers of ours and of BIND, whose DNS over HTTPS is HTTP/2 by nghttp2.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use starling_tests::certificates::{authority, certificate};
use starling_tests::process::Process;
use starling_tests::server::{free_port, own_address};
use starling_tests::tools;

use super::{Fake, all_checked, listen};
use crate::node::{Node, SEEN_WITHIN};

#[test]
fn fields_of_the_head_have_to_be_as_they_are_wanted() -> Result<()> {
    let address = own_address();
    let (listener, at) = listen(address)?;
    let head = Arc::new(Mutex::new("X-Health: ok\r\nx-health: fine\r\n".to_owned()));
    let (of_server, asked) = (Arc::clone(&head), Arc::new(Mutex::new(Vec::<String>::new())));
    let heard = Arc::clone(&asked);
    let _fake = Fake::start(listener, move |mut stream: TcpStream| {
        let mut octets = [0; 4096];
        let Ok(len) = stream.read(&mut octets) else { return };
        let text = String::from_utf8_lossy(&octets[..len]).into_owned();
        let mut asked = heard.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.len() < 1000 {
            asked.push(text.clone());
        }
        let head = of_server.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // To HEAD no body is sent, whatever its length would be (RFC 9110 §9.3.2).
        let body = if text.starts_with("HEAD") { "" } else { "12345" };
        let answer = format!("HTTP/1.1 200 OK\r\n{head}content-length: 5\r\n\r\n{body}");
        drop(stream.write_all(answer.as_bytes()));
    })?;
    let port = at.port();
    let keys = [
        "header = \"x-health: ok\"",
        "header = [\"X-HEALTH: fine\", \"content-length\"]",
        "header = \"x-health: bad\"",
        "header = \"etag\"",
        "method = \"HEAD\", path = \"/head\", host = \"www.example:81\"",
    ];
    let checks: Vec<String> =
        keys.iter().map(|keys| format!("kind = \"http\", port = {port}, {keys}")).collect();
    let checks: Vec<&str> = checks.iter().map(String::as_str).collect();
    let node = Node::running(&all_checked(address, &checks))?;
    node.sees("p0", "up", "")?;
    node.sees("p1", "up", "")?;
    node.sees("p2", "down", "its answer has x-health: ok, and not bad")?;
    node.sees("p3", "down", "its answer has no etag")?;
    node.sees("p4", "up", "")?;
    let asked = asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let is_asked =
        |start: &str, host: &str| asked.iter().any(|text| text.starts_with(start) && text.contains(host));
    anyhow::ensure!(is_asked("HEAD /head HTTP/1.1\r\n", "host: www.example:81\r\n"), "{asked:?}");
    anyhow::ensure!(is_asked("GET / HTTP/1.1\r\n", &format!("host: {at}\r\n")), "{asked:?}");
    *head.lock().unwrap_or_else(PoisonError::into_inner) = "x-health: bad\r\netag: \"1\"\r\n".to_owned();
    node.sees("p0", "down", "its answer has x-health: bad, and not ok")?;
    node.sees("p2", "up", "")?;
    node.sees("p3", "up", "")
}

/// BIND, which answers over HTTP/2 in clear text and over TLS.
fn bind(folder: &Path, [dns, clear, tls]: [u16; 3]) -> Result<Process> {
    std::fs::write(
        folder.join("named.conf"),
        format!(
            "options {{ directory \"{0}\"; listen-on port {dns} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; recursion no;\n \
             listen-on port {clear} tls none http default {{ 127.0.0.1; }};\n \
             listen-on port {tls} tls own http default {{ 127.0.0.1; }};\n pid-file none; session-keyfile \"{0}/session.key\"; }};\n\
             tls own {{ cert-file \"own.pem\"; key-file \"own.key\"; }};\ncontrols {{ }};\n\
             zone \"example.com\" {{ type primary; file \"zone\"; }};\n",
            folder.display()
        ),
    )?;
    std::fs::write(folder.join("zone"), crate::node::ZONE)?;
    let mut command = Command::new(tools::program("named")?);
    command.args(["-g", "-n", "1", "-c", "named.conf"]).current_dir(folder);
    let process = Process::spawn("named", &command, &folder.join("named.log"))?;
    for port in [clear, tls] {
        tools::poll("it listens", SEEN_WITHIN, || Ok(TcpStream::connect(("127.0.0.1", port)).ok()))?;
    }
    Ok(process)
}

#[test]
fn bind_answers_over_http_2() -> Result<()> {
    let folder = tempfile::tempdir()?;
    authority(folder.path(), "good")?;
    certificate(folder.path(), "own", "good", "DNS:doh.example,IP:127.0.0.1", 30)?;
    let address = Ipv4Addr::LOCALHOST;
    let ports = [free_port(address)?, free_port(address)?, free_port(address)?];
    let running = bind(folder.path(), ports)?;
    // RFC 8484 §4.1: a query for www.example.com A, in base64url.
    let query = "path = \"/dns-query?dns=AAAAAAABAAAAAAAAA3d3dwdleGFtcGxlA2NvbQAAAQAB\"";
    let ca = format!("ca-file = \"{}\"", folder.path().join("good.pem").display());
    let [_, clear, tls] = ports;
    let media = "header = \"content-type: application/dns-message\"";
    let cases = [
        (format!("kind = \"http\", port = {clear}, http-version = \"2\", {query}, {media}"), "up", ""),
        (format!("kind = \"https\", port = {tls}, http-version = \"2\", {query}, {media}, {ca}"), "up", ""),
        // The name of the question, in the body.
        (
            format!("kind = \"http\", port = {clear}, http-version = \"2\", {query}, contains = \"example\""),
            "up",
            "",
        ),
        (
            format!("kind = \"http\", port = {clear}, http-version = \"2\", path = \"/other\""),
            "down",
            "status 404",
        ),
        (
            format!("kind = \"http\", port = {clear}, http-version = \"2\", path = \"/other\", status = 404"),
            "up",
            "",
        ),
        // It has no health protocol, and says so over HTTP/2 by TLS.
        (format!("kind = \"grpc\", port = {tls}, tls = true, {ca}"), "down", "status 4"),
        (
            format!("kind = \"grpc\", port = {tls}, tls = true, server-name = \"a.example\", {ca}"),
            "down",
            "is not for a.example",
        ),
        // It speaks nothing else.
        (format!("kind = \"http\", port = {clear}, {query}"), "down", "no answer"),
        (format!("kind = \"https\", port = {tls}, {query}, {ca}"), "down", "no answer"),
    ];
    let checks: Vec<&str> = cases.iter().map(|(check, ..)| check.as_str()).collect();
    let node = Node::running(&all_checked(address, &checks))?;
    for (index, (_, health, said)) in cases.iter().enumerate() {
        node.sees(&format!("p{index}"), health, said)?;
    }
    drop(running);
    node.sees("p0", "down", "no connection")?;
    node.sees("p1", "down", "no connection")?;
    let _running = bind(folder.path(), ports)?;
    node.sees("p0", "up", "")?;
    node.sees("p1", "up", "")
}

#[test]
fn an_endpoint_that_flaps_changes_nothing() -> Result<()> {
    let address = own_address();
    let (listener, at) = listen(address)?;
    let count = std::sync::atomic::AtomicUsize::new(0);
    let _fake = Fake::start(listener, move |mut stream: TcpStream| {
        let mut octets = [0; 4096];
        let _len = stream.read(&mut octets);
        let turn = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let status = if turn.is_multiple_of(2) { "200 OK" } else { "503 Busy" };
        drop(stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes()));
    })?;
    // One bad look is not enough.
    let node = Node::running(&all_checked(address, &[&format!("kind = \"http\", port = {}", at.port())]))?;
    node.sees("p0", "up", "")?;
    let changes = |node: &Node| -> Result<u64> {
        node.pool("p0")?["families"][0]["changes"].as_u64().context("changes")
    };
    let before = changes(&node)?;
    tools::poll("many good and bad looks", SEEN_WITHIN, || {
        let pool = node.pool("p0")?;
        Ok((pool["addresses"][0]["failures"].as_u64() >= Some(20)).then_some(()))
    })?;
    node.sees("p0", "up", "")?;
    anyhow::ensure!(changes(&node)? == before, "{}", node.does(&["pool", "status", "p0"])?);
    Ok(())
}

#[test]
fn an_address_that_this_node_does_not_have_finds_nothing() -> Result<()> {
    let address = own_address();
    let port = free_port(address)?;
    // TEST-NET-1: nobody has it.
    let source = "source = \"192.0.2.251\"";
    let checks = [
        format!("kind = \"tcp\", port = {port}, {source}"),
        format!("kind = \"dns\", port = {port}, name = \"example.com\", {source}"),
        format!("kind = \"http\", port = {port}, http-version = \"2\", {source}"),
    ];
    let node = Node::running(&all_checked(address, &checks.each_ref().map(String::as_str)))?;
    for pool in ["p0", "p1", "p2"] {
        node.sees(pool, "unknown", "this node can't ask from 192.0.2.251, its `source`")?;
    }
    Ok(())
}
