//! The prober of an agent against the threads of a server: every one is reached, however the kernel picks it.

use super::{WorkerEnded, Workers};
use crate::config::TcpConfig;
use crate::listeners;
use crate::tcp;
use health::{Answered, Outcome, ProbePlan, Prober, Transports};
use nameserver::{Responder, Settings};
use netio::udp::Steering;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;
use table::publish::{Directory, Publisher, SlotIndex};
use tokio::sync::mpsc;
use wire::NameBuf;
use wire::probe::Seat;

const TOKEN: [u8; 16] = *b"token of a test!";
const WORKERS: u16 = 3;
const TCP_THREADS: u16 = 2;

/// Longer than any scheduling delay.
const TIMEOUT: Duration = Duration::from_secs(5);

struct Server {
    address: SocketAddr,
    publisher: Publisher,
    workers: Workers,
    tcp: tcp::Service,
    worker_ended: mpsc::UnboundedReceiver<WorkerEnded>,
    tcp_ended: mpsc::Receiver<()>,
}

impl Server {
    fn start(address: &str, workers: u16, steering: Steering) -> Server {
        let mut publisher = Publisher::new();
        let zone = zone("example.com.");
        publisher.publish_directory(Directory::new([(zone.as_name(), SlotIndex(0))]));
        let count = |count: u16| NonZeroUsize::new(count.into()).unwrap();
        let options = netio::SocketOptions { steering, ..netio::SocketOptions::default() };
        let bound =
            listeners::bind(address.parse().unwrap(), count(workers), &options, count(TCP_THREADS)).unwrap();
        let settings = Arc::new(Settings { probe_token: Some(TOKEN), ..Settings::default() });
        let mut responder =
            |counters, seat| Responder::new(publisher.reader(), Arc::clone(&settings), counters, seat);
        let sockets = bound.udp.into_iter().map(|socket| vec![socket]).collect();
        let (workers, prepared) = Workers::prepare(sockets, &mut responder).unwrap();
        let prepared_tcp = bound.tcp.into_iter().zip(0..).map(|(listener, thread)| tcp::Prepared {
            role: tcp::Role::Tcp(thread),
            listeners: vec![listener],
            responder: responder(Arc::default(), Seat::TcpThread(thread)),
            notices: None,
        });
        let prepared_tcp = prepared_tcp.collect();
        let (ended, worker_ended) = mpsc::unbounded_channel();
        let (running, tcp_ended) = mpsc::channel(1);
        Workers::start(prepared, &Arc::default(), None, &ended).unwrap();
        let tcp =
            tcp::Service::start(&TcpConfig::default(), prepared_tcp, &Arc::default(), &running).unwrap();
        Server { address: bound.address, publisher, workers, tcp, worker_ended, tcp_ended }
    }

    /// Publishes a version of the zone.
    fn publish(&mut self, serial: u32) {
        let text =
            format!("@ 60 SOA ns host {serial} 7200 3600 1209600 300\n@ 60 NS ns\nns 60 A 192.0.2.1\n");
        let apex = zone("example.com.");
        let reading = zone::read(
            apex.as_name(),
            "example.com.zone",
            text.as_bytes(),
            &mut zone::master::NoIncludes,
            &mut |_| (),
        );
        let table = zone::compile(reading.zone.unwrap(), &zone::CompileOptions::default()).unwrap();
        self.publisher.publish(SlotIndex(0), Some(Arc::new(table)));
    }

    fn prober(&self, workers: u16, steering: health::Steering) -> Prober {
        Prober::new(ProbePlan {
            address: self.address,
            transports: Transports::Both,
            workers,
            tcp_threads: TCP_THREADS,
            steering,
            token: TOKEN,
            timeout: TIMEOUT,
        })
        .unwrap()
    }

    async fn stop(mut self) {
        self.workers.stop();
        self.tcp.stop();
        while let Some(ended) = self.worker_ended.recv().await {
            assert_eq!(ended.failure, None);
        }
        self.tcp_ended.recv().await;
    }
}

fn zone(name: &str) -> NameBuf {
    NameBuf::from_text(name.as_bytes(), None).unwrap()
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

async fn round(prober: &mut Prober, serial: u32) -> Vec<Answered> {
    prober.round(zone("example.com.").as_name(), &[serial]).await
}

fn assert_all_pass(answered: &[Answered], workers: u16) {
    assert!(answered.iter().all(|one| one.outcome == Outcome::Pass), "{answered:?}");
    let seats: Vec<Seat> = answered.iter().map(|one| one.seat).collect();
    let udp = (0..workers).map(Seat::UdpWorker);
    assert_eq!(seats, udp.chain((0..TCP_THREADS).map(Seat::TcpThread)).collect::<Vec<_>>());
}

#[test]
fn every_thread_is_reached_however_the_kernel_picks_it() {
    let cpus = netio::pin::allowed_cpus().unwrap().len() as u16;
    let cases = [
        ("127.0.0.1:0", WORKERS, Steering::Hash, health::Steering::ByHash),
        ("[::1]:0", WORKERS, Steering::Hash, health::Steering::ByHash),
        ("127.0.0.1:0", cpus, Steering::Cpu, health::Steering::ByCpu),
        ("[::1]:0", cpus, Steering::Cpu, health::Steering::ByCpu),
        // Who doesn't know may say that it is by CPU.
        ("127.0.0.1:0", WORKERS, Steering::Hash, health::Steering::ByCpu),
    ];
    for (address, workers, steering, expected) in cases {
        let mut server = Server::start(address, workers, steering);
        server.publish(7);
        run(async {
            let mut prober = server.prober(workers, expected);
            for _ in 0..20 {
                assert_all_pass(&round(&mut prober, 7).await, workers);
            }
            server.stop().await;
        });
    }
}

#[test]
fn what_a_thread_serves_is_seen() {
    let mut server = Server::start("127.0.0.1:0", WORKERS, Steering::Hash);
    run(async {
        let mut prober = server.prober(WORKERS, health::Steering::ByHash);
        let fault = |answered: Vec<Answered>| {
            assert_eq!(answered.len(), usize::from(WORKERS + TCP_THREADS));
            let outcomes: Vec<Outcome> = answered.into_iter().map(|one| one.outcome).collect();
            assert!(outcomes.windows(2).all(|pair| pair[0] == pair[1]), "{outcomes:?}");
            outcomes.into_iter().next()
        };
        let fail = |saw: &str| Some(Outcome::Fail(saw.to_owned()));
        assert_eq!(fault(round(&mut prober, 7).await), fail("the response code is SERVFAIL"));
        server.publish(6);
        assert_eq!(fault(round(&mut prober, 7).await), fail("the serial is 6, and 7 is published"));
        server.publish(7);
        assert_all_pass(&round(&mut prober, 7).await, WORKERS);
        let elsewhere = prober.round(zone("example.net.").as_name(), &[7]).await;
        assert_eq!(fault(elsewhere), fail("the response code is REFUSED"));
        server.stop().await;
    });
}
