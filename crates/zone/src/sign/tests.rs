//! The examples of the RFCs, and what a signer does as time passes and keys change.

use super::*;
use crate::compile::{CompileOptions, compile};
use crate::master::{NoIncludes, Options, parse, rdata_from_text};
use crate::rdata;
use crate::records::Gatherer;
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

const A_WEEK: u32 = 7 * 86_400;

/// The first example of RFC 8080 §6.1.
const ED25519: (&str, &str) = (
    "15 (ED25519)\nPrivateKey: ODIyNjAzODQ2MjgwODAxMjI2NDUxOTAyMDQxNDIyNjI=",
    "15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=",
);
/// The second.
const OTHER_ED25519: (&str, &str) = (
    "15 (ED25519)\nPrivateKey: DSSF3o0s0f+ElWzj9E/Osxw8hLpk55chkmx0LYN5WiY=",
    "15 zPnZ/QwEe7S8C5SPz2OfS5RR40ATk2/rYnE9xHIEijs=",
);
/// The example of RFC 6605 §6.1.
const P256: (&str, &str) = (
    "13 (ECDSAP256SHA256)\nPrivateKey: GU6SnQ/Ou+xC5RumuIUIuJZteXT2z0O/ok1s38Et6mQ=",
    "13 GojIhhXUN/u4v54ZQqGSnyhWJwaubCvTmeexv7bR6edbkrSqQpF64cYbcB7wNcP+e+MAnLr+Wi9xMWyQLc8NAA==",
);

fn private(name: &str, (key, _): (&str, &str)) -> PrivateKey {
    PrivateKey::from_text(name, format!("Private-key-format: v1.2\nAlgorithm: {key}\n").as_bytes()).unwrap()
}

/// A zone with these DNSKEY records: flags, and what follows the protocol.
fn zone(apex: &str, keys: &[(u16, &str)]) -> Table {
    let mut text = "@ SOA ns h 1 7200 3600 1209600 300\n@ NS ns\nns A 192.0.2.1\n".to_owned();
    keys.iter().for_each(|(flags, key)| text += &format!("@ DNSKEY {flags} 3 {key}\n"));
    let apex = NameBuf::from_text(apex.as_bytes(), None).unwrap();
    let mut gatherer = Gatherer::new(apex.as_name(), text.len());
    let options = Options { default_ttl: Some(3600), ..Options::new(apex.as_name(), "text") };
    let report = parse(text.as_bytes(), &options, &mut NoIncludes, &mut gatherer);
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    compile(gatherer.finish().unwrap(), &CompileOptions::default()).unwrap()
}

fn signer(keys: &[PrivateKey]) -> Signer {
    Signer::new(keys.into(), A_WEEK)
}

fn sign(signing: &mut Signing<'_>, owner: &str, ttl: u32, rtype: RecordType, texts: &[&str]) -> Signatures {
    let owner = NameBuf::from_text(owner.as_bytes(), None).unwrap();
    let rdata: Vec<Vec<u8>> =
        texts.iter().map(|text| rdata_from_text(rtype, text.as_bytes(), Name::ROOT).unwrap()).collect();
    signing.sign(owner.as_name(), rtype, ttl, rdata.iter().map(Vec::as_slice)).unwrap()
}

fn shown(signatures: &Signatures) -> Vec<String> {
    signatures.iter().map(|rdata| rdata::display(RecordType::RRSIG, rdata).to_string()).collect()
}

#[test]
fn ed25519_signs_as_rfc_8080_section_6_1_shows() {
    for (key, tag, signature) in [
        (
            ED25519,
            3613,
            "oL9krJun7xfBOIWcGHi7mag5/hdZrKWw15jPGrHpjQeRAvTdszaPD+QLs3fx8A4M3e23mRZ9VrbpMngwcrqNAg==",
        ),
        (
            OTHER_ED25519,
            35217,
            "zXQ0bkYgQTEFyfLyi9QoiY6D8ZdYo4wyUhVioYZXFdT410QPRITQSqJSnzQoSm5poJ7gD7AQR0O7KuI5k2pcBg==",
        ),
    ] {
        // An hour after 2015-07-29 22:00, and what is left until 2015-08-19 22:00 then.
        let mut signer = Signer::new([private("a key", key)].into(), 1_440_021_600 - 1_438_210_800);
        let zone = zone("example.com.", &[(257, key.1)]);
        let mut signing = signer.begin(&zone, 1_438_210_800).unwrap();
        // Capitals are no part of the canonical form.
        let made = sign(&mut signing, "EXAMPLE.com.", 3600, RecordType::MX, &["10 Mail.example.com."]);
        let expected = format!("MX 15 2 3600 20150819220000 20150729220000 {tag} example.com. {signature}");
        assert_eq!(shown(&made), [expected]);
    }
}

#[test]
fn what_is_signed_is_what_rfc_6605_section_6_1_has_signed() {
    let signature =
        "qx6wLYqmh+l9oCKTN6qIc+bw6ya+KJ8oMz0YP107epXAyGmt+3SNruPFKG7tZoLBLlUzGGus7ZwmwWep666VCw==";
    let rfc = format!("A 13 3 3600 20100909100439 20100812100439 55648 example.net. {signature}");
    let rfc = rdata_from_text(RecordType::RRSIG, rfc.as_bytes(), Name::ROOT).unwrap();
    let owner = NameBuf::from_text(b"www.example.net.", None).unwrap();
    let set = CanonicalSet::new(owner.as_name(), RecordType::A, 3600, [&[192, 0, 2, 1][..]].into_iter());
    let point = [&[4], &*rdata::base64(P256.1.strip_prefix("13 ").unwrap().as_bytes()).unwrap()].concat();
    let is_good = |rrsig: &[u8]| {
        let (fixed, signature) = rrsig.split_at(rrsig.len() - 64);
        let message = [fixed, set.octets()].concat();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point).verify(&message, signature).is_ok()
    };
    assert!(is_good(&rfc), "that of the RFC");
    // Its numbers are random, so that ours is another one.
    let mut signer = signer(&[private("a key", P256)]);
    let zone = zone("example.net.", &[(257, P256.1)]);
    let mut signing = signer.begin(&zone, 1_281_607_479 + 3600).unwrap();
    let made = sign(&mut signing, "www.example.net.", 3600, RecordType::A, &["192.0.2.1"]);
    assert_eq!(made[0][..8], rfc[..8]);
    assert_eq!(made[0][12..18], rfc[12..18], "inception and key tag");
    assert!(is_good(&made[0]));
    let mut forged = made[0].clone();
    forged[4] ^= 1; // the original TTL
    assert!(!is_good(&forged));
}

#[test]
fn what_a_wildcard_stands_for_has_fewer_labels() {
    let mut signer = signer(&[private("a key", ED25519)]);
    let zone = zone("example.com.", &[(256, ED25519.1)]);
    let mut signing = signer.begin(&zone, 1_000_000).unwrap();
    for (owner, labels) in [("*.a.example.com.", 3), ("a.*.example.com.", 4), ("*.example.com.", 2)] {
        let made = sign(&mut signing, owner, 30, RecordType::A, &["192.0.2.1"]);
        assert_eq!(made[0][3], labels, "{owner}");
    }
}

#[test]
fn a_set_that_comes_again_has_its_signature_until_half_of_its_time_is_over() {
    let mut signer = signer(&[private("a key", P256)]);
    let zone = zone("example.com.", &[(256, P256.1)]);
    let start = 1_700_000_000;
    let half = u64::from(A_WEEK) / 2;
    let mut at = |now: u64, addresses: &[&str]| {
        let mut signing = signer.begin(&zone, now).unwrap();
        let made = sign(&mut signing, "www.example.com.", 30, RecordType::A, addresses);
        (made, signer.fresh().cloned().unwrap())
    };
    let (first, fresh) = at(start, &["192.0.2.1", "192.0.2.2"]);
    assert_eq!(fresh, start..start + half);
    let (other, _) = at(start + 1, &["192.0.2.2"]);
    assert_ne!(first, other);
    // In any order.
    assert_eq!(at(start + half - 1, &["192.0.2.2", "192.0.2.1"]), (Arc::clone(&first), start..start + half));
    let (renewed, fresh) = at(start + half, &["192.0.2.1", "192.0.2.2"]);
    assert_ne!(renewed, first);
    assert_eq!(fresh, start + half..start + half + half);
    // A clock that was wrong and is set back: the signature might begin in the future.
    let (_, fresh) = at(start - 86_400, &["192.0.2.1", "192.0.2.2"]);
    assert_eq!(fresh, start - 86_400..start - 86_400 + half);
    // Of several sets it is the time in which all are.
    let mut signing = signer.begin(&zone, start).unwrap();
    sign(&mut signing, "a.example.com.", 30, RecordType::A, &["192.0.2.1"]);
    let mut signing = signer.begin(&zone, start + 100).unwrap();
    sign(&mut signing, "a.example.com.", 30, RecordType::A, &["192.0.2.1"]);
    sign(&mut signing, "b.example.com.", 30, RecordType::A, &["192.0.2.1"]);
    assert_eq!(signer.fresh(), Some(&(start + 100..start + half)));
    assert!(signer.begin(&zone, start).is_ok());
    assert_eq!(signer.fresh(), None);
}

#[test]
fn the_zone_says_which_keys_sign() {
    let both = [private("one", ED25519), private("two", P256)];
    let tags = |signer: &mut Signer, zone: &Table| -> Result<Vec<u16>, SignError> {
        let mut signing = signer.begin(zone, 1_000_000)?;
        let made = sign(&mut signing, "www.example.com.", 30, RecordType::A, &["192.0.2.1"]);
        Ok(made.iter().map(|rdata| u16::from_be_bytes([rdata[16], rdata[17]])).collect())
    };
    let of = |keys: &[(u16, &str)]| zone("example.com.", keys);
    let signer = &mut signer(&both);
    assert_eq!(tags(signer, &of(&[(256, ED25519.1)])), Ok(vec![3612]));
    assert_eq!(signer.idle().to_string(), "two is not in it");
    assert_eq!(tags(signer, &of(&[(256, ED25519.1), (257, P256.1)])), Ok(vec![3612, 55648]));
    assert_eq!(signer.idle().iter().count(), 0);
    // Not the tag makes a key, but what is in it.
    let error = tags(signer, &of(&[(256, OTHER_ED25519.1)])).unwrap_err();
    assert_eq!(error, SignError::NoKey(signer.idle().clone()));
    assert!(error.to_string().contains("(one is not in it, two is not in it)"), "{error}");
    let error = tags(signer, &of(&[(257 | 128, ED25519.1), (0, P256.1)])).unwrap_err();
    assert!(error.to_string().contains("(one is revoked there, two has no ZONE flag there)"), "{error}");
    assert!(matches!(tags(signer, &of(&[])), Err(SignError::NoKey(_))));
    // A key of an algorithm that nobody here has.
    let rsa = (256, "8 AwEAAcw=");
    assert_eq!(tags(signer, &of(&[(256, ED25519.1), rsa])), Err(SignError::Algorithm(8)));
    assert_eq!(tags(signer, &of(&[(256, ED25519.1), (384, rsa.1)])), Ok(vec![3612]), "it is revoked");
    assert_eq!(tags(signer, &of(&[(256, P256.1)])), Ok(vec![55647]));
}

#[test]
fn what_is_kept_has_a_bound() {
    let mut signer = signer(&[private("a key", ED25519)]);
    let zone = zone("example.com.", &[(256, ED25519.1)]);
    for ttl in 0..3 * KEPT_MIN as u32 {
        let mut signing = signer.begin(&zone, 1_700_000_000).unwrap();
        sign(&mut signing, "www.example.com.", ttl, RecordType::A, &["192.0.2.1"]);
        sign(&mut signing, "www.example.com.", 7, RecordType::AAAA, &["2001:db8::1"]);
        assert!(signer.kept.len() <= KEPT_MIN + 2, "{}", signer.kept.len());
    }
    assert!(signer.kept.len() > 2, "they are thrown away together");
    // And those that are too old go sooner.
    assert!(signer.begin(&zone, 1_800_000_000).is_ok());
    assert_eq!(signer.kept.len(), 0);
}
