//! One question to another node: a connection of its own, one request, a bounded answer.

use crate::status::Serials;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderName};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use thiserror::Error;
use tokio::net::TcpStream;

/// The largest answer in octets. A state with a hundred checks and peers has some 50 KiB.
const ANSWER_LEN_MAX: usize = 256 * 1024;

/// The longest head of a response in octets, the least that hyper buffers.
const HEAD_LEN_MAX: usize = 8192;

/// What is read of a peer's state. It may be of another version: what else is there is passed over.
#[derive(Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(super) struct PeerState {
    /// The rung that it holds.
    pub(super) held: String,
    /// Whether it takes itself for healthy.
    pub(super) healthy: bool,
    /// Which serials it serves; an older version doesn't tell.
    #[serde(default)]
    pub(super) serials: Serials,
}

/// Why a node could not be asked.
#[derive(Error, Debug)]
pub(crate) enum AskError {
    /// Whatever it was doing, it took too long.
    #[error("no whole answer within {} ms", .0.as_millis())]
    Late(Duration),
    /// There is no connection.
    #[error("no connection: {0}")]
    Connect(#[source] io::Error),
    /// What came is not HTTP, or the connection broke.
    #[error("no HTTP answer: {0}")]
    Http(#[from] hyper::Error),
    /// Another status than 200. A redirect isn't followed: who answers is to be who is configured.
    #[error("it answers {0}; is that a node's management address?")]
    Status(StatusCode),
    /// The answer is too large.
    #[error("its answer has more than {0} octets")]
    TooLarge(usize),
    /// The answer ended early.
    #[error("its answer broke off: {0}")]
    Body(#[source] hyper::Error),
    /// The answer doesn't say what it has to.
    #[error("its answer is not what a node says: {0}")]
    State(#[from] serde_json::Error),
}

/// Asks a peer for its state.
///
/// # Errors
/// When there is no whole and proper answer within the deadline.
pub(super) async fn ask(address: SocketAddr, deadline: Duration) -> Result<PeerState, AskError> {
    let asked = async {
        let body = fetch(address, hyper::Uri::from_static("/state"), ANSWER_LEN_MAX).await?;
        Ok(serde_json::from_slice(&body)?)
    };
    tokio::time::timeout(deadline, asked).await.unwrap_or(Err(AskError::Late(deadline)))
}

/// What a node has at this path of its management address, `len_max` octets at most. Whoever calls sets the deadline.
///
/// # Errors
/// When there is no whole and proper answer.
pub(crate) async fn fetch(address: SocketAddr, path: hyper::Uri, len_max: usize) -> Result<Bytes, AskError> {
    Ok(send(address, path, None, len_max).await?.into_body())
}

/// The same, with a further line in the head of the request, and the head of the answer.
///
/// # Errors
/// When there is no whole and proper answer.
pub(crate) async fn send(
    address: SocketAddr,
    path: hyper::Uri,
    header: Option<(HeaderName, String)>,
    len_max: usize,
) -> Result<Response<Bytes>, AskError> {
    let stream = TcpStream::connect(address).await.map_err(AskError::Connect)?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_LEN_MAX)
        .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
        .await?;
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = path;
    if let Ok(host) = address.to_string().parse() {
        request.headers_mut().insert(HOST, host);
    }
    if let Some((name, value)) = header
        && let Ok(value) = value.parse()
    {
        request.headers_mut().insert(name, value);
    }
    let answer = async {
        let response = sender.send_request(request).await?;
        if response.status() != StatusCode::OK {
            return Err(AskError::Status(response.status()));
        }
        let (head, body) = response.into_parts();
        let body = Limited::new(body, len_max).collect().await;
        let body = body.map_err(|error| body_error(error, len_max))?.to_bytes();
        Ok(Response::from_parts(head, body))
    };
    let driving = async {
        // How the connection ended is told to the request, whose answer may be complete by then.
        let _told_to_the_request = connection.await;
        pending::<Infallible>().await
    };
    tokio::select! {
        answer = answer => answer,
        never = driving => match never {},
    }
}

fn body_error(error: Box<dyn std::error::Error + Send + Sync>, len_max: usize) -> AskError {
    if error.is::<LengthLimitError>() {
        return AskError::TooLarge(len_max);
    }
    match error.downcast::<hyper::Error>() {
        Ok(error) => AskError::Body(*error),
        // `Limited` passes on its body's errors, which are hyper's, or says that there is too much.
        Err(_) => AskError::TooLarge(len_max),
    }
}
