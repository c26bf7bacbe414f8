//! REFUSED for names that are below none of the node's apexes, with the Extended DNS Error "not authoritative" (RFC 8914 §4.21)
//! where there is an OPT record to say it in: what a flood of queries for anything at all gets.

use super::authority::CASE;
use super::counts::place;
use super::{
    COPY, EDE_LEN, Family, HEADER_LEN, LEN, OPT_LEN, R1, R2, R3, R4, RESULT, STACK, TYPE_CLASS_LEN, Writing,
    be16, copy, function, kept,
};
use crate::assembler::{Label, Register, Test, Width};
use crate::sys::bpf::PREFIX_LEN_MAX;

/// The lower bits of the RCODE; there are no upper ones.
const REFUSED: i32 = 5;
/// The option, and the error in it.
const EDE: u8 = 15;
const NOT_AUTHORITATIVE: u8 = 20;
/// The class IN.
const IN: u16 = 1;
/// The type OPT, which is no question (RFC 6891 §6.1.1).
const OPT: u32 = 41;
/// From here to 255 there are types for questions and messages, of which each has its own answer (RFC 6895 §3.1).
const META_TYPES: u32 = 128;

/// Whether the query has an OPT record.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Opt {
    There,
    Absent,
}

impl Writing<'_> {
    /// Makes the copy the response, and goes to `turn` with it; with what is not to be refused, to the ring.
    pub(super) fn refuse(&mut self, opt: Opt, turn: Label) {
        self.question(opt);
        self.outside();
        self.checksums();
        self.count(place::REFUSED);
        self.header(0, REFUSED);
        if opt == Opt::There {
            self.opt_of_response(0);
            let ede_len = EDE_LEN as u8;
            for (at, octet) in (9..).zip([0, ede_len, 0, EDE, 0, 2, 0, NOT_AUTHORITATIVE]) {
                self.a.store_constant(Width::Byte, R2, at, octet.into());
            }
            self.grow();
        }
        self.a.jump(turn);
    }

    /// A type that is of zone data, and the class IN.
    pub(super) fn question(&mut self, opt: Opt) {
        let behind = if opt == Opt::There { OPT_LEN } else { 0 };
        self.a.copy(R2, COPY);
        self.a.add_register(R2, LEN);
        self.a.add(R2, i32::from(copy::PAYLOAD) - behind - TYPE_CLASS_LEN);
        // Types of two octets that are not zero are few, and nobody floods with them.
        self.a.load(Width::Byte, R1, R2, 0);
        self.take_if(R1, Test::NotEqual, 0);
        self.a.load(Width::Byte, R1, R2, 1);
        self.take_if(R1, Test::Equal, 0);
        self.take_if(R1, Test::Equal, OPT);
        self.take_if(R1, Test::Above, META_TYPES - 1);
        self.a.load(Width::Half, R1, R2, 2);
        self.take_if(R1, Test::NotEqual, be16(IN));
    }

    /// A name that is below no apex, if all of them are known.
    fn outside(&mut self) {
        let (apexes, open) = self.answers.authority;
        self.a.store_constant(Width::Word, STACK, kept::KEY, 0);
        self.look_up(open, R1);
        self.a.load(Width::Byte, R1, R1, 0);
        self.take_if(R1, Test::Equal, 0);
        let end = Register(9); // nothing else is in it here
        self.a.load(Width::Word, end, COPY, copy::NAME_END);
        self.a.and(end, 0xff);
        // As the set has its apexes: turned, in one case, and the last octets alone.
        self.a.set_64(R4, u64::from_ne_bytes([CASE; 8]));
        self.a.copy(R2, COPY);
        self.a.add_register(R2, end);
        let behind = copy::PAYLOAD + HEADER_LEN as i16 + 1;
        for at in (0..PREFIX_LEN_MAX as i16).step_by(8) {
            self.a.load(Width::Double, R3, R2, behind - at - 8);
            self.a.reverse(R3);
            self.a.or_register(R3, R4);
            self.a.store(Width::Double, COPY, copy::KEY_OCTETS + at, R3);
        }
        let fits = self.a.label();
        self.a.add(end, 1);
        self.a.jump_if(end, Test::Below, PREFIX_LEN_MAX as u32, fits);
        self.a.set(end, PREFIX_LEN_MAX as i32);
        self.a.place(fits);
        self.a.shift_left(end, 3);
        self.a.store(Width::Word, COPY, copy::KEY, end);
        self.a.set_map(R1, apexes);
        self.a.copy(R2, COPY);
        self.a.add(R2, copy::KEY.into());
        self.a.call(function::MAP_LOOKUP);
        let outside = self.a.label();
        self.a.jump_if_null(RESULT, outside);
        self.a.jump(self.take);
        self.a.place(outside);
    }

    /// Makes room for the error behind the record. What was received is as it was where there is none.
    fn grow(&mut self) {
        self.a.copy(R1, super::CONTEXT);
        self.a.set(R2, EDE_LEN);
        self.a.call(function::ADJUST_TAIL);
        self.a.jump_if(RESULT, Test::NotEqual, 0, self.take);
        self.a.add(LEN, EDE_LEN);
        self.longer(copy::IP + self.ip_len() + 4);
        self.longer(match self.family {
            Family::V4 => copy::IP + 2,
            Family::V6 => copy::IP + 4,
        });
        self.a.load(Width::Double, R1, STACK, kept::PSEUDO);
        self.a.add(R1, be16(EDE_LEN as u16) as i32);
        self.a.store(Width::Double, STACK, kept::PSEUDO, R1);
    }

    /// Adds to a length of 16 bits what the frame has grown by.
    fn longer(&mut self, at: i16) {
        self.a.load(Width::Half, R1, COPY, at);
        self.a.swap_half(R1);
        self.a.add(R1, EDE_LEN);
        self.a.swap_half(R1);
        self.a.store(Width::Half, COPY, at, R1);
    }
}
