//! Starling, by a configuration file: on sockets, or on AF_XDP, with answers from the kernel or without.

use std::fmt::Write as _;

use anyhow::Result;
use starling_tests::tools;

use super::{ANSWER_MAX, Images, Recipe, Reload, Setup, text, undotted};
use crate::site::{SERVER_INTERFACE, Site};

/// How datagrams reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path {
    Sockets,
    Xdp,
    Kernel,
}

pub(super) fn prepare(setup: &Setup<'_>, path: Path) -> Result<Recipe> {
    let config = setup.write("node.toml", &config(setup, path)?)?;
    let words = |more: &[&str]| -> Result<Vec<String>> {
        let mut words = vec![text(&tools::starling()?)?];
        words.extend(more.iter().map(|word| (*word).to_owned()));
        words.extend(["--config".to_owned(), text(&config)?]);
        Ok(words)
    };
    let changed = setup.prepared.change.as_ref();
    let reload = changed.map(|change| words(&["ctl", "reload", &change.zone.apex])).transpose()?;
    Ok(Recipe { command: words(&["serve", "--log-level", "warn"])?, reload: reload.map(Reload::Command) })
}

/// Each zone's table, and from which files it was made.
pub(super) fn images(setup: &Setup<'_>) -> Images {
    Images { folder: setup.folder.join("state/tables"), extensions: &["table", "sources"] }
}

fn config(setup: &Setup<'_>, path: Path) -> Result<String> {
    let mut config = format!(
        "[node]\nlisten = [\"{}\"]\nworkers = {}\nudp-payload-max = {ANSWER_MAX}\ncontrol = \"{}\"\nstate-dir = \"{}\"\n",
        Site::address(),
        setup.workers,
        text(&setup.folder.join("control"))?,
        text(&setup.folder.join("state"))?
    );
    if path != Path::Sockets {
        writeln!(config, "[[interface]]\nname = \"{SERVER_INTERFACE}\"\npacket-path = \"xdp\"")?;
    }
    if path == Path::Kernel {
        writeln!(config, "kernel-answers = true")?;
    }
    // The real root zone has a placeholder for its ZONEMD record, and the others don't verify any.
    writeln!(config, "[admission]\nzonemd = \"ignore\"")?;
    for zone in setup.zones() {
        let (name, file) = (undotted(&zone.apex), text(&zone.file)?);
        // The order of records is the zone's, as it is with the others.
        writeln!(config, "[[zone]]\nname = \"{name}\"\nfile = \"{file}\"\nrotate = false")?;
    }
    Ok(config)
}
