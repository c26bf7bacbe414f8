//! One small zone for each finding.

mod signed;

use super::{Finding, Kind, Severity, check, check_at};
use crate::master::{NoIncludes, Options, parse};
use crate::records::{Gatherer, Zone};
use proptest::prelude::*;
use wire::{Name, NameBuf, RecordType};

/// The first lines of most zones here: what follows starts on line 4.
const START: &str = "@ SOA ns1 h 1 7200 3600 1209600 300\n@ NS ns1\nns1 A 192.0.2.1\n";

fn name(text: &str) -> NameBuf {
    NameBuf::from_text(text.as_bytes(), None).unwrap()
}

fn read(apex: &str, text: &str) -> Zone {
    let apex = name(apex);
    let mut gatherer = Gatherer::new(apex.as_name(), text.len());
    let options = Options { default_ttl: Some(3600), ..Options::new(apex.as_name(), "text") };
    let report = parse(text.as_bytes(), &options, &mut NoIncludes, &mut gatherer);
    assert!(report.errors.is_empty(), "{:?}\n{text}", report.errors);
    gatherer.finish().unwrap()
}

fn findings(zone: &Zone, now: Option<u32>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut tell = |finding| findings.push(finding);
    match now {
        Some(now) => check_at(zone, now, &mut tell),
        None => check(zone, &mut tell),
    }
    findings
}

/// Checks a zone; each finding is `line severity: message`, of which `expected` has the beginning, without a
/// line where there is no place.
#[track_caller]
fn check_zone(zone: &Zone, now: Option<u32>, text: &str, expected: &[&str]) {
    let findings = findings(zone, now);
    let lines: Vec<String> = findings
        .iter()
        .map(|finding| {
            let line = finding.place.map_or(String::new(), |(_, line, _)| format!("{line} "));
            format!("{line}{}: {}", finding.severity, finding.kind)
        })
        .collect();
    let agree = lines.len() == expected.len()
        && lines.iter().zip(expected).all(|(line, start)| line.starts_with(start));
    assert!(agree, "{text}\nfound:\n{}\nexpected:\n{}", lines.join("\n"), expected.join("\n"));
    if findings.iter().all(|finding| finding.severity == Severity::Warning) {
        crate::compile(zone.clone(), &crate::CompileOptions::default())
            .unwrap_or_else(|error| panic!("{error}\n{text}"));
    }
}

/// Checks the zone `example.` that is [`START`] and `text`.
#[track_caller]
fn check_text(text: &str, expected: &[&str]) {
    check_whole(&format!("{START}{text}"), expected);
}

#[track_caller]
fn check_whole(text: &str, expected: &[&str]) {
    check_zone(&read("example.", text), None, text, expected);
}

#[test]
fn a_good_zone_has_no_findings() {
    check_text("", &[]);
    check_text(
        "@ DNAME other.\n@ MX 0 .\n",
        &["3 error: ns1.example. is below the DNAME record at example."],
    );
    check_text(
        "*.w A 192.0.2.2\nw TXT x\ns NS a.w\ns DS 1 13 2 00 (00000000000000000000000000000000000000000000000000000000000000)\n",
        &[],
    );
    check_text("s NS ns.s\ns NS ns.t\ns NS elsewhere.\nns.s A 192.0.2.2\nt NS ns.s\nns.t AAAA ::1\n", &[]);
    check_text("s NS s\ns A 192.0.2.2\n_x._tcp SRV 0 0 0 .\nm MX 1 x.s\n", &[]);
    let root = ". SOA a. h. 1 2 3 4 5\n. NS a.net.\nnet. NS a.net.\na.net. A 192.0.2.1\n";
    check_zone(&read(".", root), None, root, &[]);
}

#[test]
fn apex() {
    check_whole("ns1 A 192.0.2.1\n@ NS ns1\n", &["error: example. has no SOA record"]);
    check_whole("", &["error: example. has no SOA", "warning: example. has no NS records"]);
    check_whole("@ SOA a. b. 1 2 3 4 5\n", &["1 warning: example. has no NS records"]);
    check_text(
        "@ SOA ns1 h 2 7200 3600 1209600 300\n",
        &["4 error: example. has several SOA records: keep one"],
    );
    check_text(
        "s SOA ns1 h 2 7200 3600 1209600 300\n",
        &["4 error: s.example. has a SOA record but is not the apex"],
    );
}

#[test]
fn aliases() {
    check_text("c CNAME ns1\nc A 192.0.2.2\n", &["4 error: c.example. has a CNAME record and A records"]);
    check_text("c CNAME ns1\nc CNAME ns2\n", &["5 error: c.example. has several CNAME records"]);
    check_text("@ CNAME x.\n", &["4 error: example. has a CNAME record and NS records"]);
    // RFC 4035 §2.5.
    check_text("c CNAME ns1\nc NSEC example. CNAME NSEC\nc KEY 256 3 13 AAAA\n", &[]);
    // All servers look at hidden names, too.
    check_text(
        "s NS ns1\nc.s CNAME ns1\nc.s TXT x\n",
        &[
            "5 error: c.s.example. has a CNAME record and TXT",
            "5 warning: the CNAME records of c.s.example. are hidden",
        ],
    );
}

#[test]
fn redirections() {
    check_text("d DNAME x.\nd DNAME y.\n", &["5 error: d.example. has several DNAME records"]);
    check_text("d DNAME x.\nd CNAME y.\n", &["4 error: d.example. has a DNAME and a CNAME record"]);
    check_text(
        "d DNAME x.\nd NS y.\n",
        &["4 error: d.example. is redirected by a DNAME record and delegated"],
    );
    check_text("d DNAME x.\nd TXT x\nd2 TXT y\n", &[]);
    check_text(
        "d DNAME x.\na.d TXT x\nb.a.d TXT x\ne TXT x\n",
        &[
            "5 error: a.d.example. is below the DNAME record at d.example.",
            "6 error: b.a.d.example. is below the DNAME",
        ],
    );
    check_text("*.w DNAME x.\n", &["4 warning: *.w.example. is a wildcard and has a DNAME record"]);
    check_text("*.w NS x.\n", &["4 warning: *.w.example. is a wildcard and has NS records"]);
}

#[test]
fn types_out_of_place() {
    let key = "DNSKEY 256 3 13 AAAA";
    check_text(
        &format!("a {key}\n"),
        &["4 warning: a.example. has DNSKEY records, which have a meaning at the apex"],
    );
    check_text("a NSEC3PARAM 1 0 0 -\n", &["4 warning: a.example. has NSEC3PARAM records"]);
    check_text(
        "a CDS 0 0 0 00\na CDNSKEY 0 3 0 AA==\n",
        &["4 warning: a.example. has CDS", "5 warning: a.example. has CDNSKEY"],
    );
    let ds = format!("DS 1 13 2 {}", "00".repeat(32));
    check_text(&format!("@ {ds}\n"), &["4 warning: example. is the apex and has DS records"]);
    check_text(&format!("a {ds}\n"), &["4 warning: a.example. has DS records but no NS records"]);
    check_text("a MD ns1\n", &["4 warning: a.example. has MD records, which are obsolete"]);
}

#[test]
fn types_of_messages() {
    // The reader refuses them; other ways to a zone may not.
    let apex = name("example.");
    let mut gatherer = Gatherer::new(apex.as_name(), 0);
    let place = crate::master::Place { file: 0, line: 7, column: 1 };
    gatherer.add(name("a.example.").as_name(), RecordType::OPT, 0, &[], place);
    let zone = gatherer.finish().unwrap();
    let expected = [
        "error: example. has no SOA",
        "warning: example. has no NS",
        "7 error: a.example. has a record of type OPT",
    ];
    check_zone(&zone, None, "a OPT", &expected);
}

#[test]
fn sets() {
    check_text(
        "a 60 A 192.0.2.2\na 50 A 192.0.2.3\na 70 A 192.0.2.4\n",
        &[
            "5 warning: the A records of a.example. have TTLs from 50 to 70: 50 is used for all (RFC 2181 §5.2)",
        ],
    );
    check_text("a A 192.0.2.2\nA A 192.0.2.2\na A 192.0.2.2\n", &["warning: records are repeated, 2 in all"]);
    check_text(
        "x.org. A 192.0.2.2\nexample2. A 192.0.2.3\n",
        &[
            "4 warning: x.org. is not in the zone example.: the record is left out",
            "5 warning: example2. is not in the zone",
        ],
    );
}

#[test]
fn sets_that_fit_no_message() {
    let text = |count: usize| -> String { (0..count).map(|at| format!("a TXT {at:0250}\n")).collect() };
    // 12 + 9 + 2 for the name, 4 for the question; each record 12 + 251.
    check_text(&text(249), &[]);
    check_text(&text(250), &["4 error: the TXT records of a.example. need 65777 octets and fit no message"]);
    let long = |len: usize| format!("a TYPE65280 \\# {len} {}\n", "00".repeat(len));
    check_text(&long(65_496), &[]);
    check_text(&long(65_497), &["4 error: the TYPE65280 records of a.example. need 65536 octets"]);
}

#[test]
fn more_types_than_a_name_can_have() {
    let text =
        |count: usize| -> String { (0..count).map(|at| format!("a TYPE{} \\# 0\n", 65_280 + at)).collect() };
    check_text(&text(255), &[]);
    check_text(&text(256), &["4 error: a.example. has 256 record types: a name can have 255"]);
}

#[test]
fn glue() {
    check_text(
        "s NS ns.s\n",
        &["4 warning: s.example. is delegated to ns.s.example., which can't be reached without glue"],
    );
    check_text("s NS s\n", &["4 warning: s.example. is delegated to s.example., which"]);
    check_text(
        "s NS ns.s\ns NS nt.s\nNS.s A 192.0.2.2\n",
        &["5 warning: s.example. is delegated to nt.s.example."],
    );
    // A wildcard below the cut is the child's.
    check_text(
        "s NS ns.s\n*.s A 192.0.2.2\n",
        &["4 warning: s.example. is delegated", "5 warning: the addresses of *.s.example. are hidden"],
    );
    check_text(
        "s NS ns.t\nt NS elsewhere.\n",
        &["4 warning: s.example. names the server ns.t.example. inside another delegation"],
    );
    // More names below the cut than are scanned.
    let hosts: String = (0..40).map(|at| format!("s NS n{at}.s\nn{at}.s A 192.0.2.2\n")).collect();
    check_text(&hosts, &[]);
    check_text(&format!("{hosts}s NS x.y.s"), &["84 warning: s.example. is delegated to x.y.s.example."]);
}

#[test]
fn hidden_data() {
    check_text(
        "s NS ns1\na.s TXT x\n",
        &["5 warning: the TXT records of a.s.example. are hidden by the delegation of s.example."],
    );
    check_text(
        "s NS ns1\ns TXT x\n",
        &["5 warning: the TXT records of s.example. are hidden by the delegation of s.example."],
    );
    check_text(
        "s NS ns1\nt.s NS ns1\n",
        &["5 warning: the NS records of t.s.example. are hidden by the delegation of s.example."],
    );
    check_text(
        "s NS ns1\na.s A 192.0.2.2\ns A 192.0.2.3\n",
        &[
            "6 warning: the addresses of s.example. are hidden by a delegation and are glue of no NS record",
            "5 warning: the addresses of a.s.example.",
        ],
    );
}

#[test]
fn targets() {
    check_whole(
        "@ SOA a. h. 1 2 3 4 5\n@ NS ns1\n",
        &["2 warning: the NS record of example. names ns1.example., which has no A"],
    );
    check_whole(
        "@ SOA a. h. 1 2 3 4 5\n@ NS c\nc CNAME x.\n",
        &["2 warning: the NS record of example. names c.example., which is an alias"],
    );
    check_text(
        "@ MX 1 c\nc CNAME ns1\n",
        &["4 warning: the MX record of example. names c.example., which is an alias"],
    );
    check_text(
        "@ MX 1 m\n",
        &["4 warning: the MX record of example. names m.example., which has no A or AAAA"],
    );
    check_text(
        "_x._udp SRV 1 1 1 d.d\nd DNAME x.\n",
        &["4 warning: the SRV record of _x._udp.example. names d.d.example., which is an alias"],
    );
    check_text(
        "s NS nope\nt NS NOPE\n",
        &[
            "4 warning: the NS record of s.example. names nope",
            "5 warning: the NS record of t.example. names NOPE",
        ],
    );
    check_text(
        "@ MX 1 a.w\n*.w CNAME ns1\n",
        &["4 warning: the MX record of example. names a.w.example., which is an alias"],
    );
    check_text("@ MX 1 a.w\n*.w AAAA ::1\n", &[]);
    // A DNAME redirects what is below it, not itself (RFC 6672 §2.3).
    check_text(
        "@ MX 1 d\nd DNAME x.\n",
        &["4 warning: the MX record of example. names d.example., which has no A"],
    );
    // RFC 4592 §2.2.2: e exists, so the wildcard isn't used; below it neither.
    check_text(
        "@ MX 1 e\n@ MX 1 x.e\n* A 192.0.2.2\na.e TXT x\n",
        &[
            "4 warning: the MX record of example. names e.example.",
            "5 warning: the MX record of example. names x.e.example.",
        ],
    );
}

#[test]
fn findings_of_a_kind_are_bounded() {
    let text: String =
        (0..50).map(|at| format!("c{at:02} CNAME x.\nc{at:02} TXT x\nd{at:02} NS y.c{at:02}\n")).collect();
    let zone = read("example.", &format!("{START}{text}"));
    let findings = findings(&zone, None);
    assert_eq!(findings.len(), 42);
    let last = |severity| findings.iter().rfind(|finding| finding.severity == severity).unwrap();
    assert!(
        matches!(&last(Severity::Error).kind, Kind::More(30, last) if matches!(**last, Kind::CnameWithOther(..)))
    );
    assert!(
        last(Severity::Warning)
            .kind
            .to_string()
            .starts_with("and 30 more of this kind, such as: the NS record of d49")
    );

    let text: String = (0..1000).map(|at| format!("x{at}. A 192.0.2.2\n")).collect();
    let zone = read("example.", &format!("{START}{text}"));
    let findings = super::tests::findings(&zone, None);
    assert_eq!(findings.len(), 100);
    assert!(matches!(&findings[99].kind, Kind::More(901, _)), "{}", findings[99].kind);
    assert_eq!(findings[99].place, Some((0, 103, 1)));
}

proptest! {
    /// Whatever stands in a zone, the checks end, and a zone without errors compiles.
    #[test]
    fn a_zone_without_errors_compiles(
        lines in proptest::collection::vec((0..10usize, 0..20usize, 0..10usize), 0..24),
        start in any::<bool>(),
    ) {
        const OWNERS: [&str; 10] = ["@", "a", "b.a", "*.a", "c.b.a", "d", "*.d", "e.d", "*",
            "3msev9usmd4br9s97v51r2tdvmr9iqo1"];
        const TYPES: [&str; 20] = ["A 192.0.2.1", "AAAA ::1", "TXT x", "NS", "NS", "CNAME", "DNAME", "MX 1",
            "SRV 1 1 1", "DS 1 13 1 0000000000000000000000000000000000000000", "DNSKEY 256 3 13 AAAA",
            "RRSIG A 13 2 3600 20300101000000 20250101000000 1 @ AAAA", "RRSIG NS 13 1 60 20300101000000 20250101000000 1 a AAAA",
            "NSEC", "NSEC3 1 1 0 - 3msev9usmd4br9s97v51r2tdvmr9iqo1 A", "NSEC3 1 0 0 - 00 NS", "NSEC3PARAM 1 0 0 -",
            "NSEC3PARAM 2 0 0 -", "SOA ns1 h 1 2 3 4", "TYPE65280 \\# 0"];
        let mut text = String::from(if start { START } else { "" });
        for (owner, rtype, target) in lines {
            let end = match TYPES[rtype] {
                "NS" | "CNAME" | "DNAME" | "MX 1" | "SRV 1 1 1" => OWNERS[target],
                "NSEC" => &format!("{} A NS", OWNERS[target]),
                "SOA ns1 h 1 2 3 4" => "5",
                _ => "",
            };
            text.push_str(&format!("{} {} {end}\n", OWNERS[owner], TYPES[rtype]));
        }
        let zone = read("example.", &text);
        let findings = findings(&zone, Some(0));
        prop_assert!(zone.find(Name::ROOT).is_none());
        if findings.iter().all(|finding| finding.severity == Severity::Warning) {
            prop_assert!(crate::compile(zone, &crate::CompileOptions::default()).is_ok());
        }
    }
}

#[test]
fn very_many_targets() {
    // More than are remembered: the rest are found through an index, the good ones and the bad ones.
    let text: String = (0..4200).map(|at| format!("h{at} MX 1 M{at}.x\nm{at}.x A 192.0.2.2\n")).collect();
    check_text(&text, &[]);
    let bad = "z0 MX 1 none\nz1 MX 1 x\nz2 MX 1 a.w\n*.w A 192.0.2.2\nz3 MX 1 c\nc CNAME x.\nz4 MX 1 a.s\ns NS x.\n";
    check_text(
        &format!("{text}{bad}"),
        &[
            "8404 warning: the MX record of z0.example. names none.example., which has no A",
            "8405 warning: the MX record of z1.example. names x.example., which has no A",
            "8408 warning: the MX record of z3.example. names c.example., which is an alias",
        ],
    );
}
