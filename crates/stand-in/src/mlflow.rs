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

/// What the server says when the model cannot read the input as it is: the longest of its errors, with a stack trace.
fn evaluation_failed() -> Answer {
    let trace = "  File \"/mlflow/pyfunc/scoring_server/__init__.py\", line 348, in invocations\n"
        .repeat(34);
    json_answer(
        400,
        &json!({"error_code": "BAD_REQUEST", "message": "Encountered an unexpected error while evaluating the model. Verify that the serialized input Dataframe is compatible with the model for inference.",
            "sqlstate": "KAM00", "error_class": "INVALID_PARAMETER_VALUE",
            "stack_trace": format!("Traceback (most recent call last):\n{trace}")}),
    )
}

/// What it says to a request that it does not understand.
fn bad_request(message: &str) -> Answer {
    json_answer(
        400,
        &json!({"error_code": "BAD_REQUEST", "message": message, "sqlstate": "KAM00", "error_class": "INVALID_PARAMETER_VALUE"}),
    )
}

/// What it says when columns are missing: the reason stands at the end, behind the data and the whole schema.
fn schema_failed(reason: &str) -> Answer {
    let message = format!(
        "Failed to predict data '   return_1  return_5  ...\n0       0.5       0.5  ...\n\n[1 rows x 22 columns]'. \nError: Failed to enforce schema of data with schema '[{}]'. Error: {reason}",
        "'column': double (required), ".repeat(23)
    );
    json_answer(
        400,
        &json!({"error_code": "INVALID_PARAMETER_VALUE", "message": message, "sqlstate": "KAM01", "error_class": "SCHEMA_ENFORCEMENT_FAILED"}),
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
        return bad_request("Invalid input. Ensure that input is a valid JSON formatted string.");
    };
    let formats = [
        "dataframe_split",
        "dataframe_records",
        "instances",
        "inputs",
    ];
    let given = formats.iter().filter(|name| body.contains_key(**name));
    if given.count() != 1 {
        return bad_request("The input must have exactly one of the formats");
    }
    let Some(split) = body.get("dataframe_split") else {
        return bad_request("Failed to enforce schema of data: expected named columns");
    };
    let (Some(names), Some(rows)) = (split["columns"].as_array(), split["data"].as_array()) else {
        return bad_request("Provided dataframe_split field is not a valid dataframe");
    };
    let mut places = Vec::new();
    for column in columns {
        let Some(place) = names.iter().position(|name| name == column) else {
            return schema_failed(&format!("Model is missing inputs ['{column}']."));
        };
        places.push(place);
    }
    let mut predictions = Vec::new();
    for row in rows {
        let numbers: Option<Vec<f64>> = places.iter().map(|place| row[*place].as_f64()).collect();
        let Some(numbers) = numbers else {
            return evaluation_failed();
        };
        predictions.push((predict.0)(&numbers));
    }
    json_answer(200, &json!({ "predictions": predictions }))
}
