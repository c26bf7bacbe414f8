//! The sections about the management address: the node's own, and those of its peers.

use super::super::problem::Problem;
use super::super::{MANAGEMENT_MAX, NODE_NAME_MAX, PEERS_MAX, PeerConfig};
use super::{Placed, Section, Value, addresses, wrong_type};
use std::net::SocketAddr;
use std::ops::Range;

const LISTEN_EXAMPLE: &str = "listen = [\"192.0.2.10:8053\"]";

/// Decodes `[management]`; `service` is where queries are taken.
pub(super) fn management(
    mut section: Section<'_, '_>,
    service: &[SocketAddr],
    problems: &mut Vec<Problem>,
) -> Vec<SocketAddr> {
    let mut listen = Vec::new();
    match section.take("listen") {
        Some(value) => listen = addresses(value, MANAGEMENT_MAX, LISTEN_EXAMPLE, problems),
        None => {
            let help = format!("add `{LISTEN_EXAMPLE}`, or take the section out");
            let place = section.place();
            problems.push(Problem::at(place, "[management] has no `listen`", "in this section", help));
        }
    }
    section.finish(problems);
    for (address, place) in &listen {
        if address.port() != 0 && service.contains(address) {
            let title = format!("{address} is a service address, where TCP queries are taken");
            let help = "give the management its own port, on an address that is not announced";
            problems.push(Problem::at(place.clone(), title, "this address", help));
        }
    }
    listen.into_iter().map(|(address, _)| address).collect()
}

/// Decodes all `[[peer]]`; `own` are the node's own management addresses.
pub(super) fn peers(value: &Value<'_>, own: &[SocketAddr], problems: &mut Vec<Problem>) -> Vec<PeerConfig> {
    let Some(items) = value.get_ref().as_array() else {
        let help = "peers are written as [[peer]], with two brackets, so that there can be several";
        problems.push(wrong_type(value, "peer", "a list", help));
        return Vec::new();
    };
    if items.len() > PEERS_MAX {
        let title = format!("{} peers are more than the {PEERS_MAX} there may be", items.len());
        problems.push(Problem::at(value.span(), title, "this list", "name those that are nearest"));
        return Vec::new();
    }
    let mut peers: Vec<PeerConfig> = Vec::new();
    for item in items.iter() {
        let Some(section) = Section::of(item, "[[peer]]", problems) else { continue };
        let Some((peer, place)) = peer(section, own, problems) else { continue };
        let twice = |what: String| Problem::at(place, what, "again here", "remove one of the two [[peer]]");
        if peers.iter().any(|known| known.name == peer.name) {
            problems.push(twice(format!("the peer {} is configured twice", peer.name)));
        } else if peers.iter().any(|known| known.address == peer.address) {
            // Counted twice, it would stand for two sites that announce.
            problems.push(twice(format!("two peers have the address {}", peer.address)));
        } else {
            peers.push(peer);
        }
    }
    peers
}

fn peer(
    mut section: Section<'_, '_>,
    own: &[SocketAddr],
    problems: &mut Vec<Problem>,
) -> Option<Placed<PeerConfig>> {
    let name = section.required("name", "name = \"fra1\"", problems).and_then(|(text, place)| {
        if !text.is_empty() && text.len() <= NODE_NAME_MAX {
            return Some((text.to_owned(), place));
        }
        let title = format!("the peer's name has {} octets", text.len());
        problems.push(Problem::at(place, title, "this name", "give it 1 to 128 octets"));
        None
    });
    let address = section
        .required("address", "address = \"192.0.2.20:8053\"", problems)
        .and_then(|(text, place)| peer_address(text, place, own, problems));
    section.finish(problems);
    let (name, place) = name?;
    Some((PeerConfig { name, address: address? }, place))
}

fn peer_address(
    text: &str,
    place: Range<usize>,
    own: &[SocketAddr],
    problems: &mut Vec<Problem>,
) -> Option<SocketAddr> {
    let (title, help) = match text.parse::<SocketAddr>() {
        Ok(address) if own.contains(&address) => {
            (format!("{address} is this node itself"), "name the other nodes only")
        }
        Ok(address) if address.port() != 0 && !address.ip().is_unspecified() => return Some(address),
        _ => (
            format!("`{text}` is not the management address of a node"),
            "write what the peer has as `listen` in its [management], such as \"192.0.2.20:8053\"; names are not \
             looked up",
        ),
    };
    problems.push(Problem::at(place, title, "this address", help));
    None
}
