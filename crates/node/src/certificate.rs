//! Until when a certificate is good: the one thing of it that the TLS library does not tell.

use rustls::pki_types::CertificateDer;
use std::time::{SystemTime, UNIX_EPOCH};
use time::format_description::well_known::Rfc3339;
use time::{Date, Month, OffsetDateTime, Time};

/// How long before its end a certificate is worth a word, in seconds: two weeks, in which a renewal that has failed can be mended.
const SOON_S: i64 = 14 * 86_400;

/// Tags of DER (X.690) that stand before that.
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The end of a certificate's validity (RFC 5280 §4.1.2.5), in seconds since 1970; `None` where it can't be read.
pub(crate) fn not_after(certificate: &CertificateDer<'_>) -> Option<i64> {
    let mut certificate = Reader(certificate);
    let mut certificate = Reader(certificate.value(SEQUENCE)?);
    let mut fields = Reader(certificate.value(SEQUENCE)?);
    if fields.0.first() == Some(&VERSION) {
        fields.next()?;
    }
    // Serial number, algorithm of the signature, issuer.
    (0..3).try_for_each(|_| fields.next().map(drop))?;
    let mut validity = Reader(fields.value(SEQUENCE)?);
    validity.next()?;
    let (tag, text) = validity.next()?;
    moment(tag, text)
}

/// A time in seconds since 1970, as people write it.
pub(crate) fn shown(at: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp(at).ok().and_then(|at| at.format(&Rfc3339).ok());
    at.unwrap_or_else(|| "a time that no calendar has".to_owned())
}

/// What is to be said of a certificate that is good until then, if anything is.
pub(crate) fn concern(not_after: i64) -> Option<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64); // 292 billion years
    let at = shown(not_after);
    if not_after < now {
        Some(format!("has expired, at {at}: renew it, and reload"))
    } else if not_after < now.saturating_add(SOON_S) {
        Some(format!("expires soon, at {at}: renew it, and reload"))
    } else {
        None
    }
}

/// RFC 5280 §4.1.2.5.1 and §4.1.2.5.2: `YYMMDDHHMMSSZ` until 2049, `YYYYMMDDHHMMSSZ` after that.
fn moment(tag: u8, text: &[u8]) -> Option<i64> {
    let year_len = match (tag, text.len()) {
        (UTC_TIME, 13) => 2,
        (GENERALIZED_TIME, 15) => 4,
        _ => return None,
    };
    let (digits, zulu) = text.split_at(text.len() - 1);
    if zulu != b"Z" || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |digits: &[u8]| digits.iter().fold(0_u16, |sum, digit| sum * 10 + u16::from(digit - b'0')); // at most 9999
    let (year, rest) = digits.split_at(year_len);
    let year = match number(year) {
        year if year_len == 4 => year,
        year if year < 50 => 2000 + year,
        year => 1900 + year,
    };
    let pair = |index: usize| number(&rest[2 * index..2 * index + 2]) as u8; // at most 99
    let month = Month::try_from(pair(0)).ok()?;
    let date = Date::from_calendar_date(i32::from(year), month, pair(1)).ok()?;
    let time = Time::from_hms(pair(2), pair(3), pair(4)).ok()?;
    Some(date.with_time(time).assume_utc().unix_timestamp())
}

/// Takes values out of DER, one after the other.
struct Reader<'d>(&'d [u8]);

impl<'d> Reader<'d> {
    /// The next tag and its value.
    fn next(&mut self) -> Option<(u8, &'d [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let mut len = usize::from(first);
        if first & 0x80 != 0 {
            // No certificate that a handshake has room for is longer than three octets can say.
            let octets;
            (octets, rest) =
                rest.split_at_checked(usize::from(first & 0x7f)).filter(|(it, _)| it.len() <= 3)?;
            len = octets.iter().fold(0, |len, octet| len << 8 | usize::from(*octet));
        }
        let (value, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some((tag, value))
    }

    /// The value of the next one, which has to have this tag.
    fn value(&mut self, tag: u8) -> Option<&'d [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_time_are_read() {
        assert_eq!(moment(UTC_TIME, b"700101000000Z"), Some(0));
        assert_eq!(moment(UTC_TIME, b"491231235959Z"), Some(2_524_607_999));
        assert_eq!(moment(GENERALIZED_TIME, b"20500101000000Z"), Some(2_524_608_000));
        for wrong in [&b"700101000000"[..], b"701301000000Z", b"70010100000aZ", b"700101000000+"] {
            assert_eq!(moment(UTC_TIME, wrong), None);
        }
        assert_eq!(moment(SEQUENCE, b"700101000000Z"), None);
    }

    #[test]
    fn an_end_that_is_near_or_past_is_told() {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        assert_eq!(concern(now + SOON_S + 60), None);
        assert!(concern(now + SOON_S - 60).is_some_and(|it| it.starts_with("expires soon, at 20")));
        assert!(concern(now - 60).is_some_and(|it| it.starts_with("has expired, at 20")));
        assert_eq!(shown(0), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn any_octets_end() {
        let whole = [
            &[
                SEQUENCE, 37, SEQUENCE, 35, VERSION, 0, 2, 0, SEQUENCE, 0, SEQUENCE, 0, SEQUENCE, 30,
                UTC_TIME, 13,
            ][..],
            b"700101000000Z",
            &[UTC_TIME, 13],
            b"700102000000Z",
        ]
        .concat();
        let whole: Vec<u8> = [&[SEQUENCE, 0x82, 0, 42, SEQUENCE, 40][..], &whole[4..]].concat();
        assert_eq!(not_after(&whole.clone().into()), Some(86_400));
        for len in 0..whole.len() {
            assert_eq!(not_after(&whole[..len].to_vec().into()), None);
        }
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..10_000 {
            let mut other = whole.clone();
            other[rng.usize(..whole.len())] = rng.u8(..);
            let _read = not_after(&other.into());
        }
    }
}
