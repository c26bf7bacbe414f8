//! A node with very many zones that are copies: a change of one costs what one costs.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use starling_tests::client::{self, read_framed, write_framed};
use starling_tests::message::Message;
use starling_tests::name::Name;
use starling_tests::query::Query;
use starling_tests::server::own_socket_address;
use starling_tests::tools;

use crate::fake::{TYPE_A, TYPE_AXFR, TYPE_IXFR, TYPE_SOA};
use crate::site::{Node, Site};

const TYPE_NS: u16 = 2;
/// An answer with the question alone: QR and AA.
const ANSWER: u16 = 0x8400;
/// A NOTIFY request: its opcode and AA.
const NOTIFY: u16 = 0x2400;
/// Where the question's name is, as a compression pointer.
const AT_QUESTION: [u8; 2] = [0xc0, 12];
/// How long it may take until all zones are there.
const READY_WITHIN: Duration = Duration::from_secs(300);
/// How long the primary waits for a question before it looks whether it is to end.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How many zones change, one after the other.
const CHANGES: usize = 40;

fn zone_count() -> usize {
    let of_long = std::env::var("STARLING_ZONES").ok().and_then(|count| count.parse().ok());
    if tools::long_run() { of_long.unwrap_or(10_000) } else { 500 }
}

fn zone(index: usize) -> String {
    format!("z{index}.example.")
}

/// A primary that has every zone that it is asked for: with serial 1, until it says otherwise.
pub(crate) struct Everything {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    ending: AtomicBool,
    /// By the name of the zone, as it is in a message.
    serials: Mutex<HashMap<Vec<u8>, u32>>,
}

impl Everything {
    pub(crate) fn start() -> Result<Self> {
        let address = own_socket_address()?;
        let (udp, tcp) = (UdpSocket::bind(address)?, TcpListener::bind(address)?);
        udp.set_read_timeout(Some(LOOK_EVERY))?;
        let shared = Arc::<Shared>::default();
        let (of_udp, of_tcp) = (Arc::clone(&shared), Arc::clone(&shared));
        let threads = vec![
            thread::spawn(move || {
                let mut buffer = [0; 1500];
                while !of_udp.ending.load(Ordering::Relaxed) {
                    let Ok((len, from)) = udp.recv_from(&mut buffer) else { continue };
                    let _gone = udp.send_to(&of_udp.answer(&buffer[..len]), from);
                }
            }),
            thread::spawn(move || {
                for stream in tcp.incoming() {
                    if of_tcp.ending.load(Ordering::Relaxed) {
                        return;
                    }
                    // One after the other: each takes no time.
                    let _hung_up = stream.map(|stream| of_tcp.serve(stream));
                }
            }),
        ];
        Ok(Self { address, shared, threads })
    }

    /// Has a zone of this serial from now on, with one record more.
    pub(crate) fn change(&self, zone: &str, serial: u32) -> Result<()> {
        let mut serials = self.shared.serials.lock().unwrap_or_else(PoisonError::into_inner);
        serials.insert(Name::parse(zone)?.wire().to_vec(), serial);
        Ok(())
    }
}

impl Drop for Everything {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::Relaxed);
        // Wakes the accept.
        let _ended = TcpStream::connect(self.address);
        for thread in self.threads.drain(..) {
            let _panicked = thread.join();
        }
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) -> Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let request = read_framed(&mut stream)?.context("no request")?;
        write_framed(&mut stream, &self.answer(&request))
    }

    fn answer(&self, request: &[u8]) -> Vec<u8> {
        let name_len = request[12..].iter().position(|octet| *octet == 0).unwrap_or_default() + 1;
        let question = &request[12..12 + name_len + 4];
        let qtype = u16::from_be_bytes([question[name_len], question[name_len + 1]]);
        let serials = self.serials.lock().unwrap_or_else(PoisonError::into_inner);
        let serial = serials.get(&question[..name_len]).copied().unwrap_or(1);
        drop(serials);
        let address = |last| record(TYPE_A, &[192, 0, 2, last]);
        let answers = match qtype {
            TYPE_SOA => vec![soa(serial)],
            TYPE_IXFR if serial == 1 => vec![soa(1)],
            TYPE_IXFR => vec![soa(serial), soa(1), soa(serial), address(serial as u8), soa(serial)],
            TYPE_AXFR => vec![soa(serial), record(TYPE_NS, &AT_QUESTION), address(1), soa(serial)],
            _ => Vec::new(),
        };
        let counts = [ANSWER, 1, answers.len() as u16, 0, 0].map(u16::to_be_bytes);
        [&request[..2], counts.as_flattened(), question, &answers.concat()].concat()
    }
}

fn record(rtype: u16, rdata: &[u8]) -> Vec<u8> {
    let fixed = [rtype, 1, 0, 300, rdata.len() as u16].map(u16::to_be_bytes);
    [&AT_QUESTION, fixed.as_flattened(), rdata].concat()
}

fn soa(serial: u32) -> Vec<u8> {
    let numbers = [serial, 3600, 3600, 604_800, 60].map(u32::to_be_bytes);
    record(TYPE_SOA, &[&AT_QUESTION, &AT_QUESTION, numbers.as_flattened()].concat())
}

/// A node with so many zones, all of which are there.
fn node_with(site: &Site, zones: usize, primary: SocketAddr) -> Result<Node> {
    let mut text = format!(
        "[node]\nlisten = [\"{}\"]\ncontrol = \"control\"\nworkers = 1\n[secondary]\nnotify-from = [\"127.0.0.0/8\"]\n",
        site.listen
    );
    for index in 0..zones {
        let name = zone(index);
        write!(text, "[[zone]]\nname = \"{name}\"\nprimaries = [\"{primary}\"]\nrefresh-min-s = 3600\n")?;
    }
    std::fs::write(site.path("node.toml"), text)?;
    let node = site.restart()?;
    tools::poll("all zones are there", READY_WITHIN, || Ok((zones_ok(&node)? == zones).then_some(())))
        .with_context(|| node.process.log_tail())?;
    Ok(node)
}

fn status(node: &Node) -> Result<serde_json::Value> {
    Ok(serde_json::from_slice(&node.ctl(&["status", "--json"])?.stdout)?)
}

pub(crate) fn zones_ok(node: &Node) -> Result<usize> {
    Ok(status(node)?["zones"]["ok"].as_u64().context("a number")? as usize)
}

/// Tells the node of a change of a zone, and waits until it answers with it.
pub(crate) fn change(node: &Node, name: &str, serial: u32) -> Result<()> {
    let question = [Name::parse(name)?.wire(), [TYPE_SOA, 1].map(u16::to_be_bytes).as_flattened()].concat();
    let header = [7, NOTIFY, 1, 0, 0, 0].map(u16::to_be_bytes);
    let query = Query::new(Name::parse(name)?, TYPE_SOA).bytes(8);
    client::udp(node.address, &[[header.as_flattened(), &question].concat()])?;
    tools::poll("the change is answered with", Duration::from_secs(30), || {
        let answer = client::udp(node.address, std::slice::from_ref(&query))?.pop().flatten();
        let message = Message::decode(&answer.context("no answer")?)?;
        let soa = &message.answer.first().context("a record")?.rdata;
        let at = soa.len() - 20;
        Ok((u32::from_be_bytes(soa[at..at + 4].try_into()?) == serial).then_some(()))
    })
}

#[test]
fn a_change_of_one_of_many_zones_is_shown_and_no_other_is() -> Result<()> {
    let zones = zone_count();
    let (primary, site) = (Everything::start()?, Site::new()?);
    let node = node_with(&site, zones, primary.address)?;
    let changed: Vec<usize> = (0..CHANGES).map(|step| step * zones / CHANGES).collect();
    for index in &changed {
        primary.change(&zone(*index), 2)?;
        change(&node, &zone(*index), 2)?;
    }
    let micros = status(&node)?["copies"]["latencies"]["micros"].as_u64().context("a number")?;
    let mean = micros / CHANGES as u64;
    tools::announce(&format!("{zones} zones, from the NOTIFY to the answer: {mean} µs, mean of {CHANGES}"));
    let output = node.ctl(&["zones", "--json"])?;
    let shown: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout)?;
    ensure!(shown.len() == zones && zones_ok(&node)? == zones);
    for (index, shown) in shown.iter().enumerate() {
        let serial = if changed.contains(&index) { 2 } else { 1 };
        ensure!(shown["name"] == zone(index) && shown["served"]["serial"] == serial, "{index}: {shown}");
    }
    Ok(())
}
