//! A service address that is deaf, though the server lives and says so.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use starling_tests::{netns, openmetrics, tools};

use super::agent::{DOWN, LIMIT, Place, SERVICE, UP, check, lines};

/// How long a deaf address may be announced: three rounds of 100 ms that each wait 400 ms for answers, and the rest for
/// a machine that is busy.
const GONE_WITHIN: Duration = Duration::from_millis(2500);

/// Either family or transport alone takes both prefixes away: nobody announces one family of a service.
#[test]
fn an_address_that_does_not_answer_takes_the_route_away() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let place = Place::new("deaf", "")?;
    // Rules are asked in order, and the one for local addresses comes first unless it is moved.
    for family in ["-4", "-6"] {
        place.namespace.ip(&format!("{family} rule add pref 1000 lookup local"))?;
        place.namespace.ip(&format!("{family} rule del pref 0"))?;
    }
    let agent = place.start()?;
    let server = agent.server()?;
    let cases = [
        ("-4", "203.0.113.53", "udp", "probe-udp-203.0.113.53:53"),
        ("-6", "2001:db8:53::53", "tcp", "probe-tcp-[2001:db8:53::53]:53"),
    ];
    for (family, address, transport, name) in cases {
        let rule = format!("pref 10 to {address} ipproto {transport} dport 53 blackhole");
        place.namespace.ip(&format!("{family} rule add {rule}"))?;
        let deaf = Instant::now();
        agent.wait(DOWN)?;
        let gone = deaf.elapsed();
        ensure!(gone < GONE_WITHIN, "{name}: gone only after {gone:?}");
        let explained =
            agent.explains("a probe that fails", |told| check(told, name)["standing"] == "failing")?;
        ensure!(lines(&explained["reasons"]).contains(name), "{explained:#}");
        ensure!(place.get("/healthz")?.status == 503);
        place.namespace.ip(&format!("{family} rule del {rule}"))?;
        agent.wait(UP)?;
    }
    ensure!(agent.server()? == server, "the server was started again, and need not have been");
    Ok(())
}

/// Whatever limit there is for clients, the node is as well as it is.
#[test]
fn probes_are_not_limited() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let place = Place::new("unlimited", "[rate-limit]\nresponses-per-s = 1\nburst = 1\nslip = 0\n")?;
    let agent = place.start()?;
    let runs = || -> Result<(f64, f64)> {
        let samples = openmetrics::read(&place.get("/metrics")?.body)?;
        let of = |name: &str| {
            let sum = samples.iter().filter(|(series, _)| {
                series.starts_with(name) && series.contains("check=\"probe-udp-203.0.113.53:53\"")
            });
            sum.map(|(_, count)| *count).next().with_context(|| format!("no {name}: {samples:?}"))
        };
        Ok((of("starling_check_runs_total")?, of("starling_check_failures_total")?))
    };
    let (before, failed) = runs()?;
    let mut silent = 0;
    tools::poll("twenty more rounds of probes", LIMIT, || Ok((runs()?.0 > before + 20.0).then_some(())))?;
    for _ in 0..2 {
        silent += usize::from(place.ask(SERVICE[0])?.is_none());
    }
    ensure!(silent > 0, "a client is not limited");
    ensure!(runs()?.1 == failed, "a probe failed");
    agent.wait(UP)
}
