//! The lease: the interface that carries the service addresses, and the routes that BIRD learns.
//!
//! All of it hangs on one descriptor. [`Lease::take`] makes the interface with the addresses and no route,
//! [`Lease::set`] moves the routes along the ladder, and dropping the lease, or the death of the process, removes
//! everything at once. The kernel's own tables are the state: [`Lease::verify`] reads them back, since anybody with the
//! right to may have changed them, and [`Lease::repair`] puts right what is not.
//!
//! Everything here blocks, for microseconds as a rule and with a bound on the wait for each answer: it is made for a
//! plain thread that does nothing else which could hold up a withdrawal. The one wait that cannot be bounded is the
//! kernel's own lock on its network configuration, which a request waits for inside the kernel; who watches that
//! thread's heartbeat kills the process then, and that needs no lock of ours.

mod error;
mod kernel;
mod messages;
mod netlink;
mod plan;
mod view;

pub use error::LeaseError;
pub use kernel::KernelRoutes;
pub use messages::ROUTE_PROTOCOL;
pub use plan::{ENTRIES_MAX, INTERFACE_NAME_MAX_LEN, LeasePlan, PlanError};
pub use view::{KernelView, Link};

pub(crate) use plan::family_of;

use std::os::fd::{BorrowedFd, OwnedFd};

use health::Moment;

use crate::governor::{Actuator, Progress};
use crate::{Routes, Rung};

/// A held lease; dropping it ends it.
#[derive(Debug)]
pub struct Lease {
    kernel: KernelRoutes,
    actuator: Actuator,
    wanted: Rung,
    change: Change,
}

/// How far the last change is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Change {
    /// There was none yet: the routes are as they were found.
    None,
    /// Something of it has still to be done.
    UnderWay,
    /// All of it is done.
    Settled,
}

/// What [`Lease::repair`] came to.
#[derive(Debug)]
pub struct Repair {
    /// What was otherwise than it should be, in words; empty where nothing was.
    pub found: Vec<String>,
    /// How far the routes are.
    pub progress: Progress<LeaseError>,
}

impl Lease {
    /// Takes the lease: interface, addresses, and no route yet. What an earlier holder left in the table is removed.
    ///
    /// # Errors
    /// The interface can't be had, or the kernel refuses something.
    pub fn take(plan: LeasePlan) -> Result<Lease, LeaseError> {
        let kernel = KernelRoutes::take(plan)?;
        Ok(Lease { kernel, actuator: Actuator::new(), wanted: Rung::Down, change: Change::None })
    }

    /// Takes over the descriptor that another process held. Interface and addresses are put right and routes that
    /// belong to no rung removed; the others stay as they are for the next [`Lease::set`] to complete, so that taking over
    /// changes nothing for anybody. Until then the rung is the one that the kernel's routes stand for.
    ///
    /// # Errors
    /// The descriptor holds another interface, or the kernel refuses something. The descriptor is closed then; the
    /// process that gave it still has its own.
    pub fn adopt(plan: LeasePlan, fd: OwnedFd) -> Result<Lease, LeaseError> {
        let mut kernel = KernelRoutes::adopt(plan, fd)?;
        let wanted = kernel.view()?.rung();
        Ok(Lease { kernel, actuator: Actuator::new(), wanted, change: Change::None })
    }

    /// The plan it was taken by.
    pub fn plan(&self) -> &LeasePlan {
        self.kernel.plan()
    }

    /// The best rung of which there may be routes: what others see, as far as is known without asking the kernel.
    pub fn held(&self) -> Rung {
        if self.change == Change::None { self.wanted } else { self.actuator.held() }
    }

    /// The rung that was set last, or found when the lease was taken over.
    pub fn wanted(&self) -> Rung {
        self.wanted
    }

    /// Moves the routes of both families to a rung: the new ones are there before the old ones go. What can't be done
    /// now is done by the next call, at the moment that the progress names; see [`Actuator::apply`].
    pub fn set(&mut self, now: Moment, rung: Rung) -> Progress<LeaseError> {
        self.wanted = rung;
        let progress = self.actuator.apply(now, rung, &mut self.kernel);
        self.change = if progress.settled { Change::Settled } else { Change::UnderWay };
        progress
    }

    /// Reads back what the kernel has.
    ///
    /// # Errors
    /// The kernel refuses an answer.
    pub fn verify(&mut self) -> Result<KernelView, LeaseError> {
        self.kernel.view()
    }

    /// Reads back what the kernel has, and puts right what differs from the rung that is wanted. Routes of others in the
    /// table are told of and left alone.
    ///
    /// # Errors
    /// The kernel refuses something.
    pub fn repair(&mut self, now: Moment) -> Result<Repair, LeaseError> {
        let found = self.kernel.view()?.differences(self.wanted);
        if !found.is_empty() {
            self.kernel.settle()?;
            // A change under way knows better what it has tried.
            if self.change == Change::Settled {
                self.actuator.doubt();
            }
        }
        let progress = self.set(now, self.wanted);
        Ok(Repair { found, progress })
    }

    /// The descriptor on which everything hangs, to hand over; none after [`Lease::let_go`]. It is closed on exec, and
    /// whoever else has it keeps the route alive.
    pub fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.kernel.fd()
    }

    /// Gives everything up at once, the service addresses too, without a way to fail. A rung with routes, or a repair,
    /// makes the interface anew.
    pub fn let_go(&mut self) {
        self.kernel.let_go();
        self.actuator.doubt();
        self.wanted = Rung::Down;
        self.change = Change::None;
    }
}
