//! More queries than the workers can take: what is lost in the sockets' queues degrades the route, and no more than that.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use starling_tests::name::Name;
use starling_tests::query::Query;
use starling_tests::{netns, tools};

use super::agent::{DEGRADED, LIMIT, Place, SERVICE, UP, check, lines};
use crate::node::TYPE_SOA;

/// How long a flood may last, and how many queries it may have: both end it, whatever the test does.
const LASTS_MAX: Duration = Duration::from_secs(20);
/// How long one is kept up, so that several rounds of probes meet full queues.
const LASTS_MIN: Duration = Duration::from_secs(3);
const QUERIES_MAX: u64 = 20_000_000;
/// How many threads send. Two take what two cores have; each of them asks from one port, so that all its queries are for one
/// worker.
const SENDERS: usize = 2;

/// Sends queries to an address, as fast as the kernel takes them, until it is told to stop.
fn flood(server: SocketAddr, stop: &AtomicBool, sent: &AtomicU64) -> Result<()> {
    let query = Query::new(Name::parse("small.example.")?, TYPE_SOA).bytes(9);
    let socket = UdpSocket::bind(if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    socket.connect(server)?;
    let began = Instant::now();
    while !stop.load(Ordering::Relaxed) && began.elapsed() < LASTS_MAX {
        for _ in 0..64 {
            // Answers are not read, and the queue of this socket that is full of them is nobody's trouble.
            let _refused_or_not = socket.send(&query);
        }
        if sent.fetch_add(64, Ordering::Relaxed) > QUERIES_MAX {
            break;
        }
    }
    Ok(())
}

#[test]
fn what_is_lost_in_full_queues_degrades_the_route_for_as_long_as_it_is() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let drops = "[[check]]\nname = \"drops\"\naction = \"degrade\"\ninterval-ms = 200\nfall = 2\nrise = 3\n";
    let place = Place::new("flood", drops)?;
    let agent = place.start()?;
    let server = agent.server()?;
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let target: SocketAddr = SERVICE[0].parse()?;
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS)
            .map(|_| scope.spawn(|| place.namespace.inside(|| flood(target, &stop, &sent))))
            .collect();
        let flooded =
            || {
                let began = Instant::now();
                agent.wait(DEGRADED)?;
                agent.explains("lost queries", |told| {
                    check(told, "drops")["standing"] == "failing"
                        && lines(&told["reasons"]).contains("were lost in full queues")
                })?;
                tools::poll("enough for probes to fail", LIMIT, || {
                    Ok((began.elapsed() > LASTS_MIN).then_some(()))
                })
            };
        let flooded = flooded();
        stop.store(true, Ordering::Relaxed);
        for sender in senders {
            sender.join().expect("no sender panics")??;
        }
        flooded
    })?;
    agent.wait(UP)?;
    agent.explains("the check", |told| check(told, "drops")["standing"] == "passing")?;
    let metrics = place.get("/metrics")?.body;
    // Those that the kernel dropped before it was an overload, and those that it did not take in from then on.
    let count = |cause: &str| {
        let start = format!("starling_drops_total{{cause=\"{cause}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&start)?.parse::<u64>().ok())
    };
    let lost = count("queue").zip(count("shed")).map(|(queue, shed)| queue + shed);
    tools::announce(&format!("of {} queries {lost:?} were lost", sent.load(Ordering::Relaxed)));
    ensure!(lost.is_some_and(|lost| lost > 0), "{metrics}");
    // Full queues lose probes too, and that is no reason to leave.
    let history = place.json(&["history"])?;
    let down = history.as_array().is_some_and(|all| all.iter().any(|step| step["to"] == "down"));
    ensure!(!down, "{}", agent.process.log_tail());
    ensure!(agent.server()? == server, "another server\n{}", agent.process.log_tail());
    tools::poll("readiness", LIMIT, || Ok((place.get("/readyz")?.status == 200).then_some(())))
}
