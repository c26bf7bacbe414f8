//! Decodes what a `[[pool]]` says of loads.

use super::super::load::{IDLE_MILLI, LEAST_PERCENT, LoadConfig, Measure, PERIOD_MIN_S, STEP_PERCENT};
use super::super::probe::{DnsTransport, Method, PoolCheck, Probe};
use super::super::problem::Problem;
use super::pool::only_for;
use super::{Placed, Section, wrong_type};
use hyper::header::HeaderName;
use pool::{Kind, LOAD_MAX, Portion, Tuning};
use std::time::Duration;

/// The longest text that stands before a number, in octets.
const TEXT_MAX: usize = 256;
/// The shortest period, in milliseconds: more often weights would be published as often as looks come in.
const PERIOD_MIN_MS: u64 = 100;
/// The longest one: an hour.
const PERIOD_MAX_MS: u64 = 3_600_000;

/// All keys.
const KEYS: [&str; 9] = [
    "load",
    "load-header",
    "load-after",
    "load-agent-port",
    "load-period-ms",
    "load-smoothing-ms",
    "load-step-percent",
    "load-least-percent",
    "load-idle",
];

/// The words for what is taken for a load, each with the key that is for it alone.
const WORDS: [(&str, Word); 5] = [
    ("connect-time", Word::ConnectTime),
    ("response-time", Word::ResponseTime),
    ("body", Word::Body),
    ("header", Word::Header),
    ("agent", Word::Agent),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    ConnectTime,
    ResponseTime,
    Body,
    Header,
    Agent,
}

/// Refuses them in a pool of another kind.
pub(super) fn refuse(section: &mut Section<'_, '_>, problems: &mut Vec<Problem>) {
    only_for(section, &KEYS, "least-load pools", problems);
}

/// Decodes a pool of this kind, whose answers are kept for so many seconds; and how its endpoints' loads are found out.
pub(super) fn kind(
    section: &mut Section<'_, '_>,
    portion: Portion,
    ttl: u32,
    problems: &mut Vec<Problem>,
) -> (Kind, Option<Placed<LoadConfig>>) {
    const HELP: &str =
        "add `load = \"response-time\"`, or \"connect-time\", \"header\", \"body\" or \"agent\"";
    let place = section.place_of("load").unwrap_or(section.place());
    if !section.has("load") {
        problems.push(Problem::at(section.place(), "the pool has no `load`", "in this section", HELP));
    }
    let word = section.choice("load", "load of an endpoint", &WORDS, problems);
    let measure = measure(section, word, problems);
    let mut ms = |key, default: u64, least| {
        Duration::from_millis(section.integer(key, least..=PERIOD_MAX_MS, problems).unwrap_or(default))
    };
    let period = ms("load-period-ms", u64::from(ttl.max(PERIOD_MIN_S)) * 1000, PERIOD_MIN_MS);
    let smoothing = ms("load-smoothing-ms", period.as_millis() as u64 / 2, 1); // an hour at most
    let mut percent = |key, default, most| {
        section.integer(key, 1..=most, problems).map_or(default, |percent| percent as u8) // in range
    };
    let step_percent = percent("load-step-percent", STEP_PERCENT, 50);
    let least_percent = percent("load-least-percent", LEAST_PERCENT, 100);
    let is_time = matches!(word, Some(Word::ConnectTime | Word::ResponseTime));
    let idle_milli = idle_milli(section, problems).unwrap_or(if is_time { IDLE_MILLI } else { 0 });
    if word == Some(Word::Agent) {
        only_with(section, "load-idle", "a load, and an agent says what is left", problems);
    }
    let kind =
        Kind::LeastLoad { portion, tuning: Tuning { period, step_percent, least_percent, idle_milli } };
    (kind, measure.map(|measure| (LoadConfig { measure, smoothing }, place)))
}

fn measure(
    section: &mut Section<'_, '_>,
    word: Option<Word>,
    problems: &mut Vec<Problem>,
) -> Option<Measure> {
    let header = section.text("load-header", problems).and_then(|(text, place)| {
        let name = HeaderName::from_bytes(text.as_bytes());
        if name.is_err() {
            let help = "write the name alone, as `load-header = \"x-load\"`";
            problems.push(Problem::at(place, format!("`{text}` is no field of a head"), "this name", help));
        }
        name.ok()
    });
    let after = section.text("load-after", problems).and_then(|(text, place)| {
        if text.is_empty() || text.len() > TEXT_MAX {
            let help = format!("write 1 to {TEXT_MAX} octets that stand before the number");
            problems.push(Problem::at(place, "`load-after` can't be that", "this text", help));
            return None;
        }
        Some(text.to_owned())
    });
    let port = section.integer("load-agent-port", 1..=65_535, problems).map(|port| port as u16); // in range
    for (key, of, whose) in [
        ("load-header", Word::Header, "`load = \"header\"`"),
        ("load-after", Word::Body, "`load = \"body\"`"),
        ("load-agent-port", Word::Agent, "`load = \"agent\"`"),
    ] {
        if word.is_some_and(|word| word != of) {
            only_with(section, key, whose, problems);
        }
    }
    let mut need = |key: &str, example: &str| {
        if !section.has(key) {
            let help = format!("add `{example}`");
            problems.push(Problem::at(section.place(), format!("the pool has no `{key}`"), "here", help));
        }
    };
    match word? {
        Word::ConnectTime => Some(Measure::ConnectTime),
        Word::ResponseTime => Some(Measure::ResponseTime),
        Word::Body => Some(Measure::Body { after }),
        Word::Header => {
            need("load-header", "load-header = \"x-load\"");
            header.map(Measure::Header)
        }
        Word::Agent => {
            need("load-agent-port", "load-agent-port = 9999");
            port.map(|port| Measure::Agent { port })
        }
    }
}

/// Says of a key that it is for something else.
fn only_with(section: &Section<'_, '_>, key: &str, whose: &str, problems: &mut Vec<Problem>) {
    if let Some(place) = section.place_of(key) {
        let title = format!("`{key}` is for {whose}");
        problems.push(Problem::at(place, title, "this is none", "remove it, or change `load`"));
    }
}

/// Up to which load endpoints are alike, in thousandths.
fn idle_milli(section: &mut Section<'_, '_>, problems: &mut Vec<Problem>) -> Option<u64> {
    const HELP: &str = "give a number from 0 to 1000000000, with a fraction if need be";
    let value = section.take("load-idle")?;
    let text = match (value.get_ref().as_integer(), value.get_ref().as_float()) {
        (Some(number), _) if number.radix() == 10 => number.as_str(),
        (_, Some(number)) => number.as_str(),
        _ => {
            problems.push(wrong_type(value, "load-idle", "a number", HELP));
            return None;
        }
    };
    match text.parse::<f64>() {
        Ok(number) if (0.0..=LOAD_MAX).contains(&number) => Some((number * 1000.0).round() as u64),
        _ => {
            problems.push(Problem::at(value.span(), "`load-idle` is out of range", "this number", HELP));
            None
        }
    }
}

/// Has a check find out loads, if it can.
pub(super) fn attach(
    load: Option<Placed<LoadConfig>>,
    check: Option<&mut PoolCheck>,
    problems: &mut Vec<Problem>,
) {
    let Some((load, place)) = load else { return };
    let Some(check) = check else {
        let help = "give the endpoints addresses that are checked, or change `kind`";
        problems.push(Problem::at(place, "nothing is looked at that would have a load", "this load", help));
        return;
    };
    let lacks = match (&load.measure, &check.probe) {
        (Measure::Body { .. }, Probe::Http(page)) if page.method == Method::Head => {
            Some(("an answer to HEAD has no body with a load", "ask with GET"))
        }
        (Measure::Body { .. } | Measure::Header(_), Probe::Http(_)) | (Measure::Agent { .. }, _) => None,
        (Measure::Body { .. } | Measure::Header(_), _) => {
            Some(("the load is in a page, and the check asks for none", "use a check of kind http or https"))
        }
        (Measure::ConnectTime, Probe::Dns(query)) if query.transport == DnsTransport::Udp => {
            Some(("queries over UDP need no connection", "write `transport = \"tcp\"` in the check"))
        }
        (Measure::ConnectTime, Probe::Icmp | Probe::Exec(_) | Probe::File(_)) => {
            Some(("the check makes no connection", "use a check of kind tcp, tls, http, https, dns or grpc"))
        }
        (Measure::ResponseTime, Probe::Exec(_) | Probe::File(_)) => Some((
            "how long this check takes is no time of the endpoint's",
            "use a check that asks the endpoint",
        )),
        (Measure::ConnectTime | Measure::ResponseTime, _) => None,
    };
    if let Some((title, help)) = lacks {
        problems.push(Problem::at(place, title, "this load", format!("{help}, or another `load`")));
        return;
    }
    check.load = Some(load);
}
