//! What the agent knows of route, checks and peers.

use super::Families;
use crate::status::{AgentStatus, BirdStatus};
use anycast::Rung;
use std::fmt;

/// The agent's modes.
const MODES: [&str; 4] = ["normal", "draining", "drained", "maintenance"];
/// The states of the server process.
const SERVER_STATES: [&str; 5] = ["starting", "ready", "frozen", "waiting", "stopping"];
/// How a check can stand.
const STANDINGS: [&str; 3] = ["unknown", "passing", "failing"];

pub(super) fn encode(agent: &AgentStatus, families: &mut Families<'_>) -> fmt::Result {
    route(agent, families)?;
    let help = "Whether the node counts as healthy for its peers.";
    families.gauge("starling_healthy", help, [([], u64::from(agent.healthy))])?;
    families.state("starling_mode", "What the operator has asked for.", "mode", &MODES, &agent.mode)?;
    let state = &agent.server.state;
    families.state("starling_server_state", "The server process.", "state", &SERVER_STATES, state)?;
    let help = "How often the server was started again.";
    families.counter("starling_server_restarts", help, [([], agent.server.restarts)])?;
    checks(agent, families)?;
    peers(agent, families)
}

fn route(agent: &AgentStatus, families: &mut Families<'_>) -> fmt::Result {
    let rungs = Rung::ALL.map(Rung::word);
    let help = "The rung of the ladder that is wanted.";
    families.state("starling_route_wanted", help, "rung", &rungs, &agent.wanted)?;
    let help = "The rung that the kernel's routes stand for.";
    families.state("starling_route_held", help, "rung", &rungs, &agent.held)?;
    let verified = if agent.bird == BirdStatus::Verified { agent.held.as_str() } else { "" };
    let help = "The rung that BIRD is seen to export; none while that is unknown or something else.";
    families.state("starling_route_verified", help, "rung", &rungs, verified)?;
    let bird = match agent.bird {
        BirdStatus::Unknown => "unknown",
        BirdStatus::Verified => "verified",
        BirdStatus::Differs(_) => "differs",
        BirdStatus::Unreachable(_) => "unreachable",
    };
    let help = "What BIRD says of the route: as meant, otherwise, nothing, or not asked.";
    let states = ["unknown", "verified", "differs", "unreachable"];
    families.state("starling_bird_state", help, "state", &states, bird)?;
    let help = "For how long the rung has been held.";
    families.gauge("starling_route_held_seconds", help, [([], seconds(agent.held_ms))])?;
    let spent = agent.seconds_on.iter().map(|(rung, seconds)| ([("rung", rung.as_str())], *seconds));
    families.counter("starling_route_seconds", "Seconds spent on each rung.", spent)?;
    let transitions = agent.transitions.iter().filter_map(|(transition, count)| {
        let (from, to) = transition.split_once("->")?;
        Some(([("from", from), ("to", to)], *count))
    });
    families.counter("starling_route_transitions", "Changes of the rung.", transitions)
}

fn checks(agent: &AgentStatus, families: &mut Families<'_>) -> fmt::Result {
    let all = || agent.checks.iter().map(|check| (("check", check.name.as_str()), check));
    let infos = all().map(|(name, check)| [name, ("action", &check.action), ("gravity", &check.gravity)]);
    families.info("starling_check", "What a failing check does to the route.", infos)?;
    let standings = all().flat_map(|(name, check)| {
        STANDINGS.map(|standing| ([name, ("standing", standing)], u64::from(check.standing == standing)))
    });
    families.gauge("starling_check_standing", "How the check stands, by its last results.", standings)?;
    let last = all().filter_map(|(name, check)| {
        let result = check.last.first()?;
        Some(([name], u64::from(result.failure.is_none())))
    });
    families.gauge("starling_check_passed", "Whether the last run passed.", last)?;
    let took = all().map(|(name, check)| ([name], check.took_us as f64 / 1e6));
    families.gauge("starling_check_duration_seconds", "How long the last run took.", took)?;
    let runs = all().map(|(name, check)| ([name], check.runs));
    families.counter("starling_check_runs", "Runs of the check.", runs)?;
    let failures = all().map(|(name, check)| ([name], check.failures));
    families.counter("starling_check_failures", "Runs of the check that failed.", failures)
}

fn peers(agent: &AgentStatus, families: &mut Families<'_>) -> fmt::Result {
    let all = || agent.peers.iter().map(|peer| (("peer", peer.name.as_str()), peer));
    let healthy = all().map(|(name, peer)| ([name], u64::from(peer.healthy)));
    families.gauge("starling_peer_healthy", "Whether the peer counts as announcing healthily.", healthy)?;
    let ages = all().filter_map(|(name, peer)| Some(([name], seconds(peer.answered_ms_ago?))));
    families.gauge("starling_peer_answer_age_seconds", "How long ago the peer answered.", ages)
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1e3
}
