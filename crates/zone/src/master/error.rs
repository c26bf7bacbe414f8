//! What can be wrong in a master file.

use super::scan::Word;
use super::{FILES_MAX, GENERATE_MAX, INCLUDE_DEPTH_MAX, IncludeError, Place};
use crate::rdata::RdataError;
use wire::{NameTextError, RecordType};

/// An error and its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// Where the text is wrong.
    pub place: Place,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong in a master file. Words of the file are quoted up to a bounded length.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Problem {
    /// A quote without its end.
    #[error("the quoted text that starts here has no end: add the closing `\"`, or write `\\\"` for a quote")]
    UnclosedQuote,
    /// A quote inside a word.
    #[error("a quote inside a word: put the whole text in quotes, or write `\\\"`")]
    QuoteInWord,
    /// A `(` without its `)`.
    #[error("the parenthesis opened here is not closed: add the `)` that ends the record")]
    UnclosedParenthesis,
    /// A `(` inside parentheses.
    #[error("a `(` inside the parentheses opened at line {line}, column {column}: close those first")]
    NestedParenthesis {
        /// The line of the open one.
        line: u32,
        /// Its column.
        column: u32,
    },
    /// A `)` without its `(`.
    #[error("a `)` that closes nothing: remove it, or add the `(`")]
    UnopenedParenthesis,
    /// A `\` before the end of the line, or followed by something that is not an octet.
    #[error("a `\\` must be followed by a character or by three digits up to 255")]
    Escape,
    /// Something is missing at the end of the line.
    #[error("the record ends where {0} is expected")]
    Missing(&'static str),
    /// A word after the end.
    #[error("`{0}` follows the end of the record: remove it, or put `;` before it if it is a comment")]
    Extra(Box<str>),
    /// A quoted text where none may stand.
    #[error("a quoted text where {0} is expected: remove the quotes")]
    Quoted(&'static str),
    /// A word that is not what the field holds.
    #[error("`{found}` is not {expected}")]
    Value {
        /// The word.
        found: Box<str>,
        /// What the field holds.
        expected: &'static str,
    },
    /// A word that is not a name.
    #[error("`{found}` is not a domain name: {reason}")]
    Name {
        /// The word.
        found: Box<str>,
        /// Why not.
        reason: NameTextError,
    },
    /// A word that should be a type.
    #[error("`{0}` is not a record type: types without a mnemonic are written TYPEnnn")]
    UnknownType(Box<str>),
    /// A type of messages only.
    #[error("type {0} exists in messages only and can't be in a zone")]
    MetaType(RecordType),
    /// A type whose data has no text of its own.
    #[error("the data of type {0} is written `\\# length hexadecimal` (RFC 3597)")]
    OpaqueType(RecordType),
    /// A class other than IN.
    #[error("class {0}: only zones of class IN are read")]
    Class(Box<str>),
    /// A second TTL or class.
    #[error("the record states a second {0}: remove one")]
    Twice(&'static str),
    /// A TTL over 2^31 - 1.
    #[error("a TTL of {0}: the largest is 2147483647 (RFC 2181 §8)")]
    TtlRange(u32),
    /// A record without a TTL, and none to take.
    #[error(
        "the record has no TTL and there is none to take: write one, or `$TTL 3600` at the top of the file"
    )]
    NoTtl,
    /// A blank at the start of the line, and no owner to take.
    #[error("the line starts with a blank, so it has the owner of the record before it, and there is none")]
    NoOwner,
    /// A directive after a blank.
    #[error("the directive `{0}` must start in the first column")]
    IndentedDirective(Box<str>),
    /// A directive that does not exist.
    #[error(
        "`{0}` is not a directive: there are $ORIGIN, $TTL, $INCLUDE and $GENERATE; write `\\$` in a name"
    )]
    UnknownDirective(Box<str>),
    /// A character string that is too long.
    #[error("the text has {0} octets, a string at most 255: split it into several strings")]
    LongText(usize),
    /// Data that is not valid for its type.
    #[error("the data is not that of type {rtype}: {reason}")]
    Rdata {
        /// The type.
        rtype: RecordType,
        /// Why not.
        reason: RdataError,
    },
    /// Data of RFC 3597 whose length is not the one stated.
    #[error("the data has {found} octets, but its length is stated as {stated}")]
    GenericLength {
        /// The length stated.
        stated: u16,
        /// The length found.
        found: usize,
    },
    /// A parameter of SVCB or HTTPS.
    #[error("the parameter `{found}` is wrong: {reason}")]
    Parameter {
        /// The parameter.
        found: Box<str>,
        /// Why.
        reason: &'static str,
    },
    /// A file that can't be included.
    #[error("`{path}` can't be included: {reason}")]
    Include {
        /// The path as written.
        path: Box<str>,
        /// Why not.
        reason: IncludeError,
    },
    /// Files that include each other too deep.
    #[error("files include each other more than {INCLUDE_DEPTH_MAX} deep: does one include itself?")]
    IncludeDepth,
    /// Too many files.
    #[error("more than {FILES_MAX} files are included")]
    IncludeCount,
    /// A range that is none.
    #[error(
        "`{0}` is not a range: write START-STOP or START-STOP/STEP with START <= STOP <= 2147483647, STEP >= 1"
    )]
    GenerateRange(Box<str>),
    /// Too many records.
    #[error(
        "the $GENERATE directives make more than {GENERATE_MAX} records: split the zone or narrow the range"
    )]
    GenerateCount,
    /// A `${...}` that is none.
    #[error("`${{{0}` does not start `${{offset,width,base}}` with base one of d o x X n N")]
    GenerateModifier(Box<str>),
    /// A number below zero.
    #[error("the offset makes the number {0}, and a number below zero can't be written")]
    GenerateNegative(i64),
    /// An error in a record that a `$GENERATE` makes.
    #[error("in the record made for {value}: {problem}")]
    Generated {
        /// The number of the record.
        value: u32,
        /// The error.
        problem: Box<Problem>,
    },
}

/// The error on its way out; boxed because it is rare and the results it is in are not.
pub(super) type Failed = Box<Diagnostic>;

pub(super) type Fallible<T> = Result<T, Failed>;

impl Problem {
    pub(super) fn at(self, place: Place) -> Failed {
        Box::new(Diagnostic { place, problem: self })
    }
}

/// What a message shows of a word: at most 40 octets, with what can't be shown replaced.
pub(super) fn excerpt(text: &[u8]) -> Box<str> {
    const SHOWN_MAX: usize = 40;
    let shown = String::from_utf8_lossy(&text[..text.len().min(SHOWN_MAX)]);
    let mut shown: String =
        shown.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect();
    if text.len() > SHOWN_MAX {
        shown.push('…');
    }
    shown.into_boxed_str()
}

impl Word<'_> {
    /// The word is not what is expected here.
    pub(super) fn not(&self, expected: &'static str) -> Failed {
        Problem::Value { found: excerpt(self.text), expected }.at(self.place)
    }

    /// The error with this word's place.
    pub(super) fn wrong(&self, problem: impl FnOnce(Box<str>) -> Problem) -> Failed {
        problem(excerpt(self.text)).at(self.place)
    }
}
