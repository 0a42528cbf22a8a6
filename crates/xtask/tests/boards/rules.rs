//! What every board has to keep: the rules of Grafana's dashboard linter that apply to Prometheus, and those of this project about absence,
//! names, runbooks and thresholds. Each broken one is a sentence that begins with the panel.

use std::collections::BTreeSet;
use std::fs;

use anyhow::Result;
use serde_json::Value;
use xtask::{rules, workspace};

use crate::selectors::{Selector, selectors};
use crate::{at, items, panels};

/// Units of Grafana that the boards use.
const UNITS: [&str; 7] = [
    "none",
    "short",
    "s",
    "ops",
    "bytes",
    "percentunit",
    "suffix: bp",
];
/// What Prometheus makes by itself or exposes of itself and of Alertmanager, and no page of ours describes.
const OF_OTHERS: [&str; 9] = [
    "up",
    "ALERTS",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "prometheus_notifications_sent_total",
    "prometheus_notifications_dropped_total",
    "prometheus_rule_evaluation_failures_total",
    "alertmanager_notifications_total",
    "alertmanager_notifications_failed_total",
];
/// Thresholds of panels and the alert whose expression has the number.
const THRESHOLDS: [(&str, &str, f64); 12] = [
    ("Limits of sessions", "SessionRiskLimitNear", 0.8),
    ("Limits of sessions", "SessionRiskLimitReached", 1.0),
    ("Limits of the sentinel", "SentinelRiskLimitNear", 0.8),
    ("Drawdown of sessions", "SessionDrawdown", 0.05),
    ("Drawdown of sessions", "SessionDrawdownDeep", 0.1),
    ("Next cycle in", "SentinelCycleStalled", -30.0),
    ("Next bar in", "SentinelMarketDataStale", -120.0),
    ("Next candle in", "SessionCandleOverdue", -60.0),
    ("Time of a prediction", "SentinelPredictionSlow", 0.8),
    ("Drift", "SentinelPredictionDrift", 0.25),
    ("Since the gateway's heartbeat", "SentinelGatewayLost", 60.0),
    ("Oldest waiting alert", "AlertbridgeQueueOld", 300.0),
];

/// Changes to the text of the board `operations`, each of which breaks a rule, and what is said then.
pub(crate) const MUTATIONS: [(&str, &str, &str); 15] = [
    (r#""editable": false"#, r#""editable": true"#, "editable"),
    (r#""noValue""#, r#""no""#, "noValue"),
    (r#""unit": "none""#, r#""unit": "nothing""#, "unit"),
    (
        r#""description": "Whether"#,
        r#""about": "Whether"#,
        "description",
    ),
    (r#""title": "Targets""#, r#""title": """#, "title"),
    (r#"up{job=~\"$job\", "#, "up{", "job"),
    (r#", instance=~\"$instance\"}"#, "}", "instance"),
    ("$__rate_interval", "5m", "$__rate_interval"),
    ("(rate(", "(last_over_time(", "counter"),
    ("metricsd_ready", "metricsd_reddy", "metricsd_reddy"),
    ("/MetricsdNotReady", "/MetricsdReady", "MetricsdReady"),
    (r#""allValue": ".+""#, r#""allValue": "x""#, "allValue"),
    (r#""${datasource}""#, r#""P1""#, "data source"),
    (
        r#"metricsd_ready{job=~\"$job\", instance=~\"$instance\"}"#,
        r#"metricsd_ready{job=~\"$job\", instance=~\"$instance\"} or vector(0)"#,
        "vector(0)",
    ),
    (r#""spanNulls": false"#, r#""spanNulls": true"#, "spanNulls"),
];

/// What exists.
pub(crate) struct Known {
    metrics: BTreeSet<String>,
    counters: BTreeSet<String>,
    alerts: Vec<(String, String)>,
}

impl Known {
    /// Reads `docs/metrics.md` and the rules.
    pub(crate) fn read() -> Result<Known> {
        let page = fs::read_to_string(workspace::root().join("docs/metrics.md"))?;
        let (mut metrics, mut counters) = (BTreeSet::new(), BTreeSet::new());
        for line in page.lines() {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let [_, name, kind @ ("counter" | "gauge" | "histogram"), ..] = cells.as_slice() else {
                continue;
            };
            let name = name.trim_matches('`');
            match *kind {
                "counter" => _ = counters.insert(name.to_owned()),
                "histogram" => {
                    for part in ["_bucket", "_sum", "_count"] {
                        counters.insert(format!("{name}{part}"));
                    }
                }
                _ => _ = metrics.insert(name.to_owned()),
            }
        }
        for name in OF_OTHERS {
            let kind = if name.ends_with("_total") {
                &mut counters
            } else {
                &mut metrics
            };
            kind.insert(name.to_owned());
        }
        for file in rules::files()? {
            let text = rules::text(&file)?;
            let recorded = text
                .lines()
                .filter_map(|line| line.trim().strip_prefix("- record: "));
            metrics.extend(recorded.map(str::to_owned));
        }
        let alerts = rules::alerts()?.into_iter();
        Ok(Known {
            metrics,
            counters,
            alerts: alerts.map(|alert| (alert.name, alert.condition)).collect(),
        })
    }
}

/// Every rule that a board breaks; none if it is as it should be.
pub(crate) fn broken(board: &Value, known: &Known) -> Vec<String> {
    let mut said = of_the_board(board);
    let mut ids = BTreeSet::new();
    for panel in items(&board["panels"]) {
        if !ids.insert(panel["id"].as_u64()) {
            said.push(format!("{}: its id is not its own", at(panel, "title")));
        }
    }
    for panel in panels(board) {
        let title = at(panel, "title");
        let mut say = |what: String| said.push(format!("{title}: {what}"));
        of_a_panel(panel, &mut say);
        if items(&panel["targets"]).is_empty() {
            say("no query".to_owned());
        }
        for target in items(&panel["targets"]) {
            of_a_query(target, known, &mut say);
        }
        for (of, alert, number) in THRESHOLDS {
            if of == title {
                threshold(panel, alert, number, known, &mut say);
            }
        }
    }
    said
}

fn of_the_board(board: &Value) -> Vec<String> {
    let mut said = Vec::new();
    if board["editable"] != Value::Bool(false) {
        said.push("the board is editable".to_owned());
    }
    if !at(board, "uid").starts_with("metricsd-") {
        said.push("the uid does not begin with metricsd-".to_owned());
    }
    let variables = items(&board["templating"]["list"]);
    let variable = |name: &str| {
        variables
            .iter()
            .find(|variable| at(variable, "name") == name)
    };
    match variable("datasource") {
        Some(source) if source["type"] == "datasource" && source["query"] == "prometheus" => {}
        _ => said.push("no variable for the data source".to_owned()),
    }
    for (name, label) in [("job", "Job"), ("instance", "Instance")] {
        let Some(found) = variable(name) else {
            said.push(format!("no variable {name}"));
            continue;
        };
        for (key, wanted) in [
            ("type", Value::from("query")),
            ("label", label.into()),
            ("allValue", ".+".into()),
            ("refresh", 2.into()),
            ("multi", true.into()),
            ("includeAll", true.into()),
        ] {
            if found[key] != wanted {
                said.push(format!(
                    "the variable {name} has another {key} than {wanted}"
                ));
            }
        }
        if found["datasource"]["uid"] != "${datasource}" {
            said.push(format!("the variable {name} has a data source of its own"));
        }
    }
    said
}

fn of_a_panel(panel: &Value, say: &mut impl FnMut(String)) {
    let defaults = &panel["fieldConfig"]["defaults"];
    if at(panel, "title").is_empty() {
        say("no title".to_owned());
    }
    if at(panel, "description").len() < 10 {
        say("no description".to_owned());
    }
    if !UNITS.contains(&at(defaults, "unit")) {
        say(format!("the unit '{}' is unknown", at(defaults, "unit")));
    }
    // A number would be taken for a measurement.
    if at(defaults, "noValue").parse::<f64>().is_ok() || at(defaults, "noValue").len() < 4 {
        say("noValue does not say what no data means".to_owned());
    }
    if panel["type"] == "timeseries" && defaults["custom"]["spanNulls"] != Value::Bool(false) {
        say("spanNulls joins what is before a gap with what is after it".to_owned());
    }
    if panel["datasource"]["uid"] != "${datasource}" {
        say("it has a data source of its own".to_owned());
    }
    for link in items(&panel["links"]) {
        let name = at(link, "url").strip_prefix("${runbooks}/").unwrap_or("");
        let page = workspace::root().join(format!("docs/runbooks/{name}.md"));
        if name.is_empty() || !page.is_file() {
            say(format!("there is no runbook at {}", at(link, "url")));
        }
    }
}

fn of_a_query(target: &Value, known: &Known, say: &mut impl FnMut(String)) {
    let expression = at(target, "expr");
    if target["datasource"]["uid"] != "${datasource}" {
        say("a query has a data source of its own".to_owned());
    }
    if expression.contains("vector(0)") {
        say("vector(0) makes a number of no data".to_owned());
    }
    let found = selectors(expression);
    if found.is_empty() {
        say(format!("no metric in '{expression}'"));
    }
    for selector in found {
        of_a_selector(
            &selector,
            target["instant"] == Value::Bool(true),
            known,
            say,
        );
    }
}

fn of_a_selector(
    selector: &Selector,
    is_instant: bool,
    known: &Known,
    say: &mut impl FnMut(String),
) {
    let name = &selector.name;
    for matcher in [r#"job=~"$job""#, r#"instance=~"$instance""#] {
        // An alert about a target that is gone has no instance: asked for one, it would not be shown.
        if name != "ALERTS" && !selector.matchers.contains(matcher) {
            say(format!("{name} is asked without {matcher}"));
        }
    }
    let is_counter = known.counters.contains(name);
    if !is_counter && !known.metrics.contains(name) {
        say(format!("nothing exposes {name}"));
    }
    let is_rate = matches!(selector.within.as_str(), "rate" | "increase");
    if is_counter != is_rate {
        say(format!(
            "{name} is{} a counter, within '{}'",
            if is_counter { "" } else { " not" },
            selector.within
        ));
    }
    match selector.range.as_deref() {
        None | Some("$__rate_interval") => {}
        // A count of the time shown, as one number.
        Some("$__range") if is_instant && selector.within == "increase" => {}
        Some(other) => say(format!(
            "{name} has the range {other}, not $__rate_interval"
        )),
    }
}

/// Whether a panel has the number, and the alert has it too.
fn threshold(panel: &Value, alert: &str, number: f64, known: &Known, say: &mut impl FnMut(String)) {
    let steps = items(&panel["fieldConfig"]["defaults"]["thresholds"]["steps"]);
    if !steps
        .iter()
        .any(|step| step["value"].as_f64() == Some(number))
    {
        say(format!("no threshold at {number}, as {alert} has it"));
    }
    let expression = known.alerts.iter().find(|(name, _)| name == alert);
    let wanted = number.abs().to_string();
    let has = expression.is_some_and(|(_, expression)| {
        let mut words = expression.split(|c: char| c.is_whitespace() || c == '(' || c == ')');
        words.any(|word| word == wanted)
    });
    if !has {
        say(format!("{alert} has no {wanted}"));
    }
}
