//! Every query of every panel on a real Prometheus that scrapes everything: it succeeds, and gives data unless it is named below.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use xtask::child::eventually;
use xtask::scrape::query;
use xtask::{tools, workspace};

use crate::stage::{self, Stage};
use crate::{BOARDS, at, board, items, panels};

/// Panels that rightly show nothing in this run, and why. Each of their queries has to succeed all the same.
const NO_DATA: [(&str, &str); 7] = [
    (WAITING, "the log takes every alert at once"),
    (
        "Clock, less another machine's",
        "no hub and no gateway tells its time",
    ),
    (
        "Drift",
        "it takes a hundred predictions, and a bar comes once a minute",
    ),
    ("Rejected, share", "a dry run sends no order"),
    ("Time to the reply", "a dry run sends no order"),
    ("Slippage", "a dry run sends no order"),
    ("Since the gateway's heartbeat", "a dry run has no gateway"),
];
/// An alert may be caught in the instant in which it waits; of all others that are named, data are an error.
const WAITING: &str = "Oldest waiting alert";

/// Seconds of data that the queries look at, of one sample each.
const SPAN: f64 = 40.0;

#[test]
fn every_query_gives_data_or_is_named_as_one_that_has_none() -> Result<()> {
    if let Some(why) = stage::missing() {
        let name = "every_query_gives_data_or_is_named_as_one_that_has_none";
        tools::skip(name, why);
        return Ok(());
    }
    let begin = now();
    let stage = Stage::start()?;
    let port = stage.prometheus;
    for (what, condition) in [
        ("all five targets", "count(up == 1) == 5"),
        (
            "seconds of data",
            "count_over_time(up{job=\"prometheus\"}[5m]) >= 40",
        ),
        ("orders", "sum(shadow_session_orders_total) > 0"),
        (
            "a message that was delivered",
            "rate(alertbridge_delivery_delay_seconds_count[1m]) > 0",
        ),
        // Last: a bar closes once a minute, and what it moved is in the data that are looked at only for a while.
        (
            "a prediction",
            "increase(sentinel_prediction_latency_seconds_count[30s]) > 0",
        ),
    ] {
        eventually(Duration::from_secs(90), what, || {
            ensure!(!query(port, condition)?.is_empty(), "{condition} is not so");
            Ok(())
        })?;
    }
    let mut wrong = Vec::new();
    let mut asked = 0;
    for name in BOARDS {
        let board = board(name)?;
        for panel in panels(&board) {
            for (number, target) in items(&panel["targets"]).iter().enumerate() {
                asked += 1;
                let title = at(panel, "title");
                let why_none = NO_DATA.iter().find(|(panel, _)| *panel == title);
                match (has_data(port, target), why_none) {
                    (Ok(true), None) | (Ok(false), Some(_)) => {}
                    (Ok(true), Some((panel, _))) if *panel == WAITING => {}
                    (Ok(true), Some((_, why))) => {
                        wrong.push(format!("{name}, {title}, {number}: has data, though {why}"));
                    }
                    (Ok(false), None) => wrong.push(format!(
                        "{name}, {title}, {number}: no data from {}",
                        at(target, "expr")
                    )),
                    (Err(error), _) => wrong.push(format!("{name}, {title}: {error:#}")),
                }
            }
        }
        for variable in ["job", "instance"] {
            let text = items(&board["templating"]["list"])
                .iter()
                .find(|found| at(found, "name") == variable)
                .map(|found| at(&found["query"], "query"))
                .context("a variable")?;
            let series = text
                .trim_start_matches("label_values(")
                .rsplit_once(',')
                .context("label_values of a series")?
                .0;
            let found = query(port, &substituted(series))?;
            ensure!(!found.is_empty(), "{name}: no {variable} from {series}");
        }
    }
    ensure!(
        wrong.is_empty(),
        "of {asked} queries:\n{}",
        wrong.join("\n")
    );
    ensure!(
        has_data(port, &serde_json::json!({"expr": "sum by ("})).is_err(),
        "what is no PromQL passes"
    );
    pictures(port, begin)
}

/// With `METRICSD_WRITE_DOCS=1`, pictures of the boards are made from what there is now.
fn pictures(port: u16, begin: f64) -> Result<()> {
    if std::env::var_os("METRICSD_WRITE_DOCS").is_none() {
        return Ok(());
    }
    workspace::run(
        std::process::Command::new("python3")
            .arg(workspace::root().join("ops/grafana/preview.py"))
            .args(["--prometheus", &format!("http://127.0.0.1:{port}")])
            .args(["--rate-interval", "15s"])
            .args(["--seconds", &format!("{:.0}", now() - begin)])
            .arg("--out")
            .arg(workspace::root().join("docs/pictures")),
    )
}

/// As Grafana does, with everything chosen and a scrape a second.
fn substituted(expression: &str) -> String {
    expression
        .replace("$__rate_interval", "15s")
        .replace("$__range", "5m")
        .replace("$job", ".+")
        .replace("$instance", ".+")
}

/// Whether a query has at least one number, over the time shown or now, as its panel asks.
fn has_data(port: u16, target: &Value) -> Result<bool> {
    let expression = substituted(at(target, "expr"));
    if target["instant"] == Value::Bool(true) {
        let found = query(port, &expression)?;
        return Ok(found.iter().any(|(_, value)| value.is_finite()));
    }
    let end = now();
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(10)))
        .proxy(None)
        .build()
        .into();
    let body = agent
        .get(&format!("http://127.0.0.1:{port}/api/v1/query_range"))
        .query("query", &expression)
        .query("start", format!("{:.3}", end - SPAN))
        .query("end", format!("{end:.3}"))
        .query("step", "1")
        .call()
        .with_context(|| format!("Prometheus refuses {expression}"))?
        .body_mut()
        .read_to_string()?;
    let answer: Value = serde_json::from_str(&body)?;
    ensure!(answer["status"] == "success", "{expression} gave {body}");
    let series = items(&answer["data"]["result"]);
    Ok(series
        .iter()
        .flat_map(|series| items(&series["values"]))
        .any(|pair| {
            let number = pair[1].as_str().and_then(|text| text.parse::<f64>().ok());
            number.is_some_and(f64::is_finite)
        }))
}

fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}
