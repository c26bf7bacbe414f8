//! The supervisor: starts the server again when it ends, kills it when it stands still, replaces it on request.
//!
//! A task of its own; the agent's loop is told what happens by [`Event`]s and says what it wants by [`Order`]s.

use super::server::{Clock, END_WITHIN, Handed, Launch, Ready, Server, beats, now};
use super::watch::{Finding, Watch};
use crate::link::{Beat, FromAgent, FromServer};
use rustix::process::Pid;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// How long the first restart waits, and how long it may come to: long enough not to burn a core on a server that can't
/// start, short enough that a mended one is back soon.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// A server that answered for so long has earned a quick restart.
const WELL_AFTER: Duration = Duration::from_secs(30);
/// How long one that is replaced gets: its TCP clients may go on until they are idle.
pub(super) const LEAVE_WITHIN: Duration = Duration::from_secs(60);
/// How long a new server may take until it answers, for an upgrade: mapping takes a second for ten million names, compiling
/// them ten; a machine that is busy needs some times that.
const REPLACE_WITHIN: Duration = Duration::from_secs(600);

/// What an upgrade is told that comes too early.
const NOT_READY: &str =
    "the server is being started, and has nothing to hand over yet; try again when the node is ready";

/// How long after the end of its link a process that dies may still be there: the kernel closes descriptors first, and a
/// large memory takes some milliseconds.
const DIES_WITHIN: Duration = Duration::from_millis(50);

/// What happens to the server.
#[derive(Debug)]
pub(crate) enum Event {
    /// A process was started; where its control socket will be.
    Started(Pid, PathBuf),
    /// It answers.
    Ready(Ready),
    /// It lives.
    Beat(Beat),
    /// Which thread of it waits for a CPU, if one does.
    Cpu(Option<String>),
    /// It doesn't answer any more, or is about not to: why, and how. Its death may be told after that as another loss.
    Lost(String, Loss),
    /// It has ended as it was asked to.
    Ended,
}

/// How a server was lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Loss {
    /// It died, or could not be started.
    Died,
    /// It stood still.
    Froze,
    /// It is about to end by itself: a signal asked it to, or a thread of its can't go on.
    Ends,
}

/// What the agent wants.
#[derive(Debug)]
pub(crate) enum Order {
    /// That the server ends.
    Stop,
    /// That another program takes its place; the answer comes when it answers, or can't: the process that leaves.
    Replace(PathBuf, oneshot::Sender<Result<Pid, String>>),
    /// The link and the process, for the program that the agent is about to become.
    GiveUp(oneshot::Sender<Option<Handed>>),
}

/// Starts servers and watches them until it is told to stop.
pub(crate) struct Supervisor {
    launch: Launch,
    clock: Clock,
    events: mpsc::UnboundedSender<Event>,
    orders: mpsc::Receiver<Order>,
}

/// What came of watching a server.
enum End {
    /// It was lost.
    Lost(String, Loss),
    /// It ended as it was asked to.
    Wanted,
    /// It lives on without this supervisor.
    GivenUp,
}

impl Supervisor {
    /// A supervisor that reports to `events` and obeys `orders`.
    pub(crate) fn new(
        launch: Launch,
        clock: Clock,
        events: mpsc::UnboundedSender<Event>,
        orders: mpsc::Receiver<Order>,
    ) -> Supervisor {
        Supervisor { launch, clock, events, orders }
    }

    /// Runs until a server has ended as it was asked to; begins with the server of the program before, if there is one.
    pub(crate) async fn run(mut self, handed: Option<Handed>) {
        let mut backoff = BACKOFF_MIN;
        let mut server = handed.map(|handed| Server::resume(handed, &self.launch, now(self.clock)));
        loop {
            let launched = match server.take() {
                Some(server) => server,
                None => self.launch(false),
            };
            let well_since = Instant::now();
            let end = match launched {
                Ok(server) => {
                    self.tell(Event::Started(server.pid, server.control.clone()));
                    // One that was taken over answers already.
                    if let Some(ready) = server.ready.clone() {
                        self.tell(Event::Ready(ready));
                    }
                    self.watch(server).await
                }
                Err(error) => End::Lost(format!("the server can't be started: {error}"), Loss::Died),
            };
            match end {
                End::Wanted => return self.tell(Event::Ended),
                End::GivenUp => return,
                End::Lost(reason, loss) => self.tell(Event::Lost(reason, loss)),
            }
            if well_since.elapsed() > WELL_AFTER {
                backoff = BACKOFF_MIN;
            }
            match self.pause(backoff).await {
                Next::Start => {}
                Next::Stop => return self.tell(Event::Ended),
                Next::GiveUp => return,
            }
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    fn tell(&self, event: Event) {
        // The agent's loop is gone only when the process ends.
        let _gone = self.events.send(event);
    }

    /// Waits before the next start.
    async fn pause(&mut self, pause: Duration) -> Next {
        let deadline = tokio::time::Instant::now() + pause;
        loop {
            match tokio::time::timeout_at(deadline, self.orders.recv()).await {
                Err(_) => return Next::Start,
                Ok(None | Some(Order::Stop)) => return Next::Stop,
                Ok(Some(Order::Replace(_, reply))) => {
                    let _gone = reply.send(Err(NOT_READY.to_owned()));
                }
                Ok(Some(Order::GiveUp(reply))) => {
                    let _gone = reply.send(None);
                    return Next::GiveUp;
                }
            }
        }
    }

    fn launch(&self, adopt: bool) -> io::Result<Server> {
        Server::launch(&self.launch, adopt)
    }

    /// Watches a server until it ends, in whatever way.
    async fn watch(&mut self, mut server: Server) -> End {
        let mut beats = beats();
        loop {
            tokio::select! {
                biased;
                died = server.died() => return End::Lost(died, Loss::Died),
                received = server.link.receive() => match received {
                    Ok((frame, _)) => self.hear(&mut server, frame),
                    Err(error) => return self.unlinked(server, error).await,
                },
                _ = beats.tick() => {
                    match server.beat(now(self.clock)) {
                        Finding::Stands(reason) => {
                            // The route goes first: killing takes a while, and a dying process answers nobody.
                            self.tell(Event::Lost(reason, Loss::Froze));
                            let how = server.kill().await;
                            return End::Lost(format!("it was killed for standing still, and {how}"), Loss::Froze);
                        }
                        Finding::Waits(what) => self.tell(Event::Cpu(Some(what))),
                        Finding::Lives if server.watch.is_some() => self.tell(Event::Cpu(None)),
                        Finding::Lives => {}
                    }
                }
                order = self.orders.recv() => match order {
                    None | Some(Order::Stop) => {
                        server.leave(&FromAgent::Stop, END_WITHIN).await;
                        return End::Wanted;
                    }
                    Some(Order::GiveUp(reply)) => {
                        let _gone = reply.send(server.hand_over());
                        return End::GivenUp;
                    }
                    Some(Order::Replace(_, reply)) if server.ready.is_none() => {
                        let _gone = reply.send(Err(NOT_READY.to_owned()));
                    }
                    Some(Order::Replace(binary, reply)) => {
                        let (kept, result) = self.replace(server, binary).await;
                        let _gone = reply.send(result);
                        server = match kept {
                            Ok(server) => server,
                            Err(end) => return end,
                        };
                    }
                },
            }
        }
    }

    fn hear(&self, server: &mut Server, frame: FromServer) {
        match frame {
            FromServer::Ready { listen, workers, tcp_threads, by_cpu } => {
                let ready = Ready { listen, workers, tcp_threads, by_cpu };
                server.watch = Some(Watch::new(self.launch.freeze, now(self.clock)));
                server.ready = Some(ready.clone());
                self.tell(Event::Ready(ready));
            }
            FromServer::Beat(beat) => {
                if let Some(watch) = &mut server.watch {
                    watch.beat(now(self.clock), &beat);
                }
                self.tell(Event::Beat(beat));
            }
            FromServer::Ending => {
                server.ends(now(self.clock));
                let reason = "the server ends, and was not asked to".to_owned();
                self.tell(Event::Lost(reason, Loss::Ends));
            }
            FromServer::Sockets { .. } => tracing::warn!("the server sends sockets that nobody asked for"),
        }
    }

    /// The link broke: the process is dead or dying, or has lost its mind.
    async fn unlinked(&self, server: Server, error: io::Error) -> End {
        let died = match timeout(DIES_WITHIN, server.died()).await {
            Ok(died) => died,
            Err(_) => {
                self.tell(Event::Lost(format!("the link to the server broke: {error}"), Loss::Died));
                let how = server.kill().await;
                format!("the link to it broke, and {how}")
            }
        };
        End::Lost(died, Loss::Died)
    }

    /// Puts another program in a server's place. Gives back the server that now counts, or how it ended meanwhile.
    async fn replace(
        &mut self,
        mut old: Server,
        binary: PathBuf,
    ) -> (Result<Server, End>, Result<Pid, String>) {
        let before = std::mem::replace(&mut self.launch.binary, binary);
        let launched = self.launch(true);
        let mut new = match launched {
            Ok(new) => new,
            Err(error) => {
                self.launch.binary = before;
                return (Ok(old), Err(format!("the new program can't be started: {error}")));
            }
        };
        let joined = timeout(REPLACE_WITHIN, self.join(&mut old, &mut new)).await;
        let failure = match joined {
            Ok(Ok(())) => {
                self.tell(Event::Started(new.pid, new.control.clone()));
                if let Some(ready) = &new.ready {
                    self.tell(Event::Ready(ready.clone()));
                }
                let leaving = old.pid;
                tokio::task::spawn_local(async move { old.leave(&FromAgent::Leave, LEAVE_WITHIN).await });
                return (Ok(new), Ok(leaving));
            }
            Ok(Err(Failure::OfOld(end))) => {
                let how = new.kill().await;
                self.launch.binary = before;
                return (Err(end), Err(format!("the running server was lost meanwhile; the new one {how}")));
            }
            Ok(Err(Failure::OfNew(reason))) => reason,
            Err(_) => format!("the new server did not answer within {REPLACE_WITHIN:?}"),
        };
        let how = new.kill().await;
        tracing::warn!("{failure}; it {how}, and the server that runs goes on");
        self.launch.binary = before;
        (Ok(old), Err(failure))
    }

    /// Passes the sockets from the old server to the new one, and waits until that answers no less than the old did.
    async fn join(&mut self, old: &mut Server, new: &mut Server) -> Result<(), Failure> {
        let of_old =
            |error: io::Error| Failure::OfNew(format!("the running server gives no sockets: {error}"));
        let of_new = |error: io::Error| Failure::OfNew(format!("the new server takes no sockets: {error}"));
        old.link.send(&FromAgent::HandOver, &[]).map_err(of_old)?;
        let mut beats = beats();
        let mut zones_failed = 0;
        loop {
            tokio::select! {
                biased;
                died = old.died() => return Err(Failure::OfOld(End::Lost(died, Loss::Died))),
                died = new.died() => return Err(Failure::OfNew(format!("the new server is gone: {died}"))),
                received = old.link.receive() => match received.map_err(of_old)? {
                    (FromServer::Sockets { sockets, last }, fds) => {
                        let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
                        new.link.send(&FromAgent::Sockets { sockets, last }, &fds).map_err(of_new)?;
                    }
                    (frame, _) => {
                        if let FromServer::Beat(beat) = &frame {
                            zones_failed = beat.zones_failed;
                        }
                        self.hear(old, frame);
                    }
                },
                received = new.link.receive() => match Self::heard_of_new(new, received).await? {
                    FromServer::Ready { listen, workers, tcp_threads, .. } => {
                        // The sockets are the same.
                        let by_cpu = old.ready.as_ref().and_then(|ready| ready.by_cpu);
                        new.watch = Some(Watch::new(self.launch.freeze, now(self.clock)));
                        new.ready = Some(Ready { listen, workers, tcp_threads, by_cpu });
                    }
                    FromServer::Beat(beat) if new.ready.is_some() => {
                        if beat.zones_failed > zones_failed {
                            let more = beat.zones_failed - zones_failed;
                            return Err(Failure::OfNew(format!("the new server could not load {more} zones that are served")));
                        }
                        return Ok(());
                    }
                    FromServer::Ending => return Err(Failure::OfNew("the new server ends".to_owned())),
                    FromServer::Beat(_) | FromServer::Sockets { .. } => {}
                },
                _ = beats.tick() => {
                    let at = now(self.clock);
                    if let Finding::Stands(reason) = old.beat(at) {
                        let how = old.kill().await;
                        return Err(Failure::OfOld(End::Lost(format!("{reason}; it {how}"), Loss::Froze)));
                    }
                    if let Finding::Stands(reason) = new.beat(at) {
                        return Err(Failure::OfNew(reason));
                    }
                }
            }
        }
    }

    /// The link breaks as a process dies, and how that died tells more.
    async fn heard_of_new(
        new: &Server,
        received: io::Result<(FromServer, Vec<OwnedFd>)>,
    ) -> Result<FromServer, Failure> {
        let error = match received {
            Ok((frame, _)) => return Ok(frame),
            Err(error) => error,
        };
        Err(Failure::OfNew(match timeout(DIES_WITHIN, new.died()).await {
            Ok(died) => format!("the new server is gone: {died}"),
            Err(_) => format!("the link to the new server broke: {error}"),
        }))
    }
}

/// Whose fault it is that a server was not replaced.
enum Failure {
    OfOld(End),
    OfNew(String),
}

/// What follows a pause.
#[derive(PartialEq, Eq)]
enum Next {
    Start,
    Stop,
    GiveUp,
}
