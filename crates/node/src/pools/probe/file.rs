//! Files that say how endpoints are, written by somebody else.
//!
//! A line is `ENDPOINT up`, `ENDPOINT down` or `ENDPOINT unknown`, after which a reason may stand; the endpoint is called by its name in
//! the pool or by its address. Nothing is read into a file that is missing, damaged or old: endpoints are unknown then.

use super::{Fault, Visit, shown};
use crate::config::StateFile;
use rustix::fs::{Mode, OFlags, open};
use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::Semaphore;

/// The longest file in octets: that of ten thousands of endpoints with reasons.
const FILE_LEN_MAX: u64 = 1 << 20;
/// For how long after it was written a file may change once more without that being seen: clocks of file systems tick in
/// milliseconds, or in seconds.
const UNSETTLED: Duration = Duration::from_secs(2);
/// How many files are remembered: one for each pool.
const FILES_MAX: usize = crate::config::POOLS_MAX;

/// What the files have said.
#[derive(Default)]
pub(super) struct States(Mutex<HashMap<PathBuf, Entry>>);

#[derive(Clone)]
struct Entry {
    /// One look at a time: a disk that hangs shall hold one thread, and not one more with each look.
    turn: Arc<Semaphore>,
    known: Option<Arc<Known>>,
}

/// What is known of a file.
struct Known {
    version: Version,
    written: SystemTime,
    /// What it says of each endpoint; or what is wrong with it.
    states: Result<HashMap<String, State>, String>,
}

/// What changes when a file does.
#[derive(PartialEq, Eq)]
struct Version {
    device: u64,
    inode: u64,
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Version {
    fn of(metadata: &Metadata) -> Version {
        Version {
            device: metadata.dev(),
            inode: metadata.ino(),
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// What is said of an endpoint, and why.
#[derive(PartialEq, Eq, Debug)]
enum State {
    Up,
    Down(String),
    Unknown(String),
}

impl States {
    /// Looks up what a file says of the endpoint.
    pub(super) async fn look(&self, visit: &Visit<'_>, file: &StateFile) -> Result<(), Fault> {
        visit.await_now("the disk does not answer");
        let turn = self.entry(&file.path).turn.acquire_owned().await;
        let known = self.entry(&file.path).known;
        let path = file.path.clone();
        // A disk that hangs must not hold up the loop.
        let looked = tokio::task::spawn_blocking(move || {
            let looked = refresh(&path, known);
            drop(turn);
            looked
        });
        let known = looked.await.map_err(|error| Fault::Blind(error.to_string()))?.map_err(Fault::Blind)?;
        if let Some(entry) = self.lock().get_mut(&file.path) {
            entry.known = Some(Arc::clone(&known));
        }
        judge(file, visit, &known)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, Entry>> {
        // What is under it is only ever replaced as a whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entry(&self, path: &Path) -> Entry {
        let mut all = self.lock();
        // Those of pools that are gone are not worth more than reading the others once again.
        if all.len() >= FILES_MAX && !all.contains_key(path) {
            all.clear();
        }
        let fresh = || Entry { turn: Arc::new(Semaphore::new(1)), known: None };
        all.entry(path.to_owned()).or_insert_with(fresh).clone()
    }
}

/// What a file says now: it is read if it is another one than it was.
///
/// # Errors
/// Why it can't be.
fn refresh(path: &Path, known: Option<Arc<Known>>) -> Result<Arc<Known>, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{} can't be read: {error}", path.display());
    // A pipe would have us wait for somebody who writes.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(open(path, flags, Mode::empty()).map_err(|error| failed(&error))?);
    let metadata = file.metadata().map_err(|error| failed(&error))?;
    if !metadata.is_file() {
        return Err(failed(&"it is no ordinary file"));
    }
    let version = Version::of(&metadata);
    let written = metadata.modified().map_err(|error| failed(&error))?;
    let is_settled = written.elapsed().is_ok_and(|age| age > UNSETTLED);
    if let Some(known) = known.filter(|known| is_settled && known.version == version) {
        return Ok(known);
    }
    let mut text = Vec::new();
    file.take(FILE_LEN_MAX + 1).read_to_end(&mut text).map_err(|error| failed(&error))?;
    let states = if text.len() as u64 > FILE_LEN_MAX {
        Err(format!("{} has more than {FILE_LEN_MAX} octets", path.display()))
    } else {
        parse(&text).map_err(|(line, what)| format!("{}:{line}: {what}", path.display()))
    };
    Ok(Arc::new(Known { version, written, states }))
}

/// Reads the lines. One that is wrong makes all of them worth nothing: who writes half a file can't be believed in the rest.
///
/// # Errors
/// The number of the line, and what is wrong with it.
fn parse(text: &[u8]) -> Result<HashMap<String, State>, (usize, String)> {
    let text = String::from_utf8_lossy(text);
    let mut states = HashMap::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |what: String| (index + 1, what);
        let (endpoint, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim_start();
        let (word, reason) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let state = match word {
            "up" => State::Up,
            "down" => State::Down(shown(reason)),
            "unknown" => State::Unknown(shown(reason)),
            _ => return Err(wrong(format!("{:?} is none of up, down, unknown", shown(word)))),
        };
        if states.insert(endpoint.to_owned(), state).is_some() {
            return Err(wrong(format!("{} stands there twice", shown(endpoint))));
        }
    }
    Ok(states)
}

fn judge(file: &StateFile, visit: &Visit<'_>, known: &Known) -> Result<(), Fault> {
    let path = file.path.display();
    // A clock that was set back makes nothing older.
    let age = known.written.elapsed().unwrap_or_default();
    if let Some(most) = file.age_max.filter(|most| age > *most) {
        let seconds = most.as_secs();
        return Err(Fault::Blind(format!(
            "{path} was not written for more than {seconds} s, its `max-age-s`"
        )));
    }
    let states = known.states.as_ref().map_err(|why| Fault::Blind(why.clone()))?;
    let address = visit.at.ip();
    let name = file.names.iter().find(|(known, _)| *known == address).map(|(_, name)| name);
    let state = name.and_then(|name| states.get(name)).or_else(|| states.get(&address.to_string()));
    let with = |reason: &str| if reason.is_empty() { String::new() } else { format!(": {reason}") };
    match state {
        Some(State::Up) => Ok(()),
        Some(State::Down(reason)) => Err(Fault::Bad(format!("{path} says that it is down{}", with(reason)))),
        Some(State::Unknown(reason)) => {
            Err(Fault::Blind(format!("{path} says that it is unknown{}", with(reason))))
        }
        None => {
            let name = name.map_or_else(|| address.to_string(), String::clone);
            Err(Fault::Blind(format!("{path} says nothing of {name}")))
        }
    }
}

/// Why the file could not be used now.
pub(super) fn obstacle(file: &StateFile) -> Option<String> {
    let states =
        refresh(&file.path, None).and_then(|known| known.states.as_ref().map(drop).map_err(Clone::clone));
    states.err().map(|error| format!("its endpoints would be unknown: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_an_endpoint_a_state_and_a_reason() {
        let states =
            parse(b"# states\n\nfra1 up\n  ams1\tdown  for maintenance \n2001:db8::1 unknown\r\n").unwrap();
        assert_eq!(states.len(), 3);
        assert_eq!(states["fra1"], State::Up);
        assert_eq!(states["ams1"], State::Down("for maintenance".to_owned()));
        assert_eq!(states["2001:db8::1"], State::Unknown(String::new()));
    }

    #[test]
    fn one_wrong_line_is_enough() {
        for (text, line) in [(&b"a up\nb UP"[..], 2), (b"a", 1), (b"a up\n\na down", 3), (b"\xff \xfe", 1)] {
            assert_eq!(parse(text).unwrap_err().0, line, "{text:?}");
        }
    }
}
