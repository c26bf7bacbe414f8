//! Domain names in wire form, and their presentation with RFC 1035 §5.1 escapes.

use std::fmt;

use anyhow::{Result, bail, ensure};

/// Longest name in wire form, octets (RFC 1035 §2.3.4).
const NAME_LEN_MAX: usize = 255;
/// Longest label, octets (RFC 1035 §2.3.4).
const LABEL_LEN_MAX: usize = 63;

/// An absolute name, uncompressed, letters as given.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Vec<u8>);

impl Name {
    /// The root.
    #[must_use]
    pub fn root() -> Self {
        Self(vec![0])
    }

    /// Reads a name in presentation form, always taken as absolute; fails on bad escapes and lengths.
    pub fn parse(text: &str) -> Result<Self> {
        if text == "." {
            return Ok(Self::root());
        }
        let mut wire = Vec::with_capacity(text.len() + 2);
        let mut label: Vec<u8> = Vec::new();
        let mut bytes = text.bytes().peekable();
        while let Some(byte) = bytes.next() {
            match byte {
                b'.' => push_label(&mut wire, &std::mem::take(&mut label))?,
                b'\\' => {
                    let Some(first) = bytes.next() else { bail!("{text}: escape without a character") };
                    if !first.is_ascii_digit() {
                        label.push(first);
                        continue;
                    }
                    let mut value = u32::from(first - b'0');
                    for _ in 0..2 {
                        match bytes.next() {
                            Some(digit) if digit.is_ascii_digit() => {
                                value = value * 10 + u32::from(digit - b'0')
                            }
                            _ => bail!("{text}: \\DDD needs three digits"),
                        }
                    }
                    label.push(u8::try_from(value)?);
                }
                other => label.push(other),
            }
        }
        if !label.is_empty() {
            push_label(&mut wire, &label)?;
        }
        wire.push(0);
        ensure!(wire.len() <= NAME_LEN_MAX, "{text}: {} octets", wire.len());
        Ok(Self(wire))
    }

    /// Takes bytes that already are an uncompressed name.
    #[must_use]
    pub fn from_wire(wire: Vec<u8>) -> Self {
        Self(wire)
    }

    /// The wire form, root label included.
    #[must_use]
    pub fn wire(&self) -> &[u8] {
        &self.0
    }

    /// The labels from the left, without the root's.
    #[must_use]
    pub fn labels(&self) -> Vec<&[u8]> {
        let mut labels = Vec::new();
        let mut at = 0;
        while self.0[at] != 0 {
            let len = usize::from(self.0[at]);
            labels.push(&self.0[at + 1..at + 1 + len]);
            at += 1 + len;
        }
        labels
    }

    /// The same name with ASCII letters in lower case (RFC 4343 §3).
    #[must_use]
    pub fn lower(&self) -> Self {
        // A length octet is at most 63 and so never a letter.
        Self(self.0.to_ascii_lowercase())
    }

    /// The same name with every other letter in upper case.
    #[must_use]
    pub fn mixed_case(&self) -> Self {
        let flipped = self.0.iter().enumerate().map(|(at, byte)| {
            if at % 2 == 0 { byte.to_ascii_uppercase() } else { byte.to_ascii_lowercase() }
        });
        Self(flipped.collect())
    }

    /// The name without its first label; none above the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let len = usize::from(self.0[0]);
        (len > 0).then(|| Self(self.0[1 + len..].to_vec()))
    }

    /// The name one label below; none where label or name would be too long.
    #[must_use]
    pub fn child(&self, label: &[u8]) -> Option<Self> {
        let fits = !label.is_empty()
            && label.len() <= LABEL_LEN_MAX
            && self.0.len() + 1 + label.len() <= NAME_LEN_MAX;
        fits.then(|| {
            let mut wire = Vec::with_capacity(self.0.len() + 1 + label.len());
            wire.push(label.len() as u8);
            wire.extend_from_slice(label);
            wire.extend_from_slice(&self.0);
            Self(wire)
        })
    }

    /// Whether this name is `other` or below it, letters compared without case.
    #[must_use]
    pub fn is_at_or_below(&self, other: &Self) -> bool {
        let mut at = 0;
        loop {
            if self.0[at..].eq_ignore_ascii_case(&other.0) {
                return true;
            }
            let len = usize::from(self.0[at]);
            if len == 0 {
                return false;
            }
            at += 1 + len;
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.len() == 1 {
            return out.write_str(".");
        }
        for label in self.labels() {
            for &byte in label {
                match byte {
                    b'.' | b'\\' | b'"' | b';' | b'(' | b')' | b'@' | b'$' => {
                        write!(out, "\\{}", byte as char)?
                    }
                    0x21..=0x7e => write!(out, "{}", byte as char)?,
                    _ => write!(out, "\\{byte:03}")?,
                }
            }
            out.write_str(".")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

fn push_label(wire: &mut Vec<u8>, label: &[u8]) -> Result<()> {
    ensure!(!label.is_empty(), "empty label");
    ensure!(label.len() <= LABEL_LEN_MAX, "label of {} octets", label.len());
    wire.push(label.len() as u8);
    wire.extend_from_slice(label);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presentation_round_trips() {
        for text in [".", "a.b.", "*.x.", "a\\.b.c.", "\\000\\255x.y.", "semi\\;colon.", "UPPER.lower."] {
            assert_eq!(Name::parse(text).expect(text).to_string(), text);
        }
        assert!(Name::parse("a..b.").is_err());
        assert!(Name::parse(&format!("{}.", "a".repeat(64))).is_err());
    }

    #[test]
    fn ancestry() {
        let name = Name::parse("a.B.c.").expect("valid");
        assert!(name.is_at_or_below(&Name::parse("b.C.").expect("valid")));
        assert!(name.is_at_or_below(&Name::root()));
        assert!(!name.is_at_or_below(&Name::parse("x.b.c.").expect("valid")));
        assert!(!Name::parse("ab.c.").expect("valid").is_at_or_below(&Name::parse("b.c.").expect("valid")));
        assert_eq!(name.parent().expect("has one").to_string(), "B.c.");
    }
}
