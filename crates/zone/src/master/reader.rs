//! Lines: directives and records.

use super::error::{Diagnostic, Fallible, Problem, excerpt};
use super::name::NameSlot;
use super::scan::{LineStart, Scanner, Word};
use super::value::{Values, unescape};
use super::{
    FILES_MAX, INCLUDE_DEPTH_MAX, Include, Included, Options, Place, Report, Sink, generate, number,
};
use wire::{Class, Name, NameBuf, RecordType};

/// How many octets lie between two calls of [`Sink::progress`].
const PROGRESS_STEP: u64 = 1 << 20;

/// What records take from the lines before them. `$INCLUDE` saves and restores it.
#[derive(Clone)]
struct Context {
    origin: NameBuf,
    /// Of `$TTL`, the options, or a SOA without a TTL.
    default_ttl: Option<u32>,
    /// The last TTL that a record stated.
    stated_ttl: Option<u32>,
}

/// What a line that starts with a blank has as its owner.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// There was no record yet.
    None,
    /// The name in the slot.
    Known,
    /// One that could not be read: its records are checked and not handed on, as the error is already told.
    Unreadable,
}

/// Reads one master file and what it includes.
pub(super) struct Reader<'a, S> {
    include: &'a mut dyn Include,
    sink: &'a mut S,
    errors_max: usize,
    report: Report,
    context: Context,
    /// The owner of the last record, if `owner` says so.
    owner_name: NameSlot,
    owner: Owner,
    name: NameSlot,
    rdata: Vec<u8>,
    /// Octets of files that have been read to their end.
    bytes_read: u64,
    next_progress: u64,
    pub(super) generated: u32,
}

impl<'a, S: Sink> Reader<'a, S> {
    pub(super) fn new(options: &Options<'_>, include: &'a mut dyn Include, sink: &'a mut S) -> Reader<'a, S> {
        Reader {
            include,
            sink,
            errors_max: options.errors_max,
            report: Report::default(),
            context: Context {
                origin: NameBuf::from(options.origin),
                default_ttl: options.default_ttl,
                stated_ttl: None,
            },
            owner_name: NameSlot::new(Name::ROOT),
            owner: Owner::None,
            name: NameSlot::new(Name::ROOT),
            rdata: Vec::new(),
            bytes_read: 0,
            next_progress: PROGRESS_STEP,
            generated: 0,
        }
    }

    /// Reads a file and all it includes.
    pub(super) fn read(mut self, text: &[u8], file: &str) -> Report {
        self.report.files.push(file.to_owned());
        self.file(text, 0, 0);
        self.sink.progress(self.bytes_read);
        self.report
    }

    fn file(&mut self, text: &[u8], file: u16, depth: usize) {
        let mut scan = Scanner::new(text, file);
        while !self.report.stopped {
            match self.line(&mut scan, depth) {
                Ok(LineStart::End) => break,
                Ok(_) => scan.end_line(),
                Err(failed) => self.recover(&mut scan, *failed),
            }
            let offset = self.bytes_read + scan.offset() as u64;
            if offset >= self.next_progress {
                self.next_progress = offset + PROGRESS_STEP;
                self.sink.progress(offset);
            }
        }
        self.bytes_read += text.len() as u64;
    }

    /// Notes an error and goes to the next record.
    fn recover(&mut self, scan: &mut Scanner<'_>, error: Diagnostic) {
        let is_of_parentheses =
            matches!(error.problem, Problem::UnclosedParenthesis | Problem::NestedParenthesis { .. });
        self.note(error);
        if let Some(open) = scan.resynchronise()
            && !is_of_parentheses
        {
            self.note(Diagnostic { place: open, problem: Problem::UnclosedParenthesis });
        }
    }

    fn note(&mut self, error: Diagnostic) {
        if self.report.errors.len() < self.errors_max {
            self.report.errors.push(error);
        }
        self.report.stopped = self.report.errors.len() >= self.errors_max;
    }

    fn line(&mut self, scan: &mut Scanner<'_>, depth: usize) -> Fallible<LineStart> {
        let start = scan.line_start();
        match start {
            LineStart::End => {}
            LineStart::Blank => {
                if let Some(word) = scan.word()? {
                    if word.text.starts_with(b"$") {
                        return Err(word.wrong(Problem::IndentedDirective));
                    }
                    self.record(scan, word)?;
                }
            }
            LineStart::Directive => self.directive(scan, depth)?,
            LineStart::Other => {
                if let Some(word) = scan.word()? {
                    self.owned_record(scan, word)?;
                }
            }
        }
        Ok(start)
    }

    /// A record that starts with its owner.
    pub(super) fn owned_record<'t>(&mut self, scan: &mut Scanner<'t>, owner: Word<'t>) -> Fallible<()> {
        self.owner = Owner::Unreadable;
        if owner.is_quoted {
            return Err(Problem::Quoted("the owner").at(owner.place));
        }
        self.owner_name.read(&owner, self.context.origin.as_name())?;
        self.owner = Owner::Known;
        let place = owner.place;
        let word = required(scan, "a record type")?;
        self.record_at(scan, word, place)
    }

    fn record<'t>(&mut self, scan: &mut Scanner<'t>, first: Word<'t>) -> Fallible<()> {
        if first.is_quoted {
            return Err(Problem::Quoted("a record type").at(first.place));
        }
        if self.owner == Owner::None {
            return Err(Problem::NoOwner.at(first.place));
        }
        let place = first.place;
        self.record_at(scan, first, place)
    }

    /// The rest of a record from `word`, the first one after the owner, on: `[TTL] [class] type data` or
    /// `[class] [TTL] type data`.
    fn record_at<'t>(&mut self, scan: &mut Scanner<'t>, word: Word<'t>, place: Place) -> Fallible<()> {
        let (rtype, stated_ttl) = type_and_ttl(scan, word)?;
        self.rdata.clear();
        let origin = self.context.origin.as_name();
        Values { scan, origin, name: &mut self.name, out: &mut self.rdata }.read(rtype)?;
        let ttl = self.ttl_of(rtype, stated_ttl, place)?;
        if self.owner == Owner::Known {
            self.sink.record(self.owner_name.as_name(), rtype, ttl, &self.rdata, place);
            self.report.records += 1;
        }
        Ok(())
    }

    fn ttl_of(&mut self, rtype: RecordType, stated: Option<u32>, place: Place) -> Fallible<u32> {
        if stated.is_some() {
            self.context.stated_ttl = stated;
        }
        if let Some(ttl) = stated.or(self.context.default_ttl).or(self.context.stated_ttl) {
            return Ok(ttl);
        }
        match self.rdata.last_chunk::<4>() {
            Some(minimum) if rtype == RecordType::SOA => {
                let minimum = in_range(u32::from_be_bytes(*minimum), place)?;
                self.context.default_ttl = Some(minimum);
                Ok(minimum)
            }
            _ => Err(Problem::NoTtl.at(place)),
        }
    }

    fn directive(&mut self, scan: &mut Scanner<'_>, depth: usize) -> Fallible<()> {
        let word = required(scan, "a directive")?;
        match word.text.to_ascii_uppercase().as_slice() {
            b"$ORIGIN" => {
                let origin = self.name_word(scan, "the new origin")?;
                end(scan)?;
                self.context.origin = origin;
                Ok(())
            }
            b"$TTL" => {
                let word = required(scan, "a TTL")?;
                let ttl = ttl(&word)?;
                end(scan)?;
                self.context.default_ttl = Some(ttl);
                Ok(())
            }
            b"$INCLUDE" => self.include(scan, word.place, depth),
            b"$GENERATE" => generate::run(self, scan, word.place),
            _ => Err(word.wrong(Problem::UnknownDirective)),
        }
    }

    fn name_word(&mut self, scan: &mut Scanner<'_>, expected: &'static str) -> Fallible<NameBuf> {
        let word = required(scan, expected)?;
        self.name.read(&word, self.context.origin.as_name())?;
        Ok(NameBuf::from(self.name.as_name()))
    }

    /// `$INCLUDE path [origin]` (RFC 1035 §5.1).
    fn include(&mut self, scan: &mut Scanner<'_>, place: Place, depth: usize) -> Fallible<()> {
        let word = match scan.word()? {
            Some(word) => word,
            None => return Err(Problem::Missing("the path of a file").at(scan.place())),
        };
        let mut path = Vec::new();
        unescape(&word, &mut path)?;
        let path = String::from_utf8(path).map_err(|_| word.not("a path in UTF-8"))?;
        let origin = if scan.skip_to_word()? { Some(self.name_word(scan, "an origin")?) } else { None };
        end(scan)?;
        if depth + 1 > INCLUDE_DEPTH_MAX {
            return Err(Problem::IncludeDepth.at(place));
        }
        let file = u16::try_from(self.report.files.len()).map_err(|_| Problem::IncludeCount.at(place))?;
        let from = &self.report.files[usize::from(place.file)];
        let Included { file: name, text } = self
            .include
            .load(&path, from)
            .map_err(|reason| Problem::Include { path: excerpt(path.as_bytes()), reason }.at(word.place))?;
        self.report.files.push(name);
        let saved = self.context.clone();
        let (saved_owner, saved_name) = (self.owner, NameBuf::from(self.owner_name.as_name()));
        if let Some(origin) = origin {
            self.context.origin = origin;
        }
        self.file(&text, file, depth + 1);
        self.context = saved;
        self.owner = saved_owner;
        self.owner_name.set(saved_name.as_name());
        Ok(())
    }
}

const _: () = assert!(FILES_MAX == u16::MAX as usize + 1, "a place counts files with 16 bits");

/// Reads `[TTL] [class] type`, TTL and class in either order, from `word` on.
fn type_and_ttl<'t>(scan: &mut Scanner<'t>, mut word: Word<'t>) -> Fallible<(RecordType, Option<u32>)> {
    let (mut stated_ttl, mut has_class) = (None, false);
    loop {
        if word.text.first().is_some_and(u8::is_ascii_digit) {
            if stated_ttl.is_some() {
                return Err(Problem::Twice("TTL").at(word.place));
            }
            stated_ttl = Some(ttl(&word)?);
        } else if let Some(rtype) = common_type(word.text) {
            return Ok((rtype, stated_ttl));
        } else if is_class(&word)? {
            if has_class {
                return Err(Problem::Twice("class").at(word.place));
            }
            has_class = true;
        } else {
            let rtype = RecordType::from_text(word.text).ok_or_else(|| word.wrong(Problem::UnknownType))?;
            if rtype.is_meta() {
                return Err(Problem::MetaType(rtype).at(word.place));
            }
            return Ok((rtype, stated_ttl));
        }
        word = required(scan, "a record type")?;
    }
}

/// The types that fill large zones, found without a walk over all mnemonics.
fn common_type(text: &[u8]) -> Option<RecordType> {
    Some(match text {
        b"A" => RecordType::A,
        b"AAAA" => RecordType::AAAA,
        b"NS" => RecordType::NS,
        b"CNAME" => RecordType::CNAME,
        b"MX" => RecordType::MX,
        b"TXT" => RecordType::TXT,
        b"PTR" => RecordType::PTR,
        b"DS" => RecordType::DS,
        b"RRSIG" => RecordType::RRSIG,
        b"NSEC" => RecordType::NSEC,
        b"NSEC3" => RecordType::NSEC3,
        _ => return None,
    })
}

/// Whether the word is the class IN; an error if it is another.
fn is_class(word: &Word<'_>) -> Fallible<bool> {
    if word.text == b"IN" {
        return Ok(true);
    }
    match Class::from_text(word.text) {
        Some(Class::IN) => Ok(true),
        Some(_) => Err(word.wrong(Problem::Class)),
        None => Ok(false),
    }
}

fn ttl(word: &Word<'_>) -> Fallible<u32> {
    let ttl = number::period(word.text)
        .ok_or_else(|| word.not("a TTL in seconds or with units, such as 3600 or 1h30m"))?;
    in_range(ttl, word.place)
}

fn in_range(ttl: u32, place: Place) -> Fallible<u32> {
    if ttl > i32::MAX as u32 { Err(Problem::TtlRange(ttl).at(place)) } else { Ok(ttl) }
}

/// The next word, which must be there and have no quotes.
pub(super) fn required<'t>(scan: &mut Scanner<'t>, expected: &'static str) -> Fallible<Word<'t>> {
    match scan.word()? {
        Some(word) if word.is_quoted => Err(Problem::Quoted(expected).at(word.place)),
        Some(word) => Ok(word),
        None => Err(Problem::Missing(expected).at(scan.place())),
    }
}

fn end(scan: &mut Scanner<'_>) -> Fallible<()> {
    match scan.word()? {
        Some(word) => Err(word.wrong(Problem::Extra)),
        None => Ok(()),
    }
}
