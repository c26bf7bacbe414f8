//! What each answer has of the endpoints that a pool has selected, as tables and as operators want it.

use crate::config::Answer;
use crate::places::Atlas;
use crate::status::PlacesStatus;
use pool::{Distance, Member, Spec, Spread};
use std::sync::Arc;
use zone::amend::{Choice, Decider, Withheld};

const _: () = assert!(pool::SLOTS == table::SLOTS, "what is made for a slot is found by it");

/// What answers have of a member.
#[derive(Clone)]
pub(super) enum Inside<'a> {
    /// A record.
    Itself(Answer),
    /// What the answers of another pool have; nothing where that has not been decided.
    Pool(Option<&'a Portions>),
}

/// Where clients are, and what is near them.
#[derive(Default)]
pub(super) struct Near<'a> {
    /// The map that all pools go by.
    pub(super) atlas: Option<&'a Atlas>,
    /// For each place how far each member is, where that decides.
    pub(super) distances: Option<Vec<Vec<Distance>>>,
    /// Whether answers have one of those that are equally near.
    pub(super) is_single: bool,
}

/// What answers have.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Portions {
    /// All records that some answer has, or that are withheld.
    records: Vec<Answer>,
    /// Which answers have which, by their places among the records; none where no answer has any.
    spread: Option<Spread>,
    /// The members that some answer has, in ascending order, with how many of a million clients get each.
    members: Vec<(usize, u32)>,
    /// The parts that answers have; none where each has all.
    choice: Option<Arc<Choice>>,
}

impl Portions {
    /// Of those that are selected, of all `members`, of which answers have what `insides` says.
    pub(super) fn new(
        spec: &Spec,
        members: &[Member],
        selected: &[usize],
        insides: &[Inside<'_>],
        near: &Near<'_>,
    ) -> Portions {
        if selected.is_empty() {
            return Portions::default();
        }
        let outer = match &near.distances {
            Some(distances) => {
                let mut nearest = Spread::nearest(distances, selected);
                if near.is_single {
                    nearest.parts.iter_mut().for_each(|part| part.truncate(1));
                }
                nearest
            }
            None => Spread::new(spec, members, selected),
        };
        let mut records: Vec<Answer> = Vec::new();
        let mut within = vec![Spread::all(Vec::new()); members.len()];
        let selected = outer.members();
        for member in &selected {
            within[*member] = match &insides[*member] {
                Inside::Itself(answer) => Spread::all(vec![number(&mut records, answer)]),
                Inside::Pool(portions) => portions.map_or(Spread::all(Vec::new()), |it| it.put(&mut records)),
            };
        }
        let is_nested = insides.iter().any(|inside| matches!(inside, Inside::Pool(_)));
        let spread = match is_nested {
            false => outer.renumbered(|member| within[member].parts[0][0]),
            // The configuration has no pools where turns and clients decide together; all at once would be no wrong answer.
            true => outer.unfolded(&within).unwrap_or_else(|| Spread::all((0..records.len()).collect())),
        };
        if records.is_empty() {
            return Portions::default();
        }
        let share =
            |inside: &Spread| inside.members().iter().map(|record| spread.share(*record)).sum::<f64>();
        let ppm = |member: &usize| (share(&within[*member]).min(1.0) * 1e6).round() as u32; // a million at most
        let are_there = selected.iter().filter(|member| !within[**member].members().is_empty());
        let members = are_there.map(|member| (*member, ppm(member))).collect();
        let choice = (spread.parts.len() > 1).then(|| choice(&spread, near.atlas)).flatten();
        Portions { records, spread: Some(spread), members, choice: choice.map(Arc::new) }
    }

    /// That every answer has these, whoever the members are.
    pub(super) fn all(records: Vec<Answer>) -> Portions {
        let spread = Spread::all((0..records.len()).collect());
        Portions { records, spread: Some(spread), ..Portions::default() }
    }

    /// That no answer has any of these.
    pub(super) fn withheld(records: Vec<Answer>, withheld: Withheld) -> Portions {
        Portions { records, choice: Some(Arc::new(Choice::withheld(withheld))), ..Portions::default() }
    }

    /// The records of the set, among them those that are withheld.
    pub(super) fn records(&self) -> &[Answer] {
        &self.records
    }

    /// What answers have, together or each a part.
    pub(super) fn answers(&self) -> &[Answer] {
        if self.spread.is_some() { &self.records } else { &[] }
    }

    /// Whether some answer has the member.
    pub(super) fn has(&self, member: usize) -> bool {
        self.members.binary_search_by_key(&member, |(known, _)| *known).is_ok()
    }

    /// Of a million clients that take any record of an answer, so many get this member.
    pub(super) fn share_ppm(&self, member: usize) -> u32 {
        let found = self.members.binary_search_by_key(&member, |(known, _)| *known);
        found.map_or(0, |at| self.members[at].1)
    }

    /// The parts that answers have, as places among [`Portions::records`]; none where each has all.
    pub(super) fn choice(&self) -> Option<&Arc<Choice>> {
        self.choice.as_ref()
    }

    /// Which places get which of its records, where that is not one thing.
    pub(super) fn places(&self, atlas: Option<&Atlas>) -> Vec<PlacesStatus> {
        let Some(Spread { parts, by: pool::Decider::Places(places) }) = &self.spread else {
            return Vec::new();
        };
        let Some(atlas) = atlas else { return Vec::new() };
        let of_part = |(index, part): (usize, &Vec<usize>)| {
            let is_of_it = |(_, part): &(usize, &u16)| usize::from(**part) == index;
            let names =
                places.iter().enumerate().filter(is_of_it).map(|(place, _)| atlas.name(place).to_owned());
            PlacesStatus {
                places: names.collect(),
                answers: part.iter().map(|record| self.records[*record].to_string()).collect(),
            }
        };
        parts.iter().enumerate().map(of_part).collect()
    }

    /// Puts its records among those of a pool around it, and says which answers have them there.
    fn put(&self, records: &mut Vec<Answer>) -> Spread {
        let Some(spread) = &self.spread else { return Spread::all(Vec::new()) };
        let numbers: Vec<usize> = self.records.iter().map(|answer| number(records, answer)).collect();
        spread.renumbered(|record| numbers[record])
    }
}

/// The place of a record among others, at their end if it is new: two pools within one may have the same, and a set has it
/// once (RFC 2181 §5).
fn number(records: &mut Vec<Answer>, answer: &Answer) -> usize {
    records.iter().position(|known| known == answer).unwrap_or_else(|| {
        records.push(answer.clone());
        records.len() - 1
    })
}

/// The parts as tables have them; none for places that nobody knows.
fn choice(spread: &Spread, atlas: Option<&Atlas>) -> Option<Choice> {
    let places = |part: &Vec<usize>| part.iter().map(|place| *place as u16).collect(); // below `MEMBERS_MAX`
    Some(Choice {
        parts: spread.parts.iter().map(places).collect(),
        by: match &spread.by {
            pool::Decider::Turns(weights) => Decider::Turns(weights.clone()),
            pool::Decider::Clients(slots) => Decider::Clients(slots.clone()),
            pool::Decider::Places(places) => Decider::Places(Arc::clone(atlas?.map()), places.clone()),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pool::{AllDown, Kind, Portion};

    fn weighted() -> Spec {
        let kind = Kind::Weighted { portion: Portion::One };
        Spec { kind, answers_max: None, all_down: AllDown::All, panic_percent: 0 }
    }

    fn address(last: u8) -> Answer {
        Answer::Address([192, 0, 2, last].into())
    }

    fn member(weight: u16) -> Member {
        Member { tier: 1, weight, identity: 0 }
    }

    #[test]
    fn records_are_those_of_the_members() {
        let members = [member(5), member(1), member(0), member(3)];
        let insides = [1, 2, 3, 4].map(|last| Inside::Itself(address(last)));
        let portions = Portions::new(&weighted(), &members, &[1, 2, 3], &insides, &Near::default());
        let has = [0, 1, 2, 3].map(|at| portions.has(at));
        assert_eq!(has, [false, true, false, true], "one has no weight, and one is not selected");
        assert_eq!(portions.answers(), [address(2), address(4)]);
        assert_eq!([0, 1, 2, 3].map(|at| portions.share_ppm(at)), [0, 250_000, 0, 750_000]);
        let choice = portions.choice().unwrap();
        assert_eq!((&choice.parts[..], &choice.by), (&[vec![0], vec![1]][..], &Decider::Turns(vec![1, 3])));
        let alone = Portions::new(&weighted(), &members, &[3], &insides, &Near::default());
        assert_eq!((alone.answers(), alone.choice()), (&[address(4)][..], None));
        assert!(Portions::new(&weighted(), &members, &[], &insides, &Near::default()).answers().is_empty());
    }

    #[test]
    fn a_pool_within_divides_what_it_gets() {
        let direct = [1, 2].map(|last| Inside::Itself(address(last)));
        let inner = Portions::new(&weighted(), &[member(1), member(3)], &[0, 1], &direct, &Near::default());
        let insides = [Inside::Itself(address(9)), Inside::Pool(Some(&inner))];
        let outer = Portions::new(&weighted(), &[member(1), member(1)], &[0, 1], &insides, &Near::default());
        assert_eq!(outer.answers(), [address(9), address(1), address(2)]);
        assert_eq!([outer.share_ppm(0), outer.share_ppm(1)], [500_000; 2]);
        assert_eq!(outer.choice().unwrap().by, Decider::Turns(vec![4, 1, 3]));
        // What is withheld inside is none of the answers around it.
        let withheld = Portions::withheld(vec![address(1)], Withheld::Failure);
        let insides = [Inside::Itself(address(9)), Inside::Pool(Some(&withheld))];
        let outer = Portions::new(&weighted(), &[member(1), member(1)], &[0, 1], &insides, &Near::default());
        assert_eq!((outer.answers(), outer.choice()), (&[address(9)][..], None));
        assert_eq!([outer.has(0), outer.has(1)], [true, false]);
    }
}
