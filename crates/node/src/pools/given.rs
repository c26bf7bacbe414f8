//! How many answers have had each endpoint, by samples of what packet threads answer.

use crate::config::{Answer, Place, PoolConfig, Side, numbers};
use nameserver::Samples;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use wire::message::{self, HEADER_LEN, RecordView, u16_at};
use wire::{FoldedName, NameBuf, RecordType};

/// What was given to clients since the start, over UDP.
pub(super) struct Given {
    samples: Vec<Arc<Samples>>,
    /// The names of pools, in lower case, with the places of these in `pools`.
    names: HashMap<Box<[u8]>, usize>,
    /// In the order of the configuration.
    pools: Vec<Counted>,
}

/// The members of a pool, as they are shown.
#[derive(Default)]
struct Counted {
    name: String,
    counts: HashMap<String, u64>,
    /// Which of them have it that an answer has a record: an endpoint itself, and a pool within too.
    members: HashMap<Answer, Vec<String>>,
}

impl Given {
    /// By the samples of these threads.
    pub(super) fn new(samples: Vec<Arc<Samples>>) -> Given {
        Given { samples, names: HashMap::new(), pools: Vec::new() }
    }

    /// Takes other pools. What was counted for endpoints that stay is kept.
    pub(super) fn configure(&mut self, config: &[PoolConfig]) {
        let before: HashMap<String, Counted> =
            self.pools.drain(..).map(|pool| (pool.name.clone(), pool)).collect();
        self.names.clear();
        let numbers = numbers(config);
        let mut folded = FoldedName::default();
        for (place, pool) in config.iter().enumerate() {
            let known = before.get(&pool.name);
            let mut counted = Counted { name: pool.name.clone(), ..Counted::default() };
            for side in Side::ALL {
                for (_, member, _) in pool.members(side) {
                    let shown = member.to_string();
                    for record in records(config, &numbers, side, &member) {
                        counted.members.entry(record).or_default().push(shown.clone());
                    }
                    let count = known.and_then(|it| it.counts.get(&shown)).copied().unwrap_or_default();
                    counted.counts.insert(shown, count);
                }
            }
            self.pools.push(counted);
            for name in &pool.names {
                folded.set(name.as_name());
                self.names.insert(folded.as_wire().into(), place);
            }
        }
        self.samples.iter().for_each(|samples| samples.want(!self.names.is_empty()));
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

    /// How many answers with a pool, by its place, have had a member, as it is shown.
    pub(super) fn of(&self, place: usize, member: &str) -> u64 {
        self.pools.get(place).and_then(|pool| pool.counts.get(member)).copied().unwrap_or_default()
    }
}

/// The records that answers may have of a member. Pools don't stand within themselves, so it ends.
fn records(
    config: &[PoolConfig],
    numbers: &HashMap<&str, usize>,
    side: Side,
    member: &Place<'_>,
) -> Vec<Answer> {
    match member {
        Place::Itself(answer) => vec![answer.clone()],
        Place::Pool(inner) => {
            let inner = numbers.get(inner).into_iter().flat_map(|number| config[*number].members(side));
            inner.flat_map(|(_, member, _)| records(config, numbers, side, &member)).collect()
        }
    }
}

/// Counts the records in a response.
fn count(
    response: &[u8],
    stands_for: u64,
    names: &HashMap<Box<[u8]>, usize>,
    pools: &mut [Counted],
) -> Option<()> {
    let mut at = HEADER_LEN;
    if u16_at(response, 4)? == 1 {
        at = message::skip_name(response, at)? + 4;
    }
    let mut name = FoldedName::default();
    for _ in 0..u16_at(response, 6)? {
        let record = RecordView::read(response, at)?;
        at = record.end;
        let Some(answer) = answer(response, &record, &mut name) else { continue };
        name.read_compressed(response, record.owner_at).ok()?;
        let Some(pool) = names.get(name.as_wire()).and_then(|place| pools.get_mut(*place)) else { continue };
        let Counted { members, counts, .. } = pool;
        for member in members.get(&answer).into_iter().flatten() {
            counts.entry(member.clone()).and_modify(|count| *count += stands_for);
        }
    }
    Some(())
}

/// What a record says, if it is one that pools answer with.
fn answer(response: &[u8], record: &RecordView, name: &mut FoldedName) -> Option<Answer> {
    let data = &response[record.data_at..record.end];
    match record.rtype {
        RecordType::A => Some(Answer::Address(IpAddr::from(<[u8; 4]>::try_from(data).ok()?))),
        RecordType::AAAA => Some(Answer::Address(IpAddr::from(<[u8; 16]>::try_from(data).ok()?))),
        RecordType::CNAME => {
            name.read_compressed(response, record.data_at).ok()?;
            Some(Answer::Target(Box::new(NameBuf::from(name.as_name()))))
        }
        _ => None,
    }
}
