//! HAProxy beside us: both look at the same endpoints, and what each makes of them is compared. Where we differ, the case says
//! what either does, and why.

mod agents;
mod backups;
mod looks;

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use starling_tests::process::Process;
use starling_tests::tools;

use crate::checks::{Fake, listen};
use crate::node::{Node, SEEN_WITHIN};

/// A HAProxy, with its socket for commands.
struct HaProxy {
    folder: tempfile::TempDir,
    process: Process,
}

/// How a server of a backend is, as HAProxy says it.
#[derive(Clone, Debug)]
struct Server {
    /// It is up, whether or not it is to be used.
    is_up: bool,
    is_in_maintenance: bool,
    is_drained: bool,
    /// Of those that it has without an agent.
    weight: u32,
}

impl HaProxy {
    /// One with these backends, whose checks may take so long.
    fn start(check_timeout_ms: u32, backends: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (configuration, socket) = (folder.path().join("configuration"), folder.path().join("socket"));
        // One thread, so that what is said of servers is of one moment.
        let text = format!(
            "global\n  nbthread 1\n  stats socket {}\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 30s\n  timeout \
             server 30s\n  timeout check {check_timeout_ms}ms\n{backends}",
            socket.display()
        );
        std::fs::write(&configuration, text)?;
        let mut command = Command::new(tools::program("haproxy")?);
        command.arg("-db").arg("-f").arg(&configuration).current_dir(folder.path());
        let process = Process::spawn("haproxy", &command, &folder.path().join("log"))?;
        let mut haproxy = Self { folder, process };
        tools::poll("HAProxy is there", SEEN_WITHIN, || {
            ensure!(haproxy.process.exited().is_none(), "{}", haproxy.process.log_tail());
            Ok(haproxy.says("show info").ok())
        })?;
        Ok(haproxy)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// What it says to a command.
    fn says(&self, command: &str) -> Result<String> {
        let mut stream = UnixStream::connect(self.path("socket"))?;
        stream.set_read_timeout(Some(SEEN_WITHIN))?;
        stream.write_all(format!("{command}\n").as_bytes())?;
        let mut said = Vec::new();
        stream.read_to_end(&mut said)?;
        Ok(String::from_utf8_lossy(&said).into_owned())
    }

    /// Every server, by `BACKEND/SERVER`.
    fn servers(&self) -> Result<HashMap<String, Server>> {
        let said = self.says("show servers state")?;
        let mut lines = said.lines().skip_while(|line| !line.starts_with('#'));
        let fields: Vec<&str> = lines.next().context("a heading")?.split_whitespace().skip(1).collect();
        let of_line = |line: &str| -> Result<(String, Server)> {
            let values: HashMap<&str, &str> = fields.iter().copied().zip(line.split_whitespace()).collect();
            let value = |field: &str| values.get(field).copied().with_context(|| format!("{field}: {line}"));
            let number = |field: &str| -> Result<u32> { Ok(value(field)?.parse()?) };
            // The masks of `management.txt`, 9.3: FMAINT, IMAINT, CMAINT, RMAINT and HMAINT; FDRAIN and IDRAIN.
            let admin = number("srv_admin_state")?;
            let weight = number("srv_uweight")?;
            let server = Server {
                is_up: number("srv_op_state")? == 2,
                is_in_maintenance: admin & 0x67 != 0,
                is_drained: admin & 0x18 != 0 || weight == 0,
                weight,
            };
            Ok((format!("{}/{}", value("be_name")?, value("srv_name")?), server))
        };
        lines.filter(|line| !line.is_empty()).map(of_line).collect()
    }
}

/// What a node knows of the only endpoint of each of its pools, by pool.
fn known(node: &Node) -> Result<HashMap<String, Value>> {
    let pools: Value = serde_json::from_str(&node.does(&["pools", "--json"])?)?;
    let of_pool = |pool: &Value| -> Result<(String, Value)> {
        let name = pool["name"].as_str().context("a name")?;
        Ok((name.to_owned(), pool["addresses"][0].clone()))
    };
    pools.as_array().context("pools")?.iter().map(of_pool).collect()
}

/// An endpoint, or an agent, whose clients wait in each look until a test says what that is to find. As a client looks again
/// when it is done with what it has seen, what it makes of it is known when it waits again.
struct Turns {
    at: SocketAddr,
    waiting: Arc<Mutex<Vec<(IpAddr, TcpStream)>>>,
    _fake: Fake,
}

impl Turns {
    fn start(address: Ipv4Addr) -> Result<Self> {
        let (listener, at) = listen(address)?;
        let waiting = Arc::<Mutex<Vec<_>>>::default();
        let of_thread = Arc::clone(&waiting);
        let fake = Fake::start(listener, move |stream| {
            let Ok(client) = stream.peer_addr() else { return };
            of_thread.lock().unwrap_or_else(PoisonError::into_inner).push((client.ip(), stream));
        })?;
        Ok(Self { at, waiting, _fake: fake })
    }

    /// The look of a client that waits, as soon as there is one.
    fn next(&self, client: Ipv4Addr) -> Result<TcpStream> {
        let look = tools::poll(&format!("{client} looks at {}", self.at), SEEN_WITHIN, || {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let at = waiting.iter().position(|(who, _)| *who == client);
            Ok(at.map(|at| waiting.remove(at).1))
        })?;
        look.set_read_timeout(Some(SEEN_WITHIN))?;
        Ok(look)
    }
}
