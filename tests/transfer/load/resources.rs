//! What a process and the processes below it use, as the kernel tells.

use std::collections::BTreeSet;

use anyhow::{Context, Result};

/// Memory of a process and all below it.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Memory {
    /// Pages that are its own alone, in KiB.
    pub(super) private_kib: u64,
    /// Those and what is mapped from files, in KiB; what several share counts once for each by its part.
    pub(super) kib: u64,
}

/// Adds up what the process and all below it have (proc_pid_smaps_rollup(5)).
pub(super) fn memory(pid: i32) -> Result<Memory> {
    let mut sum = Memory::default();
    for pid in family(pid)? {
        // One that has ended by now has nothing.
        let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else { continue };
        let field = |name: &str| -> u64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        sum.private_kib += field("Pss_Anon:");
        sum.kib += field("Pss:");
    }
    Ok(sum)
}

/// Processor time of the process, not of those below it, in milliseconds.
pub(super) fn cpu_ms(pid: i32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in parentheses, may have spaces: what counts is behind it. Times are in hundredths of a second.
    let (_, rest) = text.rsplit_once(") ").context("a name in parentheses")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let ticks = |at: usize| -> Result<u64> { Ok(fields.get(at).context("a field")?.parse()?) };
    Ok((ticks(11)? + ticks(12)?) * 10)
}

/// Octets that the process has had written to disk.
pub(super) fn written(pid: i32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/io"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: ")).context("write_bytes")?;
    Ok(line.parse()?)
}

/// For how long the thread of this name was ready to run and had no processor, in milliseconds since it began
/// (Documentation/scheduler/sched-stats of the kernel).
pub(super) fn waited_ms(pid: i32, thread: &str) -> Result<u64> {
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = task?.path();
        // Threads come and go.
        if std::fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim() == thread) {
            let text = std::fs::read_to_string(path.join("schedstat"))?;
            return Ok(text.split(' ').nth(1).context("three numbers")?.parse::<u64>()? / 1_000_000);
        }
    }
    anyhow::bail!("there is no thread {thread}")
}

/// The process and all below it.
fn family(pid: i32) -> Result<BTreeSet<i32>> {
    let mut parents = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(child) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let Ok(text) = std::fs::read_to_string(format!("/proc/{child}/stat")) else { continue };
        let parent = text.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse::<i32>().ok());
        parents.extend(parent.map(|parent| (child, parent)));
    }
    let mut family = BTreeSet::from([pid]);
    loop {
        let more: Vec<i32> =
            parents.iter().filter(|(_, parent)| family.contains(parent)).map(|(child, _)| *child).collect();
        let before = family.len();
        family.extend(more);
        if family.len() == before {
            return Ok(family);
        }
    }
}
