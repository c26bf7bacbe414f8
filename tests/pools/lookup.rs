//! Why a name answers with these endpoints: `starling lookup` by files alone, `starling ctl lookup` by the running
//! node.

use std::net::Ipv4Addr;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use starling_tests::tools;

use crate::endpoint::{Endpoint, addresses};
use crate::nearest::PLACES;
use crate::node::{Node, SEEN_WITHIN, TYPE_A, WWW, http, pool};
use crate::records::{WITH_RECORDS, brought_by, check, endpoint, failover, zone};

/// What `starling lookup` says by the node's configuration, whether it runs or not.
fn by_files(node: &Node, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(tools::starling()?);
    let output = command.arg("lookup").arg(node.path("node.toml")).args(arguments).output()?;
    ensure!(output.status.success(), "{arguments:?}: {output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

/// Waits until all of this is said.
fn says(what: impl Fn() -> Result<String>, texts: &[&str]) -> Result<()> {
    tools::poll("an explanation", SEEN_WITHIN, || {
        let said = what()?;
        Ok(texts.iter().all(|text| said.contains(text)).then_some(()))
    })
    .with_context(|| format!("{texts:?} are not all in {}", what().unwrap_or_default()))
}

#[test]
fn every_endpoint_is_accounted_for() -> Result<()> {
    let ([first, second, third], port) = addresses()?;
    let (one, _two, _three) =
        (Endpoint::start(first, port)?, Endpoint::start(second, port)?, Endpoint::start(third, port)?);
    let lines = format!("kind = \"failover\"\nfail-back-ms = 3600000\n{}", http(port));
    let endpoints = [(first, 1), (second, 2), (third, 2)];
    let mut node = Node::running(&pool("web", "\"www.example.com\"", &lines, &endpoints))?;
    let now = |node: &Node| node.does(&["lookup", WWW]);
    node.answers(WWW, &[first])?;
    says(
        || now(&node),
        &[
            &format!("www.example.com.\t30\tIN\tA\t{first}"),
            ";; POOL: web, for www.example.com. (failover, all, TTL 30 s), as it is now",
            ";  IPv4: the good endpoints of tier 1 answer; every answer has all that is answered with",
            &format!(";  * e0  {first}  tier 1, 100.0 % of clients: checks find it good; in this answer"),
            &format!(
                "e1  {second}  tier 2, 0.0 % of clients: checks find it good; in no answer: tier 1 answers"
            ),
        ],
    )?;
    node.does(&["pool", "set", "web", "e1", "drain"])?;
    drop(one);
    node.answers(WWW, &[third])?;
    says(
        || now(&node),
        &[
            "the good endpoints of tier 2 answer, as no better one has enough of them",
            &format!("e0  {first}  tier 1, 0.0 % of clients: checks find it bad (no connection"),
            "set to drain by hand; in no answer: others are left",
            &format!(";  * e2  {third}  tier 2, 100.0 % of clients: checks find it good; in this answer"),
        ],
    )?;
    // The same from what is written down, while the node runs and when it doesn't.
    let left = [
        &format!("www.example.com.\t30\tIN\tA\t{third}"),
        ";; POOL: web, for www.example.com. (failover, all, TTL 30 s), by what the last run of the node knew",
        &format!("e0  {first}  tier 1, 0.0 % of clients: the last run found it bad; in no answer"),
        "set to drain by hand; in no answer: others are left",
        &format!(";  * e2  {third}  tier 2, 100.0 % of clients: the last run found it good; in this answer"),
    ];
    says(|| by_files(&node, &[WWW]), &left)?;
    node.end()?;
    says(|| by_files(&node, &[WWW]), &left)?;
    // Other families, types and names.
    says(|| by_files(&node, &[WWW, "AAAA"]), &["no endpoint with such an address", "NOERROR"])?;
    for asked in [[WWW, "TXT"], ["other.example.com", "A"]] {
        ensure!(!by_files(&node, &asked)?.contains("POOL"), "{asked:?}");
    }
    // Without what was left nothing is known, and so all answer.
    std::fs::remove_file(node.path("state/pools"))?;
    says(
        || by_files(&node, &[WWW]),
        &["nothing is good, and answered is instead: all", "nothing is known of it; in this answer"],
    )
}

#[test]
fn which_part_a_client_gets_is_told() -> Result<()> {
    let ([first, second, third], port) = addresses()?;
    let _endpoints =
        (Endpoint::start(first, port)?, Endpoint::start(second, port)?, Endpoint::start(third, port)?);
    let all = [(first, 1), (second, 1), (third, 1)];
    let text = |name: &str, kind: &str| {
        let lines = format!("kind = \"{kind}\"\n{}", http(port));
        pool(name, &format!("\"{name}.example.com\""), &lines, &all)
    };
    let node = Node::running(&[text("hashed", "hash"), text("turned", "weighted")].concat())?;
    says(|| node.does(&["lookup", "turned.example.com"]), &["answers take turns: this is one of them"])?;
    for endpoint in 0..3 {
        says(|| node.does(&["pool", "status", "hashed"]), &[&format!("e{endpoint}  ")])?;
    }
    tools::poll("all are good", SEEN_WITHIN, || {
        let pool = node.pool("hashed")?;
        let all = pool["addresses"].as_array().context("addresses")?;
        Ok(all.iter().all(|it| it["health"] == "up").then_some(()))
    })?;
    says(
        || node.does(&["lookup", "turned.example.com"]),
        &["weight 1, 33.3 % of clients", "in other answers"],
    )?;
    says(|| node.does(&["lookup", "hashed.example.com"]), &["`--client ADDRESS` says which is meant"])?;
    let part = |said: &str| -> Result<Vec<Ipv4Addr>> {
        let said: Value = serde_json::from_str(said)?;
        let endpoints = said["pools"][0]["families"][0]["endpoints"].as_array().context("endpoints")?.clone();
        let given = endpoints.iter().filter(|it| it["in-answer"] == true);
        given.map(|it| Ok(it["address"].as_str().context("an address")?.parse()?)).collect()
    };
    // What is told of a client is what it is answered: here of this one.
    let question = ["lookup", "hashed.example.com", "--client", "127.0.0.1", "--json"];
    let told = part(&node.does(&question)?)?;
    ensure!(told.len() == 1, "{told:?}");
    ensure!(node.ask("hashed.example.com", TYPE_A)?.addresses == [told[0]], "{told:?}");
    says(
        || by_files(&node, &["hashed.example.com", "--client", "192.0.2.77"]),
        &["the clients of 192.0.2.0/24 have this one for as long as it is answered with"],
    )?;
    let mut seen = Vec::new();
    for network in 0..64 {
        let client = format!("10.0.{network}.1");
        let question = ["hashed.example.com", "--client", &client, "--json"];
        let (live, left) =
            (part(&node.does(&[&["lookup"], &question[..]].concat())?)?, part(&by_files(&node, &question)?)?);
        ensure!(live == left && live.len() == 1, "{client}: {live:?} and {left:?}");
        seen.extend(live);
        seen.sort_unstable();
        seen.dedup();
    }
    ensure!(seen.len() == 3, "64 networks have {seen:?}");
    Ok(())
}

#[test]
fn pools_of_a_zone_are_accounted_for() -> Result<()> {
    let ([first, second], port) = addresses()?;
    let one = Endpoint::start(first, port)?;
    let _two = Endpoint::start(second, port)?;
    let text = zone(1, &failover(port, &[first, second]), &brought_by("lone", &["ttl-s = 5"]));
    let mut node = Node::new("")?;
    node.configure(WITH_RECORDS)?;
    node.write("example.com", &text)?;
    // Before it has ever run nothing is known, and so all answer.
    let heading = ";; POOL: www.example.com, for www.example.com. (failover, all, TTL 7 s), by records of example.com., ";
    says(
        || by_files(&node, &[WWW]),
        &[
            heading,
            "by what the last run of the node knew",
            "nothing is good, and answered is instead: all",
            &format!(";  * e1  {second}  tier 2, "),
        ],
    )?;
    node.start()?;
    node.answers(WWW, &[first])?;
    drop(one);
    node.answers(WWW, &[second])?;
    let of_second = [
        format!("www.example.com.\t7\tIN\tA\t{second}"),
        heading.to_owned(),
        format!(";  * e1  {second}  tier 2, 100.0 % of clients: "),
        "the good endpoints of tier 2 answer".to_owned(),
    ];
    let of_second: Vec<&str> = of_second.iter().map(String::as_str).collect();
    says(|| node.does(&["lookup", WWW]), &of_second)?;
    says(|| by_files(&node, &[WWW]), &of_second)?;
    // What makes no pool is told with what is wrong, and other names are the zone's.
    let refused = [
        ";; POOL: lone.example.com, for lone.example.com. (refused), by records of example.com.\n",
        ";  its records make no pool: [[pool]] has no endpoint",
    ];
    let lone = "lone.example.com";
    says(|| node.does(&["lookup", lone]), &refused)?;
    says(|| by_files(&node, &[lone]), &refused)?;
    ensure!(!by_files(&node, &["other.example.com"])?.contains("POOL"));
    // What was good before goes on in the node that runs. The files alone don't say what that was.
    let bad = [failover(port, &[first]), vec!["kind = 'weighed'".to_owned()]].concat();
    node.write("example.com", &zone(2, &bad, ""))?;
    node.does(&["reload"])?;
    says(
        || node.does(&["lookup", WWW]),
        &[heading, ";  its records make no pool now, and it stays as it was: this is not TOML", of_second[2]],
    )?;
    says(
        || by_files(&node, &[WWW]),
        &[
            "www.example.com.\t300\tIN\tA\t192.0.2.80",
            "; POOL: www.example.com, for www.example.com. (refused)",
        ],
    )?;
    // Without the line for it, they are texts.
    node.configure(&WITH_RECORDS.replace("true", "false"))?;
    ensure!(!by_files(&node, &[WWW])?.contains("POOL"));
    Ok(())
}

#[test]
fn pools_of_a_zone_are_told_beside_those_of_the_configuration_and_of_copies() -> Result<()> {
    let ([first, second], port) = addresses()?;
    let _endpoints = (Endpoint::start(first, port)?, Endpoint::start(second, port)?);
    let mut primary = Node::new("")?;
    primary.write(
        "example.com",
        &zone(1, &failover(port, &[first]), &brought_by("fine", &[&check(port), &endpoint(first)])),
    )?;
    primary.start()?;
    let mut node = Node::new("")?;
    let copy = format!(
        "[[zone]]\nname = \"example.com\"\nprimaries = [\"{}\"]\npool-records = true\n",
        primary.address
    );
    node.configure(&(copy + &pool("web", "\"www.example.com\"", &http(port), &[(second, 1)])))?;
    node.start()?;
    node.answers("fine.example.com", &[first])?;
    node.answers(WWW, &[second])?;
    let of_both = |what: &dyn Fn(&str) -> Result<String>| -> Result<()> {
        says(|| what("fine.example.com"), &["POOL: fine.example.com, for ", &format!(";  * a  {first}  ")])?;
        // The configuration goes first, and that is said.
        says(
            || what(WWW),
            &[
                ";; POOL: web, for www.example.com. (failover",
                &format!(";  * e0  {second}  "),
                ";  its records make no pool: www.example.com. answers with the pool web",
            ],
        )
    };
    of_both(&|name| node.does(&["lookup", name]))?;
    let copy = node.path("state/tables/example.com.table");
    tools::poll("the copy is kept", SEEN_WITHIN, || Ok(copy.exists().then_some(())))?;
    of_both(&|name| by_files(&node, &[name]))?;
    primary.end()?;
    node.end()?;
    of_both(&|name| by_files(&node, &[name]))?;
    let json: Value = serde_json::from_str(&by_files(&node, &[WWW, "--json"])?)?;
    let of_records =
        json["pools"].as_array().context("pools")?.iter().find(|it| it["zone"] == "example.com.");
    ensure!(of_records.is_some_and(|it| it["refused"].as_array().is_some_and(|it| it.len() == 1)), "{json}");
    Ok(())
}

/// By files alone, of the configuration and of the zone: whom the map says to be where is told.
#[test]
fn what_is_nearest_is_told_of_a_client() -> Result<()> {
    let node = Node::new("")?;
    let records = |endpoints: &[(&str, &str)]| -> Vec<String> {
        let endpoint = |(address, places): &(&str, &str)| {
            format!("endpoint = {{ name = '{address}', address = '{address}', places = [{places}] }}")
        };
        let said = ["kind = 'nearest'".to_owned(), check(80)];
        said.into_iter().chain(endpoints.iter().map(endpoint)).collect()
    };
    node.write("example.com", &zone(1, &records(&[("192.0.2.3", "'FR'"), ("192.0.2.4", "'*'")]), ""))?;
    node.write("places.csv", PLACES)?;
    let configured = pool("mail", "\"mail.example.com\"", &format!("kind = \"nearest\"\n{}", http(80)), &[])
        + "[[pool.endpoint]]\nname = \"a\"\naddress = \"192.0.2.1\"\nplaces = [\"DE\"]\n[[pool.endpoint]]\nname = \
           \"b\"\naddress = \"192.0.2.2\"\nplaces = [\"*\"]\n";
    node.configure(&format!("{WITH_RECORDS}[places]\nfile = \"places.csv\"\n{configured}"))?;
    let (is_good, said) = node.check()?;
    ensure!(is_good, "{said}");
    for (name, client, address, place) in [
        (WWW, "127.130.7.1", "192.0.2.3", "FR"),
        (WWW, "127.130.1.1", "192.0.2.4", "elsewhere"),
        ("mail.example.com", "127.130.1.1", "192.0.2.1", "DE"),
        ("mail.example.com", "127.130.7.1", "192.0.2.2", "elsewhere"),
    ] {
        let said = by_files(&node, &[name, "--client", client])?;
        ensure!(said.contains(&format!("{name}.\t30\tIN\tA\t{address}\n")), "{client}: {said}");
        let of_place = said.lines().find(|line| line.contains("it is for clients in")).unwrap_or_default();
        ensure!(of_place.contains(place), "{client}: {said}");
    }
    let said = by_files(&node, &[WWW])?;
    ensure!(said.contains("`--client ADDRESS` says which is meant"), "{said}");
    node.write("places.csv", "nowhere\n")?;
    let (is_good, said) = node.check()?;
    ensure!(!is_good && said.contains("places.csv:1: "), "{said}");
    node.configure(WITH_RECORDS)?;
    let (is_good, said) = node.check()?;
    ensure!(
        !is_good && said.contains("the pool at _pool.www.example.com.: nothing says where clients are"),
        "{said}"
    );
    Ok(())
}
