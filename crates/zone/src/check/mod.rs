//! The semantic checks of a zone: what operators expect to be told before it is served.
//!
//! One walk over the owners in canonical order sees which names the zone answers for and which a delegation
//! or a DNAME hides (`walk`); it checks what stands at each name (`data`) and what its records point to
//! (`targets`). A signed zone is walked again for its chain of NSEC or NSEC3 and for its signatures
//! (`denial`, `signatures`). The cost is linear in the records.
//!
//! Signatures are not verified and digests of DS, CDS and ZONEMD are not computed: the checks tell whether
//! the records that a validator needs are there and say what they must, not whether a key really made them.

mod data;
mod denial;
mod kind;
mod lookup;
mod report;
mod signatures;
mod targets;
mod types;
mod walk;

#[cfg(test)]
mod tests;

pub use kind::{FoundName, Kind};
pub use types::TypeList;

use crate::records::Zone;
use report::Report;
use std::fmt;
use walk::Walk;
use wire::RecordType;

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

/// Checks a zone and tells everything that is wrong with it, except signatures out of their time: see
/// [`check_at`].
///
/// Of each kind the first twenty findings are told, then how many more there are.
pub fn check(zone: &Zone, tell: &mut dyn FnMut(Finding)) {
    run(zone, None, tell);
}

/// Like [`check`], and tells also which signatures have expired or are not valid yet at `now`, in seconds
/// since 1970 modulo 2^32 (RFC 4034 §3.1.5).
pub fn check_at(zone: &Zone, now: u32, tell: &mut dyn FnMut(Finding)) {
    run(zone, Some(now), tell);
}

fn run(zone: &Zone, now: Option<u32>, tell: &mut dyn FnMut(Finding)) {
    let mut report = Report::new(tell);
    data::check_apex(zone, &mut report);
    let mut targets = targets::Targets::new(zone);
    let mut has_signatures = false;
    for visit in Walk::new(zone) {
        data::check_owner(zone, &visit, &mut report);
        targets.check_owner(&visit, &mut report);
        has_signatures |= visit.has_signatures;
    }
    targets.finish(&mut report);
    let apex = zone.find(zone.apex());
    match (apex.and_then(|apex| apex.rrset(RecordType::DNSKEY)), has_signatures) {
        (None, false) => {}
        (None, true) => report.add(None, Kind::NoDnskey(report::found(zone.apex()))),
        (Some(keys), false) => {
            report.add(report::record_spot(keys, 0), Kind::NotSigned(report::found(zone.apex())));
        }
        (Some(keys), true) => {
            denial::check(zone, &mut report);
            signatures::check(zone, keys, now, &mut report);
        }
    }
    report.finish();
}
