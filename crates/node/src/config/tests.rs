mod catalog;
mod load;
mod pool;
mod publish;
mod rate_limit;
mod signing;

use super::*;
use health::{Action, Gravity};
use std::os::unix::fs::PermissionsExt;

fn decoded(text: &str) -> Result<Config, ConfigError> {
    decode_in(Path::new("/etc/starling"), text)
}

fn decode_in(folder: &Path, text: &str) -> Result<Config, ConfigError> {
    let mut problems = Vec::new();
    let config = decode::decode(text, folder, &mut problems);
    if problems.is_empty() {
        return Ok(config);
    }
    Err(ConfigError::Invalid { path: Some(PathBuf::from("node.toml")), text: text.to_owned(), problems })
}

fn lines(text: &str) -> Vec<String> {
    decoded(text).unwrap_err().lines()
}

#[test]
fn the_whole_shape() {
    let config = decoded(
        r#"
[node]
name = "ams1"                                   # NSID and id.server
listen = ["192.0.2.53:53", "[2001:db8::53]:53"]
workers = 2
steering = "cpu"
receive-buffer-bytes = 1048576
send-buffer-bytes = 524288
state-dir = "/var/lib/starling"
control = "run/control"
version = "hide"
udp-payload-max = 1400
tcp = { connections-max = 5, connections-per-client-max = 2, idle-timeout-ms = 1500, transfer-timeout-ms = 9, workers = 3 }

[[zone]]
name = "Example.COM"
file = "zones/example.com.zone"

[[zone]]
name = "."
file = "/srv/root.zone"
rotate = false
critical = true

[management]
listen = ["192.0.2.10:8053", "[::1]:0"]

[[peer]]
name = "fra1"
address = "192.0.2.20:8053"

[[interface]]
name = "eth0"
packet-path = "xdp"
reply = "route"
mode = "generic"
"#,
    )
    .unwrap();
    let node = NodeConfig {
        name: Some("ams1".to_owned()),
        listen: vec!["192.0.2.53:53".parse().unwrap(), "[2001:db8::53]:53".parse().unwrap()],
        management: vec!["192.0.2.10:8053".parse().unwrap(), "[::1]:0".parse().unwrap()],
        sources: Sources::of_management(&["192.0.2.10:8053".parse().unwrap()], &[]),
        client_subnet: false,
        workers: NonZeroUsize::new(2),
        steering: Steering::Cpu,
        receive_buffer_bytes: 1_048_576,
        send_buffer_bytes: 524_288,
        state_dir: Some(PathBuf::from("/var/lib/starling")),
        control: ControlSocket::At(PathBuf::from("/etc/starling/run/control")),
        version: None,
        udp_payload_max: 1400,
        tcp: TcpConfig {
            workers: NonZeroUsize::new(3).unwrap(),
            connections_max: 5,
            connections_per_client_max: 2,
            idle_timeout: Duration::from_millis(1500),
            transfer_timeout: Duration::from_millis(9),
        },
        tls: None,
        interfaces: vec![InterfaceConfig {
            name: "eth0".to_owned(),
            packet_path: PacketPath::Xdp,
            reply: Reply::Route,
            mode: Some(Mode::Generic),
            kernel_answers: false,
        }],
    };
    assert_eq!(config.node, node);
    let zone = |name: &str, file: &str, rotation| ZoneConfig {
        critical: rotation == Rotation::Off,
        ..ZoneConfig::of_file(apex(name).unwrap(), PathBuf::from(file), rotation)
    };
    let zones = [
        zone("example.com.", "/etc/starling/zones/example.com.zone", Rotation::On),
        zone(".", "/srv/root.zone", Rotation::Off),
    ];
    assert_eq!(config.zones, zones);
    let peer = PeerConfig { name: "fra1".to_owned(), address: "192.0.2.20:8053".parse().unwrap() };
    assert_eq!(config.peers, [peer]);
}

#[test]
fn an_empty_file_is_all_defaults() {
    assert_eq!(decoded("").unwrap(), Config::default());
}

#[test]
fn the_text_is_shown_with_the_place_and_what_to_do() {
    let error = decoded("[node]\nlisten = [\"192.0.2.53\"]\n").unwrap_err();
    let expected = "\
error: `192.0.2.53` is not an address with a port
 --> node.toml:2:11
  |
2 | listen = [\"192.0.2.53\"]
  |           ^^^^^^^^^^^^ this address
  |
  = help: write IPv4 as \"192.0.2.53:53\" and IPv6 as \"[2001:db8::53]:53\"; names are not looked up";
    assert_eq!(error.render(Style::Plain), expected);
}

#[test]
fn all_problems_are_reported_in_the_order_of_the_file() {
    let text = "\
[node]
worker = 2
udp-payload-max = 100
listen = \"127.0.0.1:53\"
[[zone]]
name = \"a..b\"
[[zone]]
name = \"x\"
file = \"x\"
rotate = 1
[[zone]]
name = \"X.\"
file = \"y\"
[nodes]
";
    let expected = [
        "node.toml:2:1: unknown key `worker`; did you mean `workers`?",
        "node.toml:3:19: `udp-payload-max` is out of range; give a number from 512 to 4096",
        "node.toml:4:10: listen must be a list of addresses; write `listen = [\"192.0.2.53:53\", \"[2001:db8::53]:53\"]`",
        "node.toml:5:1: [[zone]] has neither `file` nor `primaries`; add `file = \"zones/example.com.zone\"`, or \
         `primaries = [\"192.0.2.1:53\"]` for a secondary, or `published = true` for tables that are compiled elsewhere",
        "node.toml:6:8: `a..b` is not a domain name: the name has an empty label; write the zone's name as in a \
         master file, with or without the final dot",
        "node.toml:10:10: rotate must be true or false; write `rotate = false`",
        "node.toml:12:8: the zone x. is configured twice; remove one of the two [[zone]] sections",
        "node.toml:14:2: unknown key `nodes`; did you mean `node`?",
    ];
    assert_eq!(lines(text), expected);
}

#[test]
fn management_addresses_and_peers_are_checked_against_each_other() {
    let text = "\
[node]
listen = [\"192.0.2.53:53\"]
[management]
listen = [\"192.0.2.10:8053\", \"192.0.2.53:53\"]
[[peer]]
name = \"a\"
address = \"192.0.2.10:8053\"
[[peer]]
name = \"b\"
address = \"fra1.example:8053\"
[[peer]]
name = \"c\"
address = \"192.0.2.20:8053\"
[[peer]]
name = \"c\"
address = \"192.0.2.21:8053\"
[[peer]]
name = \"d\"
address = \"192.0.2.20:8053\"
[[peer]]
address = \"0.0.0.0:8053\"
name = \"\"
";
    let expected = [
        "node.toml:4:30: 192.0.2.53:53 is a service address, where TCP queries are taken; ",
        "node.toml:7:11: 192.0.2.10:8053 is this node itself; ",
        "node.toml:10:11: `fra1.example:8053` is not the management address of a node; ",
        "node.toml:15:8: the peer c is configured twice; ",
        "node.toml:18:8: two peers have the address 192.0.2.20:8053; ",
        "node.toml:21:11: `0.0.0.0:8053` is not the management address of a node; ",
        "node.toml:22:8: the peer's name has 0 octets; ",
    ];
    let lines = lines(text);
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{line}");
    }
}

#[test]
fn a_management_section_says_where_it_listens() {
    assert!(lines("[management]\n")[0].starts_with("node.toml:1:1: [management] has no `listen`; add "));
    let text = format!("[management]\nlisten = [{}]\n", "\"127.0.0.1:0\",".repeat(MANAGEMENT_MAX + 1));
    assert!(lines(&text)[0].contains("17 addresses are more than the 16 there may be"));
}

#[test]
fn what_is_not_toml_is_said_with_its_place() {
    let lines = lines("[node]\nname = ams1\nworkers = 0\n");
    assert!(lines[0].starts_with("node.toml:2:8: this is not TOML: "), "{lines:?}");
    assert!(
        lines.iter().any(|line| line.starts_with("node.toml:3:11: `workers` is out of range")),
        "{lines:?}"
    );
}

#[test]
fn unknown_keys_far_from_any_known_one_list_what_there_is() {
    let lines = lines("[node]\ntcp = { backlog = 3 }\n");
    assert_eq!(
        lines,
        ["node.toml:2:9: unknown key `backlog`; node.tcp may have `workers`, `connections-max`, \
             `connections-per-client-max`, `idle-timeout-ms`, `transfer-timeout-ms`"]
    );
}

#[test]
fn serving_needs_an_address_and_a_zone() {
    let error = load(None, &NodeArguments::default(), &[], Purpose::Serve).unwrap_err();
    let lines = error.lines();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].contains("--listen 127.0.0.1:5300"), "{lines:?}");
    assert!(lines[1].contains("--zone example.com="), "{lines:?}");
    assert!(load(None, &NodeArguments::default(), &[], Purpose::Check).is_ok());
}

#[test]
fn a_zone_given_twice_on_the_command_line_is_a_problem() {
    let zones: Vec<ZoneArgument> = ["a=1", "A.=2"].map(|text| text.parse().unwrap()).into();
    let error = load(None, &NodeArguments::default(), &zones, Purpose::Check).unwrap_err();
    assert!(error.lines()[0].starts_with("the zone a. is given twice"), "{error}");
}

#[test]
fn a_missing_file_is_named() {
    let path = Path::new("/nonexistent/node.toml");
    let error = load(Some(path), &NodeArguments::default(), &[], Purpose::Check).unwrap_err();
    assert!(error.render(Style::Plain).contains("/nonexistent/node.toml"), "{error}");
}

const ROUTE: &str = r#"
[node]
listen = ["203.0.113.53:53", "[2001:db8:53::53]:53"]
[anycast]
addresses = ["203.0.113.53", "2001:db8:53::53"]
prefixes = ["203.0.113.0/24", "2001:db8:53::/48"]
"#;

#[test]
fn a_route_has_defaults() {
    let config = decoded(ROUTE).unwrap();
    let anycast = config.anycast.unwrap();
    assert_eq!((anycast.plan.interface(), anycast.plan.table()), ("starling0", 5353));
    assert_eq!(anycast.plan.prefixes().len(), 2);
    assert_eq!((anycast.driver, anycast.bird), (Driver::Learn, None));
    assert_eq!((anycast.stable, anycast.freeze), (Duration::from_secs(10), Duration::from_millis(700)));
    assert_eq!((anycast.transitions_per_hour_max, anycast.peers_min), (20, 1));
}

#[test]
fn a_route_with_everything() {
    let text = format!(
        r#"{ROUTE}
interface = "any0"
table = 99
driver = "protocols"
stable-ms = 1000
drain-ms = 0
grace-ms = 2000
freeze-ms = 900
probe-ms = 100
hold-down-ms = 3000
hold-down-max-ms = 4000
transitions-per-hour-max = 8
peers-min = 2
[anycast.bird]
socket = "bird.ctl"
protocols = ["up4"]
no-delay = false
up = ["any4"]
degraded = ["any4d"]
draining = ["any4g"]
[[check]]
name = "battery"
exec = ["/bin/battery", "--ok"]
interval-ms = 5000
timeout-ms = 2000
rise = 2
fall = 3
action = "degrade"
gravity = "hard"
[[check]]
name = "drops"
max-percent = 10
action = "degrade"
[[check]]
name = "disk"
min-mib = 100
[[check]]
name = "serials"
max-behind-ms = 90000
"#
    );
    let config = decoded(&text).unwrap();
    let anycast = config.anycast.unwrap();
    assert_eq!(
        (anycast.plan.interface(), anycast.plan.table(), anycast.driver),
        ("any0", 99, Driver::Protocols)
    );
    let bird = anycast.bird.unwrap();
    assert_eq!(bird.socket, PathBuf::from("/etc/starling/bird.ctl"));
    assert_eq!((bird.protocols[0].as_str(), bird.draining[0].as_str()), ("up4", "any4g"));
    assert!(!bird.no_delay);
    let [battery, drops, disk, serials] = &config.checks[..] else { panic!("{:?}", config.checks) };
    assert_eq!(battery.exec.as_deref(), Some(&["/bin/battery".to_owned(), "--ok".to_owned()][..]));
    assert_eq!((battery.action, battery.gravity), (Some(Action::Degrade), Some(Gravity::Hard)));
    assert_eq!(serials.max_behind, Some(Duration::from_secs(90)));
    assert_eq!((battery.rise, battery.fall), (Some(2), Some(3)));
    assert_eq!((drops.max_percent, drops.action, disk.min_mib), (Some(10), Some(Action::Degrade), Some(100)));
}

#[test]
fn what_a_route_can_not_be() {
    let wrong = |text: &str, lines: &[&str]| {
        let errors = decoded(text).unwrap_err().lines();
        assert_eq!(errors.len(), lines.len(), "{text}\n{errors:#?}");
        for (error, line) in errors.iter().zip(lines) {
            assert!(error.contains(line), "{error}\nhas no {line}");
        }
    };
    wrong("[anycast]\n", &["no `addresses`", "no `prefixes`"]);
    wrong(
        "[anycast]\naddresses = [\"203.0.113.53:53\", 5]\nprefixes = [\"203.0.113.0\"]\n",
        &["node.toml:2:14", "node.toml:2:33", "node.toml:3:13"],
    );
    wrong(&ROUTE.replace("203.0.113.0/24", "198.51.100.0/24"), &["203.0.113.53"]);
    wrong(&format!("{ROUTE}driver = \"magic\"\n"), &["`magic` is no driver"]);
    wrong(&format!("{ROUTE}driver = \"protocols\"\n"), &["no protocols to enable"]);
    wrong(&format!("{ROUTE}hold-down-ms = 5000\nhold-down-max-ms = 10\n"), &["`hold-down-max-ms`"]);
    wrong(&format!("{ROUTE}freeze-ms = 100\n"), &["`freeze-ms` is out of range"]);
    wrong(&format!("{ROUTE}transitions-per-hour-max = 2\n"), &["`transitions-per-hour-max` is out of range"]);
    wrong(&format!("{ROUTE}peers-min = 0\n"), &["`peers-min` is out of range"]);
    wrong(&format!("{ROUTE}[anycast.bird]\nprotocols = [\"a b\"]\n"), &["node.toml:8:14"]);
    wrong(&format!("{ROUTE}[anycast.bird]\nno-delay = 1\n"), &["node.toml:8:12"]);
}

#[test]
fn what_a_check_can_not_be() {
    let wrong = |text: &str, what: &str| {
        let errors = lines(text);
        assert!(errors.len() == 1 && errors[0].contains(what), "{text}\n{errors:#?}");
    };
    wrong("[[check]]\nname = \"mine\"\n", "has no `exec`");
    wrong("[[check]]\nname = \"disk\"\nexec = [\"/bin/df\"]\n", "is built in and runs no command");
    wrong("[[check]]\nname = \"mine\"\nexec = []\n", "has 0 entries");
    wrong("[[check]]\nname = \"mine\"\nexec = [\"/a\"]\nmin-mib = 5\n", "`min-mib` means nothing");
    wrong("[[check]]\nname = \"drops\"\nmax-behind-ms = 5\n", "`max-behind-ms` means nothing");
    wrong("[[check]]\nname = \"serials\"\nmax-behind-ms = -1\n", "`max-behind-ms` is out of range");
    wrong("[[check]]\nname = \"mine\"\nexec = [\"/a\"]\naction = \"panic\"\n", "`panic` is no action");
    wrong("[[check]]\nname = \"mine\"\nexec = [\"/a\"]\nshared = true\n", "all nodes share");
    wrong("[[check]]\nname = \"my check\"\nexec = [\"/a\"]\n", "a name is a word");
    wrong("[[check]]\nname = \"mine\"\nexec = [\"/a\"]\ninterval-ms = 1\n", "the interval has to be between");
    wrong("[[check]]\nname = \"mine\"\nexec = [\"/a\"]\nfall = 500\n", "rise and fall");
    wrong("[[check]]\nname = \"disk\"\n[[check]]\nname = \"disk\"\n", "is there twice");
    let shared = "[[check]]\nname = \"primary\"\nexec = [\"/a\"]\nshared = true\naction = \"report\"\n";
    assert!(decoded(shared).unwrap().checks[0].shared);
}

/// What is wrong with this and a zone for a node that holds a route.
fn problems_of(purpose: Purpose, text: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("node.toml");
    let zone = "[[zone]]\nname = \"a.example\"\nfile = \"a.zone\"\n";
    std::fs::write(&file, format!("{text}{zone}")).unwrap();
    match load(Some(&file), &NodeArguments::default(), &[], purpose) {
        Ok(_) => Vec::new(),
        Err(error) => error.lines(),
    }
}

fn problems_of_a_run(text: &str) -> Vec<String> {
    problems_of(Purpose::Run, text)
}

#[test]
fn a_route_needs_somebody_who_listens_and_a_management_address_beside_it() {
    let problems = problems_of_a_run;
    let management = |address: &str| format!("{ROUTE}[management]\nlisten = [\"{address}\"]\n");
    assert!(problems(&management("192.0.2.10:8053")).is_empty());
    let errors = problems(&management("[2001:db8:53::53]:8053"));
    assert!(errors.len() == 1 && errors[0].contains("is on a service address"), "{errors:?}");
    let errors = problems(&ROUTE.replace("\"203.0.113.53:53\", ", ""));
    assert!(errors.len() == 1 && errors[0].contains("nothing listens on"), "{errors:?}");
    assert!(problems("[node]\nlisten = [\"127.0.0.1:53\"]\n")[0].contains("no route to hold"));
}

/// Others that are asked, all over one family; and with each what is said where nothing tells from where.
fn asking(at: &str) -> [(String, &'static str); 5] {
    let address = SocketAddr::new(at.parse().unwrap(), 53);
    let catalog = "[[zone]]\nname = \"d\"\nprimaries = [\"127.0.0.1:53\"]\ncatalog = true\ncatalog-template = \"t\"\n\
                   [[template]]\nname = \"t\"\n";
    [
        (
            format!("[[zone]]\nname = \"b\"\nprimaries = [\"{address}\"]\n"),
            "nothing says from where the primaries of b. are asked",
        ),
        (
            format!("{catalog}primaries = [\"{address}\"]\n"),
            "nothing says from where the primaries of the template \"t\" are asked",
        ),
        (
            format!("[[zone]]\nname = \"c\"\nfile = \"c\"\nnotify = [\"{address}\"]\n"),
            "nothing says from where NOTIFY goes out",
        ),
        (
            format!("{catalog}primaries = [\"127.0.0.1:53\"]\nnotify = [\"{address}\"]\n"),
            "nothing says from where NOTIFY goes out",
        ),
        (
            format!(
                "[[pool]]\nname = \"p\"\nkind = \"failover\"\nnames = [\"p.example.com\"]\n\
                 check = {{ kind = \"tcp\", port = 1 }}\n[[pool.endpoint]]\nname = \"one\"\naddress = \"{at}\"\n"
            ),
            "nothing says from where the endpoints of the pool \"p\" are checked",
        ),
    ]
}

#[test]
fn what_is_asked_of_others_leaves_from_no_service_address() {
    // Of an agent, and of its server, which reads the file again when it is told to.
    let problems = |text: &str| {
        // Without the folder, which is another.
        let [of_server, of_agent] = [Purpose::Serve, Purpose::Run].map(|purpose| {
            let lines = problems_of(purpose, text).into_iter();
            lines.map(|line| line.rsplit('/').next().map(str::to_owned).unwrap_or(line)).collect::<Vec<_>>()
        });
        assert_eq!(of_server, of_agent);
        of_server
    };
    let managed = "[management]\nlisten = [\"127.0.0.1:8053\", \"192.0.2.10:8053\"]\n";
    for (text, what) in asking("192.0.2.9") {
        let errors = problems(&format!("{ROUTE}{text}"));
        assert!(
            errors.len() == 1 && errors[0].contains(what) && errors[0].contains("over IPv4"),
            "{errors:?}"
        );
        assert_eq!(problems(&format!("{ROUTE}{managed}{text}")), [""; 0]);
    }
    for (text, what) in asking("2001:db8::9") {
        let errors = problems(&format!("{ROUTE}{managed}{text}"));
        assert!(
            errors.len() == 1 && errors[0].contains(what) && errors[0].contains("over IPv6"),
            "{errors:?}"
        );
        assert_eq!(
            problems(&format!("{ROUTE}{}{text}", managed.replace("192.0.2.10", "[2001:db8::1]"))),
            [""; 0]
        );
    }
    // `run` refuses it outright; `serve` has no route to hold, and the address may be announced all the same.
    let on_service = "[management]\nlisten = [\"203.0.113.53:8053\"]\n";
    for (text, what) in asking("192.0.2.9") {
        let errors = problems_of(Purpose::Serve, &format!("{ROUTE}{on_service}{text}"));
        assert!(errors.len() == 1 && errors[0].contains(what), "{errors:?}");
    }
    // What is on this machine is reached from anywhere on it.
    for (text, _) in asking("127.0.0.1") {
        assert_eq!(problems(&format!("{ROUTE}{text}")), [""; 0]);
    }
}

#[test]
fn questions_leave_from_where_is_said_or_else_from_the_management() {
    let managed =
        "[management]\nlisten = [\"127.0.0.1:8053\", \"192.0.2.10:8053\", \"[2001:db8::10]:8053\"]\n";
    let given = "[secondary]\nsource = \"192.0.2.11\"\n[transfer]\nnotify-source = [\"192.0.2.12\"]\n";
    let zone = "[[zone]]\nname = \"a\"\nprimaries = [\"192.0.2.1:53\"]\n";
    let sources = |text: &str, to: &str| {
        let config = decoded(text).unwrap();
        let to = to.parse().unwrap();
        [&config.zones[0].secondary().unwrap().sources, &config.transfer.notify_sources]
            .map(|sources| sources.to(to).map(|source| source.to_string()))
    };
    let both = |address: &str| [Some(address.to_owned()), Some(address.to_owned())];
    assert_eq!(sources(zone, "192.0.2.1"), [None, None]);
    assert_eq!(sources(&format!("{managed}{zone}"), "192.0.2.1"), both("192.0.2.10"));
    assert_eq!(sources(&format!("{managed}{zone}"), "2001:db8::1"), both("2001:db8::10"));
    assert_eq!(sources(&format!("{managed}{zone}"), "127.0.0.2"), [None, None]);
    let given = format!("{managed}{given}{zone}");
    let expected = ["192.0.2.11", "192.0.2.12"].map(|address| Some(address.to_owned()));
    assert_eq!(sources(&given, "192.0.2.1"), expected);
    assert_eq!(sources(&given, "127.0.0.1"), expected);
    assert_eq!(sources(&given, "2001:db8::1"), both("2001:db8::10"));
}

#[test]
fn who_may_transfer_and_who_is_notified_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, "AAECAwQFBgcICQoLDA0ODw==\n").unwrap();
    let mode = |mode| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o600);
    let key = "[[key]]\nname = \"One\"\nsecret-file = \"secret\"\n";
    let text = format!(
        "{key}[[key]]\nname = \"two\"\nalgorithm = \"hmac-sha512\"\nsecret = \"AA==\"\n\
         [transfer]\nallow = [\"192.0.2.0/24\"]\noutgoing-max = 3\nnotify-source = [\"192.0.2.1\", \"2001:db8::1\"]\n\
         [[zone]]\nname = \"a\"\nfile = \"a\"\n\
         secondaries = [\"192.0.2.7\", \"2001:db8::/64 key two\", \"::ffff:192.0.2.9\", \"key one tls\", \"192.0.2.7 tls\"]\n\
         notify = [\"192.0.2.7:53\", \"[2001:db8::7]:53 key ONE.\"]\n"
    );
    let decode = |text: &str| {
        let mut problems = Vec::new();
        let config = decode::decode(text, folder.path(), &mut problems);
        (config, problems)
    };
    let (config, problems) = decode(&text);
    assert_eq!(problems, []);
    let shown = |secondaries: &[Secondary]| -> Vec<String> {
        let by_tls = |secondary: &Secondary| if secondary.by_tls { " tls" } else { "" };
        let shown = |it: &Secondary| format!("{:?} {:?}{}", it.from, it.key, by_tls(it));
        secondaries.iter().map(shown).collect()
    };
    assert_eq!(shown(&config.transfer.allow), ["Some(192.0.2.0/24) None"]);
    assert_eq!(
        (config.transfer.outgoing_max, config.transfer.notify_sources.to("192.0.2.7".parse().unwrap())),
        (3, Some("192.0.2.1".parse().unwrap()))
    );
    let zone = &config.zones[0];
    let expected = [
        "Some(192.0.2.7/32) None",
        "Some(2001:db8::/64) Some(two. (hmac-sha512))",
        "Some(192.0.2.9/32) None",
        "None Some(one. (hmac-sha256)) tls",
        "Some(192.0.2.7/32) None tls",
    ];
    assert_eq!(shown(&zone.secondaries), expected);
    assert_eq!(zone.notify[1].key.as_ref(), Some(&config.keys[0]));
    mode(0o640);
    let (_, problems) = decode(key);
    assert!(problems[0].title.starts_with("others may read"), "{problems:?}");
    mode(0o600);
    for (lines, expected) in [
        ("[[key]]\nname = \"x\"\n", "the key has no secret"),
        ("[[key]]\nname = \"x\"\nsecret = \"AA\"\n", "the secret is not base64"),
        ("[[key]]\nname = \"x\"\nsecret = \"\"\n", "the secret is empty"),
        (
            "[[key]]\nname = \"x\"\nsecret = \"AA==\"\nalgorithm = \"hmac-md5\"\n",
            "`hmac-md5` is no algorithm",
        ),
        ("[[key]]\nname = \"one\"\nsecret = \"AA==\"\n", "the key one. is configured twice"),
        ("[transfer]\nallow = [\"key none\"]\n", "`key none` can't be in `allow`"),
        ("[transfer]\nallow = [\"tls\"]\n", "`tls` can't be in `allow`"),
        ("[transfer]\nallow = [\"192.0.2.7 tls tls\"]\n", "`192.0.2.7 tls tls` can't be in `allow`"),
        ("[transfer]\nallow = [\"ns1.example.com\"]\n", "`ns1.example.com` can't be in `allow`"),
        ("[transfer]\nallow = [\"192.0.2.7/24\"]\n", "`192.0.2.7/24` can't be in `allow`"),
        ("[transfer]\nallow = [7]\n", "an entry must be text"),
        ("[transfer]\nallow = \"192.0.2.7\"\n", "allow must be a list"),
        ("[transfer]\nallow = [\"192.0.2.7\", \"192.0.2.7/32\"]\n", "`192.0.2.7/32` can't be in `allow`"),
        (
            "[transfer]\nnotify-source = [\"192.0.2.1\", \"192.0.2.2\"]\n",
            "`192.0.2.2` can't be in `notify-source`",
        ),
        (
            "[[zone]]\nname = \"a\"\nfile = \"a\"\nnotify = [\"192.0.2.7\"]\n",
            "`192.0.2.7` can't be in `notify`",
        ),
    ] {
        let (_, problems) = decode(&format!("{key}{lines}"));
        assert_eq!(problems.iter().map(|problem| &problem.title).collect::<Vec<_>>(), [expected], "{lines}");
    }
}

#[test]
fn a_secondary_zone() {
    let config = decoded(
        r#"
[secondary]
source = ["192.0.2.10", "2001:db8::10"]
refresh-min-s = 5
on-expiry = "serve"

[[zone]]
name = "example.com"
primaries = ["192.0.2.1:53", "[2001:db8::1]:5353"]

[[zone]]
name = "example.org"
primaries = ["192.0.2.1:53"]
source = "192.0.2.11"
notify-from = ["192.0.2.7", "2001:db8::/64"]
transfer-max-bytes = 1000000
transfer-timeout-ms = 5000
refresh-max-s = 600
retry-min-s = 2
retry-max-s = 3
expire-min-s = 4
expire-max-s = 5
on-expiry = "servfail"
"#,
    )
    .unwrap();
    let [first, second] = [0, 1].map(|index| config.zones[index].secondary().unwrap());
    let addresses: Vec<SocketAddr> = first.primaries.iter().map(|primary| primary.address).collect();
    assert_eq!(addresses, ["192.0.2.1:53".parse().unwrap(), "[2001:db8::1]:5353".parse().unwrap()]);
    assert_eq!(first.sources.to(addresses[0].ip()), Some("192.0.2.10".parse().unwrap()));
    assert_eq!(first.sources.to(addresses[1].ip()), Some("2001:db8::10".parse().unwrap()));
    assert_eq!((first.on_expiry, second.on_expiry), (OnExpiry::Serve, OnExpiry::Servfail));
    assert_eq!(first.clamps.refresh.min, Duration::from_secs(5));
    assert_eq!(first.transfer_max, SecondaryConfig::default().transfer_max);
    let seconds = |clamp: ::transfer::refresh::Clamp| (clamp.min.as_secs(), clamp.max.as_secs());
    assert_eq!(seconds(second.clamps.refresh), (5, 600));
    assert_eq!((seconds(second.clamps.retry), seconds(second.clamps.expire)), ((2, 3), (4, 5)));
    assert_eq!((second.transfer_max, second.transfer_timeout), (1_000_000, Duration::from_secs(5)));
    assert_eq!(second.sources.to(addresses[0].ip()), Some("192.0.2.11".parse().unwrap()));
    let hears = |from: &str| second.hears(from.parse().unwrap(), None);
    assert_eq!(hears("192.0.2.1"), Some(Some(0)));
    assert_eq!(hears("::ffff:192.0.2.7"), Some(None));
    assert_eq!((hears("2001:db8::9"), hears("192.0.2.8")), (Some(None), None));
}

#[test]
fn primaries_with_keys() {
    let key = "[[key]]\nname = \"k\"\nsecret = \"c2VjcmV0\"\n[[key]]\nname = \"l\"\nsecret = \"c2VjcmV0\"\n";
    let zone = r#"
[[zone]]
name = "example"
primaries = ["192.0.2.1:53 key k", "192.0.2.2:53"]
notify-from = ["192.0.2.0/24", "198.51.100.1 key L."]
"#;
    let config = decoded(&format!("{key}{zone}")).unwrap();
    let secondary = config.zones[0].secondary().unwrap();
    let shown: Vec<String> = secondary.primaries.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["192.0.2.1:53 key k.", "192.0.2.2:53"]);
    let [k, l] = [0, 1].map(|index| Some(&config.keys[index]));
    let hears = |from: &str, key| secondary.hears(from.parse().unwrap(), key);
    assert_eq!(hears("192.0.2.1", k), Some(Some(0)));
    assert_eq!(hears("::ffff:192.0.2.1", k), Some(Some(0)));
    assert_eq!(
        (hears("192.0.2.1", None), hears("192.0.2.1", l)),
        (None, None),
        "though the prefix has no key"
    );
    assert_eq!((hears("192.0.2.2", None), hears("192.0.2.2", l)), (Some(Some(1)), Some(Some(1))));
    assert_eq!((hears("192.0.2.3", None), hears("192.0.2.3", k)), (Some(None), Some(None)));
    assert_eq!((hears("198.51.100.1", None), hears("198.51.100.1", l)), (None, Some(None)));
    let unknown = lines(&format!("{key}{}", zone.replace("key k", "key m")));
    assert!(unknown[0].contains("there is no key m."), "{unknown:?}");
    let no_address = lines(&format!("{key}{}", zone.replace("192.0.2.1:53 key k", "key k")));
    assert!(no_address[0].contains("after the address may come"), "{no_address:?}");
}

#[test]
fn primaries_over_tls() {
    let pin = "A".repeat(43) + "=";
    let tls = format!("[[tls]]\nname = \"x\"\npins = [\"{pin}\"]\n");
    let key = "[[key]]\nname = \"k\"\nsecret = \"c2VjcmV0\"\n";
    let zone = |primary: &str| format!("[[zone]]\nname = \"a\"\nprimaries = [\"{primary}\"]\n");
    let config = decoded(&format!("{tls}{key}{}", zone("192.0.2.1:853 tls x key k"))).unwrap();
    let primary = &config.zones[0].secondary().unwrap().primaries[0];
    assert_eq!(primary.to_string(), "192.0.2.1:853 key k. tls x");
    let one = |text: &str, what: &str| {
        let lines = lines(text);
        assert!(lines.iter().any(|line| line.contains(what)), "{what}: {lines:#?}");
    };
    one(&format!("{tls}{}", zone("192.0.2.1:853 tls y")), "there is no [[tls]] with the name y");
    one(
        &format!("{tls}{}", zone("192.0.2.1:853 tls")),
        "after the address may come `key NAME` and `tls NAME`",
    );
    one(&format!("{tls}{}", zone("192.0.2.1:853 tls x tls x")), "after the address may come");
    one(&format!("{tls}{tls}"), "the [[tls]] x is configured twice");
    one("[[tls]]\nname = \"x\"", "it has no `ca-file` and no `pins`");
    one(&format!("{tls}ca-file = \"x\""), "it has a `ca-file` and `pins`");
    one("[[tls]]\nname = \"x\"\npins = [\"AAAA\"]", "this is no pin");
    one("[[tls]]\nname = \"x\"\npins = []", "a list of 1 to 16 texts");
    one("[[tls]]\nname = \"x y\"\npins = [\"AAAA\"]", "the name is empty or has spaces");
    one(&format!("{tls}server-name = \"-\""), "`-` is no name of a server");
    one("[[tls]]\nname = \"x\"\nca-file = \"/nowhere\"", "/nowhere can't be read");
    one("[[tls]]\nname = \"x\"\nca-file = \"/dev/null\"", "it has no certificate");
    one(&format!("{tls}pin = 1"), "did you mean `pins`");
}

#[test]
fn a_secondary_zone_that_can_not_be() {
    let one = |text: &str, what: &str| {
        let lines = lines(text);
        assert!(lines.iter().any(|line| line.contains(what)), "{what}: {lines:#?}");
        assert!(lines.iter().all(|line| line.starts_with("node.toml:")), "{lines:#?}");
    };
    one("[[zone]]\nname = \"a\"", "node.toml:1:1: [[zone]] has neither `file` nor `primaries`");
    one(
        "[[zone]]\nname = \"a\"\nfile = \"x\"\nprimaries = [\"192.0.2.1:53\"]",
        "node.toml:3:8: the zone has a `file` and",
    );
    one(
        "[[zone]]\nname = \"a\"\nfile = \"x\"\nsource = \"192.0.2.1\"",
        "`source` is for zones that are transferred",
    );
    one("[[zone]]\nname = \"a\"\nprimaries = []", "0 primaries");
    one("[[zone]]\nname = \"a\"\nprimaries = [\"192.0.2.1\"]", "a primary is an address with a port");
    one("[[zone]]\nname = \"a\"\nprimaries = [\"192.0.2.1:53\", \"192.0.2.1:53\"]", "named twice");
    let secondary = "[[zone]]\nname = \"a\"\nprimaries = [\"192.0.2.1:53\"]\n";
    one(&format!("{secondary}refresh-min-s = 90000"), "`refresh-min-s` is 90000, which is more than");
    one(&format!("{secondary}on-expiry = \"die\""), "`die` is no way to treat an expired zone");
    one(&format!("{secondary}source = \"192.0.2.1:53\""), "`source` is an address to ask from");
    one(&format!("{secondary}source = [\"192.0.2.1\", \"192.0.2.2\"]"), "second source of its family");
    one(&format!("{secondary}notify-from = [\"x\"]"), "no address and no prefix");
    let route = "[anycast]\naddresses = [\"192.0.2.53\"]\nprefixes = [\"192.0.2.0/24\"]\n";
    one(&format!("{route}{secondary}source = \"192.0.2.53\""), "192.0.2.53 is a service address");
    one(&format!("{route}[secondary]\nsource = \"192.0.2.53\""), "192.0.2.53 is a service address");
    one(
        &format!("{route}[[zone]]\nname = \"a\"\nprimaries = [\"192.0.2.53:53\"]"),
        "192.0.2.53:53 is a service address",
    );
    one(&format!("{route}{secondary}source = \"::ffff:192.0.2.53\""), "192.0.2.53 is a service address");
    one(
        &format!("{route}[[zone]]\nname = \"a\"\nprimaries = [\"[::ffff:192.0.2.53]:53\"]"),
        "192.0.2.53]:53 is a service address",
    );
}

#[test]
fn rules_of_admission() {
    let config = decoded(
        r#"
[admission]
zonemd = "require"
shrink-max-percent = 10
command = ["/usr/bin/check", "--strict"]

[[zone]]
name = "example.com"
file = "a"

[[zone]]
name = "example.org"
file = "b"
[zone.admission]
zonemd = "ignore"
signatures = false
signatures-left-min-s = 3600
apex-sets = false
serial-forward = true
command = []
command-timeout-ms = 500
"#,
    )
    .unwrap();
    let [first, second] = [0, 1].map(|index| &config.zones[index].admission);
    assert_eq!(*first, config.admission);
    assert_eq!(
        (first.zonemd, first.shrink_max_percent, first.serial_forward),
        (ZonemdPolicy::Require, 10, None)
    );
    assert_eq!(first.command, ["/usr/bin/check", "--strict"]);
    let expected = AdmissionConfig {
        zonemd: ZonemdPolicy::Ignore,
        signatures: false,
        signatures_left_min: Duration::from_secs(3600),
        apex_sets: false,
        shrink_max_percent: 10,
        serial_forward: Some(true),
        command: Vec::new(),
        command_timeout: Duration::from_millis(500),
    };
    assert_eq!(**second, expected);
    for (text, what) in [
        ("[admission]\nzonemd = \"maybe\"", "`maybe` is no way to treat ZONEMD records"),
        ("[admission]\nshrink-max-percent = 101", "`shrink-max-percent` is out of range"),
        ("[admission]\ncommand = [\"check\"]", "the command's program has no whole path"),
        ("[admission]\ncommand = \"/bin/check\"", "command must be a list of at most 64 words"),
        ("[admission]\nshrink = 5", "unknown key `shrink`"),
        ("[[zone]]\nname = \"a\"\nfile = \"a\"\nadmission = 5", "[zone.admission] must be a table"),
    ] {
        let lines = lines(text);
        assert!(lines.len() == 1 && lines[0].contains(what), "{what}: {lines:#?}");
    }
}
