//! Threads have cells of their own, and nobody can tell by the sums: whatever number of threads comes, goes, or runs past the lanes that there
//! are, each addition is counted once, in this process, in the file and by Python. Method: processes of their own, since lanes are of the
//! whole process; and the shards read as they stand.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by it, its child answers on it"
)]

mod child;
mod python_env;
mod shards;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Barrier};
use std::thread;

use child::{READY, ROLE, child_command, key};
use metricsd_shard::{
    Create, FileKind, GaugeMode, HEADER_LEN_BYTES, Key, ProcessInfo, Series, Writer, WriterStatus,
    parse_from, read_value,
};

/// Threads that can have a lane at a time.
const LANE_COUNT: usize = 16;

/// Runs one role in a process of its own, which has to end well.
fn run(role: &str, dir: &Path) {
    let executable = std::env::current_exe().unwrap();
    let role = format!("{role} {}", dir.display());
    let output = child_command(&executable, "child_process", &role)
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{role}: {text}{errors}");
}

/// The values of all entries of each sample in the only shard of this kind, in the order of the file.
fn entries(dir: &Path, kind: &str) -> BTreeMap<String, Vec<f64>> {
    let mut files = std::fs::read_dir(dir)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.starts_with(kind)
        });
    let bytes = std::fs::read(files.next().unwrap()).unwrap();
    assert_eq!(files.next(), None);
    let parsed = parse_from(&bytes, HEADER_LEN_BYTES);
    assert_eq!(parsed.damage, None);
    let mut found = BTreeMap::<String, Vec<f64>>::new();
    for entry in parsed.entries {
        let sample = Key::parse(entry.key).unwrap().sample;
        let (value, timestamp) = read_value(&bytes, entry.value_offset);
        assert_eq!(timestamp, 0.0, "{sample}: what adds up has no time");
        found.entry(sample).or_default().push(value);
    }
    found
}

#[test]
fn ten_thousand_threads_one_after_another_need_one_entry() {
    let temp = tempfile::tempdir().unwrap();
    run("one_after_another", temp.path());
    let counters = entries(temp.path(), "counter_");
    assert_eq!(counters["hits_total"], [10_000.0]);
    let histograms = entries(temp.path(), "histogram_");
    assert_eq!(histograms["seconds_sum"], [5_000.0]);
    assert_eq!(histograms["seconds_bucket"], [10_000.0]);
}

#[test]
fn threads_beyond_the_lanes_share_one_more_entry() {
    let temp = tempfile::tempdir().unwrap();
    run("hundred_at_once", temp.path());
    let counters = entries(temp.path(), "counter_");
    let hits = &counters["hits_total"];
    assert_eq!(hits.len(), LANE_COUNT + 1, "{hits:?}");
    assert_eq!(hits.iter().sum::<f64>(), 100.0 * 1000.0);
    let histograms = entries(temp.path(), "histogram_");
    for values in histograms.values() {
        assert_eq!(
            values.len(),
            LANE_COUNT + 1,
            "a thread's histogram is whole"
        );
        assert_eq!(values.iter().sum::<f64>(), 100.0 * 1000.0);
    }
}

#[test]
fn in_a_large_file_threads_share_so_that_every_series_has_room() {
    let temp = tempfile::tempdir().unwrap();
    run("large", temp.path());
    let counters = entries(temp.path(), "counter_");
    assert_eq!(counters.len(), 40);
    for (sample, values) in &counters {
        assert!(values.len() <= 2, "{sample}: {values:?}");
        assert_eq!(values.iter().sum::<f64>(), 4.0 * 100.0, "{sample}");
    }
    let shared = counters.values().filter(|values| values.len() == 1).count();
    assert!(
        (20..30).contains(&shared),
        "the first had been given to a thread: {shared}"
    );
}

/// What has to be in one file some day counts already while there is none.
#[test]
fn what_many_threads_record_in_memory_has_room_in_the_file_that_comes_later() {
    let temp = tempfile::tempdir().unwrap();
    run("crowd_in_memory", &temp.path().join("shards"));
    let counters = entries(&temp.path().join("shards"), "counter_");
    assert_eq!(counters.len(), 40);
    for (sample, values) in &counters {
        assert_eq!(values.iter().sum::<f64>(), 4.0 * 100.0, "{sample}");
    }
}

#[test]
fn who_was_refused_a_lane_gets_one_when_one_is_free() {
    let temp = tempfile::tempdir().unwrap();
    run("refused_first", temp.path());
    let counters = entries(temp.path(), "counter_");
    // Everybody's and one lane's.
    let late = &counters["late_total"];
    assert_eq!(late.len(), 2, "{late:?}");
    assert_eq!(late.iter().sum::<f64>(), 3.0);
}

#[test]
fn calls_of_a_thread_that_is_ending_count() {
    let temp = tempfile::tempdir().unwrap();
    run("ending", temp.path());
    let counters = entries(temp.path(), "counter_");
    assert_eq!(counters["hits_total"].iter().sum::<f64>(), 100.0 * 111.0);
    assert!(counters["hits_total"].len() <= 3, "{counters:?}");
}

#[test]
fn a_gauge_has_one_entry_however_many_threads_set_it() {
    let temp = tempfile::tempdir().unwrap();
    run("gauge", temp.path());
    assert_eq!(entries(temp.path(), "gauge_")["level"], [40.0]);
}

#[test]
fn in_memory_every_thread_is_in_the_sums_too() {
    run("in_memory", Path::new("none"));
}

#[test]
fn what_other_threads_counted_is_read_without_a_lock_and_never_goes_back() {
    let temp = tempfile::tempdir().unwrap();
    run("reading", temp.path());
}

#[test]
fn a_set_replaces_what_all_threads_counted() {
    let temp = tempfile::tempdir().unwrap();
    run("set", temp.path());
    let counters = entries(temp.path(), "counter_");
    assert_eq!(counters["hits_total"].iter().sum::<f64>(), 12.0);
}

#[test]
fn a_series_of_keys_that_were_given_apart_is_the_same_entries() {
    let temp = tempfile::tempdir().unwrap();
    run("scattered", temp.path());
    let counters = entries(temp.path(), "counter_");
    assert_eq!(counters["a_total"], [11.0]);
    assert_eq!(counters["b_total"], [22.0]);
    assert_eq!(counters["c_total"], [33.0]);
}

#[test]
fn python_adds_up_the_entries_of_all_threads() {
    let Some(python) = python_env::python("python_adds_up_the_entries_of_all_threads") else {
        return;
    };
    const SCRIPT: &str = "
import sys
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
registry = CollectorRegistry()
MultiProcessCollector(registry, path=sys.argv[1])
sys.stdout.buffer.write(generate_latest(registry))
";
    let temp = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        run("for_python", temp.path());
    }
    let output = Command::new(python)
        .args(["-c", SCRIPT])
        .arg(temp.path())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for line in [
        "hits_total 4000.0",
        "wait_bucket{le=\"1.0\"} 1000.0",
        "wait_bucket{le=\"+Inf\"} 4000.0",
        "wait_count 4000.0",
        "wait_sum 8000.0",
        "size_count 40.0",
        "size_sum 80.0",
        "level 7.0",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "no {line:?} in:\n{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// A child process of the tests above. Its role is a word and a directory.
#[test]
#[ignore = "a child process of the tests in this file"]
fn child_process() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let (role, dir) = role.split_once(' ').unwrap();
    if role == "crowd_in_memory" {
        std::fs::write(dir, "a file where a directory should be").unwrap();
    }
    let writer = if role == "in_memory" {
        Writer::in_memory()
    } else {
        Writer::open(Path::new(dir), ProcessInfo::default())
    };
    println!("{READY}");
    match role {
        "one_after_another" => one_after_another(writer),
        "hundred_at_once" => at_once(writer, 100),
        "refused_first" => refused_first(writer),
        "ending" => ending(writer),
        "gauge" => gauge(writer),
        "large" => {
            large(writer);
            assert!(matches!(writer.status(), WriterStatus::Healthy { .. }));
        }
        "crowd_in_memory" => {
            large(writer);
            let is_degraded = || matches!(writer.status(), WriterStatus::Degraded { .. });
            assert!(is_degraded());
            std::fs::remove_file(dir).unwrap();
            child::wait_for("a healthy writer", || (!is_degraded()).then_some(()));
        }
        "in_memory" => {
            at_once(writer, 40);
            let snapshot = writer.snapshot();
            assert_eq!(snapshot.len(), 3, "one for each key");
            assert!(snapshot.iter().all(|one| one.value == 40_000.0));
        }
        "reading" => reading(writer),
        "set" => set(writer),
        "scattered" => scattered(writer),
        "for_python" => for_python(writer),
        _ => panic!("{role}"),
    }
}

fn counter(writer: Writer, name: &str) -> Series {
    writer.series(FileKind::Counter, vec![key(name)], Create::AtZero)
}

fn histogram(writer: Writer) -> Series {
    let keys = vec![key("seconds_sum"), key("seconds_bucket")];
    writer.series(FileKind::Histogram, keys, Create::AtZero)
}

fn one_after_another(writer: Writer) {
    let (hits, seconds) = (counter(writer, "hits_total"), histogram(writer));
    for _ in 0..10_000 {
        let (hits, seconds) = (hits.clone(), seconds.clone());
        let recording = thread::spawn(move || {
            hits.add(0, 1.0);
            seconds.add(1, 1.0);
            seconds.add(0, 0.5);
        });
        recording.join().unwrap();
    }
    assert_eq!(hits.get(0), 10_000.0);
}

/// All threads add before the first of them ends.
fn at_once(writer: Writer, count: usize) {
    let (hits, seconds) = (counter(writer, "hits_total"), histogram(writer));
    let all = Arc::new(Barrier::new(count));
    let threads: Vec<_> = (0..count)
        .map(|_| {
            let (hits, seconds, all) = (hits.clone(), seconds.clone(), Arc::clone(&all));
            thread::spawn(move || {
                for _ in 0..1000 {
                    hits.add(0, 1.0);
                    seconds.add(1, 1.0);
                    seconds.add(0, 1.0);
                }
                all.wait();
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(hits.get(0), count as f64 * 1000.0);
}

fn refused_first(writer: Writer) {
    let (hits, late) = (counter(writer, "hits_total"), counter(writer, "late_total"));
    let (begun, over) = (
        Arc::new(Barrier::new(LANE_COUNT + 1)),
        Arc::new(Barrier::new(LANE_COUNT + 1)),
    );
    let owners: Vec<_> = (0..LANE_COUNT)
        .map(|_| {
            let (hits, begun, over) = (hits.clone(), Arc::clone(&begun), Arc::clone(&over));
            thread::spawn(move || {
                hits.add(0, 1.0);
                begun.wait();
                over.wait();
            })
        })
        .collect();
    begun.wait();
    late.add(0, 1.0);
    late.add(0, 1.0);
    over.wait();
    for owner in owners {
        owner.join().unwrap();
    }
    late.add(0, 1.0);
}

/// Adds when its thread ends.
struct AtTheEnd(RefCell<Option<Series>>, f64);

impl Drop for AtTheEnd {
    fn drop(&mut self) {
        if let Some(series) = self.0.take() {
            (0..10).for_each(|_| series.add(0, self.1));
        }
    }
}

thread_local! {
    static BEFORE: AtTheEnd = const { AtTheEnd(RefCell::new(None), 1.0) };
    static AFTER: AtTheEnd = const { AtTheEnd(RefCell::new(None), 10.0) };
}

/// Destructors run in the reverse order of the first uses: one before the lane was taken, one after it, so one of them runs without it.
fn ending(writer: Writer) {
    let hits = counter(writer, "hits_total");
    for round in 0..100 {
        let hits = hits.clone();
        let recording = thread::spawn(move || {
            BEFORE.with(|end| *end.0.borrow_mut() = Some(hits.clone()));
            // Every other thread has its first call in a destructor.
            if round % 2 == 0 {
                hits.add(0, 1.0);
            }
            AFTER.with(|end| *end.0.borrow_mut() = Some(hits.clone()));
        });
        recording.join().unwrap();
        if round % 2 == 1 {
            counter(writer, "hits_total").add(0, 1.0);
        }
    }
    assert_eq!(hits.get(0), 11_100.0);
}

fn gauge(writer: Writer) {
    let mode = FileKind::Gauge(GaugeMode::LiveSum);
    let level = writer.series(mode, vec![key("level")], Create::OnFirstTouch);
    let threads: Vec<_> = (0..40)
        .map(|_| {
            let level = level.clone();
            thread::spawn(move || level.add(0, 1.0))
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(level.get(0), 40.0);
}

/// Forty keys of a megabyte each: four entries of each would be more than a shard may hold.
fn large(writer: Writer) {
    let of_number = |number: usize| Key {
        help: "h".repeat(1_000_000),
        ..key(&format!("large{number}_total"))
    };
    let all: Vec<Series> = (0..40)
        .map(|number| writer.series(FileKind::Counter, vec![of_number(number)], Create::AtZero))
        .collect();
    let begun = Arc::new(Barrier::new(4));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (all, begun) = (all.clone(), Arc::clone(&begun));
            thread::spawn(move || {
                for series in &all {
                    (0..100).for_each(|_| series.add(0, 1.0));
                }
                begun.wait();
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert!(all.iter().all(|series| series.get(0) == 400.0));
}

fn reading(writer: Writer) {
    let hits = counter(writer, "hits_total");
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let hits = hits.clone();
            thread::spawn(move || {
                for _ in 0..20_000 {
                    let before = hits.get(0);
                    hits.add(0, 1.0);
                    assert!(hits.get(0) > before, "its own addition is there");
                }
            })
        })
        .collect();
    let mut last = 0.0;
    while threads.iter().any(|thread| !thread.is_finished()) {
        let now = hits.get(0);
        let snapshot = writer.snapshot();
        assert!(now >= last && snapshot[0].value >= now);
        last = now;
    }
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(hits.get(0), 80_000.0);
}

fn set(writer: Writer) {
    let hits = counter(writer, "hits_total");
    at_once_on(&hits, 5);
    hits.set(0, 3.0);
    assert_eq!(hits.get(0), 3.0);
    at_once_on(&hits, 5);
    assert_eq!(hits.get(0), 8.0);
    hits.set_with_timestamp(0, 12.0, 1.7e9);
    assert_eq!(hits.get(0), 12.0);
}

fn at_once_on(series: &Series, count: usize) {
    let all = Arc::new(Barrier::new(count));
    let threads: Vec<_> = (0..count)
        .map(|_| {
            let (series, all) = (series.clone(), Arc::clone(&all));
            thread::spawn(move || {
                series.add(0, 1.0);
                all.wait();
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

fn scattered(writer: Writer) {
    let make = |names: &[&str]| {
        let keys = names.iter().map(|name| key(name)).collect();
        writer.series(FileKind::Counter, keys, Create::AtZero)
    };
    let apart = make(&["b_total", "a_total"]);
    let mixed = make(&["a_total", "c_total", "b_total"]);
    let again = make(&["b_total", "a_total"]);
    apart.add(0, 2.0);
    apart.add(1, 1.0);
    for (index, v) in [10.0, 30.0, 20.0].into_iter().enumerate() {
        mixed.add(index, v);
    }
    mixed.add(1, 3.0);
    mixed.add(3, 1000.0);
    assert_eq!((again.get(0), again.get(1)), (22.0, 11.0));
    assert_eq!(
        (mixed.get(0), mixed.get(1), mixed.get(2)),
        (11.0, 33.0, 22.0)
    );
}

fn for_python(writer: Writer) {
    let of_wait = |sample: &str, le: Option<&str>| Key {
        family: "wait".to_owned(),
        sample: sample.to_owned(),
        labels: le
            .map(|le| ("le".to_owned(), le.to_owned()))
            .into_iter()
            .collect(),
        help: "seconds".to_owned(),
    };
    let hits = counter(writer, "hits_total");
    let wait = writer.series(
        FileKind::Histogram,
        vec![
            of_wait("wait_sum", None),
            of_wait("wait_bucket", Some("1.0")),
            of_wait("wait_bucket", Some("+Inf")),
        ],
        Create::AtZero,
    );
    let of_size = |sample: &str| Key {
        family: "size".to_owned(),
        ..key(sample)
    };
    let size = writer.series(
        FileKind::Summary,
        vec![of_size("size_count"), of_size("size_sum")],
        Create::AtZero,
    );
    let mode = FileKind::Gauge(GaugeMode::Max);
    let level = writer.series(mode, vec![key("level")], Create::OnFirstTouch);
    let all = Arc::new(Barrier::new(20));
    let threads: Vec<_> = (0..20)
        .map(|_| {
            let (hits, wait, size) = (hits.clone(), wait.clone(), size.clone());
            let (level, all) = (level.clone(), Arc::clone(&all));
            thread::spawn(move || {
                for step in 0..100 {
                    hits.add(0, 1.0);
                    wait.add(if step % 4 == 0 { 1 } else { 2 }, 1.0);
                    wait.add(0, 2.0);
                }
                size.add(0, 1.0);
                size.add(1, 2.0);
                level.set(0, 7.0);
                all.wait();
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}
