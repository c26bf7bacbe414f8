//! The sections that `starling run` adds: the route, its checks.

use super::decode::{Section, Value, wrong_type};
use super::problem::Problem;
use anycast::LeasePlan;
use anycast::bird::ProtocolName;
use anycast::governor::{TRANSITIONS_MAX, TRANSITIONS_MIN};
use health::CheckSpec;
use health::{Action, Gravity};
use ipnet::IpNet;
use std::collections::HashSet;
use std::net::IpAddr;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The checks that every node has; `[[check]]` with one of these names changes it.
pub(crate) const BUILT_IN: &[&str] = &["probe", "zones", "drops", "cpu", "serials", "bird", "memory", "disk"];

/// The most checks: each has a task of its own.
const CHECKS_MAX: usize = 64;
/// The most service addresses and prefixes: each prefix is a route that every change rewrites.
const ROUTES_MAX: usize = 64;
/// The most words of a command.
const EXEC_WORDS_MAX: usize = 64;
/// Where Debian's BIRD has its control socket.
const BIRD_SOCKET: &str = "/run/bird/bird.ctl";

/// From a millisecond to an hour: the bounds of most times.
const AN_HOUR_MS: RangeInclusive<u64> = 1..=3_600_000;

/// From nothing to thirty days: how long a zone may be older than those of the peers. An SOA record's expire is weeks.
const A_MONTH_MS: RangeInclusive<u64> = 0..=30 * 86_400_000;

/// How many transitions an hour may be allowed.
const TRANSITIONS: RangeInclusive<u64> = TRANSITIONS_MIN as u64..=TRANSITIONS_MAX as u64;

/// The route and what it depends on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct AnycastConfig {
    /// The service addresses, what is announced, the lease interface, and the private kernel table.
    pub(crate) plan: LeasePlan,
    /// How BIRD is told.
    pub(crate) driver: Driver,
    /// How long everything has to be good before the route gets better.
    pub(crate) stable: Duration,
    /// How long a route that is to go is kept as the last choice.
    pub(crate) drain: Duration,
    /// How long queries are answered after the route has gone.
    pub(crate) grace: Duration,
    /// How long a heartbeat may be missing.
    pub(crate) freeze: Duration,
    /// How often the service addresses are probed.
    pub(crate) probe_every: Duration,
    /// How much longer the node has to be stable after its first flap; doubles with each.
    pub(crate) hold_down: Duration,
    /// The most that doubling gives.
    pub(crate) hold_down_max: Duration,
    /// The most transitions by itself in an hour.
    pub(crate) transitions_per_hour_max: u32,
    /// With fewer healthy peers, soft reasons don't withdraw.
    pub(crate) peers_min: u32,
    /// BIRD, where it is asked.
    pub(crate) bird: Option<BirdConfig>,
}

/// How BIRD is told which rung the route is on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Driver {
    /// It learns the kernel's routes.
    Learn,
    /// Protocols are enabled and disabled over its control socket.
    Protocols,
}

/// BIRD's control socket, and which protocols matter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct BirdConfig {
    /// The control socket; a restricted one will do for [`Driver::Learn`].
    pub(crate) socket: PathBuf,
    /// BGP protocols whose session and export are verified.
    pub(crate) protocols: Vec<ProtocolName>,
    /// Whether TCP_NODELAY is set on the sessions, which BIRD doesn't do.
    pub(crate) no_delay: bool,
    /// For [`Driver::Protocols`]: those that announce as a healthy node does,
    pub(crate) up: Vec<ProtocolName>,
    /// with a longer path,
    pub(crate) degraded: Vec<ProtocolName>,
    /// as the last choice.
    pub(crate) draining: Vec<ProtocolName>,
}

/// A check of the operator's, or changes to a built-in one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct CheckConfig {
    /// Its name: one of [`BUILT_IN`], or one of the operator's own.
    pub(crate) name: String,
    /// The command; none for a built-in check.
    pub(crate) exec: Option<Vec<String>>,
    /// How often it runs.
    pub(crate) interval: Option<Duration>,
    /// How long a run may take.
    pub(crate) timeout: Option<Duration>,
    /// How many good runs in a row make it pass.
    pub(crate) rise: Option<u32>,
    /// How many bad runs in a row make it fail.
    pub(crate) fall: Option<u32>,
    /// What it does to the route.
    pub(crate) action: Option<Action>,
    /// Whether the last site may ignore it.
    pub(crate) gravity: Option<Gravity>,
    /// Whether what it looks at is shared by all nodes, so that it can only report.
    pub(crate) shared: bool,
    /// For `memory` and `disk`: the least that has to be free, in MiB.
    pub(crate) min_mib: Option<u64>,
    /// For `drops`: the most queries that may be lost in full queues, in percent.
    pub(crate) max_percent: Option<u64>,
    /// For `serials`: how long a zone may be older than those of the peers.
    pub(crate) max_behind: Option<Duration>,
}

/// The `[anycast]` section; none where an address or a prefix is wrong.
pub(super) fn anycast(
    mut section: Section<'_, '_>,
    folder: &Path,
    problems: &mut Vec<Problem>,
) -> Option<AnycastConfig> {
    let place = section.place();
    let before = problems.len();
    let addresses = addresses(&mut section, problems);
    let prefixes = prefixes(&mut section, problems);
    let interface = section.text("interface", problems).map_or("starling0", |(text, _)| text).to_owned();
    let table = section.integer("table", 1..=u64::from(u32::MAX), problems).unwrap_or(5353) as u32; // in range
    let driver = driver(&mut section, problems);
    let mut time = |key, default_ms, range: RangeInclusive<u64>| {
        Duration::from_millis(section.integer(key, range, problems).unwrap_or(default_ms))
    };
    let stable = time("stable-ms", 10_000, AN_HOUR_MS);
    let drain = time("drain-ms", 30_000, 0..=3_600_000);
    let grace = time("grace-ms", 10_000, 0..=3_600_000);
    // Beats come every 100 ms; less than three of them would kill healthy processes on a busy machine.
    let freeze = time("freeze-ms", 700, 300..=60_000);
    let probe_every = time("probe-ms", 200, 50..=60_000);
    let hold_down = time("hold-down-ms", 10_000, AN_HOUR_MS);
    let hold_down_max = time("hold-down-max-ms", 600_000, 1..=86_400_000);
    let transitions = section.integer("transitions-per-hour-max", TRANSITIONS, problems).unwrap_or(20);
    let peers_min = section.integer("peers-min", 1..=1_000, problems).unwrap_or(1);
    let bird = section
        .take("bird")
        .and_then(|value| Section::of(value, "[anycast.bird]", problems))
        .map(|section| bird(section, folder, problems));
    section.finish(problems);
    if driver == Driver::Protocols && bird.as_ref().is_none_or(|bird| bird.up.is_empty()) {
        let title = "the driver `protocols` has no protocols to enable";
        let help = "add [anycast.bird] with `up = [\"anycast4_up\", \"anycast6_up\"]`, and `degraded` and `draining` likewise";
        problems.push(Problem::at(place.clone(), title, "in this section", help));
    }
    if hold_down_max < hold_down {
        let title = "`hold-down-max-ms` is less than `hold-down-ms`";
        problems.push(Problem::at(place.clone(), title, "in this section", "make it at least as long"));
    }
    if problems.len() > before {
        return None;
    }
    let plan = match LeasePlan::new(&interface, table, addresses, prefixes) {
        Ok(plan) => plan,
        Err(error) => {
            let help = "each service address lies in one of the prefixes, and each prefix has one; see `bird-config/README.md`";
            problems.push(Problem::at(place, error.to_string(), "in this section", help));
            return None;
        }
    };
    Some(AnycastConfig {
        plan,
        driver,
        stable,
        drain,
        grace,
        freeze,
        probe_every,
        hold_down,
        hold_down_max,
        transitions_per_hour_max: transitions as u32, // in range
        peers_min: peers_min as u32,                  // at most 1,000
        bird,
    })
}

fn driver(section: &mut Section<'_, '_>, problems: &mut Vec<Problem>) -> Driver {
    match section.text("driver", problems) {
        None | Some(("learn", _)) => Driver::Learn,
        Some(("protocols", _)) => Driver::Protocols,
        Some((text, place)) => {
            let help = "write \"learn\" (BIRD learns the kernel's routes) or \"protocols\" (they are enabled and disabled)";
            problems.push(Problem::at(place, format!("`{text}` is no driver"), "this text", help));
            Driver::Learn
        }
    }
}

fn addresses(section: &mut Section<'_, '_>, problems: &mut Vec<Problem>) -> Vec<IpAddr> {
    let help = "write `addresses = [\"203.0.113.53\", \"2001:db8:53::53\"]`, without a port";
    parsed(section, "addresses", help, problems)
}

fn prefixes(section: &mut Section<'_, '_>, problems: &mut Vec<Problem>) -> Vec<IpNet> {
    let help = "write `prefixes = [\"203.0.113.0/24\", \"2001:db8:53::/48\"]`";
    let prefixes: Vec<IpNet> = parsed(section, "prefixes", help, problems);
    prefixes.into_iter().map(|prefix| prefix.trunc()).collect()
}

/// A list of texts, each read as a `T`.
fn parsed<T: std::str::FromStr>(
    section: &mut Section<'_, '_>,
    key: &'static str,
    help: &str,
    problems: &mut Vec<Problem>,
) -> Vec<T> {
    let mut values = Vec::new();
    if !section.has(key) {
        let title = format!("[anycast] has no `{key}`");
        problems.push(Problem::at(section.place(), title, "in this section", help));
    }
    for (text, place) in texts(section, key, ROUTES_MAX, problems) {
        match text.parse() {
            Ok(value) => values.push(value),
            Err(_) => {
                let title = format!("`{text}` is none of the `{key}` there can be");
                problems.push(Problem::at(place, title, "this text", help));
            }
        }
    }
    values
}

/// A list of texts with their places; nothing where the key is missing.
fn texts(
    section: &mut Section<'_, '_>,
    key: &'static str,
    count_max: usize,
    problems: &mut Vec<Problem>,
) -> Vec<(String, Range<usize>)> {
    let Some(value) = section.take(key) else { return Vec::new() };
    let help = format!("write `{key} = [\"…\", \"…\"]`");
    let Some(items) = value.get_ref().as_array() else {
        problems.push(wrong_type(value, key, "a list of texts", &help));
        return Vec::new();
    };
    if items.is_empty() || items.len() > count_max {
        let title = format!("`{key}` has {} entries; it takes 1 to {count_max}", items.len());
        problems.push(Problem::at(value.span(), title, "this list", help));
        return Vec::new();
    }
    let mut texts = Vec::new();
    for item in items.iter() {
        match item.get_ref().as_str() {
            Some(text) if !text.is_empty() => texts.push((text.to_owned(), item.span())),
            _ => problems.push(wrong_type(item, key, "a list of texts that are not empty", &help)),
        }
    }
    texts
}

fn bird(mut section: Section<'_, '_>, folder: &Path, problems: &mut Vec<Problem>) -> BirdConfig {
    let mut names = |key| -> Vec<ProtocolName> {
        let mut names = Vec::new();
        for (text, place) in texts(&mut section, key, ROUTES_MAX, problems) {
            match ProtocolName::new(&text) {
                Ok(name) => names.push(name),
                Err(error) => {
                    let help = "write the name that the protocol has in bird.conf";
                    problems.push(Problem::at(place, error.to_string(), "this name", help));
                }
            }
        }
        names
    };
    let (protocols, up) = (names("protocols"), names("up"));
    let (degraded, draining) = (names("degraded"), names("draining"));
    let socket = section.path("socket", folder, problems).unwrap_or_else(|| PathBuf::from(BIRD_SOCKET));
    let no_delay = section.flag("no-delay", problems).unwrap_or(true);
    section.finish(problems);
    BirdConfig { socket, protocols, no_delay, up, degraded, draining }
}

/// The `[[check]]` sections.
pub(super) fn checks(value: &Value<'_>, problems: &mut Vec<Problem>) -> Vec<CheckConfig> {
    let Some(items) = value.get_ref().as_array() else {
        let help = "checks are written as [[check]], with two brackets, so that there can be several";
        problems.push(wrong_type(value, "check", "a list", help));
        return Vec::new();
    };
    if items.len() > CHECKS_MAX {
        let title = format!("{} checks are more than the {CHECKS_MAX} there may be", items.len());
        problems.push(Problem::at(value.span(), title, "these", "let one command check several things"));
        return Vec::new();
    }
    let mut checks: Vec<CheckConfig> = Vec::new();
    let mut names = HashSet::new();
    for item in items.iter() {
        let Some(section) = Section::of(item, "[[check]]", problems) else { continue };
        let Some((check, place)) = check(section, problems) else { continue };
        if names.insert(check.name.clone()) {
            checks.push(check);
        } else {
            let title = format!("the check `{}` is there twice", check.name);
            problems.push(Problem::at(place, title, "again here", "give it another name, or remove it"));
        }
    }
    checks
}

fn check(mut section: Section<'_, '_>, problems: &mut Vec<Problem>) -> Option<(CheckConfig, Range<usize>)> {
    let before = problems.len();
    let name = section.required("name", "name = \"battery\"", problems);
    let exec = section.has("exec").then(|| texts(&mut section, "exec", EXEC_WORDS_MAX, problems));
    section.know("exec");
    let mut time = |key| section.integer(key, AN_HOUR_MS, problems).map(Duration::from_millis);
    let (interval, timeout) = (time("interval-ms"), time("timeout-ms"));
    let mut count = |key| section.integer(key, 1..=1_000, problems).map(|count| count as u32); // at most 1,000
    let (rise, fall) = (count("rise"), count("fall"));
    let action = word(&mut section, "action", ACTIONS, problems);
    let gravity = word(&mut section, "gravity", GRAVITIES, problems);
    let shared = section.flag("shared", problems).unwrap_or(false);
    let min_mib = section.integer("min-mib", 0..=1 << 40, problems);
    let max_percent = section.integer("max-percent", 0..=100, problems);
    let max_behind = section.integer("max-behind-ms", A_MONTH_MS, problems).map(Duration::from_millis);
    let whole = section.place();
    section.finish(problems);
    let (name, place) = name?;
    let built_in = BUILT_IN.contains(&name);
    if built_in == exec.is_some() {
        let (title, help) = if built_in {
            (
                format!("`{name}` is built in and runs no command"),
                "give a check with a command another name".to_owned(),
            )
        } else {
            let built_in = BUILT_IN.join(", ");
            (
                format!("the check `{name}` has no `exec`"),
                format!("add `exec = [\"/path/of/command\"]`; built in are {built_in}"),
            )
        };
        problems.push(Problem::at(place.clone(), title, "this check", help));
    }
    let misplaced = [
        ("min-mib", min_mib.is_some(), ["memory", "disk"].contains(&name)),
        ("max-percent", max_percent.is_some(), name == "drops"),
        ("max-behind-ms", max_behind.is_some(), name == "serials"),
    ];
    for (key, _, _) in misplaced.iter().filter(|(_, given, fits)| *given && !fits) {
        let title = format!("`{key}` means nothing to the check `{name}`");
        problems.push(Problem::at(place.clone(), title, "this check", "remove it"));
    }
    if shared && action.unwrap_or(default_action(name)) != Action::Report {
        let title =
            format!("the check `{name}` is of something that all nodes share, and would move the route");
        let help = "write `action = \"report\"`: if what they share fails, all nodes would leave at once";
        problems.push(Problem::at(whole, title, "this check", help));
    }
    let spec = CheckSpec {
        name: name.to_owned(),
        interval: interval.unwrap_or(Duration::from_secs(1)),
        timeout: timeout.unwrap_or(Duration::from_secs(1)),
        rise: rise.unwrap_or(1),
        fall: fall.unwrap_or(1),
        action: Action::Report,
        gravity: Gravity::Soft,
        shared: false,
    };
    if let Err(error) = spec.validate() {
        problems.push(Problem::at(
            place.clone(),
            error.to_string(),
            "this check",
            "change what is out of bounds",
        ));
    }
    let exec = exec.map(|words| words.into_iter().map(|(word, _)| word).collect());
    let check = CheckConfig {
        name: name.to_owned(),
        exec,
        interval,
        timeout,
        rise,
        fall,
        action,
        gravity,
        shared,
        min_mib,
        max_percent,
        max_behind,
    };
    (problems.len() == before).then_some((check, place))
}

/// What a check does if nobody says. Overload is no reason to leave by default: those who take over get the load on top of
/// their own.
pub(crate) fn default_action(name: &str) -> Action {
    match name {
        "probe" | "zones" => Action::Withdraw,
        "drops" | "cpu" | "serials" | "bird" | "memory" | "disk" => Action::Report,
        _ => Action::Withdraw,
    }
}

const ACTIONS: &[(&str, Action)] =
    &[("report", Action::Report), ("degrade", Action::Degrade), ("withdraw", Action::Withdraw)];
const GRAVITIES: &[(&str, Gravity)] = &[("soft", Gravity::Soft), ("hard", Gravity::Hard)];

/// One of a few words.
fn word<T: Copy>(
    section: &mut Section<'_, '_>,
    key: &'static str,
    words: &[(&str, T)],
    problems: &mut Vec<Problem>,
) -> Option<T> {
    let (text, place) = section.text(key, problems)?;
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
    if found.is_none() {
        let listed = words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
        let title = format!("`{text}` is no {key}");
        problems.push(Problem::at(place, title, "this text", format!("write one of {listed}")));
    }
    found
}
