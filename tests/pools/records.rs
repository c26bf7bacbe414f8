//! Pools that zones bring along, in TXT records.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, ensure};
use starling_tests::{http, openmetrics, server, tools};

use crate::endpoint::{Endpoint, Manner, addresses};
use crate::node::{Node, SEEN_WITHIN, TYPE_TXT, WWW, ZONE};

pub(crate) const WITH_RECORDS: &str =
    "[[zone]]\nname = \"example.com\"\nfile = \"example.com\"\npool-records = true\n";
const OWN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 80);

/// The zone in a version, with these records at `_pool.www`, and these lines.
pub(crate) fn zone(serial: u32, records: &[String], lines: &str) -> String {
    let mut text = ZONE.replace("hostmaster 1", &format!("hostmaster {serial}"));
    for record in records {
        // A text is as long as there is room in several strings.
        let strings: Vec<String> = record
            .as_bytes()
            .chunks(100)
            .map(|part| format!("\"{}\"", String::from_utf8_lossy(part)))
            .collect();
        writeln!(text, "_pool.www TXT {}", strings.join(" ")).expect("a string takes it");
    }
    text + lines
}

pub(crate) fn check(port: u16) -> String {
    format!(
        "check = {{ kind = 'http', port = {port}, path = '/health', contains = 'well', interval-ms = 50, timeout-ms = 500, \
         rise = 1, fall = 2 }}"
    )
}

pub(crate) fn failover(port: u16, endpoints: &[Ipv4Addr]) -> Vec<String> {
    let endpoint = |(index, address): (usize, &Ipv4Addr)| {
        format!("endpoint = {{ name = 'e{index}', address = '{address}', tier = {} }}", index + 1)
    };
    let said = ["kind = 'failover'", "fail-back-ms = 0", "ttl-s = 7"].map(str::to_owned);
    said.into_iter().chain([check(port)]).chain(endpoints.iter().enumerate().map(endpoint)).collect()
}

/// The lines of a zone with these records for a name.
pub(crate) fn brought_by(name: &str, records: &[&str]) -> String {
    records.iter().map(|record| format!("_pool.{name} TXT \"{record}\"\n")).collect()
}

/// The record of an endpoint named `a`.
pub(crate) fn endpoint(address: Ipv4Addr) -> String {
    format!("endpoint = {{ name = 'a', address = '{address}' }}")
}

#[test]
fn a_zone_brings_its_pools_and_changes_them() -> Result<()> {
    let ([first, second, third], port) = addresses()?;
    let one = Endpoint::start(first, port)?;
    let _others = (Endpoint::start(second, port)?, Endpoint::start(third, port)?);
    let mut node = Node::new("")?;
    node.configure(WITH_RECORDS)?;
    node.write("example.com", &zone(1, &failover(port, &[first, second]), ""))?;
    node.start()?;
    node.answers(WWW, &[first])?;
    ensure!(node.ask(WWW, 1)?.ttl == Some(7));
    ensure!(node.ask("_pool.www.example.com", TYPE_TXT)?.rcode == 0, "they are records like others");
    one.set(Manner::Hangs);
    node.answers(WWW, &[second])?;
    let shown = node.does(&["pools"])?;
    ensure!(shown.contains("www.example.com  failover, all, TTL 7 s, by records of example.com."), "{shown}");

    node.write("example.com", &zone(2, &failover(port, &[third]), "more A 192.0.2.9\n"))?;
    node.does(&["reload"])?;
    node.answers(WWW, &[third])?;
    // What makes no pool changes none.
    let mut bad = failover(port, &[first]);
    bad.push("kind = 'weighed'".to_owned());
    node.write("example.com", &zone(3, &bad, ""))?;
    node.does(&["reload"])?;
    let said = tools::poll("it is refused", SEEN_WITHIN, || {
        let said = node.does(&["pool", "status", WWW])?;
        Ok(said.contains("problem: its records: ").then_some(said))
    })?;
    ensure!(said.contains("TOML"), "two kinds are no TOML: {said}");
    node.answers(WWW, &[third])?;
    node.write("example.com", &zone(4, &[], ""))?;
    node.does(&["reload"])?;
    node.answers(WWW, &[OWN])?;
    ensure!(node.does(&["pools"])?.contains("there are no pools"));
    // By the configuration, without another version.
    node.write("example.com", &zone(5, &failover(port, &[third]), ""))?;
    node.does(&["reload"])?;
    node.answers(WWW, &[third])?;
    node.configure(&WITH_RECORDS.replace("true", "false"))?;
    node.does(&["reload"])?;
    node.answers(WWW, &[OWN])?;
    node.configure(WITH_RECORDS)?;
    node.does(&["reload"])?;
    node.answers(WWW, &[third])
}

#[test]
fn pools_of_a_zone_stand_within_each_other() -> Result<()> {
    let ([first, second], port) = addresses()?;
    let one = Endpoint::start(first, port)?;
    let _other = Endpoint::start(second, port)?;
    let inner = |name: &str, address: Ipv4Addr| {
        format!(
            "_pool.{name} TXT \"names = []\"\n_pool.{name} TXT \"{}\"\n_pool.{name} TXT \"endpoint = {{ name = 'a', address = \
             '{address}' }}\"\n",
            check(port)
        )
    };
    let outer = "_pool.www TXT \"endpoint = { pool = 'eu.example.com' }\"\n_pool.www TXT \"endpoint = { pool = \
                 'us.example.com', tier = 2 }\"\n_pool.lost TXT \"endpoint = { pool = 'asia.example.com' }\"\n";
    let text = [ZONE, &inner("eu", first), &inner("us", second), &inner("idle", second), outer].concat();
    let mut node = Node::new("")?;
    node.configure(WITH_RECORDS)?;
    node.write("example.com", &text)?;
    node.start()?;
    node.answers(WWW, &[first])?;
    let shown = node.does(&["pools"])?;
    for (name, said) in [
        ("lost", "has the pool \"asia.example.com\" as an endpoint, which there is not"),
        ("idle", "no `names`"),
    ] {
        let heading = format!("{name}.example.com  refused, by records of example.com.");
        let at = shown.find(&heading).context(shown.clone())?;
        ensure!(shown[at..].lines().nth(1).is_some_and(|line| line.contains(said)), "{name}: {shown}");
    }
    drop(one);
    node.answers(WWW, &[second])
}

#[test]
fn a_secondary_has_the_pools_of_the_zone_and_keeps_them() -> Result<()> {
    let ([first, second], port) = addresses()?;
    let one = Endpoint::start(first, port)?;
    let _other = Endpoint::start(second, port)?;
    let mut primary = Node::new("")?;
    primary.write("example.com", &zone(1, &failover(port, &[first, second]), ""))?;
    primary.start()?;
    primary.answers(WWW, &[OWN])?;
    let mut node = Node::new("")?;
    let copy = format!(
        "[[zone]]\nname = \"example.com\"\nprimaries = [\"{}\"]\npool-records = true\n",
        primary.address
    );
    node.configure(&copy)?;
    node.start()?;
    node.answers(WWW, &[first])?;
    // A difference that has nothing to do with it, and one that has.
    for (serial, records, lines, wanted) in [
        (2, failover(port, &[first, second]), "more A 192.0.2.9\n", first),
        (3, failover(port, &[second]), "", second),
        (4, failover(port, &[first, second]), "", first),
    ] {
        primary.write("example.com", &zone(serial, &records, lines))?;
        primary.does(&["reload"])?;
        node.does(&["refresh", "example.com"])?;
        let serves = |zones: String| -> Result<bool> {
            let zones: serde_json::Value = serde_json::from_str(&zones)?;
            Ok(zones[0]["served"]["serial"] == serial)
        };
        tools::poll("the version is served", SEEN_WITHIN, || {
            Ok(serves(node.does(&["zones", "--json"])?)?.then_some(()))
        })?;
        node.answers(WWW, &[wanted])?;
    }
    one.set(Manner::Hangs);
    node.answers(WWW, &[second])?;
    let kept = || std::fs::read_to_string(node.path("state/pools")).unwrap_or_default();
    tools::poll("it is kept", SEEN_WITHIN, || Ok(kept().contains("\"health\":\"down\"").then_some(())))?;
    // Nobody is there to ask when it starts again.
    primary.end()?;
    node.end()?;
    node.start()?;
    ensure!(
        node.addresses(WWW)? == [std::net::IpAddr::V4(second)],
        "as the last run knew it, from the first answer on"
    );
    Ok(())
}

#[test]
fn what_a_zone_may_not_say_is_refused() -> Result<()> {
    let ([first, second], port) = addresses()?;
    let _endpoints = (Endpoint::start(first, port)?, Endpoint::start(second, port)?);
    let folder_and_ports = server::own_socket_address()?;
    let mut node = Node::new("")?;
    let endpoint = endpoint(first);
    let good = check(port);
    let exec = "check = { kind = 'exec', command = ['/bin/true'] }";
    let file = "check = { kind = 'tls', port = 443, ca-file = '/etc/passwd' }";
    let lines = [
        brought_by("exec", &[exec, &endpoint]),
        brought_by("file", &[file, &endpoint]),
        brought_by("header", &["[check]", &endpoint]),
        brought_by("child", &[&good, &endpoint]),
        brought_by("abroad", &[&good, &endpoint, "names = ['www.example.net']"]),
        brought_by("lone", &[&good]),
        brought_by("seen", &[&good, &endpoint, "view = 'quorum'"]),
        brought_by("ours", &[&good, &endpoint, "names = ['www.example.com']"]),
        brought_by("fine", &[&good, &endpoint]),
        "_pool.octets TXT \"\\255\"\n".to_owned(),
    ]
    .concat();
    node.write("example.com", &(ZONE.to_owned() + &lines))?;
    node.write(
        "child.example.com",
        "$TTL 300\n@ SOA ns1 h 1 1 1 1 1\n NS ns1\n A 192.0.2.70\nns1 A 192.0.2.1\n",
    )?;
    node.configure(&format!(
        "{WITH_RECORDS}[[zone]]\nname = \"child.example.com\"\nfile = \"child.example.com\"\n[management]\nlisten = \
         [\"{folder_and_ports}\"]\n{}",
        crate::node::pool("web", "\"www.example.com\"", &crate::node::http(port), &[(second, 1)])
    ))?;
    node.start()?;
    node.answers("fine.example.com", &[first])?;
    node.answers(WWW, &[second])?;
    node.answers("child.example.com", &[Ipv4Addr::new(192, 0, 2, 70)])?;
    let shown = node.does(&["pools"])?;
    let refused = [
        ("exec", "`command` is of a node"),
        ("file", "`ca-file` is of a node"),
        ("header", "`[check]` is no key with its value"),
        ("octets", "is no key with its value"),
        ("child", "child.example.com. is in the zone child.example.com."),
        ("abroad", "www.example.net. is not in this zone"),
        ("lone", "has no endpoint"),
        ("seen", "nodes don't share it"),
        ("ours", "www.example.com. answers with the pool web"),
    ];
    for (name, said) in refused {
        let at = shown
            .find(&format!("{name}.example.com  refused, by records of example.com."))
            .context(shown.clone())?;
        let of_it = shown[at..].lines().nth(1).unwrap_or_default();
        ensure!(of_it.contains(said), "{name}: {shown}");
    }
    let samples = openmetrics::read(&http::get(folder_and_ports, "/metrics")?.body)?;
    ensure!(samples.get("starling_pool_records_refused") == Some(&9.0), "{shown}");
    // The same is found before it is served.
    let (is_good, text) = node.check()?;
    ensure!(!is_good, "{text}");
    for (name, said) in refused {
        let found = format!("example.com: error: the pool at _pool.{name}.example.com.: ");
        let of_it =
            text.lines().find(|line| line.contains(&found)).with_context(|| format!("{name}: {text}"))?;
        ensure!(of_it.contains(said), "{name}: {text}");
    }
    ensure!(!text.contains("_pool.fine"), "{text}");
    Ok(())
}

#[test]
fn a_check_finds_what_of_a_zones_pools_can_never_answer_and_what_is_set_by_hand() -> Result<()> {
    let ([first, second], port) = addresses()?;
    let _endpoints = (Endpoint::start(first, port)?, Endpoint::start(second, port)?);
    let mut node = Node::new("")?;
    node.configure(WITH_RECORDS)?;
    node.write("example.com", &zone(1, &failover(port, &[first, second]), ""))?;
    let (is_good, text) = node.check()?;
    ensure!(is_good && !text.contains("note"), "{text}");
    node.start()?;
    node.answers(WWW, &[first])?;
    node.does(&["pool", "set", WWW, "e0", "drain"])?;
    node.answers(WWW, &[second])?;
    tools::poll("it is kept and told", SEEN_WITHIN, || {
        let (is_good, text) = node.check()?;
        let note = "example.com: note: the endpoint e0 of the pool www.example.com is drain by hand";
        Ok((is_good && text.contains(note)).then_some(()))
    })?;
    // Nothing is looked at for a target without an address to check.
    let never = brought_by(
        "alias",
        &[
            "endpoint = { name = 'a', target = 'a.example.net' }",
            "endpoint = { name = 'b', target = 'b.example.net', tier = 2 }",
        ],
    );
    node.write("example.com", &zone(2, &failover(port, &[first, second]), &never))?;
    let (is_good, text) = node.check()?;
    ensure!(
        !is_good
            && text.contains(
                "example.com: error: tiers after 1 of the pool alias.example.com never answer (CNAME)"
            ),
        "{text}"
    );
    Ok(())
}
