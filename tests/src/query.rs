//! Queries, put together by hand so that every field can be what a test wants it to be.

use std::fmt;

use crate::name::Name;
use crate::rdata::type_name;

/// Recursion desired, in the second 16-bit word of the header.
pub const FLAG_RD: u16 = 0x0100;
/// Checking disabled (RFC 4035 §3.1.6).
pub const FLAG_CD: u16 = 0x0010;
/// Authentic data.
pub const FLAG_AD: u16 = 0x0020;
/// Class IN.
pub const CLASS_IN: u16 = 1;
/// Class CHAOS.
pub const CLASS_CH: u16 = 3;

/// The OPT record of a query (RFC 6891 §6.1.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edns {
    /// Payload size the client offers, octets.
    pub size: u16,
    /// EDNS version.
    pub version: u8,
    /// The DO bit (RFC 3225 §3).
    pub dnssec_ok: bool,
    /// The other 15 flag bits.
    pub z: u16,
    /// Options as code and bytes.
    pub options: Vec<(u16, Vec<u8>)>,
}

impl Edns {
    /// Version 0 with this payload size and nothing else set.
    #[must_use]
    pub fn size(size: u16) -> Self {
        Self { size, version: 0, dnssec_ok: false, z: 0, options: Vec::new() }
    }

    /// As [`Edns::size`], with the DO bit.
    #[must_use]
    pub fn dnssec(size: u16) -> Self {
        Self { dnssec_ok: true, ..Self::size(size) }
    }
}

/// One query.
#[derive(Clone, Debug)]
pub struct Query {
    /// The name asked for, in the case it is sent in.
    pub name: Name,
    /// QTYPE.
    pub qtype: u16,
    /// QCLASS.
    pub qclass: u16,
    /// Bits of the header's second word besides the opcode.
    pub flags: u16,
    /// Opcode, 0 to 15.
    pub opcode: u8,
    /// The OPT record, if any.
    pub edns: Option<Edns>,
}

impl Query {
    /// A plain query in class IN without EDNS and without RD.
    #[must_use]
    pub fn new(name: Name, qtype: u16) -> Self {
        Self { name, qtype, qclass: CLASS_IN, flags: 0, opcode: 0, edns: None }
    }

    /// The same query with this OPT record.
    #[must_use]
    pub fn with_edns(self, edns: Edns) -> Self {
        Self { edns: Some(edns), ..self }
    }

    /// The message with this id.
    #[must_use]
    pub fn bytes(&self, id: u16) -> Vec<u8> {
        let mut out = Vec::with_capacity(12 + self.name.wire().len() + 4 + 11);
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&(self.flags | u16::from(self.opcode & 15) << 11).to_be_bytes());
        for count in [1, 0, 0, u16::from(self.edns.is_some())] {
            out.extend_from_slice(&count.to_be_bytes());
        }
        out.extend_from_slice(self.name.wire());
        out.extend_from_slice(&self.qtype.to_be_bytes());
        out.extend_from_slice(&self.qclass.to_be_bytes());
        if let Some(edns) = &self.edns {
            push_opt(&mut out, edns);
        }
        out
    }

    /// Whether the client wants signatures.
    #[must_use]
    pub fn dnssec_ok(&self) -> bool {
        self.edns.as_ref().is_some_and(|edns| edns.dnssec_ok)
    }
}

impl fmt::Display for Query {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.name, type_name(self.qtype))?;
        if self.qclass != CLASS_IN {
            write!(out, " CLASS{}", self.qclass)?;
        }
        if self.opcode != 0 {
            write!(out, " opcode={}", self.opcode)?;
        }
        if self.flags != 0 {
            write!(out, " flags={:04x}", self.flags)?;
        }
        match &self.edns {
            None => write!(out, " no EDNS"),
            Some(edns) => {
                write!(out, " size={}", edns.size)?;
                if edns.version != 0 {
                    write!(out, " version={}", edns.version)?;
                }
                if edns.dnssec_ok { write!(out, " DO") } else { Ok(()) }
            }
        }
    }
}

fn push_opt(out: &mut Vec<u8>, edns: &Edns) {
    out.push(0);
    out.extend_from_slice(&41u16.to_be_bytes());
    out.extend_from_slice(&edns.size.to_be_bytes());
    out.extend_from_slice(&[0, edns.version]);
    let dnssec_ok = if edns.dnssec_ok { 0x8000 } else { 0 };
    out.extend_from_slice(&(edns.z | dnssec_ok).to_be_bytes());
    let len: usize = edns.options.iter().map(|(_, value)| 4 + value.len()).sum();
    out.extend_from_slice(&(len as u16).to_be_bytes());
    for (code, value) in &edns.options {
        out.extend_from_slice(&code.to_be_bytes());
        out.extend_from_slice(&(value.len() as u16).to_be_bytes());
        out.extend_from_slice(value);
    }
}
