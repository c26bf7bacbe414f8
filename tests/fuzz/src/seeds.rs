//! Inputs to start from that are best made by code: queries for every corner of the fixture, and real images, which
//! would be out of date with every change of their format. Master files to start from are in `corpus/master`.

use super::fixtures::{nsec3, zone_from};
use super::signing::{Denial, OptOut};
use std::sync::Arc;
use table::Walk;
use transfer::journal::{Version, frame, heading};
use wire::RecordType;
use zone::{RecordList, RecordRef};

/// A zone small enough for an image of one or two thousand octets, with a node of each kind.
pub(crate) const SMALL: &str = "$TTL 60\n@ SOA n h 1 2 3 4 5\n@ NS n\n@ NS n.d\nn A 192.0.2.1\n*.w A 192.0.2.2\nc CNAME x.e\n\
                     b DNAME e\nd NS n.d\nd NS m.d\nn.d A 192.0.2.3\nm.d AAAA 2001:db8::1\na MX 1 n\na MX 2 n.d\n";

/// The zone of the transfers.
pub(crate) const TRANSFER_APEX: &str = "z.";

/// Names that the queries ask for, below an apex of the fixture.
const NAMES: &[&str] = &[
    "", "a.", "c.", "c1.", "l1.", "out.", "gone.", "x.w.", "x.t.", "t.", "n.w2.", "x.n.w2.", "f.g.",
    "e.f.g.", "x.e.f.g.", "d.", "x.d.", "ns.d.", "i.", "j.", "x.j.", "x.k.o.", "x.wd.", "dn.", "x.dn.",
    "y.dn.", "x.dl.", "x.dd.", "big.", "glue.", "x.glue.", "none.", "*.t.", "x.x.t.",
];

/// The seeds of a target; none where it has none but its corpus.
pub(crate) fn of(target: &str) -> Vec<Vec<u8>> {
    match target {
        "message" => messages(),
        "image" => images(),
        "transfer" => transfers(),
        "journal" => journals(),
        "said" => said(),
        _ => Vec::new(),
    }
}

/// Lines of agents, numbers in pages, answers of the health protocol of gRPC, and replies by ICMP.
fn said() -> Vec<Vec<u8>> {
    let texts = [
        "75%\n",
        "UP 50%\ndown # for repair\nup\n",
        "ready,\t25%,maxconn:30 up\r\n",
        "drain 0%\nmaint\nready drain 100%\n",
        "stopped\nfail #disk\n7.5% up 50% 1001%\n",
        "<html>\n",
        "0.42",
        " 1e-05, 3",
        "{\"load\": 3}",
        "load -1",
    ];
    let octets: [&[u8]; 6] = [
        b"\0\0\0\0\x02\x08\x01",
        b"\0\0\0\0\x07\x12\x01x\x08\x01\x10\0",
        b"\0\0\0\0\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\0\0\x12\x34\0\x07\0\0fedcba9876543210",
        b"\x81\0\x12\x34\0\x07\0\0fedcba9876543210",
        b"\x46\0\0\x38\0\0\0\0\x40\x01\0\0\x7f\0\0\x01\x7f\0\0\x01\0\0\0\0\0\0\x12\x34\0\x07\0\0fedcba9876543210",
    ];
    let long = ["x".repeat(2000).into_bytes(), [&b"up "[..], &b"50% ".repeat(300)].concat()];
    let texts = texts.iter().map(|text| text.as_bytes().to_vec());
    texts.chain(octets.iter().map(|octets| octets.to_vec())).chain(long).collect()
}

/// Queries over all zones, names and kinds of EDNS, with some malformed ones.
pub(crate) fn messages() -> Vec<Vec<u8>> {
    let types =
        [RecordType::A, RecordType::NS, RecordType::DS, RecordType::TXT, RecordType::ANY, RecordType::RRSIG];
    let mut seeds = Vec::new();
    for (index, relative) in NAMES.iter().enumerate() {
        for (apex, name) in ["p.", "s.", "o.", "d.p.", "b.b.", "."].iter().zip(0..) {
            let rtype = types[(index + name) % types.len()];
            let edns: &[u8] = match (index + name) % 5 {
                0 => b"",
                1 => b"\0\0\x29\x04\xd0\0\0\0\0\0\0",
                2 => b"\0\0\x29\x10\0\0\0\x80\0\0\x04\0\x03\0\0",
                // A probe: the token of the fixture.
                3 => b"\0\0\x29\x04\xd0\0\0\x80\0\0\x18\xfe\x81\0\x10probe-probe-prob\0\x03\0\0",
                _ => b"\0\0\x29\x02\0\0\0\x80\0\0\0",
            };
            let text = if *apex == "." && !relative.is_empty() {
                (*relative).to_owned()
            } else {
                format!("{relative}{apex}")
            };
            seeds.push(query(&text, rtype, 1, edns));
        }
    }
    seeds.push(query("version.bind.", RecordType::TXT, 3, b""));
    seeds.push(query("id.server.", RecordType::TXT, 3, b"\0\0\x29\x04\xd0\0\x01\0\0\0\0"));
    seeds.push(query("x.empty.", RecordType::A, 1, b"\0\0\x29\x04\xd0\0\0\0\0\0\0"));
    // Client subnets: of IPv4, of IPv6 with NSID behind it, of nobody, and malformed.
    let subnets: [&[u8]; 4] = [
        b"\0\0\x29\x04\xd0\0\0\x80\0\0\x0b\0\x08\0\x07\0\x01\x18\0\xc0\0\x02",
        b"\0\0\x29\x04\xd0\0\0\0\0\0\x13\0\x08\0\x0b\0\x02\x38\0\x20\x01\x0d\xb8\0\0\0\0\x03\0\0",
        b"\0\0\x29\x04\xd0\0\0\0\0\0\x08\0\x08\0\x04\0\x01\0\0",
        b"\0\0\x29\x04\xd0\0\0\0\0\0\x0b\0\x08\0\x07\0\x01\x14\0\xc0\0\x0f",
    ];
    for subnet in subnets {
        seeds.extend(
            ["a.p.", "none.s.", "x.d.p.", "x.other."].map(|name| query(name, RecordType::A, 1, subnet)),
        );
    }
    seeds.push(query(
        "x.other.",
        RecordType::A,
        1,
        b"\0\0\x29\x04\xd0\0\0\0\0\0\0\0\0\x29\x04\xd0\0\0\0\0\0\0",
    ));
    seeds
}

/// A query; `edns` is the whole additional section of at most one record.
pub(crate) fn query(name: &str, rtype: RecordType, class: u16, edns: &[u8]) -> Vec<u8> {
    let mut octets = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(!edns.is_empty())];
    octets.extend(super::fixtures::name(name).as_name().as_wire());
    octets.extend(rtype.0.to_be_bytes());
    octets.extend(class.to_be_bytes());
    octets.extend(edns);
    octets
}

/// Transfers of the small zone: in one message and in one for each record, owners as pointers to the apex where they are it.
pub(crate) fn transfers() -> Vec<Vec<u8>> {
    let apex = super::fixtures::name(TRANSFER_APEX);
    let reading =
        zone::read(apex.as_name(), "z", SMALL.as_bytes(), &mut zone::master::NoIncludes, &mut |_| ());
    let zone = reading.zone.expect("the small zone is good");
    let mut records: Vec<(RecordType, Vec<u8>)> = Vec::new();
    for owner in zone.owners() {
        for set in owner.rrsets() {
            for data in set.rdatas() {
                let mut record = match owner.name().eq_ignore_case(apex.as_name()) {
                    true => vec![0xc0, 12],
                    false => owner.name().as_wire().to_vec(),
                };
                record.extend([set.rtype().0, 1].map(u16::to_be_bytes).as_flattened());
                record.extend(60u32.to_be_bytes());
                record.extend((data.len() as u16).to_be_bytes());
                record.extend(data);
                records.push((set.rtype(), record));
            }
        }
    }
    records.sort_by_key(|(rtype, _)| *rtype != RecordType::SOA);
    let mut records: Vec<Vec<u8>> = records.into_iter().map(|(_, record)| record).collect();
    records.push(records[0].clone());
    let message = |records: &[Vec<u8>]| response(RecordType::AXFR, records);
    let mut seeds = vec![message(&records), records.chunks(1).flat_map(message).collect(), changes(&records)];
    seeds.extend([Denial::Nsec, hashed()].iter().flat_map(signed_transfers));
    seeds
}

/// Denial by hashes.
pub(crate) fn hashed() -> Denial {
    nsec3(b"\xaa", 1, OptOut::Off)
}

/// Transfers of the signed zone: the whole, and two differences from it on, of which the first brings a name and the second takes one.
fn signed_transfers(denial: &Denial) -> [Vec<u8>; 2] {
    let second = SMALL.replace("@ SOA n h 1 ", "q A 192.0.2.9\n@ SOA n h 2 ");
    let third = second.replace(" h 2 ", " h 3 ").replace("a MX 1 n\na MX 2 n.d\n", "");
    let versions = [SMALL.to_owned(), second, third];
    let tables = versions.map(|text| Arc::new(zone_from(&text, TRANSFER_APEX, denial)));
    let steps = tables
        .each_ref()
        .windows(2)
        .map(|pair| zone::compare(pair[0], pair[1], usize::MAX).expect("versions of one zone"))
        .collect::<Vec<_>>();
    let lists = |list: &RecordList| list.iter().map(uncompressed).collect::<Vec<_>>();
    let mut whole = Vec::new();
    let mut walk = Walk::new(Arc::clone(&tables[0]));
    while let Some(record) = walk.next_record().expect("a table of the compiler") {
        let (owner, rtype, ttl, rdata) = (record.owner, record.rtype, record.ttl, record.rdata);
        whole.push((rtype, uncompressed(RecordRef { owner, rtype, ttl, rdata })));
    }
    whole.sort_by_key(|(rtype, _)| *rtype != RecordType::SOA);
    let mut whole: Vec<Vec<u8>> = whole.into_iter().map(|(_, record)| record).collect();
    whole.push(whole[0].clone());
    let last = lists(&steps[1].added)[..1].to_vec();
    let changes = steps.iter().flat_map(|step| [lists(&step.removed), lists(&step.added)].concat());
    let changes = [last.clone(), changes.collect(), last].concat();
    [response(RecordType::AXFR, &whole), response(RecordType::IXFR, &changes)]
}

fn uncompressed(record: RecordRef<'_>) -> Vec<u8> {
    let mut list = RecordList::default();
    list.push(record.owner, record.rtype, record.ttl, record.rdata);
    list.octets().to_vec()
}

/// A message of a transfer with its length in front.
fn response(rtype: RecordType, records: &[Vec<u8>]) -> Vec<u8> {
    let mut message = query(TRANSFER_APEX, rtype, 1, b"");
    message[2] = 0x84;
    message[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
    message.extend(records.concat());
    [&(message.len() as u16).to_be_bytes()[..], &message].concat()
}

/// Two differences from the small zone on: one removes its MX records, the other puts them back.
fn changes(records: &[Vec<u8>]) -> Vec<u8> {
    let soa = |serial: u8| {
        let mut soa = records[0].clone();
        let serial_at = soa.len() - 17; // the last octet of the first of five numbers
        soa[serial_at] = serial;
        soa
    };
    let mail = || records.iter().filter(|record| record[..4] == *b"\x01a\x01z").cloned();
    let mut changes = vec![soa(3), soa(1)];
    changes.extend(mail());
    changes.extend([soa(2), soa(2), soa(3)]);
    changes.extend(mail());
    changes.push(soa(3));
    response(RecordType::IXFR, &changes)
}

/// Journals of the small zone: three versions, and none but the first.
pub(crate) fn journals() -> Vec<Vec<u8>> {
    let versions = [
        SMALL.to_owned(),
        SMALL.replace(" h 1 ", " h 2 "),
        SMALL.replace("@ SOA n h 1 ", "q A 192.0.2.9\n@ SOA n h 3 "),
    ];
    let tables = versions.map(|text| Arc::new(zone_from(&text, TRANSFER_APEX, &Denial::Nsec)));
    let (apex, digest) = (super::fixtures::name(TRANSFER_APEX), [0; 32]);
    let (start, mut mark) = heading(apex.as_name(), Version { serial: tables[0].serial(), digest });
    let mut whole = start.clone();
    for pair in tables.windows(2) {
        let difference = zone::compare(&pair[0], &pair[1], usize::MAX).expect("versions of one zone");
        let (octets, next) = frame(&mark, &difference, digest).expect("they follow one another");
        whole.extend(octets);
        mark = next;
    }
    vec![start, whole]
}

/// Images of small zones, one for each kind of denial.
pub(crate) fn images() -> Vec<Vec<u8>> {
    let denials = [
        ("z.", Denial::Unsigned),
        ("z.", Denial::Nsec),
        ("z.", nsec3(b"\xaa", 1, OptOut::On)),
        (".", Denial::Nsec),
    ];
    denials.iter().map(|(apex, denial)| zone_from(SMALL, apex, denial).image().to_vec()).collect()
}
