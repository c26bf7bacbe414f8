//! Commands of the operator that look at endpoints.
//!
//! They get the endpoint in their environment, as `STARLING_ADDRESS` and `STARLING_PORT`, and in their arguments where those say
//! `{address}` or `{port}`. What they may do, how they are ended and what of their output is kept is as with checks of the node.

use super::{Fault, Visit};
use health::Outcome;
use health::exec::Runner;
use rustix::fs::{Access, access};
use std::path::Path;
use tokio::sync::Semaphore;

/// How many commands run at once: each is a process and a thread, on a machine that has queries to answer.
const RUNNING_MAX: usize = 32;
/// How many may be left of those that can't be killed, because they wait for a dead disk, before no more are started.
const STUCK_MAX: usize = 32;

/// Who runs them.
pub(super) struct Commands {
    runner: Runner,
    room: Semaphore,
}

impl Commands {
    pub(super) fn new() -> Commands {
        Commands { runner: Runner::new(RUNNING_MAX + STUCK_MAX), room: Semaphore::new(RUNNING_MAX) }
    }

    /// Runs one.
    pub(super) async fn run(&self, visit: &Visit<'_>, command: &[String]) -> Result<(), Fault> {
        visit.await_now("no place to run the command, with as many that take long,");
        let Ok(_place) = self.room.acquire().await else {
            return Err(Fault::Blind("the node is ending".to_owned()));
        };
        visit.await_now("the command has not ended, and can't be killed,");
        let (address, port) = (visit.at.ip().to_string(), visit.at.port().to_string());
        let (program, arguments) = command.split_at(command.len().min(1));
        let arguments =
            arguments.iter().map(|word| word.replace("{address}", &address).replace("{port}", &port));
        let words: Vec<String> = program.iter().cloned().chain(arguments).collect();
        let mut variables = vec![("STARLING_ADDRESS", address.clone())];
        if visit.at.port() != 0 {
            variables.push(("STARLING_PORT", port.clone()));
        }
        match self.runner.run_with(&words, &variables, visit.check.timeout).await {
            Ok(Outcome::Pass) => Ok(()),
            Ok(Outcome::Fail(why) | Outcome::Overloaded(why)) => Err(Fault::Bad(why)),
            Err(error) => Err(Fault::Blind(error.to_string())),
        }
    }
}

/// Why the command could not be run now.
pub(super) fn obstacle(command: &[String]) -> Option<String> {
    let program = command.first()?;
    let error = match access(program, Access::EXEC_OK) {
        Err(error) => error.to_string(),
        Ok(()) if Path::new(program).is_dir() => "it is a folder".to_owned(),
        Ok(()) => return None,
    };
    Some(format!("its check can't run {program}, and would find endpoints unknown: {error}"))
}
