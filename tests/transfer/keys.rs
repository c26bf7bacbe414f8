//! A node as secondary of primaries that want their key (RFC 8945).

use anyhow::{Context, Result, ensure};
use starling_tests::client;
use starling_tests::message::Message;
use starling_tests::name::Name;
use starling_tests::query::Query;
use starling_tests::server::Kind;

use crate::peers::{Peer, Wishes};
use crate::secondaries::Key;
use crate::site::{KEY_NAME, SEEN_WITHIN, Seen, Site, ZONE, key_section};

const ALGORITHMS: [&str; 5] = ["hmac-sha1", "hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512"];
const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const OTHER_SECRET: &str = "/////wQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const REFUSED: u16 = 5;
const TYPE_SOA: u16 = 6;

/// An address that primaries let have the zone with the key alone, and that nothing is asked before tomorrow.
const LINES: &str = "source = \"127.0.0.2\"\nrefresh-min-s = 86400\nretry-min-s = 1";

fn text(serial: u32, hosts: usize) -> String {
    let hosts: String = (0..hosts).map(|host| format!("h{host} A 192.0.2.2\n")).collect();
    format!(
        "$ORIGIN {ZONE}\n$TTL 300\n@ SOA ns1 host {serial} 86400 86400 604800 60\n NS ns1\nns1 A 192.0.2.1\n{hosts}"
    )
}

const fn key(algorithm: &'static str) -> Key {
    Key { name: KEY_NAME, algorithm, secret: SECRET }
}

/// The zone, what changes in it, and NOTIFY come with the key; without it, and with another, nothing does.
fn a_key_is_used(kind: Kind) -> Result<()> {
    let site = Site::new()?;
    let wishes = Wishes { secondary: site.listen, key: Some(key("hmac-sha256")), dnssec: false, tls: None };
    // In many messages, of which not all have to be signed.
    let hosts = 20_000;
    let peer = Peer::start(kind, &text(1, hosts), wishes, site.path("").as_path())?;
    // NSD takes the algorithm of the request, and looks whether that is the right one when it has verified it.
    let other_algorithm = if kind == Kind::Nsd { "it answered REFUSED" } else { "BADKEY" };
    for (node_key, why) in [
        (key_section("hmac-sha256", OTHER_SECRET), "BADSIG (the secrets differ)"),
        (key_section("hmac-sha384", SECRET), other_algorithm),
        (key_section("hmac-sha256", SECRET).replace(KEY_NAME, "unknown"), "BADKEY"),
    ] {
        let other = Site::new()?;
        let name = if node_key.contains("unknown") { "unknown" } else { KEY_NAME };
        let node = other.start_with_named_key(peer.address, name, &node_key, LINES)?;
        node.wait_for_log(why).with_context(|| format!("{node_key}\n{}", node.process.log_tail()))?;
        ensure!(node.seen()?.serial.is_none(), "{kind}: the zone came with {node_key}");
    }
    let other = Site::new()?;
    let unsigned = other.start(&[peer.address], LINES)?;
    unsigned.wait_for_log("is this node allowed").with_context(|| unsigned.process.log_tail())?;
    drop(unsigned);
    let node = site.start_with_key(peer.address, &key_section("hmac-sha256", SECRET), LINES)?;
    node.wait_for(Seen::served(1))?;
    for serial in 2..4 {
        peer.load(&text(serial, hosts + serial as usize), serial)?;
        // Nothing but the NOTIFY, which has to be signed, would have it ask before tomorrow.
        node.wait_for(Seen::served(serial)).with_context(|| format!("serial {serial} from {kind}"))?;
    }
    node.wait_for_log("what has changed was transferred")?;
    ensure!(node.zone()?["copy"]["failure"].is_null(), "{}", node.zone()?);
    Ok(())
}

#[test]
fn knot_is_asked_with_the_key() -> Result<()> {
    a_key_is_used(Kind::Knot)
}

#[test]
fn nsd_is_asked_with_the_key() -> Result<()> {
    a_key_is_used(Kind::Nsd)
}

#[test]
fn bind_is_asked_with_the_key() -> Result<()> {
    a_key_is_used(Kind::Bind)
}

#[test]
fn every_algorithm_works() -> Result<()> {
    for algorithm in ALGORITHMS {
        let site = Site::new()?;
        let wishes = Wishes { secondary: site.listen, key: Some(key(algorithm)), dnssec: false, tls: None };
        let peer = Peer::start(Kind::Bind, &text(1, 10), wishes, site.path("").as_path())?;
        let node = site.start_with_key(peer.address, &key_section(algorithm, SECRET), LINES)?;
        node.wait_for(Seen::served(1)).with_context(|| algorithm.to_owned())?;
        peer.load(&text(2, 11), 2)?;
        node.wait_for(Seen::served(2)).with_context(|| algorithm.to_owned())?;
    }
    Ok(())
}

/// Who says to be a primary that has a key, and doesn't sign, is not heard; though its address is.
#[test]
fn an_unsigned_notify_of_a_primary_with_a_key_is_refused() -> Result<()> {
    let site = Site::new()?;
    let nobody = "127.0.0.1:9".parse()?;
    let node = site.start_with_key(nobody, &key_section("hmac-sha256", SECRET), LINES)?;
    // Until then it knows no primaries.
    node.wait_for_log("not refreshed")?;
    let notify = Query { opcode: 4, ..Query::new(Name::parse(ZONE)?, TYPE_SOA) }.bytes(7);
    let over_udp = client::udp_raw(node.address, &notify, SEEN_WITHIN)?.context("no answer")?.0;
    let over_tcp = client::tcp(node.address, &[notify])?.pop().flatten().context("no answer")?;
    for answer in [over_udp, over_tcp] {
        ensure!(Message::decode(&answer)?.rcode() == REFUSED, "{answer:?}");
    }
    Ok(())
}
