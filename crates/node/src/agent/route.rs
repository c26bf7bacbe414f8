//! The thread that holds the route: it owns the lease, so that netlink never waits for anything else, and nothing for it.

use anycast::{Lease, LeasePlan, Rung};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// How often the kernel's routes are compared with what is meant: somebody may have flushed them by hand.
const VERIFY_EVERY: Duration = Duration::from_secs(1);
/// How soon what failed is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(50);
/// How many orders may wait. Only the last matters, and the thread takes all that wait at once.
const ORDERS_MAX: usize = 16;

/// What the thread is told.
enum Order {
    /// The rung to hold.
    Hold(Rung),
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
    /// Starts the thread. It ends, and the lease with it, when the value is dropped.
    ///
    /// # Errors
    /// The thread can't be started.
    pub(crate) fn start(
        plan: LeasePlan,
        lease: Lease,
        reports: mpsc::UnboundedSender<Report>,
    ) -> io::Result<Route> {
        let (orders, receiver) = sync_channel(ORDERS_MAX);
        let wanted = lease.held();
        let holder = Holder { plan, lease: Some(lease), wanted, told: None, reports };
        thread::Builder::new().name("route".to_owned()).spawn(move || holder.run(&receiver))?;
        Ok(Route { orders })
    }

    /// Wants the route to be on this rung.
    pub(crate) fn hold(&self, rung: Rung) {
        // Full means that the thread is stuck in the kernel with as many orders before this one, and they differ from it only
        // in being older. It waits: whoever waits too long is killed by the server, and the lease ends.
        let _ended = self.orders.send(Order::Hold(rung));
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
    plan: LeasePlan,
    /// None while it is lost: it could not do what it had to, and was dropped so that no wrong route stays.
    lease: Option<Lease>,
    wanted: Rung,
    told: Option<Report>,
    reports: mpsc::UnboundedSender<Report>,
}

impl Holder {
    fn run(mut self, orders: &Receiver<Order>) {
        let mut pause = VERIFY_EVERY;
        loop {
            match orders.recv_timeout(pause) {
                Ok(Order::Hold(rung)) => {
                    self.wanted = rung;
                    // The last one counts.
                    for order in orders.try_iter() {
                        match order {
                            Order::Hold(rung) => self.wanted = rung,
                            Order::HandOver(reply) => return self.hand_over(reply, orders),
                        }
                    }
                }
                Ok(Order::HandOver(reply)) => return self.hand_over(reply, orders),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            pause = match self.apply() {
                Ok(()) => VERIFY_EVERY,
                Err(trouble) => {
                    self.tell(Report::Trouble(trouble));
                    RETRY_AFTER
                }
            };
        }
    }

    /// Makes the kernel's routes what they have to be.
    fn apply(&mut self) -> Result<(), String> {
        let lease = match &mut self.lease {
            Some(lease) => lease,
            lost => {
                let taken = Lease::take(self.plan.clone()).map_err(|error| error.to_string())?;
                lost.insert(taken)
            }
        };
        let applied = lease.set(self.wanted).and_then(|()| lease.repair());
        if lease.is_lost() {
            self.lease = None;
            self.tell(Report::Held(Rung::Down));
        }
        applied.map_err(|error| error.to_string())?;
        self.tell(Report::Held(self.wanted));
        Ok(())
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
        let fd = self.lease.as_ref().ok_or_else(lost).and_then(|lease| lease.as_fd().try_clone_to_owned());
        let _gone = reply.send(fd);
        // The lease stays until the program is replaced, or until the agent goes on because it could not be.
        if let Ok(order) = orders.recv() {
            if let Order::Hold(rung) = order {
                Holder { wanted: rung, ..self }.run(orders);
            } else {
                self.run(orders);
            }
        }
    }
}
