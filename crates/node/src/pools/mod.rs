//! Pools: names that answer with the endpoints that are good now.
//!
//! A thread runs the checks ([`probe`]) and keeps what they find ([`roster`]); when other endpoints are to be answered with, it tells the
//! keeper, which publishes that like any change of a zone. What it knows outlives the process ([`memory`]), so that a restart begins
//! with it.

mod director;
mod memory;
mod probe;
mod roster;

use crate::config::PoolConfig;
use crate::keeper;
use crate::status::PoolStatus;
use director::Director;
use memory::Memory;
use roster::Roster;
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};
use std::{io, thread};
use tokio::sync::{mpsc, oneshot, watch};
use zone::amend::Steered;

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
}

/// How the pools are, for everybody to see.
#[derive(Clone, Default)]
pub(crate) struct PoolBoard(Arc<Mutex<Arc<[PoolStatus]>>>);

impl PoolBoard {
    /// All pools, in the order of the configuration.
    pub(crate) fn pools(&self) -> Arc<[PoolStatus]> {
        // The lock guards a single assignment, which can't be left half done.
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, pools: Vec<PoolStatus>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = pools.into();
    }
}

/// The thread, as others see it.
#[derive(Clone)]
pub(crate) struct Service {
    commands: mpsc::Sender<Command>,
    board: PoolBoard,
}

impl Service {
    /// Starts the thread. It ends when nobody holds the service any more.
    ///
    /// # Errors
    /// A thread or its event loop can't be made.
    pub(crate) fn start(supplies: Supplies) -> io::Result<Service> {
        let (commands, asked) = mpsc::channel(COMMANDS_MAX);
        let board = PoolBoard::default();
        let service = Service { commands, board: board.clone() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name("pools".to_owned()).spawn(move || {
            runtime.block_on(async { Director::new(supplies, board).run(asked).await });
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

    /// How the pools are.
    pub(crate) fn board(&self) -> &PoolBoard {
        &self.board
    }
}

/// What names answer before any check has run: with what the last run knew.
pub(crate) fn first_answers(pools: &Arc<[PoolConfig]>, memory: Option<&Path>) -> Vec<Steered> {
    let mut roster = Roster::new(memory.map(Memory::read).unwrap_or_default());
    roster.configure(Arc::clone(pools), health::Moment::default());
    roster.select(health::Moment::default());
    roster.answers()
}
