//! Decodes the `check` of a `[[pool]]`.

mod dns;
mod http;
mod trust;

use super::super::pool::EndpointConfig;
use super::super::probe::{GrpcProbe, JITTER_PERCENT, PoolCheck, Probe, StateFile};
use super::super::problem::Problem;
use super::super::sources::Sources;
use super::pool::texts;
use super::{Section, secondary};
use health::{INTERVAL_MIN, ROW_MAX, SPAN_MAX};
use http::Over;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;
use trust::Trust;

/// The longest text of a check, in octets.
pub(super) const TEXT_MAX: usize = 1024;
/// The most words of a command.
const WORDS_MAX: usize = 64;
/// The longest time that a file of states may be old, in seconds: thirty days.
const AGE_MAX_S: u64 = 30 * 86_400;

/// The kinds of checks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tcp,
    Tls,
    Http,
    Https,
    Dns,
    Icmp,
    Grpc,
    Exec,
    File,
}

const KINDS: [(&str, Kind); 9] = [
    ("tcp", Kind::Tcp),
    ("tls", Kind::Tls),
    ("http", Kind::Http),
    ("https", Kind::Https),
    ("dns", Kind::Dns),
    ("icmp", Kind::Icmp),
    ("grpc", Kind::Grpc),
    ("exec", Kind::Exec),
    ("file", Kind::File),
];

const WITH_PORT: &[Kind] =
    &[Kind::Tcp, Kind::Tls, Kind::Http, Kind::Https, Kind::Dns, Kind::Grpc, Kind::Exec];
const FROM_HERE: &[Kind] =
    &[Kind::Tcp, Kind::Tls, Kind::Http, Kind::Https, Kind::Dns, Kind::Icmp, Kind::Grpc];
const OVER_HTTP: &[Kind] = &[Kind::Http, Kind::Https];
const OVER_TLS: &[Kind] = &[Kind::Tls, Kind::Https, Kind::Grpc];

/// The keys that not every kind has.
const KEYS: [(&str, &[Kind]); 26] = [
    ("port", WITH_PORT),
    ("source", FROM_HERE),
    ("host", &[Kind::Http, Kind::Https, Kind::Grpc]),
    ("path", OVER_HTTP),
    ("status", OVER_HTTP),
    ("contains", OVER_HTTP),
    ("header", OVER_HTTP),
    ("method", OVER_HTTP),
    ("http-version", OVER_HTTP),
    ("server-name", OVER_TLS),
    ("ca-file", OVER_TLS),
    ("pins", OVER_TLS),
    ("verify", OVER_TLS),
    ("valid-days", OVER_TLS),
    ("tls", &[Kind::Grpc]),
    ("service", &[Kind::Grpc]),
    ("name", &[Kind::Dns]),
    ("type", &[Kind::Dns]),
    ("transport", &[Kind::Dns]),
    ("recursion", &[Kind::Dns]),
    ("rcode", &[Kind::Dns]),
    ("answer", &[Kind::Dns]),
    ("authoritative", &[Kind::Dns]),
    ("command", &[Kind::Exec]),
    ("file", &[Kind::File]),
    ("max-age-s", &[Kind::File]),
];

/// What of a node is run, read or used; checks by a command or a file don't go without.
const OF_THE_NODE: [&str; 4] = ["command", "file", "ca-file", "source"];

/// What checks are read with.
pub(super) struct Around<'a> {
    /// Where files are that have no absolute path.
    folder: &'a Path,
    /// The service addresses.
    announced: &'a [IpAddr],
    /// Where checks come from that don't say it.
    sources: Sources,
    /// Whether somebody else than the operator of this node says how to check.
    is_foreign: bool,
    trust: Trust,
}

impl<'a> Around<'a> {
    pub(super) fn new(folder: &'a Path, announced: &'a [IpAddr], sources: Sources) -> Around<'a> {
        Around { folder, announced, sources, is_foreign: false, trust: Trust::default() }
    }

    /// For checks that come from elsewhere, and may use nothing of this node's.
    pub(super) fn foreign() -> Around<'static> {
        Around {
            folder: Path::new(""),
            announced: &[],
            sources: Sources::default(),
            is_foreign: true,
            trust: Trust::default(),
        }
    }
}

/// Decodes the check of a pool with these endpoints.
pub(super) fn check(
    section: &mut Section<'_, '_>,
    endpoints: &[EndpointConfig],
    around: &mut Around<'_>,
    problems: &mut Vec<Problem>,
) -> Option<PoolCheck> {
    const HELP: &str = "add `check = { kind = \"tcp\", port = 443 }`: what a good endpoint does";
    let Some(value) = section.take("check") else {
        problems.push(Problem::at(section.place(), "[[pool]] has no `check`", "in this section", HELP));
        return None;
    };
    let mut checked = Section::of(value, "pool.check", problems)?;
    let section = &mut checked;
    let kind = section.choice("kind", "kind of check", &KINDS, problems);
    if !section.has("kind") {
        problems.push(Problem::at(section.place(), "the check has no `kind`", "here", HELP));
    }
    if let Some(kind) = kind {
        refuse_others(section, kind, problems);
    }
    if around.is_foreign && refuse_own(section, problems) {
        return None;
    }
    let port = section.integer("port", 1..=65_535, problems).map_or(0, |port| port as u16); // in range
    let needs_port = kind.is_some_and(|kind| kind != Kind::Exec && WITH_PORT.contains(&kind));
    if needs_port && !section.has("port") {
        problems.push(Problem::at(section.place(), "the check has no `port`", "here", HELP));
    }
    let mut time = |key, default, least: Duration| {
        let range = least.as_millis() as u64..=SPAN_MAX.as_millis() as u64; // an hour at most
        Duration::from_millis(section.integer(key, range, problems).unwrap_or(default))
    };
    let interval = time("interval-ms", 1000, INTERVAL_MIN);
    let timeout = time("timeout-ms", 500, Duration::from_millis(1));
    let mut count = |key, range, default: u32| {
        section.integer(key, range, problems).map_or(default, |count| count as u32) // in range
    };
    let rows = 1..=u64::from(ROW_MAX);
    let (rise, fall) = (count("rise", rows.clone(), 2), count("fall", rows, 2));
    let jitter_percent = count("jitter-percent", 0..=50, JITTER_PERCENT);
    let mut sources = around.sources.clone();
    if let Some(value) = section.take("source") {
        sources.give(secondary::sources(value, around.announced, problems));
    }
    let probe = kind.and_then(|kind| probe(section, kind, endpoints, around, problems));
    for (key, _) in KEYS {
        section.know(key);
    }
    checked.finish(problems);
    Some(PoolCheck {
        probe: probe?,
        port,
        sources,
        interval,
        jitter_percent,
        timeout,
        rise,
        fall,
        load: None,
    })
}

/// Says of each key that is only for the operator of a node that it is out of place; whether there is any.
fn refuse_own(section: &Section<'_, '_>, problems: &mut Vec<Problem>) -> bool {
    let before = problems.len();
    for key in OF_THE_NODE {
        let Some(place) = section.place_of(key) else { continue };
        let title = format!("`{key}` is of a node, and a zone can't say it");
        problems.push(Problem::at(place, title, "this", "make it a [[pool]] of the configuration"));
    }
    problems.len() > before
}

/// Says of each key of other kinds that it is out of place.
fn refuse_others(section: &Section<'_, '_>, kind: Kind, problems: &mut Vec<Problem>) {
    for (key, kinds) in KEYS.iter().filter(|(_, kinds)| !kinds.contains(&kind)) {
        let Some(place) = section.place_of(key) else { continue };
        let words: Vec<&str> =
            KINDS.iter().filter(|(_, kind)| kinds.contains(kind)).map(|(word, _)| *word).collect();
        let title = format!("`{key}` is for checks of kind {}", words.join(", "));
        problems.push(Problem::at(place, title, "this is none", "remove it, or change `kind`"));
    }
}

fn probe(
    section: &mut Section<'_, '_>,
    kind: Kind,
    endpoints: &[EndpointConfig],
    around: &mut Around<'_>,
    problems: &mut Vec<Problem>,
) -> Option<Probe> {
    match kind {
        Kind::Tcp => Some(Probe::Tcp),
        Kind::Icmp => Some(Probe::Icmp),
        Kind::Tls => trust::tls(section, None, &[], around, problems).map(Probe::Tls),
        Kind::Http => http::http(section, Over::ClearText, around, problems),
        Kind::Https => http::http(section, Over::Tls, around, problems),
        Kind::Dns => dns::dns(section, problems),
        Kind::Grpc => grpc(section, around, problems),
        Kind::Exec => command(section, problems).map(Probe::Exec),
        Kind::File => file(section, endpoints, around.folder, problems).map(Probe::File),
    }
}

/// A text that is not empty, not too long, and good.
fn text(
    section: &mut Section<'_, '_>,
    key: &'static str,
    is_good: impl Fn(&str) -> bool,
    help: &str,
    problems: &mut Vec<Problem>,
) -> Option<String> {
    let (text, place) = section.text(key, problems)?;
    if text.is_empty() || text.len() > TEXT_MAX || !is_good(text) {
        problems.push(Problem::at(place, format!("`{key}` can't be that"), "this text", help));
        return None;
    }
    Some(text.to_owned())
}

/// The name of a host as requests have it.
fn host(section: &mut Section<'_, '_>, problems: &mut Vec<Problem>) -> Option<String> {
    let is_authority = |text: &str| text.parse::<hyper::http::uri::Authority>().is_ok();
    text(section, "host", is_authority, "write the name of a host, as `host = \"www.example.com\"`", problems)
}

fn grpc(
    section: &mut Section<'_, '_>,
    around: &mut Around<'_>,
    problems: &mut Vec<Problem>,
) -> Option<Probe> {
    let service =
        text(section, "service", |_| true, "name a service, or leave it out for the whole server", problems);
    let host = host(section, problems);
    let tls = if section.flag("tls", problems).unwrap_or(false) {
        Some(trust::tls(section, host.as_deref(), &[b"h2"], around, problems)?)
    } else {
        trust::refuse(section, problems);
        None
    };
    Some(Probe::Grpc(Box::new(GrpcProbe { service: service.unwrap_or_default(), host, tls })))
}

fn command(section: &mut Section<'_, '_>, problems: &mut Vec<Problem>) -> Option<Vec<String>> {
    const EXAMPLE: &str = "command = [\"/usr/local/bin/check\", \"{address}\", \"{port}\"]";
    let Some(value) = section.take("command") else {
        let help = format!("add `{EXAMPLE}`");
        problems.push(Problem::at(section.place(), "the check has no `command`", "here", help));
        return None;
    };
    let before = problems.len();
    let words = texts(value, "command", WORDS_MAX, EXAMPLE, problems);
    if problems.len() > before {
        return None;
    }
    let has_nul = words.iter().any(|(word, _)| word.contains('\0'));
    if has_nul || words.first().is_none_or(|(program, _)| !program.starts_with('/')) {
        let title = "a command begins with the path of a program";
        let help = format!("write `{EXAMPLE}`; it is run without a shell");
        problems.push(Problem::at(value.span(), title, "this", help));
        return None;
    }
    Some(words.into_iter().map(|(word, _)| word.to_owned()).collect())
}

fn file(
    section: &mut Section<'_, '_>,
    endpoints: &[EndpointConfig],
    folder: &Path,
    problems: &mut Vec<Problem>,
) -> Option<StateFile> {
    if !section.has("file") {
        let help = "add `file = \"/run/states\"`, with lines as `fra1 up` and `ams1 down for maintenance`";
        problems.push(Problem::at(section.place(), "the check has no `file`", "here", help));
    }
    let path = section.path("file", folder, problems);
    let age_max = section.integer("max-age-s", 1..=AGE_MAX_S, problems).map(Duration::from_secs);
    let of_one = |endpoint: &EndpointConfig| -> Vec<(IpAddr, String)> {
        endpoint.addresses.iter().map(|address| (*address, endpoint.name.clone())).collect()
    };
    Some(StateFile { path: path?, age_max, names: endpoints.iter().flat_map(of_one).collect() })
}
