//! EDNS Client Subnet (RFC 7871): answers for the network that a query names, and for how much of it they hold.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use starling_tests::client;
use starling_tests::message::Message;
use starling_tests::name::Name;
use starling_tests::process::Process;
use starling_tests::query::{Edns, Query};
use starling_tests::server::own_socket_address;
use starling_tests::tools;

use crate::endpoint::{Endpoint, addresses};
use crate::nearest::{self, PLACES};
use crate::node::{Node, SEEN_WITHIN, TYPE_A, TYPE_AAAA, WWW};
use crate::portions::found;

const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The option's code.
const OPTION: u16 = 8;
const NODE: &str = "client-subnet = true";

/// An answer: its code, its address, and the option.
type Answer = (u16, Option<Ipv4Addr>, Option<Vec<u8>>);

fn query(name: &str, rtype: u16, option: &[u8]) -> Result<Vec<u8>> {
    let edns = Edns { options: vec![(OPTION, option.to_vec())], ..Edns::size(1232) };
    Ok(Query::new(Name::parse(name)?, rtype).with_edns(edns).bytes(0))
}

fn answer(bytes: &[u8]) -> Result<Answer> {
    let message = Message::decode(bytes)?;
    let mut options = message.opt.iter().flat_map(|opt| &opt.options);
    let option = options.find(|(code, _)| *code == OPTION).map(|(_, value)| value.clone());
    Ok((message.rcode(), found(bytes)?.first().copied(), option))
}

fn ask(node: &Node, name: &str, option: &[u8]) -> Result<Answer> {
    ask_at(node.address, name, option)
}

fn ask_at(server: SocketAddr, name: &str, option: &[u8]) -> Result<Answer> {
    let query = query(name, TYPE_A, option)?;
    let (bytes, _) = client::udp_raw(server, &query, ANSWER_WITHIN)?.context("an answer")?;
    let over_tcp = client::tcp(server, &[query])?.pop().flatten().context("an answer")?;
    let found = answer(&bytes)?;
    ensure!(answer(&over_tcp)? == found, "over TCP it is {:?}, and not {found:?}", answer(&over_tcp)?);
    Ok(found)
}

/// The same option with this scope.
fn with_scope(option: &[u8], scope: u8) -> Vec<u8> {
    let mut option = option.to_vec();
    option[3] = scope;
    option
}

/// Waits until a network is told this.
fn is_told(node: &Node, option: &[u8], wanted: Ipv4Addr, scope: u8) -> Result<()> {
    let wanted = (0, Some(wanted), Some(with_scope(option, scope)));
    tools::poll("it is told", SEEN_WITHIN, || {
        // While it changes, what comes over UDP and TCP may differ.
        Ok(ask(node, WWW, option).is_ok_and(|found| found == wanted).then_some(()))
    })
    .with_context(|| format!("{option:?}: {wanted:?}, and it is {:?}", ask(node, WWW, option)))
}

#[test]
fn an_answer_is_for_the_network_that_is_named_and_says_for_how_much_of_it() -> Result<()> {
    let (at, port) = addresses::<4>()?;
    let [fra, par, jnb, any] = at;
    let mut running = Vec::new();
    for address in at {
        running.push(Endpoint::start(address, port)?);
    }
    let mut node = Node::new("")?;
    node.write("places.csv", PLACES)?;
    node.configure_with(NODE, &nearest::lines("places.csv", port, &nearest::endpoints(at)))?;
    node.start()?;
    for address in at {
        node.finds("web", address, "up")?;
    }
    for (option, wanted, scope) in [
        // In Germany, beside the French network and in it; for less than is known, and for more.
        (&[0, 1, 24, 0, 127, 130, 1][..], fra, 22),
        (&[0, 1, 24, 0, 127, 130, 7], par, 24),
        (&[0, 1, 32, 0, 127, 130, 7, 9], par, 24),
        (&[0, 1, 24, 0, 127, 130, 128], fra, 17),
        (&[0, 1, 16, 0, 127, 130], fra, 22),
        (&[0, 1, 24, 0, 127, 131, 9], jnb, 16),
        // Nowhere.
        (&[0, 1, 8, 0, 10], any, 2),
        (&[0, 1, 24, 0, 192, 0, 2], any, 1),
        // IPv6.
        (&[0, 2, 48, 0, 0x20, 0x01, 0x0d, 0xb8, 0, 1], par, 48),
        (&[0, 2, 48, 0, 0x20, 0x01, 0x0d, 0xb8, 0, 2], fra, 47),
        (&[0, 2, 32, 0, 0x20, 0x01, 0x0d, 0xb8], fra, 48),
        (&[0, 2, 56, 0, 0x20, 0x01, 0x0d, 0xb9, 0, 0, 0], any, 32),
        // RFC 7871 §7.1.2: the resolver's own address decides, which is in no place here.
        (&[0, 1, 0, 0], any, 0),
        (&[0, 2, 0, 0], any, 0),
    ] {
        is_told(&node, option, wanted, scope)?;
    }
    // Names that are no pools, what is not there, and what is malformed.
    let option = &[0, 1, 24, 0, 127, 130, 7][..];
    let echoed = Some(with_scope(option, 0));
    ensure!(
        ask(&node, "other.example.com", option)? == (0, Some(Ipv4Addr::new(192, 0, 2, 2)), echoed.clone())
    );
    ensure!(ask(&node, "none.example.com", option)? == (3, None, echoed.clone()));
    let (bytes, _) = client::udp_raw(node.address, &query(WWW, TYPE_AAAA, option)?, ANSWER_WITHIN)?
        .context("an answer")?;
    ensure!(answer(&bytes)? == (0, None, echoed), "the pool has no AAAA");
    for malformed in [
        &[0, 1, 24, 0, 127, 130][..],
        &[0, 1, 20, 0, 127, 130, 7],
        &[0, 3, 0, 0],
        &[0, 1, 24, 9, 127, 130, 7],
    ] {
        ensure!(
            ask(&node, WWW, malformed)? == (1, None, None),
            "{malformed:?}: {:?}",
            ask(&node, WWW, malformed)?
        );
    }
    // Where France gets what Germany gets, what is around it does, too.
    drop(running.remove(1));
    is_told(&node, option, fra, 16)
}

#[test]
fn a_network_keeps_the_endpoint_that_its_resolvers_are_told() -> Result<()> {
    let (at, port) = addresses::<4>()?;
    let _all = at.map(|address| Endpoint::start(address, port));
    let endpoints = at.map(|address| (address, 1));
    let pool = crate::node::pool(
        "web",
        &format!("\"{WWW}\""),
        &format!("kind = \"hash\"\n{}", crate::node::http(port)),
        &endpoints,
    );
    let mut node = Node::new("")?;
    node.configure_with(NODE, &format!("[[zone]]\nname = \"example.com\"\nfile = \"example.com\"\n{pool}"))?;
    node.start()?;
    // What a network is told; all that are asked for it are told the same once nothing changes.
    let tell = |network: u8| -> Result<Option<Ipv4Addr>> {
        let option = [0, 1, 24, 0, 198, 51, network];
        let answer = ask(&node, WWW, &option)?;
        ensure!(answer.2 == Some(with_scope(&option, 24)), "{answer:?}");
        let of_host = ask(&node, WWW, &[0, 1, 32, 0, 198, 51, network, 77])?;
        ensure!(of_host.1 == answer.1, "{network}: {answer:?} and {of_host:?}");
        Ok(answer.1)
    };
    let tell_all = || (0..60).map(&tell).collect::<Result<Vec<_>>>();
    tools::poll("all are told", SEEN_WITHIN, || {
        let told = tell_all().unwrap_or_default();
        Ok(at.iter().all(|address| told.contains(&Some(*address))).then_some(()))
    })
    .with_context(|| format!("{:?}", tell_all()))?;
    let option = [0, 2, 56, 0, 0x20, 0x01, 0x0d, 0xb8, 0, 1, 0];
    ensure!(ask(&node, WWW, &option)?.2 == Some(with_scope(&option, 48)));
    // Where it is not asked for it means nothing.
    node.end()?;
    node.configure(&format!("[[zone]]\nname = \"example.com\"\nfile = \"example.com\"\n{pool}"))?;
    node.start()?;
    tools::poll("all are told the same", SEEN_WITHIN, || {
        let of_nobody = ask(&node, WWW, &[0, 1, 24, 9]).ok();
        let are_same =
            (0..20).all(|network| ask(&node, WWW, &[0, 1, 24, 0, 198, 51, network]).ok() == of_nobody);
        Ok(of_nobody.filter(|(rcode, _, option)| are_same && *rcode == 0 && option.is_none()).map(|_| ()))
    })
}

/// Names that are no pools, beside Knot, which has the option answered with a scope of 0 there, too.
#[test]
fn names_that_are_no_pools_answer_as_those_of_knot() -> Result<()> {
    let mut node = Node::new("")?;
    node.configure_with(NODE, "[[zone]]\nname = \"example.com\"\nfile = \"example.com\"\n")?;
    node.start()?;
    let knot = own_socket_address()?;
    let at = node.path("").display().to_string();
    let config = format!(
        "server:\n  rundir: \"{at}\"\n  listen: {}@{}\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n  \
         edns-client-subnet: on\ndatabase:\n  storage: \"{at}/db\"\nzone:\n  - domain: \"example.com\"\n    file: \
         \"{at}/example.com\"\n    zonefile-sync: -1\n    journal-content: none\n",
        knot.ip(),
        knot.port()
    );
    node.write("knot.conf", &config)?;
    let mut command = Command::new(tools::program("knotd")?);
    command.arg("-c").arg(node.path("knot.conf")).current_dir(&at);
    let process = Process::spawn("knot", &command, &node.path("knot.log"))?;
    let plain = Query::new(Name::parse(WWW)?, TYPE_A).bytes(9);
    tools::poll("Knot answers", SEEN_WITHIN, || {
        let answer = client::udp_raw(knot, &plain, Duration::from_millis(50)).ok().flatten();
        Ok(answer.filter(|(bytes, _)| answer_rcode(bytes) == Some(0)).map(|_| ()))
    })
    .with_context(|| process.log_tail())?;
    for option in [
        &[0, 1, 24, 0, 192, 0, 2][..],
        &[0, 1, 32, 0, 192, 0, 2, 1],
        &[0, 1, 0, 0],
        &[0, 2, 56, 0, 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0],
        &[0, 2, 0, 0],
        // Malformed: too short, longer than an address, a family that there is not. Bits behind the prefix Knot clears, where RFC
        // 7871 §6 has FORMERR, as BIND has.
        &[0, 1, 24, 0, 192, 0],
        &[0, 1, 33, 0, 192, 0, 2, 1, 0],
        &[0, 3, 8, 0, 10],
        &[0, 1, 24],
        &[],
    ] {
        for name in [WWW, "none.example.com"] {
            let (ours, theirs) = (ask(&node, name, option)?, ask_at(knot, name, option)?);
            ensure!(ours == theirs, "{name} {option:?}: {ours:?}, and Knot {theirs:?}");
        }
    }
    Ok(())
}

fn answer_rcode(bytes: &[u8]) -> Option<u16> {
    Message::decode(bytes).ok().map(|message| message.rcode())
}
