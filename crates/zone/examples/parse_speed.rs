//! Measures how fast master files are read: a zone of a million hosts made in memory, or the files named.
//!
//! `cargo run --release -p zone --example parse_speed [FILE ORIGIN]`

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;
use wire::{Name, NameBuf, RecordType};
use zone::master::{NoIncludes, Options, Place, Sink, parse};

const HOSTS: u32 = 1_000_000;
const ROUNDS: usize = 5;

#[derive(Default)]
struct Count {
    records: u64,
    octets: u64,
}

impl Sink for Count {
    fn record(&mut self, owner: Name<'_>, _: RecordType, _: u32, rdata: &[u8], _: Place) {
        self.records += 1;
        self.octets += (owner.len() + rdata.len()) as u64;
    }
}

fn hosts() -> Vec<u8> {
    let mut text = b"@ 3600 IN SOA ns1 admin 1 7200 3600 1209600 300\n@ 3600 IN NS ns1\n".to_vec();
    for i in 0..HOSTS {
        let [_, b, c, d] = i.to_be_bytes();
        writeln!(text, "host{i:07}.example.com. 3600 IN A 10.{b}.{c}.{d}").expect("a Vec takes all");
    }
    text
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (text, origin) = match arguments.as_slice() {
        [] => (hosts(), "example.com."),
        [file, origin] => match std::fs::read(file) {
            Ok(text) => (text, origin.as_str()),
            Err(error) => {
                eprintln!("{file}: {error}");
                return ExitCode::FAILURE;
            }
        },
        _ => {
            eprintln!("usage: parse_speed [FILE ORIGIN]");
            return ExitCode::FAILURE;
        }
    };
    let Ok(origin) = NameBuf::from_text(origin.as_bytes(), Some(Name::ROOT)) else {
        eprintln!("`{origin}` is not a name");
        return ExitCode::FAILURE;
    };
    for _ in 0..ROUNDS {
        let mut count = Count::default();
        let start = Instant::now();
        let report = parse(&text, &Options::new(origin.as_name(), "zone"), &mut NoIncludes, &mut count);
        let seconds = start.elapsed().as_secs_f64();
        report.errors.iter().take(5).for_each(|error| println!("{}", report.describe(error)));
        println!(
            "{} records, {:.2} M records/s, {:.0} MB/s",
            count.records,
            count.records as f64 / seconds / 1e6,
            text.len() as f64 / seconds / 1e6
        );
    }
    ExitCode::SUCCESS
}
