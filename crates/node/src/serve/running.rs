//! A node that answers: how its threads start, what it does meanwhile, and how it ends.

use super::controlled;
use super::packet_path::PacketPath;
use super::pulse::Pulse;
use super::requests::{Asked, Requests};
use super::sockets::Sockets;
use super::watch::Watch;
use crate::archive::Archive;
use crate::config::NodeConfig;
use crate::control::{self, Ready, Subject};
use crate::exit::Exit;
use crate::keeper::{self, Board, Changed, Keeper, ReloadRequest};
use crate::link::BEAT_EVERY;
use crate::management::{self, Extent, Snapshot, ZONES_MAX};
use crate::node_status::Sources;
use crate::pools;
use crate::privileges;
use crate::secondary::{self, Notices, Supplies};
use crate::tcp::{self, Role};
use crate::transfers::{Transfers, notify_secondaries};
use crate::workers::{WorkerEnded, Workers};
use anyhow::{Context, bail};
use nameserver::{Counters, Notifies, Responder, Samples, Settings, Subnets};
use std::future::ready;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, sleep_until};
use wire::NameBuf;
use wire::probe::{Seat, TOKEN_LEN};

/// How long the threads get to end by themselves: UDP workers answer what is in their queues within a
/// second, TCP gives its clients two.
const STOP_WITHIN: Duration = Duration::from_secs(4);

/// What a node has before its zones are loaded.
pub(super) struct Preparations {
    /// Where the state of the zones is told.
    pub(super) board: Arc<Board>,
    /// Who may transfer what.
    pub(super) transfers: Arc<Transfers>,
    /// The sockets, if there are some already.
    pub(super) sockets: Option<Sockets>,
    /// The lock of the state folder.
    pub(super) lock: Option<OwnedFd>,
    /// The thread that watches the agent, if there is one.
    pub(super) watch: Option<Watch>,
    /// What makes a query a probe.
    pub(super) probe_token: Option<[u8; TOKEN_LEN]>,
    /// The management addresses.
    pub(super) management: management::Endpoint,
    /// A zone of the configuration.
    pub(super) zone: Option<NameBuf>,
    /// What was opened for checks of endpoints by ICMP.
    pub(super) echo: pools::EchoSockets,
}

/// A node that answers.
pub(super) struct Running {
    workers: Arc<Workers>,
    tcp: Arc<tcp::Service>,
    transfers: Arc<Transfers>,
    board: Arc<Board>,
    reloads: SyncSender<keeper::Request>,
    secondary: secondary::Service,
    pools: pools::Service,
    worker_ended: mpsc::UnboundedReceiver<WorkerEnded>,
    tcp_ended: mpsc::Receiver<()>,
    archive: Archive,
    /// Ends when the archive has written what it was to.
    stored: oneshot::Receiver<()>,
    /// Grows while the control loop turns.
    turns: Arc<AtomicU64>,
    status: Sources,
    management: management::Endpoint,
    packet_path: PacketPath,
    watch: Option<Watch>,
}

impl Running {
    /// Binds the sockets where there are none yet, starts all threads, and says so.
    pub(super) fn start(
        mut keeper: Keeper,
        node: &NodeConfig,
        preparations: Preparations,
    ) -> anyhow::Result<Running> {
        let Preparations { board, transfers, sockets, lock, watch, probe_token, management, zone, echo } =
            preparations;
        let sockets = match sockets {
            Some(adopted) => adopted,
            None => Sockets::bind(node)?,
        };
        let tls_addresses = sockets.tls_addresses();
        let Sockets { addresses, udp, tcp, tls, by_cpu } = sockets;
        let mut packet_path =
            PacketPath::prepare(node, zone).context("cannot start the thread for interfaces")?;
        // Nothing is left to do that needs any; the threads that are started from here on never have one.
        privileges::give_up()?;

        if let Some(outside) = packet_path.outside() {
            keeper.keep_told(outside).context("cannot start the thread that hears of floods")?;
        }
        let (notices, heard) = Notices::new();
        let settings = Arc::new(settings(node, probe_token));
        let rate_limits = keeper.rate_limits();
        let mut responder =
            |counters, seat| Responder::new(keeper.reader(), Arc::clone(&settings), counters, seat);
        let mut samples = Vec::new();
        let (workers, prepared_udp) = Workers::prepare(udp, |counters, seat| {
            let of_worker = Arc::<Samples>::default();
            samples.push(Arc::clone(&of_worker));
            responder(counters, seat).sampled(of_worker).limited(Arc::clone(&rate_limits))
        })?;
        let (tcp_threads, (ended, worker_ended)) = (tcp.len(), mpsc::unbounded_channel()); // one message a worker
        let (tcp_counters, prepared_tcp) = prepare_tcp(tcp, tls, &notices, &mut responder);
        let (tcp_running, tcp_ended) = mpsc::channel(1);
        Workers::start(prepared_udp, &transfers, Some(&notices), &ended)?;
        let tcp = tcp::Service::start(&node.tcp, prepared_tcp, &transfers, &tcp_running)?;
        packet_path.begin(&addresses, workers.handles(), node.udp_payload_max, || {
            responder(Arc::default(), Seat::UdpWorker(0)) // its answers count for nobody
        });
        for handle in workers.handles() {
            let handle = handle.clone();
            keeper.wakes(Box::new(move || handle.wake()));
        }
        keeper.wakes(Box::new(tcp.waker()));
        let (reloads, requests) = sync_channel(keeper::QUEUE_MAX);
        let supplies = Supplies {
            copies: keeper.copies(),
            keeper: reloads.clone(),
            board: Arc::clone(&board),
            confirmations: keeper.confirmations(),
            heard,
        };
        let of_pools = pools::Supplies {
            configured: keeper.pools(),
            keeper: reloads.clone(),
            memory: keeper.pools_file(),
            sharing: keeper.sharing(),
            echo,
            samples,
        };
        let archive = keeper.archive().clone();
        let stored = archive.start().context("cannot start the threads that write to the state folder")?;
        thread::Builder::new().name("keeper".to_owned()).spawn(move || keeper.run(&requests))?;
        let secondary = secondary::Service::start(supplies, notices)
            .context("cannot start the thread that keeps copies of zones")?;
        let pools = pools::Service::start(of_pools).context("cannot start the thread that keeps pools")?;

        say_ready(&addresses, &tls_addresses, management.addresses())?;
        let (workers, tcp, turns) = (Arc::new(workers), Arc::new(tcp), Arc::<AtomicU64>::default());
        tracing::info!("ready: {} UDP workers and {tcp_threads} TCP threads answer", workers.count());
        if let Some(watch) = &watch {
            let (workers, tcp, board) = (Arc::clone(&workers), Arc::clone(&tcp), Arc::clone(&board));
            let pulse = Pulse { workers, tcp, board, control: Arc::clone(&turns), lock };
            watch.ready(addresses.clone(), by_cpu, pulse);
        }
        let status = Sources {
            name: node.name.clone(),
            since: SystemTime::now(),
            started: Instant::now(),
            tcp_workers: tcp_threads,
            listen: addresses,
            tls_listen: tls_addresses,
            tcp_counters,
            interfaces: Box::new(packet_path.statuses()),
            secondary: secondary.clone(),
            pools: pools.board().clone(),
            exchange: pools.exchange().clone(),
            archive: archive.clone(),
        };
        Ok(Running {
            workers,
            tcp,
            transfers,
            board,
            reloads,
            secondary,
            pools,
            worker_ended,
            tcp_ended,
            archive,
            stored,
            turns,
            status,
            management,
            packet_path,
            watch,
        })
    }

    /// Has changed zones read.
    pub(super) fn reload_for_signal(&self) {
        reload_for_signal(&self.reloads);
    }

    /// Answers the control socket and requests until the node is to end, and ends it.
    pub(super) async fn until_the_end(
        mut self,
        control: Option<control::Socket>,
        mut requests: Requests,
    ) -> anyhow::Result<Exit> {
        let (workers, tcp, board) =
            (Arc::clone(&self.workers), Arc::clone(&self.tcp), Arc::clone(&self.board));
        let status = self.status;
        let status = Rc::new(move || status.status(&workers, &tcp, &board));
        let (zones, of_snapshot) = (Arc::clone(&self.board), Rc::clone(&status));
        let exchange = self.pools.exchange().clone();
        let snapshot = move |extent| match extent {
            Extent::Digests(from) => Snapshot { digests: Some(zones.digests(from)), ..Snapshot::loading() },
            Extent::Sights(asked) => Snapshot { told: Some(exchange.told(&asked)), ..Snapshot::loading() },
            Extent::All | Extent::Own => Snapshot {
                server: Some(of_snapshot()),
                zones: zones.zones_and_copies(ZONES_MAX).into(),
                agent: None,
                digests: None,
                told: None,
            },
        };
        let managing = self.management.serve(Rc::new(move |extent| Box::pin(ready(snapshot(extent)))));
        tokio::pin!(managing);
        let subject = Subject::Ready(Ready {
            status: Box::new(move || status()),
            board: Arc::clone(&self.board),
            transfers: Arc::clone(&self.transfers),
            reloads: self.reloads.clone(),
            secondary: self.secondary.clone(),
            pools: self.pools.clone(),
            publishing: tokio::sync::Mutex::default(),
        });
        let controlling = controlled(control.as_ref(), subject);
        tokio::pin!(controlling);
        let notifying = notify_secondaries(Arc::clone(&self.transfers));
        tokio::pin!(notifying);
        let mut turns = interval(BEAT_EVERY);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut workers_left = self.workers.count();
        let (failure, is_leaving) = loop {
            tokio::select! {
                asked = requests.next() => match asked {
                    Asked::Reload => reload_for_signal(&self.reloads),
                    Asked::End => break (None, false),
                    Asked::Leave => break (None, true),
                },
                ended = self.worker_ended.recv() => {
                    workers_left -= 1;
                    let failure = ended.and_then(|ended| ended.failure);
                    break (failure.or(Some("a UDP worker ended unasked".to_owned())), false);
                }
                failure = &mut controlling => break (Some(failure), false),
                never = &mut managing => match never {},
                never = &mut notifying => match never {},
                _ = turns.tick() => {
                    self.turns.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        if let Some(watch) = self.watch.filter(|_| !is_leaving) {
            watch.ending();
        }
        let threads = Threads { worker_ended: self.worker_ended, workers_left, tcp_ended: self.tcp_ended };
        let all_ended = async {
            threads.ended().await;
            // An error says that the sender was dropped, which is what it is for.
            let _stored = self.stored.await;
        };
        if is_leaving {
            self.archive.leave();
        } else {
            self.archive.close();
        }
        self.packet_path.end();
        self.workers.stop();
        end(&self.tcp, is_leaving, all_ended, &mut requests).await;
        match failure {
            None => Ok(Exit::Fine),
            Some(failure) => bail!(failure),
        }
    }
}

/// The threads that answer, on their way to their end.
struct Threads {
    worker_ended: mpsc::UnboundedReceiver<WorkerEnded>,
    workers_left: usize,
    tcp_ended: mpsc::Receiver<()>,
}

impl Threads {
    async fn ended(mut self) {
        for _ in 0..self.workers_left {
            self.worker_ended.recv().await;
        }
        self.tcp_ended.recv().await; // `None` when the last thread has ended
    }
}

/// Ends the TCP service, and waits for everything to end, but not for ever. Who is leaving can still be asked to hurry.
async fn end(
    tcp: &tcp::Service,
    is_leaving: bool,
    all_ended: impl Future<Output = ()>,
    requests: &mut Requests,
) {
    let cut_off_at = if is_leaving {
        tracing::info!("another server has taken over; TCP clients are answered until they are quiet");
        tcp.leave()
    } else {
        tracing::info!("ending");
        tcp.stop()
    };
    let mut deadline = cut_off_at.max(tokio::time::Instant::now() + STOP_WITHIN);
    tokio::pin!(all_ended);
    loop {
        tokio::select! {
            () = &mut all_ended => return,
            () = sleep_until(deadline) => {
                tracing::warn!("some threads did not end in time; ending without them");
                return;
            }
            asked = requests.next(), if is_leaving => if asked == Asked::End {
                tcp.stop();
                deadline = deadline.min(tokio::time::Instant::now() + STOP_WITHIN);
            },
        }
    }
}

fn prepare_tcp(
    tcp: Vec<Vec<TcpListener>>,
    tls: Vec<TcpListener>,
    notices: &Arc<Notices>,
    mut responder: impl FnMut(Arc<Counters>, Seat) -> Responder,
) -> (Vec<Arc<Counters>>, Vec<tcp::Prepared>) {
    let count = tcp.len() as u16; // `WORKERS_MAX`
    let tcp = tcp.into_iter().zip(0..).map(|(listeners, thread)| (Role::Tcp(thread), thread, listeners));
    // A thread without listeners would have nothing to do. No probe of the agent reaches it: its seat is behind the others.
    let tls = Some((Role::Tls, count, tls)).filter(|(_, _, listeners)| !listeners.is_empty());
    let prepared = tcp.chain(tls).map(|(role, seat, listeners)| {
        let counters = Arc::new(Counters::default());
        let responder = responder(Arc::clone(&counters), Seat::TcpThread(seat));
        (counters, tcp::Prepared { role, listeners, responder, notices: Some(Arc::clone(notices)) })
    });
    prepared.unzip()
}

fn reload_for_signal(reloads: &SyncSender<keeper::Request>) {
    let request = ReloadRequest { zone: None, changed: Changed::Only, reply: None };
    if reloads.try_send(keeper::Request::Reload(request)).is_err() {
        tracing::warn!("SIGHUP: as many reloads as may be are waiting already, and one of them will do");
    }
}

fn settings(node: &NodeConfig, probe_token: Option<[u8; TOKEN_LEN]>) -> Settings {
    let octets = |text: &String| text.as_bytes().into();
    Settings {
        server_id: node.name.as_ref().map(octets),
        version: node.version.as_ref().map(octets),
        udp_payload_max: node.udp_payload_max,
        probe_token,
        notifies: Notifies::Caller,
        subnets: if node.client_subnet { Subnets::Heeded } else { Subnets::Ignored },
    }
}

/// Says on stdout where the node listens, and that it does.
fn say_ready(addresses: &[SocketAddr], tls: &[SocketAddr], management: &[SocketAddr]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let mut say = || {
        for address in addresses {
            writeln!(out, "listening {address} udp tcp")?;
        }
        for address in tls {
            writeln!(out, "listening {address} tls")?;
        }
        for address in management {
            writeln!(out, "management {address}")?;
        }
        writeln!(out, "ready")?;
        out.flush()
    };
    say().context("cannot write to stdout, where `ready` is said")
}
