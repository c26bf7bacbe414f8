//! The OPT record of a response (RFC 6891 §6.1).

use crate::answer::Outcome;
use crate::client::Subnet;
use crate::responder::Settings;
use table::Table;
use wire::message::{DO, OPT_LEN, ede, option};
use wire::probe::{self, SEAT_LEN, Seat};
use wire::{Edns, Options, Query, Rcode, RecordType, SUBNET_LEN_MAX};

/// Octets of an EDNS option's code and length.
pub(crate) const OPTION_FIXED: usize = 4;
/// Octets of the option that tells a probe which thread answered.
pub(crate) const PROBE_LEN: usize = OPTION_FIXED + SEAT_LEN;

/// Octets of the option with an Extended DNS Error.
pub(crate) const EDE_LEN: usize = OPTION_FIXED + 2;

/// What error 0 is said to be: RFC 8914 §4.1 wants a text there. Nothing else answers with that code.
const OTHER_TEXT: &[u8] = b"no endpoint is healthy";
/// Octets of the option with that error.
pub(crate) const EDE_OTHER_LEN: usize = EDE_LEN + OTHER_TEXT.len();

/// Octets of the option with the version of the zone: how many labels its apex has, the type of the version, a serial.
pub(crate) const ZONE_VERSION_LEN: usize = OPTION_FIXED + 6;
/// The most octets of the option with the network that an answer is for.
pub(crate) const SUBNET_LEN: usize = OPTION_FIXED + SUBNET_LEN_MAX;
/// The type of version that is a SOA record's serial (RFC 9660 §7.2).
const SOA_SERIAL: u8 = 0;

/// What goes into the OPT record of the response. It is small, so that it stays in registers; whatever few responses need is
/// in [`Told`].
#[derive(Clone, Copy, Default)]
pub(crate) struct OptPlan {
    /// Some of the constants below.
    bits: u8,
    /// Octets of the record with its options.
    len: u16,
}

const DNSSEC_OK: u8 = 1;
const NSID: u8 = 2;
/// The thread that answers is told.
const SEAT: u8 = 4;
/// The version of the zone is asked for.
const ZONE_VERSION: u8 = 8;
/// It is told for which network the answer is.
const SUBNET: u8 = 16;

/// What options tell.
pub(crate) struct Told {
    /// Where the thread sits, as probes are told.
    pub(crate) seat: [u8; SEAT_LEN],
    /// For which network the answer is; that of a query before where this one says nothing of it.
    pub(crate) subnet: Subnet,
    /// The zone that answers: labels of its apex, and its serial; that of a query before where nobody asks.
    zone_version: Option<(u8, u32)>,
}

impl Told {
    /// By the thread at this seat.
    pub(crate) fn new(seat: Seat) -> Told {
        Told { seat: seat.to_octets(), subnet: Subnet::default(), zone_version: None }
    }

    /// Takes in from which zone the answer comes, be it a referral or a denial (RFC 9660 §3.2).
    #[cold]
    pub(crate) fn answered_from(&mut self, table: &Table) {
        // The root's label is not counted (RFC 9660 §2), so there are 127 at most.
        self.zone_version = Some((table.apex_labels() as u8, table.serial()));
    }
}

/// Whether a query is a probe of this server: one that has its token.
pub(crate) fn is_probe(edns: Edns, bytes: &[u8], settings: &Settings) -> bool {
    let tokens = settings.probe_token.as_ref().zip(edns.probe_token(bytes));
    tokens.is_some_and(|(ours, theirs)| probe::is_same_token(ours, theirs))
}

impl OptPlan {
    /// What a query calls for, whose OPT record says this.
    #[inline]
    pub(crate) fn new(
        edns: Option<Edns>,
        query: &Query,
        bytes: &[u8],
        settings: &Settings,
        told: &mut Told,
    ) -> OptPlan {
        let Some(edns) = edns else { return OptPlan::default() };
        let plan = OptPlan { bits: u8::from(edns.dnssec_ok) * DNSSEC_OK, len: OPT_LEN as u16 };
        if edns.asks_for != Options::NONE || edns.probe_at.is_some() {
            plan.with_options(edns, query, bytes, settings, told)
        } else {
            plan
        }
    }

    /// Adds the options that a query asks for.
    #[cold]
    #[inline(never)]
    fn with_options(
        mut self,
        edns: Edns,
        query: &Query,
        bytes: &[u8],
        settings: &Settings,
        told: &mut Told,
    ) -> OptPlan {
        if edns.asks_for.have(Options::NSID)
            && let Some(id) = &settings.server_id
        {
            self.add(NSID, OPTION_FIXED + id.len()); // `SERVER_ID_MAX`
        }
        if edns.asks_for.have(Options::ZONE_VERSION) {
            // Room is kept for it, though no zone may answer.
            self.add(ZONE_VERSION, ZONE_VERSION_LEN);
            told.zone_version = None;
        }
        if edns.asks_for.have(Options::CLIENT_SUBNET) {
            self.add(SUBNET, OPTION_FIXED + query.subnet.response_len());
            told.subnet = Subnet::new(query.subnet);
        }
        if is_probe(edns, bytes, settings) {
            self.add(SEAT, PROBE_LEN);
        }
        self
    }

    /// Adds an option of so many octets; together they fit the smallest response.
    fn add(&mut self, bit: u8, len: usize) {
        self.bits |= bit;
        self.len += len as u16;
    }

    #[inline]
    fn has(self, bit: u8) -> bool {
        self.bits & bit != 0
    }

    #[inline]
    pub(crate) fn dnssec_ok(self) -> bool {
        self.has(DNSSEC_OK)
    }

    /// Whether it is told for which network the answer is.
    #[inline]
    pub(crate) fn has_subnet(self) -> bool {
        self.has(SUBNET)
    }

    /// Octets of the record with its options; 0 where there is none.
    #[inline]
    pub(crate) fn len(self) -> usize {
        usize::from(self.len)
    }

    /// Whether there are options, errors aside.
    #[inline]
    pub(crate) fn has_options(self) -> bool {
        self.len() > OPT_LEN
    }

    /// Writes the record, for which room was kept, to `at`, in a response with so many answers; where it ends.
    #[inline]
    pub(crate) fn write(
        self,
        octets: &mut [u8],
        at: usize,
        answers: u16,
        outcome: &Outcome,
        settings: &Settings,
        told: &Told,
    ) -> usize {
        let mut end = at + OPT_LEN;
        octets[at..end].copy_from_slice(&fixed(outcome.rcode, self.dnssec_ok(), settings.udp_payload_max));
        if self.has_options() || outcome.ede.is_some() {
            end = self.write_options(octets, end, answers, outcome, settings, told);
            let options_len = (end - at - OPT_LEN) as u16;
            octets[at + OPT_LEN - 2..at + OPT_LEN].copy_from_slice(&options_len.to_be_bytes());
        }
        end
    }

    #[cold]
    #[inline(never)]
    fn write_options(
        self,
        octets: &mut [u8],
        mut at: usize,
        answers: u16,
        outcome: &Outcome,
        settings: &Settings,
        told: &Told,
    ) -> usize {
        let mut put = |parts: &[&[u8]]| {
            for part in parts {
                octets[at..at + part.len()].copy_from_slice(part);
                at += part.len();
            }
        };
        if let Some(id) = settings.server_id.as_ref().filter(|_| self.has(NSID)) {
            put(&[&option::NSID.to_be_bytes(), &(id.len() as u16).to_be_bytes(), id]);
        }
        if let Some((labels, serial)) = told.zone_version.filter(|_| self.has(ZONE_VERSION)) {
            let len = (ZONE_VERSION_LEN - OPTION_FIXED) as u16;
            put(&[&option::ZONE_VERSION.to_be_bytes(), &len.to_be_bytes(), &[labels, SOA_SERIAL]]);
            put(&[&serial.to_be_bytes()]);
        }
        if self.has(SUBNET) {
            // RFC 7871 §7.4: what is denied, or somewhere else, is so for everybody.
            let is_for_all = outcome.rcode != Rcode::NOERROR || answers == 0;
            let scope_len = if is_for_all { 0 } else { told.subnet.scope_len() };
            let (fixed, address) = told.subnet.option().response(scope_len);
            let len = (fixed.len() + address.len()) as u16; // `SUBNET_LEN`
            put(&[&option::CLIENT_SUBNET.to_be_bytes(), &len.to_be_bytes(), &fixed, address]);
        }
        if self.has(SEAT) {
            put(&[&option::PROBE.to_be_bytes(), &(told.seat.len() as u16).to_be_bytes(), &told.seat]);
        }
        if let Some(code) = outcome.ede {
            // Errors carry nothing but the question, at most 271 octets: there is room in 512. For what is stale, room
            // was kept.
            let text = if code == ede::OTHER { OTHER_TEXT } else { &[] };
            let len = (2 + text.len()) as u16; // a few octets
            put(&[&option::EDE.to_be_bytes(), &len.to_be_bytes(), &code.to_be_bytes(), text]);
        }
        at
    }
}

/// The record without options.
#[inline]
pub(crate) fn fixed(rcode: Rcode, dnssec_ok: bool, udp_size: u16) -> [u8; OPT_LEN] {
    let [size_high, size_low] = udp_size.to_be_bytes();
    let flags = if dnssec_ok { (DO >> 8) as u8 } else { 0 };
    [0, 0, RecordType::OPT.0 as u8, size_high, size_low, (rcode.0 >> 4) as u8, 0, flags, 0, 0, 0]
}
