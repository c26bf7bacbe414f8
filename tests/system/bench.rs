//! `starling bench answer`: its figures, and what it says of input that is no good.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Result, ensure};
use serde_json::Value;
use starling_tests::tools;

use crate::node::{run, said, small_zone};

/// Five queries, four kinds of answers.
const QUERIES: &str = "; a comment\nwww.small.example A\nWWW.small.example. A\n\nnone.small.example AAAA\nx.sub.small.example A\n\
                       elsewhere.example TYPE65280\n";

/// A folder with a zone, its table, and a file of queries.
fn site() -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    let zone = folder.path().join("small.zone");
    std::fs::write(&zone, small_zone(1, "sub NS ns.sub\nns.sub A 192.0.2.9\n"))?;
    std::fs::write(folder.path().join("queries"), QUERIES)?;
    std::fs::write(
        folder.path().join("node.toml"),
        "[node]\nlisten = [\"127.0.0.1:0\"]\n[[zone]]\nname = \"small.example\"\nfile = \"small.zone\"\n",
    )?;
    let compiled = run(Command::new(tools::starling()?).current_dir(folder.path()).args([
        "compile",
        "small.example=small.zone",
        "-o",
        "small.table",
    ]))?;
    ensure!(compiled.status.success(), "{}", said(&compiled));
    Ok(folder)
}

fn bench(folder: &Path, arguments: &[&str]) -> Result<Output> {
    run(Command::new(tools::starling()?).current_dir(folder).args(["bench", "answer"]).args(arguments))
}

/// What it prints as JSON.
fn figures(folder: &Path, arguments: &[&str]) -> Result<Value> {
    let output = bench(folder, &[arguments, &["--json", "--queries", "queries"]].concat())?;
    ensure!(output.status.success(), "{arguments:?}: {}", said(&output));
    Ok(serde_json::from_slice(&output.stdout)?)
}

#[test]
fn tables_zones_and_configurations_give_the_same_answers() -> Result<()> {
    let site = site()?;
    let rounds = ["--rounds", "3", "--passes", "20"];
    for source in [
        &["--table", "small.table"][..],
        &["--zone", "small.example=small.zone"],
        &["--config", "node.toml"],
        &["--table", "small.table", "--batch", "1"],
        &["--table", "small.table", "--batch", "7", "--dnssec"],
    ] {
        let told = figures(site.path(), &[source, &rounds].concat())?;
        ensure!(told["zones"] == 1 && told["queries"] == 5 && told["rounds"] == 3, "{told:#}");
        let share = |kind: &str| told["mix"][kind].as_f64();
        ensure!(share("NOERROR, answer") == Some(0.4), "{told:#}");
        ensure!(share("NOERROR, referral") == Some(0.2), "{told:#}");
        ensure!(share("NXDOMAIN") == Some(0.2) && share("REFUSED") == Some(0.2), "{told:#}");
        // So many passes, to the end of the last batch.
        ensure!(told["answered"].as_u64().is_some_and(|count| (300..400).contains(&count)), "{told:#}");
        let ns = |key: &str| told["ns"][key].as_f64().unwrap_or_default();
        ensure!(0.0 < ns("min") && ns("min") <= ns("median") && ns("median") <= ns("max"), "{told:#}");
        for counted in ["instructions", "cache-misses"] {
            let number = told[counted]["median"].is_number();
            ensure!(number != told[counted]["not-counted"].is_string(), "{told:#}");
        }
        ensure!(told["octets"]["min"].as_u64() < told["octets"]["max"].as_u64(), "{told:#}");
    }
    Ok(())
}

#[test]
fn an_opt_record_is_sent_where_one_is_asked_for() -> Result<()> {
    let site = site()?;
    let mean = |more: &[&str]| -> Result<f64> {
        let told =
            figures(site.path(), &[&["-t", "small.table", "--rounds", "1", "--passes", "1"], more].concat())?;
        Ok(told["octets"]["mean"].as_f64().unwrap_or_default())
    };
    let plain = mean(&[])?;
    // An OPT record has 11 octets, and of the five answers one is refused with an extended error of 6.
    for with_opt in [&["--edns", "1232"][..], &["--dnssec"]] {
        let more = mean(with_opt)? - plain;
        ensure!((more - 12.2).abs() < 1e-9, "{with_opt:?}: {more} octets more");
    }
    Ok(())
}

#[test]
fn its_text_says_everything() -> Result<()> {
    let site = site()?;
    let output =
        bench(site.path(), &["-t", "small.table", "-q", "queries", "--rounds", "2", "--time", "10ms"])?;
    let text = said(&output);
    ensure!(output.status.success(), "{text}");
    for part in [
        "1 zone, 6 records",
        "5 queries, in batches of 32",
        "in 2 rounds",
        "time for a query: median ",
        "instructions",
        "cache misses",
        "NOERROR, answer           40.000 %",
    ] {
        ensure!(text.contains(part), "{part:?} is not in\n{text}");
    }
    Ok(())
}

#[test]
fn bad_input_is_told_with_its_place() -> Result<()> {
    let site = site()?;
    std::fs::write(
        site.path().join("bad"),
        "a.example A\na..b A\nb.example\nb.example ADDRESS\nb.example A IN\n",
    )?;
    std::fs::write(site.path().join("empty"), "; nothing\n")?;
    std::fs::write(site.path().join("bad.zone"), "@ A 192.0.2.1\n")?;
    let table = &["-t", "small.table"][..];
    for (arguments, code, parts) in [
        (
            &[table, &["-q", "bad"]].concat()[..],
            1,
            &["bad:2: `a..b`", "bad:3: the type", "bad:4: `ADDRESS`", "bad:5: `IN`"][..],
        ),
        (&[table, &["-q", "empty"]].concat(), 1, &["empty has no queries"]),
        (&[table, &["-q", "none"]].concat(), 1, &["cannot read none"]),
        (&["-t", "queries", "-q", "queries"], 1, &["queries can't be used"]),
        (&["-z", "bad.example=bad.zone", "-q", "queries"], 1, &["bad.zone", "gives no answers"]),
        (&["-q", "queries"], 2, &["--table, --zone or --config"]),
        (&["-t", "small.table", "-t", "small.table", "-q", "queries"], 2, &["small.example. is given twice"]),
        (&[table, &["-q", "queries", "--batch", "33"]].concat(), 2, &["33"]),
        (&[table, &["-q", "queries", "--batch", "0"]].concat(), 2, &["0"]),
        (&[table, &["-q", "queries", "--rounds", "0"]].concat(), 2, &["0"]),
    ] {
        let output = bench(site.path(), arguments)?;
        let text = said(&output);
        ensure!(output.status.code() == Some(code), "{arguments:?} ended with {:?}: {text}", output.status);
        for part in parts {
            ensure!(text.contains(part), "{arguments:?}: {part:?} is not in\n{text}");
        }
    }
    Ok(())
}
