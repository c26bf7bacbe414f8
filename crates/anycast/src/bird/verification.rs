//! Whether what BIRD exports is what is meant.

use super::{Attributes, BirdError, Export, Observation, SessionState};
use crate::Rung;
use crate::lease::family_of;

/// What BIRD's own words say of the export.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verification {
    /// What is exported is what is meant.
    Verified,
    /// BIRD answers, and exports something else; what, a sentence each.
    Differs(Vec<String>),
    /// BIRD doesn't answer.
    Unreachable(String),
}

/// Compares what was observed with the rung that is meant.
pub fn compare(observation: &Result<Observation, BirdError>, rung: Rung) -> Verification {
    match observation {
        Err(error) => Verification::Unreachable(error.to_string()),
        Ok(observation) => {
            let differences = differences(observation, rung);
            if differences.is_empty() { Verification::Verified } else { Verification::Differs(differences) }
        }
    }
}

fn differences(observation: &Observation, rung: Rung) -> Vec<String> {
    let mut found = Vec::new();
    for session in &observation.sessions {
        let protocol = &session.protocol;
        match &session.state {
            SessionState::Established => {}
            SessionState::NoProtocol => {
                found.push(format!("BIRD has no protocol {protocol}"));
            }
            // What isn't up announces nothing, and that is what is meant.
            SessionState::Other(_) if rung == Rung::Down => {}
            SessionState::Other(words) => {
                found.push(format!("the session of {protocol} is not established: {words}"));
            }
        }
        for (prefix, export) in &session.exports {
            if let Some(trouble) = trouble(export, rung) {
                found.push(format!("{protocol} {trouble}: {prefix} is to be {rung}"));
            }
            let family = family_of(&prefix.addr());
            if rung.is_announced() && !observation.carries(family) {
                found.push(format!("no session carries {}, so {prefix} is announced nowhere", family.word()));
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

/// What is wrong with an export, as the end of a sentence.
fn trouble(export: &Export, rung: Rung) -> Option<String> {
    let attributes = match (export, rung) {
        (Export::OtherFamily, _) | (Export::Absent, Rung::Down) => return None,
        (Export::Absent, _) => return Some("does not announce it".to_owned()),
        (Export::Announced(_), Rung::Down) => return Some("still announces it".to_owned()),
        (Export::Announced(attributes), _) => attributes,
    };
    if let (Some(found), Some(wanted)) = (attributes.kernel_metric, rung.metric())
        && found != wanted
    {
        return Some(format!("announces the route with metric {found} and not the one with {wanted}"));
    }
    policy_trouble(attributes, rung).map(str::to_owned)
}

/// What is wrong with the attributes that BIRD's filter has put on.
fn policy_trouble(attributes: &Attributes, rung: Rung) -> Option<&'static str> {
    match rung {
        Rung::Draining if !attributes.graceful_shutdown => Some("announces it without the community 65535:0"),
        Rung::Up | Rung::Degraded if attributes.graceful_shutdown => {
            Some("announces it with the community 65535:0")
        }
        Rung::Degraded if !attributes.is_demoted() => {
            Some("announces it with neither a longer path nor a lower local preference nor a MED")
        }
        // With a metric it is known to be the right route, and what a site's policy puts on every route is its own.
        Rung::Up if attributes.kernel_metric.is_none() && attributes.is_demoted() => {
            Some("announces it with a longer path, a lower local preference or a MED")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ProtocolName, Session};
    use super::*;

    const PLAIN: Attributes = Attributes {
        kernel_metric: Some(100),
        graceful_shutdown: false,
        path_len: 0,
        local_preference: None,
        med: None,
    };

    fn seen(state: SessionState, exports: &[(&str, Export)]) -> Result<Observation, BirdError> {
        let exports =
            exports.iter().map(|(prefix, export)| (prefix.parse().unwrap(), export.clone())).collect();
        let protocol = ProtocolName::new("up4").unwrap();
        Ok(Observation { sessions: vec![Session { protocol, state, exports }] })
    }

    /// Compares one announced prefix; the difference, or nothing.
    fn one(attributes: Attributes, rung: Rung) -> String {
        let export = Export::Announced(attributes);
        match compare(&seen(SessionState::Established, &[("203.0.113.0/24", export)]), rung) {
            Verification::Verified => String::new(),
            Verification::Differs(found) => found.join("; "),
            Verification::Unreachable(why) => panic!("{why}"),
        }
    }

    #[test]
    fn each_rung_as_it_should_look() {
        assert_eq!(one(PLAIN, Rung::Up), "");
        let degraded = Attributes { kernel_metric: Some(200), path_len: 2, ..PLAIN };
        assert_eq!(one(degraded, Rung::Degraded), "");
        let draining = Attributes { kernel_metric: Some(300), graceful_shutdown: true, ..PLAIN };
        assert_eq!(one(draining, Rung::Draining), "");
        let gone = seen(SessionState::Established, &[("203.0.113.0/24", Export::Absent)]);
        assert_eq!(compare(&gone, Rung::Down), Verification::Verified);
    }

    #[test]
    fn each_rung_as_it_should_not() {
        let cases = [
            (PLAIN, Rung::Degraded, "metric 100"),
            (PLAIN, Rung::Down, "still announces"),
            (Attributes { kernel_metric: Some(200), ..PLAIN }, Rung::Degraded, "neither a longer path"),
            (Attributes { kernel_metric: Some(300), ..PLAIN }, Rung::Draining, "without the community"),
            (Attributes { graceful_shutdown: true, ..PLAIN }, Rung::Up, "with the community"),
            (Attributes { kernel_metric: None, path_len: 2, ..PLAIN }, Rung::Up, "longer path"),
        ];
        for (attributes, rung, part) in cases {
            let found = one(attributes, rung);
            assert!(found.contains(part), "{rung}: {found:?}");
        }
    }

    #[test]
    fn sessions_and_families() {
        let down = || seen(SessionState::Other("start Active".to_owned()), &[]);
        assert_eq!(compare(&down(), Rung::Down), Verification::Verified);
        assert!(matches!(compare(&down(), Rung::Up), Verification::Differs(_)));
        let missing = seen(SessionState::NoProtocol, &[]);
        assert!(matches!(compare(&missing, Rung::Down), Verification::Differs(_)));
        let v6 = seen(SessionState::Established, &[("2001:db8::/48", Export::OtherFamily)]);
        let Verification::Differs(found) = compare(&v6, Rung::Up) else { panic!("it is announced nowhere") };
        assert!(found[0].contains("no session carries ipv6"), "{found:?}");
    }
}
