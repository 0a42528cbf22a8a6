//! `metricsd verify hub` with a real Prometheus, Alertmanager, bridge and metricsd, and robots that are as strict as DingTalk's: all of it passes,
//! each fault that is caused makes it fail, and when it is mended all of it passes again.

#[path = "../alerts_end_to_end/stage.rs"]
#[allow(dead_code, reason = "its stage is another test's")]
mod programs;
#[path = "../alerts_end_to_end/scale.rs"]
#[allow(dead_code, reason = "one of its paces is another test's")]
mod scale;
mod stage;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use xtask::child::{eventually, free_port};
use xtask::tools;

use crate::programs::{missing, start_alertmanager, start_bridge};
use crate::scale::Pace;
use crate::stage::{Hub, signal, start_metricsd};

const PATIENCE: Duration = Duration::from_secs(60);

/// What does not depend on the alert path.
const PROMETHEUS_SIDE: [&str; 5] = [
    "rules_loaded",
    "rules_healthy",
    "targets_up",
    "samples_arrive",
    "series_fresh",
];

#[test]
fn a_hub_in_order_passes_and_the_robot_is_told_of_begin_and_end() -> Result<()> {
    const NAME: &str = "a_hub_in_order_passes_and_the_robot_is_told_of_begin_and_end";
    if let Some(why) = missing() {
        tools::skip(NAME, why);
        return Ok(());
    }
    let hub = Hub::start()?;
    let evidence = hub.path("evidence").display().to_string();
    let verdict = hub.verify(&["--evidence", &evidence])?;
    verdict.passed()?;
    let told: Vec<String> = hub.robots[0]
        .1
        .delivered()
        .into_iter()
        .map(|it| it.text)
        .collect();
    for word in [
        "[FIRING] **HubVerification**",
        "[RESOLVED] **HubVerification**",
        "nothing is wrong",
    ] {
        ensure!(
            told.iter().any(|text| text.contains(word)),
            "no {word}: {told:?}"
        );
    }
    ensure!(hub.test_alerts()?.is_empty(), "{:?}", hub.test_alerts()?);
    let folder = PathBuf::from(verdict.report["evidence"].as_str().context("no folder")?);
    for name in [
        "report.md",
        "report.json",
        "prometheus-flags.json",
        "prometheus-rules.json",
        "prometheus-targets.json",
        "alertmanager-silences.json",
        "alertmanager-watchdog.json",
        "alertmanager-alert.json",
    ] {
        ensure!(
            fs::metadata(folder.join(name))?.len() > 0,
            "{name} is empty"
        );
    }
    Ok(())
}

#[test]
fn what_is_wrong_with_prometheus_its_rules_and_targets_is_found() -> Result<()> {
    const NAME: &str = "what_is_wrong_with_prometheus_its_rules_and_targets_is_found";
    if let Some(why) = missing() {
        tools::skip(NAME, why);
        return Ok(());
    }
    let mut hub = Hub::start()?;

    // A file of rules is left out.
    let was = hub.edit("prometheus.yml", |text| {
        text.replace("rules/*.rules.yml", "rules/[a-l]*.rules.yml")
    })?;
    hub.reload()?;
    let verdict = hub.verify(&[])?;
    verdict.failed(
        "rules_loaded",
        "the whole group meta.alerts: Watchdog, AlertmanagerDown",
    )?;
    verdict.failed("watchdog_fires", "does not fire")?;
    verdict.all(
        "pass",
        &[
            "prometheus_config",
            "rules_healthy",
            "targets_up",
            "alert_delivered",
            "end_delivered",
        ],
    )?;
    fs::write(hub.path("prometheus.yml"), was)?;
    hub.reload()?;

    // A file of rules that Prometheus refuses: what was loaded stays.
    fs::write(
        hub.path("rules/broken.rules.yml"),
        "groups: [{name: x, rules: [{alert: X, expr: 'up =='}]}]",
    )?;
    hub.reload()?;
    let verdict = hub.verify(&[])?;
    verdict.failed("prometheus_config", "failed")?;
    verdict.all("pass", &PROMETHEUS_SIDE)?;

    // A rule that it takes and that cannot be evaluated.
    fs::write(
        hub.path("rules/broken.rules.yml"),
        "groups: [{name: x, rules: [{alert: Ambiguous, expr: 'up + on () up'}]}]",
    )?;
    hub.reload()?;
    eventually(PATIENCE, "a first evaluation", || {
        let rules = xtask::scrape::get(hub.ports.prometheus, "/api/v1/rules")?;
        ensure!(rules.contains("\"health\":\"err\""), "not yet");
        Ok(())
    })?;
    let verdict = hub.verify(&[])?;
    verdict.failed("rules_healthy", "Ambiguous of x: ")?;
    verdict.all("pass", &["prometheus_config", "rules_loaded"])?;
    fs::remove_file(hub.path("rules/broken.rules.yml"))?;
    hub.reload()?;

    // metricsd hangs: its series stay for five minutes in what is asked, and are not fresh.
    signal(&hub.metricsd, Signal::STOP)?;
    eventually(PATIENCE, "scrapes that fail", || {
        let old = "time() - timestamp(metricsd_series) > 4 or absent(metricsd_series)";
        ensure!(
            !xtask::scrape::query(hub.ports.prometheus, old)?.is_empty(),
            "still fresh"
        );
        Ok(())
    })?;
    let verdict = hub.verify(&[])?;
    signal(&hub.metricsd, Signal::CONT)?;
    verdict.failed("targets_up", "peak_trade_metricsd at 127.0.0.1:")?;
    verdict.failed("samples_arrive", "a page without samples")?;
    verdict.failed("series_fresh", "metricsd_series")?;
    verdict.failed("counters_rise", "metricsd_collect_duration_seconds_count")?;
    verdict.all(
        "pass",
        &["prometheus_ready", "rules_loaded", "jobs_present"],
    )?;

    // It is killed.
    hub.metricsd.kill()?;
    eventually(PATIENCE, "a scrape that fails", || {
        let down = r#"up{job="peak_trade_metricsd"} == 0"#;
        ensure!(
            !xtask::scrape::query(hub.ports.prometheus, down)?.is_empty(),
            "still up"
        );
        Ok(())
    })?;
    hub.verify(&[])?
        .failed("targets_up", "connection refused")?;
    hub.metricsd = start_metricsd(&hub.folder, hub.ports.targets[0])?;

    // Prometheus hangs.
    signal(&hub.prometheus, Signal::STOP)?;
    let verdict = hub.verify(&[])?;
    signal(&hub.prometheus, Signal::CONT)?;
    verdict.failed("prometheus_ready", "no whole answer within 10s")?;
    verdict.all("skip", &PROMETHEUS_SIDE)?;
    verdict.all(
        "pass",
        &["alertmanager_ready", "alert_active", "alert_resolved"],
    )?;

    // All of it is mended.
    hub.settle()?;
    hub.verify(&[])?.passed()
}

#[test]
fn what_is_wrong_with_the_alert_path_is_found() -> Result<()> {
    const NAME: &str = "what_is_wrong_with_the_alert_path_is_found";
    if let Some(why) = missing() {
        tools::skip(NAME, why);
        return Ok(());
    }
    let mut hub = Hub::start()?;
    let amtool = tools::prometheus_program("amtool").context("no amtool")?;
    let amtool = |hub: &Hub, arguments: &[&str]| -> Result<String> {
        let url = format!(
            "--alertmanager.url=http://127.0.0.1:{}",
            hub.ports.alertmanager
        );
        let output = Command::new(&amtool).arg(url).args(arguments).output()?;
        ensure!(output.status.success(), "{output:?}");
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    };

    // A silence over the test alert.
    let silence = [
        "silence",
        "add",
        "--duration=1h",
        "--author=me",
        "--comment=forgotten",
    ];
    let id = amtool(&hub, &[&silence[..], &["severity=critical"]].concat())?;
    let verdict = hub.verify(&[])?;
    verdict.failed("silences", "forgotten")?;
    verdict.failed("alert_active", &format!("suppressed by silence {id}"))?;
    verdict.all(
        "skip",
        &[
            "alert_notified",
            "alert_delivered",
            "end_notified",
            "end_delivered",
        ],
    )?;
    verdict.all("pass", &["alert_resolved", "watchdog_seen"])?;
    amtool(&hub, &["silence", "expire", &id])?;
    // One whose pattern only Alertmanager can judge, and that hides the Watchdog too.
    let id = amtool(&hub, &[&silence[..], &["alertname=~[HW].+"]].concat())?;
    let verdict = hub.verify(&[])?;
    verdict.failed("watchdog_seen", "silenced or held back")?;
    verdict.failed("alert_active", &format!("suppressed by silence {id}"))?;
    verdict.all("pass", &["silences", "alert_resolved"])?;
    amtool(&hub, &["silence", "expire", &id])?;

    // Prometheus sends to another one.
    let other = free_port()?;
    fs::create_dir(hub.path("other"))?;
    fs::copy(
        hub.path("alertmanager.yml"),
        hub.path("other/alertmanager.yml"),
    )?;
    let another = start_alertmanager(&hub.path("other"), other)?;
    let ours = format!("127.0.0.1:{}", hub.ports.alertmanager);
    let theirs = format!("127.0.0.1:{other}");
    let was = hub.edit("prometheus.yml", |text| text.replacen(&ours, &theirs, 1))?;
    hub.reload()?;
    let verdict = hub.verify(&[])?;
    verdict.failed("alertmanager_known", "is another one")?;
    verdict.all(
        "pass",
        &[
            "watchdog_fires",
            "targets_up",
            "alert_delivered",
            "end_delivered",
        ],
    )?;
    // Alertmanager still has the Watchdog of before; it comes no more.
    eventually(PATIENCE, "an old Watchdog", || {
        hub.verify(&["--notify-within", "1s"])?
            .failed("watchdog_seen", "Watchdog")
    })?;
    fs::write(hub.path("prometheus.yml"), was)?;
    hub.reload()?;
    drop(another);

    // The bridge is killed.
    hub.bridge.kill()?;
    let verdict = hub.verify(&[])?;
    verdict.failed("bridge_ready", "connection refused")?;
    verdict.failed("alert_notified", "requests failed")?;
    verdict.failed("alert_delivered", "could not be read")?;
    verdict.all("pass", &["alert_active", "alert_routed", "alert_resolved"])?;
    hub.bridge = start_bridge(hub.folder.path(), Pace::Fast, hub.ports.bridge, &hub.robots)?;
    hub.settle()?;
    hub.verify(&[])?.passed()?;

    // Alertmanager is killed.
    hub.alertmanager.kill()?;
    let verdict = hub.verify(&[])?;
    verdict.failed("alertmanager_ready", "connection refused")?;
    verdict.all(
        "skip",
        &[
            "alertmanager_known",
            "watchdog_seen",
            "alert_active",
            "alert_resolved",
            "end_delivered",
        ],
    )?;
    hub.alertmanager = start_alertmanager(hub.folder.path(), hub.ports.alertmanager)?;
    hub.settle()?;
    hub.verify(&[])?.passed()?;

    // The robot refuses: somebody changed its secret.
    hub.robots[0]
        .1
        .change(|robot| robot.secret = Some("SECanother".to_owned()));
    let verdict = hub.verify(&[])?;
    verdict.failed("alert_delivered", "dingtalk refused")?;
    verdict.all(
        "pass",
        &["bridge_ready", "alert_notified", "alert_resolved"],
    )?;
    // From now on the bridge knows.
    let verdict = hub.verify(&[])?;
    verdict.failed("bridge_ready", "refuses what it is sent")
}

#[test]
fn no_way_out_leaves_the_test_alert_behind() -> Result<()> {
    const NAME: &str = "no_way_out_leaves_the_test_alert_behind";
    if let Some(why) = missing() {
        tools::skip(NAME, why);
        return Ok(());
    }
    let hub = Hub::start()?;
    // Nothing is answered, so that the verification waits.
    signal(&hub.bridge, Signal::STOP)?;
    let flags = [
        "--notify-within",
        "2m",
        "--alertbridge",
        "http://127.0.0.1:9",
    ];
    for asked in [Signal::INT, Signal::TERM, Signal::KILL] {
        let mut verification = hub.begin(&flags)?;
        eventually(PATIENCE, "the test alert", || {
            ensure!(!hub.test_alerts()?.is_empty(), "not yet");
            Ok(())
        })?;
        signal(&verification, asked)?;
        let status = verification.wait(PATIENCE)?;
        let alerts = hub.test_alerts()?;
        if asked == Signal::KILL {
            // Nobody could end it: it carries its own end.
            let end = alerts[0]["endsAt"].as_str().context("no end")?;
            let end: jiff::Timestamp = end.parse()?;
            let left = end.duration_since(jiff::Timestamp::now()).as_secs();
            ensure!((1..900).contains(&left), "it ends {left} s ahead");
        } else {
            ensure!(
                status.code() == Some(1),
                "{status}: {}",
                verification.output()
            );
            ensure!(alerts.is_empty(), "{alerts:?}");
        }
    }
    Ok(())
}
