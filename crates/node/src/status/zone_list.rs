//! A list of zones that many hold while one changes it.

use super::ZoneStatus;
use std::sync::Arc;

/// So many zones are a chunk. A change copies the pointers of one chunk, and those of the list to its chunks, where somebody holds
/// what was there: with 100,000 zones 256 and 391. With larger or smaller chunks one of the two grows.
const CHUNK_LEN: usize = 256;

/// The zones as they are at one moment, in the order of the configuration. A copy costs next to nothing.
#[derive(Clone, Default)]
pub(crate) struct ZoneList {
    /// All of the same length but for the last.
    chunks: Arc<Vec<Arc<Vec<Arc<ZoneStatus>>>>>,
}

impl ZoneList {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        let Some((last, full)) = self.chunks.split_last() else { return 0 };
        full.len() * CHUNK_LEN + last.len()
    }

    /// One of them.
    pub(crate) fn get(&self, index: usize) -> Option<&Arc<ZoneStatus>> {
        self.chunks.get(index / CHUNK_LEN)?.get(index % CHUNK_LEN)
    }

    /// Those from an index on.
    pub(crate) fn from(&self, index: usize) -> impl Iterator<Item = &ZoneStatus> {
        (index..self.len()).map_while(|index| self.get(index)).map(|zone| &**zone)
    }

    /// Puts a zone in the place of another, which it gives, or at the end.
    pub(crate) fn put(&mut self, index: usize, zone: Arc<ZoneStatus>) -> Option<Arc<ZoneStatus>> {
        let chunks = Arc::make_mut(&mut self.chunks);
        if index / CHUNK_LEN == chunks.len() {
            chunks.push(Arc::default());
        }
        let chunk = Arc::make_mut(chunks.get_mut(index / CHUNK_LEN)?);
        match chunk.get_mut(index % CHUNK_LEN) {
            Some(place) => Some(std::mem::replace(place, zone)),
            None => {
                chunk.push(zone);
                None
            }
        }
    }
}

impl FromIterator<ZoneStatus> for ZoneList {
    fn from_iter<I: IntoIterator<Item = ZoneStatus>>(zones: I) -> ZoneList {
        let mut list = ZoneList::default();
        for (index, zone) in zones.into_iter().enumerate() {
            list.put(index, Arc::new(zone));
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::ZoneState;

    fn zone(name: usize) -> ZoneStatus {
        ZoneStatus {
            name: name.to_string(),
            file: String::new(),
            state: ZoneState::Ok,
            critical: false,
            served: None,
            error: None,
            notified: Vec::new(),
            copy: None,
            journal: None,
            gate: None,
        }
    }

    #[test]
    fn who_holds_a_list_sees_no_change() {
        let names = |list: &ZoneList| list.from(0).map(|zone| zone.name.clone()).collect::<Vec<_>>();
        let mut list: ZoneList = (0..1000).map(zone).collect();
        let before = list.clone();
        let replaced = list.put(700, Arc::new(zone(7))).unwrap();
        assert_eq!((replaced.name.as_str(), list.len()), ("700", 1000));
        assert!(list.put(1000, Arc::new(zone(1000))).is_none());
        assert_eq!(list.len(), 1001);
        assert_eq!(names(&before), (0..1000).map(|name| name.to_string()).collect::<Vec<_>>());
        let mut expected = names(&before);
        expected[700] = "7".to_owned();
        expected.push("1000".to_owned());
        assert_eq!(names(&list), expected);
        assert_eq!(list.from(999).map(|zone| zone.name.as_str()).collect::<Vec<_>>(), ["999", "1000"]);
        assert!(list.get(1001).is_none() && list.from(5000).next().is_none());
    }

    #[test]
    fn a_change_copies_one_chunk() {
        let mut list: ZoneList = (0..1000).map(zone).collect();
        let before = list.clone();
        list.put(700, Arc::new(zone(7)));
        let shared = list.chunks.iter().zip(&*before.chunks).filter(|(now, then)| Arc::ptr_eq(now, then));
        assert_eq!((shared.count(), list.chunks.len()), (3, 4));
    }
}
