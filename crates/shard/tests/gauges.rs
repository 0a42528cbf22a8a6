//! A gauge that threads set, add to and read while its value moves shows each set from the moment its call returns, never an older one after it,
//! and every addition. Method: threads that set for as long as the shards come, are deleted and come again; the shards read as they stand.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod child;
mod shards;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use child::{key, wait_for};
use metricsd_shard::{
    Create, FileKind, GaugeMode, ProcessInfo, Series, SharedEntry, Writer, WriterStatus,
};

/// How often the shards are deleted.
const DELETIONS: usize = 4;

struct Threads {
    are_done: Arc<AtomicBool>,
    running: Vec<JoinHandle<f64>>,
}

impl Threads {
    /// Runs `work` over and over, with 1, 2 and so on; gives the last number.
    fn start(&mut self, mut work: impl FnMut(f64) + Send + 'static) {
        let are_done = Arc::clone(&self.are_done);
        self.running.push(thread::spawn(move || {
            let mut count = 0.0;
            while !are_done.load(Ordering::Relaxed) {
                count += 1.0;
                work(count);
            }
            count
        }));
    }

    fn stop(self) -> Vec<f64> {
        self.are_done.store(true, Ordering::Relaxed);
        let ends = self.running.into_iter().map(|thread| thread.join());
        ends.map(Result::unwrap).collect()
    }
}

fn gauge(writer: Writer, mode: GaugeMode, name: &str) -> (Series, SharedEntry) {
    let keys = vec![key(name)];
    let series = writer.series(FileKind::Gauge(mode), keys, Create::OnFirstTouch);
    let entry = series.shared_entry(0).unwrap();
    (series, entry)
}

fn delete_shards(dir: &Path) {
    for shard in shards::read_all(dir) {
        let name = metricsd_shard::ShardName {
            kind: shard.kind,
            id: shard.id,
        };
        fs::remove_file(dir.join(name.file_name())).unwrap();
    }
}

#[test]
fn gauges_that_are_set_while_shards_come_and_go_show_the_last_value() {
    let temp = tempfile::tempdir().unwrap();
    let parent = temp.path().join("parent");
    fs::write(&parent, "a file where a directory should be").unwrap();
    let dir = parent.join("shards");
    let writer = Writer::open(&dir, ProcessInfo::default());
    let (_, set) = gauge(writer, GaugeMode::LiveMax, "set");
    let (raced, raced_entry) = gauge(writer, GaugeMode::LiveMin, "raced");
    let (_, added) = gauge(writer, GaugeMode::LiveSum, "added");
    let (_, last) = gauge(writer, GaugeMode::MostRecent, "last");

    let mut threads = Threads {
        are_done: Arc::new(AtomicBool::new(false)),
        running: Vec::new(),
    };
    threads.start(move |count| {
        set.set(count);
        assert_eq!(set.get(), count, "who set a value reads it");
    });
    threads.start(move |count| {
        last.set_with_timestamp(count, count);
        assert_eq!(last.get(), count);
    });
    for _ in 0..2 {
        threads.start(move |_| added.add(1.0));
    }
    // Each with values of its own, by the third digit.
    for own in [0.25, 0.5] {
        let raced = raced.clone();
        threads.start(move |count| raced.set(0, count + own));
    }
    let mut before = 0.0;
    threads.start(move |_| {
        let now = set.get();
        assert!(now >= before, "{now} after {before}");
        before = now;
    });

    wait_for("values in memory", || (set.get() > 1000.0).then_some(()));
    fs::remove_file(&parent).unwrap();
    for _ in 0..DELETIONS {
        wait_for("a value in a shard", || {
            let is_there = dir.is_dir() && shards::total(&dir, "set") > 0.0;
            is_there.then_some(())
        });
        delete_shards(&dir);
    }
    wait_for("every value in a shard", || {
        let names = ["set", "raced", "added", "last"];
        let are_there = names.iter().all(|name| shards::total(&dir, name) > 0.0);
        let is_healthy = matches!(writer.status(), WriterStatus::Healthy { .. });
        (are_there && is_healthy).then_some(())
    });
    let counts = threads.stop();
    let [
        set_last,
        last_last,
        first_added,
        second_added,
        quarters,
        halves,
        _,
    ] = counts[..]
    else {
        panic!("{counts:?}");
    };
    assert_eq!(shards::total(&dir, "set"), set_last);
    assert_eq!(shards::total(&dir, "added"), first_added + second_added);
    assert_eq!(shards::total(&dir, "last"), last_last);
    let ends = [quarters + 0.25, halves + 0.5];
    let value = shards::total(&dir, "raced");
    assert!(ends.contains(&value), "{value}, not one of {ends:?}");
    assert_eq!(raced_entry.get(), value);
}

#[test]
fn what_is_made_of_parts_has_no_entry_for_all_threads() {
    let writer = Writer::in_memory();
    let counter = writer.series(FileKind::Counter, vec![key("hits_total")], Create::AtZero);
    assert!(counter.shared_entry(0).is_none());
    let (series, entry) = gauge(writer, GaugeMode::All, "level");
    assert!(series.shared_entry(1).is_none());
    assert_eq!(entry.get(), 0.0);
    entry.set(3.0);
    entry.add(-1.0);
    assert_eq!((entry.get(), series.get(0)), (2.0, 2.0));
}
