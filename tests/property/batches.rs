//! A batch gives the octets that its queries would give one after the other.

use crate::config;
use crate::fixtures;
use crate::seeds;
use nameserver::{Batch, Family, Responder, Transport, UDP_RESPONSE_MAX};
use proptest::prelude::*;
use std::net::IpAddr;

/// Wider than any batch that a worker receives, so that it is worked on in several parts.
const WIDTH_MAX: usize = 80;

/// Queries and their responses.
struct Messages<'q> {
    queries: &'q [&'q [u8]],
    responses: Vec<Vec<u8>>,
}

impl Batch for Messages<'_> {
    type Client<'c> = Option<IpAddr>;

    fn len(&self) -> usize {
        self.queries.len()
    }

    fn query(&self, index: usize) -> &[u8] {
        self.queries[index]
    }

    fn reply(&mut self, index: usize, answer: impl FnOnce(&[u8], &Self::Client<'_>, &mut [u8]) -> usize) {
        assert_eq!(self.responses.len(), index, "in order, and each once");
        let mut response = vec![0xaa; UDP_RESPONSE_MAX];
        let len = answer(self.queries[index], &None, &mut response);
        response.truncate(len);
        self.responses.push(response);
    }
}

/// All kinds of queries for the zones of the fixture; what is malformed and what must not be answered among them.
fn kinds() -> Vec<Vec<u8>> {
    let mut kinds = seeds::of("message");
    let whole = kinds[0].clone();
    kinds.extend((0..whole.len()).map(|len| whole[..len].to_vec()));
    let with = |at: usize, octet: u8| {
        let mut query = whole.clone();
        query[at] = octet;
        query
    };
    kinds.extend([with(2, 0x80), with(2, 0x28), with(5, 2), with(12, 0xc0), vec![0xff; 600]]);
    kinds
}

fn one_by_one(responder: &mut Responder, queries: &[&[u8]]) -> Vec<Vec<u8>> {
    let answer = |query: &&[u8]| {
        let mut response = vec![0x55; UDP_RESPONSE_MAX];
        let len = responder.respond(query, Transport::Udp, &mut response);
        response.truncate(len);
        response
    };
    queries.iter().map(answer).collect()
}

/// The first response that is not the same.
fn difference(queries: &[&[u8]], together: &[Vec<u8>], single: &[Vec<u8>]) -> Option<String> {
    assert_eq!((together.len(), single.len()), (queries.len(), queries.len()));
    let index = (0..queries.len()).find(|index| together[*index] != single[*index])?;
    let (query, together, single) = (queries[index], &together[index], &single[index]);
    Some(format!("{query:02x?} as number {index}: {together:02x?}, and by itself {single:02x?}"))
}

proptest! {
    #![proptest_config(config(60))]

    #[test]
    fn batches_of_any_width_and_order(
        widths in prop::collection::vec(0..=WIDTH_MAX, 1..12),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 12 * WIDTH_MAX),
        root in any::<bool>(),
    ) {
        let serve = if root { fixtures::root } else { fixtures::several };
        let (mut together, mut single) = (serve(), serve());
        let kinds = kinds();
        let mut picks = picks.iter();
        for width in widths {
            let queries: Vec<&[u8]> =
                picks.by_ref().take(width).map(|pick| pick.get(&kinds).as_slice()).collect();
            let mut batch = Messages { queries: &queries, responses: Vec::new() };
            together.respond_batch(Family::V4, &mut batch);
            let difference = difference(&queries, &batch.responses, &one_by_one(&mut single, &queries));
            prop_assert!(difference.is_none(), "{}", difference.unwrap_or_default());
        }
    }
}

/// Every kind right after every other in one batch, so that nothing of a query shows in another's response.
#[test]
fn every_kind_beside_every_other() {
    let kinds = kinds();
    for serve in [fixtures::several, fixtures::root] {
        let (mut together, mut single) = (serve(), serve());
        for step in (1..kinds.len()).step_by(7) {
            let order: Vec<&[u8]> =
                (0..kinds.len()).map(|i| kinds[i * step % kinds.len()].as_slice()).collect();
            for queries in order.chunks(32) {
                let mut batch = Messages { queries, responses: Vec::new() };
                together.respond_batch(Family::V6, &mut batch);
                let difference = difference(queries, &batch.responses, &one_by_one(&mut single, queries));
                assert_eq!(difference, None, "step {step}");
            }
        }
    }
}

#[test]
fn short_ways_give_the_octets_of_the_whole_algorithm() {
    let kinds = kinds();
    for serve in [fixtures::several, fixtures::root] {
        let (mut short, mut whole) = (serve(), serve());
        let (mut from_short, mut from_whole) = (vec![0; 65_535], vec![0; 65_535]);
        for query in &kinds {
            for (transport, room) in [(Transport::Udp, 4096), (Transport::Udp, 512), (Transport::Tcp, 65_535)]
            {
                let len = short.respond(query, transport, &mut from_short[..room]);
                let (whole_len, explanation) = whole.explain(query, transport, &mut from_whole[..room]);
                let same = from_short[..len] == from_whole[..whole_len];
                assert!(same, "{query:02x?} over {transport:?}: {:?}", explanation.rules);
            }
        }
    }
}
