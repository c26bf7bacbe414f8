//! The digest of a zone's content, and ZONEMD: of random zones, and of a real one.

use crate::config;
use crate::signing::{Record, compile};
use crate::zones::{RandomZone, signed, unsigned};
use proptest::prelude::*;
use starling_tests::tools;
use std::sync::Arc;
use table::Walk;
use wire::Name;
use zone::content::ContentSum;
use zone::master::NoIncludes;
use zone::zonemd::{self, Algorithm, Fault, Verdict};

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

/// The root zone as it was tested before it had a good ZONEMD record: its digest is zero. Knot 3.2.6 has computed the one that
/// is expected here (`zonemd-generate: zonemd-sha384`), and given the zone the next serial for it.
#[test]
fn the_digest_of_the_root_zone_is_that_of_knot() {
    const BY_KNOT: &str =
        "b8d91eff32a74fbf2db4122081c909762785381bd04039c5a51de3ac92c8dff70650520f28a765f13710166e22ff4f48";
    let Some(path) = tools::real_data("root.zone") else { return };
    let text = std::fs::read_to_string(path).expect("it is there");
    let read = |text: &str| {
        let reading = zone::read(Name::ROOT, "root.zone", text, &mut NoIncludes, &mut |_| ());
        reading.zone.expect("it can be served")
    };
    assert_eq!(zonemd::verify(&read(&text)), Verdict::Bad(Fault::Mismatch(Algorithm::Sha384)));
    let next = text.replace("2021051901", "2021051902");
    let digest: String =
        zonemd::digest(&read(&next), Algorithm::Sha384).iter().map(|octet| format!("{octet:02x}")).collect();
    assert_eq!(digest, BY_KNOT);
    let old_record = "\\# 54 7876cdfd0101".to_owned() + &"0".repeat(96);
    let good = next.replace(&old_record, &format!("\\# 54 7876cdfe0101{BY_KNOT}"));
    assert_eq!(zonemd::verify(&read(&good)), Verdict::Good(Algorithm::Sha384));
}
