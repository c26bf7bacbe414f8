//! Pools that zones bring along in their records, beside those of the configuration.

use super::Keeper;
use super::chart::{Chart, Charted};
use crate::config::{PlacesConfig, PoolConfig, places};
use crate::pools::beside::{self, Room};
use crate::pools::records::{self, Found};
use crate::status::RefusedPool;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use table::Table;
use wire::{Name, NameBuf};

/// The pools that zones bring, and those of the configuration.
#[derive(Default)]
pub(super) struct Brought {
    configured: Arc<[PoolConfig]>,
    /// By the apex of the zone.
    zones: BTreeMap<Box<[u8]>, Vec<Standing>>,
    /// Whether zones have come or gone since they were taken in, or are configured otherwise.
    has_moved: bool,
    /// Whether the configuration has been taken in.
    is_merged: bool,
    /// What is refused of them, as was said last.
    refused: Vec<RefusedPool>,
    /// The map for those that go by where clients are.
    pub(super) chart: Chart,
    /// Whether somebody waits for it all anyway: the configuration was just read.
    has_time: bool,
}

/// What is known of a pool that a zone brings.
struct Standing {
    owner: NameBuf,
    /// The last that was good.
    pool: Option<PoolConfig>,
    /// What is wrong with what the records say now.
    errors: Vec<String>,
}

impl Brought {
    /// None yet, beside those of the configuration.
    pub(super) fn beside(configured: Arc<[PoolConfig]>, places: Option<PlacesConfig>) -> Brought {
        let mut brought = Brought::default();
        brought.configure(configured, places);
        brought
    }

    /// Takes other pools of the configuration, and another map; zones may be others, too.
    pub(super) fn configure(&mut self, configured: Arc<[PoolConfig]>, places: Option<PlacesConfig>) {
        self.has_moved = true;
        self.has_time = true;
        self.chart.configure(places, &configured);
        // Those that are the same stay: with the new ones a second map of places would be kept.
        if self.configured != configured {
            self.configured = configured;
            self.is_merged = false;
        }
    }

    /// Notes that zones have come or gone.
    pub(super) fn zones_have_moved(&mut self) {
        self.has_moved = true;
    }

    /// Takes in what the records of a zone say now. Where that is no pool, the last one that was stays.
    fn read(&mut self, zone: Name<'_>, table: &Table) {
        let mut before: HashMap<NameBuf, PoolConfig> = HashMap::new();
        for standing in self.zones.remove(zone.as_wire()).unwrap_or_default() {
            before.extend(standing.pool.map(|pool| (standing.owner, pool)));
        }
        let standing = |Found { owner, pool }: Found| match pool {
            Ok(pool) => Standing { owner, pool: Some(pool), errors: Vec::new() },
            Err(errors) => Standing { pool: before.remove(&owner), owner, errors },
        };
        let standings: Vec<Standing> = records::of_zone(table).into_iter().map(standing).collect();
        self.zones.insert(zone.as_wire().into(), standings);
    }
}

impl Keeper {
    /// Takes in what zones say of pools that have changed, come or gone.
    pub(super) fn take_in_pools(&mut self) {
        let has_moved = std::mem::take(&mut self.brought.has_moved);
        let mut is_change = !std::mem::replace(&mut self.brought.is_merged, true);
        // Which zone a name is in may be another now.
        is_change |= has_moved && !self.brought.zones.is_empty();
        if has_moved {
            let entries = &self.entries;
            self.brought
                .zones
                .retain(|zone, _| entries.at(zone).is_some_and(|index| entries[index].zone.pool_records));
        }
        let changed: Vec<usize> = match has_moved {
            true => (0..self.entries.len()).filter(|index| self.may_have_other_pools(*index)).collect(),
            false => self.changed.keys().copied().filter(|index| self.may_have_other_pools(*index)).collect(),
        };
        for index in changed {
            let entry = &self.entries[index];
            let table = entry.withheld.as_ref().or(self.publisher.table(entry.slot));
            if let Some(table) = table {
                self.brought.read(entry.zone.name.as_name(), table);
                is_change = true;
            }
        }
        if is_change {
            self.merge_pools();
        }
        self.brought.has_time = false;
    }

    /// Takes in the map of places that was being read, if it is there.
    pub(super) fn look_at_chart(&mut self) {
        if self.brought.chart.look() {
            self.merge_pools();
        }
    }

    /// Whether the pools that a zone brings may be others than they were.
    fn may_have_other_pools(&self, index: usize) -> bool {
        let zone = &self.entries[index].zone;
        let is_known = self.brought.zones.contains_key(zone.name.as_name().as_wire());
        let has_changed = self.changed.get(&index).is_some_and(|replaced| {
            replaced.differences.as_ref().is_none_or(|differences| records::are_touched(differences))
        });
        zone.pool_records && !zone.is_private() && (has_changed || !is_known)
    }

    /// Has the pools kept that there may be.
    fn merge_pools(&mut self) {
        let mut room = Room::new(
            &self.brought.configured,
            self.sharing.borrow().is_some(),
            self.brought.chart.is_named(),
        );
        let sources = &self.node.sources;
        let mut pools = self.brought.configured.to_vec();
        let configured = pools.len();
        let mut refused = Vec::new();
        for (zone, standings) in &self.brought.zones {
            let Some(index) = self.entries.at(zone) else { continue };
            let entry = &self.entries[index];
            for Standing { owner, pool, errors } in standings {
                let mut problems = errors.clone();
                match pool.as_ref().map(|pool| {
                    (
                        pool,
                        beside::obstacle(&entry.zone, pool, |name| self.home(name)).or(room.obstacle(pool)),
                    )
                }) {
                    Some((pool, None)) => {
                        room.take(pool);
                        let mut pool = pool.clone();
                        pool.check.iter_mut().for_each(|check| check.sources.otherwise(sources));
                        pools.push(pool);
                    }
                    Some((_, Some(obstacle))) => problems.push(obstacle),
                    None => {}
                }
                if !problems.is_empty() {
                    refused.push(beside::refusal(&entry.zone, owner, problems));
                }
            }
        }
        self.chart_pools(&mut pools, configured, &mut refused);
        for it in refused.iter().filter(|it| !self.brought.refused.contains(it)) {
            let RefusedPool { name, zone, problems } = it;
            problems.iter().for_each(|problem| {
                tracing::error!("zone {zone}: the records at _pool.{name} make no pool: {problem}");
            });
        }
        if refused != self.brought.refused {
            self.board.set_refused_pools(refused.clone());
            self.brought.refused = refused;
        }
        let pools: Arc<[PoolConfig]> = pools.into();
        self.pools.send_if_modified(|known| {
            let are_others = *known != pools;
            if are_others {
                known.clone_from(&pools);
            }
            are_others
        });
    }

    /// Gives a map to the pools that go by one. Where there is none yet for those that zones bring, they stay as they were; these are
    /// behind those of the configuration.
    fn chart_pools(
        &mut self,
        pools: &mut Vec<PoolConfig>,
        configured: usize,
        refused: &mut Vec<RefusedPool>,
    ) {
        if !pools.iter().any(PoolConfig::is_nearest) {
            return;
        }
        let error = match self.brought.chart.with(places::words(pools), self.brought.has_time) {
            Charted::Atlas(atlas) => return places::give(&atlas, pools),
            Charted::Later => None,
            Charted::Failed(error) => Some(error),
        };
        let standing = self.pools.borrow();
        for pool in pools.split_off(configured) {
            if !pool.is_nearest() {
                pools.push(pool);
                continue;
            }
            let before = standing.iter().find(|before| before.name == pool.name && before.is_nearest());
            pools.extend(before.cloned());
            refused.extend(error.iter().map(|error| RefusedPool {
                name: pool.name.clone(),
                zone: pool.zone.as_ref().map(NameBuf::to_string).unwrap_or_default(),
                problems: vec![error.clone()],
            }));
        }
        drop(standing);
        // What is there has one map, whatever it was read for.
        if let Some(atlas) = self.brought.chart.atlas() {
            places::give(&atlas, pools);
        }
    }

    /// The zone that answers for a name.
    fn home(&self, name: Name<'_>) -> Option<NameBuf> {
        let mut above = Some(name);
        while let Some(name) = above {
            if self.entries.at(name.as_wire()).is_some_and(|index| self.entries[index].listed) {
                return Some(name.into());
            }
            above = name.parent();
        }
        None
    }
}
