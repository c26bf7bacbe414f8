//! Queries as dnsperf reads them: a name and a type on each line; empty lines and those that begin with `;` are passed
//! over.

use anyhow::{Context, bail};
use std::fmt::Write as _;
use std::path::Path;
use wire::{Class, Name, NameBuf, RecordType};

/// How many bad lines are told: with more of them the file is another kind of file.
const TOLD_MAX: usize = 20;

/// What the OPT record of a query says (RFC 6891 §6.1.2).
#[derive(Clone, Copy)]
pub(super) struct Opt {
    /// The largest response over UDP that the client takes.
    pub(super) udp_size: u16,
    /// The client wants DNSSEC records.
    pub(super) dnssec_ok: bool,
}

/// Queries in wire form, one after the other.
#[derive(Default)]
pub(super) struct Queries {
    octets: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

impl Queries {
    /// Reads a file.
    ///
    /// # Errors
    /// It can't be read, has no queries, or has lines that are none; these with file and line.
    pub(super) fn read(file: &Path, opt: Option<Opt>) -> anyhow::Result<Queries> {
        let shown = file.display();
        let text = std::fs::read(file).with_context(|| format!("cannot read {shown}"))?;
        let mut queries = Queries::default();
        let mut faults = String::new();
        let mut fault_count = 0;
        for (line, number) in text.split(|octet| *octet == b'\n').zip(1..) {
            if let Err(fault) = queries.push_line(line, opt) {
                fault_count += 1;
                if fault_count <= TOLD_MAX {
                    // Writing to a string cannot fail.
                    let _ = write!(faults, "\n{shown}:{number}: {fault}");
                }
            }
        }
        if fault_count > TOLD_MAX {
            let _ = write!(faults, "\nand {} more", fault_count - TOLD_MAX);
        }
        if fault_count != 0 {
            bail!("{shown} is not a file of queries, which has a line `NAME TYPE` for each:{faults}");
        }
        if queries.ends.is_empty() {
            bail!("{shown} has no queries: give a line `NAME TYPE` for each");
        }
        Ok(queries)
    }

    fn push_line(&mut self, line: &[u8], opt: Option<Opt>) -> Result<(), String> {
        if line.starts_with(b";") {
            return Ok(());
        }
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let Some(name) = words.next() else { return Ok(()) };
        let shown = |word: &[u8]| String::from_utf8_lossy(word).into_owned();
        let qname = NameBuf::from_text(name, Some(Name::ROOT))
            .map_err(|error| format!("`{}` is not a domain name: {error}", shown(name)))?;
        let Some(rtype) = words.next() else { return Err("the type after the name is missing".to_owned()) };
        let qtype = RecordType::from_text(rtype).ok_or_else(|| {
            format!("`{}` is neither a known type nor TYPE and a number up to 65535", shown(rtype))
        })?;
        if let Some(more) = words.next() {
            return Err(format!("`{}` after the type: nothing may follow it", shown(more)));
        }
        self.push(qname.as_name(), qtype, opt);
        Ok(())
    }

    fn push(&mut self, qname: Name<'_>, qtype: RecordType, opt: Option<Opt>) {
        let id = self.ends.len() as u16; // identifiers come round again, as those of any client
        let octets = &mut self.octets;
        octets.extend(id.to_be_bytes());
        // RD is set, as dnsperf does; one question.
        octets.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(opt.is_some())]);
        octets.extend_from_slice(qname.as_wire());
        octets.extend(qtype.0.to_be_bytes());
        octets.extend(Class::IN.0.to_be_bytes());
        if let Some(Opt { udp_size, dnssec_ok }) = opt {
            octets.extend([0, 0, RecordType::OPT.0 as u8]);
            octets.extend(udp_size.to_be_bytes());
            octets.extend([0, 0, if dnssec_ok { 0x80 } else { 0 }, 0, 0, 0]);
        }
        self.ends.push(octets.len());
    }

    /// How many there are: at least one.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The query with this index, which is below [`Queries::len`].
    pub(super) fn get(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.octets[start..self.ends[index]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_queries() {
        let mut queries = Queries::default();
        for line in [&b"; a comment"[..], b"", b"  \r", b"www.Example A", b"x.\tTYPE65280\r"] {
            assert_eq!(queries.push_line(line, None), Ok(()));
        }
        let opt = Opt { udp_size: 1232, dnssec_ok: true };
        assert_eq!(queries.push_line(b". NS", Some(opt)), Ok(()));
        assert_eq!(queries.len(), 3);
        assert_eq!(queries.get(0)[12..], *b"\x03www\x07Example\0\0\x01\0\x01");
        assert_eq!(queries.get(1)[12..], *b"\x01x\0\xff\0\0\x01");
        assert_eq!(queries.get(2)[10..], *b"\0\x01\0\0\x02\0\x01\0\0\x29\x04\xd0\0\0\x80\0\0\0");
        let (mut read, mut name) = (wire::Query::default(), wire::FoldedName::default());
        assert!((0..3).all(|index| read.read(queries.get(index), &mut name).is_ok()));
    }

    #[test]
    fn bad_lines_are_told_with_what_is_wrong() {
        let mut queries = Queries::default();
        for (line, what) in [
            (&b"www.example"[..], "type after the name is missing"),
            (b"www..example A", "`www..example` is not a domain name"),
            (b"www.example ADDRESS", "`ADDRESS` is neither"),
            (b"www.example A IN", "`IN` after the type"),
        ] {
            let said = queries.push_line(line, None).unwrap_err();
            assert!(said.contains(what), "{said}");
        }
        assert_eq!(queries.len(), 0);
    }
}
