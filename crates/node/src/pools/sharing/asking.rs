//! Asks a peer what it sees, again and again.

use super::seal::{Asked, PATH, Seal, unix_seconds};
use super::sights::{self, NodeId, Seen, Sight};
use crate::config::{PeerConfig, SharingConfig};
use crate::management::{AskError, send};
use hyper::header::AUTHORIZATION;
use hyper::{StatusCode, Uri};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;
use thiserror::Error;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};

/// The longest answer in octets: [`crate::config::SIGHTS_MAX`] addresses, each with a check of its own.
pub(super) const ANSWER_LEN_MAX: usize = 768 * 1024;
/// How many peers are asked at once. With answers of the greatest length these are 48 MiB; fewer would let peers that
/// hang keep others from being asked in time, where there are [`crate::config::PEERS_MAX`].
pub(super) const ASKS_MAX: usize = 64;
/// How much shorter an interval may be by chance, so that nodes don't ask in step: a part in so many.
const JITTER: u32 = 20;

/// Where an answer says who signed it.
pub(crate) const MAC_HEADER: &str = "starling-mac";

/// What has come of a question.
pub(super) struct Heard {
    /// Of which configuration.
    pub(super) epoch: u64,
    /// Which peer.
    pub(super) peer: usize,
    /// When it was asked.
    pub(super) at: Instant,
    /// What it says.
    pub(super) said: Result<(NodeId, HashMap<Sight, Seen>), Trouble>,
}

/// Why there is no good answer.
#[derive(Error, Debug)]
pub(super) enum Trouble {
    /// There is none.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The peer doesn't know our signature.
    #[error("it does not accept our key: it has another one under [pool-sharing]")]
    KeyRefused,
    /// We don't know the peer's.
    #[error(
        "its answer is not signed with our key: it has another one, or somebody else answers in its place"
    )]
    NotSigned,
    /// Its clock is wrong, or ours.
    #[error("its clock and ours differ by more than five minutes")]
    OtherTime,
    /// It shares nothing.
    #[error("it shares nothing: it has no [pool-sharing], or is of an older version")]
    NotShared,
    /// It is signed, and can't be used.
    #[error("its answer is not what a node says: {0}")]
    Odd(String),
    /// There are no random numbers.
    #[error("the kernel gives no random numbers")]
    NoRandom,
}

impl Trouble {
    /// Whether somebody has to look at keys.
    pub(super) fn is_of_keys(&self) -> bool {
        matches!(self, Trouble::KeyRefused | Trouble::NotSigned)
    }
}

/// Asks and tells until nobody listens.
pub(super) async fn ask_on(
    (epoch, index): (u64, usize),
    sharing: Arc<SharingConfig>,
    (seal, room): (Arc<Seal>, Arc<Semaphore>),
    heard: mpsc::Sender<Heard>,
) {
    let Some(peer) = sharing.peers.get(index) else { return };
    // Nodes that start together shall not ask in step, and yet soon.
    sleep(sharing.interval.mul_f32(fastrand::f32() / 4.0)).await;
    loop {
        let began = Instant::now();
        let (at, said) = {
            let Ok(_place) = room.acquire().await else { return };
            let at = Instant::now();
            let asked = timeout(sharing.timeout, ask(peer, &seal)).await;
            (at, asked.unwrap_or(Err(Trouble::Ask(AskError::Late(sharing.timeout)))))
        };
        if heard.send(Heard { epoch, peer: index, at, said }).await.is_err() {
            return;
        }
        let shorter = sharing.interval.mul_f32(fastrand::f32()) / JITTER;
        sleep((sharing.interval - shorter).saturating_sub(began.elapsed())).await;
    }
}

async fn ask(peer: &PeerConfig, seal: &Seal) -> Result<(NodeId, HashMap<Sight, Seen>), Trouble> {
    let asked: Asked = seal.ask(unix_seconds()).map_err(|_| Trouble::NoRandom)?;
    let header = (AUTHORIZATION, asked.to_string());
    let answer = send(peer.address, Uri::from_static(PATH), Some(header), ANSWER_LEN_MAX).await;
    let answer = answer.map_err(|error| match error {
        AskError::Status(StatusCode::UNAUTHORIZED) => Trouble::KeyRefused,
        AskError::Status(StatusCode::FORBIDDEN) => Trouble::OtherTime,
        AskError::Status(StatusCode::NOT_FOUND) => Trouble::NotShared,
        error => Trouble::Ask(error),
    })?;
    let mac = answer.headers().get(MAC_HEADER).and_then(|mac| mac.to_str().ok()).unwrap_or_default();
    // Before anything in it is looked at.
    if !seal.is_of(&asked, answer.body(), mac) {
        return Err(Trouble::NotSigned);
    }
    sights::read(answer.body()).map_err(Trouble::Odd)
}
