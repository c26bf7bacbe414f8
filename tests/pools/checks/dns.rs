//! Checks by DNS queries, of NSD and Knot DNS, and of servers that lie.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use rustix::process::Signal;
use starling_tests::name::Name;
use starling_tests::server::{Kind, Server, ZoneFile, free_port, own_address};

use super::all_checked;
use crate::node::{Node, ZONE};

#[test]
fn a_name_server_has_to_answer_what_is_wanted() -> Result<()> {
    for kind in [Kind::Nsd, Kind::Knot] {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("zone");
        std::fs::write(&file, ZONE)?;
        let zones = [ZoneFile { apex: Name::parse("example.com")?, file: file.clone(), generic: file }];
        let server = Server::start(kind, &zones, folder.path())?;
        let SocketAddr::V4(at) = server.address else { continue };
        let cases = [
            ("name = \"example.com\", type = \"SOA\"", "up", ""),
            ("name = \"WWW.example.com\", answer = \"192.0.2.80\", authoritative = true", "up", ""),
            ("name = \"www.example.com\", type = \"AAAA\", answer = \"2001:DB8:0::80\"", "up", ""),
            ("name = \"example.com\", type = \"NS\", answer = \"NS1.example.com.\"", "up", ""),
            ("name = \"www.example.com\", transport = \"tcp\", recursion = true", "up", ""),
            ("name = \"www.example.com\", answer = \"192.0.2.81\"", "down", "no A record 192.0.2.81"),
            ("name = \"no.example.com\"", "down", "it answers NXDOMAIN, and not NOERROR"),
            ("name = \"no.example.com\", rcode = \"nxdomain\"", "up", ""),
            (
                "name = \"no.example.com\", rcode = \"SERVFAIL\", transport = \"tcp\"",
                "down",
                "and not SERVFAIL",
            ),
            ("name = \"www.example.net\"", "down", "it answers REFUSED"),
        ];
        let checks: Vec<String> =
            cases.iter().map(|(keys, ..)| format!("kind = \"dns\", port = {}, {keys}", at.port())).collect();
        let checks: Vec<&str> = checks.iter().map(String::as_str).collect();
        let node = Node::running(&all_checked(*at.ip(), &checks))?;
        for (index, (_, health, said)) in cases.iter().enumerate() {
            node.sees(&format!("p{index}"), health, said)?;
        }
        // NSD's children would go on.
        if kind == Kind::Knot {
            server.process.signal(Signal::STOP)?;
            node.sees("p0", "down", "no answer within 1500 ms")?;
            node.sees("p4", "down", "no answer within 1500 ms")?;
            server.process.signal(Signal::CONT)?;
            node.sees("p0", "up", "")?;
            node.sees("p4", "up", "")?;
        }
        drop(server);
        node.sees("p0", "down", "nobody listens there")?;
        node.sees("p4", "down", "no connection")?;
    }
    Ok(())
}

/// What a server does with a query: the datagrams that it sends.
type Manner = fn(&[u8]) -> Vec<Vec<u8>>;

/// An answer with authority, with the address that is wanted.
fn good(query: &[u8]) -> Vec<u8> {
    let mut answer = query.to_vec();
    (answer[2], answer[7]) = (0x84, 1);
    answer.extend(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x50");
    answer
}

/// A good answer with another octet in one place.
fn changed(query: &[u8], at: usize, octet: u8) -> Vec<u8> {
    let mut answer = good(query);
    answer[at] = octet;
    answer
}

#[test]
fn answers_to_something_else_are_passed_over_and_lies_are_seen() -> Result<()> {
    let address = own_address();
    let at = SocketAddr::new(address.into(), free_port(address)?);
    let socket = UdpSocket::bind(at)?;
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    let manner: Arc<Mutex<Manner>> = Arc::new(Mutex::new(|query| vec![good(query)]));
    let (of_thread, ends) = (Arc::clone(&manner), Arc::new(AtomicBool::new(false)));
    let end = Arc::clone(&ends);
    let thread = std::thread::spawn(move || {
        let mut query = [0; 512];
        while !end.load(Ordering::SeqCst) {
            let Ok((len, from)) = socket.recv_from(&mut query) else { continue };
            let manner = *of_thread.lock().unwrap_or_else(PoisonError::into_inner);
            for answer in manner(&query[..len]) {
                drop(socket.send_to(&answer, from));
            }
        }
    });
    let set = |other: Manner| *manner.lock().unwrap_or_else(PoisonError::into_inner) = other;
    let check = format!(
        "kind = \"dns\", port = {}, name = \"www.example.com\", answer = \"192.0.2.80\", authoritative = true",
        at.port()
    );
    let node = Node::running(&all_checked(address, &[&check]))?;
    node.sees("p0", "up", "")?;
    let lies: [(Manner, &str); 7] = [
        // Nothing but what is no answer to it: another id, no response, another question.
        (|query| vec![changed(query, 0, !query[0])], "no answer within"),
        (|query| vec![changed(query, 2, 0x04), query.to_vec()], "no answer within"),
        (|query| vec![changed(query, 13, b'x'), vec![], vec![0; 11]], "no answer within"),
        (|query| vec![changed(query, 3, 2)], "it answers SERVFAIL"),
        (|query| vec![changed(query, 2, 0x80)], "its answer has no authority"),
        // A length that leads beyond the end, and half an answer.
        (|query| vec![changed(query, query.len() + 11, 9)], "its answer can't be read"),
        (|query| vec![changed(&good(query)[..query.len()], 2, 0x86)[..query.len()].to_vec()], "cut short"),
    ];
    for (lie, said) in lies {
        set(lie);
        node.sees("p0", "down", said)?;
        // Behind what a forger sends the right one is found.
        set(|query| vec![changed(query, 1, !query[1]), changed(query, 14, b'x'), vec![7; 400], good(query)]);
        node.sees("p0", "up", "")?;
    }
    ends.store(true, Ordering::SeqCst);
    drop(thread.join());
    Ok(())
}
