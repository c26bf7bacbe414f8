//! Rust source with comments and string contents blanked out, so that a search finds code only.

/// The same text, comments and the contents of literals replaced by spaces; lines stay where they are.
pub(crate) fn code_only(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => line_end(bytes, at),
            b'/' if bytes[at..].starts_with(b"/*") => block_comment_end(bytes, at),
            b'"' => string_end(bytes, at),
            b'r' if !after_identifier(&out) => raw_string_end(bytes, at).unwrap_or(at + 1),
            b'\'' => char_end(bytes, at).unwrap_or(at + 1),
            _ => at + 1,
        };
        if end == at + 1 {
            out.push(bytes[at]);
        } else {
            out.extend(bytes[at..end].iter().map(|byte| if *byte == b'\n' { b'\n' } else { b' ' }));
        }
        at = end;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Whether `word` stands in the line by itself and not inside an identifier.
pub(crate) fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let identifier = |c: char| c.is_alphanumeric() || c == '_';
        !line[..at].ends_with(identifier) && !line[at + word.len()..].starts_with(identifier)
    })
}

fn after_identifier(out: &[u8]) -> bool {
    out.last().is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |len| at + len)
}

fn block_comment_end(bytes: &[u8], start: usize) -> usize {
    let mut depth = 0;
    let mut at = start;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn raw_string_end(bytes: &[u8], start: usize) -> Option<usize> {
    let hashes = bytes[start + 1..].iter().take_while(|byte| **byte == b'#').count();
    let open = start + 1 + hashes;
    if bytes.get(open) != Some(&b'"') {
        return None;
    }
    let close = [&b"\""[..], &b"#".repeat(hashes)].concat();
    let len = bytes[open + 1..].windows(close.len()).position(|window| *window == close)?;
    Some(open + 1 + len + close.len())
}

/// The end of a character literal; none for a lifetime.
fn char_end(bytes: &[u8], start: usize) -> Option<usize> {
    if bytes.get(start + 1) == Some(&b'\\') {
        let len = bytes[start + 3..].iter().position(|byte| *byte == b'\'')?;
        return Some(start + 3 + len + 1);
    }
    // A character has up to four octets; a lifetime has no closing quote that near unless it is one letter.
    let text = std::str::from_utf8(&bytes[start + 1..]).ok()?;
    let character = text.chars().next()?;
    let close = start + 1 + character.len_utf8();
    (bytes.get(close) == Some(&b'\'')).then_some(close + 1)
}

#[test]
fn comments_and_literals_are_blanked() {
    let source = "let a = \"unsafe \\\" x\"; // unsafe\n/* unsafe /* */ unsafe */ let r = r#\"unsafe\"#; 'a: loop {} let c = '\"'; unsafe {}";
    let code = code_only(source);
    assert_eq!(code.matches("unsafe").count(), 1);
    assert_eq!(code.lines().count(), 2);
    assert!(code.contains("'a: loop"));
}
