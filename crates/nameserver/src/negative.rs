//! Negative answers and their proofs: RFC 2308, RFC 4035 §3.1.3, RFC 5155 §7.2.

use crate::answer::{Answering, CHAIN_MAX, Outcome};
use crate::trace::{Rule, Trace};
use crate::writer::{Full, Owner, Section, Signatures, Writer};
use table::denial::Nsec3Place;
use table::{Encloser, Extent, Found, ImageFlags, Link, Node, NodeId, Table};
use wire::{FoldedName, NameBuf, Rcode, RecordType};

/// The most records of denial in one answer: three for the last name, and two for each wildcard before it would be
/// more than fits a datagram; a longer list would only repeat what is there.
const PROOFS_MAX: usize = 12;

/// Which proofs the answer has, and which it still needs.
#[derive(Clone, Copy)]
pub(crate) struct Proofs {
    given: [(NodeId, RecordType); PROOFS_MAX],
    given_len: usize,
    /// Where the names stand that a wildcard was used for. Their proofs go to the authority section, so they wait
    /// until the answer section is complete.
    owed: [u16; CHAIN_MAX + 1],
    owed_len: usize,
}

impl Default for Proofs {
    fn default() -> Proofs {
        Proofs {
            given: [(NodeId::NONE, RecordType::NSEC); PROOFS_MAX],
            given_len: 0,
            owed: [0; CHAIN_MAX + 1],
            owed_len: 0,
        }
    }
}

impl Proofs {
    /// Makes ready for the next query. One value serves them all, so that nothing has to be zeroed.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.given_len = 0;
        self.owed_len = 0;
    }

    /// Whether the answer has none and owes none.
    #[inline]
    pub(crate) fn are_none(&self) -> bool {
        self.given_len == 0 && self.owed_len == 0
    }

    #[inline]
    pub(crate) fn are_owed(&self) -> bool {
        self.owed_len != 0
    }

    pub(crate) fn owe(&mut self, name_at: usize) {
        if let Some(place) = self.owed.get_mut(self.owed_len) {
            *place = name_at as u16;
            self.owed_len += 1;
        }
    }

    /// Takes note of a set; false where it is in the answer already.
    pub(crate) fn give(&mut self, node: NodeId, rtype: RecordType) -> bool {
        if self.given[..self.given_len].contains(&(node, rtype)) {
            return false;
        }
        if let Some(place) = self.given.get_mut(self.given_len) {
            *place = (node, rtype);
            self.given_len += 1;
        }
        true
    }
}

impl<'a, T: Trace> Answering<'a, '_, T> {
    /// The name exists and has no records of the type (RFC 2308 §2.2).
    pub(crate) fn no_data(&mut self, node: Node<'a>, name_at: usize) -> Result<Outcome, Full> {
        self.trace.note(Rule::NoData);
        let outcome = Outcome::authoritative(Rcode::NOERROR);
        if self.soa().is_err() {
            return Ok(self.truncated(outcome));
        }
        if self.signatures == Signatures::With && self.prove_no_type(node, name_at).is_err() {
            return Ok(self.truncated(outcome));
        }
        Ok(outcome)
    }

    /// Neither the name nor a wildcard exists (RFC 2308 §2.1).
    #[inline]
    pub(crate) fn name_error(&mut self, encloser: Encloser<'a>, name_at: usize) -> Result<Outcome, Full> {
        self.trace.note(Rule::NameError);
        let outcome = Outcome::authoritative(Rcode::NXDOMAIN);
        if self.signatures == Signatures::With
            && encloser.node.relative_len() == 0
            && self.proofs.are_none()
            && let Ok(rule) = deny_below_apex(self.table, self.name, encloser.next_closer, self.writer)
        {
            self.trace.note(rule);
            return Ok(outcome);
        }
        if self.soa().is_err() {
            return Ok(self.truncated(outcome));
        }
        if self.signatures == Signatures::With && self.prove_no_name(encloser, name_at).is_err() {
            return Ok(self.truncated(outcome));
        }
        Ok(outcome)
    }

    /// A wildcard stands in for the name, and it has no records of the type (RFC 4592 §2.2.1).
    pub(crate) fn wildcard_no_data(
        &mut self,
        encloser: Encloser<'a>,
        wildcard: Node<'a>,
        name_at: usize,
    ) -> Result<Outcome, Full> {
        self.trace.note(Rule::NoData);
        let outcome = Outcome::authoritative(Rcode::NOERROR);
        if self.soa().is_err() {
            return Ok(self.truncated(outcome));
        }
        if self.signatures == Signatures::With
            && self.prove_wildcard_no_type(encloser, wildcard, name_at).is_err()
        {
            return Ok(self.truncated(outcome));
        }
        Ok(outcome)
    }

    fn soa(&mut self) -> Result<(), Full> {
        self.pay_proofs()?;
        let extent = if self.signatures == Signatures::With { Extent::SignedSoa } else { Extent::Soa };
        self.writer.part(self.table.negative_part(extent))
    }

    fn has(&self, flag: ImageFlags) -> bool {
        self.table.flags().has(flag)
    }

    /// Proves that a name that exists lacks a type (RFC 4035 §3.1.3.1, RFC 5155 §7.2.3, §7.2.4).
    pub(crate) fn prove_no_type(&mut self, node: Node<'a>, name_at: usize) -> Result<(), Full> {
        if self.has(ImageFlags::NSEC) {
            self.trace.note(Rule::NsecProof);
            if node.rrset(RecordType::NSEC).is_some() {
                return self.nsec(node, name_at);
            }
            // An empty non-terminal has no NSEC record; the one before it covers it.
            return self.nsec_cover_name(name_at);
        }
        if self.has(ImageFlags::NSEC3) {
            self.trace.note(Rule::Nsec3Proof);
            let denial = node.denial();
            if !denial.nsec3_match.is_none() {
                return self.nsec3(denial.nsec3_match);
            }
            if [denial.nsec3_encloser, denial.nsec3_cover].iter().any(|link| self.table.is_outdated(*link)) {
                return self.prove_opt_out(node);
            }
            self.nsec3(denial.nsec3_encloser)?;
            self.nsec3(denial.nsec3_cover)?;
        }
        Ok(())
    }

    /// Proves that neither the name nor a wildcard exists (RFC 4035 §3.1.3.2, RFC 5155 §7.2.2).
    fn prove_no_name(&mut self, encloser: Encloser<'a>, name_at: usize) -> Result<(), Full> {
        if self.has(ImageFlags::NSEC) {
            self.trace.note(Rule::NsecProof);
            self.nsec_cover_name(name_at)?;
            let covers_wildcard = encloser.node.denial().no_wildcard;
            if self.table.is_outdated(covers_wildcard)
                && self.spare.set_wildcard_below(self.name, encloser.next_closer + 1)
                && let Some(cover) = self.table.nsec_cover(self.spare)
            {
                return self.nsec(cover, name_at);
            }
            // A name with nothing below it covers the wildcard itself.
            let node = self.table.node(covers_wildcard).unwrap_or(encloser.node);
            return self.nsec(node, name_at);
        }
        if self.has(ImageFlags::NSEC3) {
            self.trace.note(Rule::Nsec3Proof);
            let encloser = self.provable(encloser);
            let denial = encloser.node.denial();
            self.nsec3(denial.nsec3_match)?;
            self.nsec3_cover(encloser.next_closer)?;
            // An encloser that has a wildcard is none of this name's, and only the nearest that can be proved. The
            // wildcard may have opted out too.
            if (denial.no_wildcard.is_none() || self.table.is_outdated(denial.no_wildcard))
                && self.spare.set_wildcard_below(self.name, encloser.next_closer + 1)
                && let Some(Nsec3Place::Cover(cover)) = self.table.nsec3_place(self.spare, 0)
            {
                return self.nsec3_of(cover);
            }
            self.nsec3(denial.no_wildcard)?;
        }
        Ok(())
    }

    /// Proves that the name itself doesn't exist, so that the wildcard had to stand in, and that the wildcard lacks
    /// the type (RFC 4035 §3.1.3.4, RFC 5155 §7.2.5).
    fn prove_wildcard_no_type(
        &mut self,
        encloser: Encloser<'a>,
        wildcard: Node<'a>,
        name_at: usize,
    ) -> Result<(), Full> {
        if self.has(ImageFlags::NSEC) {
            self.trace.note(Rule::NsecProof);
            self.nsec_cover_name(name_at)?;
            if wildcard.rrset(RecordType::NSEC).is_some() {
                return self.nsec(wildcard, name_at);
            }
            // The wildcard is an empty non-terminal, denied like one.
            if self.spare.set_wildcard_below(self.name, encloser.next_closer + 1)
                && let Some(cover) = self.table.nsec_cover(self.spare)
            {
                return self.nsec(cover, name_at);
            }
        } else if self.has(ImageFlags::NSEC3) {
            self.trace.note(Rule::Nsec3Proof);
            // Above nothing but delegations that opted out, encloser and wildcard have no records; what covers the
            // next closer name says so then.
            let encloser = self.provable(encloser);
            self.nsec3(encloser.node.denial().nsec3_match)?;
            self.nsec3_cover(encloser.next_closer)?;
            self.nsec3(wildcard.denial().nsec3_match)?;
        }
        Ok(())
    }

    /// Appends the proofs for names that a wildcard was used for: that they don't exist themselves (RFC 4035
    /// §3.1.3.3, RFC 5155 §7.2.6). Called when the answer section is complete.
    pub(crate) fn pay_proofs(&mut self) -> Result<(), Full> {
        if !self.proofs.are_owed() {
            return Ok(());
        }
        let owed = self.proofs.owed;
        let owed_len = std::mem::take(&mut self.proofs.owed_len);
        for name_at in owed[..owed_len].iter().copied().map(usize::from) {
            if self.spare.read_compressed(self.writer.octets, name_at).is_err() {
                continue;
            }
            let Found::Missing(encloser) = self.table.find(self.spare) else { continue };
            if self.has(ImageFlags::NSEC) {
                self.trace.note(Rule::NsecProof);
                if let Some(cover) = self.table.nsec_cover(self.spare) {
                    self.nsec(cover, name_at)?;
                }
            } else if self.has(ImageFlags::NSEC3) {
                self.trace.note(Rule::Nsec3Proof);
                if let Some(Nsec3Place::Cover(cover)) =
                    self.table.nsec3_place(self.spare, encloser.next_closer)
                {
                    self.nsec3_of(cover)?;
                }
            }
        }
        Ok(())
    }

    /// The NSEC record that covers the current name, which stands at `name_at`.
    fn nsec_cover_name(&mut self, name_at: usize) -> Result<(), Full> {
        match self.table.nsec_cover(self.name) {
            Some(cover) => self.nsec(cover, name_at),
            None => Ok(()),
        }
    }

    /// Appends the NSEC record of a node, its owner compressed against the name at `name_at`: what covers a name is
    /// often an ancestor of it, or a sibling of one.
    fn nsec(&mut self, node: Node<'a>, name_at: usize) -> Result<(), Full> {
        let Some(rrset) = node.rrset(RecordType::NSEC) else { return Ok(()) };
        if !self.proofs.give(node.id(), RecordType::NSEC) {
            return Ok(());
        }
        let owner = self.writer.owner_beside(node.relative_name(), name_at);
        self.writer.rrset(Section::Authority, node, rrset, owner, Signatures::With, 0)?;
        Ok(())
    }

    fn nsec3(&mut self, link: Link<'a>) -> Result<(), Full> {
        self.table.node(link).map_or(Ok(()), |node| self.nsec3_of(node))
    }

    /// Appends the NSEC3 record of its owner.
    fn nsec3_of(&mut self, node: Node<'a>) -> Result<(), Full> {
        let Some(rrset) = node.rrset(RecordType::NSEC3) else { return Ok(()) };
        if !self.proofs.give(node.id(), RecordType::NSEC3) {
            return Ok(());
        }
        let owner = Owner::Literal { labels_len: node.relative_len(), rest_at: self.writer.apex_at };
        self.writer.rrset(Section::Authority, node, rrset, owner, Signatures::With, 0)?;
        Ok(())
    }

    /// The NSEC3 record that covers the current name from this label on.
    fn nsec3_cover(&mut self, from: usize) -> Result<(), Full> {
        match self.table.nsec3_place(self.name, from) {
            Some(Nsec3Place::Cover(node) | Nsec3Place::Match(node)) => self.nsec3_of(node),
            None => Ok(()),
        }
    }

    /// Proves anew that a name has no NSEC3 record because it opted out: its closest provable encloser, and the record that
    /// covers the next closer name (RFC 5155 §7.2.4, §7.2.7).
    #[cold]
    fn prove_opt_out(&mut self, node: Node<'a>) -> Result<(), Full> {
        let Ok(name) = NameBuf::joined(node.relative_name(), self.table.apex_name()) else { return Ok(()) };
        self.spare.set(name.as_name());
        for next_closer in 0..self.spare.label_count() - self.table.apex_labels() {
            if let Some(Nsec3Place::Match(encloser)) = self.table.nsec3_place(self.spare, next_closer + 1) {
                let cover = self.table.nsec3_place(self.spare, next_closer);
                self.nsec3_of(encloser)?;
                return match cover {
                    Some(Nsec3Place::Cover(node) | Nsec3Place::Match(node)) => self.nsec3_of(node),
                    None => Ok(()),
                };
            }
        }
        Ok(())
    }

    /// The closest encloser that has an NSEC3 record: opt-out leaves some names without (RFC 5155 §7.2.1).
    fn provable(&mut self, mut encloser: Encloser<'a>) -> Encloser<'a> {
        let labels_below_apex = self.name.label_count() - self.table.apex_labels();
        while encloser.node.denial().nsec3_match.is_none() && encloser.next_closer + 1 < labels_below_apex {
            let parent = self.name.label_start(encloser.next_closer + 2);
            if self.spare.read(self.name.as_wire(), parent).is_err() {
                break;
            }
            let Found::Exact(node) = self.table.find(self.spare) else { break };
            encloser = Encloser { node, next_closer: encloser.next_closer + 1 };
        }
        encloser
    }
}

/// Denies a name right below the apex, or below that, with the part that was made for it. Nothing is appended where the table
/// has none, or what it has doesn't fit.
#[inline(always)]
pub(crate) fn deny_below_apex(
    table: &Table,
    name: &FoldedName,
    next_closer: usize,
    writer: &mut Writer<'_>,
) -> Result<Rule, Full> {
    let [first, second] = table.negative_proofs();
    if first == NodeId::NONE {
        return Err(Full);
    }
    let (cover, rule, rtype) = if table.flags().has(ImageFlags::NSEC) {
        (table.nsec_cover(name), Rule::NsecProof, RecordType::NSEC)
    } else {
        let place = table.nsec3_place(name, next_closer);
        let cover = place.map(|(Nsec3Place::Cover(node) | Nsec3Place::Match(node))| node);
        (cover, Rule::Nsec3Proof, RecordType::NSEC3)
    };
    let start = writer.mark();
    writer.part(table.negative_part(Extent::Proofs))?;
    if let Some(node) = cover.filter(|node| ![first, second].contains(&node.id()))
        && let Some(rrset) = node.rrset(rtype)
    {
        // The name shares no label with another but those of the apex.
        let owner = match node.relative_len() {
            0 => Owner::At(writer.apex_at),
            labels_len => Owner::Literal { labels_len, rest_at: writer.apex_at },
        };
        if let Err(full) = writer.rrset(Section::Authority, node, rrset, owner, Signatures::With, 0) {
            writer.reset(start);
            return Err(full);
        }
    }
    Ok(rule)
}
