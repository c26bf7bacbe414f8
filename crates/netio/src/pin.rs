//! Which CPUs this process may use, pinning a worker to one, and keeping other threads out of the workers' way.

use std::io;

use crate::sys;

/// The kernel's number of a CPU.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CpuIndex(pub usize);

/// The CPUs the calling thread may run on, in ascending order.
///
/// Call it before any pinning, from the thread that starts the workers: a pinned thread sees only its own
/// CPU. Respects cpusets and `taskset`. Errors are those of `sched_getaffinity`.
pub fn allowed_cpus() -> io::Result<Vec<CpuIndex>> {
    let mask = sys::affinity()?;
    let words = mask.iter().enumerate();
    let cpus = words
        .flat_map(|(i, word)| (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| i * 64 + bit));
    Ok(cpus.map(CpuIndex).collect())
}

/// The CPU of a worker: workers go round the allowed CPUs in order; none if the list is empty.
///
/// [`crate::udp::Steering`] relies on this order.
pub fn cpu_of_worker(allowed: &[CpuIndex], worker: usize) -> Option<CpuIndex> {
    allowed.get(worker.checked_rem(allowed.len())?).copied()
}

/// Pins the calling thread to one CPU.
///
/// Errors: EINVAL when the CPU is offline, not in this process's cpuset, or beyond 8,191.
pub fn pin_current_thread(cpu: CpuIndex) -> io::Result<()> {
    let mut mask: sys::CpuMask = [0; sys::CPU_MASK_WORDS];
    let word = mask.get_mut(cpu.0 / 64).ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
    *word = 1 << (cpu.0 % 64);
    sys::set_affinity(&mask)
}

/// Lets the calling thread, and those it starts, run only while no other wants its CPU (SCHED_IDLE).
///
/// A worker that wakes preempts such a thread at once; against nice 19 it may first have to wait for the end of a
/// time slice. Linux never refuses it.
pub fn yield_to_workers() -> io::Result<()> {
    sys::set_idle_policy()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pinned_thread_sees_only_its_cpu() {
        let allowed = allowed_cpus().unwrap();
        assert!(!allowed.is_empty());
        for &cpu in &allowed {
            let seen = std::thread::spawn(move || {
                pin_current_thread(cpu).unwrap();
                allowed_cpus().unwrap()
            });
            assert_eq!(seen.join().unwrap(), [cpu]);
        }
    }

    #[test]
    fn a_thread_that_yields_is_idle_and_its_maker_is_not() {
        // Field 41 of stat(5); the name, which may hold blanks, is field 2. 5 is SCHED_IDLE.
        let policy = || {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            stat.rsplit(") ").next().unwrap().split(' ').nth(38).unwrap().to_owned()
        };
        let yielding = std::thread::spawn(move || {
            yield_to_workers().unwrap();
            policy()
        });
        assert_eq!((yielding.join().unwrap().as_str(), policy().as_str()), ("5", "0"));
    }

    #[test]
    fn impossible_cpus_are_refused() {
        for cpu in [8_191, 8_192, usize::MAX] {
            assert_eq!(pin_current_thread(CpuIndex(cpu)).unwrap_err().raw_os_error(), Some(libc::EINVAL));
        }
    }

    #[test]
    fn workers_go_round_the_allowed_cpus() {
        let allowed = [CpuIndex(2), CpuIndex(5)];
        let cpus: Vec<_> = (0..3).map(|worker| cpu_of_worker(&allowed, worker).unwrap().0).collect();
        assert_eq!(cpus, [2, 5, 2]);
        assert_eq!(cpu_of_worker(&[], 0), None);
    }
}
