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

use crate::{Family, Routes, Rung};

/// A held lease; dropping it ends it.
#[derive(Debug)]
pub struct Lease {
    kernel: KernelRoutes,
    wanted: Rung,
}

impl Lease {
    /// Takes the lease: interface, addresses, and no route yet. What an earlier holder left in the table is removed.
    ///
    /// # Errors
    /// The interface can't be had, or the kernel refuses something.
    pub fn take(plan: LeasePlan) -> Result<Lease, LeaseError> {
        Ok(Lease { kernel: KernelRoutes::take(plan)?, wanted: Rung::Down })
    }

    /// Takes over the descriptor that another process held; the rung is the one that its routes stand for, and nothing
    /// that is right changes for a moment.
    ///
    /// # Errors
    /// The descriptor holds another interface, or the kernel refuses something.
    pub fn adopt(plan: LeasePlan, fd: OwnedFd) -> Result<Lease, LeaseError> {
        let mut kernel = KernelRoutes::adopt(plan, fd)?;
        let wanted = held(&kernel.view()?);
        let mut lease = Lease { kernel, wanted };
        // Families or prefixes apart, or the routes of two rungs: the process before was in the middle of a change.
        lease.repair()?;
        Ok(lease)
    }

    /// The plan it was taken by.
    pub fn plan(&self) -> &LeasePlan {
        self.kernel.plan()
    }

    /// The rung that was set last, or found when the lease was taken over.
    pub fn held(&self) -> Rung {
        self.wanted
    }

    /// Moves the routes of both families to a rung: the new ones are there before the old ones go.
    ///
    /// # Errors
    /// The kernel refuses something. What was there before is there still as far as it was not yet replaced, and
    /// the next call does the rest; [`Lease::let_go`] withdraws without a way to fail.
    pub fn set(&mut self, rung: Rung) -> Result<(), LeaseError> {
        self.wanted = rung;
        if rung.is_announced() {
            for family in Family::ALL {
                self.kernel.add(family, rung)?;
            }
        }
        let mut result = Ok(());
        for surplus in Rung::ALL.into_iter().filter(|other| *other != rung && other.is_announced()) {
            for family in Family::ALL {
                result = result.and(self.kernel.remove(family, surplus));
            }
        }
        result
    }

    /// Reads back what the kernel has.
    ///
    /// # Errors
    /// The kernel refuses an answer.
    pub fn verify(&mut self) -> Result<KernelView, LeaseError> {
        self.kernel.view()
    }

    /// Puts right what differs from the held rung; gives what that was. Routes of others in the table are told of and
    /// left alone.
    ///
    /// # Errors
    /// The kernel refuses something.
    pub fn repair(&mut self) -> Result<Vec<String>, LeaseError> {
        let differences = self.kernel.view()?.differences(self.wanted);
        if !differences.is_empty() {
            self.kernel.settle()?;
            self.set(self.wanted)?;
        }
        Ok(differences)
    }

    /// The descriptor on which everything hangs, to hand over; none after [`Lease::let_go`]. It is closed on exec, and
    /// whoever else has it keeps the route alive.
    pub fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.kernel.fd()
    }

    /// Gives everything up at once, the service addresses too. The next [`Lease::set`] or [`Lease::repair`] makes the
    /// interface anew.
    pub fn let_go(&mut self) {
        self.kernel.let_go();
        self.wanted = Rung::Down;
    }
}

/// The rung of a view as a whole: the worst of the families', so that a change broken off is ended towards the safe
/// side.
fn held(view: &KernelView) -> Rung {
    view.rungs.values().map(|rungs| rungs.first().copied().unwrap_or(Rung::Down)).max().unwrap_or(Rung::Down)
}
