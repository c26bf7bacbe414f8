//! Checks over TLS, of OpenSSL's server.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use starling_tests::certificates::{authority, certificate};
use starling_tests::process::Process;
use starling_tests::server::{free_port, own_address};
use starling_tests::tools;

use super::{Fake, all_checked, listen};
use crate::node::Node;

/// A web server with this certificate, which tells of its connections.
fn server(folder: &Path, at: SocketAddr, name: &str, more: &str) -> Result<Process> {
    let mut command = Command::new(tools::program("openssl")?);
    command.args(["s_server", "-www", "-quiet", "-accept", &at.to_string()]).args(more.split_whitespace());
    command.args(["-cert", &format!("{name}.pem"), "-key", &format!("{name}.key")]).current_dir(folder);
    let process = Process::spawn("openssl", &command, &folder.join(format!("{name}.log")))?;
    tools::poll("it listens", crate::node::SEEN_WITHIN, || Ok(std::net::TcpStream::connect(at).ok()))?;
    Ok(process)
}

fn prepared(address: Ipv4Addr) -> Result<(tempfile::TempDir, String)> {
    let folder = tempfile::tempdir()?;
    authority(folder.path(), "good")?;
    authority(folder.path(), "other")?;
    let subjects = format!("DNS:web.example,IP:{address}");
    let pin = certificate(folder.path(), "own", "good", &subjects, 30)?;
    certificate(folder.path(), "old", "good", &subjects, -1)?;
    certificate(folder.path(), "next", "good", &subjects, 90)?;
    Ok((folder, pin))
}

#[test]
fn an_endpoint_has_to_show_who_it_is_and_for_how_long() -> Result<()> {
    let address = own_address();
    let at = SocketAddr::new(address.into(), free_port(address)?);
    let (folder, pin) = prepared(address)?;
    let file = |name: &str| format!("ca-file = \"{}\"", folder.path().join(name).display());
    let (good, other) = (file("good.pem"), file("other.pem"));
    let (pins, other_pins) = (format!("pins = [\"{pin}\"]"), format!("pins = [\"{}=\"]", "A".repeat(43)));
    let wrong_pin = format!("its key has the pin {pin}");
    let cases: Vec<(&str, String, &str, &str)> = vec![
        ("tls", good.clone(), "up", ""),
        ("tls", format!("{good}, server-name = \"web.example\""), "up", ""),
        (
            "tls",
            format!("{good}, server-name = \"mail.example\""),
            "down",
            "its certificate is not for mail.example",
        ),
        ("tls", other, "down", "from nobody whom `ca-file`"),
        // Nobody in the world trusts this test.
        ("tls", "valid-days = 1".to_owned(), "down", "UnknownIssuer"),
        ("tls", pins.clone(), "up", ""),
        ("tls", other_pins, "down", &wrong_pin),
        ("tls", "verify = false".to_owned(), "up", ""),
        ("tls", format!("{good}, valid-days = 20"), "up", ""),
        ("tls", format!("{good}, valid-days = 40"), "down", "in less than 40 days"),
        ("tls", "verify = false, valid-days = 40".to_owned(), "down", "in less than 40 days"),
        ("https", format!("{good}, contains = \"Ciphers supported\""), "up", ""),
        ("https", format!("{pins}, contains = \"nothing of it\""), "down", "is not in the first"),
        ("https", format!("{good}, host = \"web.example\""), "up", ""),
        ("https", format!("{good}, host = \"mail.example\""), "down", "is not for mail.example"),
        ("https", "verify = false, header = \"content-type: text/html\"".to_owned(), "up", ""),
        ("https", "verify = false, http-version = \"2\"".to_owned(), "down", "HTTP/2"),
    ];
    let checks: Vec<String> = cases
        .iter()
        .map(|(kind, keys, ..)| format!("kind = \"{kind}\", port = {}, {keys}", at.port()))
        .collect();
    let checks: Vec<&str> = checks.iter().map(String::as_str).collect();
    let mut running = Some(server(folder.path(), at, "own", "")?);
    let node = Node::running(&all_checked(address, &checks))?;
    for (index, (_, _, health, said)) in cases.iter().enumerate() {
        node.sees(&format!("p{index}"), health, said)?;
    }
    // It is gone, comes back with a certificate that is worth nothing any more, and is mended.
    drop(running.take());
    node.sees("p0", "down", "no connection: Connection refused")?;
    running = Some(server(folder.path(), at, "old", "")?);
    node.sees("p0", "down", "its certificate has expired")?;
    node.sees("p10", "down", "its certificate has expired, at ")?;
    node.sees("p7", "up", "")?;
    drop(running.take());
    let _running = server(folder.path(), at, "next", "-tls1_2")?;
    node.sees("p0", "up", "")?;
    node.sees("p9", "up", "")?;
    // The pin is that of the first key, which somebody else may have found.
    node.sees("p5", "down", "which is not among those of the configuration")
}

#[test]
fn what_is_no_tls_is_told_so() -> Result<()> {
    let address = own_address();
    let (listener, at) = listen(address)?;
    let _plain =
        Fake::start(listener, |mut stream| drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")))?;
    let check = format!("kind = \"tls\", port = {}, verify = false", at.port());
    let node = Node::running(&all_checked(address, &[&check]))?;
    node.sees("p0", "down", "no TLS handshake: ")
}
