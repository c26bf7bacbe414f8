//! Pools of which each answer has a part: by weight, by network, at most so many.

use std::collections::{HashMap, HashSet};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};

use anyhow::{Context, Result, ensure};
use rustix::net::{AddressFamily, SocketType};
use starling_tests::client;
use starling_tests::message::Message;
use starling_tests::name::Name;
use starling_tests::query::{Edns, Query};
use starling_tests::tools;

use crate::endpoint::{Endpoint, addresses};
use crate::node::{Node, SEEN_WITHIN, TYPE_A, WWW, http, pool};

const NAMES: &str = "\"www.example.com\"";
/// How many questions show a share, from so many sockets, so that every worker gets some.
const QUESTIONS: usize = 20_000;
const SOCKETS: usize = 10;

/// The IPv4 addresses of an answer, in its order.
pub(crate) fn found(answer: &[u8]) -> Result<Vec<Ipv4Addr>> {
    let message = Message::decode(answer)?;
    let octets = message.answer.iter().filter_map(|record| <[u8; 4]>::try_from(&record.rdata[..]).ok());
    Ok(octets.map(Ipv4Addr::from).collect())
}

/// What many questions are answered, over several sockets.
pub(crate) fn ask_often(node: &Node) -> Result<Vec<Vec<Ipv4Addr>>> {
    let query = Query::new(Name::parse(WWW)?, TYPE_A).with_edns(Edns::size(1232));
    let queries: Vec<Vec<u8>> = (0..QUESTIONS / SOCKETS).map(|index| query.bytes(index as u16)).collect();
    let mut answers = Vec::with_capacity(QUESTIONS);
    for _ in 0..SOCKETS {
        for answer in client::udp(node.address, &queries)? {
            answers.push(found(&answer.context("an answer")?)?);
        }
    }
    Ok(answers)
}

pub(crate) fn shares(answers: &[Vec<Ipv4Addr>]) -> HashMap<Ipv4Addr, f64> {
    let mut shares = HashMap::new();
    for address in answers.iter().flatten() {
        *shares.entry(*address).or_default() += 1.0 / answers.len() as f64;
    }
    shares
}

pub(crate) fn are_near(shares: &HashMap<Ipv4Addr, f64>, wanted: &[(Ipv4Addr, f64)]) -> Result<()> {
    ensure!(shares.len() == wanted.len(), "{shares:?} and not {wanted:?}");
    for (address, wanted) in wanted {
        let share = shares.get(address).copied().unwrap_or_default();
        ensure!(
            (share - wanted).abs() < 0.01,
            "{address} is in {share} of the answers: {wanted:?}, {shares:?}"
        );
    }
    Ok(())
}

/// The lines of a pool whose endpoints have these weights.
pub(crate) fn weighted(lines: &str, endpoints: &[(Ipv4Addr, u32)]) -> String {
    let text = pool("web", NAMES, lines, endpoints);
    endpoints.iter().fold(text, |text, (_, weight)| {
        text.replace(&format!("tier = {weight}\n"), &format!("weight = {weight}\n"))
    })
}

#[test]
fn answers_are_in_proportion_to_weights_and_that_is_shown() -> Result<()> {
    let ([first, second, third], port) = addresses()?;
    let (_one, _two) = (Endpoint::start(first, port)?, Endpoint::start(second, port)?);
    let three = Endpoint::start(third, port)?;
    let endpoints = [(first, 10), (second, 30), (third, 60)];
    let node = Node::running(&weighted(&format!("kind = \"weighted\"\n{}", http(port)), &endpoints))?;
    for address in [first, second, third] {
        node.finds("web", address, "up")?;
    }
    let are_shared = |wanted: &[(Ipv4Addr, f64)]| {
        tools::poll("the shares are so", SEEN_WITHIN, || {
            let answers = ask_often(&node)?;
            ensure!(answers.iter().all(|answer| answer.len() == 1), "one at a time");
            Ok(are_near(&shares(&answers), wanted).is_ok().then_some(()))
        })
    };
    are_shared(&[(first, 0.1), (second, 0.3), (third, 0.6)])?;
    let status = node.does(&["pool", "status", "web"])?;
    for said in ["weighted, one by weight,", "weight 30, 30.0 % of clients", "weight 60, 60.0 % of clients"] {
        ensure!(status.contains(said), "{said}: {status}");
    }
    let pools = node.does(&["pools"])?;
    for said in [format!("{first} (10.0 %)"), format!("{third} (60.0 %)")] {
        ensure!(pools.contains(&said), "{said}: {pools}");
    }
    // What is left is divided as before.
    drop(three);
    are_shared(&[(first, 0.25), (second, 0.75)])?;
    let status = node.pool("web")?;
    let of_all: Vec<_> = status["addresses"]
        .as_array()
        .context("addresses")?
        .iter()
        .map(|it| it["share-ppm"].as_u64())
        .collect();
    ensure!(of_all == [Some(250_000), Some(750_000), Some(0)], "{of_all:?}");
    // Other weights take effect with a reload, though the same endpoints are good.
    let endpoints = [(first, 30), (second, 10), (third, 60)];
    let zone = "[[zone]]\nname = \"example.com\"\nfile = \"example.com\"\n";
    let pool = weighted(&format!("kind = \"weighted\"\n{}", http(port)), &endpoints);
    node.configure(&format!("{zone}{pool}"))?;
    node.does(&["reload"])?;
    are_shared(&[(first, 0.75), (second, 0.25)])
}

#[test]
fn sets_have_each_endpoint_as_often_as_its_weight_says() -> Result<()> {
    let ([first, second, third], port) = addresses()?;
    let _all = [first, second, third].map(|address| Endpoint::start(address, port));
    let endpoints = [(first, 100), (second, 50), (third, 25)];
    let lines = format!("kind = \"weighted\"\nanswers = \"set\"\n{}", http(port));
    let node = Node::running(&weighted(&lines, &endpoints))?;
    tools::poll("all are answered with", SEEN_WITHIN, || {
        let shares = shares(&ask_often(&node)?);
        Ok(are_near(&shares, &[(first, 1.0), (second, 0.5), (third, 0.25)]).is_ok().then_some(()))
    })
}

#[test]
fn an_answer_has_at_most_so_many() -> Result<()> {
    let ([first, second, third], port) = addresses()?;
    let _all = [first, second, third].map(|address| Endpoint::start(address, port));
    for lines in ["kind = \"round-robin\"", "kind = \"failover\""] {
        let lines = format!("{lines}\nanswers-max = 2\n{}", http(port));
        let node = Node::running(&pool("web", NAMES, &lines, &[(first, 1), (second, 1), (third, 1)]))?;
        tools::poll("all are answered with", SEEN_WITHIN, || {
            let answers = ask_often(&node)?;
            let are_pairs = answers.iter().all(|answer| answer.len() == 2);
            let wanted = [first, second, third].map(|address| (address, 2.0 / 3.0));
            Ok((are_pairs && are_near(&shares(&answers), &wanted).is_ok()).then_some(()))
        })?;
    }
    Ok(())
}

fn ask_over_tcp(node: &Node, client: Ipv4Addr, query: &[u8]) -> Result<Vec<u8>> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    rustix::net::bind(&socket, &SocketAddr::new(IpAddr::V4(client), 0))?;
    rustix::net::connect(&socket, &node.address)?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(SEEN_WITHIN))?;
    stream.write_all(&[&(query.len() as u16).to_be_bytes(), query].concat())?;
    let mut len = [0; 2];
    stream.read_exact(&mut len)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

/// What a client at this address is answered, in ascending order.
pub(crate) fn answer_to(node: &Node, client: Ipv4Addr) -> Result<Vec<Ipv4Addr>> {
    let query = Query::new(Name::parse(WWW)?, TYPE_A).bytes(5);
    let socket = UdpSocket::bind(SocketAddr::new(IpAddr::V4(client), 0))?;
    socket.connect(node.address)?;
    socket.set_read_timeout(Some(SEEN_WITHIN))?;
    socket.send(&query)?;
    let mut buffer = [0; 512];
    let len = socket.recv(&mut buffer)?;
    let mut found = found(&buffer[..len])?;
    found.sort_unstable();
    Ok(found)
}

/// The one endpoint that a client at this address is answered with.
fn endpoint_of(node: &Node, client: Ipv4Addr) -> Result<Ipv4Addr> {
    let answer = answer_to(node, client)?;
    ensure!(answer.len() == 1, "{answer:?}");
    Ok(answer[0])
}

#[test]
fn a_network_keeps_its_endpoint_while_that_is_good() -> Result<()> {
    let (endpoints, port) = addresses::<4>()?;
    let mut running = Vec::new();
    for address in endpoints {
        running.push(Endpoint::start(address, port)?);
    }
    let lines = format!("kind = \"hash\"\n{}", http(port));
    let node = Node::running(&pool("web", NAMES, &lines, &endpoints.map(|address| (address, 1))))?;
    let clients: Vec<Ipv4Addr> = (0..120).map(|network| Ipv4Addr::new(127, 77, network, 1)).collect();
    let ask_all = || clients.iter().map(|client| endpoint_of(&node, *client)).collect::<Result<Vec<_>>>();
    let distinct = |answers: &[Ipv4Addr]| answers.iter().copied().collect::<HashSet<_>>();
    for address in endpoints {
        node.finds("web", address, "up")?;
    }
    let before = tools::poll("all are answered with", SEEN_WITHIN, || {
        // What is known is shown before it is published: they are told the same when nothing changes any more.
        let (answers, again) = (ask_all()?, ask_all()?);
        Ok(Some(answers).filter(|answers| distinct(answers).len() == 4 && *answers == again))
    })?;
    for endpoint in endpoints {
        ensure!(before.iter().filter(|it| **it == endpoint).count() >= 12, "{endpoint}: {before:?}");
    }
    ensure!(before == ask_all()?, "the same again");
    let query = Query::new(Name::parse(WWW)?, TYPE_A).bytes(6);
    for (client, answer) in clients.iter().zip(&before).take(20) {
        let neighbour = Ipv4Addr::from_bits(client.to_bits() | 0xf0);
        ensure!(endpoint_of(&node, neighbour)? == *answer, "{client} and its neighbour");
        let over_tcp = found(&ask_over_tcp(&node, neighbour, &query)?)?;
        ensure!(over_tcp == [*answer], "{client} gets {answer}, and {over_tcp:?} over TCP");
    }
    drop(running.pop());
    let without = tools::poll("it is not answered with", SEEN_WITHIN, || {
        Ok(Some(ask_all()?).filter(|answers| !answers.contains(&endpoints[3])))
    })?;
    for (before, now) in before.iter().zip(without) {
        ensure!(*before == now || *before == endpoints[3], "{before} is good, and {now} answers");
    }
    running.push(Endpoint::start(endpoints[3], port)?);
    tools::poll("they come back", SEEN_WITHIN, || Ok((ask_all()? == before).then_some(())))
}

#[test]
fn a_check_of_the_configuration_finds_weights_and_numbers_that_cannot_be() -> Result<()> {
    let address: Ipv4Addr = "192.0.2.7".parse()?;
    for (lines, said) in [
        ("kind = \"hash\"\nanswers-max = 2", "`answers-max` is for failover and round-robin pools"),
        ("kind = \"round-robin\"\nanswers = \"set\"", "`answers` is for weighted and least-load pools"),
        ("kind = \"round-robin\"\nanswers-max = 0", "`answers-max` is out of range"),
        ("kind = \"weighted\"\nanswers = \"some\"", "`some` is no portion of the endpoints"),
    ] {
        let node = Node::new(&pool("web", NAMES, &format!("{lines}\n{}", http(80)), &[(address, 1)]))?;
        node.refuses(said)?;
    }
    Ok(())
}
