//! Knot's generator on AF_XDP: offers more from one CPU than any server on sockets can answer on another.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use starling_tests::process::Process;
use starling_tests::tools;

use crate::interrupt::Interrupt;
use crate::site::{CLIENT_INTERFACE, Site};
use crate::workloads::QuerySet;

/// Datagrams that it sends at once. At the default of 10 it offered 440 thousand a second on veth, with 64 it was 640
/// thousand; larger batches come in bursts that a queue of 208 KiB does not hold.
const BATCH_LEN: &str = "64";
/// How long it may take to read its queries and bind its socket.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How long it may take to end: its memory is locked, and has to be given back.
const END_LIMIT: Duration = Duration::from_secs(10);
/// Times it is started: just after another has left, the queue of the interface is busy for some milliseconds.
const STARTS_MAX: u32 = 5;
/// Packets after which the load counts as being on.
const ON_AFTER: u64 = 1_000;
/// It is stopped when the measurement is over; this is only for the case that nobody is left to do it.
const SECONDS_MAX: &str = "900";

/// A running kxdpgun; detached from the interface and ended when dropped.
pub(crate) struct Flood<'a> {
    site: &'a Site,
    process: Process,
}

impl<'a> Flood<'a> {
    /// Offers so many queries a second; returns when they arrive.
    pub(crate) fn start(
        site: &'a Site,
        queries: &QuerySet,
        rate: f64,
        cpu: usize,
        log: &Path,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let mut failure = None;
        for _ in 0..STARTS_MAX {
            match Self::start_once(site, queries, rate, cpu, log, interrupt) {
                Ok(flood) => return Ok(flood),
                Err(error) => failure = Some(error),
            }
            site.detach_client_xdp()?;
            interrupt.pause(Duration::from_millis(100))?;
        }
        Err(failure.context("at least one start")?)
            .context("kxdpgun can't send; --flood sockets does without it")
    }

    fn start_once(
        site: &'a Site,
        queries: &QuerySet,
        rate: f64,
        cpu: usize,
        log: &Path,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let IpAddr::V4(address) = Site::address().ip() else { unreachable!("the site has an IPv4 address") };
        let mut command = site.client.command("kxdpgun")?;
        command.args(["-t", SECONDS_MAX, "-b", BATCH_LEN, "-I", CLIENT_INTERFACE]);
        command.args(["-Q", &format!("{:.0}", rate.max(1_000.0)), "-F", &cpu.to_string()]);
        command.arg("-i").arg(&queries.kxdpgun).arg(address.to_string());
        let mut process = Process::spawn("kxdpgun", &command, log)?;
        let before = site.packets()?.received;
        tools::poll("queries of kxdpgun arrive", START_LIMIT, || {
            interrupt.check()?;
            if let Some(status) = process.exited() {
                anyhow::bail!("kxdpgun ended with {status}\n{}", process.log_tail());
            }
            Ok((site.packets()?.received > before + ON_AFTER).then_some(()))
        })?;
        Ok(Self { site, process })
    }

    /// Its process, for its CPU time.
    pub(crate) fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// Ends the load and leaves the interface as it was.
    pub(crate) fn stop(mut self) -> Result<()> {
        // On SIGINT it waits seconds for last answers, to print statistics that nobody reads.
        self.process.signal(Signal::KILL)?;
        self.process.wait(END_LIMIT)?;
        self.site.detach_client_xdp()
    }
}
