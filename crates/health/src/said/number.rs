//! Numbers in what endpoints send.

/// The decimal number at the beginning of a text, after white space: `0.42`, `12`, `1e-05`. What follows it is no
/// letter or digit that could belong to it.
pub fn decimal(text: &[u8]) -> Option<f64> {
    let text = text.trim_ascii_start();
    let is_part = |octet: &u8| octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'+' | b'-' | b'_');
    let len = text.iter().take_while(|octet| is_part(octet)).count();
    let number = std::str::from_utf8(&text[..len]).ok()?;
    // `inf` and `nan` are numbers to the parser, and not here.
    let is_number = number.bytes().all(|octet| !octet.is_ascii_alphabetic() || matches!(octet, b'e' | b'E'));
    number.parse().ok().filter(|_| is_number)
}

/// The number that a text is, of digits alone.
pub(super) fn whole(text: &str) -> Option<u32> {
    let is_number = text.bytes().all(|octet| octet.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

/// What stands after a text; all, where that is empty.
pub fn after<'t>(text: &'t [u8], before: &str) -> Option<&'t [u8]> {
    if before.is_empty() {
        return Some(text);
    }
    let at = text.windows(before.len()).position(|window| window == before.as_bytes())?;
    text.get(at + before.len()..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_decimal() {
        for (text, number) in [
            ("0.42", Some(0.42)),
            (" \r\n12 users", Some(12.0)),
            ("7}", Some(7.0)),
            ("1e-05, 3", Some(1e-5)),
            ("+3%", Some(3.0)),
            ("-1", Some(-1.0)),
            ("5.", Some(5.0)),
            ("", None),
            ("load 5", None),
            ("12a", None),
            ("0x10", None),
            ("1_000", None),
            ("1.2.3", None),
            ("inf", None),
            ("NaN", None),
            ("e", None),
            ("\"5\"", None),
        ] {
            assert_eq!(decimal(text.as_bytes()), number, "{text}");
        }
        assert_eq!(after(b"{\"load\": 3}", "\"load\":").and_then(decimal), Some(3.0));
        assert_eq!(after(b"{}", "load"), None);
        assert_eq!(after(b"load", "load"), Some(&b""[..]));
        assert_eq!((whole("007"), whole("+7"), whole(""), whole("4294967296")), (Some(7), None, None, None));
    }
}
