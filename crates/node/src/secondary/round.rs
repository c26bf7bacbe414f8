//! One round of one zone: asking its primaries, transferring what is newer, having it taken into service.

use super::exchange::{self, Failure};
use crate::config::SecondaryConfig;
use crate::gate::Serials;
use crate::keeper::{self, Board, Install};
use crate::zones::load::ZoneErrors;
use crate::zones::transferred::Confirmations;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use transfer::Soa;
use transfer::incoming::Incoming;
use transfer::refresh::{Choice, End, Purpose, Report, Round, Surveyed, choose};
use transfer::serial::is_newer;
use wire::NameBuf;

/// How long the keeper's queue may be full: it is when the keeper compiles a large zone, which takes minutes at most.
const KEEPER_TAKES_WITHIN: Duration = Duration::from_secs(600);
/// How long to wait before it is tried again.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(20);
/// How many of a zone's errors are repeated in the message of a round; the log has them all.
const ERRORS_SHOWN_MAX: usize = 3;

/// What rounds share.
pub(super) struct Around {
    /// Who takes versions into service.
    pub(super) keeper: SyncSender<keeper::Request>,
    /// Where it is told which versions would be held back.
    pub(super) board: Arc<Board>,
    /// Places for transfers.
    pub(super) transfers: Semaphore,
    /// Where it is kept when a copy was confirmed.
    pub(super) confirmations: Option<Confirmations>,
}

/// What a round is about.
pub(super) struct Subject {
    /// The zone.
    pub(super) name: NameBuf,
    /// How it is kept.
    pub(super) config: Arc<SecondaryConfig>,
    /// What is to be done.
    pub(super) round: Round,
}

/// What came of a round.
pub(super) struct Outcome {
    /// For the machine.
    pub(super) report: Report,
    /// In words, for operators: what was done, or why nothing was.
    pub(super) said: Result<String, String>,
}

/// Makes a round.
pub(super) async fn make(around: Arc<Around>, subject: Subject) -> Outcome {
    let (mut surveyed, mut failures) = (Vec::new(), Vec::new());
    let Round { purpose, serial, ask } = &subject.round;
    // With one primary and nothing to compare with, its serial would decide nothing.
    let choice = if ask.len() == 1 && (serial.is_none() || *purpose == Purpose::Retransfer) {
        Choice::Transfer(ask.clone())
    } else {
        surveyed = survey(&subject, &mut failures).await;
        choose(*purpose, *serial, &surveyed)
    };
    let (choice, held) = without_held(&around, &subject, &surveyed, choice);
    let (end, said) = match choice {
        Choice::Unknown => (End::Failed, Err(failures.join("; "))),
        Choice::Current => {
            let said = match held {
                Some(serial) => held_back(&subject, serial),
                None => current(&subject, &surveyed),
            };
            (End::Current, Ok(said))
        }
        Choice::Transfer(order) => {
            transfer_from(&around, &subject, &order, &mut surveyed, &mut failures).await
        }
    };
    if end != End::Failed {
        confirm(&around, &subject).await;
    }
    Outcome { report: Report { surveyed, end }, said }
}

fn current(subject: &Subject, surveyed: &[Surveyed]) -> String {
    let serial = subject.round.serial.unwrap_or_default();
    let ahead = surveyed.iter().filter_map(|answer| answer.serial).all(|other| is_newer(serial, other));
    if ahead {
        // RFC 1982: no way back but by hand.
        tracing::warn!(
            "zone {}: its primaries have older versions than {serial}, which is served; `starling ctl retransfer` takes one",
            subject.name
        );
        return format!(
            "serial {serial} is newer than that of any primary; `retransfer` would take an older one"
        );
    }
    format!("serial {serial} is current")
}

/// Leaves out the primaries whose version is held back at the gate: it would be transferred for nothing, as often as they
/// are asked. They do confirm the copy, which goes on being served because this node, not they, wants it so. Also which
/// serial that is, where nothing else is left.
fn without_held(
    around: &Around,
    subject: &Subject,
    surveyed: &[Surveyed],
    choice: Choice,
) -> (Choice, Option<u32>) {
    let Choice::Transfer(mut order) = choice else { return (choice, None) };
    let held = around.board.held_serial(&subject.name.to_string());
    let held = held.filter(|_| subject.round.purpose == Purpose::Refresh && subject.round.serial.is_some());
    let Some(held) = held else { return (Choice::Transfer(order), None) };
    let has_it = |primary: usize| surveyed.iter().any(|it| it.primary == primary && it.serial == Some(held));
    order.retain(|primary| !has_it(*primary));
    if order.is_empty() { (Choice::Current, Some(held)) } else { (Choice::Transfer(order), None) }
}

fn held_back(subject: &Subject, serial: u32) -> String {
    let name = &subject.name;
    tracing::warn!(
        "zone {name}: its primaries have serial {serial}, which is held back; `starling ctl zone status {name}` says why"
    );
    format!("serial {serial} is held back; `starling ctl zone status {name}` says why, `approve` takes it")
}

/// Asks all primaries of the round at once.
async fn survey(subject: &Subject, failures: &mut Vec<String>) -> Vec<Surveyed> {
    let mut asking = JoinSet::new();
    for &index in &subject.round.ask {
        let Some(&primary) = subject.config.primaries.get(index) else { continue };
        let (name, config) = (subject.name.clone(), Arc::clone(&subject.config));
        asking.spawn(async move { (index, primary, exchange::ask_soa(&name, primary, &config).await) });
    }
    let mut surveyed = Vec::new();
    while let Some(asked) = asking.join_next().await {
        // A panic aborts the process; nothing else ends a task early.
        let Ok((primary, address, answer)) = asked else { continue };
        let serial = match answer {
            Ok(soa) => Some(soa.serial),
            Err(failure) => {
                failures.push(format!("{address}: {failure}"));
                None
            }
        };
        surveyed.push(Surveyed { primary, serial });
    }
    surveyed.sort_by_key(|answer| answer.primary);
    failures.sort();
    surveyed
}

/// Transfers from the first primary that has a version that can be served.
async fn transfer_from(
    around: &Around,
    subject: &Subject,
    order: &[usize],
    surveyed: &mut Vec<Surveyed>,
    failures: &mut Vec<String>,
) -> (End, Result<String, String>) {
    for &index in order {
        let Some(&primary) = subject.config.primaries.get(index) else { continue };
        let result = transfer_one(around, subject, primary).await;
        let serial = result.as_ref().ok().map(|(_, serial, _)| *serial);
        surveyed.retain(|answer| answer.primary != index);
        surveyed.push(Surveyed { primary: index, serial });
        match result {
            Ok((end, _, said)) => return (end, Ok(said)),
            Err(failure) => failures.push(format!("{primary}: {failure}")),
        }
    }
    (End::Failed, Err(failures.join("; ")))
}

/// Transfers from one primary; gives how the round ends, the serial, and what to say.
async fn transfer_one(
    around: &Around,
    subject: &Subject,
    primary: SocketAddr,
) -> Result<(End, u32, String), String> {
    let began = Instant::now();
    // Never closed, so there is always a place some time.
    let place = around.transfers.acquire().await;
    let incoming = exchange::transfer(&subject.name, primary, &subject.config).await.map_err(told)?;
    let took_ms = began.elapsed().as_millis();
    let sent = incoming.soa().map_or(0, |soa| soa.serial);
    let (messages, octets, records) = incoming.counts();
    let before = subject.round.serial;
    if let (Purpose::Refresh, Some(before)) = (subject.round.purpose, before)
        && !is_newer(sent, before)
    {
        // It said something newer when it was asked: a farm of servers behind one address, most likely.
        return Ok((
            End::Current,
            sent,
            format!("{primary} sent serial {sent}, which is not newer than {before}"),
        ));
    }
    let soa = install(around, subject, primary, incoming).await?;
    drop(place);
    let from = before.map_or_else(|| "none".to_owned(), |serial| serial.to_string());
    let said = format!(
        "transferred from {primary}, serial {from} -> {}, {records} records, {messages} messages, {octets} octets, in {took_ms} ms",
        soa.serial
    );
    tracing::info!("zone {}: {said}", subject.name);
    Ok((End::Renewed(soa), soa.serial, said))
}

fn told(failure: Failure) -> String {
    failure.to_string()
}

/// Has the keeper check, compile and publish what was sent. The place among the transfers is held meanwhile, since this is
/// when a zone takes the most memory.
async fn install(
    around: &Around,
    subject: &Subject,
    primary: SocketAddr,
    incoming: Incoming,
) -> Result<Soa, String> {
    let records = incoming.into_records().ok_or("the transfer is not complete")?;
    let (reply, result) = oneshot::channel();
    let serials = match subject.round.purpose {
        Purpose::Refresh => Serials::AsConfigured,
        Purpose::Retransfer => Serials::Any,
    };
    let install = Install { zone: subject.name.clone(), records, primary, serials, reply };
    tell_keeper(around, keeper::Request::Install(Box::new(install))).await?;
    match result.await {
        Ok(Ok(soa)) => Ok(soa),
        Ok(Err(ZoneErrors { errors, .. })) => {
            let shown: Vec<&str> = errors.iter().take(ERRORS_SHOWN_MAX).map(String::as_str).collect();
            Err(format!("what it sent is not good, {} errors: {}", errors.len(), shown.join(", ")))
        }
        Err(_) => Err("the zone is configured no longer".to_owned()),
    }
}

async fn tell_keeper(around: &Around, request: keeper::Request) -> Result<(), String> {
    let give_up_at = Instant::now() + KEEPER_TAKES_WITHIN;
    let mut request = request;
    loop {
        match around.keeper.try_send(request) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Full(back)) if Instant::now() < give_up_at => request = back,
            Err(TrySendError::Full(_)) => return Err("too much waits to be compiled".to_owned()),
            Err(TrySendError::Disconnected(_)) => return Err("the node is ending".to_owned()),
        }
        sleep(ASK_AGAIN_AFTER).await;
    }
}

/// Remembers that a primary has confirmed the copy.
async fn confirm(around: &Around, subject: &Subject) {
    let Some(confirmations) = around.confirmations.clone() else { return };
    let zone = subject.name.clone();
    // A disk may be slow, and others on this thread don't wait for it.
    let written = tokio::task::spawn_blocking(move || confirmations.confirm(&zone)).await;
    if let Ok(Err(error)) = written {
        tracing::warn!(
            "zone {}: when it was confirmed could not be stored, so that after a restart it expires too early: {error}",
            subject.name
        );
    }
}
