//! `metricsd verify hub`: each check is seen to pass, and to fail by a fault that is caused here, in a world of impostors. The same with the real
//! programs is in `crates/xtask/tests/verify_hub`.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

#[path = "common/checks.rs"]
mod checks;
mod common;
#[path = "common/fake.rs"]
mod fake;
#[path = "common/hub.rs"]
mod hub;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::Command;

use checks::Run;
use common::{eventually, metricsd, run, signal};
use hub::{Hub, World, target};
use metricsd::verify::hub::CHECKS;
use rustix::process::Signal;
use serde_json::{Value, json};

#[test]
fn child() {
    common::child::obey();
}

/// What these tests ask besides.
impl Run {
    /// Which checks failed, the verdict apart.
    fn failed(&self) -> Vec<&str> {
        let failed = self
            .lines
            .iter()
            .filter_map(|line| line.strip_prefix("FAIL|"));
        let ids = failed.filter_map(|rest| rest.split('|').next());
        ids.filter(|id| *id != "verdict").collect()
    }
}

fn command(hub: &Hub, flags: &[&str]) -> Command {
    let prometheus = format!("http://{}", hub.prometheus.address);
    let alertmanager = format!("http://{}/", hub.alertmanager.address);
    let mut all = vec![
        "verify",
        "hub",
        "--prometheus",
        &prometheus,
        "--alertmanager",
        &alertmanager,
        "--retry-interval",
        "20ms",
        "--deliver-within",
        "200ms",
    ];
    if !flags.contains(&"--retries") {
        all.extend(["--retries", "1"]);
    }
    if !flags.contains(&"--notify-within") {
        all.extend(["--notify-within", "300ms"]);
    }
    all.extend(flags);
    metricsd(&all)
}

fn verify(hub: &Hub, flags: &[&str]) -> Run {
    let output = run(&mut command(hub, flags));
    let text = String::from_utf8(output.stdout).unwrap();
    Run {
        code: output.status.code(),
        lines: text.lines().map(str::to_owned).collect(),
        text: format!("{text}{}", String::from_utf8_lossy(&output.stderr)),
    }
}

/// A run in a world that was changed.
fn in_world(flags: &[&str], change: impl FnOnce(&mut World)) -> Run {
    let hub = Hub::new();
    change(&mut hub.world());
    verify(&hub, flags)
}

/// That exactly these checks fail in a world that was changed, the first one with this word.
#[track_caller]
fn fails(ids: &[&str], word: &str, change: impl FnOnce(&mut World)) -> Run {
    let run = in_world(&[], change);
    run.fails(ids[0], word);
    assert_eq!(run.failed(), ids, "{}", run.text);
    run
}

#[test]
fn everything_passes_and_the_alert_of_ours_is_fired_and_ended_by_its_labels() {
    let hub = Hub::new();
    let run = verify(&hub, &[]);
    assert_eq!(run.code, Some(0), "{}", run.text);
    let ids: Vec<&str> = run
        .lines
        .iter()
        .filter_map(|line| line.strip_prefix("PASS|"))
        .map(|rest| rest.split('|').next().unwrap())
        .collect();
    assert_eq!(ids, CHECKS, "{}", run.text);
    assert_eq!(run.lines.last().unwrap(), "RESULT=PASS");

    let world = hub.world();
    let [begin, end] = world.posted.as_slice() else {
        panic!("{:?}", world.posted)
    };
    assert_eq!(begin["labels"], end["labels"]);
    assert_eq!(begin["labels"]["alertname"], "HubVerification");
    assert_eq!(begin["labels"]["severity"], "critical");
    let time = |alert: &Value, name: &str| -> jiff::Timestamp {
        alert[name].as_str().unwrap().parse().unwrap()
    };
    assert!(
        time(begin, "endsAt") > jiff::Timestamp::now(),
        "it would not end by itself: {begin}"
    );
    assert!(time(end, "endsAt") < jiff::Timestamp::now(), "{end}");
    assert_eq!(begin["startsAt"], end["startsAt"]);
}

#[test]
fn a_prometheus_that_is_none_is_not_asked_further_and_the_alert_path_is_still_tried() {
    for change in [
        (|world| world.prometheus_ready = 503) as fn(&mut World),
        |world| world.is_prometheus = false,
    ] {
        let run = in_world(&[], change);
        run.fails("prometheus_ready", " answers ");
        for id in [
            "prometheus_config",
            "rules_loaded",
            "targets_up",
            "series_fresh",
            "counters_rise",
            "alertmanager_known",
            "watchdog_seen",
        ] {
            run.of_check("SKIP", id);
        }
        run.of_check("PASS", "end_notified");
        assert!(
            run.of_check("SKIP", "alert_delivered")
                .contains("no bridge is known")
        );
    }
}

#[test]
fn a_configuration_that_could_not_be_read_fails() {
    fails(&["prometheus_config"], "failed", |world| {
        world.reload_ok = false
    });
    fails(&["alertmanager_config"], "is 0", |world| {
        world.alertmanager_reload = 0.0
    });
}

#[test]
fn rules_that_are_missing_are_named() {
    let run = fails(&["rules_loaded"], "the whole group meta.alerts", |world| {
        world.groups.retain(|group| group["name"] != "meta.alerts");
    });
    assert!(
        run.of_check("FAIL", "rules_loaded")
            .contains("AlertmanagerDown, AlertmanagerNotificationsFailing")
    );
    fails(
        &["rules_loaded"],
        "of metricsd.alerts: MetricsdDown",
        |world| {
            let group = world
                .groups
                .iter_mut()
                .find(|group| group["name"] == "metricsd.alerts")
                .unwrap();
            group["rules"].as_array_mut().unwrap().remove(0);
        },
    );
    // An alert by the name of a record is no record.
    fails(&["rules_loaded"], "instance:sentinel_over:info", |world| {
        let group = world
            .groups
            .iter_mut()
            .find(|group| group["name"] == "sentinel.alerts")
            .unwrap();
        group["rules"][0]["type"] = json!("alerting");
    });
}

#[test]
fn what_is_expected_of_rules_can_be_said_by_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine.yml");
    std::fs::write(
        &file,
        "groups: [{name: mine, rules: [{alert: MyOwn, expr: '1'}]}]",
    )
    .unwrap();
    let hub = Hub::new();
    let flags = ["--rules", file.to_str().unwrap()];
    let run = verify(&hub, &flags);
    run.fails("rules_loaded", "the whole group mine: MyOwn");
    // Of these rules none always fires.
    run.of_check("SKIP", "watchdog_fires");
    hub.world()
        .groups
        .push(json!({"name": "mine", "interval": 1, "evaluated": 0,
        "rules": [{"name": "MyOwn", "type": "alerting", "health": "ok"}]}));
    assert_eq!(verify(&hub, &flags).code, Some(0));
    std::fs::write(&file, "scrape_configs: []").unwrap();
    let run = verify(&hub, &flags);
    assert_eq!(run.code, Some(2), "{}", run.text);
    assert!(run.text.contains("mine.yml: found no rule"), "{}", run.text);
}

#[test]
fn a_rule_that_fails_or_is_not_evaluated_is_named() {
    fails(
        &["rules_healthy"],
        "MetricsdDown of metricsd.alerts: many-to-many",
        |world| {
            let group = world
                .groups
                .iter_mut()
                .find(|group| group["name"] == "metricsd.alerts")
                .unwrap();
            group["rules"][0]["health"] = json!("err");
            group["rules"][0]["lastError"] = json!("many-to-many matching");
        },
    );
    fails(&["rules_healthy"], "meta.alerts 5", |world| {
        let group = world
            .groups
            .iter_mut()
            .find(|group| group["name"] == "meta.alerts")
            .unwrap();
        group["evaluated"] = json!(5.0);
    });
    // Ages are by Prometheus' own clock.
    fails(&["clocks_agree"], "Prometheus +60.0 s", |world| {
        world.prometheus_ahead = 60.0
    });
}

#[test]
fn a_target_that_is_down_or_not_scraped_is_named_with_its_error() {
    fails(
        &["targets_up"],
        "node at node.invalid:1: connection refused",
        |world| {
            world.targets[4]["health"] = json!("down");
            world.targets[4]["lastError"] = json!("connection refused");
        },
    );
    fails(
        &["targets_up"],
        "node at node.invalid:1: not scraped yet",
        |world| {
            world.targets[4]["health"] = json!("unknown");
        },
    );
    fails(&["targets_up"], "last scraped 9", |world| {
        world.targets[4]["scraped"] = json!(9.0)
    });
}

#[test]
fn a_job_without_a_target_fails_and_a_sentinel_may_be_behind_metricsd() {
    let without = |job: &'static str| {
        move |world: &mut World| {
            world
                .targets
                .retain(|target| target["labels"]["job"] != job);
        }
    };
    fails(&["jobs_present"], "node has no target", without("node"));
    fails(
        &["jobs_present"],
        "no live sentinel behind metricsd",
        without("sentinel-metrics"),
    );
    let run = in_world(&[], |world| {
        without("sentinel-metrics")(world);
        world.sentinel_live = true;
    });
    assert!(
        run.of_check("PASS", "jobs_present")
            .contains("sentinel-metrics (behind metricsd)")
    );
    assert_eq!(run.code, Some(0), "{}", run.text);
    let run = in_world(
        &["--job", "alertbridge", "--job", "alertmanager"],
        without("node"),
    );
    assert_eq!(run.code, Some(0), "{}", run.text);
    run.of_check("SKIP", "counters_rise");
    let run = in_world(&["--job", "mine"], |_| {});
    run.fails("jobs_present", "mine has no target");
    run.of_check("SKIP", "series_fresh");
}

#[test]
fn a_target_of_a_required_job_is_not_dropped_in_silence() {
    let drop = |job: &'static str| {
        move |world: &mut World| {
            let labels = json!({"job": job, "__address__": "h:1"});
            world.dropped.push(json!({"discoveredLabels": labels}));
        }
    };
    fails(&["targets_dropped"], "node at h:1", drop("node"));
    assert_eq!(in_world(&[], drop("other")).code, Some(0));
    assert_eq!(in_world(&["--allow-dropped"], drop("node")).code, Some(0));
}

#[test]
fn a_page_without_samples_and_samples_of_long_ago_fail() {
    fails(
        &["samples_arrive"],
        "node at node.invalid:1: a page without samples",
        |world| world.samples[4] = 0.0,
    );
    fails(
        &["samples_arrive"],
        "nothing within five minutes",
        |world| world.samples.truncate(4),
    );
    fails(
        &["samples_arrive"],
        "2.0 s old, expected every 0.2 s",
        |world| world.sample_age = 2.0,
    );
}

#[test]
fn series_that_are_missing_old_or_stuck_fail() {
    fails(
        &["series_fresh"],
        "sentinel_build_info has no sample",
        |world| {
            world.absent.insert("sentinel_build_info".to_owned());
        },
    );
    fails(&["series_fresh"], "metricsd_series of i: ", |world| {
        world.series_age = 9.0
    });
    fails(
        &["counters_rise"],
        "metricsd_collect_duration_seconds_count of i stands at 10",
        |world| world.collects = false,
    );
    let absent = |world: &mut World| {
        world.absent.insert("mine".to_owned());
    };
    in_world(&["--expect", "mine"], absent).fails("series_fresh", "mine has no sample");
    in_world(&["--rising", "mine"], absent).fails("counters_rise", "mine has no sample");
}

#[test]
fn an_alertmanager_that_is_none_gets_no_alert() {
    for change in [
        (|world| world.alertmanager_ready = 503) as fn(&mut World),
        |world| world.is_alertmanager = false,
    ] {
        let hub = Hub::new();
        change(&mut hub.world());
        let run = verify(&hub, &[]);
        run.fails("alertmanager_ready", " answers ");
        for id in [
            "alertmanager_known",
            "silences",
            "alert_active",
            "alert_notified",
            "alert_resolved",
            "end_delivered",
        ] {
            run.of_check("SKIP", id);
        }
        assert_eq!(hub.world().posted, [] as [Value; 0]);
    }
}

#[test]
fn a_cluster_that_is_not_whole_fails() {
    fails(&["alertmanager_cluster"], "settling", |world| {
        world.cluster = "settling"
    });
    fails(&["alertmanager_cluster"], "1 failed", |world| {
        world.cluster = "ready";
        world.failed_peers = 1.0;
    });
    assert_eq!(in_world(&[], |world| world.cluster = "ready").code, Some(0));
}

#[test]
fn an_alertmanager_whose_clock_is_wrong_is_told_an_end_that_is_past_there() {
    let hub = Hub::new();
    hub.world().alertmanager_ahead = -600.0;
    let run = verify(&hub, &[]);
    run.fails("clocks_agree", "Alertmanager -");
    run.of_check("PASS", "alert_resolved");
    assert!(hub.world().is_over());
}

#[test]
fn another_alertmanager_than_that_of_prometheus_is_found_by_what_it_answers() {
    fails(
        &["alertmanager_known"],
        "Prometheus knows no Alertmanager",
        |world| world.alertmanagers.clear(),
    );
    let other = Hub::new();
    // The same program, started at another time.
    other.world().alertmanager_ahead = 0.0;
    let impostor = fake::Fake::start(|_| {
        let status = json!({"uptime": "2026-02-02T00:00:00.000Z", "versionInfo": {"version": "0.25.0"}, "cluster": {"status": "disabled"}});
        (200, "application/json".to_owned(), status.to_string())
    });
    let address = impostor.address;
    fails(
        &["alertmanager_known"],
        "is another one, started 2026-02-02",
        |world| {
            world.alertmanagers = vec![format!("http://{address}/api/v2/alerts")];
        },
    );
    // A name of another network, and nobody scrapes it.
    fails(
        &["alertmanager_known"],
        "is no target of Prometheus",
        |world| {
            world.alertmanagers = vec!["http://other.invalid:1/api/v2/alerts".to_owned()];
        },
    );
    let run = in_world(&[], |world| {
        world.alertmanagers = vec!["http://alertmanager.invalid:1/api/v2/alerts".to_owned()];
    });
    assert!(
        run.of_check("PASS", "alertmanager_known")
            .contains("the start of its process")
    );
}

#[test]
fn a_silence_over_everything_fails_and_one_over_something_does_not() {
    let silence = |name: &'static str, value: &'static str, is_regex: bool| {
        move |world: &mut World| {
            world.silences = json!([{
                "id": "s1", "createdBy": "me", "comment": "quiet", "endsAt": "2027-01-01T00:00:00Z", "status": {"state": "active"},
                "matchers": [{"name": name, "value": value, "isRegex": is_regex, "isEqual": true}],
            }]);
        }
    };
    fails(
        &["silences"],
        "silence s1 of \"me\"",
        silence("alertname", ".*", true),
    );
    fails(
        &["silences"],
        "quiet",
        silence("severity", "critical", false),
    );
    assert_eq!(
        in_world(&[], silence("severity", "info", false)).code,
        Some(0)
    );
    let run = in_world(&[], |world| {
        silence("severity", ".*", true)(world);
        world.silences[0]["status"]["state"] = json!("expired");
    });
    assert_eq!(run.code, Some(0), "{}", run.text);
}

#[test]
fn a_watchdog_that_is_quiet_old_or_silenced_fails() {
    fails(&["watchdog_fires"], "does not fire", |world| {
        world.watchdog_fires = false
    });
    fails(&["watchdog_seen"], "came 60 s ago", |world| {
        world.watchdog_age = 60.0
    });
    fails(&["watchdog_seen"], "silenced or held back", |world| {
        world.watchdog_state = "suppressed"
    });
}

#[test]
fn a_bridge_that_is_not_ready_or_in_trouble_fails() {
    fails(&["bridge_ready"], "answers 503", |world| {
        world.bridge_ready = 503
    });
    for (name, value, word) in [
        (
            "alertbridge_refused_targets",
            1.0,
            "refuses what it is sent",
        ),
        ("alertbridge_queue_writable", 0.0, "cannot be written"),
        ("alertbridge_orphaned_alerts", 2.0, "not configured"),
        (
            "alertbridge_config_last_reload_successful",
            0.0,
            "last reading",
        ),
        ("alertbridge_watchdog_missing", 1.0, "stayed away"),
    ] {
        fails(&["bridge_ready"], word, |world| {
            world.bridge_level = (name, value)
        });
    }
    // It is asked where it was named.
    let run = in_world(&["--alertbridge", "http://127.0.0.1:9"], |_| {});
    run.fails(
        "bridge_ready",
        "http://127.0.0.1:9/-/ready: connection refused",
    );
    run.fails("alert_delivered", "could not be read");
}

#[test]
fn an_alert_that_is_not_taken_or_suppressed_is_ended_all_the_same() {
    let run = in_world(&[], |world| world.takes = 400);
    run.fails("alert_active", "answers 400: \"refused\"");
    run.fails("alert_resolved", "by itself the alert ends at ");

    let hub = Hub::new();
    hub.world().alert_state = "suppressed";
    hub.world().silences = json!([{"id": "s1", "createdBy": "me", "comment": "quiet"}]);
    let run = verify(&hub, &[]);
    run.fails("alert_active", "suppressed by silence s1");
    for id in [
        "alert_routed",
        "alert_notified",
        "alert_delivered",
        "end_notified",
        "end_delivered",
    ] {
        run.of_check("SKIP", id);
    }
    run.of_check("PASS", "alert_resolved");
    assert!(hub.world().is_over());
}

#[test]
fn an_alert_that_alertmanager_does_not_have_or_goes_on_having_fails() {
    let run = in_world(&[], |world| world.has_alerts = false);
    run.fails("alert_active", "does not have it");
    let run = in_world(&[], |world| world.forgets_ends = true);
    run.fails(
        "alert_resolved",
        "still active; by itself the alert ends at ",
    );
}

#[test]
fn a_receiver_that_sends_nothing_anywhere_fails() {
    let run = in_world(&[], |world| {
        world.config = "route: {receiver: critical}\nreceivers: [{name: critical}]\n".to_owned();
    });
    run.fails("alert_routed", "no integration");
    run.of_check("SKIP", "alert_notified");
    run.of_check("PASS", "alert_resolved");
}

#[test]
fn a_notification_that_is_not_sent_or_fails_fails() {
    let run = fails(
        &["alert_notified", "alert_delivered"],
        "no request within 300ms",
        |world| world.notifies.0 = false,
    );
    run.of_check("SKIP", "end_notified");
    fails(
        &["alert_notified", "alert_delivered"],
        "2 requests failed, 0 were taken",
        |world| world.request_fails.0 = true,
    );
    fails(
        &["end_notified", "end_delivered"],
        "no request within 300ms",
        |world| world.notifies.1 = false,
    );
    fails(
        &["end_notified", "end_delivered"],
        "2 requests failed",
        |world| world.request_fails.1 = true,
    );
}

#[test]
fn what_the_bridge_does_not_get_deliver_or_is_refused_fails() {
    fails(
        &["alert_delivered"],
        "has not been sent an alert",
        |world| world.bridge_takes.0 = false,
    );
    // What waits goes on waiting, so the end does as well.
    fails(
        &["alert_delivered", "end_delivered"],
        "1 wait in the bridge",
        |world| world.bridge_delivers.0 = false,
    );
    fails(&["alert_delivered"], "log refused 1", |world| {
        world.bridge_refuses.0 = true
    });
    fails(&["end_delivered"], "1 wait in the bridge", |world| {
        world.bridge_delivers.1 = false
    });
    fails(&["end_delivered"], "log refused 1", |world| {
        world.bridge_refuses.1 = true
    });
}

#[test]
fn answers_of_another_shape_are_failures_and_no_panic() {
    for data in [
        json!([]),
        json!("x"),
        json!(7),
        json!({"groups": 1, "result": {}}),
        Value::Null,
    ] {
        for body in [
            json!({"status": "success", "data": data}),
            json!([data]),
            data,
        ] {
            let body = body.to_string();
            let fake =
                fake::Fake::start(move |_| (200, "application/json".to_owned(), body.clone()));
            let mut hub = Hub::new();
            hub.prometheus = fake;
            let run = verify(&hub, &["--retries", "0"]);
            assert_eq!(run.code, Some(1), "{}", run.text);
            run.of_check("FAIL", "prometheus_ready");
        }
    }
    // Prometheus by its version and time, and by nothing else; an Alertmanager by its version and configuration.
    let of_prometheus = |target: &str| match target {
        _ if target.contains("time") => json!({"result": [1, "1"]}),
        _ if target.contains("buildinfo") => json!({"version": "2"}),
        _ => json!([7]),
    };
    let mut hub = Hub::new();
    hub.prometheus = fake::Fake::start(move |target| {
        let body = json!({"status": "success", "data": of_prometheus(target)});
        (200, "application/json".to_owned(), body.to_string())
    });
    hub.alertmanager = fake::Fake::start(|target| {
        let status = json!({"versionInfo": {"version": "0"}, "config": {"original": ": ["}});
        let body = if target.ends_with("status") {
            status
        } else {
            json!({"a": [1]})
        };
        (200, "application/json".to_owned(), body.to_string())
    });
    let run = verify(&hub, &["--retries", "0"]);
    run.of_check("PASS", "prometheus_ready");
    run.of_check("PASS", "alertmanager_ready");
    run.fails("rules_healthy", "no groups of rules");
    run.fails("alert_active", "");
}

#[test]
fn labels_of_the_alert_are_those_that_were_given() {
    let hub = Hub::new();
    let flags = [
        "--alert-label",
        "severity=warning",
        "--alert-label",
        "desk=a",
    ];
    assert_eq!(verify(&hub, &flags).code, Some(0));
    let labels = hub.world().posted[0]["labels"].clone();
    assert_eq!(
        (&labels["severity"], &labels["desk"]),
        (&json!("warning"), &json!("a"))
    );
    let run = verify(&hub, &["--alert-label", "alertname=Watchdog"]);
    assert_eq!(run.code, Some(2), "{}", run.text);
}

#[test]
fn an_interrupt_while_the_alert_is_out_ends_it_and_fails() {
    for asked in [Signal::INT, Signal::TERM] {
        let hub = Hub::new();
        hub.world().notifies.0 = false;
        let mut child = command(&hub, &["--notify-within", "10m"]).spawn().unwrap();
        eventually("the alert is out", || {
            if hub.world().posted.is_empty() {
                Err("not yet".to_owned())
            } else {
                Ok(())
            }
        });
        signal(child.id(), asked);
        let lines: Vec<String> = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map(Result::unwrap)
            .collect();
        assert_eq!(child.wait().unwrap().code(), Some(1), "{lines:?}");
        assert!(hub.world().is_over(), "{:?}", hub.world().posted);
        assert!(
            lines
                .iter()
                .any(|line| line.starts_with("PASS|alert_resolved|")),
            "{lines:?}"
        );
        assert!(
            lines
                .iter()
                .any(|line| line.starts_with("FAIL|verdict|interrupted")),
            "{lines:?}"
        );
    }
}

#[test]
fn the_report_is_filed_without_secrets_of_addresses_and_says_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::new();
    {
        let mut world = hub.world();
        world.config.push_str("# s3cret\n");
        let error = "Get \"http://me:s3cret@node.invalid:1/metrics?access_token=s3cret\": refused";
        world.targets[4]["health"] = json!("down");
        world.targets[4]["lastError"] = json!(error);
        let address = hub.bridge.address.to_string();
        let mut other = target("node", &address);
        other["labels"]["instance"] = json!("other");
        other["scrapeUrl"] = json!("http://me:s3cret@other:1/metrics");
        world.targets.push(other);
        world.samples.push(1.0);
    }
    let evidence = folder.path().to_str().unwrap();
    let run = verify(&hub, &["--evidence", evidence]);
    run.fails(
        "targets_up",
        "http://[hidden]@node.invalid:1/metrics?access_token=[hidden]",
    );
    let report = run
        .lines
        .iter()
        .find_map(|line| line.strip_prefix("EVIDENCE|"))
        .unwrap();
    let report = std::path::Path::new(report).parent().unwrap();
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(report).unwrap() {
        let entry = entry.unwrap();
        let text = std::fs::read_to_string(entry.path()).unwrap();
        assert!(!text.contains("s3cret"), "{:?}: {text}", entry.path());
        names.insert(entry.file_name().into_string().unwrap());
    }
    for name in [
        "report.md",
        "report.json",
        "prometheus-rules.json",
        "prometheus-targets.json",
        "alertmanager-alert.json",
    ] {
        assert!(names.contains(name), "{names:?}");
    }
    let text = std::fs::read_to_string(report.join("report.md")).unwrap();
    assert!(
        text.starts_with("# Verification of the HUB: FAIL"),
        "{text}"
    );
    let object = std::fs::read(report.join("report.json")).unwrap();
    let object: Value = serde_json::from_slice(&object).unwrap();
    assert_eq!(object["result"], "fail");
    assert_eq!(
        object["prometheus"],
        format!("http://{}", hub.prometheus.address)
    );
    let ids: Vec<&str> = object["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, CHECKS);
}

#[test]
fn one_object_is_printed_for_programs_and_a_bad_flag_is_2() {
    let hub = Hub::new();
    let output = run(&mut command(&hub, &["--json"]));
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(object["result"], "pass");
    assert_eq!(output.status.code(), Some(0));
    for flags in [
        ["--prometheus", "http://me:word@127.0.0.1:1"],
        ["--alertmanager", "ftp://127.0.0.1"],
        ["--rules", "/nowhere/to/be/found.yml"],
        ["--notify-within", "soon"],
    ] {
        let run = verify(&hub, &flags);
        assert_eq!(run.code, Some(2), "{flags:?}: {}", run.text);
    }
}

/// Every check has its row, and no row is left over.
#[test]
fn the_documentation_has_a_row_for_each_check() {
    let page = include_str!("../../../docs/verification-hub.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let ids: Vec<&str> = rows.map(|row| row.split('`').next().unwrap()).collect();
    assert_eq!(ids, CHECKS);
}
