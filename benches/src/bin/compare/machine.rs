//! What the figures were measured on: they say nothing without it.

use std::fs;
use std::process::Command;

use serde::{Deserialize, Serialize};
use starling_tests::tools;

/// The machine and its state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Machine {
    /// Model of the processor.
    pub(crate) processor: String,
    /// CPUs that are on.
    pub(crate) cpus: usize,
    /// Whether it is a guest of another machine: others may take its time.
    pub(crate) virtual_machine: bool,
    /// Memory.
    pub(crate) memory_mib: u64,
    /// The kernel's release.
    pub(crate) kernel: String,
    /// The distribution.
    pub(crate) system: String,
    /// The commit that Starling was built from; marked where the working tree differed.
    pub(crate) commit: String,
}

impl Machine {
    /// This machine; what can't be found out is "unknown".
    pub(crate) fn here() -> Self {
        let unknown = || "unknown".to_owned();
        let cpuinfo = read("/proc/cpuinfo");
        let field = |text: &str, key: &str| {
            let line = text.lines().find(|line| line.starts_with(key))?;
            line.split_once([':', '=']).map(|(_, value)| value.trim().trim_matches('"').to_owned())
        };
        let model = field(&cpuinfo, "model name").unwrap_or_else(unknown);
        // A guest's model says little without these.
        let numbers = ["cpu family", "model\t"].map(|key| field(&cpuinfo, key).unwrap_or_else(unknown));
        let memory = field(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
        let kib: u64 = memory.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0);
        Self {
            processor: format!("{model}, family {}, model {}", numbers[0], numbers[1]),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            virtual_machine: cpuinfo.contains(" hypervisor"),
            memory_mib: kib / 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            system: field(&read("/etc/os-release"), "PRETTY_NAME").unwrap_or_else(unknown),
            commit: commit().unwrap_or_else(unknown),
        }
    }

    /// Free memory in MiB now.
    pub(crate) fn free_mib() -> Option<u64> {
        let text = read("/proc/meminfo");
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib / 1024)
    }
}

/// The load of the machine over the last minute; what is measured itself is a part of it.
pub(crate) fn load() -> f64 {
    read("/proc/loadavg").split_whitespace().next().and_then(|load| load.parse().ok()).unwrap_or(0.0)
}

fn commit() -> Option<String> {
    let words = ["describe", "--always", "--dirty", "--exclude=*"];
    let output = Command::new("git").arg("-C").arg(tools::repository()).args(words).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known() {
        let machine = Machine::here();
        assert!(machine.cpus > 0 && machine.memory_mib > 0, "{machine:?}");
        assert!(!machine.kernel.is_empty());
        assert!(Machine::free_mib().is_some());
    }
}
