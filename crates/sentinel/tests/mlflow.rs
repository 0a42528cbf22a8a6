//! MLflow's own scoring server at the other end of the wire, made ready by `cargo xtask test`.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sentinel::error_code::ErrorCode;
use sentinel::features::{Features, NAMES};
use sentinel::http::{Client, Method, Request};
use sentinel::model::hub::HubModel;

const PATIENCE: Duration = Duration::from_secs(120);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The interpreter with MLflow; without one the test is reported as skipped.
fn python(test: &str) -> Option<PathBuf> {
    let named = std::env::var_os("METRICSD_TEST_MLFLOW_PYTHON").map(PathBuf::from);
    let ours = root().join("target/xtask/mlflow/bin/python");
    let works = |python: &PathBuf| {
        let check = Command::new(python)
            .args(["-c", "import mlflow.version, uvicorn"])
            .output();
        check.is_ok_and(|output| output.status.success())
    };
    let found = named.into_iter().chain([ours]).find(works);
    if found.is_none() {
        let why =
            "no Python with MLflow (METRICSD_TEST_MLFLOW_PYTHON, target/xtask/mlflow/bin/python)";
        let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {why}");
        if let Some(path) = std::env::var_os("METRICSD_TEST_SKIPS") {
            let file = std::fs::File::options()
                .append(true)
                .create(true)
                .open(path);
            let _ = file.and_then(|mut file| writeln!(file, "{test}: {why}"));
        }
    }
    found
}

/// A scoring server; killed by its id when dropped.
struct Server(Child);

impl Server {
    fn start(python: &Path, folder: &Path, port: u16) -> Server {
        let log = std::fs::File::create(folder.join("server.log")).expect("a log");
        let child = Command::new(python)
            .args(["-m", "uvicorn", "--host", "127.0.0.1", "--port"])
            .arg(port.to_string())
            .arg("mlflow.pyfunc.scoring_server.app:app")
            .env("__pyfunc_model_path__", folder.join("model"))
            .env("MLFLOW_DISABLE_TELEMETRY", "true")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log again"))
            .stderr(log)
            .spawn()
            .expect("the interpreter that was just tried starts");
        Server(child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn soon() -> Instant {
    Instant::now() + PATIENCE
}

/// Waits until the server says its version.
fn wait_for(hub: &HubModel, folder: &Path) -> String {
    let limit = soon();
    loop {
        match hub.server_version(soon()) {
            Ok(version) => return version,
            Err(error) if Instant::now() > limit => {
                let log = std::fs::read_to_string(folder.join("server.log"));
                panic!("{error}; {}", log.unwrap_or_default());
            }
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

#[derive(serde::Deserialize)]
struct Expected {
    rows: Vec<Vec<f64>>,
    probabilities: Vec<Vec<f64>>,
}

#[test]
fn a_real_scoring_server_gives_scikit_learns_probabilities_and_its_errors_are_typed() {
    let test = "a_real_scoring_server_gives_scikit_learns_probabilities_and_its_errors_are_typed";
    let Some(python) = python(test) else { return };
    let folder = tempfile::tempdir().expect("a directory");
    let folder = folder.path();
    let names = serde_json::to_string(&NAMES).expect("names are JSON");
    std::fs::write(folder.join("names.json"), names).expect("a file");
    let made = Command::new(&python)
        .arg(root().join("crates/sentinel/tests/mlflow_model.py"))
        .arg(folder)
        .arg(folder.join("names.json"))
        .output()
        .expect("the interpreter that was just tried starts");
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{said}");
    let expected = std::fs::read(folder.join("expected.json")).expect("what scikit-learn says");
    let expected: Expected = serde_json::from_slice(&expected).expect("rows and probabilities");

    // Free now; another program may take it before the server does, and then the test says so.
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let port = port.expect("a loopback port").port();
    let hub = HubModel::new("127.0.0.1", port, PATIENCE);
    let features: Vec<Features> = expected
        .rows
        .iter()
        .map(|row| Features::new(row.as_slice().try_into().expect("23 numbers")).expect("finite"))
        .collect();
    let code = hub
        .predict(&features[0], soon())
        .map_err(|error| error.code);
    assert_eq!(code, Err(ErrorCode::Connect), "not started yet");

    let server = Server::start(&python, folder, port);
    let version = wait_for(&hub, folder);
    assert!(version.starts_with("3."), "{version}");
    for (features, wanted) in features.iter().zip(&expected.probabilities) {
        let found = hub
            .predict(features, soon())
            .expect("a prediction")
            .to_array();
        for (found, wanted) in found.iter().zip(wanted) {
            assert!((found - wanted).abs() < 1e-12, "{found} {wanted}");
        }
    }

    // The same request without the last column.
    let body = serde_json::json!({"dataframe_split": {
        "columns": &NAMES[..22], "data": [&features[0].values()[..22]]}});
    let request = |body: String| Request {
        method: Method::PostJson(body.into_bytes()),
        url: format!("http://127.0.0.1:{port}/invocations"),
        secret: None,
        body_max: 65_536,
    };
    let error = Client::new().call(request(body.to_string()), soon());
    let error = error.expect_err("a column is missing");
    assert_eq!(error.code, ErrorCode::Http4xx);
    assert!(error.detail.contains(NAMES[22]), "{error}");
    assert!(
        error.detail.chars().count() <= 200 && !error.detail.contains('\n'),
        "{error}"
    );
    let error = Client::new().call(request("{".to_owned()), soon());
    assert_eq!(error.map_err(|error| error.code), Err(ErrorCode::Http4xx));

    drop(server);
    let code = hub
        .predict(&features[0], soon())
        .map_err(|error| error.code);
    assert_eq!(code, Err(ErrorCode::Connect), "killed");
    let _server = Server::start(&python, folder, port);
    wait_for(&hub, folder);
    assert!(hub.predict(&features[0], soon()).is_ok(), "started again");
}
