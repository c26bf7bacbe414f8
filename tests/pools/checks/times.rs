//! When endpoints are looked at, and how long that takes.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use starling_tests::server::own_socket_address;
use starling_tests::{http, openmetrics, tools};

use crate::endpoint::{Endpoint, addresses};
use crate::node::{Node, SEEN_WITHIN, pool};

fn metrics(at: SocketAddr) -> Result<openmetrics::Samples> {
    let answer = http::get(at, "/metrics")?;
    openmetrics::read(&answer.body).with_context(|| answer.body.clone())
}

#[test]
fn looks_are_counted_by_how_long_they_took() -> Result<()> {
    let ([first, dead], port) = addresses()?;
    let _one = Endpoint::start(first, port)?;
    let management = own_socket_address()?;
    let check = |kind: &str, file: &str| {
        format!(
            "check = {{ kind = \"{kind}\", {file}, interval-ms = 50, timeout-ms = 1500, rise = 1, fall = 2 }}"
        )
    };
    let mut node = Node::new("")?;
    node.configure(&format!(
        "[management]\nlisten = [\"{management}\"]\n[[zone]]\nname = \"example.com\"\nfile = \"example.com\"\n{}{}",
        pool("web", "\"www.example.com\"", &check("http", &format!("port = {port}")), &[(first, 1), (dead, 2)]),
        pool("idle", "\"idle.example.com\"", &check("file", "file = \"nothing\""), &[(first, 1)]),
    ))?;
    node.start()?;
    let count =
        |samples: &openmetrics::Samples, series: &str| samples.get(series).copied().unwrap_or_default();
    let samples = tools::poll("some of each", SEEN_WITHIN, || {
        let samples = metrics(management)?;
        let counts = ["good", "bad"].map(|result| {
            count(
                &samples,
                &format!("starling_pool_check_seconds_count{{kind=\"http\",result=\"{result}\"}}"),
            )
        });
        Ok(counts.iter().all(|count| *count >= 5.0).then_some(samples))
    })?;
    let good = "{kind=\"http\",result=\"good\"}";
    let all = count(&samples, &format!("starling_pool_check_seconds_count{good}"));
    let within = |bound: &str| {
        format!("starling_pool_check_seconds_bucket{{le=\"{bound}\",kind=\"http\",result=\"good\"}}")
    };
    ensure!(count(&samples, &within("+Inf")) == all);
    // Each within its time-out, and some of them at once.
    ensure!(count(&samples, &within("2.0")) == all && count(&samples, &within("0.1")) > 0.0, "{samples:?}");
    let sum = count(&samples, &format!("starling_pool_check_seconds_sum{good}"));
    ensure!(sum > 0.0 && sum < 1.5 * all, "{sum} s for {all}");
    // What could not be looked at has taken no time, and is told apart from what was bad.
    ensure!(!samples.keys().any(|series| series.contains("kind=\"file\"")), "{samples:?}");
    let unseen = |pool: &str| {
        format!("starling_pool_endpoint_unseen{{pool=\"{pool}\",endpoint=\"e0\",address=\"{first}\"}}")
    };
    ensure!(count(&samples, &unseen("idle")) == 1.0 && count(&samples, &unseen("web")) == 0.0, "{samples:?}");
    Ok(())
}

#[test]
fn an_interval_is_as_much_shorter_by_chance_as_is_said() -> Result<()> {
    let ([first], port) = addresses()?;
    let _one = Endpoint::start(first, port)?;
    let of = |name: &str, percent: u32| {
        let check = format!(
            "check = {{ kind = \"tcp\", port = {port}, interval-ms = 50, timeout-ms = 500, jitter-percent = {percent} }}"
        );
        pool(name, &format!("\"{name}.example.com\""), &check, &[(first, 1)])
    };
    let node = Node::running(&(of("steady", 0) + &of("lively", 50)))?;
    let runs = |pool: &str| node.pool(pool)?["addresses"][0]["runs"].as_u64().context("runs");
    let (steady, lively) = tools::poll("many looks", SEEN_WITHIN, || {
        let (steady, lively) = (runs("steady")?, runs("lively")?);
        Ok((steady >= 60).then_some((steady, lively)))
    })?;
    // A quarter shorter in the middle: a third more looks.
    ensure!(lively * 100 >= steady * 115, "{lively} looks with jitter, {steady} without");
    Ok(())
}
