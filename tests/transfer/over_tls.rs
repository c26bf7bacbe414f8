//! A node that is asked over TLS (RFC 7858, RFC 9103): by secondaries, and by whoever else comes.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use starling_tests::certificates::{authority, certificate};
use starling_tests::client;
use starling_tests::message::Message;
use starling_tests::name::Name;
use starling_tests::query::{Edns, Query};
use starling_tests::server::Kind;
use starling_tests::{tls, tools};

use crate::incremental::{journal_leads_to, tls_section};
use crate::secondaries::{FOLLOWS_WITHIN, Key, Origin, Primary, Secondary, Trust, serial_of};
use crate::site::{KEY_NAME, Seen, Site, ZONE, key_section};

const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const TYPE_SOA: u16 = 6;
const TYPE_AXFR: u16 = 252;
const REFUSED: u16 = 5;
const OPTION_PADDING: u16 = 12;
/// How long a connection may be at a handshake.
const TRANSFER_TIMEOUT: Duration = Duration::from_millis(700);

fn write_zone(folder: &Path, serial: u32) -> Result<()> {
    let text = format!(
        "$ORIGIN {ZONE}\n$TTL 300\n@ SOA ns1 host {serial} 86400 86400 604800 60\n NS ns1\nns1 A 192.0.2.1\n"
    );
    Ok(std::fs::write(folder.join("small.zone"), text)?)
}

/// A primary with the zone, an authority `good`, another one, `other`, and a certificate `own` of the first. `tls` and `zone` are
/// lines of those sections.
fn start(folder: &Path, tls: &str, keys: &str, zone: &str) -> Result<Primary> {
    authority(folder, "good")?;
    authority(folder, "other")?;
    certificate(folder, "own", "good", "DNS:primary.example", 30)?;
    write_zone(folder, 1)?;
    let mut lines = format!("state-dir = \"state\"\n{}{tls}\n", tls_section());
    write!(lines, "[node.tcp]\ntransfer-timeout-ms = {}\n", TRANSFER_TIMEOUT.as_millis())?;
    write!(lines, "{keys}[[zone]]\nname = \"{ZONE}\"\nfile = \"small.zone\"\n{zone}\n")?;
    Primary::start(&lines, folder)
}

fn tls_of(primary: &Primary) -> Result<SocketAddr> {
    primary.tls.context("no listener for TLS")
}

fn handshakes_failed(primary: &Primary) -> Result<u64> {
    let status: Value = serde_json::from_str(&primary.ctl(&["status", "--json"])?)?;
    status["tls"]["handshakes-failed"].as_u64().with_context(|| status.to_string())
}

fn query(rtype: u16) -> Result<Vec<u8>> {
    Ok(Query::new(Name::parse(ZONE)?, rtype).bytes(7))
}

/// The answer to a question over TLS; `None` if there is none.
fn ask(at: SocketAddr, options: &[&str], rtype: u16) -> Result<Option<Message>> {
    let answer = tls::ask(Command::new(tools::program("openssl")?), at, options, &query(rtype)?)?;
    answer.map(|answer| Message::decode(&answer)).transpose()
}

/// Nodes among themselves: strictly, with a pin, with a certificate of the secondary's own, and with a key besides.
#[test]
fn another_node_has_the_zone() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let rules = format!("secondaries = [\"127.0.0.1 key {KEY_NAME} tls\"]");
    let keys = key_section("hmac-sha256", SECRET);
    let primary = start(folder, "client-ca-file = \"other.pem\"", &keys, &rules)?;
    let pin = certificate(folder, "spare", "good", "DNS:primary.example", 30)?;
    let own_pin = pin_of(folder, "own")?;
    certificate(folder, "secondary", "other", "DNS:secondary.example", 30)?;
    certificate(folder, "stranger", "good", "DNS:secondary.example", 30)?;
    let path = |file: &str| folder.join(file).display().to_string();
    let shows = |name: &str| {
        format!(
            "certificate-file = \"{}\"\nkey-file = \"{}\"\n",
            path(&format!("{name}.pem")),
            path(&format!("{name}.key"))
        )
    };
    let strict = format!("server-name = \"primary.example\"\nca-file = \"{}\"\n", path("good.pem"));
    let at = tls_of(&primary)?;
    let with_key = format!("{at} tls xot key {KEY_NAME}");
    for (section, primary, why) in [
        (format!("{strict}{}", shows("stranger")), &with_key, "UnknownCA"),
        (strict.clone(), &with_key, "CertificateRequired"),
        (format!("pins = [\"{pin}\"]\n{}", shows("secondary")), &with_key, "its key has the pin"),
        // Who it is, is not enough where the rule wants a key, and the key isn't without TLS.
        (format!("{strict}{}", shows("secondary")), &format!("{at} tls xot"), "REFUSED"),
        (
            format!("{strict}{}", shows("secondary")),
            &format!("{} key {KEY_NAME}", primary.address),
            "REFUSED",
        ),
    ] {
        let site = Site::new()?;
        let section = format!("{keys}[[tls]]\nname = \"xot\"\n{section}");
        let node = site.start_with(&section, primary, "retry-min-s = 1")?;
        node.wait_for_log(why).with_context(|| section.clone())?;
        ensure!(node.seen()?.serial.is_none(), "the zone came with {section}");
    }
    let mut nodes = Vec::new();
    for proof in [strict, format!("pins = [\"{own_pin}\"]\n")] {
        let site = Site::new()?;
        let section = format!("{keys}[[tls]]\nname = \"xot\"\n{proof}{}", shows("secondary"));
        let node = site.start_with(&section, &with_key, "retry-min-s = 1")?;
        node.wait_for(Seen::served(1)).with_context(|| section.clone())?;
        nodes.push((site, node));
    }
    write_zone(folder, 2)?;
    primary.ctl(&["reload"])?;
    journal_leads_to(&primary, 2)?;
    for (_, node) in &nodes {
        node.ctl(&["refresh", ZONE])?;
        node.wait_for(Seen::served(2))?;
        node.wait_for_log("what has changed was transferred")?;
    }
    Ok(())
}

/// The pin of a certificate that is there.
fn pin_of(folder: &Path, name: &str) -> Result<String> {
    use starling_tests::certificates::openssl;
    Ok(String::from_utf8(openssl(folder, &format!("base64 -in {name}.digest"))?)?.trim().to_owned())
}

/// A peer that wants another primary than this takes nothing from it, and has the zone once it wants this one.
fn has_to_be_the_primary(kind: Kind, why: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let primary = start(folder.path(), "", "", "secondaries = [\"127.0.0.0/8 tls\"]")?;
    let apex = Name::parse(ZONE)?;
    let start = |authority| {
        let origin =
            Origin { address: tls_of(&primary)?, key: None, tls: Some(Trust { authority, own: None }) };
        Secondary::start(
            kind,
            Secondary::address_for(kind)?,
            std::slice::from_ref(&apex),
            origin,
            folder.path(),
        )
    };
    let wrong = start("other")?;
    tools::poll(&format!("{kind} refuses the certificate"), FOLLOWS_WITHIN, || {
        Ok(wrong.process.log().contains(why).then_some(()))
    })
    .with_context(|| wrong.process.log_tail())?;
    tools::poll("a handshake that failed", FOLLOWS_WITHIN, || {
        Ok((handshakes_failed(&primary)? > 0).then_some(()))
    })?;
    ensure!(wrong.serial(&apex)?.is_none(), "{kind} has the zone");
    drop(wrong);
    start("good")?.follows(&apex, 1)
}

#[test]
fn bind_refuses_another_certificate() -> Result<()> {
    has_to_be_the_primary(Kind::Bind, "TLS peer certificate verification failed")
}

#[test]
fn nsd_refuses_another_certificate() -> Result<()> {
    has_to_be_the_primary(Kind::Nsd, "TLS verify failed")
}

/// What is asked without TLS where it has to be is refused, with the right key, too.
#[test]
fn the_rule_wants_tls() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let keys = key_section("hmac-sha256", SECRET);
    let rules = format!("secondaries = [\"127.0.0.0/8 key {KEY_NAME} tls\"]");
    let primary = start(folder.path(), "", &keys, &rules)?;
    let key = Key { name: KEY_NAME, algorithm: "hmac-sha256", secret: SECRET };
    let apex = Name::parse(ZONE)?;
    let start = |origin| {
        let address = Secondary::address_for(Kind::Bind)?;
        Secondary::start(Kind::Bind, address, std::slice::from_ref(&apex), origin, folder.path())
    };
    let plain = Origin { key: Some(key), ..primary.address.into() };
    let refused = start(plain)?;
    tools::poll("BIND is refused", FOLLOWS_WITHIN, || {
        Ok(refused.process.log().contains("REFUSED").then_some(()))
    })
    .with_context(|| refused.process.log_tail())?;
    ensure!(refused.serial(&apex)?.is_none(), "BIND has the zone");
    drop(refused);
    let tls = Some(Trust { authority: "good", own: None });
    start(Origin { address: tls_of(&primary)?, key: Some(key), tls })?.follows(&apex, 1)
}

/// Queries are for everybody who speaks TLS 1.3; transfers for who has agreed to speak DNS (RFC 9103 §7.1).
#[test]
fn clients_have_to_speak_the_right_protocol() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let primary = start(folder.path(), "", "", "secondaries = [\"127.0.0.0/8\"]")?;
    let at = tls_of(&primary)?;
    for options in [&["-alpn", "dot"][..], &["-alpn", "h2,dot"], &[]] {
        let answer = ask(at, options, TYPE_SOA)?.with_context(|| format!("no answer with {options:?}"))?;
        ensure!(answer.answer.first().and_then(serial_of) == Some(1), "{options:?}: {answer}");
    }
    let zone = ask(at, &["-alpn", "dot"], TYPE_AXFR)?.context("no transfer")?;
    ensure!(zone.rcode() == 0 && zone.answer.len() == 4, "{zone}");
    let refused = ask(at, &[], TYPE_AXFR)?.context("no answer")?;
    ensure!(refused.rcode() == REFUSED, "{refused}");
    ensure!(handshakes_failed(&primary)? == 0, "{}", primary.process.log_tail());
    for (count, options) in (1..).zip([&["-alpn", "h2"][..], &["-tls1_2", "-alpn", "dot"]]) {
        ensure!(ask(at, options, TYPE_SOA)?.is_none(), "an answer with {options:?}");
        ensure!(handshakes_failed(&primary)? == count, "{options:?}");
    }
    // Where plain DNS is spoken there is no TLS, and the other way round.
    ensure!(ask(primary.address, &[], TYPE_SOA)?.is_none(), "TLS at the port of TCP");
    ensure!(
        matches!(client::tcp(at, &[query(TYPE_SOA)?]).as_deref(), Err(_) | Ok([None])),
        "DNS at the port of TLS"
    );
    Ok(())
}

/// Answers over TLS are as long as others where the client asks for it (RFC 7830, RFC 8467), and only there.
#[test]
fn answers_are_padded() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let primary = start(folder.path(), "", "", "")?;
    let mut query = Query::new(Name::parse(ZONE)?, TYPE_SOA);
    let over_tls = |query: &Query| {
        let openssl = Command::new(tools::program("openssl")?);
        tls::ask(openssl, tls_of(&primary)?, &["-alpn", "dot"], &query.bytes(7))?.context("no answer")
    };
    query.edns = Some(Edns::size(1232));
    let plain = over_tls(&query)?;
    ensure!(plain.len() < 200, "{} octets", plain.len());
    query.edns = Some(Edns { options: vec![(OPTION_PADDING, vec![0; 40])], ..Edns::size(1232) });
    let padded = over_tls(&query)?;
    ensure!(padded.len() == 468, "{} octets", padded.len());
    ensure!(Message::decode(&padded)?.answer == Message::decode(&plain)?.answer);
    let in_the_clear = client::tcp(primary.address, &[query.bytes(7)])?.pop().flatten();
    ensure!(in_the_clear.is_some_and(|answer| answer.len() == plain.len()), "padded without TLS");
    Ok(())
}

/// Somebody who never gets to the end of a handshake is cut off, and keeps nobody else waiting meanwhile.
#[test]
fn a_handshake_has_its_time() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let primary = start(folder.path(), "", "", "secondaries = [\"127.0.0.0/8\"]")?;
    let at = tls_of(&primary)?;
    let began = Instant::now();
    let mut slow = Vec::new();
    for octets in [&b""[..], &[22, 3, 1], &[22, 3, 1, 0, 200, 1]] {
        let mut stream = TcpStream::connect(at)?;
        stream.write_all(octets)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        slow.push(stream);
    }
    ask(at, &["-alpn", "dot"], TYPE_SOA)?.context("no answer beside them")?;
    for mut stream in slow {
        // It may be told why before the end.
        while stream.read(&mut [0; 512]).unwrap_or(0) > 0 {}
    }
    ensure!(began.elapsed() >= TRANSFER_TIMEOUT, "cut off after {:?}", began.elapsed());
    ensure!(handshakes_failed(&primary)? == 3, "{}", primary.process.log_tail());
    Ok(())
}

/// A certificate that was renewed is shown from the reload on; one that can't be used leaves the one before.
#[test]
fn a_reload_takes_in_another_certificate() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let primary = start(folder, "", "", "secondaries = [\"127.0.0.0/8\"]")?;
    let at = tls_of(&primary)?;
    // An authority of the system's choice would do as well: what is looked at is whose certificate is taken.
    let shown = |authority: &str| {
        let file = folder.join(format!("{authority}.pem")).display().to_string();
        let options = ["-verify_return_error", "-CAfile", &file, "-alpn", "dot"];
        Ok::<bool, anyhow::Error>(ask(at, &options, TYPE_SOA)?.is_some())
    };
    ensure!(shown("good")? && !shown("other")?);
    std::fs::write(folder.join("own.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")?;
    let refused = primary.ctl(&["reload"]).expect_err("it was reloaded").to_string();
    ensure!(refused.contains("one of its certificates can't be used"), "{refused}");
    ensure!(shown("good")? && !shown("other")?, "the one before is shown no more");
    certificate(folder, "own", "other", "DNS:primary.example", 30)?;
    primary.ctl(&["reload"])?;
    ensure!(shown("other")? && !shown("good")?, "{}", primary.process.log_tail());
    Ok(())
}

/// Each mistake in the configuration is told with its line, before anything is started; an old certificate is only told of.
#[test]
fn what_is_wrong_is_told() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    authority(folder, "good")?;
    certificate(folder, "own", "good", "DNS:primary.example", 30)?;
    certificate(folder, "old", "good", "DNS:primary.example", 3)?;
    std::fs::write(folder.join("empty"), "")?;
    std::fs::copy(folder.join("own.key"), folder.join("open.key"))?;
    std::fs::set_permissions(folder.join("open.key"), std::fs::Permissions::from_mode(0o644))?;
    std::fs::set_permissions(folder.join("empty"), std::fs::Permissions::from_mode(0o600))?;
    write_zone(folder, 1)?;
    let check = |section: &str| {
        let text = format!(
            "[node]\nlisten = [\"127.0.0.1:53\"]\n{section}[[zone]]\nname = \"{ZONE}\"\nfile = \"small.zone\"\n"
        );
        let file = folder.join("node.toml");
        std::fs::write(&file, text)?;
        let output = Command::new(tools::starling()?).arg("check").arg(file).output()?;
        let said = [output.stdout, output.stderr].concat();
        Ok::<_, anyhow::Error>((output.status.success(), String::from_utf8(said)?))
    };
    let own = |listen: &str, certificate: &str, key: &str| {
        format!(
            "[node.tls]\nlisten = [\"{listen}\"]\ncertificate-file = \"{certificate}\"\nkey-file = \"{key}\"\n"
        )
    };
    let at = "127.0.0.1:853";
    for (section, expected) in [
        ("[node.tls]\n".to_owned(), "node.tls has no `listen`"),
        ("[node.tls]\n".to_owned(), "node.tls has no `certificate-file`"),
        ("[node.tls]\n".to_owned(), "node.tls has no `key-file`"),
        (own("127.0.0.1", "own.pem", "own.key"), "`127.0.0.1` is not an address with a port"),
        (own("127.0.0.1:53", "own.pem", "own.key"), "127.0.0.1:53 is where TCP queries are taken without TLS"),
        (own(at, "none.pem", "own.key"), "none.pem can't be read"),
        (own(at, "empty", "own.key"), "empty has no certificate"),
        (own(at, "own.pem", "empty"), "empty has no private key"),
        (own(at, "own.pem", "open.key"), "chmod 600"),
        (own(at, "own.pem", "good.key"), "the key in `key-file` is not that of the certificate"),
        (format!("{}client-ca-file = \"none.pem\"\n", own(at, "own.pem", "own.key")), "none.pem can't be read"),
        (format!("{}alpn = \"dot\"\n", own(at, "own.pem", "own.key")), "unknown key `alpn`"),
        (
            "[[tls]]\nname = \"x\"\nca-file = \"good.pem\"\nkey-file = \"own.key\"\n".to_owned(),
            "[[tls]] has no `certificate-file`",
        ),
        (
            "[[tls]]\nname = \"x\"\nca-file = \"good.pem\"\ncertificate-file = \"own.pem\"\nkey-file = \"good.key\"\n"
                .to_owned(),
            "the key in `key-file` is not that of the certificate",
        ),
    ] {
        let (is_good, said) = check(&section)?;
        ensure!(!is_good && said.contains(expected), "{section}\n{expected}\n{said}");
    }
    let (is_good, said) = check(&own(at, "own.pem", "own.key"))?;
    ensure!(is_good && !said.contains("certificate"), "{said}");
    let (is_good, said) = check(&own(at, "old.pem", "old.key"))?;
    ensure!(is_good && said.contains("the certificate of [node.tls] expires soon"), "{said}");
    Ok(())
}
