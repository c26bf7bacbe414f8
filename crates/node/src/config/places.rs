//! Where clients are: the map that pools of what is nearest go by.

use super::Config;
use super::problem::Problem;
use crate::places::{ANYWHERE, Atlas};
use pool::Kind;
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

/// Reads the map, where there are pools that go by it, and gives it to them.
pub(super) fn read(config: &mut Config, problems: &mut Vec<Problem>) {
    let is_nearest = |pool: &super::PoolConfig| pool.spec.kind == Kind::Nearest;
    let Some(places) = config.places.as_ref().filter(|_| config.pools.iter().any(is_nearest)) else { return };
    let endpoints = config.pools.iter().filter(|pool| is_nearest(pool)).flat_map(|pool| &pool.endpoints);
    let words = endpoints.flat_map(|endpoint| &endpoint.places).filter(|word| *word != ANYWHERE);
    let words: BTreeSet<String> = words.cloned().collect();
    match Atlas::read(&places.file, words) {
        Ok(atlas) => {
            let atlas = Arc::new(atlas);
            let mut pools = config.pools.to_vec();
            for pool in pools.iter_mut().filter(|pool| is_nearest(pool)) {
                pool.atlas = Some(Arc::clone(&atlas));
            }
            config.pools = pools.into();
        }
        Err(error) => {
            let help = "give a MaxMind DB of countries or cities, whose name ends in .mmdb, or a file with lines of PREFIX,PLACE";
            problems.push(Problem::at(places.place.clone(), error.to_string(), "this file", help));
        }
    }
}
