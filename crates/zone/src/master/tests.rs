//! Texts and what they give: records, and errors with their places.

use super::*;
use crate::rdata::{display, validate};
use proptest::prelude::*;
use std::collections::HashMap;
use wire::NameBuf;

#[derive(Default)]
struct Lines {
    records: Vec<String>,
    places: Vec<Place>,
    progress: Vec<u64>,
}

impl Sink for Lines {
    fn record(&mut self, owner: Name<'_>, rtype: RecordType, ttl: u32, rdata: &[u8], place: Place) {
        assert_eq!(validate(rtype, rdata), Ok(()));
        self.records.push(format!("{owner} {ttl} {rtype} {}", display(rtype, rdata)));
        self.places.push(place);
    }

    fn progress(&mut self, bytes_read: u64) {
        self.progress.push(bytes_read);
    }
}

/// The files that a text may include.
#[derive(Default)]
struct Files(HashMap<&'static str, &'static str>);

impl Include for Files {
    fn load(&mut self, path: &str, from: &str) -> Result<Included, IncludeError> {
        assert!(!from.is_empty());
        match self.0.get(path) {
            Some(text) => Ok(Included { file: path.to_owned(), text: text.as_bytes().to_vec() }),
            None => Err(IncludeError::Read(std::io::ErrorKind::NotFound)),
        }
    }
}

fn run(text: &[u8], files: &mut Files) -> (Lines, Report) {
    let origin = NameBuf::from_text(b"example.", None).unwrap();
    let mut lines = Lines::default();
    let report = parse(text, &Options::new(origin.as_name(), "zone"), files, &mut lines);
    assert_eq!(report.records, lines.records.len() as u64);
    (lines, report)
}

fn check_with(files: &[(&'static str, &'static str)], text: &str, records: &[&str], errors: &[&str]) {
    let (lines, report) = run(text.as_bytes(), &mut Files(files.iter().copied().collect()));
    let found: Vec<String> = report.errors.iter().map(|error| report.describe(error).to_string()).collect();
    assert_eq!(found.len(), errors.len(), "{text}\n{found:#?}");
    for (found, expected) in found.iter().zip(errors) {
        assert!(found.starts_with(expected), "{text}\nfound    {found}\nexpected {expected}");
    }
    assert_eq!(lines.records, records, "{text}");
}

/// The text, with example. as its origin, gives these records and errors; of an error its start is enough.
fn check(text: &str, records: &[&str], errors: &[&str]) {
    check_with(&[], text, records, errors);
}

#[test]
fn names_owners_and_origins() {
    check(
        "$TTL 60\n@ NS ns\n\tNS ns.other.\na A 192.0.2.1\n  ; a comment\n\n \t \n A 192.0.2.2\n$ORIGIN b\nc A 192.0.2.3\n$ORIGIN .\nc NS a\n. NS a\n$origin x.\n@ NS @\n",
        &[
            "example. 60 NS ns.example.",
            "example. 60 NS ns.other.",
            "a.example. 60 A 192.0.2.1",
            "a.example. 60 A 192.0.2.2",
            "c.b.example. 60 A 192.0.2.3",
            "c. 60 NS a.",
            ". 60 NS a.",
            "x. 60 NS x.",
        ],
        &[],
    );
    check(
        "$TTL 1\na\\.b\\032c\\;\\( A 192.0.2.1\n\\@ A 192.0.2.1\n\\$TTL A 192.0.2.1\n*.\\042 A 192.0.2.1\nIN A 192.0.2.1\n",
        &[
            "a\\.b\\032c\\;\\(.example. 1 A 192.0.2.1",
            "\\@.example. 1 A 192.0.2.1",
            "\\$TTL.example. 1 A 192.0.2.1",
            "*.*.example. 1 A 192.0.2.1",
            "IN.example. 1 A 192.0.2.1",
        ],
        &[],
    );
}

#[test]
fn ttl_class_and_type() {
    let a = "a.example. 7 A 192.0.2.1";
    for line in [
        "a 7 IN A 192.0.2.1",
        "a IN 7 A 192.0.2.1",
        "a 7 A 192.0.2.1",
        "a in 7s a 192.0.2.1",
        "a CLASS1 7 TYPE1 192.0.2.1",
        "a class1 0000007 type1 \\# 4 C0000201",
    ] {
        check(line, &[a], &[]);
    }
    check("a 1h30m A 192.0.2.1", &["a.example. 5400 A 192.0.2.1"], &[]);
    check("a 0 TYPE65280 \\# 0", &["a.example. 0 TYPE65280 \\# 0"], &[]);
    check("a 2147483647 A 192.0.2.1", &["a.example. 2147483647 A 192.0.2.1"], &[]);
    check("a 7 IN 8 A 192.0.2.1", &[], &["zone:1:8: the record states a second TTL"]);
    check("a IN IN A 192.0.2.1", &[], &["zone:1:6: the record states a second class"]);
    check("a CH A 192.0.2.1", &[], &["zone:1:3: class CH: only zones of class IN"]);
    check("a CLASS2 A 192.0.2.1", &[], &["zone:1:3: class CLASS2"]);
    check("a 7 B 192.0.2.1", &[], &["zone:1:5: `B` is not a record type"]);
    check("a 7 ANY 192.0.2.1", &[], &["zone:1:5: type ANY exists in messages only"]);
    check("a 7 OPT \\# 0", &[], &["zone:1:5: type OPT"]);
    check("a 7 TYPE0 \\# 0", &[], &["zone:1:5: type TYPE0"]);
    check("a 7x A 192.0.2.1", &[], &["zone:1:3: `7x` is not a TTL"]);
    check("a 2147483648 A 192.0.2.1", &[], &["zone:1:3: a TTL of 2147483648: the largest is"]);
    check("a 99999999999 A 192.0.2.1", &[], &["zone:1:3: `99999999999` is not a TTL"]);
    check("a", &[], &["zone:1:2: the record ends where a record type is expected"]);
    check("a 7", &[], &["zone:1:4: the record ends where a record type is expected"]);
    check("a 7 \"A\" 192.0.2.1", &[], &["zone:1:5: a quoted text where a record type"]);
    check("\"a\" 7 A 192.0.2.1", &[], &["zone:1:1: a quoted text where the owner"]);
    check(" 7 A 192.0.2.1", &[], &["zone:1:2: the line starts with a blank"]);
    check(" \"x\" A 192.0.2.1", &[], &["zone:1:2: a quoted text where a record type"]);
}

#[test]
fn the_ttl_of_records_without_one() {
    // $TTL, whatever records state (RFC 2308 §4)
    check(
        "$TTL 1h\na NS a\nb 5 NS a\nc NS a\n$TTL 2\nd NS a\n",
        &[
            "a.example. 3600 NS a.example.",
            "b.example. 5 NS a.example.",
            "c.example. 3600 NS a.example.",
            "d.example. 2 NS a.example.",
        ],
        &[],
    );
    // the last one stated (RFC 1035 §5.1)
    check(
        "a 5 NS a\nb NS a\nc 6 NS a\n NS b\n",
        &[
            "a.example. 5 NS a.example.",
            "b.example. 5 NS a.example.",
            "c.example. 6 NS a.example.",
            "c.example. 6 NS b.example.",
        ],
        &[],
    );
    // the minimum of the SOA, as if it were a $TTL
    check(
        "@ SOA a b 1 2 3 4 9\na NS a\nb 5 NS a\nc NS a\n",
        &[
            "example. 9 SOA a.example. b.example. 1 2 3 4 9",
            "a.example. 9 NS a.example.",
            "b.example. 5 NS a.example.",
            "c.example. 9 NS a.example.",
        ],
        &[],
    );
    check("@ SOA a b 1 2 3 4 2147483648\n", &[], &["zone:1:1: a TTL of 2147483648"]);
    check("a NS a\n", &[], &["zone:1:1: the record has no TTL"]);
    check("$TTL 2147483648\n", &[], &["zone:1:6: a TTL of 2147483648"]);
    check("$TTL\n", &[], &["zone:1:5: the record ends where a TTL"]);
    check("$TTL 1 2\n", &[], &["zone:1:8: `2` follows the end"]);
    let options = Options { default_ttl: Some(77), ..Options::new(Name::ROOT, "zone") };
    let mut lines = Lines::default();
    parse(b"a NS b\n", &options, &mut NoIncludes, &mut lines);
    assert_eq!(lines.records, ["a. 77 NS b."]);
}

#[test]
fn lines_and_parentheses() {
    let soa = "example. 9 SOA a.example. b.example. 1 2 3 4 9";
    check("@ SOA a b ( 1 ; serial )\n2\n\n 3 4 ) 9 ; the end", &[soa], &[]);
    check(
        "@ SOA a b (1(\n 2 3 4) 9\n",
        &[],
        &["zone:1:13: a `(` inside the parentheses opened at line 1, column 11"],
    );
    check("@ ( SOA a b 1 2 3 4 9 )\n", &[soa], &[]);
    check("(\n@ SOA\na b 1 2 3 4 9\n)\n", &[soa], &[]);
    check("@ SOA a b (1)(2)3 4 9\r\n\r\n", &[soa], &[]);
    check("\u{feff}@ SOA a b 1 2 3 4 9\r", &[soa], &[]);
    check("@\tSOA\ta b\t1 2 3 4 9 ;\n;;\n; \"(\n", &[soa], &[]);
    check("a 1 A 192.0.2.1)\n", &[], &["zone:1:16: a `)` that closes nothing"]);
    check("", &[], &[]);
    check(" ", &[], &[]);
    check(";", &[], &[]);
    check("(\n)\n", &[], &[]);
}

#[test]
fn texts() {
    let txt = |text: &str| format!("a.example. 1 TXT {text}");
    check(
        "a 1 TXT a b\\ c \"d e\"\"f;(\" \\\"\\120 ; \"g\"",
        &[&txt("\"a\" \"b c\" \"d e\" \"f;(\" \"\\\"x\"")],
        &[],
    );
    check("a 1 TXT ( a\n\"b\" ) c", &[&txt("\"a\" \"b\" \"c\"")], &[]);
    check("a 1 TXT ( \"b\nc\" )\n", &[&txt("\"b\\010c\"")], &[]);
    check("a 1 TXT \\#\n", &[], &["zone:1:11: the record ends where the length"]);
    check(
        "a 1 TXT \"\\#\" 1\na 1 TXT \\#x",
        &[&txt("\"\\\\#\" \"1\"").replace("\\\\#", "#"), &txt("\"#x\"")],
        &[],
    );
    check("a 1 TXT \\\\#\n", &[&txt("\"\\\\#\"")], &[]);
    check(
        "a 1 TXT \"b\na 1 TXT c\n",
        &[&txt("\"c\"")],
        &["zone:1:9: the quoted text that starts here has no end"],
    );
    check("a 1 TXT \"b\\\na 1 TXT c\n", &[&txt("\"c\"")], &["zone:1:9: the quoted text that starts here"]);
    check("a 1 TXT b\\\na 1 TXT c", &[&txt("\"c\"")], &["zone:1:10: a `\\` must be followed"]);
    check("a 1 TXT b\"c\"\na 1 TXT c", &[&txt("\"c\"")], &["zone:1:10: a quote inside a word"]);
    check("a 1 TXT \"", &[], &["zone:1:9: the quoted text"]);
    check("a 1 TXT \"\\", &[], &["zone:1:9: the quoted text"]);
    let long = "x".repeat(255);
    check(&format!("a 1 TXT {long}\n"), &[&txt(&format!("\"{long}\""))], &[]);
    check(&format!("a 1 TXT {long}x\n"), &[], &["zone:1:9: the text has 256 octets, a string at most 255"]);
}

/// Errors cost their record and no other.
#[test]
fn reading_goes_on_after_an_error() {
    check(
        "$TTL 1\na A 1.2.3\nb A 192.0.2.1 x\n..c A 192.0.2.1\n A 192.0.2.2\n A x\nd A 192.0.2.3\n",
        &["d.example. 1 A 192.0.2.3"],
        &[
            "zone:2:5: `1.2.3` is not an IPv4 address",
            "zone:3:15: `x` follows the end of the record",
            "zone:4:1: `..c` is not a domain name: the name has an empty label",
            "zone:6:4: `x` is not an IPv4 address",
        ],
    );
    // inside parentheses that are closed: after them
    check(
        "@ 1 SOA a b (\nx ; )\n\" ) \" 3\n4 5 )\nd 1 A 192.0.2.3\n",
        &["d.example. 1 A 192.0.2.3"],
        &["zone:2:1: `x` is not a number from 0 to 4294967295"],
    );
    // that are not: at the first line after the `(` that is not indented
    check(
        "@ 1 SOA a b (\n\n  1 2\n ; comment\n;e\n  3 4 5\nd 1 A 192.0.2.3\ne 1 MX ( 1\n  a )\n",
        &["d.example. 1 A 192.0.2.3", "e.example. 1 MX 1 a.example."],
        &[
            "zone:7:1: `d` follows the end of the record",
            "zone:1:13: the parenthesis opened here is not closed",
        ],
    );
    check(
        "@ 1 TXT ( a b\nd 1 A 192.0.2.3\ne 1 MX ( 1\n  a )\n",
        &["d.example. 1 A 192.0.2.3", "e.example. 1 MX 1 a.example."],
        &["zone:3:8: a `(` inside the parentheses opened at line 1, column 9"],
    );
    check(
        "@ 1 TXT ( a b\nd 1 A 192.0.2.3\ne 1 A x\n",
        &["d.example. 1 A 192.0.2.3"],
        &["zone:1:9: the parenthesis opened here is not closed", "zone:3:7: `x` is not an IPv4"],
    );
    check("@ 1 TXT (", &[], &["zone:1:9: the parenthesis opened here is not closed"]);
    // an unclosed quote in parentheses
    check(
        "@ 1 TXT ( \"a b\n c )\nd 1 A 192.0.2.3\n",
        &["d.example. 1 A 192.0.2.3"],
        &["zone:1:11: the quoted text that starts here has no end"],
    );
}

#[test]
fn reading_stops_at_many_errors() {
    let text = "x\n".repeat(1000);
    let (_, report) = run(text.as_bytes(), &mut Files::default());
    assert_eq!((report.errors.len(), report.stopped), (100, true));
    let (_, report) = run(&text.as_bytes()[..2 * 99], &mut Files::default());
    assert_eq!((report.errors.len(), report.stopped), (99, false));
}

#[test]
fn places_and_progress() {
    let text = format!("$TTL 1\n\n  ;\na ( NS\n b )\n  NS c\n{}", "d NS e ; padding\n".repeat(200_000));
    let (lines, report) = run(text.as_bytes(), &mut Files::default());
    assert_eq!(report.records, 200_002);
    let place = |line, column| Place { file: 0, line, column };
    assert_eq!(lines.places[..3], [place(4, 1), place(6, 3), place(7, 1)]);
    assert_eq!(*lines.places.last().unwrap(), place(200_006, 1));
    assert_eq!(lines.progress.len(), 4);
    assert_eq!(*lines.progress.last().unwrap(), text.len() as u64);
}

#[test]
fn directives() {
    check("$FOO 1\n", &[], &["zone:1:1: `$FOO` is not a directive"]);
    check(" $TTL 1\n", &[], &["zone:1:2: the directive `$TTL` must start in the first column"]);
    check("$ORIGIN\n", &[], &["zone:1:8: the record ends where the new origin"]);
    check("$ORIGIN a..b\n", &[], &["zone:1:9: `a..b` is not a domain name"]);
    check("$ORIGIN a b\n@ 1 NS @", &["example. 1 NS example."], &["zone:1:11: `b` follows"]);
    check("$ORIGIN ( a\n)\n@ 1 NS @", &["a.example. 1 NS a.example."], &[]);
}

#[test]
fn includes() {
    let files = [
        ("sub", "$TTL 5\n NS x\n$ORIGIN y\nb NS x\n"),
        ("bad", "a 1 A x\n\n  b"),
        ("self", "$INCLUDE self\n"),
        ("a b", "c 1 NS x"),
    ];
    check_with(
        &files,
        "$TTL 1\na NS x\n$INCLUDE sub\n NS y\n$INCLUDE \"sub\" z ; comment\nb NS x\n$INCLUDE a\\032b\n NS z\n",
        &[
            "a.example. 1 NS x.example.",
            "a.example. 5 NS x.example.",
            "b.y.example. 5 NS x.y.example.",
            "a.example. 1 NS y.example.",
            "a.example. 5 NS x.z.example.",
            "b.y.z.example. 5 NS x.y.z.example.",
            "b.example. 1 NS x.example.",
            "c.example. 1 NS x.example.",
            "b.example. 1 NS z.example.",
        ],
        &[],
    );
    check_with(
        &files,
        "$INCLUDE bad\na 1 A x\n",
        &[],
        &["bad:1:7: `x` is not", "bad:3:3: `b` is not a record type", "zone:2:7: `x` is not"],
    );
    check_with(&files, "$INCLUDE none\n", &[], &["zone:1:10: `none` can't be included: entity not found"]);
    check_with(&files, "$INCLUDE\n", &[], &["zone:1:9: the record ends where the path"]);
    check_with(&files, "$INCLUDE sub a b\n", &[], &["zone:1:16: `b` follows"]);
    check_with(&files, "$INCLUDE sub a..b\n", &[], &["zone:1:14: `a..b` is not a domain name"]);
    check_with(&files, "$INCLUDE \\255\n", &[], &["zone:1:10: `\\255` is not a path in UTF-8"]);
    check_with(&files, "$INCLUDE self\n", &[], &["self:1:1: files include each other more than 16 deep"]);
    let refused =
        parse(b"$INCLUDE a\n", &Options::new(Name::ROOT, "zone"), &mut NoIncludes, &mut Lines::default());
    assert!(refused.errors[0].problem.to_string().contains("files can't be included here"));
}

#[test]
fn generated_records() {
    check(
        "$TTL 60\n$GENERATE 1-3 a$ A 192.0.2.$\n NS b\n$GENERATE 0-10/5 ${0,3,d} 30 IN CNAME h${1}.${-0,2,x} ; c\n",
        &[
            "a1.example. 60 A 192.0.2.1",
            "a2.example. 60 A 192.0.2.2",
            "a3.example. 60 A 192.0.2.3",
            "a3.example. 60 NS b.example.",
            "000.example. 30 CNAME h1.00.example.",
            "005.example. 30 CNAME h6.05.example.",
            "010.example. 30 CNAME h11.0a.example.",
        ],
        &[],
    );
    // bases and escapes; this and the text in quotes are as BIND 9.18 has them
    check(
        "$TTL 1\n$GENERATE 171-171 ${0,0,o}.${0,4,X}.${0,0,n}.${0,7,N}.${1,1,n}.\\$$ PTR p\\$\n$GENERATE 171-171 ${0,8,n}y TXT a",
        &["253.00AB.b.a.B.A.0.0.c.a.\\$171.example. 1 PTR p\\$.example.", "b.a.0.0.y.example. 1 TXT \"a\""],
        &[],
    );
    check(
        "$GENERATE 1-1 a 5 MX \"1$ m$\"\n$GENERATE 2-2 a 5 TXT \"\\\"a $\\\"\"\n$GENERATE 3-3 a 5 TXT \"b $\" c\\032d",
        &["a.example. 5 MX 11 m1.example.", "a.example. 5 TXT \"a 2\"", "a.example. 5 TXT \"b 3\" \"c d\""],
        &[],
    );
    check(
        "$GENERATE 1-1 a (\n 5 A\n 192.0.2.$ )\nb 1 NS c",
        &["a.example. 5 A 192.0.2.1", "b.example. 1 NS c.example."],
        &[],
    );
    check(
        "$GENERATE 254-300 a$ 5 A 192.0.2.$\n",
        &["a254.example. 5 A 192.0.2.254", "a255.example. 5 A 192.0.2.255"],
        &["zone:1:1: in the record made for 256: `192.0.2.256` is not an IPv4 address"],
    );
    for range in ["1", "2-1", "1-2/0", "1-", "-1", "a-b", "1-2147483648", "1-2/x"] {
        check(
            &format!("$GENERATE {range} a 5 A 192.0.2.1"),
            &[],
            &[&format!("zone:1:11: `{range}` is not a range")],
        );
    }
    for modifier in ["${}", "${a}", "${1,x}", "${1,2,q}", "${1,2,d,}", "${1", "${1,256}"] {
        let problem = format!(
            "zone:1:1: in the record made for 1: `{}` does not start `${{offset",
            modifier.trim_end_matches('}')
        );
        check(&format!("$GENERATE 1-1 a{modifier} 5 A 192.0.2.1"), &[], &[&problem]);
    }
    check(
        "$GENERATE 1-2 ${-2} 5 A 192.0.2.1",
        &[],
        &["zone:1:1: in the record made for 1: the offset makes the number -1"],
    );
    check("$GENERATE 1-2 a 5 A", &[], &["zone:1:20: the record ends where the data"]);
    check("$GENERATE 1-2", &[], &["zone:1:14: the record ends where an owner"]);
    check("$GENERATE", &[], &["zone:1:10: the record ends where a range"]);
}

#[test]
fn generating_is_bounded() {
    let (mut lines, mut includes) = (Lines::default(), NoIncludes);
    let options = Options::new(Name::ROOT, "zone");
    let mut reader = reader::Reader::new(&options, &mut includes, &mut lines);
    reader.generated = GENERATE_MAX - 3;
    let report = reader.read(b"$GENERATE 1-2 @ 5 A 192.0.2.$\n$GENERATE 1-2 @ 6 A 192.0.2.$\n", "zone");
    assert_eq!(lines.records.last().unwrap(), ". 6 A 192.0.2.1");
    assert_eq!(report.records, 3);
    assert_eq!(report.errors[0].problem, Problem::GenerateCount);
    assert_eq!((report.errors[0].place.line, report.errors[0].place.column), (2, 1));
}

/// A zone in which most of the syntax stands, to start mutations from.
const ZONE: &str = "$TTL 1h\n@ IN SOA ns admin\\.x ( 1 ; serial\n 2h 3 4w\n 300 )\n\tNS ns\n$ORIGIN sub\nns 5 IN A 192.0.2.1\n\
    t TXT \"a b\" c\\065 ( \"d\n\" )\nx TYPE65280 \\# 2 ABCD\n$GENERATE 1-4/2 h${0,2,x} CNAME \"t$\"\ny HTTPS 1 . alpn=\"h2,h3\" port=53\n\
    l LOC 1 2 3.5 N 4 E -5m 6m\n$INCLUDE sub z\nk NSEC a. A TYPE1234\ni IPSECKEY 1 3 2 g. AAEC\np APL !1:192.0.2.0/24\nh HIP 2 AA AAEC r.\n";

proptest! {
    /// No text makes the reader panic; what it gives is valid and in places of the text, and so are the errors.
    #[test]
    fn any_text_is_read(
        mutations in proptest::collection::vec((any::<prop::sample::Index>(), 0..4u8, any::<prop::sample::Index>()), 0..12),
        noise in proptest::collection::vec(any::<u8>(), 0..12),
    ) {
        const SPECIAL: &[u8] = b"\n\n \t\r;\"()\\$.@#0192aANS=,-/:{}!\xff\0";
        let mut text = ZONE.as_bytes().to_vec();
        for (place, what, which) in mutations {
            let at = place.index(text.len());
            match what {
                0 => text[at] = SPECIAL[which.index(SPECIAL.len())],
                1 => text.insert(at, SPECIAL[which.index(SPECIAL.len())]),
                2 => drop(text.remove(at)),
                _ => drop(text.splice(at..at, noise.iter().copied())),
            }
        }
        let mut files = Files([("sub", "a 1 A 192.0.2.1\nb ( \"")].into_iter().collect());
        let (lines, report) = run(&text, &mut files);
        let line_count = text.split(|&octet| octet == b'\n').count() as u32;
        for place in lines.places.iter().chain(report.errors.iter().map(|error| &error.place)) {
            prop_assert!(place.file > 0 || (1..=line_count).contains(&place.line));
            prop_assert!(place.column > 0);
        }
        for error in &report.errors {
            prop_assert!(!report.describe(error).to_string().is_empty());
        }
    }

    /// Random octets alone, too.
    #[test]
    fn any_octets_are_read(text in proptest::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"\n ()\";$\\a1".to_vec())], 0..200)) {
        run(&text, &mut Files::default());
    }
}
