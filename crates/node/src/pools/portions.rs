//! What each answer has of the endpoints that a pool has selected, as tables and as operators want it.

use crate::config::PoolConfig;
use crate::places::Atlas;
use crate::status::PlacesStatus;
use pool::{Kind, Member, Spec, Spread};
use std::net::IpAddr;
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
    /// What each place has, where places decide.
    nearest: Option<Spread>,
}

impl Portions {
    /// Of those members of a pool that are selected, of a family.
    pub(super) fn of(pool: &PoolConfig, is_ipv4: bool, members: &[Member], selected: &[usize]) -> Portions {
        let Some(atlas) = pool.atlas.as_deref().filter(|_| pool.spec.kind == Kind::Nearest) else {
            return Portions::new(&pool.spec, members, selected);
        };
        if selected.is_empty() {
            return Portions::default();
        }
        let distances = atlas.distances(pool.members(is_ipv4).map(|(endpoint, ..)| endpoint));
        Portions::made(&Spread::nearest(&distances, selected), Some(atlas))
    }

    /// Of those that are selected, of all `members`, wherever clients are.
    fn new(spec: &Spec, members: &[Member], selected: &[usize]) -> Portions {
        if selected.is_empty() {
            return Portions::default();
        }
        Portions::made(&Spread::new(spec, members, selected), None)
    }

    fn made(spread: &Spread, atlas: Option<&Atlas>) -> Portions {
        let members = spread.members();
        let share = |member: &usize| (spread.share(*member) * 1e6).round() as u32; // a million at most
        let shares_ppm = members.iter().map(share).collect();
        let choice = (spread.parts.len() > 1).then(|| choice(spread, &members, atlas)).flatten();
        let nearest = matches!(spread.by, pool::Decider::Places(_)).then(|| spread.clone());
        Portions { members, shares_ppm, choice: choice.map(Arc::new), nearest }
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

    /// Which places get which addresses of a pool's members of a family, where that is not one thing.
    pub(super) fn places(&self, pool: &PoolConfig, is_ipv4: bool) -> Vec<PlacesStatus> {
        let (Some(Spread { parts, by: pool::Decider::Places(places) }), Some(atlas)) =
            (&self.nearest, &pool.atlas)
        else {
            return Vec::new();
        };
        let addresses: Vec<IpAddr> = pool.members(is_ipv4).map(|(_, address, _)| address).collect();
        let of_part = |(index, part): (usize, &Vec<usize>)| {
            let is_of_it = |(_, part): &(usize, &u16)| usize::from(**part) == index;
            let names =
                places.iter().enumerate().filter(is_of_it).map(|(place, _)| atlas.name(place).to_owned());
            PlacesStatus {
                places: names.collect(),
                answers: part
                    .iter()
                    .filter_map(|member| addresses.get(*member))
                    .map(ToString::to_string)
                    .collect(),
            }
        };
        parts.iter().enumerate().map(of_part).collect()
    }
}

/// The parts as tables have them; none for places that nobody knows.
fn choice(spread: &Spread, members: &[usize], atlas: Option<&Atlas>) -> Option<Choice> {
    // Below `MEMBERS_MAX`, and each member of a part is one of them all.
    let place = |member: &usize| members.partition_point(|known| known < member) as u16;
    Some(Choice {
        parts: spread.parts.iter().map(|part| part.iter().map(place).collect()).collect(),
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
