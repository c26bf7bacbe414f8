//! `starling serve`: the order in which a node starts and ends.
//!
//! Start: privileges are given up, configuration, state folder, control socket and addresses are tried before anything
//! takes long; then the zones are loaded; then sockets are bound, threads started, and `ready` is said. End: no more is
//! accepted, what was asked is answered, the control socket goes away.
//!
//! A server may have an agent ([`agent`]), which started it and which it watches and is watched by ([`watch`], [`pulse`]);
//! and it may take the sockets of another server instead of binding its own ([`handover`], [`sockets`]).

mod agent;
mod handover;
mod packet_path;
mod pulse;
mod requests;
mod running;
mod sockets;
mod watch;

use crate::cli::ServeArguments;
use crate::config::{self, Config, NodeConfig, Purpose, Style};
use crate::control::{self, Subject};
use crate::exit::Exit;
use crate::keeper::{Board, Keeper};
use crate::listeners;
use crate::logging;
use crate::management::{self, Snapshot};
use crate::pools::EchoSockets;
use crate::privileges;
use crate::progress::Progress;
use crate::signals;
use crate::transfers::Transfers;
use crate::zones::state_dir::StateDir;
use agent::{Agent, Handed};
use anyhow::{Context, bail};
use requests::{Asked, Requests};
use running::{Preparations, Running};
use sockets::Sockets;
use std::future::ready;
use std::io::IsTerminal;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

/// How many requests of the agent wait: it has two to make.
const ASKED_MAX: usize = 4;

/// Runs a node until a signal ends it, or its agent.
pub(crate) fn run(arguments: &ServeArguments) -> anyhow::Result<Exit> {
    logging::start(arguments.log_format, arguments.log_level);
    abort_on_panic();
    // Before any file is read, so that a reload can read what the start could.
    privileges::keep_only(privileges::UNTIL_CONFIGURED)?;
    let agent = if arguments.agent_link {
        signals::no_core_dumps().context("core dumps can't be turned off")?;
        Some(Agent::meet()?)
    } else {
        None
    };
    let file = arguments.config.clone();
    let config = match config::load(file.as_deref(), &arguments.node, &arguments.zones, Purpose::Serve) {
        Ok(config) => config,
        Err(error) => {
            let style = if std::io::stderr().is_terminal() { Style::Coloured } else { Style::Plain };
            eprintln!("{}", error.render(style));
            return Ok(Exit::Usage);
        }
    };
    let needed = privileges::needed(&config);
    // With a raw socket one could listen to more than replies; it is opened where nothing less will do, and the right to goes at once.
    let echo = EchoSockets::open(&config.pools);
    privileges::keep_only(if config.node.uses_xdp() { needed } else { needed - privileges::FOR_ECHO })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, node(config, arguments, agent, echo))
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

async fn node(
    config: Config,
    arguments: &ServeArguments,
    mut agent: Option<Agent>,
    echo: EchoSockets,
) -> anyhow::Result<Exit> {
    let (asks, asked) = mpsc::channel(ASKED_MAX);
    // First of all, so that a signal during a long start isn't lost and doesn't kill.
    let mut requests = Requests::new(asked).context("cannot handle signals")?;
    let handed = agent.as_mut().and_then(|agent| agent.handed.take());
    let probe_token = agent.as_ref().map(|agent| agent.probe_token);
    // From now on the agent is heard, however long loading takes.
    let watch = agent.map(|agent| agent.watch(asks)).transpose().context("the agent can't be watched")?;
    let node = config.node.clone();
    let taken = take_hold(&node, handed)?;
    let control = control::resolve(&node).map(control::Socket::bind).transpose()?;
    // Of a server under an agent it is the agent that tells how it is.
    let managed = if arguments.agent_link { &[] } else { node.management.as_slice() };
    let management = management::Endpoint::bind(managed)?;
    let board = Arc::new(Board::default());
    let transfers = Arc::<Transfers>::default();
    let zone = config.zones.first().map(|zone| zone.name.clone());
    let mut loading =
        load_zones(config, taken.state, arguments, (Arc::clone(&board), Arc::clone(&transfers)))?;
    let mut controlling = Box::pin(controlled(control.as_ref(), Subject::Loading));
    let mut managing = Box::pin(management.serve(Rc::new(|_| Box::pin(ready(Snapshot::loading())))));
    let mut reload_first = false;
    let keeper = loop {
        tokio::select! {
            asked = requests.next() => match asked {
                Asked::Reload => reload_first = true,
                Asked::End | Asked::Leave => {
                    tracing::info!("ended before it was ready");
                    return Ok(Exit::Fine);
                }
            },
            failure = &mut controlling => bail!(failure),
            never = &mut managing => match never {},
            keeper = &mut loading => break keeper.context("the zones could not be loaded")?,
        }
    };
    if keeper.served_count() == 0 && !keeper.may_receive() {
        tracing::error!(
            "no zone could be loaded, so there is nothing to serve; mend one (`starling check` shows all errors)"
        );
        return Ok(Exit::Problem);
    }
    drop((controlling, managing));
    let (sockets, lock) = (taken.sockets, taken.lock);
    let preparations =
        Preparations { board, transfers, sockets, lock, watch, probe_token, management, zone, echo };
    let running = Running::start(keeper, &node, preparations)?;
    if reload_first {
        running.reload_for_signal();
    }
    running.until_the_end(control, requests).await
}

/// What a node takes hold of before it loads its zones.
struct Taken {
    state: Option<StateDir>,
    /// A further descriptor of the state folder's lock.
    lock: Option<OwnedFd>,
    /// The sockets of another server; where there are none, they are opened when the zones are loaded.
    sockets: Option<Sockets>,
}

/// Takes over what another server has handed on, or tries whether the addresses can be had.
fn take_hold(node: &NodeConfig, handed: Option<Handed>) -> anyhow::Result<Taken> {
    let (sockets, lock) = match handed {
        Some(handed) => {
            let sockets = Sockets::adopt(handed.sockets).context("the server before can't be followed")?;
            sockets.compare(node);
            (Some(sockets), handed.lock)
        }
        None => (None, None),
    };
    let state = match (node.state_dir.as_deref(), lock) {
        (Some(folder), Some(lock)) => Some(StateDir::adopt(folder, lock)?),
        (Some(folder), None) => Some(StateDir::open(folder)?),
        (None, _) => None,
    };
    if sockets.is_none() {
        for address in &node.listen {
            listeners::rehearse(*address)?;
        }
        for address in node.tls.iter().flat_map(|tls| &tls.listen) {
            listeners::bind_tls(*address)?;
        }
    }
    let lock = state.as_ref().map(StateDir::duplicate_lock).transpose().context("out of descriptors")?;
    Ok(Taken { state, lock, sockets })
}

/// Loads the zones on a thread of their own, so that signals are heard meanwhile.
fn load_zones(
    config: Config,
    state: Option<StateDir>,
    arguments: &ServeArguments,
    (board, transfers): (Arc<Board>, Arc<Transfers>),
) -> std::io::Result<oneshot::Receiver<Keeper>> {
    let (file, node, zones) = (arguments.config.clone(), arguments.node.clone(), arguments.zones.clone());
    let read_config = Box::new(move || config::load(file.as_deref(), &node, &zones, Purpose::Serve));
    let (sender, loading) = oneshot::channel();
    thread::Builder::new().name("zones".to_owned()).spawn(move || {
        // Master files are read without any privileges; the sockets, which may need some, come later.
        if let Err(error) = privileges::give_up() {
            tracing::error!("{error}");
            return;
        }
        let keeper = Keeper::start(config, state, read_config, board, transfers, &Progress::on_terminal());
        // Nobody waits for it any more when a signal came first.
        drop(sender.send(keeper));
    })?;
    Ok(loading)
}

/// Answers the control socket, if there is one, until that fails; says how it failed.
async fn controlled(socket: Option<&control::Socket>, subject: Subject) -> String {
    let Some(socket) = socket else { return std::future::pending().await };
    match control::serve(socket, Rc::new(subject)).await {
        Ok(()) => "the control socket ended unasked".to_owned(),
        Err(error) => format!("the control socket failed: {error}"),
    }
}
