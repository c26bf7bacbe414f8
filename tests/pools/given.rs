//! How many answers had each endpoint, as the node tells.

use anyhow::{Context, Result, ensure};
use starling_tests::client;
use starling_tests::name::Name;
use starling_tests::query::{Edns, Query};
use starling_tests::tools;

use crate::endpoint::{Endpoint, addresses};
use crate::node::{Node, SEEN_WITHIN, TYPE_A, WWW, http, pool};

/// Questions by one socket.
const QUESTIONS: usize = 5000;
/// So many are asked at most until the shares are told.
const QUESTIONS_MAX: f64 = 1_000_000.0;
/// How much of all may be in no sample yet: what was answered since the last look into those that wait, a tenth of a
/// second ago or, on a machine with other work, some tenths.
const UNTOLD_MAX: f64 = 0.5;
/// How far off a share may be that some tens of samples tell.
const SHARE_OFF: f64 = 0.1;

/// The answers with each endpoint of a pool.
fn given(node: &Node, name: &str) -> Result<Vec<f64>> {
    let pool = node.pool(name)?;
    let all = pool["addresses"].as_array().context("addresses")?;
    all.iter().map(|it| it["given"].as_f64().context("a number")).collect()
}

#[test]
fn answers_by_endpoint_are_told() -> Result<()> {
    let ([first, second, third], port) = addresses()?;
    let _endpoints = (Endpoint::start(first, port)?, Endpoint::start(second, port)?);
    let weighted = format!("kind = \"weighted\"\n{}", http(port));
    let weighted = pool("web", "\"www.example.com\"", &weighted, &[(first, 1), (second, 1)])
        .replace("name = \"e1\"\n", "name = \"e1\"\nweight = 3\n");
    // An answer of this one has all that are good.
    let all = format!("kind = \"failover\"\n{}", http(port));
    let all = pool("all", "\"all.example.com\"", &all, &[(first, 1), (second, 1), (third, 1)]);
    let node = Node::running(&[weighted, all].concat())?;
    node.answers("all.example.com", &[first, second])?;
    // The same looks are of both pools.
    for name in ["web", "all"] {
        let pool = node.pool(name)?;
        let sum = |numbers: &serde_json::Value| -> u64 {
            numbers.as_array().into_iter().flatten().filter_map(serde_json::Value::as_u64).sum()
        };
        let runs: u64 = pool["addresses"]
            .as_array()
            .context("addresses")?
            .iter()
            .filter_map(|it| it["runs"].as_u64())
            .sum();
        ensure!(runs > 0 && sum(&pool["times"]["counts"]) == runs, "{name}: {runs} looks, {}", pool["times"]);
    }
    tools::poll("both are good", SEEN_WITHIN, || {
        let pool = node.pool("web")?;
        let all = pool["addresses"].as_array().context("addresses")?;
        Ok(all.iter().all(|it| it["health"] == "up").then_some(()))
    })?;
    // What no sample told yet is told with a later one, and by what that one shows.
    let mut untold = 0.0;
    for (name, asked, shares) in
        [("web", WWW, &[0.25, 0.75][..]), ("all", "all.example.com", &[1.0, 1.0, 0.0])]
    {
        let query = Query::new(Name::parse(asked)?, TYPE_A).with_edns(Edns::size(1232));
        let queries: Vec<Vec<u8>> = (0..QUESTIONS).map(|id| query.bytes(id as u16)).collect();
        let before = given(&node, name)?;
        let counted = || -> Result<Vec<f64>> {
            Ok(given(&node, name)?.iter().zip(&before).map(|(now, before)| now - before).collect())
        };
        let parts: f64 = shares.iter().sum();
        let mut asked = 0.0;
        let (told, answers) = loop {
            ensure!(client::udp(node.address, &queries)?.iter().all(Option::is_some), "{name}: no answer");
            asked += queries.len() as f64;
            let told = counted()?;
            let sum: f64 = told.iter().sum();
            let answers = sum / parts;
            // What was asked again is in it.
            ensure!(answers <= (asked + untold) * 1.05, "{name}: {told:?} of {asked} and {untold}");
            let is_near = |(count, share): (&f64, &f64)| (count / sum - share / parts).abs() <= SHARE_OFF;
            if answers >= asked * (1.0 - UNTOLD_MAX) && told.iter().zip(shares).all(is_near) {
                break (told, answers);
            }
            ensure!(asked < QUESTIONS_MAX, "{name}: {told:?} of {asked} by {shares:?}");
        };
        println!("{name}: {told:?} were told of {asked} by {shares:?}");
        untold = (asked + untold - answers).max(0.0);
    }
    Ok(())
}
