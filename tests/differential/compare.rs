//! Asking all servers the same and judging the answers.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::thread;

use anyhow::{Context, Result};
use starling_tests::client;
use starling_tests::message::{Message, QR, Record, TC};
use starling_tests::name::Name;
use starling_tests::normalise::{Normal, normalise};
use starling_tests::rdata::type_name;
use starling_tests::server::{Kind, Server};
use starling_tests::zonedata::Zones;

use crate::cases::{PROFILES, Profile, Question, Transport};
use crate::disputes::{Disputed, cause};

/// Questions asked between two comparisons: bounds memory to some 100 MB of answers.
const CHUNK_LEN: usize = 2048;
const TYPE_CNAME: u16 = 5;
const TYPE_HINFO: u16 = 13;
const TYPE_DS: u16 = 43;
const TYPE_RRSIG: u16 = 46;
const TYPE_NSEC: u16 = 47;
const TYPE_NSEC3: u16 = 50;
const TYPE_ANY: u16 = 255;

/// What came of a comparison.
#[derive(Default)]
pub(crate) struct Outcome {
    /// Queries asked of each server.
    pub(crate) asked: usize,
    /// Queries all peers answered alike.
    pub(crate) peers_agree: usize,
    /// Queries on which the peers differ, by kind of difference.
    pub(crate) disputes: BTreeMap<String, Dispute>,
    /// Queries Starling answered wrong by kind of fault: how many, and the first in full.
    failures: BTreeMap<String, (usize, String)>,
    /// How many there were, printed or not.
    pub(crate) failure_count: usize,
}

/// A kind of difference among the peers.
#[derive(Default)]
pub(crate) struct Dispute {
    cause: Option<&'static str>,
    count: usize,
    /// Whom Starling sides with, and how often.
    sides: BTreeMap<String, usize>,
    query: String,
    answers: String,
}

impl Outcome {
    fn dispute(
        &mut self,
        kind: String,
        query: impl Fn() -> String,
        peers: &[(Kind, Answer)],
    ) -> &mut Dispute {
        let dispute = self.disputes.entry(kind).or_default();
        dispute.count += 1;
        if dispute.count == 1 {
            dispute.query = query();
            for (kind, answer) in peers {
                write!(dispute.answers, "  {kind} ({} octets): {}", answer.bytes.len(), answer.message)
                    .expect("a String takes all");
            }
        }
        dispute
    }

    fn fail(&mut self, kind: String, text: impl FnOnce() -> String) {
        self.failure_count += 1;
        self.failures.entry(kind).or_insert_with(|| (0, text())).0 += 1;
    }

    /// So many kinds of failures, the most frequent first, with the first example of each.
    pub(crate) fn failures(&self, shown_max: usize) -> String {
        let mut kinds: Vec<_> = self.failures.iter().collect();
        kinds.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
        let mut text = String::new();
        for (kind, (count, example)) in kinds.iter().take(shown_max) {
            writeln!(text, "{count} × {kind}, the first of them:\n{example}").expect("a String takes all");
        }
        if let Some(rest) = kinds.len().checked_sub(shown_max).filter(|rest| *rest > 0) {
            writeln!(text, "and {rest} more kinds").expect("a String takes all");
        }
        text
    }

    /// One line of numbers, one for each cause of disputes among the peers, and the disputes without a cause.
    pub(crate) fn summary(&self, title: &str) -> String {
        let share = 100.0 * self.peers_agree as f64 / self.asked.max(1) as f64;
        let mut text =
            format!("{title}: {} queries, peers agree on {} ({share:.2} %)", self.asked, self.peers_agree);
        let mut causes: BTreeMap<&str, (usize, BTreeMap<&str, usize>)> = BTreeMap::new();
        for (kind, dispute) in &self.disputes {
            let Some(cause) = dispute.cause else {
                write!(text, "\n  {:6} UNEXPLAINED: {kind} (e.g. {})", dispute.count, dispute.query)
                    .expect("a String takes all");
                continue;
            };
            let (count, sides) = causes.entry(cause).or_default();
            *count += dispute.count;
            for (side, times) in &dispute.sides {
                *sides.entry(side).or_default() += times;
            }
        }
        let mut causes: Vec<_> = causes.into_iter().collect();
        causes.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
        for (cause, (count, sides)) in causes {
            let short = cause.split(':').next().unwrap_or(cause);
            let sides: Vec<String> = sides.iter().map(|(side, times)| format!("{times} {side}")).collect();
            write!(text, "\n  {count:6} {short}; Starling as {}", sides.join(", "))
                .expect("a String takes all");
        }
        text
    }

    /// One example of each kind of dispute with its cause and the peers' answers in full.
    pub(crate) fn examples(&self) -> String {
        let example = |(kind, dispute): (&String, &Dispute)| {
            let cause = dispute.cause.unwrap_or("UNEXPLAINED");
            let sides = &dispute.sides;
            format!(
                "{} × {kind}\n{cause}\nStarling as {sides:?}\n{}\n{}\n",
                dispute.count, dispute.query, dispute.answers
            )
        };
        self.disputes.iter().map(example).collect()
    }
}

/// One server's answer to one query.
pub(crate) struct Answer {
    bytes: Vec<u8>,
    /// As it came.
    pub(crate) message: Message,
    /// Without the differences that are allowed.
    pub(crate) normal: Normal,
}

impl Answer {
    /// Whether TC is on.
    pub(crate) fn truncated(&self) -> bool {
        self.message.has(TC)
    }
}

type Raw = Vec<Option<Vec<u8>>>;

/// Asks every server every question in every profile and judges.
pub(crate) fn compare(servers: &[Server], questions: &[Question], zones: &Zones) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let truth: HashSet<&Record> = zones.records.values().flatten().collect();
    let apexes: Vec<Name> = zones.records.keys().cloned().collect();
    for chunk in questions.chunks(CHUNK_LEN) {
        let raw: Vec<(Kind, Vec<Raw>)> = thread::scope(|scope| {
            let running: Vec<_> = servers
                .iter()
                .map(|server| (server.kind, server.address))
                .map(|(kind, address)| (kind, scope.spawn(move || ask(address, chunk))))
                .collect();
            let join = |(kind, thread): (Kind, thread::ScopedJoinHandle<'_, Result<Vec<Raw>>>)| {
                let raw = thread.join().expect("asking does not panic").with_context(|| kind.to_string())?;
                Ok((kind, raw))
            };
            running.into_iter().map(join).collect::<Result<_>>()
        })?;
        for (at, question) in chunk.iter().enumerate() {
            let mut ours = Vec::new();
            for (index, profile) in PROFILES.iter().enumerate() {
                let answers: Vec<(Kind, Option<&Vec<u8>>)> =
                    raw.iter().map(|(kind, raw)| (*kind, raw[index][at].as_ref())).collect();
                ours.extend(
                    judge(&mut outcome, question, *profile, &answers, &truth, &apexes)
                        .map(|answer| (profile, answer)),
                );
            }
            whole_or_truncated(&mut outcome, question, &ours);
        }
    }
    Ok(outcome)
}

/// Answers by profile, then by question.
fn ask(server: SocketAddr, questions: &[Question]) -> Result<Vec<Raw>> {
    let queries = |profile: &Profile| -> Vec<Vec<u8>> {
        questions.iter().map(|question| question.query(*profile).bytes(0)).collect()
    };
    PROFILES
        .iter()
        .map(|profile| match profile.transport {
            Transport::Udp => client::udp(server, &queries(profile)),
            Transport::Tcp => client::tcp(server, &queries(profile)),
        })
        .collect()
}

/// Compares the answers to one query; hands back ours.
fn judge(
    outcome: &mut Outcome,
    question: &Question,
    profile: Profile,
    raw: &[(Kind, Option<&Vec<u8>>)],
    truth: &HashSet<&Record>,
    apexes: &[Name],
) -> Option<Answer> {
    outcome.asked += 1;
    let describe = || format!("{} {:?}", question.query(profile), profile.transport);
    let mut peers: Vec<(Kind, Answer)> = Vec::new();
    let mut ours = None;
    for (kind, bytes) in raw {
        match (*kind, read(question, profile, bytes.map(Vec::as_slice))) {
            (Kind::Starling, Ok(answer)) => ours = Some(answer),
            (Kind::Starling, Err(error)) => {
                outcome.fail(format!("unusable answer: {error:#}"), || format!("{}\n", describe()));
            }
            (peer, Ok(answer)) => peers.push((peer, answer)),
            (peer, Err(error)) => {
                outcome.dispute(format!("{peer} has no usable answer: {error:#}"), describe, &[]);
            }
        }
    }
    let groups = partition(&peers);
    if groups.len() <= 1 && peers.len() == Kind::PEERS.len() {
        outcome.peers_agree += 1;
    } else if groups.len() > 1 {
        let kind = kind_of_dispute(&peers, &groups, question);
        let cause = cause(&Disputed { question, peers: &peers, apexes });
        // A kind of two causes is listed as two.
        let kind = cause
            .map_or(kind.clone(), |cause| format!("{kind} [{}]", cause.split(':').next().unwrap_or(cause)));
        let dispute = outcome.dispute(kind, describe, &peers);
        dispute.cause = cause;
        if let Some(ours) = &ours {
            *dispute.sides.entry(side(ours, &peers)).or_default() += 1;
        }
    }
    let answer = ours.as_ref()?;
    if let Some(fault) = verdict(answer, &peers, profile).or_else(|| untrue(answer, question, &peers, truth))
    {
        let kind = format!("{fault}{}", subject(answer, &peers, question));
        outcome.fail(kind, || report(&describe(), answer, &peers));
    }
    ours
}

/// RFC 2181 §9: what comes over UDP without TC has to be all that comes over TCP.
fn whole_or_truncated(outcome: &mut Outcome, question: &Question, ours: &[(&Profile, Answer)]) {
    if question.qtype == TYPE_ANY {
        // RFC 8482 §4.1 allows less over UDP than over TCP.
        return;
    }
    for (profile, answer) in ours.iter().filter(|(profile, _)| profile.transport == Transport::Udp) {
        let whole = ours
            .iter()
            .find(|(other, _)| other.transport == Transport::Tcp && other.dnssec_ok == profile.dnssec_ok);
        if let Some((_, whole)) = whole
            && !answer.truncated()
            && answer.normal != whole.normal
        {
            outcome.fail(format!("TC is off but TCP gives more, {}", type_kind(question.qtype)), || {
                let (query, answer, whole) = (question.query(**profile), &answer.message, &whole.message);
                format!("{query}\n  UDP: {answer}  TCP: {whole}")
            });
        }
    }
}

/// What is not true in our answer, for the parts that the comparison with the peers leaves out.
fn untrue(
    ours: &Answer,
    question: &Question,
    peers: &[(Kind, Answer)],
    truth: &HashSet<&Record>,
) -> Option<String> {
    let message = &ours.message;
    for section in [&message.answer, &message.authority, &message.additional] {
        let mut seen = HashSet::new();
        if let Some(twice) = section.iter().find(|record| !seen.insert(*record)) {
            return Some(format!("{} record twice (RFC 2181 §5)", type_name(twice.rtype)));
        }
    }
    if let Some(invented) = message.additional.iter().find(|record| !truth.contains(record)) {
        return Some(format!("additional {} record that no zone has", type_name(invented.rtype)));
    }
    if question.qtype != TYPE_ANY || ours.truncated() {
        return None;
    }
    let (_, complete) = peers.iter().find(|(kind, peer)| *kind == Kind::Bind && !peer.truncated())?;
    let made_up = message.answer.iter().find(|record| {
        // RFC 4034 §3: signatures have the TTL of their set, which BIND does not see to.
        let is_it = |its: &Record| *its == Record { ttl: its.ttl, ..(*record).clone() };
        let is_there = match record.rtype {
            TYPE_RRSIG => complete.message.answer.iter().any(is_it),
            _ => complete.message.answer.contains(record),
        };
        // RFC 8482 §4.2: a HINFO record in place of the sets.
        record.rtype != TYPE_HINFO && !is_there
    })?;
    // BIND does not follow a DNAME for ANY; then there is nothing to hold ours against.
    let followed = complete.message.answer.iter().any(|record| record.rtype == TYPE_CNAME);
    (!followed)
        .then(|| format!("ANY with a {} record that BIND's complete answer lacks", type_name(made_up.rtype)))
}

/// Why our answer is wrong, if it is.
fn verdict(ours: &Answer, peers: &[(Kind, Answer)], profile: Profile) -> Option<String> {
    let whole: Vec<&Answer> =
        peers.iter().map(|(_, answer)| answer).filter(|answer| !answer.truncated()).collect();
    if ours.truncated() {
        return (whole.len() == peers.len() && !peers.is_empty())
            .then(|| "truncated where no peer truncates".to_owned());
    }
    // Fits where a peer's answer did not: legal (better compression, no courtesy records). That the content
    // is right shows over TCP, and that nothing was left out in `whole_or_truncated`.
    let same = |peer: &&Answer| {
        let room_is_short = profile.transport == Transport::Udp;
        peer.normal == ours.normal || (room_is_short && ours.normal.is_with_more_glue(&peer.normal))
    };
    if whole.is_empty() || whole.iter().any(same) {
        return None;
    }
    Some(if whole.windows(2).all(|pair| pair[0].normal == pair[1].normal) {
        "differs from all peers, who agree".to_owned()
    } else {
        "differs from every peer".to_owned()
    })
}

/// Reads an answer and checks what has to hold for any answer of any server.
fn read(question: &Question, profile: Profile, bytes: Option<&[u8]>) -> Result<Answer> {
    let bytes = bytes.context("no answer")?;
    let message = Message::decode(bytes)?;
    anyhow::ensure!(message.has(QR), "QR is off");
    let sent = question.query(profile).bytes(0);
    let question_len = question.name.wire().len() + 4;
    anyhow::ensure!(message.question == sent[12..12 + question_len], "question is not the one asked");
    anyhow::ensure!(message.opt.is_some() == profile.size.is_some(), "OPT record not as in the query");
    if profile.transport == Transport::Udp {
        let limit = usize::from(profile.size.unwrap_or(512).clamp(512, 1232));
        anyhow::ensure!(bytes.len() <= limit, "{} octets where {limit} are allowed", bytes.len());
    } else {
        anyhow::ensure!(!message.has(TC), "truncated over TCP");
    }
    let normal = normalise(&message, &question.name, question.qtype);
    Ok(Answer { bytes: bytes.to_vec(), message, normal })
}

/// Peers in groups of equal answers; a truncated answer equals every other truncated one.
fn partition(peers: &[(Kind, Answer)]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (at, (_, answer)) in peers.iter().enumerate() {
        let same = |other: &Answer| match (answer.truncated(), other.truncated()) {
            (true, true) => true,
            (false, false) => answer.normal == other.normal,
            _ => false,
        };
        match groups.iter_mut().find(|group| same(&peers[group[0]].1)) {
            Some(group) => group.push(at),
            None => groups.push(vec![at]),
        }
    }
    groups
}

/// The peers whose answer ours equals.
fn side(ours: &Answer, peers: &[(Kind, Answer)]) -> String {
    let with = |peer: &Answer| match (ours.truncated(), peer.truncated()) {
        (true, true) => true,
        (false, false) => ours.normal == peer.normal,
        _ => false,
    };
    let names: Vec<String> =
        peers.iter().filter(|(_, peer)| with(peer)).map(|(kind, _)| kind.to_string()).collect();
    match (names.is_empty(), ours.truncated()) {
        (false, _) => names.join("="),
        (true, true) => "nobody (TC)".to_owned(),
        (true, false) => "nobody".to_owned(),
    }
}

/// A name for what the peers differ in.
fn kind_of_dispute(peers: &[(Kind, Answer)], groups: &[Vec<usize>], question: &Question) -> String {
    let sides: Vec<String> = groups
        .iter()
        .map(|group| group.iter().map(|at| peers[*at].0.to_string()).collect::<Vec<_>>().join("="))
        .collect();
    let first = &peers[groups[0][0]].1;
    let mut parts = Vec::new();
    for group in &groups[1..] {
        let other = &peers[group[0]].1;
        if first.truncated() != other.truncated() {
            parts.push("tc".to_owned());
            continue;
        }
        parts.extend(first.normal.differing(&other.normal));
    }
    parts.dedup();
    format!("{} in {} for {}", sides.join(" | "), parts.join(" "), type_kind(question.qtype))
}

/// What a fault is about, so that faults with one cause are counted together.
fn subject(ours: &Answer, peers: &[(Kind, Answer)], question: &Question) -> String {
    let mut text = String::new();
    let whole = peers.iter().find(|(_, peer)| !peer.truncated() && !ours.truncated());
    if let Some((_, peer)) = whole.filter(|(_, peer)| peer.normal != ours.normal) {
        let differing = ours.normal.differing(&peer.normal);
        write!(text, ", {}", differing.join(" ")).expect("a String takes all");
    }
    write!(text, ", {}", type_kind(question.qtype)).expect("a String takes all");
    text
}

/// The types that are answered by rules of their own, and all others.
fn type_kind(qtype: u16) -> String {
    match qtype {
        TYPE_DS | TYPE_RRSIG | TYPE_NSEC | TYPE_NSEC3 | TYPE_ANY => type_name(qtype),
        _ => "other types".to_owned(),
    }
}

/// A difference as text: our answer in full, and of each peer what it has more and less.
fn report(query: &str, ours: &Answer, peers: &[(Kind, Answer)]) -> String {
    let mut text = format!("{query}\n  starling ({} octets): {}", ours.bytes.len(), ours.message);
    for (kind, peer) in peers {
        write!(text, "  {kind} ({} octets): {}", peer.bytes.len(), first_line(&peer.message))
            .expect("a String");
        let (theirs, own) = (&peer.normal, &ours.normal);
        for (title, theirs, own) in [
            ("answer", &theirs.answer, &own.answer),
            ("authority", &theirs.authority, &own.authority),
            ("glue", &theirs.glue, &own.glue),
        ] {
            difference(&mut text, title, theirs, own);
        }
    }
    text
}

fn difference(text: &mut String, title: &str, theirs: &[Record], ours: &[Record]) {
    for record in theirs.iter().filter(|record| !ours.contains(record)) {
        writeln!(text, "    + {title}: {record}").expect("a String takes all");
    }
    for record in ours.iter().filter(|record| !theirs.contains(record)) {
        writeln!(text, "    - {title}: {record}").expect("a String takes all");
    }
}

fn first_line(message: &Message) -> String {
    let text = message.to_string();
    format!("{}\n", text.lines().next().unwrap_or_default())
}
