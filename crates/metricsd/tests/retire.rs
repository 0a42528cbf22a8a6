//! Retirement on real file systems: stops at every step, and writers that come back in the last moment.
//!
//! What is compared is the invariant: the archive, and what each file that exists holds beyond it, is what was ever counted.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use metricsd::archive::{Disk, Exact, IdentityKey, Origin, Phase, SeriesKind, Settings, State};
use metricsd::books::{Books, SightedEntry, Sighting, identity_key};
use metricsd::directory::ShardDirectory;
use metricsd::retire::{
    Candidate, GroupOutcome, Lingering, Named, ShardShelf, Shelf, Step, Why, linger, retire_group,
};
use metricsd_shard::{
    HEADER_LEN_BYTES, Identity, Liveness, ShardFile, ShardName, encode_entry, encode_header,
    ignore_sigio, original_of_retiring, parse_from, read_value, value_offset_bytes,
};

type Ask = fn(&[(Identity, Arc<ShardFile>)]) -> Vec<Liveness>;
type Held = Arc<ShardFile>;

const NOW: f64 = 1_800_000_000.0;

/// Of `O_NONBLOCK`, on Linux on every architecture that is supported.
const NONBLOCK: i32 = 0o4000;

/// Directories for shards and for state, each on the file system of the other's opposite where there are two.
fn places() -> Vec<(tempfile::TempDir, tempfile::TempDir)> {
    let plain = || tempfile::tempdir().expect("a directory");
    let memory = || tempfile::tempdir_in("/dev/shm");
    match (memory(), memory()) {
        (Ok(one), Ok(other)) => vec![(one, plain()), (plain(), other)],
        _ => vec![(plain(), plain())],
    }
}

/// Retirement works where a granted lease proves that nobody writes, and nowhere else.
fn supports_leases(test: &str, directory: &Path) -> bool {
    ignore_sigio().expect("a signal that can be ignored");
    let directory = ShardDirectory::open(directory).expect("a directory");
    let answer = metricsd_shard::file_system_supports_leases(std::os::fd::AsFd::as_fd(&directory));
    let Err(kind) = answer else { return true };
    let why = format!("no leases on {kind}");
    #[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
    {
        eprintln!("SKIPPED: {why}");
    }
    if let Some(path) = std::env::var_os("METRICSD_TEST_SKIPS") {
        use std::io::Write;
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .unwrap();
        writeln!(file, "{test}: {why}").unwrap();
    }
    false
}

fn key(number: usize) -> Vec<u8> {
    format!(r#"["orders", "orders_total", {{"shard": "{number:05}"}}, ""]"#).into_bytes()
}

fn value_at() -> u64 {
    (HEADER_LEN_BYTES + value_offset_bytes(key(0).len())) as u64
}

fn shard_bytes(number: usize, value: f64) -> Vec<u8> {
    let entry = encode_entry(&key(number), value, 0.0);
    let mut bytes = encode_header(HEADER_LEN_BYTES + entry.len()).to_vec();
    bytes.extend(entry);
    bytes
}

fn shard_name(number: usize) -> String {
    format!("counter_{number}.db")
}

/// A daemon, without its thread and its port.
struct Daemon {
    path: PathBuf,
    directory: ShardDirectory,
    shelf: ShardShelf<Ask>,
    books: Mutex<Books<Disk>>,
}

impl Daemon {
    fn start(shards: &Path, state: &Path) -> Daemon {
        let directory = ShardDirectory::open(shards).unwrap();
        let ask: Ask = |files| files.iter().map(|(_, file)| file.probe()).collect();
        let mut shelf = ShardShelf::open(&directory, ask).unwrap();
        shelf.sync().unwrap();
        let storage = Disk::open(state).unwrap();
        let settings = Settings {
            segment_len_bytes: 1 << 20,
            reserve_len_bytes: 0,
            ..Settings::default()
        };
        let (mut books, _) = Books::open(storage, settings, "one boot", NOW).unwrap();
        let path = shards.to_owned();
        let present = candidates(&directory);
        let contents: Vec<Vec<u8>> = present.iter().map(|it| content(&it.file)).collect();
        let entries: Vec<Vec<SightedEntry<'_>>> = contents.iter().map(|it| sighted(it)).collect();
        let sightings: Vec<Sighting<'_>> = present
            .iter()
            .zip(&entries)
            .map(|(candidate, entries)| Sighting {
                identity: &candidate.identity,
                origin: &candidate.origin,
                birth_unix_seconds: None,
                entries,
            })
            .collect();
        books.reconcile(&sightings, false, NOW).unwrap();
        books.sync().unwrap();
        Daemon {
            path,
            directory,
            shelf,
            books: Mutex::new(books),
        }
    }

    fn retire(
        &mut self,
        group: Vec<Candidate<Held>>,
        at_step: &dyn Fn(Step),
    ) -> GroupOutcome<Held> {
        retire_group(&mut self.shelf, &self.books, group, NOW, at_step)
    }

    /// Lets the time go by until nothing lingers, and retires again what is handed back.
    fn settle(&mut self, mut lingering: Vec<Lingering<Held>>, at_step: &dyn Fn(Step)) {
        for minute in 1..20 {
            let now = NOW + f64::from(minute) * 60.0;
            let (shelf, books) = (&mut self.shelf, &self.books);
            let after = linger(shelf, books, lingering, usize::MAX, now, at_step);
            assert!(after.troubles.is_empty(), "{:?}", after.troubles);
            lingering = after.lingering;
            let back = after
                .handed_back
                .into_iter()
                .map(|it| it.candidate)
                .collect();
            lingering.extend(self.retire_fully(back));
            if lingering.is_empty() {
                return;
            }
        }
        panic!("{} shards linger for ever", lingering.len());
    }

    /// Retires until nothing is put off. Nobody may write any more.
    fn retire_fully(&mut self, mut group: Vec<Candidate<Held>>) -> Vec<Lingering<Held>> {
        let mut lingering = Vec::new();
        for _ in 0..10 {
            let outcome = self.retire(group, &|_| {});
            assert!(outcome.troubles.is_empty(), "{:?}", outcome.troubles);
            lingering.extend(outcome.lingering);
            group = outcome.put_off.into_iter().map(|it| it.candidate).collect();
            if group.is_empty() {
                return lingering;
            }
        }
        panic!("{} shards are put off for ever", group.len());
    }

    fn with_state<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        let state = self.books.lock().unwrap().shared_state();
        let state = state.read().unwrap();
        look(&state)
    }

    fn phase(&self, identity: &IdentityKey) -> Option<Phase> {
        self.with_state(|state| state.shard(identity).map(|known| known.phase()))
    }

    /// What is exposed of each series: the archive, and what the files in the directory hold beyond.
    fn exposed(&self, numbers: std::ops::Range<usize>) -> HashMap<usize, f64> {
        let mut held: HashMap<Vec<u8>, Vec<(IdentityKey, Exact)>> = HashMap::new();
        for candidate in candidates(&self.directory) {
            for entry in sighted(&content(&candidate.file)) {
                let mut sum = Exact::default();
                sum.add(entry.value);
                let of_key = held.entry(entry.key.to_vec()).or_default();
                of_key.push((candidate.identity.clone(), sum));
            }
        }
        self.with_state(|state| {
            let value = |number: usize| {
                let files = held.get(&key(number)).map_or(&[][..], Vec::as_slice);
                match state.keys().find(SeriesKind::Counter, &key(number)) {
                    Some(key) => state
                        .exposed(key, files.iter().map(|(id, sum)| (id, sum.clone())))
                        .value(),
                    None => files.iter().map(|(_, sum)| sum.value()).sum(),
                }
            };
            numbers.map(|number| (number, value(number))).collect()
        })
    }

    fn names(&self) -> Vec<String> {
        names(&self.path)
    }
}

fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn candidates(directory: &ShardDirectory) -> Vec<Candidate<Held>> {
    let listed = directory.list().unwrap();
    let names = listed.into_iter().map(|it| it.name.into_string().unwrap());
    names
        .filter_map(|name| candidate(directory, name))
        .collect()
}

fn candidate(directory: &ShardDirectory, file_name: String) -> Option<Candidate<Held>> {
    let original = original_of_retiring(&file_name).unwrap_or(&file_name);
    let name = ShardName::parse(original).ok()?;
    let at = std::os::fd::AsFd::as_fd(directory);
    let file = ShardFile::open_at(at, &file_name).unwrap();
    Some(Candidate {
        identity: identity_key(&file.identity()),
        origin: Origin {
            file_name: original.into(),
            writer: name.id.as_str().into(),
            program: "".into(),
            kind: SeriesKind::Counter,
        },
        file: Arc::new(file),
        file_name,
        birth_unix_seconds: None,
        ended_at_unix_seconds: 0.0,
        is_adopted: false,
    })
}

fn content(file: &ShardFile) -> Vec<u8> {
    let mut buffer = Vec::new();
    file.read_used(&mut buffer).unwrap();
    buffer
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

#[test]
fn death_at_any_step_loses_and_doubles_nothing_on_real_file_systems() {
    for (shards, state) in places() {
        if !supports_leases("death_at_any_step", shards.path()) {
            continue;
        }
        for (round, step) in Step::ALL.into_iter().enumerate() {
            let numbers = round * 3..round * 3 + 3;
            for number in numbers.clone() {
                let bytes = shard_bytes(number, 0.25 + number as f64);
                fs::write(shards.path().join(shard_name(number)), bytes).unwrap();
            }
            let expected: HashMap<usize, f64> = (0..numbers.end)
                .map(|number| (number, 0.25 + number as f64))
                .collect();
            let mut daemon = Daemon::start(shards.path(), state.path());
            let stop = |now: Step| {
                if now == step {
                    resume_unwind(Box::new(()));
                }
            };
            let run = AssertUnwindSafe(|| {
                let all = candidates(&daemon.directory);
                let lingering = daemon.retire(all, &stop).lingering;
                daemon.settle(lingering, &stop);
            });
            assert!(catch_unwind(run).is_err(), "{step}");
            drop(daemon);

            let mut daemon = Daemon::start(shards.path(), state.path());
            assert_eq!(daemon.exposed(0..numbers.end), expected, "{step}");
            let all = candidates(&daemon.directory);
            let lingering = daemon.retire_fully(all);
            assert_eq!(daemon.exposed(0..numbers.end), expected, "{step}");
            daemon.settle(lingering, &|_| {});
            assert_eq!(daemon.exposed(0..numbers.end), expected, "{step}");
            assert_eq!(daemon.names(), [] as [String; 0], "{step}");
            assert_eq!(
                daemon.with_state(|state| state
                    .shards()
                    .filter(|(_, known)| known.phase() != metricsd::archive::Phase::Missing)
                    .count()),
                0,
                "{step}"
            );
        }
    }
}

#[test]
fn a_name_is_neither_taken_from_another_file_nor_is_another_file_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for (name, number) in [("counter_1.db", 1), ("counter_2.db", 2)] {
        fs::write(path(name), shard_bytes(number, 1.0)).unwrap();
    }
    let directory = ShardDirectory::open(folder.path()).unwrap();
    let ask: Ask = |_| Vec::new();
    let mut shelf = ShardShelf::open(&directory, ask).unwrap();
    let first = candidate(&directory, "counter_1.db".into()).unwrap().file;

    let taken = shelf.rename(&first, "counter_1.db", "counter_2.db");
    assert_eq!(taken.unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(
        shelf.rename(&first, "counter_2.db", "x").unwrap(),
        Named::Other
    );
    assert_eq!(
        shelf.rename(&first, "counter_3.db", "x").unwrap(),
        Named::Nothing
    );
    assert_eq!(shelf.unlink(&first, "counter_2.db").unwrap(), Named::Other);
    assert_eq!(
        shelf.unlink(&first, "counter_3.db").unwrap(),
        Named::Nothing
    );
    for slash in ["./counter_1.db", "/counter_1.db", "../x"] {
        assert!(shelf.unlink(&first, slash).is_err());
        assert!(shelf.rename(&first, "counter_1.db", slash).is_err());
        assert!(shelf.rename(&first, slash, "x").is_err());
    }
    assert_eq!(names(folder.path()), ["counter_1.db", "counter_2.db"]);

    assert_eq!(
        shelf.rename(&first, "counter_1.db", "x").unwrap(),
        Named::Done
    );
    assert_eq!(shelf.link_count(&first).unwrap(), 1);
    assert_eq!(shelf.unlink(&first, "x").unwrap(), Named::Done);
    assert_eq!(shelf.link_count(&first).unwrap(), 0);
    assert_eq!(names(folder.path()), ["counter_2.db"]);
    // A link to the file is not the file.
    std::os::unix::fs::symlink(path("counter_2.db"), path("link")).unwrap();
    let second = candidate(&directory, "counter_2.db".into()).unwrap().file;
    assert_eq!(shelf.unlink(&second, "link").unwrap(), Named::Other);
}

/// A real writer at each step, by each way back to the file.
#[test]
fn a_writer_that_comes_back_by_any_way_at_any_step_is_counted_exactly() {
    for (shards, state) in places() {
        if !supports_leases("a_writer_that_comes_back", shards.path()) {
            continue;
        }
        let mut number = 0;
        for step in Step::ALL
            .into_iter()
            .filter(|step| *step != Step::Forgotten)
        {
            for way in Way::ALL {
                for stays in [false, true] {
                    number += 1;
                    come_back(shards.path(), state.path(), number, step, way, stays);
                }
            }
        }
    }
}

fn come_back(shards: &Path, state: &Path, number: usize, step: Step, way: Way, stays: bool) {
    let what = format!("{step}, {way:?}, stays: {stays}");
    let path = shards.join(shard_name(number));
    fs::write(&path, shard_bytes(number, 5.0)).unwrap();
    let reader = File::open(&path).unwrap();
    let mut daemon = Daemon::start(shards, state);
    let (stayed, counted) = (Mutex::new(None), Mutex::new(5.0));
    let come = |now: Step| {
        if now == step {
            let Some(file) = way.open(shards, number, &reader) else {
                return;
            };
            *counted.lock().unwrap() += add(&file, number);
            *stayed.lock().unwrap() = stays.then_some(file);
        }
    };
    let original = candidate(&daemon.directory, shard_name(number)).unwrap();
    let identity = original.identity.clone();
    let outcome = daemon.retire(vec![original], &come);
    assert!(outcome.troubles.is_empty(), "{what}");
    let stayed = stayed.into_inner().unwrap();
    // Only a writer of the file itself keeps it.
    let is_its_own = way != Way::OldName || !path.exists();
    if let (Some(file), true) = (&stayed, is_its_own) {
        if step < Step::AskedLast {
            assert_eq!(outcome.put_off[0].why, Why::Busy, "{what}");
            let is_early = step < Step::AskedAgain;
            let expected = (!is_early).then_some(Phase::Absorbed);
            assert_eq!(daemon.phase(&identity), expected, "{what}");
        }
        // It goes on.
        *counted.lock().unwrap() += add(file, number);
    }
    drop(stayed);
    let mut lingering = outcome.lingering;
    let again = outcome.put_off.into_iter().map(|it| it.candidate).collect();
    lingering.extend(daemon.retire_fully(again));
    daemon.settle(lingering, &|_| {});
    let counted = counted.into_inner().unwrap();
    assert_eq!(
        daemon.exposed(number..number + 1)[&number],
        counted,
        "{what}"
    );
    let rest = candidates(&daemon.directory);
    let lingering = daemon.retire_fully(rest);
    daemon.settle(lingering, &|_| {});
    assert_eq!(
        daemon.exposed(number..number + 1)[&number],
        counted,
        "{what}"
    );
    assert_eq!(
        daemon.with_state(|state| state
            .shards()
            .filter(|(_, known)| known.phase() != metricsd::archive::Phase::Missing)
            .count()),
        0,
        "{what}"
    );
}

/// How a late writer comes to the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// As Python does: what has the name now, or a new file.
    OldName,
    /// By looking into the directory.
    RetiringName,
    /// By a descriptor for reading that it kept.
    OwnDescriptor,
}

impl Way {
    const ALL: [Way; 3] = [Way::OldName, Way::RetiringName, Way::OwnDescriptor];

    /// Opens for writing; none if the way is closed.
    fn open(self, shards: &Path, number: usize, reader: &File) -> Option<File> {
        let name = shard_name(number);
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(NONBLOCK);
        let path = match self {
            Way::OldName => {
                options.create(true).truncate(false);
                shards.join(name)
            }
            Way::RetiringName => {
                let mut all = names(shards).into_iter();
                shards.join(all.find(|it| original_of_retiring(it) == Some(&name))?)
            }
            Way::OwnDescriptor => format!("/proc/self/fd/{}", reader.as_raw_fd()).into(),
        };
        loop {
            match options.open(&path) {
                Ok(file) => return Some(file),
                // A lease is being asked for: it is over at once.
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
                Err(error) if error.kind() == ErrorKind::NotFound => return None,
                Err(error) => panic!("{}: {error}", path.display()),
            }
        }
    }
}

/// Adds one to the counter in a file, which is made if it is empty. Returns what was added.
fn add(file: &File, number: usize) -> f64 {
    let mut value = [0; 8];
    match file.read_exact_at(&mut value, value_at()) {
        Ok(()) => {
            let value = f64::from_le_bytes(value) + 1.0;
            file.write_all_at(&value.to_le_bytes(), value_at()).unwrap();
        }
        Err(_) => file.write_all_at(&shard_bytes(number, 1.0), 0).unwrap(),
    }
    1.0
}

/// Late writers race with retirement, each by one of the ways and at any moment; what they counted is what is exposed.
#[test]
fn late_writers_race_with_retirement_and_every_count_is_there() {
    let race_count = match std::env::var_os("METRICSD_TEST_LONG") {
        Some(_) => 100_000,
        None => 10_000,
    };
    let mut all = places();
    // Nine in ten where a sync costs nothing.
    let memory = all
        .first()
        .map(|(shards, _)| shards.path().starts_with("/dev/shm"));
    if memory == Some(true)
        && let Ok(state) = tempfile::tempdir_in("/dev/shm")
    {
        all[0].1 = state;
        let (shards, state) = &all[0];
        race(shards.path(), state.path(), race_count * 9 / 10);
        race(all[1].0.path(), all[1].1.path(), race_count / 10);
    } else {
        race(all[0].0.path(), all[0].1.path(), race_count);
    }
}

const GROUP_LEN: usize = 50;
const WRITERS: usize = 3;

fn race(shards: &Path, state: &Path, race_count: usize) {
    if !supports_leases("late_writers_race", shards) {
        return;
    }
    let mut daemon = Daemon::start(shards, state);
    let tallies: [AtomicUsize; 3] = Default::default();
    let mut expected: HashMap<usize, f64> = HashMap::new();
    for first in (0..race_count).step_by(GROUP_LEN) {
        let numbers = first..first + GROUP_LEN;
        let readers: HashMap<usize, File> = numbers
            .clone()
            .map(|number| {
                let path = shards.join(shard_name(number));
                fs::write(&path, shard_bytes(number, 5.0)).unwrap();
                (number, File::open(&path).unwrap())
            })
            .collect();
        let group = candidates(&daemon.directory);
        let added: HashMap<usize, AtomicUsize> = numbers
            .clone()
            .map(|number| (number, AtomicUsize::new(0)))
            .collect();
        let is_over = AtomicBool::new(false);
        let outcome = std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let (readers, added, tallies, is_over) = (&readers, &added, &tallies, &is_over);
                let mine = numbers
                    .clone()
                    .filter(move |number| number % WRITERS == writer);
                scope.spawn(move || {
                    let count = |file: &File, number: usize| {
                        let more = add(file, number) as usize;
                        added[&number].fetch_add(more, Ordering::Relaxed);
                    };
                    // Each file is counted in when it is opened and, while the next one is open already, before it is closed.
                    let mut held: Option<(File, usize)> = None;
                    // Until the end, so that they meet it at every moment; every writer comes at least once.
                    for round in 0.. {
                        for number in mine.clone() {
                            let turn = (number / WRITERS + round) % Way::ALL.len();
                            let opened = Way::ALL[turn].open(shards, number, &readers[&number]);
                            let Some(file) = opened else { continue };
                            count(&file, number);
                            tallies[turn].fetch_add(1, Ordering::Relaxed);
                            if let Some((file, number)) = held.replace((file, number)) {
                                count(&file, number);
                            }
                        }
                        if is_over.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                });
            }
            let mut group = group;
            let mut lingering = Vec::new();
            // What is busy is tried again, under fire as well.
            for _ in 0..3 {
                let outcome = daemon.retire(group, &|_| {});
                assert!(outcome.troubles.is_empty(), "{:?}", outcome.troubles);
                lingering.extend(outcome.lingering);
                group = outcome.put_off.into_iter().map(|it| it.candidate).collect();
            }
            is_over.store(true, Ordering::Relaxed);
            (lingering, group)
        });
        let (mut lingering, put_off) = outcome;
        lingering.extend(daemon.retire_fully(put_off));
        daemon.settle(lingering, &|_| {});
        for (number, added) in added {
            expected.insert(number, 5.0 + added.into_inner() as f64);
        }
        // New files under old names go the same way.
        let rest = candidates(&daemon.directory);
        let lingering = daemon.retire_fully(rest);
        daemon.settle(lingering, &|_| {});
        assert_eq!(daemon.names(), [] as [String; 0]);
    }
    assert_eq!(daemon.exposed(0..race_count), expected);
    assert_eq!(
        daemon.with_state(|state| state
            .shards()
            .filter(|(_, known)| known.phase() != metricsd::archive::Phase::Missing)
            .count()),
        0
    );
    for (way, tally) in Way::ALL.iter().zip(tallies) {
        assert!(tally.into_inner() > 0, "nobody came by {way:?}");
    }
}
