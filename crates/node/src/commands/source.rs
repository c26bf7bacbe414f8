//! The zone or table that a command is given as a file.

use super::UsageError;
use crate::cli::named_source;
use crate::config::{Rotation, ZoneConfig};
use crate::zones::origin::{self, Evidence};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use wire::NameBuf;

/// How much of a master file is read to find out which zone it is of.
const LOOK_AT_MAX: u64 = 64 << 10;

/// The zone that a `ZONE` argument means; where its name had to be worked out, that is said on stderr.
///
/// # Errors
/// When the file can't be read, or nothing tells which zone it is of.
pub(super) fn zone(
    source: &Path,
    origin: Option<&NameBuf>,
    rotation: Rotation,
) -> anyhow::Result<ZoneConfig> {
    if let Some(named) = named_source(source) {
        if let Some(origin) = origin
            && *origin != named.name
        {
            let message =
                format!("the zone is called {} and --origin says {origin}; leave one out", named.name);
            return Err(UsageError(message).into());
        }
        return Ok(ZoneConfig::of_file(named.name, named.file, rotation));
    }
    let (name, evidence) = match origin {
        Some(origin) => (origin.clone(), Evidence::CommandLine),
        None => work_out(source)?,
    };
    if evidence != Evidence::CommandLine {
        eprintln!(
            "{}: read as the zone {name}, by {evidence}; NAME=FILE or --origin NAME would say otherwise",
            source.display()
        );
    }
    Ok(ZoneConfig::of_file(name, source.to_owned(), rotation))
}

fn work_out(source: &Path) -> anyhow::Result<(NameBuf, Evidence)> {
    let mut start = Vec::new();
    // A file that can't be read is complained about when it is loaded.
    if let Ok(file) = File::open(source) {
        let _as_far_as_it_goes = file.take(LOOK_AT_MAX).read_to_end(&mut start);
    }
    origin::of(source, &start).ok_or_else(|| {
        let message = format!("nothing tells which zone {0} is of: write it as NAME={0}", source.display());
        UsageError(message).into()
    })
}
