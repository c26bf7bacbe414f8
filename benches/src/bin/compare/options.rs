//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::peers::Server;
use crate::workloads::Workload;

const NOTES: &str = "\
Needs root, for network namespaces; they are removed at the end and on Ctrl-C, with everything inside. Nothing leaves the \
machine. Everything it installs or builds is said by scripts/bench, which is how this program is meant to be started.

Exit codes: 0 fine; 1 a server could not be measured, or it was interrupted; 2 something is missing or the command line is wrong, \
and nothing was done.";

/// Measures Starling beside other name servers: one after the other, on the same queries, over a virtual cable.
#[derive(Parser, Debug)]
#[command(name = "compare", after_help = NOTES, max_term_width = 110)]
pub(crate) struct Options {
    /// Servers, in the order of the table [default: all]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAME")]
    pub(crate) servers: Vec<Server>,
    /// Workloads [default: all; with --quick hot and root]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAME")]
    pub(crate) workloads: Vec<Workload>,
    /// How often each server is measured with each workload [default: 3; with --quick 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) rounds: Option<u32>,
    /// Seconds of each measurement; there are three to five for each server and round [default: 2; with --quick 1]
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub(crate) seconds: Option<f64>,
    /// A first look in a few minutes: one round, short, without dnsperf and reload
    #[arg(long)]
    pub(crate) quick: bool,
    /// What offers more than the servers can answer
    #[arg(long, value_enum, default_value_t, value_name = "NAME")]
    pub(crate) flood: FloodBy,
    /// CPUs of the server, one worker on each
    #[arg(long, value_delimiter = ',', default_value = "0", value_name = "CPU")]
    pub(crate) server_cpus: Vec<usize>,
    /// CPU of the generators
    #[arg(long, default_value_t = 1, value_name = "CPU")]
    pub(crate) generator_cpu: usize,
    /// Where the kernel receives for the server
    #[arg(long, value_enum, default_value_t, value_name = "HOW")]
    pub(crate) receive: Receive,
    /// Seconds to wait at most, before each measurement, for others to leave the CPUs alone
    #[arg(long, default_value_t = 5, value_name = "S", value_parser = clap::value_parser!(u64).range(0..=3_600))]
    pub(crate) patience: u64,
    /// Hosts in the zone of the workload `hosts`
    #[arg(long, default_value_t = 1_000_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1_000..=16_000_000))]
    pub(crate) hosts: u32,
    /// Zones of the workload `zones`
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u32).range(10..=100_000))]
    pub(crate) zones: u32,
    /// Seed of everything that is drawn by lot
    #[arg(long, default_value_t = 53, value_name = "N")]
    pub(crate) seed: u64,
    /// Write the results to this file, to be compared with later
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,
    /// Compare with the results in this file
    #[arg(long, value_name = "FILE")]
    pub(crate) against: Option<PathBuf>,
}

/// What offers more than the servers can answer.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum FloodBy {
    /// Knot's generator on AF_XDP; outruns every server on sockets
    #[default]
    Kxdpgun,
    /// The generator of this program, on sockets: where AF_XDP does not work; about as fast as the reflector
    Sockets,
}

/// Where the kernel receives for the server.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Receive {
    /// On the CPU of the sender, as virtual cables do by themselves; in nobody's figures, and the same for all servers
    #[default]
    Sender,
    /// In threads of the kernel on the server's CPU, as network cards have it there; a part of the server's figures
    Threads,
}

impl Options {
    /// The servers asked for, or all; none twice.
    pub(crate) fn servers(&self) -> Vec<Server> {
        chosen(&self.servers, Server::value_variants())
    }

    /// The workloads asked for, or all.
    pub(crate) fn workloads(&self) -> Vec<Workload> {
        let usual =
            if self.quick { &[Workload::Hot, Workload::Root][..] } else { Workload::value_variants() };
        chosen(&self.workloads, usual)
    }

    /// How many rounds.
    pub(crate) fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { 1 } else { 3 })
    }

    /// Seconds of one measurement.
    pub(crate) fn seconds(&self) -> f64 {
        self.seconds.unwrap_or(if self.quick { 1.0 } else { 2.0 })
    }
}

fn chosen<T: Copy + PartialEq>(asked: &[T], usual: &[T]) -> Vec<T> {
    let mut chosen = Vec::new();
    for one in if asked.is_empty() { usual } else { asked } {
        if !chosen.contains(one) {
            chosen.push(*one);
        }
    }
    chosen
}

/// A time that gives a figure, and that a full run can afford.
fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "give a number, such as 2 or 0.5".to_owned())?;
    if (0.1..=600.0).contains(&seconds) { Ok(seconds) } else { Err("give 0.1 to 600 seconds".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Options {
        Options::try_parse_from([&["compare"], words].concat()).unwrap()
    }

    #[test]
    fn what_is_not_said() {
        let options = parsed(&[]);
        assert_eq!((options.rounds(), options.seconds()), (3, 2.0));
        assert_eq!(options.servers().len(), Server::value_variants().len());
        let quick = parsed(&["--quick"]);
        assert_eq!((quick.rounds(), quick.seconds()), (1, 1.0));
        assert_eq!(quick.workloads(), [Workload::Hot, Workload::Root]);
    }

    #[test]
    fn what_is_said_once_counts() {
        let options = parsed(&["--servers", "gdnsd,starling,gdnsd", "--quick", "--rounds", "4"]);
        assert_eq!(options.servers(), [Server::Gdnsd, Server::Starling]);
        assert_eq!(options.rounds(), 4);
    }

    #[test]
    fn bad_numbers_are_refused() {
        for words in [["--seconds", "0"], ["--seconds", "nan"], ["--rounds", "0"], ["--hosts", "5"]] {
            assert!(Options::try_parse_from([&["compare"], &words[..]].concat()).is_err(), "{words:?}");
        }
    }
}
