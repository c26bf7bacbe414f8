//! What the process says with its exit code; `starling --help` tells users the same.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exit {
    /// Fine.
    Fine,
    /// A problem was found, or what was asked for failed.
    Problem,
    /// The command line or the configuration is wrong, and nothing was done.
    Usage,
    /// What was asked can't be told.
    Unknown,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(match exit {
            Exit::Fine => 0,
            Exit::Problem => 1,
            Exit::Usage | Exit::Unknown => 2,
        })
    }
}
