//! The text of LOC (RFC 1876 §3).

use super::error::Fallible;
use super::number::{centimetres, decimal, decimals};
use super::value::Values;
use crate::rdata::loc::{ALTITUDE_ZERO_CM, LATITUDE_MAX, LONGITUDE_MAX, MERIDIAN, pack_size};

/// Size, horizontal and vertical precision where they are not stated: 1 m, 10 km, 10 m.
const DEFAULT_SIZES: [u8; 3] = [0x12, 0x16, 0x13];

/// Reads `d1 [m1 [s1]] N|S d2 [m2 [s2]] E|W alt[m] [size[m] [hp[m] [vp[m]]]]`.
pub(super) fn read(values: &mut Values<'_, '_>) -> Fallible<()> {
    let latitude = angle(values, [b'N', b'S'], LATITUDE_MAX, "a latitude such as 52 22 23.000 N")?;
    let longitude = angle(values, [b'E', b'W'], LONGITUDE_MAX, "a longitude such as 4 53 32.000 E")?;
    let expected = "an altitude from -100000m to 42849672m, such as -2.00m";
    let word = values.plain(expected)?;
    let altitude = centimetres(word.text).and_then(|value| u32::try_from(value + ALTITUDE_ZERO_CM).ok());
    let altitude = altitude.ok_or_else(|| word.not(expected))?;
    let mut sizes = DEFAULT_SIZES;
    for size in &mut sizes {
        let expected = "a size or precision from 0m to 90000000m, such as 10m";
        let Some(word) = values.rest_word(expected)? else { break };
        let value = centimetres(word.text).and_then(|value| u64::try_from(value).ok());
        *size = value.and_then(pack_size).ok_or_else(|| word.not(expected))?;
    }
    let out = &mut *values.out;
    out.push(0); // the version
    out.extend_from_slice(&sizes);
    for number in [latitude, longitude, altitude] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    Ok(())
}

/// Reads degrees, maybe minutes, maybe seconds, and the side, as the field has it.
fn angle(values: &mut Values<'_, '_>, sides: [u8; 2], max: u32, expected: &'static str) -> Fallible<u32> {
    let word = values.plain(expected)?;
    let mut thousandths = decimal(word.text, 180).ok_or_else(|| word.not(expected))? * 3_600_000;
    let mut parts = 0;
    loop {
        let word = values.plain(expected)?;
        let side = match word.text {
            [side] => sides.iter().position(|known| *known == side.to_ascii_uppercase()),
            _ => None,
        };
        if let Some(side) = side {
            if thousandths > max {
                return Err(word.not(expected));
            }
            return Ok(if side == 0 { MERIDIAN + thousandths } else { MERIDIAN - thousandths });
        }
        let part = match parts {
            0 => decimal(word.text, 59).map(|minutes| minutes * 60_000),
            1 => decimals(word.text, 3, 59).and_then(|seconds| u32::try_from(seconds).ok()),
            _ => None,
        };
        thousandths += part.ok_or_else(|| word.not(expected))?;
        parts += 1;
    }
}
