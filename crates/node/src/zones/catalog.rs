//! Catalog zones that are made of the configuration, and their serials.

use super::load::{Images, Loaded, LoadedFrom, ZoneErrors, compile_reading};
use super::source;
use super::state_dir::{Kept, StateDir};
use crate::config::ZoneConfig;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use table::{SourceStamp, Table};
use transfer::catalog::{self, Listed};
use transfer::serial::is_newer;

/// A version of a zone: what it was made from, and its serial.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Version {
    stamp: SourceStamp,
    serial: u32,
}

impl Version {
    /// That of a table.
    pub(crate) fn of(table: &Table) -> Version {
        Version { stamp: table.source(), serial: table.serial() }
    }
}

/// Makes a catalog of these zones, or takes its image if that is of the same ones.
///
/// # Errors
/// It can't be compiled.
pub(super) fn load(
    zone: &ZoneConfig,
    zones: &[Listed],
    state: Option<&StateDir>,
    images: Images,
    standing: Option<Version>,
) -> Result<Loaded, ZoneErrors> {
    let start = Instant::now();
    let stamp = source::catalog_stamp(zone, zones);
    let loaded = |table, from| Loaded {
        table: Arc::new(table),
        files: Vec::new(),
        from,
        no_image: None,
        warnings: Vec::new(),
        zonemd: None,
        took: start.elapsed(),
    };
    let image = state.and_then(|state| state.kept(zone, Kept::Served).ok());
    let before = standing.or(image.as_ref().map(Version::of));
    if let Some(image) = image.filter(|image| images == Images::Use && image.source() == stamp) {
        return Ok(loaded(image, LoadedFrom::Image));
    }
    let serial = match before {
        Some(before) if before.stamp == stamp => before.serial,
        before => next_serial(before.map(|before| before.serial), now()),
    };
    let records = catalog::write(zone.name.as_name(), serial, zones)
        .map_err(|error| ZoneErrors::one(format!("{}: {error}", zone.name)))?;
    let from = format!("{} from the configuration", zone.name);
    let compiled = compile_reading(zone, zone::conclude(records), stamp, &from, None, || {})?;
    Ok(loaded(compiled.table, LoadedFrom::Configuration))
}

/// The seconds since 1970, so that a node that has lost its state goes on with a newer one; but never back.
fn next_serial(before: Option<u32>, now: u32) -> u32 {
    match before {
        Some(before) if !is_newer(now, before) => before.wrapping_add(1),
        _ => now,
    }
}

fn now() -> u32 {
    // Modulo 2^32, as serials are (RFC 1982).
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as u32)
}

#[cfg(test)]
mod tests {
    use super::next_serial;

    #[test]
    fn serials_never_go_back() {
        for (before, now, next) in [
            (None, 1_000, 1_000),
            (Some(999), 1_000, 1_000),
            (Some(1_000), 1_000, 1_001),
            (Some(5_000), 1_000, 5_001),
            (Some(u32::MAX), 1_000, 1_000),
            (Some(u32::MAX), u32::MAX - 5, 0),
        ] {
            assert_eq!(next_serial(before, now), next, "{before:?} at {now}");
        }
    }
}
