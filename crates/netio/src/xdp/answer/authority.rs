//! Which names a node has authority for, as the program knows it.
//!
//! The set holds apexes from their ends: the octets of the name in turned order, so that all names below an apex begin with
//! what the apex is. The octet of a label's length stands behind its label there, and so `badexample.com` does not begin with
//! `example.com`. Letters are made one case by a bit that all octets get, which makes some others one, too; and of long names there are
//! the last octets alone. Both let the set hold more names than the node has, never fewer: what is in doubt goes to the ring.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use crate::sys::bpf::{self, PREFIX_LEN_MAX, Prefix, VALUE_LEN};

/// The bit in which the cases of a letter differ.
pub(super) const CASE: u8 = 0x20;
/// The most apexes.
const APEXES_MAX: u32 = 1 << 20;

/// The apexes of a node, and whether the program may refuse what is below none of them.
///
/// It may not until it is [opened](Authority::open). Whoever changes what is served [closes](Authority::close) it before, and opens it when
/// the program has been told of the change.
#[derive(Debug)]
pub struct Authority {
    apexes: OwnedFd,
    open: OwnedFd,
}

/// What the program was told; it is kept beside the [`Authority`] by the one who changes it.
#[derive(Clone, Default, Debug)]
pub struct Apexes(HashSet<Prefix>);

impl Authority {
    /// Of nobody knows what; closed. It takes CAP_BPF.
    ///
    /// # Errors
    /// The kernel has no such maps, or gives them to others alone.
    pub fn new() -> io::Result<Authority> {
        Ok(Authority { apexes: bpf::prefixes(APEXES_MAX)?, open: bpf::values(1)? })
    }

    /// Has all queries go to the ring that the program begins with from now on.
    ///
    /// # Errors
    /// Before Linux 5.19, writing may take privileges that are gone; then it was never open.
    pub fn close(&self) -> io::Result<()> {
        self.set(0)
    }

    /// Has the program refuse what is below none of the apexes.
    ///
    /// # Errors
    /// As with [`Authority::close`].
    pub fn open(&self) -> io::Result<()> {
        self.set(1)
    }

    fn set(&self, open: u8) -> io::Result<()> {
        let mut value = [0; VALUE_LEN];
        value[0] = open;
        bpf::set_value(self.open.as_fd(), 0, &value)
    }

    /// Makes the apexes these, each a name on the wire in any case, from those that `told` says. It has to be closed, and programs that
    /// began before have to be done: see [`wait_for_programs`].
    ///
    /// # Errors
    /// The kernel gives no memory for them; some of the changes are made then, and `told` knows which.
    pub fn tell<'n>(&self, told: &mut Apexes, apexes: impl Iterator<Item = &'n [u8]>) -> io::Result<()> {
        let wanted: HashSet<Prefix> = apexes.map(turned).collect();
        let gone: Vec<Prefix> = told.0.difference(&wanted).copied().collect();
        for prefix in gone {
            bpf::remove_prefix(self.apexes.as_fd(), &prefix)?;
            told.0.remove(&prefix);
        }
        let new: Vec<Prefix> = wanted.difference(&told.0).copied().collect();
        for prefix in new {
            bpf::add_prefix(self.apexes.as_fd(), &prefix)?;
            told.0.insert(prefix);
        }
        Ok(())
    }

    /// The descriptors of the set and of the value that says whether it counts.
    pub(super) fn descriptors(&self) -> (i32, i32) {
        (self.apexes.as_raw_fd(), self.open.as_raw_fd())
    }
}

/// Waits until the programs have ended that run now, some milliseconds.
///
/// # Errors
/// The kernel was built without it.
pub fn wait_for_programs() -> io::Result<()> {
    crate::sys::wait_for_readers()
}

fn turned(name: &[u8]) -> Prefix {
    Prefix::new(name.iter().rev().take(PREFIX_LEN_MAX).map(|octet| octet | CASE))
}
