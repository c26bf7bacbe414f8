//! Which members of which catalogs are here: what follows from new versions of catalogs, and what does not.

use super::{Catalog, Member, ZoneName};
use std::collections::{BTreeMap, HashMap, HashSet};

/// How many members may leave a catalog within a time without anybody's approval.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RemovalLimit {
    /// So many in any case,
    pub count: usize,
    /// or so many of a hundred, whichever is more.
    pub percent: u8,
}

impl RemovalLimit {
    fn allows(self, removals: usize, members: usize) -> bool {
        let share = members.saturating_mul(usize::from(self.percent)) / 100;
        removals <= self.count.max(share)
    }
}

/// A member that is here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held {
    /// The catalog that it is here for.
    pub catalog: ZoneName,
    /// Its label there.
    pub label: Box<[u8]>,
    /// Its groups there.
    pub groups: Vec<Box<[u8]>>,
}

/// A catalog that is followed.
pub struct View<'c> {
    /// Its name.
    pub name: ZoneName,
    /// What its good version says; nothing where there is none, or where it has expired.
    pub catalog: Option<&'c Catalog>,
    /// How many members may leave it within a time,
    pub limit: RemovalLimit,
    /// of which so many have, without approval.
    pub left: usize,
    /// Names that members have to be at or below; any will do where there are none.
    pub within: &'c [ZoneName],
    /// Whether removals are approved, however many.
    pub approval: Approval,
}

/// Whether an operator has approved removals.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Approval {
    /// Nobody has.
    #[default]
    Missing,
    /// Those that would be held now are approved, if they are so many: nobody approves of what he has not seen.
    Given(usize),
}

/// Why what a catalog says of a zone is ignored (RFC 9432 §5.2).
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Ignored {
    /// The zone is configured by hand.
    #[error("a zone of this name is configured here")]
    Configured,
    /// It is here for another catalog, which does not offer it to this one.
    #[error("it is a member of {0}, which has no `coo` to this catalog")]
    Elsewhere(ZoneName),
    /// Its name is none that the catalog may have members of.
    #[error("its name is not within those that this catalog may have members of")]
    NotWithin,
}

/// Why what is known of a member is to be forgotten.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reset {
    /// Its label has changed (RFC 9432 §5.4).
    Label,
    /// It was taken over by another catalog under another label, or without an offer after its catalog had let it go.
    Owner,
}

/// The members that are here.
#[derive(Clone, Default, Debug)]
pub struct Ownership {
    members: BTreeMap<ZoneName, Held>,
}

/// What has come of a look at all catalogs.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Settled {
    /// Members that are new here.
    pub added: Vec<ZoneName>,
    /// Members that are gone, with the catalog that they were here for.
    pub removed: Vec<(ZoneName, ZoneName)>,
    /// Members that stay, and begin from scratch.
    pub reset: Vec<(ZoneName, Reset)>,
    /// Members that have moved to another catalog and keep what they have: from where and to where.
    pub moved: Vec<(ZoneName, ZoneName, ZoneName)>,
    /// Members that stay as they are in other groups.
    pub regrouped: Vec<ZoneName>,
    /// Of each catalog, the members that it has no longer and that stay until somebody approves.
    pub held: Vec<Vec<ZoneName>>,
    /// Of each catalog, the members that are ignored.
    pub ignored: Vec<Vec<(ZoneName, Ignored)>>,
}

impl Settled {
    /// Whether any member is other than before.
    pub fn is_change(&self) -> bool {
        let Settled { added, removed, reset, moved, regrouped, held: _, ignored: _ } = self;
        let nothing = added.is_empty() && removed.is_empty() && reset.is_empty();
        !(nothing && moved.is_empty() && regrouped.is_empty())
    }
}

impl Ownership {
    /// Begins with members that are known from before.
    pub fn new(members: impl IntoIterator<Item = (ZoneName, Held)>) -> Ownership {
        Ownership { members: members.into_iter().collect() }
    }

    /// The members that are here.
    pub fn members(&self) -> &BTreeMap<ZoneName, Held> {
        &self.members
    }

    /// Takes in what all catalogs say now. `is_configured` tells which zones are here by other means.
    ///
    /// A member goes only if the catalog that it is here for is good and has others, but not it. What a catalog would remove
    /// beyond its limit is held as a whole.
    pub fn settle(&mut self, views: &[View<'_>], is_configured: impl Fn(&ZoneName) -> bool) -> Settled {
        let mut settled = Settled {
            held: vec![Vec::new(); views.len()],
            ignored: vec![Vec::new(); views.len()],
            ..Settled::default()
        };
        let index: HashMap<&ZoneName, usize> = views.iter().map(|view| &view.name).zip(0..).collect();
        let before = std::mem::take(&mut self.members);
        let mut totals = vec![0; views.len()];
        let mut leaving: Vec<Vec<(ZoneName, Held)>> = views.iter().map(|_| Vec::new()).collect();
        let mut gone: BTreeMap<ZoneName, ZoneName> = BTreeMap::new();
        for (zone, held) in before {
            let Some(&of) = index.get(&held.catalog).filter(|_| !is_configured(&zone)) else {
                gone.insert(zone, held.catalog);
                continue;
            };
            totals[of] += 1;
            let Some(catalog) = views[of].catalog else {
                self.members.insert(zone, held);
                continue;
            };
            match catalog.members.get(&zone).filter(|_| views[of].is_within(&zone)) {
                None => leaving[of].push((zone, held)),
                Some(member) => {
                    let now = follow_offers(of, member, &zone, views, &index);
                    // The label has to be the same in all of them, and what it was: the old owner has a say in that, too.
                    let is_same = now.is_same && held.label == member.label;
                    let owner = &views[now.to].name;
                    self.keep(zone, held, (owner, now.member), is_same, &mut settled);
                }
            }
        }
        for (of, leaving) in leaving.into_iter().enumerate() {
            let view = &views[of];
            let is_empty = view.catalog.is_some_and(|catalog| catalog.members.is_empty());
            let is_too_much =
                is_empty || !view.limit.allows(leaving.len() + view.left, totals[of] + view.left);
            let is_held = is_too_much && view.approval != Approval::Given(leaving.len());
            for (zone, held) in leaving {
                if is_held {
                    settled.held[of].push(zone.clone());
                    self.members.insert(zone, held);
                } else {
                    gone.insert(zone, held.catalog);
                }
            }
        }
        self.add(views, &index, is_configured, &mut gone, &mut settled);
        settled.removed = gone.into_iter().collect();
        settled
    }

    /// A member that is here and stays, of this catalog from now on, with what it has if it is the same.
    fn keep(
        &mut self,
        zone: ZoneName,
        held: Held,
        (owner, member): (&ZoneName, &Member),
        is_same: bool,
        settled: &mut Settled,
    ) {
        let has_moved = held.catalog != *owner;
        if !is_same {
            settled.reset.push((zone.clone(), if has_moved { Reset::Owner } else { Reset::Label }));
        } else if has_moved {
            settled.moved.push((zone.clone(), held.catalog, owner.clone()));
        } else if held.groups != member.groups {
            settled.regrouped.push(zone.clone());
        }
        self.members.insert(zone, member.held(owner));
    }

    /// Adds what catalogs have and is not here.
    fn add(
        &mut self,
        views: &[View<'_>],
        index: &HashMap<&ZoneName, usize>,
        is_configured: impl Fn(&ZoneName) -> bool,
        gone: &mut BTreeMap<ZoneName, ZoneName>,
        settled: &mut Settled,
    ) {
        for (of, view) in views.iter().enumerate() {
            for (zone, member) in view.catalog.iter().flat_map(|catalog| &catalog.members) {
                let owner = self.members.get(zone).map(|held| &held.catalog);
                let ignored = if !view.is_within(zone) {
                    Ignored::NotWithin
                } else if is_configured(zone) {
                    Ignored::Configured
                } else if let Some(owner) = owner {
                    // It is here for this catalog, or has gone to the one that it was offered to.
                    let now = follow_offers(of, member, zone, views, index);
                    if *owner == view.name
                        || member.coo.as_ref() == Some(owner)
                        || views[now.to].name == *owner
                    {
                        continue;
                    }
                    Ignored::Elsewhere(owner.clone())
                } else {
                    // A catalog that offers a zone to one that has it, too, is not the one to begin with.
                    let now = follow_offers(of, member, zone, views, index);
                    if gone.remove(zone).is_some() {
                        settled.reset.push((zone.clone(), Reset::Owner));
                    } else {
                        settled.added.push(zone.clone());
                    }
                    self.members.insert(zone.clone(), now.member.held(&views[now.to].name));
                    continue;
                };
                settled.ignored[of].push((zone.clone(), ignored));
            }
        }
    }
}

impl View<'_> {
    fn is_within(&self, zone: &ZoneName) -> bool {
        self.within.is_empty() || self.within.iter().any(|name| zone.as_name().is_at_or_below(name.as_name()))
    }
}

impl Member {
    fn held(&self, catalog: &ZoneName) -> Held {
        Held { catalog: catalog.clone(), label: self.label.clone(), groups: self.groups.clone() }
    }
}

/// Where a member is, after it was offered to others.
struct Offered<'v> {
    /// In which catalog.
    to: usize,
    /// What that says of it.
    member: &'v Member,
    /// Whether all on the way have it under one label.
    is_same: bool,
}

/// Follows the offers of a member (RFC 9432 §4.4.1), from this catalog to those that have the zone now, to the end. Where they
/// lead in a circle they lead nowhere: it would be handed around with every look.
fn follow_offers<'v>(
    of: usize,
    member: &'v Member,
    zone: &ZoneName,
    views: &'v [View<'_>],
    index: &HashMap<&ZoneName, usize>,
) -> Offered<'v> {
    let mut now = Offered { to: of, member, is_same: true };
    let mut passed = HashSet::from([of]);
    loop {
        let next = now.member.coo.as_ref().and_then(|name| index.get(name)).copied();
        let next = next.filter(|next| views[*next].is_within(zone));
        let there = next.and_then(|next| Some((next, views[next].catalog?.members.get(zone)?)));
        let Some((next, there)) = there else { return now };
        if !passed.insert(next) {
            return Offered { to: of, member, is_same: true };
        }
        let is_same = now.is_same && there.label == member.label;
        now = Offered { to: next, member: there, is_same };
    }
}
