//! What both make of the lines of an agent: `agent-check` there, least-load pools by `load = "agent"` here.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use starling_tests::server::free_port;
use starling_tests::tools;

use super::{HaProxy, Server, Turns, known};
use crate::endpoint::{Endpoint, Manner, addresses};
use crate::load::Server as Speaker;
use crate::node::{Node, SEEN_WITHIN, pool};

/// Octets that an agent says, and how the endpoint is after them by HAProxy, and by us where that differs: `up` or `drain` with
/// what is left of its weight, `down`, or `maint`. It begins as `up 100`.
type Step = (&'static [u8], &'static str, &'static str);

/// One says what is left.
const SHARES: &[Step] = &[
    (b"75%\n", "up 75", ""),
    (b"UP 50%\n", "up 50", ""),
    (b"ready,\t25%,maxconn:30 up\r\n", "up 25", ""),
    (b"0%\n", "drain 0", ""),
    (b"10%\r", "up 10", ""),
    (b"20% 30%\n", "up 30", ""),
    (b" ,\t,40%\n", "up 40", ""),
    (b"200%\n", "up 200", ""),
    (b"100%\ndown\n", "up 100", ""),
];

/// One says whether the endpoint is to be used.
const MODES: &[Step] = &[
    (b"drain\n", "drain 100", ""),
    (b"50%\n", "drain 50", ""),
    (b"up\n", "drain 50", ""),
    (b"ready\n", "up 50", ""),
    (b"maint\n", "maint", ""),
    (b"up\n", "maint", ""),
    (b"75%\n", "maint", ""),
    (b"drain\n", "drain 75", ""),
    (b"maint ready\n", "up 75", ""),
    (b"drain Maint\n", "maint", ""),
    (b"maint DRAIN\n", "drain 75", ""),
    (b"0% ready\n", "drain 0", ""),
    (b"up,ready,100%\n", "up 100", ""),
];

/// One says whether it works.
const HEALTH: &[Step] = &[
    (b"down\n", "down", ""),
    (b"75%\n", "down", ""),
    (b"ready\n", "down", ""),
    (b"up\n", "up 75", ""),
    (b"stopped # for the night, up 5%\n", "down", ""),
    (b"up 100%\n", "up 100", ""),
    (b"Fail,#disk\n", "down", ""),
    (b"up # as new, 5%\n", "up 100", ""),
    (b"fail disk\n", "down", ""),
    (b"down up\n", "up 100", ""),
    (b"up down\n", "down", ""),
    (b"drain\n", "down", ""),
    (b"up\n", "drain 100", ""),
    (b"ready\n", "up 100", ""),
    (b"maint down\n", "maint", ""),
    (b"ready\n", "down", ""),
    (b"up\n", "up 100", ""),
];

/// One says what has no meaning, which changes nothing.
const NOISE: &[Step] = &[
    (b"drain 30%\n", "drain 30", ""),
    (b"\n", "drain 30", ""),
    (b"", "drain 30", ""),
    (b"# ready\n", "drain 30", ""),
    (b"HTTP/1.1 200 OK\r\n", "drain 30", ""),
    (b"<html>\n", "drain 30", ""),
    (b"75\n", "drain 30", ""),
    (b"%\n", "drain 30", ""),
    (b"-5%\n", "drain 30", ""),
    (b"+5%\n", "drain 30", ""),
    (b"7.5%\n", "drain 30", ""),
    (b"0x10%\n", "drain 30", ""),
    (b"50%%\n", "drain 30", ""),
    (b"50%ready\n", "drain 30", ""),
    (b"failed\n", "drain 30", ""),
    (b"down: disk\n", "drain 30", ""),
    (b"maxconn:5\n", "drain 30", ""),
    (b"maxconn:x\n", "drain 30", ""),
    (b"\nready 20%\n", "drain 30", ""),
    (b"\xff\xfe\n", "drain 30", ""),
    (&[b'x'; 20_000], "drain 30", ""),
    (b"ready 100%\n", "up 100", ""),
];

/// A part of what one says has a meaning: that counts.
const PARTS: &[Step] = &[
    (b"hello 60%\n", "up 60", ""),
    (b"7.5% drain\n", "drain 60", ""),
    (b"hello ready 40%\n", "up 40", ""),
    (b"-5% 50%\n", "up 50", ""),
    (b"7.5% 60%\n", "up 60", ""),
    (b"20% 7.5%\n", "up 60", ""),
    (b"7.5% down\n", "down", ""),
    (b"%, up\n", "up 60", ""),
    (b"drain 50%%\n", "drain 60", ""),
    (b"ready \xff 100%\n", "up 100", ""),
];

/// We differ.
const OTHERS: &[Step] = &[
    // A weight is at most 256 there.
    (b"300%\n", "up 256", "up 300"),
    // It takes the largest for any number. To us, who says so much has forgotten the unit.
    (b"1001%\n", "up 256", "up 300"),
    (b"99999999999%\n", "up 256", "up 300"),
    (b"100%\n", "up 100", ""),
    // A percentage below nothing is no word there, so that another one counts. To us it is one that can't be.
    (b"60% -5%\n", "up 60", "up 100"),
    (b"100%\n", "up 100", ""),
    // "terminated by the first '\r' or '\n' met": without, it counts here once the agent has closed.
    (b"75%", "up 100", "up 75"),
    (b"drain", "up 100", "drain 75"),
    (b"ready 100%\n", "up 100", ""),
    // "optionally followed by a description string after a sharp ('#')": there has to be a space before that there.
    (b"fail#disk\n", "up 100", "down"),
    (b"up#50%\n", "up 100", ""),
];

/// With `rise 2 fall 3` we differ: what an agent says of health is the result of a look here, and so many in a row count. There
/// one line is enough, and after `maint` a server is up with the first look that is good.
const ROWS: &[Step] = &[
    (b"up\n", "up 100", "unknown"),
    (b"up\n", "up 100", ""),
    (b"down\n", "down", "up 100"),
    (b"up\n", "up 100", ""),
    (b"fail\n", "down", "up 100"),
    (b"fail\n", "down", "up 100"),
    (b"fail\n", "down", ""),
    (b"up\n", "up 100", "down"),
    (b"up\n", "up 100", ""),
    (b"maint\n", "maint", "up 100"),
    (b"maint\n", "maint", "up 100"),
    (b"maint\n", "maint", ""),
    (b"ready\n", "up 100", "down"),
    (b"ready\n", "up 100", ""),
    // What is left, and `drain`, count at once.
    (b"drain 20%\n", "drain 20", ""),
    (b"ready\n", "up 20", ""),
];

/// How HAProxy finds a server.
fn by_haproxy(server: &Server) -> String {
    match server {
        Server { is_in_maintenance: true, .. } => "maint".to_owned(),
        Server { is_up: false, .. } => "down".to_owned(),
        Server { is_drained: true, weight, .. } => format!("drain {weight}"),
        Server { weight, .. } => format!("up {weight}"),
    }
}

/// How we find an endpoint.
fn by_us(endpoint: &Value) -> String {
    let load = &endpoint["load"];
    // Before it has said anything, all is left.
    let percent = load["last-milli"].as_u64().unwrap_or(100_000) / 1000;
    let is_in_maintenance =
        || endpoint["failure"].as_str().is_some_and(|why| why.contains("agent says maint"));
    match endpoint["health"].as_str() {
        Some("up") if load["drained"] == true => format!("drain {percent}"),
        Some("up") => format!("up {percent}"),
        Some("unknown") => "unknown".to_owned(),
        _ if is_in_maintenance() => "maint".to_owned(),
        _ => "down".to_owned(),
    }
}

/// A least-load pool of this name with an agent, whose check has these keys.
fn with_agent(name: &str, address: Ipv4Addr, agent_port: u16, keys: &str) -> String {
    let lines = format!(
        "kind = \"least-load\"\nload = \"agent\"\nload-agent-port = {agent_port}\ncheck = {{ kind = \"http\", {keys} }}"
    );
    pool(name, &format!("\"{name}.example.com\""), &lines, &[(address, 1)])
}

#[test]
fn what_agents_say_means_what_it_means_to_haproxy() -> Result<()> {
    let all = [SHARES, MODES, HEALTH, NOISE, PARTS, OTHERS, ROWS];
    let ([endpoint, them, us], port) = addresses()?;
    let _endpoint = Endpoint::start(endpoint, port)?;
    let agents: Vec<Turns> = all.iter().map(|_| Turns::start(endpoint)).collect::<Result<_>>()?;
    let (mut backends, mut pools) = (String::new(), String::new());
    for (index, (steps, agent)) in all.iter().zip(&agents).enumerate() {
        let (rise, fall) = if *steps == ROWS { (2, 3) } else { (1, 1) };
        backends += &format!(
            "backend p{index}\n  source {them}\n  option httpchk GET /\n  server e0 {endpoint}:{port} weight 100 check inter 200ms rise \
             {rise} fall {fall} agent-check agent-inter 200ms agent-port {}\n",
            agent.at.port()
        );
        let keys = format!(
            "port = {port}, source = \"{us}\", interval-ms = 20, timeout-ms = 600000, rise = {rise}, fall = {fall}"
        );
        pools += &with_agent(&format!("p{index}"), endpoint, agent.at.port(), &keys);
    }
    let haproxy = HaProxy::start(600_000, &backends)?;
    let node = Node::running(&pools)?;
    let most = all.iter().map(|steps| steps.len()).max().context("steps")?;
    for step in 0..=most {
        let going_on = || all.iter().zip(&agents).enumerate().filter(|(_, (steps, _))| steps.len() >= step);
        let visits: Vec<_> = going_on()
            .map(|(_, (_, agent))| Ok([agent.next(them)?, agent.next(us)?]))
            .collect::<Result<_>>()?;
        for ((index, (steps, _)), visits) in going_on().zip(visits) {
            if let Some((said, theirs, ours)) = step.checked_sub(1).map(|before| &steps[before]) {
                let ours = if ours.is_empty() { theirs } else { ours };
                let said = String::from_utf8_lossy(&said[..said.len().min(80)]);
                let name = format!("p{index}");
                let now = || -> Result<[String; 3]> {
                    let endpoint = &known(&node)?[&name];
                    let theirs = by_haproxy(&haproxy.servers()?[&format!("{name}/e0")]);
                    Ok([theirs, by_us(endpoint), endpoint["runs"].to_string()])
                };
                let wanted = [(*theirs).to_owned(), (*ours).to_owned(), step.to_string()];
                // HAProxy looks at the endpoint apart from the agent, and what is shown here may be a moment older.
                tools::poll("both are so", SEEN_WITHIN, || Ok((now()? == wanted).then_some(())))
                    .with_context(|| format!("{said:?}: {wanted:?} and not {:?}", now()))?;
            }
            let Some((said, ..)) = steps.get(step) else { continue };
            for mut visit in visits {
                visit.write_all(said)?;
            }
        }
    }
    println!("{} lines of agents", all.iter().map(|steps| steps.len()).sum::<usize>());
    Ok(())
}

#[test]
fn looks_and_agents_go_together_as_they_do_for_haproxy() -> Result<()> {
    let ([address], port) = addresses()?;
    let agent_port = free_port(address)?;
    let endpoint = Endpoint::start(address, port)?;
    let agent = Speaker::agent(address, agent_port, "up\n")?;
    let backends = format!(
        "backend web\n  option httpchk GET /\n  server e0 {address}:{port} weight 100 check inter 50ms rise 2 fall 3 agent-check \
         agent-inter 50ms agent-port {agent_port}\n"
    );
    let keys = format!("port = {port}, interval-ms = 50, timeout-ms = 500, rise = 2, fall = 3");
    let haproxy = HaProxy::start(500, &backends)?;
    let node = Node::running(&with_agent("web", address, agent_port, &keys))?;
    let are = |wanted: &str, why: &str| {
        let now = || -> Result<[String; 2]> {
            Ok([by_haproxy(&haproxy.servers()?["web/e0"]), by_us(&known(&node)?["web"])])
        };
        let is_so = || Ok((now()? == [wanted, wanted]).then_some(()));
        tools::poll(why, SEEN_WITHIN, is_so).with_context(|| format!("{wanted} and not {:?}", now()))
    };
    // That it fails and comes back, while the agent does nothing else.
    let fails_and_comes_back = |then: &str, why: &str| -> Result<()> {
        endpoint.set(Manner::Answers(500, "out of order".to_owned()));
        are("down", why)?;
        endpoint.set(Manner::good());
        are(then, why)
    };
    are("up 100", "both are good")?;
    fails_and_comes_back("up 100", "the agent says up all the time")?;
    agent.says("drain 40%\n");
    are("drain 40", "the agent has said so")?;
    fails_and_comes_back("drain 40", "the agent says drain all the time")?;
    agent.says("<html>\n");
    fails_and_comes_back("drain 40", "the agent says nothing that has a meaning")?;
    agent.is_late(SEEN_WITHIN);
    fails_and_comes_back("drain 40", "the agent says nothing")?;
    agent.is_late(Duration::ZERO);
    agent.says("maint\n");
    are("maint", "the agent has said so")?;
    endpoint.set(Manner::Hangs);
    agent.says("ready\n");
    are("down", "the agent says that it may be used, and it hangs")?;
    endpoint.set(Manner::good());
    are("up 40", "it is back")?;
    agent.says("down # for repair\n");
    are("down", "the agent has said so")?;
    agent.says("up 100%\n");
    are("up 100", "the agent has said so")?;
    drop(agent);
    fails_and_comes_back("up 100", "the agent is gone")?;
    // "it is not a good idea to stop an agent after it reports down": it stays so.
    let agent = Speaker::agent(address, agent_port, "down\n")?;
    are("down", "the agent has said so")?;
    drop(agent);
    let runs = known(&node)?["web"]["runs"].as_u64();
    tools::poll("it was looked at ten times more", SEEN_WITHIN, || {
        Ok((known(&node)?["web"]["runs"].as_u64() > runs.map(|runs| runs + 10)).then_some(()))
    })?;
    are("down", "nobody has said anything else")
}
