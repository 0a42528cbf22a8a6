//! Today's `prometheus_client` in a process of its own: it writes and this crate reads while it goes on writing, this crate
//! writes and it reads, and both spell the same keys.
#![allow(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that does not hold"
)]

mod python_env;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use metricsd_shard::{
    HEADER_LEN_BYTES, Key, Liveness, ShardFile, ShardName, encode_entry, encode_header,
    file_system_supports_leases, parse_from, read_value,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Answers each line of JSON with one.
const SERVER: &str = r#"
import json, os, struct, sys
import prometheus_client as client
from prometheus_client.mmap_dict import MmapedDict, mmap_key

bits = lambda value: str(struct.unpack("<Q", struct.pack("<d", value))[0])
counters, histograms, gauges = {}, {}, {}

def counter(name, help, labels, value):
    metric = counters.get(name) or counters.setdefault(name, client.Counter(name, help, sorted(labels)))
    (metric.labels(**labels) if labels else metric).inc(value)

def fill(name, count):
    metric = client.Counter(name, "help", ["number"])
    for number in range(count):
        metric.labels(number).inc(number)

def histogram(name, help, buckets, value):
    metric = histograms.get(name) or histograms.setdefault(name, client.Histogram(name, help, buckets=buckets))
    metric.observe(value)

def gauge(name, help, mode, value):
    metric = gauges.get(name) or gauges.setdefault(name, client.Gauge(name, help, multiprocess_mode=mode))
    metric.set(value)

def key(family, sample, labels, help):
    return mmap_key(family, sample, list(labels), list(labels.values()), help)

def respell(family, sample, labels, help):
    key = [family, sample, dict(reversed(list(labels.items()))), help]
    return [json.dumps(key, ensure_ascii=False, separators=(",", ":")), json.dumps(key, separators=(" ,\t", "\r\n: "))]

def read(path):
    entries = MmapedDict.read_all_values_from_file(path)
    return [[json.loads(key), bits(value), bits(timestamp), position] for key, value, timestamp, position in entries]

operations = {"counter": counter, "fill": fill, "histogram": histogram, "gauge": gauge, "key": key, "respell": respell, "read": read,
              "pid": os.getpid}
for line in sys.stdin:
    name, *arguments = json.loads(line)
    print(json.dumps(operations[name](*arguments)), flush=True)
"#;

/// A Python process that does as it is told.
struct Python {
    child: Child,
    dir: TempDir,
}

impl Python {
    fn start(test: &str) -> Option<Python> {
        let interpreter = python_env::python(test)?;
        let dir = TempDir::new().unwrap();
        let child = Command::new(interpreter)
            .args(["-c", SERVER])
            .env("PROMETHEUS_MULTIPROC_DIR", dir.path())
            .env("PYTHONUTF8", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Some(Python { child, dir })
    }

    fn ask(&mut self, question: &Value) -> Value {
        writeln!(self.child.stdin.as_mut().unwrap(), "{question}").unwrap();
        // One line is answered with one line, so nothing is left in the buffer that goes away.
        let mut answer = String::new();
        BufReader::new(self.child.stdout.as_mut().unwrap())
            .read_line(&mut answer)
            .unwrap();
        serde_json::from_str(&answer)
            .unwrap_or_else(|error| panic!("{question}: {error}: {answer:?}"))
    }

    fn open(&self, name: &str) -> ShardFile {
        ShardFile::open_at(File::open(self.dir.path()).unwrap().as_fd(), name).unwrap()
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn nasty_texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        "",
        " ",
        "\"",
        "\\",
        "/",
        "a\\\"b",
        "\n\r\t\u{8}\u{c}",
        "\0\u{1}\u{1f}",
        "\u{7f}",
        "\u{80}\u{9f}",
        "é",
        "€",
        "\u{2028}\u{2029}",
        "\u{feff}",
        "\u{d7ff}\u{e000}\u{ffff}",
        "😀",
        "\u{10000}\u{10ffff}",
        "<&'>",
        "{}[],:",
        "\\u0041",
        "\"]",
        "\", {}, \"",
    ]
    .map(str::to_owned)
    .into();
    let mut runner = TestRunner::deterministic();
    let strategy = any::<String>();
    texts.extend((0..300).map(|_| strategy.new_tree(&mut runner).unwrap().current()));
    texts
}

fn arguments(operation: &str, key: &Key) -> Value {
    let labels: BTreeMap<_, _> = key.labels.iter().cloned().collect();
    json!([operation, key.family, key.sample, labels, key.help])
}

/// Keys whose four parts are all nasty, label names too.
fn nasty_keys() -> Vec<Key> {
    let texts = nasty_texts();
    let pick = |number: usize| texts[number % texts.len()].clone();
    (0..texts.len())
        .map(|number| {
            let labels: BTreeMap<_, _> = (0..number % 5)
                .map(|label| (pick(number * 7 + label * 11), pick(number + label)))
                .collect();
            Key {
                family: pick(number),
                sample: pick(number + 1),
                labels: labels.into_iter().collect(),
                help: pick(number + 2),
            }
        })
        .collect()
}

#[test]
fn keys_are_spelled_as_python_spells_them() {
    let Some(mut python) = Python::start("keys_are_spelled_as_python_spells_them") else {
        return;
    };
    for key in nasty_keys() {
        assert_eq!(python.ask(&arguments("key", &key)), key.encode());
    }
}

#[test]
fn other_json_spellings_of_python_are_the_same_key() {
    let Some(mut python) = Python::start("other_json_spellings_of_python_are_the_same_key") else {
        return;
    };
    for key in nasty_keys() {
        for text in python.ask(&arguments("respell", &key)).as_array().unwrap() {
            let text = text.as_str().unwrap();
            assert_eq!(Key::parse(text.as_bytes()).as_ref(), Ok(&key), "{text}");
        }
    }
}

#[test]
fn python_reads_what_is_encoded_here() {
    let Some(mut python) = Python::start("python_reads_what_is_encoded_here") else {
        return;
    };
    let values = [
        0.0,
        -0.0,
        0.1,
        9_007_199_254_740_993.0,
        f64::MAX,
        f64::MIN_POSITIVE,
        f64::INFINITY,
        f64::NAN,
    ];
    let mut bytes = vec![0; HEADER_LEN_BYTES];
    let mut expected = Vec::new();
    for (number, key) in nasty_keys().into_iter().enumerate() {
        let (value, timestamp) = (values[number % values.len()], 1.7e9 + number as f64 / 3.0);
        bytes.extend(encode_entry(key.encode().as_bytes(), value, timestamp));
        let labels: BTreeMap<_, _> = key.labels.into_iter().collect();
        let parts = json!([key.family, key.sample, labels, key.help]);
        expected.push(json!([
            parts,
            value.to_bits().to_string(),
            timestamp.to_bits().to_string(),
            bytes.len() - 16
        ]));
    }
    let header = encode_header(bytes.len());
    bytes[..HEADER_LEN_BYTES].copy_from_slice(&header);
    let path = python.dir.path().join("counter_1-rs.db");
    fs::write(&path, bytes).unwrap();
    assert_eq!(python.ask(&json!(["read", path])), Value::Array(expected));
}

/// The reader follows a shard that Python fills, over several doublings of the file, and parses every key once.
#[test]
fn a_shard_that_python_is_filling_is_followed_entry_by_entry() {
    let Some(mut python) =
        Python::start("a_shard_that_python_is_filling_is_followed_entry_by_entry")
    else {
        return;
    };
    const HELP: &str = "ü \"h\"";
    let pid = python.ask(&json!(["pid"])).to_string();
    let texts = nasty_texts();
    let name = format!("counter_{pid}.db");
    let (mut file, mut buffer, mut from) = (None, Vec::new(), HEADER_LEN_BYTES);
    let mut offsets = Vec::new();
    for (number, text) in texts.iter().enumerate() {
        let labels = vec![
            ("alpha".to_owned(), text.clone()),
            ("zeta".to_owned(), format!("{number}{}", "z".repeat(700))),
        ];
        let value = number as f64 + 0.5;
        let by_name: BTreeMap<_, _> = labels.iter().cloned().collect();
        python.ask(&json!(["counter", "nasty", HELP, by_name, value]));

        let file = file.get_or_insert_with(|| python.open(&name));
        file.read_used(&mut buffer).unwrap();
        let parsed = parse_from(&buffer, from);
        assert_eq!((parsed.damage, parsed.entries.len()), (None, 1), "{text:?}");
        let key = Key {
            family: "nasty".into(),
            sample: "nasty_total".into(),
            labels,
            help: HELP.into(),
        };
        assert_eq!(parsed.entries[0].key, key.encode().as_bytes());
        offsets.push(parsed.entries[0].value_offset);
        from = parsed.end;
        for (earlier, &offset) in offsets.iter().enumerate() {
            assert_eq!(read_value(&buffer, offset), (earlier as f64 + 0.5, 0.0));
        }
    }
    assert!(
        file.unwrap().stat().unwrap().len_bytes > 64 << 10,
        "the file never grew"
    );
}

/// Goal: the order of a new entry (bytes, then the used length) holds through `read_used`, whatever the moment. Method: read
/// without pause while Python appends at full speed.
#[test]
fn a_reader_beside_a_running_writer_never_sees_damage() {
    const COUNT: usize = 20_000;
    let Some(mut python) = Python::start("a_reader_beside_a_running_writer_never_sees_damage")
    else {
        return;
    };
    let pid = python.ask(&json!(["pid"])).to_string();
    python.ask(&json!(["counter", "first", "help", {}, 1]));
    let file = python.open(&format!("counter_{pid}.db"));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let (mut buffer, mut from, mut found, mut reads) = (Vec::new(), HEADER_LEN_BYTES, 0, 0);
            loop {
                let was_done = done.load(Ordering::Acquire);
                file.read_used(&mut buffer).unwrap();
                let parsed = parse_from(&buffer, from);
                assert_eq!(parsed.damage, None, "after {found} entries");
                (from, found, reads) = (parsed.end, found + parsed.entries.len(), reads + 1);
                if was_done {
                    return (found, reads);
                }
            }
        });
        python.ask(&json!(["fill", "c", COUNT]));
        done.store(true, Ordering::Release);
        let (found, reads) = reading.join().unwrap();
        assert_eq!(found, COUNT + 1);
        assert!(reads > 10, "only {reads} reads; this showed nothing");
    });
}

#[test]
fn histograms_and_gauges_of_python_are_read_under_their_names() {
    let Some(mut python) =
        Python::start("histograms_and_gauges_of_python_are_read_under_their_names")
    else {
        return;
    };
    let pid = python.ask(&json!(["pid"])).to_string();
    for value in [0.3, 0.7, 5.0] {
        python.ask(&json!(["histogram", "h", "help", [0.5, 1], value]));
    }
    for mode in metricsd_shard::GaugeMode::ALL {
        python.ask(&json!([
            "gauge",
            format!("g_{mode}"),
            "help",
            mode.as_str(),
            -2.5
        ]));
    }

    let mut found = BTreeMap::new();
    for entry in fs::read_dir(python.dir.path()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert_eq!(ShardName::parse(&name).unwrap().id, pid);
        let mut buffer = Vec::new();
        python.open(&name).read_used(&mut buffer).unwrap();
        let parsed = parse_from(&buffer, HEADER_LEN_BYTES);
        assert_eq!(parsed.damage, None, "{name}");
        for entry in parsed.entries {
            let key = Key::parse(entry.key).unwrap();
            let le = key
                .labels
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect::<String>();
            found.insert(
                format!("{} {le}", key.sample),
                read_value(&buffer, entry.value_offset),
            );
        }
    }
    let value_of = |sample: &str| found[sample].0;
    // Buckets are stored with their own counts.
    assert_eq!(
        (
            value_of("h_bucket le=0.5"),
            value_of("h_bucket le=1.0"),
            value_of("h_bucket le=+Inf")
        ),
        (1.0, 1.0, 1.0)
    );
    assert_eq!(value_of("h_sum "), 6.0);
    for mode in metricsd_shard::GaugeMode::ALL {
        let (value, timestamp) = found[&format!("g_{mode} ")];
        assert_eq!(value, -2.5);
        assert_eq!(
            timestamp > 1.7e9,
            mode.as_str().contains("mostrecent"),
            "{mode}: {timestamp}"
        );
    }
}

#[test]
fn a_python_writer_is_busy_until_it_is_killed_and_loses_nothing() {
    let test = "a_python_writer_is_busy_until_it_is_killed_and_loses_nothing";
    let Some(mut python) = Python::start(test) else {
        return;
    };
    if let Err(kind) = file_system_supports_leases(File::open(python.dir.path()).unwrap().as_fd()) {
        return python_env::record_skip(test, &format!("the temporary directory is on {kind}"));
    }
    let pid = python.ask(&json!(["pid"])).to_string();
    for _ in 0..100 {
        python.ask(&json!(["counter", "c", "help", {}, 1]));
    }
    let file = python.open(&format!("counter_{pid}.db"));
    assert_eq!(file.probe(), Liveness::Busy);
    python.child.kill().unwrap();
    python.child.wait().unwrap();
    assert_eq!(file.probe(), Liveness::Idle);
    let mut buffer = Vec::new();
    file.read_used(&mut buffer).unwrap();
    let parsed = parse_from(&buffer, HEADER_LEN_BYTES);
    assert_eq!(
        read_value(&buffer, parsed.entries[0].value_offset),
        (100.0, 0.0)
    );
}
