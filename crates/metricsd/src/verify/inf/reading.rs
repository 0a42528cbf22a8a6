//! One reading of a sentinel: its page as families, its health as fields, and what time it is there.
//!
//! Invariant: what cannot be read is a finding, never an empty reading. Pure but for the requests of its callers.

use std::fmt;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use metricsd_exporter::{Family, Kind, Series, Value, parse_text};
use serde::Deserialize;

use crate::verify::http::Answer;

/// The `Date` of an answer is cut to the second.
const DATE_STEP_SECONDS: f64 = 1.0;

/// What time it is there, in Unix seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct TheirTime {
    /// By their clock, if they tell, else by ours.
    pub now: f64,
    /// Their clock less ours, and by how much that may be off; none if they do not tell.
    pub ahead: Option<(f64, f64)>,
}

impl TheirTime {
    /// Of an answer that was asked for at `asked` by our clock and took `took`.
    pub(super) fn of(date: Option<Timestamp>, asked: Timestamp, took: Duration) -> TheirTime {
        let took = took.as_secs_f64();
        let ours = unix(asked) + took / 2.0;
        let Some(date) = date else {
            return TheirTime {
                now: unix(asked) + took,
                ahead: None,
            };
        };
        let ahead = unix(date) + DATE_STEP_SECONDS / 2.0 - ours;
        let uncertain = (DATE_STEP_SECONDS + took) / 2.0;
        let step = match ahead.abs() <= uncertain {
            true => 0.0,
            false => ahead,
        };
        TheirTime {
            now: unix(asked) + took + step,
            ahead: Some((ahead, uncertain)),
        }
    }
}

fn unix(time: Timestamp) -> f64 {
    time.as_millisecond() as f64 / 1e3
}

/// A page that could be read.
#[derive(Debug)]
pub(super) struct Samples {
    families: Vec<(String, Family)>,
    /// What time it was there.
    pub time: TheirTime,
    /// When it was read, by our monotonic clock.
    pub at: Instant,
    /// The bytes as they came.
    pub bytes: Vec<u8>,
}

impl Samples {
    /// Reads a page.
    ///
    /// # Errors
    /// It is no text 0.0.4; one sentence.
    pub(super) fn of(answer: Answer, time: TheirTime) -> Result<Samples, String> {
        let families = parse_text(&answer.body).map_err(|err| err.to_string())?;
        let named = families
            .into_iter()
            .map(|family| (name_of(&family), family));
        Ok(Samples {
            families: named.collect(),
            time,
            at: Instant::now(),
            bytes: answer.body,
        })
    }

    /// All families by the name in their TYPE line.
    pub(super) fn families(&self) -> impl Iterator<Item = (&str, &Family)> {
        self.families
            .iter()
            .map(|(name, family)| (name.as_str(), family))
    }

    /// A family, with samples or without.
    pub(super) fn family(&self, name: &str) -> Option<&Family> {
        self.families()
            .find(|(known, _)| *known == name)
            .map(|(_, family)| family)
    }

    /// The series of a family; none of one that is not there.
    pub(super) fn series(&self, name: &str) -> &[Series] {
        self.family(name).map_or(&[], |family| &family.series)
    }

    /// The number of a series with exactly these labels.
    pub(super) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let found = self.series(name).iter().find(|series| {
            series.labels.len() == labels.len()
                && labels
                    .iter()
                    .all(|(label, value)| label_of(series, label) == Some(value))
        })?;
        number(&found.value)
    }

    /// The sum over a family: of numbers, or of a histogram's counts; 0 of one without series.
    pub(super) fn sum(&self, name: &str) -> f64 {
        let counts = self
            .series(name)
            .iter()
            .filter_map(|series| match &series.value {
                Value::Histogram { buckets, .. } => buckets.last().map(|(_, count)| *count),
                value => number(value),
            });
        counts.sum()
    }
}

/// The name in the TYPE line.
fn name_of(family: &Family) -> String {
    match family.kind {
        Kind::Counter => format!("{}_total", family.name),
        _ => family.name.clone(),
    }
}

/// The value of a label.
pub(super) fn label_of<'a>(series: &'a Series, name: &str) -> Option<&'a str> {
    let found = series.labels.iter().find(|(label, _)| label == name);
    found.map(|(_, value)| value.as_str())
}

/// The number of a series that has one.
pub(super) fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Single(value) => Some(*value),
        _ => None,
    }
}

/// What `/health` says, as far as it is judged.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Health {
    /// ok, degraded or stalled.
    pub status: Status,
    /// Reasons.
    pub why: Vec<String>,
    /// Seconds since the last cycle.
    pub last_cycle_age_seconds: Option<f64>,
    /// What may be sent.
    pub trading_state: String,
    /// Why not everything.
    pub trading_state_reason: Option<String>,
    /// `dry_run` or `live`.
    pub mode: String,
    /// Who predicts.
    pub model: String,
    /// The stages.
    pub stages: Vec<StageHealth>,
    /// The gateway; none in a dry run.
    pub gateway: Option<GatewayHealth>,
}

/// In one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Ok,
    Degraded,
    Stalled,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::Ok => "ok",
            Status::Degraded => "degraded",
            Status::Stalled => "stalled",
        })
    }
}

/// One stage.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct StageHealth {
    /// Its name.
    pub stage: String,
    /// Unix seconds of the last success.
    pub last_success: Option<f64>,
    /// What kept it from its work at the last attempt.
    pub error: Option<serde_json::Value>,
}

/// The gateway.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct GatewayHealth {
    /// Whether it answered the last heartbeat.
    pub is_answering: bool,
    /// Unix seconds of its last heartbeat.
    pub last_heartbeat: Option<f64>,
    /// How far the sentinel's clock is ahead of its clock.
    pub clock_offset_seconds: Option<f64>,
    /// The circuit breaker in front of it.
    pub breaker: String,
}

impl Health {
    /// When a stage last did its work.
    pub(super) fn last_success(&self, stage: &str) -> Option<f64> {
        let found = self.stages.iter().find(|known| known.stage == stage);
        found.and_then(|known| known.last_success)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::verify::inf) fn samples(text: &str, now: f64) -> Samples {
        let answer = Answer {
            status: 200,
            content_type: String::new(),
            date: None,
            body: text.as_bytes().to_vec(),
        };
        let time = TheirTime { now, ahead: None };
        Samples::of(answer, time).unwrap()
    }

    #[test]
    fn their_time_is_ours_unless_their_date_says_otherwise() {
        let at = Timestamp::from_millisecond(1_000_000_300).unwrap();
        let took = Duration::from_millis(100);
        let of = |seconds: i64| {
            let date = Timestamp::from_second(seconds).unwrap();
            TheirTime::of(Some(date), at, took)
        };
        // The same second: nothing is known better than by our own clock.
        assert_eq!(of(1_000_000).now, 1_000_000.4);
        let behind = of(999_900);
        assert!((behind.now - 999_900.55).abs() < 1e-6, "{behind:?}");
        let (ahead, uncertain) = behind.ahead.unwrap();
        assert!((ahead + 99.85).abs() < 1e-6 && uncertain < 1.0, "{ahead}");
        assert_eq!(TheirTime::of(None, at, took).ahead, None);
    }

    #[test]
    fn a_head_without_samples_has_no_series_and_labels_are_compared_by_name() {
        let page = samples(
            "# TYPE a_total counter\n# TYPE b gauge\nb{x=\"1\",y=\"2\"} 3\nb{x=\"1\"} 4\n# TYPE h histogram\nh_bucket{le=\"+Inf\"} 2\nh_count 2\nh_sum 1\n",
            0.0,
        );
        assert!(page.family("a_total").is_some() && page.series("a_total").is_empty());
        assert_eq!(page.value("b", &[("y", "2"), ("x", "1")]), Some(3.0));
        assert_eq!(page.value("b", &[]), None);
        assert_eq!(page.sum("b"), 7.0);
    }
}
