//! Why the peers differ among themselves, where they do.
//!
//! The rules of [`starling_tests::normalise`] take away what any two servers may differ in. What is left here is open
//! to argument, or one peer's own way: each cause has its reason, and Starling has to side with one of the
//! peers all the same. A dispute that no cause explains is printed as such: a new version of a peer, or a
//! fault of this harness.

use starling_tests::message::Record;
use starling_tests::name::Name;
use starling_tests::server::Kind;

use crate::cases::Question;
use crate::compare::Answer;

const TYPE_CNAME: u16 = 5;
const TYPE_DNAME: u16 = 39;
const TYPE_DS: u16 = 43;
const TYPE_RRSIG: u16 = 46;
const TYPE_NSEC: u16 = 47;
const TYPE_NSEC3: u16 = 50;
const TYPE_ANY: u16 = 255;
const SERVFAIL: u16 = 2;
const YXDOMAIN: u16 = 6;

/// A disputed question with all there is to judge it by.
pub(crate) struct Disputed<'a> {
    /// What was asked.
    pub(crate) question: &'a Question,
    /// The peers' answers.
    pub(crate) peers: &'a [(Kind, Answer)],
    /// The apexes of the zones served.
    pub(crate) apexes: &'a [Name],
}

/// A rule that recognises disputes of one cause.
type Rule = fn(&Disputed<'_>) -> bool;

/// The causes, the first that fits counts.
const CAUSES: &[(&str, Rule)] = &[
    (
        "room: in which order records go in, how well names compress, and whether glue left out calls for TC \
         (RFC 9471 §3.1 says so, NSD and BIND are content with some) is each server's own",
        |disputed| disputed.peers.iter().any(|(_, answer)| answer.truncated()) || disputed.all_but(&["glue"]),
    ),
    (
        "loop: RFC 1034 §3.6.2 has it signalled as an error; BIND does, with SERVFAIL, NSD and Knot give the \
         chain so far",
        |disputed| disputed.rcode(SERVFAIL),
    ),
    (
        "other zone: RFC 1034 §4.3.2 step 3a goes back to step 1 for an alias's target, which may choose \
         another zone; NSD does, Knot and BIND stay in the first",
        |disputed| disputed.leads_elsewhere(),
    ),
    ("YXDOMAIN: Knot goes on after a substitution that is too long (RFC 6672 §2.2)", |disputed| {
        disputed.rcode(YXDOMAIN)
    }),
    (
        "chain of names: how far a chain of DNAME is followed is nowhere said; NSD stops where a DNAME comes \
         up a second time",
        |disputed| disputed.peers.iter().any(|(_, answer)| answer.normal.rcode.is_none()),
    ),
    (
        "types of signing: RRSIG, NSEC and NSEC3 may stand beside CNAME, so that a question for them may be \
         answered there or follow the alias; Knot gives one of several RRSIG sets",
        |disputed| matches!(disputed.question.qtype, TYPE_RRSIG | TYPE_NSEC | TYPE_NSEC3),
    ),
    (
        "ANY: what is enough of an answer is for the server to say (RFC 8482 §4); BIND does not go on behind \
         a DNAME",
        |disputed| disputed.question.qtype == TYPE_ANY,
    ),
    (
        "proof: NSD proves more than Knot and BIND, rightly so where a wildcard is an empty non-terminal \
         (RFC 4035 §3.1.3.4)",
        |disputed| disputed.all_but(&["authority"]) && disputed.only_in_authority(&[TYPE_NSEC, TYPE_NSEC3]),
    ),
    (
        "TTL of signatures: Knot gives an RRSIG the TTL of its set (RFC 4034 §3), NSD and BIND the one that \
         the master file has",
        |disputed| disputed.ttl_of_signatures(),
    ),
];

/// The cause of a dispute; none when it is a new one.
pub(crate) fn cause(disputed: &Disputed<'_>) -> Option<&'static str> {
    CAUSES.iter().find(|(_, fits)| fits(disputed)).map(|(reason, _)| *reason)
}

impl Disputed<'_> {
    fn rcode(&self, rcode: u16) -> bool {
        self.peers.iter().any(|(_, answer)| answer.message.rcode() == rcode)
    }

    /// Whether all peers agree but for these parts.
    fn all_but(&self, parts: &[&str]) -> bool {
        let (_, first) = &self.peers[0];
        self.peers.iter().all(|(_, other)| {
            first.normal.differing(&other.normal).iter().all(|part| parts.contains(&part.as_str()))
        })
    }

    /// Whether the records that not all peers have in the authority section are of these types, or sign them.
    fn only_in_authority(&self, types: &[u16]) -> bool {
        let everywhere =
            |record: &Record| self.peers.iter().all(|(_, answer)| answer.normal.authority.contains(record));
        let of_types = |record: &Record| {
            types.contains(&record.rtype) || record.covered().is_some_and(|t| types.contains(&t))
        };
        let mut records = self.peers.iter().flat_map(|(_, answer)| &answer.normal.authority);
        records.all(|record| everywhere(record) || of_types(record))
    }

    /// Whether an alias of some peer's answer ends in another zone than the question's.
    fn leads_elsewhere(&self) -> bool {
        // DS is asked of the parent (RFC 4035 §3.1.4.1).
        let of_parent = self.question.qtype == TYPE_DS;
        let zone = |name: &Name| {
            let above = self.apexes.iter().filter(|apex| name.is_at_or_below(apex));
            let above = above.filter(|apex| !of_parent || *apex != name);
            above.max_by_key(|apex| apex.labels().len()).cloned()
        };
        let start = zone(&self.question.name.lower());
        let aliases = self.peers.iter().flat_map(|(_, answer)| &answer.message.answer);
        aliases
            .filter(|record| matches!(record.rtype, TYPE_CNAME | TYPE_DNAME))
            .filter_map(Record::target)
            .any(|target| zone(&target).is_some_and(|zone| Some(zone) != start))
    }

    fn ttl_of_signatures(&self) -> bool {
        let without_ttl = |answer: &Answer| {
            let mut normal = answer.normal.clone();
            for record in normal.answer.iter_mut().chain(&mut normal.authority) {
                if record.rtype == TYPE_RRSIG {
                    record.ttl = 0;
                }
            }
            normal
        };
        let first = without_ttl(&self.peers[0].1);
        self.peers.iter().all(|(_, other)| without_ttl(other) == first)
    }
}
