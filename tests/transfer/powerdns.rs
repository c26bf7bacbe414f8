//! A node as secondary of PowerDNS, which answers a request for what has changed with the whole zone.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use starling_tests::name::Name;
use starling_tests::process::Process;
use starling_tests::server::own_socket_address;
use starling_tests::tools;
use starling_tests::zonedata::transfer;

use crate::changes::{ASKED, FIRST_SERIAL, World};
use crate::copies::{is_asked, same_answers_to_all, same_digest, same_records};
use crate::secondaries::Key;
use crate::site::{KEY_NAME, SEEN_WITHIN, Seen, Site, ZONE, key_section};

const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const OTHER_SECRET: &str = "/////wQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const KEY: Key = Key { name: KEY_NAME, algorithm: "hmac-sha256", secret: SECRET };

fn steps() -> u32 {
    if tools::long_run() { 1000 } else { 40 }
}

/// A PowerDNS that runs.
struct PowerDns {
    address: SocketAddr,
    folder: PathBuf,
    process: Process,
}

impl PowerDns {
    /// Starts one with the zone of a site, which notifies the site's node. Whoever asks from 127.0.0.1 may have the zone, all others
    /// with the key, where there is one.
    fn start(site: &Site, text: &str, key: Option<Key>) -> Result<Self> {
        let folder = site.path("powerdns");
        std::fs::create_dir_all(&folder)?;
        let address = own_socket_address()?;
        let here = folder.display();
        std::fs::write(folder.join("small.zone"), text)?;
        let zone = format!("zone \"{ZONE}\" {{ type master; file \"{here}/small.zone\"; }};\n");
        std::fs::write(folder.join("named.conf"), zone)?;
        let mut config = format!(
            "launch=bind\nbind-config={here}/named.conf\nbind-check-interval=1\nlocal-address={}\nlocal-port={}\n\
             socket-dir={here}\ndaemon=no\nguardian=no\nprimary=yes\nallow-axfr-ips=127.0.0.1\ncache-ttl=0\n\
             query-cache-ttl=0\nnegquery-cache-ttl=0\nzone-cache-refresh-interval=0\ndisable-syslog=yes\n\
             only-notify=\nalso-notify={}\nversion-string=anonymous\n",
            address.ip(),
            address.port(),
            site.listen
        );
        if key.is_some() {
            config += &format!("bind-dnssec-db={here}/keys.db\n");
        }
        std::fs::write(folder.join("pdns.conf"), config)?;
        if let Some(Key { name, algorithm, secret }) = key {
            let database = folder.join("keys.db").display().to_string();
            run(&folder, "pdnsutil", &["create-bind-db", &database])?;
            run(&folder, "pdnsutil", &["import-tsig-key", name, algorithm, secret])?;
            run(&folder, "pdnsutil", &["activate-tsig-key", ZONE, name, "primary"])?;
        }
        let mut command = Command::new(tools::program("pdns_server")?);
        command.arg(format!("--config-dir={here}"));
        let process = Process::spawn("pdns", &command, &folder.join("log"))?;
        let apex = Name::parse(ZONE)?;
        tools::poll("PowerDNS has the zone", SEEN_WITHIN, || Ok(transfer(address, &apex).ok()))
            .with_context(|| process.log_tail())?;
        Ok(Self { address, folder, process })
    }

    /// Has it read another version of the zone.
    fn load(&self, text: &str) -> Result<()> {
        std::fs::write(self.folder.join("small.new"), text)?;
        std::fs::rename(self.folder.join("small.new"), self.folder.join("small.zone"))?;
        self.control(&["bind-reload-now", ZONE.trim_end_matches('.')])
    }

    /// Has it notify its secondaries.
    fn notify(&self) -> Result<()> {
        self.control(&["notify", ZONE.trim_end_matches('.')])
    }

    fn control(&self, arguments: &[&str]) -> Result<()> {
        run(&self.folder, "pdns_control", arguments).with_context(|| self.process.log_tail())
    }
}

/// One of its programs.
fn run(folder: &std::path::Path, program: &str, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(tools::program(program)?);
    let output = command.arg(format!("--config-dir={}", folder.display())).args(arguments).output()?;
    ensure!(output.status.success(), "{program} {arguments:?}: {output:?}");
    Ok(())
}

#[test]
fn a_zone_comes_from_powerdns() -> Result<()> {
    let site = Site::new()?;
    let mut world = World::new(5);
    let powerdns = PowerDns::start(&site, &world.text(FIRST_SERIAL), None)?;
    let node = site.start(&[powerdns.address], ASKED)?;
    node.wait_for(Seen::served(FIRST_SERIAL))?;
    let apex = Name::parse(ZONE)?;
    for step in 1..=steps() {
        let serial = FIRST_SERIAL.wrapping_add(10 * step);
        world.step();
        powerdns.load(&world.text(serial))?;
        let output = node.ctl(&["refresh", ZONE])?;
        ensure!(output.status.success() && node.seen()? == Seen::served(serial), "{serial}: {output:?}");
        let theirs = transfer(powerdns.address, &apex)?;
        same_records("PowerDNS", &theirs, &transfer(node.address, &apex)?)?;
        tools::poll("a digest", SEEN_WITHIN, || {
            let same = same_digest("PowerDNS", &apex, (serial, &theirs), &node.digests()?, &site.path(""))?;
            Ok(same.then_some(()))
        })?;
        if is_asked(step) {
            same_answers_to_all("PowerDNS", &apex, &theirs, node.address, powerdns.address)?;
        }
    }
    Ok(())
}

/// With the key the zone comes, and NOTIFY is believed; with another one nothing does.
#[test]
fn powerdns_is_asked_with_the_key() -> Result<()> {
    // From an address that may have the zone with the key alone.
    let lines = format!("source = \"127.0.0.2\"\n{ASKED}");
    let site = Site::new()?;
    let mut world = World::new(5);
    let powerdns = PowerDns::start(&site, &world.text(1), Some(KEY))?;
    for key in [key_section("hmac-sha256", OTHER_SECRET), key_section("hmac-sha384", SECRET)] {
        let other = Site::new()?;
        let node = other.start_with_key(powerdns.address, &key, &lines)?;
        // It does not sign what it says to a bad signature (RFC 8945 §5.3.2 has it say why in a TSIG record).
        node.wait_for_log("it answered NOTAUTH").with_context(|| node.process.log_tail())?;
        ensure!(node.seen()?.serial.is_none(), "the zone came with {key}");
    }
    let other = Site::new()?;
    let unsigned = other.start(&[powerdns.address], &lines)?;
    unsigned.wait_for_log("is this node allowed").with_context(|| unsigned.process.log_tail())?;
    drop(unsigned);
    let node = site.start_with_key(powerdns.address, &key_section("hmac-sha256", SECRET), &lines)?;
    node.wait_for(Seen::served(1)).with_context(|| node.process.log_tail())?;
    for serial in 2..5 {
        world.step();
        powerdns.load(&world.text(serial))?;
        powerdns.notify()?;
        // Nothing else would have it ask within an hour.
        node.wait_for(Seen::served(serial)).with_context(|| {
            format!("serial {serial}\n{}\n{}", node.process.log_tail(), powerdns.process.log_tail())
        })?;
    }
    Ok(())
}
