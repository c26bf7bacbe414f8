//! BIND's named.

use std::fmt::Write as _;

use anyhow::Result;
use rustix::process::Signal;

use super::{ANSWER_MAX, Recipe, Reload, Setup, path_of, text, undotted};
use crate::site::SERVER_ADDRESS;

pub(super) fn prepare(setup: &Setup<'_>) -> Result<Recipe> {
    let config = text(&setup.write("named.conf", &config(setup)?)?)?;
    // In the foreground, with its log on stderr.
    let words = [&path_of("named")?, "-g", "-n", &setup.workers.to_string(), "-c", &config];
    // What `rndc reload` does, without a key.
    let reload = setup.prepared.change.is_some().then_some(Reload::Signal(Signal::HUP));
    Ok(Recipe { command: words.map(str::to_owned).into(), reload })
}

fn config(setup: &Setup<'_>) -> Result<String> {
    let at = text(setup.folder)?;
    let mut config = format!(
        "options {{\n directory \"{at}\"; pid-file \"{at}/pid\"; session-keyfile \"{at}/session.key\"; lock-file none;\n \
         listen-on port 53 {{ {SERVER_ADDRESS}; }}; listen-on-v6 {{ none; }};\n recursion no; notify no;\n \
         minimal-responses yes; minimal-any yes; rrset-order {{ order none; }}; answer-cookie no;\n \
         max-udp-size {ANSWER_MAX}; edns-udp-size {ANSWER_MAX}; dnssec-validation no; empty-zones-enable no;\n \
         check-names primary ignore; check-integrity no; zone-statistics none; max-cache-size 8m;\n}};\n\
         controls {{ }};\nlogging {{ category default {{ null; }}; category lame-servers {{ null; }}; }};\n"
    );
    for zone in setup.zones() {
        let (name, file) = (undotted(&zone.apex), text(&zone.file)?);
        writeln!(config, "zone \"{name}\" {{ type primary; file \"{file}\"; }};")?;
    }
    Ok(config)
}
