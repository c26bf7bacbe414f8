//! PowerDNS with its BIND backend, and its caches on.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{ANSWER_MAX, Recipe, Reload, Setup, path_of, text, undotted};
use crate::site::SERVER_ADDRESS;
use crate::workloads::Workload;

/// Seconds that answers stay in the caches: longer than a measurement, so that what is there once stays.
const CACHE_TTL: u32 = 60;
/// Entries of each cache: more than a measurement has different queries.
const CACHE_LEN: u32 = 1_000_000;

pub(super) fn prepare(setup: &Setup<'_>) -> Result<Recipe> {
    let at = text(setup.folder)?;
    let mut zones = format!("options {{ directory \"{at}\"; }};\n");
    for zone in setup.zones() {
        let (name, file) = (undotted(&zone.apex), text(&zone.file)?);
        writeln!(zones, "zone \"{name}\" {{ type master; file \"{file}\"; }};")?;
    }
    let zones = text(&setup.write("named.conf", &zones)?)?;
    let workers = setup.workers;
    let mut config = format!(
        "launch=bind\nbind-config={zones}\nbind-check-interval=0\nlocal-address={SERVER_ADDRESS}\nlocal-port=53\n\
         receiver-threads={workers}\ndistributor-threads=1\nreuseport=yes\ncache-ttl={CACHE_TTL}\n\
         query-cache-ttl={CACHE_TTL}\nnegquery-cache-ttl={CACHE_TTL}\nmax-cache-entries={CACHE_LEN}\n\
         max-packet-cache-entries={CACHE_LEN}\nudp-truncation-threshold={ANSWER_MAX}\nloglevel=3\n\
         log-dns-queries=no\nsocket-dir={at}\nguardian=no\ndaemon=no\nsetuid=\nsetgid=\nsecurity-poll-suffix=\n\
         version-string=anonymous\n"
    );
    let dnssec = setup.prepared.workload.dnssec();
    if dnssec {
        writeln!(config, "bind-dnssec-db={at}/dnssec.db")?;
    }
    setup.write("pdns.conf", &config)?;
    if dnssec {
        presigned(setup, &at)?;
    }
    let command = vec![path_of("pdns_server")?, format!("--config-dir={at}")];
    let reload = setup.prepared.change.as_ref().map(|change| -> Result<_> {
        let zone = undotted(&change.zone.apex).to_owned();
        let words =
            [path_of("pdns_control")?, format!("--config-dir={at}"), "bind-reload-now".to_owned(), zone];
        Ok(Reload::Command(words.into()))
    });
    Ok(Recipe { command, reload: reload.transpose()? })
}

/// Tells it that the zones come with their signatures.
fn presigned(setup: &Setup<'_>, at: &str) -> Result<()> {
    let pdnsutil = path_of("pdnsutil")?;
    let run = |words: &[&str]| -> Result<()> {
        let output = Command::new(&pdnsutil).arg(format!("--config-dir={at}")).args(words).output();
        let output = output.with_context(|| format!("{pdnsutil} {words:?}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "pdnsutil {}: {}\n{said}", words.join(" "), output.status);
        Ok(())
    };
    let database = setup.folder.join("dnssec.db");
    if database.exists() {
        fs::remove_file(&database)?;
    }
    run(&["create-bind-db", &text(&database)?])?;
    for zone in setup.zones() {
        let name = undotted(&zone.apex);
        if setup.prepared.workload == Workload::RootNsec3 {
            run(&["set-nsec3", name, "1 0 0 -"])?;
        }
        run(&["set-presigned", name])?;
    }
    Ok(())
}
