//! The second driver: rungs as protocols of BIRD that are enabled and disabled.
//!
//! For sites that can't let BIRD learn from a kernel table. What is enabled is no state that lasts: a restart of BIRD
//! or anybody's `birdc configure` brings back what its configuration says. So every call of [`Protocols::assert`] sets all
//! of it again, whatever was set before, and a withdrawal that failed is made up for by the next call.

use super::client::Conversation;
use super::observe::{refuse, row};
use super::{Bird, BirdError, ProtocolName};
use crate::Rung;

/// `0008 already disabled`
const ALREADY_DISABLED: u16 = 8;
/// `0009 disabled`
const DISABLED: u16 = 9;
/// `0010 already enabled`
const ALREADY_ENABLED: u16 = 10;
/// `0011 enabled`
const ENABLED: u16 = 11;

/// Which protocols stand for which rung. One may stand for several.
#[derive(Clone, Debug)]
pub struct Protocols {
    /// Those that announce as a healthy node does.
    pub up: Vec<ProtocolName>,
    /// Those with a longer path.
    pub degraded: Vec<ProtocolName>,
    /// Those with GRACEFUL_SHUTDOWN.
    pub draining: Vec<ProtocolName>,
}

/// Whether a call found something otherwise than it should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asserted {
    /// Protocols were enabled or disabled.
    Changed,
    /// All were as wanted.
    AsWanted,
}

impl Protocols {
    /// Checks that BIRD knows all of the names.
    ///
    /// # Errors
    /// It doesn't, or can't be reached.
    pub async fn check(&self, bird: &Bird) -> Result<(), BirdError> {
        let mut conversation = bird.connect().await?;
        for name in self.all() {
            if row(&mut conversation, name).await?.is_none() {
                return Err(BirdError::NoProtocol(name.clone()));
            }
        }
        Ok(())
    }

    /// Enables the protocols of a rung, then disables the others, and reads the result back. To be called when the rung
    /// changes and again and again while it doesn't.
    ///
    /// # Errors
    /// BIRD can't be reached, refuses, or has not done it yet. Where the rung has a route, nothing is disabled before
    /// all of its protocols are enabled; where it has none, one failure does not keep the others from being disabled.
    pub async fn assert(&self, bird: &Bird, rung: Rung) -> Result<Asserted, BirdError> {
        let mut conversation = bird.connect().await?;
        let mut asserted = Asserted::AsWanted;
        let wanted = self.of(rung);
        for name in wanted {
            let command = format!("enable {}", name.pattern());
            let done = tell(&mut conversation, &command, name, ENABLED, ALREADY_ENABLED).await?;
            asserted = asserted.or(done);
        }
        // Before the better route goes, the one that replaces it has to be there.
        for name in wanted {
            read_back(&mut conversation, name, "up").await?;
        }
        let others = || self.all().filter(|name| !wanted.contains(name));
        let mut result = Ok(());
        for name in others() {
            let command = format!("disable {}", name.pattern());
            match tell(&mut conversation, &command, name, DISABLED, ALREADY_DISABLED).await {
                Ok(done) => asserted = asserted.or(done),
                // The connection is of no use any more.
                Err(error @ (BirdError::Deadline { .. } | BirdError::Broken(_))) => return Err(error),
                Err(error) => result = result.and(Err(error)),
            }
        }
        result?;
        for name in others() {
            read_back(&mut conversation, name, "down").await?;
        }
        Ok(asserted)
    }

    /// The protocols of a rung.
    pub fn of(&self, rung: Rung) -> &[ProtocolName] {
        match rung {
            Rung::Up => &self.up,
            Rung::Degraded => &self.degraded,
            Rung::Draining => &self.draining,
            Rung::Down => &[],
        }
    }

    fn all(&self) -> impl Iterator<Item = &ProtocolName> {
        [&self.up, &self.degraded, &self.draining].into_iter().flatten()
    }
}

impl Asserted {
    fn or(self, other: Asserted) -> Asserted {
        if self == Asserted::Changed { self } else { other }
    }
}

async fn tell(
    conversation: &mut Conversation,
    command: &str,
    name: &ProtocolName,
    changed: u16,
    already: u16,
) -> Result<Asserted, BirdError> {
    let reply = conversation.ask(command).await?;
    refuse(command, name, &reply)?;
    if reply.has(changed) {
        Ok(Asserted::Changed)
    } else if reply.has(already) {
        Ok(Asserted::AsWanted)
    } else {
        Err(BirdError::Unreadable("it tells of neither a change nor none"))
    }
}

async fn read_back(
    conversation: &mut Conversation,
    name: &ProtocolName,
    wanted: &'static str,
) -> Result<(), BirdError> {
    match row(conversation, name).await? {
        Some(row) if row.state == wanted => Ok(()),
        Some(row) => Err(BirdError::NotYet { name: name.clone(), state: row.state, wanted }),
        None => Err(BirdError::NoProtocol(name.clone())),
    }
}
