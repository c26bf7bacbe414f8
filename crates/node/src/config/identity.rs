//! Which check it is, on any node: nodes go by each other where they ask the same of an endpoint and believe it by the
//! same rules.

use super::DnsTransport;
use super::load::{LoadConfig, Measure};
use super::probe::{
    DnsProbe, EndpointTls, GrpcProbe, HttpProbe, HttpVersion, Method, PoolCheck, Probe, StateFile,
};
use std::fmt;

/// Which check it is, on any node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct CheckId(pub(crate) [u8; 16]);

impl fmt::Display for CheckId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// What makes a check what it is. Nodes of several versions have to agree on it: what is added later is written only where
/// it is not as it was before there was a choice.
struct Identity(blake3::Hasher);

impl Identity {
    fn add(&mut self, octets: &[u8]) {
        self.0.update(&(octets.len() as u64).to_be_bytes());
        self.0.update(octets);
    }

    fn number(&mut self, number: u64) {
        self.add(&number.to_be_bytes());
    }

    /// What may be missing; what is empty is something else.
    fn maybe(&mut self, octets: Option<&[u8]>) {
        self.number(u64::from(octets.is_some()));
        self.add(octets.unwrap_or_default());
    }

    fn text(&mut self, text: Option<&str>) {
        self.maybe(text.map(str::as_bytes));
    }
}

impl PoolCheck {
    /// Which check it is. From where and how often a node looks is for each to choose.
    pub(crate) fn identity(&self) -> CheckId {
        let PoolCheck { probe, port, sources: _, interval: _, jitter_percent: _, timeout, rise, fall, load } =
            self;
        let mut identity = Identity(blake3::Hasher::new());
        for number in [u64::from(*port), timeout.as_millis() as u64, u64::from(*rise), u64::from(*fall)] {
            identity.number(number); // no check takes 2^64 milliseconds
        }
        identity.add(probe.word().as_bytes());
        match probe {
            Probe::Tcp | Probe::Icmp => {}
            Probe::Tls(tls) => add_tls(&mut identity, Some(tls)),
            Probe::Http(http) => add_http(&mut identity, http),
            Probe::Dns(dns) => add_dns(&mut identity, dns),
            Probe::Grpc(grpc) => {
                let GrpcProbe { service, host, tls } = &**grpc;
                identity.add(service.as_bytes());
                identity.text(host.as_deref());
                add_tls(&mut identity, tls.as_ref());
            }
            Probe::Exec(command) => command.iter().for_each(|word| identity.add(word.as_bytes())),
            Probe::File(StateFile { path, age_max, names: _ }) => {
                identity.add(path.as_os_str().as_encoded_bytes());
                identity.number(age_max.map_or(u64::MAX, |age| age.as_secs()));
            }
        }
        // Of all that loads are found out from, an agent alone says whether an endpoint is good.
        if let Some(LoadConfig { measure: Measure::Agent { port }, .. }) = load {
            identity.add(b"agent");
            identity.number(u64::from(*port));
        }
        let mut id = [0; 16];
        id.copy_from_slice(&identity.0.finalize().as_bytes()[..16]);
        CheckId(id)
    }
}

fn add_http(identity: &mut Identity, http: &HttpProbe) {
    let HttpProbe { version, method, host, path, statuses, headers, contains, tls } = http;
    identity.number(match version {
        HttpVersion::One => 1,
        HttpVersion::Two => 2,
    });
    identity.add(match method {
        Method::Get => b"GET",
        Method::Head => b"HEAD",
    });
    identity.text(host.as_deref());
    identity.add(path.as_bytes());
    identity.number(statuses.len() as u64);
    statuses.iter().for_each(|status| identity.number(u64::from(*status)));
    identity.number(headers.len() as u64);
    for (name, value) in headers {
        identity.add(name.as_str().as_bytes());
        identity.text(value.as_deref());
    }
    identity.text(contains.as_deref());
    add_tls(identity, tls.as_ref());
}

fn add_dns(identity: &mut Identity, dns: &DnsProbe) {
    let DnsProbe { name, rtype, transport, recursion, rcode, authoritative, answer } = dns;
    identity.add(name.as_name().as_wire());
    identity.add(match transport {
        DnsTransport::Udp => b"udp",
        DnsTransport::Tcp => b"tcp",
    });
    let numbers = [u64::from(rtype.0), u64::from(rcode.0), u64::from(*recursion), u64::from(*authoritative)];
    numbers.into_iter().for_each(|number| identity.number(number));
    identity.maybe(answer.as_deref());
}

fn add_tls(identity: &mut Identity, tls: Option<&EndpointTls>) {
    let Some((name, valid_days, proof)) = tls.map(EndpointTls::identity) else {
        identity.maybe(None);
        return;
    };
    identity.maybe(Some(&proof));
    identity.text(name.as_deref());
    identity.number(valid_days.map_or(u64::MAX, u64::from));
}
