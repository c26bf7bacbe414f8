//! Loading a zone: its stored image if that is still good, else its master file, checked and compiled.

use super::source::{self, FileStamp};
use super::state_dir::{NoImage, StateDir};
use crate::archive::{self, Replayed};
use crate::config::{Rotation, ZoneConfig, ZoneSource};
use crate::progress::ZoneProgress;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use table::{SourceStamp, Table};
use transfer::journal::Version;
use zone::check::Severity;
use zone::master::{Include, IncludeError, Included};
use zone::{CompileOptions, Gatherer, Reading};

/// Where a table comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LoadedFrom {
    /// Compiled from the master file in this run.
    MasterFile,
    /// Compiled from what this primary sent, in this run.
    Transfer(SocketAddr),
    /// Mapped from the state directory.
    Image,
    /// Made from the image of this version and so many differences of the journal.
    Journal(Version, usize),
}

/// Whether a stored image will do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Images {
    /// It will, if it is good.
    Use,
    /// The zone is to be compiled in any case.
    PassOver,
}

/// A zone that may be served.
pub(crate) struct Loaded {
    /// Its table.
    pub(crate) table: Arc<Table>,
    /// The master file and what it includes.
    pub(crate) files: Vec<PathBuf>,
    /// Where the table comes from.
    pub(crate) from: LoadedFrom,
    /// Why it was compiled though there is a state directory.
    pub(crate) no_image: Option<NoImage>,
    /// What the checks warn of, a line each.
    pub(crate) warnings: Vec<String>,
    /// How long it all took.
    pub(crate) took: Duration,
}

/// A table just compiled.
pub(crate) struct Compiled {
    /// The table.
    pub(crate) table: Table,
    /// The master file and what it includes.
    pub(crate) files: Vec<PathBuf>,
    /// What the checks warn of, a line each.
    pub(crate) warnings: Vec<String>,
}

/// A zone that can't be served: everything that is wrong with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ZoneErrors {
    /// A line each, `file:line:column: what` as far as it has a place; not empty.
    pub(crate) errors: Vec<String>,
    /// What the checks warn of besides.
    pub(crate) warnings: Vec<String>,
}

impl ZoneErrors {
    pub(crate) fn one(error: String) -> ZoneErrors {
        ZoneErrors { errors: vec![error], warnings: Vec::new() }
    }
}

/// Loads a zone: from its stored image, or else by compiling it.
///
/// # Errors
/// All problems of the zone.
pub(crate) fn load(
    zone: &ZoneConfig,
    state: Option<&StateDir>,
    images: Images,
    progress: &ZoneProgress,
) -> Result<Loaded, ZoneErrors> {
    let start = Instant::now();
    let file = match &zone.source {
        ZoneSource::MasterFile(file) => file,
        ZoneSource::Primaries(_) => return load_transferred(zone, state, start),
    };
    let mut no_image = None;
    if let Some(state) = state
        && images == Images::Use
    {
        match state.load(zone, file) {
            Ok((table, files)) => {
                return Ok(Loaded {
                    table: Arc::new(table),
                    files,
                    from: LoadedFrom::Image,
                    no_image,
                    warnings: Vec::new(),
                    took: start.elapsed(),
                });
            }
            Err(reason) => no_image = Some(reason),
        }
    }
    let Compiled { table, files, warnings } = compile(zone, progress)?;
    Ok(Loaded {
        table: Arc::new(table),
        files,
        from: LoadedFrom::MasterFile,
        no_image,
        warnings,
        took: start.elapsed(),
    })
}

/// Reads, checks and compiles a zone.
///
/// # Errors
/// All problems of the zone.
pub(crate) fn compile(zone: &ZoneConfig, progress: &ZoneProgress) -> Result<Compiled, ZoneErrors> {
    let master_file = zone.file().ok_or_else(|| {
        ZoneErrors::one(format!(
            "{}: it is transferred from its primaries, and has no master file",
            zone.name
        ))
    })?;
    let file = master_file.display().to_string();
    let (text, stamp) = source::read(master_file).map_err(|error| {
        let help = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                "; its mode must let the node's user read it, even where that is root"
            }
            _ => "",
        };
        ZoneErrors::one(format!("{file}: cannot read the master file of {}: {error}{help}", zone.name))
    })?;
    progress.expect(text.len() as u64);
    let mut sources =
        Sources { root: master_file.to_owned(), root_shown: file.clone(), stamps: vec![stamp], progress };
    let reading =
        zone::read(zone.name.as_name(), &file, text, &mut sources, &mut |octets| progress.read(octets));
    let stamps = sources.stamps;
    let (table, warnings) =
        compile_reading(zone, reading, source::source_stamp(zone, &stamps), &file, || progress.compiling())?;
    let files = stamps.iter().map(|stamp| stamp.path().to_owned()).collect();
    Ok(Compiled { table, files, warnings })
}

/// Checks and compiles a zone that a primary has sent.
///
/// # Errors
/// All problems of the zone.
pub(crate) fn compile_transferred(
    zone: &ZoneConfig,
    records: Gatherer,
    primary: SocketAddr,
) -> Result<Loaded, ZoneErrors> {
    let start = Instant::now();
    let from = format!("{} from {primary}", zone.name);
    let stamp = source::transfer_stamp(zone);
    let (table, warnings) =
        compile_reading(zone, zone::conclude(records), stamp, &from, || {}).map_err(|failed| ZoneErrors {
            errors: failed.errors.iter().map(|error| format!("{from}: {error}")).collect(),
            warnings: failed.warnings,
        })?;
    Ok(Loaded {
        table: Arc::new(table),
        files: Vec::new(),
        from: LoadedFrom::Transfer(primary),
        no_image: None,
        warnings: warnings.iter().map(|warning| format!("{from}: {warning}")).collect(),
        took: start.elapsed(),
    })
}

/// The image that an earlier run has transferred.
fn load_transferred(
    zone: &ZoneConfig,
    state: Option<&StateDir>,
    start: Instant,
) -> Result<Loaded, ZoneErrors> {
    let missing = |why: &dyn std::fmt::Display| {
        ZoneErrors::one(format!("{}: it was not transferred yet: {why}", zone.name))
    };
    let state =
        state.ok_or_else(|| missing(&"there is no `state-dir` that would have a copy from before"))?;
    let image = Arc::new(state.load_transferred(zone).map_err(|reason| missing(&reason))?);
    let (table, from) = match archive::replay(zone, state, &image) {
        Some(Replayed { table, image, differences }) => {
            (Arc::new(table), LoadedFrom::Journal(image, differences))
        }
        None => (image, LoadedFrom::Image),
    };
    Ok(Loaded { table, files: Vec::new(), from, no_image: None, warnings: Vec::new(), took: start.elapsed() })
}

/// The last version of a zone with a master file that an earlier run has left, for one whose file has errors now.
pub(crate) fn last_good(zone: &ZoneConfig, state: &StateDir) -> Option<Loaded> {
    let start = Instant::now();
    let image = state.stored(zone).ok().filter(|image| image.source() != source::transfer_stamp(zone))?;
    zone.file()?;
    let image = Arc::new(image);
    let (table, from) = match archive::replay(zone, state, &image) {
        Some(Replayed { table, image, differences }) => {
            (Arc::new(table), LoadedFrom::Journal(image, differences))
        }
        None => (image, LoadedFrom::Image),
    };
    // Without its files it is current never, so that the next reload reads them.
    let (files, no_image, warnings) = (Vec::new(), None, Vec::new());
    Some(Loaded { table, files, from, no_image, warnings, took: start.elapsed() })
}

/// Compiles what was read if it has no errors; gives the table and the warnings.
fn compile_reading(
    zone: &ZoneConfig,
    reading: Reading,
    stamp: SourceStamp,
    from: &str,
    compiling: impl Fn(),
) -> Result<(Table, Vec<String>), ZoneErrors> {
    let mut errors = Vec::new();
    let mut warnings = Vec::new();
    for problem in &reading.problems {
        match problem.severity {
            Severity::Error => errors.push(problem.to_string()),
            Severity::Warning => warnings.push(problem.to_string()),
        }
    }
    let Some(records) = reading.zone.filter(|_| errors.is_empty()) else {
        if errors.is_empty() {
            errors.push(format!("{from}: the zone {} can't be used", zone.name));
        }
        return Err(ZoneErrors { errors, warnings });
    };
    compiling();
    let options = CompileOptions { rotate: zone.rotation == Rotation::On, source: stamp };
    match zone::compile(records, &options) {
        Ok(table) => Ok((table, warnings)),
        Err(error) => Err(ZoneErrors {
            errors: vec![format!("{from}: cannot compile {}: {error}", zone.name)],
            warnings,
        }),
    }
}

/// Whether a zone's files and options are still those that a table was made from.
pub(crate) fn is_current(zone: &ZoneConfig, files: &[PathBuf], made_from: SourceStamp) -> bool {
    zone.file().is_some_and(|file| files.first().is_some_and(|first| first == file))
        && source::source_stamp_now(zone, files) == Some(made_from)
}

/// Reads what a master file includes, and keeps track of it.
struct Sources<'p> {
    root: PathBuf,
    root_shown: String,
    stamps: Vec<FileStamp>,
    progress: &'p ZoneProgress,
}

impl Include for Sources<'_> {
    /// A relative path is relative to the file that includes it, so that a zone's folder can be moved as a whole.
    fn load(&mut self, path: &str, from: &str) -> Result<Included, IncludeError> {
        let from = if from == self.root_shown { self.root.as_path() } else { Path::new(from) };
        let file = from.parent().unwrap_or(Path::new("")).join(path);
        let (text, stamp) = source::read(&file).map_err(|error| IncludeError::Read(error.kind()))?;
        self.stamps.push(stamp);
        self.progress.expect(text.len() as u64);
        Ok(Included { file: file.display().to_string(), text })
    }
}
