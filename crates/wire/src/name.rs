//! Domain names in uncompressed wire form.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

/// The longest name in octets, the root's zero octet included (RFC 1035 §2.3.4).
pub const NAME_MAX: usize = 255;
/// The longest label in octets, without its length octet (RFC 1035 §2.3.4).
pub const LABEL_MAX: usize = 63;

/// Why bytes are not a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NameError {
    /// The bytes end before the name does.
    Short,
    /// A label over 63 octets, or a compression pointer where none may stand.
    Label,
    /// The name has more than 255 octets.
    Long,
}

/// A name in uncompressed wire form, always valid and always ending in the root's zero octet.
///
/// Comparison through `==` is of octets; use [`Name::eq_ignore_case`] for DNS equality (RFC 4343).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Name<'a> {
    wire: &'a [u8],
}

impl<'a> Name<'a> {
    /// The root.
    pub const ROOT: Name<'static> = Name { wire: &[0] };

    /// Takes the name at the start of `bytes` and returns it with what follows. Compression is refused.
    pub fn split_from(bytes: &'a [u8]) -> Result<(Name<'a>, &'a [u8]), NameError> {
        let mut at = 0;
        loop {
            let len = usize::from(*bytes.get(at).ok_or(NameError::Short)?);
            if len > LABEL_MAX {
                return Err(NameError::Label);
            }
            at += 1 + len;
            if len == 0 {
                let (wire, rest) = bytes.split_at(at);
                return Ok((Name { wire }, rest));
            }
            // The root's octet has to follow yet.
            if at >= NAME_MAX {
                return Err(NameError::Long);
            }
        }
    }

    /// The name that `bytes` are, all of them.
    pub fn from_wire(bytes: &'a [u8]) -> Result<Name<'a>, NameError> {
        match Name::split_from(bytes)? {
            (name, []) => Ok(name),
            _ => Err(NameError::Label),
        }
    }

    /// The octets, the root's zero octet included: 1 to 255.
    pub fn as_wire(self) -> &'a [u8] {
        self.wire
    }

    /// The length in octets, the root's zero octet included.
    #[expect(clippy::len_without_is_empty, reason = "a name is never empty: the root has one octet")]
    pub fn len(self) -> usize {
        self.wire.len()
    }

    /// Whether this is the root.
    pub fn is_root(self) -> bool {
        self.wire.len() == 1
    }

    /// Whether the leftmost label is `*` alone (RFC 4592 §2.1.1).
    pub fn is_wildcard(self) -> bool {
        self.wire.starts_with(b"\x01*")
    }

    /// The labels from left to right, the root's empty label excluded.
    pub fn labels(self) -> Labels<'a> {
        Labels { rest: self.wire }
    }

    /// How many labels, the root's excluded: 0 to 127.
    pub fn label_count(self) -> usize {
        self.labels().count()
    }

    /// The name without its leftmost label; `None` for the root.
    pub fn parent(self) -> Option<Name<'a>> {
        if self.is_root() { None } else { Some(Name { wire: &self.wire[1 + usize::from(self.wire[0])..] }) }
    }

    /// The name made of the `count` rightmost labels; the whole name where it has no more.
    pub fn suffix(self, count: usize) -> Name<'a> {
        let mut name = self;
        for _ in count..self.label_count() {
            name = name.parent().unwrap_or(Name::ROOT);
        }
        name
    }

    /// Equality without regard to ASCII case (RFC 4343 §3).
    pub fn eq_ignore_case(self, other: Name<'_>) -> bool {
        self.wire.eq_ignore_ascii_case(other.wire)
    }

    /// Whether the name is `ancestor` or below it.
    pub fn is_at_or_below(self, ancestor: Name<'_>) -> bool {
        self.relative_len(ancestor).is_some()
    }

    /// Whether the name is below `ancestor` and not the same.
    pub fn is_below(self, ancestor: Name<'_>) -> bool {
        self.relative_len(ancestor).is_some_and(|len| len > 0)
    }

    /// How many octets of the name stand before `ancestor`; `None` where it isn't at or below it.
    pub fn relative_len(self, ancestor: Name<'_>) -> Option<usize> {
        let before = self.wire.len().checked_sub(ancestor.wire.len())?;
        // The octets may agree without a label starting there, so the labels are walked.
        let mut at = 0;
        while at < before {
            at += 1 + usize::from(self.wire[at]);
        }
        (at == before && self.wire[at..].eq_ignore_ascii_case(ancestor.wire)).then_some(before)
    }

    /// The canonical order of RFC 4034 §6.1: labels from the right, as lower-cased octet strings.
    pub fn canonical_cmp(self, other: Name<'_>) -> Ordering {
        let (mine, my_count) = offsets(self);
        let (theirs, their_count) = offsets(other);
        for i in 1..=my_count.min(their_count) {
            let a = label_at(self.wire, mine[my_count - i]);
            let b = label_at(other.wire, theirs[their_count - i]);
            let order = a.iter().map(u8::to_ascii_lowercase).cmp(b.iter().map(u8::to_ascii_lowercase));
            if order != Ordering::Equal {
                return order;
            }
        }
        my_count.cmp(&their_count)
    }
}

fn offsets(name: Name<'_>) -> ([u8; 128], usize) {
    let mut offsets = [0u8; 128];
    let mut count = 0;
    let mut at = 0usize;
    while name.wire[at] != 0 {
        offsets[count] = at as u8; // at < 255
        count += 1;
        at += 1 + usize::from(name.wire[at]);
    }
    (offsets, count)
}

fn label_at(wire: &[u8], at: u8) -> &[u8] {
    let at = usize::from(at);
    &wire[at + 1..at + 1 + usize::from(wire[at])]
}

/// The labels of a name from left to right.
#[derive(Clone)]
pub struct Labels<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Labels<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let len = usize::from(self.rest[0]);
        if len == 0 {
            return None;
        }
        let label = &self.rest[1..=len];
        self.rest = &self.rest[1 + len..];
        Some(label)
    }
}

impl fmt::Display for Name<'_> {
    /// The presentation format of RFC 1035 §5.1 with a final dot; octets outside `!` to `~` as `\DDD`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        for label in self.labels() {
            for &octet in label {
                match octet {
                    b'.' | b'\\' | b'"' | b'(' | b')' | b';' | b'@' | b'$' => {
                        write!(f, "\\{}", octet as char)?
                    }
                    0x21..=0x7e => write!(f, "{}", octet as char)?,
                    _ => write!(f, "\\{octet:03}")?,
                }
            }
            f.write_str(".")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why text is not a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NameTextError {
    /// An empty label: two dots in a row, or a leading dot.
    EmptyLabel,
    /// A label over 63 octets.
    LongLabel,
    /// The name has more than 255 octets.
    Long,
    /// A `\` at the end, or `\DDD` over 255 or with fewer than three digits.
    Escape,
    /// A relative name, and no origin to complete it.
    Relative,
}

impl fmt::Display for NameTextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NameTextError::EmptyLabel => "the name has an empty label",
            NameTextError::LongLabel => "a label has more than 63 octets",
            NameTextError::Long => "the name has more than 255 octets",
            NameTextError::Escape => "a `\\` must be followed by a character or by three digits up to 255",
            NameTextError::Relative => "the name is relative and there is no origin",
        })
    }
}

impl std::error::Error for NameTextError {}

/// A name that owns its octets, without the heap: 256 bytes.
#[derive(Clone)]
pub struct NameBuf {
    len: u8,
    bytes: [u8; NAME_MAX],
}

impl NameBuf {
    /// The root.
    pub const fn root() -> NameBuf {
        NameBuf { len: 1, bytes: [0; NAME_MAX] }
    }

    /// Reads presentation format (RFC 1035 §5.1). Without a final dot the name is completed with `origin`;
    /// `@` alone is the origin.
    pub fn from_text(text: &[u8], origin: Option<Name<'_>>) -> Result<NameBuf, NameTextError> {
        if text == b"." {
            return Ok(NameBuf::root());
        }
        if text == b"@" {
            return origin.map(NameBuf::from).ok_or(NameTextError::Relative);
        }
        let mut name = NameBuf { len: 0, bytes: [0; NAME_MAX] };
        let mut label_start = 0; // where the length octet of the open label stands
        let mut at = 1; // where the next octet goes
        let mut i = 0;
        while i < text.len() {
            let octet = match text[i] {
                b'.' => {
                    name.close_label(label_start, at)?;
                    label_start = at;
                    at += 1;
                    i += 1;
                    continue;
                }
                b'\\' => {
                    let (octet, used) = escape(&text[i + 1..])?;
                    i += used;
                    octet
                }
                octet => octet,
            };
            *name.bytes.get_mut(at).ok_or(NameTextError::Long)? = octet;
            at += 1;
            i += 1;
        }
        if label_start + 1 == at {
            // The text ended with a dot (or is empty): `label_start` is where the root's octet goes.
            if text.is_empty() {
                return Err(NameTextError::EmptyLabel);
            }
            *name.bytes.get_mut(label_start).ok_or(NameTextError::Long)? = 0;
            name.len = (label_start + 1) as u8; // at most 255: the get_mut above
            return Ok(name);
        }
        name.close_label(label_start, at)?;
        let origin = origin.ok_or(NameTextError::Relative)?;
        let end = at + origin.len();
        name.bytes.get_mut(at..end).ok_or(NameTextError::Long)?.copy_from_slice(origin.as_wire());
        name.len = end as u8; // at most 255: the get_mut above
        Ok(name)
    }

    fn close_label(&mut self, start: usize, end: usize) -> Result<(), NameTextError> {
        match end - start - 1 {
            0 => Err(NameTextError::EmptyLabel),
            len @ 1..=LABEL_MAX => {
                *self.bytes.get_mut(start).ok_or(NameTextError::Long)? = len as u8;
                Ok(())
            }
            _ => Err(NameTextError::LongLabel),
        }
    }

    /// The name `label.parent`.
    pub fn child(label: &[u8], parent: Name<'_>) -> Result<NameBuf, NameError> {
        if label.is_empty() || label.len() > LABEL_MAX {
            return Err(NameError::Label);
        }
        let len = 1 + label.len() + parent.len();
        if len > NAME_MAX {
            return Err(NameError::Long);
        }
        let mut name = NameBuf { len: len as u8, bytes: [0; NAME_MAX] };
        name.bytes[0] = label.len() as u8;
        name.bytes[1..=label.len()].copy_from_slice(label);
        name.bytes[1 + label.len()..len].copy_from_slice(parent.as_wire());
        Ok(name)
    }

    /// The name that is `prefix` octets of labels followed by `suffix`, as a DNAME makes it (RFC 6672 §2.2).
    pub fn joined(prefix: &[u8], suffix: Name<'_>) -> Result<NameBuf, NameError> {
        let len = prefix.len() + suffix.len();
        if len > NAME_MAX {
            return Err(NameError::Long);
        }
        let mut name = NameBuf { len: len as u8, bytes: [0; NAME_MAX] };
        name.bytes[..prefix.len()].copy_from_slice(prefix);
        name.bytes[prefix.len()..len].copy_from_slice(suffix.as_wire());
        Name::from_wire(&name.bytes[..len])?;
        Ok(name)
    }

    /// Reads the name at `at` in a message from outside, following compression pointers, and returns where it ends
    /// there. Its case is kept.
    ///
    /// Each pointer must lead before the labels that it was found in (RFC 1035 §4.1.4: "a prior occurrence"), so the walk
    /// ends after at most one step for each octet of the message that is before `at`, and sooner at 255 octets of name.
    ///
    /// # Errors
    /// When the message ends first, a label or pointer is none, or the name is too long.
    pub fn read_compressed(message: &[u8], at: usize) -> Result<(NameBuf, usize), NameError> {
        let mut name = NameBuf { len: 0, bytes: [0; NAME_MAX] };
        let (mut from, mut len, mut end) = (at, 0, None);
        let mut segment_start = at;
        loop {
            let octet = usize::from(*message.get(from).ok_or(NameError::Short)?);
            if octet >= 0xc0 {
                let low = usize::from(*message.get(from + 1).ok_or(NameError::Short)?);
                end.get_or_insert(from + 2);
                let target = (octet & 0x3f) << 8 | low;
                if target >= segment_start {
                    return Err(NameError::Label);
                }
                (from, segment_start) = (target, target);
                continue;
            }
            if octet > LABEL_MAX {
                return Err(NameError::Label);
            }
            let label = message.get(from..from + 1 + octet).ok_or(NameError::Short)?;
            name.bytes.get_mut(len..len + label.len()).ok_or(NameError::Long)?.copy_from_slice(label);
            len += label.len();
            from += label.len();
            if octet == 0 {
                name.len = len as u8; // at most 255: the get_mut above
                return Ok((name, end.unwrap_or(from)));
            }
        }
    }

    /// The name, borrowed.
    pub fn as_name(&self) -> Name<'_> {
        Name { wire: &self.bytes[..usize::from(self.len)] }
    }

    /// Turns ASCII capitals into small letters (RFC 4034 §6.2).
    pub fn make_lowercase(&mut self) {
        // Length octets are at most 63, below `A`: the whole can be folded without looking at labels.
        self.bytes.make_ascii_lowercase();
    }
}

/// The octet that the text after a `\` stands for, and how many characters it took.
fn escape(text: &[u8]) -> Result<(u8, usize), NameTextError> {
    match text {
        [a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', ..] => {
            let value = u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0');
            u8::try_from(value).map(|octet| (octet, 3)).map_err(|_| NameTextError::Escape)
        }
        [b'0'..=b'9', ..] | [] => Err(NameTextError::Escape),
        [octet, ..] => Ok((*octet, 1)),
    }
}

impl From<Name<'_>> for NameBuf {
    fn from(name: Name<'_>) -> NameBuf {
        let mut buf = NameBuf { len: name.len() as u8, bytes: [0; NAME_MAX] };
        buf.bytes[..name.len()].copy_from_slice(name.as_wire());
        buf
    }
}

impl PartialEq for NameBuf {
    fn eq(&self, other: &NameBuf) -> bool {
        self.as_name() == other.as_name()
    }
}

impl Eq for NameBuf {}

impl Hash for NameBuf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_name().hash(state);
    }
}

impl fmt::Display for NameBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.as_name(), f)
    }
}

impl fmt::Debug for NameBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.as_name(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> NameBuf {
        NameBuf::from_text(text.as_bytes(), None).unwrap()
    }

    #[test]
    fn text_round_trips() {
        for text in [".", "example.com.", "a\\.b.example.", "\\000\\255.x.", "*.w.", "\\@.\\;.\\(."] {
            assert_eq!(name(text).to_string(), text);
        }
        let origin = name("example.com.");
        let text = |t: &str| NameBuf::from_text(t.as_bytes(), Some(origin.as_name())).map(|n| n.to_string());
        assert_eq!(text("www").unwrap(), "www.example.com.");
        assert_eq!(text("@").unwrap(), "example.com.");
        assert_eq!(text("\\@").unwrap(), "\\@.example.com.");
        assert_eq!(text("a..b"), Err(NameTextError::EmptyLabel));
        assert_eq!(text(".a"), Err(NameTextError::EmptyLabel));
        assert_eq!(text(""), Err(NameTextError::EmptyLabel));
        assert_eq!(text("a\\"), Err(NameTextError::Escape));
        assert_eq!(text("a\\25"), Err(NameTextError::Escape));
        assert_eq!(text("a\\256"), Err(NameTextError::Escape));
        assert_eq!(text(&"a".repeat(64)), Err(NameTextError::LongLabel));
        assert_eq!(NameBuf::from_text(b"a", None), Err(NameTextError::Relative));
    }

    #[test]
    fn longest_names() {
        let label = "a".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}.", "a".repeat(61));
        assert_eq!(name(&longest).as_name().len(), 255);
        let over = format!("{label}.{label}.{label}.{}.", "a".repeat(62));
        assert_eq!(NameBuf::from_text(over.as_bytes(), None), Err(NameTextError::Long));
        let relative = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        assert!(NameBuf::from_text(relative.as_bytes(), Some(Name::ROOT)).is_ok());
        assert_eq!(
            NameBuf::from_text(relative.as_bytes(), Some(name("x.").as_name())),
            Err(NameTextError::Long)
        );
    }

    #[test]
    fn canonical_order_is_that_of_rfc_4034_section_6_1() {
        let ordered = [
            "example.",
            "a.example.",
            "yljkjljk.a.example.",
            "Z.a.example.",
            "zABC.a.EXAMPLE.",
            "z.example.",
            "\\001.z.example.",
            "*.z.example.",
            "\\200.z.example.",
        ];
        for pair in ordered.windows(2) {
            assert_eq!(name(pair[0]).as_name().canonical_cmp(name(pair[1]).as_name()), Ordering::Less);
            assert_eq!(name(pair[1]).as_name().canonical_cmp(name(pair[0]).as_name()), Ordering::Greater);
        }
    }

    #[test]
    fn compressed_names_are_followed_backwards_only() {
        // 0: Example.  9: www + pointer to 0.  15: pointer to 9.  17: pointer to itself.
        let message = b"\x07Example\x00\x03www\xc0\x00\xc0\x09\xc0\x11";
        let read = |at| NameBuf::read_compressed(message, at).map(|(name, end)| (name.to_string(), end));
        assert_eq!(read(0), Ok(("Example.".to_owned(), 9)));
        assert_eq!(read(9), Ok(("www.Example.".to_owned(), 15)));
        assert_eq!(read(15), Ok(("www.Example.".to_owned(), 17)));
        assert_eq!(read(17), Err(NameError::Label));
        assert_eq!(read(18), Err(NameError::Short));
        // Labels that lead into a pointer back to themselves would make a name without end.
        assert_eq!(NameBuf::read_compressed(b"\x01a\xc0\x00", 0), Err(NameError::Label));
        assert_eq!(NameBuf::read_compressed(b"\x40", 0), Err(NameError::Label));
        let mut long = vec![];
        (0..5).for_each(|_| long.extend([&[63u8][..], &[b'a'; 63]].concat()));
        assert_eq!(NameBuf::read_compressed(&long, 0), Err(NameError::Long));
    }

    #[test]
    fn ancestors_are_found_at_label_boundaries_only() {
        assert!(name("a.Example.").as_name().is_below(name("example.").as_name()));
        assert!(!name("aexample.").as_name().is_at_or_below(name("example.").as_name()));
        // The octets of \007example. are the tail of this label.
        assert!(!name("x\\007example.").as_name().is_at_or_below(name("example.").as_name()));
        assert!(name("a.b.").as_name().is_below(Name::ROOT));
        assert_eq!(name("a.b.c.").as_name().suffix(2), name("b.c.").as_name());
    }
}
