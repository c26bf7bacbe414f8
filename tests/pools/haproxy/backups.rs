//! Which endpoints are used, by tier and by weight: with all ways in which three can be, what clients of HAProxy get is what is
//! answered here.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result, ensure};
use starling_tests::client;
use starling_tests::name::Name;
use starling_tests::query::Query;
use starling_tests::tools;

use super::HaProxy;
use crate::endpoint::{Endpoint, Manner, addresses};
use crate::node::{Node, SEEN_WITHIN, TYPE_A, pool};
use crate::portions::found;

/// How often either is asked in a row; a multiple of all sums of weights.
const QUESTIONS: u16 = 168;

/// What is said of the three servers there and of the three endpoints here.
struct Case {
    name: &'static str,
    of_backend: &'static str,
    servers: [&'static str; 3],
    kind: &'static str,
    endpoints: [&'static str; 3],
}

const CASES: &[Case] = &[
    // 5.2, backup: "only used in load balancing when all other non-backup servers are unavailable"
    Case {
        name: "backup",
        of_backend: "",
        servers: ["", "", "backup"],
        kind: "failover",
        endpoints: ["tier = 1", "tier = 1", "tier = 2"],
    },
    // "By default, only the first operational backup server is used"
    Case {
        name: "backups",
        of_backend: "",
        servers: ["", "backup", "backup"],
        kind: "failover",
        endpoints: ["tier = 1", "tier = 2", "tier = 3"],
    },
    // 4.2, option allbackups: "the load balancing will be performed among all backup servers"
    Case {
        name: "allbackups",
        of_backend: "option allbackups",
        servers: ["", "backup", "backup"],
        kind: "failover",
        endpoints: ["tier = 1", "tier = 2", "tier = 2"],
    },
    // 5.2, weight: "a load proportional to their weight relative to the sum of all weights"
    Case {
        name: "weights",
        of_backend: "",
        servers: ["weight 1", "weight 2", "weight 4"],
        kind: "weighted",
        endpoints: ["weight = 1", "weight = 2", "weight = 4"],
    },
];

/// Which part of the answers each endpoint has, by its number, in 168ths.
type Shares = BTreeMap<usize, u16>;

/// What clients get of a frontend there.
fn theirs(haproxy: &HaProxy, name: &str) -> Result<Shares> {
    let mut shares = Shares::new();
    for _ in 0..QUESTIONS {
        let mut stream = UnixStream::connect(haproxy.path(name))?;
        stream.set_read_timeout(Some(SEEN_WITHIN))?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: e\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        // With no server it answers itself.
        if let Some((_, number)) = answer.split_once("endpoint ") {
            *shares.entry(number.trim().parse()?).or_default() += 1;
        }
    }
    Ok(shares)
}

/// What is answered here; several in an answer have the same part of it.
fn ours(node: &Node, name: &str, addresses: &[Ipv4Addr]) -> Result<Shares> {
    let query = Query::new(Name::parse(&format!("{name}.example.com"))?, TYPE_A);
    let queries: Vec<Vec<u8>> = (0..QUESTIONS).map(|id| query.bytes(id)).collect();
    let mut shares = Shares::new();
    for answer in client::udp(node.address, &queries)? {
        let given = found(&answer.context("an answer")?)?;
        for address in &given {
            let index = addresses.iter().position(|it| it == address).context("an endpoint")?;
            *shares.entry(index).or_default() += 12 / u16::try_from(given.len())?;
        }
    }
    shares.values_mut().for_each(|share| *share /= 12);
    Ok(shares)
}

#[test]
fn what_is_used_by_tier_and_weight_is_what_haproxy_uses() -> Result<()> {
    let (all, port) = addresses::<3>()?;
    let endpoints = all.map(|address| Endpoint::start(address, port));
    let endpoints: Vec<Endpoint> = endpoints.into_iter().collect::<Result<_>>()?;
    let (mut backends, mut pools) = (String::new(), String::new());
    for case in CASES {
        let Case { name, of_backend, servers, kind, endpoints } = case;
        // Sockets in its folder, in which it runs.
        backends += &format!(
            "listen {name}\n  bind unix@{name}\n  balance roundrobin\n  option httpchk GET /\n  {of_backend}\n"
        );
        for (index, (address, keys)) in all.iter().zip(servers).enumerate() {
            backends +=
                &format!("  server e{index} {address}:{port} check inter 50ms rise 1 fall 1 {keys}\n");
        }
        let check = format!(
            "check = {{ kind = \"http\", port = {port}, interval-ms = 50, timeout-ms = 500, rise = 1, fall = 1 }}"
        );
        let lines = format!("kind = \"{kind}\"\nall-down = \"empty\"\n{check}\n");
        let lines = if *kind == "failover" { format!("{lines}fail-back-ms = 0\n") } else { lines };
        pools += &pool(name, &format!("\"{name}.example.com\""), &lines, &[]);
        for (index, (address, keys)) in all.iter().zip(endpoints).enumerate() {
            pools += &format!("[[pool.endpoint]]\nname = \"e{index}\"\naddress = \"{address}\"\n{keys}\n");
        }
    }
    let haproxy = HaProxy::start(500, &backends)?;
    let node = Node::running(&pools)?;
    // Each way differs from the one before by one endpoint.
    for number in 0..8_usize {
        let number = number ^ number >> 1;
        for (index, endpoint) in endpoints.iter().enumerate() {
            let status = if number >> index & 1 == 1 { 200 } else { 500 };
            endpoint.set(Manner::Answers(status, format!("endpoint {index}\n")));
        }
        let are_settled = || -> Result<bool> {
            let (theirs, ours) = (haproxy.servers()?, node.pool(CASES[0].name)?);
            let is_up = |index: usize| number >> index & 1 == 1;
            Ok((0..3).all(|index| {
                let of_all = CASES.iter().map(|case| theirs[&format!("{}/e{index}", case.name)].is_up);
                let here = ours["addresses"][index]["health"] == "up";
                here == is_up(index) && of_all.into_iter().all(|there| there == is_up(index))
            }))
        };
        tools::poll("both know", SEEN_WITHIN, || Ok(are_settled()?.then_some(())))?;
        for case in CASES {
            let by_haproxy = theirs(&haproxy, case.name)?;
            let wanted = || -> Result<Option<Shares>> {
                let ours = ours(&node, case.name, &all)?;
                let is_near = ours.keys().eq(by_haproxy.keys())
                    && ours.iter().all(|(index, share)| share.abs_diff(by_haproxy[index]) <= QUESTIONS / 14);
                Ok(is_near.then_some(ours))
            };
            let ours = tools::poll("the same is answered", SEEN_WITHIN, wanted)
                .with_context(|| format!("{} with {number:03b}: {by_haproxy:?}, and not here", case.name))?;
            ensure!(by_haproxy.is_empty() == (number == 0), "{}: {by_haproxy:?} {ours:?}", case.name);
            println!("{} with {number:03b}: {by_haproxy:?} there, {ours:?} here", case.name);
        }
    }
    Ok(())
}
