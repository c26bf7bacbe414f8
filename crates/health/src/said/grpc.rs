//! The messages of `grpc.health.v1.Health/Check`.
//!
//! The request is a message with the name of the service as field 1, and the answer one with a status as field 1; both have five
//! octets in front, whether it is compressed and how long it is.

/// The octets in front of a message.
const PREFIX_LEN: usize = 5;
/// The only status that is good.
pub const SERVING: u64 = 1;

/// A `HealthCheckRequest` with what stands in front of messages.
pub fn question(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(1 << 3 | 2); // field 1, of octets
        put_varint(&mut message, service.len() as u64);
        message.extend(service.as_bytes());
    }
    let len = message.len() as u32; // a name has at most 1,024 octets
    [&[0][..], &len.to_be_bytes(), &message].concat()
}

/// The status of a `HealthCheckResponse` with what stands in front of it; `None` where it is none.
pub fn status(octets: &[u8]) -> Option<u64> {
    let (prefix, message) = octets.split_at_checked(PREFIX_LEN)?;
    let len = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
    // Nothing was said of compression, so there must be none; and a call has one answer.
    if prefix[0] != 0 || usize::try_from(len).ok()? != message.len() {
        return None;
    }
    let mut rest = message;
    // What is not there is 0, and the last one counts (the encoding of protocol buffers).
    let mut status = 0;
    while !rest.is_empty() {
        let key = take_varint(&mut rest)?;
        match (key >> 3, key & 7) {
            (1, 0) => status = take_varint(&mut rest)?,
            (_, 0) => drop(take_varint(&mut rest)?),
            (_, 1) => rest = rest.get(8..)?,
            (_, 2) => {
                let len = usize::try_from(take_varint(&mut rest)?).ok()?;
                rest = rest.get(len..)?;
            }
            (_, 5) => rest = rest.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80); // its low seven bits
        number >>= 7;
    }
    out.push(number as u8); // less than 128
}

fn take_varint(octets: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (&octet, rest) = octets.split_first()?;
        *octets = rest;
        number |= u64::from(octet & 0x7f) << shift;
        if octet & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_as_other_encoders_have_them() {
        assert_eq!(question(""), [0, 0, 0, 0, 0]);
        assert_eq!(question("web"), *b"\0\0\0\0\x05\x0a\x03web");
        let long = question(&"x".repeat(300));
        assert_eq!((long.len(), &long[..8]), (5 + 3 + 300, &[0, 0, 0, 1, 47, 0x0a, 0xac, 0x02][..]));
    }

    #[test]
    fn only_a_whole_answer_has_a_status() {
        assert_eq!(status(b"\0\0\0\0\x02\x08\x01"), Some(SERVING));
        assert_eq!(status(b"\0\0\0\0\0"), Some(0));
        assert_eq!(status(b"\0\0\0\0\x04\x08\x02\x08\x01"), Some(SERVING), "the last one counts");
        assert_eq!(
            status(b"\0\0\0\0\x07\x12\x01x\x08\x01\x10\x00"),
            Some(SERVING),
            "what is unknown is left out"
        );
        for wrong in [
            &b""[..],
            b"\0\0\0\0",
            b"\x01\0\0\0\x02\x08\x01",
            b"\0\0\0\0\x03\x08\x01",
            b"\0\0\0\0\x01\x08",
            b"\0\0\0\0\x02\x12\x7f",
            b"\0\0\0\0\x02\x0b\x01",
            b"\0\0\0\0\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            assert_eq!(status(wrong), None, "{wrong:?}");
        }
    }
}
