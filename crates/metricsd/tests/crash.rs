//! No count is lost and no scrape goes backwards, whoever is killed when.
//!
//! Method: real processes count and acknowledge each call on a pipe; they are killed with -9 at random moments, and so is the daemon,
//! at random and at each named step of retirement in turn; it is started again on the same state. All the time somebody
//! scrapes. In the end the totals must be what was acknowledged, and of the shards only those of live writers may be left.
//!
//! What a part of a run does depends on the seed alone, when it does it does not. `METRICSD_TEST_SEED` sets the seed,
//! `METRICSD_TEST_LONG` makes the runs a hundred times as long.
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

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::eventually;
use counting::{Bounds, Counting, LANES};
use metricsd::retire::Step;
use stepped::{Deed, Order, Stepped, try_get};
use watch::{Highest, Random, shard_files};

/// A round is the life of one writer, with its end.
const ROUNDS: u64 = 1000;
/// Writers that live at the same time.
const WRITERS: u64 = 3;
/// One writer of so many is Python's, whose start takes twenty times as long.
const PYTHON_EVERY: u64 = 50;
/// One writer of so many lives through some turns of the daemon.
const LONG_LIVED_EVERY: u64 = 16;
/// Dead writers are retired at once.
const DAEMON_ARGUMENTS: [&str; 2] = ["--retire-after", "100ms"];
/// How long a daemon may take to reach the step at which it dies, before it is killed where it is.
const PATIENCE: Duration = Duration::from_millis(1500);
/// The same after the rounds, when only steps are left that no daemon came to: on a busy machine one group may take seconds.
const LAST_PATIENCE: Duration = Duration::from_secs(10);
/// More files than this, and the next daemon is left alone until a quarter is left. An ordinary run hardly ever comes to it.
const CROWD: usize = 2000;
/// How much of the log a failure shows.
const LOG_LINES_SHOWN: usize = 60;
/// How long a run may go on after its rounds until a daemon has died at each step.
const DEATHS_DEADLINE: Duration = Duration::from_secs(120);

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

#[test]
fn nothing_is_lost_and_nothing_goes_backwards_with_shards_in_memory_and_state_on_disk() {
    let name = "nothing_is_lost_and_nothing_goes_backwards_with_shards_in_memory_and_state_on_disk";
    if !Path::new("/dev/shm").is_dir() {
        return watch::skip(name, "no /dev/shm");
    }
    let shards = tempfile::tempdir_in("/dev/shm").unwrap();
    let state = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let storm = Storm::new(
        name,
        shards.path().join("shards"),
        state.path().join("state"),
    );
    storm.run(ROUNDS * watch::length_factor());
}

#[test]
fn nothing_is_lost_and_nothing_goes_backwards_with_both_on_disk() {
    let name = "nothing_is_lost_and_nothing_goes_backwards_with_both_on_disk";
    let both = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let storm = Storm::new(name, both.path().join("shards"), both.path().join("state"));
    storm.run(ROUNDS / 2 * watch::length_factor());
}

/// A process that dies while it makes a file leaves an empty one, or one without a header.
#[test]
fn files_of_writers_that_died_before_they_began_go_too() {
    let folder = tempfile::tempdir().unwrap();
    let shards = folder.path().join("shards");
    std::fs::create_dir(&shards).unwrap();
    std::fs::write(shards.join("counter_1.db"), "").unwrap();
    std::fs::write(shards.join("gauge_liveall_1.db"), [0; 1 << 20]).unwrap();
    let (state, log) = (folder.path().join("state"), folder.path().join("log"));
    let _daemon = Stepped::start(&shards, &state, &DAEMON_ARGUMENTS, None, &log);
    eventually("they are gone", || match shard_files(&shards) {
        left if left.is_empty() => Ok(()),
        left => Err(format!("{left:?}")),
    });
}

/// What was noted while a writer lived is less than what it had counted in the end, so it is no substitute for its file.
#[test]
fn a_daemon_that_dies_at_any_step_loses_nothing_of_a_writer_that_it_saw_alive() {
    std::thread::scope(|scope| {
        for step in steps() {
            scope.spawn(move || dies_at(step));
        }
    });
}

fn dies_at(step: Step) {
    let folder = tempfile::tempdir().unwrap();
    let shards = folder.path().join("shards");
    std::fs::create_dir(&shards).unwrap();
    let (state, log) = (folder.path().join("state"), folder.path().join("log"));
    let start = |order| Stepped::start(&shards, &state, &DAEMON_ARGUMENTS, order, &log);
    let mut writer = Counting::rust(&shards, 0, None);
    writer.wait_for(10);
    let order = Order {
        step,
        time: 1,
        deed: Deed::Die,
    };
    let mut daemon = start(Some(&order));
    // It notes new shards at its next turn. The writer waits meanwhile, once nobody takes what it acknowledges.
    sleep(Duration::from_millis(800));
    writer.wait_for(100_000);
    let counted = writer.kill();
    eventually("it dies", || match daemon.has_ended() {
        true => Ok(()),
        false => Err(format!("it lives, at {step:?}:\n{}", daemon.log())),
    });
    let mut daemon = start(None);
    let mut check = || {
        let page = daemon.scrape();
        let checked = counted.check(&page, true);
        checked.unwrap_or_else(|complaint| panic!("{step:?}: {complaint}\n{}", daemon.log()));
    };
    check();
    eventually("its files are gone", || {
        check();
        match shard_files(&shards) {
            left if left.is_empty() => Ok(()),
            left => Err(format!("{left:?}")),
        }
    });
}

/// All steps but the last, which comes a minute after the others: these daemons do not live that long.
fn steps() -> impl Iterator<Item = Step> {
    let is_soon = |step: &Step| *step != Step::Forgotten;
    Step::ALL.into_iter().filter(is_soon)
}

/// One run.
struct Storm {
    seed: u64,
    python: Option<PathBuf>,
    shards: PathBuf,
    state: PathBuf,
    log: tempfile::NamedTempFile,
    /// What ended writers have counted. No page that is asked for from now on may show less.
    settled: Mutex<Bounds>,
    next_round: AtomicU64,
    /// How many daemons died at which step.
    deaths: Mutex<BTreeMap<&'static str, u32>>,
    /// Where the daemon serves, while there is one.
    address: Mutex<Option<std::net::SocketAddr>>,
    /// The first thing that went wrong. Everybody stops then.
    failure: Mutex<Option<String>>,
    is_over: AtomicBool,
}

impl Storm {
    fn new(name: &str, shards: PathBuf, state: PathBuf) -> Storm {
        Storm {
            seed: watch::seed(),
            python: common::python(name),
            shards,
            state,
            log: tempfile::NamedTempFile::new().unwrap(),
            settled: Mutex::default(),
            next_round: AtomicU64::new(0),
            deaths: Mutex::default(),
            address: Mutex::default(),
            failure: Mutex::default(),
            is_over: AtomicBool::new(false),
        }
    }

    fn run(&self, rounds: u64) {
        std::fs::create_dir_all(&self.shards).unwrap();
        let mut highest = Highest::default();
        std::thread::scope(|scope| {
            let scraper = scope.spawn(|| self.guarded(|| self.scrape_all_the_time()));
            let writers: Vec<_> = (0..WRITERS)
                .map(|_| scope.spawn(|| self.guarded(|| self.write_rounds(rounds))))
                .collect();
            let killer = scope.spawn(|| self.guarded(|| self.kill_daemons(rounds)));
            for writer in writers {
                drop(writer.join());
            }
            self.is_over.store(true, Ordering::Release);
            highest = scraper.join().ok().flatten().unwrap_or_default();
            drop(killer.join());
        });
        self.report();
        let unreached = self.unreached();
        assert!(
            unreached.is_empty(),
            "no daemon died at {unreached:?} within {DEATHS_DEADLINE:?}, so nothing was tested there; deaths: {:?}; {self}",
            lock(&self.deaths)
        );
        // A busy machine scrapes a few times a second, however many writers come and go.
        let pages = highest.pages();
        assert!(
            pages > rounds.min(10_000) / 20,
            "only {pages} pages were scraped"
        );
        self.close(highest);
    }

    /// Afterwards, in peace: the totals are right, and of the shards those of the live are left.
    fn close(&self, mut highest: Highest) {
        let mut survivor = Counting::rust(&self.shards, 0, Some(30));
        survivor.wait_for(30);
        let mut expected = *lock(&self.settled);
        expected += survivor.resting();
        let mut daemon = self.daemon(None);
        let mut check = |daemon: &mut Stepped| {
            let page = daemon.scrape();
            let checked = highest
                .check(&page)
                .and_then(|()| expected.check(&page, true));
            checked.unwrap_or_else(|complaint| panic!("{complaint}; {self}\n{}", daemon.log()));
        };
        let own = format!("_{}-", survivor.id());
        eventually("only the live writer has shards", || {
            check(&mut daemon);
            let of_dead: Vec<_> = shard_files(&self.shards)
                .into_iter()
                .filter(|path| !path.to_string_lossy().contains(&own))
                .collect();
            self.are_gone(&mut daemon, &of_dead)
        });
        assert!(
            !shard_files(&self.shards).is_empty(),
            "the live writer has shards"
        );
        survivor.end();
        eventually("nobody has shards", || {
            check(&mut daemon);
            self.are_gone(&mut daemon, &shard_files(&self.shards))
        });
        daemon.kill();
        let mut daemon = self.daemon(None);
        check(&mut daemon);
        daemon.stop();
        let mut daemon = self.daemon(None);
        check(&mut daemon);
    }

    /// That no file is left, or what is in those that are and what the daemon says of them.
    fn are_gone(&self, daemon: &mut Stepped, left: &[PathBuf]) -> Result<(), String> {
        if left.is_empty() {
            return Ok(());
        }
        let begin = |path: &PathBuf| {
            let bytes = std::fs::read(path).unwrap_or_default();
            let begin = bytes[..bytes.len().min(64)].escape_ascii().to_string();
            format!("{}: {} bytes: {begin}", path.display(), bytes.len())
        };
        let files: Vec<String> = left.iter().take(5).map(begin).collect();
        let page = daemon.scrape();
        let said = page.lines().filter(|line| {
            ["metricsd_shards", "metricsd_unreadable", "metricsd_state"]
                .iter()
                .any(|name| line.starts_with(name))
        });
        Err(format!(
            "{} are left: {files:#?}; {:#?}; {self}; the log:\n{}",
            left.len(),
            said.collect::<Vec<_>>(),
            self.log_tail(),
        ))
    }

    fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(self.log.path()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }

    /// The steps at which no daemon has died yet.
    fn unreached(&self) -> Vec<&'static str> {
        let deaths = lock(&self.deaths);
        steps()
            .map(Step::as_str)
            .filter(|step| !deaths.contains_key(step))
            .collect()
    }

    fn daemon(&self, order: Option<&Order>) -> Stepped {
        Stepped::start(
            &self.shards,
            &self.state,
            &DAEMON_ARGUMENTS,
            order,
            self.log.path(),
        )
    }

    /// One writer after the other is started, counts, and is killed.
    fn write_rounds(&self, rounds: u64) -> Result<(), String> {
        let deadline = Instant::now() + DEATHS_DEADLINE;
        loop {
            let round = self.next_round.fetch_add(1, Ordering::Relaxed);
            // Without writers that end there is nothing to retire, so they go on until daemons have died everywhere.
            let is_enough = self.unreached().is_empty() || Instant::now() > deadline;
            if (round >= rounds && is_enough) || self.is_over.load(Ordering::Acquire) {
                return Ok(());
            }
            if round >= rounds {
                // Only to keep daemons busy: faster than they retire, the directory would grow without end.
                sleep(Duration::from_millis(100));
            }
            let mut random = Random::of(self.seed, round);
            let lane = random.below(LANES);
            let mut writer = match &self.python {
                Some(python) if round.is_multiple_of(PYTHON_EVERY) => {
                    Counting::python(python, &self.shards, lane, None)
                }
                _ => Counting::rust(&self.shards, lane, None),
            };
            if random.below(4) == 0 {
                // While it opens its shards.
                sleep(Duration::from_micros(random.below(3000)));
            } else {
                writer.wait_for(1 + random.below(300));
                if random.below(LONG_LIVED_EVERY) == 0 {
                    // Long enough to be noted, and to have counted more by the end.
                    sleep(Duration::from_millis(random.below(600)));
                }
            }
            let counted = writer.kill();
            *lock(&self.settled) += counted;
        }
    }

    /// One daemon after the other is started and dies: after the rounds at the first step at which none has died, the first time it is
    /// there.
    fn kill_daemons(&self, rounds: u64) -> Result<(), String> {
        for life in 0.. {
            if self.is_over.load(Ordering::Acquire) {
                break;
            }
            let mut random = Random::of(self.seed, u64::MAX - life);
            // Daemons that die sooner than they retire leave more to read to each that follows, so in a long storm no life would
            // ever be longer than its start. One that finds a crowd is left alone until it has thinned it out.
            let is_crowded = shard_files(&self.shards).len() > CROWD;
            // Every third life ends anywhere.
            let step = (life % 3 != 2 && !is_crowded).then(|| {
                let number = (life - life / 3) as usize;
                steps().nth(number % steps().count()).expect("a step")
            });
            let are_rounds_over = self.next_round.load(Ordering::Relaxed) >= rounds;
            let left = self.unreached().first().copied();
            let left = left.filter(|_| are_rounds_over && !is_crowded);
            let step = left.map_or(step, Step::from_name);
            let time = 1 + random.below(3) as u32;
            let order = step.map(|step| Order {
                step,
                time: if left.is_some() { 1 } else { time },
                deed: Deed::Die,
            });
            let mut daemon = Stepped::spawn(
                &self.shards,
                &self.state,
                &DAEMON_ARGUMENTS,
                order.as_ref(),
                self.log.path(),
            );
            let served = daemon.address();
            if served.is_none() && order.is_none() {
                return Err(format!("a daemon does not start:\n{}", daemon.log()));
            }
            *lock(&self.address) = served;
            let patience = match step {
                Some(_) if left.is_some() => LAST_PATIENCE,
                Some(_) => PATIENCE,
                None => Duration::from_millis(20 + random.below(300)),
            };
            if is_crowded {
                self.wait_until_it_is_thinned_out(&mut daemon)?;
            }
            let deadline = Instant::now() + patience;
            while Instant::now() < deadline && !daemon.has_ended() {
                sleep(Duration::from_millis(2));
            }
            *lock(&self.address) = None;
            if let (true, Some(step)) = (daemon.has_ended(), step) {
                if !daemon.died_by_signal(9) {
                    return Err(format!("a daemon ended by itself:\n{}", daemon.log()));
                }
                *lock(&self.deaths).entry(step.as_str()).or_default() += 1;
            }
            daemon.kill();
        }
        Ok(())
    }

    fn wait_until_it_is_thinned_out(&self, daemon: &mut Stepped) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(120);
        while shard_files(&self.shards).len() > CROWD / 4 {
            if Instant::now() > deadline || daemon.has_ended() {
                let log = daemon.log();
                return Err(format!("the shards of the dead do not go:\n{log}"));
            }
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Scrapes whatever daemon there is, and checks each page.
    fn scrape_all_the_time(&self) -> Result<Highest, String> {
        let mut highest = Highest::default();
        while !self.is_over.load(Ordering::Acquire) {
            let address = *lock(&self.address);
            // All that was settled before the question must be in the answer.
            let settled = *lock(&self.settled);
            // A daemon that dies while it answers shows nothing.
            let answer = address.and_then(|address| try_get(address, "/metrics").ok());
            let Some(page) = answer.filter(|answer| answer.status == 200) else {
                sleep(Duration::from_millis(2));
                continue;
            };
            highest.check(&page.body)?;
            settled.check(&page.body, false)?;
        }
        Ok(highest)
    }

    /// Runs one part; when it fails, all end.
    fn guarded<T>(&self, part: impl FnOnce() -> Result<T, String>) -> Option<T> {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(part));
        let complaint = match outcome {
            Ok(Ok(value)) => return Some(value),
            Ok(Err(complaint)) => complaint,
            Err(_) => "a part panicked, see above".to_owned(),
        };
        lock(&self.failure).get_or_insert(complaint);
        self.is_over.store(true, Ordering::Release);
        None
    }

    fn report(&self) {
        if let Some(complaint) = &*lock(&self.failure) {
            let log = self.log_tail();
            panic!("{complaint}; {self}\nthe last lines of the log:\n{log}");
        }
    }
}

impl std::fmt::Display for Storm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "to repeat: METRICSD_TEST_SEED={}", self.seed)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
