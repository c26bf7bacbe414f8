//! The authoritative algorithm once more, over a plain list of records: slow, and as close to the text of RFC 1034
//! §4.3.2, RFC 4592 §3.3 and RFC 6672 §3.2 as code can be. It shares nothing with the compiler or the table.

use crate::signing::Record;
use starling_tests::name::Name;
use std::collections::BTreeSet;
use std::fmt;
use wire::RecordType;

/// A record as responses are compared: owner and data in lower case, TTL, type.
pub(crate) type Flat = (Name, u16, u32, Vec<u8>);

/// How many aliases the model follows; a longer chain may be cut anywhere behind these.
const HOPS_MAX: usize = 16;

/// What the answer must be.
#[derive(Default)]
pub(crate) struct Expected {
    pub(crate) rcode: u16,
    pub(crate) authoritative: bool,
    pub(crate) answer: BTreeSet<Flat>,
    /// The NS records of a referral.
    pub(crate) referral: BTreeSet<Flat>,
    /// Addresses of name servers in the delegated domain (RFC 9471 §3.1).
    pub(crate) glue: BTreeSet<Flat>,
    pub(crate) soa: bool,
    /// The chain is longer than a server has to follow it: only its beginning is known.
    pub(crate) endless: bool,
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Expected { rcode, authoritative, soa, endless, .. } = self;
        writeln!(f, "expected: rcode {rcode}, aa {authoritative}, SOA {soa}, endless {endless}")?;
        let sections = [("answer", &self.answer), ("referral", &self.referral), ("glue", &self.glue)];
        for (title, records) in sections {
            for (owner, rtype, ttl, rdata) in records {
                let rtype = RecordType(*rtype);
                writeln!(f, "  {title}: {owner} {ttl} {rtype} {}", zone::rdata::display(rtype, rdata))?;
            }
        }
        Ok(())
    }
}

/// A zone as a list.
pub(crate) struct Model {
    apex: Name,
    records: Vec<Flat>,
}

impl Model {
    pub(crate) fn new(apex: wire::Name<'_>, records: &[Record]) -> Model {
        let flat = |record: &Record| {
            let owner = record.owner.as_name().as_wire().to_ascii_lowercase();
            (Name::from_wire(owner), record.rtype.0, record.ttl, record.rdata.clone())
        };
        // Owners of NSEC3 records are no names of the zone (RFC 5155 §7.2.8), and signatures go with what they sign.
        let is_name = |record: &&Record| ![RecordType::NSEC3, RecordType::RRSIG].contains(&record.rtype);
        Model {
            apex: Name::from_wire(apex.as_wire().to_vec()),
            records: records.iter().filter(is_name).map(flat).collect(),
        }
    }

    fn owned(&self, name: &Name) -> impl Iterator<Item = &Flat> {
        let name = name.clone();
        self.records.iter().filter(move |record| record.0 == name)
    }

    fn has(&self, name: &Name, rtype: RecordType) -> bool {
        self.owned(name).any(|record| record.1 == rtype.0)
    }

    /// RFC 4592 §2.2: a name exists where it or a name below it owns something.
    fn exists(&self, name: &Name) -> bool {
        self.records.iter().any(|record| record.0.is_at_or_below(name))
    }

    /// All records of the zone, for checks of sections that may hold any.
    pub(crate) fn contains(&self, record: &Flat) -> bool {
        self.records.contains(record)
    }

    pub(crate) fn answer(&self, qname: &Name, qtype: RecordType) -> Expected {
        let mut expected = Expected { authoritative: true, ..Expected::default() };
        let mut name = qname.clone();
        let mut visited = BTreeSet::new();
        loop {
            if !name.is_at_or_below(&self.apex) || !visited.insert(name.clone()) {
                return expected;
            }
            if visited.len() > HOPS_MAX {
                expected.endless = true;
                return expected;
            }
            match self.step(&name, qtype, &mut expected) {
                Some(target) => name = target,
                None => return expected,
            }
        }
    }

    /// One round of RFC 1034 §4.3.2; the next name where this one is an alias.
    fn step(&self, name: &Name, qtype: RecordType, expected: &mut Expected) -> Option<Name> {
        // Step 3: matching down, label by label.
        let mut path: Vec<Name> = std::iter::successors(Some(name.clone()), Name::parent).collect();
        path.retain(|name| name.is_at_or_below(&self.apex));
        path.reverse();
        for node in &path {
            if !self.exists(node) {
                break;
            }
            let cuts = *node != self.apex && self.has(node, RecordType::NS);
            if cuts && (node != name || qtype != RecordType::DS) {
                self.refer(node, expected);
                return None;
            }
            if node != name && self.has(node, RecordType::DNAME) {
                return self.rewrite(node, name, qtype, expected);
            }
        }
        if self.exists(name) {
            return self.take(name, name, qtype, expected);
        }
        let encloser = path.iter().rfind(|node| self.exists(node))?;
        let source = encloser.child(b"*")?;
        if self.exists(&source) {
            return self.take(&source, name, qtype, expected);
        }
        expected.rcode = 3;
        expected.soa = true;
        None
    }

    /// Steps 3a and 3c: what `source` owns, under the name `owner`.
    fn take(&self, source: &Name, owner: &Name, qtype: RecordType, expected: &mut Expected) -> Option<Name> {
        let wanted = |record: &&Flat| record.1 == qtype.0 || qtype == RecordType::ANY;
        let found: Vec<&Flat> = self.owned(source).filter(wanted).collect();
        // RFC 4035 §2.5: NSEC may stand beside a CNAME, so it is asked of the alias itself.
        let redirects = |record: &&Flat| record.1 == RecordType::CNAME.0 && qtype != RecordType::NSEC;
        let alias = self.owned(source).find(redirects);
        if let ([], Some(alias)) = (found.as_slice(), alias) {
            expected.answer.insert((owner.clone(), alias.1, alias.2, alias.3.clone()));
            return Some(Name::from_wire(alias.3.clone()));
        }
        expected.soa = found.is_empty();
        expected.answer.extend(
            found.into_iter().map(|(_, rtype, ttl, rdata)| (owner.clone(), *rtype, *ttl, rdata.clone())),
        );
        None
    }

    /// Step 3b.
    fn refer(&self, cut: &Name, expected: &mut Expected) {
        // RFC 1034 §6.2.7: the answer has authority if its first name does.
        expected.authoritative = !expected.answer.is_empty();
        for record in self.owned(cut).filter(|record| record.1 == RecordType::NS.0) {
            expected.referral.insert(record.clone());
            let server = Name::from_wire(record.3.clone());
            if server.is_at_or_below(cut) {
                let addresses = self.owned(&server).filter(|record| [1, 28].contains(&record.1));
                expected.glue.extend(addresses.cloned());
            }
        }
    }

    /// RFC 6672 §3.2.
    fn rewrite(&self, node: &Name, name: &Name, qtype: RecordType, expected: &mut Expected) -> Option<Name> {
        let dname = self.owned(node).find(|record| record.1 == RecordType::DNAME.0)?;
        expected.answer.insert(dname.clone());
        let kept = name.wire().len() - node.wire().len();
        let made = [&name.wire()[..kept], &dname.3].concat();
        if made.len() > 255 {
            expected.rcode = 6;
            return None;
        }
        expected.answer.insert((name.clone(), RecordType::CNAME.0, dname.2, made.clone()));
        if [RecordType::CNAME, RecordType::ANY].contains(&qtype) {
            return None;
        }
        // One that leads below itself is met again at every step.
        expected.endless = Name::from_wire(dname.3.clone()).is_at_or_below(node);
        (!expected.endless).then(|| Name::from_wire(made))
    }
}
