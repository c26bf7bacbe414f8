//! Primaries that hang: zones of others don't wait for them.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use anyhow::{Context, Result, ensure};
use starling_tests::server::own_socket_address;
use starling_tests::tools;

use crate::fake::{Fake, good};
use crate::many::{Everything, change, zones_ok};
use crate::site::{SEEN_WITHIN, Seen, Site};

/// More than ever had a place at a time, each for half a minute.
const OF_FROZEN: usize = 120;
const OF_HEALTHY: usize = 10;

/// A primary whose kernel takes connections and datagrams, and which reads none.
struct Frozen {
    address: SocketAddr,
    tcp: TcpListener,
    _udp: UdpSocket,
}

impl Frozen {
    fn start() -> Result<Self> {
        let address = own_socket_address()?;
        let (udp, tcp) = (UdpSocket::bind(address)?, TcpListener::bind(address)?);
        tcp.set_nonblocking(true)?;
        Ok(Self { address, tcp, _udp: udp })
    }
}

#[test]
fn zones_of_a_primary_that_hangs_keep_no_others_waiting() -> Result<()> {
    let (frozen, healthy, site) = (Frozen::start()?, Everything::start()?, Site::new()?);
    let mut text = format!(
        "[node]\nlisten = [\"{}\"]\ncontrol = \"control\"\nworkers = 1\n[secondary]\nnotify-from = [\"127.0.0.0/8\"]\n",
        site.listen
    );
    let healthy_zone = |index: usize| format!("healthy-zone-{index}.example.");
    let frozen_zones = (0..OF_FROZEN).map(|index| (format!("f{index}.example."), frozen.address));
    let healthy_zones = (0..OF_HEALTHY).map(|index| (healthy_zone(index), healthy.address));
    for (name, primary) in frozen_zones.chain(healthy_zones) {
        write!(text, "[[zone]]\nname = \"{name}\"\nprimaries = [\"{primary}\"]\nrefresh-min-s = 3600\n")?;
    }
    let both = format!("primaries = [\"{}\", \"{}\"]", frozen.address, healthy.address);
    write!(text, "[[zone]]\nname = \"of-both.example.\"\n{both}\nrefresh-min-s = 3600\n")?;
    std::fs::write(site.path("node.toml"), text)?;
    let node = site.restart()?;
    let is_there = || Ok((zones_ok(&node)? == OF_HEALTHY + 1).then_some(()));
    tools::poll("the zones of the other are there", SEEN_WITHIN, is_there)
        .with_context(|| node.process.log_tail())?;
    for index in 0..OF_HEALTHY {
        healthy.change(&healthy_zone(index), 2)?;
        change(&node, &healthy_zone(index), 2)?;
    }
    ensure!(zones_ok(&node)? == OF_HEALTHY + 1);
    Ok(())
}

#[test]
fn a_zone_does_not_wait_for_the_one_of_its_primaries_that_hangs() -> Result<()> {
    let (frozen, fake, site) = (Frozen::start()?, Fake::start(good(1))?, Site::new()?);
    let node = site.start(&[frozen.address, fake.address], "refresh-min-s = 3600")?;
    node.wait_for(Seen::served(1))?;
    // Over TCP it is asked after three seconds in vain.
    let asked = frozen.tcp.accept();
    ensure!(asked.is_err(), "the zone came after {asked:?}");
    Ok(())
}
