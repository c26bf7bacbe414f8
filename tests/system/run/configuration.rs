//! Configurations that `starling run` refuses, before it changes anything.

use anyhow::{Result, ensure};
use starling_tests::netns;

use super::agent::{MANAGEMENT, Place};
use crate::node::said;

#[test]
fn what_cannot_be_is_refused_with_file_line_and_help() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let place = Place::new("wrong", "")?;
    let good = std::fs::read_to_string(place.path("node.toml"))?;
    let from = good.find("[anycast]").unwrap_or_default();
    let to = good.find("[management]").unwrap_or_default();
    let check = |line: &str| format!("{good}[[check]]\nname = \"primary\"\nexec = [\"/bin/true\"]\n{line}\n");
    let cases = [
        ("no route", good.replace(&good[from..to], ""), "there is no route to hold", "add [anycast]"),
        (
            "nobody listens",
            good.replace(", \"[2001:db8:53::53]:53\"]", "]"),
            "nothing listens on the service address 2001:db8:53::53",
            "to `listen` under [node]",
        ),
        (
            "management on the service address",
            good.replace(MANAGEMENT, "203.0.113.53:8053"),
            "the management address 203.0.113.53:8053 is on a service address",
            "of this machine alone",
        ),
        ("unknown key", good.replace("stable-ms", "stabel-ms"), "node.toml:10:1", "stable-ms"),
        (
            "shared and moving",
            check("shared = true"),
            "something that all nodes share",
            "action = \"report\"",
        ),
        ("a peer without address", format!("{good}[[peer]]\nname = \"fra1\"\n"), "node.toml:", "address"),
    ];
    for (what, text, title, help) in cases {
        ensure!(text != good, "{what}: nothing was changed");
        place.write("node.toml", &text)?;
        let output = place.fail()?;
        let told = said(&output);
        ensure!(output.status.code() == Some(2), "{what}: {}\n{told}", output.status);
        ensure!(told.contains(title) && told.contains(help) && told.contains("node.toml"), "{what}: {told}");
    }
    let links = place.namespace.ip("-brief link show")?;
    ensure!(!links.contains("starling0") && !place.path("state").exists(), "{links}");
    Ok(())
}
