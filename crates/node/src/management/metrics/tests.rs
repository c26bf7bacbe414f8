use super::super::samples::{agent, snapshot, zone};
use super::*;
use crate::status::{BirdStatus, ZoneCounts, ZoneState};
use std::collections::HashSet;

/// The samples of a family, without what all of its lines begin with.
fn family<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples.filter_map(|line| line.strip_prefix(name)).filter(|rest| rest.starts_with(['{', ' '])).collect()
}

#[test]
fn what_the_server_counts() {
    let text = text(snapshot(None));
    assert!(text.ends_with("\n# EOF\n"));
    assert!(text.contains("# TYPE starling_queries counter\n"));
    let (udp, tcp) = (r#"{transport="udp",family="ipv4""#, r#"{transport="tcp",family="ipv6""#);
    let expected = [
        ("starling_queries_total", [format!("{udp}}} 100"), format!("{tcp}}} 3")]),
        ("starling_queries_malformed_total", [format!("{udp}}} 1"), format!("{tcp}}} 1")]),
        (
            "starling_answers_total",
            [format!("{udp},rcode=\"NXDOMAIN\"}} 95"), format!("{tcp},rcode=\"NOERROR\"}} 3")],
        ),
        ("starling_drops_total", ["{cause=\"queue\"} 6".to_owned(), "{cause=\"silent\"} 2".to_owned()]),
    ];
    for (name, samples) in expected {
        assert_eq!(family(&text, name), samples, "{name}");
    }
    assert_eq!(
        family(&text, "starling_interface_info"),
        [r#"{interface="eth0",path="xdp",mode="native"} 1"#]
    );
    assert_eq!(
        family(&text, "starling_udp_received_total"),
        [r#"{path="sockets"} 70"#, r#"{path="xdp"} 30"#]
    );
    assert_eq!(family(&text, "starling_generation_served"), [" 4"]);
    assert_eq!(
        family(&text, "starling_zones"),
        ["{state=\"ok\"} 1", "{state=\"stale\"} 1", "{state=\"failed\"} 1", "{state=\"expired\"} 0"]
    );
    assert_eq!(
        family(&text, "starling_tls_handshakes_total"),
        ["{result=\"good\"} 8", "{result=\"failed\"} 2"]
    );
    assert_eq!(family(&text, "starling_tls_certificate_not_after_seconds"), [" 2000000000"]);
    assert_eq!(
        family(&text, "starling_secondary_rounds_total"),
        ["{result=\"current\"} 0", "{result=\"renewed\"} 4", "{result=\"failed\"} 0"]
    );
    assert_eq!(
        family(&text, "starling_transfers_in_total"),
        ["{kind=\"ixfr\"} 3", "{kind=\"axfr\"} 1", "{kind=\"ixfr-whole\"} 0"]
    );
    assert_eq!(
        family(&text, "starling_tables_made_total"),
        ["{how=\"compiled\"} 2", "{how=\"amended\"} 3", "{how=\"folded\"} 1"]
    );
    let latencies = family(&text, "starling_publication_seconds_bucket");
    assert_eq!([latencies[0], latencies[14]], ["{le=\"0.001\"} 1", "{le=\"+Inf\"} 4"]);
    assert_eq!(family(&text, "starling_publication_seconds_sum"), [" 0.5"]);
    for (name, value) in [("members", 12), ("held_removals", 3), ("ignored", 1), ("good", 0)] {
        let samples = [format!("{{catalog=\"catalog.example.\"}} {value}")];
        assert_eq!(family(&text, &format!("starling_catalog_{name}")), samples, "{name}");
    }
    let endpoint = r#"{pool="web",endpoint="b",address="192.0.2.2"}"#;
    for (name, value) in [
        ("endpoint_up", 1),
        ("endpoint_up_here", 0),
        ("endpoint_answers", 1),
        ("endpoint_unseen", 0),
        ("endpoint_given_total", 900),
        ("checks_total", 70),
        ("check_failures_total", 4),
    ] {
        let samples = [format!("{endpoint} {value}")];
        assert_eq!(family(&text, &format!("starling_pool_{name}")), samples, "{name}");
    }
    for (name, value) in [("load", "0.62"), ("weight_ratio", "0.25"), ("load_missing", "1.0")] {
        let samples = [format!("{endpoint} {value}")];
        assert_eq!(family(&text, &format!("starling_pool_endpoint_{name}")), samples, "{name}");
    }
    let times = family(&text, "starling_pool_check_seconds_bucket");
    let first =
        ["{le=\"0.001\",kind=\"dns\",result=\"good\"} 1", "{le=\"0.001\",kind=\"https\",result=\"bad\"} 0"];
    let of_one = times.len() / 2;
    assert_eq!([times[0], times[of_one]].map(|it| it.to_owned()), first);
    assert!(times[of_one - 1].contains("le=\"+Inf\""), "{times:?}");
    let of_pool = family(&text, "starling_pool_endpoint_check_seconds_bucket");
    assert_eq!(of_pool.first().map(|it| it.to_string()).as_deref(), Some("{le=\"0.001\",pool=\"web\"} 1"));
    for (name, value) in [("good", 1), ("tier", 2), ("changes_total", 3)] {
        let samples = [format!("{{pool=\"web\",family=\"ipv4\"}} {value}")];
        assert_eq!(family(&text, &format!("starling_pool_{name}")), samples, "{name}");
    }
    for (name, samples) in [
        ("starling_pool_isolated", [" 1"]),
        ("starling_pool_sharing_refused_total", [" 6"]),
        ("starling_pool_peer_heard", [r#"{peer="fra1"} 0"#]),
        ("starling_pool_peer_answer_age_seconds", [r#"{peer="fra1"} 4.25"#]),
    ] {
        assert_eq!(family(&text, name), samples, "{name}");
    }
    assert!(family(&text, "starling_route_held").is_empty(), "a server alone holds no route");
}

#[test]
fn zones_are_labels_whatever_their_names_are() {
    let text = text(snapshot(None));
    // The zone's name is `a\"b.`; backslash and quote are escaped once more in the text.
    let odd = r#"zone="a\\\"b.""#;
    assert_eq!(
        family(&text, "starling_zone_serial"),
        ["{zone=\"example.com.\"} 4000000000".to_owned(), format!("{{{odd}}} 4000000000")]
    );
    assert_eq!(
        family(&text, "starling_zone_errors"),
        ["{zone=\"example.com.\"} 0".to_owned(), format!("{{{odd}}} 3"), "{zone=\"bad.\"} 3".to_owned()]
    );
    assert_eq!(family(&text, "starling_zone_refused_total"), [format!("{{{odd},reason=\"shrink\"}} 2")]);
    assert_eq!(family(&text, "starling_zone_held").len(), 3);
    assert_eq!(
        family(&text, "starling_zone_table_info")[0],
        "{zone=\"example.com.\",digest=\"d1e5\",from=\"image\"} 1"
    );
}

#[test]
fn a_thousand_zones_have_series_of_their_own() {
    let mut snapshot = snapshot(None);
    snapshot.zones = (0..1500).map(|index| zone(&format!("z{index}."), ZoneState::Ok)).collect();
    snapshot.server.as_mut().unwrap().zones = ZoneCounts { ok: 1500, stale: 0, failed: 0, expired: 0 };
    let text = text(snapshot);
    let serials = family(&text, "starling_zone_serial");
    assert_eq!(serials.len(), ZONES_MAX);
    assert!(serials[999].contains("z999."), "the first ones: {}", serials[999]);
    assert_eq!(family(&text, "starling_zones_unlisted"), [" 500"]);
    assert!(text.len() < 1 << 20, "{} octets", text.len());
}

#[test]
fn what_the_agent_knows() {
    let text = text(snapshot(Some(agent("degraded", "up"))));
    let expected: [(&str, &[&str]); 14] = [
        (
            "starling_route_wanted",
            &["{rung=\"up\"} 0", "{rung=\"degraded\"} 1", "{rung=\"draining\"} 0", "{rung=\"down\"} 0"],
        ),
        (
            "starling_route_held",
            &["{rung=\"up\"} 1", "{rung=\"degraded\"} 0", "{rung=\"draining\"} 0", "{rung=\"down\"} 0"],
        ),
        (
            "starling_route_verified",
            &["{rung=\"up\"} 1", "{rung=\"degraded\"} 0", "{rung=\"draining\"} 0", "{rung=\"down\"} 0"],
        ),
        ("starling_route_held_seconds", &[" 2.5"]),
        ("starling_route_seconds_total", &["{rung=\"up\"} 40"]),
        ("starling_route_transitions_total", &["{from=\"down\",to=\"up\"} 2"]),
        ("starling_server_restarts_total", &[" 1"]),
        ("starling_check_info", &["{check=\"udp4\",action=\"withdraw\",gravity=\"hard\"} 1"]),
        (
            "starling_check_standing",
            &[
                "{check=\"udp4\",standing=\"unknown\"} 0",
                "{check=\"udp4\",standing=\"passing\"} 1",
                "{check=\"udp4\",standing=\"failing\"} 0",
            ],
        ),
        ("starling_check_passed", &["{check=\"udp4\"} 1"]),
        ("starling_check_duration_seconds", &["{check=\"udp4\"} 0.0015"]),
        ("starling_check_runs_total", &["{check=\"udp4\"} 50"]),
        ("starling_peer_healthy", &["{peer=\"fra1\"} 1"]),
        ("starling_peer_answer_age_seconds", &["{peer=\"fra1\"} 0.25"]),
    ];
    for (name, samples) in expected {
        assert_eq!(family(&text, name), samples, "{name}");
    }
}

#[test]
fn a_route_that_bird_does_not_export_is_not_verified() {
    let mut agent = agent("up", "up");
    agent.bird = BirdStatus::Differs("no route".to_owned());
    let text = text(snapshot(Some(agent)));
    assert!(family(&text, "starling_route_verified").iter().all(|sample| sample.ends_with(" 0")));
    assert!(family(&text, "starling_bird_state").contains(&"{state=\"differs\"} 1"));
}

#[test]
fn every_family_stands_once_and_every_series_too() {
    let text = text(snapshot(Some(agent("up", "up"))));
    let mut seen = HashSet::new();
    for line in text.lines() {
        let key = match line.strip_prefix("# ") {
            Some(_) => line.split(' ').take(3).collect::<Vec<_>>().join(" "),
            None => line.rsplit_once(' ').unwrap().0.to_owned(),
        };
        assert!(seen.insert(key), "twice: {line}");
    }
}
