//! Workers on real sockets over loopback.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroUsize;
use std::thread;
use std::time::{Duration, Instant};

use netio::batch::{BATCH_LEN, QUERY_MAX_BYTES, REPLY_MAX_BYTES};
use netio::udp::{Steered, Steering};
use netio::{
    BatchResponder, CounterSnapshot, Datagram, ServeError, SocketOptions, UdpListener, Worker, WorkerHandle,
    bind_group, pin,
};

/// Longer than any scheduling delay; reached only by a test that fails.
const DEADLINE: Duration = Duration::from_secs(10);

const ONE: NonZeroUsize = NonZeroUsize::MIN;

/// Replies with the query, except to queries that begin with `-`, and puts its tag in front.
#[derive(Default)]
struct Echo {
    tag: u8,
    batches: Vec<usize>,
    idles: usize,
}

impl BatchResponder for Echo {
    fn respond(&mut self, batch: &mut [Datagram<'_>]) {
        assert!((1..=BATCH_LEN).contains(&batch.len()));
        self.batches.push(batch.len());
        for datagram in batch {
            assert!(datagram.reply.is_empty(), "a reply of an earlier batch is still there");
            assert_ne!(datagram.peer.port(), 0);
            let query = datagram.query;
            if query.first() == Some(&b'-') {
                continue;
            }
            let reply = datagram.reply.buffer();
            assert_eq!(reply.len(), REPLY_MAX_BYTES);
            reply[0] = self.tag;
            reply[1] = datagram.listener.0 as u8;
            let copied = query.len().min(reply.len() - 2);
            reply[2..2 + copied].copy_from_slice(&query[..copied]);
            datagram.reply.set_len(2 + copied);
        }
    }

    fn idle(&mut self) {
        self.idles += 1;
    }
}

fn listeners(address: &str) -> Vec<UdpListener> {
    bind_group(address.parse().unwrap(), ONE, &SocketOptions::default()).unwrap().listeners
}

/// A worker on its thread, stopped at the end of the test.
struct Running {
    handle: WorkerHandle,
    thread: thread::JoinHandle<(Result<(), ServeError>, Echo)>,
}

impl Running {
    fn start(tag: u8, listeners: Vec<UdpListener>) -> Running {
        let worker = Worker::new(listeners).unwrap();
        let handle = worker.handle();
        let thread = thread::spawn(move || {
            let mut echo = Echo { tag, ..Echo::default() };
            (worker.serve(&mut echo), echo)
        });
        Running { handle, thread }
    }

    fn stop(self) -> (Echo, CounterSnapshot) {
        self.handle.stop();
        let (result, echo) = self.thread.join().unwrap();
        result.unwrap();
        (echo, self.handle.counters())
    }
}

fn client(local: &str, server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(local).unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket
}

/// Sends a query and gives the tag, the listener and the echoed bytes of the reply.
fn ask(socket: &UdpSocket, query: &[u8]) -> (u8, u8, Vec<u8>) {
    socket.send(query).unwrap();
    reply_of(socket)
}

fn reply_of(socket: &UdpSocket) -> (u8, u8, Vec<u8>) {
    let mut buffer = [0; 2 * REPLY_MAX_BYTES];
    let len = socket.recv(&mut buffer).expect("a reply before the deadline");
    (buffer[0], buffer[1], buffer[2..len].to_vec())
}

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "{what}");
        thread::yield_now();
    }
}

#[test]
fn queries_are_answered_over_v4_and_v6() {
    for (address, local) in [("127.0.0.1:0", "127.0.0.1:0"), ("[::1]:0", "[::1]:0")] {
        let listeners = listeners(address);
        let server = listeners[0].address();
        let running = Running::start(7, listeners);
        let socket = client(local, server);
        for query in [&b"one"[..], b"", &[0x55; 1232], &[0xaa; REPLY_MAX_BYTES - 2]] {
            assert_eq!(ask(&socket, query), (7, 0, query.to_vec()));
        }
        let (_, counted) = running.stop();
        let payload = 3 + 1232 + REPLY_MAX_BYTES as u64 - 2;
        assert_eq!((counted.received, counted.received_bytes), (4, payload));
        assert_eq!((counted.sent, counted.sent_bytes), (4, payload + 8));
    }
}

#[test]
fn a_wildcard_socket_answers_from_the_address_it_was_asked_at() {
    let cases = [
        ("0.0.0.0:0", "127.0.0.1:0", &["127.0.0.2", "127.9.8.7", "127.0.0.1"][..]),
        ("[::]:0", "[::1]:0", &["::1"]),
    ];
    for (address, local, asked) in cases {
        let listeners = listeners(address);
        let port = listeners[0].address().port();
        let running = Running::start(1, listeners);
        for ip in asked {
            // A connected socket takes replies from the address it asked only.
            let socket = client(local, SocketAddr::new(ip.parse().unwrap(), port));
            assert_eq!(ask(&socket, b"who"), (1, 0, b"who".to_vec()), "asked at {ip}");
        }
        let (_, counted) = running.stop();
        assert_eq!(counted.sent, asked.len() as u64);
    }
}

#[test]
fn more_queries_than_a_batch_are_answered_in_full_batches() {
    const QUERIES: usize = 5 * BATCH_LEN + 3;
    let listeners = listeners("127.0.0.1:0");
    let socket = client("127.0.0.1:0", listeners[0].address());
    for number in 0..QUERIES as u32 {
        socket.send(&number.to_be_bytes()).unwrap();
    }
    let running = Running::start(0, listeners);
    for number in 0..QUERIES as u32 {
        assert_eq!(reply_of(&socket).2, number.to_be_bytes());
    }
    let (echo, counted) = running.stop();
    assert_eq!(echo.batches, [BATCH_LEN, BATCH_LEN, BATCH_LEN, BATCH_LEN, BATCH_LEN, 3]);
    assert_eq!((counted.batches, counted.received, counted.sent), (6, QUERIES as u64, QUERIES as u64));
}

#[test]
fn unanswered_queries_in_a_batch_leave_the_others_their_replies() {
    let listeners = listeners("127.0.0.1:0");
    let server = listeners[0].address();
    let sockets: Vec<_> = (0..5).map(|_| client("127.0.0.1:0", server)).collect();
    for (number, socket) in sockets.iter().enumerate() {
        let text = if number % 2 == 1 { format!("-{number}") } else { format!("+{number}") };
        socket.send(text.as_bytes()).unwrap();
    }
    let running = Running::start(0, listeners);
    for number in [0, 2, 4] {
        assert_eq!(reply_of(&sockets[number]).2, format!("+{number}").as_bytes());
    }
    // The silent ones are next answered with the right reply, so nothing was sent to them before.
    for number in [1, 3] {
        assert_eq!(ask(&sockets[number], b"again").2, b"again");
    }
    let (echo, counted) = running.stop();
    assert_eq!(echo.batches[0], 5);
    assert_eq!((counted.received, counted.sent), (7, 5));
}

#[test]
fn oversized_datagrams_are_counted_and_not_shown() {
    let listeners = listeners("127.0.0.1:0");
    let socket = client("127.0.0.1:0", listeners[0].address());
    socket.send(&[1; QUERY_MAX_BYTES + 1]).unwrap();
    socket.send(b"small").unwrap();
    socket.send(&[2; 20_000]).unwrap();
    socket.send(&[3; QUERY_MAX_BYTES]).unwrap();
    let running = Running::start(0, listeners);
    assert_eq!(reply_of(&socket).2, b"small");
    assert_eq!(reply_of(&socket).2, [3; REPLY_MAX_BYTES - 2]);

    // A batch of nothing else is not shown at all, and the reply before it in the same buffer not sent again.
    assert_eq!(ask(&socket, b"before").2, b"before");
    socket.send(&[4; QUERY_MAX_BYTES + 1]).unwrap();
    wait_for("the third is counted", || running.handle.counters().truncated == 3);
    assert_eq!(ask(&socket, b"next").2, b"next");
    let (echo, counted) = running.stop();
    assert_eq!(echo.batches, [2, 1, 1]);
    assert_eq!((counted.received, counted.truncated, counted.sent), (7, 3, 4));
}

#[test]
fn one_worker_serves_several_addresses() {
    let mut all = listeners("127.0.0.1:0");
    all.extend(listeners("[::1]:0"));
    all.extend(listeners("127.0.0.2:0"));
    let servers: Vec<_> = all.iter().map(UdpListener::address).collect();
    let running = Running::start(9, all);
    let sockets = ["127.0.0.1:0", "[::1]:0", "127.0.0.1:0"];
    let sockets: Vec<_> =
        sockets.iter().zip(&servers).map(|(local, server)| client(local, *server)).collect();
    for round in 0..20u8 {
        for (index, socket) in sockets.iter().enumerate() {
            assert_eq!(ask(socket, &[round]), (9, index as u8, vec![round]));
        }
    }
    let queues = running.handle.receive_queues().unwrap();
    assert_eq!(queues.iter().map(|(address, _)| *address).collect::<Vec<_>>(), servers);
    assert!(queues.iter().all(|(_, queue)| queue.drops == 0));
    running.stop();
}

/// Puts two queries into the first listener's queue for each it takes out, so that the queue never runs empty.
struct SelfFlood {
    source: UdpSocket,
    taken: usize,
}

impl SelfFlood {
    fn onto(listener: &UdpListener) -> SelfFlood {
        let flood = SelfFlood { source: client("127.0.0.1:0", listener.address()), taken: 0 };
        flood.source.send(b"-flood").unwrap();
        flood.source.send(b"-flood").unwrap();
        flood
    }
}

impl BatchResponder for SelfFlood {
    fn respond(&mut self, batch: &mut [Datagram<'_>]) {
        for datagram in batch {
            if datagram.listener.0 == 0 {
                self.taken += 1;
                self.source.send(b"-flood").unwrap();
                self.source.send(b"-flood").unwrap();
            } else {
                datagram.reply.buffer()[..5].copy_from_slice(b"quiet");
                datagram.reply.set_len(5);
            }
        }
    }

    fn idle(&mut self) {}
}

/// A flooded address must keep a worker neither from its quiet ones nor from noticing a stop.
#[test]
fn a_quiet_address_is_served_while_another_is_flooded() {
    let mut all = listeners("127.0.0.1:0");
    all.extend(listeners("127.0.0.1:0"));
    let mut flood = SelfFlood::onto(&all[0]);
    let quiet = client("127.0.0.1:0", all[1].address());
    let worker = Worker::new(all).unwrap();
    let handle = worker.handle();
    let thread = thread::spawn(move || worker.serve(&mut flood));
    for _ in 0..20 {
        quiet.send(b"?").unwrap();
        let mut buffer = [0; 16];
        let received = quiet.recv(&mut buffer);
        assert_eq!(&buffer[..received.expect("a reply before the deadline")], b"quiet");
    }
    handle.stop();
    thread.join().unwrap().unwrap();
}

/// The worker's last work is bounded by what its receive buffer can hold: 2 × 64 KiB in charges of 512 bytes.
#[test]
fn a_flood_does_not_keep_a_stopped_worker_alive() {
    let options = SocketOptions { receive_buffer_bytes: 65_536, ..SocketOptions::default() };
    let group = bind_group("127.0.0.1:0".parse().unwrap(), ONE, &options).unwrap();
    let mut flood = SelfFlood::onto(&group.listeners[0]);
    let worker = Worker::new(group.listeners).unwrap();
    worker.handle().stop();
    worker.serve(&mut flood).unwrap();
    assert!(flood.taken > 0);
    assert!(flood.taken <= 2 * 65_536 / 512 + BATCH_LEN, "{} taken after the stop", flood.taken);
}

#[test]
fn every_query_to_a_group_is_answered_and_every_worker_takes_part() {
    const CLIENTS: usize = 64;
    let workers = NonZeroUsize::new(3).unwrap();
    let options = SocketOptions { steering: Steering::Hash, ..SocketOptions::default() };
    let group = bind_group("127.0.0.1:0".parse().unwrap(), workers, &options).unwrap();
    assert_eq!(group.steered, Steered::ByHash);
    let server = group.listeners[0].address();
    let running: Vec<_> = group
        .listeners
        .into_iter()
        .zip(1..)
        .map(|(listener, tag)| Running::start(tag, vec![listener]))
        .collect();
    for number in 0..CLIENTS as u8 {
        let socket = client("127.0.0.1:0", server);
        for query in 0..4 {
            assert_eq!(ask(&socket, &[b'+', number, query]).2, [b'+', number, query]);
        }
    }
    let mut total = CounterSnapshot::default();
    for worker in running {
        let (_, counted) = worker.stop();
        assert!(counted.received > 0, "64 ports hashed to other workers only");
        total += counted;
    }
    assert_eq!((total.received, total.sent), (4 * CLIENTS as u64, 4 * CLIENTS as u64));
}

/// Loopback delivers on the CPU of the sender, so the sender's CPU decides which worker answers.
#[test]
fn steering_by_cpu_gives_a_query_to_the_worker_of_its_cpu() {
    let cpus = pin::allowed_cpus().unwrap();
    let workers = NonZeroUsize::new(cpus.len()).unwrap();
    let options = SocketOptions { steering: Steering::Cpu, ..SocketOptions::default() };
    let group = bind_group("127.0.0.1:0".parse().unwrap(), workers, &options).unwrap();
    let server = group.listeners[0].address();
    let is_by_cpu = group.steered == Steered::ByCpu || workers == ONE;
    assert!(is_by_cpu, "{:?} with {workers} workers", group.steered);
    let running: Vec<_> = group
        .listeners
        .into_iter()
        .zip(0..)
        .map(|(listener, tag)| Running::start(tag, vec![listener]))
        .collect();
    for (cpu, tag) in cpus.into_iter().zip(0..) {
        thread::spawn(move || {
            pin::pin_current_thread(cpu).unwrap();
            for _ in 0..16 {
                let socket = client("127.0.0.1:0", server);
                assert_eq!(ask(&socket, b"cpu").0, tag, "asked from {cpu:?}");
            }
        })
        .join()
        .unwrap();
    }
    running.into_iter().for_each(|worker| drop(worker.stop()));
}

/// Stopped before it began, a worker answers exactly what was in its queues, then closes its sockets.
#[test]
fn stop_answers_what_is_in_the_queues() {
    const QUERIES: usize = 3 * BATCH_LEN + 1;
    let mut all = listeners("127.0.0.1:0");
    all.extend(listeners("[::1]:0"));
    let sockets = [client("127.0.0.1:0", all[0].address()), client("[::1]:0", all[1].address())];
    for socket in &sockets {
        for number in 0..QUERIES as u32 {
            socket.send(&number.to_be_bytes()).unwrap();
        }
    }
    let address = all[0].address();
    let worker = Worker::new(all).unwrap();
    let handle = worker.handle();
    handle.stop();
    worker.serve(&mut Echo::default()).unwrap();
    for socket in &sockets {
        for number in 0..QUERIES as u32 {
            assert_eq!(reply_of(socket).2, number.to_be_bytes());
        }
    }
    assert_eq!(handle.counters().sent, 2 * QUERIES as u64);
    assert!(handle.receive_queues().unwrap().is_empty());
    UdpSocket::bind(address).expect("the port is free though a handle is still held");
}

#[test]
fn a_quiet_worker_idles_and_can_be_woken() {
    struct Idle(std::sync::mpsc::Sender<Instant>);
    impl BatchResponder for Idle {
        fn respond(&mut self, _: &mut [Datagram<'_>]) {}
        fn idle(&mut self) {
            let _ = self.0.send(Instant::now());
        }
    }
    let worker = Worker::new(listeners("127.0.0.1:0")).unwrap();
    let handle = worker.handle();
    let (sender, idles) = std::sync::mpsc::channel();
    let thread = thread::spawn(move || worker.serve(&mut Idle(sender)));
    for _ in 0..2 {
        idles.recv_timeout(DEADLINE).expect("idles by itself");
    }
    for _ in 0..50 {
        handle.wake();
        idles.recv_timeout(DEADLINE).expect("idles when woken");
    }
    handle.stop();
    thread.join().unwrap().unwrap();
}

#[test]
fn rounds_grow_while_a_worker_is_quiet_and_stand_while_it_is_stuck() {
    struct Stuck(std::sync::mpsc::Sender<()>, std::sync::mpsc::Receiver<()>);
    impl BatchResponder for Stuck {
        fn respond(&mut self, _: &mut [Datagram<'_>]) {
            self.0.send(()).unwrap();
            self.1.recv_timeout(DEADLINE).unwrap();
        }
        fn idle(&mut self) {}
    }
    let worker = Worker::new(listeners("127.0.0.1:0")).unwrap();
    let handle = worker.handle();
    let address = handle.receive_queues().unwrap()[0].0;
    let ((entered, stuck), (release, released)) = (std::sync::mpsc::channel(), std::sync::mpsc::channel());
    let thread = thread::spawn(move || worker.serve(&mut Stuck(entered, released)));
    let rounds = || handle.counters().rounds;
    let start = rounds();
    wait_for("five quiet rounds", || rounds() >= start + 5);

    client("127.0.0.1:0", address).send(b"x").unwrap();
    stuck.recv_timeout(DEADLINE).unwrap();
    let stood_at = rounds();
    // Nothing to wait for but time: three times the longest round.
    let until = Instant::now() + 3 * Duration::from_millis(u64::from(netio::worker::IDLE_INTERVAL_MS));
    while Instant::now() < until {
        assert_eq!(rounds(), stood_at);
        thread::yield_now();
    }
    release.send(()).unwrap();
    wait_for("a round after it", || rounds() > stood_at);
    handle.stop();
    thread.join().unwrap().unwrap();
}
