//! How many answers have had each endpoint, by samples of what packet threads answer.

use crate::config::PoolConfig;
use nameserver::Samples;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use wire::message::{self, HEADER_LEN, RecordView, u16_at};
use wire::{FoldedName, RecordType};

/// What was given to clients since the start, over UDP.
pub(super) struct Given {
    samples: Vec<Arc<Samples>>,
    /// The names of pools, in lower case, with the places of these in `pools`.
    names: HashMap<Box<[u8]>, usize>,
    /// In the order of the configuration, with answers by address.
    pools: Vec<(String, HashMap<IpAddr, u64>)>,
}

impl Given {
    /// By the samples of these threads.
    pub(super) fn new(samples: Vec<Arc<Samples>>) -> Given {
        Given { samples, names: HashMap::new(), pools: Vec::new() }
    }

    /// Takes other pools. What was counted for endpoints that stay is kept.
    pub(super) fn configure(&mut self, config: &[PoolConfig]) {
        let before: HashMap<String, HashMap<IpAddr, u64>> = self.pools.drain(..).collect();
        self.names.clear();
        let mut folded = FoldedName::default();
        for (place, pool) in config.iter().enumerate() {
            let known = before.get(&pool.name);
            let count = |address: &IpAddr| known.and_then(|it| it.get(address)).copied().unwrap_or_default();
            let addresses = pool.endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
            let addresses = addresses.chain(&pool.fallback).map(|address| (*address, count(address)));
            self.pools.push((pool.name.clone(), addresses.collect()));
            for name in &pool.names {
                folded.set(name.as_name());
                self.names.insert(folded.as_wire().into(), place);
            }
        }
        self.samples.iter().for_each(|samples| samples.want(!config.is_empty()));
    }

    /// Whether there is anything to be counted.
    pub(super) fn is_wanted(&self) -> bool {
        !self.names.is_empty()
    }

    /// Counts what is in the samples that have come; whether there was any.
    pub(super) fn collect(&mut self) -> bool {
        let Given { samples, names, pools } = self;
        let mut counts = |response: &[u8], stands_for: u64| {
            // A response that this program has written can be read.
            let _ = count(response, stands_for, names, pools);
        };
        let mut has_some = false;
        for samples in samples {
            while samples.show(&mut counts) {
                has_some = true;
            }
        }
        has_some
    }

    /// How many answers with a pool, by its place, have had an address.
    pub(super) fn of(&self, place: usize, address: IpAddr) -> u64 {
        self.pools.get(place).and_then(|(_, counts)| counts.get(&address)).copied().unwrap_or_default()
    }
}

/// Counts the addresses in a response.
fn count(
    response: &[u8],
    stands_for: u64,
    names: &HashMap<Box<[u8]>, usize>,
    pools: &mut [(String, HashMap<IpAddr, u64>)],
) -> Option<()> {
    let mut at = HEADER_LEN;
    if u16_at(response, 4)? == 1 {
        at = message::skip_name(response, at)? + 4;
    }
    let mut owner = FoldedName::default();
    for _ in 0..u16_at(response, 6)? {
        let record = RecordView::read(response, at)?;
        at = record.end;
        let data = &response[record.data_at..record.end];
        let address: IpAddr = match record.rtype {
            RecordType::A => <[u8; 4]>::try_from(data).ok()?.into(),
            RecordType::AAAA => <[u8; 16]>::try_from(data).ok()?.into(),
            _ => continue,
        };
        owner.read_compressed(response, record.owner_at).ok()?;
        let Some(place) = names.get(owner.as_wire()) else { continue };
        if let Some(count) = pools.get_mut(*place).and_then(|(_, counts)| counts.get_mut(&address)) {
            *count += stands_for;
        }
    }
    Some(())
}
