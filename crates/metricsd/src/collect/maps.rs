//! Maps of shards that are read again and again, within a budget.
//!
//! Invariant: there are never more maps, nor more mapped bytes, than the budget says; whoever gets none reads the file instead, and shows
//! the same. A map says nothing about a file by itself: only what was read and parsed is mapped. Must not open files.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use metricsd_shard::{Lost, ShardFile, ShardMap};

/// Most bytes that are mapped at a time. They are the files' own pages; what they cost is a table entry of 8 bytes for each 4 KiB.
const LEN_MAX_BYTES: usize = 4 << 30;

/// What the kernel lets a process have if it does not say (`vm.max_map_count`).
const USUAL_MAP_COUNT_MAX: usize = 65_530;

/// How much may be mapped, and how much is.
#[derive(Debug)]
pub(super) struct MapBudget {
    count_max: usize,
    len_max_bytes: usize,
    count: AtomicUsize,
    len_bytes: AtomicUsize,
}

/// A map that gives its share of the budget back when it is dropped.
#[derive(Debug)]
pub(super) struct KeptMap {
    map: ShardMap,
    budget: Arc<MapBudget>,
}

impl MapBudget {
    /// Half of the maps that the kernel lets a process have: the other half is for memory and for maps that were cut, which are two.
    pub(super) fn of_this_process() -> Arc<MapBudget> {
        let limit = fs::read_to_string("/proc/sys/vm/max_map_count").ok();
        let limit = limit.and_then(|text| text.trim().parse().ok());
        MapBudget::new(limit.unwrap_or(USUAL_MAP_COUNT_MAX) / 2, LEN_MAX_BYTES)
    }

    fn new(count_max: usize, len_max_bytes: usize) -> Arc<MapBudget> {
        Arc::new(MapBudget {
            count_max,
            len_max_bytes,
            count: AtomicUsize::new(0),
            len_bytes: AtomicUsize::new(0),
        })
    }

    /// Maps the first bytes of a file, if there is room for it, and if the system can.
    pub(super) fn map(self: &Arc<Self>, file: &ShardFile, len_bytes: usize) -> Option<KeptMap> {
        // Relaxed: two counts that nobody infers anything else from. Threads that take at once may each find the budget spent, which costs
        // one of them a map and never the budget.
        let len_bytes = ShardMap::len_bytes_for(len_bytes);
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let taken_bytes = self.len_bytes.fetch_add(len_bytes, Ordering::Relaxed);
        let is_over = count >= self.count_max || taken_bytes + len_bytes > self.len_max_bytes;
        let map = (!is_over).then(|| file.map(len_bytes).ok()).flatten();
        let Some(map) = map else {
            self.give_back(len_bytes);
            return None;
        };
        Some(KeptMap {
            map,
            budget: Arc::clone(self),
        })
    }

    fn give_back(&self, len_bytes: usize) {
        self.len_bytes.fetch_sub(len_bytes, Ordering::Relaxed);
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl KeptMap {
    pub(super) fn len_bytes(&self) -> usize {
        self.map.len_bytes()
    }

    /// As [`ShardMap::used_len_bytes`].
    pub(super) fn used_len_bytes(&mut self) -> usize {
        self.map.used_len_bytes()
    }

    /// As [`ShardMap::has_keys`].
    pub(super) fn has_keys(&mut self, offsets: &[u32], expected: &[u64]) -> bool {
        self.map.has_keys(offsets, expected)
    }

    /// Loads values, and their timestamps where these are wanted (as many as values; else none).
    ///
    /// # Errors
    /// As [`ShardMap::load`].
    pub(super) fn load(
        &mut self,
        offsets: &[u32],
        values: &mut [f64],
        timestamps: &mut [f64],
    ) -> Result<(), Lost> {
        if timestamps.is_empty() {
            self.map.load(offsets, values)
        } else {
            self.map.load_pairs(offsets, values, timestamps)
        }
    }
}

impl Drop for KeptMap {
    fn drop(&mut self) {
        self.budget.give_back(self.map.len_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use metricsd_shard::file_system_supports_leases;

    use super::*;

    #[test]
    fn nobody_gets_a_map_beyond_the_budget_and_what_is_dropped_can_be_had_again() {
        let usual = tempfile::tempdir().unwrap();
        let is_mapped = file_system_supports_leases(fs::File::open(&usual).unwrap().as_fd());
        let folder = match is_mapped {
            Ok(_) => usual,
            Err(_) => tempfile::tempdir_in("/dev/shm").unwrap(),
        };
        let directory = fs::File::open(folder.path()).unwrap();
        fs::write(folder.path().join("counter_1.db"), [0; 20_000]).unwrap();
        let file = ShardFile::open_at(directory.as_fd(), "counter_1.db").unwrap();
        let by_count = MapBudget::new(2, usize::MAX);
        let mut maps: Vec<_> = (0..3).map(|_| by_count.map(&file, 100)).collect();
        assert_eq!(
            maps.iter().map(Option::is_some).collect::<Vec<_>>(),
            [true, true, false]
        );
        maps.clear();
        assert!(by_count.map(&file, 100).is_some());
        let by_len = MapBudget::new(10, 20_480);
        let first = by_len.map(&file, 20_000).expect("as much as there may be");
        assert!(by_len.map(&file, 1).is_none());
        drop(first);
        assert!(by_len.map(&file, 1).is_some());
        assert_eq!(by_len.len_bytes.load(Ordering::Relaxed), 0);
    }
}
