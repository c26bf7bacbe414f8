//! The second driver, and a BIRD that is hung, absent, restricted or restarted.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use anycast::bird::{Asserted, Bird, BirdError, ProtocolName, Protocols, Verification, compare};
use anycast::{Lease, Rung};
use anyhow::{Result, ensure};
use rustix::process::Signal;
use starling_tests::netns::usable;
use starling_tests::tools;

use crate::site::{LIMIT, PREFIXES, Site, block_on, plan, watch};
use crate::upstream::{Look, Talk, Watcher, is_way_down, looks};

fn names(rung: &str) -> Vec<ProtocolName> {
    ["4", "6"].map(|family| ProtocolName::new(&format!("starling_{rung}{family}")).expect("a name")).to_vec()
}

/// The protocols of `protocols.conf`.
fn protocols() -> Protocols {
    Protocols { up: names("up"), degraded: names("degraded"), draining: names("draining") }
}

/// Asserts a rung until BIRD has it, as the agent does from time to time.
fn bring(bird: &Bird, rung: Rung) -> Result<()> {
    tools::poll(&format!("BIRD has {rung}"), LIMIT, || match block_on(protocols().assert(bird, rung)) {
        Ok(_) => Ok(Some(())),
        Err(BirdError::NotYet { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    })
}

#[test]
fn down_the_ladder_with_protocols() {
    if !usable() {
        return;
    }
    let site = Site::start("protocols.conf").unwrap();
    let bird = site.bird();
    let watch = watch(&["upstream4", "upstream6"]);
    block_on(protocols().check(&bird)).unwrap();
    site.node
        .inside(|| {
            let lease = Lease::take(plan()).unwrap();
            let watcher = Watcher::start(&site.upstream_socket(), &PREFIXES).unwrap();
            let way = [
                (Rung::Up, Look::Plain),
                (Rung::Degraded, Look::Worse),
                (Rung::Draining, Look::Shutdown),
                (Rung::Down, Look::Gone),
            ];
            for (rung, look) in way {
                bring(&bird, rung).unwrap();
                site.wait_look(look).unwrap();
                let seen = block_on(bird.observe(&watch));
                assert_eq!(compare(&seen, rung), Verification::Verified, "{rung}: {seen:?}");
                assert_eq!(block_on(protocols().assert(&bird, rung)).unwrap(), Asserted::AsWanted);
            }
            let seen = watcher.stop().unwrap();
            for prefix in PREFIXES {
                assert!(is_way_down(&looks(&seen, prefix)), "{prefix}: {seen:?}");
            }
            // The routes hang on the lease as those of the first driver do.
            bring(&bird, Rung::Up).unwrap();
            site.wait_look(Look::Plain).unwrap();
            drop(lease);
            site.wait_look(Look::Gone).unwrap();
        })
        .unwrap();
}

#[test]
fn what_others_do_to_bird_is_set_again() {
    if !usable() {
        return;
    }
    let site = Site::start("protocols.conf").unwrap();
    let handle = site.node.handle();
    let lease = site.node.inside(|| Lease::take(plan())).unwrap().unwrap();
    assert!(handle.exists());
    bring(&site.bird(), Rung::Up).unwrap();
    site.wait_look(Look::Plain).unwrap();
    let mut talk = Talk::open(&site.node_socket()).unwrap();
    // By hand, and with the file as it is: everything is disabled again, which is the file's state.
    talk.ask("configure").unwrap();
    site.wait_look(Look::Gone).unwrap();
    tools::poll("the state is set again", LIMIT, || {
        Ok(matches!(block_on(protocols().assert(&site.bird(), Rung::Up)), Ok(Asserted::Changed))
            .then_some(()))
    })
    .unwrap();
    site.wait_look(Look::Plain).unwrap();
    // Somebody announces a node that is down.
    bring(&site.bird(), Rung::Down).unwrap();
    site.wait_look(Look::Gone).unwrap();
    talk.ask("enable \"starling_up*\"").unwrap();
    site.wait_look(Look::Plain).unwrap();
    bring(&site.bird(), Rung::Down).unwrap();
    site.wait_look(Look::Gone).unwrap();
    // A restart of BIRD, and one that can't be told anything meanwhile.
    bring(&site.bird(), Rung::Draining).unwrap();
    site.wait_look(Look::Shutdown).unwrap();
    site.kill_node_bird().unwrap();
    let error = block_on(protocols().assert(&site.bird(), Rung::Down)).unwrap_err();
    assert!(matches!(error, BirdError::Connect { .. }), "{error}");
    site.start_node_bird().unwrap();
    tools::poll("BIRD answers again", LIMIT, || {
        Ok(block_on(protocols().assert(&site.bird(), Rung::Draining)).ok())
    })
    .unwrap();
    site.wait_look(Look::Shutdown).unwrap();
    drop(lease);
}

#[test]
fn names_are_checked() {
    if !usable() {
        return;
    }
    let site = Site::start("protocols.conf").unwrap();
    let mut wrong = protocols();
    wrong.degraded = vec![ProtocolName::new("starling_worse4").unwrap()];
    let error = block_on(wrong.check(&site.bird())).unwrap_err();
    assert!(error.to_string().contains("starling_worse4"), "{error}");
    // Nothing is disabled while what replaces it can't be enabled.
    bring(&site.bird(), Rung::Up).unwrap();
    let error = block_on(wrong.assert(&site.bird(), Rung::Degraded)).unwrap_err();
    assert!(matches!(error, BirdError::NoProtocol(_)), "{error}");
    assert_eq!(block_on(protocols().assert(&site.bird(), Rung::Up)).unwrap(), Asserted::AsWanted);
    // And going down disables all it can.
    let error = block_on(wrong.assert(&site.bird(), Rung::Down)).unwrap_err();
    assert!(matches!(error, BirdError::NoProtocol(_)), "{error}");
    let row = Talk::open(&site.node_socket()).unwrap().ask("show protocols starling_up4").unwrap();
    assert!(row.contains(" down "), "{row}");
}

#[test]
fn a_hung_bird_is_an_answer_in_time() {
    if !usable() {
        return;
    }
    let site = Site::start("ebgp-one-upstream.conf").unwrap();
    let watch = watch(&["upstream4", "upstream6"]);
    let limit = Duration::from_millis(200);
    let bird = site.bird().with_limit(limit);
    assert!(block_on(bird.observe(&watch)).is_ok());
    site.signal_node_bird(Signal::STOP).unwrap();
    // So often that its queue of connections runs full, too.
    for _ in 0..20 {
        let began = Instant::now();
        let seen = block_on(bird.observe(&watch));
        let took = began.elapsed();
        assert!(took < limit * 4, "{took:?}");
        assert!(matches!(compare(&seen, Rung::Down), Verification::Unreachable(_)), "{seen:?}");
    }
    site.signal_node_bird(Signal::CONT).unwrap();
    tools::poll("BIRD answers again", LIMIT, || Ok(block_on(bird.observe(&watch)).ok())).unwrap();
}

#[test]
fn a_restricted_socket_will_do_for_watching() {
    if !usable() {
        return;
    }
    let site = Site::start("ebgp-one-upstream.conf").unwrap();
    let watch = watch(&["upstream4", "upstream6"]);
    let one = Protocols { up: watch.protocols.clone(), degraded: Vec::new(), draining: Vec::new() };
    let seen = block_on(restricted(&site).unwrap().observe(&watch)).unwrap();
    assert_eq!(seen, block_on(site.bird().observe(&watch)).unwrap());
    let error = block_on(one.assert(&restricted(&site).unwrap(), Rung::Down)).unwrap_err();
    assert!(matches!(error, BirdError::Restricted { .. }), "{error}");
    assert_eq!(block_on(one.assert(&site.bird(), Rung::Up)).unwrap(), Asserted::AsWanted);
}

/// A socket that passes one conversation on to the node's BIRD after restricting it, since BIRD 2.0.12 has no
/// restricted sockets of its own.
fn restricted(site: &Site) -> Result<Bird> {
    let path = site.file("restricted.ctl");
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path)?;
    let mut bird = UnixStream::connect(site.node_socket())?;
    std::thread::spawn(move || -> Result<u64> {
        let (client, _) = listener.accept()?;
        let (mut to, mut from) = (bird.try_clone()?, client.try_clone()?);
        bird.write_all(b"restrict\n")?;
        // The greeting stays for the client; `0016 Access restricted` is ours.
        let (mut lines, mut client) = (BufReader::new(bird), client);
        let mut line = String::new();
        lines.read_line(&mut line)?;
        client.write_all(line.as_bytes())?;
        line.clear();
        lines.read_line(&mut line)?;
        ensure!(line.starts_with("0016 "), "{line}");
        std::thread::spawn(move || std::io::copy(&mut from, &mut to));
        Ok(std::io::copy(&mut lines, &mut client)?)
    });
    Ok(Bird::new(&path))
}

#[test]
fn whoever_else_answers_there_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let absent = Bird::new(&folder.path().join("absent.ctl"));
    let error = block_on(absent.observe(&watch(&["a"]))).unwrap_err();
    assert!(error.to_string().contains("is it running"), "{error}");
    let cases: [(&[u8], &str); 4] = [
        (b"220 mail.example ESMTP\n", "cannot be read"),
        (b"0013 Daemon is up and running\n", "does not greet"),
        (b"", "broke off"),
        (&[b'0'; 300_000], "does not end"),
    ];
    for (number, (greeting, part)) in cases.into_iter().enumerate() {
        let path = folder.path().join(format!("{number}.ctl"));
        let listener = UnixListener::bind(&path).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // Whether all of it is read is the other side's matter.
            let _ = stream.write_all(greeting);
        });
        let error = block_on(Bird::new(&path).observe(&watch(&["a"]))).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
        server.join().unwrap();
    }
}
