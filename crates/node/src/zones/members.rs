//! Which zones are here for which catalogs, kept over restarts: a catalog may be broken or lost when the node starts, and what
//! it would remove may be held.

use super::image;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;
use transfer::catalog::{Held, Ownership, ZoneName};

/// A member, as it is stored. Labels and groups are octets, a character each.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Stored {
    zone: String,
    catalog: String,
    label: String,
    groups: Vec<String>,
}

/// Reads the members; none where there is no such file.
///
/// # Errors
/// It can't be read, or is damaged.
pub(crate) fn read(file: &Path) -> io::Result<Ownership> {
    let text = match std::fs::read(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ownership::default()),
        text => text?,
    };
    let stored: Vec<Stored> = serde_json::from_slice(&text)?;
    let members: Option<Vec<(ZoneName, Held)>> = stored.iter().map(member).collect();
    let members =
        members.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a name in it is none"))?;
    Ok(Ownership::new(members))
}

/// Stores the members.
///
/// # Errors
/// Those of writing; what was stored before is then still there.
pub(crate) fn store(file: &Path, ownership: &Ownership) -> io::Result<()> {
    let stored = ownership.members().iter().map(|(zone, held)| Stored {
        zone: zone.to_string(),
        catalog: held.catalog.to_string(),
        label: text(&held.label),
        groups: held.groups.iter().map(|group| text(group)).collect(),
    });
    let stored: Vec<Stored> = stored.collect();
    image::replace(file, &serde_json::to_vec(&stored).map_err(io::Error::other)?)
}

/// Renames a file of members that can't be read, so that somebody can look at it; one that was set aside before goes.
pub(crate) fn set_aside(file: &Path) {
    let aside = file.with_file_name("members-aside");
    match std::fs::rename(file, &aside) {
        Ok(()) => tracing::error!("it is set aside as {}", aside.display()),
        Err(error) => tracing::error!("{}: it can't be set aside: {error}", file.display()),
    }
}

fn member(Stored { zone, catalog, label, groups }: &Stored) -> Option<(ZoneName, Held)> {
    let name = |text: &str| crate::config::apex(text).ok().map(|name| ZoneName::from(name.as_name()));
    let groups = groups.iter().map(|group| octets(group)).collect::<Option<_>>()?;
    Some((name(zone)?, Held { catalog: name(catalog)?, label: octets(label)?, groups }))
}

fn text(octets: &[u8]) -> String {
    octets.iter().map(|octet| char::from(*octet)).collect()
}

fn octets(text: &str) -> Option<Box<[u8]>> {
    text.chars().map(|octet| u8::try_from(octet).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("members");
        assert!(read(&file).unwrap().members().is_empty(), "there is none yet");
        let name = |text: &str| ZoneName::from(crate::config::apex(text).unwrap().as_name());
        let all: Box<[u8]> = (0..=255).collect();
        let held =
            Held { catalog: name("c\\.\\000\\255"), label: all.clone(), groups: vec![all, (*b"x").into()] };
        let ownership = Ownership::new([(name("a.example"), held.clone()), (name("."), held)]);
        store(&file, &ownership).unwrap();
        assert_eq!(read(&file).unwrap().members(), ownership.members());
        for damaged in
            ["", "[", "[{}]", "[{\"zone\":\"a..b\",\"catalog\":\"c\",\"label\":\"x\",\"groups\":[]}]"]
        {
            std::fs::write(&file, damaged).unwrap();
            assert!(read(&file).is_err(), "{damaged}");
        }
    }
}
