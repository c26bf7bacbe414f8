use super::*;

fn decoded(text: &str) -> Result<Config, ConfigError> {
    let mut problems = Vec::new();
    let config = decode::decode(text, Path::new("/etc/starling"), &mut problems);
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
"#,
    )
    .unwrap();
    let node = NodeConfig {
        name: Some("ams1".to_owned()),
        listen: vec!["192.0.2.53:53".parse().unwrap(), "[2001:db8::53]:53".parse().unwrap()],
        workers: NonZeroUsize::new(2),
        steering: Steering::Cpu,
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
    };
    assert_eq!(config.node, node);
    let zone = |name: &str, file: &str, rotation| ZoneConfig {
        name: apex(name).unwrap(),
        file: PathBuf::from(file),
        rotation,
        critical: rotation == Rotation::Off,
    };
    let zones = [
        zone("example.com.", "/etc/starling/zones/example.com.zone", Rotation::On),
        zone(".", "/srv/root.zone", Rotation::Off),
    ];
    assert_eq!(config.zones, zones);
}

#[test]
fn an_empty_file_is_all_defaults() {
    assert_eq!(decoded("").unwrap(), Config { node: NodeConfig::default(), zones: Vec::new() });
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
        "node.toml:5:1: [[zone]] has no `file`; add `file = \"zones/example.com.zone\"`",
        "node.toml:6:8: `a..b` is not a domain name: the name has an empty label; write the zone's name as in a \
         master file, with or without the final dot",
        "node.toml:10:10: rotate must be true or false; write `rotate = false`",
        "node.toml:12:8: the zone x. is configured twice; remove one of the two [[zone]] sections",
        "node.toml:14:2: unknown key `nodes`; did you mean `node`?",
    ];
    assert_eq!(lines(text), expected);
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
