//! Pools in pools: what answers have of those within.

use crate::spread::{Decider, SLOTS, Spread};
use crate::{Kind, Portion, Spec};
use std::collections::HashMap;

/// By how many slots a pool within looks beside the one that has led to it, where clients decide in both: else endpoints of the
/// same name in both would win there together.
const ASIDE: usize = SLOTS / 3;
/// The finest that turns are divided, where what they have in common would be finer: shares are off by less than 2⁻⁵⁸.
const FINEST: u64 = 1 << 62;

/// What decides which of several parts answers have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deciding {
    /// Nothing: all answers are alike.
    Nothing,
    /// Whose turn it is.
    Turns,
    /// Who asks.
    Clients,
    /// Where who asks is.
    Places,
}

impl Deciding {
    /// What decides where both have a part in it; `None` where that can't be, as an answer is found by one of the two.
    pub fn with(self, other: Deciding) -> Option<Deciding> {
        match (self, other) {
            (Deciding::Nothing, one) | (one, Deciding::Nothing) => Some(one),
            (one, other) if one == other => Some(one),
            _ => None,
        }
    }
}

impl Spec {
    /// What decides which part of a selection an answer has, where there are several.
    pub fn deciding(&self) -> Deciding {
        match self.kind {
            Kind::Failover { .. } | Kind::RoundRobin if self.answers_max.is_none() => Deciding::Nothing,
            Kind::Failover { .. } | Kind::RoundRobin | Kind::Weighted { .. } | Kind::LeastLoad { .. } => {
                Deciding::Turns
            }
            Kind::Hash => Deciding::Clients,
            Kind::Nearest => Deciding::Places,
        }
    }

    /// How many parts answers have one of at most, with so many members, of which some are pools with so many parts each.
    pub fn parts_max(&self, members: usize, within: &[usize]) -> usize {
        let has_one = match self.kind {
            Kind::Weighted { portion: Portion::One }
            | Kind::LeastLoad { portion: Portion::One, .. }
            | Kind::Hash => true,
            _ => self.answers_max == Some(1),
        };
        if has_one {
            return within.iter().copied().fold(members.saturating_sub(within.len()), usize::saturating_add);
        }
        let own = match (self.kind, self.deciding()) {
            (_, Deciding::Nothing) => 1,
            // Sets change where a member begins on the circle, and where one ends.
            (Kind::Weighted { .. } | Kind::LeastLoad { .. }, _) => 2 * members,
            _ => members,
        };
        // Where an answer has of several, it changes wherever that of any does.
        let changes = within.iter().map(|parts| parts.saturating_sub(1));
        own.saturating_mul(changes.fold(1, usize::saturating_add))
    }
}

impl Spread {
    /// Puts in the place of each member what answers have of it: `within` has that for each.
    ///
    /// Shares are kept: of those of a member, each of what is within has its own. Of several in one part each is turned by
    /// itself, and all at the same points where they can, so that parts don't become more than those of all together. A
    /// part with nothing in it leaves its turns, or its clients, to others.
    ///
    /// `None` where turns and clients would have to decide together, see [`Deciding::with`].
    pub fn unfolded(&self, within: &[Spread]) -> Option<Spread> {
        let of_part = |part: &Vec<usize>| together(part.iter().filter_map(|member| within.get(*member)));
        let insides = self.parts.iter().map(of_part).collect::<Option<Vec<Spread>>>()?;
        let spread = match (&insides[..], &self.by) {
            ([inside], _) => inside.clone(),
            (_, Decider::Turns(weights)) => by_turns(weights, &insides)?,
            (_, Decider::Clients(slots)) => by_clients(slots, &insides)?,
            (_, Decider::Places(parts)) => by_places_within(parts, &insides)?,
        };
        Some(spread.without_nothing())
    }

    /// The same with other numbers of its members.
    pub fn renumbered(&self, number: impl Fn(usize) -> usize) -> Spread {
        let of_part = |part: &Vec<usize>| sorted(part.iter().map(|member| number(*member)));
        Spread { parts: self.parts.iter().map(of_part).collect(), by: self.by.clone() }
    }

    fn is_whole(&self) -> bool {
        self.parts.len() == 1
    }

    /// Leaves out parts with nothing in them, if there are others.
    fn without_nothing(self) -> Spread {
        let is_something = |part: &Vec<usize>| !part.is_empty();
        if self.parts.iter().all(is_something) || !self.parts.iter().any(is_something) {
            return self;
        }
        match self.by {
            Decider::Turns(weights) => {
                let parts = self.parts.into_iter().zip(weights);
                weighed(parts.filter(|(part, _)| is_something(part)).map(|(part, it)| (part, u128::from(it))))
            }
            Decider::Clients(slots) => {
                let part = |slot: usize| &self.parts[usize::from(slots[slot % SLOTS])];
                by_slots(|slot| {
                    let mut after = (slot..slot + SLOTS).map(part);
                    after.find(|part| !part.is_empty()).cloned().unwrap_or_default()
                })
            }
            // Where the nearest has nothing, any other is nearer than nothing.
            Decider::Places(places) => {
                let other = self.parts.iter().find(|part| !part.is_empty()).cloned().unwrap_or_default();
                by_places(places.len(), |place| {
                    let part = &self.parts[usize::from(places[place])];
                    if part.is_empty() { other.clone() } else { part.clone() }
                })
            }
        }
    }
}

fn sorted(members: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut members: Vec<usize> = members.collect();
    members.sort_unstable();
    members.dedup();
    members
}

/// What an answer has that has of each of these.
fn together<'s>(spreads: impl Iterator<Item = &'s Spread>) -> Option<Spread> {
    let (fixed, varied): (Vec<&Spread>, Vec<&Spread>) = spreads.partition(|spread| spread.is_whole());
    let fixed = sorted(fixed.iter().flat_map(|spread| spread.parts.concat()));
    if varied.is_empty() {
        return Some(Spread::all(fixed));
    }
    let joined =
        |parts: Vec<&Vec<usize>>| sorted(fixed.iter().copied().chain(parts.into_iter().flatten().copied()));
    let turns: Vec<Turns<'_>> = varied.iter().filter_map(|spread| Turns::of(spread)).collect();
    if turns.len() == varied.len() {
        return Some(overlaid(&turns, joined));
    }
    let of_places: Vec<&[u16]> = varied.iter().filter_map(|spread| places(spread)).collect();
    if of_places.len() == varied.len() {
        let count = of_places.first().map_or(0, |numbers| numbers.len());
        let part = |spread: &'s Spread, numbers: &[u16], place: usize| {
            numbers.get(place).and_then(|part| spread.parts.get(usize::from(*part)))
        };
        return Some(by_places(count, |place| {
            let each = varied.iter().zip(&of_places);
            joined(each.filter_map(|(spread, numbers)| part(spread, numbers, place)).collect())
        }));
    }
    let slots: Vec<_> = varied.iter().filter_map(|spread| clients(spread)).collect();
    (slots.len() == varied.len()).then(|| {
        by_slots(|slot| {
            let parts = varied.iter().zip(&slots);
            joined(parts.map(|(spread, slots)| &spread.parts[usize::from(slots[slot])]).collect())
        })
    })
}

fn clients(spread: &Spread) -> Option<&[u16; SLOTS]> {
    match &spread.by {
        Decider::Clients(slots) => Some(slots),
        Decider::Turns(_) | Decider::Places(_) => None,
    }
}

fn places(spread: &Spread) -> Option<&[u16]> {
    match &spread.by {
        Decider::Places(places) => Some(places),
        Decider::Turns(_) | Decider::Clients(_) => None,
    }
}

/// Parts that take turns.
struct Turns<'s> {
    parts: &'s [Vec<usize>],
    weights: &'s [u32],
    total: u64,
}

impl<'s> Turns<'s> {
    fn of(spread: &'s Spread) -> Option<Turns<'s>> {
        let Decider::Turns(weights) = &spread.by else { return None };
        let total = weights.iter().map(|weight| u64::from(*weight)).sum();
        Some(Turns { parts: &spread.parts, weights, total })
    }

    /// Where the parts end on a line of this length, in their order.
    fn ends(&self, len: u64) -> Vec<u64> {
        let mut so_far = 0u128;
        let end = |weight: &u32| {
            so_far += u128::from(*weight);
            (so_far * u128::from(len) / u128::from(self.total.max(1))) as u64 // at most `len`
        };
        self.weights.iter().map(end).collect()
    }
}

/// All lie along one line, and a new part begins wherever one of any does: so each keeps its shares.
fn overlaid(turns: &[Turns<'_>], joined: impl Fn(Vec<&Vec<usize>>) -> Vec<usize>) -> Spread {
    let len = in_common(turns.iter().map(|turns| turns.total));
    let ends: Vec<Vec<u64>> = turns.iter().map(|turns| turns.ends(len)).collect();
    let mut points: Vec<u64> = ends.iter().flatten().copied().collect();
    points.sort_unstable();
    points.dedup();
    let mut from = 0;
    let mut parts = Vec::with_capacity(points.len());
    for to in points.into_iter().filter(|point| *point > 0) {
        let at = |ends: &Vec<u64>| ends.partition_point(|end| *end <= from);
        let here = turns.iter().zip(&ends).filter_map(|(turns, ends)| turns.parts.get(at(ends)));
        parts.push((joined(here.collect()), u128::from(to - from)));
        from = to;
    }
    weighed(parts.into_iter())
}

fn by_turns(weights: &[u32], insides: &[Spread]) -> Option<Spread> {
    let turns: Option<Vec<Turns<'_>>> = insides.iter().map(Turns::of).collect();
    let turns = turns?;
    let len = in_common(turns.iter().map(|turns| turns.total));
    let mut parts = Vec::new();
    for (weight, turns) in weights.iter().zip(&turns) {
        let mut from = 0;
        for (part, end) in turns.parts.iter().zip(turns.ends(len)) {
            parts.push((part.clone(), u128::from(*weight) * u128::from(end - from)));
            from = end;
        }
    }
    Some(weighed(parts.into_iter()))
}

fn by_clients(slots: &[u16; SLOTS], insides: &[Spread]) -> Option<Spread> {
    if insides.iter().any(|inside| !inside.is_whole() && clients(inside).is_none()) {
        return None;
    }
    Some(by_slots(|slot| {
        let inside = &insides[usize::from(slots[slot])];
        let part = match clients(inside).filter(|_| !inside.is_whole()) {
            Some(slots) => usize::from(slots[(slot + ASIDE) % SLOTS]),
            None => 0,
        };
        inside.parts[part].clone()
    }))
}

fn by_places_within(parts: &[u16], insides: &[Spread]) -> Option<Spread> {
    if insides.iter().any(|inside| !inside.is_whole() && places(inside).is_none()) {
        return None;
    }
    Some(by_places(parts.len(), |place| {
        let inside = &insides[usize::from(parts[place])];
        let part = places(inside).and_then(|numbers| numbers.get(place)).map_or(0, |part| usize::from(*part));
        inside.parts[part].clone()
    }))
}

/// A length that all of these divide, or the finest.
fn in_common(totals: impl Iterator<Item = u64>) -> u64 {
    let common = |one: u64, other: u64| (one / divisor(one.into(), other.into()) as u64).checked_mul(other);
    let mut len = 1;
    for total in totals.filter(|total| *total > 0) {
        match common(len, total).filter(|common| *common <= FINEST) {
            Some(common) => len = common,
            None => return FINEST,
        }
    }
    len
}

/// The greatest common divisor, of which one at least is not 0.
fn divisor(mut one: u128, mut other: u128) -> u128 {
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one
}

/// Parts with these weights, equal ones brought together.
fn weighed(parts: impl Iterator<Item = (Vec<usize>, u128)>) -> Spread {
    let mut numbered = Numbered::default();
    let mut weights: Vec<u128> = Vec::new();
    for (part, weight) in parts.filter(|(_, weight)| *weight > 0) {
        let number = numbered.number(part);
        if number == weights.len() {
            weights.push(0);
        }
        weights[number] += weight;
    }
    let unit = weights.iter().copied().fold(0, divisor).max(1);
    let most = weights.iter().copied().max().unwrap_or(0) / unit;
    // As large as fits: no share is off by more than one of so many.
    let scaled = |weight: &u128| match most > u128::from(u32::MAX) {
        true => (weight / unit * u128::from(u32::MAX) / most).max(1) as u32, // at most `most`
        false => (weight / unit) as u32,
    };
    let weights = weights.iter().map(scaled).collect();
    Spread { parts: numbered.parts, by: Decider::Turns(weights) }
}

/// The part that each slot has, equal ones brought together.
fn by_slots(part: impl Fn(usize) -> Vec<usize>) -> Spread {
    let mut numbered = Numbered::default();
    let mut slots = Box::new([0u16; SLOTS]);
    for (slot, number) in slots.iter_mut().enumerate() {
        *number = numbered.number(part(slot)) as u16; // no more than there are slots
    }
    match numbered.parts.len() {
        1 => Spread::all(numbered.parts.remove(0)),
        _ => Spread { parts: numbered.parts, by: Decider::Clients(slots) },
    }
}

/// The part that each place has, equal ones brought together.
fn by_places(count: usize, part: impl Fn(usize) -> Vec<usize>) -> Spread {
    let mut numbered = Numbered::default();
    // No more than there are places, which are numbered with 16 bits.
    let places: Box<[u16]> = (0..count).map(|place| numbered.number(part(place)) as u16).collect();
    match numbered.parts.len() {
        1 => Spread::all(numbered.parts.remove(0)),
        _ => Spread { parts: numbered.parts, by: Decider::Places(places) },
    }
}

/// Parts, each once.
#[derive(Default)]
struct Numbered {
    parts: Vec<Vec<usize>>,
    known: HashMap<Vec<usize>, usize>,
}

impl Numbered {
    fn number(&mut self, part: Vec<usize>) -> usize {
        if let Some(known) = self.known.get(&part) {
            return *known;
        }
        let number = self.parts.len();
        self.known.insert(part.clone(), number);
        self.parts.push(part);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AllDown, Member};

    fn spread(kind: Kind, answers_max: Option<usize>, weights: &[u16]) -> Spread {
        let spec = Spec { kind, answers_max, all_down: AllDown::All, panic_percent: 0 };
        let identity = |index: usize| Member::identity_of(&format!("e{index}"));
        let member =
            |(index, weight): (usize, &u16)| Member { tier: 1, weight: *weight, identity: identity(index) };
        let members: Vec<Member> = weights.iter().enumerate().map(member).collect();
        Spread::new(&spec, &members, &(0..weights.len()).collect::<Vec<_>>())
    }

    const ONE: Kind = Kind::Weighted { portion: Portion::One };
    const SET: Kind = Kind::Weighted { portion: Portion::Set };

    /// A spread whose members have these numbers.
    fn from(first: usize, spread: &Spread) -> Spread {
        spread.renumbered(|member| first + member)
    }

    /// In how many of all answers each is.
    fn presence(spread: &Spread, count: usize) -> Vec<f64> {
        let of = |member: usize, part: &Vec<usize>| if part.contains(&member) { 1.0 } else { 0.0 };
        let of_one = |member: usize| match &spread.by {
            Decider::Turns(weights) => {
                let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
                let parts = spread.parts.iter().zip(weights);
                parts.map(|(part, weight)| f64::from(*weight) * of(member, part)).sum::<f64>() / total
            }
            Decider::Clients(slots) => {
                let parts = slots.iter().map(|part| of(member, &spread.parts[usize::from(*part)]));
                parts.sum::<f64>() / SLOTS as f64
            }
            Decider::Places(_) => panic!("{spread:?}"),
        };
        (0..count).map(of_one).collect()
    }

    fn near(found: &[f64], wanted: &[f64]) {
        assert!(found.len() == wanted.len(), "{found:?} {wanted:?}");
        assert!(
            found.iter().zip(wanted).all(|(found, wanted)| (found - wanted).abs() < 1e-6),
            "{found:?} {wanted:?}"
        );
    }

    #[test]
    fn what_stands_for_several_divides_its_share_among_them() {
        // One address, and a pool of three.
        let outer = spread(ONE, None, &[1, 3]);
        for (inner, wanted) in [
            (spread(ONE, None, &[1, 1, 2]), [0.25, 0.1875, 0.1875, 0.375]),
            (spread(Kind::RoundRobin, None, &[1; 3]), [0.25, 0.75, 0.75, 0.75]),
            (spread(Kind::RoundRobin, Some(2), &[1; 3]), [0.25, 0.5, 0.5, 0.5]),
            (spread(SET, None, &[4, 2, 1]), [0.25, 0.75, 0.375, 0.1875]),
        ] {
            let unfolded = outer.unfolded(&[Spread::all(vec![0]), from(1, &inner)]).unwrap();
            near(&presence(&unfolded, 4), &wanted);
        }
    }

    #[test]
    fn several_in_one_answer_keep_their_shares() {
        let both = spread(Kind::RoundRobin, None, &[1, 1]);
        let (one, other) = (spread(ONE, None, &[1, 2]), spread(ONE, None, &[3, 1, 1]));
        let unfolded = both.unfolded(&[from(0, &one), from(2, &other)]).unwrap();
        assert!(unfolded.parts.iter().all(|part| part.len() == 2), "one of each: {unfolded:?}");
        assert!(unfolded.parts.len() <= 4, "no more than they have places to change: {unfolded:?}");
        near(&presence(&unfolded, 5), &[1.0 / 3.0, 2.0 / 3.0, 0.6, 0.2, 0.2]);
        // What both have is there once.
        let shared = both.unfolded(&[Spread::all(vec![0, 1]), Spread::all(vec![1, 2])]).unwrap();
        assert_eq!(shared, Spread::all(vec![0, 1, 2]));
    }

    #[test]
    fn any_pools_within_one_another_keep_their_shares() {
        for seed in 0..300 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut any = |count: usize| {
                let largest: u16 = *random.choice(&[3, 100, 65_535]).unwrap();
                let weights: Vec<u16> = (0..count).map(|_| random.u16(1..=largest)).collect();
                let most = random.usize(1..4);
                match random.u8(0..4) {
                    0 => spread(ONE, None, &weights),
                    1 => spread(SET, None, &weights),
                    2 => spread(Kind::RoundRobin, None, &weights),
                    _ => spread(Kind::RoundRobin, Some(most), &weights),
                }
            };
            let (outer, insides) = (any(3), [any(4), any(2), any(5)]);
            let placed = [from(0, &insides[0]), from(4, &insides[1]), from(6, &insides[2])];
            let unfolded = outer.unfolded(&placed).unwrap();
            let of_outer = presence(&outer, 3);
            let of_insides = [presence(&insides[0], 4), presence(&insides[1], 2), presence(&insides[2], 5)];
            let each = of_insides.iter().zip(&of_outer);
            let wanted: Vec<f64> =
                each.flat_map(|(inside, share)| inside.iter().map(move |it| it * share)).collect();
            near(&presence(&unfolded, 11), &wanted);
            assert!(unfolded.parts.len() <= outer.parts.len() * (1 + 7 + 3 + 9), "{unfolded:?}");
        }
    }

    #[test]
    fn clients_keep_what_they_have_within_what_they_have() {
        let (outer, inner) = (spread(Kind::Hash, None, &[1; 2]), spread(Kind::Hash, None, &[1; 3]));
        let unfolded = outer.unfolded(&[Spread::all(vec![0]), from(1, &inner)]).unwrap();
        let shares = presence(&unfolded, 4);
        // The name e0 is in both, and wins in neither for that.
        for (share, wanted) in shares.iter().zip([0.5, 1.0 / 6.0, 1.0 / 6.0, 1.0 / 6.0]) {
            assert!((share - wanted).abs() < 0.03, "{shares:?}");
        }
        let steady = spread(Kind::RoundRobin, None, &[1; 3]);
        let unfolded = outer.unfolded(&[Spread::all(vec![0]), from(1, &steady)]).unwrap();
        assert_eq!(unfolded.parts.len(), 2);
        let alone = Spread::all(vec![0]).unfolded(&[from(1, &inner)]).unwrap();
        assert_eq!(alone, from(1, &inner));
    }

    #[test]
    fn turns_and_clients_do_not_decide_together() {
        let (turns, clients) = (spread(ONE, None, &[1; 2]), spread(Kind::Hash, None, &[1; 2]));
        for (outer, inner) in [(&turns, &clients), (&clients, &turns)] {
            assert_eq!(outer.unfolded(&[Spread::all(vec![0]), from(1, inner)]), None);
        }
        let both = spread(Kind::RoundRobin, None, &[1; 2]);
        assert_eq!(both.unfolded(&[from(0, &turns), from(2, &clients)]), None);
        assert_eq!(Deciding::Turns.with(Deciding::Clients), None);
        assert_eq!(Deciding::Nothing.with(Deciding::Clients), Some(Deciding::Clients));
    }

    #[test]
    fn what_has_nothing_leaves_its_share_to_others() {
        let nothing = Spread::all(Vec::new());
        let unfolded = spread(ONE, None, &[1, 1, 2]).unfolded(&[
            Spread::all(vec![0]),
            nothing.clone(),
            Spread::all(vec![1]),
        ]);
        near(&presence(&unfolded.unwrap(), 2), &[1.0 / 3.0, 2.0 / 3.0]);
        let unfolded = spread(Kind::Hash, None, &[1; 2]).unfolded(&[nothing.clone(), Spread::all(vec![0])]);
        assert_eq!(unfolded, Some(Spread::all(vec![0])));
        let unfolded = spread(ONE, None, &[1, 1]).unfolded(&[nothing.clone(), nothing.clone()]).unwrap();
        assert_eq!(unfolded.members(), Vec::<usize>::new());
    }
}
