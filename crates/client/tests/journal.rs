//! Who logs a refused call: never the thread that records. Alone in its binary, because the subscriber is the process's.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

mod common;

use std::io::Write;
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use common::{logged, shards_in};
use metricsd_client::{GaugeMode, Registry, label_set, label_text};

label_text! { struct Name { spelling: Lower, len_max_bytes: 8, values_max: 1 } }
label_set! { struct ByName { name: Name } }

const DEADLINE: Duration = Duration::from_secs(30);

/// The log's file, which a thread that records may have locked.
static FILE: Mutex<()> = Mutex::new(());
/// Name of the thread, and line.
static LINES: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

struct Locking;

impl Write for Locking {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let _file = FILE.lock().unwrap();
        let thread = thread::current().name().unwrap_or_default().to_owned();
        let line = String::from_utf8_lossy(bytes).into_owned();
        LINES.lock().unwrap().push((thread, line));
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Four calls that are refused, of four families.
fn refuse_four(registry: &Registry) -> impl FnOnce() + Send + use<> {
    let counter = registry.counter("c_total", "C.");
    let gauge = registry.gauge("g", "G.", GaugeMode::MostRecent);
    let histogram = registry.histogram("h", "H.", &[1.0]);
    let texted = registry.counter_family::<ByName>("t_total", "T.");
    Name::new("first");
    move || {
        for _ in 0..3 {
            counter.add(-1.0);
            gauge.inc();
            histogram.observe(f64::NAN);
            texted.with(&ByName {
                name: Name::new("second"),
            });
        }
    }
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < DEADLINE, "{what}");
        thread::park_timeout(Duration::from_millis(5));
    }
}

#[test]
fn a_log_that_stands_still_holds_up_nobody_who_records() {
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(|| Locking)
        .init();
    let at = tempfile::tempdir().unwrap();
    let registry = Registry::start(shards_in(at.path()));
    let calls = refuse_four(&registry);
    LINES.lock().unwrap().clear();

    let file = FILE.lock().unwrap();
    let (done, finished) = mpsc::channel();
    thread::spawn(move || {
        calls();
        done.send(()).unwrap();
    });
    finished
        .recv_timeout(DEADLINE)
        .expect("a call that records waits for the log");
    drop(file);
    wait_until("the refused calls were not logged", || {
        LINES.lock().unwrap().len() >= 4
    });
    let lines = LINES.lock().unwrap();
    assert_eq!(lines.len(), 4, "{lines:?}");
    for (thread, line) in lines.iter() {
        assert_eq!(thread, "metrics-journal", "{line}");
        assert!(line.contains("telemetry call refused"), "{line}");
    }
    drop(lines);

    // Without a thread the next look at the status logs.
    let registry = Registry::in_memory();
    let calls = refuse_four(&registry);
    assert_eq!(logged(calls).1.len(), 0);
    assert_eq!(logged(|| registry.status()).1.len(), 4);
    assert_eq!(logged(|| registry.status()).1.len(), 0);
    // Or the next registration.
    refuse_four(&Registry::in_memory())();
    registry.counter("late_total", "L.").add(-1.0);
    let (_, lines) = logged(|| registry.counter("later_total", "L."));
    assert_eq!(lines.len(), 1, "{lines:?}");

    // The thread ends with the last handle.
    let threads = || {
        std::fs::read_dir("/proc/self/task")
            .unwrap()
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
            .filter(|name| name.trim() == "metrics-journal")
            .count()
    };
    let counted = threads();
    let gone = Registry::start(shards_in(&at.path().join("other")));
    let held = gone.counter("held_total", "H.");
    drop(gone);
    held.add(-1.0);
    wait_until("a handle alone is not logged for", || {
        LINES
            .lock()
            .unwrap()
            .iter()
            .any(|(_, line)| line.contains("held"))
    });
    drop(held);
    wait_until("the thread outlives its handles", || threads() == counted);
}
