//! Names, from text straight into wire form.

use super::error::{Fallible, Problem, excerpt};
use super::scan::Word;
use wire::{LABEL_MAX, NAME_MAX, Name, NameBuf, NameTextError};

/// A name that is overwritten again and again. It is always a whole one.
pub(super) struct NameSlot {
    bytes: [u8; NAME_MAX + 1],
    len: usize,
}

impl NameSlot {
    pub(super) fn new(name: Name<'_>) -> NameSlot {
        let mut slot = NameSlot { bytes: [0; NAME_MAX + 1], len: 0 };
        slot.set(name);
        slot
    }

    /// The name.
    pub(super) fn as_name(&self) -> Name<'_> {
        Name::from_wire(self.as_wire()).expect("a slot holds a name that was read whole, or the root")
    }

    /// The octets of the name.
    pub(super) fn as_wire(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    pub(super) fn set(&mut self, name: Name<'_>) {
        self.bytes[..name.len()].copy_from_slice(name.as_wire());
        self.len = name.len();
    }

    /// Reads a word as a name, completed with `origin` if relative. After an error the slot holds the root.
    pub(super) fn read(&mut self, word: &Word<'_>, origin: Name<'_>) -> Fallible<()> {
        if !word.is_escaped && self.read_plain(word.text, origin.as_wire()) {
            return Ok(());
        }
        self.read_any(word.text, origin)
            .map_err(|reason| Problem::Name { found: excerpt(word.text), reason }.at(word.place))
    }

    /// Reads the names that nearly all are: without escapes and short enough for any origin. False leaves the slot
    /// in disorder, for [`NameSlot::read_any`] to set right.
    fn read_plain(&mut self, text: &[u8], origin: &[u8]) -> bool {
        let text_len = text.len();
        if text_len + 1 + origin.len() > NAME_MAX || matches!(text, b"@" | b"." | b"") {
            return false;
        }
        // The text goes one octet to the right; then each dot's octet becomes the length of the label after it.
        self.bytes[1..=text_len].copy_from_slice(text);
        let mut label_start = 0;
        for (i, &octet) in text.iter().enumerate() {
            if octet == b'.' {
                let label_len = i - label_start;
                if label_len == 0 || label_len > LABEL_MAX {
                    return false;
                }
                self.bytes[label_start] = label_len as u8; // at most 63
                label_start = i + 1;
            }
        }
        let label_len = text_len - label_start;
        if label_len > LABEL_MAX {
            return false;
        }
        self.bytes[label_start] = label_len as u8; // at most 63; 0 after a final dot
        self.len = text_len + 1;
        if label_len > 0 {
            self.bytes[self.len..self.len + origin.len()].copy_from_slice(origin);
            self.len += origin.len();
        }
        true
    }

    fn read_any(&mut self, text: &[u8], origin: Name<'_>) -> Result<(), NameTextError> {
        let name = NameBuf::from_text(text, Some(origin));
        self.set(name.as_ref().map_or(Name::ROOT, NameBuf::as_name));
        name.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::master::Place;

    /// The plain reader gives what the reader of all names gives, or leaves the name to it.
    #[test]
    fn the_two_readers_agree() {
        let origin = NameBuf::from_text(b"example.com.", None).unwrap();
        let label = "a".repeat(63);
        let long = format!("{label}.{label}.{label}.{}", "b".repeat(49));
        let texts =
            ["a", "a.", ".", "@", "", "..", "a..b", ".a", "www.a.b", "a.b.c.", &label, &label[1..], &long];
        for text in
            texts.iter().map(|text| text.to_string()).chain([format!("{label}a"), format!("{long}bb.")])
        {
            let word = Word {
                text: text.as_bytes(),
                place: Place { file: 0, line: 1, column: 1 },
                is_quoted: false,
                is_escaped: false,
            };
            let mut slot = NameSlot::new(Name::ROOT);
            let read = slot.read(&word, origin.as_name());
            match NameBuf::from_text(text.as_bytes(), Some(origin.as_name())) {
                Ok(name) => assert_eq!(slot.as_wire(), name.as_name().as_wire(), "{text}"),
                Err(reason) => {
                    let problem = Problem::Name { found: excerpt(text.as_bytes()), reason };
                    assert_eq!(read.unwrap_err().problem, problem);
                }
            }
        }
    }
}
