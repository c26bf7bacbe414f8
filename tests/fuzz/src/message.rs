//! Any octets as a query, over both transports.

use super::{fixtures, reply};
use nameserver::{Responder, Transport};
use std::cell::RefCell;

struct Bench {
    responders: [Responder; 2],
    response: Vec<u8>,
}

thread_local! {
    static BENCH: RefCell<Bench> =
        RefCell::new(Bench { responders: [fixtures::several(), fixtures::root()], response: vec![0; 65_535] });
}

/// Answers it and checks the answers.
pub(crate) fn run(query: &[u8]) {
    BENCH.with_borrow_mut(|Bench { responders, response }| {
        for responder in responders {
            reply::checked(responder, query, Transport::Udp, &mut response[..4096]);
            // A caller may have room for less than the client takes.
            reply::checked(responder, query, Transport::Udp, &mut response[..512]);
            reply::checked(responder, query, Transport::Tcp, response);
        }
    });
}
