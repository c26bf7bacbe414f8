use super::*;
use crate::config::{self, Primary, SecondaryConfig};
use std::sync::mpsc::{Receiver, sync_channel};
use transfer::Soa;
use transfer::refresh::{Report, Surveyed};

const HOUR: Duration = Duration::from_secs(3600);

/// A driver of one zone, whose keeper is this test, and what it is told.
struct Driven {
    driver: Driver,
    copies: watch::Sender<Arc<[ConfiguredCopy]>>,
    told: Receiver<keeper::Request>,
    key: Key,
}

fn soa(serial: u32) -> Soa {
    Soa { serial, refresh: HOUR, retry: HOUR, expire: HOUR }
}

/// A copy that expires so long after it was confirmed.
fn copy(expire: Duration, expired: bool) -> ConfiguredCopy {
    let address = "192.0.2.1:53".parse().unwrap();
    let primaries = vec![Primary { address, key: None, tls: None }];
    let mut config = SecondaryConfig { primaries, ..SecondaryConfig::default() };
    (config.clamps.expire.min, config.clamps.expire.max) = (expire, expire);
    let name = config::apex("example").unwrap();
    let config = Arc::new(config);
    ConfiguredCopy { name, config, soa: Some(soa(1)), expired, incarnation: 0, revision: 0 }
}

impl Driven {
    fn new(copy: ConfiguredCopy) -> Driven {
        let (keeper, told) = sync_channel(16);
        let key = copy.name.as_name().as_wire().into();
        let (copies, configured) = watch::channel(Arc::from([copy]));
        let (notices, heard) = Notices::new();
        let supplies =
            Supplies { copies: configured, keeper, board: Arc::default(), confirmations: None, heard };
        let mut driver = Driver::new(supplies, notices, Arc::default());
        driver.reconfigure();
        Driven { driver, copies, told, key }
    }

    /// What the keeper is told of the copy.
    fn verdicts(&mut self) -> Vec<Verdict> {
        self.driver.send();
        let verdict = |request| match request {
            keeper::Request::Judge(judgement) => judgement.verdict,
            _ => panic!("something else"),
        };
        self.told.try_iter().map(verdict).collect()
    }

    fn configure(&mut self, copy: ConfiguredCopy) {
        self.copies.send_replace(Arc::from([copy]));
        self.driver.reconfigure();
    }

    fn zone(&mut self) -> &mut Zone {
        self.driver.zones.get_mut(&self.key).unwrap()
    }

    /// Says that the copy has expired, if it has so long from now; with a round under way nothing is asked.
    fn pass(&mut self, time: Duration) {
        let now = self.driver.now();
        self.zone().machine.begin(now);
        self.driver.advance(now + time);
    }

    fn finish(&mut self, end: End) {
        let surveyed = vec![Surveyed { primary: 0, serial: Some(2) }];
        let report = Report { surveyed, rejected: Vec::new(), end };
        let outcome = Outcome { report, said: Ok(String::new()), answered: HashMap::new() };
        let (key, incarnation) = (self.key.clone(), self.zone().incarnation);
        self.driver.finish(Ended { key, incarnation, asked: Vec::new(), outcome });
    }
}

#[test]
fn a_copy_that_expires_while_it_is_renewed_is_served_afterwards() {
    for (end, verdicts) in [
        (End::Renewed(soa(2)), vec![Verdict::Expired, Verdict::Confirmed]),
        (End::Current, vec![Verdict::Expired, Verdict::Confirmed]),
        (End::Failed, vec![Verdict::Expired]),
    ] {
        let mut driven = Driven::new(copy(HOUR, false));
        driven.pass(2 * HOUR);
        driven.finish(end);
        assert_eq!(driven.verdicts(), verdicts, "{end:?}");
    }
}

#[test]
fn a_reload_judges_an_expired_copy_by_the_bounds_of_now() {
    let mut driven = Driven::new(copy(HOUR, false));
    driven.pass(2 * HOUR);
    assert_eq!(driven.verdicts(), [Verdict::Expired]);
    driven.configure(copy(100 * HOUR, true));
    assert_eq!(driven.verdicts(), [Verdict::Extended]);
    driven.pass(2 * HOUR);
    driven.finish(End::Current);
    assert_eq!(driven.verdicts(), [], "it is served");
    // Too old by the new bounds as well: what becomes of it may be something else now.
    let now = driven.driver.now();
    driven.zone().confirmed = Some(Confirmed::before(3 * HOUR, now));
    driven.configure(copy(2 * HOUR, true));
    driven.pass(Duration::ZERO);
    assert_eq!(driven.verdicts(), [Verdict::Expired]);
}

#[test]
fn a_clock_that_is_set_makes_no_copy_older() {
    let mut driven = Driven::new(copy(HOUR, false));
    driven.zone().confirmed.as_mut().unwrap().at = Some(SystemTime::UNIX_EPOCH);
    driven.configure(copy(2 * HOUR, false));
    let expires = driven.zone().machine.expires().unwrap();
    assert!(expires > HOUR, "{expires:?}");
}
