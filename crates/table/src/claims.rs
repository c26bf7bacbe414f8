//! What an image says of itself before anybody has looked whether that is so.

use crate::format::{Digest, HEADER_LEN, header, u32_at};
use crate::verify::{self, ImageError};
use wire::{Name, NameBuf};

/// What an image claims to be, by its header alone: for deciding whether it is worth reading. Once a [`Table`](crate::Table)
/// was made of the image, all of it is so.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claims {
    /// The name of the zone, in lower case.
    pub apex: NameBuf,
    /// Its serial.
    pub serial: u32,
    /// Octets of the image.
    pub octets: u64,
    /// The digest of everything that comes after it in the image, but for the stamp of the source.
    pub digest: Digest,
}

impl Claims {
    /// How many octets of an image are read for this: its header.
    pub const HEADER_LEN: usize = HEADER_LEN;

    /// Reads the header of an image, which may have anything or nothing behind it.
    ///
    /// # Errors
    /// It is the header of no image, or of one of another format version.
    pub fn read(image: &[u8]) -> Result<Claims, ImageError> {
        let octets = verify::begin(image)?;
        let apex_len = usize::from(image[header::APEX_LEN]);
        let apex = image.get(header::APEX..header::APEX + apex_len).ok_or(ImageError::Bounds)?;
        let apex = Name::from_wire(apex).map_err(|_| ImageError::Bounds)?;
        let mut digest = [0; 32];
        digest.copy_from_slice(&image[header::DIGEST..header::DIGEST + 32]);
        Ok(Claims {
            apex: apex.into(),
            serial: u32_at(image, header::SERIAL),
            octets,
            digest: Digest(digest),
        })
    }
}
