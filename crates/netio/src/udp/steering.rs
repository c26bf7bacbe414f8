//! Which socket of a reuseport group gets a datagram.

use std::num::NonZeroUsize;

use crate::pin::CpuIndex;

/// How a datagram finds its worker.
///
/// By hash of the four-tuple, the kernel's way, load is even as long as there are many clients. By CPU, the
/// worker pinned to the CPU that took the datagram from the network answers it, and neither packet nor
/// socket changes caches. That needs receive queues (RSS) or RPS on all CPUs: an interface with a single
/// queue would give everything to one worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Steering {
    /// By CPU if there are as many workers as allowed CPUs and these are consecutive; else by hash.
    Auto,
    /// By hash, always.
    Hash,
    /// By CPU, always; with other than one worker a CPU, CPU number modulo workers, which need not be the
    /// CPU the worker is pinned to.
    Cpu,
}

/// The choice that was made for a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Steered {
    /// By hash of the four-tuple.
    ByHash,
    /// CPU `first + i` to worker `i`. A datagram taken in on a CPU without a worker goes by hash: an index
    /// beyond the group's end makes the kernel fall back to it.
    ByCpu {
        /// The CPU of worker 0.
        first: CpuIndex,
    },
    /// CPU number modulo workers.
    ByCpuModulo,
    /// As the group that was joined is: our sockets come after its own in the kernel's order, and change
    /// places as those close, so that no index would mean one worker.
    AsFound,
}

/// Settles how a group is steered when worker `i` is pinned to the `i`-th allowed CPU.
pub(super) fn choose(wanted: Steering, workers: NonZeroUsize, allowed: &[CpuIndex]) -> Steered {
    let consecutive = allowed.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1);
    let one_each = allowed.len() == workers.get() && consecutive;
    match (wanted, allowed.first()) {
        _ if workers.get() == 1 => Steered::ByHash, // nothing to choose
        (Steering::Hash, _) => Steered::ByHash,
        (Steering::Auto | Steering::Cpu, Some(&first)) if one_each => Steered::ByCpu { first },
        (Steering::Auto, _) => Steered::ByHash,
        (Steering::Cpu, _) => Steered::ByCpuModulo,
    }
}

/// The classic BPF program for the choice: it returns the index of a socket in the group.
pub(super) fn program(steered: Steered, workers: NonZeroUsize) -> Option<[libc::sock_filter; 3]> {
    let arithmetic = match steered {
        Steered::ByHash | Steered::AsFound => return None,
        // Below `first` it wraps to a huge index, which the kernel treats like any other beyond the end.
        Steered::ByCpu { first } => (libc::BPF_SUB, first.0),
        Steered::ByCpuModulo => (libc::BPF_MOD, workers.get()),
    };
    let instruction = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let operand = u32::try_from(arithmetic.1).unwrap_or(u32::MAX);
    Some([
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, (libc::SKF_AD_OFF + libc::SKF_AD_CPU) as u32),
        instruction(libc::BPF_ALU | arithmetic.0 | libc::BPF_K, operand),
        instruction(libc::BPF_RET | libc::BPF_A, 0),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steering_is_by_cpu_only_where_each_cpu_has_its_worker() {
        use Steering::{Auto, Cpu, Hash};
        let by_cpu = |first| Steered::ByCpu { first: CpuIndex(first) };
        let cases = [
            (Auto, 4, &[0, 1, 2, 3][..], by_cpu(0)),
            (Auto, 2, &[6, 7], by_cpu(6)),
            (Auto, 2, &[1, 3], Steered::ByHash),
            (Auto, 2, &[0, 1, 2, 3], Steered::ByHash),
            (Auto, 1, &[0], Steered::ByHash),
            (Auto, 2, &[], Steered::ByHash),
            (Hash, 2, &[0, 1], Steered::ByHash),
            (Cpu, 2, &[0, 1], by_cpu(0)),
            (Cpu, 2, &[0, 1, 2, 3], Steered::ByCpuModulo),
            (Cpu, 1, &[0, 1], Steered::ByHash),
        ];
        for (wanted, workers, cpus, expected) in cases {
            let allowed: Vec<_> = cpus.iter().copied().map(CpuIndex).collect();
            let chosen = choose(wanted, NonZeroUsize::new(workers).unwrap(), &allowed);
            assert_eq!(chosen, expected, "{wanted:?}, {workers} workers on {cpus:?}");
        }
    }
}
