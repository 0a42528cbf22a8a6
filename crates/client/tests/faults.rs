//! Telemetry fails open: a directory that cannot be used, and a log that records metrics itself.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

mod common;

use std::io::Write;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use common::{logged, shards_in};
use metricsd_client::{Defect, GaugeMode, Registry, Status, label_set, label_value};
use metricsd_shard::{HEADER_LEN_BYTES, parse_from, read_value};

label_value! { enum Side { Buy = "buy", Sell = "sell" } }
label_set! { struct BySide { side: Side } }

const DEADLINE: Duration = Duration::from_secs(30);

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < DEADLINE, "{what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

#[test]
fn what_was_recorded_without_a_directory_is_in_the_shards_once_there_is_one() {
    let at = tempfile::tempdir().unwrap();
    let in_the_way = at.path().join("a");
    std::fs::write(&in_the_way, "not a directory").unwrap();
    let directory = in_the_way.join("shards");
    let mut settings = shards_in(&directory);
    settings.program = "judge-me".to_owned();
    let (registry, lines) = logged(|| Registry::start(settings));
    assert!(
        lines
            .iter()
            .any(|line| line.contains("INFO") && line.contains("mode=\"B\"")),
        "{lines:?}"
    );
    let Status::Degraded { reason, .. } = registry.status() else {
        panic!("{:?}", registry.status())
    };
    assert!(
        reason.starts_with(&directory.display().to_string())
            || reason.starts_with(&in_the_way.display().to_string()),
        "{reason}"
    );

    let counters = registry.counter_family::<BySide>("orders_total", "Orders.");
    counters.with(&BySide { side: Side::Buy }).add(5.0);
    registry
        .gauge("level", "Level.", GaugeMode::LiveMax)
        .set(0.5);
    assert_eq!(counters.with(&BySide { side: Side::Buy }).get(), 5.0);
    assert!(registry.render().contains("orders_total{side=\"buy\"} 5.0"));

    std::fs::remove_file(&in_the_way).unwrap();
    wait_until("the writer never recovered", || {
        !registry.status().is_degraded()
    });
    counters.with(&BySide { side: Side::Buy }).inc();
    let degraded_seconds = || {
        let text = registry.render();
        let line = text
            .lines()
            .find(|line| line.starts_with("judge_me_telemetry_degraded_seconds_total "));
        let value = line.and_then(|line| line.split(' ').next_back());
        value.unwrap().parse::<f64>().unwrap()
    };
    wait_until("the time without a directory was not published", || {
        degraded_seconds() > 0.0
    });
    let published = degraded_seconds();
    let mut found = Vec::new();
    for file in std::fs::read_dir(&directory)
        .unwrap()
        .map(|file| file.unwrap())
    {
        if file.file_name().to_string_lossy().ends_with(".db") {
            let bytes = std::fs::read(file.path()).unwrap();
            for entry in parse_from(&bytes, HEADER_LEN_BYTES).entries {
                found.push((
                    String::from_utf8_lossy(entry.key).into_owned(),
                    read_value(&bytes, entry.value_offset).0,
                ));
            }
        }
    }
    let value = |part: &str| {
        found
            .iter()
            .find(|(key, _)| key.contains(part))
            .map(|(_, value)| *value)
    };
    assert_eq!(value("\"side\": \"buy\""), Some(6.0), "{found:?}");
    assert_eq!(value("\"side\": \"sell\""), Some(0.0), "{found:?}");
    assert_eq!(value("level"), Some(0.5), "{found:?}");
    assert_eq!(value("degraded_seconds"), Some(published), "{found:?}");
    let taken = registry.counter("judge_me_telemetry_degraded_seconds_total", "Taken.");
    taken.inc();
    assert_eq!(
        registry.defects(Defect::Registration),
        1,
        "the name is taken"
    );
}

#[test]
fn a_second_registry_over_the_same_directory_is_warned_of_and_works() {
    let at = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let warnings = |directory: &std::path::Path| {
        let (registry, lines) = logged(|| Registry::start(shards_in(directory)));
        registry.counter("c_total", "C.").inc();
        let warnings = lines.iter().filter(|line| line.contains("WARN")).count();
        (warnings, registry.status().is_degraded())
    };
    assert_eq!(warnings(at.path()), (0, false));
    assert_eq!(warnings(other.path()), (0, false));
    assert_eq!(warnings(at.path()), (1, false));
}

/// A name as every program may have it, and the family of its defects.
#[test]
fn the_defects_of_a_program_are_published_whatever_its_name() {
    for (program, family) in [
        ("shadow-session", "shadow_session_telemetry_defects_total"),
        (
            "metricsd-probe",
            "program_metricsd_probe_telemetry_defects_total",
        ),
        (
            "process-watch",
            "program_process_watch_telemetry_defects_total",
        ),
        ("9to5", "program_9to5_telemetry_defects_total"),
        ("", "program__telemetry_defects_total"),
        (&"long".repeat(100), "program_telemetry_defects_total"),
    ] {
        let at = tempfile::tempdir().unwrap();
        let mut settings = shards_in(at.path());
        settings.program = program.to_owned();
        let registry = Registry::start(settings);
        let text = registry.render();
        assert!(
            text.contains(&format!("\n{family}{{defect=")),
            "{program}: {text}"
        );
    }
}

#[test]
fn a_log_that_records_metrics_itself_does_not_lock_the_registry_up() {
    /// Each line written registers a metric and touches a series of the family that is being complained about.
    struct Recording(Registry);
    impl Write for Recording {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let lines = self
                .0
                .counter_family::<BySide>("log_lines_total", "Lines of the log.");
            lines.with(&BySide { side: Side::Sell }).inc();
            self.0
                .counter("late_total", "Registered from within the log.")
                .inc();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let (done, finished) = mpsc::channel();
    std::thread::spawn(move || {
        let registry = Registry::in_memory();
        let recorder = registry.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || Recording(recorder.clone()))
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            registry.counter("9 is no name", "").inc();
            registry.counter("c_total", "C.").add(-1.0);
            registry.status();
        });
        done.send(registry.render()).unwrap();
    });
    let text = finished
        .recv_timeout(DEADLINE)
        .expect("a line of the log waits for a lock that its cause holds");
    assert!(
        text.contains("log_lines_total{side=\"sell\"} 2.0") && text.contains("late_total 2.0"),
        "{text}"
    );
}
