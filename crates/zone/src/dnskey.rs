//! What DNSKEY data says (RFC 4034 §2).

/// The Zone Key flag (RFC 4034 §2.1.1).
const ZONE_KEY: u16 = 0x0100;
/// The REVOKE flag (RFC 5011 §7): the key signs nothing but its own set.
const REVOKED: u16 = 0x0080;
/// The protocol of every key (RFC 4034 §2.1.2).
const PROTOCOL: u8 = 3;
/// RSA/MD5, whose key tag is computed in its own way (RFC 4034 appendix B.1).
const RSAMD5: u8 = 1;

/// The data of a DNSKEY record.
#[derive(Clone, Copy)]
pub(crate) struct Dnskey<'k> {
    rdata: &'k [u8],
    flags: u16,
    algorithm: u8,
}

impl<'k> Dnskey<'k> {
    /// The key in this data; `None` where it is for another protocol.
    pub(crate) fn read(rdata: &'k [u8]) -> Option<Dnskey<'k>> {
        let [high, low, PROTOCOL, algorithm, ..] = *rdata else { return None };
        Some(Dnskey { rdata, flags: u16::from_be_bytes([high, low]), algorithm })
    }

    /// The algorithm of its signatures.
    pub(crate) fn algorithm(&self) -> u8 {
        self.algorithm
    }

    /// Whether it may sign the zone.
    pub(crate) fn is_of_zone(&self) -> bool {
        self.flags & ZONE_KEY != 0
    }

    /// Whether nobody is to believe it any more.
    pub(crate) fn is_revoked(&self) -> bool {
        self.flags & REVOKED != 0
    }

    /// The public key, in the form of its algorithm.
    pub(crate) fn public(&self) -> &'k [u8] {
        &self.rdata[4..]
    }

    /// The key tag (RFC 4034 appendix B).
    pub(crate) fn tag(&self) -> u16 {
        let rdata = self.rdata;
        if self.algorithm == RSAMD5 {
            return rdata.last_chunk().map_or(0, |[high, low, _]| u16::from_be_bytes([*high, *low]));
        }
        let pairs = rdata.chunks(2);
        let sum: u32 =
            pairs.map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
        (sum.wrapping_add(sum >> 16)) as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::master::rdata_from_text;
    use wire::{Name, RecordType};

    #[test]
    fn the_key_tag_is_that_of_other_programs() {
        // Made by BIND's dnssec-keygen, which names it 14097.
        let key = "256 3 13 XyiZsH58qJpg9ub2nMzwD8pAJlRlMhtgXEX/GrAImwNm893Uf5sDiE9y \
                   Te2y5F/bFkyvIUk0+4sFVTL6K61AgA==";
        let rdata = rdata_from_text(RecordType::DNSKEY, key.as_bytes(), Name::ROOT).unwrap();
        let key = Dnskey::read(&rdata).unwrap();
        assert_eq!(key.tag(), 14097);
        assert!(key.is_of_zone() && !key.is_revoked());
        assert_eq!((key.algorithm(), key.public().len()), (13, 64));
    }
}
