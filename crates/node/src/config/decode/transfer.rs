//! What is said about transfers: keys, `[transfer]`, and who has which zone.

use super::super::problem::Problem;
use super::super::sources::is_announced;
use super::super::transfer::{KEYS_MAX, SECONDARIES_MAX, Secondary, TransferConfig};
use super::{Placed, Section, Value, apex, wrong_type};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use transfer::outgoing::notify::Target;
use transfer::tsig::{Algorithm, Key};

const SECONDARIES: &str = "write addresses, prefixes, keys, and where they have to come over TLS, such as `[\"192.0.2.7\", \"2001:db8::/64 key NAME\", \"key NAME tls\"]`";
const NOTIFY: &str = "write addresses with a port, and keys, such as `notify = [\"192.0.2.7:53\", \"[2001:db8::7]:53 key NAME\"]`";
const SOURCES: &str = "write one address of this machine alone for each family: `notify-source = [\"192.0.2.10\", \"2001:db8::10\"]`";

/// The keys of the configuration.
pub(super) type Keys = Vec<Arc<Key>>;

/// Decodes all `[[key]]`.
pub(super) fn keys(value: &Value<'_>, folder: &Path, problems: &mut Vec<Problem>) -> Keys {
    let Some(items) = value.get_ref().as_array() else {
        let help = "keys are written as [[key]], with two brackets, so that there can be several";
        problems.push(wrong_type(value, "key", "a list", help));
        return Vec::new();
    };
    if items.len() > KEYS_MAX {
        let title = format!("{} keys are more than the {KEYS_MAX} there may be", items.len());
        problems.push(Problem::at(value.span(), title, "this list", "let several nodes have one key"));
        return Vec::new();
    }
    let mut keys: Keys = Vec::new();
    for item in items.iter() {
        let Some(section) = Section::of(item, "[[key]]", problems) else { continue };
        let Some((key, place)) = key(section, folder, problems) else { continue };
        if keys.iter().any(|known| known.name().eq_ignore_case(key.name())) {
            let title = format!("the key {} is configured twice", key.name());
            problems.push(Problem::at(place, title, "again here", "remove one of the two [[key]]"));
        } else {
            keys.push(Arc::new(key));
        }
    }
    keys
}

fn key(mut section: Section<'_, '_>, folder: &Path, problems: &mut Vec<Problem>) -> Option<Placed<Key>> {
    let name = section.required("name", "name = \"transfer.example\"", problems);
    let name = name.and_then(|(text, place)| match apex(text) {
        Ok(name) => Some((name, place)),
        Err(error) => {
            let title = format!("`{text}` is no name for a key: {error}");
            problems.push(Problem::at(place, title, "this name", "both sides need the same, a domain name"));
            None
        }
    });
    let words = Algorithm::ALL.map(|algorithm| (algorithm.as_str(), algorithm));
    let algorithm = section.choice("algorithm", "algorithm", &words, problems);
    // What every implementation has; the same as peers take it to be where none is given.
    let algorithm = if section.has("algorithm") { algorithm } else { Some(Algorithm::Sha256) };
    let secret = secret(&mut section, folder, problems);
    let place = section.place();
    section.finish(problems);
    let (name, name_place) = name?;
    let key = Key::new(name.as_name(), algorithm?, &secret?);
    if key.is_none() {
        problems.push(Problem::at(place, "the secret is empty", "of this key", MAKE));
    }
    Some((key?, name_place))
}

const MAKE: &str = "make a secret of 32 octets with `openssl rand -base64 32`";

/// The secret, from the configuration or from a file that nobody else may read.
fn secret(section: &mut Section<'_, '_>, folder: &Path, problems: &mut Vec<Problem>) -> Option<Vec<u8>> {
    let here = section.text("secret", problems);
    let file = section.text("secret-file", problems);
    let (text, place) = match (here, file) {
        (Some((text, place)), None) => (text.to_owned(), place),
        (None, Some((file, place))) => match read_secret(&folder.join(file)) {
            Ok(text) => (text, place),
            Err((title, help)) => {
                problems.push(Problem::at(place, title, "this file", help));
                return None;
            }
        },
        (None, None) if section.has("secret") || section.has("secret-file") => return None,
        (both, _) => {
            let title = if both.is_some() { "the key has two secrets" } else { "the key has no secret" };
            let help = format!("give it either `secret` or `secret-file`; {MAKE}");
            problems.push(Problem::at(section.place(), title, "in this section", help));
            return None;
        }
    };
    let secret = zone::rdata::base64(text.trim().as_bytes());
    if secret.is_none() {
        // The text itself is not shown: it may be a secret with a slip of the pen.
        problems.push(Problem::at(place, "the secret is not base64", "here", MAKE));
    }
    secret
}

/// Reads a file that nobody else may read.
///
/// # Errors
/// What is wrong with it, and what is to be done.
pub(super) fn read_secret(file: &Path) -> Result<String, (String, String)> {
    let shown = file.display();
    let unreadable = |error: std::io::Error| {
        (format!("{shown} can't be read: {error}"), "its mode must let the node's user read it".to_owned())
    };
    let mode = std::fs::metadata(file).map_err(unreadable)?.permissions().mode();
    if mode & 0o077 != 0 {
        let title = format!("others may read or change {shown}, with mode {:03o}", mode & 0o777);
        return Err((title, format!("chmod 600 {shown}")));
    }
    std::fs::read_to_string(file).map_err(unreadable)
}

/// Decodes `[transfer]`; `announced` are the service addresses.
pub(super) fn transfer(
    mut section: Section<'_, '_>,
    keys: &Keys,
    announced: &[IpAddr],
    problems: &mut Vec<Problem>,
) -> TransferConfig {
    let mut transfer = TransferConfig {
        allow: secondaries("allow", &mut section, keys, problems),
        ..TransferConfig::default()
    };
    let mut sources: Vec<IpAddr> = Vec::new();
    if let Some(count) = section.integer("outgoing-max", 1..=10_000, problems) {
        transfer.outgoing_max = count as usize; // at most 10,000
    }
    each(&mut section, "notify-source", SOURCES, problems, |text| {
        let address: IpAddr = text.parse().map_err(|_| SOURCES.to_owned())?;
        if is_announced(address, announced) {
            return Err("every node has the service addresses: an answer would reach another one".to_owned());
        }
        if sources.iter().any(|known| known.is_ipv4() == address.is_ipv4()) {
            return Err(SOURCES.to_owned());
        }
        sources.push(address);
        Ok(())
    });
    transfer.notify_sources.give(sources);
    section.finish(problems);
    transfer
}

/// Decodes a list of those who may transfer.
pub(super) fn secondaries(
    key: &'static str,
    section: &mut Section<'_, '_>,
    keys: &Keys,
    problems: &mut Vec<Problem>,
) -> Vec<Secondary> {
    let mut secondaries = Vec::new();
    each(section, key, SECONDARIES, problems, |text| {
        let (rest, by_tls) = match text.trim_end().strip_suffix(" tls") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let (from, key) = with_key(rest, keys)?;
        let from = if from.is_empty() { None } else { Some(prefix(from.trim_end())?) };
        let secondary = Secondary { from, key, by_tls };
        if secondaries.contains(&secondary) {
            return Err("it is in the list twice; remove one of the two".to_owned());
        }
        secondaries.push(secondary);
        Ok(())
    });
    secondaries
}

/// Decodes the list of those who are notified of a zone.
pub(super) fn targets(
    section: &mut Section<'_, '_>,
    keys: &Keys,
    problems: &mut Vec<Problem>,
) -> Vec<Target> {
    let mut targets: Vec<Target> = Vec::new();
    each(section, "notify", NOTIFY, problems, |text| {
        let (address, key) = with_key(text, keys)?;
        let address: SocketAddr = address.parse().map_err(|_| NOTIFY.to_owned())?;
        if address.port() == 0 || address.ip().is_unspecified() {
            return Err(NOTIFY.to_owned());
        }
        if targets.iter().any(|known| known.address == address) {
            return Err("it is in the list twice; remove one of the two".to_owned());
        }
        targets.push(Target { address, key });
        Ok(())
    });
    targets
}

/// Goes through a list of texts; what can't be used is a problem, with what `take` says is to be done.
fn each(
    section: &mut Section<'_, '_>,
    key: &'static str,
    help: &str,
    problems: &mut Vec<Problem>,
    mut take: impl FnMut(&str) -> Result<(), String>,
) {
    let Some(value) = section.take(key) else { return };
    let Some(items) = value.get_ref().as_array() else {
        problems.push(wrong_type(value, key, "a list", help));
        return;
    };
    if items.len() > SECONDARIES_MAX {
        let title = format!("{} entries are more than the {SECONDARIES_MAX} there may be", items.len());
        problems.push(Problem::at(
            value.span(),
            title,
            "this list",
            "write prefixes instead of single addresses",
        ));
        return;
    }
    for item in items.iter() {
        let Some(text) = item.get_ref().as_str() else {
            problems.push(wrong_type(item, "an entry", "text", help));
            continue;
        };
        if let Err(help) = take(text) {
            let place: Range<usize> = item.span();
            problems.push(Problem::at(place, format!("`{text}` can't be in `{key}`"), "this entry", help));
        }
    }
}

/// Splits off `key NAME`, and finds the key.
///
/// # Errors
/// What is to be done about it.
pub(super) fn with_key<'t>(text: &'t str, keys: &Keys) -> Result<(&'t str, Option<Arc<Key>>), String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (rest, name) = match words[..] {
        [] => return Err(SECONDARIES.to_owned()),
        ["key", name] => ("", name),
        [rest, "key", name] => (rest, name),
        _ => return Ok((text, None)),
    };
    key_named(name, keys).map(|key| (rest, Some(key)))
}

/// Finds a key.
///
/// # Errors
/// What is to be done about it.
pub(super) fn key_named(name: &str, keys: &Keys) -> Result<Arc<Key>, String> {
    let wanted = apex(name).map_err(|error| format!("`{name}` is no name of a key: {error}"))?;
    let key = keys.iter().find(|key| key.name().eq_ignore_case(wanted.as_name()));
    key.cloned().ok_or_else(|| format!("there is no key {wanted}; add a [[key]] with this name"))
}

pub(super) fn prefix(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address.to_canonical()));
    }
    let prefix = text.parse::<IpNet>().map_err(|_| SECONDARIES.to_owned())?;
    if prefix.trunc() != prefix {
        return Err(format!("bits are set behind the prefix; write \"{}\"", prefix.trunc()));
    }
    Ok(prefix)
}
