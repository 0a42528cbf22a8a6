//! What a running daemon writes down is what it decided, and `sentinel replay` comes to the same, while it runs and after its end.

use std::process::{Command, Output};

use serde_json::Value;

use super::daemon::*;

fn replay(daemon: &Daemon) -> (Output, Value) {
    let directory = daemon
        .folder
        .path()
        .join(".ops_local/sentinel/dry-run/audit");
    let output = Command::new(env!("CARGO_BIN_EXE_sentinel"))
        .args(["replay", "--json", directory.to_str().unwrap()])
        .output()
        .unwrap();
    let report = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output, report)
}

#[test]
fn decisions_of_either_model_are_in_the_audit_and_are_reproduced() {
    let feed = frozen_eodhd();
    let hub = mlflow();
    for hub in [Some(hub.address()), None] {
        let mut daemon = Daemon::start(&Start {
            eodhd: &feed.url(),
            hub,
            ..Start::default()
        });
        let decided = "sentinel_stage_last_success_timestamp_seconds{stage=\"decide\"}";
        daemon.eventually("a decision", |daemon| {
            daemon.metrics()?.get(decided).filter(|at| *at > 0.0)
        });
        let (output, report) = replay(&daemon);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!(
            (&report["decisions"], &report["reproduced"]),
            (&1.into(), &1.into())
        );
        daemon.terminate();
        daemon.wait();
        let (output, after) = replay(&daemon);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!(after["last_sha256"], report["last_sha256"]);
    }
}
