//! The agent's loop: something happens, the governor decides, the route follows.

use super::checks::{Checks, Observation};
use super::explain::Told;
use super::history::History;
use super::route::{self, Route};
use super::server::{Clock, Handed, Launch, now};
use super::supervisor::{Event, Loss, Order, Supervisor};
use super::upgrade::{self, Baton, Descriptors};
use super::verify::Verified;
use super::view::{Answers, View};
use crate::cli::RunArguments;
use crate::config::Driver;
use crate::control::{self, Reply, Request, Response};
use crate::management::Peers;
use crate::signals::{Asked, Signals};
use crate::status::{self, NoDelayStatus, ServerStatus, TransitionRecord};
use anycast::Rung;
use anycast::governor::{Command, Decision, Governor, Switch, Then, Transition};
use health::Moment;
use netio::NoDelay;
use rustix::process::Pid;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

/// How often the loop looks around though nothing has happened: for checks that are overdue and for systemd's watchdog.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// From when on a look that comes late says that this process stood still, or the machine: silence is nobody else's then.
const PAUSED_FROM: Duration = Duration::from_millis(400);
/// How long the disk may take to remember maintenance, before who asked is told that it doesn't.
const KEPT_WITHIN: Duration = Duration::from_secs(2);
/// How many orders to the supervisor may wait: it takes them one by one, and nobody gives two of a kind.
const ORDERS_MAX: usize = 8;
/// How long the client of an upgrade may take to have its answer. Writing takes microseconds; the server gets no beats
/// meanwhile, and goes without for the least `freeze-ms` there may be, 300.
const ANSWER_WITHIN: Duration = Duration::from_millis(100);

/// The agent.
pub(super) struct Agent {
    pub(super) arguments: RunArguments,
    pub(super) clock: Clock,
    /// When the loop last looked around.
    pub(super) looked_at: Moment,
    pub(super) governor: Governor,
    pub(super) checks: Checks,
    pub(super) history: History,
    pub(super) route: Route,
    pub(super) view: Rc<View>,
    pub(super) told: Told,
    pub(super) launch: Launch,
    pub(super) orders: mpsc::Sender<Order>,
    pub(super) events: mpsc::UnboundedSender<Event>,
    pub(super) steps: mpsc::Sender<Become>,
    /// How BIRD is told of the rung.
    pub(super) driver: Driver,
    /// The rung that BIRD has to export, for those who see to it.
    pub(super) meant: watch::Sender<Rung>,
    /// What has BIRD's sessions send at once, if it could be had; the next program needs it too.
    pub(super) no_delay: Option<Arc<NoDelay>>,
    /// How that goes.
    pub(super) no_delay_status: watch::Receiver<NoDelayStatus>,
    pub(super) peers: Rc<Peers>,
    /// Where metrics are, to be said when the node runs.
    pub(super) management: Vec<SocketAddr>,
    pub(super) name: Option<String>,
    /// The program to become at the next upgrade: where this one was started from.
    pub(super) binary: PathBuf,
    /// Whether a signal has asked for the end.
    pub(super) is_ending: bool,
    /// Whether systemd wants to hear that the agent lives.
    pub(super) watchdog: bool,
}

/// What the loop listens to.
pub(super) struct Inputs {
    pub(super) events: mpsc::UnboundedReceiver<Event>,
    pub(super) reports: mpsc::UnboundedReceiver<route::Report>,
    pub(super) observations: mpsc::Receiver<Observation>,
    pub(super) verified: mpsc::Receiver<Verified>,
    pub(super) requests: mpsc::Receiver<(Request, Reply)>,
    pub(super) steps: mpsc::Receiver<Become>,
    pub(super) signals: Signals,
}

/// How far the end has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ending {
    /// It has not begun.
    No,
    /// The server is asked to end.
    Stopping,
    /// It has ended.
    Done,
}

/// Whether an end takes the time that is planned for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pace {
    Planned,
    Hurried,
}

impl Agent {
    /// Runs until the node is to end and has.
    pub(super) async fn run(mut self, mut inputs: Inputs) -> anyhow::Result<()> {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut ending = Ending::No;
        while ending != Ending::Done {
            tokio::select! {
                biased;
                Some(event) = inputs.events.recv() => {
                    if matches!(event, Event::Ended) {
                        ending = Ending::Done;
                    } else {
                        self.server(event);
                    }
                }
                Some(report) = inputs.reports.recv() => self.route(report),
                asked = inputs.signals.next() => {
                    if self.signal(asked) == Pace::Hurried && ending == Ending::No {
                        self.route.hold(Rung::Down);
                        ending = Ending::Stopping;
                        let _ended = self.orders.send(Order::Stop).await;
                    }
                }
                Some((request, reply)) = inputs.requests.recv() => self.request(request, reply),
                Some(step) = inputs.steps.recv() => self.become_program(step).await,
                Some(observation) = inputs.observations.recv() => {
                    let Observation { check, took, outcome } = observation;
                    self.checks.panel.observe(check, self.now(), took, outcome);
                }
                Some(verified) = inputs.verified.recv() => self.verified(verified),
                _ = look.tick() => self.look(),
            }
            if self.turn() && ending == Ending::No {
                tracing::info!("the route is gone and the grace period is over; the server ends");
                ending = Ending::Stopping;
                let _ended = self.orders.send(Order::Stop).await;
            }
        }
        Ok(())
    }

    fn now(&self) -> Moment {
        now(self.clock)
    }

    /// Lets the governor decide, and follows it; tells whether the node has come to its end.
    fn turn(&mut self) -> bool {
        let now = self.now();
        self.governor.observe(now, self.checks.panel.verdict());
        let decision = self.governor.poll(now);
        if let Some(transition) = &decision.transition {
            self.follow(transition, &decision);
        }
        let finished = decision.finished;
        self.told.decision = Some(decision);
        finished
    }

    fn follow(&mut self, transition: &Transition, decision: &Decision) {
        self.route.hold(decision.rung);
        if self.driver == Driver::Protocols {
            self.meant.send_replace(decision.rung);
        }
        let Transition { from, to, .. } = transition;
        let record = TransitionRecord {
            at: status::timestamp(SystemTime::now()),
            from: from.to_string(),
            to: to.to_string(),
            by: transition.by.word().to_owned(),
            why: transition.why.clone(),
        };
        if to > from {
            tracing::warn!("the route goes from {from} to {to}, by {}: {}", record.by, record.why);
        } else {
            tracing::info!("the route goes from {from} to {to}, by {}: {}", record.by, record.why);
        }
        self.history.add(record);
        self.told.transition(*from, *to);
    }

    /// Looks around though nothing has happened.
    fn look(&mut self) {
        let now = self.now();
        if now.since(std::mem::replace(&mut self.looked_at, now)) > PAUSED_FROM {
            self.checks.panel.excuse(now);
        }
        self.checks.panel.overdue(now);
        let peers = self.peers.view();
        if let Some(healthy) = peers.healthy {
            let counted = peers.statuses.iter().filter(|peer| peer.healthy);
            let oldest_ms = counted.filter_map(|peer| peer.answered_ms_ago).max().unwrap_or(0);
            let as_of = Moment(now.0.saturating_sub(Duration::from_millis(oldest_ms)));
            self.governor.peers(now, healthy, as_of);
        }
        self.checks.serials(now, &self.view.zones(), || self.peers.serials());
        if self.watchdog {
            // systemd may be gone for a moment while it is itself replaced.
            let _unheard = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
        }
    }

    fn route(&mut self, report: route::Report) {
        match report {
            route::Report::Held(rung) => {
                self.told.held(self.now(), rung);
                self.meant.send_replace(rung);
            }
            route::Report::Trouble(trouble) => {
                tracing::error!("the route is not what it should be, and is tried again: {trouble}");
                self.told.trouble = Some(trouble);
            }
        }
    }

    /// Takes in what BIRD says.
    fn verified(&mut self, verified: Verified) {
        let now = self.now();
        self.told.bird = verified.status;
        self.checks.bird(now, &verified.outcome);
        if let Some(rung) = verified.asserted {
            self.told.held(now, rung);
        }
        if verified.is_stuck && self.governor.rung() == Rung::Down {
            // Its statics go through the lease interface, and go with it: the last way to withdraw.
            self.route.let_go();
            self.told.held(now, Rung::Down);
        }
    }

    fn server(&mut self, event: Event) {
        let now = self.now();
        match event {
            Event::Started(pid, control) => {
                let restarts = self.told.server.restarts;
                let pid = pid.as_raw_nonzero().get().cast_unsigned();
                self.told.server = ServerStatus { state: "starting".to_owned(), pid: Some(pid), restarts };
                self.told.server_control = Some(control);
            }
            Event::Ready(ready) => {
                self.told.server.state = "ready".to_owned();
                self.told.servers += 1;
                let answers = Answers {
                    workers: ready.workers,
                    tcp_threads: ready.tcp_threads,
                    by_cpu: ready.by_cpu,
                    server: self.told.servers,
                };
                self.view.set_answers(Some(answers));
                self.governor.server_ready(now);
                if !std::mem::replace(&mut self.told.ready_said, true) {
                    super::start::say_running(&self.management);
                }
            }
            Event::Beat(beat) => {
                self.view.set_zones(
                    &beat.probe_zones,
                    beat.reloading || beat.generation != beat.generation_served,
                );
                if let Some(lost) = self.checks.beat(now, &beat) {
                    self.view.set_overload(lost);
                }
            }
            Event::Cpu(waits) => {
                self.checks.cpu(now, waits.as_deref());
                if let Some(waits) = waits {
                    self.view.set_overload(waits);
                }
            }
            Event::Lost(reason, loss) => {
                self.lose(now, reason, loss);
                // At once, before anything else is looked at: somebody's queries are being lost.
                self.turn();
            }
            Event::Ended => {}
        }
    }

    fn lose(&mut self, now: Moment, reason: String, loss: Loss) {
        tracing::error!("{reason}");
        let state = match loss {
            Loss::Froze => "frozen",
            Loss::Ends => "stopping",
            Loss::Died => "waiting",
        };
        // The death of one that was lost before is no further loss.
        if !matches!(self.told.server.state.as_str(), "frozen" | "stopping") {
            self.told.server.restarts += 1;
        }
        state.clone_into(&mut self.told.server.state);
        self.told.server.pid = None;
        self.view.set_answers(None);
        self.checks.forget_the_server(now);
        self.governor.server_lost(now, &reason);
    }

    fn signal(&mut self, asked: Asked) -> Pace {
        match asked {
            Asked::Reload => {
                let reload = Request::Reload { zone: None, force: false };
                let control = self.told.server_control.clone();
                tokio::task::spawn_local(async move {
                    if let Response::Error(error) = forward(control, &reload).await {
                        tracing::warn!("SIGHUP: the zones are not read again: {error}");
                    }
                });
            }
            Asked::End => {
                if self.governor.command(self.now(), Command::Shutdown).is_err() {
                    tracing::warn!("asked to end again: the rest of draining and grace is left out");
                    return Pace::Hurried;
                }
                self.is_ending = true;
                tracing::info!("ending: the route is drained, then withdrawn");
                let _unheard = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
            }
        }
        Pace::Planned
    }

    fn request(&mut self, request: Request, reply: Reply) {
        if !request.is_of_the_route() {
            let (control, told) = (self.told.server_control.clone(), self.told.status(self));
            tokio::task::spawn_local(async move {
                let response = match forward(control, &request).await {
                    Response::Status(mut status) => {
                        status.agent = Some(Box::new(told));
                        Response::Status(status)
                    }
                    // Without a server there is still a route to tell of.
                    Response::Error(_) if request == Request::Status => Response::Route(Box::new(told)),
                    response => response,
                };
                reply.send(response);
            });
            return;
        }
        let response = match request {
            Request::Explain => Response::Route(Box::new(self.told.status(self))),
            Request::History { count } => Response::History(self.history.last(count)),
            Request::Upgrade { binary } => return self.upgrade(binary, reply),
            Request::Maintenance { on } => return self.maintain(on, reply),
            request => self.command(&request),
        };
        reply.send(response);
    }

    /// Carries out a command about the route.
    fn command(&mut self, request: &Request) -> Response {
        let command = match request {
            Request::Drain { for_ms, then_up } => Command::Drain {
                lasting: for_ms.map(Duration::from_millis),
                then: if *then_up { Then::Up } else { Then::Down },
            },
            Request::Undrain => Command::Undrain,
            Request::Maintenance { on } => Command::Maintenance(if *on { Switch::On } else { Switch::Off }),
            _ => return Response::Error("that is nothing that an agent does".to_owned()),
        };
        if let Err(refused) = self.governor.command(self.now(), command) {
            return Response::Error(refused.to_string());
        }
        self.turn();
        Response::Done(format!("the route is to be {}", self.governor.rung()))
    }

    /// Begins or ends maintenance; the answer waits for the disk, and nothing else does.
    fn maintain(&mut self, on: bool, reply: Reply) {
        let response = self.command(&Request::Maintenance { on });
        let Response::Done(text) = response else {
            reply.send(response);
            return;
        };
        let kept = self.history.set_maintenance(on);
        tokio::task::spawn_local(async move {
            let hangs = || std::io::Error::other("the disk hangs");
            let kept = match kept {
                Some(kept) => match timeout(KEPT_WITHIN, kept).await {
                    Ok(Ok(kept)) => kept,
                    Ok(Err(_)) | Err(_) => Err(hangs()),
                },
                None => Err(std::io::Error::other("the node has no state-dir")),
            };
            let text = match kept {
                Ok(()) => text,
                Err(error) => format!("{text}; a restart will not remember it: {error}"),
            };
            reply.send(Response::Done(text));
        });
    }

    /// Replaces the server by one of another program; the agent follows when that answers.
    fn upgrade(&mut self, binary: Option<PathBuf>, reply: Reply) {
        let binary = binary.unwrap_or_else(|| self.binary.clone());
        let (orders, steps, arguments) = (self.orders.clone(), self.steps.clone(), self.arguments.clone());
        tokio::task::spawn_local(async move {
            let replaced = async {
                upgrade::rehearse(&binary, &arguments).await.map_err(|error| format!("{error:#}"))?;
                let (replaced, result) = oneshot::channel();
                let _ended = orders.send(Order::Replace(binary.clone(), replaced)).await;
                result.await.unwrap_or_else(|_| Err("the node is ending".to_owned()))
            };
            match replaced.await {
                Ok(leaving) => drop(steps.send(Become { binary, leaving, reply }).await),
                Err(error) => {
                    tracing::warn!("the upgrade to {} failed: {error}", binary.display());
                    reply.send(Response::Error(format!("{error}; the running program goes on")));
                }
            }
        });
    }

    /// Becomes another program, which its server already is. Comes back if that fails.
    async fn become_program(&mut self, Become { binary, leaving, reply }: Become) {
        if self.is_ending {
            // Another program would not know of it.
            reply.send(Response::Error("the node is ending; the agent does not follow".to_owned()));
            return;
        }
        let (handed, server) = oneshot::channel();
        let _ended = self.orders.send(Order::GiveUp(handed)).await;
        let Ok(Some(handed)) = server.await else {
            let error =
                "the server was lost right after it was replaced; the running agent goes on".to_owned();
            reply.send(Response::Error(error));
            return self.supervise(None);
        };
        let lease = match self.route.hand_over().await {
            Ok(lease) => lease,
            Err(error) => {
                reply.send(Response::Error(format!("{error}; the running agent goes on")));
                return self.supervise(Some(handed));
            }
        };
        let text = format!("the server is now {}; the agent follows", binary.display());
        if timeout(ANSWER_WITHIN, reply.deliver(Response::Done(text))).await.is_err() {
            tracing::warn!("who asked for the upgrade does not read the answer");
        }
        tracing::info!("this program becomes {}", binary.display());
        let baton = self.baton(&handed, leaving);
        let descriptors =
            Descriptors { lease: &lease, link: &handed.link, no_delay: self.no_delay.as_deref() };
        let error = upgrade::become_program(&binary, &self.arguments, &baton, descriptors);
        tracing::error!("the agent could not follow its server, and goes on as it was: {error:#}");
        self.supervise(Some(handed));
        self.route.hold(self.governor.rung());
    }

    fn baton(&self, handed: &Handed, leaving: Pid) -> Baton {
        Baton {
            server_pid: handed.pid.as_raw_nonzero().get(),
            leaving_pid: Some(leaving.as_raw_nonzero().get()),
            server_control: handed.control.clone(),
            listen: handed.ready.listen.clone(),
            workers: handed.ready.workers,
            tcp_threads: handed.ready.tcp_threads,
            by_cpu: handed.ready.by_cpu,
            probe_token: self.launch.probe_token.clone(),
            governor: self.governor.carried().into(),
        }
    }

    /// Starts a supervisor, with the server that is there if there is one.
    pub(super) fn supervise(&mut self, handed: Option<Handed>) {
        let (orders, receiver) = mpsc::channel(ORDERS_MAX);
        self.orders = orders;
        let supervisor = Supervisor::new(self.launch.clone(), self.clock, self.events.clone(), receiver);
        tokio::task::spawn_local(supervisor.run(handed));
    }
}

/// The last step of an upgrade.
pub(super) struct Become {
    binary: PathBuf,
    /// The server that was replaced, on its way to its end.
    leaving: Pid,
    reply: Reply,
}

/// Asks the server.
async fn forward(control: Option<PathBuf>, request: &Request) -> Response {
    let Some(control) = control else {
        return Response::Error("there is no server just now".to_owned());
    };
    control::ask_server(&control, request).await.unwrap_or_else(|error| Response::Error(format!("{error:#}")))
}
