//! What the kernel really has, against what it should have.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::plan::{LeasePlan, family_of};
use crate::{Family, Rung};

/// The state of the lease's interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Link {
    /// There and up.
    Up,
    /// There, and somebody set it down.
    Down,
    /// Not there: let go, deleted, or moved to another namespace.
    Missing,
}

/// A reading of the kernel's own state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KernelView {
    /// The interface.
    pub link: Link,
    /// Service addresses that are not on the interface.
    pub missing_addresses: Vec<IpAddr>,
    /// For each prefix of the plan, the rungs for which there is a route.
    pub rungs: BTreeMap<IpNet, BTreeSet<Rung>>,
    /// What else is in the table, in words: routes of others, and ours with a metric of no rung. BIRD chooses among
    /// all it finds there, and does not export these.
    pub strays: Vec<String>,
}

impl KernelView {
    /// That of a kernel which has nothing of a plan.
    pub(super) fn nothing(plan: &LeasePlan) -> KernelView {
        KernelView {
            link: Link::Missing,
            missing_addresses: plan.addresses().to_vec(),
            rungs: plan.prefixes().iter().map(|prefix| (*prefix, BTreeSet::new())).collect(),
            strays: Vec::new(),
        }
    }

    /// The rung that BIRD sees for a family, the best for which all prefixes have a route; [`Rung::Down`] where there
    /// is none, and none where the family has no prefix or where its prefixes are apart.
    pub fn held(&self, family: Family) -> Option<Rung> {
        let of_family = self.rungs.iter().filter(|(prefix, _)| family_of(&prefix.addr()) == family);
        let best: BTreeSet<Rung> =
            of_family.map(|(_, rungs)| rungs.first().copied().unwrap_or(Rung::Down)).collect();
        if best.len() == 1 { best.first().copied() } else { None }
    }

    /// The rung of both families together: the worst that one of the prefixes is on, so that a change which was broken
    /// off ends on the safe side.
    pub fn rung(&self) -> Rung {
        let best = |rungs: &BTreeSet<Rung>| rungs.first().copied().unwrap_or(Rung::Down);
        self.rungs.values().map(best).max().unwrap_or(Rung::Down)
    }

    /// What is otherwise than it should be with this rung held, in words; empty where nothing is.
    pub fn differences(&self, rung: Rung) -> Vec<String> {
        let mut found = Vec::new();
        match self.link {
            Link::Up => {}
            Link::Down => found.push("the interface is down".to_owned()),
            Link::Missing => found.push("the interface is missing".to_owned()),
        }
        found.extend(self.missing_addresses.iter().map(|ip| format!("the address {ip} is missing")));
        for (prefix, rungs) in &self.rungs {
            if rung.is_announced() && !rungs.contains(&rung) {
                found.push(format!("the route for {prefix} as {rung} is missing"));
            }
            for surplus in rungs.iter().filter(|found| **found != rung) {
                found.push(format!("there is a route for {prefix} as {surplus}"));
            }
        }
        found.extend(self.strays.iter().map(|stray| format!("there is a route that is not ours: {stray}")));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(v4: &[Rung], other: &[Rung], v6: &[Rung]) -> KernelView {
        let prefixes = ["203.0.113.0/24", "198.51.100.0/24", "2001:db8:53::/48"];
        let rungs = [v4, other, v6];
        KernelView {
            link: Link::Up,
            missing_addresses: Vec::new(),
            rungs: prefixes
                .iter()
                .zip(rungs)
                .map(|(prefix, rungs)| (prefix.parse().unwrap(), rungs.iter().copied().collect()))
                .collect(),
            strays: Vec::new(),
        }
    }

    #[test]
    fn the_best_rung_is_the_one_held() {
        use Rung::{Degraded, Down, Up};
        let seen = view(&[Up, Degraded], &[Up], &[]);
        assert_eq!(seen.held(Family::V4), Some(Up));
        assert_eq!(seen.held(Family::V6), Some(Down));
        assert_eq!(view(&[Up], &[Degraded], &[]).held(Family::V4), None);
        assert_eq!(view(&[Up, Degraded], &[Up], &[Degraded]).rung(), Degraded);
        assert_eq!(seen.rung(), Down);
        assert_eq!(seen.differences(Up).len(), 2);
        assert!(view(&[], &[], &[]).differences(Down).is_empty());
    }
}
