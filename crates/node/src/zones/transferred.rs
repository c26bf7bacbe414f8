//! What a primary has sent, and what a secondary keeps beside an image: when a primary last confirmed it.

use super::image;
use super::state_dir::path_in;
use serde::{Deserialize, Serialize};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use table::Table;
use wire::NameBuf;
use zone::{Difference, Gatherer};

/// A version of a zone as a primary has sent it.
pub(crate) enum Sent {
    /// All its records.
    Zone(Box<Gatherer>),
    /// What leads to it from the version that stands, the oldest first.
    Differences(Arc<[Difference]>),
}

impl Sent {
    /// The differences, if that is what it is.
    pub(crate) fn differences(&self) -> Option<Arc<[Difference]>> {
        match self {
            Sent::Zone(_) => None,
            Sent::Differences(differences) => Some(Arc::clone(differences)),
        }
    }
}

/// A version of a zone to be checked and compiled.
pub(crate) struct Transferred {
    /// What was sent.
    pub(crate) sent: Sent,
    /// The version that stands, served or withheld.
    pub(crate) standing: Option<Arc<Table>>,
    /// Who sent it.
    pub(crate) primary: SocketAddr,
}

/// The folder in which it is kept, for each zone in a file of its own.
#[derive(Clone, Debug)]
pub(crate) struct Confirmations {
    tables: PathBuf,
}

/// What the file of a zone holds.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Confirmation {
    /// Seconds since 1970: the wall clock, since a restart may follow much later.
    confirmed: u64,
}

impl Confirmations {
    pub(super) fn in_folder(tables: PathBuf) -> Confirmations {
        Confirmations { tables }
    }

    /// How long ago a primary confirmed the stored image of a zone. Where that was lost, how long ago the image was
    /// written, which was then.
    ///
    /// A clock that was set back makes it younger; nothing here can tell.
    pub(crate) fn age(&self, zone: &NameBuf) -> Duration {
        let text = std::fs::read(path_in(&self.tables, zone, "transfer")).ok();
        let confirmation: Option<Confirmation> = text.and_then(|text| serde_json::from_slice(&text).ok());
        let at = match confirmation {
            Some(Confirmation { confirmed }) => {
                SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(confirmed))
            }
            None => std::fs::metadata(path_in(&self.tables, zone, "table"))
                .and_then(|table| table.modified())
                .ok(),
        };
        let age = at.map(|at| SystemTime::now().duration_since(at).unwrap_or_default());
        // What can't be told must not be served as if it were new.
        age.unwrap_or(Duration::MAX)
    }

    /// Remembers that a primary confirms the image of a zone now.
    ///
    /// # Errors
    /// Those of writing. After that the zone expires earlier than it should if the node is restarted, no more.
    pub(crate) fn confirm(&self, zone: &NameBuf) -> io::Result<()> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let text =
            serde_json::to_vec(&Confirmation { confirmed: now.as_secs() }).map_err(io::Error::other)?;
        // Not synced: after a crash of the machine an older one, or none, is as good.
        image::replace_soon(&path_in(&self.tables, zone, "transfer"), &text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn an_image_is_as_old_as_its_last_confirmation() {
        let folder = tempfile::tempdir().unwrap();
        let confirmations = Confirmations::in_folder(folder.path().to_owned());
        let zone = config::apex("example").unwrap();
        assert_eq!(confirmations.age(&zone), Duration::MAX, "nothing is known");
        let table = folder.path().join("example.table");
        std::fs::write(&table, "").unwrap();
        let hour = Duration::from_secs(3600);
        let written = SystemTime::now() - hour;
        std::fs::File::options().write(true).open(&table).unwrap().set_modified(written).unwrap();
        let age = confirmations.age(&zone);
        assert!(age >= hour && age < 2 * hour, "{age:?}: that of the image");
        confirmations.confirm(&zone).unwrap();
        assert!(confirmations.age(&zone) < Duration::from_secs(60));
        std::fs::write(folder.path().join("example.transfer"), "damaged").unwrap();
        assert!(confirmations.age(&zone) >= hour, "back to that of the image");
        std::fs::write(folder.path().join("example.transfer"), "{\"confirmed\":18446744073709551615}")
            .unwrap();
        assert_eq!(confirmations.age(&zone), Duration::MAX);
    }
}
