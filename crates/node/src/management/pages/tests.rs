use super::super::samples::{agent, check, snapshot};
use super::*;
use http_body_util::BodyExt;
use std::rc::Rc;

/// The answer to a request: status, content type, body.
fn asked(method: Method, target: &str, snapshot: Snapshot) -> (u16, String, String) {
    asked_of(method, target, Rc::new(move |_| Box::pin(std::future::ready(snapshot.clone()))))
}

fn asked_of(method: Method, target: &str, source: Source) -> (u16, String, String) {
    let request = Request::builder().method(method).uri(target).body(()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let response = answer(&request, &source).await;
        let content_type = response.headers()[CONTENT_TYPE].to_str().unwrap().to_owned();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, content_type, String::from_utf8(body.to_vec()).unwrap())
    })
}

fn get(target: &str, snapshot: Snapshot) -> (u16, String) {
    let (status, _, body) = asked(Method::GET, target, snapshot);
    (status, body)
}

#[test]
fn a_server_alone_is_healthy_once_it_answers() {
    let loading = Snapshot::loading();
    let wait = (503, "the server loads its zones\n".to_owned());
    assert_eq!(get("/healthz", loading.clone()), wait);
    assert_eq!(get("/readyz", loading), wait);
    assert_eq!(get("/healthz", snapshot(None)), (200, "healthy\n".to_owned()));
    assert_eq!(
        get("/readyz", snapshot(None)),
        (200, "zones: 1 ok, 1 stale, 1 failed, 0 expired\n".to_owned())
    );
    let mut none_served = snapshot(None);
    none_served.server.as_mut().unwrap().zones =
        crate::status::ZoneCounts { ok: 0, stale: 0, failed: 1, expired: 1 };
    assert_eq!(get("/readyz", none_served).0, 503);
}

#[test]
fn health_is_the_server_and_the_hard_checks() {
    let health = |change: fn(&mut AgentStatus)| {
        let mut agent = agent("up", "up");
        change(&mut agent);
        get("/healthz", snapshot(Some(agent)))
    };
    assert_eq!(health(|_| {}), (200, "healthy\n".to_owned()));
    assert_eq!(
        health(|agent| agent.server.state = "frozen".to_owned()),
        (503, "the server is frozen\n".to_owned())
    );
    assert_eq!(
        health(|agent| agent.checks.push(check("tcp6", "hard", "failing"))),
        (503, "check tcp6 fails: SERVFAIL seen\n".to_owned()),
        "one line, whatever the check saw"
    );
    assert_eq!(health(|agent| agent.checks.push(check("disk", "soft", "failing"))).0, 200);
    assert_eq!(health(|agent| agent.checks.push(check("tcp6", "hard", "unknown"))).0, 200);
}

#[test]
fn a_node_is_ready_while_it_is_announced_and_meant_to_be() {
    let cases = [
        ("up", "up", 200),
        ("degraded", "up", 200),
        ("up", "degraded", 200),
        ("draining", "up", 503),
        ("draining", "draining", 503),
        ("up", "down", 503),
        ("down", "up", 503),
        ("down", "down", 503),
    ];
    for (wanted, held, expected) in cases {
        let mut agent = agent(wanted, held);
        agent.blocked = vec!["3 s more without failure".to_owned()];
        let (status, body) = get("/readyz", snapshot(Some(agent)));
        assert_eq!(status, expected, "{wanted}, {held}");
        let lines =
            format!("{wanted} is wanted, {held} is held\nprobes are good\n3 s more without failure\n");
        assert_eq!(body, lines);
    }
}

#[test]
fn state_is_the_agents_status() {
    let agent = agent("up", "up");
    let (status, content_type, body) = asked(Method::GET, "/state", snapshot(Some(agent.clone())));
    assert_eq!((status, content_type.as_str()), (200, "application/json"));
    assert_eq!(serde_json::from_str::<AgentStatus>(&body).unwrap(), agent);
    assert_eq!(get("/state", snapshot(None)).0, 404);
}

#[test]
fn other_paths_and_methods_are_refused() {
    for target in ["/", "/metrics/", "/metricsx", "/Healthz"] {
        assert_eq!(get(target, snapshot(None)).0, 404, "{target}");
    }
    assert_eq!(get("/metrics?x=1", snapshot(None)).0, 200);
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
        assert_eq!(asked(method.clone(), "/healthz", snapshot(None)).0, 405, "{method}");
        assert_eq!(asked(method.clone(), "/nothing", snapshot(None)).0, 404, "{method}");
    }
}

/// Peers have a deadline, and a frozen server must not take its agent's word away.
#[test]
fn only_metrics_ask_for_more_than_the_process_knows_itself() {
    let source: Source = Rc::new(|extent| match extent {
        Extent::Own => Box::pin(std::future::ready(snapshot(Some(agent("up", "up"))))),
        Extent::All | Extent::Digests(_) | Extent::Sights(_) => Box::pin(std::future::pending()),
    });
    for target in ["/healthz", "/readyz", "/state"] {
        assert_eq!(asked_of(Method::GET, target, Rc::clone(&source)).0, 200, "{target}");
    }
    let (status, _, body) = asked_of(Method::GET, "/metrics", source);
    assert_eq!((status, body.as_str()), (503, "the node can't say how it is within 3s\n"));
}

#[test]
fn zones_come_in_pages() {
    let text = get("/zones", snapshot(None)).1;
    assert!(
        text.starts_with(
            r#"{"zones":[{"name":"example.com.","serial":4000000000,"content":"c0de","since":""#
        )
    );
    assert!(
        text.ends_with(r#"],"next":null,"order":1}"#) && !text.contains("bad."),
        "only what is served: {text}"
    );
    let asked = Rc::new(std::cell::Cell::new(None));
    let seen = Rc::clone(&asked);
    let source: Source = Rc::new(move |extent| {
        seen.set(Some(extent));
        Box::pin(std::future::ready(Snapshot::loading()))
    });
    let (status, _, _) = asked_of(Method::GET, "/zones?from=2000", source);
    assert_eq!((status, asked.get()), (503, Some(Extent::Digests(2000))));
    for query in ["from=-1", "from=", "form=1", "from=1&to=2", "from=99999999999999999999999"] {
        assert_eq!(get(&format!("/zones?{query}"), snapshot(None)).0, 400, "{query}");
    }
}
