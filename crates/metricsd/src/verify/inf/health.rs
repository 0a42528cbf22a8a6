//! `/health`: it answers, it says ok, and it says what the metrics say.
//!
//! Invariant: that the health is ok proves nothing by itself; each sentence of it that a metric can contradict is held against that metric.
//! The two are not read at one moment, so a contradiction counts only if it stays.

use super::freshness::{NEXT_BAR, NEXT_CYCLE};
use super::reading::{Health, Samples, Status, label_of};
use super::{AGREEMENT, Inspection, ids};
use crate::verify::evidence::Finding;
use crate::verify::page::named;
use crate::verify::record::{Book, Retry};

/// The stages that a health has, in their order.
const STAGES: [&str; 4] = ["fetch", "features", "predict", "decide"];

/// What a cycle's age may differ by in health and metrics: both are computed at their own moment.
const AGE_SLACK_SECONDS: f64 = 2.0;

/// Times that are the same to the microsecond are the same.
const SAME_SECONDS: f64 = 1e-3;

impl Inspection<'_> {
    pub(super) fn health_answers(&self, book: &mut Book<'_>) {
        let title =
            "/health answers with JSON of a sentinel, and with the status code of what it says";
        book.step_with(ids::HEALTH_ANSWERS, title, self.retry, |probe| {
            let (health, answer) = match self.health(probe) {
                Ok(answered) => answered,
                Err(finding) => return finding,
            };
            probe.file("health.json", &answer.body);
            let wanted = if health.status == Status::Stalled {
                503
            } else {
                200
            };
            let stages: Vec<&str> = health.stages.iter().map(|it| it.stage.as_str()).collect();
            let faults: Vec<String> = [
                (answer.status != wanted).then(|| {
                    format!(
                        "{} with status code {}, expected {wanted}",
                        health.status, answer.status
                    )
                }),
                (!answer.content_type.starts_with("application/json")).then(|| {
                    format!(
                        "content type {:?}, expected application/json",
                        answer.content_type
                    )
                }),
                (stages != STAGES).then(|| format!("the stages {stages:?}, expected {STAGES:?}")),
            ]
            .into_iter()
            .flatten()
            .collect();
            if faults.is_empty() {
                Finding::pass(format!("{}, {} bytes", health.status, answer.body.len()))
            } else {
                Finding::fail(
                    named(&faults),
                    "ask the sentinel itself, without a proxy that answers for it",
                )
            }
        });
    }

    pub(super) fn health_ok(&mut self, book: &mut Book<'_>) {
        let title = "/health says ok";
        let ended = book.step_with(ids::HEALTH_OK, title, self.retry, |probe| {
            match self.health(probe) {
                Ok((health, _)) if health.status == Status::Ok => {
                    Finding::pass(format!("ok, {}, model {}", health.mode, health.model))
                }
                Ok((health, _)) => Finding::fail(
                    format!("{}: {}", health.status, health.why.join("; ")),
                    "do what the reasons say; `/health` of the sentinel in docs/metrics.md tells what each means",
                ),
                Err(finding) => finding,
            }
        });
        self.has_waited(ended);
    }

    pub(super) fn health_truthful(&self, book: &mut Book<'_>) {
        let title = "/health says what the metrics say";
        let grace = self.args.bar_grace.as_secs_f64();
        // However impatient: once is a race.
        let retry = Retry {
            count: self.retry.count.max(AGREEMENT.count),
            ..AGREEMENT
        };
        book.step_with(ids::HEALTH_TRUTHFUL, title, retry, |probe| {
            let page = match self.samples(&["sentinel_"], probe) {
                Ok(page) => page,
                Err(finding) => return finding,
            };
            let health = match self.health(probe) {
                Ok((health, _)) => health,
                Err(finding) => return finding,
            };
            let found = contradictions(&health, &page, grace);
            if found.is_empty() {
                Finding::pass(format!(
                    "{}, and no metric contradicts it",
                    health.status
                ))
            } else {
                Finding::fail(
                    named(&found),
                    "believe the metrics; if it is about a bar, market.stale_after of the sentinel is longer than --bar-grace, else report this as a defect of the sentinel, with the report",
                )
            }
        });
    }
}

/// What in a health cannot be true by the metrics.
pub(super) fn contradictions(health: &Health, page: &Samples, bar_grace: f64) -> Vec<String> {
    let mut found = Vec::new();
    if health.status == Status::Ok {
        let by_metrics = troubles(page, bar_grace).into_iter();
        found.extend(by_metrics.map(|trouble| format!("it says ok, and {trouble}")));
        found.extend(health_troubles(health).map(|trouble| format!("it says ok, and {trouble}")));
    } else if health.why.is_empty() {
        found.push(format!("it says {} and no reason", health.status));
    }
    let is_overdue = page
        .value(NEXT_CYCLE, &[])
        .is_some_and(|due| page.time.now > due);
    if health.status == Status::Stalled && health.last_cycle_age_seconds.is_some() && !is_overdue {
        found.push("it says stalled, and the next cycle is not overdue".to_owned());
    }
    found.extend(differences(health, page));
    found
}

/// What in a health itself does not go with ok.
fn health_troubles(health: &Health) -> impl Iterator<Item = String> {
    let why = health.why.iter().cloned();
    let failed = health.stages.iter().filter(|stage| stage.error.is_some());
    let never = health
        .stages
        .iter()
        .filter(|it| it.last_success.is_none() && it.stage == "predict");
    let halted =
        (health.trading_state != "active").then(|| format!("trading is {}", health.trading_state));
    let gateway = health.gateway.iter();
    let silent = gateway.clone().filter(|gateway| !gateway.is_answering);
    let open = gateway.filter(|gateway| gateway.breaker != "closed");
    why.chain(failed.map(|stage| format!("the last {} failed", stage.stage)))
        .chain(never.map(|stage| format!("there was no {} yet", stage.stage)))
        .chain(halted)
        .chain(silent.map(|_| "the gateway does not answer".to_owned()))
        .chain(
            open.map(|gateway| {
                format!("the breaker in front of the gateway is {}", gateway.breaker)
            }),
        )
        .collect::<Vec<_>>()
        .into_iter()
}

/// What by the metrics does not go with ok.
pub(super) fn troubles(page: &Samples, bar_grace: f64) -> Vec<String> {
    let mut found = Vec::new();
    let now = page.time.now;
    if let Some(due) = page.value(NEXT_CYCLE, &[])
        && now > due
    {
        found.push(format!("the cycle is overdue by {:.0} s", now - due));
    }
    for series in page.series(NEXT_BAR) {
        let due = super::reading::number(&series.value).unwrap_or(f64::NAN);
        if now > due + bar_grace {
            found.push(format!("the next bar is overdue by {:.0} s", now - due));
        }
    }
    found.extend(prediction_trouble(page));
    for series in page.series("sentinel_circuit_breaker_state") {
        let endpoint = label_of(series, "endpoint").unwrap_or_default();
        let is_open = label_of(series, "state") == Some("open")
            && super::reading::number(&series.value) == Some(1.0);
        if is_open {
            found.push(format!(
                "the circuit breaker in front of {endpoint} is open"
            ));
        }
    }
    for state in ["reducing", "halted"] {
        if page.value("sentinel_trading_state", &[("state", state)]) == Some(1.0) {
            found.push(format!("trading is {state}"));
        }
    }
    found
}

/// Why predictions do not come; none while they do.
pub(super) fn prediction_trouble(page: &Samples) -> Option<String> {
    let requests = page.sum("sentinel_prediction_requests_total");
    let failures = page.sum("sentinel_prediction_failures_total");
    if requests == 0.0 {
        return Some("no prediction was asked for yet".to_owned());
    }
    if failures >= requests {
        return Some(format!("each of {requests} predictions failed"));
    }
    let of = |stage| {
        page.value(
            "sentinel_stage_last_success_timestamp_seconds",
            &[("stage", stage)],
        )
    };
    match (of("features"), of("predict")) {
        (Some(features), Some(predict)) if predict < features => Some(format!(
            "the last prediction is {:.1} s older than the features that it should be of ({failures} of {requests} failed)",
            features - predict
        )),
        (Some(_), None) => Some("there was no usable prediction yet".to_owned()),
        _ => None,
    }
}

/// Where health and metrics say the same thing, and differ.
fn differences(health: &Health, page: &Samples) -> Vec<String> {
    let mut found = Vec::new();
    let state = health.trading_state.as_str();
    if page.value("sentinel_trading_state", &[("state", state)]) != Some(1.0) {
        found.push(format!(
            "it says that trading is {state}, and the metrics do not"
        ));
    }
    for stage in STAGES {
        let metric = page.value(
            "sentinel_stage_last_success_timestamp_seconds",
            &[("stage", stage)],
        );
        let is_same = match (health.last_success(stage), metric) {
            (Some(one), Some(other)) => (one - other).abs() < SAME_SECONDS,
            (one, other) => one == other,
        };
        if !is_same {
            found.push(format!(
                "by it {stage} last worked at {:?}, by the metrics at {metric:?}",
                health.last_success(stage)
            ));
        }
    }
    let origins: Vec<&str> = page
        .series("sentinel_model_info")
        .iter()
        .filter_map(|series| label_of(series, "origin"))
        .collect();
    if origins != [health.model.as_str()] {
        found.push(format!(
            "by it {} predicts, by the metrics {origins:?}",
            health.model
        ));
    }
    let last_cycle = page.value("sentinel_last_cycle_timestamp_unix", &[]);
    if let (Some(age), Some(at)) = (health.last_cycle_age_seconds, last_cycle)
        && (page.time.now - at - age).abs() > AGE_SLACK_SECONDS
    {
        found.push(format!(
            "by it the last cycle was {age:.0} s ago, by the metrics {:.0} s",
            page.time.now - at
        ));
    }
    found
}
