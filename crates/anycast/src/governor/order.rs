//! What an operator ordered: drain, maintenance, shutdown.

use health::Moment;
use std::time::Duration;

use super::Policy;
use crate::Rung;

/// What comes after a drain that ends by itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Then {
    /// The route goes, and stays away until `undrain`.
    Down,
    /// The route is again as health allows.
    Up,
}

/// On or off.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Switch {
    /// From now on.
    On,
    /// No longer.
    Off,
}

/// What an operator can order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Command {
    /// The route becomes the last choice. Given again, the new one holds.
    Drain {
        /// For how long; until `undrain` if not said.
        lasting: Option<Duration>,
        /// What comes after that time.
        then: Then,
    },
    /// Ends a drain, and what came after it.
    Undrain,
    /// Drains, then withdraws, for as long as it is on.
    Maintenance(Switch),
    /// Drains, withdraws, answers for the grace period, and ends.
    Shutdown,
}

/// Why a command was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum Refused {
    /// Nothing is drained.
    #[error("the node is not drained")]
    NotDrained,
    /// The drain has ended with a withdrawal.
    #[error("a drain has already withdrawn the node; `undrain` brings it back")]
    DrainedAlready,
    /// Maintenance is on, and comes before a drain.
    #[error("maintenance is on; `maintenance off` ends it")]
    InMaintenance,
    /// Maintenance is off.
    #[error("maintenance is not on")]
    NotInMaintenance,
    /// The node is about to end.
    #[error("the node is being shut down")]
    ShuttingDown,
    /// A drain of no time or of too much.
    #[error(
        "a drain lasts for more than nothing and at most {:?}; without a time it lasts until `undrain`",
        super::TIME_MAX
    )]
    Lasting,
}

/// What has been ordered, as it has to be kept over restarts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum Mode {
    /// Nothing.
    #[default]
    Normal,
    /// A drain.
    Draining {
        /// For how much longer; until `undrain` if not said.
        left: Option<Duration>,
        /// What comes after that time.
        then: Then,
    },
    /// A drain has ended with a withdrawal.
    Drained,
    /// Maintenance.
    Maintenance,
}

impl Mode {
    /// The word that commands and metrics use.
    pub fn word(self) -> &'static str {
        match self {
            Mode::Normal => "normal",
            Mode::Draining { .. } => "draining",
            Mode::Drained => "drained",
            Mode::Maintenance => "maintenance",
        }
    }
}

/// The order that holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    None,
    Drain { until: Option<Moment>, then: Then },
    Drained,
    Maintenance { down_at: Moment },
    Shutdown { down_at: Moment, mode: Mode },
}

/// What changed by a command or by time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lifted {
    /// An order ended, and nothing stands in its place.
    Yes,
    No,
}

impl Order {
    /// The order that a mode stands for, in a node that begins.
    pub(super) fn of_mode(now: Moment, mode: Mode) -> Order {
        match mode {
            Mode::Normal => Order::None,
            Mode::Draining { left, then } => Order::Drain { until: left.map(|left| now + left), then },
            Mode::Drained => Order::Drained,
            Mode::Maintenance => Order::Maintenance { down_at: now },
        }
    }

    pub(super) fn mode(self, now: Moment) -> Mode {
        match self {
            Order::None => Mode::Normal,
            Order::Drain { until, then } => {
                Mode::Draining { left: until.map(|until| until.since(now)), then }
            }
            Order::Drained => Mode::Drained,
            Order::Maintenance { .. } => Mode::Maintenance,
            Order::Shutdown { mode, .. } => mode,
        }
    }

    /// The best rung that the order allows.
    pub(super) fn limit(self, now: Moment) -> Rung {
        match self {
            Order::None => Rung::Up,
            Order::Drain { .. } => Rung::Draining,
            Order::Drained => Rung::Down,
            Order::Maintenance { down_at } | Order::Shutdown { down_at, .. } => {
                if now < down_at {
                    Rung::Draining
                } else {
                    Rung::Down
                }
            }
        }
    }

    /// When time alone changes the order.
    pub(super) fn next(self) -> Option<Moment> {
        match self {
            Order::None | Order::Drained => None,
            Order::Drain { until, .. } => until,
            Order::Maintenance { down_at } | Order::Shutdown { down_at, .. } => Some(down_at),
        }
    }

    /// Ends a drain whose time is over.
    pub(super) fn lapse(&mut self, now: Moment) -> Lifted {
        let Order::Drain { until: Some(until), then } = *self else {
            return Lifted::No;
        };
        if now < until {
            return Lifted::No;
        }
        *self = match then {
            Then::Down => Order::Drained,
            Then::Up => Order::None,
        };
        if *self == Order::None { Lifted::Yes } else { Lifted::No }
    }

    /// Takes a command, on a node that is on a rung since a moment.
    pub(super) fn take(
        &mut self,
        now: Moment,
        command: Command,
        (rung, since): (Rung, Moment),
        policy: &Policy,
    ) -> Result<Lifted, Refused> {
        if matches!(self, Order::Shutdown { .. }) {
            return Err(Refused::ShuttingDown);
        }
        let drained_at = if rung == Rung::Draining { since + policy.drain } else { now + policy.drain };
        let lasts = |time: &Duration| !time.is_zero() && *time <= super::TIME_MAX;
        let next = match (command, *self) {
            (Command::Shutdown, order) => Order::Shutdown { down_at: drained_at, mode: order.mode(now) },
            (Command::Drain { .. } | Command::Undrain, Order::Maintenance { .. }) => {
                return Err(Refused::InMaintenance);
            }
            (Command::Drain { .. }, Order::Drained) => return Err(Refused::DrainedAlready),
            (Command::Drain { lasting: Some(time), .. }, _) if !lasts(&time) => return Err(Refused::Lasting),
            (Command::Drain { lasting, then }, _) => {
                Order::Drain { until: lasting.map(|lasting| now + lasting), then }
            }
            (Command::Undrain, Order::Drain { .. } | Order::Drained) => Order::None,
            (Command::Undrain, _) => return Err(Refused::NotDrained),
            (Command::Maintenance(Switch::On), Order::Maintenance { .. }) => {
                return Err(Refused::InMaintenance);
            }
            (Command::Maintenance(Switch::On), Order::Drained) => Order::Maintenance { down_at: now },
            (Command::Maintenance(Switch::On), _) => Order::Maintenance { down_at: drained_at },
            (Command::Maintenance(Switch::Off), Order::Maintenance { .. }) => Order::None,
            (Command::Maintenance(Switch::Off), _) => return Err(Refused::NotInMaintenance),
        };
        *self = next;
        Ok(if next == Order::None { Lifted::Yes } else { Lifted::No })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAIN: Command = Command::Drain { lasting: None, then: Then::Down };
    const ON: Command = Command::Maintenance(Switch::On);
    const OFF: Command = Command::Maintenance(Switch::Off);

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    /// Gives commands one after the other, a second apart; gives what the last one came to.
    fn last(commands: &[Command]) -> Result<Lifted, Refused> {
        let mut order = Order::None;
        let mut result = Ok(Lifted::No);
        for (second, command) in commands.iter().enumerate() {
            let held = (Rung::Up, at(0));
            order.lapse(at(second as u64));
            result = order.take(at(second as u64), *command, held, &Policy::default());
        }
        result
    }

    #[test]
    fn commands_without_sense_are_refused() {
        let brief = |ms, then| Command::Drain { lasting: Some(Duration::from_millis(ms)), then };
        assert_eq!(last(&[Command::Undrain]), Err(Refused::NotDrained));
        assert_eq!(last(&[DRAIN, Command::Undrain]), Ok(Lifted::Yes));
        assert_eq!(last(&[DRAIN, Command::Undrain, Command::Undrain]), Err(Refused::NotDrained));
        assert_eq!(last(&[DRAIN, DRAIN]), Ok(Lifted::No));
        assert_eq!(last(&[brief(500, Then::Down), DRAIN]), Err(Refused::DrainedAlready));
        assert_eq!(last(&[brief(500, Then::Down), Command::Undrain]), Ok(Lifted::Yes));
        assert_eq!(last(&[brief(500, Then::Up), Command::Undrain]), Err(Refused::NotDrained));
        assert_eq!(last(&[brief(0, Then::Up)]), Err(Refused::Lasting));
        assert_eq!(last(&[OFF]), Err(Refused::NotInMaintenance));
        assert_eq!(last(&[ON, ON]), Err(Refused::InMaintenance));
        assert_eq!(last(&[ON, DRAIN]), Err(Refused::InMaintenance));
        assert_eq!(last(&[ON, Command::Undrain]), Err(Refused::InMaintenance));
        assert_eq!(last(&[DRAIN, ON, OFF]), Ok(Lifted::Yes));
        for after in [DRAIN, Command::Undrain, ON, OFF, Command::Shutdown] {
            assert_eq!(last(&[ON, Command::Shutdown, after]), Err(Refused::ShuttingDown));
        }
    }

    #[test]
    fn a_mode_comes_back_as_it_was() {
        let then = Then::Up;
        let modes = [
            Mode::Normal,
            Mode::Draining { left: None, then },
            Mode::Draining { left: Some(Duration::from_secs(5)), then },
            Mode::Drained,
            Mode::Maintenance,
        ];
        for mode in modes {
            let mut order = Order::of_mode(at(3), mode);
            assert_eq!(order.mode(at(3)), mode);
            order.take(at(3), Command::Shutdown, (Rung::Up, at(0)), &Policy::default()).unwrap();
            assert_eq!(order.mode(at(9)), mode, "a shutdown is not kept");
        }
    }

    #[test]
    fn time_on_draining_counts_for_what_drains_next() {
        let policy = Policy::default();
        let mut order = Order::None;
        order.take(at(0), DRAIN, (Rung::Up, at(0)), &policy).unwrap();
        order.take(at(20), Command::Shutdown, (Rung::Draining, at(0)), &policy).unwrap();
        assert_eq!((order.limit(at(29)), order.limit(at(30))), (Rung::Draining, Rung::Down));
    }
}
