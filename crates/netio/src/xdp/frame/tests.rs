use super::*;

const CLIENT: [u8; 6] = [2, 0, 0, 0, 0, 1];
const SERVER: [u8; 6] = [2, 0, 0, 0, 0, 2];

fn frames(payload: &[u8]) -> [Vec<u8>; 2] {
    [("192.0.2.1:4053", "192.0.2.53:53"), ("[2001:db8::1]:4053", "[2001:db8::53]:53")].map(
        |(client, server)| {
            query((CLIENT, client.parse().unwrap()), (SERVER, server.parse().unwrap()), payload)
        },
    )
}

/// The frame with a VLAN tag.
fn tagged(frame: &[u8], tag: u16) -> Vec<u8> {
    [&frame[..12], &ETHERTYPE_VLAN.to_be_bytes(), &tag.to_be_bytes(), &frame[12..]].concat()
}

/// The sum as RFC 1071 §1 has it.
fn plain_sum(octets: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in octets.chunks(2) {
        sum += (u32::from(pair[0]) << 8) | pair.get(1).map_or(0, |low| u32::from(*low));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[test]
fn sums_are_those_of_the_standard() {
    let octets: Vec<u8> = (0..1500u32).map(|at| ((at * at) >> 3) as u8).collect();
    for len in 0..octets.len() {
        let found = folded(sum(&octets[..len])).to_ne_bytes();
        let expected = plain_sum(&octets[..len]).to_be_bytes();
        assert!(found == expected || [found, expected] == [[0xff; 2], [0; 2]], "{len} octets");
    }
    assert_eq!(folded(sum(&[0xff; 65_535])).to_ne_bytes(), [0xff, 0], "the longest there can be");
}

#[test]
fn a_reply_is_the_query_turned_round() {
    for payload_len in [12, 13, 40, 511, 1232] {
        let payload: Vec<u8> = (0..payload_len).map(|at| at as u8).collect();
        for plain in frames(&payload) {
            for frame in [plain.clone(), tagged(&plain, 0xa007)] {
                let (layout, peer) = read(&frame).unwrap();
                assert_eq!(&frame[layout.payload()], payload);
                assert_eq!(peer.port(), 4053);
                let mut reply = vec![0xee; 2048];
                let answer = [&payload[..], b"more"].concat();
                reply[layout.headers_len()..layout.headers_len() + answer.len()].copy_from_slice(&answer);
                let len = turn_round(&frame, &layout, 0x1234, answer.len(), &mut reply);
                let (back, from) = read(&reply[..len]).unwrap();
                assert_eq!((&reply[..6], &reply[6..12]), (&CLIENT[..], &SERVER[..]));
                assert_eq!(&reply[12..back.ip], &frame[12..layout.ip], "the same tag");
                assert_eq!(&reply[back.payload()], answer);
                assert_eq!(back.payload().end, len);
                let expected = if back.family == Family::V4 { "192.0.2.53:53" } else { "[2001:db8::53]:53" };
                assert_eq!(from.socket_addr(), expected.parse().unwrap());
            }
        }
    }
}

#[test]
fn a_sender_may_leave_the_checksum_to_its_card() {
    for frame in frames(&[7; 30]) {
        let (layout, _) = read(&frame).unwrap();
        let mut partial = frame.clone();
        let pseudo = folded(pseudo_header(&frame, &layout, 38));
        partial[layout.udp() + 6..layout.udp() + 8].copy_from_slice(&pseudo.to_ne_bytes());
        assert!(read(&partial).is_ok());
        let mut none = frame.clone();
        none[layout.udp() + 6..layout.udp() + 8].fill(0);
        let expected = if layout.family == Family::V4 { None } else { Some(Fault::Checksum) };
        assert_eq!(read(&none).err(), expected, "{:?}", layout.family);
    }
}

#[test]
fn damage_is_seen_and_nothing_panics() {
    for frame in frames(&[0x5a; 33]) {
        for at in 0..frame.len() {
            for bit in 0..8 {
                let mut damaged = frame.clone();
                damaged[at] ^= 1 << bit;
                // The Ethernet addresses have a checksum of their own, and an IPv6 header's first words have none.
                let is_covered = at >= 14 && !(frame[12] == 0x86 && matches!(at, 14..=17 | 21));
                assert!(read(&damaged).is_err() || !is_covered, "octet {at}, bit {bit}");
            }
        }
        for len in 0..frame.len() {
            assert_eq!(read(&frame[..len]).err(), Some(Fault::Malformed), "{len} octets");
        }
    }
}

#[test]
fn any_octets_are_a_fault_at_worst() {
    let mut seed = 0x5eed_u64;
    let mut random = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let bases = frames(&[1; 50]);
    for round in 0..200_000 {
        let mut frame = bases[round % 2].clone();
        if round % 3 == 0 {
            frame = tagged(&frame, random() as u16);
        }
        for _ in 0..1 + random() % 4 {
            let at = random() as usize % frame.len();
            frame[at] = random() as u8;
        }
        frame.truncate(random() as usize % (frame.len() + 20));
        if let Ok((layout, _)) = read(&frame) {
            assert!(layout.payload().end <= frame.len());
            let mut reply = vec![0; 2048];
            turn_round(&frame, &layout, 0, 100, &mut reply);
        }
    }
}
