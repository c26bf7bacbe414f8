//! Signed variants of zones, made by BIND's tools when the test runs.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::name::Name;
use crate::tools;

/// Validity of the signatures: started long ago, ends far away, and less than 2^31 seconds off now, which
/// the serial arithmetic of RFC 4034 §3.1.5 asks for.
const VALIDITY: [&str; 4] = ["-s", "20240101000000", "-e", "20600101000000"];

/// How a zone denies existence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// NSEC (RFC 4034 §4).
    Nsec,
    /// NSEC3 as RFC 9276 §3.1 wants it: no salt, no extra iterations.
    Nsec3,
    /// The same with opt-out (RFC 5155 §6).
    Nsec3OptOut,
    /// NSEC3 with a salt and five extra iterations.
    Nsec3Salted,
}

impl Denial {
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Nsec => &[],
            Self::Nsec3 => &["-3", "-", "-H", "0"],
            Self::Nsec3OptOut => &["-3", "-", "-H", "0", "-A"],
            Self::Nsec3Salted => &["-3", "5354415234", "-H", "5"],
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Nsec => "nsec",
            Self::Nsec3 => "nsec3",
            Self::Nsec3OptOut => "nsec3-opt-out",
            Self::Nsec3Salted => "nsec3-salted",
        })
    }
}

/// The algorithms that zones are signed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RFC 6605.
    EcdsaP256,
    /// RFC 8080.
    Ed25519,
}

impl Algorithm {
    /// As the tools call it.
    pub fn mnemonic(self) -> &'static str {
        match self {
            Self::EcdsaP256 => "ECDSAP256SHA256",
            Self::Ed25519 => "ED25519",
        }
    }
}

/// Signs zones, children before their parents, so that each parent gets the DS records of its children.
///
/// The signed files land in `folder`; their paths are returned in the order given.
pub fn sign(zones: &[(Name, PathBuf)], denial: Denial, folder: &Path) -> Result<Vec<(Name, PathBuf)>> {
    zones.iter().try_for_each(|(apex, _)| make_keys(apex, Algorithm::EcdsaP256, folder))?;
    sign_with_keys(zones, denial, folder)
}

/// Makes a key for the DNSKEY set of a zone and one for the others, in `folder`.
pub fn make_keys(apex: &Name, algorithm: Algorithm, folder: &Path) -> Result<()> {
    for role in [&["-f", "KSK"][..], &[]] {
        let mut command = Command::new(tools::program("dnssec-keygen")?);
        command.args(["-q", "-a", algorithm.mnemonic()]).args(role);
        run(command.arg("-K").arg(folder).arg(apex.to_string()))?;
    }
    Ok(())
}

/// The same as [`sign`], with the keys that are in the folder.
pub fn sign_with_keys(
    zones: &[(Name, PathBuf)],
    denial: Denial,
    folder: &Path,
) -> Result<Vec<(Name, PathBuf)>> {
    let signzone = tools::program("dnssec-signzone")?;
    let mut signed = Vec::new();
    for (apex, file) in zones {
        let origin = apex.to_string();
        let out = folder.join(format!("{origin}signed"));
        let mut command = Command::new(&signzone);
        // -S takes the keys from the folder, -g the DS records from the children's dsset files. -P skips
        // the check of the result: one thing the tests are there to see is answers that do not validate.
        command.args(["-q", "-S", "-g", "-P"]).args(VALIDITY).args(denial.arguments());
        command
            .arg("-K")
            .arg(folder)
            .arg("-d")
            .arg(folder)
            .arg("-o")
            .arg(&origin)
            .arg("-f")
            .arg(&out)
            .arg(file);
        run(command.current_dir(folder))?;
        signed.push((apex.clone(), out));
    }
    Ok(signed)
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} ended with {}:\n{text}", output.status);
    Ok(())
}
