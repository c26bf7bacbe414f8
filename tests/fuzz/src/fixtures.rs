//! Zones and responders that the targets work on.

use super::signing::{Denial, OptOut, Record, compile, sign};
use nameserver::{Counters, Responder, Settings, Subnets};
use std::sync::Arc;
use table::Table;
use table::publish::{Directory, Publisher, SlotIndex};
use wire::probe::Seat;
use wire::{Name, NameBuf, RecordType};
use zone::master::{NoIncludes, Options, Place, Sink};

const TEXT: &str = include_str!("../zones/fixture.zone");

/// A name in presentation format.
pub(crate) fn name(text: &str) -> NameBuf {
    NameBuf::from_text(text.as_bytes(), Some(Name::ROOT)).expect("a name of this file")
}

/// The fixture's zone under this apex.
pub(crate) fn zone(apex: &str, denial: &Denial) -> Table {
    zone_from(TEXT, apex, denial)
}

/// A zone from a text with relative names.
pub(crate) fn zone_from(text: &str, apex: &str, denial: &Denial) -> Table {
    let apex = name(apex);
    let mut sink = Records(Vec::new());
    let options = Options::new(apex.as_name(), "fixture");
    let report = zone::master::parse(text.as_bytes(), &options, &mut NoIncludes, &mut sink);
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    sign(apex.as_name(), &mut sink.0, denial);
    compile(apex.as_name(), &sink.0)
}

struct Records(Vec<Record>);

impl Sink for Records {
    fn record(&mut self, owner: Name<'_>, rtype: RecordType, ttl: u32, rdata: &[u8], _place: Place) {
        self.0.push(Record { owner: owner.into(), rtype, ttl, rdata: rdata.to_vec() });
    }
}

/// An NSEC3 chain with these properties.
pub(crate) fn nsec3(salt: &[u8], iterations: u16, opt_out: OptOut) -> Denial {
    Denial::Nsec3 { iterations, salt: salt.to_vec(), opt_out }
}

/// What makes a query a probe.
pub(crate) const PROBE_TOKEN: [u8; 16] = *b"probe-probe-prob";

/// A responder for these zones. The last slot of the directory has no table.
pub(crate) fn responder(tables: Vec<Table>) -> Responder {
    let mut publisher = Publisher::new();
    let empty = name("empty.");
    let apexes: Vec<NameBuf> = tables.iter().map(|table| table.apex_name().into()).chain([empty]).collect();
    let slots = apexes.iter().enumerate().map(|(index, apex)| (apex.as_name(), SlotIndex(index as u32)));
    publisher.publish_directory(Directory::new(slots));
    for (index, table) in tables.into_iter().enumerate() {
        publisher.publish(SlotIndex(index as u32), Some(Arc::new(table)));
    }
    let settings = Settings {
        server_id: Some((*b"ams1").into()),
        version: Some((*b"1").into()),
        probe_token: Some(PROBE_TOKEN),
        subnets: Subnets::Heeded,
        ..Settings::default()
    };
    Responder::new(publisher.reader(), Arc::new(settings), Arc::new(Counters::default()), Seat::UdpWorker(0))
}

/// Four zones: plain, with NSEC, with NSEC3 and opt-out, and one below the plain one.
pub(crate) fn several() -> Responder {
    responder(vec![
        zone("p.", &Denial::Unsigned),
        zone("s.", &Denial::Nsec),
        zone("o.", &nsec3(b"", 0, OptOut::On)),
        zone("d.p.", &nsec3(b"\xaa\xbb", 3, OptOut::Off)),
        zone("b.b.", &Denial::Unsigned),
    ])
}

/// The root zone alone.
pub(crate) fn root() -> Responder {
    responder(vec![zone(".", &nsec3(b"", 0, OptOut::Partly))])
}
