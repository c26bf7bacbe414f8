//! `starling compare`: whether nodes serve the same zones.

use super::{UsageError, print_json};
use crate::cli::CompareArguments;
use crate::exit::Exit;
use crate::management::{AskError, fetch};
use crate::status::{DigestPage, ZoneDigest};
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::task::JoinSet;

/// The largest page in octets: a thousand zones, the longest names escaped throughout included.
const PAGE_LEN_MAX: usize = 4 << 20;
/// The most zones of a node: more than anybody has, so that one that never ends costs no more memory than that.
const ZONES_MAX: usize = 4_000_000;

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
    /// Since when: the last of them to change did then (RFC 3339).
    since: Option<String>,
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
    let mut zones = Vec::new();
    let mut from = 0;
    loop {
        let path = format!("/zones?from={from}").parse().map_err(|_| "no path".to_owned())?;
        let body = fetch(node, path, PAGE_LEN_MAX).await.map_err(|error| error.to_string())?;
        let page: DigestPage =
            serde_json::from_slice(&body).map_err(|error| AskError::from(error).to_string())?;
        zones.extend(page.zones);
        match page.next {
            None => return Ok(zones),
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
                for ZoneDigest { name, serial, content, since } in zones {
                    let version = Version { serial, content, since };
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
        // RFC 3339 in UTC: the order of the texts is that of the times.
        let since = nodes.values().flatten().map(|version| version.since.clone()).max();
        different.push(Difference { name, since, nodes });
    }
    Comparison { zones, different, unknown }
}

fn print(comparison: &Comparison) -> io::Result<()> {
    let Comparison { zones, different, unknown } = comparison;
    let mut out = io::stdout().lock();
    for Difference { name, since, nodes } in different {
        let since = since.as_deref().unwrap_or("an unknown time");
        writeln!(out, "{name} differs, since {since}")?;
        let width = nodes.keys().map(|node| node.to_string().len()).max().unwrap_or_default();
        for (node, version) in nodes {
            let node = node.to_string();
            match version {
                Some(Version { serial, content, since }) => {
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
        ZoneDigest { name, serial, content, since }
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
        let since: Vec<_> = comparison.different.iter().map(|it| it.since.as_deref().unwrap()).collect();
        assert_eq!(since, ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "2026-01-03T00:00:00Z"]);
        assert!(comparison.different[1].nodes[&node(2)].is_none());
        assert_eq!(comparison.unknown[&node(3)], "late");
        assert!(
            comparison.different.iter().all(|it| !it.nodes.contains_key(&node(3))),
            "nothing is known of it"
        );
    }
}
