//! Checks by ICMP echo, in network namespaces: with the sockets that groups may have, with raw ones, and with neither.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use starling_tests::netns::{self, Forwarding, Namespace};
use starling_tests::tools;

use crate::node::{Node, SEEN_WITHIN};

const V4: &str = "192.0.2.7";
const V6: &str = "2001:db8::7";

fn pool() -> String {
    format!(
        "[[zone]]\nname = \"example.com\"\nfile = \"example.com\"\n[[pool]]\nname = \"web\"\nnames = \"www.example.com\"\ncheck = {{ \
         kind = \"icmp\", interval-ms = 50, timeout-ms = 500, rise = 1, fall = 2 }}\n[[pool.endpoint]]\nname = \"a\"\naddress = \
         [\"{V4}\", \"{V6}\"]\n"
    )
}

struct Site {
    namespace: Namespace,
    node: Node,
}

impl Site {
    /// A node in a namespace of its own, whose groups up to this one may have sockets for echo; started with or without capabilities.
    fn start(groups: &str, setpriv: &[&str]) -> Result<Site> {
        let namespace = Namespace::new("echo", Forwarding::Off)?;
        namespace.sysctl("net.ipv4.ping_group_range", groups)?;
        namespace.add_address("lo", &format!("{V4}/32"))?;
        namespace.add_address("lo", &format!("{V6}/128"))?;
        let mut node = Node::new("")?;
        node.configure(&pool())?;
        let mut command = namespace.command("setpriv")?;
        command.args(setpriv).arg(tools::starling()?);
        node.start_by(command)?;
        Ok(Site { namespace, node })
    }

    /// Waits until both addresses are so, and this is said of them.
    fn sees(&self, health: &str, said: &str) -> Result<()> {
        let seen = || -> Result<Option<()>> {
            let pool = self.node.pool("web")?;
            let addresses = pool["addresses"].as_array().context("addresses")?;
            let is_so = |address: &serde_json::Value| {
                let says = |key: &str| address[key].as_str().is_some_and(|text| text.contains(said));
                address["health"] == health && (said.is_empty() || says("failure") || says("unseen"))
            };
            Ok((addresses.len() == 2 && addresses.iter().all(is_so)).then_some(()))
        };
        tools::poll(&format!("both are {health}: {said}"), SEEN_WITHIN, seen)
            .with_context(|| format!("{:?}\n{}", self.node.pool("web"), self.node.log()))
    }

    /// Endpoints that do not answer, are gone, and come back.
    fn follows(&self) -> Result<()> {
        self.sees("up", "")?;
        let ignore = |value| -> Result<()> {
            self.namespace.sysctl("net.ipv4.icmp_echo_ignore_all", value)?;
            self.namespace.sysctl("net.ipv6.icmp.echo_ignore_all", value)
        };
        ignore("1")?;
        self.sees("down", "no reply within 500 ms")?;
        ignore("0")?;
        self.sees("up", "")?;
        self.namespace.ip(&format!("address del {V4}/32 dev lo"))?;
        self.namespace.ip(&format!("address del {V6}/128 dev lo"))?;
        self.sees("down", "no reply: ")?;
        self.namespace.add_address("lo", &format!("{V4}/32"))?;
        self.namespace.add_address("lo", &format!("{V6}/128"))?;
        self.sees("up", "")
    }

    /// What the process may do; it runs under its starters.
    fn capabilities(&self) -> Result<Vec<String>> {
        let mut all = Vec::new();
        for pid in self.namespace.pids()? {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
            all.extend(status.lines().filter(|line| line.starts_with("CapPrm")).map(str::to_owned));
        }
        Ok(all)
    }
}

#[test]
fn groups_that_may_have_sockets_for_echo_need_no_more() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let site = Site::start("0 0", &["--bounding-set=-all"])?;
    site.follows()
}

#[test]
fn raw_sockets_are_opened_before_the_right_to_them_is_given_up() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let site = Site::start("1 0", &["--bounding-set=+all"])?;
    site.follows()?;
    let capabilities = site.capabilities()?;
    ensure!(
        !capabilities.is_empty() && capabilities.iter().all(|line| line.ends_with("0000000000000000")),
        "{capabilities:?}"
    );
    Ok(())
}

#[test]
fn where_neither_is_allowed_endpoints_are_unknown_and_what_to_do_is_said() -> Result<()> {
    const SAID: &str = "net.ipv4.ping_group_range";
    if !netns::usable() {
        return Ok(());
    }
    let site = Site::start("1 0", &["--bounding-set=-net_raw"])?;
    site.sees("unknown", SAID)?;
    let lines = |log: &str| log.lines().filter(|line| line.contains(SAID)).count();
    ensure!(lines(&site.node.log()) == 1, "it is said once: {}", site.node.log());
    let check = |setpriv: &str| -> Result<String> {
        let mut command: Command = site.namespace.command("setpriv")?;
        command.arg(setpriv).arg(tools::starling()?).arg("check").arg(site.node.path("node.toml"));
        let output = command.output()?;
        ensure!(output.status.success(), "{output:?}");
        Ok(String::from_utf8(output.stdout)?)
    };
    let text = check("--bounding-set=-net_raw")?;
    ensure!(
        text.contains("note: endpoints that are checked by ICMP would be unknown") && text.contains(SAID),
        "{text}"
    );
    let text = check("--bounding-set=+all")?;
    ensure!(!text.contains("note:"), "{text}");
    // As soon as it is allowed there is nothing more to do.
    site.namespace.sysctl(SAID, "0 0")?;
    site.sees("up", "")
}
