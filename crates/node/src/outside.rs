//! What the programs of interfaces answer by themselves: they refuse what no zone here has, never more, and tell networks that
//! are floods to come over TCP.
//!
//! Before the names that lead to zones become others, the programs are [closed](Outside::close), and leave all queries to the workers. A
//! thread tells them the new names when none of them can be in the middle of the old ones any more, some milliseconds later, and
//! opens them again, unless the names have become others once more.

use crate::privileges;
use nameserver::{RateLimit, RateLimits};
use netio::xdp::{Apexes, Authority, LimitRule, Limited, wait_for_programs};
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;
use wire::NameBuf;

/// For how long a flood is kept from the workers. Longer, and clients in a network that has stopped would go over TCP for nothing; shorter, and
/// workers would have more of one that goes on.
const KEPT_AWAY_FOR: Duration = Duration::from_secs(5);

/// Keeps the programs told. Its thread ends with the last one of those that were cloned.
#[derive(Clone)]
pub(crate) struct Outside {
    gate: Arc<Gate>,
    told: Sender<Told>,
}

struct Gate {
    authority: Authority,
    limited: Limited,
    /// How often it was closed.
    closed: Mutex<u64>,
}

/// The apexes that there are, and how often the gate was closed when they became so.
struct Told {
    apexes: Vec<NameBuf>,
    closed: u64,
}

impl Outside {
    /// Starts the thread. This takes CAP_BPF, which neither the thread nor anything else here needs from Linux 5.19 on.
    ///
    /// # Errors
    /// The kernel does not give what it takes.
    pub(crate) fn start() -> io::Result<Outside> {
        let gate = Arc::new(Gate {
            authority: Authority::new()?,
            limited: Limited::new()?,
            closed: Mutex::default(),
        });
        let (told, hears) = channel(); // one message for each change of the zones there are
        let of_thread = Arc::clone(&gate);
        thread::Builder::new().name("apexes".to_owned()).spawn(move || {
            // It began with what made the maps.
            match privileges::give_up() {
                Ok(()) => of_thread.keep_told(&hears),
                Err(error) => tracing::error!("{error}"),
            }
        })?;
        Ok(Outside { gate, told })
    }

    /// What the programs ask.
    pub(crate) fn authority(&self) -> &Authority {
        &self.gate.authority
    }

    /// Who is kept from the workers by the programs.
    pub(crate) fn limited(&self) -> &Limited {
        &self.gate.limited
    }

    /// Has the programs know the limit, or that there is none.
    pub(crate) fn limit(&self, limit: Option<&RateLimit>) {
        if let Err(error) = self.gate.limited.set_rule(limit.map(rule)) {
            tracing::warn!(
                "the program in the kernel can't be told the rate limit, and leaves floods to the workers: {error}"
            );
        }
    }

    /// Has the programs keep floods from the workers, from now on, as long as there is a limit.
    ///
    /// # Errors
    /// No thread can be started.
    pub(crate) fn keep_away(&self, limits: Arc<RateLimits>) -> io::Result<()> {
        let gate = Arc::clone(&self.gate);
        thread::Builder::new().name("floods".to_owned()).spawn(move || gate.keep_away(&limits)).map(drop)
    }

    /// Has programs refuse nothing, since names that lead to zones are about to be others.
    pub(crate) fn close(&self) {
        self.gate.close();
    }

    /// Has them refuse what is below none of these, soon. It was closed when the zones became these.
    pub(crate) fn tell(&self, apexes: Vec<NameBuf>) {
        let closed = *self.gate.closed();
        // The thread ends after this.
        let _told = self.told.send(Told { apexes, closed });
    }
}

impl Gate {
    fn closed(&self) -> MutexGuard<'_, u64> {
        // It is only counted in.
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        let mut closed = self.closed();
        *closed += 1;
        // Where that is not allowed it was never open: that takes the same.
        let _never_open = self.authority.close();
    }

    fn keep_away(&self, limits: &RateLimits) -> ! {
        limits.hear_floods();
        let mut has_failed = false;
        loop {
            while let Some(address) = limits.next_flood() {
                let Some(limit) = limits.rules().filter(|limit| !limit.exempts_in_network(address)) else {
                    continue;
                };
                let kept = self.limited.limit(rule(&limit), address, KEPT_AWAY_FOR);
                if let Err(error) = kept
                    && !std::mem::replace(&mut has_failed, true)
                {
                    tracing::warn!(
                        "the program in the kernel can't be told of a flood, and leaves it to the workers: {error}"
                    );
                }
            }
            thread::park();
        }
    }

    fn keep_told(&self, hears: &Receiver<Told>) {
        let mut known = Apexes::default();
        let mut has_failed = false;
        while let Ok(first) = hears.recv() {
            let told = hears.try_iter().last().unwrap_or(first);
            match self.open_with(&told, &mut known) {
                Ok(()) => has_failed = false,
                Err(error) if !has_failed => {
                    has_failed = true;
                    tracing::warn!(
                        "the program in the kernel can't be told which zones there are, and leaves what is in none of them to the \
                         workers: {error}"
                    );
                }
                Err(_) => {}
            }
        }
    }

    /// Tells the programs, and opens them if nothing has changed since.
    fn open_with(&self, told: &Told, known: &mut Apexes) -> io::Result<()> {
        wait_for_programs()?;
        self.authority.tell(known, told.apexes.iter().map(|apex| apex.as_name().as_wire()))?;
        let closed = self.closed();
        if *closed == told.closed { self.authority.open() } else { Ok(()) }
    }
}

fn rule(limit: &RateLimit) -> LimitRule {
    LimitRule { slip: limit.slip, prefix_lens: limit.prefix_lens }
}
