//! Any octets as what a primary sends: messages with their lengths in front, as a
//! transfer, whole or of what has changed; and each as the answer to a
//! question for the SOA record, and as a NOTIFY request. What has changed is applied both ways that there are, which have to agree.

use super::fixtures;
use super::seeds::{self, SMALL, TRANSFER_APEX};
use super::signing::Denial;
use std::sync::{Arc, OnceLock};
use table::Table;
use transfer::incoming::{Content, Incoming, Limits, Progress};
use transfer::request::read_soa;
use transfer::tsig::{Algorithm, Key, sign_request};
use wire::{FoldedName, Query};
use zone::Gatherer;
use zone::amend::{AmendError, amend};

/// The identifier that the seeds have.
pub(crate) const ID: u16 = 0x1234;
/// Small, so that the bound is met too.
const OCTETS_MAX: u64 = 8192;

/// The small zone, as it was transferred before: not signed, and with each kind of denial.
static STANDING: OnceLock<[Arc<Table>; 3]> = OnceLock::new();

/// Takes it as a transfer of the whole zone, and as one of what has changed since the small zone.
pub(crate) fn run(stream: &[u8]) {
    let apex = fixtures::name(TRANSFER_APEX);
    let limits = Limits { octets_max: OCTETS_MAX };
    if let Some((content, serial, records)) = take(stream, Incoming::new(apex.as_name(), ID, limits)) {
        let Content::Zone(gatherer) = content else { panic!("the whole zone was asked for") };
        zone_of(*gatherer, serial, records);
    }
    let standing = STANDING.get_or_init(|| {
        [Denial::Unsigned, Denial::Nsec, seeds::hashed()]
            .map(|denial| Arc::new(fixtures::zone_from(SMALL, TRANSFER_APEX, &denial)))
    });
    standing.iter().for_each(|standing| run_since(stream, standing));
}

/// Takes it as a transfer of what has changed since a version.
fn run_since(stream: &[u8], standing: &Arc<Table>) {
    let apex = fixtures::name(TRANSFER_APEX);
    let limits = Limits { octets_max: OCTETS_MAX };
    let since = Incoming::since(apex.as_name(), standing.serial(), ID, limits);
    match take(stream, since) {
        None => {}
        Some((Content::Current, serial, _)) => {
            assert!(!transfer::serial::is_newer(serial, standing.serial()));
        }
        Some((Content::Zone(gatherer), serial, records)) => {
            zone_of(*gatherer, serial, records);
        }
        Some((Content::Differences(differences), serial, records)) => {
            let ends = differences.iter().fold(standing.serial(), |at, next| {
                assert_eq!(next.from, at, "each goes on from the one before");
                assert!(transfer::serial::is_newer(next.to, next.from));
                next.to
            });
            assert_eq!(ends, serial, "it leads where it says");
            let amended = amend(standing, &differences);
            let Ok(gatherer) = zone::apply(standing, &differences) else {
                assert!(amended.is_err(), "what does not fit is not taken by what has changed alone");
                return;
            };
            let whole = zone_of(gatherer, serial, records + u64::from(standing.record_count()));
            match (amended, whole) {
                (Ok(amended), Some(whole)) => {
                    let counts = |table: &Table| (table.serial(), table.record_count(), table.content());
                    assert_eq!(counts(&amended), counts(&whole), "both ways lead to the same");
                }
                (Ok(_), None) => panic!("the whole zone is refused, and what has changed is not"),
                (Err(AmendError::Recompile(_)), _) => {}
                (Err(AmendError::Mismatch(misfit)), _) => panic!("only to what has changed alone: {misfit}"),
            }
        }
    }
}

/// What a stream of messages brings, with the serial and the count of its records, if it is whole.
fn take(mut stream: &[u8], mut incoming: Incoming) -> Option<(Content, u32, u64)> {
    let apex = fixtures::name(TRANSFER_APEX);
    let key = Key::new(apex.as_name(), Algorithm::Sha256, b"secret").expect("a key");
    let mut verifier = sign_request(&mut incoming.question(), &Arc::new(key), 0);
    while let Some((len, rest)) = stream.split_first_chunk() {
        let len = usize::from(u16::from_be_bytes(*len)).min(rest.len());
        let (message, rest) = rest.split_at(len);
        stream = rest;
        let _any_error = read_soa(message, apex.as_name(), ID);
        let _any_error = Query::default().read_notify(message, &mut FoldedName::default());
        assert!(verifier.verify(message, 0).is_err(), "nobody has the key");
        match incoming.take(message) {
            Ok(Progress::More) => {}
            Ok(Progress::Complete) => {
                let soa = incoming.soa().expect("a transfer begins with one");
                let (_, wire_octets, records) = incoming.counts();
                assert!(wire_octets <= OCTETS_MAX, "the bound holds");
                return Some((incoming.into_content().expect("it is complete"), soa.serial, records));
            }
            Err(_) => break,
        }
    }
    assert!(incoming.into_content().is_none(), "half a transfer is none");
    None
}

/// What is complete is a zone of its own serial, or is refused by the checks.
fn zone_of(gatherer: Gatherer, serial: u32, records: u64) -> Option<Table> {
    let zone = zone::conclude(gatherer).zone?;
    assert_eq!(zone.serial(), serial);
    assert!(zone.record_count() as u64 <= records);
    let table = zone::compile(zone, &zone::CompileOptions::default());
    // A set that fits no message is the one thing that the checks leave to the compiler.
    let table = table.ok()?;
    assert_eq!(table.serial(), serial);
    Some(table)
}
