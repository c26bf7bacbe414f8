//! Which pools of zones there can be beside those of the configuration, which go before them.

use super::records::{self, Found};
use crate::config::{CheckId, Config, POOLS_MAX, PoolConfig, SIGHTS_MAX, ZoneConfig, places};
use crate::places::{Atlas, AtlasError};
use crate::status::RefusedPool;
use ::pool::View;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use table::Table;
use wire::{Name, NameBuf};

/// The pools that the records of a zone say, and those that they try to.
pub(crate) fn of_records(zone: &ZoneConfig, table: &Table) -> (Vec<PoolConfig>, Vec<RefusedPool>) {
    let (mut pools, mut refused) = (Vec::new(), Vec::new());
    if !zone.pool_records || zone.is_private() {
        return (pools, refused);
    }
    for Found { owner, pool } in records::of_zone(table) {
        match pool {
            Ok(pool) => pools.push(pool),
            Err(problems) => refused.push(refusal(zone, &owner, problems)),
        }
    }
    (pools, refused)
}

/// The same of a zone that a configuration has, as far as they can be beside its pools.
pub(crate) fn of_configured(
    config: &Config,
    zone: &ZoneConfig,
    table: &Table,
) -> (Vec<PoolConfig>, Vec<RefusedPool>) {
    let (found, mut refused) = of_records(zone, table);
    let mut room = Room::new(&config.pools, config.sharing.is_some(), config.places.is_some());
    let home = |name: Name<'_>| {
        let above = config.zones.iter().filter(|zone| name.is_at_or_below(zone.name.as_name()));
        above.max_by_key(|zone| zone.name.as_name().label_count()).map(|zone| zone.name.clone())
    };
    let mut pools = Vec::new();
    for pool in found {
        match obstacle(zone, &pool, home).or(room.obstacle(&pool)) {
            None => {
                room.take(&pool);
                pools.push(pool);
            }
            Some(problem) => {
                let zone = zone.name.to_string();
                refused.push(RefusedPool { name: pool.name, zone, problems: vec![problem] });
            }
        }
    }
    (pools, refused)
}

/// Reads the map of places of a configuration for all of these pools, if any goes by it.
///
/// # Errors
/// There is no such map.
pub(crate) fn chart(config: &Config, pools: &mut [PoolConfig]) -> Result<(), AtlasError> {
    if let Some(places) = config.places.as_ref().filter(|_| pools.iter().any(PoolConfig::is_nearest)) {
        let atlas = Atlas::read(&places.file, places::words(pools))?;
        places::give(&Arc::new(atlas), pools);
    }
    Ok(())
}

/// That records at `_pool.` and the owner make no pool.
pub(crate) fn refusal(zone: &ZoneConfig, owner: &NameBuf, problems: Vec<String>) -> RefusedPool {
    let name = owner.to_string().trim_end_matches('.').to_owned();
    RefusedPool { name, zone: zone.name.to_string(), problems }
}

/// What keeps a zone from having such a pool; `home` is the zone that answers for a name.
pub(crate) fn obstacle(
    zone: &ZoneConfig,
    pool: &PoolConfig,
    home: impl Fn(Name<'_>) -> Option<NameBuf>,
) -> Option<String> {
    for name in &pool.names {
        match home(name.as_name()) {
            Some(home) if home == zone.name => {}
            Some(home) => return Some(format!("{name} is in the zone {home}, and for that to say")),
            None => return Some(format!("{name} is not in this zone")),
        }
    }
    let signing = zone.signing.as_ref().filter(|signing| pool.ttl > signing.ttl_max())?;
    let (ttl, most, validity) = (pool.ttl, signing.ttl_max(), signing.validity_s);
    Some(format!(
        "its answers may be kept for {ttl} s, and signatures in the zone are good for {validity} s; make its `ttl-s` at most \
         {most}"
    ))
}

/// What is taken by pools already.
pub(crate) struct Room {
    count: usize,
    /// Which pools there are, and which of them a name answers with.
    pools: HashSet<String>,
    names: HashMap<NameBuf, String>,
    /// What nodes tell each other of, if they do.
    sights: Option<HashSet<(IpAddr, CheckId)>>,
    /// Whether anything says where clients are.
    has_map: bool,
}

impl Room {
    /// What the pools of the configuration take; nodes share what checks see, or not, and there is a map of places, or none.
    pub(crate) fn new(configured: &[PoolConfig], is_shared: bool, has_map: bool) -> Room {
        let sights = is_shared.then(HashSet::new);
        let mut room = Room { count: 0, pools: HashSet::new(), names: HashMap::new(), sights, has_map };
        configured.iter().for_each(|pool| room.take(pool));
        room
    }

    /// Has another pool in it.
    pub(crate) fn take(&mut self, pool: &PoolConfig) {
        self.count += 1;
        self.pools.insert(pool.name.clone());
        self.names.extend(pool.names.iter().map(|name| (name.clone(), pool.name.clone())));
        if let Some(sights) = &mut self.sights {
            sights.extend(sights_of(pool));
        }
    }

    /// Why there can't be this pool besides.
    pub(crate) fn obstacle(&self, pool: &PoolConfig) -> Option<String> {
        if self.count >= POOLS_MAX {
            return Some(format!("there are {POOLS_MAX} pools already; take some out"));
        }
        if self.pools.contains(&pool.name) {
            return Some(format!("the configuration has a pool {}, which counts", pool.name));
        }
        if let Some((name, other)) = pool.names.iter().find_map(|name| Some((name, self.names.get(name)?))) {
            return Some(format!("{name} answers with the pool {other}"));
        }
        if pool.is_nearest() && !self.has_map {
            let obstacle = "nothing says where clients are, and so what is nearest: add [places] to the node's configuration";
            return Some(obstacle.to_owned());
        }
        match &self.sights {
            None if pool.view != View::Local => Some(
                "it goes by what other nodes see, and nodes don't share it; add [pool-sharing], or take out `view`"
                    .to_owned(),
            ),
            Some(sights) => {
                let more = sights_of(pool).filter(|sight| !sights.contains(sight)).count();
                let is_too_many = sights.len() + more > SIGHTS_MAX;
                is_too_many.then(|| format!("pools check more than {SIGHTS_MAX} addresses, which nodes share"))
            }
            None => None,
        }
    }
}

/// What checks of a pool see.
fn sights_of(pool: &PoolConfig) -> impl Iterator<Item = (IpAddr, CheckId)> + '_ {
    pool.checked().map(|(_, address, check)| (address, check.identity()))
}
