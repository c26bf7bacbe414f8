//! Decodes what a zone says about signatures of its own.

use super::super::problem::Problem;
use super::super::signing::{SIGNING_KEYS_MAX, SigningConfig, VALIDITY_S};
use super::super::{PoolConfig, ZoneConfig};
use super::{Section, pool};
use std::fs::File;
use std::io::Read;
use std::ops::RangeInclusive;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use zeroize::Zeroizing;
use zone::sign::PrivateKey;

/// How long signatures may be good, in seconds: with less nothing could be cached, and a year is longer than a key
/// should be away.
const VALIDITY: RangeInclusive<u64> = 10..=365 * 86_400;
/// The largest file that is read as a private key; one has some 200 octets.
const FILE_LEN_MAX: u64 = 16 << 10;
const EXAMPLE: &str = "signing-key = \"Kexample.com.+015+12345.private\"";

/// How pools are answered in this zone if it is signed.
pub(super) fn zone(
    section: &mut Section<'_, '_>,
    folder: &Path,
    problems: &mut Vec<Problem>,
) -> Option<Arc<SigningConfig>> {
    let place = section.place_of("signature-validity-s");
    let validity_s = section.integer("signature-validity-s", VALIDITY, problems);
    let Some(value) = section.take("signing-key") else {
        if let Some(place) = place {
            let title = "the zone has a `signature-validity-s`, and no `signing-key`";
            problems.push(Problem::at(place, title, "nothing is signed", format!("add `{EXAMPLE}`")));
        }
        return None;
    };
    let mut keys: Vec<PrivateKey> = Vec::new();
    for (file, place) in pool::texts(value, "signing-key", SIGNING_KEYS_MAX, EXAMPLE, problems) {
        match read(&folder.join(file)) {
            Ok(key) if keys.iter().any(|known| known.name() == key.name()) => {
                let title = format!("the key {} is there twice", key.name());
                problems.push(Problem::at(place, title, "again here", "remove one of the two"));
            }
            Ok(key) => keys.push(key),
            Err((title, help)) => problems.push(Problem::at(place, title, "this file", help)),
        }
    }
    let validity_s = validity_s.map_or(VALIDITY_S, |seconds| seconds as u32); // a year at most
    Some(Arc::new(SigningConfig { keys: keys.into(), validity_s }))
}

/// Reads a private key from a file that nobody else may read; what is wrong and what to do, if it is no such file.
fn read(path: &Path) -> Result<PrivateKey, (String, String)> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| {
        (format!("{shown} can't be read: {error}"), "its mode must let the node's user read it".to_owned())
    };
    let found = std::fs::metadata(path).map_err(unreadable)?;
    let mode = found.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let title = format!("others may read or change {shown}, with mode {mode:03o}");
        return Err((title, format!("chmod 600 {shown}")));
    }
    // With room from the start: a vector that grows leaves what it had behind.
    let mut text = Zeroizing::new(Vec::with_capacity(FILE_LEN_MAX as usize + 1));
    // Whoever opens what is no file may have to wait for somebody else.
    if found.is_file() {
        File::open(path)
            .and_then(|file| file.take(FILE_LEN_MAX).read_to_end(&mut text))
            .map_err(unreadable)?;
    }
    PrivateKey::from_text(&shown.to_string(), &text).map_err(|error| {
        let help = "name the .private file of a key of the zone: `dnssec-keygen -a ED25519 ZONE` makes one, for whoever signs the zone";
        (format!("{shown} can't be used: {error}"), help.to_owned())
    })
}

/// Tells of pools whose answers might be kept for longer than their signatures are good.
pub(super) fn require_time(zones: &[ZoneConfig], pools: &[PoolConfig], problems: &mut Vec<Problem>) {
    for zone in zones {
        let Some(signing) = &zone.signing else { continue };
        let ttl_max = signing.ttl_max();
        let is_in_zone =
            |pool: &&PoolConfig| pool.names.iter().any(|it| it.as_name().is_at_or_below(zone.name.as_name()));
        for pool in pools.iter().filter(is_in_zone).filter(|pool| pool.ttl > ttl_max) {
            let title = format!(
                "answers of the pool \"{}\" may be kept for {} s, and signatures in {} are good for {} s",
                pool.name, pool.ttl, zone.name, signing.validity_s
            );
            let help = format!("make its `ttl-s` at most {ttl_max}, or `signature-validity-s` longer");
            problems.push(Problem::general(title, help));
        }
    }
}
