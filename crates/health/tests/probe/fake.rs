//! The server: one thread for each socket of a SO_REUSEPORT group, UDP workers first.

use socket2::{Domain, Socket, Type};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use wire::probe::Seat;

pub(crate) const TOKEN: [u8; 16] = *b"sixteen octets!!";
pub(crate) const SERIAL: u32 = 2_026_112_401;

/// How often a thread looks whether it is to end.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How many were started.
static FAKES: AtomicU64 = AtomicU64::new(1);

#[derive(Clone, Copy)]
pub(crate) enum Family {
    V4,
    V6,
}

/// How a thread answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Manner {
    Good,
    Silent,
    /// Keeps its answer back until it is told to be good and is asked again.
    Postponed,
    Rcode(u8),
    NoAuthority,
    NoResponse,
    Truncated,
    OtherQuestion,
    OtherCase,
    NoQuestion,
    Empty,
    Twice,
    OtherOwner,
    OtherType,
    Serial(u32),
    Cut,
    NoSeat,
    Seat(Seat),
    OtherId,
}

pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    pub(crate) workers: u16,
    pub(crate) tcp_threads: u16,
    threads: Vec<Thread>,
    running: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    restarts: usize,
}

/// What a thread and the test share.
#[derive(Clone)]
struct Thread {
    manner: Arc<Mutex<Manner>>,
    asked: Arc<AtomicU64>,
    postponed: Arc<AtomicU64>,
    seat: Seat,
}

enum Endpoint {
    Udp(UdpSocket),
    Tcp(TcpListener),
}

impl Fake {
    /// On a loopback address of its own, or for IPv6 on the only one there is.
    pub(crate) fn start(family: Family, workers: u16, tcp_threads: u16) -> Fake {
        let seats = (0..workers).map(Seat::UdpWorker).chain((0..tcp_threads).map(Seat::TcpThread));
        let threads = seats.map(|seat| Thread {
            manner: Arc::new(Mutex::new(Manner::Good)),
            asked: Arc::default(),
            postponed: Arc::default(),
            seat,
        });
        // An address of its own keeps the ports of others out of the way: a port has to be free for UDP and TCP.
        let number = FAKES.fetch_add(1, Ordering::Relaxed) as u8;
        let address = match family {
            Family::V4 => (Ipv4Addr::new(127, 99, std::process::id() as u8, number), 0).into(),
            Family::V6 => (Ipv6Addr::LOCALHOST, 0).into(),
        };
        let mut fake = Fake {
            address,
            workers,
            tcp_threads,
            threads: threads.collect(),
            running: Vec::new(),
            stop: Arc::default(),
            restarts: 0,
        };
        // The port that UDP was given may be taken for TCP.
        while let Err(error) = fake.run() {
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
            fake.address.set_port(0);
        }
        fake
    }

    /// Opens the sockets and lets the threads answer; the groups are others each time: in another order, and of other
    /// lengths, with more than one socket of the first worker.
    fn run(&mut self) -> io::Result<()> {
        self.stop = Arc::default();
        let mut order: Vec<usize> = (0..self.threads.len()).collect();
        order.rotate_left(self.restarts % self.threads.len());
        order.extend(vec![0; self.restarts % 3]);
        let seats: Vec<Seat> = order.iter().map(|index| self.threads[*index].seat).collect();
        let endpoints = seats.into_iter().map(|seat| self.open(seat)).collect::<io::Result<Vec<_>>>()?;
        for (index, endpoint) in order.into_iter().zip(endpoints) {
            let thread = self.threads[index].clone();
            let stop = Arc::clone(&self.stop);
            self.running.push(std::thread::spawn(move || match endpoint {
                Endpoint::Udp(socket) => thread.serve_udp(&socket, &stop),
                Endpoint::Tcp(listener) => thread.serve_tcp(&listener, &stop),
            }));
        }
        Ok(())
    }

    fn open(&mut self, seat: Seat) -> io::Result<Endpoint> {
        let kind = if matches!(seat, Seat::UdpWorker(_)) { Type::DGRAM } else { Type::STREAM };
        let socket = Socket::new(Domain::for_address(self.address), kind, None).unwrap();
        socket.set_reuse_port(true).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&self.address.into())?;
        self.address = socket.local_addr().unwrap().as_socket().unwrap();
        socket.set_read_timeout(Some(LOOK_EVERY)).unwrap();
        if kind == Type::DGRAM {
            return Ok(Endpoint::Udp(socket.into()));
        }
        socket.listen(128).unwrap();
        Ok(Endpoint::Tcp(socket.into()))
    }

    pub(crate) fn restart(&mut self) {
        self.stop();
        self.restarts += 1;
        self.run().unwrap();
    }

    pub(crate) fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.running.drain(..).for_each(|thread| thread.join().unwrap());
    }

    /// Tells a thread, by its place among all, how to answer.
    pub(crate) fn behave(&self, place: usize, manner: Manner) {
        *self.threads[place].manner.lock().unwrap() = manner;
    }

    /// How many queries each thread has had.
    pub(crate) fn asked(&self) -> Vec<u64> {
        self.threads.iter().map(|thread| thread.asked.load(Ordering::Relaxed)).collect()
    }

    /// How many answers went out late.
    pub(crate) fn postponed(&self) -> u64 {
        self.threads.iter().map(|thread| thread.postponed.load(Ordering::Relaxed)).sum()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Thread {
    fn answer(&self, query: &[u8]) -> Option<Vec<u8>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let manner = *self.manner.lock().unwrap();
        (manner != Manner::Silent).then(|| answer(query, self.seat, manner))
    }

    fn serve_udp(&self, socket: &UdpSocket, stop: &AtomicBool) {
        let mut kept_back = None;
        let mut query = [0; 512];
        while !stop.load(Ordering::Relaxed) {
            let Ok((len, client)) = socket.recv_from(&mut query) else { continue };
            let Some(answer) = self.answer(&query[..len]) else { continue };
            if *self.manner.lock().unwrap() == Manner::Postponed {
                kept_back = Some(answer);
                continue;
            }
            if let Some(late) = kept_back.take() {
                socket.send_to(&late, client).unwrap();
                self.postponed.fetch_add(1, Ordering::Relaxed);
            }
            socket.send_to(&answer, client).unwrap();
        }
    }

    fn serve_tcp(&self, listener: &TcpListener, stop: &AtomicBool) {
        let mut unanswered = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let Ok((mut stream, _)) = listener.accept() else { continue };
            match read_framed(&mut stream).and_then(|query| self.answer(&query)) {
                Some(answer) => {
                    let framed = [&(answer.len() as u16).to_be_bytes()[..], &answer].concat();
                    // The client may have given up.
                    let _gone = stream.write_all(&framed);
                    // Its end closes the connection, as with clients of a name server.
                    let _ended = stream.read(&mut [0]);
                }
                None => unanswered.push(stream),
            }
        }
    }
}

fn read_framed(stream: &mut TcpStream) -> Option<Vec<u8>> {
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut prefix = [0; 2];
    stream.read_exact(&mut prefix).ok()?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(prefix))];
    stream.read_exact(&mut message).ok()?;
    Some(message)
}

/// An answer by hand. The query has one question and an OPT record with the probe option, in the form that is expected of it
/// octet by octet.
fn answer(query: &[u8], seat: Seat, manner: Manner) -> Vec<u8> {
    let name_len = query[12..].iter().position(|octet| *octet == 0).unwrap() + 1;
    let (question, opt) = query[12..].split_at(name_len + 4);
    assert_eq!(query[2..12], [0, 0, 0, 1, 0, 0, 0, 0, 0, 1], "one question, one additional record, no flags");
    assert_eq!(&question[name_len..], [0, 6, 0, 1], "SOA, IN");
    assert_eq!(opt[..11], [0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 20], "OPT of 1,232 octets, EDNS 0, DO not set");
    assert_eq!(opt[11..15], [0xfe, 0x81, 0, 16], "the option for probes");
    assert_eq!(opt[15..], TOKEN);

    let mut flags: u16 = 0x8400; // QR, AA
    let mut question = question.to_vec();
    let (mut owner, mut rtype) = (0xc00c_u16, 6_u16);
    let (mut serial, mut records, mut questions) = (SERIAL, 1_u16, 1_u16);
    let mut option = match seat {
        Seat::UdpWorker(index) => vec![0xfe, 0x81, 0, 3, 1, (index >> 8) as u8, index as u8],
        Seat::TcpThread(index) => vec![0xfe, 0x81, 0, 3, 2, (index >> 8) as u8, index as u8],
    };
    match manner {
        Manner::Good | Manner::Silent | Manner::Cut | Manner::OtherId => {}
        Manner::Rcode(rcode) => flags |= u16::from(rcode),
        Manner::NoAuthority => flags &= !0x0400,
        Manner::NoResponse => flags &= !0x8000,
        Manner::Truncated => flags |= 0x0200,
        Manner::OtherQuestion => question[name_len + 1] = 16,
        Manner::OtherCase => question[1..name_len].make_ascii_lowercase(),
        Manner::NoQuestion => questions = 0,
        Manner::Empty => records = 0,
        Manner::Twice => records = 2,
        Manner::OtherOwner => owner += u16::from(question[0]) + 1,
        Manner::OtherType => rtype = 65_280, // for private use
        Manner::Postponed => serial -= 1,    // as it was then
        Manner::Serial(other) => serial = other,
        Manner::NoSeat => option.clear(),
        Manner::Seat(other) => option[4..].copy_from_slice(&other.to_octets()),
    }
    let mut answer = query[..2].to_vec();
    if manner == Manner::OtherId {
        answer[0] ^= 0x80;
    }
    answer.extend([flags, questions, records, 0, 1].map(u16::to_be_bytes).as_flattened());
    if questions == 0 {
        owner = 0xc00c; // where the record itself begins to be wrong is of no interest
    } else {
        answer.extend(&question);
    }
    for _ in 0..records {
        if questions == 0 {
            answer.push(0);
        } else {
            answer.extend(owner.to_be_bytes());
        }
        let mut rdata = vec![0, 0]; // MNAME and RNAME: the root
        for field in [serial, 7200, 3600, 1_209_600, 300] {
            rdata.extend(field.to_be_bytes());
        }
        answer.extend([rtype, 1, 0, 60, rdata.len() as u16].map(u16::to_be_bytes).as_flattened());
        answer.extend(&rdata);
    }
    answer.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, option.len() as u8]);
    answer.extend(&option);
    if manner == Manner::Cut {
        answer.truncate(answer.len() - 1);
    }
    answer
}
