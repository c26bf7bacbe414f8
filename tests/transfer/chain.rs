//! A chain of three nodes: each change goes by NOTIFY and IXFR from a master file to a copy and on to a copy of that, and is
//! folded into one table now and then.

use std::fs::File;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use starling_tests::name::Name;
use starling_tests::server::own_socket_address;
use starling_tests::tools;
use starling_tests::zonedata::transfer;

use crate::changing::{APEX, Changing};
use crate::copies::same_records;
use crate::incremental::publish;
use crate::secondaries::{FOLLOWS_WITHIN, Primary};

/// From 1970 to when a file was written, as a test has it.
const A_WHILE: Duration = Duration::from_secs(1_000_000_000);

/// Changes, usually and in a long run.
const STEPS: (u32, u32) = (60, 1000);

fn served(node: &Primary) -> Result<Value> {
    let zones: Value = serde_json::from_str(&node.ctl(&["zones", "--json"])?)?;
    Ok(zones[0]["served"].clone())
}

#[test]
fn a_change_goes_down_a_chain_of_copies() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let place = |name: &str| folder.path().join(name);
    let mut zone = Changing::new(11, 1);
    let (first_at, second_at) = (own_socket_address()?, own_socket_address()?);
    let shared = "state-dir = \"state\"\n[transfer]\nnotify-source = [\"127.0.0.1\"]\n[secondary]\n\
                  notify-from = [\"127.0.0.0/8\"]\n[[zone]]\n";
    let zone_lines = format!("name = \"{APEX}\"\nsecondaries = [\"127.0.0.0/8\"]\n");
    std::fs::create_dir(place("primary"))?;
    let file = place("primary").join("changing.zone");
    zone.write(&file)?;
    let lines = format!("{shared}{zone_lines}file = \"{}\"\nnotify = [\"{first_at}\"]\n", file.display());
    let primary = Primary::start(&lines, &place("primary"))?;
    let lines =
        format!("{shared}{zone_lines}primaries = [\"{}\"]\nnotify = [\"{second_at}\"]\n", primary.address);
    let first = Primary::start_at(&first_at.to_string(), &lines, &place("first"))?;
    let lines =
        format!("{shared}{zone_lines}primaries = [\"{first_at}\"]\nretry-min-s = 1\nretry-max-s = 1\n");
    let second = Primary::start_at(&second_at.to_string(), &lines, &place("second"))?;
    let apex = Name::parse(APEX)?;
    let steps = if tools::long_run() { STEPS.1 } else { STEPS.0 };
    let (mut changed_most, mut folds) = (0, 0);
    for step in 0..=steps {
        if step > 0 {
            zone.step();
            publish(&zone, &primary, &place("primary"))?;
        }
        let what = format!("serial {} at the end of the chain", zone.serial);
        tools::poll(&what, FOLLOWS_WITHIN, || Ok((served(&second)?["serial"] == zone.serial).then_some(())))
            .with_context(|| format!("{}\n{}", first.process.log_tail(), second.process.log_tail()))?;
        let records = transfer(primary.address, &apex)?;
        for node in [&first, &second] {
            same_records(&format!("step {step}"), &records, &transfer(node.address, &apex)?)?;
        }
        // The same content, whatever way it came.
        let contents: Vec<Value> = [&primary, &first, &second]
            .into_iter()
            .map(|node| Ok(served(node)?["content"].clone()))
            .collect::<Result<_>>()?;
        ensure!(contents.iter().all(|content| *content == contents[0]), "step {step}: {contents:?}");
        let changed = served(&second)?["changed-names"].as_u64().context("a number")?;
        folds += u32::from(changed < changed_most);
        changed_most = if changed < changed_most { 0 } else { changed };
    }
    ensure!(folds > 0, "never folded, {changed_most} names changed");
    for node in [&first, &second] {
        let log = node.process.log();
        let incremental = log.matches("what has changed was transferred").count();
        ensure!(incremental as u32 >= steps / 2, "{incremental} of {steps} by what has changed\n{log}");
    }
    // Every change that a NOTIFY has brought is in the histogram, and none that nobody has told of.
    let (count, mean) = latencies(&second)?;
    ensure!(count >= u64::from(steps) / 2, "{count} of {steps}");
    ensure!(mean > 0 && mean < 1_000_000, "{mean} µs");
    second.ctl(&["refresh", APEX])?;
    second.ctl(&["retransfer", APEX])?;
    ensure!(latencies(&second)?.0 == count, "what an operator has asked for is counted, too");
    tools::announce(&format!("from a NOTIFY to the answer: {mean} µs on average of {count}"));
    tools::announce(&format!("{steps} changes down a chain of two copies; folded {folds} times"));

    // A restart goes on with the same, and says since when that was served.
    let what = "what is served is on disk";
    let before =
        tools::poll(what, FOLLOWS_WITHIN, || Ok(Some(served(&second)?).filter(|it| it["durable"] == true)))?;
    drop(second);
    for file in std::fs::read_dir(place("second").join("state/tables"))? {
        File::options().write(true).open(file?.path())?.set_modified(SystemTime::UNIX_EPOCH + A_WHILE)?;
    }
    let second = Primary::start_at(&second_at.to_string(), &lines, &place("second"))?;
    let after = served(&second)?;
    for field in ["serial", "content", "records", "names"] {
        ensure!(before[field] == after[field], "{field}: {before} {after}");
    }
    ensure!(after["since"] == "2001-09-09T01:46:40Z", "{after}");
    Ok(())
}

/// How many versions came by a NOTIFY, and how long each took on average, in microseconds.
fn latencies(node: &Primary) -> Result<(u64, u64)> {
    let status: Value = serde_json::from_str(&node.ctl(&["status", "--json"])?)?;
    let latencies = &status["copies"]["latencies"];
    let counts = latencies["counts"].as_array().context("counts")?;
    let count = counts.iter().filter_map(Value::as_u64).sum();
    Ok((count, latencies["micros"].as_u64().context("a sum")? / u64::max(count, 1)))
}
