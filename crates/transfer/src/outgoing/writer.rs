//! One message of a transfer: records with their names compressed.

use wire::message::{HEADER_LEN, POINTER, POINTER_MAX, RECORD_FIXED_LEN};
use wire::{Class, Name, RecordType};
use zone::rdata::{self, NameForm};

/// Places of names that are remembered. A message of 16 KiB has at most some 1,400 records, and few names that differ in
/// more than their first label. Fewer places forget names that could be pointed to, more take longer to empty for each
/// message: the root zone of the Internet (21,354 records) goes out in 1,283,682 octets with 256, 1,280,239 with
/// 1024 and 1,279,794 with 4096.
const PLACES: usize = 1024;

/// The most labels a name has, the root's excluded.
const LABELS_MAX: usize = 127;

/// Writes messages, one after the other, into a buffer that is used again.
pub(super) struct Writer {
    octets: Vec<u8>,
    /// Where a name with this hash stands; 0 is nowhere.
    places: Box<[u16; PLACES]>,
    answers: u16,
    /// Where the owner of the record before stands, and its length.
    owner_at: usize,
    owner_len: usize,
}

impl Writer {
    pub(super) fn new() -> Writer {
        Writer { octets: Vec::new(), places: Box::new([0; PLACES]), answers: 0, owner_at: 0, owner_len: 0 }
    }

    /// Begins a message without records.
    pub(super) fn begin(&mut self, id: u16, flags: u16) {
        self.octets.clear();
        self.octets.extend([id, flags].map(u16::to_be_bytes).as_flattened());
        self.octets.resize(HEADER_LEN, 0);
        self.places.fill(0);
        self.answers = 0;
        (self.owner_at, self.owner_len) = (0, 0);
    }

    /// Adds the question.
    pub(super) fn question(&mut self, name: Name<'_>, qtype: RecordType) {
        self.name(name);
        self.octets.extend([qtype.0, Class::IN.0].map(u16::to_be_bytes).as_flattened());
        self.octets[5] = 1;
    }

    /// How many records the message has.
    pub(super) fn answers(&self) -> u16 {
        self.answers
    }

    /// Adds a record; `false`, and nothing changes, where the message would then have more than `len_max` octets.
    pub(super) fn record(
        &mut self,
        owner: Name<'_>,
        rtype: RecordType,
        ttl: u32,
        data: &[u8],
        len_max: usize,
    ) -> bool {
        let start = self.octets.len();
        self.owner(owner);
        let mut fixed = [0; RECORD_FIXED_LEN];
        fixed[..2].copy_from_slice(&rtype.0.to_be_bytes());
        fixed[2..4].copy_from_slice(&Class::IN.0.to_be_bytes());
        fixed[4..8].copy_from_slice(&ttl.to_be_bytes());
        self.octets.extend_from_slice(&fixed);
        let data_at = self.octets.len();
        self.data(rtype, data);
        let len = self.octets.len() - data_at;
        if self.octets.len() > len_max || len > usize::from(u16::MAX) {
            // Places noted since then lead past the end, or to other octets: they are compared before they are used.
            self.octets.truncate(start);
            self.owner_len = 0;
            return false;
        }
        self.octets[data_at - 2..data_at].copy_from_slice(&(len as u16).to_be_bytes());
        self.answers += 1;
        true
    }

    /// Adds an OPT record (RFC 6891 §6.1.2) that says no more than that EDNS is understood.
    pub(super) fn opt(&mut self, udp_size: u16) {
        self.octets.push(0);
        self.octets.extend([RecordType::OPT.0, udp_size].map(u16::to_be_bytes).as_flattened());
        self.octets.extend([0; 6]);
        self.octets[11] = 1;
    }

    /// Completes the message.
    pub(super) fn finish(&mut self) -> &mut Vec<u8> {
        self.octets[6..8].copy_from_slice(&self.answers.to_be_bytes());
        &mut self.octets
    }

    /// Most records have the owner of the one before.
    fn owner(&mut self, owner: Name<'_>) {
        let is_same = self.owner_len == owner.len() && is_at(&self.octets, self.owner_at, owner);
        if is_same && !owner.is_root() && self.owner_at <= POINTER_MAX {
            self.pointer(self.owner_at);
            return;
        }
        (self.owner_at, self.owner_len) = (self.octets.len(), owner.len());
        self.name(owner);
    }

    /// The data, with its names compressed where that is allowed: in the types of RFC 1035 alone (RFC 3597 §4).
    fn data(&mut self, rtype: RecordType, data: &[u8]) {
        let mut done = 0;
        // Addresses are most of any zone and have no names.
        if !matches!(rtype, RecordType::A | RecordType::AAAA) {
            let compressible = |name: &rdata::EmbeddedName<'_>| name.form == NameForm::Compressible;
            for embedded in rdata::names(rtype, data).filter(compressible) {
                self.octets.extend_from_slice(&data[done..embedded.offset]);
                self.name(embedded.name);
                done = embedded.offset + embedded.name.len();
            }
        }
        self.octets.extend_from_slice(&data[done..]);
    }

    /// A name, with a pointer in place of its longest tail that stands in the message already, in the same case
    /// (RFC 5936 §3.4).
    fn name(&mut self, name: Name<'_>) {
        let wire = name.as_wire();
        let mut starts = [0u8; LABELS_MAX];
        let mut count = 0;
        let mut at = 0;
        while wire[at] != 0 {
            starts[count] = at as u8; // names have at most 255 octets
            count += 1;
            at += 1 + usize::from(wire[at]);
        }
        // A tail's hash goes on from that of the tail behind it.
        let mut hashes = [0u32; LABELS_MAX];
        let mut hash = 0x811c_9dc5;
        for i in (0..count).rev() {
            let start = usize::from(starts[i]);
            for octet in &wire[start..=start + usize::from(wire[start])] {
                hash = (hash ^ u32::from(*octet)).wrapping_mul(0x0100_0193);
            }
            hashes[i] = hash;
        }
        for i in 0..count {
            let start = usize::from(starts[i]);
            let place = (hashes[i] ^ hashes[i] >> 16) as usize % PLACES;
            let known = usize::from(self.places[place]);
            let tail = Name::from_wire(&wire[start..]).unwrap_or(Name::ROOT);
            if known != 0 && is_at(&self.octets, known, tail) {
                self.pointer(known);
                return;
            }
            if self.octets.len() <= POINTER_MAX {
                self.places[place] = self.octets.len() as u16;
            }
            self.octets.extend_from_slice(&wire[start..=start + usize::from(wire[start])]);
        }
        self.octets.push(0);
    }

    fn pointer(&mut self, to: usize) {
        self.octets.extend((POINTER | to as u16).to_be_bytes());
    }
}

/// Whether the message has this name at this place, in the same case.
fn is_at(message: &[u8], mut at: usize, name: Name<'_>) -> bool {
    let mut rest = name.as_wire();
    loop {
        match message.get(at) {
            None => return false,
            Some(octet @ 0xc0..) => {
                let Some(low) = message.get(at + 1) else { return false };
                let target = usize::from(octet & 0x3f) << 8 | usize::from(*low);
                if target >= at {
                    return false;
                }
                at = target;
            }
            Some(len) => {
                let len = 1 + usize::from(*len);
                if message.get(at..at + len) != rest.get(..len) {
                    return false;
                }
                if len == 1 {
                    return true;
                }
                rest = &rest[len..];
                at += len;
            }
        }
    }
}
