//! The part of the program that answers by itself what takes no table: BADVERS (RFC 6891 §6.1.3), REFUSED for names that the
//! node has no authority for ([`refused`]), and TC for networks over a limit ([`limited`]).
//!
//! Only the plain form is answered: a header, one question without compression, and nothing behind it or an OPT record without
//! options. The reply then has as many octets as the query, or six more for an extended error, so the frame is turned round where it
//! stands. All else goes to the ring, damaged frames too, so that what is odd is decided and counted in one place.
//!
//! The frame is looked at in a copy, one for each CPU: there the verifier knows how much room there is, whatever the
//! lengths in the frame say.

mod authority;
mod counts;
mod limited;
mod refused;

use super::frame::{self, Family};
use crate::assembler::register::{R1, R2, R3, R4, R5, RESULT, STACK};
use crate::assembler::{Assembler, Label, Register, Test, Width};
use crate::sys::bpf::PREFIX_LEN_MAX;

pub use authority::{Apexes, Authority, wait_for_programs};
pub use counts::{ByFamily, KernelAnswered, KernelCounts};
pub use limited::{LimitRule, Limited};

use counts::place;

/// Functions of the kernel, by their numbers.
mod function {
    pub(super) const MAP_LOOKUP: i32 = 1;
    pub(super) const NOW: i32 = 5;
    pub(super) const RANDOM: i32 = 7;
    pub(super) const CHECKSUM_DIFFERENCE: i32 = 28;
    pub(super) const ADJUST_TAIL: i32 = 65;
    pub(super) const LOAD_BYTES: i32 = 189;
    pub(super) const STORE_BYTES: i32 = 190;
}

/// `XDP_DROP`.
const DROP: i32 = 1;
/// `XDP_TX`: out of the interface it came in by.
const SEND: i32 = 3;

/// The copy, in octets from its beginning.
mod copy {
    /// The hardware addresses.
    pub(super) const ETHERNET: i16 = 0;
    /// The IP header, and the UDP header behind it.
    pub(super) const IP: i16 = 16;
    /// The message.
    pub(super) const PAYLOAD: i16 = 80;
    /// What is looked for among the apexes: how many bits count, and the octets.
    pub(super) const KEY: i16 = PAYLOAD + super::ROOM_LEN as i16 + 4;
    pub(super) const KEY_OCTETS: i16 = KEY + 4;
    /// Where the name ends, as the verifier may not know it.
    pub(super) const NAME_END: i16 = KEY_OCTETS + super::PREFIX_LEN_MAX as i16;
    /// All of it.
    pub(super) const LEN: usize = NAME_END as usize + 8;
}

/// Octets of a copy.
pub(super) const COPY_LEN: usize = copy::LEN;
/// Octets of the two hardware addresses.
const ADDRESSES_LEN: i32 = 12;
/// The receive queue in `struct xdp_md`.
const QUEUE: i16 = 16;
const HEADER_LEN: i32 = 12;
/// Flags in the third octet of a message.
const QR: i32 = 0x80;
const TC: i32 = 0x02;
/// The type and the class of a question.
const TYPE_CLASS_LEN: i32 = 4;
/// An OPT record without options (RFC 6891 §6.1.2).
const OPT_LEN: i32 = 11;
const NAME_MAX_LEN: i32 = 255;
/// Octets of a message but for its name.
const REST_LEN: i32 = HEADER_LEN + TYPE_CLASS_LEN + OPT_LEN;
/// Room for the longest message: a multiple of eight.
const ROOM_LEN: usize = 288;
/// More labels than these don't fit a name, that of the root included.
const LABELS_MAX: usize = 128;

/// An option with an Extended DNS Error and no text (RFC 8914 §2).
const EDE_LEN: i32 = 6;

const _: () = assert!(ROOM_LEN >= (REST_LEN + NAME_MAX_LEN + EDE_LEN) as usize && ROOM_LEN.is_multiple_of(8));

/// What is kept on the stack, in octets from its end; what the sorting of frames keeps there is of no use any more.
mod kept {
    pub(super) const KEY: i16 = -8;
    pub(super) const PSEUDO: i16 = -16;
    pub(super) const CLAIMED: i16 = -24;
    /// The network that the query is from, of two numbers, and until when it is limited.
    pub(super) const NETWORK: i16 = -40;
    pub(super) const UNTIL: i16 = -48;
    /// Where the IP header begins; set where the frame was sorted.
    pub(super) const IP_AT: i16 = super::IP_AT;
}

/// Where on the stack the caller leaves how many octets stand before the IP header.
pub(super) const IP_AT: i16 = -80;

const CONTEXT: Register = Register(6);
/// Where the copy begins.
const COPY: Register = Register(7);
/// Octets of the message.
const LEN: Register = Register(8);
/// Where in the name the next label begins; later, where the counts of the queue are.
const AT: Register = Register(9);

/// What the program answers by itself.
#[derive(Clone, Copy, Debug)]
pub struct KernelAnswers<'a> {
    /// The largest payload that replies say can be received over UDP, in octets.
    pub udp_payload_max: u16,
    /// What is not refused.
    pub authority: &'a Authority,
    /// Who is limited.
    pub limited: &'a Limited,
}

/// What is answered, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Answers {
    /// The largest payload that replies say can be received over UDP.
    pub(super) udp_payload_max: u16,
    /// The descriptor of the map of copies, one for each CPU.
    pub(super) copies: i32,
    /// The descriptor of the map of counts, one for each queue.
    pub(super) counts: i32,
    /// The descriptors of the set of apexes and of what says whether it counts.
    pub(super) authority: (i32, i32),
    /// The descriptors of the networks that are limited, and of the rule.
    pub(super) limited: (i32, i32),
}

impl KernelAnswers<'_> {
    /// With these maps of frames and counts.
    pub(super) fn with(self, copies: i32, counts: i32) -> Answers {
        let (udp_payload_max, authority) = (self.udp_payload_max, self.authority.descriptors());
        Answers { udp_payload_max, copies, counts, authority, limited: self.limited.descriptors() }
    }
}

/// Writes it for frames of a family whose lengths, addresses and ports were looked at. It goes to `take` with what it
/// does not answer, and has changed nothing then but registers and the stack.
///
/// Expects the context in register 6, where the IP header begins in 7, and the octets from there to the end of the frame
/// in 9; and on the stack, at [`IP_AT`], how many octets stand before that header.
pub(super) fn write(a: &mut Assembler, answers: Answers, family: Family, take: Label) {
    let (dropped, without_opt, version_0, turn) = (a.label(), a.label(), a.label(), a.label());
    let mut writing = Writing { a, answers, family, take, dropped };
    writing.lengths();
    writing.copy_frame();
    writing.message();
    writing.name(without_opt);
    writing.opt(version_0);
    writing.checksums();
    writing.count(place::BAD_VERSION);
    writing.bad_version();
    writing.a.jump(turn);
    writing.a.place(version_0);
    writing.limit(refused::Opt::There, turn);
    writing.refuse(refused::Opt::There, turn);
    writing.a.place(without_opt);
    writing.limit(refused::Opt::Absent, turn);
    writing.refuse(refused::Opt::Absent, turn);
    writing.a.place(turn);
    writing.headers();
    writing.send();
    a.place(dropped);
    a.set(RESULT, DROP);
    a.end();
}

struct Writing<'a> {
    a: &'a mut Assembler,
    answers: Answers,
    family: Family,
    take: Label,
    dropped: Label,
}

impl Writing<'_> {
    fn ip_len(&self) -> i16 {
        self.family.header_len() as i16
    }

    /// Octets of the two headers.
    fn headers_len(&self) -> i32 {
        i32::from(self.ip_len()) + 8
    }

    /// Where the UDP header stands in the copy.
    fn udp(&self) -> i16 {
        copy::IP + self.ip_len()
    }

    fn take_if(&mut self, register: Register, test: Test, value: u32) {
        self.a.jump_if(register, test, value, self.take);
    }

    /// A message that may be of the plain form, and nothing behind it.
    fn lengths(&mut self) {
        let ip = COPY; // which has taken the register over only later
        self.a.load(Width::Half, LEN, ip, self.ip_len() + 4);
        self.a.swap_half(LEN);
        self.a.and(LEN, 0xffff); // tells the verifier
        self.a.copy(R1, LEN);
        self.a.add(R1, self.ip_len().into());
        self.a.jump_if_register(R1, Test::NotEqual, AT, self.take);
        self.take_if(LEN, Test::Below, (8 + REST_LEN - OPT_LEN + 1) as u32);
        self.take_if(LEN, Test::Above, (8 + REST_LEN + NAME_MAX_LEN) as u32);
        self.a.add(LEN, -8);
    }

    /// Copies the frame; behind the message there is nothing but zeroes.
    fn copy_frame(&mut self) {
        self.a.store_constant(Width::Word, STACK, kept::KEY, 0);
        self.look_up(self.answers.copies, COPY);
        for at in (0..ROOM_LEN as i16).step_by(8) {
            self.a.store_constant(Width::Double, COPY, copy::PAYLOAD + at, 0);
        }
        self.frame_parts(function::LOAD_BYTES, self.take);
    }

    /// Moves the parts of the frame to the copy or back.
    fn frame_parts(&mut self, function: i32, failed: Label) {
        let headers_len = self.headers_len();
        self.a.set(R2, 0);
        self.a.set(R4, ADDRESSES_LEN);
        self.frame_part(function, copy::ETHERNET, failed);
        self.a.load(Width::Double, R2, STACK, kept::IP_AT);
        self.a.set(R4, headers_len);
        self.frame_part(function, copy::IP, failed);
        self.a.load(Width::Double, R2, STACK, kept::IP_AT);
        self.a.add(R2, headers_len);
        self.a.copy(R4, LEN);
        self.frame_part(function, copy::PAYLOAD, failed);
    }

    fn frame_part(&mut self, function: i32, at: i16, failed: Label) {
        self.a.copy(R1, CONTEXT);
        self.a.copy(R3, COPY);
        self.a.add(R3, at.into());
        self.a.call(function);
        self.a.jump_if(RESULT, Test::NotEqual, 0, failed);
    }

    /// A query of the standard opcode, with one question and at most an additional record.
    fn message(&mut self) {
        self.a.load(Width::Byte, R1, COPY, copy::PAYLOAD + 2);
        self.a.and(R1, 0xf8);
        self.take_if(R1, Test::NotEqual, 0);
        for (at, count) in [(4, 1), (6, 0), (8, 0)] {
            self.a.load(Width::Half, R1, COPY, copy::PAYLOAD + at);
            self.take_if(R1, Test::NotEqual, be16(count));
        }
    }

    /// A name without compression that ends where it has to. Goes on where there is an OPT record.
    fn name(&mut self, without_opt: Label) {
        let ended = self.a.label();
        self.a.set(AT, 0);
        for _ in 0..LABELS_MAX {
            self.a.copy(R2, COPY);
            self.a.add_register(R2, AT);
            self.a.load(Width::Byte, R1, R2, copy::PAYLOAD + HEADER_LEN as i16);
            self.a.jump_if(R1, Test::Equal, 0, ended);
            self.take_if(R1, Test::Above, 63);
            self.a.add_register(AT, R1);
            self.a.add(AT, 1);
            self.take_if(AT, Test::Above, (NAME_MAX_LEN - 1) as u32);
        }
        self.a.jump(self.take);
        self.a.place(ended);
        self.a.store(Width::Word, COPY, copy::NAME_END, AT);
        self.a.add(AT, 1 + REST_LEN - OPT_LEN);
        self.a.load(Width::Half, R1, COPY, copy::PAYLOAD + 10);
        let absent = self.a.label();
        self.a.jump_if(R1, Test::Equal, 0, absent);
        self.take_if(R1, Test::NotEqual, be16(1));
        self.a.add(AT, OPT_LEN);
        let there = self.a.label();
        self.a.jump_if_register(AT, Test::Equal, LEN, there);
        self.a.jump(self.take);
        self.a.place(absent);
        self.a.jump_if_register(AT, Test::Equal, LEN, without_opt);
        self.a.jump(self.take);
        self.a.place(there);
    }

    /// `to` = where the OPT record stands; at most where the verifier knows that there is room.
    fn opt_start(&mut self, to: Register) {
        self.a.copy(to, COPY);
        self.a.add_register(to, LEN);
        self.a.add(to, i32::from(copy::PAYLOAD) - OPT_LEN);
    }

    /// An OPT record without options. Goes on where its version is not 0.
    fn opt(&mut self, version_0: Label) {
        self.opt_start(R2);
        for (at, octet) in [(0, 0), (1, 0), (2, 41), (9, 0), (10, 0)] {
            self.a.load(Width::Byte, R1, R2, at);
            self.take_if(R1, Test::NotEqual, octet);
        }
        self.a.load(Width::Byte, R1, R2, 6);
        self.a.jump_if(R1, Test::Equal, 0, version_0);
    }

    /// Leaves in register 0 the sum of so many octets of the copy.
    fn sum(&mut self, at: i16, len: usize) {
        self.a.set(R1, 0);
        self.a.set(R2, 0);
        self.a.copy(R3, COPY);
        self.a.add(R3, at.into());
        self.a.set(R4, len as i32);
        self.a.set(R5, 0);
        self.a.call(function::CHECKSUM_DIFFERENCE);
    }

    /// Folds a sum of fewer than 40 bits to 16.
    fn fold(&mut self, register: Register) {
        for _ in 0..3 {
            self.a.copy(R1, register);
            self.a.and(R1, 0xffff);
            self.a.shift_right(register, 16);
            self.a.add_register(register, R1);
        }
    }

    /// Checksums as the ring wants them: right, or with the pseudo-header alone, or, over IPv4, none.
    fn checksums(&mut self) {
        let udp = self.udp();
        let (addresses_at, addresses_len) = match self.family {
            Family::V4 => (copy::IP + 12, 8),
            Family::V6 => (copy::IP + 8, 32),
        };
        if self.family == Family::V4 {
            self.sum(copy::IP, Family::V4.header_len());
            self.fold(RESULT);
            self.take_if(RESULT, Test::NotEqual, 0xffff);
        }
        self.sum(addresses_at, addresses_len);
        self.a.load(Width::Half, R1, COPY, udp + 4);
        self.a.add_register(RESULT, R1);
        self.a.add(RESULT, u16::from_ne_bytes([0, libc::IPPROTO_UDP as u8]).into());
        self.fold(RESULT);
        self.a.store(Width::Double, STACK, kept::PSEUDO, RESULT);
        self.a.load(Width::Half, R1, COPY, udp + 6);
        self.a.store(Width::Double, STACK, kept::CLAIMED, R1);
        let good = self.a.label();
        match self.family {
            Family::V4 => self.a.jump_if(R1, Test::Equal, 0, good),
            Family::V6 => self.take_if(R1, Test::Equal, 0),
        }
        self.a.jump_if_register(RESULT, Test::Equal, R1, good);
        self.message_sum();
        self.a.load(Width::Double, R1, STACK, kept::CLAIMED);
        self.a.add_register(RESULT, R1);
        self.fold(RESULT);
        self.take_if(RESULT, Test::NotEqual, 0xffff);
        self.a.place(good);
    }

    /// Leaves in register 0 the sum of the datagram and its pseudo-header, but for its checksum.
    fn message_sum(&mut self) {
        let udp = self.udp();
        self.sum(copy::PAYLOAD, ROOM_LEN);
        self.a.load(Width::Double, R1, STACK, kept::PSEUDO);
        self.a.add_register(RESULT, R1);
        for at in [0, 2, 4] {
            self.a.load(Width::Half, R1, COPY, udp + at);
            self.a.add_register(RESULT, R1);
        }
    }

    /// Which of the counts of the queue goes up. What could not be counted is not answered.
    fn count(&mut self, of: i32) {
        self.a.load(Width::Word, R1, CONTEXT, QUEUE);
        self.a.store(Width::Word, STACK, kept::KEY, R1);
        self.look_up(self.answers.counts, AT);
        let of_family = if self.family == Family::V4 { place::IPV4 } else { place::IPV6 };
        self.a.add(AT, of + of_family);
    }

    /// Where a map has its element with the number that is kept as key; a frame for which there is none goes to the ring.
    fn look_up(&mut self, map: i32, to: Register) {
        self.a.set_map(R1, map);
        self.a.copy(R2, STACK);
        self.a.add(R2, kept::KEY.into());
        self.a.call(function::MAP_LOOKUP);
        let found = self.a.label();
        self.a.jump_if_64(RESULT, Test::NotEqual, 0, found);
        self.a.jump(self.take);
        self.a.place(found);
        self.a.copy(to, RESULT);
    }

    /// Makes the header that of a response with these flags and lower bits of the RCODE: of the query's flags only RD is kept.
    fn header(&mut self, flags: i32, rcode: i32) {
        self.a.load(Width::Byte, R1, COPY, copy::PAYLOAD + 2);
        self.a.and(R1, 0x01);
        self.a.add(R1, QR | flags);
        self.a.store(Width::Byte, COPY, copy::PAYLOAD + 2, R1);
        self.a.store_constant(Width::Byte, COPY, copy::PAYLOAD + 3, rcode);
    }

    /// Makes the OPT record that of a response with these upper bits of the RCODE: of its flags only DO is kept. Register 2 then
    /// has where it begins.
    fn opt_of_response(&mut self, rcode: i32) {
        self.opt_start(R2);
        let [high, low] = self.answers.udp_payload_max.to_be_bytes();
        for (at, octet) in [(3, high.into()), (4, low.into()), (5, rcode), (6, 0), (8, 0)] {
            self.a.store_constant(Width::Byte, R2, at, octet);
        }
        self.a.load(Width::Byte, R1, R2, 7);
        self.a.and(R1, 0x80);
        self.a.store(Width::Byte, R2, 7, R1);
    }

    /// Makes the message the response: BADVERS is 16.
    fn bad_version(&mut self) {
        self.header(0, 0);
        self.opt_of_response(1);
    }

    /// Exchanges two places of the copy.
    fn exchange(&mut self, width: Width, one: i16, other: i16) {
        self.a.load(width, R1, COPY, one);
        self.a.load(width, R2, COPY, other);
        self.a.store(width, COPY, one, R2);
        self.a.store(width, COPY, other, R1);
    }

    /// Turns the headers round, as [`frame::turn_round`] does.
    fn headers(&mut self) {
        let udp = self.udp();
        for at in [0, 2, 4] {
            self.exchange(Width::Half, at, 6 + at);
        }
        match self.family {
            Family::V4 => {
                self.a.call(function::RANDOM);
                self.a.store(Width::Half, COPY, copy::IP + 4, RESULT);
                self.a.store_constant(Width::Byte, COPY, copy::IP + 1, 0);
                self.a.store_constant(Width::Half, COPY, copy::IP + 6, 0);
                self.a.store_constant(Width::Byte, COPY, copy::IP + 8, frame::HOPS.into());
                self.a.store_constant(Width::Half, COPY, copy::IP + 10, 0);
                self.exchange(Width::Word, copy::IP + 12, copy::IP + 16);
                self.sum(copy::IP, Family::V4.header_len());
                self.fold(RESULT);
                self.a.exclusive_or(RESULT, 0xffff);
                self.a.store(Width::Half, COPY, copy::IP + 10, RESULT);
            }
            Family::V6 => {
                self.a.store_constant(
                    Width::Word,
                    COPY,
                    copy::IP,
                    u32::from_ne_bytes([0x60, 0, 0, 0]) as i32,
                );
                self.a.store_constant(Width::Byte, COPY, copy::IP + 7, frame::HOPS.into());
                self.exchange(Width::Double, copy::IP + 8, copy::IP + 24);
                self.exchange(Width::Double, copy::IP + 16, copy::IP + 32);
            }
        }
        self.exchange(Width::Half, udp, udp + 2);
        self.message_sum();
        self.fold(RESULT);
        self.a.exclusive_or(RESULT, 0xffff);
        // Zero would say that there is no checksum (RFC 768).
        let there = self.a.label();
        self.a.jump_if(RESULT, Test::NotEqual, 0, there);
        self.a.set(RESULT, 0xffff);
        self.a.place(there);
        self.a.store(Width::Half, COPY, udp + 6, RESULT);
    }

    /// Puts the copy where the frame was, and sends it. What was loaded can be stored; if it can't, half a reply is none.
    fn send(&mut self) {
        self.frame_parts(function::STORE_BYTES, self.dropped);
        self.a.set(R1, 1);
        self.a.add_at(AT, 0, R1);
        self.a.set(RESULT, SEND);
        self.a.end();
    }
}

/// A number of 16 bits as it looks when loaded from a packet.
fn be16(value: u16) -> u32 {
    u16::from_ne_bytes(value.to_be_bytes()).into()
}

#[cfg(test)]
mod tests;
