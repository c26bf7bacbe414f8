//! Nodes that are killed at any moment while a zone changes: a primary and its copy, each with a state folder. Each is back at
//! once, with a version that is whole, and none that is older than what was said to be durable.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;
use rustix::process::Signal;
use starling_tests::client;
use starling_tests::message::Message;
use starling_tests::name::Name;
use starling_tests::process::Process;
use starling_tests::query::Query;
use starling_tests::server::{own_socket_address, starling_addresses};
use starling_tests::tools;
use starling_tests::zonedata::transfer;

use crate::changing::{APEX, Changing};
use crate::copies::{Canonical, canonical};
use crate::incremental::{applied, ask};
use crate::secondaries::{FOLLOWS_WITHIN, serial_of};

const TYPE_A: u16 = 1;
const TYPE_SOA: u16 = 6;
/// How many names are asked for after each kill.
const NAMES_ASKED: usize = 8;
/// Kills, usually and in a long run.
const KILLS: (u32, u32) = (40, 2000);
/// The latest moment of a kill after a change was begun: by then everything is written, if nobody else needs the machine.
const KILL_WITHIN_MS: u64 = 60;
/// How long a node may take until it answers.
const BACK_WITHIN: Duration = Duration::from_secs(20);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How many of the versions before are asked from.
const VERSIONS_KEPT: usize = 6;

/// A node that is started again and again.
pub(crate) struct Mortal {
    pub(crate) folder: PathBuf,
    pub(crate) address: SocketAddr,
    process: Option<Process>,
    /// The newest serial that was seen and said to be durable.
    pub(crate) durable: Option<u32>,
}

impl Mortal {
    pub(crate) fn new(folder: PathBuf, address: SocketAddr, zone_lines: &str) -> Result<Self> {
        std::fs::create_dir(&folder)?;
        let mut text = format!(
            "[node]\nlisten = [\"{address}\"]\ncontrol = \"control\"\nworkers = 1\nstate-dir = \"state\"\n"
        );
        write!(
            text,
            "[transfer]\nnotify-source = [\"127.0.0.1\"]\n[secondary]\nnotify-from = [\"127.0.0.0/8\"]\n[[zone]]\n\
             name = \"{APEX}\"\nsecondaries = [\"127.0.0.0/8\"]\n{zone_lines}\n"
        )?;
        std::fs::write(folder.join("node.toml"), text)?;
        Ok(Self { folder, address, process: None, durable: None })
    }

    pub(crate) fn start(&mut self) -> Result<()> {
        let mut command = Command::new(tools::starling()?);
        command.arg("serve").arg("--config").arg(self.folder.join("node.toml"));
        let began = Instant::now();
        let mut process = Process::spawn("starling", &command, &self.folder.join("log"))?;
        starling_addresses(&mut process)?;
        ensure!(began.elapsed() < BACK_WITHIN, "back after {:?}\n{}", began.elapsed(), process.log_tail());
        self.process = Some(process);
        Ok(())
    }

    pub(crate) fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().context("it runs")?;
        process.signal(Signal::KILL)?;
        process.wait(BACK_WITHIN).map(drop)
    }

    pub(crate) fn log(&self) -> String {
        self.process.as_ref().map_or_else(String::new, Process::log_tail)
    }

    pub(crate) fn ctl(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(tools::starling()?);
        let output =
            command.arg("ctl").arg("--control").arg(self.folder.join("control")).args(arguments).output()?;
        ensure!(output.status.success(), "ctl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The serial that is answered; none where there is no zone yet.
    pub(crate) fn serial(&self) -> Result<Option<u32>> {
        let query = Query::new(Name::parse(APEX)?, TYPE_SOA).bytes(7);
        let answer = client::udp_raw(self.address, &query, ANSWER_WITHIN)?;
        let message = Message::decode(&answer.with_context(|| format!("no answer\n{}", self.log()))?.0)?;
        Ok(message.answer.first().and_then(serial_of))
    }

    /// Notes what is said to be durable now.
    pub(crate) fn look(&mut self) -> Result<()> {
        let served = self.served()?;
        if served["durable"] == true {
            self.durable = served["serial"].as_u64().map(|serial| serial as u32);
        }
        Ok(())
    }

    /// What is served, as `ctl zones` has it.
    fn served(&self) -> Result<serde_json::Value> {
        let zones: serde_json::Value = serde_json::from_str(&self.ctl(&["zones", "--json"])?)?;
        Ok(zones[0]["served"].clone())
    }

    /// How many tables were folded since it was started.
    fn folded(&self) -> Result<u64> {
        let status: serde_json::Value = serde_json::from_str(&self.ctl(&["status", "--json"])?)?;
        status["tables"]["folded"].as_u64().with_context(|| status.to_string())
    }

    /// Whether names have the addresses that they have in the version that is served, if that is the same before and after.
    fn answers(&self, versions: &BTreeMap<u32, BTreeSet<Canonical>>) -> Result<()> {
        let serial = self.serial()?;
        let Some(version) = serial.and_then(|serial| versions.get(&serial)) else { return Ok(()) };
        let names: BTreeSet<&Name> =
            version.iter().filter(|(_, rtype, ..)| *rtype == TYPE_A).map(|(owner, ..)| owner).collect();
        // The names that change come first.
        for owner in names.into_iter().take(NAMES_ASKED) {
            let answer =
                client::udp_raw(self.address, &Query::new(owner.clone(), TYPE_A).bytes(8), ANSWER_WITHIN)?;
            let message = Message::decode(&answer.with_context(|| format!("no answer\n{}", self.log()))?.0)?;
            if self.serial()? != serial {
                return Ok(());
            }
            let found: BTreeSet<_> = message.answer.iter().map(canonical).collect();
            let of_name = |record: &&Canonical| record.0 == *owner && record.1 == TYPE_A;
            let wanted: BTreeSet<_> = version.iter().filter(of_name).cloned().collect();
            ensure!(found == wanted, "{owner} at serial {serial:?}: {message}");
        }
        Ok(())
    }

    /// Whether what is there now is a version, none older than what was durable, and what leads there from others right.
    fn check(&self, versions: &BTreeMap<u32, BTreeSet<Canonical>>) -> Result<()> {
        let serial = self.serial()?;
        ensure!(serial >= self.durable, "serial {serial:?} after {:?}\n{}", self.durable, self.log());
        let Some(serial) = serial else { return Ok(()) };
        // It may change between two questions, by what the primary sends: then they are asked again.
        let whole = transfer(self.address, &Name::parse(APEX)?)?;
        let serial = serial_of(&whole[0]).filter(|now| *now >= serial).context("it went back")?;
        let whole: BTreeSet<_> = whole.iter().map(canonical).collect();
        ensure!(Some(&whole) == versions.get(&serial), "serial {serial} is not what it was");
        for (from, version) in versions.range(..serial).rev().take(VERSIONS_KEPT) {
            let mut answer = ask(self.address, *from)?;
            let to = serial_of(&answer[0]).context("a SOA record first")?;
            let is_sequence = answer.get(1).is_some_and(|record| record.rtype == TYPE_SOA);
            let found = if is_sequence {
                applied(version.clone(), &answer).with_context(|| format!("from {from} to {to}"))?
            } else {
                answer.pop();
                answer.iter().map(canonical).collect()
            };
            ensure!(Some(&found) == versions.get(&to), "from {from} to {to}: not what it was");
        }
        Ok(())
    }
}

#[test]
fn no_kill_costs_a_version_that_was_durable() -> Result<()> {
    let seed = std::env::var("STARLING_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let kills = if tools::long_run() { KILLS.1 } else { KILLS.0 };
    let folder = tempfile::tempdir()?;
    kill_many(folder.path(), seed, kills).with_context(|| format!("STARLING_SEED={seed}"))
}

fn kill_many(folder: &Path, seed: u64, kills: u32) -> Result<()> {
    let mut rng = Rng::with_seed(seed);
    let mut zone = Changing::new(seed, 1);
    let file = folder.join("changing.zone");
    zone.write(&file)?;
    let (primary_at, copy_at) = (own_socket_address()?, own_socket_address()?);
    let lines = format!("file = \"{}\"\nnotify = [\"{copy_at}\"]", file.display());
    let mut primary = Mortal::new(folder.join("primary"), primary_at, &lines)?;
    let mut copy = Mortal::new(
        folder.join("copy"),
        copy_at,
        &format!("primaries = [\"{primary_at}\"]\nretry-min-s = 1"),
    )?;
    primary.start()?;
    copy.start()?;
    let mut versions = BTreeMap::from([(zone.serial, zone.records()?)]);
    let pause = UdpSocket::bind("127.0.0.1:0")?;
    let (mut followed, mut sequences, mut folded) = (0u32, 0u32, 0);
    for kill in 1..=kills {
        for _ in 0..rng.u32(1..4) {
            // Now and then everything changes, and the journal begins anew.
            if rng.u8(..) < 8 {
                zone.turn_over()
            } else {
                zone.step()
            }
            versions.insert(zone.serial, zone.records()?);
            zone.write(&file)?;
            primary.ctl(&["reload"])?;
            primary.look()?;
            if rng.bool() {
                copy.look()?;
            }
        }
        if rng.u8(..) < 64 {
            followed += u32::from(follows(&mut copy, zone.serial)?);
        }
        // Nobody sends here: the time-out is the moment.
        pause.set_read_timeout(Some(Duration::from_micros(rng.u64(1..KILL_WITHIN_MS * 1000))))?;
        let _nothing = pause.recv(&mut [0]);
        let victims: &mut [&mut Mortal] = match rng.u8(0..5) {
            0 => &mut [&mut primary, &mut copy],
            1 | 2 => &mut [&mut primary],
            _ => &mut [&mut copy],
        };
        for victim in victims.iter_mut() {
            victim.look()?;
            folded += victim.folded()?;
            victim.kill()?;
        }
        for victim in victims {
            victim.start()?;
            victim
                .check(&versions)
                .with_context(|| format!("kill {kill}, {}\n{}", victim.folder.display(), victim.log()))?;
            victim.answers(&versions).with_context(|| format!("kill {kill}"))?;
            sequences += u32::from(victim.log().contains("differences of its journal"));
        }
    }
    ensure!(sequences > 0, "no copy began with its journal");
    ensure!(follows(&mut copy, zone.serial)?, "the copy is left behind\n{}", copy.log());
    for node in [&primary, &copy] {
        node.check(&versions)?;
        node.answers(&versions)?;
        folded += node.folded()?;
    }
    ensure!(primary.served()?["content"] == copy.served()?["content"], "other contents\n{}", copy.log());
    tools::announce(&format!("folded {folded} times"));
    // Between two kills there is hardly time for so many names to change that they are.
    ensure!(folded > 0 || !tools::long_run(), "nothing was folded");
    tools::announce(&format!(
        "{kills} kills: {} versions, {followed} followed meanwhile, {sequences} copies began with their journal, {folded} folds",
        versions.len()
    ));
    Ok(())
}

/// Waits until the copy has this serial and says that it is durable.
fn follows(copy: &mut Mortal, serial: u32) -> Result<bool> {
    tools::poll(&format!("the copy has serial {serial}, durably"), FOLLOWS_WITHIN, || {
        copy.look()?;
        match copy.durable {
            Some(durable) if durable > serial => bail!("{durable} is no version yet"),
            durable => Ok((durable == Some(serial)).then_some(())),
        }
    })
    .with_context(|| copy.log())?;
    Ok(true)
}
