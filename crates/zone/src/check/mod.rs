//! The semantic checks of a zone: what operators expect to be told before it is served.

use crate::records::Zone;
use std::fmt;
use wire::{NameBuf, RecordType};

/// Whether a finding keeps the zone from being served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    /// The zone is not loaded.
    Error,
    /// The zone is served, and the operator is told.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        })
    }
}

/// Something that is wrong with a zone.
#[derive(Clone, Debug)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The index of the file, the line, and the column or 0, where a record is to blame.
    pub place: Option<(u16, u32, u32)>,
    /// What it is.
    pub kind: Kind,
}

/// What can be wrong.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Kind {
    /// No SOA at the apex.
    #[error("{0} has no SOA record: a zone begins with one (RFC 1035 §5.2)")]
    NoSoa(NameBuf),
    /// No NS at the apex.
    #[error("{0} has no NS records: name the zone's servers (RFC 1035 §6.1.3)")]
    NoNs(NameBuf),
}

/// Checks a zone, and tells everything that is wrong with it.
pub fn check(zone: &Zone, tell: &mut dyn FnMut(Finding)) {
    let apex = zone.find(zone.apex());
    for (rtype, kind) in [
        (RecordType::SOA, Kind::NoSoa(zone.apex().into())),
        (RecordType::NS, Kind::NoNs(zone.apex().into())),
    ] {
        if !apex.is_some_and(|apex| apex.has(rtype)) {
            tell(Finding { severity: Severity::Error, place: None, kind });
        }
    }
}
