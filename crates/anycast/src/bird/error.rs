//! Why BIRD could not be asked, or did not do what it was told.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::ProtocolName;

/// What came of a conversation that failed. None of these is a reason to stop serving: BIRD keeps announcing what it
/// announced, or its peers have noticed that it is gone.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BirdError {
    /// Not running, another path, no permission, or stopped with its queue of connections full.
    #[error("cannot connect to BIRD at {}: {source}{}", path.display(), hint(source))]
    Connect {
        /// The control socket.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It accepts connections and says nothing, as a stopped process does, or is very slow.
    #[error("BIRD did not answer {command} within {} ms", limit.as_millis())]
    Deadline {
        /// What was asked.
        command: String,
        /// How long was waited.
        limit: Duration,
    },
    /// The connection broke.
    #[error("BIRD's control socket broke off: {0}")]
    Broken(#[source] io::Error),
    /// Not what the control protocol allows, or more of it than an answer can have.
    #[error("BIRD's answer cannot be read: {0}")]
    Unreadable(&'static str),
    /// The socket is a restricted one.
    #[error(
        "BIRD refuses {command} on this socket: enabling and disabling takes a control socket that is not restricted"
    )]
    Restricted {
        /// What was told.
        command: String,
    },
    /// There is no such protocol in BIRD's configuration.
    #[error("BIRD has no protocol {0}: compare the names in the configuration with `birdc show protocols`")]
    NoProtocol(ProtocolName),
    /// Any other refusal.
    #[error("BIRD refuses {command}: {code:04} {text}")]
    Refused {
        /// What was told.
        command: String,
        /// The code of the reply (BIRD's `doc/reply_codes`).
        code: u16,
        /// Its text.
        text: String,
    },
    /// It took the command, and the protocol is still not in the state it has to be in.
    #[error("BIRD's protocol {name} is {state} and has to be {wanted}")]
    NotYet {
        /// The protocol.
        name: ProtocolName,
        /// The state that was read back.
        state: String,
        /// The state it has to have.
        wanted: &'static str,
    },
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "; is it running, and is its socket there (`birdc show status`)?",
        io::ErrorKind::PermissionDenied => "; the group `bird` may connect on Debian",
        _ => "",
    }
}
