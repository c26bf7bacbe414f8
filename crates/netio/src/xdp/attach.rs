//! From an interface to rings that work.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use super::Reply;
use super::answer::{COPY_LEN, KernelAnswers, KernelCounts};
use super::frame;
use super::program::{Filter, Tag, program};
use super::ring::Ring;
use crate::batch::{BatchResponder, Datagram};
use crate::counters::WorkerCounters;
use crate::sys::{self, HARDWARE_ADDRESS_LEN, bpf, interface};
use crate::worker::ListenerIndex;

/// The most queues of an interface: more than network cards have.
const QUEUES_MAX: u32 = 1024;

/// How long a query may take from the program through a ring and back to the device. It takes microseconds; where the
/// machine is overloaded, the thread that does it waits for a CPU.
const TRIAL_WITHIN: Duration = Duration::from_millis(500);

/// How frames get from the device to a ring.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Mode {
    /// The device writes them where the ring has them.
    ZeroCopy,
    /// The driver runs the program, and copies.
    Native,
    /// The kernel runs the program, for any driver, and copies.
    Generic,
}

impl Mode {
    /// All of them, the fastest first.
    pub const ALL: [Mode; 3] = [Mode::ZeroCopy, Mode::Native, Mode::Generic];

    fn attach_flags(self) -> u32 {
        const GENERIC: u32 = 1 << 1; // XDP_FLAGS_SKB_MODE
        const DRIVER: u32 = 1 << 2; // XDP_FLAGS_DRV_MODE
        if self == Mode::Generic { GENERIC } else { DRIVER }
    }

    fn bind_flags(self) -> u16 {
        let copying = if self == Mode::ZeroCopy { libc::XDP_ZEROCOPY } else { libc::XDP_COPY };
        copying | libc::XDP_USE_NEED_WAKEUP
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Mode::ZeroCopy => "zero-copy",
            Mode::Native => "native",
            Mode::Generic => "generic",
        })
    }
}

/// An interface that frames may be taken from.
#[derive(Clone, Debug)]
pub struct Interface {
    name: String,
    index: u32,
    mtu: usize,
    hardware_address: [u8; HARDWARE_ADDRESS_LEN],
    queues: u32,
    takes_tags_off: bool,
}

/// Why an interface can't be used.
#[derive(Debug)]
pub enum InterfaceError {
    /// No interface has this name.
    Unknown(io::Error),
    /// It does not speak Ethernet; the number is its kind (`ARPHRD_…`).
    NotEthernet(u16),
    /// Its properties can't be read.
    Unreadable(io::Error),
}

/// Why no ring could be had.
#[derive(Debug)]
pub enum AttachError {
    /// Another program is attached to the interface, or another process has its queues.
    Busy(io::Error),
    /// The card takes VLAN tags off, and the interface has VLANs: they could not be told apart.
    TagsAreHidden,
    /// The kernel does not take the program, whatever the mode.
    Program {
        /// What failed.
        step: &'static str,
        /// How.
        source: io::Error,
    },
    /// None of the modes works.
    NoMode(Vec<Refused>),
}

/// A mode that was tried, and why it was not taken.
#[derive(Debug)]
pub struct Refused {
    /// The mode.
    pub mode: Mode,
    /// What failed.
    pub step: &'static str,
    /// How.
    pub source: io::Error,
}

/// The program on its interface. It goes when this is dropped.
#[derive(Debug)]
pub struct Attachment {
    _link: OwnedFd,
}

/// An interface whose queries come through rings.
#[derive(Debug)]
pub struct Attached {
    /// Has to live as long as queries are to come this way. After that, rings still have what they had received.
    pub attachment: Attachment,
    /// One for each queue.
    pub rings: Vec<Ring>,
    /// How frames get there.
    pub mode: Mode,
    /// The faster modes, and why it is not they.
    pub refused: Vec<Refused>,
    /// What the program answers by itself, where it does.
    pub kernel_counts: Option<KernelCounts>,
}

/// The programs of an interface, checked by the kernel.
struct Programs {
    map: OwnedFd,
    /// The one that is attached.
    sorting: OwnedFd,
    /// The one for the trial, where that is another.
    trial: Option<OwnedFd>,
    counts: Option<KernelCounts>,
}

/// What is sent through a ring to see whether it works.
#[derive(Debug)]
pub struct Trial<'a, R> {
    /// The payload of a query that has an answer.
    pub query: &'a [u8],
    /// Who answers it.
    pub responder: &'a mut R,
}

impl Interface {
    /// Looks at the interface of this name.
    ///
    /// # Errors
    /// There is none, or it is none for this.
    pub fn find(name: &str) -> Result<Interface, InterfaceError> {
        let mut padded = [0; libc::IFNAMSIZ];
        if name.is_empty() || name.len() >= padded.len() {
            return Err(InterfaceError::Unknown(io::Error::from_raw_os_error(libc::ENODEV)));
        }
        padded[..name.len()].copy_from_slice(name.as_bytes());
        // Any socket will do to ask through.
        let socket = UdpSocket::bind("127.0.0.1:0").or_else(|_| UdpSocket::bind("[::1]:0"));
        let socket = socket.map_err(InterfaceError::Unreadable)?;
        let index = interface::index(socket.as_fd(), &padded).map_err(InterfaceError::Unknown)?;
        let (kind, hardware_address) =
            interface::hardware(socket.as_fd(), &padded).map_err(InterfaceError::Unreadable)?;
        if kind != libc::ARPHRD_ETHER {
            return Err(InterfaceError::NotEthernet(kind));
        }
        let mtu = interface::mtu(socket.as_fd(), &padded).map_err(InterfaceError::Unreadable)?;
        // What a driver doesn't tell: one queue, the rest stay with the kernel; and tags as they are.
        let queues = interface::receive_queues(socket.as_fd(), &padded).unwrap_or(1).clamp(1, QUEUES_MAX);
        let takes_tags_off = interface::takes_tags_off(socket.as_fd(), &padded).unwrap_or(false);
        Ok(Interface { name: name.to_owned(), index, mtu, hardware_address, queues, takes_tags_off })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Its address.
    pub fn hardware_address(&self) -> [u8; HARDWARE_ADDRESS_LEN] {
        self.hardware_address
    }

    /// How many receive queues it uses.
    pub fn queues(&self) -> u32 {
        self.queues
    }

    /// Has queries to these addresses come through rings, by the first of `modes` in which a query gets through, but for those
    /// that the program shall answer by itself, which it does with [`Reply::Reflect`] alone.
    ///
    /// This takes CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON, and locked memory or CAP_IPC_LOCK; what it returns takes
    /// none.
    ///
    /// # Errors
    /// [`AttachError::Busy`] may pass: a process that ends lets go of its queues some milliseconds later.
    pub fn attach<R: BatchResponder>(
        &self,
        services: &[SocketAddr],
        tags: &[Tag],
        reply: Reply,
        answers: Option<KernelAnswers<'_>>,
        modes: &[Mode],
        mut trial: Trial<'_, R>,
    ) -> Result<Attached, AttachError> {
        if self.takes_tags_off && !tags.is_empty() {
            return Err(AttachError::TagsAreHidden);
        }
        let programs = self.load(services, tags, reply, answers)?;
        let mut refused = Vec::new();
        for mode in modes {
            match self.attach_in(*mode, &programs, services, &mut trial) {
                Ok((attachment, rings)) => {
                    let kernel_counts = programs.counts;
                    return Ok(Attached { attachment, rings, mode: *mode, refused, kernel_counts });
                }
                Err(Refused { source, .. }) if is_busy(&source) => return Err(AttachError::Busy(source)),
                Err(reason) => refused.push(reason),
            }
        }
        Err(AttachError::NoMode(refused))
    }

    /// Has the kernel check the program, which is the same in all modes.
    fn load(
        &self,
        services: &[SocketAddr],
        tags: &[Tag],
        reply: Reply,
        answers: Option<KernelAnswers<'_>>,
    ) -> Result<Programs, AttachError> {
        let failed = |step| move |source| AttachError::Program { step, source };
        let map = bpf::socket_map(self.queues).map_err(failed("the map of sockets"))?;
        let answers = answers.filter(|_| reply == Reply::Reflect);
        let copies = answers.map(|_| bpf::per_cpu_value(COPY_LEN)).transpose();
        let copies = copies.map_err(failed("the map of frames"))?;
        let counts = answers.map(|_| KernelCounts::new(self.queues)).transpose();
        let counts = counts.map_err(failed("the map of counts"))?;
        let load = |reply| {
            let filter = Filter {
                services,
                interface: self.index,
                hardware_address: self.hardware_address,
                tags,
                frame_max_len: Ring::frame_max_len(self.mtu),
                reply,
                map: map.as_raw_fd(),
                answers: answers
                    .zip(copies.as_ref())
                    .zip(counts.as_ref())
                    .map(|((answers, copies), counts)| answers.with(copies.as_raw_fd(), counts.descriptor())),
            };
            bpf::load("starling", bpf::Purpose::Xdp, &program(&filter)).map_err(failed("the program"))
        };
        let sorting = load(reply)?;
        // The reply of the trial is for nobody, so no route leads there.
        let trial = if reply == Reply::Reflect { None } else { Some(load(Reply::Reflect)?) };
        Ok(Programs { map, sorting, trial, counts })
    }

    fn attach_in<R: BatchResponder>(
        &self,
        mode: Mode,
        programs: &Programs,
        services: &[SocketAddr],
        trial: &mut Trial<'_, R>,
    ) -> Result<(Attachment, Vec<Ring>), Refused> {
        let failed = |step| move |source| Refused { mode, step, source };
        let link = bpf::attach(programs.sorting.as_fd(), self.index, mode.attach_flags())
            .map_err(failed("attaching the program"))?;
        let mut rings = Vec::new();
        for queue in 0..self.queues {
            let ring = Ring::open(self.index, queue, self.mtu).map_err(failed("opening a ring"))?;
            ring.bind(mode.bind_flags()).map_err(failed("binding a ring"))?;
            rings.push(ring);
        }
        let program = programs.trial.as_ref().unwrap_or(&programs.sorting);
        for ring in &mut rings {
            // From here on the queue's queries come here; they wait until a worker has the ring.
            bpf::set_socket(programs.map.as_fd(), ring.queue(), ring.as_fd())
                .map_err(failed("the map of sockets"))?;
            self.try_out(program, ring, services, trial).map_err(failed("a query sent through"))?;
        }
        Ok((Attachment { _link: link }, rings))
    }

    /// Sends a query through a ring, as if the interface had received it: the program gets it, the ring has it, it is answered,
    /// and the device sends the reply. That goes to the interface's own hardware address, where no switch sends it on.
    fn try_out<R: BatchResponder>(
        &self,
        program: &OwnedFd,
        ring: &mut Ring,
        services: &[SocketAddr],
        trial: &mut Trial<'_, R>,
    ) -> io::Result<()> {
        let Some(service) = services.iter().find(|service| !service.ip().is_unspecified()) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "there is no service address"));
        };
        // Addresses for documentation (RFC 5737, RFC 3849), and the discard port.
        let client: SocketAddr = match service {
            SocketAddr::V4(_) => ([192, 0, 2, 9], 9).into(),
            SocketAddr::V6(_) => ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 9], 9).into(),
        };
        let frame =
            frame::query((self.hardware_address, client), (self.hardware_address, *service), trial.query);
        bpf::run_live(program.as_fd(), &frame, self.index, ring.queue())?;
        let counters = WorkerCounters::default();
        let deadline = Instant::now() + TRIAL_WITHIN;
        let mut witness =
            Witness { responder: &mut *trial.responder, query: trial.query, client, is_answered: false };
        while !witness.is_answered || ring.sends_pending() > 0 {
            if Instant::now() > deadline {
                let seen = counters.snapshot();
                let what = match (seen.received, witness.is_answered) {
                    (0, _) => "it did not arrive",
                    (_, false) => "it was not answered",
                    (_, true) => "the device did not send the reply",
                };
                return Err(io::Error::new(io::ErrorKind::TimedOut, what));
            }
            if ring.turn(ListenerIndex(0), &counters, &mut witness)? == 0 {
                let mut fds =
                    [libc::pollfd { fd: ring.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 }];
                sys::poll(&mut fds, 1)?;
            }
        }
        Ok(())
    }
}

/// Passes queries on, and sees whether that of the trial is answered. Others may come at the same time.
struct Witness<'a, R> {
    responder: &'a mut R,
    query: &'a [u8],
    client: SocketAddr,
    is_answered: bool,
}

impl<R: BatchResponder> BatchResponder for Witness<'_, R> {
    fn respond(&mut self, batch: &mut [Datagram<'_>]) {
        self.responder.respond(batch);
        self.is_answered |= batch.iter().any(|datagram| {
            datagram.query == self.query
                && datagram.peer.socket_addr() == self.client
                && !datagram.reply.is_empty()
        });
    }

    fn idle(&mut self) {
        self.responder.idle();
    }
}

/// Whether somebody else has the interface or its queue.
fn is_busy(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EEXIST))
}

impl std::fmt::Display for InterfaceError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            InterfaceError::Unknown(_) => write!(f, "there is no such interface"),
            InterfaceError::NotEthernet(kind) => {
                write!(f, "it is no Ethernet interface (its kind has the number {kind})")
            }
            InterfaceError::Unreadable(source) => write!(f, "its properties can't be read: {source}"),
        }
    }
}

impl std::error::Error for InterfaceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            InterfaceError::Unknown(source) | InterfaceError::Unreadable(source) => Some(source),
            InterfaceError::NotEthernet(_) => None,
        }
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Refused { mode, step, source } = self;
        write!(f, "{mode}: {step}: {source}")
    }
}

impl std::fmt::Display for AttachError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            AttachError::Busy(source) => {
                write!(f, "another program or process has the interface's queues: {source}")
            }
            AttachError::TagsAreHidden => write!(
                f,
                "the interface has VLANs, and its card takes their tags off before anybody can see them"
            ),
            AttachError::Program { step, source } => {
                write!(f, "the kernel refuses {step}: {source}")?;
                match source.kind() {
                    io::ErrorKind::PermissionDenied => write!(
                        f,
                        " (it takes CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF, CAP_PERFMON and CAP_IPC_LOCK at the start)"
                    ),
                    _ => Ok(()),
                }
            }
            AttachError::NoMode(refused) => {
                write!(f, "no way works")?;
                refused.iter().try_for_each(|reason| write!(f, "; {reason}"))
            }
        }
    }
}

impl std::error::Error for AttachError {}
