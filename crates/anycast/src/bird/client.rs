//! A conversation with BIRD over its control socket.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::BirdError;
use super::reply::{Reply, ReplyReader};

/// The greeting.
const WELCOME: u16 = 1;
/// Octets read at a time; a reply about a route fits.
const READ_LEN: usize = 4096;

/// Where BIRD listens, and how long each of its answers may take: connecting, the greeting, and each reply as a whole.
#[derive(Clone, Debug)]
pub struct Bird {
    path: PathBuf,
    limit: Duration,
}

impl Bird {
    /// How long an answer may take unless told otherwise. BIRD answers in well under a millisecond and does so between
    /// two steps of its own work, which with full tables may keep it for a good part of a second.
    pub const LIMIT: Duration = Duration::from_millis(500);

    /// BIRD at this control socket. Nothing is opened yet: each conversation has a connection of its own, so that a
    /// BIRD that was restarted is asked like any other.
    pub fn new(path: &Path) -> Bird {
        Bird { path: path.to_owned(), limit: Bird::LIMIT }
    }

    /// The same with another limit.
    #[must_use]
    pub fn with_limit(self, limit: Duration) -> Bird {
        Bird { limit, ..self }
    }

    /// The control socket.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How long one answer may take.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// Opens a conversation.
    pub(super) async fn connect(&self) -> Result<Conversation, BirdError> {
        let connecting = within(self.limit, "a connection", UnixStream::connect(&self.path)).await?;
        let stream = connecting.map_err(|source| BirdError::Connect { path: self.path.clone(), source })?;
        let mut conversation = Conversation { stream, limit: self.limit };
        let greeting = within(self.limit, "a new connection", conversation.reply()).await??;
        if greeting.code() != WELCOME {
            return Err(BirdError::Unreadable("whoever answers there does not greet as BIRD does"));
        }
        Ok(conversation)
    }
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Conversation {
    stream: UnixStream,
    limit: Duration,
}

impl Conversation {
    /// Sends a command and reads its reply, whatever it says. After an error the connection is of no use: the reply may
    /// still come.
    pub(super) async fn ask(&mut self, command: &str) -> Result<Reply, BirdError> {
        let line = format!("{command}\n");
        within(self.limit, command, async {
            self.stream.write_all(line.as_bytes()).await.map_err(BirdError::Broken)?;
            self.reply().await
        })
        .await?
    }

    async fn reply(&mut self) -> Result<Reply, BirdError> {
        let mut reader = ReplyReader::default();
        let mut octets = [0; READ_LEN];
        loop {
            let len = self.stream.read(&mut octets).await.map_err(BirdError::Broken)?;
            if len == 0 {
                return Err(BirdError::Broken(io::ErrorKind::UnexpectedEof.into()));
            }
            if let Some(reply) = reader.feed(&octets[..len])? {
                return Ok(reply);
            }
        }
    }
}

/// Waits for the work no longer than that.
pub(super) async fn within<T>(
    limit: Duration,
    command: &str,
    work: impl Future<Output = T>,
) -> Result<T, BirdError> {
    timeout(limit, work).await.map_err(|_| BirdError::Deadline { command: command.to_owned(), limit })
}
