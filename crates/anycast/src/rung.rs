//! The ladder: how good the route is.

use std::fmt;

/// A rung of the ladder, from the best route to none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Rung {
    /// Announced as a healthy node is.
    Up,
    /// Announced with a longer path, so that others are preferred.
    Degraded,
    /// Announced with GRACEFUL_SHUTDOWN, the community 65535:0 (RFC 8326 §3), as the last choice.
    Draining,
    /// Not announced.
    Down,
}

impl Rung {
    /// All rungs, the best first.
    pub const ALL: [Rung; 4] = [Rung::Up, Rung::Degraded, Rung::Draining, Rung::Down];

    /// The metric of the kernel route that stands for the rung; none where there is no route. BIRD's filter knows the
    /// same numbers (see `bird-config`).
    pub fn metric(self) -> Option<u32> {
        match self {
            Rung::Up => Some(100),
            Rung::Degraded => Some(200),
            Rung::Draining => Some(300),
            Rung::Down => None,
        }
    }

    /// The rung that a metric stands for.
    pub fn of_metric(metric: u32) -> Option<Rung> {
        Rung::ALL.into_iter().find(|rung| rung.metric() == Some(metric))
    }

    /// Whether there is a route.
    pub fn is_announced(self) -> bool {
        self != Rung::Down
    }

    /// The word that commands, metrics and the log use.
    pub fn word(self) -> &'static str {
        match self {
            Rung::Up => "up",
            Rung::Degraded => "degraded",
            Rung::Draining => "draining",
            Rung::Down => "down",
        }
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_name_their_rungs() {
        for rung in Rung::ALL {
            assert_eq!(rung.metric().and_then(Rung::of_metric), rung.is_announced().then_some(rung));
        }
        assert_eq!(Rung::of_metric(150), None);
    }
}
