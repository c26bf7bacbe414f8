//! Delegations, and the names that records point to: glue, missing addresses, aliases, hidden data.

use super::kind::Kind;
use super::lookup::OwnerIndex;
use super::report::{Report, found, owner_spot, record_spot};
use super::walk::{Standing, Visit};
use crate::records::{OwnerView, RrsetView, Zone};
use std::collections::HashMap;
use wire::{Name, NameBuf, RecordType};

/// How many owners after a delegation are looked through for its glue before the whole zone is searched: a
/// delegation has a handful, and a search costs as much as some twenty comparisons.
const GLUE_SCAN_MAX: usize = 24;

/// How many different targets a zone has, for each owner, before an index is made and no more are remembered:
/// most zones name a few servers and mail hosts over and over. In a zone of 800,000 owners a search took 1.4
/// µs and the index 110 ns an owner, as much as a search for every twelfth; sooner costs zones with few
/// targets, later those with many.
const OWNERS_PER_TARGET: usize = 12;
/// Never fewer: below that an index gains nothing that can be felt.
const KNOWN_MIN: usize = 4096;

/// What the zone knows of a name that a record points to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Target {
    /// It is in another zone.
    Outside,
    /// It has addresses, its own (the owner's index) or a wildcard's.
    Addressed(Option<usize>),
    /// It is in this zone and has none.
    Bare,
    /// It is an alias or below a DNAME.
    Alias,
    /// It is in a zone delegated by this one, and there is no glue.
    Delegated,
}

/// Checks the targets of a zone's records, and keeps in mind what needs all of them to be seen.
pub(super) struct Targets<'z> {
    zone: &'z Zone,
    /// Targets looked up before, by their octets: the names of servers come again and again.
    known: HashMap<&'z [u8], Target>,
    index: Option<OwnerIndex>,
    /// Owners at or below a cut that have addresses, by index, and which of the zone's owners are glue, a bit
    /// each.
    candidates: Vec<u32>,
    glue: Vec<u64>,
}

impl<'z> Targets<'z> {
    pub(super) fn new(zone: &'z Zone) -> Targets<'z> {
        Targets { zone, known: HashMap::new(), index: None, candidates: Vec::new(), glue: Vec::new() }
    }

    /// Checks the targets in the records of an owner, and whether a delegation hides them.
    #[inline]
    pub(super) fn check_owner(&mut self, visit: &Visit<'z>, report: &mut Report<'_>) {
        if let Some(cut) = visit.cut {
            self.check_hidden(visit, cut, report);
        }
        if visit.standing == Standing::Occluded {
            return;
        }
        for set in visit.owner.rrsets() {
            match set.rtype() {
                RecordType::NS => self.check_servers(visit, set, report),
                RecordType::MX => self.check_hosts(visit.owner, set, 2, report),
                RecordType::SRV => self.check_hosts(visit.owner, set, 6, report),
                _ => {}
            }
        }
    }

    /// Tells which hidden addresses are nobody's glue: known only when all NS records have been seen.
    pub(super) fn finish(self, report: &mut Report<'_>) {
        for index in self.candidates {
            let index = index as usize;
            if self.glue.get(index / 64).is_none_or(|word| word >> (index % 64) & 1 == 0) {
                let owner = self.zone.owner(index);
                report.add(owner_spot(owner), Kind::UnusedGlue(found(owner.name())));
            }
        }
    }

    fn check_hidden(&mut self, visit: &Visit<'z>, cut: OwnerView<'z>, report: &mut Report<'_>) {
        use RecordType as T;
        let is_cut = visit.standing == Standing::Cut;
        let mut has_addresses = false;
        let mut hidden = None;
        for set in visit.owner.rrsets() {
            match set.rtype() {
                T::A | T::AAAA => has_addresses = true,
                T::NS | T::DS | T::NSEC | T::RRSIG if is_cut => {}
                // Told at the cut as an error.
                T::DNAME if is_cut => {}
                _ => hidden = hidden.or(Some(set)),
            }
        }
        if has_addresses {
            self.candidates.push(visit.owner.index() as u32);
        }
        if let Some(set) = hidden {
            let kind = Kind::Occluded(found(visit.owner.name()), set.rtype(), found(cut.name()));
            report.add(record_spot(set, 0), kind);
        }
    }

    fn check_servers(&mut self, visit: &Visit<'z>, set: RrsetView<'z>, report: &mut Report<'_>) {
        let owner = visit.owner;
        let is_cut = visit.standing == Standing::Cut;
        let cut = owner.name();
        for (index, rdata) in set.rdatas().enumerate() {
            let Ok(server) = Name::from_wire(rdata) else { continue };
            let in_domain = is_cut && server.is_at_or_below(cut);
            let target = if in_domain { self.find_glue(owner, server) } else { self.find(server) };
            let kind = match target {
                Target::Addressed(Some(host)) => {
                    self.mark_glue(host);
                    continue;
                }
                Target::Outside | Target::Addressed(None) => continue,
                _ if in_domain => Kind::MissingGlue(found(cut), found(server)),
                Target::Delegated => Kind::MissingSiblingGlue(found(cut), found(server)),
                Target::Alias => Kind::TargetIsAlias(found(cut), RecordType::NS, found(server)),
                Target::Bare => Kind::TargetWithoutAddress(found(cut), RecordType::NS, found(server)),
            };
            report.add(record_spot(set, index), kind);
        }
    }

    /// Checks the hosts named `skip` octets into the data. A name in a delegated zone is that zone's
    /// business.
    fn check_hosts(
        &mut self,
        owner: OwnerView<'z>,
        set: RrsetView<'z>,
        skip: usize,
        report: &mut Report<'_>,
    ) {
        for (index, rdata) in set.rdatas().enumerate() {
            let Some(Ok(host)) = rdata.get(skip..).map(Name::from_wire) else { continue };
            let kind = match self.find(host) {
                Target::Outside | Target::Addressed(_) | Target::Delegated => continue,
                Target::Alias => Kind::TargetIsAlias(found(owner.name()), set.rtype(), found(host)),
                Target::Bare => Kind::TargetWithoutAddress(found(owner.name()), set.rtype(), found(host)),
            };
            report.add(record_spot(set, index), kind);
        }
    }

    fn mark_glue(&mut self, index: usize) {
        if self.glue.is_empty() {
            self.glue.resize(self.zone.owner_count().div_ceil(64), 0);
        }
        self.glue[index / 64] |= 1 << (index % 64);
    }

    /// Finds the addresses of a server at or below its own delegation.
    fn find_glue(&self, cut: OwnerView<'z>, server: Name<'_>) -> Target {
        let end = self.zone.owner_count().min(cut.index() + GLUE_SCAN_MAX);
        for index in cut.index()..end {
            let owner = self.zone.owner(index);
            if owner.name().eq_ignore_case(server) {
                return addressed(owner).unwrap_or(Target::Bare);
            }
            if !owner.name().is_at_or_below(cut.name()) {
                return Target::Bare;
            }
        }
        self.owner_of(server).and_then(addressed).unwrap_or(Target::Bare)
    }

    fn find(&mut self, target: Name<'z>) -> Target {
        // The root stands for "no host" (RFC 7505 §3, RFC 2782).
        if target.is_root() || !target.is_at_or_below(self.zone.apex()) {
            return Target::Outside;
        }
        if let Some(known) = self.known.get(target.as_wire()) {
            return *known;
        }
        if self.known.len() >= KNOWN_MIN.max(self.zone.owner_count() / OWNERS_PER_TARGET) {
            self.index.get_or_insert_with(|| OwnerIndex::new(self.zone));
            return self.search(target);
        }
        let found = self.search(target);
        self.known.insert(target.as_wire(), found);
        found
    }

    fn owner_of(&self, name: Name<'_>) -> Option<OwnerView<'z>> {
        match &self.index {
            Some(index) => index.find(self.zone, name),
            None => self.zone.find(name),
        }
    }

    /// Whether the name owns nothing but names below it do (RFC 4592 §2.2.2): these follow its place.
    fn is_empty_non_terminal(&self, name: Name<'_>) -> bool {
        let place = self.zone.search(name);
        place.is_err_and(|at| at < self.zone.owner_count() && self.zone.owner(at).name().is_below(name))
    }

    fn search(&self, target: Name<'z>) -> Target {
        let exact = self.owner_of(target);
        exact
            .and_then(addressed)
            .or_else(|| self.hidden(target))
            .or_else(|| exact.map(alias_or_bare))
            .unwrap_or_else(|| self.below_encloser(target))
    }

    /// The name and its ancestors below the apex, upwards.
    fn names_above(&self, name: Name<'z>) -> impl Iterator<Item = Name<'z>> {
        let apex_len = self.zone.apex().len();
        std::iter::successors(Some(name), |name| name.parent()).take_while(move |name| name.len() > apex_len)
    }

    /// What delegations and DNAMEs make of a name: the one nearest to the apex decides (RFC 1034 §4.3.2).
    fn hidden(&self, target: Name<'z>) -> Option<Target> {
        let mut result = None;
        for name in self.names_above(target) {
            let Some(owner) = self.owner_of(name) else { continue };
            if owner.has(RecordType::NS) {
                result = Some(Target::Delegated);
            } else if owner.has(RecordType::DNAME) && name.len() < target.len() {
                result = Some(Target::Alias);
            }
        }
        let apex = self.zone.find(self.zone.apex());
        let is_redirected =
            apex.is_some_and(|apex| apex.has(RecordType::DNAME) && apex.name().len() < target.len());
        if is_redirected { Some(Target::Alias) } else { result }
    }

    /// What a name without records gets from the wildcard below its closest encloser, if it does not exist.
    fn below_encloser(&self, target: Name<'z>) -> Target {
        if self.is_empty_non_terminal(target) {
            return Target::Bare;
        }
        let mut ancestors = self.names_above(target).skip(1);
        let exists = |name: &Name<'z>| self.owner_of(*name).is_some() || self.is_empty_non_terminal(*name);
        self.at_wildcard(ancestors.find(exists).unwrap_or(self.zone.apex()))
    }

    /// What the wildcard below the closest encloser gives (RFC 4592 §3.3.1).
    fn at_wildcard(&self, encloser: Name<'_>) -> Target {
        let Some(wildcard) =
            NameBuf::child(b"*", encloser).ok().and_then(|name| self.owner_of(name.as_name()))
        else {
            return Target::Bare;
        };
        match addressed(wildcard) {
            Some(_) => Target::Addressed(None),
            None => alias_or_bare(wildcard),
        }
    }
}

fn addressed(owner: OwnerView<'_>) -> Option<Target> {
    let has_address = owner.has(RecordType::A) || owner.has(RecordType::AAAA);
    has_address.then(|| Target::Addressed(Some(owner.index())))
}

fn alias_or_bare(owner: OwnerView<'_>) -> Target {
    if owner.has(RecordType::CNAME) { Target::Alias } else { Target::Bare }
}
