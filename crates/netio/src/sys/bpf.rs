//! bpf(2): maps, programs, links, a run of a program on a frame of ours, one over all TCP sockets, and one at a place in the kernel.
//!
//! Each attribute is the beginning of the kernel's `union bpf_attr` that the command reads; what an older kernel
//! does not know is refused by it unless it is zero.

use std::ffi::{c_int, c_long};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// One instruction of the machine that the kernel runs programs on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub(crate) struct Instruction {
    /// The operation.
    pub(crate) code: u8,
    /// The destination in the low half, the source in the high one.
    pub(crate) registers: u8,
    /// Of a jump or a memory access.
    pub(crate) offset: i16,
    /// The constant.
    pub(crate) immediate: i32,
}

const _: () = assert!(size_of::<Instruction>() == 8);

const MAP_CREATE: c_int = 0;
const MAP_LOOKUP_ELEM: c_int = 1;
const MAP_UPDATE_ELEM: c_int = 2;
const MAP_DELETE_ELEM: c_int = 3;
const PROG_LOAD: c_int = 5;
const PROG_TEST_RUN: c_int = 10;
const LINK_CREATE: c_int = 28;
const ITER_CREATE: c_int = 33;

/// `BPF_MAP_TYPE_ARRAY`.
const TYPE_ARRAY: u32 = 2;
/// `BPF_MAP_TYPE_PERCPU_ARRAY`.
const TYPE_PERCPU_ARRAY: u32 = 6;
/// `BPF_MAP_TYPE_LRU_HASH`.
const TYPE_RECENT: u32 = 9;
/// `BPF_MAP_TYPE_RINGBUF`.
const TYPE_RINGBUF: u32 = 27;
/// `BPF_MAP_TYPE_LPM_TRIE`.
const TYPE_PREFIXES: u32 = 11;
/// `BPF_MAP_TYPE_XSKMAP`.
const TYPE_XSKMAP: u32 = 17;
/// `BPF_PROG_TYPE_XDP`.
const TYPE_XDP: u32 = 6;
/// `BPF_PROG_TYPE_TRACING`.
const TYPE_TRACING: u32 = 26;
/// `BPF_XDP`, the place where such a program is attached.
const ATTACH_XDP: u32 = 37;
/// `BPF_TRACE_RAW_TP`: the program is called each time the kernel comes by a place.
const ATTACH_TRACEPOINT: u32 = 23;
/// `BPF_TRACE_ITER`: the program is called for each object of a kind.
const ATTACH_ITERATOR: u32 = 28;
/// Elements of a map take memory when they come (`BPF_F_NO_PREALLOC`).
const NO_PREALLOC: u32 = 1;
/// The program knows frames of several buffers (`BPF_F_XDP_HAS_FRAGS`, Linux 5.18).
const HAS_FRAGS: u32 = 1 << 5;
/// What the program returns is done to the frame (`BPF_F_TEST_XDP_LIVE_FRAMES`, Linux 5.18).
const LIVE_FRAMES: u32 = 1 << 1;
/// Octets of a program's name, the closing zero included.
const NAME_LEN: usize = 16;
/// Octets for what the verifier says about a program that it refuses.
const LOG_LEN: usize = 1 << 16;

/// What a program is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    /// Frames that an interface receives.
    Xdp,
    /// Each object of a kind.
    Iterator {
        /// The function of the kernel that stands for the kind, by its number among the kernel's types.
        function: u32,
    },
    /// Each time that the kernel comes by a place.
    Tracepoint {
        /// What the place is called with, by its number among the kernel's types.
        place: u32,
    },
}

/// Calls bpf(2).
fn bpf<T>(command: c_int, attribute: &mut T) -> io::Result<c_int> {
    // SAFETY: the pointer is to a live attribute of the stated size, whose own pointers each caller has made of
    // live buffers with their lengths. The kernel reads the attribute and writes only through those pointers
    // and, for a test run, to the fields of the attribute that are results; every bit pattern is valid in them.
    let returned: c_long = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attribute), size_of::<T>() as libc::c_uint)
    };
    c_int::try_from(returned).ok().filter(|value| *value >= 0).ok_or_else(io::Error::last_os_error)
}

fn owned(descriptor: c_int) -> OwnedFd {
    // SAFETY: the kernel just gave us this descriptor, closed on exec, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

/// What a map is made of.
#[repr(C)]
struct MapAttribute {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
}

/// A value of a map.
#[repr(C)]
struct ElementAttribute {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

impl ElementAttribute {
    /// A key of a map, and where its value is, if the command has one.
    fn new<K>(map: BorrowedFd<'_>, key: &K, value: u64) -> ElementAttribute {
        let map = map.as_raw_fd() as u32; // never negative
        ElementAttribute { map, padding: 0, key: address_of(key), value, flags: 0 }
    }
}

/// A map from receive queues to AF_XDP sockets, empty.
pub(crate) fn socket_map(queues: u32) -> io::Result<OwnedFd> {
    let word = size_of::<u32>() as u32;
    let mut attribute = MapAttribute {
        map_type: TYPE_XSKMAP,
        key_size: word,
        value_size: word,
        max_entries: queues,
        flags: 0,
    };
    bpf(MAP_CREATE, &mut attribute).map(owned)
}

/// A map with one value of so many octets for each CPU, zero at first.
pub(crate) fn per_cpu_value(len: usize) -> io::Result<OwnedFd> {
    array(TYPE_PERCPU_ARRAY, len, 1)
}

/// Octets of a value of [`values`]: a line of a cache, so that no two share one.
pub(crate) const VALUE_LEN: usize = 64;

/// A map with `count` values of [`VALUE_LEN`] octets, zero at first.
pub(crate) fn values(count: u32) -> io::Result<OwnedFd> {
    array(TYPE_ARRAY, VALUE_LEN, count)
}

fn array(map_type: u32, len: usize, count: u32) -> io::Result<OwnedFd> {
    let mut attribute = MapAttribute {
        map_type,
        key_size: size_of::<u32>() as u32,
        value_size: len as u32,
        max_entries: count,
        flags: 0,
    };
    bpf(MAP_CREATE, &mut attribute).map(owned)
}

/// A ring that programs write into, of so many octets: a power of two of pages.
pub(crate) fn ring(len: usize) -> io::Result<OwnedFd> {
    let mut attribute = MapAttribute {
        map_type: TYPE_RINGBUF,
        key_size: 0,
        value_size: 0,
        max_entries: u32::try_from(len).map_err(io::Error::other)?,
        flags: 0,
    };
    bpf(MAP_CREATE, &mut attribute).map(owned)
}

/// One of the values of a map that [`values`] made. It takes no privileges from Linux 5.19 on.
pub(crate) fn value(map: BorrowedFd<'_>, key: u32) -> io::Result<[u8; VALUE_LEN]> {
    let mut value = [0u8; VALUE_LEN];
    let mut attribute = ElementAttribute::new(map, &key, value.as_mut_ptr().expose_provenance() as u64);
    bpf(MAP_LOOKUP_ELEM, &mut attribute)?;
    Ok(value)
}

/// Stores one of the values of a map that [`values`] made. It takes no privileges from Linux 5.19 on, and no memory.
pub(crate) fn set_value(map: BorrowedFd<'_>, key: u32, value: &[u8; VALUE_LEN]) -> io::Result<()> {
    let mut attribute = ElementAttribute::new(map, &key, address_of(value));
    bpf(MAP_UPDATE_ELEM, &mut attribute).map(drop)
}

/// Octets of a prefix, at most.
pub(crate) const PREFIX_LEN_MAX: usize = 64;

/// Some octets that others may begin with, as a map of prefixes has them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(C)]
pub(crate) struct Prefix {
    bits: u32,
    octets: [u8; PREFIX_LEN_MAX],
}

impl Prefix {
    /// These octets; not more of them than fit.
    pub(crate) fn new(octets: impl Iterator<Item = u8>) -> Prefix {
        let mut prefix = Prefix { bits: 0, octets: [0; PREFIX_LEN_MAX] };
        for (to, octet) in prefix.octets.iter_mut().zip(octets) {
            *to = octet;
            prefix.bits += 8;
        }
        prefix
    }
}

/// A set of at most so many prefixes, empty at first. A program asks it whether octets begin with one of them.
pub(crate) fn prefixes(max: u32) -> io::Result<OwnedFd> {
    let mut attribute = MapAttribute {
        map_type: TYPE_PREFIXES,
        key_size: size_of::<Prefix>() as u32,
        value_size: 1,
        max_entries: max,
        flags: NO_PREALLOC,
    };
    bpf(MAP_CREATE, &mut attribute).map(owned)
}

/// Puts a prefix into a set.
pub(crate) fn add_prefix(set: BorrowedFd<'_>, prefix: &Prefix) -> io::Result<()> {
    prefix_element(MAP_UPDATE_ELEM, set, prefix)
}

/// Takes a prefix out of a set that has it.
pub(crate) fn remove_prefix(set: BorrowedFd<'_>, prefix: &Prefix) -> io::Result<()> {
    prefix_element(MAP_DELETE_ELEM, set, prefix)
}

fn prefix_element(command: c_int, set: BorrowedFd<'_>, prefix: &Prefix) -> io::Result<()> {
    let value = 1u8;
    let value = if command == MAP_UPDATE_ELEM { address_of(&value) } else { 0 };
    let mut attribute = ElementAttribute::new(set, prefix, value);
    bpf(command, &mut attribute).map(drop)
}

/// A map with a number for each of some keys of two, empty at first. Those that were not asked for the longest make room for others
/// when there are so many.
pub(crate) fn recent(max: u32) -> io::Result<OwnedFd> {
    let mut attribute = MapAttribute {
        map_type: TYPE_RECENT,
        key_size: size_of::<[u64; 2]>() as u32,
        value_size: size_of::<u64>() as u32,
        max_entries: max,
        flags: 0,
    };
    bpf(MAP_CREATE, &mut attribute).map(owned)
}

/// Stores the number of a key in a map that [`recent`] made.
pub(crate) fn set_recent(map: BorrowedFd<'_>, key: &[u64; 2], value: u64) -> io::Result<()> {
    let mut attribute = ElementAttribute::new(map, key, address_of(&value));
    bpf(MAP_UPDATE_ELEM, &mut attribute).map(drop)
}

/// Puts a socket into the map.
pub(crate) fn set_socket(map: BorrowedFd<'_>, queue: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
    let descriptor = socket.as_raw_fd() as u32; // never negative
    let mut attribute = ElementAttribute::new(map, &queue, address_of(&descriptor));
    bpf(MAP_UPDATE_ELEM, &mut attribute).map(drop)
}

/// Loads a program; a refusal carries the verifier's last words.
pub(crate) fn load(name: &str, purpose: Purpose, instructions: &[Instruction]) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attribute {
        program_type: u32,
        instruction_count: u32,
        instructions: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log: u64,
        kernel_version: u32,
        flags: u32,
        name: [u8; NAME_LEN],
        interface: u32,
        attach_type: u32,
        types: u32,
        function_record_size: u32,
        functions: u64,
        function_count: u32,
        line_record_size: u32,
        lines: u64,
        line_count: u32,
        attach_function: u32,
        attach_program: u32,
        padding: u32,
    }
    let (program_type, attach_type, flags, attach_function) = match purpose {
        Purpose::Xdp => (TYPE_XDP, ATTACH_XDP, HAS_FRAGS, 0),
        Purpose::Iterator { function } => (TYPE_TRACING, ATTACH_ITERATOR, 0, function),
        Purpose::Tracepoint { place } => (TYPE_TRACING, ATTACH_TRACEPOINT, 0, place),
    };
    let mut log = vec![0u8; LOG_LEN];
    // Some of the kernel's functions are for programs that may be had under the GPL. These may: the MIT licence, one of the
    // two of this code, allows it.
    let license = c"Dual MIT/GPL";
    let mut padded = [0; NAME_LEN];
    padded.iter_mut().zip(name.bytes().take(NAME_LEN - 1)).for_each(|(to, from)| *to = from);
    let mut attribute = Attribute {
        program_type,
        instruction_count: instructions.len() as u32,
        instructions: instructions.as_ptr().expose_provenance() as u64,
        license: license.as_ptr().expose_provenance() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags,
        name: padded,
        interface: 0,
        attach_type,
        types: 0,
        function_record_size: 0,
        functions: 0,
        function_count: 0,
        line_record_size: 0,
        lines: 0,
        line_count: 0,
        attach_function,
        attach_program: 0,
        padding: 0,
    };
    let refused = match bpf(PROG_LOAD, &mut attribute) {
        Ok(descriptor) => return Ok(owned(descriptor)),
        Err(error) => error,
    };
    // Once more for the reasons; a log that is too small is an error of its own.
    attribute.log_level = 1;
    attribute.log_size = LOG_LEN as u32;
    attribute.log = log.as_mut_ptr().expose_provenance() as u64;
    if let Ok(descriptor) = bpf(PROG_LOAD, &mut attribute) {
        return Ok(owned(descriptor));
    }
    let text = String::from_utf8_lossy(&log);
    let words: Vec<&str> = text.trim_end_matches('\0').lines().rev().take(3).collect();
    if words.is_empty() {
        return Err(refused);
    }
    Err(io::Error::new(refused.kind(), format!("{refused}: {}", words.join("; "))))
}

/// Attaches a program to an interface for as long as the descriptor is open.
pub(crate) fn attach(program: BorrowedFd<'_>, interface: u32, flags: u32) -> io::Result<OwnedFd> {
    link(program, interface, ATTACH_XDP, flags)
}

/// Makes an iterator of a program, from which runs are started as long as the descriptor is open.
pub(crate) fn iterator(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    link(program, 0, ATTACH_ITERATOR, 0)
}

/// Has a program called at its place for as long as the descriptor is open.
pub(crate) fn attach_tracepoint(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    link(program, 0, ATTACH_TRACEPOINT, 0)
}

fn link(program: BorrowedFd<'_>, target: u32, attach_type: u32, flags: u32) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attribute {
        program: u32,
        target: u32,
        attach_type: u32,
        flags: u32,
    }
    let mut attribute = Attribute { program: program.as_raw_fd() as u32, target, attach_type, flags };
    bpf(LINK_CREATE, &mut attribute).map(owned)
}

/// Prepares a run of an iterator, in the caller's network namespace. The program runs while the descriptor is read, which
/// gives what it writes.
///
/// This takes no capability from Linux 5.19 on, only the descriptor.
pub(crate) fn run_of(iterator: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attribute {
        link: u32,
        flags: u32,
    }
    let mut attribute = Attribute { link: iterator.as_raw_fd() as u32, flags: 0 };
    bpf(ITER_CREATE, &mut attribute).map(owned)
}

/// What a program is to be run on, by the kernel's own call for that.
#[repr(C)]
#[derive(Default)]
struct Trial {
    program: u32,
    returned: u32,
    data_in_size: u32,
    data_out_size: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context_in_size: u32,
    context_out_size: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    padding: u32,
}

impl Trial {
    fn of(program: BorrowedFd<'_>, frame: &[u8]) -> Trial {
        Trial {
            program: program.as_raw_fd() as u32,
            data_in_size: frame.len() as u32,
            data_in: frame.as_ptr().expose_provenance() as u64,
            repeat: 1,
            ..Trial::default()
        }
    }
}

/// Runs a program on a frame as if the queue of the interface had received it, and does what it returns.
pub(crate) fn run_live(program: BorrowedFd<'_>, frame: &[u8], interface: u32, queue: u32) -> io::Result<()> {
    /// `struct xdp_md`.
    #[repr(C)]
    struct Context {
        data: u32,
        data_end: u32,
        data_meta: u32,
        interface: u32,
        queue: u32,
        egress: u32,
    }
    let len = frame.len() as u32;
    let context = Context { data: 0, data_end: len, data_meta: 0, interface, queue, egress: 0 };
    let mut trial = Trial {
        context_in_size: size_of::<Context>() as u32,
        context_in: address_of(&context),
        flags: LIVE_FRAMES,
        ..Trial::of(program, frame)
    };
    bpf(PROG_TEST_RUN, &mut trial).map(drop)
}

fn address_of<T>(value: &T) -> u64 {
    std::ptr::from_ref(value).expose_provenance() as u64
}

/// Runs a program on a frame that nobody received; what it returned, and what it made of the frame.
#[cfg(test)]
pub(crate) fn run(program: BorrowedFd<'_>, frame: &[u8]) -> io::Result<(u32, Vec<u8>)> {
    let mut made = vec![0u8; frame.len() + 256];
    let mut trial = Trial {
        data_out_size: made.len() as u32,
        data_out: made.as_mut_ptr().expose_provenance() as u64,
        ..Trial::of(program, frame)
    };
    bpf(PROG_TEST_RUN, &mut trial)?;
    made.truncate(trial.data_out_size as usize);
    Ok((trial.returned, made))
}
