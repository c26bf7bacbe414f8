//! Catalog zones as they are configured: those that this node follows, and what their members are made from.

use super::{AdmissionConfig, Rotation, Secondary, SecondaryConfig, ZoneConfig, ZoneSource};
use std::sync::Arc;
use transfer::catalog::{RemovalLimit, ZoneName};
use transfer::outgoing::notify::Target;

/// The most templates: more than anybody has kinds of zones.
pub(crate) const TEMPLATES_MAX: usize = 1024;
/// The most groups of a catalog that have templates of their own, and the most names that it is limited to.
pub(crate) const GROUPS_MAX: usize = 1024;

/// What zones that a catalog brings are made from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Template {
    /// What it is called.
    pub(crate) name: String,
    /// How its zones are kept as copies.
    pub(crate) secondary: Arc<SecondaryConfig>,
    /// Whether the records of a set rotate from answer to answer.
    pub(crate) rotation: Rotation,
    /// Whether the node is no good without such a zone.
    pub(crate) critical: bool,
    /// What their versions have to pass.
    pub(crate) admission: Arc<AdmissionConfig>,
    /// Who may transfer them.
    pub(crate) secondaries: Vec<Secondary>,
    /// Who is told when they have changed.
    pub(crate) notify: Vec<Target>,
    /// Whether the pools count that their records say.
    pub(crate) pool_records: bool,
}

impl Template {
    /// A zone made from it.
    pub(crate) fn zone(&self, name: &ZoneName) -> ZoneConfig {
        ZoneConfig {
            name: name.into(),
            source: ZoneSource::Primaries(Arc::clone(&self.secondary)),
            rotation: self.rotation,
            critical: self.critical,
            admission: Arc::clone(&self.admission),
            secondaries: self.secondaries.clone(),
            notify: self.notify.clone(),
            follow: None,
            // Each zone has a key of its own.
            signing: None,
            pool_records: self.pool_records,
        }
    }
}

/// How a catalog is followed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct FollowConfig {
    /// What members are made from that are in no group, or in none of these.
    pub(crate) template: Arc<Template>,
    /// What members of groups are made from.
    pub(crate) groups: Vec<(Box<[u8]>, Arc<Template>)>,
    /// How many members may leave it at once.
    pub(crate) limit: RemovalLimit,
    /// Names that members have to be at or below; any will do where there are none.
    pub(crate) within: Vec<ZoneName>,
}

impl FollowConfig {
    /// All that members are made from.
    pub(crate) fn templates(&self) -> impl Iterator<Item = &Template> + Clone {
        self.groups.iter().map(|(_, template)| template).chain([&self.template]).map(Arc::as_ref)
    }

    /// What a member of these groups is made from: the first group that has a template says.
    pub(crate) fn template_for(&self, groups: &[Box<[u8]>]) -> &Arc<Template> {
        let template =
            |group| self.groups.iter().find(|(name, _)| name == group).map(|(_, template)| template);
        groups.iter().find_map(template).unwrap_or(&self.template)
    }
}
