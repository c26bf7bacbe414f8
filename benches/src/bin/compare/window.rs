//! A stretch of time under load: what came in, what went out, and whose the CPUs were.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::interrupt::Interrupt;
use crate::running::Running;
use crate::site::{Packets, Site};
use crate::usage::{self, Cpu};

/// A generator that uses this much of its CPU can't send more.
const GENERATOR_BUSY: f64 = 0.95;
/// A window is quiet when others had the CPUs for less than this part of it. Half of it would be better, and is not to be
/// had on a machine with other users; CPU times do not change with it, as far as rounds can tell.
pub(crate) const DISTURBED: f64 = 0.1;
/// The machine is quiet when less than this part of the CPUs' time is used.
const QUIET: f64 = 0.1;
/// How long the CPUs are looked at to see that.
const QUIET_FOR: Duration = Duration::from_millis(250);

/// One moment.
#[derive(Clone, Copy)]
pub(crate) struct Look {
    at: Instant,
    packets: Packets,
    server: Cpu,
    receive: Cpu,
    generator: Cpu,
}

impl Look {
    /// Now. The generator is one of its own process, or none.
    pub(crate) fn now(site: &Site, server: &Running<'_>, generator: Option<i32>) -> Result<Self> {
        Ok(Self {
            at: Instant::now(),
            packets: site.packets()?,
            server: server.cpu(),
            receive: Cpu::of(site.receive_threads()),
            generator: Cpu::of(generator.as_slice()),
        })
    }
}

/// What happened between two moments.
pub(crate) struct Window {
    pub(crate) seconds: f64,
    offered: u64,
    answered: u64,
    /// Of the server's threads alone.
    pub(crate) server: Cpu,
    /// Of the kernel's threads that receive for the server.
    pub(crate) receive: Cpu,
    generator: Cpu,
}

impl Window {
    pub(crate) fn between(earlier: Look, later: Look) -> Self {
        Self {
            seconds: (later.at - earlier.at).as_secs_f64(),
            offered: later.packets.received - earlier.packets.received,
            answered: later.packets.sent - earlier.packets.sent,
            server: later.server.since(earlier.server),
            receive: later.receive.since(earlier.receive),
            generator: later.generator.since(earlier.generator),
        }
    }

    pub(crate) fn answered_per_s(&self) -> f64 {
        self.answered as f64 / self.seconds
    }

    pub(crate) fn offered_per_s(&self) -> f64 {
        self.offered as f64 / self.seconds
    }

    /// Whether anything was answered: what there is for an answer is nothing without.
    pub(crate) fn has_answers(&self) -> bool {
        self.answered > 0
    }

    /// CPU time for an answer, in nanoseconds: the server's, and the kernel's to receive for it.
    pub(crate) fn cost(&self) -> f64 {
        self.per_answer((self.server.total_ns + self.receive.total_ns) as f64)
    }

    pub(crate) fn per_answer(&self, ns: f64) -> f64 {
        ns / self.answered.max(1) as f64
    }

    /// How much of its CPUs the server used, with what the kernel received for it there.
    pub(crate) fn server_busy(&self, cpus: usize) -> f64 {
        (self.server.total_ns + self.receive.total_ns) as f64 / 1e9 / self.seconds / cpus as f64
    }

    /// Answers a second that the CPU time for each would allow: what the server can do when it has its CPUs for itself.
    pub(crate) fn capacity(&self, cpus: usize) -> f64 {
        cpus as f64 * 1e9 / self.cost().max(1.0)
    }

    /// Answers a second of the time that the server had its CPUs or slept.
    pub(crate) fn answered_per_s_undisturbed(&self, cpus: usize) -> f64 {
        let waited = self.server.waited_ns as f64 / 1e9 / self.seconds / cpus as f64;
        self.answered_per_s() / (1.0 - waited).clamp(0.1, 1.0)
    }

    /// Whether the generator could not offer more.
    pub(crate) fn generator_was_the_limit(&self, wanted: f64) -> bool {
        // A tenth less is no different load.
        self.offered_per_s() < wanted * 0.9
            || self.generator.total_ns as f64 / 1e9 > self.seconds * GENERATOR_BUSY
    }

    /// The part of the time that server or generator waited for their CPUs because others had them. Receiving threads
    /// share the server's CPUs: what they and it wait for each other is no disturbance.
    pub(crate) fn disturbed(&self) -> f64 {
        // Nothing got through: nobody let the generator run.
        if self.answered == 0 {
            return 1.0;
        }
        let own = self.receive.total_ns;
        let waited = self.server.waited_ns.saturating_sub(own).max(self.generator.waited_ns);
        waited as f64 / 1e9 / self.seconds
    }
}

/// Waits until these CPUs have next to nothing to do, for so long at most.
pub(crate) fn wait_for_quiet(cpus: &[usize], limit: Duration, interrupt: &Interrupt) -> Result<()> {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        let before = usage::busy_ticks(cpus)?;
        interrupt.pause(QUIET_FOR)?;
        let (busy, all) = usage::busy_ticks(cpus)?;
        let all = (all - before.1).max(1) as f64;
        if (busy - before.0) as f64 / all < QUIET {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(busy_ns: u64, waited_ns: u64, answered: u64) -> Window {
        Window {
            seconds: 1.0,
            offered: 2 * answered,
            answered,
            server: Cpu { total_ns: busy_ns, waited_ns, ..Cpu::default() },
            receive: Cpu::default(),
            generator: Cpu::default(),
        }
    }

    #[test]
    fn capacity_of_a_server_with_time_to_spare() {
        let half = window(500_000_000, 0, 100_000);
        assert!((half.capacity(2) - 400_000.0).abs() < 1.0);
        assert!((half.capacity(1) - 200_000.0).abs() < 1.0);
        assert!((half.cost() - 5_000.0).abs() < 1e-6);
        assert!((half.answered_per_s_undisturbed(1) - 100_000.0).abs() < 1.0);
        assert!(half.disturbed() < DISTURBED);
    }

    #[test]
    fn a_window_without_answers_is_disturbed() {
        let empty = window(0, 0, 0);
        assert!(!empty.has_answers() && empty.disturbed() > DISTURBED);
    }

    #[test]
    fn a_disturbed_window_is_scaled() {
        let disturbed = window(500_000_000, 500_000_000, 100_000);
        assert!(disturbed.disturbed() > DISTURBED);
        assert!((disturbed.answered_per_s_undisturbed(1) - 200_000.0).abs() < 1.0);
    }

    #[test]
    fn receiving_on_the_same_cpu_is_part_of_the_cost_and_no_disturbance() {
        let mut shared = window(500_000_000, 400_000_000, 100_000);
        shared.receive.total_ns = 500_000_000;
        assert!((shared.cost() - 10_000.0).abs() < 1e-6);
        assert!((shared.server_busy(1) - 1.0).abs() < 1e-9);
        assert!(shared.disturbed() < DISTURBED);
    }

    #[test]
    fn limit_of_the_generator() {
        let mut limited = window(900_000_000, 0, 100_000);
        assert!(!limited.generator_was_the_limit(200_000.0));
        assert!(limited.generator_was_the_limit(300_000.0), "two thirds of what was wanted were offered");
        limited.generator.total_ns = 980_000_000;
        assert!(limited.generator_was_the_limit(200_000.0), "its CPU is full");
    }
}
