//! Whose view of an endpoint counts, where several nodes look at it.

use crate::Health;

/// Whose view counts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum View {
    /// That of this node alone.
    #[default]
    Local,
    /// That of more than half of the nodes that know anything; where as many say the one as the other, that of this
    /// node.
    Quorum,
    /// An endpoint is good if any node says so.
    AnyUp,
}

/// What other nodes say of an endpoint. Those that know nothing of it count for nobody and are not in here.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Others {
    /// So many say that it is good.
    pub up: u32,
    /// So many say that it is not.
    pub down: u32,
}

impl Others {
    /// Takes in what one more node says.
    pub fn add(&mut self, health: Health) {
        match health {
            Health::Unknown => {}
            Health::Up => self.up = self.up.saturating_add(1),
            Health::Down => self.down = self.down.saturating_add(1),
        }
    }
}

impl View {
    /// Every one of them.
    pub const ALL: [View; 3] = [View::Local, View::Quorum, View::AnyUp];

    /// The word of the configuration and of commands.
    pub fn word(self) -> &'static str {
        match self {
            View::Local => "local",
            View::Quorum => "quorum",
            View::AnyUp => "any-up",
        }
    }

    /// What an endpoint counts as: by what this node has found, and by what the others say.
    ///
    /// It is monotone: nobody who says that an endpoint is good, where he said less before, makes it worse.
    pub fn health(self, own: Health, others: Others) -> Health {
        let mut all = others;
        all.add(own);
        match self {
            View::Local => own,
            View::Quorum if all.up > all.down => Health::Up,
            View::Quorum if all.up < all.down => Health::Down,
            View::Quorum => own,
            View::AnyUp if all.up > 0 => Health::Up,
            View::AnyUp if all.down > 0 => Health::Down,
            View::AnyUp => Health::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Health::{Down, Unknown, Up};
    use View::{AnyUp, Local, Quorum};

    const ALL: [Health; 3] = [Down, Unknown, Up];

    /// From the worst to the best.
    fn rank(health: Health) -> usize {
        ALL.iter().position(|it| *it == health).unwrap()
    }

    fn said(others: &[Health]) -> Others {
        let mut all = Others::default();
        others.iter().for_each(|health| all.add(*health));
        all
    }

    #[test]
    fn who_counts_is_as_the_table_says() {
        for (own, others, local, quorum, any_up) in [
            (Unknown, &[][..], Unknown, Unknown, Unknown),
            (Up, &[], Up, Up, Up),
            (Down, &[], Down, Down, Down),
            // A node that knows nothing counts for nobody.
            (Up, &[Unknown, Unknown, Unknown], Up, Up, Up),
            (Down, &[Unknown, Unknown, Unknown], Down, Down, Down),
            (Unknown, &[Up], Unknown, Up, Up),
            (Unknown, &[Down], Unknown, Down, Down),
            // One against one: this node decides, if it knows anything.
            (Up, &[Down], Up, Up, Up),
            (Down, &[Up], Down, Down, Up),
            (Unknown, &[Up, Down], Unknown, Unknown, Up),
            // Two against one.
            (Up, &[Down, Down], Up, Down, Up),
            (Down, &[Up, Up], Down, Up, Up),
            (Down, &[Up, Up, Down], Down, Down, Up),
            (Up, &[Up, Down, Down], Up, Up, Up),
            (Unknown, &[Up, Up, Down, Unknown], Unknown, Up, Up),
            (Down, &[Down, Down], Down, Down, Down),
        ] {
            for (view, counts) in [(Local, local), (Quorum, quorum), (AnyUp, any_up)] {
                assert_eq!(view.health(own, said(others)), counts, "{own:?} {others:?} {view:?}");
            }
        }
    }

    /// Every way in which this node and up to five others can see an endpoint.
    fn every_way(each: impl Fn(Health, &[Health])) {
        for count in 0..=5_u32 {
            for mut number in 0..3_usize.pow(count + 1) {
                let mut digit = || (ALL[number % 3], number /= 3).0;
                let own = digit();
                let others: Vec<Health> = (0..count).map(|_| digit()).collect();
                each(own, &others);
            }
        }
    }

    #[test]
    fn whoever_says_better_makes_nothing_worse() {
        every_way(|own, others| {
            for view in View::ALL {
                let before = rank(view.health(own, said(others)));
                for better in ALL.into_iter().filter(|it| rank(*it) > rank(own)) {
                    assert!(rank(view.health(better, said(others))) >= before, "{view:?} {own:?} {others:?}");
                }
                for at in 0..others.len() {
                    for better in ALL.into_iter().filter(|it| rank(*it) > rank(others[at])) {
                        let mut changed = others.to_vec();
                        changed[at] = better;
                        let after = rank(view.health(own, said(&changed)));
                        assert!(after >= before, "{view:?} {own:?} {others:?} {changed:?}");
                    }
                }
                let more = [others, &[Up]].concat();
                assert!(rank(view.health(own, said(&more))) >= before, "{view:?} {own:?} {more:?}");
            }
        });
    }

    #[test]
    fn nothing_is_said_that_nobody_says_and_order_is_nothing() {
        every_way(|own, others| {
            for view in View::ALL {
                let counts = view.health(own, said(others));
                let is_said = counts == Unknown || counts == own || others.contains(&counts);
                assert!(is_said, "{view:?} {own:?} {others:?}: {counts:?}");
                if others.iter().all(|it| *it == own) {
                    assert_eq!(counts, own, "{view:?}: all agree");
                }
                // A node alone goes by what it sees.
                assert_eq!(view.health(own, Others::default()), own);
                let mut turned = others.to_vec();
                turned.reverse();
                assert_eq!(view.health(own, said(&turned)), counts);
            }
            let local = rank(Local.health(own, said(others)));
            assert_eq!(local, rank(own));
            assert!(rank(AnyUp.health(own, said(others))) >= rank(Quorum.health(own, said(others))));
        });
    }
}
