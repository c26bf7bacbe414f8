//! Pools that stand within others.

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};
use starling_tests::signing::{Algorithm, Denial};
use starling_tests::tools;

use crate::endpoint::{Endpoint, addresses};
use crate::node::{Node, SEEN_WITHIN, WWW, http, pool};
use crate::portions::{are_near, ask_often, shares};
use crate::signed::{Signed, is_believed};

const NAMES: &str = "\"www.example.com\"";

/// The lines of a pool that only stands within others.
fn inner(name: &str, lines: &str, endpoints: &[Ipv4Addr]) -> String {
    let endpoints: Vec<(Ipv4Addr, u32)> = endpoints.iter().map(|address| (*address, 1)).collect();
    pool(name, "", lines, &endpoints)
}

/// The lines of a pool of others, each with more lines of its own.
fn outer(lines: &str, within: &[(&str, &str)]) -> String {
    let endpoints =
        within.iter().map(|(name, more)| format!("[[pool.endpoint]]\npool = \"{name}\"\n{more}\n"));
    format!("[[pool]]\nname = \"web\"\nnames = [{NAMES}]\n{lines}\n{}", endpoints.collect::<String>())
}

#[test]
fn a_tier_may_be_a_pool() -> Result<()> {
    let ([one, two, three], port) = addresses()?;
    let mut running = [one, two, three].map(|address| Endpoint::start(address, port).ok());
    let check = http(port);
    let pools = inner("eu", &format!("kind = \"round-robin\"\n{check}"), &[one, two])
        + &inner("us", &format!("kind = \"hash\"\n{check}"), &[three])
        + &outer("fail-back-ms = 0", &[("eu", "tier = 1"), ("us", "name = \"overseas\"\ntier = 2")]);
    let mut node = Node::running(&pools)?;
    node.answers(WWW, &[one, two])?;
    // The tier is the pool, and answers with what that answers with.
    drop(running[0].take());
    node.answers(WWW, &[two])?;
    let status = node.does(&["pool", "status", "web"])?;
    for said in [
        "* eu  pool eu  tier 1, up, 100.0 % of clients; not looked at itself",
        "  overseas  pool us  tier 2, up",
    ] {
        ensure!(status.contains(said), "{said}: {status}");
    }
    drop(running[1].take());
    node.answers(WWW, &[three])?;
    node.counts("web", "eu", "down")?;
    // What the one within answers when all are down is none of the other's good tiers.
    ensure!(node.does(&["pools"])?.contains("(all-down: all, since"), "{}", node.does(&["pools"])?);
    running[0] = Some(Endpoint::start(one, port)?);
    node.answers(WWW, &[one])?;
    // By hand, and that is kept.
    node.does(&["pool", "set", "web", "eu", "down"])?;
    node.answers(WWW, &[three])?;
    let kept = || std::fs::read_to_string(node.path("state/pools")).unwrap_or_default();
    tools::poll("it is kept", SEEN_WITHIN, || Ok(kept().contains("\"admin\":\"down\"").then_some(())))?;
    node.end()?;
    node.start()?;
    node.answers(WWW, &[three])?;
    node.does(&["pool", "set", "web", "eu", "auto"])?;
    node.answers(WWW, &[one])
}

#[test]
fn a_pool_with_nothing_good_is_none_for_those_around_it() -> Result<()> {
    let ([one, two], port) = addresses()?;
    let (first, _second) = (Endpoint::start(one, port)?, Endpoint::start(two, port)?);
    let check = http(port);
    for all_down in ["\"last-good\"", "\"fallback\"\nfallback = \"192.0.2.99\"", "\"servfail\"", "\"zone\""] {
        let pools = inner("eu", &format!("all-down = {all_down}\n{check}"), &[one])
            + &inner("us", &check, &[two])
            + &outer("kind = \"round-robin\"", &[("eu", ""), ("us", "")]);
        let node = Node::running(&pools)?;
        node.answers(WWW, &[one, two])?;
        node.does(&["pool", "set", "eu", "e0", "down"])?;
        node.answers(WWW, &[two])?;
    }
    drop(first);
    Ok(())
}

#[test]
fn what_stands_for_several_divides_its_share_among_them() -> Result<()> {
    let ([one, two, three, four], port) = addresses()?;
    let _all = [one, two, three, four].map(|address| Endpoint::start(address, port));
    let check = http(port);
    let heavy = inner("eu", &format!("kind = \"weighted\"\n{check}"), &[one, two])
        .replace(&format!("address = \"{two}\"\ntier = 1"), &format!("address = \"{two}\"\nweight = 2"));
    let pools = heavy
        + &inner("us", &format!("kind = \"round-robin\"\nanswers-max = 1\n{check}"), &[three, four])
        + &outer("kind = \"weighted\"", &[("eu", "weight = 3"), ("us", "weight = 1")]);
    let pools = pools.replace("tier = 1\n", "");
    let node = Node::running(&pools)?;
    for (pool, address) in [("eu", one), ("eu", two), ("us", three), ("us", four)] {
        node.finds(pool, address, "up")?;
    }
    let are_shared = |wanted: &[(Ipv4Addr, f64)]| {
        tools::poll("the shares are so", SEEN_WITHIN, || {
            let answers = ask_often(&node)?;
            ensure!(answers.iter().all(|answer| answer.len() == 1), "one at a time");
            Ok(are_near(&shares(&answers), wanted).is_ok().then_some(()))
        })
    };
    are_shared(&[(one, 0.25), (two, 0.5), (three, 0.125), (four, 0.125)])?;
    let status = node.does(&["pool", "status", "web"])?;
    ensure!(status.contains("weight 3, 75.0 % of clients"), "{status}");
    // A change within is one of all around it.
    node.does(&["pool", "set", "eu", "e1", "down"])?;
    are_shared(&[(one, 0.75), (three, 0.125), (four, 0.125)])
}

#[test]
fn pools_within_pools_validate() -> Result<()> {
    for (algorithm, denial) in [(Algorithm::Ed25519, Denial::Nsec), (Algorithm::EcdsaP256, Denial::Nsec3)] {
        let ([one, two, three], port) = addresses()?;
        let mut running = [one, two, three].map(|address| Endpoint::start(address, port).ok());
        let check = http(port);
        let pools = inner("eu", &format!("kind = \"weighted\"\n{check}"), &[one, two])
            .replace("tier = 1\n", "")
            + &inner("us", &check, &[three])
            + &outer("fail-back-ms = 0", &[("eu", "tier = 1"), ("us", "tier = 2")]);
        let mut signed = Signed::new(algorithm, denial)?;
        signed.configure("", &pools)?;
        signed.node.start()?;
        signed.node.finds("eu", one, "up")?;
        signed.node.finds("eu", two, "up")?;
        signed.node.counts("web", "eu", "up")?;
        let mut seen = std::collections::BTreeSet::new();
        tools::poll("both were told", SEEN_WITHIN, || {
            let said = signed.asks(WWW, "A")?;
            ensure!(is_believed(&said), "{said}");
            seen.extend([one, two].into_iter().filter(|address| said.contains(&format!("\t{address}\n"))));
            Ok((seen.len() == 2).then_some(()))
        })?;
        drop((running[0].take(), running[1].take()));
        signed.node.answers(WWW, &[three])?;
        signed.validates(WWW, &[three.into()])?;
    }
    Ok(())
}

#[test]
fn a_check_of_the_configuration_finds_what_cannot_stand_within_another() -> Result<()> {
    let address: Ipv4Addr = "192.0.2.7".parse()?;
    let check = http(80);
    let of = |name: &str, lines: &str, within: &str| {
        format!("[[pool]]\nname = \"{name}\"\n{lines}\n[[pool.endpoint]]\npool = \"{within}\"\n")
    };
    let leaf = |lines: &str| {
        inner("eu", &format!("{lines}\n{check}"), &[address, "192.0.2.8".parse().expect("an address")])
    };
    let chain = of("a", "names = \"www.example.com\"", "b")
        + &of("b", "", "c")
        + &of("c", "", "d")
        + &of("d", "", "eu");
    for (pools, said) in [
        (outer("", &[("asia", "")]), "has the pool \"asia\" as an endpoint, which there is not"),
        (
            outer("", &[("a", "")]) + &of("a", "", "b") + &of("b", "", "a"),
            "the pool \"a\" stands within itself: ",
        ),
        (outer("", &[("web", "")]), "the pool \"web\" stands within itself: web > web"),
        (chain + &leaf(""), "pools stand one within the other 4 deep at most: a > b > c > d > eu"),
        (
            outer("kind = \"weighted\"", &[("eu", "")]) + &leaf("kind = \"hash\""),
            "answers would go by turns and by who asks at once",
        ),
        (
            outer("kind = \"hash\"", &[("eu", "")]) + &leaf("kind = \"round-robin\"\nanswers-max = 1"),
            "answers would go by turns and by who asks at once",
        ),
        (leaf(""), "has no `names`, and no other pool has it as an endpoint"),
        (
            outer("", &[("eu", "address = \"192.0.2.9\"")]) + &leaf(""),
            "an endpoint has one of `address`, `target`, `pool`",
        ),
        (outer(&check, &[("eu", "")]) + &leaf(""), "no endpoint of the pool has an address to check"),
        (outer("", &[("eu", ""), ("eu", "name = \"again\"")]) + &leaf(""), "is in the pool twice"),
        (
            outer("kind = \"round-robin\"", &[("eu", "tier = 2"), ("us", "")])
                + &leaf("")
                + &inner("us", &check, &[address]),
            "only a failover pool has tiers",
        ),
    ] {
        let (is_good, text) = Node::new(&pools)?.check()?;
        ensure!(!is_good && text.contains(said) && text.contains("node.toml:"), "{said}: {text}");
    }
    // What can be, is.
    for (pools, kind) in
        [("hash", "hash"), ("round-robin", "hash"), ("weighted", "weighted"), ("hash", "round-robin")].map(
            |(around, within)| {
                let within = leaf(&format!("kind = \"{within}\"")).replace("tier = 1\n", "");
                (outer(&format!("kind = \"{around}\""), &[("eu", "")]) + &within, around)
            },
        )
    {
        let (is_good, text) = Node::new(&pools)?.check()?;
        ensure!(is_good, "{kind}: {text}");
    }
    Ok(())
}
