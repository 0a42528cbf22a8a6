//! The model behind MLflow's scoring protocol: `POST /invocations` with `dataframe_split` and the names of the features.
//!
//! Invariant: probabilities come from an answer that is exactly `{"predictions": [[sell, hold, buy]]}`, one row of three finite numbers,
//! or there are none. A bare array, a number in quotes, a second row, a fourth number: a typed failure, never a default.

use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;

use crate::error_code::ErrorCode;
use crate::features::{Features, NAMES};
use crate::http::{CallError, Client, Method, Request};
use crate::model::Probabilities;

/// Most bytes of an answer.
const BODY_MAX: usize = 64 * 1024;

/// Most characters of what the server says its version is.
const VERSION_CHARACTERS: usize = 32;

/// A model server.
#[derive(Debug, Clone)]
pub struct HubModel {
    client: Client,
    base: String,
    timeout: Duration,
}

/// The body of a prediction.
#[derive(Debug, Deserialize)]
struct Answer {
    predictions: Vec<Vec<f64>>,
    /// What the server says went wrong, beside numbers that it gives all the same.
    error: Option<Value>,
    /// That the numbers are not the model's.
    fallback: Option<Value>,
}

impl HubModel {
    /// The server at that host (a name or an address, IPv6 with or without brackets) and port; a prediction may take `timeout` and no longer.
    pub fn new(host: &str, port: u16, timeout: Duration) -> HubModel {
        let host = if host.contains(':') && !host.starts_with('[') {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        HubModel {
            client: Client::new(),
            base: format!("http://{host}:{port}"),
            timeout,
        }
    }

    /// Asks for the probabilities of these features, until `deadline` or the model's own timeout, whichever is earlier.
    ///
    /// # Errors
    /// [`CallError`]; an answer that is no three probabilities is [`ErrorCode::Malformed`].
    pub fn predict(
        &self,
        features: &Features,
        deadline: Instant,
    ) -> Result<Probabilities, CallError> {
        let body = body(features)?;
        let request = Request {
            method: Method::PostJson(body),
            url: format!("{}/invocations", self.base),
            secret: None,
            body_max: BODY_MAX,
        };
        let answer = self
            .client
            .call(request, deadline.min(Instant::now() + self.timeout))?;
        decode(&answer)
    }

    /// The version that the server says it has: of the server's program, since the protocol does not tell which model it serves.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn server_version(&self, deadline: Instant) -> Result<String, CallError> {
        let request = Request {
            method: Method::Get,
            url: format!("{}/version", self.base),
            secret: None,
            body_max: BODY_MAX,
        };
        let answer = self
            .client
            .call(request, deadline.min(Instant::now() + self.timeout))?;
        // Plain text, although the server labels it as JSON.
        let text = String::from_utf8_lossy(&answer);
        let text = text.trim();
        let is_version = !text.is_empty()
            && text.len() <= VERSION_CHARACTERS
            && text
                .chars()
                .all(|character| character.is_ascii_alphanumeric() || ".-+_".contains(character));
        if is_version {
            Ok(text.to_owned())
        } else {
            Err(CallError::new(
                ErrorCode::Malformed,
                "the answer is no version",
            ))
        }
    }
}

/// The request of one row.
fn body(features: &Features) -> Result<Vec<u8>, CallError> {
    let values = features.values();
    // JSON has no spelling for these; the library would write null, which the server may read as anything.
    if !values.iter().all(|value| value.is_finite()) {
        return Err(CallError::new(
            ErrorCode::Other,
            "a feature is not finite, so no call was made",
        ));
    }
    let body = serde_json::json!({
        "dataframe_split": {"columns": NAMES, "data": [values.as_slice()]}
    });
    Ok(body.to_string().into_bytes())
}

/// Reads an answer.
fn decode(answer: &[u8]) -> Result<Probabilities, CallError> {
    let malformed = |detail: String| CallError::new(ErrorCode::Malformed, &detail);
    let first = answer.iter().find(|byte| !byte.is_ascii_whitespace());
    // The derived reader would take an array for the fields in their order.
    if first != Some(&b'{') {
        return Err(malformed("the answer is no JSON object".to_owned()));
    }
    let Answer {
        predictions,
        error,
        fallback,
    } = serde_json::from_slice(answer)
        .map_err(|error| malformed(format!("the answer is no prediction: {error}")))?;
    // Numbers that stand in for a prediction look like one: an outage of the model would be a market that is never worth a trade.
    for (name, said) in [("error", error), ("fallback", fallback)] {
        if let Some(said) = said.filter(|said| *said != Value::Bool(false)) {
            return Err(malformed(format!(
                "the answer is no prediction: the server says {name}: {said}"
            )));
        }
    }
    let [row] = predictions.as_slice() else {
        let count = predictions.len();
        return Err(malformed(format!("{count} predictions; accepted: 1")));
    };
    let numbers: [f64; 3] = row.as_slice().try_into().map_err(|_| {
        let count = row.len();
        malformed(format!(
            "a prediction of {count} numbers; accepted: 3 (sell, hold, buy)"
        ))
    })?;
    Probabilities::new(numbers).map_err(|error| malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn exactly_three_probabilities_in_one_row_are_a_prediction() {
        let good = decode(b" {\"predictions\": [[0.2, 0.5, 0.3]]}\n").unwrap();
        assert_eq!(good.to_array(), [0.2, 0.5, 0.3]);
        // A further member is the server's business.
        for more in [
            "\"explanations\":{}",
            "\"error\":null",
            "\"fallback\":false",
        ] {
            let answer = format!("{{\"predictions\":[[0,1,0]],{more}}}");
            assert!(decode(answer.as_bytes()).is_ok(), "{answer}");
        }
    }

    #[test]
    fn anything_else_is_malformed_and_never_a_default() {
        for answer in [
            "",
            "null",
            "0.5",
            "[[0.2,0.5,0.3]]",
            "[[[0.2,0.5,0.3]]]",
            "{}",
            "{\"predictions\":[]}",
            "{\"predictions\":[[]]}",
            "{\"predictions\":[[0.5]]}",
            "{\"predictions\":[0.2,0.5,0.3]}",
            "{\"predictions\":[[0.5,0.5]]}",
            "{\"predictions\":[[0.2,0.5,0.3,0]]}",
            "{\"predictions\":[[0.2,0.5,0.3],[0.2,0.5,0.3]]}",
            "{\"predictions\":[[\"0.2\",0.5,0.3]]}",
            "{\"predictions\":[[null,0.5,0.5]]}",
            "{\"predictions\":[[NaN,0.5,0.5]]}",
            "{\"predictions\":[[\"NaN\",0.5,0.5]]}",
            "{\"predictions\":[[Infinity,0,0]]}",
            "{\"predictions\":[[1e999,0,0]]}",
            "{\"predictions\":[[-0.1,0.6,0.5]]}",
            "{\"predictions\":[[1.1,0,-0.1]]}",
            "{\"predictions\":[[0.2,0.5,0.31]]}",
            "{\"predictions\":[[0.2,0.5,0.3]],\"predictions\":[[1,0,0]]}",
            "{\"predictions\":[[0.2,0.5,0.3]]",
            "{\"predictions\":[{\"sell\":0.2,\"hold\":0.5,\"buy\":0.3}]}",
            "{\"error\":\"x\"}",
            // A prediction that the server itself calls none.
            "{\"predictions\":[[0,1,0]],\"error\":\"no features\"}",
            "{\"predictions\":[[0,1,0]],\"error\":{}}",
            "{\"fallback\":true,\"predictions\":[[0,1,0]]}",
            "{\"predictions\":[[0,1,0]],\"fallback\":\"neutral\"}",
            "<html>",
        ] {
            let outcome = decode(answer.as_bytes());
            assert_eq!(
                outcome.map_err(|error| error.code),
                Err(ErrorCode::Malformed),
                "{answer}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_changed_byte_gives_probabilities_or_an_error(at in 0..35_usize, byte: u8) {
            let mut answer = b"{\"predictions\": [[0.25, 0.5, 0.25]]}".to_vec();
            answer[at] = byte;
            if let Ok(found) = decode(&answer) {
                prop_assert!((found.to_array().iter().sum::<f64>() - 1.0).abs() <= 1e-5);
            }
        }
    }
}
