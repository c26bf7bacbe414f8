//! Splits a text into lines and words.

use super::Place;
use super::error::{Fallible, Problem};

/// A word of a line. Escapes are still in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word<'t> {
    /// The octets, without the quotes around them; never empty unless quoted.
    pub(super) text: &'t [u8],
    /// Where it starts.
    pub(super) place: Place,
    /// Whether quotes stood around it.
    pub(super) is_quoted: bool,
    /// Whether there is a `\` in it.
    pub(super) is_escaped: bool,
}

/// How a line starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LineStart {
    /// With a blank: a record without its owner, a comment, or nothing.
    Blank,
    /// With a `$`.
    Directive,
    /// With something else.
    Other,
    /// Not at all: the text is over.
    End,
}

/// What an octet does outside quotes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Plain,
    Blank,
    Newline,
    Comment,
    Quote,
    Open,
    Close,
    Escape,
}

static ROLES: [Role; 256] = {
    let mut roles = [Role::Plain; 256];
    roles[b' ' as usize] = Role::Blank;
    roles[b'\t' as usize] = Role::Blank;
    roles[b'\r' as usize] = Role::Blank;
    roles[b'\n' as usize] = Role::Newline;
    roles[b';' as usize] = Role::Comment;
    roles[b'"' as usize] = Role::Quote;
    roles[b'(' as usize] = Role::Open;
    roles[b')' as usize] = Role::Close;
    roles[b'\\' as usize] = Role::Escape;
    roles
};

fn role(octet: u8) -> Role {
    ROLES[usize::from(octet)]
}

/// Where the scanner stands.
#[derive(Clone, Copy, Debug)]
struct Position {
    at: usize,
    line: u32,
    line_start: usize,
}

/// Reads words, counts lines and keeps track of parentheses.
#[derive(Clone, Debug)]
pub(super) struct Scanner<'t> {
    text: &'t [u8],
    file: u16,
    here: Position,
    open: Option<Position>, // of the `(` we are inside of
}

impl<'t> Scanner<'t> {
    /// A scanner at the start of a file.
    pub(super) fn new(text: &'t [u8], file: u16) -> Scanner<'t> {
        const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
        let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        Scanner { text, file, here: Position { at: 0, line: 1, line_start: 0 }, open: None }
    }

    /// Whether these octets come next.
    pub(super) fn starts_with(&self, octets: &[u8]) -> bool {
        self.text[self.here.at..].starts_with(octets)
    }

    /// How many octets are behind.
    pub(super) fn offset(&self) -> usize {
        self.here.at
    }

    /// The place of the next octet.
    pub(super) fn place(&self) -> Place {
        self.place_of(self.here)
    }

    fn place_of(&self, position: Position) -> Place {
        let column = u32::try_from(position.at - position.line_start + 1).unwrap_or(u32::MAX);
        Place { file: self.file, line: position.line, column }
    }

    /// How the line starts at whose start the scanner is.
    pub(super) fn line_start(&self) -> LineStart {
        match self.text.get(self.here.at) {
            None => LineStart::End,
            Some(b'$') => LineStart::Directive,
            Some(&octet) if role(octet) == Role::Blank => LineStart::Blank,
            Some(_) => LineStart::Other,
        }
    }

    /// Goes past the end of the line, after the last word.
    pub(super) fn end_line(&mut self) {
        if self.text.get(self.here.at) == Some(&b'\n') {
            self.newline();
        }
    }

    fn newline(&mut self) {
        self.here.at += 1;
        self.here.line = self.here.line.saturating_add(1);
        self.here.line_start = self.here.at;
    }

    /// Goes to the next word of the record. False, at the end of its line, if there is none.
    pub(super) fn skip_to_word(&mut self) -> Fallible<bool> {
        loop {
            let Some(&octet) = self.text.get(self.here.at) else {
                return match self.open {
                    Some(open) => Err(Problem::UnclosedParenthesis.at(self.place_of(open))),
                    None => Ok(false),
                };
            };
            match role(octet) {
                Role::Plain | Role::Quote | Role::Escape => return Ok(true),
                Role::Blank => self.here.at += 1,
                Role::Newline if self.open.is_none() => return Ok(false),
                Role::Newline => self.newline(),
                Role::Comment => self.skip_to_newline(),
                Role::Open => {
                    if let Some(open) = self.open {
                        let Place { line, column, .. } = self.place_of(open);
                        return Err(Problem::NestedParenthesis { line, column }.at(self.place()));
                    }
                    self.open = Some(self.here);
                    self.here.at += 1;
                }
                Role::Close => {
                    if self.open.take().is_none() {
                        return Err(Problem::UnopenedParenthesis.at(self.place()));
                    }
                    self.here.at += 1;
                }
            }
        }
    }

    fn skip_to_newline(&mut self) {
        let rest = &self.text[self.here.at..];
        self.here.at += rest.iter().position(|&octet| octet == b'\n').unwrap_or(rest.len());
    }

    /// The next word of the record.
    pub(super) fn word(&mut self) -> Fallible<Option<Word<'t>>> {
        if !self.skip_to_word()? {
            return Ok(None);
        }
        if self.text.get(self.here.at) == Some(&b'"') { self.quoted() } else { self.unquoted() }.map(Some)
    }

    /// The next word of the record, in which quotes may stand after a `=` (RFC 9460 §2.1). They are kept.
    pub(super) fn parameter(&mut self) -> Fallible<Option<Word<'t>>> {
        if !self.skip_to_word()? {
            return Ok(None);
        }
        let start = self.here;
        self.skip_plain()?;
        let is_bare = !(self.text[start.at..self.here.at].ends_with(b"=")
            && self.text.get(self.here.at) == Some(&b'"'));
        if !is_bare {
            self.quoted()?;
        }
        self.expect_word_end()?;
        let text = &self.text[start.at..self.here.at];
        Ok(Some(Word {
            text,
            place: self.place_of(start),
            is_quoted: false,
            is_escaped: text.contains(&b'\\'),
        }))
    }

    fn unquoted(&mut self) -> Fallible<Word<'t>> {
        let start = self.here;
        let is_escaped = self.skip_plain()?;
        self.expect_word_end()?;
        let text = &self.text[start.at..self.here.at];
        Ok(Word { text, place: self.place_of(start), is_quoted: false, is_escaped })
    }

    fn expect_word_end(&self) -> Fallible<()> {
        match self.text.get(self.here.at) {
            Some(b'"') => Err(Problem::QuoteInWord.at(self.place())),
            _ => Ok(()),
        }
    }

    /// Goes past plain and escaped octets, and tells whether there were escaped ones.
    fn skip_plain(&mut self) -> Fallible<bool> {
        let mut is_escaped = false;
        let mut at = self.here.at;
        while let Some(&octet) = self.text.get(at) {
            match role(octet) {
                Role::Plain => at += 1,
                Role::Escape => {
                    is_escaped = true;
                    if matches!(self.text.get(at + 1), None | Some(b'\n' | b'\r')) {
                        self.here.at = at;
                        return Err(Problem::Escape.at(self.place()));
                    }
                    at += 2;
                }
                _ => break,
            }
        }
        self.here.at = at;
        Ok(is_escaped)
    }

    /// The quoted text that starts here. It may go on over lines inside parentheses only.
    fn quoted(&mut self) -> Fallible<Word<'t>> {
        let start = self.here;
        let mut is_escaped = false;
        self.here.at += 1;
        loop {
            match self.text.get(self.here.at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    is_escaped = true;
                    self.here.at += 1;
                    match self.text.get(self.here.at) {
                        Some(b'\n') | None => {} // seen again by the loop
                        Some(_) => self.here.at += 1,
                    }
                }
                Some(b'\n') if self.open.is_some() => self.newline(),
                Some(b'\n') | None => {
                    // Back to the line of the quote, so that the rest of the record can be skipped from there.
                    self.here = start;
                    self.skip_to_newline();
                    return Err(Problem::UnclosedQuote.at(self.place_of(start)));
                }
                Some(_) => self.here.at += 1,
            }
        }
        let text = &self.text[start.at + 1..self.here.at];
        self.here.at += 1;
        Ok(Word { text, place: self.place_of(start), is_quoted: true, is_escaped })
    }

    /// Goes to the start of the next record after an error.
    ///
    /// Inside parentheses that is the line after the `)`. If another `(` or the end of the text comes first, the `)`
    /// is missing: then it is the first line after the `(` that starts with an owner or a directive, and the place
    /// of the `(` is returned.
    pub(super) fn resynchronise(&mut self) -> Option<Place> {
        let Some(open) = self.open.take() else {
            self.skip_to_newline();
            self.end_line();
            return None;
        };
        if self.skip_to_close() {
            self.skip_to_newline();
            self.end_line();
            return None;
        }
        self.here = open;
        loop {
            self.skip_to_newline();
            self.end_line();
            match self.text.get(self.here.at) {
                Some(&octet) if !matches!(role(octet), Role::Plain | Role::Escape) => {}
                _ => return Some(self.place_of(open)),
            }
        }
    }

    /// Goes past the next `)`; false if there is a `(` or the end of the text before it.
    fn skip_to_close(&mut self) -> bool {
        while let Some(&octet) = self.text.get(self.here.at) {
            match role(octet) {
                Role::Close => {
                    self.here.at += 1;
                    return true;
                }
                Role::Open => return false,
                Role::Newline => self.newline(),
                Role::Comment => self.skip_to_newline(),
                Role::Escape if !matches!(self.text.get(self.here.at + 1), None | Some(b'\n')) => {
                    self.here.at += 2;
                }
                // An unclosed quote has left us at the end of its line.
                Role::Quote => {
                    if self.quoted().is_err() {
                        self.skip_to_newline();
                    }
                }
                _ => self.here.at += 1,
            }
        }
        false
    }
}
