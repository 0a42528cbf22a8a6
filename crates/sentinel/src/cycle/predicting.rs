//! The stage that asks the model. Invariant: a failure is counted, timed and shown, and is never a prediction; nothing takes the chosen model's
//! place. Must not touch: bars, decisions.

use super::{Cycle, Predictor, Undecided, was_called};
use crate::calls::{NoAnswer, Remotes};
use crate::error_code::ErrorCode;
use crate::features::Features;
use crate::http::CallError;
use crate::model::{ModelIdentity, Probabilities};
use crate::telemetry::{Endpoint, Origin, Stage};
use tracing::info;

impl Cycle {
    pub(super) fn predict(
        &mut self,
        features: &Features,
        remotes: &mut dyn Remotes,
    ) -> Result<Probabilities, Undecided> {
        let begin = self.clock.now();
        let answer = match &self.predictor {
            Predictor::Embedded(model) => model.predict(features).map_err(|error| {
                NoAnswer::Failed(CallError::new(ErrorCode::Malformed, &error.to_string()))
            }),
            Predictor::Hub => {
                if let Err(error) = self.hub.check(begin.monotonic) {
                    self.call_failed(Stage::Predict, Endpoint::Hub, &error);
                    return Err(Undecided::Failed);
                }
                let deadline = begin.monotonic + self.predict_timeout;
                let answer = remotes.predict(features, deadline);
                self.hub.answered(&answer, self.clock.now().monotonic);
                if was_called(&answer) {
                    self.telemetry.record_call(Endpoint::Hub);
                }
                answer
            }
        };
        let end = self.clock.now();
        let latency = end.monotonic.saturating_duration_since(begin.monotonic);
        match answer {
            Ok(probabilities) => {
                let confidence = probabilities.to_array().into_iter().fold(0.0, f64::max);
                self.telemetry.record_prediction(latency, Some(confidence));
                let index = self.drift.as_mut().and_then(|drift| drift.push(confidence));
                if let Some(index) = index {
                    self.telemetry.record_stability_index(index);
                }
                self.succeeded(Stage::Predict, end);
                Ok(probabilities)
            }
            Err(NoAnswer::Stopped) => Err(Undecided::Stopped),
            Err(NoAnswer::Failed(error)) => {
                self.telemetry.record_prediction(latency, None);
                // What answers after a failure may be another server.
                self.is_identified = false;
                match self.predictor {
                    Predictor::Hub => self.call_failed(Stage::Predict, Endpoint::Hub, &error),
                    Predictor::Embedded(_) => {
                        self.failed(Stage::Predict, error.code.as_str(), error.detail);
                    }
                }
                Err(Undecided::Failed)
            }
        }
    }

    /// Ask the model server who it is, after its first answer and after the first one behind a failure. Not to know costs nothing.
    pub(super) fn identify_hub(&mut self, remotes: &mut dyn Remotes) {
        if self.is_identified || !matches!(self.predictor, Predictor::Hub) {
            return;
        }
        self.is_identified = true;
        let deadline = self.clock.now().monotonic + self.predict_timeout;
        let answer = remotes.identify(deadline);
        if was_called(&answer) {
            self.telemetry.record_call(Endpoint::Hub);
        }
        match answer {
            Ok(identity) => self.record_model(identity),
            Err(NoAnswer::Failed(error)) => {
                self.telemetry.record_call_error(Endpoint::Hub, error.code);
            }
            Err(NoAnswer::Stopped) => {}
        }
    }

    /// Show the model in use in place of the one before.
    pub(super) fn record_model(&mut self, now: ModelIdentity) {
        if self.identity.as_ref() == Some(&now) {
            return;
        }
        let origin = match self.predictor {
            Predictor::Hub => Origin::Hub,
            Predictor::Embedded(_) => Origin::Embedded,
        };
        self.telemetry
            .record_model(self.identity.as_ref(), &now, origin);
        info!(model = now.model, version = now.version, %origin, "model in use");
        self.identity = Some(now);
    }
}
