//! Several nodes that see each other late, and fall ill all at once: some must stay.

use anycast::Rung;
use anycast::governor::{Governor, LastSite, Mode, Policy};
use health::{Action, Failing, Gravity, Moment, Verdict};
use std::time::Duration;

use crate::{each_seed, ms, span};

/// How long a node's past is kept: longer than what anybody can still read of it.
const PAST: Duration = Duration::from_secs(30);

#[test]
fn soft_reasons_never_take_every_node() {
    each_seed("soft_reasons_never_take_every_node", 400, |seed| {
        let mut fleet = Fleet::new(seed);
        fleet.run(ms(60_000));
        assert_eq!(fleet.announced(), fleet.nodes.len(), "all begin well");
        for _ in 0..100 {
            fleet.fall_ill_or_get_well();
            let by = match fleet.rng.u32(0..10) {
                0..6 => span(&mut fleet.rng, 0..2_000),
                6..9 => span(&mut fleet.rng, 0..20_000),
                _ => span(&mut fleet.rng, 0..300_000),
            };
            fleet.run(by);
        }
        fleet.steps
    });
}

struct Node {
    governor: Governor,
    /// When it has to be asked.
    due: Option<Moment>,
    rung: Rung,
    /// Since when it told its peers that it is healthy or not, the newest last.
    told: Vec<(Moment, bool)>,
    ill: bool,
    /// When it reads its peers again, and whether it can at all.
    reads: Moment,
    cut_off: bool,
}

struct Fleet {
    rng: fastrand::Rng,
    now: Moment,
    site: LastSite,
    nodes: Vec<Node>,
    steps: u64,
}

impl Fleet {
    fn new(seed: u64) -> Fleet {
        let mut rng = fastrand::Rng::with_seed(seed);
        // Three nodes of which one must stay are the usual case.
        let (count, peers_min) = if rng.bool() { (3, 1) } else { (rng.usize(2..7), rng.u32(1..4)) };
        let site = LastSite { peers_min, peers_age_max: span(&mut rng, 500..5_000) };
        let policy = Policy {
            last_site: Some(site),
            stable: span(&mut rng, 500..10_000),
            hold_down: ms(1_000),
            hold_down_max: ms(10_000),
            transitions_per_hour_max: 1_000,
            ..Policy::default()
        };
        let now = Moment::default();
        let mut node = |_| {
            let mut governor =
                Governor::new(policy.clone(), Mode::Normal, rng.u64(..), now).expect("a sound policy");
            governor.server_ready(now);
            governor.observe(now, Verdict::default());
            let told = vec![(now, false)];
            Node { governor, due: Some(now), rung: Rung::Down, told, ill: false, reads: now, cut_off: false }
        };
        let nodes = (0..count).map(&mut node).collect();
        Fleet { rng, now, site, nodes, steps: 0 }
    }

    fn announced(&self) -> usize {
        self.nodes.iter().filter(|node| node.rung.is_announced()).count()
    }

    /// Lets time pass from one thing that is due to the next.
    fn run(&mut self, by: Duration) {
        let end = self.now + by;
        while let Some((due, at)) = self.next().filter(|(due, _)| *due <= end) {
            self.now = due;
            if self.nodes[at].reads <= due {
                self.read_peers(at);
            }
            self.poll(at);
        }
        self.now = end;
    }

    fn next(&self) -> Option<(Moment, usize)> {
        let due = |node: &Node| node.due.map_or(node.reads, |due| due.min(node.reads));
        self.nodes.iter().enumerate().map(|(at, node)| (due(node), at)).min()
    }

    /// Some or all nodes get a soft reason to withdraw, or lose it: at once, or nearly.
    fn fall_ill_or_get_well(&mut self) {
        let ill = self.rng.u32(0..3) > 0;
        let all = self.rng.bool();
        let spread = [1, 100, 1_000, 10_000][self.rng.usize(0..4)];
        for at in 0..self.nodes.len() {
            if self.rng.u32(0..20) == 0 {
                self.nodes[at].cut_off = !self.nodes[at].cut_off;
            }
            if all || self.rng.bool() {
                self.set(at, ill);
                let by = span(&mut self.rng, 0..spread);
                self.run(by);
            }
        }
    }

    fn set(&mut self, at: usize, ill: bool) {
        let mut verdict = Verdict::default();
        if ill {
            let action = if self.rng.u32(0..8) == 0 { Action::Degrade } else { Action::Withdraw };
            let (check, saw) = ("stale".to_owned(), "old".to_owned());
            verdict.failing.push(Failing { check, action, gravity: Gravity::Soft, since: self.now, saw });
        }
        self.nodes[at].ill = ill;
        self.nodes[at].governor.observe(self.now, verdict);
        self.poll(at);
    }

    fn poll(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let decision = node.governor.poll(self.now);
        (node.due, node.rung) = (decision.next, decision.rung);
        assert!(!decision.healthy || !node.ill, "an ill node says that it is well");
        if node.told.last().is_none_or(|(_, healthy)| *healthy != decision.healthy) {
            node.told.push((self.now, decision.healthy));
            node.told.retain(|(told, _)| self.now.since(*told) < PAST * 2 || *told == self.now);
        }
        self.steps += 1;
        let floor = self.nodes.len().min(self.site.peers_min as usize);
        let started = self.now >= Moment(ms(60_000));
        assert!(
            !started || self.announced() >= floor,
            "{} of {floor} announced at {:?}",
            self.announced(),
            self.now
        );
    }

    /// Reads every peer as it was some time ago, each at another time.
    fn read_peers(&mut self, at: usize) {
        let age_max = self.site.peers_age_max;
        // Less often than the state may be old, now and then: then it counts as none.
        self.nodes[at].reads = self.now + age_max.mul_f64(0.02 + 0.6 * self.rng.f64());
        if self.nodes[at].cut_off {
            return;
        }
        let (mut healthy, mut oldest) = (0, self.now);
        for other in (0..self.nodes.len()).filter(|other| *other != at) {
            let as_of = crate::earlier(self.now, age_max.mul_f64(0.5 * self.rng.f64()));
            let told = self.nodes[other].told.iter().rev().find(|(told, _)| *told <= as_of);
            healthy += u32::from(told.is_some_and(|(_, healthy)| *healthy));
            oldest = oldest.min(as_of);
        }
        self.nodes[at].governor.peers(self.now, healthy, oldest);
    }
}
