//! The operator's own check: a program that gets the version as a master file, and admits it by exit status 0.

use super::{Fate, Reason, Rule, Verdict, stopped};
use crate::config::ZoneConfig;
use crate::zones::state_dir;
use health::Outcome;
use health::exec::Runner;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use table::{BadPointer, Table, Walk};
use wire::RecordType;

/// Octets that are written at a time: with the smallest buffer, a zone of a million records would take a million calls.
const BUFFER_LEN: usize = 1 << 18;

/// What the operator's command is asked.
pub(crate) struct Question {
    /// The zone as it is configured.
    pub(crate) zone: ZoneConfig,
    /// The version.
    pub(crate) table: Arc<Table>,
    /// The serial of the version that it would replace.
    pub(crate) standing: Option<u32>,
    /// Where a file for the command may be written; with the system's temporary files where there is none.
    pub(crate) folder: Option<PathBuf>,
}

impl Question {
    /// Asks the command, and waits for it as long as it may take.
    pub(crate) fn ask(&self) -> Verdict {
        match objection(self) {
            None => Verdict::Admitted,
            Some(text) => stopped(Fate::Held, vec![Reason { rule: Rule::Command, text }]),
        }
    }
}

fn objection(question: &Question) -> Option<String> {
    let admission = &question.zone.admission;
    let file = match MasterFile::write(question) {
        Ok(file) => file,
        Err(error) => return Some(format!("it could not be written for `command`: {error}")),
    };
    let mut words = admission.command.clone();
    words.push(question.zone.name.to_string());
    words.push(question.standing.map_or_else(|| "-".to_owned(), |serial| serial.to_string()));
    words.push(question.table.serial().to_string());
    words.push(file.path.display().to_string());
    match Runner::new(1).run_blocking(&words, admission.command_timeout) {
        Outcome::Pass => None,
        Outcome::Fail(why) | Outcome::Overloaded(why) => Some(format!("`command` objects: {why}")),
    }
}

/// A version as a master file, which goes away with the value.
struct MasterFile {
    path: PathBuf,
}

impl MasterFile {
    fn write(question: &Question) -> io::Result<MasterFile> {
        let folder = question.folder.clone().unwrap_or_else(std::env::temp_dir);
        // A name that nobody can foresee, since others may write where temporary files are.
        let unique = format!("{}{:016x}", state_dir::CANDIDATE, fastrand::u64(..));
        let path = state_dir::path_in(&folder, &question.zone.name, &unique);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o640).open(&path)?;
        let written = MasterFile { path };
        write_zone(&question.table, file)?;
        Ok(written)
    }
}

impl Drop for MasterFile {
    fn drop(&mut self) {
        // Where even this fails, somebody else has removed it.
        let _gone_or_not = std::fs::remove_file(&self.path);
    }
}

/// Writes a record a line, the SOA record first: some programs want it there.
fn write_zone(table: &Arc<Table>, file: File) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(BUFFER_LEN, file);
    write_records(table, &mut out, |rtype| rtype == RecordType::SOA)?;
    write_records(table, &mut out, |rtype| rtype != RecordType::SOA)?;
    out.flush()
}

fn write_records(
    table: &Arc<Table>,
    out: &mut impl Write,
    is_wanted: impl Fn(RecordType) -> bool,
) -> io::Result<()> {
    let mut walk = Walk::new(Arc::clone(table));
    let mut is_below = false;
    while let Some(record) = walk.next_record().map_err(|error: BadPointer| io::Error::other(error))? {
        // The only SOA record is that of the apex, which comes first.
        if is_below && is_wanted(RecordType::SOA) {
            return Ok(());
        }
        is_below = record.owner != table.apex_name();
        if is_wanted(record.rtype) {
            let rdata = zone::rdata::display(record.rtype, record.rdata);
            writeln!(out, "{} {} IN {} {rdata}", record.owner, record.ttl, record.rtype)?;
        }
    }
    Ok(())
}
