//! How frames travel: one packet of a socket pair each, with the descriptors that belong to it.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, IoSlice, IoSliceMut};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Instant;
use tokio::io::unix::AsyncFd;

/// The longest frame in octets. The longest there is, a beat with the most threads and zones, has some 40 KiB; the
/// kernel's default buffer holds several of these.
pub(crate) const FRAME_MAX: usize = 64 << 10;
/// The most descriptors with a frame; the kernel takes 253 (SCM_MAX_FD).
pub(crate) const DESCRIPTORS_MAX: usize = 64;

const CONTROL_SPACE: usize = rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX));

/// One end of a link, for a plain thread: sends frames of one kind and receives those of another.
#[derive(Debug)]
pub(crate) struct LinkEnd<S, R> {
    fd: OwnedFd,
    frames: PhantomData<fn(S) -> R>,
}

/// A frame with the descriptors that came with it.
pub(crate) type Received<R> = (R, Vec<OwnedFd>);

impl<S: Serialize, R: DeserializeOwned> LinkEnd<S, R> {
    /// A new link: this end, and the other as a descriptor to be another process's standard input.
    ///
    /// # Errors
    /// Out of descriptors.
    pub(crate) fn pair() -> io::Result<(LinkEnd<S, R>, OwnedFd)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((LinkEnd { fd: ours, frames: PhantomData }, theirs))
    }

    /// The end that this process was started with as its standard input, which becomes `/dev/null`.
    ///
    /// # Errors
    /// Standard input can't be replaced, or is no socket.
    pub(crate) fn from_stdin() -> io::Result<LinkEnd<S, R>> {
        let fd = io::stdin().as_fd().try_clone_to_owned()?;
        let null = std::fs::File::open("/dev/null")?;
        rustix::stdio::dup2_stdin(&null)?;
        LinkEnd::from_fd(fd)
    }

    /// An end that another program has had.
    ///
    /// # Errors
    /// It is no socket of this kind.
    pub(crate) fn from_fd(fd: OwnedFd) -> io::Result<LinkEnd<S, R>> {
        if rustix::net::sockopt::socket_type(&fd)? != SocketType::SEQPACKET {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the descriptor is no link"));
        }
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(LinkEnd { fd, frames: PhantomData })
    }

    /// Sends a frame and descriptors with it, without waiting.
    ///
    /// # Errors
    /// `WouldBlock` when the other end does not read, or that it is gone.
    pub(crate) fn send(&self, frame: &S, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let text = serde_json::to_vec(frame)?;
        if text.len() > FRAME_MAX || fds.len() > DESCRIPTORS_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the frame is too long for a packet"));
        }
        let mut space = [MaybeUninit::uninit(); CONTROL_SPACE];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            let fits = control.push(SendAncillaryMessage::ScmRights(fds));
            debug_assert!(fits, "there is space for the most descriptors");
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        rustix::io::retry_on_intr(|| sendmsg(&self.fd, &[IoSlice::new(&text)], &mut control, flags))?;
        Ok(())
    }

    /// Takes a frame that has arrived, with its descriptors.
    ///
    /// # Errors
    /// `WouldBlock` when none has, `UnexpectedEof` when the other end is gone, `InvalidData` for what is no frame.
    pub(crate) fn try_receive(&self) -> io::Result<Received<R>> {
        let mut text = vec![0; FRAME_MAX];
        let mut space = [MaybeUninit::uninit(); CONTROL_SPACE];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let received = rustix::io::retry_on_intr(|| {
            recvmsg(&self.fd, &mut [IoSliceMut::new(&mut text)], &mut control, flags)
        });
        let received = match received {
            Ok(received) if received.bytes == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(Errno::CONNRESET) => return Err(io::ErrorKind::UnexpectedEof.into()),
            received => received?,
        };
        let mut fds = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame is longer than any may be"));
        }
        let frame = serde_json::from_slice(&text[..received.bytes])
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("no frame: {error}")))?;
        Ok((frame, fds))
    }

    /// Waits for a frame until the deadline; none when it has passed.
    ///
    /// # Errors
    /// As [`LinkEnd::try_receive`], but for `WouldBlock`.
    pub(crate) fn receive_until(&self, deadline: Instant) -> io::Result<Option<Received<R>>> {
        loop {
            match self.try_receive() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                received => return received.map(Some),
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
            match poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], Some(&left)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The descriptor, for another program.
    pub(crate) fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

impl<S, R> AsRawFd for LinkEnd<S, R> {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl<S, R> AsFd for LinkEnd<S, R> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// One end of a link, for a task.
#[derive(Debug)]
pub(crate) struct AsyncLink<S, R> {
    end: AsyncFd<LinkEnd<S, R>>,
}

impl<S: Serialize, R: DeserializeOwned> AsyncLink<S, R> {
    /// Watches an end in the runtime of the calling task.
    ///
    /// # Errors
    /// The runtime can't watch it.
    pub(crate) fn new(end: LinkEnd<S, R>) -> io::Result<AsyncLink<S, R>> {
        Ok(AsyncLink { end: watched(end)? })
    }

    /// Sends a frame; where the other end does not read it fails at once instead of waiting.
    ///
    /// # Errors
    /// As [`LinkEnd::send`].
    pub(crate) fn send(&self, frame: &S, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.end.get_ref().send(frame, fds)
    }

    /// Waits for a frame. Nothing is lost when the wait is given up.
    ///
    /// # Errors
    /// As [`LinkEnd::try_receive`], but for `WouldBlock`.
    pub(crate) async fn receive(&self) -> io::Result<Received<R>> {
        loop {
            let mut ready = self.end.readable().await?;
            if let Ok(received) = ready.try_io(|end| end.get_ref().try_receive()) {
                return received;
            }
        }
    }

    /// The descriptor, for another program.
    pub(crate) fn into_fd(self) -> OwnedFd {
        self.end.into_inner().into_fd()
    }
}

/// Lets the runtime of the calling task watch what owns a descriptor.
///
/// # Errors
/// The runtime can't watch it.
#[expect(
    deprecated,
    reason = "its successor is `unsafe`, for descriptors that are closed or replaced while they are watched: `AsFd` and \
              ownership rule that out here"
)]
pub(crate) fn watched<T: AsFd + AsRawFd>(owner: T) -> io::Result<AsyncFd<T>> {
    AsyncFd::new(owner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::time::Duration;

    type Numbers = LinkEnd<u32, u32>;

    fn linked() -> (Numbers, Numbers) {
        let (one, other) = Numbers::pair().unwrap();
        (one, Numbers::from_fd(other).unwrap())
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[test]
    fn frames_keep_their_order_and_their_descriptors() {
        let (one, other) = linked();
        let (mut read, write) = io::pipe().unwrap();
        one.send(&1, &[]).unwrap();
        one.send(&2, &[write.as_fd()]).unwrap();
        drop(write);
        assert_eq!(other.receive_until(soon()).unwrap().unwrap().0, 1);
        let (frame, fds) = other.receive_until(soon()).unwrap().unwrap();
        assert_eq!((frame, fds.len()), (2, 1));
        let flags = rustix::io::fcntl_getfd(&fds[0]).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC), "no child inherits it");
        let mut file = std::fs::File::from(fds.into_iter().next().unwrap());
        file.write_all(b"x").unwrap();
        drop(file);
        let mut text = String::new();
        read.read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
    }

    #[test]
    fn an_end_that_is_gone_is_told_after_what_it_sent() {
        let (one, other) = linked();
        one.send(&7, &[]).unwrap();
        drop(one);
        assert_eq!(other.receive_until(soon()).unwrap().unwrap().0, 7);
        let error = other.receive_until(soon()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(other.send(&8, &[]).is_err());
    }

    #[test]
    fn an_end_that_does_not_read_blocks_nobody() {
        let (one, _other) = linked();
        let error = (0..100_000).find_map(|number| one.send(&number, &[]).err()).unwrap();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn nothing_comes_until_the_deadline() {
        let (one, _other) = linked();
        assert!(one.receive_until(Instant::now() + Duration::from_millis(1)).unwrap().is_none());
    }

    #[test]
    fn what_is_no_frame_is_an_error() {
        let (texts, other) = LinkEnd::<String, u32>::pair().unwrap();
        let other = Numbers::from_fd(other).unwrap();
        texts.send(&"seven".to_owned(), &[]).unwrap();
        assert_eq!(other.receive_until(soon()).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
