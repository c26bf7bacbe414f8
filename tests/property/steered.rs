//! Names of signed zones that answer with something else than the zone says: signed anew where they have to be, and
//! proved.

use crate::config;
use crate::serving::{Dnssec, ask, serve_table};
use crate::signing::{Denial, Record, compile, sign};
use crate::validator::Validator;
use crate::zones::{Question, RandomZone, question, questions, small_steps};
use nameserver::Transport;
use proptest::prelude::*;
use ring::signature::{ED25519, UnparsedPublicKey};
use std::collections::BTreeMap;
use std::sync::Arc;
use table::{Table, Walk};
use wire::{NameBuf, RecordType};
use zone::amend::{AmendError, Reason, SteerError, Steered, amend, steer};
use zone::sign::{PrivateKey, Signer};

/// The first example of RFC 8080 §6.1.
const PRIVATE: &[u8] = b"Private-key-format: v1.2\nAlgorithm: 15 (ED25519)\nPrivateKey: \
                         ODIyNjAzODQ2MjgwODAxMjI2NDUxOTAyMDQxNDIyNjI=\n";
const PUBLIC: &[u8] = b"257 3 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=";
const NOW: u64 = 1_800_000_000;

proptest! {
    #![proptest_config(config(1500))]

    #[test]
    fn steered_names_of_signed_zones_prove_themselves(
        versions in small_steps(2),
        sought in questions(3),
        counts in prop::array::uniform3(0u8..4),
        asked in questions(20),
    ) {
        let versions: Vec<RandomZone> =
            versions.iter().filter(|zone| zone.denial != Denial::Unsigned).map(with_key).collect();
        let Some(mut zone) = versions.first() else { return Ok(()) };
        let mut table = Arc::new(compile(zone.apex.as_name(), &zone.records));
        if let Some(next) = versions.get(1)
            && let Ok(amended) = amend(&table, &[crate::amend::difference(zone, next)])
        {
            (table, zone) = (Arc::new(amended), next);
        }
        let steered: Vec<Steered> = sought
            .iter()
            .zip(counts)
            .map(|(sought, count)| crate::amend::addresses(question(zone, sought).name, count))
            .map(|mut steered| {
                steered.rdata.reverse(); // not as they are signed
                steered
            })
            .collect();
        let expected = steered_zone(zone, &steered);
        let key = PrivateKey::from_text("a key", PRIVATE).expect("a key");
        let mut signer = Signer::new([key].into(), 86_400);
        match steer(&table, &steered, Some((&mut signer, NOW))) {
            Ok(over) => {
                let over = Arc::new(over);
                prop_assert!(Arc::ptr_eq(over.version(), &table));
                let fault = compare(&over, &expected, &steered).and_then(|()| {
                    let owners = steered.iter().flat_map(|it| {
                        let types = [RecordType::A, RecordType::AAAA, RecordType::MX];
                        types.map(|rtype| Question { name: it.owner.clone(), rtype })
                    });
                    prove(&over, &expected, asked.iter().map(|asked| question(zone, asked)).chain(owners))
                });
                fault.map_err(|fault| TestCaseError::fail(format!("{fault}\n{steered:?}\n{zone:?}")))?;
            }
            Err(SteerError::Unchained(name)) => {
                // It has a record in the chain exactly where the zone has the name, or opt-out has not left it out.
                let has_records = zone.records.iter().any(|record| record.owner == *name);
                prop_assert!(!has_records, "{name} {zone:?}");
            }
            Err(SteerError::Bare(name)) => {
                let is_left = |record: &Record| record.owner == *name && !is_proof(record);
                prop_assert!(!expected.records.iter().any(is_left));
            }
            Err(SteerError::Elsewhere(_) | SteerError::Wrong(AmendError::Recompile(Reason::Errors))) => {}
            Err(error) => return Err(TestCaseError::fail(format!("{error}\n{steered:?}\n{zone:?}"))),
        }
    }
}

fn is_proof(record: &Record) -> bool {
    [RecordType::RRSIG, RecordType::NSEC, RecordType::NSEC3].contains(&record.rtype)
}

/// The zone with the key at its apex, signed again.
fn with_key(zone: &RandomZone) -> RandomZone {
    let rdata = zone::master::rdata_from_text(RecordType::DNSKEY, PUBLIC, wire::Name::ROOT).expect("a key");
    let key = Record { owner: zone.apex.clone(), rtype: RecordType::DNSKEY, ttl: 300, rdata };
    signed_again(zone, |records| records.push(key))
}

/// The zone, were what names answer in it.
fn steered_zone(zone: &RandomZone, steered: &[Steered]) -> RandomZone {
    signed_again(zone, |records| {
        for Steered { owner, rtype, ttl, rdata, .. } in steered {
            records.retain(|record| (&record.owner, record.rtype) != (owner, *rtype));
            records.extend(rdata.iter().map(|rdata| Record {
                owner: owner.clone(),
                ttl: *ttl,
                rtype: *rtype,
                rdata: rdata.clone(),
            }));
        }
    })
}

fn signed_again(zone: &RandomZone, change: impl FnOnce(&mut Vec<Record>)) -> RandomZone {
    let mut zone = zone.clone();
    zone.records.retain(|record| !is_proof(record) && record.rtype != RecordType::NSEC3PARAM);
    change(&mut zone.records);
    sign(zone.apex.as_name(), &mut zone.records, &zone.denial);
    zone
}

/// A set: its TTL and data, in order.
type Set = (u32, Vec<Vec<u8>>);
/// Sets by name and type.
type Sets = BTreeMap<(Vec<u8>, u16), Set>;

/// All sets of a table, and the signatures over each.
fn sets(table: &Arc<Table>) -> (Sets, Sets) {
    let (mut sets, mut signatures) = (Sets::new(), Sets::new());
    let mut walk = Walk::new(Arc::clone(table));
    while let Some(record) = walk.next_record().expect("good pointers") {
        let owner = record.owner.as_wire().to_vec();
        let (of, rtype) = match record.rtype {
            RecordType::RRSIG => (&mut signatures, u16::from_be_bytes([record.rdata[0], record.rdata[1]])),
            rtype => (&mut sets, rtype.0),
        };
        let set = of.entry((owner, rtype)).or_insert_with(|| (record.ttl, Vec::new()));
        set.1.push(record.rdata.to_vec());
    }
    sets.values_mut().for_each(|(_, rdata)| rdata.sort());
    (sets, signatures)
}

/// The records are those of the zone, and what is other than in the version below is signed anew, by the key.
fn compare(over: &Arc<Table>, expected: &RandomZone, steered: &[Steered]) -> Result<(), String> {
    let whole = Arc::new(compile(expected.apex.as_name(), &expected.records));
    let ((found, signatures), (wanted, of_wanted)) = (sets(over), sets(&whole));
    let (before, _) = sets(over.version());
    if found != wanted {
        return Err(format!("{found:02x?}\nis not\n{wanted:02x?}"));
    }
    if signatures.keys().ne(of_wanted.keys()) {
        return Err(format!("{:02x?}\nare signed, and not\n{:02x?}", signatures.keys(), of_wanted.keys()));
    }
    for (key, (ttl, all)) in &signatures {
        let [rrsig] = all.as_slice() else { return Err(format!("{} signatures over {key:02x?}", all.len())) };
        let set = &found[key];
        let is_steered =
            steered.iter().any(|it| (it.owner.as_name().as_wire(), it.rtype.0) == (&key.0, key.1));
        // The signatures of the zone itself have another algorithm here.
        let is_new = rrsig[2] == 15;
        if is_new != (is_steered || before.get(key) != Some(set)) {
            return Err(format!("{key:02x?} has a signature of the other kind: {rrsig:02x?}"));
        }
        if (*ttl, &rrsig[4..8]) != (set.0, &set.0.to_be_bytes()) {
            return Err(format!("{key:02x?}: the TTL of {rrsig:02x?} is not {}", set.0));
        }
        if is_new && !verifies(key, set, rrsig, expected.apex.as_name().as_wire()) {
            return Err(format!("the signature over {key:02x?} is no good: {rrsig:02x?}"));
        }
    }
    Ok(())
}

/// Whether the signature is one of the set (RFC 4034 §3.1.8.1). Nothing that is signed here has names that would have
/// to be in lower case.
fn verifies((owner, rtype): &(Vec<u8>, u16), (ttl, all): &Set, rrsig: &[u8], apex: &[u8]) -> bool {
    let (fixed, signature) = rrsig.split_at(18 + apex.len());
    let labels = |wire: &[u8]| {
        let mut at = 0;
        std::iter::from_fn(|| {
            let len = wire[at];
            at += 1 + usize::from(len);
            (len > 0).then_some(())
        })
        .count()
    };
    let expected = labels(owner) - usize::from(owner.starts_with(b"\x01*"));
    let mut message = fixed.to_vec();
    for rdata in all {
        message.extend_from_slice(owner);
        message.extend(rtype.to_be_bytes());
        message.extend([0, 1]);
        message.extend(ttl.to_be_bytes());
        message.extend((rdata.len() as u16).to_be_bytes());
        message.extend_from_slice(rdata);
    }
    let public = zone::master::rdata_from_text(RecordType::DNSKEY, PUBLIC, wire::Name::ROOT).expect("a key");
    let key = UnparsedPublicKey::new(&ED25519, &public[4..]);
    // The day that it is good for, and the hour before.
    let times = [(NOW as u32 + 86_400).to_be_bytes(), (NOW as u32 - 3600).to_be_bytes()].concat();
    usize::from(rrsig[3]) == expected
        && rrsig[8..16] == times
        && rrsig[16..18] == 3613u16.to_be_bytes()
        && rrsig[18..].starts_with(apex)
        && key.verify(&message, signature).is_ok()
}

fn prove(
    over: &Arc<Table>,
    expected: &RandomZone,
    asked: impl Iterator<Item = Question>,
) -> Result<(), String> {
    let mut responder = serve_table(Arc::clone(over));
    let validator = Validator::new(expected);
    for question in asked {
        let got = ask(&mut responder, &question, Transport::Tcp, Dnssec::Wanted);
        validator.check(&question, &got).map_err(|fault| format!("{question:?}: {fault}\n{got}"))?;
    }
    Ok(())
}

/// A name as the zone has it in its chain.
#[test]
fn what_the_chain_does_not_have_is_refused_and_names_what_to_do() {
    let text = "$TTL 60\n@ SOA n h 1 2 3 4 5\n@ NS n\na.b A 192.0.2.1\n";
    let nsec3 = Denial::Nsec3 { iterations: 1, salt: vec![1], opt_out: crate::signing::OptOut::Off };
    for (denial, name, is_there) in [
        (Denial::Nsec, "a.b.z.", true),
        (Denial::Nsec, "b.z.", false),
        (Denial::Nsec, "c.z.", false),
        (nsec3.clone(), "a.b.z.", true),
        (nsec3.clone(), "b.z.", true), // an empty non-terminal has a record there (RFC 5155 §7.1)
        (nsec3, "c.z.", false),
    ] {
        let zone = with_key(&crate::zones::from_text("z.", text, denial));
        let table = Arc::new(compile(zone.apex.as_name(), &zone.records));
        let owner = NameBuf::from_text(name.as_bytes(), None).expect("a name");
        let rdata = vec![vec![192, 0, 2, 7]];
        let steered = [Steered { owner, rtype: RecordType::A, ttl: 5, rdata, choice: None }];
        let key = PrivateKey::from_text("a key", PRIVATE).expect("a key");
        let mut signer = Signer::new([key].into(), 86_400);
        let over = steer(&table, &steered, Some((&mut signer, NOW)));
        assert_eq!(over.is_ok(), is_there, "{name}: {:?}", over.err());
        if let Err(error) = over {
            assert!(error.to_string().contains(&format!("add {name} to the zone")), "{error}");
        } else {
            compare(&Arc::new(over.expect("it is")), &steered_zone(&zone, &steered), &steered)
                .expect("all is well");
        }
        assert!(matches!(steer(&table, &steered, None), Err(SteerError::Signed)));
    }
}
