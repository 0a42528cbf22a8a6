//! A directory of shards, a state directory on another file system, and what was ever counted.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use metricsd_shard::{HEADER_LEN_BYTES, encode_entry, encode_header, original_of_retiring};
use metricsd_shard::{ShardName, parse_from, read_value, value_offset_bytes};

use super::shelf_double::{Double, File, Writers};
use crate::archive::testing::Simulated;
use crate::archive::{Exact, IdentityKey, Origin, Phase, SeriesKind, Settings, Storage};
use crate::books::{Books, SightedEntry, Sighting};
use crate::retire::{
    Candidate, GroupOutcome, LingerOutcome, Lingering, Step, linger, retire_group,
};

/// The series of the tests, in a counter's shard.
pub(super) const ORDERS: &[u8] = br#"["orders", "orders_total", {}, "Orders."]"#;

const NOW: f64 = 1_800_000_000.0;

/// The two directories, and the truth.
pub(super) struct World {
    pub(super) shards: Simulated,
    pub(super) state: Simulated,
    pub(super) writers: Writers,
    /// What was ever counted.
    pub(super) counted: f64,
    boot: u32,
}

/// A daemon on them.
pub(super) struct Daemon {
    pub(super) books: Mutex<Books<Simulated>>,
    pub(super) shelf: Double,
}

impl World {
    pub(super) fn new() -> World {
        World {
            shards: Simulated::new(),
            state: Simulated::new(),
            writers: Writers::default(),
            counted: 0.0,
            boot: 0,
        }
    }

    /// A world with these counters, each in a shard of its own and on the medium.
    pub(super) fn with_counters(values: &[f64]) -> World {
        let mut world = World::new();
        for (index, value) in values.iter().enumerate() {
            world.add(&format!("counter_{}.db", index + 1), ORDERS, *value, 0.0);
            world.counted += value;
        }
        world
    }

    /// A shard with one entry.
    pub(super) fn add(&self, name: &str, key: &[u8], value: f64, timestamp: f64) -> File {
        let file = self.shards.create(name).unwrap();
        let entry = encode_entry(key, value, timestamp);
        let mut bytes = encode_header(HEADER_LEN_BYTES + entry.len()).to_vec();
        bytes.extend(entry);
        self.shards.append(&file, &bytes).unwrap();
        self.shards.sync_file(&file).unwrap();
        self.shards.sync_dir().unwrap();
        let inode = self.shards.inode(name).unwrap();
        File { open: file, inode }
    }

    /// Stores a value of [`ORDERS`], as through a mapping: it is not on the medium.
    pub(super) fn store(shards: &Simulated, file: &File, value: f64) {
        let offset = HEADER_LEN_BYTES + value_offset_bytes(ORDERS.len());
        shards.store(&file.open, offset, &value.to_le_bytes());
    }

    /// The value of [`ORDERS`] in a file.
    pub(super) fn value(shards: &Simulated, file: &File) -> f64 {
        let offset = HEADER_LEN_BYTES + value_offset_bytes(ORDERS.len());
        read_value(&shards.contents(&file.open), offset).0
    }

    /// All shards in the directory as candidates, whatever they are called.
    pub(super) fn candidates(&self) -> Vec<Candidate<File>> {
        let candidate = |file_name: String| {
            let original = original_of_retiring(&file_name).unwrap_or(&file_name);
            let name = ShardName::parse(original).unwrap();
            let (kind, _) = original.rsplit_once('_').unwrap();
            let inode = self.shards.inode(&file_name).unwrap();
            let operations = self.shards.process_death();
            let open = operations.open_append(&file_name).unwrap();
            Candidate {
                identity: IdentityKey::new(&inode.to_le_bytes()).unwrap(),
                origin: Origin {
                    file_name: original.into(),
                    writer: name.id.as_str().into(),
                    program: "".into(),
                    kind: SeriesKind::from_name(kind).unwrap(),
                },
                file: File { open, inode },
                file_name,
                birth_unix_seconds: Some(NOW - 100.0),
                ended_at_unix_seconds: NOW,
                is_adopted: false,
            }
        };
        self.shards.names().into_iter().map(candidate).collect()
    }

    /// Starts a daemon: syncs the directory, opens the books and reconciles.
    pub(super) fn start(&mut self, lost_power: bool) -> Daemon {
        self.boot += u32::from(lost_power);
        let mut shelf = Double::new(&self.shards, &self.writers);
        crate::retire::Shelf::sync(&mut shelf).unwrap();
        let boot = self.boot.to_string();
        let settings = Settings::default();
        let (books, report) = Books::open(self.state.clone(), settings, &boot, NOW).unwrap();
        assert!(report.losses.is_empty(), "{:?}", report.losses);
        assert_eq!(report.may_have_lost_power(), lost_power);
        let books = Mutex::new(books);
        let candidates = self.candidates();
        self.with_sightings(&candidates, |sightings| {
            let mut books = books.lock().unwrap();
            books.reconcile(sightings, lost_power, NOW).unwrap();
            books.sync().unwrap();
        });
        Daemon { books, shelf }
    }

    fn with_sightings(&self, candidates: &[Candidate<File>], act: impl FnOnce(&[Sighting<'_>])) {
        let contents: Vec<Vec<u8>> = candidates
            .iter()
            .map(|candidate| self.shards.contents(&candidate.file.open))
            .collect();
        let entries: Vec<Vec<SightedEntry<'_>>> =
            contents.iter().map(|bytes| sighted(bytes)).collect();
        let sightings: Vec<Sighting<'_>> = candidates
            .iter()
            .zip(&entries)
            .map(|(candidate, entries)| Sighting {
                identity: &candidate.identity,
                origin: &candidate.origin,
                birth_unix_seconds: candidate.birth_unix_seconds,
                entries,
            })
            .collect();
        act(&sightings);
    }

    /// Notes everything, and syncs that.
    pub(super) fn note(&self, daemon: &Daemon) {
        let candidates = self.candidates();
        self.with_sightings(&candidates, |sightings| {
            let mut books = daemon.books.lock().unwrap();
            for sighting in sightings {
                let all: Vec<usize> = (0..sighting.entries.len()).collect();
                books.note(sighting, &all, NOW).unwrap();
            }
            books.sync().unwrap();
        });
    }

    /// What is exposed of [`ORDERS`]: the archive, and what each file that has a name, or is still in the index without one,
    /// holds beyond.
    pub(super) fn exposed(&self, daemon: &Daemon, nameless: &[Candidate<File>]) -> f64 {
        let state = daemon.books.lock().unwrap().shared_state();
        let state = state.read().unwrap();
        let named = self.candidates();
        let files = named.iter().chain(nameless);
        let held: Vec<(IdentityKey, Exact)> = files
            .filter(|candidate| candidate.origin.kind == SeriesKind::Counter)
            .map(|candidate| {
                let mut sum = Exact::default();
                sum.add(World::value(&self.shards, &candidate.file));
                (candidate.identity.clone(), sum)
            })
            .collect();
        match state.keys().find(SeriesKind::Counter, ORDERS) {
            Some(key) => state
                .exposed(key, held.iter().map(|(key, sum)| (key, sum.clone())))
                .value(),
            None => held.iter().map(|(_, sum)| sum.value()).sum(),
        }
    }

    /// What the death of the daemon leaves.
    pub(super) fn after_process_death(&self) -> World {
        World {
            shards: self.shards.process_death(),
            state: self.state.process_death(),
            writers: Writers::default(),
            counted: self.counted,
            boot: self.boot,
        }
    }

    /// What a power cut leaves, of two media by two seeds.
    pub(super) fn after_power_cut(&self, shards_seed: u64, state_seed: u64) -> World {
        World {
            shards: self.shards.power_cut(shards_seed),
            state: self.state.power_cut(state_seed),
            writers: Writers::default(),
            counted: self.counted,
            boot: self.boot,
        }
    }

    /// Starts, and compares; retires everything, and compares; and nothing is left but the archive.
    pub(super) fn finish(&mut self, lost_power: bool, what: &str) {
        let mut daemon = self.start(lost_power);
        assert_eq!(self.exposed(&daemon, &[]), self.counted, "at start: {what}");
        let outcome = daemon.retire(self.candidates(), &|_| {});
        assert!(outcome.troubles.is_empty(), "{:?}", outcome.troubles);
        assert!(outcome.put_off.is_empty(), "{what}: {:?}", outcome.put_off);
        assert_eq!(self.exposed(&daemon, &[]), self.counted, "retired: {what}");
        let lingering = daemon.linger(outcome.lingering, 60.0, &|_| {}).lingering;
        assert!(lingering.is_empty(), "{what}");
        assert_eq!(self.shards.names(), [] as [String; 0], "{what}");
        assert_eq!(daemon.known_count(), 0, "{what}");
        assert_eq!(
            self.exposed(&daemon, &[]),
            self.counted,
            "forgotten: {what}"
        );
    }

    /// No shard that the archive holds stands under a name that a writer would open.
    pub(super) fn assert_absorbed_are_renamed(&self, daemon: &Daemon, what: &str) {
        for candidate in self.candidates() {
            if daemon.phase(&candidate.identity) == Some(Phase::Absorbed) {
                let name = &candidate.file_name;
                assert!(original_of_retiring(name).is_some(), "{name}: {what}");
            }
        }
    }
}

impl Daemon {
    pub(super) fn retire(
        &mut self,
        candidates: Vec<Candidate<File>>,
        at_step: &dyn Fn(Step),
    ) -> GroupOutcome<File> {
        retire_group(&mut self.shelf, &self.books, candidates, NOW, at_step)
    }

    pub(super) fn linger(
        &mut self,
        lingering: Vec<Lingering<File>>,
        after_seconds: f64,
        at_step: &dyn Fn(Step),
    ) -> LingerOutcome<File> {
        let now = NOW + after_seconds;
        linger(
            &mut self.shelf,
            &self.books,
            lingering,
            usize::MAX,
            now,
            at_step,
        )
    }

    pub(super) fn phase(&self, identity: &IdentityKey) -> Option<Phase> {
        let state = self.books.lock().unwrap().shared_state();
        let state = state.read().unwrap();
        state.shard(identity).map(|known| known.phase())
    }

    /// How many shards the archive takes to exist; it may remember others that are gone.
    pub(super) fn known_count(&self) -> usize {
        let state = self.books.lock().unwrap().shared_state();
        let state = state.read().unwrap();
        let shards = state.shards().map(|(_, known)| known.phase());
        shards.filter(|phase| *phase != Phase::Missing).count()
    }
}

/// Runs until it ends or is stopped; says which.
pub(super) fn is_stopped(run: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(run)).is_err()
}

fn sighted(bytes: &[u8]) -> Vec<SightedEntry<'_>> {
    let entries = parse_from(bytes, HEADER_LEN_BYTES).entries.into_iter();
    entries
        .map(|entry| {
            let (value, timestamp) = read_value(bytes, entry.value_offset);
            SightedEntry {
                key: entry.key,
                value,
                timestamp,
            }
        })
        .collect()
}
