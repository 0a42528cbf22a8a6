//! The shipped candles as bars, for tests and benchmarks.
#![allow(clippy::expect_used, reason = "a broken data file must stop the test")]

use std::path::{Path, PathBuf};

use market::Bar;

/// The checkout.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All of them, oldest first.
pub(crate) fn bars() -> Vec<Bar> {
    let text = std::fs::read_to_string(root().join("data/eurusd-1h-2017.csv"));
    let text = text.expect("the candles are part of the checkout");
    let lines = text.lines().filter(|line| !line.starts_with('#')).skip(1);
    let bars: Vec<Bar> = lines.map(bar).collect();
    assert_eq!(bars.len(), 6_225);
    bars
}

fn bar(line: &str) -> Bar {
    let (open_time, rest) = line.split_once(',').expect("columns");
    let open_time: jiff::Timestamp = open_time.parse().expect("a time");
    let numbers: Vec<f64> = rest
        .split(',')
        .map(|cell| cell.parse().expect("a number"))
        .collect();
    let [open, high, low, close, volume] = numbers[..] else {
        panic!("{line}: not five numbers")
    };
    Bar {
        open_time: open_time.as_second(),
        open,
        high,
        low,
        close,
        volume,
    }
}
