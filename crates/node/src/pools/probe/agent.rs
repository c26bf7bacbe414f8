//! Listening to agents, who say in a line how much endpoints can take: [`said::Agent`].

use super::{Visit, tcp};
use crate::config::Measure;
use health::said::{self, Agent};
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

/// Listens to the agent of an endpoint, if there is to be one, no longer than a look may take.
///
/// # Errors
/// Nothing was heard that can be understood, in words.
pub(super) async fn listen(visit: &Visit<'_>, agent: &mut Agent) -> Result<(), String> {
    let Some(Measure::Agent { port }) = visit.measure() else { return Ok(()) };
    let at = SocketAddr::new(visit.at.ip(), *port);
    let heard = async {
        let stream = tcp::to(visit, at).await.map_err(|fault| format!("its agent: {}", fault.why()))?;
        line(stream).await.map_err(|error| format!("its agent: {error}"))
    };
    let late = |_| format!("its agent says nothing within {} ms", visit.check.timeout.as_millis());
    let line = timeout(visit.check.timeout, heard).await.map_err(late)??;
    agent.hear(&line).map_err(|unclear| unclear.to_string())
}

/// The first line, or what there is of it.
async fn line(mut stream: impl AsyncRead + Unpin) -> std::io::Result<Vec<u8>> {
    let mut sent = Vec::new();
    let mut some = [0; 256];
    loop {
        let len = stream.read(&mut some).await?;
        sent.extend_from_slice(&some[..len]);
        if let Some(line) = said::line(&sent) {
            return Ok(line.to_vec());
        }
        if len == 0 {
            return Ok(sent);
        }
    }
}
