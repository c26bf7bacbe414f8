//! Record types: their names, and where domain names stand in their RDATA.

/// One part of a type's RDATA, as far as a reader has to know it to find the names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// This many octets without a name.
    Octets(usize),
    /// A character-string: a length octet and that many octets.
    Text,
    /// A name that may be compressed (the types of RFC 1035 only; RFC 3597 §4).
    CompressibleName,
    /// A name that must not be compressed.
    Name,
}

/// The parts of a type's RDATA up to its last name; what follows is opaque.
#[must_use]
pub fn parts(rtype: u16) -> &'static [Part] {
    use Part::{CompressibleName, Name, Octets, Text};
    match rtype {
        // NS MD MF CNAME MB MG MR PTR
        2 | 3 | 4 | 5 | 7 | 8 | 9 | 12 => &[CompressibleName],
        6 | 14 => &[CompressibleName, CompressibleName], // SOA MINFO
        15 => &[Octets(2), CompressibleName],            // MX
        17 => &[Name, Name],                             // RP
        18 | 21 | 36 | 107 => &[Octets(2), Name],        // AFSDB RT KX LP
        24 | 46 => &[Octets(18), Name],                  // SIG RRSIG
        26 => &[Octets(2), Name, Name],                  // PX
        30 | 39 | 47 => &[Name],                         // NXT DNAME NSEC
        33 => &[Octets(6), Name],                        // SRV
        35 => &[Octets(4), Text, Text, Text, Name],      // NAPTR
        58 => &[Name, Name],                             // TALINK
        64 | 65 => &[Octets(2), Name],                   // SVCB HTTPS
        _ => &[],
    }
}

/// Types by mnemonic.
#[rustfmt::skip]
const TYPES: &[(&str, u16)] = &[
    ("A", 1), ("NS", 2), ("MD", 3), ("MF", 4), ("CNAME", 5), ("SOA", 6), ("MB", 7), ("MG", 8), ("MR", 9), ("NULL", 10),
    ("WKS", 11), ("PTR", 12), ("HINFO", 13), ("MINFO", 14), ("MX", 15), ("TXT", 16), ("RP", 17), ("AFSDB", 18),
    ("X25", 19), ("ISDN", 20), ("RT", 21), ("NSAP", 22), ("SIG", 24), ("KEY", 25), ("PX", 26), ("GPOS", 27),
    ("AAAA", 28), ("LOC", 29), ("NXT", 30), ("EID", 31), ("SRV", 33), ("NAPTR", 35), ("KX", 36), ("CERT", 37),
    ("DNAME", 39), ("OPT", 41), ("APL", 42), ("DS", 43), ("SSHFP", 44), ("IPSECKEY", 45), ("RRSIG", 46), ("NSEC", 47),
    ("DNSKEY", 48), ("DHCID", 49), ("NSEC3", 50), ("NSEC3PARAM", 51), ("TLSA", 52), ("SMIMEA", 53), ("HIP", 55),
    ("TALINK", 58), ("CDS", 59), ("CDNSKEY", 60), ("OPENPGPKEY", 61), ("CSYNC", 62), ("ZONEMD", 63), ("SVCB", 64),
    ("HTTPS", 65), ("SPF", 99), ("NID", 104), ("L32", 105), ("L64", 106), ("LP", 107), ("EUI48", 108), ("EUI64", 109),
    ("TSIG", 250), ("IXFR", 251), ("AXFR", 252), ("MAILB", 253), ("MAILA", 254), ("ANY", 255), ("URI", 256),
    ("CAA", 257), ("AVC", 258), ("DLV", 32769),
];

/// The mnemonic of a type, or `TYPEn` (RFC 3597 §5).
#[must_use]
pub fn type_name(rtype: u16) -> String {
    match TYPES.iter().find(|(_, code)| *code == rtype) {
        Some((name, _)) => (*name).to_owned(),
        None => format!("TYPE{rtype}"),
    }
}

/// The code of a mnemonic or of `TYPEn`, letters in any case.
#[must_use]
pub fn type_code(text: &str) -> Option<u16> {
    let upper = text.to_ascii_uppercase();
    match TYPES.iter().find(|(name, _)| *name == upper) {
        Some((_, code)) => Some(*code),
        None => upper.strip_prefix("TYPE")?.parse().ok(),
    }
}
