//! A primary that does as it is told, lies included.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use rustix::net::sockopt::set_socket_linger;
use starling_tests::client::{read_framed, write_framed};
use starling_tests::name::Name;
use starling_tests::server::own_socket_address;
use transfer::tsig::{Key, Keys, Signer, verify_request};

use crate::site::{SEEN_WITHIN, ZONE};

const QR_AA: u16 = 0x8400;
const NOTIMP: u16 = 4;
pub(crate) const REFUSED: u16 = 5;
const TC: u8 = 2;
pub(crate) const TYPE_A: u16 = 1;
const TYPE_NS: u16 = 2;
pub(crate) const TYPE_CNAME: u16 = 5;
pub(crate) const TYPE_SOA: u16 = 6;
pub(crate) const TYPE_IXFR: u16 = 251;
pub(crate) const TYPE_AXFR: u16 = 252;
/// How long the fake waits for a question before it looks whether it is to end.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What a fake primary answers.
#[derive(Clone)]
pub(crate) struct Script {
    /// To a question for the SOA record.
    pub(crate) serial: u32,
    /// How that is answered.
    pub(crate) soa: SoaReply,
    /// To a question for the zone: the messages, without identifier.
    pub(crate) zone: Answer,
    /// To a question for what has changed; NOTIMP without.
    pub(crate) changes: Option<Answer>,
    /// How the messages of transfers are signed.
    pub(crate) signing: Signing,
}

/// How a question for the SOA record is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SoaReply {
    /// As it should be.
    Good,
    /// Over UDP with nothing but that the answer is longer.
    TruncatedOverUdp,
    /// With REFUSED, whatever is asked.
    Refused,
}

#[derive(Clone)]
pub(crate) enum Answer {
    /// These, then the end of the connection.
    Messages(Vec<Vec<u8>>),
    /// The first, and the others when it is opened.
    Held(Vec<u8>, Arc<Gate>, Vec<Vec<u8>>),
    /// Nothing, and the connection is reset.
    Reset,
    /// The first, then the second for ever.
    Endless(Vec<u8>, Vec<u8>),
    /// Nothing, with the connection open.
    Silence,
}

/// What a transfer is held up at.
#[derive(Default)]
pub(crate) struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
    /// Whether somebody is there.
    is_reached: AtomicBool,
}

impl Gate {
    pub(crate) fn open(&self) {
        *held(&self.is_open) = true;
        self.opened.notify_all();
    }

    pub(crate) fn is_reached(&self) -> bool {
        self.is_reached.load(Ordering::Relaxed)
    }

    /// Waits until it is open, or something has ended.
    fn pass(&self, ending: &AtomicBool) {
        self.is_reached.store(true, Ordering::Relaxed);
        let mut is_open = held(&self.is_open);
        while !*is_open && !ending.load(Ordering::Relaxed) {
            let waited = self.opened.wait_timeout(is_open, LOOK_EVERY);
            is_open = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// How the messages of transfers are signed by a primary that has a key. Other answers are always signed as they should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Signing {
    /// Each of them.
    Good,
    /// None.
    Nothing,
    /// Those of the zone, and not what is said to a question for what has changed.
    OfTheZone,
    /// The first alone.
    FirstOnly,
    /// The second is changed after it was signed.
    Altered,
    /// The second is sent twice.
    Twice,
    /// As if they answered the request before.
    Replayed,
    /// So many seconds off.
    Off(i64),
}

/// A server that does as its script says.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    script: Mutex<Script>,
    ending: AtomicBool,
    keys: Keys,
    /// The types that were asked for, over UDP and TCP.
    asked: Mutex<Vec<u16>>,
    /// The transfer request before.
    before: Mutex<Vec<u8>>,
}

impl Fake {
    pub(crate) fn start(script: Script) -> Result<Self> {
        Self::with_keys(script, Vec::new())
    }

    /// A primary that signs its answers to what is signed with one of these keys.
    pub(crate) fn with_keys(script: Script, keys: Vec<Arc<Key>>) -> Result<Self> {
        let address = own_socket_address()?;
        let (udp, tcp) = (UdpSocket::bind(address)?, TcpListener::bind(address)?);
        udp.set_read_timeout(Some(LOOK_EVERY))?;
        let shared = Arc::new(Shared {
            script: Mutex::new(script),
            ending: AtomicBool::new(false),
            keys: Keys::new(keys),
            asked: Mutex::default(),
            before: Mutex::default(),
        });
        let (of_udp, of_tcp) = (Arc::clone(&shared), Arc::clone(&shared));
        let threads = vec![
            thread::spawn(move || {
                let mut buffer = [0; 1500];
                while !of_udp.ending.load(Ordering::Relaxed) {
                    let Ok((len, from)) = udp.recv_from(&mut buffer) else { continue };
                    let _gone = udp.send_to(&of_udp.soa_answer(&buffer[..len], Over::Udp), from);
                }
            }),
            thread::spawn(move || {
                for stream in tcp.incoming() {
                    if of_tcp.ending.load(Ordering::Relaxed) {
                        return;
                    }
                    // One after the other, as the node asks. What goes wrong is that it hangs up, as it may.
                    let _hung_up = stream.map(|stream| of_tcp.serve(stream));
                }
            }),
        ];
        Ok(Self { address, shared, threads })
    }

    pub(crate) fn play(&self, script: Script) {
        *held(&self.shared.script) = script;
    }

    /// How often a type was asked for.
    pub(crate) fn asked(&self, qtype: u16) -> usize {
        held(&self.shared.asked).iter().filter(|asked| **asked == qtype).count()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::Relaxed);
        // Wakes the accept.
        let _ended = TcpStream::connect(self.address);
        for thread in self.threads.drain(..) {
            let _panicked = thread.join();
        }
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Shared {
    /// What signs the answers to a request, if it is signed.
    fn signer(&self, request: &[u8]) -> Option<Signer> {
        verify_request(request, &self.keys, now()).ok().flatten().map(|authenticated| authenticated.signer())
    }

    fn soa_answer(&self, query: &[u8], over: Over) -> Vec<u8> {
        held(&self.asked).push(TYPE_SOA);
        let question = question_of(query);
        let (serial, reply) = {
            let script = held(&self.script);
            (script.serial, script.soa)
        };
        let mut answer = match reply {
            SoaReply::TruncatedOverUdp if over == Over::Udp => error(question, 0),
            SoaReply::Refused => error(question, REFUSED),
            _ => message(question, &[soa(serial)]),
        };
        if reply == SoaReply::TruncatedOverUdp && over == Over::Udp {
            answer[2] |= TC;
        }
        answer = with_id(query, &answer);
        if let Some(mut signer) = self.signer(query) {
            signer.sign(&mut answer, now());
        }
        answer
    }

    fn serve(&self, mut stream: TcpStream) -> Result<()> {
        stream.set_read_timeout(Some(SEEN_WITHIN))?;
        stream.set_write_timeout(Some(SEEN_WITHIN))?;
        let Some(request) = read_framed(&mut stream)? else { return Ok(()) };
        let question = question_of(&request);
        let qtype = u16::from_be_bytes([question[question.len() - 4], question[question.len() - 3]]);
        if qtype == TYPE_SOA {
            return write_framed(&mut stream, &self.soa_answer(&request, Over::Tcp));
        }
        held(&self.asked).push(qtype);
        let script = held(&self.script).clone();
        let not_implemented = || Answer::Messages(vec![error(question, NOTIMP)]);
        let answer = match qtype {
            TYPE_IXFR => script.changes.unwrap_or_else(not_implemented),
            _ => script.zone,
        };
        let before = std::mem::replace(&mut *held(&self.before), request.clone());
        let signer = self.signer(if script.signing == Signing::Replayed { &before } else { &request });
        let is_of_the_zone = qtype == TYPE_AXFR;
        let mut line = Line { stream, request, signer, signing: script.signing, is_of_the_zone, sent: 0 };
        match answer {
            Answer::Messages(messages) => messages.iter().try_for_each(|message| line.send(message))?,
            Answer::Endless(first, rest) => {
                line.send(&first)?;
                while !self.ending.load(Ordering::Relaxed) {
                    line.send(&rest)?;
                }
            }
            Answer::Held(first, gate, rest) => {
                line.send(&first)?;
                gate.pass(&self.ending);
                rest.iter().try_for_each(|message| line.send(message))?;
            }
            // What is closed with no time to linger is reset.
            Answer::Reset => set_socket_linger(&line.stream, Some(Duration::ZERO))?,
            Answer::Silence => self.be_silent(&mut line.stream)?,
        }
        Ok(line.stream.flush()?)
    }

    fn be_silent(&self, stream: &mut TcpStream) -> Result<()> {
        stream.set_read_timeout(Some(LOOK_EVERY))?;
        while !self.ending.load(Ordering::Relaxed) {
            match read_framed(stream) {
                Ok(_) => return Ok(()),
                Err(error) => ensure!(is_time_out(&error), "{error}"),
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Over {
    Udp,
    Tcp,
}

/// A connection on which a transfer is sent.
struct Line {
    stream: TcpStream,
    request: Vec<u8>,
    signer: Option<Signer>,
    signing: Signing,
    is_of_the_zone: bool,
    sent: usize,
}

impl Line {
    fn send(&mut self, message: &[u8]) -> Result<()> {
        let mut message = with_id(&self.request, message);
        let is_signed = match self.signing {
            Signing::Nothing => false,
            Signing::FirstOnly => self.sent == 0,
            Signing::OfTheZone => self.is_of_the_zone,
            _ => true,
        };
        if let (Some(signer), true) = (&mut self.signer, is_signed) {
            let at = match self.signing {
                Signing::Off(seconds) => now().saturating_add_signed(seconds),
                _ => now(),
            };
            signer.sign(&mut message, at);
        }
        if self.signing == Signing::Altered && self.sent == 1 {
            // The last octet of the first owner's first label.
            let at = 12 + usize::from(message[12]);
            message[at] ^= 1;
        }
        if self.signing == Signing::Twice && self.sent == 1 {
            write_framed(&mut self.stream, &message)?;
        }
        self.sent += 1;
        write_framed(&mut self.stream, &message)
    }
}

fn with_id(request: &[u8], message: &[u8]) -> Vec<u8> {
    // A lie may be too short to have one.
    [&request[..2], message.get(2..).unwrap_or_default()].concat()
}

/// The question of a request.
fn question_of(request: &[u8]) -> &[u8] {
    let name_len = request[12..].iter().position(|octet| *octet == 0).unwrap_or_default() + 1;
    &request[12..12 + name_len + 4]
}

fn is_time_out(error: &anyhow::Error) -> bool {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    matches!(kind, Some(TimedOut | WouldBlock))
}

pub(crate) fn wire(name: &str) -> Vec<u8> {
    let name = Name::parse(name).expect("the tests write names");
    let mut wire = Vec::new();
    for label in name.labels() {
        wire.push(label.len() as u8);
        wire.extend_from_slice(label);
    }
    wire.push(0);
    wire
}

pub(crate) fn record(owner: &str, rtype: u16, rdata: &[u8]) -> Vec<u8> {
    let mut record = wire(owner);
    record.extend([rtype, 1].map(u16::to_be_bytes).as_flattened());
    record.extend(300u32.to_be_bytes());
    record.extend((rdata.len() as u16).to_be_bytes());
    record.extend(rdata);
    record
}

/// A record that has the zone looked at every second.
pub(crate) fn soa(serial: u32) -> Vec<u8> {
    let mut rdata = [wire("ns1.small.example."), wire("host.small.example.")].concat();
    rdata.extend([serial, 1, 1, 604_800, 60].map(u32::to_be_bytes).as_flattened());
    record(ZONE, TYPE_SOA, &rdata)
}

pub(crate) fn ns() -> Vec<u8> {
    record(ZONE, TYPE_NS, &wire("ns1.small.example."))
}

pub(crate) fn a(owner: &str) -> Vec<u8> {
    record(owner, TYPE_A, &[192, 0, 2, 1])
}

/// A message with this question and these answers.
fn message(question: &[u8], answers: &[Vec<u8>]) -> Vec<u8> {
    let mut message = [0, QR_AA, 1, answers.len() as u16, 0, 0].map(u16::to_be_bytes).as_flattened().to_vec();
    message.extend(question);
    message.extend(answers.concat());
    message
}

/// A message with this question and response code.
pub(crate) fn error(question: &[u8], rcode: u16) -> Vec<u8> {
    let mut message = message(question, &[]);
    message[3] |= rcode as u8;
    message
}

/// An answer with this response code to a question for what has changed.
pub(crate) fn ixfr_error(rcode: u16) -> Answer {
    Answer::Messages(vec![error(&[&wire(ZONE)[..], &[0, TYPE_IXFR as u8, 0, 1]].concat(), rcode)])
}

/// A message of a transfer of the whole zone.
pub(crate) fn axfr(answers: &[Vec<u8>]) -> Vec<u8> {
    message(&[&wire(ZONE)[..], &[0, TYPE_AXFR as u8, 0, 1]].concat(), answers)
}

/// A message of a transfer of what has changed.
pub(crate) fn ixfr(answers: &[Vec<u8>]) -> Vec<u8> {
    message(&[&wire(ZONE)[..], &[0, TYPE_IXFR as u8, 0, 1]].concat(), answers)
}

/// The records of the zone.
pub(crate) fn good_records(serial: u32) -> Vec<Vec<u8>> {
    vec![soa(serial), ns(), a("ns1.small.example."), soa(serial)]
}

/// A primary that has the zone, and no changes to it.
pub(crate) fn good(serial: u32) -> Script {
    let zone = Answer::Messages(vec![axfr(&good_records(serial))]);
    Script { serial, soa: SoaReply::Good, zone, changes: None, signing: Signing::Good }
}
