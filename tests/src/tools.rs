//! Where programs and data are found, and what to do about those that are missing.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// Programs the tests run and the Debian package each comes from.
const PACKAGES: &[(&str, &str)] = &[
    ("nsd", "nsd"),
    ("knotd", "knot"),
    ("named", "bind9"),
    ("dnssec-signzone", "bind9-utils"),
    ("dnssec-keygen", "bind9-utils"),
    ("dnsperf", "dnsperf"),
    ("setpriv", "util-linux"),
    ("prlimit", "util-linux"),
    ("taskset", "util-linux"),
    ("chrt", "util-linux"),
    ("unshare", "util-linux"),
    ("ip", "iproute2"),
    ("tc", "iproute2"),
    ("bird", "bird2"),
    ("birdc", "bird2"),
    ("dig", "bind9-dnsutils"),
    ("openssl", "openssl"),
    ("haproxy", "haproxy"),
    ("pdns_server", "pdns-backend-bind"),
    ("pdns_control", "pdns-backend-bind"),
    ("pdnsutil", "pdns-backend-bind"),
    ("python3", "python3"),
    ("ethtool", "ethtool"),
];

/// The path of a program; the error says which package to install.
pub fn program(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Daemons live in sbin, which an unprivileged user's PATH often lacks.
    let sbin = [PathBuf::from("/usr/sbin"), PathBuf::from("/sbin"), PathBuf::from("/usr/local/sbin")];
    for folder in std::env::split_paths(&path).chain(sbin) {
        let candidate = folder.join(name);
        if candidate.is_file() {
            return Ok(candidate);
        }
    }
    let package = PACKAGES.iter().find(|(program, _)| *program == name).map_or(name, |(_, package)| package);
    bail!(
        "{name} is not installed, and this test needs it: \
         `apt-get install --no-install-recommends {package}` (scripts/test installs everything the tests need)"
    )
}

/// The `starling` binary in the target folder this test was built into.
pub fn starling() -> Result<PathBuf> {
    let exe = std::env::current_exe().context("path of the running test")?;
    // target/PROFILE/deps/TEST or target/PROFILE/PROGRAM, so the binary is two folders up or one.
    let mut folder = exe.parent().context("test runs outside a target folder")?;
    if folder.ends_with("deps") {
        folder = folder.parent().context("test runs outside a target folder")?;
    }
    let binary = folder.join("starling");
    if binary.is_file() {
        return Ok(binary);
    }
    bail!("{} does not exist: run `cargo build -p node` (scripts/test does) and try again", binary.display())
}

/// What an executable file is made of.
#[derive(Clone, Copy, Debug)]
pub enum Executable<'a> {
    /// Another one.
    CopyOf(&'a Path),
    /// A script.
    Script(&'a str),
}

/// Copies a file that is to be executed, or makes it of a script, under a path.
///
/// Another process does it. A child that another thread starts has all of this one's descriptors until it becomes its program,
/// and while any can write to a file, the file can't be executed.
///
/// # Errors
/// It can't be made.
pub fn executable(path: &Path, source: Executable<'_>) -> Result<()> {
    let (script, argument) = match source {
        Executable::CopyOf(file) => ("cp \"$1\" \"$0\"", file.as_os_str()),
        Executable::Script(text) => ("printf %s \"$1\" >\"$0\"", OsStr::new(text)),
    };
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("{script} && chmod 755 \"$0\"")).arg(path).arg(argument);
    ensure!(shell.status()?.success(), "{} can't be made", path.display());
    Ok(())
}

/// The repository's root folder.
#[must_use]
pub fn repository() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_owned()
}

/// A file of `tests/data`.
#[must_use]
pub fn data(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(path)
}

/// A file that is real data and not part of the repository: from `STARLING_DATA` or `../shared/data`.
///
/// Prints that the test is skipped where there is none.
#[must_use]
pub fn real_data(file: &str) -> Option<PathBuf> {
    let folder = match std::env::var_os("STARLING_DATA") {
        Some(folder) => PathBuf::from(folder),
        None => repository().join("../shared/data"),
    };
    let path = folder.join(file);
    if path.is_file() {
        return Some(path);
    }
    announce(&format!("SKIPPED: there is no {} (set STARLING_DATA to the folder it is in)", path.display()));
    None
}

/// Writes a line the test runner does not capture, so that it shows for passing tests too.
pub fn announce(text: &str) {
    use std::io::Write;
    // Nothing depends on the line arriving: a closed stderr must not fail a test.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Polls a condition until it gives a value; the error says what was waited for.
///
/// The pause between two looks keeps the wait from taking a core away from what is waited for.
pub fn poll<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = condition()? {
            return Ok(value);
        }
        ensure!(Instant::now() < deadline, "{what}: not so after {limit:?}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// Whether long runs are wanted (`scripts/test --long`).
#[must_use]
pub fn long_run() -> bool {
    std::env::var_os("STARLING_LONG").is_some_and(|value| value == "1")
}
