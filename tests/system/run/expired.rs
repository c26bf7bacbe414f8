//! A node whose critical zone is a copy that nobody confirms any more.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use starling_tests::netns;
use starling_tests::process::Process;
use starling_tests::tools;

use super::agent::{DOWN, LIMIT, Place, SHORT, UP, lines};

const PRIMARY: &str = "127.0.0.2:53";

fn primary(place: &Place) -> Result<Process> {
    let mut command = place.namespace.command(&tools::starling()?.display().to_string())?;
    command.arg("serve").arg("--config").arg(place.path("primary.toml"));
    let mut process = Process::spawn("the primary", &command, &place.path("primary.log"))?;
    let deadline = Instant::now() + LIMIT;
    while process.line(deadline)?.context("the primary is ready")? != "ready" {}
    Ok(process)
}

#[test]
fn an_expired_critical_zone_takes_the_route_until_it_is_confirmed() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let zone = format!(
        "[[zone]]\nname = \"small.example\"\nprimaries = [\"{PRIMARY}\"]\ncritical = true\nrefresh-min-s = 1\n\
         refresh-max-s = 1\nretry-min-s = 1\nretry-max-s = 1\nexpire-min-s = 4\nexpire-max-s = 4\n"
    );
    let place = Place::with("expired", SHORT, &zone)?;
    place.write(
        "primary.toml",
        &format!(
            "[node]\nlisten = [\"{PRIMARY}\"]\ncontrol = \"primary\"\n[transfer]\nallow = [\"127.0.0.0/8\"]\n\
             [[zone]]\nname = \"small.example\"\nfile = \"small.zone\"\n"
        ),
    )?;
    let alive = primary(&place)?;
    let agent = place.start()?;
    drop(alive);
    agent.wait(DOWN)?;
    agent.explains("why", |told| {
        lines(&told["reasons"]).contains("critical zones are not served: small.example.")
    })?;
    // With nothing to ask for the probes fail, too, and say why.
    agent.explains("the probes", |told| {
        lines(&told["reasons"]).contains("no zone is served that could be asked for")
    })?;
    ensure!(agent.process.log().contains("expired"), "{}", agent.process.log_tail());
    let _alive = primary(&place)?;
    agent.wait(UP)
}
