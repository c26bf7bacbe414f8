//! The gate: which versions of a zone are let into service.
//!
//! A version that could be compiled is complete and well-formed, which does not make it the one that was meant: its source
//! may have lost half of it, its signer may have stopped, or an operator has edited the wrong file. [`judge`] compares a
//! candidate with the version that stands. It comes from any road, a master file or a primary, and passes, or is held until
//! an operator approves of it, or is refused for good where its own digest says that it is damaged. Whatever comes of it, what
//! was served is served.
//!
//! The rules are pure; [`signatures`] looks at signatures, [`command`] asks the operator's program, and [`versions`] keeps
//! what a zone has beside the version that is served: the one held, the one before, and the one that nobody wants back.

mod command;
mod signatures;
mod versions;

pub(crate) use command::Question;
pub(crate) use versions::{InMemory, Versions};

use crate::config::{AdmissionConfig, ZoneConfig, ZonemdPolicy};
use signatures::Scope;
use std::sync::Arc;
use std::time::SystemTime;
use table::{ContentDigest, Table};
use transfer::serial::is_newer;
use wire::RecordType;
use zone::zonemd;

/// Zones with fewer records may shrink as they like: in a small zone half of it is a few lines that somebody has edited.
const SHRINK_RECORDS_MIN: u32 = 100;

/// What a version is judged by.
pub(crate) struct Candidate<'a> {
    /// The zone as it is configured.
    pub(crate) zone: &'a ZoneConfig,
    /// The version.
    pub(crate) table: &'a Arc<Table>,
    /// What its ZONEMD records say; nothing where nobody has looked.
    pub(crate) zonemd: Option<zonemd::Verdict>,
    /// The version that it would replace.
    pub(crate) standing: Option<&'a Arc<Table>>,
    /// The version that an operator has rolled back from.
    pub(crate) unwanted: Option<Unwanted>,
    /// Whether its serial matters.
    pub(crate) serials: Serials,
}

/// Whether the serial of a version matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Serials {
    /// It does, as far as the configuration says so.
    AsConfigured,
    /// An operator wants the version whatever its serial is.
    Any,
}

/// A version that an operator has rolled back from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Unwanted {
    /// Its serial.
    pub(crate) serial: u32,
    /// The digest of its records.
    pub(crate) content: ContentDigest,
}

/// What becomes of a version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// It is served.
    Admitted,
    /// It is served if the operator's command says so: [`Question::ask`].
    Unasked,
    /// It is not.
    Stopped(Stop),
}

/// A version that is not served.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Stop {
    /// What becomes of it.
    pub(crate) fate: Fate,
    /// Why; not empty.
    pub(crate) reasons: Vec<Reason>,
}

/// What becomes of a version that is not served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// It is kept until an operator approves of it.
    Held,
    /// It is damaged, and forgotten.
    Refused,
}

/// Why a version is not served.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Reason {
    /// Which rule says so.
    pub(crate) rule: Rule,
    /// What is wrong with it.
    pub(crate) text: String,
}

/// The rules, as metrics name them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Rule {
    /// ZONEMD records vouch for it, or there are none.
    Zonemd,
    /// It is not what an operator has rolled back from.
    RolledBack,
    /// NS and DNSKEY records are still there.
    ApexSets,
    /// It has not shrunk too far.
    Shrink,
    /// Its serial goes forward.
    Serial,
    /// Its signatures are valid now, and for long enough.
    Signatures,
    /// The operator's command agrees.
    Command,
}

impl Rule {
    /// Its name in metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Rule::Zonemd => "zonemd",
            Rule::RolledBack => "rolled-back",
            Rule::ApexSets => "apex-sets",
            Rule::Shrink => "shrink",
            Rule::Serial => "serial",
            Rule::Signatures => "signatures",
            Rule::Command => "command",
        }
    }
}

impl Candidate<'_> {
    fn admission(&self) -> &AdmissionConfig {
        &self.zone.admission
    }
}

/// Judges a version by all rules but the operator's command. Takes as long as a walk over a signed zone.
pub(crate) fn judge(candidate: &Candidate<'_>) -> Verdict {
    if let Some(text) = zonemd_fault(candidate.admission().zonemd, candidate.zonemd) {
        return stopped(Fate::Refused, vec![Reason { rule: Rule::Zonemd, text }]);
    }
    if let Some(text) = unwanted(candidate) {
        return stopped(Fate::Held, vec![Reason { rule: Rule::RolledBack, text }]);
    }
    let content = candidate.table.content();
    if candidate.standing.is_some_and(|standing| standing.content() == content) {
        // The same records once more: other options, or another table format.
        return Verdict::Admitted;
    }
    let mut reasons = Vec::new();
    let mut note = |rule: Rule, text: Option<String>| reasons.extend(text.map(|text| Reason { rule, text }));
    if let Some(standing) = candidate.standing {
        note(Rule::ApexSets, lost_sets(candidate, standing));
        note(Rule::Shrink, shrunk(candidate, standing));
        note(Rule::Serial, serial_fault(candidate, standing));
    }
    note(Rule::Signatures, signatures_fault(candidate));
    if !reasons.is_empty() {
        return stopped(Fate::Held, reasons);
    }
    // Last, since it costs most and what it would say of a version that is stopped anyway is no news.
    if candidate.admission().command.is_empty() { Verdict::Admitted } else { Verdict::Unasked }
}

fn stopped(fate: Fate, reasons: Vec<Reason>) -> Verdict {
    Verdict::Stopped(Stop { fate, reasons })
}

/// What is wrong with a zone by its ZONEMD records, if anything is.
pub(crate) fn zonemd_fault(policy: ZonemdPolicy, verdict: Option<zonemd::Verdict>) -> Option<String> {
    let is_required = policy == ZonemdPolicy::Require;
    match verdict? {
        zonemd::Verdict::Bad(fault) => Some(fault.to_string()),
        zonemd::Verdict::Absent if is_required => {
            Some("it has no ZONEMD record, which `zonemd = \"require\"` asks for".to_owned())
        }
        zonemd::Verdict::Unknown if is_required => Some(
            "its ZONEMD records are of kinds that only their maker can compute, and `zonemd = \"require\"` asks for another"
                .to_owned(),
        ),
        zonemd::Verdict::Good(_) | zonemd::Verdict::Absent | zonemd::Verdict::Unknown => None,
    }
}

fn unwanted(candidate: &Candidate<'_>) -> Option<String> {
    let Unwanted { serial, content } = candidate.unwanted?;
    let is_it = candidate.table.serial() == serial || candidate.table.content() == content;
    is_it.then(|| format!("it is the version {serial} that was rolled back from"))
}

fn lost_sets(candidate: &Candidate<'_>, standing: &Table) -> Option<String> {
    if !candidate.admission().apex_sets {
        return None;
    }
    let has = |table: &Table, rtype| table.apex().rrset(rtype).is_some();
    let lost: Vec<String> = [RecordType::SOA, RecordType::NS, RecordType::DNSKEY]
        .into_iter()
        .filter(|rtype| has(standing, *rtype) && !has(candidate.table, *rtype))
        .map(|rtype| rtype.to_string())
        .collect();
    (!lost.is_empty()).then(|| format!("it has no {} records at its apex any more", lost.join(" and ")))
}

fn shrunk(candidate: &Candidate<'_>, standing: &Table) -> Option<String> {
    let (before, after) = (standing.record_count(), candidate.table.record_count());
    let percent_max = candidate.admission().shrink_max_percent;
    let lost_percent = u64::from(before.saturating_sub(after)) * 100;
    let is_too_much =
        before >= SHRINK_RECORDS_MIN && lost_percent > u64::from(before) * u64::from(percent_max);
    is_too_much.then(|| {
        let percent = lost_percent / u64::from(before);
        format!(
            "it has {after} records and the version that is served has {before}: {percent} % fewer, and \
             `shrink-max-percent` is {percent_max}"
        )
    })
}

fn serial_fault(candidate: &Candidate<'_>, standing: &Table) -> Option<String> {
    let is_wanted = candidate.admission().serial_forward.unwrap_or(candidate.zone.is_received());
    let (before, after) = (standing.serial(), candidate.table.serial());
    if candidate.serials == Serials::Any || !is_wanted || is_newer(after, before) {
        return None;
    }
    Some(if after == before {
        format!("its content has changed and its serial, {after}, has not: secondaries would not notice")
    } else {
        format!(
            "its serial goes back from {before} to {after}: secondaries would not take it (RFC 1982 §3.2)"
        )
    })
}

fn signatures_fault(candidate: &Candidate<'_>) -> Option<String> {
    if !candidate.admission().signatures {
        return None;
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() as u32;
    let left_min = candidate.admission().signatures_left_min.as_secs() as u32; // ten years at most
    // What has not changed is no better in the version before: most versions need no walk over the zone.
    signatures::out_of_time(candidate.table, Scope::Changed, now, left_min)?;
    let late = |table| signatures::out_of_time(table, Scope::All, now, left_min);
    let found = late(candidate.table)?;
    let is_worse = candidate
        .standing
        .is_some_and(|standing| !late(standing).is_some_and(|before| found.is_no_worse_than(&before)));
    if is_worse {
        return Some(found.to_string());
    }
    // Keeping what is no better would help nobody.
    tracing::warn!("zone {}: serial {}: {found}", candidate.zone.name, candidate.table.serial());
    None
}

#[cfg(test)]
mod tests;
