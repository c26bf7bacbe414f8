//! The labels and groups of members, which are octets, as text; and labels that all nodes agree on.

use super::{LABEL_LEN, ZoneName};
use std::fmt;

/// The label of a zone in a catalog that is made here: a hash of its name, so that restarts and other nodes make the same.
pub fn label_of(zone: &ZoneName) -> [u8; LABEL_LEN] {
    let mut hasher = blake3::Hasher::new_derive_key("Starling: the label of a member of a catalog zone");
    hasher.update(zone.as_name().as_wire());
    let hex = hasher.finalize().to_hex();
    let mut label = [0; LABEL_LEN];
    label.copy_from_slice(&hex.as_bytes()[..LABEL_LEN]);
    label
}

/// Octets as text: what is not printable as `\DDD`.
#[derive(Clone, Copy, Debug)]
pub struct GroupText<'a>(pub &'a [u8]);

impl fmt::Display for GroupText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| match octet {
            b'\\' => f.write_str("\\\\"),
            b' '..=b'~' => write!(f, "{}", char::from(*octet)),
            _ => write!(f, "\\{octet:03}"),
        })
    }
}
