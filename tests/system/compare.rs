//! `starling compare`: what nodes have of each other's zones.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use starling_tests::server::own_address;
use starling_tests::tools;

use crate::node::{Node, Site, run, said, small_zone};

/// More zones than a page has.
const MANY: usize = 2_345;

fn start(zones: &[(&str, &Path)]) -> Result<(Site, Node)> {
    let address = own_address();
    let lines = format!("listen = [\"{address}:0\"]\n[management]\nlisten = [\"{address}:0\"]\n");
    let site = Site::new(zones, &lines)?;
    let node = site.start()?;
    Ok((site, node))
}

/// The exit status of `starling compare` and what it says.
fn compare(nodes: &[SocketAddr], arguments: &[&str]) -> Result<(Option<i32>, String)> {
    let mut command = Command::new(tools::starling()?);
    command.arg("compare").args(nodes.iter().map(ToString::to_string)).args(arguments);
    let output = run(&mut command)?;
    Ok((output.status.code(), said(&output)))
}

#[test]
fn a_zone_that_differs_is_told_with_what_each_node_has() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let [ours, theirs, alone] = ["ours", "theirs", "alone"].map(|file| folder.path().join(file));
    std::fs::write(&ours, small_zone(7, "b A 192.0.2.7\na A 192.0.2.8\n"))?;
    // The same records otherwise written.
    std::fs::write(&theirs, small_zone(7, "A 300 IN A 192.0.2.8\nB.small.EXAMPLE. A 192.0.2.7\n"))?;
    std::fs::write(&alone, small_zone(1, "").replace("small.example", "alone.example"))?;
    let (_first_site, first) = start(&[("small.example", &ours)])?;
    let (_second_site, second) = start(&[("small.example", &theirs)])?;
    let nodes = [first.management[0], second.management[0]];
    let (code, text) = compare(&nodes, &[])?;
    ensure!(code == Some(0) && text == "0 of 1 zones differ\n", "{code:?} {text}");

    // The serial is the same, and one record is not.
    std::fs::write(&theirs, small_zone(7, "a A 192.0.2.8\nb A 192.0.2.77\n"))?;
    ensure!(second.ctl(&["reload"])?.status.success());
    let (code, text) = compare(&nodes, &[])?;
    ensure!(code == Some(1) && text.contains("small.example. differs, since 20"), "{code:?} {text}");
    ensure!(text.matches("serial 7").count() == 2, "{text}");
    let (code, text) = compare(&nodes, &["--json"])?;
    let json: Value = serde_json::from_str(&text).context(text)?;
    let of = |node: &SocketAddr| &json["different"][0]["nodes"][node.to_string()];
    ensure!(code == Some(1) && of(&nodes[0])["content"] != of(&nodes[1])["content"], "{json}");

    // A node that serves something else, one that is not there, and one that never answers.
    let (_third_site, third) = start(&[("alone.example", &alone)])?;
    let (code, text) = compare(&[nodes[0], third.management[0]], &[])?;
    ensure!(code == Some(1) && text.contains("not served") && text.contains("2 of 2 zones differ"), "{text}");
    let deaf = TcpListener::bind((own_address(), 0))?;
    let (code, text) = compare(&[nodes[0], deaf.local_addr()?], &["--timeout", "200ms"])?;
    ensure!(code == Some(2) && text.contains("no whole answer within 200 ms"), "{code:?} {text}");
    let gone = TcpListener::bind((own_address(), 0))?.local_addr()?;
    let (code, text) = compare(&[nodes[0], gone], &[])?;
    ensure!(code == Some(2) && text.contains("can't be asked: no connection"), "{code:?} {text}");
    let (code, text) = compare(&[nodes[0], nodes[1], gone], &[])?;
    ensure!(code == Some(1), "what differs is certain: {text}");
    let (code, text) = compare(&[nodes[0], nodes[0]], &[])?;
    ensure!(code == Some(2) && text.contains("named twice"), "{text}");
    Ok(())
}

#[test]
fn thousands_of_zones_are_compared_page_by_page() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("zone");
    std::fs::write(&file, "$TTL 300\n@ SOA ns.example.net. h 1 3600 900 604800 60\n@ NS ns.example.net.\n")?;
    let names: Vec<String> = (0..MANY).map(|index| format!("z{index}.example")).collect();
    let zones: Vec<(&str, &Path)> = names.iter().map(|name| (name.as_str(), file.as_path())).collect();
    let (_first_site, first) = start(&zones)?;
    let (_second_site, second) = start(&zones[..MANY - 1])?;
    let (code, text) = compare(&[first.management[0], second.management[0]], &[])?;
    let mut expected = String::new();
    write!(expected, "1 of {MANY} zones differ")?;
    ensure!(code == Some(1) && text.contains(&expected), "{code:?} {text}");
    ensure!(text.contains(&format!("z{}.example. differs", MANY - 1)), "{text}");
    Ok(())
}
