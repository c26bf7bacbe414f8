//! The reader of master files (RFC 1035 §5).
//!
//! One pass over a text in memory hands every record to a [`Sink`], its owner and data in uncompressed wire form.
//! After an error the reader goes on at the next record, so one run tells all errors. It reads no files:
//! `$INCLUDE` asks the caller's [`Include`]. It knows nothing of zones: what may stand where in a zone is
//! the business of the semantic checks.
//!
//! Where RFC 1035 is silent:
//!
//! - A quoted text may go on over lines only inside parentheses, where line ends mean nothing; elsewhere the end
//!   of the line ends the record, and the quote is reported as unclosed. So one lost quote costs one record.
//! - Parentheses don't nest: a second `(` almost always means that a `)` is missing.
//! - Directives start in the first column; their names may be in any case.
//! - A record without a TTL takes the last `$TTL` (RFC 2308 §4), else the last TTL stated (RFC 1035 §5.1), else,
//!   if it is a SOA, its own minimum, which then stands for a `$TTL`, as BIND does it.
//! - A TTL over 2^31 - 1 is an error, as in NSD: RFC 2181 §8 has receivers take it for zero, which no author means.
//! - Units are those of BIND: `w d h m s` in any case and order, each after a number, as in `1h30m`.
//! - `$INCLUDE` hands origin, owner and default TTL down; what the file included makes of them ends with it.
//! - `$GENERATE` is BIND's, see [`GENERATE_MAX`]; its right-hand side is the rest of the line, or one quoted text.
//! - A byte order mark at the start is skipped, and a carriage return is a blank.

mod error;
mod generate;
mod location;
mod name;
mod number;
mod params;
mod reader;
mod scan;
mod value;

#[cfg(test)]
mod tests;

pub use error::{Diagnostic, Problem};
pub use value::rdata_from_text;

use std::fmt;
use wire::{Name, RecordType};

/// How deep files may include each other. Deeper than any layout seen, and shallow enough that a file that includes
/// itself is found out at once.
pub const INCLUDE_DEPTH_MAX: usize = 16;

/// How many files one run reads, repetitions counted.
pub const FILES_MAX: usize = 65_536;

/// How many records the `$GENERATE` directives of one run make together: 2^24, the reverse zone of a whole /8.
pub const GENERATE_MAX: u32 = 1 << 24;

/// What [`parse`] starts from.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// The name that completes relative names until the first `$ORIGIN`.
    pub origin: Name<'a>,
    /// The name of the text in messages.
    pub file: &'a str,
    /// The TTL of records without one, as a `$TTL` at the top would set it.
    pub default_ttl: Option<u32>,
    /// Reading stops at this many errors.
    pub errors_max: usize,
}

impl<'a> Options<'a> {
    /// The usual options: no default TTL, and at most 100 errors.
    pub fn new(origin: Name<'a>, file: &'a str) -> Options<'a> {
        Options { origin, file, default_ttl: None, errors_max: 100 }
    }
}

/// A place in a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The index of the file in [`Report::files`].
    pub file: u16,
    /// The line, from 1.
    pub line: u32,
    /// The octet in the line, from 1.
    pub column: u32,
}

/// Finds the files that `$INCLUDE` names.
pub trait Include {
    /// Loads the file `path`, as written in the file named `from`.
    fn load(&mut self, path: &str, from: &str) -> Result<Included, IncludeError>;
}

/// A file that was included.
#[derive(Clone, Debug)]
pub struct Included {
    /// Its name in messages, and the `from` of what it includes in turn.
    pub file: String,
    /// What it holds.
    pub text: Vec<u8>,
}

/// Why a file can't be included.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum IncludeError {
    /// The file can't be read.
    #[error("{0}")]
    Read(std::io::ErrorKind),
    /// The caller does not allow it, for the reason given.
    #[error("{0}")]
    Refused(&'static str),
}

/// Refuses every `$INCLUDE`, for texts that come from nowhere near a file.
#[derive(Clone, Copy, Debug)]
pub struct NoIncludes;

impl Include for NoIncludes {
    fn load(&mut self, _: &str, _: &str) -> Result<Included, IncludeError> {
        Err(IncludeError::Refused("files can't be included here"))
    }
}

/// Takes what [`parse`] reads.
pub trait Sink {
    /// Takes one record: its data is uncompressed and valid for its type, its TTL at most 2^31 - 1. The class is IN.
    fn record(&mut self, owner: Name<'_>, rtype: RecordType, ttl: u32, rdata: &[u8], place: Place);

    /// Learns about once a megabyte how many octets have been read, those of included files counted.
    fn progress(&mut self, bytes_read: u64) {
        let _ = bytes_read;
    }
}

/// How [`parse`] went.
#[derive(Clone, Default, Debug)]
pub struct Report {
    /// The files read, in the order of their first line; [`Place::file`] counts from here.
    pub files: Vec<String>,
    /// How many records the sink was given.
    pub records: u64,
    /// The errors in the order they were found, at most [`Options::errors_max`].
    pub errors: Vec<Diagnostic>,
    /// Whether reading stopped at [`Options::errors_max`], so that there may be more errors.
    pub stopped: bool,
}

impl Report {
    /// The error as `file:line:column: message`.
    pub fn describe<'a>(&'a self, error: &'a Diagnostic) -> Described<'a> {
        Described { report: self, error }
    }
}

/// An error with its place in words; see [`Report::describe`].
#[derive(Clone, Copy, Debug)]
pub struct Described<'a> {
    report: &'a Report,
    error: &'a Diagnostic,
}

impl fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Diagnostic { place, problem } = self.error;
        let file = self.report.files.get(usize::from(place.file)).map_or("", String::as_str);
        write!(f, "{file}:{}:{}: {problem}", place.line, place.column)
    }
}

/// Reads a master file of class IN.
pub fn parse(text: &[u8], options: &Options<'_>, include: &mut dyn Include, sink: &mut impl Sink) -> Report {
    reader::Reader::new(options, include, sink).read(text, options.file)
}
