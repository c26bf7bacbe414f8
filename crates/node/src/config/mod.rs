//! What a node is told to do: the command line and the configuration file, together and validated.
//!
//! [`load()`] reads the file, if there is one, lets the command line override and extend it, and gives either a
//! [`Config`] that cannot be invalid or every problem there is, never the first alone. Reload calls it again with
//! the same command line.

mod admission;
mod anycast;
mod catalog;
mod decode;
mod identity;
mod load;
pub(crate) mod places;
mod pool;
mod probe;
mod problem;
mod publish;
mod secondary;
mod sharing;
mod signing;
mod sources;
mod tls;
mod tls_service;
mod transfer;

pub(crate) use admission::{AdmissionConfig, ZonemdPolicy};
pub(crate) use anycast::{AnycastConfig, BirdConfig, CheckConfig, Driver, default_action};
pub(crate) use catalog::{FollowConfig, Template};
pub(crate) use decode::{PoolReader, apex};
pub(crate) use identity::CheckId;
pub(crate) use load::{LoadConfig, Measure};
pub(crate) use places::PlacesConfig;
pub(crate) use pool::{
    Answer, EndpointConfig, POOLS_MAX, Place, PlacedMember, PoolConfig, Side, Stands, WORD_MAX, inside_out,
    numbers,
};
pub(crate) use probe::{
    DnsProbe, DnsTransport, EndpointTls, GrpcProbe, HttpProbe, HttpVersion, Method, PoolCheck, Probe,
    StateFile,
};
pub(crate) use problem::{ConfigError, Style};
pub(crate) use publish::Publisher;
#[cfg(test)]
pub(crate) use secondary::Notifier;
pub(crate) use secondary::{OnExpiry, Primary, SecondaryConfig};
pub(crate) use sharing::{SIGHTS_MAX, SharingConfig};
pub(crate) use signing::SigningConfig;
pub(crate) use sources::Sources;
pub(crate) use tls::{ALPN, Tls};
pub(crate) use tls_service::{Identity, TlsService};
pub(crate) use transfer::{Asker, Secondary, TransferConfig};

use crate::cli::{NodeArguments, ZoneArgument};
use ::transfer::catalog::Listed;
use ::transfer::outgoing::notify::Target;
use ::transfer::tsig::Key;
use nameserver::RateLimit;
use netio::xdp::{Mode, Reply};
use problem::Problem;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use wire::NameBuf;

/// The most worker threads of a kind: more than any machine has cores, and few enough that a slip of the finger
/// (a port number, say) doesn't start 5,300 threads.
pub(crate) const WORKERS_MAX: usize = 1024;
/// The most addresses to listen on: each takes a socket for every worker.
pub(crate) const LISTEN_MAX: usize = 1024;
/// The most management addresses: one for each family and interface, and few enough to watch on one thread.
pub(crate) const MANAGEMENT_MAX: usize = 16;
/// The most peers: more sites than anycast services have, and every node asks every peer once a second.
pub(crate) const PEERS_MAX: usize = 128;
/// The most interfaces: more than a machine has that queries come through.
pub(crate) const INTERFACES_MAX: usize = 64;
/// The most octets of the node's name: with the longest question it fits a response of 512 octets.
pub(crate) const NODE_NAME_MAX: usize = nameserver::SERVER_ID_MAX;
/// The most octets of the version text: it goes out as one character-string of a TXT record (RFC 1035 §3.3).
pub(crate) const VERSION_MAX: usize = 255;
/// The largest UDP answer by default: it fits the smallest IPv6 path without fragments (RFC 9715 §3.2).
pub(crate) const UDP_PAYLOAD_MAX: u16 = 1232;

/// Everything a node is told.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Config {
    /// The node itself; changes need a restart.
    pub(crate) node: NodeConfig,
    /// The route, where the node has one; changes need a restart.
    pub(crate) anycast: Option<AnycastConfig>,
    /// The operator's checks, and changes to those that every node has; changes need a restart.
    pub(crate) checks: Vec<CheckConfig>,
    /// The zones, in the order they were given; names are unique.
    pub(crate) zones: Vec<ZoneConfig>,
    /// The other nodes, whose state the agent reads; names and addresses are unique.
    pub(crate) peers: Vec<PeerConfig>,
    /// What versions of zones have to pass, where the zone says nothing else.
    pub(crate) admission: Arc<AdmissionConfig>,
    /// Transfers of zones to other nodes.
    pub(crate) transfer: TransferConfig,
    /// The keys that messages are signed with; names are unique.
    pub(crate) keys: Vec<Arc<Key>>,
    /// Where clients are, for pools of what is nearest.
    pub(crate) places: Option<PlacesConfig>,
    /// The pools; their names are unique, and so are those that answer with them.
    pub(crate) pools: Arc<[PoolConfig]>,
    /// How nodes share what the pools' checks see, if they do.
    pub(crate) sharing: Option<Arc<SharingConfig>>,
    /// How many responses of a kind a network of clients gets over UDP, if there is a limit.
    pub(crate) rate_limit: Option<RateLimit>,
}

/// The part of the configuration that holds for the node as a whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct NodeConfig {
    /// What NSID, `id.server` and `hostname.bind` say; hidden where there is none.
    pub(crate) name: Option<String>,
    /// Where queries are taken, by UDP and TCP; never empty for `serve`.
    pub(crate) listen: Vec<SocketAddr>,
    /// Where metrics and health are told over HTTP; nowhere if empty.
    pub(crate) management: Vec<SocketAddr>,
    /// From where others are asked where nothing else is said.
    pub(crate) sources: Sources,
    /// UDP workers; one for each CPU the process may use where not given.
    pub(crate) workers: Option<NonZeroUsize>,
    /// Which worker a datagram goes to.
    pub(crate) steering: Steering,
    /// Wanted receive buffer of each UDP socket, in octets.
    pub(crate) receive_buffer_bytes: usize,
    /// Wanted send buffer of each UDP socket, in octets.
    pub(crate) send_buffer_bytes: usize,
    /// Where images are kept between runs.
    pub(crate) state_dir: Option<PathBuf>,
    /// Where the control socket is.
    pub(crate) control: ControlSocket,
    /// What `version.bind` says; `None` hides it.
    pub(crate) version: Option<String>,
    /// The largest UDP answer in octets: 512 to 4,096.
    pub(crate) udp_payload_max: u16,
    /// Whether answers are for the network that a query names (RFC 7871), where it names one.
    pub(crate) client_subnet: bool,
    /// Limits of the TCP service.
    pub(crate) tcp: TcpConfig,
    /// How queries come over TLS, if they may.
    pub(crate) tls: Option<TlsService>,
    /// How queries come through the interfaces, where it is not as the kernel has it; names are unique.
    pub(crate) interfaces: Vec<InterfaceConfig>,
}

impl Default for NodeConfig {
    fn default() -> NodeConfig {
        NodeConfig {
            name: None,
            listen: Vec::new(),
            management: Vec::new(),
            sources: Sources::default(),
            workers: None,
            steering: Steering::Auto,
            receive_buffer_bytes: netio::udp::BUFFER_BYTES,
            send_buffer_bytes: netio::udp::BUFFER_BYTES,
            state_dir: None,
            control: ControlSocket::Default,
            version: None,
            udp_payload_max: UDP_PAYLOAD_MAX,
            client_subnet: false,
            tcp: TcpConfig::default(),
            tls: None,
            interfaces: Vec::new(),
        }
    }
}

impl NodeConfig {
    /// Whether queries are to be taken past the kernel's stack anywhere.
    pub(crate) fn uses_xdp(&self) -> bool {
        self.interfaces.iter().any(|interface| interface.packet_path == PacketPath::Xdp)
    }

    /// The keys in which another configuration differs from this one, but for those that a reload takes in.
    pub(crate) fn differences(&self, other: &NodeConfig) -> Vec<&'static str> {
        let tls_listen = |node: &NodeConfig| node.tls.as_ref().map(|tls| tls.listen.clone());
        let keys = [
            ("name", self.name == other.name),
            ("listen", self.listen == other.listen),
            ("management", self.management == other.management),
            ("workers", self.workers == other.workers),
            ("steering", self.steering == other.steering),
            ("receive-buffer-bytes", self.receive_buffer_bytes == other.receive_buffer_bytes),
            ("send-buffer-bytes", self.send_buffer_bytes == other.send_buffer_bytes),
            ("state-dir", self.state_dir == other.state_dir),
            ("control", self.control == other.control),
            ("version", self.version == other.version),
            ("udp-payload-max", self.udp_payload_max == other.udp_payload_max),
            ("client-subnet", self.client_subnet == other.client_subnet),
            ("tcp", self.tcp == other.tcp),
            ("tls.listen", tls_listen(self) == tls_listen(other)),
            ("interface", self.interfaces == other.interfaces),
        ];
        keys.into_iter().filter(|(_, same)| !same).map(|(key, _)| key).collect()
    }
}

/// Which worker a datagram goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Steering {
    /// By CPU where the network cards spread what comes over the workers' CPUs, else by hash.
    Auto,
    /// By a hash of the addresses: the workers share the load on any network card.
    Hash,
    /// The worker of the CPU that took it in: no packet changes CPUs, but it is only as even as the card spreads it.
    Cpu,
}

/// Where the control socket is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum ControlSocket {
    /// In `/run/starling` if the node may write there, else in the state directory, else nowhere.
    Default,
    /// Nowhere.
    None,
    /// Here.
    At(PathBuf),
}

/// Limits of the TCP service (RFC 7766 §6.2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct TcpConfig {
    /// Threads; one serves several 100,000 answers a second, which is more than TCP is asked for.
    pub(crate) workers: NonZeroUsize,
    /// Connections of all clients together. Each can hold two buffers of 64 KiB if it tries: 128 MiB at the
    /// default of 1,000. Fewer let fewer hostile clients lock the others out.
    pub(crate) connections_max: usize,
    /// Connections of one client: an IPv4 address or an IPv6 /64. Resolvers open a handful; many share an
    /// address behind NAT.
    pub(crate) connections_per_client_max: usize,
    /// How long a connection may be quiet between queries. RFC 7766 §6.2.3 wants "a few seconds".
    pub(crate) idle_timeout: Duration,
    /// How long a query may take from its first octet to its last, and an answer to be taken by the client.
    pub(crate) transfer_timeout: Duration,
}

impl Default for TcpConfig {
    fn default() -> TcpConfig {
        TcpConfig {
            workers: NonZeroUsize::MIN,
            connections_max: 1000,
            connections_per_client_max: 100,
            idle_timeout: Duration::from_secs(10),
            transfer_timeout: Duration::from_secs(5),
        }
    }
}

/// A network interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct InterfaceConfig {
    /// Its name.
    pub(crate) name: String,
    /// How queries come from it to the workers.
    pub(crate) packet_path: PacketPath,
    /// Where replies go, with [`PacketPath::Xdp`].
    pub(crate) reply: Reply,
    /// The one mode that is wanted, with [`PacketPath::Xdp`]; `None`: the best there is.
    pub(crate) mode: Option<Mode>,
    /// Whether the program in the kernel answers by itself what takes no zone, with [`PacketPath::Xdp`].
    pub(crate) kernel_answers: bool,
}

/// How queries come from an interface to the workers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum PacketPath {
    /// Through the kernel's stack and sockets.
    #[default]
    Sockets,
    /// Through AF_XDP, and through sockets where that is not to be had.
    Xdp,
}

/// A zone to serve.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ZoneConfig {
    /// The apex, in lower case.
    pub(crate) name: NameBuf,
    /// Where its records come from.
    pub(crate) source: ZoneSource,
    /// Whether the records of a set rotate from answer to answer.
    pub(crate) rotation: Rotation,
    /// Whether the node is no good without it.
    pub(crate) critical: bool,
    /// What a version of it has to pass before it is served.
    pub(crate) admission: Arc<AdmissionConfig>,
    /// Who may transfer it, beside those who may transfer every zone.
    pub(crate) secondaries: Vec<Secondary>,
    /// Who is told when it has changed.
    pub(crate) notify: Vec<Target>,
    /// How its members are served, where it is a catalog zone that this node follows.
    pub(crate) follow: Option<Arc<FollowConfig>>,
    /// What signs its pools' answers, where it is signed.
    pub(crate) signing: Option<Arc<SigningConfig>>,
    /// Whether the pools count that its records say.
    pub(crate) pool_records: bool,
}

/// Where the records of a zone come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum ZoneSource {
    /// A master file.
    MasterFile(PathBuf),
    /// Other servers: this node is a secondary of the zone.
    Primaries(Arc<SecondaryConfig>),
    /// Tables that are compiled elsewhere and published here. One of these publishers has to have signed each; where there
    /// are none, it is enough that somebody may use the control socket.
    Published(Arc<[Arc<Publisher>]>),
    /// The configuration: it is the catalog of these zones.
    Catalog(Arc<[Listed]>),
}

impl ZoneConfig {
    /// A zone with a master file, and everything else as nobody said otherwise.
    pub(crate) fn of_file(name: NameBuf, file: PathBuf, rotation: Rotation) -> ZoneConfig {
        let source = ZoneSource::MasterFile(file);
        ZoneConfig {
            name,
            source,
            rotation,
            critical: false,
            admission: Arc::default(),
            secondaries: Vec::new(),
            notify: Vec::new(),
            follow: None,
            signing: None,
            pool_records: false,
        }
    }

    /// Whether it is for secondaries alone: nobody asks a catalog zone anything else (RFC 9432 §5.1).
    pub(crate) fn is_private(&self) -> bool {
        self.follow.is_some() || matches!(self.source, ZoneSource::Catalog(_))
    }

    /// The master file, where there is one.
    pub(crate) fn file(&self) -> Option<&Path> {
        match &self.source {
            ZoneSource::MasterFile(file) => Some(file),
            ZoneSource::Primaries(_) | ZoneSource::Published(_) | ZoneSource::Catalog(_) => None,
        }
    }

    /// Whether its versions are sent here as they are made elsewhere: what is on disk of them is all that a restart has.
    pub(crate) fn is_received(&self) -> bool {
        matches!(self.source, ZoneSource::Primaries(_) | ZoneSource::Published(_))
    }

    /// How the zone is kept as a copy, where it is one.
    pub(crate) fn secondary(&self) -> Option<&Arc<SecondaryConfig>> {
        match &self.source {
            ZoneSource::MasterFile(_) | ZoneSource::Published(_) | ZoneSource::Catalog(_) => None,
            ZoneSource::Primaries(secondary) => Some(secondary),
        }
    }
}

/// Whether the records of a set rotate from answer to answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Rotation {
    /// They do.
    #[default]
    On,
    /// They stay in the order of the table.
    Off,
}

/// Another node of the service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PeerConfig {
    /// What it is called in messages and metrics.
    pub(crate) name: String,
    /// Its management address.
    pub(crate) address: SocketAddr,
}

/// What has to be there for the configuration to make sense.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    /// Serving: addresses and zones.
    Serve,
    /// Serving behind a route: that too.
    Run,
    /// Checking or looking something up: nothing.
    Check,
}

/// Reads the configuration file, if one is named, and applies the command line to it.
///
/// # Errors
/// All problems that there are: of the file with their place in it, then those of the command line.
pub(crate) fn load(
    file: Option<&Path>,
    arguments: &NodeArguments,
    zones: &[ZoneArgument],
    purpose: Purpose,
) -> Result<Config, ConfigError> {
    let mut config = Config::default();
    let mut text = String::new();
    let mut problems = Vec::new();
    if let Some(path) = file {
        text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        // Relative paths are relative to the file, so that a node can be started from anywhere.
        let folder = path.parent().unwrap_or(Path::new(""));
        config = decode::decode(&text, folder, &mut problems);
    }
    // An address that is missing because it was misspelt need not be complained about twice.
    let file_is_good = problems.is_empty();
    // A large map takes a second, and only who answers needs it.
    if purpose == Purpose::Serve && file_is_good {
        places::read(&mut config, &mut problems);
    }
    arguments.apply(&mut config.node);
    let wire = |name: &NameBuf| name.as_name().as_wire().to_vec();
    let mut names: HashSet<Vec<u8>> = config.zones.iter().map(|zone| wire(&zone.name)).collect();
    for zone in zones {
        if !names.insert(wire(&zone.name)) {
            let title = format!("the zone {} is given twice", zone.name);
            problems.push(Problem::general(title, "keep one `--zone` for it, and none if the file has it"));
        } else {
            let rotation = Rotation::default();
            let mut zone = ZoneConfig::of_file(zone.name.clone(), zone.file.clone(), rotation);
            zone.admission = Arc::clone(&config.admission);
            config.zones.push(zone);
        }
    }
    if purpose != Purpose::Check && file_is_good {
        require_something_to_serve(&config, file, &mut problems);
    }
    // The server of an agent reads the file again by itself, and has to find the same wrong with it.
    if purpose != Purpose::Check && config.anycast.is_some() && file_is_good {
        sources::require(&config, &mut problems);
    }
    if purpose == Purpose::Run && file_is_good {
        require_a_route(&config, &mut problems);
    }
    if problems.is_empty() {
        Ok(config)
    } else {
        Err(ConfigError::Invalid { path: file.map(Path::to_owned), text, problems })
    }
}

/// The zones of a configuration that has errors, as far as they could be read: for showing all problems at once.
pub(crate) fn zones_despite_errors(file: &Path) -> Vec<ZoneConfig> {
    let Ok(text) = std::fs::read_to_string(file) else { return Vec::new() };
    decode::decode(&text, file.parent().unwrap_or(Path::new("")), &mut Vec::new()).zones
}

fn require_something_to_serve(config: &Config, file: Option<&Path>, problems: &mut Vec<Problem>) {
    if config.node.listen.is_empty() {
        let help = match file {
            Some(_) => "add `listen = [\"192.0.2.53:53\"]` under [node], or give `--listen ADDR:PORT`",
            None => "give `--listen ADDR:PORT`, for example `--listen 127.0.0.1:5300`",
        };
        problems.push(Problem::general("there is no address to listen on", help));
    }
    if config.zones.is_empty() {
        let help = match file {
            Some(_) => {
                "add a [[zone]] with `name` and `file`, `primaries` or `published`, or give `--zone NAME=FILE`"
            }
            None => "give `--zone NAME=FILE`, for example `--zone example.com=example.com.zone`",
        };
        problems.push(Problem::general("there is no zone to serve", help));
    }
}

/// What a route needs: an address, somebody who listens on it, and a management address beside it.
fn require_a_route(config: &Config, problems: &mut Vec<Problem>) {
    let Some(anycast) = &config.anycast else {
        let help =
            "add [anycast] with `addresses` and `prefixes`, or use `starling serve`, which has no route";
        problems.push(Problem::general("there is no route to hold", help));
        return;
    };
    for address in anycast.plan.addresses() {
        let covers = |listen: &SocketAddr| {
            listen.ip() == *address || (listen.ip().is_unspecified() && listen.is_ipv4() == address.is_ipv4())
        };
        if !config.node.listen.iter().any(covers) {
            let title = format!("nothing listens on the service address {address}");
            let example = SocketAddr::new(*address, 53);
            problems.push(Problem::general(title, format!("add \"{example}\" to `listen` under [node]")));
        }
    }
    for address in &config.node.management {
        // Peers would ask whichever node is nearest to them, themselves above all.
        if anycast.plan.addresses().contains(&address.ip()) {
            let title = format!("the management address {address} is on a service address");
            let help = "under [management], `listen` on an address of this machine alone: every node has the service addresses";
            problems.push(Problem::general(title, help));
        }
    }
}

impl NodeArguments {
    fn apply(&self, node: &mut NodeConfig) {
        if !self.listen.is_empty() {
            node.listen.clone_from(&self.listen);
        }
        if let Some(name) = &self.name {
            node.name = Some(name.clone());
        }
        node.workers = self.workers.or(node.workers);
        node.tcp.workers = self.tcp_workers.unwrap_or(node.tcp.workers);
        if let Some(folder) = &self.state_dir {
            node.state_dir = Some(folder.clone());
        }
        if let Some(control) = &self.control {
            node.control = control.clone();
        }
    }
}

impl std::str::FromStr for ControlSocket {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<ControlSocket, Self::Err> {
        Ok(if text == "none" { ControlSocket::None } else { ControlSocket::At(PathBuf::from(text)) })
    }
}

#[cfg(test)]
mod tests;
