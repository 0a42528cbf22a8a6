//! A page with every kind of family, judged by `promtool check metrics`.

use std::io::Write;
use std::process::{Command, Stdio};

use metricsd_exporter::{Family, Kind, Series, Value, write_text};

use crate::skip::skip;

#[test]
fn promtool_finds_no_fault() {
    if Command::new("promtool")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_err()
    {
        return skip(
            "promtool_finds_no_fault",
            "no promtool on PATH; Debian's package `prometheus` has it",
        );
    }
    let series = |value| Series {
        labels: vec![("zone".to_string(), "\\ \n \" é".to_string())],
        start_unix_seconds: None,
        value,
    };
    let buckets = vec![(0.005, 1.0), (1e6, 2.0), (f64::INFINITY, 3.0)];
    let quantiles = vec![(0.5, f64::NAN), (0.99, 1e-5)];
    let families: Vec<Family> = [
        ("orders", Kind::Counter, Value::Single(1e16)),
        (
            "equity_ratio",
            Kind::Gauge,
            Value::Single(f64::NEG_INFINITY),
        ),
        (
            "step_seconds",
            Kind::Histogram,
            Value::Histogram { buckets, sum: 1e6 },
        ),
        (
            "fill_seconds",
            Kind::Summary,
            Value::Summary {
                count: 3.0,
                sum: 1.5,
                quantiles,
            },
        ),
        ("feed_bytes", Kind::Untyped, Value::Single(-0.0)),
    ]
    .into_iter()
    .map(|(name, kind, value)| Family {
        name: name.to_string(),
        help: "What it is \\ \n \".".to_string(),
        kind,
        series: vec![series(value)],
    })
    .collect();
    let mut page = Vec::new();
    write_text(&families, &mut page);
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    promtool
        .stdin
        .take()
        .expect("stdin is piped")
        .write_all(&page)
        .expect("promtool reads");
    let output = promtool.wait_with_output().expect("promtool ends");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
