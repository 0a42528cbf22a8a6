//! `metricsd verify mode-b`: each check is seen to pass, and to fail by a fault that is caused here. What needs a session's program or a
//! real Prometheus is in `crates/xtask/tests/verify.rs`.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

#[path = "common/checks.rs"]
mod checks;
mod common;
#[path = "common/fake.rs"]
mod fake;

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use checks::Run;
use common::child::WriterChild;
use common::shards::{counter, write_shard};
use common::{Daemon, metricsd, run};
use fake::{Fake, TEXT};
use metricsd::verify::mode_b::{CHECKS, DRILLS};
use metricsd_shard::{Create, FileKind, ProcessInfo, Writer};

#[test]
fn child() {
    common::child::obey();
}

/// A daemon on a new directory.
struct Place {
    folder: tempfile::TempDir,
    daemon: Daemon,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let (shards, state) = (folder.path().join("shards"), folder.path().join("state"));
        std::fs::create_dir(&shards).unwrap();
        let flags = [
            "--state-dir",
            state.to_str().unwrap(),
            "--retire-after",
            "off",
        ];
        let daemon = Daemon::start_with(&shards, &flags);
        Place { folder, daemon }
    }

    fn shards(&self) -> std::path::PathBuf {
        self.folder.path().join("shards")
    }

    fn url(&self) -> String {
        format!("http://{}/metrics", self.daemon.address())
    }

    /// Verifies the daemon's own page.
    fn verify(&self, flags: &[&str]) -> Run {
        verify(
            &self.shards(),
            &self.folder.path().join("state"),
            &self.url(),
            flags,
            &[],
        )
    }

    /// Verifies the page that a fake serves.
    fn verify_at(&self, fake: &Fake, flags: &[&str]) -> Run {
        verify(
            &self.shards(),
            &self.folder.path().join("state"),
            &fake.url(),
            flags,
            &[],
        )
    }
}

/// What these tests ask besides.
impl Run {
    #[track_caller]
    fn passes(&self, id: &str) {
        self.of_check("PASS", id);
    }
}

fn verify(shards: &Path, state: &Path, url: &str, flags: &[&str], env: &[(&str, &str)]) -> Run {
    let mut all = vec![
        "verify",
        "mode-b",
        "--multiproc-dir",
        shards.to_str().unwrap(),
        "--state-dir",
        state.to_str().unwrap(),
        "--url",
        url,
        "--retry-interval",
        "20ms",
    ];
    if !flags.contains(&"--watch") {
        all.extend(["--watch", "300ms"]);
    }
    all.extend(flags);
    let mut command = metricsd(&all);
    for name in [
        "PEAKTRADE_METRICS_MODE",
        "PEAK_TRADE_LIVE_ENABLED",
        "PEAK_TRADE_LIVE_ARMED",
        "PT_LIVE_CONFIRM_TOKEN",
    ] {
        command.env_remove(name);
    }
    command.envs(env.iter().copied());
    Run::of(&run(&mut command))
}

/// A writer that counts on until it is dropped.
struct Counting {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Counting {
    fn start(directory: &Path) -> Counting {
        let is_over = Arc::new(AtomicBool::new(false));
        let mut child = WriterChild::start(directory, "counting");
        child.tell("set 1");
        let for_thread = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            while !for_thread.load(Ordering::Relaxed) {
                child.tell("add 1");
                std::thread::yield_now();
            }
            child.kill();
        });
        Counting {
            is_over,
            thread: Some(thread),
        }
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[test]
fn a_daemon_with_a_counting_session_passes_and_says_what_was_not_looked_at() {
    let place = Place::new();
    let _counting = Counting::start(&place.shards());
    let said = place.verify(&["--watch", "20s", "--expect", "child_events_total"]);
    assert_eq!(said.code, Some(0), "{}", said.text);
    for id in CHECKS {
        match id {
            // Only with --run-session.
            "session_started" | "session_ended" => {
                assert!(!said.text.contains(id), "{}", said.text);
            }
            "up_stable" | "still_there_after_end" => {
                said.of_check("SKIP", id);
            }
            _ => said.passes(id),
        }
    }
    let verdict = said.of_check("PASS", "verdict");
    assert!(
        verdict.contains("not checked: still_there_after_end, up_stable"),
        "{verdict}"
    );
    assert_eq!(said.lines.last().unwrap(), "RESULT=PASS");
}

#[test]
fn another_program_on_the_port_is_no_metricsd() {
    let place = Place::new();
    let fake = Fake::over(place.daemon.address(), |page| page);
    let said = place.verify_at(&fake, &["--retries", "1"]);
    said.fails("port_owner", "not by metricsd");
    said.passes("http_ok");
}

#[test]
fn a_daemon_of_another_directory_is_not_the_one_that_is_verified() {
    let place = Place::new();
    let other = Place::new();
    let state = place.folder.path().join("state");
    let said = verify(
        &place.shards(),
        &state,
        &other.url(),
        &["--retries", "1"],
        &[],
    );
    said.fails("port_owner", "is served by process");
    let nobody = tempfile::tempdir().unwrap();
    let said = verify(
        nobody.path(),
        &state,
        &other.url(),
        &["--retries", "1"],
        &[],
    );
    said.fails("port_owner", "no process serves");
}

#[test]
fn where_nobody_listens_every_check_that_needs_the_page_fails() {
    let place = Place::new();
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let url = format!("http://127.0.0.1:{port}/metrics");
    let said = verify(
        &place.shards(),
        &place.folder.path().join("state"),
        &url,
        &["--retries", "1"],
        &[],
    );
    said.fails("port_owner", "nobody listens");
    said.fails("http_ok", "connection refused");
    for id in [
        "content_type",
        "healthy",
        "ready",
        "port_owner_unchanged",
        "shards_live",
        "families_present",
        "exposition_valid",
        "values_moved",
        "totals_proven",
    ] {
        said.of_check("FAIL", id);
    }
}

#[test]
fn an_error_page_or_a_redirection_is_no_page() {
    let place = Place::new();
    for status in [404, 500, 302] {
        let fake = Fake::start(move |_| (status, TEXT.into(), "x 1\n".into()));
        let said = place.verify_at(&fake, &["--retries", "0"]);
        said.fails("http_ok", &format!("status {status}"));
        said.fails("healthy", &format!("answers {status}"));
    }
}

#[test]
fn a_content_type_that_is_not_exactly_the_formats_fails() {
    let place = Place::new();
    for content_type in [
        "text/html",
        "text/plain; version=0.0.4",
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
    ] {
        let fake = Fake::start(move |_| (200, content_type.into(), "x 1\n".into()));
        let said = place.verify_at(&fake, &["--retries", "0"]);
        said.passes("http_ok");
        said.fails("content_type", content_type);
    }
}

#[test]
fn a_daemon_that_is_not_ready_says_why() {
    let place = Place::new();
    let fake = Fake::start(|target| match target {
        "/-/ready" => (503, TEXT.into(), "the directory is gone".into()),
        _ => (200, TEXT.into(), "x 1\n".into()),
    });
    let said = place.verify_at(&fake, &["--retries", "2"]);
    said.passes("healthy");
    said.fails("ready", "503: the directory is gone");
}

#[test]
fn a_writer_that_listens_is_found() {
    let place = Place::new();
    // This process is the session: it writes shards and listens.
    let writer = Writer::open(&place.shards(), ProcessInfo::default());
    let series = writer.series(FileKind::Counter, vec![counter("own")], Create::AtZero);
    series.add(0, 1.0);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let said = place.verify(&["--retries", "1"]);
    said.fails("sessions_listen_on_nothing", &address.to_string());
    said.passes("shards_live");
}

#[test]
fn an_empty_directory_has_no_session_to_look_at() {
    let place = Place::new();
    let said = place.verify(&["--retries", "1"]);
    said.fails("shards_present", "has no shard");
    said.fails("shards_live", "0 live shards of 0 live sessions");
    said.fails("families_present", "not one family");
    said.of_check("SKIP", "sessions_listen_on_nothing");
}

#[test]
fn what_a_dead_session_left_is_present_and_not_live() {
    let place = Place::new();
    write_shard(
        &place.shards(),
        "counter_4242.db",
        &[(counter("left"), 3.0)],
    );
    let said = place.verify(&["--retries", "1"]);
    said.passes("shards_present");
    said.fails("shards_live", "0 live shards");
    said.fails("values_moved", "no counter of any session moved");
}

#[test]
fn a_family_is_present_by_its_samples_and_type_alone() {
    let place = Place::new();
    let _counting = Counting::start(&place.shards());
    let said = place.verify(&["--retries", "1", "--expect", "child_other_total"]);
    said.fails("families_present", "child_other_total is absent");

    let only_help = Fake::over(place.daemon.address(), |page| {
        let lines = page
            .lines()
            .filter(|line| !line.starts_with("child_events_total"));
        lines.map(|line| format!("{line}\n")).collect()
    });
    let said = place.verify_at(
        &only_help,
        &["--retries", "1", "--expect", "child_events_total"],
    );
    said.fails("families_present", "has a TYPE line and no sample");

    let wrong_type = Fake::over(place.daemon.address(), |page| {
        format!("{page}# TYPE peaktrade_risk_checks_total gauge\npeaktrade_risk_checks_total 1.0\n")
    });
    let said = place.verify_at(
        &wrong_type,
        &["--retries", "1", "--expect", "peaktrade_risk_checks_total"],
    );
    said.fails("families_present", "is gauge, expected counter");
}

#[test]
fn a_page_that_is_not_the_format_fails_by_its_first_defect() {
    let place = Place::new();
    let _counting = Counting::start(&place.shards());
    for (more, word) in [
        ("twice 1.0\ntwice 1.0\n", "a second time"),
        ("late 1.0\n# TYPE late gauge\n", "out of place"),
        (
            "# TYPE below_total counter\nbelow_total -1.0\n",
            "not below 0",
        ),
        ("# TYPE nan_total counter\nnan_total NaN\n", "finite"),
        ("garbage\n", "line"),
    ] {
        let fake = Fake::over(place.daemon.address(), move |page| format!("{page}{more}"));
        place
            .verify_at(&fake, &["--retries", "0"])
            .fails("exposition_valid", word);
    }
}

#[test]
fn a_live_session_whose_counters_stand_still_fails() {
    let place = Place::new();
    let mut child = WriterChild::start(&place.shards(), "still");
    child.tell("add 5");
    let said = place.verify(&["--retries", "20"]);
    said.passes("shards_live");
    said.fails("values_moved", "no counter of any session moved");
    child.kill();
}

#[test]
fn a_total_that_is_not_what_the_files_say_fails() {
    let place = Place::new();
    write_shard(
        &place.shards(),
        "counter_4242.db",
        &[(counter("left"), 3.0)],
    );
    let fake = Fake::over(place.daemon.address(), |page| {
        page.replace("left_total 3.0", "left_total 4.0")
    });
    let said = place.verify_at(&fake, &["--retries", "0"]);
    said.of_check("FAIL", "totals_proven");
    place.verify(&["--retries", "0"]).passes("totals_proven");
}

#[test]
fn an_environment_that_leads_elsewhere_fails_and_a_token_is_not_shown() {
    let place = Place::new();
    let state = place.folder.path().join("state");
    let of = |env: &[(&str, &str)]| {
        verify(
            &place.shards(),
            &state,
            &place.url(),
            &["--retries", "0", "--json"],
            env,
        )
    };
    for (name, value, word) in [
        ("PEAKTRADE_METRICS_MODE", "A", "expected B or unset"),
        (
            "PROMETHEUS_MULTIPROC_DIR",
            "/nonexistent/x",
            "leads to another directory",
        ),
        ("PEAK_TRADE_LIVE_ARMED", "yes", "arms live trading"),
        ("PT_LIVE_CONFIRM_TOKEN", "s3cret", "is set; expected unset"),
    ] {
        let said = of(&[(name, value)]);
        let object: serde_json::Value = serde_json::from_str(&said.lines.join("\n")).unwrap();
        let first = &object["steps"][0];
        assert_eq!(
            (&first["id"], &first["outcome"]),
            (&"environment".into(), &"fail".into())
        );
        assert!(first["text"].as_str().unwrap().contains(word), "{first}");
        assert!(!said.text.contains("s3cret"), "{}", said.text);
        assert_eq!(said.code, Some(1));
    }
    for mode in ["B", " b ", ""] {
        let said = of(&[
            ("PEAKTRADE_METRICS_MODE", mode),
            ("PEAK_TRADE_LIVE_ENABLED", "False"),
        ]);
        let object: serde_json::Value = serde_json::from_str(&said.lines.join("\n")).unwrap();
        assert_eq!(object["steps"][0]["outcome"], "pass");
    }
}

/// A Prometheus whose samples of `up` are these: seconds from now and value.
fn prometheus(samples: impl Fn(f64) -> Vec<(f64, u8)> + Send + 'static) -> Fake {
    let started = now();
    Fake::start(move |target| {
        let rows: Vec<String> = samples(now() - started)
            .iter()
            .map(|(at, value)| format!("[{},\"{value}\"]", started + at))
            .collect();
        let body = format!(
            "{{\"status\":\"success\",\"data\":{{\"resultType\":\"matrix\",\"result\":[{{\"metric\":{{}},\"values\":[{}]}}]}}}}",
            rows.join(",")
        );
        assert!(target.starts_with("/api/v1/query"), "{target}");
        (200, "application/json".into(), body)
    })
}

fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs_f64()
}

#[test]
fn up_has_to_be_one_in_every_scrape_and_no_scrape_may_be_missing() {
    let place = Place::new();
    let ask = |fake: &Fake, flags: &[&str]| {
        let base = format!("http://{}", fake.address);
        let mut all = vec![
            "--retries",
            "0",
            "--scrape-interval",
            "100ms",
            "--prometheus",
            &base,
        ];
        all.extend(flags);
        place.verify(&all)
    };
    let every = |until: f64, value: fn(usize) -> u8| {
        let count = (until / 0.1).max(1.0) as usize;
        (0..count)
            .map(|index| (index as f64 * 0.1, value(index)))
            .collect::<Vec<_>>()
    };
    ask(&prometheus(move |now| every(now, |_| 1)), &[]).passes("up_stable");
    let down = prometheus(move |now| every(now, |index| u8::from(index != 3)));
    ask(&down, &[]).fails("up_stable", "was 0 at");
    let gap = prometheus(move |now| {
        let mut all = every(now, |_| 1);
        all.retain(|(at, _)| !(0.15..0.45).contains(at));
        all
    });
    ask(&gap, &[]).fails("up_stable", "no scrape for");
    let never = Fake::start(|_| {
        (
            200,
            "application/json".into(),
            "{\"data\":{\"resultType\":\"matrix\",\"result\":[]}}".into(),
        )
    });
    ask(&never, &["--job", "nobody"]).fails("up_stable", "up{job=\"nobody\"} has no sample");
    let no_api = Fake::start(|_| (404, "text/plain".into(), String::new()));
    ask(&no_api, &[]).fails("up_stable", "expected Prometheus' API");
    let gone = format!(
        "http://{}",
        TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
    );
    let said = place.verify(&["--retries", "1", "--prometheus", &gone]);
    said.fails("up_stable", "connection refused");
}

#[test]
fn each_report_has_a_folder_of_its_own_with_everything_in_it() {
    let place = Place::new();
    let _counting = Counting::start(&place.shards());
    let evidence = place.folder.path().join("evidence");
    let flags = ["--watch", "20s", "--evidence", evidence.to_str().unwrap()];
    let first = place.verify(&flags);
    assert_eq!(first.code, Some(0), "{}", first.text);
    let second = place.verify(&flags);
    let report_of = |said: &Run| {
        let line = said
            .lines
            .iter()
            .find_map(|line| line.strip_prefix("EVIDENCE|"));
        std::path::PathBuf::from(line.unwrap())
    };
    let (first, second) = (report_of(&first), report_of(&second));
    assert_ne!(first, second);
    for report in [first, second] {
        let text = std::fs::read_to_string(&report).unwrap();
        for part in [
            "# Verification of metricsd Mode B: PASS",
            "curl -si http://",
            "ss -ltnp ",
            "| Kernel | Linux",
            "not checked",
            "Signature",
        ] {
            assert!(text.contains(part), "no {part:?} in:\n{text}");
        }
        let folder = report.parent().unwrap();
        let json = std::fs::read_to_string(folder.join("report.json")).unwrap();
        let object: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(object["result"], "pass");
        assert_eq!(
            object["steps"].as_array().unwrap().last().unwrap()["id"],
            "verdict"
        );
        let raw = std::fs::read_to_string(folder.join("metrics-before.prom")).unwrap();
        assert!(raw.contains("metricsd_build_info"), "{raw}");
    }
}

#[test]
fn an_address_with_a_password_or_a_bad_flag_is_refused() {
    for flags in [
        ["--prometheus", "http://me:s3cret@127.0.0.1:9090"],
        ["--url", "http://me:s3cret@127.0.0.1:9111/metrics"],
        ["--watch", "soon"],
        ["--session-config", "x.toml"],
    ] {
        let output = run(metricsd(&["verify", "mode-b"]).args(flags));
        assert_eq!(output.status.code(), Some(2), "{output:?}");
    }
}

#[test]
fn the_documentation_has_a_row_for_every_check_in_order() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/verification.md");
    let text = std::fs::read_to_string(path).unwrap();
    let rows: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(id, _)| id)
        .collect();
    let wanted: Vec<&str> = CHECKS.into_iter().chain(DRILLS).collect();
    assert_eq!(rows, wanted);
}
