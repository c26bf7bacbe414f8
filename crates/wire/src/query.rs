//! Reading a query: which bytes may be answered, and what they ask.

use crate::message::{self, HEADER_LEN, OPCODE_MASK, QR, RecordView, u16_at, u32_at};
use crate::{Class, ClientSubnet, FoldedName, Opcode, Rcode, RecordType, probe};
use std::num::NonZeroU16;

/// The most records of a query that are looked at in search of the OPT record. Resolvers send one or two;
/// every record costs a walk over its name.
const RECORDS_MAX: usize = 8;
/// The counts of a header with one question and nothing else.
const ONE_QUESTION: u64 = 1 << 48;

/// What the OPT record of a query says (RFC 6891 §6.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Edns {
    /// The largest UDP payload that the client takes, in octets, as it said it.
    pub udp_size: u16,
    /// The EDNS version; only 0 exists.
    pub version: u8,
    /// The DO bit: the client wants DNSSEC records (RFC 3225).
    pub dnssec_ok: bool,
    /// What the client asks for by options.
    pub asks_for: Options,
    /// Where the token of a probe option starts in the message; nothing without one of the right length.
    pub probe_at: Option<NonZeroU16>,
}

/// Options by which a client asks for something; together in an octet, so that none of them is one comparison.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options(u8);

impl Options {
    /// Nothing.
    pub const NONE: Options = Options(0);
    /// The name server identifier (RFC 5001 §2.1).
    pub const NSID: Options = Options(1);
    /// The version of the zone (RFC 9660 §3.1).
    pub const ZONE_VERSION: Options = Options(2);
    /// An answer for the network that [`Query::subnet`] has (RFC 7871 §6).
    pub const CLIENT_SUBNET: Options = Options(4);

    /// Whether these are among them.
    #[inline]
    pub fn have(self, other: Options) -> bool {
        self.0 & other.0 == other.0
    }

    fn add(&mut self, other: Options) {
        self.0 |= other.0;
    }
}

impl Edns {
    /// The token of a probe option, in the message that this was read from.
    pub fn probe_token(self, message: &[u8]) -> Option<&[u8; probe::TOKEN_LEN]> {
        message.get(usize::from(self.probe_at?.get())..)?.first_chunk()
    }
}

/// What a query has behind its question. Where it is nothing unusual, the counts of its header are those of an answer, but for the
/// answer section.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Behind {
    /// Nothing.
    #[default]
    Nothing,
    /// An OPT record of version 0, with no options that an answer depends on.
    Opt,
    /// The same with the DO bit.
    OptWithDo,
    /// Anything else.
    Other,
}

impl Behind {
    #[inline]
    fn opt(edns: Edns) -> Behind {
        if edns.dnssec_ok { Behind::OptWithDo } else { Behind::Opt }
    }
}

/// A query that can be answered. Its name is in the [`FoldedName`] that was filled while reading.
///
/// One value is kept for each query of a batch and filled anew.
#[derive(Clone, Copy, Default, Debug)]
pub struct Query {
    /// The flags word of the header.
    pub flags: u16,
    /// The type asked for.
    pub qtype: RecordType,
    /// The class asked for.
    pub qclass: Class,
    /// Where the question ends; it starts at octet 12.
    pub question_end: usize,
    /// What follows the question.
    pub behind: Behind,
    /// The OPT record, where there is one.
    pub edns: Option<Edns>,
    /// Whether it is noted for which network an answer is to be; where not, the option is one of those that mean nothing
    /// here. Whoever reads with the value sets it.
    pub heeds_subnet: bool,
    /// The network that an answer is to be for. It means something only with [`Options::CLIENT_SUBNET`].
    pub subnet: ClientSubnet,
}

/// Why bytes are not a query that can be looked up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rejected {
    /// Must not be answered: shorter than a header, or itself a response (RFC 1035 §7.3, RFC 9619).
    Silent,
    /// Is answered with this code; the question is repeated up to this offset where it could be read
    /// (12 where not), and the response has an OPT record where the query had a readable one.
    Answer {
        /// FORMERR or NOTIMP.
        rcode: Rcode,
        /// Where the readable question ends.
        question_end: usize,
        /// The OPT record of the query, as far as it was understood.
        edns: Option<Edns>,
    },
}

fn form_error(question_end: usize, edns: Option<Edns>) -> Rejected {
    Rejected::Answer { rcode: Rcode::FORMERR, question_end, edns }
}

/// Another opcode. What follows its header may be anything; where it has the form of a query, its OPT record calls
/// for one in the response (RFC 6891 §6.1.1).
#[cold]
fn not_implemented(bytes: &[u8], header: &[u8; HEADER_LEN], name: &mut FoldedName) -> Rejected {
    let question_end = match header[4..6] {
        [0, 0] => Some(HEADER_LEN),
        [0, 1] => name.read(bytes, HEADER_LEN).ok().map(|end| end + 4),
        _ => None,
    };
    let mut query = Query::default();
    let edns = question_end.and_then(|end| query.read_records_of(bytes, header, end).ok().flatten());
    Rejected::Answer { rcode: Rcode::NOTIMP, question_end: HEADER_LEN, edns }
}

impl Query {
    /// Reads a query; its name goes to `name`.
    ///
    /// QDCOUNT must be 1 (RFC 9619 §4); records in the answer and authority sections, and records other than
    /// OPT, are stepped over; a second OPT, or one whose options don't fill it, is malformed (RFC 6891 §6.1.1), and so is a
    /// client subnet that is none, where that is heeded (RFC 7871 §7.2.1). Of several the first counts.
    ///
    /// # Errors
    /// The bytes are no query, or not one that can be looked up; what the value is then means nothing.
    #[inline]
    pub fn read(&mut self, bytes: &[u8], name: &mut FoldedName) -> Result<(), Rejected> {
        let Some(header) = bytes.first_chunk::<HEADER_LEN>() else { return Err(Rejected::Silent) };
        self.flags = u16::from_be_bytes([header[2], header[3]]);
        let counts = u64::from_be_bytes([
            header[4], header[5], header[6], header[7], header[8], header[9], header[10], header[11],
        ]);
        // All at once: a query with one question, and nothing else or one record behind it.
        if self.flags & (QR | OPCODE_MASK) != 0 || counts & !1 != ONE_QUESTION {
            return self.read_unusual(bytes, header, name);
        }
        let rest = self.read_question(bytes, name)?;
        if counts == ONE_QUESTION {
            self.behind = Behind::Nothing;
            self.edns = None;
            return if rest.is_empty() { Ok(()) } else { Err(form_error(self.question_end, None)) };
        }
        if let Some(edns) = plain_opt(rest) {
            self.behind = Behind::opt(edns);
            self.edns = Some(edns);
            return Ok(());
        }
        self.edns = self.read_additional(bytes)?;
        self.behind = match self.edns {
            Some(edns @ Edns { version: 0, asks_for: Options::NONE, probe_at: None, .. }) => {
                Behind::opt(edns)
            }
            _ => Behind::Other,
        };
        Ok(())
    }

    /// A message with another header than that of nearly every query.
    #[cold]
    fn read_unusual(
        &mut self,
        bytes: &[u8],
        header: &[u8; HEADER_LEN],
        name: &mut FoldedName,
    ) -> Result<(), Rejected> {
        if self.flags & QR != 0 {
            return Err(Rejected::Silent);
        }
        if self.flags & OPCODE_MASK != 0 {
            return Err(not_implemented(bytes, header, name));
        }
        self.read_sections(bytes, header, name)
    }

    /// Reads a NOTIFY request (RFC 1996 §3), which has the form of a query; its answer section is stepped over, since
    /// the serial in it is a hint that nobody has vouched for (§3.7).
    ///
    /// # Errors
    /// As [`Query::read`], and silence for any other opcode.
    pub fn read_notify(&mut self, bytes: &[u8], name: &mut FoldedName) -> Result<(), Rejected> {
        let header =
            bytes.first_chunk::<HEADER_LEN>().filter(|_| is_notify(bytes)).ok_or(Rejected::Silent)?;
        self.flags = u16::from_be_bytes([header[2], header[3]]);
        self.read_sections(bytes, header, name)
    }

    /// Reads one question and whatever records follow it.
    fn read_sections(
        &mut self,
        bytes: &[u8],
        header: &[u8; HEADER_LEN],
        name: &mut FoldedName,
    ) -> Result<(), Rejected> {
        if header[4..6] != [0, 1] {
            return Err(form_error(HEADER_LEN, None));
        }
        self.read_question(bytes, name)?;
        self.behind = Behind::Other;
        self.edns = self.read_records_of(bytes, header, self.question_end)?;
        Ok(())
    }

    /// Reads the question; what follows it.
    #[inline(always)]
    fn read_question<'b>(&mut self, bytes: &'b [u8], name: &mut FoldedName) -> Result<&'b [u8], Rejected> {
        let name_end = name.read(bytes, HEADER_LEN).map_err(|_| form_error(HEADER_LEN, None))?;
        let question = bytes.get(name_end..).and_then(|rest| rest.split_first_chunk::<4>());
        let Some(([type_high, type_low, class_high, class_low], rest)) = question else {
            return Err(form_error(HEADER_LEN, None));
        };
        self.qtype = RecordType(u16::from_be_bytes([*type_high, *type_low]));
        self.qclass = Class(u16::from_be_bytes([*class_high, *class_low]));
        self.question_end = name_end + 4;
        Ok(rest)
    }

    /// Whether this is anything but a question of class IN and EDNS version 0 for records that a zone can have.
    #[inline]
    pub fn is_odd(&self) -> bool {
        !self.asks_for_data()
            || self.qclass != Class::IN
            || (self.behind == Behind::Other && self.edns.is_some_and(|edns| edns.version != 0))
    }

    /// Whether the type is one that a zone can have, or ANY.
    #[inline]
    pub fn asks_for_data(&self) -> bool {
        matches!(self.qtype.0, 1..=40 | 42..=127 | 255..)
    }

    /// The opcode.
    pub fn opcode(&self) -> Opcode {
        Opcode(((self.flags & OPCODE_MASK) >> 11) as u8)
    }
}

/// What an OPT record of version 0 says that has no options and is all that follows the question, as in nearly every query of a
/// resolver; `None` for anything else.
#[inline(always)]
fn plain_opt(rest: &[u8]) -> Option<Edns> {
    let opt: &[u8; message::OPT_LEN] = rest.try_into().ok()?;
    let [root, type_high, type_low, size_high, size_low, _, version, flags, _, len_high, len_low] = *opt;
    // As numbers: octet by octet takes a branch each.
    let is_opt = u32::from_be_bytes([0, root, type_high, type_low]) == u32::from(RecordType::OPT.0);
    if !is_opt || u32::from_be_bytes([0, version, len_high, len_low]) != 0 {
        return None;
    }
    let udp_size = u16::from_be_bytes([size_high, size_low]);
    Some(Edns { udp_size, version: 0, dnssec_ok: flags & 0x80 != 0, asks_for: Options::NONE, probe_at: None })
}

impl Query {
    /// The one record of the additional section.
    #[inline(never)]
    fn read_additional(&mut self, bytes: &[u8]) -> Result<Option<Edns>, Rejected> {
        let at = self.question_end;
        let is_opt = bytes.get(at..at + message::OPT_LEN).is_some_and(|opt| opt[..3] == [0, 0, 41]);
        if !is_opt {
            return self.read_records(bytes, at, [0, 0, 1], at);
        }
        let (edns, end) = self.read_opt(bytes, at).map_err(|edns| form_error(at, edns))?;
        if end != bytes.len() {
            return Err(form_error(at, Some(edns)));
        }
        Ok(Some(edns))
    }

    /// All records that the header tells of, from `at`.
    #[cold]
    fn read_records_of(
        &mut self,
        bytes: &[u8],
        header: &[u8; 12],
        at: usize,
    ) -> Result<Option<Edns>, Rejected> {
        let count = |i: usize| usize::from(u16::from_be_bytes([header[i], header[i + 1]]));
        self.read_records(bytes, at, [count(6), count(8), count(10)], at)
    }

    #[cold]
    fn read_records(
        &mut self,
        bytes: &[u8],
        mut at: usize,
        counts: [usize; 3],
        question_end: usize,
    ) -> Result<Option<Edns>, Rejected> {
        let mut edns = None;
        let [answers, authority, additional] = counts;
        if answers + authority + additional > RECORDS_MAX {
            return Err(form_error(question_end, None));
        }
        for i in 0..answers + authority + additional {
            let record = RecordView::read(bytes, at).ok_or(form_error(question_end, edns))?;
            if record.rtype == RecordType::OPT {
                // RFC 6891 §6.1.1: in the additional section, owned by the root, and one alone.
                let misplaced = i < answers + authority || edns.is_some() || bytes[at] != 0;
                if misplaced {
                    return Err(form_error(question_end, None));
                }
                edns = Some(self.read_opt(bytes, at).map_err(|edns| form_error(question_end, edns))?.0);
            }
            at = record.end;
        }
        if at != bytes.len() {
            return Err(form_error(question_end, edns));
        }
        Ok(edns)
    }

    /// The OPT record at `at`, owned by the root, and where it ends. Where it is malformed, what can be said of it: that
    /// there is one calls for one in the response, even if an option of it is wrong (RFC 6891 §7).
    fn read_opt(&mut self, bytes: &[u8], at: usize) -> Result<(Edns, usize), Option<Edns>> {
        let opt = bytes.get(at..at + message::OPT_LEN).ok_or(None::<Edns>)?;
        let udp_size = u16::from_be_bytes([opt[3], opt[4]]);
        let version = opt[6];
        let dnssec_ok = opt[7] & 0x80 != 0;
        let len = usize::from(u16::from_be_bytes([opt[9], opt[10]]));
        let end = at + message::OPT_LEN + len;
        if end > bytes.len() {
            return Err(None);
        }
        let mut edns = Edns { udp_size, version, dnssec_ok, asks_for: Options::NONE, probe_at: None };
        if len != 0 {
            self.read_options(&bytes[..end], at + message::OPT_LEN, &mut edns)?;
        }
        Ok((edns, end))
    }

    /// Notes which options stand from `at` to the end; nothing is known of the record where they don't fill it exactly.
    fn read_options(&mut self, bytes: &[u8], mut at: usize, edns: &mut Edns) -> Result<(), Option<Edns>> {
        let mut is_wrong = false;
        while at < bytes.len() {
            let head = u32_at(bytes, at).ok_or(None::<Edns>)?;
            let len = (head & 0xffff) as usize;
            match (head >> 16) as u16 {
                message::option::NSID => edns.asks_for.add(Options::NSID),
                // RFC 9660 §3.2: what a query has in it means nothing.
                message::option::ZONE_VERSION => edns.asks_for.add(Options::ZONE_VERSION),
                // Of another version nobody knows what its options are like; it is told so (RFC 6891 §6.1.3).
                message::option::CLIENT_SUBNET
                    if self.heeds_subnet
                        && edns.version == 0
                        && !edns.asks_for.have(Options::CLIENT_SUBNET) =>
                {
                    match bytes.get(at + 4..at + 4 + len).and_then(ClientSubnet::read) {
                        Some(subnet) => {
                            self.subnet = subnet;
                            edns.asks_for.add(Options::CLIENT_SUBNET);
                        }
                        None => is_wrong = true,
                    }
                }
                message::option::PROBE if len == probe::TOKEN_LEN => {
                    // Messages have at most 65,535 octets; in a longer one it is no probe.
                    edns.probe_at = u16::try_from(at + 4).ok().and_then(NonZeroU16::new);
                }
                _ => {}
            }
            at += 4 + len;
        }
        match at == bytes.len() {
            true if is_wrong => Err(Some(*edns)),
            true => Ok(()),
            false => Err(None),
        }
    }
}

/// Whether a message is a NOTIFY request: its opcode says so, and it is no response (RFC 1996 §3.3).
#[inline]
pub fn is_notify(bytes: &[u8]) -> bool {
    let opcode_of_notify = u16::from(Opcode::NOTIFY.0) << 11;
    u16_at(bytes, 2).is_some_and(|flags| flags & (QR | OPCODE_MASK) == opcode_of_notify)
}

/// The question's name as the client wrote it, where it stands in a message that [`Query::read`] accepted.
pub fn question_name(bytes: &[u8]) -> Option<crate::Name<'_>> {
    crate::Name::split_from(bytes.get(HEADER_LEN..)?).ok().map(|(name, _)| name)
}

/// The identifier of a message; 0 where it is too short to have one.
pub fn id(bytes: &[u8]) -> u16 {
    u16_at(bytes, 0).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: &[u8] = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03Www\x00\x00\x01\x00\x01";
    const OPT: &[u8] = b"\x00\x00\x29\x04\xd0\x00\x00\x80\x00\x00\x00";

    fn with(additional: &[&[u8]]) -> Vec<u8> {
        let mut bytes = QUESTION.to_vec();
        bytes[11] = additional.len() as u8;
        bytes.extend(additional.concat());
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Query, Rejected> {
        read_with(false, bytes)
    }

    fn read_with(heeds_subnet: bool, bytes: &[u8]) -> Result<Query, Rejected> {
        // Left over from another query.
        let edns = Some(Edns { asks_for: Options::NSID, version: 7, ..Edns::default() });
        let mut query = Query { flags: 0xffff, question_end: 99, edns, heeds_subnet, ..Query::default() };
        query.read(bytes, &mut FoldedName::default()).map(|()| query)
    }

    fn rcode(bytes: &[u8]) -> Option<Rcode> {
        match read(bytes) {
            Err(Rejected::Answer { rcode, .. }) => Some(rcode),
            Err(Rejected::Silent) => None,
            Ok(query) => panic!("accepted: {query:?}"),
        }
    }

    #[test]
    fn reads_a_plain_query_and_its_opt() {
        let query = read(QUESTION).unwrap();
        assert_eq!((query.qtype, query.qclass, query.edns), (RecordType::A, Class::IN, None));
        let query = read(&with(&[OPT])).unwrap();
        let edns =
            Edns { udp_size: 1232, version: 0, dnssec_ok: true, asks_for: Options::NONE, probe_at: None };
        assert_eq!(query.edns, Some(edns));
        let nsid = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x09\xff\x00\x00\x01x\x00\x03\x00\x00";
        assert_eq!(read(&with(&[nsid])).unwrap().edns.unwrap().asks_for, Options::NSID);
        let both = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x09\x00\x13\x00\x01x\x00\x03\x00\x00";
        let asks_for = read(&with(&[both])).unwrap().edns.unwrap().asks_for;
        assert!(asks_for.have(Options::NSID) && asks_for.have(Options::ZONE_VERSION));
    }

    #[test]
    fn what_is_behind_a_question_is_nothing_usual_or_other() {
        let mut opt = OPT.to_vec();
        opt[7] = 0;
        let cookie = b"\x00\x00\x29\x04\xd0\x00\x00\x80\x00\x00\x0c\x00\x0a\x00\x0812345678";
        let nsid = b"\x00\x00\x29\x04\xd0\x00\x00\x80\x00\x00\x04\x00\x03\x00\x00";
        let mut other_version = OPT.to_vec();
        other_version[6] = 1;
        let a = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x00\x00\x04\x01\x02\x03\x04";
        let cases: [(&[&[u8]], Behind); 8] = [
            (&[], Behind::Nothing),
            (&[&opt], Behind::Opt),
            (&[OPT], Behind::OptWithDo),
            (&[cookie], Behind::OptWithDo),
            (&[nsid], Behind::Other),
            (&[&other_version], Behind::Other),
            (&[a], Behind::Other),
            (&[a, OPT], Behind::Other),
        ];
        for (additional, behind) in cases {
            assert_eq!(read(&with(additional)).unwrap().behind, behind, "{additional:?}");
        }
    }

    #[test]
    fn a_probe_is_an_option_with_a_whole_token() {
        let option = |len: u16| {
            let mut opt = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00".to_vec();
            opt.extend((8 + len).to_be_bytes());
            opt.extend(b"\x00\x03\x00\x00");
            opt.extend(message::option::PROBE.to_be_bytes());
            opt.extend(len.to_be_bytes());
            opt.extend((0..len).map(|i| i as u8));
            with(&[&opt])
        };
        let whole = option(16);
        let edns = read(&whole).unwrap().edns.unwrap();
        assert_eq!(edns.probe_token(&whole), Some(&std::array::from_fn(|i| i as u8)));
        assert!(edns.asks_for.have(Options::NSID));
        for len in [0, 15, 17] {
            let query = option(len);
            assert_eq!(read(&query).unwrap().edns.unwrap().probe_at, None, "{len} octets");
            assert_eq!(rcode(&query[..query.len() - 1]), Some(Rcode::FORMERR));
        }
    }

    #[test]
    fn a_client_subnet_counts_where_it_is_heeded() {
        let opt = |options: &[&[u8]]| {
            let options = options.concat();
            let mut opt = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00".to_vec();
            opt.push(options.len() as u8);
            with(&[&[&opt[..], &options].concat()])
        };
        let (good, other): (&[u8], &[u8]) =
            (b"\0\x08\0\x06\0\x01\x10\0\x0a\x01", b"\0\x08\0\x05\0\x01\x08\0\x0a");
        let (bad, nsid): (&[u8], &[u8]) = (b"\0\x08\0\x05\0\x01\x10\0\x0a", b"\0\x03\0\0");
        for options in [&[good][..], &[nsid, good], &[good, other], &[good, bad]] {
            let query = read_with(true, &opt(options)).unwrap();
            assert!(query.edns.unwrap().asks_for.have(Options::CLIENT_SUBNET));
            assert_eq!(query.subnet.address(), Some("10.1.0.0".parse().unwrap()));
        }
        for options in [&[bad][..], &[bad, nsid], &[bad, good]] {
            let Err(Rejected::Answer { rcode: Rcode::FORMERR, edns: Some(edns), question_end }) =
                read_with(true, &opt(options))
            else {
                panic!("{options:?}");
            };
            assert_eq!((edns.udp_size, question_end), (1232, QUESTION.len()));
        }
        for options in [good, bad] {
            let query = read(&opt(&[options])).unwrap();
            assert_eq!(query.edns.unwrap().asks_for, Options::NONE);
        }
    }

    #[test]
    fn silence_for_responses_and_fragments_of_a_header() {
        assert_eq!(read(b"").err(), Some(Rejected::Silent));
        assert_eq!(read(&QUESTION[..11]).err(), Some(Rejected::Silent));
        let mut response = QUESTION.to_vec();
        response[2] |= 0x80;
        assert_eq!(read(&response).err(), Some(Rejected::Silent));
    }

    #[test]
    fn malformed_but_answerable() {
        let mut bytes = QUESTION.to_vec();
        bytes[2] = 0x28;
        assert_eq!(rcode(&bytes), Some(Rcode::NOTIMP));
        for len in 12..QUESTION.len() {
            assert_eq!(rcode(&QUESTION[..len]), Some(Rcode::FORMERR));
        }
        let mut bytes = QUESTION.to_vec();
        bytes[5] = 2;
        assert_eq!(rcode(&bytes), Some(Rcode::FORMERR));
        bytes[5] = 0;
        assert_eq!(rcode(&bytes), Some(Rcode::FORMERR));
        assert_eq!(rcode(&with(&[OPT, OPT])), Some(Rcode::FORMERR));
        let mut trailing = with(&[OPT]);
        trailing.push(0);
        assert_eq!(rcode(&trailing), Some(Rcode::FORMERR));
        let short_option = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x05\x00\x03\x00\x02x";
        assert_eq!(rcode(&with(&[short_option])), Some(Rcode::FORMERR));
    }

    #[test]
    fn other_records_are_stepped_over() {
        let a = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x00\x00\x04\x01\x02\x03\x04";
        assert!(read(&with(&[a, OPT])).unwrap().edns.is_some());
        assert!(read(&with(&[OPT, a])).unwrap().edns.is_some());
        assert_eq!(read(&with(&[a])).unwrap().edns, None);
    }
}
