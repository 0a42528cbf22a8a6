//! Tests of the books. `METRICSD_TEST_LONG` tries a hundred times as many random worlds.

mod gauges;
mod judge;
mod model;
mod reconcile;
mod reset;
mod steps;
mod world;

use crate::archive::testing::Simulated;
use crate::archive::{Exact, IdentityKey, Known, OpenReport, Origin, SeriesKind, Settings, State};
use crate::books::{Books, SightedEntry, Sighting};

/// Small, so that a short life goes through many segments and checkpoints.
const SETTINGS: Settings = Settings {
    segment_len_bytes: 900,
    reserve_len_bytes: 1500,
    checkpoint_after_len_bytes: 4000,
    checkpoint_after_seconds: 1e9,
    backlog_len_max_bytes: 1 << 20,
};

/// A shard of a test: what it is called and what it holds.
#[derive(Debug, Clone)]
struct Shard {
    identity: IdentityKey,
    origin: Origin,
    birth: Option<f64>,
    entries: Vec<(String, f64, f64)>,
}

impl Shard {
    fn new(number: usize, kind: SeriesKind, entries: &[(&str, f64)]) -> Shard {
        Shard {
            identity: IdentityKey::new(format!("shard-{number}").as_bytes()).unwrap(),
            origin: Origin {
                file_name: format!("{}_{number}.db", kind.as_str()).into(),
                writer: number.to_string().into(),
                program: "trader".into(),
                kind,
            },
            birth: Some(100.0 + number as f64),
            entries: entries
                .iter()
                .map(|(key, value)| ((*key).to_owned(), *value, 0.0))
                .collect(),
        }
    }

    fn set(&mut self, at: usize, value: f64) {
        self.entries[at].1 = value;
    }

    fn sighted(&self) -> Vec<SightedEntry<'_>> {
        let entries = self.entries.iter();
        entries
            .map(|(key, value, timestamp)| SightedEntry {
                key: key.as_bytes(),
                value: *value,
                timestamp: *timestamp,
            })
            .collect()
    }

    fn sighting<'a>(&'a self, entries: &'a [SightedEntry<'a>]) -> Sighting<'a> {
        Sighting {
            identity: &self.identity,
            origin: &self.origin,
            birth_unix_seconds: self.birth,
            entries,
        }
    }

    /// Hands a sighting of it to `look`.
    fn seen<R>(&self, look: impl FnOnce(&Sighting<'_>) -> R) -> R {
        look(&self.sighting(&self.sighted()))
    }

    fn holds(&self, key: &str) -> Exact {
        let lanes = self.entries.iter().filter(|entry| entry.0 == key);
        lanes.map(|entry| entry.1).collect()
    }
}

/// A daemon with its state directory.
struct Desk {
    storage: Simulated,
    books: Books<Simulated>,
    boot: u32,
    now: f64,
}

impl Desk {
    fn new() -> Desk {
        let storage = Simulated::new();
        let (books, _) = Books::open(storage.clone(), SETTINGS, "boot-0", 1000.0).unwrap();
        Desk {
            storage,
            books,
            boot: 0,
            now: 1000.0,
        }
    }

    fn open(&mut self, storage: Simulated) -> OpenReport {
        let boot = format!("boot-{}", self.boot);
        let (books, report) = Books::open(storage.clone(), SETTINGS, &boot, self.now).unwrap();
        assert!(report.losses.is_empty(), "{report:?}");
        (self.storage, self.books) = (storage, books);
        report
    }

    /// The daemon is killed and opens the books again.
    fn is_killed(&mut self) -> OpenReport {
        self.now += 10.0;
        self.open(self.storage.process_death())
    }

    /// The machine loses power, and the daemon opens the books in the next boot.
    fn loses_power(&mut self) -> OpenReport {
        self.boot += 1;
        self.now += 10.0;
        self.open(self.storage.power_cut(0))
    }

    fn note(&mut self, shard: &Shard) -> usize {
        let all: Vec<usize> = (0..shard.entries.len()).collect();
        let now = self.now;
        let noted = shard.seen(|sighting| self.books.note(sighting, &all, now));
        noted.unwrap().resets
    }

    fn reconcile(&mut self, present: &[&Shard], lost_power: bool) -> crate::books::Reconciled {
        let entries: Vec<Vec<SightedEntry<'_>>> = present.iter().map(|it| it.sighted()).collect();
        let pairs = present.iter().zip(&entries);
        let sightings: Vec<Sighting<'_>> =
            pairs.map(|(it, entries)| it.sighting(entries)).collect();
        let found = self.books.reconcile(&sightings, lost_power, self.now);
        let found = found.unwrap();
        self.books.sync().unwrap();
        assert_eq!(self.books.take_oddities(), []);
        found
    }

    fn state<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&self.books.shared_state().read().unwrap())
    }

    fn known<R>(&self, shard: &Shard, look: impl FnOnce(Option<&Known>) -> R) -> R {
        self.state(|state| look(state.shard(&shard.identity)))
    }

    /// What is exposed of a counter while these shards are there.
    fn exposed(&self, key: &str, present: &[&Shard]) -> f64 {
        self.state(|state| {
            let files = present.iter().map(|it| (&it.identity, it.holds(key)));
            match state.keys().find(SeriesKind::Counter, key.as_bytes()) {
                Some(key) => state.exposed(key, files).value(),
                None => files.map(|(_, held)| held.value()).sum(),
            }
        })
    }

    fn start(&self, key: &str) -> Option<f64> {
        self.state(|state| {
            let key = state.keys().find(SeriesKind::Counter, key.as_bytes())?;
            state.start_unix_seconds(key)
        })
    }
}
