//! How often the program has answered, as it counts itself.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use crate::sys::bpf;

/// Where in a queue's counts each stands, in octets.
pub(super) mod place {
    pub(in super::super) const IPV4: i32 = 0;
    pub(in super::super) const IPV6: i32 = 8;
    pub(in super::super) const BAD_VERSION: i32 = 0;
    pub(in super::super) const REFUSED: i32 = 16;
    pub(in super::super) const SHORTENED: i32 = 32;
    pub(in super::super) const WITHHELD: i32 = 48;
}

/// How often the program has answered. It can be read for as long as this lives, attached or not.
#[derive(Debug)]
pub struct KernelCounts {
    map: OwnedFd,
    queues: u32,
}

/// Answers with one RCODE.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ByFamily {
    /// Over IPv4.
    pub ipv4: u64,
    /// Over IPv6.
    pub ipv6: u64,
}

/// Answers of the program.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KernelAnswered {
    /// BADVERS.
    pub bad_version: ByFamily,
    /// REFUSED.
    pub refused: ByFamily,
    /// The question alone, with TC, for networks over the limit.
    pub shortened: ByFamily,
    /// Nothing, for those.
    pub withheld: ByFamily,
}

impl KernelCounts {
    /// Nothing, for an interface with so many queues.
    pub(in super::super) fn new(queues: u32) -> io::Result<KernelCounts> {
        Ok(KernelCounts { map: bpf::values(queues)?, queues })
    }

    pub(in super::super) fn descriptor(&self) -> i32 {
        self.map.as_raw_fd()
    }

    /// What was answered since the program was loaded.
    ///
    /// # Errors
    /// Before Linux 5.19, reading may take privileges that are gone.
    pub fn read(&self) -> io::Result<KernelAnswered> {
        let mut sum = KernelAnswered::default();
        for queue in 0..self.queues {
            let value = bpf::value(self.map.as_fd(), queue)?;
            let (counts, _) = value.as_chunks::<8>();
            let KernelAnswered { bad_version, refused, shortened, withheld } = &mut sum;
            let of = [bad_version, refused, shortened, withheld];
            let of = of.into_iter().flat_map(|ByFamily { ipv4, ipv6 }| [ipv4, ipv6]);
            for (sum, count) in of.zip(counts) {
                *sum += u64::from_ne_bytes(*count);
            }
        }
        Ok(sum)
    }
}
