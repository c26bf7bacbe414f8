//! Decodes what is taken for a proof of who an endpoint is.

use super::super::super::probe::{EndpointTls, TlsClient, digest};
use super::super::super::problem::Problem;
use super::super::super::tls::Proof;
use super::super::{Section, tls as file};
use super::Around;
use rustls::pki_types::ServerName;
use std::path::Path;
use std::sync::Arc;

/// Where systems have the authorities that they trust: Debian and what is made from it, Fedora, openSUSE, Alpine.
const SYSTEM: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// The most days that a certificate may have to be valid for: those of the longest-lived that anybody issues.
const DAYS_MAX: u64 = 398;
const HELP: &str = "give `ca-file`, a file with certificates of those who have signed the endpoints' (PEM), or `pins`, or \
                    `verify = false` if it doesn't matter who answers";

/// What is alike for many checks.
#[derive(Default)]
pub(super) struct Trust {
    clients: Vec<TlsClient>,
    system: Option<Result<Arc<Proof>, String>>,
}

impl Trust {
    /// Those whom the system trusts.
    fn system(&mut self) -> Result<Arc<Proof>, String> {
        let read = || {
            let found = SYSTEM.into_iter().map(Path::new).find(|file| file.exists());
            let found = found.ok_or_else(|| {
                format!("this system has no file of authorities, as {}", SYSTEM.join(" or "))
            })?;
            let certificates = file::certificates(found);
            let certificates = certificates.map_err(|error| format!("{}: {error}", found.display()))?;
            Ok(Arc::new(Proof::Authorities(certificates)))
        };
        self.system.get_or_insert_with(read).clone()
    }

    fn client(&mut self, proof: &Proof, alpn: &[&[u8]]) -> Result<TlsClient, String> {
        let digest = digest(proof, alpn);
        if let Some(known) = self.clients.iter().find(|client| client.digest == digest) {
            return Ok(known.clone());
        }
        let client =
            TlsClient::new(proof, alpn).map_err(|error| format!("the authorities can't be used: {error}"))?;
        self.clients.push(client.clone());
        Ok(client)
    }
}

/// How an endpoint shows who it is; where nothing is said of its name, that is of this host.
pub(super) fn tls(
    section: &mut Section<'_, '_>,
    host: Option<&str>,
    alpn: &[&[u8]],
    around: &mut Around<'_>,
    problems: &mut Vec<Problem>,
) -> Option<EndpointTls> {
    let before = problems.len();
    let host = host.and_then(|host| host.parse::<hyper::http::uri::Authority>().ok());
    let of_host = host.and_then(|host| ServerName::try_from(host.host().to_owned()).ok());
    let server_name = file::server_name(section, problems).or(of_host);
    let valid_days = section.integer("valid-days", 0..=DAYS_MAX, problems).map(|days| days as u32); // in range
    let verify = section.flag("verify", problems).unwrap_or(true);
    let place = section.place();
    let is_of_system = verify && !section.has("ca-file") && !section.has("pins");
    let proof = match (section.has("ca-file"), section.has("pins"), verify) {
        (true, false, true) => file::authorities(section, around.folder, problems).map(Arc::new),
        (false, true, true) => file::pins(section, problems).map(Arc::new),
        (false, false, false) => Some(Arc::new(Proof::Anything)),
        (false, false, true) => match around.trust.system() {
            Ok(proof) => Some(proof),
            Err(error) => {
                problems.push(Problem::at(place.clone(), error, "in this check", HELP));
                None
            }
        },
        _ => {
            let title = "`ca-file`, `pins` and `verify = false` exclude each other";
            problems.push(Problem::at(place.clone(), title, "in this check", HELP));
            None
        }
    };
    let proof = proof.filter(|_| problems.len() == before)?;
    match around.trust.client(&proof, alpn) {
        Ok(client) => {
            let tls = EndpointTls::new(server_name, valid_days, &client);
            Some(if is_of_system { tls.by_the_system() } else { tls })
        }
        Err(error) => {
            problems.push(Problem::at(place, error, "in this check", HELP));
            None
        }
    }
}

/// Says of each key about TLS that there is none.
pub(super) fn refuse(section: &Section<'_, '_>, problems: &mut Vec<Problem>) {
    for key in ["server-name", "ca-file", "pins", "verify", "valid-days"] {
        if let Some(place) = section.place_of(key) {
            let title = format!("`{key}` is for checks over TLS");
            problems.push(Problem::at(place, title, "this is none", "add `tls = true`, or remove it"));
        }
    }
}
