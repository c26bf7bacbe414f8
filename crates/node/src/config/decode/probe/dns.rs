//! Decodes checks by DNS queries.

use super::super::super::probe::{DnsProbe, DnsTransport, Probe};
use super::super::super::problem::Problem;
use super::super::{Section, apex};
use wire::{Name, Rcode, RecordType};
use zone::rdata;

/// The largest code of a response without EDNS (RFC 1035 §4.1.1).
const RCODE_MAX: u16 = 15;

pub(super) fn dns(section: &mut Section<'_, '_>, problems: &mut Vec<Problem>) -> Option<Probe> {
    let before = problems.len();
    if !section.has("name") {
        let help = "add `name = \"example.com\"`: what is asked for";
        problems.push(Problem::at(section.place(), "the check has no `name`", "here", help));
    }
    let name = section.text("name", problems).and_then(|(text, place)| {
        let name = apex(text);
        if let Err(error) = &name {
            let help = "write a domain name, as `name = \"example.com\"`";
            problems.push(Problem::at(place, format!("`{text}` is no name: {error}"), "this name", help));
        }
        name.ok()
    });
    let rtype = section.text("type", problems).map(|(text, place)| {
        // What stands for several types, or for none, gets no answer that could be compared.
        let rtype = RecordType::from_text(text.as_bytes()).filter(|rtype| is_of_data(*rtype));
        if rtype.is_none() {
            let help = "write `type = \"A\"`, or another type of records";
            problems.push(Problem::at(place, format!("`{text}` is no type of records"), "this type", help));
        }
        rtype.unwrap_or(RecordType::A)
    });
    let rtype = rtype.unwrap_or(RecordType::A);
    let transports = [("udp", DnsTransport::Udp), ("tcp", DnsTransport::Tcp)];
    let transport = section.choice("transport", "transport of these checks", &transports, problems);
    let recursion = section.flag("recursion", problems).unwrap_or(false);
    let authoritative = section.flag("authoritative", problems).unwrap_or(false);
    let rcode = section.text("rcode", problems).map(|(text, place)| {
        let rcode = (0..=RCODE_MAX).map(Rcode).find(|rcode| rcode.to_string() == text.to_ascii_uppercase());
        if rcode.is_none() {
            let help = "write `rcode = \"NOERROR\"`, or NXDOMAIN, REFUSED, …";
            problems.push(Problem::at(place, format!("`{text}` is no response code"), "this code", help));
        }
        rcode.unwrap_or(Rcode::NOERROR)
    });
    let answer = answer(section, rtype, problems);
    let probe = DnsProbe {
        name: name?,
        rtype,
        transport: transport.unwrap_or(DnsTransport::Udp),
        recursion,
        rcode: rcode.unwrap_or(Rcode::NOERROR),
        authoritative,
        answer,
    };
    (problems.len() == before).then(|| Probe::Dns(Box::new(probe)))
}

/// RFC 6895 §3.1: 0 is none, and from 128 to 255, and OPT, are no data.
fn is_of_data(rtype: RecordType) -> bool {
    !matches!(rtype.0, 0 | 128..=255) && rtype != RecordType::OPT
}

/// The data that the answer has to have.
fn answer(section: &mut Section<'_, '_>, rtype: RecordType, problems: &mut Vec<Problem>) -> Option<Vec<u8>> {
    let (text, place) = section.text("answer", problems)?;
    match zone::master::rdata_from_text(rtype, text.as_bytes(), Name::ROOT) {
        Ok(mut data) => {
            rdata::to_canonical(rtype, &mut data);
            Some(data)
        }
        Err(_) => {
            let title = format!("`{text}` is no data of a record of type {rtype}");
            let help = "write it as a zone file has it, as `answer = \"192.0.2.1\"`, and name its `type`";
            problems.push(Problem::at(place, title, "this", help));
            None
        }
    }
}
