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

/// How soon a driver that could not do what it has to is set to it again.
const RETRY_AFTER: Duration = Duration::from_millis(200);
/// How long the driver may be unable to do it before a withdrawal is made in another way: two tries that met a BIRD which
/// was busy, and within the second that a route may outlive its node.
const STUCK_AFTER: Duration = Duration::from_millis(700);

/// What one look came to.
pub(super) struct Verified {
    /// For showing.
    pub(super) status: BirdStatus,
    /// For the check.
    pub(super) outcome: Outcome,
    /// The rung whose protocols are enabled, where protocols are the driver.
    pub(super) asserted: Option<Rung>,
    /// Whether the driver has been unable to reach the rung for too long.
    pub(super) is_stuck: bool,
}

/// Asks BIRD again and again; and where protocols are the driver, has it enable those of the rung.
pub(super) async fn run(
    config: BirdConfig,
    driver: Driver,
    prefixes: Vec<IpNet>,
    mut meant: watch::Receiver<Rung>,
    verified: mpsc::Sender<Verified>,
) {
    let bird = Bird::new(&config.socket);
    let watch = Watch { protocols: config.protocols, prefixes };
    let (up, degraded, draining) = (config.up, config.degraded, config.draining);
    let protocols = (driver == Driver::Protocols).then_some(Protocols { up, degraded, draining });
    let mut ticks = interval(ASK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut changed_at = Instant::now();
    let mut failing_since: Option<Instant> = None;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            changed = meant.changed() => {
                if changed.is_err() {
                    return;
                }
                changed_at = Instant::now();
                failing_since = None;
                // The second driver acts at once; the first has nothing to do, and looks at the next tick.
                if protocols.is_none() {
                    continue;
                }
            }
        }
        let rung = *meant.borrow_and_update();
        let asserted = match &protocols {
            Some(protocols) => Some(protocols.assert(&bird, rung).await),
            None => None,
        };
        let verification = match &asserted {
            Some(Err(error)) => {
                failing_since.get_or_insert_with(Instant::now);
                ticks.reset_after(RETRY_AFTER);
                Verification::Unreachable(error.to_string())
            }
            _ => {
                failing_since = None;
                compare(&bird.observe(&watch).await, rung)
            }
        };
        let settling = changed_at.elapsed() < FOLLOW_WITHIN;
        let told = Verified {
            asserted: asserted.and_then(Result::ok).map(|_| rung),
            is_stuck: failing_since.is_some_and(|since| since.elapsed() > STUCK_AFTER),
            ..told(verification, settling)
        };
        if verified.send(told).await.is_err() {
            return;
        }
    }
}

fn told(verification: Verification, settling: bool) -> Verified {
    let (status, outcome) = match verification {
        Verification::Verified => (BirdStatus::Verified, Outcome::Pass),
        Verification::Differs(_) if settling => (BirdStatus::Unknown, Outcome::Pass),
        Verification::Differs(differences) => {
            let saw = differences.join("; ");
            (BirdStatus::Differs(saw.clone()), Outcome::Fail(saw))
        }
        Verification::Unreachable(why) => (BirdStatus::Unreachable(why.clone()), Outcome::Fail(why)),
    };
    Verified { status, outcome, asserted: None, is_stuck: false }
}
