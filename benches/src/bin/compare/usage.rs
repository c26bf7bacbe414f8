//! What processes have used: CPU time of all their threads, and memory.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// CPU time used by a set of processes since their start.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cpu {
    /// What the scheduler has counted.
    pub(crate) total_ns: u64,
    /// Time that threads were ready to run and another had their CPU.
    pub(crate) waited_ns: u64,
    /// Ticks that found a thread in user space.
    pub(crate) user_ticks: u64,
    /// Ticks that found a thread in the kernel.
    pub(crate) system_ticks: u64,
}

impl Cpu {
    /// What all threads of these processes have used. A process or thread that has ended counts no more.
    pub(crate) fn of(pids: &[i32]) -> Self {
        let mut sum = Self::default();
        for pid in pids {
            let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
            for thread in threads.filter_map(Result::ok) {
                let Some(one) = of_thread(&thread.path()) else { continue };
                sum.total_ns += one.total_ns;
                sum.waited_ns += one.waited_ns;
                sum.user_ticks += one.user_ticks;
                sum.system_ticks += one.system_ticks;
            }
        }
        sum
    }

    /// What was used since an earlier look at the same processes.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            total_ns: self.total_ns.saturating_sub(earlier.total_ns),
            waited_ns: self.waited_ns.saturating_sub(earlier.waited_ns),
            user_ticks: self.user_ticks.saturating_sub(earlier.user_ticks),
            system_ticks: self.system_ticks.saturating_sub(earlier.system_ticks),
        }
    }

    /// How much of it was in user space: the scheduler's time, divided as the ticks were.
    pub(crate) fn user_ns(self) -> f64 {
        let ticks = self.user_ticks + self.system_ticks;
        if ticks == 0 { 0.0 } else { self.total_ns as f64 * self.user_ticks as f64 / ticks as f64 }
    }
}

fn of_thread(folder: &Path) -> Option<Cpu> {
    let schedstat = fs::read_to_string(folder.join("schedstat")).ok()?;
    let stat = fs::read_to_string(folder.join("stat")).ok()?;
    let (user_ticks, system_ticks) = ticks_of(&stat)?;
    let mut times = schedstat.split_whitespace().map(|time| time.parse().ok());
    Some(Cpu { total_ns: times.next()??, waited_ns: times.next()??, user_ticks, system_ticks })
}

/// The user and system time in the text of a `stat` file. A thread's name may hold blanks and brackets.
fn ticks_of(stat: &str) -> Option<(u64, u64)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// Ticks in which these CPUs had something to do since the start of the machine, and all ticks.
pub(crate) fn busy_ticks(cpus: &[usize]) -> Result<(u64, u64)> {
    let text = fs::read_to_string("/proc/stat").context("/proc/stat")?;
    Ok(busy_of(&text, cpus))
}

fn busy_of(stat: &str, cpus: &[usize]) -> (u64, u64) {
    let (mut busy, mut all) = (0, 0);
    for cpu in cpus {
        let name = format!("cpu{cpu} ");
        let Some(line) = stat.lines().find_map(|line| line.strip_prefix(&name)) else { continue };
        // user nice system idle iowait irq softirq steal; the two of guests are in user and nice already.
        for (place, ticks) in line.split_whitespace().take(8).enumerate() {
            let ticks: u64 = ticks.parse().unwrap_or(0);
            all += ticks;
            busy += if matches!(place, 3 | 4) { 0 } else { ticks };
        }
    }
    (busy, all)
}

/// Resident memory of these processes in octets, a shared page divided among those that share it.
pub(crate) fn resident(pids: &[i32]) -> Result<u64> {
    let mut octets = 0;
    for pid in pids {
        // A process may have ended since it was listed.
        let Ok(text) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else { continue };
        octets += pss_of(&text).with_context(|| format!("/proc/{pid}/smaps_rollup has no Pss"))?;
    }
    Ok(octets)
}

fn pss_of(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_behind_any_name() {
        let stat = "7 (a) b (c) R 1 7 7 0 -1 4194560 1 0 0 0 250 750 0 0 20 0 1 0 5 0";
        assert_eq!(ticks_of(stat), Some((250, 750)));
        assert_eq!(ticks_of("7 (a) R 1"), None);
    }

    #[test]
    fn user_time_is_a_share_of_what_the_scheduler_counted() {
        let cpu = Cpu { total_ns: 1_000, user_ticks: 1, system_ticks: 3, ..Cpu::default() };
        assert!((cpu.user_ns() - 250.0).abs() < 1e-9);
        assert!(Cpu { total_ns: 1_000, ..Cpu::default() }.user_ns().abs() < 1e-9);
    }

    #[test]
    fn own_process_uses_both() {
        let pid = std::process::id().cast_signed();
        assert!(Cpu::of(&[pid]).total_ns > 0);
        assert!(resident(&[pid]).unwrap() > 100_000);
        assert_eq!(Cpu::of(&[i32::MAX]), Cpu::default());
    }

    #[test]
    fn idle_and_waiting_for_disks_are_not_busy() {
        let stat = "cpu  9 9 9 9 9 9 9 9\ncpu0 1 2 3 40 50 4 5 6 7 8\ncpu1 1 0 0 1 0 0 0 0 0 0\ncpu10 9 9\n";
        assert_eq!(busy_of(stat, &[0]), (21, 111));
        assert_eq!(busy_of(stat, &[0, 1]), (22, 113));
        assert_eq!(busy_of(stat, &[7]), (0, 0));
    }

    #[test]
    fn proportional_set_size_in_octets() {
        assert_eq!(pss_of("00400000-7fff r\nRss:  900 kB\nPss:      12 kB\nPss_Dirty: 3 kB\n"), Some(12_288));
        assert_eq!(pss_of("Rss: 900 kB\n"), None);
    }
}
