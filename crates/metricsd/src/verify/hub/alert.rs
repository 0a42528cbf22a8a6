//! The test alert in Alertmanager.
//!
//! Invariant: it never stays. It carries its own end from the start, a few minutes ahead, and whatever way the verification ends, it is
//! told that it is over. Its times are by Alertmanager's clock: an end in what is the future there would not be one.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::asks::in_time;
use crate::verify::evidence::Finding;
use crate::verify::http::Client;
use crate::verify::record::Probe;

/// What Alertmanager's `Date` may be wrong by, since it has whole seconds. A begin is set back by twice as much, so that it is before the end.
const CLOCK_GRAIN: SignedDuration = SignedDuration::from_secs(1);

/// What to do when it cannot be told.
const NOT_TAKEN: &str = "look at Alertmanager's log for why it does not take alerts";

/// One that was fired, or is about to be.
#[derive(Debug)]
pub(super) struct TestAlert<'a> {
    client: &'a Client,
    url: String,
    labels: &'a [(String, String)],
    generator: String,
    ahead: SignedDuration,
    starts: Timestamp,
    /// When it ends by itself.
    pub(super) ends: Timestamp,
    is_told: bool,
    is_taken: bool,
    is_over: bool,
}

impl<'a> TestAlert<'a> {
    /// One that is not fired yet, and would end by itself after `life`.
    pub(super) fn new(
        client: &'a Client,
        alertmanager: &str,
        labels: &'a [(String, String)],
        generator: String,
        ahead_seconds: f64,
        life: SignedDuration,
    ) -> TestAlert<'a> {
        let ahead = SignedDuration::try_from_secs_f64(ahead_seconds).unwrap_or_default();
        let now = Timestamp::now().saturating_add(ahead).unwrap_or_default();
        TestAlert {
            client,
            url: format!("{alertmanager}/api/v2/alerts"),
            labels,
            generator,
            ahead,
            starts: now.saturating_sub(CLOCK_GRAIN * 2).unwrap_or(now),
            ends: now.saturating_add(life).unwrap_or(now),
            is_told: false,
            is_taken: false,
            is_over: false,
        }
    }

    /// Whether Alertmanager may have been told of it.
    pub(super) fn is_told(&self) -> bool {
        self.is_told
    }

    /// Fires it, until it ends by itself; not again once it was taken.
    pub(super) fn fire(&mut self, probe: &mut Probe) -> Result<(), Finding> {
        if self.is_taken {
            return Ok(());
        }
        // Before: an answer that is lost on its way is no proof that it was not taken.
        self.is_told = true;
        self.post(self.ends, probe)?;
        self.is_taken = true;
        Ok(())
    }

    /// Ends it.
    pub(super) fn resolve(&mut self, probe: &mut Probe) -> Result<(), Finding> {
        let now = Timestamp::now()
            .saturating_add(self.ahead)
            .unwrap_or_default();
        self.post(now.saturating_sub(CLOCK_GRAIN).unwrap_or(now), probe)?;
        self.is_over = true;
        Ok(())
    }

    fn post(&self, ends: Timestamp, probe: &mut Probe) -> Result<(), Finding> {
        let answer = self.client.post(&self.url, &self.body(ends), probe);
        let answer = in_time(answer, &self.url, NOT_TAKEN, probe)?;
        if answer.status == 200 {
            return Ok(());
        }
        Err(Finding::fail(
            format!(
                "{} answers {}: {}",
                self.url,
                answer.status,
                answer.text().trim()
            ),
            NOT_TAKEN,
        ))
    }

    fn body(&self, ends: Timestamp) -> Value {
        let labels = self.labels.iter();
        let labels: serde_json::Map<String, Value> = labels
            .map(|(name, value)| (name.clone(), Value::from(value.as_str())))
            .collect();
        json!([{
            "labels": labels,
            "annotations": {
                "summary": "A test of the alert path: nothing is wrong.",
                "description": "metricsd verify hub fires this, sees it delivered and ends it. There is nothing to do.",
            },
            "generatorURL": self.generator,
            "startsAt": self.starts.to_string(),
            "endsAt": ends.to_string(),
        }])
    }
}

impl Drop for TestAlert<'_> {
    fn drop(&mut self) {
        if self.is_told && !self.is_over {
            // Nobody is left to be told of a failure; then it ends by itself.
            let _ = self.resolve(&mut Probe::default());
        }
    }
}
