//! Each rule on the smallest zone that shows it.

use super::*;
use crate::config::{self, Rotation, SecondaryConfig, ZoneSource};
use std::path::PathBuf;
use std::time::Duration;
use zone::CompileOptions;
use zone::master::NoIncludes;

const SIGNED: &str = "@ 60 DNSKEY 257 3 13 AAAA\n";

fn table(serial: u32, text: &str) -> (Arc<Table>, zonemd::Verdict) {
    let text = format!("@ 60 SOA ns h {serial} 1 2 3 4\n@ 60 NS ns\nns 60 A 192.0.2.1\n{text}");
    let apex = config::apex("example").unwrap();
    let reading = ::zone::read(apex.as_name(), "text", text, &mut NoIncludes, &mut |_| ());
    let zone = reading.zone.unwrap_or_else(|| panic!("{:?}", reading.problems));
    let verdict = zonemd::verify(&zone);
    (Arc::new(::zone::compile(zone, &CompileOptions::default()).unwrap()), verdict)
}

fn zone(change: impl FnOnce(&mut AdmissionConfig)) -> ZoneConfig {
    let mut admission = AdmissionConfig::default();
    change(&mut admission);
    let name = config::apex("example").unwrap();
    let zone = ZoneConfig::of_file(name, PathBuf::from("file"), Rotation::Off);
    ZoneConfig { admission: Arc::new(admission), ..zone }
}

/// Which rules stop the second version where the first stands.
fn stops(zone: &ZoneConfig, before: Option<(u32, &str)>, after: (u32, &str)) -> Vec<Rule> {
    let standing = before.map(|(serial, text)| table(serial, text).0);
    let (table, zonemd) = table(after.0, after.1);
    let candidate = Candidate {
        zone,
        table: &table,
        zonemd: Some(zonemd),
        standing: standing.as_ref(),
        unwanted: None,
        serials: Serials::AsConfigured,
    };
    match judge(&candidate) {
        Verdict::Admitted | Verdict::Unasked => Vec::new(),
        Verdict::Stopped(stop) => stop.reasons.iter().map(|reason| reason.rule).collect(),
    }
}

fn hosts(count: u32) -> String {
    (0..count).map(|host| format!("h{host} 60 A 192.0.2.1\n")).collect()
}

fn signature(begins: &str, ends: &str) -> String {
    format!("@ 60 RRSIG NS 13 1 60 {ends} {begins} 1 example. AAAA\n")
}

#[test]
fn a_first_version_and_an_ordinary_change_pass() {
    let zone = zone(|_| ());
    assert_eq!(stops(&zone, None, (1, "")), []);
    assert_eq!(stops(&zone, Some((1, "")), (2, "x 60 A 192.0.2.2\n")), []);
    // Of a master file, whose editor may have his own mind about serials.
    assert_eq!(stops(&zone, Some((2, "")), (1, "x 60 A 192.0.2.2\n")), []);
}

#[test]
fn a_zone_may_shrink_by_so_many_percent() {
    let (before, half, less) = (hosts(197), hosts(97), hosts(96)); // and three records at the apex
    assert_eq!(stops(&zone(|_| ()), Some((1, &before)), (2, &half)), []);
    assert_eq!(stops(&zone(|_| ()), Some((1, &before)), (2, &less)), [Rule::Shrink]);
    let any = zone(|admission| admission.shrink_max_percent = 100);
    assert_eq!(stops(&any, Some((1, &before)), (2, "")), []);
    let none = zone(|admission| admission.shrink_max_percent = 0);
    assert_eq!(stops(&none, Some((1, &before)), (2, &hosts(196))), [Rule::Shrink]);
    assert_eq!(stops(&none, Some((1, &before)), (2, &hosts(198))), []);
    // Below a hundred records half of a zone is a handful.
    assert_eq!(stops(&none, Some((1, &hosts(96))), (2, "")), []);
}

#[test]
fn keys_stay_where_they_were() {
    assert_eq!(stops(&zone(|_| ()), Some((1, SIGNED)), (2, "")), [Rule::ApexSets]);
    assert_eq!(stops(&zone(|_| ()), Some((1, "")), (2, SIGNED)), []);
    assert_eq!(stops(&zone(|admission| admission.apex_sets = false), Some((1, SIGNED)), (2, "")), []);
}

#[test]
fn serials_go_forward_where_they_have_to() {
    let forward = zone(|admission| admission.serial_forward = Some(true));
    let changed = "x 60 A 192.0.2.2\n";
    assert_eq!(stops(&forward, Some((5, "")), (6, changed)), []);
    assert_eq!(stops(&forward, Some((5, "")), (5, changed)), [Rule::Serial]);
    assert_eq!(stops(&forward, Some((5, "")), (4, changed)), [Rule::Serial]);
    assert_eq!(stops(&forward, Some((u32::MAX, "")), (1, changed)), [], "RFC 1982");
    assert_eq!(stops(&forward, Some((5, "")), (5, "")), [], "the same once more");
    let copy =
        ZoneConfig { source: ZoneSource::Primaries(Arc::new(SecondaryConfig::default())), ..zone(|_| ()) };
    assert_eq!(stops(&copy, Some((5, "")), (4, changed)), [Rule::Serial]);
    let (standing, (table, _)) = (table(5, "").0, table(4, changed));
    let any = Candidate {
        zone: &copy,
        table: &table,
        zonemd: None,
        standing: Some(&standing),
        unwanted: None,
        serials: Serials::Any,
    };
    assert_eq!(judge(&any), Verdict::Admitted);
}

#[test]
fn signatures_are_valid_or_no_worse_than_before() {
    let good = signature("20200101000000", "20900101000000");
    let old = signature("20200101000000", "20210101000000");
    let early = signature("20890101000000", "20900101000000");
    let zone_of = zone(|_| ());
    assert_eq!(stops(&zone_of, Some((1, &good)), (2, &old)), [Rule::Signatures]);
    assert_eq!(stops(&zone_of, Some((1, &good)), (2, &early)), [Rule::Signatures]);
    assert_eq!(stops(&zone_of, Some((1, &good)), (2, &format!("{old}{good}"))), [], "one is enough");
    assert_eq!(stops(&zone_of, Some((1, &old)), (2, &early)), [], "no worse");
    assert_eq!(stops(&zone_of, None, (1, &old)), [], "better than nothing");
    assert_eq!(stops(&zone(|it| it.signatures = false), Some((1, &good)), (2, &old)), []);
    // Valid still, and not for long enough.
    let left = Duration::from_secs(315_360_000);
    let soon = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() + 3600;
    let soon = signature("20200101000000", &soon.to_string());
    let strict = zone(|admission| admission.signatures_left_min = left);
    assert_eq!(stops(&strict, Some((1, &good)), (2, &soon)), [Rule::Signatures]);
    assert_eq!(stops(&zone_of, Some((1, &good)), (2, &soon)), []);
}

const FROM_2020_TO_2090: &str = "20900101000000 20200101000000";
const FROM_2020_TO_2021: &str = "20210101000000 20200101000000";

/// Hosts whose addresses are signed for this time.
fn signed_hosts(hosts: std::ops::Range<u32>, time: &str) -> String {
    hosts
        .map(|host| format!("h{host} 60 A 192.0.2.1\nh{host} 60 RRSIG A 13 2 60 {time} 1 example. AAAA\n"))
        .collect()
}

#[test]
fn one_old_signature_is_no_licence_for_more() {
    let zone = zone(|_| ());
    let apex = signature("20200101000000", "20900101000000");
    let zone_with = |old: u32, all: u32| {
        let (late, good) =
            (signed_hosts(0..old, FROM_2020_TO_2021), signed_hosts(old..all, FROM_2020_TO_2090));
        format!("{apex}{late}{good}")
    };
    assert_eq!(stops(&zone, Some((1, &zone_with(1, 50))), (2, &zone_with(50, 50))), [Rule::Signatures]);
    assert_eq!(stops(&zone, Some((1, &zone_with(1, 50))), (2, &zone_with(2, 50))), [Rule::Signatures]);
    assert_eq!(stops(&zone, Some((1, &zone_with(2, 50))), (2, &zone_with(2, 51))), [], "no more than before");
    assert_eq!(stops(&zone, Some((1, &zone_with(2, 50))), (2, &zone_with(1, 50))), []);
    // Where nothing is valid there is nothing to keep.
    let [before, after] = [50, 51].map(|all| signed_hosts(0..all, FROM_2020_TO_2021));
    let old = signature("20200101000000", "20210101000000");
    assert_eq!(stops(&zone, Some((1, &format!("{old}{before}"))), (2, &format!("{old}{after}"))), []);
}

#[test]
fn what_has_changed_is_compared_with_all_of_the_version_before() {
    let zone = zone(|_| ());
    let apex = signature("20200101000000", "20900101000000");
    let text = |old: std::ops::Range<u32>, more: &str| {
        let (late, good) =
            (signed_hosts(old.clone(), FROM_2020_TO_2021), signed_hosts(old.end..60, FROM_2020_TO_2090));
        format!("{apex}{late}{good}{more}")
    };
    let over = |standing: &Arc<Table>, serial: u32, text: &str| {
        let text = format!("@ 60 SOA ns h {serial} 1 2 3 4\n@ 60 NS ns\nns 60 A 192.0.2.1\n{text}");
        let apex = config::apex("example").unwrap();
        let reading = ::zone::read(apex.as_name(), "text", text, &mut NoIncludes, &mut |_| ());
        let options = CompileOptions { source: standing.source(), ..CompileOptions::default() };
        let table = ::zone::amend::renew(standing, &reading.zone.unwrap(), &options).unwrap();
        assert!(table.is_overlaid());
        Arc::new(table)
    };
    let judge = |standing: &Arc<Table>, table: &Arc<Table>| {
        judge(&Candidate {
            zone: &zone,
            table,
            zonemd: None,
            standing: Some(standing),
            unwanted: None,
            serials: Serials::AsConfigured,
        })
    };
    // The base has one, and what has changed another.
    let (base, _) = table(1, &text(0..1, ""));
    let changed = over(&base, 2, &text(0..1, "x 60 A 192.0.2.9\n"));
    assert_eq!(judge(&base, &changed), Verdict::Admitted, "what is old is of the base alone");
    assert!(matches!(judge(&changed, &over(&base, 3, &text(0..2, ""))), Verdict::Stopped(_)));
    // As a whole it is no worse than over its base.
    let (whole, _) = table(3, &text(0..1, "x 60 A 192.0.2.10\n"));
    assert_eq!(judge(&changed, &whole), Verdict::Admitted);
}

#[test]
fn what_is_out_of_time_is_told_with_an_example() {
    let old = "ns 60 RRSIG A 13 2 60 20210101000000 20200101000000 1 example. AAAA\n";
    let apex = signature("20200101000000", "20200201000000");
    let (table, _) = table(1, &format!("{apex}{old}"));
    let late = signatures::out_of_time(&table, Scope::All, 1_700_000_000, 0).unwrap();
    let expected = "2 sets are without a signature that is valid, such as NS of example., whose signature ends at \
                    20200201000000";
    assert_eq!(late.to_string(), expected);
}

#[test]
fn zonemd_is_refused_and_never_held() {
    let digest = "00".repeat(48);
    let bad = format!("@ 60 ZONEMD 2 1 1 {digest}\n");
    let private = format!("@ 60 ZONEMD 2 240 1 {digest}\n");
    let verify = zone(|_| ());
    assert_eq!(stops(&verify, None, (2, &bad)), [Rule::Zonemd], "the first version, too");
    assert_eq!(stops(&verify, Some((1, "")), (2, &private)), []);
    let require = zone(|admission| admission.zonemd = ZonemdPolicy::Require);
    assert_eq!(stops(&require, None, (2, &private)), [Rule::Zonemd]);
    assert_eq!(stops(&require, None, (2, "")), [Rule::Zonemd]);
    let (table, verdict) = table(2, &bad);
    let candidate = Candidate {
        zone: &verify,
        table: &table,
        zonemd: Some(verdict),
        standing: None,
        unwanted: None,
        serials: Serials::Any,
    };
    assert!(matches!(judge(&candidate), Verdict::Stopped(Stop { fate: Fate::Refused, .. })));
    assert_eq!(judge(&Candidate { zonemd: None, ..candidate }), Verdict::Admitted, "nobody has looked");
}

#[test]
fn what_was_rolled_back_from_does_not_come_back() {
    let zone = zone(|_| ());
    let (standing, unwanted) = (table(4, "").0, table(5, "x 60 A 192.0.2.2\n").0);
    let judge = |serial, text| {
        let (table, _) = table(serial, text);
        judge(&Candidate {
            zone: &zone,
            table: &table,
            zonemd: None,
            standing: Some(&standing),
            unwanted: Some(Unwanted { serial: unwanted.serial(), content: unwanted.content() }),
            serials: Serials::Any,
        })
    };
    let is_held = |verdict| matches!(verdict, Verdict::Stopped(Stop { fate: Fate::Held, reasons }) if reasons[0].rule == Rule::RolledBack);
    assert!(is_held(judge(5, "x 60 A 192.0.2.2\n")));
    assert!(is_held(judge(5, "x 60 A 192.0.2.3\n")), "the serial is enough");
    assert_eq!(judge(6, "x 60 A 192.0.2.2\n"), Verdict::Admitted);
}

#[test]
fn the_operators_command_sees_the_version_and_decides() {
    let folder = tempfile::tempdir().unwrap();
    let seen = folder.path().join("seen");
    let script = |line: &str| {
        let text = format!("echo \"$1 $2 $3\" > {0}; cat \"$4\" >> {0}; {line}", seen.display());
        zone(|admission| {
            admission.command = ["/bin/sh", "-c", &text, "check"].map(str::to_owned).to_vec();
            admission.command_timeout = Duration::from_secs(20);
        })
    };
    let run = |zone: &ZoneConfig, before: Option<(u32, &str)>| {
        let standing = before.map(|(serial, text)| table(serial, text).0);
        let (table, _) = table(2, "x 60 TXT \"a;b\"\n");
        let verdict = judge(&Candidate {
            zone,
            table: &table,
            zonemd: None,
            standing: standing.as_ref(),
            unwanted: None,
            serials: Serials::Any,
        });
        assert_eq!(verdict, Verdict::Unasked);
        let (zone, standing) = (zone.clone(), standing.map(|standing| standing.serial()));
        Question { zone, table, standing, folder: Some(folder.path().to_owned()) }.ask()
    };
    assert_eq!(run(&script("exit 0"), Some((1, ""))), Verdict::Admitted);
    let expected = "example. 1 2\nexample. 60 IN SOA ns.example. h.example. 2 1 2 3 4\nexample. 60 IN NS ns.example.\n\
                    ns.example. 60 IN A 192.0.2.1\nx.example. 60 IN TXT \"a;b\"\n";
    assert_eq!(std::fs::read_to_string(&seen).unwrap(), expected);
    let Verdict::Stopped(Stop { fate: Fate::Held, reasons }) =
        run(&script("echo too few hosts >&2; exit 3"), None)
    else {
        panic!("admitted")
    };
    assert_eq!(reasons[0].rule, Rule::Command);
    assert!(reasons[0].text.ends_with("too few hosts"), "{}", reasons[0].text);
    assert!(std::fs::read_to_string(&seen).unwrap().starts_with("example. - 2\n"));
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "the version's file is gone");
    let slow = script("sleep 30");
    let mut admission = AdmissionConfig::clone(&slow.admission);
    admission.command_timeout = Duration::from_millis(200);
    let slow = ZoneConfig { admission: Arc::new(admission), ..slow };
    let Verdict::Stopped(Stop { fate: Fate::Held, reasons }) = run(&slow, None) else { panic!("admitted") };
    assert!(reasons[0].text.contains("taken longer than"), "{}", reasons[0].text);
}
