//! The algorithm of an authoritative server on a table: RFC 1034 §4.3.2 as amended by 2181, 2308, 4035, 4592,
//! 5155, 6672 and 9471.

use crate::client::{self, Client, Subnet};
use crate::negative::Proofs;
use crate::responder::Transport;
use crate::trace::{Rule, Trace};
use crate::writer::{Full, Owner, Placed, Section, Signatures, Writer};
use table::{Encloser, Found, ImageFlags, Links, Node, NodeFlags, Rrset, Table, Variant, Withheld};
use wire::message::{HEADER_LEN, POINTER, POINTER_MAX, RECORD_FIXED_LEN, ede, skip_labels};
use wire::{Class, FoldedName, NameBuf, Rcode, RecordType};

/// How many CNAMEs of one zone are followed in an answer. Resolvers give up at 8 to 17; a longer chain is cut here
/// and the client goes on from its end.
pub(crate) const CHAIN_MAX: usize = 16;

/// What became of a query, beside the records in the message.
#[derive(Clone, Copy)]
pub(crate) struct Outcome {
    pub(crate) rcode: Rcode,
    pub(crate) authoritative: bool,
    pub(crate) truncated: bool,
    /// The code of an Extended DNS Error (RFC 8914).
    pub(crate) ede: Option<u16>,
}

impl Outcome {
    #[inline]
    pub(crate) fn authoritative(rcode: Rcode) -> Outcome {
        Outcome { rcode, authoritative: true, truncated: false, ede: None }
    }

    pub(crate) fn error(rcode: Rcode) -> Outcome {
        Outcome { rcode, authoritative: false, truncated: false, ede: None }
    }

    #[inline]
    pub(crate) fn referral() -> Outcome {
        Outcome { rcode: Rcode::NOERROR, authoritative: false, truncated: false, ede: None }
    }

    pub(crate) fn with_ede(mut self, code: u16) -> Outcome {
        self.ede = Some(code);
        self
    }
}

/// One query being answered from one table.
pub(crate) struct Answering<'a, 'b, T> {
    pub(crate) table: &'a Table,
    /// The name looked for: the question's, then each target of a chain.
    pub(crate) name: &'a mut FoldedName,
    /// For names that are made on the way.
    pub(crate) spare: &'a mut FoldedName,
    pub(crate) qtype: RecordType,
    pub(crate) transport: Transport,
    pub(crate) signatures: Signatures,
    pub(crate) rotation: usize,
    pub(crate) client: &'a dyn Client,
    /// For which network the answer is, where the query says so.
    pub(crate) subnet: Option<&'a Subnet>,
    pub(crate) writer: &'a mut Writer<'b>,
    pub(crate) proofs: &'a mut Proofs,
    pub(crate) trace: &'a mut T,
}

/// What one name of a chain gave.
enum Step {
    /// The response is complete.
    Done(Outcome),
    /// The name is an alias; its target stands at this offset of the message.
    Alias { target_at: usize },
    /// The name has what was asked for, and it can't be answered with.
    Failure,
}

impl<'a, T: Trace> Answering<'a, '_, T> {
    /// Answers; `found` is where the name of the question leads.
    pub(crate) fn run(mut self, found: Found<'a>) -> Outcome {
        let outcome = match self.step(found, HEADER_LEN) {
            Ok(Step::Done(outcome)) => outcome,
            Ok(Step::Alias { target_at }) => self.follow(target_at),
            Ok(Step::Failure) => self.failure(),
            Err(Full) => self.truncated(Outcome::authoritative(Rcode::NOERROR)),
        };
        if self.proofs.are_owed() && !outcome.truncated && self.pay_proofs().is_err() {
            return self.truncated(outcome);
        }
        outcome
    }

    /// Goes along a chain of aliases as long as it stays in the zone (RFC 1034 §4.3.2 step 3a).
    fn follow(&mut self, mut target_at: usize) -> Outcome {
        let good = Outcome::authoritative(Rcode::NOERROR);
        // Where the names stand that were looked up so far.
        let mut seen = [HEADER_LEN; CHAIN_MAX + 1];
        for hop in 1..=CHAIN_MAX {
            if !self.writer.is_in_reach() || self.name.read_compressed(self.writer.octets, target_at).is_err()
            {
                return self.truncated(good);
            }
            if !self.is_in_zone() {
                self.trace.note(Rule::TargetOutside);
                return good;
            }
            if self.returns_to(&seen[..hop]) {
                break;
            }
            seen[hop] = target_at;
            let found = self.table.find(self.name);
            match self.step(found, target_at) {
                // The first name's data is this zone's, so the answer has authority, wherever it leads.
                Ok(Step::Done(outcome)) => return Outcome { authoritative: true, ..outcome },
                Ok(Step::Alias { target_at: next }) => target_at = next,
                Ok(Step::Failure) => return self.failure(),
                Err(Full) => return self.truncated(good),
            }
        }
        self.trace.note(Rule::ChainEnd);
        good
    }

    /// Says that it can't be answered. The last name of a chain decides (RFC 6604 §3), and what led to it is taken back: an
    /// error has nothing but the question, as in Knot, and in BIND where a resolver asks.
    #[cold]
    fn failure(&mut self) -> Outcome {
        self.trace.note(Rule::Failure);
        self.writer.take_back();
        self.proofs.clear();
        Outcome::error(Rcode::SERVFAIL).with_ede(ede::OTHER)
    }

    /// Whether the current name is one of those at these places, so that the chain is a loop.
    fn returns_to(&mut self, places: &[usize]) -> bool {
        places.iter().any(|at| {
            self.spare.read_compressed(self.writer.octets, *at).is_ok()
                && self.spare.as_wire() == self.name.as_wire()
        })
    }

    pub(crate) fn truncated(&mut self, outcome: Outcome) -> Outcome {
        self.trace.note(Rule::Truncated);
        Outcome { truncated: true, ..outcome }
    }

    fn is_in_zone(&self) -> bool {
        let apex = self.table.apex_name();
        let (labels, apex_labels) = (self.name.label_count(), self.table.apex_labels());
        labels >= apex_labels
            && self.name.as_wire()[self.name.label_start(labels - apex_labels)..] == *apex.as_wire()
    }

    /// Appends what a name gives that leads to `found`; the name stands at `name_at` in the message.
    fn step(&mut self, found: Found<'a>, name_at: usize) -> Result<Step, Full> {
        match found {
            Found::Exact(node) => {
                if node.flags().has(NodeFlags::CUT) && self.qtype != RecordType::DS {
                    return self.referral(node, name_at).map(Step::Done);
                }
                self.trace.note(Rule::Exact);
                self.at_node(node, name_at)
            }
            Found::BelowCut(encloser) => {
                let at = self.encloser_at(encloser, name_at);
                self.referral(encloser.node, at).map(Step::Done)
            }
            Found::BelowDname(encloser) => self.dname(encloser, name_at),
            Found::Missing(encloser) => self.missing(encloser, name_at),
        }
    }

    /// Where the closest encloser's name stands, which is the end of the name at `name_at`.
    fn encloser_at(&self, encloser: Encloser<'_>, name_at: usize) -> usize {
        if name_at == HEADER_LEN {
            return HEADER_LEN + self.name.label_start(encloser.next_closer + 1);
        }
        skip_labels(self.writer.octets, name_at, encloser.next_closer + 1).unwrap_or(self.writer.apex_at)
    }

    /// The name exists in the zone, with authority.
    #[inline]
    fn at_node(&mut self, node: Node<'a>, name_at: usize) -> Result<Step, Full> {
        if let Some(rrset) = node.rrset(self.qtype) {
            let rrset = match self.chosen(rrset) {
                Ok(rrset) => rrset,
                Err(Withheld::Nothing) => return self.no_data(node, name_at).map(Step::Done),
                Err(Withheld::Failure) => return Ok(Step::Failure),
            };
            if self.qtype == RecordType::DNAME && !self.proofs.give(node.id(), RecordType::DNAME) {
                // The chain came through it, so it is in the answer.
                return Ok(Step::Done(Outcome::authoritative(Rcode::NOERROR)));
            }
            let (rrset, first) = self.turned(node, rrset);
            let owner = Owner::At(name_at);
            let placed = self.writer.rrset(Section::Answer, node, rrset, owner, self.signatures, first)?;
            if self.qtype == RecordType::NS {
                self.pay_proofs()?;
                self.addresses(rrset, rrset.links(), placed, Signatures::With);
            }
            return Ok(Step::Done(Outcome::authoritative(Rcode::NOERROR)));
        }
        self.other_at_node(node, name_at)
    }

    /// The node has no set of the type that was asked for.
    fn other_at_node(&mut self, node: Node<'a>, name_at: usize) -> Result<Step, Full> {
        if self.qtype == RecordType::ANY && node.rrset_count() > 0 {
            return match self.any(node, name_at)? {
                Step::Done(_) if self.writer.is_empty() => self.no_data(node, name_at).map(Step::Done),
                step => Ok(step),
            };
        }
        if self.qtype == RecordType::RRSIG && self.signatures_of(node, name_at)? {
            return Ok(Step::Done(Outcome::authoritative(Rcode::NOERROR)));
        }
        if node.flags().has(NodeFlags::CNAME)
            && !self.stands_beside_cname()
            && let Some(cname) = node.rrset(RecordType::CNAME)
        {
            return match self.chosen(cname) {
                Ok(cname) => self.alias(node, cname, name_at),
                Err(Withheld::Nothing) => self.no_data(node, name_at).map(Step::Done),
                Err(Withheld::Failure) => Ok(Step::Failure),
            };
        }
        if node.rrset_count() == 0 {
            self.trace.note(Rule::EmptyNonTerminal);
        }
        self.no_data(node, name_at).map(Step::Done)
    }

    /// Appends the CNAME of a name that was asked for something else.
    fn alias(&mut self, node: Node<'a>, cname: Rrset<'a>, name_at: usize) -> Result<Step, Full> {
        self.trace.note(Rule::Cname);
        let placed = self.answer(node, cname, name_at)?;
        Ok(Step::Alias { target_at: placed.at + 2 + RECORD_FIXED_LEN })
    }

    /// Whether the type asked for may stand beside a CNAME, so that asking for it means the alias itself
    /// (RFC 4034 §4, RFC 4035 §2.5).
    fn stands_beside_cname(&self) -> bool {
        matches!(self.qtype, RecordType::NSEC | RecordType::RRSIG)
    }

    /// The set that this answer has in the place of one of a node, if it gets any.
    #[inline]
    fn chosen(&mut self, rrset: Rrset<'a>) -> Result<Rrset<'a>, Withheld> {
        if !rrset.is_steered() {
            return Ok(rrset);
        }
        self.trace.note(Rule::Steered);
        let number = rrset.variants_number();
        let chosen = match self.subnet {
            None => client::chosen(self.table, number, self.rotation, self.client),
            Some(subnet) => client::chosen_for(self.table, number, self.rotation, self.client, subnet),
        };
        match chosen {
            Some(chosen) => Ok(Variant::rrset(chosen)),
            None => Err(self.withheld(number)),
        }
    }

    /// What is answered where there is none of these variants for anybody.
    #[cold]
    fn withheld(&mut self, number: u16) -> Withheld {
        let withheld = self.table.variants(number).and_then(table::Variants::withheld);
        if withheld == Some(Withheld::Nothing) {
            self.trace.note(Rule::Withheld);
        }
        withheld.unwrap_or(Withheld::Failure)
    }

    /// Appends a set to the answer section, rotated.
    fn answer(&mut self, node: Node<'a>, rrset: Rrset<'a>, name_at: usize) -> Result<Placed, Full> {
        let (rrset, first) = self.turned(node, rrset);
        self.writer.rrset(Section::Answer, node, rrset, Owner::At(name_at), self.signatures, first)
    }

    /// The set as this answer has it: which copy of it, and which record comes first.
    fn turned(&self, node: Node<'a>, rrset: Rrset<'a>) -> (Rrset<'a>, usize) {
        let count = usize::from(rrset.count());
        if count == 1 || !self.table.flags().has(ImageFlags::ROTATE) {
            return (rrset, 0);
        }
        let first = self.rotation % count;
        if rrset.has_inner_fixups() {
            return (node.turned_rrset(rrset.rtype(), first).unwrap_or(rrset), 0);
        }
        (rrset, first)
    }

    /// All signatures at a name, for the question RRSIG; false where there are none.
    fn signatures_of(&mut self, node: Node<'a>, name_at: usize) -> Result<bool, Full> {
        let mut found = false;
        for rrset in node.rrsets() {
            let Ok(rrset) = self.chosen(rrset) else { continue };
            let mut rest = rrset.signatures();
            while let Some(head) = rest.first_chunk::<12>() {
                let len = 12 + usize::from(u16::from_be_bytes([head[10], head[11]]));
                let owner = (POINTER | name_at as u16).to_be_bytes();
                self.writer.record(Section::Answer, &[&owner, &rest[2..len]])?;
                rest = &rest[len..];
                found = true;
            }
        }
        Ok(found)
    }

    /// RFC 8482: over UDP one set is enough; over TCP, where nobody is flooded with it, everything.
    /// What answers of some type fail for is left out, and all of it fails where nothing else is left.
    fn any(&mut self, node: Node<'a>, name_at: usize) -> Result<Step, Full> {
        let takes_all = self.transport == Transport::Tcp;
        self.trace.note(if takes_all { Rule::AnyAll } else { Rule::AnyOne });
        let (mut is_any, mut is_failure) = (false, false);
        for rrset in node.rrsets() {
            match self.chosen(rrset) {
                Ok(rrset) => {
                    self.answer(node, rrset, name_at)?;
                    is_any = true;
                }
                Err(withheld) => is_failure |= withheld == Withheld::Failure,
            }
            if is_any && !takes_all {
                break;
            }
        }
        match is_failure && !is_any {
            true => Ok(Step::Failure),
            false => Ok(Step::Done(Outcome::authoritative(Rcode::NOERROR))),
        }
    }

    /// A referral to the zone below (RFC 1034 §4.3.2 step 3b); the cut's name stands at `cut_at`.
    fn referral(&mut self, cut: Node<'a>, cut_at: usize) -> Result<Outcome, Full> {
        self.trace.note(Rule::Referral);
        // RFC 7871 §7.4: it is the resolver that goes on from here, so addresses are those for itself.
        self.subnet = None;
        let Some(ns) = cut.rrset(RecordType::NS) else { return Ok(Outcome::error(Rcode::SERVFAIL)) };
        self.pay_proofs()?;
        let outcome = Outcome::referral();
        // The parent's NS records are not signed (RFC 4035 §2.2).
        let links = ns.links();
        let Ok(placed) = self.writer.delegation(cut, ns, links, cut_at) else {
            return Ok(self.truncated(outcome));
        };
        let is_signed = self.table.flags().has(ImageFlags::NSEC) || self.table.flags().has(ImageFlags::NSEC3);
        if is_signed && self.signatures == Signatures::With && self.delegation_security(cut, cut_at).is_err()
        {
            return Ok(self.truncated(outcome));
        }
        if links.glue_count != 0 {
            self.trace.note(Rule::InDomainGlue);
            // RFC 9471 §3.1: without all the in-domain glue the referral is not complete.
            if self.writer.glue(links.glue_count, links.glue, placed.at).is_err() {
                return Ok(self.truncated(outcome));
            }
        }
        self.addresses(ns, links, placed, Signatures::Without);
        Ok(outcome)
    }

    /// DS with its signature, or the proof that there is none (RFC 4035 §3.1.4).
    fn delegation_security(&mut self, cut: Node<'a>, cut_at: usize) -> Result<(), Full> {
        if let Some(ds) = cut.rrset(RecordType::DS) {
            self.writer.rrset(Section::Authority, cut, ds, Owner::At(cut_at), Signatures::With, 0)?;
            return Ok(());
        }
        self.trace.note(Rule::InsecureReferral);
        self.prove_no_type(cut, cut_at)
    }

    /// Appends the addresses of other name servers while they fit.
    fn addresses(&mut self, ns: Rrset<'a>, links: Links<'a>, placed: Placed, signatures: Signatures) {
        let signatures = if self.signatures == Signatures::With { signatures } else { Signatures::Without };
        let len = ns.records().len();
        for additional in links.additional() {
            let Some(node) = self.table.node(additional.node) else { continue };
            // The records may stand rotated.
            let by = placed.rotated_by;
            let name_at = if additional.name_at >= by {
                additional.name_at - by
            } else {
                additional.name_at + len - by
            };
            let owner = placed.at + name_at;
            if owner > POINTER_MAX {
                continue;
            }
            for rtype in [RecordType::A, RecordType::AAAA] {
                let Some(Ok(rrset)) = node.rrset(rtype).map(|rrset| self.chosen(rrset)) else { continue };
                // What doesn't fit may be left out, and a smaller set may yet fit.
                let _ = self.writer.unlinked(Section::Additional, rrset, owner, signatures);
            }
        }
    }

    /// The name is below the owner of a DNAME (RFC 6672 §3.2).
    fn dname(&mut self, encloser: Encloser<'a>, name_at: usize) -> Result<Step, Full> {
        self.trace.note(Rule::Dname);
        let node = encloser.node;
        let Some(dname) = node.rrset(RecordType::DNAME) else {
            return Ok(Step::Done(Outcome::error(Rcode::SERVFAIL)));
        };
        // A chain may come through the same DNAME again: once is enough (RFC 2181 §5).
        if self.proofs.give(node.id(), RecordType::DNAME) {
            let owner_at = self.encloser_at(encloser, name_at);
            self.writer.rrset(Section::Answer, node, dname, Owner::At(owner_at), self.signatures, 0)?;
        }
        let record = dname.records();
        let (ttl, target) = (&record[6..10], &record[2 + RECORD_FIXED_LEN..]);
        let prefix_len = self.name.label_start(encloser.next_closer + 1);
        // The target is not compressed (RFC 6672 §2.5), and a set of DNAMEs has one record.
        let target = wire::Name::split_from(target).map_or(wire::Name::ROOT, |(target, _)| target);
        let Ok(made) = NameBuf::joined(self.name.slice(0, prefix_len), target) else {
            self.trace.note(Rule::DnameTooLong);
            return Ok(Step::Done(Outcome::authoritative(Rcode::YXDOMAIN)));
        };
        let at = self.synthesized_cname(name_at, ttl, made.as_name())?;
        if self.qtype == RecordType::CNAME || self.qtype == RecordType::ANY {
            // The synthesized record is what was asked for.
            return Ok(Step::Done(Outcome::authoritative(Rcode::NOERROR)));
        }
        let owner = &self.name.as_wire()[prefix_len..];
        if wire::Name::from_wire(owner).is_ok_and(|owner| target.is_at_or_below(owner)) {
            // It leads below itself: every step would only make the name longer.
            self.trace.note(Rule::ChainEnd);
            return Ok(Step::Done(Outcome::authoritative(Rcode::NOERROR)));
        }
        Ok(Step::Alias { target_at: at + 2 + RECORD_FIXED_LEN })
    }

    /// Appends the CNAME that a DNAME makes (RFC 6672 §3.1); where it starts.
    fn synthesized_cname(
        &mut self,
        name_at: usize,
        ttl: &[u8],
        target: wire::Name<'_>,
    ) -> Result<usize, Full> {
        let mut rdata = target.as_wire();
        let pointer;
        let mut rest: &[u8] = &[];
        if let Some(relative_len) = target.relative_len(self.table.apex_name()) {
            let beside = self.writer.owner_beside(&rdata[..relative_len], name_at);
            let (labels_len, rest_at) = beside.parts();
            // The root is one octet, and a pointer to it two.
            if target.len() > labels_len + 2 {
                rdata = &rdata[..labels_len];
                pointer = (POINTER | rest_at as u16).to_be_bytes();
                rest = &pointer;
            }
        }
        self.writer.record(
            Section::Answer,
            &[
                &(POINTER | name_at as u16).to_be_bytes(),
                &RecordType::CNAME.0.to_be_bytes(),
                &Class::IN.0.to_be_bytes(),
                ttl,
                &((rdata.len() + rest.len()) as u16).to_be_bytes(),
                rdata,
                rest,
            ],
        )
    }

    /// The name doesn't exist: a wildcard, or nothing.
    fn missing(&mut self, encloser: Encloser<'a>, name_at: usize) -> Result<Step, Full> {
        let Some(wildcard) = self.table.node(encloser.node.wildcard()) else {
            return self.name_error(encloser, name_at).map(Step::Done);
        };
        self.trace.note(Rule::Wildcard);
        if wildcard.flags().has(NodeFlags::CUT) {
            return self.referral(wildcard, name_at).map(Step::Done);
        }
        let step = if let Some(rrset) = wildcard.rrset(self.qtype) {
            match self.chosen(rrset) {
                Ok(rrset) => {
                    self.answer(wildcard, rrset, name_at)?;
                    Step::Done(Outcome::authoritative(Rcode::NOERROR))
                }
                Err(Withheld::Nothing) => {
                    return self.wildcard_no_data(encloser, wildcard, name_at).map(Step::Done);
                }
                Err(Withheld::Failure) => return Ok(Step::Failure),
            }
        } else if self.qtype == RecordType::ANY && wildcard.rrset_count() > 0 {
            let step = self.any(wildcard, name_at)?;
            if matches!(step, Step::Done(_)) && self.writer.is_empty() {
                return self.wildcard_no_data(encloser, wildcard, name_at).map(Step::Done);
            }
            step
        } else if self.qtype == RecordType::RRSIG && self.signatures_of(wildcard, name_at)? {
            Step::Done(Outcome::authoritative(Rcode::NOERROR))
        } else if let Some(cname) = wildcard.rrset(RecordType::CNAME).filter(|_| !self.stands_beside_cname())
        {
            match self.chosen(cname) {
                Ok(cname) => self.alias(wildcard, cname, name_at)?,
                Err(Withheld::Nothing) => {
                    return self.wildcard_no_data(encloser, wildcard, name_at).map(Step::Done);
                }
                Err(Withheld::Failure) => return Ok(Step::Failure),
            }
        } else {
            return self.wildcard_no_data(encloser, wildcard, name_at).map(Step::Done);
        };
        if self.signatures == Signatures::With {
            self.proofs.owe(name_at);
        }
        Ok(step)
    }
}
