//! Loading a zone: its stored image if that is still good, else its master file, checked and compiled.

use super::catalog;
use super::parallel;
use super::source::{self, FileStamp};
use super::state_dir::{Kept, NoImage, StateDir};
use super::transferred::{Sent, Transferred};
use crate::archive::{self, Replayed};
use crate::config::{Rotation, ZoneConfig, ZoneSource, ZonemdPolicy};
use crate::progress::ZoneProgress;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use table::{ImageFlags, SourceStamp, Table};
use transfer::journal::Version;
use wire::RecordType;
use zone::amend::{self, AmendError};
use zone::check::Severity;
use zone::master::{Include, IncludeError, Included};
use zone::{CompileOptions, Difference, Gatherer, Reading, zonemd};

/// From so many records on it is looked what is other in a master file that is read again; a smaller zone is compiled in some
/// milliseconds, and has no overlay to look into before its table.
const RENEWED_RECORDS_MIN: u32 = 10_000;

/// Where a table comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LoadedFrom {
    /// Compiled from the master file in this run.
    MasterFile,
    /// Compiled from what this primary sent, in this run.
    Transfer(SocketAddr),
    /// A table that was compiled elsewhere, published in this run.
    Published,
    /// Made from the configuration in this run.
    Configuration,
    /// Mapped from the state directory.
    Image,
    /// Made from the image of this version and so many differences of the journal.
    Journal(Version, usize),
}

impl LoadedFrom {
    /// Whether the version stood here before the start.
    pub(crate) fn is_recalled(self) -> bool {
        matches!(self, LoadedFrom::Image | LoadedFrom::Journal(..))
    }
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
    /// What its ZONEMD records say; nothing where nobody has looked.
    pub(crate) zonemd: Option<zonemd::Verdict>,
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
    /// What its ZONEMD records say; nothing where they are to be ignored.
    pub(crate) zonemd: Option<zonemd::Verdict>,
}

/// A zone that can't be served: everything that is wrong with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ZoneErrors {
    /// A line each, `file:line:column: what` as far as it has a place; not empty.
    pub(crate) errors: Vec<String>,
    /// What the checks warn of besides.
    pub(crate) warnings: Vec<String>,
    /// Whether nothing is known of the zone, since what was sent are differences to another version.
    pub(crate) misfit: bool,
}

impl ZoneErrors {
    pub(crate) fn one(error: String) -> ZoneErrors {
        ZoneErrors { errors: vec![error], warnings: Vec::new(), misfit: false }
    }
}

/// Loads a zone: from its stored image, or else by compiling it; `standing` is the version that there is.
///
/// # Errors
/// All problems of the zone.
pub(crate) fn load(
    zone: &ZoneConfig,
    state: Option<&StateDir>,
    images: Images,
    standing: Option<&Arc<Table>>,
    progress: &ZoneProgress,
) -> Result<Loaded, ZoneErrors> {
    let start = Instant::now();
    let file = match &zone.source {
        ZoneSource::MasterFile(file) => file,
        ZoneSource::Primaries(_) => return load_transferred(zone, state, start),
        ZoneSource::Published(_) => return load_published(zone, state, start),
        ZoneSource::Catalog(zones) => {
            let standing = standing.map(|standing| catalog::Version::of(standing));
            return catalog::load(zone, zones, state, images, standing);
        }
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
                    zonemd: None,
                    took: start.elapsed(),
                });
            }
            Err(reason) => no_image = Some(reason),
        }
    }
    // Who has it compiled in any case doesn't want to know what is other.
    let standing =
        standing.filter(|table| images == Images::Use && table.record_count() >= RENEWED_RECORDS_MIN);
    let Compiled { table, files, warnings, zonemd } = compile_over(zone, standing, progress)?;
    Ok(Loaded {
        table: Arc::new(table),
        files,
        from: LoadedFrom::MasterFile,
        no_image,
        warnings,
        zonemd,
        took: start.elapsed(),
    })
}

/// Reads, checks and compiles a zone.
///
/// # Errors
/// All problems of the zone.
pub(crate) fn compile(zone: &ZoneConfig, progress: &ZoneProgress) -> Result<Compiled, ZoneErrors> {
    compile_over(zone, None, progress)
}

/// The same, or an overlay over the version that stands, where little is other.
fn compile_over(
    zone: &ZoneConfig,
    standing: Option<&Arc<Table>>,
    progress: &ZoneProgress,
) -> Result<Compiled, ZoneErrors> {
    let master_file = zone.file().ok_or_else(|| {
        ZoneErrors::one(format!(
            "{}: its versions come from elsewhere, and it has no master file here",
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
    let stamp = source::source_stamp(zone, &stamps);
    let mut compiled = compile_reading(zone, reading, stamp, &file, standing, || progress.compiling())?;
    compiled.files = stamps.iter().map(|stamp| stamp.path().to_owned()).collect();
    Ok(compiled)
}

/// Checks and compiles a version that a primary has sent.
///
/// # Errors
/// All problems of the zone; or that the differences don't fit the version that stands.
pub(crate) fn compile_transferred(zone: &ZoneConfig, transferred: Transferred) -> Result<Loaded, ZoneErrors> {
    let Transferred { sent, standing, primary } = transferred;
    match sent {
        Sent::Zone(records) => compile_records(zone, *records, primary),
        Sent::Differences(differences) => compile_differences(zone, standing.as_ref(), &differences, primary),
    }
}

/// Makes the version that differences lead to from the one that stands: at the cost of what they change, or else all its
/// records anew, as from a transfer of the whole zone.
fn compile_differences(
    zone: &ZoneConfig,
    standing: Option<&Arc<Table>>,
    differences: &[Difference],
    primary: SocketAddr,
) -> Result<Loaded, ZoneErrors> {
    let misfit = |why: &dyn fmt::Display| ZoneErrors { misfit: true, ..ZoneErrors::one(why.to_string()) };
    let standing = standing.ok_or_else(|| misfit(&"there is no version that they could change"))?;
    if standing.flags().has(ImageFlags::MIXED) {
        return Err(misfit(
            &"records of one set have several TTLs at the primary, and are served with the lowest",
        ));
    }
    let start = Instant::now();
    // Whether a ZONEMD record is right can be told only of all records.
    let has_zonemd = |table: &Table| table.apex().rrset(RecordType::ZONEMD).is_some();
    match amend::amend(standing, differences) {
        Ok(table) if has_zonemd(&table) => {}
        Ok(table) => {
            return Ok(Loaded {
                table: Arc::new(table),
                warnings: Vec::new(),
                files: Vec::new(),
                from: LoadedFrom::Transfer(primary),
                no_image: None,
                zonemd: Some(zonemd::Verdict::Absent),
                took: start.elapsed(),
            });
        }
        Err(AmendError::Mismatch(mismatch)) => return Err(misfit(&mismatch)),
        Err(AmendError::Recompile(reason)) => tracing::debug!("zone {}: {reason}", zone.name),
    }
    // That takes so long that the node has something better to do meanwhile.
    parallel::yield_to_workers();
    let records = zone::apply(standing, differences).map_err(|mismatch| misfit(&mismatch))?;
    let loaded = compile_records(zone, records, primary)?;
    // Records that stay have the TTLs that they are served with here, and the digest may be over others.
    match loaded.zonemd {
        Some(zonemd::Verdict::Bad(fault)) => Err(misfit(&fault)),
        _ => Ok(loaded),
    }
}

fn compile_records(zone: &ZoneConfig, records: Gatherer, primary: SocketAddr) -> Result<Loaded, ZoneErrors> {
    let start = Instant::now();
    let from = format!("{} from {primary}", zone.name);
    let stamp = source::transfer_stamp(zone);
    let Compiled { table, files, warnings, zonemd } =
        compile_reading(zone, zone::conclude(records), stamp, &from, None, || {}).map_err(|failed| {
            ZoneErrors {
                errors: failed.errors.iter().map(|error| format!("{from}: {error}")).collect(),
                ..failed
            }
        })?;
    table.prepare_for_changes();
    Ok(Loaded {
        table: Arc::new(table),
        files,
        from: LoadedFrom::Transfer(primary),
        no_image: None,
        warnings: warnings.iter().map(|warning| format!("{from}: {warning}")).collect(),
        zonemd,
        took: start.elapsed(),
    })
}

/// The image that an earlier run has transferred.
fn load_transferred(
    zone: &ZoneConfig,
    state: Option<&StateDir>,
    start: Instant,
) -> Result<Loaded, ZoneErrors> {
    let missing =
        |why: &dyn fmt::Display| ZoneErrors::one(format!("{}: it was not transferred yet: {why}", zone.name));
    let state =
        state.ok_or_else(|| missing(&"there is no `state-dir` that would have a copy from before"))?;
    let image = state.load_transferred(zone).map_err(|reason| missing(&reason))?;
    Ok(recalled(zone, state, image, start))
}

/// The image of what an earlier run has served, whatever way that came: a zone that was moved here from a master file, or from
/// primaries, goes on with it until a table is published.
fn load_published(zone: &ZoneConfig, state: Option<&StateDir>, start: Instant) -> Result<Loaded, ZoneErrors> {
    let state = state
        .ok_or_else(|| not_published(zone, &"there is no `state-dir` that would have a table from before"))?;
    let image = state.kept(zone, Kept::Served).map_err(|reason| not_published(zone, &reason))?;
    Ok(recalled(zone, state, image, start))
}

/// Nothing is there of a zone that is published.
pub(crate) fn not_published(zone: &ZoneConfig, why: &dyn fmt::Display) -> ZoneErrors {
    ZoneErrors::one(format!("{0}: `starling ctl publish {0} TABLE` has to bring it: {why}", zone.name))
}

/// What an image of an earlier run and the journal lead to.
fn recalled(zone: &ZoneConfig, state: &StateDir, image: Table, start: Instant) -> Loaded {
    let image = Arc::new(image);
    let (table, from) = match archive::replay(zone, state, &image) {
        Some(Replayed { table, image, differences }) => {
            (Arc::new(table), LoadedFrom::Journal(image, differences))
        }
        None => (image, LoadedFrom::Image),
    };
    Loaded {
        table,
        files: Vec::new(),
        from,
        no_image: None,
        warnings: Vec::new(),
        zonemd: None,
        took: start.elapsed(),
    }
}

/// The last version of a zone with a master file that an earlier run has left, for one whose file has errors now.
pub(crate) fn last_good(zone: &ZoneConfig, state: &StateDir) -> Option<Loaded> {
    let start = Instant::now();
    let image =
        state.kept(zone, Kept::Served).ok().filter(|image| image.source() != source::transfer_stamp(zone))?;
    zone.file()?;
    // Without its files it is current never, so that the next reload reads them.
    Some(recalled(zone, state, image, start))
}

/// Compiles what was read if it has no errors, or makes an overlay of what is other than in the version that stands; gives the
/// table and the warnings.
pub(super) fn compile_reading(
    zone: &ZoneConfig,
    reading: Reading,
    stamp: SourceStamp,
    from: &str,
    standing: Option<&Arc<Table>>,
    compiling: impl Fn(),
) -> Result<Compiled, ZoneErrors> {
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
        return Err(ZoneErrors { errors, warnings, misfit: false });
    };
    compiling();
    let zonemd = (zone.admission.zonemd != ZonemdPolicy::Ignore).then(|| zonemd::verify(&records));
    let options = CompileOptions { rotate: zone.rotation == Rotation::On, source: stamp };
    let renewed = standing.map(|standing| amend::renew(standing, &records, &options));
    match renewed {
        Some(Ok(table)) => return Ok(Compiled { table, files: Vec::new(), warnings, zonemd }),
        Some(Err(reason)) => tracing::debug!("zone {}: compiled as a whole: {reason}", zone.name),
        None => {}
    }
    match zone::compile(records, &options) {
        Ok(table) => Ok(Compiled { table, files: Vec::new(), warnings, zonemd }),
        Err(error) => Err(ZoneErrors {
            errors: vec![format!("{from}: cannot compile {}: {error}", zone.name)],
            warnings,
            misfit: false,
        }),
    }
}

/// Whether a zone's files and options are still those that a table was made from.
pub(crate) fn is_current(zone: &ZoneConfig, files: &[PathBuf], made_from: SourceStamp) -> bool {
    if let ZoneSource::Catalog(zones) = &zone.source {
        return source::catalog_stamp(zone, zones) == made_from;
    }
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
