//! The decision.

use crate::{Admin, AllDown, Condition, FailBack, Health, Kind, Member, Spec};
use health::Moment;

/// What is answered with, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Selection {
    /// Which members, in ascending order; none where something else is answered with.
    pub members: Vec<usize>,
    /// What it stands on.
    pub basis: Basis,
    /// When it has to be decided anew, though nothing else happens.
    pub again_at: Option<Moment>,
}

/// What a selection stands on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Basis {
    /// Good members of this tier.
    Good {
        /// The tier, from 1.
        tier: u32,
    },
    /// So few are good that checks are not believed: all are answered with.
    Panic,
    /// Nothing is good.
    AllDown(AllDown),
}

impl Basis {
    /// The word that commands and metrics use.
    pub fn word(self) -> &'static str {
        match self {
            Basis::Good { .. } => "good",
            Basis::Panic => "panic",
            Basis::AllDown(AllDown::All) => "all-down: all",
            Basis::AllDown(AllDown::LastGood) => "all-down: last good",
            Basis::AllDown(AllDown::Fallback) => "all-down: fallback",
            Basis::AllDown(AllDown::Zone) => "all-down: the zone's own",
            Basis::AllDown(AllDown::Empty) => "all-down: empty",
            Basis::AllDown(AllDown::Servfail) => "all-down: servfail",
        }
    }
}

/// Decides for one pool, and remembers what it has to.
#[derive(Clone, Default, Debug)]
pub struct Selector {
    /// The tier that answers; none before any was good.
    tier: Option<u32>,
    /// Whether it answers only because not everything is known of better tiers yet.
    is_provisional: bool,
    /// Better tiers that have become good, with when.
    recovering: Vec<(u32, Moment)>,
    /// The members that were last selected for being good.
    last_good: Vec<usize>,
}

impl Selector {
    /// Decides with what is known now. `conditions` has one for each of `members`.
    pub fn select(
        &mut self,
        spec: &Spec,
        members: &[Member],
        conditions: &[Condition],
        now: Moment,
    ) -> Selection {
        let all = || members.iter().zip(conditions).enumerate();
        let allowed = allowed(conditions);
        let good = all().filter(|(_, (_, condition))| condition.is_good()).count();
        let of_all = |members: Vec<usize>, basis| Selection { members, basis, again_at: None };
        if good * 100 < usize::from(spec.panic_percent) * members.len() && !allowed.is_empty() {
            self.recovering.clear();
            return of_all(allowed, Basis::Panic);
        }
        let (tier, again_at) = match spec.kind {
            Kind::RoundRobin
            | Kind::Weighted { .. }
            | Kind::LeastLoad { .. }
            | Kind::Hash
            | Kind::Nearest => (all().find(|(_, (_, condition))| condition.is_good()).map(|_| None), None),
            Kind::Failover { enough, fail_back } => {
                let (tier, again_at) = self.tier(members, conditions, enough, fail_back, now);
                (tier.map(Some), again_at)
            }
        };
        let Some(tier) = tier else {
            self.recovering.clear();
            let basis = Basis::AllDown(spec.all_down);
            return match spec.all_down {
                AllDown::Fallback | AllDown::Zone | AllDown::Empty | AllDown::Servfail => {
                    of_all(Vec::new(), basis)
                }
                AllDown::All => of_all(allowed, basis),
                AllDown::LastGood => {
                    let last: Vec<usize> =
                        self.last_good.iter().copied().filter(|index| allowed.contains(index)).collect();
                    of_all(if last.is_empty() { allowed } else { last }, basis)
                }
            };
        };
        let is_selected = |member: &Member| tier.is_none_or(|tier| member.tier == tier);
        let selected: Vec<usize> = all()
            .filter(|(_, (member, condition))| is_selected(member) && condition.is_good())
            .map(|(index, _)| index)
            .collect();
        self.last_good.clone_from(&selected);
        let tier = tier.or(members.first().map(|member| member.tier)).unwrap_or(1);
        Selection { members: selected, basis: Basis::Good { tier }, again_at }
    }

    /// Goes back to the best tier that is good now, as an operator wants it.
    pub fn fail_back(&mut self) {
        self.tier = None;
        self.recovering.clear();
    }

    /// One that has answered with this tier so far, as an earlier one did that is gone.
    pub fn standing(tier: u32) -> Selector {
        Selector { tier: Some(tier), ..Selector::default() }
    }

    /// The tier that answered last for being good; none where it is only until more is known.
    pub fn answering(&self) -> Option<u32> {
        self.tier.filter(|_| !self.is_provisional)
    }

    /// Forgets which members it has selected: others may have their numbers now.
    pub fn renumber(&mut self) {
        self.last_good.clear();
    }

    /// The tier that answers; `None` where none has enough good members. And when a better one takes over, if it stays good.
    fn tier(
        &mut self,
        members: &[Member],
        conditions: &[Condition],
        enough: usize,
        fail_back: FailBack,
        now: Moment,
    ) -> (Option<u32>, Option<Moment>) {
        let mut tiers: Vec<u32> = members.iter().map(|member| member.tier).collect();
        tiers.sort_unstable();
        tiers.dedup();
        let is_enough = |tier: u32| {
            let of_tier = || members.iter().zip(conditions).filter(|(member, _)| member.tier == tier);
            let good = of_tier().filter(|(_, condition)| condition.is_good()).count();
            good > 0 && good >= enough.min(of_tier().count())
        };
        // Where no tier has enough, the first that has any at all is better than none.
        let has_any = |tier: u32| {
            members
                .iter()
                .zip(conditions)
                .any(|(member, condition)| member.tier == tier && condition.is_good())
        };
        let best = tiers
            .iter()
            .copied()
            .find(|tier| is_enough(*tier))
            .or_else(|| tiers.iter().copied().find(|tier| has_any(*tier)));
        let Some(best) = best else { return (None, None) };
        let standing = self.tier.filter(|tier| *tier > best && is_enough(*tier) && !self.is_provisional);
        // At the start nothing has failed that would have to prove itself: the first looks come in by chance.
        let is_unknown =
            |condition: &Condition| condition.admin == Admin::Auto && condition.health == Health::Unknown;
        let is_open = |tier: u32| {
            members.iter().zip(conditions).any(|(member, it)| member.tier < tier && is_unknown(it))
        };
        let Some(standing) = standing else {
            // What is forgotten later, as where this node can't look any more, makes no second start of it.
            let has_begun = self.tier == Some(best) && !self.is_provisional;
            self.is_provisional = !has_begun && is_open(best);
            self.tier = Some(best);
            self.recovering.clear();
            return (Some(best), None);
        };
        // A worse tier answers, and goes on until a better one has proved itself.
        self.recovering.retain(|(tier, _)| *tier < standing && is_enough(*tier));
        for tier in tiers.into_iter().filter(|tier| *tier < standing && is_enough(*tier)) {
            if !self.recovering.iter().any(|(known, _)| *known == tier) {
                self.recovering.push((tier, now));
            }
        }
        let FailBack::After(hold) = fail_back else { return (Some(standing), None) };
        let proved = self.recovering.iter().filter(|(_, since)| now.since(*since) >= hold);
        if let Some(tier) = proved.map(|(tier, _)| *tier).min() {
            self.tier = Some(tier);
            self.recovering.retain(|(known, _)| *known < tier);
        }
        let again_at = self.recovering.iter().map(|(_, since)| *since + hold).min();
        (self.tier, again_at)
    }
}

/// The members that may be answered with whatever checks have found: those that are drained only where there are no others.
fn allowed(conditions: &[Condition]) -> Vec<usize> {
    let with = |is_drained: bool| {
        let is_one = move |it: &Condition| it.is_allowed() && (it.admin == Admin::Drain) == is_drained;
        let members = conditions.iter().enumerate().filter(move |(_, it)| is_one(it));
        members.map(|(index, _)| index).collect::<Vec<_>>()
    };
    let others = with(false);
    if others.is_empty() { with(true) } else { others }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Health;
    use std::time::Duration;

    const HOLD: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    fn failover(enough: usize) -> Spec {
        let kind = Kind::Failover { enough, fail_back: FailBack::After(HOLD) };
        Spec { kind, answers_max: None, all_down: AllDown::All, panic_percent: 0 }
    }

    fn members(tiers: &[u32]) -> Vec<Member> {
        tiers.iter().map(|tier| Member { tier: *tier, weight: 1, identity: 0 }).collect()
    }

    /// A letter a member: up, down, unknown; put up, put down, drained by hand (and up by itself).
    fn conditions(text: &str) -> Vec<Condition> {
        let condition = |letter| match letter {
            'u' => Condition { health: Health::Up, admin: Admin::Auto },
            'd' => Condition { health: Health::Down, admin: Admin::Auto },
            '?' => Condition::default(),
            'U' => Condition { health: Health::Down, admin: Admin::Up },
            'D' => Condition { health: Health::Up, admin: Admin::Down },
            'x' => Condition { health: Health::Up, admin: Admin::Drain },
            _ => panic!("no condition: {letter}"),
        };
        text.chars().map(condition).collect()
    }

    #[test]
    fn the_first_tier_with_enough_good_members_answers() {
        for (enough, tiers, state, selected) in [
            (1, &[1, 1, 2, 2][..], "uuuu", &[0, 1][..]),
            (1, &[1, 1, 2, 2], "duuu", &[1]),
            (1, &[1, 1, 2, 2], "dduu", &[2, 3]),
            (2, &[1, 1, 2, 2], "duuu", &[2, 3]),
            // As many as it has are enough of a small tier.
            (3, &[1, 1, 2, 2], "uudd", &[0, 1]),
            // No tier has enough: the first that has any.
            (2, &[1, 1, 2, 2], "dudu", &[1]),
            (1, &[2, 1], "uu", &[1]),
            (1, &[1, 2], "?u", &[1]),
            (1, &[1, 2], "Uu", &[0]),
            (1, &[1, 2], "Du", &[1]),
            (1, &[1, 2], "xu", &[1]),
        ] {
            let selection =
                Selector::default().select(&failover(enough), &members(tiers), &conditions(state), at(0));
            assert_eq!(selection.members, selected, "{enough} of {tiers:?}: {state}");
            assert!(matches!(selection.basis, Basis::Good { .. }));
        }
    }

    #[test]
    fn a_better_tier_takes_over_when_it_has_been_good_for_long_enough() {
        let (spec, members) = (failover(1), members(&[1, 2]));
        let mut selector = Selector::default();
        let mut now = |state, seconds| selector.select(&spec, &members, &conditions(state), at(seconds));
        assert_eq!(now("uu", 0).members, [0]);
        assert_eq!(now("du", 1).members, [1], "at once");
        let waiting = now("uu", 5);
        assert_eq!((waiting.members, waiting.again_at), (vec![1], Some(at(15))));
        assert_eq!(now("du", 9).members, [1]);
        // The break began it anew.
        assert_eq!(now("uu", 10).again_at, Some(at(20)));
        assert_eq!(now("uu", 19).members, [1]);
        assert_eq!(now("uu", 20).members, [0]);
        // The worse tier has gone meanwhile: nothing is waited for.
        assert_eq!(now("du", 21).members, [1]);
        assert_eq!(now("ud", 22).members, [0]);
    }

    #[test]
    fn at_the_start_a_better_tier_takes_over_as_soon_as_it_is_known_to_be_good() {
        let (spec, members) = (failover(1), members(&[1, 2]));
        let mut selector = Selector::default();
        let mut now = |state, seconds| selector.select(&spec, &members, &conditions(state), at(seconds));
        assert_eq!(now("?u", 0).members, [1]);
        assert_eq!(now("uu", 1).members, [0]);
        assert_eq!(now("du", 2).members, [1]);
        assert_eq!(now("uu", 3).members, [1], "it has failed, and has to prove itself");
        // What was found bad first has, too.
        let mut selector = Selector::default();
        let mut now = |state, seconds| selector.select(&spec, &members, &conditions(state), at(seconds));
        now("?u", 0);
        now("du", 1);
        assert_eq!(now("uu", 2).members, [1]);
    }

    #[test]
    fn a_tier_that_nothing_is_known_of_any_more_has_to_prove_itself() {
        let (spec, members) = (failover(1), members(&[1, 2]));
        let mut selector = Selector::default();
        let mut now = |state, seconds| selector.select(&spec, &members, &conditions(state), at(seconds));
        now("uu", 0);
        assert_eq!(now("du", 1).members, [1]);
        assert_eq!(now("?u", 2).members, [1], "this node can't look at it");
        assert_eq!(now("uu", 3).members, [1]);
        assert_eq!(now("uu", 13).members, [0]);
    }

    #[test]
    fn by_hand_it_does_not_come_back_by_itself() {
        let kind = Kind::Failover { enough: 1, fail_back: FailBack::ByHand };
        let (spec, members) = (Spec { kind, ..failover(1) }, members(&[1, 2]));
        let mut selector = Selector::default();
        selector.select(&spec, &members, &conditions("du"), at(0));
        let selection = selector.select(&spec, &members, &conditions("uu"), at(1_000_000));
        assert_eq!((selection.members, selection.again_at), (vec![1], None));
        selector.fail_back();
        assert_eq!(selector.select(&spec, &members, &conditions("uu"), at(1_000_001)).members, [0]);
    }

    #[test]
    fn without_a_good_member_the_pool_says_what_else() {
        let members = members(&[1, 1, 1]);
        for (all_down, before, state, selected) in [
            (AllDown::All, "uuu", "ddd", &[0, 1, 2][..]),
            (AllDown::All, "uuu", "dDd", &[0, 2]),
            (AllDown::All, "uuu", "dxd", &[0, 2]),
            (AllDown::All, "uuu", "DxD", &[1]),
            (AllDown::LastGood, "udu", "ddd", &[0, 2]),
            (AllDown::LastGood, "udu", "Ddd", &[2]),
            (AllDown::LastGood, "???", "ddd", &[0, 1, 2]),
            (AllDown::Fallback, "uuu", "ddd", &[]),
            (AllDown::Zone, "uuu", "???", &[]),
            (AllDown::Empty, "uuu", "ddD", &[]),
            (AllDown::Servfail, "udu", "d?d", &[]),
        ] {
            let spec = Spec { kind: Kind::RoundRobin, answers_max: None, all_down, panic_percent: 0 };
            let mut selector = Selector::default();
            selector.select(&spec, &members, &conditions(before), at(0));
            let selection = selector.select(&spec, &members, &conditions(state), at(1));
            assert_eq!(selection.members, selected, "{all_down:?}: {state}");
            assert_eq!(selection.basis, Basis::AllDown(all_down));
        }
    }

    #[test]
    fn when_too_few_are_good_checks_are_not_believed() {
        let (spec, members) = (Spec { panic_percent: 50, ..failover(1) }, members(&[1, 1, 2, 2]));
        let select = |state| Selector::default().select(&spec, &members, &conditions(state), at(0));
        assert_eq!(select("uudd").members, [0, 1]);
        let selection = select("uddd");
        assert_eq!((selection.members, selection.basis), (vec![0, 1, 2, 3], Basis::Panic));
        assert_eq!(select("udDd").members, [0, 1, 3]);
        assert_eq!(select("DDDD").basis, Basis::AllDown(AllDown::All));
    }

    #[test]
    fn random_events_break_no_rule() {
        for seed in 0..2_000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let tiers: Vec<u32> = (0..random.usize(1..8)).map(|_| random.u32(1..4)).collect();
            let members = members(&tiers);
            let enough = random.usize(1..3);
            let spec = Spec { panic_percent: random.u8(0..60), ..failover(enough) };
            spec.validate(&members).unwrap();
            let mut selector = Selector::default();
            let mut now = 0;
            for _ in 0..40 {
                now += random.u64(0..8);
                let state: String =
                    tiers.iter().map(|_| *random.choice(b"uuuudd?UDx").unwrap() as char).collect();
                let conditions = conditions(&state);
                let selection = selector.select(&spec, &members, &conditions, at(now));
                check(&selection, &members, &conditions, now);
            }
        }

        fn check(selection: &Selection, members: &[Member], conditions: &[Condition], now: u64) {
            let chosen = || selection.members.iter().map(|index| (members[*index], conditions[*index]));
            assert!(chosen().all(|(_, condition)| condition.is_allowed()));
            assert!(selection.again_at.is_none_or(|again| again > at(now)));
            match selection.basis {
                Basis::Good { tier } => {
                    assert!(chosen().all(|(member, condition)| member.tier == tier && condition.is_good()));
                    let good = members.iter().zip(conditions);
                    let good = good.filter(|(member, condition)| member.tier == tier && condition.is_good());
                    assert_eq!(good.count(), selection.members.len(), "all good ones of the tier");
                    assert!(!selection.members.is_empty());
                }
                Basis::Panic | Basis::AllDown(_) => {
                    let is_drained = |admin| admin == Admin::Drain;
                    let others = conditions.iter().any(|it| it.is_allowed() && !is_drained(it.admin));
                    assert!(!others || chosen().all(|(_, condition)| !is_drained(condition.admin)));
                    assert_eq!(selection.members.is_empty(), conditions.iter().all(|it| !it.is_allowed()));
                }
            }
        }
    }
}
