//! One round of one zone: asking its primaries, transferring what is newer, having it taken into service.

use super::budget::{Budget, Share};
use super::stream::Failure;
use super::{Counts, exchange};
use crate::config::{Primary, SecondaryConfig};
use crate::gate::Serials;
use crate::keeper::{self, Board, Install};
use crate::zones::transferred::{Confirmations, Sent};
use std::collections::HashMap;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};
use transfer::Soa;
use transfer::incoming::Content;
use transfer::refresh::{Choice, End, Purpose, Rejected, Report, Round, Surveyed, choose};
use transfer::serial::is_newer;
use transfer::tsig::Untrusted;
use wire::{NameBuf, Rcode};

/// How long the keeper's queue may be full: it is when the keeper compiles a large zone, which takes minutes at most.
const KEEPER_TAKES_WITHIN: Duration = Duration::from_secs(600);
/// How long to wait before it is tried again.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(20);
/// How long the others may take to answer when one primary has said that it has something newer. A change would wait for a dead
/// one for eight seconds; those that are awake answer within 0.4 s, and may have something newer still.
const OTHERS_ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// How many of a zone's errors are repeated in the message of a round; the log has them all.
const ERRORS_SHOWN_MAX: usize = 3;

/// What rounds share.
pub(super) struct Around {
    /// Who takes versions into service.
    pub(super) keeper: SyncSender<keeper::Request>,
    /// Where it is told which versions would be held back.
    pub(super) board: Arc<Board>,
    /// Places for transfers, from whomever.
    pub(super) transfers: Semaphore,
    /// What they may have in memory in sum.
    pub(super) budget: Arc<Budget>,
    /// Where it is kept when a copy was confirmed.
    pub(super) confirmations: Option<Confirmations>,
    /// What was done.
    pub(super) counts: Arc<Counts>,
}

/// What a round is about.
pub(super) struct Subject {
    /// The zone.
    pub(super) name: NameBuf,
    /// How it is kept.
    pub(super) config: Arc<SecondaryConfig>,
    /// What is to be done.
    pub(super) round: Round,
    /// The places for transfers from each that is asked, by index.
    pub(super) places: HashMap<usize, Arc<Semaphore>>,
}

/// What came of a round.
pub(super) struct Outcome {
    /// For the machine.
    pub(super) report: Report,
    /// In words, for operators: what was done, or why nothing was.
    pub(super) said: Result<String, String>,
    /// Whether primaries have said anything, of those that had the time to, by index.
    pub(super) answered: HashMap<usize, bool>,
}

/// Makes a round.
pub(super) async fn make(around: Arc<Around>, subject: Subject) -> Outcome {
    let mut found = Found::default();
    let Round { purpose, serial, ask, rejected } = &subject.round;
    // With one primary and nothing to compare with, its serial would decide nothing.
    let is_moot = ask.len() == 1 && rejected.is_empty();
    let choice = if is_moot && (serial.is_none() || *purpose == Purpose::Retransfer) {
        Choice::Transfer(ask.clone())
    } else {
        survey(&subject, &mut found).await;
        choose(&subject.round, &found.surveyed)
    };
    let (choice, held) = without_held(&around, &subject, &found.surveyed, choice);
    let (end, said) = match choice {
        Choice::Unknown => (End::Failed, Err(found.failures.join("; "))),
        Choice::Current => {
            let said = match held {
                Some(serial) => held_back(&subject, serial),
                None => current(&subject, &found.surveyed),
            };
            (End::Current, Ok(said))
        }
        Choice::Rejected(rejected) => (End::Failed, Err(no_good(&subject, &rejected))),
        Choice::Transfer(order) => transfer_from(&around, &subject, &order, &mut found).await,
    };
    if end != End::Failed {
        confirm(&around, &subject).await;
    }
    let Found { surveyed, rejected, answered, .. } = found;
    Outcome { report: Report { surveyed, rejected, end }, said, answered }
}

/// What a round has found out so far.
#[derive(Default)]
struct Found {
    surveyed: Vec<Surveyed>,
    rejected: Vec<Rejected>,
    /// See [`Outcome::answered`].
    answered: HashMap<usize, bool>,
    /// Of each primary that was of no use.
    failures: Vec<String>,
}

/// Why nothing was transferred though there is something newer.
fn no_good(subject: &Subject, rejected: &[Rejected]) -> String {
    let of_one = |Rejected { primary, serial, why }: &Rejected| {
        let address = subject.config.primaries.get(*primary).map(|primary| primary.address.to_string());
        format!("{}: serial {serial} was no good: {why}", address.unwrap_or_default())
    };
    let all: Vec<String> = rejected.iter().map(of_one).collect();
    format!(
        "{}; it is transferred again when its serial has changed, after a while, or by `starling ctl refresh`",
        all.join("; ")
    )
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
    let held = around.board.held_serial(&subject.name.to_string());
    let held = held.filter(|_| subject.round.purpose == Purpose::Refresh && subject.round.serial.is_some());
    let Some(held) = held else { return (choice, None) };
    let has_it = |it: &Surveyed| it.serial == Some(held);
    match choice {
        Choice::Transfer(mut order) => {
            order.retain(|primary| !surveyed.iter().any(|it| it.primary == *primary && has_it(it)));
            if order.is_empty() { (Choice::Current, Some(held)) } else { (Choice::Transfer(order), None) }
        }
        // It was transferred, and what came of it is that it is held.
        Choice::Rejected(_) if surveyed.iter().any(has_it) => (Choice::Current, Some(held)),
        other => (other, None),
    }
}

fn held_back(subject: &Subject, serial: u32) -> String {
    let name = &subject.name;
    tracing::warn!(
        "zone {name}: its primaries have serial {serial}, which is held back; `starling ctl zone status {name}` says why"
    );
    format!("serial {serial} is held back; `starling ctl zone status {name}` says why, `approve` takes it")
}

/// Asks all primaries of the round at once. When one has something to transfer, the others have a moment left.
async fn survey(subject: &Subject, found: &mut Found) {
    let mut asking = JoinSet::new();
    for &index in &subject.round.ask {
        let Some(primary) = subject.config.primaries.get(index).cloned() else { continue };
        let (name, config) = (subject.name.clone(), Arc::clone(&subject.config));
        asking.spawn(
            async move { (index, primary.address, exchange::ask_soa(&name, &primary, &config).await) },
        );
    }
    let mut give_up_at = None;
    loop {
        let next = match give_up_at {
            None => asking.join_next().await,
            Some(at) => timeout_at(at, asking.join_next()).await.unwrap_or_default(),
        };
        // A panic aborts the process; nothing else ends a task early.
        let Some(Ok((primary, address, answer))) = next else { break };
        let serial = match answer {
            Ok(soa) => Some(soa.serial),
            Err(ref failure) => {
                found.failures.push(format!("{address}: {failure}"));
                None
            }
        };
        found.answered.insert(primary, !matches!(&answer, Err(failure) if failure.is_silence()));
        found.surveyed.push(Surveyed { primary, serial });
        if matches!(choose(&subject.round, &found.surveyed), Choice::Transfer(_)) {
            give_up_at.get_or_insert_with(|| Instant::now() + OTHERS_ANSWER_WITHIN);
        }
    }
    // Left out for a while, like one that does not answer at all.
    let late = subject.round.ask.iter().filter(|index| !found.answered.contains_key(index));
    found.surveyed.extend(late.map(|index| Surveyed { primary: *index, serial: None }));
    found.surveyed.sort_by_key(|answer| answer.primary);
    found.failures.sort();
}

/// Transfers from the first primary that has a version that can be served.
async fn transfer_from(
    around: &Around,
    subject: &Subject,
    order: &[usize],
    found: &mut Found,
) -> (End, Result<String, String>) {
    for &index in order {
        let Some(primary) = subject.config.primaries.get(index) else { continue };
        let result = transfer_one(around, subject, index, primary).await;
        let is_silent = matches!(&result, Err(unusable) if unusable.is_silence);
        found.answered.insert(index, !is_silent);
        let serial = result.as_ref().ok().map(|taken| taken.serial);
        let asked =
            found.surveyed.iter().find(|answer| answer.primary == index).and_then(|answer| answer.serial);
        found.surveyed.retain(|answer| answer.primary != index);
        found.surveyed.push(Surveyed { primary: index, serial });
        match result {
            Ok(taken) => return (taken.end, Ok(taken.said)),
            Err(unusable) => {
                if let Some(serial) = unusable.serial.or(asked).filter(|_| unusable.is_of_the_zone) {
                    found.rejected.push(Rejected { primary: index, serial, why: unusable.why.clone() });
                }
                found.failures.push(format!("{}: {}", primary.address, unusable.why));
            }
        }
    }
    (End::Failed, Err(found.failures.join("; ")))
}

/// What came of a transfer.
struct Taken {
    end: End,
    serial: u32,
    said: String,
}

/// Why nothing came of one.
struct Unusable {
    why: String,
    /// Of the version that was sent, if that is known.
    serial: Option<u32>,
    /// Whether the same would come again as long as the primary has this version.
    is_of_the_zone: bool,
    /// Whether a request for the whole zone may help, since this was one for what has changed.
    whole_may_help: bool,
    /// Whether the primary has said nothing.
    is_silence: bool,
}

impl Unusable {
    fn other(why: String) -> Unusable {
        Unusable { why, serial: None, is_of_the_zone: false, whole_may_help: false, is_silence: false }
    }
}

impl From<(Failure, Option<u32>)> for Unusable {
    fn from((failure, serial): (Failure, Option<u32>)) -> Unusable {
        Unusable {
            serial,
            is_silence: failure.is_silence(),
            is_of_the_zone: matches!(&failure, Failure::Fault(fault) if fault.is_of_the_zone()),
            whole_may_help: may_lack_ixfr(&failure),
            ..Unusable::other(failure.to_string())
        }
    }
}

/// Whether a primary that does not know IXFR may have caused this. It says so in many ways, and by hanging up; an error not
/// everybody signs, and who can't read the request can't (RFC 8945 §5.2). The zone has to be signed all the same.
fn may_lack_ixfr(failure: &Failure) -> bool {
    match failure {
        Failure::Fault(_) | Failure::CutOff { .. } => true,
        Failure::Io { source, .. } => matches!(
            source.kind(),
            ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe
        ),
        Failure::Untrusted { rcode: Rcode::FORMERR | Rcode::NOTIMP, .. } => true,
        Failure::Untrusted { why, rcode: Rcode::REFUSED | Rcode::SERVFAIL } => *why == Untrusted::Unsigned,
        _ => false,
    }
}

/// Transfers from one primary: what has changed since the copy that there is, or else the whole zone.
async fn transfer_one(
    around: &Around,
    subject: &Subject,
    index: usize,
    primary: &Primary,
) -> Result<Taken, Unusable> {
    let of_primary = subject.places.get(&index);
    // Of the primary first, so that who waits for it keeps no place from others. Neither is ever closed, so there is always a place
    // some time. It is held while the keeper is at work, too, since this is when a zone takes the most memory.
    let _place_of_primary = match of_primary {
        Some(places) => Some(places.acquire().await),
        None => None,
    };
    let _place = around.transfers.acquire().await;
    let round = &subject.round;
    if let (Purpose::Refresh, Some(serial), true) = (round.purpose, round.serial, subject.config.ixfr) {
        match transfer_once(around, subject, primary, Some(serial)).await {
            Err(unusable) if unusable.whole_may_help => tracing::info!(
                "zone {}: {} was asked for what has changed since serial {serial}: {}; asking for the whole zone",
                subject.name,
                primary.address,
                unusable.why
            ),
            result => return result,
        }
    }
    transfer_once(around, subject, primary, None).await
}

/// Makes one request for a transfer and takes what comes into service.
async fn transfer_once(
    around: &Around,
    subject: &Subject,
    primary: &Primary,
    since: Option<u32>,
) -> Result<Taken, Unusable> {
    let began = Instant::now();
    // Held until the version is served, or is not.
    let mut share = Share::of(&around.budget);
    let incoming = exchange::transfer(&subject.name, primary, &subject.config, since, &mut share).await?;
    let took_ms = began.elapsed().as_millis();
    let serial = incoming.soa().map_or(0, |soa| soa.serial);
    let (messages, octets, records) = incoming.counts();
    let address = primary.address;
    let before = subject.round.serial;
    if let (Purpose::Refresh, Some(before)) = (subject.round.purpose, before)
        && !is_newer(serial, before)
    {
        // It said something newer when it was asked: a farm of servers behind one address, most likely.
        let said = format!("{address} sent serial {serial}, which is not newer than {before}");
        return Ok(Taken { end: End::Current, serial, said });
    }
    let (sent, what) = match incoming.into_content() {
        Some(Content::Zone(records)) => (Sent::Zone(records), "transferred"),
        Some(Content::Differences(differences)) => {
            (Sent::Differences(differences.into()), "what has changed was transferred")
        }
        Some(Content::Current) | None => {
            return Err(Unusable::other("the transfer is not complete".to_owned()));
        }
    };
    let are_differences = matches!(sent, Sent::Differences(_));
    let soa = install(around, subject, primary.clone(), sent).await.map_err(|unusable| Unusable {
        serial: Some(serial),
        whole_may_help: unusable.is_of_the_zone && are_differences,
        ..unusable
    })?;
    let count = match since {
        _ if are_differences => &around.counts.incremental,
        Some(_) => &around.counts.whole_instead,
        None => &around.counts.whole,
    };
    count.fetch_add(1, Ordering::Relaxed);
    let from = before.map_or_else(|| "none".to_owned(), |serial| serial.to_string());
    let said = format!(
        "{what} from {address}, serial {from} -> {}, {records} records, {messages} messages, {octets} octets, in {took_ms} ms",
        soa.serial
    );
    tracing::info!("zone {}: {said}", subject.name);
    Ok(Taken { end: End::Renewed(soa), serial: soa.serial, said })
}

/// Has the keeper check, compile and publish what was sent.
async fn install(around: &Around, subject: &Subject, primary: Primary, sent: Sent) -> Result<Soa, Unusable> {
    let (reply, result) = oneshot::channel();
    let serials = match subject.round.purpose {
        Purpose::Refresh => Serials::AsConfigured,
        Purpose::Retransfer => Serials::Any,
    };
    let install = Install { zone: subject.name.clone(), sent, primary, serials, reply };
    tell_keeper(around, keeper::Request::Install(Box::new(install))).await.map_err(Unusable::other)?;
    let failed = match result.await {
        Ok(Ok(soa)) => return Ok(soa),
        Ok(Err(failed)) => failed,
        Err(_) => {
            return Err(Unusable::other(
                "the zone, or its primary, is configured otherwise by now".to_owned(),
            ));
        }
    };
    let shown: Vec<&str> = failed.errors.iter().take(ERRORS_SHOWN_MAX).map(String::as_str).collect();
    let shown = shown.join(", ");
    let why = match failed.misfit {
        true => format!("what it sent does not fit the version here: {shown}"),
        false => format!("what it sent is not good, {} errors: {shown}", failed.errors.len()),
    };
    Err(Unusable { is_of_the_zone: true, ..Unusable::other(why) })
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
