//! The thread that agent and server watch each other by.
//!
//! It tells the agent ten times a second that the server lives and how its threads and zones are, and looks whether
//! the agent says the same of itself. An agent that stands still holds a route that nobody guards any more: it is
//! killed, and the route goes with it.

use super::handover;
use super::pulse::Pulse;
use super::requests::Asked;
use crate::link::{BEAT_EVERY, FromAgent, FromServer, Judgement, LinkEnd, Silence, Threads};
use crate::privileges;
use health::Moment;
use rustix::process::{Pid, Signal, pidfd_send_signal};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// The most frames that are heard before the agent is judged again: some times what it sends in a second.
const FRAMES_MAX: usize = 256;

type Link = LinkEnd<FromServer, FromAgent>;

/// The thread, for the one that runs the server.
pub(super) struct Watch {
    link: Arc<Link>,
    pulse: Arc<OnceLock<Pulse>>,
}

impl Watch {
    /// Tells the agent that the server answers, and from now on how it is.
    pub(super) fn ready(&self, listen: Vec<SocketAddr>, by_cpu: Option<bool>, pulse: Pulse) {
        let (workers, tcp_threads) = pulse.threads();
        // Before the agent is told, which may ask for the sockets at once. Set once: a server becomes ready once.
        let _only_once = self.pulse.set(pulse);
        if let Err(error) = self.link.send(&FromServer::Ready { listen, workers, tcp_threads, by_cpu }, &[]) {
            // An agent that is gone is noticed by the thread.
            tracing::warn!("the agent can't be told that the server is ready: {error}");
        }
    }

    /// Tells the agent that the server ends. Its death would be noticed too, but that is seconds away where a TCP client
    /// takes its time, and the sockets are closed before.
    pub(super) fn ending(&self) {
        // An agent that is gone, or doesn't read, holds no route for much longer.
        let _unheard = self.link.send(&FromServer::Ending, &[]);
    }
}

/// What the thread works with.
pub(super) struct Watcher {
    link: Arc<Link>,
    agent: OwnedFd,
    /// Of the agent the first thread beats.
    agent_threads: Threads,
    pulse: Arc<OnceLock<Pulse>>,
    asks: mpsc::Sender<Asked>,
    clock: Instant,
    /// What judges the agent; nothing once the agent has asked for the end, since it may come first itself.
    silence: Option<Silence>,
    /// Whether the agent doesn't read what it is told; said once.
    is_unread: bool,
    /// Whether the agent waits for a CPU; said once.
    is_starved: bool,
}

/// That the thread has nothing left to do.
struct Over;

impl Watcher {
    /// A watcher over an agent whose beats may be missing for as long as `freeze`.
    pub(super) fn new(
        link: Arc<Link>,
        (agent, pid): (OwnedFd, Pid),
        freeze: Duration,
        asks: mpsc::Sender<Asked>,
    ) -> Watcher {
        let silence = Some(Silence::new(freeze, Moment::default()));
        let clock = Instant::now();
        let agent_threads = Threads::of(pid);
        Watcher {
            link,
            agent,
            agent_threads,
            pulse: Arc::default(),
            asks,
            clock,
            silence,
            is_unread: false,
            is_starved: false,
        }
    }

    /// Starts the thread. It ends with the process, or when the link does.
    pub(super) fn start(self) -> io::Result<Watch> {
        let watch = Watch { link: Arc::clone(&self.link), pulse: Arc::clone(&self.pulse) };
        thread::Builder::new().name("watch".to_owned()).spawn(move || self.run())?;
        Ok(watch)
    }

    fn run(mut self) {
        if let Err(error) = privileges::give_up() {
            tracing::error!("{error}");
            return self.ask(Asked::End);
        }
        loop {
            if let Err(Over) = self.hear_until(Instant::now() + BEAT_EVERY).and_then(|()| self.tick()) {
                return;
            }
        }
    }

    fn ask(&self, asked: Asked) {
        // Full: as much was asked before as there is to ask. Closed: the server ends anyway.
        let _asked_before = self.asks.try_send(asked);
    }

    /// Takes in all that the agent says until then.
    fn hear_until(&mut self, deadline: Instant) -> Result<(), Over> {
        for _ in 0..FRAMES_MAX {
            match self.link.receive_until(deadline) {
                Ok(Some((frame, _))) => self.hear(frame),
                Ok(None) => break,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    tracing::warn!("the agent said what this server does not understand: {error}");
                }
                // It has nothing to say to a server that it has asked to end, and may have become another program.
                Err(_) if self.silence.is_none() => return Err(Over),
                Err(error) => {
                    tracing::warn!("the agent is gone ({error}), and its route with it: the server ends too");
                    self.ask(Asked::End);
                    return Err(Over);
                }
            }
        }
        Ok(())
    }

    fn hear(&mut self, frame: FromAgent) {
        match frame {
            FromAgent::Beat => {
                let now = self.now();
                self.silence.iter_mut().for_each(|silence| silence.heard(now));
            }
            FromAgent::HandOver => handover::send(&self.link, self.pulse.get()),
            FromAgent::Stop => {
                self.silence = None;
                self.ask(Asked::End);
            }
            FromAgent::Leave => {
                self.silence = None;
                self.ask(Asked::Leave);
            }
            FromAgent::Start { .. } | FromAgent::Sockets { .. } => {
                tracing::warn!("the agent repeats what belongs to the start of a server");
            }
        }
    }

    fn now(&self) -> Moment {
        Moment(self.clock.elapsed())
    }

    /// Judges the agent, and tells it how the server is.
    fn tick(&mut self) -> Result<(), Over> {
        let now = self.now();
        let agent = &self.agent_threads;
        match self.silence.as_mut().map(|silence| silence.judge(now, || agent.look_at_first())) {
            Some(Judgement::Silent(silent)) => {
                self.kill(silent);
                self.ask(Asked::End);
                return Err(Over);
            }
            Some(Judgement::Waits(waited)) if !std::mem::replace(&mut self.is_starved, true) => {
                tracing::warn!(
                    "the agent has waited for a CPU for {} ms: the machine is overloaded",
                    waited.as_millis()
                );
            }
            Some(Judgement::Fine) => self.is_starved = false,
            _ => {}
        }
        let Some(pulse) = self.pulse.get() else { return Ok(()) };
        match self.link.send(&FromServer::Beat(pulse.beat()), &[]) {
            Ok(()) => self.is_unread = false,
            // It isn't killed for that but for its own silence.
            Err(error) if !std::mem::replace(&mut self.is_unread, true) => {
                tracing::warn!("the agent does not hear that the server lives: {error}");
            }
            Err(_) => {}
        }
        Ok(())
    }

    fn kill(&self, silent: Duration) {
        tracing::error!(
            "the agent has not said for {} ms that it lives: it is killed, so that its route goes away, and the \
             server ends",
            silent.as_millis()
        );
        if let Err(error) = pidfd_send_signal(&self.agent, Signal::KILL) {
            tracing::error!("the agent can't be killed: {error}");
        }
    }
}
