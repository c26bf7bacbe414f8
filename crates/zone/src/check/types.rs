//! Lists of record types, and the type bit maps of NSEC and NSEC3 (RFC 4034 §4.1.2).

use std::fmt;
use wire::RecordType;

/// How many types of a list are shown.
const SHOWN_MAX: usize = 8;

/// Record types in a finding.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct TypeList(Vec<RecordType>);

impl TypeList {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The types, ascending.
    pub fn as_slice(&self) -> &[RecordType] {
        &self.0
    }
}

impl fmt::Display for TypeList {
    /// The types with blanks between them; of a long list the first few.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, rtype) in self.0.iter().take(SHOWN_MAX).enumerate() {
            write!(f, "{}{rtype}", if at == 0 { "" } else { " " })?;
        }
        match self.0.len().saturating_sub(SHOWN_MAX) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// The types in a bit map, ascending; ends where the map is malformed.
pub(super) struct Listed<'a> {
    bitmap: &'a [u8],
    window: u16,
    octets: &'a [u8],
    bit: u16,
}

impl<'a> Listed<'a> {
    pub(super) fn new(bitmap: &'a [u8]) -> Listed<'a> {
        Listed { bitmap, window: 0, octets: &[], bit: 0 }
    }
}

impl Iterator for Listed<'_> {
    type Item = RecordType;

    fn next(&mut self) -> Option<RecordType> {
        loop {
            while let Some(octet) = self.octets.get(usize::from(self.bit / 8)) {
                let bit = self.bit;
                self.bit += 1;
                if octet & 0x80 >> (bit % 8) != 0 {
                    return Some(RecordType(self.window | bit));
                }
            }
            let [window, len, rest @ ..] = self.bitmap else { return None };
            // RFC 4034 §4.1.2: 1 to 32 octets.
            if *len > 32 {
                return None;
            }
            (self.octets, self.bitmap) = rest.split_at_checked(usize::from(*len))?;
            (self.window, self.bit) = (u16::from(*window) << 8, 0);
        }
    }
}

/// What a name has and the bit map doesn't list, and the other way around. Both sequences ascend.
pub(super) fn difference(
    present: impl Iterator<Item = RecordType>,
    bitmap: &[u8],
) -> Option<(TypeList, TypeList)> {
    let (mut missing, mut extra) = (TypeList::default(), TypeList::default());
    let mut listed = Listed::new(bitmap).peekable();
    for rtype in present {
        while let Some(other) = listed.next_if(|other| *other < rtype) {
            extra.0.push(other);
        }
        if listed.next_if_eq(&rtype).is_none() {
            missing.0.push(rtype);
        }
    }
    extra.0.extend(listed);
    (!missing.is_empty() || !extra.is_empty()).then_some((missing, extra))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bit map of RFC 4034 §4.3: A MX RRSIG NSEC TYPE1234.
    const BITMAP: [u8; 37] = {
        let mut map = [0; 37];
        let start = [0x00, 0x06, 0x40, 0x01, 0x00, 0x00, 0x00, 0x03, 0x04, 0x1b];
        let mut at = 0;
        while at < start.len() {
            map[at] = start[at];
            at += 1;
        }
        map[36] = 0x20;
        map
    };

    #[test]
    fn types_are_listed() {
        use RecordType as T;
        let types = [T::A, T::MX, T::RRSIG, T::NSEC, RecordType(1234)];
        assert_eq!(Listed::new(&BITMAP).collect::<Vec<_>>(), types);
        assert_eq!(difference(types.into_iter(), &BITMAP), None);
        let (missing, extra) =
            difference([T::A, T::NS, T::MX, T::AAAA, T::RRSIG].into_iter(), &BITMAP).unwrap();
        assert_eq!((missing.to_string(), extra.to_string()), ("NS AAAA".into(), "NSEC TYPE1234".into()));
    }

    #[test]
    fn malformed_maps_end_the_list() {
        assert_eq!(Listed::new(&[0, 33, 255]).count(), 0);
        assert_eq!(Listed::new(&[0, 2, 255]).count(), 0);
        assert_eq!(Listed::new(&[0]).count(), 0);
        assert_eq!(Listed::new(&[0, 1, 0x40, 1]).count(), 1);
        assert_eq!(Listed::new(&[255, 32].into_iter().chain([255; 32]).collect::<Vec<u8>>()).count(), 256);
    }

    #[test]
    fn long_lists_are_shown_in_part() {
        let list = TypeList((1..=10).map(RecordType).collect());
        assert_eq!(list.to_string(), "A NS MD MF CNAME SOA MB MG and 2 more");
    }
}
