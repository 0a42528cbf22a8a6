//! What the integration tests share: a captured log, settings of a throw-away program, Python as a judge.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use metricsd_client::{Settings, Target};

/// Settings of a program called `judge-me`.
pub(crate) fn settings(target: Target) -> Settings {
    Settings {
        program: "judge-me".to_owned(),
        version: "1.2.3".to_owned(),
        runs_as: "test".to_owned(),
        target,
        labels: BTreeMap::new(),
        warnings: Vec::new(),
    }
}

pub(crate) fn shards_in(directory: &Path) -> Settings {
    settings(Target::Shards {
        directory: directory.to_owned(),
    })
}

/// What `work` logged on this thread, a line an event.
pub(crate) fn logged<T>(work: impl FnOnce() -> T) -> (T, Vec<String>) {
    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);
    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let sink = Sink::default();
    let writer = sink.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .without_time()
        .with_writer(move || writer.clone())
        .finish();
    let result = tracing::subscriber::with_default(subscriber, work);
    let bytes = sink.0.lock().unwrap().clone();
    (
        result,
        String::from_utf8(bytes)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect(),
    )
}

/// A Python that has `prometheus_client`; without one the test is skipped, says so, and is written down.
pub(crate) fn python(test: &str) -> Option<PathBuf> {
    let python = std::env::var_os("METRICSD_TEST_PYTHON").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/xtask/venv/bin/python"),
        PathBuf::from,
    );
    let usable = Command::new(&python)
        .args(["-c", "import prometheus_client"])
        .output();
    if usable.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    let why = format!("{} cannot import prometheus_client", python.display());
    #[allow(
        clippy::print_stderr,
        reason = "the runner's log shows what was not judged"
    )]
    {
        eprintln!("SKIPPED: {why}");
    }
    if let Some(path) = std::env::var_os("METRICSD_TEST_SKIPS") {
        let mut skips = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .unwrap();
        writeln!(skips, "{test}: {why}").unwrap();
    }
    None
}

/// Run a Python program in multiprocess mode over `directory`; its output.
pub(crate) fn run_python(python: &Path, directory: &Path, program: &str) -> String {
    let output = Command::new(python)
        .args(["-c", program])
        .env("PROMETHEUS_MULTIPROC_DIR", directory)
        .env_remove("prometheus_multiproc_dir")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The keys in the shards whose names begin with `prefix`, in the order of the entries.
pub(crate) fn keys_in(directory: &Path, prefix: &str) -> Vec<String> {
    let mut keys = Vec::new();
    for file in std::fs::read_dir(directory).unwrap() {
        let file = file.unwrap();
        if !file.file_name().to_string_lossy().starts_with(prefix) {
            continue;
        }
        let bytes = std::fs::read(file.path()).unwrap();
        let parsed = metricsd_shard::parse_from(&bytes, metricsd_shard::HEADER_LEN_BYTES);
        keys.extend(
            parsed
                .entries
                .iter()
                .map(|entry| String::from_utf8_lossy(entry.key).into_owned()),
        );
    }
    keys
}
