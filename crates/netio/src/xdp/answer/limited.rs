//! Networks whose queries are answered without their records, or not at all: those that ask for far more than there is a limit for,
//! or in whose name somebody does.
//!
//! The program knows a network until a moment, so that whoever tells it of one need not come back. What it answers is what a worker
//! answers over the limit: the question alone, and that all the rest is to be had over TCP.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use super::counts::place;
use super::refused::Opt;
use super::{AT, COPY, Family, R1, R2, RESULT, STACK, TC, Writing, copy, function, kept};
use crate::assembler::{Label, Test, Width};
use crate::sys::bpf::{self, VALUE_LEN};

/// The most networks that are known at a time; those that were not asked for the longest make room for others.
const NETWORKS_MAX: u32 = 1 << 16;

/// What the rule is, in octets of its value.
mod rule {
    /// Whether there is one.
    pub(super) const IS_THERE: i16 = 0;
    /// Which random numbers of 32 bits have a query answered: those up to this.
    pub(super) const ANSWERED: i16 = 4;
    /// The bits of an address that say which network it is in.
    pub(super) const OF_IPV4: i16 = 8;
    pub(super) const OF_IPV6: i16 = 16;
}

/// A network as the map has it: its family, and its bits of an address.
pub(super) type Network = [u64; 2];
const IPV4: u64 = 4;
const IPV6: u64 = 6;

/// The networks, and how their queries are answered.
#[derive(Debug)]
pub struct Limited {
    networks: OwnedFd,
    rule: OwnedFd,
}

/// How the queries of networks are answered that are over a limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LimitRule {
    /// Each one of so many is answered, with the question alone and TC; the others are dropped. 0: all are dropped.
    pub slip: u32,
    /// How many bits of an address say which network it is in, of IPv4 and of IPv6, of which it is 64 at most.
    pub prefix_lens: [u8; 2],
}

impl LimitRule {
    fn masks(self) -> (u32, u64) {
        let [of_ipv4, of_ipv6] = self.prefix_lens;
        let ipv4 = u32::MAX.checked_shl(32 - u32::from(of_ipv4.min(32))).unwrap_or(0);
        let ipv6 = u64::MAX.checked_shl(64 - u32::from(of_ipv6.min(64))).unwrap_or(0);
        (ipv4, ipv6)
    }

    /// The network that an address is in, in the order of octets that packets have.
    fn network(self, address: IpAddr) -> Network {
        let (ipv4, ipv6) = self.masks();
        match address.to_canonical() {
            IpAddr::V4(address) => {
                [IPV4, u32::from_ne_bytes((address.to_bits() & ipv4).to_be_bytes()).into()]
            }
            IpAddr::V6(address) => {
                let upper = (address.to_bits() >> 64) as u64;
                [IPV6, u64::from_ne_bytes((upper & ipv6).to_be_bytes())]
            }
        }
    }
}

impl Limited {
    /// No networks, and no rule. It takes CAP_BPF.
    ///
    /// # Errors
    /// The kernel has no such maps, or gives them to others alone.
    pub fn new() -> io::Result<Limited> {
        Ok(Limited { networks: bpf::recent(NETWORKS_MAX)?, rule: bpf::values(1)? })
    }

    /// Sets the rule, or takes it away: then queries of all networks are answered as they are.
    ///
    /// # Errors
    /// Before Linux 5.19, writing may take privileges that are gone.
    pub fn set_rule(&self, rule: Option<LimitRule>) -> io::Result<()> {
        let mut value = [0; VALUE_LEN];
        if let Some(rule) = rule {
            let (ipv4, ipv6) = rule.masks();
            let answered = u32::MAX.checked_div(rule.slip).unwrap_or(0);
            value[rule::IS_THERE as usize] = 1;
            let parts: [(i16, &[u8]); 3] = [
                (rule::ANSWERED, &answered.to_ne_bytes()),
                (rule::OF_IPV4, &ipv4.to_be_bytes()),
                (rule::OF_IPV6, &ipv6.to_be_bytes()),
            ];
            for (at, octets) in parts {
                value[at as usize..][..octets.len()].copy_from_slice(octets);
            }
        }
        bpf::set_value(self.rule.as_fd(), 0, &value)
    }

    /// Has the queries of the network that an address is in answered by the rule, for so long from now.
    ///
    /// # Errors
    /// As with [`Limited::set_rule`].
    pub fn limit(&self, rule: LimitRule, address: IpAddr, span: Duration) -> io::Result<()> {
        let until = crate::sys::monotonic().saturating_add(span);
        let until = u64::try_from(until.as_nanos()).unwrap_or(u64::MAX);
        bpf::set_recent(self.networks.as_fd(), &rule.network(address), until)
    }

    /// The descriptors of the networks and of the rule.
    pub(super) fn descriptors(&self) -> (i32, i32) {
        (self.networks.as_raw_fd(), self.rule.as_raw_fd())
    }
}

impl Writing<'_> {
    /// Makes the copy the response to a query from a network that is over the limit, and goes to `turn` with it, or drops the
    /// frame. What is not plain goes to the ring; goes on with what is from elsewhere.
    pub(super) fn limit(&mut self, opt: Opt, turn: Label) {
        let (networks, rule) = self.answers.limited;
        let (elsewhere, withheld) = (self.a.label(), self.a.label());
        self.a.store_constant(Width::Word, STACK, kept::KEY, 0);
        self.look_up(rule, AT);
        self.a.load(Width::Byte, R1, AT, rule::IS_THERE);
        self.a.jump_if(R1, Test::Equal, 0, elsewhere);
        let (family, width, source, mask) = match self.family {
            Family::V4 => (IPV4, Width::Word, copy::IP + 12, rule::OF_IPV4),
            Family::V6 => (IPV6, Width::Double, copy::IP + 8, rule::OF_IPV6),
        };
        self.a.load(width, R1, COPY, source);
        self.a.load(width, R2, AT, mask);
        self.a.and_register(R1, R2);
        self.a.store_constant(Width::Double, STACK, kept::NETWORK, family as i32);
        self.a.store(Width::Double, STACK, kept::NETWORK + 8, R1);
        self.a.set_map(R1, networks);
        self.a.copy(R2, STACK);
        self.a.add(R2, kept::NETWORK.into());
        self.a.call(function::MAP_LOOKUP);
        self.a.jump_if_null(RESULT, elsewhere);
        self.a.load(Width::Double, R1, RESULT, 0);
        self.a.store(Width::Double, STACK, kept::UNTIL, R1);
        self.a.call(function::NOW);
        self.a.load(Width::Double, R1, STACK, kept::UNTIL);
        self.a.jump_if_register(RESULT, Test::Above, R1, elsewhere);
        self.question(opt);
        self.a.call(function::RANDOM);
        self.a.load(Width::Word, R1, AT, rule::ANSWERED);
        self.a.jump_if(R1, Test::Equal, 0, withheld);
        self.a.jump_if_register(RESULT, Test::Above, R1, withheld);
        self.checksums();
        self.count(place::SHORTENED);
        self.header(TC, 0);
        if opt == Opt::There {
            self.opt_of_response(0);
        }
        self.a.jump(turn);
        self.a.place(withheld);
        self.checksums();
        self.count(place::WITHHELD);
        self.a.set(R1, 1);
        self.a.add_at(AT, 0, R1);
        self.a.jump(self.dropped);
        self.a.place(elsewhere);
    }
}
