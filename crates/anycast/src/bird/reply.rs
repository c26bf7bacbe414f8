//! The control protocol's replies: lines with codes.
//!
//! `NNNN-text` is a line with more to come, `NNNN text` the last one, ` text` a line of the code before, and a line that
//! begins with `+` may come at any time and belongs to no reply. Only the codes tell what a reply means.

use super::BirdError;

/// Octets of a reply. One about a route or a protocol has a few hundred; more than this is not about ours.
const REPLY_MAX_LEN: usize = 128 * 1024;

/// A line of a reply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Line {
    pub(super) code: u16,
    pub(super) text: String,
}

/// A whole reply; it has at least one line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Reply {
    lines: Vec<Line>,
}

impl Reply {
    /// The code of the last line, or that of the one before where the last one only says that all is told.
    pub(super) fn code(&self) -> u16 {
        self.lines.last().map_or(0, |line| line.code)
    }

    /// Whether any line has this code.
    pub(super) fn has(&self, code: u16) -> bool {
        self.lines.iter().any(|line| line.code == code)
    }

    /// The lines of this code.
    pub(super) fn of(&self, code: u16) -> impl Iterator<Item = &str> {
        self.lines.iter().filter(move |line| line.code == code).map(|line| line.text.as_str())
    }

    /// The first line that tells of an error: 8xxx at run time, 9xxx of syntax.
    pub(super) fn error(&self) -> Option<&Line> {
        self.lines.iter().find(|line| line.code >= 8000)
    }
}

/// Puts a reply together from what comes in.
#[derive(Default, Debug)]
pub(super) struct ReplyReader {
    pending: Vec<u8>,
    lines: Vec<Line>,
    read_len: usize,
}

impl ReplyReader {
    /// Takes octets as they come; gives the reply once it is whole. What comes after that was not asked for, and is an
    /// error.
    pub(super) fn feed(&mut self, octets: &[u8]) -> Result<Option<Reply>, BirdError> {
        self.read_len += octets.len();
        if self.read_len > REPLY_MAX_LEN {
            return Err(BirdError::Unreadable("it does not end"));
        }
        self.pending.extend_from_slice(octets);
        let mut whole = None;
        while let Some(end) = self.pending.iter().position(|octet| *octet == b'\n') {
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            if line.starts_with('+') {
                continue;
            }
            if whole.is_some() {
                return Err(BirdError::Unreadable("a second reply came to one command"));
            }
            if self.line(line.trim_end_matches(['\r', '\n']))? {
                whole = Some(Reply { lines: std::mem::take(&mut self.lines) });
                self.read_len = 0;
            }
        }
        Ok(whole)
    }

    /// Takes a line; whether it was the last one.
    fn line(&mut self, line: &str) -> Result<bool, BirdError> {
        if let Some(text) = line.strip_prefix(' ') {
            let code = self.lines.last().ok_or(BirdError::Unreadable("it begins with a continuation"))?.code;
            self.lines.push(Line { code, text: text.to_owned() });
            return Ok(false);
        }
        let (code, rest) = line.split_at_checked(4).ok_or(BirdError::Unreadable("a line has no code"))?;
        let digits = code.bytes().all(|octet| octet.is_ascii_digit());
        let code = code.parse().ok().filter(|_| digits);
        let code = code.ok_or(BirdError::Unreadable("a line has no code"))?;
        let (last, text) = match rest.split_at_checked(1) {
            Some(("-", text)) => (false, text),
            Some((" ", text)) => (true, text),
            None => (true, ""),
            Some(_) => return Err(BirdError::Unreadable("a code is followed by neither space nor hyphen")),
        };
        self.lines.push(Line { code, text: text.to_owned() });
        Ok(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Reply>, BirdError> {
        ReplyReader::default().feed(text.as_bytes())
    }

    #[test]
    fn lines_and_continuations() {
        let text = "2002-Name\n1002-device1 up\n kernel1 up\n+ log line\n0000 \n";
        let reply = read(text).unwrap().unwrap();
        assert_eq!(reply.of(1002).collect::<Vec<_>>(), ["device1 up", "kernel1 up"]);
        assert_eq!(reply.code(), 0);
        assert_eq!(reply.error(), None);
    }

    #[test]
    fn pieces_of_any_length() {
        let text = "1007-Table a:\n x\n8001 Network not found\n";
        let mut reader = ReplyReader::default();
        for octet in &text.as_bytes()[..text.len() - 1] {
            assert_eq!(reader.feed(&[*octet]).unwrap(), None);
        }
        let reply = reader.feed(b"\n").unwrap().unwrap();
        assert_eq!((reply.code(), reply.error().unwrap().code), (8001, 8001));
    }

    #[test]
    fn what_is_no_reply() {
        for text in [" continued\n", "12\n", "abcd \n", "+123\n0000x\n", "0000 \n0000 \n", "ümlaut\n"] {
            assert!(read(text).is_err(), "{text:?}");
        }
        assert_eq!(read("0000").unwrap(), None);
        let endless = "1007-x\n".repeat(REPLY_MAX_LEN / 7 + 1);
        assert!(read(&endless).is_err());
    }
}
