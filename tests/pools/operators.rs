//! What operators say and see.

use anyhow::{Result, ensure};
use starling_tests::tools;

use crate::endpoint::{Endpoint, addresses};
use crate::node::{Node, SEEN_WITHIN, WWW, http, pool};

const NAMES: &str = "\"www.example.com\"";

/// Waits until this is written down.
fn is_kept(node: &Node, word: &str) -> Result<()> {
    let kept = || std::fs::read_to_string(node.path("state/pools")).unwrap_or_default();
    tools::poll("it is kept", SEEN_WITHIN, || Ok(kept().contains(word).then_some(())))
}

#[test]
fn what_is_set_by_hand_holds_over_restarts() -> Result<()> {
    let ([first, second], port) = addresses()?;
    let (_one, _two) = (Endpoint::start(first, port)?, Endpoint::start(second, port)?);
    let lines = format!("kind = \"round-robin\"\n{}", http(port));
    let mut node = Node::running(&pool("web", NAMES, &lines, &[(first, 1), (second, 1)]))?;
    node.answers(WWW, &[first, second])?;
    node.does(&["pool", "set", "web", "e0", "drain"])?;
    node.answers(WWW, &[second])?;
    node.does(&["pool", "set", "web", "e1", "down"])?;
    node.answers(WWW, &[first])?;
    ensure!(node.does(&["pools"])?.contains("(all-down: all, since"));
    is_kept(&node, "\"admin\":\"down\"")?;
    node.end()?;
    node.start()?;
    node.answers(WWW, &[first])?;
    let status = node.does(&["pool", "status", "web"])?;
    ensure!(status.contains("drain by hand") && status.contains("down by hand"), "{status}");
    let shorter = node.does(&["pool", "web"])?;
    ensure!(shorter.lines().next() == status.lines().next() && shorter.contains("down by hand"), "{shorter}");
    let (is_good, text) = node.check()?;
    let said = "note: the endpoint e1 of the pool web is down by hand, whatever checks find; `starling ctl pool set web e1 auto`";
    ensure!(is_good && text.contains(said), "{text}");
    node.does(&["pool", "set", "web", "e0", "auto"])?;
    node.does(&["pool", "set", "web", "e1", "auto"])?;
    node.answers(WWW, &[first, second])
}

#[test]
fn an_endpoint_that_is_dead_can_be_said_to_be_good() -> Result<()> {
    let ([first, second], port) = addresses()?;
    let _two = Endpoint::start(second, port)?;
    let node = Node::running(&pool("web", NAMES, &http(port), &[(first, 1), (second, 2)]))?;
    node.finds("web", first, "down")?;
    node.answers(WWW, &[second])?;
    node.does(&["pool", "set", "web", "e0", "up"])?;
    node.does(&["pool", "fail-back", "web"])?;
    node.answers(WWW, &[first])
}

#[test]
fn a_tier_comes_back_by_hand_where_that_is_wanted() -> Result<()> {
    let ([first, second], port) = addresses()?;
    let (one, _two) = (Endpoint::start(first, port)?, Endpoint::start(second, port)?);
    let lines = format!("fail-back = \"by-hand\"\n{}", http(port));
    let node = Node::running(&pool("web", NAMES, &lines, &[(first, 1), (second, 2)]))?;
    node.answers(WWW, &[first])?;
    drop(one);
    node.answers(WWW, &[second])?;
    let _one = Endpoint::start(first, port)?;
    node.finds("web", first, "up")?;
    ensure!(node.addresses(WWW)? == [std::net::IpAddr::V4(second)]);
    node.does(&["pool", "fail-back", "web"])?;
    node.answers(WWW, &[first])
}

#[test]
fn neither_a_reload_nor_a_restart_brings_a_tier_back() -> Result<()> {
    let ([first, second, third], port) = addresses()?;
    let (one, _two) = (Endpoint::start(first, port)?, Endpoint::start(second, port)?);
    let _three = Endpoint::start(third, port)?;
    let is_second = |node: &Node, when: &str| -> Result<()> {
        let answer = node.addresses(WWW)?;
        ensure!(answer == [std::net::IpAddr::V4(second)], "{when}: {answer:?}\n{}", node.log());
        Ok(())
    };
    let lines = format!("fail-back = \"by-hand\"\n{}", http(port));
    let web = pool("web", NAMES, &lines, &[(first, 1), (second, 2)]);
    let mut node = Node::running(&web)?;
    node.answers(WWW, &[first])?;
    drop(one);
    node.answers(WWW, &[second])?;
    let _one = Endpoint::start(first, port)?;
    node.finds("web", first, "up")?;
    is_kept(&node, "\"tier\":2")?;
    // Another pool comes, and then another endpoint of this one.
    let zone = "[[zone]]\nname = \"example.com\"\nfile = \"example.com\"\n";
    let other = pool("other", "\"other.example.com\"", &http(port), &[(third, 1)]);
    let more = pool("web", NAMES, &lines, &[(third, 3), (first, 1), (second, 2)]);
    for pools in [format!("{web}{other}"), format!("{more}{other}")] {
        node.configure(&format!("{zone}{pools}"))?;
        node.does(&["reload"])?;
        node.answers("other.example.com", &[third])?;
        node.finds("web", first, "up")?;
        is_second(&node, "after a reload")?;
    }
    node.finds("web", third, "up")?;
    is_kept(&node, &third.to_string())?;
    node.end()?;
    node.start()?;
    is_second(&node, "after a restart")?;
    tools::poll("some looks", SEEN_WITHIN, || {
        let status = node.pool("web")?;
        let all = status["addresses"].as_array().map(Vec::as_slice).unwrap_or_default();
        Ok((all.len() == 3 && all.iter().all(|it| it["runs"].as_u64() > Some(3))).then_some(()))
    })?;
    is_second(&node, "when it has looked")?;
    node.does(&["pool", "fail-back", "web"])?;
    node.answers(WWW, &[first])
}

#[test]
fn a_restart_begins_with_what_was_known() -> Result<()> {
    let ([first, second], port) = addresses()?;
    let two = Endpoint::start(second, port)?;
    // So seldom that what is answered first is not what looks have found by then.
    let check = format!(
        "check = {{ kind = \"tcp\", port = {port}, interval-ms = 2000, timeout-ms = 500, rise = 1, fall = 2 }}"
    );
    let lines = format!("kind = \"round-robin\"\n{check}");
    let mut node = Node::running(&pool("web", NAMES, &lines, &[(first, 1), (second, 1)]))?;
    node.answers(WWW, &[second])?;
    is_kept(&node, "\"up\"")?;
    node.end()?;
    drop(two);
    node.start()?;
    ensure!(node.addresses(WWW)? == [std::net::IpAddr::V4(second)], "{}", node.log());
    // It has died meanwhile, and so nothing is good.
    node.answers(WWW, &[first, second])
}

#[test]
fn pools_change_with_a_reload() -> Result<()> {
    let ([first, second], port) = addresses()?;
    let (_one, _two) = (Endpoint::start(first, port)?, Endpoint::start(second, port)?);
    let zone = "[[zone]]\nname = \"example.com\"\nfile = \"example.com\"\n";
    let node = Node::running(&pool("web", NAMES, &http(port), &[(first, 1)]))?;
    node.answers(WWW, &[first])?;
    node.configure(&format!(
        "{zone}{}",
        pool("web", "\"new.example.com\"", &http(port), &[(first, 1), (second, 1)])
    ))?;
    node.does(&["reload"])?;
    node.answers("new.example.com", &[first, second])?;
    node.answers(WWW, &["192.0.2.80".parse()?])?;
    node.configure(zone)?;
    node.does(&["reload"])?;
    tools::poll("it is no name any more", SEEN_WITHIN, || {
        Ok((node.ask("new.example.com", 1)?.rcode == 3).then_some(()))
    })?;
    ensure!(node.does(&["pools"])?.contains("there are no pools"));
    Ok(())
}

#[test]
fn what_there_is_not_is_said() -> Result<()> {
    let ([first], port) = addresses()?;
    let node = Node::running(&pool("web", NAMES, &http(port), &[(first, 1)]))?;
    for (arguments, said) in [
        (&["pool", "status", "mail"][..], "there is no pool mail"),
        (&["pool", "set", "mail", "e0", "up"], "there is no pool mail"),
        (&["pool", "set", "web", "e7", "up"], "the pool web has no endpoint e7; it has e0"),
        (&["pool", "fail-back", "mail"], "there is no pool mail"),
    ] {
        let output = node.ctl(arguments)?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(!output.status.success() && text.contains(said), "{arguments:?}: {text}");
    }
    Ok(())
}
