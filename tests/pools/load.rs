//! Pools whose weights follow the load that endpoints report, or that is measured.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use starling_tests::server::free_port;
use starling_tests::tools;

use crate::checks::Fake;
use crate::endpoint::addresses;
use crate::node::{Node, SEEN_WITHIN, WWW, pool};
use crate::portions::{are_near, ask_often, shares, weighted};

const NAMES: &str = "\"www.example.com\"";
/// As fast as weights may follow, so that tests end soon.
const FAST: &str = "load-period-ms = 100\nload-smoothing-ms = 50\nload-least-percent = 8";

/// What a server says, and how late.
#[derive(Clone, Default)]
struct Said {
    text: String,
    late: Duration,
}

/// A server that says to everybody what a test wants; a web server waits for a request first.
pub(crate) struct Server {
    said: Arc<Mutex<Said>>,
    _fake: Fake,
}

impl Server {
    fn start(address: Ipv4Addr, port: u16, is_web: bool, text: &str) -> Result<Self> {
        let listener = TcpListener::bind((address, port)).with_context(|| format!("{address}:{port}"))?;
        let said = Arc::new(Mutex::new(Said { text: text.to_owned(), late: Duration::ZERO }));
        let of_thread = Arc::clone(&said);
        let fake = Fake::start(listener, move |stream| {
            let said = of_thread.lock().unwrap_or_else(PoisonError::into_inner).clone();
            // A client that has gone away is no harm.
            drop(serve(stream, is_web, &said));
        })?;
        Ok(Self { said, _fake: fake })
    }

    /// A web server whose head has this line, and whose body is this.
    fn web(address: Ipv4Addr, port: u16, line: &str, body: &str) -> Result<Self> {
        Self::start(address, port, true, &page(line, body))
    }

    pub(crate) fn agent(address: Ipv4Addr, port: u16, text: &str) -> Result<Self> {
        Self::start(address, port, false, text)
    }

    pub(crate) fn says(&self, text: &str) {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).text = text.to_owned();
    }

    fn has(&self, line: &str) {
        self.says(&page(line, "all is well"));
    }

    pub(crate) fn is_late(&self, late: Duration) {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).late = late;
    }
}

fn page(line: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n{line}\r\n\r\n{body}", body.len())
}

fn serve(mut stream: TcpStream, is_web: bool, said: &Said) -> std::io::Result<()> {
    stream.set_read_timeout(Some(SEEN_WITHIN))?;
    let mut request = Vec::new();
    let mut some = [0; 1024];
    while is_web && !request.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut some)? {
            0 => return Ok(()),
            len => request.extend_from_slice(&some[..len]),
        }
    }
    if !said.late.is_zero() {
        // A read that gets nothing lasts for that time.
        stream.set_read_timeout(Some(said.late))?;
        let _none = stream.read(&mut some);
    }
    stream.write_all(said.text.as_bytes())
}

/// The line of a check with these keys.
fn check(keys: &str) -> String {
    format!("check = {{ {keys}, interval-ms = 50, timeout-ms = 1500, rise = 1, fall = 2 }}")
}

/// The lines of a pool with these keys, and this check.
fn lines(keys: &str, checked: &str) -> String {
    format!("kind = \"least-load\"\n{keys}\n{FAST}\n{}", check(checked))
}

fn addresses_of(node: &Node) -> Result<Vec<Value>> {
    Ok(node.pool("web")?["addresses"].as_array().context("addresses")?.clone())
}

/// The shares of clients that endpoints get, by what the node says.
fn told(node: &Node) -> Result<Vec<f64>> {
    let share = |it: &Value| Ok(it["share-ppm"].as_u64().context("share-ppm")? as f64 / 1e6);
    addresses_of(node)?.iter().map(share).collect()
}

/// Waits until the share of an endpoint is so.
fn gets(node: &Node, index: usize, wanted: std::ops::Range<f64>) -> Result<Vec<f64>> {
    let what = || format!("{wanted:?} for {index}: {:?}\n{}", node.pool("web"), node.log());
    tools::poll("the share", SEEN_WITHIN, || {
        Ok(Some(told(node)?).filter(|shares| wanted.contains(&shares[index])))
    })
    .with_context(what)
}

/// Waits until this is said in the status of the pool.
fn is_told(node: &Node, said: &str) -> Result<()> {
    let status = || node.does(&["pool", "status", "web"]);
    tools::poll(said, SEEN_WITHIN, || Ok(status()?.contains(said).then_some(())))
        .with_context(|| format!("{:?}", status()))
}

/// Waits until all answers have this address alone.
fn answers_only(node: &Node, address: Ipv4Addr) -> Result<()> {
    tools::poll("one is answered with", SEEN_WITHIN, || {
        Ok(ask_often(node)?.iter().all(|answer| answer[..] == [address]).then_some(()))
    })
    .with_context(|| format!("{address}: {:?}", node.pool("web")))
}

#[test]
fn shares_follow_what_a_header_says_by_and_by_and_are_never_nothing() -> Result<()> {
    let ([first, second], port) = addresses()?;
    let one = Server::web(first, port, "x-load: 50.5", "all is well")?;
    let two = Server::web(second, port, "x-load: 50.5", "all is well")?;
    let endpoints = [(first, 10), (second, 30)];
    let lines =
        lines("load = \"header\"\nload-header = \"X-Load\"", &format!("kind = \"http\", port = {port}"));
    let mut node = Node::running(&weighted(&lines, &endpoints))?;
    for address in [first, second] {
        node.finds("web", address, "up")?;
    }
    // With equal loads it is as weights say.
    gets(&node, 0, 0.245..0.255)?;
    is_told(&node, "load, by header: 50.5, 50.5 at the last look; weight ")?;
    are_near(&shares(&ask_often(&node)?), &[(first, 0.25), (second, 0.75)])?;
    let changes = || -> Result<Value> { Ok(node.pool("web")?["families"][0]["changes"].clone()) };
    let before = changes()?;
    one.has("x-load: 90");
    two.has("x-load: 10");
    let mut seen = vec![0.25];
    tools::poll("it gets less and less", SEEN_WITHIN, || {
        let share = told(&node)?[0];
        ensure!(share > 0.0, "never nothing");
        if seen.last() != Some(&share) {
            seen.push(share);
        }
        Ok((share <= 0.0201).then_some(()))
    })
    .with_context(|| format!("{seen:?}"))?;
    ensure!(seen.len() > 5 && seen.windows(2).all(|two| two[1] < two[0] + 0.003), "{seen:?}");
    are_near(&shares(&ask_often(&node)?), &[(first, 0.02), (second, 0.98)])?;
    is_told(&node, "weight 0.8 of 10")?;
    // Steps are no changes of what is selected.
    ensure!(changes()? == before, "{:?}", node.pool("web"));
    // What is known outlives a reload, though the TTL is another one.
    let zone = "[[zone]]\nname = \"example.com\"\nfile = \"example.com\"\n";
    let longer = weighted(&format!("ttl-s = 90\n{lines}"), &endpoints);
    node.configure(&format!("{zone}{longer}"))?;
    node.does(&["reload"])?;
    tools::poll("the TTL", SEEN_WITHIN, || {
        Ok((node.ask(WWW, crate::node::TYPE_A)?.ttl == Some(90)).then_some(()))
    })?;
    ensure!(told(&node)?[0] < 0.03, "{:?}", told(&node)?);
    // So it does a restart.
    tools::poll("it is kept", SEEN_WITHIN, || {
        let kept = std::fs::read_to_string(node.path("state/pools")).unwrap_or_default();
        Ok(kept.contains("\"share-permille\":80").then_some(()))
    })?;
    node.end()?;
    node.start()?;
    ensure!(told(&node)?[0] < 0.03, "{:?}", told(&node)?);
    // And back.
    one.has("x-load: 10");
    two.has("x-load: 90");
    gets(&node, 0, 0.8..1.0).map(drop)
}

#[test]
fn a_number_that_is_missing_or_cannot_be_is_said_and_is_no_free_ride() -> Result<()> {
    let ([first, second], port) = addresses()?;
    let one = Server::web(first, port, "x-load: 10", "all is well")?;
    let _two = Server::web(second, port, "x-load: 60", "all is well")?;
    let keys = "load = \"header\"\nload-header = \"X-Load\"";
    let lines = lines(keys, &format!("kind = \"http\", port = {port}"));
    let node = Node::running(&weighted(&lines, &[(first, 10), (second, 10)]))?;
    gets(&node, 0, 0.8..1.0)?;
    for (line, said) in [
        ("x-load: -5", "no load at the last look: -5 is no load"),
        ("x-load: 99999999999", "no load at the last look: 99999999999 is no load"),
        ("x-load: much", "no load at the last look: its answer has x-load: much"),
        ("x-other: 5", "no load at the last look: its answer has no x-load"),
    ] {
        one.has(line);
        is_told(&node, said)?;
    }
    is_told(&node, "too long ago to count")?;
    // What it had of others goes back, and no more.
    gets(&node, 0, 0.0..0.56)?;
    node.finds("web", first, "up")
}

#[test]
fn shares_follow_what_a_body_says() -> Result<()> {
    let ([first, second, third], port) = addresses()?;
    let web = |address, load: &str| {
        let body = format!("{{\"name\": \"e\", \"load\": {load}, \"say\": \"all is well\"}}");
        Server::web(address, port, "x-load: 5", &body)
    };
    let _all = (web(first, "0.9")?, web(second, "9e-2")?, web(third, "0.09")?);
    let keys = "load = \"body\"\nload-after = '\"load\":'\nanswers = \"set\"";
    let lines = lines(keys, &format!("kind = \"http\", port = {port}, contains = \"well\""));
    let node = Node::running(&pool("web", NAMES, &lines, &[(first, 1), (second, 1), (third, 1)]))?;
    gets(&node, 0, 0.001..0.05)?;
    is_told(&node, "load, by body: 0.9, 0.9 at the last look; weight")?;
    // In a set the heaviest are always there.
    tools::poll("the shares", SEEN_WITHIN, || {
        let shares = shares(&ask_often(&node)?);
        let of = |address: &Ipv4Addr| shares.get(address).copied().unwrap_or_default();
        Ok((of(&first) < 0.1 && of(&second) > 0.9 && of(&third) > 0.9).then_some(()))
    })
}

#[test]
fn who_answers_late_gets_less() -> Result<()> {
    let ([first, second], port) = addresses()?;
    let one = Server::web(first, port, "x: y", "all is well")?;
    let _two = Server::web(second, port, "x: y", "all is well")?;
    // On a busy machine all are late by a little.
    let keys = "load = \"response-time\"\nload-idle = 60.5";
    let lines = lines(keys, &format!("kind = \"http\", port = {port}, contains = \"well\""));
    let node = Node::running(&weighted(&lines, &[(first, 30), (second, 10)]))?;
    gets(&node, 1, 0.2..0.3)?;
    one.is_late(Duration::from_millis(400));
    gets(&node, 0, 0.001..0.2)?;
    let status = &addresses_of(&node)?[0];
    ensure!(status["load"]["smoothed-milli"].as_u64() > Some(300_000), "{status:?}");
    is_told(&node, " ms at the last look; weight")
}

#[test]
fn how_long_it_takes_to_connect_may_be_the_load() -> Result<()> {
    let ([first, second], port) = addresses()?;
    let _one = Server::web(first, port, "x: y", "all is well")?;
    let two = Server::web(second, port, "x: y", "all is well")?;
    // An answer may be late as long as the connection isn't.
    two.is_late(Duration::from_millis(200));
    let lines = lines("load = \"connect-time\"\nload-idle = 100", &format!("kind = \"http\", port = {port}"));
    let node = Node::running(&weighted(&lines, &[(first, 30), (second, 10)]))?;
    node.finds("web", second, "up")?;
    is_told(&node, "load, by connect-time: ")?;
    tools::poll("it is known of both", SEEN_WITHIN, || {
        let all = addresses_of(&node)?;
        Ok(all.iter().all(|it| it["load"]["counts"] == true).then_some(()))
    })?;
    let known = addresses_of(&node)?;
    ensure!(known[1]["load"]["smoothed-milli"].as_u64() < Some(100_000), "{known:?}");
    ensure!(known[1]["took-us"].as_u64() > Some(150_000), "{known:?}");
    gets(&node, 0, 0.7..0.8).map(drop)
}

#[test]
fn agents_say_what_is_left_and_what_they_wish() -> Result<()> {
    let ([first, second], port) = addresses()?;
    let agent_port = free_port(first)?;
    let _web = (Server::web(first, port, "x: y", "well")?, Server::web(second, port, "x: y", "well")?);
    let one = Server::agent(first, agent_port, "up 100%\n")?;
    let two = Server::agent(second, agent_port, "ready, 25% maxconn:30\r\nignored")?;
    let keys = format!("load = \"agent\"\nload-agent-port = {agent_port}");
    let lines = lines(&keys, &format!("kind = \"http\", port = {port}"));
    let node = Node::running(&weighted(&lines, &[(first, 100), (second, 100)]))?;
    gets(&node, 1, 0.18..0.23)?;
    is_told(&node, "left, by its agent: 25 %, 25 % at the last look; weight")?;
    // What can't be understood changes nothing.
    two.says("<html>\n");
    is_told(&node, "no load at the last look: its agent says \"<html>\"")?;
    two.says(&"x".repeat(1 << 20));
    is_told(&node, "no load at the last look: its agent says \"xxxx")?;
    two.is_late(Duration::from_secs(3));
    is_told(&node, "no load at the last look: its agent says nothing within 1500 ms")?;
    two.is_late(Duration::ZERO);
    node.finds("web", second, "up")?;
    ensure!(told(&node)?[1] < 0.25, "{:?}", told(&node)?);
    // It wishes to be left alone, and nobody has said anything by hand.
    two.says("drain");
    answers_only(&node, first)?;
    is_told(&node, "; drained by its agent")?;
    let second_of = |node: &Node| -> Result<Value> { Ok(addresses_of(node)?[1].clone()) };
    let status = second_of(&node)?;
    ensure!(status["admin"] == "auto" && status["health"] == "up", "{status:?}");
    // Where there is nobody else it is answered with, and what an operator says counts for more.
    one.says("0%\n");
    tools::poll("both are answered with", SEEN_WITHIN, || {
        let shares = told(&node)?;
        Ok(shares.iter().all(|share| *share > 0.0).then_some(()))
    })?;
    node.does(&["pool", "set", "web", "e1", "up"])?;
    answers_only(&node, second)?;
    node.does(&["pool", "set", "web", "e1", "auto"])?;
    one.says("100%\n");
    answers_only(&node, first)?;
    // It comes back with a little.
    two.says("ready 100% up");
    let back = gets(&node, 1, 0.001..1.0)?[1];
    ensure!(back < 0.4, "{back}");
    gets(&node, 1, 0.45..0.55)?;
    two.says("down # for repair\n");
    node.sees_bad("web", 1, "its agent says down: for repair")?;
    two.says("up\n");
    node.finds("web", second, "up")?;
    // An agent that is gone is no fault of the endpoint's.
    drop(two);
    is_told(&node, "no load at the last look: its agent: no connection")?;
    node.finds("web", second, "up")
}

#[test]
fn a_check_of_the_configuration_finds_loads_that_cannot_be_found_out() -> Result<()> {
    let address: Ipv4Addr = "192.0.2.7".parse()?;
    for (keys, checked, said) in [
        ("", "kind = \"tcp\", port = 80", "the pool has no `load`"),
        ("load = \"header\"", "kind = \"http\", port = 80", "the pool has no `load-header`"),
        (
            "load = \"body\"",
            "kind = \"tcp\", port = 80",
            "the load is in a page, and the check asks for none",
        ),
        ("load = \"connect-time\"", "kind = \"icmp\"", "the check makes no connection"),
    ] {
        let node = Node::new(&pool("web", NAMES, &lines(keys, checked), &[(address, 1)]))?;
        node.refuses(said)?;
    }
    Ok(())
}
