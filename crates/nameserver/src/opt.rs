//! The OPT record of a response (RFC 6891 §6.1).

use crate::answer::Outcome;
use crate::responder::Settings;
use table::Table;
use wire::message::{DO, OPT_LEN, ede, option};
use wire::probe::{self, SEAT_LEN};
use wire::{Edns, Options, Rcode, RecordType};

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
/// The type of version that is a SOA record's serial (RFC 9660 §7.2).
const SOA_SERIAL: u8 = 0;

/// What goes into the OPT record of the response.
#[derive(Clone, Copy, Default)]
pub(crate) struct OptPlan {
    pub(crate) dnssec_ok: bool,
    nsid: bool,
    /// The thread that answers is told.
    seat: bool,
    /// The version of the zone is asked for.
    wants_zone_version: bool,
    /// The zone that answers: labels of its apex, and its serial.
    zone_version: Option<(u8, u32)>,
    /// Octets of the record with its options.
    len: u16,
}

impl OptPlan {
    /// What a query calls for.
    #[inline]
    pub(crate) fn new(edns: Option<Edns>, query: &[u8], settings: &Settings) -> OptPlan {
        let Some(edns) = edns else { return OptPlan::default() };
        let plan = OptPlan { dnssec_ok: edns.dnssec_ok, len: OPT_LEN as u16, ..OptPlan::default() };
        if edns.asks_for != Options::NONE || edns.probe_at.is_some() {
            plan.with_options(edns, query, settings)
        } else {
            plan
        }
    }

    /// Adds the options that a query asks for.
    #[cold]
    fn with_options(mut self, edns: Edns, query: &[u8], settings: &Settings) -> OptPlan {
        if edns.asks_for.have(Options::NSID)
            && let Some(id) = &settings.server_id
        {
            self.nsid = true;
            self.len += (OPTION_FIXED + id.len()) as u16; // `SERVER_ID_MAX`
        }
        if edns.asks_for.have(Options::ZONE_VERSION) {
            self.wants_zone_version = true;
            self.len += ZONE_VERSION_LEN as u16;
        }
        // A probe has the token of this server.
        let tokens = settings.probe_token.as_ref().zip(edns.probe_token(query));
        if tokens.is_some_and(|(ours, theirs)| probe::is_same_token(ours, theirs)) {
            self.seat = true;
            self.len += PROBE_LEN as u16;
        }
        self
    }

    /// Takes in from which zone the answer comes, be it a referral or a denial (RFC 9660 §3.2).
    #[cold]
    pub(crate) fn answered_from(&mut self, table: &Table) {
        if self.wants_zone_version {
            // The root's label is not counted (RFC 9660 §2), so there are 127 at most.
            self.zone_version = Some((table.apex_labels() as u8, table.serial()));
        }
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

    /// Writes the record, for which room was kept, to `at`; where it ends.
    #[inline]
    pub(crate) fn write(
        self,
        octets: &mut [u8],
        at: usize,
        outcome: &Outcome,
        settings: &Settings,
        seat: &[u8; SEAT_LEN],
    ) -> usize {
        let mut end = at + OPT_LEN;
        octets[at..end].copy_from_slice(&fixed(outcome.rcode, self.dnssec_ok, settings.udp_payload_max));
        if self.has_options() || outcome.ede.is_some() {
            end = self.write_options(octets, end, outcome, settings, seat);
            let options_len = (end - at - OPT_LEN) as u16;
            octets[at + OPT_LEN - 2..at + OPT_LEN].copy_from_slice(&options_len.to_be_bytes());
        }
        end
    }

    #[cold]
    fn write_options(
        self,
        octets: &mut [u8],
        mut at: usize,
        outcome: &Outcome,
        settings: &Settings,
        seat: &[u8; SEAT_LEN],
    ) -> usize {
        let mut put = |parts: &[&[u8]]| {
            for part in parts {
                octets[at..at + part.len()].copy_from_slice(part);
                at += part.len();
            }
        };
        if let Some(id) = settings.server_id.as_ref().filter(|_| self.nsid) {
            put(&[&option::NSID.to_be_bytes(), &(id.len() as u16).to_be_bytes(), id]);
        }
        if let Some((labels, serial)) = self.zone_version {
            let len = (ZONE_VERSION_LEN - OPTION_FIXED) as u16;
            put(&[&option::ZONE_VERSION.to_be_bytes(), &len.to_be_bytes(), &[labels, SOA_SERIAL]]);
            put(&[&serial.to_be_bytes()]);
        }
        if self.seat {
            put(&[&option::PROBE.to_be_bytes(), &(seat.len() as u16).to_be_bytes(), seat]);
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
