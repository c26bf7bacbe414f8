//! Passing the sockets on to a server that is to take this one's place.
//!
//! Descriptors are duplicated, so that both servers have the same sockets: what arrives waits in the one queue of the
//! kernel for whoever asks first. Nothing changes here until the agent says so.

use super::pulse::Pulse;
use crate::link::{DESCRIPTORS_MAX, FromAgent, FromServer, LinkEnd, SocketKind};
use crate::tcp::Role;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long the agent may take to make room for all of the frames. It passes them on at once; while it doesn't, this
/// server doesn't beat, so it is well below what counts as frozen.
const SEND_WITHIN: Duration = Duration::from_millis(250);

type Link = LinkEnd<FromServer, FromAgent>;

/// Sends all sockets. Where that can't be done none are sent, which the other server takes as a refusal.
pub(super) fn send(link: &Link, pulse: Option<&Pulse>) {
    let descriptors = pulse.map_or_else(|| Ok(Vec::new()), duplicates);
    let descriptors = descriptors.unwrap_or_else(|error| {
        tracing::error!(
            "the sockets can't be handed over: {error}; raise the limit of open files if it is that"
        );
        Vec::new()
    });
    match send_all(link, &descriptors) {
        Ok(()) => tracing::info!("{} descriptors were handed over to another server", descriptors.len()),
        Err(error) => {
            tracing::error!("the sockets can't be handed over: the agent does not take them: {error}")
        }
    }
}

/// In the order of the threads.
fn duplicates(pulse: &Pulse) -> io::Result<Vec<(SocketKind, OwnedFd)>> {
    let mut all = Vec::new();
    for (worker, address, socket) in pulse.workers.duplicate_sockets()? {
        all.push((SocketKind::Udp { address, worker: worker as u16 }, socket)); // `WORKERS_MAX`
    }
    for (role, address, listener) in pulse.tcp.duplicate_listeners()? {
        let kind = match role {
            Role::Tcp(thread) => SocketKind::Tcp { address, thread },
            Role::Tls => SocketKind::Tls { address },
        };
        all.push((kind, listener));
    }
    if let Some(lock) = &pulse.lock {
        all.push((SocketKind::StateLock, lock.try_clone()?));
    }
    Ok(all)
}

fn send_all(link: &Link, descriptors: &[(SocketKind, OwnedFd)]) -> io::Result<()> {
    let deadline = Instant::now() + SEND_WITHIN;
    let mut rest = descriptors;
    loop {
        let (now, later) = rest.split_at(rest.len().min(DESCRIPTORS_MAX));
        let sockets = now.iter().map(|(kind, _)| *kind).collect();
        let fds: Vec<BorrowedFd<'_>> = now.iter().map(|(_, descriptor)| descriptor.as_fd()).collect();
        let frame = FromServer::Sockets { sockets, last: later.is_empty() };
        send_until(deadline, link, &frame, &fds)?;
        if later.is_empty() {
            return Ok(());
        }
        rest = later;
    }
}

/// Sends a frame as soon as there is room for it.
fn send_until(deadline: Instant, link: &Link, frame: &FromServer, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    loop {
        match link.send(frame, fds) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            sent => return sent,
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        match poll(&mut [PollFd::new(link, PollFlags::OUT)], Some(&left)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptors(count: usize) -> Vec<(SocketKind, OwnedFd)> {
        let null = std::fs::File::open("/dev/null").unwrap();
        let kind = |worker| SocketKind::Udp { address: "[2001:db8::53]:53".parse().unwrap(), worker };
        (0..count).map(|index| (kind(index as u16), null.try_clone().unwrap().into())).collect()
    }

    #[test]
    fn many_sockets_take_several_frames_and_none_one() {
        for count in [0, 1, DESCRIPTORS_MAX, DESCRIPTORS_MAX + 1, 300] {
            let (server, agent) = Link::pair().unwrap();
            let agent = LinkEnd::<FromAgent, FromServer>::from_fd(agent).unwrap();
            send_all(&server, &descriptors(count)).unwrap();
            let mut workers = Vec::new();
            loop {
                let (FromServer::Sockets { sockets, last }, fds) = agent.try_receive().unwrap() else {
                    panic!("another frame");
                };
                assert_eq!(sockets.len(), fds.len());
                workers.extend(sockets.iter().map(|kind| match kind {
                    SocketKind::Udp { worker, .. } => usize::from(*worker),
                    other => panic!("{other:?}"),
                }));
                if last {
                    break;
                }
            }
            assert_eq!(workers, (0..count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn an_agent_that_does_not_read_is_given_up() {
        let (server, _agent) = Link::pair().unwrap();
        while server.send(&FromServer::Sockets { sockets: Vec::new(), last: false }, &[]).is_ok() {}
        assert_eq!(send_all(&server, &descriptors(1)).unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
