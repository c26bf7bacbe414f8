//! Numbers, times and addresses in text.

use crate::rdata::encoding::hex_value;

/// Reads decimal digits, at most `max`.
pub(super) fn decimal(text: &[u8], max: u32) -> Option<u32> {
    if text.is_empty() || text.len() > 10 {
        return None;
    }
    let mut number = 0u64;
    for &digit in text {
        let value = digit.wrapping_sub(b'0');
        if value > 9 {
            return None;
        }
        number = number * 10 + u64::from(value);
    }
    u32::try_from(number).ok().filter(|&number| number <= max)
}

/// Reads seconds, or numbers each followed by a unit: `3600`, `1h30m`, `2W`.
pub(super) fn period(text: &[u8]) -> Option<u32> {
    if text.last()?.is_ascii_digit() {
        return decimal(text, u32::MAX); // a number without a unit is one of seconds, and must be alone
    }
    let mut total = 0u32;
    for part in text.split_inclusive(|octet| !octet.is_ascii_digit()) {
        let (unit, digits) = part.split_last()?;
        let seconds = match unit.to_ascii_lowercase() {
            b's' => 1,
            b'm' => 60,
            b'h' => 3600,
            b'd' => 86_400,
            b'w' => 604_800,
            _ => return None,
        };
        total = total.checked_add(decimal(digits, u32::MAX)?.checked_mul(seconds)?)?;
    }
    Some(total)
}

/// Reads four decimal octets, without leading zeros, which some readers take for octal.
pub(super) fn ipv4(text: &[u8]) -> Option<[u8; 4]> {
    let mut octets = [0u8; 4];
    let mut index = 0;
    let mut value = 0u32;
    let mut digits = 0;
    for &octet in text {
        if octet == b'.' {
            if digits == 0 || index == 3 {
                return None;
            }
            octets[index] = value as u8; // at most 255, see below
            index += 1;
            (value, digits) = (0, 0);
            continue;
        }
        let digit = octet.wrapping_sub(b'0');
        if digit > 9 || (digits > 0 && value == 0) {
            return None;
        }
        value = value * 10 + u32::from(digit);
        digits += 1;
        if value > 255 {
            return None;
        }
    }
    if index != 3 || digits == 0 {
        return None;
    }
    octets[3] = value as u8; // at most 255
    Some(octets)
}

/// Reads an IPv6 address (RFC 4291 §2.2).
pub(super) fn ipv6(text: &[u8]) -> Option<[u8; 16]> {
    std::str::from_utf8(text).ok()?.parse::<std::net::Ipv6Addr>().ok().map(|address| address.octets())
}

/// Reads `N` pairs of hexadecimal digits with `-` between them (RFC 7043).
pub(super) fn eui<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut octets = [0; N];
    let mut pairs = text.split(|&octet| octet == b'-');
    for octet in &mut octets {
        let [high, low] = pairs.next()? else { return None };
        *octet = hex_value(*high)? << 4 | hex_value(*low)?;
    }
    pairs.next().is_none().then_some(octets)
}

/// Reads four groups of one to four hexadecimal digits with `:` between them (RFC 6742 §2.1.2).
pub(super) fn locator(text: &[u8]) -> Option<u64> {
    let mut number = 0;
    let mut groups = text.split(|&octet| octet == b':');
    for _ in 0..4 {
        let group = groups.next().filter(|group| (1..=4).contains(&group.len()))?;
        let mut value = 0;
        for &digit in group {
            value = value << 4 | u64::from(hex_value(digit)?);
        }
        number = number << 16 | value;
    }
    groups.next().is_none().then_some(number)
}

/// Reads metres with at most two decimals and maybe an `m`, as centimetres (RFC 1876 §3).
pub(super) fn centimetres(text: &[u8]) -> Option<i64> {
    let text = text.strip_suffix(b"m").unwrap_or(text);
    let (is_negative, text) = match text.strip_prefix(b"-") {
        Some(text) => (true, text),
        None => (false, text),
    };
    let magnitude = i64::try_from(decimals(text, 2, 90_000_000)?).ok()?;
    Some(if is_negative { -magnitude } else { magnitude })
}

/// Reads a decimal number of at most `whole_max` with at most `places` decimals, in units of the last one.
pub(super) fn decimals(text: &[u8], places: usize, whole_max: u32) -> Option<u64> {
    let mut parts = text.splitn(2, |&octet| octet == b'.');
    let whole = u64::from(decimal(parts.next()?, whole_max)?);
    let fraction = parts.next().unwrap_or_default();
    if fraction.len() > places {
        return None;
    }
    let mut value = whole;
    for i in 0..places {
        let digit = fraction.get(i).map_or(0, |digit| digit.wrapping_sub(b'0'));
        if digit > 9 {
            return None;
        }
        value = value * 10 + u64::from(digit);
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_have_units() {
        for (text, seconds) in [
            ("0", 0),
            ("3600", 3600),
            ("1h", 3600),
            ("1h30m", 5400),
            ("1W2d3H4m5S", 604_800 + 2 * 86_400 + 3 * 3600 + 4 * 60 + 5),
            ("4294967295", u32::MAX),
            ("30m1h", 5400),
        ] {
            assert_eq!(period(text.as_bytes()), Some(seconds), "{text}");
        }
        for text in ["", "h", "1h30", "1x", "4294967296", "9999999w", "1hh", "-1", "+1", "1 ", "00000000001"]
        {
            assert_eq!(period(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn addresses_are_strict() {
        assert_eq!(ipv4(b"192.0.2.255"), Some([192, 0, 2, 255]));
        assert_eq!(ipv4(b"0.0.0.0"), Some([0; 4]));
        for text in
            ["", "1", "1.2.3", "1.2.3.4.5", "1.2.3.", ".1.2.3", "1..2.3", "1.2.3.256", "01.2.3.4", "1.2.3.4x"]
        {
            assert_eq!(ipv4(text.as_bytes()), None, "{text}");
        }
        assert_eq!(eui(b"00-00-5e-00-53-2A"), Some([0, 0, 0x5e, 0, 0x53, 0x2a]));
        for text in ["00-00-5e-00-53", "00-00-5e-00-53-2a-", "0-00-5e-00-53-2a", "00:00:5e:00:53:2a"] {
            assert_eq!(eui::<6>(text.as_bytes()), None, "{text}");
        }
        assert_eq!(locator(b"2001:DB8:1140:1"), Some(0x2001_0db8_1140_0001));
        for text in
            ["2001:db8:1140", "2001::1140:1", "20011:db8:1140:1", "2001:db8:1140:1:", "2001:db8:1140:g"]
        {
            assert_eq!(locator(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn metres_have_two_decimals() {
        for (text, expected) in [("0", 0), ("-24m", -2400), ("1.5", 150), ("10.25m", 1025), ("7.m", 700)] {
            assert_eq!(centimetres(text.as_bytes()), Some(expected), "{text}");
        }
        for text in ["", "m", "-", "1.234", "1.x", "1m2", "--1"] {
            assert_eq!(centimetres(text.as_bytes()), None, "{text}");
        }
    }
}
