//! Pools and the zones that their names are in.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result, ensure};
use starling_tests::name::Name;
use starling_tests::tools;
use starling_tests::zonedata::transfer;

use crate::endpoint::{Endpoint, addresses};
use crate::node::{Node, SEEN_WITHIN, TYPE_A, TYPE_AAAA, TYPE_TXT, WWW, ZONE, http, pool};

const NAMES: &str = "\"www.example.com\"";

#[test]
fn other_types_and_names_are_the_zones_own() -> Result<()> {
    let ([first], port) = addresses()?;
    let _one = Endpoint::start(first, port)?;
    let node = Node::running(&pool(
        "web",
        "\"www.example.com\", \"deep.new.example.com\"",
        &http(port),
        &[(first, 1)],
    ))?;
    node.answers(WWW, &[first])?;
    node.answers("deep.new.example.com", &[first])?;
    let other = node.ask("other.example.com", TYPE_A)?;
    ensure!(other.addresses == [IpAddr::V4("192.0.2.2".parse()?)], "{other:?}");
    ensure!(node.ask(WWW, TYPE_TXT)?.ttl == Some(300));
    // The zone's address of the other family would lead around the pool.
    let ipv6 = node.ask(WWW, TYPE_AAAA)?;
    ensure!((ipv6.rcode, ipv6.ttl) == (0, None), "{ipv6:?}");
    // What lies between is there, and has nothing.
    let between = node.ask("new.example.com", TYPE_A)?;
    ensure!((between.rcode, between.ttl) == (0, None), "{between:?}");
    ensure!(node.ask("nothing.example.com", TYPE_A)?.rcode == 3);
    Ok(())
}

#[test]
fn a_zone_changes_under_its_pool_and_is_transferred_without_it() -> Result<()> {
    let ([first], port) = addresses()?;
    let _one = Endpoint::start(first, port)?;
    let node = Node::running(&pool("web", NAMES, &http(port), &[(first, 1)]))?;
    let plain = Node::running("")?;
    node.answers(WWW, &[first])?;
    for serial in 1..4 {
        let text = ZONE.replace("hostmaster 1", &format!("hostmaster {serial}"))
            + &format!("n{serial} A 192.0.2.3\n");
        for one in [&node, &plain] {
            one.write("example.com", &text)?;
            one.does(&["reload"])?;
        }
        ensure!(node.addresses(WWW)? == [IpAddr::V4(first)]);
        ensure!(node.addresses(&format!("n{serial}.example.com"))? == [IpAddr::V4("192.0.2.3".parse()?)]);
        let apex = Name::parse("example.com")?;
        let (mut steered, mut own) = (transfer(node.address, &apex)?, transfer(plain.address, &apex)?);
        steered.sort();
        own.sort();
        ensure!(steered == own, "secondaries have the zone as it is");
        let digests = |node: &Node| node.does(&["zones", "--digests", "--json"]);
        let digest = |text: String| -> Result<String> {
            let zones: serde_json::Value = serde_json::from_str(&text)?;
            Ok(zones[0]["content"].as_str().or(zones[0]["digest"].as_str()).context("a digest")?.to_owned())
        };
        ensure!(digest(digests(&node)?)? == digest(digests(&plain)?)?, "and one digest");
    }
    Ok(())
}

#[test]
fn names_that_cannot_answer_with_a_pool_are_the_zones_own_and_that_is_said() -> Result<()> {
    let ([first], port) = addresses()?;
    let _one = Endpoint::start(first, port)?;
    let names = "\"www.example.com\", \"alias.example.com\", \"x.child.example.com\", \"www.example.net\", \
                 \"www.signed.test\"";
    let node = Node::new("")?;
    node.write(
        "example.com",
        &format!("{ZONE}alias CNAME other\nchild NS ns.child\nns.child A 192.0.2.4\nx.child A 192.0.2.5\n"),
    )?;
    // Signatures need not be good to be there.
    node.write(
        "signed.test",
        "$TTL 300\n@ SOA ns1 h 1 1 1 1 1\n NS ns1\n NSEC ns1 NS SOA RRSIG NSEC\nns1 A 192.0.2.1\n NSEC www A RRSIG NSEC\n\
         www A 192.0.2.81\n NSEC @ A RRSIG NSEC\n",
    )?;
    node.configure(&format!(
        "[[zone]]\nname = \"example.com\"\nfile = \"example.com\"\n[[zone]]\nname = \"signed.test\"\nfile = \"signed.test\"\n{}",
        pool("web", names, &http(port), &[(first, 1)])
    ))?;
    let mut node = node;
    node.start()?;
    node.answers(WWW, &[first])?;
    let status = tools::poll("what is wrong is said", SEEN_WITHIN, || {
        let status = node.does(&["pool", "status", "web"])?;
        Ok((status.matches("problem:").count() == 4).then_some(status))
    })?;
    for said in [
        "x.child.example.com.: x.child.example.com. is delegated",
        "www.example.net.: no zone here has the name",
        "www.signed.test.: the zone is signed",
        "alias.example.com.: together with what else is there they are no good zone",
    ] {
        ensure!(status.contains(said), "{said}: {status}");
    }
    let signed: Ipv4Addr = "192.0.2.81".parse()?;
    ensure!(node.addresses("www.signed.test")? == [IpAddr::V4(signed)]);
    ensure!(node.ask("x.child.example.com", TYPE_A)?.addresses.is_empty(), "a referral");
    Ok(())
}

#[test]
fn a_check_of_the_configuration_finds_names_that_cannot_answer() -> Result<()> {
    let names = "\"www.example.com\", \"ns.child.example.com\", \"www.example.net\"";
    let node = Node::new(&pool("web", names, &http(80), &[("192.0.2.7".parse()?, 1)]))?;
    node.write("example.com", &format!("{ZONE}child NS ns.child\nns.child A 192.0.2.4\n"))?;
    let (is_good, text) = node.check()?;
    ensure!(!is_good, "{text}");
    for said in [
        "the pool web has the name www.example.net., which is in no zone of this node",
        "ns.child.example.com. can't answer with the pool web: ns.child.example.com. is delegated",
    ] {
        ensure!(text.contains(said), "{said}: {text}");
    }
    ensure!(!text.contains("www.example.com. can't"), "{text}");
    Ok(())
}
