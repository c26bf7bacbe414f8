//! A primary whose zone is published as tables: secondaries get what has changed, as from any other.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use starling_tests::name::Name;
use starling_tests::server::Kind;
use starling_tests::tools;
use starling_tests::zonedata::transfer;

use crate::changing::{APEX, Changing};
use crate::copies::same_records;
use crate::incremental::{journal_leads_to, outgoing};
use crate::secondaries::{FOLLOWS_WITHIN, Primary, Secondary};

const STEPS: u32 = 10;
const FIRST_SERIAL: u32 = u32::MAX - 4;

/// Compiles the zone as it is now, somewhere else.
fn publish(zone: &Changing, primary: &Primary, folder: &Path) -> Result<()> {
    let (file, table) = (folder.join("changing.zone"), folder.join("changing.table"));
    zone.write(&file)?;
    let mut compile = Command::new(tools::starling()?);
    let source = format!("{APEX}={}", file.display());
    let output = compile.arg("compile").arg(source).arg("-o").arg(&table).output()?;
    ensure!(output.status.success(), "{output:?}");
    let table = table.to_str().context("a path")?;
    primary.ctl(&["publish", APEX, table]).map(drop).with_context(|| primary.process.log_tail())
}

#[test]
fn knot_has_every_version_that_is_published() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let apex = Name::parse(APEX)?;
    let mut zone = Changing::new(11, FIRST_SERIAL);
    let address = Secondary::address_for(Kind::Knot)?;
    let text = format!(
        "state-dir = \"state\"\n[transfer]\nnotify-source = [\"127.0.0.1\"]\n[[zone]]\nname = \"{APEX}\"\npublished = true\n\
         secondaries = [\"127.0.0.0/8\"]\nnotify = [\"{address}\"]\n"
    );
    let node = folder.path().join("node");
    let primary = Primary::start(&text, &node)?;
    publish(&zone, &primary, folder.path())?;
    let zones = std::slice::from_ref(&apex);
    let mut secondary = Secondary::start(Kind::Knot, address, zones, primary.address, folder.path())?;
    secondary.follows(&apex, zone.serial)?;
    for step in 1..=STEPS {
        zone.step();
        publish(&zone, &primary, folder.path())?;
        secondary.follows(&apex, zone.serial).with_context(|| format!("step {step}"))?;
        let what = format!("Knot has step {step}");
        tools::poll(&what, FOLLOWS_WITHIN, || {
            let (ours, theirs) = (transfer(primary.address, &apex)?, transfer(secondary.address, &apex)?);
            Ok(same_records(&what, &ours, &theirs).is_ok().then_some(()))
        })?;
    }
    let incremental = outgoing(&primary, "incremental")?;
    ensure!(incremental >= u64::from(STEPS) - 2, "{incremental} of {STEPS} by what has changed");

    // The journal leads on after a restart that nobody prepared.
    journal_leads_to(&primary, zone.serial)?;
    drop(primary);
    let primary = Primary::start(&text, &node)?;
    let last = transfer(primary.address, &apex)?;
    same_records("after a restart", &last, &transfer(secondary.address, &apex)?)?;
    zone.step();
    publish(&zone, &primary, folder.path())?;
    journal_leads_to(&primary, zone.serial)
}
