//! Nodes that tell each other what their checks see: whose view counts, and who is not believed.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use starling_tests::server::{own_address, own_socket_address};
use starling_tests::{http as web, tools};

use crate::endpoint::{Endpoint, addresses};
use crate::node::{FALL, INTERVAL, Node, SEEN_WITHIN, pool};
use crate::peer::{Peer, Trick};

/// How often peers are asked, and after how long they are silent, in milliseconds: with time for a machine that has
/// other work.
const ASKED_MS: u32 = 200;
const SILENT_AFTER: u32 = 10;
/// Much more than the answers of all peers take, and much less than what a flood could send.
const MEMORY_GROWTH_KIB: u64 = 64 * 1024;
/// How many flood at once.
const CROWD: usize = 20;
const SECRET: &str = "YSBzZWNyZXQgb2YgYWxs";

/// A pool for each view; each answers with the first endpoint if that is good, and with the second in any case.
const VIEWS: [&str; 3] = ["local", "quorum", "any-up"];

/// A node, with what makes it one of several.
struct Member {
    node: Node,
    management: SocketAddr,
    /// Where its looks come from.
    source: Ipv4Addr,
}

/// The endpoints of all pools.
#[derive(Clone, Copy)]
struct Endpoints {
    first: Ipv4Addr,
    second: Ipv4Addr,
    port: u16,
    interval: Duration,
}

impl Endpoints {
    fn new() -> Result<(Self, [Endpoint; 2])> {
        let ([first, second], port) = addresses()?;
        let started = [Endpoint::start(first, port)?, Endpoint::start(second, port)?];
        Ok((Self { first, second, port, interval: INTERVAL }, started))
    }
}

impl Member {
    /// A node that is not started yet; `peers` are known by their numbers.
    fn new(management: SocketAddr) -> Result<Self> {
        Ok(Self { node: Node::new("")?, management, source: own_address() })
    }

    fn configure(&self, endpoints: Endpoints, peers: &[SocketAddr], secret: &str) -> Result<()> {
        let Endpoints { first, second, port, interval } = endpoints;
        let mut text = format!(
            "[[zone]]\nname = \"example.com\"\nfile = \"example.com\"\n[management]\nlisten = [\"{}\"]\n[[key]]\nname = \
             \"nodes.example\"\nsecret = \"{secret}\"\n[pool-sharing]\nkey = \"nodes.example\"\ninterval-ms = {ASKED_MS}\n\
             timeout-ms = {ASKED_MS}\nsilent-after = {SILENT_AFTER}\n",
            self.management
        );
        for peer in peers {
            text += &format!("[[peer]]\nname = \"at-{}\"\naddress = \"{peer}\"\n", peer.ip());
        }
        let interval = interval.as_millis();
        for view in VIEWS {
            let lines = format!(
                "kind = \"round-robin\"\nview = \"{view}\"\ncheck = {{ kind = \"http\", port = {port}, interval-ms = {interval}, \
                 timeout-ms = 500, rise = 1, fall = {FALL}, source = \"{}\" }}",
                self.source
            );
            text += &pool(view, &format!("\"{view}.example.com\""), &lines, &[(first, 1), (second, 1)]);
        }
        self.node.configure(&text)
    }

    /// Waits until the name of a view's pool answers so.
    fn answers(&self, view: &str, endpoints: Endpoints, has_first: bool) -> Result<()> {
        let Endpoints { first, second, .. } = endpoints;
        let wanted = if has_first { vec![first, second] } else { vec![second] };
        self.node.answers(&format!("{view}.example.com"), &wanted).with_context(|| view.to_owned())
    }

    /// The first endpoint in a pool's status.
    fn first(&self, view: &str) -> Result<Value> {
        Ok(self.node.pool(view)?["addresses"][0].clone())
    }

    fn peers(&self) -> Result<Value> {
        Ok(self.node.pool("quorum")?["sharing"]["peers"].clone())
    }

    /// Waits until what is said of a peer is as wanted.
    fn sees(&self, what: &str, peer: SocketAddr, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let look = || {
            let peers = self.peers()?;
            let found =
                peers.as_array().context("peers")?.iter().find(|it| it["address"] == peer.to_string());
            found.cloned().with_context(|| format!("{peers}"))
        };
        tools::poll(what, SEEN_WITHIN, || Ok(Some(look()?).filter(&wanted)))
            .with_context(|| format!("{:?}\n{}", look(), self.node.log()))
    }

    fn hears(&self, peer: SocketAddr) -> Result<()> {
        self.sees("a peer that is heard", peer, |it| it["heard"] == true && it["trouble"].is_null()).map(drop)
    }

    /// Waits until a metric has a value.
    fn counts(&self, line: &str) -> Result<()> {
        tools::poll(line, SEEN_WITHIN, || {
            Ok(web::get(self.management, "/metrics")?.body.contains(&format!("\n{line}\n")).then_some(()))
        })
    }

    /// Waits until all of this is in a pool's status.
    fn says(&self, pool: &str, texts: &[&str]) -> Result<()> {
        let status = || self.node.does(&["pool", "status", pool]);
        tools::poll("a status", SEEN_WITHIN, || {
            let status = status()?;
            Ok(texts.iter().all(|text| status.contains(text)).then_some(()))
        })
        .with_context(|| format!("{texts:?} are not in {:?}", status()))
    }

    fn logged(&self, text: &str) -> usize {
        self.node.log().matches(text).count()
    }
}

/// Nodes that know each other, running.
fn fleet<const N: usize>(endpoints: Endpoints) -> Result<[Member; N]> {
    let mut members = Vec::new();
    for _ in 0..N {
        members.push(Member::new(own_socket_address()?)?);
    }
    let all: Vec<SocketAddr> = members.iter().map(|member| member.management).collect();
    for member in &mut members {
        let peers: Vec<SocketAddr> = all.iter().copied().filter(|it| *it != member.management).collect();
        member.configure(endpoints, &peers, SECRET)?;
        member.node.start()?;
    }
    members.try_into().map_err(|_| anyhow::anyhow!("as many as asked for"))
}

#[test]
fn whose_view_counts_the_pool_says() -> Result<()> {
    let (endpoints, [first, _second]) = Endpoints::new()?;
    let mut fleet = fleet::<3>(endpoints)?;
    let all_answer = |fleet: &[Member], view: &str, wanted: [bool; 3]| {
        fleet
            .iter()
            .zip(wanted)
            .try_for_each(|(member, has_first)| member.answers(view, endpoints, has_first))
    };
    // Only the first node reaches the first endpoint.
    first.only_for(&[fleet[0].source]);
    all_answer(&fleet, "local", [true, false, false])?;
    all_answer(&fleet, "quorum", [false; 3])?;
    all_answer(&fleet, "any-up", [true; 3])?;
    tools::poll("what each node sees", SEEN_WITHIN, || {
        let seen = fleet[1].first("any-up")?;
        let of_peers = seen["peers"].as_array().context("peers")?;
        let says = |health: &str| of_peers.iter().filter(|it| it["health"] == health).count();
        let is_said = says("up") == 1 && says("down") == 1;
        Ok((is_said && seen["own"] == "down" && seen["health"] == "up").then_some(()))
    })?;
    let of_first = format!("down here, up at at-{} for ", fleet[0].management.ip());
    fleet[1].says("any-up", &["view any-up: 2 of 2 peers are heard\n", &of_first])?;

    // Two of three do: then it is good, for the third as well.
    first.only_for(&[fleet[0].source, fleet[1].source]);
    all_answer(&fleet, "quorum", [true; 3])?;
    all_answer(&fleet, "local", [true, true, false])?;

    // What an operator says holds here, and here alone.
    fleet[0].node.does(&["pool", "set", "quorum", "e0", "down"])?;
    all_answer(&fleet, "quorum", [false, true, true])?;
    fleet[0].node.does(&["pool", "set", "quorum", "e0", "auto"])?;
    all_answer(&fleet, "quorum", [true; 3])?;

    // One against one is no majority, and each goes by itself.
    fleet[1].node.end()?;
    let [zero, one, two] = &mut fleet;
    zero.answers("quorum", endpoints, true)?;
    two.answers("quorum", endpoints, false)?;
    two.answers("any-up", endpoints, true)?;
    let is_gone = |it: &Value| it["trouble"].as_str().is_some_and(|it| it.contains("no connection"));
    two.sees("silence", one.management, |it| it["heard"] == false && is_gone(it))?;
    ensure!(two.node.pool("quorum")?["sharing"]["isolated"] == false, "one is left");
    two.counts("starling_pool_isolated 0")?;

    // Alone.
    zero.node.end()?;
    two.answers("any-up", endpoints, false)?;
    two.counts("starling_pool_isolated 1")?;
    let told = two.node.does(&["pools"])?;
    ensure!(told.contains("view quorum: 0 of 2 peers are heard; this node is ISOLATED"), "{told}");
    ensure!(two.logged("this node is isolated") > 0, "{}", two.node.log());
    let local = two.node.pool("local")?;
    ensure!(local["sharing"].is_null(), "it is nothing to a pool that goes by this node: {local:#}");

    // And no more: who begins anew and has looked says what it sees.
    zero.node.start()?;
    two.answers("any-up", endpoints, true)?;
    two.counts("starling_pool_isolated 0")?;
    ensure!(two.logged("this node is not isolated any more") > 0, "{}", two.node.log());
    two.hears(zero.management)
}

#[test]
fn what_a_node_only_remembers_it_does_not_say() -> Result<()> {
    let (endpoints, [first, _second]) = Endpoints::new()?;
    let [mut one, two] = fleet::<2>(endpoints)?;
    two.answers("any-up", endpoints, true)?;
    one.answers("local", endpoints, true)?;
    tools::poll("what is remembered", SEEN_WITHIN, || {
        let kept = std::fs::read_to_string(one.node.path("state/pools")).unwrap_or_default();
        Ok((kept.matches("\"up\"").count() == 2 * VIEWS.len()).then_some(()))
    })?;
    one.node.end()?;
    drop(first);
    two.answers("any-up", endpoints, false)?;
    // It remembers that the endpoint was good, and will look at it in some minutes.
    one.configure(Endpoints { interval: Duration::from_secs(3600), ..endpoints }, &[two.management], SECRET)?;
    one.node.start()?;
    let seen = one.first("local")?;
    ensure!((&seen["own"], &seen["runs"]) == (&"up".into(), &0.into()), "{seen:#}");
    two.hears(one.management)?;
    let seen = tools::poll("what it says", SEEN_WITHIN, || {
        let seen = two.first("any-up")?;
        Ok((seen["peers"] != Value::Array(Vec::new())).then_some(seen))
    })?;
    ensure!(seen["peers"][0]["health"] == "unknown", "{seen:#}");
    ensure!(seen["health"] == "down", "{seen:#}");
    // With another question it is another check, of which there is nothing to say.
    one.configure(Endpoints { port: endpoints.port + 1, ..endpoints }, &[two.management], SECRET)?;
    one.node.does(&["reload"])?;
    tools::poll("nothing that is the same", SEEN_WITHIN, || {
        Ok((two.first("any-up")?["peers"] == Value::Array(Vec::new())).then_some(()))
    })?;
    two.hears(one.management)
}

#[test]
fn a_node_with_another_key_is_neither_told_nor_believed() -> Result<()> {
    let (endpoints, [first, _second]) = Endpoints::new()?;
    let [one, two] = fleet::<2>(endpoints)?;
    one.hears(two.management)?;
    first.only_for(&[one.source]);
    two.answers("any-up", endpoints, true)?;
    two.configure(endpoints, &[one.management], "YW5vdGhlciBzZWNyZXQ=")?;
    two.node.does(&["reload"])?;
    for (member, other) in [(&one, &two), (&two, &one)] {
        member.sees("a wrong key", other.management, |it| it["heard"] == false)?;
        tools::poll("what is told of it", SEEN_WITHIN, || {
            Ok(member.node.does(&["pools"])?.contains("it does not accept our key").then_some(()))
        })?;
    }
    two.answers("any-up", endpoints, false)?;
    // Each is asked again and again, and says so once.
    tools::poll("many questions", SEEN_WITHIN, || {
        let metrics = web::get(one.management, "/metrics")?.body;
        let refused = metrics.lines().find_map(|it| it.strip_prefix("starling_pool_sharing_refused_total "));
        Ok((refused.context("the counter")?.parse::<u64>()? > 5).then_some(()))
    })?;
    ensure!(one.logged("has not our key") == 1, "{}", one.node.log());
    ensure!(one.logged("is not believed what its pool checks see") == 1, "{}", one.node.log());
    two.configure(endpoints, &[one.management], SECRET)?;
    two.node.does(&["reload"])?;
    one.hears(two.management)?;
    two.hears(one.management)?;
    two.answers("any-up", endpoints, true)?;
    ensure!(one.logged("says again what its pool checks see") > 0, "{}", one.node.log());

    for authorization in
        ["", "Authorization: Starling-HMAC-SHA256 1 2 3\r\n", "Authorization: Basic Og==\r\n"]
    {
        let request = format!("GET /pool-views HTTP/1.1\r\nHost: x\r\n{authorization}\r\n");
        let answer = web::read(&web::exchange(one.management, request.as_bytes())?)?;
        ensure!(answer.status == 401 && !answer.body.contains("seen"), "{answer:?}");
    }
    Ok(())
}

/// A node whose one peer is a false one, before a true node.
fn tricked() -> Result<(Endpoints, [Endpoint; 2], Member, Member, Peer)> {
    let (endpoints, started) = Endpoints::new()?;
    let [mut one, mut two] = [Member::new(own_socket_address()?)?, Member::new(own_socket_address()?)?];
    started[0].only_for(&[two.source]);
    let peer = Peer::start(Trick::Relays(two.management))?;
    one.configure(endpoints, &[peer.address], SECRET)?;
    two.configure(endpoints, &[one.management], SECRET)?;
    one.node.start()?;
    two.node.start()?;
    // Whoever brings the words, they are the true node's.
    one.answers("any-up", endpoints, true)?;
    one.hears(peer.address)?;
    Ok((endpoints, started, one, two, peer))
}

#[test]
fn what_is_replayed_or_forged_is_not_believed() -> Result<()> {
    let (endpoints, [first, _second], one, two, peer) = tricked()?;
    let not_signed =
        |it: &Value| it["trouble"].as_str().is_some_and(|it| it.contains("not signed with our key"));
    // What was true a moment ago is not the answer to the question of now.
    peer.set(Trick::Replays);
    one.sees("a replay", peer.address, not_signed)?;
    one.answers("any-up", endpoints, false)?;
    one.counts("starling_pool_isolated 1")?;
    peer.set(Trick::Relays(two.management));
    one.answers("any-up", endpoints, true)?;
    // From here on nobody reaches it.
    first.only_for(&[own_address()]);
    one.answers("any-up", endpoints, false)?;
    one.hears(peer.address)?;
    peer.set(Trick::Forges(two.management, "\"down\"", "\"up\"  "));
    one.sees("a forgery", peer.address, not_signed)?;
    let asked = peer.asked();
    tools::poll("some more", SEEN_WITHIN, || Ok((peer.asked() > asked + 5).then_some(())))?;
    one.answers("any-up", endpoints, false)?;
    one.sees("silence", peer.address, |it| it["heard"] == false)?;
    // A node that is asked by two ways has one voice, and oneself has none but the own.
    peer.set(Trick::Relays(two.management));
    one.configure(endpoints, &[two.management, peer.address], SECRET)?;
    one.node.does(&["reload"])?;
    one.hears(two.management)?;
    one.sees("a twin", peer.address, |it| {
        it["trouble"].as_str().is_some_and(|it| it.contains("the same node as"))
    })?;
    peer.set(Trick::Relays(one.management));
    one.sees("itself", peer.address, |it| it["trouble"] == "it is this node itself")?;
    Ok(())
}

#[test]
fn a_hostile_peer_costs_little() -> Result<()> {
    let (endpoints, _started, one, two, peer) = tricked()?;
    let before = one.node.memory_peak_kib()?;
    let trick_of_many = Trick::Floods("HTTP/1.1 200 OK\r\n\r\n", "{\"seen\":[");
    const OK: &str = "HTTP/1.1 200 OK\r\nstarling-mac: 00\r\n";
    for (trick, said) in [
        (Trick::Floods("HTTP/1.1 200 OK\r\n\r\n", "{\"seen\":["), "more than 786432 octets"),
        (
            Trick::Floods("HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551615\r\n\r\n", "["),
            "more than 786432 octets",
        ),
        (Trick::Floods("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "1\r\nx\r\n"), "octets"),
        (Trick::Floods("HTTP/1.1 200 OK\r\n", "x: y\r\n"), "no HTTP answer"),
        (Trick::Floods("SSH-2.0-OpenSSH_9.2\r\n", "\0"), "no HTTP answer"),
        (Trick::Trickles(OK), "no whole answer within 200 ms"),
        (Trick::Hangs, "no whole answer within 200 ms"),
    ] {
        peer.set(trick.clone());
        // A chunk at a time may be slower than the deadline: either bound will do.
        let is_said = |it: &Value| {
            let trouble = it["trouble"].as_str().unwrap_or_default();
            trouble.contains(said) || (said.contains("octets") && trouble.contains("no whole answer within"))
        };
        one.sees(said, peer.address, is_said).with_context(|| format!("{trick:?}"))?;
        let asked = Instant::now();
        one.answers("local", endpoints, false)?;
        ensure!(asked.elapsed() < Duration::from_secs(5), "{trick:?}: it answers as ever");
    }
    one.answers("any-up", endpoints, false)?;
    // Many at once keep nobody from being heard.
    let crowd = (0..CROWD).map(|_| Peer::start(trick_of_many.clone()));
    let crowd: Vec<Peer> = crowd.collect::<Result<_>>()?;
    let mut peers: Vec<SocketAddr> = crowd.iter().map(|peer| peer.address).collect();
    peers.push(two.management);
    one.configure(endpoints, &peers, SECRET)?;
    one.node.does(&["reload"])?;
    one.answers("any-up", endpoints, true)?;
    for peer in &crowd {
        one.sees("a flood", peer.address, |it| it["trouble"].is_string() && it["heard"] == false)?;
    }
    let asked: usize = crowd.iter().map(Peer::asked).sum();
    let flooded = || crowd.iter().map(Peer::asked).sum::<usize>() - asked;
    tools::poll("some rounds", SEEN_WITHIN, || Ok((flooded() > 5 * CROWD).then_some(())))?;
    one.hears(two.management)?;
    let after = one.node.memory_peak_kib()?;
    ensure!(after < before + MEMORY_GROWTH_KIB, "{before} KiB became {after}");
    println!("{before} KiB before, {after} KiB at most while it was flooded");
    Ok(())
}

#[test]
fn a_peer_that_shares_nothing_is_told_from_one_with_another_clock() -> Result<()> {
    let (endpoints, _started, one, two, peer) = tricked()?;
    for (answer, said) in [
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", "it shares nothing"),
        ("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n", "its clock and ours differ"),
        ("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n", "503"),
        ("HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n", "302"),
    ] {
        peer.set(Trick::Says(answer));
        one.sees(said, peer.address, |it| it["trouble"].as_str().is_some_and(|it| it.contains(said)))?;
    }
    one.answers("any-up", endpoints, false)?;
    peer.set(Trick::Relays(two.management));
    one.answers("any-up", endpoints, true)
}
