//! The times of signatures: seconds since 1970 modulo 2^32, shown as YYYYMMDDHHmmSS (RFC 4034 §3.2).

use std::fmt;

const DAY_S: u64 = 86_400;

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn month_days(year: u64, month: u64) -> u64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days from 1 January 1970 to 1 January of `year`, which is 1970 or later.
fn days_before_year(year: u64) -> u64 {
    let leaps = |year: u64| year / 4 - year / 100 + year / 400; // leap years up to and with `year`
    (year - 1970) * 365 + leaps(year - 1) - leaps(1969)
}

/// Reads fourteen digits YYYYMMDDHHmmSS of a year from 1970 to 9999, or up to ten digits of seconds since 1970.
///
/// A date after February 2106 wraps, as the serial number arithmetic of RFC 4034 §3.1.5 has it.
pub(crate) fn from_text(text: &[u8]) -> Option<u32> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |digits: &[u8]| digits.iter().fold(0u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    if text.len() <= 10 {
        return u32::try_from(number(text)).ok();
    }
    if text.len() != 14 {
        return None;
    }
    let (year, month, day) = (number(&text[..4]), number(&text[4..6]), number(&text[6..8]));
    let (hour, minute, second) = (number(&text[8..10]), number(&text[10..12]), number(&text[12..]));
    let date_is_good =
        year >= 1970 && (1..=12).contains(&month) && (1..=month_days(year, month)).contains(&day);
    if !date_is_good || hour > 23 || minute > 59 || second > 60 {
        return None; // 60: a leap second
    }
    let days = days_before_year(year) + (1..month).map(|m| month_days(year, m)).sum::<u64>() + day - 1;
    Some((days * DAY_S + hour * 3600 + minute * 60 + second) as u32) // wraps, see above
}

/// A time as YYYYMMDDHHmmSS between 1970 and 2106.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Date(pub u32);

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, seconds) = (u64::from(self.0) / DAY_S, u64::from(self.0) % DAY_S);
        let mut year = 1970 + days / 366; // never too late, and at most one too early before 2106
        while days >= days_before_year(year + 1) {
            year += 1;
        }
        let (mut day, mut month) = (days - days_before_year(year), 1);
        while day >= month_days(year, month) {
            day -= month_days(year, month);
            month += 1;
        }
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(f, "{year:04}{month:02}{:02}{hour:02}{minute:02}{second:02}", day + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_seconds_agree() {
        for (text, seconds) in [
            ("19700101000000", 0),
            ("20000229235959", 951_868_799),
            ("20030322173103", 1_048_354_263), // the signature of RFC 4034 §3.3
            ("20261122131500", 1_795_353_300),
            ("20380119031408", 1 << 31),
            ("21060207062815", u32::MAX),
        ] {
            assert_eq!(from_text(text.as_bytes()), Some(seconds), "{text}");
            assert_eq!(Date(seconds).to_string(), text);
            assert_eq!(from_text(seconds.to_string().as_bytes()), Some(seconds));
        }
        assert_eq!(from_text(b"21060207062816"), Some(0));
    }

    #[test]
    fn impossible_dates_are_refused() {
        for text in [
            "",
            "x",
            "4294967296",
            "20230229000000",
            "20231301000000",
            "20230100000000",
            "20230101240000",
            "20230101006000",
            "20230101000061",
            "19691231235959",
            "202301010000",
        ] {
            assert_eq!(from_text(text.as_bytes()), None, "{text}");
        }
    }
}
