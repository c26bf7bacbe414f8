//! What can go wrong with a lease.

use std::io;

/// Why something about the lease was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// The interface could not be made or taken over.
    #[error("the lease's interface: {0}")]
    Interface(#[source] io::Error),
    /// The descriptor that was handed over holds another interface than the configured one.
    #[error(
        "the interface handed over is {found}, and the configuration says {wanted}; a change of its name takes a restart"
    )]
    OtherInterface {
        /// What the descriptor holds.
        found: String,
        /// What the plan says.
        wanted: String,
    },
    /// The kernel's routing socket could not be opened.
    #[error("cannot open the kernel's routing socket: {0}")]
    Socket(#[source] io::Error),
    /// The kernel refused a change or a question.
    #[error("cannot {action} {object}: {source}{}", hint(source))]
    Kernel {
        /// What was to be done.
        action: &'static str,
        /// With what.
        object: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// A route of somebody else's stands where the lease's has to be.
    #[error(
        "another route for {prefix} with metric {metric} is in table {table}, of protocol {protocol}: the table has to be the lease's alone; `ip route show table {table}` and `ip -6 route show table {table}` show it"
    )]
    Occupied {
        /// The prefix.
        prefix: String,
        /// The metric of the rung.
        metric: u32,
        /// The lease's table.
        table: u32,
        /// The number of who put it there; `/etc/iproute2/rt_protos` has names.
        protocol: u8,
    },
    /// The lease was let go, and is to be taken again first.
    #[error("the lease was let go; there is no interface")]
    LetGo,
}

/// What an operator can do, where the error says enough to know.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; it takes CAP_NET_ADMIN, and for IPv6 addresses also net.ipv6.conf.default.disable_ipv6=0"
        }
        _ => "",
    }
}
