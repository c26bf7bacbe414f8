//! The numbers of LOC (RFC 1876 §2).

use std::fmt;

/// Octets of the data of a LOC record.
pub(crate) const LOC_LEN: usize = 16;
/// What stands in the field for the equator and the prime meridian, in thousandths of a second of arc.
pub(crate) const MERIDIAN: u32 = 1 << 31;
/// The poles, in thousandths of a second of arc from the equator.
pub(crate) const LATITUDE_MAX: u32 = 90 * 3_600_000;
/// The date line, in thousandths of a second of arc from the prime meridian.
pub(crate) const LONGITUDE_MAX: u32 = 180 * 3_600_000;
/// The altitude field's zero lies 100,000 m below the reference spheroid; the field is in centimetres.
pub(crate) const ALTITUDE_ZERO_CM: i64 = 10_000_000;

/// Packs centimetres into a decimal digit and a power of ten, rounding down; `None` over 90,000 km.
pub(crate) fn pack_size(mut centimetres: u64) -> Option<u8> {
    let mut exponent = 0u8;
    while centimetres > 9 {
        centimetres /= 10;
        exponent += 1;
    }
    (exponent <= 9).then_some((centimetres as u8) << 4 | exponent) // one digit
}

/// The centimetres of a packed size whose digits are at most 9.
fn unpack_size(packed: u8) -> u64 {
    u64::from(packed >> 4) * 10u64.pow(u32::from(packed & 15))
}

/// Whether the octets are a location with values in range.
pub(crate) fn is_valid(rdata: &[u8]) -> bool {
    let [0, size, horizontal, vertical, rest @ ..] = rdata else { return false };
    let digits = [size, horizontal, vertical].into_iter().all(|packed| packed >> 4 <= 9 && packed & 15 <= 9);
    let Some((latitude, longitude)) = read_angles(rest) else { return false };
    digits
        && latitude.abs_diff(MERIDIAN) <= LATITUDE_MAX
        && longitude.abs_diff(MERIDIAN) <= LONGITUDE_MAX
        && rdata.len() == LOC_LEN
}

fn read_angles(rest: &[u8]) -> Option<(u32, u32)> {
    let (latitude, rest) = rest.split_first_chunk::<4>()?;
    let (longitude, _) = rest.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*latitude), u32::from_be_bytes(*longitude)))
}

/// Whether reading the text of the data gives the same octets: not so for a zero with an exponent.
pub(crate) fn has_text(rdata: &[u8]) -> bool {
    rdata[1..4].iter().all(|&packed| packed == 0 || packed >> 4 != 0)
}

/// The text of valid data.
pub(crate) struct Location<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Location<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((latitude, longitude)) = self.0.get(4..).and_then(read_angles) else {
            return Err(fmt::Error);
        };
        angle(f, latitude, 'N', 'S')?;
        angle(f, longitude, 'E', 'W')?;
        let altitude = self.0.get(12..).and_then(<[u8]>::first_chunk::<4>).ok_or(fmt::Error)?;
        let altitude = i64::from(u32::from_be_bytes(*altitude)) - ALTITUDE_ZERO_CM;
        let (sign, altitude) = (if altitude < 0 { "-" } else { "" }, altitude.unsigned_abs());
        write!(f, "{sign}{}.{:02}m", altitude / 100, altitude % 100)?;
        for &packed in &self.0[1..4] {
            // Whole metres without decimals, as dig has it.
            match unpack_size(packed) {
                centimetres @ 0..100 => write!(f, " 0.{centimetres:02}m")?,
                centimetres => write!(f, " {}m", centimetres / 100)?,
            }
        }
        Ok(())
    }
}

fn angle(f: &mut fmt::Formatter<'_>, value: u32, positive: char, negative: char) -> fmt::Result {
    let thousandths = value.abs_diff(MERIDIAN);
    let side = if value >= MERIDIAN { positive } else { negative };
    let (degrees, minutes) = (thousandths / 3_600_000, thousandths / 60_000 % 60);
    let (seconds, fraction) = (thousandths / 1000 % 60, thousandths % 1000);
    write!(f, "{degrees} {minutes} {seconds}.{fraction:03} {side} ")
}
