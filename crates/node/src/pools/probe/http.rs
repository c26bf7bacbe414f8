//! Pages of endpoints, over HTTP/1.1 and HTTP/2, in clear text and over TLS.

use super::{Fault, Visit, shown, tcp, tls};
use crate::config::{HttpProbe, HttpVersion, Measure, Method};
use health::said;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::header::{CONNECTION, HOST, HeaderValue, USER_AGENT};
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::rt::Executor;
use hyper::{HeaderMap, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

/// The longest head of a response in octets, the least that hyper buffers.
const HEAD_LEN_MAX: usize = 8192;
/// How much of a body is looked at, in octets.
const BODY_LEN_MAX: usize = 65_536;
/// How much of what an endpoint sends over HTTP/2 waits to be looked at, in octets: what it may send without being asked to go on
/// (RFC 9113 §6.9.2). The library's own 5 MiB, of many endpoints at once, would be too much.
const WINDOW: u32 = 65_535;
/// The longest frame of HTTP/2 in octets, the least that there may be (RFC 9113 §6.5.2).
const FRAME_LEN_MAX: u32 = 16_384;
/// How many streams that were given up are remembered; a look has one.
const RESET_MAX: usize = 4;
/// Who asks, so that endpoints can leave checks out of their logs.
pub(super) const AGENT: HeaderValue = HeaderValue::from_static("starling-check");

/// Asks for a page, and looks at what comes.
pub(super) async fn fetch(visit: &Visit<'_>, page: &HttpProbe) -> Result<(), Fault> {
    let stream = tcp::connect(visit).await?;
    match &page.tls {
        None => over(visit, page, stream).await,
        Some(tls) => over(visit, page, tls::shake_hands(visit, stream, tls).await?).await,
    }
}

async fn over<S>(visit: &Visit<'_>, page: &HttpProbe, stream: S) -> Result<(), Fault>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.method_mut() = match page.method {
        Method::Get => hyper::Method::GET,
        Method::Head => hyper::Method::HEAD,
    };
    let authority = authority(visit, page.host.as_deref())?;
    let path: PathAndQuery =
        page.path.parse().map_err(|error| Fault::Blind(format!("the path is none: {error}")))?;
    request.headers_mut().insert(USER_AGENT, AGENT);
    visit.await_now("no answer");
    match page.version {
        HttpVersion::One => {
            let host = HeaderValue::try_from(authority.as_str());
            let host = host.map_err(|error| Fault::Blind(format!("the host is none: {error}")))?;
            request.headers_mut().extend([(HOST, host), (CONNECTION, HeaderValue::from_static("close"))]);
            *request.uri_mut() = path.into();
            let mut builder = http1::Builder::new();
            builder.max_buf_size(HEAD_LEN_MAX);
            let (mut sender, connection) =
                builder.handshake(TokioIo::new(stream)).await.map_err(no_answer)?;
            let answered =
                async { judge(visit, page, sender.send_request(request).await.map_err(no_answer)?).await };
            drive(answered, connection).await
        }
        HttpVersion::Two => {
            let scheme = if page.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
            *request.uri_mut() = uri(scheme, authority, path)?;
            exchange(stream, request, |response| judge(visit, page, response)).await
        }
    }
}

/// What a request says the host is.
pub(super) fn authority(visit: &Visit<'_>, host: Option<&str>) -> Result<Authority, Fault> {
    let text = host.map_or_else(|| visit.at.to_string(), str::to_owned);
    text.parse().map_err(|error| Fault::Blind(format!("the host is none: {error}")))
}

/// RFC 9113 §8.3.1: requests over HTTP/2 have a scheme and an authority.
pub(super) fn uri(scheme: Scheme, authority: Authority, path: PathAndQuery) -> Result<Uri, Fault> {
    let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build();
    uri.map_err(|error| Fault::Blind(format!("the path is none: {error}")))
}

/// Sends a request over HTTP/2, and has the response judged.
pub(super) async fn exchange<S, B, F>(
    stream: S,
    request: Request<B>,
    judge: impl FnOnce(Response<Incoming>) -> F,
) -> Result<(), Fault>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
    F: Future<Output = Result<(), Fault>>,
{
    let tied = Tied::default();
    let _ends = Ends(tied.clone());
    let mut builder = http2::Builder::new(tied);
    builder
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_frame_size(FRAME_LEN_MAX)
        .max_header_list_size(HEAD_LEN_MAX as u32)
        .max_concurrent_reset_streams(RESET_MAX);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(no_answer)?;
    let answered = async { judge(sender.send_request(request).await.map_err(no_answer)?).await };
    drive(answered, connection).await
}

/// Waits for an answer while its connection is served.
async fn drive(
    answered: impl Future<Output = Result<(), Fault>>,
    connection: impl Future,
) -> Result<(), Fault> {
    tokio::pin!(answered);
    tokio::select! {
        answered = &mut answered => return answered,
        // How the connection ended is told to the request, whose answer may be complete by then.
        _told = connection => {}
    }
    answered.await
}

/// The tasks of a connection, which end with the look: the library's go on until the endpoint closes it, which that may never do.
#[derive(Clone, Default)]
struct Tied(Arc<Mutex<JoinSet<()>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tied {
    fn execute(&self, task: F) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).spawn(task);
    }
}

/// Ends them.
struct Ends(Tied);

impl Drop for Ends {
    fn drop(&mut self) {
        let Tied(tasks) = &self.0;
        tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

/// Why there was no answer, with what the library has as the reason.
pub(super) fn no_answer(error: hyper::Error) -> Fault {
    let why = match error.source() {
        Some(source) => format!("no answer: {error}: {source}"),
        None => format!("no answer: {error}"),
    };
    Fault::Bad(shown(&why))
}

async fn judge(visit: &Visit<'_>, page: &HttpProbe, response: Response<Incoming>) -> Result<(), Fault> {
    let status = response.status();
    if !page.statuses.contains(&status.as_u16()) {
        return Err(Fault::Bad(format!("status {status}")));
    }
    has_fields(page, response.headers()).map_err(Fault::Bad)?;
    if let Some(Measure::Header(name)) = visit.measure() {
        let field = response.headers().get(name).map(HeaderValue::as_bytes);
        let said =
            |value: &[u8]| format!("its answer has {name}: {}", shown(&String::from_utf8_lossy(value)));
        let load = field.ok_or_else(|| format!("its answer has no {name}"));
        visit.note_load(load.and_then(|value| said::decimal(value).ok_or_else(|| said(value))));
    }
    let load_after = match visit.measure() {
        Some(Measure::Body { after }) => Some(after.as_deref().unwrap_or_default()),
        _ => None,
    };
    if page.contains.is_none() && load_after.is_none() {
        return Ok(());
    }
    // What is too long is looked at as far as it has come.
    let mut body = Limited::new(response.into_body(), BODY_LEN_MAX);
    let mut seen: Vec<u8> = Vec::new();
    let mut is_found = page.contains.is_none();
    while let Some(Ok(frame)) = body.frame().await {
        let Some(data) = frame.data_ref() else { continue };
        let before = seen.len();
        seen.extend_from_slice(data);
        if let Some(contains) = page.contains.as_deref().filter(|_| !is_found) {
            // What was looked through already is left out, so that a body in drops costs no more than one at once.
            let from = (before + 1).saturating_sub(contains.len());
            is_found = seen[from..].windows(contains.len()).any(|window| window == contains.as_bytes());
        }
        if is_found && load_after.is_none() {
            return Ok(());
        }
    }
    if let Some(before) = load_after {
        let load = said::after(&seen, before).and_then(said::decimal);
        visit.note_load(load.ok_or_else(|| no_load(before, seen.len())));
    }
    match &page.contains {
        Some(contains) if !is_found => {
            Err(Fault::Bad(format!("{contains:?} is not in the first {} octets of the body", seen.len())))
        }
        _ => Ok(()),
    }
}

/// That a body of this length has no load after this text.
fn no_load(before: &str, len: usize) -> String {
    match before {
        "" => "its body does not begin with a number".to_owned(),
        _ => format!("no number stands after {before:?} in the first {len} octets of the body"),
    }
}

/// Whether the head has all fields that it has to, and what is wrong if it hasn't.
fn has_fields(page: &HttpProbe, fields: &HeaderMap) -> Result<(), String> {
    for (name, wanted) in &page.headers {
        let mut values = fields.get_all(name).iter();
        match (wanted, values.next()) {
            (_, None) => return Err(format!("its answer has no {name}")),
            (None, Some(_)) => {}
            (Some(wanted), Some(first)) => {
                let is_wanted = |value: &HeaderValue| value.as_bytes() == wanted.as_bytes();
                if !is_wanted(first) && !values.any(is_wanted) {
                    let said = String::from_utf8_lossy(first.as_bytes());
                    return Err(format!("its answer has {name}: {}, and not {wanted}", shown(&said)));
                }
            }
        }
    }
    Ok(())
}
