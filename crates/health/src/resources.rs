//! Memory and disk space that are left.

use crate::Outcome;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// How deep in the hierarchy of control groups a process is looked for; the kernel itself allows more, and nobody nests
/// them so.
const GROUPS_MAX: usize = 32;

/// Where control groups of version 2 are mounted, alone or beside those of version 1.
const GROUP_ROOTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// Whether at least so many octets of memory can still be had: by `MemAvailable` of the machine, and by the limits of the
/// control groups that the process is in.
pub fn check_memory(free_min_bytes: u64) -> Outcome {
    judge("memory", free_memory(Path::new("/proc"), &GROUP_ROOTS.map(Path::new)), free_min_bytes)
}

/// Whether at least so many octets can still be written to the file system of `folder`.
pub fn check_disk(folder: &Path, free_min_bytes: u64) -> Outcome {
    let free = match rustix::fs::statvfs(folder) {
        // What is reserved for root is no reserve of ours.
        Ok(space) => Ok(space.f_bavail.saturating_mul(space.f_frsize)),
        Err(error) => Err(io::Error::from(error)),
    };
    judge(&format!("disk space of {}", folder.display()), free, free_min_bytes)
}

fn judge(what: &str, free: io::Result<u64>, min: u64) -> Outcome {
    match free {
        Ok(free) if free >= min => Outcome::Pass,
        Ok(free) => {
            let mib = |bytes: u64| bytes >> 20;
            Outcome::Fail(format!("{what}: {} MiB are free, {} are wanted", mib(free), mib(min)))
        }
        Err(error) => Outcome::Fail(format!("{what} can't be determined: {error}")),
    }
}

/// The least of what the machine and each control group can give.
fn free_memory(proc: &Path, group_roots: &[&Path]) -> io::Result<u64> {
    let mut free = available(&fs::read_to_string(proc.join("meminfo"))?)
        .ok_or_else(|| malformed("no MemAvailable in /proc/meminfo"))?;
    let groups = match fs::read_to_string(proc.join("self/cgroup")) {
        Ok(groups) => groups,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(free), // a kernel without groups
        Err(error) => return Err(error),
    };
    // The group of version 2 is the one with number 0 and no controllers.
    let Some(group) = groups.lines().find_map(|line| line.strip_prefix("0::/")) else { return Ok(free) };
    for root in group_roots {
        // A limit binds the groups below it too. The root itself has none.
        let path = root.join(group);
        for folder in path.ancestors().take_while(|folder| folder != root).take(GROUPS_MAX) {
            if let Some(left) = left_in_group(folder)? {
                free = free.min(left);
            }
        }
    }
    Ok(free)
}

/// What a group may still use: nothing is said where it has no limit, or isn't there.
fn left_in_group(folder: &Path) -> io::Result<Option<u64>> {
    let read = |file: &str| match fs::read_to_string(folder.join(file)) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    let Some(max) = read("memory.max")? else { return Ok(None) };
    if max.trim() == "max" {
        return Ok(None);
    }
    let number = |text: Option<String>, file: &str| {
        let number = text.as_deref().and_then(|text| text.trim().parse::<u64>().ok());
        number.ok_or_else(|| {
            malformed(&format!("{} has no number", PathBuf::from(folder).join(file).display()))
        })
    };
    let max = number(Some(max), "memory.max")?;
    let used = number(read("memory.current")?, "memory.current")?;
    // Pages of files that nobody has used lately count as used and are given up first.
    let cache = read("memory.stat")?.as_deref().and_then(|stat| field(stat, "inactive_file ")).unwrap_or(0);
    Ok(Some(max.saturating_sub(used.saturating_sub(cache))))
}

fn available(meminfo: &str) -> Option<u64> {
    Some(field(meminfo, "MemAvailable:")? << 10)
}

/// The number after a key at the start of a line.
fn field(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key))?.split_whitespace().next()?.parse().ok()
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// A machine with 8 GiB available and these files of its groups.
    fn free(group: &str, files: &[(&str, &str)]) -> io::Result<u64> {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("proc/meminfo", "MemTotal:       16777216 kB\nMemFree: 1 kB\nMemAvailable:    8388608 kB\n");
        write("proc/self/cgroup", group);
        files.iter().for_each(|(path, text)| write(&format!("groups/{path}"), text));
        free_memory(&folder.path().join("proc"), &[&folder.path().join("groups")])
    }

    #[test]
    fn memory_is_the_least_of_machine_and_groups() {
        let machine = 8192 * MIB;
        let limit = |mib: u64| (mib * MIB).to_string();
        let (one, two, half) = (limit(1024), limit(2048), limit(512));
        let in_a_b = "1:memory:/old\n0::/a/b\n";
        let stat = format!("anon 1\ninactive_file {}\n", 256 * MIB);
        type Files<'a> = &'a [(&'a str, &'a str)];
        let cases: [(&str, Files<'_>, u64); 7] = [
            ("", &[], machine),
            ("0::/\n", &[], machine),
            (in_a_b, &[], machine),
            (in_a_b, &[("a/b/memory.max", "max\n"), ("a/b/memory.current", &one)], machine),
            (in_a_b, &[("a/b/memory.max", &two), ("a/b/memory.current", &half)], 1536 * MIB),
            (
                in_a_b,
                &[("a/memory.max", &one), ("a/memory.current", &half), ("a/memory.stat", &stat)],
                768 * MIB,
            ),
            (in_a_b, &[("a/b/memory.max", &half), ("a/b/memory.current", &one)], 0),
        ];
        for (group, files, expected) in cases {
            assert_eq!(free(group, files).unwrap(), expected, "{group:?} {files:?}");
        }
        assert!(free(in_a_b, &[("a/b/memory.max", "few")]).unwrap_err().to_string().contains("memory.max"));
    }

    #[test]
    fn this_machine_has_some_and_not_everything() {
        assert_eq!(check_memory(MIB), Outcome::Pass);
        assert_eq!(check_disk(Path::new("/"), 1), Outcome::Pass);
        for outcome in [check_memory(u64::MAX), check_disk(Path::new("/"), u64::MAX)] {
            let Outcome::Fail(saw) = outcome else { panic!("nobody has so much") };
            assert!(saw.contains("MiB are free"), "{saw}");
        }
        let Outcome::Fail(saw) = check_disk(Path::new("/nowhere/at/all"), 1) else { panic!("there is none") };
        assert!(saw.contains("/nowhere/at/all") && saw.contains("No such file"), "{saw}");
    }
}
