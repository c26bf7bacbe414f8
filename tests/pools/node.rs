//! A Starling with pools, in a folder of its own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;
use starling_tests::client;
use starling_tests::message::Message;
use starling_tests::name::Name;
use starling_tests::process::Process;
use starling_tests::query::{Edns, Query};
use starling_tests::server::{own_socket_address, starling_addresses};
use starling_tests::tools;

/// How often endpoints are looked at in these tests.
pub(crate) const INTERVAL: Duration = Duration::from_millis(50);
/// How many bad looks are a failure.
pub(crate) const FALL: u32 = 2;
/// How long anything may take to be seen; much longer than it does, for machines with other work.
pub(crate) const SEEN_WITHIN: Duration = Duration::from_secs(20);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

pub(crate) const TYPE_A: u16 = 1;
pub(crate) const TYPE_TXT: u16 = 16;
pub(crate) const TYPE_AAAA: u16 = 28;

/// The zone of these tests.
pub(crate) const ZONE: &str = "$TTL 300\n@ SOA ns1 hostmaster 1 86400 86400 604800 60\n  NS ns1\nns1 A 192.0.2.1\n\
                               www A 192.0.2.80\nwww AAAA 2001:db8::80\nwww TXT \"of the zone\"\nother A 192.0.2.2\n";
pub(crate) const WWW: &str = "www.example.com";

pub(crate) struct Node {
    folder: tempfile::TempDir,
    pub(crate) address: SocketAddr,
    process: Option<Process>,
}

/// An answer: its code, and its addresses in order, with the TTL of the first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Answer {
    pub(crate) rcode: u16,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) ttl: Option<u32>,
}

impl Node {
    /// A node with the zone and these pools, not started yet.
    pub(crate) fn new(pools: &str) -> Result<Self> {
        let node = Self { folder: tempfile::tempdir()?, address: own_socket_address()?, process: None };
        node.write("example.com", ZONE)?;
        node.configure(&format!("[[zone]]\nname = \"example.com\"\nfile = \"example.com\"\n{pools}"))?;
        Ok(node)
    }

    /// The same, started.
    pub(crate) fn running(pools: &str) -> Result<Self> {
        let mut node = Self::new(pools)?;
        node.start()?;
        Ok(node)
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    pub(crate) fn write(&self, file: &str, text: &str) -> Result<()> {
        let (file, temporary) = (self.path(file), self.path("new"));
        std::fs::write(&temporary, text)?;
        Ok(std::fs::rename(temporary, file)?)
    }

    /// Writes the configuration: these lines after those that every node has here.
    pub(crate) fn configure(&self, lines: &str) -> Result<()> {
        self.configure_with("", lines)
    }

    /// The same, with these lines under `[node]`.
    pub(crate) fn configure_with(&self, of_node: &str, lines: &str) -> Result<()> {
        let start = format!(
            "[node]\nlisten = [\"{}\"]\ncontrol = \"control\"\nworkers = 2\nstate-dir = \"state\"\n{of_node}\n[transfer]\n\
             allow = [\"127.0.0.0/8\"]\n",
            self.address
        );
        self.write("node.toml", &format!("{start}{lines}"))
    }

    pub(crate) fn start(&mut self) -> Result<()> {
        self.start_by(Command::new(tools::starling()?))
    }

    /// Starts it by this command, which runs `starling`.
    pub(crate) fn start_by(&mut self, mut command: Command) -> Result<()> {
        command.arg("serve").arg("--config").arg(self.path("node.toml"));
        let mut process = Process::spawn("starling", &command, &self.path("log"))?;
        starling_addresses(&mut process)?;
        self.process = Some(process);
        Ok(())
    }

    pub(crate) fn end(&mut self) -> Result<()> {
        let mut process = self.process.take().context("it runs")?;
        process.signal(Signal::TERM)?;
        let status = process.wait(SEEN_WITHIN)?;
        ensure!(status.success(), "{}", process.log_tail());
        Ok(())
    }

    /// The most memory that it has had, in KiB.
    pub(crate) fn memory_peak_kib(&self) -> Result<u64> {
        let pid = self.process.as_ref().context("it runs")?.pid();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
        Ok(peak.trim().trim_end_matches(" kB").parse()?)
    }

    pub(crate) fn log(&self) -> String {
        self.process.as_ref().map_or_else(String::new, Process::log)
    }

    /// `starling ctl` with these arguments.
    pub(crate) fn ctl(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(tools::starling()?);
        command.arg("ctl").arg("--control").arg(self.path("control")).args(arguments);
        command.output().with_context(|| format!("{command:?}"))
    }

    /// The same, which has to succeed; what it says.
    pub(crate) fn does(&self, arguments: &[&str]) -> Result<String> {
        let output = self.ctl(arguments)?;
        ensure!(output.status.success(), "{arguments:?}: {output:?}\n{}", self.log());
        Ok(String::from_utf8(output.stdout)?)
    }

    /// A pool in `ctl pool status`.
    pub(crate) fn pool(&self, name: &str) -> Result<Value> {
        let pools: Value = serde_json::from_str(&self.does(&["pool", "status", name, "--json"])?)?;
        pools.get(0).cloned().context("one pool")
    }

    /// The whole answer to a question.
    pub(crate) fn message(&self, name: &str, rtype: u16, edns: Option<Edns>) -> Result<Message> {
        message(self.address, name, rtype, edns).with_context(|| self.log())
    }

    pub(crate) fn ask(&self, name: &str, rtype: u16) -> Result<Answer> {
        ask(self.address, name, rtype).with_context(|| self.log())
    }

    /// The IPv4 addresses of a name, sorted.
    pub(crate) fn addresses(&self, name: &str) -> Result<Vec<IpAddr>> {
        let mut addresses = self.ask(name, TYPE_A)?.addresses;
        addresses.sort_unstable();
        Ok(addresses)
    }

    /// Waits until the name answers with these.
    pub(crate) fn answers(&self, name: &str, wanted: &[Ipv4Addr]) -> Result<()> {
        let mut wanted: Vec<IpAddr> = wanted.iter().copied().map(IpAddr::V4).collect();
        wanted.sort_unstable();
        let what = || {
            let (now, pools) = (self.addresses(name), self.ctl(&["pools", "--json"]));
            format!("{name} was to be {wanted:?}, and is {now:?}\n{pools:?}\n{}", self.log())
        };
        tools::poll("the answer", SEEN_WITHIN, || Ok((self.addresses(name)? == wanted).then_some(())))
            .with_context(what)
    }

    /// Waits until the first address of a pool is found to be so, and this is said of it.
    pub(crate) fn sees(&self, pool: &str, health: &str, said: &str) -> Result<()> {
        let what = || format!("{pool} is {health}, {said:?}: {:?}\n{}", self.pool(pool), self.log());
        tools::poll(&format!("{pool} is {health}"), SEEN_WITHIN, || {
            let pool = self.pool(pool)?;
            let address = &pool["addresses"][0];
            let says = |key: &str| address[key].as_str().is_some_and(|text| text.contains(said));
            let is_said = said.is_empty() || says("failure") || says("unseen");
            Ok((address["health"] == health && is_said).then_some(()))
        })
        .with_context(what)
    }

    /// Waits until an endpoint of a pool, or what stands for it, is found to be so.
    pub(crate) fn counts(&self, pool: &str, endpoint: &str, health: &str) -> Result<()> {
        tools::poll(&format!("{endpoint} of {pool} is {health}"), SEEN_WITHIN, || {
            let pool = self.pool(pool)?;
            let mut all = pool["addresses"].as_array().context("addresses")?.iter();
            Ok(all.any(|it| it["endpoint"] == endpoint && it["health"] == health).then_some(()))
        })
        .with_context(|| self.log())
    }

    /// What `starling check` says of the configuration, and whether it is good.
    pub(crate) fn check(&self) -> Result<(bool, String)> {
        let output = Command::new(tools::starling()?).arg("check").arg(self.path("node.toml")).output()?;
        let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        Ok((output.status.success(), text.concat()))
    }

    /// That `starling check` finds this wrong with the configuration, and says where.
    pub(crate) fn refuses(&self, said: &str) -> Result<()> {
        let (is_good, text) = self.check()?;
        ensure!(!is_good && text.contains(said) && text.contains("node.toml:"), "{said}: {text}");
        Ok(())
    }

    /// Waits until an address of a pool is bad, and this is said of it.
    pub(crate) fn sees_bad(&self, pool: &str, index: usize, said: &str) -> Result<()> {
        tools::poll(said, SEEN_WITHIN, || {
            let address = &self.pool(pool)?["addresses"][index];
            let is_said = address["failure"].as_str().is_some_and(|text| text.contains(said));
            Ok((address["health"] == "down" && is_said).then_some(()))
        })
        .with_context(|| format!("{:?}\n{}", self.pool(pool), self.log()))
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Result<i32> {
        Ok(self.process.as_ref().context("it runs")?.pid())
    }

    /// Waits until an address of a pool is found to be so.
    pub(crate) fn finds(&self, pool: &str, address: Ipv4Addr, health: &str) -> Result<()> {
        let address = address.to_string();
        tools::poll(&format!("{address} is {health}"), SEEN_WITHIN, || {
            let pool = self.pool(pool)?;
            let mut all = pool["addresses"].as_array().context("addresses")?.iter();
            Ok(all.any(|it| it["address"] == address.as_str() && it["health"] == health).then_some(()))
        })
        .with_context(|| self.log())
    }
}

/// The lines of a pool: what it is, and its endpoints with their tiers.
pub(crate) fn pool(name: &str, names: &str, lines: &str, endpoints: &[(Ipv4Addr, u32)]) -> String {
    let mut text = format!("[[pool]]\nname = \"{name}\"\nnames = [{names}]\n{lines}\n");
    for (index, (address, tier)) in endpoints.iter().enumerate() {
        text += &format!("[[pool.endpoint]]\nname = \"e{index}\"\naddress = \"{address}\"\ntier = {tier}\n");
    }
    text
}

/// The whole answer of a server.
fn message(server: SocketAddr, name: &str, rtype: u16, edns: Option<Edns>) -> Result<Message> {
    let query = Query { edns, ..Query::new(Name::parse(name)?, rtype) }.bytes(77);
    let Some((bytes, _)) = client::udp_raw(server, &query, ANSWER_WITHIN)? else { bail!("no answer") };
    Message::decode(&bytes)
}

/// Asks a server.
pub(crate) fn ask(server: SocketAddr, name: &str, rtype: u16) -> Result<Answer> {
    let message = message(server, name, rtype, Some(Edns::size(1232)))?;
    let of_type = message.answer.iter().filter(|record| record.rtype == rtype);
    let addresses = of_type.filter_map(|record| match record.rdata.len() {
        4 if rtype == TYPE_A => {
            let octets: [u8; 4] = record.rdata.as_slice().try_into().ok()?;
            Some(IpAddr::V4(Ipv4Addr::from(octets)))
        }
        16 => {
            let octets: [u8; 16] = record.rdata.as_slice().try_into().ok()?;
            Some(IpAddr::V6(Ipv6Addr::from(octets)))
        }
        _ => None,
    });
    let addresses = addresses.collect();
    Ok(Answer { rcode: message.rcode(), addresses, ttl: message.answer.first().map(|record| record.ttl) })
}

/// The line of a check over HTTP, with time for a machine that has other work.
pub(crate) fn http(port: u16) -> String {
    let interval = INTERVAL.as_millis();
    format!(
        "check = {{ kind = \"http\", port = {port}, path = \"/health\", contains = \"well\", interval-ms = {interval}, \
         timeout-ms = 500, rise = 1, fall = {FALL} }}"
    )
}
