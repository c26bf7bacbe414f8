//! Knot DNS, on sockets or on AF_XDP.

use std::fmt::Write as _;

use anyhow::Result;

use super::{ANSWER_MAX, Recipe, Reload, Setup, path_of, text, undotted};
use crate::site::{SERVER_ADDRESS, SERVER_INTERFACE};

/// How datagrams reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path {
    Sockets,
    Xdp,
}

pub(super) fn prepare(setup: &Setup<'_>, path: Path) -> Result<Recipe> {
    let config = text(&setup.write("knot.conf", &config(setup, path)?)?)?;
    let socket = text(&setup.folder.join("knot.sock"))?;
    let changed = setup.prepared.change.as_ref();
    let reload = changed.map(|change| -> Result<_> {
        let zone = change.zone.apex.clone();
        let words = [path_of("knotc")?, "-s".to_owned(), socket, "zone-reload".to_owned(), zone];
        Ok(Reload::Command(words.into()))
    });
    let command = vec![path_of("knotd")?, "-c".to_owned(), config];
    Ok(Recipe { command, reload: reload.transpose()? })
}

fn config(setup: &Setup<'_>, path: Path) -> Result<String> {
    let at = text(setup.folder)?;
    let workers = setup.workers;
    let mut config = format!(
        "server:\n  rundir: \"{at}\"\n  listen: {SERVER_ADDRESS}@53\n  udp-workers: {workers}\n  tcp-workers: 1\n  \
         background-workers: {workers}\n  udp-max-payload: {ANSWER_MAX}\n\
         control:\n  listen: \"{at}/knot.sock\"\n\
         log:\n  - target: stderr\n    any: warning\n\
         database:\n  storage: \"{at}/db\"\n"
    );
    if path == Path::Xdp {
        writeln!(config, "xdp:\n  listen: {SERVER_INTERFACE}@53")?;
    }
    writeln!(
        config,
        "template:\n  - id: default\n    storage: \"{at}\"\n    zonefile-sync: -1\n    journal-content: none\n    \
         semantic-checks: off\nzone:"
    )?;
    for zone in setup.zones() {
        writeln!(config, "  - domain: \"{}\"\n    file: \"{}\"", undotted(&zone.apex), text(&zone.file)?)?;
    }
    Ok(config)
}
