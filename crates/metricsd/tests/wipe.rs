//! Somebody deletes, moves or replaces shards or their directory while processes write into them. With the daemon running nothing is
//! lost that was stored; without it the last values that it knew stand, and nothing more.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;
#[path = "common/obedient.rs"]
mod obedient;
#[path = "common/watch.rs"]
mod watch;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::child::WriterChild;
use common::shards::{counter, key, write_shard};
use common::{Daemon, eventually, expect_value, value_of};
use metricsd::archive::{Disk, Exact, KeyId, load};
use obedient::PythonChild;
use watch::{Highest, shard_files};

const EVENTS: &str = "child_events_total";

#[test]
fn child() {
    common::child::obey();
}

/// Shards, state, and a daemon on them that may be started again.
struct Place {
    _folder: tempfile::TempDir,
    shards: PathBuf,
    state: PathBuf,
    retire_after: &'static str,
    highest: Highest,
}

impl Place {
    fn new(retire_after: &'static str) -> Place {
        let folder = tempfile::tempdir().unwrap();
        let (shards, state) = (folder.path().join("shards"), folder.path().join("state"));
        fs::create_dir(&shards).unwrap();
        Place {
            _folder: folder,
            shards,
            state,
            retire_after,
            highest: Highest::default(),
        }
    }

    fn daemon(&self) -> Daemon {
        let state = self.state.to_str().unwrap();
        let arguments = ["--state-dir", state, "--retire-after", self.retire_after];
        Daemon::start_with(&self.shards, &arguments)
    }

    /// The next page shows this, and none of its counters is lower than it was before.
    #[track_caller]
    fn shows(&mut self, daemon: &Daemon, total: f64) {
        let page = daemon.scrape();
        let checked = self.highest.check(&page);
        assert_eq!(checked, Ok(()), "{}", daemon.log());
        assert_eq!(value_of(&page, EVENTS), Some(total), "{}", daemon.log());
    }

    /// The same until it is noted as well, which takes a bounded time: from then on the shards themselves are not needed.
    #[track_caller]
    fn shows_and_notes(&mut self, daemon: &Daemon, total: f64) {
        let state = self.state.clone();
        let mut last = Err("nothing was read".to_owned());
        eventually("all is noted", || {
            self.shows(daemon, total);
            last = noted_in(&state);
            match last {
                Ok(noted) if noted == total => Ok(()),
                _ => Err(format!("{last:?} of {total}\n{}", daemon.log())),
            }
        });
    }

    /// The same for a while: through what the daemon finds out only later.
    #[track_caller]
    fn shows_until<T>(
        &mut self,
        daemon: &Daemon,
        total: f64,
        what: &str,
        mut condition: impl FnMut() -> Option<T>,
    ) -> T {
        eventually(what, || {
            self.shows(daemon, total);
            condition().ok_or_else(|| daemon.log())
        })
    }
}

/// What the journal knows: what is absorbed, and what was last noted of each shard beyond that.
fn noted_in(state: &Path) -> Result<f64, String> {
    let disk = Disk::open(state).map_err(|err| err.to_string())?;
    let (state, _) = load(&disk).map_err(|err| err.to_string())?;
    let is_events = |key: KeyId| {
        state
            .keys()
            .get(key)
            .is_some_and(|(_, raw)| String::from_utf8_lossy(&raw).contains(EVENTS))
    };
    let mut sum = Exact::default();
    for (index, total) in state.totals().iter().enumerate() {
        if is_events(KeyId(index as u32)) {
            sum.merge(total);
        }
    }
    for (_, known) in state.shards() {
        let noted = known.last_known().filter(|(key, _)| is_events(*key));
        noted.for_each(|(_, exact)| sum.merge(exact));
        let corrections = known.corrections().filter(|(key, _)| is_events(*key));
        corrections.for_each(|(_, exact)| sum.merge(&exact));
    }
    Ok(sum.value())
}

/// The shards that belong to a process.
fn shards_of(directory: &Path, pid: u32) -> Vec<PathBuf> {
    let (own, python) = (format!("_{pid}-"), format!("_{pid}.db"));
    let mut files = shard_files(directory);
    files.retain(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.contains(&own) || name.contains(&python)
    });
    files
}

#[test]
fn a_wiped_directory_costs_nothing_while_the_daemon_runs() {
    let Some(python) = common::python("a_wiped_directory_costs_nothing_while_the_daemon_runs")
    else {
        return;
    };
    for retire_after in ["100ms", "off"] {
        let mut place = Place::new(retire_after);
        let shards = place.shards.clone();
        let mut ended = WriterChild::start(&shards, "ended");
        ended.tell("add 5");
        let daemon = place.daemon();
        let mut rust = WriterChild::start(&shards, "wiped");
        let mut by_python = PythonChild::start(&python, &shards);
        rust.tell("add 10");
        by_python.tell("add 20");
        ended.kill();
        place.shows(&daemon, 35.0);

        fs::remove_dir_all(&shards).unwrap();
        place.shows(&daemon, 35.0);
        rust.tell("add 100");
        by_python.tell("add 200");
        place.shows(&daemon, 335.0);
        // The Rust writer finds out, and goes on in a file that can be found again.
        let pid = rust.id();
        place.shows_until(&daemon, 335.0, "the writer opens new shards", || {
            (!shards_of(&shards, pid).is_empty()).then_some(())
        });
        rust.tell("add 1000");
        by_python.tell("add 2000");
        place.shows(&daemon, 3335.0);
        rust.kill();
        by_python.kill();
        place.shows(&daemon, 3335.0);
        if retire_after != "off" {
            place.shows_until(&daemon, 3335.0, "all shards are retired", || {
                shard_files(&shards).is_empty().then_some(())
            });
        }
        place.shows_and_notes(&daemon, 3335.0);
        daemon.kill();
        let daemon = place.daemon();
        place.shows(&daemon, 3335.0);
        assert!(daemon.terminate().success());
        let daemon = place.daemon();
        place.shows(&daemon, 3335.0);
    }
}

#[test]
fn what_was_shown_of_wiped_shards_stands_when_the_daemon_is_killed_before_their_writers_end() {
    let name =
        "what_was_shown_of_wiped_shards_stands_when_the_daemon_is_killed_before_their_writers_end";
    let Some(python) = common::python(name) else {
        return;
    };
    let mut place = Place::new("100ms");
    let shards = place.shards.clone();
    let daemon = place.daemon();
    let mut rust = WriterChild::start(&shards, "wiped");
    let mut by_python = PythonChild::start(&python, &shards);
    rust.tell("add 10");
    by_python.tell("add 20");
    place.shows(&daemon, 30.0);
    fs::remove_dir_all(&shards).unwrap();
    let pid = rust.id();
    place.shows_until(&daemon, 30.0, "the writer opens new shards", || {
        (!shards_of(&shards, pid).is_empty()).then_some(())
    });
    rust.tell("add 100");
    by_python.tell("add 200");
    place.shows_and_notes(&daemon, 330.0);
    daemon.kill();
    // What Python counts from here on is in a file that nobody can find any more; the Rust writer's is not.
    by_python.tell("add 2000");
    rust.tell("add 1000");
    let daemon = place.daemon();
    place.shows(&daemon, 1330.0);
    by_python.kill();
    rust.kill();
    place.shows_until(&daemon, 1330.0, "all shards are retired", || {
        shard_files(&shards).is_empty().then_some(())
    });
}

#[test]
fn single_deleted_shards_cost_nothing_while_the_daemon_runs() {
    let Some(python) = common::python("single_deleted_shards_cost_nothing_while_the_daemon_runs")
    else {
        return;
    };
    for retire_after in ["100ms", "off"] {
        let mut place = Place::new(retire_after);
        let shards = place.shards.clone();
        let daemon = place.daemon();
        let mut rust = WriterChild::start(&shards, "wiped");
        let mut by_python = PythonChild::start(&python, &shards);
        let mut total = 0.0;
        for round in 1..=3 {
            rust.tell("add 10");
            by_python.tell("add 20");
            total += 30.0;
            place.shows(&daemon, total);
            for file in shard_files(&shards) {
                fs::remove_file(file).unwrap();
                rust.tell("add 1");
                by_python.tell("add 2");
                total += 3.0;
                place.shows(&daemon, total);
            }
            let pid = rust.id();
            place.shows_until(
                &daemon,
                total,
                &format!("new shards in round {round}"),
                || (!shards_of(&shards, pid).is_empty()).then_some(()),
            );
        }
        rust.kill();
        by_python.kill();
        place.shows(&daemon, total);
        assert!(daemon.terminate().success());
        let daemon = place.daemon();
        place.shows(&daemon, total);
    }
}

/// Deleted while nobody looks: exactly the last values that the daemon knew, plus what is in files that were made afterwards.
#[test]
fn without_the_daemon_the_last_values_that_it_knew_stand() {
    let Some(python) = common::python("without_the_daemon_the_last_values_that_it_knew_stand")
    else {
        return;
    };
    for ends_with in ["SIGTERM", "SIGKILL"] {
        let mut place = Place::new("100ms");
        let shards = place.shards.clone();
        let daemon = place.daemon();
        let mut rust = WriterChild::start(&shards, "wiped");
        let mut by_python = PythonChild::start(&python, &shards);
        rust.tell("add 10");
        by_python.tell("add 20");
        match ends_with {
            "SIGTERM" => {
                place.shows(&daemon, 30.0);
                assert!(daemon.terminate().success());
            }
            _ => {
                place.shows_and_notes(&daemon, 30.0);
                daemon.kill();
            }
        }
        // Counted and deleted while no daemon runs: lost, and documented to be.
        rust.tell("add 100");
        by_python.tell("add 200");
        fs::remove_dir_all(&shards).unwrap();
        let pid = rust.id();
        eventually("the writer opens new shards", || {
            let files = shards_of(&shards, pid);
            files.first().map(|_| ()).ok_or("none".to_owned())
        });
        rust.tell("add 1000");
        by_python.tell("add 2000");
        let daemon = place.daemon();
        place.shows(&daemon, 1030.0);
        rust.kill();
        by_python.kill();
        place.shows_until(&daemon, 1030.0, "all shards are retired", || {
            shard_files(&shards).is_empty().then_some(())
        });
        daemon.kill();
        let daemon = place.daemon();
        place.shows(&daemon, 1030.0);
    }
}

/// Python's `mark_process_dead` deletes the `gauge_live*` files of a process: their values go, those of all other kinds stay.
#[test]
fn mark_process_dead_drops_live_gauges_and_nothing_else() {
    let Some(python) = common::python("mark_process_dead_drops_live_gauges_and_nothing_else")
    else {
        return;
    };
    let mut place = Place::new("off");
    let shards = place.shards.clone();
    let daemon = place.daemon();
    let mut marked = PythonChild::start(&python, &shards);
    let mut other = PythonChild::start(&python, &shards);
    marked.tell("add 20");
    marked.tell("set 5");
    other.tell("add 1");
    other.tell("set 2");
    place.shows(&daemon, 21.0);
    let page = daemon.scrape();
    assert_eq!(expect_value(&page, "child_level"), 7.0);
    let pid = marked.id();
    let each = format!("child_each{{pid=\"{pid}\"}}");
    assert_eq!(expect_value(&page, &each), 5.0);

    let program = format!("import prometheus_client.multiprocess as m; m.mark_process_dead({pid})");
    let mark = Command::new(&python)
        .args(["-c", &program])
        .env("PROMETHEUS_MULTIPROC_DIR", &shards)
        .status()
        .unwrap();
    assert!(mark.success());
    let check = |place: &mut Place, daemon: &Daemon| {
        place.shows(daemon, 21.0);
        let page = daemon.scrape();
        assert_eq!(expect_value(&page, "child_level"), 2.0, "{}", daemon.log());
        assert_eq!(value_of(&page, &each), None);
        assert_eq!(expect_value(&page, "child_peak"), 5.0);
    };
    check(&mut place, &daemon);
    marked.kill();
    check(&mut place, &daemon);
    daemon.kill();
    let daemon = place.daemon();
    check(&mut place, &daemon);
    // A gauge that is not of the living is no such mark: deleting it is a wipe.
    let peak = shards.join(format!("gauge_max_{pid}.db"));
    fs::remove_file(peak).unwrap();
    check(&mut place, &daemon);
    assert!(daemon.terminate().success());
    let daemon = place.daemon();
    check(&mut place, &daemon);
}

#[test]
fn a_directory_that_is_moved_away_and_back_is_counted_all_the_time() {
    let name = "a_directory_that_is_moved_away_and_back_is_counted_all_the_time";
    let Some(python) = common::python(name) else {
        return;
    };
    for retire_after in ["off", "100ms"] {
        let mut place = Place::new(retire_after);
        let shards = place.shards.clone();
        let away = shards.with_file_name("away");
        write_shard(&shards, "counter_1.db", &[(counter("child_events"), 5.0)]);
        let mut by_python = PythonChild::start(&python, &shards);
        by_python.tell("add 20");
        let mut daemon = place.daemon();
        let mut total = 25.0;
        place.shows(&daemon, total);
        for round in 0..4 {
            fs::rename(&shards, &away).unwrap();
            place.shows(&daemon, total);
            by_python.tell("add 100");
            if round % 2 == 0 {
                total += 100.0;
                place.shows(&daemon, total);
                fs::rename(&away, &shards).unwrap();
            } else {
                // Nobody can find the shards now: the last known values stand, and what grew meanwhile is added when they return.
                place.shows_and_notes(&daemon, total + 100.0);
                daemon.kill();
                by_python.tell("add 1000");
                daemon = place.daemon();
                place.shows(&daemon, total + 100.0);
                // The daemon has made a directory of its own, which is empty.
                fs::remove_dir(&shards).unwrap();
                fs::rename(&away, &shards).unwrap();
                total += 1100.0;
            }
            place.shows(&daemon, total);
        }
        by_python.kill();
        place.shows(&daemon, total);
        assert!(daemon.terminate().success());
        let daemon = place.daemon();
        place.shows(&daemon, total);
    }
}

#[test]
fn another_directory_in_its_place_adds_to_what_was_counted() {
    let name = "another_directory_in_its_place_adds_to_what_was_counted";
    let Some(python) = common::python(name) else {
        return;
    };
    for retire_after in ["off", "100ms"] {
        let mut place = Place::new(retire_after);
        let shards = place.shards.clone();
        let (first, second) = (
            shards.with_file_name("first"),
            shards.with_file_name("second"),
        );
        write_shard(&shards, "counter_1.db", &[(counter("child_events"), 5.0)]);
        let mut by_python = PythonChild::start(&python, &shards);
        by_python.tell("add 20");
        let daemon = place.daemon();
        place.shows(&daemon, 25.0);
        fs::create_dir(&second).unwrap();
        // The same name as one of the first directory, and another series as well.
        let labelled = key("child_new", "child_new_total", &[("number", "1")]);
        let entries = [(counter("child_events"), 100.0), (labelled, 1.0)];
        write_shard(&second, "counter_1.db", &entries);
        fs::rename(&shards, &first).unwrap();
        fs::rename(&second, &shards).unwrap();
        place.shows(&daemon, 125.0);
        by_python.tell("add 1000");
        place.shows_and_notes(&daemon, 1125.0);
        daemon.kill();
        let daemon = place.daemon();
        place.shows(&daemon, 1125.0);
        // And the first one back in its place.
        fs::rename(&shards, &second).unwrap();
        fs::rename(&first, &shards).unwrap();
        by_python.tell("add 10000");
        place.shows(&daemon, 11125.0);
        by_python.kill();
        place.shows(&daemon, 11125.0);
        assert!(daemon.terminate().success());
        let daemon = place.daemon();
        place.shows(&daemon, 11125.0);
    }
}
