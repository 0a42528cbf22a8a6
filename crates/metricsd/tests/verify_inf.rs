//! `metricsd verify inf`: each check is seen to pass, and to fail by a page, a health or a process that is spoilt here. With the real sentinel
//! it is in `crates/xtask/tests/verify_inf.rs`.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

#[path = "common/checks.rs"]
mod checks;
mod common;
#[path = "common/fake.rs"]
mod fake;
#[path = "common/inf_page.rs"]
mod inf_page;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use checks::Run;
use common::{metricsd, run, signal};
use fake::{Fake, TEXT};
use inf_page::{Sight, now, with, without};
use jiff::Timestamp;
use metricsd::verify::inf::CHECKS;
use metricsd::verify::inf::contract::{FAMILIES, Values};
use rustix::process::Signal;
use serde_json::Value;

/// Says in the child what it is to be: how much older than it is its page says that it is.
const IMPOSTOR: &str = "METRICSD_TEST_INF_IMPOSTOR";

/// Ends the line with the impostor's address; the test harness prints before it.
const SERVING: &str = "serving at ";

/// What these tests ask besides.
impl Run {
    /// The checks that failed, without the verdict.
    fn failed(&self) -> BTreeSet<&str> {
        let ids = self.lines.iter().filter_map(|line| {
            let (id, _) = line.strip_prefix("FAIL|")?.split_once('|')?;
            Some(id)
        });
        ids.filter(|id| *id != "verdict").collect()
    }
}

/// Verifies, with little patience.
fn verify(target: &str, flags: &[&str]) -> Run {
    let mut all = vec!["verify", "inf", "--target", target];
    for (flag, value) in [
        ("--retries", "1"),
        ("--retry-interval", "20ms"),
        ("--watch", "50ms"),
    ] {
        if !flags.contains(&flag) {
            all.extend([flag, value]);
        }
    }
    all.extend(flags);
    Run::of(&run(&mut metricsd(&all)))
}

fn target(fake: &Fake) -> String {
    format!("http://{}", fake.address)
}

type PageEdit = Box<dyn Fn(String) -> String + Send>;
type HealthEdit = Box<dyn Fn(&mut Value) + Send>;

/// A sentinel that is well but for what is spoilt.
struct Served {
    is_live: bool,
    page: PageEdit,
    health: HealthEdit,
    content_type: &'static str,
    /// Status codes of page and health.
    codes: (u16, u16),
    /// Added to the clock in the header `Date`.
    clock: f64,
}

impl Default for Served {
    fn default() -> Served {
        Served {
            is_live: false,
            page: Box::new(|page| page),
            health: Box::new(|_| {}),
            content_type: TEXT,
            codes: (200, 200),
            clock: 0.0,
        }
    }
}

impl Served {
    fn page(edit: impl Fn(String) -> String + Send + 'static) -> Served {
        Served {
            page: Box::new(edit),
            ..Served::default()
        }
    }

    fn health(edit: impl Fn(&mut Value) + Send + 'static) -> Served {
        Served {
            health: Box::new(edit),
            ..Served::default()
        }
    }

    /// Another value of a series.
    fn value(series: &'static str, value: f64) -> Served {
        Served::page(move |page| with(page, series, value))
    }

    /// A time that lies so far from now.
    fn time(series: &'static str, from_now: f64) -> Served {
        Served::page(move |page| with(page, series, now() + from_now))
    }

    fn live(mut self) -> Served {
        self.is_live = true;
        self
    }

    fn serve(self) -> Fake {
        let started = Instant::now();
        let (clock, is_live) = (self.clock, self.is_live);
        Fake::start_with(
            move || {
                let at = Timestamp::from_second((now() + clock) as i64).unwrap();
                format!("Date: {}\r\n", at.strftime("%a, %d %b %Y %H:%M:%S GMT"))
            },
            move |path| {
                let sight = Sight {
                    now: now() + clock,
                    uptime: 100.0 + started.elapsed().as_secs_f64(),
                    is_live,
                };
                match path {
                    "/metrics" => (
                        self.codes.0,
                        self.content_type.to_owned(),
                        (self.page)(sight.page()),
                    ),
                    "/health" => {
                        let mut health = sight.health();
                        (self.health)(&mut health);
                        let text = health.to_string();
                        (self.codes.1, "application/json".to_owned(), text)
                    }
                    _ => (404, "text/plain".to_owned(), String::new()),
                }
            },
        )
    }
}

/// Checks that fail here whatever is served, since this program is no sentinel.
const OF_THE_PROCESS: [&str; 3] = ["port_owner", "process_age", "port_owner_at_end"];

/// What is not there in a dry run.
const LATER: [&str; 2] = ["families_later", "gateway_heartbeat"];

#[test]
fn what_is_well_passes_every_check_that_this_program_can_pass() {
    let fake = Served::default().serve();
    let said = verify(&target(&fake), &[]);
    assert_eq!(
        said.failed(),
        BTreeSet::from(OF_THE_PROCESS),
        "{}",
        said.text
    );
    for id in CHECKS {
        let word = match id {
            "verdict" => "FAIL",
            id if OF_THE_PROCESS.contains(&id) => "FAIL",
            id if LATER.contains(&id) => "SKIP",
            _ => "PASS",
        };
        said.of_check(word, id);
    }
    said.fails("port_owner", "not by a sentinel");
    // In live trading nothing is left out.
    let fake = Served::default().live().serve();
    let said = verify(&target(&fake), &["--mode", "live"]);
    assert_eq!(
        said.failed(),
        BTreeSet::from(OF_THE_PROCESS),
        "{}",
        said.text
    );
    for id in LATER {
        said.of_check("PASS", id);
    }
}

/// What is spoilt, the check that finds it, and a word of what it says.
fn spoilt_pages() -> Vec<(Served, &'static str, &'static str)> {
    let bucket = "sentinel_trading_cycle_duration_seconds_bucket{le=\"0.01\"}";
    vec![
        (
            Served {
                codes: (500, 200),
                ..Served::default()
            },
            "http_ok",
            "status 500",
        ),
        (
            Served {
                content_type: "text/plain",
                ..Served::default()
            },
            "content_type",
            "found \"text/plain\"",
        ),
        (
            Served::page(|page| format!("{page}late 1.0\nlate 1.0\n")),
            "exposition_valid",
            "a second time",
        ),
        (
            Served::page(|_| String::new()),
            "exposition_valid",
            "no sample at all",
        ),
        (
            Served::page(|page| format!("{page}metricsd_build_info{{version=\"1\"}} 1.0\n")),
            "build_info",
            "metricsd's page",
        ),
        (
            Served::page(|page| without(page, "sentinel_build_info{")),
            "build_info",
            "no sample",
        ),
        (
            Served::value("sentinel_build_info{version=\"text\"}", 2.0),
            "build_info",
            "expected one version at 1",
        ),
        (
            Served::page(|page| {
                page.replace(
                    "# TYPE sentinel_last_prediction_confidence gauge",
                    "# TYPE sentinel_last_prediction_confidence untyped",
                )
            }),
            "family_types",
            "is untyped, expected gauge",
        ),
        (
            Served::page(|page| {
                let page = without(page, "# HELP sentinel_account_drawdown_ratio");
                let page = without(page, "# TYPE sentinel_account_drawdown_ratio");
                without(page, "sentinel_account_drawdown_ratio")
            }),
            "family_types",
            "is not declared",
        ),
        (
            Served::page(|page| format!("{page}sentinel_other 1.0\n")),
            "family_types",
            "no family that is known",
        ),
        (
            Served::page(|page| {
                page.replace(
                    "sentinel_api_calls_total{",
                    "sentinel_api_calls_total{by=\"x\",",
                )
            }),
            "label_names",
            "[\"by\", \"endpoint\"], expected [\"endpoint\"]",
        ),
        (
            Served::page(|page| page.replace("reason=\"cooldown\"", "reason=\"warm\"")),
            "label_values",
            "reason=\"warm\"",
        ),
        (
            Served::page(|page| format!("{page}orders{{order_id=\"7\"}} 1.0\n")),
            "no_forbidden_labels",
            "orders has the label order_id",
        ),
        (
            Served::page(move |page| without(page, bucket)),
            "histogram_buckets",
            "has the bounds",
        ),
        (
            Served::value("sentinel_last_prediction_confidence", 1.5),
            "values_sane",
            "expected 0 to 1",
        ),
        (
            Served::value("sentinel_account_drawdown_ratio", f64::NAN),
            "values_sane",
            "expected 0 to 1",
        ),
        (
            Served::page(|page| {
                let millis = now() * 1e3;
                with(
                    page,
                    "sentinel_next_bar_due_timestamp_seconds{source=\"eodhd\"}",
                    millis,
                )
            }),
            "values_sane",
            "expected a time in Unix seconds",
        ),
        (
            Served::value("sentinel_trading_state{state=\"halted\"}", 1.0),
            "states_exclusive",
            "has 2 states in force",
        ),
        (
            Served::value(
                "sentinel_circuit_breaker_state{endpoint=\"hub\",state=\"closed\"}",
                0.0,
            ),
            "states_exclusive",
            "[\"hub\"] has 0 states in force",
        ),
        // HELP and TYPE are there, and no sample.
        (
            Served::page(|page| without(page, "sentinel_trading_cycles_total ")),
            "families_present",
            "sentinel_trading_cycles_total has a TYPE line and no sample",
        ),
        (
            Served::page(|page| without(page, "sentinel_trading_signals_total{action=\"HOLD\"}")),
            "families_present",
            "no sample for [(\"action\", \"HOLD\")]",
        ),
        // What needs an event that was.
        (
            Served::page(|page| without(page, "sentinel_last_bar_timestamp_seconds{")),
            "families_present",
            "sentinel_last_bar_timestamp_seconds has a TYPE line",
        ),
        (
            Served::page(|page| {
                without(page, "sentinel_gateway_last_heartbeat_timestamp_seconds ")
            })
            .live(),
            "families_present",
            "sentinel_gateway_last_heartbeat_timestamp_seconds has a TYPE line",
        ),
        (
            Served {
                clock: -60.0,
                ..Served::default()
            },
            "clocks_agree",
            "to ours",
        ),
        (
            Served::value("sentinel_clock_offset_seconds{reference=\"gateway\"}", 3.5).live(),
            "clocks_agree",
            "+3.5 s to that of the gateway",
        ),
        (
            Served::time("sentinel_next_cycle_due_timestamp_seconds", -9.0),
            "cycle_due",
            "should have completed 9 s ago",
        ),
        (
            Served::time(
                "sentinel_next_bar_due_timestamp_seconds{source=\"eodhd\"}",
                -130.0,
            ),
            "bars_fresh",
            "overdue by 130 s, expected within 120s",
        ),
        (
            Served::page(|page| without(page, "sentinel_last_bar_timestamp_seconds{")),
            "bars_fresh",
            "no bar was accepted",
        ),
        (
            Served::value("sentinel_prediction_failures_total", 5.0),
            "predictions_work",
            "each of 5 predictions failed",
        ),
        (
            Served::page(|page| {
                let page = with(page, "sentinel_prediction_requests_total", 0.0);
                with(page, "sentinel_prediction_failures_total", 0.0)
            }),
            "predictions_work",
            "no prediction was asked for",
        ),
        // The model answered once, and does not any more.
        (
            Served::value(
                "sentinel_stage_last_success_timestamp_seconds{stage=\"predict\"}",
                1.1e9,
            ),
            "predictions_work",
            "older than the features",
        ),
        (
            Served::page(|page| {
                let breaker = "sentinel_circuit_breaker_state{endpoint=\"gateway\",state=";
                let page = with(page, &format!("{breaker}\"closed\"}}"), 0.0);
                with(page, &format!("{breaker}\"open\"}}"), 1.0)
            }),
            "breakers_closed",
            "in front of gateway is open",
        ),
        (
            Served::page(|page| {
                let page = with(page, "sentinel_trading_state{state=\"active\"}", 0.0);
                with(page, "sentinel_trading_state{state=\"halted\"}", 1.0)
            }),
            "trading_active",
            "[\"halted\"] by the metrics",
        ),
        (
            Served::time("sentinel_gateway_last_heartbeat_timestamp_seconds", -61.0).live(),
            "gateway_heartbeat",
            "is 61.",
        ),
        (
            Served::value("sentinel_order_results_total{result=\"filled\"}", 1.0),
            "mode_consistent",
            "a dry run, and sentinel_order_results_total is 1",
        ),
        (
            Served::value("sentinel_daemon_uptime_seconds", 100.0),
            "not_frozen",
            "not how it is now",
        ),
    ]
}

fn spoilt_healths() -> Vec<(Served, &'static str, &'static str)> {
    vec![
        (
            Served {
                codes: (200, 503),
                ..Served::default()
            },
            "health_answers",
            "ok with status code 503, expected 200",
        ),
        (
            Served::health(|health| *health = "fine".into()),
            "health_answers",
            "no health of a sentinel",
        ),
        (
            Served::health(|health| {
                health["status"] = "degraded".into();
                health["why"] = vec!["the model is gone"].into();
            }),
            "health_ok",
            "degraded: the model is gone",
        ),
        (
            Served::health(|health| health["status"] = "degraded".into()),
            "health_truthful",
            "says degraded and no reason",
        ),
        (
            Served::health(|health| health["stages"][2]["error"] = "words".into()),
            "health_truthful",
            "says ok, and the last predict failed",
        ),
        (
            Served::health(|health| health["stages"][0]["last_success"] = 1.1e9.into()),
            "health_truthful",
            "fetch last worked at",
        ),
        (
            Served::health(|health| health["trading_state"] = "halted".into()),
            "health_truthful",
            "says that trading is halted, and the metrics do not",
        ),
        (
            Served::health(|health| health["trading_state"] = "halted".into()),
            "trading_active",
            "halted by /health",
        ),
        // It asks a model server, and the model in the program answers.
        (
            Served::health(|health| health["model"] = "hub".into()),
            "health_truthful",
            "by it hub predicts, by the metrics [\"embedded\"]",
        ),
        (
            Served::health(|health| health["last_cycle_age_seconds"] = 90.0.into()),
            "health_truthful",
            "the last cycle was 90 s ago",
        ),
        (
            Served::health(|health| {
                health["status"] = "stalled".into();
                health["why"] = vec!["no cycle"].into();
            }),
            "health_truthful",
            "says stalled, and the next cycle is not overdue",
        ),
        (
            Served::health(|health| health["gateway"]["is_answering"] = false.into()).live(),
            "health_truthful",
            "the gateway does not answer",
        ),
        (
            Served::health(|health| health["gateway"]["is_answering"] = false.into()).live(),
            "gateway_heartbeat",
            "was not answered",
        ),
        (
            Served::health(|health| health["gateway"] = Value::Null).live(),
            "mode_consistent",
            "live, and /health has no gateway",
        ),
    ]
}

/// What the metrics say while `/health` says ok, which none of these lets stand.
fn lies() -> Vec<(Served, &'static str)> {
    vec![
        (
            Served::time("sentinel_next_cycle_due_timestamp_seconds", -9.0),
            "the cycle is overdue",
        ),
        (
            Served::time(
                "sentinel_next_bar_due_timestamp_seconds{source=\"eodhd\"}",
                -130.0,
            ),
            "the next bar is overdue",
        ),
        (
            Served::value("sentinel_prediction_failures_total", 5.0),
            "each of 5 predictions failed",
        ),
        (
            Served::page(|page| {
                let breaker = "sentinel_circuit_breaker_state{endpoint=\"gateway\",state=";
                let page = with(page, &format!("{breaker}\"closed\"}}"), 0.0);
                with(page, &format!("{breaker}\"open\"}}"), 1.0)
            }),
            "the circuit breaker in front of gateway is open",
        ),
        (
            Served::page(|page| {
                let page = with(page, "sentinel_trading_state{state=\"active\"}", 0.0);
                with(page, "sentinel_trading_state{state=\"halted\"}", 1.0)
            }),
            "trading is halted",
        ),
    ]
}

#[test]
fn each_spoilt_page_fails_by_the_check_that_is_for_it() {
    let mut cases: Vec<_> = spoilt_pages().into_iter().chain(spoilt_healths()).collect();
    let mut seen: BTreeSet<&str> = cases.iter().map(|(_, id, _)| *id).collect();
    // Some at a time: each waits most of its time.
    while !cases.is_empty() {
        let some = cases.split_off(cases.len().saturating_sub(8));
        std::thread::scope(|scope| {
            for (served, id, word) in some {
                scope.spawn(move || verify(&target(&served.serve()), &[]).fails(id, word));
            }
        });
    }
    // These have tests of their own; families_later cannot fail, families_present does in its place.
    seen.extend(OF_THE_PROCESS);
    seen.extend([
        "counters_do_not_fall",
        "nothing_fails_meanwhile",
        "families_later",
        "verdict",
    ]);
    assert_eq!(seen, BTreeSet::from(CHECKS));
}

#[test]
fn a_health_that_says_ok_is_not_believed_against_the_metrics() {
    for (served, word) in lies() {
        let fake = served.serve();
        let said = verify(&target(&fake), &[]);
        said.of_check("PASS", "health_ok");
        said.fails("health_truthful", &format!("it says ok, and {word}"));
    }
    // One that owns up to it is truthful.
    let mut honest = Served::value("sentinel_prediction_failures_total", 5.0);
    honest.health = Box::new(|health| {
        health["status"] = "degraded".into();
        health["why"] = vec!["predict failed: timeout"].into();
    });
    let fake = honest.serve();
    let said = verify(&target(&fake), &[]);
    said.of_check("PASS", "health_truthful");
    said.fails("health_ok", "predict failed");
}

/// A page that changes with each look; the number of looks goes in.
fn changing(edit: impl Fn(String, f64) -> String + Send + 'static) -> Fake {
    let looks = std::cell::Cell::new(0.0);
    Served::page(move |page| {
        looks.set(looks.get() + 1.0);
        edit(page, looks.get())
    })
    .serve()
}

#[test]
fn what_falls_goes_or_fails_between_two_looks_is_found() {
    let cycles = "sentinel_trading_cycles_total";
    let falling = changing(move |page, looks| with(page, cycles, 1000.0 - looks));
    verify(&target(&falling), &[])
        .fails("counters_do_not_fall", "sentinel_trading_cycles_total fell");
    let going = changing(|page, looks| match looks < 2.0 {
        true => page,
        false => without(page, "sentinel_api_calls_total{endpoint=\"hub\"}"),
    });
    verify(&target(&going), &[]).fails("counters_do_not_fall", "is gone");
    let restarted =
        changing(|page, looks| with(page, "sentinel_daemon_uptime_seconds", 100.0 - looks));
    verify(&target(&restarted), &[]).fails("not_frozen", "it was restarted");
    let error = "sentinel_api_errors_total{endpoint=\"hub\",error_code=\"timeout\"}";
    let failing = changing(move |page, looks| with(page, error, looks));
    verify(&target(&failing), &[])
        .fails("nothing_fails_meanwhile", "sentinel_api_errors_total rose");
}

#[test]
fn due_times_are_held_against_the_sentinels_own_clock() {
    // Ten minutes behind: by our clock everything is overdue, by its own nothing is.
    let fake = Served {
        clock: -600.0,
        ..Served::default()
    }
    .serve();
    let said = verify(&target(&fake), &[]);
    said.fails("clocks_agree", "to ours");
    for id in ["cycle_due", "bars_fresh", "health_truthful"] {
        said.of_check("PASS", id);
    }
}

#[test]
fn what_is_expected_can_be_named_and_given_time() {
    let fake = Served::time(
        "sentinel_next_bar_due_timestamp_seconds{source=\"eodhd\"}",
        -130.0,
    )
    .serve();
    let said = verify(
        &format!("{}/metrics", target(&fake)),
        &["--bar-grace", "3m", "--mode", "live"],
    );
    said.of_check("PASS", "bars_fresh");
    said.of_check("PASS", "health_truthful");
    said.fails("mode_consistent", "it is dry_run, expected live");
}

#[test]
fn where_nobody_listens_or_answers_every_check_of_the_page_fails_soon() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let flags = ["--timeout", "300ms", "--retries", "20"];
    let said = verify(&format!("http://{address}"), &flags);
    said.fails("http_ok", "no whole answer within 300ms");
    drop(silent);
    let said = verify(&format!("http://{address}"), &[]);
    said.fails("http_ok", "connection refused");
    said.fails("port_owner", "nobody listens");
    let skipped = BTreeSet::from(["verdict"]);
    let failed = said.failed();
    for id in CHECKS {
        assert!(failed.contains(id) || skipped.contains(id), "{id}");
    }
}

#[test]
fn of_another_host_nothing_is_said_about_processes() {
    // An address of the documentation, which nobody has: it cannot be bound, and is not answered.
    let said = verify(
        "http://192.0.2.1:1",
        &["--timeout", "100ms", "--retries", "0"],
    );
    for id in OF_THE_PROCESS {
        said.of_check("SKIP", id);
    }
    said.of_check("FAIL", "http_ok");
}

/// In the impostor: serves a page until it is ended. In any other process: nothing.
#[test]
fn impostor() {
    let Some(older) = std::env::var_os(IMPOSTOR) else {
        return;
    };
    let older: f64 = older.to_str().unwrap().parse().unwrap();
    let started = Instant::now();
    let fake = Served::page(move |page| {
        let uptime = started.elapsed().as_secs_f64() + older;
        with(page, "sentinel_daemon_uptime_seconds", uptime)
    })
    .serve();
    let mut output = std::io::stdout();
    writeln!(output, "\n{SERVING}{}", fake.address).unwrap();
    // Until whoever started us goes.
    let _ = std::io::stdin().read(&mut [0]);
}

/// This program again, under the name of a sentinel.
struct Impostor {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Impostor {
    fn start(older: &str, arguments: &[&str]) -> Impostor {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("sentinel");
        std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        let mut child = Command::new(program)
            .args(["--exact", "impostor", "--nocapture"])
            .args(arguments)
            .env(IMPOSTOR, older)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let address = output.lines().find_map(|line| {
            let line = line.unwrap();
            line.strip_prefix(SERVING).map(|it| it.parse().unwrap())
        });
        Impostor {
            child,
            address: address.unwrap(),
            _folder: folder,
        }
    }

    fn target(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_owner_of_the_port_is_named_with_its_command_line_and_without_its_secrets() {
    // For the harness a filter that fits nothing.
    let impostor = Impostor::start("0", &["EODHD_API_TOKEN=s3cret"]);
    let folder = tempfile::tempdir().unwrap();
    let evidence = folder.path().join("evidence");
    let flags = ["--evidence", evidence.to_str().unwrap()];
    let said = verify(&impostor.target(), &flags);
    assert_eq!(said.code, Some(0), "{}", said.text);
    let owner = said.of_check("PASS", "port_owner");
    let pid = format!("pid {} ", impostor.child.id());
    for part in [&pid, "EODHD_API_TOKEN=[hidden]", "started 2"] {
        assert!(owner.contains(part), "no {part} in {owner}");
    }
    said.of_check("PASS", "process_age");
    said.of_check("PASS", "port_owner_at_end");
    assert_eq!(said.lines.last().unwrap(), "RESULT=PASS");
    let verdict = said.of_check("PASS", "verdict");
    assert!(
        verdict.contains("not checked: families_later, gateway_heartbeat"),
        "{verdict}"
    );
    assert!(!said.text.contains("s3cret"), "{}", said.text);
    // The report has it all, and no secret either.
    let line = said
        .lines
        .iter()
        .find_map(|it| it.strip_prefix("EVIDENCE|"));
    let report = Path::new(line.unwrap());
    let text = std::fs::read_to_string(report).unwrap();
    for part in [
        "# Verification of a sentinel: PASS",
        "curl -si http://",
        "/health",
        "ss -ltnp",
    ] {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
    assert!(!text.contains("s3cret"), "{text}");
    let folder = report.parent().unwrap();
    let json = std::fs::read_to_string(folder.join("report.json")).unwrap();
    let object: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(object["target"], impostor.target());
    let ids: Vec<&str> = object["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, CHECKS);
    for name in ["metrics-first.prom", "metrics-last.prom", "health.json"] {
        assert!(std::fs::metadata(folder.join(name)).unwrap().len() > 0);
    }
}

#[test]
fn a_page_that_is_not_of_the_process_is_found_by_its_age() {
    let impostor = Impostor::start("3600", &[]);
    verify(&impostor.target(), &[]).fails("process_age", "longer than it has been there");
}

#[test]
fn a_process_that_was_stopped_is_found() {
    let impostor = Impostor::start("0", &[]);
    signal(impostor.child.id(), Signal::STOP);
    let said = verify(&impostor.target(), &["--timeout", "300ms"]);
    said.of_check("PASS", "port_owner");
    said.fails("http_ok", "no whole answer");
    said.fails("process_age", "is in state T");
}

#[test]
fn a_bad_flag_is_refused() {
    for flags in [
        vec![],
        vec!["--target", "http://me:s3cret@127.0.0.1:8000"],
        vec!["--target", "https://127.0.0.1:8000"],
        vec!["--target", "http://127.0.0.1:8000", "--mode", "paper"],
        vec!["--target", "http://127.0.0.1:8000", "--watch", "soon"],
    ] {
        let output = run(metricsd(&["verify", "inf"]).args(flags));
        assert_eq!(output.status.code(), Some(2), "{output:?}");
    }
}

fn document(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    std::fs::read_to_string(path.join(name)).unwrap()
}

#[test]
fn what_is_promised_is_the_sentinels_part_of_the_page_of_metrics() {
    let page = document("metrics.md");
    let (_, part) = page.split_once("<!-- generated: sentinel -->").unwrap();
    let (part, _) = part.split_once("<!-- end -->").unwrap();
    let cells = |line: &str| -> Vec<String> {
        let cells = line.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().replace('`', "")).collect()
    };
    let mut families = BTreeSet::new();
    let mut values = BTreeSet::new();
    let mut bounds = BTreeSet::new();
    for row in part
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(cells)
    {
        match row.as_slice() {
            [name, kind, labels, _] => {
                families.insert(format!("{name} {kind} {labels}"));
            }
            [label, of, said] => {
                for family in of.split(", ") {
                    values.insert(format!("{family} {label}: {said}"));
                }
            }
            [name, said] => {
                bounds.insert(format!("{name} {said}"));
            }
            other => panic!("{other:?}"),
        }
    }
    let names = |labels: &[(&str, Values)]| match labels {
        [] => "-".to_owned(),
        labels => {
            let names: Vec<&str> = labels.iter().map(|(name, _)| *name).collect();
            names.join(", ")
        }
    };
    let promised = FAMILIES
        .iter()
        .map(|it| format!("{} {} {}", it.name, it.kind.as_str(), names(it.labels)));
    assert_eq!(promised.collect::<BTreeSet<_>>(), families);
    let of_labels = FAMILIES.iter().flat_map(|it| {
        it.labels.iter().map(|(label, said)| match said {
            Values::OneOf(said) => format!("{} {label}: {}", it.name, said.join(" ")),
            Values::Text => format!("{} {label}: text, bounded", it.name),
        })
    });
    assert_eq!(of_labels.collect::<BTreeSet<_>>(), values);
    let of_bounds = FAMILIES
        .iter()
        .filter(|it| !it.bounds.is_empty())
        .map(|it| {
            let said: Vec<String> = it.bounds.iter().map(ToString::to_string).collect();
            format!("{} {}", it.name, said.join(" "))
        });
    assert_eq!(of_bounds.collect::<BTreeSet<_>>(), bounds);
}

#[test]
fn the_documentation_has_a_row_for_every_check_in_order() {
    let text = document("verification-inf.md");
    let rows: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(id, _)| id)
        .collect();
    assert_eq!(rows, CHECKS);
}
