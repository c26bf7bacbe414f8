//! How `starling ctl` shows the route: what it is, why, and what would have to change.

use crate::status::{AgentStatus, BirdStatus, CheckStatus, NoDelayStatus, PeerStatus, TransitionRecord};
use std::io::{self, Write};

/// The lines that `ctl status` has of the route.
pub(crate) fn print_summary(agent: &AgentStatus) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{:12}{}", "route", state(agent))?;
    writeln!(out, "{:12}{}", "BIRD", bird(&agent.bird))?;
    sessions(&mut out, &agent.no_delay)
}

/// The line after an upgrade.
pub(crate) fn print_upgraded(agent: &AgentStatus) -> io::Result<()> {
    let AgentStatus { version, pid, .. } = agent;
    writeln!(io::stdout(), "the agent is back: version {version}, process {pid}, route {}", state(agent))
}

/// Everything: what `ctl explain` shows.
pub(crate) fn print(agent: &AgentStatus) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "route       {}", state(agent))?;
    writeln!(out, "BIRD        {}", bird(&agent.bird))?;
    sessions(&mut out, &agent.no_delay)?;
    let server = &agent.server;
    let pid = server.pid.map_or_else(String::new, |pid| format!(", process {pid}"));
    writeln!(out, "server      {}{pid}, started again {} times", server.state, server.restarts)?;
    list(&mut out, "because", &agent.reasons)?;
    list(&mut out, "for better", &agent.blocked)?;
    writeln!(out)?;
    checks(&mut out, &agent.checks)?;
    if !agent.peers.is_empty() {
        writeln!(out)?;
    }
    agent.peers.iter().try_for_each(|line| peer(&mut out, line))
}

/// The transitions, the oldest first.
pub(crate) fn print_history(records: &[TransitionRecord]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if records.is_empty() {
        return writeln!(out, "no transition is on record");
    }
    records.iter().try_for_each(|record| {
        let TransitionRecord { at, from, to, by, why } = record;
        writeln!(out, "{at}  {from:>8} -> {to:8}  by {by}: {why}")
    })
}

fn state(agent: &AgentStatus) -> String {
    let wanted =
        if agent.wanted == agent.held { String::new() } else { format!(", {} is wanted", agent.wanted) };
    let mode = if agent.mode == "normal" { String::new() } else { format!(", {}", agent.mode) };
    format!("{}{wanted} since {} ({}){mode}", agent.held, agent.since, time(agent.held_ms))
}

fn bird(bird: &BirdStatus) -> String {
    match bird {
        BirdStatus::Unknown => "not asked".to_owned(),
        BirdStatus::Verified => "exports what is meant".to_owned(),
        BirdStatus::Differs(saw) => format!("exports something else: {saw}"),
        BirdStatus::Unreachable(why) => format!("can't be asked: {why}"),
    }
}

/// Whether what BIRD sends waits for acknowledgements; nothing where nobody wants to know.
fn sessions(out: &mut impl Write, no_delay: &NoDelayStatus) -> io::Result<()> {
    let text = match no_delay {
        NoDelayStatus::Off => return Ok(()),
        NoDelayStatus::Waiting => "there is no socket of BGP's port yet".to_owned(),
        NoDelayStatus::InForce { sockets } => format!("no delay: TCP_NODELAY on {sockets} sockets"),
        NoDelayStatus::Impossible { why } => {
            format!("what is sent may wait for an acknowledgement: {why}")
        }
    };
    writeln!(out, "sessions    {text}")
}

fn list(out: &mut impl Write, title: &str, lines: &[String]) -> io::Result<()> {
    let mut title = title;
    for line in lines {
        writeln!(out, "{title:12}{line}")?;
        title = "";
    }
    Ok(())
}

fn checks(out: &mut impl Write, checks: &[CheckStatus]) -> io::Result<()> {
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    for check in checks {
        let CheckStatus { name, standing, action, gravity, rise, fall, .. } = check;
        writeln!(
            out,
            "{name:width$}  {standing:8} for {:>8}  {action}, {gravity}{}; falls after {fall}, rises after {rise}; {} of {} runs failed; last took {:.1} ms",
            time(check.for_ms),
            if check.overloaded { " (overloaded: degrade, soft)" } else { "" },
            check.failures,
            check.runs,
            check.took_us as f64 / 1000.0
        )?;
        let failed = check.last.iter().filter_map(|result| Some((result.ago_ms, result.failure.as_ref()?)));
        for (ago_ms, failure) in failed.take(3) {
            writeln!(out, "{:width$}  {} ago: {failure}", "", time(ago_ms))?;
        }
    }
    Ok(())
}

fn peer(out: &mut impl Write, peer: &PeerStatus) -> io::Result<()> {
    let rung = peer.rung.as_deref().unwrap_or("unknown");
    let counts = if peer.healthy { "counts as announcing" } else { "does not count as announcing" };
    let trouble = peer.trouble.as_ref().map_or_else(String::new, |trouble| format!(": {trouble}"));
    writeln!(out, "peer {} at {}: {rung}, {counts}{trouble}", peer.name, peer.address)
}

/// A time in the two largest units that it has.
fn time(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0 => format!("{ms} ms"),
        1..60 => format!("{seconds}.{} s", ms % 1000 / 100),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_two_units() {
        let shown = [7, 1_250, 59_999, 60_000, 3_661_000, 90_000_000].map(time);
        assert_eq!(shown, ["7 ms", "1.2 s", "59.9 s", "1 min 0 s", "1 h 1 min", "1 d 1 h"]);
    }
}
