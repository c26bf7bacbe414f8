//! NOTIFY requests (RFC 1996): answered on the thread that received them, and passed on over a bounded queue.

use crate::config::SecondaryConfig;
use crate::keeper::ConfiguredCopy;
use crate::transfers::{self, Keyring};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::mpsc;
use transfer::outgoing::error_response;
use transfer::tsig::{Key, Rejected as NotTrusted};
use wire::message::{AA, HEADER_LEN, OPCODE_MASK, OPT_LEN, QR, RD};
use wire::{Class, FoldedName, NameBuf, Query, Rcode, RecordType, Rejected};

/// How many notices wait for the secondary's thread, which takes them in within microseconds. A primary that announces
/// thousands of zones at once fills it; those that find no room are counted, and the primary repeats them only if it gets
/// no answer, so they get none.
const QUEUE_MAX: usize = 4096;
/// The payload size that the OPT record of a response names (RFC 9715 §3.2).
const UDP_PAYLOAD: u16 = crate::config::UDP_PAYLOAD_MAX;

/// That a primary has something new, or says so.
pub(crate) struct Notice {
    /// Of which zone, in lower case.
    pub(super) zone: Box<[u8]>,
    /// Which of its primaries says so; `None` for somebody else who is heard.
    pub(super) primary: Option<usize>,
}

/// Where notices arrive.
pub(crate) type Heard = mpsc::Receiver<Notice>;

/// The zones that are copies, by name in lower case.
type Copies = HashMap<Box<[u8]>, Arc<SecondaryConfig>>;

/// Answers NOTIFY requests, on any thread.
pub(crate) struct Notices {
    /// Who is heard, by zone. Locked for reading by threads that have a NOTIFY to answer, and for an assignment when the
    /// configuration changes.
    copies: RwLock<Arc<Copies>>,
    queue: mpsc::Sender<Notice>,
    taken: AtomicU64,
    refused: AtomicU64,
    dropped: AtomicU64,
}

impl Notices {
    /// Answers by a configuration that [`Notices::set`] gives, and refuses everything until then.
    pub(crate) fn new() -> (Arc<Notices>, Heard) {
        let (queue, heard) = mpsc::channel(QUEUE_MAX);
        let notices = Notices {
            copies: RwLock::default(),
            queue,
            taken: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        };
        (Arc::new(notices), heard)
    }

    /// The zones that are copies now.
    pub(super) fn set(&self, copies: &[ConfiguredCopy]) {
        let of = |copy: &ConfiguredCopy| (copy.name.as_name().as_wire().into(), Arc::clone(&copy.config));
        let copies = Arc::new(copies.iter().map(of).collect());
        *self.copies.write().unwrap_or_else(PoisonError::into_inner) = copies;
    }

    /// Notices taken, refused, and dropped for want of room.
    pub(super) fn counts(&self) -> (u64, u64, u64) {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (of(&self.taken), of(&self.refused), of(&self.dropped))
    }

    /// Writes the response to a NOTIFY request and gives its length, 0 for none, and its response code. A request that is
    /// signed gets a response that is (RFC 8945 §5.3); one that is signed with no key of these is not heard.
    pub(crate) fn answer(
        &self,
        request: &[u8],
        from: IpAddr,
        keyring: &Keyring,
        response: &mut [u8],
    ) -> (usize, Rcode) {
        let now = transfers::now();
        let authenticated = match keyring.verify(request, now) {
            Ok(None) => return self.answer_from(request, from, None, response),
            Ok(Some(authenticated)) => authenticated,
            Err(NotTrusted::Malformed) => {
                // Whatever it is, and be it no DNS at all, it is not taken for a signed request.
                return match Query::default().read_notify(request, &mut FoldedName::default()) {
                    Ok(()) => (copy(&error_response(request, Rcode::FORMERR), response), Rcode::FORMERR),
                    Err(_) => self.answer_from(request, from, None, response),
                };
            }
            Err(NotTrusted::Refused(_, refusal)) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                return (copy(&refusal, response), Rcode::NOTAUTH);
            }
        };
        let key = Some(&authenticated.key);
        let (len, rcode) = self.answer_from(&authenticated.request, from, key, response);
        if len == 0 {
            return (0, rcode);
        }
        let mut message = response[..len].to_vec();
        authenticated.signer().sign(&mut message, now);
        (copy(&message, response), rcode)
    }

    /// Answers a request that was signed with this key, or with none.
    fn answer_from(
        &self,
        request: &[u8],
        from: IpAddr,
        key: Option<&Arc<Key>>,
        response: &mut [u8],
    ) -> (usize, Rcode) {
        let mut name = FoldedName::default();
        let mut query = Query::default();
        let (rcode, question_end, has_opt) = match query.read_notify(request, &mut name) {
            Ok(()) => {
                let Some(rcode) = self.take(&query, &name, from, key) else { return (0, Rcode::SERVFAIL) };
                (rcode, query.question_end, query.edns.is_some())
            }
            Err(Rejected::Answer { rcode, question_end, edns }) => (rcode, question_end, edns.is_some()),
            Err(Rejected::Silent) => return (0, Rcode::FORMERR),
        };
        (write(request, question_end, rcode, has_opt, response), rcode)
    }

    /// Passes a notice on; `None` where there is no room for it.
    fn take(&self, query: &Query, name: &FoldedName, from: IpAddr, key: Option<&Arc<Key>>) -> Option<Rcode> {
        if query.qclass != Class::IN || query.qtype != RecordType::SOA {
            // RFC 1996 §3.3: nothing but SOA is defined.
            return Some(Rcode::NOTIMP);
        }
        let copies = Arc::clone(&self.copies.read().unwrap_or_else(PoisonError::into_inner));
        let heard = copies.get(name.as_wire()).and_then(|config| config.hears(from, key));
        let Some(primary) = heard else {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Some(if copies.contains_key(name.as_wire()) { Rcode::REFUSED } else { Rcode::NOTAUTH });
        };
        match self.queue.try_send(Notice { zone: name.as_wire().into(), primary }) {
            Ok(()) => {
                self.taken.fetch_add(1, Ordering::Relaxed);
                Some(Rcode::NOERROR)
            }
            Err(_) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }
}

/// The response: the header and the question of the request (RFC 1996 §4.7), and an OPT record if it had one.
fn write(request: &[u8], question_end: usize, rcode: Rcode, has_opt: bool, response: &mut [u8]) -> usize {
    let opt_len = if has_opt { OPT_LEN } else { 0 };
    let end = question_end + opt_len;
    let (Some(head), true) = (request.get(..question_end), response.len() >= end) else { return 0 };
    response[..question_end].copy_from_slice(head);
    let flags = u16::from_be_bytes([request[2], request[3]]);
    let flags = QR | (flags & (OPCODE_MASK | AA | RD)) | (rcode.0 & 0xf);
    let counts = [flags, u16::from(question_end > HEADER_LEN), 0, 0, u16::from(has_opt)];
    response[2..HEADER_LEN].copy_from_slice(counts.map(u16::to_be_bytes).as_flattened());
    if has_opt {
        let [high, low] = UDP_PAYLOAD.to_be_bytes();
        let opt = [0, 0, RecordType::OPT.0 as u8, high, low, 0, 0, 0, 0, 0, 0];
        response[question_end..end].copy_from_slice(&opt);
    }
    end
}

/// Puts a message where the response is wanted; 0 where it has no room.
fn copy(message: &[u8], response: &mut [u8]) -> usize {
    let Some(place) = response.get_mut(..message.len()) else { return 0 };
    place.copy_from_slice(message);
    message.len()
}

/// The zone of a notice, for messages.
pub(super) fn zone_of(notice: &Notice) -> Option<NameBuf> {
    wire::Name::from_wire(&notice.zone).ok().map(NameBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Notifier, Primary};
    use transfer::tsig::{Algorithm, Untrusted, sign_request};

    const QUESTION: &[u8] = b"\x07eXample\x00\x00\x06\x00\x01";

    fn request(question: &[u8], additional: &[u8]) -> Vec<u8> {
        let mut request = vec![0x12, 0x34, 0x24, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(!additional.is_empty())];
        request.extend(question);
        request.extend(additional);
        request
    }

    fn notices() -> (Arc<Notices>, Heard) {
        let (notices, heard) = Notices::new();
        let config = SecondaryConfig {
            primaries: ["192.0.2.1:53", "[2001:db8::1]:53"]
                .map(|address| Primary { address: address.parse().unwrap(), key: None, tls: None })
                .into(),
            notifiers: vec![Notifier { from: "198.51.100.0/24".parse().unwrap(), key: None }],
            ..SecondaryConfig::default()
        };
        let name = config::apex("example").unwrap();
        notices.set(&[ConfiguredCopy {
            name,
            config: Arc::new(config),
            soa: None,
            expired: false,
            incarnation: 0,
            revision: 0,
        }]);
        (notices, heard)
    }

    #[test]
    fn who_is_heard_and_what_is_said() {
        let (notices, mut heard) = notices();
        let mut response = [0; 512];
        let mut answer = |request: &[u8], from: &str| {
            let (len, rcode) =
                notices.answer(request, from.parse().unwrap(), &Keyring::default(), &mut response);
            (response[..len].to_vec(), rcode)
        };
        let plain = request(QUESTION, &[]);
        let (bytes, rcode) = answer(&plain, "2001:db8::1");
        assert_eq!(rcode, Rcode::NOERROR);
        assert_eq!(bytes, [&[0x12, 0x34, 0xa4, 0, 0, 1, 0, 0, 0, 0, 0, 0], QUESTION].concat());
        let notice = heard.try_recv().unwrap();
        assert_eq!((&*notice.zone, notice.primary), (&b"\x07example\x00"[..], Some(1)));
        let (bytes, _) = answer(&request(QUESTION, &[0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 0]), "::ffff:192.0.2.1");
        assert_eq!((bytes.len(), bytes[11]), (plain.len() + OPT_LEN, 1), "an OPT record for an OPT record");
        assert_eq!(heard.try_recv().unwrap().primary, Some(0));
        assert_eq!(answer(&plain, "198.51.100.7").1, Rcode::NOERROR);
        assert_eq!(heard.try_recv().unwrap().primary, None);
        assert_eq!(answer(&plain, "192.0.2.2").1, Rcode::REFUSED);
        assert_eq!(answer(&request(b"\x03org\x00\x00\x06\x00\x01", &[]), "192.0.2.1").1, Rcode::NOTAUTH);
        assert_eq!(answer(&request(b"\x07example\x00\x00\x01\x00\x01", &[]), "192.0.2.1").1, Rcode::NOTIMP);
        assert_eq!(answer(&request(&QUESTION[..5], &[]), "192.0.2.1").1, Rcode::FORMERR);
        assert!(
            answer(&[0x12, 0x34, 0xa4, 0, 0, 0, 0, 0, 0, 0, 0, 0], "192.0.2.1").0.is_empty(),
            "a response"
        );
        assert!(heard.try_recv().is_err());
        assert_eq!(notices.counts(), (3, 2, 0));
    }

    #[test]
    fn a_signed_request_gets_a_signed_response() {
        let named = |name: &str, secret: &[u8]| {
            let name = config::apex(name).unwrap();
            Arc::new(Key::new(name.as_name(), Algorithm::Sha256, secret).unwrap())
        };
        let (key, stranger) = (named("k", b"secret"), named("k", b"other"));
        let config = config::Config { keys: vec![Arc::clone(&key)], ..config::Config::default() };
        let transfers = Arc::<transfers::Transfers>::default();
        transfers.configure(&config);
        let mut keyring = Keyring::new(&transfers);
        keyring.refresh();
        let (notices, mut heard) = Notices::new();
        let address = "192.0.2.1:53".parse().unwrap();
        let primary = Primary { address, key: Some(Arc::clone(&key)), tls: None };
        let config = SecondaryConfig { primaries: vec![primary], ..SecondaryConfig::default() };
        let name = config::apex("example").unwrap();
        notices.set(&[ConfiguredCopy {
            name,
            config: Arc::new(config),
            soa: None,
            expired: false,
            incarnation: 0,
            revision: 0,
        }]);
        let mut answer = |request: &[u8]| {
            let mut response = [0; 512];
            let from = "192.0.2.1".parse().unwrap();
            let (len, rcode) = notices.answer(request, from, &keyring, &mut response);
            (response[..len].to_vec(), rcode, heard.try_recv().is_ok())
        };
        let now = transfers::now();
        let mut signed = request(QUESTION, &[0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 0]);
        let mut verifier = sign_request(&mut signed, &key, now);
        let (response, rcode, is_heard) = answer(&signed);
        assert_eq!((rcode, is_heard), (Rcode::NOERROR, true));
        assert!(verifier.verify(&response, now).is_ok() && verifier.finish().is_ok());
        assert_eq!(response[2..4], [0xa4, 0]);
        let mut wrong = request(QUESTION, &[]);
        let mut verifier = sign_request(&mut wrong, &stranger, now);
        let (response, rcode, is_heard) = answer(&wrong);
        assert_eq!((rcode, is_heard), (Rcode::NOTAUTH, false));
        assert_eq!(verifier.verify(&response, now), Err(Untrusted::Refused(16)));
        let (_, rcode, is_heard) = answer(&request(QUESTION, &[]));
        assert_eq!((rcode, is_heard), (Rcode::REFUSED, false), "not signed");
        signed.truncate(signed.len() - 1);
        let (_, rcode, is_heard) = answer(&signed);
        assert_eq!((rcode, is_heard), (Rcode::FORMERR, false));
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let (notices, _heard) = notices();
        let plain = request(QUESTION, &[]);
        let mut response = [0; 512];
        let from = "192.0.2.1".parse().unwrap();
        let mut answer = || notices.answer(&plain, from, &Keyring::default(), &mut response).0;
        assert!((0..QUEUE_MAX).all(|_| answer() > 0));
        assert_eq!(answer(), 0, "no answer: the primary will repeat it");
        assert_eq!(notices.counts(), (QUEUE_MAX as u64, 0, 1));
    }
}
