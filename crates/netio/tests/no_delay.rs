//! TCP_NODELAY on sockets of others, with a real kernel; it takes CAP_BPF and CAP_PERFMON.

use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;

use netio::{NoDelay, NoDelayError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::SockRef;

/// For a port; nothing where this user may not, or this kernel can't.
fn for_port(port: u16) -> Option<NoDelay> {
    match NoDelay::for_port(port) {
        Ok(no_delay) => Some(no_delay),
        Err(NoDelayError::Forbidden(error)) => {
            eprintln!("not tested here: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn both_ends_and_listeners_of_the_port() {
    for host in ["127.0.0.1", "[::1]"] {
        let listener = TcpListener::bind(format!("{host}:0")).unwrap();
        let other = TcpListener::bind(format!("{host}:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let Some(no_delay) = for_port(address.port()) else { return };
        let pair = |listener: &TcpListener| {
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            (client, listener.accept().unwrap().0)
        };
        let (client, server) = pair(&listener);
        let (other_client, other_server) = pair(&other);
        assert!(!client.nodelay().unwrap() && !server.nodelay().unwrap());
        assert_eq!(no_delay.apply().unwrap(), 3, "{host}");
        assert!(client.nodelay().unwrap() && server.nodelay().unwrap());
        assert!(SockRef::from(&listener).tcp_nodelay().unwrap());
        assert!(!other_client.nodelay().unwrap() && !other_server.nodelay().unwrap());
        // What is accepted later has it from the listener; who connects has it from the next run.
        let (later_client, later_server) = pair(&listener);
        assert!(later_server.nodelay().unwrap() && !later_client.nodelay().unwrap());
        // A connection that is over, and has no socket any more, is no failure.
        drop((client, server));
        assert!(no_delay.apply().unwrap() >= 3, "{host}");
        assert!(later_client.nodelay().unwrap());
    }
}

/// Whether there may be new sockets, and whether that is so within a while.
fn is_told(no_delay: &NoDelay, seconds: i64) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(no_delay.as_fd(), PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: seconds, tv_nsec: 0 })).expect("a descriptor that can be polled")
        == 1
}

#[test]
fn it_is_told_when_a_socket_of_the_port_begins() {
    const LONG: i64 = 10;
    // A port that nobody listens at, and was chosen by the kernel.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let Some(no_delay) = for_port(port) else { return };
    assert!(!is_told(&no_delay, 0));
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    assert!(is_told(&no_delay, LONG), "one listens");
    no_delay.apply().unwrap();
    assert!(!is_told(&no_delay, 0), "what was heard stays heard");
    let others = TcpListener::bind("127.0.0.1:0").unwrap();
    let _other = (TcpStream::connect(others.local_addr().unwrap()).unwrap(), others.accept().unwrap());
    assert!(!is_told(&no_delay, 0), "another port");
    for _ in 0..2000 {
        // More often than the ring has room, and nobody listens to it.
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        drop((client, listener.accept().unwrap()));
    }
    assert!(is_told(&no_delay, 0), "some were connected");
    let descriptors = no_delay.descriptors().map(|descriptor| descriptor.try_clone_to_owned().unwrap());
    // What remains when a process becomes another program.
    drop(no_delay);
    let no_delay = NoDelay::adopt(descriptors).unwrap();
    assert!(is_told(&no_delay, 0));
    no_delay.apply().unwrap();
    assert!(!is_told(&no_delay, 0));
    let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    assert!(is_told(&no_delay, LONG), "one connects");
    no_delay.apply().unwrap();
    assert!(client.nodelay().unwrap());
}
