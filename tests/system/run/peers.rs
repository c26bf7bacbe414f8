//! Two nodes that see each other: the last one stays.

use anyhow::{Result, ensure};
use serde_json::Value;
use starling_tests::netns::{self, cable};
use starling_tests::{http, tools};

use super::agent::{Agent, DEGRADED, DOWN, LIMIT, Place, SHORT, UP, check, lines};
use crate::node::small_zone;

/// A node with the other as its peer, and a soft check that withdraws while the file `bad` is there.
fn node(label: &str, own: u8, other: u8) -> Result<Place> {
    let sections = format!(
        "[management]\nlisten = [\"192.0.2.{own}:8053\"]\n\
         [[peer]]\nname = \"other\"\naddress = \"192.0.2.{other}:8053\"\n\
         [[zone]]\nname = \"small.example\"\nfile = \"small.zone\"\n"
    );
    let place = Place::with(label, SHORT, &sections)?;
    let text = std::fs::read_to_string(place.path("node.toml"))?;
    let bad = place.path("bad");
    let check = format!(
        "[[check]]\nname = \"site\"\nexec = [\"/usr/bin/test\", \"!\", \"-e\", {bad:?}]\ninterval-ms = 100\n\
         timeout-ms = 2000\nrise = 2\nfall = 2\naction = \"withdraw\"\n"
    );
    place.write("node.toml", &format!("{text}{check}"))?;
    Ok(place)
}

fn pair() -> Result<[Place; 2]> {
    let places = [node("one", 1, 2)?, node("two", 2, 1)?];
    cable((&places[0].namespace, "wire"), (&places[1].namespace, "wire"))?;
    for (place, own) in places.iter().zip(1..) {
        place.namespace.add_address("wire", &format!("192.0.2.{own}/24"))?;
    }
    Ok(places)
}

fn sees(agent: &Agent<'_>, healthy: bool) -> Result<Value> {
    agent.explains("the peer", |told| told["peers"][0]["healthy"] == healthy)
}

#[test]
fn a_soft_reason_withdraws_only_while_a_peer_announces() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let [one, two] = &pair()?;
    let (first, second) = (one.start()?, two.start()?);
    sees(&first, true)?;
    ensure!(one.said(&["explain"])?.contains("peer other at 192.0.2.2:8053: up, counts as announcing"));
    one.write("bad", "")?;
    first.wait(DOWN)?;
    std::fs::remove_file(one.path("bad"))?;
    first.wait(UP)?;

    drop(second);
    sees(&first, false)?;
    one.write("bad", "")?;
    first.wait(DEGRADED)?;
    let explained = first.explains("the guard", |told| lines(&told["reasons"]).contains("not withdrawn"))?;
    ensure!(explained["wanted"] == "degraded", "{explained:#}");
    // The peer is back and well: now this one may go.
    let second = two.start()?;
    sees(&first, true)?;
    first.wait(DOWN)?;
    second.wait(UP)
}

#[test]
fn of_two_that_fail_together_one_stays() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let places = &pair()?;
    let agents = [places[0].start()?, places[1].start()?];
    for agent in &agents {
        sees(agent, true)?;
    }
    for place in places {
        place.write("bad", "")?;
    }
    // Where both have looked at the other and stay where they are, the guard has decided.
    let settled = |told: &Value| {
        told["wanted"] == told["held"]
            && (told["held"] == "down" || lines(&told["reasons"]).contains("not withdrawn"))
    };
    tools::poll("one that stays", LIMIT, || {
        let told = [places[0].json(&["explain"])?, places[1].json(&["explain"])?];
        let announced = told.iter().filter(|told| told["held"] != "down").count();
        ensure!(announced > 0, "both are gone: {told:#?}");
        Ok(told.iter().all(&settled).then_some(()))
    })
}

#[test]
fn a_node_that_misses_changes_is_told_by_its_peers() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let places = &pair()?;
    for place in places {
        let text = std::fs::read_to_string(place.path("node.toml"))?;
        let check = "[[check]]\nname = \"serials\"\naction = \"degrade\"\nmax-behind-ms = 1000\n";
        place.write("node.toml", &format!("{text}{check}"))?;
    }
    let [one, two] = places;
    let (first, second) = (one.start()?, two.start()?);
    first.explains("equal serials", |told| check(told, "serials")["standing"] == "passing")?;
    ensure!(one.json(&["explain"])?["serials"]["small.example."] == 1);

    two.write("small.zone", &small_zone(2, ""))?;
    two.said(&["reload"])?;
    first.wait(DEGRADED)?;
    let explained = first.explains("the reason", |told| told["held"] == "degraded")?;
    let reason = "small.example. has serial 1; 1 of 1 peers have had newer ones, up to 2";
    ensure!(lines(&explained["reasons"]).contains(reason), "{explained:#}");
    ensure!(lines(&explained["reasons"]).contains("(soft, degrade)"), "{explained:#}");
    let series = "starling_check_standing{check=\"serials\",standing=\"failing\"} 1\n";
    let metrics =
        one.namespace.inside(|| http::get("192.0.2.1:8053".parse().expect("an address"), "/metrics"))??;
    ensure!(metrics.body.contains(series), "{}", metrics.body);
    // Who is ahead is well.
    let ahead = two.json(&["explain"])?;
    ensure!(check(&ahead, "serials")["standing"] == "passing" && ahead["held"] == "up", "{ahead:#}");

    one.write("small.zone", &small_zone(2, ""))?;
    one.said(&["reload"])?;
    first.wait(UP)?;
    second.wait(UP)
}

#[test]
fn agents_pass_on_what_the_checks_of_pools_see() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let places = &pair()?;
    let sections = "[[key]]\nname = \"nodes.example\"\nsecret = \"YSBzZWNyZXQ=\"\n[pool-sharing]\nkey = \"nodes.example\"\n\
                    interval-ms = 200\ntimeout-ms = 200\nsilent-after = 10\n[[pool]]\nname = \"web\"\nnames = \
                    [\"www.small.example\"]\nview = \"any-up\"\ncheck = { kind = \"tcp\", port = 8053 }\n[[pool.endpoint]]\n\
                    name = \"a\"\naddress = \"127.0.0.1\"\n";
    for place in places {
        let text = std::fs::read_to_string(place.path("node.toml"))?;
        place.write("node.toml", &format!("{text}{sections}"))?;
    }
    let [one, two] = places;
    // Each has a loopback of its own, and only on that of the first somebody listens.
    let text = std::fs::read_to_string(one.path("node.toml"))?;
    one.write("node.toml", &text.replace("\"192.0.2.1:8053\"]", "\"192.0.2.1:8053\", \"127.0.0.1:8053\"]"))?;
    let (first, _second) = (one.start()?, two.start()?);
    let seen = |what: &str, own: &str, health: &str| {
        tools::poll(what, LIMIT, || {
            let told = two.json(&["pool", "status", "web"])?;
            let address = &told[0]["addresses"][0];
            Ok((address["own"] == own && address["health"] == health).then_some(told))
        })
    };
    let told = seen("an endpoint that the other reaches", "down", "up")?;
    ensure!(told[0]["addresses"][0]["peers"][0]["health"] == "up", "{told:#}");
    ensure!(told[0]["sharing"]["isolated"] == false, "{told:#}");
    drop(first);
    let told = seen("nobody else", "down", "down")?;
    ensure!(told[0]["sharing"]["isolated"] == true, "{told:#}");
    Ok(())
}
