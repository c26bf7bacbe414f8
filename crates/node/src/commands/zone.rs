//! `starling ctl zone` and `ctl zones --digests`: the versions of zones, for people.

use super::ctl::copy_line;
use crate::status::{ZoneDigest, ZoneStatus};
use std::io::{self, Write};

/// Prints one zone with all its versions.
pub(super) fn print(zone: &ZoneStatus) -> io::Result<()> {
    let mut lines = vec![("zone", zone.name.clone()), ("state", zone.state.word().to_owned())];
    if let Some(served) = &zone.served {
        let from = &served.loaded_from;
        let records = served.records;
        lines.push((
            "served",
            format!("serial {}, {records} records, since {}, from {from}", served.serial, served.since),
        ));
        lines.push(("content", served.content.clone()));
    }
    if let Some(copy) = &zone.copy {
        lines.push(("copy", copy_line(copy)));
    }
    let errors = zone.error.iter().flat_map(|error| &error.messages);
    lines.extend(errors.map(|error| ("error", error.clone())));
    if let Some(gate) = &zone.gate {
        if let Some(held) = &gate.held {
            let (serial, records) = (held.serial, held.records);
            lines.push(("held", format!("serial {serial}, {records} records, since {}", held.since)));
            lines.extend(held.reasons.iter().map(|reason| ("because", reason.clone())));
        }
        if let Some(serial) = gate.previous {
            lines.push(("previous", format!("serial {serial}")));
        }
        if let Some(serial) = gate.asked {
            lines.push(("asked", format!("`command` is asked about serial {serial}")));
        }
        if let Some(serial) = gate.rolled_back {
            lines.push(("rolled back", format!("from serial {serial}, which is not taken again")));
        }
        let stopped: Vec<String> =
            gate.stopped.iter().map(|(rule, count)| format!("{rule} {count}")).collect();
        if !stopped.is_empty() {
            lines.push(("stopped", stopped.join(", ")));
        }
    }
    let mut out = io::stdout().lock();
    lines.iter().try_for_each(|(key, value)| writeln!(out, "{key:12}{value}"))
}

/// Prints what nodes with the same zones have in common.
pub(super) fn print_digests(zones: &[ZoneDigest]) -> io::Result<()> {
    let width = |of: fn(&ZoneDigest) -> usize, title: &str| {
        zones.iter().map(of).chain([title.len()]).max().unwrap_or_default()
    };
    let names = width(|zone| zone.name.len(), "ZONE");
    let serials = width(|zone| zone.serial.to_string().len(), "SERIAL");
    let times = width(|zone| zone.since.len(), "SINCE");
    let mut out = io::stdout().lock();
    writeln!(out, "{:names$}  {:serials$}  {:times$}  CONTENT", "ZONE", "SERIAL", "SINCE")?;
    zones.iter().try_for_each(|ZoneDigest { name, serial, content, since, earlier: _ }| {
        writeln!(out, "{name:names$}  {serial:serials$}  {since:times$}  {content}")
    })
}
