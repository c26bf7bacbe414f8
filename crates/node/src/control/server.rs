//! The node's end of the control socket.

use super::publish::{self, Order, Until};
use super::{Request, Response, catalogs, default_path, lookup, pools};
use crate::config::{self, ControlSocket, NodeConfig};
use crate::gate::Serials;
use crate::keeper::{self, Board, Changed, Decision, ReloadRequest, Step};
use crate::secondary;
use crate::status::{NodeStatus, ZoneStatus};
use crate::transfers::Transfers;
use anyhow::{Context, bail};
use rustix::fs::Access;
use socket2::{Domain, SockAddr, Type};
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use transfer::refresh::Purpose;

/// The longest request in octets: a command, a zone's name with every octet escaped twice, and the longest path with every
/// octet escaped.
const REQUEST_LEN_MAX: u64 = 32 << 10;
/// How long a client may take to write its request, and to read the answer.
const TRANSFER_WITHIN: Duration = Duration::from_secs(10);
/// How many clients are served at a time; more wait in the backlog.
const CLIENTS_MAX: usize = 32;
/// How long an accept that failed is followed by none.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What requests are about.
pub(crate) enum Subject {
    /// A node that loads its zones for the first time, and can't say anything yet.
    Loading,
    /// A node that answers.
    Ready(Ready),
    /// An agent: its loop is asked.
    Agent(mpsc::Sender<(Request, Reply)>),
}

/// Where the answer to a request goes.
#[derive(Debug)]
pub(crate) struct Reply {
    response: oneshot::Sender<Response>,
    written: oneshot::Receiver<()>,
}

/// The other end of a [`Reply`].
pub(crate) struct Answer {
    response: oneshot::Receiver<Response>,
    until_written: UntilWritten,
}

/// To be dropped when the client has its answer.
pub(crate) struct UntilWritten {
    _written: oneshot::Sender<()>,
}

impl Reply {
    /// A reply, and where it arrives.
    pub(crate) fn channel() -> (Reply, Answer) {
        let (sender, response) = oneshot::channel();
        let (written_sender, written) = oneshot::channel();
        let until_written = UntilWritten { _written: written_sender };
        (Reply { response: sender, written }, Answer { response, until_written })
    }

    /// Answers.
    pub(crate) fn send(self, response: Response) {
        // Who asked may have gone away.
        let _gone = self.response.send(response);
    }

    /// Answers, and waits until the client has the answer or is gone.
    pub(crate) async fn deliver(self, response: Response) {
        let Reply { response: sender, written } = self;
        let _gone = sender.send(response);
        // It is dropped, never sent.
        let _written = written.await;
    }
}

impl Answer {
    /// Waits for the answer; none if the agent ends without one.
    pub(crate) async fn response(self) -> (Option<Response>, UntilWritten) {
        (self.response.await.ok(), self.until_written)
    }
}

/// A node that answers.
pub(crate) struct Ready {
    /// Gives the node's status as it is now.
    pub(crate) status: Box<dyn Fn() -> NodeStatus>,
    /// The state of the zones.
    pub(crate) board: Arc<Board>,
    /// Who is notified of what.
    pub(crate) transfers: Arc<Transfers>,
    /// Who reloads.
    pub(crate) reloads: SyncSender<keeper::Request>,
    /// Who keeps copies up to date.
    pub(crate) secondary: secondary::Service,
    /// Who keeps pools.
    pub(crate) pools: crate::pools::Service,
    /// Held while a table is being published.
    pub(crate) publishing: tokio::sync::Mutex<()>,
}

/// A bound control socket; its file goes away with the value.
pub(crate) struct Socket {
    listener: std::os::unix::net::UnixListener,
    path: PathBuf,
    inode: u64,
}

/// Where the control socket of a node goes.
pub(crate) fn resolve(node: &NodeConfig) -> Option<PathBuf> {
    match &node.control {
        ControlSocket::None => None,
        ControlSocket::At(path) => Some(path.clone()),
        ControlSocket::Default => {
            let writable =
                |folder: &Path| rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK).is_ok();
            default_path(node.state_dir.as_deref(), writable)
        }
    }
}

impl Socket {
    /// Binds the socket. One left behind by a node that died is replaced; one that somebody listens on is not.
    ///
    /// # Errors
    /// When another node has it, something else has its name, or the system refuses.
    pub(crate) fn bind(path: PathBuf) -> anyhow::Result<Socket> {
        let shown = path.display().to_string();
        remove_stale(&path)?;
        let bound = || -> io::Result<(std::os::unix::net::UnixListener, u64)> {
            let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
            socket.bind(&SockAddr::unix(&path)?)?;
            // Until it listens nobody can connect, so nobody gets in before the mode is right.
            std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
            socket.listen(CLIENTS_MAX as i32)?;
            socket.set_nonblocking(true)?;
            Ok((socket.into(), std::fs::metadata(&path)?.ino()))
        };
        let (listener, inode) = bound().with_context(|| {
            format!(
                "cannot make the control socket {shown}; its folder must exist and be writable, and the path have \
                 at most 107 octets (`--control PATH` names another, `--control none` goes without)"
            )
        })?;
        Ok(Socket { listener, path, inode })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Somebody else's socket of the same name, made after ours was removed by hand, stays.
        if std::fs::metadata(&self.path).is_ok_and(|file| file.ino() == self.inode) {
            let _gone_or_not = std::fs::remove_file(&self.path);
        }
    }
}

fn remove_stale(path: &Path) -> anyhow::Result<()> {
    let shown = path.display();
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot look at the control socket {shown}"));
        }
        Ok(file) if !file.file_type().is_socket() => {
            bail!("{shown} is to be the control socket, and is another kind of file; move it away")
        }
        Ok(_) => {}
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)
            .with_context(|| format!("cannot remove the stale control socket {shown}")),
        Err(error) => {
            Err(error).with_context(|| format!("cannot tell whether a node has the control socket {shown}"))
        }
        Ok(_) => {
            bail!("another node has the control socket {shown}; stop it, or name another with `--control`")
        }
    }
}

/// Answers requests for as long as it is polled.
pub(crate) async fn serve(socket: &Socket, subject: Rc<Subject>) -> io::Result<()> {
    let listener = UnixListener::from_std(socket.listener.try_clone()?)?;
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = clients.join_next(), if !clients.is_empty() => {}
            accepted = listener.accept(), if clients.len() < CLIENTS_MAX => match accepted {
                Ok((stream, _)) => {
                    let subject = Rc::clone(&subject);
                    clients.spawn_local(async move {
                        if let Err(error) = converse(stream, &subject).await {
                            tracing::debug!("a client of the control socket went away: {error}");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!("the control socket can't accept a client: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

async fn converse(mut stream: UnixStream, subject: &Subject) -> io::Result<()> {
    let (read, mut write) = stream.split();
    let mut line = Vec::new();
    let mut limited = BufReader::new(read.take(REQUEST_LEN_MAX));
    timeout(TRANSFER_WITHIN, limited.read_until(b'\n', &mut line)).await??;
    let (response, _until_written) = match serde_json::from_slice(&line) {
        Ok(request) => respond(request, subject).await,
        Err(error) => (Response::Error(format!("that is no request: {error}")), None),
    };
    let mut text = serde_json::to_vec(&response)?;
    text.push(b'\n');
    timeout(TRANSFER_WITHIN, write.write_all(&text)).await?
}

async fn respond(request: Request, subject: &Subject) -> (Response, Option<UntilWritten>) {
    match subject {
        Subject::Ready(subject) => (ask_server(request, subject).await, None),
        Subject::Loading => {
            let error = "it is loading its zones and does not answer yet; try again soon";
            (Response::Error(error.to_owned()), None)
        }
        Subject::Agent(agent) => ask_agent(request, agent).await,
    }
}

async fn ask_server(request: Request, subject: &Ready) -> Response {
    match request {
        Request::Status => Response::Status(Box::new((subject.status)())),
        Request::Zones { max } => Response::Zones(zones(subject, max.unwrap_or(usize::MAX))),
        Request::Digests { from } => Response::Digests(subject.board.digests(from)),
        Request::Notify { zone } => notify(&zone, subject),
        Request::Refresh { zone } => refresh(&zone, Purpose::Refresh, subject).await,
        Request::Retransfer { zone } => refresh(&zone, Purpose::Retransfer, subject).await,
        Request::Catalogs { zone } => catalogs::status(zone.as_deref(), subject),
        Request::ApproveCatalog { zone, removals } => catalogs::approve(&zone, removals, subject).await,
        Request::Lookup { name, rtype, dnssec, udp, client } => {
            lookup::look_up(lookup::Asked { name, rtype, dnssec, udp, client }, subject).await
        }
        Request::Pools { pool } => pools::status(pool.as_deref(), subject),
        Request::PoolSet { pool, endpoint, admin } => pools::set(pool, endpoint, &admin, subject).await,
        Request::PoolFailBack { pool } => pools::fail_back(pool, subject).await,
        Request::PoolViews { asked } => pools::views(&asked, subject),
        Request::ZoneStatus { zone } => zone_status(&zone, subject),
        Request::ZoneApprove { zone } => decide(&zone, Step::Approve, subject).await,
        Request::ZoneRollback { zone } => decide(&zone, Step::RollBack, subject).await,
        Request::Publish { zone, table, any_serial, durable } => {
            let serials = if any_serial { Serials::Any } else { Serials::AsConfigured };
            let until = if durable { Until::Durable } else { Until::Served };
            publish::publish(Order { zone, table, serials, until }, subject).await
        }
        Request::Reload { zone, force } => {
            let zone = match zone.as_deref().map(config::apex).transpose() {
                Ok(zone) => zone,
                Err(error) => return Response::Error(format!("that is not a zone's name: {error}")),
            };
            reload(zone, if force { Changed::OrNot } else { Changed::Only }, subject).await
        }
        _ => Response::Error(
            "it holds no route: it was started with `starling serve`, not `starling run`".to_owned(),
        ),
    }
}

/// The zones, with what their secondaries have said.
fn zones(subject: &Ready, max: usize) -> Vec<ZoneStatus> {
    let mut zones = subject.board.zones_and_copies(max);
    for zone in &mut zones {
        if let Ok(name) = config::apex(&zone.name) {
            zone.notified = subject.transfers.notifications.statuses(name.as_name());
            if let Some(served) = &mut zone.served {
                let (journal, is_durable) = subject.transfers.index.status(name.as_name(), &served.content);
                zone.journal = journal;
                served.durable |= is_durable;
            }
        }
    }
    zones
}

fn notify(zone: &str, subject: &Ready) -> Response {
    match config::apex(zone) {
        Err(error) => Response::Error(format!("that is not a zone's name: {error}")),
        Ok(name) => match subject.transfers.notifications.again(name.as_name()) {
            0 => Response::Error(format!(
                "nobody is notified of {name}: it is not served here, or its [[zone]] has no `notify`"
            )),
            1 => Response::Done(format!(
                "1 secondary of {name} is notified; `starling ctl zones` shows what it says"
            )),
            count => Response::Done(format!(
                "{count} secondaries of {name} are notified; `starling ctl zones` shows what they say"
            )),
        },
    }
}

async fn ask_agent(
    request: Request,
    agent: &mpsc::Sender<(Request, Reply)>,
) -> (Response, Option<UntilWritten>) {
    let ending = || Response::Error("the node is ending".to_owned());
    let (reply, answer) = Reply::channel();
    if agent.send((request, reply)).await.is_err() {
        return (ending(), None);
    }
    let (response, until_written) = answer.response().await;
    (response.unwrap_or_else(ending), Some(until_written))
}

async fn reload(zone: Option<wire::NameBuf>, changed: Changed, subject: &Ready) -> Response {
    let (reply, report) = oneshot::channel();
    let request = ReloadRequest { zone, changed, reply: Some(reply) };
    if subject.reloads.try_send(keeper::Request::Reload(request)).is_err() {
        return Response::Error("too many reloads are waiting; try again when they are done".to_owned());
    }
    match report.await {
        Ok(report) => Response::Reload(report),
        Err(_) => Response::Error("the node is ending".to_owned()),
    }
}

fn zone_status(zone: &str, subject: &Ready) -> Response {
    let name = match config::apex(zone) {
        Ok(name) => name,
        Err(error) => return Response::Error(format!("that is not a zone's name: {error}")),
    };
    match subject.board.zone(&name.to_string()) {
        Some(mut status) => {
            status.notified = subject.transfers.notifications.statuses(name.as_name());
            Response::Zone(Box::new(status))
        }
        None => Response::Error(format!(
            "there is no zone {name} here; `starling ctl zones` lists those there are"
        )),
    }
}

async fn decide(zone: &str, step: Step, subject: &Ready) -> Response {
    let zone = match config::apex(zone) {
        Ok(zone) => zone,
        Err(error) => return Response::Error(format!("that is not a zone's name: {error}")),
    };
    let (reply, status) = oneshot::channel();
    let decision = Decision { zone, step, reply };
    if subject.reloads.try_send(keeper::Request::Decide(Box::new(decision))).is_err() {
        return Response::Error("too many reloads are waiting; try again when they are done".to_owned());
    }
    match status.await {
        Ok(Ok(status)) => Response::Zone(Box::new(status)),
        Ok(Err(error)) => Response::Error(error),
        Err(_) => Response::Error("the node is ending".to_owned()),
    }
}

async fn refresh(zone: &str, purpose: Purpose, subject: &Ready) -> Response {
    let zone = match config::apex(zone) {
        Ok(zone) => zone,
        Err(error) => return Response::Error(format!("that is not a zone's name: {error}")),
    };
    match subject.secondary.request(zone, purpose).await {
        Ok(done) => Response::Done(done),
        Err(error) => Response::Error(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap()); // leaves its file behind
        let socket = Socket::bind(path.clone()).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let error = Socket::bind(path.clone()).err().unwrap();
        assert!(error.to_string().contains("another node"), "{error}");
        drop(socket);
        assert!(!path.exists());
        std::fs::write(&path, "precious").unwrap();
        assert!(Socket::bind(path.clone()).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn a_path_that_is_too_long_is_explained() {
        let error = Socket::bind(PathBuf::from(format!("/tmp/{}", "x".repeat(200)))).err().unwrap();
        assert!(error.to_string().contains("107"), "{error}");
    }
}
