//! gdnsd beside us: the same endpoints in the same states, told by a file to each of the two, and the same answers. What is
//! expected is what its manual pages say; states are those that checks have come to, `extfile` with `direct` there and the `file`
//! check here.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use starling_tests::client;
use starling_tests::message::Message;
use starling_tests::name::Name;
use starling_tests::process::Process;
use starling_tests::query::Query;
use starling_tests::server::own_socket_address;
use starling_tests::tools;

use crate::node::{Node, SEEN_WITHIN, TYPE_A, ZONE};

/// How often each is asked where it may say one thing or another.
const QUESTIONS: u16 = 400;
/// How long gdnsd may take to start, and to take in states: it lets them settle for a second.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// A resource there and a pool here, with its endpoints in some states.
struct Case {
    /// What both call it.
    name: String,
    /// The page that says what is expected.
    page: &'static str,
    /// Its lines in the configuration of gdnsd, and by which plugin.
    plugin: &'static str,
    resource: String,
    pools: String,
    /// Every set that may be answered, and how often: one where all answers are alike.
    expected: Vec<(BTreeSet<Ipv4Addr>, f64)>,
}

/// All cases, and what is written to the two files.
#[derive(Default)]
struct Cases {
    all: Vec<Case>,
    theirs: String,
    ours: String,
}

/// The check of all pools here.
const CHECK: &str = "check = { kind = \"file\", file = \"states\", interval-ms = 200, rise = 1, fall = 1 }";

impl Cases {
    /// Addresses that no other case has, in these states.
    fn addresses(&mut self, states: &[bool]) -> Vec<Ipv4Addr> {
        let case = self.all.len() as u8; // below 256
        let group =
            self.theirs.lines().filter(|line| line.starts_with(&format!("10.0.{case}."))).count() as u8;
        let addresses: Vec<Ipv4Addr> =
            (1..).zip(states).map(|(host, _)| Ipv4Addr::new(10, 0, case, group + host)).collect();
        for (address, is_up) in addresses.iter().zip(states) {
            writeln!(self.theirs, "{address} => {}", if *is_up { "UP" } else { "DOWN" }).expect("text");
            writeln!(self.ours, "{address} {}", if *is_up { "up" } else { "down" }).expect("text");
        }
        addresses
    }

    fn add(&mut self, page: &'static str, plugin: &'static str, make: impl FnOnce(&mut Self, &str) -> Made) {
        let name = format!("r{}", self.all.len());
        let (resource, pools, expected) = make(self, &name);
        self.all.push(Case { name, page, plugin, resource, pools, expected });
    }
}

/// The lines there, those here, and what is expected.
type Made = (String, String, Vec<(BTreeSet<Ipv4Addr>, f64)>);

/// One of all ways in which so many endpoints can be.
fn states(count: usize, number: usize) -> Vec<bool> {
    (0..count).map(|bit| number >> bit & 1 == 1).collect()
}

fn alike(addresses: impl IntoIterator<Item = Ipv4Addr>) -> Vec<(BTreeSet<Ipv4Addr>, f64)> {
    vec![(addresses.into_iter().collect(), 1.0)]
}

fn up(addresses: &[Ipv4Addr], states: &[bool]) -> Vec<Ipv4Addr> {
    addresses.iter().zip(states).filter(|(_, is_up)| **is_up).map(|(address, _)| *address).collect()
}

/// "if(non_down >= ceil(thresh * total)) threshold_passed" (multifo, UP THRESH).
fn passes(percent: usize, states: &[bool]) -> bool {
    states.iter().filter(|is_up| **is_up).count() >= (percent * states.len()).div_ceil(100)
}

fn endpoints(addresses: &[Ipv4Addr], more: impl Fn(usize) -> String) -> String {
    let lines = addresses.iter().enumerate().map(|(index, address)| {
        format!("[[pool.endpoint]]\nname = \"e{index}\"\naddress = \"{address}\"\n{}\n", more(index))
    });
    lines.collect()
}

fn labelled(addresses: &[Ipv4Addr]) -> String {
    addresses.iter().enumerate().map(|(index, address)| format!("l{index} => {address}, ")).collect()
}

fn pool(name: &str, names: &str, lines: &str) -> String {
    format!("[[pool]]\nname = \"{name}\"\nnames = [{names}]\n{lines}\n")
}

fn cases() -> Cases {
    let mut cases = Cases::default();
    for percent in [10, 50, 70, 100] {
        for (count, number) in (1..=3).flat_map(|count| (0..1 << count).map(move |number| (count, number))) {
            cases.add("gdnsd-plugin-multifo(8), OPERATIONAL MECHANICS", "multifo", |cases, name| {
                let states = states(count, number);
                let all = cases.addresses(&states);
                let expected = if passes(percent, &states) { up(&all, &states) } else { all.clone() };
                let resource = format!("up_thresh => {}, {}", percent as f64 / 100.0, labelled(&all));
                let lines = format!("kind = \"round-robin\"\npanic-percent = {percent}\n{CHECK}");
                let own = format!("\"{name}.example.com\"");
                (resource, pool(name, &own, &lines) + &endpoints(&all, |_| String::new()), alike(expected))
            });
        }
    }
    for number in 0..4 {
        cases.add("gdnsd-plugin-simplefo(8), OPERATIONAL MECHANICS", "simplefo", |cases, name| {
            let states = states(2, number);
            let all = cases.addresses(&states);
            let expected = if !states[0] && states[1] { all[1] } else { all[0] };
            let resource = format!("primary => {}, secondary => {}", all[0], all[1]);
            let lines =
                format!("all-down = \"fallback\"\nfallback = \"{}\"\nfail-back-ms = 0\n{CHECK}", all[0]);
            let own = format!("\"{name}.example.com\"");
            let endpoints = endpoints(&all, |index| format!("tier = {}", index + 1));
            (resource, pool(name, &own, &lines) + &endpoints, alike([expected]))
        });
    }
    // Pools within one another: where a threshold fails, what is around goes on to the next.
    for (percent, number) in
        [50, 100].into_iter().flat_map(|percent| (0..16).map(move |number| (percent, number)))
    {
        cases.add("gdnsd-plugin-metafo(8), PER-DATACENTER RESOLUTION", "metafo", |cases, name| {
            let of_both = states(4, number);
            let (one, other) = of_both.split_at(2);
            let (first, second) = (cases.addresses(one), cases.addresses(other));
            let expected = match (passes(percent, one), passes(percent, other)) {
                (true, _) => up(&first, one),
                (false, true) => up(&second, other),
                (false, false) => first.clone(),
            };
            let center = |all: &[Ipv4Addr]| {
                format!("{{ plugin => multifo, up_thresh => {}, {} }}", percent as f64 / 100.0, labelled(all))
            };
            let resource = format!(
                "datacenters => [a, b], dcmap => {{ a => {}, b => {} }}",
                center(&first),
                center(&second)
            );
            let within = |part: &str, all: &[Ipv4Addr]| {
                let lines = format!("kind = \"round-robin\"\npanic-percent = {percent}\n{CHECK}");
                pool(&format!("{name}{part}"), "", &lines) + &endpoints(all, |_| String::new())
            };
            let fallback =
                format!("all-down = \"fallback\"\nfallback = [\"{}\", \"{}\"]", first[0], first[1]);
            let around = pool(
                name,
                &format!("\"{name}.example.com\""),
                &format!("{fallback}\nfail-back-ms = 0"),
            ) + &format!(
                "[[pool.endpoint]]\npool = \"{name}a\"\n[[pool.endpoint]]\npool = \"{name}b\"\ntier = 2\n"
            );
            (resource, within("a", &first) + &within("b", &second) + &around, alike(expected))
        });
    }
    // The lowest threshold, so that only all being down is a failure: a share of endpoints is not one of weights.
    for (number, multi) in (0..8).flat_map(|number| [(number, false), (number, true)]) {
        let page = "gdnsd-plugin-weighted(8), THE UNGROUPED SINGLE CASE, THE UNGROUPED MULTI CASE";
        cases.add(page, "weighted", |cases, name| {
            let weights = [1, 2, 2];
            let states = states(3, number);
            let all = cases.addresses(&states);
            let is_any = states.contains(&true);
            let dynamic = [0, 1, 2].map(|at| if states[at] || !is_any { weights[at] } else { 0 });
            let (total, most) = (dynamic.iter().sum::<u32>(), dynamic.into_iter().max().unwrap_or(1));
            let odds = |at: usize| f64::from(dynamic[at]);
            let expected = if !multi {
                let one = |at: usize| ([all[at]].into_iter().collect(), odds(at) / f64::from(total));
                (0..3).map(one).filter(|(_, odds)| *odds > 0.0).collect()
            } else {
                // Two have the same weight, so that the first alone is there or not.
                let with: BTreeSet<Ipv4Addr> =
                    (0..3).filter(|at| dynamic[*at] > 0).map(|at| all[at]).collect();
                let without: BTreeSet<Ipv4Addr> =
                    with.iter().copied().filter(|address| *address != all[0]).collect();
                let first = odds(0) / f64::from(most);
                let sets = [(with, if dynamic[0] > 0 { first } else { 1.0 }), (without, 1.0 - first)];
                let is_there = |(set, odds): &(BTreeSet<Ipv4Addr>, f64)| !set.is_empty() && *odds > 0.0;
                let count = if dynamic[0] > 0 { 2 } else { 1 };
                sets.into_iter().take(count).filter(is_there).collect()
            };
            let weighted = (0..3).map(|at| format!("l{at} => [ {}, {} ], ", all[at], weights[at]));
            let resource = format!("up_thresh => 0.01, multi => {multi}, {}", weighted.collect::<String>());
            let answers = if multi { "set" } else { "one" };
            let lines = format!("kind = \"weighted\"\nanswers = \"{answers}\"\n{CHECK}");
            let own = format!("\"{name}.example.com\"");
            let endpoints = endpoints(&all, |at| format!("weight = {}", weights[at]));
            (resource, pool(name, &own, &lines) + &endpoints, expected)
        });
    }
    cases
}

/// gdnsd with these cases, in a folder.
fn start(cases: &Cases, folder: &Path) -> Result<(Process, SocketAddr)> {
    let address = own_socket_address()?;
    let at = folder.display();
    std::fs::create_dir_all(folder.join("zones"))?;
    std::fs::write(folder.join("states"), &cases.theirs)?;
    let of_plugin = |plugin: &str| -> String {
        let resources = cases.all.iter().filter(|case| case.plugin == plugin);
        resources.map(|case| format!("   {} => {{ {} }}\n", case.name, case.resource)).collect()
    };
    let plain = ["multifo", "simplefo", "weighted"]
        .map(|plugin| format!("  {plugin} => {{ service_types => states,\n{}  }}\n", of_plugin(plugin)));
    std::fs::write(
        folder.join("config"),
        format!(
            "options => {{ listen => {address}, run_dir => \"{at}/run\", state_dir => \"{at}/state\" }}\nservice_types => {{ states => {{ plugin \
             => extfile, file => \"{at}/states\", direct => true, interval => 2 }} }}\nplugins => {{\n{}  metafo => {{ service_types => \
             states, resources => {{\n{}  }} }}\n}}\n",
            plain.concat(),
            of_plugin("metafo")
        ),
    )?;
    let names = cases.all.iter().map(|case| format!("{0} 30 DYNA {1}!{0}\n", case.name, case.plugin));
    let zone = format!(
        "$TTL 300\n@ SOA ns1 hostmaster 1 7200 1800 259200 900\n@ NS ns1\nns1 A 192.0.2.1\n{}",
        names.collect::<String>()
    );
    std::fs::write(folder.join("zones/example.com"), zone)?;
    let mut command = Command::new(tools::program("gdnsd")?);
    command.arg("-c").arg(folder).arg("start");
    Ok((Process::spawn("gdnsd", &command, &folder.join("log"))?, address))
}

/// The sets that are answered to many questions, with how often.
fn answers(server: SocketAddr, case: &Case) -> Result<Vec<(BTreeSet<Ipv4Addr>, f64)>> {
    let query = Query::new(Name::parse(&format!("{}.example.com", case.name))?, TYPE_A);
    let count = if case.expected.len() > 1 { QUESTIONS } else { 2 };
    let queries: Vec<Vec<u8>> = (0..count).map(|id| query.bytes(id)).collect();
    let mut sets: Vec<(BTreeSet<Ipv4Addr>, f64)> = Vec::new();
    for answer in client::udp(server, &queries)? {
        let Some(answer) = answer else { continue };
        let message = Message::decode(&answer)?;
        let addresses =
            message.answer.iter().filter_map(|record| <[u8; 4]>::try_from(&record.rdata[..]).ok());
        let set: BTreeSet<Ipv4Addr> = addresses.map(Ipv4Addr::from).collect();
        match sets.iter_mut().find(|(known, _)| *known == set) {
            Some((_, share)) => *share += 1.0 / f64::from(count),
            None => sets.push((set, 1.0 / f64::from(count))),
        }
    }
    Ok(sets)
}

fn are_expected(found: &[(BTreeSet<Ipv4Addr>, f64)], case: &Case) -> bool {
    let is_near = |(set, share): &(BTreeSet<Ipv4Addr>, f64)| {
        case.expected.iter().any(|(wanted, odds)| wanted == set && (share - odds).abs() < 0.12)
    };
    found.len() == case.expected.len() && found.iter().all(is_near)
}

#[test]
fn gdnsd_and_we_answer_alike_where_its_manual_says_what() -> Result<()> {
    let cases = cases();
    let folder = tempfile::tempdir()?;
    let (mut theirs, their_address) = start(&cases, folder.path())?;
    let pools: String = cases.all.iter().map(|case| case.pools.as_str()).collect();
    let mut node = Node::new(&pools)?;
    node.write("states", &cases.ours)?;
    node.write("example.com", ZONE)?;
    node.start()?;
    for case in &cases.all {
        for (who, server) in [("gdnsd", their_address), ("starling", node.address)] {
            let mut last = Vec::new();
            tools::poll("an answer by the manual", READY_WITHIN.max(SEEN_WITHIN), || {
                ensure!(theirs.exited().is_none(), "{}", theirs.log_tail());
                // It answers nothing before it listens.
                last = answers(server, case).unwrap_or_default();
                Ok(are_expected(&last, case).then_some(()))
            })
            .with_context(|| {
                format!(
                    "{who}, {} by {}: {last:?}, and not {:?}\n{}",
                    case.name, case.page, case.expected, case.pools
                )
            })?;
        }
    }
    println!("{} cases of multifo, simplefo, metafo and weighted", cases.all.len());
    theirs.signal(Signal::TERM)?;
    theirs.wait(READY_WITHIN)?;
    Ok(())
}
