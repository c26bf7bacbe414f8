//! Names: reading, folding, comparing and ordering against the plainest code that does the same.

use crate::config;
use proptest::prelude::*;
use std::cmp::Ordering;
use table::sort_prefix;
use wire::{FoldedName, Name, NameBuf};

/// Labels of few octets, which collide; with the octets that sort oddly.
fn labels() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let octet = prop_oneof![
        4 => prop::sample::select(&b"abAB"[..]),
        3 => prop::sample::select(&[0u8, 1, 2, b'*', b'.', b'-', b'Z', b'[', b'`', b'{', 0x7f, 0xff][..]),
        1 => any::<u8>(),
    ];
    let label = prop_oneof![
        6 => prop::collection::vec(octet.clone(), 1..=3),
        1 => prop::collection::vec(octet, 1..=63),
    ];
    prop::collection::vec(label, 0..=6).prop_map(|mut labels| {
        while labels.iter().map(|label| label.len() + 1).sum::<usize>() > 254 {
            labels.pop();
        }
        labels
    })
}

fn wire(labels: &[Vec<u8>]) -> Vec<u8> {
    let mut wire: Vec<u8> =
        labels.iter().flat_map(|label| [&[label.len() as u8], label.as_slice()].concat()).collect();
    wire.push(0);
    wire
}

fn lower(labels: &[Vec<u8>]) -> Vec<Vec<u8>> {
    labels.iter().map(|label| label.to_ascii_lowercase()).collect()
}

/// RFC 4034 §6.1, as a comparison of lists of labels from the right.
fn canonical(a: &[Vec<u8>], b: &[Vec<u8>]) -> Ordering {
    let key = |labels: &[Vec<u8>]| lower(labels).into_iter().rev().collect::<Vec<_>>();
    key(a).cmp(&key(b))
}

proptest! {
    #![proptest_config(config(4000))]

    #[test]
    fn a_name_is_its_labels(labels in labels()) {
        let wire = wire(&labels);
        let name = Name::from_wire(&wire).expect("well-formed");
        prop_assert_eq!(name.labels().map(<[u8]>::to_vec).collect::<Vec<_>>(), labels.clone());
        prop_assert_eq!(name.label_count(), labels.len());
        for count in 0..=labels.len() {
            let tail = self::wire(&labels[labels.len() - count..]);
            prop_assert_eq!(name.suffix(count).as_wire(), tail.as_slice());
            prop_assert!(name.is_at_or_below(Name::from_wire(&tail).expect("a tail is a name")));
        }
    }

    #[test]
    fn a_name_survives_its_presentation(labels in labels()) {
        let wire = wire(&labels);
        let name = Name::from_wire(&wire).expect("well-formed");
        let again = NameBuf::from_text(name.to_string().as_bytes(), None);
        prop_assert_eq!(again.as_ref().map(|name| name.as_name().as_wire()), Ok(wire.as_slice()));
    }

    #[test]
    fn relation_is_that_of_the_labels(a in labels(), b in labels()) {
        let (a_wire, b_wire) = (wire(&a), wire(&b));
        let (a_name, b_name) = (Name::from_wire(&a_wire).expect("a name"), Name::from_wire(&b_wire).expect("a name"));
        let ends_with = lower(&a).ends_with(&lower(&b));
        prop_assert_eq!(a_name.is_at_or_below(b_name), ends_with);
        prop_assert_eq!(a_name.is_below(b_name), ends_with && a.len() > b.len());
        prop_assert_eq!(a_name.eq_ignore_case(b_name), lower(&a) == lower(&b));
        prop_assert_eq!(a_name.canonical_cmp(b_name), canonical(&a, &b));
    }

    #[test]
    fn sort_prefixes_never_contradict_the_order(a in labels(), b in labels()) {
        let prefix = |labels: &[Vec<u8>]| {
            let wire = wire(&lower(labels));
            sort_prefix(&wire[..wire.len() - 1])
        };
        match prefix(&a).cmp(&prefix(&b)) {
            // Equal prefixes that end in the padding are whole keys.
            Ordering::Equal if prefix(&a) & 0xffff == 0 => prop_assert_eq!(canonical(&a, &b), Ordering::Equal),
            Ordering::Equal => {}
            order => prop_assert_eq!(canonical(&a, &b), order),
        }
    }

    #[test]
    fn folding_keeps_all_but_case(labels in labels(), before in prop::collection::vec(any::<u8>(), 0..20), after in prop::collection::vec(any::<u8>(), 0..20)) {
        let name = wire(&labels);
        let message = [before.as_slice(), &name, &after].concat();
        let mut folded = FoldedName::default();
        // What stood in it before must not matter.
        folded.set(Name::from_wire(b"\x03zzz\x07zzzzzzz\0").expect("a name"));
        prop_assert_eq!(folded.read(&message, before.len()), Ok(before.len() + name.len()));
        prop_assert_eq!(folded.as_wire(), wire(&lower(&labels)));
        prop_assert_eq!(folded.label_count(), labels.len());
        let mut at = 0;
        for (index, label) in labels.iter().enumerate() {
            prop_assert_eq!(folded.label_start(index), at);
            at += 1 + label.len();
        }
        prop_assert_eq!(folded.label_start(labels.len()), at);
    }

    #[test]
    fn both_readers_accept_the_same_octets(octets in prop::collection::vec(prop_oneof![3 => 0..8u8, 1 => any::<u8>()], 0..300)) {
        let mut folded = FoldedName::default();
        let split = Name::split_from(&octets).map(|(name, _)| name.len());
        prop_assert_eq!(folded.read(&octets, 0), split);
    }

    #[test]
    fn compressed_names_are_followed_or_refused(octets in prop::collection::vec(prop_oneof![4 => 0..8u8, 1 => Just(0xc0u8), 1 => any::<u8>()], 1..80), at in any::<prop::sample::Index>()) {
        let at = at.index(octets.len());
        let mut folded = FoldedName::default();
        let read = folded.read_compressed(&octets, at).is_ok();
        let expected = follow(&octets, at);
        prop_assert_eq!(read, expected.is_some());
        if let Some(expected) = expected {
            prop_assert_eq!(folded.as_wire(), expected.to_ascii_lowercase());
        }
    }
}

/// RFC 1035 §4.1.4 with pointers that must lead to before themselves.
fn follow(octets: &[u8], mut at: usize) -> Option<Vec<u8>> {
    let mut name = Vec::new();
    loop {
        let len = *octets.get(at)?;
        match len {
            0 => break,
            1..=63 => {
                name.extend(octets.get(at..=at + usize::from(len))?);
                // A pointer may lead back to a label that leads to the pointer again.
                if name.len() > 254 {
                    return None;
                }
                at += 1 + usize::from(len);
            }
            0xc0.. => {
                let target = usize::from(len & 0x3f) << 8 | usize::from(*octets.get(at + 1)?);
                if target >= at {
                    return None;
                }
                at = target;
            }
            _ => return None,
        }
    }
    name.push(0);
    Some(name)
}
