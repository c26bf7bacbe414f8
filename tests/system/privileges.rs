//! What a server may do once it answers: nothing that an ordinary program may not.

use std::fs;

use anyhow::{Context, Result, ensure};
use starling_tests::tools;

use crate::agent_link::{Linked, SOON, site};

#[test]
fn no_thread_has_privileges_once_the_node_answers() -> Result<()> {
    let (site, _zone) = site("workers = 2\ntcp.workers = 2\nstate-dir = \"state\"")?;
    let alone = site.start()?;
    without_privileges(alone.process.pid())?;
    drop(alone);
    let mut server = Linked::launch(&site, "server", false)?;
    server.ready()?;
    // A thread gives itself its name, once it runs.
    tools::poll("every thread runs", SOON, || {
        let names = without_privileges(server.process.pid())?;
        let expected = ["udp-0", "udp-1", "tcp-0", "tcp-1", "keeper", "watch"];
        Ok(expected.iter().all(|name| names.iter().any(|thread| thread == name)).then_some(()))
    })
}

/// Looks at every thread of a process; gives their names.
fn without_privileges(pid: i32) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread that loaded the zones may have ended meanwhile.
        let Ok(text) = fs::read_to_string(task?.path().join("status")) else { continue };
        let field = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
            value.with_context(|| format!("{name} in {text}"))
        };
        let name = field("Name")?;
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            ensure!(u64::from_str_radix(field(set)?, 16)? == 0, "thread {name}: {set} {}", field(set)?);
        }
        // CAP_NET_BIND_SERVICE and CAP_NET_ADMIN, which no program that it starts could get any more either. Who may not
        // narrow the set needn't.
        let bounding = u64::from_str_radix(field("CapBnd")?, 16)?;
        let is_root = rustix::process::geteuid().is_root();
        ensure!(!is_root || bounding & !(1 << 10 | 1 << 12) == 0, "thread {name}: CapBnd {bounding:x}");
        ensure!(field("NoNewPrivs")? == "1", "thread {name} may get new ones");
        names.push(name.to_owned());
    }
    Ok(names)
}
