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
    /// By hash.
    Hash,
    /// By CPU, where there are no more workers than CPUs to pin them to; else by hash.
    Cpu,
}

/// The choice that was made for a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Steered {
    /// By hash of the four-tuple.
    ByHash,
    /// What the CPU of worker `i` takes in goes to worker `i`; what a CPU without a worker takes in goes by hash.
    ByCpu,
    /// As the group that was joined is: our sockets come after its own in the kernel's order, and change
    /// places as those close, so that no index would mean one worker.
    AsFound,
}

/// Settles how a group is steered when worker `i` is pinned to the `i`-th allowed CPU.
pub(super) fn choose(wanted: Steering, workers: NonZeroUsize, allowed: &[CpuIndex]) -> Steered {
    // One worker leaves nothing to choose; the second worker of a CPU would get nothing.
    let has_choice = workers.get() > 1 && workers.get() <= allowed.len();
    match wanted {
        Steering::Cpu if has_choice => Steered::ByCpu,
        Steering::Cpu | Steering::Hash => Steered::ByHash,
    }
}

/// The classic BPF program for steering by CPU: it returns the index of a socket in the group. `cpus` has the CPU of each
/// worker.
///
/// An index beyond the group's end makes the kernel choose by hash.
pub(super) fn by_cpu(cpus: &[CpuIndex]) -> Vec<libc::sock_filter> {
    let instruction = |code: u32, jt, jf, k: usize| {
        // CPUs are at most 8,191, workers no more.
        libc::sock_filter { code: code as u16, jt, jf, k: u32::try_from(k).unwrap_or(u32::MAX) }
    };
    let cpu = (libc::SKF_AD_OFF + libc::SKF_AD_CPU) as u32;
    let mut program = vec![libc::sock_filter {
        k: cpu,
        ..instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0)
    }];
    let first = cpus.first().map_or(0, |cpu| cpu.0);
    let is_consecutive = cpus.iter().enumerate().all(|(worker, cpu)| cpu.0 == first + worker);
    if is_consecutive {
        // Below `first` it wraps to a huge index, which the kernel treats like any other beyond the end.
        program.push(instruction(libc::BPF_ALU | libc::BPF_SUB | libc::BPF_K, 0, 0, first));
        program.push(instruction(libc::BPF_RET | libc::BPF_A, 0, 0, 0));
        return program;
    }
    // Two instructions a worker, about a nanosecond for each CPU that it is not. `WORKERS_MAX` bounds the program: the kernel
    // takes 4,096 instructions.
    for (worker, cpu) in cpus.iter().enumerate() {
        program.push(instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, cpu.0));
        program.push(instruction(libc::BPF_RET | libc::BPF_K, 0, 0, worker));
    }
    program.push(instruction(libc::BPF_RET | libc::BPF_K, 0, 0, cpus.len()));
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steering_is_by_cpu_only_where_each_worker_has_its_cpu() {
        use Steering::{Cpu, Hash};
        let cases = [
            (Cpu, 4, &[0, 1, 2, 3][..], Steered::ByCpu),
            (Cpu, 2, &[1, 3], Steered::ByCpu),
            (Cpu, 2, &[0, 1, 2, 3], Steered::ByCpu),
            (Cpu, 3, &[0, 1], Steered::ByHash),
            (Cpu, 1, &[0], Steered::ByHash),
            (Cpu, 2, &[], Steered::ByHash),
            (Hash, 2, &[0, 1], Steered::ByHash),
        ];
        for (wanted, workers, cpus, expected) in cases {
            let allowed: Vec<_> = cpus.iter().copied().map(CpuIndex).collect();
            let chosen = choose(wanted, NonZeroUsize::new(workers).unwrap(), &allowed);
            assert_eq!(chosen, expected, "{wanted:?}, {workers} workers on {cpus:?}");
        }
    }

    /// Runs the program for a datagram that came in on a CPU.
    fn run(program: &[libc::sock_filter], cpu: u32) -> u32 {
        let (mut at, mut accumulator) = (0, 0u32);
        loop {
            let libc::sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            match u32::from(code) {
                code if code == libc::BPF_LD | libc::BPF_W | libc::BPF_ABS => accumulator = cpu,
                code if code == libc::BPF_ALU | libc::BPF_SUB | libc::BPF_K => {
                    accumulator = accumulator.wrapping_sub(k);
                }
                code if code == libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K => {
                    at += usize::from(if accumulator == k { jt } else { jf });
                }
                code if code == libc::BPF_RET | libc::BPF_A => return accumulator,
                code if code == libc::BPF_RET | libc::BPF_K => return k,
                code => panic!("instruction {code:#x}"),
            }
        }
    }

    #[test]
    fn each_cpu_has_its_worker_and_others_go_by_hash() {
        for cpus in [&[0, 1, 2, 3][..], &[6, 7], &[1, 3], &[2, 3, 9], &[0, 2, 4, 6, 8, 10, 200], &[5]] {
            let program = by_cpu(&cpus.iter().copied().map(CpuIndex).collect::<Vec<_>>());
            for cpu in 0..256 {
                let chosen = run(&program, cpu) as usize;
                match cpus.iter().position(|of_worker| *of_worker == cpu as usize) {
                    Some(worker) => assert_eq!(chosen, worker, "CPU {cpu} of {cpus:?}"),
                    None => assert!(chosen >= cpus.len(), "CPU {cpu} of {cpus:?}: {chosen}"),
                }
            }
        }
    }
}
