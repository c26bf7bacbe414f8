//! What was decided, as answers of names.

use super::Roster;
use crate::config::{Answer, Place, PoolConfig, Side};
use crate::places::Atlas;
use crate::pools::portions::{Inside, Near, Portions};
use pool::{AllDown, Basis, Kind, Member, Selection};
use zone::amend::{Steered, Withheld};

impl Roster {
    /// What names answer with: all records that each has from its pool, as last selected.
    pub(in crate::pools) fn answers(&self) -> Vec<Steered> {
        let mut answers = Vec::new();
        for (pool, state) in self.config.iter().zip(&self.states) {
            let mut selections = state.sides.iter().filter_map(|side| side.selection.as_ref());
            let is_zone = |selection: &Selection| matches!(selection.basis, Basis::AllDown(AllDown::Zone));
            // What the zone itself has is one thing, addresses of both families.
            if selections.all(is_zone) {
                continue;
            }
            let of_sides = sides(pool).iter().map(|side| {
                let portions = state.sides[*side as usize].portions.as_ref();
                let rdata = portions.map_or(&[][..], Portions::records).iter().map(Answer::rdata).collect();
                (side.rtype(), rdata, portions.and_then(Portions::choice).cloned())
            });
            let of_sides: Vec<(_, Vec<_>, _)> = of_sides.collect();
            for name in &pool.names {
                answers.extend(of_sides.iter().cloned().map(|(rtype, rdata, choice)| Steered {
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

    /// What answers have of a selection.
    pub(super) fn portions(
        &self,
        index: usize,
        side: Side,
        members: &[Member],
        selection: &Selection,
    ) -> Portions {
        let pool = &self.config[index];
        match selection.basis {
            Basis::AllDown(AllDown::Fallback) => {
                let of_side = pool.fallback.iter().filter(|answer| answer.side() == side);
                Portions::all(of_side.cloned().collect())
            }
            // The set has to have something, which nobody gets.
            Basis::AllDown(AllDown::Empty) => Portions::withheld(self.first(index, side), Withheld::Nothing),
            Basis::AllDown(AllDown::Servfail) => {
                Portions::withheld(self.first(index, side), Withheld::Failure)
            }
            Basis::Good { .. } | Basis::Panic | Basis::AllDown(_) => {
                let insides: Vec<Inside<'_>> = pool
                    .members(side)
                    .map(|(endpoint, place, _)| match place {
                        Place::Itself(answer) => Inside::Itself(answer),
                        Place::Pool(_) => {
                            let at = pool.endpoints.iter().position(|it| it.name == endpoint.name);
                            let inner = at.and_then(|at| self.states[index].within[at]);
                            Inside::Pool(
                                inner.and_then(|it| self.states[it].sides[side as usize].portions.as_ref()),
                            )
                        }
                    })
                    .collect();
                Portions::new(&pool.spec, members, &selection.members, &insides, &self.near(index, side))
            }
        }
    }

    /// Where clients are, and how far from each place the members of a side are, if that decides.
    fn near(&self, index: usize, side: Side) -> Near<'_> {
        let pool = &self.config[index];
        let deciding = pool.atlas.as_deref().filter(|_| pool.spec.kind == Kind::Nearest);
        let endpoints = pool.members(side).map(|(endpoint, ..)| endpoint);
        let distances = deciding.map(|atlas| atlas.distances(endpoints));
        // An alias leads to one name (RFC 2181 §10.1).
        Near { atlas: self.atlas(), distances, is_single: side == Side::Target }
    }

    /// The map of places that all pools go by, if any does.
    pub(super) fn atlas(&self) -> Option<&Atlas> {
        self.config.iter().find_map(|pool| pool.atlas.as_deref())
    }

    /// The first record of a side, of the pool or of one within it.
    fn first(&self, index: usize, side: Side) -> Vec<Answer> {
        let pool = &self.config[index];
        let itself = pool.members(side).find_map(|(_, place, _)| match place {
            Place::Itself(answer) => Some(vec![answer]),
            Place::Pool(_) => None,
        });
        itself.unwrap_or_else(|| {
            let within = self.states[index].within.iter().flatten();
            within.map(|inner| self.first(*inner, side)).find(|first| !first.is_empty()).unwrap_or_default()
        })
    }
}

/// The sides that the names of a pool have, or are not to have. Where they are aliases, the zone's addresses give way.
fn sides(pool: &PoolConfig) -> &'static [Side] {
    if pool.has_targets() { &Side::ALL } else { &[Side::Ipv4, Side::Ipv6] }
}
