//! The management address of a server alone: metrics, health, and clients that mean no good.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use starling_tests::name::Name;
use starling_tests::openmetrics::{self, Samples};
use starling_tests::process::Process;
use starling_tests::query::Query;
use starling_tests::server::own_address;
use starling_tests::{client, http, tools};

use crate::node::{Node, Site, TYPE_A, run, said, small_zone};

/// How long a count may take to show: it is published after its batch.
const SHOWN_WITHIN: Duration = Duration::from_secs(5);
/// How long what gets no answer is waited for.
const SILENCE: Duration = Duration::from_millis(100);
/// The server's deadline for a whole request is 5 s; the rest is for a busy machine.
const CLOSED_WITHIN: Duration = Duration::from_secs(9);
/// How many connections there may be.
const CONNECTIONS_MAX: usize = 64;
const FLOOD: usize = 2 * CONNECTIONS_MAX;

struct Managed {
    node: Node,
    site: Site,
    zone: tempfile::NamedTempFile,
}

impl Managed {
    fn start() -> Result<Managed> {
        let zone = tempfile::NamedTempFile::new()?;
        std::fs::write(zone.path(), small_zone(1, ""))?;
        let lines = format!(
            "name = \"ams1\"\nlisten = [\"{}:0\"]\n[management]\nlisten = [\"{}:0\", \"[::1]:0\"]\n",
            own_address(),
            own_address()
        );
        let site = Site::new(&[("small.example", zone.path())], &lines)?;
        let node = site.start()?;
        ensure!(node.management.len() == 2, "two `management` lines: {:?}", node.management);
        Ok(Managed { node, site, zone })
    }

    fn address(&self) -> SocketAddr {
        self.node.management[0]
    }

    fn metrics(&self) -> Result<Samples> {
        let answer = http::get(self.address(), "/metrics")?;
        ensure!(answer.status == 200, "{answer:?}");
        let content_type = answer.headers.get("content-type").map(String::as_str);
        ensure!(content_type == Some(openmetrics::CONTENT_TYPE), "{content_type:?}");
        openmetrics::read(&answer.body).with_context(|| answer.body.clone())
    }

    /// Waits until each series has its value; all samples then.
    fn shows(&self, expected: &[(&str, f64)]) -> Result<Samples> {
        let deadline = Instant::now() + SHOWN_WITHIN;
        loop {
            let samples = self.metrics()?;
            let wrong = expected.iter().find(|(series, value)| samples.get(*series) != Some(value));
            let Some((series, value)) = wrong else { return Ok(samples) };
            ensure!(Instant::now() < deadline, "{series} is not {value}: {samples:#?}");
        }
    }

    /// How many descriptors the process has open.
    fn descriptor_count(&self) -> Result<usize> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.node.process.pid()))?.count())
    }
}

#[test]
fn metrics_count_what_happens() -> Result<()> {
    let managed = Managed::start()?;
    let udp = "starling_queries_total{transport=\"udp\",family=\"ipv4\"}";
    let before = managed.metrics()?;
    ensure!(before[udp] == 0.0 && before["starling_server_up"] == 1.0, "{before:#?}");
    for _ in 0..5 {
        managed.node.ask("www.small.example.", TYPE_A)?;
    }
    for _ in 0..3 {
        managed.node.ask("none.small.example.", TYPE_A)?;
    }
    ensure!(client::udp_raw(managed.node.address(), b"short", SILENCE)?.is_none());
    let query = Query::new(Name::parse("www.small.example.")?, TYPE_A).bytes(1);
    client::tcp(managed.node.address(), &[query.clone(), query])?;

    let expected = [
        (udp, 9.0),
        ("starling_queries_total{transport=\"udp\",family=\"ipv6\"}", 0.0),
        ("starling_queries_total{transport=\"tcp\",family=\"ipv4\"}", 2.0),
        ("starling_answers_total{transport=\"udp\",family=\"ipv4\",rcode=\"NOERROR\"}", 5.0),
        ("starling_answers_total{transport=\"udp\",family=\"ipv4\",rcode=\"NXDOMAIN\"}", 3.0),
        ("starling_answers_total{transport=\"tcp\",family=\"ipv4\",rcode=\"NOERROR\"}", 2.0),
        ("starling_drops_total{cause=\"queue\"}", 0.0),
        ("starling_drops_total{cause=\"silent\"}", 1.0),
        ("starling_tcp_connections_accepted_total", 1.0),
        ("starling_zones{state=\"ok\"}", 1.0),
        ("starling_zones_unlisted", 0.0),
        ("starling_zone_serial{zone=\"small.example.\"}", 1.0),
    ];
    let after = managed.shows(&expected)?;
    ensure!(before.keys().all(|series| after.contains_key(series)), "a series is gone: {after:#?}");
    Ok(())
}

#[test]
fn metrics_follow_a_reload() -> Result<()> {
    let managed = Managed::start()?;
    let table =
        |samples: &Samples| samples.keys().find(|key| key.starts_with("starling_zone_table_info")).cloned();
    let first = table(&managed.metrics()?);
    ensure!(first.is_some());
    std::fs::write(managed.zone.path(), small_zone(2, "more A 192.0.2.9\n"))?;
    ensure!(managed.node.ctl(&["reload"])?.status.success());
    let second = managed.shows(&[("starling_zone_serial{zone=\"small.example.\"}", 2.0)])?;
    ensure!(table(&second) != first, "another table has another digest: {second:#?}");

    std::fs::write(managed.zone.path(), "no zone")?;
    ensure!(!managed.node.ctl(&["reload"])?.status.success());
    let third = managed.shows(&[("starling_zones{state=\"stale\"}", 1.0)])?;
    ensure!(third["starling_zone_serial{zone=\"small.example.\"}"] == 2.0, "{third:#?}");
    ensure!(third["starling_zone_errors{zone=\"small.example.\"}"] >= 1.0, "{third:#?}");
    let ready = http::get(managed.address(), "/readyz")?;
    ensure!(ready.status == 200 && ready.body.contains("1 stale"), "{ready:?}");
    Ok(())
}

#[test]
fn every_address_answers_and_only_what_may_be_asked() -> Result<()> {
    let managed = Managed::start()?;
    for address in &managed.node.management {
        let answer = http::get(*address, "/healthz")?;
        ensure!(answer.status == 200 && answer.body == "healthy\n", "{address}: {answer:?}");
    }
    let cases = [
        ("GET", "/readyz", 200),
        ("GET", "/state", 404),
        ("GET", "/", 404),
        ("GET", "/metrics?debug=1", 200),
        ("HEAD", "/metrics", 200),
        ("HEAD", "/nothing", 404),
        ("POST", "/metrics", 405),
        ("DELETE", "/healthz", 405),
    ];
    for (method, path, status) in cases {
        let answer = http::ask(managed.address(), method, path)?;
        ensure!(answer.status == status, "{method} {path}: {answer:?}");
        ensure!((method == "HEAD") == answer.body.is_empty(), "{method} {path}: {answer:?}");
        ensure!((status == 405) == answer.headers.contains_key("allow"), "{method} {path}: {answer:?}");
    }
    Ok(())
}

#[test]
fn loading_is_told_and_is_not_health() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let zone = folder.path().join("large.zone");
    std::fs::write(&zone, small_zone(1, "$GENERATE 1-1000000 h$ A 192.0.2.1\n"))?;
    let address = SocketAddr::new(own_address().into(), 0);
    let address = TcpListener::bind(address)?.local_addr()?; // free again at the end of the line
    let config = folder.path().join("node.toml");
    let text = format!(
        "[node]\nlisten = [\"{}:0\"]\ncontrol = \"none\"\n[management]\nlisten = [\"{address}\"]\n[[zone]]\nname = \
         \"small.example\"\nfile = \"large.zone\"\n",
        own_address()
    );
    std::fs::write(&config, text)?;
    let mut command = Command::new(tools::starling()?);
    command.arg("serve").arg("--config").arg(&config);
    let _process = Process::spawn("starling", &command, &folder.path().join("log"))?;
    let mut seen = Vec::new();
    tools::poll("a healthy node", Duration::from_secs(60), || {
        let Ok(health) = http::get(address, "/healthz") else { return Ok(None) };
        let line = format!("{} {}", health.status, health.body.trim_end());
        if seen.last() != Some(&line) {
            seen.push(line);
        }
        Ok((health.status == 200).then_some(()))
    })?;
    ensure!(seen == ["503 the server loads its zones", "200 healthy"], "{seen:?}");
    Ok(())
}

/// Connections of clients that say nothing don't keep others out, take no more than their share of descriptors, and
/// the name server does not mind.
#[test]
fn silent_clients_keep_nobody_out() -> Result<()> {
    let managed = Managed::start()?;
    // Whoever answers has opened what there is to open.
    http::get(managed.address(), "/healthz")?;
    let before = managed.descriptor_count()?;
    let mut silent: Vec<TcpStream> = Vec::new();
    for at in 0..FLOOD {
        silent.push(client::connect(managed.address())?);
        if at % 10 == 9 {
            let start = Instant::now();
            let answer = http::get(managed.address(), "/healthz")?;
            ensure!(answer.status == 200, "{answer:?}");
            // Half of what it takes until the first silent ones are cut off.
            ensure!(start.elapsed() < Duration::from_secs(1), "after {at}: {:?}", start.elapsed());
        }
    }
    let open = managed.descriptor_count()? - before;
    ensure!(open <= CONNECTIONS_MAX, "{open} connections are open");
    ensure!(managed.node.serial("small.example.")? == 1);
    for (what, said) in [("nothing", ""), ("half a request", "GET /metrics HTTP/1.1\r\nHost: x")] {
        let start = Instant::now();
        let mut stream = client::connect(managed.address())?;
        stream.write_all(said.as_bytes())?;
        let mut octets = Vec::new();
        let _closed_or_reset = stream.read_to_end(&mut octets);
        ensure!(start.elapsed() < CLOSED_WITHIN, "{what}: closed only after {:?}", start.elapsed());
    }
    Ok(())
}

#[test]
fn hostile_requests_are_refused() -> Result<()> {
    let managed = Managed::start()?;
    let long = format!("GET /metrics HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    let many = format!("GET /metrics HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(500));
    let pipelined = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n".repeat(3);
    let cases = [
        ("garbage", "\u{16}\u{3}\u{1}\r\n\r\n", "400"),
        ("another protocol", "SSH-2.0-x\r\n\r\n", "400"),
        ("a long head", &long, "431"),
        ("many fields", &many, "431"),
        ("more requests than one", &pipelined, "200"),
    ];
    for (what, request, status) in cases {
        let mut stream = client::connect(managed.address())?;
        stream.write_all(request.as_bytes()).context(what)?;
        let mut answer = Vec::new();
        // What the server leaves unread may reset the connection after its answer.
        let _closed_or_reset = stream.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer);
        let wanted = format!("HTTP/1.1 {status}");
        ensure!(text.is_empty() || text.starts_with(&wanted), "{what}: {text}");
        ensure!(text.matches("HTTP/1.1").count() <= 1, "{what}: {text}");
        ensure!(http::get(managed.address(), "/healthz")?.status == 200, "after {what}");
    }
    ensure!(managed.node.serial("small.example.")? == 1);
    Ok(())
}

#[test]
fn an_address_that_cannot_be_had_is_told_with_what_to_do() -> Result<()> {
    let managed = Managed::start()?;
    let taken = managed.address();
    let folder = tempfile::tempdir()?;
    let zone = managed.zone.path().display().to_string();
    for (address, hint) in [(taken.to_string(), "ss -ltnp"), ("192.0.2.1:8053".to_owned(), "[management]")] {
        let config = folder.path().join("node.toml");
        let text = format!(
            "[node]\nlisten = [\"127.0.0.1:0\"]\ncontrol = \"none\"\n[management]\nlisten = [\"{address}\"]\n[[zone]]\n\
             name = \"small.example\"\nfile = \"{zone}\"\n"
        );
        std::fs::write(&config, text)?;
        let output = run(Command::new(tools::starling()?).arg("serve").arg("--config").arg(&config))?;
        let text = said(&output);
        ensure!(output.status.code() == Some(1), "{}\n{text}", output.status);
        ensure!(text.contains(&address) && text.contains(hint), "{text}");
    }
    // The node that has the address goes on; a restart of it has the same port at once.
    drop(managed.node);
    managed.site.start()?;
    Ok(())
}
