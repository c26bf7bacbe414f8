//! Catalogs that are made of a node's own zones.

use anyhow::{Context, Result, ensure};

use super::{Answer, CATALOG, Node, member};

/// A node that has these zones and lists them, each with further lines.
struct Maker {
    node: Node,
}

impl Maker {
    fn start(zones: &[(&str, &str)]) -> Result<Self> {
        let mut maker = Self { node: Node::new()? };
        maker.configure(zones)?;
        maker.node.start()?;
        Ok(maker)
    }

    fn configure(&self, zones: &[(&str, &str)]) -> Result<()> {
        let mut lines = format!("[[catalog]]\nname = \"{CATALOG}\"\n");
        for (zone, more) in zones {
            self.node.write(zone, &member(1))?;
            lines +=
                &format!("[[zone]]\nname = \"{zone}\"\nfile = \"{zone}\"\ncatalog = \"{CATALOG}\"\n{more}\n");
        }
        self.node.configure(&lines)
    }

    fn serial(&self) -> Result<u32> {
        match self.node.soa(CATALOG)? {
            Answer::Serial(serial) => Ok(serial),
            other => anyhow::bail!("{other:?}\n{}", self.node.log()),
        }
    }
}

#[test]
fn the_serial_grows_with_the_members_and_never_goes_back() -> Result<()> {
    let mut maker = Maker::start(&[("a.test", "")])?;
    let first = maker.serial()?;
    maker.node.does(&["reload"])?;
    maker.node.does(&["reload", "--force"])?;
    ensure!(maker.serial()? == first, "nothing has changed");
    let mut before = first;
    // Faster than the clock's seconds.
    for zones in [
        &[("a.test", ""), ("b.test", "")][..],
        &[("a.test", ""), ("b.test", "group = \"g\"")],
        &[("b.test", "")],
    ] {
        maker.configure(zones)?;
        maker.node.does(&["reload"])?;
        let now = maker.serial()?;
        ensure!(now > before, "{before} {now}");
        before = now;
    }
    maker.node.end()?;
    maker.node.start()?;
    ensure!(maker.serial()? == before, "a restart alone is no change");
    maker.node.end()?;
    maker.configure(&[("a.test", "")])?;
    maker.node.start()?;
    ensure!(maker.serial()? > before);
    Ok(())
}

#[test]
fn another_node_follows() -> Result<()> {
    let mut follower = Node::new()?;
    let maker = Maker::start(&[("a.test", ""), ("b.test", "group = \"gold\"")])?;
    let primary = maker.node.address;
    follower.configure(&format!(
        "[[template]]\nname = \"plain\"\nprimaries = [\"{primary}\"]\n[[template]]\nname = \"golden\"\nprimaries = \
         [\"{primary}\"]\n[[zone]]\nname = \"{CATALOG}\"\nprimaries = [\"{primary}\"]\ncatalog = true\ncatalog-template = \
         \"plain\"\ncatalog-groups = {{ gold = \"golden\" }}\n"
    ))?;
    follower.start()?;
    follower.answers(&["a.test", "b.test"], Answer::Serial(1))?;
    let seen = follower.waits_for(CATALOG, "a.test b.test", "")?;
    ensure!(seen.templates == "a.test:plain b.test:golden", "{seen:?}");
    maker.configure(&[("b.test", ""), ("d.test", "")])?;
    maker.node.does(&["reload"])?;
    follower.does(&["refresh", CATALOG])?;
    follower.answers(&["b.test", "d.test"], Answer::Serial(1))?;
    let seen = follower.waits_for(CATALOG, "b.test d.test", "")?;
    ensure!(seen.templates == "b.test:plain d.test:plain", "{seen:?}");
    // It has gone over the wire, and over a restart it is there without its primary.
    let mut maker = maker;
    maker.node.end()?;
    follower.end()?;
    follower.start()?;
    follower.waits_for(CATALOG, "b.test d.test", "").context("from the images")?;
    ensure!(follower.soa("d.test")? == Answer::Serial(1));
    Ok(())
}
