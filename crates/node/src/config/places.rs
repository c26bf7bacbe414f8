//! Where clients are: the map that pools of what is nearest go by.

use super::problem::Problem;
use super::{Config, PoolConfig};
use crate::places::{ANYWHERE, Atlas};
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

/// The most places that an endpoint names: more than there are countries.
pub(crate) const PLACES_MAX: usize = 255;

/// A map of networks to places.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PlacesConfig {
    /// A MaxMind DB where its name ends in `.mmdb`, else a list of prefixes.
    pub(crate) file: PathBuf,
    /// Where the file is named in the configuration.
    pub(super) place: Range<usize>,
}

/// The words of places that endpoints of pools name.
pub(crate) fn words(pools: &[PoolConfig]) -> BTreeSet<String> {
    let endpoints = pools.iter().filter(|pool| pool.is_nearest()).flat_map(|pool| &pool.endpoints);
    let words = endpoints.flat_map(|endpoint| &endpoint.places).filter(|word| *word != ANYWHERE);
    words.cloned().collect()
}

/// Gives a map to all pools that go by one.
pub(crate) fn give(atlas: &Arc<Atlas>, pools: &mut [PoolConfig]) {
    for pool in pools.iter_mut().filter(|pool| pool.is_nearest()) {
        pool.atlas = Some(Arc::clone(atlas));
    }
}

/// Reads the map, where there are pools that go by it, and gives it to them.
pub(super) fn read(config: &mut Config, problems: &mut Vec<Problem>) {
    let Some(places) = config.places.as_ref().filter(|_| config.pools.iter().any(PoolConfig::is_nearest))
    else {
        return;
    };
    match Atlas::read(&places.file, words(&config.pools)) {
        Ok(atlas) => {
            let mut pools = config.pools.to_vec();
            give(&Arc::new(atlas), &mut pools);
            config.pools = pools.into();
        }
        Err(error) => {
            let help = "give a MaxMind DB of countries or cities, whose name ends in .mmdb, or a file with lines of PREFIX,PLACE";
            problems.push(Problem::at(places.place.clone(), error.to_string(), "this file", help));
        }
    }
}
