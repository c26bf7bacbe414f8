//! What makes a zone a copy of another server's: in `[secondary]` for all, in `[[zone]]` for one.

use super::super::problem::Problem;
use super::super::secondary::{NOTIFIERS_MAX, Notifier, OnExpiry, PRIMARIES_MAX, Primary, SecondaryConfig};
use super::super::sources::is_announced;
use super::super::tls::Tls;
use super::tls::AllTls;
use super::transfer::{Keys, key_named, prefix, with_key};
use super::{Section, Value, wrong_type};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use transfer::refresh::Clamp;
use transfer::tsig::Key;

/// The keys that only a secondary has, `primaries` apart.
const KEYS: [&str; 12] = [
    "source",
    "notify-from",
    "transfer-max-bytes",
    "transfer-timeout-ms",
    "refresh-min-s",
    "refresh-max-s",
    "retry-min-s",
    "retry-max-s",
    "expire-min-s",
    "expire-max-s",
    "on-expiry",
    "ixfr",
];
/// The longest interval in seconds: what a SOA record can say.
const SECONDS_MAX: u64 = u32::MAX as u64;

/// What the rest of the file has said.
pub(super) struct Known<'k> {
    /// The service addresses.
    pub(super) announced: &'k [IpAddr],
    /// All keys.
    pub(super) keys: &'k Keys,
    /// All `[[tls]]`.
    pub(super) tls: &'k AllTls,
}

/// Reads what a `[[zone]]` with `primaries` says, beside what holds for all of them.
pub(super) fn zone(
    section: &mut Section<'_, '_>,
    defaults: &SecondaryConfig,
    known: &Known<'_>,
    problems: &mut Vec<Problem>,
) -> Option<SecondaryConfig> {
    let mut config = defaults.clone();
    if let Some(value) = section.take("primaries") {
        config.primaries = primaries(value, known, problems);
    }
    settings(section, &mut config, known, problems);
    (!config.primaries.is_empty()).then_some(config)
}

/// Says of each key that only a secondary has that it is out of place.
pub(super) fn refuse(section: &mut Section<'_, '_>, instead: &str, problems: &mut Vec<Problem>) {
    for key in KEYS {
        section.know(key);
        if let Some(place) = section.place_of(key) {
            let title = format!("`{key}` is for zones that are transferred, and this one has {instead}");
            problems.push(Problem::at(place, title, "here", "remove it, or give `primaries` instead"));
        }
    }
}

/// Reads what may be said for all zones or for one.
pub(super) fn settings(
    section: &mut Section<'_, '_>,
    config: &mut SecondaryConfig,
    known: &Known<'_>,
    problems: &mut Vec<Problem>,
) {
    if let Some(value) = section.take("source") {
        config.sources.give(sources(value, known.announced, problems));
    }
    if let Some(value) = section.take("notify-from") {
        config.notifiers = notifiers(value, known.keys, problems);
    }
    if let Some(octets) = section.integer("transfer-max-bytes", 4096..=1 << 36, problems) {
        config.transfer_max = octets;
    }
    if let Some(ms) = section.integer("transfer-timeout-ms", 100..=86_400_000, problems) {
        config.transfer_timeout = Duration::from_millis(ms);
    }
    let clamps = &mut config.clamps;
    clamp(section, ["refresh-min-s", "refresh-max-s"], &mut clamps.refresh, problems);
    clamp(section, ["retry-min-s", "retry-max-s"], &mut clamps.retry, problems);
    clamp(section, ["expire-min-s", "expire-max-s"], &mut clamps.expire, problems);
    if let Some(ixfr) = section.flag("ixfr", problems) {
        config.ixfr = ixfr;
    }
    let words = [("servfail", OnExpiry::Servfail), ("serve", OnExpiry::Serve)];
    if let Some(choice) = section.choice("on-expiry", "way to treat an expired zone", &words, problems) {
        config.on_expiry = choice;
    }
}

fn clamp(
    section: &mut Section<'_, '_>,
    [min, max]: [&'static str; 2],
    clamp: &mut Clamp,
    problems: &mut Vec<Problem>,
) {
    if let Some(seconds) = section.integer(min, 1..=SECONDS_MAX, problems) {
        clamp.min = Duration::from_secs(seconds);
    }
    if let Some(seconds) = section.integer(max, 1..=SECONDS_MAX, problems) {
        clamp.max = Duration::from_secs(seconds);
    }
    let place = section.place_of(max).or(section.place_of(min));
    if clamp.min > clamp.max
        && let Some(place) = place
    {
        let title = format!(
            "`{min}` is {}, which is more than `{max}`, {}",
            clamp.min.as_secs(),
            clamp.max.as_secs()
        );
        problems.push(Problem::at(place, title, "this bound", "let the lower bound be below the upper one"));
    }
}

fn primaries(value: &Value<'_>, known: &Known<'_>, problems: &mut Vec<Problem>) -> Vec<Primary> {
    const HELP: &str =
        "write `primaries = [\"192.0.2.1:53\", \"[2001:db8::1]:53 key NAME\"]`; names are not looked up";
    let Some(items) = value.get_ref().as_array() else {
        problems.push(wrong_type(value, "primaries", "a list of addresses", HELP));
        return Vec::new();
    };
    if items.is_empty() || items.len() > PRIMARIES_MAX {
        let title = format!("{} primaries; there may be 1 to {PRIMARIES_MAX}", items.len());
        problems.push(Problem::at(value.span(), title, "this list", HELP));
        return Vec::new();
    }
    let mut found: Vec<Primary> = Vec::new();
    for item in items.iter() {
        let text = item.get_ref().as_str().unwrap_or_default();
        let Parts { address, key, tls } = match Parts::of(text, known) {
            Ok(parts) => parts,
            Err(help) => {
                let title = format!("`{text}` can't be a primary");
                problems.push(Problem::at(item.span(), title, "this primary", help));
                continue;
            }
        };
        let title = match address.parse::<SocketAddr>() {
            Ok(address) if is_announced(address.ip(), known.announced) => {
                format!(
                    "{address} is a service address: this node would ask itself or whichever node is nearest"
                )
            }
            Ok(address) if found.iter().any(|primary| primary.address == address) => {
                format!("the primary {address} is named twice")
            }
            Ok(address) if address.port() != 0 && !address.ip().is_unspecified() => {
                found.push(Primary { address, key, tls });
                continue;
            }
            _ => "a primary is an address with a port".to_owned(),
        };
        problems.push(Problem::at(item.span(), title, "this primary", HELP));
    }
    found
}

/// What an entry of `primaries` says.
struct Parts<'t> {
    address: &'t str,
    key: Option<Arc<Key>>,
    tls: Option<Arc<Tls>>,
}

impl<'t> Parts<'t> {
    /// Takes `ADDRESS key NAME tls NAME` apart, of which the address has to be there.
    ///
    /// # Errors
    /// What is to be done about it.
    fn of(text: &'t str, known: &Known<'_>) -> Result<Parts<'t>, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (address, rest) = words.split_first().ok_or("write an address with a port")?;
        let mut parts = Parts { address, key: None, tls: None };
        for pair in rest.chunks(2) {
            match pair {
                ["key", name] if parts.key.is_none() => parts.key = Some(key_named(name, known.keys)?),
                ["tls", name] if parts.tls.is_none() => {
                    let tls = known.tls.iter().find(|tls| tls.name == **name);
                    let missing = || format!("there is no [[tls]] with the name {name}; add one");
                    parts.tls = Some(Arc::clone(tls.ok_or_else(missing)?));
                }
                _ => return Err("after the address may come `key NAME` and `tls NAME`".to_owned()),
            }
        }
        Ok(parts)
    }
}

/// An address or a list of them, at most one of each family.
pub(super) fn sources(value: &Value<'_>, announced: &[IpAddr], problems: &mut Vec<Problem>) -> Vec<IpAddr> {
    const HELP: &str = "write `source = \"192.0.2.10\"`, or one of each family as \
                        `source = [\"192.0.2.10\", \"2001:db8::10\"]`: addresses of this machine alone, without a port";
    let items: Vec<&Value<'_>> = match value.get_ref().as_array() {
        Some(items) => items.iter().collect(),
        None => vec![value],
    };
    let mut found: Vec<IpAddr> = Vec::new();
    for item in items {
        let parsed = item.get_ref().as_str().map(str::parse::<IpAddr>);
        let title = match parsed {
            // What is answered to such an address goes to whichever node is nearest to it.
            Some(Ok(address)) if is_announced(address, announced) => {
                format!("{address} is a service address: answers to it can reach another node")
            }
            Some(Ok(address)) if found.iter().any(|known| known.is_ipv4() == address.is_ipv4()) => {
                format!("{address} is a second source of its family")
            }
            Some(Ok(address)) if !address.is_unspecified() && !address.is_multicast() => {
                found.push(address);
                continue;
            }
            _ => "`source` is an address to ask from".to_owned(),
        };
        problems.push(Problem::at(item.span(), title, "this address", HELP));
    }
    found
}

fn notifiers(value: &Value<'_>, keys: &Keys, problems: &mut Vec<Problem>) -> Vec<Notifier> {
    const HELP: &str =
        "write `notify-from = [\"192.0.2.9\", \"2001:db8::/64 key NAME\"]`; the primaries need not be named";
    let Some(items) = value.get_ref().as_array().filter(|items| items.len() <= NOTIFIERS_MAX) else {
        let wanted = "a list of at most 64 addresses and prefixes";
        problems.push(wrong_type(value, "notify-from", wanted, HELP));
        return Vec::new();
    };
    let mut found = Vec::new();
    for item in items.iter() {
        let text = item.get_ref().as_str().unwrap_or_default();
        let parsed = with_key(text, keys).and_then(|(from, key)| match prefix(from) {
            Ok(from) => Ok(Notifier { from, key }),
            Err(_) => Err(HELP.to_owned()),
        });
        match parsed {
            Ok(notifier) => found.push(notifier),
            Err(help) => {
                let title = format!("`{text}` is no address and no prefix that NOTIFY could come from");
                problems.push(Problem::at(item.span(), title, "here", help));
            }
        }
    }
    found
}
