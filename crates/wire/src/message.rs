//! The header (RFC 1035 §4.1.1), the fixed parts of records and of the OPT record (RFC 6891 §6.1).

/// Octets of the header.
pub const HEADER_LEN: usize = 12;
/// The largest message that a two-octet length can frame (RFC 1035 §4.2.2).
pub const MESSAGE_MAX: usize = 65_535;
/// The largest UDP response to a client that said nothing of EDNS (RFC 1035 §4.2.1).
pub const UDP_PLAIN_MAX: usize = 512;
/// The highest offset that a compression pointer reaches (RFC 1035 §4.1.4).
pub const POINTER_MAX: usize = 0x3fff;
/// The two high bits of a compression pointer.
pub const POINTER: u16 = 0xc000;

/// The message is a response.
pub const QR: u16 = 0x8000;
/// The answer is authoritative.
pub const AA: u16 = 0x0400;
/// The message was cut to what its transport can carry.
pub const TC: u16 = 0x0200;
/// Recursion desired; copied from the query.
pub const RD: u16 = 0x0100;
/// Recursion available.
pub const RA: u16 = 0x0080;
/// Authentic data (RFC 4035 §3.2.3).
pub const AD: u16 = 0x0020;
/// Checking disabled (RFC 4035 §3.2.2).
pub const CD: u16 = 0x0010;
/// The bits of the opcode.
pub const OPCODE_MASK: u16 = 0x7800;

/// Octets of a record between its owner and its data: type, class, TTL, length.
pub const RECORD_FIXED_LEN: usize = 10;
/// Octets of an OPT record without options: the root as owner, and the fixed part.
pub const OPT_LEN: usize = 1 + RECORD_FIXED_LEN;
/// The DO bit in the TTL field of an OPT record (RFC 3225 §3).
pub const DO: u32 = 0x8000;

/// EDNS option codes: those of the IANA registry, and one of our own.
pub mod option {
    /// Name server identifier (RFC 5001).
    pub const NSID: u16 = 3;
    /// The network of whoever the query is for (RFC 7871 §6).
    pub const CLIENT_SUBNET: u16 = 8;
    /// Padding (RFC 7830).
    pub const PADDING: u16 = 12;
    /// Extended DNS error (RFC 8914).
    pub const EDE: u16 = 15;
    /// The version of the zone (RFC 9660 §7.1).
    pub const ZONE_VERSION: u16 = 19;
    /// A probe, see [`crate::probe`]; any code for local use would do (RFC 6891 §9: 65001 to 65534).
    pub const PROBE: u16 = 65_153;
    const _: () = assert!(65_001 <= PROBE && PROBE <= 65_534);
}

/// Extended DNS error codes (RFC 8914 §4).
pub mod ede {
    /// What no other code says; a text should (§4.1).
    pub const OTHER: u16 = 0;
    /// The answer is older than it should be (§4.4).
    pub const STALE_ANSWER: u16 = 3;
    /// The server is not ready to serve (§4.15).
    pub const NOT_READY: u16 = 14;
    /// Whoever asks may not (§4.19).
    pub const PROHIBITED: u16 = 18;
    /// The server is not authoritative for the name (§4.21).
    pub const NOT_AUTHORITATIVE: u16 = 20;
    /// The operation or the query is not supported (§4.22).
    pub const NOT_SUPPORTED: u16 = 21;
    /// The zone's data is not fit to be served (§4.25).
    pub const INVALID_DATA: u16 = 24;
}

/// The 16-bit number at `at`, in network order; `None` past the end.
#[inline]
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes([pair[0], pair[1]]))
}

/// The 32-bit number at `at`, in network order; `None` past the end.
#[inline]
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at + 4)?;
    Some(u32::from_be_bytes([four[0], four[1], four[2], four[3]]))
}

/// Where a possibly compressed name that starts at `at` ends; `None` where it runs past the message.
///
/// The pointer is not followed: for skipping over records only.
pub fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    let start = at;
    loop {
        let len = *message.get(at)?;
        match len {
            0 => return Some(at + 1),
            1..=63 => at += 1 + usize::from(len),
            0xc0.. => return (at + 2 <= message.len()).then_some(at + 2),
            _ => return None,
        }
        if at - start > crate::NAME_MAX {
            return None;
        }
    }
}

/// The fixed part of the record at `at`, and where its data stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordView {
    /// Where the owner starts.
    pub owner_at: usize,
    /// The type.
    pub rtype: crate::RecordType,
    /// The class; the payload size in an OPT record.
    pub class: u16,
    /// The TTL; extended bits and flags in an OPT record.
    pub ttl: u32,
    /// Where the data starts.
    pub data_at: usize,
    /// Where the data ends, and the next record starts.
    pub end: usize,
}

impl RecordView {
    /// Reads the record at `at`; `None` where the message ends before it.
    pub fn read(message: &[u8], at: usize) -> Option<RecordView> {
        let fixed = skip_name(message, at)?;
        let rtype = crate::RecordType(u16_at(message, fixed)?);
        let class = u16_at(message, fixed + 2)?;
        let ttl = u32_at(message, fixed + 4)?;
        let data_at = fixed + RECORD_FIXED_LEN;
        let end = data_at + usize::from(u16_at(message, fixed + 8)?);
        (end <= message.len()).then_some(RecordView { owner_at: at, rtype, class, ttl, data_at, end })
    }
}

/// Where the name at `at` goes on after `labels` of its labels, following compression pointers: an offset that a
/// pointer may name. `None` where the name has fewer labels or is malformed.
pub fn skip_labels(message: &[u8], mut at: usize, mut labels: usize) -> Option<usize> {
    loop {
        let octet = usize::from(*message.get(at)?);
        if octet >= 0xc0 {
            let target = (octet & 0x3f) << 8 | usize::from(*message.get(at + 1)?);
            if target >= at {
                return None;
            }
            at = target;
        } else if labels == 0 {
            return Some(at);
        } else if octet == 0 {
            return None;
        } else {
            at += 1 + octet;
            labels -= 1;
        }
    }
}

/// How many labels the name at `at` has, following compression pointers; 0 where it is malformed.
pub fn label_count(message: &[u8], mut at: usize) -> usize {
    let mut count = 0;
    while let Some(start) = skip_labels(message, at, 0) {
        match message[start] {
            0 => return count,
            len => at = start + 1 + usize::from(len),
        }
        count += 1;
    }
    0
}
