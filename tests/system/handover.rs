//! One server takes the place of another on the same sockets, and no query is lost.

use std::collections::HashSet;
use std::io::Read;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use rustix::process::Signal;
use serde_json::json;
use starling_tests::client;
use starling_tests::message::Message;
use starling_tests::name::Name;
use starling_tests::query::Query;
use starling_tests::server::own_address;
use starling_tests::tools;

use crate::agent_link::{Linked, SOON, site};
use crate::node::{Site, TYPE_A, run, said};
use crate::renewed::hosts;

/// From one query of a client to its next: 1,000 a second over UDP and 200 over each way of TCP, which two servers at once
/// answer on a slow machine too.
const UDP_EVERY: Duration = Duration::from_millis(1);
const TCP_EVERY: Duration = Duration::from_millis(5);
/// An answer that takes longer is lost.
const LATE: Duration = Duration::from_secs(5);
/// Client sockets: the kernel chooses the worker by address and port, so that each worker gets some.
const UDP_SOCKETS: usize = 8;

fn query(id: u16) -> Result<Vec<u8>> {
    Ok(Query::new(Name::parse("www.small.example.")?, TYPE_A).bytes(id))
}

fn is_answer(bytes: &[u8]) -> bool {
    Message::decode(bytes).is_ok_and(|message| message.rcode() == 0 && message.answer.len() == 1)
}

/// Asks at a steady rate until it is told to stop; gives the number of queries, all of which were answered.
pub(crate) type Client = JoinHandle<Result<usize>>;

fn udp_client(server: SocketAddr, stop: Arc<AtomicBool>) -> Client {
    udp_client_inside(server, stop, || Ok(()))
}

/// A client over UDP on a thread that begins with `enter`, such as going to a network namespace.
pub(crate) fn udp_client_inside(
    server: SocketAddr,
    stop: Arc<AtomicBool>,
    enter: impl FnOnce() -> Result<()> + Send + 'static,
) -> Client {
    thread::spawn(move || {
        enter()?;
        let local = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let mut sockets = Vec::new();
        for _ in 0..UDP_SOCKETS {
            let socket = UdpSocket::bind(local)?;
            socket.connect(server)?;
            socket.set_nonblocking(true)?;
            sockets.push((socket, HashSet::new()));
        }
        let mut sent = 0;
        while !stop.load(Ordering::Relaxed) {
            let (socket, waiting) = &mut sockets[sent % UDP_SOCKETS];
            let id = (sent / UDP_SOCKETS) as u16;
            socket.send(&query(id)?)?;
            ensure!(waiting.insert(id), "an id is used twice: {} queries are open", waiting.len());
            sent += 1;
            while take_answer(socket, waiting)? {}
            thread::park_timeout(UDP_EVERY);
        }
        for (socket, waiting) in &mut sockets {
            tools::poll("all queries are answered", LATE, || {
                while take_answer(socket, waiting)? {}
                Ok(waiting.is_empty().then_some(()))
            })
            .with_context(|| format!("{} of {sent} queries were lost", waiting.len()))?;
        }
        Ok(sent)
    })
}

/// Takes an answer that has arrived; whether there was one.
fn take_answer(socket: &UdpSocket, waiting: &mut HashSet<u16>) -> Result<bool> {
    let mut buffer = [0; 4096];
    match socket.recv(&mut buffer) {
        Ok(len) => {
            ensure!(is_answer(&buffer[..len]), "a wrong answer: {:02x?}", &buffer[..len]);
            let id = u16::from_be_bytes([buffer[0], buffer[1]]);
            ensure!(waiting.remove(&id), "an answer to {id}, which is not asked");
            Ok(true)
        }
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn ask(stream: &mut TcpStream, id: u16) -> Result<()> {
    client::write_framed(stream, &query(id)?)?;
    let answer = client::read_framed(stream)?.context("the connection was closed instead of an answer")?;
    ensure!(is_answer(&answer), "a wrong answer: {answer:02x?}");
    Ok(())
}

/// Waits for the next query's turn.
fn pause() {
    thread::park_timeout(TCP_EVERY);
}

/// A connection for each query.
fn connecting_client(server: SocketAddr, stop: Arc<AtomicBool>) -> Client {
    thread::spawn(move || {
        let mut asked: usize = 0;
        while !stop.load(Ordering::Relaxed) {
            ask(&mut client::connect(server)?, asked as u16)
                .with_context(|| format!("connection {asked}"))?;
            asked += 1;
            pause();
        }
        Ok(asked)
    })
}

/// One connection that goes on asking; in the end it is quiet, and the server closes it.
fn lasting_client(mut stream: TcpStream, stop: Arc<AtomicBool>) -> Client {
    thread::spawn(move || {
        let mut asked: usize = 0;
        while !stop.load(Ordering::Relaxed) {
            ask(&mut stream, asked as u16)
                .with_context(|| format!("query {asked} of a lasting connection"))?;
            asked += 1;
            pause();
        }
        let closed = stream.read(&mut [0; 1]).context("a quiet connection is closed")?;
        ensure!(closed == 0, "more than was asked for");
        Ok(asked)
    })
}

fn joined(client: Client, what: &str) -> Result<usize> {
    let asked = client.join().map_err(|_| anyhow!("{what}: panicked"))?;
    let asked = asked.with_context(|| what.to_owned())?;
    ensure!(asked > 0, "{what}: nothing was asked");
    Ok(asked)
}

/// Passes the sockets of one server to the next, as the agent does.
fn hand_over(old: &Linked, new: &Linked) -> Result<usize> {
    old.link.send(&json!({"frame": "hand-over"}), &[])?;
    let mut count = 0;
    loop {
        let (frame, fds) = old.link.expect("sockets").with_context(|| old.process.log_tail())?;
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        count += fds.len();
        new.link.send(&frame, &fds)?;
        if frame["last"] == true {
            return Ok(count);
        }
    }
}

#[test]
fn no_query_is_lost_when_a_server_is_replaced() -> Result<()> {
    let listen = format!("listen = [\"{}:0\", \"[::1]:0\"]", own_address());
    let (site, _zone) =
        site(&format!("{listen}\nworkers = 2\nstate-dir = \"state\"\ntcp.idle-timeout-ms = 20000"))?;
    let mut old = Linked::launch(&site, "old", false)?;
    old.ready()?;
    let stop = Arc::new(AtomicBool::new(false));
    let lasting_stop = Arc::new(AtomicBool::new(false));
    let mut clients = Vec::new();
    for address in old.addresses.clone() {
        clients.push((udp_client(address, Arc::clone(&stop)), format!("UDP {address}")));
        clients.push((connecting_client(address, Arc::clone(&stop)), format!("TCP {address}")));
    }
    let lasting = lasting_client(client::connect(old.addresses[0])?, Arc::clone(&lasting_stop));
    beats(&old, 3)?;

    let mut new = Linked::launch(&site, "new", true)?;
    // Two workers for each of two addresses, a listener for each, and the lock.
    let handed = hand_over(&old, &new)?;
    ensure!(handed == 7, "{handed} descriptors were handed over");
    let ready = new.ready()?;
    ensure!(new.addresses == old.addresses && ready["workers"] == 2, "{ready}");
    beats(&new, 3)?;
    old.link.send(&json!({"frame": "leave"}), &[])?;
    // The old one goes on for a client that goes on.
    beats(&new, 15)?;
    ensure!(old.process.exited().is_none(), "it left a client behind\n{}", old.process.log_tail());
    lasting_stop.store(true, Ordering::Relaxed);
    joined(lasting, "a lasting connection")?;
    let status = old.process.wait(SOON)?;
    ensure!(status.code() == Some(0), "{status}\n{}", old.process.log_tail());
    beats(&new, 3)?;
    stop.store(true, Ordering::Relaxed);
    for (client, what) in clients {
        let asked = joined(client, &what).with_context(|| new.process.log_tail())?;
        tools::announce(&format!("{what}: {asked} queries, all answered"));
    }
    new.link.send(&json!({"frame": "stop"}), &[])?;
    let status = new.process.wait(SOON)?;
    ensure!(status.code() == Some(0), "{status}\n{}", new.process.log_tail());
    Ok(())
}

/// Lets a server beat so often.
fn beats(server: &Linked, count: usize) -> Result<()> {
    for _ in 0..count {
        server.link.expect("beat").with_context(|| server.process.log_tail())?;
    }
    Ok(())
}

#[test]
fn a_server_that_cannot_take_over_changes_nothing() -> Result<()> {
    let (site, zone) = site("workers = 1")?; // nor is there a version of before
    let mut old = Linked::launch(&site, "old", false)?;
    old.ready()?;
    let address = old.addresses[0];
    let good = std::fs::read(zone.path())?;
    std::fs::write(zone.path(), "no zone")?;
    let mut new = Linked::launch(&site, "new", true)?;
    hand_over(&old, &new)?;
    let status = new.process.wait(SOON)?;
    ensure!(status.code() == Some(1), "{status}\n{}", new.process.log_tail());
    std::fs::write(zone.path(), good)?;

    // One that gets nothing ends by itself too, and says why.
    let mut empty = Linked::launch(&site, "empty", true)?;
    empty.link.send(&json!({"frame": "sockets", "sockets": [], "last": true}), &[])?;
    let status = empty.process.wait(SOON)?;
    ensure!(status.code() == Some(1), "{status}\n{}", empty.process.log_tail());
    ensure!(empty.process.log().contains("no sockets"), "{}", empty.process.log_tail());

    let answer = client::udp_raw(address, &query(1)?, SOON)?.context("the old one answers")?;
    ensure!(is_answer(&answer.0), "a wrong answer");
    ask(&mut client::connect(address)?, 2)?;
    old.link.send(&json!({"frame": "stop"}), &[])?;
    let status = old.process.wait(SOON)?;
    ensure!(status.code() == Some(0), "{status}\n{}", old.process.log_tail());
    Ok(())
}

#[test]
fn what_the_configuration_changed_meanwhile_waits_for_a_restart() -> Result<()> {
    let (site, _zone) = site("workers = 2")?;
    let mut old = Linked::launch(&site, "old", false)?;
    old.ready()?;
    let config = site.path("node.toml");
    let text = std::fs::read_to_string(&config)?;
    std::fs::write(&config, text.replace("workers = 2", "workers = 3\ntcp.workers = 2"))?;
    let mut new = Linked::launch(&site, "new", true)?;
    hand_over(&old, &new)?;
    let ready = new.ready()?;
    ensure!(ready["workers"] == 2 && ready["tcp-threads"] == 1, "{ready}");
    let log = new.process.log();
    ensure!(log.contains("workers: 3 in the configuration, and 2 goes on"), "{log}");
    ensure!(!log.contains("listen:"), "the address is the same though its port was 0: {log}");
    Ok(())
}

#[test]
fn who_leaves_writes_over_nothing_of_its_successor() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("zone");
    std::fs::write(&file, hosts(1, ""))?;
    // With a journal, so that the image of a small change is put off.
    let lines = "workers = 1\nstate-dir = \"state\"\n[transfer]\nallow = [\"127.0.0.0/8\"]";
    let site = Site::new(&[("small.example", &file)], lines)?;
    let tables = site.path("state/tables");
    let (image, journal) = (tables.join("small.example.table"), tables.join("small.example.journal"));
    let is_other = |before: &[u8]| Ok(std::fs::read(&image).is_ok_and(|it| it != before).then_some(()));
    let mut old = Linked::launch(&site, "old", false)?;
    old.ready()?;
    tools::poll("the first image", SOON, || is_other(&[]))?;
    let first = std::fs::read(&image)?;
    std::fs::write(&file, hosts(2, "h77 A 198.51.100.1\n"))?;
    let mut reload = Command::new(tools::starling()?);
    reload.arg("ctl").arg("--control").arg(site.path("old.control")).arg("reload");
    let output = run(&mut reload)?;
    ensure!(output.status.success(), "{}", said(&output));
    tools::poll("the journal has it", SOON, || {
        Ok(std::fs::metadata(&journal).is_ok_and(|journal| journal.len() > 150).then_some(()))
    })?;
    ensure!(std::fs::read(&image)? == first, "the image was not put off");

    std::fs::write(&file, hosts(3, "h77 A 198.51.100.2\n"))?;
    let mut new = Linked::launch(&site, "new", true)?;
    hand_over(&old, &new)?;
    new.ready()?;
    tools::poll("the image of the new one", SOON, || is_other(&first))?;
    old.link.send(&json!({"frame": "leave"}), &[])?;
    let status = old.process.wait(SOON)?;
    ensure!(status.code() == Some(0), "{status}\n{}", old.process.log_tail());
    new.process.signal(Signal::KILL)?;
    new.process.wait(SOON)?;
    std::fs::write(&file, "this is no zone\n")?;
    let node = site.start()?;
    ensure!(node.serial("small.example.")? == 3, "{}", node.process.log());
    Ok(())
}
