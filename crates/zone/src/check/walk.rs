//! The owners of a zone in canonical order, each with what the zone is to it.

use crate::records::{OwnerView, Zone};
use wire::{Name, RecordType};

/// What the zone is to a name of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    /// It answers for it.
    Authoritative,
    /// It delegates it (RFC 2181 §6).
    Cut,
    /// A delegation or a DNAME above hides it.
    Occluded,
    /// The owner of NSEC3 records alone, which is no name of the zone by that (RFC 5155 §7.2.8).
    Nsec3,
}

/// An owner on the walk.
#[derive(Clone, Copy)]
pub(super) struct Visit<'z> {
    pub(super) owner: OwnerView<'z>,
    pub(super) standing: Standing,
    /// The topmost delegation at or above the name.
    pub(super) cut: Option<OwnerView<'z>>,
    /// The topmost DNAME above the name.
    pub(super) dname: Option<OwnerView<'z>>,
    /// Whether the owner has RRSIG records.
    pub(super) has_signatures: bool,
}

impl Visit<'_> {
    /// Whether NSEC and signatures are due for this type: all at a name of the zone, but at a delegation only
    /// what the parent has authority over (RFC 4035 §2.2, §2.3).
    pub(super) fn is_signed_type(&self, rtype: RecordType) -> bool {
        match self.standing {
            Standing::Authoritative => true,
            Standing::Cut => matches!(rtype, RecordType::DS | RecordType::NSEC),
            Standing::Nsec3 => rtype == RecordType::NSEC3,
            Standing::Occluded => false,
        }
    }

    /// The types that the bit map of the name's NSEC or NSEC3 record lists (RFC 4035 §2.3, RFC 5155 §7.1).
    pub(super) fn denied_types(&self) -> impl Iterator<Item = RecordType> {
        let is_cut = self.standing == Standing::Cut;
        self.owner.rrsets().map(|set| set.rtype()).filter(move |rtype| {
            use RecordType as T;
            *rtype != T::NSEC3 && (!is_cut || matches!(*rtype, T::NS | T::DS | T::NSEC | T::RRSIG))
        })
    }
}

/// Walks a zone.
pub(super) struct Walk<'z> {
    zone: &'z Zone,
    next: usize,
    cut: Option<(Name<'z>, OwnerView<'z>)>,
    dname: Option<(Name<'z>, OwnerView<'z>)>,
}

impl<'z> Walk<'z> {
    pub(super) fn new(zone: &'z Zone) -> Walk<'z> {
        Walk { zone, next: 0, cut: None, dname: None }
    }
}

impl<'z> Iterator for Walk<'z> {
    type Item = Visit<'z>;

    #[inline]
    fn next(&mut self) -> Option<Visit<'z>> {
        if self.next == self.zone.owner_count() {
            return None;
        }
        let owner = self.zone.owner(self.next);
        self.next += 1;
        // All names below a name follow it without others between them.
        if self.cut.is_some() || self.dname.is_some() {
            let name = owner.name();
            self.cut = self.cut.filter(|(cut, _)| name.is_below(*cut));
            self.dname = self.dname.filter(|(dname, _)| name.is_below(*dname));
        }
        let (mut has_ns, mut has_dname, mut has_nsec3, mut has_signatures) = (false, false, false, false);
        let mut has_own = false;
        for set in owner.rrsets() {
            match set.rtype() {
                RecordType::NSEC3 => has_nsec3 = true,
                RecordType::RRSIG => has_signatures = true,
                rtype => {
                    has_own = true;
                    has_ns |= rtype == RecordType::NS;
                    has_dname |= rtype == RecordType::DNAME;
                }
            }
        }
        if has_nsec3 && !has_own {
            return Some(Visit { owner, standing: Standing::Nsec3, cut: None, dname: None, has_signatures });
        }
        let above = self.dname.map(|(_, dname)| dname);
        let mut standing = Standing::Authoritative;
        if self.cut.is_some() || above.is_some() {
            standing = Standing::Occluded;
        } else if has_ns && owner.name().len() > self.zone.apex().len() {
            standing = Standing::Cut;
            self.cut = Some((owner.name(), owner));
        }
        if has_dname && self.dname.is_none() {
            self.dname = Some((owner.name(), owner));
        }
        Some(Visit { owner, standing, cut: self.cut.map(|(_, cut)| cut), dname: above, has_signatures })
    }
}
