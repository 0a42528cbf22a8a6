//! What comes back after it was given up: directories, deleted shards with a late writer, gauges of the dead, a disk's worth of them
//! at once. Counts are exact all the time, and what is over is forgotten in the end.
//!
//! Each daemon is a process of its own. Late writers are this process: they store into the file, past any name that it has.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;
#[path = "common/full.rs"]
mod full;
#[path = "common/stepped.rs"]
mod stepped;
#[path = "common/watch.rs"]
mod watch;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::Parser;
use common::child::WriterChild;
use common::shards::{counter, key, write_shard};
use common::{DEADLINE, Daemon, eventually, expect_value, value_of};
use metricsd::archive::{Disk, load};
use metricsd::cli::Cli;
use metricsd::retire::Step;
use metricsd::serve::Running;
use metricsd::settings::ServeSettings;
use metricsd_shard::{HEADER_LEN_BYTES, Key, original_of_retiring, value_offset_bytes};
use rustix::process::Signal;
use stepped::{Deed, Order, Stepped, try_get};
use watch::{Highest, shard_files};

const EVENTS: &str = "late_events_total";
const LEVEL: &str = "late_level";
const ORPHANS: &str = "metricsd_orphaned_shards";
/// Of `O_NONBLOCK`, on Linux on every architecture that is supported.
const NONBLOCK: i32 = 0o4000;

/// The daemon's arguments, one a line; set in the child only.
const GATED_VARIABLE: &str = "METRICSD_TEST_GATED_ARGUMENTS";
/// Begin the lines of a gated daemon.
const SERVING: &str = "serving ";
const AT: &str = "at ";

#[test]
fn child() {
    common::child::obey();
}

#[test]
#[ignore = "a child process of the tests in this file"]
fn stepped_child() {
    stepped::serve_as_child();
}

/// A daemon that says each step of retirement, and waits for a line at the first [`Step::Absorbed`].
#[test]
#[ignore = "a child process of the tests in this file"]
fn gated_child() {
    let Ok(arguments) = std::env::var(GATED_VARIABLE) else {
        return;
    };
    metricsd_shard::ignore_sigio().unwrap();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let words = ["metricsd"].into_iter().chain(arguments.lines());
    let settings = ServeSettings::resolve(&Cli::parse_from(words).serve, &|_| None).unwrap();
    let (open, opened) = channel::<()>();
    let gate = Mutex::new(Some(opened));
    let at_step = Arc::new(move |step: Step| {
        say(&format!("{AT}{step}"));
        if step == Step::Absorbed
            && let Some(opened) = gate.lock().unwrap().take()
        {
            let _ = opened.recv();
        }
    });
    let running = Running::start_watched(settings, at_step).unwrap();
    say(&format!("{SERVING}{}", running.addresses()[0]));
    for line in std::io::stdin().lock().lines() {
        line.unwrap();
        let _ = open.send(());
    }
    running.stop();
}

/// One whole line of its own.
fn say(line: &str) {
    let mut output = std::io::stdout().lock();
    write!(output, "\n{line}\n").unwrap();
    output.flush().unwrap();
}

/// The same, as its parent sees it; killed when dropped.
struct Gated {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    log: PathBuf,
}

impl Gated {
    fn start(arguments: &[&str], log: &Path) -> Gated {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["gated_child", "--exact", "--ignored", "--nocapture"])
            .env(GATED_VARIABLE, arguments.join("\n"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(log).unwrap())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Gated {
            input: child.stdin.take(),
            child,
            lines,
            log: log.to_owned(),
        }
    }

    /// Reads on to a line that begins so, and gives the rest of it.
    fn expect(&self, words: &str) -> String {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            let line = line.unwrap_or_else(|err| panic!("no {words:?}: {err}\n{}", self.log()));
            if let Some(rest) = line.strip_prefix(words) {
                return rest.to_owned();
            }
        }
    }

    fn open_gate(&mut self) {
        writeln!(self.input.as_mut().unwrap()).unwrap();
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Has it stop as SIGTERM would.
    fn stop(mut self) {
        drop(self.input.take());
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}:\n{}", self.log());
    }
}

impl Drop for Gated {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Shards and state.
struct Place {
    folder: tempfile::TempDir,
    shards: PathBuf,
    state: PathBuf,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let (shards, state) = (folder.path().join("shards"), folder.path().join("state"));
        fs::create_dir(&shards).unwrap();
        Place {
            folder,
            shards,
            state,
        }
    }

    fn daemon(&self, more: &[&str]) -> Daemon {
        let mut arguments = vec!["--state-dir", self.state.to_str().unwrap()];
        arguments.extend(more);
        Daemon::start_with(&self.shards, &arguments)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Which shards the journal remembers.
    fn remembered(&self) -> Result<Vec<String>, String> {
        let disk = Disk::open(&self.state).map_err(|err| err.to_string())?;
        let (state, _) = load(&disk).map_err(|err| err.to_string())?;
        let shards = state.shards();
        Ok(shards
            .map(|(identity, known)| format!("{identity:?} {:?}", known.phase()))
            .collect())
    }
}

/// A page shows a total, and no counter is lower than it was.
#[track_caller]
fn shows(highest: &mut Highest, page: &str, series: &str, total: f64, log: &str) {
    assert_eq!(highest.check(page), Ok(()), "{log}");
    assert_eq!(value_of(page, series), Some(total), "{log}");
}

/// Waits until no shard file is left, while every page shows a total.
fn retires_all(place: &Place, daemon: &Daemon, highest: &mut Highest, total: f64) {
    eventually("all shards are retired", || {
        shows(highest, &daemon.scrape(), EVENTS, total, &daemon.log());
        match shard_files(&place.shards) {
            left if left.is_empty() => Ok(()),
            left => Err(format!("{left:?}\n{}", daemon.log())),
        }
    });
}

/// A file that is open for writing, and where the value of its only entry is.
struct LateWriter {
    file: File,
    at: u64,
}

impl LateWriter {
    /// Opens it while a daemon may hold a lease on it.
    fn open(path: &Path, key: &Key) -> LateWriter {
        let deadline = Instant::now() + DEADLINE;
        let mut options = File::options();
        options.read(true).write(true).custom_flags(NONBLOCK);
        let file = loop {
            match options.open(path) {
                Ok(file) => break file,
                // The question is over at once.
                Err(err) if err.kind() == ErrorKind::WouldBlock && Instant::now() < deadline => {
                    std::thread::yield_now();
                }
                Err(err) => panic!("{}: {err}", path.display()),
            }
        };
        let key_len = key.encode().len();
        let at = (HEADER_LEN_BYTES + value_offset_bytes(key_len)) as u64;
        LateWriter { file, at }
    }

    fn store(&self, value: f64) {
        self.file
            .write_all_at(&value.to_le_bytes(), self.at)
            .unwrap();
    }
}

#[test]
fn a_directory_that_was_away_when_the_daemon_started_does_not_count_twice_when_it_is_back() {
    for lives_away in [1, 2] {
        let place = Place::new();
        let (shards, state, log) = (&place.shards, &place.state, place.path("log"));
        let away = place.path("away");
        write_shard(shards, "counter_1.db", &[(counter("late_events"), 5.0)]);
        write_shard(shards, "counter_2.db", &[(counter("late_events"), 7.0)]);
        let order = Order {
            step: Step::Absorbed,
            time: 1,
            deed: Deed::Die,
        };
        let quick = ["--retire-after", "100ms"];
        let mut dies = Stepped::start(shards, state, &quick, Some(&order), &log);
        eventually("it dies", || match dies.died_by_signal(9) {
            true => Ok(()),
            false => Err(dies.log()),
        });
        assert!(
            !shard_files(shards).is_empty(),
            "nothing is absorbed and there"
        );

        fs::rename(shards, &away).unwrap();
        fs::create_dir(shards).unwrap();
        for _ in 0..lives_away {
            let daemon = place.daemon(&quick);
            let page = daemon.scrape();
            assert_eq!(value_of(&page, EVENTS), Some(12.0), "{}", daemon.log());
            assert!(daemon.terminate().success());
        }
        fs::remove_dir(shards).unwrap();
        fs::rename(&away, shards).unwrap();

        let mut highest = Highest::default();
        let daemon = place.daemon(&quick);
        shows(&mut highest, &daemon.scrape(), EVENTS, 12.0, &daemon.log());
        retires_all(&place, &daemon, &mut highest, 12.0);
        assert!(daemon.terminate().success());
        let daemon = place.daemon(&quick);
        shows(&mut highest, &daemon.scrape(), EVENTS, 12.0, &daemon.log());
    }
}

#[test]
fn a_shard_that_a_late_writer_kept_and_somebody_deleted_is_shown_and_forgotten_after_its_end() {
    let place = Place::new();
    let late = counter("late_events");
    write_shard(&place.shards, "counter_1.db", &[(late.clone(), 5.0)]);
    let arguments = [
        "--multiproc-dir",
        place.shards.to_str().unwrap(),
        "--state-dir",
        place.state.to_str().unwrap(),
        "--web.listen-address",
        "127.0.0.1:0",
        "--retire-after",
        "100ms",
    ];
    let mut daemon = Gated::start(&arguments, &place.path("log"));
    let address: SocketAddr = daemon.expect(SERVING).parse().unwrap();
    let mut highest = Highest::default();
    let mut scrape = |daemon: &Gated| {
        let answer = try_get(address, "/metrics");
        let answer = answer.unwrap_or_else(|err| panic!("{err}\n{}", daemon.log()));
        assert_eq!(highest.check(&answer.body), Ok(()), "{}", daemon.log());
        answer.body
    };
    let total = |page: &str| expect_value(page, EVENTS);
    daemon.expect(&format!("{AT}{}", Step::Absorbed));
    let [path] = shard_files(&place.shards).try_into().unwrap();
    assert_eq!(
        original_of_retiring(path.file_name().unwrap().to_str().unwrap()),
        Some("counter_1.db")
    );
    let writer = LateWriter::open(&path, &late);
    writer.store(7.0);
    daemon.open_gate();
    daemon.expect(&format!("{AT}{}", Step::AskedLast));
    daemon.expect(&format!("{AT}{}", Step::UnlinkSynced));
    eventually("it is put off, and what came late is shown", || {
        let page = scrape(&daemon);
        let live = expect_value(&page, "metricsd_shards{state=\"live\"}");
        match (total(&page), live) {
            (7.0, 1.0) => Ok(()),
            found => Err(format!("{found:?}\n{}", daemon.log())),
        }
    });
    assert!(path.exists(), "a shard with a writer was deleted");

    fs::remove_file(&path).unwrap();
    assert_eq!(total(&scrape(&daemon)), 7.0, "{}", daemon.log());
    for stored in [8.0, 9.5, 12.0] {
        writer.store(stored);
        assert_eq!(total(&scrape(&daemon)), stored, "{}", daemon.log());
        assert_eq!(total(&scrape(&daemon)), stored, "{}", daemon.log());
    }
    assert_eq!(expect_value(&scrape(&daemon), ORPHANS), 1.0);
    // Through some turns of the daemon, during which it asks again.
    let many_turns = Instant::now() + Duration::from_secs(2);
    while Instant::now() < many_turns {
        assert_eq!(total(&scrape(&daemon)), 12.0, "{}", daemon.log());
    }
    writer.store(20.0);
    assert_eq!(total(&scrape(&daemon)), 20.0, "{}", daemon.log());
    drop(writer);
    eventually("the orphan is gone", || {
        let page = scrape(&daemon);
        assert_eq!(total(&page), 20.0, "{}", daemon.log());
        match expect_value(&page, ORPHANS) {
            0.0 => Ok(()),
            count => Err(format!("{count} orphans\n{}", daemon.log())),
        }
    });
    assert_eq!(total(&scrape(&daemon)), 20.0);
    daemon.stop();
    let daemon = place.daemon(&["--retire-after", "100ms"]);
    let page = daemon.scrape();
    assert_eq!(expect_value(&page, EVENTS), 20.0, "{}", daemon.log());
}

/// Scrapes and the keeper do not wait for each other, so only many rounds meet all orders of the two.
#[test]
fn gauges_that_are_deleted_again_and_again_do_not_stop_the_keeper() {
    const ROUNDS: usize = 40;
    const KEYS: usize = 20_000;
    let place = Place::new();
    let daemon = place.daemon(&["--retire-after", "100ms"]);
    for round in 0..ROUNDS {
        let name = format!("gauge_livemax_{}.db", round + 1);
        // Each key is new, so that those of the rounds before are of no use any more.
        let entries: Vec<(Key, f64)> = (0..KEYS)
            .map(|number| {
                let number = (round * KEYS + number).to_string();
                (key(LEVEL, LEVEL, &[("number", &number)]), 1.0)
            })
            .collect();
        let first = format!("{LEVEL}{{number=\"{}\"}}", round * KEYS);
        // It appears with a writer, so that the daemon does not retire it.
        let hidden = write_shard(place.folder.path(), "new", &entries);
        let writer = LateWriter::open(&hidden, &entries[0].0);
        let path = place.shards.join(&name);
        fs::rename(&hidden, &path).unwrap();
        let page = daemon.scrape();
        assert_eq!(value_of(&page, &first), Some(1.0), "{}", daemon.log());
        fs::remove_file(&path).unwrap();
        let page = daemon.scrape();
        assert_eq!(value_of(&page, &first), None, "{}", daemon.log());
        drop(writer);
    }
    write_shard(
        &place.shards,
        "counter_1.db",
        &[(counter("late_events"), 5.0)],
    );
    let mut highest = Highest::default();
    retires_all(&place, &daemon, &mut highest, 5.0);
    let page = daemon.scrape();
    assert_eq!(expect_value(&page, EVENTS), 5.0);
    let log = daemon.log();
    assert!(!log.contains("panicked"), "{log}");
    assert!(daemon.terminate().success());
}

/// The claim is about time: it is looked at until long after everything that was to happen.
#[test]
fn a_gauge_of_the_dead_that_was_hidden_for_its_age_never_comes_back() {
    std::thread::scope(|scope| {
        for retire_after in ["6s", "off"] {
            scope.spawn(move || gauge_stays_hidden(retire_after));
        }
    });
}

fn gauge_stays_hidden(retire_after: &str) {
    let place = Place::new();
    let arguments = ["--dead-gauges", "2s", "--retire-after", retire_after];
    let daemon = place.daemon(&arguments);
    let mut writer = WriterChild::start(&place.shards, "aging");
    writer.tell("set 5");
    writer.tell("add 3");
    let level = |page: &str| value_of(page, "child_level");
    assert_eq!(level(&daemon.scrape()), Some(5.0), "{}", daemon.log());
    let died_after = Instant::now();
    writer.kill();
    let died_before = Instant::now();
    let page = daemon.scrape();
    // Two seconds may be over on a machine that was busy with something else.
    if died_after.elapsed() < Duration::from_secs(1) {
        assert_eq!(level(&page), Some(5.0), "{retire_after}: {}", daemon.log());
    }
    let hidden_after = eventually("it is hidden", || {
        let elapsed = died_before.elapsed();
        match level(&daemon.scrape()) {
            None => Ok(elapsed),
            Some(value) => Err(format!("{value}: {}", daemon.log())),
        }
    });
    assert!(
        !shard_files(&place.shards).is_empty(),
        "it was retired before it was hidden, {hidden_after:?} after the end"
    );
    while died_before.elapsed() < Duration::from_secs(10) {
        let page = daemon.scrape();
        let elapsed = died_before.elapsed();
        assert_eq!(
            level(&page),
            None,
            "{retire_after}: hidden {hidden_after:?} after the end, back after {elapsed:?}: {}",
            daemon.log()
        );
        assert_eq!(expect_value(&page, "child_events_total"), 3.0);
        std::thread::sleep(Duration::from_millis(5));
    }
    let is_retired = shard_files(&place.shards).is_empty();
    assert_eq!(is_retired, retire_after != "off", "{}", daemon.log());
    assert!(daemon.terminate().success());
    let daemon = place.daemon(&arguments);
    let soon = Instant::now() + Duration::from_secs(3);
    while Instant::now() < soon {
        let page = daemon.scrape();
        assert_eq!(
            level(&page),
            None,
            "{retire_after}, restarted: {}",
            daemon.log()
        );
        assert_eq!(expect_value(&page, "child_events_total"), 3.0);
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The daemon deletes such a shard itself, which is no word of anybody's that its process is dead.
#[test]
fn gauges_of_the_dead_are_shown_after_their_retirement_as_they_were_before() {
    let place = Place::new();
    let modes = ["livesum", "liveall", "livemax", "livemin", "sum", "all"];
    for mode in modes {
        for shard in 1..=2 {
            let name = format!("gauge_{mode}_{shard}.db");
            let gauge = format!("{LEVEL}_{mode}");
            let entries = [(key(&gauge, &gauge, &[]), f64::from(shard))];
            write_shard(&place.shards, &name, &entries);
        }
    }
    let series = |page: &str| {
        let lines = page.lines().filter(|line| line.starts_with("late_level_"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let daemon = place.daemon(&["--retire-after", "500ms"]);
    let before = series(&daemon.scrape());
    assert_eq!(before.len(), 8, "{before:?}");
    assert!(before.contains(&format!("{LEVEL}_livesum 3.0")));
    let stays = |daemon: &Daemon| {
        assert_eq!(series(&daemon.scrape()), before, "{}", daemon.log());
        std::thread::sleep(Duration::from_millis(5));
    };
    eventually("they are retired", || {
        stays(&daemon);
        match shard_files(&place.shards) {
            left if left.is_empty() => Ok(()),
            left => Err(format!("{left:?}\n{}", daemon.log())),
        }
    });
    // Past the first question for late writers, a second after the deletion.
    let retired = Instant::now();
    while retired.elapsed() < Duration::from_secs(3) {
        stays(&daemon);
    }
    assert!(daemon.terminate().success());
    stays(&place.daemon(&["--retire-after", "500ms"]));
}

#[test]
fn a_retired_shard_that_was_taken_in_again_for_a_late_writer_is_retired_again_after_its_end() {
    std::thread::scope(|scope| {
        scope.spawn(|| taken_in_again("counter_1.db", &counter("late_events"), EVENTS));
        scope.spawn(|| taken_in_again("gauge_livemax_1.db", &key(LEVEL, LEVEL, &[]), LEVEL));
        scope.spawn(|| taken_in_again("gauge_livesum_1.db", &key(LEVEL, LEVEL, &[]), LEVEL));
    });
}

fn taken_in_again(name: &str, late: &Key, series: &str) {
    let place = Place::new();
    let path = write_shard(&place.shards, name, &[(late.clone(), 5.0)]);
    let reader = File::open(&path).unwrap();
    let daemon = place.daemon(&["--retire-after", "100ms"]);
    let mut highest = Highest::default();
    eventually("it is retired", || match shard_files(&place.shards) {
        left if left.is_empty() => Ok(()),
        left => Err(format!("{left:?}\n{}", daemon.log())),
    });
    // A second after the deletion the daemon asks for the first time.
    let by_descriptor = PathBuf::from(format!("/proc/self/fd/{}", reader.as_raw_fd()));
    let writer = LateWriter::open(&by_descriptor, late);
    writer.store(7.0);
    let mut check = |page: &str| {
        assert_eq!(highest.check(page), Ok(()), "{name}: {}", daemon.log());
    };
    eventually("it is taken in again", || {
        let page = daemon.scrape();
        check(&page);
        match (value_of(&page, series), expect_value(&page, ORPHANS)) {
            (Some(7.0), 1.0) => Ok(()),
            found => Err(format!("{name}: {found:?}\n{}", daemon.log())),
        }
    });
    writer.store(9.0);
    let page = daemon.scrape();
    check(&page);
    assert_eq!(value_of(&page, series), Some(9.0), "{}", daemon.log());
    writer.store(12.0);
    drop(writer);
    eventually("the orphan is gone", || {
        let page = daemon.scrape();
        check(&page);
        assert_eq!(
            value_of(&page, series),
            Some(12.0),
            "{name}: {}",
            daemon.log()
        );
        match expect_value(&page, ORPHANS) {
            0.0 => Ok(()),
            count => Err(format!("{name}: {count} orphans\n{}", daemon.log())),
        }
    });
    let is_settled = |page: &str| {
        assert_eq!(value_of(page, series), Some(12.0), "{name}");
        assert_eq!(expect_value(page, ORPHANS), 0.0, "{name}");
    };
    is_settled(&daemon.scrape());
    assert!(daemon.terminate().success());
    let daemon = place.daemon(&["--retire-after", "100ms"]);
    is_settled(&daemon.scrape());
}

/// It may rest for long; only its end is the end.
#[test]
fn what_a_late_writer_stores_long_after_the_deletion_is_counted() {
    let place = Place::new();
    let late = counter("late_events");
    let path = write_shard(&place.shards, "counter_1.db", &[(late.clone(), 5.0)]);
    let reader = File::open(&path).unwrap();
    let daemon = place.daemon(&["--retire-after", "100ms"]);
    let mut highest = Highest::default();
    retires_all(&place, &daemon, &mut highest, 5.0);
    let by_descriptor = PathBuf::from(format!("/proc/self/fd/{}", reader.as_raw_fd()));
    let writer = LateWriter::open(&by_descriptor, &late);
    // Past the first question, a second after the deletion, and some turns that follow it.
    let opened = Instant::now();
    while opened.elapsed() < Duration::from_secs(3) {
        let page = daemon.scrape();
        shows(&mut highest, &page, EVENTS, 5.0, &daemon.log());
        std::thread::sleep(Duration::from_millis(5));
    }
    for stored in [6.0, 8.0] {
        writer.store(stored);
        let page = daemon.scrape();
        shows(&mut highest, &page, EVENTS, stored, &daemon.log());
    }
    drop(writer);
    eventually("the orphan is gone", || {
        let page = daemon.scrape();
        shows(&mut highest, &page, EVENTS, 8.0, &daemon.log());
        match expect_value(&page, ORPHANS) {
            0.0 => Ok(()),
            count => Err(format!("{count} orphans\n{}", daemon.log())),
        }
    });
}

/// Sends SIGTERM and sees it end within the deadline, with status 0.
#[track_caller]
fn terminates(daemon: Daemon, what: &str) {
    let pid = daemon.id();
    let (done, is_done) = channel();
    std::thread::spawn(move || {
        let _ = done.send(daemon.terminate());
    });
    match is_done.recv_timeout(DEADLINE) {
        Ok(status) => assert!(status.success(), "{what}: {status}"),
        Err(_) => {
            common::signal(pid, Signal::KILL);
            panic!("{what}: does not end within {DEADLINE:?} of SIGTERM");
        }
    }
}

#[test]
fn a_stop_does_not_wait_until_thousands_are_retired_and_costs_no_count() {
    const SHARDS: usize = 5_000;
    /// As many as the daemon retires before it does anything else; a stop has to come in between.
    const TURN_LEN: usize = 2048;
    /// Daemons that are stopped before one may go on to the end.
    const LIVES_MAX: usize = 6;
    let place = Place::new();
    let total = (SHARDS * (SHARDS + 1) / 2) as f64;
    for number in 1..=SHARDS {
        let late = counter("late_events");
        let name = format!("counter_{number}.db");
        write_shard(&place.shards, &name, &[(late, number as f64)]);
    }
    let mut highest = Highest::default();
    let mut lives = 0;
    let mut left = SHARDS;
    while left > 0 && lives < LIVES_MAX {
        lives += 1;
        let daemon = place.daemon(&["--retire-after", "100ms"]);
        let page = daemon.scrape();
        shows(&mut highest, &page, EVENTS, total, &daemon.log());
        eventually("some are retired", || {
            let now = shard_files(&place.shards).len();
            (now < left)
                .then_some(())
                .ok_or_else(|| format!("{now} of {left}\n{}", daemon.log()))
        });
        terminates(daemon, "in the middle");
        left = shard_files(&place.shards).len();
    }
    assert!(
        lives > SHARDS.div_ceil(TURN_LEN),
        "{lives} lives: each stop waited until all that was due was retired"
    );
    let daemon = place.daemon(&["--retire-after", "100ms"]);
    retires_all(&place, &daemon, &mut highest, total);
    terminates(daemon, "at rest");
    let daemon = place.daemon(&["--retire-after", "100ms"]);
    let page = daemon.scrape();
    shows(&mut highest, &page, EVENTS, total, &daemon.log());
}

#[test]
fn what_is_marked_dead_again_and_again_is_not_remembered_for_ever() {
    const ROUNDS: usize = 10;
    const SHARDS: usize = 20;
    let place = Place::new();
    let daemon = place.daemon(&["--retire-after", "100ms"]);
    let mode = |shard: usize| ["livemax", "liveall"][shard % 2];
    let level = |shard: usize| {
        let name = format!("{LEVEL}_{}", mode(shard));
        key(&name, &name, &[("shard", &shard.to_string())])
    };
    for round in 0..ROUNDS {
        let shards = round * SHARDS + 1..(round + 1) * SHARDS + 1;
        let writers: Vec<(PathBuf, LateWriter)> = shards
            .clone()
            .map(|shard| {
                let name = format!("gauge_{}_{shard}.db", mode(shard));
                let made = write_shard(place.folder.path(), "new", &[(level(shard), 1.0)]);
                let writer = LateWriter::open(&made, &level(shard));
                let path = place.shards.join(name);
                fs::rename(made, &path).unwrap();
                (path, writer)
            })
            .collect();
        // What the journal has never heard of it need not forget.
        eventually("they are noted", || {
            let page = daemon.scrape();
            let shown = page.lines().filter(|line| line.starts_with("late_level_"));
            let (shown, remembered) = (shown.count(), place.remembered()?.len());
            (shown == SHARDS && remembered >= SHARDS)
                .then_some(())
                .ok_or_else(|| format!("{shown} shown, {remembered} remembered"))
        });
        for (path, _) in &writers {
            fs::remove_file(path).unwrap();
        }
        let page = daemon.scrape();
        assert!(!page.contains("shard=\""), "{page}\n{}", daemon.log());
        assert_eq!(expect_value(&page, ORPHANS), 0.0);
    }
    let forgets = |daemon: &Daemon| {
        eventually("they are forgotten", || match place.remembered()? {
            left if left.is_empty() => Ok(()),
            left => Err(format!("{}: {left:#?}\n{}", left.len(), daemon.log())),
        });
        assert!(!daemon.scrape().contains("shard=\""));
    };
    forgets(&daemon);
    assert!(daemon.terminate().success());
    forgets(&place.daemon(&["--retire-after", "100ms"]));
}

#[test]
fn a_log_that_nobody_reads_keeps_neither_a_scrape_nor_the_end_waiting() {
    const SCRAPES: usize = 30;
    const NAMES: usize = 60;
    /// What a pipe holds, unless an administrator said less.
    const PIPE_LEN_BYTES: usize = 65_536;
    let place = Place::new();
    write_shard(
        &place.shards,
        "counter_1.db",
        &[(counter("late_events"), 5.0)],
    );
    let arguments = [
        "serve",
        "--multiproc-dir",
        place.shards.to_str().unwrap(),
        "--state-dir",
        place.state.to_str().unwrap(),
        "--web.listen-address",
        "127.0.0.1:0",
    ];
    let mut child = KilledOnDrop(
        common::metricsd(&arguments)
            .stdout(Stdio::null())
            .spawn()
            .unwrap(),
    );
    // Only to where it serves.
    let mut stderr = BufReader::new(child.0.stderr.take().unwrap());
    let address: SocketAddr = loop {
        let mut line = String::new();
        assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "it ended");
        if let Some((_, rest)) = line.split_once("serving /metrics address=") {
            break rest.trim().parse().unwrap();
        }
    };
    for scrape in 1..=SCRAPES {
        for number in 0..NAMES {
            let long = "x".repeat(100);
            let name = format!("nonsense_{scrape}_{number}_{long}.db");
            File::create(place.shards.join(name)).unwrap();
        }
        let answer = try_get(address, "/metrics").unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(expect_value(&answer.body, EVENTS), 5.0);
        let unreadable = "metricsd_unreadable_shards{reason=\"bad_type\"}";
        let seen = expect_value(&answer.body, unreadable);
        assert_eq!(seen, (scrape * NAMES) as f64);
    }
    common::signal(child.0.id(), Signal::TERM);
    let status = eventually("it ends", || {
        child.0.try_wait().unwrap().ok_or("it runs".to_owned())
    });
    assert!(status.success(), "{status}");
    let mut unread = Vec::new();
    stderr.read_to_end(&mut unread).unwrap();
    let unread_len = unread.len();
    assert!(
        unread_len > PIPE_LEN_BYTES / 2,
        "the pipe was never full: {unread_len} bytes"
    );
}

/// A process of the test that fails ends with it.
struct KilledOnDrop(Child);

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
