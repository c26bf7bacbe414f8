//! What the lab stands on: namespaces that come, are joined, and go again.

use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use starling_tests::netns::{Forwarding, Namespace, cable, usable};
use starling_tests::tools;

#[test]
fn a_cable_carries_both_families() {
    if !usable() {
        return;
    }
    let left = Namespace::new("left", Forwarding::Off).unwrap();
    let right = Namespace::new("right", Forwarding::Off).unwrap();
    cable((&left, "a"), (&right, "b")).unwrap();
    for (namespace, interface, number) in [(&left, "a", 1), (&right, "b", 2)] {
        namespace.add_address(interface, &format!("10.0.0.{number}/24")).unwrap();
        namespace.add_address(interface, &format!("fd00::{number}/64")).unwrap();
    }
    for address in ["10.0.0.2", "fd00::2"] {
        let listener = right.inside(|| TcpListener::bind((address, 0))).unwrap().unwrap();
        let to = listener.local_addr().unwrap();
        let reached = left.inside(|| TcpStream::connect_timeout(&to, Duration::from_secs(5))).unwrap();
        assert!(reached.is_ok(), "{to} through the cable: {reached:?}");
        let outside = TcpStream::connect_timeout(&to, Duration::from_millis(200));
        assert!(outside.is_err(), "{to} is reached from outside of the namespace");
    }
    right.link_down("b").unwrap();
    let carrier = left.ip("link show dev a").unwrap();
    assert!(carrier.contains("NO-CARRIER"), "{carrier}");
}

#[test]
fn nothing_stays_behind() {
    if !usable() {
        return;
    }
    let namespace = Namespace::new("gone", Forwarding::On).unwrap();
    let handle = namespace.handle();
    let mut command = namespace.command("tail").unwrap();
    let mut inside =
        command.args(["-f", "/dev/null"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    tools::poll("the process is inside", Duration::from_secs(5), || {
        let pids = Command::new("ip").args(["netns", "pids", namespace.name()]).output()?;
        Ok(String::from_utf8_lossy(&pids.stdout).contains(&inside.id().to_string()).then_some(()))
    })
    .unwrap();
    drop(namespace);
    assert!(!handle.exists());
    assert_eq!(inside.wait().unwrap().signal(), Some(9));
}

#[test]
fn what_a_killed_test_left_is_removed() {
    if !usable() {
        return;
    }
    // No process has this id: the kernel's limit is 4,194,304.
    let leftover = "starling-4194305-0-leftover";
    // Made before the first namespace of this process or after it, that depends on the order of tests; `ip` says
    // so when there is one already, which is as good.
    let _ = Command::new("ip").args(["netns", "add", leftover]).output().unwrap();
    starling_tests::netns::remove_leftovers();
    assert!(!std::path::Path::new("/run/netns").join(leftover).exists());
}
