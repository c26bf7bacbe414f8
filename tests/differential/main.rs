//! The same zones and queries to Starling, NSD, Knot and BIND.
//!
//! Where the three peers agree and Starling differs, Starling is wrong. Where the peers differ among
//! themselves, Starling has to side with one of them, and the disputes are counted and printed.
//!
//! `STARLING_PEERS_ONLY=1` compares the peers alone, to see what the harness itself says.

mod cases;
mod compare;
mod disputes;
mod normalise;
mod oddities;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use starling_tests::name::Name;
use starling_tests::server::{Kind, Server, all_alive};
use starling_tests::signing::{Denial, sign};
use starling_tests::tools;
use starling_tests::zonedata::Zones;

/// The zones that are signed in the signed variants, children before parents.
const SIGNED: [(&str, &str); 4] = [
    ("child.everything.example.", "child.zone"),
    ("everything.example.", "everything.zone"),
    ("alias.example.", "alias.zone"),
    ("example.", "parent.zone"),
];
const NEVER_SIGNED: (&str, &str) = ("plain.example.", "plain.zone");

/// Kinds of failures printed, with the first example of each in full.
const FAILURES_SHOWN_MAX: usize = 10;

#[test]
fn everything_plain() -> Result<()> {
    everything("plain", None)
}

#[test]
fn everything_nsec() -> Result<()> {
    everything("nsec", Some(Denial::Nsec))
}

#[test]
fn everything_nsec3() -> Result<()> {
    everything("nsec3", Some(Denial::Nsec3))
}

#[test]
fn everything_nsec3_opt_out() -> Result<()> {
    everything("nsec3 with opt-out", Some(Denial::Nsec3OptOut))
}

#[test]
fn everything_nsec3_salted() -> Result<()> {
    everything("nsec3 with salt and iterations", Some(Denial::Nsec3Salted))
}

fn everything(title: &str, denial: Option<Denial>) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let source = |(apex, file): (&str, &str)| -> Result<(Name, PathBuf)> {
        Ok((Name::parse(apex)?, tools::data("zones").join(file)))
    };
    let mut zones: Vec<_> = SIGNED.into_iter().map(source).collect::<Result<_>>()?;
    if let Some(denial) = denial {
        zones = sign(&zones, denial, folder.path())?;
    }
    zones.push(source(NEVER_SIGNED)?);
    let zones = Zones::read(&zones, folder.path())?;
    judge(title, &cases::around(&zones), &zones, folder.path())
}

/// The root zone of the Internet and what a root server was asked.
#[test]
fn root_zone() -> Result<()> {
    let (Some(zone), Some(queries)) = (tools::real_data("root.zone"), tools::real_data("root-queries.txt"))
    else {
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    let zones = Zones::read(&[(Name::root(), zone)], folder.path())?;
    let questions = cases::captured(&std::fs::read_to_string(queries)?);
    judge("root zone", &questions, &zones, folder.path())
}

fn judge(title: &str, questions: &[cases::Question], zones: &Zones, folder: &Path) -> Result<()> {
    let mut servers = start(zones, folder)?;
    let outcome = compare::compare(&servers, questions, zones);
    // Why a server is silent is in its log.
    all_alive(&mut servers)?;
    finish(title, &outcome?)
}

fn start(zones: &Zones, folder: &Path) -> Result<Vec<Server>> {
    let peers_only = std::env::var_os("STARLING_PEERS_ONLY").is_some_and(|value| value == "1");
    let kinds = if peers_only { &Kind::PEERS[..] } else { &Kind::ALL[..] };
    kinds.iter().map(|kind| Server::start(*kind, &zones.files, folder).context(kind.to_string())).collect()
}

fn finish(title: &str, outcome: &compare::Outcome) -> Result<()> {
    let file = |what: &str| PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{what} {title}.txt"));
    std::fs::write(file("disputes"), outcome.examples())?;
    std::fs::write(file("failures"), outcome.failures(usize::MAX))?;
    tools::announce(&outcome.summary(title));
    tools::announce(&format!("  an example of each in full: {}", file("disputes").display()));
    assert!(
        outcome.failure_count == 0,
        "{title}: {} of {} answers are wrong; an example of each kind is in {}, and here:\n\n{}",
        outcome.failure_count,
        outcome.asked,
        file("failures").display(),
        outcome.failures(FAILURES_SHOWN_MAX)
    );
    Ok(())
}
