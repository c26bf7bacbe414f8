//! The digest of a zone's content.

use crate::config;
use crate::signing::{Record, compile};
use crate::zones::{RandomZone, signed, unsigned};
use proptest::prelude::*;
use std::sync::Arc;
use table::Walk;
use zone::content::ContentSum;

proptest! {
    #![proptest_config(config(100))]

    #[test]
    fn a_table_has_the_digest_of_the_records_that_it_gives(zone in prop_oneof![unsigned(), signed()]) {
        compare(&zone)?;
    }
}

/// Compares the digest that the compiler puts into the table with that of the records that a transfer would send, and with
/// that of the same zone read in another order.
fn compare(zone: &RandomZone) -> Result<(), TestCaseError> {
    let table = compile(zone.apex.as_name(), &zone.records);
    let content = table.content();
    let mut walk = Walk::new(Arc::new(table));
    let mut sum = ContentSum::default();
    while let Some(record) = walk.next_record().expect("an image of the compiler") {
        sum.add(record.owner, record.rtype, record.ttl, record.rdata);
    }
    prop_assert_eq!(sum.digest(), content);
    let backwards: Vec<Record> = zone.records.iter().rev().cloned().collect();
    prop_assert_eq!(compile(zone.apex.as_name(), &backwards).content(), content);
    Ok(())
}
