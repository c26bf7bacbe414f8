//! Checks by the operator's commands.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use starling_tests::{netns, tools};

use super::agent::{DEGRADED, LIMIT, Place, UP, check, lines};

/// A check that fails while the file `bad` is there.
fn site_check(action: &str) -> String {
    format!(
        "[[check]]\nname = \"site\"\nexec = [\"/bin/sh\", \"-c\", \"test ! -e FOLDER/bad || {{ echo the site is bad; exit 1; }}\"]\n\
         interval-ms = 100\ntimeout-ms = 2000\nrise = 2\nfall = 2\naction = \"{action}\"\n"
    )
}

/// A place whose configuration names its own folder where it says FOLDER.
fn place(label: &str, sections: &str) -> Result<Place> {
    let place = Place::new(label, sections)?;
    let text = std::fs::read_to_string(place.path("node.toml"))?;
    place.write("node.toml", &text.replace("FOLDER", &place.path("").display().to_string()))?;
    Ok(place)
}

#[test]
fn a_command_that_fails_degrades_and_comes_back() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let place = place("exec", &site_check("degrade"))?;
    let agent = place.start()?;
    place.write("bad", "")?;
    agent.wait(DEGRADED)?;
    let explained = agent.explains("a degraded route", |told| told["held"] == "degraded")?;
    ensure!(lines(&explained["reasons"]).contains("check site has failed"), "{explained:#}");
    ensure!(lines(&explained["reasons"]).contains("the site is bad"), "{explained:#}");
    ensure!(lines(&explained["blocked"]).contains("check site has to pass"), "{explained:#}");
    ensure!(check(&explained, "site")["standing"] == "failing", "{explained:#}");
    ensure!(place.get("/readyz")?.status == 200, "a degraded node still announces");
    std::fs::remove_file(place.path("bad"))?;
    agent.wait(UP)
}

#[test]
fn a_check_that_reports_moves_nothing() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let place = place("report", &site_check("report"))?;
    place.write("bad", "")?;
    let agent = place.start()?;
    let explained = agent.explains("a failing check", |told| check(told, "site")["standing"] == "failing")?;
    ensure!(explained["wanted"] == "up", "{explained:#}");
    Ok(())
}

#[test]
fn a_command_that_hangs_is_killed_and_fails() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let hanging = "[[check]]\nname = \"hangs\"\nexec = [\"/bin/sh\", \"-c\", \"echo $$ >> FOLDER/pids; while :; do read x < FOLDER/fifo; done\"]\n\
                   interval-ms = 100\ntimeout-ms = 200\nrise = 1\nfall = 2\naction = \"degrade\"\n";
    let place = place("hang", hanging)?;
    let made = std::process::Command::new("mkfifo").arg(place.path("fifo")).status()?;
    ensure!(made.success());
    let agent = place.launch()?;
    agent.wait(DEGRADED)?;
    let explained =
        agent.explains("a check that fails", |told| check(told, "hangs")["standing"] == "failing")?;
    let saw = check(&explained, "hangs")["last"][0]["failure"].as_str().unwrap_or_default().to_owned();
    ensure!(saw.contains("200ms") || saw.contains("200 ms"), "{saw}");
    let pids = std::fs::read_to_string(place.path("pids"))?;
    let first = pids.lines().next().context("no command was started")?.to_owned();
    tools::poll("the first command is gone", Duration::from_secs(5), || {
        Ok((!std::path::Path::new("/proc").join(&first).exists()).then_some(()))
    })
}

/// What a command may do: nothing that the agent may, and it has none of its descriptors.
#[test]
fn a_command_runs_without_privileges_and_descriptors() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let looking = "[[check]]\nname = \"looks\"\nexec = [\"/bin/sh\", \"-c\", \"cat /proc/self/status > FOLDER/seen; ls -l /proc/self/fd >> FOLDER/seen; mv FOLDER/seen FOLDER/status\"]\n\
                   interval-ms = 100\ntimeout-ms = 2000\n";
    let place = place("bare", looking)?;
    let _agent = place.launch()?;
    let status =
        tools::poll("what a command saw", LIMIT, || Ok(std::fs::read_to_string(place.path("status")).ok()))?;
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        ensure!(status.contains(&format!("{set}:\t0000000000000000\n")), "{set}\n{status}");
    }
    ensure!(status.contains("NoNewPrivs:\t1\n"), "{status}");
    ensure!(!status.contains("tun") && !status.contains("socket:"), "{status}");
    Ok(())
}
