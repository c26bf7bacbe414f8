//! Conformance: a zone, queries and the expected answers as text, a file for each part of an RFC.
//!
//! A case file is lines; `#` begins a comment line.
//!
//! - `zone APEX` begins a zone; the lines up to `end` are its master file. With `signed` the sets that a signer
//!   would sign get stand-ins for their signatures (see [`signatures`]); with `fixed` its sets don't rotate;
//!   `unloaded` names a zone that has no table.
//! - `set server-id=X version=X payload=N probe-token=HEX subnets=heeded` changes the server's settings, `-` for none. `reset`
//!   forgets all zones and settings.
//! - `query NAME TYPE` with any of `dnssec`, `tcp`, `class=CH`, `size=N` (0: no EDNS), `edns=VERSION`, `eflags=HEX`,
//!   `option=CODE:HEX`, `opcode=N` and `flags=HEX` is a query in words; `raw OCTETS` (or `raw tcp OCTETS`) is one in
//!   octets (see [`question`]). With `turns=N` it is asked once for each record of the answer, N of which come first
//!   in turn.
//! - The lines below it up to a blank one are what is expected: first the response code and what else is in the
//!   header (`NOERROR aa`), `nsid=TEXT`, `zoneversion=LABELS/TYPE/SERIAL`, `subnet=FAMILY/SOURCE/SCOPE/HEX`, `ede=CODE`, `seat=HEX` from a probe, and for raw queries `edns` where the response has an OPT record
//!   for queries in words `noedns` where it has none though the query had; `noquestion` where it doesn't repeat the
//!   question; or `silence`. Then the records of the sections as in a
//!   master file, each led by `answer`, `authority` or `additional`. With `answer+` the stand-in signature of the
//!   record's set has to be there too, and with `answer+N` one that counts N labels, as a wildcard's does (RFC 4034
//!   §3.1.3). Order within a section doesn't matter; what a section doesn't list must not be there.

#![expect(clippy::unwrap_used, reason = "a test as a whole: what is wrong with a case file ends it")]

mod question;
mod signatures;

use nameserver::{Counters, Responder, Settings, Subnets, Transport};
use question::Question;
use starling_tests::message::{Message, Record, rcode_name};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use table::publish::{Directory, Publisher, SlotIndex};
use wire::probe::Seat;
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

/// A record as it is compared: owner in lower case, type, TTL, data with its names in lower case.
type FlatRecord = (String, u16, u32, Vec<u8>);

struct Zone {
    apex: NameBuf,
    /// The master file; `None` for a zone without a table.
    text: Option<String>,
    is_signed: bool,
    rotates: bool,
}

struct Expected {
    head: BTreeSet<String>,
    sections: [Vec<FlatRecord>; 3],
}

#[derive(Default)]
struct Scene {
    zones: Vec<Zone>,
    settings: Vec<String>,
    responder: Option<Responder>,
}

fn check_file(file: &str, text: &str, failures: &mut String) -> usize {
    let mut scene = Scene::default();
    let mut queries = 0;
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let at = format!("{file}:{}", number + 1);
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [] => {}
            [first, ..] if first.starts_with('#') => {}
            ["reset"] => scene = Scene::default(),
            ["set", ..] => {
                scene.settings.extend(words[1..].iter().map(|word| (*word).to_owned()));
                scene.responder = None;
            }
            ["zone", apex, "unloaded"] => {
                scene.zones.push(Zone { apex: name(apex), text: None, is_signed: false, rotates: false });
                scene.responder = None;
            }
            ["zone", apex, ..] => {
                let body: Vec<&str> =
                    lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "end").collect();
                let mut text = body.join("\n") + "\n";
                let is_signed = words[2..].contains(&"signed");
                if is_signed {
                    text += &signatures::stand_ins(
                        name(apex).as_name(),
                        &records(name(apex).as_name(), &text, &at),
                    );
                }
                let rotates = !words[2..].contains(&"fixed");
                scene.zones.push(Zone { apex: name(apex), text: Some(text), is_signed, rotates });
                scene.responder = None;
            }
            ["query" | "raw", ..] => {
                let expected =
                    lines.by_ref().map(|(_, line)| line).take_while(|line| !line.trim().is_empty());
                let expected = read_expected(&expected.collect::<Vec<_>>(), &scene.zones, &at);
                if let Some(difference) = check(&mut scene, &Question::read(line), &expected) {
                    writeln!(failures, "{at}: {line}\n{difference}").unwrap();
                }
                queries += 1;
            }
            _ => panic!("{at}: not understood: {line}"),
        }
    }
    queries
}

fn serve(zones: &[Zone], words: &[String]) -> Responder {
    let mut publisher = Publisher::new();
    for (index, zone) in zones.iter().enumerate() {
        let Some(text) = &zone.text else { continue };
        let title = zone.apex.as_name().to_string();
        let options = zone::CompileOptions { rotate: zone.rotates, ..Default::default() };
        let reading = zone::read(zone.apex.as_name(), &title, text.as_bytes(), &mut NoIncludes, &mut |_| ());
        let zone = reading.zone.unwrap_or_else(|| {
            panic!("{}", reading.problems.iter().map(|p| p.to_string()).collect::<Vec<_>>().join("\n"))
        });
        let table = zone::compile(zone, &options).unwrap();
        publisher.publish(SlotIndex(index as u32), Some(Arc::new(table)));
    }
    let slots = zones.iter().enumerate().map(|(index, zone)| (zone.apex.as_name(), SlotIndex(index as u32)));
    publisher.publish_directory(Directory::new(slots));
    let (settings, counters) = (Arc::new(settings(words)), Arc::new(Counters::default()));
    Responder::new(publisher.reader(), settings, counters, Seat::UdpWorker(258))
}

fn settings(words: &[String]) -> Settings {
    let mut settings = Settings { server_id: Some((*b"ams1").into()), ..Settings::default() };
    for word in words {
        let (key, value) = word.split_once('=').unwrap();
        let text = (value != "-").then(|| value.as_bytes().into());
        match key {
            "server-id" => settings.server_id = text,
            "version" => settings.version = text,
            "probe-token" => {
                settings.probe_token = Some(u128::from_str_radix(value, 16).unwrap().to_be_bytes())
            }
            "subnets" => settings.subnets = Subnets::Heeded,
            "payload" => settings.udp_payload_max = value.parse().unwrap(),
            _ => panic!("no setting: {word}"),
        }
    }
    settings
}

/// What differs between the expected response and the one that came; `None` where nothing does.
fn check(scene: &mut Scene, question: &Question, expected: &Expected) -> Option<String> {
    let payload_max = settings(&scene.settings).udp_payload_max;
    let responder = scene.responder.get_or_insert_with(|| serve(&scene.zones, &scene.settings));
    let mut response = vec![0; 65_535];
    let len = responder.respond(&question.bytes, question.transport, &mut response);
    if len == 0 {
        let silence = BTreeSet::from(["silence".to_owned()]);
        return (expected.head != silence).then(|| format!("  expected {:?}, got silence\n", expected.head));
    }
    let mut difference = String::new();
    let limit = usize::from(question.udp_size.unwrap_or(512).clamp(512, payload_max));
    if question.transport == Transport::Udp && len > limit {
        writeln!(difference, "  {len} octets, and {limit} are allowed").unwrap();
    }
    match Message::decode(&response[..len]) {
        Ok(message) => {
            repeated(question, &message, payload_max, &mut difference);
            compare(question, expected, &message, &mut difference);
        }
        Err(error) => writeln!(difference, "  no message: {error:#}").unwrap(),
    }
    if let Some(turns) = question.turns {
        let first = |_| {
            let len = responder.respond(&question.bytes, question.transport, &mut response);
            Message::decode(&response[..len]).unwrap().answer.first().map(flat)
        };
        let firsts: BTreeSet<_> = expected.sections[0].iter().map(first).collect();
        if firsts.len() != turns {
            writeln!(difference, "  {} records come first in turn, not {turns}", firsts.len()).unwrap();
        }
    }
    (!difference.is_empty()).then_some(difference)
}

/// Checks what every response has from its query: identifier, opcode, RD (RFC 1035 §4.1.1); and for queries in
/// words the question octet by octet, an OPT record where the query had one, of version 0, with the same DO bit
/// (RFC 6891 §6.1.1, §6.1.3, RFC 3225 §3).
fn repeated(question: &Question, message: &Message, payload_max: u16, difference: &mut String) {
    let query = &question.bytes;
    let word = |at: usize| u16::from_be_bytes([query[at], query[at + 1]]);
    // QR, and nothing but opcode and RD of the query.
    if message.id != word(0) || message.flags & 0xf900 != 0x8000 | word(2) & 0x7900 {
        writeln!(difference, "  id {:#x}, flags {:#x} are not those of the query", message.id, message.flags)
            .unwrap();
    }
    if let Some(opt) = &message.opt
        && (opt.version != 0 || opt.size != payload_max || opt.flags & 0x7fff != 0)
    {
        writeln!(difference, "  not our OPT record: {opt:?}").unwrap();
    }
    if question.is_raw {
        return;
    }
    if message.question_count == 1 && message.question != query[12..12 + message.question.len()] {
        writeln!(difference, "  the question is not that of the query").unwrap();
    }
    let dnssec = message.opt.as_ref().map(|opt| opt.flags & 0x8000 != 0);
    if dnssec.is_some() && dnssec != question.udp_size.map(|_| question.dnssec) {
        writeln!(difference, "  OPT record or DO bit not as in the query: {:?}", message.opt).unwrap();
    }
    let mut all = message.answer.iter().chain(&message.authority).chain(&message.additional);
    // 255 is any class; the zones are of class IN.
    let class = if question.class == 255 { 1 } else { question.class };
    if all.any(|record| record.class != class) {
        writeln!(difference, "  a record has another class than the question").unwrap();
    }
}

fn read_expected(lines: &[&str], zones: &[Zone], at: &str) -> Expected {
    let head = lines.first().unwrap_or_else(|| panic!("{at}: nothing is expected"));
    let mut expected =
        Expected { head: head.split_whitespace().map(str::to_owned).collect(), sections: Default::default() };
    for line in lines[1..].iter().filter(|line| !line.trim_start().starts_with('#')) {
        let (section, text) = line.trim().split_once(' ').unwrap_or_else(|| panic!("{at}: {line}"));
        let (section, signed) =
            section.split_once('+').map_or((section, None), |(first, rest)| (first, Some(rest)));
        let index = ["answer", "authority", "additional"].iter().position(|known| *known == section);
        let section = &mut expected.sections[index.unwrap_or_else(|| panic!("{at}: no section: {line}"))];
        let record = records(Name::ROOT, &format!("{}\n", text.trim()), at).remove(0);
        if let Some(labels) = signed {
            let signature = signatures::stand_in(&record, labels.parse().ok(), signer(zones, &record));
            let signature = records(Name::ROOT, &signature, at).remove(0);
            // A set of several records has one signature.
            if !section.contains(&signature) {
                section.push(signature);
            }
        }
        section.push(record);
    }
    expected.sections.iter_mut().for_each(|section| section.sort());
    expected
}

/// The apex of the zone that signs a record: the nearest signed one, and for DS the nearest above (RFC 4035 §2.4).
fn signer<'z>(zones: &'z [Zone], (owner, rtype, ..): &FlatRecord) -> Name<'z> {
    let owner = name(owner);
    let signs = |apex: Name<'_>| match RecordType(*rtype) {
        RecordType::DS => owner.as_name().is_below(apex),
        _ => owner.as_name().is_at_or_below(apex),
    };
    let signed = zones.iter().filter(|zone| zone.is_signed).map(|zone| zone.apex.as_name());
    signed.filter(|apex| signs(*apex)).max_by_key(|apex| apex.label_count()).expect("a signed zone")
}

/// The records of a master file.
fn records(origin: Name<'_>, text: &str, at: &str) -> Vec<FlatRecord> {
    let mut sink = Records(Vec::new());
    let report = zone::master::parse(text.as_bytes(), &Options::new(origin, at), &mut NoIncludes, &mut sink);
    assert!(report.errors.is_empty(), "{at}: {}", report.describe(&report.errors[0]));
    sink.0
}

struct Records(Vec<FlatRecord>);

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

fn compare(question: &Question, expected: &Expected, got: &Message, difference: &mut String) {
    let head = head(question, got);
    if head != expected.head {
        writeln!(difference, "  expected {:?}, got {head:?}", expected.head).unwrap();
    }
    let titles = ["answer", "authority", "additional"];
    let sections = [&got.answer, &got.authority, &got.additional];
    for ((title, expected), got) in titles.iter().zip(&expected.sections).zip(sections) {
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
}

/// The words for the header and the OPT record of a response.
fn head(question: &Question, got: &Message) -> BTreeSet<String> {
    let mut head = BTreeSet::from([rcode_name(got.rcode())]);
    let flags =
        [(0x0400, "aa"), (0x0200, "tc"), (0x0080, "ra"), (0x0040, "z"), (0x0020, "ad"), (0x0010, "cd")];
    head.extend(flags.iter().filter(|(flag, _)| got.has(*flag)).map(|(_, text)| (*text).to_owned()));
    for (code, octets) in got.opt.iter().flat_map(|opt| &opt.options) {
        head.insert(match (code, &octets[..]) {
            (3, id) => format!("nsid={}", String::from_utf8_lossy(id)),
            (19, [labels, kind, serial @ ..]) => {
                let serial = serial.iter().fold(0u32, |serial, octet| serial << 8 | u32::from(*octet));
                format!("zoneversion={labels}/{kind}/{serial}")
            }
            (8, [high, low, source, scope, address @ ..]) => {
                let address: String = address.iter().map(|octet| format!("{octet:02x}")).collect();
                format!("subnet={}/{source}/{scope}/{address}", u16::from_be_bytes([*high, *low]))
            }
            (15, [high, low, ..]) => format!("ede={}", u16::from_be_bytes([*high, *low])),
            (65_153, seat) => {
                format!("seat={}", seat.iter().map(|octet| format!("{octet:02x}")).collect::<String>())
            }
            _ => format!("option={code}"),
        });
    }
    if got.question_count == 0 {
        head.insert("noquestion".to_owned());
    }
    match (question.is_raw, question.udp_size, &got.opt) {
        (true, _, Some(_)) => _ = head.insert("edns".to_owned()),
        (false, Some(_), None) => _ = head.insert("noedns".to_owned()),
        _ => {}
    }
    head
}

fn flat(record: &Record) -> FlatRecord {
    let mut rdata = record.rdata.clone();
    lower_names(RecordType(record.rtype), &mut rdata);
    (Name::from_wire(record.owner.wire()).unwrap().to_string(), record.rtype, record.ttl, rdata)
}

fn show((owner, rtype, ttl, rdata): &FlatRecord) -> String {
    let rtype = RecordType(*rtype);
    format!("{owner} {ttl} IN {rtype} {}", zone::rdata::display(rtype, rdata))
}

fn name(text: &str) -> NameBuf {
    NameBuf::from_text(text.as_bytes(), Some(Name::ROOT)).unwrap()
}
