//! The process's real environment, set for a child: what `Registry::from_env` does with it, and that Mode B opens no port and
//! loses nothing to SIGKILL.
//! Method: the test binary runs itself with one test chosen and a variable that makes that test the child.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

mod common;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use metricsd_client::{Registry, Status};
use metricsd_shard::{HEADER_LEN_BYTES, parse_from, read_value};

const ROLE: &str = "METRICSD_CLIENT_TEST_CHILD";
const VARIABLES: [&str; 7] = [
    "PEAKTRADE_METRICS_MODE",
    "PEAKTRADE_METRICS_MULTIPROC_DIR",
    "PROMETHEUS_MULTIPROC_DIR",
    "prometheus_multiproc_dir",
    "PEAK_TRADE_METRICSD_PORT",
    "PEAKTRADE_METRICS_PORT",
    "RUST_LOG",
];

/// The child: start by the environment, say how it went, count until killed or until the parent closes the pipe.
#[test]
fn child() {
    let Some(role) = std::env::var_os(ROLE) else {
        return;
    };
    tracing_subscriber::fmt()
        .with_ansi(false)
        .without_time()
        .with_writer(std::io::stderr)
        .init();
    let registry = Registry::from_env("judge-me");
    let status = match registry.status() {
        Status::Shards { directory, .. } => format!("shards {}", directory.display()),
        Status::Endpoint { address } => format!("endpoint {address}"),
        Status::Memory => "memory".to_owned(),
        Status::Degraded { reason, .. } => format!("degraded {reason}"),
    };
    let counter = registry.counter("counted_total", "Acknowledged on a pipe.");
    println!("\nchild: {status}");
    println!("child: sockets {}", open_sockets());
    let mut acknowledged = 0;
    loop {
        counter.inc();
        acknowledged += 1;
        println!("child: counted {acknowledged}");
        if role != "count" {
            return;
        }
    }
}

fn open_sockets() -> usize {
    let links = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok());
    links
        .filter(|link| link.to_string_lossy().starts_with("socket:"))
        .count()
}

fn spawn(role: &str, variables: &[(&str, &str)], working_directory: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .current_dir(working_directory);
    for name in VARIABLES {
        command.env_remove(name);
    }
    command
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn said(out: &mut BufReader<ChildStdout>) -> Option<String> {
    let mut line = String::new();
    loop {
        line.clear();
        if out.read_line(&mut line).unwrap() == 0 {
            return None;
        }
        if let Some(said) = line.strip_prefix("child: ") {
            return Some(said.trim_end().to_owned());
        }
    }
}

/// Run a child to its end: what it said, and its log.
fn run(variables: &[(&str, &str)], working_directory: &Path) -> (Vec<String>, Vec<String>) {
    let mut child = spawn("once", variables, working_directory);
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let said = std::iter::from_fn(|| said(&mut out)).collect();
    let mut log = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut log)
        .unwrap();
    assert!(child.wait().unwrap().success(), "{log}");
    (said, log.lines().map(str::to_owned).collect())
}

#[test]
fn a_directory_variable_alone_is_enough_and_no_port_is_opened() {
    let at = tempfile::tempdir().unwrap();
    let at = at.path().canonicalize().unwrap();
    for name in [
        "PEAKTRADE_METRICS_MULTIPROC_DIR",
        "PROMETHEUS_MULTIPROC_DIR",
    ] {
        let (said, log) = run(&[(name, "shards")], &at);
        let absolute = at.join("shards");
        assert_eq!(
            said,
            [
                format!("shards {}", absolute.display()),
                "sockets 0".to_owned(),
                "counted 1".to_owned()
            ]
        );
        assert_eq!(log.len(), 1, "{log:?}");
        assert!(
            log[0].contains("INFO")
                && log[0].contains("mode=\"B\"")
                && log[0].contains(&absolute.display().to_string()),
            "{log:?}"
        );
    }
    assert_eq!(counted(&at.join("shards")), [1.0, 1.0]);
}

#[test]
fn an_unusable_environment_is_one_line_and_a_program_that_goes_on() {
    let at = tempfile::tempdir().unwrap();
    for (variables, parts) in [
        (
            &[("PEAKTRADE_METRICS_MODE", "C")][..],
            &["PEAKTRADE_METRICS_MODE", "\"C\"", "A (", "B ("][..],
        ),
        (
            &[("PEAK_TRADE_METRICSD_PORT", "0")],
            &["PEAK_TRADE_METRICSD_PORT", "1 to 65535"],
        ),
        (
            &[
                ("PEAKTRADE_METRICS_MULTIPROC_DIR", "one"),
                ("PROMETHEUS_MULTIPROC_DIR", "two"),
            ],
            &[
                "PEAKTRADE_METRICS_MULTIPROC_DIR",
                "PROMETHEUS_MULTIPROC_DIR",
                "one",
                "two",
            ],
        ),
    ] {
        let (said, log) = run(variables, at.path());
        assert!(said[0].starts_with("degraded "), "{said:?}");
        assert_eq!(said[1..], ["sockets 0", "counted 1"], "{said:?}");
        assert_eq!(log.len(), 1, "{log:?}");
        for part in [&["ERROR", "memory"], parts].concat() {
            assert!(log[0].contains(part), "{part}: {log:?}");
        }
    }
    assert_eq!(
        std::fs::read_dir(at.path()).unwrap().count(),
        0,
        "nothing is created on a guess"
    );
}

#[test]
fn a_port_that_is_none_costs_mode_b_a_warning_and_nothing_else() {
    let at = tempfile::tempdir().unwrap();
    for name in ["PEAK_TRADE_METRICSD_PORT", "PEAKTRADE_METRICS_PORT"] {
        let variables = [("PEAKTRADE_METRICS_MULTIPROC_DIR", "d"), (name, "http")];
        let (said, log) = run(&variables, at.path());
        assert!(said[0].starts_with("shards "), "{said:?}");
        assert_eq!(log.len(), 2, "{log:?}");
        for part in ["WARN", name, "\"http\"", "1 to 65535", "Mode B"] {
            assert!(log[0].contains(part), "{part}: {log:?}");
        }
    }
}

#[test]
fn legacy_variables_work_and_warn() {
    let at = tempfile::tempdir().unwrap();
    let (said, log) = run(&[("prometheus_multiproc_dir", "old")], at.path());
    assert!(
        said[0].starts_with("shards ") && said[0].ends_with("/old"),
        "{said:?}"
    );
    assert!(
        log[0].contains("WARN") && log[0].contains("prometheus_multiproc_dir") && log.len() == 2,
        "{log:?}"
    );
}

#[test]
fn what_was_acknowledged_survives_kill_minus_nine() {
    let at = tempfile::tempdir().unwrap();
    let shards = at.path().to_str().unwrap();
    let mut acknowledged = Vec::new();
    for kill_after in (0..20).map(|round| 1 + round * 37) {
        let mut child = spawn(
            "count",
            &[("PEAKTRADE_METRICS_MULTIPROC_DIR", shards)],
            at.path(),
        );
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut count = 0;
        while count < kill_after {
            let line = said(&mut out).expect("it counts until it is killed");
            count = line
                .strip_prefix("counted ")
                .map_or(count, |count| count.parse().unwrap());
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // The pipe outlives the child: what it still holds was acknowledged too.
        let last = std::iter::from_fn(|| said(&mut out)).last();
        acknowledged.push(
            last.and_then(|line| {
                line.strip_prefix("counted ")
                    .map(|n| n.parse().unwrap_or(count))
            })
            .unwrap_or(count),
        );
    }
    let found = counted(at.path());
    assert_eq!(found.len(), acknowledged.len());
    let (stored, promised): (f64, f64) =
        (found.iter().sum(), acknowledged.iter().sum::<u64>() as f64);
    // Killed between the store and the line: at most one more than was acknowledged, for each child.
    assert!(
        (promised..=promised + acknowledged.len() as f64).contains(&stored),
        "{stored} stored, {promised} acknowledged"
    );
}

/// The value of `counted_total` in every counter shard.
fn counted(directory: &Path) -> Vec<f64> {
    let files = std::fs::read_dir(directory)
        .unwrap()
        .map(|file| file.unwrap().path());
    let shards = files.filter(|path| {
        path.file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with("counter_")
    });
    let values = shards.map(|path| {
        let bytes = std::fs::read(path).unwrap();
        let parsed = parse_from(&bytes, HEADER_LEN_BYTES);
        assert_eq!(parsed.damage.map(|damage| damage.reason()), None);
        let entry = parsed
            .entries
            .iter()
            .find(|entry| String::from_utf8_lossy(entry.key).contains("counted_total"));
        read_value(
            &bytes,
            entry
                .expect("the counter exists from registration on")
                .value_offset,
        )
        .0
    });
    values.collect()
}
