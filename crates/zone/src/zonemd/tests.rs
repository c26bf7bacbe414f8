//! The examples of RFC 8976 appendix A, and what each rule of §4 does to them.

use super::*;
use crate::master::{NoIncludes, Options, parse};
use crate::records::Gatherer;
use wire::NameBuf;

const SIMPLE_ZONE: &str = include_str!("rfc8976-a1.zone");
const MULTIPLE: &str = include_str!("rfc8976-a3.zone");

fn read(apex: &str, text: &str) -> Zone {
    let apex = NameBuf::from_text(apex.as_bytes(), None).unwrap();
    let mut gatherer = Gatherer::new(apex.as_name(), text.len());
    let options = Options::new(apex.as_name(), "text");
    let report = parse(text.as_bytes(), &options, &mut NoIncludes, &mut gatherer);
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    gatherer.finish().unwrap()
}

fn verdict(text: &str) -> Verdict {
    verify(&read("example.", text))
}

#[test]
fn the_examples_of_the_rfc_verify() {
    let examples = [
        ("A.1", "example.", SIMPLE_ZONE),
        ("A.2", "example.", include_str!("rfc8976-a2.zone")),
        ("A.3", "example.", MULTIPLE),
        ("A.4", "uri.arpa.", include_str!("rfc8976-a4.zone")),
        ("A.5", "root-servers.net.", include_str!("rfc8976-a5.zone")),
    ];
    for (title, apex, text) in examples {
        assert_eq!(verify(&read(apex, text)), Verdict::Good(Algorithm::Sha384), "{title}");
    }
}

#[test]
fn each_of_several_digests_is_enough() {
    let without_sha384 = MULTIPLE.replace("2018031900 1 1 (", "2018031900 1 250 (");
    assert_eq!(verdict(&without_sha384), Verdict::Good(Algorithm::Sha512));
    let sha384_is_wrong = MULTIPLE.replace("62e6cf51b02e54b9", "62e6cf51b02e54b8");
    assert_eq!(verdict(&sha384_is_wrong), Verdict::Good(Algorithm::Sha512));
    let both_are = sha384_is_wrong.replace("08cfa1115c7b948c", "08cfa1115c7b948d");
    assert_eq!(verdict(&both_are), Verdict::Bad(Fault::Mismatch(Algorithm::Sha512)));
}

#[test]
fn what_nobody_else_can_compute_says_nothing() {
    let only_private = MULTIPLE.replace(" 1 1 (", " 240 1 (").replace(" 1 2 (", " 1 249 (");
    assert_eq!(verdict(&only_private), Verdict::Unknown);
    assert_eq!(verdict("@ 60 SOA a b 1 2 3 4 5\n@ 60 NS a\n"), Verdict::Absent);
    // Elsewhere than at the apex it is a record like others.
    let digest = "00".repeat(48);
    let elsewhere = format!("@ 60 SOA a b 1 2 3 4 5\n@ 60 NS a\nx 60 ZONEMD 1 1 1 {digest}\n");
    assert_eq!(verdict(&elsewhere), Verdict::Absent);
}

#[test]
fn a_lost_or_changed_record_shows() {
    let mismatch = Verdict::Bad(Fault::Mismatch(Algorithm::Sha384));
    let changes = [
        ("203.0.113.63", "203.0.113.64"),
        ("ns1           3600 ", "ns1           3601 "),
        ("              86400  IN  NS      ns2\n", ""),
        ("900 604800", "901 604800"),
    ];
    for (from, to) in changes {
        let changed = SIMPLE_ZONE.replace(from, to);
        assert_ne!(changed, SIMPLE_ZONE, "{from}");
        assert_eq!(verdict(&changed), mismatch, "{from} -> {to}");
    }
    assert_eq!(verdict(&format!("{SIMPLE_ZONE}\nx 60 IN A 192.0.2.1\n")), mismatch);
}

#[test]
fn a_record_of_another_version_counts_for_nothing() {
    let later = SIMPLE_ZONE.replace("admin 2018031900", "admin 2018031901");
    let expected = Fault::Serial { zonemd: 2018031900, zone: 2018031901 };
    assert_eq!(verdict(&later), Verdict::Bad(expected));
}

#[test]
fn two_of_one_kind_cancel_each_other() {
    let other = "0123456789abcdef".repeat(6);
    let twice = format!("{SIMPLE_ZONE}\n@ 86400 IN ZONEMD 2018031900 1 1 {other}\n");
    assert_eq!(verdict(&twice), Verdict::Bad(Fault::Ambiguous(Algorithm::Sha384)));
}
