//! One look at an endpoint.

use crate::config::{PoolCheck, Probe};
use health::Outcome;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use std::io;
use std::net::{IpAddr, SocketAddr};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// The longest head of a response in octets, the least that hyper buffers.
const HEAD_LEN_MAX: usize = 8192;
/// How much of a body is looked at, in octets.
const BODY_LEN_MAX: usize = 65_536;
/// Who asks, so that endpoints can leave checks out of their logs.
const AGENT: HeaderValue = HeaderValue::from_static("starling-check");

/// Looks at an endpoint, no longer than its check allows.
pub(super) async fn look(check: &PoolCheck, address: IpAddr) -> Outcome {
    let at = SocketAddr::new(address, check.port);
    let looked = async {
        let stream = connect(at, &check.sources).await.map_err(|error| format!("no connection: {error}"))?;
        match &check.probe {
            Probe::Tcp => Ok(()),
            Probe::Http { host, path, statuses, contains } => {
                let page = Page { host: host.as_deref(), path, statuses, contains: contains.as_deref() };
                page.fetch(stream, at).await
            }
        }
    };
    match timeout(check.timeout, looked).await {
        Ok(Ok(())) => Outcome::Pass,
        Ok(Err(why)) => Outcome::Fail(why),
        Err(_) => Outcome::Fail(format!("no answer within {} ms", check.timeout.as_millis())),
    }
}

async fn connect(at: SocketAddr, sources: &[IpAddr]) -> io::Result<TcpStream> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = sources.iter().find(|source| source.is_ipv4() == at.is_ipv4()) {
        socket.bind(SocketAddr::new(*source, 0))?;
    }
    socket.connect(at).await
}

/// A page that is to be had.
struct Page<'c> {
    host: Option<&'c str>,
    path: &'c str,
    statuses: &'c [u16],
    contains: Option<&'c str>,
}

impl Page<'_> {
    /// Asks for it, and looks at what comes.
    async fn fetch(&self, stream: TcpStream, at: SocketAddr) -> Result<(), String> {
        let builder = {
            let mut builder = http1::Builder::new();
            builder.max_buf_size(HEAD_LEN_MAX);
            builder
        };
        let shaken = builder.handshake::<_, Empty<Bytes>>(TokioIo::new(stream)).await;
        let (mut sender, connection) = shaken.map_err(|error| format!("no HTTP: {error}"))?;
        let mut request = Request::new(Empty::new());
        *request.uri_mut() =
            self.path.parse::<Uri>().map_err(|error| format!("the path is none: {error}"))?;
        let host = self.host.map_or_else(|| at.to_string(), str::to_owned);
        let host = HeaderValue::try_from(host).map_err(|error| format!("the host is none: {error}"))?;
        request.headers_mut().extend([
            (HOST, host),
            (USER_AGENT, AGENT),
            (CONNECTION, HeaderValue::from_static("close")),
        ]);
        let answered = async {
            let response =
                sender.send_request(request).await.map_err(|error| format!("no answer: {error}"))?;
            let status = response.status();
            if !self.statuses.contains(&status.as_u16()) {
                return Err(format!("status {status}"));
            }
            let Some(contains) = self.contains else { return Ok(()) };
            // What is too long is looked at as far as it has come.
            let mut body = Limited::new(response.into_body(), BODY_LEN_MAX);
            let mut seen: Vec<u8> = Vec::new();
            while let Some(Ok(frame)) = body.frame().await {
                if let Some(data) = frame.data_ref() {
                    seen.extend_from_slice(data);
                }
                if seen.windows(contains.len()).any(|window| window == contains.as_bytes()) {
                    return Ok(());
                }
            }
            Err(format!("{contains:?} is not in the first {} octets of the body", seen.len()))
        };
        tokio::pin!(answered);
        tokio::select! {
            answered = &mut answered => return answered,
            // How the connection ended is told to the request, whose answer may be complete by then.
            _told = connection => {}
        }
        answered.await
    }
}
