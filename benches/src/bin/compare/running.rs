//! A server that runs: from its start to the first answer, what it uses, and its end.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use starling_tests::client;
use starling_tests::process::Process;
use starling_tests::query::Query;

use crate::interrupt::Interrupt;
use crate::peers::{Recipe, Reload, Server};
use crate::site::Site;
use crate::usage::{self, Cpu};

/// How long a server may take until it answers for every zone: the slowest takes 10 s for a million records.
const START_LIMIT: Duration = Duration::from_secs(180);
/// How long an answer is waited for before the query is sent again. It bounds how exactly the start is measured.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(5);
/// A server in its namespace; ended when dropped.
pub(crate) struct Running<'a> {
    site: &'a Site,
    server: Server,
    process: Process,
    reload: Option<Reload>,
    /// Its processes; those that only start others included.
    pids: Vec<i32>,
    /// From its start to the first answer for the last of the zones.
    pub(crate) start: Duration,
}

impl<'a> Running<'a> {
    /// Starts a server on these CPUs; returns when it has answered all of `ready`.
    pub(crate) fn start(
        site: &'a Site,
        server: Server,
        recipe: Recipe,
        ready: &[Query],
        cpus: &[usize],
        folder: &Path,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let cpus: Vec<String> = cpus.iter().map(ToString::to_string).collect();
        let mut command = site.server.command("taskset")?;
        command.args(["-c", &cpus.join(",")]).args(&recipe.command).current_dir(folder);
        let begun = Instant::now();
        let process = Process::spawn(&server.to_string(), &command, &folder.join("log"))?;
        let mut running =
            Self { site, server, process, reload: recipe.reload, pids: Vec::new(), start: Duration::ZERO };
        for query in ready {
            running.wait_for(query, begun + START_LIMIT, interrupt)?;
        }
        running.start = begun.elapsed();
        running.look_for_processes()?;
        Ok(running)
    }

    fn wait_for(&mut self, query: &Query, deadline: Instant, interrupt: &Interrupt) -> Result<()> {
        let message = query.bytes(0x5354);
        loop {
            interrupt.check()?;
            if let Some(status) = self.process.exited() {
                bail!("{} ended with {status}\n{}", self.server, self.process.log_tail());
            }
            let answer = self.ask(&message)?;
            // The reflector has no answers, and is ready when it sends anything.
            if answer.is_some_and(|answer| self.server == Server::Reflector || Outline::of(&answer).is_good())
            {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "{} has no answer to {query} after {START_LIMIT:?}\n{}",
                self.server,
                self.process.log_tail()
            );
        }
    }

    fn ask(&self, message: &[u8]) -> Result<Option<Vec<u8>>> {
        let asked = || client::udp_raw(Site::address(), message, ASK_AGAIN_AFTER);
        Ok(self.site.client.inside(asked)??.map(|(answer, _)| answer))
    }

    /// Looks again for processes: some servers replace theirs at a reload.
    pub(crate) fn look_for_processes(&mut self) -> Result<()> {
        self.pids = self.site.server.pids()?;
        ensure!(!self.pids.is_empty(), "{} has no processes\n{}", self.server, self.process.log_tail());
        Ok(())
    }

    /// The CPU time of all its threads.
    pub(crate) fn cpu(&self) -> Cpu {
        Cpu::of(&self.pids)
    }

    /// Resident memory in octets.
    pub(crate) fn resident(&self) -> Result<u64> {
        usage::resident(&self.pids)
    }

    /// An error, with the end of its log, if it is no longer there.
    pub(crate) fn check(&mut self) -> Result<()> {
        if let Some(status) = self.process.exited() {
            bail!("{} ended with {status}\n{}", self.server, self.process.log_tail());
        }
        Ok(())
    }

    /// The end of what it has logged.
    pub(crate) fn log_tail(&self) -> String {
        self.process.log_tail()
    }

    /// What it answers to these queries, as far as servers have to agree; none for those without an answer.
    pub(crate) fn outlines(&self, queries: &[Query]) -> Result<Vec<Option<Outline>>> {
        let messages: Vec<Vec<u8>> = queries.iter().map(|query| query.bytes(0)).collect();
        let answers = self.site.client.inside(|| client::udp(Site::address(), &messages))??;
        Ok(answers.into_iter().map(|answer| answer.map(|answer| Outline::of(&answer))).collect())
    }

    /// Has it read the changed zone. A command is started and may still run when this returns.
    pub(crate) fn reload(&self, folder: &Path) -> Result<Option<Process>> {
        match self.reload.as_ref().context("nothing can change in this workload")? {
            Reload::Signal(signal) => self.process.signal(*signal).map(|()| None),
            Reload::Command(words) => {
                let (program, arguments) = words.split_first().context("a command has a program")?;
                // Outside of the server's namespace, where only the server is looked at: all of them are told by a
                // socket in the file system.
                let mut command = Command::new(program);
                command.args(arguments);
                Process::spawn("reload", &command, &folder.join("reload-log")).map(Some)
            }
        }
    }

    /// Whether it can be told to reload.
    pub(crate) fn can_reload(&self) -> bool {
        self.reload.is_some()
    }
}

/// What servers have to agree about: code, AA, TC, and the number of records in the answer section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outline {
    rcode: u8,
    authoritative: bool,
    truncated: bool,
    answers: u16,
}

impl Outline {
    /// Of a response; one that is too short for a header is like no good answer.
    fn of(response: &[u8]) -> Self {
        let octet = |at: usize| response.get(at).copied().unwrap_or_default();
        let whole = response.len() >= 12;
        Self {
            rcode: if whole { octet(3) & 15 } else { 15 },
            authoritative: octet(2) & 0x04 != 0,
            truncated: octet(2) & 0x02 != 0,
            answers: u16::from_be_bytes([octet(6), octet(7)]),
        }
    }

    fn is_good(self) -> bool {
        self.rcode == 0 && self.authoritative && self.answers > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outline_of_a_header() {
        let response = [0, 1, 0x86, 0x03, 0, 1, 0, 2, 0, 0, 0, 0];
        let outline = Outline { rcode: 3, authoritative: true, truncated: true, answers: 2 };
        assert_eq!(Outline::of(&response), outline);
        assert!(!outline.is_good());
        assert!(!Outline::of(&response[..5]).is_good());
        let good = Outline { rcode: 0, ..outline };
        assert!(good.is_good());
    }
}
