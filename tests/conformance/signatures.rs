//! Stand-ins for signatures: RRSIG records of the right shape over every set that a signer signs, made by nobody's
//! key. Whether they validate is shown elsewhere, with a real signer; here it matters that they go where they belong.

use crate::{FlatRecord, name};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use wire::{Name, RecordType};

/// The RRSIG records of a zone, as lines of a master file.
pub(crate) fn stand_ins(apex: Name<'_>, records: &[FlatRecord]) -> String {
    let cuts: BTreeSet<&str> = records
        .iter()
        .filter(|(owner, rtype, ..)| {
            RecordType(*rtype) == RecordType::NS && !name(owner).as_name().eq_ignore_case(apex)
        })
        .map(|(owner, ..)| owner.as_str())
        .collect();
    let mut done = BTreeSet::new();
    let mut lines = String::new();
    for record in records {
        let (owner, rtype, ..) = record;
        let is_glue = cuts.iter().any(|cut| name(owner).as_name().is_below(name(cut).as_name()));
        let at_cut = cuts.contains(owner.as_str());
        // RFC 4035 §2.2: neither delegations nor glue are signed; at a cut only DS and the denial are the parent's.
        let is_signed = match RecordType(*rtype) {
            RecordType::RRSIG => false,
            RecordType::DS | RecordType::NSEC => !is_glue,
            _ => !is_glue && !at_cut,
        };
        if is_signed && done.insert((owner, rtype)) {
            writeln!(lines, "{}", stand_in(record, None, apex)).unwrap();
        }
    }
    lines
}

/// The RRSIG record over a record's set, as a line of a master file. `labels` is for what a wildcard made.
pub(crate) fn stand_in(
    (owner, rtype, ttl, _): &FlatRecord,
    labels: Option<usize>,
    signer: Name<'_>,
) -> String {
    let buf = name(owner);
    let own_labels = buf.as_name().label_count() - usize::from(buf.as_name().is_wildcard());
    let labels = labels.unwrap_or(own_labels);
    let rtype = RecordType(*rtype);
    format!("{owner} {ttl} IN RRSIG {rtype} 13 {labels} 3600 20600101000000 20240101000000 1 {signer} AAAA")
}
