//! Differences between answers that the standards allow, taken away before answers are compared.
//!
//! Every rule has its reason beside it. What no rule covers counts as a difference. Differences of the
//! header beyond response code, AA and TC, and of the OPT record's contents, are not looked at here.

use crate::message::{AA, Message, Record, rcode_name};
use crate::name::Name;

const TYPE_A: u16 = 1;
const TYPE_NS: u16 = 2;
const TYPE_CNAME: u16 = 5;
const TYPE_SOA: u16 = 6;
const TYPE_AAAA: u16 = 28;
const TYPE_DNAME: u16 = 39;
const TYPE_RRSIG: u16 = 46;
const TYPE_NSEC: u16 = 47;
const TYPE_NSEC3: u16 = 50;
const TYPE_ANY: u16 = 255;

/// Links of a chain that every server gives: Knot stops after 5, NSD after 10, BIND after 11.
const CHAIN_LEN_SHARED: usize = 5;

/// An answer without the differences that are allowed.
#[derive(Clone, PartialEq, Eq)]
pub struct Normal {
    /// Response code; none where it depends on how far a chain was followed.
    pub rcode: Option<u16>,
    /// The AA bit.
    pub authoritative: bool,
    /// Answer section, sorted.
    pub answer: Vec<Record>,
    /// Authority section, sorted.
    pub authority: Vec<Record>,
    /// What is necessary of the additional section, sorted.
    pub glue: Vec<Record>,
}

impl Normal {
    /// Names of the parts in which two answers differ, this one's response code first.
    pub fn differing(&self, other: &Self) -> Vec<String> {
        let mut parts = Vec::new();
        if self.rcode != other.rcode {
            let name = |rcode: Option<u16>| rcode.map_or("-".to_owned(), rcode_name);
            parts.push(format!("{}/{}", name(self.rcode), name(other.rcode)));
        }
        if self.authoritative != other.authoritative {
            parts.push("aa".to_owned());
        }
        let sections = [
            ("answer", &self.answer, &other.answer),
            ("authority", &self.authority, &other.authority),
            ("glue", &self.glue, &other.glue),
        ];
        parts.extend(sections.into_iter().filter(|(_, a, b)| a != b).map(|(title, _, _)| title.to_owned()));
        parts
    }

    /// This answer without the denials in its authority section that another does not have.
    ///
    /// How much is proved is open to argument where a wildcard is an empty non-terminal (RFC 4035 §3.1.3.4): NSD proves
    /// more than Knot and BIND.
    #[must_use]
    pub fn with_no_more_denials_than(mut self, other: &Self) -> Self {
        self.authority.retain(|record| !is_denial(record) || other.authority.contains(record));
        self
    }

    /// This answer without what its authority section denies with. Which records prove what has been said is open as well where
    /// several do.
    #[must_use]
    pub fn without_denials(mut self) -> Self {
        self.authority.retain(|record| !is_denial(record));
        self
    }

    /// Whether this is the same answer with more of the glue.
    ///
    /// RFC 9471 §3.1: all glue has to be there or TC has to be on. The peers leave some out of a response that
    /// is full, each by a count of its own, and not all of them set TC (NSD and BIND ask only for glue enough
    /// to go on). A response that found room for more is the better one; that no glue is missing from it shows
    /// in comparison with the one over TCP, and that none is invented in comparison with the zone.
    pub fn is_with_more_glue(&self, other: &Self) -> bool {
        let rest_is_same = self.rcode == other.rcode
            && self.authoritative == other.authoritative
            && self.answer == other.answer
            && self.authority == other.authority;
        rest_is_same && other.glue.iter().all(|record| self.glue.contains(record))
    }
}

/// Whether this is an NSEC or NSEC3 record, or signs one.
fn is_denial(record: &Record) -> bool {
    let denies = |rtype| matches!(rtype, TYPE_NSEC | TYPE_NSEC3);
    denies(record.rtype) || record.covered().is_some_and(denies)
}

/// RFC 4034 §3: a signature has the TTL of its set. NSD and BIND give it the one that it has in the master file, and where it is asked
/// for alone Knot gives some of several.
fn blur_ttls_of_signatures(normal: &mut Normal) {
    for record in normal.answer.iter_mut().filter(|record| record.rtype == TYPE_RRSIG) {
        record.ttl = 0;
    }
}

/// Applies every rule.
pub fn normalise(message: &Message, qname: &Name, qtype: u16) -> Normal {
    let mut normal = Normal {
        rcode: Some(message.rcode()),
        authoritative: message.has(AA),
        answer: message.answer.clone(),
        authority: message.authority.clone(),
        glue: message.additional.clone(),
    };
    drop_courtesy_ns(&mut normal);
    keep_necessary_glue(&mut normal);
    cut_long_chain(&mut normal, &qname.lower());
    if qtype == TYPE_RRSIG {
        blur_ttls_of_signatures(&mut normal);
    }
    if qtype == TYPE_ANY {
        blur_any(&mut normal, &qname.lower());
    }
    for section in [&mut normal.answer, &mut normal.authority, &mut normal.glue] {
        // RFC 1034 §3.6: "the order of RRs in a set is not significant"; nor is that of sets. Knot repeats
        // the CNAME of a loop.
        section.sort_unstable();
        section.dedup();
    }
    normal
}

/// A positive answer may carry the zone's NS set and its signature as a courtesy (RFC 1034 §4.3.2 does
/// not ask for it); a negative answer has the SOA there and a referral has AA off.
fn drop_courtesy_ns(normal: &mut Normal) {
    let negative = normal.authority.iter().any(|record| record.rtype == TYPE_SOA);
    if normal.authoritative && !normal.answer.is_empty() && !negative {
        let of_ns = |record: &Record| record.rtype == TYPE_NS || record.covered() == Some(TYPE_NS);
        normal.authority.retain(|record| !of_ns(record));
    }
}

/// Additional records are optional except the glue of a referral that lies in the delegated zone itself
/// (RFC 9471 §3); that has to be there in full, or TC has to be set.
fn keep_necessary_glue(normal: &mut Normal) {
    let servers: Vec<(Name, Name)> = normal
        .authority
        .iter()
        .filter(|record| record.rtype == TYPE_NS)
        .filter_map(|record| Some((record.owner.clone(), record.target()?)))
        .filter(|(cut, server)| server.is_at_or_below(cut))
        .collect();
    normal.glue.retain(|record| {
        matches!(record.rtype, TYPE_A | TYPE_AAAA)
            && servers.iter().any(|(_, server)| *server == record.owner)
    });
}

/// No standard says after how many CNAME and DNAME a server may stop (RFC 1034 §5.2.2 leaves the bound to
/// the resolver, which goes on by itself). Beyond the links that all servers give nothing is comparable:
/// neither the rest of the answer nor what came at the chain's end.
fn cut_long_chain(normal: &mut Normal, qname: &Name) {
    let mut kept: Vec<Name> = Vec::new();
    let mut name = qname.clone();
    while let Some(target) = next_link(&normal.answer, &name) {
        if kept.contains(&name) {
            return;
        }
        kept.push(std::mem::replace(&mut name, target));
        if kept.len() > CHAIN_LEN_SHARED {
            kept.pop();
            break;
        }
    }
    if kept.len() < CHAIN_LEN_SHARED {
        return;
    }
    // A server that stops after exactly five shows no sixth; what follows the fifth is cut for all alike.
    normal.rcode = None;
    normal.authority.clear();
    normal.answer.retain(|record| record.rtype != TYPE_RRSIG && kept.contains(&record.owner));
}

/// Where the alias that this name is leads to, if it is one.
#[must_use]
pub fn next_link(answer: &[Record], name: &Name) -> Option<Name> {
    answer.iter().find(|record| record.rtype == TYPE_CNAME && record.owner == *name)?.target()
}

/// RFC 8482 §4 lets a server answer ANY with as little as one set of its choice. That the records are
/// true ones is checked where the complete answer of a peer is at hand.
fn blur_any(normal: &mut Normal, qname: &Name) {
    let some = normal.answer.iter().any(|record| record.owner == *qname && record.rtype != TYPE_CNAME);
    if some {
        // What led here stays: a DNAME above the name and the CNAME made from it.
        normal.answer.retain(|record| record.owner != *qname && record.rtype == TYPE_DNAME);
        normal.answer.push(Record {
            owner: qname.clone(),
            rtype: TYPE_ANY,
            class: 1,
            ttl: 0,
            rdata: Vec::new(),
        });
        // Proofs that belong to a set depend on the set chosen (RFC 8482 §4.1 leaves them out altogether).
        normal.authority.clear();
    }
}
