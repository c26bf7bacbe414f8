//! Images in the state folder: taken where they are good, made anew where not, with the reason in the log; and a disk
//! that is full.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use starling_tests::tools;

use crate::node::{Node, Site, run, said, small_zone};

const END_LIMIT: Duration = Duration::from_secs(20);
/// How long storing an image may take; the disk is memory here.
const STORE_LIMIT: Duration = Duration::from_secs(20);
/// Where an image's format version stands.
const VERSION_AT: usize = 8;

/// A zone whose node keeps images.
struct Kept {
    zone: tempfile::NamedTempFile,
    site: Site,
}

impl Kept {
    fn new() -> Result<Kept> {
        let zone = tempfile::NamedTempFile::new()?;
        std::fs::write(zone.path(), small_zone(1, ""))?;
        let site = Site::new(&[("small.example", zone.path())], "state-dir = \"state\"")?;
        Ok(Kept { zone, site })
    }

    fn image(&self) -> PathBuf {
        self.site.path("state").join("tables/small.example.table")
    }

    /// Starts a node, asks it, and ends it; its log, of which the line about the zone has to say this.
    fn restart(&self, how: &str) -> Result<()> {
        let mut node = self.site.start()?;
        ensure!(node.serial("small.example.")? == 1, "wrong answer\n{}", node.process.log_tail());
        node.process.signal(Signal::TERM)?;
        node.process.wait(END_LIMIT)?;
        let log = node.process.log();
        let line = log.lines().find(|line| line.contains("zone small.example.: serial 1"));
        let line = line.with_context(|| format!("nothing about the zone:\n{log}"))?;
        ensure!(line.contains(how), "not `{how}`: {line}");
        Ok(())
    }

    /// A start with this in place of the image says why it compiles, and the next one maps what it left.
    fn rebuilds(&self, image: &[u8], why: &str) -> Result<()> {
        std::fs::write(self.image(), image)?;
        self.restart(&format!("because {why}"))?;
        self.restart("mapped from its image")
    }
}

#[test]
fn a_restart_maps_the_image() -> Result<()> {
    let kept = Kept::new()?;
    kept.restart("because there is no image of it yet")?;
    kept.restart("mapped from its image")
}

#[test]
fn a_damaged_image_is_rebuilt() -> Result<()> {
    let kept = Kept::new()?;
    kept.restart("because there is no image of it yet")?;
    let good = std::fs::read(kept.image())?;
    let mut changed = good.clone();
    changed[good.len() / 2] ^= 0xff;
    kept.rebuilds(&changed, "its image is damaged: its content doesn't match its digest")?;
    let short = &good[..good.len() - 100];
    let why = format!("its image is damaged: it has {} octets and should have {}", short.len(), good.len());
    kept.rebuilds(short, &why)?;
    kept.rebuilds(&good[..100], "its image is damaged: it is not an answer table")?;
    kept.rebuilds(b"no image", "its image is damaged: it is not an answer table")
}

#[test]
fn an_image_of_another_format_version_is_rebuilt() -> Result<()> {
    let kept = Kept::new()?;
    kept.restart("because there is no image of it yet")?;
    let good = std::fs::read(kept.image())?;
    let version = u32::from_le_bytes(good[VERSION_AT..VERSION_AT + 4].try_into()?);
    for other in [version - 1, version + 1] {
        let mut changed = good.clone();
        changed[VERSION_AT..VERSION_AT + 4].copy_from_slice(&other.to_le_bytes());
        let why = format!(
            "its image is of another format: it has format version {other}, and this program reads version {version}"
        );
        kept.rebuilds(&changed, &why)?;
    }
    Ok(())
}

#[test]
fn an_image_older_than_its_zone_file_is_rebuilt() -> Result<()> {
    let kept = Kept::new()?;
    kept.restart("because there is no image of it yet")?;
    let older = std::fs::read(kept.image())?;
    std::fs::write(kept.zone.path(), small_zone(1, "new A 192.0.2.9\n"))?;
    let why = "its image is older than its zone file, its options or this program";
    kept.restart(&format!("because {why}"))?;
    kept.restart("mapped from its image")?;
    // The image of before, with the list of files of now.
    kept.rebuilds(&older, why)?;
    // Other options make another table of the same file.
    let config = std::fs::read_to_string(kept.site.path("node.toml"))?;
    std::fs::write(kept.site.path("node.toml"), config + "rotate = false\n")?;
    kept.restart(&format!("because {why}"))?;
    kept.restart("mapped from its image")
}

#[test]
fn an_image_of_another_zone_is_rebuilt() -> Result<()> {
    let kept = Kept::new()?;
    kept.restart("because there is no image of it yet")?;
    let other = kept.site.path("other.zone");
    let table = kept.site.path("other.table");
    std::fs::write(&other, small_zone(1, "").replace("small.example", "other.example"))?;
    let output = run(Command::new(tools::starling()?).arg("compile").arg(&other).arg("-o").arg(&table))?;
    ensure!(output.status.success(), "{}", said(&output));
    kept.rebuilds(&std::fs::read(table)?, "its image is of another zone")
}

/// A node whose state folder is a file system of its own, seen by it alone.
struct SmallDisk {
    node: Node,
    state: PathBuf,
}

impl SmallDisk {
    fn start(site: &Site, octets: usize) -> Result<SmallDisk> {
        let state = site.path("state");
        std::fs::create_dir(&state)?;
        let mut command = Command::new(tools::program("unshare")?);
        if !rustix::process::geteuid().is_root() {
            command.arg("--map-root-user");
        }
        let mount = format!("mount -t tmpfs -o size={octets} tmpfs \"$1\" && shift && exec \"$@\"");
        command.args(["--mount", "sh", "-c", &mount, "sh"]).arg(&state).arg(tools::starling()?);
        let node = site.start_as(command)?;
        let seen = format!("/proc/{}/root{}", node.process.pid(), state.display());
        Ok(SmallDisk { node, state: PathBuf::from(seen) })
    }

    fn image(&self) -> PathBuf {
        self.state.join("tables/small.example.table")
    }

    /// Fills the disk but for so many octets; the file that does it. What it has already stays there meanwhile.
    fn fill(&self, but_for: u64) -> Result<PathBuf> {
        let path = self.state.join("ballast");
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&path)?;
        let end = loop {
            match file.write(&[0; 4096]) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break file.metadata()?.len(),
                Err(error) => return Err(error.into()),
            }
        };
        file.set_len(end - but_for)?;
        Ok(path)
    }

    /// The files beside images, in order.
    fn tables(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(self.state.join("tables"))? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn reload(&self, zone: &Path, serial: u32) -> Result<()> {
        let lines: String = (0..500).map(|i| format!("host{i} A 192.0.2.3\n")).collect();
        std::fs::write(zone, small_zone(serial, &lines))?;
        let output = self.node.ctl(&["reload"])?;
        ensure!(output.status.success(), "{}", said(&output));
        ensure!(self.node.serial("small.example.")? == serial, "{}", self.node.process.log_tail());
        Ok(())
    }
}

#[test]
fn a_full_disk_costs_nothing_but_the_image() -> Result<()> {
    let zone = tempfile::NamedTempFile::new()?;
    std::fs::write(zone.path(), small_zone(1, ""))?;
    let site = Site::new(&[("small.example", zone.path())], "state-dir = \"state\"")?;
    let disk = SmallDisk::start(&site, 256 << 10)?;
    let is_stored = |path: &Path| Ok(path.exists().then_some(()));
    tools::poll("the first image", STORE_LIMIT, || is_stored(&disk.image()))?;
    let first = std::fs::read(disk.image())?;

    // Room for the beginning of the image, not for all of it.
    let ballast = disk.fill(8 << 10)?;
    disk.reload(zone.path(), 2)?;
    let said =
        "its image could not be stored, so it will be compiled at the next start: No space left on device";
    tools::poll("the log to say so", STORE_LIMIT, || {
        Ok(disk.node.process.log().contains(said).then_some(()))
    })?;
    nothing_is_left_half_written(&disk)?;
    ensure!(std::fs::read(disk.image())? == first, "the image of before is not as it was");
    ensure!(disk.node.serial("small.example.")? == 2, "{}", disk.node.process.log_tail());

    std::fs::remove_file(ballast)?;
    disk.reload(zone.path(), 3)?;
    tools::poll("the next image", STORE_LIMIT, || {
        Ok(std::fs::read(disk.image()).is_ok_and(|image| image != first).then_some(()))
    })?;
    nothing_is_left_half_written(&disk)?;
    // The image of version 2 was never there, and that of version 1 is not taken for it: it is still in memory.
    let output = disk.node.ctl(&["zone", "rollback", "small.example"])?;
    ensure!(
        output.status.success() && disk.node.serial("small.example.")? == 2,
        "{}",
        crate::node::said(&output)
    );
    Ok(())
}

fn nothing_is_left_half_written(disk: &SmallDisk) -> Result<()> {
    let files = disk.tables()?;
    let is_whole = |file: &String| {
        ["table", "sources", "previous", "gate"].iter().any(|it| file == &format!("small.example.{it}"))
    };
    ensure!(files.iter().all(is_whole), "{files:?}");
    Ok(())
}

#[test]
fn what_a_full_disk_kept_from_being_written_is_written_when_there_is_room() -> Result<()> {
    let zone = tempfile::NamedTempFile::new()?;
    std::fs::write(zone.path(), small_zone(1, ""))?;
    let lines = "state-dir = \"state\"\n[transfer]\nallow = [\"127.0.0.0/8\"]";
    let site = Site::new(&[("small.example", zone.path())], lines)?;
    let disk = SmallDisk::start(&site, 256 << 10)?;
    let is_stored = |path: &Path| Ok(path.exists().then_some(()));
    tools::poll("the first image", STORE_LIMIT, || is_stored(&disk.image()))?;
    let first = std::fs::read(disk.image())?;
    disk.reload(zone.path(), 2)?;
    tools::poll("the second image", STORE_LIMIT, || {
        Ok(std::fs::read(disk.image()).is_ok_and(|image| image != first).then_some(()))
    })?;
    let ballast = disk.fill(0)?;
    let status = |key: &str| -> Result<serde_json::Value> {
        let output = disk.node.ctl(&["status", "--json"])?;
        let status: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        Ok(status["disk"][key].clone())
    };
    let waiting = |wanted: u64| {
        tools::poll(&format!("{wanted} files wait"), STORE_LIMIT, || {
            Ok((status("waiting")? == wanted).then_some(()))
        })
    };
    // The image of the first version is wanted no longer, which leaves room for a little file.
    disk.reload(zone.path(), 3)?;
    tools::poll("files wait", STORE_LIMIT, || Ok((status("waiting")? != 0).then_some(())))?;
    // The image, and what is known of versions; the journal may have room in its last page. Until that image is gone there
    // may be room for one of them, and then it is no longer.
    let mut serial = 3;
    tools::poll("all that is written with a version waits", STORE_LIMIT, || {
        disk.fill(0)?;
        serial += 1;
        disk.reload(zone.path(), serial)?;
        Ok((status("waiting")?.as_u64() >= Some(2)).then_some(()))
    })?;
    ensure!(status("failure")?.as_str().is_some_and(|why| why.contains("No space left on device")));
    let log = disk.node.process.log();
    ensure!(log.lines().filter(|line| line.contains(" WARN ")).count() == 1, "said once:\n{log}");
    std::fs::remove_file(ballast)?;
    disk.reload(zone.path(), serial + 1)?;
    waiting(0)?;
    ensure!(disk.node.process.log().contains("the state folder can be written to again"));
    disk.reload(zone.path(), serial + 2)?;
    let journal = disk.state.join("tables/small.example.journal");
    tools::poll("a difference in the journal", STORE_LIMIT, || {
        Ok(std::fs::metadata(&journal).is_ok_and(|journal| journal.len() > 150).then_some(()))
    })?;
    Ok(())
}

#[test]
fn a_node_is_back_on_a_disk_that_has_become_read_only() -> Result<()> {
    let kept = Kept::new()?;
    kept.restart("because there is no image of it yet")?;
    // Its image is all that there is to begin with.
    std::fs::write(kept.zone.path(), "this is no zone\n")?;
    let mut command = Command::new(tools::program("unshare")?);
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    let mount = "mount --bind \"$1\" \"$1\" && mount -o remount,ro,bind \"$1\" && shift && exec \"$@\"";
    command.args(["--mount", "sh", "-c", mount, "sh"]).arg(kept.site.path("state")).arg(tools::starling()?);
    let node = kept.site.start_as(command)?;
    ensure!(node.serial("small.example.")? == 1, "{}", node.process.log_tail());
    let status: serde_json::Value = serde_json::from_slice(&node.ctl(&["status", "--json"])?.stdout)?;
    let failure = status["disk"]["failure"].as_str().unwrap_or_default();
    ensure!(failure.contains("Read-only file system"), "{status}");
    // Serving goes on, and so do reloads.
    std::fs::write(kept.zone.path(), small_zone(2, ""))?;
    let output = node.ctl(&["reload"])?;
    ensure!(output.status.success(), "{}", said(&output));
    ensure!(node.serial("small.example.")? == 2, "{}", node.process.log_tail());
    Ok(())
}
