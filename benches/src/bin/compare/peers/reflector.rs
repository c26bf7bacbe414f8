//! `netio`'s example: what moving datagrams costs without looking at them.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::{Recipe, Setup, text};
use crate::site::Site;

pub(super) fn program() -> Result<PathBuf> {
    let exe = std::env::current_exe().context("path of this program")?;
    // PROFILE/PROGRAM, or PROFILE/deps/TEST where tests run.
    let folders = exe.ancestors().skip(1).take(2);
    let found = folders.map(|folder| folder.join("examples/reflect")).find(|path| path.is_file());
    let Some(found) = found else {
        bail!("the reflector is not built: `cargo build -p netio --example reflect` (scripts/bench does it)")
    };
    Ok(found)
}

pub(super) fn prepare(setup: &Setup<'_>) -> Result<Recipe> {
    let command = vec![text(&program()?)?, Site::address().to_string(), setup.workers.to_string()];
    Ok(Recipe { command, reload: None })
}
