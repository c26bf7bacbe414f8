use super::*;
use wire::RecordType;

const NOW: u64 = 1_700_000_000;

/// MACs of a request, of the answer to it, and of the same octets as the next message of a stream, with the key
/// `key.example.` and the secret 00 01 … 0f: computed with Python's `hmac` from the layout of RFC 8945 §4.3.
const VECTORS: [(Algorithm, [&str; 3]); 5] = [
    (
        Algorithm::Sha1,
        [
            "ed4fb8ba8fda74f152854973d2717f5b7cbb3cce",
            "5a075bb832fec55a3ebd20663493f883d23999f5",
            "4a0b4a240e78cb06a1506f4ae6d47ff63dca68a2",
        ],
    ),
    (
        Algorithm::Sha224,
        [
            "05b5cea5a4a6a60f04d40f7a548b32880c4629579a0d781f821b154d",
            "debb2afba4e2eaf9b4f9a8f4f4da2a147034a98e1bb293815adfa66f",
            "f119b77d8dd02628f8dbad612ff51628d2545787ccfecdba419897d3",
        ],
    ),
    (
        Algorithm::Sha256,
        [
            "4b6b2d581374040106bf84b12b92d2af1606d5516da39c8e63f7018f42059f99",
            "45a6156bebd570853eec770b4b77e5db60c00e0afa08e0a5d162ced3a9af6ebe",
            "9d1cd1e99e5511103c3bf892b6cf778917ecabd2e84c9721d1844a100818d211",
        ],
    ),
    (
        Algorithm::Sha384,
        [
            "945b79213e86c6d14881b6759e931cf0bd180d6e4fba6cd39268682434286a2afade2e66af6cf2cdbe282ed774537972",
            "f5c215606414a5846cb016ecc98c5381e989a99f132a3d4023f8d8ece08daec0f5f59256c3f4186d80484b51a52d2491",
            "c2ec7cda9d5000163706d33ee9f0d16633ece5980fef614ea0f8c3bf6e33094fc2999e7504fcfc9b749a63fbc524dfae",
        ],
    ),
    (
        Algorithm::Sha512,
        [
            "f27131196b5902caea86eb6209c0164fdf83cf000eb7aee4ba47d7cc493646b56cc47843d667407bb3881ab4dc99fb16\
             f7d5535084badef43c6d79743318eee0",
            "c8ce7bee6f4181354ff7d259ea7b9fc672e60f7663c48ca8def2bf2ab64a00c126a202e7f69b5ca36028e1fb8414920a\
             2f4214b3ce0179da6e2041f84415babd",
            "32a2d8c6ec761bfcf50d02344151f9c65aa63d58113dd3be7e005a3f3b5681ebb9fce489a1bf7b3c11010847842bfca8\
             b6d52440f68ef29342ae421503d85a38",
        ],
    ),
];

fn key_of(algorithm: Algorithm, secret_from: u8) -> Arc<Key> {
    let name = NameBuf::from_text(b"Key.example.", None).unwrap();
    let secret: Vec<u8> = (secret_from..secret_from + 16).collect();
    Arc::new(Key::new(name.as_name(), algorithm, &secret).unwrap())
}

fn keys() -> (Arc<Key>, Keys) {
    let key = key_of(Algorithm::Sha256, 0);
    (Arc::clone(&key), Keys::new(vec![key]))
}

fn query() -> Vec<u8> {
    let mut query = vec![0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    query.extend(b"\x07example\0\0\x06\0\x01");
    query
}

fn response() -> Vec<u8> {
    let mut response = query();
    response[2] = 0x84;
    response
}

fn mac_of(message: &[u8]) -> String {
    let tsig = find(message).unwrap().unwrap();
    tsig.mac.iter().map(|octet| format!("{octet:02x}")).collect()
}

#[test]
fn macs_are_those_of_another_implementation() {
    for (algorithm, expected) in VECTORS {
        let key = key_of(algorithm, 0);
        let mut request = query();
        let mut verifier = sign_request(&mut request, &key, NOW);
        let keys = Keys::new(vec![Arc::clone(&key)]);
        let authenticated = verify_request(&request, &keys, NOW).unwrap().unwrap();
        assert_eq!(authenticated.request, query());
        let mut signer = authenticated.signer();
        let mut messages = [response(), response()];
        for message in &mut messages {
            signer.sign(message, NOW);
            assert_eq!(message.len(), response().len() + signer.signature_len());
            assert_eq!(verifier.verify(message, NOW), Ok(response().len()));
        }
        verifier.finish().unwrap();
        let macs = [&request, &messages[0], &messages[1]].map(|message| mac_of(message));
        assert_eq!(macs, expected.map(str::to_owned), "{algorithm:?}");
        assert_eq!(request.len(), query().len() + signature_len(&key));
    }
}

#[test]
fn nothing_may_be_changed() {
    let (key, keys) = keys();
    let mut request = query();
    sign_request(&mut request, &key, NOW);
    assert!(is_signed(&request) && !is_signed(&query()));
    for at in 0..request.len() {
        let mut changed = request.clone();
        changed[at] ^= 1;
        // The identifier is that of the TSIG record; the letter case of the key's name doesn't count.
        let is_id = at < 2;
        let accepted = matches!(verify_request(&changed, &keys, NOW), Ok(Some(_)));
        assert_eq!(accepted, is_id, "octet {at}");
        let _any_octets_do = verify_request(&request[..at], &keys, NOW);
    }
}

fn refused(message: &[u8], keys: &Keys, now: u64) -> (ErrorCode, Vec<u8>) {
    match verify_request(message, keys, now) {
        Err(Rejected::Refused(code, response)) => (code, response),
        other => panic!("{other:?}"),
    }
}

#[test]
fn errors_are_told_as_the_rfc_has_it() {
    let (key, keys) = keys();
    let mut request = query();
    let verifier = sign_request(&mut request, &key, NOW);
    let check = |code: ErrorCode, response: &[u8], is_signed: bool| {
        let tsig = find(response).unwrap().unwrap();
        assert_eq!(response[..2], request[..2]);
        assert_eq!((u16_at(response, 2).unwrap() & 0x800f, tsig.error), (0x8009, code as u16));
        assert_eq!(!tsig.mac.is_empty(), is_signed);
    };
    let other = Keys::new(vec![key_of(Algorithm::Sha256, 1)]);
    let (code, response) = refused(&request, &other, NOW);
    check(ErrorCode::BadSig, &response, false);
    assert_eq!(code, ErrorCode::BadSig);
    for unknown in [Keys::default(), Keys::new(vec![key_of(Algorithm::Sha512, 0)])] {
        let (code, response) = refused(&request, &unknown, NOW);
        check(code, &response, false);
        assert_eq!(code, ErrorCode::BadKey);
    }
    for now in [NOW - 301, NOW + 301] {
        let (code, response) = refused(&request, &keys, now);
        check(code, &response, true);
        assert_eq!(code, ErrorCode::BadTime);
        assert_eq!(find(&response).unwrap().unwrap().other, time_octets(now));
        // The client can trust that, and learns why.
        let mut verifier =
            Verifier { mac: verifier.mac.clone(), key: Arc::clone(&key), unsigned: 0, is_first: true };
        assert_eq!(
            verifier.verify(&response, NOW),
            Err(Untrusted::RefusedForTime { theirs: now, ours: NOW })
        );
    }
    for now in [NOW - 300, NOW + 300] {
        assert!(verify_request(&request, &keys, now).unwrap().is_some());
    }
}

/// A request with its MAC cut to so many octets.
fn cut_to(len: usize, key: &Arc<Key>) -> Vec<u8> {
    let variables = Variables { time: NOW, fudge: FUDGE_S, error: 0, other: &[] };
    let mut mac = key.mac();
    mac.update(&query());
    variables.add(&mut mac, key);
    let mut request = query();
    append(&mut request, key.name(), key.algorithm().wire(), variables, &mac.finish()[..len]);
    request
}

#[test]
fn cut_macs_are_refused() {
    let (key, keys) = keys();
    assert!(verify_request(&cut_to(32, &key), &keys, NOW).unwrap().is_some());
    for len in [16, 31] {
        assert_eq!(refused(&cut_to(len, &key), &keys, NOW).0, ErrorCode::BadTrunc);
    }
    for len in [0, 9, 15] {
        assert_eq!(verify_request(&cut_to(len, &key), &keys, NOW).unwrap_err(), Rejected::Malformed);
    }
}

#[test]
fn a_record_out_of_place_is_malformed() {
    let (key, keys) = keys();
    let mut twice = query();
    sign_request(&mut twice, &key, NOW);
    sign_request(&mut twice, &key, NOW);
    assert_eq!(verify_request(&twice, &keys, NOW).unwrap_err(), Rejected::Malformed);
    let mut followed = query();
    sign_request(&mut followed, &key, NOW);
    followed[11] += 1;
    followed.extend([0, 0, RecordType::OPT.0 as u8, 4, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(verify_request(&followed, &keys, NOW).unwrap_err(), Rejected::Malformed);
    assert!(verify_request(&query(), &keys, NOW).unwrap().is_none());
}

/// What a server does that signs every Nth message of a stream.
fn stream(signed: &[bool]) -> (Vec<Vec<u8>>, Verifier) {
    let key = key_of(Algorithm::Sha256, 0);
    let mut request = query();
    let verifier = sign_request(&mut request, &key, NOW);
    let mut before = find(&request).unwrap().unwrap().mac.to_vec();
    let mut pending: Vec<u8> = Vec::new();
    let mut messages = Vec::new();
    for (index, is_signed) in signed.iter().enumerate() {
        let mut message = response();
        message[1] = index as u8;
        if *is_signed {
            let variables = Variables { time: NOW, fudge: FUDGE_S, error: 0, other: &[] };
            let mut mac = key.mac();
            add_mac(&mut mac, &before);
            mac.update(&pending);
            mac.update(&message);
            if index == 0 {
                variables.add(&mut mac, &key)
            } else {
                variables.add_timers(&mut mac)
            }
            before = mac.finish();
            append(&mut message, key.name(), key.algorithm().wire(), variables, &before);
            pending.clear();
        } else {
            pending.extend_from_slice(&message);
        }
        messages.push(message);
    }
    (messages, verifier)
}

fn run(messages: &[Vec<u8>], verifier: &mut Verifier) -> Result<(), Untrusted> {
    for message in messages {
        verifier.verify(message, NOW)?;
    }
    verifier.finish()
}

#[test]
fn messages_in_between_may_be_unsigned() {
    let with_gap = |gap: usize| [vec![true], vec![false; gap], vec![true, true]].concat();
    for gap in [0, 1, 98, 99] {
        let (messages, mut verifier) = stream(&with_gap(gap));
        assert_eq!(run(&messages, &mut verifier), Ok(()), "{gap}");
    }
    let (messages, mut verifier) = stream(&with_gap(100));
    assert_eq!(run(&messages, &mut verifier), Err(Untrusted::TooManyUnsigned));
    let (messages, mut verifier) = stream(&[true, false]);
    assert_eq!(run(&messages, &mut verifier), Err(Untrusted::Unsigned), "the last is signed");
    let (messages, mut verifier) = stream(&[false, true]);
    assert_eq!(run(&messages, &mut verifier), Err(Untrusted::Unsigned), "the first is signed");
    let (mut messages, mut verifier) = stream(&with_gap(3));
    messages[2][1] ^= 0x40;
    assert_eq!(run(&messages, &mut verifier), Err(Untrusted::BadSig), "a change in what is unsigned");
    let (mut messages, mut verifier) = stream(&with_gap(3));
    messages.remove(2);
    assert_eq!(run(&messages, &mut verifier), Err(Untrusted::BadSig), "one is missing");
    let (messages, mut verifier) = stream(&with_gap(0));
    verifier.verify(&messages[0], NOW).unwrap();
    assert_eq!(
        verifier.verify(&messages[1], NOW + 301),
        Err(Untrusted::BadTime { signed: NOW, now: NOW + 301 })
    );
}
