//! What is known of an endpoint, and what an operator has said of it.

/// What checks have found.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum Health {
    /// Nothing yet.
    #[default]
    Unknown,
    /// It is good.
    Up,
    /// It is not.
    Down,
}

impl Health {
    /// The word that commands, metrics and the state file use.
    pub fn word(self) -> &'static str {
        match self {
            Health::Unknown => "unknown",
            Health::Up => "up",
            Health::Down => "down",
        }
    }
}

/// What an operator has said.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum Admin {
    /// Nothing: checks decide.
    #[default]
    Auto,
    /// It counts as good, whatever checks find.
    Up,
    /// It is not to be answered with, whatever else is left.
    Down,
    /// It is not to be answered with as long as anything else is left.
    Drain,
}

impl Admin {
    /// Every one of them.
    pub const ALL: [Admin; 4] = [Admin::Auto, Admin::Up, Admin::Down, Admin::Drain];

    /// The word that commands, metrics and the state file use.
    pub fn word(self) -> &'static str {
        match self {
            Admin::Auto => "auto",
            Admin::Up => "up",
            Admin::Down => "down",
            Admin::Drain => "drain",
        }
    }
}

/// What is known of an endpoint and said of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Condition {
    /// What checks have found.
    pub health: Health,
    /// What an operator has said.
    pub admin: Admin,
}

impl Condition {
    /// Whether it is good to be answered with. What nothing is known of is not.
    pub fn is_good(self) -> bool {
        match self.admin {
            Admin::Auto => self.health == Health::Up,
            Admin::Up => true,
            Admin::Down | Admin::Drain => false,
        }
    }

    /// Whether it may be answered with where nothing better is left.
    pub fn is_allowed(self) -> bool {
        self.admin != Admin::Down
    }
}
