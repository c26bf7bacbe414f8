//! Any octets as what a primary sends: messages with their lengths in front, as a transfer; and each as the answer to a
//! question for the SOA record, and as a NOTIFY request.

use super::fixtures;
use super::seeds::TRANSFER_APEX;
use transfer::incoming::{Incoming, Limits, Progress};
use transfer::request::read_soa;
use wire::{FoldedName, Query};

/// The identifier that the seeds have.
pub(crate) const ID: u16 = 0x1234;
/// Small, so that the bound is met too.
const OCTETS_MAX: u64 = 4096;

/// Takes it as a transfer; what is complete is a zone of its own serial, or is refused by the checks.
pub(crate) fn run(mut stream: &[u8]) {
    let apex = fixtures::name(TRANSFER_APEX);
    let mut incoming = Incoming::new(apex.as_name(), ID, Limits { octets_max: OCTETS_MAX });
    while let Some((len, rest)) = stream.split_first_chunk() {
        let len = usize::from(u16::from_be_bytes(*len)).min(rest.len());
        let (message, rest) = rest.split_at(len);
        stream = rest;
        let _any_error = read_soa(message, apex.as_name(), ID);
        let _any_error = Query::default().read_notify(message, &mut FoldedName::default());
        match incoming.take(message) {
            Ok(Progress::More) => {}
            Ok(Progress::Complete) => {
                complete(incoming);
                return;
            }
            Err(_) => {
                assert!(incoming.into_records().is_none(), "half a transfer is none");
                return;
            }
        }
    }
    assert!(incoming.into_records().is_none(), "half a transfer is none");
}

fn complete(incoming: Incoming) {
    let soa = incoming.soa().expect("a transfer begins with one");
    let (_, wire_octets, records) = incoming.counts();
    assert!(wire_octets <= OCTETS_MAX, "the bound holds");
    let gatherer = incoming.into_records().expect("it is complete");
    let Some(zone) = zone::conclude(gatherer).zone else { return };
    assert_eq!(zone.serial(), soa.serial);
    assert!(zone.record_count() as u64 <= records);
    let table = zone::compile(zone, &zone::CompileOptions::default());
    // A set that fits no message is the one thing that the checks leave to the compiler.
    assert!(table.is_err() || table.is_ok_and(|table| table.serial() == soa.serial));
}
