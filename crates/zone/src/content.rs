//! The digest of a zone's content: whether two nodes serve the same, however it got there.
//!
//! It is over the records that answer, not over the table that they stand in: a node that has compiled a master file, one
//! that has transferred the zone and one that has mapped an image have the same digest if they have the same records, with
//! another layout of the table, too. Each record is hashed by itself in canonical form (RFC 4034 §6.2), and the digest is
//! the sum of these hashes modulo 2^256. So it takes no order and no sorting, and a change of ten records changes the digest at
//! the cost of ten records, where the digest of RFC 8976 needs all of them anew. A record costs a third of a microsecond,
//! a quarter of reading and compiling it; of a large zone a second core does that beside the compiler.
//!
//! Every record counts, ZONEMD and its signatures as well: they answer like others. The TTL is that which is served,
//! which for a set whose records disagree is the lowest, and for signatures that of what they cover.
//!
//! What it promises: two contents that differ by accident, whether by a lost record or a hundred thousand changed ones,
//! have the same digest with a probability of 2^-256. What it does not: somebody who may choose a great number of records
//! can find two sets of the same sum with far less work than two strings of the same hash (Wagner's generalised birthday
//! attack, some 2^32 steps and as many records). So it compares nodes that mean to be honest, and authenticates nothing;
//! for that there are TSIG on the way and ZONEMD with its signature from the publisher.

use crate::rdata;
use crate::records::{OwnerView, RrsetView, Zone};
use std::convert::Infallible;
use table::ContentDigest;
use wire::message::{u16_at, u32_at};
use wire::{Class, Name, RecordType};

/// Makes the hash one of records of this form alone.
const KEY: [u8; 32] = *b"Starling zone content, version 1";

/// Octets of a record between its owner and its data: type, class, TTL, length.
const FIXED: usize = 10;

/// A digest in the making: records may be added and taken away in any order.
#[derive(Clone, Default, Debug)]
pub struct ContentSum {
    /// The sum, the lowest word first.
    words: [u64; 4],
    /// The record that is hashed.
    octets: Vec<u8>,
}

impl ContentSum {
    /// Goes on from the digest of a version.
    pub fn of(digest: ContentDigest) -> ContentSum {
        let mut words = [0; 4];
        for (word, octets) in words.iter_mut().zip(digest.0.chunks_exact(8)) {
            *word = octets.iter().rev().fold(0, |word, octet| word << 8 | u64::from(*octet));
        }
        ContentSum { words, octets: Vec::new() }
    }

    /// Adds a record of class IN; `owner` may have capital letters, and so may `rdata`, which is uncompressed.
    pub fn add(&mut self, owner: Name<'_>, rtype: RecordType, ttl: u32, rdata: &[u8]) {
        let hash = self.hash(owner, rtype, ttl, rdata);
        let mut carry = false;
        for (word, other) in self.words.iter_mut().zip(hash) {
            let (sum, first) = word.overflowing_add(other);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            (*word, carry) = (sum, first || second);
        }
    }

    /// Takes a record away that was added.
    pub fn remove(&mut self, owner: Name<'_>, rtype: RecordType, ttl: u32, rdata: &[u8]) {
        let hash = self.hash(owner, rtype, ttl, rdata);
        let mut borrow = false;
        for (word, other) in self.words.iter_mut().zip(hash) {
            let (rest, first) = word.overflowing_sub(other);
            let (rest, second) = rest.overflowing_sub(u64::from(borrow));
            (*word, borrow) = (rest, first || second);
        }
    }

    /// Adds what another sum has.
    pub(crate) fn join(&mut self, other: &ContentSum) {
        let mut carry = false;
        for (word, other) in self.words.iter_mut().zip(other.words) {
            let (sum, first) = word.overflowing_add(other);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            (*word, carry) = (sum, first || second);
        }
    }

    /// The digest of what was added and not taken away.
    pub fn digest(&self) -> ContentDigest {
        let mut digest = [0; 32];
        for (octets, word) in digest.chunks_exact_mut(8).zip(self.words) {
            octets.copy_from_slice(&word.to_le_bytes());
        }
        ContentDigest(digest)
    }

    #[inline]
    fn hash(&mut self, owner: Name<'_>, rtype: RecordType, ttl: u32, rdata: &[u8]) -> [u64; 4] {
        let octets = &mut self.octets;
        octets.clear();
        octets.reserve(owner.len() + FIXED + rdata.len());
        octets.extend_from_slice(owner.as_wire());
        octets.make_ascii_lowercase(); // length octets are below `A`
        let mut fixed = [0; FIXED];
        fixed[..2].copy_from_slice(&rtype.0.to_be_bytes());
        fixed[2..4].copy_from_slice(&Class::IN.0.to_be_bytes());
        fixed[4..8].copy_from_slice(&ttl.to_be_bytes());
        fixed[8..].copy_from_slice(&(rdata.len() as u16).to_be_bytes()); // it came from a record
        octets.extend_from_slice(&fixed);
        let start = octets.len();
        octets.extend_from_slice(rdata);
        // Addresses are most of any zone and have no names.
        if !matches!(rtype, RecordType::A | RecordType::AAAA) {
            rdata::to_canonical(rtype, &mut octets[start..]);
        }
        let hash = blake3::keyed_hash(&KEY, octets);
        let (words, _) = hash.as_bytes().as_chunks::<8>();
        std::array::from_fn(|index| u64::from_le_bytes(words[index]))
    }
}

/// The digest of a zone.
pub(crate) fn of_zone(zone: &Zone) -> ContentDigest {
    let mut sum = ContentSum::default();
    zone.owners().for_each(|owner| add_owner(&mut sum, owner));
    sum.digest()
}

/// Adds the records of an owner with the TTLs that the compiler gives them.
fn add_owner(sum: &mut ContentSum, owner: OwnerView<'_>) {
    let name = owner.name();
    let Ok(()) = served_records(owner, |rtype, ttl, rdata| {
        sum.add(name, rtype, ttl, rdata);
        Ok::<_, Infallible>(())
    });
}

/// Hands out the records of an owner with the TTLs that they are served with.
///
/// # Errors
/// What was given for a record.
pub(crate) fn served_records<'z, E>(
    owner: OwnerView<'z>,
    mut each: impl FnMut(RecordType, u32, &'z [u8]) -> Result<(), E>,
) -> Result<(), E> {
    for set in owner.rrsets() {
        let rtype = set.rtype();
        if rtype == RecordType::RRSIG {
            set.rdatas().try_for_each(|rdata| each(rtype, signature_ttl(owner, rdata), rdata))?;
            continue;
        }
        let ttl = set.ttl();
        set.rdatas().try_for_each(|rdata| each(rtype, ttl, rdata))?;
    }
    Ok(())
}

/// The TTL of a signature: that of the set it covers, which it must have (RFC 4034 §3). One that covers nothing has what it says
/// that its set had (§3.1.4). So it is the same whatever TTL a primary has sent it with, which some do otherwise in IXFR than in AXFR.
pub(crate) fn signature_ttl(owner: OwnerView<'_>, rrsig: &[u8]) -> u32 {
    let covered = u16_at(rrsig, 0).and_then(|covered| owner.rrset(RecordType(covered)));
    // With the highest bit it is none (RFC 2181 §8).
    let original = || u32_at(rrsig, 4).filter(|ttl| ttl >> 31 == 0).unwrap_or(0);
    covered.filter(|set| set.rtype() != RecordType::RRSIG).map_or_else(original, RrsetView::ttl)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::master::{NoIncludes, Options, parse};
    use crate::records::Gatherer;
    use table::Walk;
    use wire::NameBuf;

    fn read(text: &str) -> Zone {
        let apex = NameBuf::from_text(b"example.", None).unwrap();
        let mut gatherer = Gatherer::new(apex.as_name(), text.len());
        let options = Options { default_ttl: Some(3600), ..Options::new(apex.as_name(), "text") };
        let report = parse(text.as_bytes(), &options, &mut NoIncludes, &mut gatherer);
        assert!(report.errors.is_empty(), "{:?}", report.errors);
        gatherer.finish().unwrap()
    }

    /// With what the compiler does to records: names that are compressed, TTLs that differ, signatures over nothing, owners
    /// of NSEC3 records with other data, sets that are there several times because they rotate.
    const ZONE: &str = "@ SOA NS1 h 1 7200 3600 1209600 300\n@ NS NS1.Example.\n@ NS b.ns1\n@ NS Other.Test.\n\
        ns1 60 A 192.0.2.1\nns1 90 A 192.0.2.2\nb.ns1 A 192.0.2.3\nsub NS a.sub\na.sub A 192.0.2.4\n\
        *.w MX 5 Mail.w\nsrv SRV 1 2 3 Ns1.Example.\n\
        ns1 80 RRSIG A 8 2 60 20300101000000 20200101000000 7 example. AAAA\n\
        ns1 70 RRSIG TXT 8 2 60 20300101000000 20200101000000 7 Example. AAAA\n\
        ns1 75 RRSIG MX 8 2 60 20300101000000 20200101000000 7 example. AAAA\n\
        @ NSEC3PARAM 1 0 0 -\n\
        1avvqn74sg75ukfvf25dgcethgq638ek NSEC3 1 0 0 - 2avvqn74sg75ukfvf25dgcethgq638ek A\n\
        1avvqn74sg75ukfvf25dgcethgq638ek TXT data\n";

    #[test]
    fn is_that_of_what_the_table_gives() {
        let zone = read(ZONE);
        for rotate in [false, true] {
            let options = crate::CompileOptions { rotate, ..Default::default() };
            let table = crate::compile(zone.clone(), &options).unwrap();
            let digest = table.content();
            let mut walk = Walk::new(table.into());
            let mut sum = ContentSum::default();
            let mut count = 0;
            while let Some(record) = walk.next_record().unwrap() {
                sum.add(record.owner, record.rtype, record.ttl, record.rdata);
                count += 1;
            }
            assert_eq!(count, zone.record_count());
            assert_eq!(sum.digest(), digest);
            assert_eq!(of_zone(&zone), digest);
        }
    }

    #[test]
    fn every_field_counts_and_no_letter_case() {
        let digest = |text: &str| of_zone(&read(text));
        let zone = digest(ZONE);
        assert_eq!(digest(&ZONE.replace("Other.Test", "oTHER.tEST")), zone);
        for (from, to) in
            [("192.0.2.3", "192.0.2.33"), ("*.w", "*.v"), ("ns1 60", "ns1 61"), ("data", "Data")]
        {
            assert_ne!(digest(&ZONE.replace(from, to)), zone, "{from}");
        }
        assert_ne!(digest(&format!("{ZONE}x TXT x\n")), zone);
    }

    /// As a copy has them that knows of one (RFC 2181 §5, RFC 4034 §6.3).
    #[test]
    fn spellings_of_one_record_are_one() {
        for (both, one) in [
            ("@ NS ns1\n@ NS NS1\n", "@ NS Ns1\n"),
            (
                "m MX 5 b.NS1\nm MX 5 A.ns1\nm MX 5 B.ns1\nm MX 4 B.ns1\n",
                "m MX 5 a.ns1\nm MX 5 b.ns1\nm MX 4 B.ns1\n",
            ),
        ] {
            let rest = "@ SOA ns1 h 1 2 3 4 5\n@ NS z\nns1 A 192.0.2.1\n";
            let (both, one) = (read(&format!("{rest}{both}")), read(&format!("{rest}{one}")));
            assert_eq!((both.record_count(), of_zone(&both)), (one.record_count(), of_zone(&one)));
            assert_eq!(both.duplicate_count(), 1);
        }
        // Strings are as they are.
        let texts = read("@ SOA ns1 h 1 2 3 4 5\n@ TXT \"case\"\n@ TXT \"Case\"\n");
        assert_eq!((texts.record_count(), texts.duplicate_count()), (3, 0));
    }

    /// Signatures are sent with any TTL, and some primaries send them otherwise with what has changed than with the whole zone.
    #[test]
    fn a_signature_has_the_ttl_of_what_it_covers() {
        let signed = |ttl: u32, orphan_ttl: u32| {
            let text = |covered: &str, ttl: u32| {
                format!("ns1 {ttl} RRSIG {covered} 8 2 77 20300101000000 20200101000000 7 example. AAAA\n")
            };
            let rest = "@ SOA ns1 h 1 2 3 4 5\n@ NS ns1\nns1 60 A 192.0.2.1\n";
            read(&format!(
                "{rest}{}{}{}",
                text("A", ttl),
                text("TXT", orphan_ttl),
                text("MX", orphan_ttl + 1)
            ))
        };
        assert_eq!(of_zone(&signed(60, 77)), of_zone(&signed(5, 6)));
        let mut walk =
            Walk::new(crate::compile(signed(5, 6), &crate::CompileOptions::default()).unwrap().into());
        let mut found = Vec::new();
        while let Some(record) = walk.next_record().unwrap() {
            if record.rtype == RecordType::RRSIG {
                found.push((u16_at(record.rdata, 0).unwrap(), record.ttl));
            }
        }
        found.sort_unstable();
        assert_eq!(found, [(1, 60), (15, 77), (16, 77)]);
    }

    #[test]
    fn a_change_of_records_is_a_change_of_the_digest() {
        let record = |sum: &mut ContentSum, remove: bool, last: u8| {
            let owner = NameBuf::from_text(b"X.example.", None).unwrap();
            let rdata = [192, 0, 2, last];
            if remove {
                sum.remove(owner.as_name(), RecordType::A, 3600, &rdata);
            } else {
                sum.add(owner.as_name(), RecordType::A, 3600, &rdata);
            }
        };
        let before = of_zone(&read(ZONE));
        let mut sum = ContentSum::of(before);
        assert_eq!(sum.digest(), before);
        (0..50).for_each(|last| record(&mut sum, false, last));
        let text: String = (0..50).map(|last| format!("x A 192.0.2.{last}\n")).collect();
        assert_eq!(sum.digest(), of_zone(&read(&format!("{ZONE}{text}"))));
        (0..50).rev().for_each(|last| record(&mut sum, true, last));
        assert_eq!(sum.digest(), before);
    }

    #[test]
    fn the_digest_is_the_same_for_ever() {
        // Nodes of different versions are compared: a change of this needs another key.
        let mut sum = ContentSum::default();
        assert_eq!(sum.digest(), ContentDigest([0; 32]));
        let owner = NameBuf::from_text(b"example.", None).unwrap();
        sum.add(owner.as_name(), RecordType::A, 3600, &[192, 0, 2, 1]);
        let expected = "2709cfbd5af656534c2a6409b05a6b919bc7d7f4824f3616e4f523b825873d11";
        assert_eq!(sum.digest().to_string(), expected);
    }
}
