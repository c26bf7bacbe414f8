//! Why an answer is what it is: the rules that were applied, in order.

use std::fmt;

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident $text:literal,)*) => {
        /// A rule that the answer function applied.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Rule {
            $($(#[$doc])* $name,)*
        }

        impl fmt::Display for Rule {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Rule::$name => $text,)* })
            }
        }
    };
}

rules! {
    /// The message can't be read.
    Malformed "the query is malformed: FORMERR (RFC 1035 §4.1.1, RFC 9619)",
    /// Not a standard query.
    UnknownOpcode "the opcode is not QUERY: NOTIMP (RFC 1035 §4.1.1)",
    /// An EDNS version other than 0.
    BadVersion "the EDNS version is not 0: BADVERS (RFC 6891 §6.1.3)",
    /// No zone encloses the name.
    Outside "no zone here encloses the name: REFUSED (RFC 8906 §3.1.3)",
    /// A question for what has changed, over UDP.
    Incremental "what has changed goes over TCP: over UDP the SOA record alone (RFC 1995 §2)",
    /// A type that is not for zones.
    MetaType "the type is no zone data: refused (RFC 6895 §3.1)",
    /// The zone has no version that can be served.
    NotLoaded "the zone is configured but has no good version: SERVFAIL (RFC 1035 §4.1.1)",
    /// The zone is there to be transferred.
    ForSecondaries "the zone is for secondaries alone: REFUSED but for its SOA record (RFC 9432 §5.1)",
    /// The CHAOS class.
    Chaos "the class is CHAOS: the server's own names (RFC 4892)",
    /// DS at an apex, answered by the zone above.
    DsAtParent "DS belongs to the parent's side of the cut, and the parent zone is here (RFC 4035 §3.1.4.1)",
    /// The name exists.
    Exact "the name exists (RFC 1034 §4.3.2 step 3a)",
    /// The name answers with one of several sets.
    Steered "the name answers with a pool, and each answer has some of its endpoints: by turns, by who asks, or by where that is",
    /// No answer has the name's endpoints.
    Withheld "no endpoint of the name's pool is good, and it has no data of the type until one is",
    /// The name's endpoints can't be answered with.
    Failure "no endpoint of the name's pool is good: SERVFAIL, with an error that says so (RFC 8914 §4.1)",
    /// The name exists with nothing of its own.
    EmptyNonTerminal "the name owns nothing but has names below it: an empty non-terminal, NOERROR (RFC 4592 §2.2.2)",
    /// The name is a delegation or below one.
    Referral "the name is at or below a delegation: a referral, without AA (RFC 1034 §4.3.2 step 3b)",
    /// DS at a delegation is answered with authority.
    DsAtCut "DS at a delegation is data of this zone (RFC 4035 §3.1.4.1)",
    /// The delegation has no DS, and that is proved.
    InsecureReferral "the delegation has no DS: its absence is proved (RFC 4035 §3.1.4)",
    /// The glue must be in the referral.
    InDomainGlue "addresses of name servers below the delegation go with it, or TC is set (RFC 9471 §3.1)",
    /// A DNAME above the name.
    Dname "an ancestor owns a DNAME: a CNAME is synthesized (RFC 6672 §3.1)",
    /// The name made from the DNAME is too long.
    DnameTooLong "the name that the DNAME makes has more than 255 octets: YXDOMAIN (RFC 6672 §2.2)",
    /// The name owns a CNAME.
    Cname "the name owns a CNAME and another type was asked: its target is looked up too (RFC 1034 §4.3.2 step 3a)",
    /// The target is not in this zone.
    TargetOutside "the target is outside the zone: the client goes on from there (RFC 1034 §4.3.2)",
    /// The chain is too long or returns to itself.
    ChainEnd "the chain of CNAMEs is too long or a loop: it ends here (RFC 1034 §3.6.2)",
    /// A wildcard stands in.
    Wildcard "the name doesn't exist, and a wildcard below its closest encloser stands in (RFC 4592 §3.3.1)",
    /// The type isn't there.
    NoData "the name has no records of this type: NODATA with the SOA record (RFC 2308 §2.2)",
    /// The name isn't there.
    NameError "neither the name nor a wildcard exists: NXDOMAIN with the SOA record (RFC 2308 §2.1)",
    /// Denied with NSEC.
    NsecProof "NSEC records prove it (RFC 4035 §3.1.3)",
    /// Denied with NSEC3.
    Nsec3Proof "NSEC3 records prove it (RFC 5155 §7.2)",
    /// One set for ANY.
    AnyOne "ANY over UDP is answered with one set (RFC 8482 §4.1)",
    /// Everything for ANY.
    AnyAll "ANY over TCP is answered with all sets (RFC 1035 §3.2.3)",
    /// The answer is cut.
    Truncated "not everything that is needed fits: TC (RFC 2181 §9)",
}

/// Takes note of rules; the packet path takes none.
pub(crate) trait Trace {
    /// Whether anybody wants the notes. Short ways, which apply no rules one by one, are taken only where not.
    fn is_wanted(&self) -> bool;

    fn note(&mut self, rule: Rule);
}

/// Notes nothing, at no cost.
pub(crate) struct Silent;

impl Trace for Silent {
    #[inline(always)]
    fn is_wanted(&self) -> bool {
        false
    }

    #[inline(always)]
    fn note(&mut self, _rule: Rule) {}
}

/// The rules that led to an answer, in the order in which they were applied.
#[derive(Clone, Default, Debug)]
pub struct Explanation {
    /// The rules.
    pub rules: Vec<Rule>,
}

impl Trace for Explanation {
    fn is_wanted(&self) -> bool {
        true
    }

    fn note(&mut self, rule: Rule) {
        self.rules.push(rule);
    }
}
