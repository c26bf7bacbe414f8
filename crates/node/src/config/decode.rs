//! From TOML to a configuration, with every problem and its place.
//!
//! The document is walked by hand instead of being deserialized, because deserializing ends at the first
//! problem and knows no place for what concerns two of them, such as a zone named twice.

mod admission;
mod catalog;
mod interfaces;
mod management;
mod places;
mod pool;
mod probe;
mod publish;
mod secondary;
mod sharing;
mod signing;
mod tls;
mod transfer;

use super::anycast;
use super::problem::Problem;
use super::{
    AdmissionConfig, Config, ControlSocket, LISTEN_MAX, NODE_NAME_MAX, NodeConfig, Rotation, Secondary,
    SecondaryConfig, Steering, TcpConfig, Template, VERSION_MAX, WORKERS_MAX, ZoneConfig, ZoneSource,
};
use ::transfer::outgoing::notify::Target;
use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use wire::NameBuf;

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
    let announced: Vec<IpAddr> =
        config.anycast.iter().flat_map(|anycast| anycast.plan.addresses()).copied().collect();
    let all_tls = root.take("tls").map(|value| tls::all(value, folder, problems)).unwrap_or_default();
    let known = secondary::Known { announced: &announced, keys: &config.keys, tls: &all_tls };
    let mut defaults = SecondaryConfig::default();
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
        zones = self::zones(value, &around, problems);
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
        config.pools = pool::pools(value, folder, &announced, problems).into();
        signing::require_time(&config.zones, &config.pools, problems);
    }
    if let Some(value) = root.take("pool-sharing")
        && let Some(section) = Section::of(value, "[pool-sharing]", problems)
    {
        let decoded = sharing::sharing(section, &config.keys, &config.peers, problems);
        config.sharing = decoded.map(Arc::new);
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

/// What a `[[zone]]` is read with.
struct Around<'a> {
    folder: &'a Path,
    /// What `[secondary]` says for all of them.
    defaults: &'a SecondaryConfig,
    /// What `[admission]` says for all of them.
    admission: &'a Arc<AdmissionConfig>,
    /// What the rest of the file has said.
    known: secondary::Known<'a>,
    /// Who may publish tables.
    publishers: &'a publish::Publishers,
    /// What members of catalogs are made from.
    templates: Vec<Arc<Template>>,
}

/// A zone that was read, and what others have to know of it.
struct Decoded {
    zone: ZoneConfig,
    /// Where its name stands.
    place: Range<usize>,
    /// The catalog of this node that it is to be in.
    listing: Option<catalog::Listing>,
}

fn zones(value: &Value<'_>, around: &Around<'_>, problems: &mut Vec<Problem>) -> Vec<Decoded> {
    let Some(items) = value.get_ref().as_array() else {
        let help = "zones are written as [[zone]], with two brackets, so that there can be several";
        problems.push(wrong_type(value, "zone", "a list", help));
        return Vec::new();
    };
    let mut zones: Vec<Decoded> = Vec::new();
    let mut names: HashSet<Vec<u8>> = HashSet::new();
    for item in items.iter() {
        let Some(section) = Section::of(item, "[[zone]]", problems) else { continue };
        let Some(decoded) = zone(section, around, problems) else { continue };
        if !names.insert(decoded.zone.name.as_name().as_wire().to_vec()) {
            let title = format!("the zone {} is configured twice", decoded.zone.name);
            let help = "remove one of the two [[zone]] sections";
            problems.push(Problem::at(decoded.place, title, "again here", help));
        } else {
            zones.push(decoded);
        }
    }
    zones
}

fn zone(mut section: Section<'_, '_>, around: &Around<'_>, problems: &mut Vec<Problem>) -> Option<Decoded> {
    let name = zone_name(&mut section, problems);
    let source = source(&mut section, around, problems);
    let common = Common::read(&mut section, around, problems);
    let catalog::Roles { follow, listing } = catalog::roles(&mut section, around, problems);
    let signing = signing::zone(&mut section, around.folder, problems);
    section.finish(problems);
    let (name, place) = name?;
    let Common { rotation, critical, admission, secondaries, notify } = common;
    let zone = ZoneConfig {
        name,
        source: source?,
        rotation,
        critical,
        admission,
        secondaries,
        notify,
        follow,
        signing,
    };
    Some(Decoded { zone, place, listing })
}

fn zone_name(section: &mut Section<'_, '_>, problems: &mut Vec<Problem>) -> Option<Placed<NameBuf>> {
    let (text, place) = section.required("name", "name = \"example.com\"", problems)?;
    match apex(text) {
        Ok(name) => Some((name, place)),
        Err(error) => {
            let title = format!("`{text}` is not a domain name: {error}");
            let help = "write the zone's name as in a master file, with or without the final dot";
            problems.push(Problem::at(place, title, "this name", help));
            None
        }
    }
}

/// What every zone may say of itself, and a template of those that are made from it.
struct Common {
    rotation: Rotation,
    critical: bool,
    admission: Arc<AdmissionConfig>,
    secondaries: Vec<Secondary>,
    notify: Vec<Target>,
}

impl Common {
    fn read(section: &mut Section<'_, '_>, around: &Around<'_>, problems: &mut Vec<Problem>) -> Common {
        Common {
            rotation: rotation(section, problems),
            critical: section.flag("critical", problems).unwrap_or_default(),
            admission: admission(section, around.admission, problems),
            secondaries: transfer::secondaries("secondaries", section, around.known.keys, problems),
            notify: transfer::targets(section, around.known.keys, problems),
        }
    }
}

fn rotation(section: &mut Section<'_, '_>, problems: &mut Vec<Problem>) -> Rotation {
    let Some(value) = section.take("rotate") else { return Rotation::default() };
    match value.get_ref().as_bool() {
        Some(true) => Rotation::On,
        Some(false) => Rotation::Off,
        None => {
            problems.push(wrong_type(value, "rotate", "true or false", "write `rotate = false`"));
            Rotation::default()
        }
    }
}

/// What the versions of a zone have to pass: what holds for all, but for what the zone says itself.
fn admission(
    section: &mut Section<'_, '_>,
    defaults: &Arc<AdmissionConfig>,
    problems: &mut Vec<Problem>,
) -> Arc<AdmissionConfig> {
    let Some(value) = section.take("admission") else { return Arc::clone(defaults) };
    let mut admission = AdmissionConfig::clone(defaults);
    if let Some(section) = Section::of(value, "[zone.admission]", problems) {
        admission::settings(section, &mut admission, problems);
    }
    Arc::new(admission)
}

/// Where the records of a zone come from: exactly one of `file`, `primaries` and `published`.
fn source(
    section: &mut Section<'_, '_>,
    around: &Around<'_>,
    problems: &mut Vec<Problem>,
) -> Option<ZoneSource> {
    section.know("file");
    section.know("primaries");
    let place = section.place_of("published");
    let is_published = section.flag("published", problems).unwrap_or_default();
    match (section.place_of("file"), section.has("primaries"), place.filter(|_| is_published)) {
        (None, false, None) => {
            section.know("publishers");
            let title = "[[zone]] has neither `file` nor `primaries`";
            let help = "add `file = \"zones/example.com.zone\"`, or `primaries = [\"192.0.2.1:53\"]` for a secondary, or \
                        `published = true` for tables that are compiled elsewhere";
            problems.push(Problem::at(section.place(), title, "in this section", help));
            None
        }
        (Some(_), false, None) => {
            secondary::refuse(section, "a `file`", problems);
            publish::refuse(section, problems);
            let (file, _) = section.text("file", problems)?;
            Some(ZoneSource::MasterFile(around.folder.join(file)))
        }
        (None, true, None) => {
            publish::refuse(section, problems);
            let config = secondary::zone(section, around.defaults, &around.known, problems)?;
            Some(ZoneSource::Primaries(Arc::new(config)))
        }
        (None, false, Some(_)) => {
            secondary::refuse(section, "`published`", problems);
            publish::zone(section, around.publishers, problems)
        }
        (file, has_primaries, published) => {
            let given =
                [("`file`", file.is_some()), ("`primaries`", has_primaries), ("`published`", is_published)];
            let given: Vec<&str> =
                given.iter().filter(|(_, is_given)| *is_given).map(|(key, _)| *key).collect();
            let title = format!("the zone has a {}", given.join(" and "));
            let help = "keep `file` if this node has the zone's master file, `primaries` if it is a secondary, `published` if \
                        tables are compiled elsewhere";
            let place = file.or(published).unwrap_or(section.place());
            problems.push(Problem::at(place, title, "one of them is too much", help));
            secondary::zone(section, around.defaults, &around.known, problems);
            section.know("publishers");
            None
        }
    }
}

/// The name of a zone, in lower case; a missing final dot is supplied.
pub(crate) fn apex(text: &str) -> Result<NameBuf, wire::NameTextError> {
    let mut name = NameBuf::from_text(text.as_bytes(), Some(wire::Name::ROOT))?;
    name.make_lowercase();
    Ok(name)
}

/// A table of the document, with the keys that were asked for.
pub(super) struct Section<'d, 'i> {
    title: &'static str,
    table: &'d DeTable<'i>,
    place: Range<usize>,
    known: Vec<&'static str>,
}

impl<'d, 'i> Section<'d, 'i> {
    fn new(title: &'static str, table: &'d DeTable<'i>, place: Range<usize>) -> Section<'d, 'i> {
        Section { title, table, place, known: Vec::new() }
    }

    pub(super) fn of(
        value: &'d Value<'i>,
        title: &'static str,
        problems: &mut Vec<Problem>,
    ) -> Option<Section<'d, 'i>> {
        match value.get_ref().as_table() {
            Some(table) => Some(Section::new(title, table, value.span())),
            None => {
                problems.push(wrong_type(
                    value,
                    title,
                    "a table",
                    "write its keys on lines of their own below it",
                ));
                None
            }
        }
    }

    /// Where the section stands.
    pub(super) fn place(&self) -> Range<usize> {
        self.place.clone()
    }

    /// Whether a key is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Makes a key known that nothing has asked for.
    pub(super) fn know(&mut self, key: &'static str) {
        self.known.push(key);
    }

    /// A value that is true or false.
    pub(super) fn flag(&mut self, key: &'static str, problems: &mut Vec<Problem>) -> Option<bool> {
        let value = self.take(key)?;
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            problems.push(wrong_type(value, key, "true or false", &format!("write `{key} = true`")));
        }
        flag
    }

    /// The value of a key, if it is there.
    pub(super) fn take(&mut self, key: &'static str) -> Option<&'d Value<'i>> {
        self.known.push(key);
        self.table.get(key)
    }

    pub(super) fn text(
        &mut self,
        key: &'static str,
        problems: &mut Vec<Problem>,
    ) -> Option<(&'d str, Range<usize>)> {
        let value = self.take(key)?;
        match value.get_ref().as_str() {
            Some(text) => Some((text, value.span())),
            None => {
                problems.push(wrong_type(value, key, "text", &format!("write `{key} = \"…\"`")));
                None
            }
        }
    }

    /// The place of a key's value, if it is there.
    pub(super) fn place_of(&self, key: &str) -> Option<Range<usize>> {
        self.table.get(key).map(Spanned::span)
    }

    /// One of these words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        what: &str,
        words: &[(&str, T)],
        problems: &mut Vec<Problem>,
    ) -> Option<T> {
        let (text, place) = self.text(key, problems)?;
        let chosen = words.iter().find(|(word, _)| *word == text).map(|(_, chosen)| *chosen);
        if chosen.is_none() {
            let words: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            let help = format!("write {}", words.join(" or "));
            problems.push(Problem::at(place, format!("`{text}` is no {what}"), "this text", help));
        }
        chosen
    }

    pub(super) fn required(
        &mut self,
        key: &'static str,
        example: &str,
        problems: &mut Vec<Problem>,
    ) -> Option<(&'d str, Range<usize>)> {
        if !self.table.contains_key(key) {
            let title = format!("{} has no `{key}`", self.title);
            let help = format!("add `{example}`");
            problems.push(Problem::at(self.place.clone(), title, "in this section", help));
        }
        self.text(key, problems)
    }

    pub(super) fn path(
        &mut self,
        key: &'static str,
        folder: &Path,
        problems: &mut Vec<Problem>,
    ) -> Option<PathBuf> {
        let (text, place) = self.text(key, problems)?;
        if text.is_empty() {
            problems.push(Problem::at(
                place,
                format!("`{key}` is empty"),
                "here",
                "name a folder, or leave it out",
            ));
            return None;
        }
        Some(folder.join(text))
    }

    pub(super) fn integer(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
        problems: &mut Vec<Problem>,
    ) -> Option<u64> {
        let value = self.take(key)?;
        let (least, most) = (range.start(), range.end());
        let help = format!("give a number from {least} to {most}");
        let Some(number) = value.get_ref().as_integer() else {
            problems.push(wrong_type(value, key, "a whole number", &help));
            return None;
        };
        match u64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) if range.contains(&number) => Some(number),
            _ => {
                problems.push(Problem::at(
                    value.span(),
                    format!("`{key}` is out of range"),
                    "this number",
                    help,
                ));
                None
            }
        }
    }

    fn count(
        &mut self,
        key: &'static str,
        range: RangeInclusive<usize>,
        problems: &mut Vec<Problem>,
    ) -> Option<NonZeroUsize> {
        let range = *range.start() as u64..=*range.end() as u64;
        self.integer(key, range, problems).and_then(|number| NonZeroUsize::new(number as usize))
    }

    /// Refuses every key that nothing asked for.
    pub(super) fn finish(self, problems: &mut Vec<Problem>) {
        for key in self.table.keys() {
            let text: &str = key.get_ref();
            if self.known.contains(&text) {
                continue;
            }
            let help = match self.known.iter().find(|known| resembles(known, text)) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("{} may have {}", self.title, listed(&self.known)),
            };
            problems.push(Problem::at(key.span(), format!("unknown key `{text}`"), "this key", help));
        }
    }
}

pub(super) fn wrong_type(value: &Value<'_>, what: &str, wanted: &str, help: &str) -> Problem {
    let found = value.get_ref().type_str();
    Problem::at(value.span(), format!("{what} must be {wanted}"), format!("this is of type {found}"), help)
}

fn listed(keys: &[&str]) -> String {
    keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
}

/// Whether one was probably meant for the other: equal but for `-` and `_`, the case, a final `s`, or one
/// character more, less or other.
fn resembles(known: &str, text: &str) -> bool {
    let plain = |text: &str| text.to_ascii_lowercase().replace('_', "-").trim_end_matches('s').to_owned();
    let (a, b) = (plain(known), plain(text));
    if a == b {
        return true;
    }
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let prefix = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let suffix = a[prefix..].iter().rev().zip(b[prefix..].iter().rev()).take_while(|(x, y)| x == y).count();
    let left = a.len().max(b.len()) - prefix - suffix;
    left <= 1 || (left == 2 && a.len() == b.len()) // two in a row: swapped letters
}
