//! Withdrawals right behind another message, which BIRD by itself holds back until that one is acknowledged.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::net::{getpeername, getsockname, sockopt};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, Signal, pidfd_getfd, pidfd_open};
use starling_tests::netns::usable;
use starling_tests::process::Process;
use starling_tests::tools;

use crate::agent::{self, ASKED};
use crate::site::{LIMIT, PREFIXES, Site};
use crate::templates;
use crate::upstream::{Look, Talk, Watcher};

/// That it is to leave BIRD's sessions alone.
const LEFT_ALONE: &str = "no-delay = false\n";
/// How often a node is killed within the time that the upstream takes to acknowledge.
const KILLS: usize = 5;
/// How often one is killed whose sessions have just come up, which takes seconds.
const FIRST_KILLS: usize = 3;
/// What half of the withdrawals may take on a machine where all that has to run waits for its turn.
const MEDIAN: Duration = Duration::from_millis(100);
/// By how much Linux delays acknowledgements at least.
const DELAYED: Duration = Duration::from_millis(40);
/// What the upstream may take for a withdrawal that it doesn't have to acknowledge something for: far less than its hold time,
/// 9 s, after which the route would go in any case.
const WITHIN: Duration = Duration::from_secs(3);

/// Starts a node with `more` about BIRD; the route is up when this returns.
fn start(site: &Site, more: &str) -> Result<Process> {
    let node = agent::start_with(site, &format!("{}{ASKED}{more}", agent::LEARNING))?;
    site.wait_look(Look::Plain).with_context(|| node.log_tail())?;
    Ok(node)
}

/// Waits until `ctl explain` says that the sessions have it.
pub(crate) fn wait_in_force(site: &Site) -> Result<()> {
    tools::poll("the agent says that nothing is delayed", LIMIT, || {
        let told = explained(site)?;
        let state = told["no-delay"]["state"].as_str();
        ensure!(state != Some("impossible"), "{told:#}");
        Ok((state == Some("in-force")).then_some(()))
    })
}

fn explained(site: &Site) -> Result<serde_json::Value> {
    let told = agent::ctl(&site.file("control"), &["explain", "--json"])?;
    Ok(serde_json::from_slice(&told.stdout)?)
}

/// For each session of the node's BIRD whether TCP_NODELAY is set, asked of the sockets themselves.
fn sessions(site: &Site) -> Result<Vec<bool>> {
    let pid = std::fs::read_to_string(site.file("node.pid"))?.trim().parse().ok().and_then(Pid::from_raw);
    let pid = pid.context("BIRD writes its number")?;
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    let mut found = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero()))? {
        let number = entry?.file_name().to_string_lossy().parse()?;
        let copy = pidfd_getfd(&process, number, PidfdGetfdFlags::empty())?;
        if is_session(&copy) {
            found.push(sockopt::tcp_nodelay(&copy)?);
        }
    }
    Ok(found)
}

/// Whether it is a connection with BGP's port at one of its ends.
fn is_session(fd: &OwnedFd) -> bool {
    let (Ok(own), Ok(Some(peer))) = (getsockname(fd), getpeername(fd)) else { return false };
    [own, peer].into_iter().any(|end| SocketAddr::try_from(end).is_ok_and(|end| end.port() == 179))
}

/// Has a BIRD do something.
fn told(socket: &Path, commands: &[&str]) -> Result<()> {
    let mut talk = Talk::open(socket)?;
    commands.iter().try_for_each(|command| talk.ask(command).map(drop))
}

/// Has the node announce its prefixes once more.
fn announce_again(site: &Site) -> Result<()> {
    told(&site.node_socket(), &["reload out upstream4", "reload out upstream6"])
}

/// Has the node's BIRD begin anew.
fn restart_bird(site: &Site) -> Result<()> {
    site.kill_node_bird()?;
    site.wait_look(Look::Gone)?;
    site.start_node_bird()?;
    site.wait_look(Look::Plain)
}

/// Kills a node; gives how long the upstream still had the prefixes, or nothing if it had them too long.
fn kill(site: &Site, node: &mut Process, limit: Duration) -> Result<Option<Duration>> {
    let watcher = Watcher::start(&site.upstream_socket(), &PREFIXES)?;
    let killed = Instant::now();
    node.signal(Signal::KILL)?;
    node.wait(LIMIT)?;
    let gone = site.wait_look_within(Look::Gone, limit);
    let seen = watcher.stop()?;
    if gone.is_err() {
        return Ok(None);
    }
    let gone = seen.iter().filter(|seen| seen.look == Look::Gone).map(|seen| seen.at).max();
    Ok(Some(gone.context("neither was seen to go")?.saturating_duration_since(killed)))
}

#[test]
fn each_session_has_it_whoever_connected_and_after_every_restart() {
    if !usable() {
        return;
    }
    let site = Site::start("ebgp-one-upstream.conf").unwrap();
    assert_eq!(sessions(&site).unwrap(), [false, false], "BIRD does it by itself now");
    // It is not told where to ask BIRD: the kernel alone says that there is a session.
    let node = agent::start_with(&site, agent::LEARNING).unwrap();
    site.wait_look(Look::Plain).with_context(|| node.log_tail()).unwrap();
    let both = || tools::poll("both have it", LIMIT, || Ok((sessions(&site)? == [true, true]).then_some(())));
    both().with_context(|| node.log_tail()).unwrap();
    wait_in_force(&site).unwrap();
    let said = agent::ctl(&site.file("control"), &["explain"]).unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("no delay: TCP_NODELAY on "), "{said}");
    // Sessions of a new BIRD, under an agent that has no privileges for it any more; and under the next agent.
    for upgraded in [false, true] {
        if upgraded {
            agent::ctl(&site.file("control"), &["upgrade"]).unwrap();
            wait_in_force(&site).unwrap();
        }
        restart_bird(&site).unwrap();
        both().with_context(|| node.log_tail()).unwrap();
    }
    drop(node);
}

/// Starts a program with the capabilities that the systemd unit has, but for some. The user is root as before, whose interface
/// it can open everywhere, but whose other privileges are gone.
fn limited(without: &[&str]) -> Result<Vec<String>> {
    let unit = std::fs::read_to_string(templates::path("starling.service"))?;
    let given =
        unit.lines().find_map(|line| line.strip_prefix("AmbientCapabilities=")).context("the unit")?;
    let given = given.split(' ').filter(|name| !without.contains(name));
    let given: Vec<_> = given.map(|name| name.replace("CAP_", "+").to_lowercase()).collect();
    let sets = ["inh-caps", "bounding-set"].map(|option| format!("--{option}=-all,{}", given.join(",")));
    let starter = tools::program("setpriv")?.display().to_string();
    Ok([starter].into_iter().chain(sets).collect())
}

#[test]
fn what_the_unit_gives_suffices_and_less_is_told() {
    if !usable() {
        return;
    }
    let site = Site::start("ebgp-one-upstream.conf").unwrap();
    let configuration = format!("{}{ASKED}", agent::LEARNING);
    let less = limited(&["CAP_BPF", "CAP_PERFMON"]).unwrap();
    let mut node = agent::start_by(&site, &configuration, &less).unwrap();
    let told = explained(&site).unwrap();
    let why = told["no-delay"]["why"].as_str().unwrap_or_default();
    assert!(why.contains("CAP_BPF"), "{told:#}");
    let log = node.log();
    assert!(log.contains("TCP_NODELAY can't be set") && log.contains("`no-delay = false`"), "{log}");
    // The route is there all the same.
    site.wait_look(Look::Plain).unwrap();
    assert_eq!(sessions(&site).unwrap(), [false, false]);
    kill(&site, &mut node, LIMIT).unwrap();
    let _node = agent::start_by(&site, &configuration, &limited(&[]).unwrap()).unwrap();
    wait_in_force(&site).unwrap();
    assert_eq!(sessions(&site).unwrap(), [true, true]);
}

/// Where this machine's kernel can't, `starling check` says so, and that is no error.
#[test]
fn a_kernel_without_types_is_noted() {
    if !usable() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("node.toml");
    std::fs::write(folder.path().join("small.zone"), agent::ZONE).unwrap();
    let check = |hiding: &str, more: &str| {
        std::fs::write(&file, [agent::LEARNING, ASKED, more].concat()).unwrap();
        let script = format!("{hiding} exec \"$0\" check --strict \"$1\"");
        let mut command = Command::new(tools::program("unshare").unwrap());
        command.args(["--mount", "sh", "-c", &script]).arg(tools::starling().unwrap()).arg(&file);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).contains("note: TCP_NODELAY can't be set")
    };
    const HIDING: &str = "mount --bind /dev/null /sys/kernel/btf/vmlinux &&";
    assert!(check(HIDING, ""));
    assert!(!check("", ""));
    assert!(!check(HIDING, LEFT_ALONE));
}

/// Has the node's kernel take nothing for lost: neither does it send something new to find out, nor again what was sent. Both
/// would come after 200 ms and change what is sent next, and a busy machine may take as long.
fn keep_waiting(site: &Site) -> Result<()> {
    site.node.sysctl("net.ipv4.tcp_early_retrans", "0")?;
    site.node.ip("route replace 192.0.2.0/24 dev eth0 proto kernel scope link src 192.0.2.10 rto_min 20s")?;
    site.node.ip("-6 route replace 2001:db8:ffff::/64 dev eth0 proto kernel metric 256 rto_min 20s")?;
    // It is for new connections.
    site.kill_node_bird()?;
    site.start_node_bird()
}

/// The acknowledgement of an announcement never comes.
#[test]
fn a_withdrawal_waits_for_no_acknowledgement_unless_it_is_left_to_bird() {
    if !usable() {
        return;
    }
    let site = Site::start("ebgp-one-upstream.conf").unwrap();
    keep_waiting(&site).unwrap();
    let unacknowledged = |more: &str| {
        let mut node = start(&site, more)?;
        if more.is_empty() {
            wait_in_force(&site)?;
        }
        site.wait_acknowledged()?;
        site.mute_upstream()?;
        announce_again(&site)?;
        let both = || Ok((site.unacknowledged()? == [true, true]).then_some(()));
        tools::poll("the announcements are not acknowledged", LIMIT, both)?;
        let took = kill(&site, &mut node, WITHIN)?;
        site.unmute_upstream()?;
        site.wait_look(Look::Gone)?;
        anyhow::Ok(took)
    };
    // First: what is set stays set.
    let left_alone = unacknowledged(LEFT_ALONE).unwrap();
    assert_eq!(left_alone, None, "BIRD does it by itself now");
    let took = unacknowledged("").unwrap();
    let took = took.expect("the withdrawal waits for an acknowledgement");
    tools::announce(&format!(
        "withdrawn at an upstream that acknowledges nothing: {:.1} ms",
        took.as_secs_f64() * 1e3
    ));
}

/// Both routers have just sent something, and then the receiver delays its acknowledgements (Linux: by 40 ms).
fn kill_in_a_conversation(site: &Site, more: &str) -> Result<Duration> {
    let mut node = start(site, more)?;
    if more.is_empty() {
        wait_in_force(site)?;
    }
    site.wait_acknowledged()?;
    announce_again(site)?;
    told(&site.upstream_socket(), &["reload in node4", "reload in node6"])?;
    kill(site, &mut node, LIMIT)?.context("the route goes")
}

/// Sessions that have come up a moment ago, and their first routes.
#[test]
fn a_node_that_dies_right_behind_its_first_announcement() {
    if !usable() {
        return;
    }
    let site = Site::start("ebgp-one-upstream.conf").unwrap();
    let mut took: Vec<_> = (0..FIRST_KILLS)
        .map(|_| {
            let mut node = start(&site, "").unwrap();
            restart_bird(&site).unwrap();
            let set = sessions(&site).unwrap();
            let took = kill(&site, &mut node, LIMIT).unwrap().expect("the route goes");
            (took, set)
        })
        .collect();
    took.sort();
    let shown: Vec<_> =
        took.iter().map(|(took, set)| format!("{:.1} ({set:?})", took.as_secs_f64() * 1e3)).collect();
    tools::announce(&format!("withdrawn right behind the first announcement: {} ms", shown.join(", ")));
    assert!(took[FIRST_KILLS / 2].0 < MEDIAN, "{took:?}");
    // On a busy machine the agent may get its turn too late for some.
    assert!(took.iter().any(|(_, set)| *set == [true, true]), "{took:?}");
}

#[test]
fn a_node_that_dies_in_a_conversation_of_the_routers() {
    if !usable() {
        return;
    }
    let site = Site::start("ebgp-one-upstream.conf").unwrap();
    // In this order: what is set stays set.
    for (more, said) in [(LEFT_ALONE, "without TCP_NODELAY"), ("", "with TCP_NODELAY")] {
        let mut took: Vec<_> = (0..KILLS).map(|_| kill_in_a_conversation(&site, more).unwrap()).collect();
        took.sort();
        let [median, worst] = [took[KILLS / 2], took[KILLS - 1]].map(|took| took.as_secs_f64() * 1e3);
        tools::announce(&format!(
            "withdrawn at the upstream in a conversation, {said}: median {median:.1} ms, worst of {KILLS} {worst:.1} ms"
        ));
        assert!(took[KILLS / 2] < MEDIAN, "{took:?}");
        assert!(took[0] < DELAYED / 2 || more == LEFT_ALONE, "{took:?}");
    }
}
