//! What the two processes of a node may do, and who holds the lease.

use std::fs;

use anyhow::{Context, Result, ensure};
use starling_tests::{netns, tools};

use super::agent::{LIMIT, Place};

/// CAP_NET_ADMIN and CAP_NET_BIND_SERVICE of <linux/capability.h>.
const OF_THE_AGENT: u64 = 1 << 12 | 1 << 10;
/// CAP_NET_RAW.
const RAW: u64 = 1 << 13;

/// No thread of a process has other capabilities, nor can it get others. What the bounding set still has beyond that, of those of the
/// agent, is out of reach with `no_new_privs`.
fn limited_to(pid: i64, capabilities: u64, of_the_agent: u64) -> Result<()> {
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("status"))?;
        let field = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
            value.with_context(|| format!("{name} in {text}"))
        };
        for (set, most) in [("CapPrm", capabilities), ("CapEff", capabilities), ("CapBnd", of_the_agent)] {
            let held = u64::from_str_radix(field(set)?, 16)?;
            ensure!(held & !most == 0, "thread {}: {set} {held:x}", field("Name")?);
        }
        ensure!(field("NoNewPrivs")? == "1", "{text}");
    }
    Ok(())
}

/// How many descriptors a process has of the interface.
fn tun_count(pid: i64) -> Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        count += usize::from(fs::read_link(entry?.path())?.ends_with("net/tun"));
    }
    Ok(count)
}

#[test]
fn two_capabilities_for_the_agent_and_none_for_the_server() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let place = Place::new("caps", "")?;
    let agent = place.start()?;
    let (own, server) = (i64::from(agent.process.pid()), agent.server()?);
    limited_to(own, OF_THE_AGENT, OF_THE_AGENT)?;
    limited_to(server, 0, OF_THE_AGENT)?;
    ensure!(tun_count(own)? == 1, "{} descriptors of the interface", tun_count(own)?);
    ensure!(tun_count(server)? == 0, "the server holds the interface too");
    // The agent that follows an upgrade is no different.
    place.said(&["upgrade"])?;
    limited_to(own, OF_THE_AGENT, OF_THE_AGENT)?;
    ensure!(tun_count(own)? == 1 && tun_count(agent.server()?)? == 0);
    Ok(())
}

#[test]
fn an_agent_keeps_for_its_servers_what_echo_requests_take() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let pool = "[[pool]]\nname = \"web\"\nnames = \"www.small.example\"\ncheck = { kind = \"icmp\", interval-ms = 50, rise = 1 }\n\
                [[pool.endpoint]]\nname = \"a\"\naddress = \"127.0.0.9\"\n";
    let place = Place::new("echo", pool)?;
    let agent = place.start()?;
    let own = i64::from(agent.process.pid());
    for turn in 0..2 {
        limited_to(own, OF_THE_AGENT | RAW, OF_THE_AGENT | RAW)?;
        limited_to(agent.server()?, 0, OF_THE_AGENT | RAW)?;
        tools::poll("its endpoint is good", LIMIT, || {
            let pools = place.json(&["pool", "status", "web"])?;
            let address = &pools[0]["addresses"][0];
            Ok((address["health"] == "up" && address["runs"].as_u64() > Some(2)).then_some(()))
        })?;
        if turn == 0 {
            // The server that follows has to be able to open such sockets too.
            place.said(&["upgrade"])?;
        }
    }
    Ok(())
}
