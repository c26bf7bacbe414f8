//! A zone that changes at random, the same in every run of a seed: what operators do to zones, in small steps.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use anyhow::{Context, Result};
use fastrand::Rng;
use starling_tests::name::Name;

use crate::copies::Canonical;

/// The apex.
pub(crate) const APEX: &str = "changing.example.";
/// Names below the apex that records come and go at: enough that a copy of which most have changed is folded.
const NAMES: usize = 90;

/// The zone as it is now.
pub(crate) struct Changing {
    rng: Rng,
    pub(crate) serial: u32,
    /// The lines of each name, after the name.
    names: BTreeMap<String, BTreeSet<String>>,
}

impl Changing {
    /// A zone of some hundred records with this serial.
    pub(crate) fn new(seed: u64, serial: u32) -> Self {
        let mut zone = Self { rng: Rng::with_seed(seed), serial, names: BTreeMap::new() };
        for name in 0..NAMES {
            zone.names.insert(format!("steady{name}"), BTreeSet::from(["A 192.0.2.1".to_owned()]));
            zone.change_name(name);
        }
        zone
    }

    /// Changes one to eight names, and makes the serial the next one.
    pub(crate) fn step(&mut self) {
        for _ in 0..self.rng.usize(1..=8) {
            let name = self.rng.usize(0..NAMES);
            self.change_name(name);
        }
        self.serial = self.serial.wrapping_add(1);
    }

    /// Changes every name.
    pub(crate) fn turn_over(&mut self) {
        for records in self.names.values_mut() {
            *records = BTreeSet::from([format!("A 198.51.100.{}", self.rng.u8(..))]);
        }
        self.serial = self.serial.wrapping_add(1);
    }

    /// Writes it as a master file.
    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        let mut text = format!(
            "$ORIGIN {APEX}\n$TTL 300\n@ SOA ns1 host {} 3600 900 604800 60\n NS ns1\n NS ns2\nns1 A 192.0.2.1\n\
             ns2 A 192.0.2.2\n",
            self.serial
        );
        for (name, records) in &self.names {
            records.iter().try_for_each(|record| writeln!(text, "{name} {record}"))?;
        }
        // In one move, as operators are told to.
        let next = file.with_extension("next");
        std::fs::write(&next, text)?;
        Ok(std::fs::rename(next, file)?)
    }

    /// What it has now.
    pub(crate) fn records(&self) -> Result<BTreeSet<Canonical>> {
        let apex = Name::parse(APEX)?;
        let below = |label: &str| Name::parse(&format!("{label}.{APEX}"));
        let (ns1, ns2) = (below("ns1")?, below("ns2")?);
        let mut soa = [ns1.wire(), below("host")?.wire()].concat();
        soa.extend([self.serial, 3600, 900, 604_800, 60].map(u32::to_be_bytes).as_flattened());
        let mut records = BTreeSet::from([
            (apex.clone(), 6, 300, soa),
            (apex.clone(), 2, 300, ns1.wire().to_vec()),
            (apex, 2, 300, ns2.wire().to_vec()),
            (ns1, 1, 300, vec![192, 0, 2, 1]),
            (ns2, 1, 300, vec![192, 0, 2, 2]),
        ]);
        for (name, lines) in &self.names {
            for line in lines {
                let (rtype, rest) = line.split_once(' ').context("a type and data")?;
                let (rtype, rdata) = match rtype {
                    "A" => (1, rest.parse::<Ipv4Addr>()?.octets().to_vec()),
                    "NS" => (2, Name::parse(rest)?.lower().wire().to_vec()),
                    "CNAME" => (5, below(rest)?.wire().to_vec()),
                    "MX" => {
                        let (preference, host) = rest.split_once(' ').context("two fields")?;
                        let preference = preference.parse::<u16>()?.to_be_bytes();
                        (15, [&preference[..], below(host)?.lower().wire()].concat())
                    }
                    "TXT" => {
                        let text = rest.trim_matches('"').as_bytes();
                        (16, [&[text.len() as u8][..], text].concat()) // at most 200 octets
                    }
                    "AAAA" => (28, rest.parse::<Ipv6Addr>()?.octets().to_vec()),
                    _ => (65_280, vec![1, 2, u8::from_str_radix(&rest[rest.len() - 2..], 16)?]),
                };
                records.insert((below(name)?, rtype, 300, rdata));
            }
        }
        Ok(records)
    }

    fn change_name(&mut self, index: usize) {
        let rng = &mut self.rng;
        let records = self.names.entry(format!("h{index}")).or_default();
        let number = rng.u8(0..6);
        let record = match rng.u8(0..10) {
            0 => {
                records.clear();
                return;
            }
            1 => {
                *records = BTreeSet::from([format!("CNAME steady{number}")]);
                return;
            }
            2 => {
                *records = (0..=number).map(|server| format!("NS ns{server}.Elsewhere.test.")).collect();
                return;
            }
            3 => format!("TXT \"{}\"", "x".repeat(usize::from(number) * 40)),
            4 => format!("MX {number} Mail{number}"),
            5 => format!("AAAA 2001:db8::{number}"),
            6 => format!("TYPE65280 \\# 3 0102{number:02x}"),
            _ => format!("A 192.0.2.{number}"),
        };
        if records.iter().any(|record| record.starts_with("CNAME") || record.starts_with("NS")) {
            records.clear();
        }
        // Another TTL is another record, and one set has one TTL.
        let rtype = record.split(' ').next().unwrap_or_default().to_owned();
        if rng.u8(0..4) == 0 {
            records.retain(|known| !known.starts_with(&rtype));
        }
        if !records.remove(&record) {
            records.insert(record);
        }
    }
}
