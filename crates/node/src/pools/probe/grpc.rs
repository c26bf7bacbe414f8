//! The health protocol of gRPC, `grpc.health.v1.Health/Check`, over HTTP/2.
//!
//! The request is a message with the name of the service as field 1, and the answer one with a status as field 1; both have five
//! octets in front, whether it is compressed and how long it is. What became of the call stands in the trailers.

use super::http::{AGENT, authority, exchange, uri};
use super::{Fault, Visit, shown, tcp, tls};
use crate::config::GrpcProbe;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, TE, USER_AGENT};
use hyper::http::uri::{PathAndQuery, Scheme};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};

const PATH: PathAndQuery = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
/// The longest answer in octets: a status takes two, with five in front; what is unknown may be there too.
const ANSWER_LEN_MAX: usize = 4096;
/// The octets in front of a message.
const PREFIX_LEN: usize = 5;
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// A call that has gone well.
const OK: &str = "0";
/// The call of a service that the server doesn't know, by the health protocol.
const NOT_FOUND: &str = "5";
/// That there is no such method.
const UNIMPLEMENTED: &str = "12";
/// The only status that is good.
const SERVING: u64 = 1;

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

/// A `HealthCheckRequest` with what stands in front of messages.
fn question(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(1 << 3 | 2); // field 1, of octets
        put_varint(&mut message, service.len() as u64);
        message.extend(service.as_bytes());
    }
    let len = message.len() as u32; // a name has at most 1,024 octets
    [&[0][..], &len.to_be_bytes(), &message].concat()
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

/// The status of a `HealthCheckResponse` with what stands in front of it; `None` where it is none.
fn status(octets: &[u8]) -> Option<u64> {
    let (prefix, message) = octets.split_at_checked(PREFIX_LEN)?;
    let len = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
    // Nothing was said of compression, so there must be none; and a call has one answer.
    if prefix[0] != 0 || usize::try_from(len).ok()? != message.len() {
        return None;
    }
    let mut rest = message;
    // What is not there is 0, and the last one counts (the encoding of protocol buffers).
    let mut status = 0;
    while !rest.is_empty() {
        let key = take_varint(&mut rest)?;
        match (key >> 3, key & 7) {
            (1, 0) => status = take_varint(&mut rest)?,
            (_, 0) => drop(take_varint(&mut rest)?),
            (_, 1) => rest = rest.get(8..)?,
            (_, 2) => {
                let len = usize::try_from(take_varint(&mut rest)?).ok()?;
                rest = rest.get(len..)?;
            }
            (_, 5) => rest = rest.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80); // its low seven bits
        number >>= 7;
    }
    out.push(number as u8); // less than 128
}

fn take_varint(octets: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (&octet, rest) = octets.split_first()?;
        *octets = rest;
        number |= u64::from(octet & 0x7f) << shift;
        if octet & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_as_other_encoders_have_them() {
        assert_eq!(question(""), [0, 0, 0, 0, 0]);
        assert_eq!(question("web"), *b"\0\0\0\0\x05\x0a\x03web");
        let long = question(&"x".repeat(300));
        assert_eq!((long.len(), &long[..8]), (5 + 3 + 300, &[0, 0, 0, 1, 47, 0x0a, 0xac, 0x02][..]));
    }

    #[test]
    fn only_a_whole_answer_has_a_status() {
        assert_eq!(status(b"\0\0\0\0\x02\x08\x01"), Some(SERVING));
        assert_eq!(status(b"\0\0\0\0\0"), Some(0));
        assert_eq!(status(b"\0\0\0\0\x04\x08\x02\x08\x01"), Some(SERVING), "the last one counts");
        assert_eq!(
            status(b"\0\0\0\0\x07\x12\x01x\x08\x01\x10\x00"),
            Some(SERVING),
            "what is unknown is left out"
        );
        for wrong in [
            &b""[..],
            b"\0\0\0\0",
            b"\x01\0\0\0\x02\x08\x01",
            b"\0\0\0\0\x03\x08\x01",
            b"\0\0\0\0\x01\x08",
            b"\0\0\0\0\x02\x12\x7f",
            b"\0\0\0\0\x02\x0b\x01",
            b"\0\0\0\0\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            assert_eq!(status(wrong), None, "{wrong:?}");
        }
    }
}
