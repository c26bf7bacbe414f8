//! `starling serve`: the order in which a node starts and ends.
//!
//! Start: configuration, state folder, control socket and addresses are tried before anything takes long; then
//! the zones are loaded; then sockets are bound, threads started, and `ready` is said. End: no more is accepted,
//! what was asked is answered, the control socket goes away.

use crate::cli::ServeArguments;
use crate::config::{self, Config, NodeConfig, Purpose, Style};
use crate::control::{self, Ready, Subject};
use crate::exit::Exit;
use crate::keeper::{self, Board, Changed, Keeper};
use crate::listeners::{self, Listener};
use crate::logging;
use crate::node_status::Sources;
use crate::progress::Progress;
use crate::tcp;
use crate::workers::{WorkerEnded, Workers};
use crate::zones::state_dir::StateDir;
use anyhow::{Context, bail};
use nameserver::{Counters, Responder, Settings};
use netio::pin;
use std::io::{IsTerminal, Write};
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;
use wire::probe::Seat;

/// How long the threads get to end by themselves: UDP workers answer what is in their queues within a
/// second, TCP gives its clients two.
const STOP_WITHIN: Duration = Duration::from_secs(4);

/// Runs a node until a signal ends it.
pub(crate) fn run(arguments: &ServeArguments) -> anyhow::Result<Exit> {
    logging::start(arguments.log_format, arguments.log_level);
    abort_on_panic();
    let file = arguments.config.clone();
    let config = match config::load(file.as_deref(), &arguments.node, &arguments.zones, Purpose::Serve) {
        Ok(config) => config,
        Err(error) => {
            let style = if std::io::stderr().is_terminal() { Style::Coloured } else { Style::Plain };
            eprintln!("{}", error.render(style));
            return Ok(Exit::Usage);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, node(config, arguments))
}

/// A worker that panicked would leave its share of the queries unanswered for good, while the node looks alive. The
/// supervisor starts the node anew, and the route goes away in between. (The release profile aborts anyway.)
fn abort_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        std::process::abort();
    }));
}

/// The signals that a node knows.
struct Signals {
    hang_up: Signal,
    terminate: Signal,
    interrupt: Signal,
}

/// What a signal asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asked {
    ToReload,
    ToEnd,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            hang_up: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next signal.
    async fn next(&mut self) -> Asked {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Asked::ToEnd,
            _ = self.interrupt.recv() => Asked::ToEnd,
            _ = self.hang_up.recv() => Asked::ToReload,
        }
    }
}

async fn node(config: Config, arguments: &ServeArguments) -> anyhow::Result<Exit> {
    // First of all, so that a signal during a long start isn't lost and doesn't kill.
    let mut signals = Signals::new().context("cannot handle signals")?;
    let node = config.node.clone();
    let state = node.state_dir.as_deref().map(StateDir::open).transpose()?;
    let control = control::resolve(&node).map(control::Socket::bind).transpose()?;
    for address in &node.listen {
        listeners::rehearse(*address)?;
    }
    let board = Arc::new(Board::default());
    let mut loading = load_zones(config, state, arguments, Arc::clone(&board))?;
    let mut controlling = Box::pin(controlled(control.as_ref(), Subject::Loading));
    let mut reload_first = false;
    let keeper = loop {
        tokio::select! {
            asked = signals.next() => match asked {
                Asked::ToReload => reload_first = true,
                Asked::ToEnd => {
                    tracing::info!("ended before it was ready");
                    return Ok(Exit::Fine);
                }
            },
            failure = &mut controlling => bail!(failure),
            keeper = &mut loading => break keeper.context("the zones could not be loaded")?,
        }
    };
    if keeper.served_count() == 0 {
        tracing::error!(
            "no zone could be loaded, so there is nothing to serve; mend one (`starling check` shows all errors)"
        );
        return Ok(Exit::Problem);
    }
    drop(controlling);
    let running = Running::start(keeper, &node, board)?;
    if reload_first {
        reload_for_signal(&running.reloads);
    }
    running.until_the_end(control, signals).await
}

/// Loads the zones on a thread of their own, so that signals are heard meanwhile.
fn load_zones(
    config: Config,
    state: Option<StateDir>,
    arguments: &ServeArguments,
    board: Arc<Board>,
) -> std::io::Result<oneshot::Receiver<Keeper>> {
    let (file, node, zones) = (arguments.config.clone(), arguments.node.clone(), arguments.zones.clone());
    let read_config = Box::new(move || config::load(file.as_deref(), &node, &zones, Purpose::Serve));
    let (sender, loading) = oneshot::channel();
    thread::Builder::new().name("zones".to_owned()).spawn(move || {
        let keeper = Keeper::start(config, state, read_config, board, &Progress::on_terminal());
        // Nobody waits for it any more when a signal came first.
        drop(sender.send(keeper));
    })?;
    Ok(loading)
}

/// A node that answers.
struct Running {
    workers: Rc<Workers>,
    tcp: Rc<tcp::Service>,
    board: Arc<Board>,
    reloads: SyncSender<keeper::Request>,
    worker_ended: mpsc::UnboundedReceiver<WorkerEnded>,
    tcp_ended: mpsc::Receiver<()>,
    /// Ends when the images of the start are stored.
    stored: oneshot::Receiver<()>,
    status: Sources,
}

impl Running {
    /// Binds the sockets, starts all threads, and says so.
    fn start(mut keeper: Keeper, node: &NodeConfig, board: Arc<Board>) -> anyhow::Result<Running> {
        let cpus = pin::allowed_cpus().context("cannot read which CPUs may be used")?;
        let worker_count = node.workers.or(NonZeroUsize::new(cpus.len())).unwrap_or(NonZeroUsize::MIN);
        let bound: Vec<Listener> = node
            .listen
            .iter()
            .map(|address| listeners::bind(*address, worker_count, node.steering, node.tcp.workers))
            .collect::<anyhow::Result<_>>()?;
        let addresses: Vec<_> = bound.iter().map(|listener| listener.address).collect();
        for listener in &bound {
            tracing::debug!("{}: UDP workers are chosen {:?}", listener.address, listener.steered);
        }
        let (udp_sockets, tcp_sockets) = by_thread(bound, worker_count, node.tcp.workers);

        let settings = Arc::new(settings(node));
        let mut responder =
            |counters, seat| Responder::new(keeper.reader(), Arc::clone(&settings), counters, seat);
        let (workers, prepared_udp) = Workers::prepare(udp_sockets, &mut responder)?;
        let tcp_counters: Vec<Arc<Counters>> = tcp_sockets.iter().map(|_| Arc::default()).collect();
        let prepared_tcp = tcp_sockets.into_iter().zip(&tcp_counters).zip(0..);
        let prepared_tcp = prepared_tcp
            .map(|((listeners, counters), thread)| tcp::Prepared {
                listeners,
                responder: responder(Arc::clone(counters), Seat::TcpThread(thread)),
            })
            .collect();

        let (ended, worker_ended) = mpsc::unbounded_channel(); // one message a worker
        let (tcp_running, tcp_ended) = mpsc::channel(1);
        Workers::start(prepared_udp, &ended)?;
        let tcp = tcp::Service::start(&node.tcp, prepared_tcp, &tcp_running)?;
        for handle in workers.handles() {
            let handle = handle.clone();
            keeper.wakes(Box::new(move || handle.wake()));
        }
        keeper.wakes(Box::new(tcp.waker()));
        let (reloads, requests) = sync_channel(keeper::QUEUE_MAX);
        let (storing, stored) = oneshot::channel();
        thread::Builder::new().name("keeper".to_owned()).spawn(move || keeper.run(&requests, storing))?;

        say_ready(&addresses)?;
        tracing::info!("ready: {worker_count} UDP workers and {} TCP threads answer", node.tcp.workers);
        let status = Sources {
            name: node.name.clone(),
            since: SystemTime::now(),
            started: Instant::now(),
            tcp_workers: node.tcp.workers.get(),
            listen: addresses,
            tcp_counters,
        };
        let (workers, tcp) = (Rc::new(workers), Rc::new(tcp));
        Ok(Running { workers, tcp, board, reloads, worker_ended, tcp_ended, stored, status })
    }

    /// Answers the control socket and signals until the node is to end, and ends it.
    async fn until_the_end(
        mut self,
        control: Option<control::Socket>,
        mut signals: Signals,
    ) -> anyhow::Result<Exit> {
        let (workers, tcp, board) = (Rc::clone(&self.workers), Rc::clone(&self.tcp), Arc::clone(&self.board));
        let status = self.status;
        let subject = Subject::Ready(Ready {
            status: Box::new(move || status.status(&workers, &tcp, &board)),
            board: Arc::clone(&self.board),
            reloads: self.reloads.clone(),
        });
        let controlling = controlled(control.as_ref(), subject);
        tokio::pin!(controlling);
        let mut workers_left = self.workers.count();
        let failure = loop {
            tokio::select! {
                asked = signals.next() => match asked {
                    Asked::ToReload => reload_for_signal(&self.reloads),
                    Asked::ToEnd => break None,
                },
                ended = self.worker_ended.recv() => {
                    workers_left -= 1;
                    break ended.and_then(|ended| ended.failure).or(Some("a UDP worker ended unasked".to_owned()));
                }
                failure = &mut controlling => break Some(failure),
            }
        };
        tracing::info!("ending");
        self.tcp.stop();
        self.workers.stop();
        let all_ended = async {
            for _ in 0..workers_left {
                self.worker_ended.recv().await;
            }
            self.tcp_ended.recv().await; // `None` when the last thread has ended
            // An error says that the sender was dropped, which is what it is for.
            let _stored = (&mut self.stored).await;
        };
        if tokio::time::timeout(STOP_WITHIN, all_ended).await.is_err() {
            tracing::warn!("some threads did not end within {STOP_WITHIN:?}; ending without them");
        }
        match failure {
            None => Ok(Exit::Fine),
            Some(failure) => bail!(failure),
        }
    }
}

/// Answers the control socket, if there is one, until that fails; says how it failed.
async fn controlled(socket: Option<&control::Socket>, subject: Subject) -> String {
    let Some(socket) = socket else { return std::future::pending().await };
    match control::serve(socket, Rc::new(subject)).await {
        Ok(()) => "the control socket ended unasked".to_owned(),
        Err(error) => format!("the control socket failed: {error}"),
    }
}

fn reload_for_signal(reloads: &SyncSender<keeper::Request>) {
    let request = keeper::Request { zone: None, changed: Changed::Only, reply: None };
    if reloads.try_send(request).is_err() {
        tracing::warn!("SIGHUP: as many reloads as may be are waiting already, and one of them will do");
    }
}

/// The sockets of all addresses, sorted by the thread they are for.
fn by_thread(
    bound: Vec<Listener>,
    workers: NonZeroUsize,
    tcp_workers: NonZeroUsize,
) -> (Vec<Vec<netio::UdpListener>>, Vec<Vec<std::net::TcpListener>>) {
    let mut udp: Vec<Vec<_>> = (0..workers.get()).map(|_| Vec::new()).collect();
    let mut tcp: Vec<Vec<_>> = (0..tcp_workers.get()).map(|_| Vec::new()).collect();
    for listener in bound {
        udp.iter_mut().zip(listener.udp).for_each(|(sockets, socket)| sockets.push(socket));
        tcp.iter_mut().zip(listener.tcp).for_each(|(sockets, socket)| sockets.push(socket));
    }
    (udp, tcp)
}

fn settings(node: &NodeConfig) -> Settings {
    let octets = |text: &String| text.as_bytes().into();
    Settings {
        server_id: node.name.as_ref().map(octets),
        version: node.version.as_ref().map(octets),
        udp_payload_max: node.udp_payload_max,
        probe_token: None,
    }
}

/// Says on stdout where the node listens, and that it does.
fn say_ready(addresses: &[std::net::SocketAddr]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let mut say = || {
        for address in addresses {
            writeln!(out, "listening {address} udp tcp")?;
        }
        writeln!(out, "ready")?;
        out.flush()
    };
    say().context("cannot write to stdout, where `ready` is said")
}
