//! A TUN interface that lives as long as its descriptor.
//!
//! Closing the descriptor, which the kernel does for a process that dies in whatever way, removes the interface with
//! its addresses and routes. Nothing is ever sent through the interface on purpose and nobody reads the descriptor: what
//! the kernel itself puts there (reports of multicast membership) waits in the device's queue, which is bounded by the
//! interface's `txqueuelen`, and is dropped and counted once that is full. No sender ever blocks on it.

use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::sys::{self, InterfaceRequest};

/// Where the kernel gives out TUN interfaces.
const DEVICE: &str = "/dev/net/tun";

/// Octets of the longest name.
pub const NAME_MAX_LEN: usize = sys::INTERFACE_NAME_LEN - 1;

/// A non-persistent TUN interface.
#[derive(Debug)]
pub struct Tun {
    fd: OwnedFd,
    name: String,
}

impl Tun {
    /// Makes an interface of this name and holds it.
    ///
    /// # Errors
    /// A name that the kernel would not take as it is, no permission, another process that holds an interface of the
    /// name, or an interface that would stay behind when the holder is gone; in words for the operator.
    pub fn create(name: &str) -> io::Result<Tun> {
        let padded = padded(name)?;
        // The standard library opens everything with O_CLOEXEC.
        let device = OpenOptions::new().read(true).write(true).open(DEVICE).map_err(|error| {
            told(&error, format!("cannot open {DEVICE}: {error}; it takes the kernel module `tun` and root or a rule that lets this user open it"))
        })?;
        let fd = OwnedFd::from(device);
        let mut request = InterfaceRequest::new(padded, libc::IFF_TUN | libc::IFF_NO_PI);
        sys::set_interface(fd.as_fd(), &mut request).map_err(|error| refusal(name, &error))?;
        Tun::holding(fd)
    }

    /// Takes over the descriptor of an interface from the process that held it before.
    ///
    /// # Errors
    /// It is not the descriptor of a TUN interface, or of one that would stay behind when the holder is gone.
    pub fn adopt(fd: OwnedFd) -> io::Result<Tun> {
        sys::close_on_exec(fd.as_fd())?;
        Tun::holding(fd)
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn holding(fd: OwnedFd) -> io::Result<Tun> {
        let request = sys::tun_interface(fd.as_fd())
            .map_err(|error| told(&error, format!("the descriptor holds no TUN interface: {error}")))?;
        let flags = libc::c_int::from(request.flags);
        let len = request.name.iter().position(|octet| *octet == 0).unwrap_or(request.name.len());
        let name = String::from_utf8_lossy(&request.name[..len]).into_owned();
        if flags & libc::IFF_TUN == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{name} is not a TUN interface"),
            ));
        }
        // Such an interface was made by `ip tuntap add` or its like, and attaching to it succeeds.
        if flags & libc::IFF_PERSIST != 0 {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!(
                    "interface {name} is there already and persistent: it would stay, with its routes, when its \
                     holder dies; remove it with `ip tuntap del dev {name} mode tun`, or take another name"
                ),
            ));
        }
        Ok(Tun { fd, name })
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Tun> for OwnedFd {
    fn from(tun: Tun) -> OwnedFd {
        tun.fd
    }
}

impl fmt::Display for Tun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name)
    }
}

/// The name as the kernel wants it. Stricter than the kernel in one thing: `%`, which it takes for a pattern to be
/// filled in.
fn padded(name: &str) -> io::Result<[u8; sys::INTERFACE_NAME_LEN]> {
    let odd = |octet: u8| !octet.is_ascii_graphic() || matches!(octet, b'/' | b':' | b'%');
    let trouble = if name.is_empty() || name.len() > NAME_MAX_LEN {
        "has to have 1 to 15 octets"
    } else if name.bytes().any(odd) || matches!(name, "." | "..") {
        "may hold printable ASCII only, without `/`, `:` and `%`"
    } else {
        let mut padded = [0; sys::INTERFACE_NAME_LEN];
        padded[..name.len()].copy_from_slice(name.as_bytes());
        return Ok(padded);
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("interface name {name:?} {trouble}")))
}

/// What the kernel means when it refuses an interface.
fn refusal(name: &str, error: &io::Error) -> io::Error {
    let meaning = match error.raw_os_error() {
        Some(libc::EBUSY) => {
            "another process holds it; is an agent running already? `fuser -v /dev/net/tun` shows who"
                .to_owned()
        }
        Some(libc::EPERM | libc::EACCES) => "it takes CAP_NET_ADMIN".to_owned(),
        Some(libc::EINVAL) => {
            format!(
                "there is an interface of that name and another kind; `ip -d link show dev {name}` shows it"
            )
        }
        _ => "the kernel gives no other reason".to_owned(),
    };
    told(error, format!("cannot make the interface {name}: {error}: {meaning}"))
}

/// The error in words, of the same kind.
fn told(error: &io::Error, words: String) -> io::Error {
    io::Error::new(error.kind(), words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_kernel_would_change_or_refuse() {
        for name in ["", "sixteen-letters-", "a/b", "a b", "tun%d", "..", "ü"] {
            let error = Tun::create(name).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{name:?}: {error}");
        }
        assert!(padded("fifteen-letters").is_ok());
    }

    #[test]
    fn only_a_tun_is_adopted() {
        let file = OpenOptions::new().read(true).open("/dev/null").unwrap();
        assert!(Tun::adopt(file.into()).unwrap_err().to_string().contains("holds no TUN interface"));
    }
}
