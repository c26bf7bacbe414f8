//! `starling ctl catalog`: catalog zones that a node follows.

use crate::cli::CatalogCommand;
use crate::control::Request;
use crate::status::CatalogStatus;
use std::io::{self, Write};

/// What is asked of the node.
pub(super) fn request(command: &CatalogCommand) -> Request {
    match command {
        CatalogCommand::Status { zone } => Request::Catalogs { zone: zone.clone() },
        CatalogCommand::Approve { zone, removals } => {
            Request::ApproveCatalog { zone: zone.clone(), removals: *removals }
        }
    }
}

/// Prints how the catalogs are.
pub(super) fn print(catalogs: &[CatalogStatus]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if catalogs.is_empty() {
        return writeln!(out, "no catalog is followed; a [[zone]] that is one has `catalog = true`");
    }
    for catalog in catalogs {
        let CatalogStatus { name, serial, error, members, held, ignored } = catalog;
        let serial = serial.map_or_else(|| "none".to_owned(), |serial| serial.to_string());
        writeln!(
            out,
            "{name}  serial {serial}, {} members, {} removals held, {} ignored",
            members.len(),
            held.len(),
            ignored.len()
        )?;
        if let Some(error) = error {
            writeln!(out, "  not followed: {error}")?;
        }
        for member in members {
            let groups = match member.groups.is_empty() {
                true => String::new(),
                false => format!(", in {}", member.groups.join(" ")),
            };
            writeln!(out, "  {}  from template {}{groups}", member.zone, member.template)?;
        }
        held.iter().try_for_each(|zone| writeln!(out, "  held: {zone} is listed no longer"))?;
        ignored
            .iter()
            .try_for_each(|ignored| writeln!(out, "  ignored: {}: {}", ignored.zone, ignored.why))?;
        if !held.is_empty() {
            writeln!(out, "  `starling ctl catalog approve {name} {}` removes what is held", held.len())?;
        }
    }
    Ok(())
}
