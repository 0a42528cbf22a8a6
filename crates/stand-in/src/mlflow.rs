//! MLflow's scoring server, release 3.17: `/ping`, `/health`, `/version` and `/invocations` with a model that has named columns.
//!
//! Invariant: what the real server refuses is refused with its status and the shape of its body. The test of the real server says
//! whether this is still so.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::server::{Answer, Recorded, Server};

type Predicting = dyn Fn(&[f64]) -> Value + Send + Sync;

/// What the model says to the numbers of one row, in the order of its columns: any JSON, `[0.2, 0.5, 0.3]` as a rule.
#[derive(Clone)]
pub struct Predict(pub Arc<Predicting>);

impl Predict {
    /// The same three numbers always: sell, hold, buy.
    pub fn always(probabilities: [f64; 3]) -> Predict {
        Predict(Arc::new(move |_| json!(probabilities)))
    }
}

impl fmt::Debug for Predict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Predict")
    }
}

/// A running stand-in for the model server.
#[derive(Debug)]
pub struct Mlflow(Server);

impl Deref for Mlflow {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.0
    }
}

impl Mlflow {
    /// Starts it with a model of these columns.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn start(listen: SocketAddr, columns: &[&str], predict: Predict) -> io::Result<Mlflow> {
        let columns: Vec<String> = columns.iter().map(|name| (*name).to_owned()).collect();
        let server = Server::start(listen, move |request, _| {
            answer(request, &columns, &predict)
        })?;
        Ok(Mlflow(server))
    }
}

fn json_answer(status: u16, body: &Value) -> Answer {
    Answer {
        status,
        content_type: "application/json",
        body: body.to_string().into_bytes(),
    }
}

fn text_answer(status: u16, content_type: &'static str, text: &str) -> Answer {
    Answer {
        status,
        content_type,
        body: text.as_bytes().to_vec(),
    }
}

/// An error as the server words them, with the stack trace that some have.
fn error(code: &str, message: &str) -> Answer {
    let trace =
        "  File \"/mlflow/pyfunc/scoring_server/__init__.py\", line 1, in predict\n".repeat(36);
    json_answer(
        400,
        &json!({"error_code": code, "message": message, "error_class": "MlflowException", "sqlstate": null,
            "stack_trace": format!("Traceback (most recent call last):\n{trace}")}),
    )
}

fn answer(request: &Recorded, columns: &[String], predict: &Predict) -> Answer {
    match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/ping" | "/health") => text_answer(200, "application/json", "\n"),
        // Plain text, whatever its label says.
        ("GET", "/version") => text_answer(200, "application/json", "3.17.2"),
        ("POST", "/invocations") => invocation(request, columns, predict),
        _ => json_answer(404, &json!({"detail": "Not Found"})),
    }
}

fn invocation(request: &Recorded, columns: &[String], predict: &Predict) -> Answer {
    if request.header("content-type") != Some("application/json") {
        return text_answer(
            415,
            "text/plain",
            "This predictor only supports the following content types: Types: ['text/csv', 'application/json', 'application/parquet'].",
        );
    }
    let Ok(Value::Object(body)) = serde_json::from_slice(&request.body) else {
        return error(
            "BAD_REQUEST",
            "Invalid input. Ensure that input is a valid JSON formatted string.",
        );
    };
    let formats = [
        "dataframe_split",
        "dataframe_records",
        "instances",
        "inputs",
    ];
    let given = formats.iter().filter(|name| body.contains_key(**name));
    if given.count() != 1 {
        return error(
            "BAD_REQUEST",
            "The input must have exactly one of the formats",
        );
    }
    let Some(split) = body.get("dataframe_split") else {
        return error(
            "BAD_REQUEST",
            "Failed to enforce schema of data: expected named columns",
        );
    };
    let (Some(names), Some(rows)) = (split["columns"].as_array(), split["data"].as_array()) else {
        return error(
            "BAD_REQUEST",
            "Provided dataframe_split field is not a valid dataframe",
        );
    };
    let mut places = Vec::new();
    for column in columns {
        let Some(place) = names.iter().position(|name| name == column) else {
            return error(
                "SCHEMA_ENFORCEMENT_FAILED",
                &format!("Model is missing inputs ['{column}']."),
            );
        };
        places.push(place);
    }
    let mut predictions = Vec::new();
    for row in rows {
        let numbers: Option<Vec<f64>> = places.iter().map(|place| row[*place].as_f64()).collect();
        let Some(numbers) = numbers else {
            return error("BAD_REQUEST", "Input X contains NaN.");
        };
        predictions.push((predict.0)(&numbers));
    }
    json_answer(200, &json!({ "predictions": predictions }))
}
