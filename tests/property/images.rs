//! Images: the same zone gives the same one, a file gives it back, and a changed octet is refused.

use crate::config;
use crate::signing::compile;
use crate::zones::{signed, unsigned};
use proptest::prelude::*;
use std::fs::File;
use std::io::Write as _;
use table::map::Backing;
use table::{ImageError, Table};

/// Where the digest's reach starts: what stands before it is the stamp of the source, which may change.
const STAMP: std::ops::Range<usize> = 56..88;

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn compiling_is_deterministic(zone in signed()) {
        let table = compile(zone.apex.as_name(), &zone.records);
        // The order of the master file says nothing.
        let mut records = zone.records.clone();
        records.reverse();
        let again = compile(zone.apex.as_name(), &records);
        prop_assert_eq!(table.digest(), again.digest());
        prop_assert_eq!(table.image(), again.image());
    }

    #[test]
    fn a_file_gives_the_table_back(zone in unsigned()) {
        let table = compile(zone.apex.as_name(), &zone.records);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("image");
        File::create(&path).and_then(|mut file| file.write_all(table.image())).expect("room for a file");
        let file = File::open(&path).expect("it was just written");
        let mapped = Table::from_backing(Backing::mapped(&file).expect("a mapping")).expect("a good image");
        prop_assert_eq!(mapped.digest(), table.digest());
        prop_assert_eq!(mapped.image(), table.image());
    }

    #[test]
    fn a_changed_octet_is_refused(zone in signed(), at in any::<prop::sample::Index>(), bit in 0..8u8) {
        let table = compile(zone.apex.as_name(), &zone.records);
        let mut image = table.image().to_vec();
        let at = at.index(image.len());
        image[at] ^= 1 << bit;
        let accepted = from(&image).is_ok();
        prop_assert!(!accepted || STAMP.contains(&at), "octet {at}");
    }

    #[test]
    fn a_shorter_or_longer_file_is_refused(zone in unsigned(), len in any::<prop::sample::Index>()) {
        let table = compile(zone.apex.as_name(), &zone.records);
        let image = table.image();
        let shorter = &image[..len.index(image.len())];
        prop_assert!(from(shorter).is_err());
        prop_assert!(from(&[image, &[0]].concat()).is_err());
    }
}

#[test]
fn every_octet_of_one_image_is_covered() {
    let zone = crate::signing::Record {
        owner: wire::NameBuf::root(),
        rtype: wire::RecordType::SOA,
        ttl: 1,
        rdata: vec![0; 22],
    };
    let image = compile(wire::Name::ROOT, &[zone]).image().to_vec();
    for at in 0..image.len() {
        let mut changed = image.clone();
        changed[at] ^= 0x10;
        assert_eq!(from(&changed).is_ok(), STAMP.contains(&at), "octet {at}");
    }
}

fn from(octets: &[u8]) -> Result<Table, ImageError> {
    Table::from_backing(Backing::filled(octets.len(), |image| image.copy_from_slice(octets)).expect("memory"))
}
