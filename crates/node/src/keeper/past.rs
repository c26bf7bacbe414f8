//! What was served of a zone before, and when: by that it is known since when nodes differ.

use super::Entry;
use crate::config::ZoneConfig;
use crate::status::EarlierVersion;
use crate::zones::load::LoadedFrom;
use crate::zones::state_dir::StateDir;
use std::time::{Duration, SystemTime};

/// How many versions are known of at most. Those of a zone that changes each second reach back a week then with each about three times as long ago as
/// the next, for 300 octets.
const KNOWN_MAX: usize = 12;

/// Versions that were served, the first first.
#[derive(Default)]
pub(super) struct Past(Vec<EarlierVersion>);

impl Past {
    /// Another version takes the place of this one, which was served from then on. Where there are too many, the one goes whose
    /// neighbours are closest to each other for how long ago that is: so the first stays, and of the last most do.
    pub(super) fn add(&mut self, serial: u32, from: SystemTime, now: SystemTime) {
        let seconds = |time: SystemTime| {
            time.duration_since(SystemTime::UNIX_EPOCH).as_ref().map_or(0, Duration::as_secs)
        };
        let now = seconds(now);
        self.0.push(EarlierVersion { serial, from: seconds(from), until: now });
        if self.0.len() <= KNOWN_MAX {
            return;
        }
        let ago = |version: &EarlierVersion| now.saturating_sub(version.until) + 1;
        // What is between two thirds of an hour and an hour ago is to be had as one version, and so is what is between two seconds and three.
        let closeness = |at: usize| ago(&self.0[at - 1]) as f64 / ago(&self.0[at + 1]) as f64;
        let inner = 1..self.0.len() - 1;
        if let Some(closest) = inner.min_by(|one, other| closeness(*one).total_cmp(&closeness(*other))) {
            self.0.remove(closest);
        }
    }

    /// All that are known.
    pub(super) fn versions(&self) -> Vec<EarlierVersion> {
        self.0.clone()
    }
}

/// Since when a version was served that an earlier run has left, as far as its files tell: what was stored then was served by then.
pub(super) fn left_since(
    state: Option<&StateDir>,
    zone: &ZoneConfig,
    from: LoadedFrom,
) -> Option<SystemTime> {
    let file = match from {
        LoadedFrom::Image => state?.image(&zone.name),
        LoadedFrom::Journal(..) => state?.journal(&zone.name),
        LoadedFrom::MasterFile
        | LoadedFrom::Published
        | LoadedFrom::Configuration
        | LoadedFrom::Transfer(_) => return None,
    };
    std::fs::metadata(file).and_then(|metadata| metadata.modified()).ok()
}

impl Entry {
    /// Notes since when what is served was served by an earlier run, if it was.
    pub(super) fn has_served_since(&mut self, since: Option<SystemTime>) {
        if let (Some(served), Some(since)) = (&mut self.served, since) {
            served.since = since.min(served.since);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_ago_the_fewer_are_known() {
        let at = |second: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        let mut past = Past::default();
        let week = 7 * 86_400;
        for second in 0..week {
            past.add(second as u32, at(second), at(second + 1));
        }
        let known = past.versions();
        assert_eq!((known.len(), known[0].serial), (KNOWN_MAX, 0));
        let ago: Vec<u64> = known.iter().map(|version| week - version.until + 1).collect();
        assert_eq!(ago.last(), Some(&1));
        assert!(ago.is_sorted_by(|before, after| before > after), "{ago:?}");
        for pair in ago.windows(2) {
            assert!(pair[0] <= 12 * pair[1], "{ago:?}");
        }
    }
}
