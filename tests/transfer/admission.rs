//! The gate in front of what primaries send, and how a node shows that it has the same zone as others.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use starling_tests::name::Name;
use starling_tests::process::Process;
use starling_tests::server::{Kind, Server, ZoneFile, own_socket_address, starling};
use starling_tests::tools;

use crate::fake::{Answer, Fake, Script, a, good, ixfr, soa};
use crate::site::{Node, SEEN_WITHIN, SERVFAIL, Seen, Site, ZONE, wait};

const STORED_WITHIN: Duration = Duration::from_secs(20);

/// A zone with so many hosts, which its secondaries ask for daily.
fn hosts(serial: u32, count: u32) -> String {
    let hosts: String = (0..count).map(|host| format!("h{host} A 192.0.2.1\n")).collect();
    format!(
        "$ORIGIN {ZONE}\n$TTL 300\n@ SOA ns1 hostmaster {serial} 86400 86400 604800 60\n  NS NS1\nns1 A 192.0.2.1\n{hosts}"
    )
}

struct Primary {
    file: PathBuf,
    server: Server,
}

impl Primary {
    fn start(kind: Kind, site: &Site, text: &str) -> Result<Self> {
        let folder = site.path(&format!("primary-{kind}"));
        std::fs::create_dir_all(&folder)?;
        let file = folder.join("small.zone");
        std::fs::write(&file, text)?;
        let zones = [ZoneFile { apex: Name::parse(ZONE)?, file: file.clone(), generic: file.clone() }];
        Ok(Self { file, server: Server::primary(kind, &zones, &folder, site.listen)? })
    }

    fn change(&self, text: &str) -> Result<()> {
        let temporary = self.file.with_extension("new");
        std::fs::write(&temporary, text)?;
        std::fs::rename(temporary, &self.file)?;
        self.server.process.signal(Signal::HUP)
    }
}

fn ctl(node: &Node, arguments: &[&str]) -> Result<(bool, String)> {
    let output = node.ctl(arguments)?;
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Ok((output.status.success(), text))
}

/// How many rounds did more than to ask.
fn transferred(node: &Node) -> Result<u64> {
    let (_, text) = ctl(node, &["status", "--json"])?;
    let status: Value = serde_json::from_str(&text)?;
    let count = |what: &str| status["copies"][what].as_u64().context(text.clone());
    Ok(count("renewed")? + count("failed")?)
}

/// Kills a node when a restart would begin with the version that it serves.
fn kill_when_durable(node: Node) -> Result<()> {
    tools::poll("it is durable", STORED_WITHIN, || {
        Ok((node.zone()?["served"]["durable"] == true).then_some(()))
    })?;
    drop(node);
    Ok(())
}

#[test]
fn what_a_primary_sends_is_held_approved_and_rolled_back() -> Result<()> {
    let site = Site::new()?;
    let primary = Primary::start(Kind::Nsd, &site, &hosts(1, 200))?;
    let mut node = site.start(&[primary.server.address], "")?;
    node.wait_for(Seen::served(1))?;
    primary.change(&hosts(2, 20))?;
    wait(|| node.zone(), |zone| zone["gate"]["held"]["serial"] == 2)?;
    ensure!(node.seen()? == Seen::served(1), "the version before is served");
    // It is not transferred again and again, and the copy is confirmed: its primary lives.
    let said = "serial 2 is held back";
    let (good, text) = ctl(&node, &["refresh", ZONE])?;
    ensure!(good && text.contains(said), "{text}");
    ensure!(node.zone()?["copy"]["failure"].is_null());
    kill_when_durable(node)?;
    node = site.restart()?;
    ensure!(node.seen()? == Seen::served(1), "nor does a restart let it in");
    let zone = node.zone()?;
    ensure!(zone["state"] == "stale" && zone["error"]["count"] == 1, "{zone}");
    let (good, text) = ctl(&node, &["refresh", ZONE])?;
    ensure!(good && text.contains(said), "{text}");
    let before = transferred(&node)?;

    let (good, text) = ctl(&node, &["zone", "approve", ZONE])?;
    ensure!(good && node.seen()? == Seen::served(2), "{text}");
    let (good, text) = ctl(&node, &["refresh", ZONE])?;
    ensure!(good && text.contains("serial 2 is current"), "{text}");
    let (good, text) = ctl(&node, &["zone", "rollback", ZONE])?;
    ensure!(good && node.seen()? == Seen::served(1), "{text}");
    let (good, text) = ctl(&node, &["refresh", ZONE])?;
    ensure!(good && text.contains(said), "{text}");
    ensure!(transferred(&node)? == before, "nothing of this takes a transfer");
    kill_when_durable(node)?;
    node = site.restart()?;
    ensure!(node.seen()? == Seen::served(1));
    // Asked for by hand it is transferred, and still not wanted.
    let (good, text) = ctl(&node, &["retransfer", ZONE])?;
    ensure!(!good && text.contains("rolled-back"), "{text}");
    primary.change(&hosts(3, 200))?;
    node.wait_for(Seen::served(3))?;
    wait(|| node.zone(), |zone| zone["state"] == "ok" && zone["gate"]["rolled-back"].is_null())
}

#[test]
fn a_primary_that_went_back_is_followed_by_one_command() -> Result<()> {
    let site = Site::new()?;
    let primary = Primary::start(Kind::Knot, &site, &hosts(500, 5))?;
    let mut node = site.start(&[primary.server.address], "[zone.admission]\nserial-forward = true")?;
    node.wait_for(Seen::served(500))?;
    drop(primary);
    let primary = Primary::start(Kind::Nsd, &site, &hosts(7, 6))?;
    kill_when_durable(node)?;
    site.configure(&[primary.server.address], "[zone.admission]\nserial-forward = true")?;
    node = site.restart()?;
    let (good, text) = ctl(&node, &["refresh", ZONE])?;
    ensure!(good && text.contains("`retransfer` would take an older one"), "{text}");
    let (good, text) = ctl(&node, &["retransfer", ZONE])?;
    ensure!(good && node.seen()? == Seen::served(7), "{text}");
    Ok(())
}

#[test]
fn the_digest_is_the_same_whatever_way_the_zone_came() -> Result<()> {
    let site = Site::new()?;
    let primary = Primary::start(Kind::Bind, &site, &hosts(1, 50))?;
    let mut node = site.start(&[primary.server.address], "rotate = false")?;
    node.wait_for(Seen::served(1))?;
    // What is served is told a moment after it answers.
    let digests = |node: &Node| -> Result<Value> {
        tools::poll("a digest", SEEN_WITHIN, || {
            let output = node.ctl(&["zones", "--digests", "--json"])?;
            let digests: Value =
                serde_json::from_slice(&output.stdout).with_context(|| format!("{output:?}"))?;
            Ok((!digests[0].is_null()).then(|| digests[0].clone()))
        })
    };
    let transferred = digests(&node)?;
    ensure!(transferred["serial"] == 1 && transferred["name"] == ZONE, "{transferred}");
    ensure!(transferred["content"].as_str().is_some_and(|it| it.len() == 64), "{transferred}");
    kill_when_durable(node)?;
    node = site.restart()?;
    ensure!(digests(&node)?["content"] == transferred["content"], "mapped from its image");

    let apex = Name::parse(ZONE)?;
    let zone = ZoneFile { apex, file: primary.file.clone(), generic: primary.file.clone() };
    let control = site.path("other-control");
    let control = control.to_str().context("a path")?;
    let _other = starling(&[zone], &site.path("other"), &["--control", control])?;
    let mut command = Command::new(tools::starling()?);
    let output = command.args(["ctl", "--control", control, "zones", "--digests"]).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let content = transferred["content"].as_str().context("a digest")?;
    ensure!(text.contains(content), "compiled from its master file: {text}\n{content}");
    Ok(())
}

/// Knot with a zone that it signs and digests by itself, as `mode` says.
fn signing_knot(site: &Site, mode: &str) -> Result<(Process, SocketAddr)> {
    let folder = site.path(&format!("knot-{mode}"));
    std::fs::create_dir_all(folder.join("db"))?;
    let file = folder.join("small.zone");
    std::fs::write(&file, hosts(1, 150))?;
    let (at, address) = (folder.display(), own_socket_address()?);
    let config = format!(
        "server:\n  rundir: \"{at}\"\n  listen: {}@{}\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n\
         log:\n  - target: stderr\n    any: info\ndatabase:\n  storage: \"{at}/db\"\n\
         acl:\n  - id: transfers\n    address: 127.0.0.0/8\n    action: transfer\n\
         zone:\n  - domain: \"{ZONE}\"\n    file: \"{}\"\n    zonefile-sync: -1\n    acl: transfers\n    \
         dnssec-signing: on\n    zonemd-generate: {mode}\n",
        address.ip(),
        address.port(),
        file.display()
    );
    let path = folder.join("knot.conf");
    std::fs::write(&path, config)?;
    let mut command = Command::new(tools::program("knotd")?);
    command.arg("-c").arg(&path);
    Ok((Process::spawn("knotd", &command, &folder.join("log"))?, address))
}

#[test]
fn a_zone_that_knot_has_signed_and_digested_is_good() -> Result<()> {
    for mode in ["zonemd-sha384", "zonemd-sha512"] {
        let site = Site::new()?;
        let (_knot, address) = signing_knot(&site, mode)?;
        let node = site.start(&[address], "retry-min-s = 1\n[zone.admission]\nzonemd = \"require\"")?;
        wait(|| node.zone(), |zone| zone["state"] == "ok").with_context(|| node.process.log_tail())?;
        let records = node.zone()?["served"]["records"].as_u64().context("records")?;
        ensure!(records > 450, "signed: {records} records");
    }
    // And one without the record is not.
    let site = Site::new()?;
    let primary = Primary::start(Kind::Nsd, &site, &hosts(1, 5))?;
    let node = site.start(&[primary.server.address], "[zone.admission]\nzonemd = \"require\"")?;
    node.wait_for_log("it has no ZONEMD record")?;
    ensure!(node.seen()?.rcode == SERVFAIL);
    Ok(())
}

/// A version that came as differences is the way back from the one after it: in memory, and in the journal after a restart.
#[test]
fn a_version_that_came_as_differences_can_be_rolled_back_to_over_a_restart() -> Result<()> {
    let (fake, site) = (Fake::start(good(1))?, Site::new()?);
    let mut node = site.start(&[fake.address], "")?;
    node.wait_for(Seen::served(1))?;
    for serial in 2..4 {
        let new = a(&format!("v{serial}.small.example."));
        let changes = ixfr(&[soa(serial), soa(serial - 1), soa(serial), new, soa(serial)]);
        fake.play(Script { changes: Some(Answer::Messages(vec![changes])), ..good(serial) });
        let (renewed, text) = ctl(&node, &["refresh", ZONE])?;
        ensure!(renewed && node.seen()? == Seen::served(serial), "{text}");
    }
    wait(|| node.zone(), |zone| zone["served"]["durable"] == true && zone["journal"]["to-serial"] == 3)?;
    drop(node);
    node = site.restart()?;
    let zone = node.zone()?;
    ensure!(zone["served"]["serial"] == 3 && zone["served"]["records"] == 5, "{zone}");
    ensure!(zone["gate"]["previous"] == 2, "{zone}");
    let (done, text) = ctl(&node, &["zone", "rollback", ZONE])?;
    ensure!(done && node.seen()? == Seen::served(2), "{text}");
    let rolled_back = |node: &Node| -> Result<()> {
        let zone = node.zone()?;
        ensure!(zone["served"]["serial"] == 2 && zone["served"]["records"] == 4, "{zone}");
        ensure!(zone["gate"]["rolled-back"] == 3 && zone["gate"]["held"]["serial"] == 3, "{zone}");
        ensure!(zone["served"]["durable"] == true, "{zone}");
        Ok(())
    };
    rolled_back(&node)?;
    // The journal led on to what was rolled back from. Nothing is waited for: it was said to be done.
    node = killed_and_started(&site, node)?;
    rolled_back(&node)?;
    node.process.signal(Signal::TERM)?;
    ensure!(node.process.wait(SEEN_WITHIN)?.success());
    node = site.restart()?;
    rolled_back(&node)?;
    let (done, text) = ctl(&node, &["zone", "approve", ZONE])?;
    ensure!(done && node.seen()? == Seen::served(3), "{text}");
    node = killed_and_started(&site, node)?;
    ensure!(node.seen()? == Seen::served(3), "approved of");
    // And without a restart.
    let changes = ixfr(&[soa(4), soa(3), soa(4), a("v4.small.example."), soa(4)]);
    fake.play(Script { changes: Some(Answer::Messages(vec![changes])), ..good(4) });
    let (done, text) = ctl(&node, &["refresh", ZONE])?;
    ensure!(done && node.seen()? == Seen::served(4), "{text}");
    let (done, text) = ctl(&node, &["zone", "rollback", ZONE])?;
    ensure!(done && node.seen()? == Seen::served(3) && node.zone()?["served"]["records"] == 5, "{text}");
    node = killed_and_started(&site, node)?;
    ensure!(node.seen()? == Seen::served(3));
    // The next that comes as differences is added to the journal that was begun anew.
    let changes = ixfr(&[soa(5), soa(3), soa(5), a("v5.small.example."), soa(5)]);
    fake.play(Script { changes: Some(Answer::Messages(vec![changes])), ..good(5) });
    let (done, text) = ctl(&node, &["refresh", ZONE])?;
    ensure!(done && node.seen()? == Seen::served(5), "{text}");
    wait(|| node.zone(), |zone| zone["served"]["durable"] == true && zone["journal"]["from-serial"] == 3)?;
    node = killed_and_started(&site, node)?;
    ensure!(node.seen()? == Seen::served(5));
    Ok(())
}

/// Without a moment to write anything.
fn killed_and_started(site: &Site, node: Node) -> Result<Node> {
    drop(node);
    site.restart()
}

/// A primary that was restored to a version that this node still has a way to, and away from.
#[test]
fn an_older_version_that_was_retransferred_stays_over_a_restart() -> Result<()> {
    let (fake, site) = (Fake::start(good(1))?, Site::new()?);
    let mut node = site.start(&[fake.address], "")?;
    node.wait_for(Seen::served(1))?;
    let changes = ixfr(&[soa(2), soa(1), soa(2), a("v2.small.example."), soa(2)]);
    fake.play(Script { changes: Some(Answer::Messages(vec![changes])), ..good(2) });
    let (renewed, text) = ctl(&node, &["refresh", ZONE])?;
    ensure!(renewed && node.seen()? == Seen::served(2), "{text}");
    wait(|| node.zone(), |zone| zone["served"]["durable"] == true && zone["journal"]["to-serial"] == 2)?;
    fake.play(good(1));
    let (done, text) = ctl(&node, &["retransfer", ZONE])?;
    ensure!(done && node.seen()? == Seen::served(1), "{text}");
    kill_when_durable(node)?;
    node = site.restart()?;
    ensure!(node.seen()? == Seen::served(1));
    Ok(())
}
