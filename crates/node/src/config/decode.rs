//! From TOML to a configuration, with every problem and its place.
//!
//! The document is walked by hand instead of being deserialized, because deserializing ends at the first
//! problem and knows no place for what concerns two of them, such as a zone named twice.

mod admission;
mod catalog;
mod interfaces;
mod load;
mod management;
mod places;
mod pool;
mod pool_records;
mod probe;
mod publish;
mod rate_limit;
mod secondary;
mod section;
mod sharing;
mod signing;
mod tls;
mod tls_service;
mod transfer;
mod zones;

pub(crate) use pool_records::PoolReader;
pub(super) use section::{Section, wrong_type};

use super::anycast;
use super::problem::Problem;
use super::sources::Sources;
use super::{
    AdmissionConfig, Config, ControlSocket, LISTEN_MAX, NODE_NAME_MAX, NodeConfig, SecondaryConfig, Steering,
    TcpConfig, VERSION_MAX, WORKERS_MAX,
};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::ops::{Range, RangeInclusive};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use wire::NameBuf;
use zones::{Around, Common, Decoded, zone_name};

pub(super) type Value<'i> = Spanned<DeValue<'i>>;

/// Sizes a socket's buffers may have: from a batch of queries to more than a second of them, which nobody waits for.
const BUFFER_BYTES: RangeInclusive<u64> = 65_536..=268_435_456;

/// A value with its place in the file.
type Placed<T> = (T, Range<usize>);

/// Makes a configuration of the text; what can't be used is left at its default and added to `problems`.
pub(super) fn decode(text: &str, folder: &Path, problems: &mut Vec<Problem>) -> Config {
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let place = error.span().unwrap_or(0..text.len().min(1));
        let title = format!("this is not TOML: {}", error.message());
        problems.push(Problem::at(place, title, "here", "see https://toml.io for the syntax"));
    }
    let mut config = Config::default();
    let mut root = Section::new("the file", document.get_ref(), document.span());
    if let Some(value) = root.take("node")
        && let Some(section) = Section::of(value, "[node]", problems)
    {
        config.node = node(section, folder, problems);
    }
    if let Some(value) = root.take("anycast")
        && let Some(section) = Section::of(value, "[anycast]", problems)
    {
        config.anycast = anycast::anycast(section, folder, problems);
    }
    if let Some(value) = root.take("check") {
        config.checks = anycast::checks(value, problems);
    }
    if let Some(value) = root.take("management")
        && let Some(section) = Section::of(value, "[management]", problems)
    {
        config.node.management = management::management(section, &config.node.listen, problems);
    }
    if let Some(value) = root.take("peer") {
        config.peers = management::peers(value, &config.node.management, problems);
    }
    if let Some(value) = root.take("interface") {
        config.node.interfaces = interfaces::interfaces(value, &config.node.listen, problems);
    }
    if let Some(value) = root.take("key") {
        config.keys = transfer::keys(value, folder, problems);
    }
    if let Some(value) = root.take("transfer")
        && let Some(section) = Section::of(value, "[transfer]", problems)
    {
        let announced = config.anycast.as_ref().map_or(&[][..], |anycast| anycast.plan.addresses());
        config.transfer = transfer::transfer(section, &config.keys, announced, problems);
    }
    // Those are given, or else the management addresses.
    let announced: Vec<IpAddr> =
        config.anycast.iter().flat_map(|anycast| anycast.plan.addresses()).copied().collect();
    let sources = Sources::of_management(&config.node.management, &announced);
    config.transfer.notify_sources.otherwise(&sources);
    config.node.sources = sources.clone();
    let all_tls = root.take("tls").map(|value| tls::all(value, folder, problems)).unwrap_or_default();
    let known = secondary::Known { announced: &announced, keys: &config.keys, tls: &all_tls };
    let mut defaults = SecondaryConfig { sources: sources.clone(), ..SecondaryConfig::default() };
    if let Some(value) = root.take("secondary")
        && let Some(mut section) = Section::of(value, "[secondary]", problems)
    {
        secondary::settings(&mut section, &mut defaults, &known, problems);
        section.finish(problems);
    }
    if let Some(value) = root.take("admission")
        && let Some(section) = Section::of(value, "[admission]", problems)
    {
        let mut admission = AdmissionConfig::default();
        admission::settings(section, &mut admission, problems);
        config.admission = Arc::new(admission);
    }
    let admission = Arc::clone(&config.admission);
    let publishers = root.take("publisher").map(|value| publish::all(value, problems)).unwrap_or_default();
    let mut around = Around {
        folder,
        defaults: &defaults,
        admission: &admission,
        known,
        publishers: &publishers,
        templates: Vec::new(),
    };
    if let Some(value) = root.take("template") {
        around.templates = catalog::templates(value, &around, problems);
    }
    let mut zones = Vec::new();
    if let Some(value) = root.take("zone") {
        zones = zones::zones(value, &around, problems);
    }
    let made = root.take("catalog").map(|value| catalog::catalogs(value, &around, &zones, problems));
    catalog::require_catalogs(&zones, made.as_deref().unwrap_or_default(), problems);
    config.zones = zones.into_iter().map(|decoded| decoded.zone).chain(made.into_iter().flatten()).collect();
    if let Some(value) = root.take("places")
        && let Some(section) = Section::of(value, "[places]", problems)
    {
        config.places = places::places(section, folder, problems);
    }
    if let Some(value) = root.take("pool") {
        config.pools = pool::pools(value, folder, &announced, sources, problems).into();
        signing::require_time(&config.zones, &config.pools, problems);
    }
    if let Some(value) = root.take("pool-sharing")
        && let Some(section) = Section::of(value, "[pool-sharing]", problems)
    {
        let decoded = sharing::sharing(section, &config.keys, &config.peers, problems);
        config.sharing = decoded.map(Arc::new);
    }
    if let Some(value) = root.take("rate-limit")
        && let Some(section) = Section::of(value, "[rate-limit]", problems)
    {
        config.rate_limit = rate_limit::rate_limit(section, problems);
    }
    sharing::require(&mut root, &config, problems);
    places::require(&mut root, &config, problems);
    root.finish(problems);
    problems.sort_by_key(|problem| problem.place.as_ref().map_or(usize::MAX, |(place, _)| place.start));
    config
}

fn node(mut section: Section<'_, '_>, folder: &Path, problems: &mut Vec<Problem>) -> NodeConfig {
    let mut node = NodeConfig { name: node_name(&mut section, problems), ..NodeConfig::default() };
    if let Some(value) = section.take("listen") {
        let example = "listen = [\"192.0.2.53:53\", \"[2001:db8::53]:53\"]";
        let listen = addresses(value, LISTEN_MAX, example, problems);
        node.listen = listen.into_iter().map(|(address, _)| address).collect();
    }
    node.workers = section.count("workers", 1..=WORKERS_MAX, problems);
    node.steering = steering(&mut section, problems).unwrap_or(node.steering);
    let mut buffer = |key, default| {
        let bytes = section.integer(key, BUFFER_BYTES, problems);
        bytes.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(default)
    };
    node.receive_buffer_bytes = buffer("receive-buffer-bytes", node.receive_buffer_bytes);
    node.send_buffer_bytes = buffer("send-buffer-bytes", node.send_buffer_bytes);
    node.state_dir = section.path("state-dir", folder, problems);
    if let Some((text, _)) = section.text("control", problems) {
        node.control =
            if text == "none" { ControlSocket::None } else { ControlSocket::At(folder.join(text)) };
    }
    node.version = section.text("version", problems).and_then(|(text, place)| {
        if text.is_empty() || text.len() > VERSION_MAX {
            let help = "give 1 to 255 octets of text, or \"hide\"";
            problems.push(Problem::at(place, "the version text has no fitting length", "this text", help));
            return None;
        }
        (text != "hide").then(|| text.to_owned())
    });
    if let Some(size) = section.integer("udp-payload-max", 512..=4096, problems) {
        node.udp_payload_max = size as u16; // at most 4,096
    }
    node.client_subnet = section.flag("client-subnet", problems).unwrap_or_default();
    if let Some(value) = section.take("tcp")
        && let Some(section) = Section::of(value, "node.tcp", problems)
    {
        node.tcp = tcp(section, problems);
    }
    if let Some(value) = section.take("tls")
        && let Some(section) = Section::of(value, "node.tls", problems)
    {
        node.tls = tls_service::tls_service(section, &node.listen, folder, problems);
    }
    section.finish(problems);
    node
}

fn steering(section: &mut Section<'_, '_>, problems: &mut Vec<Problem>) -> Option<Steering> {
    let (text, place) = section.text("steering", problems)?;
    match text {
        "hash" => Some(Steering::Hash),
        "cpu" => Some(Steering::Cpu),
        "auto" => Some(Steering::Auto),
        _ => {
            let help = "write \"auto\" (the default: by CPU where network cards have a queue for each worker), \"hash\" (of \
                        the addresses) or \"cpu\" (the worker of the CPU that received it)";
            problems.push(Problem::at(place, format!("`{text}` is no way to steer"), "this text", help));
            None
        }
    }
}

fn node_name(section: &mut Section<'_, '_>, problems: &mut Vec<Problem>) -> Option<String> {
    let (text, place) = section.text("name", problems)?;
    if text.is_empty() || text.len() > NODE_NAME_MAX {
        let title = format!("the node's name has {} octets", text.len());
        let help = "give it 1 to 128 octets (it has to fit the smallest response), or leave it out";
        problems.push(Problem::at(place, title, "this name", help));
        return None;
    }
    Some(text.to_owned())
}

/// The addresses of a `listen`, at most `most`.
fn addresses(
    value: &Value<'_>,
    most: usize,
    example: &str,
    problems: &mut Vec<Problem>,
) -> Vec<Placed<SocketAddr>> {
    let help = format!("write `{example}`");
    let Some(items) = value.get_ref().as_array() else {
        problems.push(wrong_type(value, "listen", "a list of addresses", &help));
        return Vec::new();
    };
    if items.len() > most {
        let title = format!("{} addresses are more than the {most} there may be", items.len());
        problems.push(Problem::at(value.span(), title, "this list", "listen on a wildcard address instead"));
        return Vec::new();
    }
    let mut addresses: Vec<Placed<SocketAddr>> = Vec::new();
    for item in items.iter() {
        let Some(text) = item.get_ref().as_str() else {
            problems.push(wrong_type(item, "an address", "text", &help));
            continue;
        };
        match text.parse::<SocketAddr>() {
            Ok(address) if address.port() != 0 && addresses.iter().any(|(known, _)| *known == address) => {
                let title = format!("{address} is listened on twice");
                problems.push(Problem::at(item.span(), title, "again here", "remove one of the two"));
            }
            Ok(address) => addresses.push((address, item.span())),
            Err(_) => {
                let title = format!("`{text}` is not an address with a port");
                let help = "write IPv4 as \"192.0.2.53:53\" and IPv6 as \"[2001:db8::53]:53\"; names are not \
                            looked up";
                problems.push(Problem::at(item.span(), title, "this address", help));
            }
        }
    }
    addresses
}

fn tcp(mut section: Section<'_, '_>, problems: &mut Vec<Problem>) -> TcpConfig {
    let mut tcp = TcpConfig::default();
    tcp.workers = section.count("workers", 1..=WORKERS_MAX, problems).unwrap_or(tcp.workers);
    let mut limit = |key, limit: &mut usize| {
        *limit = section.count(key, 1..=1_000_000, problems).map_or(*limit, NonZeroUsize::get);
    };
    limit("connections-max", &mut tcp.connections_max);
    limit("connections-per-client-max", &mut tcp.connections_per_client_max);
    let mut timeout = |key, timeout: &mut Duration| {
        if let Some(ms) = section.integer(key, 1..=3_600_000, problems) {
            *timeout = Duration::from_millis(ms);
        }
    };
    timeout("idle-timeout-ms", &mut tcp.idle_timeout);
    timeout("transfer-timeout-ms", &mut tcp.transfer_timeout);
    section.finish(problems);
    tcp
}

/// The name of a zone, in lower case; a missing final dot is supplied.
pub(crate) fn apex(text: &str) -> Result<NameBuf, wire::NameTextError> {
    let mut name = NameBuf::from_text(text.as_bytes(), Some(wire::Name::ROOT))?;
    name.make_lowercase();
    Ok(name)
}
