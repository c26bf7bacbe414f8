//! Writing programs for the kernel's machine, an instruction at a time, with named places to jump to.
//!
//! Registers: 0 has results, 1 to 5 are arguments and are lost by calls, 6 to 9 are kept, 10 is the end of the stack.
//! Jumps lead forward only, so every program ends.

use crate::sys::bpf::Instruction;

/// A register of the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Register(pub(crate) u8);

/// The registers that have the same meaning in every program.
pub(crate) mod register {
    use super::Register;

    /// What a program or a call gives back.
    pub(crate) const RESULT: Register = Register(0);
    /// The arguments of a call, which are lost with it.
    pub(crate) const R1: Register = Register(1);
    pub(crate) const R2: Register = Register(2);
    pub(crate) const R3: Register = Register(3);
    pub(crate) const R4: Register = Register(4);
    pub(crate) const R5: Register = Register(5);
    /// The end of the stack.
    pub(crate) const STACK: Register = Register(10);
}

/// How many octets an access to memory takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Width {
    /// One.
    Byte,
    /// Two.
    Half,
    /// Four.
    Word,
    /// Eight.
    Double,
}

impl Width {
    /// The bits of the operation that stand for it.
    const fn bits(self) -> u8 {
        match self {
            Width::Word => 0x00,
            Width::Half => 0x08,
            Width::Byte => 0x10,
            Width::Double => 0x18,
        }
    }
}

/// A comparison of two values without sign.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Test {
    /// They are the same.
    Equal,
    /// They are not.
    NotEqual,
    /// The first is larger.
    Above,
    /// The first is smaller.
    Below,
}

impl Test {
    const fn bits(self) -> u8 {
        match self {
            Test::Equal => 0x10,
            Test::Above => 0x20,
            Test::NotEqual => 0x50,
            Test::Below => 0xa0,
        }
    }
}

/// A place in the program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Label(usize);

/// A program in the making.
#[derive(Default)]
pub(crate) struct Assembler {
    instructions: Vec<Instruction>,
    /// Where each label stands, once it does.
    labels: Vec<Option<usize>>,
    /// Jumps, and the labels they lead to.
    jumps: Vec<(usize, Label)>,
}

/// Classes of operations.
mod class {
    pub(crate) const LOAD: u8 = 0x61;
    pub(crate) const STORE: u8 = 0x63;
    pub(crate) const STORE_CONSTANT: u8 = 0x62;
    pub(crate) const LOAD_CONSTANT_64: u8 = 0x18;
    pub(crate) const JUMP: u8 = 0x05;
    pub(crate) const JUMP_32: u8 = 0x06;
    pub(crate) const WITH_REGISTER: u8 = 0x08;
}

impl Assembler {
    /// A label that stands nowhere yet.
    pub(crate) fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// Puts a label here.
    pub(crate) fn place(&mut self, label: Label) {
        self.labels[label.0] = Some(self.instructions.len());
    }

    fn push(&mut self, code: u8, to: Register, from: Register, offset: i16, immediate: i32) {
        self.instructions.push(Instruction { code, registers: to.0 | from.0 << 4, offset, immediate });
    }

    /// `to = from`.
    pub(crate) fn copy(&mut self, to: Register, from: Register) {
        self.push(0xbf, to, from, 0, 0);
    }

    /// `to = value`.
    pub(crate) fn set(&mut self, to: Register, value: i32) {
        self.push(0xb7, to, Register(0), 0, value);
    }

    /// `to = value`, of 64 bits.
    pub(crate) fn set_64(&mut self, to: Register, value: u64) {
        self.push(class::LOAD_CONSTANT_64, to, Register(0), 0, value as u32 as i32);
        self.push(0, Register(0), Register(0), 0, (value >> 32) as u32 as i32);
    }

    /// `to` = the map behind this descriptor.
    pub(crate) fn set_map(&mut self, to: Register, descriptor: i32) {
        self.push(class::LOAD_CONSTANT_64, to, Register(1), 0, descriptor);
        self.push(0, Register(0), Register(0), 0, 0);
    }

    /// `to += value`.
    pub(crate) fn add(&mut self, to: Register, value: i32) {
        self.push(0x07, to, Register(0), 0, value);
    }

    /// `to += from`.
    pub(crate) fn add_register(&mut self, to: Register, from: Register) {
        self.push(0x0f, to, from, 0, 0);
    }

    /// `to &= mask`.
    pub(crate) fn and(&mut self, to: Register, mask: i32) {
        self.push(0x57, to, Register(0), 0, mask);
    }

    /// `to &= from`.
    pub(crate) fn and_register(&mut self, to: Register, from: Register) {
        self.push(0x5f, to, from, 0, 0);
    }

    /// `to |= from`.
    pub(crate) fn or_register(&mut self, to: Register, from: Register) {
        self.push(0x4f, to, from, 0, 0);
    }

    /// `to <<= bits`.
    pub(crate) fn shift_left(&mut self, to: Register, bits: i32) {
        self.push(0x67, to, Register(0), 0, bits);
    }

    /// `to >>= bits`, without sign.
    pub(crate) fn shift_right(&mut self, to: Register, bits: i32) {
        self.push(0x77, to, Register(0), 0, bits);
    }

    /// `to ^= mask`.
    pub(crate) fn exclusive_or(&mut self, to: Register, mask: i32) {
        self.push(0xa7, to, Register(0), 0, mask);
    }

    /// Turns a number of 16 bits from the order of the network to the machine's, or back.
    pub(crate) fn swap_half(&mut self, register: Register) {
        self.push(0xdc, register, Register(0), 0, 16);
    }

    /// Turns the order of the eight octets of a register round.
    pub(crate) fn reverse(&mut self, register: Register) {
        // To the order that is not the machine's.
        let code = if cfg!(target_endian = "little") { 0xdc } else { 0xd4 };
        self.push(code, register, Register(0), 0, 64);
    }

    /// `to` = what stands `offset` octets after the address in `from`.
    pub(crate) fn load(&mut self, width: Width, to: Register, from: Register, offset: i16) {
        self.push(class::LOAD | width.bits(), to, from, offset, 0);
    }

    /// Stores `from` at `offset` octets after the address in `to`.
    pub(crate) fn store(&mut self, width: Width, to: Register, offset: i16, from: Register) {
        self.push(class::STORE | width.bits(), to, from, offset, 0);
    }

    /// Adds `from` to the eight octets at `offset` after the address in `to`, at once for whoever else does it.
    pub(crate) fn add_at(&mut self, to: Register, offset: i16, from: Register) {
        self.push(0xdb, to, from, offset, 0);
    }

    /// Stores a constant.
    pub(crate) fn store_constant(&mut self, width: Width, to: Register, offset: i16, value: i32) {
        self.push(class::STORE_CONSTANT | width.bits(), to, Register(0), offset, value);
    }

    /// Jumps if the low 32 bits of the register compare so with the constant.
    pub(crate) fn jump_if(&mut self, register: Register, test: Test, value: u32, label: Label) {
        self.jumps.push((self.instructions.len(), label));
        self.push(class::JUMP_32 | test.bits(), register, Register(0), 0, value as i32);
    }

    /// Jumps if the register is zero in all its bits: what the kernel wants to see before an address is followed.
    pub(crate) fn jump_if_null(&mut self, register: Register, label: Label) {
        self.jumps.push((self.instructions.len(), label));
        self.push(class::JUMP | Test::Equal.bits(), register, Register(0), 0, 0);
    }

    /// Jumps if the register compares so with the constant, which is extended with its sign: for addresses too.
    pub(crate) fn jump_if_64(&mut self, register: Register, test: Test, value: i32, label: Label) {
        self.jumps.push((self.instructions.len(), label));
        self.push(class::JUMP | test.bits(), register, Register(0), 0, value);
    }

    /// Jumps if the two registers compare so.
    pub(crate) fn jump_if_register(&mut self, one: Register, test: Test, other: Register, label: Label) {
        self.jumps.push((self.instructions.len(), label));
        self.push(class::JUMP | class::WITH_REGISTER | test.bits(), one, other, 0, 0);
    }

    /// Jumps.
    pub(crate) fn jump(&mut self, label: Label) {
        self.jumps.push((self.instructions.len(), label));
        self.push(class::JUMP, Register(0), Register(0), 0, 0);
    }

    /// Calls a function of the kernel.
    pub(crate) fn call(&mut self, function: i32) {
        self.push(0x85, Register(0), Register(0), 0, function);
    }

    /// Ends the program with what is in register 0.
    pub(crate) fn end(&mut self) {
        self.push(0x95, Register(0), Register(0), 0, 0);
    }

    /// The program.
    ///
    /// # Panics
    /// A jump leads to a label that was never placed, back, or too far: a mistake in the program that is written, whatever its
    /// input.
    pub(crate) fn finish(mut self) -> Vec<Instruction> {
        for (from, label) in &self.jumps {
            let to = self.labels[label.0].expect("the label is placed");
            let distance = to.checked_sub(from + 1).and_then(|distance| i16::try_from(distance).ok());
            self.instructions[*from].offset = distance.expect("the jump leads forward, and not too far");
        }
        self.instructions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_those_of_the_kernel() {
        let mut assembler = Assembler::default();
        let out = assembler.label();
        assembler.load(Width::Half, Register(5), Register(2), 12);
        assembler.jump_if(Register(5), Test::NotEqual, 0x0008, out);
        assembler.store(Width::Double, Register(10), -8, Register(3));
        assembler.place(out);
        assembler.set(Register(0), 2);
        assembler.end();
        // As the disassembler of the kernel's sources writes them down.
        let expected = [
            (0x69, 0x25, 12, 0),
            (0x56, 0x05, 1, 8),
            (0x7b, 0x3a, -8, 0),
            (0xb7, 0x00, 0, 2),
            (0x95, 0x00, 0, 0),
        ];
        let written: Vec<_> = assembler
            .finish()
            .iter()
            .map(|one| (one.code, one.registers, one.offset, one.immediate))
            .collect();
        assert_eq!(written, expected);
    }

    #[test]
    #[should_panic(expected = "forward")]
    fn no_jump_leads_back() {
        let mut assembler = Assembler::default();
        let here = assembler.label();
        assembler.place(here);
        assembler.jump(here);
        let _ = assembler.finish();
    }
}
