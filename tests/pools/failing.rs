//! What becomes of answers when endpoints fail.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use starling_tests::tools;

use crate::endpoint::{Endpoint, Manner, addresses};
use crate::node::{FALL, INTERVAL, Node, SEEN_WITHIN, WWW, http, pool};

/// How much later than it has to be the answer may change on a machine with other work.
const SLACK: Duration = Duration::from_millis(500);

const NAMES: &str = "\"www.example.com\"";

#[test]
fn the_next_tier_takes_over_and_gives_back() -> Result<()> {
    let ([first, second], port) = addresses()?;
    let (mut one, _two) = (Some(Endpoint::start(first, port)?), Endpoint::start(second, port)?);
    let lines = format!("kind = \"failover\"\nfail-back-ms = 300\nttl-s = 7\n{}", http(port));
    let node = Node::running(&pool("web", NAMES, &lines, &[(first, 1), (second, 2)]))?;
    node.answers(WWW, &[first])?;
    ensure!(node.ask(WWW, crate::node::TYPE_A)?.ttl == Some(7));
    let mut worst = Duration::ZERO;
    for _ in 0..5 {
        // The listener is closed when this returns.
        drop(one.take());
        let died = Instant::now();
        tools::poll("the backup answers", SEEN_WITHIN, || {
            Ok((node.addresses(WWW)? == [IpAddr::V4(second)]).then_some(()))
        })?;
        worst = worst.max(died.elapsed());
        // Never again before it is back.
        for _ in 0..50 {
            ensure!(node.addresses(WWW)? == [IpAddr::V4(second)]);
        }
        one = Some(Endpoint::start(first, port)?);
        let back = Instant::now();
        node.answers(WWW, &[first])?;
        ensure!(back.elapsed() >= Duration::from_millis(300), "it had to prove itself");
    }
    let due = INTERVAL * FALL;
    println!(
        "a backup answers {worst:?} after a death at most; looks need {due:?}, and this looks every 10 ms"
    );
    ensure!(worst < due + SLACK, "{worst:?}");
    Ok(())
}

#[test]
fn whatever_an_endpoint_does_wrong_takes_it_out() -> Result<()> {
    let ([first, second, third], port) = addresses()?;
    let endpoints = [first, second, third].map(|address| Endpoint::start(address, port));
    let [one, two, three] = endpoints;
    let (one, _two, _three) = (one?, two?, three?);
    let lines = format!("kind = \"round-robin\"\n{}", http(port));
    let node = Node::running(&pool("web", NAMES, &lines, &[(first, 1), (second, 1), (third, 1)]))?;
    node.answers(WWW, &[first, second, third])?;
    for (manner, said) in [
        (Manner::Answers(503, "all is well".to_owned()), "status 503"),
        (Manner::Answers(200, "oh dear".to_owned()), "is not in the first 7 octets"),
        (Manner::Hangs, "no answer within"),
        (Manner::Babbles, "no answer"),
    ] {
        one.set(manner.clone());
        node.answers(WWW, &[second, third])?;
        node.finds("web", first, "down")?;
        let status = node.does(&["pool", "status", "web"])?;
        ensure!(status.contains(said), "{manner:?}: {status}");
        one.set(Manner::good());
        node.answers(WWW, &[first, second, third])?;
    }
    Ok(())
}

#[test]
fn endpoints_of_a_round_robin_take_turns() -> Result<()> {
    let ([first, second], port) = addresses()?;
    let (_one, _two) = (Endpoint::start(first, port)?, Endpoint::start(second, port)?);
    let lines = format!("kind = \"round-robin\"\n{}", http(port));
    let node = Node::running(&pool("web", NAMES, &lines, &[(first, 1), (second, 1)]))?;
    node.answers(WWW, &[first, second])?;
    let mut firsts = [0_u32; 2];
    tools::poll("each is the first for ten times", SEEN_WITHIN, || {
        let answer = node.ask(WWW, crate::node::TYPE_A)?.addresses;
        // On a busy machine a good endpoint may be late for once.
        if answer.len() == 2 {
            firsts[usize::from(answer[0] == IpAddr::V4(second))] += 1;
        }
        Ok(firsts.iter().all(|count| *count >= 10).then_some(()))
    })?;
    ensure!(firsts[0].abs_diff(firsts[1]) <= 4, "{firsts:?}");
    Ok(())
}

#[test]
fn a_check_that_only_connects_needs_no_more() -> Result<()> {
    let ([first, second], port) = addresses()?;
    let (one, _two) = (Endpoint::start(first, port)?, Endpoint::start(second, port)?);
    let check = format!("check = {{ kind = \"tcp\", port = {port}, interval-ms = 50, timeout-ms = 500 }}");
    let node = Node::running(&pool(
        "web",
        NAMES,
        &format!("kind = \"round-robin\"\n{check}"),
        &[(first, 1), (second, 1)],
    ))?;
    node.answers(WWW, &[first, second])?;
    drop(one);
    node.answers(WWW, &[second])
}

#[test]
fn when_all_are_down_the_pool_says_what_else() -> Result<()> {
    let ([first, second], port) = addresses()?;
    let zone: Ipv4Addr = "192.0.2.80".parse()?;
    let fallback: Ipv4Addr = "192.0.2.99".parse()?;
    for (all_down, answer) in [
        ("all-down = \"all\"", vec![first, second]),
        ("all-down = \"last-good\"", vec![second]),
        ("all-down = \"fallback\"\nfallback = \"192.0.2.99\"", vec![fallback]),
        ("all-down = \"zone\"", vec![zone]),
        // One of two is less than 60 percent, and so is none.
        ("panic-percent = 60", vec![first, second]),
    ] {
        let endpoint = Endpoint::start(second, port)?;
        let lines = format!("kind = \"round-robin\"\n{all_down}\n{}", http(port));
        let node = Node::running(&pool("web", NAMES, &lines, &[(first, 1), (second, 1)]))?;
        node.finds("web", second, "up")?;
        node.finds("web", first, "down")?;
        if !all_down.starts_with("panic") {
            node.answers(WWW, &[second])?;
        }
        drop(endpoint);
        node.finds("web", second, "down")?;
        node.answers(WWW, &answer)?;
    }
    Ok(())
}

#[test]
fn an_endpoint_of_many_pools_is_looked_at_once() -> Result<()> {
    let ([first], port) = addresses()?;
    let endpoint = Endpoint::start(first, port)?;
    let pools: String = (0..20)
        .map(|index| {
            pool(&format!("p{index}"), &format!("\"n{index}.example.com\""), &http(port), &[(first, 1)])
        })
        .collect();
    let node = Node::running(&pools)?;
    node.answers("n19.example.com", &[first])?;
    let (before, began) = (endpoint.asked(), Instant::now());
    tools::poll("some looks", SEEN_WITHIN, || Ok((endpoint.asked() >= before + 10).then_some(())))?;
    let most = began.elapsed().as_millis() / INTERVAL.as_millis() * 21 / 20 + 3;
    ensure!(endpoint.asked() as u128 - before as u128 <= most, "no more than one each interval");
    Ok(())
}
