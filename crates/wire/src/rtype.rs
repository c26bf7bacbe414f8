//! Record types, classes, response codes and opcodes, with their mnemonics.

use std::fmt;

/// A record type (RFC 1035 §3.2.2 and the IANA registry), any of the 65,536.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RecordType(pub u16);

macro_rules! record_types {
    ($($name:ident $text:literal $code:literal),* $(,)?) => {
        #[expect(missing_docs, reason = "each constant is the mnemonic of the IANA registry")]
        impl RecordType {
            $(pub const $name: RecordType = RecordType($code);)*
        }
        const MNEMONICS: &[(&str, u16)] = &[$(($text, $code)),*];
    };
}

record_types! {
    A "A" 1, NS "NS" 2, MD "MD" 3, MF "MF" 4, CNAME "CNAME" 5, SOA "SOA" 6, MB "MB" 7, MG "MG" 8, MR "MR" 9,
    NULL "NULL" 10, WKS "WKS" 11, PTR "PTR" 12, HINFO "HINFO" 13, MINFO "MINFO" 14, MX "MX" 15, TXT "TXT" 16,
    RP "RP" 17, AFSDB "AFSDB" 18, X25 "X25" 19, ISDN "ISDN" 20, RT "RT" 21, NSAP "NSAP" 22,
    NSAP_PTR "NSAP-PTR" 23, SIG "SIG" 24, KEY "KEY" 25, PX "PX" 26, GPOS "GPOS" 27, AAAA "AAAA" 28, LOC "LOC" 29,
    NXT "NXT" 30, EID "EID" 31, NIMLOC "NIMLOC" 32, SRV "SRV" 33, ATMA "ATMA" 34, NAPTR "NAPTR" 35, KX "KX" 36,
    CERT "CERT" 37, A6 "A6" 38, DNAME "DNAME" 39, SINK "SINK" 40, OPT "OPT" 41, APL "APL" 42, DS "DS" 43,
    SSHFP "SSHFP" 44, IPSECKEY "IPSECKEY" 45, RRSIG "RRSIG" 46, NSEC "NSEC" 47, DNSKEY "DNSKEY" 48,
    DHCID "DHCID" 49, NSEC3 "NSEC3" 50, NSEC3PARAM "NSEC3PARAM" 51, TLSA "TLSA" 52, SMIMEA "SMIMEA" 53,
    HIP "HIP" 55, NINFO "NINFO" 56, RKEY "RKEY" 57, TALINK "TALINK" 58, CDS "CDS" 59, CDNSKEY "CDNSKEY" 60,
    OPENPGPKEY "OPENPGPKEY" 61, CSYNC "CSYNC" 62, ZONEMD "ZONEMD" 63, SVCB "SVCB" 64, HTTPS "HTTPS" 65,
    DSYNC "DSYNC" 66, SPF "SPF" 99, NID "NID" 104, L32 "L32" 105, L64 "L64" 106, LP "LP" 107, EUI48 "EUI48" 108,
    EUI64 "EUI64" 109, TKEY "TKEY" 249, TSIG "TSIG" 250, IXFR "IXFR" 251, AXFR "AXFR" 252, MAILB "MAILB" 253,
    MAILA "MAILA" 254, ANY "ANY" 255, URI "URI" 256, CAA "CAA" 257, AVC "AVC" 258, DOA "DOA" 259,
    AMTRELAY "AMTRELAY" 260, RESINFO "RESINFO" 261, WALLET "WALLET" 262, TA "TA" 32768, DLV "DLV" 32769,
}

impl RecordType {
    /// The mnemonic, where the type has one.
    pub fn mnemonic(self) -> Option<&'static str> {
        MNEMONICS.iter().find(|(_, code)| *code == self.0).map(|(text, _)| *text)
    }

    /// Reads a mnemonic in any case, or `TYPEnnn` (RFC 3597 §5).
    pub fn from_text(text: &[u8]) -> Option<RecordType> {
        // The commonest types of a zone file first: this is called once a record.
        const COMMON: &[(&[u8], RecordType)] = &[
            (b"A", RecordType::A),
            (b"NS", RecordType::NS),
            (b"AAAA", RecordType::AAAA),
            (b"CNAME", RecordType::CNAME),
            (b"RRSIG", RecordType::RRSIG),
            (b"DS", RecordType::DS),
            (b"NSEC", RecordType::NSEC),
            (b"NSEC3", RecordType::NSEC3),
            (b"MX", RecordType::MX),
            (b"TXT", RecordType::TXT),
        ];
        if let Some((_, rtype)) = COMMON.iter().find(|(name, _)| *name == text) {
            return Some(*rtype);
        }
        if let Some((_, code)) = MNEMONICS.iter().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(text))
        {
            return Some(RecordType(*code));
        }
        numbered(text, b"TYPE").map(RecordType)
    }

    /// Whether the type exists only in questions and in messages, never in a zone: OPT, TKEY, TSIG and the
    /// QTYPEs (RFC 6895 §3.1), and type 0.
    pub fn is_meta(self) -> bool {
        self.0 == 0 || self == RecordType::OPT || (128..=255).contains(&self.0)
    }
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mnemonic() {
            Some(text) => f.pad(text),
            None => write!(f, "TYPE{}", self.0),
        }
    }
}

impl fmt::Debug for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn numbered(text: &[u8], prefix: &[u8]) -> Option<u16> {
    let (head, digits) = text.split_at_checked(prefix.len())?;
    if !head.eq_ignore_ascii_case(prefix) || digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A class (RFC 1035 §3.2.4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Class(pub u16);

impl Class {
    /// The Internet.
    pub const IN: Class = Class(1);
    /// CHAOS, used for `version.bind` and `id.server` (RFC 4892).
    pub const CH: Class = Class(3);
    /// Hesiod.
    pub const HS: Class = Class(4);
    /// NONE (RFC 2136 §2.4).
    pub const NONE: Class = Class(254);
    /// The QCLASS `*`.
    pub const ANY: Class = Class(255);

    /// Reads a mnemonic in any case, or `CLASSnnn` (RFC 3597 §5).
    pub fn from_text(text: &[u8]) -> Option<Class> {
        if text.eq_ignore_ascii_case(b"IN") {
            Some(Class::IN)
        } else if text.eq_ignore_ascii_case(b"CH") {
            Some(Class::CH)
        } else if text.eq_ignore_ascii_case(b"HS") {
            Some(Class::HS)
        } else {
            numbered(text, b"CLASS").map(Class)
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Class::IN => f.pad("IN"),
            Class::CH => f.pad("CH"),
            Class::HS => f.pad("HS"),
            Class::NONE => f.pad("NONE"),
            Class::ANY => f.pad("ANY"),
            Class(code) => write!(f, "CLASS{code}"),
        }
    }
}

impl fmt::Debug for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A response code, with the extended bits of EDNS (RFC 6891 §6.1.3): 12 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rcode(pub u16);

macro_rules! rcodes {
    ($($name:ident $code:literal),* $(,)?) => {
        #[expect(missing_docs, reason = "each constant is the mnemonic of the IANA registry")]
        impl Rcode {
            $(pub const $name: Rcode = Rcode($code);)*

            /// The mnemonic, where the code has one.
            pub fn mnemonic(self) -> Option<&'static str> {
                match self.0 {
                    $($code => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

rcodes! {
    NOERROR 0, FORMERR 1, SERVFAIL 2, NXDOMAIN 3, NOTIMP 4, REFUSED 5, YXDOMAIN 6, YXRRSET 7, NXRRSET 8,
    NOTAUTH 9, NOTZONE 10, BADVERS 16, BADCOOKIE 23,
}

impl fmt::Display for Rcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mnemonic() {
            Some(text) => f.pad(text),
            None => write!(f, "RCODE{}", self.0),
        }
    }
}

impl fmt::Debug for Rcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An operation code (RFC 1035 §4.1.1): 4 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Opcode(pub u8);

impl Opcode {
    /// A standard query.
    pub const QUERY: Opcode = Opcode(0);
    /// NOTIFY (RFC 1996).
    pub const NOTIFY: Opcode = Opcode(4);
    /// UPDATE (RFC 2136).
    pub const UPDATE: Opcode = Opcode(5);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mnemonics_round_trip() {
        for (text, code) in MNEMONICS {
            assert_eq!(RecordType::from_text(text.as_bytes()), Some(RecordType(*code)));
            assert_eq!(RecordType(*code).to_string(), *text);
        }
        assert_eq!(RecordType::from_text(b"type65280"), Some(RecordType(65280)));
        assert_eq!(RecordType::from_text(b"TYPE65536"), None);
        assert_eq!(RecordType::from_text(b"TYPE"), None);
        assert_eq!(RecordType::from_text(b"TYPE+1"), None);
        assert_eq!(RecordType(65280).to_string(), "TYPE65280");
        assert_eq!(Class::from_text(b"CLASS1"), Some(Class::IN));
    }
}
