//! Whether a signed zone can prove what it does not have (RFC 4035 §2.3, RFC 5155 §7.1).

mod nsec;
mod nsec3;

use super::kind::Kind;
use super::report::{Report, Spot, found, owner_spot};
use super::types;
use super::walk::Visit;
use crate::records::Zone;
use wire::{Name, RecordType};

/// Checks the chain that the compiler uses: the one that NSEC3PARAM names where it has records, else that of
/// NSEC.
pub(super) fn check(zone: &Zone, report: &mut Report<'_>) {
    let apex = zone.find(zone.apex());
    let parameters = nsec3::parameters(zone, report);
    let chain = parameters.map(|parameters| nsec3::Chain::new(zone, parameters, report));
    if let Some(chain) = chain.filter(|chain| !chain.is_empty()) {
        chain.check(zone, report);
    } else if apex.is_some_and(|apex| apex.has(RecordType::NSEC)) {
        nsec::check(zone, report);
    } else {
        report.add(apex.and_then(owner_spot), Kind::NoDenial(found(zone.apex())));
    }
}

/// Compares a type bit map with the types of the name it is for; `None` stands for an empty non-terminal.
fn check_types(
    visit: Option<&Visit<'_>>,
    name: Name<'_>,
    (rtype, bitmap): (RecordType, &[u8]),
    spot: Spot,
    report: &mut Report<'_>,
) {
    let present = visit.into_iter().flat_map(|visit| visit.denied_types());
    if let Some((missing, extra)) = types::difference(present, bitmap) {
        report.add(spot, Kind::DenialTypes { name: found(name), rtype, missing, extra });
    }
}
