//! Pools that answer with what is nearest, by lists of prefixes and by MaxMind DB files: clients at addresses of their own.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result, ensure};
use starling_tests::tools;

use crate::endpoint::{Endpoint, addresses};
use crate::mmdb;
use crate::node::{Node, SEEN_WITHIN, WWW, ZONE, http};
use crate::portions::answer_to;

/// Two countries of a continent, one of which has a network in the other's, and one of another continent.
pub(crate) const PLACES: &str = "# prefix,place\n127.130.0.0/16,DE,continent:EU\n127.130.7.0/24,FR,continent:EU\n\
                                 127.131.0.0/16,ZA,continent:AF\n127.132.0.0/16,JP,continent:AS\n\
                                 2001:db8::/32,DE,continent:EU\n2001:db8:1::/48,FR,continent:EU\n";
/// Clients: in Germany, in France, in South Africa, in Japan, nowhere.
const CLIENTS: [Ipv4Addr; 5] = [
    Ipv4Addr::new(127, 130, 1, 1),
    Ipv4Addr::new(127, 130, 7, 1),
    Ipv4Addr::new(127, 131, 1, 1),
    Ipv4Addr::new(127, 132, 1, 1),
    Ipv4Addr::new(127, 0, 0, 9),
];
/// Where the endpoints are for: a country, its continent, and the next one; another country; that continent; anywhere.
const FOR: [&str; 4] = ["\"DE\", \"continent:EU\", \"continent:AF\"", "\"FR\"", "\"continent:AF\"", ""];

/// A zone, a map and a pool whose endpoints are for these places.
pub(crate) fn lines(map: &str, port: u16, endpoints: &[(Ipv4Addr, &str)]) -> String {
    let mut text = format!(
        "[[zone]]\nname = \"example.com\"\nfile = \"example.com\"\n[places]\nfile = \"{map}\"\n[[pool]]\nname = \"web\"\n\
         names = [\"{WWW}\"]\nkind = \"nearest\"\n{}\n",
        http(port)
    );
    for (index, (address, places)) in endpoints.iter().enumerate() {
        text += &format!(
            "[[pool.endpoint]]\nname = \"e{index}\"\naddress = \"{address}\"\nplaces = [{places}]\n"
        );
    }
    text
}

/// The endpoints of the tests here.
pub(crate) fn endpoints(addresses: [Ipv4Addr; 4]) -> [(Ipv4Addr, &'static str); 4] {
    std::array::from_fn(|index| (addresses[index], FOR[index]))
}

/// Waits until each of the clients is answered with these.
fn are_told(node: &Node, wanted: [&[Ipv4Addr]; 5]) -> Result<()> {
    let answers = || CLIENTS.iter().map(|client| answer_to(node, *client)).collect::<Result<Vec<_>>>();
    let what = || format!("wanted {wanted:?}, found {:?}\n{}", answers(), node.log());
    tools::poll("clients are told", SEEN_WITHIN, || {
        let answers = answers()?;
        Ok(answers.iter().zip(wanted).all(|(found, wanted)| found == wanted).then_some(()))
    })
    .with_context(what)
}

#[test]
fn clients_get_the_nearest_that_is_good() -> Result<()> {
    let (at, port) = addresses::<4>()?;
    let [fra, par, jnb, any] = at;
    let mut running = Vec::new();
    for address in at {
        running.push(Some(Endpoint::start(address, port)?));
    }
    let mut node = Node::new("")?;
    node.write("places.csv", PLACES)?;
    node.configure(&lines("places.csv", port, &endpoints(at)))?;
    node.start()?;
    // Before anything is known all are allowed, and clients are told the same.
    for address in at {
        node.finds("web", address, "up")?;
    }
    are_told(&node, [&[fra], &[par], &[jnb], &[any], &[any]])?;
    let status = node.does(&["pool", "status", "web"])?;
    for said in [
        "web  nearest, the nearest,".to_owned(),
        format!("  IPv4  {fra} for DE\n"),
        format!("  IPv4  {par} for FR\n"),
        format!("  IPv4  {jnb} for continent:AF\n"),
        format!("  IPv4  {any} for elsewhere\n"),
    ] {
        ensure!(status.contains(&said), "{said}: {status}");
    }
    ensure!(node.log().contains("ranges of IPv4"), "{}", node.log());
    // France falls back to the continent, and Africa to whoever names it later.
    running[1] = None;
    running[2] = None;
    are_told(&node, [&[fra], &[fra], &[fra], &[any], &[any]])?;
    // Nothing that is named is good: what is for anywhere.
    running[0] = None;
    are_told(&node, [&[any], &[any], &[any], &[any], &[any]])?;
    // Nothing is for anywhere: what there is.
    running[3] = None;
    running[1] = Some(Endpoint::start(par, port)?);
    are_told(&node, [&[par]; 5])?;
    // Nothing is good, and all are allowed: the nearest of them.
    running[1] = None;
    are_told(&node, [&[fra], &[par], &[jnb], &[any], &[any]])
}

#[test]
fn another_map_comes_with_a_reload_and_one_that_is_wrong_does_not() -> Result<()> {
    let (at, port) = addresses::<4>()?;
    let [fra, par, jnb, any] = at;
    let _all = at.map(|address| Endpoint::start(address, port));
    let mut node = Node::new("")?;
    node.write("places.csv", PLACES)?;
    node.configure(&lines("places.csv", port, &endpoints(at)))?;
    node.start()?;
    let before = [&[fra][..], &[par], &[jnb], &[any], &[any]];
    are_told(&node, before)?;
    node.write("places.csv", &format!("{PLACES}127.130.0.1/16,DE\n"))?;
    let output = node.ctl(&["reload"])?;
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    ensure!(
        !output.status.success() && said.contains("places.csv:8: 127.130.0.1/16: it is no network"),
        "{said}"
    );
    are_told(&node, before)?;
    // Endpoints for the same addresses, of a database. What it says of a part of a country counts before the country.
    let ip = |text: &str| text.parse::<IpAddr>();
    let networks = [
        (ip("127.130.0.0")?, 16, ("ZA", "", "AF")),
        (ip("127.131.0.0")?, 17, ("DE", "", "EU")),
        (ip("127.132.0.0")?, 16, ("US", "CA", "NA")),
        (ip("2001:db8::")?, 32, ("FR", "", "EU")),
    ];
    std::fs::write(node.path("map.mmdb"), mmdb::database(&networks))?;
    let places = [FOR[0], "\"US-CA\"", FOR[2], "\"US\", \"*\""];
    let endpoints: [_; 4] = std::array::from_fn(|index| (at[index], places[index]));
    node.configure(&lines("map.mmdb", port, &endpoints))?;
    node.does(&["reload"])?;
    are_told(&node, [&[jnb], &[jnb], &[fra], &[par], &[any]])
}

#[test]
fn a_check_of_the_configuration_finds_maps_and_places_that_cannot_be() -> Result<()> {
    let ip = |text: &str| text.parse::<IpAddr>();
    let good = mmdb::database(&[(ip("10.0.0.0")?, 8, ("DE", "", "EU"))]);
    let nothing = mmdb::database(&[(ip("10.0.0.0")?, 8, ("", "", ""))]);
    let endpoint: Ipv4Addr = "192.0.2.7".parse()?;
    let of = |map, places| lines(map, 80, &[(endpoint, places)]);
    for (lines, said) in [
        (of("places.csv", "\"New York\""), "`New York` is no place"),
        (of("places.csv", "\"DE\", \"DE\""), "`DE` is there twice"),
        (of("wrong.csv", "\"DE\""), "wrong.csv:2: `10.0.0.0` is no network"),
        (of("none.csv", "\"DE\""), "none.csv can't be read"),
        (of("cut.mmdb", "\"DE\""), "cut.mmdb is no MaxMind DB that can be used"),
        (of("nothing.mmdb", "\"DE\""), "it knows no countries and no continents"),
        (
            of("places.csv", "\"DE\"").replace("[places]\nfile = \"places.csv\"\n", ""),
            "nothing says where clients are",
        ),
        (of("places.csv", "\"DE\"").replace("nearest", "hash"), "`places` is for nearest pools"),
        (
            of("places.csv", "\"DE\"").replace("kind = \"nearest\"", "kind = \"nearest\"\nanswers-max = 1"),
            "`answers-max` is for",
        ),
    ] {
        let node = Node::new("")?;
        node.write("places.csv", PLACES)?;
        node.write("wrong.csv", "10.0.0.0/8,DE\n10.0.0.0,DE\n")?;
        std::fs::write(node.path("cut.mmdb"), &good[..good.len() / 2])?;
        std::fs::write(node.path("nothing.mmdb"), &nothing)?;
        node.configure(&lines)?;
        node.refuses(said)?;
    }
    let node = Node::new("")?;
    node.write("places.csv", PLACES)?;
    node.configure(&of("places.csv", "\"GB\""))?;
    let (is_good, text) = node.check()?;
    ensure!(is_good && text.contains("no network of the map is in the place GB"), "{text}");
    Ok(())
}

/// A zone that is transferred says what is nearest; the map is the node's own, and is read again where the zone names other places.
#[test]
fn a_zone_brings_what_is_nearest() -> Result<()> {
    let (at, port) = addresses::<4>()?;
    let [fra, par, jnb, any] = at;
    let mut running = Vec::new();
    for address in at {
        running.push(Endpoint::start(address, port)?);
    }
    let zone = |serial: u32, endpoints: &[(Ipv4Addr, &str)]| {
        let mut text = ZONE.replace("hostmaster 1", &format!("hostmaster {serial}"));
        text += &format!(
            "_pool.www TXT \"kind = 'nearest'\"\n_pool.www TXT \"check = {{ kind = 'http', port = {port}, interval-ms = 50, rise \
             = 1 }}\"\n"
        );
        for (address, places) in endpoints {
            text += &format!(
                "_pool.www TXT \"endpoint = {{ name = '{address}', address = '{address}', places = [{places}] }}\"\n"
            );
        }
        text
    };
    let mut primary = Node::new("")?;
    primary.write("example.com", &zone(1, &[(fra, "'DE'"), (any, "'*'")]))?;
    primary.start()?;
    let mut node = Node::new("")?;
    node.write("places.csv", PLACES)?;
    let copy = format!(
        "[[zone]]\nname = \"example.com\"\nprimaries = [\"{}\"]\npool-records = true\n",
        primary.address
    );
    let with_map = format!("{copy}[places]\nfile = \"places.csv\"\n");
    node.configure(&copy)?;
    node.start()?;
    let says = |node: &Node, wanted: &str| {
        tools::poll(wanted, SEEN_WITHIN, || Ok(node.does(&["pools"])?.contains(wanted).then_some(())))
            .with_context(|| node.log())
    };
    says(&node, "nothing says where clients are, and so what is nearest: add [places]")?;
    node.configure(&with_map)?;
    node.does(&["reload"])?;
    are_told(&node, [&[fra], &[any], &[any], &[any], &[any]])?;

    let bring = |serial: u32, endpoints: &[(Ipv4Addr, &str)]| {
        primary.write("example.com", &zone(serial, endpoints))?;
        primary.does(&["reload"])?;
        node.does(&["refresh", "example.com"]).map(drop)
    };
    let more = [(fra, "'DE', 'continent:EU'"), (jnb, "'ZA'"), (any, "'*'")];
    bring(2, &more)?;
    are_told(&node, [&[fra], &[fra], &[jnb], &[any], &[any]])?;
    // The map can't be read when other places are named: what was good stays.
    node.write("places.csv", "DE\n")?;
    let most = [(fra, "'DE'"), (par, "'FR'"), (jnb, "'ZA'"), (any, "'*'")];
    bring(3, &most)?;
    says(&node, "places.csv:1: ")?;
    are_told(&node, [&[fra], &[fra], &[jnb], &[any], &[any]])?;
    node.write("places.csv", PLACES)?;
    node.does(&["reload"])?;
    are_told(&node, [&[fra], &[par], &[jnb], &[any], &[any]])?;
    // Another file alone, and a pool of the configuration that names other places.
    node.write("places.csv", &PLACES.replace("127.132.0.0/16,JP,continent:AS", "127.132.0.0/16,ZA"))?;
    node.does(&["reload"])?;
    are_told(&node, [&[fra], &[par], &[jnb], &[jnb], &[any]])?;
    node.configure(&format!(
        "{with_map}[[pool]]\nname = \"mail\"\nnames = [\"mail.example.com\"]\nkind = \"nearest\"\n{}\n[[pool.endpoint]]\nname = \
         \"e\"\naddress = \"{fra}\"\nplaces = [\"continent:AF\"]\n",
        http(port)
    ))?;
    node.does(&["reload"])?;
    node.answers("mail.example.com", &[fra])?;
    are_told(&node, [&[fra], &[par], &[jnb], &[jnb], &[any]])?;
    bring(4, &more)?;
    are_told(&node, [&[fra], &[fra], &[jnb], &[jnb], &[any]])?;
    // As the last run knew it, once it is started again.
    node.end()?;
    node.start()?;
    are_told(&node, [&[fra], &[fra], &[jnb], &[jnb], &[any]])
}
