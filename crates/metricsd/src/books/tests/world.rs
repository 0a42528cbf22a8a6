//! A small world: writers, shards on one file system, the books on another, a daemon that is killed, power that fails.
//!
//! Invariant: every step does to the books what the daemon would do, and to the model what happened. [`World::check`] compares.

mod checks;
mod starts;

use crate::archive::testing::{Dice, Fault, Simulated};
use crate::archive::{Exact, IdentityKey, Origin, SeriesKind};
use crate::books::tests::SETTINGS;
use crate::books::tests::model::{FIRST_GAUGE, File, KEY_COUNT, Step, Written, beyond};
use crate::books::{Books, SightedEntry, Sighting};

const FILES_MAX: usize = 12;
const KINDS: [SeriesKind; KEY_COUNT] = [
    SeriesKind::Counter,
    SeriesKind::Counter,
    SeriesKind::Histogram,
    SeriesKind::Histogram,
    SeriesKind::Histogram,
    SeriesKind::GaugeAll,
    SeriesKind::GaugeLiveMax,
];
const KEYS: [&str; KEY_COUNT] = ["a", "b", "sum", "le1", "leinf", "all", "livemax"];

/// A gauge's value that outlives its shard.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Kept {
    value: f64,
    ended_at: f64,
}

pub(super) struct World {
    dice: Dice,
    state_dir: Simulated,
    books: Books<Simulated>,
    now: f64,
    boot: usize,
    files: Vec<File>,
    kept: Vec<(usize, Kept)>,
    kept_synced: Vec<(usize, Kept)>,
    /// What the last scrape showed, and the starts it showed, as long as nobody took any of it back.
    shown: Vec<Option<(Exact, Option<f64>)>>,
    log: Vec<String>,
}

fn identity(number: usize) -> IdentityKey {
    IdentityKey::new(&[1, number as u8]).unwrap()
}

impl World {
    pub(super) fn new(seed: u64) -> World {
        let state_dir = Simulated::new();
        let (books, _) = Books::open(state_dir.clone(), SETTINGS, "boot-0", 1e6).unwrap();
        World {
            dice: Dice(seed),
            state_dir,
            books,
            now: 1e6,
            boot: 0,
            files: Vec::new(),
            kept: Vec::new(),
            kept_synced: Vec::new(),
            shown: vec![None; KEY_COUNT],
            log: Vec::new(),
        }
    }

    pub(super) fn step(&mut self) {
        self.now += self.dice.below(100) as f64 / 7.0;
        match self.dice.below(33) {
            0..=3 => self.is_born(),
            4..=10 => self.counts(),
            11 => self.goes_back(),
            12 => self.dies(),
            13 => self.is_written_back(),
            14..=16 => self.notes_some(),
            17 | 18 => self.syncs(),
            19..=21 => self.scrapes(),
            22..=24 => self.retires(),
            25 => self.is_removed(),
            26 => self.comes_back(),
            27 => self.hides(),
            28 => self.tends(),
            29 => self.is_killed(),
            30 if self.dice.below(2) == 0 => self.loses_power(),
            31 if self.dice.below(3) == 0 => self.stops_and_starts(),
            32 if self.dice.below(4) == 0 => self.begins_at_zero(),
            _ => self.comes_late(),
        }
    }

    fn say(&mut self, what: String) {
        self.log.push(what);
    }

    fn pick(&mut self, which: impl Fn(&File) -> bool) -> Option<usize> {
        let found: Vec<usize> = (0..self.files.len())
            .filter(|at| which(&self.files[*at]))
            .collect();
        (!found.is_empty()).then(|| found[self.dice.below(found.len())])
    }

    /// A new file; its name may be that of one that is gone, as when a process ID is used again.
    fn is_born(&mut self) {
        if self.files.len() >= FILES_MAX {
            return;
        }
        let keys = [
            &[0, 1, 0][..],
            &[2, 3, 4],
            &[2, 4, 2, 4, 3],
            &[5],
            &[6],
            &[1],
        ];
        let keys = keys[self.dice.below(keys.len())];
        let name = format!("{}_{}.db", KINDS[keys[0]].as_str(), self.dice.below(3));
        let number = self.files.len();
        self.say(format!("file {number} {name} {keys:?} is born"));
        self.files.push(File {
            cells: keys.iter().map(|key| (*key, 0.0)).collect(),
            durable_cells: Vec::new(),
            noted_cells: None,
            exists: true,
            durable_exists: false,
            durable_name: name.clone(),
            name,
            has_writer: true,
            is_served: true,
            serve_after_sync: None,
            counted: vec![Exact::default(); KEY_COUNT],
            noted: None,
            synced: None,
        });
    }

    /// One increment, one observation (several cells) or one value of a gauge.
    fn counts(&mut self) {
        let Some(at) = self.pick(|file| file.has_writer) else {
            return;
        };
        let amount = self.dice.below(1000) as f64 / [1.0, 7.0, 1e3][self.dice.below(3)];
        let first = self.files[at].cells[0].0;
        let cells = self.files[at].cells.len();
        if first >= FIRST_GAUGE {
            self.files[at].store(0, amount);
        } else if first == 2 {
            let value = self.files[at].cells[0].1 + amount;
            self.files[at].store(0, value);
            let bucket = 1 + self.dice.below(cells - 1);
            if bucket < cells && self.files[at].cells[bucket].0 != 2 {
                let value = self.files[at].cells[bucket].1 + 1.0;
                self.files[at].store(bucket, value);
            }
        } else {
            let cell = self.dice.below(cells);
            let value = self.files[at].cells[cell].1 + amount;
            self.files[at].store(cell, value);
            if self.dice.below(4) == 0 && cells < 8 {
                // A thread more gets a lane of its own.
                let key = self.files[at].cells[cell].0;
                self.files[at].cells.push((key, 0.0));
            }
        }
        self.say(format!("{at} counts {amount}: {:?}", self.files[at].cells));
    }

    /// Python's `Counter.reset`.
    fn goes_back(&mut self) {
        let Some(at) = self.pick(|file| file.has_writer && file.cells[0].0 < 2) else {
            return;
        };
        let cell = self.dice.below(self.files[at].cells.len());
        let key = self.files[at].cells[cell].0;
        self.files[at].store(cell, 0.0);
        self.shown[key] = None;
        self.say(format!("{at} resets cell {cell}"));
    }

    fn dies(&mut self) {
        if let Some(at) = self.pick(|file| file.has_writer) {
            self.files[at].has_writer = false;
            self.say(format!("the writer of {at} dies"));
        }
    }

    fn comes_late(&mut self) {
        if let Some(at) = self.pick(|file| file.exists && !file.has_writer) {
            self.files[at].has_writer = true;
            self.say(format!("{at} has a late writer"));
        }
    }

    fn is_written_back(&mut self) {
        if let Some(at) = self.pick(|_| true) {
            let file = &mut self.files[at];
            file.durable_cells.clone_from(&file.cells);
            if self.dice.below(2) == 0 {
                self.files[at].durable_exists = self.files[at].exists;
            }
            self.say(format!("{at} is written back"));
        }
    }

    fn sync_shards(&mut self) {
        for file in &mut self.files {
            file.durable_exists = file.exists;
            file.durable_name.clone_from(&file.name);
        }
        self.say("the shard directory is synced".to_owned());
    }

    fn origin(&self, at: usize) -> Origin {
        Origin {
            file_name: self.files[at].name.as_str().into(),
            writer: at.to_string().into(),
            program: "trader".into(),
            kind: KINDS[self.files[at].cells[0].0],
        }
    }

    fn sighted(&self, at: usize) -> Vec<SightedEntry<'static>> {
        let entry = |cell: &(usize, f64)| SightedEntry {
            key: KEYS[cell.0].as_bytes(),
            value: cell.1,
            timestamp: 0.0,
        };
        self.files[at].cells.iter().map(entry).collect()
    }

    /// Lets the books do something with a sighting of a file.
    fn with<R>(
        &mut self,
        at: usize,
        act: impl FnOnce(&mut Books<Simulated>, &Sighting<'_>, f64) -> R,
    ) -> R {
        let (identity, origin, entries) = (identity(at), self.origin(at), self.sighted(at));
        let sighting = Sighting {
            identity: &identity,
            origin: &origin,
            birth_unix_seconds: Some(1000.0 + at as f64),
            entries: &entries,
        };
        act(&mut self.books, &sighting, self.now)
    }

    fn notes(&mut self, at: usize) {
        let file = &self.files[at];
        let changed: Vec<usize> = match &file.noted_cells {
            None => (0..file.cells.len()).collect(),
            Some(noted) => (0..file.cells.len())
                .filter(|cell| noted.get(*cell) != Some(&file.cells[*cell]))
                .collect(),
        };
        let resets = self.resets(at);
        let noted = self.with(at, |books, it, now| books.note(it, &changed, now));
        assert_eq!(noted.unwrap().resets, resets, "{at}: {:#?}", self.log);
        self.writes(at);
        self.say(format!("{at} is noted"));
    }

    /// Series of which the file holds less than is written down.
    fn resets(&self, at: usize) -> usize {
        let file = &self.files[at];
        let Some(noted) = &file.noted else { return 0 };
        let held = file.held();
        (0..FIRST_GAUGE)
            .filter(|key| held[*key].value() < noted.held[*key].value())
            .count()
    }

    /// The model of what noting does: only news are written, and bring an absorbed shard back among the others.
    fn writes(&mut self, at: usize) {
        let file = &mut self.files[at];
        let is_news = file.noted.as_ref().is_none_or(|noted| {
            let is_hollow = noted.gauge.is_none() && file.gauge().is_some();
            is_hollow || noted.held != file.held() || noted.gauge != file.gauge()
        });
        match &file.noted {
            Some(noted) if !is_news => {
                let (step, ended_at) = (noted.step, noted.ended_at);
                file.write(step, ended_at);
            }
            _ => file.write(Step::Seen, 0.0),
        }
    }

    fn notes_some(&mut self) {
        if let Some(at) = self.pick(|file| file.is_served && file.serve_after_sync.is_none()) {
            self.notes(at);
        }
    }

    /// Sometimes storage fails first, and sometimes the daemon dies of it.
    fn syncs(&mut self) {
        if self.dice.below(6) == 0 {
            let operation = ["sync_file", "append", "create"][self.dice.below(3)];
            self.state_dir.fail_all(operation, Fault::Io);
            let failed = self.books.sync().is_err();
            self.state_dir.heal();
            self.say(format!("storage fails in {operation}: {failed}"));
            if !failed {
                // It was not needed.
                self.is_synced();
            }
            self.check("a sync that failed");
        }
        self.books.sync().unwrap();
        self.is_synced();
    }

    fn is_synced(&mut self) {
        for file in &mut self.files {
            file.synced.clone_from(&file.noted);
            if let Some(is_served) = file.serve_after_sync.take() {
                file.is_served = is_served;
            }
        }
        self.kept_synced.clone_from(&self.kept);
        self.say("synced".to_owned());
        assert_eq!(self.books.take_oddities(), [], "{:#?}", self.log);
    }

    /// New shards are noted before they are shown.
    fn scrapes(&mut self) {
        for at in 0..self.files.len() {
            if self.files[at].is_served && self.files[at].noted.is_none() {
                self.notes(at);
            }
        }
        self.syncs();
        self.check("a scrape");
        for key in 0..FIRST_GAUGE {
            let exposed = self.exposed(key);
            let start = self.start(key);
            if let Some((before, start_before)) = &self.shown[key] {
                let moved = start > *start_before;
                assert!(
                    moved || !is_less(&exposed, before),
                    "{key} fell in silence {:#?}",
                    self.log
                );
                assert!(start >= *start_before, "{key}: {:#?}", self.log);
            }
            self.shown[key] = Some((exposed, start));
        }
        self.say("scraped".to_owned());
    }

    /// One that waits for the directory, one for the journal, one for the unlink: the daemon may die in every step.
    fn retires(&mut self) {
        let Some(at) = self.pick(|file| {
            file.exists && !file.has_writer && file.is_served && file.serve_after_sync.is_none()
        }) else {
            return;
        };
        self.files[at].name.push_str(".retiring");
        self.say(format!("{at} is renamed"));
        if self.may_be_stopped() {
            return;
        }
        self.sync_shards();
        self.absorbs(at);
        if self.may_be_stopped() {
            return;
        }
        self.syncs();
        self.check("an absorption");
        if self.may_be_stopped() {
            return;
        }
        if self.dice.below(4) == 0 {
            self.files[at].has_writer = true;
            self.say(format!("{at} is busy again"));
            return;
        }
        self.files[at].exists = false;
        self.say(format!("{at} is unlinked"));
        if self.may_be_stopped() {
            return;
        }
        self.sync_shards();
        if self.may_be_stopped() {
            return;
        }
        if self.dice.below(4) == 0 {
            // A writer that opened it in time; the daemon has a descriptor as well.
            self.files[at].store(0, 1e4);
            self.say(format!("{at} was counted on after its unlink"));
            self.check("a late count");
            self.absorbs(at);
        }
        self.books.unlinked(&identity(at)).unwrap();
        self.forgets(at);
        self.files[at].serve_after_sync = Some(false);
        if self.may_be_stopped() {
            return;
        }
        if self.dice.below(2) == 0 {
            self.syncs();
        }
    }

    /// Somebody resets all totals. Starts move, so that nothing falls in silence.
    fn begins_at_zero(&mut self) {
        self.syncs();
        let files = 0..self.files.len();
        let served: Vec<usize> = files.filter(|at| self.files[*at].is_served).collect();
        let parts: Vec<_> = served
            .iter()
            .map(|at| (identity(*at), self.origin(*at), self.sighted(*at)))
            .collect();
        let present: Vec<Sighting<'_>> = served
            .iter()
            .zip(&parts)
            .map(|(at, (identity, origin, entries))| Sighting {
                identity,
                origin,
                birth_unix_seconds: Some(1000.0 + *at as f64),
                entries,
            })
            .collect();
        let files = &self.files;
        let has_ended = |it: &IdentityKey| !files[usize::from(it.as_bytes()[1])].has_writer;
        let kept = self
            .books
            .reset_totals(&present, has_ended, Vec::new(), self.now);
        kept.unwrap();
        for at in served {
            let file = &self.files[at];
            if file.cells[0].0 >= FIRST_GAUGE && file.has_writer {
                self.writes(at);
            } else {
                let now = self.now;
                self.files[at].write(Step::Absorbed, now);
            }
        }
        self.is_synced();
        let zero = vec![Exact::default(); KEY_COUNT];
        for file in &mut self.files {
            if file.noted.is_some() {
                file.counted.clone_from(&zero);
            }
            for written in file.noted.iter_mut().chain(&mut file.synced) {
                written.counted.clone_from(&zero);
                written.is_hidden |= written.step != Step::Seen;
            }
        }
        self.kept.clear();
        self.kept_synced.clear();
        self.say("all totals are reset".to_owned());
        self.check("a reset");
    }

    fn absorbs(&mut self, at: usize) {
        let resets = self.resets(at);
        let noted = self.with(at, |books, it, now| books.absorb(it, now));
        assert_eq!(noted.unwrap().resets, resets, "{:#?}", self.log);
        let now = self.now;
        self.files[at].write(Step::Absorbed, now);
        self.say(format!("{at} is absorbed"));
    }

    /// The shard is forgotten; what it said of gauges is kept, unless nobody may see it.
    fn forgets(&mut self, at: usize) {
        let file = &mut self.files[at];
        let written = file.noted.as_mut().unwrap();
        written.step = Step::Forgotten;
        if let (Some(value), false) = (written.gauge, written.is_hidden) {
            let ended_at = written.ended_at;
            self.kept.push((at, Kept { value, ended_at }));
        }
        self.say(format!("{at} is forgotten"));
    }

    /// Somebody removes a file. The daemon has a descriptor or the values of its last reading.
    fn is_removed(&mut self) {
        let Some(at) = self.pick(|file| file.exists && file.is_served) else {
            return;
        };
        self.say(format!("somebody removes {at}"));
        self.files[at].exists = false;
        if self.dice.below(2) == 0 {
            self.sync_shards();
        }
        if self.may_be_stopped() || self.files[at].serve_after_sync.is_some() {
            return;
        }
        self.files[at].has_writer = false;
        self.with(at, |books, it, now| books.missing(it, now))
            .unwrap();
        let now = self.now;
        self.writes(at);
        let file = &mut self.files[at];
        let is_live = file.is_live_gauge();
        let written = file.noted.as_mut().unwrap();
        if written.step == Step::Seen {
            written.ended_at = now;
        }
        written.step = Step::Missing;
        if is_live {
            written.is_hidden = true;
        }
        file.serve_after_sync = Some(false);
        self.say(format!("{at} is missing"));
    }

    /// A missing file is put back, as it was or as it once was on the medium.
    fn comes_back(&mut self) {
        let is_missing = |file: &File| {
            let step = |it: &Option<Written>| it.as_ref().map(|it| it.step);
            !file.exists && step(&file.synced) == Some(Step::Missing) && !file.is_served
        };
        let Some(at) = self.pick(is_missing) else {
            return;
        };
        let is_old = self.dice.below(2) == 0;
        let file = &mut self.files[at];
        if is_old && !file.durable_cells.is_empty() {
            file.cells.clone_from(&file.durable_cells);
        }
        file.exists = true;
        let written = file.noted.clone().unwrap();
        file.counted = beyond(&written.counted, &written.held, &file.held());
        self.say(format!("{at} is back: {:?}", self.files[at].cells));
        if self.may_be_stopped() {
            return;
        }
        self.with(at, |books, it, _| books.returned(it)).unwrap();
        self.is_met(at);
        self.files[at].serve_after_sync = Some(true);
        // Not shown before this is durable, so no failure is tried here.
        self.books.sync().unwrap();
        self.is_synced();
    }

    /// The model of a shard that is there again with less than is written down, or more.
    fn is_met(&mut self, at: usize) {
        let held = self.files[at].held();
        let written = self.files[at].noted.as_mut().unwrap();
        if written.step == Step::Missing {
            written.step = Step::Seen;
        }
        for (then, now) in written.held.iter_mut().zip(held) {
            if is_less(&now, then) {
                *then = now;
            }
        }
        // Whatever the file holds is handed to the books again.
        self.files[at].noted_cells = None;
    }

    /// A live process has set a live gauge, or the ended are to be forgotten in time.
    fn hides(&mut self) {
        self.syncs();
        if self.dice.below(2) == 0 {
            let Some(at) = self.pick(|file| file.is_live_gauge() && !file.has_writer) else {
                return;
            };
            let (kind, key) = (SeriesKind::GaugeLiveMax, KEYS[6].as_bytes());
            self.books.discard(&identity(at), kind, &[key]).unwrap();
            self.say(format!("{at} is discarded"));
            let is_kept = self.kept.iter().any(|kept| kept.0 == at);
            self.kept.retain(|kept| kept.0 != at);
            let file = &mut self.files[at];
            let forgotten = |it: &Written| it.step == Step::Forgotten;
            if is_kept {
            } else if file.noted.as_ref().is_none_or(forgotten) {
                let zero = vec![Exact::default(); KEY_COUNT];
                file.noted = Some(Written {
                    step: Step::Seen,
                    counted: zero.clone(),
                    held: zero,
                    gauge: None,
                    is_hidden: true,
                    ended_at: 0.0,
                });
            } else if let Some(written) = &mut file.noted {
                written.is_hidden = true;
            }
        } else {
            let until = self.now - self.dice.below(200) as f64;
            let before = self.kept.len();
            let is_all = |at: usize, files: &[File]| files[at].cells[0].0 == FIRST_GAUGE;
            let files = &self.files;
            self.kept
                .retain(|(at, kept)| !is_all(*at, files) || kept.ended_at > until);
            let mut count = before - self.kept.len();
            for at in 0..self.files.len() {
                let is_all = is_all(at, &self.files);
                let Some(written) = &mut self.files[at].noted else {
                    continue;
                };
                let has_ended = [Step::Absorbed, Step::Missing].contains(&written.step);
                if is_all && has_ended && written.ended_at <= until && !written.is_hidden {
                    written.is_hidden = true;
                    count += 1;
                }
            }
            assert_eq!(self.books.expire(until), Ok(count), "{:#?}", self.log);
            let again = self.books.expire(until).unwrap();
            assert_eq!(again, 0, "counted twice {:#?}", self.log);
            self.say(format!("{count} gauges expire"));
        }
    }

    fn tends(&mut self) {
        self.books.tend(self.now).unwrap();
        self.is_synced();
    }

    fn may_be_stopped(&mut self) -> bool {
        match self.dice.below(12) {
            0 => self.is_killed(),
            1 => self.loses_power(),
            _ => return false,
        }
        true
    }
}

fn is_less(left: &Exact, right: &Exact) -> bool {
    let mut difference = right.clone();
    difference.subtract_sum(left);
    difference.value() > 0.0
}
