//! What has to be signed where names answer with something else than the zone says: their sets, and the records that
//! say which types they have.

use super::steer::{SteerError, Steered};
use super::touched::{Row, Touched};
use crate::rdata::to_base32hex;
use crate::sign::Signing;
use table::denial::nsec3_hash;
use table::{ImageFlags, Table, Withheld};
use wire::message::u16_at;
use wire::{Name, NameBuf, RecordType};

/// Signs what the names have now of the types in `answers`, which has all of a name in a row, and has the chain of
/// denial say so.
pub(super) fn sign(
    touched: &mut Touched<'_>,
    answers: &[Steered],
    signing: &mut Signing<'_>,
) -> Result<(), SteerError> {
    for of_name in answers.chunk_by(|one, other| one.owner == other.owner) {
        let owner = of_name[0].owner.as_name();
        let mut types = Vec::with_capacity(of_name.len());
        for steered in of_name {
            let is_there = sign_set(touched, owner, steered.rtype, signing)?;
            // Of what can't be answered for now it must not be proved that it isn't there: resolvers would believe that
            // for as long as the proof may be kept (RFC 8198).
            types.push((steered.rtype, is_there && steered.withheld() != Some(Withheld::Nothing)));
        }
        update_denial(touched, owner, &types, signing)?;
    }
    Ok(())
}

/// Signs a set, in place of the signatures that were there; whether it has any records.
fn sign_set(
    touched: &mut Touched<'_>,
    owner: Name<'_>,
    rtype: RecordType,
    signing: &mut Signing<'_>,
) -> Result<bool, SteerError> {
    let rows = touched.rows_at(owner)?;
    rows.retain(|row| row.rtype != RecordType::RRSIG || u16_at(&row.rdata, 0) != Some(rtype.0));
    let set = || rows.iter().filter(|row| row.rtype == rtype);
    let Some(ttl) = set().map(|row| row.ttl).min() else { return Ok(false) };
    let signatures = signing.sign(owner, rtype, ttl, set().map(|row| row.rdata.as_slice()))?;
    let signature = |rdata: &Vec<u8>| Row { rtype: RecordType::RRSIG, ttl, rdata: rdata.clone() };
    rows.extend(signatures.iter().map(signature));
    Ok(true)
}

/// Has the NSEC or NSEC3 record of a name say which of these types it has. Where it does already, its signature is
/// still good.
fn update_denial(
    touched: &mut Touched<'_>,
    name: Name<'_>,
    types: &[(RecordType, bool)],
    signing: &mut Signing<'_>,
) -> Result<(), SteerError> {
    let unchained = || SteerError::Unchained(Box::new(name.into()));
    let (owner, rtype) = place_in_chain(touched.base(), name).ok_or_else(unchained)?;
    let rows = touched.rows_at(owner.as_name())?;
    let row = rows.iter_mut().find(|row| row.rtype == rtype).ok_or_else(unchained)?;
    let start = types_start(rtype, &row.rdata).ok_or_else(unchained)?;
    let (fixed, bitmap) = row.rdata.split_at(start);
    // What has a set with signatures has signatures (RFC 4034 §4.1.2); an empty non-terminal had none in its NSEC3
    // record.
    let has_any = types.iter().any(|(_, is_there)| *is_there);
    let signatures = has_any.then_some((RecordType::RRSIG, true));
    let changed = [fixed, &with_types(bitmap, types.iter().copied().chain(signatures))].concat();
    if changed == row.rdata {
        return Ok(());
    }
    row.rdata = changed;
    sign_set(touched, owner.as_name(), rtype, signing)?;
    Ok(())
}

/// Where the record is that says which types a name has, and of which type it is.
fn place_in_chain(zone: &Table, name: Name<'_>) -> Option<(NameBuf, RecordType)> {
    if !zone.flags().has(ImageFlags::NSEC3) {
        return Some((name.into(), RecordType::NSEC));
    }
    let (iterations, salt) = zone.nsec3_parameters();
    let mut lowered = NameBuf::from(name);
    lowered.make_lowercase(); // RFC 5155 §5
    let hash = nsec3_hash(lowered.as_name().as_wire(), salt, iterations);
    let label = to_base32hex(&hash).to_string();
    Some((NameBuf::child(label.as_bytes(), zone.apex_name()).ok()?, RecordType::NSEC3))
}

/// Where the type bit maps begin in the data of an NSEC or NSEC3 record.
fn types_start(rtype: RecordType, rdata: &[u8]) -> Option<usize> {
    let start = if rtype == RecordType::NSEC {
        Name::split_from(rdata).ok()?.0.len() // RFC 4034 §4.1
    } else {
        let salt_end = 5 + usize::from(*rdata.get(4)?); // RFC 5155 §3.2
        salt_end + 1 + usize::from(*rdata.get(salt_end)?)
    };
    (start <= rdata.len()).then_some(start)
}

/// Type bit maps (RFC 4034 §4.1.2) in which these types are listed, or are not.
fn with_types(bitmap: &[u8], types: impl Iterator<Item = (RecordType, bool)>) -> Vec<u8> {
    let mut windows: Vec<(u8, [u8; 32])> = Vec::new();
    let mut rest = bitmap;
    while let [window, len, after @ ..] = rest {
        let Some((octets, after)) = after.split_at_checked(usize::from(*len)).filter(|_| *len <= 32) else {
            break; // records with such a map are refused when a zone is read
        };
        let mut block = [0; 32];
        block[..octets.len()].copy_from_slice(octets);
        windows.push((*window, block));
        rest = after;
    }
    for (rtype, is_there) in types {
        let [window, low] = rtype.0.to_be_bytes();
        let at = windows.iter().position(|(known, _)| *known == window).unwrap_or_else(|| {
            windows.push((window, [0; 32]));
            windows.len() - 1
        });
        let (octet, bit) = (&mut windows[at].1[usize::from(low / 8)], 0x80 >> (low % 8));
        if is_there { *octet |= bit } else { *octet &= !bit }
    }
    windows.sort_unstable();
    let mut octets = Vec::with_capacity(bitmap.len() + 2);
    for (window, block) in windows {
        // Without zeros at the end, and not at all without a type.
        let len = block.iter().rposition(|octet| *octet != 0).map_or(0, |last| last + 1);
        if len > 0 {
            octets.extend([window, len as u8]); // at most 32
            octets.extend_from_slice(&block[..len]);
        }
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::master::rdata_from_text;
    use wire::Name;

    #[test]
    fn bit_maps_list_what_is_there() {
        let bitmap = |types: &str| {
            let rdata =
                rdata_from_text(RecordType::NSEC, format!(". {types}").as_bytes(), Name::ROOT).unwrap();
            rdata[types_start(RecordType::NSEC, &rdata).unwrap()..].to_vec()
        };
        let (a, aaaa) = (RecordType::A, RecordType::AAAA);
        for (before, changes, after) in [
            ("A RRSIG NSEC", &[(a, true), (aaaa, false)][..], "A RRSIG NSEC"),
            ("A RRSIG NSEC", &[(a, true), (aaaa, true)], "A AAAA RRSIG NSEC"),
            ("A RRSIG NSEC", &[(a, false), (aaaa, true)], "AAAA RRSIG NSEC"),
            ("A TYPE256 TYPE1234", &[(a, false)], "TYPE256 TYPE1234"),
            ("TYPE1234", &[(aaaa, true)], "AAAA TYPE1234"),
            ("A TYPE1234", &[(RecordType(1234), false)], "A"),
            ("", &[(a, true)], "A"),
            ("A", &[(a, false)], ""),
        ] {
            assert_eq!(with_types(&bitmap(before), changes.iter().copied()), bitmap(after), "{before}");
        }
    }
}
