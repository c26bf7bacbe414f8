//! The rings that an AF_XDP socket shares with the kernel: one side produces, the other consumes.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// What may stand in a ring: plain words, valid whatever the kernel writes.
pub(crate) trait Entry: Copy + Default {}

/// An address in the frame area, in octets.
impl Entry for u64 {}
impl Entry for Descriptor {}

/// A frame that was received or is to be sent: `struct xdp_desc`.
#[derive(Clone, Copy, Default, Debug)]
#[repr(C)]
pub(crate) struct Descriptor {
    /// Where it begins in the frame area, in octets.
    pub(crate) address: u64,
    /// Its length in octets.
    pub(crate) len: u32,
    /// Whether it goes on in the next one, and more; none of it is used here.
    pub(crate) options: u32,
}

const _: () = assert!(size_of::<Descriptor>() == size_of::<libc::xdp_desc>());

/// For memory that is written too.
const WRITABLE: c_int = libc::PROT_READ | libc::PROT_WRITE;

/// Memory mapped for this process, unmapped when dropped.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping belongs to the process and not to a thread, and the value is its only owner.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps a part of a file, shared with whoever else has it.
    pub(super) fn of_file(fd: BorrowedFd<'_>, offset: i64, len: usize) -> io::Result<Mapping> {
        Mapping::map(len, WRITABLE, libc::MAP_SHARED | libc::MAP_POPULATE, fd.as_raw_fd(), offset)
    }

    /// The same, of a part that is only to be read.
    pub(super) fn of_file_to_read(fd: BorrowedFd<'_>, offset: i64, len: usize) -> io::Result<Mapping> {
        Mapping::map(len, libc::PROT_READ, libc::MAP_SHARED | libc::MAP_POPULATE, fd.as_raw_fd(), offset)
    }

    /// Maps zeroed memory of this process alone.
    pub(crate) fn anonymous(len: usize) -> io::Result<Mapping> {
        Mapping::map(len, WRITABLE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
    }

    fn map(len: usize, protection: c_int, flags: c_int, fd: c_int, offset: i64) -> io::Result<Mapping> {
        // SAFETY: without an address the kernel chooses one that nothing else has; whatever `fd` and `offset` are,
        // it refuses what can't be mapped.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, fd, offset) };
        match NonNull::new(start.cast::<u8>()) {
            Some(start) if start.as_ptr().cast() != libc::MAP_FAILED => Ok(Mapping { start, len }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The first octet.
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// How many octets it has.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// A place in the mapping with room for `count` values.
    pub(super) fn place<T>(&self, offset: u64, count: usize) -> io::Result<NonNull<T>> {
        let offset = usize::try_from(offset).ok();
        let end = offset.and_then(|offset| offset.checked_add(size_of::<T>().checked_mul(count)?));
        match (offset, end) {
            (Some(offset), Some(end)) if end <= self.len && offset.is_multiple_of(align_of::<T>()) => {
                // SAFETY: the offset is within the mapping, so the sum is too.
                Ok(unsafe { self.start.add(offset) }.cast())
            }
            _ => Err(io::Error::other("the kernel places a ring outside of its mapping")),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly what was mapped, by its only owner; nothing points there any more, since all that does
        // is kept beside the mapping. A failure would leave it mapped, which harms nobody.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// Where the kernel has put the parts of a ring: `struct xdp_ring_offset`, and where to map it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// The offsets.
    pub(crate) offsets: libc::xdp_ring_offset,
    /// What to map of the socket.
    pub(crate) page_offset: i64,
    /// Entries: a power of two.
    pub(crate) len: u32,
}

/// A ring as both sides see it.
#[derive(Debug)]
struct Shared<T> {
    /// Kept for the pointers below.
    _mapping: Mapping,
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    entries: NonNull<T>,
    mask: u32,
}

// SAFETY: the pointers lead into the mapping, which moves with them and may itself be sent.
unsafe impl<T: Entry + Send> Send for Shared<T> {}

impl<T: Entry> Shared<T> {
    fn map(fd: BorrowedFd<'_>, layout: &Layout) -> io::Result<Shared<T>> {
        let Layout { offsets, page_offset, len } = *layout;
        if !len.is_power_of_two() {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let entries_len = size_of::<T>() as u64 * u64::from(len);
        let bytes = usize::try_from(offsets.desc.saturating_add(entries_len)).unwrap_or(usize::MAX);
        let mapping = Mapping::of_file(fd, page_offset, bytes)?;
        Ok(Shared {
            producer: mapping.place(offsets.producer, 1)?,
            consumer: mapping.place(offsets.consumer, 1)?,
            flags: mapping.place(offsets.flags, 1)?,
            entries: mapping.place(offsets.desc, len as usize)?,
            mask: len - 1,
            _mapping: mapping,
        })
    }

    fn load(&self, word: NonNull<AtomicU32>, ordering: Ordering) -> u32 {
        // SAFETY: `place` found room for it, aligned, in a mapping that is still there; all access is atomic, on both
        // sides.
        unsafe { word.as_ref() }.load(ordering)
    }

    fn store(&self, word: NonNull<AtomicU32>, value: u32) {
        // SAFETY: as in `load`. Release: what was written to or read from the entries comes before.
        unsafe { word.as_ref() }.store(value, Ordering::Release);
    }

    /// Whether the kernel has to be told that there is something for it.
    fn wants_wake_up(&self) -> bool {
        self.load(self.flags, Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }

    fn entry(&self, position: u32) -> NonNull<T> {
        // SAFETY: the mask keeps the position within the entries, for which `place` found room.
        unsafe { self.entries.add((position & self.mask) as usize) }
    }
}

/// The end of a ring at which entries are put in.
#[derive(Debug)]
pub(crate) struct ProducerEnd<T> {
    shared: Shared<T>,
    /// Where the next entry goes.
    next: u32,
    /// Where the kernel was when last looked.
    taken: u32,
}

impl<T: Entry> ProducerEnd<T> {
    /// Maps a ring of a socket, at its beginning.
    pub(crate) fn map(fd: BorrowedFd<'_>, layout: &Layout) -> io::Result<ProducerEnd<T>> {
        Ok(ProducerEnd { shared: Shared::map(fd, layout)?, next: 0, taken: 0 })
    }

    /// For how many entries there is room; looks again when that seems to be fewer than `wanted`.
    pub(crate) fn room(&mut self, wanted: u32) -> u32 {
        let len = self.shared.mask + 1;
        let room = |taken: u32| len.saturating_sub(self.next.wrapping_sub(taken));
        if room(self.taken) < wanted {
            self.taken = self.shared.load(self.shared.consumer, Ordering::Acquire);
        }
        room(self.taken)
    }

    /// Puts an entry in, for the kernel to see after [`ProducerEnd::submit`]; there has to be room for it.
    pub(crate) fn put(&mut self, entry: T) {
        // SAFETY: a place in the mapping that the kernel doesn't read before `submit`. Were there no room, an
        // entry would be lost, and none would be invalid.
        unsafe { self.shared.entry(self.next).write(entry) };
        self.next = self.next.wrapping_add(1);
    }

    /// Shows the kernel what was put in.
    pub(crate) fn submit(&self) {
        self.shared.store(self.shared.producer, self.next);
    }

    /// How many entries the kernel has not taken yet.
    pub(crate) fn pending(&mut self) -> u32 {
        self.taken = self.shared.load(self.shared.consumer, Ordering::Acquire);
        self.next.wrapping_sub(self.taken)
    }

    /// Whether the kernel has to be told that there is something for it.
    pub(crate) fn wants_wake_up(&self) -> bool {
        self.shared.wants_wake_up()
    }
}

/// The end of a ring at which entries are taken out.
#[derive(Debug)]
pub(crate) struct ConsumerEnd<T> {
    shared: Shared<T>,
    /// The next entry to take.
    next: u32,
    /// Where the kernel was when last looked.
    filled: u32,
}

impl<T: Entry> ConsumerEnd<T> {
    /// Maps a ring of a socket, at its beginning.
    pub(crate) fn map(fd: BorrowedFd<'_>, layout: &Layout) -> io::Result<ConsumerEnd<T>> {
        Ok(ConsumerEnd { shared: Shared::map(fd, layout)?, next: 0, filled: 0 })
    }

    /// How many entries wait; never more than the ring has.
    pub(crate) fn waiting(&mut self) -> u32 {
        self.filled = self.shared.load(self.shared.producer, Ordering::Acquire);
        self.filled.wrapping_sub(self.next).min(self.shared.mask + 1)
    }

    /// Takes an entry; one of those that were [`ConsumerEnd::waiting`].
    pub(crate) fn take(&mut self) -> T {
        // SAFETY: a place in the mapping with a plain value, whatever the kernel has written; it writes there again
        // only after `release`.
        let entry = unsafe { self.shared.entry(self.next).read() };
        self.next = self.next.wrapping_add(1);
        entry
    }

    /// Gives the places of what was taken back to the kernel.
    pub(crate) fn release(&self) {
        self.shared.store(self.shared.consumer, self.next);
    }
}
