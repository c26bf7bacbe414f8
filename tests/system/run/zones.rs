//! What zones that are missing do to the route.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use starling_tests::{netns, tools};

use super::agent::{DOWN, LIMIT, Place, SHORT, UP, check, lines};
use crate::node::{run, said, small_zone};

const SECTIONS: &str = "[[zone]]\nname = \"small.example\"\nfile = \"small.zone\"\n\
                        [[zone]]\nname = \"other.example\"\nfile = \"other.zone\"\n";

#[test]
fn a_critical_zone_that_is_missing_keeps_the_route_away() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let place = Place::with("critical", SHORT, &format!("{SECTIONS}critical = true\n"))?;
    let agent = place.launch()?;
    let explained =
        agent.explains("a check that fails", |told| check(told, "zones")["standing"] == "failing")?;
    ensure!(explained["wanted"] == "down", "{explained:#}");
    ensure!(lines(&explained["reasons"]).contains("other.example."), "{explained:#}");
    ensure!(lines(&explained["blocked"]).contains("check zones has to pass"), "{explained:#}");
    agent.wait(DOWN)?;
    place.write("other.zone", &small_zone(1, "").replace("small.example", "other.example"))?;
    place.said(&["reload"])?;
    agent.wait(UP)
}

#[test]
fn another_zone_that_is_missing_does_not() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let place = Place::with("uncritical", SHORT, SECTIONS)?;
    let _agent = place.start()?;
    let status = place.json(&["status"])?;
    ensure!(status["zones"]["failed"] == 1 && status["agent"]["held"] == "up", "{status:#}");
    Ok(())
}

#[test]
fn a_table_is_published_through_the_agent() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let sections = SECTIONS.replace("file = \"other.zone\"", "published = true");
    let place = Place::with("publish", SHORT, &sections)?;
    let _agent = place.start()?;
    ensure!(place.json(&["status"])?["zones"]["failed"] == 1);
    place.write("other.zone", &small_zone(1, "").replace("small.example", "other.example"))?;
    let (file, table) = (place.path("other.zone"), place.path("other.table"));
    let mut compile = Command::new(tools::starling()?);
    let output = run(compile.arg("compile").arg(file).arg("-o").arg(&table))?;
    ensure!(output.status.success(), "{}", said(&output));
    let text = place.said(&["publish", "other.example", table.to_str().context("a path")?])?;
    ensure!(text.contains("other.example.: published, serial none -> 1"), "{text}");
    let status = place.json(&["status"])?;
    ensure!(status["zones"]["ok"] == 2 && status["agent"]["held"] == "up", "{status:#}");
    Ok(())
}

/// As the agent asks for its metrics, which show the first thousand.
#[test]
fn no_more_zones_are_told_than_were_asked_for() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let place = Place::with("zones", SHORT, SECTIONS)?;
    place.write("other.zone", &small_zone(1, "").replace("small.example", "other.example"))?;
    let _agent = place.start()?;
    for (request, names) in [
        (r#"{"command":"zones","max":1}"#, &["small.example."][..]),
        (r#"{"command":"zones","max":0}"#, &[]),
        (r#"{"command":"zones"}"#, &["small.example.", "other.example."]),
    ] {
        let mut stream = UnixStream::connect(place.path("control"))?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.write_all(format!("{request}\n").as_bytes())?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        let told: Value = serde_json::from_str(&answer)?;
        let told: Vec<&str> =
            told["zones"].as_array().into_iter().flatten().filter_map(|zone| zone["name"].as_str()).collect();
        ensure!(told == names, "{request}: {answer}");
    }
    Ok(())
}
