//! Whether the network cards spread what comes over the CPUs of the workers.

use crate::config::Steering;
use netio::pin::CpuIndex;
use std::num::NonZeroUsize;
use std::path::Path;

/// Where the kernel describes its interfaces, those of this network namespace.
pub(crate) const INTERFACES: &str = "/sys/class/net";

/// Settles [`Steering::Auto`], with the reason.
///
/// By CPU, a card with fewer queues than there are workers would leave the others without anything to do; by hash, a queue for
/// each worker would be passed on to another CPU. So it is by CPU only where each card that is up has a queue for each
/// worker, or hands what it receives to all of their CPUs in software (RPS). Which card queries come by can't be known: an
/// anycast address is on none of them.
pub(crate) fn settle(
    wanted: Steering,
    interfaces: &Path,
    workers: NonZeroUsize,
    cpus: &[CpuIndex],
) -> (netio::udp::Steering, String) {
    use netio::udp::Steering::{Cpu, Hash};
    let Some(cpus) = cpus.get(..workers.get()) else {
        return (Hash, format!("there are {workers} workers for {} CPUs", cpus.len()));
    };
    match wanted {
        Steering::Hash => return (Hash, "so it is configured".to_owned()),
        Steering::Cpu => return (Cpu, "so it is configured".to_owned()),
        Steering::Auto if cpus.len() == 1 => return (Hash, "there is one worker".to_owned()),
        Steering::Auto => {}
    }
    let cards = cards(interfaces);
    if cards.is_empty() {
        return (Hash, "no network card is up".to_owned());
    }
    for card in &cards {
        if card.queues < cpus.len() && !cpus.iter().all(|cpu| card.spreads_to(*cpu)) {
            let reason = format!("{} has {} receive queues for {workers} workers", card.name, card.queues);
            return (Hash, reason);
        }
    }
    let names: Vec<&str> = cards.iter().map(|card| card.name.as_str()).collect();
    (Cpu, format!("{} spread over the CPUs of all {workers} workers", names.join(", ")))
}

/// A network card: an interface with a device behind it, physical or of a virtual machine.
struct Card {
    name: String,
    queues: usize,
    /// For each queue the CPUs that get what it receives: the kernel's text, hexadecimal words with the highest first.
    rps: Vec<String>,
}

impl Card {
    /// Whether all queues hand packets to this CPU, among others.
    fn spreads_to(&self, cpu: CpuIndex) -> bool {
        let is_set = |mask: &String| {
            let word = mask.trim().rsplit(',').nth(cpu.0 / 32);
            let word = word.and_then(|word| u32::from_str_radix(word, 16).ok());
            word.is_some_and(|word| word >> (cpu.0 % 32) & 1 == 1)
        };
        !self.rps.is_empty() && self.rps.iter().all(is_set)
    }
}

/// The cards that are up. What can't be read is not there: an interface may go at any time.
fn cards(interfaces: &Path) -> Vec<Card> {
    let Ok(entries) = std::fs::read_dir(interfaces) else { return Vec::new() };
    let mut cards: Vec<Card> = entries.flatten().filter_map(|entry| card(&entry.path())).collect();
    cards.sort_by(|one, other| one.name.cmp(&other.name));
    cards
}

fn card(interface: &Path) -> Option<Card> {
    let state = std::fs::read_to_string(interface.join("operstate")).ok()?;
    // Some drivers of virtual machines never say "up".
    if !interface.join("device").exists() || !matches!(state.trim(), "up" | "unknown") {
        return None;
    }
    let mut card = Card { name: interface.file_name()?.to_str()?.to_owned(), queues: 0, rps: Vec::new() };
    for queue in std::fs::read_dir(interface.join("queues")).ok()?.flatten() {
        if queue.file_name().to_str().is_some_and(|name| name.starts_with("rx-")) {
            card.queues += 1;
            card.rps.push(std::fs::read_to_string(queue.path().join("rps_cpus")).unwrap_or_default());
        }
    }
    Some(card)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An interface as the kernel describes it.
    fn interface(folder: &Path, name: &str, has_device: bool, state: &str, rps: &[&str]) {
        let at = folder.join(name);
        for (number, mask) in rps.iter().enumerate() {
            let queue = at.join(format!("queues/rx-{number}"));
            std::fs::create_dir_all(&queue).unwrap();
            std::fs::write(queue.join("rps_cpus"), format!("{mask}\n")).unwrap();
        }
        std::fs::create_dir_all(at.join("queues/tx-0")).unwrap();
        if has_device {
            std::fs::create_dir(at.join("device")).unwrap();
        }
        std::fs::write(at.join("operstate"), format!("{state}\n")).unwrap();
    }

    #[test]
    fn it_is_by_cpu_where_every_card_reaches_every_worker() {
        use netio::udp::Steering::{Cpu, Hash};
        type Cards<'a> = &'a [(&'a str, bool, &'a str, &'a [&'a str])];
        let two: &[&str] = &["0", "0"];
        let cases: [(Cards<'_>, &[usize], netio::udp::Steering, &str); 10] = [
            (&[], &[0, 1], Hash, "no network card"),
            (&[("lo", false, "unknown", two)], &[0, 1], Hash, "no network card"),
            (&[("eth0", true, "up", two)], &[0, 1], Cpu, "eth0"),
            (&[("eth0", true, "up", &["0"])], &[0, 1], Hash, "eth0 has 1 receive queues for 2"),
            (&[("eth0", true, "up", &["3"])], &[0, 1], Cpu, "eth0"),
            (&[("eth0", true, "up", &["2"])], &[0, 1], Hash, "eth0 has 1"),
            (&[("eth0", true, "up", &["5,00000000"])], &[32, 34], Cpu, "eth0"),
            (&[("eth0", true, "up", two), ("eth1", true, "up", &["0"])], &[0, 1], Hash, "eth1 has 1"),
            (&[("eth0", true, "up", two), ("eth1", true, "down", &["0"])], &[0, 1], Cpu, "eth0 spread"),
            (&[("eth0", true, "up", two)], &[0], Hash, "2 workers for 1 CPUs"),
        ];
        for (number, (cards, cpus, expected, reason)) in cases.into_iter().enumerate() {
            let folder = tempfile::tempdir().unwrap();
            for (name, has_device, state, rps) in cards {
                interface(folder.path(), name, *has_device, state, rps);
            }
            let cpus: Vec<_> = cpus.iter().copied().map(CpuIndex).collect();
            let workers = NonZeroUsize::new(2).unwrap();
            let (steering, why) = settle(Steering::Auto, folder.path(), workers, &cpus);
            assert_eq!(steering, expected, "case {number}: {why}");
            assert!(why.contains(reason), "case {number}: {why}");
            let (forced, why) = settle(Steering::Cpu, folder.path(), workers, &cpus);
            assert_eq!(forced == Cpu, cpus.len() == 2, "case {number}: {why}");
        }
    }

    #[test]
    fn one_worker_leaves_nothing_to_choose() {
        let settled = settle(Steering::Auto, Path::new("/nowhere"), NonZeroUsize::MIN, &[CpuIndex(3)]);
        assert_eq!(settled, (netio::udp::Steering::Hash, "there is one worker".to_owned()));
    }
}
