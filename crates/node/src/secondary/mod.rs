//! Keeping copies of zones: a thread that asks primaries, transfers what is newer and hands it to the keeper.
//!
//! What to do when is decided by [`transfer::refresh`], a machine for each zone; the thread ([`driver`]) keeps their clock,
//! runs their rounds ([`round`], [`exchange`], [`stream`]), a bounded number at a time ([`lanes`], [`budget`]), and tells them
//! what came of it. NOTIFY requests come from the packet threads ([`notices`]).

mod budget;
mod driver;
mod exchange;
mod lanes;
mod latency;
mod notices;
mod round;
mod stream;

pub(crate) use notices::Notices;

use crate::keeper::{self, Board, ConfiguredCopy};
use crate::status::CopyCounts;
use crate::zones::transferred::Confirmations;
use driver::Driver;
use latency::Histogram;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::{io, thread};
use tokio::sync::{mpsc, oneshot, watch};
use transfer::refresh::Purpose;
use wire::NameBuf;

/// How many requests of operators wait; each is taken at once.
const COMMANDS_MAX: usize = 64;

/// What an operator asks.
struct Command {
    zone: NameBuf,
    purpose: Purpose,
    /// Gets what came of it, in words.
    reply: oneshot::Sender<Result<String, String>>,
}

/// What the thread works with.
pub(crate) struct Supplies {
    /// The zones that are copies, now and later.
    pub(crate) copies: watch::Receiver<Arc<[ConfiguredCopy]>>,
    /// Who takes new versions into service.
    pub(crate) keeper: SyncSender<keeper::Request>,
    /// Where it is told how the copies are.
    pub(crate) board: Arc<Board>,
    /// Where it is kept when they were confirmed; nowhere without a state folder.
    pub(crate) confirmations: Option<Confirmations>,
    /// Where NOTIFY requests come from.
    pub(crate) heard: notices::Heard,
}

/// What was done since the start.
#[derive(Default)]
struct Counts {
    current: AtomicU64,
    renewed: AtomicU64,
    failed: AtomicU64,
    /// Versions taken into service, by how they came.
    incremental: AtomicU64,
    whole: AtomicU64,
    whole_instead: AtomicU64,
    latencies: Histogram,
}

/// The thread, as others see it.
#[derive(Clone)]
pub(crate) struct Service {
    commands: mpsc::Sender<Command>,
    counts: Arc<Counts>,
    notices: Arc<Notices>,
}

impl Service {
    /// Starts the thread. It ends when nobody holds the service any more.
    ///
    /// # Errors
    /// A thread or its event loop can't be made.
    pub(crate) fn start(supplies: Supplies, notices: Arc<Notices>) -> io::Result<Service> {
        let (commands, asked) = mpsc::channel(COMMANDS_MAX);
        let counts = Arc::<Counts>::default();
        let service = Service { commands, counts: Arc::clone(&counts), notices: Arc::clone(&notices) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name("secondary".to_owned()).spawn(move || {
            runtime.block_on(Driver::new(supplies, notices, counts).run(asked));
        })?;
        Ok(service)
    }

    /// Has the primaries of a zone asked at once, and waits for what comes of it.
    ///
    /// # Errors
    /// Why nothing did.
    pub(crate) async fn request(&self, zone: NameBuf, purpose: Purpose) -> Result<String, String> {
        let (reply, answer) = oneshot::channel();
        if self.commands.try_send(Command { zone, purpose, reply }).is_err() {
            return Err("too many such requests are waiting; try again when they are done".to_owned());
        }
        answer
            .await
            .unwrap_or_else(|_| Err("the zone was taken out of the configuration meanwhile".to_owned()))
    }

    /// What was done since the start.
    pub(crate) fn counts(&self) -> CopyCounts {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (notifies, notifies_refused, notifies_dropped) = self.notices.counts();
        CopyCounts {
            current: of(&self.counts.current),
            renewed: of(&self.counts.renewed),
            failed: of(&self.counts.failed),
            incremental: of(&self.counts.incremental),
            whole: of(&self.counts.whole),
            whole_instead: of(&self.counts.whole_instead),
            notifies,
            notifies_refused,
            notifies_dropped,
            latencies: self.counts.latencies.read(),
        }
    }
}
