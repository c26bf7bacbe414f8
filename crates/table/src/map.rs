//! The octets of an image: a mapped file or anonymous memory. The only `unsafe` of this crate is here.
#![expect(unsafe_code, reason = "a file can only be mapped, and memory asked for ahead, by unsafe calls")]

use memmap2::{Advice, Mmap, MmapMut};
use std::fs::File;
use std::io;

/// Images from this size on are put into 2 MiB pages where the kernel has them: below it they fit into caches
/// and TLBs anyway, and a page would be mostly empty. A query on 10 million hosts takes a fifth to a third less.
///
/// That goes for files too, where the file system keeps large folios: ext4 from Linux 6.16 on, XFS before that. A file
/// written by one call lies in such pages from the beginning. One that has to be read from the disk gets them by this
/// advice: 51 of 51 MiB of a table of a million hosts, and without it 10; with `WillNeed` besides, which reads ahead in
/// smaller pieces, 42, and it is there no sooner. A copy in anonymous memory would have them on older kernels as well,
/// but takes a quarter of a second for 10 million hosts, and an upgrade would hold every table twice.
const HUGE_PAGES_FROM: usize = 8 << 20;

/// The octets of an image, read-only from now on.
pub struct Backing {
    map: Mmap,
}

impl Backing {
    /// Anonymous memory of `len` octets, filled by `fill`.
    ///
    /// # Errors
    /// When the kernel gives no memory of that size.
    pub fn filled(len: usize, fill: impl FnOnce(&mut [u8])) -> io::Result<Backing> {
        let mut map = MmapMut::map_anon(len.max(1))?;
        if len >= HUGE_PAGES_FROM {
            // A kernel without huge pages serves as well, a little slower.
            let _refused = map.advise(Advice::HugePage);
        }
        fill(&mut map[..len]);
        Ok(Backing { map: map.make_read_only()? })
    }

    /// Maps a file.
    ///
    /// # Errors
    /// When the file can't be mapped.
    pub fn mapped(file: &File) -> io::Result<Backing> {
        // SAFETY: the octets of a mapping must not change while they are borrowed. Image files are written under
        // a temporary name, synced and renamed, and never changed in place; they lie in a directory that only
        // the node's user may write to. Truncating one by hand would end the process with SIGBUS, upon which
        // the route goes away as with any other death of the process.
        let map = unsafe { Mmap::map(file) }?;
        if map.len() >= HUGE_PAGES_FROM {
            // Nor is this any more than a wish: see `HUGE_PAGES_FROM`.
            let _refused = map.advise(Advice::HugePage);
        } else {
            map.advise(Advice::WillNeed)?;
        }
        Ok(Backing { map })
    }

    /// Asks for the line of the cache at this offset, without waiting for it. Any offset will do; on processors other than
    /// x86-64 nothing happens.
    #[inline]
    pub(crate) fn prefetch(&self, at: usize) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let line = self.map.as_ptr().wrapping_add(at).cast::<i8>();
            // SAFETY: the call needs SSE, which every x86-64 processor has, and nothing of the address: a prefetch of one
            // that isn't mapped does nothing. Safe code has no way to ask for memory ahead; what that is worth stands in
            // the history of `nameserver::batch`.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(line) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = at;
    }

    /// The octets.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_mapped_file_has_its_octets_whatever_its_size() {
        for len in [1, HUGE_PAGES_FROM - 1, HUGE_PAGES_FROM + 4097] {
            let octets: Vec<u8> = (0..len).map(|i| ((i * 7919) >> 8) as u8).collect();
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&octets).unwrap();
            assert!(Backing::mapped(&file).unwrap().bytes() == octets, "{len} octets");
            let filled = Backing::filled(len, |to| to.copy_from_slice(&octets)).unwrap();
            assert!(filled.bytes() == octets, "{len} octets");
            // Asking for what isn't there is nothing.
            [0, len, usize::MAX].into_iter().for_each(|at| filled.prefetch(at));
        }
    }
}
