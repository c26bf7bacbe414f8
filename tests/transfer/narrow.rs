//! A zone of which the same name changes again and again, so that nothing is ever folded: what its copy keeps on disk.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use starling_tests::name::Name;
use starling_tests::server::own_socket_address;
use starling_tests::tools;
use starling_tests::zonedata::transfer;

use crate::changing::APEX;
use crate::copies::canonical;
use crate::crash::Mortal;
use crate::secondaries::FOLLOWS_WITHIN;

/// Names that stay as they are, so that a difference is short beside the zone.
const STEADY: u32 = 400;
/// The journal of a zone that is no larger gets as long as this, in octets.
const JOURNAL: u64 = 64 << 10;
/// How many times that it gets at most.
const LIMIT_TIMES: u64 = 4;

/// A primary and its copy, each killed at will.
struct Pair {
    primary: Mortal,
    copy: Mortal,
    file: PathBuf,
    serial: u32,
}

impl Pair {
    fn start(folder: &Path) -> Result<Self> {
        let (primary_at, copy_at) = (own_socket_address()?, own_socket_address()?);
        let file = folder.join("narrow.zone");
        let lines = format!("file = \"{}\"\nnotify = [\"{copy_at}\"]", file.display());
        let primary = Mortal::new(folder.join("primary"), primary_at, &lines)?;
        let lines = format!("primaries = [\"{primary_at}\"]\nretry-min-s = 1");
        let copy = Mortal::new(folder.join("copy"), copy_at, &lines)?;
        let mut pair = Self { primary, copy, file, serial: 1 };
        pair.write()?;
        pair.primary.start()?;
        pair.copy.start()?;
        pair.follows()?;
        Ok(pair)
    }

    fn write(&self) -> Result<()> {
        let mut text = format!(
            "$ORIGIN {APEX}\n$TTL 300\n@ SOA ns1 host {} 3600 900 604800 60\n NS ns1\nns1 A 192.0.2.1\nother TXT",
            self.serial
        );
        // About 2,000 octets a difference.
        for part in 0..4 {
            write!(text, " \"{}-{part}-{}\"", self.serial, "x".repeat(230))?;
        }
        text.push('\n');
        for host in 0..STEADY {
            writeln!(text, "steady{host} A 192.0.2.{}", host % 250)?;
        }
        let next = self.file.with_extension("next");
        std::fs::write(&next, text)?;
        Ok(std::fs::rename(next, &self.file)?)
    }

    fn step(&mut self) -> Result<()> {
        self.serial += 1;
        self.write()?;
        self.primary.ctl(&["reload"]).map(drop)
    }

    /// Waits until the copy answers with the last version.
    fn follows(&mut self) -> Result<()> {
        let (copy, serial) = (&self.copy, self.serial);
        tools::poll(&format!("the copy has serial {serial}"), FOLLOWS_WITHIN, || {
            Ok((copy.serial()? == Some(serial)).then_some(()))
        })
        .with_context(|| self.copy.log())
    }

    /// A file of the copy.
    fn of_copy(&self, extension: &str) -> PathBuf {
        self.copy.folder.join(format!("state/tables/changing.example.{extension}"))
    }

    fn journal_len(&self) -> u64 {
        std::fs::metadata(self.of_copy("journal")).map_or(0, |journal| journal.len())
    }

    /// Whether a kill of the copy costs nothing that was durable, when nobody else has it.
    fn is_back_after_a_kill(&mut self) -> Result<()> {
        self.copy.look()?;
        self.copy.kill()?;
        self.primary.kill()?;
        self.copy.start()?;
        let (serial, durable) = (self.copy.serial()?, self.copy.durable);
        ensure!(serial >= durable, "serial {serial:?} after {durable:?}\n{}", self.copy.log());
        self.primary.start()
    }

    /// Waits until the last version is durable at the copy.
    fn is_durable(&mut self) -> Result<()> {
        let (copy, serial) = (&mut self.copy, self.serial);
        tools::poll(&format!("serial {serial} is durable"), FOLLOWS_WITHIN, || {
            copy.look()?;
            Ok((copy.durable == Some(serial)).then_some(()))
        })
        .with_context(|| self.copy.log())
    }

    /// Whether both have the same records.
    fn are_the_same(&self) -> Result<()> {
        let apex = Name::parse(APEX)?;
        let records = |node: &Mortal| -> Result<BTreeSet<_>> {
            Ok(transfer(node.address, &apex)?.iter().map(canonical).collect())
        };
        ensure!(records(&self.copy)? == records(&self.primary)?, "not the same\n{}", self.copy.log());
        Ok(())
    }
}

#[test]
fn a_copy_that_is_never_folded_has_an_image_before_its_journal_is_full() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut pair = Pair::start(folder.path())?;
    pair.is_durable()?;
    for _ in 0..3 * JOURNAL / 2000 {
        pair.step()?;
        pair.follows()?;
        let len = pair.journal_len();
        // The image is made when nobody else wants the processor.
        ensure!(len < LIMIT_TIMES * JOURNAL, "the journal has {len} octets\n{}", pair.copy.log());
    }
    pair.is_durable()?;
    pair.is_back_after_a_kill()?;
    pair.are_the_same()
}

#[test]
fn a_version_that_was_rolled_back_does_not_come_back_by_the_journal() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut pair = Pair::start(folder.path())?;
    pair.is_durable()?;
    pair.step()?;
    pair.follows()?;
    pair.is_durable()?;
    pair.copy.ctl(&["zone", "rollback", APEX])?;
    ensure!(pair.copy.serial()? == Some(1), "{}", pair.copy.log());
    pair.serial = 1;
    pair.is_durable()?;
    pair.copy.kill()?;
    pair.primary.kill()?;
    pair.copy.start()?;
    ensure!(pair.copy.serial()? == Some(1), "{}", pair.copy.log());
    Ok(())
}

#[test]
fn a_journal_that_is_needed_is_not_shortened_for_want_of_an_image() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut pair = Pair::start(folder.path())?;
    pair.is_durable()?;
    // No image can be written any more.
    let obstacle = pair.of_copy("table.tmp");
    std::fs::create_dir(&obstacle)?;
    let mut longest = 0;
    for _ in 0..(LIMIT_TIMES + 1) * JOURNAL / 2000 {
        pair.step()?;
        pair.follows()?;
        pair.copy.look()?;
        let len = pair.journal_len();
        ensure!(len >= longest, "{longest} octets of journal are {len} now\n{}", pair.copy.log());
        longest = len;
    }
    ensure!(longest < (LIMIT_TIMES + 1) * JOURNAL, "{longest} octets of journal");
    pair.is_back_after_a_kill()?;
    ensure!(pair.copy.durable > Some(2), "nothing was durable");
    std::fs::remove_dir(&obstacle)?;
    pair.step()?;
    pair.follows()?;
    pair.is_durable()?;
    pair.step()?;
    pair.is_durable()?;
    ensure!(pair.journal_len() < JOURNAL, "{} octets of journal", pair.journal_len());
    pair.are_the_same()
}
