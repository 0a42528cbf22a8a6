//! A daemon in this process: what a stop and a panic leave behind while a collection runs.
//!
//! Invariant: nothing but temporary directories and a port that the system chooses. Must not touch: other processes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread::{sleep, spawn};
use std::time::Duration;

use clap::Parser;

use super::*;
use crate::archive::Disk;
use crate::cli::Cli;

fn start(folder: &Path) -> Running {
    metricsd_shard::ignore_sigio().expect("a signal that can be ignored");
    let in_folder = |name: &str| folder.join(name).display().to_string();
    let (shards, state) = (in_folder("shards"), in_folder("state"));
    let words = [
        "metricsd",
        "--multiproc-dir",
        &shards,
        "--state-dir",
        &state,
    ];
    let words = words
        .into_iter()
        .chain(["--web.listen-address", "127.0.0.1:0"]);
    let settings = ServeSettings::resolve(&Cli::parse_from(words).serve, &|_| None);
    Running::start(settings.expect("good flags")).expect("an empty directory")
}

/// Whether the next start takes the stop for a crash.
fn was_unclean(folder: &Path) -> bool {
    let directory = ShardDirectory::create(&folder.join("shards")).expect("it is there");
    let state = StateDirectory::create(&folder.join("state"), &directory).expect("it is there");
    let disk: Disk = state.disk().expect("it is readable");
    let (_, report) = Books::open(disk, archive_settings(&state), &boot_id(), unix_now())
        .expect("it was written by this version");
    report.is_unclean()
}

#[test]
fn a_stop_while_a_long_collection_runs_waits_for_it_and_is_a_clean_one() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let running = start(folder.path());
    let daemon = Arc::clone(&running.daemon);
    let (begin, has_begun) = channel();
    let has_ended = Arc::new(AtomicBool::new(false));
    let end = Arc::clone(&has_ended);
    // Twice as long as the keeper has for the last records.
    let collection = spawn(move || {
        let work = daemon.work();
        begin.send(()).expect("it is waited for");
        sleep(Duration::from_millis(1500));
        end.store(true, Ordering::Release);
        drop(work);
    });
    has_begun.recv().expect("it begins");
    running.stop();
    // What is written later is not written by a process that has stopped.
    assert!(has_ended.load(Ordering::Acquire));
    assert!(!was_unclean(folder.path()));
    collection.join().expect("it ends");
}

#[test]
fn after_a_collection_that_panicked_nobody_is_told_that_the_daemon_is_ready() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let running = start(folder.path());
    assert_eq!(running.ready(), Ok(()));
    let collection = || -> () {
        let _work = running.daemon.work();
        panic!("on purpose")
    };
    let daemon = &running.daemon;
    let panicked = catch_unwind(AssertUnwindSafe(|| daemon.noticing_panics(collection)));
    assert!(panicked.is_err());
    assert!(running.ready().is_err());
    daemon.scrape(&Default::default());
    assert_eq!(running.ready(), Ok(()));
    running.stop();
    assert!(!was_unclean(folder.path()));
}
