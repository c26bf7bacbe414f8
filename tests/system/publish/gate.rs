//! Rules of admission for published tables.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use starling_tests::tools;

use super::{SERVFAIL, STORED_WITHIN, Workshop, ZONE, publish, published, serves, site, zone};
use crate::node::{Site, TYPE_SOA, said, small_zone};

#[test]
fn a_serial_that_goes_back_waits_for_the_operator() -> Result<()> {
    let (workshop, site) = (Workshop::new()?, site("state-dir = \"state\"", "")?);
    let mut node = site.start()?;
    published(&node, &workshop.version(5)?)?;
    let older = workshop.version(4)?;
    let (good, text) = publish(&node, &older, &[])?;
    ensure!(!good && text.contains("not published") && text.contains("goes back from 5 to 4"), "{text}");
    serves(&node, 5)?;
    let same = workshop.compile("same", &small_zone(5, "v A 192.0.2.55\n"), None)?;
    let (good, text) = publish(&node, &same, &[])?;
    ensure!(!good && text.contains("its content has changed and its serial, 5, has not"), "{text}");
    // The very same once more is no change.
    published(&node, &workshop.version(5)?)?;
    let (good, text) = publish(&node, &older, &["--any-serial"])?;
    ensure!(good, "{text}");
    serves(&node, 4)?;

    let (good, _) = publish(&node, &workshop.version(3)?, &[])?;
    ensure!(!good && zone(&node)?["gate"]["held"]["serial"] == 3);
    tools::poll("both are on disk", STORED_WITHIN, || {
        let is_kept = site.path("state/tables/small.example.held").exists();
        Ok((is_kept && zone(&node)?["served"]["durable"] == true).then_some(()))
    })?;
    drop(node);
    node = site.start()?;
    serves(&node, 4)?;
    let output = node.ctl(&["zone", "approve", "small.example"])?;
    ensure!(output.status.success(), "{}", said(&output));
    serves(&node, 3)?;
    ensure!(zone(&node)?["served"]["loaded-from"] == "published");
    // What was rolled back from doesn't come in by being published again.
    ensure!(node.ctl(&["zone", "rollback", "small.example"])?.status.success());
    serves(&node, 4)?;
    let (good, text) = publish(&node, &workshop.version(3)?, &["--any-serial"])?;
    ensure!(!good && text.contains("rolled-back"), "{text}");
    Ok(())
}

#[test]
fn a_zone_that_has_shrunk_is_held() -> Result<()> {
    let (workshop, site) = (Workshop::new()?, site("", "")?);
    let node = site.start()?;
    let hosts = |serial: u32, count: u32| -> String {
        let lines: String = (0..count).map(|host| format!("h{host} A 192.0.2.1\n")).collect();
        small_zone(serial, &format!("v A 192.0.2.{serial}\n{lines}"))
    };
    published(&node, &workshop.compile("many", &hosts(1, 200), None)?)?;
    let few = workshop.compile("few", &hosts(2, 20), None)?;
    let (good, text) = publish(&node, &few, &["--any-serial"])?;
    ensure!(!good && text.contains("shrink"), "{text}");
    serves(&node, 1)
}

#[test]
fn a_table_waits_for_the_operators_command() -> Result<()> {
    let workshop = Workshop::new()?;
    let pipe = workshop.path("verdict");
    let output = Command::new(tools::program("mkfifo")?).arg(&pipe).output()?;
    ensure!(output.status.success(), "{output:?}");
    let script =
        format!("read status < {}; echo nobody likes $3, and $2 is there >&2; exit $status", pipe.display());
    let lines = format!("[zone.admission]\ncommand = [\"/bin/sh\", \"-c\", \"{script}\", \"check\"]");
    let site = site("state-dir = \"state\"", &lines)?;
    let node = site.start()?;
    // The first, too, is asked about.
    let mut before = None;
    for (serial, status) in [(1, 0), (2, 1), (3, 0)] {
        let table = workshop.version(serial)?;
        let path = table.to_str().context("a path")?;
        let mut publishing = node.ctl_command(&["publish", "small.example", path])?;
        let mut publishing = publishing.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        tools::poll("its command is asked", STORED_WITHIN, || {
            Ok((zone(&node)?["gate"]["asked"] == serial).then_some(()))
        })?;
        match before {
            None => ensure!(node.ask(ZONE, TYPE_SOA)?.rcode() == SERVFAIL),
            Some(before) => serves(&node, before)?,
        }
        ensure!(publishing.try_wait()?.is_none(), "nobody has said yet what is to become of it");
        std::fs::write(&pipe, format!("{status}\n"))?;
        let output = publishing.wait_with_output()?;
        let text = said(&output);
        ensure!(output.status.success() == (status == 0), "{text}");
        if status == 0 {
            before = Some(serial);
            serves(&node, serial)?;
            continue;
        }
        let before = before.context("one is served")?;
        let why = format!("nobody likes {serial}, and {before} is there");
        ensure!(text.contains("held back: command") && text.contains(&why), "{text}");
        ensure!(zone(&node)?["gate"]["held"]["serial"] == serial);
        serves(&node, before)?;
    }
    Ok(())
}

#[test]
fn the_zonemd_record_of_a_table_is_verified() -> Result<()> {
    let workshop = Workshop::new()?;
    let text = std::fs::read_to_string(tools::repository().join("crates/zone/src/zonemd/rfc8976-a1.zone"))?;
    let (file, damaged_file) = (workshop.path("good"), workshop.path("damaged"));
    std::fs::write(&file, &text)?;
    std::fs::write(&damaged_file, text.replace("203.0.113.63", "203.0.113.64"))?;
    let compile = |file: &std::path::Path| {
        let mut command = Command::new(tools::starling()?);
        let zone = format!("example={}", file.display());
        crate::node::run(command.arg("compile").arg(zone).arg("-o").arg(file.with_extension("table")))
    };
    let output = compile(&damaged_file)?;
    ensure!(!output.status.success() && said(&output).contains("lost or changed"), "{}", said(&output));
    ensure!(compile(&file)?.status.success());

    // Nobody compiles such a table but a node that doesn't look.
    let lines = "state-dir = \"state\"\n[admission]\nzonemd = \"ignore\"\n";
    let careless = Site::new(&[("example", &damaged_file)], lines)?;
    let _node = careless.start()?;
    let damaged = careless.path("state/tables/example.table");
    tools::poll("its image", STORED_WITHIN, || Ok(damaged.exists().then_some(())))?;

    let zone = "[admission]\nzonemd = \"require\"\n[[zone]]\nname = \"example\"\npublished = true\n";
    let site = Site::new(&[], zone)?;
    let node = site.start()?;
    let publish = |table: &std::path::Path| {
        node.ctl(&["publish", "example", table.to_str().unwrap_or_default(), "--any-serial"])
    };
    let output = publish(&damaged)?;
    ensure!(!output.status.success() && said(&output).contains("is refused: zonemd"), "{}", said(&output));
    let output = publish(&file.with_extension("table"))?;
    ensure!(output.status.success(), "{}", said(&output));
    ensure!(node.serial("example.")? == 2_018_031_900);
    let output = publish(&damaged)?;
    ensure!(!output.status.success() && said(&output).contains("lost or changed"), "{}", said(&output));
    ensure!(node.ask("ns1.example.", 1)?.answer[0].rdata == [203, 0, 113, 63]);
    Ok(())
}
