//! What the route did and why, kept across restarts; and whether the node is in maintenance.
//!
//! ```text
//! STATE-DIR/history.jsonl       a line a transition, the oldest first
//! STATE-DIR/maintenance         there while the node is in maintenance
//! ```
//! A thread writes: a disk that hangs must not freeze the agent.

use crate::status::TransitionRecord;
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use tokio::sync::oneshot;

/// How many transitions are remembered: some months of a node that is well, and 200 KB of one that is not.
const RECORDS_MAX: usize = 1000;
/// How many writes may wait. Transitions are limited to a few an hour, so more means that the disk hangs.
const WRITES_MAX: usize = 64;

/// The transitions so far.
pub(crate) struct History {
    records: VecDeque<TransitionRecord>,
    writer: Option<SyncSender<Job>>,
}

enum Job {
    Append(TransitionRecord),
    Maintenance(bool, oneshot::Sender<io::Result<()>>),
}

impl History {
    /// The history of a node, from its state folder where it has one; and whether it is in maintenance.
    ///
    /// # Errors
    /// The thread that writes can't be started.
    pub(crate) fn open(state_dir: Option<&Path>) -> io::Result<(History, bool)> {
        let Some(folder) = state_dir else {
            return Ok((History { records: VecDeque::new(), writer: None }, false));
        };
        let files = Files { history: folder.join("history.jsonl"), maintenance: folder.join("maintenance") };
        let records = files.read();
        let in_maintenance = files.maintenance.exists();
        let (writer, jobs) = sync_channel(WRITES_MAX);
        let mut lines = records.len();
        thread::Builder::new().name("history".to_owned()).spawn(move || files.write(&jobs, &mut lines))?;
        Ok((History { records, writer: Some(writer) }, in_maintenance))
    }

    /// Remembers a transition.
    pub(crate) fn add(&mut self, record: TransitionRecord) {
        if self.records.len() == RECORDS_MAX {
            self.records.pop_front();
        }
        self.records.push_back(record.clone());
        if let Some(writer) = &self.writer
            && let Err(TrySendError::Full(_)) = writer.try_send(Job::Append(record))
        {
            tracing::warn!("a transition is not on record on disk: the disk of the state folder hangs");
        }
    }

    /// The last transitions, the oldest first.
    pub(crate) fn last(&self, count: usize) -> Vec<TransitionRecord> {
        let skipped = self.records.len().saturating_sub(count);
        self.records.iter().skip(skipped).cloned().collect()
    }

    /// Remembers over restarts whether the node is in maintenance; the result comes when it is on disk.
    pub(crate) fn set_maintenance(&self, on: bool) -> Option<oneshot::Receiver<io::Result<()>>> {
        let (done, result) = oneshot::channel();
        // Where the queue is full the sender is dropped, which the receiver sees.
        self.writer.as_ref().map(|writer| {
            let _full_or_not = writer.try_send(Job::Maintenance(on, done));
            result
        })
    }
}

struct Files {
    history: PathBuf,
    maintenance: PathBuf,
}

impl Files {
    /// The records on disk; lines that can't be read, such as one cut off by a full disk, are passed over.
    fn read(&self) -> VecDeque<TransitionRecord> {
        let mut records = VecDeque::new();
        let Ok(file) = File::open(&self.history) else { return records };
        for line in BufReader::new(file).split(b'\n').map_while(Result::ok) {
            if let Ok(record) = serde_json::from_slice(&line) {
                if records.len() == RECORDS_MAX {
                    records.pop_front();
                }
                records.push_back(record);
            }
        }
        records
    }

    fn write(&self, jobs: &Receiver<Job>, lines: &mut usize) {
        for job in jobs {
            match job {
                Job::Append(record) => {
                    if let Err(error) = self.append(&record, lines) {
                        tracing::warn!(
                            "a transition is not on record in {}: {error}",
                            self.history.display()
                        );
                    }
                }
                Job::Maintenance(on, done) => {
                    // Who asked may have gone away.
                    let _gone = done.send(self.maintain(on));
                }
            }
        }
    }

    fn append(&self, record: &TransitionRecord, lines: &mut usize) -> io::Result<()> {
        if *lines >= 2 * RECORDS_MAX {
            *lines = self.shorten()?;
        }
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        File::options().create(true).append(true).open(&self.history)?.write_all(&line)?;
        *lines += 1;
        Ok(())
    }

    /// Keeps the newest records only.
    fn shorten(&self) -> io::Result<usize> {
        let records = self.read();
        let mut text = Vec::new();
        for record in &records {
            serde_json::to_writer(&mut text, record)?;
            text.push(b'\n');
        }
        let temporary = self.history.with_extension("new");
        fs::write(&temporary, text)?;
        fs::rename(&temporary, &self.history)?;
        Ok(records.len())
    }

    fn maintain(&self, on: bool) -> io::Result<()> {
        if on {
            return File::create(&self.maintenance)?.sync_all();
        }
        match fs::remove_file(&self.maintenance) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: usize) -> TransitionRecord {
        TransitionRecord {
            at: "2026-01-01T00:00:00Z".to_owned(),
            from: "up".to_owned(),
            to: "down".to_owned(),
            by: "itself".to_owned(),
            why: number.to_string(),
        }
    }

    fn files(folder: &Path) -> Files {
        Files { history: folder.join("history.jsonl"), maintenance: folder.join("maintenance") }
    }

    #[test]
    fn the_file_stays_short_and_keeps_the_newest() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(folder.path());
        let mut lines = 0;
        for number in 0..2 * RECORDS_MAX + 5 {
            files.append(&record(number), &mut lines).unwrap();
        }
        assert_eq!(lines, RECORDS_MAX + 5);
        let (history, _) = History::open(Some(folder.path())).unwrap();
        let last: Vec<String> = history.last(2).into_iter().map(|record| record.why).collect();
        assert_eq!(last, [(2 * RECORDS_MAX + 3).to_string(), (2 * RECORDS_MAX + 4).to_string()]);
        assert_eq!(history.last(usize::MAX).len(), RECORDS_MAX);
    }

    #[test]
    fn a_line_cut_off_loses_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(folder.path());
        let mut lines = 0;
        files.append(&record(1), &mut lines).unwrap();
        File::options().append(true).open(&files.history).unwrap().write_all(b"{\"at\":\"20\n").unwrap();
        files.append(&record(2), &mut lines).unwrap();
        assert_eq!(files.read(), [record(1), record(2)]);
    }

    #[test]
    fn maintenance_outlives_the_process() {
        let folder = tempfile::tempdir().unwrap();
        for on in [true, true, false, false] {
            files(folder.path()).maintain(on).unwrap();
            assert_eq!(History::open(Some(folder.path())).unwrap().1, on);
        }
    }
}
