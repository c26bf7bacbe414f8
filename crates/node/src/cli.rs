//! The command line: declared once, from which parsing, help and errors follow.

use crate::config::{self, ControlSocket, NODE_NAME_MAX, WORKERS_MAX};
use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;
use wire::{NameBuf, RecordType};

const EXIT_CODES: &str = "\
Exit codes:
  0  fine
  1  a problem was found, or what was asked for failed: a zone with errors, no zone loaded, a reload that left a \
zone as it was, a node that can't be reached
  2  the command line or the configuration is wrong; nothing was done. Or `compare` can't tell";

const SERVE_EXAMPLES: &str = "\
Examples:
  starling serve --zone example.com=example.com.zone --listen 127.0.0.1:5300
  starling serve --config /etc/starling/node.toml

On stdout: a line `listening ADDR:PORT udp tcp` for each address, `listening ADDR:PORT tls` for those of TLS, then `ready`. The log goes to stderr.

Signals: SIGHUP reloads, as `starling ctl reload` does; SIGTERM and SIGINT end the node after the replies in hand \
have gone out.

A zone that can't be loaded is logged with all its errors, and its names get SERVFAIL; the others are served. If no \
zone can be loaded the node ends with 1, and with 2 if its configuration is wrong.";

const RUN_NOTES: &str = "\
Starts `starling serve` with the same configuration as its child, probes it through the service addresses, and keeps \
the route of [anycast] in the kernel, where BIRD learns it, for as long as the node is healthy. The route hangs on an \
interface of this process: if it dies, in whatever way, the route is gone. Needs CAP_NET_ADMIN, and \
CAP_NET_BIND_SERVICE for port 53.

On stdout: what `starling serve` says there, then `running`. The log goes to stderr.

Signals: SIGHUP reloads the zones; SIGTERM and SIGINT drain, withdraw, answer for the grace period, and end.";

const BENCH_NOTES: &str = "\
Examples:
  starling bench answer --table example.com.table --queries queries.txt
  starling bench answer --zone example.com=example.com.zone --queries queries.txt --dnssec --json

The time is that of the answers alone: reading a query's octets to having the response's, with a batch in memory as the \
kernel would have left it. It says nothing of the network.

Without hardware counters, as on most virtual machines, valgrind counts instructions: the difference between two runs, \
divided by the passes and queries that they differ by, leaves out everything but the answers:
  valgrind --tool=callgrind starling bench answer --table T --queries F --rounds 1 --passes 1
  valgrind --tool=callgrind starling bench answer --table T --queries F --rounds 1 --passes 11";

const COMPARE_NOTES: &str = "\
Zones are the same where serial and digest are: the digest is over the records that are served, whatever way they came. A \
zone that differs is shown with what each node has of it, and since when they have differed.

Exit codes:
  0  all nodes serve the same
  1  a zone differs, or is served by some of them only
  2  a node could not be asked, and the others serve the same";

const ORIGIN_RULES: &str = "\
The zone's name comes from NAME=FILE or --origin; otherwise from the file: its first $ORIGIN, or the owner of its \
SOA record if that ends with a dot, or else the file's name (example.com.zone, example.com.db and db.example.com are \
example.com). Which it was is said on stderr.";

/// Authoritative DNS from a compiled answer table.
#[derive(Parser, Debug)]
#[command(name = "starling", version, after_help = EXIT_CODES, max_term_width = 110)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Answer queries for zones, over UDP and TCP
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(ServeArguments),
    /// Answer queries and hold the anycast route for as long as they are answered well
    #[command(after_help = RUN_NOTES)]
    Run(RunArguments),
    /// Check configuration and zones, and report all problems
    #[command(after_help = ORIGIN_RULES)]
    Check(CheckArguments),
    /// Compile a zone to a table file
    #[command(after_help = ORIGIN_RULES)]
    Compile(CompileArguments),
    /// Make the keys that tables are signed with
    Key(KeyArguments),
    /// Show what is in a table file
    Inspect(InspectArguments),
    /// Show the answer to a query, and why it is the answer, without a server
    #[command(after_help = ORIGIN_RULES)]
    Lookup(LookupArguments),
    /// Measure what answers cost, without a server or a network
    Bench(BenchArguments),
    /// Ask or tell a running node
    Ctl(CtlArguments),
    /// Compare the zones that nodes serve, over their management addresses
    #[command(after_help = COMPARE_NOTES)]
    Compare(CompareArguments),
}

/// `starling compare`.
#[derive(Args, Debug)]
pub(crate) struct CompareArguments {
    /// Management addresses of two nodes or more, as ADDR:PORT
    #[arg(value_name = "NODE", required = true, num_args = 2..)]
    pub(crate) nodes: Vec<SocketAddr>,
    /// How long a node may take to tell of all its zones
    #[arg(long, default_value = "5s", value_name = "TIME", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// Form of the result.
    #[command(flatten)]
    pub(crate) output: OutputArguments,
}

/// How results are printed.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct OutputArguments {
    /// Print JSON instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

/// `starling serve`.
#[derive(Args, Debug)]
pub(crate) struct ServeArguments {
    /// Configuration file (TOML); options given here go before what it says
    #[arg(long, short, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Zone to serve from a master file; repeatable, added to those of the configuration
    #[arg(long = "zone", short, value_name = "NAME=FILE")]
    pub(crate) zones: Vec<ZoneArgument>,
    /// What the node does.
    #[command(flatten)]
    pub(crate) node: NodeArguments,
    /// Form of the log on stderr
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    pub(crate) log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace
    #[arg(long, default_value = "info", value_name = "LEVEL")]
    pub(crate) log_level: tracing::Level,
    /// Work for the agent (`starling run`) at the other end of standard input
    #[arg(long, hide = true)]
    pub(crate) agent_link: bool,
}

/// Options that a configuration file has too.
#[derive(Args, Clone, Default, Debug)]
pub(crate) struct NodeArguments {
    /// Address and port to listen on, UDP and TCP; repeatable; port 0 takes a free one
    #[arg(long, short, value_name = "ADDR:PORT")]
    pub(crate) listen: Vec<SocketAddr>,
    /// UDP worker threads, each pinned to a CPU [default: one for each CPU]
    #[arg(long, value_name = "N", value_parser = worker_count)]
    pub(crate) workers: Option<NonZeroUsize>,
    /// TCP threads [default: 1]
    #[arg(long, value_name = "N", value_parser = worker_count)]
    pub(crate) tcp_workers: Option<NonZeroUsize>,
    /// Folder where compiled tables are kept, so that a restart maps them instead of compiling
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Control socket, or `none` [default: /run/starling/control if that folder is writable, else
    /// `control` in the state folder, else none]
    #[arg(long, value_name = "PATH")]
    pub(crate) control: Option<ControlSocket>,
    /// Name of the node, told by NSID and id.server [default: not told]
    #[arg(long, value_parser = node_name)]
    pub(crate) name: Option<String>,
}

/// `starling run`.
#[derive(Args, Clone, Debug)]
pub(crate) struct RunArguments {
    /// Configuration file (TOML) with an `[anycast]` section
    #[arg(long, short, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Form of the log on stderr
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    pub(crate) log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace
    #[arg(long, default_value = "info", value_name = "LEVEL")]
    pub(crate) log_level: tracing::Level,
    /// Read the configuration, and end: whether this program could take over from another
    #[arg(long, hide = true)]
    pub(crate) rehearse: bool,
    /// Take over the lease and the server of the program before, from standard input
    #[arg(long, hide = true)]
    pub(crate) resume: bool,
}

impl RunArguments {
    /// The options of the log as they were given, for another program.
    pub(crate) fn log_words(&self) -> [OsString; 4] {
        let format = match self.log_format {
            LogFormat::Human => "human",
            LogFormat::Json => "json",
        };
        let level = self.log_level.to_string().to_ascii_lowercase();
        ["--log-format".into(), format.into(), "--log-level".into(), level.into()]
    }
}

/// `starling check`.
#[derive(Args, Debug)]
pub(crate) struct CheckArguments {
    /// Configuration file to check, with its zones
    #[arg(long, short, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Zone to check; repeatable
    #[arg(long = "zone", short, value_name = "NAME=FILE")]
    pub(crate) zones: Vec<ZoneArgument>,
    /// Master files to check, as NAME=FILE or FILE; a name ending in .toml is a configuration
    #[arg(value_name = "ZONE")]
    pub(crate) sources: Vec<PathBuf>,
    /// Zone's name, for the master files given without one
    #[arg(long, value_name = "NAME", value_parser = zone_name)]
    pub(crate) origin: Option<NameBuf>,
    /// Exit with 1 for warnings too
    #[arg(long)]
    pub(crate) strict: bool,
    /// Form of the result.
    #[command(flatten)]
    pub(crate) output: OutputArguments,
}

/// `starling compile`.
#[derive(Args, Debug)]
pub(crate) struct CompileArguments {
    /// Master file, as NAME=FILE or FILE
    pub(crate) zone: PathBuf,
    /// Table file to write; replaced at once if it exists
    #[arg(long, short, value_name = "TABLE")]
    pub(crate) output_file: PathBuf,
    /// Zone's name
    #[arg(long, value_name = "NAME", value_parser = zone_name)]
    pub(crate) origin: Option<NameBuf>,
    /// Keep the records of a set in one order, instead of rotating them from answer to answer
    #[arg(long)]
    pub(crate) no_rotate: bool,
    /// Sign the table with this private key (`starling key generate FILE`), in a file TABLE.sig beside it
    #[arg(long, value_name = "FILE")]
    pub(crate) sign: Option<PathBuf>,
    /// Form of the result.
    #[command(flatten)]
    pub(crate) output: OutputArguments,
}

/// `starling key`.
#[derive(Args, Debug)]
pub(crate) struct KeyArguments {
    /// Print JSON instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: KeyCommand,
}

/// What can be done with keys.
#[derive(Subcommand, Debug)]
pub(crate) enum KeyCommand {
    /// Make a private key (Ed25519, PKCS#8), and print its public key for `[[publisher]]`
    Generate {
        /// File to write, mode 0600; must not exist
        file: PathBuf,
    },
    /// Print the public key of a private one
    Show {
        /// File of the private key
        file: PathBuf,
    },
}

/// `starling inspect`.
#[derive(Args, Debug)]
pub(crate) struct InspectArguments {
    /// Table file
    pub(crate) table: PathBuf,
    /// Show what the table has for this name
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Form of the result.
    #[command(flatten)]
    pub(crate) output: OutputArguments,
}

/// `starling lookup`.
#[derive(Args, Debug)]
pub(crate) struct LookupArguments {
    /// Master file (NAME=FILE or FILE), table file, or configuration of a node (FILE.toml), with what its pools answer by
    /// what the last run knew
    #[arg(value_name = "ZONE-or-TABLE")]
    pub(crate) source: PathBuf,
    /// What to look up.
    #[command(flatten)]
    pub(crate) question: QuestionArguments,
    /// Zone's name, for a master file given without one
    #[arg(long, value_name = "NAME", value_parser = zone_name)]
    pub(crate) origin: Option<NameBuf>,
    /// Form of the result.
    #[command(flatten)]
    pub(crate) output: OutputArguments,
}

/// A query, and how it is asked.
#[derive(Args, Debug)]
pub(crate) struct QuestionArguments {
    /// Name to look up; without a final dot it is completed with the root, `@` is the apex
    pub(crate) name: String,
    /// Type to look up, such as AAAA or TYPE65280
    #[arg(value_name = "TYPE", value_parser = record_type, default_value = "A")]
    pub(crate) rtype: RecordType,
    /// Ask for DNSSEC records (the DO bit)
    #[arg(long)]
    pub(crate) dnssec: bool,
    /// Show the answer that goes out over UDP to a client that takes this many octets, instead of over TCP
    #[arg(long, value_name = "OCTETS")]
    pub(crate) udp: Option<u16>,
    /// Address of the client, for pools that answer networks differently
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) client: Option<IpAddr>,
}

/// `starling bench`.
#[derive(Args, Debug)]
pub(crate) struct BenchArguments {
    /// What to measure.
    #[command(subcommand)]
    pub(crate) command: BenchCommand,
}

/// What can be measured.
#[derive(Subcommand, Debug)]
pub(crate) enum BenchCommand {
    /// Replay queries through the answer function, in batches as a worker gets them
    #[command(after_help = BENCH_NOTES)]
    Answer(AnswerArguments),
}

/// `starling bench answer`.
#[derive(Args, Debug)]
pub(crate) struct AnswerArguments {
    /// Table file to answer from; repeatable
    #[arg(long = "table", short, value_name = "TABLE")]
    pub(crate) tables: Vec<PathBuf>,
    /// Zone to compile and answer from; repeatable
    #[arg(long = "zone", short, value_name = "NAME=FILE")]
    pub(crate) zones: Vec<ZoneArgument>,
    /// Configuration whose zones are compiled and answered from, with its `udp-payload-max`
    #[arg(long, short, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Queries to replay, as dnsperf reads them: a line `NAME TYPE` for each
    #[arg(long, short, value_name = "FILE")]
    pub(crate) queries: PathBuf,
    /// Give the queries an OPT record that offers this many octets [default: none; 1232 with --dnssec]
    #[arg(long, value_name = "OCTETS")]
    pub(crate) edns: Option<u16>,
    /// Ask for DNSSEC records (the DO bit)
    #[arg(long)]
    pub(crate) dnssec: bool,
    /// Queries in a batch
    #[arg(long, default_value_t = BATCH_MAX, value_name = "N", value_parser = value_parser!(u16).range(1..=BATCH_MAX as i64))]
    pub(crate) batch: u16,
    /// Rounds to measure
    #[arg(long, default_value = "5", value_name = "N")]
    pub(crate) rounds: NonZeroU32,
    /// How long a round is, such as 500ms or 2s
    #[arg(long, default_value = "1s", value_name = "TIME", value_parser = duration)]
    pub(crate) time: Duration,
    /// Make each round so many passes over the queries, instead of by time: for counting instructions from outside
    #[arg(long, value_name = "N", conflicts_with = "time")]
    pub(crate) passes: Option<NonZeroU32>,
    /// Form of the result.
    #[command(flatten)]
    pub(crate) output: OutputArguments,
}

/// The most queries in a batch: as many as a worker receives at once.
const BATCH_MAX: u16 = netio::batch::BATCH_LEN as u16;

/// `starling ctl`.
#[derive(Args, Debug)]
pub(crate) struct CtlArguments {
    /// Control socket of the node
    #[arg(long, value_name = "PATH", global = true, conflicts_with = "state_dir")]
    pub(crate) control: Option<PathBuf>,
    /// State folder of the node, where its control socket is unless it has another
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) state_dir: Option<PathBuf>,
    /// Configuration of the node, to find its control socket
    #[arg(long, short, value_name = "FILE", global = true, conflicts_with_all = ["control", "state_dir"])]
    pub(crate) config: Option<PathBuf>,
    /// Print JSON instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// What to ask or tell.
    #[command(subcommand)]
    pub(crate) command: CtlCommand,
}

/// What a running node can be asked or told.
#[derive(Subcommand, Debug)]
pub(crate) enum CtlCommand {
    /// Show what the node is doing
    Status,
    /// Show the zones: which version is served, and what holds a newer one back
    Zones {
        /// Show only the serial, since when it is served, and the digest of the records: what nodes with the same zone share
        #[arg(long)]
        digests: bool,
    },
    /// Read changed zone files again (and the configuration, if the node was started with one)
    ///
    /// Waits for the result. Nothing that is served changes until the new version of a zone has proved good;
    /// exit code 1 says that a zone stayed as it was because of an error.
    Reload {
        /// Only this zone; the configuration is not read
        zone: Option<String>,
        /// Compile even zones whose files have not changed
        #[arg(long)]
        force: bool,
    },
    /// Tell the secondaries of a zone once more which version there is (NOTIFY, RFC 1996)
    Notify {
        /// The zone
        zone: String,
    },
    /// Ask the primaries of a zone whether they have a newer version, and transfer it if so
    ///
    /// Waits for the result; exit code 1 says that no primary could be asked, or that the new version is not good.
    Refresh {
        /// The zone
        zone: String,
    },
    /// Transfer a zone from a primary whatever its serial is, such as after one that went back
    ///
    /// Waits for the result. The version that is served stays until the new one has proved good.
    Retransfer {
        /// The zone
        zone: String,
    },
    /// Serve a table that `starling compile` has made on another machine, of a zone with `published = true`
    ///
    /// Waits until every worker answers from it. The node reads the table by its path, and TABLE.sig beside it where the zone
    /// has `publishers`; it keeps a copy of its own. Exit code 1 says that what was served is served.
    Publish {
        /// The zone
        zone: String,
        /// The table file
        table: PathBuf,
        /// Take it even if its serial doesn't go forward
        #[arg(long)]
        any_serial: bool,
        /// Wait until it is on disk, too
        #[arg(long)]
        durable: bool,
    },
    /// Show the catalog zones that the node follows, or approve what is held of one
    Catalog {
        /// What to show or to do.
        #[command(subcommand)]
        command: CatalogCommand,
    },
    /// Show the answer to a query as it is now, and why it is the answer
    Lookup {
        /// What to look up.
        #[command(flatten)]
        question: QuestionArguments,
    },
    /// Show the pools: what each answers, and since when
    Pools,
    /// Show a pool with its endpoints, or say what an endpoint is to count as
    #[command(args_conflicts_with_subcommands = true)]
    Pool {
        /// The pool to show, as `status` does [default: all of them]
        pool: Option<String>,
        /// What to show or to do.
        #[command(subcommand)]
        action: Option<PoolAction>,
    },
    /// Look at the versions of a zone, take one that is held back, or go back to the one before
    Zone {
        /// What to do.
        #[command(subcommand)]
        action: ZoneAction,
    },
    /// Move traffic away: announce the route as the last choice (RFC 8326)
    ///
    /// Without --for it stays so until `undrain`.
    Drain {
        /// For how long, such as 90s, 10m or 1h
        #[arg(long = "for", value_name = "TIME", value_parser = duration)]
        time: Option<Duration>,
        /// What comes after that time
        #[arg(long, value_enum, default_value_t, requires = "time")]
        then: Then,
    },
    /// End a drain
    Undrain,
    /// Take the node out of routing until further notice, also over restarts; or back
    Maintenance {
        /// Whether it is to be out
        #[arg(value_enum)]
        switch: Switch,
    },
    /// Show why the route is in its state: every check, its last results, and what would have to change
    Explain,
    /// Show the transitions of the route with their reasons, the newest last
    History {
        /// How many
        #[arg(long, short = 'n', default_value_t = 20)]
        count: usize,
    },
    /// Replace the running program by the one on disk, without losing a query or moving the route
    Upgrade {
        /// The new program [default: the path that the running one was started from]
        #[arg(long, value_name = "FILE")]
        binary: Option<PathBuf>,
    },
}

/// What can be asked or told about catalog zones.
#[derive(Subcommand, Debug)]
pub(crate) enum CatalogCommand {
    /// Show the members, what is held and what is ignored
    Status {
        /// Only this catalog
        zone: Option<String>,
    },
    /// Remove the members that the catalog lists no longer and whose removal is held, because they are so many
    ///
    /// Waits for the result. `catalog status` shows which those are; where they are others than so many by then, nothing is removed.
    Approve {
        /// The catalog
        zone: String,
        /// How many they are
        removals: usize,
    },
}

/// What can be asked or told about a pool.
#[derive(Subcommand, Debug)]
pub(crate) enum PoolAction {
    /// Show what the pool answers and why, its endpoints, and what has changed
    Status {
        /// The pool
        pool: String,
    },
    /// Have an endpoint count as up, down or drained whatever checks find, or `auto`: as they find it
    ///
    /// It stays so over restarts. One that is drained is answered with only if nothing else is left, one that is down never.
    Set {
        /// The pool
        pool: String,
        /// The endpoint
        endpoint: String,
        /// What it is to count as
        #[arg(value_enum)]
        state: AdminState,
    },
    /// Have the best tier that is good answer again, without waiting
    FailBack {
        /// The pool
        pool: String,
    },
}

/// What an endpoint counts as.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AdminState {
    /// Good
    Up,
    /// Never to be answered with
    Down,
    /// To be answered with only if nothing else is left
    Drain,
    /// As checks find it
    Auto,
}

/// What can be done with the versions of a zone.
#[derive(Subcommand, Debug)]
pub(crate) enum ZoneAction {
    /// Show which version is served, which is held back and why, and which was before
    Status {
        /// The zone
        zone: String,
    },
    /// Serve the version that is held back, whatever the rules of admission say
    Approve {
        /// The zone
        zone: String,
    },
    /// Serve the version before again, at once
    ///
    /// The version that was served is held back, also when it comes again; a newer one, or `approve`, ends that.
    Rollback {
        /// The zone
        zone: String,
    },
}

/// What follows a drain of limited time.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum Then {
    /// No route, until `undrain`
    #[default]
    Down,
    /// The route as it was
    Up,
}

/// On or off.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Switch {
    /// Out of routing
    On,
    /// Back
    Off,
}

/// The longest time that can be given: a month is longer than any maintenance that is not forgotten.
const DURATION_MAX: Duration = Duration::from_secs(31 * 86_400);

/// A time such as `500ms`, `90s`, `10m`, `1h`, `2d`; a number alone is seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "give a number with ms, s, m, h or d, such as 90s or 10m, up to 31d".to_owned();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let unit_ms = match &text[digits..] {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    let time = number.checked_mul(unit_ms).map(Duration::from_millis);
    time.filter(|time| *time <= DURATION_MAX).ok_or_else(wrong)
}

/// Form of the log.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum LogFormat {
    /// For people
    #[default]
    Human,
    /// One JSON object a line
    Json,
}

/// `NAME=FILE`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ZoneArgument {
    /// The apex, in lower case.
    pub(crate) name: NameBuf,
    /// The master file.
    pub(crate) file: PathBuf,
}

impl FromStr for ZoneArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<ZoneArgument, String> {
        let Some((name, file)) = text.split_once('=') else {
            return Err("write it as NAME=FILE, for example example.com=example.com.zone".to_owned());
        };
        if file.is_empty() {
            return Err("the file after the `=` is missing".to_owned());
        }
        let name = config::apex(name).map_err(|error| format!("`{name}` is not a domain name: {error}"))?;
        Ok(ZoneArgument { name, file: PathBuf::from(file) })
    }
}

/// A zone named for a command that works on files: `NAME=FILE`, unless there is a file of that whole name.
pub(crate) fn named_source(source: &Path) -> Option<ZoneArgument> {
    if source.exists() {
        return None;
    }
    source.to_str()?.parse().ok()
}

fn zone_name(text: &str) -> Result<NameBuf, String> {
    config::apex(text).map_err(|error| error.to_string())
}

fn record_type(text: &str) -> Result<RecordType, String> {
    let unknown = || "neither a known type nor TYPE and a number up to 65535".to_owned();
    RecordType::from_text(text.as_bytes()).ok_or_else(unknown)
}

fn worker_count(text: &str) -> Result<NonZeroUsize, String> {
    let count = text.parse().ok().filter(|count: &NonZeroUsize| count.get() <= WORKERS_MAX);
    count.ok_or_else(|| format!("give a number from 1 to {WORKERS_MAX}"))
}

fn node_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > NODE_NAME_MAX {
        return Err(format!("give 1 to {NODE_NAME_MAX} octets"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_declaration_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn zones_are_named_with_their_file() {
        let zone: ZoneArgument = "Example.com=a=b".parse().unwrap();
        assert_eq!((zone.name.to_string().as_str(), zone.file.to_str().unwrap()), ("example.com.", "a=b"));
        for text in ["example.com", "example.com=", "a..b=file"] {
            assert!(text.parse::<ZoneArgument>().is_err(), "{text}");
        }
    }

    #[test]
    fn times_have_units() {
        for (text, ms) in [("5", 5_000), ("250ms", 250), ("10m", 600_000), ("2h", 7_200_000), ("0s", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "m", "5 m", "-1s", "1w", "32d", "99999999999999999999s", "18446744073709551615d"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn compile_takes_o() {
        let cli = Cli::try_parse_from(["starling", "compile", "x.zone", "-o", "x.table"]).unwrap();
        let Command::Compile(arguments) = cli.command else { panic!("another command") };
        assert_eq!(arguments.output_file, PathBuf::from("x.table"));
    }

    #[test]
    fn ctl_options_may_stand_after_its_command() {
        let cli = Cli::try_parse_from(["starling", "ctl", "zones", "--control", "/x", "--json"]).unwrap();
        let Command::Ctl(arguments) = cli.command else { panic!("another command") };
        assert!(arguments.json);
        assert_eq!(arguments.control, Some(PathBuf::from("/x")));
    }
}
