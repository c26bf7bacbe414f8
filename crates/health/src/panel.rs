//! All checks of a node.

use std::time::Duration;

use crate::{Action, Check, Moment, Outcome, SpecError, Standing, Verdict};

/// Which check of a panel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CheckIndex(usize);

/// The checks of a node, in the order in which they are shown.
#[derive(Clone, Default, Debug)]
pub struct Panel {
    checks: Vec<Check>,
}

impl Panel {
    /// Adds a check; its name must be new.
    pub fn add(&mut self, check: Check) -> Result<CheckIndex, SpecError> {
        let name = &check.spec().name;
        if self.index_of(name).is_some() {
            return Err(SpecError::Duplicate(name.clone()));
        }
        self.checks.push(check);
        Ok(CheckIndex(self.checks.len() - 1))
    }

    /// The check of a name.
    pub fn index_of(&self, name: &str) -> Option<CheckIndex> {
        self.checks.iter().position(|check| check.spec().name == name).map(CheckIndex)
    }

    /// A check of this panel.
    pub fn get(&self, index: CheckIndex) -> &Check {
        &self.checks[index.0]
    }

    /// All checks, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (CheckIndex, &Check)> {
        self.checks.iter().enumerate().map(|(at, check)| (CheckIndex(at), check))
    }

    /// Takes the result of a run; says so if the check's standing changed.
    pub fn observe(
        &mut self,
        index: CheckIndex,
        now: Moment,
        took: Duration,
        outcome: Outcome,
    ) -> Option<Standing> {
        self.checks[index.0].observe(now, took, outcome)
    }

    /// Counts the silence of every check (see [`Check::overdue`]); gives those whose standing changed.
    pub fn overdue(&mut self, now: Moment) -> Vec<(CheckIndex, Standing)> {
        let checks = self.checks.iter_mut().enumerate();
        checks.filter_map(|(at, check)| Some((CheckIndex(at), check.overdue(now)?))).collect()
    }

    /// Gives every check time anew (see [`Check::excuse`]).
    pub fn excuse(&mut self, now: Moment) {
        self.checks.iter_mut().for_each(|check| check.excuse(now));
    }

    /// Forgets what a check has seen: what it looks at is another one now.
    pub fn forget(&mut self, index: CheckIndex, now: Moment) {
        self.checks[index.0].forget(now);
    }

    /// When [`Panel::overdue`] has to be called again at the latest.
    pub fn next(&self) -> Option<Moment> {
        self.checks.iter().map(Check::due).min()
    }

    /// What all checks come to.
    pub fn verdict(&self) -> Verdict {
        let unknown =
            |check: &&Check| check.standing() == Standing::Unknown && check.spec().action != Action::Report;
        Verdict {
            failing: self.checks.iter().filter_map(Check::failing).collect(),
            unknown: self.checks.iter().filter(unknown).map(|check| check.spec().name.clone()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CheckSpec, Gravity};

    fn check(name: &str, action: Action) -> Check {
        let spec = CheckSpec {
            name: name.to_owned(),
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            rise: 1,
            fall: 1,
            action,
            gravity: Gravity::Soft,
            shared: false,
        };
        Check::new(spec, Moment::default()).unwrap()
    }

    #[test]
    fn a_verdict_names_what_fails_and_what_is_not_known() {
        let mut panel = Panel::default();
        let udp = panel.add(check("udp", Action::Withdraw)).unwrap();
        panel.add(check("disk", Action::Degrade)).unwrap();
        let primary = panel.add(check("primary", Action::Report)).unwrap();
        let again = panel.add(check("udp", Action::Report)).unwrap_err();
        assert_eq!(again, SpecError::Duplicate("udp".to_owned()));
        assert_eq!(panel.verdict().unknown, ["udp", "disk"]);

        let now = Moment(Duration::from_secs(1));
        panel.observe(udp, now, Duration::ZERO, Outcome::Fail("refused".to_owned()));
        panel.observe(primary, now, Duration::ZERO, Outcome::Fail("away".to_owned()));
        let verdict = panel.verdict();
        let failing: Vec<_> = verdict.failing.iter().map(|failing| failing.check.as_str()).collect();
        assert_eq!(failing, ["udp", "primary"]);
        assert_eq!(verdict.unknown, ["disk"]);
        assert_eq!(panel.index_of("primary"), Some(primary));
        assert_eq!(panel.get(primary).runs(), 1);
    }

    #[test]
    fn silence_is_counted_when_it_is_said_to_be() {
        let mut panel = Panel::default();
        let udp = panel.add(check("udp", Action::Withdraw)).unwrap();
        let due = panel.next().unwrap();
        assert!(panel.overdue(Moment(due.0 - Duration::from_nanos(1))).is_empty());
        assert_eq!(panel.overdue(due), [(udp, Standing::Failing)]);
    }
}
