//! The table: which fields the data of each type is made of.

use wire::RecordType;

/// How a name inside record data is treated by compression and by the canonical form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NameForm {
    /// May be compressed in messages (RFC 3597 §4: the types of RFC 1035 only); lower-cased in canonical form.
    Compressible,
    /// Never compressed; lower-cased in canonical form (RFC 4034 §6.2 as corrected by RFC 6840 §5.1).
    Lowered,
    /// Never compressed; its case is kept in canonical form.
    Kept,
}

/// One field of record data. The fields without a fixed length that have no length octet of their own reach to
/// the end of the data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Field {
    /// A domain name.
    Name(NameForm),
    /// Any number of names to the end, their case kept (HIP, RFC 8005 §5).
    Names,
    /// An 8-bit number.
    U8,
    /// A 16-bit number.
    U16,
    /// A 32-bit number.
    U32,
    /// A 32-bit number of seconds, in text also with units (`1h30m`).
    Period,
    /// A DNSSEC algorithm, 8 bits, in text also a mnemonic (RFC 4034 appendix A.1).
    Algorithm,
    /// A certificate type, 16 bits, in text also a mnemonic (RFC 4398 §2.1).
    CertType,
    /// The scheme of a DSYNC record, 8 bits, in text also a mnemonic (RFC 9859 §2.1).
    Scheme,
    /// A record type, 16 bits.
    Type,
    /// A point in time in seconds since 1970 modulo 2^32, in text also YYYYMMDDHHmmSS (RFC 4034 §3.2).
    Time,
    /// An IPv4 address.
    Ipv4,
    /// An IPv6 address.
    Ipv6,
    /// A 64-bit locator or identifier of four groups of hexadecimal digits (RFC 6742 §2.1.2).
    Locator,
    /// A 48-bit address of six pairs of hexadecimal digits (RFC 7043 §3.2).
    Eui48,
    /// A 64-bit address of eight pairs of hexadecimal digits (RFC 7043 §4.2).
    Eui64,
    /// A character string with its length octet (RFC 1035 §3.3).
    Text,
    /// A character string or nothing.
    TextOptional,
    /// One or more character strings to the end.
    Texts,
    /// The octets to the end as one text, without a length octet; `min` octets at least.
    Remainder {
        /// The fewest octets allowed.
        min: usize,
    },
    /// The tag of a CAA record: a length octet, then ASCII letters and digits (RFC 8659 §4.1).
    Tag,
    /// One octet or more to the end, in hexadecimal.
    Hex,
    /// One octet or more to the end, in hexadecimal after `0x` and with dots anywhere (RFC 1706 §6).
    Nsap,
    /// One octet or more to the end, in base64.
    Base64,
    /// The octets to the end, maybe none, in base64.
    Base64Optional,
    /// The octets to the end in base64; `-` for none (draft-durand-doa-over-dns).
    Base64OrDash,
    /// The salt of NSEC3: a length octet and octets in hexadecimal, `-` for none (RFC 5155 §3.3).
    Salt,
    /// The next hashed owner of NSEC3: a length octet and octets in base32hex (RFC 5155 §3.3).
    NextHash,
    /// The bit maps of record types to the end (RFC 4034 §4.1.2).
    TypeBitmap,
    /// The one bit map of the types below 128 (RFC 2535 §5.2).
    NxtBitmap,
    /// Address, protocol and ports of WKS (RFC 1035 §3.4.2).
    Wks,
    /// The address prefixes of APL (RFC 3123 §4).
    Prefixes,
    /// All of LOC (RFC 1876 §2).
    Location,
    /// All of A6 (RFC 2874 §3.1).
    A6,
    /// The gateway of IPSECKEY, whose form the second octet of the data tells (RFC 4025 §2.5).
    Gateway,
    /// Discovery bit, type and relay of AMTRELAY (RFC 8777 §4.2).
    Relay,
    /// Algorithm, host identity tag and public key of HIP (RFC 8005 §5).
    HostIdentity,
    /// The parameters of SVCB and HTTPS (RFC 9460 §2.2).
    Params,
}

impl Field {
    /// What stands in the field, as messages say it.
    pub(crate) fn expected(self) -> &'static str {
        match self {
            Field::Name(_) | Field::Names => "a domain name",
            Field::U8 => "a number from 0 to 255",
            Field::U16 => "a number from 0 to 65535",
            Field::U32 => "a number from 0 to 4294967295",
            Field::Period => "a time in seconds or with units, such as 3600 or 1h30m",
            Field::Algorithm => {
                "a DNSSEC algorithm: a number from 0 to 255 or a mnemonic such as ECDSAP256SHA256"
            }
            Field::CertType => "a certificate type: a number from 0 to 65535 or a mnemonic such as PKIX",
            Field::Scheme => "a scheme: a number from 0 to 255 or NOTIFY",
            Field::Type => "a record type",
            Field::Time => "a time: YYYYMMDDHHmmSS, or seconds since 1970",
            Field::Ipv4 => "an IPv4 address such as 192.0.2.1",
            Field::Ipv6 => "an IPv6 address such as 2001:db8::1",
            Field::Locator => "a 64-bit value such as 2001:db8:1140:1000",
            Field::Eui48 => "a 48-bit address such as 00-00-5e-00-53-2a",
            Field::Eui64 => "a 64-bit address such as 00-00-5e-ef-10-00-00-2a",
            Field::Text | Field::TextOptional | Field::Texts | Field::Remainder { .. } => "a text",
            Field::Tag => "a tag of ASCII letters and digits",
            Field::Hex => "data in hexadecimal",
            Field::Nsap => "an address in hexadecimal after 0x",
            Field::Base64 | Field::Base64Optional => "data in base64",
            Field::Base64OrDash => "data in base64, or - for none",
            Field::Salt => "a salt of at most 255 octets in hexadecimal, or - for none",
            Field::NextHash => "a hash of at most 255 octets in base32hex",
            Field::TypeBitmap => "a record type",
            Field::NxtBitmap => "a record type below 128",
            Field::Wks => "an IPv4 address, a protocol and ports",
            Field::Prefixes => "an address prefix such as 1:192.0.2.0/24 or !2:2001:db8::/32",
            Field::Location => "a location such as 52 22 23 N 4 53 32 E -2m",
            Field::A6 => "a prefix length, an IPv6 address and a name",
            Field::Gateway => "a gateway of the type stated before it",
            Field::Relay => "a discovery bit, a relay type from 0 to 3, and a relay of that type",
            Field::HostIdentity => "an algorithm, a host identity tag in hexadecimal and a key in base64",
            Field::Params => "a parameter such as alpn=h2 or port=443",
        }
    }
}

/// The fields of the data of `rtype`, in their order; `None` for an opaque type, whose text is only that of
/// RFC 3597 (NULL and ATMA among those with a mnemonic).
pub fn fields(rtype: RecordType) -> Option<&'static [Field]> {
    use Field::*;
    use NameForm::*;
    use RecordType as T;
    Some(match rtype {
        T::A => &[Ipv4],
        T::NS | T::MD | T::MF | T::CNAME | T::MB | T::MG | T::MR | T::PTR => &[Name(Compressible)],
        T::SOA => &[Name(Compressible), Name(Compressible), U32, Period, Period, Period, Period],
        T::WKS => &[Wks],
        T::HINFO => &[Text, Text],
        T::MINFO => &[Name(Compressible), Name(Compressible)],
        T::MX => &[U16, Name(Compressible)],
        T::TXT | T::SPF | T::NINFO | T::AVC | T::RESINFO | T::WALLET => &[Texts],
        T::RP => &[Name(Lowered), Name(Lowered)],
        T::AFSDB | T::RT | T::KX => &[U16, Name(Lowered)],
        T::X25 => &[Text],
        T::ISDN => &[Text, TextOptional],
        T::NSAP => &[Nsap],
        T::NSAP_PTR => &[Name(Kept)],
        T::SIG | T::RRSIG => &[Type, Algorithm, U8, Period, Time, Time, U16, Name(Lowered), Base64],
        T::KEY => &[U16, U8, Algorithm, Base64Optional],
        T::DNSKEY | T::CDNSKEY | T::RKEY => &[U16, U8, Algorithm, Base64],
        T::PX => &[U16, Name(Lowered), Name(Lowered)],
        T::GPOS => &[Text, Text, Text],
        T::AAAA => &[Ipv6],
        T::LOC => &[Location],
        T::NXT => &[Name(Lowered), NxtBitmap],
        T::EID | T::NIMLOC => &[Hex],
        T::SRV => &[U16, U16, U16, Name(Lowered)],
        T::NAPTR => &[U16, U16, Text, Text, Text, Name(Lowered)],
        T::CERT => &[CertType, U16, Algorithm, Base64],
        T::A6 => &[A6],
        T::DNAME => &[Name(Lowered)],
        T::SINK => &[U8, U8, U8, Base64Optional],
        T::APL => &[Prefixes],
        T::DS | T::CDS | T::DLV | T::TA => &[U16, Algorithm, U8, Hex],
        T::SSHFP => &[U8, U8, Hex],
        T::IPSECKEY => &[U8, U8, U8, Gateway, Base64Optional],
        T::NSEC => &[Name(Kept), TypeBitmap],
        T::DHCID | T::OPENPGPKEY => &[Base64],
        T::NSEC3 => &[U8, U8, U16, Salt, NextHash, TypeBitmap],
        T::NSEC3PARAM => &[U8, U8, U16, Salt],
        T::TLSA | T::SMIMEA => &[U8, U8, U8, Hex],
        T::HIP => &[HostIdentity, Names],
        T::TALINK => &[Name(Kept), Name(Kept)],
        T::CSYNC => &[U32, U16, TypeBitmap],
        T::ZONEMD => &[U32, U8, U8, Hex],
        T::SVCB | T::HTTPS => &[U16, Name(Kept), Params],
        T::DSYNC => &[Type, Scheme, U16, Name(Kept)],
        T::NID | T::L64 => &[U16, Locator],
        T::L32 => &[U16, Ipv4],
        T::LP => &[U16, Name(Kept)],
        T::EUI48 => &[Eui48],
        T::EUI64 => &[Eui64],
        T::URI => &[U16, U16, Remainder { min: 1 }],
        T::CAA => &[U8, Tag, Remainder { min: 0 }],
        T::DOA => &[U32, U32, U8, Text, Base64OrDash],
        T::AMTRELAY => &[U8, Relay],
        _ => return None,
    })
}
