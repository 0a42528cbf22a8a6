//! A sentinel's page and health as they are when all is well, made of what it promises, and ways to spoil them.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "each test file uses its own part"
)]

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use metricsd::verify::inf::contract::{DEFECTS, FAMILIES, First, Promised, Values};
use metricsd_exporter::Kind;
use serde_json::{Value, json};

/// The stages of a dry run.
const STAGES: [&str; 4] = ["fetch", "features", "predict", "decide"];

pub fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock after 1970")
        .as_secs_f64()
}

/// What a sentinel shows that decided on a bar ten seconds ago.
#[derive(Debug, Clone, Copy)]
pub struct Sight {
    pub now: f64,
    pub uptime: f64,
    pub is_live: bool,
}

impl Sight {
    fn decided(&self) -> f64 {
        (self.now / 1000.0).floor() * 1000.0
    }

    pub fn page(&self) -> String {
        let mut promised: Vec<&Promised> = FAMILIES.iter().chain([&DEFECTS]).collect();
        promised.sort_by_key(|promised| promised.name);
        let mut page = String::new();
        for promised in promised {
            let (name, kind) = (promised.name, promised.kind.as_str());
            writeln!(page, "# HELP {name} x\n# TYPE {name} {kind}").expect("memory");
            let is_there = match promised.first {
                First::Start | First::Bar | First::StageSuccess => true,
                First::Heartbeat | First::ClockTold | First::HundredPredictions => self.is_live,
            };
            if promised.kind == Kind::Histogram {
                writeln!(page, "{name}_sum 0.0").expect("memory");
                for bound in promised.bounds {
                    let bound = match bound.is_finite() {
                        true => format!("{bound:?}"),
                        false => "+Inf".to_owned(),
                    };
                    writeln!(page, "{name}_bucket{{le=\"{bound}\"}} 0.0").expect("memory");
                }
                writeln!(page, "{name}_count 0.0").expect("memory");
            } else if is_there {
                for labels in series_of(promised) {
                    if let Some(value) = self.value(name, &labels) {
                        writeln!(page, "{name}{labels} {value:?}").expect("memory");
                    }
                }
            }
        }
        page
    }

    /// None where there is no such series.
    fn value(&self, name: &str, labels: &str) -> Option<f64> {
        let is_one = |words: &[&str]| Some(f64::from(words.iter().any(|it| labels.contains(it))));
        match name {
            "sentinel_daemon_uptime_seconds" => Some(self.uptime),
            "sentinel_last_cycle_timestamp_unix" => Some(self.now - 0.5),
            "sentinel_next_cycle_due_timestamp_seconds" => Some(self.now + 30.0),
            "sentinel_next_bar_due_timestamp_seconds" => {
                labels.contains("eodhd").then_some(self.now + 30.0)
            }
            "sentinel_last_bar_timestamp_seconds" => {
                labels.contains("eodhd").then_some(self.decided() - 120.0)
            }
            "sentinel_stage_last_success_timestamp_seconds" => {
                (!labels.contains("send")).then_some(self.decided())
            }
            "sentinel_gateway_last_heartbeat_timestamp_seconds" => Some(self.now - 1.0),
            "sentinel_clock_offset_seconds" => labels.contains("gateway").then_some(0.25),
            "sentinel_last_prediction_confidence" => Some(0.75),
            "sentinel_prediction_requests_total" => Some(5.0),
            "sentinel_prediction_failures_total" => Some(1.0),
            "sentinel_model_info" => labels.contains("embedded").then_some(1.0),
            "sentinel_build_info" => Some(1.0),
            "sentinel_trading_state" => is_one(&["\"active\""]),
            "sentinel_circuit_breaker_state" => is_one(&["\"closed\""]),
            _ => Some(0.0),
        }
    }

    pub fn health(&self) -> Value {
        let stages = STAGES
            .map(|stage| json!({"stage": stage, "last_success": self.decided(), "error": null}));
        let gateway = json!({
            "is_answering": true,
            "last_heartbeat": self.now - 1.0,
            "clock_offset_seconds": 0.25,
            "breaker": "closed",
        });
        json!({
            "status": "ok",
            "why": [],
            "last_cycle_age_seconds": 0.5,
            "trading_state": "active",
            "trading_state_reason": null,
            "mode": if self.is_live { "live" } else { "dry_run" },
            "model": "embedded",
            "stages": stages,
            "gateway": if self.is_live { gateway } else { Value::Null },
        })
    }
}

/// The labels of every series that a family may have, as they are written.
fn series_of(promised: &Promised) -> Vec<String> {
    let mut labels: Vec<(&str, Values)> = promised.labels.to_vec();
    labels.sort_by_key(|(name, _)| *name);
    let mut all = vec![String::new()];
    for (name, values) in labels {
        let values = match values {
            Values::OneOf(values) => values,
            Values::Text => &["text"],
        };
        all = all
            .iter()
            .flat_map(|some| {
                values.iter().map(move |value| match some.is_empty() {
                    true => format!("{name}=\"{value}\""),
                    false => format!("{some},{name}=\"{value}\""),
                })
            })
            .collect();
    }
    all.into_iter()
        .map(|labels| match labels.is_empty() {
            true => labels,
            false => format!("{{{labels}}}"),
        })
        .collect()
}

/// The page with another value of a series that is on it.
#[track_caller]
pub fn with(page: String, series: &str, value: f64) -> String {
    let begin = format!("{series} ");
    assert!(
        page.lines().any(|line| line.starts_with(&begin)),
        "no {series}"
    );
    page.lines()
        .map(|line| match line.starts_with(&begin) {
            true => format!("{series} {value:?}\n"),
            false => format!("{line}\n"),
        })
        .collect()
}

/// The page without the lines that begin so.
#[track_caller]
pub fn without(page: String, begin: &str) -> String {
    assert!(
        page.lines().any(|line| line.starts_with(begin)),
        "no {begin}"
    );
    let lines = page.lines().filter(|line| !line.starts_with(begin));
    lines.map(|line| format!("{line}\n")).collect()
}
