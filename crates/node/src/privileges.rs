//! What a process keeps of the privileges it was started with: two capabilities, with AF_XDP six, and in the end none.
//! Raw sockets for checks by ICMP are opened before what they take is given up.
//!
//! Linux has capabilities for each thread. They are given up by the first thread before it starts others, which then
//! have no more than it had; a thread that is started earlier gives up its own.

use crate::config::Config;
use crate::pools;
use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set, clear_ambient_capability_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
    set_no_new_privs,
};
use std::io;

/// All that a node needs without AF_XDP: CAP_NET_ADMIN for the interface, addresses and routes of the lease and for receive
/// buffers beyond `net.core.rmem_max`; CAP_NET_BIND_SERVICE for port 53.
pub(crate) const NEEDED: CapabilitySet = CapabilitySet::NET_ADMIN.union(CapabilitySet::NET_BIND_SERVICE);

/// What AF_XDP takes besides: CAP_BPF for the program and the map of sockets, CAP_PERFMON for what the program does to find
/// out whether a frame is in one piece, CAP_NET_RAW for the sockets themselves, CAP_IPC_LOCK for their memory, which is
/// more than the usual limit of locked memory.
pub(crate) const FOR_XDP: CapabilitySet = CapabilitySet::BPF
    .union(CapabilitySet::PERFMON)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::IPC_LOCK);

/// What checks of endpoints by ICMP take where no group of the process may have sockets for echo alone.
pub(crate) const FOR_ECHO: CapabilitySet = CapabilitySet::NET_RAW;

/// What is kept until the configuration tells which it is: CAP_SETPCAP, too, to take the rest out of the bounding set then.
pub(crate) const UNTIL_CONFIGURED: CapabilitySet = NEEDED.union(FOR_XDP).union(CapabilitySet::SETPCAP);

/// What a node needs with this configuration.
pub(crate) fn needed(config: &Config) -> CapabilitySet {
    let xdp = if config.node.uses_xdp() { FOR_XDP } else { CapabilitySet::empty() };
    let echo = if pools::takes_raw(&config.pools) { FOR_ECHO } else { CapabilitySet::empty() };
    NEEDED | xdp | echo
}

/// The most capabilities that the kernel's format of them has room for.
const CAPABILITIES_MAX: u32 = u64::BITS;

/// Privileges that can't be given up. The kernel has no reason to refuse; a filter of system calls may.
#[derive(Debug, thiserror::Error)]
#[error("privileges can't be given up ({step}): {source}")]
pub(crate) struct PrivilegesError {
    step: &'static str,
    source: io::Error,
}

/// Gives up all capabilities of the calling thread but these, and all ways to get others.
///
/// Those that are kept go on to programs that the thread starts, whether its user is root or not. Whoever has
/// nothing to give up is left as it is.
///
/// # Errors
/// The system refuses.
pub(crate) fn keep_only(wanted: CapabilitySet) -> Result<(), PrivilegesError> {
    let failed = |step| move |error: Errno| PrivilegesError { step, source: error.into() };
    let held = capabilities(None).map_err(failed("reading the capabilities"))?;
    // While CAP_SETPCAP is still there.
    narrow_bounding_set(wanted).map_err(failed("the bounding set"))?;
    clear_ambient_capability_set().map_err(failed("the ambient set"))?;
    let kept = held.permitted & wanted;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: kept };
    set_capabilities(None, sets).map_err(failed("the capabilities"))?;
    for capability in kept.iter() {
        match configure_capability_in_ambient_set(capability, true) {
            // Locked by whoever started the process (SECBIT_NO_CAP_AMBIENT_RAISE): then nothing is passed on.
            Ok(()) | Err(Errno::PERM) => {}
            Err(error) => return Err(failed("the ambient set")(error)),
        }
    }
    set_no_new_privs(true).map_err(failed("no_new_privs"))
}

/// Gives up all capabilities of the calling thread.
///
/// # Errors
/// The system refuses.
pub(crate) fn give_up() -> Result<(), PrivilegesError> {
    keep_only(CapabilitySet::empty())
}

/// Takes everything else out of the bounding set. Without CAP_SETPCAP that can't be done, and needn't: with
/// `no_new_privs` no program that is started can gain what its starter doesn't have.
fn narrow_bounding_set(wanted: CapabilitySet) -> Result<(), Errno> {
    for index in 0..CAPABILITIES_MAX {
        let capability = CapabilitySet::from_bits_retain(1 << index);
        match capability_is_in_bounding_set(capability) {
            Ok(true) if !wanted.contains(capability) => match remove_capability_from_bounding_set(capability)
            {
                Ok(()) => {}
                Err(Errno::PERM) => return Ok(()),
                Err(error) => return Err(error),
            },
            Ok(_) => {}
            // Beyond the last one that this kernel knows.
            Err(Errno::INVAL) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The capability sets of the calling thread by their names in proc(5), with `NoNewPrivs`.
    fn status() -> impl Fn(&str) -> u64 {
        let text = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        move |name| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t")).unwrap();
            u64::from_str_radix(line, 16).unwrap()
        }
    }

    #[test]
    fn only_what_is_needed_stays_and_then_nothing() {
        // In a thread: the other tests keep what they have.
        std::thread::spawn(|| {
            let before = status();
            keep_only(NEEDED).unwrap();
            let after = status();
            let kept = before("CapPrm") & NEEDED.bits();
            for set in ["CapPrm", "CapEff", "CapInh", "CapAmb"] {
                assert_eq!(after(set), kept, "{set}");
            }
            assert_eq!(after("NoNewPrivs"), 1);
            if before("CapEff") & CapabilitySet::SETPCAP.bits() != 0 {
                assert_eq!(after("CapBnd"), before("CapBnd") & NEEDED.bits());
            }
            let child = std::process::Command::new("/bin/cat").arg("/proc/self/status").output().unwrap();
            let child = String::from_utf8(child.stdout).unwrap();
            assert!(child.contains(&format!("CapEff:\t{kept:016x}")), "{child}");
            give_up().unwrap();
            let after = status();
            for set in ["CapPrm", "CapEff", "CapInh", "CapAmb"] {
                assert_eq!(after(set), 0, "{set}");
            }
            give_up().unwrap();
        })
        .join()
        .unwrap();
    }
}
