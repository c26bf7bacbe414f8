//! Record sets in the wire form of the table: owner C00C, names in the data compressed as RFC 1035 §4.1.4 and
//! RFC 3597 §4 allow, and the place of each pointer noted.

use super::plan::{Plan, PlannedNode};
use crate::content::signature_ttl;
use crate::rdata::{self, NameForm};
use crate::records::{OwnerView, RrsetView, Zone};
use table::{Fixups, NodeFlags, NodeIndex, RrsetSpec};
use wire::message::{HEADER_LEN, POINTER, POINTER_MAX, u16_at, u32_at};
use wire::{Class, Name, RecordType};

/// How far into a set names are that later ones may point to. The set itself may stand behind a chain of
/// CNAMEs, and a pointer reaches 16,383 octets.
const INNER_MAX: usize = 4096;
/// The owner of every record: the name of the question.
const OWNER: [u8; 2] = [0xc0, 0x0c];
/// Octets of a question behind its name.
const QUESTION_FIXED: usize = 4;

/// Encodes one set at a time into buffers that are used again.
pub(super) struct Encoder<'a> {
    zone: &'a Zone,
    plan: &'a Plan,
    records: Vec<u8>,
    signatures: Vec<u8>,
    glue: Vec<u8>,
    glue_count: usize,
    fixups: Fixups,
    /// Where names stand in `records`, for those that come later: the offset there, and that of the whole name in
    /// `names`.
    written: Vec<(u16, u32)>,
    names: Vec<u8>,
    site: Site,
}

/// What the encoding of names depends on, beside the name.
#[derive(Clone, Copy, Default)]
struct Site {
    relative_len: usize,
    is_wildcard: bool,
    is_cut: bool,
    is_apex: bool,
}

impl<'a> Encoder<'a> {
    pub(super) fn new(zone: &'a Zone, plan: &'a Plan) -> Encoder<'a> {
        Encoder {
            zone,
            plan,
            records: Vec::new(),
            signatures: Vec::new(),
            glue: Vec::new(),
            glue_count: 0,
            fixups: Fixups::default(),
            written: Vec::new(),
            names: Vec::new(),
            site: Site::default(),
        }
    }

    /// The sets that follow are those of this name.
    pub(super) fn begin_owner(&mut self, owner: OwnerView<'_>, node: &PlannedNode) {
        self.site = Site {
            relative_len: owner.name().len() - self.zone.apex().len(),
            is_wildcard: node.flags.has(NodeFlags::WILDCARD),
            is_cut: node.flags.has(NodeFlags::CUT),
            is_apex: node.relative_len == 0,
        };
    }

    /// The set that follows is that of this owner of NSEC3 records.
    pub(super) fn begin_nsec3_owner(&mut self, owner: OwnerView<'_>) {
        self.site = Site { relative_len: owner.name().len() - self.zone.apex().len(), ..Site::default() };
    }

    /// Whether the owner has signatures over types that it doesn't have.
    pub(super) fn has_orphans(&self, owner: OwnerView<'_>) -> bool {
        owner.rrset(RecordType::RRSIG).is_some_and(|sigs| sigs.rdatas().any(|rdata| is_orphan(owner, rdata)))
    }

    /// Encodes a set with its signatures, beginning with the record with index `first`.
    pub(super) fn rrset(
        &mut self,
        owner: OwnerView<'_>,
        rrset: RrsetView<'_>,
        first: usize,
    ) -> RrsetSpec<'_> {
        self.clear();
        let rtype = rrset.rtype();
        if rtype == RecordType::RRSIG {
            return self.orphans(owner, rrset);
        }
        let ttl = rrset.ttl();
        for index in (first..rrset.len()).chain(0..first) {
            self.record(owner.name(), rtype, ttl, rrset.rdata(index));
        }
        let signature_count = self.add_signatures(owner, rtype, ttl);
        self.spec(rtype, rrset.len(), signature_count)
    }

    /// Encodes a set with the names in its data as they are.
    pub(super) fn plain_rrset(&mut self, owner: OwnerView<'_>, rrset: RrsetView<'_>) -> RrsetSpec<'_> {
        self.clear();
        for rdata in rrset.rdatas() {
            put_fixed(&mut self.records, rrset.rtype(), rrset.ttl());
            self.records.extend((rdata.len() as u16).to_be_bytes());
            self.records.extend_from_slice(rdata);
        }
        let signature_count = self.add_signatures(owner, rrset.rtype(), rrset.ttl());
        self.spec(rrset.rtype(), rrset.len(), signature_count)
    }

    /// Whether the set that was encoded last has pointers among its own records.
    pub(super) fn has_inner_pointers(&self) -> bool {
        !self.fixups.inner.is_empty()
    }

    /// Encodes the SOA record with the TTL of negative answers: the lower of its own and its last number
    /// (RFC 2308 §3).
    pub(super) fn negative_soa(&mut self, soa: RrsetView<'_>) -> RrsetSpec<'_> {
        self.clear();
        self.site = Site { is_apex: true, ..Site::default() };
        let rdata = soa.rdata(0);
        let minimum = rdata.len().checked_sub(4).and_then(|at| u32_at(rdata, at)).unwrap_or(0);
        let ttl = soa.ttl().min(minimum);
        self.record(self.zone.apex(), RecordType::SOA, ttl, rdata);
        let zone = self.zone;
        let signature_count =
            zone.find(zone.apex()).map_or(0, |apex| self.add_signatures(apex, RecordType::SOA, ttl));
        self.spec(RecordType::SOA, 1, signature_count)
    }

    fn clear(&mut self) {
        self.records.clear();
        self.signatures.clear();
        self.glue.clear();
        self.glue_count = 0;
        self.fixups.clear();
        self.written.clear();
        self.names.clear();
    }

    fn spec(&self, rtype: RecordType, count: usize, signature_count: usize) -> RrsetSpec<'_> {
        RrsetSpec {
            rtype,
            count,
            records: &self.records,
            signature_count,
            signatures: &self.signatures,
            glue_count: self.glue_count,
            glue: &self.glue,
            fixups: &self.fixups,
        }
    }

    fn orphans(&mut self, owner: OwnerView<'_>, rrset: RrsetView<'_>) -> RrsetSpec<'_> {
        let mut count = 0;
        for rdata in rrset.rdatas().filter(|rdata| is_orphan(owner, rdata)) {
            self.record(owner.name(), RecordType::RRSIG, signature_ttl(owner, rdata), rdata);
            count += 1;
        }
        self.spec(RecordType::RRSIG, count, 0)
    }

    /// Appends the RRSIG records that cover `rtype`, with the TTL of the set (RFC 4034 §3).
    fn add_signatures(&mut self, owner: OwnerView<'_>, rtype: RecordType, ttl: u32) -> usize {
        let Some(sigs) = owner.rrset(RecordType::RRSIG) else { return 0 };
        let mut count = 0;
        for rdata in sigs.rdatas() {
            if u16_at(rdata, 0) == Some(rtype.0) {
                put_fixed(&mut self.signatures, RecordType::RRSIG, ttl);
                self.signatures.extend((rdata.len() as u16).to_be_bytes());
                self.signatures.extend_from_slice(rdata);
                count += 1;
            }
        }
        count
    }

    fn record(&mut self, owner: Name<'_>, rtype: RecordType, ttl: u32, rdata: &[u8]) {
        put_fixed(&mut self.records, rtype, ttl);
        let length_at = self.records.len();
        self.records.extend([0, 0]);
        let mut done = 0;
        // Addresses are most of any zone and have no names.
        if !matches!(rtype, RecordType::A | RecordType::AAAA) {
            for embedded in
                rdata::names(rtype, rdata).filter(|embedded| embedded.form == NameForm::Compressible)
            {
                self.records.extend_from_slice(&rdata[done..embedded.offset]);
                self.name(owner, rtype, embedded.name);
                done = embedded.offset + embedded.name.len();
            }
        }
        self.records.extend_from_slice(&rdata[done..]);
        let len = (self.records.len() - length_at - 2) as u16;
        self.records[length_at..length_at + 2].copy_from_slice(&len.to_be_bytes());
    }

    /// Writes a name of the data, with a pointer in place of its longest tail that is the owner, the apex, or
    /// (in NS sets, whose records stay in order) a name written before.
    fn name(&mut self, owner: Name<'_>, rtype: RecordType, name: Name<'_>) {
        let start = self.records.len();
        let apex = self.zone.apex();
        let owner_part = self.shared_with_owner(owner, name);
        let owner_cut = owner_part.map(|(cut, _)| cut);
        let apex_cut = name.relative_len(apex).filter(|_| !apex.is_root());
        let inner = self.inner_tail(rtype, name);
        let shortest = [owner_cut, apex_cut, inner.map(|(cut, _)| cut)].into_iter().flatten().min();
        let Some(cut) = shortest else {
            self.records.extend_from_slice(name.as_wire());
            self.remember(rtype, start, name);
            self.add_additional(owner, rtype, start, name);
            return;
        };
        self.records.extend_from_slice(&name.as_wire()[..cut]);
        let pointer_at = self.records.len() as u16;
        let target = if apex_cut == Some(cut) {
            self.fixups.apex.push(pointer_at);
            HEADER_LEN + self.site.relative_len
        } else if owner_cut == Some(cut) {
            self.fixups.owner.push(pointer_at);
            HEADER_LEN + owner_part.map_or(0, |(_, skip)| skip)
        } else {
            self.fixups.inner.push(pointer_at);
            let set_at = HEADER_LEN + self.site.relative_len + apex.len() + QUESTION_FIXED;
            set_at + inner.map_or(0, |(_, at)| at)
        };
        self.records.extend((POINTER | target as u16).to_be_bytes());
        self.remember(rtype, start, name);
        self.add_additional(owner, rtype, start, name);
    }

    /// The longest tail that `name` shares with the owner below the apex: how many octets come before it in `name`,
    /// and how many in the owner. The `*` of a wildcard is not in the message, only what is behind it.
    fn shared_with_owner(&self, owner: Name<'_>, name: Name<'_>) -> Option<(usize, usize)> {
        let mut part = if self.site.is_wildcard { owner.parent()? } else { owner };
        while part.len() > self.zone.apex().len() {
            if let Some(cut) = name.relative_len(part) {
                return Some((cut, owner.len() - part.len()));
            }
            part = part.parent()?;
        }
        None
    }

    /// The longest tail of `name` that an earlier name of the set has: how many octets come before it, and
    /// where it stands.
    fn inner_tail(&self, rtype: RecordType, name: Name<'_>) -> Option<(usize, usize)> {
        if rtype != RecordType::NS {
            return None;
        }
        let mut tail = name;
        while !tail.is_root() {
            let same = |start: u32| {
                let written = &self.names[start as usize..];
                written.get(..tail.len()).is_some_and(|written| written.eq_ignore_ascii_case(tail.as_wire()))
            };
            if let Some((at, _)) = self.written.iter().find(|(_, start)| same(*start)) {
                return Some((name.len() - tail.len(), usize::from(*at)));
            }
            tail = tail.parent()?;
        }
        None
    }

    /// Notes each tail of a name that was written out, up to where a pointer took over.
    fn remember(&mut self, rtype: RecordType, start: usize, name: Name<'_>) {
        if rtype != RecordType::NS {
            return;
        }
        let name_start = self.names.len();
        self.names.extend_from_slice(name.as_wire());
        let mut before = 0;
        while before + 1 < name.len() {
            let at = start + before;
            if at >= self.records.len() || self.records[at] >= 0xc0 || at > INNER_MAX {
                break;
            }
            self.written.push((at as u16, (name_start + before) as u32));
            before += 1 + usize::from(name.as_wire()[before]);
        }
    }

    /// Notes the addresses that go with a name server (RFC 1034 §4.3.2 step 3b, RFC 9471).
    fn add_additional(&mut self, owner: Name<'_>, rtype: RecordType, name_at: usize, target: Name<'_>) {
        let wanted = rtype == RecordType::NS && (self.site.is_cut || self.site.is_apex);
        if !wanted || !target.is_at_or_below(self.zone.apex()) {
            return;
        }
        let Some(index) = self.plan.find(self.zone, target) else { return };
        let Some(host) = self.plan.nodes[index as usize].owner_in(self.zone) else { return };
        let addresses = [RecordType::A, RecordType::AAAA].into_iter().filter_map(|rtype| host.rrset(rtype));
        let Ok(name_at) = u16::try_from(name_at) else { return };
        if self.site.is_cut && target.is_at_or_below(owner) {
            addresses.for_each(|rrset| self.add_glue(name_at, rrset));
        } else if addresses.count() > 0 {
            self.fixups.additional.push((name_at, NodeIndex::Name(index)));
        }
    }

    /// Notes addresses that a referral must have.
    fn add_glue(&mut self, name_at: u16, rrset: RrsetView<'_>) {
        for rdata in rrset.rdatas() {
            let start = self.glue.len();
            put_fixed(&mut self.glue, rrset.rtype(), rrset.ttl());
            // A name further on than a pointer reaches gets one that no message can have; the referral is cut there.
            let owner = POINTER | name_at.min(POINTER_MAX as u16);
            self.glue[start..start + 2].copy_from_slice(&owner.to_be_bytes());
            self.glue.extend((rdata.len() as u16).to_be_bytes());
            self.glue.extend_from_slice(rdata);
            self.glue_count += 1;
        }
    }
}

fn is_orphan(owner: OwnerView<'_>, rrsig: &[u8]) -> bool {
    // Nor does anything cover signatures (RFC 4035 §2.2).
    let covered = u16_at(rrsig, 0).map(RecordType).filter(|covered| *covered != RecordType::RRSIG);
    !covered.is_some_and(|covered| owner.has(covered))
}

fn put_fixed(octets: &mut Vec<u8>, rtype: RecordType, ttl: u32) {
    let mut fixed = [0; 10];
    fixed[..2].copy_from_slice(&OWNER);
    fixed[2..4].copy_from_slice(&rtype.0.to_be_bytes());
    fixed[4..6].copy_from_slice(&Class::IN.0.to_be_bytes());
    fixed[6..].copy_from_slice(&ttl.to_be_bytes());
    octets.extend_from_slice(&fixed);
}
