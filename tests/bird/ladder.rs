//! Up the ladder and down, with the real BIRD of the node and what its upstream sees of it.

use std::time::{Duration, Instant};

use anycast::bird::{SessionState, Verification, compare};
use anycast::{Lease, Rung};
use anyhow::{Context, Result, ensure};
use health::Moment;
use rustix::process::Signal;
use starling_tests::netns::usable;
use starling_tests::tools;

use crate::holder;
use crate::site::{LIMIT, PREFIXES, Site, V4, V6, block_on, plan, watch};
use crate::upstream::{Look, Talk, Watcher, is_way_down, looks};

/// How often the holder is killed.
const KILLS: usize = 7;
/// What is promised for the withdrawal.
const PROMISED: Duration = Duration::from_millis(10);
/// What half of them may take: tests run beside others on machines with two busy cores, where all that has to run in between
/// waits for its turn. Without the lease it would be the hold time, 9 s. The worst is only told: one in a hundred meets a
/// BIRD that doesn't get to run for seconds.
const MEDIAN: Duration = Duration::from_millis(100);

/// The way down, and how each step looks to the upstream.
const WAY: [(Rung, Look); 4] = [
    (Rung::Up, Look::Plain),
    (Rung::Degraded, Look::Worse),
    (Rung::Draining, Look::Shutdown),
    (Rung::Down, Look::Gone),
];

/// How far apart the two families may be seen to change. Both are changed within a millisecond; the rest is for BIRD, for
/// the upstream's, and for a machine that is busy.
const APART: Duration = Duration::from_secs(1);

/// Takes a node down the ladder and expects each step at each upstream, without a gap, and in BIRD's own words.
fn descend(template: &str, protocols: &[&str]) -> Result<()> {
    if !usable() {
        return Ok(());
    }
    let site = Site::start(template)?;
    let watchers: Vec<Watcher> = site
        .upstream_sockets()
        .iter()
        .map(|socket| Watcher::start(socket, &PREFIXES))
        .collect::<Result<_>>()?;
    site.node.inside(|| step_by_step(&site, protocols))??;
    for watcher in watchers {
        let seen = watcher.stop()?;
        for prefix in PREFIXES {
            ensure!(is_way_down(&looks(&seen, prefix)), "{prefix} was seen otherwise in between: {seen:?}");
        }
        let at = |prefix| seen.iter().filter(move |seen| seen.prefix == prefix).map(|seen| seen.at);
        let apart = at(V4).zip(at(V6)).map(|(v4, v6)| v4.max(v6) - v4.min(v6)).max().unwrap_or_default();
        ensure!(apart < APART, "the families were apart for {apart:?}");
    }
    Ok(())
}

fn step_by_step(site: &Site, protocols: &[&str]) -> Result<()> {
    let watch = watch(protocols);
    let mut lease = Lease::take(plan())?;
    for (rung, look) in WAY {
        let progress = lease.set(Moment::default(), rung);
        ensure!(progress.settled, "{progress:?}");
        site.wait_look(look)?;
        let seen = block_on(site.bird().observe(&watch));
        ensure!(compare(&seen, rung) == Verification::Verified, "{rung}: {seen:?}");
        for other in Rung::ALL.into_iter().filter(|other| *other != rung) {
            let verification = compare(&seen, other);
            ensure!(matches!(verification, Verification::Differs(_)), "{rung} is taken for {other}");
        }
    }
    Ok(())
}

#[test]
fn down_the_ladder_to_another_as() {
    descend("ebgp-one-upstream.conf", &["upstream4", "upstream6"]).unwrap();
}

#[test]
fn down_the_ladder_to_two_upstreams() {
    let protocols = ["upstream_a4", "upstream_a6", "upstream_b4", "upstream_b6"];
    descend("ebgp-two-upstreams.conf", &protocols).unwrap();
}

#[test]
fn down_the_ladder_within_an_as() {
    descend("ibgp.conf", &["router4", "router6"]).unwrap();
}

#[test]
fn a_killed_holder_is_withdrawn_at_once() {
    if !usable() {
        return;
    }
    let site = Site::start("ebgp-one-upstream.conf").unwrap();
    let mut took: Vec<Duration> = (0..KILLS).map(|_| kill(&site).unwrap()).collect();
    took.sort();
    let (median, worst) = (took[KILLS / 2], took[KILLS - 1]);
    tools::announce(&format!(
        "withdrawn at the upstream after SIGKILL of the holder: median {:.1} ms, worst of {KILLS} {:.1} ms (promised: {} ms)",
        median.as_secs_f64() * 1e3,
        worst.as_secs_f64() * 1e3,
        PROMISED.as_millis()
    ));
    assert!(median < MEDIAN, "{took:?}");
}

/// Kills a holder; gives how long both prefixes were still there.
fn kill(site: &Site) -> Result<Duration> {
    let mut holder = holder::start(&site.node, &site.file("holder.log"))?;
    site.wait_look(Look::Plain)?;
    let watcher = Watcher::start(&site.upstream_socket(), &PREFIXES)?;
    site.wait_acknowledged()?;
    let killed = Instant::now();
    holder.signal(Signal::KILL)?;
    site.wait_look(Look::Gone)?;
    let seen = watcher.stop()?;
    holder.wait(LIMIT)?;
    let gone = seen.iter().filter(|seen| seen.look == Look::Gone).map(|seen| seen.at).max();
    Ok(gone.context("neither was seen to go")?.saturating_duration_since(killed))
}

#[test]
fn a_frozen_holder_is_not_covered_by_the_lease() {
    if !usable() {
        return;
    }
    // Why agent and server watch each other: the kernel sees nothing wrong with a stopped process.
    let site = Site::start("ebgp-one-upstream.conf").unwrap();
    let holder = holder::start(&site.node, &site.file("holder.log")).unwrap();
    site.wait_look(Look::Plain).unwrap();
    holder.signal(Signal::STOP).unwrap();
    let mut talk = Talk::open(&site.upstream_socket()).unwrap();
    assert_eq!(talk.look(V4).unwrap(), Look::Plain);
    // SIGKILL is what a stopped process still gets.
    holder.signal(Signal::KILL).unwrap();
    site.wait_look(Look::Gone).unwrap();
}

#[test]
fn taking_over_is_not_seen_by_anybody() {
    if !usable() {
        return;
    }
    let site = Site::start("ebgp-one-upstream.conf").unwrap();
    site.node
        .inside(|| {
            let mut before = Lease::take(plan()).unwrap();
            assert!(before.set(Moment::default(), Rung::Degraded).settled);
            site.wait_look(Look::Worse).unwrap();
            let watcher = Watcher::start(&site.upstream_socket(), &PREFIXES).unwrap();
            let fd = before.as_fd().unwrap().try_clone_to_owned().unwrap();
            let mut after = Lease::adopt(plan(), fd).unwrap();
            assert_eq!(after.held(), Rung::Degraded);
            drop(before);
            // Nothing has been set yet: what is seen now is what was taken over.
            site.wait_look(Look::Worse).unwrap();
            assert!(after.set(Moment::default(), Rung::Degraded).settled);
            assert!(after.repair(Moment::default()).unwrap().found.is_empty());
            site.wait_look(Look::Worse).unwrap();
            let seen = watcher.stop().unwrap();
            assert_eq!(seen.len(), PREFIXES.len(), "something changed: {seen:?}");
            drop(after);
            site.wait_look(Look::Gone).unwrap();
        })
        .unwrap();
}

#[test]
fn routes_of_others_are_not_announced() {
    if !usable() {
        return;
    }
    let site = Site::start("ebgp-one-upstream.conf").unwrap();
    site.node
        .inside(|| {
            let mut lease = Lease::take(plan()).unwrap();
            let foreign = "198.51.100.0/24";
            let route =
                |change: &str| site.node.ip(&format!("route {change} dev starling0 table 5353")).unwrap();
            // Another protocol number, and ours for a prefix that is not ours.
            route(&format!("add {foreign} proto static metric 100"));
            route("add 192.88.99.0/24 proto 153 metric 100");
            route(&format!("add {V4} proto static metric 200"));
            assert!(lease.set(Moment::default(), Rung::Up).settled);
            site.wait_look(Look::Plain).unwrap();
            let mut talk = Talk::open(&site.upstream_socket()).unwrap();
            for prefix in [foreign, "192.88.99.0/24"] {
                assert_eq!(talk.look(prefix).unwrap(), Look::Gone, "{prefix}");
            }
            let strays = lease.verify().unwrap().strays;
            assert_eq!(strays.len(), 3, "{strays:?}");
            // A metric that is a rung's and taken: the change can't be made, and what was there stays.
            let progress = lease.set(Moment::default(), Rung::Degraded);
            assert!(!progress.settled && progress.held == Rung::Up);
            let said = progress.troubles[0].error.to_string();
            assert!(said.contains("table 5353") && said.contains("protocol 4"), "{said}");
            site.wait_look(Look::Plain).unwrap();
            // One that the kernel prefers to ours is seen in the table. BIRD 2 prefers it too, which hides ours; BIRD 3 goes on
            // with ours.
            route(&format!("add {V4} proto static metric 50"));
            let watch = watch(&["upstream4", "upstream6"]);
            let hides = !bird_version().contains("BIRD version 3");
            if hides {
                let gone = || Ok((talk.look(V4)? == Look::Gone).then_some(()));
                tools::poll("BIRD no longer announces it", LIMIT, gone).unwrap();
            }
            assert_eq!(lease.set(Moment(Duration::from_secs(9)), Rung::Up).held, Rung::Up);
            assert!(
                lease.verify().unwrap().differences(Rung::Up).iter().any(|text| text.contains("metric 50"))
            );
            let seen = block_on(site.bird().observe(&watch));
            let differs = matches!(compare(&seen, Rung::Up), Verification::Differs(_));
            assert_eq!(differs, hides, "{seen:?}");
            assert_eq!(talk.look(V6).unwrap(), Look::Plain);
        })
        .unwrap();
}

/// What BIRD says of itself.
fn bird_version() -> String {
    let mut command = std::process::Command::new(tools::program("bird").expect("BIRD is there"));
    let output = command.arg("--version").output().expect("it tells its version");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn a_session_that_is_down_is_told_of() {
    if !usable() {
        return;
    }
    let site = Site::start("ebgp-one-upstream.conf").unwrap();
    let mut talk = Talk::open(&site.node_socket()).unwrap();
    talk.ask("disable upstream4").unwrap();
    let watch = watch(&["upstream4", "upstream6", "upstream7"]);
    // BIRD 3 answers before it is done.
    let states = tools::poll("the session is down", LIMIT, || {
        let seen = block_on(site.bird().observe(&watch))?;
        let states: Vec<_> = seen.sessions.into_iter().map(|session| session.state).collect();
        let down = matches!(&states[0], SessionState::Other(words) if words.starts_with("down"));
        Ok(down.then_some(states))
    });
    assert_eq!(states.unwrap()[1..], [SessionState::Established, SessionState::NoProtocol]);
}

#[test]
fn bfd_notices_a_stopped_bird() {
    if !usable() {
        return;
    }
    let site = Site::start("ebgp-bfd.conf").unwrap();
    let _holder = holder::start(&site.node, &site.file("holder.log")).unwrap();
    site.wait_look(Look::Plain).unwrap();
    let mut talk = Talk::open(&site.upstream_socket()).unwrap();
    tools::poll("BFD is up both ways", LIMIT, || {
        Ok((talk.ask("show bfd sessions")?.matches("Up").count() == 2).then_some(()))
    })
    .unwrap();
    let stopped = Instant::now();
    site.signal_node_bird(Signal::STOP).unwrap();
    site.wait_look(Look::Gone).unwrap();
    let took = stopped.elapsed();
    tools::announce(&format!("withdrawn by BFD after SIGSTOP of BIRD: {} ms", took.as_millis()));
    // The hold time is 9 s.
    assert!(took < Duration::from_secs(3), "{took:?}");
}
