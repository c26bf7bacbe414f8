//! The order in which a node with a route starts and ends.
//!
//! Start: configuration, privileges, control socket and management addresses; then the lease, so that the service addresses
//! are there for the server; then the server and everything that looks at it. The route comes when the governor says so.
//! End: the route is drained, withdrawn, and answered for the grace period; then the server ends, then the lease.

use super::checks::{Checks, Observation};
use super::explain::Told;
use super::history::History;
use super::no_delay;
use super::probing::{self, Target};
use super::route::Route;
use super::server::{Handed, Launch, now, see_off};
use super::supervisor::LEAVE_WITHIN;
use super::turn::{Agent, Inputs};
use super::upgrade::{self, Received};
use super::verify;
use super::view::View;
use crate::cli::RunArguments;
use crate::config::{self, AnycastConfig, Config, Driver, Purpose, Style};
use crate::control::{self, Reply, Request, Response, Subject};
use crate::exit::Exit;
use crate::logging;
use crate::management::{self, Endpoint, Extent, Peers, Snapshot, Timing};
use crate::privileges;
use crate::signals::{self, Signals};
use crate::status::NoDelayStatus;
use anycast::governor::{Governor, LastSite, Mode, Policy};
use anycast::{Lease, Rung};
use anyhow::{Context, bail};
use health::exec::Runner;
use netio::NoDelay;
use rustix::process::Pid;
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;
use tokio::time::timeout;
use wire::probe::TOKEN_LEN;

/// How many of the operator's commands run at once: more than a node has checks that take long, and few enough for a machine
/// that is in trouble.
const COMMANDS_MAX: usize = 16;
/// How old a peer's word may be: two rounds of asking with their deadline; a third would be news of a site as it was.
const PEERS_AGE_MAX: Duration = Duration::from_millis(3_000);
/// How long the management address waits for the server, well below its own patience.
const SERVER_WITHIN: Duration = Duration::from_secs(1);
/// How many requests, verifications and steps may wait for the loop, which takes them within microseconds.
const WAITING_MAX: usize = 32;
/// The control socket's name where the node has neither `/run/starling` nor a state folder: the server needs one too.
const NO_CONTROL: &str =
    "an agent needs a control socket, to ask its server; give the node a `state-dir`, or `control` a path";

/// Runs a node with a route until a signal ends it.
pub(crate) fn run(arguments: &RunArguments) -> anyhow::Result<Exit> {
    logging::start(arguments.log_format, arguments.log_level);
    let config = match config::load(Some(&arguments.config), &Default::default(), &[], Purpose::Run) {
        Ok(config) => config,
        Err(error) => {
            let style = if std::io::stderr().is_terminal() { Style::Coloured } else { Style::Plain };
            eprintln!("{}", error.render(style));
            return Ok(Exit::Usage);
        }
    };
    let Some(anycast) = config.anycast.clone() else { bail!("the configuration has no [anycast]") };
    if arguments.rehearse {
        Checks::new(&config, &anycast, health::Moment::default())?;
        return Ok(Exit::Fine);
    }
    signals::no_core_dumps().context("core dumps can't be turned off")?;
    let mut received = if arguments.resume { Some(upgrade::receive()?) } else { None };
    let passed = received.as_mut().and_then(|received| received.no_delay.take());
    // While CAP_BPF and CAP_PERFMON are there, if they were ever.
    let sending = no_delay::prepare(anycast.bird.as_ref(), passed);
    privileges::keep_only(privileges::needed(&config))?;
    // A shell or a supervisor may have left some open: commands of the operator's have no use for them.
    netio::inherited::keep_from_children().context("inherited descriptors can't be kept from children")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, node(config, anycast, arguments.clone(), received, sending))
}

async fn node(
    config: Config,
    anycast: AnycastConfig,
    arguments: RunArguments,
    received: Option<Received>,
    (no_delay, sending): Sending,
) -> anyhow::Result<Exit> {
    // First of all, so that a signal during the start isn't lost and doesn't kill.
    let signals = Signals::new().context("cannot handle signals")?;
    let clock = Instant::now();
    let control_path = control::resolve(&config.node).context(NO_CONTROL)?;
    let control = control::Socket::bind(control_path.clone())?;
    let endpoint = Endpoint::bind(&config.node.management)?;
    let (lease, governor, handed, probe_token) = beginning(&config, &anycast, clock, received)?;
    let (history, in_maintenance) =
        History::open(config.node.state_dir.as_deref()).context("cannot start the history")?;
    let governor = governor.map_or_else(|| begin(&config, &anycast, in_maintenance, clock), Ok)?;

    let launch = launch(&arguments, control_path, &probe_token, anycast.freeze)?;
    let (events, events_in) = mpsc::unbounded_channel(); // ten a second, and the loop takes them at once
    let (reports, reports_in) = mpsc::unbounded_channel(); // one a change of the route
    let (verified, verified_in) = mpsc::channel(WAITING_MAX);
    let (requests, requests_in) = mpsc::channel(WAITING_MAX);
    let (steps, steps_in) = mpsc::channel(WAITING_MAX);
    // With the second driver it is not the lease that says so.
    let holds = if anycast.driver == Driver::Learn { lease.held() } else { governor.rung() };
    let (meant, meant_in) = watch::channel(holds);

    let checks = Checks::new(&config, &anycast, now(clock))?;
    let view = Rc::new(View::default());
    let observations = start_checks(&config, &anycast, &checks, &view, probe_token);
    let no_delay_status = start_no_delay(no_delay.clone(), sending);
    start_verification(&anycast, meant_in, verified);
    let peers = start_peers(&config);
    let management = start_requests(control, endpoint, requests);
    let (wanted, on_rung) = (governor.rung(), governor.carried().on_rung);
    let route = Route::start(lease, wanted, anycast.driver, clock, reports)
        .context("cannot start the route's thread")?;
    let mut agent = Agent {
        name: config.node.name.clone(),
        told: Told::new(now(clock), holds, on_rung, handed.is_some()),
        looked_at: now(clock),
        is_ending: false,
        watchdog: sd_notify::watchdog_enabled().is_some(),
        orders: mpsc::channel(1).0,
        binary: launch.binary.clone(),
        meant,
        no_delay,
        no_delay_status,
        arguments,
        clock,
        governor,
        checks,
        history,
        route,
        view,
        launch,
        events,
        steps,
        peers,
        management,
        driver: anycast.driver,
    };
    agent.supervise(handed);
    let (events, reports, verified, requests, steps) =
        (events_in, reports_in, verified_in, requests_in, steps_in);
    agent.run(Inputs { events, reports, observations, verified, requests, steps, signals }).await?;
    Ok(Exit::Fine)
}

fn launch(
    arguments: &RunArguments,
    control: PathBuf,
    probe_token: &[u8; TOKEN_LEN],
    freeze: Duration,
) -> anyhow::Result<Launch> {
    Ok(Launch {
        binary: std::env::current_exe().context("cannot find the path of this program")?,
        arguments: server_words(arguments),
        control,
        probe_token: hexadecimal(probe_token),
        freeze,
    })
}

fn start_checks(
    config: &Config,
    anycast: &AnycastConfig,
    checks: &Checks,
    view: &Rc<View>,
    token: [u8; TOKEN_LEN],
) -> mpsc::Receiver<Observation> {
    let steering = probing::steering(config.node.steering);
    let targets = probing::targets(config, anycast);
    let targets = targets.into_iter().map(|address| Target { address, token, steering }).collect();
    checks.start(targets, view, &Rc::new(Runner::new(COMMANDS_MAX)))
}

fn start_verification(
    anycast: &AnycastConfig,
    meant: watch::Receiver<Rung>,
    verified: mpsc::Sender<verify::Verified>,
) {
    if let Some(bird) = anycast.bird.clone() {
        let prefixes = anycast.plan.prefixes().to_vec();
        tokio::task::spawn_local(verify::run(bird, anycast.driver, prefixes, meant, verified));
    }
}

/// How BIRD's sessions send, and what is there to change it.
type Sending = (Option<Arc<NoDelay>>, NoDelayStatus);

fn start_no_delay(no_delay: Option<Arc<NoDelay>>, sending: NoDelayStatus) -> watch::Receiver<NoDelayStatus> {
    let (status, told) = watch::channel(sending);
    if let Some(no_delay) = no_delay {
        tokio::task::spawn_local(no_delay::run(no_delay, status));
    }
    told
}

fn start_peers(config: &Config) -> Rc<Peers> {
    let peers = Rc::new(Peers::new(config.peers.clone(), Timing::default()));
    let watched = Rc::clone(&peers);
    tokio::task::spawn_local(async move { watched.watch().await });
    peers
}

/// Takes requests on the control socket and on the management addresses, which it gives back.
fn start_requests(control: control::Socket, endpoint: Endpoint, requests: Requests) -> Vec<SocketAddr> {
    let addresses = endpoint.addresses().to_vec();
    let subject = Rc::new(Subject::Agent(requests.clone()));
    tokio::task::spawn_local(async move {
        if let Err(error) = control::serve(&control, subject).await {
            tracing::error!("the control socket failed, and `starling ctl` can't reach this node: {error}");
        }
    });
    let source = snapshots(requests);
    tokio::task::spawn_local(async move { endpoint.serve(source).await });
    addresses
}

/// What a node begins with: a new lease, or that of the program before with all that goes with it.
type Beginning = (Lease, Option<Governor>, Option<Handed>, [u8; TOKEN_LEN]);

fn beginning(
    config: &Config,
    anycast: &AnycastConfig,
    clock: Instant,
    received: Option<Received>,
) -> anyhow::Result<Beginning> {
    let Some(Received { baton, lease, server, .. }) = received else {
        let lease = Lease::take(anycast.plan.clone()).context("cannot take the lease of the route")?;
        return Ok((lease, None, None, random_token()?));
    };
    let lease =
        Lease::adopt(anycast.plan.clone(), lease).context("cannot take over the lease of the route")?;
    if let Some(leaving) = baton.leaving_pid.and_then(Pid::from_raw) {
        tokio::task::spawn_local(see_off(leaving, LEAVE_WITHIN));
    }
    let token = token_of(&baton.probe_token).context("the program before passed no probe token")?;
    let carried = baton.governor.into();
    let governor = Governor::resume(policy(config, anycast), &carried, seed(), now(clock))?;
    Ok((lease, Some(governor), Some(server), token))
}

fn begin(
    config: &Config,
    anycast: &AnycastConfig,
    in_maintenance: bool,
    clock: Instant,
) -> anyhow::Result<Governor> {
    let mode = if in_maintenance { Mode::Maintenance } else { Mode::Normal };
    Ok(Governor::new(policy(config, anycast), mode, seed(), now(clock))?)
}

fn policy(config: &Config, anycast: &AnycastConfig) -> Policy {
    let last_site = (!config.peers.is_empty())
        .then_some(LastSite { peers_min: anycast.peers_min, peers_age_max: PEERS_AGE_MAX });
    Policy {
        stable: anycast.stable,
        drain: anycast.drain,
        grace: anycast.grace,
        hold_down: anycast.hold_down,
        hold_down_max: anycast.hold_down_max,
        transitions_per_hour_max: anycast.transitions_per_hour_max,
        last_site,
    }
}

/// Jitter only: nodes that start together must not choose alike, and no more than that.
fn seed() -> u64 {
    fastrand::u64(..)
}

/// A token that nobody can guess: who knows it is told which thread answered.
fn random_token() -> anyhow::Result<[u8; TOKEN_LEN]> {
    let mut token = [0; TOKEN_LEN];
    let read = rustix::rand::getrandom(&mut token, rustix::rand::GetRandomFlags::empty());
    // Up to 256 octets come whole, or not at all (getrandom(2)).
    if read.context("the kernel gives no random numbers")? != token.len() {
        bail!("the kernel gives too few random numbers");
    }
    Ok(token)
}

fn hexadecimal(token: &[u8]) -> String {
    token.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn token_of(text: &str) -> Option<[u8; TOKEN_LEN]> {
    let mut token = [0; TOKEN_LEN];
    if text.len() != 2 * TOKEN_LEN || !text.is_ascii() {
        return None;
    }
    for (octet, at) in token.iter_mut().zip((0..).step_by(2)) {
        *octet = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(token)
}

/// What follows `serve` on the server's command line.
fn server_words(arguments: &RunArguments) -> Vec<OsString> {
    let mut words = vec!["--config".into(), arguments.config.clone().into()];
    words.extend(arguments.log_words());
    words
}

/// What the loop is asked through.
type Requests = mpsc::Sender<(Request, Reply)>;

/// Takes snapshots for the management address, by asking the loop as `starling ctl` does.
fn snapshots(requests: Requests) -> management::Source {
    Rc::new(move |extent| {
        let requests = requests.clone();
        Box::pin(async move {
            let mut snapshot = Snapshot::loading();
            if let Extent::Digests(from) = extent {
                let asked = ask(&requests, Request::Digests { from });
                if let Ok(Some(Response::Digests(page))) = timeout(SERVER_WITHIN, asked).await {
                    snapshot.digests = Some(page);
                }
                return snapshot;
            }
            if let Extent::Sights(asked) = extent {
                let asked = ask(&requests, Request::PoolViews { asked: asked.to_string() });
                if let Ok(Some(Response::PoolViews(told))) = timeout(SERVER_WITHIN, asked).await {
                    snapshot.told = Some(told);
                }
                return snapshot;
            }
            if let Some(Response::Route(agent)) = ask(&requests, Request::Explain).await {
                snapshot.agent = Some(*agent);
            }
            if extent == Extent::All {
                let of_server = async {
                    if let Some(Response::Status(status)) = ask(&requests, Request::Status).await {
                        snapshot.server = Some(*status);
                    }
                    // More would cost the agent, which has to beat, time and memory for what the metrics leave out.
                    let zones = Request::Zones { max: Some(management::ZONES_MAX) };
                    if let Some(Response::Zones(zones)) = ask(&requests, zones).await {
                        snapshot.zones = zones.into();
                    }
                };
                // A server that doesn't answer is left out, which the metrics say.
                let _late = timeout(SERVER_WITHIN, of_server).await;
            }
            snapshot
        })
    })
}

async fn ask(requests: &Requests, request: Request) -> Option<Response> {
    let (reply, answer) = Reply::channel();
    requests.send((request, reply)).await.ok()?;
    answer.response().await.0
}

/// Says on stdout that the node runs, and systemd that it is ready.
pub(super) fn say_running(management: &[SocketAddr]) {
    let mut out = std::io::stdout().lock();
    let mut say = || {
        for address in management {
            writeln!(out, "management {address}")?;
        }
        writeln!(out, "running")?;
        out.flush()
    };
    // Nobody may be there to read it any more.
    let _unread = say();
    let _not_under_systemd = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
}
