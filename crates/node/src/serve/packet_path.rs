//! Interfaces whose queries are to be taken past the kernel's stack.
//!
//! A thread of its own attaches them, for that takes privileges which no other thread keeps. It ends when each of them works or
//! has proved not to; the sockets answer meanwhile, and in any case. While another server goes on that has the interface,
//! which is so when this one takes its place, it tries again.

use crate::config::{InterfaceConfig, NodeConfig, PacketPath as Path};
use crate::outside::Outside;
use crate::privileges;
use crate::status::{self, InterfaceStatus};
use crate::transfers::Keyring;
use crate::workers::BatchAnswers;
use anyhow::{Context, bail, ensure};
use nameserver::Responder;
use netio::xdp::{
    AttachError, Attached, Attachment, ByFamily, Interface, KernelAnswered, KernelAnswers, KernelCounts,
    Mode, Reply, Ring, RingWatch, Tag, Trial,
};
use netio::{BatchResponder, WorkerHandle};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use wire::{Class, NameBuf, RecordType};

/// How long the start waits for interfaces. One takes some milliseconds; each way that is tried in vain half a second at most.
const START_WITHIN: Duration = Duration::from_secs(3);
/// How often an interface that somebody else has is tried. A process that ends lets go of a queue some milliseconds after the
/// program, and as long the kernel's stack has the queries.
const RETRY_EVERY: Duration = Duration::from_millis(20);
/// For how long: the server before ends its TCP connections first, which takes as long as their clients are given.
const RETRY_FOR: Duration = Duration::from_secs(120);

/// The interfaces of a server, and the thread that attaches them.
pub(super) struct PacketPath {
    shared: Arc<Shared>,
    start: Option<Sender<Start>>,
    tried: Receiver<()>,
    outside: Option<Outside>,
}

/// What the thread begins with.
struct Start {
    services: Vec<SocketAddr>,
    workers: Vec<WorkerHandle>,
    responder: Responder,
    /// The largest payload that responses say can be received, in octets.
    udp_payload_max: u16,
    /// What programs that answer by themselves have to know.
    outside: Option<Outside>,
}

/// What both sides see.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    ending: Condvar,
}

#[derive(Default)]
struct State {
    is_ending: bool,
    attachments: Vec<Attachment>,
    /// All configured interfaces, in their order.
    interfaces: Vec<Told>,
}

/// What is known of an interface.
struct Told {
    status: InterfaceStatus,
    /// A look at each of its rings.
    rings: Vec<RingWatch>,
    /// What the program has answered.
    kernel: Option<KernelCounts>,
}

impl Told {
    /// How it is now: workers close the rings of an interface that is gone.
    fn now(&mut self) -> InterfaceStatus {
        // What can't be read stays as it was: counts never go back.
        if let Some(Ok(answered)) = self.kernel.as_ref().map(KernelCounts::read) {
            let KernelAnswered { bad_version, refused, shortened, withheld } = answered;
            let [bad_version, refused, shortened, withheld] = [bad_version, refused, shortened, withheld]
                .map(|ByFamily { ipv4, ipv6 }| status::KernelAnswersByFamily { ipv4, ipv6 });
            let answers = status::KernelAnswers { bad_version, refused, shortened, withheld };
            self.status.kernel_answers = Some(answers);
        }
        let mut status = self.status.clone();
        status.queues = self.rings.iter().filter(|ring| ring.is_open()).count();
        if status.queues < self.rings.len() {
            status.packet_path = "sockets".to_owned();
            status.mode = None;
            status.detail =
                Some("the interface is gone; a restart or an upgrade looks for it again".to_owned());
        }
        status
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // What was said of an interface is never half said.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How an attempt ended.
enum Attempt {
    Over,
    Again,
}

impl PacketPath {
    /// Starts the thread, if any interface wants it, with the privileges of the caller; `zone` is one that is served.
    ///
    /// # Errors
    /// No thread can be started.
    pub(super) fn prepare(node: &NodeConfig, zone: Option<NameBuf>) -> io::Result<PacketPath> {
        let shared = Arc::<Shared>::default();
        shared.state().interfaces = node.interfaces.iter().map(not_attached).collect();
        let (start, starts) = channel();
        let (trying, tried) = channel();
        let wanted: Vec<InterfaceConfig> =
            node.interfaces.iter().filter(|interface| interface.packet_path == Path::Xdp).cloned().collect();
        if wanted.is_empty() {
            return Ok(PacketPath { shared, start: None, tried, outside: None });
        }
        let outside = wanted.iter().any(|interface| interface.kernel_answers).then(Outside::start);
        let outside = outside.and_then(|started| {
            let told = |error| tracing::error!("the program in the kernel can't answer by itself: {error}");
            started.map_err(told).ok()
        });
        let of_thread = Arc::clone(&shared);
        thread::Builder::new().name("xdp".to_owned()).spawn(move || {
            // An error says that the server ended before it began.
            if let Ok(start) = starts.recv() {
                attach_all(&of_thread, wanted, start, &trial_query(zone.as_ref()), &trying);
            }
            if let Err(error) = privileges::give_up() {
                tracing::error!("{error}");
            }
        })?;
        Ok(PacketPath { shared, start: Some(start), tried, outside })
    }

    /// Has the interfaces attached and their rings given to the workers; waits until each was tried once.
    pub(super) fn begin(
        &mut self,
        services: &[SocketAddr],
        workers: &[WorkerHandle],
        udp_payload_max: u16,
        responder: impl FnOnce() -> Responder,
    ) {
        let Some(start) = self.start.take() else { return };
        let (services, workers, responder) = (services.to_vec(), workers.to_vec(), responder());
        let outside = self.outside.clone();
        let all = Start { services, workers, responder, udp_payload_max, outside };
        // An error would say that the thread has ended, and then nobody waits for it.
        if start.send(all).is_ok() && self.tried.recv_timeout(START_WITHIN).is_err() {
            tracing::warn!(
                "the interfaces with `packet-path = \"xdp\"` are not attached yet; sockets answer meanwhile"
            );
        }
    }

    /// Who has to be told which zones there are, if a program answers by itself.
    pub(super) fn outside(&self) -> Option<Outside> {
        self.outside.clone()
    }

    /// How the interfaces are.
    pub(super) fn statuses(&self) -> impl Fn() -> Vec<InterfaceStatus> + use<> {
        let shared = Arc::clone(&self.shared);
        move || shared.state().interfaces.iter_mut().map(Told::now).collect()
    }

    /// Detaches the programs: from here on the kernel has all frames. What rings have received stays there to be answered.
    pub(super) fn end(&self) {
        let mut state = self.shared.state();
        state.is_ending = true;
        state.attachments.clear();
        drop(state);
        self.shared.ending.notify_all();
    }
}

fn not_attached(interface: &InterfaceConfig) -> Told {
    let status = InterfaceStatus {
        name: interface.name.clone(),
        packet_path: "sockets".to_owned(),
        mode: None,
        queues: 0,
        detail: None,
        kernel_answers: None,
    };
    Told { status, rings: Vec::new(), kernel: None }
}

fn attach_all(
    shared: &Shared,
    mut wanted: Vec<InterfaceConfig>,
    start: Start,
    query: &[u8],
    tried: &Sender<()>,
) {
    let Start { services, workers, responder, udp_payload_max, outside } = start;
    let by_itself = outside.as_ref().map(|outside| KernelAnswers {
        udp_payload_max,
        authority: outside.authority(),
        limited: outside.limited(),
    });
    let mut answers = BatchAnswers::new(responder, Keyring::default(), None, Instant::now());
    let give_up_at = Instant::now() + RETRY_FOR;
    let mut next_worker = 0;
    let mut is_first = true;
    while !wanted.is_empty() {
        let is_last = Instant::now() >= give_up_at;
        wanted.retain(|interface| {
            let trial = Trial { query, responder: &mut answers };
            let told = is_first || is_last;
            let attempt = match attach(interface, &services, by_itself, trial, told) {
                Ok(Some(attached)) => {
                    take(shared, interface, attached, &workers, &mut next_worker);
                    Attempt::Over
                }
                Ok(None) if !is_last => Attempt::Again,
                Ok(None) => Attempt::Over,
                Err(error) => {
                    tracing::error!("{}: AF_XDP can't be used, sockets answer: {error:#}", interface.name);
                    note(shared, interface, |told| told.status.detail = Some(format!("{error:#}")));
                    Attempt::Over
                }
            };
            matches!(attempt, Attempt::Again)
        });
        if std::mem::take(&mut is_first) {
            // Nobody may be waiting any more.
            let _gone = tried.send(());
        }
        let state = shared.state();
        if state.is_ending || wanted.is_empty() {
            return;
        }
        // An error would be a poisoned lock, and then no more is known than before.
        drop(shared.ending.wait_timeout(state, RETRY_EVERY));
        // Tables that were replaced are freed when every responder has let go of them.
        answers.idle();
    }
}

/// Attaches an interface; `None`: somebody else has it.
fn attach(
    interface: &InterfaceConfig,
    services: &[SocketAddr],
    by_itself: Option<KernelAnswers<'_>>,
    trial: Trial<'_, BatchAnswers>,
    told: bool,
) -> anyhow::Result<Option<Attached>> {
    let found = Interface::find(&interface.name)?;
    if interface.reply == Reply::Route {
        require_forwarding(services)?;
    }
    let tags = tags(&interface.name)?;
    let modes = interface.mode.as_ref().map_or(&Mode::ALL[..], std::slice::from_ref);
    let answers = by_itself.filter(|_| interface.kernel_answers);
    match found.attach(services, &tags, interface.reply, answers, modes, trial) {
        Ok(attached) => Ok(Some(attached)),
        Err(AttachError::Busy(source)) => {
            if told {
                let name = &interface.name;
                tracing::info!(
                    "{name}: another process has its queues ({source}); sockets answer until it lets go (`ip link show \
                     dev {name}` tells whether a program is attached)"
                );
            }
            Ok(None)
        }
        Err(error @ AttachError::TagsAreHidden) => {
            Err(error).with_context(|| format!("`ethtool -K {} rxvlan off` has them left on", interface.name))
        }
        Err(error) => Err(error.into()),
    }
}

/// Gives the rings to the workers, and tells what there is.
fn take(
    shared: &Shared,
    interface: &InterfaceConfig,
    attached: Attached,
    workers: &[WorkerHandle],
    next_worker: &mut usize,
) {
    let Attached { attachment, rings, mode, refused, kernel_counts } = attached;
    let queues = rings.len();
    {
        let mut state = shared.state();
        if state.is_ending {
            return;
        }
        state.attachments.push(attachment);
    }
    let watches = rings.iter().map(Ring::watch).collect();
    for ring in rings {
        workers[*next_worker % workers.len()].add_ring(ring);
        *next_worker += 1;
    }
    let faster: Vec<String> = refused.iter().map(ToString::to_string).collect();
    let why = if faster.is_empty() { String::new() } else { format!("; not {}", faster.join("; not ")) };
    let name = &interface.name;
    tracing::info!(
        "{name}: AF_XDP, {mode}, queues: {queues}; a query went through each and was answered{why}"
    );
    note(shared, interface, |told| {
        told.status.packet_path = "xdp".to_owned();
        told.status.mode = Some(mode.to_string());
        told.status.detail = (!faster.is_empty()).then(|| format!("not {}", faster.join("; not ")));
        told.rings = watches;
        told.kernel = kernel_counts;
    });
}

fn note(shared: &Shared, interface: &InterfaceConfig, change: impl FnOnce(&mut Told)) {
    let mut state = shared.state();
    if let Some(told) = state.interfaces.iter_mut().find(|told| told.status.name == interface.name) {
        change(told);
    }
}

/// A query for the SOA record of a zone.
fn trial_query(zone: Option<&NameBuf>) -> Vec<u8> {
    let name = zone.map_or(&[0][..], |zone| zone.as_name().as_wire());
    let header = [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let question = [RecordType::SOA.0.to_be_bytes(), Class::IN.0.to_be_bytes()];
    [&header[..], name, question.as_flattened()].concat()
}

/// The kernel's lookup of routes refuses to look for an interface that does not forward, and the machine's own packets
/// come from the loopback interface. For that one alone it has no other effect.
fn require_forwarding(services: &[SocketAddr]) -> anyhow::Result<()> {
    let families = [
        ("ipv4", services.iter().any(SocketAddr::is_ipv4)),
        ("ipv6", services.iter().any(SocketAddr::is_ipv6)),
    ];
    for (family, _) in families.into_iter().filter(|(_, is_used)| *is_used) {
        let file = format!("/proc/sys/net/{family}/conf/lo/forwarding");
        let text = std::fs::read_to_string(&file).with_context(|| format!("{file} can't be read"))?;
        ensure!(
            text.trim() == "1",
            "`reply = \"route\"` takes `sysctl net.{family}.conf.lo.forwarding=1`, so that the kernel's routes can be asked"
        );
    }
    Ok(())
}

/// The VLANs on an interface.
fn tags(interface: &str) -> anyhow::Result<Vec<Tag>> {
    const LIST: &str = "/proc/thread-self/net/vlan/config";
    let list = match std::fs::read_to_string(LIST) {
        Ok(list) => list,
        // The kernel does not know VLANs, so there are none.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => bail!("the list of VLANs, {LIST}, can't be read: {error}"),
    };
    let mut tags = HashMap::new();
    for (name, id) in vlans(&list, interface) {
        // One that is gone again takes its queries with it.
        if let Ok(vlan) = Interface::find(name) {
            tags.insert(id, Tag { id, hardware_address: vlan.hardware_address(), interface: vlan.index() });
        }
    }
    let mut tags: Vec<Tag> = tags.into_values().collect();
    tags.sort_unstable_by_key(|tag| tag.id);
    Ok(tags)
}

/// The names and numbers of the VLANs on an interface, as the kernel lists them.
fn vlans<'t>(list: &'t str, interface: &str) -> impl Iterator<Item = (&'t str, u16)> {
    list.lines().filter_map(move |line| {
        let mut fields = line.split('|').map(str::trim);
        let (name, id, below) = (fields.next()?, fields.next()?, fields.next()?);
        (below == interface).then_some((name, id.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vlans_of_an_interface_are_found_in_the_list() {
        let list = "VLAN Dev name\t | VLAN ID\nName-Type: VLAN_NAME_TYPE_RAW_PLUS_VID_NO_PAD\n\
                    eth0.100       | 100  | eth0\nup             | 7  | eth0\neth1.3         | 3  | eth1\n";
        let found: Vec<_> = vlans(list, "eth0").collect();
        assert_eq!(found, [("eth0.100", 100), ("up", 7)]);
        assert_eq!(vlans(list, "eth2").count(), 0);
    }

    #[test]
    fn the_trial_asks_for_a_zone() {
        let zone = crate::config::apex("example.com").unwrap();
        let query = trial_query(Some(&zone));
        let (mut read, mut name) = (wire::Query::default(), wire::FoldedName::default());
        assert!(read.read(&query, &mut name).is_ok());
        assert_eq!((read.qtype, read.question_end), (RecordType::SOA, query.len()));
        assert_eq!(trial_query(None).len(), 17);
    }
}
