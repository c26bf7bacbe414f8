//! Operators' commands that take their time: what waits for them, and what does not.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use starling_tests::server::own_address;
use starling_tests::tools;

use crate::node::{Node, Site, said, small_zone};

const SLOW: &str = "small.example.";
const QUICK: &str = "quick.example.";
/// How long something may take that takes milliseconds.
const SEEN_WITHIN: Duration = Duration::from_secs(30);

/// A node with two zones. The command of one notes which version it is asked about, and says nothing until there is a file
/// `goN`, for version N; it objects if there is a file `noN`.
struct Scene {
    folder: tempfile::TempDir,
    site: Site,
}

impl Scene {
    fn new(lines: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let here = folder.path().display();
        let script = format!(
            "echo $3 >> {here}/asked; while [ ! -e {here}/go$3 ] && [ -e {here} ]; do sleep 0.02; done; [ ! -e {here}/no$3 ]"
        );
        let (slow, quick) = (folder.path().join("slow"), folder.path().join("quick"));
        let address = own_address();
        let lines = format!("listen = [\"{address}:0\"]\n{lines}");
        let site = Site::new(&[("quick.example", &quick), ("small.example", &slow)], &lines)?;
        let mut text = std::fs::read_to_string(site.path("node.toml"))?;
        text.push_str(&format!(
            "[zone.admission]\ncommand = [\"/bin/sh\", \"-c\", \"{script}\", \"check\"]\n"
        ));
        std::fs::write(site.path("node.toml"), text)?;
        let scene = Self { folder, site };
        scene.write(QUICK, 1)?;
        scene.write(SLOW, 1)?;
        scene.say("go", 1)?;
        Ok(scene)
    }

    fn write(&self, zone: &str, serial: u32) -> Result<()> {
        let file = self.folder.path().join(if zone == SLOW { "slow" } else { "quick" });
        let text = small_zone(serial, &format!("v{serial} A 192.0.2.9\n"));
        std::fs::write(
            file.with_extension("new"),
            text.replace("small.example", zone.trim_end_matches('.')),
        )?;
        Ok(std::fs::rename(file.with_extension("new"), file)?)
    }

    fn say(&self, what: &str, serial: u32) -> Result<()> {
        Ok(std::fs::write(self.folder.path().join(format!("{what}{serial}")), "")?)
    }

    /// Which versions the command was asked about.
    fn asked(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.folder.path().join("asked"))?.replace('\n', " "))
    }

    /// Puts another version in place and has it read; the reload goes on.
    fn reload(&self, serial: u32) -> Result<Child> {
        self.write(SLOW, serial)?;
        self.again()
    }

    fn again(&self) -> Result<Child> {
        let mut command = Command::new(tools::starling()?);
        command.arg("ctl").arg("--control").arg(self.site.path("control")).args(["reload", SLOW]);
        Ok(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
    }
}

/// Waits until the command is asked about this version, or about none.
fn is_asked(node: &Node, serial: Option<u32>) -> Result<()> {
    tools::poll("the command is asked", SEEN_WITHIN, || {
        let output = node.ctl(&["zone", "status", SLOW, "--json"])?;
        let status: Value = serde_json::from_slice(&output.stdout).with_context(|| said(&output))?;
        Ok((status["gate"]["asked"].as_u64() == serial.map(u64::from)).then_some(()))
    })
    .with_context(|| node.process.log_tail())
}

fn is_served(node: &Node, serial: u32) -> Result<()> {
    tools::poll("the version is served", SEEN_WITHIN, || Ok((node.serial(SLOW)? == serial).then_some(())))
        .with_context(|| node.process.log_tail())
}

/// What a reload says in the end, and whether it is content.
fn end(reload: Child) -> Result<(bool, String)> {
    let output = reload.wait_with_output()?;
    Ok((output.status.success(), said(&output)))
}

fn image(path: &Path) -> Option<std::time::SystemTime> {
    path.metadata().and_then(|image| image.modified()).ok()
}

#[test]
fn a_command_that_takes_long_holds_up_its_own_zone_alone() -> Result<()> {
    let scene = Scene::new("")?;
    let node = scene.site.start()?;
    let mut waits = scene.reload(2)?;
    is_asked(&node, Some(2))?;
    for serial in 2..7 {
        scene.write(QUICK, serial)?;
        let start = Instant::now();
        let output = node.ctl(&["reload", QUICK])?;
        let took = start.elapsed();
        ensure!(output.status.success() && node.serial(QUICK)? == serial, "{}", said(&output));
        tools::announce(&format!("another zone was reloaded in {took:?} while a command was asked"));
    }
    ensure!(waits.try_wait()?.is_none() && node.serial(SLOW)? == 1);
    is_asked(&node, Some(2))?;
    scene.say("go", 2)?;
    let (good, text) = end(waits)?;
    ensure!(good && node.serial(SLOW)? == 2, "{text}");
    is_asked(&node, None)
}

#[test]
fn a_later_version_takes_the_place_of_one_that_waits_for_its_command() -> Result<()> {
    let scene = Scene::new("")?;
    let node = scene.site.start()?;
    let second = scene.reload(2)?;
    is_asked(&node, Some(2))?;
    let third = scene.reload(3)?;
    is_asked(&node, Some(3))?;
    let (good, text) = end(second)?;
    ensure!(!good && text.contains("serial 3 has come before"), "{text}");
    // What is said of it is of no interest any more.
    scene.say("go", 2)?;
    let (once_more, touched) = (scene.again()?, scene.reload(3)?);
    scene.say("go", 3)?;
    for reload in [third, once_more, touched] {
        let (good, text) = end(reload)?;
        ensure!(good && node.serial(SLOW)? == 3, "{text}");
    }
    ensure!(scene.asked()? == "1 2 3 ", "each once: {}", scene.asked()?);
    // Back to what is served: nothing waits any more.
    let fourth = scene.reload(4)?;
    is_asked(&node, Some(4))?;
    let (good, text) = end(scene.reload(3)?)?;
    ensure!(good, "{text}");
    ensure!(!end(fourth)?.0);
    is_asked(&node, None)?;
    scene.say("go", 4)?;
    scene.say("no", 5)?;
    scene.say("go", 5)?;
    let (good, text) = end(scene.reload(5)?)?;
    ensure!(!good && text.contains("held back: command") && node.serial(SLOW)? == 3, "{text}");
    Ok(())
}

#[test]
fn what_an_operator_decides_comes_before_what_a_command_says() -> Result<()> {
    let scene = Scene::new("")?;
    let node = scene.site.start()?;
    scene.say("go", 2)?;
    let (good, text) = end(scene.reload(2)?)?;
    ensure!(good, "{text}");
    let waits = scene.reload(3)?;
    is_asked(&node, Some(3))?;
    let output = node.ctl(&["zone", "rollback", SLOW])?;
    ensure!(output.status.success() && node.serial(SLOW)? == 1, "{}", said(&output));
    let (good, text) = end(waits)?;
    ensure!(!good && text.contains("an operator has decided otherwise"), "{text}");
    scene.say("go", 3)?;
    let (good, text) = end(scene.reload(3)?)?;
    ensure!(good && node.serial(SLOW)? == 3, "{text}");
    Ok(())
}

#[test]
fn a_start_serves_what_it_has_while_a_command_is_asked() -> Result<()> {
    let scene = Scene::new("state-dir = \"state\"")?;
    let node = scene.site.start()?;
    let stored = scene.site.path("state").join("tables/small.example.table");
    tools::poll("an image", SEEN_WITHIN, || Ok(image(&stored)))?;
    drop(node);
    scene.write(SLOW, 2)?;
    let node = scene.site.start()?;
    ensure!(node.serial(SLOW)? == 1 && node.serial(QUICK)? == 1);
    is_asked(&node, Some(2))?;
    scene.say("go", 2)?;
    is_served(&node, 2)
}
