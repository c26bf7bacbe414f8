//! Catalog zones that are followed: their members come and go as if somebody had configured them (RFC 9432).
//!
//! Which members there are is decided by [`Ownership`]; here catalogs are read when they have changed, and what was decided
//! is done: entries, images, directory, who may transfer what.

use super::{Entry, Job, Keeper, Moment};
use crate::config::{FollowConfig, Rotation, ZoneConfig};
use crate::progress::Progress;
use crate::status::{CatalogStatus, IgnoredStatus, MemberStatus};
use crate::zones::load::Images;
use crate::zones::members;
use crate::zones::parallel::Priority;
use std::collections::{HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use table::{ContentDigest, Table};
use tokio::sync::oneshot;
use transfer::catalog::{
    self, Approval, Catalog, GroupText, Held, Ignored, Ownership, Settled, View, ZoneName,
};
use wire::NameBuf;

/// How many zones of a kind are named in the log when a catalog has changed; `ctl catalog status` names all.
const NAMED_MAX: usize = 20;

/// The time over which removals are counted that nobody has approved: a catalog that is emptied in small steps is one that is emptied.
const REMOVALS_WITHIN: Duration = Duration::from_secs(3600);

/// A request to remove what is held.
pub(crate) struct ApprovalRequest {
    /// Of which catalog.
    pub(crate) zone: NameBuf,
    /// How many that are, by what whoever approves has seen.
    pub(crate) removals: usize,
    /// Gets what came of it, in words.
    pub(crate) reply: oneshot::Sender<Result<String, String>>,
}

/// What is known of catalogs.
#[derive(Default)]
pub(super) struct Catalogs {
    ownership: Ownership,
    /// By catalog, what its last version says.
    known: HashMap<ZoneName, Known>,
    /// By catalog, what was last held and ignored: only what is new is logged.
    told: HashMap<ZoneName, Told>,
    /// By catalog, when members have left it without approval.
    left: HashMap<ZoneName, VecDeque<Instant>>,
    /// Of the last member that was added.
    incarnation: u64,
}

#[derive(Default, PartialEq, Eq)]
struct Told {
    held: Vec<ZoneName>,
    ignored: Vec<(ZoneName, Ignored)>,
}

/// A version of a catalog.
struct Known {
    digest: ContentDigest,
    serial: u32,
    read: Result<Catalog, String>,
}

/// A catalog as it is configured, and its version.
struct Followed {
    name: ZoneName,
    config: Arc<FollowConfig>,
    table: Option<Arc<Table>>,
    has_expired: bool,
}

impl Keeper {
    /// Adds the members that were there before, and those that the catalogs have now.
    pub(super) fn begin_catalogs(&mut self, progress: &Progress) {
        if let Some(state) = &self.state {
            let file = state.members_file();
            match members::read(&file) {
                Ok(ownership) => self.catalogs.ownership = ownership,
                Err(error) => {
                    tracing::error!(
                        "{}: which zones are here for catalogs can't be read, so that this is begun with what the catalogs say \
                         now: {error}",
                        file.display()
                    );
                    // It may be all that knows of members whose catalog is broken now, and is not to be written over.
                    members::set_aside(&file);
                }
            }
        }
        let (_, jobs) = self.settle(None, Moment::Start);
        self.load(&jobs, Priority::Normal, progress, |_, _| {});
        self.tell_catalogs();
    }

    /// Takes in what the catalogs say now.
    pub(super) fn follow_catalogs(&mut self) {
        self.follow_with(None);
    }

    /// Removes what is held.
    pub(super) fn approve(&mut self, request: ApprovalRequest) {
        let ApprovalRequest { zone, removals, reply } = request;
        let name = ZoneName::from(zone.as_name());
        let is_followed = self.followed().iter().any(|followed| followed.name == name);
        let held = self.catalogs.told.get(&name).map_or(0, |told| told.held.len());
        let said = if !is_followed {
            Err(format!(
                "no catalog {name} is followed here; `starling ctl catalog status` lists those that are"
            ))
        } else if held == 0 {
            Err(format!("no removals of {name} are held"))
        } else if held != removals {
            Err(format!(
                "{held} removals of {name} are held now, and not {removals}: `starling ctl catalog status {name}` shows which"
            ))
        } else {
            tracing::warn!("catalog {name}: the removal of {held} members is approved");
            let settled = self.follow_with(Some((&name, removals)));
            Ok(format!("{} members of {name} are removed", settled.removed.len()))
        };
        // Whoever asked may have gone away.
        let _gone = reply.send(said);
    }

    fn follow_with(&mut self, approved: Option<(&ZoneName, usize)>) -> Settled {
        let has_members = !self.catalogs.ownership.members().is_empty();
        if !has_members && self.followed().is_empty() {
            self.tell_catalogs();
            return Settled::default();
        }
        self.board.set_reloading(true);
        let (settled, jobs) = self.settle(approved, Moment::Running);
        self.load(&jobs, Priority::Idle, &Progress::nowhere(), |_, _| {});
        self.list_more();
        self.tell_copies();
        self.tell_catalogs();
        self.serve();
        self.board.set_reloading(false);
        self.hand_over();
        settled
    }

    /// The catalogs that are followed, in the order of the configuration.
    fn followed(&self) -> Vec<Followed> {
        let followed = self.entries.iter().filter_map(|entry| {
            let config = Arc::clone(entry.zone.follow.as_ref()?);
            let table = self.publisher.table(entry.slot).or(entry.withheld.as_ref()).cloned();
            let name = entry.zone.name.as_name().into();
            Some(Followed { name, config, table, has_expired: entry.expired })
        });
        followed.collect()
    }

    /// Decides which members there are and makes it so; gives what has come of it, and the zones that are to be loaded.
    fn settle(&mut self, approved: Option<(&ZoneName, usize)>, moment: Moment) -> (Settled, Vec<Job>) {
        let followed = self.followed();
        let configured = self.entries.iter().filter(|entry| entry.incarnation == 0);
        let configured: HashSet<ZoneName> =
            configured.map(|entry| entry.zone.name.as_name().into()).collect();
        let catalogs = &mut self.catalogs;
        catalogs.look_at(&followed);
        let views: Vec<View<'_>> = followed
            .iter()
            .map(|followed| View {
                name: followed.name.clone(),
                catalog: catalogs
                    .known
                    .get(&followed.name)
                    .and_then(|known| known.read.as_ref().ok())
                    .filter(|_| !followed.has_expired),
                limit: followed.config.limit,
                left: catalogs.left.get(&followed.name).map_or(0, VecDeque::len),
                within: &followed.config.within,
                approval: match approved {
                    Some((name, removals)) if *name == followed.name => Approval::Given(removals),
                    _ => Approval::Missing,
                },
            })
            .collect();
        let settled = catalogs.ownership.settle(&views, |zone| configured.contains(zone));
        drop(views);
        catalogs.count_removals(&settled, approved.map(|(name, _)| name), &configured);
        catalogs.tell(&followed, &settled);
        if settled.is_change() {
            self.drop_members(&settled, &configured, moment);
            self.archive.store_members(&self.catalogs.ownership);
        }
        let jobs = self.make_members(&followed, moment);
        (settled, jobs)
    }

    /// Takes members out of service that are gone or are begun anew, with all that there is of them.
    fn drop_members(&mut self, settled: &Settled, configured: &HashSet<ZoneName>, moment: Moment) {
        let removed = settled.removed.iter().map(|(zone, _)| zone);
        let removed: HashSet<&ZoneName> = removed.filter(|zone| !configured.contains(zone)).collect();
        let reset: HashSet<&ZoneName> = settled.reset.iter().map(|(zone, _)| zone).collect();
        if moment == Moment::Start {
            // Nothing is served, and they are loaded next: a zone that begins anew must not begin with what another had.
            removed.iter().chain(&reset).for_each(|zone| self.forget_image(zone));
            return;
        }
        for (zones, why) in [(removed, "no longer in its catalog"), (reset, "begun anew for its catalog")] {
            let is_one = |entry: &Entry| {
                entry.incarnation != 0 && zones.contains(&ZoneName::from(entry.zone.name.as_name()))
            };
            self.remove(is_one, why);
        }
    }

    fn forget_image(&self, zone: &ZoneName) {
        let Some(state) = &self.state else { return };
        let of_name = ZoneConfig::of_file(zone.into(), PathBuf::new(), Rotation::default());
        if let Err(error) = state.remove(&of_name) {
            tracing::warn!("zone {zone}: its image could not be removed from the state folder: {error}");
        }
    }

    /// Gives every member an entry made from its template, and those that have one what their template says now.
    fn make_members(&mut self, followed: &[Followed], moment: Moment) -> Vec<Job> {
        let configs: HashMap<&ZoneName, &FollowConfig> =
            followed.iter().map(|followed| (&followed.name, &*followed.config)).collect();
        let members = self.catalogs.ownership.members().iter();
        let zones: Vec<(Option<usize>, ZoneConfig)> = members
            .filter_map(|(zone, held)| {
                let template = configs.get(&held.catalog)?.template_for(&held.groups);
                Some((self.entries.position(&zone.into()), template.zone(zone)))
            })
            .collect();
        self.transfers.set_members(zones.iter().map(|(_, zone)| zone));
        let mut jobs = Vec::new();
        for (index, zone) in zones {
            match index {
                Some(index) if self.entries[index].zone == zone => {}
                Some(index) => self.configure_entry(index, zone),
                None => {
                    let slot = self.take_slot();
                    self.catalogs.incarnation += 1;
                    // As for zones of the configuration: later the names lead to it only when it is there.
                    let mut entry = self.new_entry(zone, slot, moment == Moment::Start);
                    entry.incarnation = self.catalogs.incarnation;
                    let index = self.entries.push(entry);
                    jobs.push(self.job(index, Images::Use));
                }
            }
        }
        jobs
    }

    /// Tells how the catalogs are.
    fn tell_catalogs(&self) {
        let followed = self.followed();
        let mut members: HashMap<&ZoneName, Vec<(&ZoneName, &Held)>> = HashMap::new();
        for (zone, held) in self.catalogs.ownership.members() {
            members.entry(&held.catalog).or_default().push((zone, held));
        }
        let statuses = followed.iter().map(|followed| {
            let of_it = members.remove(&followed.name).unwrap_or_default();
            self.catalogs.status(followed, &of_it)
        });
        self.board.set_catalogs(statuses.collect());
    }
}

impl Catalogs {
    /// Reads the catalogs that have changed.
    fn look_at(&mut self, followed: &[Followed]) {
        let names: HashSet<&ZoneName> = followed.iter().map(|followed| &followed.name).collect();
        self.known.retain(|name, _| names.contains(name));
        self.told.retain(|name, _| names.contains(name));
        let now = Instant::now();
        self.left.retain(|name, left| {
            left.retain(|at| now.duration_since(*at) < REMOVALS_WITHIN);
            names.contains(name) && !left.is_empty()
        });
        for Followed { name, table, .. } in followed {
            let Some(table) = table else {
                self.known.remove(name);
                continue;
            };
            if self.known.get(name).is_some_and(|known| known.digest == table.content()) {
                continue;
            }
            let read = catalog::read(table).map_err(|error| error.to_string());
            if let Err(error) = &read {
                tracing::error!(
                    "catalog {name}: serial {} is broken, and its members stay as they are: {error}",
                    table.serial()
                );
            }
            self.known.insert(name.clone(), Known { digest: table.content(), serial: table.serial(), read });
        }
    }

    /// Counts what has left a catalog, unless that was approved, or is configured by hand now.
    fn count_removals(
        &mut self,
        settled: &Settled,
        approved: Option<&ZoneName>,
        configured: &HashSet<ZoneName>,
    ) {
        let now = Instant::now();
        for (zone, catalog) in &settled.removed {
            if approved != Some(catalog) && !configured.contains(zone) {
                self.left.entry(catalog.clone()).or_default().push_back(now);
            }
        }
    }

    /// Logs what has changed.
    fn tell(&mut self, followed: &[Followed], settled: &Settled) {
        for (zone, from, to) in &settled.moved {
            tracing::info!("zone {zone}: has moved from catalog {from} to {to}");
        }
        for (what, zones) in [
            ("new for a catalog", settled.added.iter().collect::<Vec<_>>()),
            ("no longer in their catalogs", settled.removed.iter().map(|(zone, _)| zone).collect()),
            ("begun anew", settled.reset.iter().map(|(zone, _)| zone).collect()),
            ("in other groups", settled.regrouped.iter().collect()),
        ] {
            if !zones.is_empty() {
                tracing::info!("zones {what}: {}", named(zones.into_iter()));
            }
        }
        for ((followed, held), ignored) in followed.iter().zip(&settled.held).zip(&settled.ignored) {
            let name = &followed.name;
            let now = Told { held: held.clone(), ignored: ignored.clone() };
            let before = self.told.entry(name.clone()).or_default();
            if !held.is_empty() && before.held != now.held {
                tracing::error!(
                    "catalog {name}: {} members are listed no longer, which is more than may go within an hour; they stay \
                     until `starling ctl catalog approve {name} {}`: {}",
                    held.len(),
                    held.len(),
                    named(held.iter())
                );
            }
            for (zone, why) in ignored.iter().filter(|one| !before.ignored.contains(one)).take(NAMED_MAX) {
                tracing::error!("catalog {name}: its member {zone} is ignored: {why}");
            }
            *before = now;
        }
    }

    fn status(&self, followed: &Followed, members: &[(&ZoneName, &Held)]) -> CatalogStatus {
        let known = self.known.get(&followed.name);
        let error = match known.map(|known| &known.read) {
            None => Some("there is no good version of the zone".to_owned()),
            Some(_) if followed.has_expired => Some("it has expired".to_owned()),
            Some(Err(error)) => Some(error.clone()),
            Some(Ok(_)) => None,
        };
        let member = |(zone, held): &(&ZoneName, &Held)| MemberStatus {
            zone: zone.to_string(),
            label: GroupText(&held.label).to_string(),
            groups: held.groups.iter().map(|group| GroupText(group).to_string()).collect(),
            template: followed.config.template_for(&held.groups).name.clone(),
        };
        let told = self.told.get(&followed.name);
        let ignored = told.iter().flat_map(|told| &told.ignored);
        CatalogStatus {
            name: followed.name.to_string(),
            serial: known.map(|known| known.serial),
            error,
            members: members.iter().map(member).collect(),
            held: told.iter().flat_map(|told| &told.held).map(ToString::to_string).collect(),
            ignored: ignored
                .map(|(zone, why)| IgnoredStatus { zone: zone.to_string(), why: why.to_string() })
                .collect(),
        }
    }
}

/// Some of the zones, and how many more there are.
fn named<'z>(zones: impl ExactSizeIterator<Item = &'z ZoneName>) -> String {
    let more = zones.len().saturating_sub(NAMED_MAX);
    let mut text = zones.take(NAMED_MAX).map(ToString::to_string).collect::<Vec<_>>().join(" ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}
