//! `metricsd verify totals` against real daemons and writers, where it must pass, and against faults that are caused, where it must
//! not: a proof that cannot fail proves nothing.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;
#[path = "common/obedient.rs"]
mod obedient;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use common::child::WriterChild;
use common::shards::{counter, key, write_shard};
use common::{Daemon, eventually, metricsd, run};
use obedient::PythonChild;
use serde_json::Value;

#[test]
fn child() {
    common::child::obey();
}

/// Shards, state, and daemons on them.
struct Place {
    folder: tempfile::TempDir,
    shards: PathBuf,
    state: PathBuf,
}

/// What a proof said.
#[derive(Debug)]
struct Proof {
    code: i32,
    report: Value,
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

    fn daemon(&self, retire_after: &str) -> Daemon {
        let state = self.state.to_str().unwrap();
        Daemon::start_with(
            &self.shards,
            &["--state-dir", state, "--retire-after", retire_after],
        )
    }

    fn prove(&self, url: &str, more: &[&str]) -> Proof {
        let (shards, state) = (self.shards.to_str().unwrap(), self.state.to_str().unwrap());
        let mut words = vec!["verify", "totals", "--json", "--multiproc-dir", shards];
        words.extend(["--state-dir", state]);
        if !url.is_empty() {
            words.extend(["--url", url]);
        }
        words.extend(more);
        let output = run(&mut metricsd(&words));
        let text = String::from_utf8(output.stdout).unwrap();
        Proof {
            code: output.status.code().unwrap(),
            report: serde_json::from_str(&text).unwrap_or_else(|err| {
                panic!("{err}: {text}{}", String::from_utf8_lossy(&output.stderr))
            }),
        }
    }

    /// Everything agrees with what this daemon serves.
    #[track_caller]
    fn agrees(&self, daemon: &Daemon) -> Proof {
        let proof = self.prove(&url_of(daemon), &[]);
        assert_eq!(proof.code, 0, "{proof:#?}\n{}", daemon.log());
        assert_eq!(proof.report["outcome"], "pass");
        proof
    }
}

fn url_of(daemon: &Daemon) -> String {
    format!("http://{}/metrics", daemon.address())
}

impl Proof {
    /// The identifiers of the checks that failed.
    fn failed(&self) -> Vec<&str> {
        let checks = self.report["checks"].as_array().unwrap().iter();
        checks
            .filter(|check| check["outcome"] == "fail")
            .map(|check| {
                assert!(check["next"].is_string(), "{check}");
                check["id"].as_str().unwrap()
            })
            .collect()
    }

    fn count(&self, name: &str) -> u64 {
        self.report["details"]["counts"][name].as_u64().unwrap()
    }

    fn shards(&self) -> u64 {
        self.report["details"]["shards"].as_u64().unwrap()
    }
}

/// Serves one page, whatever is asked, until it is dropped.
struct Fake {
    url: String,
    address: std::net::SocketAddr,
    stops: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Fake {
    fn serving(page: String) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stops = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stops);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let mut stream = stream.unwrap();
                let mut request = [0; 4096];
                let _ = stream.read(&mut request);
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    page.len()
                );
                let _ = stream.write_all(format!("{head}{page}").as_bytes());
            }
        });
        Fake {
            url: format!("http://{address}/metrics"),
            address,
            stops,
            thread: Some(thread),
        }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stops.store(true, Ordering::SeqCst);
        let _ = std::net::TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A page with one piece of text in place of another that must be there.
#[track_caller]
fn edited(page: &str, old: &str, new: &str) -> String {
    assert!(page.contains(old), "no {old} in:\n{page}");
    page.replacen(old, new, 1)
}

/// Something of every kind, of writers that ended and of one that lives.
fn filled(place: &Place) -> WriterChild {
    let entry = |suffix: &str, labels: &[(&str, &str)], value: f64| {
        (key("old", &format!("old{suffix}"), labels), value)
    };
    write_shard(
        &place.shards,
        "histogram_1.db",
        &[
            entry("_sum", &[], 0.1),
            entry("_bucket", &[("le", "0.5")], 2.0),
            entry("_bucket", &[("le", "1.0")], 3.0),
            entry("_bucket", &[("le", "+Inf")], 1.0),
        ],
    );
    for (name, value) in [
        ("counter_1.db", 0.1),
        ("counter_2.db", 0.2),
        ("counter_3.db", 7.0),
    ] {
        write_shard(&place.shards, name, &[(counter("events"), value)]);
    }
    let mut child = WriterChild::start(&place.shards, "test");
    child.tell("everything 1");
    child.tell("add 3");
    child
}

#[test]
fn totals_of_live_and_ended_writers_agree_before_and_after_retirement() {
    let place = Place::new();
    let mut child = filled(&place);
    let daemon = place.daemon("off");
    let proof = place.agrees(&daemon);
    assert!(proof.count("equal") > 20, "{proof:#?}");
    assert_eq!(proof.count("between"), 0);
    child.kill();
    drop(daemon);

    let daemon = place.daemon("1ms");
    let retired = eventually("everything is retired", || {
        let proof = place.agrees(&daemon);
        match proof.shards() {
            0 => Ok(proof),
            count => Err(format!("{count} shards are left")),
        }
    });
    assert!(retired.count("equal") > 20, "{retired:#?}");
    child = WriterChild::start(&place.shards, "test");
    child.tell("everything 2");
    child.tell("add 0.3");
    place.agrees(&daemon);
    daemon.kill();
    let daemon = place.daemon("off");
    child.tell("add 0.1");
    place.agrees(&daemon);
    assert!(daemon.terminate().success());
    let proof = place.prove("", &["--without-scrape"]);
    assert_eq!(proof.code, 0, "{proof:#?}");
    // A state directory that is named and is not there proves nothing.
    fs::rename(&place.state, place.folder.path().join("elsewhere")).unwrap();
    let proof = place.prove("", &["--without-scrape"]);
    assert_eq!(proof.failed(), ["state_undamaged"]);
}

#[test]
fn totals_agree_while_writers_count_on_and_the_daemon_retires_others() {
    let place = Place::new();
    let daemon = place.daemon("1ms");
    let stops = Arc::new(AtomicBool::new(false));
    let mut threads = Vec::new();
    for _ in 0..2 {
        let (stops, shards) = (Arc::clone(&stops), place.shards.clone());
        threads.push(std::thread::spawn(move || {
            while !stops.load(Ordering::SeqCst) {
                let mut child = WriterChild::start(&shards, "test");
                child.tell("everything 1");
                for _ in 0..500 {
                    child.tell("add 0.1");
                }
                child.kill();
            }
        }));
    }
    eventually("something has been counted", || {
        let page = daemon.scrape();
        common::value_of(&page, "child_events_total").map_or(Err(page), |_| Ok(()))
    });
    let mut between = 0;
    for _ in 0..10 {
        between += place.agrees(&daemon).count("between");
    }
    stops.store(true, Ordering::SeqCst);
    threads.into_iter().for_each(|it| it.join().unwrap());
    assert!(between > 0, "nothing ever moved during a check");
}

#[test]
fn a_sum_of_gains_and_losses_that_moves_all_the_time_is_no_false_alarm() {
    let place = Place::new();
    let daemon = place.daemon("off");
    let sum = key("pnl", "pnl_sum", &[]);
    let file = write_shard(
        &place.shards,
        "summary_1.db",
        &[(sum.clone(), 2e6), (key("pnl", "pnl_count", &[]), 7.0)],
    );
    // Behind the header and the key, before the timestamp.
    let first = metricsd_shard::encode_entry(sum.encode().as_bytes(), 0.0, 0.0);
    let at = (metricsd_shard::HEADER_LEN_BYTES + first.len() - 16) as u64;
    let stops = Arc::new(AtomicBool::new(false));
    let writer = {
        let stops = Arc::clone(&stops);
        std::thread::spawn(move || {
            let file = fs::OpenOptions::new().write(true).open(file).unwrap();
            let mut steps = 0_u64;
            while !stops.load(Ordering::SeqCst) {
                steps += 1;
                let sum = 1e6 * (steps as f64).sin() + 2e6;
                std::os::unix::fs::FileExt::write_all_at(&file, &sum.to_le_bytes(), at).unwrap();
            }
        })
    };
    for _ in 0..20 {
        place.agrees(&daemon);
    }
    stops.store(true, Ordering::SeqCst);
    writer.join().unwrap();
    // It stands still, and a wrong one is found.
    let page = daemon.scrape();
    let sum = common::value_of(&page, "pnl_sum").unwrap();
    let wrong = Fake::serving(edited(&page, "pnl_sum ", "pnl_sum 1"));
    assert!(sum > 0.0);
    assert_eq!(place.prove(&wrong.url, &[]).failed(), ["totals_equal"]);
}

#[test]
fn totals_of_python_agree_too() {
    let Some(python) = common::python("totals_of_python_agree_too") else {
        return;
    };
    let place = Place::new();
    let daemon = place.daemon("off");
    let mut child = PythonChild::start(&python, &place.shards);
    child.tell("add 2.5");
    assert!(place.agrees(&daemon).count("equal") > 0);
}

#[test]
fn totals_agree_after_a_wipe_as_far_as_they_are_known_and_exactly_once_the_writer_has_ended() {
    let place = Place::new();
    let daemon = place.daemon("1ms");
    let mut child = WriterChild::start(&place.shards, "test");
    child.tell("add 3");
    // Noted, so that the archive knows of it.
    eventually("the shard is noted", || {
        let proof = place.agrees(&daemon);
        let disk = metricsd::archive::Disk::open(&place.state).unwrap();
        let (state, _) = metricsd::archive::load(&disk).unwrap();
        let is_noted = state
            .shards()
            .any(|(_, known)| known.last_known().any(|(_, seen)| seen.value() == 3.0));
        if is_noted {
            Ok(())
        } else {
            Err(format!("{proof:#?}"))
        }
    });
    for name in fs::read_dir(&place.shards).unwrap() {
        fs::remove_file(name.unwrap().path()).unwrap();
    }
    let wiped = place.agrees(&daemon);
    assert!(wiped.count("at_least") > 0, "{wiped:#?}");
    child.kill();
    eventually("the archive has it", || {
        let proof = place.agrees(&daemon);
        match proof.count("at_least") {
            0 => Ok(()),
            count => Err(format!("{count} are known from below only")),
        }
    });
    assert_eq!(
        common::expect_value(&daemon.scrape(), "child_events_total"),
        3.0
    );
}

#[test]
fn totals_agree_after_a_reset_while_the_files_of_the_ended_are_still_there() {
    let place = Place::new();
    let mut lives = filled(&place);
    let mut ended = WriterChild::start(&place.shards, "test");
    ended.tell("everything 5");
    ended.kill();
    let words = ["ledger", "reset", "--yes", "--multiproc-dir"];
    let mut reset = metricsd(&words);
    reset.args([&place.shards, &PathBuf::from("--state-dir"), &place.state]);
    assert!(run(&mut reset).status.success());
    let daemon = place.daemon("off");
    let page = daemon.scrape();
    assert_eq!(common::value_of(&page, "events_total"), Some(0.0));
    assert!(place.agrees(&daemon).count("equal") > 0);
    lives.tell("add 2");
    lives.tell("everything 3");
    place.agrees(&daemon);
    lives.kill();
    place.agrees(&daemon);
    drop(daemon);
    place.agrees(&place.daemon("1ms"));
}

#[test]
fn each_fault_of_a_page_is_found_and_named() {
    let place = Place::new();
    let _child = filled(&place);
    let daemon = place.daemon("off");
    place.agrees(&daemon);
    let page = daemon.scrape();
    let events = "events_total 7.3\n";
    let extra = "# HELP zz h\n# TYPE zz gauge\nzz 1.0\n";
    let faults = [
        (edited(&page, events, "events_total 6.3\n"), "totals_equal"),
        (edited(&page, events, "events_total 8.3\n"), "totals_equal"),
        // One step of rounding.
        (
            edited(&page, events, "events_total 7.300000000000001\n"),
            "totals_equal",
        ),
        (edited(&page, events, ""), "series_complete"),
        (format!("{page}{extra}"), "nothing_unaccounted"),
        (
            edited(
                &page,
                "old_bucket{le=\"1.0\"} 5.0",
                "old_bucket{le=\"1.0\"} 4.0",
            ),
            "totals_equal",
        ),
        (
            edited(&page, "old_bucket{le=\"1.0\"} 5.0\n", ""),
            "series_complete",
        ),
        (
            edited(&page, "old_sum 0.1\n", "old_sum 0.2\n"),
            "totals_equal",
        ),
        (
            edited(&page, "every_bytes_count 1.0", "every_bytes_count 2.0"),
            "totals_equal",
        ),
        (
            edited(
                &page,
                "every_gauge_max{side=\"sell ü\\n\\\"\"} -1.0",
                "every_gauge_max{side=\"sell ü\\n\\\"\"} -2.0",
            ),
            "totals_equal",
        ),
        (
            edited(
                &page,
                "every_gauge_livemax{side=\"sell ü\\n\\\"\"} -1.0",
                "every_gauge_livemax{side=\"sell ü\\n\\\"\"} 1.0",
            ),
            "totals_equal",
        ),
    ];
    for (faulty, id) in faults {
        let fake = Fake::serving(faulty.clone());
        let proof = place.prove(&fake.url, &[]);
        assert_eq!(
            (proof.code, proof.failed()),
            (1, vec![id]),
            "{proof:#?}\n{faulty}"
        );
        assert_eq!(proof.report["details"]["difference_count"], 1, "{proof:#?}");
    }
    // The true page passes by the same way.
    let fake = Fake::serving(page);
    assert_eq!(place.prove(&fake.url, &[]).code, 0);
}

#[test]
fn another_directory_is_found_and_named() {
    let (place, other) = (Place::new(), Place::new());
    let _child = filled(&place);
    write_shard(&other.shards, "counter_9.db", &[(counter("other"), 1.0)]);
    let daemon = other.daemon("off");
    let proof = place.prove(&url_of(&daemon), &[]);
    assert_eq!(proof.code, 1);
    let failed = proof.failed();
    for id in [
        "directory_served",
        "totals_equal",
        "series_complete",
        "nothing_unaccounted",
    ] {
        assert!(failed.contains(&id), "{proof:#?}");
    }
    let told = proof.report["details"]["daemon_shard_directory"]
        .as_str()
        .unwrap();
    assert_eq!(PathBuf::from(told), other.shards);
}

#[test]
fn damage_is_named_and_fails() {
    let place = Place::new();
    let _child = filled(&place);
    let path = write_shard(
        &place.shards,
        "counter_8.db",
        &[(counter("cut"), 1.0), (counter("gone"), 1.0)],
    );
    let daemon = place.daemon("off");
    place.agrees(&daemon);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..60]).unwrap();
    let proof = place.prove(&url_of(&daemon), &[]);
    assert_eq!(
        (proof.code, proof.failed()),
        (1, vec!["shards_readable"]),
        "{proof:#?}"
    );
    assert!(
        proof.report.to_string().contains("counter_8.db"),
        "{proof:#?}"
    );
    fs::remove_file(&path).unwrap();
    assert!(daemon.terminate().success());

    // A byte in the middle of the journal.
    let journal = fs::read_dir(&place.state)
        .unwrap()
        .map(|it| it.unwrap().path());
    let journal = journal
        .filter(|path| path.extension().is_some_and(|it| it == "log"))
        .min()
        .unwrap();
    let mut bytes = fs::read(&journal).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&journal, bytes).unwrap();
    let proof = place.prove("", &["--without-scrape"]);
    assert_eq!(proof.code, 1);
    assert!(proof.failed().contains(&"state_undamaged"), "{proof:#?}");
}

#[test]
fn who_does_not_answer_is_a_failed_check_and_a_bad_address_is_bad_usage() {
    let place = Place::new();
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let proof = place.prove(&format!("http://{free}/metrics"), &[]);
    assert_eq!(proof.code, 1);
    assert!(proof.failed().contains(&"scrape_answered"));
    assert!(
        proof.report.to_string().contains("connection refused"),
        "{proof:#?}"
    );

    let html = Fake::serving("<html>".to_owned());
    assert!(
        place
            .prove(&html.url, &[])
            .failed()
            .contains(&"scrape_answered")
    );

    for arguments in [
        ["--url", "127.0.0.1:9111"],
        ["--url", "https://localhost/"],
        ["--config.file", "/nonexistent"],
    ] {
        let mut words = vec!["verify", "totals"];
        words.extend(arguments);
        let output = run(&mut metricsd(&words));
        assert_eq!(output.status.code(), Some(2), "{output:?}");
    }
    let missing = place.folder.path().join("missing");
    let output = run(&mut metricsd(&[
        "verify",
        "totals",
        "--multiproc-dir",
        missing.to_str().unwrap(),
    ]));
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.starts_with("FAIL|totals_recomputed|") && text.contains("\nNEXT|"),
        "{text}"
    );
}

#[test]
fn nothing_at_all_is_no_proof() {
    let place = Place::new();
    let daemon = place.daemon("off");
    let proof = place.prove(&url_of(&daemon), &[]);
    assert_eq!(
        (proof.code, proof.failed()),
        (1, vec!["totals_equal"]),
        "{proof:#?}"
    );
}
