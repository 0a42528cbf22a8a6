//! One decision, made again.
//!
//! Invariant: the same code that decides is asked, with what was recorded and nothing else; floats are compared bit for bit. Must not
//! touch: files.

use std::fmt;

use market::Bar;

use super::super::configuration::{Configuration, Origin};
use super::super::decision::DecisionRecord;
use super::super::digest::Digest;
use super::super::record::{Model, Verdict};
use crate::decide::{self, Action};
use crate::features::{self, Features};
use crate::gateway::guards::Guards;
use crate::gateway::guards::situation::Request;
use crate::gateway::intent_log::record::Side;
use crate::model::{EmbeddedModel, Probabilities};

/// Something that came out otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) what: &'static str,
    pub(super) recorded: String,
    pub(super) came_out: String,
}

/// What holds for the decisions behind a `start` line.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) configuration: Configuration,
    pub(super) configuration_sha256: Digest,
    pub(super) guards: Guards,
}

/// What came out so far.
#[derive(Debug, Default)]
struct Differences(Vec<Difference>);

impl Differences {
    fn expect<T: fmt::Display, U: fmt::Display>(
        &mut self,
        what: &'static str,
        recorded: T,
        came_out: U,
    ) {
        if recorded.to_string() != came_out.to_string() {
            self.tell(what, recorded, came_out);
        }
    }

    /// Also where both read the same.
    fn tell<T: fmt::Display, U: fmt::Display>(
        &mut self,
        what: &'static str,
        recorded: T,
        came_out: U,
    ) {
        self.0.push(Difference {
            what,
            recorded: recorded.to_string(),
            came_out: came_out.to_string(),
        });
    }
}

/// Makes a decision again over its window, which is as it was rebuilt. Nothing, if all of it came out as it was recorded.
pub(super) fn differences(
    record: &DecisionRecord,
    window: &[Bar],
    session: &Session,
    embedded: &EmbeddedModel,
) -> Vec<Difference> {
    let mut found = Differences::default();
    let input = Digest::of_bars(window);
    if input != record.input_sha256 {
        // Of other bars everything else would be another thing too.
        found.tell("input", record.input_sha256, input);
        return found.0;
    }
    let configuration = &session.configuration;
    let newest = window.last().map_or(i64::MIN, |bar| bar.open_time);
    found.expect("bar", record.bar_open_time, newest);
    let close = newest.saturating_add(configuration.interval.seconds());
    found.expect("bar close", record.bar_close_time, close);
    let recorded = record.configuration_sha256;
    found.expect("configuration", recorded, session.configuration_sha256);
    let features = match features::build(window) {
        Ok(features) => {
            let came_out = Digest::of_features(&features);
            found.expect("features", record.features_sha256, came_out);
            Some(features)
        }
        Err(error) => {
            found.expect("features", record.features_sha256, error);
            None
        }
    };
    compare_model(
        record,
        configuration.model,
        features.as_ref(),
        embedded,
        &mut found,
    );
    match Probabilities::new(record.probabilities) {
        Ok(probabilities) => compare_decision(record, probabilities, session, &mut found),
        Err(error) => found.expect("probabilities", floats(record.probabilities), error),
    }
    found.0
}

fn compare_model(
    record: &DecisionRecord,
    configured: Origin,
    features: Option<&Features>,
    embedded: &EmbeddedModel,
    found: &mut Differences,
) {
    let origin = record.model.origin;
    found.expect("model", origin.as_str(), configured.as_str());
    if origin == Origin::Hub {
        return;
    }
    let own = Model::embedded(embedded);
    if record.model != own {
        // Its probabilities cannot be computed again: that is no match.
        found.tell("model", &record.model, own);
        return;
    }
    let Some(features) = features else { return };
    let came_out = embedded.predict(features).map_or_else(
        |error| error.to_string(),
        |probabilities| floats(probabilities.to_array()),
    );
    found.expect("probabilities", floats(record.probabilities), came_out);
}

fn compare_decision(
    record: &DecisionRecord,
    probabilities: Probabilities,
    session: &Session,
    found: &mut Differences,
) {
    let decide::Decision { action, confidence } = decide::decide(probabilities);
    found.expect("action", word(record.action), word(action));
    found.expect("confidence", float(record.confidence), float(confidence));
    let verdict = match (action, &record.request, &record.situation) {
        (Action::Hold, ..) => Some(Verdict::Hold),
        (Action::Buy | Action::Sell, Some(request), Some(situation)) => {
            compare_request(record, request, &session.configuration, found);
            match session.guards.check(request, &situation.as_situation()) {
                Err(refusal) => Some(Verdict::refused(&refusal)),
                Ok(_) => permitted(&record.verdict, request),
            }
        }
        (Action::Buy | Action::Sell, ..) => {
            return found.tell("verdict", &record.verdict, "a question to the guards");
        }
    };
    match verdict {
        Some(verdict) if verdict == record.verdict => {}
        Some(verdict) => found.tell("verdict", &record.verdict, verdict),
        None => found.tell("verdict", &record.verdict, "permitted"),
    }
}

/// The recorded verdict as far as a permit explains it: names are given behind the guards, and an order may not have got on disk.
fn permitted(recorded: &Verdict, request: &Request) -> Option<Verdict> {
    match recorded {
        Verdict::Unrecorded { text } => Some(Verdict::Unrecorded { text: text.clone() }),
        Verdict::Permitted {
            id,
            idempotency_key,
            ..
        } => Some(Verdict::Permitted {
            id: id.clone(),
            idempotency_key: idempotency_key.clone(),
            valid_until_ms: request.valid_until_ms,
        }),
        Verdict::Hold | Verdict::Refused { .. } => None,
    }
}

/// What was asked for has to be what was decided.
fn compare_request(
    record: &DecisionRecord,
    request: &Request,
    configuration: &Configuration,
    found: &mut Differences,
) {
    let side = match record.action {
        Action::Buy => Some(Side::Buy),
        Action::Sell => Some(Side::Sell),
        Action::Hold => None,
    };
    if side != Some(request.side) {
        let side = format!("{:?}", request.side);
        found.expect("request side", side, word(record.action));
    }
    found.expect("request bar", request.bar_open_time, record.bar_open_time);
    let (asked, decided) = (float(request.confidence), float(record.confidence));
    found.expect("request confidence", asked, decided);
    found.expect("request symbol", &request.symbol, &configuration.symbol);
}

/// The shortest text that reads back as these bits; there is no NaN in JSON.
fn float(value: f64) -> String {
    format!("{value:?}")
}

fn floats(values: [f64; 3]) -> String {
    values.map(float).join(" ")
}

const fn word(action: Action) -> &'static str {
    match action {
        Action::Buy => "buy",
        Action::Sell => "sell",
        Action::Hold => "hold",
    }
}
