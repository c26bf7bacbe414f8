//! Holds a lease and moves it as it is told: `hold INTERFACE TABLE ADDRESS,… PREFIX,…`, then a rung a line on stdin
//! (`up`, `degraded`, `draining`, `down`). For trying a BIRD configuration by hand; at the end of stdin, or when it is
//! killed, the route is gone.

use std::error::Error;
use std::io::BufRead;
use std::str::FromStr;
use std::time::Instant;

use anycast::{Lease, LeasePlan, Rung};
use health::Moment;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [interface, table, addresses, prefixes] = arguments.as_slice() else {
        return Err("usage: hold INTERFACE TABLE ADDRESS,… PREFIX,…".into());
    };
    let plan = LeasePlan::new(interface, table.parse()?, list(addresses)?, list(prefixes)?)?;
    let mut lease = Lease::take(plan)?;
    let began = Instant::now();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let Some(rung) = Rung::ALL.into_iter().find(|rung| rung.word() == line.trim()) else {
            println!("{line:?} is no rung: up, degraded, draining or down");
            continue;
        };
        let progress = lease.set(Moment(began.elapsed()), rung);
        println!("{}, {}", progress.held, if progress.settled { "settled" } else { "not settled" });
        for trouble in progress.troubles {
            println!("{}", trouble.error);
        }
        for difference in lease.verify()?.differences(rung) {
            println!("{difference}");
        }
    }
    Ok(())
}

fn list<T: FromStr>(text: &str) -> Result<Vec<T>, T::Err> {
    text.split(',').map(str::parse).collect()
}
