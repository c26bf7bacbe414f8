//! Zones and the queries for them, made from a seed: the same seed gives the same files.

mod draw;
mod hosts;
mod hot;
mod outside;
mod real_root;
mod root;
mod zones;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use starling_tests::name::Name;
use starling_tests::query::{Edns, Query};
use starling_tests::signing::{self, Denial};

use crate::options::Options;

/// Payload size that queries offer: what resolvers do (RFC 9715 §3.2), and what every server is set to.
const PAYLOAD_LEN: u16 = 1232;
/// Queries in one set. Of a million hosts it asks for a good part, so that a cache of answers has not seen most of them;
/// more only takes longer to write and read.
const SET_LEN: usize = 200_000;
/// Queries that every server has to answer alike before it is measured.
const SAMPLE_LEN: usize = 200;
/// The name whose address tells which version of a zone is served.
const MARK: &str = "version";

/// A kind of zone with its queries.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Workload {
    /// Ten records, one hot name
    Hot,
    /// 1,500 delegations, 60 % nonexistent names
    Root,
    /// The same signed, with NSEC, and DO in the queries
    RootNsec,
    /// The same signed, with NSEC3
    RootNsec3,
    /// A million hosts, skewed; 5 % aliases, 5 % nonexistent names
    Hosts,
    /// Ten thousand small zones
    Zones,
    /// A flood of names in none of the zones
    Outside,
    /// The real root zone and captured queries, where there are any ($STARLING_DATA)
    RealRoot,
}

impl Workload {
    /// The name on the command line and in files.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Whether the queries ask for signatures.
    pub(crate) fn dnssec(self) -> bool {
        matches!(self, Self::RootNsec | Self::RootNsec3 | Self::RealRoot)
    }
}

/// A zone as a server gets it.
#[derive(Clone, Debug)]
pub(crate) struct Zone {
    /// The apex with its final dot.
    pub(crate) apex: String,
    /// The master file.
    pub(crate) file: PathBuf,
}

/// A later version of one of the zones.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// Which zone.
    pub(crate) zone: Zone,
    /// The master files of both versions; that of the zone is a copy of the first.
    before: PathBuf,
    after: PathBuf,
    /// A query, and the last octet of the address that each version gives.
    pub(crate) mark: Query,
    /// What the later version answers.
    pub(crate) after_octet: u8,
}

/// Queries in the forms that the generators want.
#[derive(Clone, Debug)]
pub(crate) struct QuerySet {
    /// For kxdpgun: name, type, flags.
    pub(crate) kxdpgun: PathBuf,
    /// For dnsperf: name and type.
    pub(crate) dnsperf: PathBuf,
    /// As messages with id 0.
    pub(crate) messages: Arc<[Vec<u8>]>,
}

/// What a measurement is for; each has queries of its own, so that no cache of answers has seen them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// As much as the server can answer.
    Saturation,
    /// Twice that.
    Overload,
    /// A steady part of it.
    Steady,
    /// dnsperf as fast as it can.
    Dnsperf,
    /// A steady part, while a zone is replaced.
    Reload,
}

const PHASES: [Phase; 5] = [Phase::Saturation, Phase::Overload, Phase::Steady, Phase::Dnsperf, Phase::Reload];

/// A workload, ready to be served and asked for.
pub(crate) struct Prepared {
    /// Which.
    pub(crate) workload: Workload,
    /// Its zones.
    pub(crate) zones: Vec<Zone>,
    /// Records in all zones.
    pub(crate) records: u64,
    /// How a zone can change; none for signed zones, which would have to be signed again.
    pub(crate) change: Option<Change>,
    /// Queries that have an answer when all zones are loaded: of the first, one in the middle, and the last.
    pub(crate) ready: Vec<Query>,
    /// What every server has to answer alike.
    pub(crate) sample: Vec<Query>,
    sets: Vec<QuerySet>,
}

/// What a kind of workload is made of, before it is written down.
struct Plan {
    /// Apex and master file of each zone, in the first version.
    zones: Vec<(String, String)>,
    /// The later version of the last zone.
    after: Option<String>,
    /// Names and types; dealt out to the phases.
    queries: Vec<(String, u16)>,
    /// Whether it is signed when written down.
    signed: Option<Denial>,
}

impl Plan {
    /// The plan of a workload; none, with the reason, where what it is made of is missing.
    fn of(workload: Workload, options: &Options) -> Result<Result<Self, String>> {
        let mut lots = fastrand::Rng::with_seed(options.seed);
        Ok(Ok(match workload {
            Workload::Hot => hot::plan(),
            Workload::Root => root::plan(&mut lots, root::Delegation::Plain, None),
            Workload::RootNsec => root::plan(&mut lots, root::Delegation::Signed, Some(Denial::Nsec)),
            Workload::RootNsec3 => root::plan(&mut lots, root::Delegation::Signed, Some(Denial::Nsec3)),
            Workload::Hosts => hosts::plan(&mut lots, options.hosts),
            Workload::Zones => zones::plan(&mut lots, options.zones),
            Workload::Outside => outside::plan(&mut lots),
            Workload::RealRoot => return real_root::plan(&mut lots),
        }))
    }
}

impl Prepared {
    /// Makes a workload in a folder; none, with the reason, where what it is made of is missing.
    pub(crate) fn make(workload: Workload, options: &Options, folder: &Path) -> Result<Result<Self, String>> {
        let plan = match Plan::of(workload, options)? {
            Ok(plan) => plan,
            Err(missing) => return Ok(Err(missing)),
        };
        let folder = folder.join(workload.name());
        fs::create_dir_all(&folder)?;
        Self::write(workload, plan, &folder).map(Ok)
    }

    fn write(workload: Workload, plan: Plan, folder: &Path) -> Result<Self> {
        let mut zones = Vec::new();
        for (apex, text) in &plan.zones {
            let file = folder.join(format!("{}zone", if apex == "." { "root." } else { apex }));
            fs::write(&file, text).with_context(|| format!("zone file {}", file.display()))?;
            zones.push(Zone { apex: apex.clone(), file });
        }
        if let Some(denial) = plan.signed {
            sign(&mut zones, denial, folder)?;
        }
        let change = change(&zones, plan.after.as_deref(), folder)?;
        let queries = |range: &[(String, u16)]| -> Result<Vec<Query>> {
            range.iter().map(|(name, qtype)| query(name, *qtype, workload)).collect()
        };
        let sets = PHASES.iter().zip(deal(&plan.queries));
        let sets: Vec<QuerySet> = sets
            .map(|(phase, dealt)| write_set(&queries(&dealt)?, &folder.join(format!("{phase:?}"))))
            .collect::<Result<_>>()?;
        let step = (plan.queries.len() / SAMPLE_LEN).max(1);
        let sample: Vec<_> = plan.queries.iter().step_by(step).take(SAMPLE_LEN).cloned().collect();
        let ends = [zones.first(), zones.get(zones.len() / 2), zones.last()];
        let ready = ends.into_iter().flatten().map(|zone| query(&zone.apex, TYPE_SOA, workload));
        let (ready, sample) = (ready.collect::<Result<_>>()?, queries(&sample)?);
        Ok(Self { workload, records: count(&zones)?, zones, change, ready, sample, sets })
    }

    /// The queries of a phase.
    pub(crate) fn queries(&self, phase: Phase) -> &QuerySet {
        let place = PHASES.iter().position(|known| *known == phase);
        &self.sets[place.expect("every phase is in the list")]
    }
}

const TYPE_A: u16 = 1;
const TYPE_SOA: u16 = 6;
/// The types that queries have, as both generators write them.
const TYPES: &[(&str, u16)] = &[
    ("A", TYPE_A),
    ("NS", 2),
    ("SOA", TYPE_SOA),
    ("PTR", 12),
    ("MX", 15),
    ("TXT", 16),
    ("AAAA", 28),
    ("SRV", 33),
    ("DS", 43),
];

impl Change {
    /// Puts a version in the place of the zone's file, at once as editors do.
    pub(crate) fn put(&self, version: Version) -> Result<()> {
        let from = if version == Version::Before { &self.before } else { &self.after };
        let fresh = self.zone.file.with_extension("fresh");
        fs::copy(from, &fresh).and_then(|_| fs::rename(&fresh, &self.zone.file)).with_context(|| {
            format!("the changed zone can't be put in the place of {}", self.zone.file.display())
        })
    }
}

/// Which version of a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// The one that servers start with.
    Before,
    /// The one that comes during a reload.
    After,
}

fn change(zones: &[Zone], after: Option<&str>, folder: &Path) -> Result<Option<Change>> {
    let (Some(zone), Some(text)) = (zones.last(), after) else { return Ok(None) };
    let (before, later) = (folder.join("before"), folder.join("after"));
    fs::copy(&zone.file, &before)?;
    fs::write(&later, text)?;
    let mark = Name::parse(&format!("{MARK}.{}", zone.apex))?;
    let mark = Query::new(mark, TYPE_A).with_edns(Edns::size(PAYLOAD_LEN));
    Ok(Some(Change { zone: zone.clone(), before, after: later, mark, after_octet: 2 }))
}

/// The head of a zone's text: SOA, two servers, and the mark of its version.
fn head(version: Version) -> String {
    let number = if version == Version::Before { 1 } else { 2 };
    format!(
        "$TTL 3600\n@ IN SOA ns1 host {number} 7200 3600 1209600 300\n@ IN NS ns1\n@ IN NS ns2\n\
         ns1 IN A 192.0.2.1\nns2 IN A 192.0.2.2\n{MARK} IN A 192.0.2.{number}\n"
    )
}

/// Deals queries out to the phases; a set that would be small is all of them.
fn deal(queries: &[(String, u16)]) -> Vec<Vec<(String, u16)>> {
    let hands = PHASES.len();
    if queries.len() < SET_LEN {
        return vec![queries.to_vec(); hands];
    }
    let hand = |at: usize| queries.iter().skip(at).step_by(hands).take(SET_LEN).cloned().collect();
    (0..hands).map(hand).collect()
}

fn query(name: &str, qtype: u16, workload: Workload) -> Result<Query> {
    let edns = if workload.dnssec() { Edns::dnssec(PAYLOAD_LEN) } else { Edns::size(PAYLOAD_LEN) };
    Ok(Query::new(Name::parse(name)?, qtype).with_edns(edns))
}

fn write_set(queries: &[Query], path: &Path) -> Result<QuerySet> {
    let (mut kxdpgun, mut dnsperf) = (String::new(), String::new());
    for query in queries {
        let mnemonic = TYPES.iter().find(|(_, number)| *number == query.qtype);
        let mnemonic = mnemonic.with_context(|| format!("{query}: this type is not in the list"))?.0;
        let flags = if query.dnssec_ok() { "ED" } else { "E" };
        // Writing to a String does not fail.
        let _ = writeln!(kxdpgun, "{} {mnemonic} {flags}", query.name);
        let _ = writeln!(dnsperf, "{} {mnemonic}", query.name);
    }
    let set = QuerySet {
        kxdpgun: path.with_extension("kxdpgun"),
        dnsperf: path.with_extension("dnsperf"),
        messages: queries.iter().map(|query| query.bytes(0)).collect(),
    };
    fs::write(&set.kxdpgun, kxdpgun).with_context(|| format!("queries {}", set.kxdpgun.display()))?;
    fs::write(&set.dnsperf, dnsperf).with_context(|| format!("queries {}", set.dnsperf.display()))?;
    Ok(set)
}

fn sign(zones: &mut [Zone], denial: Denial, folder: &Path) -> Result<()> {
    for zone in zones {
        let signed = signing::sign(&[(Name::parse(&zone.apex)?, zone.file.clone())], denial, folder)?;
        let (_, file) = signed.into_iter().next().context("one zone was signed")?;
        // The signer writes for itself alone, and a Starling that has given up its privileges must read it.
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        fs::set_permissions(&file, permissions)?;
        zone.file = file;
    }
    Ok(())
}

/// Records in all zones, as our own reader counts them.
fn count(zones: &[Zone]) -> Result<u64> {
    let mut records = 0;
    for zone in zones {
        let text = fs::read_to_string(&zone.file)?;
        records += u64::from(starling_benches::compiled(&zone.apex, &text).record_count());
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn options(seed: &str) -> Options {
        Options::try_parse_from(["compare", "--hosts", "1000", "--zones", "10", "--seed", seed]).unwrap()
    }

    #[test]
    fn a_seed_gives_the_same_zones_and_queries() {
        for workload in [Workload::Hot, Workload::Root, Workload::Hosts, Workload::Zones] {
            let plan = |seed| Plan::of(workload, &options(seed)).unwrap().unwrap();
            let (one, same, other) = (plan("1"), plan("1"), plan("2"));
            assert!(one.zones == same.zones && one.queries == same.queries, "{workload:?}");
            assert!(workload == Workload::Hot || one.queries != other.queries, "{workload:?}");
        }
    }

    #[test]
    fn the_changed_version_differs_in_serial_and_mark() {
        let folder = tempfile::tempdir().unwrap();
        let made = Prepared::make(Workload::Hot, &options("1"), folder.path()).unwrap().unwrap();
        let change = made.change.as_ref().unwrap();
        let read = || fs::read_to_string(&change.zone.file).unwrap();
        let before = read();
        change.put(Version::After).unwrap();
        let after = read();
        let differing: Vec<_> = before.lines().zip(after.lines()).filter(|(old, new)| old != new).collect();
        assert_eq!(differing.len(), 2);
        assert!(differing[0].0.contains("SOA ns1 host 1 "), "{differing:?}");
        assert_eq!(differing[1].1, "version IN A 192.0.2.2");
        change.put(Version::Before).unwrap();
        assert_eq!(read(), before);
    }

    #[test]
    fn phases_do_not_share_queries() {
        let queries: Vec<_> = (0..SET_LEN * 5).map(|i| (format!("n{i}."), TYPE_A)).collect();
        let dealt = deal(&queries);
        assert_eq!(dealt.len(), 5);
        assert!(dealt.iter().all(|set| set.len() == SET_LEN));
        let distinct: std::collections::HashSet<_> = dealt.iter().flatten().collect();
        assert_eq!(distinct.len(), 5 * SET_LEN);
    }
}
