//! Publishing a table: it is read and verified on a thread of its own, and then given to the keeper.

use super::Response;
use super::server::Ready;
use crate::config::{self, ZoneConfig};
use crate::gate::Serials;
use crate::keeper::{self, Publication, Publishing};
use crate::shipping::{self, IntakeError, Offer};
use crate::status::{PublishOutcome, PublishReport};
use crate::zones::parallel;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use wire::NameBuf;

/// How long to wait until a table is on disk, for who wants that: a large one takes seconds.
const DURABLE_WITHIN: Duration = Duration::from_secs(60);
/// How often it is looked whether it is.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What is asked for.
pub(super) struct Order {
    /// The zone.
    pub(super) zone: String,
    /// The file of the table.
    pub(super) table: PathBuf,
    /// Whether its serial matters.
    pub(super) serials: Serials,
    /// When to answer.
    pub(super) until: Until,
}

/// When a table counts as published.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Until {
    /// Every worker answers from it.
    Served,
    /// A restart would begin with it, too.
    Durable,
}

/// Has a table published.
pub(super) async fn publish(order: Order, subject: &Ready) -> Response {
    let start = Instant::now();
    let zone = match config::apex(&order.zone) {
        Ok(zone) => zone,
        Err(error) => return Response::Error(format!("that is not a zone's name: {error}")),
    };
    // One after the other: each takes memory for its whole table before anybody knows whether it will be served.
    let _turn = subject.publishing.lock().await;
    match serve(&zone, &order, subject).await {
        Err(error) => {
            tracing::error!("zone {zone}: no table is published: {error}");
            Response::Error(error)
        }
        Ok(outcome) => {
            let took_ms = start.elapsed().as_millis() as u64; // nothing takes 500 million years
            if let PublishOutcome::Served { serial, signed_by, .. } = &outcome {
                let by = signed_by.as_ref().map_or_else(String::new, |name| format!(", signed by {name}"));
                let table = order.table.display();
                tracing::info!("zone {zone}: serial {serial} is served from {table}{by}, after {took_ms} ms");
            }
            Response::Published(report(&zone, outcome, took_ms, order.until, subject).await)
        }
    }
}

async fn serve(zone: &NameBuf, order: &Order, subject: &Ready) -> Result<PublishOutcome, String> {
    let (reply, configured) = oneshot::channel();
    ask_keeper(Publishing::Begin { zone: Box::new(zone.clone()), reply }, subject)?;
    let config = answered(configured).await??;
    let offer = answered(take_in(order.table.clone(), config)?).await?.map_err(|error| error.to_string())?;
    let (reply, outcome) = oneshot::channel();
    let publication = Publication { zone: zone.clone(), offer, serials: order.serials, reply };
    ask_keeper(Publishing::Take(Box::new(publication)), subject)?;
    answered(outcome).await?
}

fn ask_keeper(step: Publishing, subject: &Ready) -> Result<(), String> {
    let asked = subject.reloads.try_send(keeper::Request::Publish(step));
    asked.map_err(|_| "too many changes are waiting; try again when they are done".to_owned())
}

async fn answered<T>(answer: oneshot::Receiver<T>) -> Result<T, String> {
    answer.await.map_err(|_| "the node is ending".to_owned())
}

/// Reads and verifies a table on a thread of its own, which nobody waits for when the node ends: its disk may hang.
fn take_in(path: PathBuf, zone: ZoneConfig) -> Result<oneshot::Receiver<Result<Offer, IntakeError>>, String> {
    let (reply, offer) = oneshot::channel();
    let work = move || {
        parallel::yield_to_workers();
        // Who asked may have gone away.
        let _gone = reply.send(shipping::take_in(Path::new(&path), &zone));
    };
    let started = std::thread::Builder::new().name("publish".to_owned()).spawn(work);
    started.map(|_| offer).map_err(|error| format!("there is no thread to read the table: {error}"))
}

async fn report(
    zone: &NameBuf,
    outcome: PublishOutcome,
    took_ms: u64,
    until: Until,
    subject: &Ready,
) -> PublishReport {
    let kept = (subject.status)().disk.is_some();
    let mut durable = false;
    if let PublishOutcome::Served { content, .. } = &outcome {
        let is_durable = || subject.transfers.index.status(zone.as_name(), content).1;
        let begun = Instant::now();
        while kept && until == Until::Durable && !is_durable() && begun.elapsed() < DURABLE_WITHIN {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        durable = is_durable();
    }
    PublishReport { name: zone.to_string(), outcome, took_ms, durable, kept }
}
