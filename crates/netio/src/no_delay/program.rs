//! The programs that the kernel runs. One is for each TCP socket: it sets TCP_NODELAY on those of a port, and writes down what
//! came of it. The other is for each socket whose state becomes another one: it rings when one of the port begins to be used.

use crate::assembler::register::{R1, R2, R3, R4, R5, RESULT, STACK};
use crate::assembler::{Assembler, Label, Register, Test, Width};
use crate::sys::bpf::Instruction;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Functions of the kernel, by their numbers.
mod function {
    pub(super) const SET_OPTION: i32 = 49;
    pub(super) const WRITE: i32 = 127;
    pub(super) const RING: i32 = 130;
}

/// What the program is called with, `struct bpf_iter__tcp`: in octets from its beginning.
mod context {
    pub(super) const META: i16 = 0;
    pub(super) const SOCKET: i16 = 8;
}

/// What the other one is called with, the arguments of `inet_sock_set_state`: in octets from the beginning.
mod arguments {
    pub(super) const SOCKET: i16 = 0;
    pub(super) const STATE: i16 = 16;
}

/// Where `struct bpf_iter_meta` has what is written to.
const SEQUENCE: i16 = 0;

/// States in which a connection has no socket that options could be set on: `TCP_TIME_WAIT` and `TCP_NEW_SYN_RECV`.
const WITHOUT_SOCKET: [u32; 2] = [6, 12];

/// `TCP_SYN_SENT`: a socket has begun to connect. Before it there is `TCP_ESTABLISHED` alone.
const CONNECTS: u32 = 2;
/// `TCP_LISTEN`.
const LISTENS: u32 = 10;
/// Whoever waits is woken however much lies in the ring: `BPF_RB_FORCE_WAKEUP`.
const WAKE: i32 = 2;

/// Octets of the option's value, and of what is written for each socket: 0, or the negative number of an error.
pub(super) const RESULT_LEN: usize = 4;

const CONTEXT: Register = Register(6);
const SOCKET: Register = Register(7);
const FIELD: Register = Register(8);

/// Where the program keeps the option's value, and then what came of it, in octets from the end of the stack.
const VALUE: i16 = -(RESULT_LEN as i16);

/// Where fields of `struct sock_common` stand, in octets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Fields {
    /// The local port, in the machine's order.
    pub(super) local: i16,
    /// The remote port, in the network's order.
    pub(super) remote: i16,
    /// The state.
    pub(super) state: i16,
}

/// Writes the program that sets the option on the sockets with this port at either end.
pub(super) fn setter(port: u16, fields: Fields) -> Vec<Instruction> {
    let mut a = Assembler::default();
    let out = a.label();
    a.copy(CONTEXT, R1);
    a.load(Width::Double, SOCKET, CONTEXT, context::SOCKET);
    // The last call is without one.
    a.jump_if_null(SOCKET, out);
    leave_others(&mut a, port, fields, out);
    a.load(Width::Byte, FIELD, SOCKET, fields.state);
    for state in WITHOUT_SOCKET {
        a.jump_if(FIELD, Test::Equal, state, out);
    }
    a.store_constant(Width::Word, STACK, VALUE, 1);
    a.copy(R1, SOCKET);
    a.set(R2, libc::SOL_TCP);
    a.set(R3, libc::TCP_NODELAY);
    a.copy(R4, STACK);
    a.add(R4, VALUE.into());
    a.set(R5, RESULT_LEN as i32);
    a.call(function::SET_OPTION);
    a.store(Width::Word, STACK, VALUE, RESULT);
    a.load(Width::Double, R1, CONTEXT, context::META);
    a.load(Width::Double, R1, R1, SEQUENCE);
    a.copy(R2, STACK);
    a.add(R2, VALUE.into());
    a.set(R3, RESULT_LEN as i32);
    a.call(function::WRITE);
    a.place(out);
    a.set(RESULT, 0);
    a.end();
    a.finish()
}

/// Writes the program that rings when a socket with this port at either end begins to listen or to connect, or is connected.
pub(super) fn ringer(port: u16, fields: Fields, ring: BorrowedFd<'_>) -> Vec<Instruction> {
    let mut a = Assembler::default();
    let (begins, out) = (a.label(), a.label());
    a.load(Width::Double, SOCKET, R1, arguments::SOCKET);
    a.load(Width::Double, FIELD, R1, arguments::STATE);
    a.jump_if(FIELD, Test::Equal, LISTENS, begins);
    a.jump_if(FIELD, Test::Above, CONNECTS, out);
    a.place(begins);
    leave_others(&mut a, port, fields, out);
    a.store_constant(Width::Word, STACK, VALUE, 1);
    a.set_map(R1, ring.as_raw_fd());
    a.copy(R2, STACK);
    a.add(R2, VALUE.into());
    a.set(R3, RESULT_LEN as i32);
    a.set(R4, WAKE);
    // Where there is no room any more, what lies there has not been heard yet.
    a.call(function::RING);
    a.place(out);
    a.set(RESULT, 0);
    a.end();
    a.finish()
}

/// Leads out with sockets that don't have the port.
fn leave_others(a: &mut Assembler, port: u16, fields: Fields, out: Label) {
    let ours = a.label();
    a.load(Width::Half, FIELD, SOCKET, fields.local);
    a.jump_if(FIELD, Test::Equal, port.into(), ours);
    a.load(Width::Half, FIELD, SOCKET, fields.remote);
    a.jump_if(FIELD, Test::NotEqual, u16::from_ne_bytes(port.to_be_bytes()).into(), out);
    a.place(ours);
}
