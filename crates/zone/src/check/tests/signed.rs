//! Signed zones with one thing wrong. The signatures are not real: they are not verified.

use super::{check_zone, read};
use crate::rdata::time;

/// A zone with an NSEC chain; `SIG` stands for a signature of the owner that is right in all but the
/// signature itself.
const NSEC: &str = "\
@ SOA ns1 h 1 7200 3600 1209600 300
@ SIG SOA
@ NS ns1
@ SIG NS
@ DNSKEY KEY
@ SIG DNSKEY
@ NSEC al NS SOA RRSIG NSEC DNSKEY
@ SIG NSEC
al CNAME ns1
al SIG CNAME
al NSEC a.b.c CNAME RRSIG NSEC
al SIG NSEC
a.b.c TXT x
a.b.c SIG TXT
a.b.c NSEC ins TXT RRSIG NSEC
a.b.c SIG NSEC
ins NS ns.ins
ins NSEC ns1 NS RRSIG NSEC
ins SIG NSEC
ns.ins A 192.0.2.2
ns1 A 192.0.2.1
ns1 SIG A
ns1 NSEC sec A RRSIG NSEC
ns1 SIG NSEC
sec NS ns1
sec DS 1 13 1 0000000000000000000000000000000000000000
sec SIG DS
sec NSEC *.w NS DS RRSIG NSEC
sec SIG NSEC
*.w TXT x
*.w SIG TXT
*.w NSEC @ TXT RRSIG NSEC
*.w SIG NSEC
";

/// A zone of one name.
const SMALL: &str = "\
@ SOA ns1 h 1 7200 3600 1209600 300
@ NS ns1.org.
@ DNSKEY KEY
@ NSEC @ NS SOA RRSIG NSEC DNSKEY
@ SIG SOA
@ SIG NS
@ SIG DNSKEY
@ SIG NSEC
";

/// The names of [`NSEC`] with an NSEC3 chain, as a signer made it.
const NSEC3: &str = "\
@ SOA ns1 h 1 7200 3600 1209600 300
@ SIG SOA
@ NS ns1
@ SIG NS
@ DNSKEY KEY
@ SIG DNSKEY
@ NSEC3PARAM 1 0 0 -
@ SIG NSEC3PARAM
al CNAME ns1
al SIG CNAME
a.b.c TXT x
a.b.c SIG TXT
ins NS ns.ins
ns.ins A 192.0.2.2
ns1 A 192.0.2.1
ns1 SIG A
sec NS ns1
sec DS 1 13 1 0000000000000000000000000000000000000000
sec SIG DS
*.w TXT x
*.w SIG TXT
3MSEV9USMD4BR9S97V51R2TDVMR9IQO1 NSEC3 1 0 0 - ATUTAKMS2NNIOD8SIE19KMFB3UQD60KQ NS SOA RRSIG DNSKEY NSEC3PARAM
3MSEV9USMD4BR9S97V51R2TDVMR9IQO1 SIG NSEC3
ATUTAKMS2NNIOD8SIE19KMFB3UQD60KQ NSEC3 1 0 0 - D1MQ62M4MJGK65MGMKD443EV3MKV9VNB
ATUTAKMS2NNIOD8SIE19KMFB3UQD60KQ SIG NSEC3
D1MQ62M4MJGK65MGMKD443EV3MKV9VNB NSEC3 1 0 0 - KGQB5F8CKE123Q17PAPOMFBRL1TC0551 NS DS RRSIG
D1MQ62M4MJGK65MGMKD443EV3MKV9VNB SIG NSEC3
KGQB5F8CKE123Q17PAPOMFBRL1TC0551 NSEC3 1 0 0 - M1O89LFDO9RRF2F8R8SS42D81D09V48M
KGQB5F8CKE123Q17PAPOMFBRL1TC0551 SIG NSEC3
M1O89LFDO9RRF2F8R8SS42D81D09V48M NSEC3 1 0 0 - NDUQQO4NE4PJH2DSB3B775D1ROKVPI74 A RRSIG
M1O89LFDO9RRF2F8R8SS42D81D09V48M SIG NSEC3
NDUQQO4NE4PJH2DSB3B775D1ROKVPI74 NSEC3 1 0 0 - OOJHPKAGTML76O9HNTKLAPJ07UPIO0TV TXT RRSIG
NDUQQO4NE4PJH2DSB3B775D1ROKVPI74 SIG NSEC3
OOJHPKAGTML76O9HNTKLAPJ07UPIO0TV NSEC3 1 0 0 - P9N5PTEVJSJOSKR5U50VC77GP9BDSCK8 NS
OOJHPKAGTML76O9HNTKLAPJ07UPIO0TV SIG NSEC3
P9N5PTEVJSJOSKR5U50VC77GP9BDSCK8 NSEC3 1 0 0 - S8JTRR7DVQ6MFR5LQG0O1DJQDIVF272T TXT RRSIG
P9N5PTEVJSJOSKR5U50VC77GP9BDSCK8 SIG NSEC3
S8JTRR7DVQ6MFR5LQG0O1DJQDIVF272T NSEC3 1 0 0 - TF4V2JBVF5IQ28BHEOT32E5NSH2DBOF3 CNAME RRSIG
S8JTRR7DVQ6MFR5LQG0O1DJQDIVF272T SIG NSEC3
TF4V2JBVF5IQ28BHEOT32E5NSH2DBOF3 NSEC3 1 0 0 - 3MSEV9USMD4BR9S97V51R2TDVMR9IQO1
TF4V2JBVF5IQ28BHEOT32E5NSH2DBOF3 SIG NSEC3
";

/// The hash of the delegation `sec`.
const SEC_HASH: &str = "D1MQ62M4MJGK65MGMKD443EV3MKV9VNB";
/// The hash of the delegation `ins`.
const INS_HASH: &str = "OOJHPKAGTML76O9HNTKLAPJ07UPIO0TV";

/// A key of algorithm 13.
const KEY: &str = "257 3 13 AAAA";
/// Its tag: the sum of its octets in pairs (RFC 4034 appendix B).
const KEY_TAG: u16 = 0x0101 + 0x030d;

fn expanded(text: &str) -> String {
    let line = |line: &str| match line.split_once(" SIG ") {
        Some((owner, covered)) => {
            let labels = match owner {
                "@" => 1,
                _ => 1 + owner.split('.').filter(|label| *label != "*").count(),
            };
            format!(
                "{owner} RRSIG {covered} 13 {labels} 3600 20300101000000 20250101000000 {KEY_TAG} @ AAAA\n"
            )
        }
        None => format!("{}\n", line.replace("DNSKEY KEY", &format!("DNSKEY {KEY}"))),
    };
    text.lines().map(line).collect()
}

/// Checks a zone in which each of `changes` replaces a text, which must be there, everywhere; an empty line
/// keeps the lines behind it where they were.
#[track_caller]
fn check_changed(zone: &str, changes: &[(&str, &str)], now: Option<&str>, expected: &[&str]) {
    let mut text = zone.to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    let text = expanded(&text);
    let now = now.map(|now| time::from_text(now.as_bytes()).unwrap());
    check_zone(&read("example.", &text), now, &text, expected);
}

#[test]
fn good_zones() {
    check_changed(NSEC, &[], Some("20260101000000"), &[]);
    check_changed(NSEC3, &[], Some("20260101000000"), &[]);
}

#[test]
fn keys() {
    check_changed(
        NSEC,
        &[("@ DNSKEY KEY", ""), ("@ SIG DNSKEY", "")],
        None,
        &["warning: example. has no DNSKEY records but the zone has signatures"],
    );
    let text: String =
        NSEC.lines().filter(|line| !line.contains(" SIG ")).map(|line| format!("{line}\n")).collect();
    check_changed(
        &text,
        &[],
        None,
        &["3 warning: example. has DNSKEY records but the zone has no signatures"],
    );
    // A key that may not sign a zone is none.
    check_changed(
        NSEC,
        &[(
            "@ DNSKEY KEY",
            "@ DNSKEY KEY\n@ DNSKEY 1 3 14 AAAA\n@ DNSKEY 256 1 15 AAAA\n@ DNSKEY 385 3 16 AAAA",
        )],
        None,
        &[],
    );
}

#[test]
fn nsec_chain() {
    let gone = [("al NSEC a.b.c CNAME RRSIG NSEC", ""), ("al SIG NSEC", "")];
    check_changed(NSEC, &gone, None, &["9 warning: al.example. has no NSEC record"]);
    check_changed(
        NSEC,
        &[("NSEC sec A", "NSEC zz A")],
        None,
        &[
            "23 warning: the NSEC record of ns1.example. leads to zz.example., but the next name is sec.example.",
        ],
    );
    check_changed(
        NSEC,
        &[("NSEC @ TXT", "NSEC al TXT")],
        None,
        &["32 warning: the NSEC record of *.w.example. leads to al.example., but the next name is example."],
    );
    check_changed(
        NSEC,
        &[("NSEC sec A RRSIG", "NSEC sec AAAA TXT RRSIG")],
        None,
        &[
            "23 warning: the NSEC record for ns1.example. doesn't list A, which the name has, and lists TXT AAAA, which it doesn't",
        ],
    );
    check_changed(
        NSEC,
        &[("NSEC *.w NS DS", "NSEC *.w NS")],
        None,
        &["28 warning: the NSEC record for sec.example. doesn't list DS, which the name has:"],
    );
    check_changed(
        NSEC,
        &[("NSEC ns1 NS RRSIG", "NSEC ns1 NS DS RRSIG")],
        None,
        &["18 warning: the NSEC record for ins.example. lists DS, which the name doesn't have:"],
    );
    check_changed(
        NSEC,
        &[("al SIG NSEC", "al SIG NSEC\nal NSEC ns1 CNAME RRSIG NSEC")],
        None,
        &["13 warning: al.example. has several NSEC records"],
    );
    let changes = [("@ NSEC al NS SOA RRSIG NSEC DNSKEY", ""), ("@ SIG NSEC\n", "\n")];
    check_changed(NSEC, &changes, None, &["3 warning: example. is signed but has neither an NSEC chain nor"]);
    // A name that was added and not signed.
    check_changed(
        NSEC,
        &[("ins NS ns.ins", "ins NS ns.ins\nzz TXT x")],
        None,
        &[
            "18 warning: zz.example. has no NSEC record",
            "18 warning: the TXT records of zz.example. are not signed",
        ],
    );
}

#[test]
fn nsec3_chain() {
    let line = |hash: &str| -> String {
        NSEC3.lines().filter(|line| line.starts_with(hash)).map(|line| format!("{line}\n")).collect()
    };
    check_changed(
        NSEC3,
        &[(&line(SEC_HASH), "\n\n")],
        None,
        &[
            "24 warning: the NSEC3 record of atutakms2nniod8sie19kmfb3uqd60kq.example. leads to d1mq62m4mjgk65mgmkd443ev3mkv9vnb, \
         but the next one is kgqb5f8cke123q17papomfbrl1tc0551",
            "17 warning: sec.example. has no NSEC3 record: d1mq62m4mjgk65mgmkd443ev3mkv9vnb is not in the chain",
        ],
    );
    check_changed(
        NSEC3,
        &[("S8JTRR7DVQ6MFR5LQG0O1DJQDIVF272T TXT", "S8JTRR7DVQ6MFR5LQG0O1DJQDIVF272T A TXT")],
        None,
        &["36 warning: the NSEC3 record for *.w.example. lists A, which the name doesn't have"],
    );
    check_changed(
        NSEC3,
        &[("al CNAME ns1", ""), ("al SIG CNAME", "")],
        None,
        &["38 warning: the NSEC3 record of s8jtrr7dvq6mfr5lqg0o1djqdivf272t.example. is the hash of no name"],
    );
    // A delegation and an empty non-terminal that were added.
    check_changed(
        NSEC3,
        &[("ns.ins A 192.0.2.2", "ns.ins A 192.0.2.2\na.ent NS x.")],
        None,
        &["warning: ent.example. has no NSEC3 record", "15 warning: a.ent.example. has no NSEC3 record"],
    );
    check_changed(
        NSEC3,
        &[("@ NSEC3PARAM 1 0 0 -", ""), ("@ SIG NSEC3PARAM", "")],
        None,
        &["3 warning: example. is signed but has neither"],
    );
    check_changed(
        NSEC3,
        &[
            ("P9N5PTEVJSJOSKR5U50VC77GP9BDSCK8 NSEC3", "P9N5 NSEC3"),
            ("P9N5PTEVJSJOSKR5U50VC77GP9BDSCK8 SIG", "P9N5 SIG"),
        ],
        None,
        &[
            "36 warning: p9n5.example. has an NSEC3 record but is not a hash and the apex",
            "34 warning: the NSEC3 record of oojhpkagtml76o9hntklapj07upio0tv.example. leads to",
            "20 warning: *.w.example. has no NSEC3 record",
        ],
    );
}

#[test]
fn nsec3_opt_out() {
    // Without the delegation's record, and the one before leading past it.
    let ins: String =
        NSEC3.lines().filter(|line| line.starts_with(INS_HASH)).map(|line| format!("{line}\n")).collect();
    let sec: String =
        NSEC3.lines().filter(|line| line.starts_with(SEC_HASH)).map(|line| format!("{line}\n")).collect();
    let (past_ins, past_sec) =
        ("P9N5PTEVJSJOSKR5U50VC77GP9BDSCK8 TXT RRSIG", "KGQB5F8CKE123Q17PAPOMFBRL1TC0551\n");
    let without_ins = |flags: &str| {
        let before =
            "NDUQQO4NE4PJH2DSB3B775D1ROKVPI74 NSEC3 1 0 0 - OOJHPKAGTML76O9HNTKLAPJ07UPIO0TV TXT RRSIG";
        let after = format!("NDUQQO4NE4PJH2DSB3B775D1ROKVPI74 NSEC3 1 {flags} 0 - {past_ins}");
        NSEC3.replace(&ins, "\n\n").replace(before, &after)
    };
    check_changed(&without_ins("1"), &[], None, &[]);
    check_changed(&without_ins("0"), &[], None, &["13 warning: ins.example. has no NSEC3 record: oojhp"]);
    // A secure delegation must have its record all the same.
    let before = "ATUTAKMS2NNIOD8SIE19KMFB3UQD60KQ NSEC3 1 0 0 - D1MQ62M4MJGK65MGMKD443EV3MKV9VNB\n";
    let after = format!("ATUTAKMS2NNIOD8SIE19KMFB3UQD60KQ NSEC3 1 1 0 - {past_sec}");
    check_changed(
        &NSEC3.replace(&sec, "\n\n").replace(before, &after),
        &[],
        None,
        &["17 warning: sec.example. has no NSEC3 record"],
    );
    // So must an empty non-terminal above one, but not above an insecure one: all spans are opt-out here.
    let all = NSEC3.replace("NSEC3 1 0 0", "NSEC3 1 1 0");
    let insecure = [("ns.ins A 192.0.2.2", "ns.ins A 192.0.2.2\na.ent NS x.")];
    check_changed(&all, &insecure, None, &[]);
    let secure = [(
        "ns.ins A 192.0.2.2",
        "ns.ins A 192.0.2.2\na.ent NS x.\na.ent DS 1 13 1 0000000000000000000000000000000000000000\na.ent SIG DS",
    )];
    check_changed(
        &all,
        &secure,
        None,
        &["warning: ent.example. has no NSEC3", "15 warning: a.ent.example. has no NSEC3"],
    );
}

#[test]
fn nsec3_parameters() {
    // The hashes are no longer those of the names.
    let iterated = |count: &str| vec![("NSEC3PARAM 1 0 0 -", format!("NSEC3PARAM 1 0 {count} -"))];
    let check_first = |changes: Vec<(&str, String)>, expected: &[&str]| {
        let changes: Vec<(&str, &str)> = changes.iter().map(|(from, to)| (*from, to.as_str())).collect();
        check_changed(NSEC3, &changes, None, expected);
    };
    let no_denial = "3 warning: example. is signed but has neither";
    check_first(iterated("5"), &["7 warning: NSEC3 with 5 additional iterations: use 0", no_denial]);
    check_first(
        iterated("2501"),
        &["7 error: NSEC3 with 2501 additional iterations: at most 2500", no_denial],
    );
    check_first(
        vec![("NSEC3PARAM 1 0 0 -", "NSEC3PARAM 2 0 0 -".into())],
        &["7 warning: the NSEC3PARAM record has hash algorithm 2", no_denial],
    );
    check_first(
        vec![("NSEC3PARAM 1 0 0 -", "NSEC3PARAM 1 1 0 -".into())],
        &["7 warning: the NSEC3PARAM record has flags 1", no_denial],
    );
    // Another chain beside is not looked at: it may be half done.
    check_first(vec![("@ NSEC3PARAM 1 0 0 -", "0123456789abcdefghijklmnopqrstuv NSEC3 1 0 0 aa 00 A\n0123456789abcdefghijklmnopqrstuv SIG NSEC3\n@ NSEC3PARAM 1 0 0 -".into())], &[]);
}

#[test]
fn signatures() {
    check_changed(
        NSEC,
        &[("ns1 SIG A", "")],
        None,
        &["21 warning: the A records of ns1.example. are not signed"],
    );
    check_changed(
        NSEC,
        &[("sec SIG DS", "")],
        None,
        &["26 warning: the DS records of sec.example. are not signed"],
    );
    check_changed(
        NSEC,
        &[("*.w SIG NSEC", "")],
        None,
        &["32 warning: the NSEC records of *.w.example. are not signed"],
    );
    check_changed(
        NSEC3,
        &[("TF4V2JBVF5IQ28BHEOT32E5NSH2DBOF3 SIG NSEC3", "")],
        None,
        &["40 warning: the NSEC3 records of tf4v2jbvf5iq28bheot32e5nsh2dbof3.example. are not signed"],
    );
    check_changed(
        NSEC,
        &[("ns1 SIG A", "ns1 SIG A\nns1 SIG TXT")],
        None,
        &["23 warning: ns1.example. has a signature over TXT records"],
    );
    check_changed(
        NSEC,
        &[("sec SIG DS", "sec SIG DS\nsec SIG NS")],
        None,
        &["28 warning: sec.example. has a signature over NS records"],
    );
    check_changed(
        NSEC,
        &[("ns.ins A 192.0.2.2", "ns.ins A 192.0.2.2\nns.ins SIG A")],
        None,
        &["21 warning: the RRSIG records of ns.ins.example. are hidden"],
    );
    check_changed(
        SMALL,
        &[("@ DNSKEY KEY", "@ DNSKEY KEY\n@ DNSKEY 256 3 15 AAAA")],
        None,
        &[
            "2 warning: the NS records of example. have no signature of algorithm 15",
            "1 warning: the SOA records of example. have",
            "5 warning: the NSEC records of example. have",
            "4 warning: the DNSKEY records of example. have",
        ],
    );
}

#[test]
fn fields_of_signatures() {
    let rrsig = |ttl: u32, tag: u16, labels: u8, signer: &str, covered: &str| {
        format!("ns1 RRSIG {covered} 13 {labels} {ttl} 20300101000000 20250101000000 {tag} {signer} AAAA")
    };
    let check =
        |rrsig: String, expected: &str| check_changed(NSEC, &[("ns1 SIG A", &rrsig)], None, &[expected]);
    check(
        rrsig(3600, 7, 2, "@", "A"),
        "22 warning: the signature over A of ns1.example. is by key 7 of algorithm 13, which is not in the DNSKEY set",
    );
    check(
        rrsig(3600, KEY_TAG, 2, "org.", "A"),
        "22 warning: the signature over A of ns1.example. names the signer org.",
    );
    check(
        rrsig(3600, KEY_TAG, 1, "@", "A"),
        "22 warning: the signature over A of ns1.example. is for 1 labels, but there are 2",
    );
    check(
        rrsig(600, KEY_TAG, 2, "@", "A"),
        "22 warning: the signature over A of ns1.example. is for a TTL of 600, but the set has 3600",
    );
    check_changed(
        NSEC,
        &[("*.w SIG TXT", &rrsig(3600, KEY_TAG, 3, "@", "TXT").replace("ns1", "*.w"))],
        None,
        &["31 warning: the signature over TXT of *.w.example. is for 3 labels, but there are 2"],
    );
}

#[test]
fn times_of_signatures() {
    check_changed(SMALL, &[], None, &[]);
    check_changed(SMALL, &[], Some("20250101000000"), &[]);
    check_changed(SMALL, &[], Some("20300101000000"), &[]);
    let expired = ["6 ", "5 ", "8 ", "7 "].map(|line| format!("{line}warning: the signature over "));
    let expired: Vec<&str> = expired.iter().map(String::as_str).collect();
    check_changed(SMALL, &[], Some("20300101000001"), &expired);
    check_changed(SMALL, &[], Some("20241231235959"), &expired);
    let late =
        [("@ SIG NS\n", format!("@ RRSIG NS 13 1 3600 20240101000000 20230101000000 {KEY_TAG} @ AAAA\n"))];
    let early =
        [("@ SIG NS\n", format!("@ RRSIG NS 13 1 3600 20280101000000 20270101000000 {KEY_TAG} @ AAAA\n"))];
    for (changes, expected) in
        [(late, "expired at 20240101000000"), (early, "is valid from 20270101000000 only")]
    {
        let changes = changes.each_ref().map(|(from, to)| (*from, to.as_str()));
        check_changed(
            SMALL,
            &changes,
            Some("20260101000000"),
            &[&format!("6 warning: the signature over NS of example. {expected}")],
        );
    }
}
