//! What follows from a catalog, and what doesn't.

use anyhow::{Result, ensure};
use starling_tests::server::own_socket_address;

use super::{Answer, CATALOG, Node, REFUSED, ask, catalog, listed, primary};
use crate::site::SERVFAIL;

const TYPE_TXT: u16 = 16;
const TYPE_PTR: u16 = 12;
const TYPE_AXFR: u16 = 252;
const ZONES: [&str; 6] = ["a.example", "b.example", "d.example", "e.example", "f.example", "g.example"];
const GONE: Answer = Answer::Code(REFUSED);

/// A node that follows a catalog in a master file, whose members come from a primary that has [`ZONES`] with serial 1.
pub(super) struct Follower {
    pub(super) node: Node,
    pub(super) primary: Node,
    serial: u32,
}

impl Follower {
    pub(super) fn start(lines: &str, members: &str) -> Result<Self> {
        let (node, primary) = (Node::new()?, primary(&ZONES, 1)?);
        let mut follower = Self { node, primary, serial: 0 };
        follower.configure(lines)?;
        follower.serial += 1;
        follower.node.write("catalog.zone", &catalog(follower.serial, members))?;
        follower.node.start()?;
        Ok(follower)
    }

    fn configure(&self, lines: &str) -> Result<()> {
        let primary = self.primary.address;
        self.node.configure(&format!(
            "[[template]]\nname = \"plain\"\nprimaries = [\"{primary}\"]\n[[zone]]\nname = \"{CATALOG}\"\nfile = \
             \"catalog.zone\"\ncatalog = true\ncatalog-template = \"plain\"\n{lines}\n"
        ))
    }

    /// Has it read another version.
    pub(super) fn lists(&mut self, members: &str) -> Result<()> {
        self.serial += 1;
        self.write(&catalog(self.serial, members))
    }

    fn write(&self, text: &str) -> Result<()> {
        self.node.write("catalog.zone", text)?;
        self.node.does(&["reload"]).map(drop)
    }
}

#[test]
fn members_come_and_go_with_the_catalog() -> Result<()> {
    let mut follower = Follower::start("", &listed(&["a.example", "b.example"]))?;
    follower.node.answers(&["a.example", "b.example"], Answer::Serial(1))?;
    ensure!(follower.node.soa("d.example")? == GONE);
    follower.lists(&listed(&["a.example", "d.example"]))?;
    follower.node.answers(&["a.example", "d.example"], Answer::Serial(1))?;
    follower.node.answers(&["b.example"], GONE)?;
    let image = follower.node.path("state/tables/b.example.table");
    crate::site::wait(|| Ok(image.exists()), |is_kept| !*is_kept)?;
    // Members are zones like others: whoever may, has them in turn, and a reload keeps them.
    follower.node.does(&["refresh", "a.example"])?;
    follower.node.does(&["reload"])?;
    let zones = follower.node.does(&["zones"])?;
    ensure!(
        zones.contains("a.example.") && zones.contains("d.example.") && !zones.contains("b.example."),
        "{zones}"
    );
    let text = follower.node.does(&["catalog", "status"])?;
    ensure!(text.contains("serial 2, 2 members, 0 removals held, 0 ignored"), "{text}");
    // The catalog out of the configuration: its members go with it.
    follower.node.configure("[[zone]]\nname = \"f.example\"\nprimaries = [\"127.0.0.1:9\"]\n")?;
    follower.node.does(&["reload"])?;
    follower.node.answers(&["a.example", "d.example", CATALOG], GONE)?;
    Ok(())
}

#[test]
fn a_catalog_is_for_secondaries_alone() -> Result<()> {
    let follower = Follower::start("", &listed(&["a.example"]))?;
    let address = follower.node.address;
    ensure!(ask(address, CATALOG, 6)? == Answer::Serial(1), "secondaries ask for that");
    for (name, rtype) in [
        (CATALOG, TYPE_TXT),
        (CATALOG, 255),
        ("version.catalog.example.", TYPE_TXT),
        ("a-example.zones.catalog.example.", TYPE_PTR),
        ("a-example.zones.catalog.example.", 6),
        ("nothing.catalog.example.", TYPE_PTR),
    ] {
        ensure!(ask(address, name, rtype)? == Answer::Code(REFUSED), "{name} {rtype}");
    }
    let records = starling_tests::zonedata::transfer(address, &starling_tests::name::Name::parse(CATALOG)?)?;
    ensure!(records.len() == 4, "SOA, NS, version and the member");
    ensure!(ask(address, CATALOG, TYPE_AXFR)? == Answer::Code(4), "not over UDP, as ever");
    Ok(())
}

#[test]
fn a_broken_or_empty_catalog_removes_nothing() -> Result<()> {
    let all = listed(&ZONES);
    let mut follower = Follower::start("", &all)?;
    follower.node.answers(&ZONES, Answer::Serial(1))?;
    let broken = [
        (all.clone() + "b-example.zones PTR x.example.\n", "several PTR"),
        (all.clone() + "again.zones PTR b.example.\n", "is there twice"),
        ("version TXT \"3\"\n".to_owned(), "several TXT"),
    ];
    for (members, expected) in broken {
        follower.lists(&members)?;
        let seen = follower.node.catalog(CATALOG)?;
        ensure!(seen.error.contains(expected), "{seen:?}");
        ensure!(seen.members == ZONES.join(" ") && seen.held.is_empty(), "{seen:?}");
    }
    // Without a version property it is no catalog at all.
    follower.write("@ 0 SOA invalid. invalid. 9 1 1 1 0\n@ 0 NS invalid.\na.zones 0 PTR a.example.\n")?;
    ensure!(follower.node.catalog(CATALOG)?.error.contains("no catalog zone"));
    // Not even a zone.
    follower.node.write("catalog.zone", "this is no zone\n")?;
    ensure!(!follower.node.ctl(&["reload"])?.status.success());
    follower.serial = 10;
    follower.lists("")?;
    let seen = follower.node.catalog(CATALOG)?;
    ensure!(seen.held == ZONES.join(" ") && seen.error.is_empty(), "empty: {seen:?}");
    for zone in ZONES {
        ensure!(follower.node.soa(zone)? == Answer::Serial(1), "{zone}\n{}", follower.node.log());
    }
    // All of that also over a restart, when the image of the catalog is the empty one.
    follower.node.end()?;
    follower.primary.end()?;
    follower.node.start()?;
    let seen = follower.node.catalog(CATALOG)?;
    ensure!(seen.held == ZONES.join(" "), "{seen:?}");
    for zone in ZONES {
        ensure!(
            follower.node.soa(zone)? == Answer::Serial(1),
            "{zone} after a restart\n{}",
            follower.node.log()
        );
    }
    // With other members it is a catalog like others.
    follower.lists(&listed(&ZONES[..5]))?;
    follower.node.waits_for(CATALOG, &ZONES[..5].join(" "), "")?;
    Ok(())
}

#[test]
fn many_removals_wait_for_approval() -> Result<()> {
    let lines = "catalog-removals-max = 2\ncatalog-removals-max-percent = 20";
    let mut follower = Follower::start(lines, &listed(&ZONES))?;
    follower.node.answers(&ZONES, Answer::Serial(1))?;
    ensure!(
        !follower.node.ctl(&["catalog", "approve", CATALOG, "0"])?.status.success(),
        "there is nothing to approve"
    );
    follower.lists(&listed(&ZONES[..3]))?;
    let seen = follower.node.catalog(CATALOG)?;
    ensure!(seen.held == ZONES[3..].join(" ") && seen.members == ZONES.join(" "), "{seen:?}");
    ensure!(follower.node.log().contains("catalog approve"), "{}", follower.node.log());
    for zone in ZONES {
        ensure!(follower.node.soa(zone)? == Answer::Serial(1), "{zone}");
    }
    let text = follower.node.does(&["catalog", "status", "Catalog.Example"])?;
    ensure!(text.contains("held: g.example. is listed no longer") && text.contains("approve"), "{text}");
    // What has come since it was looked at is not approved with the rest.
    follower.lists(&listed(&ZONES[..1]))?;
    let output = follower.node.ctl(&["catalog", "approve", CATALOG, "3"])?;
    ensure!(!output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stderr)?;
    ensure!(text.contains("5 removals of catalog.example. are held now, and not 3"), "{text}");
    follower.node.answers(&ZONES, Answer::Serial(1))?;
    follower.lists(&listed(&ZONES[..3]))?;
    let text = follower.node.does(&["catalog", "approve", CATALOG, "3"])?;
    ensure!(text.contains("3 members"), "{text}");
    follower.node.waits_for(CATALOG, &ZONES[..3].join(" "), "")?;
    follower.node.answers(&ZONES[3..], GONE)?;
    follower.node.answers(&ZONES[..3], Answer::Serial(1))?;
    // As many as may go at once do.
    follower.lists(&listed(&ZONES[..1]))?;
    follower.node.waits_for(CATALOG, ZONES[0], "")?;
    let output = follower.node.ctl(&["catalog", "approve", "other.example", "1"])?;
    ensure!(!output.status.success(), "{output:?}");
    Ok(())
}

#[test]
fn what_an_operator_decides_about_a_catalog_is_followed() -> Result<()> {
    let mut follower = Follower::start("", &listed(&ZONES[..2]))?;
    follower.node.answers(&ZONES[..2], Answer::Serial(1))?;
    follower.lists(&listed(&ZONES[..3]))?;
    follower.node.waits_for(CATALOG, &ZONES[..3].join(" "), "")?;
    // At once, when it is said to be done.
    follower.node.does(&["zone", "rollback", CATALOG])?;
    let seen = follower.node.catalog(CATALOG)?;
    ensure!(seen.members == ZONES[..2].join(" "), "{seen:?}");
    follower.node.answers(&ZONES[2..3], GONE)?;
    follower.node.does(&["zone", "approve", CATALOG])?;
    let seen = follower.node.catalog(CATALOG)?;
    ensure!(seen.members == ZONES[..3].join(" "), "{seen:?}");
    follower.node.answers(&ZONES[..3], Answer::Serial(1))?;
    let text = follower.node.does(&["catalog", "status"])?;
    ensure!(text.contains("serial 2, 3 members"), "{text}");
    Ok(())
}

#[test]
fn many_removals_in_small_steps_wait_for_approval_too() -> Result<()> {
    let lines = "catalog-removals-max = 2\ncatalog-removals-max-percent = 0";
    let mut follower = Follower::start(lines, &listed(&ZONES))?;
    follower.node.answers(&ZONES, Answer::Serial(1))?;
    follower.lists(&listed(&ZONES[..5]))?;
    follower.node.waits_for(CATALOG, &ZONES[..5].join(" "), "")?;
    follower.lists(&listed(&ZONES[..4]))?;
    follower.node.waits_for(CATALOG, &ZONES[..4].join(" "), "")?;
    follower.lists(&listed(&ZONES[..3]))?;
    follower.node.waits_for(CATALOG, &ZONES[..4].join(" "), ZONES[3])?;
    ensure!(follower.node.soa(ZONES[3])? == Answer::Serial(1), "{}", follower.node.log());
    follower.node.does(&["catalog", "approve", CATALOG, "1"])?;
    follower.node.waits_for(CATALOG, &ZONES[..3].join(" "), "")?;
    Ok(())
}

#[test]
fn a_restart_has_the_members_from_their_images() -> Result<()> {
    let mut follower = Follower::start("", &listed(&ZONES[..2]))?;
    follower.node.answers(&ZONES[..2], Answer::Serial(1))?;
    let images = || {
        Ok(ZONES[..2].iter().all(|zone| follower.node.path(&format!("state/tables/{zone}.table")).exists()))
    };
    crate::site::wait(images, |all| *all)?;
    follower.node.end()?;
    follower.primary.end()?;
    follower.node.start()?;
    for zone in &ZONES[..2] {
        ensure!(follower.node.soa(zone)? == Answer::Serial(1), "{zone}\n{}", follower.node.log());
    }
    // What the catalog lists then.
    follower.node.end()?;
    follower.node.write("catalog.zone", &catalog(9, &listed(&["a.example", "d.example"])))?;
    follower.node.start()?;
    ensure!(follower.node.soa("a.example")? == Answer::Serial(1));
    ensure!(follower.node.soa("b.example")? == GONE);
    ensure!(follower.node.soa("d.example")? == Answer::Code(SERVFAIL), "it is here, and its primary is not");
    ensure!(!follower.node.path("state/tables/b.example.table").exists());
    Ok(())
}

#[test]
fn a_catalog_that_expires_removes_nothing() -> Result<()> {
    let mut primary = primary(&["a.example", "b.example"], 1)?;
    let write = |primary: &Node, serial: u32, zones: &[&str]| {
        let text = catalog(serial, &listed(zones)).replace("3600 600 2147483646", "1 1 5");
        primary.write(CATALOG, &text)
    };
    write(&primary, 1, &["a.example"])?;
    let zones = ["a.example", "b.example", CATALOG]
        .map(|zone| format!("[[zone]]\nname = \"{zone}\"\nfile = \"{zone}\"\n"));
    primary.configure(&zones.concat())?;
    primary.does(&["reload"])?;
    let mut node = Node::new()?;
    let address = primary.address;
    node.configure(&format!(
        "[[template]]\nname = \"plain\"\nprimaries = [\"{address}\"]\n[[zone]]\nname = \"{CATALOG}\"\nprimaries = \
         [\"{address}\"]\ncatalog = true\ncatalog-template = \"plain\"\n"
    ))?;
    node.start()?;
    node.answers(&["a.example"], Answer::Serial(1))?;
    primary.end()?;
    node.answers(&[CATALOG], Answer::Code(SERVFAIL))?;
    crate::site::wait(|| node.catalog(CATALOG), |seen| seen.error == "it has expired")?;
    let kept = |node: &Node| -> Result<()> {
        let seen = node.catalog(CATALOG)?;
        ensure!(seen.members == "a.example" && seen.held.is_empty(), "{seen:?}");
        ensure!(node.soa("a.example")? == Answer::Serial(1), "{}", node.log());
        Ok(())
    };
    kept(&node)?;
    node.end()?;
    node.start()?;
    kept(&node)?;
    ensure!(node.catalog(CATALOG)?.error == "it has expired", "{}", node.log());
    write(&primary, 2, &["b.example"])?;
    primary.start()?;
    node.answers(&["b.example"], Answer::Serial(1))?;
    node.answers(&["a.example"], GONE)?;
    ensure!(node.catalog(CATALOG)?.error.is_empty());
    Ok(())
}

#[test]
fn a_broken_catalog_is_told_before_it_is_followed() -> Result<()> {
    let node = Node::new()?;
    node.configure(&format!(
        "[[template]]\nname = \"plain\"\nprimaries = [\"192.0.2.1:53\"]\n[[zone]]\nname = \"{CATALOG}\"\nfile = \
         \"catalog.zone\"\ncatalog = true\ncatalog-template = \"plain\"\n"
    ))?;
    let check = || -> Result<(bool, String)> {
        let mut command = std::process::Command::new(starling_tests::tools::starling()?);
        let output = command.arg("check").arg(node.path("node.toml")).output()?;
        Ok((output.status.success(), String::from_utf8(output.stdout)?))
    };
    node.write("catalog.zone", &catalog(1, &listed(&ZONES)))?;
    let (is_good, text) = check()?;
    ensure!(is_good, "{text}");
    node.write("catalog.zone", &catalog(1, "a.zones PTR x.example.\nb.zones PTR x.example.\n"))?;
    let (is_good, text) = check()?;
    ensure!(!is_good && text.contains("x.example. is there twice"), "{text}");
    Ok(())
}

#[test]
fn groups_have_templates() -> Result<()> {
    let other = primary(&["b.example"], 7)?;
    let gold = format!(
        "catalog-groups = {{ gold = \"gold\" }}\n[[template]]\nname = \"gold\"\nprimaries = [\"{}\"]\n",
        other.address
    );
    let of_group = |group: &str| {
        format!("{}group.b-example.zones TXT \"{group}\"\n", listed(&["a.example", "b.example"]))
    };
    let mut follower = Follower::start(&gold, &of_group("gold"))?;
    follower.node.answers(&["a.example"], Answer::Serial(1))?;
    follower.node.answers(&["b.example"], Answer::Serial(7))?;
    let seen = follower.node.catalog(CATALOG)?;
    ensure!(seen.templates == "a.example:plain b.example:gold", "{seen:?}");
    // Into a group that is not known: the zone stays, and is copied from the other primary from now on.
    follower.lists(&of_group("silver"))?;
    let seen = follower.node.catalog(CATALOG)?;
    ensure!(seen.templates == "a.example:plain b.example:plain", "{seen:?}");
    ensure!(follower.node.soa("b.example")? == Answer::Serial(7));
    follower.node.does(&["retransfer", "b.example"])?;
    ensure!(follower.node.soa("b.example")? == Answer::Serial(1));
    // A reload can map it.
    follower.configure(&gold.replace("gold =", "silver ="))?;
    follower.node.does(&["reload"])?;
    follower.node.answers(&["b.example"], Answer::Serial(7))
}

#[test]
fn a_name_that_is_taken_is_ignored() -> Result<()> {
    let by_hand = format!("[[zone]]\nname = \"b.example\"\nprimaries = [\"{}\"]\n", own_socket_address()?);
    let lines = format!("catalog-names = [\"example\"]\n{by_hand}");
    let mut follower = Follower::start(
        &lines,
        &(listed(&["a.example", "b.example", "com"]) + "self.zones PTR catalog.example.\n"),
    )?;
    follower.node.answers(&["a.example"], Answer::Serial(1))?;
    let seen = follower.node.catalog(CATALOG)?;
    ensure!(
        (seen.members.as_str(), seen.ignored.as_str()) == ("a.example", "b.example com catalog.example"),
        "{seen:?}"
    );
    ensure!(follower.node.soa("b.example")? == Answer::Code(SERVFAIL), "it is the one of the configuration");
    ensure!(
        follower
            .node
            .log()
            .contains("its member b.example. is ignored: a zone of this name is configured here")
    );
    // The one that was there first goes: the other comes.
    follower.configure("catalog-names = [\"example\"]")?;
    follower.node.does(&["reload"])?;
    follower.node.answers(&["b.example"], Answer::Serial(1))?;
    // And the other way round: what is configured by hand is so, and keeps its data.
    follower.configure(&lines)?;
    follower.node.does(&["reload"])?;
    let seen = follower.node.catalog(CATALOG)?;
    ensure!(seen.members == "a.example", "{seen:?}");
    ensure!(follower.node.soa("b.example")? == Answer::Serial(1));
    follower.lists(&listed(&["a.example"]))?;
    ensure!(follower.node.soa("b.example")? == Answer::Serial(1), "no catalog removes it");
    Ok(())
}
