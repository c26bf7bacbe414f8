//! What other nodes say, and who of them counts. It asks nobody and takes the time as an argument.

use super::sights::{NodeId, Seen, Sight};
use crate::config::SharingConfig;
use crate::status::{PeerSight, SharingPeer, SharingStatus};
use pool::Others;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What is to be added to a moment at which an answer still counts, so that it counts no more.
const AFTER: Duration = Duration::from_millis(1);

/// What all peers say.
pub(super) struct Views {
    own: NodeId,
    fresh_for: Duration,
    /// Since when they are asked.
    since: Instant,
    records: Vec<Record>,
}

/// What is known of a peer.
struct Record {
    name: String,
    address: SocketAddr,
    answer: Option<Answer>,
    /// Why the last question had no good answer; none if it had.
    trouble: Option<String>,
}

/// A good answer.
pub(super) struct Answer {
    /// When it was asked for.
    pub(super) at: Instant,
    /// Who gave it.
    pub(super) node: NodeId,
    /// What that node has seen.
    pub(super) seen: HashMap<Sight, Seen>,
}

/// How a peer counts.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Standing {
    /// It does.
    Heard,
    /// It doesn't: it has not answered for too long.
    Silent,
    /// It doesn't: it is somebody who counts already.
    Known(String),
}

impl Views {
    /// Peers of which nothing is known, but for what is carried over of those that were asked before.
    pub(super) fn new(own: NodeId, sharing: &SharingConfig, before: Option<Views>, now: Instant) -> Views {
        // Who was isolated before is so until somebody is heard.
        let since = before.as_ref().filter(|views| views.is_isolated(now)).map_or(now, |views| views.since);
        let mut known = before.map_or_else(Vec::new, |views| views.records);
        let records = sharing.peers.iter().map(|peer| {
            let is_it = |record: &Record| record.name == peer.name && record.address == peer.address;
            let before = known.iter().position(is_it).map(|at| known.swap_remove(at));
            before.unwrap_or_else(|| {
                let (name, address) = (peer.name.clone(), peer.address);
                Record { name, address, answer: None, trouble: None }
            })
        });
        Views { own, fresh_for: sharing.fresh_for(), since, records: records.collect() }
    }

    /// Takes a good answer of a peer; whether it says something else than the last one.
    pub(super) fn hear(&mut self, peer: usize, answer: Answer) -> bool {
        let Some(record) = self.records.get_mut(peer) else { return false };
        record.trouble = None;
        let is_same = record.answer.as_ref().is_some_and(|before| {
            let says_it = |(sight, seen): (&Sight, &Seen)| {
                before.seen.get(sight).is_some_and(|before| before.health == seen.health)
            };
            let is_fresh = answer.at.saturating_duration_since(before.at) <= self.fresh_for;
            let is_as_long = before.seen.len() == answer.seen.len();
            is_fresh && before.node == answer.node && is_as_long && answer.seen.iter().all(says_it)
        });
        record.answer = Some(answer);
        !is_same
    }

    /// Notes why a peer gave no good answer.
    pub(super) fn miss(&mut self, peer: usize, trouble: String) {
        if let Some(record) = self.records.get_mut(peer) {
            record.trouble = Some(trouble);
        }
    }

    fn standings(&self, now: Instant) -> Vec<Standing> {
        let mut known = HashMap::from([(self.own, "it is this node itself".to_owned())]);
        let standing = |record: &Record| match &record.answer {
            Some(answer) if self.is_fresh(answer, now) => match known.get(&answer.node) {
                Some(why) => Standing::Known(why.clone()),
                None => {
                    known.insert(answer.node, format!("it is the same node as {}", record.name));
                    Standing::Heard
                }
            },
            _ => Standing::Silent,
        };
        self.records.iter().map(standing).collect()
    }

    fn is_fresh(&self, answer: &Answer, now: Instant) -> bool {
        now.saturating_duration_since(answer.at) <= self.fresh_for
    }

    /// The answers that count.
    fn heard(&self, now: Instant) -> impl Iterator<Item = (&Record, &Answer)> {
        let all = self.records.iter().zip(self.standings(now));
        let counts = all.filter(|(_, standing)| *standing == Standing::Heard);
        counts.filter_map(|(record, _)| Some((record, record.answer.as_ref()?)))
    }

    /// What those who count say.
    pub(super) fn others(&self, now: Instant) -> HashMap<Sight, Others> {
        let mut others: HashMap<Sight, Others> = HashMap::new();
        for (sight, seen) in self.heard(now).flat_map(|(_, answer)| &answer.seen) {
            others.entry(*sight).or_default().add(seen.health);
        }
        others.retain(|_, said| *said != Others::default());
        others
    }

    /// When that is something else though nothing is heard.
    pub(super) fn expires_at(&self, now: Instant) -> Option<Instant> {
        let asked = self.records.iter().filter_map(|record| Some(record.answer.as_ref()?.at));
        let expiry = asked.chain([self.since]).map(|at| at + self.fresh_for + AFTER);
        expiry.filter(|at| *at > now).min()
    }

    /// Whether nobody counts but this node, for longer than it takes to be heard.
    pub(super) fn is_isolated(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) > self.fresh_for && self.heard(now).next().is_none()
    }

    /// How the peers are; `refused` were asking without the key.
    pub(super) fn status(&self, now: Instant, refused: u64) -> SharingStatus {
        let peers = self.records.iter().zip(self.standings(now)).map(|(record, standing)| {
            let age = record.answer.as_ref().map(|answer| now.saturating_duration_since(answer.at));
            let trouble = record.trouble.clone();
            SharingPeer {
                name: record.name.clone(),
                address: record.address.to_string(),
                heard: standing == Standing::Heard,
                answered_ms_ago: age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
                trouble: match standing {
                    Standing::Heard => trouble,
                    Standing::Silent => trouble.or_else(|| Some("it has not answered yet".to_owned())),
                    Standing::Known(why) => trouble.or(Some(why)),
                },
            }
        });
        SharingStatus { isolated: self.is_isolated(now), refused, peers: peers.collect() }
    }

    /// What those who count say of an address.
    pub(super) fn of(&self, sight: &Sight, now: Instant) -> Vec<PeerSight> {
        let said = self.heard(now).filter_map(|(record, answer)| {
            let seen = answer.seen.get(sight)?;
            let since =
                u64::try_from(now.saturating_duration_since(answer.at).as_millis()).unwrap_or(u64::MAX);
            Some(PeerSight {
                peer: record.name.clone(),
                health: seen.health.word().to_owned(),
                for_ms: seen.for_ms.saturating_add(since),
                looked_ms_ago: seen.age_ms.map(|age| age.saturating_add(since)),
            })
        });
        said.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CheckId, PeerConfig, apex};
    use pool::Health;
    use std::sync::Arc;
    use transfer::tsig::{Algorithm, Key};

    const SECOND: Duration = Duration::from_secs(1);
    const SIGHT: Sight = (std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), CheckId([1; 16]));

    fn sharing(peers: usize) -> SharingConfig {
        let name = apex("nodes.example").unwrap();
        let peer = |number| {
            let address = SocketAddr::from(([192, 0, 2, number], 8053));
            PeerConfig { name: format!("p{number}"), address }
        };
        SharingConfig {
            key: Arc::new(Key::new(name.as_name(), Algorithm::Sha256, b"x").unwrap()),
            interval: SECOND,
            timeout: SECOND,
            silent_after: 3,
            peers: (0..peers as u8).map(peer).collect(),
        }
    }

    fn views(peers: usize) -> (Views, Instant) {
        let now = Instant::now();
        (Views::new(NodeId::random(), &sharing(peers), None, now), now)
    }

    fn answer(at: Instant, node: NodeId, health: Health) -> Answer {
        Answer {
            at,
            node,
            seen: HashMap::from([(SIGHT, Seen { health, for_ms: u64::MAX, age_ms: Some(u64::MAX) })]),
        }
    }

    fn counted(views: &Views, now: Instant) -> (u32, u32) {
        let others = views.others(now).get(&SIGHT).copied().unwrap_or_default();
        (others.up, others.down)
    }

    #[test]
    fn who_is_silent_counts_no_more() {
        let (mut views, start) = views(2);
        let (one, two) = (NodeId::random(), NodeId::random());
        assert!(views.hear(0, answer(start, one, Health::Up)));
        assert!(views.hear(1, answer(start + SECOND, two, Health::Down)));
        assert_eq!(counted(&views, start + SECOND), (1, 1));
        // A question without an answer is not silence yet.
        views.miss(0, "late".to_owned());
        assert_eq!(counted(&views, start + SECOND * 3), (1, 1));
        let silent = views.expires_at(start + SECOND).unwrap();
        assert_eq!(silent, start + SECOND * 3 + AFTER);
        assert_eq!(counted(&views, silent), (0, 1));
        assert!(!views.is_isolated(silent));
        let alone = views.expires_at(silent).unwrap();
        assert_eq!(counted(&views, alone), (0, 0));
        assert!(views.is_isolated(alone));
        assert_eq!(views.expires_at(alone), None, "nothing more can change by itself");
        assert_eq!(views.status(alone, 0).peers[0].trouble.as_deref(), Some("late"));
        assert!(views.hear(0, answer(alone, one, Health::Up)), "the same as before, and news all the same");
        assert!(!views.is_isolated(alone));
        assert!(!views.hear(0, answer(alone + SECOND, one, Health::Up)), "no news");
    }

    #[test]
    fn a_node_that_starts_is_not_isolated_at_once() {
        let (views, start) = views(1);
        assert!(!views.is_isolated(start + SECOND * 3));
        assert!(views.is_isolated(views.expires_at(start).unwrap()));
    }

    #[test]
    fn what_peers_have_said_outlives_a_change_of_the_configuration() {
        let (mut views, start) = views(2);
        views.hear(1, answer(start, NodeId::random(), Health::Up));
        let later = start + SECOND * 3;
        let views = Views::new(views.own, &sharing(3), Some(views), later);
        assert_eq!(counted(&views, later), (1, 0));
        assert!(views.status(later, 0).peers[1].heard);
        // One of others is isolated when it was asking them for long enough, and one that was isolated stays so.
        let much_later = later + SECOND * 4;
        assert!(views.is_isolated(much_later));
        let views = Views::new(views.own, &sharing(1), Some(views), much_later);
        assert!(views.is_isolated(much_later));
    }

    #[test]
    fn every_node_counts_once() {
        let (mut views, now) = views(3);
        let (own, one) = (views.own, NodeId::random());
        views.hear(0, answer(now, own, Health::Up));
        assert_eq!(counted(&views, now), (0, 0), "what is heard of oneself");
        views.hear(1, answer(now, one, Health::Up));
        views.hear(2, answer(now, one, Health::Up));
        assert_eq!(counted(&views, now), (1, 0), "a node with two addresses");
        let status = views.status(now, 0);
        let troubles: Vec<_> = status.peers.iter().map(|peer| peer.trouble.as_deref()).collect();
        assert_eq!(troubles, [Some("it is this node itself"), None, Some("it is the same node as p1")]);
    }

    #[test]
    fn who_knows_nothing_counts_for_nobody() {
        let (mut views, now) = views(1);
        views.hear(0, answer(now, NodeId::random(), Health::Unknown));
        assert!(views.others(now).is_empty());
        assert!(!views.is_isolated(now + SECOND * 3), "and is heard");
        let said = views.of(&SIGHT, now + SECOND);
        assert_eq!((said[0].health.as_str(), said[0].for_ms), ("unknown", u64::MAX), "no overflow");
    }
}
