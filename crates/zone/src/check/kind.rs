//! What can be wrong with a zone, in words, and how bad each is.
//!
//! Where the reference name servers were asked (NSD 4.6, Knot 3.2, BIND 9.18), an error is what NSD or Knot
//! does not load. The exceptions: records outside the zone are left out with a warning and a KEY record may
//! stand beside a CNAME, as in BIND; signatures without keys are a warning, as Knot alone refuses them; types of
//! messages are errors, as in BIND; and so is what no table can hold or no answer can prove.

use super::{Severity, types::TypeList};
use crate::rdata::time::Date;
use table::ITERATIONS_MAX;
use wire::{NameBuf, RecordType};

/// A name in a finding: findings are few, and a name without the heap would make each of them large.
pub type FoundName = Box<NameBuf>;

/// How many findings of one kind are told one by one: more would hide the other kinds.
const TOLD_MAX: usize = 20;
/// Records outside the zone were left out, so all the places that are known are told: this many, and the last
/// in [`Kind::More`].
const OUTSIDE_TOLD_MAX: usize = 99;

/// What can be wrong.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Kind {
    /// No SOA at the apex.
    #[error("{0} has no SOA record: a zone begins with one (RFC 1035 §5.2)")]
    NoSoa(FoundName),
    /// SOA records that differ.
    #[error("{0} has several SOA records: keep one (RFC 1035 §5.2)")]
    SeveralSoa(FoundName),
    /// A SOA away from the apex.
    #[error(
        "{0} has a SOA record but is not the apex: delegate it and give it a zone of its own (RFC 1035 §5.2)"
    )]
    SoaBelowApex(FoundName),
    /// No NS at the apex.
    #[error("{0} has no NS records: name the zone's servers (RFC 2181 §6.1)")]
    NoNs(FoundName),

    /// A CNAME beside other data.
    #[error("{0} has a CNAME record and {1} records: an alias has no data of its own (RFC 2181 §10.1)")]
    CnameWithOther(FoundName, RecordType),
    /// Several CNAME at one name.
    #[error("{0} has several CNAME records: keep one (RFC 2181 §10.1)")]
    SeveralCname(FoundName),
    /// Several DNAME at one name.
    #[error("{0} has several DNAME records: keep one (RFC 6672 §2.4)")]
    SeveralDname(FoundName),
    /// DNAME and CNAME at one name.
    #[error("{0} has a DNAME and a CNAME record: keep one of them (RFC 6672 §2.4)")]
    DnameWithCname(FoundName),
    /// DNAME and NS at one name below the apex.
    #[error(
        "{0} is redirected by a DNAME record and delegated by NS records: keep one of them (RFC 6672 §2.3)"
    )]
    DnameWithNs(FoundName),
    /// Data below a DNAME.
    #[error("{0} is below the DNAME record at {1}, which redirects it: remove one of them (RFC 6672 §2.4)")]
    BelowDname(FoundName, FoundName),
    /// A DNAME at a wildcard.
    #[error("{0} is a wildcard and has a DNAME record: its answers differ between servers (RFC 4592 §4.4)")]
    WildcardDname(FoundName),
    /// NS at a wildcard.
    #[error("{0} is a wildcard and has NS records: what they delegate is undefined (RFC 4592 §4.2)")]
    WildcardNs(FoundName),

    /// A type that exists in messages only.
    #[error("{0} has a record of type {1}, which exists in messages only: remove it (RFC 6895 §3.1)")]
    MetaType(FoundName, RecordType),
    /// MD or MF.
    #[error("{0} has {1} records, which are obsolete: use MX (RFC 1035 §3.3.4)")]
    ObsoleteType(FoundName, RecordType),
    /// A type that has its place at the apex only.
    #[error("{0} has {1} records, which have a meaning at the apex of a zone only: remove them (RFC {rfc})", rfc = apex_rule(*.1))]
    NotAtApex(FoundName, RecordType),
    /// DS at the apex.
    #[error("{0} is the apex and has DS records: they belong into the parent zone (RFC 4035 §2.4)")]
    DsAtApex(FoundName),
    /// DS where nothing is delegated.
    #[error("{0} has DS records but no NS records: a DS record secures a delegation (RFC 4035 §2.4)")]
    DsWithoutNs(FoundName),
    /// A set that fits no message.
    #[error("the {1} records of {0} need {2} octets and fit no message of 65,535: remove some")]
    SetTooLarge(FoundName, RecordType, usize),
    /// More types at a name than the table has room for.
    #[error("{0} has {1} record types: a name can have 255")]
    TooManyTypes(FoundName, usize),
    /// TTLs that differ inside a set.
    #[error(
        "the {rtype} records of {owner} have TTLs from {lowest} to {highest}: {lowest} is used for all (RFC 2181 §5.2)"
    )]
    TtlMismatch {
        /// The owner of the set.
        owner: FoundName,
        /// Its type.
        rtype: RecordType,
        /// The lowest TTL in seconds, which is served.
        lowest: u32,
        /// The highest TTL in seconds.
        highest: u32,
    },
    /// Records given more than once.
    #[error("records are repeated, {0} in all: each is used once (RFC 2181 §5)")]
    Duplicates(u64),
    /// A record outside the zone.
    #[error("{0} is not in the zone {1}: the record is left out")]
    Outside(FoundName, FoundName),

    /// A server inside its delegation, without addresses.
    #[error(
        "{0} is delegated to {1}, which can't be reached without glue: give it an A or AAAA record (RFC 9471 §2.1)"
    )]
    MissingGlue(FoundName, FoundName),
    /// A server inside another delegation, without addresses.
    #[error(
        "{0} names the server {1} inside another delegation, which has no glue: give it an A or AAAA record (RFC 9471 §2.2)"
    )]
    MissingSiblingGlue(FoundName, FoundName),
    /// A name in NS, MX or SRV data that has no address though it is in the zone.
    #[error(
        "the {1} record of {0} names {2}, which has no A or AAAA record in this zone: add one, or correct the name"
    )]
    TargetWithoutAddress(FoundName, RecordType, FoundName),
    /// A name in NS, MX or SRV data that is an alias.
    #[error("the {1} record of {0} names {2}, which is an alias: name the host itself (RFC 2181 §10.3)")]
    TargetIsAlias(FoundName, RecordType, FoundName),
    /// Data at or below a cut that is not glue.
    #[error(
        "the {1} records of {0} are hidden by the delegation of {2}: they belong into that zone (RFC 2181 §6)"
    )]
    Occluded(FoundName, RecordType, FoundName),
    /// Addresses at or below a cut that no NS record asks for.
    #[error(
        "the addresses of {0} are hidden by a delegation and are glue of no NS record: remove them (RFC 2181 §6)"
    )]
    UnusedGlue(FoundName),

    /// Signatures without keys.
    #[error(
        "{0} has no DNSKEY records but the zone has signatures: no resolver can check them (RFC 4035 §2.1)"
    )]
    NoDnskey(FoundName),
    /// Keys without signatures.
    #[error(
        "{0} has DNSKEY records but the zone has no signatures: sign it, or remove the keys (RFC 4035 §2.2)"
    )]
    NotSigned(FoundName),
    /// A signed zone without any proof of non-existence.
    #[error(
        "{0} is signed but has neither an NSEC chain nor an NSEC3 chain with NSEC3PARAM: negative answers can't be proved (RFC 4035 §2.3)"
    )]
    NoDenial(FoundName),
    /// A name without NSEC.
    #[error("{0} has no NSEC record: sign the zone again (RFC 4035 §2.3)")]
    MissingNsec(FoundName),
    /// Several NSEC at one name.
    #[error("{0} has several NSEC records: sign the zone again (RFC 4035 §2.3)")]
    SeveralNsec(FoundName),
    /// An NSEC record that does not lead to the next name.
    #[error(
        "the NSEC record of {owner} leads to {next}, but the next name is {expected}: sign the zone again (RFC 4034 §4.1.1)"
    )]
    NsecChain {
        /// The owner of the record.
        owner: FoundName,
        /// What it says.
        next: FoundName,
        /// What it should say.
        expected: FoundName,
    },
    /// A type bit map of NSEC or NSEC3 that is not what the name has.
    #[error("the {rtype} record for {name} {}: sign the zone again (RFC 4034 §4.1.2)", differences(.missing, .extra))]
    DenialTypes {
        /// The name whose types are listed: the owner of an NSEC record, the name that was hashed for NSEC3.
        name: FoundName,
        /// NSEC or NSEC3.
        rtype: RecordType,
        /// Types that the name has and the record does not list.
        missing: TypeList,
        /// Types that the record lists and the name does not have.
        extra: TypeList,
    },
    /// A name without NSEC3.
    #[error("{0} has no NSEC3 record: {1} is not in the chain; sign the zone again (RFC 5155 §7.1)")]
    MissingNsec3(FoundName, Box<str>),
    /// An NSEC3 record that does not lead to the next hash.
    #[error(
        "the NSEC3 record of {owner} leads to {next}, but the next one is {expected}: sign the zone again (RFC 5155 §3.1.7)"
    )]
    Nsec3Chain {
        /// The owner of the record.
        owner: FoundName,
        /// The hash it has, in base32hex.
        next: Box<str>,
        /// The hash it should have.
        expected: Box<str>,
    },
    /// An NSEC3 record that belongs to no name.
    #[error(
        "the NSEC3 record of {0} is the hash of no name of the zone: sign the zone again (RFC 5155 §7.1)"
    )]
    UnmatchedNsec3(FoundName),
    /// An NSEC3 owner that is no hash.
    #[error("{0} has an NSEC3 record but is not a hash and the apex: sign the zone again (RFC 5155 §3)")]
    Nsec3Owner(FoundName),
    /// A hash algorithm nobody knows.
    #[error(
        "the NSEC3PARAM record has hash algorithm {0}: only 1 (SHA-1) is defined, so the chain is not used (RFC 5155 §11)"
    )]
    Nsec3Algorithm(u8),
    /// NSEC3PARAM with flags.
    #[error("the NSEC3PARAM record has flags {0}: with any but 0 the chain is not used (RFC 5155 §4.1.2)")]
    Nsec3Flags(u8),
    /// More iterations than 0.
    #[error(
        "NSEC3 with {0} additional iterations: use 0, resolvers may take more for insecure (RFC 9276 §3.1)"
    )]
    Nsec3Iterations(u16),
    /// More iterations than are computed.
    #[error(
        "NSEC3 with {0} additional iterations: at most {ITERATIONS_MAX} are computed, and 0 is right (RFC 9276 §3.1)"
    )]
    Nsec3IterationsMax(u16),

    /// A set without signatures.
    #[error("the {1} records of {0} are not signed: sign the zone again (RFC 4035 §2.2)")]
    Unsigned(FoundName, RecordType),
    /// A set that an algorithm of the keys does not sign.
    #[error(
        "the {1} records of {0} have no signature of algorithm {2}, though the zone has a key of it: sign the zone again (RFC 4035 §2.2)"
    )]
    UnsignedByAlgorithm(FoundName, RecordType, u8),
    /// A signature over something that is not there or must not be signed.
    #[error(
        "{0} has a signature over {1} records, which it doesn't have or which are not signed: remove it (RFC 4035 §2.2)"
    )]
    OrphanRrsig(FoundName, RecordType),
    /// A signature by a key that the apex does not have.
    #[error(
        "the signature over {rtype} of {owner} is by key {key_tag} of algorithm {algorithm}, which is not in the DNSKEY set (RFC 4035 §2.2)"
    )]
    UnknownKey {
        /// The owner of the signature.
        owner: FoundName,
        /// The type it covers.
        rtype: RecordType,
        /// The key tag in the signature.
        key_tag: u16,
        /// The algorithm in the signature.
        algorithm: u8,
    },
    /// A signature of another zone.
    #[error("the signature over {1} of {0} names the signer {2}: it must be the zone's apex (RFC 4035 §2.2)")]
    WrongSigner(FoundName, RecordType, FoundName),
    /// A signature whose number of labels is not the owner's.
    #[error(
        "the signature over {rtype} of {owner} is for {labels} labels, but there are {expected} (RFC 4034 §3.1.3)"
    )]
    WrongLabels {
        /// The owner of the signature.
        owner: FoundName,
        /// The type it covers.
        rtype: RecordType,
        /// The number in the signature.
        labels: u8,
        /// The labels of the owner, without those of the root and of a wildcard.
        expected: u8,
    },
    /// A signature over another TTL than the set has.
    #[error(
        "the signature over {rtype} of {owner} is for a TTL of {original}, but the set has {ttl} (RFC 4034 §3.1.4)"
    )]
    OriginalTtl {
        /// The owner of the signature.
        owner: FoundName,
        /// The type it covers.
        rtype: RecordType,
        /// The TTL in the signature, in seconds.
        original: u32,
        /// The TTL of the set, in seconds.
        ttl: u32,
    },
    /// A signature that is no longer valid.
    #[error("the signature over {1} of {0} expired at {date}: sign the zone again (RFC 4034 §3.1.5)", date = Date(*.2))]
    Expired(FoundName, RecordType, u32),
    /// A signature that is not valid yet.
    #[error("the signature over {1} of {0} is valid from {date} only: is the clock right? (RFC 4034 §3.1.5)", date = Date(*.2))]
    NotYetValid(FoundName, RecordType, u32),

    /// Findings that are not told one by one.
    #[error("and {0} more of this kind, such as: {1}")]
    More(u64, Box<Kind>),
}

impl Kind {
    /// Whether a zone with this finding can be served.
    pub fn severity(&self) -> Severity {
        match self {
            Kind::NoSoa(..)
            | Kind::SeveralSoa(..)
            | Kind::SoaBelowApex(..)
            | Kind::CnameWithOther(..)
            | Kind::SeveralCname(..)
            | Kind::SeveralDname(..)
            | Kind::DnameWithCname(..)
            | Kind::DnameWithNs(..)
            | Kind::BelowDname(..)
            | Kind::MetaType(..)
            | Kind::SetTooLarge(..)
            | Kind::TooManyTypes(..)
            | Kind::Nsec3IterationsMax(..) => Severity::Error,
            Kind::More(_, last) => last.severity(),
            _ => Severity::Warning,
        }
    }

    /// How many of this kind are told one by one.
    pub(super) fn told_max(&self) -> usize {
        match self {
            Kind::Outside(..) => OUTSIDE_TOLD_MAX,
            _ => TOLD_MAX,
        }
    }
}

/// Which section says that a type has its place at the apex.
fn apex_rule(rtype: RecordType) -> &'static str {
    match rtype {
        RecordType::NSEC3PARAM => "5155 §4",
        RecordType::DNSKEY => "4035 §2.1",
        _ => "7344 §4.1",
    }
}

/// The middle of a sentence about a type bit map.
fn differences(missing: &TypeList, extra: &TypeList) -> String {
    match (missing.is_empty(), extra.is_empty()) {
        (false, true) => format!("doesn't list {missing}, which the name has"),
        (true, false) => format!("lists {extra}, which the name doesn't have"),
        _ => format!("doesn't list {missing}, which the name has, and lists {extra}, which it doesn't"),
    }
}
