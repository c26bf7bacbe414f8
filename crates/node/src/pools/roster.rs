//! The pools with all that is known of their endpoints, and what follows from it. It asks nobody and takes the time as an argument.

use super::memory::Memory;
use super::portions::Portions;
use super::probe::Look;
use super::sharing::{Sighting, Votes};
use super::watched::Watched;
use crate::config::{CheckId, PoolCheck, PoolConfig};
use crate::status::{AddressStatus, FamilyStatus, LastFailure, PoolStatus, PoolTransition, timestamp};
use health::{Action, Check, CheckSpec, Gravity, Moment};
use pool::{Admin, Basis, Condition, Health, Portion, Selection, Selector, Spec};
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use wire::RecordType;
use zone::amend::Steered;

/// How many transitions of a pool are kept to be shown.
const TRANSITIONS_KEPT: usize = 20;

/// What is looked at: an address, and how. However many pools have it, it is looked at once.
pub(super) type Target = (IpAddr, Arc<PoolCheck>);

/// The pools.
pub(super) struct Roster {
    config: Arc<[PoolConfig]>,
    states: Vec<State>,
    targets: HashMap<Target, Watched>,
    /// What other nodes say.
    others: Votes,
    memory: Memory,
}

/// What is known of a pool, beside its endpoints.
struct State {
    check: Arc<PoolCheck>,
    /// Which check that is on other nodes.
    id: CheckId,
    /// What an operator has said of each endpoint.
    admins: Vec<Admin>,
    /// For IPv4 and for IPv6.
    families: [Family; 2],
    transitions: VecDeque<PoolTransition>,
}

#[derive(Default)]
struct Family {
    selector: Selector,
    selection: Option<Selection>,
    /// What answers have of it; none where that has to be found out anew.
    portions: Option<Portions>,
    since: Option<SystemTime>,
    changes: u64,
}

impl Family {
    /// The addresses that answers have.
    fn addresses(&self, pool: &PoolConfig, is_ipv4: bool) -> Vec<IpAddr> {
        match (&self.selection, &self.portions) {
            (Some(selection), Some(portions)) => addresses_of(pool, is_ipv4, selection, portions),
            _ => Vec::new(),
        }
    }
}

impl Roster {
    /// No pools yet; of those that come it is known what an earlier run has noted.
    pub(super) fn new(memory: Memory) -> Roster {
        let (config, others) = (Arc::default(), Votes::new());
        Roster { config, states: Vec::new(), targets: HashMap::new(), others, memory }
    }

    /// Takes other pools. What is known of those that stay is kept.
    #[expect(
        clippy::mutable_key_type,
        reason = "the TLS client of a check is no part of its hash, nor of what it is equal to"
    )]
    pub(super) fn configure(&mut self, config: Arc<[PoolConfig]>, now: Moment) {
        let known = self.memory();
        let mut before: HashMap<String, State> =
            self.config.iter().map(|pool| pool.name.clone()).zip(self.states.drain(..)).collect();
        let mut targets = HashMap::new();
        for pool in config.iter() {
            let (check, id) = (Arc::new(pool.check.clone()), pool.check.identity());
            for (endpoint, address) in addresses(pool) {
                let target = (address, Arc::clone(&check));
                let health = known.health(&pool.name, endpoint, address);
                let watched = self.targets.remove(&target).or_else(|| targets.remove(&target));
                // The configuration has bounds for all that a check could be wrong in.
                let fresh = || Check::new(spec(pool), now).ok().map(|check| Watched::new(check, id, health));
                if let Some(watched) = watched.or_else(fresh) {
                    targets.insert(target, watched);
                }
            }
            let admins = pool.endpoints.iter().map(|it| known.admin(&pool.name, &it.name)).collect();
            let before = before.remove(&pool.name);
            let (families, transitions) =
                before.map(|state| (state.families, state.transitions)).unwrap_or_default();
            // Members may have other numbers now.
            let families =
                families.map(|family| Family { selector: Selector::default(), portions: None, ..family });
            self.states.push(State { check, id, admins, families, transitions });
        }
        self.config = config;
        self.targets = targets;
        self.memory = known;
    }

    /// What is to be looked at.
    pub(super) fn targets(&self) -> impl Iterator<Item = &Target> {
        self.targets.keys()
    }

    /// Takes what a look has shown; whether that changes what is known of the target.
    pub(super) fn observe(&mut self, target: &Target, took: Duration, look: Look, now: Moment) -> bool {
        // What keeps this node from looking is said once, however many targets it concerns.
        let is_news = match &look {
            Look::Blind(why) => {
                !self.targets.values().any(|it| it.blind.as_ref().is_some_and(|it| it.why == *why))
            }
            Look::Saw(_) => false,
        };
        let Some(watched) = self.targets.get_mut(target) else { return false };
        match &look {
            Look::Blind(why) if is_news => {
                tracing::warn!("{} can't be checked by {}: {why}", target.0, target.1.probe.word());
            }
            Look::Saw(_) if watched.blind.is_some() => {
                tracing::info!("{} can be checked by {} again", target.0, target.1.probe.word());
            }
            Look::Blind(_) | Look::Saw(_) => {}
        }
        watched.observe(took, look, now)
    }

    /// Takes what other nodes say, in place of what they have said before.
    pub(super) fn hear(&mut self, others: Votes) {
        self.others = others;
    }

    /// What this node has seen itself since its start.
    pub(super) fn sightings(&self) -> Vec<Sighting> {
        let sighting = |((address, of_target), watched): (&Target, &Watched)| Sighting {
            sight: (*address, watched.id),
            health: watched.seen(),
            since: watched.check.since(),
            seen: watched.check.last().next().map(|last| last.at),
            turn: of_target.interval + of_target.timeout,
        };
        self.targets.iter().map(sighting).collect()
    }

    /// Notes what an operator says of an endpoint.
    ///
    /// # Errors
    /// There is no such pool or endpoint, in words.
    pub(super) fn set(&mut self, pool: &str, endpoint: &str, admin: Admin) -> Result<(), String> {
        let index = self.find(pool)?;
        let names: Vec<&str> = self.config[index].endpoints.iter().map(|it| it.name.as_str()).collect();
        let Some(at) = names.iter().position(|name| *name == endpoint) else {
            return Err(format!("the pool {pool} has no endpoint {endpoint}; it has {}", names.join(", ")));
        };
        self.states[index].admins[at] = admin;
        Ok(())
    }

    /// Has the best tier of a pool that is good answer again.
    ///
    /// # Errors
    /// There is no such pool, in words.
    pub(super) fn fail_back(&mut self, pool: &str) -> Result<(), String> {
        let index = self.find(pool)?;
        self.states[index].families.iter_mut().for_each(|family| family.selector.fail_back());
        Ok(())
    }

    fn find(&self, pool: &str) -> Result<usize, String> {
        let found = self.config.iter().position(|it| it.name == pool);
        found.ok_or_else(|| {
            format!("there is no pool {pool} here; `starling ctl pools` lists those there are")
        })
    }

    /// Decides what every pool answers with; when that has to be done again though nothing happens, and whether anything has changed.
    pub(super) fn select(&mut self, now: Moment) -> (Option<Moment>, bool) {
        let mut again_at: Option<Moment> = None;
        let mut is_change = false;
        for index in 0..self.config.len() {
            for is_ipv4 in [true, false] {
                let conditions: Vec<Condition> = self.conditions(index, is_ipv4);
                let pool = &self.config[index];
                let members: Vec<_> = pool.members(is_ipv4).map(|(.., member)| member).collect();
                if members.is_empty() {
                    continue;
                }
                let state = &mut self.states[index];
                let family = &mut state.families[usize::from(!is_ipv4)];
                let selection = family.selector.select(&pool.spec, &members, &conditions, now);
                again_at = again_at.into_iter().chain(selection.again_at).min();
                let is_same = family.selection.as_ref().is_some_and(|before| {
                    (&before.members, before.basis) == (&selection.members, selection.basis)
                });
                family.portions = family.portions.take().filter(|_| is_same);
                let portions = family
                    .portions
                    .get_or_insert_with(|| Portions::of(pool, is_ipv4, &members, &selection.members));
                if !is_same {
                    is_change = true;
                    let at = SystemTime::now();
                    let transition = transition(pool, is_ipv4, &selection, portions, at);
                    match selection.basis {
                        // What the last run knew, before anybody serves it.
                        _ if now == Moment::default() => {}
                        Basis::Good { .. } => tracing::info!("pool {}: {}", pool.name, transition.what),
                        Basis::Panic | Basis::AllDown(_) => {
                            tracing::warn!("pool {}: {}", pool.name, transition.what)
                        }
                    }
                    state.transitions.truncate(TRANSITIONS_KEPT - 1);
                    state.transitions.push_front(transition);
                    family.since = Some(at);
                    family.changes += 1;
                }
                family.selection = Some(selection);
            }
        }
        (again_at, is_change)
    }

    fn conditions(&self, index: usize, is_ipv4: bool) -> Vec<Condition> {
        let (pool, state) = (&self.config[index], &self.states[index]);
        let admin = |name: &str| {
            let at = pool.endpoints.iter().position(|it| it.name == name);
            at.and_then(|at| state.admins.get(at)).copied().unwrap_or_default()
        };
        let members = pool.members(is_ipv4);
        members
            .map(|(endpoint, address, _)| {
                let own = self.health(&(address, Arc::clone(&state.check)));
                let others = self.others.get(&(address, state.id)).copied().unwrap_or_default();
                Condition { health: pool.view.health(own, others), admin: admin(&endpoint.name) }
            })
            .collect()
    }

    fn health(&self, target: &Target) -> Health {
        self.targets.get(target).map(Watched::health).unwrap_or_default()
    }

    /// What names answer with: all address records that each has from its pool, as last selected.
    pub(super) fn answers(&self) -> Vec<Steered> {
        let mut answers = Vec::new();
        for (pool, state) in self.config.iter().zip(&self.states) {
            let mut selections = state.families.iter().filter_map(|family| family.selection.as_ref());
            let is_zone =
                |selection: &Selection| matches!(selection.basis, Basis::AllDown(pool::AllDown::Zone));
            // What the zone itself has is one thing, addresses of both families.
            if selections.all(is_zone) {
                continue;
            }
            let of_families =
                [(RecordType::A, true), (RecordType::AAAA, false)].into_iter().zip(&state.families);
            let of_families: Vec<_> = of_families
                .map(|((rtype, is_ipv4), family)| {
                    let choice = family.portions.as_ref().and_then(Portions::choice);
                    let rdata: Vec<_> = family.addresses(pool, is_ipv4).iter().map(octets).collect();
                    (rtype, rdata, choice.cloned())
                })
                .collect();
            for name in &pool.names {
                answers.extend(of_families.iter().cloned().map(|(rtype, rdata, choice)| Steered {
                    owner: name.clone(),
                    rtype,
                    ttl: pool.ttl,
                    rdata,
                    choice,
                }));
            }
        }
        answers
    }

    /// What the next run is to know.
    pub(super) fn memory(&self) -> Memory {
        if self.config.is_empty() {
            return self.memory.clone();
        }
        let mut memory = Memory::default();
        for (pool, state) in self.config.iter().zip(&self.states) {
            for (endpoint, admin) in pool.endpoints.iter().zip(&state.admins) {
                for address in &endpoint.addresses {
                    let health = self.health(&(*address, Arc::clone(&state.check)));
                    memory.add(&pool.name, &endpoint.name, *address, health, *admin);
                }
            }
        }
        memory
    }

    /// How the pools are.
    pub(super) fn statuses(&self) -> Vec<PoolStatus> {
        (0..self.config.len()).map(|index| self.status(index)).collect()
    }

    fn status(&self, index: usize) -> PoolStatus {
        let (pool, state) = (&self.config[index], &self.states[index]);
        let mut families = Vec::new();
        let mut addresses = Vec::new();
        for (is_ipv4, family) in [true, false].into_iter().zip(&state.families) {
            let Some(selection) = &family.selection else { continue };
            let portions = family.portions.as_ref();
            families.push(FamilyStatus {
                family: family_word(is_ipv4).to_owned(),
                basis: selection.basis.word().to_owned(),
                tier: match selection.basis {
                    Basis::Good { tier } => Some(tier),
                    Basis::Panic | Basis::AllDown(_) => None,
                },
                answers: family.addresses(pool, is_ipv4).iter().map(ToString::to_string).collect(),
                since: family.since.map_or_else(String::new, timestamp),
                changes: family.changes,
                places: portions.map_or_else(Vec::new, |it| it.places(pool, is_ipv4)),
            });
            let conditions = self.conditions(index, is_ipv4);
            for (position, ((endpoint, address, member), condition)) in
                pool.members(is_ipv4).zip(conditions).enumerate()
            {
                let watched = self.targets.get(&(address, Arc::clone(&state.check)));
                let last = watched.and_then(|watched| watched.check.last().next());
                addresses.push(AddressStatus {
                    endpoint: endpoint.name.clone(),
                    address: address.to_string(),
                    tier: member.tier,
                    health: condition.health.word().to_owned(),
                    admin: condition.admin.word().to_owned(),
                    weight: match pool.spec.kind {
                        pool::Kind::Weighted { .. } => Some(member.weight),
                        _ => None,
                    },
                    answers: portions.is_some_and(|it| it.members().contains(&position)),
                    share_ppm: portions.map_or(0, |it| it.share_ppm(position)),
                    failure: last.and_then(|last| last.failure.clone()),
                    looked: watched.and_then(|watched| watched.looked).map(timestamp),
                    unseen: watched.and_then(|watched| watched.blind.as_ref()).map(|blind| blind.why.clone()),
                    last_failure: watched
                        .and_then(|watched| watched.failed.clone())
                        .map(|(at, what)| LastFailure { at: timestamp(at), what }),
                    took_us: watched.map_or(0, |watched| watched.check.took().as_micros() as u64), // no hour has 2^64
                    runs: watched.map_or(0, |watched| watched.check.runs()),
                    failures: watched.map_or(0, |watched| watched.check.failures()),
                    own: watched.map(Watched::health).unwrap_or_default().word().to_owned(),
                    peers: Vec::new(), // who asks adds them
                });
            }
        }
        PoolStatus {
            name: pool.name.clone(),
            names: pool.names.iter().map(ToString::to_string).collect(),
            kind: match pool.spec.kind {
                pool::Kind::Failover { .. } => "failover".to_owned(),
                pool::Kind::RoundRobin => "round-robin".to_owned(),
                pool::Kind::Weighted { .. } => "weighted".to_owned(),
                pool::Kind::Hash => "hash".to_owned(),
                pool::Kind::Nearest => "nearest".to_owned(),
            },
            portion: portion(&pool.spec),
            ttl: pool.ttl,
            families,
            addresses,
            transitions: state.transitions.iter().cloned().collect(),
            problems: Vec::new(), // the keeper knows of them
            view: pool.view.word().to_owned(),
            check: state.id.to_string(),
            sharing: None, // who asks adds it
        }
    }
}

fn addresses(pool: &PoolConfig) -> impl Iterator<Item = (&str, IpAddr)> {
    let of_one = |endpoint: &'_ crate::config::EndpointConfig| endpoint.addresses.clone();
    pool.endpoints.iter().flat_map(move |endpoint| {
        of_one(endpoint).into_iter().map(|address| (endpoint.name.as_str(), address))
    })
}

/// The check of a pool's endpoints, as the state machine of checks has it.
fn spec(pool: &PoolConfig) -> CheckSpec {
    let PoolCheck { interval, timeout, rise, fall, .. } = pool.check;
    CheckSpec {
        name: pool.name.clone(),
        interval,
        timeout,
        rise,
        fall,
        action: Action::Report,
        gravity: Gravity::Soft,
        shared: true,
    }
}

/// How much of what is selected an answer has, in words.
fn portion(spec: &Spec) -> String {
    match (spec.kind, spec.answers_max) {
        (pool::Kind::Weighted { portion: Portion::One }, _) => "one by weight".to_owned(),
        (pool::Kind::Weighted { portion: Portion::Set }, _) => "a set by weights".to_owned(),
        (pool::Kind::Hash, _) => "one for each network".to_owned(),
        (pool::Kind::Nearest, _) => "the nearest".to_owned(),
        (_, Some(most)) => format!("at most {most}"),
        (_, None) => "all".to_owned(),
    }
}

/// The addresses that answers have.
fn addresses_of(pool: &PoolConfig, is_ipv4: bool, selection: &Selection, portions: &Portions) -> Vec<IpAddr> {
    if let Basis::AllDown(pool::AllDown::Fallback) = selection.basis {
        return pool.fallback.iter().copied().filter(|address| address.is_ipv4() == is_ipv4).collect();
    }
    let members = pool.members(is_ipv4).enumerate();
    members.filter(|(at, _)| portions.members().contains(at)).map(|(_, (_, address, _))| address).collect()
}

fn transition(
    pool: &PoolConfig,
    is_ipv4: bool,
    selection: &Selection,
    portions: &Portions,
    at: SystemTime,
) -> PoolTransition {
    let answers = addresses_of(pool, is_ipv4, selection, portions);
    let answers: Vec<String> = answers.iter().map(ToString::to_string).collect();
    let with = match selection.basis {
        Basis::AllDown(pool::AllDown::Zone) => "what the zone has".to_owned(),
        _ if answers.is_empty() => "nothing".to_owned(),
        _ => answers.join(" "),
    };
    let why = match selection.basis {
        Basis::Good { tier } => format!("good in tier {tier}"),
        Basis::Panic => "so few are good that checks are not believed".to_owned(),
        Basis::AllDown(_) => "nothing is good".to_owned(),
    };
    let what = format!("{} answers with {with} ({why})", family_word(is_ipv4));
    PoolTransition { at: timestamp(at), what }
}

fn family_word(is_ipv4: bool) -> &'static str {
    if is_ipv4 { "IPv4" } else { "IPv6" }
}

fn octets(address: &IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
