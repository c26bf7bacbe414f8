//! A process that holds a lease until it is killed: this test binary, started again.

use std::time::{Duration, Instant};

use anycast::{Lease, Rung};
use anyhow::{Context, Result};
use health::Moment;
use starling_tests::netns::Namespace;
use starling_tests::process::Process;
use std::path::Path;

use crate::site::{LIMIT, plan};

/// Set for the process that holds.
const TOLD: &str = "STARLING_TEST_HOLDS";
/// What it prints once it does.
const HOLDING: &str = "the lease is held";

/// Not a test by itself: the body of the process that [`start`] starts.
#[test]
fn holds_where_it_is_told_to() {
    if std::env::var_os(TOLD).is_none() {
        return;
    }
    let mut lease = Lease::take(plan()).unwrap();
    let progress = lease.set(Moment::default(), Rung::Up);
    assert!(progress.settled, "{progress:?}");
    println!("{HOLDING}");
    loop {
        std::thread::park_timeout(Duration::MAX);
    }
}

/// Starts a holder inside a namespace and waits until it holds the lease on the best rung.
pub(crate) fn start(namespace: &Namespace, log: &Path) -> Result<Process> {
    let this = std::env::current_exe()?;
    let mut command = namespace.command(this.to_str().context("a path of text")?)?;
    command.args(["--exact", "holder::holds_where_it_is_told_to", "--nocapture"]).env(TOLD, "1");
    let mut holder = Process::spawn("holder", &command, log)?;
    let deadline = Instant::now() + LIMIT;
    loop {
        let line = holder.line(deadline)?.with_context(|| format!("no lease: {}", holder.log_tail()))?;
        if line.contains(HOLDING) {
            return Ok(holder);
        }
    }
}
