//! Every signal to the agent and to its server: it ends the process, and the route with it, or it does what is documented.
//!
//! A real node that BIRD learns the route of. The limit for core dumps is raised, as a site may have it: a process that
//! dumps its memory keeps its descriptors open meanwhile, and with them the route.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use starling_tests::name::Name;
use starling_tests::netns::usable;
use starling_tests::process::Process;
use starling_tests::query::Query;
use starling_tests::tools;

use crate::agent;
use crate::no_delay;
use crate::site::{LIMIT, PREFIXES, Site};
use crate::upstream::{Look, Watcher, looks};

/// What ends a process that does nothing about it (signal(7)), but for those that a node handles. SIGKILL is in
/// `ladder`, for the lease alone, and here for the node.
const DEADLY: [(&str, Signal); 18] = [
    ("QUIT", Signal::QUIT),
    ("ILL", Signal::ILL),
    ("TRAP", Signal::TRAP),
    ("ABRT", Signal::ABORT),
    ("BUS", Signal::BUS),
    ("FPE", Signal::FPE),
    ("KILL", Signal::KILL),
    ("USR1", Signal::USR1),
    ("SEGV", Signal::SEGV),
    ("USR2", Signal::USR2),
    ("ALRM", Signal::ALARM),
    ("STKFLT", Signal::STKFLT),
    ("XCPU", Signal::XCPU),
    ("VTALRM", Signal::VTALARM),
    ("PROF", Signal::PROF),
    ("IO", Signal::IO),
    ("PWR", Signal::POWER),
    ("SYS", Signal::SYS),
];

/// What a node takes without harm: SIGHUP reads zones, the others mean nothing to it, or come from the kernel for what
/// the node does.
const HARMLESS: [(&str, Signal); 7] = [
    ("HUP", Signal::HUP),
    ("PIPE", Signal::PIPE),
    ("CHLD", Signal::CHILD),
    ("CONT", Signal::CONT),
    ("URG", Signal::URG),
    ("XFSZ", Signal::XFSZ),
    ("WINCH", Signal::WINCH),
];

/// What is promised for the withdrawal at the upstream.
const PROMISED: Duration = Duration::from_millis(10);
/// What half of them may take, on a machine where all that has to run in between waits for its turn.
const MEDIAN: Duration = Duration::from_millis(100);
/// What each may take. It is below `freeze-ms`, with which the node is configured here, so that a death that is taken for
/// a freeze is told from one that was seen.
const EACH: Duration = Duration::from_millis(2_000);

/// The type of the record that clients ask for.
const TYPE_SOA: u16 = 6;

/// Which process gets the signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Victim {
    Agent,
    Server,
}

/// A node whose route is up, and what is promised of it.
struct Node<'s> {
    site: &'s Site,
    agent: Process,
}

impl<'s> Node<'s> {
    fn start(site: &'s Site) -> Result<Self> {
        let agent = agent::start_with(site, &[agent::LEARNING, agent::ASKED].concat())?;
        let node = Self { site, agent };
        no_delay::wait_in_force(site)?;
        site.wait_look(Look::Plain).with_context(|| node.agent.log_tail())?;
        Ok(node)
    }

    fn pid(&self, victim: Victim) -> Result<Pid> {
        if victim == Victim::Agent {
            return Pid::from_raw(self.agent.pid()).context("a process has a number");
        }
        let told = agent::ctl(&self.site.file("control"), &["explain", "--json"])?;
        let told: serde_json::Value = serde_json::from_slice(&told.stdout)?;
        let pid = told["server"]["pid"].as_i64().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        pid.with_context(|| format!("no server: {told:#}"))
    }

    /// Sends a signal until the process is gone; gives when the upstream had lost both prefixes, after the last signal.
    fn end(&mut self, victim: Victim, signal: Signal) -> Result<Duration> {
        let watcher = Watcher::start(&self.site.upstream_socket(), &PREFIXES)?;
        let pid = self.pid(victim)?;
        if matches!(signal, Signal::SEGV | Signal::BUS) {
            // Rust's own handler takes the first one: it looks for a stack that overflowed, gives the signal its default
            // meaning again, and has the instruction repeated, which for a real fault ends the process.
            kill_process(pid, signal)?;
            tools::poll("the handler is gone", LIMIT, || Ok((!is_caught(pid, signal)?).then_some(())))?;
        }
        let sent = Instant::now();
        kill_process(pid, signal)?;
        self.site.wait_look(Look::Gone)?;
        let seen = watcher.stop()?;
        let gone = seen.iter().filter(|seen| seen.look == Look::Gone).map(|seen| seen.at).max();
        let took = gone.context("neither was seen to go")?.saturating_duration_since(sent);
        tools::poll("the process is gone", LIMIT, || Ok(test_kill_process(pid).is_err().then_some(())))?;
        Ok(took)
    }
}

/// Whether a process has a handler for a signal.
fn is_caught(pid: Pid, signal: Signal) -> Result<bool> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero()))?;
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:\t")).context("SigCgt")?;
    Ok(u64::from_str_radix(mask, 16)? >> (signal.as_raw() - 1) & 1 == 1)
}

fn every_deadly_signal(victim: Victim) -> Result<()> {
    let site = Site::start("ebgp-one-upstream.conf")?;
    let mut took = Vec::new();
    for (name, signal) in DEADLY {
        let mut node = Node::start(&site)?;
        let gone =
            node.end(victim, signal).with_context(|| format!("SIG{name}\n{}", node.agent.log_tail()))?;
        ensure!(gone < EACH, "SIG{name} to the {victim:?}: gone after {gone:?} only");
        took.push((gone, name));
        if victim == Victim::Agent {
            node.agent.wait(LIMIT)?;
        }
    }
    let dumped = std::fs::read_dir(site.file(""))?.filter_map(Result::ok).map(|entry| entry.file_name());
    let dumped: Vec<_> = dumped.filter(|name| name.to_string_lossy().starts_with("core")).collect();
    ensure!(dumped.is_empty(), "the {victim:?} left {dumped:?}");
    took.sort();
    let (median, worst) = (took[took.len() / 2].0, took[took.len() - 1]);
    tools::announce(&format!(
        "withdrawn at the upstream after each of {} signals to the {victim:?}: median {:.1} ms, worst {:.1} ms (SIG{}); \
         promised: {} ms",
        took.len(),
        median.as_secs_f64() * 1e3,
        worst.0.as_secs_f64() * 1e3,
        worst.1,
        PROMISED.as_millis()
    ));
    ensure!(median < MEDIAN, "{took:?}");
    Ok(())
}

#[test]
fn whatever_signal_ends_the_agent_takes_the_route() {
    if usable() {
        every_deadly_signal(Victim::Agent).unwrap();
    }
}

#[test]
fn whatever_signal_ends_the_server_takes_the_route() {
    if usable() {
        every_deadly_signal(Victim::Server).unwrap();
    }
}

/// A client with answers on their way that it does not read: a server that ends gives it some seconds.
fn unread(site: &Site) -> Result<TcpStream> {
    let mut client = site.node.inside(|| TcpStream::connect("203.0.113.53:53"))??;
    client.set_write_timeout(Some(Duration::from_millis(200)))?;
    let query = Query::new(Name::parse("small.example.")?, TYPE_SOA).bytes(1);
    let framed = [&u16::try_from(query.len())?.to_be_bytes()[..], &query].concat();
    let many = framed.repeat(1000);
    // Until both ends have as much as they may hold.
    while client.write(&many).is_ok() {}
    Ok(client)
}

/// A server that ends in good order answers nobody new meanwhile, however long its clients take.
#[test]
fn a_server_that_is_asked_to_end_takes_the_route_at_once() {
    if !usable() {
        return;
    }
    let site = Site::start("ebgp-one-upstream.conf").unwrap();
    for signal in [Signal::TERM, Signal::INT] {
        let mut node = Node::start(&site).unwrap();
        let client = unread(&site).unwrap();
        let took = node.end(Victim::Server, signal).unwrap();
        tools::announce(&format!(
            "withdrawn at the upstream after {signal:?} of the server: {:.1} ms",
            took.as_secs_f64() * 1e3
        ));
        assert!(took < MEDIAN, "{took:?}\n{}", node.agent.log_tail());
        drop(client);
        // The agent starts it again.
        site.wait_look(Look::Plain).unwrap();
    }
}

#[test]
fn signals_that_mean_nothing_to_a_node_move_no_route() {
    if !usable() {
        return;
    }
    let site = Site::start("ebgp-one-upstream.conf").unwrap();
    let mut node = Node::start(&site).unwrap();
    let server = node.pid(Victim::Server).unwrap();
    let watcher = Watcher::start(&site.upstream_socket(), &PREFIXES).unwrap();
    for victim in [Victim::Agent, Victim::Server] {
        for (name, signal) in HARMLESS {
            kill_process(node.pid(victim).unwrap(), signal).unwrap();
            // It has been delivered when the process has done something after it.
            for _ in 0..2 {
                node.pid(Victim::Server)
                    .unwrap_or_else(|error| panic!("SIG{name} to the {victim:?}: {error:#}"));
            }
        }
    }
    let answers = agent::ctl(&site.file("control"), &["zones"]).unwrap();
    assert!(String::from_utf8_lossy(&answers.stdout).contains("small.example"));
    let seen = watcher.stop().unwrap();
    for prefix in PREFIXES {
        assert_eq!(looks(&seen, prefix), [Look::Plain], "{prefix} moved\n{}", node.agent.log_tail());
    }
    assert_eq!(node.pid(Victim::Server).unwrap(), server, "the server is another one");
    assert!(node.agent.exited().is_none());
}
