//! What is in a zone according to BIND: fetched by transfer, so that Starling's own reader has no say in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::client;
use crate::message::{Message, Record, rcode_name};
use crate::name::Name;
use crate::query::Query;
use crate::server::{Kind, Server, ZoneFile};

const TYPE_SOA: u16 = 6;
const TYPE_AXFR: u16 = 252;

/// Zones as files for every server, and their records.
pub struct Zones {
    /// The files.
    pub files: Vec<ZoneFile>,
    /// The records by apex.
    pub records: BTreeMap<Name, Vec<Record>>,
}

impl Zones {
    /// Has BIND read these master files, and writes a copy in generic form of each into `folder`.
    pub fn read(zones: &[(Name, PathBuf)], folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let mut files: Vec<ZoneFile> = Vec::new();
        for (at, (apex, file)) in zones.iter().enumerate() {
            let generic = folder.join(format!("{at}.generic"));
            files.push(ZoneFile { apex: apex.lower(), file: file.clone(), generic });
        }
        let reader = Server::start(Kind::Bind, &files, &folder.join("reader"))?;
        let mut records = BTreeMap::new();
        for zone in &files {
            let transferred = transfer(reader.address, &zone.apex)?;
            std::fs::write(&zone.generic, generic(&transferred)?)?;
            records.insert(zone.apex.clone(), transferred);
        }
        Ok(Self { files, records })
    }

    /// Every owner name of every zone, and the empty non-terminals between them and their apex.
    #[must_use]
    pub fn names(&self) -> BTreeSet<Name> {
        self.records.iter().flat_map(|(apex, records)| names_of(apex, records)).collect()
    }
}

/// Every owner name of a zone, and the empty non-terminals between them and the apex.
#[must_use]
pub fn names_of(apex: &Name, records: &[Record]) -> BTreeSet<Name> {
    let mut names = BTreeSet::new();
    for record in records {
        let mut name = Some(record.owner.clone());
        while let Some(current) = name {
            if !current.is_at_or_below(apex) || names.contains(&current) {
                break;
            }
            name = current.parent();
            names.insert(current);
        }
    }
    names
}

/// Names around this one, each of which leads to another branch of the algorithm of RFC 1034 §4.3.2.
#[must_use]
pub fn neighbours(name: &Name) -> Vec<Name> {
    let mut found = vec![name.mixed_case()];
    found.extend(name.child(b"below"));
    found.extend(name.child(b"under").and_then(|below| below.child(b"far")));
    found.extend(name.child(b"*"));
    if let Some(parent) = name.parent() {
        let sibling = parent.child(b"zz-none");
        found.extend(sibling.as_ref().and_then(|sibling| sibling.child(b"deep")));
        found.extend(sibling);
        // The direct successor among the siblings, so that the name itself is the one that denies it.
        let label = name.labels()[0];
        found.extend(parent.child(&[label, b"0"].concat()));
    }
    found
}

/// Fetches a zone (RFC 5936 §2.2); the SOA stands first, once.
pub fn transfer(server: SocketAddr, apex: &Name) -> Result<Vec<Record>> {
    let mut stream = client::connect(server)?;
    client::write_framed(&mut stream, &Query::new(apex.clone(), TYPE_AXFR).bytes(1))?;
    let mut records: Vec<Record> = Vec::new();
    let mut soa_count = 0;
    while soa_count < 2 {
        let bytes =
            client::read_framed(&mut stream)?.with_context(|| format!("transfer of {apex} cut off"))?;
        let message = Message::decode(&bytes)?;
        ensure!(message.rcode() == 0, "transfer of {apex}: {}", rcode_name(message.rcode()));
        soa_count += message.answer.iter().filter(|record| record.rtype == TYPE_SOA).count();
        records.extend(message.answer);
    }
    records.pop();
    Ok(records)
}

/// Master file text with every RDATA in the form of RFC 3597 §5.
pub fn generic(records: &[Record]) -> Result<String> {
    let mut text = String::new();
    for record in records {
        write!(
            text,
            "{}\t{}\tIN\tTYPE{}\t\\# {} ",
            record.owner,
            record.ttl,
            record.rtype,
            record.rdata.len()
        )?;
        for byte in &record.rdata {
            write!(text, "{byte:02x}")?;
        }
        text.push('\n');
    }
    Ok(text)
}
