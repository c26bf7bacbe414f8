//! Checks of endpoints as they are configured: what is asked of them, and what is a good answer.

use super::load::LoadConfig;
use super::sources::Sources;
use super::tls::{Proof, client};
use hyper::header::HeaderName;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use wire::{NameBuf, Rcode, RecordType};

/// How much shorter an interval may be by chance where nothing is said, in percent: as much spreads looks that began together.
pub(crate) const JITTER_PERCENT: u32 = 5;

/// How endpoints are checked.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct PoolCheck {
    /// What is asked.
    pub(crate) probe: Probe,
    /// At which port; 0 where what is asked has none.
    pub(crate) port: u16,
    /// From which addresses.
    pub(crate) sources: Sources,
    /// How often.
    pub(crate) interval: Duration,
    /// How much shorter an interval may be by chance, in percent.
    pub(crate) jitter_percent: u32,
    /// How long an answer may take.
    pub(crate) timeout: Duration,
    /// How many good results in a row make an endpoint good.
    pub(crate) rise: u32,
    /// How many bad results in a row make it bad.
    pub(crate) fall: u32,
    /// How the load of an endpoint is found out meanwhile.
    pub(crate) load: Option<LoadConfig>,
}

/// What is asked of an endpoint.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Probe {
    /// To accept a TCP connection.
    Tcp,
    /// To show over TLS who it is.
    Tls(EndpointTls),
    /// To answer a request for a page.
    Http(Box<HttpProbe>),
    /// To answer a DNS query.
    Dns(Box<DnsProbe>),
    /// To answer an ICMP echo request.
    Icmp,
    /// To say of a service that it serves, by the health protocol of gRPC.
    Grpc(Box<GrpcProbe>),
    /// A command has to find it good: the program, and its arguments.
    Exec(Vec<String>),
    /// A file has to say so.
    File(StateFile),
}

impl Probe {
    /// Whether the node itself asks the endpoint.
    pub(crate) fn asks(&self) -> bool {
        !matches!(self, Probe::Exec(_) | Probe::File(_))
    }

    /// The word for its kind in the configuration and in metrics.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Probe::Tcp => "tcp",
            Probe::Tls(_) => "tls",
            Probe::Http(http) if http.tls.is_some() => "https",
            Probe::Http(_) => "http",
            Probe::Dns(_) => "dns",
            Probe::Icmp => "icmp",
            Probe::Grpc(_) => "grpc",
            Probe::Exec(_) => "exec",
            Probe::File(_) => "file",
        }
    }
}

/// The versions of HTTP.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum HttpVersion {
    /// HTTP/1.1 (RFC 9112).
    One,
    /// HTTP/2 (RFC 9113): agreed upon over TLS, and with prior knowledge in clear text (§3.3).
    Two,
}

/// How a page is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Method {
    /// With its body.
    Get,
    /// Without.
    Head,
}

/// A request for a page, and what is a good answer.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct HttpProbe {
    pub(crate) version: HttpVersion,
    pub(crate) method: Method,
    /// What the request says the host is; the address where there is none.
    pub(crate) host: Option<String>,
    /// The path, which begins with a slash.
    pub(crate) path: String,
    /// The status codes that are good.
    pub(crate) statuses: Vec<u16>,
    /// The fields that the head has to have, and their values where that matters.
    pub(crate) headers: Vec<(HeaderName, Option<String>)>,
    /// What the first octets of the body have to contain.
    pub(crate) contains: Option<String>,
    /// How it shows who it is, over TLS.
    pub(crate) tls: Option<EndpointTls>,
}

/// What DNS messages are sent over.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum DnsTransport {
    Udp,
    Tcp,
}

/// A DNS query, and what is a good answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct DnsProbe {
    pub(crate) name: NameBuf,
    pub(crate) rtype: RecordType,
    pub(crate) transport: DnsTransport,
    /// Whether recursion is asked for.
    pub(crate) recursion: bool,
    pub(crate) rcode: Rcode,
    /// Whether the answer has to be with authority.
    pub(crate) authoritative: bool,
    /// The data that a record of the type has to have in the answer: uncompressed, in canonical form.
    pub(crate) answer: Option<Vec<u8>>,
}

impl Hash for DnsProbe {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.name.as_name().as_wire(), self.rtype, &self.answer).hash(state);
    }
}

/// A service whose health is asked for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct GrpcProbe {
    /// Its name; empty for the server as a whole.
    pub(crate) service: String,
    /// What the request says the host is; the address where there is none.
    pub(crate) host: Option<String>,
    /// How it shows who it is, over TLS.
    pub(crate) tls: Option<EndpointTls>,
}

/// A file that says how endpoints are.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct StateFile {
    pub(crate) path: PathBuf,
    /// How long after it was written it is believed.
    pub(crate) age_max: Option<Duration>,
    /// How the endpoints are called whose addresses these are.
    pub(crate) names: Vec<(IpAddr, String)>,
}

/// How an endpoint shows over TLS who it is.
#[derive(Clone)]
pub(crate) struct EndpointTls {
    server_name: Option<ServerName<'static>>,
    /// For how many days more its certificate has to be valid, if that is looked at beside what the proof is.
    pub(crate) valid_days: Option<u32>,
    client: Arc<ClientConfig>,
    /// Stands for the proof and the protocols: comparing all authorities of a system each time would take a millisecond.
    digest: [u8; blake3::OUT_LEN],
    /// Whether the proof is whatever the system takes for one: other systems may have other authorities.
    is_of_system: bool,
}

impl EndpointTls {
    /// TLS 1.2 or 1.3 with endpoints; a server without a name is called by its address.
    pub(crate) fn new(
        server_name: Option<ServerName<'static>>,
        valid_days: Option<u32>,
        clients: &TlsClient,
    ) -> EndpointTls {
        let TlsClient { client, digest } = clients.clone();
        EndpointTls { server_name, valid_days, client, digest, is_of_system: false }
    }

    /// The same, by authorities that are those of the system.
    pub(crate) fn by_the_system(self) -> EndpointTls {
        EndpointTls { is_of_system: true, ..self }
    }

    /// What is the same on all nodes that take the same for a proof: its name, days, and what stands for it.
    pub(super) fn identity(&self) -> (Option<String>, Option<u32>, [u8; blake3::OUT_LEN]) {
        let name = self.server_name.as_ref().map(|name| name.to_str().into_owned());
        (name, self.valid_days, if self.is_of_system { [0; blake3::OUT_LEN] } else { self.digest })
    }

    /// What the library works with.
    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.client)
    }

    /// Whose certificate the endpoint at this address has to show.
    pub(crate) fn server_name(&self, address: IpAddr) -> ServerName<'static> {
        self.server_name.clone().unwrap_or_else(|| ServerName::IpAddress(address.into()))
    }
}

impl PartialEq for EndpointTls {
    fn eq(&self, other: &EndpointTls) -> bool {
        (&self.server_name, self.valid_days, self.digest, self.is_of_system)
            == (&other.server_name, other.valid_days, other.digest, other.is_of_system)
    }
}

impl Eq for EndpointTls {}

impl Hash for EndpointTls {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.server_name, self.valid_days, self.digest, self.is_of_system).hash(state);
    }
}

impl fmt::Debug for EndpointTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?} {}", self.server_name, self.valid_days, blake3::Hash::from(self.digest))
    }
}

/// What the library works with, for all endpoints that have the same proof: with a system's authorities it takes 100 KiB.
#[derive(Clone)]
pub(crate) struct TlsClient {
    client: Arc<ClientConfig>,
    pub(crate) digest: [u8; blake3::OUT_LEN],
}

impl TlsClient {
    /// # Errors
    /// An authority that is no certificate, or none.
    pub(crate) fn new(proof: &Proof, alpn: &[&[u8]]) -> Result<TlsClient, rustls::Error> {
        let mut client = client(proof, None, &[&TLS12, &TLS13], alpn)?;
        // A session that is taken up again shows no certificate.
        client.resumption = Resumption::disabled();
        Ok(TlsClient { client: Arc::new(client), digest: digest(proof, alpn) })
    }
}

/// The digest of a proof with protocols.
pub(crate) fn digest(proof: &Proof, alpn: &[&[u8]]) -> [u8; blake3::OUT_LEN] {
    let mut hasher = blake3::Hasher::new();
    let mut add = |octets: &[u8]| {
        hasher.update(&(octets.len() as u64).to_be_bytes());
        hasher.update(octets);
    };
    match proof {
        Proof::Authorities(authorities) => {
            add(b"authorities");
            authorities.iter().for_each(|authority| add(authority));
        }
        Proof::Pins(pins) => {
            add(b"pins");
            pins.iter().for_each(|pin| add(pin));
        }
        Proof::Anything => add(b"anything"),
    }
    add(b"alpn");
    alpn.iter().for_each(|protocol| add(protocol));
    hasher.finalize().into()
}
