//! What to do when the kernel does not take a reply.

use crate::counters::{OwnedCounter, WorkerCounters};

/// What the send loop does with the reply at its head after an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// Try the same reply again at once.
    Retry,
    /// Try the same reply again after the socket has room, or after the wait ended without.
    RetryWhenWritable,
    /// Drop this reply and go on with the next.
    Skip,
    /// Drop this reply and all after it.
    DropRest,
}

/// Decides for the replies of one batch; its waits are bounded for the batch, not for a reply.
pub(crate) struct SendPolicy {
    waits_left: u32,
    interruptions_left: u32,
}

/// Signals a batch may meet before it is given up: far more than a process gets in a batch's 100 µs.
const INTERRUPTIONS_MAX: u32 = 64;

impl SendPolicy {
    pub(crate) fn new(waits_max: u32) -> SendPolicy {
        SendPolicy { waits_left: waits_max, interruptions_left: INTERRUPTIONS_MAX }
    }

    /// The verdict on one error of `sendmmsg`, which always concerns the reply at its head.
    pub(crate) fn verdict(&mut self, errno: i32) -> Verdict {
        match errno {
            libc::EINTR if self.interruptions_left > 0 => {
                self.interruptions_left -= 1;
                Verdict::Retry
            }
            // The send buffer is full; poll tells when the device has emptied half of it.
            libc::EAGAIN if self.waits_left > 0 => {
                self.waits_left -= 1;
                Verdict::RetryWhenWritable
            }
            libc::EINTR | libc::EAGAIN => Verdict::DropRest,
            // Everything else concerns this one peer. ENOBUFS and ENOMEM do not, but the socket counts as
            // writable all the while, so waiting would only spin: one try for each reply is the bound.
            _ => Verdict::Skip,
        }
    }
}

/// The counter for replies dropped on this error.
pub(crate) fn counter_for(counters: &WorkerCounters, errno: i32) -> &OwnedCounter {
    match errno {
        libc::EINTR | libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM => &counters.dropped_no_room,
        libc::EMSGSIZE => &counters.dropped_too_big,
        libc::EPERM | libc::EACCES => &counters.dropped_forbidden,
        libc::EHOSTUNREACH | libc::ENETUNREACH | libc::ENETDOWN | libc::EHOSTDOWN | libc::ECONNREFUSED => {
            &counters.dropped_unreachable
        }
        _ => &counters.dropped_other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_bounded_for_the_whole_batch() {
        let mut policy = SendPolicy::new(2);
        assert_eq!(policy.verdict(libc::EAGAIN), Verdict::RetryWhenWritable);
        assert_eq!(policy.verdict(libc::EMSGSIZE), Verdict::Skip);
        assert_eq!(policy.verdict(libc::EAGAIN), Verdict::RetryWhenWritable);
        assert_eq!(policy.verdict(libc::EPERM), Verdict::Skip);
        assert_eq!(policy.verdict(libc::EAGAIN), Verdict::DropRest);
    }

    #[test]
    fn interruptions_are_retried_but_not_forever() {
        let mut policy = SendPolicy::new(0);
        for _ in 0..INTERRUPTIONS_MAX {
            assert_eq!(policy.verdict(libc::EINTR), Verdict::Retry);
        }
        assert_eq!(policy.verdict(libc::EINTR), Verdict::DropRest);
    }

    #[test]
    fn errors_of_one_peer_cost_only_its_reply() {
        use libc::{EACCES, ECONNREFUSED, EHOSTUNREACH, EINVAL, EMSGSIZE, ENOBUFS, EPERM};
        for errno in [EMSGSIZE, EPERM, EACCES, EHOSTUNREACH, ECONNREFUSED, EINVAL, ENOBUFS] {
            assert_eq!(SendPolicy::new(1).verdict(errno), Verdict::Skip, "errno {errno}");
        }
    }
}
