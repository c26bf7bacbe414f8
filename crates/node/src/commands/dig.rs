//! A response as dig prints it.

use super::message::{Message, Record};
use std::io::{self, Write};

/// Names of the extended errors that Starling gives (RFC 8914 §4).
const EDE_NAMES: [(u16, &str); 4] =
    [(14, "Not Ready"), (20, "Not Authoritative"), (21, "Not Supported"), (24, "Invalid Data")];

/// Prints the response.
pub(super) fn print(out: &mut impl Write, message: &Message) -> io::Result<()> {
    let opt = usize::from(message.edns.is_some());
    writeln!(out, ";; ->>HEADER<<- opcode: QUERY, status: {}, id: 0", message.status)?;
    writeln!(
        out,
        ";; flags: {}; QUERY: {}, ANSWER: {}, AUTHORITY: {}, ADDITIONAL: {}",
        message.flags.join(" "),
        usize::from(message.question.is_some()),
        message.answer.len(),
        message.authority.len(),
        message.additional.len() + opt
    )?;
    if let Some(edns) = &message.edns {
        let flags = if edns.dnssec_ok { " do" } else { "" };
        writeln!(out, "\n;; OPT PSEUDOSECTION:")?;
        writeln!(out, "; EDNS: version: {}, flags:{flags}; udp: {}", edns.version, edns.udp_size)?;
        for error in &edns.errors {
            let name = EDE_NAMES.iter().find(|(code, _)| code == error).map_or("", |(_, name)| name);
            writeln!(out, "; EDE: {error} ({name})")?;
        }
    }
    if let Some(question) = &message.question {
        writeln!(out, "\n;; QUESTION SECTION:")?;
        writeln!(out, ";{}\t\t{}\t{}", question.name, question.class, question.rtype)?;
    }
    section(out, "ANSWER", &message.answer)?;
    section(out, "AUTHORITY", &message.authority)?;
    section(out, "ADDITIONAL", &message.additional)
}

fn section(out: &mut impl Write, title: &str, records: &[Record]) -> io::Result<()> {
    if records.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n;; {title} SECTION:")?;
    records.iter().try_for_each(|record| self::record(out, record))
}

/// Prints one record on one line.
pub(super) fn record(out: &mut impl Write, record: &Record) -> io::Result<()> {
    let Record { name, ttl, class, rtype, data } = record;
    writeln!(out, "{name}\t{ttl}\t{class}\t{rtype}\t{data}")
}
