//! Any octets as an answer table: refused, or safe to look up in.

use super::fixtures;
use nameserver::Transport;
use std::sync::Arc;
use table::map::Backing;
use table::{Found, Node, Table};
use wire::{FoldedName, NameBuf, RecordType};

/// Octets of the fixed header.
const HEADER_LEN: usize = 512;
/// How many names are asked for.
const NAMES_ASKED: usize = 24;
/// The most octets of a difference between an image and itself.
const DIFFERENCE_MAX: usize = 1 << 20;

/// Verifies it, as it is and with the fields set right that a random mutation is sure to break; where it is
/// accepted, uses all of it.
pub(crate) fn run(octets: &[u8]) {
    verified(octets);
    let _header_alone = table::Claims::read(octets);
    if octets.len() >= HEADER_LEN {
        verified(&repaired(octets));
    }
}

/// The octets with magic, version, length and digest of a real image.
pub(crate) fn repaired(octets: &[u8]) -> Vec<u8> {
    let mut image = octets.to_vec();
    image[..8].copy_from_slice(b"STARLING");
    image[8..12].copy_from_slice(&table::VERSION.to_le_bytes());
    let len = image.len() as u64;
    image[16..24].copy_from_slice(&len.to_le_bytes());
    let digest = blake3::hash(&image[96..]);
    image[24..56].copy_from_slice(digest.as_bytes());
    image
}

fn verified(octets: &[u8]) {
    let backing = Backing::filled(octets.len(), |image| image.copy_from_slice(octets)).expect("memory");
    if let Ok(table) = Table::from_backing(backing) {
        let names = walked(&table);
        looked_up(&table, &names);
        asked(table, &names);
        gathered(octets);
    }
}

/// Reads all records, as for an image that was published: for its ZONEMD record, and for secondaries that have another version.
fn gathered(octets: &[u8]) {
    let backing = Backing::filled(octets.len(), |image| image.copy_from_slice(octets)).expect("memory");
    let table = Arc::new(Table::from_backing(backing).expect("verified before"));
    if let Ok(zone) = zone::apply(&table, &[]).map(zone::Gatherer::finish)
        && let Ok(zone) = zone
    {
        assert!(zone.record_count() <= table.image().len());
        let _verdict = zone::zonemd::verify(&zone);
        let _digest = zone::zonemd::digest(&zone, zone::zonemd::Algorithm::Sha384);
    }
    let _difference = zone::compare(&table, &table, DIFFERENCE_MAX);
}

/// Goes through everything there is, and returns names at and around what was found.
fn walked(table: &Table) -> Vec<NameBuf> {
    let apex = table.apex_name();
    let mut names = Vec::new();
    let mut count = 0;
    let mut visit = |node: Node<'_>| {
        count += 1;
        let mut octets = 0;
        for rrset in node.rrsets() {
            let links = rrset.links();
            octets += rrset.records().len() + rrset.signatures().len() + links.glue.len();
            octets += links.owner.len() + links.apex.len() + links.inner.len() + links.additional().count();
            octets += rrset.stride() * usize::from(rrset.count());
        }
        assert!(octets <= 8 * table.image().len());
        let _references = (node.denial(), node.flags());
        if names.len() < NAMES_ASKED {
            // The region of NSEC3 owners has names too; asking for them does no harm.
            names.extend(NameBuf::joined(node.relative_name(), apex));
        }
    };
    table.nodes().for_each(&mut visit);
    table.nsec3_nodes().for_each(&mut visit);
    assert!(count <= table.image().len() / 4);
    let children = names.iter().filter_map(|name| NameBuf::child(b"x", name.as_name()).ok());
    let all: Vec<NameBuf> = children.chain(names.iter().cloned()).collect();
    all
}

fn looked_up(table: &Table, names: &[NameBuf]) {
    let mut folded = FoldedName::default();
    for name in names {
        folded.set(name.as_name());
        let (Found::Exact(node) | Found::BelowCut(table::Encloser { node, .. })) = table.find(&folded) else {
            continue;
        };
        let _rrset = node.rrset(RecordType::A);
        let _cover = table.nsec_cover(&folded).map(Node::relative_name);
        let _place = table.nsec3_place(&folded, 0).is_some();
    }
}

/// Answers are made of what is in the image, so nothing is checked but that they are made.
fn asked(table: Table, names: &[NameBuf]) {
    let mut responder = fixtures::responder(vec![table]);
    let mut response = vec![0; 65_535];
    for name in names {
        for rtype in [RecordType::A, RecordType::NS, RecordType::DS, RecordType::TXT, RecordType::ANY] {
            let mut query = vec![0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
            query.extend(name.as_name().as_wire());
            query.extend(rtype.0.to_be_bytes());
            query.extend([0, 1, 0, 0, 41, 4, 208, 0, 0, 0x80, 0, 0, 0]);
            for transport in [Transport::Udp, Transport::Tcp] {
                responder.respond(&query, transport, &mut response);
            }
        }
    }
}
