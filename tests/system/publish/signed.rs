//! Signed tables: whose signature counts, and for what.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use starling_tests::tools;

use super::{Workshop, publish, published, serves, site, version};
use crate::node::{Node, run, said};

/// Makes a key; its file and the public key.
fn key(workshop: &Workshop, name: &str) -> Result<(PathBuf, String)> {
    let file = workshop.path(name);
    let output = run(Command::new(tools::starling()?).args(["key", "generate"]).arg(&file))?;
    ensure!(output.status.success(), "{}", said(&output));
    ensure!(std::fs::metadata(&file)?.permissions().mode() & 0o777 == 0o600);
    Ok((file.clone(), show(&file)?))
}

/// The public key that belongs to a private one.
fn show(file: &Path) -> Result<String> {
    let output = run(Command::new(tools::starling()?).args(["key", "show"]).arg(file))?;
    ensure!(output.status.success(), "{}", said(&output));
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn publisher(name: &str, key: &str) -> String {
    format!("[[publisher]]\nname = \"{name}\"\nkey = \"{key}\"\n")
}

fn signature(table: &Path) -> PathBuf {
    PathBuf::from(format!("{}.sig", table.display()))
}

#[test]
fn only_what_a_publisher_has_signed_is_taken() -> Result<()> {
    let workshop = Workshop::new()?;
    let (ours, public) = key(&workshop, "ours")?;
    let (theirs, _) = key(&workshop, "theirs")?;
    let site = site("", &format!("publishers = [\"build\"]\n{}", publisher("build", &public)))?;
    let node = site.start()?;
    let first = workshop.compile("v1", &version(1), Some(&ours))?;
    let report = published(&node, &first)?;
    ensure!(report["signed-by"] == "build", "{report}");
    serves(&node, 1)?;

    let refused = |table: &Path, why: &str| -> Result<()> {
        let (good, text) = publish(&node, table, &["--any-serial"])?;
        ensure!(!good && text.contains("the node refuses") && text.contains(why), "not `{why}`: {text}");
        serves(&node, 1)
    };
    let second = workshop.compile("v2", &version(2), None)?;
    refused(&second, "has no signature")?;
    workshop.compile("v2", &version(2), Some(&theirs))?;
    refused(&second, "which is that of no publisher of the zone")?;
    // A good signature, of another version and of another zone.
    std::fs::copy(signature(&first), signature(&second))?;
    refused(&second, "it says `serial 1`, and the table has `serial 2`")?;
    let other = version(2).replace("small.example", "other.example");
    let other = workshop.compile("other", &other, Some(&ours))?;
    std::fs::copy(signature(&other), signature(&second))?;
    refused(&second, "it says `zone other.example.`")?;
    // Other records under the same serial, and octets that differ nowhere but in the content.
    workshop.compile("v2", &version(2), Some(&ours))?;
    let text = std::fs::read_to_string(signature(&second))?;
    workshop.compile("v2", &version(2).replace("192.0.2.2\n", "192.0.2.3\n"), None)?;
    refused(&second, "it says `digest ")?;
    workshop.compile("v2", &version(2), None)?;
    let mut octets = std::fs::read(&second)?;
    let last = octets.len() - 1;
    octets[last] ^= 1;
    std::fs::write(&second, &octets)?;
    refused(&second, "its content doesn't match its digest")?;
    octets[last] ^= 1;
    std::fs::write(&second, &octets)?;
    // The signature is damaged, or something else.
    let at = text.find("\nsignature ").context("a signature")? + "\nsignature ".len();
    let other = if text[at..].starts_with('A') { "B" } else { "A" };
    std::fs::write(signature(&second), format!("{}{other}{}", &text[..at], &text[at + 1..]))?;
    refused(&second, "was not made with the key")?;
    std::fs::write(signature(&second), "hello")?;
    refused(&second, "it is no signature of a table")?;
    std::fs::write(signature(&second), &text)?;
    published(&node, &second)?;
    serves(&node, 2)?;
    // A signature doesn't lift the rules: an older version that was good once is held.
    let (good, text) = publish(&node, &first, &[])?;
    ensure!(!good && text.contains("goes back from 2 to 1"), "{text}");
    serves(&node, 2)
}

#[test]
fn a_key_is_replaced_by_a_reload() -> Result<()> {
    let workshop = Workshop::new()?;
    let [(old, old_public), (new, new_public)] = [key(&workshop, "old")?, key(&workshop, "new")?];
    let both = publisher("old", &old_public) + &publisher("new", &new_public);
    let site = site("", &format!("publishers = [\"old\"]\n{both}"))?;
    let node = site.start()?;
    let config = std::fs::read_to_string(site.path("node.toml"))?;
    let allow = |node: &Node, names: &str| -> Result<()> {
        std::fs::write(site.path("node.toml"), config.replace("[\"old\"]", names))?;
        let output = node.ctl(&["reload"])?;
        ensure!(output.status.success(), "{}", said(&output));
        Ok(())
    };
    let by_old = workshop.compile("v1", &version(1), Some(&old))?;
    let by_new = workshop.compile("v2", &version(2), Some(&new))?;
    published(&node, &by_old)?;
    ensure!(!publish(&node, &by_new, &[])?.0);
    allow(&node, "[\"old\", \"new\"]")?;
    ensure!(published(&node, &by_new)?["signed-by"] == "new");
    ensure!(published(&node, &workshop.compile("v3", &version(3), Some(&old))?)?["signed-by"] == "old");
    allow(&node, "[\"new\"]")?;
    ensure!(!publish(&node, &workshop.compile("v4", &version(4), Some(&old))?, &[])?.0);
    serves(&node, 3)
}

#[test]
fn keys_and_signatures_are_those_of_openssl() -> Result<()> {
    let workshop = Workshop::new()?;
    let openssl = || Ok::<_, anyhow::Error>(Command::new(tools::program("openssl")?));
    let theirs = workshop.path("theirs.pem");
    let output = run(openssl()?.args(["genpkey", "-algorithm", "ed25519", "-out"]).arg(&theirs))?;
    ensure!(output.status.success(), "{}", said(&output));
    for file in [theirs, key(&workshop, "ours")?.0] {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600))?;
        let site = site("", &format!("publishers = [\"build\"]\n{}", publisher("build", &show(&file)?)))?;
        let node = site.start()?;
        let table = workshop.compile("v1", &version(1), Some(&file))?;
        published(&node, &table)?;
        serves(&node, 1)?;

        // What openssl verifies: the lines before the key, by the public key that it makes of the file.
        let text = std::fs::read_to_string(signature(&table))?;
        let (statement, rest) = text.split_at(text.find("key ").context("a key")?);
        let base64 = rest.lines().nth(1).and_then(|line| line.strip_prefix("signature "));
        let [message, octets, public] = ["message", "octets", "public"].map(|name| workshop.path(name));
        std::fs::write(&message, statement)?;
        std::fs::write(workshop.path("base64"), format!("{}\n", base64.context("a signature")?))?;
        let decode = ["base64", "-d", "-A", "-in"];
        let output = run(openssl()?.args(decode).arg(workshop.path("base64")).arg("-out").arg(&octets))?;
        ensure!(output.status.success(), "{}", said(&output));
        let output = run(openssl()?.args(["pkey", "-pubout", "-in"]).arg(&file).arg("-out").arg(&public))?;
        ensure!(output.status.success(), "{}", said(&output));
        let mut verify = openssl()?;
        verify.args(["pkeyutl", "-verify", "-rawin", "-pubin", "-inkey"]).arg(&public);
        let output = run(verify.arg("-in").arg(&message).arg("-sigfile").arg(&octets))?;
        ensure!(output.status.success(), "{}", said(&output));
    }
    Ok(())
}

#[test]
fn a_key_that_others_can_read_signs_nothing() -> Result<()> {
    let workshop = Workshop::new()?;
    let (file, _) = key(&workshop, "key")?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640))?;
    std::fs::write(workshop.path("zone"), version(1))?;
    let table = workshop.path("table");
    let mut command = Command::new(tools::starling()?);
    command.arg("compile").arg(format!("small.example={}", workshop.path("zone").display()));
    let output = run(command.arg("-o").arg(&table).arg("--sign").arg(&file))?;
    ensure!(output.status.code() == Some(1) && said(&output).contains("chmod 600"), "{}", said(&output));
    ensure!(!table.exists(), "nothing was compiled");
    let output = run(Command::new(tools::starling()?).args(["key", "generate"]).arg(&file))?;
    ensure!(output.status.code() == Some(1) && said(&output).contains("File exists"), "{}", said(&output));
    Ok(())
}
