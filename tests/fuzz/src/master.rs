//! Any text as a master file: read, checked, compiled, found again, shown, asked.

use super::{fixtures, reply};
use nameserver::Transport;
use table::{Found, Table};
use wire::{FoldedName, Name, RecordType};
use zone::master::{Include, IncludeError, Included};
use zone::{OwnerView, Zone};

const APEX: &str = "f.";
/// How many records `$GENERATE` may make here: the reader's own bound takes seconds to reach.
const GENERATED_MAX: u64 = 2_000;
/// How many names are asked for, each with several types.
const OWNERS_ASKED: usize = 12;

/// Reads it, and checks the zone and the table that come out.
pub(crate) fn run(text: &[u8]) {
    if generated(text) > GENERATED_MAX {
        return;
    }
    let apex = fixtures::name(APEX);
    let reading = zone::read(apex.as_name(), "fuzz", text, &mut Includes, &mut |_| ());
    for problem in &reading.problems {
        assert!(!problem.to_string().is_empty());
    }
    let Some(zone) = reading.zone else {
        assert!(!reading.problems.is_empty(), "a refusal has a reason");
        return;
    };
    shown_and_read_again(&zone);
    let options = zone::CompileOptions { rotate: true, ..Default::default() };
    match zone::compile(zone.clone(), &options) {
        Ok(table) => {
            all_found(&zone, &table);
            asked(&zone, table);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Two files that can be included: one that is good, and one that includes itself.
struct Includes;

impl Include for Includes {
    fn load(&mut self, path: &str, _from: &str) -> Result<Included, IncludeError> {
        let text: &[u8] = match path {
            "a" => b"i A 192.0.2.1\n  TXT \"included\"\n",
            "b" => b"$INCLUDE b\n",
            _ => return Err(IncludeError::Refused("there are two files")),
        };
        Ok(Included { file: path.to_owned(), text: text.to_vec() })
    }
}

/// How many records the `$GENERATE` lines make at most, read loosely.
fn generated(text: &[u8]) -> u64 {
    let lower = text.to_ascii_lowercase();
    let mut sum = 0u64;
    let mut rest = lower.as_slice();
    while let Some(at) = rest.windows(9).position(|window| window == b"$generate") {
        rest = &rest[at + 9..];
        let line = rest.split(|octet| *octet == b'\n').next().unwrap_or_default();
        let numbers = line.split(|octet| !octet.is_ascii_digit());
        let largest = numbers.map(|digits| {
            digits.iter().fold(0u64, |n, d| n.saturating_mul(10).saturating_add(u64::from(d - b'0')))
        });
        sum = sum.saturating_add(largest.max().unwrap_or(0));
    }
    sum
}

/// Every record's text is read back as the same record.
fn shown_and_read_again(zone: &Zone) {
    for owner in zone.owners() {
        for rrset in owner.rrsets() {
            for rdata in rrset.rdatas() {
                let text = zone::rdata::display(rrset.rtype(), rdata).to_string();
                let again = zone::master::rdata_from_text(rrset.rtype(), text.as_bytes(), Name::ROOT);
                assert_eq!(again.as_deref(), Ok(rdata), "{} {text}", rrset.rtype());
            }
        }
    }
}

fn all_found(zone: &Zone, table: &Table) {
    let mut folded = FoldedName::default();
    let owners: Vec<OwnerView<'_>> = zone.owners().collect();
    for owner in &owners {
        if owner.has(RecordType::NSEC3) {
            continue;
        }
        folded.set(owner.name());
        match table.find(&folded) {
            Found::Exact(node) => {
                assert!(!is_occluded(zone, *owner), "{} is occluded", owner.name());
                assert_eq!(
                    node.relative_name(),
                    &owner.name().as_wire()[..owner.name().len() - 1 - APEX.len()]
                );
                for rrset in owner.rrsets().filter(|rrset| rrset.rtype() != RecordType::RRSIG) {
                    let found = node.rrset(rrset.rtype());
                    assert_eq!(
                        found.map(|found| usize::from(found.count())),
                        Some(rrset.len()),
                        "{}",
                        owner.name()
                    );
                }
            }
            Found::BelowCut(_) | Found::BelowDname(_) => {
                assert!(is_occluded(zone, *owner), "{} is not occluded", owner.name());
            }
            Found::Missing(_) => panic!("{} is missing", owner.name()),
        }
    }
}

fn is_occluded(zone: &Zone, owner: OwnerView<'_>) -> bool {
    let mut above = owner.name().parent();
    while let Some(name) = above.filter(|name| name.is_at_or_below(zone.apex())) {
        let hides = |found: OwnerView<'_>| {
            found.has(RecordType::DNAME) || (found.has(RecordType::NS) && name != zone.apex())
        };
        if zone.find(name).is_some_and(hides) {
            return true;
        }
        above = name.parent();
    }
    false
}

fn asked(zone: &Zone, table: Table) {
    let mut responder = fixtures::responder(vec![table]);
    let mut response = vec![0; 65_535];
    for owner in zone.owners().take(OWNERS_ASKED) {
        let own = owner.rrsets().map(|rrset| rrset.rtype());
        let types = own.take(4).chain([RecordType::A, RecordType::DS, RecordType::ANY]);
        for rtype in types {
            for below in [&b""[..], b"\x01x", b"\x01*\x01y"] {
                let mut query = vec![0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
                query.extend(below);
                query.extend(owner.name().as_wire());
                query.extend(rtype.0.to_be_bytes());
                query.extend([0, 1, 0, 0, 41, 4, 208, 0, 0, 0x80, 0, 0, 0]);
                for transport in [Transport::Udp, Transport::Tcp] {
                    reply::checked(&mut responder, &query, transport, &mut response);
                }
            }
        }
    }
}
