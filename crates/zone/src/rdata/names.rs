//! The names inside record data, and its canonical form.

use super::fields::{Field, NameForm, fields};
use super::validate::end_of;
use wire::{Name, RecordType};

/// A name inside record data.
#[derive(Clone, Copy, Debug)]
pub struct EmbeddedName<'a> {
    /// Where the name starts, in octets from the start of the data.
    pub offset: usize,
    /// The name.
    pub name: Name<'a>,
    /// How compression and the canonical form treat it.
    pub form: NameForm,
}

/// The names inside record data, in their order; see [`names`].
#[derive(Clone, Debug)]
pub struct Names<'a> {
    rdata: &'a [u8],
    at: usize,
    fields: &'static [Field],
}

/// The names inside uncompressed data of `rtype`: none for opaque types; ends at the first malformed field.
pub fn names(rtype: RecordType, rdata: &[u8]) -> Names<'_> {
    Names { rdata, at: 0, fields: fields(rtype).unwrap_or_default() }
}

impl<'a> Iterator for Names<'a> {
    type Item = EmbeddedName<'a>;

    fn next(&mut self) -> Option<EmbeddedName<'a>> {
        while let [field, rest @ ..] = self.fields {
            let start = self.at;
            let Ok(end) = end_of(*field, self.rdata, start) else {
                self.fields = &[];
                return None;
            };
            let (offset, form) = match *field {
                Field::Names if start == end => {
                    self.fields = rest;
                    continue;
                }
                Field::Names => {
                    // One name, and the same field again for those after it.
                    let (name, _) = Name::split_from(&self.rdata[start..]).ok()?;
                    self.at = start + name.len();
                    return Some(EmbeddedName { offset: start, name, form: NameForm::Kept });
                }
                Field::Name(form) => (Some(start), form),
                Field::Gateway => ((self.rdata[1] == 3).then_some(start), NameForm::Kept),
                Field::Relay => ((self.rdata[start] & 0x7f == 3).then_some(start + 1), NameForm::Kept),
                Field::A6 => (a6_name(self.rdata), NameForm::Lowered),
                _ => (None, NameForm::Kept),
            };
            self.at = end;
            self.fields = rest;
            if let Some(offset) = offset {
                let name = Name::from_wire(&self.rdata[offset..end]).ok()?;
                return Some(EmbeddedName { offset, name, form });
            }
        }
        None
    }
}

/// Where the name of valid A6 data starts, if it has one (RFC 2874 §3.1).
fn a6_name(rdata: &[u8]) -> Option<usize> {
    let prefix_len = usize::from(*rdata.first()?);
    (prefix_len > 0).then_some(1 + (128usize.saturating_sub(prefix_len)).div_ceil(8))
}

/// Brings uncompressed data of `rtype` into canonical form: the names of the types of RFC 4034 §6.2, as
/// RFC 6840 §5.1 corrects it, become lower-case.
pub fn to_canonical(rtype: RecordType, rdata: &mut [u8]) {
    let mut at = 0;
    for &field in fields(rtype).unwrap_or_default() {
        let Ok(end) = end_of(field, rdata, at) else { return };
        let start = match field {
            Field::Name(NameForm::Compressible | NameForm::Lowered) => Some(at),
            Field::A6 => a6_name(rdata),
            _ => None,
        };
        if let Some(start) = start {
            // Length octets are at most 63, below `A`.
            rdata[start..end].make_ascii_lowercase();
        }
        at = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::master::rdata_from_text;

    fn check(rtype: RecordType, text: &str, expected: &[(usize, &str, NameForm)], canonical: &str) {
        let mut rdata = rdata_from_text(rtype, text.as_bytes(), Name::ROOT).unwrap();
        let found: Vec<_> =
            names(rtype, &rdata).map(|found| (found.offset, found.name.to_string(), found.form)).collect();
        let expected: Vec<_> =
            expected.iter().map(|(offset, name, form)| (*offset, name.to_string(), *form)).collect();
        assert_eq!(found, expected, "{rtype} {text}");
        to_canonical(rtype, &mut rdata);
        assert_eq!(crate::rdata::display(rtype, &rdata).to_string(), canonical);
    }

    #[test]
    fn names_are_found_and_lowered_as_their_type_says() {
        use NameForm::*;
        use RecordType as T;
        check(T::A, "192.0.2.1", &[], "192.0.2.1");
        check(T::MX, "10 Mail.Example.", &[(2, "Mail.Example.", Compressible)], "10 mail.example.");
        check(
            T::SOA,
            "A. B. 1 2 3 4 5",
            &[(0, "A.", Compressible), (3, "B.", Compressible)],
            "a. b. 1 2 3 4 5",
        );
        check(T::SRV, "1 2 3 A.", &[(6, "A.", Lowered)], "1 2 3 a.");
        check(T::NSEC, "A. NS", &[(0, "A.", Kept)], "A. NS");
        check(T::DNAME, "A.", &[(0, "A.", Lowered)], "a.");
        check(
            T::RRSIG,
            "A 8 1 60 20300101000000 20200101000000 7 A. AAAA",
            &[(18, "A.", Lowered)],
            "A 8 1 60 20300101000000 20200101000000 7 a. AAAA",
        );
        check(T::HTTPS, "1 A. port=53", &[(2, "A.", Kept)], "1 A. port=53");
        check(T::IPSECKEY, "1 3 0 G.", &[(3, "G.", Kept)], "1 3 0 G.");
        check(T::IPSECKEY, "1 1 0 192.0.2.1", &[], "1 1 0 192.0.2.1");
        check(T::AMTRELAY, "1 1 3 G.", &[(2, "G.", Kept)], "1 1 3 G.");
        check(T::HIP, "2 AA AAAA R. S.", &[(8, "R.", Kept), (11, "S.", Kept)], "2 AA AAAA R. S.");
        check(T::A6, "64 ::1 P.", &[(9, "P.", Lowered)], "64 ::1 p.");
        check(RecordType(65280), "\\# 3 014100", &[], "\\# 3 014100");
    }

    #[test]
    fn malformed_data_ends_the_names() {
        assert_eq!(names(RecordType::MX, &[0]).count(), 0);
        assert_eq!(names(RecordType::SOA, &[0, 9]).count(), 1);
        to_canonical(RecordType::SOA, &mut [0, 9]);
        to_canonical(RecordType::A6, &mut [255]);
    }
}
