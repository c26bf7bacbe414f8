//! The health protocol of gRPC, `grpc.health.v1.Health/Check`, over HTTP/2. What became of a call stands in the trailers.

use super::http::{AGENT, authority, exchange, uri};
use super::{Fault, Visit, shown, tcp, tls};
use crate::config::GrpcProbe;
use health::said::grpc::{SERVING, question, status};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, TE, USER_AGENT};
use hyper::http::uri::{PathAndQuery, Scheme};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};

const PATH: PathAndQuery = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
/// The longest answer in octets: a status takes two, with five in front; what is unknown may be there too.
const ANSWER_LEN_MAX: usize = 4096;
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// A call that has gone well.
const OK: &str = "0";
/// The call of a service that the server doesn't know, by the health protocol.
const NOT_FOUND: &str = "5";
/// That there is no such method.
const UNIMPLEMENTED: &str = "12";

/// Asks how the service is.
pub(super) async fn ask(visit: &Visit<'_>, probe: &GrpcProbe) -> Result<(), Fault> {
    let mut request = Request::new(Full::new(Bytes::from(question(&probe.service))));
    *request.method_mut() = Method::POST;
    let scheme = if probe.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
    *request.uri_mut() = uri(scheme, authority(visit, probe.host.as_deref())?, PATH)?;
    request.headers_mut().extend([
        (CONTENT_TYPE, HeaderValue::from_static("application/grpc")),
        (TE, HeaderValue::from_static("trailers")),
        (USER_AGENT, AGENT),
    ]);
    let stream = tcp::connect(visit).await?;
    let judged = |response| judge(&probe.service, response);
    match &probe.tls {
        None => {
            visit.await_now("no answer");
            exchange(stream, request, judged).await
        }
        Some(tls) => {
            let stream = tls::shake_hands(visit, stream, tls).await?;
            visit.await_now("no answer");
            exchange(stream, request, judged).await
        }
    }
}

async fn judge(service: &str, response: Response<Incoming>) -> Result<(), Fault> {
    if response.status() != StatusCode::OK {
        return Err(Fault::Bad(format!("status {}", response.status())));
    }
    let is_grpc =
        response.headers().get(CONTENT_TYPE).is_some_and(|it| it.as_bytes().starts_with(b"application/grpc"));
    if !is_grpc {
        return Err(Fault::Bad("its answer is not of gRPC".to_owned()));
    }
    // A call that fails at once has what became of it in the head.
    went_well(service, response.headers(), Missing::Fine)?;
    let body = Limited::new(response.into_body(), ANSWER_LEN_MAX).collect().await;
    let body = body.map_err(|error| Fault::Bad(shown(&format!("half an answer: {error}"))))?;
    if let Some(trailers) = body.trailers() {
        went_well(service, trailers, Missing::Bad)?;
    }
    let octets = body.to_bytes();
    let status = status(&octets).ok_or_else(|| Fault::Bad("its answer can't be read".to_owned()))?;
    match status {
        SERVING => Ok(()),
        0 => Err(Fault::Bad("it says UNKNOWN".to_owned())),
        2 => Err(Fault::Bad("it says NOT_SERVING".to_owned())),
        3 => Err(Fault::Bad("it says SERVICE_UNKNOWN: it has no such `service`".to_owned())),
        other => Err(Fault::Bad(format!("it says {other}, which is no status there is"))),
    }
}

/// What it means if nothing is said of what became of a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Fine,
    Bad,
}

fn went_well(service: &str, fields: &HeaderMap, missing: Missing) -> Result<(), Fault> {
    let Some(status) = fields.get(STATUS) else {
        return match missing {
            Missing::Fine => Ok(()),
            Missing::Bad => Err(Fault::Bad("it does not say what became of the call".to_owned())),
        };
    };
    let status = String::from_utf8_lossy(status.as_bytes());
    let said = fields.get(MESSAGE).map(|it| String::from_utf8_lossy(it.as_bytes())).unwrap_or_default();
    let said = shown(&said);
    match &*status {
        OK => Ok(()),
        NOT_FOUND => Err(Fault::Bad(format!("it knows no service {service:?} (gRPC status 5): {said}"))),
        UNIMPLEMENTED => {
            Err(Fault::Bad("it has no health protocol, grpc.health.v1.Health (gRPC status 12)".to_owned()))
        }
        other => Err(Fault::Bad(format!("gRPC status {}: {said}", shown(other)))),
    }
}
