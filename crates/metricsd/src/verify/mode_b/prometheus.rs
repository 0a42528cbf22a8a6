//! What Prometheus saw: `up` over the whole time, the session's end included.
//!
//! Invariant: a scrape that failed and a scrape that is missing are both failures. A range query alone would not show the second one:
//! Prometheus carries a value over a gap for five minutes. So the raw samples are asked for as well.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::{Wiring, ids};
use crate::verify::evidence::Finding;
use crate::verify::record::{Book, Probe, Retry};

/// Scrapes after the session's end that are waited for.
const SCRAPES_AFTER_END: usize = 2;

/// Two samples may be this many intervals apart; one missing scrape makes it two.
const GAP_MAX_INTERVALS: f64 = 1.9;

/// What is waited for scrapes beyond their intervals.
const GRACE: Duration = Duration::from_secs(5);

/// Time and value.
type Point = (f64, f64);

impl Wiring<'_> {
    pub(super) fn up_stable(&self, book: &mut Book<'_>, ended: Option<Timestamp>) {
        let title = "Prometheus saw `up` at 1 the whole time, the session's end included";
        let Some(base) = &self.args.prometheus else {
            book.step(ids::UP_STABLE, title, |_| {
                Finding::skip(
                    "no Prometheus was named, so `up` was not looked at",
                    "name it with --prometheus http://HOST:9090",
                )
            });
            return;
        };
        let interval = self.args.scrape_interval.max(Duration::from_millis(1));
        let since = ended.unwrap_or_else(Timestamp::now);
        // Long enough for two scrapes to come, and then some for a busy machine.
        let patience = interval * (SCRAPES_AFTER_END as u32 + 1) + GRACE;
        let pause = (interval / 2).min(Duration::from_secs(1));
        let waiting = Retry {
            count: u32::try_from(patience.as_millis() / pause.as_millis().max(1)).unwrap_or(1),
            interval: pause,
        };
        let mut give_up = self.settings.retry.count;
        book.step_with(ids::UP_STABLE, title, waiting, |probe| {
            let asked = Asked {
                wiring: self,
                base,
                selector: format!("up{{job=\"{}\"}}", escaped(&self.args.job)),
                interval: interval.as_secs_f64(),
            };
            match asked.judge(since.as_millisecond() as f64 / 1000.0, probe) {
                Ok(text) => Finding::pass(text),
                // Waiting does not undo what was seen, and an address where nobody answers gets the usual attempts only.
                Err(Broken::For(text)) => {
                    probe.do_not_retry();
                    failure(text)
                }
                Err(Broken::Unreachable(text)) => {
                    match give_up.checked_sub(1) {
                        Some(left) => give_up = left,
                        None => probe.do_not_retry(),
                    }
                    Finding::fail(
                        text,
                        "start Prometheus, or name its own address with --prometheus http://HOST:9090",
                    )
                }
                Err(Broken::NotYet(text)) => failure(text),
            }
        });
    }
}

fn failure(text: String) -> Finding {
    Finding::fail(
        text,
        "look at the daemon's log and at Prometheus' /targets for that time; --job and --scrape-interval must be those of its configuration",
    )
}

/// Why it is no pass.
enum Broken {
    /// It was seen not to hold.
    For(String),
    /// Nobody answered.
    Unreachable(String),
    /// It may come.
    NotYet(String),
}

struct Asked<'a, 'b> {
    wiring: &'a Wiring<'b>,
    base: &'a str,
    selector: String,
    interval: f64,
}

impl Asked<'_, '_> {
    fn judge(&self, since: f64, probe: &mut Probe) -> Result<String, Broken> {
        let start = self.wiring.started.as_millisecond() as f64 / 1000.0;
        let now = Timestamp::now().as_millisecond() as f64 / 1000.0;
        let seconds = (now - start).ceil().max(1.0);
        let query = format!("{}[{seconds}s]", self.selector);
        let samples = self.ask(
            "query",
            &[("query", &query), ("time", &now.to_string())],
            "prometheus-up-samples.json",
            probe,
        )?;
        if samples.is_empty() {
            return Err(Broken::NotYet(format!(
                "{} has no sample since the verification began",
                self.selector
            )));
        }
        let (mut first, mut last) = (f64::INFINITY, f64::NEG_INFINITY);
        let mut count = 0;
        for series in &samples {
            self.check(series, start, since)?;
            first = first.min(series[0].0);
            last = last.max(series[series.len() - 1].0);
            count += series.len();
        }
        let points = self.ask(
            "query_range",
            &[
                ("query", &self.selector),
                ("start", &first.to_string()),
                ("end", &last.to_string()),
                ("step", &self.interval.to_string()),
            ],
            "prometheus-up-range.json",
            probe,
        )?;
        let wanted = ((last - first) / self.interval).floor() as usize + 1;
        for series in &points {
            if series.len() < wanted {
                return Err(Broken::For(format!(
                    "{} has {} points of {wanted} in the range",
                    self.selector,
                    series.len()
                )));
            }
            self.all_one(series)?;
        }
        if points.is_empty() {
            return Err(Broken::For(format!(
                "{} has no point in the range",
                self.selector
            )));
        }
        Ok(format!(
            "{} was 1 in each of {count} scrapes over {:.1} s, none is missing",
            self.selector,
            last - first
        ))
    }

    fn check(&self, series: &[Point], start: f64, since: f64) -> Result<(), Broken> {
        self.all_one(series)?;
        let gap_max = GAP_MAX_INTERVALS * self.interval;
        let mut before = start;
        for (time, _) in series {
            if time - before > gap_max {
                return Err(Broken::For(format!(
                    "no scrape for {:.1} s before {}, expected one every {} s",
                    time - before,
                    utc(*time),
                    self.interval
                )));
            }
            before = *time;
        }
        let after = series.iter().filter(|(time, _)| *time > since).count();
        if after < SCRAPES_AFTER_END {
            return Err(Broken::NotYet(format!(
                "{after} scrapes since {}, expected {SCRAPES_AFTER_END} or more",
                utc(since)
            )));
        }
        Ok(())
    }

    fn all_one(&self, series: &[Point]) -> Result<(), Broken> {
        match series.iter().find(|(_, value)| *value != 1.0) {
            Some((time, value)) => Err(Broken::For(format!(
                "{} was {value} at {}",
                self.selector,
                utc(*time)
            ))),
            None => Ok(()),
        }
    }

    /// The series of a matrix.
    fn ask(
        &self,
        api: &str,
        query: &[(&str, &str)],
        file: &str,
        probe: &mut Probe,
    ) -> Result<Vec<Vec<Point>>, Broken> {
        let url = format!("{}/api/v1/{api}", self.base);
        let answer = self
            .wiring
            .client
            .get(&url, query, probe)
            .map_err(Broken::Unreachable)?;
        probe.file(file, &answer.body);
        let bad =
            |what: &str| Broken::Unreachable(format!("{url}: {what}; expected Prometheus' API"));
        if answer.status != 200 {
            return Err(bad(&format!(
                "status {}: {}",
                answer.status,
                answer.text().trim()
            )));
        }
        let object: Value =
            serde_json::from_slice(&answer.body).map_err(|err| bad(&err.to_string()))?;
        if object["data"]["resultType"] != "matrix" {
            return Err(bad("no matrix in the answer"));
        }
        let rows = object["data"]["result"]
            .as_array()
            .ok_or_else(|| bad("no result"))?;
        rows.iter()
            .map(|row| points(&row["values"]).ok_or_else(|| bad("a sample that is no number")))
            .filter(|series| !matches!(series, Ok(series) if series.is_empty()))
            .collect()
    }
}

fn points(values: &Value) -> Option<Vec<Point>> {
    let point = |pair: &Value| Some((pair[0].as_f64()?, pair[1].as_str()?.parse().ok()?));
    values.as_array()?.iter().map(point).collect()
}

fn utc(seconds: f64) -> String {
    Timestamp::from_millisecond((seconds * 1000.0) as i64).map_or_else(
        |_| seconds.to_string(),
        |time| time.strftime("%H:%M:%S%.3f UTC").to_string(),
    )
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
