//! The thread that holds the route: it owns the lease, so that netlink never waits for anything else, and nothing for it.

use super::server::{Clock, now};
use crate::config::Driver;
use anycast::governor::{Operation, Progress};
use anycast::{Lease, LeaseError, Rung};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// How often the kernel's routes are compared with what is meant: somebody may have flushed them by hand.
const VERIFY_EVERY: Duration = Duration::from_secs(1);
/// How soon a look that failed is made again; changes that failed have their own times.
const RETRY_AFTER: Duration = Duration::from_millis(50);
/// How many orders may wait. Only the last matters, and the thread takes all that wait at once.
const ORDERS_MAX: usize = 16;

/// What the thread is told.
enum Order {
    /// The rung to hold.
    Hold(Rung),
    /// To give the lease up at once, service addresses and all, until a rung with a route is wanted again.
    LetGo,
    /// To give a copy of the lease's descriptor, and to leave everything as it is from now on.
    HandOver(oneshot::Sender<io::Result<OwnedFd>>),
}

/// What the thread tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Report {
    /// The rung that the kernel's routes now stand for.
    Held(Rung),
    /// What went wrong; it is tried again.
    Trouble(String),
}

/// The agent's end.
pub(crate) struct Route {
    orders: SyncSender<Order>,
}

impl Route {
    /// Starts the thread, and moves the routes to the rung that is wanted. It ends, and the lease with it, when the value is
    /// dropped.
    ///
    /// # Errors
    /// The thread can't be started.
    pub(crate) fn start(
        lease: Lease,
        wanted: Rung,
        driver: Driver,
        clock: Clock,
        reports: mpsc::UnboundedSender<Report>,
    ) -> io::Result<Route> {
        let (orders, receiver) = sync_channel(ORDERS_MAX);
        let holder = Holder { lease, clock, wanted, driver, is_gone: false, told: None, reports };
        thread::Builder::new().name("route".to_owned()).spawn(move || holder.run(&receiver))?;
        Ok(Route { orders })
    }

    /// Wants the route to be on this rung.
    pub(crate) fn hold(&self, rung: Rung) {
        // Full means that the thread is stuck in the kernel with as many orders before this one, and they differ from it only
        // in being older. It waits: whoever waits too long is killed by the server, and the lease ends.
        let _ended = self.orders.send(Order::Hold(rung));
    }

    /// Gives up the lease at once: for when BIRD can't be told in another way that the route has to go.
    pub(crate) fn let_go(&self) {
        let _ended = self.orders.send(Order::LetGo);
    }

    /// The descriptor of the lease, for the program that this one is about to become. Nothing changes any more after that.
    pub(crate) async fn hand_over(&self) -> io::Result<OwnedFd> {
        let (reply, fd) = oneshot::channel();
        let ended = || io::Error::other("the thread that holds the route has ended");
        self.orders.send(Order::HandOver(reply)).map_err(|_| ended())?;
        fd.await.map_err(|_| ended())?
    }
}

struct Holder {
    lease: Lease,
    clock: Clock,
    wanted: Rung,
    /// With [`Driver::Protocols`] the lease is the interface and its addresses alone, without a route.
    driver: Driver,
    /// Whether it was given up by order.
    is_gone: bool,
    told: Option<Report>,
    reports: mpsc::UnboundedSender<Report>,
}

impl Holder {
    fn run(mut self, orders: &Receiver<Order>) {
        let mut pause = Duration::ZERO;
        loop {
            match orders.recv_timeout(pause) {
                Ok(Order::Hold(rung)) => {
                    self.wanted = rung;
                    self.is_gone &= !rung.is_announced();
                    pause = self.set();
                }
                Ok(Order::LetGo) => {
                    self.is_gone = true;
                    self.lease.let_go();
                    pause = VERIFY_EVERY;
                }
                Ok(Order::HandOver(reply)) => return self.hand_over(reply, orders),
                Err(RecvTimeoutError::Timeout) => pause = self.verify(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// The rung that the lease has to be on.
    fn of_lease(&self) -> Rung {
        match self.driver {
            Driver::Learn => self.wanted,
            Driver::Protocols => Rung::Down,
        }
    }

    /// Moves the routes; gives how long to wait before the next look.
    fn set(&mut self) -> Duration {
        if self.driver == Driver::Protocols {
            return self.verify();
        }
        let progress = self.lease.set(now(self.clock), self.wanted);
        self.follow(progress)
    }

    /// Compares the kernel's routes with what is meant, and puts right what is not.
    fn verify(&mut self) -> Duration {
        if self.is_gone {
            return VERIFY_EVERY;
        }
        if self.lease.wanted() != self.of_lease() {
            let progress = self.lease.set(now(self.clock), self.of_lease());
            return self.follow(progress);
        }
        match self.lease.repair(now(self.clock)) {
            Ok(repair) => {
                for found in &repair.found {
                    tracing::warn!(
                        "the kernel had something else than was meant, which is put right: {found}"
                    );
                }
                self.follow(repair.progress)
            }
            Err(error) => {
                self.tell(Report::Trouble(error.to_string()));
                RETRY_AFTER
            }
        }
    }

    fn follow(&mut self, progress: Progress<LeaseError>) -> Duration {
        if progress.let_go {
            tracing::error!(
                "the lease was given up, service addresses and all: its routes could not be changed"
            );
        }
        // With the other driver it is BIRD that says which rung is held.
        if self.driver == Driver::Learn {
            self.tell(Report::Held(progress.held));
        }
        for trouble in &progress.troubles {
            let operation = match trouble.operation {
                Operation::Add => "be added",
                Operation::Remove => "be removed",
            };
            let (family, rung, error) = (trouble.family.word(), trouble.rung, &trouble.error);
            self.tell(Report::Trouble(format!("the {family} routes of {rung} can't {operation}: {error}")));
        }
        let next = progress.next.map(|next| next.since(now(self.clock)));
        next.unwrap_or(VERIFY_EVERY)
    }

    fn tell(&mut self, report: Report) {
        if self.told.as_ref() != Some(&report) {
            self.told = Some(report.clone());
            // Nobody listens any more when the agent ends.
            let _gone = self.reports.send(report);
        }
    }

    fn hand_over(self, reply: oneshot::Sender<io::Result<OwnedFd>>, orders: &Receiver<Order>) {
        let lost = || io::Error::other("the lease is lost just now");
        let fd = self.lease.as_fd().ok_or_else(lost).and_then(|fd| fd.try_clone_to_owned());
        let _gone = reply.send(fd);
        // The lease stays until the program is replaced, or until the agent goes on because it could not be.
        match orders.recv() {
            Ok(Order::Hold(wanted)) => Holder { wanted, ..self }.run(orders),
            Ok(Order::HandOver(reply)) => self.hand_over(reply, orders),
            Ok(Order::LetGo) | Err(_) => {}
        }
    }
}
