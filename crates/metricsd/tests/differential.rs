//! The same directory through Python's own collector and through `metricsd`: families, types, helps, samples and values must be the
//! same, bit for bit. The text is read back by Python's parser in both cases.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::child::WriterChild;
use metricsd_shard::{encode_entry, encode_header};

/// What Python's parser makes of text (`Some`) or of a directory's own scrape (`None`).
fn as_python_reads(python: &Path, directory: &Path, text: Option<&str>) -> String {
    let mut command = Command::new(python);
    command
        .arg(common::script("scrape.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    if text.is_none() {
        command.arg(directory);
    }
    let mut child = command.spawn().expect("Python starts");
    child
        .stdin
        .take()
        .expect("piped")
        .write_all(text.unwrap_or_default().as_bytes())
        .expect("Python reads");
    let output = child.wait_with_output().expect("Python ends");
    assert!(
        output.status.success(),
        "Python refuses what it reads, text: {text:?}"
    );
    String::from_utf8(output.stdout).expect("JSON in ASCII")
}

fn render(directory: &Path) -> String {
    let output = common::run(&mut common::metricsd(&[
        "render",
        "--multiproc-dir",
        directory.to_str().expect("UTF-8"),
    ]));
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("exposition is UTF-8")
}

#[track_caller]
fn assert_same(ours: &str, theirs: &str) {
    if ours != theirs {
        let first = ours
            .lines()
            .zip(theirs.lines())
            .enumerate()
            .find(|(_, (ours, theirs))| ours != theirs);
        let context: Vec<&str> = first
            .map(|(line, _)| {
                theirs
                    .lines()
                    .skip(line.saturating_sub(12))
                    .take(30)
                    .collect()
            })
            .unwrap_or_default();
        panic!(
            "first difference {first:?}\nPython:\n{}",
            context.join("\n")
        );
    }
}

/// The script's merged part of a scrape: what stands before the daemon's own families.
fn merged_part(page: &str) -> &str {
    page.find("# HELP metricsd_")
        .map_or(page, |own| &page[..own])
}

struct Writers {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Writers {
    fn start(python: &Path, directory: &Path, processes: u32, seed: u32) -> Writers {
        let mut child = Command::new(python)
            .arg(common::script("write_shards.py"))
            .args([processes.to_string(), seed.to_string()])
            .env("PROMETHEUS_MULTIPROC_DIR", directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python starts");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let mut writers = Writers { child, output };
        writers.expect("ready");
        writers
    }

    fn expect(&mut self, word: &str) {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("Python answers");
        assert_eq!(line.trim(), word);
    }

    fn kill_all(&mut self) {
        self.child
            .stdin
            .as_mut()
            .expect("piped")
            .write_all(b"\n")
            .expect("Python reads");
        self.expect("dead");
        assert!(self.child.wait().expect("a child").success());
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        // Its children die with their pipe's other end at the latest when the test's process group does.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

#[test]
fn python_shards_merge_as_python_merges_them_alive_and_dead() {
    let Some(python) = common::python("python_shards_merge_as_python_merges_them_alive_and_dead")
    else {
        return;
    };
    for seed in 1..=3 {
        let folder = tempfile::tempdir().unwrap();
        let mut writers = Writers::start(&python, folder.path(), 7, seed);
        let daemon = common::Daemon::start_with(folder.path(), &["--retire-after", "off"]);
        let alive = as_python_reads(&python, folder.path(), None);
        assert_same(
            &as_python_reads(&python, folder.path(), Some(merged_part(&daemon.scrape()))),
            &alive,
        );
        assert!(
            alive.lines().count() > 1000,
            "the directory has little in it"
        );
        writers.kill_all();
        let dead = as_python_reads(&python, folder.path(), None);
        assert_same(
            &as_python_reads(&python, folder.path(), Some(merged_part(&daemon.scrape()))),
            &dead,
        );
        assert_same(
            &as_python_reads(&python, folder.path(), Some(&render(folder.path()))),
            &dead,
        );
    }
}

#[test]
fn child() {
    common::child::obey();
}

#[test]
fn rust_and_python_shards_side_by_side_merge_as_python_merges_them() {
    let Some(python) =
        common::python("rust_and_python_shards_side_by_side_merge_as_python_merges_them")
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut theirs = Writers::start(&python, folder.path(), 3, 11);
    let mut ours: Vec<WriterChild> = (0..4)
        .map(|_| WriterChild::start(folder.path(), "side-by-side"))
        .collect();
    for (index, writer) in ours.iter_mut().enumerate() {
        writer.tell(&format!("everything {index}"));
        writer.tell(&format!("add {}", 100 + index));
        writer.tell(&format!("set {index}"));
        writer.tell(&format!("new {index}"));
    }
    let daemon = common::Daemon::start_with(folder.path(), &["--retire-after", "off"]);
    let alive = as_python_reads(&python, folder.path(), None);
    assert_same(
        &as_python_reads(&python, folder.path(), Some(merged_part(&daemon.scrape()))),
        &alive,
    );
    assert!(
        alive.contains("every_gauge_livemostrecent") && alive.contains("demo_orders"),
        "{alive}"
    );
    drop(ours);
    theirs.kill_all();
    let dead = as_python_reads(&python, folder.path(), None);
    assert_eq!(dead, alive, "nothing changes when they die");
    assert_same(
        &as_python_reads(&python, folder.path(), Some(merged_part(&daemon.scrape()))),
        &dead,
    );
}

/// Shards that no client of today writes, but that Python's reader reads: every type prefix, names that have to be escaped, odd samples.
#[test]
fn odd_shards_merge_as_python_merges_them() {
    let Some(python) = common::python("odd_shards_merge_as_python_merges_them") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let write = |file: &str, entries: &[(&str, f64, f64)]| {
        let mut bytes = Vec::new();
        for (key, value, timestamp) in entries {
            bytes.extend(encode_entry(key.as_bytes(), *value, *timestamp));
        }
        let used = bytes.len() + 8;
        fs::write(
            folder.path().join(file),
            [&encode_header(used)[..], &bytes, &[0; 100]].concat(),
        )
        .unwrap();
    };
    for id in ["1", "2"] {
        let name = |kind: &str| format!("{kind}_{id}.db");
        write(
            &name("untyped"),
            &[(r#"["u", "u", {"a": "1"}, "h"]"#, 1.5, 0.0)],
        );
        write(
            &name("info"),
            &[(
                r#"["build", "build_info", {"version": "1"}, "h"]"#,
                1.0,
                0.0,
            )],
        );
        write(
            &name("stateset"),
            &[
                (r#"["st", "st", {"st": "on"}, "h"]"#, 1.0, 0.0),
                (r#"["st", "st", {"st": "off"}, "h"]"#, 0.0, 0.0),
            ],
        );
        write(
            &name("gaugehistogram"),
            &[
                (r#"["gh", "gh_bucket", {"le": "10.0"}, "h"]"#, 3.0, 0.0),
                (r#"["gh", "gh_bucket", {"le": "9.0"}, "h"]"#, 2.0, 0.0),
                (r#"["gh", "gh_gcount", {}, "h"]"#, 3.0, 0.0),
                (r#"["gh", "gh_gsum", {}, "h"]"#, 4.0, 0.0),
            ],
        );
        write(
            &name("counter"),
            &[
                (
                    r#"["dotted.name", "dotted.name_total", {"a.b": "x"}, "h"]"#,
                    2.0,
                    0.0,
                ),
                (
                    r#"["raw", "raw_total", {"b": "ü", "a": "\u00fc"}, "h"]"#,
                    2.0,
                    0.0,
                ),
                (
                    r#"["raw","raw_total",{"a":"ü","b":"\u00fc"},"h"]"#,
                    3.0,
                    0.0,
                ),
                (r#"["raw", "raw_created", {}, "h"]"#, 1e9, 0.0),
                (r#"["raw", "raw_odd", {}, "h"]"#, 7.0, 0.0),
                (r#"["twice", "twice_total", {}, "h"]"#, 1.0, 0.0),
                (r#"["twice", "twice_total", {}, "h"]"#, 2.0, 0.0),
            ],
        );
        write(
            &name("histogram"),
            &[
                (r#"["h", "h_sum", {"x": "1"}, "h"]"#, 2.5, 0.0),
                (r#"["h", "h_bucket", {"x": "1", "le": "1"}, "h"]"#, 1.0, 0.0),
                (
                    r#"["h", "h_bucket", {"x": "1", "le": "1.0"}, "h"]"#,
                    1.0,
                    0.0,
                ),
                (
                    r#"["h", "h_bucket", {"x": "1", "le": "+Inf"}, "h"]"#,
                    1.0,
                    0.0,
                ),
                (r#"["h", "h_count", {"x": "1"}, "h"]"#, 99.0, 0.0),
                (
                    r#"["h", "h_bucket", {"x": "no sum", "le": "5"}, "h"]"#,
                    1.0,
                    0.0,
                ),
                (r#"["h", "h_sum", {"x": "no buckets"}, "h"]"#, 6.0, 0.0),
                (r#"["h", "h_count", {"x": "no buckets"}, "h"]"#, 8.0, 0.0),
            ],
        );
        write(
            &name("summary"),
            &[
                (r#"["s", "s_count", {}, "h"]"#, 2.0, 0.0),
                (r#"["half", "half_sum", {}, "h"]"#, 2.0, 0.0),
            ],
        );
        write(
            &name("gauge_all"),
            &[
                (r#"["g", "g", {"pid": "user"}, "h"]"#, 2.0, 0.0),
                (r#"["g", "g", {"pid": "user"}, "h"]"#, 4.0, 0.0),
            ],
        );
        write(
            &name("gauge_max"),
            &[(
                r#"["m", "m", {"pid": "user", "z": "1"}, "h"]"#,
                f64::from(id == "1") - 0.5,
                0.0,
            )],
        );
        write(
            &name("gauge_sum"),
            &[(r#"["zero", "zero", {}, "h"]"#, -0.0, 0.0)],
        );
        write(
            &name("gauge_mostrecent"),
            &[
                (
                    r#"["r", "r", {}, "h"]"#,
                    f64::from(id == "1"),
                    if id == "1" { 20.0 } else { 10.0 },
                ),
                (r#"["never", "never", {}, "h"]"#, 5.0, 0.0),
            ],
        );
    }
    let theirs = as_python_reads(&python, folder.path(), None);
    assert_same(
        &as_python_reads(&python, folder.path(), Some(&render(folder.path()))),
        &theirs,
    );
    assert!(
        theirs.contains("dotted_name") && theirs.contains("gh_gsum"),
        "{theirs}"
    );
}

#[test]
fn an_empty_directory_is_an_empty_page_as_in_python() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(render(folder.path()), "");
}
