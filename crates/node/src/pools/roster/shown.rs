//! How pools are, for whoever looks.

use super::Roster;
use crate::config::{Answer, EndpointConfig, Place, Side};
use crate::pools::portions::Portions;
use crate::pools::watched::Watched;
use crate::status::{
    AddressStatus, FamilyStatus, LastFailure, Latencies, PoolStatus, PoolTransition, timestamp,
};
use pool::{AllDown, Basis, Condition, Health, Kind, Member, Portion, Selection, Spec};
use std::time::SystemTime;

impl Roster {
    /// How the pools are.
    pub(in crate::pools) fn statuses(&self) -> Vec<PoolStatus> {
        (0..self.config.len()).map(|index| self.status(index)).collect()
    }

    fn status(&self, index: usize) -> PoolStatus {
        let (pool, state) = (&self.config[index], &self.states[index]);
        let mut families = Vec::new();
        let mut addresses = Vec::new();
        for side in Side::ALL {
            let decided = &state.sides[side as usize];
            let Some(selection) = &decided.selection else { continue };
            let answers = decided.portions.as_ref().map_or(&[][..], Portions::answers);
            families.push(FamilyStatus {
                family: side.word().to_owned(),
                basis: selection.basis.word().to_owned(),
                tier: match selection.basis {
                    Basis::Good { tier } => Some(tier),
                    Basis::Panic | Basis::AllDown(_) => None,
                },
                answers: answers.iter().map(ToString::to_string).collect(),
                since: decided.since.map_or_else(String::new, timestamp),
                changes: decided.changes,
                places: decided.portions.as_ref().map_or_else(Vec::new, |it| it.places(self.atlas())),
            });
            let conditions = self.conditions(index, side);
            for (position, (member, condition)) in pool.members(side).zip(conditions).enumerate() {
                let metered = self.metered(index, member.0, &member.1);
                let load = decided.weights.status(position, &member.2, metered);
                let status = self.member(index, member, condition);
                let portions = decided.portions.as_ref();
                addresses.push(AddressStatus {
                    answers: portions.is_some_and(|it| it.has(position)),
                    share_ppm: portions.map_or(0, |it| it.share_ppm(position)),
                    load,
                    ..status
                });
            }
        }
        PoolStatus {
            name: pool.name.clone(),
            names: pool.names.iter().map(ToString::to_string).collect(),
            kind: kind(&pool.spec).to_owned(),
            portion: portion(&pool.spec),
            ttl: pool.ttl,
            families,
            addresses,
            transitions: state.transitions.iter().cloned().collect(),
            problems: Vec::new(), // the keeper knows of them
            view: pool.view.word().to_owned(),
            check: state.id.map_or_else(String::new, |id| id.to_string()),
            sharing: None, // who asks adds it
            zone: pool.zone.as_ref().map(ToString::to_string),
            times: Latencies::default(), // who counts them adds them
        }
    }

    /// What is known of a member, whether or not it is answered with.
    fn member(
        &self,
        index: usize,
        (endpoint, place, member): (&EndpointConfig, Place<'_>, Member),
        condition: Condition,
    ) -> AddressStatus {
        let looked_at = match &place {
            Place::Itself(Answer::Address(address)) => vec![*address],
            Place::Itself(Answer::Target(_)) => endpoint.addresses.clone(),
            Place::Pool(_) => Vec::new(),
        };
        let watched: Vec<&Watched> =
            looked_at.iter().filter_map(|address| self.watched(index, *address)).collect();
        // Of several it is the first that is not good that says most.
        let first = watched.iter().find(|it| it.health() != Health::Up).or(watched.first());
        let last = first.and_then(|watched| watched.check.last().next());
        let sum = |of_one: fn(&Watched) -> u64| watched.iter().map(|watched| of_one(watched)).sum();
        AddressStatus {
            endpoint: endpoint.name.clone(),
            address: place.to_string(),
            unchecked: watched.is_empty(),
            tier: member.tier,
            health: condition.health.word().to_owned(),
            admin: self.admin(index, &endpoint.name).word().to_owned(),
            weight: match self.config[index].spec.kind {
                Kind::Weighted { .. } | Kind::LeastLoad { .. } => Some(member.weight),
                _ => None,
            },
            answers: false,
            share_ppm: 0,
            failure: last.and_then(|last| last.failure.clone()),
            looked: watched.iter().filter_map(|watched| watched.looked).max().map(timestamp),
            unseen: first.and_then(|watched| watched.blind.as_ref()).map(|blind| blind.why.clone()),
            last_failure: first
                .and_then(|watched| watched.failed.clone())
                .map(|(at, what)| LastFailure { at: timestamp(at), what }),
            took_us: first.map_or(0, |watched| watched.check.took().as_micros() as u64), // no hour has 2^64
            runs: sum(|watched| watched.check.runs()),
            failures: sum(|watched| watched.check.failures()),
            own: match watched.is_empty() {
                true => condition.health.word().to_owned(),
                false => best(&watched).word().to_owned(),
            },
            peers: Vec::new(), // who asks adds them
            load: None,
            given: 0, // who counts them adds them
        }
    }
}

/// What several addresses of one endpoint are together: good while any is.
fn best(watched: &[&Watched]) -> Health {
    let has = |health| watched.iter().any(|watched| watched.health() == health);
    let of_all = [Health::Up, Health::Unknown].into_iter().find(|health| has(*health));
    of_all.unwrap_or(Health::Down)
}

/// The word of the configuration for a pool's kind.
fn kind(spec: &Spec) -> &'static str {
    match spec.kind {
        Kind::Failover { .. } => "failover",
        Kind::RoundRobin => "round-robin",
        Kind::Weighted { .. } => "weighted",
        Kind::LeastLoad { .. } => "least-load",
        Kind::Hash => "hash",
        Kind::Nearest => "nearest",
    }
}

/// How much of what is selected an answer has, in words.
fn portion(spec: &Spec) -> String {
    match (spec.kind, spec.answers_max) {
        (Kind::Weighted { portion: Portion::One }, _) => "one by weight".to_owned(),
        (Kind::Weighted { portion: Portion::Set }, _) => "a set by weights".to_owned(),
        (Kind::LeastLoad { portion: Portion::One, .. }, _) => "one by load".to_owned(),
        (Kind::LeastLoad { portion: Portion::Set, .. }, _) => "a set by loads".to_owned(),
        (Kind::Hash, _) => "one for each network".to_owned(),
        (Kind::Nearest, _) => "the nearest".to_owned(),
        (_, Some(most)) => format!("at most {most}"),
        (_, None) => "all".to_owned(),
    }
}

/// A change of what a side of a pool answers.
pub(super) fn transition(
    side: Side,
    selection: &Selection,
    portions: &Portions,
    at: SystemTime,
) -> PoolTransition {
    let answers: Vec<String> = portions.answers().iter().map(ToString::to_string).collect();
    let with = match selection.basis {
        Basis::AllDown(AllDown::Zone) => "what the zone has".to_owned(),
        Basis::AllDown(AllDown::Servfail) => "SERVFAIL".to_owned(),
        _ if answers.is_empty() => "nothing".to_owned(),
        _ => answers.join(" "),
    };
    let why = match selection.basis {
        Basis::Good { tier } => format!("good in tier {tier}"),
        Basis::Panic => "so few are good that checks are not believed".to_owned(),
        Basis::AllDown(_) => "nothing is good".to_owned(),
    };
    let what = format!("{} answers with {with} ({why})", side.word());
    PoolTransition { at: timestamp(at), what }
}
