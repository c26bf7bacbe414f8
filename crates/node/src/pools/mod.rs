//! Pools: names that answer with the endpoints that are good now.
//!
//! A thread runs the checks ([`probe`]) and keeps what they find ([`roster`]); when other endpoints are to be answered
//! with, it tells the keeper, which publishes that like any change of a zone. Answers may have parts of them
//! ([`portions`]), by weights that follow loads ([`loads`]). What it knows outlives the process ([`memory`]), so that a
//! restart begins with it. Zones may bring pools along ([`records`], [`beside`]). Nodes may tell each other what their checks see ([`sharing`]),
//! and a pool go by that. What could never be answered with is a mistake of whoever has written it ([`reach`]).

pub(crate) mod beside;
mod director;
mod given;
mod loads;
mod memory;
mod portions;
mod probe;
mod reach;
pub(crate) mod records;
mod roster;
mod sharing;
mod times;
mod watched;

pub(crate) use probe::{EchoSockets, takes_raw};
pub(crate) use sharing::{Asked, Exchange, MAC_HEADER, NotAsked, PATH, Told};

use crate::config::{Config, PoolConfig, SharingConfig, SigningConfig};
use crate::keeper;
use crate::places::Atlas;
use crate::status::{CheckTimes, PoolStatus};
use crate::zones::state_dir::POOLS_FILE;
use ::pool::{AllDown, Spec};
use director::Director;
use memory::Memory;
use nameserver::Samples;
use roster::Roster;
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
use std::{io, thread};
use table::Table;
use tokio::sync::{mpsc, oneshot, watch};
use wire::NameBuf;
use zone::amend::{Steered, steer};
use zone::sign::{Signer, is_signed};

/// How many requests of operators wait; each is taken at once.
const COMMANDS_MAX: usize = 64;

/// What an operator wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Wish {
    /// That an endpoint counts as this.
    Set {
        /// Of which pool.
        pool: String,
        /// Its name.
        endpoint: String,
        /// As what.
        admin: pool::Admin,
    },
    /// That the best tier that is good answers again.
    FailBack {
        /// Of which pool.
        pool: String,
    },
}

struct Command {
    wish: Wish,
    /// Gets what came of it, in words.
    reply: oneshot::Sender<Result<String, String>>,
}

/// What the thread works with.
pub(crate) struct Supplies {
    /// The pools, now and later.
    pub(crate) configured: watch::Receiver<Arc<[PoolConfig]>>,
    /// Who publishes answers.
    pub(crate) keeper: SyncSender<keeper::Request>,
    /// Where it is kept what is known; nowhere without a state folder.
    pub(crate) memory: Option<PathBuf>,
    /// How nodes share what checks see, now and later.
    pub(crate) sharing: watch::Receiver<Option<Arc<SharingConfig>>>,
    /// What was opened for checks by ICMP.
    pub(crate) echo: EchoSockets,
    /// What the packet threads have answered, some of it.
    pub(crate) samples: Vec<Arc<Samples>>,
}

/// How the pools are, for everybody to see.
#[derive(Clone, Default)]
pub(crate) struct PoolBoard(Arc<Mutex<Shown>>);

#[derive(Default)]
struct Shown {
    pools: Arc<[PoolStatus]>,
    times: Vec<CheckTimes>,
}

impl PoolBoard {
    /// All pools, in the order of the configuration.
    pub(crate) fn pools(&self) -> Arc<[PoolStatus]> {
        // The lock guards a single assignment, which can't be left half done.
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner).pools)
    }

    /// How long looks have taken, by kind and result.
    pub(crate) fn times(&self) -> Vec<CheckTimes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).times.clone()
    }

    fn set(&self, pools: Vec<PoolStatus>, times: Vec<CheckTimes>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Shown { pools: pools.into(), times };
    }
}

/// The thread, as others see it.
#[derive(Clone)]
pub(crate) struct Service {
    commands: mpsc::Sender<Command>,
    board: PoolBoard,
    exchange: Exchange,
}

impl Service {
    /// Starts the thread. It ends when nobody holds the service any more.
    ///
    /// # Errors
    /// A thread or its event loop can't be made.
    pub(crate) fn start(supplies: Supplies) -> io::Result<Service> {
        let (commands, asked) = mpsc::channel(COMMANDS_MAX);
        let (board, exchange) = (PoolBoard::default(), Exchange::new());
        let pools = Arc::clone(&supplies.configured.borrow());
        board.set(first(&pools, supplies.memory.as_deref()).statuses(), Vec::new());
        let service = Service { commands, board: board.clone(), exchange: exchange.clone() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name("pools".to_owned()).spawn(move || {
            runtime.block_on(async { Director::new(supplies, board, exchange).run(asked).await });
        })?;
        Ok(service)
    }

    /// Has a wish granted.
    ///
    /// # Errors
    /// Why it can't be.
    pub(crate) async fn request(&self, wish: Wish) -> Result<String, String> {
        let (reply, answer) = oneshot::channel();
        if self.commands.try_send(Command { wish, reply }).is_err() {
            return Err("too many such requests are waiting; try again when they are done".to_owned());
        }
        answer.await.unwrap_or_else(|_| Err("the node is ending".to_owned()))
    }

    /// What nodes tell each other.
    pub(crate) fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// How the pools are.
    pub(crate) fn board(&self) -> &PoolBoard {
        &self.board
    }
}

/// The names of pools that are in no zone of the configuration, with what to do; members of catalogs are not known here.
pub(crate) fn homeless(config: &Config) -> Vec<String> {
    if config.zones.iter().any(|zone| zone.follow.is_some()) {
        return Vec::new();
    }
    let has_home =
        |name: &NameBuf| config.zones.iter().any(|zone| name.as_name().is_at_or_below(zone.name.as_name()));
    let names = config.pools.iter().flat_map(|pool| pool.names.iter().map(move |name| (pool, name)));
    let homeless = names.filter(|(_, name)| !has_home(name));
    homeless
        .map(|(pool, name)| {
            format!("the pool {} has the name {name}, which is in no zone of this node: add the zone, or remove it", pool.name)
        })
        .collect()
}

/// What of pools could never be answered with, and what to do.
pub(crate) fn unreachable(pools: &[PoolConfig]) -> Vec<String> {
    reach::unreachable(pools)
}

/// What operators have said of endpoints, as far as this machine knows, and how to end that.
pub(crate) fn set_by_hand(config: &Config, pools: &[PoolConfig]) -> Vec<String> {
    let file = config.node.state_dir.as_ref().map(|folder| folder.join(POOLS_FILE));
    let known = file.filter(|file| file.exists()).map(|file| Memory::read(&file));
    known.map_or_else(Vec::new, |known| reach::set_by_hand(pools, &known))
}

/// What this machine can't look at of pools, and what to do.
pub(crate) fn obstacles(pools: &[PoolConfig]) -> Vec<String> {
    let mut obstacles = probe::obstacles(pools);
    obstacles.extend(unknown_places(pools));
    obstacles
}

/// Places that endpoints name and no network is in. All pools go by one map.
fn unknown_places(pools: &[PoolConfig]) -> Vec<String> {
    let unknown = pools.iter().find_map(|pool| pool.atlas.as_deref()).map_or(&[][..], Atlas::unknown);
    let told = |word| format!("no network of the map is in the place {word}, which endpoints of pools name");
    unknown.iter().map(told).collect()
}

/// What keeps names of pools in a zone from answering with them, and which keys of it sign nothing. `groups` has the pools of
/// each configuration.
pub(crate) fn misfits(
    groups: &[Arc<[PoolConfig]>],
    table: &Arc<Table>,
    signing: Option<&SigningConfig>,
) -> (Vec<String>, Vec<String>) {
    let mut signer = signing.map(signer);
    let mut misfits = Vec::new();
    for pools in groups {
        // Of all that a pool may answer, its endpoints are what can be in the way.
        let with_all = |pool: &PoolConfig| PoolConfig {
            spec: Spec { all_down: AllDown::All, ..pool.spec },
            ..pool.clone()
        };
        let answers = first(&pools.iter().map(with_all).collect(), None).answers();
        let of_names = answers.chunk_by(|one, other| one.owner == other.owner);
        for of_name in of_names.filter(|it| it[0].owner.as_name().is_at_or_below(table.apex_name())) {
            let signing = signer.as_mut().map(|signer| (signer, unix_time()));
            if let Err(error) = steer(table, of_name, signing) {
                let owner = &of_name[0].owner;
                let pool = pools.iter().find(|pool| pool.names.contains(owner));
                let pool = pool.map_or("", |pool| pool.name.as_str());
                misfits.push(format!("{owner} can't answer with the pool {pool}: {error}"));
            }
        }
    }
    let mut idle = Vec::new();
    if let Some(signer) = &mut signer {
        let zone = table.apex_name();
        match is_signed(table) {
            // Whatever came of it, it is known now.
            true => drop(signer.begin(table, unix_time())),
            false => idle.push(format!("{zone} is not signed, and its `signing-key` signs nothing")),
        }
        let of_key =
            |key| format!("a signing key is not one of the DNSKEY set of {zone}, and signs nothing: {key}");
        idle.extend(signer.idle().iter().map(of_key));
    }
    (misfits, idle)
}

/// Who signs in a zone.
pub(crate) fn signer(signing: &SigningConfig) -> Signer {
    Signer::new(Arc::clone(&signing.keys), signing.validity_s)
}

/// The time, in seconds since 1970.
pub(crate) fn unix_time() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// What names answer before any check has run: with what the last run knew.
pub(crate) fn first_answers(pools: &Arc<[PoolConfig]>, memory: Option<&Path>) -> Vec<Steered> {
    first(pools, memory).answers()
}

/// What names answer and how the pools are, by what the last run knew.
pub(crate) fn as_left(pools: &Arc<[PoolConfig]>, memory: Option<&Path>) -> (Vec<Steered>, Vec<PoolStatus>) {
    let roster = first(pools, memory);
    (roster.answers(), roster.statuses())
}

fn first(pools: &Arc<[PoolConfig]>, memory: Option<&Path>) -> Roster {
    let mut roster = Roster::new(memory.map(Memory::read).unwrap_or_default());
    roster.configure(Arc::clone(pools), health::Moment::default());
    roster.select(health::Moment::default());
    roster
}
