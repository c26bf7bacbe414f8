//! The digest of an image's content, BLAKE3, over several threads where the image is large.
//!
//! BLAKE3 is a tree: the input is cut into pieces of a power of two, each gives a chaining value, and what is above
//! them is a few octets.

use crate::format::DIGEST_FROM;
use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root,
};

/// Octets of a piece: small enough to stay in a core's second-level cache while the same octets are walked over.
const PIECE: usize = 1 << 18;

const _: () = assert!(PIECE.is_power_of_two() && PIECE > blake3::CHUNK_LEN);

/// How many pieces the digest of an image is made of.
pub(crate) fn piece_count(image: &[u8]) -> usize {
    image.len().saturating_sub(DIGEST_FROM).div_ceil(PIECE)
}

/// The chaining value of a piece.
pub(crate) fn piece(image: &[u8], index: usize) -> ChainingValue {
    let content = &image[DIGEST_FROM..];
    let start = index * PIECE;
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(start as u64).update(&content[start..content.len().min(start + PIECE)]);
    hasher.finalize_non_root()
}

/// The digest, given the chaining values of all pieces.
pub(crate) fn of_pieces(image: &[u8], pieces: &[ChainingValue]) -> [u8; 32] {
    let content = &image[DIGEST_FROM..];
    if pieces.len() <= 1 {
        return *blake3::hash(content).as_bytes();
    }
    let (left, right) = halves(pieces, content.len());
    *merge_subtrees_root(&left, &right, Mode::Hash).as_bytes()
}

/// The digest of an image.
pub(crate) fn of(image: &[u8], threads: usize) -> [u8; 32] {
    let pieces = crate::parallel::each(piece_count(image), threads, |index| piece(image, index));
    of_pieces(image, &pieces)
}

fn halves(pieces: &[ChainingValue], len: usize) -> (ChainingValue, ChainingValue) {
    let left_len = left_subtree_len(len as u64) as usize;
    let (left, right) = pieces.split_at(left_len / PIECE);
    (subtree(left, left_len), subtree(right, len - left_len))
}

fn subtree(pieces: &[ChainingValue], len: usize) -> ChainingValue {
    if let [piece] = pieces {
        return *piece;
    }
    let (left, right) = halves(pieces, len);
    merge_subtrees_non_root(&left, &right, Mode::Hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_blake3_of_the_content_at_every_length() {
        for pieces in [1, 2, 3, 4, 5, 7, 9] {
            for more in [0, 1, blake3::CHUNK_LEN, PIECE - 1] {
                let image: Vec<u8> =
                    (0..DIGEST_FROM + (pieces - 1) * PIECE + more).map(|i| ((i * 7919) >> 8) as u8).collect();
                let expected = *blake3::hash(&image[DIGEST_FROM..]).as_bytes();
                assert_eq!(of(&image, 1), expected, "{pieces} pieces, {more}");
                assert_eq!(of(&image, 3), expected, "{pieces} pieces, {more}");
            }
        }
    }
}
