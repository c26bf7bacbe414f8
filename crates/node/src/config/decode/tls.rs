//! What is said about TLS with primaries: `[[tls]]`.

use super::super::problem::Problem;
use super::super::tls::{Agreement, OwnCertificate, PIN_LEN, PINS_MAX, Proof, TLS_MAX, Tls};
use super::transfer::read_secret;
use super::{Placed, Section, Value, wrong_type};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

const EITHER: &str =
    "give it `ca-file`, a file with certificates of those who have signed the server's (PEM), or `pins`";
const PINS: &str = "write `pins = [\"…\"]`, each the base64 of the SHA-256 of a public key: `openssl x509 -in cert.pem -pubkey \
                    -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64`";

const CERTIFICATE: &str = "`certificate-file` names a file with the node's certificate, and behind it those between it and an authority (PEM)";
const KEY: &str = "`key-file` names the file with the private key of the certificate (PEM)";

/// All `[[tls]]` of the configuration.
pub(super) type AllTls = Vec<Arc<Tls>>;

/// Decodes all `[[tls]]`.
pub(super) fn all(value: &Value<'_>, folder: &Path, problems: &mut Vec<Problem>) -> AllTls {
    let Some(items) = value.get_ref().as_array().filter(|items| items.len() <= TLS_MAX) else {
        let help = "it is written as [[tls]], with two brackets, so that there can be several";
        problems.push(wrong_type(value, "tls", "a list of at most 256", help));
        return Vec::new();
    };
    let mut all: AllTls = Vec::new();
    for item in items.iter() {
        let Some(section) = Section::of(item, "[[tls]]", problems) else { continue };
        let Some((tls, place)) = one(section, folder, problems) else { continue };
        if all.iter().any(|known| known.name == tls.name) {
            let title = format!("the [[tls]] {} is configured twice", tls.name);
            problems.push(Problem::at(place, title, "again here", "remove one of the two"));
        } else {
            all.push(Arc::new(tls));
        }
    }
    all
}

fn one(mut section: Section<'_, '_>, folder: &Path, problems: &mut Vec<Problem>) -> Option<Placed<Tls>> {
    let name = section.required("name", "name = \"primary\"", problems);
    let name = name.and_then(|(text, place)| {
        if text.is_empty() || text.contains(char::is_whitespace) {
            let help = "`primaries` name it as `192.0.2.1:853 tls NAME`";
            problems.push(Problem::at(place, "the name is empty or has spaces", "this name", help));
            return None;
        }
        Some((text.to_owned(), place))
    });
    let wants_name = section.has("server-name");
    let server_name = server_name(&mut section, problems);
    let place = section.place();
    let proof = match (section.has("ca-file"), section.has("pins")) {
        (true, false) => authorities(&mut section, folder, problems),
        (false, true) => pins(&mut section, problems),
        (both, _) => {
            section.know("ca-file");
            section.know("pins");
            let title =
                if both { "it has a `ca-file` and `pins`" } else { "it has no `ca-file` and no `pins`" };
            problems.push(Problem::at(place.clone(), title, "in this section", EITHER));
            None
        }
    };
    section.know("ca-file");
    section.know("pins");
    let shows_own = section.has("certificate-file") || section.has("key-file");
    let own = if shows_own { own_certificate(&mut section, folder, problems) } else { None };
    section.know("certificate-file");
    section.know("key-file");
    let agreement = match section.flag("alpn", problems) {
        Some(false) => Agreement::Offered,
        Some(true) | None => Agreement::Required,
    };
    section.finish(problems);
    let (name, name_place) = name?;
    if (wants_name && server_name.is_none()) || (shows_own && own.is_none()) {
        return None;
    }
    match Tls::new(name, server_name, proof?, own, agreement) {
        Ok(tls) => Some((tls, name_place)),
        Err(error) => {
            problems.push(unusable(&error, place));
            None
        }
    }
}

/// Certificates that were read, and that the library can't work with.
pub(super) fn unusable(error: &rustls::Error, place: Range<usize>) -> Problem {
    if matches!(error, rustls::Error::InconsistentKeys(_)) {
        let title = "the key in `key-file` is not that of the certificate in `certificate-file`";
        return Problem::at(place, title, "in this section", KEY);
    }
    let title = match error {
        // The library's words are for the certificate of somebody else.
        rustls::Error::InvalidCertificate(why) => format!("one of its certificates can't be used: {why:?}"),
        error => format!("its certificates can't be used: {error}"),
    };
    Problem::at(place, title, "in this section", CERTIFICATE)
}

/// The certificate of `certificate-file` with the key of `key-file`.
pub(super) fn own_certificate(
    section: &mut Section<'_, '_>,
    folder: &Path,
    problems: &mut Vec<Problem>,
) -> Option<OwnCertificate> {
    let chain = section.required("certificate-file", "certificate-file = \"node.pem\"", problems);
    let chain =
        chain.and_then(|(file, place)| some_certificates(&folder.join(file), CERTIFICATE, place, problems));
    let key = section.required("key-file", "key-file = \"node.key\"", problems);
    let key = key.and_then(|(file, place)| match private_key(&folder.join(file)) {
        Ok(key) => Some(key),
        Err((title, help)) => {
            problems.push(Problem::at(place, title, "this file", help));
            None
        }
    });
    Some(OwnCertificate { chain: chain?, key: key? })
}

/// The private key of a file (PEM) that nobody else may read; what is wrong and what to do, if there is none.
fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, (String, String)> {
    let text = read_secret(file)?;
    // The error is not shown: it may be of the key.
    PrivateKeyDer::from_pem_slice(text.as_bytes())
        .map_err(|_| (format!("{} has no private key that can be read", file.display()), KEY.to_owned()))
}

/// The certificates of a file (PEM), at least one.
pub(super) fn some_certificates(
    file: &Path,
    help: &str,
    place: Range<usize>,
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

/// The name of `server-name`.
pub(super) fn server_name(
    section: &mut Section<'_, '_>,
    problems: &mut Vec<Problem>,
) -> Option<ServerName<'static>> {
    let (text, place) = section.text("server-name", problems)?;
    let server_name = ServerName::try_from(text.to_owned());
    if server_name.is_err() {
        let help = "write the domain name, or the address, that is in its certificate";
        let title = format!("`{text}` is no name of a server");
        problems.push(Problem::at(place, title, "this name", help));
    }
    server_name.ok()
}

/// The certificates of a file (PEM).
pub(super) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = std::fs::read(file).map_err(|error| error.to_string())?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    certificates.map_err(|error| error.to_string())
}

/// The authorities of `ca-file`.
pub(super) fn authorities(
    section: &mut Section<'_, '_>,
    folder: &Path,
    problems: &mut Vec<Problem>,
) -> Option<Proof> {
    let (text, place) = section.text("ca-file", problems)?;
    let file = folder.join(text);
    match certificates(&file) {
        Ok(certificates) => Some(Proof::Authorities(certificates)),
        Err(error) => {
            let title = format!("{} can't be read: {error}", file.display());
            problems.push(Problem::at(place, title, "this file", EITHER));
            None
        }
    }
}

/// The pins of `pins`.
pub(super) fn pins(section: &mut Section<'_, '_>, problems: &mut Vec<Problem>) -> Option<Proof> {
    let value = section.take("pins")?;
    let items = value.get_ref().as_array().filter(|items| (1..=PINS_MAX).contains(&items.len()));
    let Some(items) = items else {
        problems.push(wrong_type(value, "pins", "a list of 1 to 16 texts", PINS));
        return None;
    };
    let mut pins = Vec::new();
    for item in items.iter() {
        let octets = item.get_ref().as_str().and_then(|text| zone::rdata::base64(text.as_bytes()));
        match octets.and_then(|octets| <[u8; PIN_LEN]>::try_from(octets).ok()) {
            Some(pin) => pins.push(pin),
            None => problems.push(Problem::at(item.span(), "this is no pin", "here", PINS)),
        }
    }
    (pins.len() == items.len()).then_some(Proof::Pins(pins))
}
