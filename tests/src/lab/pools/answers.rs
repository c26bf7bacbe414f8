//! Which backends there are, and which of them an answer has.

use std::fmt;
use std::net::Ipv4Addr;

use crate::lab::client::TYPE_A;
use crate::lab::topology::{POPS, backend};
use crate::message::Message;

/// How many backends are at each PoP.
pub const EACH: usize = 2;

/// A backend at a PoP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backend {
    /// The PoP, as a place in [`POPS`].
    pub pop: usize,
    /// Which of those there, from 0.
    pub number: usize,
}

/// All of them.
pub const BACKENDS: [Backend; POPS.len() * EACH] = {
    let mut all = [Backend { pop: 0, number: 0 }; POPS.len() * EACH];
    let mut at = 0;
    while at < all.len() {
        all[at] = Backend { pop: at / EACH, number: at % EACH };
        at += 1;
    }
    all
};

impl Backend {
    /// Its address.
    #[must_use]
    pub fn address(self) -> Ipv4Addr {
        backend(self.pop, self.number)
    }

    fn letter(self) -> char {
        if self.number == 0 { 'a' } else { 'b' }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&format!("{}{}", POPS[self.pop], self.letter()))
    }
}

/// A set of backends, such as an answer has.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Set(u8);

impl Set {
    /// Those for which it is so.
    pub fn of(is_in: impl Fn(Backend) -> bool) -> Self {
        let bits = BACKENDS.iter().enumerate().filter(|(_, backend)| is_in(**backend));
        Self(bits.fold(0, |set, (at, _)| set | (1 << at)))
    }

    /// Whether a backend is in it.
    #[must_use]
    pub fn has(self, backend: Backend) -> bool {
        BACKENDS.iter().position(|it| *it == backend).is_some_and(|at| self.0 & (1 << at) != 0)
    }

    /// Whether it has nothing.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether it may stand on the way from one set to another: it has something, what both have, and nothing that
    /// neither has.
    #[must_use]
    pub fn is_between(self, one: Self, other: Self) -> bool {
        let (both, either) = (one.0 & other.0, one.0 | other.0);
        !self.is_empty() && self.0 & both == both && self.0 & !either == 0
    }

    /// What a response answers with; none if that is an error, or has an address that is no backend's.
    #[must_use]
    pub fn answered(response: &[u8]) -> Option<Self> {
        let message = Message::decode(response).ok()?;
        let mut set = Self::default();
        for record in message.answer.iter().filter(|record| record.rtype == TYPE_A) {
            let octets: [u8; 4] = record.rdata.as_slice().try_into().ok()?;
            let at = BACKENDS.iter().position(|it| it.address() == Ipv4Addr::from(octets))?;
            set.0 |= 1 << at;
        }
        (message.rcode() == 0).then_some(set)
    }
}

/// A letter for each backend that is in it, grouped by PoP: `ab -b --`.
impl fmt::Display for Set {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of_pop = |pop| {
            let here = BACKENDS.iter().filter(move |backend| backend.pop == pop);
            here.map(|backend| if self.has(*backend) { backend.letter() } else { '-' }).collect::<String>()
        };
        out.pad(&(0..POPS.len()).map(of_pop).collect::<Vec<_>>().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_between_has_what_both_have_and_nothing_else() {
        let set = |text: &str| Set::of(|backend| text.contains(&backend.to_string()));
        let (one, other) = (set("p1a p1b"), set("p1b p2a"));
        for (text, is_between) in [
            ("p1a p1b", true),
            ("p1b", true),
            ("p1a p1b p2a", true),
            ("p1a", false),
            ("p1b p3a", false),
            ("", false),
        ] {
            assert_eq!(set(text).is_between(one, other), is_between, "{text}");
        }
        assert_eq!(set("p1b p2a p3a p3b").to_string(), "-b a- ab");
    }
}
