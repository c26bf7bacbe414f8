//! Record data out of a message, where names may be compressed.

use super::fields::{Field, NameForm, fields};
use super::validate::{RdataError, end_of, validate};
use wire::{NameBuf, RecordType};

/// Appends to `out` the uncompressed data of a record whose data stands at `data_at` to `end` of a message.
///
/// RFC 3597 §4 has receivers decompress the names of the types of RFC 1035, and of some later ones that were once sent
/// compressed. Those are the types whose names the canonical form lowers, but for RRSIG and DNAME, in which nobody
/// compresses; taking a pointer there too harms nothing. In all other types a pointer is an error.
///
/// # Errors
/// When the octets are not valid data of the type; `out` is then as it was.
pub fn from_message(
    rtype: RecordType,
    message: &[u8],
    data_at: usize,
    end: usize,
    out: &mut Vec<u8>,
) -> Result<(), RdataError> {
    let before = out.len();
    let result = append(rtype, message, data_at, end, out).and_then(|()| validate(rtype, &out[before..]));
    if result.is_err() {
        out.truncate(before);
    }
    result
}

fn append(
    rtype: RecordType,
    message: &[u8],
    data_at: usize,
    end: usize,
    out: &mut Vec<u8>,
) -> Result<(), RdataError> {
    let raw = message.get(data_at..end).ok_or(RdataError::Short("the data"))?;
    let is_name = |field: &Field| matches!(field, Field::Name(NameForm::Compressible | NameForm::Lowered));
    let row = fields(rtype).unwrap_or_default();
    // What follows the last name that may be compressed is copied as it is, and checked with the whole.
    let Some(last_name) = row.iter().rposition(is_name) else {
        out.extend_from_slice(raw);
        return Ok(());
    };
    let mut at = 0;
    for field in &row[..=last_name] {
        if is_name(field) {
            // The message up to the record's end: a name may point back, and not run on into the next record.
            let (name, name_end) =
                NameBuf::read_compressed(&message[..end], data_at + at).map_err(|_| RdataError::Name)?;
            out.extend_from_slice(name.as_name().as_wire());
            at = name_end - data_at;
        } else {
            // These fields have a length of their own, whatever the names before them were compressed to.
            let field_end = end_of(*field, raw, at)?;
            out.extend_from_slice(&raw[at..field_end]);
            at = field_end;
        }
    }
    out.extend_from_slice(&raw[at..]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::master::rdata_from_text;
    use wire::Name;

    /// `head` is what a message has before the data; the data ends the message.
    fn read(rtype: RecordType, head: &[u8], data: &[u8]) -> Result<Vec<u8>, RdataError> {
        let message = [head, data].concat();
        let mut out = b"kept".to_vec();
        let result = from_message(rtype, &message, head.len(), message.len(), &mut out);
        assert!(out.starts_with(b"kept"));
        result.map(|()| out.split_off(4))
    }

    fn text(rtype: RecordType, text: &str) -> Vec<u8> {
        rdata_from_text(rtype, text.as_bytes(), Name::ROOT).unwrap()
    }

    #[test]
    fn names_are_decompressed_where_their_type_allows() {
        use RecordType as T;
        let head = b"\x07Example\x00"; // at 0
        let pointer: &[u8] = &[0xc0, 0];
        let soa = [b"\x01a\xc0\x00", pointer, &[0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5]]
            .concat();
        assert_eq!(read(T::SOA, head, &soa), Ok(text(T::SOA, "a.Example. Example. 1 2 3 4 5")));
        assert_eq!(read(T::MX, head, &[&[0, 7], pointer].concat()), Ok(text(T::MX, "7 Example.")));
        let naptr = [b"\0\x01\0\x02\x01s\x01x\0".as_slice(), pointer].concat();
        assert_eq!(read(T::NAPTR, head, &naptr), Ok(text(T::NAPTR, "1 2 s x \"\" Example.")));
        assert_eq!(read(T::A, head, &[192, 0, 2, 1]), Ok(text(T::A, "192.0.2.1")));
        assert_eq!(read(T::HTTPS, head, &[&[0, 0], pointer].concat()), Err(RdataError::Name));
        assert_eq!(read(T::NSEC, head, pointer), Err(RdataError::Name));
        assert_eq!(read(RecordType(65_280), head, pointer), Ok(vec![0xc0, 0]));
    }

    #[test]
    fn data_ends_where_the_record_says() {
        let head = b"\x07Example\x00";
        assert_eq!(read(RecordType::NS, head, b"\x01a"), Err(RdataError::Name), "runs past the record");
        assert_eq!(read(RecordType::NS, head, &[0xc0, 0, 1]), Err(RdataError::Trailing(1)));
        assert_eq!(read(RecordType::NS, head, &[0xc0, 9]), Err(RdataError::Name), "points to itself");
        assert_eq!(
            read(RecordType::A, head, &[1, 2, 3]),
            Err(RdataError::Short("an IPv4 address such as 192.0.2.1"))
        );
        let message = b"\x01a\x00";
        assert!(from_message(RecordType::NS, message, 0, 4, &mut Vec::new()).is_err());
    }

    #[test]
    fn what_the_encoder_of_text_makes_is_read_back() {
        for (rtype, written) in [
            (RecordType::RRSIG, "A 8 1 60 20300101000000 20200101000000 7 A. AAAA"),
            (RecordType::SRV, "1 2 3 A."),
            (RecordType::DNAME, "A."),
            (RecordType::TXT, "a \"b c\""),
            (RecordType::IPSECKEY, "1 3 0 G."),
            (RecordType::A6, "64 ::1 P."),
            (RecordType::HIP, "2 AA AAAA R. S."),
            (RecordType::PX, "1 A. B."),
        ] {
            let data = text(rtype, written);
            assert_eq!(read(rtype, b"", &data), Ok(data), "{rtype}");
        }
    }
}
