//! Checks by a file that somebody else writes.

use std::time::{Duration, SystemTime};

use anyhow::{Result, ensure};
use starling_tests::server::own_address;
use starling_tests::tools;

use crate::node::{Node, SEEN_WITHIN, pool};

const CHECK: &str =
    "check = { kind = \"file\", file = \"states\", max-age-s = 3600, interval-ms = 50, rise = 1, fall = 2 }";

#[test]
fn a_file_says_how_endpoints_are_and_one_that_says_nothing_makes_nothing_good() -> Result<()> {
    let (first, second) = (own_address(), own_address());
    let lines = format!("kind = \"round-robin\"\nall-down = \"zone\"\n{CHECK}");
    let mut node = Node::new(&pool("web", "\"www.example.com\"", &lines, &[(first, 1), (second, 1)]))?;
    // There is none yet.
    node.start()?;
    node.sees("web", "unknown", "states can't be read: No such file")?;
    node.answers("www.example.com", &["192.0.2.80".parse()?])?;
    let by_address = format!("e0 up\n{second} up\n");
    node.write("states", &by_address)?;
    node.answers("www.example.com", &[first, second])?;
    node.write("states", "# at night\ne0 down for the night\ne1 up\n")?;
    node.answers("www.example.com", &[second])?;
    node.sees("web", "down", "says that it is down: for the night")?;
    for (text, said) in [
        ("e0 down\ne1 maybe\n", "states:2: \"maybe\" is none of up, down, unknown"),
        ("e1 up\n", "states says nothing of e0"),
        ("e0 unknown no idea\ne1 up\n", "states says that it is unknown: no idea"),
        ("e0 up\ne0 up\n", "states:2: e0 stands there twice"),
    ] {
        node.write("states", "e0 up\ne1 up\n")?;
        node.answers("www.example.com", &[first, second])?;
        node.write("states", text)?;
        node.sees("web", "unknown", said)?;
    }
    // In place, and of the same length, right after it was read.
    for state in ["up  ", "down", "up  ", "down"] {
        std::fs::write(node.path("states"), format!("e0 {state}\ne1 up\n"))?;
        node.sees("web", state.trim(), "")?;
    }
    // Who wrote it may be dead.
    node.write("states", "e0 up\ne1 up\n")?;
    node.sees("web", "up", "")?;
    let old = SystemTime::now() - Duration::from_secs(4000);
    std::fs::File::options().append(true).open(node.path("states"))?.set_modified(old)?;
    node.sees("web", "unknown", "was not written for more than 3600 s")?;
    std::fs::remove_file(node.path("states"))?;
    node.sees("web", "unknown", "No such file")?;
    // A pipe that nobody writes to holds up nothing.
    let mut command = std::process::Command::new(tools::program("mkfifo")?);
    ensure!(command.arg(node.path("states")).status()?.success());
    node.sees("web", "unknown", "it is no ordinary file")?;
    let log = node.log();
    let count = |text: &str| log.lines().filter(|line| line.contains(text)).count();
    ensure!(
        count("none of up, down, unknown") == 1,
        "one line, however often and for how many endpoints: {log}"
    );
    Ok(())
}

#[test]
fn what_is_known_is_shown_with_its_time() -> Result<()> {
    let address = own_address();
    let mut node = Node::new(&pool("web", "\"www.example.com\"", CHECK, &[(address, 1)]))?;
    node.write("states", "e0 down broken\n")?;
    node.start()?;
    node.sees("web", "down", "broken")?;
    node.write("states", "e0 up\n")?;
    node.sees("web", "up", "")?;
    let text = tools::poll("what was bad last stays", SEEN_WITHIN, || {
        let text = node.does(&["pool", "status", "web"])?;
        Ok(text.contains("last bad at ").then_some(text))
    })?;
    ensure!(text.contains("says that it is down: broken") && text.contains("µs, at 20"), "{text}");
    Ok(())
}
