//! The probe option: how whoever watches over a server learns which of its threads answered.
//!
//! The kernel picks the thread by the client's address and port, so a good answer alone says nothing of the other
//! threads. A query whose OPT record carries the option with the server's token is answered like any other, and the
//! response carries the option with a [`Seat`]. To everybody else the option is an unknown one (RFC 6891 §6.1.2).

/// Octets of the option in a query: the token. Sixteen can't be guessed.
pub const TOKEN_LEN: usize = 16;
/// Octets of the option in a response: the seat.
pub const SEAT_LEN: usize = 3;

/// The thread of a server that answers: what it answers, and which of those it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Seat {
    /// The UDP worker with this index.
    UdpWorker(u16),
    /// The TCP thread with this index.
    TcpThread(u16),
}

impl Seat {
    /// The octets of the option in a response.
    pub fn to_octets(self) -> [u8; SEAT_LEN] {
        let (kind, index) = match self {
            Seat::UdpWorker(index) => (1, index),
            Seat::TcpThread(index) => (2, index),
        };
        let [high, low] = index.to_be_bytes();
        [kind, high, low]
    }

    /// Reads the octets of the option in a response; `None` where they are no seat.
    pub fn from_octets(octets: &[u8]) -> Option<Seat> {
        let [kind, high, low] =
            *octets.first_chunk::<SEAT_LEN>().filter(|seat| seat.len() == octets.len())?;
        let index = u16::from_be_bytes([high, low]);
        match kind {
            1 => Some(Seat::UdpWorker(index)),
            2 => Some(Seat::TcpThread(index)),
            _ => None,
        }
    }
}

impl std::fmt::Display for Seat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Seat::UdpWorker(index) => write!(f, "UDP worker {index}"),
            Seat::TcpThread(index) => write!(f, "TCP thread {index}"),
        }
    }
}

/// Whether two tokens are the same, in a time that doesn't tell where they differ.
pub fn is_same_token(one: &[u8; TOKEN_LEN], other: &[u8; TOKEN_LEN]) -> bool {
    let difference = u128::from_ne_bytes(*one) ^ u128::from_ne_bytes(*other);
    // Hides from the compiler that only zero matters, so that it can't compare in steps.
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_read_as_written() {
        for seat in [Seat::UdpWorker(0), Seat::UdpWorker(u16::MAX), Seat::TcpThread(258)] {
            let octets = seat.to_octets();
            assert_eq!(Seat::from_octets(&octets), Some(seat));
            assert_eq!(Seat::from_octets(&octets[..2]), None);
            assert_eq!(Seat::from_octets(&[&octets[..], &[0]].concat()), None);
        }
        assert_eq!(Seat::TcpThread(258).to_octets(), [2, 1, 2]);
        assert_eq!(Seat::from_octets(&[0, 0, 0]), None);
    }

    #[test]
    fn tokens_differ_in_any_bit() {
        let token = [0x5a; TOKEN_LEN];
        assert!(is_same_token(&token, &token));
        for bit in 0..8 * TOKEN_LEN {
            let mut other = token;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!is_same_token(&token, &other), "bit {bit}");
        }
    }
}
