//! ICMP echo requests, and the replies to them (RFC 792, RFC 4443 §4.1 and §4.2).

/// Octets of a request: the header, and what shows that a reply is to it.
pub const REQUEST_LEN: usize = 8 + COOKIE_LEN;
/// Sixteen octets can't be guessed.
pub const COOKIE_LEN: usize = 16;
/// The longest reply in octets that is looked at, with the longest header of IPv4 in front.
pub const REPLY_LEN_MAX: usize = 60 + REQUEST_LEN;
/// Types of messages.
const ECHO: u8 = 8;
const ECHO_REPLY: u8 = 0;
const ECHO_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;
/// The number of ICMP in the header of IPv4.
const PROTOCOL_ICMP: u8 = 1;

/// A request with this cookie. Sockets for echo alone put another identifier in, and the kernel the checksum of ICMPv6.
pub fn request(is_ipv4: bool, identifier: u16, cookie: [u8; COOKIE_LEN]) -> [u8; REQUEST_LEN] {
    let mut request = [0; REQUEST_LEN];
    request[0] = if is_ipv4 { ECHO } else { ECHO_V6 };
    request[4..6].copy_from_slice(&identifier.to_be_bytes());
    request[8..].copy_from_slice(&cookie);
    if is_ipv4 {
        let sum = checksum(&request);
        request[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    request
}

/// The cookie of a reply; `None` if it is none.
pub fn reply(is_ipv4: bool, message: &[u8]) -> Option<[u8; COOKIE_LEN]> {
    let wanted = if is_ipv4 { ECHO_REPLY } else { ECHO_REPLY_V6 };
    let (header, cookie) = message.split_at_checked(8)?;
    (header[..2] == [wanted, 0]).then_some(())?;
    cookie.try_into().ok()
}

/// What comes after the header of IPv4, which raw sockets of that family are given.
pub fn without_header(packet: &[u8]) -> Option<&[u8]> {
    let words = packet.first()? & 0xf;
    if *packet.get(9)? != PROTOCOL_ICMP {
        return None;
    }
    packet.get(usize::from(words) * 4..)
}

/// RFC 1071.
fn checksum(octets: &[u8]) -> u16 {
    let words =
        octets.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word.get(1).copied().unwrap_or(0)));
    let mut sum: u32 = words.sum(); // few words
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16) // as just made sure
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_sums_up_and_its_reply_is_known() {
        let cookie = *b"0123456789abcdef";
        let mut message = request(true, 0x1234, cookie);
        assert_eq!(checksum(&message), 0, "RFC 1071 §1: with the checksum in it everything is");
        assert_eq!(reply(true, &message), None, "it is no reply");
        message[0] = ECHO_REPLY;
        assert_eq!(reply(true, &message), Some(cookie));
        assert_eq!(reply(true, &message[..REQUEST_LEN - 1]), None);
        assert_eq!(reply(false, &message), None);
        // With options, and of another protocol.
        let packet = [&[0x46, 0, 0, 0, 0, 0, 0, 0, 64, PROTOCOL_ICMP][..], &[0; 14], &message].concat();
        assert_eq!(without_header(&packet).and_then(|message| reply(true, message)), Some(cookie));
        assert_eq!(without_header(&[0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17]), None);
        for len in 0..packet.len() {
            assert_eq!(without_header(&packet[..len]).and_then(|message| reply(true, message)), None);
        }
    }
}
