//! Tables that are compiled elsewhere: which zones take them, and taking them into service.
//!
//! Reading and verifying a table takes as long as it is large, and somebody else's disk may hang, so that is done before the
//! keeper hears of it. It says at the beginning how the zone is configured, and looks again at the end.

use super::asking::Asker;
use super::{Change, Keeper};
use crate::config::{Publisher, ZoneConfig, ZoneSource, ZonemdPolicy};
use crate::gate::Serials;
use crate::progress::Progress;
use crate::shipping::{Offer, PublicKey};
use crate::status::PublishOutcome;
use crate::zones::load::{Images, Loaded, ZoneErrors};
use crate::zones::parallel::Priority;
use std::sync::{Arc, Mutex};
use table::Table;
use tokio::sync::oneshot;
use wire::NameBuf;

/// A step of publishing a table.
pub(crate) enum Publishing {
    /// To tell how a zone is configured, if tables of it can be published here.
    Begin {
        /// Which zone.
        zone: Box<NameBuf>,
        /// Who wants to know; or why none can.
        reply: oneshot::Sender<Result<ZoneConfig, String>>,
    },
    /// To judge a table that was verified, and to serve it.
    Take(Box<Publication>),
}

/// A table that was verified.
pub(crate) struct Publication {
    /// Of which zone.
    pub(crate) zone: NameBuf,
    /// The table, and who has signed it.
    pub(crate) offer: Offer,
    /// Whether its serial matters.
    pub(crate) serials: Serials,
    /// Who wants to know what came of it; or why nothing was done.
    pub(crate) reply: oneshot::Sender<Result<PublishOutcome, String>>,
}

impl Keeper {
    /// Does a step of publishing.
    pub(super) fn publish(&mut self, request: Publishing) {
        match request {
            Publishing::Begin { zone, reply } => {
                let config = self.find_publishable(&zone).map(|index| self.entries[index].zone.clone());
                // Who asked may have gone away.
                let _gone = reply.send(config);
            }
            Publishing::Take(publication) => {
                let Publication { zone, offer, serials, reply } = *publication;
                let Offer { loaded, signer } = offer;
                let found = self.find_publishable(&zone).and_then(|index| {
                    // The configuration may have changed while the table was read.
                    let zone = &self.entries[index].zone;
                    was_digested(zone, &loaded)?;
                    Ok((index, publisher_of(zone, signer)?))
                });
                match found {
                    Ok((index, publisher)) => {
                        let table = Arc::clone(&loaded.table);
                        let signed_by = publisher.map(|publisher| publisher.name.clone());
                        self.take_published(index, loaded, serials, PublishReply { reply, table, signed_by });
                    }
                    Err(error) => drop(reply.send(Err(error))),
                }
            }
        }
    }

    fn find_publishable(&self, name: &NameBuf) -> Result<usize, String> {
        let index = self.entries.position(name).ok_or_else(|| {
            format!(
                "there is no zone {name} here; add a [[zone]] with `published = true`, then `starling ctl reload`"
            )
        })?;
        let instead = match &self.entries[index].zone.source {
            ZoneSource::Published(_) => return Ok(index),
            ZoneSource::MasterFile(file) => {
                format!("has the master file {}, which the next reload would read again", file.display())
            }
            ZoneSource::Primaries(_) => "has primaries, of which the next refresh would ask it".to_owned(),
            ZoneSource::Catalog(_) => "is a catalog that this node makes".to_owned(),
        };
        Err(format!(
            "the zone {name} {instead}; tables are published of zones with `published = true` instead"
        ))
    }

    fn take_published(&mut self, index: usize, loaded: Loaded, serials: Serials, reply: PublishReply) {
        // Also for the agent: while this is so, its probes take either serial for right.
        self.board.set_reloading(true);
        let table = &loaded.table;
        // Of a zone with signatures the gate looks at each; else there is nothing to be done that takes long.
        let is_signed = table.apex().rrsets().any(|set| set.signature_count() > 0);
        let priority = if is_signed { Priority::Idle } else { Priority::Normal };
        let mut job = self.job(index, Images::PassOver);
        job.serials = serials;
        job.published = Mutex::new(Some(loaded));
        let mut is_served = false;
        let mut outcome = None;
        self.load(&[job], priority, &Progress::nowhere(), |_, result| {
            is_served = result.is_some_and(|result| result.is_ok());
            outcome = result.map(|result| reply.outcome(result));
        });
        self.list_more();
        self.serve();
        self.board.set_reloading(false);
        match outcome {
            None => {
                // Its command has yet to say something.
                let asker = Asker::Publish(reply);
                let _known = self.asking.wants_to_know(&self.entries[index].zone.name, asker);
                self.hand_over();
            }
            Some(outcome) if is_served => {
                reply.send(outcome);
                self.hand_over();
            }
            Some(outcome) => {
                // Before anybody is told: what is held is held over a restart.
                self.hand_over();
                reply.send(outcome);
            }
        }
        if self.entries[index].zone.follow.is_some() {
            self.follow_catalogs();
        }
    }
}

/// Who wants to know what has become of a table that was published.
pub(super) struct PublishReply {
    reply: oneshot::Sender<Result<PublishOutcome, String>>,
    table: Arc<Table>,
    signed_by: Option<String>,
}

impl PublishReply {
    fn outcome(&self, result: &Result<Change, ZoneErrors>) -> PublishOutcome {
        let PublishReply { table, signed_by, .. } = self;
        match result {
            Ok(change) => PublishOutcome::Served {
                from_serial: change.from_serial,
                serial: table.serial(),
                records: u64::from(table.record_count()),
                names: u64::from(table.name_count()),
                content: table.content().to_string(),
                signed_by: signed_by.clone(),
            },
            Err(errors) => {
                PublishOutcome::Stopped { serial: table.serial(), messages: errors.errors.clone() }
            }
        }
    }

    fn send(self, outcome: PublishOutcome) {
        // Whoever asked may have given up; what was done is done all the same.
        let _gone = self.reply.send(Ok(outcome));
    }

    /// Says what has become of it.
    pub(super) fn tell(self, result: &Result<Change, ZoneErrors>) {
        let outcome = self.outcome(result);
        self.send(outcome);
    }
}

/// Whether the ZONEMD records of a table were looked at, where the zone wants that.
fn was_digested(zone: &ZoneConfig, loaded: &Loaded) -> Result<(), String> {
    if zone.admission.zonemd == ZonemdPolicy::Ignore || loaded.zonemd.is_some() {
        return Ok(());
    }
    Err(format!("`zonemd` of {} has changed meanwhile; publish the table again", zone.name))
}

/// The publisher who has signed with this key; nothing where the zone needs no signature.
fn publisher_of(zone: &ZoneConfig, signer: Option<PublicKey>) -> Result<Option<Arc<Publisher>>, String> {
    let ZoneSource::Published(publishers) = &zone.source else { return Ok(None) };
    if publishers.is_empty() {
        return Ok(None);
    }
    let publisher = publishers.iter().find(|publisher| Some(publisher.key) == signer);
    let changed =
        || format!("the publishers of {} have changed meanwhile; publish the table again", zone.name);
    publisher.cloned().map(Some).ok_or_else(changed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, AdmissionConfig};
    use crate::zones::load::LoadedFrom;
    use std::time::Duration;
    use zone::master::NoIncludes;
    use zone::{CompileOptions, zonemd};

    #[test]
    fn a_table_that_nobody_has_digested_is_not_taken_where_that_is_wanted_by_then() {
        let name = config::apex("example").unwrap();
        let text = "@ 60 SOA ns h 1 1 2 3 4\n@ 60 NS ns\nns 60 A 192.0.2.1\n".to_owned();
        let records = zone::read(name.as_name(), "text", text, &mut NoIncludes, &mut |_| ()).zone.unwrap();
        let mut loaded = Loaded {
            table: Arc::new(zone::compile(records, &CompileOptions::default()).unwrap()),
            files: Vec::new(),
            from: LoadedFrom::Published,
            no_image: None,
            warnings: Vec::new(),
            zonemd: None,
            took: Duration::ZERO,
        };
        let zone = |zonemd| ZoneConfig {
            admission: Arc::new(AdmissionConfig { zonemd, ..AdmissionConfig::default() }),
            source: ZoneSource::Published(Arc::default()),
            ..ZoneConfig::of_file(name.clone(), "file".into(), config::Rotation::Off)
        };
        assert_eq!(was_digested(&zone(ZonemdPolicy::Ignore), &loaded), Ok(()));
        let refused = was_digested(&zone(ZonemdPolicy::Require), &loaded).unwrap_err();
        assert_eq!(refused, "`zonemd` of example. has changed meanwhile; publish the table again");
        assert!(was_digested(&zone(ZonemdPolicy::Verify), &loaded).is_err());
        // What it says is for the gate to judge.
        loaded.zonemd = Some(zonemd::Verdict::Absent);
        assert_eq!(was_digested(&zone(ZonemdPolicy::Require), &loaded), Ok(()));
    }
}
