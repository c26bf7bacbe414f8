//! What each answer has of a selection.

use crate::{Kind, Member, Portion, Spec};

/// Into how many slots clients are divided.
pub const SLOTS: usize = 4096;

/// Parts of a selection, of which every answer has one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spread {
    /// The parts: which members each has, in ascending order; one part where all answers are alike.
    pub parts: Vec<Vec<usize>>,
    /// Which part an answer has.
    pub by: Decider,
}

/// What decides which part an answer has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decider {
    /// Whose turn it is: each part has this weight, which is its share of all answers.
    Turns(Vec<u32>),
    /// Who asks: for each slot of clients a part.
    Clients(Box<[u16; SLOTS]>),
    /// Where who asks is: for each place a part.
    Places(Box<[u16]>),
}

/// How far a member is from a place; the less the nearer.
pub type Distance = u16;

impl Spread {
    /// How a pool answers with the members that are `selected`, at least one of all its `members`, in ascending order.
    /// Where weights follow loads, the members have those of the moment.
    pub fn new(spec: &Spec, members: &[Member], selected: &[usize]) -> Spread {
        match spec.kind {
            Kind::Failover { .. } | Kind::RoundRobin => windows(selected, spec.answers_max),
            Kind::Weighted { portion } | Kind::LeastLoad { portion, .. } => {
                // Where only those are left that are to have nothing, that is better than no answer.
                let is_any = selected.iter().any(|index| members[*index].weight > 0);
                let weighted = |index: &usize| match members[*index].weight {
                    0 if !is_any => Some((*index, 1)),
                    0 => None,
                    weight => Some((*index, u32::from(weight))),
                };
                let weighted: Vec<(usize, u32)> = selected.iter().filter_map(weighted).collect();
                match portion {
                    Portion::One => singles(&weighted),
                    Portion::Set => sets(&weighted),
                }
            }
            Kind::Hash => by_client(members, selected),
            // What is near is nothing that members know: see `Spread::nearest`.
            Kind::Nearest => whole(selected),
        }
    }

    /// For each place those of the members that are `selected`, at least one, that are nearest to it. For each place there is a
    /// list of distances, one for each of all members.
    pub fn nearest(distances: &[Vec<Distance>], selected: &[usize]) -> Spread {
        let mut parts: Vec<Vec<usize>> = Vec::new();
        let mut of_place = |distances: &Vec<Distance>| {
            let distance = |member: &usize| distances.get(*member).copied().unwrap_or(Distance::MAX);
            let least = selected.iter().map(distance).min();
            let part: Vec<usize> =
                selected.iter().copied().filter(|member| Some(distance(member)) == least).collect();
            let index = parts.iter().position(|known| *known == part).unwrap_or_else(|| {
                parts.push(part);
                parts.len() - 1
            });
            index as u16 // there are no more parts than places, which are numbered with 16 bits
        };
        let places: Box<[u16]> = distances.iter().map(&mut of_place).collect();
        match &parts[..] {
            [] => whole(selected),
            [part] => whole(part),
            _ => Spread { parts, by: Decider::Places(places) },
        }
    }

    /// Answers that all have these members, in ascending order.
    pub fn all(members: Vec<usize>) -> Spread {
        Spread { parts: vec![members], by: Decider::Turns(vec![1]) }
    }

    /// The members that some answer has, in ascending order.
    pub fn members(&self) -> Vec<usize> {
        let mut members = self.parts.concat();
        members.sort_unstable();
        members.dedup();
        members
    }

    /// The share of a member: of clients who take any address of their answer, so many of 1. Of places nobody knows how many
    /// clients they have, and each counts alike.
    pub fn share(&self, member: usize) -> f64 {
        let of_part = |part: &Vec<usize>| match part.contains(&member) {
            true => 1.0 / part.len() as f64,
            false => 0.0,
        };
        match &self.by {
            Decider::Turns(weights) => {
                let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
                let parts = self.parts.iter().zip(weights);
                parts.map(|(part, weight)| f64::from(*weight) * of_part(part)).sum::<f64>() / total
            }
            Decider::Clients(slots) => {
                let shares: Vec<f64> = self.parts.iter().map(of_part).collect();
                slots.iter().map(|part| shares[usize::from(*part)]).sum::<f64>() / SLOTS as f64
            }
            Decider::Places(places) => {
                let shares: Vec<f64> = self.parts.iter().map(of_part).collect();
                places.iter().map(|part| shares[usize::from(*part)]).sum::<f64>() / places.len() as f64
            }
        }
    }
}

fn whole(selected: &[usize]) -> Spread {
    Spread::all(selected.to_vec())
}

/// So many that follow one another, beginning with each in turn: all are in equally many.
fn windows(selected: &[usize], answers_max: Option<usize>) -> Spread {
    let Some(len) = answers_max.filter(|len| *len < selected.len()) else { return whole(selected) };
    let window = |first: usize| {
        let mut window: Vec<usize> = (first..first + len).map(|at| selected[at % selected.len()]).collect();
        window.sort_unstable();
        window
    };
    Spread { parts: (0..selected.len()).map(window).collect(), by: Decider::Turns(vec![1; selected.len()]) }
}

/// One at a time, in proportion to the weights.
fn singles(weighted: &[(usize, u32)]) -> Spread {
    let parts = weighted.iter().map(|(index, _)| vec![*index]).collect();
    Spread { parts, by: Decider::Turns(weighted.iter().map(|(_, weight)| *weight).collect()) }
}

/// Sets in which a member is as often as its weight is of the largest, and so that with the largest always.
///
/// The members lie along a line, each as long as its weight, and the line is wound around a circle as long as the largest. A point
/// of the circle has the members that lie over it. So sets are of equal size, but for one member more or less, and who takes any
/// address of an answer takes each member about in proportion to its weight; with chances of their own that would be less so.
fn sets(weighted: &[(usize, u32)]) -> Spread {
    let around = weighted.iter().map(|(_, weight)| *weight).max().unwrap_or(1);
    // Where each begins and ends on the circle.
    let mut at = 0;
    let mut spans = Vec::with_capacity(weighted.len());
    for (index, weight) in weighted {
        let end = (at + weight) % around;
        spans.push((*index, at, *weight));
        at = end;
    }
    let mut cuts: Vec<u32> = spans.iter().map(|(_, at, _)| *at).chain([0, at, around]).collect();
    cuts.sort_unstable();
    cuts.dedup();
    let covers = |from: u32, point: u32, weight: u32| (point + around - from) % around < weight;
    let (mut parts, mut weights) = (Vec::new(), Vec::new());
    for cut in cuts.windows(2) {
        let members = spans.iter().filter(|(_, from, weight)| covers(*from, cut[0], *weight));
        let part: Vec<usize> = members.map(|(index, ..)| *index).collect();
        match parts.iter().position(|known| *known == part) {
            Some(known) => weights[known] += cut[1] - cut[0],
            None => {
                parts.push(part);
                weights.push(cut[1] - cut[0]);
            }
        }
    }
    Spread { parts, by: Decider::Turns(weights) }
}

/// For each slot of clients the member that scores highest there (rendezvous hashing): when one goes, only its own clients go
/// elsewhere, and when it comes back they come back.
fn by_client(members: &[Member], selected: &[usize]) -> Spread {
    let mut slots = Box::new([0u16; SLOTS]);
    for (slot, part) in slots.iter_mut().enumerate() {
        let score = |at: &usize| (mixed(members[selected[*at]].identity, slot as u64), *at);
        *part = (0..selected.len()).max_by_key(score).unwrap_or(0) as u16; // below `MEMBERS_MAX`
    }
    let parts: Vec<Vec<usize>> = selected.iter().map(|index| vec![*index]).collect();
    match parts.len() {
        1 => whole(selected),
        _ => Spread { parts, by: Decider::Clients(slots) },
    }
}

/// A number that every bit of both has a part in: the end of MurmurHash3, after a step of a Weyl sequence.
fn mixed(identity: u64, slot: u64) -> u64 {
    let mut number = identity ^ (slot + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    number = (number ^ number >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    number = (number ^ number >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    number ^ number >> 33
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AllDown, FailBack};

    fn spec(kind: Kind, answers_max: Option<usize>) -> Spec {
        Spec { kind, answers_max, all_down: AllDown::All, panic_percent: 0 }
    }

    fn members(weights: &[u16]) -> Vec<Member> {
        let member =
            |(index, weight)| Member { tier: 1, weight, identity: Member::identity_of(&format!("e{index}")) };
        weights.iter().copied().enumerate().map(member).collect()
    }

    /// In how many of the answers each member is.
    fn presence(spread: &Spread, count: usize) -> Vec<f64> {
        let Decider::Turns(weights) = &spread.by else { panic!("{spread:?}") };
        let total = f64::from(weights.iter().sum::<u32>());
        let of_one = |member: usize| {
            let parts = spread.parts.iter().zip(weights).filter(|(part, _)| part.contains(&member));
            parts.map(|(_, weight)| f64::from(*weight)).sum::<f64>() / total
        };
        (0..count).map(of_one).collect()
    }

    #[test]
    fn as_many_as_are_wanted_and_each_equally_often() {
        let failover = Kind::Failover { enough: 1, fail_back: FailBack::ByHand };
        for kind in [Kind::RoundRobin, failover] {
            for (selected, max, parts) in [
                (&[0, 2, 3][..], None, &[&[0, 2, 3][..]][..]),
                (&[0, 2, 3], Some(3), &[&[0, 2, 3]]),
                (&[0, 2, 3], Some(2), &[&[0, 2], &[2, 3], &[0, 3]]),
                (&[1, 2], Some(1), &[&[1], &[2]]),
                (&[4], Some(1), &[&[4]]),
            ] {
                let spread = Spread::new(&spec(kind, max), &members(&[1; 5]), selected);
                assert_eq!(spread.parts, parts);
                let shares: Vec<f64> = (0..5).map(|member| spread.share(member)).collect();
                for (member, share) in shares.iter().enumerate() {
                    let wanted = if selected.contains(&member) { 1.0 / selected.len() as f64 } else { 0.0 };
                    assert!((share - wanted).abs() < 1e-9, "{selected:?} {max:?}: {shares:?}");
                }
            }
        }
    }

    #[test]
    fn one_at_a_time_by_weight() {
        let kind = Kind::Weighted { portion: Portion::One };
        for (weights, selected, shares) in [
            (&[10, 30, 60][..], &[0, 1, 2][..], &[0.1, 0.3, 0.6][..]),
            (&[10, 30, 60], &[0, 1], &[0.25, 0.75, 0.0]),
            (&[0, 30, 60], &[0, 1], &[0.0, 1.0, 0.0]),
            (&[0, 0, 60], &[0, 1], &[0.5, 0.5, 0.0]),
            (&[65_535, 1], &[0, 1], &[65_535.0 / 65_536.0, 1.0 / 65_536.0]),
        ] {
            let spread = Spread::new(&spec(kind, None), &members(weights), selected);
            assert!(spread.parts.iter().all(|part| part.len() == 1));
            for (member, wanted) in shares.iter().enumerate() {
                assert!((spread.share(member) - wanted).abs() < 1e-9, "{weights:?} {selected:?}: {spread:?}");
            }
        }
    }

    #[test]
    fn sets_have_a_member_as_often_as_its_weight_is_of_the_largest() {
        let kind = Kind::Weighted { portion: Portion::Set };
        for seed in 0..500 {
            let mut random = fastrand::Rng::with_seed(seed);
            let most = *random.choice(&[3, 100, 65_535]).unwrap();
            let mut weights: Vec<u16> = (0..random.usize(1..12)).map(|_| random.u16(0..=most)).collect();
            weights[0] = weights[0].max(1);
            let selected: Vec<usize> = (0..weights.len()).collect();
            let spread = Spread::new(&spec(kind, None), &members(&weights), &selected);
            let largest = f64::from(*weights.iter().max().unwrap());
            for (weight, presence) in weights.iter().zip(presence(&spread, weights.len())) {
                let wanted = f64::from(*weight) / largest;
                assert!((presence - wanted).abs() < 1e-9, "{weights:?}: {spread:?}");
            }
            let sizes: Vec<usize> = spread.parts.iter().map(Vec::len).collect();
            let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
            assert!(*least >= 1 && most - least <= 1, "{weights:?}: {spread:?}");
            assert!(spread.parts.len() <= 2 * weights.len());
        }
        let spread = Spread::new(&spec(kind, None), &members(&[10, 5, 5]), &[0, 1, 2]);
        assert_eq!(spread.parts, [[0, 1], [0, 2]]);
        assert_eq!([0, 1, 2].map(|member| spread.share(member)), [0.5, 0.25, 0.25]);
    }

    fn chosen(members: &[Member], selected: &[usize]) -> Vec<usize> {
        let spread = Spread::new(&spec(Kind::Hash, None), members, selected);
        match &spread.by {
            Decider::Turns(_) => vec![spread.parts[0][0]; SLOTS],
            Decider::Clients(slots) => slots.iter().map(|part| spread.parts[usize::from(*part)][0]).collect(),
            Decider::Places(_) => panic!("{spread:?}"),
        }
    }

    #[test]
    fn when_a_member_goes_only_its_own_clients_go_elsewhere() {
        for seed in 0..100 {
            let mut random = fastrand::Rng::with_seed(seed);
            let members = members(&vec![1; random.usize(2..40)]);
            let mut before: Vec<usize> = (0..members.len()).filter(|_| random.u8(0..4) > 0).collect();
            if before.len() < 2 {
                before = vec![0, 1];
            }
            let gone = *random.choice(&before).unwrap();
            let after: Vec<usize> = before.iter().copied().filter(|member| *member != gone).collect();
            let (had, have) = (chosen(&members, &before), chosen(&members, &after));
            for (had, have) in had.iter().zip(&have) {
                assert!(had == have || *had == gone, "{before:?} without {gone}");
                assert_ne!(*have, gone);
            }
            assert_eq!(chosen(&members, &before), had, "and they come back");
            let each = SLOTS / before.len();
            for member in &before {
                let count = had.iter().filter(|it| *it == member).count();
                assert!(count.abs_diff(each) < each / 2 + 20, "{member} has {count} of {each}");
            }
        }
    }

    #[test]
    fn a_place_has_the_nearest_of_those_that_are_selected() {
        // Of four members, from three places.
        let distances = [vec![3, 3, 3, 3], vec![1, 0, 1, 2], vec![2, 2, 0, 0]];
        for (selected, parts, places) in [
            (&[0, 1, 2, 3][..], &[&[0, 1, 2, 3][..], &[1], &[2, 3]][..], &[0, 1, 2][..]),
            (&[0, 2, 3], &[&[0, 2, 3], &[0, 2], &[2, 3]], &[0, 1, 2]),
            (&[0, 1], &[&[0, 1], &[1]], &[0, 1, 0]),
            (&[2], &[&[2]], &[]),
            (&[2, 3], &[&[2, 3], &[2]], &[0, 1, 0]),
        ] {
            let spread = Spread::nearest(&distances, selected);
            assert_eq!(spread.parts, parts, "{selected:?}");
            match &spread.by {
                Decider::Places(of_places) => assert_eq!(&of_places[..], places, "{selected:?}"),
                by => assert!(places.is_empty() && *by == Decider::Turns(vec![1]), "{selected:?}: {by:?}"),
            }
            let shares: f64 = (0..4).map(|member| spread.share(member)).sum();
            assert!((shares - 1.0).abs() < 1e-9, "{selected:?}: {shares}");
        }
        assert_eq!(Spread::nearest(&[], &[1, 2]).parts, [[1, 2]]);
    }

    #[test]
    fn clients_keep_their_member_whatever_its_place() {
        let all = members(&[1; 6]);
        let turned: Vec<Member> = all.iter().rev().copied().collect();
        let (one, other) = (chosen(&all, &[0, 1, 2, 3, 4, 5]), chosen(&turned, &[0, 1, 2, 3, 4, 5]));
        assert!(one.iter().zip(&other).all(|(one, other)| *one == 5 - other));
    }
}
