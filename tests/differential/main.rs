//! The same zones and queries to Starling, NSD, Knot and BIND.
//!
//! Where the three peers agree and Starling differs, Starling is wrong. Where the peers differ among
//! themselves, Starling has to side with one of them, and the disputes are counted and printed.
//!
//! `STARLING_PEERS_ONLY=1` compares the peers alone, to see what the harness itself says.

mod cases;
mod compare;
mod disputes;
mod oddities;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use starling_tests::name::Name;
use starling_tests::server::{Kind, Server, all_alive, own_socket_address, starling_secondary};
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

/// Starling has the zones from a peer, by transfer.
#[test]
fn everything_transferred_from_nsd() -> Result<()> {
    transferred("nsec from NSD", Kind::Nsd, Some(Denial::Nsec))
}

/// Unsigned, because Knot sends signatures with the TTL of what they cover, as RFC 4034 §3 wants it, where the master file
/// and so the other peers have another: `ttlmax` was signed for a shorter time than its TTL.
#[test]
fn everything_transferred_from_knot() -> Result<()> {
    transferred("plain from Knot", Kind::Knot, None)
}

#[test]
fn everything_transferred_from_bind() -> Result<()> {
    transferred("nsec3 from BIND", Kind::Bind, Some(Denial::Nsec3))
}

fn transferred(title: &str, primary: Kind, denial: Option<Denial>) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let zones = everything_zones(denial, folder.path())?;
    let listen = own_socket_address()?;
    let start =
        |kind: &Kind| Server::primary(*kind, &zones.files, folder.path(), listen).context(kind.to_string());
    let mut servers = Kind::PEERS.iter().map(start).collect::<Result<Vec<_>>>()?;
    let source = servers.iter().find(|server| server.kind == primary).context("one of the peers")?.address;
    let starling = folder.path().join("starling");
    servers.push(starling_secondary(&zones.files, &[source], listen, &starling, "")?);
    judge_servers(title, &cases::around(&zones), &zones, &mut servers)
}

fn everything(title: &str, denial: Option<Denial>) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let zones = everything_zones(denial, folder.path())?;
    judge(title, &cases::around(&zones), &zones, folder.path())
}

fn everything_zones(denial: Option<Denial>, folder: &Path) -> Result<Zones> {
    let source = |(apex, file): (&str, &str)| -> Result<(Name, PathBuf)> {
        Ok((Name::parse(apex)?, tools::data("zones").join(file)))
    };
    let mut zones: Vec<_> = SIGNED.into_iter().map(source).collect::<Result<_>>()?;
    if let Some(denial) = denial {
        zones = sign(&zones, denial, folder)?;
    }
    zones.push(source(NEVER_SIGNED)?);
    Zones::read(&zones, folder)
}

/// The root zone of the Internet and what a root server was asked.
#[test]
fn root_zone() -> Result<()> {
    let (Some(zone), Some(queries)) = (tools::real_data("root.zone"), tools::real_data("root-queries.txt"))
    else {
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    // Its ZONEMD record is a placeholder of zeros, and a zone that such a record belies is refused here.
    let text = std::fs::read_to_string(zone)?;
    let lines = text.lines().filter(|line| !line.contains("\tTYPE63\t\\#"));
    let zone = folder.path().join("root-without-zonemd");
    std::fs::write(&zone, lines.map(|line| format!("{line}\n")).collect::<String>())?;
    let zones = Zones::read(&[(Name::root(), zone)], folder.path())?;
    let questions = cases::captured(&std::fs::read_to_string(queries)?);
    judge("root zone", &questions, &zones, folder.path())
}

fn judge(title: &str, questions: &[cases::Question], zones: &Zones, folder: &Path) -> Result<()> {
    judge_servers(title, questions, zones, &mut start(zones, folder)?)
}

fn judge_servers(
    title: &str,
    questions: &[cases::Question],
    zones: &Zones,
    servers: &mut [Server],
) -> Result<()> {
    let outcome = compare::compare(servers, questions, zones);
    // Why a server is silent is in its log.
    all_alive(servers)?;
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
