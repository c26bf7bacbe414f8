//! Writes MaxMind DB files, version 2.0 of the format, of countries.

use std::net::IpAddr;

/// The value of a child that leads nowhere, until the number of nodes is known.
const NOWHERE: Child = Child::Nowhere;

#[derive(Clone, Copy)]
enum Child {
    Nowhere,
    Node(usize),
    /// Where the record stands in the data section.
    Record(usize),
}

/// What is known of a network: country, part of it, continent; empty for what isn't known.
pub(crate) type Known<'k> = (&'k str, &'k str, &'k str);

/// A database of these networks, none of which lies in another.
pub(crate) fn database(networks: &[(IpAddr, u8, Known<'_>)]) -> Vec<u8> {
    let mut nodes = vec![[NOWHERE; 2]];
    let mut records = Vec::new();
    for (address, len, known) in networks {
        // IPv4 stands at ::/96.
        let (bits, len) = match address {
            IpAddr::V4(address) => (u128::from(address.to_bits()), 96 + len),
            IpAddr::V6(address) => (address.to_bits(), *len),
        };
        let at = records.len();
        records.extend(record(known));
        insert(&mut nodes, bits, len, at);
    }
    let count = nodes.len();
    let value = |child: &Child| match child {
        Child::Nowhere => count,
        Child::Node(index) => *index,
        Child::Record(at) => count + 16 + at,
    };
    let mut file: Vec<u8> =
        nodes.iter().flatten().flat_map(|child| (value(child) as u32).to_be_bytes()[1..].to_vec()).collect();
    file.extend([0; 16]);
    file.extend(records);
    file.extend(b"\xab\xcd\xefMaxMind.com");
    file.extend(metadata(count as u32));
    file
}

fn insert(nodes: &mut Vec<[Child; 2]>, bits: u128, len: u8, record: usize) {
    let mut node = 0;
    for depth in 0..len {
        let side = usize::from(bits >> (127 - depth) & 1 == 1);
        if depth + 1 == len {
            nodes[node][side] = Child::Record(record);
            return;
        }
        node = match nodes[node][side] {
            Child::Node(next) => next,
            _ => {
                nodes.push([NOWHERE; 2]);
                let next = nodes.len() - 1;
                nodes[node][side] = Child::Node(next);
                next
            }
        };
    }
}

/// A map as GeoLite2 has it, as far as is known.
fn record((country, part, continent): &Known<'_>) -> Vec<u8> {
    let coded = |key, code: &str| (!code.is_empty()).then(|| map(&[(key, text(code))]));
    let array = |item: Vec<u8>| [&[1, 4][..], &item].concat(); // one item; an extended type
    let pairs = [
        ("continent", coded("code", continent)),
        ("country", coded("iso_code", country)),
        ("subdivisions", coded("iso_code", part).map(array)),
    ];
    map(&pairs.into_iter().filter_map(|(key, value)| Some((key, value?))).collect::<Vec<_>>())
}

fn metadata(node_count: u32) -> Vec<u8> {
    let short = |number: u16| [&[0xa2][..], &number.to_be_bytes()].concat();
    map(&[
        ("binary_format_major_version", short(2)),
        ("binary_format_minor_version", short(0)),
        ("build_epoch", vec![1, 2, 1]), // an extended type, one octet long
        ("database_type", text("Test-Country")),
        ("description", map(&[])),
        ("ip_version", short(6)),
        ("languages", vec![0, 4]),
        ("node_count", [&[0xc4][..], &node_count.to_be_bytes()].concat()),
        ("record_size", short(24)),
    ])
}

fn map(pairs: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut octets = vec![0xe0 | pairs.len() as u8];
    for (key, value) in pairs {
        octets.extend(text(key));
        octets.extend(value);
    }
    octets
}

/// At most 28 octets.
fn text(text: &str) -> Vec<u8> {
    [&[0x40 | text.len() as u8][..], text.as_bytes()].concat()
}
