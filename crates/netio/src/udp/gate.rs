//! A filter that keeps datagrams out of a socket's queue.

use std::io;
use std::os::fd::AsFd;

use super::UdpListener;
use crate::sys;

/// The loopback interface is the first of every network namespace.
const LOOPBACK_INDEX: u32 = 1;

impl UdpListener {
    /// Lets nothing more into the queue, but for what this host itself sends: the probes of those who judge whether the
    /// server answers. A flood must not make a node look dead, or it goes on to the next.
    ///
    /// # Errors
    /// The kernel has no memory for it.
    pub(crate) fn close_gate(&self) -> io::Result<()> {
        let instruction = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
        let program = [
            instruction(
                libc::BPF_LD | libc::BPF_W | libc::BPF_ABS,
                0,
                0,
                (libc::SKF_AD_OFF + libc::SKF_AD_IFINDEX) as u32,
            ),
            instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, LOOPBACK_INDEX),
            instruction(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX), // the whole datagram
            instruction(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
        ];
        sys::attach_filter(self.as_fd(), &program)
    }

    /// Lets everything in; what it was before does not matter.
    pub(crate) fn open_gate(&self) {
        // ENOENT: it was open. There is no other error for a socket whose filter is not locked.
        let _ = sys::set_int_option(self.as_fd(), libc::SOL_SOCKET, libc::SO_DETACH_FILTER, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::num::NonZeroUsize;

    use crate::udp::{SocketOptions, bind_group};

    #[test]
    fn a_closed_gate_takes_what_this_host_sends_and_opens_again() {
        let group =
            bind_group("127.0.0.1:0".parse().unwrap(), NonZeroUsize::MIN, &SocketOptions::default()).unwrap();
        let listener = &group.listeners[0];
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        let queued = || listener.receive_queue().unwrap().queued_bytes;
        listener.open_gate();
        listener.close_gate().unwrap();
        listener.close_gate().unwrap();
        client.send_to(b"query", listener.address()).unwrap();
        let one = queued();
        assert!(one > 0);
        listener.open_gate();
        client.send_to(b"query", listener.address()).unwrap();
        assert_eq!((queued(), listener.receive_queue().unwrap().drops), (2 * one, 0));
    }
}
