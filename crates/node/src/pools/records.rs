//! Pools that a zone brings along: TXT records at `_pool.NAME` say what NAME answers with.
//!
//! To other servers they are records like any others, so that a zone has its pools wherever it is transferred to, and nodes with
//! `pool-records = true` make them of it. What they say is as in the configuration: [`crate::config::PoolReader`].

use crate::config::{PoolConfig, PoolReader};
use std::collections::BTreeSet;
use table::Table;
use wire::{FoldedName, Name, NameBuf, RecordType};
use zone::Difference;

/// The most pools of a zone; what is beyond them is refused.
pub(crate) const ZONE_POOLS_MAX: usize = 1024;
/// The first label of the names with the records.
const LABEL: &[u8] = b"\x05_pool";

/// What records at a name say.
pub(crate) struct Found {
    /// The name that the pool is for, and called by.
    pub(crate) owner: NameBuf,
    /// The pool, or what is wrong with it and what to do.
    pub(crate) pool: Result<PoolConfig, Vec<String>>,
}

/// The pools of a zone, in the order of their names. It takes a look at every name of the zone.
pub(crate) fn of_zone(table: &Table) -> Vec<Found> {
    let base = table.base().map(|base| base.nodes()).into_iter().flatten();
    let names = table.nodes().chain(base).map(|node| node.relative_name());
    let places: BTreeSet<&[u8]> = names.filter(|name| name.starts_with(LABEL)).collect();
    let mut reader = PoolReader::new();
    let found = places.into_iter().filter_map(|place| {
        let records = texts(table, place)?;
        let owner = NameBuf::joined(&place[LABEL.len()..], table.apex_name()).ok()?;
        let pool = reader.read(table.apex_name(), &owner, &records);
        Some(Found { owner, pool })
    });
    let mut found: Vec<Found> = found.collect();
    for beyond in found.iter_mut().skip(ZONE_POOLS_MAX) {
        beyond.pool = Err(vec![format!("the zone has more than {ZONE_POOLS_MAX} pools; take some out")]);
    }
    let good = |found: &Found| found.pool.clone().ok();
    let settled = PoolReader::settle(found.iter().filter_map(good).collect());
    found
        .iter_mut()
        .filter(|found| found.pool.is_ok())
        .zip(settled)
        .for_each(|(found, pool)| found.pool = pool);
    found
}

/// The texts at a name before the apex; none where it has no TXT records.
fn texts(table: &Table, place: &[u8]) -> Option<Vec<Vec<u8>>> {
    let owner = NameBuf::joined(place, table.apex_name()).ok()?;
    let mut folded = FoldedName::default();
    folded.set(owner.as_name());
    let mut texts = Vec::new();
    let node = table.node_named(&folded)?;
    // An image that was verified has good pointers.
    let _good = table.each_record(node, |record| {
        if record.rtype == RecordType::TXT {
            texts.push(strings(record.rdata));
        }
    });
    (!texts.is_empty()).then_some(texts)
}

/// The strings of a TXT record as one (RFC 1035 §3.3.14).
fn strings(mut rdata: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(rdata.len());
    while let Some((len, rest)) = rdata.split_first() {
        let (string, behind) = rest.split_at(rest.len().min(usize::from(*len)));
        text.extend_from_slice(string);
        rdata = behind;
    }
    text
}

/// Whether the pools of a zone may be others after these changes.
pub(crate) fn are_touched(differences: &[Difference]) -> bool {
    let owners = differences.iter().flat_map(|it| it.removed.iter().chain(it.added.iter()));
    owners.into_iter().any(|record| is_place(record.owner))
}

fn is_place(owner: Name<'_>) -> bool {
    owner.as_wire().get(..LABEL.len()).is_some_and(|label| label.eq_ignore_ascii_case(LABEL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_of_a_record_are_one_text() {
        for (rdata, text) in [
            (&b"\x02ki\x08nd = 'x'"[..], &b"kind = 'x'"[..]),
            (b"", b""),
            (b"\0", b""),
            (b"\x09short", b"short"),
        ] {
            assert_eq!(strings(rdata), text);
        }
    }

    #[test]
    fn only_some_names_have_pools() {
        for (name, is_one) in [
            ("_pool.www.example.", true),
            ("_POOL.", true),
            ("_pools.", false),
            ("x._pool.", false),
            (".", false),
        ] {
            let name = NameBuf::from_text(name.as_bytes(), None).unwrap();
            assert_eq!(is_place(name.as_name()), is_one, "{name}");
        }
    }
}
