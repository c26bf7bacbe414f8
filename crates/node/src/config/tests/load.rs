//! Loads of pools in the configuration.

use super::super::*;
use super::{decoded, lines};
use ::pool::{Kind, Portion, Tuning};
use hyper::header::HeaderName;

/// A pool with these keys, and a check with these.
fn text(keys: &str, check: &str) -> String {
    format!(
        "[[pool]]\nname = \"web\"\nnames = \"www.example.com\"\nkind = \"least-load\"\n{keys}\ncheck = {{ {check} }}\n\
         [[pool.endpoint]]\nname = \"a\"\naddress = \"192.0.2.1\"\nweight = 40\n"
    )
}

const HTTP: &str = "kind = \"http\", port = 80";

fn of(keys: &str, check: &str) -> (Portion, Tuning, LoadConfig) {
    let config = decoded(&text(keys, check)).unwrap();
    let pool = &config.pools[0];
    let Kind::LeastLoad { portion, tuning } = pool.spec.kind else { panic!("{:?}", pool.spec) };
    assert_eq!(pool.endpoints[0].weight, 40);
    (portion, tuning, pool.check.as_ref().unwrap().load.clone().unwrap())
}

#[test]
fn a_load_is_found_out_in_one_of_several_ways() {
    let ms = Duration::from_millis;
    let (portion, tuning, load) = of("load = \"response-time\"", HTTP);
    let by_default = Tuning { period: ms(30_000), step_percent: 10, least_percent: 5, idle_milli: 1000 };
    assert_eq!((portion, tuning), (Portion::One, by_default), "the period is the TTL");
    assert_eq!(load, LoadConfig { measure: Measure::ResponseTime, smoothing: ms(15_000) });
    let keys = "answers = \"set\"\nttl-s = 3\nload = \"header\"\nload-header = \"X-Load\"\nload-step-percent = 50\n\
                load-least-percent = 100\nload-idle = 0.25\nload-smoothing-ms = 700";
    let (portion, tuning, load) = of(keys, HTTP);
    let as_said = Tuning { period: ms(5000), step_percent: 50, least_percent: 100, idle_milli: 250 };
    assert_eq!((portion, tuning), (Portion::Set, as_said));
    let measure = Measure::Header(HeaderName::from_static("x-load"));
    assert_eq!(load, LoadConfig { measure, smoothing: ms(700) });
    let (_, tuning, load) = of("load = \"body\"\nload-period-ms = 100", HTTP);
    assert_eq!((tuning.period, tuning.idle_milli), (ms(100), 0));
    assert_eq!(load.measure, Measure::Body { after: None });
    let (.., load) = of("load = \"body\"\nload-after = \"load:\"", HTTP);
    assert_eq!(load.measure, Measure::Body { after: Some("load:".to_owned()) });
    let dns = "kind = \"dns\", port = 53, name = \"example.com\", transport = \"tcp\"";
    for check in ["kind = \"tcp\", port = 80", HTTP, dns] {
        assert_eq!(of("load = \"connect-time\"", check).2.measure, Measure::ConnectTime);
    }
    for check in ["kind = \"icmp\"", "kind = \"file\", file = \"states\"", HTTP] {
        let (.., load) = of("load = \"agent\"\nload-agent-port = 9999", check);
        assert_eq!(load.measure, Measure::Agent { port: 9999 });
    }
}

#[test]
fn loads_that_cannot_be_found_out_are_refused_with_their_place() {
    for (keys, check, said) in [
        ("", HTTP, "the pool has no `load`"),
        ("load = \"cpu\"", HTTP, "`cpu` is no load of an endpoint"),
        ("load = \"header\"", HTTP, "the pool has no `load-header`"),
        ("load = \"header\"\nload-header = \"x load\"", HTTP, "`x load` is no field of a head"),
        ("load = \"body\"\nload-header = \"x-load\"", HTTP, "`load-header` is for `load = \"header\"`"),
        ("load = \"agent\"", HTTP, "the pool has no `load-agent-port`"),
        ("load = \"agent\"\nload-agent-port = 0", HTTP, "`load-agent-port` is out of range"),
        ("load = \"agent\"\nload-agent-port = 1\nload-idle = 1", HTTP, "`load-idle` is for a load"),
        ("load = \"body\"\nload-after = \"\"", HTTP, "`load-after` can't be that"),
        ("load = \"body\"", "kind = \"http\", port = 80, method = \"HEAD\"", "HEAD has no body with a load"),
        ("load = \"body\"", "kind = \"tcp\", port = 80", "the check asks for none"),
        ("load = \"connect-time\"", "kind = \"icmp\"", "the check makes no connection"),
        ("load = \"connect-time\"", "kind = \"dns\", port = 53, name = \"a\"", "need no connection"),
        (
            "load = \"response-time\"",
            "kind = \"exec\", command = [\"/bin/true\"]",
            "no time of the endpoint's",
        ),
        ("load = \"response-time\"\nload-period-ms = 99", HTTP, "`load-period-ms` is out of range"),
        ("load = \"response-time\"\nload-step-percent = 51", HTTP, "`load-step-percent` is out of range"),
        ("load = \"response-time\"\nload-least-percent = 0", HTTP, "`load-least-percent` is out of range"),
        ("load = \"response-time\"\nload-idle = -1.5", HTTP, "`load-idle` is out of range"),
        ("load = \"response-time\"\nload-idle = \"1\"", HTTP, "load-idle must be a number"),
        (
            "load = \"response-time\"\nanswers-max = 2",
            HTTP,
            "`answers-max` is for failover and round-robin pools",
        ),
    ] {
        let found = lines(&text(keys, check));
        let whole = found.join("\n");
        assert!(whole.contains(said), "{keys}: {whole}");
        assert!(found.iter().all(|line| line.starts_with("node.toml:")), "{whole}");
    }
    let other = text("load = \"body\"", HTTP).replace("least-load", "weighted");
    assert!(lines(&other)[0].contains("`load` is for least-load pools"), "{:?}", lines(&other));
    let nothing = text("load = \"body\"", HTTP).replace("weight = 40", "weight = 0");
    assert!(lines(&nothing)[0].contains("has a weight over 0"));
}

#[test]
fn a_check_is_the_same_on_other_nodes_but_for_an_agent() {
    let id = |keys: &str| decoded(&text(keys, HTTP)).unwrap().pools[0].check.as_ref().unwrap().identity();
    let plain = text("", HTTP).replace("least-load", "weighted");
    let plain = decoded(&plain).unwrap().pools[0].check.as_ref().unwrap().identity();
    assert_eq!(id("load = \"body\""), plain);
    assert_eq!(id("load = \"response-time\"\nload-smoothing-ms = 5"), plain);
    let agent = id("load = \"agent\"\nload-agent-port = 9999");
    assert!(agent != plain && agent != id("load = \"agent\"\nload-agent-port = 9998"));
}
