//! The fuzz targets in the ordinary test run: their corpora, their seeds, and some thousands of mutations that are
//! the same in every run.

#[path = "src/fixtures.rs"]
mod fixtures;
#[path = "src/image.rs"]
mod image;
#[path = "src/journal.rs"]
mod journal;
#[path = "src/master.rs"]
mod master;
#[path = "src/message.rs"]
mod message;
#[path = "src/reply.rs"]
mod reply;
#[path = "src/said.rs"]
mod said;
#[path = "src/seeds.rs"]
mod seeds;
#[path = "../property/signing.rs"]
mod signing;
#[path = "src/transfer.rs"]
mod transfer;

use std::fmt::Write as _;
use std::panic::catch_unwind;
use std::path::Path;

/// Mutations of each target: a few seconds of work.
const MUTATIONS: usize = 10_000;

#[test]
fn messages() {
    replay("message", message::run);
}

#[test]
fn master_files() {
    replay("master", master::run);
}

#[test]
fn images() {
    replay("image", image::run);
}

#[test]
fn transfers() {
    replay("transfer", transfer::run);
}

#[test]
fn journals() {
    replay("journal", journal::run);
}

#[test]
fn what_endpoints_say() {
    replay("said", said::run);
}

fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut inputs = seeds::of(target);
    if folder.is_dir() {
        let mut files: Vec<_> = std::fs::read_dir(&folder)
            .expect("a folder")
            .map(|entry| entry.expect("a file").path())
            .collect();
        files.sort();
        inputs.extend(files.iter().map(|file| std::fs::read(file).expect("a file")));
    }
    assert!(!inputs.is_empty());
    for input in &inputs {
        check(target, run, input);
    }
    let mut random = Random(0x5eed_0000_0000_0001);
    for _ in 0..MUTATIONS {
        let input = mutated(&inputs, &mut random);
        check(target, run, &input);
    }
}

/// Runs one input; where it fails, tells which it was.
fn check(target: &str, run: fn(&[u8]), input: &[u8]) {
    if catch_unwind(|| run(input)).is_err() {
        let hex = input.iter().fold(String::new(), |mut hex, octet| {
            // Writing to a string can't fail.
            let _ = write!(hex, "{octet:02x}");
            hex
        });
        panic!("the target {target} fails for {} octets; put them into its corpus: {hex}", input.len());
    }
}

/// A few small changes to one of the inputs: what a fuzzer does, without its guidance.
fn mutated(inputs: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = inputs[random.below(inputs.len())].clone();
    for _ in 0..1 + random.below(4) {
        let at = random.below(input.len() + 1);
        let to = (at + 1 + random.below(16)).min(input.len());
        match random.below(6) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 if at < input.len() => input[at] = [0, 1, 0x3f, 0x40, 0x7f, 0x80, 0xc0, 0xff][random.below(8)],
            2 => input.truncate(at),
            3 => input.insert(at, random.below(256) as u8),
            4 if at < to => drop(input.drain(at..to)),
            _ => {
                let other = &inputs[random.below(inputs.len())];
                let from = random.below(other.len() + 1);
                let piece = other[from..(from + random.below(32)).min(other.len())].to_vec();
                input.splice(at..at, piece);
            }
        }
    }
    input
}

/// Numbers that look random and are the same in every run (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) % bound.max(1) as u64) as usize
    }
}
