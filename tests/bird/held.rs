//! The lease and the kernel, without BIRD: what is put there, what is put right, and what goes with the holder.

use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use anycast::lease::{LeaseError, Link};
use anycast::{Lease, Rung};
use health::Moment;
use rustix::io::{FdFlags, fcntl_setfd};
use starling_tests::netns::{Forwarding, Namespace, usable};
use starling_tests::tools;

use crate::site::{LIMIT, V4, V6, plan};

const NOW: Moment = Moment(Duration::ZERO);

/// Runs a test on a thread inside a namespace of its own.
fn alone(test: impl FnOnce(&Namespace) + Send) {
    if !usable() {
        return;
    }
    let namespace = Namespace::new("lease", Forwarding::Off).expect("a namespace");
    namespace.inside(|| test(&namespace)).expect("the test passes");
}

/// An interface that is none of the lease's: one end of a cable, the other end beside it. Not every kernel has simpler ones.
fn add_interface(namespace: &Namespace, name: &str) {
    namespace.ip(&format!("link add {name} type veth peer name other0")).expect("a cable");
    namespace.link_up(name).expect("it goes up");
    namespace.link_up("other0").expect("it goes up");
}

/// The routes of the lease's table as `ip` shows them, a line each.
fn table(namespace: &Namespace) -> Vec<String> {
    let both = ["-4 route show table 5353", "-6 route show table 5353"].map(|arguments| {
        // `ip` calls a table an error that never had a route.
        namespace.ip(arguments).unwrap_or_default()
    });
    both.concat().lines().map(|line| line.trim().to_owned()).collect()
}

#[test]
fn what_is_put_there() {
    alone(|namespace| {
        let mut lease = Lease::take(plan()).unwrap();
        assert_eq!(table(namespace), [""; 0]);
        assert_eq!(lease.held(), Rung::Down);
        assert!(lease.set(NOW, Rung::Up).settled);
        let routes = table(namespace);
        assert_eq!(routes.len(), 2, "{routes:?}");
        assert!(
            routes[0].starts_with(&format!("{V4} dev starling0 proto 153 scope link metric 100")),
            "{routes:?}"
        );
        assert!(routes[1].starts_with(&format!("{V6} dev starling0 proto 153 metric 100")), "{routes:?}");
        let addresses = namespace.ip("-o address show dev starling0").unwrap();
        assert_eq!(addresses.lines().count(), 2, "{addresses}");
        assert!(addresses.contains("203.0.113.53/32 scope link noprefixroute"), "{addresses}");
        for word in ["2001:db8:53::53/128 scope global", " deprecated ", " nodad "] {
            assert!(addresses.contains(word), "{word}: {addresses}");
        }
        assert_eq!(addresses.matches(" noprefixroute ").count(), 2, "{addresses}");
        assert!(!addresses.contains("fe80") && !addresses.contains("tentative"), "{addresses}");
        let main = namespace.ip("-4 route show table main").unwrap()
            + &namespace.ip("-6 route show table main").unwrap();
        assert!(!main.contains("starling0"), "{main}");
        assert_eq!(lease.verify().unwrap().differences(Rung::Up), [""; 0]);
        // Let go: all of it is gone, and comes back when it is asked for.
        lease.let_go();
        assert!(lease.as_fd().is_none() && lease.held() == Rung::Down);
        // A child of another test has the descriptor, too, until it becomes its program.
        let gone = || Ok(table(namespace).is_empty().then_some(()));
        tools::poll("the routes are gone", LIMIT, gone).unwrap();
        assert!(namespace.ip("link show dev starling0").is_err());
        assert!(lease.set(NOW, Rung::Draining).settled);
        assert_eq!(table(namespace).len(), 2);
    });
}

#[test]
fn service_addresses_work_and_are_not_chosen_as_sources() {
    alone(|namespace| {
        let _lease = Lease::take(plan()).unwrap();
        for address in ["203.0.113.53", "2001:db8:53::53"] {
            let listener = TcpListener::bind((address, 0)).unwrap();
            let to = listener.local_addr().unwrap();
            // An IPv6 address is reachable a moment after it was added, when a kernel thread has been at it.
            tools::poll(&format!("{address} is reachable"), LIMIT, || {
                Ok(TcpStream::connect_timeout(&to, Duration::from_secs(1)).ok())
            })
            .unwrap();
        }
        // An uplink without an address of the family leaves the kernel to look elsewhere.
        add_interface(namespace, "up0");
        namespace.ip("route add default dev up0").unwrap();
        let chosen = namespace.ip("route get 198.51.100.1").unwrap_or_default();
        assert!(!chosen.contains("203.0.113.53"), "{chosen}");
        namespace.ip("-6 route add default dev up0").unwrap();
        namespace.add_address("lo", "2001:db8:1::1/128").unwrap();
        let chosen = namespace.ip("-6 route get 2001:db8:2::1").unwrap();
        assert!(chosen.contains("src 2001:db8:1::1"), "{chosen}");
    });
}

#[test]
fn what_others_change_is_put_right() {
    alone(|namespace| {
        let mut lease = Lease::take(plan()).unwrap();
        assert!(lease.set(NOW, Rung::Degraded).settled);
        let spoil = [
            format!("route del {V4} table 5353"),
            format!("route add {V4} dev starling0 table 5353 proto 153 metric 100"),
            format!("route add {V6} dev starling0 table 5353 proto 153 metric 7"),
            "address del 203.0.113.53/32 dev starling0".to_owned(),
            "address del 2001:db8:53::53/128 dev starling0".to_owned(),
            "address add 192.0.2.77/32 dev starling0".to_owned(),
            "link set dev starling0 down".to_owned(),
            "link delete dev starling0".to_owned(),
        ];
        for change in spoil {
            namespace.ip(&change).unwrap();
            let found = lease.repair(NOW).unwrap().found;
            // An address too many harms nobody, and goes with the next repair that has a reason.
            assert!(!found.is_empty() || change.contains("192.0.2.77"), "{change}");
            let view = lease.verify().unwrap();
            assert_eq!(view.differences(Rung::Degraded), [""; 0], "{change}");
            assert_eq!(view.link, Link::Up);
            assert_eq!(table(namespace).len(), 2, "{change}");
        }
        let addresses = namespace.ip("address show dev starling0").unwrap();
        assert!(!addresses.contains("192.0.2.77"), "{addresses}");
    });
}

#[test]
fn leftovers_are_removed_at_the_start() {
    alone(|namespace| {
        add_interface(namespace, "old0");
        for prefix in [V4, V6, "192.0.2.0/24"] {
            namespace.ip(&format!("route add {prefix} dev old0 table 5353 proto 153 metric 100")).unwrap();
        }
        namespace.ip("route add 198.51.100.0/24 dev old0 table 5353 proto static").unwrap();
        namespace.ip("route add 198.51.100.0/24 dev old0 table 99 proto 153").unwrap();
        let mut lease = Lease::take(plan()).unwrap();
        let left = table(namespace);
        assert_eq!(left.len(), 1, "{left:?}");
        assert!(left[0].contains("proto static"), "a route of somebody else's stays: {left:?}");
        assert!(namespace.ip("route show table 99").unwrap().contains("198.51.100.0"));
        assert!(lease.set(NOW, Rung::Up).settled);
    });
}

#[test]
fn taking_over_completes_what_is_there() {
    alone(|namespace| {
        let mut before = Lease::take(plan()).unwrap();
        assert!(before.set(NOW, Rung::Up).settled);
        namespace.ip(&format!("route add {V4} dev starling0 table 5353 proto 153 metric 200")).unwrap();
        // With its last IPv4 address an interface loses its IPv4 routes too, so this takes one of IPv6.
        namespace.ip("address del 2001:db8:53::53/128 dev starling0").unwrap();
        let fd = before.as_fd().unwrap().try_clone_to_owned().unwrap();
        let mut after = Lease::adopt(plan(), fd).unwrap();
        drop(before);
        assert_eq!(after.held(), Rung::Up);
        assert!(namespace.ip("address show dev starling0").unwrap().contains("2001:db8:53::53"));
        assert_eq!(table(namespace).len(), 3, "adopting alone changes no rung's routes");
        assert!(after.set(NOW, Rung::Up).settled);
        assert_eq!(table(namespace).len(), 2);
        // A family without its routes: the rung is the safer one, and the next change completes it.
        namespace.ip(&format!("route del {V6} table 5353")).unwrap();
        let fd = after.as_fd().unwrap().try_clone_to_owned().unwrap();
        let mut last = Lease::adopt(plan(), fd).unwrap();
        assert_eq!(last.held(), Rung::Down);
        assert!(last.set(NOW, Rung::Up).settled);
        assert_eq!(table(namespace).len(), 2);
    });
}

#[test]
fn no_child_inherits_the_descriptor() {
    alone(|namespace| {
        let lease = Lease::take(plan()).unwrap();
        // As it comes from another process: without the flag that keeps it from children.
        let fd = lease.as_fd().unwrap().try_clone_to_owned().unwrap();
        fcntl_setfd(&fd, FdFlags::empty()).unwrap();
        let lease = (lease, Lease::adopt(plan(), fd).unwrap());
        let mut child = Command::new("tail").args(["-f", "/dev/null"]).stdout(Stdio::null()).spawn().unwrap();
        let open: Vec<_> = std::fs::read_dir(format!("/proc/{}/fd", child.id()))
            .unwrap()
            .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
            .collect();
        drop(lease);
        let gone = namespace.ip("link show dev starling0").is_err();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!open.iter().any(|path| path.ends_with("net/tun")), "{open:?}");
        assert!(gone, "a child keeps the interface");
    });
}

#[test]
fn an_interface_that_others_made_is_refused() {
    alone(|namespace| {
        namespace.ip("tuntap add dev starling0 mode tun").unwrap();
        let error = Lease::take(plan()).unwrap_err();
        assert!(matches!(error, LeaseError::Interface(_)), "{error:?}");
        assert!(error.to_string().contains("ip tuntap del dev starling0 mode tun"), "{error}");
        namespace.ip("tuntap del dev starling0 mode tun").unwrap();
        add_interface(namespace, "starling0");
        let error = Lease::take(plan()).unwrap_err().to_string();
        assert!(error.contains("another kind"), "{error}");
        namespace.ip("link del starling0").unwrap();
        let _first = Lease::take(plan()).unwrap();
        let error = Lease::take(plan()).unwrap_err().to_string();
        assert!(error.contains("another process holds it"), "{error}");
    });
}

#[test]
fn a_kernel_that_has_ipv6_off_says_so() {
    alone(|namespace| {
        namespace.sysctl("net.ipv6.conf.default.disable_ipv6", "1").unwrap();
        let error = Lease::take(plan()).unwrap_err().to_string();
        assert!(error.contains("2001:db8:53::53") && error.contains("disable_ipv6"), "{error}");
        assert!(namespace.ip("link show dev starling0").is_err(), "nothing stays of a lease that failed");
    });
}
