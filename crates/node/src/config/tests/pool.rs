//! Pools in the configuration.

use super::super::*;
use super::{decoded, lines};
use ::pool::{AllDown, FailBack, Kind, Portion, Spec};
use hyper::header::HeaderName;

/// What nodes need to share what they see.
const SHARED: &str = r#"
[management]
listen = ["192.0.2.10:8053"]
[[key]]
name = "nodes.example"
secret = "c2VjcmV0"
[[peer]]
name = "fra1"
address = "192.0.2.20:8053"
[pool-sharing]
key = "nodes.example"
"#;

const SMALL: &str = r#"
[[pool]]
name = "web"
names = "WWW.example.com"
check = { kind = "tcp", port = 443 }
[[pool.endpoint]]
name = "a"
address = "192.0.2.1"
"#;

#[test]
fn a_pool_has_endpoints_and_a_check() {
    let config = decoded(
        r#"
[[pool]]
name = "web"
names = ["www.example.com", "example.com."]
kind = "failover"
ttl-s = 5
enough = 2
fail-back-ms = 1500
all-down = "fallback"
fallback = ["192.0.2.9", "2001:db8::9"]
panic-percent = 30
check = { kind = "http", port = 8080, host = "www", path = "/up?x=1", status = [200, 204], contains = "ok", header = ["X-Up: yes", "etag"], interval-ms = 250, jitter-percent = 9, timeout-ms = 100, rise = 3, fall = 4, source = "192.0.2.53" }
[[pool.endpoint]]
name = "a"
address = ["192.0.2.1", "2001:db8::1"]
[[pool.endpoint]]
name = "b"
address = "192.0.2.2"
tier = 2
"#,
    )
    .unwrap();
    let [pool] = &config.pools[..] else { panic!("one pool") };
    let names: Vec<String> = pool.names.iter().map(ToString::to_string).collect();
    assert_eq!((names, pool.ttl), (vec!["www.example.com.".to_owned(), "example.com.".to_owned()], 5));
    let fail_back = FailBack::After(Duration::from_millis(1500));
    let kind = Kind::Failover { enough: 2, fail_back };
    assert_eq!(pool.spec, Spec { kind, answers_max: None, all_down: AllDown::Fallback, panic_percent: 30 });
    assert_eq!(pool.fallback.len(), 2);
    let members =
        |side| pool.members(side).map(|(endpoint, _, it)| (endpoint.name.as_str(), it.tier)).collect();
    let (of_v4, of_v6): (Vec<_>, Vec<_>) = (members(Side::Ipv4), members(Side::Ipv6));
    assert_eq!((of_v4, of_v6), (vec![("a", 1), ("b", 2)], vec![("a", 1)]));
    let mut sources = Sources::default();
    sources.give(vec!["192.0.2.53".parse().unwrap()]);
    let check = PoolCheck {
        probe: Probe::Http(Box::new(HttpProbe {
            version: HttpVersion::One,
            method: Method::Get,
            host: Some("www".to_owned()),
            path: "/up?x=1".to_owned(),
            statuses: vec![200, 204],
            headers: vec![
                (HeaderName::from_static("x-up"), Some("yes".to_owned())),
                (HeaderName::from_static("etag"), None),
            ],
            contains: Some("ok".to_owned()),
            tls: None,
        })),
        port: 8080,
        sources,
        interval: Duration::from_millis(250),
        jitter_percent: 9,
        timeout: Duration::from_millis(100),
        rise: 3,
        fall: 4,
        load: None,
    };
    assert_eq!(pool.check, Some(check));
}

#[test]
fn little_has_to_be_said() {
    let config = decoded(SMALL).unwrap();
    let pool = &config.pools[0];
    assert_eq!((pool.names[0].to_string().as_str(), pool.ttl), ("www.example.com.", 30));
    let kind = Kind::Failover { enough: 1, fail_back: FailBack::After(Duration::from_secs(60)) };
    assert_eq!(pool.spec, Spec { kind, answers_max: None, all_down: AllDown::All, panic_percent: 0 });
    let check = pool.check.as_ref().unwrap();
    assert_eq!((check.rise, check.fall, &check.probe), (2, 2, &Probe::Tcp));
    assert_eq!(check.jitter_percent, 5);
}

fn probe(check: &str) -> Probe {
    let text = SMALL.replace("kind = \"tcp\", port = 443", check);
    decoded(&text).unwrap().pools[0].check.as_ref().unwrap().probe.clone()
}

#[test]
fn each_kind_says_what_is_good() {
    let Probe::Tls(tls) = probe("kind = \"tls\", port = 443, verify = false, valid-days = 14") else {
        panic!("TLS")
    };
    assert_eq!(tls.valid_days, Some(14));
    assert_eq!(tls.server_name("192.0.2.1".parse().unwrap()).to_str(), "192.0.2.1");
    let pins = format!("pins = [\"{}=\"]", "A".repeat(43));
    let https = format!(
        "kind = \"https\", port = 443, host = \"www.example:444\", http-version = \"2\", method = \"HEAD\", {pins}"
    );
    let https = probe(&https);
    assert_eq!(https.word(), "https");
    let Probe::Http(http) = https else { panic!("HTTP") };
    assert_eq!((http.version, http.method), (HttpVersion::Two, Method::Head));
    assert_eq!(http.tls.unwrap().server_name("192.0.2.1".parse().unwrap()).to_str(), "www.example");
    let dns = "kind = \"dns\", port = 53, name = \"Example.com\", type = \"mx\", answer = \"10 Mail.example.com.\", transport = \"tcp\", \
               rcode = \"noerror\", recursion = true, authoritative = true";
    let expected = DnsProbe {
        name: apex("example.com").unwrap(),
        rtype: wire::RecordType::MX,
        transport: DnsTransport::Tcp,
        recursion: true,
        rcode: wire::Rcode::NOERROR,
        authoritative: true,
        answer: Some(b"\x00\x0a\x04mail\x07example\x03com\x00".to_vec()),
    };
    assert_eq!(probe(dns), Probe::Dns(Box::new(expected)));
    assert_eq!(probe("kind = \"icmp\""), Probe::Icmp);
    let grpc = GrpcProbe { service: "web".to_owned(), host: None, tls: None };
    assert_eq!(probe("kind = \"grpc\", port = 50051, service = \"web\""), Probe::Grpc(Box::new(grpc)));
    let command = vec!["/bin/check".to_owned(), "{address}".to_owned()];
    assert_eq!(probe("kind = \"exec\", command = [\"/bin/check\", \"{address}\"]"), Probe::Exec(command));
    let Probe::File(file) = probe("kind = \"file\", file = \"states\", max-age-s = 60") else {
        panic!("a file")
    };
    assert_eq!(file.age_max, Some(Duration::from_secs(60)));
    assert_eq!(file.names, [("192.0.2.1".parse().unwrap(), "a".to_owned())]);
    assert!(file.path.ends_with("states"));
}

#[test]
fn what_a_kind_does_not_have_is_refused() {
    let dns = "kind = \"dns\", port = 53, name = \"example.com\"";
    for (check, said) in [
        ("kind = \"icmp\", port = 7", "`port` is for checks of kind tcp, tls, http, https, dns, grpc, exec"),
        ("kind = \"http\", port = 80, valid-days = 7", "`valid-days` is for checks of kind tls, https, grpc"),
        ("kind = \"http\", port = 80, method = \"HEAD\", contains = \"x\"", "an answer to HEAD has no body"),
        ("kind = \"http\", port = 80, header = \"a b: c\"", "`a b: c` is no field of a head"),
        ("kind = \"http\", port = 80, host = \"a b\"", "`host` can't be that"),
        ("kind = \"http\", port = 80, http-version = \"3\"", "`3` is no version of HTTP here"),
        ("kind = \"tls\", port = 443, ca-file = \"/nowhere\"", "/nowhere can't be read"),
        ("kind = \"tls\", port = 443, ca-file = \"x\", verify = false", "exclude each other"),
        ("kind = \"tls\", port = 443, pins = [\"AAAA\"]", "this is no pin"),
        ("kind = \"tls\", port = 443, valid-days = 399", "`valid-days` is out of range"),
        ("kind = \"grpc\", port = 443, verify = false", "`verify` is for checks over TLS"),
        ("kind = \"dns\", port = 53", "the check has no `name`"),
        (&format!("{dns}, type = \"ANY\""), "`ANY` is no type of records"),
        (&format!("{dns}, rcode = \"FINE\""), "`FINE` is no response code"),
        (&format!("{dns}, answer = \"2001:db8::1\""), "`2001:db8::1` is no data of a record of type A"),
        ("kind = \"exec\"", "the check has no `command`"),
        ("kind = \"exec\", command = [\"check\"]", "a command begins with the path of a program"),
        (
            "kind = \"exec\", command = \"/bin/true\", source = \"192.0.2.9\"",
            "`source` is for checks of kind",
        ),
        ("kind = \"file\"", "the check has no `file`"),
        ("kind = \"tcp\", port = 443, jitter-percent = 51", "`jitter-percent` is out of range"),
    ] {
        let text = SMALL.replace("kind = \"tcp\", port = 443", check);
        let (whole, rendered) = (lines(&text).join("\n"), rendered(&text));
        assert!(whole.contains(said) || rendered.contains(said), "{check}: {whole}");
    }
}

#[test]
fn what_cannot_be_is_refused_with_its_place() {
    for (what, instead, said) in [
        ("name = \"web\"", "name = \"we b\"", "\"we b\" is no name for this"),
        ("name = \"web\"", "", "[[pool]] has no `name`"),
        ("names = \"WWW.example.com\"", "", "[[pool]] has no `names`"),
        ("\"WWW.example.com\"", "[\"a..b\"]", "`a..b` is no name"),
        ("check = { kind = \"tcp\", port = 443 }", "", "[[pool]] has no `check`"),
        ("kind = \"tcp\"", "kind = \"ping\"", "`ping` is no kind of check"),
        (", port = 443", "", "the check has no `port`"),
        ("kind = \"tcp\", ", "", "the check has no `kind`"),
        (", port = 443", ", port = 0", "`port` is out of range"),
        (", port = 443", ", port = 443, path = \"/\"", "`path` is for checks of kind http, https"),
        (", port = 443", ", port = 443, fall = 0", "`fall` is out of range"),
        ("kind = \"tcp\", port = 443", "kind = \"http\", port = 80, path = \"up\"", "`path` can't be that"),
        ("kind = \"tcp\", port = 443", "kind = \"http\", port = 80, status = 20", "codes from 100 to 599"),
        ("\"192.0.2.1\"", "\"192.0.2\"", "`192.0.2` is no address of a host"),
        ("\"192.0.2.1\"", "[\"192.0.2.1\", \"192.0.2.1\"]", "192.0.2.1 is there twice"),
        ("address = \"192.0.2.1\"", "", "[[pool.endpoint]] has no `address`"),
        ("address = \"192.0.2.1\"", "address = \"192.0.2.1\"\ntier = 17", "`tier` is out of range"),
        ("check =", "kind = \"round-robin\"\nenough = 2\ncheck =", "`enough` is for failover pools"),
        ("check =", "kind = \"hash\"\nfail-back = \"by-hand\"\ncheck =", "`fail-back` is for failover pools"),
        ("check =", "answers = \"set\"\ncheck =", "`answers` is for weighted and least-load pools"),
        (
            "check =",
            "kind = \"weighted\"\nanswers = \"two\"\ncheck =",
            "`two` is no portion of the endpoints",
        ),
        ("check =", "answers-max = 0\ncheck =", "`answers-max` is out of range"),
        ("check =", "kind = \"hash\"\nanswers-max = 1\ncheck =", "for failover and round-robin pools"),
        ("check =", "kind = \"weighted\"\nanswers-max = 1\ncheck =", "for failover and round-robin pools"),
        (
            "address = \"192.0.2.1\"",
            "address = \"192.0.2.1\"\nweight = 2",
            "`weight` is for weighted and least-load pools",
        ),
        ("check =", "kind = \"fastest\"\ncheck =", "`fastest` is no kind of pool"),
        ("check =", "fail-back = \"by-hand\"\nfail-back-ms = 5\ncheck =", "one of them is too much"),
        ("check =", "all-down = \"fallback\"\ncheck =", "the pool has no `fallback`"),
        ("check =", "fallback = \"192.0.2.9\"\ncheck =", "nothing would ever use `fallback`"),
        ("check =", "panic-percent = 101\ncheck =", "`panic-percent` is out of range"),
        ("check =", "weight = 1\ncheck =", "unknown key `weight`"),
    ] {
        assert!(SMALL.contains(what), "{what}");
        let said_now = lines(&SMALL.replacen(what, instead, 1));
        // The place is in front; a label may be all that says it.
        let whole = said_now.join("\n");
        assert!(
            whole.contains(said) || rendered(&SMALL.replacen(what, instead, 1)).contains(said),
            "{instead}: {whole}"
        );
        assert!(said_now.iter().all(|line| line.starts_with("node.toml:")), "{whole}");
    }
}

#[test]
fn a_pool_says_what_each_answer_has() {
    let spec = |lines: &str, endpoint: &str| {
        let text = SMALL.replace("check =", &format!("{lines}\ncheck =")) + endpoint;
        let config = decoded(&text).unwrap();
        let pool = &config.pools[0];
        (
            pool.spec.kind,
            pool.spec.answers_max,
            pool.members(Side::Ipv4).map(|(.., it)| it.weight).collect::<Vec<_>>(),
        )
    };
    let weighted = |portion| Kind::Weighted { portion };
    assert_eq!(spec("kind = \"weighted\"", "weight = 65535"), (weighted(Portion::One), None, vec![65_535]));
    assert_eq!(spec("kind = \"weighted\"\nanswers = \"one\"", ""), (weighted(Portion::One), None, vec![1]));
    assert_eq!(spec("kind = \"weighted\"\nanswers = \"set\"", ""), (weighted(Portion::Set), None, vec![1]));
    assert_eq!(spec("kind = \"round-robin\"\nanswers-max = 4", "").1, Some(4));
    assert_eq!(spec("answers-max = 1", "").1, Some(1));
    assert_eq!(spec("kind = \"hash\"", "").0, Kind::Hash);
    let map = "places = [\"DE\", \"*\"]\n[places]\nfile = \"map.csv\"";
    assert_eq!(spec("kind = \"nearest\"", map).0, Kind::Nearest);
    let nothing = SMALL.replace("check =", "kind = \"weighted\"\ncheck =") + "weight = 0\n";
    assert!(lines(&nothing)[0].contains("has a weight over 0"), "{:?}", lines(&nothing));
    let too_heavy = SMALL.replace("check =", "kind = \"weighted\"\ncheck =") + "weight = 65536\n";
    assert!(lines(&too_heavy)[0].contains("`weight` is out of range"));
}

fn rendered(text: &str) -> String {
    decoded(text).unwrap_err().render(Style::Plain)
}

#[test]
fn nothing_is_there_twice() {
    let other = SMALL.replace("\"web\"", "\"mail\"");
    assert!(lines(&format!("{SMALL}{SMALL}"))[0].contains("the pool \"web\" is there twice"));
    assert!(lines(&format!("{SMALL}{other}"))[0].contains("www.example.com. would answer with two pools"));
    let endpoint = "[[pool.endpoint]]\nname = \"b\"\naddress = \"192.0.2.1\"\n";
    assert!(lines(&format!("{SMALL}{endpoint}"))[0].contains("or its address, is in the pool twice"));
    let tiers = SMALL.replace("check =", "kind = \"round-robin\"\ncheck =")
        + "[[pool.endpoint]]\nname = \"b\"\naddress = \"192.0.2.2\"\ntier = 2\n";
    assert!(lines(&tiers)[0].contains("only a failover pool has tiers"));
}

#[test]
fn a_look_never_comes_from_a_service_address() {
    let text = format!(
        "[anycast]\naddresses = [\"192.0.2.53\"]\nprefixes = [\"192.0.2.0/24\"]\n{}",
        SMALL.replace("port = 443", "port = 443, source = \"192.0.2.53\"")
    );
    assert!(lines(&text)[0].contains("192.0.2.53 is a service address"));
}

#[test]
fn nodes_share_what_they_see_with_their_peers() {
    let config =
        decoded(&format!("{SHARED}{}", SMALL.replace("check =", "view = \"quorum\"\ncheck ="))).unwrap();
    let sharing = config.sharing.unwrap();
    assert_eq!(sharing.key.name().to_string(), "nodes.example.");
    let times = [sharing.interval, sharing.timeout, sharing.fresh_for()];
    assert_eq!(times, [1000, 500, 3000].map(Duration::from_millis));
    assert_eq!((sharing.peers.len(), config.pools[0].view), (1, ::pool::View::Quorum));
    let said = "key = \"nodes.example\"\ninterval-ms = 200\ntimeout-ms = 200\nsilent-after = 5";
    let config = decoded(&SHARED.replace("key = \"nodes.example\"", said)).unwrap();
    assert_eq!(config.sharing.unwrap().fresh_for(), Duration::from_secs(1));
    let config = decoded(&SHARED.replace("[pool-sharing]", "[pool-sharing]\ninterval-ms = 100")).unwrap();
    assert_eq!(config.sharing.unwrap().timeout, Duration::from_millis(100), "no longer than an interval");
    assert_eq!(decoded(SMALL).unwrap().pools[0].view, ::pool::View::Local);
}

#[test]
fn a_view_of_others_needs_others() {
    let viewing = |view: &str| SMALL.replace("check =", &format!("view = \"{view}\"\ncheck ="));
    for view in ["quorum", "any-up"] {
        let said = lines(&viewing(view)).join("\n");
        assert!(said.contains("nodes don't share it; add [pool-sharing]"), "{said}");
        assert!(said.starts_with("node.toml:5:8: "), "{said}");
    }
    assert!(decoded(&viewing("local")).is_ok());
    assert!(lines(&viewing("mine")).join("\n").contains("`mine` is no view of endpoints"));
    for (what, instead, said) in [
        ("key = \"nodes.example\"", "", "[pool-sharing] has no `key`"),
        (
            "key = \"nodes.example\"",
            "key = \"other.example\"",
            "there is no key other.example.; add a [[key]]",
        ),
        (
            "[[peer]]\nname = \"fra1\"\naddress = \"192.0.2.20:8053\"\n",
            "",
            "there is no [[peer]] to share with",
        ),
        ("[management]\nlisten = [\"192.0.2.10:8053\"]\n", "", "peers can't ask this node"),
        ("[pool-sharing]", "[pool-sharing]\ninterval-ms = 99", "`interval-ms` is out of range"),
        ("[pool-sharing]", "[pool-sharing]\nsilent-after = 1", "`silent-after` is out of range"),
        ("[pool-sharing]", "[pool-sharing]\ntimeout-ms = 2000", "`timeout-ms` is at most `interval-ms`"),
        ("[pool-sharing]", "[pool-sharing]\nkeys = 1", "unknown key `keys`"),
    ] {
        assert!(SHARED.contains(what), "{what}");
        let said_now =
            lines(&format!("{}{}", SHARED.replacen(what, instead, 1), viewing("quorum"))).join("\n");
        assert!(said_now.contains(said), "{said}: {said_now}");
        assert!(!said_now.contains("nodes don't share it"), "one problem is enough: {said_now}");
    }
}

#[test]
fn more_than_can_be_told_is_refused() {
    let pool = |number: usize| {
        let addresses: Vec<String> = (0..250).map(|host| format!("\"10.0.{number}.{host}\"")).collect();
        SMALL
            .replace("www", &format!("w{number}"))
            .replace("WWW", &format!("w{number}"))
            .replace("\"web\"", &format!("\"web{number}\""))
            .replace("\"192.0.2.1\"", &format!("[{}]", addresses.join(",")))
    };
    let pools: String = (0..17).map(pool).collect();
    assert!(decoded(&pools).is_ok(), "only what is shared has such a bound");
    let said = lines(&format!("{SHARED}{pools}")).join("\n");
    assert!(
        said.contains("the pools check 4250 addresses, and nodes share results of 4096 at most"),
        "{said}"
    );
}

#[test]
fn a_check_is_the_same_on_all_nodes_that_ask_the_same() {
    let identity = |instead: &str| {
        let config = decoded(&SMALL.replace("kind = \"tcp\", port = 443", instead)).unwrap();
        config.pools[0].check.as_ref().unwrap().identity()
    };
    let tcp = identity("kind = \"tcp\", port = 443");
    let own = "interval-ms = 300, jitter-percent = 9, source = \"192.0.2.9\"";
    assert_eq!(tcp, identity(&format!("kind = \"tcp\", port = 443, {own}")));
    // It may change with no version: nodes of two versions would not go by each other.
    assert_eq!(tcp.to_string(), "9c8dd439e376061a3419ed00d3d9cf01");
    for other in [
        "kind = \"tcp\", port = 444",
        "kind = \"tcp\", port = 443, timeout-ms = 501",
        "kind = \"tcp\", port = 443, rise = 3",
        "kind = \"tcp\", port = 443, fall = 3",
        "kind = \"http\", port = 443",
    ] {
        assert_ne!(tcp, identity(other), "{other}");
    }
    let mut known = vec![tcp];
    for (kind, more) in [
        (
            "kind = \"http\", port = 80",
            &[
                "path = \"/x\"",
                "host = \"a\"",
                "status = 204",
                "contains = \"a\"",
                "method = \"HEAD\"",
                "http-version = \"2\"",
                "header = \"x-a\"",
                "header = \"x-a: 1\"",
            ][..],
        ),
        ("kind = \"tls\", port = 443, verify = false", &["server-name = \"a.example\"", "valid-days = 9"]),
        ("kind = \"https\", port = 443, verify = false", &["valid-days = 9"]),
        (
            "kind = \"dns\", port = 53, name = \"a.example\"",
            &[
                "type = \"AAAA\"",
                "transport = \"tcp\"",
                "recursion = true",
                "rcode = \"NXDOMAIN\"",
                "authoritative = true",
                "answer = \"192.0.2.1\"",
            ],
        ),
        ("kind = \"icmp\"", &["timeout-ms = 501"]),
        ("kind = \"grpc\", port = 50051", &["service = \"a\"", "host = \"a\"", "tls = true, verify = false"]),
        ("kind = \"file\", file = \"/run/states\"", &["max-age-s = 9"]),
        ("kind = \"file\", file = \"/run/other\"", &[]),
    ] {
        known.push(identity(kind));
        known.extend(more.iter().map(|more| identity(&format!("{kind}, {more}"))));
    }
    let count = known.len();
    known.sort_unstable();
    known.dedup();
    assert_eq!(known.len(), count, "each is another check");
}

/// Reads a pool from these records at `_pool.www.example.com`.
fn of_records(records: &[&str]) -> Result<PoolConfig, Vec<String>> {
    let (zone, owner) = (apex("example.com").unwrap(), apex("www.example.com").unwrap());
    let records: Vec<Vec<u8>> = records.iter().map(|record| record.as_bytes().to_vec()).collect();
    PoolReader::new().read(zone.as_name(), &owner, &records)
}

#[test]
fn records_say_a_pool_in_any_order() {
    let records = [
        "kind = 'weighted'",
        "check = { kind = 'tcp', port = 443 }",
        "endpoint = { name = 'a', address = '192.0.2.1', weight = 3 }",
        "endpoint={ name = 'b', address = ['192.0.2.2', '2001:db8::2'] }",
        "answers = 'set'",
    ];
    let pool = of_records(&records).unwrap();
    assert_eq!(pool.name, "www.example.com");
    assert_eq!(pool.names, [apex("www.example.com").unwrap()]);
    assert_eq!(pool.zone, Some(apex("example.com").unwrap()));
    assert_eq!(pool.spec.kind, Kind::Weighted { portion: Portion::Set });
    let weights: Vec<u16> = pool.endpoints.iter().map(|it| it.weight).collect();
    assert_eq!(weights, [3, 1]);
    let mut turned = records;
    turned.reverse();
    assert_eq!(of_records(&turned), Ok(pool.clone()));
    // A key of a table may be a record, and so may all endpoints.
    let others = [
        "kind = 'weighted'",
        "answers = 'set'",
        "check.port = 443",
        "check.kind = 'tcp'",
        "endpoint = [{ name = 'a', address = '192.0.2.1', weight = 3 }, { name = 'b', address = ['192.0.2.2', '2001:db8::2'] }]",
    ];
    assert_eq!(of_records(&others), Ok(pool));
}

#[test]
fn records_that_are_no_pool_say_why() {
    const CHECK: &str = "check = { kind = 'tcp', port = 443 }";
    const ENDPOINT: &str = "endpoint = { name = 'a', address = '192.0.2.1' }";
    for (records, said) in [
        (&[CHECK][..], "[[pool]] has no endpoint"),
        (&[ENDPOINT], "[[pool]] has no `check`"),
        (&[CHECK, ENDPOINT, "kind = 'hash'", "kind = 'failover'"], "duplicate key"),
        (&[CHECK, ENDPOINT, "name = 'web'"], "`name`"),
        (&[CHECK, ENDPOINT, "hello"], "this is not TOML"),
        (&[CHECK, ENDPOINT, "[check]"], "no key with its value"),
        (&[CHECK, ENDPOINT, "ttl-s = 1\nkind = 'hash'"], "no key with its value"),
        (&[ENDPOINT, "check = { kind = 'exec', command = ['/bin/true'] }"], "`command` is of a node"),
        (&[ENDPOINT, "check = { kind = 'file', file = '/etc/passwd' }"], "`file` is of a node"),
        (
            &[ENDPOINT, "check = { kind = 'tls', port = 1, ca-file = '/etc/passwd' }"],
            "`ca-file` is of a node",
        ),
        (&[ENDPOINT, "check = { kind = 'tcp', port = 1, source = '192.0.2.9' }"], "`source` is of a node"),
    ] {
        let errors = of_records(records).unwrap_err();
        assert!(errors.iter().any(|error| error.contains(said)), "{records:?}: {errors:?}");
    }
}

#[test]
fn an_endpoint_is_addresses_or_a_target_or_a_pool() {
    let config = decoded(
        r#"
[[pool]]
name = "eu"
check = { kind = "tcp", port = 443 }
[[pool.endpoint]]
name = "a"
address = ["192.0.2.1", "2001:db8::1"]
[[pool]]
name = "web"
names = "www.example.com"
[[pool.endpoint]]
pool = "eu"
tier = 2
[[pool]]
name = "cdn"
names = "cdn.example.com"
kind = "round-robin"
all-down = "fallback"
fallback = "sorry.example.net"
check = { kind = "tcp", port = 443 }
[[pool.endpoint]]
name = "one"
target = "One.example.net"
check-address = ["192.0.2.1", "2001:db8::1"]
[[pool.endpoint]]
name = "two"
target = "two.example.net."
"#,
    )
    .unwrap();
    let [eu, web, cdn] = &config.pools[..] else { panic!("three pools") };
    let reach = |pool: &PoolConfig| Side::ALL.map(|side| pool.reaches(side));
    assert_eq!(
        (reach(eu), reach(web), reach(cdn)),
        ([true, true, false], [true, true, false], [false, false, true])
    );
    assert!(eu.names.is_empty() && eu.check.is_some());
    // Nothing is looked at for what is looked at within.
    assert!(web.check.is_none() && web.checked().next().is_none());
    let place =
        web.members(Side::Ipv6).map(|(endpoint, place, it)| (endpoint.name.clone(), place, it.tier)).next();
    assert_eq!(place, Some(("eu".to_owned(), Place::Pool("eu"), 2)));
    assert_eq!(inside_out(&config.pools)[2], 1, "what stands around another comes after it");
    let targets: Vec<String> = cdn
        .members(Side::Target)
        .filter_map(|(_, place, _)| match place {
            Place::Itself(answer) => Some(answer.to_string()),
            Place::Pool(_) => None,
        })
        .collect();
    assert_eq!(targets, ["one.example.net.", "two.example.net."]);
    assert_eq!((cdn.checked().count(), cdn.fallback[0].to_string().as_str()), (2, "sorry.example.net."));
    assert_eq!(cdn.spec.answers_max, Some(1), "an alias leads to one name");
}

#[test]
fn an_answer_for_when_all_are_down_may_be_none() {
    for (word, all_down) in [("empty", AllDown::Empty), ("servfail", AllDown::Servfail)] {
        let text = SMALL.replace("check =", &format!("all-down = \"{word}\"\ncheck ="));
        assert_eq!(decoded(&text).unwrap().pools[0].spec.all_down, all_down);
    }
}
