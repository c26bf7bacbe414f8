//! The program that sorts frames: queries go to a ring, everything else goes on to the kernel.
//!
//! It takes a frame only when the kernel would give its payload to our socket, and when a reply can be made of it by turning it
//! round. What is in doubt (fragments, options, odd sources, lengths that disagree) is passed on, so that the kernel decides as
//! it always has.

use std::net::{IpAddr, SocketAddr};

use super::Reply;
use super::answer::{self, Answers};
use super::frame::{self, Family};
use crate::assembler::register::{R1, R2, R3, R4, R5, RESULT, STACK};
use crate::assembler::{Assembler, Label, Register, Test, Width};
use crate::sys::HARDWARE_ADDRESS_LEN;
use crate::sys::bpf::Instruction;

/// Functions of the kernel, by their numbers.
mod function {
    pub(super) const REDIRECT_MAP: i32 = 51;
    pub(super) const FIB_LOOKUP: i32 = 69;
    pub(super) const BUFF_LEN: i32 = 188;
}

/// `XDP_PASS`: on to the kernel.
const PASS: i32 = 2;

/// Fields of `struct xdp_md`, in octets from its beginning.
mod context {
    pub(super) const DATA: i16 = 0;
    pub(super) const DATA_END: i16 = 4;
    pub(super) const QUEUE: i16 = 16;
}

/// `struct bpf_fib_lookup` on the stack, in octets from its end, and its fields from its own beginning.
mod lookup {
    pub(super) const AT: i16 = -64;
    pub(super) const LEN: i32 = 64;
    pub(super) const FAMILY: i16 = AT;
    pub(super) const PROTOCOL: i16 = AT + 1;
    pub(super) const SOURCE_PORT: i16 = AT + 2;
    pub(super) const PORT: i16 = AT + 4;
    pub(super) const INTERFACE: i16 = AT + 8;
    pub(super) const SOURCE: i16 = AT + 16;
    pub(super) const DESTINATION: i16 = AT + 32;
    pub(super) const NEXT_HOP: i16 = AT + 58;
    /// Where the interface stands that the reply has to leave by.
    pub(super) const EXPECTED: i16 = AT - 8;
}

/// The loopback interface: in the kernel's lookup of routes, where packets of the machine itself come from.
const LOOPBACK: i32 = 1;

/// The argument of the program.
const CONTEXT: Register = Register(6);
/// Where the IP header begins.
const IP: Register = Register(7);
/// Where the frame ends.
const END: Register = Register(8);
/// Octets from the IP header to the end of the frame.
const IP_ROOM: Register = Register(9);

/// A VLAN of an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tag {
    /// Its number, 1 to 4,094.
    pub id: u16,
    /// The address of its interface.
    pub hardware_address: [u8; HARDWARE_ADDRESS_LEN],
    /// The number of its interface.
    pub interface: u32,
}

/// What the program has to know.
#[derive(Clone, Debug)]
pub(super) struct Filter<'a> {
    /// Where queries are taken; wildcard addresses match nothing.
    pub(super) services: &'a [SocketAddr],
    /// The number of the interface.
    pub(super) interface: u32,
    /// Its address.
    pub(super) hardware_address: [u8; HARDWARE_ADDRESS_LEN],
    /// The VLANs on it.
    pub(super) tags: &'a [Tag],
    /// The longest frame that is taken, in octets: it has to fit where it is received.
    pub(super) frame_max_len: usize,
    /// Where replies go.
    pub(super) reply: Reply,
    /// The descriptor of the map of sockets.
    pub(super) map: i32,
    /// What the program answers by itself; with [`Reply::Reflect`] alone, since it does what that says.
    pub(super) answers: Option<Answers>,
}

/// Writes the program.
pub(super) fn program(filter: &Filter<'_>) -> Vec<Instruction> {
    let mut assembler = Assembler::default();
    let labels = Labels {
        network: assembler.label(),
        v4: assembler.label(),
        v6: assembler.label(),
        take: assembler.label(),
        pass: assembler.label(),
    };
    let mut writing = Writing { a: assembler, filter, labels };
    writing.frame();
    writing.network();
    // The kernel refuses programs with parts that nothing leads to.
    if filter.services.iter().any(SocketAddr::is_ipv4) {
        writing.v4();
    }
    if filter.services.iter().any(SocketAddr::is_ipv6) {
        writing.v6();
    }
    writing.take();
    writing.a.finish()
}

/// The places that more than one part jumps to.
#[derive(Clone, Copy)]
struct Labels {
    network: Label,
    v4: Label,
    v6: Label,
    take: Label,
    pass: Label,
}

struct Writing<'a> {
    a: Assembler,
    filter: &'a Filter<'a>,
    labels: Labels,
}

impl Writing<'_> {
    fn pass_if(&mut self, register: Register, test: Test, value: u32) {
        self.a.jump_if(register, test, value, self.labels.pass);
    }

    /// Passes on what has fewer than so many octets from the IP header on.
    fn require(&mut self, len: i32) {
        self.a.copy(R3, IP);
        self.a.add(R3, len);
        self.a.jump_if_register(R3, Test::Above, END, self.labels.pass);
    }

    /// One buffer, not too long, to us, with a tag that is known or with none.
    fn frame(&mut self) {
        let filter = self.filter;
        self.a.copy(CONTEXT, R1);
        self.a.call(function::BUFF_LEN);
        self.pass_if(RESULT, Test::Above, filter.frame_max_len as u32);
        self.a.and(RESULT, 0xffff); // tells the verifier what the jump has made sure of
        self.a.load(Width::Word, R2, CONTEXT, context::DATA);
        self.a.load(Width::Word, END, CONTEXT, context::DATA_END);
        // A frame of several buffers has more octets than its first buffer.
        self.a.copy(R3, R2);
        self.a.add_register(R3, RESULT);
        self.a.jump_if_register(R3, Test::Above, END, self.labels.pass);
        self.a.copy(R3, R2);
        self.a.add(R3, frame::TAGGED_LEN as i32);
        self.a.jump_if_register(R3, Test::Above, END, self.labels.pass);
        self.a.load(Width::Word, R3, R2, 0);
        self.a.load(Width::Half, R4, R2, 4);
        self.a.load(Width::Half, R5, R2, 12);
        let untagged = self.a.label();
        self.a.jump_if(R5, Test::NotEqual, be16(frame::ETHERTYPE_VLAN), untagged);
        self.a.load(Width::Half, R1, R2, 14);
        self.a.and(R1, be16(frame::TAG_ID_MASK) as i32);
        self.a.load(Width::Half, R5, R2, 16);
        for tag in filter.tags {
            let next = self.a.label();
            self.a.jump_if(R1, Test::NotEqual, be16(tag.id), next);
            self.addressed_to(tag.hardware_address, tag.interface, frame::TAGGED_LEN as i32);
            self.a.place(next);
        }
        self.a.jump(self.labels.pass);
        self.a.place(untagged);
        self.addressed_to(filter.hardware_address, filter.interface, frame::UNTAGGED_LEN as i32);
    }

    /// Goes on with the IP header if the frame is for this hardware address.
    fn addressed_to(&mut self, address: [u8; HARDWARE_ADDRESS_LEN], interface: u32, header_len: i32) {
        let [a, b, c, d, e, f] = address;
        self.pass_if(R3, Test::NotEqual, u32::from_ne_bytes([a, b, c, d]));
        self.pass_if(R4, Test::NotEqual, u16::from_ne_bytes([e, f]).into());
        self.a.copy(IP, R2);
        self.a.add(IP, header_len);
        self.a.copy(IP_ROOM, RESULT);
        self.a.add(IP_ROOM, -header_len);
        self.a.store_constant(Width::Double, STACK, lookup::EXPECTED, interface as i32);
        self.a.store_constant(Width::Double, STACK, answer::IP_AT, header_len);
        self.a.jump(self.labels.network);
    }

    fn network(&mut self) {
        self.a.place(self.labels.network);
        if self.filter.services.iter().any(SocketAddr::is_ipv4) {
            self.a.jump_if(R5, Test::Equal, be16(frame::ETHERTYPE_V4), self.labels.v4);
        }
        if self.filter.services.iter().any(SocketAddr::is_ipv6) {
            self.a.jump_if(R5, Test::Equal, be16(frame::ETHERTYPE_V6), self.labels.v6);
        }
        self.a.jump(self.labels.pass);
    }

    /// No options, no fragment, UDP, lengths that agree, a source that can be answered, and a destination of ours.
    fn v4(&mut self) {
        self.a.place(self.labels.v4);
        self.require(20 + 8 + frame::PAYLOAD_MIN_LEN as i32);
        self.a.load(Width::Byte, R3, IP, 0);
        self.pass_if(R3, Test::NotEqual, 0x45);
        self.a.load(Width::Half, R3, IP, 2);
        self.a.swap_half(R3);
        self.a.jump_if_register(R3, Test::Above, IP_ROOM, self.labels.pass);
        self.pass_if(R3, Test::Below, 20 + 8 + frame::PAYLOAD_MIN_LEN as u32);
        self.a.load(Width::Half, R4, IP, 24);
        self.a.swap_half(R4);
        self.a.add(R4, 20);
        self.a.jump_if_register(R4, Test::NotEqual, R3, self.labels.pass);
        self.a.load(Width::Half, R4, IP, 6);
        self.a.and(R4, be16(0x3fff) as i32);
        self.pass_if(R4, Test::NotEqual, 0);
        self.a.load(Width::Byte, R4, IP, 9);
        self.pass_if(R4, Test::NotEqual, libc::IPPROTO_UDP as u32);
        // This network, loopback, multicast and what is reserved (RFC 6890 §2.2.2); and this address itself.
        self.a.load(Width::Byte, R4, IP, 12);
        self.pass_if(R4, Test::Equal, 0);
        self.pass_if(R4, Test::Equal, 127);
        self.pass_if(R4, Test::Above, 223);
        self.a.load(Width::Word, R4, IP, 12);
        self.a.load(Width::Word, R5, IP, 16);
        self.a.jump_if_register(R4, Test::Equal, R5, self.labels.pass);
        self.a.load(Width::Half, R3, IP, 20);
        self.pass_if(R3, Test::Equal, 0);
        self.a.load(Width::Half, R3, IP, 22);
        let found = self.a.label();
        for service in self.filter.services {
            let IpAddr::V4(address) = service.ip() else { continue };
            let next = self.a.label();
            self.a.jump_if(R5, Test::NotEqual, u32::from_ne_bytes(address.octets()), next);
            self.a.jump_if(R3, Test::Equal, be16(service.port()), found);
            self.a.place(next);
        }
        self.a.jump(self.labels.pass);
        self.a.place(found);
        if self.filter.reply == Reply::Route {
            self.begin_lookup(libc::AF_INET, 20);
            self.a.load(Width::Word, R3, IP, 16);
            self.a.store(Width::Word, STACK, lookup::SOURCE, R3);
            self.a.load(Width::Word, R3, IP, 12);
            self.a.store(Width::Word, STACK, lookup::DESTINATION, R3);
            self.end_lookup();
        }
        self.answer_or_take(Family::V4);
    }

    /// No extension headers, UDP, lengths that agree, a source that can be answered, and a destination of ours.
    fn v6(&mut self) {
        self.a.place(self.labels.v6);
        self.require(40 + 8 + frame::PAYLOAD_MIN_LEN as i32);
        self.a.load(Width::Byte, R3, IP, 0);
        self.a.and(R3, 0xf0);
        self.pass_if(R3, Test::NotEqual, 0x60);
        self.a.load(Width::Half, R3, IP, 4);
        self.a.load(Width::Half, R4, IP, 44);
        self.a.jump_if_register(R3, Test::NotEqual, R4, self.labels.pass);
        self.a.swap_half(R3);
        self.pass_if(R3, Test::Below, 8 + frame::PAYLOAD_MIN_LEN as u32);
        self.a.add(R3, 40);
        self.a.jump_if_register(R3, Test::Above, IP_ROOM, self.labels.pass);
        self.a.load(Width::Byte, R4, IP, 6);
        self.pass_if(R4, Test::NotEqual, libc::IPPROTO_UDP as u32);
        // Multicast; unspecified, loopback and what else is in ::/8 (RFC 4291 §2.4).
        self.a.load(Width::Byte, R4, IP, 8);
        self.pass_if(R4, Test::Equal, 0xff);
        self.pass_if(R4, Test::Equal, 0);
        self.a.load(Width::Double, R3, IP, 24);
        self.a.load(Width::Double, R4, IP, 32);
        let foreign = self.a.label();
        self.a.load(Width::Double, R1, IP, 8);
        self.a.jump_if_register(R1, Test::NotEqual, R3, foreign);
        self.a.load(Width::Double, R1, IP, 16);
        self.a.jump_if_register(R1, Test::Equal, R4, self.labels.pass);
        self.a.place(foreign);
        self.a.load(Width::Half, R5, IP, 40);
        self.pass_if(R5, Test::Equal, 0);
        self.a.load(Width::Half, R5, IP, 42);
        let found = self.a.label();
        for service in self.filter.services {
            let IpAddr::V6(address) = service.ip() else { continue };
            let (high, low) = halves(address.octets());
            let next = self.a.label();
            self.a.set_64(R1, high);
            self.a.jump_if_register(R3, Test::NotEqual, R1, next);
            self.a.set_64(R1, low);
            self.a.jump_if_register(R4, Test::NotEqual, R1, next);
            self.a.jump_if(R5, Test::Equal, be16(service.port()), found);
            self.a.place(next);
        }
        self.a.jump(self.labels.pass);
        self.a.place(found);
        if self.filter.reply == Reply::Route {
            self.begin_lookup(libc::AF_INET6, 40);
            for half in [0, 8] {
                self.a.load(Width::Double, R3, IP, 24 + half);
                self.a.store(Width::Double, STACK, lookup::SOURCE + half, R3);
                self.a.load(Width::Double, R3, IP, 8 + half);
                self.a.store(Width::Double, STACK, lookup::DESTINATION + half, R3);
            }
            self.end_lookup();
        }
        self.answer_or_take(Family::V6);
    }

    /// Answers what needs nobody else, and gives the rest to the ring.
    fn answer_or_take(&mut self, family: Family) {
        if let Some(answers) = self.filter.answers
            && self.filter.reply == Reply::Reflect
        {
            answer::write(&mut self.a, answers, family, self.labels.take);
        } else {
            self.a.jump(self.labels.take);
        }
    }

    /// Begins to ask for the route of a reply, as the kernel does for a packet of the machine itself.
    fn begin_lookup(&mut self, family: i32, ip_header_len: i16) {
        for word in (0..lookup::LEN as i16).step_by(8) {
            self.a.store_constant(Width::Double, STACK, lookup::AT + word, 0);
        }
        self.a.store_constant(Width::Byte, STACK, lookup::FAMILY, family);
        self.a.store_constant(Width::Byte, STACK, lookup::PROTOCOL, libc::IPPROTO_UDP);
        self.a.load(Width::Half, R3, IP, ip_header_len + 2);
        self.a.store(Width::Half, STACK, lookup::SOURCE_PORT, R3);
        self.a.load(Width::Half, R3, IP, ip_header_len);
        self.a.store(Width::Half, STACK, lookup::PORT, R3);
        self.a.store_constant(Width::Word, STACK, lookup::INTERFACE, LOOPBACK);
    }

    /// Asks, and makes the frame one that came from where the reply has to go. What the kernel has no neighbour for, or
    /// would send out of another interface, it answers itself.
    fn end_lookup(&mut self) {
        self.a.copy(R1, CONTEXT);
        self.a.copy(R2, STACK);
        self.a.add(R2, lookup::AT.into());
        self.a.set(R3, lookup::LEN);
        self.a.set(R4, 0);
        self.a.call(function::FIB_LOOKUP);
        self.pass_if(RESULT, Test::NotEqual, 0);
        self.a.load(Width::Word, R1, STACK, lookup::INTERFACE);
        self.a.load(Width::Double, R2, STACK, lookup::EXPECTED);
        self.a.jump_if_register(R1, Test::NotEqual, R2, self.labels.pass);
        self.a.load(Width::Word, R2, CONTEXT, context::DATA);
        self.a.load(Width::Word, R3, CONTEXT, context::DATA_END);
        self.a.copy(R4, R2);
        self.a.add(R4, frame::UNTAGGED_LEN as i32);
        self.a.jump_if_register(R4, Test::Above, R3, self.labels.pass);
        for part in [0, 2, 4] {
            self.a.load(Width::Half, R4, STACK, lookup::NEXT_HOP + part);
            self.a.store(Width::Half, R2, 6 + part, R4);
        }
    }

    /// Gives the frame to the socket of its queue, or to the kernel where there is none.
    fn take(&mut self) {
        self.a.place(self.labels.take);
        self.a.set_map(R1, self.filter.map);
        self.a.load(Width::Word, R2, CONTEXT, context::QUEUE);
        self.a.set(R3, PASS);
        self.a.call(function::REDIRECT_MAP);
        self.a.end();
        self.a.place(self.labels.pass);
        self.a.set(RESULT, PASS);
        self.a.end();
    }
}

/// A number of 16 bits as it looks when loaded from a packet.
fn be16(value: u16) -> u32 {
    u16::from_ne_bytes(value.to_be_bytes()).into()
}

/// The halves of an address as they look when loaded from a packet.
fn halves(octets: [u8; 16]) -> (u64, u64) {
    let both = u128::from_ne_bytes(octets);
    if cfg!(target_endian = "little") {
        (both as u64, (both >> 64) as u64)
    } else {
        ((both >> 64) as u64, both as u64)
    }
}
