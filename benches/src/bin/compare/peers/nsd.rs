//! NSD. Debian's is built without recvmmsg, and with response rate limiting on unless it is told otherwise.

use std::fmt::Write as _;

use anyhow::Result;

use super::{ANSWER_MAX, Recipe, Reload, Setup, path_of, text, undotted};
use crate::site::SERVER_ADDRESS;

pub(super) fn prepare(setup: &Setup<'_>) -> Result<Recipe> {
    let config = text(&setup.write("nsd.conf", &config(setup)?)?)?;
    let changed = setup.prepared.change.as_ref();
    let reload = changed.map(|change| -> Result<_> {
        let zone = undotted(&change.zone.apex).to_owned();
        let words = [path_of("nsd-control")?, "-c".to_owned(), config.clone(), "reload".to_owned(), zone];
        Ok(Reload::Command(words.into()))
    });
    let command = vec![path_of("nsd")?, "-d".to_owned(), "-c".to_owned(), config];
    Ok(Recipe { command, reload: reload.transpose()? })
}

fn config(setup: &Setup<'_>) -> Result<String> {
    let at = text(setup.folder)?;
    let workers = setup.workers;
    let mut config = format!(
        "server:\n ip-address: {SERVER_ADDRESS}\n server-count: {workers}\n reuseport: yes\n username: \"\"\n \
         chroot: \"\"\n database: \"\"\n zonesdir: \"{at}\"\n pidfile: \"{at}/pid\"\n xfrdfile: \"{at}/xfrd.state\"\n \
         zonelistfile: \"{at}/zone.list\"\n xfrdir: \"{at}\"\n minimal-responses: yes\n round-robin: no\n \
         refuse-any: yes\n rrl-ratelimit: 0\n rrl-whitelist-ratelimit: 0\n ipv4-edns-size: {ANSWER_MAX}\n \
         ipv6-edns-size: {ANSWER_MAX}\n send-buffer-size: 4194304\n receive-buffer-size: 4194304\n \
         statistics: 0\n answer-cookie: no\n hide-version: yes\nremote-control:\n control-enable: yes\n \
         control-interface: \"{at}/control\"\n"
    );
    for zone in setup.zones() {
        let (name, file) = (undotted(&zone.apex), text(&zone.file)?);
        writeln!(config, "zone:\n name: \"{name}\"\n zonefile: \"{file}\"")?;
    }
    Ok(config)
}
