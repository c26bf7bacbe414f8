//! `starling compare`: whether nodes serve the same zones.

use super::{UsageError, print_json};
use crate::cli::CompareArguments;
use crate::exit::Exit;
use crate::management::{AskError, fetch};
use crate::status::{self, DigestPage, EarlierVersion, ZoneDigest};
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};
use tokio::task::JoinSet;
use transfer::serial::is_newer;

/// The largest page in octets: a thousand zones, the longest names escaped throughout included.
const PAGE_LEN_MAX: usize = 4 << 20;
/// The most zones of a node: more than anybody has, so that one that never ends costs no more memory than that.
const ZONES_MAX: usize = 4_000_000;
/// How often a node is asked anew for all of its zones, because some have gone between a page and the next.
const ATTEMPTS: usize = 10;

/// What came of it.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Comparison {
    /// How many zones there are on all nodes together.
    zones: usize,
    /// Those that are not the same everywhere.
    different: Vec<Difference>,
    /// The nodes that could not be asked, and why.
    unknown: BTreeMap<SocketAddr, String>,
}

/// A zone that nodes have different versions of.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Difference {
    name: String,
    /// Since when (RFC 3339); nothing where a node serves none, of which it says no time.
    since: Option<String>,
    /// Whether it may be longer than that: what was served then is known no more.
    or_longer: bool,
    /// What each node has; nothing where it serves none.
    nodes: BTreeMap<SocketAddr, Option<Version>>,
}

/// What a node has of a zone.
#[derive(Serialize, Clone, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
struct Version {
    serial: u32,
    content: String,
    since: String,
    #[serde(skip)]
    earlier: Vec<EarlierVersion>,
}

/// Since when nodes differ.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Since {
    time: String,
    or_longer: bool,
}

impl Version {
    /// When the node went on from a version with this serial, which another still has. Where it does not say, since when it has served
    /// something newer at least.
    fn went_on_from(&self, serial: u32) -> Since {
        let text = |seconds| status::timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        let left = self.earlier.iter().rev().find(|version| version.serial == serial);
        if let Some(left) = left {
            return Since { time: text(left.until), or_longer: false };
        }
        // The last ones without a gap that are all newer.
        let newer = self.earlier.iter().rev().take_while(|version| is_newer(version.serial, serial));
        let time = newer.last().map_or_else(|| self.since.clone(), |first| text(first.from));
        Since { time, or_longer: true }
    }
}

/// Since when versions differ that are not all the same. Whoever has the oldest is taken to be behind, and those with newer ones to have
/// gone on; where all have the same serial, the last to change has done it.
fn since(versions: &[&Version]) -> Option<Since> {
    let oldest = versions.iter().map(|version| version.serial).reduce(|oldest, serial| {
        match is_newer(oldest, serial) {
            true => serial,
            false => oldest,
        }
    })?;
    let newer = versions.iter().filter(|version| version.serial != oldest);
    let went_on = newer.map(|version| version.went_on_from(oldest)).min();
    // RFC 3339 in UTC: the order of the texts is that of the times.
    let last = versions.iter().map(|version| version.since.clone()).max();
    went_on.or(last.map(|time| Since { time, or_longer: false }))
}

/// Does what the command line says.
pub(crate) fn run(arguments: &CompareArguments) -> anyhow::Result<Exit> {
    let CompareArguments { nodes, timeout, output } = arguments;
    let unique: HashSet<&SocketAddr> = nodes.iter().collect();
    if unique.len() != nodes.len() {
        return Err(UsageError("a node is named twice: it would be compared with itself".to_owned()).into());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answers = runtime.block_on(ask_all(nodes, *timeout));
    let comparison = compare(answers);
    if output.json {
        print_json(&comparison)?
    } else {
        print(&comparison)?
    }
    Ok(match (comparison.different.is_empty(), comparison.unknown.is_empty()) {
        (false, _) => Exit::Problem,
        (true, true) => Exit::Fine,
        (true, false) => Exit::Unknown,
    })
}

type Answers = BTreeMap<SocketAddr, Result<Vec<ZoneDigest>, String>>;

async fn ask_all(nodes: &[SocketAddr], within: Duration) -> Answers {
    let mut asking = JoinSet::new();
    for node in nodes.iter().copied() {
        asking.spawn(async move {
            let asked = tokio::time::timeout(within, ask(node)).await;
            (node, asked.unwrap_or_else(|_| Err(AskError::Late(within).to_string())))
        });
    }
    // A panic aborts the process; nothing else ends a task early.
    asking.join_all().await.into_iter().collect()
}

/// All zones that a node serves, a page after the other.
async fn ask(node: SocketAddr) -> Result<Vec<ZoneDigest>, String> {
    for _ in 0..ATTEMPTS {
        if let Some(zones) = ask_once(node).await? {
            return Ok(zones);
        }
    }
    Err("its zones come and go while they are asked for".to_owned())
}

/// The same; nothing where zones have got other places meanwhile.
async fn ask_once(node: SocketAddr) -> Result<Option<Vec<ZoneDigest>>, String> {
    let mut zones = Vec::new();
    let mut from = 0;
    let mut order = None;
    loop {
        let path = format!("/zones?from={from}").parse().map_err(|_| "no path".to_owned())?;
        let body = fetch(node, path, PAGE_LEN_MAX).await.map_err(|error| error.to_string())?;
        let page: DigestPage =
            serde_json::from_slice(&body).map_err(|error| AskError::from(error).to_string())?;
        if *order.get_or_insert(page.order) != page.order {
            return Ok(None);
        }
        zones.extend(page.zones);
        match page.next {
            None => return Ok(Some(zones)),
            Some(next) if next > from && zones.len() <= ZONES_MAX => from = next,
            Some(_) => return Err("its zones have no end".to_owned()),
        }
    }
}

fn compare(answers: Answers) -> Comparison {
    let mut versions: BTreeMap<String, BTreeMap<SocketAddr, Option<Version>>> = BTreeMap::new();
    let mut unknown = BTreeMap::new();
    let mut asked = Vec::new();
    for (node, answer) in answers {
        match answer {
            Ok(zones) => {
                asked.push(node);
                for ZoneDigest { name, serial, content, since, earlier } in zones {
                    let version = Version { serial, content, since, earlier };
                    versions.entry(name).or_default().insert(node, Some(version));
                }
            }
            Err(why) => drop(unknown.insert(node, why)),
        }
    }
    let zones = versions.len();
    let mut different = Vec::new();
    for (name, mut nodes) in versions {
        for node in &asked {
            nodes.entry(*node).or_insert(None);
        }
        let mut kinds = nodes.values().map(|version| version.as_ref().map(|it| (it.serial, &it.content)));
        let first = kinds.next();
        if kinds.all(|kind| Some(kind) == first) {
            continue;
        }
        let versions: Option<Vec<&Version>> = nodes.values().map(Option::as_ref).collect();
        let since = versions.and_then(|versions| since(&versions));
        let or_longer = since.as_ref().is_some_and(|since| since.or_longer);
        different.push(Difference { name, since: since.map(|since| since.time), or_longer, nodes });
    }
    Comparison { zones, different, unknown }
}

fn print(comparison: &Comparison) -> io::Result<()> {
    let Comparison { zones, different, unknown } = comparison;
    let mut out = io::stdout().lock();
    for Difference { name, since, or_longer, nodes } in different {
        let since = since.as_deref().unwrap_or("an unknown time");
        let or_longer = if *or_longer { " or longer" } else { "" };
        writeln!(out, "{name} differs, since {since}{or_longer}")?;
        let width = nodes.keys().map(|node| node.to_string().len()).max().unwrap_or_default();
        for (node, version) in nodes {
            let node = node.to_string();
            match version {
                Some(Version { serial, content, since, earlier: _ }) => {
                    writeln!(out, "  {node:width$}  serial {serial}, {content}, since {since}")?;
                }
                None => writeln!(out, "  {node:width$}  not served")?,
            }
        }
    }
    for (node, why) in unknown {
        writeln!(out, "{node} can't be asked: {why}")?;
    }
    let count = different.len();
    writeln!(out, "{count} of {zones} zones differ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(name: &str, serial: u32, content: &str, since: &str) -> ZoneDigest {
        let [name, content, since] = [name, content, since].map(str::to_owned);
        ZoneDigest { name, serial, content, since, earlier: Vec::new() }
    }

    #[test]
    fn zones_differ_by_serial_by_digest_and_by_not_being_there() {
        let node = |port: u16| SocketAddr::from(([192, 0, 2, 1], port));
        let first = vec![
            zone("same.", 1, "aa", "2026-01-01T00:00:00Z"),
            zone("serial.", 1, "bb", "2026-01-01T00:00:00Z"),
            zone("content.", 1, "cc", "2026-01-01T00:00:00Z"),
            zone("missing.", 1, "dd", "2026-01-01T00:00:00Z"),
        ];
        let second = vec![
            zone("same.", 1, "aa", "2026-01-02T00:00:00Z"),
            zone("serial.", 2, "bb", "2026-01-03T00:00:00Z"),
            zone("content.", 1, "cd", "2025-01-03T00:00:00Z"),
        ];
        let answers =
            Answers::from([(node(1), Ok(first)), (node(2), Ok(second)), (node(3), Err("late".to_owned()))]);
        let comparison = compare(answers);
        assert_eq!(comparison.zones, 4);
        let names: Vec<&str> = comparison.different.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["content.", "missing.", "serial."]);
        let since: Vec<_> =
            comparison.different.iter().map(|it| (it.since.as_deref(), it.or_longer)).collect();
        let (content, serial) = (Some("2026-01-01T00:00:00Z"), Some("2026-01-03T00:00:00Z"));
        assert_eq!(since, [(content, false), (None, false), (serial, true)]);
        assert!(comparison.different[1].nodes[&node(2)].is_none());
        assert_eq!(comparison.unknown[&node(3)], "late");
        assert!(
            comparison.different.iter().all(|it| !it.nodes.contains_key(&node(3))),
            "nothing is known of it"
        );
    }

    /// One node is behind, another goes on every few seconds.
    #[test]
    fn nodes_differ_since_the_first_has_gone_on() {
        let version = |serial, since: u64, earlier: &[(u32, u64, u64)]| Version {
            serial,
            content: serial.to_string(),
            since: status::timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(since)),
            earlier: earlier
                .iter()
                .map(|(serial, from, until)| EarlierVersion { serial: *serial, from: *from, until: *until })
                .collect(),
        };
        let at = |second: u64, or_longer| {
            let time = status::timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(second));
            Some(Since { time, or_longer })
        };
        let behind = version(7, 100, &[]);
        let went_on = version(12, 500, &[(6, 90, 99), (7, 99, 160), (11, 490, 500)]);
        assert_eq!(since(&[&behind, &went_on]), at(160, false));
        assert_eq!(since(&[&went_on, &behind, &version(7, 170, &[])]), at(160, false));
        // What is between is known no more, and what was before has never been.
        let gap = version(12, 500, &[(6, 90, 99), (9, 300, 310), (11, 490, 500)]);
        assert_eq!(since(&[&behind, &gap]), at(300, true));
        assert_eq!(since(&[&behind, &version(12, 500, &[])]), at(500, true));
        // Over the end of the numbers (RFC 1982).
        let wrapped = version(2, 500, &[(u32::MAX, 10, 480)]);
        assert_eq!(since(&[&wrapped, &version(u32::MAX, 10, &[])]), at(480, false));
        let other = Version { content: "otherwise".to_owned(), ..version(7, 120, &[]) };
        assert_eq!(since(&[&behind, &other]), at(120, false));
    }
}
