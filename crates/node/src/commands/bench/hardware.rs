//! What the processor counts, where the kernel lets us ask it.

use perf_event::events::Hardware;
use perf_event::{Builder, Counter};
use std::io;

/// What helps where there are no counters.
pub(super) const WITHOUT: &str =
    "(`starling bench answer --help` says how valgrind counts instructions without hardware counters)";

/// Counters of this thread, of its work in user space.
pub(super) struct Counters {
    instructions: Result<Counter, String>,
    cache_misses: Result<Counter, String>,
}

/// Two counts, or why there is none.
#[derive(Clone)]
pub(super) struct Counts {
    pub(super) instructions: Result<u64, String>,
    pub(super) cache_misses: Result<u64, String>,
}

impl Counters {
    pub(super) fn new() -> Counters {
        Counters { instructions: open(Hardware::INSTRUCTIONS), cache_misses: open(Hardware::CACHE_MISSES) }
    }

    /// Whether any counter counts.
    pub(super) fn are_any(&self) -> bool {
        self.instructions.is_ok() || self.cache_misses.is_ok()
    }

    /// What was counted while this ran.
    pub(super) fn during(&mut self, work: impl FnOnce()) -> Counts {
        start(&mut self.instructions);
        start(&mut self.cache_misses);
        work();
        Counts { instructions: stop(&mut self.instructions), cache_misses: stop(&mut self.cache_misses) }
    }
}

fn open(event: Hardware) -> Result<Counter, String> {
    Builder::new(event).build().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "this machine shows no hardware counters".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "the kernel doesn't allow it; kernel.perf_event_paranoid must be 2 or less".to_owned()
        }
        _ => error.to_string(),
    })
}

fn start(counter: &mut Result<Counter, String>) {
    let failed = match counter {
        Ok(counter) => counter.reset().and_then(|()| counter.enable()).err(),
        Err(_) => None,
    };
    if let Some(error) = failed {
        *counter = Err(error.to_string());
    }
}

fn stop(counter: &mut Result<Counter, String>) -> Result<u64, String> {
    match counter {
        Ok(counter) => {
            counter.disable().and_then(|()| counter.read()).map_err(|error: io::Error| error.to_string())
        }
        Err(why) => Err(why.clone()),
    }
}
