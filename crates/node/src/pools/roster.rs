//! The pools with all that is known of their endpoints, and what follows from it. It asks nobody and takes the time as an argument.

mod answers;
mod operators;
mod shown;

use super::loads::{self, Meter, Weights};
use super::memory::Memory;
use super::portions::Portions;
use super::probe::Look;
use super::sharing::{Sighting, Votes};
use super::watched::Watched;
use crate::config::{
    Answer, CheckId, EndpointConfig, Place, PoolCheck, PoolConfig, Side, Stands, inside_out, numbers,
};
use crate::status::PoolTransition;
use health::{Action, Check, CheckSpec, Gravity, Moment};
use pool::{Admin, Basis, Condition, Health, Kind, Member, Report, Selection, Selector};
use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How many transitions of a pool are kept to be shown.
const TRANSITIONS_KEPT: usize = 20;

/// What is looked at: an address, and how. However many pools have it, it is looked at once.
pub(super) type Target = (IpAddr, Arc<PoolCheck>);

/// The pools.
pub(super) struct Roster {
    config: Arc<[PoolConfig]>,
    /// The numbers of the pools, those within others before these.
    order: Vec<usize>,
    states: Vec<State>,
    targets: HashMap<Target, Watched>,
    /// What other nodes say.
    others: Votes,
    memory: Memory,
}

/// What is known of a pool, beside its endpoints.
struct State {
    check: Option<Arc<PoolCheck>>,
    /// Which check that is on other nodes.
    id: Option<CheckId>,
    /// For each endpoint that is a pool, which one.
    within: Vec<Option<usize>>,
    /// What an operator has said of each endpoint.
    admins: Vec<Admin>,
    /// What was decided, by [`Side::ALL`].
    sides: [Decided; Side::ALL.len()],
    transitions: VecDeque<PoolTransition>,
}

/// What was decided for a side of a pool.
#[derive(Default)]
struct Decided {
    selector: Selector,
    selection: Option<Selection>,
    /// Whether not everything is known that it goes by.
    is_open: bool,
    /// What answers have of it; none where that has to be found out anew.
    portions: Option<Portions>,
    weights: Weights,
    since: Option<SystemTime>,
    changes: u64,
}

impl Decided {
    /// One of which an earlier run has noted which tier answered, and with what weights.
    fn remembered(pool: &PoolConfig, side: Side, memory: &Memory) -> Decided {
        let tier = memory.tier(&pool.name, side);
        Decided {
            selector: tier.map_or_else(Selector::default, Selector::standing),
            weights: Weights::recall(pool, side, memory),
            ..Decided::default()
        }
    }

    /// Takes other members. The tier that answers goes on, and a better one has to prove itself as before.
    fn renumber(&mut self) {
        self.selector.renumber();
        self.portions = None;
    }
}

impl Roster {
    /// No pools yet; of those that come it is known what an earlier run has noted.
    pub(super) fn new(memory: Memory) -> Roster {
        let (config, others) = (Arc::default(), Votes::new());
        let (order, states) = (Vec::new(), Vec::new());
        Roster { config, order, states, targets: HashMap::new(), others, memory }
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
        let numbers = numbers(&config);
        for pool in config.iter() {
            let check = pool.check.clone().map(Arc::new);
            let id = pool.check.as_ref().map(PoolCheck::identity);
            for (endpoint, address, it) in pool.checked() {
                let (Some(check), Some(id)) = (&check, id) else { continue };
                let target = (address, Arc::clone(check));
                let health = known.health(&pool.name, &endpoint.name, address);
                let watched = self.targets.remove(&target).or_else(|| targets.remove(&target));
                // The configuration has bounds for all that a check could be wrong in.
                let fresh = || {
                    let known = Check::new(spec(&pool.name, it), now).ok()?;
                    Some(Watched::new(known, id, health, Meter::of(check)))
                };
                if let Some(watched) = watched.or_else(fresh) {
                    targets.insert(target, watched);
                }
            }
            let admins = pool.endpoints.iter().map(|it| known.admin(&pool.name, &it.name)).collect();
            let within = pool.endpoints.iter().map(|endpoint| match &endpoint.stands {
                Stands::Pool(inner) => numbers.get(inner.name.as_str()).copied(),
                Stands::Addresses | Stands::Target(_) => None,
            });
            let within = within.collect();
            let before = before.remove(&pool.name);
            let fresh = || Side::ALL.map(|side| Decided::remembered(pool, side, &known));
            let (mut sides, transitions) =
                before.map_or_else(|| (fresh(), VecDeque::new()), |state| (state.sides, state.transitions));
            // Members may have other numbers now.
            sides.iter_mut().for_each(Decided::renumber);
            for side in Side::ALL.into_iter().filter(|side| !pool.reaches(*side)) {
                sides[side as usize] = Decided::default();
            }
            self.states.push(State { check, id, within, admins, sides, transitions });
        }
        self.order = inside_out(&config);
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
            Look::Saw(..) => false,
        };
        let Some(watched) = self.targets.get_mut(target) else { return false };
        match &look {
            Look::Blind(why) if is_news => {
                tracing::warn!("{} can't be checked by {}: {why}", target.0, target.1.probe.word());
            }
            Look::Saw(..) if watched.blind.is_some() => {
                tracing::info!("{} can be checked by {} again", target.0, target.1.probe.word());
            }
            Look::Blind(_) | Look::Saw(..) => {}
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

    /// Decides what every pool answers with; when that has to be done again though nothing happens, and whether anything has changed.
    pub(super) fn select(&mut self, now: Moment) -> (Option<Moment>, bool) {
        let mut again_at: Option<Moment> = None;
        let mut changed: HashSet<(usize, Side)> = HashSet::new();
        for at in 0..self.order.len() {
            let index = self.order[at];
            for side in Side::ALL {
                let Some((again, is_change)) = self.decide(index, side, &changed, now) else { continue };
                again_at = again_at.into_iter().chain(again).min();
                if is_change {
                    changed.insert((index, side));
                }
            }
        }
        (again_at, !changed.is_empty())
    }

    /// Decides for a side of a pool, with what has changed of those within it; when that has to be done again, and whether answers
    /// are others now. `None` where it has no members.
    fn decide(
        &mut self,
        index: usize,
        side: Side,
        changed: &HashSet<(usize, Side)>,
        now: Moment,
    ) -> Option<(Option<Moment>, bool)> {
        let config = Arc::clone(&self.config);
        let pool = &config[index];
        let mut members: Vec<Member> = pool.members(side).map(|(.., member)| member).collect();
        if members.is_empty() {
            return None;
        }
        let conditions = self.conditions(index, side);
        let reports = self.reports(index, side);
        let state = &mut self.states[index];
        let decided = &mut state.sides[side as usize];
        decided.is_open = conditions.iter().copied().any(is_open);
        let selection = decided.selector.select(&pool.spec, &members, &conditions, now);
        let is_same = decided
            .selection
            .as_ref()
            .is_some_and(|before| (&before.members, before.basis) == (&selection.members, selection.basis));
        let is_moved = decided.weights.follow(&pool.spec, &mut members, &selection, &reports, now);
        let again_at = selection.again_at.into_iter().chain(decided.weights.due()).min();
        let is_other_within = state.within.iter().flatten().any(|inner| changed.contains(&(*inner, side)));
        if is_same && !is_moved && !is_other_within && decided.portions.is_some() {
            decided.selection = Some(selection);
            return Some((again_at, false));
        }
        let portions = self.portions(index, side, &members, &selection);
        let decided = &mut self.states[index].sides[side as usize];
        let is_change = !is_same || decided.portions.as_ref().is_some_and(|before| *before != portions);
        // Steps of weights are no transitions.
        let is_other = |before: &Portions| before.answers() != portions.answers();
        if !is_same || decided.portions.as_ref().is_some_and(is_other) {
            let at = SystemTime::now();
            let transition = shown::transition(side, &selection, &portions, at);
            match selection.basis {
                // What the last run knew, before anybody serves it.
                _ if now == Moment::default() => {}
                Basis::Good { .. } => tracing::info!("pool {}: {}", pool.name, transition.what),
                Basis::Panic | Basis::AllDown(_) => {
                    tracing::warn!("pool {}: {}", pool.name, transition.what)
                }
            }
            decided.since = Some(at);
            decided.changes += 1;
            let transitions = &mut self.states[index].transitions;
            transitions.truncate(TRANSITIONS_KEPT - 1);
            transitions.push_front(transition);
        }
        let decided = &mut self.states[index].sides[side as usize];
        decided.selection = Some(selection);
        decided.portions = Some(portions);
        Some((again_at, is_change))
    }

    /// What is known of the members of a side, and said of them.
    fn conditions(&self, index: usize, side: Side) -> Vec<Condition> {
        let (pool, state) = (&self.config[index], &self.states[index]);
        let number = |name: &str| pool.endpoints.iter().position(|it| it.name == name);
        let members = pool.members(side);
        members
            .map(|(endpoint, place, _)| {
                let number = number(&endpoint.name);
                let admin = number.and_then(|at| state.admins.get(at)).copied().unwrap_or_default();
                let admin = loads::wish(admin, self.metered(index, endpoint, &place));
                let health = match place {
                    Place::Itself(Answer::Address(address)) => self.viewed(index, address),
                    Place::Itself(Answer::Target(_)) => self.any_of(index, endpoint),
                    Place::Pool(_) => number
                        .and_then(|at| state.within[at])
                        .map_or(Health::Unknown, |at| self.within(at, side)),
                };
                Condition { health, admin }
            })
            .collect()
    }

    /// The loads of the members of a side, where weights follow them.
    fn reports(&self, index: usize, side: Side) -> Vec<Report> {
        let pool = &self.config[index];
        let Kind::LeastLoad { .. } = pool.spec.kind else { return Vec::new() };
        let members = pool.members(side);
        members.map(|(endpoint, place, _)| loads::report(self.metered(index, endpoint, &place))).collect()
    }

    /// Whose load is that of a member: where a target has several addresses, the first.
    fn metered(&self, index: usize, endpoint: &EndpointConfig, place: &Place<'_>) -> Option<&Watched> {
        self.watched(index, loads::address(endpoint, place)?)
    }

    /// How much of the share of its weight an address has, where that follows loads.
    fn factor(&self, index: usize, address: IpAddr) -> Option<f64> {
        let pool = &self.config[index];
        Side::ALL.into_iter().find_map(|side| {
            let mut members = pool.members(side);
            let position =
                members.position(|(endpoint, place, _)| loads::address(endpoint, &place) == Some(address))?;
            self.states[index].sides[side as usize].weights.factor(position)
        })
    }

    /// What an address counts as, by the view of its pool.
    fn viewed(&self, index: usize, address: IpAddr) -> Health {
        let (pool, state) = (&self.config[index], &self.states[index]);
        let own = self.watched(index, address).map(Watched::health).unwrap_or_default();
        let others = state.id.and_then(|id| self.others.get(&(address, id))).copied().unwrap_or_default();
        pool.view.health(own, others)
    }

    /// What an endpoint counts as that is good while any of its addresses is. Without one nobody looks at it, and it is good.
    fn any_of(&self, index: usize, endpoint: &EndpointConfig) -> Health {
        let healths: Vec<Health> = endpoint.addresses.iter().map(|it| self.viewed(index, *it)).collect();
        let has = |health| healths.contains(&health);
        if healths.is_empty() || has(Health::Up) {
            return Health::Up;
        }
        if has(Health::Unknown) { Health::Unknown } else { Health::Down }
    }

    /// What a pool counts as where it stands within another: good while it stands on good members, and on nothing else.
    fn within(&self, index: usize, side: Side) -> Health {
        let decided = &self.states[index].sides[side as usize];
        match decided.selection.as_ref().map(|selection| selection.basis) {
            Some(Basis::Good { .. }) => Health::Up,
            Some(_) if !decided.is_open => Health::Down,
            Some(_) | None => Health::Unknown,
        }
    }

    fn watched(&self, index: usize, address: IpAddr) -> Option<&Watched> {
        let check = self.states[index].check.as_ref()?;
        self.targets.get(&(address, Arc::clone(check)))
    }

    /// What the next run is to know.
    pub(super) fn memory(&self) -> Memory {
        if self.config.is_empty() {
            return self.memory.clone();
        }
        let mut memory = Memory::default();
        for (index, (pool, state)) in self.config.iter().zip(&self.states).enumerate() {
            for side in Side::ALL {
                let tier = state.sides[side as usize].selector.answering();
                tier.into_iter().for_each(|tier| memory.add_tier(&pool.name, side, tier));
            }
            for (endpoint, admin) in pool.endpoints.iter().zip(&state.admins) {
                if endpoint.addresses.is_empty() {
                    memory.add(&pool.name, &endpoint.name, None, Health::Unknown, *admin, None);
                }
                for address in &endpoint.addresses {
                    let health = self.watched(index, *address).map(Watched::health).unwrap_or_default();
                    memory.add(
                        &pool.name,
                        &endpoint.name,
                        Some(*address),
                        health,
                        *admin,
                        self.factor(index, *address),
                    );
                }
            }
        }
        memory
    }
}

/// Whether checks may yet find it good, or not.
fn is_open(condition: Condition) -> bool {
    condition.admin == Admin::Auto && condition.health == Health::Unknown
}

/// The check of a pool's endpoints, as the state machine of checks has it.
fn spec(pool: &str, check: &PoolCheck) -> CheckSpec {
    let PoolCheck { interval, timeout, rise, fall, .. } = *check;
    CheckSpec {
        name: pool.to_owned(),
        interval,
        timeout,
        rise,
        fall,
        action: Action::Report,
        gravity: Gravity::Soft,
        shared: true,
    }
}
