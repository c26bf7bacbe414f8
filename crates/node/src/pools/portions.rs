//! What each answer has of the endpoints that a pool has selected, as tables and as operators want it.

use pool::{Member, Spec, Spread};
use std::sync::Arc;
use zone::amend::{Choice, Decider};

const _: () = assert!(pool::SLOTS == table::SLOTS, "what is made for a slot is found by it");

/// What answers have.
#[derive(Default)]
pub(super) struct Portions {
    /// The members that some answer has, in ascending order.
    members: Vec<usize>,
    /// Of a million clients, so many get each of them.
    shares_ppm: Vec<u32>,
    /// The parts that answers have; none where each has all.
    choice: Option<Arc<Choice>>,
}

impl Portions {
    /// Of those that are selected, of all `members`.
    pub(super) fn new(spec: &Spec, members: &[Member], selected: &[usize]) -> Portions {
        if selected.is_empty() {
            return Portions::default();
        }
        let spread = Spread::new(spec, members, selected);
        let members = spread.members();
        let share = |member: &usize| (spread.share(*member) * 1e6).round() as u32; // a million at most
        let shares_ppm = members.iter().map(share).collect();
        let choice = (spread.parts.len() > 1).then(|| Arc::new(choice(&spread, &members)));
        Portions { members, shares_ppm, choice }
    }

    /// The members that some answer has, in ascending order.
    pub(super) fn members(&self) -> &[usize] {
        &self.members
    }

    /// Of a million clients that take any address of an answer, so many get this member.
    pub(super) fn share_ppm(&self, member: usize) -> u32 {
        self.members.binary_search(&member).map_or(0, |at| self.shares_ppm[at])
    }

    /// The parts that answers have, as places among [`Portions::members`]; none where each has all.
    pub(super) fn choice(&self) -> Option<&Arc<Choice>> {
        self.choice.as_ref()
    }
}

fn choice(spread: &Spread, members: &[usize]) -> Choice {
    // Below `MEMBERS_MAX`, and each member of a part is one of them all.
    let place = |member: &usize| members.partition_point(|known| known < member) as u16;
    Choice {
        parts: spread.parts.iter().map(|part| part.iter().map(place).collect()).collect(),
        by: match &spread.by {
            pool::Decider::Turns(weights) => Decider::Turns(weights.clone()),
            pool::Decider::Clients(slots) => Decider::Clients(slots.clone()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pool::{AllDown, Kind, Portion};

    #[test]
    fn records_are_those_of_the_members() {
        let kind = Kind::Weighted { portion: Portion::One };
        let spec = Spec { kind, answers_max: None, all_down: AllDown::All, panic_percent: 0 };
        let member = |weight| Member { tier: 1, weight, identity: 0 };
        let members = [member(5), member(1), member(0), member(3)];
        let portions = Portions::new(&spec, &members, &[1, 2, 3]);
        assert_eq!(portions.members(), [1, 3], "one has no weight, and one is not selected");
        assert_eq!([0, 1, 2, 3].map(|at| portions.share_ppm(at)), [0, 250_000, 0, 750_000]);
        let choice = portions.choice().unwrap();
        assert_eq!((&choice.parts[..], &choice.by), (&[vec![0], vec![1]][..], &Decider::Turns(vec![1, 3])));
        let alone = Portions::new(&spec, &members, &[3]);
        assert_eq!((alone.members(), alone.choice()), (&[3][..], None));
        assert!(Portions::new(&spec, &members, &[]).members().is_empty());
    }
}
