//! Pools beside gdnsd: what its manual pages say of the same endpoints and thresholds, as cases that both have to meet.
//!
//! What gdnsd calls `up_thresh` is `panic-percent` here: with fewer good addresses than that part, all of them are answered. Of
//! what differs there is nothing to compare: gdnsd halves TTLs, counts failures that are not in a row (with `ok_thresh` over 1), and
//! has thresholds of summed weights, which are those of counts where weights are equal.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use starling_tests::client;
use starling_tests::message::Message;
use starling_tests::name::Name;
use starling_tests::process::Process;
use starling_tests::query::Query;
use starling_tests::server::own_socket_address;
use starling_tests::tools;

use crate::node::{Node, SEEN_WITHIN, TYPE_A, pool};

/// So many answers show all that there are, but for one time in millions.
const ASKED: usize = 60;
const ENDPOINTS: [Ipv4Addr; 3] =
    [Ipv4Addr::new(192, 0, 2, 11), Ipv4Addr::new(192, 0, 2, 12), Ipv4Addr::new(192, 0, 2, 13)];

/// Which of the three are good, and which are answered: by multifo and by weighted with `up_thresh` 0.5 (gdnsd-plugin-multifo(8),
/// "UP THRESH": of three two have to be up, or all are answered; gdnsd-plugin-weighted(8), "THE UNGROUPED SINGLE CASE"), and by
/// simplefo with the first two (gdnsd-plugin-simplefo(8), "OPERATIONAL MECHANICS": the primary where both are down).
const CASES: [(&str, &str, &str); 8] = [
    ("abc", "abc", "a"),
    ("bc", "bc", "b"),
    ("ac", "ac", "a"),
    ("c", "abc", "a"),
    ("ab", "ab", "a"),
    ("b", "abc", "b"),
    ("a", "abc", "a"),
    ("", "abc", "a"),
];

#[test]
fn the_same_thresholds_give_the_same_answers() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let gdnsd = own_socket_address()?;
    let states = folder.path().join("states");
    std::fs::write(&states, gdnsd_states("abc"))?;
    let process = start(folder.path(), gdnsd)?;
    let mut node = Node::new(&pools())?;
    node.write("states", &states_of("abc"))?;
    node.start()?;
    for (good, of_threshold, of_failover) in CASES {
        node.write("states", &states_of(good))?;
        std::fs::write(&states, gdnsd_states(good))?;
        for (name, wanted) in [
            ("multi.example.com", of_threshold),
            ("one.example.com", of_threshold),
            ("set.example.com", of_threshold),
            ("fo.example.com", of_failover),
        ] {
            for (who, at) in [("gdnsd", gdnsd), ("starling", node.address)] {
                let wanted: BTreeSet<Ipv4Addr> = wanted.chars().map(address).collect();
                let what = format!("{who} answers {name} with {wanted:?}, where {good:?} are good");
                tools::poll(&what, SEEN_WITHIN, || Ok((told(at, name)? == wanted).then_some(())))
                    .with_context(|| format!("{:?}: {}\n{}", told(at, name), process.log_tail(), node.log()))?;
            }
        }
    }
    Ok(())
}

/// The endpoint of a letter.
fn address(letter: char) -> Ipv4Addr {
    ENDPOINTS["abc".find(letter).unwrap_or(0)]
}

/// The pools, each with all that gdnsd's resource of that name has.
fn pools() -> String {
    const CHECK: &str = "check = { kind = \"file\", file = \"states\", interval-ms = 50, rise = 1, fall = 1 }";
    let [a, b, c] = ENDPOINTS;
    let all = [(a, 1), (b, 1), (c, 1)];
    let of_all = |name: &str, lines: &str| {
        let lines = format!("{lines}\npanic-percent = 50\n{CHECK}");
        pool(name, &format!("\"{name}.example.com\""), &lines, &all)
    };
    let failover = format!("fail-back-ms = 0\nall-down = \"fallback\"\nfallback = [\"{a}\"]\n{CHECK}");
    [
        of_all("multi", "kind = \"round-robin\""),
        of_all("one", "kind = \"weighted\""),
        of_all("set", "kind = \"weighted\"\nanswers = \"set\""),
        pool("fo", "\"fo.example.com\"", &failover, &[(a, 1), (b, 2)]),
    ]
    .concat()
}

fn states_of(good: &str) -> String {
    let state = |letter: char| if good.contains(letter) { "up" } else { "down" };
    "abc".chars().map(|letter| format!("{} {}\n", address(letter), state(letter))).collect()
}

fn gdnsd_states(good: &str) -> String {
    let state = |letter: char| if good.contains(letter) { "UP" } else { "DOWN" };
    "abc".chars().map(|letter| format!("{} => {}\n", address(letter), state(letter))).collect()
}

/// Starts gdnsd with its resources, all checked by the file of states.
fn start(folder: &Path, at: SocketAddr) -> Result<Process> {
    let here = folder.display();
    let [a, b, c] = ENDPOINTS;
    let weighted = |multi: bool| format!("{{ multi => {multi}, a => [{a}, 7], b => [{b}, 7], c => [{c}, 7] }}");
    let config = format!(
        "options => {{ listen => {{ {at} => {{ udp_threads => 1, tcp_threads => 1 }} }}, run_dir => \"{here}/run\", state_dir \
         => \"{here}/state\" }}\nservice_types => {{ told => {{ plugin => extfile, file => \"{here}/states\", direct => true, \
         interval => 1 }} }}\nplugins => {{\n multifo => {{ service_types => told, up_thresh => 0.5, multi => {{ a => {a}, b => \
         {b}, c => {c} }} }}\n weighted => {{ service_types => told, up_thresh => 0.5, one => {}, set => {} }}\n simplefo => {{ \
         service_types => told, fo => {{ primary => {a}, secondary => {b} }} }}\n}}\n",
        weighted(false),
        weighted(true)
    );
    std::fs::write(folder.join("config"), config)?;
    std::fs::create_dir(folder.join("zones"))?;
    let zone = "@ SOA ns1 host 1 86400 3600 604800 60\n@ NS ns1\nns1 A 192.0.2.1\nmulti 60 DYNA multifo!multi\none 60 DYNA \
                weighted!one\nset 60 DYNA weighted!set\nfo 60 DYNA simplefo!fo\n";
    std::fs::write(folder.join("zones/example.com"), zone)?;
    let mut command = Command::new(tools::program("gdnsd")?);
    command.arg("-c").arg(folder).arg("start");
    let process = Process::spawn("gdnsd", &command, &folder.join("log"))?;
    tools::poll("gdnsd answers", SEEN_WITHIN, || Ok(client::udp_raw(at, &query("ns1.example.com")?, SEEN_WITHIN / 100)?))
        .with_context(|| process.log_tail())?;
    Ok(process)
}

fn query(name: &str) -> Result<Vec<u8>> {
    Ok(Query::new(Name::parse(name)?, TYPE_A).bytes(0))
}

/// All addresses that a server answers a name with.
fn told(at: SocketAddr, name: &str) -> Result<BTreeSet<Ipv4Addr>> {
    let mut addresses = BTreeSet::new();
    for answer in client::udp(at, &vec![query(name)?; ASKED])?.into_iter().flatten() {
        for record in Message::decode(&answer)?.answer {
            let octets: [u8; 4] = record.rdata.as_slice().try_into().context("an address")?;
            addresses.insert(Ipv4Addr::from(octets));
        }
    }
    Ok(addresses)
}
