//! What a validating resolver checks in an answer, signatures themselves apart: written from RFC 4035 §5.3 and §5.4
//! and RFC 5155 §8, sharing nothing with the compiler or the answer function.

use crate::zones::{Question, RandomZone};
use starling_tests::message::{Message, Record};
use starling_tests::name::Name;
use std::collections::{BTreeMap, BTreeSet};
use table::denial::nsec3_hash;

const NS: u16 = 2;
const CNAME: u16 = 5;
const SOA: u16 = 6;
const DNAME: u16 = 39;
const DS: u16 = 43;
const RRSIG: u16 = 46;
const NSEC: u16 = 47;
const NSEC3: u16 = 50;
const ANY: u16 = 255;
/// A server may leave a chain of aliases after this many.
const CHAIN_MAX: usize = 16;

type Proof = Result<(), String>;

/// Checks answers of one zone.
pub(crate) struct Validator {
    apex: Name,
    /// The owner hashes of the whole NSEC3 chain, to tell what can't be proved from what wasn't.
    chain: BTreeSet<Vec<u8>>,
}

/// The records of denial in an answer.
struct Denials<'a> {
    apex: &'a Name,
    chain: &'a BTreeSet<Vec<u8>>,
    nsec: Vec<Nsec>,
    nsec3: Vec<Nsec3>,
}

struct Nsec {
    owner: Name,
    next: Name,
    types: BTreeSet<u16>,
}

struct Nsec3 {
    hash: Vec<u8>,
    next: Vec<u8>,
    opt_out: bool,
    iterations: u16,
    salt: Vec<u8>,
    types: BTreeSet<u16>,
}

impl Validator {
    pub(crate) fn new(zone: &RandomZone) -> Validator {
        let owners = zone.records.iter().filter(|record| record.rtype.0 == NSEC3);
        let labels = owners.filter_map(|record| record.owner.as_name().labels().next());
        Validator {
            apex: Name::from_wire(zone.apex.as_name().as_wire().to_ascii_lowercase()),
            chain: labels.map(base32hex).collect(),
        }
    }

    /// What is wrong with the answer, if anything is.
    pub(crate) fn check(&self, question: &Question, got: &Message) -> Proof {
        let denials = Denials::read(self, &got.authority)?;
        every_set_is_signed(&got.answer, Alias::MayBeMade)?;
        every_set_is_signed(&got.authority, Alias::IsNotMade)?;
        nothing_comes_twice(&got.authority)?;
        let qtype = question.rtype.0;
        let mut name = Name::from_wire(question.name.as_name().as_wire().to_ascii_lowercase());
        let mut seen = BTreeSet::new();
        while let Some(set) = answered(&got.answer, &name, qtype) {
            wildcard_is_proved(&denials, &got.answer, &name)?;
            let alias = set.iter().find(|record| record.rtype == CNAME).and_then(|record| record.target());
            match alias {
                Some(target) if ![CNAME, ANY, NSEC, RRSIG].contains(&qtype) => {
                    if !seen.insert(name) || seen.len() > CHAIN_MAX {
                        return Ok(());
                    }
                    name = target;
                }
                _ => return Ok(()),
            }
        }
        let leads_below_itself = |record: &Record| {
            record.rtype == DNAME
                && record.target().is_some_and(|target| target.is_at_or_below(&record.owner))
        };
        if !name.is_at_or_below(&self.apex)
            || seen.len() >= CHAIN_MAX
            || got.answer.iter().any(leads_below_itself)
        {
            return Ok(());
        }
        match got.rcode() {
            0 => {
                let servers = got.authority.iter().find(|record| record.rtype == NS);
                match servers {
                    Some(record) => denials.referral(&record.owner, &name, &got.authority),
                    None => denials.no_data(&name, qtype),
                }
            }
            3 => denials.no_name(&name),
            // The name that a DNAME makes is too long: the DNAME is all there is to prove (RFC 6672 §2.2).
            6 => Ok(()),
            other => Err(format!("RCODE {other}")),
        }
    }
}

/// Whether a CNAME in the section may have been made from a DNAME, so that it has no signature (RFC 6672 §5.3.1).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Alias {
    MayBeMade,
    IsNotMade,
}

/// Every set but the parent's NS records (RFC 4035 §2.2) comes with a signature (RFC 4035 §3.1.1).
fn every_set_is_signed(section: &[Record], alias: Alias) -> Proof {
    for record in section.iter().filter(|record| record.rtype != RRSIG && record.rtype != NS) {
        let covers = |sig: &&Record| sig.owner == record.owner && sig.covered() == Some(record.rtype);
        let made = |dname: &Record| {
            dname.rtype == DNAME && record.owner.is_at_or_below(&dname.owner) && record.owner != dname.owner
        };
        let is_made = alias == Alias::MayBeMade && record.rtype == CNAME && section.iter().any(made);
        if !section.iter().any(|sig| covers(&sig)) && !is_made {
            return Err(format!("no signature covers {record}"));
        }
    }
    Ok(())
}

fn nothing_comes_twice(section: &[Record]) -> Proof {
    let mut seen = BTreeSet::new();
    match section.iter().find(|record| !seen.insert(*record)) {
        Some(record) => Err(format!("{record} comes twice")),
        None => Ok(()),
    }
}

/// The records of the answer section that this name owns, where there are any. A DNAME that wasn't asked for is
/// there because the chain came through it.
fn answered<'a>(section: &'a [Record], name: &Name, qtype: u16) -> Option<Vec<&'a Record>> {
    let passed = |record: &Record| record.rtype == DNAME || record.covered() == Some(DNAME);
    let own = section.iter().filter(|record| record.owner == *name);
    let own: Vec<&Record> = own.filter(|record| [DNAME, ANY].contains(&qtype) || !passed(record)).collect();
    (!own.is_empty()).then_some(own)
}

/// A signature with fewer labels than its owner was made for a wildcard; then the name itself, or what is between
/// it and the wildcard's parent, must be shown not to exist (RFC 4035 §5.3.4, RFC 5155 §8.8).
fn wildcard_is_proved(denials: &Denials<'_>, section: &[Record], name: &Name) -> Proof {
    let count = name.labels().len() - usize::from(name.labels().first() == Some(&&b"*"[..]));
    for sig in section.iter().filter(|record| record.rtype == RRSIG && record.owner == *name) {
        let labels = usize::from(sig.rdata[3]);
        if labels > count {
            return Err(format!("{sig} has more labels than its owner"));
        }
        if labels == count {
            continue;
        }
        if denials.nsec3.is_empty() {
            let cover = denials
                .nsec_cover(name)
                .ok_or_else(|| format!("{name} is from a wildcard, and not denied"))?;
            let encloser = cover.encloser(name);
            if encloser.labels().len() != labels {
                return Err(format!(
                    "{name} has the encloser {encloser}, and a signature of {labels} labels"
                ));
            }
        } else {
            let next_closer = suffix(name, labels + 1);
            denials
                .nsec3_cover(&next_closer)
                .ok_or_else(|| format!("{name} is from a wildcard, and {next_closer} not denied"))?;
        }
    }
    Ok(())
}

impl<'a> Denials<'a> {
    fn read(validator: &'a Validator, authority: &[Record]) -> Result<Denials<'a>, String> {
        let Validator { apex, chain } = validator;
        let mut denials = Denials { apex, chain, nsec: Vec::new(), nsec3: Vec::new() };
        for record in authority {
            match record.rtype {
                NSEC => denials.nsec.push(Nsec::read(record)),
                NSEC3 => denials.nsec3.push(Nsec3::read(record)),
                _ => {}
            }
        }
        let parameters: BTreeSet<_> =
            denials.nsec3.iter().map(|nsec3| (nsec3.iterations, &nsec3.salt)).collect();
        // RFC 5155 §8.2: those of other chains would have to be ignored.
        let mixed = parameters.len() > 1 || !(denials.nsec.is_empty() || denials.nsec3.is_empty());
        if mixed { Err("records of denial of different kinds".to_owned()) } else { Ok(denials) }
    }

    fn nsec_match(&self, name: &Name) -> Option<&Nsec> {
        self.nsec.iter().find(|nsec| nsec.owner == *name)
    }

    /// The NSEC record that says there is nothing at the name.
    fn nsec_cover(&self, name: &Name) -> Option<&Nsec> {
        self.nsec.iter().find(|nsec| nsec.covers(self.apex, name))
    }

    fn hash(&self, name: &Name) -> Vec<u8> {
        let chain = &self.nsec3[0];
        nsec3_hash(name.wire(), &chain.salt, chain.iterations).to_vec()
    }

    fn nsec3_match(&self, name: &Name) -> Option<&Nsec3> {
        let hash = self.hash(name);
        self.nsec3.iter().find(|nsec3| nsec3.hash == hash)
    }

    fn nsec3_cover(&self, name: &Name) -> Option<&Nsec3> {
        let hash = self.hash(name);
        self.nsec3.iter().find(|nsec3| {
            let after = nsec3.hash < hash;
            let before = hash < nsec3.next;
            // The last one's range goes around to the first (RFC 5155 §3.1.7).
            if nsec3.hash < nsec3.next { after && before } else { after || before }
        })
    }

    /// The closest encloser that can be proved, and the record that covers the next closer name (RFC 5155 §8.3).
    fn closest_encloser(&self, name: &Name) -> Result<(Name, &Nsec3), String> {
        let mut next_closer = name.clone();
        let mut above = name.parent();
        while let Some(encloser) = above.filter(|encloser| encloser.is_at_or_below(self.apex)) {
            if let Some(matching) = self.nsec3_match(&encloser) {
                let delegates = matching.types.contains(&NS) && !matching.types.contains(&SOA);
                if matching.types.contains(&DNAME) || delegates {
                    return Err(format!(
                        "{encloser} is a cut or a DNAME, so it can't be the encloser of {name}"
                    ));
                }
                let cover = self.nsec3_cover(&next_closer);
                let cover =
                    cover.ok_or_else(|| format!("{next_closer}, next closer to {name}, is not denied"))?;
                return Ok((encloser, cover));
            }
            above = encloser.parent();
            next_closer = encloser;
        }
        Err(format!("no encloser of {name} is proved"))
    }

    /// RFC 4035 §5.4, RFC 5155 §8.4.
    fn no_name(&self, name: &Name) -> Proof {
        if self.nsec3.is_empty() {
            let cover = self.nsec_cover(name).ok_or_else(|| format!("{name} is not denied"))?;
            if cover.next.is_at_or_below(name) {
                return Err(format!("{name} is an empty non-terminal"));
            }
            let wildcard = wildcard_below(&cover.encloser(name));
            let cover = self.nsec_cover(&wildcard).ok_or_else(|| format!("{wildcard} is not denied"))?;
            return if cover.next.is_at_or_below(&wildcard) {
                Err(format!("{wildcard} exists"))
            } else {
                Ok(())
            };
        }
        let (encloser, cover) = self.closest_encloser(name)?;
        let wildcard = wildcard_below(&encloser);
        // An empty non-terminal above nothing but delegations that opted out is no encloser that can be proved, and
        // above it there may be a wildcard that doesn't apply: the chain has no proof for that.
        if cover.opt_out && self.chain.contains(&self.hash(&wildcard)) {
            return Ok(());
        }
        self.nsec3_cover(&wildcard).map(|_| ()).ok_or_else(|| format!("{wildcard} is not denied"))
    }

    /// RFC 4035 §5.4, RFC 5155 §8.5, §8.6, §8.7.
    fn no_data(&self, name: &Name, qtype: u16) -> Proof {
        if !self.nsec3.is_empty() {
            return self.no_data_nsec3(name, qtype);
        }
        if let Some(matching) = self.nsec_match(name) {
            return lacks(&matching.types, qtype, name);
        }
        let cover = self.nsec_cover(name).ok_or_else(|| format!("{name} is neither shown nor denied"))?;
        if cover.next.is_at_or_below(name) {
            return Ok(());
        }
        let wildcard = wildcard_below(&cover.encloser(name));
        if let Some(matching) = self.nsec_match(&wildcard) {
            return lacks(&matching.types, qtype, &wildcard);
        }
        match self.nsec_cover(&wildcard) {
            Some(cover) if cover.next.is_at_or_below(&wildcard) => Ok(()),
            Some(_) => Err(format!("neither {name} nor {wildcard} exists, and the answer is not NXDOMAIN")),
            None => Err(format!("{wildcard} is neither shown nor denied")),
        }
    }

    fn no_data_nsec3(&self, name: &Name, qtype: u16) -> Proof {
        if let Some(matching) = self.nsec3_match(name) {
            return lacks(&matching.types, qtype, name);
        }
        let (encloser, cover) = self.closest_encloser(name)?;
        let wildcard = wildcard_below(&encloser);
        // A delegation without DS, or an empty non-terminal above such only (RFC 5155 §7.2.4 and its erratum 3441). The
        // record that covers may be the wildcard's, which then says nothing of the name.
        if cover.opt_out {
            return Ok(());
        }
        match self.nsec3_match(&wildcard) {
            Some(matching) => lacks(&matching.types, qtype, &wildcard),
            None => Err(format!("{name} is not shown, and nothing may have opted out")),
        }
    }

    /// RFC 4035 §5.2, RFC 5155 §8.9.
    fn referral(&self, cut: &Name, name: &Name, authority: &[Record]) -> Proof {
        if !name.is_at_or_below(cut) || cut == self.apex {
            return Err(format!("{cut} is no cut above {name}"));
        }
        if authority.iter().any(|record| record.owner == *cut && record.rtype == DS) {
            return Ok(());
        }
        let types = if self.nsec3.is_empty() {
            self.nsec_match(cut).map(|nsec| &nsec.types)
        } else {
            self.nsec3_match(cut).map(|nsec3| &nsec3.types)
        };
        if let Some(types) = types {
            let insecure = types.contains(&NS) && !types.contains(&DS) && !types.contains(&SOA);
            return if insecure {
                Ok(())
            } else {
                Err(format!("{cut} is not shown to be an insecure delegation"))
            };
        }
        if self.nsec3.is_empty() {
            return Err(format!("nothing says that {cut} has no DS"));
        }
        let (_, cover) = self.closest_encloser(cut)?;
        if cover.opt_out { Ok(()) } else { Err(format!("{cut} has not opted out")) }
    }
}

/// RFC 4035 §5.4: neither the type nor a CNAME, and not the record of a delegation for what is below it.
fn lacks(types: &BTreeSet<u16>, qtype: u16, name: &Name) -> Proof {
    let redirects = types.contains(&CNAME) && ![NSEC, RRSIG].contains(&qtype);
    let delegates = types.contains(&NS) && !types.contains(&SOA) && qtype != DS;
    if types.contains(&qtype) || redirects || delegates {
        return Err(format!("the types shown at {name} don't deny type {qtype}: {types:?}"));
    }
    Ok(())
}

fn wildcard_below(name: &Name) -> Name {
    name.child(b"*").expect("short names")
}

/// The name of the `count` rightmost labels.
fn suffix(name: &Name, count: usize) -> Name {
    let mut name = name.clone();
    while name.labels().len() > count {
        name = name.parent().expect("it has labels");
    }
    name
}

/// RFC 4034 §6.1.
fn key(name: &Name) -> Vec<Vec<u8>> {
    name.labels().into_iter().rev().map(<[u8]>::to_vec).collect()
}

impl Nsec {
    fn read(record: &Record) -> Nsec {
        let len = record.rdata.iter().scan(0, |skip, octet| {
            // Walks length octets up to the root's.
            if *skip > 0 {
                *skip -= 1;
                return Some(());
            }
            *skip = usize::from(*octet);
            (*octet != 0).then_some(())
        });
        let end = len.count() + 1;
        let (next, types) = record.rdata.split_at(end);
        Nsec { owner: record.owner.clone(), next: Name::from_wire(next.to_vec()), types: read_types(types) }
    }

    /// Whether the name sorts between owner and next, and isn't below a cut or a DNAME that the owner is: the
    /// parent's record says nothing there (RFC 4035 §5.4, RFC 6672 §5.3.4.1).
    fn covers(&self, apex: &Name, name: &Name) -> bool {
        let delegates = self.types.contains(&NS) && !self.types.contains(&SOA);
        if name.is_at_or_below(&self.owner) && (delegates || self.types.contains(&DNAME)) {
            return false;
        }
        let after = key(&self.owner) < key(name);
        after && (self.next == *apex || key(name) < key(&self.next))
    }

    /// The closest encloser of a name that the record covers: what it shares with owner or next.
    fn encloser(&self, name: &Name) -> Name {
        let shared = |other: &Name| key(other).iter().zip(key(name)).take_while(|(a, b)| **a == *b).count();
        suffix(name, shared(&self.owner).max(shared(&self.next)))
    }
}

impl Nsec3 {
    fn read(record: &Record) -> Nsec3 {
        let rdata = &record.rdata;
        let salt_end = 5 + usize::from(rdata[4]);
        let next_end = salt_end + 1 + usize::from(rdata[salt_end]);
        Nsec3 {
            hash: record.owner.labels().first().map(|label| base32hex(label)).unwrap_or_default(),
            next: rdata[salt_end + 1..next_end].to_vec(),
            opt_out: rdata[1] & 1 == 1,
            iterations: u16::from_be_bytes([rdata[2], rdata[3]]),
            salt: rdata[5..salt_end].to_vec(),
            types: read_types(&rdata[next_end..]),
        }
    }
}

fn base32hex(label: &[u8]) -> Vec<u8> {
    let value = |octet: &u8| if octet.is_ascii_digit() { octet - b'0' } else { octet - b'a' + 10 };
    let bits: Vec<u8> =
        label.iter().flat_map(|octet| (0..5).rev().map(move |bit| value(octet) >> bit & 1)).collect();
    bits.chunks_exact(8).map(|bits| bits.iter().fold(0, |octet, bit| octet << 1 | bit)).collect()
}

fn read_types(mut octets: &[u8]) -> BTreeSet<u16> {
    let mut types = BTreeMap::new();
    while let [window, len, rest @ ..] = octets {
        let (bits, after) = rest.split_at(usize::from(*len));
        for (at, octet) in bits.iter().enumerate() {
            let set = (0..8u16).filter(|bit| octet & (0x80 >> bit) != 0);
            types.extend(set.map(|bit| (u16::from(*window) << 8 | (at as u16 * 8 + bit), ())));
        }
        octets = after;
    }
    types.into_keys().collect()
}
