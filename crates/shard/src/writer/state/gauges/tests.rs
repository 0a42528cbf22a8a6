//! The moves as they are shipped, under threads that set and add all the time: the models of `tests/loom_gauges.rs` check the steps, and put them
//! together themselves. Method: passes without the second between them, each of which finds the shards deleted.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::key::Key;
use crate::name::{FileKind, GaugeMode};
use crate::writer::touch::with_writers;
use crate::writer::{Create, ProcessInfo, SharedEntry, Writer};

/// Far fewer than those after which the mapping of a deleted shard is let go, into which a thread may be about to store.
const PASSES: usize = 25;
const WRITERS: usize = 6;

fn gauge(writer: Writer, mode: GaugeMode, name: &str) -> SharedEntry {
    let key = Key {
        family: name.to_owned(),
        sample: name.to_owned(),
        labels: Vec::new(),
        help: String::new(),
    };
    let series = writer.series(FileKind::Gauge(mode), vec![key], Create::OnFirstTouch);
    let entry = series
        .shared_entry(0)
        .expect("a gauge has one cell for all");
    entry.set_with_timestamp(0.0, 0.0);
    entry
}

/// One pass of the background thread.
fn pass(writer: Writer) {
    with_writers(|writers| writers.list[writer.index].inspect(&mut writers.messages));
    while with_writers(|writers| {
        writers.list[writer.index].move_waiting(256, &mut writers.messages)
    }) {}
}

#[test]
fn gauges_keep_every_call_while_their_shards_are_deleted_all_the_time() {
    for _ in 0..WRITERS {
        let temp = tempfile::tempdir().unwrap();
        let writer = Writer::open(temp.path(), ProcessInfo::default());
        let [set, raced, added, mixed] =
            ["set", "raced", "added", "mixed"].map(|name| gauge(writer, GaugeMode::LiveMax, name));
        let last = gauge(writer, GaugeMode::MostRecent, "last");
        let mut before = 0.0;
        let work: [Box<dyn FnMut(f64) + Send>; 8] = [
            Box::new(move |count| {
                set.set(count);
                assert_eq!(set.get(), count, "who set a value reads it");
            }),
            Box::new(move |_| {
                let now = set.get();
                assert!(now >= before, "{now} after {before}");
                before = now;
            }),
            Box::new(move |count| {
                last.set_with_timestamp(count, count);
                assert_eq!(last.get(), count);
            }),
            Box::new(move |count| {
                mixed.set(count);
                mixed.add(0.5);
                assert_eq!(mixed.get(), count + 0.5);
            }),
            Box::new(move |_| added.add(1.0)),
            Box::new(move |_| added.add(1.0)),
            Box::new(move |count| raced.set(count + 0.25)),
            Box::new(move |count| raced.set(count + 0.5)),
        ];
        let are_done = Arc::new(AtomicBool::new(false));
        let threads = work.map(|mut work| {
            let are_done = Arc::clone(&are_done);
            thread::spawn(move || {
                let mut count = 0.0;
                while !are_done.load(Ordering::Relaxed) {
                    count += 1.0;
                    work(count);
                }
                count
            })
        });
        for _ in 0..PASSES {
            for file in fs::read_dir(temp.path()).unwrap().flatten() {
                if file.path().extension().is_some_and(|end| end == "db") {
                    fs::remove_file(file.path()).unwrap();
                }
            }
            pass(writer);
        }
        are_done.store(true, Ordering::Relaxed);
        let counts = threads.map(|thread| thread.join().unwrap());
        assert_eq!(set.get(), counts[0]);
        assert_eq!(last.get(), counts[2]);
        assert_eq!(mixed.get(), counts[3] + 0.5);
        assert_eq!(added.get(), counts[4] + counts[5]);
        let ends = [counts[6] + 0.25, counts[7] + 0.5];
        assert!(ends.contains(&raced.get()), "{}: {ends:?}", raced.get());
    }
}
