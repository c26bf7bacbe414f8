//! The hash of a name: SipHash-1-3 over its labels from the apex outward.
//!
//! Each label, with its length octet, is padded with zeros to whole words. Absorbing from the right means
//! that the state on the way is the state of each ancestor, so the walk to the closest encloser hashes
//! every label once. Because each label starts with its length, different names are different strings of
//! words and the length block that ends ordinary SipHash input adds nothing; it is left out.

use crate::format::{header, u64_at};
use wire::FoldedName;

/// The key of an image's hash, made from the image's content; that of an overlay mostly is that of its base.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Key {
    pub(crate) k0: u64,
    pub(crate) k1: u64,
}

impl Key {
    /// That of an image.
    pub(crate) fn of(image: &[u8]) -> Key {
        Key { k0: u64_at(image, header::KEY0), k1: u64_at(image, header::KEY1) }
    }
}

/// The state after some labels.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct State {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
}

impl State {
    #[inline]
    pub(crate) fn new(key: Key) -> State {
        State {
            v0: key.k0 ^ 0x736f_6d65_7073_6575,
            v1: key.k1 ^ 0x646f_7261_6e64_6f6d,
            v2: key.k0 ^ 0x6c79_6765_6e65_7261,
            v3: key.k1 ^ 0x7465_6462_7974_6573,
        }
    }

    #[inline]
    fn round(&mut self) {
        self.v0 = self.v0.wrapping_add(self.v1);
        self.v2 = self.v2.wrapping_add(self.v3);
        self.v1 = self.v1.rotate_left(13) ^ self.v0;
        self.v3 = self.v3.rotate_left(16) ^ self.v2;
        self.v0 = self.v0.rotate_left(32);
        self.v2 = self.v2.wrapping_add(self.v1);
        self.v0 = self.v0.wrapping_add(self.v3);
        self.v1 = self.v1.rotate_left(17) ^ self.v2;
        self.v3 = self.v3.rotate_left(21) ^ self.v0;
        self.v2 = self.v2.rotate_left(32);
    }

    #[inline]
    fn absorb(&mut self, word: u64) {
        self.v3 ^= word;
        self.round();
        self.v0 ^= word;
    }

    /// Takes in the label that starts at `start` and ends at `end`, its length octet included.
    #[inline]
    pub(crate) fn absorb_label(&mut self, name: &FoldedName, start: usize, end: usize) {
        let mut at = start;
        while at + 8 < end {
            self.absorb(name.word(at));
            at += 8;
        }
        // 1 to 8 octets are left; what stands behind them in the buffer is masked away.
        let spare_bits = 8 * (at + 8 - end) as u32;
        self.absorb(name.word(at) & (u64::MAX >> spare_bits));
    }

    /// The hash of the labels taken in so far.
    #[inline]
    pub(crate) fn finish(mut self) -> u64 {
        self.v2 ^= 0xff;
        self.round();
        self.round();
        self.round();
        self.v0 ^ self.v1 ^ self.v2 ^ self.v3
    }

    /// Takes in the labels with the indexes `from..to`, from the right.
    #[inline]
    pub(crate) fn absorb_labels(&mut self, name: &FoldedName, from: usize, to: usize) {
        let mut end = name.label_start(to);
        for index in (from..to).rev() {
            let start = name.label_start(index);
            self.absorb_label(name, start, end);
            end = start;
        }
    }
}

/// Which bucket a hash belongs to.
#[inline]
pub(crate) fn bucket(hash: u64, buckets: u32) -> u32 {
    (((hash >> 32) * u64::from(buckets)) >> 32) as u32
}

/// The tag of a hash in its bucket: never 0, which marks an empty slot.
#[inline]
pub(crate) fn tag(hash: u64) -> u8 {
    (((hash & 0xff) * 255) >> 8) as u8 + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use siphasher::sip::SipHasher13;
    use std::hash::Hasher;

    #[test]
    fn is_siphash_1_3_of_the_padded_labels() {
        let key = Key { k0: 0x0706_0504_0302_0100, k1: 0x0f0e_0d0c_0b0a_0908 };
        for text in [
            "www.example.",
            "a.",
            "host12345.",
            "sevenxx.eightxxx.",
            "a-label-of-more-than-sixteen-octets.b.",
        ] {
            let name = wire::NameBuf::from_text(text.as_bytes(), None).unwrap();
            let mut folded = FoldedName::default();
            folded.set(name.as_name());
            let mut state = State::new(key);
            state.absorb_labels(&folded, 0, folded.label_count());
            let labels: Vec<&[u8]> = name.as_name().labels().collect();
            let mut padded = Vec::new();
            for label in labels.iter().rev() {
                padded.push(label.len() as u8);
                padded.extend_from_slice(label);
                padded.resize(padded.len().next_multiple_of(8), 0);
            }
            let mut oracle = SipHasher13::new_with_keys(key.k0, key.k1);
            oracle.write(&padded);
            // The oracle ends with the length block; ours gets it as one more word.
            state.absorb((padded.len() as u64) << 56);
            assert_eq!(state.finish(), oracle.finish(), "{text}");
        }
    }

    #[test]
    fn tags_are_never_zero() {
        assert!((0..=255).all(|hash| tag(hash) != 0));
        assert!(bucket(u64::MAX, 7) == 6);
    }
}
