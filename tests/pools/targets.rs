//! Pools whose names are aliases of the endpoint that is good.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use starling_tests::message::Message;
use starling_tests::query::Edns;
use starling_tests::signing::{Algorithm, Denial};
use starling_tests::tools;

use crate::endpoint::{Endpoint, addresses};
use crate::node::{Node, SEEN_WITHIN, TYPE_A, TYPE_AAAA, TYPE_TXT, ZONE, http, pool};
use crate::signed::{Signed, is_believed};

const TYPE_CNAME: u16 = 5;
const TYPE_SOA: u16 = 6;
const TYPE_ANY: u16 = 255;

/// A name that is not in the zone, one with addresses of both families, an alias, and any below a wildcard.
const NAMES: &str = "\"cdn.example.com\", \"old.example.com\", \"alias.example.com\", \"*.wild.example.com\"";
const ANSWERING: [&str; 4] =
    ["cdn.example.com", "old.example.com", "alias.example.com", "x.wild.example.com"];

/// More of the zone: what the names have of their own, and where targets may lead.
const MORE: &str = "old A 192.0.2.81\nold AAAA 2001:db8::81\nalias CNAME other\nin A 192.0.2.10\nin AAAA 2001:db8::10\ntext TXT \
                    \"here\"\n";

/// The lines of a pool of targets, each with more lines of its own.
fn targets(name: &str, names: &str, lines: &str, endpoints: &[(&str, &str)]) -> String {
    let endpoints = endpoints.iter().enumerate().map(|(index, (target, more))| {
        format!("[[pool.endpoint]]\nname = \"e{index}\"\ntarget = \"{target}\"\n{more}\n")
    });
    format!("[[pool]]\nname = \"{name}\"\nnames = [{names}]\n{lines}\n{}", endpoints.collect::<String>())
}

fn node(pools: &str) -> Result<Node> {
    let mut node = Node::new(pools)?;
    node.write("example.com", &format!("{ZONE}{MORE}"))?;
    node.start()?;
    Ok(node)
}

fn ask(node: &Node, name: &str, rtype: u16) -> Result<Message> {
    node.message(name, rtype, Some(Edns::size(1232)))
}

/// Where the first record of an answer leads, with the types of all.
fn lead(message: &Message) -> (Option<String>, Vec<u16>) {
    let target = message.answer.first().and_then(|record| record.target()).map(|name| name.to_string());
    (target, message.answer.iter().map(|record| record.rtype).collect())
}

/// Waits until all names are aliases of this one.
fn leads(node: &Node, names: &[&str], target: &str) -> Result<()> {
    for name in names {
        tools::poll(&format!("{name} leads to {target}"), SEEN_WITHIN, || {
            Ok((lead(&ask(node, name, TYPE_CNAME)?) == (Some(target.to_owned()), vec![TYPE_CNAME]))
                .then_some(()))
        })
        .with_context(|| {
            format!("{:?}\n{}", ask(node, name, TYPE_CNAME).map(|it| it.to_string()), node.log())
        })?;
    }
    Ok(())
}

#[test]
fn names_are_aliases_of_the_target_that_is_good() -> Result<()> {
    let ([first, second], port) = addresses()?;
    let (one, _two) = (Endpoint::start(first, port)?, Endpoint::start(second, port)?);
    let checked = [first, second].map(|address| format!("check-address = \"{address}\""));
    let lines = format!("ttl-s = 7\n{}", http(port));
    let worse = format!("{}\ntier = 2", checked[1]);
    let endpoints = [("eu.cdn.example.net", checked[0].as_str()), ("US.cdn.example.net.", worse.as_str())];
    let node = node(&targets("cdn", NAMES, &lines, &endpoints))?;
    leads(&node, &ANSWERING, "eu.cdn.example.net.")?;
    let all_types = |target: &str| -> Result<()> {
        for name in ANSWERING {
            // RFC 1034 §3.6.2: whatever is asked for; the zone's own addresses and alias are not there.
            for rtype in [TYPE_A, TYPE_AAAA, TYPE_TXT, TYPE_CNAME, TYPE_ANY] {
                let answer = ask(&node, name, rtype)?;
                ensure!(answer.rcode() == 0 && answer.authority.is_empty(), "{answer}");
                ensure!(
                    lead(&answer) == (Some(target.to_owned()), vec![TYPE_CNAME]),
                    "{name} {rtype}: {answer}"
                );
                ensure!(answer.answer[0].ttl == 7, "{answer}");
            }
        }
        Ok(())
    };
    all_types("eu.cdn.example.net.")?;
    let status = node.does(&["pool", "status", "cdn"])?;
    for said in [
        "CNAME  eu.cdn.example.net.  (good, tier 1",
        "* e0  eu.cdn.example.net.  tier 1, up, 100.0 % of clients",
    ] {
        ensure!(status.contains(said), "{said}: {status}");
    }
    drop(one);
    leads(&node, &ANSWERING, "us.cdn.example.net.")?;
    all_types("us.cdn.example.net.")?;
    // Other names are as ever.
    ensure!(node.ask("other.example.com", TYPE_A)?.addresses.len() == 1);
    Ok(())
}

#[test]
fn targets_in_the_zone_are_followed_and_pools_among_them() -> Result<()> {
    let ([first], port) = addresses()?;
    let _one = Endpoint::start(first, port)?;
    let pools = pool("web", "\"www.example.com\"", &http(port), &[(first, 1)])
        + &targets("plain", "\"plain.example.com\", \"*.wild.example.com\"", "", &[("in.example.com", "")])
        + &targets("far", "\"far.example.com\"", "", &[("www.example.com", "")])
        + &targets("further", "\"further.example.com\"", "", &[("far.example.com", "")])
        + &targets("nowhere", "\"nowhere.example.com\"", "", &[("missing.example.com", "")])
        + &targets("round", "\"round.example.com\"", "", &[("about.example.com", "")])
        + &targets("about", "\"about.example.com\"", "", &[("round.example.com", "")]);
    let node = node(&pools)?;
    node.answers("www.example.com", &[first])?;
    for name in ["plain.example.com", "x.wild.example.com"] {
        let answer = ask(&node, name, TYPE_A)?;
        ensure!(lead(&answer) == (Some("in.example.com.".to_owned()), vec![TYPE_CNAME, TYPE_A]), "{answer}");
        ensure!(ask(&node, name, TYPE_AAAA)?.answer.len() == 2);
        // The target has none of it.
        let text = ask(&node, name, TYPE_TXT)?;
        ensure!(text.answer.len() == 1 && text.authority.iter().any(|it| it.rtype == TYPE_SOA), "{text}");
    }
    node.answers("far.example.com", &[first])?;
    node.answers("further.example.com", &[first])?;
    ensure!(lead(&ask(&node, "further.example.com", TYPE_A)?).1 == [TYPE_CNAME, TYPE_CNAME, TYPE_A]);
    let missing = ask(&node, "nowhere.example.com", TYPE_A)?;
    ensure!(missing.rcode() == 3 && missing.answer.len() == 1, "{missing}");
    // A loop ends where it comes back.
    ensure!(ask(&node, "round.example.com", TYPE_A)?.answer.len() == 2);
    // What a target answers with changes with its pool.
    node.does(&["pool", "set", "web", "e0", "down"])?;
    node.answers("further.example.com", &[])
}

#[test]
fn an_answer_has_one_target() -> Result<()> {
    const ANSWERS: usize = 600;
    // In the zone, where names in data are compressed elsewhere; whether they are there is another question.
    let target = |last: &str| format!("{last}.example.com");
    let names = ["a", "b", "c"].map(target);
    for (lines, weights, shares) in [
        ("kind = \"weighted\"", [1, 2, 3], [1.0 / 6.0, 2.0 / 6.0, 3.0 / 6.0]),
        ("kind = \"round-robin\"", [0; 3], [1.0 / 3.0; 3]),
        ("kind = \"round-robin\"\nanswers-max = 1", [0; 3], [1.0 / 3.0; 3]),
        ("kind = \"failover\"", [0; 3], [1.0 / 3.0; 3]),
    ] {
        let weights =
            weights.map(|weight| if weight == 0 { String::new() } else { format!("weight = {weight}") });
        let endpoints: Vec<(&str, &str)> =
            names.iter().map(String::as_str).zip(weights.iter().map(String::as_str)).collect();
        let node = node(&targets("cdn", "\"cdn.example.com\"", lines, &endpoints))?;
        leads_anywhere(&node, "cdn.example.com")?;
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for _ in 0..ANSWERS {
            let (target, types) = lead(&ask(&node, "cdn.example.com", TYPE_A)?);
            ensure!(types == [TYPE_CNAME], "{types:?}");
            *counts.entry(target.context("a target")?).or_default() += 1;
        }
        for (name, share) in names.iter().zip(shares) {
            let count = counts.get(&format!("{name}.")).copied().unwrap_or_default() as f64 / ANSWERS as f64;
            ensure!((count - share).abs() < 0.1, "{lines}: {name} is {share} of {counts:?}");
        }
    }
    // A network keeps its own.
    let endpoints: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    let node = node(&targets("cdn", "\"cdn.example.com\"", "kind = \"hash\"", &endpoints))?;
    leads_anywhere(&node, "cdn.example.com")?;
    let first = lead(&ask(&node, "cdn.example.com", TYPE_A)?);
    for _ in 0..20 {
        ensure!(lead(&ask(&node, "cdn.example.com", TYPE_A)?) == first);
    }
    Ok(())
}

fn leads_anywhere(node: &Node, name: &str) -> Result<()> {
    tools::poll("it is an alias", SEEN_WITHIN, || {
        Ok(lead(&ask(node, name, TYPE_A)?)
            .0
            .is_some_and(|target| target.ends_with(".example.com."))
            .then_some(()))
    })
}

#[test]
fn with_no_target_good_the_pool_says_what_else() -> Result<()> {
    let ([first], port) = addresses()?;
    let endpoint = Endpoint::start(first, port)?;
    let checked = format!("check-address = [\"{first}\", \"::1\"]");
    let of = |name: &str, all_down: &str| {
        let names = format!("\"{name}.example.com\"");
        let lines = format!("all-down = {all_down}\n{}", http(port));
        targets(name, &names, &lines, &[("eu.cdn.example.net", &checked)])
    };
    let pools = of("all", "\"all\"")
        + &of("old", "\"zone\"")
        + &of("fallback", "\"fallback\"\nfallback = \"sorry.example.net\"")
        + &of("empty", "\"empty\"")
        + &of("fails", "\"servfail\"");
    let node = node(&pools)?;
    let all = ["all", "old", "fallback", "empty", "fails"].map(|name| format!("{name}.example.com"));
    let all = all.each_ref().map(String::as_str);
    // One of two addresses is enough.
    leads(&node, &all, "eu.cdn.example.net.")?;
    drop(endpoint);
    leads(&node, &["fallback.example.com"], "sorry.example.net.")?;
    leads(&node, &["all.example.com"], "eu.cdn.example.net.")?;
    node.answers("old.example.com", &["192.0.2.81".parse()?])?;
    for rtype in [TYPE_A, TYPE_CNAME, TYPE_TXT] {
        let empty = ask(&node, "empty.example.com", rtype)?;
        ensure!(empty.rcode() == 0 && empty.answer.is_empty() && empty.authority.len() == 1, "{empty}");
        let failure = ask(&node, "fails.example.com", rtype)?;
        ensure!(
            failure.rcode() == 2 && failure.answer.is_empty() && failure.authority.is_empty(),
            "{failure}"
        );
    }
    Ok(())
}

#[test]
fn pools_of_targets_stand_within_others() -> Result<()> {
    let ([first, second], port) = addresses()?;
    let (one, _two) = (Endpoint::start(first, port)?, Endpoint::start(second, port)?);
    let checked = [first, second].map(|address| format!("check-address = \"{address}\""));
    let pools = targets("eu", "", &http(port), &[("eu.example.net", &checked[0])])
        + &targets("us", "", &http(port), &[("us.example.net", &checked[1])])
        + "[[pool]]\nname = \"cdn\"\nnames = \"cdn.example.com\"\n[[pool.endpoint]]\npool = \"eu\"\n[[pool.endpoint]]\npool = \
           \"us\"\ntier = 2\n";
    let node = node(&pools)?;
    leads(&node, &["cdn.example.com"], "eu.example.net.")?;
    drop(one);
    leads(&node, &["cdn.example.com"], "us.example.net.")
}

#[test]
fn aliases_that_change_validate() -> Result<()> {
    for (algorithm, denial) in [
        (Algorithm::Ed25519, Denial::Nsec),
        (Algorithm::EcdsaP256, Denial::Nsec3),
        (Algorithm::Ed25519, Denial::Nsec3OptOut),
    ] {
        let ([first, second], port) = addresses()?;
        let (one, _two) = (Endpoint::start(first, port)?, Endpoint::start(second, port)?);
        let mut signed = Signed::new(algorithm, denial)?;
        let checked = [first, second].map(|address| format!("check-address = \"{address}\""));
        let worse = format!("{}\ntier = 2", checked[1]);
        let endpoints = [("ns1.example.com", checked[0].as_str()), ("last.example.com", worse.as_str())];
        // `both` has addresses, which the zone's signer has signed, and `alias` a CNAME record.
        let names = "\"both.example.com\", \"alias.example.com\"";
        let lines = format!("kind = \"failover\"\n{}", http(port));
        let turns = [("ns1.example.com", ""), ("last.example.com", "")];
        let pools = targets("cdn", names, &lines, &endpoints)
            + &targets("turns", "\"six.example.com\"", "kind = \"weighted\"", &turns);
        signed.configure("", &pools)?;
        signed.node.start()?;
        let leads_to = |name: &str, target: &str, address: &str| -> Result<()> {
            leads(&signed.node, &[name], target)?;
            let said = signed.asks(name, "A")?;
            ensure!(
                is_believed(&said) && said.contains(&format!("\t{address}\n")),
                "{denial} {name}: {said}"
            );
            ensure!(said.contains(&format!("\tIN\tCNAME\t{target}")), "{said}");
            // What the target has none of is denied at the end of a good chain.
            for rtype in ["AAAA", "MX"] {
                let said = signed.asks(name, rtype)?;
                ensure!(
                    said.starts_with("; fully validated\n") && said.contains(&format!("\\-{rtype}")),
                    "{said}"
                );
            }
            Ok(())
        };
        for name in ["both.example.com", "alias.example.com"] {
            leads_to(name, "ns1.example.com.", "192.0.2.1")?;
        }
        for _ in 0..6 {
            let said = signed.asks("six.example.com", "A")?;
            ensure!(is_believed(&said) && said.matches("\tIN\tCNAME\t").count() == 1, "{denial}: {said}");
        }
        if denial == Denial::Nsec {
            let proof = signed.asks("both.example.com", "NSEC")?;
            ensure!(proof.contains("; fully validated") && proof.contains(" CNAME RRSIG NSEC"), "{proof}");
            ensure!(!proof.contains(" A ") && !proof.contains("AAAA"), "{proof}");
        }
        signed.denies("nothing.example.com", "A")?;
        drop(one);
        for name in ["both.example.com", "alias.example.com"] {
            leads_to(name, "last.example.com.", "192.0.2.83")?;
        }
    }
    Ok(())
}

#[test]
fn what_cannot_be_an_alias_is_refused_and_answers_as_its_zone_says() -> Result<()> {
    let names = "\"www.example.com\", \"example.com\", \"cdn.example.com\"";
    let node = node(&targets("cdn", names, "", &[("eu.cdn.example.net", "")]))?;
    leads(&node, &["cdn.example.com"], "eu.cdn.example.net.")?;
    ensure!(node.addresses("www.example.com")? == ["192.0.2.80".parse::<std::net::IpAddr>()?]);
    ensure!(ask(&node, "example.com", TYPE_SOA)?.answer.len() == 1);
    let said = [
        "www.example.com. has TXT records in the zone, and an alias has no data of its own",
        "example.com. is the apex of its zone, which has other data and is no alias",
    ];
    let status = node.does(&["pool", "status", "cdn"])?;
    let (is_good, text) = node.check()?;
    ensure!(!is_good, "{text}");
    for said in said {
        ensure!(status.contains(said) && text.contains(said), "{said}: {status}{text}");
    }
    ensure!(!text.contains("cdn.example.com. can't"), "{text}");
    Ok(())
}

#[test]
fn a_check_of_the_configuration_finds_targets_that_cannot_be() -> Result<()> {
    let address: Ipv4Addr = "192.0.2.7".parse()?;
    let cdn = "\"cdn.example.com\"";
    let one = [("eu.example.net", "")];
    let two = [("eu.example.net", ""), ("us.example.net", "")];
    let checked = [("eu.example.net", "check-address = \"192.0.2.7\"")];
    let beside = format!("[[pool.endpoint]]\nname = \"a\"\naddress = \"{address}\"\n");
    for (pools, said) in [
        (targets("cdn", cdn, &http(80), &one) + &beside, "has both addresses and targets"),
        (targets("cdn", cdn, "kind = \"weighted\"\nanswers = \"set\"", &two), "would have several targets"),
        (targets("cdn", cdn, "kind = \"round-robin\"\nanswers-max = 2", &two), "would have several targets"),
        (targets("cdn", cdn, "", &[("cdn.example.com", "")]), "cdn.example.com. would be an alias of itself"),
        (targets("cdn", cdn, "", &[("a..b", "")]), "`a..b` is no name"),
        (targets("cdn", cdn, "", &[("*.example.net", "")]), "`*.example.net` is no name of a host"),
        (targets("cdn", cdn, "", &checked), "[[pool]] has no `check`"),
        (targets("cdn", cdn, &http(80), &one), "no endpoint of the pool has an address to check"),
        (targets("cdn", cdn, "", &[one[0], one[0]]), "is in the pool twice"),
        (
            targets("cdn", cdn, "all-down = \"fallback\"\nfallback = \"192.0.2.9\"", &one),
            "is not what the pool answers with",
        ),
        (
            pool(
                "web",
                cdn,
                &format!("all-down = \"fallback\"\nfallback = \"a.example\"\n{}", http(80)),
                &[(address, 1)],
            ),
            "is not what the pool answers with",
        ),
        (
            pool("web", cdn, &http(80), &[(address, 1)]) + "check-address = \"192.0.2.8\"\n",
            "`check-address` is for endpoints with a `target`",
        ),
    ] {
        let (is_good, text) = Node::new(&pools)?.check()?;
        ensure!(!is_good && text.contains(said) && text.contains("node.toml:"), "{said}: {text}");
    }
    Ok(())
}

#[test]
fn a_check_of_the_configuration_finds_what_would_never_answer() -> Result<()> {
    let address: Ipv4Addr = "192.0.2.7".parse()?;
    let (cdn, two) = ("\"cdn.example.com\"", [(address, 1), ("192.0.2.8".parse()?, 2)]);
    let fallback = "all-down = \"fallback\"\nfallback";
    let checked = "check-address = \"192.0.2.7\"";
    for (pools, said) in [
        (
            targets("cdn", cdn, "", &[("eu.example.net", ""), ("us.example.net", "tier = 2")]),
            "tiers after 1 of the pool cdn never answer (CNAME)",
        ),
        (
            targets("cdn", cdn, &format!("{fallback} = \"sorry.example.net\""), &[("eu.example.net", "")]),
            "the `fallback` of the pool cdn is never answered with",
        ),
        (
            targets(
                "cdn",
                cdn,
                &format!("kind = \"weighted\"\n{}", http(80)),
                &[("eu.example.net", ""), ("us.example.net", &format!("{checked}\nweight = 0"))],
            ),
            "the endpoint e1 of the pool cdn is never answered with",
        ),
        (
            pool(
                "web",
                cdn,
                &format!("{fallback} = [\"192.0.2.9\", \"2001:db8::9\"]\n{}", http(80)),
                &[(address, 1)],
            ),
            "the `fallback` 2001:db8::9 of the pool web is never answered with",
        ),
        (
            pool("web", cdn, &format!("panic-percent = 60\n{}", http(80)), &two),
            "tier 2 of the pool web never answers (IPv4)",
        ),
    ] {
        let node = Node::new(&pools)?;
        let (is_good, text) = node.check()?;
        ensure!(!is_good && text.contains(said), "{said}: {text}");
    }
    let good = pool("web", cdn, &format!("panic-percent = 50\n{}", http(80)), &two)
        + &targets(
            "t",
            "\"t.example.com\"",
            &http(80),
            &[("eu.example.net", checked), ("us.example.net", "tier = 2")],
        );
    let (is_good, text) = Node::new(&good)?.check()?;
    ensure!(is_good, "{text}");
    Ok(())
}
