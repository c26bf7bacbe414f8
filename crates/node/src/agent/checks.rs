//! The node's checks: which there are, and who runs them.
//!
//! Runs that take time are tasks of their own and send [`Observation`]s; what can be seen from the server's beats is looked
//! at when they come.

use super::probing;
use super::serials::Behind;
use super::view::View;
use crate::config::{AnycastConfig, CheckConfig, Config, default_action};
use crate::link::{Beat, ProbeZone};
use crate::status::Serials;
use health::exec;
use health::{Check, CheckIndex, CheckSpec, Gravity, Moment, Outcome, Panel, SpecError, resources};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

/// How many results may wait for the loop. It takes them in within microseconds; where it doesn't, runs wait.
const OBSERVATIONS_MAX: usize = 256;
/// The least free memory and disk if nobody says: enough to log in and mend.
const MIN_FREE_MIB: u64 = 64;
/// The most queries lost in full queues if nobody says, in percent.
const DROPS_MAX_PERCENT: u64 = 5;

/// How long zones may be older than those of the peers if nobody says: some times what a change takes to get around by
/// files that are copied every few minutes. Less would tell of each change, more of a node that misses them too late.
const BEHIND_MAX: Duration = Duration::from_secs(600);

/// The result of a run.
pub(crate) struct Observation {
    /// The check's position in the panel.
    pub(crate) check: CheckIndex,
    /// How long the run took.
    pub(crate) took: Duration,
    /// What came of it.
    pub(crate) outcome: Outcome,
}

/// What a check looks at.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Subject {
    /// A service address: by UDP (false) or TCP (true).
    Address(SocketAddr, Transport),
    /// Whether zones are missing.
    Zones,
    /// Queries lost in full queues.
    Drops { max_percent: u64 },
    /// Threads that wait for a CPU.
    Cpu,
    /// Serials that are behind those of the peers.
    Serials,
    /// What BIRD says; run with the verification.
    Bird,
    /// Free memory.
    Memory { min_mib: u64 },
    /// Free space in the state folder.
    Disk { folder: PathBuf, min_mib: u64 },
    /// A command.
    Exec(Vec<String>),
}

/// How a service address is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

/// All checks of a node.
pub(crate) struct Checks {
    /// Their state.
    pub(crate) panel: Panel,
    subjects: Vec<(CheckIndex, Subject)>,
    /// When they began.
    since: Moment,
    drops_seen: Option<(u64, u64)>,
    drops_due: Moment,
    /// Queries received and lost as of the last beat.
    counts: Option<(u64, u64)>,
    cpu_due: Moment,
    behind: Behind,
    behind_max: Duration,
    serials_due: Moment,
    zones_due: Moment,
}

/// The defaults of a kind of check.
struct Defaults {
    interval: Duration,
    timeout: Duration,
    rise: u32,
    fall: u32,
    gravity: Gravity,
}

fn defaults(name: &str, anycast: &AnycastConfig) -> Defaults {
    let of = |interval, timeout, rise, fall, gravity| Defaults {
        interval: Duration::from_millis(interval),
        timeout: Duration::from_millis(timeout),
        rise,
        fall,
        gravity,
    };
    match name {
        // Three rounds in a row: a lost datagram, or one round that met a change of serial, withdraws nothing.
        "probe" => Defaults { interval: anycast.probe_every, ..of(200, 400, 3, 3, Gravity::Hard) },
        "zones" => of(200, 1_000, 1, 2, Gravity::Hard),
        "drops" => of(1_000, 1_000, 5, 3, Gravity::Soft),
        // A thread that has waited for a CPU for 0.1 s was without one for 0.3 s or more.
        "cpu" => of(200, 1_000, 10, 2, Gravity::Soft),
        "serials" => of(1_000, 1_000, 1, 1, Gravity::Soft),
        "bird" => of(1_000, 2_000, 1, 2, Gravity::Soft),
        "memory" => of(5_000, 1_000, 2, 2, Gravity::Soft),
        "disk" => of(10_000, 5_000, 2, 2, Gravity::Soft),
        _ => of(5_000, 2_000, 2, 3, Gravity::Soft),
    }
}

impl Checks {
    /// The checks of a configuration.
    ///
    /// # Errors
    /// A check that can't be, such as one whose time-out is longer than is allowed.
    pub(crate) fn new(config: &Config, anycast: &AnycastConfig, now: Moment) -> Result<Checks, SpecError> {
        let mut checks = Checks {
            since: now,
            panel: Panel::default(),
            subjects: Vec::new(),
            drops_seen: None,
            drops_due: Moment::default(),
            counts: None,
            cpu_due: Moment::default(),
            behind: Behind::default(),
            behind_max: BEHIND_MAX,
            serials_due: Moment::default(),
            zones_due: Moment::default(),
        };
        let given = |name: &str| config.checks.iter().find(|check| check.name == name);
        for address in probing::targets(config, anycast) {
            for (transport, word) in [(Transport::Udp, "udp"), (Transport::Tcp, "tcp")] {
                let name = format!("probe-{word}-{address}");
                checks.add(name, "probe", given("probe"), Subject::Address(address, transport), anycast)?;
            }
        }
        checks.add("zones".to_owned(), "zones", given("zones"), Subject::Zones, anycast)?;
        let max_percent = given("drops").and_then(|check| check.max_percent).unwrap_or(DROPS_MAX_PERCENT);
        checks.add("drops".to_owned(), "drops", given("drops"), Subject::Drops { max_percent }, anycast)?;
        checks.add("cpu".to_owned(), "cpu", given("cpu"), Subject::Cpu, anycast)?;
        if !config.peers.is_empty() {
            checks.behind_max = given("serials").and_then(|check| check.max_behind).unwrap_or(BEHIND_MAX);
            checks.add("serials".to_owned(), "serials", given("serials"), Subject::Serials, anycast)?;
        }
        if anycast.bird.is_some() {
            checks.add("bird".to_owned(), "bird", given("bird"), Subject::Bird, anycast)?;
        }
        let min_mib = |name: &str| given(name).and_then(|check| check.min_mib).unwrap_or(MIN_FREE_MIB);
        let memory = Subject::Memory { min_mib: min_mib("memory") };
        checks.add("memory".to_owned(), "memory", given("memory"), memory, anycast)?;
        if let Some(folder) = config.node.state_dir.clone() {
            let disk = Subject::Disk { folder, min_mib: min_mib("disk") };
            checks.add("disk".to_owned(), "disk", given("disk"), disk, anycast)?;
        }
        for check in &config.checks {
            if let Some(command) = &check.exec {
                let subject = Subject::Exec(command.clone());
                checks.add(check.name.clone(), &check.name, Some(check), subject, anycast)?;
            }
        }
        // There is no server yet.
        checks.forget_the_server(now);
        Ok(checks)
    }

    fn add(
        &mut self,
        name: String,
        kind: &str,
        given: Option<&CheckConfig>,
        subject: Subject,
        anycast: &AnycastConfig,
    ) -> Result<(), SpecError> {
        let defaults = defaults(kind, anycast);
        let interval = given.and_then(|check| check.interval).unwrap_or(defaults.interval);
        let spec = CheckSpec {
            name,
            interval,
            timeout: given.and_then(|check| check.timeout).unwrap_or(defaults.timeout),
            rise: given.and_then(|check| check.rise).unwrap_or(defaults.rise),
            fall: given.and_then(|check| check.fall).unwrap_or(defaults.fall),
            action: given.and_then(|check| check.action).unwrap_or_else(|| default_action(kind)),
            gravity: given.and_then(|check| check.gravity).unwrap_or(defaults.gravity),
            shared: given.is_some_and(|check| check.shared),
        };
        let index = self.panel.add(Check::new(spec, self.since)?)?;
        self.subjects.push((index, subject));
        Ok(())
    }

    /// Looks at what can be seen in a beat; tells how the server is overloaded, if too many queries were lost since the last
    /// one.
    pub(crate) fn beat(&mut self, now: Moment, beat: &Beat) -> Option<String> {
        if now >= self.zones_due {
            self.zones_due = now + self.interval_of(&Subject::Zones);
            let outcome = zones(beat);
            self.observe_where(now, |subject| *subject == Subject::Zones, &outcome);
        }
        let (counts, max_percent) = ((beat.received, beat.queue_drops), self.drops_max_percent());
        if now >= self.drops_due {
            self.drops_due = now + self.interval_of(&Subject::Drops { max_percent });
            if let Some(before) = self.drops_seen.replace(counts) {
                let is_drops = |subject: &Subject| matches!(subject, Subject::Drops { .. });
                self.observe_where(now, is_drops, &drops(before, counts, max_percent));
            }
        }
        match drops(self.counts.replace(counts)?, counts, max_percent) {
            Outcome::Pass => None,
            Outcome::Fail(saw) | Outcome::Overloaded(saw) => Some(saw),
        }
    }

    /// The most queries that may be lost in full queues, in percent.
    fn drops_max_percent(&self) -> u64 {
        let found = self.subjects.iter().find_map(|(_, subject)| match subject {
            Subject::Drops { max_percent } => Some(*max_percent),
            _ => None,
        });
        found.unwrap_or(DROPS_MAX_PERCENT)
    }

    /// Takes in which thread of the server waits for a CPU, if one does.
    pub(crate) fn cpu(&mut self, now: Moment, waits: Option<&str>) {
        if now >= self.cpu_due {
            self.cpu_due = now + self.interval_of(&Subject::Cpu);
            let outcome = waits.map_or(Outcome::Pass, |waits| Outcome::Fail(waits.to_owned()));
            self.observe_where(now, |subject| *subject == Subject::Cpu, &outcome);
        }
    }

    /// The server is another one: what was seen of the one before says nothing of it.
    pub(crate) fn forget_the_server(&mut self, now: Moment) {
        self.drops_seen = None;
        self.counts = None;
        for (index, subject) in &self.subjects {
            let of_server = match subject {
                Subject::Address(..) | Subject::Zones | Subject::Drops { .. } | Subject::Cpu => true,
                Subject::Serials => true,
                Subject::Bird | Subject::Memory { .. } | Subject::Disk { .. } | Subject::Exec(_) => false,
            };
            if of_server {
                self.panel.forget(*index, now);
            }
        }
    }

    /// What BIRD's verification came to.
    pub(crate) fn bird(&mut self, now: Moment, outcome: &Outcome) {
        self.observe_where(now, |subject| *subject == Subject::Bird, outcome);
    }

    /// Compares the serials of this node, which serves these zones, with those of its peers, if it is time to.
    pub(crate) fn serials(&mut self, now: Moment, own: &[ProbeZone], peers: impl FnOnce() -> Vec<Serials>) {
        // Without a server there is nothing to compare.
        if own.is_empty() || now < self.serials_due {
            return;
        }
        self.serials_due = now + self.interval_of(&Subject::Serials);
        let outcome = self.behind.look(now, own, &peers(), self.behind_max);
        self.observe_where(now, |subject| *subject == Subject::Serials, &outcome);
    }

    fn interval_of(&self, wanted: &Subject) -> Duration {
        let found = self.subjects.iter().find(|(_, subject)| subject == wanted);
        found.map_or(Duration::ZERO, |(index, _)| self.panel.get(*index).spec().interval)
    }

    fn observe_where(&mut self, now: Moment, chosen: impl Fn(&Subject) -> bool, outcome: &Outcome) {
        for (index, _) in self.subjects.iter().filter(|(_, subject)| chosen(subject)) {
            self.panel.observe(*index, now, Duration::ZERO, outcome.clone());
        }
    }

    /// The checks of an address, by transport.
    fn of_address(&self, address: SocketAddr, transport: Transport) -> Option<CheckIndex> {
        let wanted = Subject::Address(address, transport);
        self.subjects.iter().find(|(_, subject)| *subject == wanted).map(|(index, _)| *index)
    }

    /// Starts the tasks that run the checks.
    pub(crate) fn start(
        &self,
        targets: Vec<probing::Target>,
        view: &Rc<View>,
        executor: &Rc<exec::Runner>,
    ) -> mpsc::Receiver<Observation> {
        let (observations, receiver) = mpsc::channel(OBSERVATIONS_MAX);
        for target in targets {
            let udp = self.of_address(target.address, Transport::Udp);
            let tcp = self.of_address(target.address, Transport::Tcp);
            let (Some(udp), Some(tcp)) = (udp, tcp) else { continue };
            let spec = self.panel.get(udp).spec();
            let rounds = probing::Rounds { udp, tcp, every: spec.interval, timeout: spec.timeout };
            tokio::task::spawn_local(probing::run(target, rounds, Rc::clone(view), observations.clone()));
        }
        for (index, subject) in &self.subjects {
            let spec = self.panel.get(*index).spec();
            let runner = Repeated {
                check: *index,
                every: spec.interval,
                timeout: spec.timeout,
                observations: observations.clone(),
            };
            match subject.clone() {
                Subject::Memory { min_mib } => {
                    tokio::task::spawn_local(
                        runner.run(async move || resources::check_memory(min_mib << 20)),
                    );
                }
                Subject::Disk { folder, min_mib } => {
                    let look = async move || {
                        // A disk that hangs must not hold up the loop.
                        let folder = folder.clone();
                        let looked = tokio::task::spawn_blocking(move || {
                            resources::check_disk(&folder, min_mib << 20)
                        });
                        looked.await.unwrap_or_else(|error| Outcome::Fail(error.to_string()))
                    };
                    tokio::task::spawn_local(runner.run(look));
                }
                Subject::Exec(command) => {
                    let (executor, timeout) = (Rc::clone(executor), spec.timeout);
                    tokio::task::spawn_local(runner.run(async move || executor.run(&command, timeout).await));
                }
                Subject::Address(..)
                | Subject::Zones
                | Subject::Drops { .. }
                | Subject::Cpu
                | Subject::Serials
                | Subject::Bird => {}
            }
        }
        receiver
    }
}

/// Runs one check again and again.
struct Repeated {
    check: CheckIndex,
    every: Duration,
    timeout: Duration,
    observations: mpsc::Sender<Observation>,
}

impl Repeated {
    async fn run(self, look: impl AsyncFn() -> Outcome) {
        let mut ticks = interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let began = Instant::now();
            // Commands have the time-out themselves, which also kills them; half as much again is for those that hang all
            // the same.
            let within = self.timeout + self.timeout / 2;
            let outcome = match tokio::time::timeout(within, look()).await {
                Ok(outcome) => outcome,
                Err(_) => Outcome::Fail(format!("nothing was heard within {within:?}")),
            };
            let observation = Observation { check: self.check, took: began.elapsed(), outcome };
            if self.observations.send(observation).await.is_err() {
                return;
            }
        }
    }
}

/// Whether zones are missing: a critical one, or all.
fn zones(beat: &Beat) -> Outcome {
    if !beat.critical_failed.is_empty() {
        return Outcome::Fail(format!("critical zones are not served: {}", beat.critical_failed.join(", ")));
    }
    if beat.zones_ok + beat.zones_stale == 0 {
        return Outcome::Fail(format!("none of {} zones is served", beat.zones_failed));
    }
    Outcome::Pass
}

/// Whether too many queries were lost since the last look, because more came than could be answered.
fn drops(before: (u64, u64), after: (u64, u64), max_percent: u64) -> Outcome {
    let received = after.0.saturating_sub(before.0);
    let dropped = after.1.saturating_sub(before.1);
    let percent = (dropped * 100).checked_div(received + dropped).unwrap_or(0);
    if percent > max_percent {
        return Outcome::Fail(format!(
            "{dropped} of {} queries ({percent} %) were lost in full queues or shed",
            received + dropped
        ));
    }
    Outcome::Pass
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_critical_zone_that_is_missing_counts_and_another_does_not() {
        let beat = Beat { zones_ok: 3, zones_failed: 1, ..Beat::default() };
        assert_eq!(zones(&beat), Outcome::Pass);
        let beat = Beat { critical_failed: vec!["a.example.".to_owned()], ..beat };
        assert!(matches!(zones(&beat), Outcome::Fail(saw) if saw.contains("a.example.")));
        let beat = Beat { zones_failed: 2, ..Beat::default() };
        assert!(matches!(zones(&beat), Outcome::Fail(_)));
        assert_eq!(zones(&Beat { zones_stale: 1, ..beat }), Outcome::Pass);
    }

    #[test]
    fn drops_are_measured_against_what_came() {
        assert_eq!(drops((0, 0), (0, 0), 5), Outcome::Pass);
        assert_eq!(drops((1_000, 10), (2_000, 60), 5), Outcome::Pass);
        assert!(
            matches!(drops((1_000, 10), (1_900, 110), 5), Outcome::Fail(saw) if saw.contains("100 of 1000"))
        );
    }
}
