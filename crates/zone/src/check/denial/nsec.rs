//! The NSEC chain: every name has a record, and each leads to the next (RFC 4034 §4, RFC 4035 §2.3).

use super::check_types;
use crate::check::kind::Kind;
use crate::check::report::{Report, found, owner_spot, record_spot};
use crate::check::walk::{Standing, Visit, Walk};
use crate::records::{RrsetView, Zone};
use wire::{Name, RecordType};

/// The last link of the chain so far.
struct Link<'z> {
    owner: Name<'z>,
    set: RrsetView<'z>,
    next: Name<'z>,
}

pub(super) fn check(zone: &Zone, report: &mut Report<'_>) {
    let mut last: Option<Link<'_>> = None;
    // The first name without a record since: it is told as such, so a link to it is no second finding.
    let mut skipped: Option<Name<'_>> = None;
    for visit in Walk::new(zone) {
        if matches!(visit.standing, Standing::Occluded | Standing::Nsec3) {
            continue;
        }
        let name = visit.owner.name();
        let Some(set) = visit.owner.rrset(RecordType::NSEC) else {
            if has_data(&visit) {
                report.add(owner_spot(visit.owner), Kind::MissingNsec(found(name)));
                skipped = skipped.or(Some(name));
            }
            continue;
        };
        // Data that was read is valid; any other link is none.
        let Ok((next, bitmap)) = Name::split_from(set.rdata(0)) else { continue };
        check_types(Some(&visit), name, (RecordType::NSEC, bitmap), record_spot(set, 0), report);
        if let Some(link) = &last {
            check_link(link, name, skipped, report);
        }
        last = Some(Link { owner: name, set, next });
        skipped = None;
    }
    if let Some(link) = &last {
        check_link(link, zone.apex(), skipped, report);
    }
}

/// Whether the name has anything but its own signatures.
fn has_data(visit: &Visit<'_>) -> bool {
    visit.owner.rrsets().any(|set| set.rtype() != RecordType::RRSIG)
}

fn check_link(link: &Link<'_>, expected: Name<'_>, skipped: Option<Name<'_>>, report: &mut Report<'_>) {
    let leads_to = |name: Name<'_>| link.next.eq_ignore_case(name);
    if !leads_to(expected) && !skipped.is_some_and(leads_to) {
        let kind = Kind::NsecChain {
            owner: found(link.owner),
            next: found(link.next),
            expected: found(skipped.unwrap_or(expected)),
        };
        report.add(record_spot(link.set, 0), kind);
    }
}
