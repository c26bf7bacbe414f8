//! Pools against their rules: endpoints that come, go and flap, checks of them, operators, and time.
//!
//! What is looked at goes through the state machines that a node has: [`Check`] for each endpoint, [`Selector`] for
//! the pool. [`Rules`] says after each event which members have to be selected, from the history of the tiers alone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use health::{Action, Check, CheckSpec, Gravity, Moment, Outcome, Standing};
use pool::{
    Admin, AllDown, Basis, Condition, Decider, FailBack, Health, Kind, Member, Portion, Selection, Selector,
    Spec, Spread,
};

use crate::{each_seed, pause, span};

const STEPS: u64 = 500;
/// Where every client has its slot there are 4,096 of them to be filled.
const SPREAD_RARELY: u32 = 64;

#[test]
fn pools_keep_their_rules() {
    each_seed("pools_keep_their_rules", 3_000, |seed| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut world = World::new(&mut rng);
        for _ in 0..STEPS {
            world.step(&mut rng);
        }
        STEPS
    });
}

/// An endpoint, and what is known of it.
struct Endpoint {
    check: Check,
    admin: Admin,
    /// How likely a look is bad, in percent; changes now and then.
    bad: u32,
    /// Whether each look was bad since it was last forgotten, from the first to the last.
    looks: Vec<bool>,
    /// How often it has become good or bad since then.
    changes: usize,
}

impl Endpoint {
    fn condition(&self) -> Condition {
        let health = match self.check.standing() {
            Standing::Unknown => Health::Unknown,
            Standing::Passing => Health::Up,
            Standing::Failing => Health::Down,
        };
        Condition { health, admin: self.admin }
    }

    /// Looks at it. It becomes good after `rise` good looks in a row and bad after `fall` bad ones, and so changes
    /// its mind no more often than that allows.
    fn look(&mut self, now: Moment, rng: &mut fastrand::Rng) {
        let is_bad = rng.u32(0..100) < self.bad;
        let outcome = if is_bad { Outcome::Fail("seen".to_owned()) } else { Outcome::Pass };
        self.looks.push(is_bad);
        let Some(standing) = self.check.observe(now, Duration::ZERO, outcome) else { return };
        self.changes += 1;
        let (rise, fall) = (self.check.spec().rise as usize, self.check.spec().fall as usize);
        let row = if standing == Standing::Failing { fall } else { rise };
        let last = self.looks.iter().rev().take(row);
        assert!(
            last.clone().count() == row && last.clone().all(|it| *it == is_bad),
            "{standing:?}: {:?}",
            self.looks
        );
        let pairs = self.looks.len() / (rise + fall);
        assert!(self.changes <= 2 * pairs + 1, "{} changes in {} looks", self.changes, self.looks.len());
    }

    fn forget(&mut self, now: Moment) {
        self.check.forget(now);
        self.looks.clear();
        self.changes = 0;
    }
}

struct World {
    now: Moment,
    spec: Spec,
    members: Vec<Member>,
    endpoints: Vec<Endpoint>,
    selector: Selector,
    rules: Rules,
    before: Option<Selection>,
}

impl World {
    fn new(rng: &mut fastrand::Rng) -> Self {
        let kind = match rng.u32(0..10) {
            0..7 => Kind::Failover { enough: rng.usize(1..4), fail_back: fail_back(rng) },
            7 => Kind::RoundRobin,
            8 => Kind::Weighted { portion: if rng.bool() { Portion::One } else { Portion::Set } },
            _ => Kind::Hash,
        };
        let all_down = [AllDown::All, AllDown::LastGood, AllDown::Fallback, AllDown::Zone][rng.usize(0..4)];
        let panic_percent = if rng.bool() { 0 } else { rng.u8(1..=100) };
        let has_max = matches!(kind, Kind::Failover { .. } | Kind::RoundRobin) && rng.bool();
        let answers_max = has_max.then(|| rng.usize(1..4));
        let spec = Spec { kind, answers_max, all_down, panic_percent };
        let tiers = if matches!(kind, Kind::Failover { .. }) { 4 } else { 1 };
        let members: Vec<Member> = (0..rng.usize(1..9))
            .map(|index| Member {
                tier: rng.u32(1..=tiers),
                weight: if index == 0 { 1 } else { rng.u16(0..5) },
                identity: Member::identity_of(&format!("e{index}")),
            })
            .collect();
        spec.validate(&members).expect("such a pool can be");
        let endpoints = members.iter().map(|_| endpoint(rng)).collect();
        let (selector, rules) = (Selector::default(), Rules::default());
        Self { now: Moment::default(), spec, members, endpoints, selector, rules, before: None }
    }

    /// Lets something happen, and looks at what is selected then.
    fn step(&mut self, rng: &mut fastrand::Rng) {
        let again_at = self.before.as_ref().and_then(|before| before.again_at);
        // As a node does, and sometimes nothing else happens until then.
        let wait = if rng.bool() { span(rng, 0..300) } else { pause(rng) };
        self.now = match again_at {
            Some(again_at) if rng.u32(0..4) == 0 || self.now + wait > again_at => again_at,
            _ => self.now + wait,
        };
        let which = rng.usize(0..self.endpoints.len());
        match rng.u32(0..100) {
            0..60 => {
                let count = rng.usize(1..=self.endpoints.len());
                (0..count).for_each(|_| {
                    let which = rng.usize(0..self.endpoints.len());
                    self.endpoints[which].look(self.now, rng);
                });
            }
            60..70 => self.endpoints[which].bad = how_bad(rng),
            // All at once, as where a network is cut, and mended.
            70..73 => {
                let bad = how_bad(rng);
                self.endpoints.iter_mut().for_each(|it| it.bad = bad);
            }
            73..83 => self.endpoints[which].admin = admin(rng),
            83..85 => self.endpoints.iter_mut().for_each(|it| it.admin = Admin::Auto),
            85..88 => self.endpoints[which].forget(self.now),
            88..91 => {
                self.selector.fail_back();
                self.rules.fail_back();
            }
            // A configuration that is read again leaves what was decided; of a node that is started anew the tier is
            // known.
            91..93 => {
                self.selector.renumber();
                self.rules.last_good.clear();
            }
            93..95 => {
                self.selector = self.selector.answering().map_or_else(Selector::default, Selector::standing);
                self.rules.restart();
            }
            _ => {}
        }
        let conditions: Vec<Condition> = self.endpoints.iter().map(Endpoint::condition).collect();
        let selection = self.selector.select(&self.spec, &self.members, &conditions, self.now);
        let wanted = self.rules.selection(&self.spec, &self.members, &conditions, self.now);
        assert_eq!(
            selection, wanted,
            "{:?} {:?} {conditions:?}, after {:?}",
            self.spec, self.members, self.before
        );
        let is_same = self.before.as_ref().is_some_and(|before| before.members == selection.members);
        if !is_same && !selection.members.is_empty() {
            self.spread(&selection, rng);
        }
        self.before = Some(selection);
    }

    /// Answers have something of what is selected, and nothing else.
    fn spread(&self, selection: &Selection, rng: &mut fastrand::Rng) {
        if self.spec.kind == Kind::Hash && rng.u32(0..SPREAD_RARELY) > 0 {
            return;
        }
        let spread = Spread::new(&self.spec, &self.members, &selection.members);
        for part in &spread.parts {
            assert!(!part.is_empty() && part.iter().all(|it| selection.members.contains(it)), "{spread:?}");
        }
        let count = spread.parts.len();
        match &spread.by {
            Decider::Turns(weights) => assert!(weights.len() == count && weights.iter().all(|it| *it > 0)),
            Decider::Clients(slots) => assert!(slots.iter().all(|part| usize::from(*part) < count)),
            Decider::Places(places) => assert!(places.iter().all(|part| usize::from(*part) < count)),
        }
    }
}

fn fail_back(rng: &mut fastrand::Rng) -> FailBack {
    match rng.u32(0..4) {
        0 => FailBack::ByHand,
        _ => FailBack::After(span(rng, 0..60_000)),
    }
}

fn how_bad(rng: &mut fastrand::Rng) -> u32 {
    [0, 0, 0, 100, 100, 50, 10][rng.usize(0..7)]
}

fn admin(rng: &mut fastrand::Rng) -> Admin {
    [Admin::Auto, Admin::Auto, Admin::Up, Admin::Down, Admin::Drain][rng.usize(0..5)]
}

fn endpoint(rng: &mut fastrand::Rng) -> Endpoint {
    let second = Duration::from_secs(1);
    let spec = CheckSpec {
        name: "endpoint".to_owned(),
        interval: second,
        timeout: second,
        rise: rng.u32(1..4),
        fall: rng.u32(1..4),
        action: Action::Report,
        gravity: Gravity::Soft,
        shared: true,
    };
    let check = Check::new(spec, Moment::default()).expect("such a check can be");
    Endpoint { check, admin: Admin::Auto, bad: how_bad(rng), looks: Vec::new(), changes: 0 }
}

/// What has to be selected.
#[derive(Default)]
struct Rules {
    /// The tier that answered last for having good members.
    answered: Option<u32>,
    /// Whether, since it began to, a better tier had members of which nothing was known.
    is_young: bool,
    /// Since when each tier has had enough good members without a break. While checks are not believed, none has.
    enough_since: BTreeMap<u32, Moment>,
    last_good: Vec<usize>,
}

impl Rules {
    fn fail_back(&mut self) {
        self.answered = None;
    }

    /// Nothing is left but the tier, if that is more than a beginning.
    fn restart(&mut self) {
        let answered = self.answered.filter(|_| !self.is_young);
        *self = Self { answered, ..Self::default() };
    }

    fn selection(
        &mut self,
        spec: &Spec,
        members: &[Member],
        conditions: &[Condition],
        now: Moment,
    ) -> Selection {
        let those = |is_one: &dyn Fn(&Member, &Condition) -> bool| -> Vec<usize> {
            let all = members.iter().zip(conditions).enumerate();
            all.filter(|(_, (member, it))| is_one(member, it)).map(|(index, _)| index).collect()
        };
        let of_all = |members: Vec<usize>, basis| Selection { members, basis, again_at: None };
        let good = those(&|_, it| is_good(it));
        // Whoever is put down is never answered with, and who is drained only where nobody else is left.
        let mut allowed = those(&|_, it| matches!(it.admin, Admin::Auto | Admin::Up));
        if allowed.is_empty() {
            allowed = those(&|_, it| it.admin == Admin::Drain);
        }
        if good.len() * 100 < usize::from(spec.panic_percent) * members.len() && !allowed.is_empty() {
            self.enough_since.clear();
            return of_all(allowed, Basis::Panic);
        }
        if good.is_empty() {
            self.enough_since.clear();
            let last: Vec<usize> = self.last_good.iter().copied().filter(|it| allowed.contains(it)).collect();
            let selected = match spec.all_down {
                AllDown::Fallback | AllDown::Zone | AllDown::Empty | AllDown::Servfail => Vec::new(),
                AllDown::LastGood if !last.is_empty() => last,
                AllDown::LastGood | AllDown::All => allowed,
            };
            return of_all(selected, Basis::AllDown(spec.all_down));
        }
        let Kind::Failover { enough, fail_back } = spec.kind else {
            self.last_good.clone_from(&good);
            return of_all(good, Basis::Good { tier: members[0].tier });
        };
        let (tier, again_at) = self.tier(members, conditions, enough, fail_back, now);
        // All good ones of the tier, and so none that is known to be bad.
        let selected = those(&|member, it| member.tier == tier && is_good(it));
        assert!(!selected.is_empty());
        self.last_good.clone_from(&selected);
        Selection { members: selected, basis: Basis::Good { tier }, again_at }
    }

    /// The tier that answers where something is good, and when another will if nothing else happens.
    fn tier(
        &mut self,
        members: &[Member],
        conditions: &[Condition],
        enough: usize,
        fail_back: FailBack,
        now: Moment,
    ) -> (u32, Option<Moment>) {
        let tiers: BTreeSet<u32> = members.iter().map(|member| member.tier).collect();
        let of_tier = |tier: u32| members.iter().zip(conditions).filter(move |(it, _)| it.tier == tier);
        let good = |tier: u32| of_tier(tier).filter(|(_, it)| is_good(it)).count();
        let has_enough = |tier: u32| good(tier) >= enough.min(of_tier(tier).count());
        self.enough_since.retain(|tier, _| has_enough(*tier));
        for tier in tiers.iter().filter(|tier| has_enough(**tier)) {
            self.enough_since.entry(*tier).or_insert(now);
        }
        // Without one that has enough, the first that has any.
        let best = tiers.iter().find(|it| has_enough(**it)).or(tiers.iter().find(|it| good(**it) > 0));
        let best = *best.expect("something is good");
        let stays = self.answered.filter(|tier| has_enough(*tier) && !self.is_young);
        let Some(stays) = stays else {
            // A tier that can't go on is left at once.
            let is_unknown = |it: &Condition| it.admin == Admin::Auto && it.health == Health::Unknown;
            let mut better = members.iter().zip(conditions).filter(|(it, _)| it.tier < best);
            // One that goes on though it has too few has begun long ago.
            let is_beginning = self.is_young || self.answered != Some(best);
            self.is_young = is_beginning && better.any(|(_, it)| is_unknown(it));
            self.answered = Some(best);
            return (best, None);
        };
        // One that can is left for a better one that has been good for long enough, and never by itself where that is
        // for hands.
        let FailBack::After(hold) = fail_back else { return (stays, None) };
        let proved = self.enough_since.iter().find(|(_, since)| now >= **since + hold);
        let tier = proved.map_or(stays, |(tier, _)| stays.min(*tier));
        self.answered = Some(tier);
        let waiting = self.enough_since.range(..tier).map(|(_, since)| *since + hold);
        (tier, waiting.min())
    }
}

fn is_good(condition: &Condition) -> bool {
    match condition.admin {
        Admin::Up => true,
        Admin::Auto => condition.health == Health::Up,
        Admin::Down | Admin::Drain => false,
    }
}
