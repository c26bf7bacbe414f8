//! Mnemonics of numbers inside record data.

/// DNSSEC algorithms (RFC 4034 appendix A.1 and the IANA registry). Where a number has two mnemonics the first is
/// the registry's.
pub(crate) const ALGORITHMS: &[(&str, u16)] = &[
    ("RSAMD5", 1),
    ("DH", 2),
    ("DSA", 3),
    ("ECC", 4),
    ("RSASHA1", 5),
    ("DSA-NSEC3-SHA1", 6),
    ("NSEC3DSA", 6),
    ("RSASHA1-NSEC3-SHA1", 7),
    ("NSEC3RSASHA1", 7),
    ("RSASHA256", 8),
    ("RSASHA512", 10),
    ("ECC-GOST", 12),
    ("ECCGOST", 12),
    ("ECDSAP256SHA256", 13),
    ("ECDSAP384SHA384", 14),
    ("ED25519", 15),
    ("ED448", 16),
    ("SM2SM3", 17),
    ("ECC-GOST12", 23),
    ("INDIRECT", 252),
    ("PRIVATEDNS", 253),
    ("PRIVATEOID", 254),
];

/// Certificate types (RFC 4398 §2.1).
pub(crate) const CERT_TYPES: &[(&str, u16)] = &[
    ("PKIX", 1),
    ("SPKI", 2),
    ("PGP", 3),
    ("IPKIX", 4),
    ("ISPKI", 5),
    ("IPGP", 6),
    ("ACPKIX", 7),
    ("IACPKIX", 8),
    ("URI", 253),
    ("OID", 254),
];

/// Schemes of DSYNC (RFC 9859 §6.2).
pub(crate) const SCHEMES: &[(&str, u16)] = &[("NOTIFY", 1)];

/// The number of a mnemonic in any case.
pub(crate) fn number_of(table: &[(&str, u16)], text: &[u8]) -> Option<u16> {
    table.iter().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(text)).map(|(_, number)| *number)
}

/// The mnemonic of a number.
pub(crate) fn mnemonic_of(table: &'static [(&'static str, u16)], number: u16) -> Option<&'static str> {
    table.iter().find(|(_, code)| *code == number).map(|(name, _)| *name)
}
