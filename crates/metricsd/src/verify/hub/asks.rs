//! What Prometheus and Alertmanager are asked, and what an answer has to be.
//!
//! Invariant: an answer that is no answer of the program that was meant is a failed check that says so; what did not come in time is not
//! asked again. What comes from outside goes into sentences without users and tokens of addresses.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::{Check, Hub};
use crate::verify::evidence::{Ended, Finding, redact_addresses};
use crate::verify::http::{Answer, NOT_IN_TIME};
use crate::verify::record::{Book, Probe, Retry};

/// What to do when Prometheus does not answer as it should.
const NO_PROMETHEUS: &str = "start Prometheus, or name its own address with --prometheus http://HOST:9090; its log says what keeps it";
/// The same for Alertmanager.
const NO_ALERTMANAGER: &str = "start Alertmanager, or name its own address with --alertmanager http://HOST:9093; its log says what keeps it";

/// Labels and value of a series.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) value: f64,
}

impl Sample {
    pub(super) fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// Makes a step, or says which earlier one it would have needed.
pub(super) fn step(
    book: &mut Book<'_>,
    check: Check,
    retry: Retry,
    mut attempt: impl FnMut(&mut Probe) -> Result<Finding, Finding>,
) -> Ended {
    if let Some(missing) = check.missing {
        return book.step(check.id, check.title, |_| {
            Finding::skip(
                format!("not looked at, since {missing} did not pass"),
                format!("do what {missing} says, then verify again"),
            )
        });
    }
    book.step_with(check.id, check.title, retry, |probe| {
        let finding = attempt(probe).unwrap_or_else(|finding| finding);
        Finding {
            ended: finding.ended,
            text: redact_addresses(&finding.text).into_owned(),
            next: finding.next,
        }
    })
}

impl Hub<'_> {
    /// `data` of an answer of Prometheus' API; the whole answer is filed if it has a name.
    pub(super) fn prometheus(
        &self,
        path: &str,
        query: &[(&str, &str)],
        file: Option<&str>,
        probe: &mut Probe,
    ) -> Result<Value, Finding> {
        let url = format!("{}/api/v1/{path}", self.args.prometheus);
        let answer = self.client.get(&url, query, probe);
        let answer = in_time(answer, &url, NO_PROMETHEUS, probe)?;
        keep_whole(file, &answer, probe);
        let mut object = json(&answer, &url, NO_PROMETHEUS)?;
        if answer.status != 200 || object["status"] != "success" {
            let why = object["error"].as_str().unwrap_or("no Prometheus' answer");
            return Err(Finding::fail(
                format!("{url} answers {}: {why}", answer.status),
                NO_PROMETHEUS,
            ));
        }
        Ok(object["data"].take())
    }

    /// The series of an instant query.
    pub(super) fn vector(&self, query: &str, probe: &mut Probe) -> Result<Vec<Sample>, Finding> {
        let data = self.prometheus("query", &[("query", query)], None, probe)?;
        let bad = || Finding::fail(format!("{query} gave no vector"), NO_PROMETHEUS);
        let rows = data["result"].as_array().ok_or_else(bad)?;
        let samples = rows.iter().map(|row| {
            let labels = row["metric"].as_object()?;
            let labels = labels
                .iter()
                .map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
            Some(Sample {
                labels: labels.collect::<Option<_>>()?,
                value: row["value"][1].as_str()?.parse().ok()?,
            })
        });
        samples.collect::<Option<_>>().ok_or_else(bad)
    }

    /// An answer of Alertmanager, of which `shown` says what is written down.
    pub(super) fn alertmanager_at(
        &self,
        base: &str,
        path: &str,
        query: &[(&str, &str)],
        probe: &mut Probe,
        shown: impl FnOnce(&Answer) -> String,
    ) -> Result<(Value, Answer), Finding> {
        let url = format!("{base}/api/v2/{path}");
        let answer = self.client.get_shown(&url, query, probe, shown);
        let answer = in_time(answer, &url, NO_ALERTMANAGER, probe)?;
        let object = json(&answer, &url, NO_ALERTMANAGER)?;
        Ok((object, answer))
    }

    /// The same of the one that was named, written down as it came.
    pub(super) fn alertmanager(
        &self,
        path: &str,
        query: &[(&str, &str)],
        file: Option<&str>,
        probe: &mut Probe,
    ) -> Result<Value, Finding> {
        let base = &self.args.alertmanager;
        let (object, answer) = self.alertmanager_at(base, path, query, probe, Answer::text)?;
        keep_whole(file, &answer, probe);
        Ok(object)
    }

    /// Asks for `/-/ready`, which has to answer 200.
    pub(super) fn is_ready(
        &self,
        base: &str,
        next: &'static str,
        probe: &mut Probe,
    ) -> Result<(), Finding> {
        let url = format!("{base}/-/ready");
        let answer = self.client.get(&url, &[], probe);
        let answer = in_time(answer, &url, next, probe)?;
        if answer.status != 200 {
            let text = answer.text();
            let text = text.lines().next().unwrap_or_default();
            return Err(Finding::fail(
                format!("{url} answers {}: {}", answer.status, text.trim()),
                next,
            ));
        }
        Ok(())
    }

    /// Prometheus' answer to [`Hub::is_ready`].
    pub(super) fn prometheus_is_ready(&self, probe: &mut Probe) -> Result<(), Finding> {
        self.is_ready(&self.args.prometheus, NO_PROMETHEUS, probe)
    }

    /// Alertmanager's answer to [`Hub::is_ready`].
    pub(super) fn alertmanager_is_ready(&self, probe: &mut Probe) -> Result<(), Finding> {
        self.is_ready(&self.args.alertmanager, NO_ALERTMANAGER, probe)
    }
}

/// The answer. One that did not come within the time of a request is not asked for again: whoever is frozen stays so.
pub(super) fn in_time(
    answer: Result<Answer, String>,
    url: &str,
    next: &str,
    probe: &mut Probe,
) -> Result<Answer, Finding> {
    answer.map_err(|err| {
        if err.starts_with(&format!("{url}: {NOT_IN_TIME}")) {
            probe.do_not_retry();
        }
        Finding::fail(err, next)
    })
}

fn keep_whole(file: Option<&str>, answer: &Answer, probe: &mut Probe) {
    if let Some(file) = file {
        let text = answer.text();
        probe.file(file, redact_addresses(&text).as_bytes());
    }
}

fn json(answer: &Answer, url: &str, next: &str) -> Result<Value, Finding> {
    serde_json::from_slice(&answer.body).map_err(|_| {
        let content_type = match answer.content_type.as_str() {
            "" => "no content type",
            content_type => content_type,
        };
        Finding::fail(
            format!(
                "{url} answers {} ({content_type}), which is no JSON",
                answer.status
            ),
            next,
        )
    })
}

/// A time of an answer; none for Go's zero time.
pub(super) fn time(value: &Value) -> Option<Timestamp> {
    let text = value.as_str()?;
    let time: Timestamp = text.parse().ok()?;
    (!text.starts_with("0001-")).then_some(time)
}

/// How long ago that was, by a clock that is so far ahead of ours; below 0 for the future.
pub(super) fn age_seconds(time: Timestamp, clock_ahead_seconds: f64) -> f64 {
    Timestamp::now().duration_since(time).as_secs_f64() + clock_ahead_seconds
}

/// `a, b, c`, cut where it gets too long to be read.
pub(super) fn listed<T: AsRef<str>>(words: &[T], max: usize) -> String {
    let shown: Vec<&str> = words.iter().take(max).map(AsRef::as_ref).collect();
    match words.len().saturating_sub(max) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
