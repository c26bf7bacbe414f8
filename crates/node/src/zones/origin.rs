//! Which zone a master file is of, where nobody says.

use crate::config;
use std::path::Path;
use wire::NameBuf;

/// How many octets of a file are looked at in search of its `$ORIGIN` and SOA: both are within the first lines,
/// after comments at most.
const LOOK_AT_MAX: usize = 64 << 10;

/// Where a zone's name comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Evidence {
    /// The command line.
    CommandLine,
    /// The file's first `$ORIGIN`.
    OriginDirective,
    /// The owner of the file's SOA record.
    SoaOwner,
    /// The name of the file.
    FileName,
}

impl std::fmt::Display for Evidence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Evidence::CommandLine => "the command line",
            Evidence::OriginDirective => "its $ORIGIN",
            Evidence::SoaOwner => "the owner of its SOA record",
            Evidence::FileName => "its file name",
        })
    }
}

/// The zone that a master file is of, as far as can be told from its first lines and its name.
pub(crate) fn of(path: &Path, text: &[u8]) -> Option<(NameBuf, Evidence)> {
    from_text(text).or_else(|| from_file_name(path))
}

fn from_text(text: &[u8]) -> Option<(NameBuf, Evidence)> {
    let text = &text[..text.len().min(LOOK_AT_MAX)];
    for line in text.split(|octet| *octet == b'\n') {
        let code = line.split(|octet| *octet == b';').next().unwrap_or(line);
        let mut words = code.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let Some(first) = words.next() else { continue };
        if first.eq_ignore_ascii_case(b"$ORIGIN") {
            return Some((absolute(words.next()?)?, Evidence::OriginDirective));
        }
        if first.starts_with(b"$") {
            continue;
        }
        // The first record of a zone is its SOA. An owner without a dot at its end is relative to the
        // name that is looked for.
        let is_soa = words.take(3).any(|word| word.eq_ignore_ascii_case(b"SOA"));
        let starts_with_owner = !code.first().is_some_and(u8::is_ascii_whitespace);
        return if is_soa && starts_with_owner { Some((absolute(first)?, Evidence::SoaOwner)) } else { None };
    }
    None
}

fn absolute(word: &[u8]) -> Option<NameBuf> {
    let mut name = NameBuf::from_text(word, None).ok()?;
    name.make_lowercase();
    Some(name)
}

fn from_file_name(path: &Path) -> Option<(NameBuf, Evidence)> {
    let name = path.file_name()?.to_str()?;
    let name = name.strip_suffix(".signed").unwrap_or(name);
    let stem = [".zone", ".db", ".txt", ".master"].iter().find_map(|suffix| name.strip_suffix(suffix));
    let stem = stem.or_else(|| name.strip_prefix("db.")).unwrap_or(name);
    if stem.is_empty() { None } else { Some((config::apex(stem).ok()?, Evidence::FileName)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, text: &str, expected: &str, from: Evidence) {
        let (name, found) = of(Path::new(path), text.as_bytes()).unwrap();
        assert_eq!((name.to_string().as_str(), found), (expected, from));
    }

    #[test]
    fn the_text_goes_before_the_file_name() {
        check(
            "x.zone",
            "; c\n$TTL 1\n$ORIGIN Example.com.\n@ SOA",
            "example.com.",
            Evidence::OriginDirective,
        );
        check("x.zone", "\nexample.org.\t3600 IN SOA ns. m. 1 2 3 4 5", "example.org.", Evidence::SoaOwner);
        check("root.zone", ".\t86400\tIN\tSOA\ta. b. 1 2 3 4 5", ".", Evidence::SoaOwner);
    }

    #[test]
    fn the_file_name_where_the_text_does_not_say() {
        for file in ["a.example.zone", "a.example.db", "db.a.example", "a.example", "a.example.zone.signed"] {
            check(file, "@ IN SOA a b 1 2 3 4 5", "a.example.", Evidence::FileName);
        }
        check("a.example.zone", "www.b.example. A 192.0.2.1", "a.example.", Evidence::FileName);
        assert_eq!(of(Path::new(".."), b""), None);
    }
}
