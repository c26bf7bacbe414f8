use super::super::samples::{agent, snapshot};
use super::super::{Endpoint, Source};
use super::*;
use crate::status::AgentStatus;
use std::net::SocketAddr;
use std::rc::Rc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

/// Short enough for a test, long enough for a busy machine to answer within.
const TIMING: Timing = Timing { interval: Duration::from_millis(100), deadline: Duration::from_millis(400) };
/// What a late end of a deadline may be late by on a busy machine.
const SLACK: Duration = Duration::from_secs(2);

const GOOD: &str = r#"{"held":"up","healthy":true,"of-a-later-version":{"x":[1]}}"#;

fn with_runtime<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, future)
}

fn http(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// A peer that answers every connection with these octets, and then closes it.
async fn answering(octets: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn_local(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let octets = octets.clone();
            tokio::task::spawn_local(async move {
                let mut request = [0; 1024];
                let _read = stream.read(&mut request).await;
                let _client_may_have_gone = stream.write_all(&octets).await;
            });
        }
    });
    address
}

/// A peer that accepts and then lets `each` deal with the connection.
async fn accepting<F: Future<Output = ()> + 'static>(each: fn(TcpStream) -> F) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::task::spawn_local(each(stream));
        }
    });
    address
}

async fn hanging(stream: TcpStream) {
    pending::<()>().await;
    drop(stream);
}

/// A proper answer, an octet a second.
async fn trickling(mut stream: TcpStream) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    for octet in http("200 OK", GOOD) {
        ticks.tick().await;
        if stream.write_all(&[octet]).await.is_err() {
            return;
        }
    }
}

async fn refusing() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// Every way in which a peer can fail to say that it announces, and what is said about it.
async fn bad_peers() -> Vec<(&'static str, SocketAddr, &'static str)> {
    let huge = format!("{{\"held\":\"up\",\"healthy\":true,\"x\":\"{}\"}}", "x".repeat(300 * 1024));
    let endless = [b"HTTP/1.1 200 OK\r\nx: ".as_slice(), &[b'y'; 100_000]].concat();
    let cut = b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"held\":\"up\",".to_vec();
    let redirect = b"HTTP/1.1 302 Found\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n".to_vec();
    vec![
        ("refusing", refusing().await, "no connection"),
        ("hanging", accepting(hanging).await, "no whole answer within 400 ms"),
        ("trickling", accepting(trickling).await, "no whole answer within 400 ms"),
        ("closing", answering(Vec::new()).await, "no HTTP answer"),
        ("garbage", answering(b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec()).await, "no HTTP answer"),
        ("endless head", answering(endless).await, "no HTTP answer"),
        ("huge", answering(http("200 OK", &huge)).await, "more than 262144 octets"),
        ("cut", answering(cut).await, "broke off"),
        ("redirect", answering(redirect).await, "302"),
        ("no agent", answering(http("404 Not Found", "")).await, "404"),
        ("no JSON", answering(http("200 OK", "<html>")).await, "not what a node says"),
        ("other JSON", answering(http("200 OK", "{\"status\":\"ok\"}")).await, "not what a node says"),
        (
            "wrong type",
            answering(http("200 OK", r#"{"held":1,"healthy":true}"#)).await,
            "not what a node says",
        ),
        ("degraded", answering(http("200 OK", &GOOD.replace("up", "degraded"))).await, "it is degraded"),
        ("sick", answering(http("200 OK", &GOOD.replace("true", "false"))).await, "not healthy"),
    ]
}

#[test]
fn whatever_a_peer_does_it_is_over_within_the_deadline() {
    with_runtime(async {
        for (what, address, _) in bad_peers().await {
            let start = Instant::now();
            let answer = ask(address, TIMING.deadline).await;
            let took = start.elapsed();
            assert!(took < TIMING.deadline + SLACK, "{what}: {took:?}, {answer:?}");
        }
    });
}

#[test]
fn only_a_peer_that_says_so_announces() {
    with_runtime(async {
        let bad = bad_peers().await;
        let good = answering(http("200 OK", GOOD)).await;
        let mut configured = vec![PeerConfig { name: "good".to_owned(), address: good }];
        configured.extend(
            bad.iter().map(|(name, address, _)| PeerConfig { name: (*name).to_owned(), address: *address }),
        );
        let peers = Peers::new(configured, TIMING);
        let unasked = peers.view();
        assert_eq!(unasked.healthy, Some(0), "who has not been asked does not announce");
        let asked = |view: &PeersView| {
            view.statuses.iter().all(|status| status.trouble.as_deref() != Some("not asked yet"))
        };
        let view = watched_until(&peers, asked).await;
        assert_eq!(view.healthy, Some(1), "{view:#?}");
        assert!(view.statuses[0].healthy, "{:?}", view.statuses[0]);
        assert_eq!(view.statuses[0].rung.as_deref(), Some("up"));
        for ((what, _, trouble), status) in bad.iter().zip(&view.statuses[1..]) {
            assert!(!status.healthy, "{what}: {status:?}");
            assert!(status.trouble.as_ref().unwrap().contains(trouble), "{what}: {status:?}");
        }
    });
}

/// Watches until the view is as wanted; the view.
async fn watched_until(peers: &Peers, wanted: impl Fn(&PeersView) -> bool) -> PeersView {
    let looking = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        loop {
            ticks.tick().await;
            let view = peers.view();
            if wanted(&view) {
                return view;
            }
        }
    };
    tokio::select! {
        view = tokio::time::timeout(Duration::from_secs(20), looking) => {
            view.unwrap_or_else(|_| panic!("after 20 s: {:#?}", peers.view()))
        }
        never = peers.watch() => match never {},
    }
}

fn telling(agent: AgentStatus) -> Source {
    Rc::new(move |_| Box::pin(std::future::ready(snapshot(Some(agent.clone())))))
}

#[test]
fn a_node_reads_what_another_tells_and_forgets_it_when_that_ends() {
    with_runtime(async {
        let endpoint = Endpoint::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let peer = PeerConfig { name: "ams1".to_owned(), address: endpoint.addresses()[0] };
        let peers = Peers::new(vec![peer], TIMING);
        for (held, healthy) in [("up", 1), ("degraded", 0), ("up", 1)] {
            let serving = endpoint.serve(telling(agent("up", held)));
            let as_told = |view: &PeersView| view.statuses[0].rung.as_deref() == Some(held);
            let view = tokio::select! {
                view = watched_until(&peers, as_told) => view,
                never = serving => match never {},
            };
            assert_eq!(view.healthy, Some(healthy), "{view:?}");
        }
        drop(endpoint);
        let view = watched_until(&peers, |view| view.healthy == Some(0)).await;
        assert_eq!(view.statuses[0].rung, None, "{view:?}");
        assert!(view.statuses[0].answered_ms_ago.is_some(), "{view:?}");
    });
}

#[test]
fn an_old_answer_counts_no_more() {
    let peer = PeerConfig { name: "fra1".to_owned(), address: "192.0.2.20:8053".parse().unwrap() };
    let peers = Peers::new(vec![peer], TIMING);
    let heard = Instant::now();
    let state = PeerState { held: "up".to_owned(), healthy: true, serials: Serials::new() };
    *locked(&peers.records[0]) = Record { answer: Some((heard, state)), trouble: None };
    assert_eq!(peers.view_at(heard + TIMING.interval * 3).healthy, Some(1));
    let stale = peers.view_at(heard + TIMING.interval * 3 + Duration::from_millis(1));
    assert_eq!(stale.healthy, Some(0));
    assert_eq!(stale.statuses[0].trouble.as_deref(), Some("not asked for 301 ms"));
    assert_eq!(stale.statuses[0].answered_ms_ago, Some(301));
}

#[test]
fn without_peers_there_is_no_count() {
    let peers = Peers::new(Vec::new(), Timing::default());
    assert_eq!(peers.view(), PeersView { statuses: Vec::new(), healthy: None });
}
