//! What becomes of an expired copy when its operator changes what is to become of it.

use anyhow::{Result, ensure};

use crate::fake::{Fake, Script, SoaReply, good};
use crate::site::{SERVFAIL, Seen, Site, ZONE, wait};

/// Extended DNS errors: stale answer, invalid data (RFC 8914 §4).
const EDE_STALE: u16 = 3;
const EDE_INVALID: u16 = 24;
const EXPIRED: Seen = Seen { rcode: SERVFAIL, serial: None, ede: Some(EDE_INVALID) };

#[test]
fn a_reload_decides_what_becomes_of_an_expired_copy() -> Result<()> {
    let (fake, site) = (Fake::start(good(1))?, Site::new()?);
    let bounds =
        |most: u32| format!("refresh-min-s = 1\nretry-min-s = 3600\nexpire-min-s = 1\nexpire-max-s = {most}");
    let node = site.start(&[fake.address], &bounds(3))?;
    node.wait_for(Seen::served(1))?;
    // Alive, and of no use.
    fake.play(Script { soa: SoaReply::Refused, ..good(1) });
    node.wait_for(EXPIRED)?;
    let reload = |lines: &str| -> Result<()> {
        site.configure(&[fake.address], lines)?;
        let output = node.ctl(&["reload"])?;
        ensure!(output.status.success(), "{output:?}");
        Ok(())
    };
    reload(&format!("{}\non-expiry = \"serve\"", bounds(3)))?;
    node.wait_for(Seen { ede: Some(EDE_STALE), ..Seen::served(1) })?;
    reload(&bounds(3))?;
    node.wait_for(EXPIRED)?;
    // It may be older now.
    reload(&bounds(3600))?;
    node.wait_for(Seen::served(1))?;
    wait(|| node.zone(), |zone| zone["state"] == "ok")?;
    reload(&bounds(1))?;
    node.wait_for(EXPIRED)?;
    // And the primary is back, with what it had.
    fake.play(good(1));
    ensure!(node.ctl(&["refresh", ZONE])?.status.success());
    node.wait_for_log("a primary has confirmed it again")
}
