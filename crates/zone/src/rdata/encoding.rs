//! Hexadecimal, base64 and base32hex, decoded word by word because master files may break them at blanks.

use std::fmt;

const BAD: u8 = 0xff;
const PAD: u8 = 0xfe;

const fn values(alphabet: &[u8]) -> [u8; 256] {
    let mut table = [BAD; 256];
    let mut i = 0;
    while i < alphabet.len() {
        table[alphabet[i] as usize] = i as u8;
        i += 1;
    }
    table
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const BASE32HEX: &[u8; 32] = b"0123456789ABCDEFGHIJKLMNOPQRSTUV";
const HEX: &[u8; 16] = b"0123456789ABCDEF";

static BASE64_VALUES: [u8; 256] = {
    let mut table = values(BASE64);
    table[b'=' as usize] = PAD;
    table
};

/// The value of a hexadecimal digit in either case.
pub(crate) fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// The text is not in the encoding, or ends too soon.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BadEncoding;

/// Decodes hexadecimal (RFC 4648 §8) that may be split anywhere.
#[derive(Default)]
pub(crate) struct HexDecoder {
    high: Option<u8>,
}

impl HexDecoder {
    pub(crate) fn push(&mut self, text: &[u8], out: &mut Vec<u8>) -> Result<(), BadEncoding> {
        for &digit in text {
            let value = hex_value(digit).ok_or(BadEncoding)?;
            match self.high.take() {
                Some(high) => out.push(high << 4 | value),
                None => self.high = Some(value),
            }
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<(), BadEncoding> {
        if self.high.is_none() { Ok(()) } else { Err(BadEncoding) }
    }
}

/// Decodes base64 (RFC 4648 §4) that may be split anywhere. Padding must be there and its bits be zero, so that a
/// key that lost its end is noticed.
#[derive(Default)]
pub(crate) struct Base64Decoder {
    bits: u32,
    symbols: u8, // of the open group of four
    pads: u8,    // of the last group
}

impl Base64Decoder {
    pub(crate) fn push(&mut self, text: &[u8], out: &mut Vec<u8>) -> Result<(), BadEncoding> {
        for &symbol in text {
            let value = BASE64_VALUES[usize::from(symbol)];
            if value < 64 && self.pads == 0 {
                self.bits = self.bits << 6 | u32::from(value);
                self.symbols += 1;
                if self.symbols == 4 {
                    out.extend_from_slice(&self.bits.to_be_bytes()[1..]);
                    (self.bits, self.symbols) = (0, 0);
                }
            } else if value == PAD && usize::from(self.symbols) >= 2 && self.symbols + self.pads < 4 {
                self.pads += 1;
                if self.symbols + self.pads == 4 {
                    self.end_group(out)?;
                }
            } else {
                return Err(BadEncoding);
            }
        }
        Ok(())
    }

    fn end_group(&self, out: &mut Vec<u8>) -> Result<(), BadEncoding> {
        let bits = self.bits << (6 * u32::from(self.pads));
        let kept = usize::from(3 - self.pads);
        let octets = &bits.to_be_bytes()[1..];
        if octets[kept..].iter().any(|&octet| octet != 0) {
            return Err(BadEncoding);
        }
        out.extend_from_slice(&octets[..kept]);
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<(), BadEncoding> {
        if self.symbols == 0 || self.symbols + self.pads == 4 { Ok(()) } else { Err(BadEncoding) }
    }
}

/// Decodes base32hex in either case, without padding (RFC 4648 §7, RFC 5155 §3.3).
pub(crate) fn decode_base32hex(text: &[u8], out: &mut Vec<u8>) -> Result<(), BadEncoding> {
    const VALUES: [u8; 256] = values(BASE32HEX);
    let (mut bits, mut count) = (0u32, 0u32);
    for &symbol in text {
        let value = VALUES[usize::from(symbol.to_ascii_uppercase())];
        if value == BAD {
            return Err(BadEncoding);
        }
        bits = bits << 5 | u32::from(value);
        count += 5;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8); // the eight bits above the rest
            bits &= (1 << count) - 1;
        }
    }
    // Fewer than five bits may be left over, and only zeros.
    if count < 5 && bits == 0 { Ok(()) } else { Err(BadEncoding) }
}

/// Octets as capital hexadecimal digits.
pub(crate) struct Hex<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        chunked::<32, 64>(f, self.0, |chunk, text| {
            for (i, octet) in chunk.iter().enumerate() {
                text[2 * i] = HEX[usize::from(octet >> 4)];
                text[2 * i + 1] = HEX[usize::from(octet & 15)];
            }
            2 * chunk.len()
        })
    }
}

/// Octets as padded base64.
pub(crate) struct Base64<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Base64<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        chunked::<48, 64>(f, self.0, |chunk, text| {
            for (group, symbols) in chunk.chunks(3).zip(text.chunks_mut(4)) {
                let octet = |i| u32::from(group.get(i).copied().unwrap_or(0));
                let bits = octet(0) << 16 | octet(1) << 8 | octet(2);
                for (i, symbol) in symbols.iter_mut().enumerate() {
                    *symbol =
                        if i <= group.len() { BASE64[(bits >> (18 - 6 * i) & 63) as usize] } else { b'=' };
                }
            }
            chunk.len().div_ceil(3) * 4
        })
    }
}

/// Octets as base32hex in capitals, without padding.
pub(crate) struct Base32Hex<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Base32Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        chunked::<40, 64>(f, self.0, |chunk, text| {
            let (mut bits, mut count, mut len) = (0u32, 0u32, 0);
            for &octet in chunk {
                bits = (bits << 8 | u32::from(octet)) & 0xfff; // at most four bits were left over
                count += 8;
                while count >= 5 {
                    count -= 5;
                    text[len] = BASE32HEX[(bits >> count & 31) as usize];
                    len += 1;
                }
            }
            if count > 0 {
                text[len] = BASE32HEX[(bits << (5 - count) & 31) as usize];
                len += 1;
            }
            len
        })
    }
}

/// Writes `octets` in chunks of `IN`, each encoded into at most `OUT` ASCII characters. `IN` must be a multiple of
/// the encoding's group.
fn chunked<const IN: usize, const OUT: usize>(
    f: &mut fmt::Formatter<'_>,
    octets: &[u8],
    encode: impl Fn(&[u8], &mut [u8; OUT]) -> usize,
) -> fmt::Result {
    for chunk in octets.chunks(IN) {
        let mut text = [0u8; OUT];
        let len = encode(chunk, &mut text);
        f.write_str(std::str::from_utf8(&text[..len]).map_err(|_| fmt::Error)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base64(words: &[&str]) -> Result<Vec<u8>, BadEncoding> {
        let (mut decoder, mut out) = (Base64Decoder::default(), Vec::new());
        for word in words {
            decoder.push(word.as_bytes(), &mut out)?;
        }
        decoder.finish().map(|()| out)
    }

    #[test]
    fn base64_is_that_of_rfc_4648_section_10() {
        for (octets, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
        ] {
            assert_eq!(Base64(octets.as_bytes()).to_string(), text);
            assert_eq!(base64(&[text]).unwrap(), octets.as_bytes());
        }
        assert_eq!(base64(&["Z", "m9", "vY", "g=", "="]).unwrap(), b"foob");
        for wrong in ["Z", "Zg", "Zg=", "Zh==", "Zg==Zg==", "=", "Zg===", "Z*==", "Zm9vY"] {
            assert_eq!(base64(&[wrong]), Err(BadEncoding), "{wrong}");
        }
    }

    #[test]
    fn base32hex_is_that_of_rfc_4648_section_10() {
        for (octets, text) in [("f", "CO"), ("fo", "CPNG"), ("foo", "CPNMU"), ("foob", "CPNMUOG")] {
            assert_eq!(Base32Hex(octets.as_bytes()).to_string(), text);
            let mut out = Vec::new();
            decode_base32hex(text.to_ascii_lowercase().as_bytes(), &mut out).unwrap();
            assert_eq!(out, octets.as_bytes());
        }
        for wrong in ["C", "CP1", "CW", "CPNMUOH"] {
            assert_eq!(decode_base32hex(wrong.as_bytes(), &mut Vec::new()), Err(BadEncoding), "{wrong}");
        }
    }

    #[test]
    fn hexadecimal_is_joined_across_words() {
        let (mut decoder, mut out) = (HexDecoder::default(), Vec::new());
        decoder.push(b"0aF", &mut out).unwrap();
        assert_eq!(decoder.push(b"g", &mut out), Err(BadEncoding));
        decoder.push(b"0", &mut out).unwrap();
        decoder.finish().unwrap();
        assert_eq!(out, [0x0a, 0xf0]);
        assert_eq!(Hex(&out).to_string(), "0AF0");
    }
}
