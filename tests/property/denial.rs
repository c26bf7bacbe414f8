//! Every answer of a signed zone carries the proofs that a validator needs, and they are consistent.

use crate::config;
use crate::serving::{Dnssec, ask, serve};
use crate::signing::{Denial, OptOut};
use crate::validator::Validator;
use crate::zones::{Question, RandomZone, from_text, question, questions, signed};
use nameserver::Transport;
use proptest::prelude::*;
use starling_tests::message::TC;
use wire::{NameBuf, RecordType};

proptest! {
    #![proptest_config(config(1500))]

    #[test]
    fn every_answer_of_a_signed_zone_proves_itself(zone in signed(), asked in questions(40)) {
        let asked: Vec<Question> =
            asked.iter().map(|asked| question(&zone, asked)).chain(near_owners(&zone)).collect();
        prove(&zone, &asked)?;
    }
}

fn prove(zone: &RandomZone, asked: &[Question]) -> Result<(), TestCaseError> {
    let mut responder = serve(zone);
    let validator = Validator::new(zone);
    for question in asked {
        for transport in [Transport::Udp, Transport::Tcp] {
            let got = ask(&mut responder, question, transport, Dnssec::Wanted);
            if got.has(TC) {
                prop_assert!(transport == Transport::Udp, "truncated over TCP");
                continue;
            }
            if let Err(fault) = validator.check(question, &got) {
                prop_assert!(false, "{:?} {transport:?}: {fault}\n{got}", question);
            }
        }
    }
    Ok(())
}

/// Zones that random ones hit once in some hundreds, with the question that was answered without its proof.
#[test]
fn rare_proofs() {
    let nsec3 = |opt_out| Denial::Nsec3 { iterations: 0, salt: vec![], opt_out };
    let cases = [
        // The NSEC record of a DNAME's owner denies the target: two sets of one name, both needed.
        ("b DNAME c", Denial::Nsec, "x.b.z."),
        ("b DNAME c", nsec3(OptOut::Off), "x.b.z."),
        // The wildcard that stands in is an empty non-terminal above nothing but an insecure delegation.
        ("a.*.b NS x.\na CNAME x.", nsec3(OptOut::On), "a.b.z."),
        // The encloser that can be proved has a wildcard, though not for this name; it has opted out as well.
        ("a.* NS x.\nb.a A 192.0.2.1\na.c NS x.", nsec3(OptOut::On), "b.c.z."),
        // The record that covers the name is the wildcard's own.
        ("* CNAME x.\nb NS x.", nsec3(OptOut::On), "b.z."),
    ];
    for (records, denial, name) in cases {
        let text = format!("$TTL 60\n@ SOA n h 1 2 3 4 5\n@ NS n\n{records}\n");
        let zone = from_text("z.", &text, denial);
        let name = NameBuf::from_text(name.as_bytes(), None).expect("a name of this test");
        let types = [RecordType::A, RecordType::DS];
        let asked = types.map(|rtype| Question { name: name.clone(), rtype });
        prove(&zone, &asked).unwrap_or_else(|fault| panic!("{fault}\n{zone:?}"));
    }
}

/// What the zone's own names don't have, and names right below them.
fn near_owners(zone: &RandomZone) -> Vec<Question> {
    let is_name = |rtype: RecordType| ![RecordType::RRSIG, RecordType::NSEC3].contains(&rtype);
    let owners = zone.records.iter().filter(|record| is_name(record.rtype)).map(|record| &record.owner);
    let mut names: Vec<NameBuf> = owners.cloned().collect();
    names.dedup();
    let below: Vec<NameBuf> =
        names.iter().filter_map(|name| NameBuf::child(b"ab", name.as_name()).ok()).collect();
    names.extend(below);
    let types = [RecordType::A, RecordType::DS, RecordType(65_280)];
    names.into_iter().flat_map(|name| types.map(|rtype| Question { name: name.clone(), rtype })).collect()
}
