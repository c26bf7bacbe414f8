//! A node with a route: its namespace, its configuration, the process, and what can be asked of it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use starling_tests::http::{self, Answer};
use starling_tests::message::Message;
use starling_tests::name::Name;
use starling_tests::netns::{Forwarding, Namespace};
use starling_tests::process::Process;
use starling_tests::query::Query;
use starling_tests::{client, tools};

use crate::node::{TYPE_SOA, run, said, small_zone};

/// The service addresses; each node has a namespace of its own, and so port 53 for itself.
pub(super) const SERVICE: [&str; 2] = ["203.0.113.53:53", "[2001:db8:53::53]:53"];
/// Where the node is asked over HTTP, inside its namespace.
pub(super) const MANAGEMENT: &str = "127.0.0.1:8053";
/// The metrics that stand for the rungs of the route.
pub(super) const UP: Option<u64> = Some(100);
pub(super) const DEGRADED: Option<u64> = Some(200);
pub(super) const DRAINING: Option<u64> = Some(300);
pub(super) const DOWN: Option<u64> = None;
/// How long anything may take that takes well under a second on an idle machine.
pub(super) const LIMIT: Duration = Duration::from_secs(20);
/// Times for the `[anycast]` section that let a test see all of a node's life within seconds; with patience for a machine
/// that runs other tests, as freezing is not what is looked at here.
pub(super) const SHORT: &str = "stable-ms = 300\ndrain-ms = 300\ngrace-ms = 300\nhold-down-ms = 1\nhold-down-max-ms = 1\n\
                                probe-ms = 100\nfreeze-ms = 3000\ntransitions-per-hour-max = 1000\n";

/// A namespace, and a folder with a configuration and a zone in it.
pub(super) struct Place {
    pub(super) namespace: Namespace,
    folder: tempfile::TempDir,
}

impl Place {
    /// A place for a node that has the zone `small.example`, short times, and further sections.
    pub(super) fn new(label: &str, sections: &str) -> Result<Self> {
        let zone = "[[zone]]\nname = \"small.example\"\nfile = \"small.zone\"\n";
        Self::with(label, SHORT, &format!("[management]\nlisten = [\"{MANAGEMENT}\"]\n{zone}{sections}"))
    }

    /// A place with these lines in its `[anycast]` section, and these sections after that.
    pub(super) fn with(label: &str, anycast: &str, sections: &str) -> Result<Self> {
        let namespace = Namespace::new(label, Forwarding::Off)?;
        let place = Self { namespace, folder: tempfile::tempdir()? };
        place.write("small.zone", &small_zone(1, ""))?;
        place.configure(anycast, sections)?;
        Ok(place)
    }

    /// Writes the configuration.
    pub(super) fn configure(&self, anycast: &str, sections: &str) -> Result<()> {
        let text = format!(
            "[node]\nname = \"ams1\"\nlisten = {SERVICE:?}\nworkers = 2\nstate-dir = \"state\"\n\
             control = \"control\"\n[anycast]\naddresses = [\"203.0.113.53\", \"2001:db8:53::53\"]\n\
             prefixes = [\"203.0.113.0/24\", \"2001:db8:53::/48\"]\n{anycast}{sections}"
        );
        self.write("node.toml", &text)
    }

    /// A file of the folder.
    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// Writes a file of the folder.
    pub(super) fn write(&self, file: &str, text: &str) -> Result<()> {
        std::fs::write(self.path(file), text).with_context(|| file.to_owned())
    }

    /// `starling run` with the configuration, not yet started.
    pub(super) fn command(&self) -> Result<Command> {
        let mut command = self.namespace.command(&tools::starling()?.display().to_string())?;
        command.arg("run").arg("--config").arg(self.path("node.toml"));
        Ok(command)
    }

    /// Starts the node, and leaves it to itself.
    pub(super) fn launch(&self) -> Result<Agent<'_>> {
        let process = Process::spawn("starling run", &self.command()?, &self.path("log"))?;
        Ok(Agent { place: self, process })
    }

    /// Starts the node; returns when its route is up.
    pub(super) fn start(&self) -> Result<Agent<'_>> {
        let agent = self.launch()?;
        agent.wait(UP)?;
        Ok(agent)
    }

    /// Runs the node until it gives up by itself. One that doesn't is killed, which is no exit code.
    pub(super) fn fail(&self) -> Result<Output> {
        let command = self.command()?;
        let mut bounded = Command::new(tools::program("timeout")?);
        bounded.args(["--signal=KILL", &LIMIT.as_secs().to_string()]);
        run(bounded.arg(command.get_program()).args(command.get_args()))
    }

    /// The prefixes in the private table with their metrics.
    pub(super) fn routes(&self) -> Result<BTreeSet<(String, u64)>> {
        let mut routes = BTreeSet::new();
        for family in ["-4", "-6"] {
            // A table that has never had a route does not exist, which `ip` takes for an error.
            let Ok(text) = self.namespace.ip(&format!("-json {family} route show table 5353")) else {
                continue;
            };
            let listed: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
            for route in listed.as_array().into_iter().flatten() {
                let (prefix, metric) = (route["dst"].as_str(), route["metric"].as_u64());
                ensure!(route["dev"] == "starling0" && route["protocol"] == "153", "{route}");
                routes.insert((prefix.context("dst")?.to_owned(), metric.context("metric")?));
            }
        }
        Ok(routes)
    }

    /// `starling ctl` with these arguments.
    pub(super) fn ctl(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(tools::starling()?);
        run(command.arg("ctl").arg("--control").arg(self.path("control")).args(arguments))
    }

    /// What a command says that has to go well.
    pub(super) fn said(&self, arguments: &[&str]) -> Result<String> {
        let output = self.ctl(arguments)?;
        ensure!(output.status.success(), "{arguments:?}: {}", said(&output));
        Ok(String::from_utf8(output.stdout)?)
    }

    /// What a command says that has to be refused.
    pub(super) fn refused(&self, arguments: &[&str]) -> Result<String> {
        let output = self.ctl(arguments)?;
        ensure!(output.status.code() == Some(1), "{arguments:?}: {}\n{}", output.status, said(&output));
        Ok(String::from_utf8(output.stderr)?)
    }

    /// The same as JSON.
    pub(super) fn json(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.said(&[arguments, &["--json"]].concat())?;
        serde_json::from_str(&text).with_context(|| text.clone())
    }

    /// The answer of the management address.
    pub(super) fn get(&self, path: &str) -> Result<Answer> {
        let server: SocketAddr = MANAGEMENT.parse()?;
        self.namespace.inside(|| http::get(server, path))?
    }

    /// The answer to a query for the zone's SOA at a service address; none if nothing comes within a second.
    pub(super) fn ask(&self, service: &str) -> Result<Option<Message>> {
        let server: SocketAddr = service.parse()?;
        let query = Query::new(Name::parse("small.example.")?, TYPE_SOA).bytes(77);
        let answer = self.namespace.inside(|| client::udp_raw(server, &query, Duration::from_secs(1)))?;
        // Without the address there is no way to ask, and that is no answer either.
        answer.ok().flatten().map(|(bytes, _)| Message::decode(&bytes)).transpose()
    }
}

/// A running node.
pub(super) struct Agent<'p> {
    pub(super) place: &'p Place,
    pub(super) process: Process,
}

impl Agent<'_> {
    /// Waits until both prefixes have this metric alone, or no route at all.
    pub(super) fn wait(&self, metric: Option<u64>) -> Result<()> {
        let wanted: BTreeSet<(String, u64)> = metric
            .into_iter()
            .flat_map(|metric| {
                ["203.0.113.0/24", "2001:db8:53::/48"].map(|prefix| (prefix.to_owned(), metric))
            })
            .collect();
        let reached = tools::poll(&format!("routes with metric {metric:?}"), LIMIT, || {
            Ok((self.place.routes()? == wanted).then_some(()))
        });
        reached.with_context(|| {
            let explained = self.place.ctl(&["explain"]).map(|output| said(&output)).unwrap_or_default();
            format!("{:?}\n{explained}\n{}", self.place.routes(), self.process.log_tail())
        })
    }

    /// Waits until `ctl explain` has something to show.
    pub(super) fn explains(&self, what: &str, shown: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = Value::Null;
        let found = tools::poll(what, LIMIT, || {
            // The control socket comes a moment after the process.
            last = self.place.json(&["explain"]).unwrap_or_default();
            Ok(shown(&last).then(|| last.clone()))
        });
        found.with_context(|| format!("{last:#}\n{}", self.process.log_tail()))
    }

    /// The next line on standard output.
    pub(super) fn line(&mut self) -> Result<String> {
        let Some(line) = self.process.line(Instant::now() + LIMIT)? else {
            bail!("nothing more on standard output:\n{}", self.process.log_tail())
        };
        Ok(line)
    }

    /// The server's process.
    pub(super) fn server(&self) -> Result<i64> {
        let explained = self.place.json(&["explain"])?;
        explained["server"]["pid"].as_i64().with_context(|| format!("{explained:#}"))
    }
}

/// The check of this name in what `ctl explain` shows.
pub(super) fn check<'e>(explained: &'e Value, name: &str) -> &'e Value {
    let checks = explained["checks"].as_array();
    checks.and_then(|all| all.iter().find(|check| check["name"] == name)).unwrap_or(&Value::Null)
}

/// The lines of a list of texts, in one.
pub(super) fn lines(list: &Value) -> String {
    let texts: Vec<&str> = list.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    texts.join("\n")
}
