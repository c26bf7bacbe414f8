//! Primaries that are broken or lie: the version before goes on being served, and the log says why.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use starling_tests::client::{read_framed, write_framed};
use starling_tests::name::Name;
use starling_tests::server::own_socket_address;

use crate::site::{SEEN_WITHIN, Seen, Site, ZONE, wait};

const QR_AA: u16 = 0x8400;
const TYPE_A: u16 = 1;
const TYPE_NS: u16 = 2;
const TYPE_CNAME: u16 = 5;
const TYPE_SOA: u16 = 6;
/// How long the fake waits for a question before it looks whether it is to end.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What a fake primary answers.
#[derive(Clone)]
struct Script {
    /// To a question for the SOA record.
    serial: u32,
    /// To a question for a transfer: the messages, without identifier.
    transfer: Transfer,
}

#[derive(Clone)]
enum Transfer {
    /// These, then the end of the connection.
    Messages(Vec<Vec<u8>>),
    /// The first, then the second for ever.
    Endless(Vec<u8>, Vec<u8>),
    /// Nothing, with the connection open.
    Silence,
}

/// A server that does as its script says.
struct Fake {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
    ending: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Fake {
    fn start(script: Script) -> Result<Self> {
        let address = own_socket_address()?;
        let (udp, tcp) = (UdpSocket::bind(address)?, TcpListener::bind(address)?);
        udp.set_read_timeout(Some(LOOK_EVERY))?;
        let (script, ending) = (Arc::new(Mutex::new(script)), Arc::<AtomicBool>::default());
        let (of_udp, udp_ends) = (Arc::clone(&script), Arc::clone(&ending));
        let (of_tcp, tcp_ends) = (Arc::clone(&script), Arc::clone(&ending));
        let threads = vec![
            thread::spawn(move || {
                let mut buffer = [0; 512];
                while !udp_ends.load(Ordering::Relaxed) {
                    let Ok((len, from)) = udp.recv_from(&mut buffer) else { continue };
                    let serial = held(&of_udp).serial;
                    let mut answer = message(&buffer[12..len], &[soa(serial)]);
                    answer[..2].copy_from_slice(&buffer[..2]);
                    let _gone = udp.send_to(&answer, from);
                }
            }),
            thread::spawn(move || {
                for stream in tcp.incoming() {
                    if tcp_ends.load(Ordering::Relaxed) {
                        return;
                    }
                    let script = held(&of_tcp).clone();
                    // One after the other, as the node asks. What goes wrong is that it hangs up, as it may.
                    let _hung_up = stream.map(|stream| transfer(stream, script, &tcp_ends));
                }
            }),
        ];
        Ok(Self { address, script, ending, threads })
    }

    fn play(&self, script: Script) {
        *held(&self.script) = script;
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        // Wakes the accept.
        let _ended = TcpStream::connect(self.address);
        for thread in self.threads.drain(..) {
            let _panicked = thread.join();
        }
    }
}

fn held(script: &Mutex<Script>) -> MutexGuard<'_, Script> {
    script.lock().unwrap_or_else(PoisonError::into_inner)
}

fn transfer(mut stream: TcpStream, script: Script, ending: &AtomicBool) -> Result<()> {
    stream.set_read_timeout(Some(SEEN_WITHIN))?;
    stream.set_write_timeout(Some(SEEN_WITHIN))?;
    let Some(question) = read_framed(&mut stream)? else { return Ok(()) };
    let with_id = |message: &[u8]| [&question[..2], &message[2..]].concat();
    match script.transfer {
        Transfer::Messages(messages) => {
            messages.iter().try_for_each(|message| write_framed(&mut stream, &with_id(message)))?;
        }
        Transfer::Endless(first, rest) => {
            write_framed(&mut stream, &with_id(&first))?;
            while !ending.load(Ordering::Relaxed) {
                write_framed(&mut stream, &with_id(&rest))?;
            }
        }
        Transfer::Silence => {
            stream.set_read_timeout(Some(LOOK_EVERY))?;
            while !ending.load(Ordering::Relaxed) {
                match read_framed(&mut stream) {
                    Ok(_) => return Ok(()),
                    Err(error) => ensure!(is_time_out(&error), "{error}"),
                }
            }
        }
    }
    Ok(stream.flush()?)
}

fn is_time_out(error: &anyhow::Error) -> bool {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    matches!(kind, Some(TimedOut | WouldBlock))
}

fn wire(name: &str) -> Vec<u8> {
    let name = Name::parse(name).expect("the tests write names");
    let mut wire = Vec::new();
    for label in name.labels() {
        wire.push(label.len() as u8);
        wire.extend_from_slice(label);
    }
    wire.push(0);
    wire
}

fn record(owner: &str, rtype: u16, rdata: &[u8]) -> Vec<u8> {
    let mut record = wire(owner);
    record.extend([rtype, 1].map(u16::to_be_bytes).as_flattened());
    record.extend(300u32.to_be_bytes());
    record.extend((rdata.len() as u16).to_be_bytes());
    record.extend(rdata);
    record
}

/// A record that has the zone looked at every second.
fn soa(serial: u32) -> Vec<u8> {
    let mut rdata = [wire("ns1.small.example."), wire("host.small.example.")].concat();
    rdata.extend([serial, 1, 1, 604_800, 60].map(u32::to_be_bytes).as_flattened());
    record(ZONE, TYPE_SOA, &rdata)
}

fn ns() -> Vec<u8> {
    record(ZONE, TYPE_NS, &wire("ns1.small.example."))
}

fn a(owner: &str) -> Vec<u8> {
    record(owner, TYPE_A, &[192, 0, 2, 1])
}

/// A message with this question and these answers.
fn message(question: &[u8], answers: &[Vec<u8>]) -> Vec<u8> {
    let mut message = [0, QR_AA, 1, answers.len() as u16, 0, 0].map(u16::to_be_bytes).as_flattened().to_vec();
    message.extend(question);
    message.extend(answers.concat());
    message
}

fn axfr(answers: &[Vec<u8>]) -> Vec<u8> {
    message(&[&wire(ZONE)[..], &[0, 252, 0, 1]].concat(), answers)
}

fn good(serial: u32) -> Script {
    let records = [soa(serial), ns(), a("ns1.small.example."), soa(serial)];
    Script { serial, transfer: Transfer::Messages(vec![axfr(&records)]) }
}

fn lie(answers: &[Vec<u8>]) -> Transfer {
    Transfer::Messages(vec![axfr(answers)])
}

#[test]
fn the_version_before_is_served_whatever_a_primary_sends_and_the_log_says_why() -> Result<()> {
    let fake = Fake::start(good(1))?;
    let site = Site::new()?;
    let node = site.start(
        &[fake.address],
        "refresh-min-s = 1\nretry-min-s = 1\ntransfer-max-bytes = 1000000\ntransfer-timeout-ms = 2000",
    )?;
    node.wait_for(Seen::served(1))?;
    let glue = || a("ns1.small.example.");
    let cut = axfr(&[soa(2), ns(), glue()]);
    let half: Vec<u8> = axfr(&[soa(2), ns(), soa(2)]).into_iter().rev().skip(9).rev().collect();
    let many: Vec<Vec<u8>> = (0..1000).map(|index| a(&format!("h{index}.small.example."))).collect();
    let lies = [
        (Transfer::Messages(vec![cut]), "in the middle of the transfer"),
        (Transfer::Messages(Vec::new()), "in the middle of the transfer"),
        (Transfer::Messages(vec![half]), "malformed message"),
        (lie(&[soa(2), ns(), glue(), soa(3)]), "ends with another SOA record (serial 3)"),
        (lie(&[ns(), glue(), soa(2)]), "does not begin with the SOA record"),
        (lie(&[soa(2), ns(), glue(), soa(2), a("late.small.example.")]), "1 more records follow"),
        (
            lie(&[soa(2), ns(), glue(), a("www.example.org."), soa(2)]),
            "www.example.org., which is not in the zone",
        ),
        (
            lie(&[soa(2), ns(), record(ZONE, TYPE_A, &[1, 2, 3]), soa(2)]),
            "the data of small.example. A is wrong",
        ),
        (lie(&[soa(2), ns(), record(ZONE, TYPE_CNAME, &wire("x.")), soa(2)]), "what it sent is not good"),
        (Transfer::Endless(axfr(&[soa(2), ns(), glue()]), axfr(&many)), "more than 1000000 octets"),
        (Transfer::Silence, "nothing within 2 s"),
        (Transfer::Messages(vec![vec![0; 3]]), "malformed message"),
    ];
    for (transfer, why) in lies {
        let before = node.process.log().matches(why).count();
        fake.play(Script { serial: 2, transfer });
        node.wait_for_more_log(why, before).with_context(|| why.to_owned())?;
        ensure!(node.seen()? == Seen::served(1), "{why}");
    }
    let failure = node.zone()?["copy"]["failure"].clone();
    ensure!(failure.as_str().is_some_and(|text| text.contains(&fake.address.to_string())), "{failure}");
    fake.play(good(2));
    node.wait_for(Seen::served(2))?;
    wait(|| node.zone(), |zone| zone["state"] == "ok" && zone["copy"]["failure"].is_null())
}

#[test]
fn a_primary_that_goes_back_is_followed_only_by_hand() -> Result<()> {
    let fake = Fake::start(good(9))?;
    let site = Site::new()?;
    let node = site.start(&[fake.address], "refresh-min-s = 1\nretry-min-s = 1")?;
    node.wait_for(Seen::served(9))?;
    fake.play(good(3));
    node.wait_for_log("its primaries have older versions than 9")?;
    ensure!(node.seen()? == Seen::served(9));
    let output = node.ctl(&["retransfer", ZONE])?;
    ensure!(output.status.success(), "{output:?}");
    ensure!(node.seen()? == Seen::served(3), "`retransfer` returns when the zone is served");
    Ok(())
}

#[test]
fn a_notify_is_heard_from_those_who_may_and_over_both_transports() -> Result<()> {
    let fake = Fake::start(good(1))?;
    let site = Site::new()?;
    // Without NOTIFY nothing would be asked for an hour.
    let node = site.start(&[fake.address], "refresh-min-s = 3600")?;
    node.wait_for(Seen::served(1))?;
    let notify = [&[0x12, 0x34, 0x24, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], &wire(ZONE), &[0, 6, 0, 1]].concat();
    let response = |rcode: u8| {
        let mut response = notify.clone();
        (response[2], response[3]) = (0xa4, rcode);
        response
    };
    fake.play(good(2));
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(SEEN_WITHIN))?;
    let over_udp = |request: &[u8]| -> Result<Vec<u8>> {
        let mut buffer = [0; 512];
        socket.send_to(request, node.address)?;
        let len = socket.recv(&mut buffer)?;
        Ok(buffer[..len].to_vec())
    };
    ensure!(over_udp(&notify)? == response(0));
    node.wait_for(Seen::served(2))?;
    fake.play(good(3));
    let mut stream = TcpStream::connect(node.address)?;
    stream.set_read_timeout(Some(SEEN_WITHIN))?;
    write_framed(&mut stream, &notify)?;
    ensure!(read_framed(&mut stream)?.as_deref() == Some(&response(0)[..]));
    node.wait_for(Seen::served(3))?;
    // Of a zone that is none here, and from nobody who may.
    let mut other = notify.clone();
    other[13] = b'x';
    let answer = over_udp(&other)?;
    ensure!(answer[3] == 9, "NOTAUTH: {answer:?}");
    site.configure(&[fake.address], "refresh-min-s = 3600\nnotify-from = []")?;
    ensure!(node.ctl(&["reload"])?.status.success());
    wait(|| over_udp(&notify), |answer| *answer == response(5))?;
    let status = String::from_utf8(node.ctl(&["status", "--json"])?.stdout)?;
    let status: serde_json::Value = serde_json::from_str(&status)?;
    let copies = &status["copies"];
    ensure!(
        copies["notifies"].as_u64() >= Some(2) && copies["notifies-refused"].as_u64() >= Some(2),
        "{copies}"
    );
    Ok(())
}
