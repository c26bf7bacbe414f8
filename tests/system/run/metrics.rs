//! The management address of a node with a route.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use starling_tests::openmetrics::{self, Samples};
use starling_tests::{client, netns, tools};

use super::agent::{DRAINING, LIMIT, Place, SERVICE, UP};
use crate::node::TYPE_A;
use starling_tests::name::Name;
use starling_tests::query::Query;

fn metrics(place: &Place) -> Result<Samples> {
    let answer = place.get("/metrics")?;
    ensure!(answer.status == 200, "{answer:?}");
    openmetrics::read(&answer.body).with_context(|| answer.body.clone())
}

/// Waits until each series has its value.
fn shows(place: &Place, expected: &[(&str, f64)]) -> Result<Samples> {
    let mut last = Samples::new();
    let wrong = |samples: &Samples| -> BTreeMap<String, Option<f64>> {
        let differing = expected.iter().filter(|(series, value)| samples.get(*series) != Some(value));
        differing.map(|(series, _)| ((*series).to_owned(), samples.get(*series).copied())).collect()
    };
    let shown = tools::poll("metrics", LIMIT, || {
        last = metrics(place)?;
        Ok(wrong(&last).is_empty().then(|| last.clone()))
    });
    shown.with_context(|| format!("{:#?}", wrong(&last)))
}

#[test]
fn metrics_tell_of_the_route_its_checks_and_its_server() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let failing = "[[check]]\nname = \"primary\"\nexec = [\"/bin/false\"]\ninterval-ms = 100\nshared = true\n\
                   action = \"report\"\n";
    let place = Place::new("metrics", failing)?;
    let agent = place.start()?;
    let samples = shows(
        &place,
        &[
            ("starling_server_up", 1.0),
            ("starling_healthy", 1.0),
            ("starling_mode{mode=\"normal\"}", 1.0),
            ("starling_server_state{state=\"ready\"}", 1.0),
            ("starling_server_restarts_total", 0.0),
            ("starling_route_wanted{rung=\"up\"}", 1.0),
            ("starling_route_held{rung=\"up\"}", 1.0),
            ("starling_route_held{rung=\"down\"}", 0.0),
            ("starling_route_transitions_total{from=\"down\",to=\"up\"}", 1.0),
            ("starling_check_passed{check=\"zones\"}", 1.0),
            ("starling_check_passed{check=\"primary\"}", 0.0),
            ("starling_check_standing{check=\"primary\",standing=\"failing\"}", 1.0),
            ("starling_check_standing{check=\"probe-udp-203.0.113.53:53\",standing=\"passing\"}", 1.0),
            ("starling_check_passed{check=\"probe-tcp-[2001:db8:53::53]:53\"}", 1.0),
            ("starling_zone_serial{zone=\"small.example.\"}", 1.0),
        ],
    )?;
    ensure!(samples["starling_check_failures_total{check=\"primary\"}"] >= 3.0, "{samples:#?}");

    // A query each way is counted, beside the probes.
    let query = Query::new(Name::parse("nowhere.small.example.")?, TYPE_A).bytes(1);
    for service in SERVICE {
        let server = service.parse()?;
        place.namespace.inside(|| client::udp(server, std::slice::from_ref(&query)))??;
        place.namespace.inside(|| client::tcp(server, std::slice::from_ref(&query)))??;
    }
    shows(
        &place,
        &[
            ("starling_answers_total{transport=\"udp\",family=\"ipv4\",rcode=\"NXDOMAIN\"}", 1.0),
            ("starling_answers_total{transport=\"udp\",family=\"ipv6\",rcode=\"NXDOMAIN\"}", 1.0),
            ("starling_answers_total{transport=\"tcp\",family=\"ipv4\",rcode=\"NXDOMAIN\"}", 1.0),
            ("starling_answers_total{transport=\"tcp\",family=\"ipv6\",rcode=\"NXDOMAIN\"}", 1.0),
        ],
    )?;

    place.said(&["drain"])?;
    agent.wait(DRAINING)?;
    shows(
        &place,
        &[
            ("starling_healthy", 0.0),
            ("starling_mode{mode=\"draining\"}", 1.0),
            ("starling_route_held{rung=\"draining\"}", 1.0),
            ("starling_route_transitions_total{from=\"up\",to=\"draining\"}", 1.0),
        ],
    )?;
    let state: Value = serde_json::from_str(&place.get("/state")?.body)?;
    ensure!(state["held"] == "draining" && state["healthy"] == false, "{state:#}");
    ensure!(state["checks"].as_array().is_some_and(|checks| checks.len() >= 9), "{state:#}");

    // The agent asks its server for the zones, and passes on what an operator wants of them.
    let zones: Value = serde_json::from_str(&place.get("/zones")?.body)?;
    ensure!(zones["zones"][0]["name"] == "small.example." && zones["zones"][0]["serial"] == 1, "{zones:#}");
    let said = place.said(&["zone", "status", "small.example"])?;
    ensure!(said.contains("served      serial 1"), "{said}");
    Ok(())
}

#[test]
fn readiness_follows_the_route() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let place = Place::new("ready", "")?;
    let mut agent = place.launch()?;
    while agent.line()? != "running" {}
    let ready = place.get("/readyz")?;
    ensure!(ready.status == 503 || place.routes()?.len() == 2, "{ready:?}");
    agent.wait(UP)?;
    tools::poll("readiness", LIMIT, || Ok((place.get("/readyz")?.status == 200).then_some(())))?;
    place.said(&["maintenance", "on"])?;
    let ready = place.get("/readyz")?;
    ensure!(ready.status == 503 && ready.body.contains("maintenance"), "{ready:?}");
    ensure!(place.get("/healthz")?.status == 200);
    Ok(())
}
