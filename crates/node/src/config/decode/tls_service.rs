//! What is said about DNS over TLS: `[node.tls]`.

use super::super::problem::Problem;
use super::super::tls_service::{Identity, TLS_LISTEN_MAX, TlsService};
use super::tls::certificates;
use super::transfer::read_secret;
use super::{Section, addresses};
use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::net::SocketAddr;
use std::path::Path;

const LISTEN_EXAMPLE: &str = "listen = [\"192.0.2.10:853\"]";
const CERTIFICATE: &str =
    "name a file with the node's certificate, and behind it those of the authorities between (PEM)";
const KEY: &str = "name the file with the private key of the certificate (PEM)";
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
    let chain = section.required("certificate-file", "certificate-file = \"node.pem\"", problems);
    let chain = chain.and_then(|(file, place)| chain_of(&folder.join(file), CERTIFICATE, place, problems));
    let key = section.required("key-file", "key-file = \"node.key\"", problems);
    let key = key.and_then(|(file, place)| match private_key(&folder.join(file)) {
        Ok(key) => Some(key),
        Err((title, help)) => {
            problems.push(Problem::at(place, title, "this file", help));
            None
        }
    });
    let has_authorities = section.has("client-ca-file");
    let authorities = section
        .text("client-ca-file", problems)
        .and_then(|(file, place)| chain_of(&folder.join(file), CLIENTS, place, problems));
    section.finish(problems);
    let (chain, key) = (chain?, key?);
    if has_authorities && authorities.is_none() {
        return None; // without them anybody would be believed
    }
    match Identity::new(chain, key, authorities) {
        Ok(identity) => {
            Some(TlsService { listen: listen.into_iter().map(|(address, _)| address).collect(), identity })
        }
        Err(error) => {
            let title = match error {
                rustls::Error::InconsistentKeys(_) => {
                    "the key of `key-file` is not that of the certificate in `certificate-file`".to_owned()
                }
                error => format!("its certificates can't be used: {error}"),
            };
            problems.push(Problem::at(place, title, "in this section", CERTIFICATE));
            None
        }
    }
}

/// The certificates of a file, at least one.
fn chain_of(
    file: &Path,
    help: &str,
    place: std::ops::Range<usize>,
    problems: &mut Vec<Problem>,
) -> Option<Vec<CertificateDer<'static>>> {
    let title = match certificates(file) {
        Ok(certificates) if certificates.is_empty() => format!("{} has no certificate", file.display()),
        Ok(certificates) => return Some(certificates),
        Err(error) => format!("{} can't be read: {error}", file.display()),
    };
    problems.push(Problem::at(place, title, "this file", help));
    None
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, (String, String)> {
    let text = read_secret(file)?;
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| {
        let title = match error {
            Error::NoItemsFound => format!("{} has no private key", file.display()),
            // What the error would show may be of the key.
            _ => format!("{} has no private key that can be read", file.display()),
        };
        (title, KEY.to_owned())
    })
}
