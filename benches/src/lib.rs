//! Inputs that the benches share: zones of a given size, and queries for them.

use nameserver::Batch;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use table::publish::{Directory, Publisher, SlotIndex};
use table::{SourceStamp, Table};
use wire::{Name, NameBuf, RecordType};
use zone::master::NoIncludes;

/// A hosting zone: `hosts` names with an address, every tenth with an IPv6 address, every twentieth an alias.
pub fn hosts_zone(hosts: usize) -> String {
    let mut text = String::from(
        "$TTL 3600\n@ IN SOA ns1 host 1 7200 3600 1209600 300\n@ IN NS ns1\n@ IN NS ns2\nns1 IN A 192.0.2.1\nns2 IN A 192.0.2.2\n",
    );
    for i in 0..hosts {
        let (a, b, c) = (i >> 16 & 255, i >> 8 & 255, i & 255);
        // `write!` to a string cannot fail.
        let _ = writeln!(text, "host{i} IN A 10.{a}.{b}.{c}");
        if i % 10 == 0 {
            let _ = writeln!(text, "host{i} IN AAAA 2001:db8::{:x}:{c:x}", i >> 8);
        }
        if i % 20 == 0 {
            let _ = writeln!(text, "alias{i} IN CNAME host{i}");
        }
    }
    text
}

/// A zone like the root: `delegations` names with two servers, glue, and a DS record each.
pub fn delegations_zone(delegations: usize) -> String {
    let mut text = String::from(
        "$TTL 86400\n@ IN SOA ns1 host 1 7200 3600 1209600 300\n@ IN NS ns1\n@ IN NS ns2\nns1 IN A 192.0.2.1\nns2 IN A 192.0.2.2\n",
    );
    for i in 0..delegations {
        let (c, high, low) = (i & 255, i >> 16, i & 0xffff);
        let _ = writeln!(
            text,
            "tld{i} IN NS a.nic.tld{i}\ntld{i} IN NS b.nic.tld{i}\ntld{i} IN DS {} 13 2 {:064x}\n\
             a.nic.tld{i} IN A 192.0.2.{c}\na.nic.tld{i} IN AAAA 2001:db8::{high:x}:{low:x}\n\
             b.nic.tld{i} IN A 198.51.100.{c}\nb.nic.tld{i} IN AAAA 2001:db8:1::{high:x}:{low:x}",
            i & 0xffff,
            i
        );
    }
    text
}

/// The zone of [`delegations_zone`] signed in form: an NSEC chain, and a signature of the size that ECDSA P-256 gives
/// over each set that has authority. The signatures are octets of no meaning; nothing here verifies them.
pub fn signed_delegations_zone(apex: &str, delegations: usize) -> String {
    let mut text = delegations_zone(delegations);
    let signature = "AAAA".repeat(21) + "AA==";
    let mut sign = |owner: &str, covered: &str, labels: usize| {
        let _ = writeln!(
            text,
            "{owner} IN RRSIG {covered} 13 {labels} 86400 20380101000000 20260101000000 4711 {apex}. {signature}"
        );
    };
    for covered in ["SOA", "NS", "NSEC"] {
        sign("@", covered, 1);
    }
    for host in ["ns1", "ns2"] {
        sign(host, "A", 2);
        sign(host, "NSEC", 2);
    }
    for i in 0..delegations {
        sign(&format!("tld{i}"), "DS", 2);
        sign(&format!("tld{i}"), "NSEC", 2);
    }
    // Canonical order of these names is that of their text.
    let mut names: Vec<String> = (0..delegations).map(|i| format!("tld{i}")).collect();
    names.extend(["ns1".to_owned(), "ns2".to_owned()]);
    names.sort();
    let nexts = names.iter().skip(1).map(String::as_str).chain(["@"]);
    let _ = writeln!(text, "@ IN NSEC {} NS SOA RRSIG NSEC", names[0]);
    for (name, next) in names.iter().zip(nexts) {
        let types = if name.starts_with("ns") { "A RRSIG NSEC" } else { "NS DS RRSIG NSEC" };
        let _ = writeln!(text, "{name} IN NSEC {next} {types}");
    }
    text
}

/// Reads and compiles a zone.
///
/// # Panics
/// When the text is no good zone.
pub fn compiled(apex: &str, text: &str) -> Table {
    let apex = name(apex);
    let reading = zone::read(apex.as_name(), "bench", text.as_bytes(), &mut NoIncludes, &mut |_| ());
    let problems: Vec<String> = reading.problems.iter().map(ToString::to_string).collect();
    let zone = reading.zone.unwrap_or_else(|| panic!("{}", problems.join("\n")));
    let options = zone::CompileOptions { rotate: true, source: SourceStamp::default() };
    zone::compile(zone, &options).expect("the zone passed its checks")
}

/// A responder for one table, as a worker has it: with somebody who may want samples.
pub fn responder(table: Arc<Table>) -> nameserver::Responder {
    responder_with(table, nameserver::Settings::default())
}

/// The same with these settings.
pub fn responder_with(table: Arc<Table>, settings: nameserver::Settings) -> nameserver::Responder {
    let mut publisher = Publisher::new();
    let directory = Directory::new([(table.apex_name(), SlotIndex(0))]);
    publisher.publish(SlotIndex(0), Some(table));
    publisher.publish_directory(directory);
    let seat = wire::probe::Seat::UdpWorker(0);
    let responder = nameserver::Responder::new(publisher.reader(), Arc::new(settings), Arc::default(), seat);
    responder.sampled(Arc::default())
}

/// Queries in a batch.
pub const BATCH_LEN: usize = 32;

/// A batch of one query so many times over, each with a place for its response.
pub struct SameQuery {
    query: Vec<u8>,
    len: usize,
    responses: Vec<(usize, Vec<u8>, Option<IpAddr>)>,
}

impl SameQuery {
    /// A full batch of this query.
    pub fn new(query: &[u8]) -> SameQuery {
        let client = Some(Ipv4Addr::LOCALHOST.into());
        let response = (0, vec![0; nameserver::UDP_RESPONSE_MAX], client);
        SameQuery { query: query.to_vec(), len: BATCH_LEN, responses: vec![response; BATCH_LEN] }
    }

    /// Makes it a batch of so many, at most [`BATCH_LEN`].
    pub fn set_len(&mut self, len: usize) {
        self.len = len.min(BATCH_LEN);
    }

    /// Has these clients send them, as many as there are.
    pub fn set_clients(&mut self, clients: &[IpAddr]) {
        for ((.., of_query), client) in self.responses.iter_mut().zip(clients) {
            *of_query = Some(*client);
        }
    }

    /// What the first one was answered.
    pub fn response(&self) -> &[u8] {
        let (len, octets, _) = &self.responses[0];
        &octets[..*len]
    }
}

impl Batch for SameQuery {
    type Client<'c> = Option<IpAddr>;

    fn len(&self) -> usize {
        self.len
    }

    fn query(&self, _index: usize) -> &[u8] {
        &self.query
    }

    fn reply(&mut self, index: usize, answer: impl FnOnce(&[u8], &Self::Client<'_>, &mut [u8]) -> usize) {
        let (len, octets, client) = &mut self.responses[index];
        *len = answer(&self.query, client, octets);
    }
}

/// A query; its OPT record, if it has one, is of 1,232 octets.
pub fn query(qname: &str, qtype: RecordType, edns: Edns) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns != Edns::None)];
    bytes.extend_from_slice(name(qname).as_name().as_wire());
    bytes.extend(qtype.0.to_be_bytes());
    bytes.extend([0, 1]);
    if edns != Edns::None {
        let flags = if edns == Edns::Dnssec { 0x80 } else { 0 };
        let options: &[u8] = if edns == Edns::Subnet { &SUBNET } else { &[] };
        bytes.extend([0, 0, 41, 4, 208, 0, 0, flags, 0, 0, options.len() as u8]);
        bytes.extend_from_slice(options);
    }
    bytes
}

/// The option of a client in 192.0.2.0/24.
const SUBNET: [u8; 11] = [0, 8, 0, 7, 0, 1, 24, 0, 192, 0, 2];

/// Which OPT record a query has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Edns {
    /// None.
    None,
    /// One without DO.
    Plain,
    /// One with DO.
    Dnssec,
    /// One without DO, with a client subnet.
    Subnet,
}

/// A name.
///
/// # Panics
/// When the text is none.
pub fn name(text: &str) -> NameBuf {
    NameBuf::from_text(text.as_bytes(), Some(Name::ROOT)).expect("a name of this file")
}
