//! `starling ctl pools` and `starling ctl pool`: names that answer with endpoints that are good.

use crate::cli::{AdminState, PoolAction};
use crate::control::Request;
use crate::status::{
    AddressStatus, FamilyStatus, LastFailure, LoadStatus, PeerSight, PlacesStatus, PoolStatus, SharingStatus,
};
use pool::Admin;
use std::io::{self, Write};

/// What is asked of the node.
pub(super) fn request(action: &PoolAction) -> Request {
    match action {
        PoolAction::Status { pool } => Request::Pools { pool: Some(pool.clone()) },
        PoolAction::Set { pool, endpoint, state } => {
            let admin = match state {
                AdminState::Up => Admin::Up,
                AdminState::Down => Admin::Down,
                AdminState::Drain => Admin::Drain,
                AdminState::Auto => Admin::Auto,
            };
            let (pool, endpoint) = (pool.clone(), endpoint.clone());
            Request::PoolSet { pool, endpoint, admin: admin.word().to_owned() }
        }
        PoolAction::FailBack { pool } => Request::PoolFailBack { pool: pool.clone() },
    }
}

/// Prints what pools answer.
pub(super) fn print_all(pools: &[PoolStatus]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if pools.is_empty() {
        return writeln!(
            out,
            "there are no pools; a [[pool]] in the configuration makes one, or records where a zone has `pool-records`"
        );
    }
    pools.iter().try_for_each(|pool| print_answers(&mut out, pool))
}

/// Prints all that is known of pools.
pub(super) fn print(pools: &[PoolStatus]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for pool in pools {
        print_answers(&mut out, pool)?;
        print_places(&mut out, pool)?;
        for address in &pool.addresses {
            let AddressStatus { endpoint, address: at, tier, health, admin, answers, failure, .. } = address;
            let by_hand = if admin == "auto" { String::new() } else { format!(", {admin} by hand") };
            let share = match (address.weight, answers) {
                (Some(weight), _) => format!(", weight {weight}, {} of clients", percent(address.share_ppm)),
                // Of places nobody knows how many clients they have.
                (None, true) if pool.kind == "nearest" => String::new(),
                (None, true) => format!(", {} of clients", percent(address.share_ppm)),
                (None, false) => String::new(),
            };
            let mark = if *answers { '*' } else { ' ' };
            let AddressStatus { runs, failures, took_us, looked, .. } = address;
            let when = looked.as_ref().map_or_else(String::new, |when| format!(", at {when}"));
            let looks = match address.unchecked {
                true => "not looked at itself".to_owned(),
                false => format!("{runs} looks, {failures} bad, the last took {took_us} µs{when}"),
            };
            writeln!(out, "  {mark} {endpoint}  {at}  tier {tier}, {health}{by_hand}{share}; {looks}")?;
            if let Some(load) = &address.load {
                print_load(&mut out, address, load)?;
            }
            print_views(&mut out, pool, address)?;
            if let Some(failure) = failure {
                writeln!(out, "      {failure}")?;
            }
            if let Some(unseen) = &address.unseen {
                writeln!(out, "      can't be checked: {unseen}")?;
            }
            if let Some(LastFailure { at, what }) =
                address.last_failure.as_ref().filter(|_| failure.is_none())
            {
                writeln!(out, "      last bad at {at}: {what}")?;
            }
        }
        for transition in &pool.transitions {
            writeln!(out, "  {}  {}", transition.at, transition.what)?;
        }
    }
    Ok(())
}

/// Whether the endpoints that a pool answers with may have other shares than one another.
fn has_shares(pool: &PoolStatus) -> bool {
    matches!(pool.kind.as_str(), "weighted" | "least-load" | "hash")
}

/// A share, as operators read it.
pub(super) fn percent(share_ppm: u32) -> String {
    format!("{:.1} %", f64::from(share_ppm) / 1e4)
}

/// How much an endpoint has to do, and what follows from it.
fn print_load(out: &mut impl Write, address: &AddressStatus, load: &LoadStatus) -> io::Result<()> {
    let LoadStatus { of, unit, last_milli, smoothed_milli, counts, weight_milli, drained, trouble } = load;
    let shown = |milli: u64| format!("{}{unit}", milli as f64 / 1e3);
    match of.as_str() {
        "agent" => write!(out, "      left, by its agent: ")?,
        of => write!(out, "      load, by {of}: ")?,
    }
    match (smoothed_milli, last_milli) {
        (Some(smoothed), Some(last)) => {
            write!(out, "{}, {} at the last look", shown(*smoothed), shown(*last))?;
        }
        _ => write!(out, "not known yet")?,
    }
    if !counts && smoothed_milli.is_some() {
        write!(out, ", too long ago to count")?;
    }
    if let (Some(now), Some(weight)) = (weight_milli, address.weight) {
        write!(out, "; weight {} of {weight}", *now as f64 / 1e3)?;
    }
    if *drained {
        write!(out, "; drained by its agent")?;
    }
    writeln!(out)?;
    match trouble {
        Some(trouble) => writeln!(out, "      no load at the last look: {trouble}"),
        None => Ok(()),
    }
}

/// Which places get what, where that depends on the place.
fn print_places(out: &mut impl Write, pool: &PoolStatus) -> io::Result<()> {
    for FamilyStatus { family, places, .. } in &pool.families {
        for PlacesStatus { places, answers } in places {
            writeln!(out, "  {family}  {} for {}", answers.join(" "), places.join(" "))?;
        }
    }
    Ok(())
}

/// What this node and its peers see of an address, where that isn't one thing.
fn print_views(out: &mut impl Write, pool: &PoolStatus, address: &AddressStatus) -> io::Result<()> {
    if pool.sharing.is_none() && address.peers.is_empty() {
        return Ok(());
    }
    write!(out, "      {} here", address.own)?;
    for PeerSight { peer, health, for_ms, .. } in &address.peers {
        write!(out, ", {health} at {peer} for {} s", for_ms / 1000)?;
    }
    writeln!(out)
}

/// Whose view counts, and who is heard.
fn print_sharing(out: &mut impl Write, pool: &PoolStatus) -> io::Result<()> {
    let Some(SharingStatus { isolated, peers, .. }) = &pool.sharing else { return Ok(()) };
    let heard = peers.iter().filter(|peer| peer.heard).count();
    write!(out, "  view {}: {heard} of {} peers are heard", pool.view, peers.len())?;
    if *isolated {
        write!(out, "; this node is ISOLATED, and goes by what it sees itself")?;
    }
    writeln!(out)?;
    for peer in peers {
        if let Some(trouble) = &peer.trouble {
            writeln!(out, "  peer {} at {}: {trouble}", peer.name, peer.address)?;
        }
    }
    Ok(())
}

fn print_answers(out: &mut impl Write, pool: &PoolStatus) -> io::Result<()> {
    let zone = pool.zone.as_ref().map_or_else(String::new, |zone| format!(", by records of {zone}"));
    if pool.is_refused() {
        writeln!(out, "{}  refused{zone}", pool.name)?;
        return pool.problems.iter().try_for_each(|problem| writeln!(out, "  problem: {problem}"));
    }
    let PoolStatus { name, kind, portion, ttl, names, .. } = pool;
    writeln!(out, "{name}  {kind}, {portion}, TTL {ttl} s{zone}: {}", names.join(" "))?;
    for FamilyStatus { family, basis, tier, answers, since, .. } in &pool.families {
        let tier = tier.map_or_else(String::new, |tier| format!(", tier {tier}"));
        let shown = |answer: &String| {
            // Where all are alike there is nothing to tell.
            let share = pool.addresses.iter().find(|it| it.address == *answer).filter(|_| has_shares(pool));
            share.map_or(answer.clone(), |it| format!("{answer} ({})", percent(it.share_ppm)))
        };
        let answers = match answers.is_empty() {
            true if basis.ends_with("servfail") => "SERVFAIL".to_owned(),
            true if basis.ends_with("empty") => "no data".to_owned(),
            true => "nothing of its own".to_owned(),
            false => answers.iter().map(shown).collect::<Vec<_>>().join(" "),
        };
        writeln!(out, "  {family}  {answers}  ({basis}{tier}, since {since})")?;
    }
    print_sharing(out, pool)?;
    pool.problems.iter().try_for_each(|problem| writeln!(out, "  problem: {problem}"))
}
