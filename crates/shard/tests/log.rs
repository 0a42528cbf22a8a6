//! A log that takes nothing stops neither a call nor the repair of shards. Method: a process whose subscriber never returns, and
//! the shards read afterwards.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by it, its child answers on it"
)]

mod child;
mod shards;

use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use child::{READY, ROLE, child_command, key, kill_after_deadline, skip_to_ready, wait_for};
use metricsd_shard::{Create, FileKind, ProcessInfo, Writer, WriterStatus};

#[test]
fn a_log_that_never_returns_stops_nobody() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("blocked/shards");
    std::fs::write(dir.parent().unwrap(), "a file where a directory should be").unwrap();
    let executable = std::env::current_exe().unwrap();
    let mut child = child_command(&executable, "child_process", dir.to_str().unwrap())
        .spawn()
        .unwrap();
    let done = Arc::new(AtomicBool::new(false));
    kill_after_deadline(&child, Arc::clone(&done));
    skip_to_ready(&mut BufReader::new(child.stdout.take().unwrap()));
    let status = child.wait().unwrap();
    done.store(true, Ordering::Relaxed);
    assert!(status.success(), "{status}");
    assert_eq!(shards::total(&dir, "hits_total"), 2.0);
}

/// A child process of the test above. Its role is its directory.
#[test]
#[ignore = "a child process of the tests in this file"]
fn child_process() {
    let Ok(dir) = std::env::var(ROLE) else { return };
    let dir = Path::new(&dir);
    static IS_STUCK: AtomicBool = AtomicBool::new(false);
    tracing_subscriber::fmt()
        .with_writer(|| -> std::io::Sink {
            IS_STUCK.store(true, Ordering::Relaxed);
            loop {
                std::thread::park();
            }
        })
        .init();
    let writer = Writer::open(dir, ProcessInfo::default());
    let hits = writer.series(FileKind::Counter, vec![key("hits_total")], Create::AtZero);
    hits.add(0, 2.0);
    wait_for("a stuck log", || {
        IS_STUCK.load(Ordering::Relaxed).then_some(())
    });
    std::fs::remove_file(dir.parent().unwrap()).unwrap();
    wait_for("a healthy writer", || {
        matches!(writer.status(), WriterStatus::Healthy { .. }).then_some(())
    });
    println!("\n{READY}");
    // Not by way of the harness, which would wait for nothing here, but whose exit is not what is tested.
    std::process::exit(0);
}
