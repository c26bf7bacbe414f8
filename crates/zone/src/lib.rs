//! Zones: from a master file to an answer table.
//!
//! [`read`] takes a master file (RFC 1035 §5) to a [`Zone`]: its records sorted and grouped, checked as operators
//! expect it. [`compile`] takes a zone to its [`table::Table`]. The crate reads no files, opens no sockets and
//! answers no queries; it is handed bytes and asks its caller for what `$INCLUDE` names.

pub mod amend;
mod apply;
pub mod check;
mod compare;
mod compile;
pub mod content;
mod difference;
mod dnskey;
pub mod master;
pub mod rdata;
mod records;
pub mod sign;
pub mod zonemd;

pub use apply::{Mismatch, apply};
pub use compare::{Incomparable, compare};
pub use compile::{CompileError, CompileOptions, compile};
pub use difference::{Difference, NotRecords, RecordList, RecordRef};
pub use records::{GatherError, Gatherer, OwnerView, RrsetView, Zone};

use check::{Finding, Severity};
use master::{Diagnostic, Include, Options, Place, Sink};
use std::fmt;
use wire::{Name, RecordType};

/// What is wrong with a zone, and where.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Whether the zone can be served all the same.
    pub severity: Severity,
    /// File, line from 1, and column from 1 (0 where the line as a whole is meant).
    pub place: Option<(String, u32, u32)>,
    /// What it is.
    pub cause: Cause,
}

/// The kinds of problem by who finds them.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Cause {
    /// The text of the master file.
    #[error(transparent)]
    Syntax(#[from] master::Problem),
    /// The zone as a whole.
    #[error(transparent)]
    Semantics(#[from] check::Kind),
    /// Its size.
    #[error(transparent)]
    Size(#[from] GatherError),
    /// Reading stopped early.
    #[error("there are more errors; reading stopped here")]
    Stopped,
}

impl fmt::Display for Problem {
    /// `file:line:column: error: what`, as compilers print it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some((file, line, 0)) => write!(f, "{file}:{line}: ")?,
            Some((file, line, column)) => write!(f, "{file}:{line}:{column}: ")?,
            None => {}
        }
        write!(f, "{}: {}", self.severity, self.cause)
    }
}

/// What reading a zone gave.
pub struct Reading {
    /// The zone; `None` where an error keeps it from being served.
    pub zone: Option<Zone>,
    /// Everything that is wrong, in the order of the text, then of the zone.
    pub problems: Vec<Problem>,
    /// The files that were read.
    pub files: Vec<String>,
}

/// Reads and checks a zone. A text that is given away is freed as soon as it has been read. `file` is its name in messages; `progress` is told now and then how many octets
/// have been read.
pub fn read(
    apex: Name<'_>,
    file: &str,
    text: impl AsRef<[u8]>,
    include: &mut dyn Include,
    progress: &mut dyn FnMut(u64),
) -> Reading {
    let mut sink = Progressing { gatherer: Gatherer::new(apex, text.as_ref().len()), progress };
    let report = master::parse(text.as_ref(), &Options::new(apex, file), include, &mut sink);
    // What follows needs room, too.
    drop(text);
    let files = report.files;
    let place = |place: Place| Some((file_name(&files, place.file), place.line, place.column));
    let mut problems: Vec<Problem> = report
        .errors
        .into_iter()
        .map(|Diagnostic { place: at, problem }| Problem {
            severity: Severity::Error,
            place: place(at),
            cause: problem.into(),
        })
        .collect();
    if report.stopped {
        problems.push(Problem { severity: Severity::Error, place: None, cause: Cause::Stopped });
    }
    let mut zone = sink.gatherer.finish();
    // Half a zone would be full of findings that are no news.
    if problems.is_empty() {
        zone = checked(zone, &mut problems, |(index, line, column)| {
            Some((file_name(&files, index), line, column))
        });
    } else if let Err(error) = &zone {
        problems.push(Problem { severity: Severity::Error, place: None, cause: (*error).into() });
    }
    let refused = problems.iter().any(|problem| problem.severity == Severity::Error);
    Reading { zone: zone.ok().filter(|_| !refused), problems, files }
}

/// Checks a zone whose records came from a message rather than a text, so that its problems have no place.
pub fn conclude(gatherer: Gatherer) -> Reading {
    let mut problems = Vec::new();
    let zone = checked(gatherer.finish(), &mut problems, |_| None);
    let refused = problems.iter().any(|problem| problem.severity == Severity::Error);
    Reading { zone: zone.ok().filter(|_| !refused), problems, files: Vec::new() }
}

/// Adds what is wrong with the gathered records.
fn checked(
    zone: Result<Zone, GatherError>,
    problems: &mut Vec<Problem>,
    place: impl Fn((u16, u32, u32)) -> Option<(String, u32, u32)>,
) -> Result<Zone, GatherError> {
    match &zone {
        Ok(zone) => check::check(zone, &mut |Finding { severity, place: at, kind }| {
            problems.push(Problem { severity, place: at.and_then(&place), cause: kind.into() });
        }),
        Err(error) => {
            problems.push(Problem { severity: Severity::Error, place: None, cause: (*error).into() })
        }
    }
    zone
}

fn file_name(files: &[String], index: u16) -> String {
    files.get(usize::from(index)).cloned().unwrap_or_default()
}

struct Progressing<'a> {
    gatherer: Gatherer,
    progress: &'a mut dyn FnMut(u64),
}

impl Sink for Progressing<'_> {
    #[inline]
    fn record(&mut self, owner: Name<'_>, rtype: RecordType, ttl: u32, rdata: &[u8], place: Place) {
        self.gatherer.record(owner, rtype, ttl, rdata, place);
    }

    fn progress(&mut self, bytes_read: u64) {
        (self.progress)(bytes_read);
    }
}
