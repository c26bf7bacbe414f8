//! What is answered on which path.

use super::{Extent, SNAPSHOT_WITHIN, Snapshot, Source, metrics};
use crate::pools::{Asked, MAC_HEADER, NotAsked, PATH, Told};
use crate::status::{AgentStatus, CheckStatus, NodeStatus};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::time::timeout;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const STRANGER: &str = "this is for nodes that have the key of [pool-sharing]";

/// An answer before it becomes an HTTP response.
#[derive(PartialEq, Eq, Debug)]
struct Page {
    status: StatusCode,
    content_type: &'static str,
    body: String,
    /// Who says it, where who reads it has to know.
    mac: Option<String>,
}

impl Page {
    fn text(status: StatusCode, body: impl Into<String>) -> Page {
        let mut body = body.into();
        body.push('\n');
        Page { status, content_type: TEXT, body, mac: None }
    }

    fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(self.body)));
        *response.status_mut() = self.status;
        if let Some(mac) = self.mac.and_then(|mac| mac.parse().ok()) {
            response.headers_mut().insert(HeaderName::from_static(MAC_HEADER), mac);
        }
        let mut header = |name: HeaderName, value| {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        };
        header(CONTENT_TYPE, self.content_type);
        header(CACHE_CONTROL, "no-store");
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            header(ALLOW, "GET, HEAD");
        }
        response
    }
}

/// Answers one request. The body of one is not read: nothing here takes any.
pub(super) async fn answer<B>(request: &Request<B>, source: &Source) -> Response<Full<Bytes>> {
    let (page, extent): (fn(Snapshot) -> Page, Extent) = match request.uri().path() {
        "/metrics" => (metrics_page, Extent::All),
        "/healthz" => (health, Extent::Own),
        "/readyz" => (readiness, Extent::Own),
        "/state" => (state, Extent::Own),
        "/zones" => match first_zone(request.uri().query()) {
            Some(from) => (digests, Extent::Digests(from)),
            None => {
                let help = "`from` is the number of a zone, as in /zones?from=1000";
                return Page::text(StatusCode::BAD_REQUEST, help).into_response();
            }
        },
        PATH => match asked(request) {
            Ok(asked) => (sights, Extent::Sights(asked)),
            Err(NotAsked) => return Page::text(StatusCode::UNAUTHORIZED, STRANGER).into_response(),
        },
        _ => {
            let help = "nothing is here; there are /metrics, /healthz, /readyz, /state, /zones and, for peers, /pool-views";
            return Page::text(StatusCode::NOT_FOUND, help).into_response();
        }
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let help = "this can only be read; `starling ctl` changes things";
        return Page::text(StatusCode::METHOD_NOT_ALLOWED, help).into_response();
    }
    let page = match timeout(SNAPSHOT_WITHIN, source(extent)).await {
        Ok(snapshot) => page(snapshot),
        Err(_) => {
            let trouble = format!("the node can't say how it is within {SNAPSHOT_WITHIN:?}");
            Page::text(StatusCode::SERVICE_UNAVAILABLE, trouble)
        }
    };
    page.into_response()
}

fn metrics_page(snapshot: Snapshot) -> Page {
    let body = metrics::text(snapshot);
    Page { status: StatusCode::OK, content_type: metrics::CONTENT_TYPE, body, mac: None }
}

/// Whether the node works: its process lives, its server answers, and nothing hard is failing.
fn health(snapshot: Snapshot) -> Page {
    let trouble = match (&snapshot.agent, &snapshot.server) {
        (Some(agent), _) => agent_trouble(agent),
        (None, Some(_)) => None,
        (None, None) => Some("the server loads its zones".to_owned()),
    };
    match trouble {
        None => Page::text(StatusCode::OK, "healthy"),
        Some(trouble) => Page::text(StatusCode::SERVICE_UNAVAILABLE, one_line(&trouble)),
    }
}

fn agent_trouble(agent: &AgentStatus) -> Option<String> {
    if agent.server.state != "ready" {
        return Some(format!("the server is {}", agent.server.state));
    }
    let is_hard =
        |check: &&CheckStatus| check.gravity == "hard" && check.standing == "failing" && !check.overloaded;
    let hard = agent.checks.iter().find(is_hard)?;
    let saw = hard.last.iter().find_map(|result| result.failure.as_deref());
    Some(format!("check {} fails: {}", hard.name, saw.unwrap_or("its last runs passed, but too few yet")))
}

/// Whether queries should come here: the route is announced, and not only to drain.
fn readiness(snapshot: Snapshot) -> Page {
    match (&snapshot.agent, &snapshot.server) {
        (Some(agent), _) => route_readiness(agent),
        (None, Some(server)) => zones_readiness(server),
        (None, None) => Page::text(StatusCode::SERVICE_UNAVAILABLE, "the server loads its zones"),
    }
}

fn route_readiness(agent: &AgentStatus) -> Page {
    let good = |rung: &str| matches!(rung, "up" | "degraded");
    // Both: a route that can't be taken away is no invitation, and one that can't be had is none either.
    let status = if good(&agent.wanted) && good(&agent.held) {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let mut body = format!("{} is wanted, {} is held", agent.wanted, agent.held);
    for reason in agent.reasons.iter().chain(&agent.blocked) {
        body.push('\n');
        body.push_str(&one_line(reason));
    }
    Page::text(status, body)
}

fn zones_readiness(server: &NodeStatus) -> Page {
    let zones = server.zones;
    let body = format!(
        "zones: {} ok, {} stale, {} failed, {} expired",
        zones.ok, zones.stale, zones.failed, zones.expired
    );
    let status = if zones.ok + zones.stale > 0 { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Page::text(status, body)
}

/// Which zone a page of digests begins with: the first, where nothing is said.
fn first_zone(query: Option<&str>) -> Option<usize> {
    match query {
        None | Some("") => Some(0),
        Some(query) => query.strip_prefix("from=")?.parse().ok(),
    }
}

/// A page of the versions of zones that answer, for `starling compare`.
fn digests(snapshot: Snapshot) -> Page {
    let Some(page) = snapshot.digests else {
        return Page::text(StatusCode::SERVICE_UNAVAILABLE, "the server does not say which zones it serves");
    };
    json(&page)
}

/// How a peer asks what the checks of pools see.
fn asked<B>(request: &Request<B>) -> Result<Asked, NotAsked> {
    let header = request.headers().get(AUTHORIZATION).and_then(|header| header.to_str().ok());
    header.ok_or(NotAsked)?.parse()
}

/// What the checks of pools see, for peers.
fn sights(snapshot: Snapshot) -> Page {
    let (status, text) = match snapshot.told {
        Some(Told::Sights { body, mac }) => {
            return Page { status: StatusCode::OK, content_type: JSON, body, mac: Some(mac) };
        }
        Some(Told::Stranger) => (StatusCode::UNAUTHORIZED, STRANGER),
        Some(Told::OtherTime) => (StatusCode::FORBIDDEN, "the clocks differ by more than five minutes"),
        Some(Told::NotShared) => {
            (StatusCode::NOT_FOUND, "this node shares nothing: it has no [pool-sharing]")
        }
        None => (StatusCode::SERVICE_UNAVAILABLE, "the server does not say what its checks see"),
    };
    Page::text(status, text)
}

/// What the agent knows, for peers and people.
fn state(snapshot: Snapshot) -> Page {
    let Some(agent) = snapshot.agent else {
        let help = "this node has no agent, and so no route; `starling ctl status` shows the server";
        return Page::text(StatusCode::NOT_FOUND, help);
    };
    json(&agent)
}

fn json(value: &impl serde::Serialize) -> Page {
    match serde_json::to_string(value) {
        Ok(body) => Page { status: StatusCode::OK, content_type: JSON, body, mac: None },
        Err(error) => {
            let body = format!("this can't be written as JSON: {error}");
            Page::text(StatusCode::INTERNAL_SERVER_ERROR, body)
        }
    }
}

/// What a check saw may have line breaks, and one line is one reason.
fn one_line(text: &str) -> String {
    text.replace(|c: char| c.is_control(), " ")
}

#[cfg(test)]
mod tests;
