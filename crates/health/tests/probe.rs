//! Probers against a server that is not ours: groups of sockets that answer by hand, and do as they are told.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

#[path = "probe/fake.rs"]
mod fake;

use fake::{Fake, Family, Manner};
use health::{Answered, Outcome, ProbePlan, Prober, Steering, Transports};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use wire::NameBuf;
use wire::probe::Seat;

/// Longer than any scheduling delay on a busy machine; waited for in full only where nothing answers.
const TIMEOUT: Duration = Duration::from_millis(500);
const SERIAL: u32 = fake::SERIAL;

fn prober(fake: &Fake, transports: Transports) -> Prober {
    Prober::new(plan(fake, transports)).unwrap()
}

fn plan(fake: &Fake, transports: Transports) -> ProbePlan {
    ProbePlan {
        address: fake.address,
        transports,
        workers: fake.workers,
        tcp_threads: fake.tcp_threads,
        steering: Steering::ByHash,
        token: fake::TOKEN,
        timeout: TIMEOUT,
    }
}

/// The rounds of a test run on an executor of their own.
fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}

async fn round(prober: &mut Prober) -> Vec<Answered> {
    let zone = NameBuf::from_text(b"Example.COM.", None).unwrap();
    prober.round(zone.as_name(), &[SERIAL]).await
}

fn seats(fake: &Fake) -> Vec<Seat> {
    (0..fake.workers).map(Seat::UdpWorker).chain((0..fake.tcp_threads).map(Seat::TcpThread)).collect()
}

/// The threads that failed, and what was seen of them.
fn faults(answered: &[Answered]) -> Vec<(Seat, &str)> {
    answered.iter().filter(|one| one.outcome != Outcome::Pass).map(|one| (one.seat, saw(one))).collect()
}

fn saw(answered: &Answered) -> &str {
    match &answered.outcome {
        Outcome::Pass => "",
        Outcome::Fail(saw) | Outcome::Overloaded(saw) => saw,
    }
}

fn assert_all_pass(fake: &Fake, answered: &[Answered]) {
    assert_eq!(faults(answered), []);
    assert_eq!(answered.iter().map(|one| one.seat).collect::<Vec<_>>(), seats(fake));
}

#[test]
fn every_thread_is_reached_and_then_asked_once_a_round() {
    for family in [Family::V4, Family::V6] {
        let fake = Fake::start(family, 5, 3);
        run(async {
            let mut prober = prober(&fake, Transports::Both);
            assert_all_pass(&fake, &round(&mut prober).await);
            let found = fake.asked();
            for _ in 0..10 {
                let answered = round(&mut prober).await;
                assert_all_pass(&fake, &answered);
                assert!(answered.iter().all(|one| one.took < TIMEOUT), "{answered:?}");
            }
            let asked: Vec<u64> = fake.asked().iter().zip(&found).map(|(now, then)| now - then).collect();
            assert_eq!(asked, [10; 8], "the ways that were found are used again");
        });
    }
}

#[test]
fn wrong_answers_of_every_kind_are_told() {
    let cases = [
        (Manner::Rcode(2), "the response code is SERVFAIL"),
        (Manner::Rcode(5), "the response code is REFUSED"),
        (Manner::NoAuthority, "AA is not set"),
        (Manner::NoResponse, "QR is not set"),
        (Manner::Truncated, "truncated"),
        (Manner::OtherQuestion, "another question"),
        (Manner::OtherCase, "another question"),
        (Manner::NoQuestion, "0 questions"),
        (Manner::Empty, "0 records, not one SOA"),
        (Manner::Twice, "2 records, not one SOA"),
        (Manner::OtherOwner, "the SOA record is that of"),
        (Manner::OtherType, "is of type TYPE65280, not SOA"),
        (Manner::Serial(SERIAL - 1), "the serial is 2026112400, and 2026112401 is published"),
        (Manner::Cut, "can't be read"),
        (Manner::NoSeat, "doesn't say which thread gave it"),
        (Manner::Seat(Seat::UdpWorker(7)), "UDP worker 7 answered, and there are"),
        (Manner::OtherId, "another identifier"),
        (Manner::Silent, "no answer from"),
    ];
    for (manner, expected) in cases {
        let fake = Fake::start(Family::V4, 1, 1);
        run(async {
            let mut prober = prober(&fake, Transports::Both);
            // Once when it is not known yet what leads where, and once when it is.
            fake.behave(0, manner);
            fake.behave(1, manner);
            let at_first = round(&mut prober).await;
            fake.behave(0, Manner::Good);
            fake.behave(1, Manner::Good);
            assert_all_pass(&fake, &round(&mut prober).await);
            fake.behave(0, manner);
            fake.behave(1, manner);
            let later = round(&mut prober).await;
            // A search gives no more than that there is no way.
            let searched = matches!(manner, Manner::Silent | Manner::OtherId);
            let of_search = if searched { "no way to" } else { expected };
            for (round, expected) in [(at_first, of_search), (later, expected)] {
                assert_eq!(faults(&round).len(), 2, "{manner:?}: {round:?}");
                for answered in round {
                    assert!(saw(&answered).contains(expected), "{manner:?}: {answered:?}, not {expected}");
                }
            }
        });
    }
}

#[test]
fn any_of_the_serials_is_good() {
    let fake = Fake::start(Family::V4, 1, 1);
    run(async {
        let mut prober = prober(&fake, Transports::Both);
        let zone = NameBuf::from_text(b"example.com.", None).unwrap();
        let answered = prober.round(zone.as_name(), &[SERIAL - 5, SERIAL]).await;
        assert_all_pass(&fake, &answered);
        let answered = prober.round(zone.as_name(), &[]).await;
        assert_all_pass(&fake, &answered);
        let answered = prober.round(zone.as_name(), &[1, 2]).await;
        assert!(answered.iter().all(|one| saw(one).contains("and 1 or 2 is published")), "{answered:?}");
    });
}

#[test]
fn a_stuck_thread_is_named_and_the_others_are_not_held_up() {
    let fake = Fake::start(Family::V4, 3, 2);
    run(async {
        let mut prober = prober(&fake, Transports::Both);
        assert_all_pass(&fake, &round(&mut prober).await);
        fake.behave(1, Manner::Silent);
        fake.behave(3, Manner::Silent);
        for _ in 0..3 {
            let start = Instant::now();
            let answered = round(&mut prober).await;
            assert!(start.elapsed() < 2 * TIMEOUT, "{:?}", start.elapsed());
            let stuck: Vec<Seat> = faults(&answered).iter().map(|(seat, _)| *seat).collect();
            assert_eq!(stuck, [Seat::UdpWorker(1), Seat::TcpThread(0)], "{answered:?}");
            assert!(saw(&answered[1]).contains("no answer from UDP"), "{answered:?}");
            assert!(saw(&answered[3]).contains("no answer from TCP"), "{answered:?}");
            for one in answered.iter().filter(|one| one.outcome == Outcome::Pass) {
                assert!(one.took < TIMEOUT, "{one:?}");
            }
        }
        fake.behave(1, Manner::Good);
        fake.behave(3, Manner::Good);
        assert_all_pass(&fake, &round(&mut prober).await);
    });
}

#[test]
fn a_thread_that_is_stuck_from_the_start_is_named() {
    let fake = Fake::start(Family::V4, 2, 2);
    fake.behave(0, Manner::Silent);
    fake.behave(3, Manner::Silent);
    run(async {
        let mut prober = prober(&fake, Transports::Both);
        let answered = round(&mut prober).await;
        let expected = [Seat::UdpWorker(0), Seat::TcpThread(1)];
        assert_eq!(faults(&answered).iter().map(|(seat, _)| *seat).collect::<Vec<_>>(), expected);
        assert!(saw(&answered[0]).starts_with("no way to UDP worker 0 was found"), "{answered:?}");
        assert!(!saw(&answered[0]).contains(" 0 got no answer"), "{answered:?}");
        assert!(saw(&answered[3]).starts_with("no way to TCP thread 1 was found"), "{answered:?}");
    });
}

#[test]
fn late_answers_of_an_earlier_round_are_told_apart() {
    let fake = Fake::start(Family::V4, 1, 0);
    run(async {
        let mut prober = prober(&fake, Transports::Udp);
        assert_all_pass(&fake, &round(&mut prober).await);
        fake.behave(0, Manner::Postponed);
        assert!(saw(&round(&mut prober).await[0]).contains("no answer from"));
        // The answer kept back goes out before that of the next round, as from a thread that was stopped.
        fake.behave(0, Manner::Good);
        assert_all_pass(&fake, &round(&mut prober).await);
        assert_eq!(fake.postponed(), 1, "it did go out");
    });
}

#[test]
fn ways_are_looked_for_anew_when_the_group_changes() {
    let mut fake = Fake::start(Family::V4, 4, 4);
    run(async {
        let mut prober = prober(&fake, Transports::Both);
        assert_all_pass(&fake, &round(&mut prober).await);
        for _ in 0..5 {
            // Other sockets in the same places, in another order.
            fake.restart();
            assert_all_pass(&fake, &round(&mut prober).await);
        }
    });
}

#[test]
fn a_way_that_leads_to_a_stuck_thread_now_is_not_held_against_its_own() {
    let mut fake = Fake::start(Family::V4, 2, 0);
    run(async {
        for _ in 0..6 {
            fake.behave(0, Manner::Good);
            let short = ProbePlan { timeout: TIMEOUT / 4, ..plan(&fake, Transports::Udp) };
            let mut prober = Prober::new(short).unwrap();
            assert_all_pass(&fake, &round(&mut prober).await);
            // With three sockets of the first worker every third time, both ways are likely to lead there.
            fake.behave(0, Manner::Silent);
            fake.restart();
            let mut rounds = 0;
            while round(&mut prober).await[1].outcome != Outcome::Pass {
                rounds += 1;
                // A search misses one in four sockets about once in a hundred times.
                assert!(rounds < 6, "the second worker answers, and no way to it is found");
            }
        }
    });
}

#[test]
fn a_worker_without_a_socket_is_named() {
    let fake = Fake::start(Family::V4, 3, 2);
    run(async {
        let mut plan = plan(&fake, Transports::Both);
        plan.workers += 1;
        plan.tcp_threads += 1;
        let mut prober = Prober::new(plan).unwrap();
        let answered = round(&mut prober).await;
        let missing: Vec<Seat> = faults(&answered).iter().map(|(seat, _)| *seat).collect();
        assert_eq!(missing, [Seat::UdpWorker(3), Seat::TcpThread(2)], "{answered:?}");
        assert!(saw(&answered[3]).contains("64 source ports were tried, 0 got no answer"), "{answered:?}");
    });
}

#[test]
fn nobody_listening_is_told_at_once() {
    let mut fake = Fake::start(Family::V4, 2, 2);
    run(async {
        let mut prober = prober(&fake, Transports::Both);
        let mut seen = Vec::new();
        assert_all_pass(&fake, &round(&mut prober).await);
        fake.stop();
        let start = Instant::now();
        seen.extend(round(&mut prober).await);
        seen.extend(round(&mut Prober::new(plan(&fake, Transports::Both)).unwrap()).await);
        assert!(start.elapsed() < TIMEOUT, "{:?}", start.elapsed());
        assert_eq!(seen.len(), 8);
        for one in &seen {
            assert!(saw(one).starts_with("nobody listens on"), "{one:?}");
        }
        fake.restart();
        assert_all_pass(&fake, &round(&mut prober).await);
    });
}

#[test]
fn queries_for_an_address_that_is_not_here_are_not_sent() {
    let address: SocketAddr = "192.0.2.77:53".parse().unwrap(); // RFC 5737: nobody's
    let fake = Fake::start(Family::V4, 1, 1);
    run(async {
        let mut prober = Prober::new(ProbePlan { address, ..plan(&fake, Transports::Both) }).unwrap();
        let answered = round(&mut prober).await;
        assert_eq!(answered.len(), 2);
        for one in &answered {
            assert!(saw(one).contains("assign requested address"), "{one:?}");
        }
    });
}

#[test]
fn steering_by_cpu_leaves_the_thread_where_it_may_be() {
    let fake = Fake::start(Family::V4, 3, 0);
    let before = rustix::thread::sched_getaffinity(None).unwrap();
    run(async {
        // A group that goes by hash is found as well.
        let plan = ProbePlan { steering: Steering::ByCpu, ..plan(&fake, Transports::Udp) };
        let mut prober = Prober::new(plan).unwrap();
        for _ in 0..5 {
            assert_all_pass(&fake, &round(&mut prober).await);
        }
    });
    assert!(rustix::thread::sched_getaffinity(None).unwrap() == before);
}
