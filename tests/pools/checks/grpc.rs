//! Checks by the health protocol of gRPC.

use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use starling_tests::server::own_address;

use super::http2::{Answer, fields, serve};
use super::{Fake, all_checked, listen};
use crate::node::Node;

/// An answer with this message, and this at the end.
fn answer(message: &[u8], trailers: &[(&str, &str)]) -> Answer {
    Answer {
        head: fields(&[(":status", "200"), ("content-type", "application/grpc")]),
        data: message.to_vec(),
        trailers: fields(trailers),
    }
}

#[test]
fn only_what_serves_is_good() -> Result<()> {
    const OK: &[(&str, &str)] = &[("grpc-status", "0")];
    let address = own_address();
    let (listener, at) = listen(address)?;
    let good = answer(b"\0\0\0\0\x02\x08\x01", OK);
    let now = Arc::new(Mutex::new(good.clone()));
    let of_server = Arc::clone(&now);
    let fake = move |mut stream: TcpStream| {
        // What is asked for, in the form that any encoder gives it.
        let answered = |data: &[u8]| match data {
            b"\0\0\0\0\x05\x0a\x03web" => of_server.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            b"\0\0\0\0\0" => answer(b"\0\0\0\0\x02\x08\x01", OK),
            _ => Answer {
                head: fields(&[
                    (":status", "200"),
                    ("content-type", "application/grpc"),
                    ("grpc-status", "5"),
                    ("grpc-message", "no idea"),
                ]),
                data: Vec::new(),
                trailers: Vec::new(),
            },
        };
        drop(serve(&mut stream, answered));
    };
    let _fake = Fake::start(listener, fake)?;
    let checks = ["service = \"web\"", "host = \"web.example\"", "service = \"mail\""]
        .map(|keys| format!("kind = \"grpc\", port = {}, {keys}", at.port()));
    let checks: Vec<&str> = checks.iter().map(String::as_str).collect();
    let node = Node::running(&all_checked(address, &checks))?;
    node.sees("p0", "up", "")?;
    node.sees("p1", "up", "")?;
    node.sees("p2", "down", "it knows no service \"mail\" (gRPC status 5): no idea")?;
    let head = |head: &[(&str, &str)]| Answer { head: fields(head), data: Vec::new(), trailers: Vec::new() };
    for (other, said) in [
        (answer(b"\0\0\0\0\x02\x08\x02", OK), "it says NOT_SERVING"),
        (answer(b"\0\0\0\0\0", OK), "it says UNKNOWN"),
        (answer(b"\0\0\0\0\x02\x08\x03", OK), "it says SERVICE_UNKNOWN"),
        (answer(b"\0\0\0\0\x02\x08\x07", OK), "it says 7"),
        (answer(b"\0\0\0\0\x02\x08", OK), "its answer can't be read"),
        // Who says that all is well, and in the end that the call has failed.
        (answer(b"\0\0\0\0\x02\x08\x01", &[("grpc-status", "13")]), "gRPC status 13"),
        (answer(b"\0\0\0\0\x02\x08\x01", &[("x", "y")]), "does not say what became of the call"),
        (answer(&[0; 8192], OK), "half an answer"),
        (
            head(&[(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "12")]),
            "no health protocol",
        ),
        (head(&[(":status", "200"), ("content-type", "text/html")]), "its answer is not of gRPC"),
        (head(&[(":status", "503")]), "status 503"),
    ] {
        *now.lock().unwrap_or_else(PoisonError::into_inner) = other;
        node.sees("p0", "down", said)?;
        *now.lock().unwrap_or_else(PoisonError::into_inner) = good.clone();
        node.sees("p0", "up", "")?;
    }
    Ok(())
}
