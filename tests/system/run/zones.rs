//! What zones that are missing do to the route.

use anyhow::{Result, ensure};
use starling_tests::netns;

use super::agent::{DOWN, Place, SHORT, UP, check, lines};
use crate::node::small_zone;

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
