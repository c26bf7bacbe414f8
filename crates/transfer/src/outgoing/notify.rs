//! NOTIFY to secondaries (RFC 1996): whom to tell what, when to tell it again, and when to give up.
//!
//! A pure machine: its caller sends what is due, hands in what arrives, and says what time it is.

use super::writer::Writer;
use crate::tsig::{self, Key, Untrusted, Verifier};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use table::Table;
use wire::message::{AA, HEADER_LEN, MESSAGE_MAX, OPCODE_MASK, QR};
use wire::{FoldedName, NameBuf, Opcode, Rcode, RecordType};

/// How often a secondary is told before it is given up: it then learns of the change at its next refresh (RFC 1996
/// §3.6 has five retransmissions).
pub const ATTEMPTS_MAX: u32 = 6;

/// How long to wait for the first acknowledgement; each further wait is twice as long, 63 seconds in all. RFC 1996 §3.6
/// proposes 60 seconds between two attempts for links of its time; a lost datagram then costs a minute, and with much
/// less than a second a secondary that is far away is told twice.
pub const FIRST_WAIT: Duration = Duration::from_secs(1);

/// How many datagrams go out at a time. A node with 10,000 zones has 10,000 to say at its start, and a secondary's receive
/// queue holds some hundreds.
pub const BURST_MAX: usize = 64;

/// How long to wait after a full burst: 3,200 a second, so that 10,000 zones are told in three seconds.
pub const BURST_EVERY: Duration = Duration::from_millis(20);

/// Somebody to notify.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// Where it listens.
    pub address: SocketAddr,
    /// What signs the message.
    pub key: Option<Arc<Key>>,
}

/// How it stands with one secondary of a zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// It was told so many times, and has not answered yet.
    Waiting(u32),
    /// It has acknowledged.
    Acknowledged,
    /// It was told as often as may be and never answered.
    Silent,
    /// It answered with an error.
    Refused(Rcode),
    /// It answered, with a signature that is not right.
    Untrusted(Untrusted),
}

/// What was counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Messages sent.
    pub sent: u64,
    /// Secondaries that have acknowledged a change.
    pub acknowledged: u64,
    /// Secondaries that have refused one, or never answered.
    pub failed: u64,
}

/// A message to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Datagram {
    /// To whom.
    pub to: SocketAddr,
    /// What.
    pub message: Vec<u8>,
}

struct Delivery {
    target: Target,
    id: u16,
    attempts: u32,
    /// When to tell it, or to give up; `None` when there is nothing more to do.
    due: Option<Instant>,
    state: State,
    verifier: Option<Verifier>,
}

struct Zone {
    name: NameBuf,
    soa: super::Kept,
    serial: u32,
    deliveries: Vec<Delivery>,
}

/// Notifies the secondaries of all zones.
#[derive(Default)]
pub struct Notifier {
    zones: BTreeMap<Box<[u8]>, Zone>,
    counts: Counts,
}

/// What an answer says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heard {
    /// A secondary has acknowledged.
    Acknowledged,
    /// A secondary has refused.
    Refused,
    /// It answers nothing that was sent.
    Nothing,
}

impl Notifier {
    /// A zone is served in this version: tells those of the targets that don't know it yet. `random` gives identifiers.
    pub fn publish(
        &mut self,
        table: &Arc<Table>,
        targets: &[Target],
        now: Instant,
        random: &mut dyn FnMut() -> u16,
    ) {
        let name = NameBuf::from(table.apex_name());
        let key: Box<[u8]> = name.as_name().as_wire().into();
        let Ok(soa) = super::soa_of(table) else { return }; // the compiler sees to it that there is one
        let mut before = self.zones.remove(&key).filter(|zone| zone.serial == table.serial());
        if targets.is_empty() {
            return;
        }
        let deliveries = targets.iter().map(|target| {
            let known = before.as_mut().and_then(|zone| {
                let at = zone.deliveries.iter().position(|delivery| delivery.target == *target)?;
                Some(zone.deliveries.swap_remove(at))
            });
            known.unwrap_or_else(|| Delivery {
                target: target.clone(),
                id: random(),
                attempts: 0,
                due: Some(now),
                state: State::Waiting(0),
                verifier: None,
            })
        });
        let deliveries = deliveries.collect();
        self.zones.insert(key, Zone { name, soa, serial: table.serial(), deliveries });
    }

    /// A zone is served no more.
    pub fn forget(&mut self, zone: wire::Name<'_>) {
        self.zones.remove(zone.as_wire());
    }

    /// Tells all secondaries of a zone once more; how many there are.
    pub fn again(&mut self, zone: wire::Name<'_>, now: Instant, random: &mut dyn FnMut() -> u16) -> usize {
        let Some(zone) = self.zones.get_mut(zone.as_wire()) else { return 0 };
        for delivery in &mut zone.deliveries {
            (delivery.id, delivery.attempts, delivery.due) = (random(), 0, Some(now));
            delivery.state = State::Waiting(0);
        }
        zone.deliveries.len()
    }

    /// What is to be sent now; `wall` is the time in seconds since 1970, for signatures.
    pub fn due(&mut self, now: Instant, wall: u64) -> Vec<Datagram> {
        let mut datagrams = Vec::new();
        for zone in self.zones.values_mut() {
            for delivery in
                zone.deliveries.iter_mut().filter(|delivery| delivery.due.is_some_and(|due| due <= now))
            {
                if delivery.attempts == ATTEMPTS_MAX {
                    (delivery.due, delivery.state) = (None, State::Silent);
                    self.counts.failed += 1;
                    continue;
                }
                if datagrams.len() == BURST_MAX {
                    return datagrams;
                }
                delivery.due = Some(now + FIRST_WAIT * (1 << delivery.attempts));
                delivery.attempts += 1;
                delivery.state = State::Waiting(delivery.attempts);
                let mut message = message(delivery.id, zone.name.as_name(), &zone.soa);
                let key = delivery.target.key.as_ref();
                delivery.verifier = key.map(|key| tsig::sign_request(&mut message, key, wall));
                self.counts.sent += 1;
                datagrams.push(Datagram { to: delivery.target.address, message });
            }
        }
        datagrams
    }

    /// When something is due next.
    pub fn next_due(&self) -> Option<Instant> {
        self.zones.values().flat_map(|zone| &zone.deliveries).filter_map(|delivery| delivery.due).min()
    }

    /// Takes an answer in.
    pub fn received(&mut self, from: SocketAddr, answer: &[u8], wall: u64) -> Heard {
        let Some((id, name, rcode)) = read_answer(answer) else { return Heard::Nothing };
        let Some(zone) = self.zones.get_mut(name.as_name().as_wire()) else { return Heard::Nothing };
        let awaits = |delivery: &&mut Delivery| {
            delivery.target.address == from
                && delivery.id == id
                && matches!(delivery.state, State::Waiting(1..))
        };
        let Some(delivery) = zone.deliveries.iter_mut().find(awaits) else { return Heard::Nothing };
        if let Some(verifier) = &mut delivery.verifier
            && let Err(error) = verifier.verify(answer, wall)
        {
            // Whoever can guess an identifier could end the attempts with a forged answer: they go on.
            delivery.state = match error {
                Untrusted::Refused(_) | Untrusted::RefusedForTime { .. } => State::Untrusted(error),
                _ => return Heard::Nothing,
            };
            delivery.due = None;
            self.counts.failed += 1;
            return Heard::Refused;
        }
        delivery.due = None;
        if rcode == Rcode::NOERROR {
            delivery.state = State::Acknowledged;
            self.counts.acknowledged += 1;
            Heard::Acknowledged
        } else {
            delivery.state = State::Refused(rcode);
            self.counts.failed += 1;
            Heard::Refused
        }
    }

    /// How it stands with each secondary of a zone, and with which serial.
    pub fn states(&self, zone: wire::Name<'_>) -> Option<(u32, Vec<(SocketAddr, State)>)> {
        let zone = self.zones.get(zone.as_wire())?;
        let states = zone.deliveries.iter().map(|delivery| (delivery.target.address, delivery.state));
        Some((zone.serial, states.collect()))
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        self.counts
    }
}

/// A NOTIFY with the SOA record as a hint, so that a secondary that has it need not ask (RFC 1996 §3.7).
fn message(id: u16, zone: wire::Name<'_>, soa: &super::Kept) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.begin(id, u16::from(Opcode::NOTIFY.0) << 11 | AA);
    writer.question(zone, RecordType::SOA);
    // Two names, five numbers and a question fit any message.
    writer.record(soa.owner.as_name(), soa.rtype, soa.ttl, &soa.rdata, MESSAGE_MAX);
    std::mem::take(writer.finish())
}

/// The identifier, the zone and the code of an answer to a NOTIFY.
fn read_answer(message: &[u8]) -> Option<(u16, NameBuf, Rcode)> {
    let header = message.first_chunk::<HEADER_LEN>()?;
    let flags = u16::from_be_bytes([header[2], header[3]]);
    if flags & QR == 0 || flags & OPCODE_MASK != u16::from(Opcode::NOTIFY.0) << 11 || header[4..6] != [0, 1] {
        return None;
    }
    let mut name = FoldedName::default();
    name.read(message, HEADER_LEN).ok()?;
    Some((u16::from_be_bytes([header[0], header[1]]), NameBuf::from(name.as_name()), Rcode(flags & 0xf)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outgoing::tests::{ZONE, table_of};

    fn setup(key: Option<Arc<Key>>) -> (Notifier, Instant, SocketAddr) {
        let address: SocketAddr = "192.0.2.7:53".parse().unwrap();
        let mut notifier = Notifier::default();
        let now = Instant::now();
        notifier.publish(&table_of(ZONE), &[Target { address, key }], now, &mut || 0x1234);
        (notifier, now, address)
    }

    fn answer_to(message: &[u8], rcode: u8) -> Vec<u8> {
        let mut answer = message[..HEADER_LEN + 9 + 4].to_vec();
        answer[2] |= 0x80;
        answer[3] = rcode;
        answer[6..].first_chunk_mut::<6>().unwrap().fill(0);
        answer
    }

    fn apex() -> NameBuf {
        NameBuf::from_text(b"example.", None).unwrap()
    }

    fn state(notifier: &Notifier) -> State {
        notifier.states(apex().as_name()).unwrap().1[0].1
    }

    #[test]
    fn a_secondary_is_told_until_it_answers() {
        let (mut notifier, now, address) = setup(None);
        let sent = notifier.due(now, 0);
        assert_eq!((sent.len(), sent[0].to), (1, address));
        let message = hickory_proto::op::Message::from_vec(&sent[0].message).unwrap();
        assert_eq!(message.metadata.op_code, hickory_proto::op::OpCode::Notify);
        assert!(message.metadata.authoritative);
        assert_eq!((message.queries.len(), message.answers.len()), (1, 1));
        assert!(notifier.due(now, 0).is_empty());
        assert_eq!(notifier.next_due(), Some(now + FIRST_WAIT));
        let again = notifier.due(now + FIRST_WAIT, 0);
        assert_eq!(again, sent, "the same identifier: an answer to either will do");
        let other: SocketAddr = "192.0.2.8:53".parse().unwrap();
        let answer = answer_to(&sent[0].message, 0);
        assert_eq!(notifier.received(other, &answer, 0), Heard::Nothing);
        let mut wrong = answer.clone();
        wrong[1] ^= 1;
        assert_eq!(notifier.received(address, &wrong, 0), Heard::Nothing);
        assert_eq!(notifier.received(address, &sent[0].message, 0), Heard::Nothing, "no answer");
        for len in 0..answer.len() {
            assert_eq!(notifier.received(address, &answer[..len.min(20)], 0), Heard::Nothing);
        }
        assert_eq!(notifier.received(address, &answer, 0), Heard::Acknowledged);
        assert_eq!((state(&notifier), notifier.next_due()), (State::Acknowledged, None));
        assert_eq!(notifier.received(address, &answer, 0), Heard::Nothing, "once");
        assert_eq!(notifier.again(apex().as_name(), now, &mut || 7), 1);
        assert_eq!(notifier.due(now, 0).len(), 1);
    }

    #[test]
    fn who_never_answers_is_given_up() {
        let (mut notifier, start, _) = setup(None);
        let (mut count, mut end) = (0, start);
        while let Some(due) = notifier.next_due() {
            end = due;
            count += notifier.due(due, 0).len() as u32;
        }
        assert_eq!(end - start, Duration::from_secs(63));
        assert_eq!((count, state(&notifier)), (ATTEMPTS_MAX, State::Silent));
        let counts = Counts { sent: u64::from(ATTEMPTS_MAX), acknowledged: 0, failed: 1 };
        assert_eq!(notifier.counts(), counts);
    }

    #[test]
    fn a_new_serial_is_told_and_the_old_one_is_not_told_again() {
        let (mut notifier, now, address) = setup(None);
        let sent = notifier.due(now, 0);
        notifier.received(address, &answer_to(&sent[0].message, 0), 0);
        let target = Target { address, key: None };
        notifier.publish(&table_of(ZONE), std::slice::from_ref(&target), now, &mut || 9);
        assert!(notifier.due(now, 0).is_empty(), "it knows");
        let changed = table_of(&ZONE.replace("host.mail 7", "host.mail 8"));
        notifier.publish(&changed, std::slice::from_ref(&target), now, &mut || 9);
        assert_eq!(notifier.due(now, 0).len(), 1);
        notifier.publish(&changed, &[], now, &mut || 9);
        assert_eq!(notifier.states(apex().as_name()), None);
    }

    #[test]
    fn an_error_ends_the_attempts_and_a_wrong_signature_does_not() {
        let (mut notifier, now, address) = setup(None);
        let sent = notifier.due(now, 0);
        assert_eq!(notifier.received(address, &answer_to(&sent[0].message, 5), 0), Heard::Refused);
        assert_eq!(state(&notifier), State::Refused(Rcode::REFUSED));
        let name = NameBuf::from_text(b"key.", None).unwrap();
        let key = Arc::new(Key::new(name.as_name(), tsig::Algorithm::Sha256, b"secret").unwrap());
        let (mut notifier, now, address) = setup(Some(Arc::clone(&key)));
        let sent = notifier.due(now, 1000);
        assert_eq!(notifier.received(address, &answer_to(&sent[0].message, 0), 1000), Heard::Nothing);
        assert_eq!(state(&notifier), State::Waiting(1));
        let keys = tsig::Keys::new(vec![key]);
        let authenticated = tsig::verify_request(&sent[0].message, &keys, 1000).unwrap().unwrap();
        let mut answer = answer_to(&authenticated.request, 0);
        authenticated.signer().sign(&mut answer, 1000);
        assert_eq!(notifier.received(address, &answer, 1000), Heard::Acknowledged);
    }

    #[test]
    fn many_zones_go_in_bursts() {
        let (mut notifier, now, address) = setup(None);
        let targets: Vec<Target> = (0..BURST_MAX as u16 + 5)
            .map(|port| Target { address: SocketAddr::new(address.ip(), 1 + port), key: None })
            .collect();
        notifier.publish(&table_of(&ZONE.replace(" 7 3600", " 8 3600")), &targets, now, &mut || 1);
        assert_eq!(notifier.due(now, 0).len(), BURST_MAX);
        assert_eq!(notifier.next_due(), Some(now));
        assert_eq!(notifier.due(now, 0).len(), 5);
    }
}
