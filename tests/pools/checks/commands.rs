//! Checks by commands of the operator's.

use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Result, ensure};
use starling_tests::server::own_address;
use starling_tests::tools;

use crate::node::{Node, SEEN_WITHIN, pool};

fn lines(node: &Node, more: &str) -> String {
    format!(
        "check = {{ kind = \"exec\", command = [\"{}\", \"{{address}}:{{port}}\"], port = 7, interval-ms = 50, timeout-ms = 700, \
         rise = 1, fall = 2 }}{more}",
        node.path("look").display()
    )
}

fn script(node: &Node, text: &str) -> Result<()> {
    let temporary = node.path("look.new");
    std::fs::write(&temporary, format!("#!/bin/sh\n{text}\n"))?;
    std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o755))?;
    Ok(std::fs::rename(temporary, node.path("look"))?)
}

#[test]
fn a_command_finds_endpoints_good_and_bad_and_is_ended() -> Result<()> {
    let address = own_address();
    let mut node = Node::new("")?;
    let zone = "[[zone]]\nname = \"example.com\"\nfile = \"example.com\"\n";
    let web = pool("web", "\"www.example.com\"", &lines(&node, ""), &[(address, 1)]);
    node.configure(&format!("{zone}{web}"))?;
    node.start()?;
    node.sees("web", "unknown", "look can't be run: No such file")?;
    // It is told of the endpoint in both ways.
    script(
        &node,
        &format!("[ \"$1\" = {address}:7 ] && [ \"$STARLING_ADDRESS:$STARLING_PORT\" = {address}:7 ]"),
    )?;
    node.sees("web", "up", "")?;
    script(&node, "echo the disk is full >&2; exit 3")?;
    node.sees("web", "down", "exit status: 3: the disk is full")?;
    script(&node, "exit 0")?;
    node.sees("web", "up", "")?;
    // What it has started is ended with it, and what it writes without end is not kept.
    let marker = node.path("marker");
    script(&node, &format!("sleep 4711 & echo $! >> {}\nyes & wait", marker.display()))?;
    node.sees("web", "down", "killed, having taken longer than 700ms")?;
    script(&node, "exit 0")?;
    node.sees("web", "up", "")?;
    tools::poll("nothing of it runs", SEEN_WITHIN, || {
        let pids = std::fs::read_to_string(&marker)?;
        let runs = |pid: &str| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.starts_with(b"sleep\x004711")
        };
        Ok((!pids.lines().any(runs)).then_some(()))
    })?;
    std::fs::remove_file(node.path("look"))?;
    node.sees("web", "unknown", "look can't be run: No such file")?;
    let (is_good, text) = node.check()?;
    ensure!(is_good && text.contains("note: the pool web: its check can't run "), "{text}");
    Ok(())
}
