//! Any octets as the journal of a zone; and the same with right checksums, so that what is behind them is met too.

use super::fixtures;
use super::seeds::TRANSFER_APEX;
use transfer::journal::{CONTENT_MAX, Checksum, Mark, Records, Version, difference, heading, scan, seal};
use wire::message::u32_at;

/// Octets of a frame before its content.
const PREFIX_LEN: usize = 20;
/// So many marks are kept, so that the bound is met too.
const MARKS_MAX: usize = 5;

/// Reads it in every way; what one way takes for whole, the others do.
pub(crate) fn run(octets: &[u8]) {
    read(octets);
    read(&sealed(octets));
}

fn read(octets: &[u8]) {
    let apex = fixtures::name(TRANSFER_APEX);
    let Ok((marks, damage)) = scan(octets, apex.as_name(), MARKS_MAX) else { return };
    assert!(!marks.is_empty() && marks.len() <= MARKS_MAX);
    let last = marks[marks.len() - 1];
    assert!(last.at <= octets.len() as u64 && damage.is_none() == (last.at == octets.len() as u64));
    for (before, after) in marks.iter().zip(marks.iter().skip(1)) {
        let frame = &octets[before.at as usize..after.at as usize];
        let whole = difference(frame, before);
        let mut records = Records::new(frame, *before, *after);
        let mut count = 0;
        let ended = loop {
            match records.next_record() {
                Ok(Some(_)) => count += 1,
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        if let Ok(whole) = whole {
            assert_eq!((whole.from, whole.to), (before.version.serial, after.version.serial));
            assert!(ended && count == whole.removed.len() + whole.added.len());
        }
    }
    // Behind damage, and from anywhere: all that is asked for is an end.
    let far = Mark { at: u64::MAX, ..last };
    let mut records = Records::new(&octets[last.at as usize..], last, far);
    while let Ok(Some(_)) = records.next_record() {}
}

/// With a good heading, and as many good checksums as there are frames.
fn sealed(octets: &[u8]) -> Vec<u8> {
    let apex = fixtures::name(TRANSFER_APEX);
    let version = Version { serial: u32_at(octets, 12).unwrap_or_default(), digest: [0; 32] };
    let (mut sealed, mark) = heading(apex.as_name(), version);
    let mut rest = octets.get(sealed.len()..).unwrap_or_default();
    let mut checksum: Checksum = mark.checksum;
    while let Some(len) = u32_at(rest, 0).map(|len| len as usize).filter(|len| *len <= CONTENT_MAX) {
        let Some((frame, behind)) = rest.split_at_checked(PREFIX_LEN + len) else { break };
        let mut frame = frame.to_vec();
        checksum = seal(checksum, &mut frame);
        sealed.extend(frame);
        rest = behind;
    }
    sealed.extend(rest);
    sealed
}
