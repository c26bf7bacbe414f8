//! A node as secondary of a primary that it asks over TLS (RFC 9103).

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use starling_tests::certificates::{self, authority};
use starling_tests::process::Process;
use starling_tests::server::{Kind, free_port};
use starling_tests::tools;

use crate::fake::{TYPE_A, wire};
use crate::peers::{Change, Peer, Wishes, Xot};
use crate::secondaries::Key;
use crate::site::{KEY_NAME, Seen, Site, ZONE, key_section};

const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const LINES: &str = "refresh-min-s = 86400\nretry-min-s = 1";

fn text(serial: u32) -> String {
    format!(
        "$ORIGIN {ZONE}\n$TTL 300\n@ SOA ns1 host {serial} 86400 86400 604800 60\n NS ns1\nns1 A 192.0.2.1\n"
    )
}

/// A certificate `own.pem` with its key, for `primary.example`, signed by `authority`; its pin.
fn certificate(folder: &Path, authority: &str) -> Result<String> {
    certificates::certificate(folder, "own", authority, "DNS:primary.example,IP:127.0.0.1", 30)
}

#[test]
fn bind_has_to_prove_who_it_is() -> Result<()> {
    let site = Site::new()?;
    let folder = site.path("");
    authority(&folder, "good")?;
    authority(&folder, "other")?;
    let pin = certificate(&folder, "good")?;
    let at = SocketAddr::new([127, 0, 0, 1].into(), free_port([127, 0, 0, 1].into())?);
    let wishes = Wishes {
        secondary: site.listen,
        key: None,
        dnssec: false,
        tls: Some(Xot { at, own: "own", alone: true }),
    };
    let peer = Peer::start(Kind::Bind, &text(1), wishes, &folder)?;
    let ca = |name: &str| format!("ca-file = \"{}\"", folder.join(format!("{name}.pem")).display());
    let section = |proof: &str| format!("[[tls]]\nname = \"xot\"\n{proof}\n");
    let named = |name: &str, ca: &str| section(&format!("server-name = \"{name}\"\n{ca}"));
    let xot = format!("{at} tls xot");
    let other_pin = format!("{}=", "A".repeat(43));
    for (section, primary, why) in [
        (named("primary.example", &ca("other")), &xot, "UnknownIssuer"),
        (named("secondary.example", &ca("good")), &xot, "not valid for name"),
        (section(&format!("pins = [\"{other_pin}\"]")), &xot, &*format!("its key has the pin {pin}")),
        // Where there is no TLS, and where there is nothing else.
        (section(&ca("good")), &format!("{} tls xot", peer.address), "TLS handshake"),
        (section(&ca("good")), &peer.address.to_string(), "it answered REFUSED"),
    ] {
        let other = Site::new()?;
        let node = other.start_with(&section, primary, LINES)?;
        node.wait_for_log(why).with_context(|| format!("{section}\n{}", node.process.log_tail()))?;
        ensure!(node.seen()?.serial.is_none(), "the zone came with {section}");
    }
    for section in [
        named("primary.example", &ca("good")),
        // By its address, which is in the certificate too.
        section(&ca("good")),
        section(&format!("pins = [\"{other_pin}\", \"{pin}\"]")),
    ] {
        let other = Site::new()?;
        let node = other.start_with(&section, &xot, LINES)?;
        node.wait_for(Seen::served(1)).with_context(|| section.clone())?;
        let output = node.ctl(&["refresh", ZONE])?;
        ensure!(output.status.success(), "the SOA record comes over TLS too: {output:?}");
    }
    Ok(())
}

/// Who may be believed is another matter after each reload.
#[test]
fn a_reload_takes_in_another_pin_and_another_authority() -> Result<()> {
    let site = Site::new()?;
    let folder = site.path("");
    authority(&folder, "good")?;
    authority(&folder, "other")?;
    let pin = certificate(&folder, "good")?;
    let at = SocketAddr::new([127, 0, 0, 1].into(), free_port([127, 0, 0, 1].into())?);
    let tls = Some(Xot { at, own: "own", alone: false });
    let wishes = Wishes { secondary: site.listen, key: None, dnssec: false, tls };
    let peer = Peer::start(Kind::Bind, &text(1), wishes, &folder)?;
    let write = |proof: &str| {
        let section = format!("[[tls]]\nname = \"xot\"\n{proof}\n");
        site.write(&section, &format!("\"{at} tls xot\""), LINES)
    };
    let wrong = format!("pins = [\"{}=\"]", "A".repeat(43));
    write(&wrong)?;
    let node = site.restart()?;
    node.wait_for_log("its key has the pin")?;
    let right = [format!("pins = [\"{pin}\"]"), "ca-file = \"good.pem\"".to_owned()];
    for (proof, serial) in right.iter().zip(1..) {
        write(proof)?;
        ensure!(node.ctl(&["reload"])?.status.success(), "{}", node.process.log_tail());
        node.wait_for(Seen::served(serial)).with_context(|| proof.clone())?;
        for wrong in [&*wrong, "ca-file = \"other.pem\""] {
            write(wrong)?;
            ensure!(node.ctl(&["reload"])?.status.success(), "{}", node.process.log_tail());
            ensure!(!node.ctl(&["refresh", ZONE])?.status.success(), "it is believed with {wrong}");
        }
        let owner = wire(&format!("v{serial}.{ZONE}"));
        peer.update(&[Change { owner, rtype: TYPE_A, rdata: vec![192, 0, 2, 1], added: Some(300) }])?;
        ensure!(!node.ctl(&["refresh", ZONE])?.status.success());
        ensure!(node.seen()? == Seen::served(serial));
    }
    Ok(())
}

/// Whether a node says this of a server that has the certificate `own.pem` and speaks no DNS.
fn says_of_openssl(site: &Site, text: &str) -> Result<()> {
    let folder = site.path("");
    let at = SocketAddr::new([127, 0, 0, 1].into(), free_port([127, 0, 0, 1].into())?);
    let mut command = Command::new(tools::program("openssl")?);
    command.args(["s_server", "-quiet", "-accept", &at.to_string(), "-cert", "own.pem", "-key", "own.key"]);
    let _server = Process::spawn("openssl", command.current_dir(&folder), &folder.join("openssl.log"))?;
    let section = "[[tls]]\nname = \"xot\"\nca-file = \"good.pem\"\n";
    let node = site.start_with(section, &format!("{at} tls xot"), LINES)?;
    node.wait_for_log(text)
}

/// A certificate that was good, and is too old.
#[test]
fn an_expired_certificate_proves_nothing() -> Result<()> {
    let site = Site::new()?;
    let folder = site.path("");
    authority(&folder, "good")?;
    certificates::certificate(&folder, "own", "good", "IP:127.0.0.1", -1)?;
    says_of_openssl(&site, "invalid peer certificate: Expired")
}

/// A server that has the right key, and speaks something else.
#[test]
fn what_is_no_dns_over_tls_is_told_so() -> Result<()> {
    let site = Site::new()?;
    let folder = site.path("");
    authority(&folder, "good")?;
    certificate(&folder, "good")?;
    says_of_openssl(&site, "it has not agreed to speak DNS over TLS")
}

/// With a key besides, what has changed comes so, too.
#[test]
fn changes_come_over_tls_with_a_key() -> Result<()> {
    let site = Site::new()?;
    let folder = site.path("");
    authority(&folder, "good")?;
    certificate(&folder, "good")?;
    let at = SocketAddr::new([127, 0, 0, 1].into(), free_port([127, 0, 0, 1].into())?);
    let key = Key { name: KEY_NAME, algorithm: "hmac-sha256", secret: SECRET };
    let wishes = Wishes {
        secondary: site.listen,
        key: Some(key),
        dnssec: false,
        tls: Some(Xot { at, own: "own", alone: true }),
    };
    let peer = Peer::start(Kind::Bind, &text(1), wishes, &folder)?;
    // Relative to the configuration.
    let tls = "[[tls]]\nname = \"xot\"\nserver-name = \"primary.example\"\nca-file = \"good.pem\"\n";
    let sections = format!("{}{tls}", key_section("hmac-sha256", SECRET));
    let plain = UdpSocket::bind(at)?;
    plain.set_nonblocking(true)?;
    let node = site.start_with(&sections, &format!("{at} tls xot key {KEY_NAME}"), LINES)?;
    node.wait_for(Seen::served(1))?;
    for serial in 2..4 {
        peer.load(&text(serial), serial)?;
        node.wait_for(Seen::served(serial))?;
    }
    node.wait_for_log("what has changed was transferred")?;
    ensure!(plain.recv(&mut [0; 512]).is_err(), "something was asked without TLS");
    Ok(())
}

/// NSD 4.6 serves zones over TLS, but agrees to no protocol in it, as RFC 9103 §7.1 has it: that is told, and nothing is taken.
/// Knot 3.2 has no TLS for its secondaries.
#[test]
fn nsd_without_alpn_is_told_so() -> Result<()> {
    let site = Site::new()?;
    let folder = site.path("");
    authority(&folder, "good")?;
    certificate(&folder, "good")?;
    let at = SocketAddr::new([127, 0, 0, 1].into(), free_port([127, 0, 0, 1].into())?);
    std::fs::write(folder.join("small.zone"), text(1))?;
    let here = folder.display();
    let config = format!(
        "server:\n ip-address: {}@{port}\n tls-port: {port}\n tls-service-key: \"{here}/own.key\"\n \
         tls-service-pem: \"{here}/own.pem\"\n server-count: 1\n username: \"\"\n chroot: \"\"\n database: \"\"\n \
         zonesdir: \"{here}\"\n pidfile: \"{here}/pid\"\n xfrdfile: \"{here}/xfrd.state\"\n \
         zonelistfile: \"{here}/zone.list\"\n xfrdir: \"{here}\"\nremote-control:\n control-enable: no\n\
         zone:\n name: \"{ZONE}\"\n zonefile: small.zone\n provide-xfr: 127.0.0.0/8 NOKEY\n",
        at.ip(),
        port = at.port()
    );
    std::fs::write(folder.join("nsd.conf"), config)?;
    let mut command = Command::new(tools::program("nsd")?);
    command.arg("-d").arg("-c").arg(folder.join("nsd.conf"));
    let nsd = Process::spawn("nsd", &command, &folder.join("nsd.log"))?;
    let section = "[[tls]]\nname = \"xot\"\nca-file = \"good.pem\"\n";
    let node = site.start_with(section, &format!("{at} tls xot"), LINES)?;
    node.wait_for_log("it has not agreed to speak DNS over TLS").with_context(|| nsd.log_tail())?;
    ensure!(node.seen()?.serial.is_none(), "the zone was taken all the same");
    Ok(())
}
