//! The control socket: one request a connection, each way one line of JSON.
//!
//! ```text
//! {"command":"status"}
//! {"command":"zones"}                                      or the first so many: {"command":"zones","max":1000}
//! {"command":"digests","from":0}                           a page of what `starling compare` compares
//! {"command":"reload","zone":"example.com.","force":false}
//! {"command":"refresh","zone":"example.com."}              and retransfer, zone-status, zone-approve, zone-rollback
//! {"command":"publish","zone":"example.com.","table":"/srv/example.com.table","any-serial":false,"durable":false}
//! {"command":"catalogs","zone":null}                       
//! {"command":"approve-catalog","zone":"example.com.","removals":12}
//! {"command":"lookup","name":"www.example.com","rtype":"A","dnssec":false,"udp":null,"client":null}
//! {"command":"pools","pool":null}                        and pool-set, pool-fail-back
//! {"command":"pool-views","asked":"…"}                    as a peer has asked it at the management address
//! {"command":"drain","for_ms":600000,"then_up":false}      and undrain, maintenance, explain, history, upgrade
//! ```
//! The answer is `{"status":…}`, `{"zones":[…]}`, `{"digests":…}`, `{"zone":…}`, `{"catalogs":[…]}`, `{"answer":…}`, `{"pools":[…]}`, `{"pool-views":…}`, `{"reload":…}`, `{"published":…}`, `{"route":…}`, `{"history":[…]}`, `{"done":"…"}` or
//! `{"error":"…"}`. Who may connect decides the
//! file system: the socket belongs to the node's user, mode 0600.

mod catalogs;
mod client;
mod lookup;
mod pools;
mod publish;
mod server;

pub(crate) use client::{ask, ask_server, path_for};
pub(crate) use server::{Ready, Reply, Socket, Subject, resolve, serve};

use crate::pools::Told;
use crate::status::{
    AgentStatus, CatalogStatus, DigestPage, LookedUp, NodeStatus, PoolStatus, PublishReport, ReloadReport,
    TransitionRecord, ZoneStatus,
};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The folder where packages make room for the node's socket.
const RUN_DIR: &str = "/run/starling";
/// The name of the socket in its folder.
const FILE_NAME: &str = "control";

/// What is asked of a node.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Request {
    /// How it is.
    Status,
    /// Which zones it has.
    Zones {
        /// The first so many of the configuration; all where there is no number.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max: Option<usize>,
    },
    /// Which versions of zones answer.
    Digests {
        /// From the zone with this index on, as many as a page has.
        from: usize,
    },
    /// To read zones again.
    Reload {
        /// The one zone; all where there is none.
        zone: Option<String>,
        /// Whether to compile unchanged ones too.
        #[serde(default)]
        force: bool,
    },
    /// To tell the secondaries of a zone once more which version there is.
    Notify {
        /// The zone.
        zone: String,
    },
    /// To ask the primaries of a zone for a newer version.
    Refresh {
        /// The zone.
        zone: String,
    },
    /// To transfer a zone from a primary in any case.
    Retransfer {
        /// The zone.
        zone: String,
    },
    /// To serve a table that was compiled elsewhere.
    #[serde(rename_all = "kebab-case")]
    Publish {
        /// The zone.
        zone: String,
        /// The file, by a whole path; its signature is beside it.
        table: std::path::PathBuf,
        /// Whether to take it even if its serial doesn't go forward.
        #[serde(default)]
        any_serial: bool,
        /// Whether to answer only when it is on disk.
        #[serde(default)]
        durable: bool,
    },
    /// How the catalogs are that the node follows.
    Catalogs {
        /// The one; all where there is none.
        zone: Option<String>,
    },
    /// To remove what a catalog lists no longer and what is held.
    ApproveCatalog {
        /// The catalog.
        zone: String,
        /// How many removals are held, by what whoever approves has seen.
        removals: usize,
    },
    /// What versions of a zone there are, and what stopped others.
    ZoneStatus {
        /// The zone.
        zone: String,
    },
    /// To serve the version of a zone that is held back.
    ZoneApprove {
        /// The zone.
        zone: String,
    },
    /// To serve the version of a zone again that was served before.
    ZoneRollback {
        /// The zone.
        zone: String,
    },
    /// What a query is answered now, and why.
    Lookup {
        /// The name.
        name: String,
        /// The type, as in a zone file.
        rtype: String,
        /// Whether DNSSEC records are asked for.
        #[serde(default)]
        dnssec: bool,
        /// What the client takes over UDP, in octets; over TCP where there is no number.
        #[serde(default)]
        udp: Option<u16>,
        /// Who asks.
        #[serde(default)]
        client: Option<std::net::IpAddr>,
    },
    /// How the pools are.
    Pools {
        /// The one; all where there is none.
        pool: Option<String>,
    },
    /// To have an endpoint of a pool count as up, down or drained, or as checks find it.
    PoolSet {
        /// The pool.
        pool: String,
        /// The endpoint.
        endpoint: String,
        /// `up`, `down`, `drain` or `auto`.
        admin: String,
    },
    /// To have the best tier of a pool answer again.
    PoolFailBack {
        /// The pool.
        pool: String,
    },
    /// What a peer is to be answered that asks what the checks of pools see.
    PoolViews {
        /// How it has signed its question.
        asked: String,
    },
    /// To announce the route as the last choice.
    Drain {
        /// For how long, in milliseconds; until further notice where there is none.
        for_ms: Option<u64>,
        /// Whether the route comes back by itself after that.
        #[serde(default)]
        then_up: bool,
    },
    /// To end that.
    Undrain,
    /// To leave routing until further notice, or to come back.
    Maintenance {
        /// Whether to leave.
        on: bool,
    },
    /// Why the route is where it is.
    Explain,
    /// The last transitions.
    History {
        /// How many.
        count: usize,
    },
    /// To replace the running program.
    Upgrade {
        /// By this one; by that at the path it was started from where there is none.
        binary: Option<std::path::PathBuf>,
    },
}

impl Request {
    /// Whether only an agent can do it: the others are the server's.
    pub(crate) fn is_of_the_route(&self) -> bool {
        !matches!(
            self,
            Request::Status
                | Request::Zones { .. }
                | Request::Digests { .. }
                | Request::Reload { .. }
                | Request::Refresh { .. }
                | Request::Retransfer { .. }
                | Request::Notify { .. }
                | Request::Publish { .. }
                | Request::Catalogs { .. }
                | Request::ApproveCatalog { .. }
                | Request::ZoneStatus { .. }
                | Request::ZoneApprove { .. }
                | Request::ZoneRollback { .. }
                | Request::Lookup { .. }
                | Request::Pools { .. }
                | Request::PoolSet { .. }
                | Request::PoolFailBack { .. }
                | Request::PoolViews { .. }
        )
    }
}

/// What it answers.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Response {
    /// How it is.
    Status(Box<NodeStatus>),
    /// Which zones it has.
    Zones(Vec<ZoneStatus>),
    /// How the catalogs are.
    Catalogs(Vec<CatalogStatus>),
    /// What the query is answered, and why.
    Answer(Box<LookedUp>),
    /// How the pools are.
    Pools(Vec<PoolStatus>),
    /// What a peer is answered.
    PoolViews(Told),
    /// Which versions of zones answer.
    Digests(DigestPage),
    /// One zone, after what was asked has been done.
    Zone(Box<ZoneStatus>),
    /// What came of the reload.
    Reload(ReloadReport),
    /// What came of the table.
    Published(PublishReport),
    /// How the route is, and why.
    Route(Box<AgentStatus>),
    /// The last transitions, the oldest first.
    History(Vec<TransitionRecord>),
    /// It is done, or begun; what comes now.
    Done(String),
    /// Why there is no answer.
    Error(String),
}

/// Where the control socket is if nobody says: in `/run/starling` if `usable` says so of that folder, else in the
/// state folder.
fn default_path(state_dir: Option<&Path>, usable: impl Fn(&Path) -> bool) -> Option<std::path::PathBuf> {
    let run_dir = Path::new(RUN_DIR);
    if usable(run_dir) {
        return Some(run_dir.join(FILE_NAME));
    }
    state_dir.map(|folder| folder.join(FILE_NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol_is_as_documented() {
        let parse = |text: &str| serde_json::from_str::<Request>(text);
        assert_eq!(parse(r#"{"command":"status"}"#).unwrap(), Request::Status);
        assert_eq!(parse(r#"{"command":"zones"}"#).unwrap(), Request::Zones { max: None });
        assert_eq!(parse(r#"{"command":"zones","max":7}"#).unwrap(), Request::Zones { max: Some(7) });
        // An older server is asked for all zones in words that it knows.
        assert_eq!(serde_json::to_string(&Request::Zones { max: None }).unwrap(), r#"{"command":"zones"}"#);
        let reload = Request::Reload { zone: None, force: false };
        assert_eq!(parse(r#"{"command":"reload","zone":null}"#).unwrap(), reload);
        assert_eq!(parse(r#"{"command":"reload"}"#).unwrap(), reload);
        let table = std::path::PathBuf::from("/x");
        let publish = Request::Publish { zone: "a.".to_owned(), table, any_serial: true, durable: false };
        let text = r#"{"command":"publish","zone":"a.","table":"/x","any-serial":true}"#;
        assert_eq!(parse(text).unwrap(), publish);
        assert!(!publish.is_of_the_route(), "an agent passes it on");
        assert!(parse(r#"{"command":"stop"}"#).is_err());
        assert!(parse(r#"{"command":"reload","zones":"x"}"#).is_err());
        let error = serde_json::to_string(&Response::Error("no".to_owned())).unwrap();
        assert_eq!(error, r#"{"error":"no"}"#);
    }

    #[test]
    fn the_socket_has_a_default_place() {
        let state = Path::new("/var/lib/starling");
        let at = |path: Option<std::path::PathBuf>| path.map(|path| path.display().to_string());
        assert_eq!(at(default_path(Some(state), |_| true)).as_deref(), Some("/run/starling/control"));
        assert_eq!(at(default_path(Some(state), |_| false)).as_deref(), Some("/var/lib/starling/control"));
        assert_eq!(default_path(None, |_| false), None);
    }
}
