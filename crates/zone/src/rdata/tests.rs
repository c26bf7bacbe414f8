//! Text to wire to text for every type, against known octets, against another implementation, and at random.

use super::{Field, RdataError, display, fields, validate};
use crate::master::rdata_from_text;
use hickory_proto::rr::RData;
use hickory_proto::serialize::binary::{BinDecoder, BinEncodable, BinEncoder, NameEncoding, Restrict};
use proptest::prelude::*;
use wire::{NameBuf, RecordType};

fn origin() -> NameBuf {
    NameBuf::from_text(b"example.", None).unwrap()
}

fn read(rtype: RecordType, text: &str) -> Result<Vec<u8>, String> {
    rdata_from_text(rtype, text.as_bytes(), origin().as_name()).map_err(|error| error.problem.to_string())
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// The text reads as these octets, and they are shown as `shown`, which reads as them again. hickory-proto, where it
/// knows the type, takes the octets and gives them back.
fn check(rtype: &str, text: &str, octets: &str, shown: &str) {
    let rtype = RecordType::from_text(rtype.as_bytes()).unwrap();
    let wire = read(rtype, text).unwrap_or_else(|error| panic!("{rtype} {text}: {error}"));
    assert_eq!(validate(rtype, &wire), Ok(()), "{rtype} {text}");
    if !octets.is_empty() {
        assert_eq!(hex(&wire), octets.replace(' ', ""), "{rtype} {text}");
    }
    let again = display(rtype, &wire).to_string();
    assert_eq!(again, shown, "{rtype}");
    assert_eq!(read(rtype, &again).as_ref(), Ok(&wire), "{rtype} {again}");
    let generic = format!("\\# {} {}", wire.len(), hex(&wire));
    assert_eq!(read(rtype, &generic).as_ref(), Ok(&wire), "{rtype} {generic}");
    check_with_hickory(rtype, &wire);
}

fn check_with_hickory(rtype: RecordType, wire: &[u8]) {
    let length = Restrict::new(u16::try_from(wire.len()).unwrap());
    let decoded = RData::read(&mut BinDecoder::new(wire), rtype.0.into(), length);
    let decoded = decoded.unwrap_or_else(|error| panic!("{rtype} {}: hickory-proto: {error}", hex(wire)));
    let mut out = Vec::new();
    let mut encoder = BinEncoder::new(&mut out);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    decoded.emit(&mut encoder).unwrap();
    assert_eq!(hex(&out), hex(wire), "{rtype}: hickory-proto gives other octets");
}

const KEY: &str = "AwEAAbdxyhNuSutc5EMzxTs9LBPCIkOFH8cIvM4p9+LrV4e19WzK00+CI6zBCQTdtWsuxKbWIy87UOoJ";

#[test]
fn types_of_rfc_1035() {
    check("A", "192.0.2.1", "c0000201", "192.0.2.1");
    check("NS", "ns", "026e73 07 6578616d706c65 00", "ns.example.");
    for rtype in ["MD", "MF", "CNAME", "MB", "MG", "MR", "PTR"] {
        check(rtype, "A\\.b.C.", "03412e62 0143 00", "A\\.b.C.");
    }
    check(
        "SOA",
        "a. . 4294967295 1h30m 2 1w 0",
        "016100 00 ffffffff 00001518 00000002 00093a80 00000000",
        "a. . 4294967295 5400 2 604800 0",
    );
    check("WKS", "192.0.2.1 tcp 25 0 7", "c0000201 06 81000040", "192.0.2.1 6 0 7 25");
    check("WKS", "192.0.2.1 17", "c0000201 11", "192.0.2.1 17");
    check("HINFO", "PC \"Linux x\"", "025043 074c696e75782078", "\"PC\" \"Linux x\"");
    check("MINFO", "a. b.", "016100 016200", "a. b.");
    check("MX", "65535 .", "ffff 00", "65535 .");
    check(
        "TXT",
        "a \"b c\" \\065\\\"\\\\ \"\" \"\\000\\200\"",
        "0161 03622063 0341225c 00 0200c8",
        "\"a\" \"b c\" \"A\\\"\\\\\" \"\" \"\\000\\200\"",
    );
    check("NULL", "\\# 3 aB cdE f", "abcdef", "\\# 3 ABCDEF");
}

#[test]
fn addresses_and_places() {
    check("AAAA", "2001:DB8::1", "20010db8000000000000000000000001", "2001:db8::1");
    check("AAAA", "::ffff:192.0.2.1", "00000000000000000000ffffc0000201", "::ffff:192.0.2.1");
    check("A6", "0 ::1", "00 00000000000000000000000000000001", "0 ::1");
    check("A6", "60 ::1:2:3:4 p.", "3c 000001000200030004 017000", "60 ::1:2:3:4 p.");
    check("A6", "128 p.", "80 017000", "128 p.");
    check("AFSDB", "1 a.", "0001 016100", "1 a.");
    check(
        "APL",
        "1:192.168.32.0/21 !2:2001:db8::/32 1:0.0.0.0/0",
        "0001 15 03 c0a820 0002 20 84 20010db8 0001 00 00",
        "1:192.168.32.0/21 !2:2001:db8::/32 1:0.0.0.0/0",
    );
    check("APL", "", "", "");
    check("EUI48", "00-00-5E-00-53-2a", "00005e00532a", "00-00-5e-00-53-2a");
    check("EUI64", "00-00-5e-ef-10-00-00-2a", "00005eef1000002a", "00-00-5e-ef-10-00-00-2a");
    check("GPOS", "-32.6882 116.8652 10.0", "", "\"-32.6882\" \"116.8652\" \"10.0\"");
    check("ISDN", "150862028003217", "", "\"150862028003217\"");
    check("ISDN", "150862028003217 004", "", "\"150862028003217\" \"004\"");
    check("L32", "10 10.1.2.0", "000a 0a010200", "10 10.1.2.0");
    check("L64", "10 2001:0DB8:1140:1000", "000a 20010db811401000", "10 2001:0db8:1140:1000");
    check("LP", "10 l64", "000a 036c3634 07 6578616d706c65 00", "10 l64.example.");
    check("NID", "10 14:4fff:ff20:ee64", "000a 00144fffff20ee64", "10 0014:4fff:ff20:ee64");
    check("NSAP", "0x47.0005.80", "47000580", "0x47000580");
    check("NSAP-PTR", "a.", "016100", "a.");
    check("X25", "311061700956", "", "\"311061700956\"");
    check("EID", "aa bb0 1", "aabb01", "AABB01");
    check("NIMLOC", "12ff", "12ff", "12FF");
    // RFC 1876 §3 and appendix A
    check(
        "LOC",
        "42 21 54 N 71 06 18 W -24m 30m",
        "00 33 16 13 89172dd0 70be15f0 00988d20",
        "42 21 54.000 N 71 6 18.000 W -24.00m 30m 10000m 10m",
    );
    check(
        "LOC",
        "1 S 2 3 E 42849672.95 0.05m 90000000m 0",
        "00 50 99 00 7fc91180 80709c20 ffffffff",
        "1 0 0.000 S 2 3 0.000 E 42849672.95m 0.05m 90000000m 0.00m",
    );
}

#[test]
fn services_and_pointers() {
    check("RP", "a. b.", "016100 016200", "a. b.");
    check("RT", "10 a.", "000a 016100", "10 a.");
    check("KX", "10 a.", "000a 016100", "10 a.");
    check("PX", "10 a. b.", "000a 016100 016200", "10 a. b.");
    check("DNAME", "a.", "016100", "a.");
    check("TALINK", "a. b.", "016100 016200", "a. b.");
    check("SRV", "1 2 65535 a.", "0001 0002 ffff 016100", "1 2 65535 a.");
    check(
        "NAPTR",
        "100 10 u E2U+sip \"!^.*$!\\\\1!i\" .",
        "0064 000a 0175 074532552b736970 0a 215e2e2a24215c312169 00",
        "100 10 \"u\" \"E2U+sip\" \"!^.*$!\\\\1!i\" .",
    );
    check("URI", "10 1 \"ftp://a b\"", "000a 0001 6674703a2f2f612062", "10 1 \"ftp://a b\"");
    check("CAA", "128 issue \"a; b\"", "80 056973737565 613b2062", "128 issue \"a; b\"");
    check("CAA", "0 issue \"\"", "00 056973737565", "0 issue \"\"");
    for rtype in ["SPF", "AVC", "NINFO", "RESINFO", "WALLET"] {
        check(rtype, "a \"b\"", "0161 0162", "\"a\" \"b\"");
    }
    check("SINK", "1 2 3 AAEC", "010203 000102", "1 2 3 AAEC");
    check("DOA", "0 1 2 \"\" AAEC", "00000000 00000001 02 00 000102", "0 1 2 \"\" AAEC");
    check("DOA", "0 1 2 text/x -", "00000000 00000001 02 06746578742f78", "0 1 2 \"text/x\" -");
    check("DSYNC", "CDS notify 5359 a.", "003b 01 14ef 016100", "CDS NOTIFY 5359 a.");
    check("AMTRELAY", "10 0 1 203.0.113.15", "0a 01 cb00710f", "10 0 1 203.0.113.15");
    check("AMTRELAY", "10 1 3 a.", "0a 83 016100", "10 1 3 a.");
    check("AMTRELAY", "0 1 0 .", "00 80", "0 1 0 .");
    check("AMTRELAY", "0 0 2 ::1", "00 02 00000000000000000000000000000001", "0 0 2 ::1");
}

#[test]
fn keys_and_digests() {
    let digest = "2BB183AF5F22588179A53B0A98631FAD1A292118";
    for rtype in ["DS", "CDS", "DLV", "TA"] {
        check(
            rtype,
            &format!("60485 RSASHA1 1 {} {}", &digest[..7].to_lowercase(), &digest[7..]),
            &format!("ec45 05 01 {}", digest.to_lowercase()),
            &format!("60485 5 1 {digest}"),
        );
    }
    check("CDS", "0 0 0 00", "0000 00 00 00", "0 0 0 00"); // RFC 8078 §4
    check("CDNSKEY", "0 3 0 AA==", "0000 03 00 00", "0 3 0 AA==");
    for rtype in ["DNSKEY", "KEY", "RKEY"] {
        check(rtype, "256 3 ED25519 AA EC", "0100 03 0f 000102", "256 3 15 AAEC");
    }
    check("KEY", "49152 3 5", "c000 03 05", "49152 3 5");
    check("SSHFP", &format!("2 1 {digest}"), "", &format!("2 1 {digest}"));
    check("TLSA", "3 1 0 AaBb", "03 01 00 aabb", "3 1 0 AABB");
    check("SMIMEA", "3 1 0 AABB", "03 01 00 aabb", "3 1 0 AABB");
    check("OPENPGPKEY", "AAEC AwQF", "000102030405", "AAECAwQF");
    check("DHCID", "AAEC", "000102", "AAEC");
    check("CERT", "PGP 0 0 AAEC", "0003 0000 00 000102", "PGP 0 0 AAEC");
    check("CERT", "65534 1 RSASHA256 AAEC", "fffe 0001 08 000102", "65534 1 8 AAEC");
    check("ZONEMD", &format!("1 1 1 {}", "aB".repeat(48)), "", &format!("1 1 1 {}", "AB".repeat(48)));
    check("ZONEMD", &format!("1 2 1 {}", "00".repeat(12)), "", &format!("1 2 1 {}", "00".repeat(12)));
    check("IPSECKEY", "10 1 2 192.0.2.38 AAEC", "0a 01 02 c0000226 000102", "10 1 2 192.0.2.38 AAEC");
    check("IPSECKEY", "10 0 2 . AAEC", "0a 00 02 000102", "10 0 2 . AAEC");
    check("IPSECKEY", "10 2 0 ::1", "0a 02 00 00000000000000000000000000000001", "10 2 0 ::1");
    check("IPSECKEY", "10 3 2 a. AAEC", "0a 03 02 016100 000102", "10 3 2 a. AAEC");
    check("HIP", "2 AABB AAEC a. b.", "02 02 0003 aabb 000102 016100 016200", "2 AABB AAEC a. b.");
    check("HIP", &format!("2 AABB {KEY}"), "", &format!("2 AABB {KEY}"));
}

#[test]
fn signatures_and_denial() {
    for rtype in ["RRSIG", "SIG"] {
        check(
            rtype,
            "TYPE65280 RSASHA1 2 1h 20300101000000 1577836800 7 A. AAEC",
            "ff00 05 02 00000e10 70dbd880 5e0be100 0007 014100 000102",
            "TYPE65280 5 2 3600 20300101000000 20200101000000 7 A. AAEC",
        );
    }
    // RFC 4034 §4.3
    check(
        "NSEC",
        "host.example.com. A MX RRSIG NSEC TYPE1234",
        "04686f7374 076578616d706c65 03636f6d 00 0006400100000003 041b000000000000000000000000000000000000000000000000000020",
        "host.example.com. A MX RRSIG NSEC TYPE1234",
    );
    let last = format!("016100 000140 ff20 {} 01", "00".repeat(31));
    check("NSEC", "a. TYPE65535 A", &last, "a. A TYPE65535");
    check("NSEC3", "1 1 12 aabb CO NS SOA", "01 01 000c 02aabb 0166 000122", "1 1 12 AABB CO NS SOA");
    check("NSEC3", "1 0 0 - co", "01 00 0000 00 0166", "1 0 0 - CO");
    check("NSEC3PARAM", "1 0 12 aabb", "01 00 000c 02aabb", "1 0 12 AABB");
    check("NSEC3PARAM", "1 0 0 -", "01 00 0000 00", "1 0 0 -");
    check("CSYNC", "66 3 A NS AAAA", "00000042 0003 000460000008", "66 3 A NS AAAA");
    check("CSYNC", "66 3", "00000042 0003", "66 3");
    check("NXT", "a. A MX NXT", "016100 40010002", "a. A MX NXT");
}

/// The test vectors of RFC 9460 appendix D.
#[test]
fn service_bindings() {
    let foo = "03666f6f 076578616d706c65 03636f6d 00";
    check("HTTPS", "0 foo.example.com.", &format!("0000 {foo}"), "0 foo.example.com.");
    check("SVCB", "1 .", "0001 00", "1 .");
    check(
        "SVCB",
        "16 foo.example.com. port=53",
        &format!("0010 {foo} 0003 0002 0035"),
        "16 foo.example.com. port=53",
    );
    check(
        "SVCB",
        "1 foo.example.com. key667=hello",
        &format!("0001 {foo} 029b 0005 68656c6c6f"),
        "1 foo.example.com. key667=\"hello\"",
    );
    check(
        "SVCB",
        "1 foo.example.com. key667=\"hello\\210qoo\"",
        &format!("0001 {foo} 029b 0009 68656c6c6fd2716f6f"),
        "1 foo.example.com. key667=\"hello\\210qoo\"",
    );
    check(
        "SVCB",
        "1 foo.example.com. ipv6hint=\"2001:db8::1,2001:db8::53:1\"",
        &format!("0001 {foo} 0006 0020 20010db8000000000000000000000001 20010db8000000000000000000530001"),
        "1 foo.example.com. ipv6hint=2001:db8::1,2001:db8::53:1",
    );
    check(
        "SVCB",
        "16 foo.example.org. alpn=h2,h3-19 mandatory=ipv4hint,alpn ipv4hint=192.0.2.1",
        "0010 03666f6f 076578616d706c65 036f7267 00 0000 0004 00010004 0001 0009 02683205 68332d3139 0004 0004 c0000201",
        "16 foo.example.org. mandatory=alpn,ipv4hint alpn=\"h2,h3-19\" ipv4hint=192.0.2.1",
    );
    for text in [r#"16 . alpn="f\\\\oo\\,bar,h2""#, r"16 . alpn=f\\\092oo\092,bar,h2"] {
        check("SVCB", text, "0010 00 0001 000c 08665c6f6f2c626172 026832", r#"16 . alpn="f\\\\oo\\,bar,h2""#);
    }
    check(
        "HTTPS",
        "1 . ohttp dohpath=/q{?dns} ech=\"AAEC\" no-default-alpn key1=\\002h2 key9 key10=\"\"",
        "0001 00 0001 0003 026832 0002 0000 0005 0003 000102 0007 0008 2f717b3f646e737d 0008 0000 0009 0000 000a 0000",
        "1 . alpn=\"h2\" no-default-alpn ech=AAEC dohpath=\"/q{?dns}\" ohttp key9 key10",
    );
}

/// The text is refused with a message that holds these words.
fn check_refused(rtype: &str, text: &str, message: &str) {
    let rtype = RecordType::from_text(rtype.as_bytes()).unwrap();
    match read(rtype, text) {
        Ok(wire) => panic!("{rtype} {text} is read as {}", hex(&wire)),
        Err(error) => assert!(error.contains(message), "{rtype} {text}: {error}"),
    }
}

/// Type, text, and part of the message.
const WRONG_TEXTS: &[(&str, &str, &str)] = &[
    ("A", "", "ends where an IPv4 address"),
    ("A", "192.0.2.256", "`192.0.2.256` is not an IPv4 address"),
    ("A", "\"192.0.2.1\"", "remove the quotes"),
    ("A", "192.0.2.1 x", "`x` follows the end"),
    ("A", "\\# 3 000000", "ends where an IPv4 address"),
    ("A", "\\# 5 0000000000", "1 octets follow"),
    ("A", "\\# 4 000000", "3 octets, but its length is stated as 4"),
    ("A", "\\# 4 0000000", "two digits to the octet"),
    ("A", "\\# 65536", "0 to 65535"),
    ("MX", "\\# 4 0000c000", "a name that is cut off, too long or compressed"),
    ("AAAA", "1::2::3", "is not an IPv6 address"),
    ("NULL", "x", "written `\\# length hexadecimal`"),
    ("TYPE65280", "", "written `\\# length hexadecimal`"),
    ("MX", "65536 a.", "0 to 65535"),
    ("MX", "10 a..b", "an empty label"),
    ("TXT", "", "ends where a text"),
    ("TXT", "a\"b\"", "a quote inside a word"),
    ("TXT", "\"a", "has no end"),
    ("TXT", "\\300", "three digits up to 255"),
    ("TXT", "a\\", "three digits up to 255"),
    ("HINFO", "a", "ends where a text"),
    ("HINFO", "a b c", "`c` follows"),
    ("DS", "1 5 1 ABC", "two digits to the octet"),
    ("DS", "1 5 1 ABCD", "the digest has 2 octets; one of this kind has 20"),
    ("DS", "1 5 1", "ends where data in hexadecimal"),
    ("DS", "1 NOSUCH 1 00", "`NOSUCH` is not a DNSSEC algorithm"),
    ("SSHFP", "1 2 00", "one of this kind has 32"),
    ("ZONEMD", "1 1 1 00", "12 octets or more"),
    ("DNSKEY", "256 3 8 A", "padded with = to four"),
    ("DNSKEY", "256 3 8 A*==", "is not data in base64"),
    ("DNSKEY", "256 3 8", "ends where data in base64"),
    ("RRSIG", "A 8 2 60 20301301000000 0 1 . AAAA", "`20301301000000` is not a time"),
    ("NSEC", "a. NOSUCH", "`NOSUCH` is not a record type"),
    ("NSEC", "\\# 5 0000014000", "RFC 4034 §4.1.2"),
    ("NSEC", "\\# 4 00000100", "RFC 4034 §4.1.2"),
    ("NSEC3", "1 0 0 a CO", "is not a salt"),
    ("NSEC3", "1 0 0 - !", "in base32hex"),
    ("NXT", "a. TYPE128", "below 128"),
    ("LOC", "91 N 0 E 0", "is not a latitude"),
    ("LOC", "0 N 180 0 0.001 E 0", "is not a longitude"),
    ("LOC", "0 60 N 0 E 0", "is not a latitude"),
    ("LOC", "0 N 0 E", "ends where an altitude"),
    ("LOC", "0 N 0 E -100000.01", "is not an altitude"),
    ("LOC", "0 N 0 E 0 90000001", "is not a size"),
    ("APL", "1:192.0.2.0/33", "is not an address prefix"),
    ("APL", "3:0/0", "is not an address prefix"),
    ("CAA", "0 is-sue x", "is not a tag"),
    ("CAA", "256 issue x", "0 to 255"),
    ("URI", "1 1 \"\"", "ends where a text"),
    ("EUI48", "00-00", "is not a 48-bit address"),
    ("IPSECKEY", "1 4 1 . AAEC", "is not a gateway"),
    ("IPSECKEY", "1 0 1 a. AAEC", "there is none of type 0"),
    ("AMTRELAY", "1 2 1 192.0.2.1", "a discovery bit"),
    ("HIP", "2 AAB AAEC", "in hexadecimal"),
    ("WKS", "192.0.2.1 smtp 25", "a protocol"),
    ("SVCB", "1 . nosuch=1", "the key is not known"),
    ("SVCB", "1 . key01=x", "the key is not known"),
    ("SVCB", "1 . key65535", "the key is not known"),
    ("SVCB", "1 . port=1 port=2", "stated twice"),
    ("SVCB", "1 . port=65536", "port needs a number"),
    ("SVCB", "1 . port", "port needs a number"),
    ("SVCB", "1 . alpn=", "alpn needs a list"),
    ("SVCB", "1 . alpn=h2,,h3", "alpn needs a list"),
    ("SVCB", "1 . alpn=h2\\\\x", "followed by a comma"),
    ("SVCB", "1 . no-default-alpn", "needs alpn beside it"),
    ("SVCB", "1 . alpn=h2 no-default-alpn=x", "takes no value"),
    ("SVCB", "1 . mandatory=alpn", "not among the parameters"),
    ("SVCB", "1 . mandatory=mandatory", "other than itself"),
    ("SVCB", "1 . mandatory=port,port port=1", "lists a key twice"),
    ("SVCB", "1 . ipv4hint=192.0.2", "list of IPv4"),
    ("SVCB", "1 . ech=A", "ech needs a value in base64"),
    ("SVCB", "1 . ech", "ech needs a value in base64"),
    ("SVCB", "1 . dohpath=\\255", "in UTF-8"),
    ("SVCB", "1 . key667=\"a\"b", "`b` is wrong: the key is not known"),
    ("SVCB", "\\# 12 0001 00 0003 0001 35 0003 0000", "port needs a number"),
    ("SVCB", "\\# 15 0001 00 0003 0002 0035 0003 0002 0035", "ascending order"),
];

#[test]
fn wrong_text_is_refused() {
    for (rtype, text, message) in WRONG_TEXTS {
        check_refused(rtype, text, message);
    }
    check_refused("TXT", &"a".repeat(256), "256 octets");
    check_refused("TXT", &"abc ".repeat(20_000), "more than 65535 octets");
    check_refused("HIP", &format!("2 {} AAEC", "00".repeat(256)), "at most 255 octets");
}

#[test]
fn wrong_octets_are_refused() {
    for (rtype, octets, error) in [
        (RecordType::MX, &[0][..], RdataError::Short(Field::U16.expected())),
        (RecordType::TXT, &[], RdataError::Short(Field::Texts.expected())),
        (RecordType::TXT, &[2, 0], RdataError::Short(Field::Texts.expected())),
        (RecordType::NS, &[0xc0, 0], RdataError::Name),
        (RecordType::A, &[0; 5], RdataError::Trailing(1)),
        (RecordType::IPSECKEY, &[0], RdataError::Short(Field::U8.expected())),
        (RecordType::AMTRELAY, &[0, 4], RdataError::Value("a gateway or relay type over 3 is not assigned")),
    ] {
        assert_eq!(validate(rtype, octets), Err(error));
        assert!(display(rtype, octets).to_string().starts_with("\\# "));
    }
    assert_eq!(validate(RecordType(65280), &vec![0; 65_536]), Err(RdataError::Long));
}

/// Zeros that have no text of their own are shown as RFC 3597 has it.
#[test]
fn octets_without_a_text() {
    for (rtype, octets) in
        [("LOC", "00011613800000008000000000989680"), ("WKS", "c00002010600"), ("NXT", "0000")]
    {
        let text = format!("\\# {} {}", octets.len() / 2, octets.to_uppercase());
        check(rtype, &text, octets, &text);
    }
}

/// Makes valid octets of a field from random ones.
fn make(field: Field, random: &mut impl Iterator<Item = u8>, out: &mut Vec<u8>) {
    match field {
        Field::Name(_) => make_name(random, out),
        Field::Names => (0..next(random, 3)).for_each(|_| make_name(random, out)),
        Field::U8 | Field::Algorithm | Field::Scheme => octets(random, out, 1),
        Field::U16 | Field::CertType | Field::Type => octets(random, out, 2),
        Field::U32 | Field::Period | Field::Time | Field::Ipv4 => octets(random, out, 4),
        Field::Eui48 => octets(random, out, 6),
        Field::Locator | Field::Eui64 => octets(random, out, 8),
        Field::Ipv6 => octets(random, out, 16),
        Field::TextOptional if next(random, 2) == 0 => {}
        Field::Text | Field::TextOptional | Field::Salt | Field::NextHash => {
            let len = 1 + next(random, 9);
            out.push(len as u8);
            (0..len).for_each(|_| out.push(next(random, 256) as u8));
        }
        Field::Texts => (0..1 + next(random, 3)).for_each(|_| make(Field::Text, random, out)),
        Field::Tag => out.extend_from_slice(b"\x05issue"),
        Field::Remainder { .. } | Field::Hex | Field::Nsap | Field::Base64 => {
            (0..48 + next(random, 5)).for_each(|_| out.push(next(random, 256) as u8));
        }
        Field::Base64Optional | Field::Base64OrDash => {
            (0..next(random, 5)).for_each(|_| out.push(next(random, 256) as u8))
        }
        Field::TypeBitmap => {
            for window in 0..next(random, 4) {
                out.extend_from_slice(&[
                    (3 * window) as u8,
                    2,
                    next(random, 256) as u8,
                    1 + next(random, 255) as u8,
                ]);
            }
        }
        Field::NxtBitmap => out.extend_from_slice(&[next(random, 128) as u8, 1 + next(random, 255) as u8]),
        Field::Wks => {
            octets(random, out, 6);
            out.push(1);
        }
        Field::Prefixes => {
            for _ in 0..next(random, 3) {
                let family = 1 + next(random, 2) as u8;
                out.extend_from_slice(&[
                    0,
                    family,
                    next(random, 33) as u8,
                    (next(random, 2) as u8) << 7 | 2,
                    next(random, 256) as u8,
                    1,
                ]);
            }
        }
        Field::Location => {
            out.extend_from_slice(&[0, 0x12, next(random, 10) as u8 | 0x30, 0x99]);
            for _ in 0..2 {
                out.extend_from_slice(&[
                    0x7f + next(random, 2) as u8,
                    next(random, 256) as u8,
                    next(random, 256) as u8,
                    next(random, 256) as u8,
                ]);
            }
            (0..4).for_each(|_| out.push(next(random, 256) as u8));
        }
        _ => make_composite(field, random, out),
    }
}

/// The fields whose parts depend on each other.
fn make_composite(field: Field, random: &mut impl Iterator<Item = u8>, out: &mut Vec<u8>) {
    match field {
        Field::A6 => {
            let prefix_len = next(random, 129);
            out.push(prefix_len as u8);
            (0..(128 - prefix_len).div_ceil(8)).for_each(|_| out.push(next(random, 256) as u8));
            if prefix_len > 0 {
                make_name(random, out);
            }
        }
        Field::Gateway => {
            let kind = next(random, 4);
            out[1] = kind as u8;
            make_target(kind, random, out);
        }
        Field::Relay => {
            let kind = next(random, 4);
            out.push((next(random, 2) as u8) << 7 | kind as u8);
            make_target(kind, random, out);
        }
        Field::HostIdentity => {
            out.extend_from_slice(&[2, next(random, 256) as u8, 0, 3]);
            (0..5).for_each(|_| out.push(next(random, 256) as u8));
        }
        Field::Params => {
            for key in 9..9 + next(random, 4) as u8 {
                out.extend_from_slice(&[0, key, 0, 2, next(random, 256) as u8, next(random, 256) as u8]);
            }
        }
        _ => unreachable!("the fields above"),
    }
}

fn next(random: &mut impl Iterator<Item = u8>, below: usize) -> usize {
    usize::from(random.next().unwrap()) % below
}

fn octets(random: &mut impl Iterator<Item = u8>, out: &mut Vec<u8>, len: usize) {
    (0..len).for_each(|_| out.push(random.next().unwrap()));
}

fn make_name(random: &mut impl Iterator<Item = u8>, out: &mut Vec<u8>) {
    for _ in 0..random.next().unwrap() % 4 {
        let len = 1 + random.next().unwrap() % 9;
        out.push(len);
        (0..len).for_each(|_| out.push(random.next().unwrap()));
    }
    out.push(0);
}

fn make_target(kind: usize, random: &mut impl Iterator<Item = u8>, out: &mut Vec<u8>) {
    match kind {
        0 => {}
        1 => make(Field::Ipv4, random, out),
        2 => make(Field::Ipv6, random, out),
        _ => make_name(random, out),
    }
}

/// Every type that has fields.
fn types_with_fields() -> Vec<RecordType> {
    (0..=u16::MAX).map(RecordType).filter(|rtype| fields(*rtype).is_some()).collect()
}

proptest! {
    /// What is valid has a text that reads as the same octets, in every type.
    #[test]
    fn valid_octets_survive_text(seed in proptest::collection::vec(any::<u8>(), 1..200)) {
        let mut random = seed.iter().copied().cycle();
        for rtype in types_with_fields() {
            let mut wire = Vec::new();
            for &field in fields(rtype).unwrap() {
                make(field, &mut random, &mut wire);
            }
            if validate(rtype, &wire).is_err() {
                continue; // a digest of a known kind and another length
            }
            let text = display(rtype, &wire).to_string();
            prop_assert!(!text.starts_with("\\#"), "{rtype} {text}");
            prop_assert_eq!(read(rtype, &text), Ok(wire), "{} {}", rtype, text);
        }
    }

    /// Whatever the octets, showing them does not fail, and a text of valid ones reads as them.
    #[test]
    fn any_octets_can_be_shown(wire in proptest::collection::vec(prop_oneof![any::<u8>(), 0u8..4], 0..40)) {
        for rtype in types_with_fields() {
            let text = display(rtype, &wire).to_string();
            let read = read(rtype, &text);
            if validate(rtype, &wire).is_ok() {
                prop_assert_eq!(read.as_ref(), Ok(&wire), "{} {}", rtype, text);
            } else {
                prop_assert!(read.is_err(), "{rtype} {text}");
            }
            let _ = super::names(rtype, &wire).count();
            super::to_canonical(rtype, &mut wire.clone());
        }
    }
}
