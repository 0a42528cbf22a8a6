//! `metricsd inspect`: it shows what is there, changes nothing, and gives a page or one sentence for any bytes.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Output;

use common::child::WriterChild;
use common::shards::{counter, key, shard_bytes, write_shard};
use common::{Daemon, eventually, metricsd, run};
use serde_json::Value;

#[test]
fn child() {
    common::child::obey();
}

fn inspect(path: &Path, more: &[&str]) -> Output {
    let mut words = vec!["inspect", path.to_str().unwrap()];
    words.extend(more);
    run(&mut metricsd(&words))
}

#[track_caller]
fn page(path: &Path, more: &[&str]) -> String {
    let output = inspect(path, more);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{complaint}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn object(path: &Path, more: &[&str]) -> Value {
    let words: Vec<&str> = more.iter().copied().chain(["--json"]).collect();
    serde_json::from_str(&page(path, &words)).unwrap()
}

/// A page, or one sentence and exit code 1; never a panic.
#[track_caller]
fn page_or_sentence(path: &Path) -> bool {
    let output = inspect(path, &[]);
    let (out, err) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    match output.status.code() {
        Some(0) => assert!(!out.is_empty() && err.is_empty(), "{err}"),
        Some(1) => assert!(out.is_empty() && err.lines().count() == 1, "{out}{err}"),
        code => panic!("{code:?}: {err}"),
    }
    let is_clean = |text: &str| text.chars().all(|c| c == '\n' || !c.is_control());
    assert!(is_clean(&out) && is_clean(&err), "{out:?}{err:?}");
    output.status.success()
}

/// State of a daemon that retired something, and shards with a live writer beside it.
struct World {
    folder: tempfile::TempDir,
    _child: WriterChild,
}

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let (shards, state) = (folder.path().join("shards"), folder.path().join("state"));
        fs::create_dir(&shards).unwrap();
        write_shard(&shards, "counter_1.db", &[(counter("old"), 7.5)]);
        let mut child = WriterChild::start(&shards, "inspected");
        child.tell("everything 1");
        child.tell("add 0.1");
        let arguments = [
            "--state-dir",
            state.to_str().unwrap(),
            "--retire-after",
            "1ms",
        ];
        let daemon = Daemon::start_with(&shards, &arguments);
        eventually("the old shard is retired", || {
            match shards.join("counter_1.db").exists() {
                true => Err(daemon.log()),
                false => Ok(()),
            }
        });
        assert!(daemon.terminate().success());
        World {
            folder,
            _child: child,
        }
    }

    fn shards(&self) -> PathBuf {
        self.folder.path().join("shards")
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }
}

fn files_in(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

/// Names, bytes, modes and times of everything.
fn snapshot(directory: &Path) -> Vec<(PathBuf, Vec<u8>, u32, i64, i64, i64)> {
    let mut all = files_in(directory);
    all.push(directory.to_owned());
    let look = |path: PathBuf| {
        let it = fs::metadata(&path).unwrap();
        let bytes = fs::read(&path).unwrap_or_default();
        (
            path,
            bytes,
            it.mode(),
            it.mtime(),
            it.mtime_nsec(),
            it.ctime(),
        )
    };
    all.into_iter().map(look).collect()
}

#[test]
fn a_shard_is_shown_with_exact_values_its_writer_and_its_damage() {
    let folder = tempfile::tempdir().unwrap();
    let labelled = key("a", "a_total", &[("side", "buy")]);
    let entries = [
        (labelled, 0.1),
        (counter("b"), 9007199254740993.0),
        (counter("c"), f64::NAN),
    ];
    let path = write_shard(folder.path(), "counter_77.db", &entries);
    let text = page(&path, &[]);
    for part in [
        "0.1",
        "a_total{side=\"buy\"}",
        "9.007199254740992e+15",
        "NaN",
        "77",
    ] {
        assert!(text.contains(part), "no {part} in:\n{text}");
    }
    let shard = object(&path, &[]);
    assert_eq!(shard["what"], "shard");
    assert_eq!(shard["kind"], "counter");
    assert_eq!(shard["entries"][0]["value"], "0.1");
    assert_eq!(shard["entries"][0]["labels"][0][1], "buy");
    assert_eq!(shard["damage"], Value::Null);
    let limited = object(&path, &["--limit", "1"]);
    assert_eq!(limited["entries"].as_array().unwrap().len(), 1);
    assert_eq!(limited["left_out"], 2);
    assert!(page(&path, &["--limit", "1"]).contains("2 more entries"));

    let bytes = shard_bytes(&entries);
    fs::write(&path, &bytes[..100]).unwrap();
    let cut = object(&path, &[]);
    assert_eq!(cut["entry_count"], 1);
    assert!(cut["damage"].as_str().unwrap().contains("bytes"), "{cut}");
}

#[test]
fn directories_show_writers_records_and_what_they_come_to() {
    let world = World::new();
    let shards = object(&world.shards(), &[]);
    assert_eq!(shards["what"], "shard directory");
    assert!(shards["shard_count"].as_u64().unwrap() > 5, "{shards}");
    let line = &shards["shards"][0];
    assert_eq!(line["program"], "inspected");
    assert_eq!(line["state"], "its process runs");
    let sidecar = files_in(&world.shards())
        .into_iter()
        .find(|path| path.extension().is_some_and(|it| it == "json"))
        .unwrap();
    assert_eq!(object(&sidecar, &[])["program"], "inspected");

    let state = object(&world.state(), &["--limit", "0"]);
    assert_eq!(state["what"], "state directory");
    assert_eq!(state["losses"], Value::Array(vec![]));
    let totals = state["totals"].as_array().unwrap();
    let old = totals
        .iter()
        .find(|it| it["series"] == "old_total")
        .unwrap();
    assert_eq!(old["absorbed"], "7.5");
    let kinds: Vec<&str> = state["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["kind"].as_str().unwrap())
        .collect();
    for kind in ["head", "key_defined", "started", "absorbed", "clean_stop"] {
        assert!(kinds.contains(&kind), "no {kind} in {kinds:?}");
    }
    for path in files_in(&world.state()) {
        if path
            .extension()
            .is_some_and(|it| it == "log" || it == "bin")
        {
            let file = object(&path, &[]);
            assert_eq!(file["damage"], Value::Array(vec![]), "{file}");
            assert!(file["frame_count"].as_u64().unwrap() > 0);
        }
    }
    let text = page(&world.state(), &["--limit", "1"]);
    assert!(text.contains("more records"), "{text}");
}

#[test]
fn nothing_is_changed_and_a_read_only_directory_is_enough() {
    let world = World::new();
    for directory in [world.shards(), world.state()] {
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o500)).unwrap();
        let before = snapshot(&directory);
        let mut paths = files_in(&directory);
        paths.push(directory.clone());
        for path in paths {
            // Of files that are none of ours a sentence is enough.
            page_or_sentence(&path);
            inspect(&path, &["--json", "--limit", "0"]);
        }
        assert!(page_or_sentence(&directory));
        assert_eq!(snapshot(&directory), before);
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
    }
}

#[test]
fn every_truncation_of_a_shard_and_of_a_journal_gives_a_page_or_a_sentence() {
    let world = World::new();
    let cut = world.folder.path().join("cut");
    fs::create_dir(&cut).unwrap();
    let shard = shard_bytes(&[(counter("a"), 1.0), (counter("b"), 2.0)]);
    let end = 200.min(shard.len());
    let path = cut.join("counter_1.db");
    let mut shown = 0;
    for length in (0..end).step_by(7).chain([0, 4, 8, 9]) {
        fs::write(&path, &shard[..length]).unwrap();
        shown += usize::from(page_or_sentence(&path));
        assert!(
            page_or_sentence(&cut),
            "the directory is shown whatever is in it"
        );
    }
    assert!(shown > 0 && shown < end / 7, "{shown}");
    fs::remove_file(&path).unwrap();

    let journal = files_in(&world.state())
        .into_iter()
        .find(|path| path.extension().is_some_and(|it| it == "log"))
        .unwrap();
    let bytes = fs::read(&journal).unwrap();
    let path = cut.join(journal.file_name().unwrap());
    let step = (bytes.len() / 40).max(1);
    for length in (0..bytes.len()).step_by(step).chain([1, 23, 24, 25]) {
        fs::write(&path, &bytes[..length]).unwrap();
        assert_eq!(
            page_or_sentence(&path),
            length > 26,
            "{length} of {}",
            bytes.len()
        );
        assert!(page_or_sentence(&cut), "what is lost is listed");
        let mut flipped = bytes.clone();
        flipped[length] ^= 0x55;
        fs::write(&path, &flipped).unwrap();
        let file = object(&path, &["--limit", "0"]);
        let damaged = file["damage"].as_array().unwrap();
        assert_eq!(damaged.len(), 1, "a flipped byte at {length}: {file}");
    }
}

#[test]
fn what_is_none_of_ours_is_told_in_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("text.txt"), "hello\n").unwrap();
    fs::write(at("counter_1.db"), [0xff; 100]).unwrap();
    fs::write(at("process_1.json"), "{").unwrap();
    fs::write(at("journal-00000000000000000001.log"), "garbage").unwrap();
    fs::write(at("esc\u{1b}[2Jape"), "x").unwrap();
    std::os::unix::fs::symlink(at("text.txt"), at("counter_2.db")).unwrap();
    let fifo = at("counter_3.db");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    for path in files_in(folder.path())
        .into_iter()
        .chain([at("missing"), at("text.txt/below")])
    {
        assert!(!page_or_sentence(&path), "{path:?}");
        let stderr = inspect(&path, &[]).stderr;
        let sentence = String::from_utf8(stderr).unwrap();
        let pieces: Vec<&str> = sentence.trim().split(": ").collect();
        let is_twice = pieces.windows(2).any(|pair| pair[0] == pair[1]);
        assert!(!is_twice, "a cause is named twice: {sentence}");
    }
}

#[test]
fn escape_sequences_of_a_file_never_reach_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let hostile = "\u{1b}]0;owned\u{7}\u{9b}2J\r\n\u{202e}";
    let entry = (key("a", "a_total", &[("side", hostile)]), 1.0);
    let path = write_shard(folder.path(), "counter_1.db", std::slice::from_ref(&entry));
    assert!(page_or_sentence(&path));
    for text in [page(&path, &[]), page(&path, &["--json"])] {
        assert!(
            !text.contains('\u{202e}') && !text.contains('\u{9b}'),
            "{text:?}"
        );
    }
    let shard = object(&path, &[]);
    assert_eq!(shard["entries"][0]["labels"][0][1], hostile);
    // In the journal, in the state and in file names as well.
    let state = folder.path().join("state");
    let shards = folder.path().join("shards");
    fs::create_dir(&shards).unwrap();
    write_shard(&shards, "counter_x\u{1b}[1m.db", &[entry]);
    assert!(page_or_sentence(&shards));
    let arguments = [
        "--state-dir",
        state.to_str().unwrap(),
        "--retire-after",
        "1ms",
    ];
    let daemon = Daemon::start_with(&shards, &arguments);
    eventually("the shard is retired", || match files_in(&shards).len() {
        0 => Ok(()),
        _ => Err(daemon.log()),
    });
    assert!(daemon.terminate().success());
    assert!(page_or_sentence(&state));
    for path in files_in(&state) {
        page_or_sentence(&path);
    }
}
