//! The name of a question, folded to small letters and with its labels found, ready for lookup.

use crate::name::{LABEL_MAX, NAME_MAX, Name, NameError};

/// Octets that may be read past the end of the name, so that whole words can be loaded at any label.
const SLACK: usize = 17;

/// A name in lower case with the place of each label: what a table lookup works on.
///
/// One value is kept for each query of a batch and filled anew; nothing is cleared in between.
#[derive(Clone)]
// In this order a name of a few labels touches two lines of the cache, of seven.
#[repr(C)]
pub struct FoldedName {
    len: u8,
    label_count: u8,
    offsets: [u8; 128],
    bytes: [u8; NAME_MAX + SLACK],
}

impl Default for FoldedName {
    fn default() -> FoldedName {
        FoldedName { bytes: [0; NAME_MAX + SLACK], offsets: [0; 128], len: 1, label_count: 0 }
    }
}

impl FoldedName {
    /// Reads the uncompressed name that starts at `at` in `message` and returns where it ends.
    ///
    /// A compression pointer is refused: in a question nothing stands before the name that it could point to.
    #[inline]
    pub fn read(&mut self, message: &[u8], at: usize) -> Result<usize, NameError> {
        let text = message.get(at..).ok_or(NameError::Short)?;
        // A name ends within this, or it is too long.
        let within = &text[..text.len().min(NAME_MAX)];
        let (mut end, mut count) = (0, 0);
        let offsets = &mut self.offsets;
        let stop = loop {
            let Some(len) = within.get(end).copied().map(usize::from) else {
                return Err(if end < NAME_MAX { NameError::Short } else { NameError::Long });
            };
            offsets[count & 127] = end as u8;
            if len.wrapping_sub(1) >= LABEL_MAX {
                break len;
            }
            count += 1;
            end += 1 + len;
        };
        if stop != 0 {
            return Err(NameError::Label);
        }
        // The root's octet is noted as the end of the last label. At most 127 labels: the index stays in the array.
        end += 1;
        self.label_count = count as u8;
        self.len = end as u8;
        self.fold(text, end);
        Ok(at + end)
    }

    /// Takes a whole name that is already known to be valid.
    pub fn set(&mut self, name: Name<'_>) {
        // A `Name` is never short, over-long or compressed.
        let read = self.read(name.as_wire(), 0);
        debug_assert_eq!(read, Ok(name.len()));
    }

    /// Reads the name at `at` in a message that this program has written, following compression pointers.
    ///
    /// Pointers must lead backwards, as RFC 1035 §4.1.4 has them, so the walk ends.
    pub fn read_compressed(&mut self, message: &[u8], mut at: usize) -> Result<(), NameError> {
        let mut name = [0u8; NAME_MAX];
        let mut len = 0;
        loop {
            let octet = usize::from(*message.get(at).ok_or(NameError::Short)?);
            if octet >= 0xc0 {
                let low = usize::from(*message.get(at + 1).ok_or(NameError::Short)?);
                let target = (octet & 0x3f) << 8 | low;
                if target >= at {
                    return Err(NameError::Label);
                }
                at = target;
                continue;
            }
            let label = message.get(at..at + 1 + octet).ok_or(NameError::Short)?;
            name.get_mut(len..len + label.len()).ok_or(NameError::Long)?.copy_from_slice(label);
            len += label.len();
            at += label.len();
            if octet == 0 {
                return self.read(&name[..len], 0).map(|_| ());
            }
        }
    }

    /// Takes the name that is the wildcard `*` below the part of `name` from the label `from` on; false where
    /// that would be too long.
    pub fn set_wildcard_below(&mut self, name: &FoldedName, from: usize) -> bool {
        let parent = &name.as_wire()[name.label_start(from)..];
        let mut wildcard = [0u8; NAME_MAX + 2];
        wildcard[..2].copy_from_slice(b"\x01*");
        wildcard[2..2 + parent.len()].copy_from_slice(parent);
        self.read(&wildcard[..2 + parent.len()], 0).is_ok()
    }

    /// Copies `len` octets in lower case, sixteen at a time: length octets are at most 63, below `A`, so
    /// they pass unchanged.
    #[inline]
    fn fold(&mut self, text: &[u8], len: usize) {
        let mut at = 0;
        // Most names have no more than this, and with an OPT record behind them the message has as much.
        if let Some(start) = text.first_chunk::<32>() {
            self.bytes[..32].copy_from_slice(&folded(start));
            at = 32;
        }
        while at < len {
            if let Some(block) = text.get(at..).and_then(|text| text.first_chunk::<16>()) {
                self.bytes[at..at + 16].copy_from_slice(&folded(block));
            } else if let Some(block) = text.last_chunk::<16>() {
                // Near the end of the message the last sixteen octets are taken, some of them once more.
                let start = text.len() - 16;
                self.bytes[start..start + 16].copy_from_slice(&folded(block));
            } else {
                for (to, from) in self.bytes.iter_mut().zip(text) {
                    *to = from.to_ascii_lowercase();
                }
            }
            at += 16;
        }
    }

    /// The name.
    #[inline]
    pub fn as_wire(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The name as a [`Name`].
    pub fn as_name(&self) -> Name<'_> {
        // `read` admits valid names alone; should that ever break, the root is a safe answer.
        Name::from_wire(self.as_wire()).unwrap_or(Name::ROOT)
    }

    /// How many labels, the root's excluded: 0 to 127.
    #[inline]
    pub fn label_count(&self) -> usize {
        usize::from(self.label_count)
    }

    /// Where the label with this index stands, counted from the left; the root's octet for `label_count`. An index
    /// beyond that gives a place somewhere in the name.
    #[inline]
    pub fn label_start(&self, index: usize) -> usize {
        usize::from(self.offsets[index & 127])
    }

    /// Whether the name from `start` on is exactly these octets.
    pub fn is_from(&self, start: usize, octets: &[u8]) -> bool {
        self.bytes.get(start..usize::from(self.len)) == Some(octets)
    }

    /// The octets from the label with this index up to `end`.
    #[inline]
    pub fn slice(&self, start: usize, end: usize) -> &[u8] {
        &self.bytes[start..end]
    }

    /// Eight octets from `at`, as a little-endian word; past the name they are whatever stood there before.
    #[inline]
    pub fn word(&self, at: usize) -> u64 {
        // Every place in a name is below 256; with the mask the compiler sees that the octets are there.
        let at = at & 255;
        let mut word = [0; 8];
        word.copy_from_slice(&self.bytes[at..at + 8]);
        u64::from_le_bytes(word)
    }
}

/// Octets in lower case.
#[inline]
fn folded<const N: usize>(octets: &[u8; N]) -> [u8; N] {
    let mut lower = *octets;
    for octet in &mut lower {
        *octet |= u8::from(octet.wrapping_sub(b'A') < 26) << 5;
    }
    lower
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_and_finds_labels() {
        let mut name = FoldedName::default();
        let message = b"\x03wWw\x07EXAMPLE\x03cOm\x00\x00\x01\x00\x01";
        assert_eq!(name.read(message, 0), Ok(17));
        assert_eq!(name.as_wire(), b"\x03www\x07example\x03com\x00");
        assert_eq!(name.label_count(), 3);
        assert_eq!([0, 1, 2, 3].map(|i| name.label_start(i)), [0, 4, 12, 16]);
        // Exactly at the end of the message, where no whole block can be loaded.
        assert_eq!(name.read(&message[..17], 4), Ok(17));
        assert_eq!(name.as_wire(), b"\x07example\x03com\x00");
        assert_eq!(name.read(b"\x00", 0), Ok(1));
        assert_eq!(name.label_start(0), 0);
    }

    #[test]
    fn refuses_what_is_not_a_name() {
        let mut name = FoldedName::default();
        assert_eq!(name.read(b"\x03ab", 0), Err(NameError::Short));
        assert_eq!(name.read(b"\x02ab", 0), Err(NameError::Short));
        assert_eq!(name.read(b"", 0), Err(NameError::Short));
        assert_eq!(name.read(b"", 1), Err(NameError::Short));
        assert_eq!(name.read(b"\xc0\x0c", 0), Err(NameError::Label));
        assert_eq!(name.read(b"\x40a", 0), Err(NameError::Label));
        let longest: Vec<u8> = [1, b'a'].repeat(127).into_iter().chain([0]).collect();
        assert_eq!(name.read(&longest, 0), Ok(255));
        assert_eq!(name.label_count(), 127);
        let over: Vec<u8> = [1, b'a'].repeat(128).into_iter().chain([0]).collect();
        assert_eq!(name.read(&over, 0), Err(NameError::Long));
        let mut over = longest.clone();
        over[0] = 2;
        over.insert(1, b'a');
        assert_eq!(name.read(&over, 0), Err(NameError::Long));
        // Cut as well as too long: what stands there is already too long, whatever would follow.
        let cut = &[&[1, b'a'].repeat(126), &[50][..]].concat();
        for name in [name.read(cut, 0), Name::split_from(cut).map(|(name, _)| name.len())] {
            assert_eq!(name, Err(NameError::Long));
        }
        let full = [1, b'a'].repeat(127).into_iter().chain([1]).collect::<Vec<u8>>();
        for name in [name.read(&full, 0), Name::split_from(&full).map(|(name, _)| name.len())] {
            assert_eq!(name, Err(NameError::Long));
        }
    }
}
