//! A filter that lets only a share of what comes into a socket's queue.

use std::io;
use std::os::fd::AsFd;

use super::UdpListener;
use crate::sys;

/// The loopback interface is the first of every network namespace.
const LOOPBACK_INDEX: u32 = 1;

impl UdpListener {
    /// Lets this share of what comes into the queue, from 0 to 1 and at random; and all that this host itself sends: the
    /// probes of those who judge whether the server answers. A flood must not make a node look dead, or it goes on to the
    /// next.
    ///
    /// # Errors
    /// The kernel has no memory for it.
    pub(crate) fn admit(&self, share: f64) -> io::Result<()> {
        let instruction = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
        let load = |what: i32| {
            instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, (libc::SKF_AD_OFF + what) as u32)
        };
        let admitted = (share.clamp(0.0, 1.0) * f64::from(u32::MAX)) as u32;
        let program = [
            load(libc::SKF_AD_IFINDEX),
            instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 2, 0, LOOPBACK_INDEX),
            load(libc::SKF_AD_RANDOM),
            instruction(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 1, 0, admitted),
            instruction(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX), // the whole datagram
            instruction(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
        ];
        sys::attach_filter(self.as_fd(), &program)
    }

    /// Lets everything in; what it was before does not matter.
    pub(crate) fn admit_all(&self) {
        // ENOENT: it was so. There is no other error for a socket whose filter is not locked.
        let _ = sys::set_int_option(self.as_fd(), libc::SOL_SOCKET, libc::SO_DETACH_FILTER, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::num::NonZeroUsize;

    use crate::udp::{SocketOptions, bind_group};

    #[test]
    fn what_this_host_sends_is_always_let_in() {
        let group =
            bind_group("127.0.0.1:0".parse().unwrap(), NonZeroUsize::MIN, &SocketOptions::default()).unwrap();
        let listener = &group.listeners[0];
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        let queued = || listener.receive_queue().unwrap().queued_bytes;
        listener.admit_all();
        for share in [0.5, 0.0, 1.0, 0.0] {
            listener.admit(share).unwrap();
        }
        client.send_to(b"query", listener.address()).unwrap();
        let one = queued();
        assert!(one > 0);
        listener.admit_all();
        client.send_to(b"query", listener.address()).unwrap();
        assert_eq!((queued(), listener.receive_queue().unwrap().drops), (2 * one, 0));
    }
}
