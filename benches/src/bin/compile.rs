//! Reads, compiles and maps a zone of hosts, and prints how long each took and what it costs in memory.

use starling_benches::hosts_zone;
use std::time::Instant;
use table::Table;
use table::map::Backing;
use wire::NameBuf;
use zone::master::NoIncludes;

fn main() {
    let hosts = std::env::args().nth(1).and_then(|hosts| hosts.parse().ok()).unwrap_or(1_000_000);
    let text = hosts_zone(hosts);
    let apex = NameBuf::from_text(b"example.com.", None).expect("a name");
    let start = Instant::now();
    let reading = zone::read(apex.as_name(), "hosts", text.as_bytes(), &mut NoIncludes, &mut |_| ());
    let zone = reading.zone.expect("a good zone");
    let read = start.elapsed();
    let table = zone::compile(zone, &zone::CompileOptions::default()).expect("a good zone");
    let total = start.elapsed();
    let records = f64::from(table.record_count());
    let octets = table.image().len() as f64;
    println!("records {records}, octets {octets}, {:.1} octets a record", octets / records);
    println!(
        "read {read:?}, compile {:?}, together {:.2} million records a second",
        total - read,
        records / total.as_secs_f64() / 1e6
    );
    let path = std::env::temp_dir().join(format!("starling-bench-{}.table", std::process::id()));
    std::fs::write(&path, table.image()).expect("the temporary directory can be written to");
    let start = Instant::now();
    let file = std::fs::File::open(&path).expect("just written");
    let mapped =
        Table::from_backing(Backing::mapped(&file).expect("it can be mapped")).expect("a good image");
    println!("mapped and verified in {:?}", start.elapsed());
    assert_eq!(mapped.digest(), table.digest());
    std::fs::remove_file(&path).expect("just written");
}
