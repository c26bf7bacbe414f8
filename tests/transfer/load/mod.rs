//! A secondary under load: changes without end, ten thousand zones at once, changes beside queries. What is measured is
//! printed; what others are asked to do besides, they do on the same machine right after.
//!
//! Two processors that others use too are little for times: what is asserted is wider than what is promised, and nothing
//! that is lost or fails is let pass.

mod beside;
mod connections;
mod light;
mod many;
mod resources;
mod steady;
mod steady_others;

use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Result;

use crate::fake::wire;
use crate::peers::Change;
use crate::site::ZONE;

const TYPE_A: u16 = 1;

/// One of these at a time: each takes a processor or two.
static ONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A zone of hosts `h0`, `h1`, … with an address each, and what ten records more and less make of it, again and again.
///
/// It keeps its size: a name that comes goes after [`STAY`] steps.
struct Hosts {
    rng: fastrand::Rng,
    /// What each host's address ends in.
    addresses: Vec<u32>,
    step: u32,
}

/// For how many steps a name that has come is there.
const STAY: u32 = 100;

impl Hosts {
    fn new(count: usize) -> Self {
        Self { rng: fastrand::Rng::with_seed(10), addresses: vec![0; count], step: 0 }
    }

    /// The master file of the beginning.
    fn text(&self) -> Result<String> {
        let mut text = format!(
            "$ORIGIN {ZONE}\n$TTL 300\n@ SOA ns1 host 1 3600 3600 604800 60\n NS ns1\nns1 A 192.0.2.1\n"
        );
        for host in 0..self.addresses.len() {
            writeln!(text, "h{host} A 10.0.0.0")?;
        }
        Ok(text)
    }

    /// The next ten records: four hosts move, one name comes, and one goes as soon as there is one to go.
    fn step(&mut self) -> Vec<Change> {
        let mut changes = Vec::with_capacity(10);
        for _ in 0..4 {
            let host = self.rng.usize(..self.addresses.len());
            let owner = format!("h{host}.{ZONE}");
            changes.push(change(&owner, self.addresses[host], None));
            self.addresses[host] = (self.addresses[host] + 1) & 0xff_ffff;
            changes.push(change(&owner, self.addresses[host], Some(300)));
        }
        self.step += 1;
        changes.push(change(&format!("n{}.{ZONE}", self.step), self.step, Some(300)));
        if let Some(gone) = self.step.checked_sub(STAY).filter(|step| *step > 0) {
            changes.push(change(&format!("n{gone}.{ZONE}"), gone, None));
        }
        changes
    }

    /// How many records it has.
    fn records(&self) -> u64 {
        (self.addresses.len() + 3) as u64 + u64::from(self.step.min(STAY))
    }
}

fn change(owner: &str, address: u32, added: Option<u32>) -> Change {
    let [_, second, third, fourth] = address.to_be_bytes();
    Change { owner: wire(owner), rtype: TYPE_A, rdata: vec![10, second, third, fourth], added }
}

/// The value below which this part of the values is, of a hundred; 0 of none.
fn percentile(values: &mut [u32], percent: f64) -> u32 {
    values.sort_unstable();
    let at = (values.len() as f64 * percent / 100.0) as usize;
    values.get(at.min(values.len().saturating_sub(1))).copied().unwrap_or(0)
}

/// A number from the environment, or the one that is usual.
fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(usual)
}
