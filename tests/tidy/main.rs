//! The house rules a machine can check: which crate may know which, where `unsafe` may stand, and what must
//! not be in the tree at all. Widening a list here is an architecture change (a commit of its own, with the
//! reason).

mod source;

use std::path::{Path, PathBuf};

use source::{code_only, has_word};
use starling_tests::tools::repository;

/// Which of our crates each crate may depend on. What is not listed does not exist.
const ARROWS: &[(&str, &[&str])] = &[
    ("wire", &[]),
    ("netio", &[]),
    ("table", &["wire"]),
    ("nameserver", &["table", "wire"]),
    ("zone", &["table", "wire"]),
    ("transfer", &["zone", "table", "wire"]),
    ("health", &["wire"]),
    // For the moments of its clock.
    ("pool", &["health"]),
    // `netio` for the TUN interface alone: opening one takes an `ioctl`, and `unsafe` stays where it is.
    ("anycast", &["health", "netio"]),
    ("node", &["wire", "netio", "table", "nameserver", "zone", "transfer", "health", "anycast", "pool"]),
];
/// The crates that see every packet.
const DATA_PLANE: &[&str] = &["wire", "netio", "table", "nameserver"];
/// What the data plane must not be built on; a trailing `-` stands for a family of crates.
const NOT_IN_DATA_PLANE: &[&str] = &[
    "tokio", "tokio-", "serde", "serde_", "tracing", "tracing-", "log", "hickory-", "futures", "async-",
    "anyhow",
];
/// Where `unsafe` may stand, as the beginning of a path.
const UNSAFE: &[&str] = &[
    "crates/table/src/map",
    "crates/netio/src/sys",
    "crates/netio/src/xdp",
    // A global allocator that counts can only be written with it.
    "tests/allocation",
];
/// Longest file, lines.
const LINES_MAX: usize = 1000;

#[test]
fn arrows_between_crates() {
    let mut faults = Vec::new();
    for folder in folders("crates") {
        let name = file_name(&folder);
        let Some((_, allowed)) = ARROWS.iter().find(|(known, _)| *known == name) else {
            faults.push(format!("crates/{name} is not in the list of crates"));
            continue;
        };
        for dependency in dependencies(&folder.join("Cargo.toml"), "dependencies") {
            let ours = ARROWS.iter().any(|(known, _)| *known == dependency);
            if ours && !allowed.contains(&dependency.as_str()) {
                faults.push(format!("crates/{name} must not know {dependency}"));
            }
            if DATA_PLANE.contains(&name.as_str()) && forbidden(&dependency) {
                faults.push(format!("crates/{name} is data plane and must not use {dependency}"));
            }
        }
    }
    for dependency in dependencies(&repository().join("tests/Cargo.toml"), "dependencies") {
        if ARROWS.iter().any(|(known, _)| *known == dependency) {
            faults.push(format!("the test harness must not stand on {dependency}, which it tests"));
        }
    }
    report(&faults);
}

#[test]
fn every_workspace_dependency_has_a_comment() {
    let text = read(&repository().join("Cargo.toml"));
    let mut faults = Vec::new();
    for line in section(&text, "workspace.dependencies") {
        let entry = line.contains('=') && !line.starts_with('#');
        if entry && !line.contains("path = ") && !line.contains('#') {
            faults.push(format!("Cargo.toml: no comment says what this is for: {line}"));
        }
    }
    report(&faults);
}

#[test]
fn unsafe_stands_where_it_may() {
    each_line(|path, number, line, _| {
        let allowed = UNSAFE.iter().any(|start| path.starts_with(start));
        (has_word(line, "unsafe") && !allowed).then(|| format!("{path}:{number}: unsafe"))
    });
}

#[test]
fn no_unwrap_outside_tests() {
    each_line(|path, number, line, part| {
        (part == Part::Product && line.contains(".unwrap()")).then(|| format!("{path}:{number}: unwrap"))
    });
}

#[test]
fn nothing_unfinished_or_ignored() {
    each_line(|path, number, line, _| {
        let found =
            ["todo!", "unimplemented!", "dbg!", "#[ignore"].into_iter().find(|text| line.contains(text));
        found.map(|text| format!("{path}:{number}: {text}"))
    });
}

#[test]
fn tests_do_not_sleep() {
    each_line(|path, number, line, part| {
        let sleeps = part == Part::Test && has_word(line, "sleep") && line.contains("sleep(");
        sleeps.then(|| format!("{path}:{number}: poll a condition with a deadline instead of sleeping"))
    });
}

#[test]
fn only_node_reads_environment_and_command_line() {
    each_line(|path, number, line, part| {
        let reads = ["env::var", "env::args", "env::vars"].iter().any(|call| line.contains(call));
        let library = path.starts_with("crates/") && !path.starts_with("crates/node/");
        (reads && library && part == Part::Product)
            .then(|| format!("{path}:{number}: only `node` may do this"))
    });
}

#[test]
fn files_are_short() {
    let mut faults = Vec::new();
    for path in sources() {
        let len = read(&path).lines().count();
        if len > LINES_MAX {
            faults.push(format!("{}: {len} lines, {LINES_MAX} are allowed", relative(&path)));
        }
    }
    report(&faults);
}

/// Which kind of code a line belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Product,
    Test,
}

/// Runs a check over every line of code, comments and literals blanked.
fn each_line(check: impl Fn(&str, usize, &str, Part) -> Option<String>) {
    let mut faults = Vec::new();
    let files = sources();
    assert!(files.len() > 20, "only {} source files found: the check looks in the wrong place", files.len());
    for file in files {
        let path = relative(&file);
        let product = path.starts_with("crates/") && path.contains("/src/") && !path.contains("/tests");
        let mut part = if product { Part::Product } else { Part::Test };
        for (at, line) in code_only(&read(&file)).lines().enumerate() {
            // Tests stand at the end of a file.
            if line.contains("#[cfg(test)]") {
                part = Part::Test;
            }
            faults.extend(check(&path, at + 1, line, part));
        }
    }
    report(&faults);
}

fn report(faults: &[String]) {
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// Every Rust file of the repository.
fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting: Vec<PathBuf> =
        ["crates", "tests", "benches"].iter().map(|top| repository().join(top)).collect();
    while let Some(folder) = waiting.pop() {
        for entry in
            std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        {
            let path = entry.expect("readable folder").path();
            if path.is_dir() && file_name(&path) != "target" {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn folders(top: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(repository().join(top)).expect("the folder exists");
    let mut found: Vec<PathBuf> =
        entries.map(|entry| entry.expect("readable folder").path()).filter(|path| path.is_dir()).collect();
    found.sort();
    found
}

/// Names in a dependency table of a manifest, those for one target or build scripts included.
fn dependencies(manifest: &Path, table: &str) -> Vec<String> {
    let text = read(manifest);
    let mut names = Vec::new();
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            let title = line.trim_matches(['[', ']']);
            let last = title.rsplit('.').next().unwrap_or_default();
            inside = last == table || last == format!("build-{table}");
            // `[dependencies.NAME]` names one dependency in its title.
            if let Some((before, name)) = title.rsplit_once('.')
                && before.ends_with(table)
                && !before.ends_with(&format!("dev-{table}"))
            {
                names.push(name.to_owned());
            }
        } else if inside && !line.starts_with('#') {
            let name = line.split(['=', '.', ' ']).next().unwrap_or_default().trim_matches('"');
            if !name.is_empty() {
                names.push(name.to_owned());
            }
        }
    }
    names
}

fn section<'a>(text: &'a str, title: &str) -> Vec<&'a str> {
    let header = format!("[{title}]");
    let lines = text.lines().skip_while(|line| line.trim() != header).skip(1);
    lines.take_while(|line| !line.starts_with('[')).collect()
}

fn forbidden(dependency: &str) -> bool {
    NOT_IN_DATA_PLANE.iter().any(|name| {
        if name.ends_with(['-', '_']) { dependency.starts_with(name) } else { dependency == *name }
    })
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn relative(path: &Path) -> String {
    path.strip_prefix(repository()).unwrap_or(path).display().to_string()
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
