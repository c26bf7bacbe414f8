//! Conformance: a zone, queries and the expected answers as text, a file for each part of an RFC.
//!
//! A case file is lines. `zone APEX` begins a zone; the lines up to `end` are its master file. `query NAME TYPE`
//! with any of `dnssec`, `tcp`, `class=CH` and `size=N` (0: no EDNS) begins a query; the lines up to a blank line
//! are what is expected: first the response code and flags (`NOERROR aa`), then the records of the sections as in a
//! master file, each led by `answer`, `authority` or `additional`. Order within a section doesn't matter; what a
//! section doesn't list must not be there. `#` begins a comment line.

use nameserver::{Counters, Responder, Settings, Transport};
use starling_tests::message::{Message, Record, rcode_name};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use table::publish::{Directory, Publisher, SlotIndex};
use wire::{Name, NameBuf, RecordType};
use zone::master::{NoIncludes, Options, Place, Sink};

#[test]
fn every_case_is_answered_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/cases");
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    let mut failures = String::new();
    let mut queries = 0;
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        queries += check_file(&file.file_name().unwrap().to_string_lossy(), &text, &mut failures);
    }
    println!("{queries} queries");
    assert!(failures.is_empty(), "{failures}");
}

struct Expected {
    head: BTreeSet<String>,
    sections: [Vec<(String, u16, u32, Vec<u8>)>; 3],
}

fn check_file(file: &str, text: &str, failures: &mut String) -> usize {
    let mut zones: Vec<(NameBuf, String)> = Vec::new();
    let mut queries = 0;
    let mut responder = None;
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [] => {}
            [first, ..] if first.starts_with('#') => {}
            ["zone", apex] => {
                let body: Vec<&str> = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "end").collect();
                zones.push((name(apex), body.join("\n") + "\n"));
                responder = None;
            }
            ["query", qname, qtype, ..] => {
                let expected = lines.by_ref().map(|(_, line)| line).take_while(|line| !line.trim().is_empty());
                let expected = read_expected(&expected.collect::<Vec<_>>(), &format!("{file}:{}", number + 1));
                let responder = responder.get_or_insert_with(|| serve(file, &zones));
                let got = ask(responder, qname, qtype, &words[3..]);
                if let Some(difference) = compare(&expected, &got) {
                    writeln!(failures, "{file}:{}: {line}\n{difference}", number + 1).unwrap();
                }
                queries += 1;
            }
            _ => panic!("{file}:{}: not understood: {line}", number + 1),
        }
    }
    queries
}

fn serve(file: &str, zones: &[(NameBuf, String)]) -> Responder {
    let mut publisher = Publisher::new();
    for (index, (apex, text)) in zones.iter().enumerate() {
        let reading = zone::read(apex.as_name(), file, text.as_bytes(), &mut NoIncludes, &mut |_| ());
        let zone = reading.zone.unwrap_or_else(|| {
            panic!("{}", reading.problems.iter().map(|p| p.to_string()).collect::<Vec<_>>().join("\n"))
        });
        let table = zone::compile(&zone, &zone::CompileOptions::default()).unwrap();
        publisher.publish(SlotIndex(index as u32), Some(Arc::new(table)));
    }
    let slots = zones.iter().enumerate().map(|(index, (apex, _))| (apex.as_name(), SlotIndex(index as u32)));
    publisher.publish_directory(Directory::new(slots));
    let settings = Settings { server_id: Some((*b"ams1").into()), ..Settings::default() };
    Responder::new(publisher.reader(), Arc::new(settings), Arc::new(Counters::default()))
}

fn ask(responder: &mut Responder, qname: &str, qtype: &str, options: &[&str]) -> Message {
    let name = NameBuf::from_text(qname.as_bytes(), Some(Name::ROOT)).unwrap();
    let rtype = RecordType::from_text(qtype.as_bytes()).unwrap();
    let size = options.iter().find_map(|option| option.strip_prefix("size=")).map_or(1232, |size| size.parse().unwrap());
    let class: u16 = if options.contains(&"class=CH") { 3 } else { 1 };
    let transport = if options.contains(&"tcp") { Transport::Tcp } else { Transport::Udp };
    let mut query = vec![0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(size > 0)];
    query.extend_from_slice(name.as_name().as_wire());
    query.extend(rtype.0.to_be_bytes());
    query.extend(class.to_be_bytes());
    if size > 0 {
        let dnssec = if options.contains(&"dnssec") { 0x80 } else { 0 };
        query.extend([0, 0, 41]);
        query.extend((size as u16).to_be_bytes());
        query.extend([0, 0, dnssec, 0, 0, 0]);
    }
    let mut response = vec![0; 65_535];
    let len = responder.respond(&query, transport, &mut response);
    if transport == Transport::Udp {
        assert!(len <= size.clamp(512, 1232), "{qname} {qtype}: {len} octets");
    }
    let message = Message::decode(&response[..len]).unwrap();
    assert_eq!(message.question, query[12..12 + message.question.len()], "the question comes back as it was");
    message
}

fn read_expected(lines: &[&str], at: &str) -> Expected {
    let head = lines.first().unwrap_or_else(|| panic!("{at}: nothing is expected"));
    let mut expected =
        Expected { head: head.split_whitespace().map(str::to_owned).collect(), sections: Default::default() };
    for line in &lines[1..] {
        let (section, record) = line.trim().split_once(' ').unwrap_or_else(|| panic!("{at}: {line}"));
        let index = ["answer", "authority", "additional"].iter().position(|known| *known == section);
        let index = index.unwrap_or_else(|| panic!("{at}: no section: {line}"));
        let mut sink = Records(Vec::new());
        let report = zone::master::parse(
            format!("{}\n", record.trim()).as_bytes(),
            &Options::new(Name::ROOT, at),
            &mut NoIncludes,
            &mut sink,
        );
        assert!(report.errors.is_empty(), "{at}: {line}: {}", report.describe(&report.errors[0]));
        expected.sections[index].extend(sink.0);
    }
    expected.sections.iter_mut().for_each(|section| section.sort());
    expected
}

struct Records(Vec<(String, u16, u32, Vec<u8>)>);

impl Sink for Records {
    fn record(&mut self, owner: Name<'_>, rtype: RecordType, ttl: u32, rdata: &[u8], _place: Place) {
        let mut rdata = rdata.to_vec();
        lower_names(rtype, &mut rdata);
        self.0.push((owner.to_string().to_lowercase(), rtype.0, ttl, rdata));
    }
}

/// Names in the data in lower case, as the reader of responses gives them.
fn lower_names(rtype: RecordType, rdata: &mut [u8]) {
    let names: Vec<(usize, usize)> =
        zone::rdata::names(rtype, rdata).map(|embedded| (embedded.offset, embedded.name.len())).collect();
    for (at, len) in names {
        rdata[at..at + len].make_ascii_lowercase();
    }
}

fn compare(expected: &Expected, got: &Message) -> Option<String> {
    let mut head = BTreeSet::from([rcode_name(got.rcode())]);
    for (flag, text) in [(0x0400, "aa"), (0x0200, "tc"), (0x0080, "ra"), (0x0020, "ad")] {
        if got.has(flag) {
            head.insert(text.to_owned());
        }
    }
    let mut difference = String::new();
    if head != expected.head {
        writeln!(difference, "  expected {:?}, got {head:?}", expected.head).unwrap();
    }
    let sections = [&got.answer, &got.authority, &got.additional];
    for ((title, expected), got) in ["answer", "authority", "additional"].iter().zip(&expected.sections).zip(sections) {
        let mut got: Vec<_> = got.iter().map(flat).collect();
        got.sort();
        for missing in expected.iter().filter(|record| !got.contains(record)) {
            writeln!(difference, "  missing in {title}: {}", show(missing)).unwrap();
        }
        for extra in got.iter().filter(|record| !expected.contains(record)) {
            writeln!(difference, "  unexpected in {title}: {}", show(extra)).unwrap();
        }
        if difference.is_empty() && got.len() != expected.len() {
            writeln!(difference, "  {title}: a record comes twice").unwrap();
        }
    }
    (!difference.is_empty()).then_some(difference)
}

fn flat(record: &Record) -> (String, u16, u32, Vec<u8>) {
    let mut rdata = record.rdata.clone();
    lower_names(RecordType(record.rtype), &mut rdata);
    (Name::from_wire(record.owner.wire()).unwrap().to_string(), record.rtype, record.ttl, rdata)
}

fn show((owner, rtype, ttl, rdata): &(String, u16, u32, Vec<u8>)) -> String {
    let rtype = RecordType(*rtype);
    format!("{owner} {ttl} IN {rtype} {}", zone::rdata::display(rtype, rdata))
}

fn name(text: &str) -> NameBuf {
    NameBuf::from_text(text.as_bytes(), Some(Name::ROOT)).unwrap()
}
