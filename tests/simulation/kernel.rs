//! A kernel that holds routes, and now and then fails.

use anycast::{Family, Routes, Rung};
use std::collections::BTreeSet;
use std::fmt;

/// The kernel's routes.
pub(crate) struct Kernel {
    routes: BTreeSet<(Family, Rung)>,
    /// How likely a change fails, in percent.
    pub(crate) failing: u32,
    /// Failed with the change made all the same, or not: by lot.
    rng: fastrand::Rng,
    /// Changes that have failed.
    pub(crate) failures: u64,
    /// Times that a family had its last route removed.
    pub(crate) emptied: u64,
}

/// A change that the kernel refused, or says so.
#[derive(Debug)]
pub(crate) struct Refusal;

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the kernel is out of sorts")
    }
}

impl std::error::Error for Refusal {}

impl Kernel {
    pub(crate) fn new(seed: u64) -> Kernel {
        let rng = fastrand::Rng::with_seed(seed);
        Kernel { routes: BTreeSet::new(), failing: 0, rng, failures: 0, emptied: 0 }
    }

    /// The rungs of a family's routes, the best first.
    pub(crate) fn rungs(&self, family: Family) -> Vec<Rung> {
        self.routes.iter().filter(|(of, _)| *of == family).map(|(_, rung)| *rung).collect()
    }

    /// Whether nothing is announced.
    pub(crate) fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// Whether one family is announced alone.
    pub(crate) fn is_apart(&self) -> bool {
        let [v4, v6] = Family::ALL.map(|family| self.rungs(family).is_empty());
        v4 != v6
    }

    fn change(&mut self, change: impl FnOnce(&mut BTreeSet<(Family, Rung)>)) -> Result<(), Refusal> {
        let fails = self.rng.u32(0..100) < self.failing;
        if !fails || self.rng.u32(0..4) == 0 {
            change(&mut self.routes);
        }
        self.failures += u64::from(fails);
        if fails { Err(Refusal) } else { Ok(()) }
    }
}

impl Routes for Kernel {
    type Error = Refusal;

    fn add(&mut self, family: Family, rung: Rung) -> Result<(), Refusal> {
        assert!(rung.is_announced(), "there is no route for {rung}");
        self.change(|routes| {
            routes.insert((family, rung));
        })
    }

    fn remove(&mut self, family: Family, rung: Rung) -> Result<(), Refusal> {
        assert!(rung.is_announced(), "there is no route for {rung}");
        let before = self.rungs(family).len();
        let result = self.change(|routes| {
            routes.remove(&(family, rung));
        });
        self.emptied += u64::from(before > 0 && self.rungs(family).is_empty());
        result
    }

    fn let_go(&mut self) {
        self.routes.clear();
    }
}
