//! TCP_NODELAY on sockets of others, with a real kernel; it takes CAP_BPF and CAP_PERFMON.

use std::net::{TcpListener, TcpStream};

use netio::{NoDelay, NoDelayError};
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
