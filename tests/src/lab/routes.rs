//! When a router's route to the service prefix changes: what its kernel says, as it happens.
//!
//! A netlink socket inside the router's namespace gets a message for each change; the time is taken as it arrives,
//! some ten microseconds after packets began to follow the new route. Polling BIRD would show what it means to do.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::topology::PREFIXES;
use crate::netns::Namespace;

/// `RTMGRP_IPV4_ROUTE` and `RTMGRP_IPV6_ROUTE` of <linux/rtnetlink.h>.
const GROUPS: u32 = 0x40 | 0x400;
/// How often a watcher looks whether it shall end.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
/// Changes kept; a lab makes a few hundred an hour. Older ones are forgotten by halves.
const CHANGES_MAX: usize = 100_000;
/// BIRD replaces a route by taking it out and putting the new one in, within some ten microseconds; what is out for
/// longer was gone.
const REPLACED_WITHIN: Duration = Duration::from_millis(1);

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];
}

impl fmt::Display for Family {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(if *self == Self::V4 { "IPv4" } else { "IPv6" })
    }
}

/// Where a router sends packets for the service prefix; empty where it has no route.
pub type Hops = BTreeSet<String>;

/// A route that has changed.
#[derive(Clone, Debug)]
pub struct Change {
    /// When it was heard of.
    pub at: Instant,
    /// The router.
    pub router: String,
    /// The family.
    pub family: Family,
    /// The interfaces the route has led to since; they bear the neighbours' names.
    pub hops: Hops,
}

/// The changes at all routers, in the order of time.
#[derive(Clone, Default)]
pub struct Timeline {
    changes: Arc<Mutex<Vec<Change>>>,
}

impl Timeline {
    /// Every change from a point in time on.
    #[must_use]
    pub fn since(&self, start: Instant) -> Vec<Change> {
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes.iter().filter(|change| change.at >= start).cloned().collect()
    }

    /// When the last change was.
    #[must_use]
    pub fn last(&self) -> Option<Instant> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).last().map(|change| change.at)
    }

    /// Where each router's routes led at a point in time.
    #[must_use]
    pub fn at(&self, time: Instant) -> BTreeMap<(String, Family), Hops> {
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let before = changes.iter().filter(|change| change.at <= time);
        before.map(|change| ((change.router.clone(), change.family), change.hops.clone())).collect()
    }

    fn push(&self, change: Change) {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        if changes.len() >= CHANGES_MAX {
            changes.drain(..CHANGES_MAX / 2);
        }
        changes.push(change);
    }
}

/// The changes of one router and family, with replacements taken together as one change each.
#[must_use]
pub fn steps(changes: &[Change], router: &str, family: Family) -> Vec<Change> {
    let mut steps: Vec<Change> = Vec::new();
    for change in changes.iter().filter(|change| change.router == router && change.family == family) {
        match steps.last_mut() {
            Some(last) if last.hops.is_empty() && change.at - last.at < REPLACED_WITHIN => {
                last.hops.clone_from(&change.hops);
            }
            _ => steps.push(change.clone()),
        }
    }
    steps.dedup_by(|later, earlier| later.hops == earlier.hops);
    steps
}

/// A thread that listens to the kernel of a router.
pub struct Watcher {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Begins to listen; returns when nothing can be missed any more.
    pub fn start(
        namespace: &Namespace,
        router: &str,
        timeline: &Timeline,
        live: Option<Sender<Change>>,
    ) -> Result<Self> {
        let socket = namespace.inside(|| -> Result<Socket> {
            let mut socket = Socket::new(NETLINK_ROUTE).context("netlink socket")?;
            socket.bind(&SocketAddr::new(0, GROUPS)).context("joining the groups of routes")?;
            Ok(socket)
        })??;
        let interfaces = interfaces(namespace)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, timeline, router) = (Arc::clone(&stop), timeline.clone(), router.to_owned());
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                for (at, route) in heard(&socket) {
                    let Some((family, hops)) = followed(&route, &interfaces) else { continue };
                    let change = Change { at, router: router.clone(), family, hops };
                    timeline.push(change.clone());
                    if let Some(live) = &live {
                        // Whoever shows changes may have gone before the lab ends.
                        let _ = live.send(change);
                    }
                }
            }
        });
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A message about a route: whether it came or went.
enum Heard {
    New(RouteMessage),
    Gone(RouteMessage),
}

/// What has come, after waiting for a moment.
fn heard(socket: &Socket) -> Vec<(Instant, Heard)> {
    let mut waiting = [PollFd::new(socket, PollFlags::IN)];
    if !poll(&mut waiting, Some(&LOOK_EVERY)).is_ok_and(|ready| ready > 0) {
        return Vec::new();
    }
    // An overrun would show as an error here; the socket's 208 KiB hold a thousand messages.
    let Ok((bytes, _)) = socket.recv_from_full() else { return Vec::new() };
    let at = Instant::now();
    let mut found = Vec::new();
    let mut rest = &bytes[..];
    while let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest) {
        // Messages in one datagram begin at multiples of four octets.
        let len = (message.header.length as usize).next_multiple_of(4);
        match message.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(route)) => {
                found.push((at, Heard::New(route)));
            }
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelRoute(route)) => {
                found.push((at, Heard::Gone(route)));
            }
            _ => {}
        }
        rest = rest.get(len..).unwrap_or_default();
        if len == 0 || rest.is_empty() {
            break;
        }
    }
    found
}

/// The family and the next hops, if this is about a service prefix.
fn followed(heard: &Heard, interfaces: &BTreeMap<u32, String>) -> Option<(Family, Hops)> {
    let (Heard::New(route) | Heard::Gone(route)) = heard;
    let destination = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(IpAddr::V4(*address)),
        RouteAttribute::Destination(RouteAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    })?;
    let prefix = format!("{destination}/{}", route.header.destination_prefix_length);
    if !PREFIXES.contains(&prefix.as_str()) {
        return None;
    }
    let family = if destination.is_ipv4() { Family::V4 } else { Family::V6 };
    let mut hops = Hops::new();
    if let Heard::New(route) = heard {
        for attribute in &route.attributes {
            match attribute {
                RouteAttribute::Oif(index) => hops.extend(interfaces.get(index).cloned()),
                RouteAttribute::MultiPath(paths) => {
                    hops.extend(
                        paths.iter().filter_map(|path| interfaces.get(&path.interface_index).cloned()),
                    );
                }
                _ => {}
            }
        }
    }
    Some((family, hops))
}

/// The names of a namespace's interfaces by their index.
fn interfaces(namespace: &Namespace) -> Result<BTreeMap<u32, String>> {
    let listed: serde_json::Value = serde_json::from_str(&namespace.ip("-json link show")?)?;
    let links = listed.as_array().context("`ip -json link show` gives a list")?;
    let named = links.iter().filter_map(|link| {
        Some((u32::try_from(link["ifindex"].as_u64()?).ok()?, link["ifname"].as_str()?.to_owned()))
    });
    // The kernel has what is unreachable over IPv6 lead to `lo`; that is no route.
    Ok(named.filter(|(_, name)| name != "lo").collect())
}
