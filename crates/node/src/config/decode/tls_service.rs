//! What is said about DNS over TLS: `[node.tls]`.

use super::super::problem::Problem;
use super::super::tls_service::{Identity, TLS_LISTEN_MAX, TlsService};
use super::tls::{own_certificate, some_certificates, unusable};
use super::{Section, addresses};
use std::net::SocketAddr;
use std::path::Path;

const LISTEN_EXAMPLE: &str = "listen = [\"192.0.2.10:853\"]";
const CLIENTS: &str = "name a file with the certificates of those who sign certificates of secondaries (PEM)";

/// Decodes `[node.tls]`; `service` is where queries are taken over TCP.
pub(super) fn tls_service(
    mut section: Section<'_, '_>,
    service: &[SocketAddr],
    folder: &Path,
    problems: &mut Vec<Problem>,
) -> Option<TlsService> {
    let listen = match section.take("listen") {
        Some(value) => addresses(value, TLS_LISTEN_MAX, LISTEN_EXAMPLE, problems),
        None => {
            let help = format!("add `{LISTEN_EXAMPLE}`, or take the section out");
            problems.push(Problem::at(section.place(), "node.tls has no `listen`", "in this section", help));
            Vec::new()
        }
    };
    for (address, place) in &listen {
        if address.port() != 0 && service.contains(address) {
            let title = format!("{address} is where TCP queries are taken without TLS");
            let help = "give TLS a port of its own: 853 (RFC 7858 §3.1)";
            problems.push(Problem::at(place.clone(), title, "this address", help));
        }
    }
    let place = section.place();
    let own = own_certificate(&mut section, folder, problems);
    let has_authorities = section.has("client-ca-file");
    let authorities = section
        .text("client-ca-file", problems)
        .and_then(|(file, place)| some_certificates(&folder.join(file), CLIENTS, place, problems));
    section.finish(problems);
    if has_authorities && authorities.is_none() {
        return None; // without them anybody would be believed
    }
    match Identity::new(own?, authorities) {
        Ok(identity) => {
            let listen = listen.into_iter().map(|(address, _)| address).collect();
            Some(TlsService { listen, identity })
        }
        Err(error) => {
            problems.push(unusable(&error, place));
            None
        }
    }
}
