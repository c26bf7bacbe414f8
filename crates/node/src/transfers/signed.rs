//! Answers to queries that are signed (RFC 8945): a secondary that has a key signs all it asks, the SOA record first.

use super::Transfers;
use nameserver::{Responder, Transport};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};
use transfer::outgoing;
use transfer::tsig::{self, Authenticated, Keys, Rejected};
use wire::message::{HEADER_LEN, QR, TC, UDP_PLAIN_MAX, skip_name, u16_at};
use wire::query::is_notify;
use wire::{FoldedName, Query, Rcode};

/// The largest signed answer over UDP: it fits the smallest IPv6 path without fragments (RFC 9715 §3.2).
const UDP_SIGNED_MAX: usize = 1232;

/// The keys, as a thread that answers has them: looked at once a batch, locked only when they have changed.
#[derive(Default)]
pub(crate) struct Keyring {
    transfers: Option<Arc<Transfers>>,
    version: u64,
    keys: Arc<Keys>,
}

/// The time in seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Keyring {
    /// The keys of the configuration, as it is and will be.
    pub(crate) fn new(transfers: &Arc<Transfers>) -> Keyring {
        Keyring { transfers: Some(Arc::clone(transfers)), version: 0, keys: Arc::default() }
    }

    /// Takes in changes.
    #[inline]
    pub(crate) fn refresh(&mut self) {
        let Some(transfers) = &self.transfers else { return };
        let version = transfers.version.load(Ordering::Acquire);
        if version != self.version {
            self.keys = transfers.keys();
            self.version = version;
        }
    }

    /// Whether a query is to be answered by [`Keyring::respond`]. A node without keys looks at no query for that; NOTIFY
    /// requests are checked by who answers them.
    #[inline]
    pub(crate) fn is_for(&self, query: &[u8]) -> bool {
        !self.keys.is_empty() && tsig::is_signed(query) && !is_notify(query)
    }

    /// Checks a request; `None` where it is not signed.
    ///
    /// # Errors
    /// It is signed, and not as it should be.
    pub(crate) fn verify(&self, request: &[u8], now: u64) -> Result<Option<Authenticated>, Rejected> {
        tsig::verify_request(request, &self.keys, now)
    }

    /// Checks a query, has it answered and signs the answer; gives its length, 0 where there is none.
    pub(crate) fn respond(
        &self,
        responder: &mut Responder,
        query: &[u8],
        transport: Transport,
        response: &mut [u8],
    ) -> usize {
        let now = now();
        match tsig::verify_request(query, &self.keys, now) {
            Ok(None) => responder.respond(query, transport, response),
            // What is no query, or has not one question, is nothing new to the answer function.
            Err(Rejected::Malformed) if !has_one_question(query) => {
                responder.respond(query, transport, response)
            }
            Err(Rejected::Malformed) => {
                responder.count(transport, Rcode::FORMERR);
                copy(&outgoing::error_response(query, Rcode::FORMERR), response)
            }
            Err(Rejected::Refused(_, refusal)) => {
                responder.count(transport, Rcode::NOTAUTH);
                copy(&refusal, response)
            }
            Ok(Some(authenticated)) => {
                let mut signer = authenticated.signer();
                let request = &authenticated.request;
                let limit = limit(request, transport).min(response.len());
                // Under 512 octets nothing would be written; what then turns out too long is cut below.
                let room =
                    limit.saturating_sub(signer.signature_len()).max(UDP_PLAIN_MAX).min(response.len());
                let len = responder.respond(request, transport, &mut response[..room]);
                if len == 0 {
                    return 0;
                }
                let mut message = response[..len].to_vec();
                if len + signer.signature_len() > limit {
                    truncate(&mut message);
                }
                signer.sign(&mut message, now);
                copy(&message, response)
            }
        }
    }
}

fn has_one_question(message: &[u8]) -> bool {
    let flags = u16_at(message, 2).unwrap_or(QR);
    flags & QR == 0 && u16_at(message, 4) == Some(1) && skip_name(message, HEADER_LEN).is_some()
}

/// How long a response may be.
fn limit(request: &[u8], transport: Transport) -> usize {
    if transport == Transport::Tcp {
        return usize::from(u16::MAX);
    }
    let mut query = Query::default();
    let read = query.read(request, &mut FoldedName::default());
    let edns = read.ok().and(query.edns);
    edns.map_or(UDP_PLAIN_MAX, |edns| usize::from(edns.udp_size).clamp(UDP_PLAIN_MAX, UDP_SIGNED_MAX))
}

/// Leaves the header and the question, and says so.
fn truncate(message: &mut Vec<u8>) {
    let question_end = skip_name(message, HEADER_LEN).map_or(HEADER_LEN, |end| end + 4);
    message.truncate(question_end);
    message[2] |= (TC >> 8) as u8;
    message[6..HEADER_LEN].fill(0);
}

fn copy(message: &[u8], response: &mut [u8]) -> usize {
    match response.get_mut(..message.len()) {
        Some(place) => {
            place.copy_from_slice(message);
            message.len()
        }
        None => 0,
    }
}
