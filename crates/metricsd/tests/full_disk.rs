//! A disk that is full to the last byte and the last inode: totals stay exact, retirement pauses and says so, and all recovers by
//! itself when there is room again.
//!
//! The file systems are mounted by the tests, which takes privileges; without them the tests are skipped.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;
#[path = "common/counting.rs"]
mod counting;
#[path = "common/full.rs"]
mod full;
#[path = "common/stepped.rs"]
mod stepped;
#[path = "common/watch.rs"]
mod watch;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use common::shards::{key, shard_bytes};
use common::{eventually, expect_value, value_of};
use counting::{Bounds, Counting};
use full::{Small, fill, is_full, make_room};
use metricsd::retire::Step;
use stepped::{Deed, Order, Stepped};
use watch::{Highest, shard_files, skip};

/// Room for the state with its reserve, and little more.
const STATE_LEN_BYTES: u64 = 64 << 20;
/// Room for the shards of a test.
const SHARDS_LEN_BYTES: u64 = 24 << 20;
const INODES: u64 = 400;
/// Ended writers.
const ENDED: u32 = 64;
/// Series of each, with labels so long that their keys fill more than one segment of the journal.
const SERIES: usize = 50;
const LABEL_LEN_BYTES: usize = 1000;
/// Writers that come and go while the disk is full: their keys fill more than what the journal's open segment has left.
const LATE: u32 = 64;
/// How long nothing may happen: many times as long as it takes to retire a shard.
const OBSERVED: Duration = Duration::from_millis(1000);
/// Steps that are looked at at the same time.
const AT_A_TIME: usize = 3;
/// What every life of a daemon logs first.
const FIRST_WORDS: &str = "shard directory directory=";
const RETIRE: [&str; 2] = ["--retire-after", "100ms"];

#[test]
#[ignore = "a child process of the tests in this file"]
fn counting_child() {
    counting::count_as_child();
}

#[test]
#[ignore = "a child process of the tests in this file"]
fn stepped_child() {
    stepped::serve_as_child();
}

/// Where shards and state are, and what is in the shards.
struct Place {
    // Unmounted before the folder is removed.
    _mounts: Vec<Small>,
    folder: tempfile::TempDir,
    shards: PathBuf,
    state: PathBuf,
    /// How many there were so far, ended or not.
    writers: u32,
    /// Written already, under names that nobody looks at: on a full disk it could not be done.
    prepared: Vec<(PathBuf, PathBuf)>,
    /// Open for writing, as their processes would have them: live until they are dropped.
    held: Vec<File>,
    highest: Highest,
}

/// Which of the two are on a small file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnSmall {
    State,
    Shards,
    /// Both on the same one.
    Both,
}

impl Place {
    /// None when nothing can be mounted; that is noted as a skip.
    fn new(test: &str, on_small: OnSmall) -> Option<Place> {
        let folder = tempfile::tempdir().unwrap();
        let small = folder.path().join("small");
        let len_bytes = match on_small {
            OnSmall::Shards => SHARDS_LEN_BYTES,
            OnSmall::State => STATE_LEN_BYTES,
            OnSmall::Both => STATE_LEN_BYTES + SHARDS_LEN_BYTES,
        };
        let mount = match Small::mount(&small, len_bytes, INODES) {
            Ok(mount) => mount,
            Err(why) => {
                skip(test, &why);
                return None;
            }
        };
        let on = |is_small: bool, name: &str| match is_small {
            true => small.join(name),
            false => folder.path().join(name),
        };
        let place = Place {
            shards: on(on_small != OnSmall::State, "shards"),
            state: on(on_small != OnSmall::Shards, "state"),
            _mounts: vec![mount],
            folder,
            writers: 0,
            prepared: Vec::new(),
            held: Vec::new(),
            highest: Highest::default(),
        };
        std::fs::create_dir(&place.shards).unwrap();
        Some(place)
    }

    fn small(&self) -> PathBuf {
        self.folder.path().join("small")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn daemon(&self, order: Option<&Order>) -> Stepped {
        Stepped::start(&self.shards, &self.state, &RETIRE, order, &self.log())
    }

    /// Shards of processes that have ended: one series in all of them, and many of its own in each.
    fn add_ended(&mut self, count: u32) {
        self.prepare(count);
        self.add_prepared();
        self.held.clear();
    }

    /// Makes shards that [`Place::add_prepared`] puts where they are found.
    fn prepare(&mut self, count: u32) {
        for number in self.writers..self.writers + count {
            let id = number.to_string();
            let mut entries = vec![(key("shared", "shared_total", &[]), 1.0)];
            entries.extend((0..SERIES).map(|number| {
                let filling = format!("{number:0LABEL_LEN_BYTES$}");
                let labels = [("writer", id.as_str()), ("filling", filling.as_str())];
                (key("own", "own_total", &labels), 0.5)
            }));
            let aside = self.shards.join(format!("prepared-{id}"));
            std::fs::write(&aside, shard_bytes(&entries)).unwrap();
            self.held
                .push(File::options().append(true).open(&aside).unwrap());
            let path = self.shards.join(format!("counter_{id}.db"));
            self.prepared.push((aside, path));
        }
    }

    /// Their processes live until `held` is cleared.
    fn add_prepared(&mut self) {
        for (aside, path) in std::mem::take(&mut self.prepared) {
            std::fs::rename(aside, path).unwrap();
            self.writers += 1;
        }
    }

    /// The next page has all that was ever counted, and nothing in it is lower than it was.
    ///
    /// A daemon that was started while nothing can be written may show nothing that it merged, and then says that it is not ready:
    /// what it knows of earlier runs cannot be brought together with what is there. Less than all it may never show.
    #[track_caller]
    fn check(&mut self, daemon: &mut Stepped) -> String {
        let ready = daemon.get("/-/ready");
        let page = daemon.scrape();
        let own = page.lines().filter(|line| line.starts_with("own_total{"));
        let own_count = own.count();
        if ready.status == 503 && own_count == 0 && value_of(&page, "shared_total").is_none() {
            return page;
        }
        self.highest
            .check(&page)
            .unwrap_or_else(|complaint| panic!("{complaint}\n{}", daemon.log()));
        if self.writers > 0 {
            let shared = value_of(&page, "shared_total");
            assert_eq!(shared, Some(f64::from(self.writers)), "{}", daemon.log());
            assert_eq!(own_count, self.writers as usize * SERIES);
        }
        page
    }

    #[track_caller]
    fn check_until(
        &mut self,
        daemon: &mut Stepped,
        what: &str,
        mut condition: impl FnMut(&mut Stepped, &str) -> Result<(), String>,
    ) {
        eventually(what, || {
            let page = self.check(daemon);
            condition(daemon, &page).map_err(|complaint| format!("{complaint}\n{}", daemon.log()))
        });
    }

    /// It is full, and stays so whatever is given back: that is said everywhere, and the shards of those that end now stay.
    #[track_caller]
    fn pauses(&mut self, daemon: &mut Stepped) {
        let small = self.small();
        self.check_until(daemon, "it says that it is full", |daemon, page| {
            fill(&small);
            let errors: f64 = page
                .lines()
                .filter(|line| line.starts_with("metricsd_state_errors_total"))
                .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
                .sum();
            let log = daemon.log();
            let of_this_life = log.rsplit(FIRST_WORDS).next();
            let is_logged = of_this_life.is_some_and(|log| log.contains("No space left"));
            if errors > 0.0 && is_logged {
                return Ok(());
            }
            Err(format!("{errors} errors, logged: {is_logged}"))
        });
        self.held.clear();
        let waiting = shard_files(&self.shards);
        assert!(!waiting.is_empty(), "nothing is left that could wait");
        self.check_until(daemon, "their end is known", |_, page| {
            let ended = value_of(page, "metricsd_shards{state=\"ended\"}");
            match ended {
                Some(ended) if ended >= waiting.len() as f64 => Ok(()),
                _ => Err(format!("{ended:?} of {}", waiting.len())),
            }
        });
        let until = Instant::now() + OBSERVED;
        while Instant::now() < until {
            self.check(daemon);
            let left = shard_files(&self.shards).len();
            assert_eq!(
                left,
                waiting.len(),
                "retirement does not wait\n{}",
                daemon.log()
            );
        }
    }

    /// There is room again: nobody has to do anything.
    #[track_caller]
    fn recovers(&mut self, daemon: &mut Stepped) {
        let shards = self.shards.clone();
        self.check_until(daemon, "it recovers by itself", |daemon, _| {
            let (left, ready) = (shard_files(&shards), daemon.get("/-/ready"));
            if left.is_empty() && ready.status == 200 {
                return Ok(());
            }
            Err(format!("{left:?}, {ready:?}"))
        });
    }
}

/// All steps but the last, which comes a minute after the others.
fn steps() -> impl Iterator<Item = Step> {
    let is_soon = |step: &Step| *step != Step::Forgotten;
    Step::ALL.into_iter().filter(is_soon)
}

#[test]
fn a_state_disk_that_gets_full_at_any_step_costs_nothing() {
    let name = "a_state_disk_that_gets_full_at_any_step_costs_nothing";
    at_each_step(name, OnSmall::State, gets_full_at);
}

#[test]
fn one_disk_for_both_that_gets_full_at_any_step_costs_nothing() {
    let name = "one_disk_for_both_that_gets_full_at_any_step_costs_nothing";
    at_each_step(name, OnSmall::Both, gets_full_at);
}

/// Some at a time, since most of it is waiting.
fn at_each_step(test: &str, on_small: OnSmall, check: fn(Step, &mut Place)) {
    let steps: Vec<Step> = steps().collect();
    for steps in steps.chunks(AT_A_TIME) {
        let places: Vec<Place> = steps
            .iter()
            .map_while(|_| Place::new(test, on_small))
            .collect();
        if places.len() < steps.len() {
            return;
        }
        std::thread::scope(|scope| {
            for (&step, mut place) in steps.iter().zip(places) {
                scope.spawn(move || check(step, &mut place));
            }
        });
    }
}

fn gets_full_at(step: Step, place: &mut Place) {
    place.add_ended(ENDED);
    place.prepare(LATE);
    let order = Order {
        step,
        time: 1,
        deed: Deed::Fill(place.small()),
    };
    let mut daemon = place.daemon(Some(&order));
    let small = place.small();
    place.check_until(&mut daemon, "it gets full", |_, _| match is_full(&small) {
        true => Ok(()),
        false => Err("there is room".to_owned()),
    });
    // What the journal has reserved may be enough for those that had ended before. If all are on one disk, that makes room.
    place.add_prepared();
    place.pauses(&mut daemon);
    // Killed while it is full, and started while it is full.
    daemon.kill();
    fill(&small);
    let mut daemon = place.daemon(None);
    place.check(&mut daemon);
    place.pauses(&mut daemon);
    make_room(&small);
    place.recovers(&mut daemon);
    daemon.kill();
    let mut daemon = place.daemon(None);
    place.check(&mut daemon);
    daemon.stop();
}

#[test]
fn a_shard_disk_that_gets_full_at_any_step_costs_nothing() {
    let name = "a_shard_disk_that_gets_full_at_any_step_costs_nothing";
    at_each_step(name, OnSmall::Shards, |step, place| {
        place.add_ended(ENDED);
        let order = Order {
            step,
            time: 1,
            deed: Deed::Fill(place.small()),
        };
        let mut daemon = place.daemon(Some(&order));
        // To rename and to delete takes no room, so nothing has to wait.
        place.recovers(&mut daemon);
        daemon.kill();
        let mut daemon = place.daemon(None);
        place.check(&mut daemon);
    });
}

/// A writer that finds no room counts in memory and brings it to a file later; one that has its file goes on in it.
#[test]
fn writers_on_a_full_shard_disk_lose_nothing() {
    let name = "writers_on_a_full_shard_disk_lose_nothing";
    let Some(mut place) = Place::new(name, OnSmall::Shards) else {
        return;
    };
    let mut daemon = place.daemon(None);
    let mut before = Counting::rust(&place.shards, 0, Some(300));
    before.wait_for(100);
    fill(&place.small());
    before.wait_for(300);
    let mut during = Counting::rust(&place.shards, 1, Some(300));
    during.wait_for(300);
    let mut expected: Bounds = before.resting();
    expected.check(&place.check(&mut daemon), true).unwrap();
    make_room(&place.small());
    expected += during.resting();
    let shards = place.shards.clone();
    place.check_until(
        &mut daemon,
        "what was counted in memory is shown",
        |_, page| expected.check(page, true),
    );
    before.kill();
    during.kill();
    place.check_until(&mut daemon, "all are retired", |_, page| {
        expected.check(page, true).unwrap();
        match shard_files(&shards) {
            left if left.is_empty() => Ok(()),
            left => Err(format!("{left:?}")),
        }
    });
}

/// On a small disk journal and reserve are small as well: it works, pauses when it is full, and goes on when it grows.
#[test]
fn a_state_disk_of_a_few_mebibytes_works_until_it_is_full_and_again_when_it_grows() {
    let name = "a_state_disk_of_a_few_mebibytes_works_until_it_is_full_and_again_when_it_grows";
    let folder = tempfile::tempdir().unwrap();
    let small = folder.path().join("small");
    let mount = match Small::mount(&small, 3 << 20, INODES) {
        Ok(mount) => mount,
        Err(why) => return skip(name, &why),
    };
    let mut place = Place {
        shards: folder.path().join("shards"),
        state: small.join("state"),
        _mounts: vec![mount],
        folder,
        writers: 0,
        prepared: Vec::new(),
        held: Vec::new(),
        highest: Highest::default(),
    };
    std::fs::create_dir(&place.shards).unwrap();
    place.add_ended(4);
    let mut daemon = place.daemon(None);
    place.recovers(&mut daemon);
    place.prepare(8);
    fill(&small);
    place.add_prepared();
    place.pauses(&mut daemon);
    assert_eq!(shard_files(&place.shards).len(), 8, "{}", daemon.log());
    daemon.kill();
    let mut daemon = place.daemon(None);
    place.pauses(&mut daemon);
    make_room(&small);
    grow(&small, STATE_LEN_BYTES);
    place.recovers(&mut daemon);
    let page = place.check(&mut daemon);
    assert_eq!(expect_value(&page, "shared_total"), 12.0);
}

fn grow(mounted: &Path, len_bytes: u64) {
    let status = Command::new("mount")
        .arg("-o")
        .arg(format!("remount,size={len_bytes}"))
        .arg(mounted)
        .status()
        .unwrap();
    assert!(status.success());
}
