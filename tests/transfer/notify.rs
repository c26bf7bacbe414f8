//! NOTIFY and TSIG with Knot, NSD and BIND as secondaries: they follow a reload because they are told, and only those
//! that have the key get a zone.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use starling_tests::name::Name;
use starling_tests::server::Kind;
use starling_tests::tools;

use crate::secondaries::{Key, Origin, Primary, Secondary};

/// Far below the zone's refresh interval of an hour, and far above what a NOTIFY takes.
const SOON: Duration = Duration::from_secs(30);

/// 32 octets in base64.
const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const OTHER_SECRET: &str = "/////wQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const ALGORITHMS: [&str; 5] = ["hmac-sha1", "hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512"];

fn zone_text(serial: u32, hosts: usize) -> String {
    let hosts: String = (0..hosts).map(|host| format!("h{host} A 192.0.2.2\n")).collect();
    format!(
        "$ORIGIN small.example.\n$TTL 300\n@ SOA ns1 host {serial} 3600 3600 604800 60\n NS ns1\nns1 A 192.0.2.1\n{hosts}"
    )
}

fn apex() -> Result<Name> {
    Name::parse("small.example.")
}

/// The zone with these lines, and keys or other sections before it.
fn configuration(folder: &Path, sections: &str, zone_lines: &str) -> String {
    let file = folder.join("small.zone");
    format!(
        "{sections}\n[transfer]\nnotify-source = [\"127.0.0.1\"]\n[[zone]]\nname = \"small.example\"\nfile = \"{}\"\n{zone_lines}\n",
        file.display()
    )
}

fn zones(primary: &Primary) -> Result<serde_json::Value> {
    let zones: serde_json::Value = serde_json::from_str(&primary.ctl(&["zones", "--json"])?)?;
    Ok(zones[0]["notified"].clone())
}

/// Waits until each of so many secondaries has this state with this serial.
fn all_say(primary: &Primary, serial: u32, state: &str, count: usize) -> Result<()> {
    let mut last = serde_json::Value::Null;
    let said = tools::poll(&format!("{count} secondaries: {state}"), SOON, || {
        last = zones(primary)?;
        let all = last.as_array().context("a list")?;
        let fitting = |one: &&serde_json::Value| {
            one["serial"] == serial && one["state"].as_str().is_some_and(|text| text.contains(state))
        };
        Ok((all.len() == count && all.iter().filter(fitting).count() == count).then_some(()))
    });
    said.with_context(|| last.to_string())
}

#[test]
fn secondaries_follow_a_reload() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("small.zone");
    std::fs::write(&file, zone_text(1, 1))?;
    let addresses: Vec<SocketAddr> =
        Kind::PEERS.into_iter().map(Secondary::address_for).collect::<Result<_>>()?;
    let listed: Vec<String> = addresses.iter().map(|address| format!("\"{address}\"")).collect();
    let lines = format!("secondaries = [\"127.0.0.0/8\"]\nnotify = [{}]", listed.join(", "));
    let primary = Primary::start(&configuration(folder.path(), "", &lines), folder.path())?;
    let mut secondaries = Vec::new();
    for (kind, address) in Kind::PEERS.into_iter().zip(addresses) {
        let mut secondary = Secondary::start(kind, address, &[apex()?], primary.address, folder.path())?;
        secondary.follows(&apex()?, 1)?;
        secondaries.push(secondary);
    }
    for serial in 2..5 {
        std::fs::write(&file, zone_text(serial, serial as usize))?;
        primary.ctl(&["reload"])?;
        for secondary in &mut secondaries {
            secondary.follows(&apex()?, serial)?;
        }
        all_say(&primary, serial, "acknowledged", 3)?;
    }
    let said = primary.ctl(&["notify", "small.example"])?;
    ensure!(said.contains("3 secondaries"), "{said}");
    all_say(&primary, 4, "acknowledged", 3)?;
    let error = primary.ctl(&["notify", "other.example"]).expect_err("nobody is notified of it");
    ensure!(format!("{error:#}").contains("nobody is notified"), "{error:#}");
    Ok(())
}

/// Who doesn't answer is told again, from the configured address; who answers with an error is left alone.
#[test]
fn a_secondary_is_told_again_until_it_answers() -> Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("small.zone"), zone_text(1, 1))?;
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(SOON))?;
    let lines = format!("notify = [\"{}\"]", socket.local_addr()?);
    let text = configuration(folder.path(), "", &lines).replace("[\"127.0.0.1\"]", "[\"127.9.8.7\"]");
    let primary = Primary::start(&text, folder.path())?;
    let mut buffer = [0; 512];
    let mut first = Vec::new();
    for _ in 0..3 {
        let (len, from) = socket.recv_from(&mut buffer)?;
        ensure!(from.ip().to_string() == "127.9.8.7", "from {from}");
        ensure!(buffer[2] & 0x78 == 0x20, "opcode NOTIFY");
        ensure!(first.is_empty() || first == buffer[..len], "the same message again");
        first = buffer[..len].to_vec();
        all_say(&primary, 1, "not acknowledged yet", 1)?;
    }
    let (len, from) = socket.recv_from(&mut buffer)?;
    buffer[2] |= 0x80;
    buffer[3] = 5;
    socket.send_to(&buffer[..len], from)?;
    all_say(&primary, 1, "refused with REFUSED", 1)?;
    // Unless somebody asks for it.
    primary.ctl(&["notify", "small.example"])?;
    let (len, from) = socket.recv_from(&mut buffer)?;
    ensure!(from.ip().to_string() == "127.9.8.7", "from {from}");
    ensure!(buffer[2..len] == first[2..], "the same, with an identifier of its own");
    buffer[2] |= 0x80;
    socket.send_to(&buffer[..len], from)?;
    tools::poll("it is acknowledged", SOON, || {
        Ok((zones(&primary)?[0]["state"] == "acknowledged").then_some(()))
    })
}

fn key_section(algorithm: &str, secret: &str) -> String {
    format!("[[key]]\nname = \"transfer-key\"\nalgorithm = \"{algorithm}\"\nsecret = \"{secret}\"\n")
}

/// Zone, NOTIFY and all are signed, with every algorithm that the peer has; a wrong secret gets nothing.
fn a_key_is_needed(kind: Kind) -> Result<()> {
    for algorithm in ALGORITHMS {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("small.zone");
        std::fs::write(&file, zone_text(1, 3000))?;
        let address = Secondary::address_for(kind)?;
        let lines = format!(
            "secondaries = [\"127.0.0.0/8 key transfer-key\"]\nnotify = [\"{address} key transfer-key\"]"
        );
        let text = configuration(folder.path(), &key_section(algorithm, SECRET), &lines);
        let primary = Primary::start(&text, folder.path())?;
        let key = |secret| Some(Key { name: "transfer-key", algorithm, secret });
        let start = |address, secret| {
            let origin = Origin { key: key(secret), ..primary.address.into() };
            Secondary::start(kind, address, &[apex()?], origin, folder.path())
        };
        // At an address of its own: children of NSD's outlive it for a moment.
        let wrong = start(Secondary::address_for(kind)?, OTHER_SECRET)?;
        tools::poll(&format!("{kind} is refused, {algorithm}"), SOON, || {
            let status: serde_json::Value = serde_json::from_str(&primary.ctl(&["status", "--json"])?)?;
            Ok((status["answers"]["NOTAUTH"].as_u64() > Some(0)).then_some(()))
        })
        .with_context(|| wrong.process.log_tail())?;
        ensure!(wrong.serial(&apex()?)?.is_none(), "{kind} has the zone without the key");
        drop(wrong);
        let mut secondary = start(address, SECRET)?;
        secondary
            .follows(&apex()?, 1)
            .with_context(|| format!("{algorithm}\n{}", primary.process.log_tail()))?;
        std::fs::write(&file, zone_text(2, 3000))?;
        primary.ctl(&["reload"])?;
        secondary
            .follows(&apex()?, 2)
            .with_context(|| format!("{algorithm}\n{}", primary.process.log_tail()))?;
        all_say(&primary, 2, "acknowledged", 1)?;
    }
    Ok(())
}

#[test]
fn knot_needs_the_key() -> Result<()> {
    a_key_is_needed(Kind::Knot)
}

#[test]
fn nsd_needs_the_key() -> Result<()> {
    a_key_is_needed(Kind::Nsd)
}

#[test]
fn bind_needs_the_key() -> Result<()> {
    a_key_is_needed(Kind::Bind)
}

/// dig checks the signature of every message, and shows what it is told.
#[test]
fn dig_verifies_what_is_signed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("small.zone"), zone_text(1, 5000))?;
    let text = configuration(
        folder.path(),
        &key_section("hmac-sha384", SECRET),
        "secondaries = [\"key transfer-key\"]",
    );
    let primary = Primary::start(&text, folder.path())?;
    let dig = |key: &str, arguments: &[&str]| -> Result<String> {
        let mut command = Command::new(tools::program("dig")?);
        command.arg(format!("@{}", primary.address.ip())).args(["-p", &primary.address.port().to_string()]);
        command.args(["+norecurse", "+tries=1", "+time=5", "-y", key, "small.example"]).args(arguments);
        let output = command.output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
    };
    let good = format!("hmac-sha384:transfer-key:{SECRET}");
    for arguments in [&["SOA"][..], &["SOA", "+tcp"], &["AXFR"], &["IXFR=0"], &["DNSKEY", "+noedns"]] {
        let said = dig(&good, arguments)?;
        let is_good = said.contains("NOERROR") && !said.contains("verify") && !said.contains("BAD");
        let is_transfer = arguments[0].contains("XFR");
        ensure!(
            if is_transfer { said.contains("XFR size: 5004 records") } else { is_good },
            "{arguments:?}: {}",
            &said[said.len().saturating_sub(2000)..]
        );
        ensure!(!said.contains("Couldn't verify") && !said.contains("WARNING"), "{arguments:?}");
    }
    for (key, expected) in [
        (format!("hmac-sha384:transfer-key:{OTHER_SECRET}"), "BADSIG"),
        (format!("hmac-sha256:transfer-key:{SECRET}"), "BADKEY"),
        (format!("hmac-sha384:unknown-key:{SECRET}"), "BADKEY"),
    ] {
        for arguments in [&["SOA"][..], &["SOA", "+tcp"]] {
            let said = dig(&key, arguments)?;
            ensure!(said.contains("NOTAUTH") && said.contains(expected), "{key} {arguments:?}: {said}");
        }
        let said = dig(&key, &["AXFR"])?;
        ensure!(said.contains("Transfer failed") && !said.contains("192.0.2.2"), "{key}: {said}");
    }
    Ok(())
}
