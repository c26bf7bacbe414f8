//! Members that are begun anew or go to another catalog (RFC 9432 §4.4.1 and §5.4).

use anyhow::{Result, ensure};

use super::{Answer, Node, REFUSED, catalog, primary};

/// A node that follows two catalogs, whose members have primaries with other serials.
struct Mover {
    node: Node,
    primaries: [Node; 2],
    serial: u32,
}

const OLD: &str = "old.example";
const NEW: &str = "new.example";

impl Mover {
    fn start(old: &str, new: &str) -> Result<Self> {
        let primaries = [primary(&["a.test", "b.test"], 1)?, primary(&["a.test", "b.test"], 2)?];
        let mut mover = Self { node: Node::new()?, primaries, serial: 1 };
        let mut lines = String::new();
        for (name, primary) in [OLD, NEW].into_iter().zip(&mover.primaries) {
            lines += &format!(
                "[[template]]\nname = \"{name}\"\nprimaries = [\"{}\"]\n[[zone]]\nname = \"{name}\"\nfile = \"{name}\"\ncatalog = \
                 true\ncatalog-template = \"{name}\"\n",
                primary.address
            );
        }
        mover.node.configure(&lines)?;
        mover.write(old, new)?;
        mover.node.start()?;
        Ok(mover)
    }

    fn write(&self, old: &str, new: &str) -> Result<()> {
        self.node.write(OLD, &catalog(self.serial, &format!("o.zones PTR o.test.\n{old}")))?;
        self.node.write(NEW, &catalog(self.serial, &format!("n.zones PTR n.test.\n{new}")))
    }

    fn list(&mut self, old: &str, new: &str) -> Result<()> {
        self.serial += 1;
        self.write(old, new)?;
        self.node.does(&["reload"]).map(drop)
    }

    fn members(&self) -> Result<[String; 2]> {
        Ok([self.node.catalog(OLD)?.members, self.node.catalog(NEW)?.members])
    }
}

#[test]
fn a_member_that_is_offered_moves_with_what_it_has() -> Result<()> {
    let here = "x.zones PTR a.test.\n";
    let mut mover = Mover::start(here, "")?;
    mover.node.answers(&["a.test"], Answer::Serial(1))?;
    // Whoever just takes it doesn't get it.
    mover.list(here, here)?;
    ensure!(mover.members()? == ["a.test o.test", "n.test"]);
    ensure!(mover.node.catalog(NEW)?.ignored == "a.test");
    // Nobody could be asked for it now.
    mover.primaries.iter_mut().try_for_each(Node::end)?;
    mover.list(&format!("{here}coo.x.zones PTR {NEW}.\n"), here)?;
    ensure!(mover.members()? == ["o.test", "a.test n.test"]);
    ensure!(mover.node.catalog(OLD)?.ignored.is_empty() && mover.node.catalog(NEW)?.ignored.is_empty());
    ensure!(mover.node.soa("a.test")? == Answer::Serial(1), "it has what it had\n{}", mover.node.log());
    mover.list("", here)?;
    ensure!(mover.node.soa("a.test")? == Answer::Serial(1), "it is the new one's");
    // From now on it is the new one's primary that is asked.
    mover.primaries[1].start()?;
    mover.node.does(&["refresh", "a.test"])?;
    ensure!(mover.node.soa("a.test")? == Answer::Serial(2));
    Ok(())
}

#[test]
fn under_another_label_it_moves_without() -> Result<()> {
    let offered = format!("x.zones PTR a.test.\ncoo.x.zones PTR {NEW}.\n");
    let mut mover = Mover::start(&offered, "")?;
    mover.node.answers(&["a.test"], Answer::Serial(1))?;
    ensure!(mover.members()? == ["a.test o.test", "n.test"], "it is offered, and not taken");
    mover.primaries.iter_mut().try_for_each(Node::end)?;
    mover.list(&offered, "y.zones PTR a.test.\n")?;
    ensure!(mover.members()? == ["o.test", "a.test n.test"]);
    ensure!(mover.node.soa("a.test")? == Answer::Code(REFUSED), "nothing is left of it");
    let image = mover.node.path("state/tables/a.test.table");
    crate::site::wait(|| Ok(image.exists()), |is_kept| !*is_kept)?;
    mover.primaries[1].start()?;
    mover.node.answers(&["a.test"], Answer::Serial(2))
}

#[test]
fn a_new_label_begins_a_zone_anew() -> Result<()> {
    let mut mover = Mover::start("x.zones PTR a.test.\ny.zones PTR b.test.\n", "")?;
    mover.node.answers(&["a.test", "b.test"], Answer::Serial(1))?;
    mover.primaries[0].end()?;
    mover.list("z.zones PTR a.test.\ny.zones PTR b.test.\n", "")?;
    ensure!(mover.node.soa("a.test")? == Answer::Code(REFUSED), "nothing is left of it");
    ensure!(mover.node.soa("b.test")? == Answer::Serial(1), "the others have nothing to do with it");
    mover.primaries[0].start()?;
    // With the serial that it had before: it is transferred all the same.
    mover.node.answers(&["a.test"], Answer::Serial(1))?;
    let log = mover.node.log();
    ensure!(log.contains("begun anew"), "{log}");
    Ok(())
}
