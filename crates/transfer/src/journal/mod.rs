//! The journal of a zone: the differences of its last versions, one behind the other, as octets of a file.
//!
//! ```text
//! heading     STARJRNL, format (u32), serial (u32) and digest (32 octets) of the version it begins at,
//!             length of the apex (u8), apex, checksum (16)
//! frames      length of what follows the checksum (u32), checksum (16),
//!             serials from and to (u32 each), digest of the version it leads to (32), octets of removed records (u32),
//!             records removed, records added: as a RecordList has them
//! ```
//! Numbers are big-endian. A frame's checksum is BLAKE3 over the checksum before it, its length and its content, so a frame is good
//! only behind those that it was written behind. Frames are appended and never changed; who writes a file tears at most
//! the last of them, and [`scan`] finds the end of what is whole. A digest is 32 octets that mean nothing here: whoever writes
//! the journal knows by them whether it leads to what he has.
//!
//! Reading takes memory for one record, or for one difference where that is asked for, whatever the file says.

mod read;

pub use read::{Records, difference, scan};

use std::io;
use wire::Name;
use zone::Difference;

/// The format of files; another one is set aside and begun anew.
const FORMAT: u32 = 1;
const MAGIC: &[u8; 8] = b"STARJRNL";
const CHECKSUM_LEN: usize = 16;
/// Octets of a frame before its content.
const PREFIX_LEN: usize = 4 + CHECKSUM_LEN;
/// Octets of a frame's content before its records.
const FIXED_LEN: usize = 4 + 4 + DIGEST_LEN + 4;
const DIGEST_LEN: usize = 32;

/// The longest content of a frame. A longer difference isn't worth keeping, and a length that was made up
/// is found without reading so far. Four times the default bound of a whole journal.
pub const CONTENT_MAX: usize = 256 << 20;

/// What a frame's goodness hangs on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checksum([u8; CHECKSUM_LEN]);

/// A version of a zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Version {
    /// Its serial.
    pub serial: u32,
    /// What tells it from others with this serial.
    pub digest: [u8; DIGEST_LEN],
}

/// A place in a journal: what is behind it leads on from a version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// Which.
    pub version: Version,
    /// Octets of the file up to here.
    pub at: u64,
    /// The checksum of what is before.
    pub checksum: Checksum,
}

/// Why a journal can't be read on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Damage {
    /// The system refuses.
    #[error("it can't be read: {0}")]
    Unreadable(io::ErrorKind),
    /// It begins with something else.
    #[error("it is no journal of this zone and this format")]
    OtherFile,
    /// It ends within a frame.
    #[error("it ends in the middle of a difference")]
    Torn,
    /// What is there is not what was written.
    #[error("a checksum is wrong")]
    Checksum,
    /// What was written is no difference, or doesn't follow the one before.
    #[error("what it holds is no row of differences")]
    Malformed,
}

/// Why a difference is not written down.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unwritable {
    /// It has more than [`CONTENT_MAX`] octets.
    #[error("the difference is too large")]
    TooLarge,
    /// It begins at another version.
    #[error("the difference doesn't follow the version before")]
    DoesNotFollow,
}

/// The first octets of a journal that begins at a version, and where they end.
pub fn heading(apex: Name<'_>, version: Version) -> (Vec<u8>, Mark) {
    let mut octets = MAGIC.to_vec();
    octets.extend([FORMAT, version.serial].map(u32::to_be_bytes).as_flattened());
    octets.extend(version.digest);
    octets.push(apex.len() as u8); // names have at most 255 octets
    octets.extend(apex.as_wire().iter().map(u8::to_ascii_lowercase));
    let checksum = finished(&start(&octets));
    octets.extend(checksum.0);
    let mark = Mark { version, at: octets.len() as u64, checksum };
    (octets, mark)
}

/// The frame of a difference that leads on from `before` to the version with this digest, and where it ends.
///
/// # Errors
/// It doesn't lead on from there, or is too large.
pub fn frame(
    before: &Mark,
    difference: &Difference,
    digest: [u8; DIGEST_LEN],
) -> Result<(Vec<u8>, Mark), Unwritable> {
    if difference.from != before.version.serial {
        return Err(Unwritable::DoesNotFollow);
    }
    let (removed, added) = (difference.removed.octets(), difference.added.octets());
    let content_len = FIXED_LEN + removed.len() + added.len();
    if content_len > CONTENT_MAX {
        return Err(Unwritable::TooLarge);
    }
    let mut octets = Vec::with_capacity(PREFIX_LEN + content_len);
    octets.extend((content_len as u32).to_be_bytes());
    octets.extend([0; CHECKSUM_LEN]);
    octets.extend([difference.from, difference.to].map(u32::to_be_bytes).as_flattened());
    octets.extend(digest);
    octets.extend((removed.len() as u32).to_be_bytes());
    octets.extend_from_slice(removed);
    octets.extend_from_slice(added);
    let checksum = seal(before.checksum, &mut octets);
    let version = Version { serial: difference.to, digest };
    let mark = Mark { version, at: before.at + octets.len() as u64, checksum };
    Ok((octets, mark))
}

/// Makes a whole frame one that stands behind another; a journal that is written anew without its oldest differences has the
/// frames of the old one.
///
/// # Panics
/// It is shorter than any frame.
pub fn seal(before: Checksum, frame: &mut [u8]) -> Checksum {
    let (prefix, content) = frame.split_at_mut(PREFIX_LEN);
    let (len, place) = prefix.split_at_mut(4);
    let checksum = finished(start(&before.0).update(len).update(content));
    place.copy_from_slice(&checksum.0);
    checksum
}

fn start(octets: &[u8]) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new();
    hasher.update(octets);
    hasher
}

fn finished(hasher: &blake3::Hasher) -> Checksum {
    let mut checksum = [0; CHECKSUM_LEN];
    checksum.copy_from_slice(&hasher.finalize().as_bytes()[..CHECKSUM_LEN]);
    Checksum(checksum)
}

#[cfg(test)]
mod tests;
