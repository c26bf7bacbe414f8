//! BIRD's side of the route: is what it exports what is meant; and for the second driver, making it so.

use crate::config::{BirdConfig, Driver};
use crate::status::BirdStatus;
use anycast::Rung;
use anycast::bird::{Bird, Protocols, Verification, Watch, compare};
use health::Outcome;
use ipnet::IpNet;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How often BIRD is asked. Each time is a few short commands.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How long BIRD has to follow a change before it counts as a difference. Measured: it takes 2 to 4 ms; a busy router and
/// `scan time` may take longer.
const FOLLOW_WITHIN: Duration = Duration::from_secs(2);

/// What one look came to.
pub(super) struct Verified {
    /// For showing.
    pub(super) status: BirdStatus,
    /// For the check.
    pub(super) outcome: Outcome,
}

/// Asks BIRD again and again.
pub(super) async fn run(
    config: BirdConfig,
    driver: Driver,
    prefixes: Vec<IpNet>,
    mut held: watch::Receiver<Rung>,
    verified: mpsc::Sender<Verified>,
) {
    let bird = Bird::new(&config.socket);
    let watch = Watch { protocols: config.protocols, prefixes };
    let (up, degraded, draining) = (config.up, config.degraded, config.draining);
    let protocols = (driver == Driver::Protocols).then_some(Protocols { up, degraded, draining });
    let mut ticks = interval(ASK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut changed_at = Instant::now();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            changed = held.changed() => {
                if changed.is_err() {
                    return;
                }
                changed_at = Instant::now();
                // The second driver acts at once; the first has nothing to do, and looks at the next tick.
                if protocols.is_none() {
                    continue;
                }
            }
        }
        let rung = *held.borrow_and_update();
        let mut trouble = None;
        if let Some(protocols) = &protocols
            && let Err(error) = protocols.assert(&bird, rung).await
        {
            trouble = Some(error.to_string());
        }
        let agreement = match trouble {
            Some(trouble) => Verification::Unreachable(trouble),
            None => compare(&bird.observe(&watch).await, rung),
        };
        let settling = changed_at.elapsed() < FOLLOW_WITHIN;
        if verified.send(told(agreement, settling)).await.is_err() {
            return;
        }
    }
}

fn told(agreement: Verification, settling: bool) -> Verified {
    match agreement {
        Verification::Verified => Verified { status: BirdStatus::Verified, outcome: Outcome::Pass },
        Verification::Differs(_) if settling => {
            Verified { status: BirdStatus::Unknown, outcome: Outcome::Pass }
        }
        Verification::Differs(differences) => {
            let saw = differences.join("; ");
            Verified { status: BirdStatus::Differs(saw.clone()), outcome: Outcome::Fail(saw) }
        }
        Verification::Unreachable(why) => {
            Verified { status: BirdStatus::Unreachable(why.clone()), outcome: Outcome::Fail(why) }
        }
    }
}
