//! The NSEC3 chain: every name has a hash in it, and each hash leads to the next (RFC 5155 §7.1).

use super::check_types;
use crate::check::kind::Kind;
use crate::check::report::{Report, found, owner_spot, record_spot};
use crate::check::walk::{Standing, Visit, Walk};
use crate::rdata::encoding::{Base32Hex, decode_base32hex};
use crate::records::{OwnerView, RrsetView, Zone};
use std::cmp::Ordering;
use table::ITERATIONS_MAX;
use table::denial::{Nsec3Hash, nsec3_hash};
use wire::{Name, RecordType};

/// The only hash algorithm (RFC 5155 §11).
const SHA1: u8 = 1;
/// The Opt-Out flag (RFC 5155 §3.1.2.1).
const OPT_OUT: u8 = 1;

/// What NSEC3PARAM and NSEC3 data begin with (RFC 5155 §3.2, §4.2).
#[derive(Clone, Copy)]
pub(super) struct Parameters<'z> {
    algorithm: u8,
    flags: u8,
    iterations: u16,
    salt: &'z [u8],
}

/// The parameters at the start of `rdata`, and what follows them.
fn split_parameters(rdata: &[u8]) -> Option<(Parameters<'_>, &[u8])> {
    let [algorithm, flags, high, low, salt_len, rest @ ..] = rdata else { return None };
    let (salt, rest) = rest.split_at_checked(usize::from(*salt_len))?;
    let iterations = u16::from_be_bytes([*high, *low]);
    Some((Parameters { algorithm: *algorithm, flags: *flags, iterations, salt }, rest))
}

/// The parameters that the zone's denial goes by: of the first NSEC3PARAM record that may be used.
pub(super) fn parameters<'z>(zone: &'z Zone, report: &mut Report<'_>) -> Option<Parameters<'z>> {
    let set = zone.find(zone.apex())?.rrset(RecordType::NSEC3PARAM)?;
    let mut chosen = None;
    for (index, rdata) in set.rdatas().enumerate() {
        let Some((parameters, _)) = split_parameters(rdata) else { continue };
        let kind = if parameters.algorithm != SHA1 {
            Kind::Nsec3Algorithm(parameters.algorithm)
        } else if parameters.flags != 0 {
            Kind::Nsec3Flags(parameters.flags)
        } else if parameters.iterations > ITERATIONS_MAX {
            Kind::Nsec3IterationsMax(parameters.iterations)
        } else {
            chosen = chosen.or(Some(parameters));
            match parameters.iterations {
                0 => continue,
                iterations => Kind::Nsec3Iterations(iterations),
            }
        };
        report.add(record_spot(set, index), kind);
    }
    chosen
}

/// An NSEC3 record of the chain.
struct Link<'z> {
    hash: Nsec3Hash,
    owner: OwnerView<'z>,
    set: RrsetView<'z>,
    /// Which record of the set.
    index: usize,
    flags: u8,
    next: &'z [u8],
    bitmap: &'z [u8],
}

/// A name of the zone, hashed.
struct Hashed<'z> {
    hash: Nsec3Hash,
    name: Name<'z>,
    /// `None` for an empty non-terminal.
    visit: Option<Visit<'z>>,
    /// Whether Opt-Out may leave it out: a delegation without DS, and what is empty above such alone.
    is_optional: bool,
}

/// The NSEC3 records with the parameters of the zone, by their hashes.
pub(super) struct Chain<'z> {
    parameters: Parameters<'z>,
    links: Vec<Link<'z>>,
}

impl<'z> Chain<'z> {
    pub(super) fn new(zone: &'z Zone, parameters: Parameters<'z>, report: &mut Report<'_>) -> Chain<'z> {
        let mut links = Vec::new();
        let mut label = Vec::new();
        for owner in zone.owners() {
            let Some(set) = owner.rrset(RecordType::NSEC3) else { continue };
            let Some(mut link) = link_of(owner, set, &parameters) else { continue };
            label.clear();
            let is_child = owner.name().parent().is_some_and(|parent| parent.len() == zone.apex().len());
            let decoded =
                owner.name().labels().next().is_some_and(|text| decode_base32hex(text, &mut label).is_ok());
            match Nsec3Hash::try_from(label.as_slice()) {
                Ok(hash) if is_child && decoded => {
                    link.hash = hash;
                    links.push(link);
                }
                _ => report.add(record_spot(set, 0), Kind::Nsec3Owner(found(owner.name()))),
            }
        }
        // Already in order if all labels are in base32hex, which keeps the order of octets.
        links.sort_by_key(|link| link.hash);
        Chain { parameters, links }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// Checks the order of the chain and compares it with the names of the zone.
    pub(super) fn check(&self, zone: &'z Zone, report: &mut Report<'_>) {
        for (at, link) in self.links.iter().enumerate() {
            let expected = &self.links[(at + 1) % self.links.len()].hash;
            if link.next != expected {
                let kind = Kind::Nsec3Chain {
                    owner: found(link.owner.name()),
                    next: text_of(link.next),
                    expected: text_of(expected),
                };
                report.add(record_spot(link.set, link.index), kind);
            }
        }
        let mut names = self.hash_names(zone);
        names.sort_unstable_by_key(|name| name.hash);
        let (mut names, mut links) = (names.iter().peekable(), self.links.iter().enumerate().peekable());
        loop {
            let order = match (names.peek(), links.peek()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(name), Some((_, link))) => name.hash.cmp(&link.hash),
            };
            match order {
                Ordering::Less => {
                    let after = links.peek().map_or(self.links.len(), |(at, _)| *at);
                    if let Some(name) = names.next() {
                        self.check_left_out(name, after, report);
                    }
                }
                Ordering::Greater => {
                    if let Some((_, link)) = links.next() {
                        let kind = Kind::UnmatchedNsec3(found(link.owner.name()));
                        report.add(record_spot(link.set, link.index), kind);
                    }
                }
                Ordering::Equal => {
                    if let (Some(name), Some((_, link))) = (names.next(), links.next()) {
                        let spot = record_spot(link.set, link.index);
                        let types = (RecordType::NSEC3, link.bitmap);
                        check_types(name.visit.as_ref(), name.name, types, spot, report);
                    }
                }
            }
        }
    }

    /// Checks a name without a link; `after` is the index of the first link behind its hash.
    fn check_left_out(&self, name: &Hashed<'_>, after: usize, report: &mut Report<'_>) {
        let cover = after.checked_sub(1).or(self.links.len().checked_sub(1));
        let is_opt_out = cover.is_some_and(|at| self.links[at].flags & OPT_OUT != 0);
        if name.is_optional && is_opt_out {
            return; // RFC 5155 §7.1
        }
        let spot = name.visit.and_then(|visit| owner_spot(visit.owner));
        report.add(spot, Kind::MissingNsec3(found(name.name), text_of(&name.hash)));
    }

    /// All names that the zone answers for or delegates, and the empty non-terminals above them.
    fn hash_names(&self, zone: &'z Zone) -> Vec<Hashed<'z>> {
        let mut names: Vec<Hashed<'z>> = Vec::with_capacity(zone.owner_count());
        // The names from the apex to the one before, by index.
        let mut path: Vec<usize> = Vec::new();
        for visit in Walk::new(zone) {
            if matches!(visit.standing, Standing::Occluded | Standing::Nsec3) {
                continue;
            }
            let name = visit.owner.name();
            while path.last().is_some_and(|last| !name.is_below(names[*last].name)) {
                path.pop();
            }
            let depth = |name: Name<'_>| name.label_count();
            let known = path.last().map_or(depth(zone.apex()), |last| depth(names[*last].name) + 1);
            for labels in known..depth(name) {
                path.push(names.len());
                names.push(self.hashed(name.suffix(labels), None, true));
            }
            let is_optional = visit.standing == Standing::Cut && !visit.owner.has(RecordType::DS);
            if !is_optional {
                // What is above a name that must be there must be there, and so was all above that.
                for above in path.iter().rev() {
                    if !names[*above].is_optional {
                        break;
                    }
                    names[*above].is_optional = false;
                }
            }
            path.push(names.len());
            names.push(self.hashed(name, Some(visit), is_optional));
        }
        names
    }

    fn hashed(&self, name: Name<'z>, visit: Option<Visit<'z>>, is_optional: bool) -> Hashed<'z> {
        let hash = nsec3_hash(name.as_wire(), self.parameters.salt, self.parameters.iterations);
        Hashed { hash, name, visit, is_optional }
    }
}

/// The first record of the set that has these parameters, its hash still to be filled in.
fn link_of<'z>(owner: OwnerView<'z>, set: RrsetView<'z>, wanted: &Parameters<'_>) -> Option<Link<'z>> {
    set.rdatas().enumerate().find_map(|(index, rdata)| {
        let (parameters, rest) = split_parameters(rdata)?;
        let is_wanted = parameters.algorithm == wanted.algorithm
            && parameters.iterations == wanted.iterations
            && parameters.salt == wanted.salt;
        let (next_len, rest) = rest.split_first()?;
        let (next, bitmap) = rest.split_at_checked(usize::from(*next_len))?;
        is_wanted.then_some(Link { hash: [0; 20], owner, set, index, flags: parameters.flags, next, bitmap })
    })
}

fn text_of(hash: &[u8]) -> Box<str> {
    Base32Hex(hash).to_string().to_ascii_lowercase().into()
}
