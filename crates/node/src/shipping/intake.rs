//! Taking a table in: from a file that anybody may go on writing to, to a table in memory of our own.

use super::key::PublicKey;
use super::signature::{FILE_LEN_MAX, Signature, SignatureError, path_for};
use crate::config::{Publisher, ZoneConfig, ZoneSource, ZonemdPolicy};
use crate::zones::load::{Loaded, LoadedFrom};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Instant;
use table::map::Backing;
use table::{Claims, ImageError, Table};
use transfer::Soa;
use wire::{NameBuf, RecordType};
use zone::zonemd;

/// The most octets of an image, which references of 32 bits in units of four can reach.
const IMAGE_LEN_MAX: u64 = 16 << 30;
/// Octets that one thread reads at least: less takes about as long as starting one.
const PART_MIN: usize = 4 << 20;
/// The most threads that read: two already take most of the memory bandwidth of a small machine.
const READERS_MAX: usize = 4;

/// A table that may be published, as far as can be told without the version that is served.
pub(crate) struct Offer {
    /// The table.
    pub(crate) loaded: Loaded,
    /// The key that has signed it; nothing where the zone needs no signature, and none was looked at.
    pub(crate) signer: Option<PublicKey>,
}

/// Why a table is not taken in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IntakeError {
    /// The file of a table, or of its signature, can't be read.
    #[error("cannot read {path}: {source}{hint}", path = .path.display(), hint = hint(source))]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no table, or a damaged one.
    #[error("{path} can't be used: {source}", path = .path.display())]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: ImageError,
    },
    /// It is of a version of the format that this program doesn't know.
    #[error("{path} can't be used: {source}; compile it with the version of starling that the node has", path = .path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: ImageError,
    },
    /// It is of another zone.
    #[error("{path} is a table of {found}, not of {wanted}", path = .path.display())]
    OtherZone {
        /// Which file.
        path: PathBuf,
        /// Of which zone.
        found: Box<NameBuf>,
        /// Of which it should be.
        wanted: Box<NameBuf>,
    },
    /// There is no signature, and there has to be.
    #[error(
        "{path} has no signature: there is no {signature}, and the zone has `publishers`; sign it with `starling compile --sign KEY`",
        path = .path.display(), signature = .signature.display()
    )]
    Unsigned {
        /// Which file.
        path: PathBuf,
        /// The file that its signature should be in.
        signature: PathBuf,
    },
    /// The signature is not good.
    #[error("the signature {path} can't be used: {source}", path = .path.display())]
    Signature {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: SignatureError,
    },
    /// The signature is somebody else's.
    #[error("{path} is signed with the key {key}, which is that of no publisher of the zone", path = .path.display())]
    Stranger {
        /// The file of the table.
        path: PathBuf,
        /// The key that has signed it.
        key: PublicKey,
    },
    /// It was written to meanwhile.
    #[error("{path} is being written to; write a new file and rename it over the old one", path = .path.display())]
    Changing {
        /// Which file.
        path: PathBuf,
    },
    /// No zone that our compiler makes is like that.
    #[error("{path} can't be used: the zone has no SOA record with the serial {serial} that the table names", path = .path.display())]
    NoSoa {
        /// Which file.
        path: PathBuf,
        /// The serial of the table.
        serial: u32,
    },
}

fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied => {
            "; its mode must let the node's user read it, and that of its folders reach it, even where that is root"
        }
        io::ErrorKind::NotFound => {
            "; the node has to see it by this path, which it may not where it has a /tmp of its own"
        }
        _ => "",
    }
}

/// Reads a table into memory of our own and verifies all of it: that it is of this zone, that one of the zone's publishers
/// has signed it where there are any, and its content.
///
/// Takes time and memory for the whole table; for one with a ZONEMD record that is to be verified several times that.
///
/// # Errors
/// Why it can't be served, whatever is served now.
pub(crate) fn take_in(path: &Path, zone: &ZoneConfig) -> Result<Offer, IntakeError> {
    let start = Instant::now();
    let unreadable = |source| IntakeError::Unreadable { path: path.to_owned(), source };
    let invalid = |source| match source {
        ImageError::Version { .. } => IntakeError::Format { path: path.to_owned(), source },
        source => IntakeError::Invalid { path: path.to_owned(), source },
    };
    let file = open(path).map_err(unreadable)?;
    let found = file.metadata().map_err(unreadable)?.len();
    let mut header = [0; Claims::HEADER_LEN];
    match file.read_exact_at(&mut header, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(invalid(ImageError::NotAnImage));
        }
        read => read.map_err(unreadable)?,
    }
    // Before memory is taken for it: what is signed by nobody gets no further than this.
    let claims = Claims::read(&header).map_err(invalid)?;
    if claims.octets != found || found > IMAGE_LEN_MAX {
        return Err(invalid(ImageError::Length { expected: claims.octets, found }));
    }
    if claims.apex != zone.name {
        let (found, wanted) = (Box::new(claims.apex), Box::new(zone.name.clone()));
        return Err(IntakeError::OtherZone { path: path.to_owned(), found, wanted });
    }
    let signer = match &zone.source {
        ZoneSource::Published(publishers) if !publishers.is_empty() => {
            Some(signed_by(path, &claims, publishers)?)
        }
        _ => None,
    };
    let image = read_whole(&file, found).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => IntakeError::Changing { path: path.to_owned() },
        _ => unreadable(error),
    })?;
    if Claims::read(image.bytes()).ok().as_ref() != Some(&claims) {
        return Err(IntakeError::Changing { path: path.to_owned() });
    }
    let table = Arc::new(Table::from_backing(image).map_err(invalid)?);
    // Everything that asks which version it is goes by the one or by the other.
    let serial = claims.serial;
    let soa = table.apex().rrset(RecordType::SOA).and_then(|soa| Soa::from_rdata(soa.records()));
    if soa.is_none_or(|soa| soa.serial != serial) {
        return Err(IntakeError::NoSoa { path: path.to_owned(), serial });
    }
    let zonemd = zonemd_of(&table, zone);
    let loaded = Loaded {
        table,
        files: Vec::new(),
        from: LoadedFrom::Published,
        no_image: None,
        warnings: Vec::new(),
        zonemd,
        took: start.elapsed(),
    };
    Ok(Offer { loaded, signer })
}

/// Opens a regular file; of anything else, such as a pipe, nobody knows how long it takes.
fn open(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    Ok(file)
}

/// The publisher's key that has signed a table.
fn signed_by(path: &Path, claims: &Claims, publishers: &[Arc<Publisher>]) -> Result<PublicKey, IntakeError> {
    let signature = path_for(path);
    let mut text = Vec::new();
    let read = open(&signature).and_then(|file| file.take(FILE_LEN_MAX).read_to_end(&mut text));
    if let Err(source) = read {
        return Err(match source.kind() {
            io::ErrorKind::NotFound => IntakeError::Unsigned { path: path.to_owned(), signature },
            _ => IntakeError::Unreadable { path: signature, source },
        });
    }
    let bad = |source| IntakeError::Signature { path: signature.clone(), source };
    let read = Signature::from_text(&text).map_err(bad)?;
    read.verify(claims).map_err(bad)?;
    if !publishers.iter().any(|publisher| publisher.key == read.key) {
        return Err(IntakeError::Stranger { path: path.to_owned(), key: read.key });
    }
    Ok(read.key)
}

/// Copies a file into memory. It is never mapped: whoever may write to it could change what was verified.
fn read_whole(file: &File, octets: u64) -> io::Result<Backing> {
    let len = usize::try_from(octets).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let threads = thread::available_parallelism().map_or(1, |cpus| cpus.get().min(READERS_MAX));
    let part_len = len.div_ceil(threads).max(PART_MIN);
    let mut read = Ok(());
    let image = Backing::filled(len, |image| {
        read = thread::scope(|scope| {
            let parts = image.chunks_mut(part_len).enumerate();
            let readers: Vec<_> = parts
                .map(|(index, part)| scope.spawn(move || file.read_exact_at(part, (index * part_len) as u64)))
                .collect();
            readers.into_iter().try_for_each(|reader| match reader.join() {
                Ok(read) => read,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        });
    })?;
    read.map(|()| image)
}

/// What the ZONEMD records of a zone say of it, where anybody wants to know.
fn zonemd_of(table: &Arc<Table>, zone: &ZoneConfig) -> Option<zonemd::Verdict> {
    if zone.admission.zonemd == ZonemdPolicy::Ignore {
        return None;
    }
    if table.apex().rrset(RecordType::ZONEMD).is_none() {
        return Some(zonemd::Verdict::Absent);
    }
    // No difference at all leads to all records. Where they can't be read they are not what was digested either.
    let records = zone::apply(table, &[]).ok().and_then(|records| records.finish().ok());
    let damaged = zonemd::Verdict::Bad(zonemd::Fault::Mismatch(zonemd::Algorithm::Sha384));
    Some(records.as_ref().map_or(damaged, zonemd::verify))
}
