//! The other end of the control socket: `starling ctl`.

use super::{Request, Response, default_path, server};
use crate::cli::CtlArguments;
use crate::config::{self, NodeConfig, Purpose};
use anyhow::{Context, bail};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};

/// How long a node may take to say how it is. It does so from memory, so longer means that it hangs.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How long a reload may take: the largest zone there can be, on a machine that is busy with answering.
const RELOAD_WITHIN: Duration = Duration::from_secs(3600);
/// The longest answer in octets: some 100,000 zones, each with its errors.
const RESPONSE_LEN_MAX: u64 = 1 << 30;

/// Where the control socket of the node is that the command line means.
///
/// # Errors
/// When the configuration can't be read, or the node has no control socket.
pub(crate) fn path_for(arguments: &CtlArguments) -> anyhow::Result<PathBuf> {
    if let Some(path) = &arguments.control {
        return Ok(path.clone());
    }
    if let Some(file) = &arguments.config {
        let config = config::load(Some(file), &Default::default(), &[], Purpose::Check)?;
        return path_of(&config.node)
            .with_context(|| format!("{} gives the node no control socket", file.display()));
    }
    if let Some(folder) = &arguments.state_dir {
        return default_path(Some(folder), |_| false).context("a state folder has a place for the socket");
    }
    default_path(None, |_| true).context("there is a default place for the socket")
}

fn path_of(node: &NodeConfig) -> Option<PathBuf> {
    let path = server::resolve(node)?;
    // With nothing said, the node may have found its folder in /run not writable where this user can write, or
    // the other way round: the socket that exists is the one.
    if path.exists() {
        Some(path)
    } else {
        default_path(node.state_dir.as_deref(), Path::exists).or(Some(path))
    }
}

/// Asks a server on behalf of its agent, which goes on with other things meanwhile.
///
/// # Errors
/// As [`ask`].
pub(crate) async fn ask_server(path: &Path, request: &Request) -> anyhow::Result<Response> {
    let within = within(request);
    let asked = async {
        let mut stream = tokio::net::UnixStream::connect(path).await?;
        let mut text = serde_json::to_vec(request)?;
        text.push(b'\n');
        stream.write_all(&text).await?;
        let mut line = Vec::new();
        tokio::io::BufReader::new(stream.take(RESPONSE_LEN_MAX)).read_until(b'\n', &mut line).await?;
        anyhow::Ok(serde_json::from_slice(&line)?)
    };
    match tokio::time::timeout(within, asked).await {
        Ok(response) => response.context("the server can't be asked"),
        Err(_) => bail!("the server does not answer within {within:?}"),
    }
}

/// How long the answer may take.
fn within(request: &Request) -> Duration {
    match request {
        Request::Reload { .. }
        | Request::Refresh { .. }
        | Request::Retransfer { .. }
        | Request::Publish { .. }
        | Request::ApproveCatalog { .. }
        | Request::ZoneApprove { .. }
        | Request::ZoneRollback { .. }
        | Request::Upgrade { .. } => RELOAD_WITHIN,
        _ => ANSWER_WITHIN,
    }
}

/// Asks a node.
///
/// # Errors
/// When it can't be reached, or doesn't answer in time or as it should.
pub(crate) fn ask(path: &Path, request: &Request) -> anyhow::Result<Response> {
    let shown = path.display();
    let mut stream = UnixStream::connect(path).with_context(|| {
        format!(
            "cannot reach a node at {shown}; is it running, and with this control socket? (`--control PATH`, \
             `--state-dir DIR` or `--config FILE` says where it is)"
        )
    })?;
    let within = within(request);
    stream.set_read_timeout(Some(within))?;
    stream.set_write_timeout(Some(ANSWER_WITHIN))?;
    let mut text = serde_json::to_vec(request)?;
    text.push(b'\n');
    stream.write_all(&text).with_context(|| format!("the node at {shown} does not take the request"))?;
    let mut line = Vec::new();
    BufReader::new(stream.take(RESPONSE_LEN_MAX))
        .read_until(b'\n', &mut line)
        .with_context(|| format!("the node at {shown} does not answer within {within:?}"))?;
    if !line.ends_with(b"\n") {
        bail!("the node at {shown} ended before it had answered");
    }
    serde_json::from_slice(&line).with_context(|| format!("the node at {shown} is of another version"))
}
