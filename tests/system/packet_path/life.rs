//! The program comes and goes with its process, and sockets answer when there is none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use starling_tests::{netns, tools};

use super::query;
use super::wire::{CLIENT_END, LIMIT, SERVER_END, V4, V6, Wire};

#[test]
fn a_killed_server_leaves_nothing_behind() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let wire = Wire::new("xdp-kill", 1500)?;
    wire.configure(&[V4, V6], "", "packet-path = \"xdp\"")?;
    for signal in [Signal::KILL, Signal::TERM, Signal::ABORT] {
        // The one before may not have let go of the queue yet: sockets answer until it has.
        let mut serving = wire.start()?;
        tools::poll("a ring", LIMIT, || Ok((serving.interface()?.0 == "xdp").then_some(())))?;
        ensure!(wire.has_program()?);
        wire.ask(V4, &query(1)?)?.context("an answer")?;
        serving.process.signal(signal)?;
        serving.process.wait(LIMIT)?;
        tools::poll("the program is gone", LIMIT, || Ok((!wire.has_program()?).then_some(())))?;
    }
    Ok(())
}

/// CAP_NET_BIND_SERVICE, CAP_NET_ADMIN, CAP_NET_RAW, CAP_IPC_LOCK, CAP_PERFMON and CAP_BPF of <linux/capability.h>.
const CAPABILITIES: u64 = 1 << 10 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 38 | 1 << 39;

/// What a thread may do, and what it may get.
fn capabilities(pid: i64) -> Result<Vec<(String, u64, u64)>> {
    let mut threads = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        // The thread for interfaces ends when it has attached them.
        let Ok(text) = std::fs::read_to_string(task?.path().join("status")) else { continue };
        let field = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
            value.with_context(|| format!("{name} in {text}"))
        };
        let number = |name| Ok::<_, anyhow::Error>(u64::from_str_radix(field(name)?, 16)?);
        threads.push((field("Name")?.to_owned(), number("CapPrm")?, number("CapBnd")?));
    }
    Ok(threads)
}

#[test]
fn six_capabilities_at_the_start_and_none_afterwards() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let wire = Wire::new("xdp-caps", 1500)?;
    // For a user of its own, who has them as systemd gives them.
    wire.configure(&[V4, V6], "", "packet-path = \"xdp\"\nkernel-answers = true")?;
    for file in ["", "small.zone", "node.toml"] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(wire.path(file), mode)?;
    }
    let user = |capabilities: &str| -> Result<std::process::Command> {
        let mut command = wire.server.command("setpriv")?;
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps", capabilities]);
        command.args(["--ambient-caps", capabilities]).arg(tools::starling()?);
        Ok(command)
    };
    let serving =
        wire.start_by(user("+net_bind_service,+net_admin,+net_raw,+ipc_lock,+perfmon,+bpf")?, &wire)?;
    ensure!(serving.interface()?.0 == "xdp", "{}", serving.process.log_tail());
    wire.ask(V4, &query(1)?)?.context("an answer")?;
    let pid = serving.status()?["pid"].as_i64().context("pid")?;
    tools::poll("no thread has any", LIMIT, || {
        Ok(capabilities(pid)?.iter().all(|(_, permitted, _)| *permitted == 0).then_some(()))
    })?;
    drop(serving);
    // Without them it is told which they are, and sockets answer.
    let serving = wire.start_by(user("+net_bind_service,+net_admin")?, &wire)?;
    ensure!(serving.interface()?.0 == "sockets");
    ensure!(
        serving.process.log().contains("it takes CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF"),
        "{}",
        serving.process.log()
    );
    wire.ask(V4, &query(1)?)?.context("an answer")?;
    drop(serving);

    // The agent keeps them, for it has to start the server again.
    let wire = Wire::new("xdp-agent", 1500)?;
    wire.configure(
        &["203.0.113.53:53"],
        "state-dir = \"state\"",
        "packet-path = \"xdp\"\n[anycast]\naddresses = [\"203.0.113.53\"]\nprefixes = [\"203.0.113.0/24\"]\n\
         stable-ms = 300\nprobe-ms = 100\nfreeze-ms = 5000",
    )?;
    let agent = wire.start_agent()?;
    for (name, permitted, bounding) in capabilities(agent.process.pid().into())? {
        ensure!((permitted | bounding) & !CAPABILITIES == 0, "{name}: {permitted:x} {bounding:x}");
    }
    let server = agent.status()?["pid"].as_i64().context("pid")?;
    tools::poll("the server keeps none", LIMIT, || {
        let threads = capabilities(server)?;
        let without =
            |(_, permitted, bounding): &(String, u64, u64)| *permitted == 0 && bounding & !CAPABILITIES == 0;
        Ok(threads.iter().all(without).then_some(()))
    })?;
    ensure!(agent.interface()?.0 == "xdp", "{}", agent.process.log_tail());
    Ok(())
}

#[test]
fn sockets_answer_while_somebody_else_has_the_interface() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let wire = Wire::new("xdp-busy", 1500)?;
    let other = Wire::new("xdp-unused", 1500)?;
    wire.configure(&[V4], "", "packet-path = \"xdp\"")?;
    let first = wire.start()?;
    ensure!(first.interface()?.0 == "xdp");
    // A second server in the same place, for the other address.
    other.configure(&[V6], "", "packet-path = \"xdp\"")?;
    let second = wire.start_with(&other)?;
    ensure!(second.interface()?.0 == "sockets");
    let log = second.process.log();
    ensure!(log.contains("another process has its queues"), "{log}");
    wire.ask(V6, &query(1)?)?.context("sockets answer")?;
    ensure!(second.received()? == (1, 0));
    drop(first);
    tools::poll(
        "the second has the interface",
        LIMIT,
        || Ok((second.interface()?.0 == "xdp").then_some(())),
    )?;
    wire.ask(V6, &query(2)?)?.context("the ring answers")?;
    ensure!(second.received()? == (2, 1));
    Ok(())
}

#[test]
fn an_interface_that_goes_takes_only_its_own_queries_with_it() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let wire = Wire::new("xdp-gone", 1500)?;
    wire.configure(&[V4, "127.0.0.1:53"], "", "packet-path = \"xdp\"")?;
    let serving = wire.start()?;
    wire.ask(V4, &query(1)?)?.context("an answer")?;
    wire.client.ip(&format!("link delete dev {CLIENT_END}"))?;
    tools::poll("the ring is given up", LIMIT, || Ok((serving.interface()?.0 == "sockets").then_some(())))?;
    let local = wire
        .server
        .inside(|| starling_tests::client::udp_raw("127.0.0.1:53".parse()?, &query(2)?, LIMIT))??;
    ensure!(local.is_some(), "the other address answers");
    let detail = serving.status()?["interfaces"][0]["detail"].to_string();
    ensure!(detail.contains("gone"), "{detail}");
    Ok(())
}

#[test]
fn a_ring_that_overflows_is_counted_and_goes_on() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let wire = Wire::new("xdp-full", 1500)?;
    wire.configure(&[V4], "", "packet-path = \"xdp\"")?;
    let serving = wire.start()?;
    serving.process.signal(Signal::STOP)?;
    let query_bytes = query(1)?;
    wire.client.inside(|| -> Result<()> {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
        for _ in 0..10_000 {
            socket.send_to(&query_bytes, V4)?;
        }
        Ok(())
    })??;
    serving.process.signal(Signal::CONT)?;
    let lost = tools::poll("the loss is counted", LIMIT, || {
        // A worker that is short of a CPU takes long for a full ring, which is an overload.
        let lost = serving.drops("ring")? + serving.drops("shed")?;
        let (received, xdp) = serving.received()?;
        ensure!(received == xdp, "{received} received, {xdp} through the ring");
        Ok((received + lost == 10_000).then_some(lost))
    })
    .with_context(|| serving.status().map_or_else(|error| error.to_string(), |status| status.to_string()))?;
    ensure!((1..10_000).contains(&lost), "{lost} of 10,000 were lost");
    wire.ask(V4, &query(2)?)?.context("an answer afterwards")?;
    Ok(())
}

#[test]
fn what_can_not_be_is_told_where_it_stands() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let wire = Wire::new("xdp-config", 1500)?;
    for (listen, lines, expected) in [
        ("0.0.0.0:53", "packet-path = \"xdp\"", "service addresses have to be known"),
        (V4, "packet-path = \"xpd\"", "`xpd` is no packet path"),
        (V4, "packet-path = \"xdp\"\nreply = \"bounce\"", "`bounce` is no way for replies"),
        (V4, "packet-path = \"xdp\"\nmode = \"fast\"", "`fast` is no mode of AF_XDP"),
    ] {
        wire.configure(&[listen], "", lines)?;
        let mut command = std::process::Command::new(tools::starling()?);
        let output = crate::node::run(command.arg("check").arg(wire.path("node.toml")))?;
        let said = crate::node::said(&output);
        ensure!(!output.status.success() && said.contains(expected) && said.contains("node.toml:"), "{said}");
    }
    // No such interface: told, and sockets answer.
    wire.configure(&[V4], "", "packet-path = \"xdp\"")?;
    let text = std::fs::read_to_string(wire.path("node.toml"))?;
    std::fs::write(wire.path("node.toml"), text.replace(SERVER_END, "nothing0"))?;
    let serving = wire.start()?;
    ensure!(serving.process.log().contains("nothing0: AF_XDP can't be used"), "{}", serving.process.log());
    wire.ask(V4, &query(1)?)?.context("sockets answer")?;
    Ok(())
}

/// Under the agent: an upgrade, while a client asks steadily, loses nothing and leaves the new server with the ring.
#[test]
fn an_upgrade_loses_no_query() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let wire = Wire::new("xdp-upgrade", 1500)?;
    wire.configure(
        &["203.0.113.53:53"],
        "state-dir = \"state\"",
        "packet-path = \"xdp\"\n[anycast]\naddresses = [\"203.0.113.53\"]\nprefixes = [\"203.0.113.0/24\"]\n\
         stable-ms = 300\ndrain-ms = 300\ngrace-ms = 300\nprobe-ms = 100\nfreeze-ms = 5000",
    )?;
    wire.client.ip("route add 203.0.113.0/24 via 10.53.0.1")?;
    let agent = wire.start_agent()?;
    let stop = Arc::new(AtomicBool::new(false));
    let enter = wire.client.enter_later();
    let client = crate::handover::udp_client_inside("203.0.113.53:53".parse()?, Arc::clone(&stop), enter);
    tools::poll("queries come through the ring", LIMIT, || Ok((agent.received()?.1 > 100).then_some(())))?;
    let before = agent.status()?["pid"].clone();
    wire.ctl(&["upgrade"])?;
    let after = agent.status()?["pid"].clone();
    ensure!(before != after, "another process serves: {before} {after}");
    tools::poll("queries come through the new server's ring", LIMIT, || {
        Ok((agent.received()?.1 > 100).then_some(()))
    })?;
    stop.store(true, Ordering::Relaxed);
    let asked = client.join().map_err(|_| anyhow::anyhow!("the client panicked"))??;
    tools::announce(&format!("upgrade with AF_XDP: {asked} queries, all answered"));
    Ok(())
}
