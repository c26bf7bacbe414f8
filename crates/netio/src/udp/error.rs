//! Why a socket could not be opened, and what to do about it.

use std::io;
use std::net::{IpAddr, SocketAddr};

/// A UDP socket that could not be set up.
#[derive(Debug)]
#[non_exhaustive]
pub struct BindError {
    /// The address it was to be bound to.
    pub address: SocketAddr,
    /// What failed.
    pub step: BindStep,
    /// The system's error.
    pub source: io::Error,
}

/// The steps of setting up a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BindStep {
    /// Opening the socket.
    Open,
    /// Setting the named option.
    SetOption(&'static str),
    /// Binding to the address.
    Bind,
    /// Reading back the bound address.
    ReadAddress,
    /// Reading the allowed CPUs or attaching the program that chooses a worker.
    Steer,
}

impl BindError {
    pub(super) fn new(address: SocketAddr, step: BindStep, source: io::Error) -> BindError {
        BindError { address, step, source }
    }

    pub(super) fn is_address_in_use(&self) -> bool {
        self.step == BindStep::Bind && self.source.raw_os_error() == Some(libc::EADDRINUSE)
    }

    /// What an operator can do, where the error says enough to know.
    fn advice(&self) -> Option<String> {
        let ip = self.address.ip();
        let port = self.address.port();
        let advice = match (self.step, self.source.raw_os_error()?) {
            (BindStep::Bind, libc::EADDRINUSE) => format!(
                "another process listens there, `ss -lunp 'sport = :{port}'` shows which: stop it, or listen \
                 on another address or port"
            ),
            (BindStep::Bind, libc::EACCES) => format!(
                "port {port} needs root, CAP_NET_BIND_SERVICE, or a lower net.ipv4.ip_unprivileged_port_start"
            ),
            (BindStep::Bind, libc::EADDRNOTAVAIL) => {
                let prefix_len = if ip.is_ipv4() { 32 } else { 128 };
                format!(
                    "no interface has this address: add it (`ip address add {ip}/{prefix_len} dev …`), or \
                     allow an address that comes later"
                )
            }
            (BindStep::Bind, libc::EINVAL) if is_link_local(ip) => {
                "a link-local address needs its interface, as in [fe80::1%2]:53 with the interface's number"
                    .to_owned()
            }
            (BindStep::Open, libc::EAFNOSUPPORT) if ip.is_ipv6() => {
                "this kernel runs without IPv6: remove the address, or enable IPv6".to_owned()
            }
            (BindStep::Open, libc::EMFILE | libc::ENFILE) => {
                "too many open files: raise the limit (`ulimit -n`, LimitNOFILE=)".to_owned()
            }
            _ => return None,
        };
        Some(advice)
    }
}

fn is_link_local(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

impl std::fmt::Display for BindError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let BindError { address, step, source } = self;
        match step {
            BindStep::Open => write!(f, "cannot open a UDP socket for {address}: {source}")?,
            BindStep::SetOption(name) => write!(f, "cannot set {name} on UDP {address}: {source}")?,
            BindStep::Bind => write!(f, "cannot listen on UDP {address}: {source}")?,
            BindStep::ReadAddress => write!(f, "cannot read the bound address of UDP {address}: {source}")?,
            BindStep::Steer => write!(f, "cannot steer datagrams of UDP {address} to workers: {source}")?,
        }
        match self.advice() {
            Some(advice) => write!(f, "; {advice}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_the_address_and_what_to_do() {
        let cases = [
            ("192.0.2.53:53", BindStep::Bind, libc::EACCES, "CAP_NET_BIND_SERVICE"),
            ("192.0.2.53:53", BindStep::Bind, libc::EADDRINUSE, "sport = :53"),
            ("[2001:db8::53]:53", BindStep::Bind, libc::EADDRNOTAVAIL, "2001:db8::53/128"),
            ("[fe80::1]:53", BindStep::Bind, libc::EINVAL, "interface"),
            ("[::1]:53", BindStep::Open, libc::EAFNOSUPPORT, "without IPv6"),
            ("127.0.0.1:53", BindStep::Open, libc::EMFILE, "ulimit"),
            ("127.0.0.1:53", BindStep::SetOption("IP_PKTINFO"), libc::EINVAL, "IP_PKTINFO"),
        ];
        for (address, step, errno, expected) in cases {
            let error = BindError::new(address.parse().unwrap(), step, io::Error::from_raw_os_error(errno));
            let text = error.to_string();
            assert!(text.contains(address), "{text}");
            assert!(text.contains(expected), "{text}");
        }
    }
}
