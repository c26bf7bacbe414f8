//! A node as secondary of real primaries.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use starling_tests::client;
use starling_tests::message::{Message, TC};
use starling_tests::name::Name;
use starling_tests::query::{Edns, Query};
use starling_tests::server::{Kind, Server, ZoneFile};

use crate::fake::{TYPE_A, TYPE_IXFR, TYPE_SOA};
use crate::site::{OPTION_EDE, SEEN_WITHIN, SERVFAIL, Seen, Site, ZONE, wait};

const TYPE_TXT: u16 = 16;
const CLASS_ANY: u16 = 255;
const NXDOMAIN: u16 = 3;

/// Extended DNS errors: stale answer, not ready, invalid data (RFC 8914 §4).
const EDE_STALE: u16 = 3;
const EDE_NOT_READY: u16 = 14;
const EDE_INVALID: u16 = 24;

/// Intervals that a SOA record of these tests can have and mean it.
const AS_THE_ZONE_SAYS: &str = "refresh-min-s = 1\nretry-min-s = 1\nexpire-min-s = 1";

/// A zone that is asked for daily, and so changes by NOTIFY or not at all.
fn daily(serial: u32) -> String {
    zone(serial, 86_400, 86_400, 604_800)
}

fn zone(serial: u32, refresh: u32, retry: u32, expire: u32) -> String {
    format!(
        "$ORIGIN {ZONE}\n$TTL 300\n@ SOA ns1 hostmaster {serial} {refresh} {retry} {expire} 60\n  NS ns1\nns1 A \
         192.0.2.1\nwww A 192.0.2.2\ns{serial} A 192.0.2.3\n"
    )
}

/// A primary with a zone file that can be changed.
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

    /// Has the primary read another version.
    fn change(&self, text: &str) -> Result<()> {
        write_renamed(&self.file, text)?;
        self.server.process.signal(Signal::HUP)
    }
}

fn write_renamed(file: &Path, text: &str) -> Result<()> {
    let temporary = file.with_extension("new");
    std::fs::write(&temporary, text)?;
    Ok(std::fs::rename(temporary, file)?)
}

fn follows(kind: Kind) -> Result<()> {
    let site = Site::new()?;
    let primary = Primary::start(kind, &site, &daily(1))?;
    let node = site.start(&[primary.server.address], AS_THE_ZONE_SAYS)?;
    node.wait_for(Seen::served(1))?;
    for serial in 2..5 {
        primary.change(&daily(serial))?;
        // Nothing but the NOTIFY would have it ask before tomorrow.
        node.wait_for(Seen::served(serial)).with_context(|| format!("serial {serial} from {kind}"))?;
    }
    let zone = node.zone()?;
    ensure!(zone["state"] == "ok", "{zone}");
    ensure!(zone["served"]["loaded-from"] == "transfer", "{zone}");
    ensure!(zone["copy"]["failure"].is_null() && zone["copy"]["confirmed"].is_string(), "{zone}");
    Ok(())
}

#[test]
fn a_change_at_nsd_is_followed_by_notify() -> Result<()> {
    follows(Kind::Nsd)
}

#[test]
fn a_change_at_knot_is_followed_by_notify() -> Result<()> {
    follows(Kind::Knot)
}

#[test]
fn a_change_at_bind_is_followed_by_notify() -> Result<()> {
    follows(Kind::Bind)
}

#[test]
fn without_its_primary_a_copy_is_served_until_it_expires_and_again_when_it_is_back() -> Result<()> {
    let site = Site::new()?;
    let primary = Primary::start(Kind::Knot, &site, &zone(1, 1, 1, 20))?;
    let node = site.start(&[primary.server.address], AS_THE_ZONE_SAYS)?;
    node.wait_for(Seen::served(1))?;
    primary.server.process.signal(Signal::STOP)?;
    node.wait_for_log("not refreshed")?;
    ensure!(node.seen()? == Seen::served(1), "it goes on being served");
    node.wait_for(Seen { rcode: SERVFAIL, serial: None, ede: Some(EDE_INVALID) })?;
    let state = node.zone()?;
    ensure!(state["state"] == "expired" && state["served"].is_null(), "{state}");
    ensure!(!node.digests()?.contains("\"serial\""), "{}", node.digests()?);
    primary.server.process.signal(Signal::CONT)?;
    node.wait_for(Seen::served(1))?;
    wait(|| node.zone(), |state| state["state"] == "ok")
}

#[test]
fn an_expired_copy_is_served_as_stale_where_that_is_wanted() -> Result<()> {
    let site = Site::new()?;
    let primary = Primary::start(Kind::Bind, &site, &zone(1, 1, 1, 3))?;
    let lines = format!("{AS_THE_ZONE_SAYS}\non-expiry = \"serve\"");
    let node = site.start(&[primary.server.address], &lines)?;
    node.wait_for(Seen::served(1))?;
    primary.server.process.signal(Signal::STOP)?;
    node.wait_for(Seen { ede: Some(EDE_STALE), ..Seen::served(1) })?;
    let state = node.zone()?;
    ensure!(state["state"] == "stale", "{state}");
    primary.server.process.signal(Signal::CONT)?;
    node.wait_for(Seen::served(1))
}

/// The Extended DNS Errors of a message; nothing where it has no OPT record.
fn errors_of(message: &Message) -> Option<Vec<u16>> {
    let options = message.opt.as_ref()?.options.iter();
    let errors = options.filter(|(code, _)| *code == OPTION_EDE);
    Some(errors.filter_map(|(_, value)| value.first_chunk().map(|code| u16::from_be_bytes(*code))).collect())
}

#[test]
fn whatever_a_stale_copy_answers_says_that_it_is_stale() -> Result<()> {
    let site = Site::new()?;
    let long: String = (0..30).map(|line| format!("many TXT \"{line:050}\"\n")).collect();
    let primary = Primary::start(Kind::Knot, &site, &format!("{}{long}", zone(1, 1, 1, 3)))?;
    let node =
        site.start(&[primary.server.address], &format!("{AS_THE_ZONE_SAYS}\non-expiry = \"serve\""))?;
    node.wait_for(Seen::served(1))?;
    primary.server.process.signal(Signal::STOP)?;
    node.wait_for(Seen { ede: Some(EDE_STALE), ..Seen::served(1) })?;
    let ask = |query: &Query| -> Result<Message> {
        let answer = client::udp_raw(node.address, &query.bytes(7), SEEN_WITHIN)?;
        Message::decode(&answer.with_context(|| format!("no answer to {query}"))?.0)
    };
    let query = |name: &str, qtype: u16| -> Result<Query> { Ok(Query::new(Name::parse(name)?, qtype)) };
    let in_any_class = Query { qclass: CLASS_ANY, ..query(ZONE, TYPE_SOA)? };
    type Check = fn(&Message) -> bool;
    let (negative, truncated): (Check, Check) =
        (|message| message.answer.is_empty(), |message| message.has(TC));
    let has_answer: Check = |message| !message.answer.is_empty();
    let cases = [
        (query("www.small.example.", TYPE_A)?, 0, has_answer),
        (query("nx.small.example.", TYPE_A)?, NXDOMAIN, negative),
        (query("nx.nx.small.example.", TYPE_A)?, NXDOMAIN, negative),
        (query("www.small.example.", TYPE_TXT)?, 0, negative),
        (query("many.small.example.", TYPE_TXT)?, 0, truncated),
        (in_any_class, 0, has_answer),
        // Over UDP that is answered with the SOA record.
        (query(ZONE, TYPE_IXFR)?, 0, has_answer),
    ];
    for (query, rcode, is_right) in cases {
        let message = ask(&query.clone().with_edns(Edns::size(512)))?;
        ensure!(message.rcode() == rcode && is_right(&message), "{query}: {message}");
        ensure!(errors_of(&message).as_deref() == Some(&[EDE_STALE][..]), "{query}: {message}");
        let message = ask(&query)?;
        ensure!(message.rcode() == rcode && errors_of(&message).is_none(), "{query}: {message}");
    }
    Ok(())
}

#[test]
fn a_restart_serves_the_stored_copy_at_once_and_then_looks_at_the_primary() -> Result<()> {
    let site = Site::new()?;
    let mut primary = Primary::start(Kind::Nsd, &site, &daily(1))?;
    let address = primary.server.address;
    let node = site.start(&[address], AS_THE_ZONE_SAYS)?;
    node.wait_for(Seen::served(1))?;
    // The image is written after the zone is served.
    let image = site.path("state/tables/small.example.table");
    wait(|| Ok(image.exists()), |exists| *exists)?;
    end(node)?;
    primary.server.process.signal(Signal::KILL)?;
    primary.server.process.wait(SEEN_WITHIN)?;
    let node = site.restart()?;
    ensure!(node.seen()? == Seen::served(1), "from the image, without a primary");
    ensure!(node.zone()?["served"]["loaded-from"] == "image");
    end(node)?;
    // A day later, as it were: the copy was good for a week.
    let week_ago = "{\"confirmed\":1700000000}";
    std::fs::write(site.path("state/tables/small.example.transfer"), week_ago)?;
    let node = site.restart()?;
    ensure!(
        node.seen()? == Seen { rcode: SERVFAIL, serial: None, ede: Some(EDE_INVALID) },
        "what expired while the node was away is not served: {:?}",
        node.seen()?
    );
    let other = Primary::start(Kind::Bind, &site, &daily(1))?;
    site.configure(&[address, other.server.address], AS_THE_ZONE_SAYS)?;
    ensure!(node.ctl(&["reload"])?.status.success());
    node.wait_for(Seen::served(1))
}

#[test]
fn before_its_first_transfer_a_zone_is_not_ready_and_comes_when_the_primary_does() -> Result<()> {
    let site = Site::new()?;
    let nobody = starling_tests::server::own_socket_address()?;
    let node = site.start(&[nobody], AS_THE_ZONE_SAYS)?;
    ensure!(node.seen()? == Seen { rcode: SERVFAIL, serial: None, ede: Some(EDE_NOT_READY) });
    node.wait_for_log("not refreshed")?;
    let state = node.zone()?;
    ensure!(state["state"] == "failed", "{state}");
    let failure = state["copy"]["failure"].as_str().unwrap_or_default();
    ensure!(failure.contains(&nobody.to_string()) && failure.contains("refused"), "{failure}");
    let primary = Primary::start(Kind::Nsd, &site, &daily(7))?;
    site.configure(&[nobody, primary.server.address], AS_THE_ZONE_SAYS)?;
    ensure!(node.ctl(&["reload"])?.status.success());
    node.wait_for(Seen::served(7))
}

#[test]
fn of_several_primaries_the_freshest_is_taken() -> Result<()> {
    let site = Site::new()?;
    let [old, fresh] =
        [(Kind::Nsd, 4), (Kind::Knot, 5)].map(|(kind, serial)| Primary::start(kind, &site, &daily(serial)));
    let (old, fresh) = (old?, fresh?);
    let nobody = starling_tests::server::own_socket_address()?;
    let primaries = [nobody, old.server.address, fresh.server.address];
    let node = site.start(&primaries, AS_THE_ZONE_SAYS)?;
    node.wait_for(Seen::served(5))
}

#[test]
fn an_operator_can_have_a_zone_refreshed_and_transferred_anew() -> Result<()> {
    let site = Site::new()?;
    let primary = Primary::start(Kind::Bind, &site, &daily(5))?;
    let node = site.start(&[primary.server.address], AS_THE_ZONE_SAYS)?;
    node.wait_for(Seen::served(5))?;
    let said = |arguments: &[&str]| -> Result<(bool, String)> {
        let output = node.ctl(arguments)?;
        let text =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        Ok((output.status.success(), text))
    };
    let (good, text) = said(&["refresh", ZONE])?;
    ensure!(good && text.contains("serial 5 is current"), "{text}");
    let (good, text) = said(&["retransfer", ZONE])?;
    ensure!(good && text.contains("serial 5 -> 5"), "{text}");
    let (good, text) = said(&["refresh", "other.example"])?;
    ensure!(!good && text.contains("no secondary zone here"), "{text}");
    Ok(())
}

fn end(mut node: crate::site::Node) -> Result<()> {
    node.process.signal(Signal::TERM)?;
    let status = node.process.wait(SEEN_WITHIN)?;
    ensure!(status.success(), "{}", node.process.log_tail());
    Ok(())
}
