//! The journal as a file: what is wrong with it is found, said, and costs no more than it has to.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;
use starling_tests::name::Name;
use starling_tests::tools;
use starling_tests::zonedata::transfer;

use crate::changing::{APEX, Changing};
use crate::copies::same_records;
use crate::incremental::{ask, journal_leads_to, publish, start, start_as_it_is};
use crate::secondaries::{FOLLOWS_WITHIN, Primary};

const TYPE_SOA: u16 = 6;
const LINES: &str = "secondaries = [\"127.0.0.0/8\"]";

/// A primary whose zone has changed three times, from serial 1 to 4, and that was ended.
struct Ended {
    folder: tempfile::TempDir,
    zone: Changing,
}

impl Ended {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut zone = Changing::new(5, 1);
        let mut primary = start(&zone, folder.path(), "", LINES)?;
        for _ in 0..3 {
            zone.step();
            publish(&zone, &primary, folder.path())?;
            journal_leads_to(&primary, zone.serial)?;
        }
        end(&mut primary)?;
        Ok(Self { folder, zone })
    }

    fn path(&self) -> PathBuf {
        tables(self.folder.path()).join("changing.example.journal")
    }

    fn restart(&self) -> Result<Primary> {
        start(&self.zone, self.folder.path(), "", LINES)
    }
}

fn tables(folder: &Path) -> PathBuf {
    folder.join("state/tables")
}

fn end(primary: &mut Primary) -> Result<()> {
    primary.process.signal(Signal::TERM)?;
    primary.process.wait(FOLLOWS_WITHIN).map(drop)
}

/// Whether a client with this serial gets differences; the zone as a whole is right otherwise.
fn is_incremental(primary: &Primary, serial: u32) -> Result<bool> {
    let mut answer = ask(primary.address, serial)?;
    if answer.get(1).is_some_and(|record| record.rtype == TYPE_SOA) {
        return Ok(true);
    }
    answer.pop();
    same_records("the zone as a whole", &transfer(primary.address, &Name::parse(APEX)?)?, &answer)?;
    Ok(false)
}

fn log_says(primary: &Primary, text: &str) -> Result<()> {
    let said = || Ok(primary.process.log().contains(text).then_some(()));
    tools::poll(text, FOLLOWS_WITHIN, said).with_context(|| primary.process.log_tail())
}

#[test]
fn a_torn_end_is_cut_off_and_the_rest_is_good() -> Result<()> {
    let mut ended = Ended::new()?;
    let whole = std::fs::read(ended.path())?;
    // As a crash leaves it: half of what was appended last.
    let mut torn = whole.clone();
    torn.extend_from_slice(&whole[whole.len() - 300..]);
    std::fs::write(ended.path(), torn)?;
    let mut primary = ended.restart()?;
    log_says(&primary, "the last 300 octets of its journal are cut off, behind serial 4")?;
    journal_leads_to(&primary, 4)?;
    ensure!(is_incremental(&primary, 2)? && is_incremental(&primary, 3)?);
    ended.zone.step();
    publish(&ended.zone, &primary, ended.folder.path())?;
    journal_leads_to(&primary, 5)?;
    ensure!(is_incremental(&primary, 3)?);
    end(&mut primary)
}

#[test]
fn a_journal_that_does_not_lead_to_what_is_served_is_set_aside() -> Result<()> {
    let mut ended = Ended::new()?;
    // The last difference is damaged, and the image is of the version after it.
    let mut damaged = std::fs::read(ended.path())?;
    let at = damaged.len() - 20;
    damaged[at] ^= 1;
    std::fs::write(ended.path(), damaged)?;
    let primary = ended.restart()?;
    log_says(&primary, "octets of its journal are cut off, behind serial 3: a checksum is wrong")?;
    log_says(&primary, "its journal is set aside as ")?;
    ensure!(!is_incremental(&primary, 2)?);
    ensure!(tables(ended.folder.path()).join("changing.example.journal-aside").exists());
    ended.zone.step();
    publish(&ended.zone, &primary, ended.folder.path())?;
    journal_leads_to(&primary, 5)?;
    ensure!(is_incremental(&primary, 4)? && !is_incremental(&primary, 3)?);
    Ok(())
}

#[test]
fn what_is_no_journal_is_set_aside() -> Result<()> {
    let mut ended = Ended::new()?;
    std::fs::write(ended.path(), "no journal at all")?;
    let primary = ended.restart()?;
    log_says(&primary, "begun anew: it is no journal of this zone and this format")?;
    ended.zone.step();
    publish(&ended.zone, &primary, ended.folder.path())?;
    journal_leads_to(&primary, 5)?;
    ensure!(is_incremental(&primary, 4)?);
    Ok(())
}

#[test]
fn a_zone_that_changed_while_the_node_was_away_has_its_difference() -> Result<()> {
    let mut ended = Ended::new()?;
    ended.zone.step();
    let primary = ended.restart()?;
    journal_leads_to(&primary, 5)?;
    ensure!(is_incremental(&primary, 4)? && is_incremental(&primary, 3)?);
    Ok(())
}

#[test]
fn a_damage_that_comes_later_cuts_a_transfer_off_and_then_the_whole_zone_is_sent() -> Result<()> {
    let ended = Ended::new()?;
    let primary = ended.restart()?;
    journal_leads_to(&primary, 4)?;
    let mut damaged = std::fs::read(ended.path())?;
    let at = damaged.len() - 20;
    damaged[at] ^= 1;
    // The same file, as a disk would do it.
    std::fs::write(ended.path(), damaged)?;
    ensure!(ask(primary.address, 3).is_err(), "what is damaged is sent");
    log_says(&primary, "the transfer can't go on: the zone's journal: a checksum is wrong")?;
    ensure!(!is_incremental(&primary, 3)?);
    Ok(())
}

#[test]
fn a_disk_that_hangs_keeps_nobody_waiting() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut zone = Changing::new(5, 1);
    std::fs::create_dir_all(tables(folder.path()))?;
    // Opened for writing, these wait for a reader.
    for name in ["changing.example.table.tmp", "changing.example.journal.tmp"] {
        mknodat(CWD, tables(folder.path()).join(name), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    }
    let mut primary = start(&zone, folder.path(), "", LINES)?;
    for _ in 0..2 {
        zone.step();
        publish(&zone, &primary, folder.path())?;
        ensure!(!is_incremental(&primary, zone.serial - 1)?);
    }
    log_says(&primary, "its journal was not written within 5s")?;
    let status: serde_json::Value = serde_json::from_str(&primary.ctl(&["status", "--json"])?)?;
    ensure!(status["disk"]["waiting"].as_u64() >= Some(1), "{status}");
    zone.step();
    publish(&zone, &primary, folder.path())?;
    end(&mut primary)
}

#[test]
fn a_restart_with_a_bad_master_file_goes_on_with_what_was_served() -> Result<()> {
    let mut ended = Ended::new()?;
    let file = ended.folder.path().join("changing.zone");
    let good = std::fs::read_to_string(&file)?;
    std::fs::write(&file, good.replace(" NS ns2\n", " NS\n"))?;
    let folder = ended.folder.path().to_owned();
    let primary = start_as_it_is(&folder, "", LINES)?;
    log_says(&primary, "the version before goes on being served")?;
    let zones: serde_json::Value = serde_json::from_str(&primary.ctl(&["zones", "--json"])?)?;
    ensure!(zones[0]["state"] == "stale" && zones[0]["served"]["serial"] == 4, "{zones}");
    journal_leads_to(&primary, 4)?;
    ensure!(is_incremental(&primary, 3)?);
    ended.zone.step();
    publish(&ended.zone, &primary, &folder)?;
    journal_leads_to(&primary, 5)?;
    ensure!(is_incremental(&primary, 3)?);
    Ok(())
}
