//! gdnsd. It has no DNSSEC, and finds its zones by the names of their files.

use std::fs;
use std::os::unix::fs::symlink;

use anyhow::{Context, Result};

use super::{ANSWER_MAX, Recipe, Reload, Setup, path_of, text, undotted};
use crate::site::SERVER_ADDRESS;

pub(super) fn prepare(setup: &Setup<'_>) -> Result<Recipe> {
    let at = text(setup.folder)?;
    let zones = setup.folder.join("zones");
    fs::create_dir_all(&zones)?;
    for zone in setup.zones() {
        let link = zones.join(undotted(&zone.apex));
        if fs::symlink_metadata(&link).is_err() {
            symlink(&zone.file, &link).with_context(|| format!("link {}", link.display()))?;
        }
    }
    let workers = setup.workers;
    setup.write(
        "config",
        &format!(
            "options => {{\n listen => {{ {SERVER_ADDRESS} => {{ udp_threads => {workers}, tcp_threads => 1 }} }}\n \
             max_edns_response => {ANSWER_MAX}\n run_dir => \"{at}/run\"\n state_dir => \"{at}/state\"\n}}\n"
        ),
    )?;
    let words = |program: &str, what: &str| -> Result<Vec<String>> {
        Ok([path_of(program)?, "-c".to_owned(), at.clone(), what.to_owned()].into())
    };
    let reload = setup.prepared.change.as_ref().map(|_| words("gdnsdctl", "reload-zones")).transpose()?;
    Ok(Recipe { command: words("gdnsd", "start")?, reload: reload.map(Reload::Command) })
}
