//! What the writer writes, read back by this crate's reader and by Python's, at every size around pages and segments.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by it, its child answers on it"
)]

mod child;
mod python_env;
mod shards;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use child::key;
use metricsd_shard::{
    Create, FileKind, GaugeMode, HEADER_LEN_BYTES, Key, ProcessInfo, Series, Writer, WriterStatus,
    parse_from, read_value,
};

fn labelled(sample: &str, labels: &[(&str, &str)], help: &str) -> Key {
    Key {
        labels: labels
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        help: help.to_owned(),
        ..key(sample)
    }
}

fn counter(writer: Writer, key: Key) -> Series {
    writer.series(FileKind::Counter, vec![key], Create::AtZero)
}

/// The bytes of the only shard of this prefix.
fn bytes_of(dir: &Path, prefix: &str) -> Vec<u8> {
    let mut found = std::fs::read_dir(dir)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with(prefix)
        });
    let path = found.next().unwrap();
    assert_eq!(found.next(), None);
    std::fs::read(path).unwrap()
}

#[test]
fn every_entry_reads_back_at_every_size() {
    let temp = tempfile::tempdir().unwrap();
    let (dirs, written) = write_shards_of_many_sizes(temp.path());
    let mut straddling = 0;
    for (dir, written) in dirs.iter().zip(written) {
        let bytes = bytes_of(dir, "counter_");
        let entries = parse_from(&bytes, HEADER_LEN_BYTES).entries;
        // A cell whose value ends one segment and whose timestamp begins the next.
        straddling += entries
            .iter()
            .filter(|entry| (entry.value_offset + 8).is_power_of_two() && entry.value_offset > 4000)
            .count();
        let read: Entries = entries
            .iter()
            .map(|entry| {
                let key = String::from_utf8(entry.key.to_vec()).unwrap();
                (key, read_value(&bytes, entry.value_offset))
            })
            .collect();
        assert_eq!(read, written, "{}", dir.display());
    }
    assert!(straddling > 0, "no cell straddled two segments");
}

#[test]
fn python_reads_every_entry_at_every_size() {
    let Some(python) = python_env::python("python_reads_every_entry_at_every_size") else {
        return;
    };
    let temp = tempfile::tempdir().unwrap();
    let (dirs, written) = write_shards_of_many_sizes(temp.path());
    assert_eq!(read_by_python(&python, &dirs), written);
}

fn write_shards_of_many_sizes(temp: &Path) -> (Vec<PathBuf>, Vec<Entries>) {
    (0..64)
        .map(|shift| {
            let dir = temp.join(format!("shards_{shift}"));
            let written = write_entries_of_many_lengths(&dir, shift);
            (dir, written)
        })
        .unzip()
}

/// Value and timestamp by the key as it stands in the file.
type Entries = BTreeMap<String, (f64, f64)>;

/// Entries of changing lengths up to several times the first page; values that change after all exist.
fn write_entries_of_many_lengths(dir: &Path, shift: usize) -> Entries {
    let writer = Writer::open(dir, ProcessInfo::default());
    let mut expected = BTreeMap::new();
    let all: Vec<Series> = (0..400)
        .map(|index| {
            let help = "h".repeat((index * 7 + shift) % 53 + shift);
            let key = labelled(
                "sized_total",
                &[
                    ("city", "Zürich\n\"日本\" \\ 😀\u{7f}"),
                    ("n", &index.to_string()),
                ],
                &help,
            );
            expected.insert(key.encode(), (index as f64 + 0.25, 0.0));
            counter(writer, key)
        })
        .collect();
    for (index, series) in all.iter().enumerate() {
        series.add(0, index as f64);
    }
    for series in &all {
        series.add(0, 0.25);
    }
    expected
}

fn read_by_python(python: &Path, dirs: &[PathBuf]) -> Vec<Entries> {
    const SCRIPT: &str = "
import glob, json, sys
from prometheus_client.mmap_dict import MmapedDict
def read(directory):
    [path] = glob.glob(directory + '/*.db')
    return [(key, value, time) for key, value, time, _ in MmapedDict.read_all_values_from_file(path)]
print(json.dumps([read(directory) for directory in sys.argv[1:]]))
";
    let output = Command::new(python)
        .args(["-c", SCRIPT])
        .args(dirs)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let found: Vec<Vec<(String, f64, f64)>> = serde_json::from_slice(&output.stdout).unwrap();
    let of_one = |entries: Vec<(String, f64, f64)>| {
        let count = entries.len();
        let by_key: Entries = entries
            .into_iter()
            .map(|(key, value, timestamp)| (key, (value, timestamp)))
            .collect();
        assert_eq!(by_key.len(), count, "a key stands in a file once");
        by_key
    };
    found.into_iter().map(of_one).collect()
}

#[test]
fn python_merges_what_we_write() {
    let Some(python) = python_env::python("python_merges_what_we_write") else {
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
    let dir = temp.path().join("shards");
    for _ in 0..2 {
        let writer = Writer::open(&dir, ProcessInfo::default());
        counter(
            writer,
            labelled("hits_total", &[("stadt", "Köln")], "Treffer"),
        )
        .add(0, 2.0);
        let mode = FileKind::Gauge(GaugeMode::MostRecent);
        writer
            .series(
                mode,
                vec![labelled("mode", &[], "last")],
                Create::OnFirstTouch,
            )
            .set_with_timestamp(0, 3.0, 1.7e9);
        let bucket = |le| labelled("wait_bucket", &[("le", le)], "seconds");
        let histogram = writer.series(
            FileKind::Histogram,
            vec![
                labelled("wait_sum", &[], "seconds"),
                bucket("1.0"),
                bucket("+Inf"),
            ]
            .into_iter()
            .map(|key| Key {
                family: "wait".to_owned(),
                ..key
            })
            .collect(),
            Create::AtZero,
        );
        histogram.add(1, 1.0);
        histogram.add(2, 1.0);
        histogram.add(0, 9.5);
    }
    let output = Command::new(python)
        .args(["-c", SCRIPT])
        .arg(&dir)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for line in [
        "# HELP hits_total Treffer",
        "hits_total{stadt=\"Köln\"} 4.0",
        "mode 3.0",
        "wait_bucket{le=\"1.0\"} 2.0",
        "wait_bucket{le=\"+Inf\"} 4.0",
        "wait_count 4.0",
        "wait_sum 19.0",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "no {line:?} in:\n{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn fifty_thousand_series_each_keep_their_own_value() {
    const COUNT: usize = 50_000;
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("shards");
    let writer = Writer::open(&dir, ProcessInfo::default());
    let all: Vec<Series> = (0..COUNT)
        .map(|index| {
            counter(
                writer,
                labelled("many_total", &[("n", &format!("{index:05}"))], "many"),
            )
        })
        .collect();
    for (index, series) in all.iter().enumerate() {
        series.add(0, index as f64);
    }
    assert!(matches!(writer.status(), WriterStatus::Healthy { .. }));
    let bytes = bytes_of(&dir, "counter_");
    let parsed = parse_from(&bytes, HEADER_LEN_BYTES);
    assert_eq!((parsed.entries.len(), parsed.damage), (COUNT, None));
    for (index, entry) in parsed.entries.iter().enumerate() {
        assert_eq!(read_value(&bytes, entry.value_offset), (index as f64, 0.0));
    }
    let snapshot = writer.snapshot();
    assert_eq!(snapshot.len(), COUNT);
    assert_eq!(snapshot[4711].value, 4711.0);
    assert_eq!(snapshot[4711].key.labels[0].1, "04711");
}

#[test]
fn a_file_starts_at_one_page() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("shards");
    let writer = Writer::open(&dir, ProcessInfo::default());
    counter(writer, key("hits_total"));
    assert_eq!(bytes_of(&dir, "counter_").len(), rustix::param::page_size());
}

#[test]
fn counters_exist_at_zero_and_gauges_from_their_first_value() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("shards");
    let writer = Writer::open(&dir, ProcessInfo::default());
    counter(writer, key("hits_total"));
    let mode = FileKind::Gauge(GaugeMode::Min);
    let gauge = writer.series(mode, vec![key("level")], Create::OnFirstTouch);
    let shards = shards::read_all(&dir);
    assert_eq!((shards.len(), shards[0].get("hits_total")), (1, Some(0.0)));
    assert_eq!((gauge.get(0), writer.snapshot().len()), (0.0, 1));
    gauge.set(0, 4.5);
    assert_eq!(shards::total(&dir, "level"), 4.5);
    gauge.add(0, -1.0);
    assert_eq!(shards::total(&dir, "level"), 3.5);
    assert_eq!(writer.snapshot().len(), 2);
}

#[test]
fn series_of_the_same_key_are_one_entry() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("shards");
    for writer in [
        Writer::open(&dir, ProcessInfo::default()),
        Writer::in_memory(),
    ] {
        let one = counter(writer, key("hits_total"));
        let both = writer.series(
            FileKind::Counter,
            vec![key("other_total"), key("hits_total")],
            Create::AtZero,
        );
        one.add(0, 1.0);
        both.add(1, 2.0);
        assert_eq!((one.get(0), both.get(1), both.get(0)), (3.0, 3.0, 0.0));
        assert_eq!(writer.snapshot().len(), 2);
        // The same key in another kind is another entry.
        let untyped = writer.series(FileKind::Untyped, vec![key("hits_total")], Create::AtZero);
        assert_eq!(untyped.get(0), 0.0);
    }
    assert_eq!(shards::total(&dir, "hits_total"), 3.0);
}

#[test]
fn an_index_beyond_the_keys_does_nothing() {
    let writer = Writer::in_memory();
    let series = counter(writer, key("hits_total"));
    series.add(1, 1.0);
    series.set(2, 1.0);
    series.set_with_timestamp(3, 1.0, 1.0);
    assert_eq!((series.get(0), series.get(1)), (0.0, 0.0));
}

#[test]
fn every_nan_is_stored_as_one_that_is_not_the_seal() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("shards");
    let writer = Writer::open(&dir, ProcessInfo::default());
    // A payload like the one that marks a moved cell in memory.
    let odd = f64::from_bits(0x7ff8_0000_5ea1_ed00);
    let mode = FileKind::Gauge(GaugeMode::All);
    let make = |name| writer.series(mode, vec![key(name)], Create::OnFirstTouch);
    let (first, set, added) = (make("first"), make("set"), make("added"));
    first.set(0, odd);
    set.set(0, 1.0);
    set.set(0, odd);
    added.add(0, 1.0);
    added.add(0, odd);
    added.add(0, 1.0);
    for series in [&first, &set, &added] {
        assert_eq!(series.get(0).to_bits(), f64::NAN.to_bits());
        series.set(0, 2.0);
        assert_eq!(series.get(0), 2.0);
    }
}

#[test]
fn a_stranger_who_writes_the_seal_into_a_shard_stops_nobody() {
    use std::os::unix::fs::FileExt;
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("shards");
    let writer = Writer::open(&dir, ProcessInfo::default());
    let hits = counter(writer, key("hits_total"));
    let path = std::fs::read_dir(&dir)
        .unwrap()
        .map(|file| file.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "db"))
        .unwrap();
    let offset =
        parse_from(&std::fs::read(&path).unwrap(), HEADER_LEN_BYTES).entries[0].value_offset;
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(&0x7ff8_0000_5ea1_ed00_u64.to_le_bytes(), offset as u64)
        .unwrap();
    assert!(hits.get(0).is_nan());
    hits.add(0, 2.0);
    hits.add(0, 3.0);
    assert_eq!(hits.get(0), 5.0);
}

#[test]
fn beyond_64_mib_series_stay_in_memory_and_the_shard_stays_whole() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("shards");
    let writer = Writer::open(&dir, ProcessInfo::default());
    let long = "h".repeat(1_000_000);
    let all: Vec<Series> = (0..72)
        .map(|index| {
            counter(
                writer,
                labelled("long_total", &[("n", &index.to_string())], &long),
            )
        })
        .collect();
    for series in &all {
        series.add(0, 1.0);
    }
    let WriterStatus::Degraded { reason, .. } = writer.status() else {
        panic!("{:?}", writer.status());
    };
    assert!(reason.contains("67108864 bytes are full"), "{reason}");
    let bytes = bytes_of(&dir, "counter_");
    assert!(bytes.len() <= 64 << 20);
    let parsed = parse_from(&bytes, HEADER_LEN_BYTES);
    assert_eq!(parsed.damage, None);
    assert!((60..72).contains(&parsed.entries.len()));
    assert!(all.iter().all(|series| series.get(0) == 1.0));
    assert_eq!(writer.snapshot().len(), 72);
}

#[test]
fn a_key_that_no_reader_accepts_stays_in_memory_alone() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("shards");
    let writer = Writer::open(&dir, ProcessInfo::default());
    let names: Vec<String> = (0..300).map(|index| format!("l{index}")).collect();
    let labels: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "v")).collect();
    let odd = counter(writer, labelled("odd_total", &labels, "too many labels"));
    let good = counter(writer, key("good_total"));
    odd.add(0, 1.0);
    good.add(0, 1.0);
    assert_eq!((odd.get(0), good.get(0)), (1.0, 1.0));
    assert_eq!(shards::read_all(&dir)[0].values.len(), 1);
    assert!(
        matches!(writer.status(), WriterStatus::Degraded { reason, .. } if reason.contains("300 labels"))
    );
}

#[test]
fn a_writer_in_memory_makes_no_file() {
    let writer = Writer::in_memory();
    counter(writer, key("hits_total")).add(0, 2.0);
    let mode = FileKind::Gauge(GaugeMode::LiveMostRecent);
    let gauge = writer.series(mode, vec![key("last")], Create::OnFirstTouch);
    gauge.set_with_timestamp(0, 5.0, 1.7e9);
    assert_eq!(writer.status(), WriterStatus::InMemory);
    let snapshot = writer.snapshot();
    let values: Vec<(FileKind, &str, f64, f64)> = snapshot
        .iter()
        .map(|entry| {
            let sample = entry.key.sample.as_str();
            (entry.kind, sample, entry.value, entry.timestamp)
        })
        .collect();
    assert_eq!(
        values,
        [
            (FileKind::Counter, "hits_total", 2.0, 0.0),
            (mode, "last", 5.0, 1.7e9)
        ]
    );
}
