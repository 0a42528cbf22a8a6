//! pandas and scikit-learn judge features and embedded model: every window of the shipped candles, and bars made to be nasty.
//!
//! The judge is `features_reference.py` beside this file, run by the interpreter of `cargo xtask test`.

mod recorded;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use market::Bar;
use sentinel::features::{self, BAR_COUNT, FeatureError, Features, NAMES};
use sentinel::model::EmbeddedModel;

/// How far a feature may be from pandas: relative to the number, and absolute for those near 0.
const RELATIVE: f64 = 1e-9;
const ABSOLUTE: f64 = 1e-12;
/// How far a probability may be from scikit-learn.
const PROBABILITY: f64 = 1e-12;

/// An interpreter that has what the training needs; without one the test named is reported as skipped.
fn python(test: &str) -> Option<PathBuf> {
    let named = std::env::var_os("METRICSD_TEST_TRAINING_PYTHON").map(PathBuf::from);
    let ours = recorded::root().join("target/xtask/training/bin/python");
    let works = |python: &PathBuf| {
        Command::new(python)
            .args(["-c", "import numpy, pandas, sklearn"])
            .output()
            .is_ok_and(|output| output.status.success())
    };
    let found = named.into_iter().chain([ours]).find(works);
    if found.is_none() {
        let why = "no Python with pandas and scikit-learn (METRICSD_TEST_TRAINING_PYTHON, target/xtask/training)";
        let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
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

/// Rows of `N` numbers that the judge wrote to `out`.
fn answer<const N: usize>(python: &Path, arguments: &[&str], out: &Path) -> Vec<[f64; N]> {
    let script = recorded::root().join("crates/sentinel/tests/features_reference.py");
    let run = Command::new(python)
        .arg(script)
        .args(arguments)
        .arg(out)
        .output()
        .expect("the interpreter that was just tried starts");
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(
        run.status.success(),
        "{arguments:?}: {}\n{said}",
        run.status
    );
    let bytes = std::fs::read(out).expect("the judge's answer");
    let number = |bytes: &[u8]| f64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    let rows = bytes.chunks_exact(8 * N);
    assert!(rows.remainder().is_empty());
    rows.map(|row| std::array::from_fn(|index| number(&row[8 * index..8 * index + 8])))
        .collect()
}

/// What pandas and scikit-learn say about each window of `bars`: features, or features and probabilities.
fn by_judge<const N: usize>(python: &Path, wanted: &str, bars: &[Bar]) -> Vec<[f64; N]> {
    let folder = tempfile::tempdir().expect("a directory");
    let (given, out) = (folder.path().join("bars"), folder.path().join("out"));
    let bytes: Vec<u8> = bars
        .iter()
        .flat_map(|bar| {
            let floats = [bar.open, bar.high, bar.low, bar.close, bar.volume];
            let floats = floats.into_iter().flat_map(f64::to_le_bytes);
            bar.open_time.to_le_bytes().into_iter().chain(floats)
        })
        .collect();
    std::fs::write(&given, bytes).expect("written");
    let given = given.to_string_lossy().into_owned();
    answer(python, &[wanted, &given], &out)
}

/// Whether a feature is what pandas says; `unit` is the size of the quantities that it is a sum or difference of.
fn is_near(found: f64, expected: f64, unit: f64) -> bool {
    let distance = (found - expected).abs();
    distance <= ABSOLUTE * unit.min(1.0) || distance <= RELATIVE * expected.abs()
}

/// The size of what a feature is made of: prices, volumes, or numbers without a unit.
fn unit(name: &str, newest: &Bar) -> f64 {
    match name {
        "volume_sma_20" => newest.volume,
        "macd" | "macd_signal" | "macd_histogram" | "momentum_5" | "acceleration_5" | "atr_14" => {
            newest.close
        }
        _ if name.starts_with("sma") || name.starts_with("ema") => newest.close,
        _ => 1.0,
    }
}

/// Compares every window, and returns how many of them have features.
fn compare(what: &str, bars: &[Bar], expected: &[[f64; 23]]) -> usize {
    assert_eq!(expected.len(), bars.len() + 1 - BAR_COUNT, "{what}");
    let mut with_features = 0;
    for (window, expected) in bars.windows(BAR_COUNT).zip(expected) {
        let newest = &window[BAR_COUNT - 1];
        let at = newest.open_time;
        match features::build(window) {
            Ok(found) => {
                with_features += 1;
                for ((found, expected), name) in found.values().iter().zip(expected).zip(NAMES) {
                    assert!(
                        is_near(*found, *expected, unit(name, newest)),
                        "{what}, {at}, {name}: {found:e}, pandas says {expected:e}"
                    );
                }
            }
            Err(FeatureError::NotFinite { name }) => assert!(
                expected.iter().any(|value| !value.is_finite()),
                "{what}, {at}: {name} is refused, pandas says {expected:?}"
            ),
            Err(error) => panic!("{what}, {at}: {error}"),
        }
    }
    with_features
}

/// A walk of the price by factors, from a small generator of the test's own, so that every run judges the same bars.
fn walk(first: f64, step: f64, volume: f64, flat_every: u64) -> Vec<Bar> {
    let mut state = 88_172_645_463_325_252_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let mut price = first;
    (0..600_u64)
        .map(|index| {
            let open = price;
            let moved = step * (2.0 * random() - 1.0);
            price *= 1.0 + if index % 60 < flat_every { 0.0 } else { moved };
            Bar {
                open_time: 1_483_308_000 + 3_600 * index as i64,
                open,
                high: open.max(price) * (1.0 + step * random()),
                low: open.min(price) * (1.0 - step * random()),
                close: price,
                volume: volume * random(),
            }
        })
        .collect()
}

#[test]
fn all_windows_of_the_shipped_candles_have_the_features_that_pandas_gives() {
    let Some(python) =
        python("all_windows_of_the_shipped_candles_have_the_features_that_pandas_gives")
    else {
        return;
    };
    let bars = recorded::bars();
    let expected = by_judge(&python, "features", &bars);
    assert_eq!(compare("shipped", &bars, &expected), 6_026);
}

#[test]
fn nasty_bars_have_the_features_that_pandas_gives() {
    let Some(python) = python("nasty_bars_have_the_features_that_pandas_gives") else {
        return;
    };
    let sets = [
        ("calm", walk(1.1, 1e-5, 1e9, 0)),
        ("wild", walk(1.1, 0.5, 1.0, 0)),
        ("often flat", walk(150.0, 0.001, 1e6, 40)),
        ("constant", walk(1.1, 0.0, 1e6, 60)),
        ("no volume", walk(1.1, 0.001, 0.0, 5)),
        ("huge", walk(1e300, 0.01, 1e300, 5)),
        ("tiny", walk(1e-300, 0.01, 1e-300, 5)),
        ("greatest", walk(f64::MAX / 16.0, 0.01, 1.0, 5)),
    ];
    // One question for all sets, since the judge takes long to start; windows that lie in two sets are not looked at.
    let together: Vec<Bar> = sets.iter().flat_map(|(_, bars)| bars.clone()).collect();
    let expected = by_judge(&python, "features", &together);
    for (index, (what, bars)) in sets.iter().enumerate() {
        let from = index * bars.len();
        let windows = bars.len() + 1 - BAR_COUNT;
        let with_features = compare(what, bars, &expected[from..from + windows]);
        // Near the end of the range sums overflow, here as there.
        let all_or_none = if *what == "greatest" { 0 } else { windows };
        assert_eq!(with_features, all_or_none, "{what}");
    }
}

#[test]
fn the_model_says_of_all_windows_what_scikit_learn_says() {
    let Some(python) = python("the_model_says_of_all_windows_what_scikit_learn_says") else {
        return;
    };
    let rows: Vec<[f64; 26]> = by_judge(&python, "predict", &recorded::bars());
    assert_eq!(rows.len(), 6_026);
    let model = EmbeddedModel::shipped();
    for (index, row) in rows.iter().enumerate() {
        let values = row[..23].try_into().expect("23 of 26");
        same_probabilities(&model, values, &row[23..], &format!("window {index}"));
    }
}

#[test]
fn the_committed_model_is_what_the_training_gives() {
    let Some(python) = python("the_committed_model_is_what_the_training_gives") else {
        return;
    };
    let script = recorded::root().join("crates/sentinel/training/train.py");
    let run = Command::new(&python)
        .arg("-B")
        .arg(script)
        .arg("--check")
        .output()
        .expect("the interpreter that was just tried starts");
    let said = String::from_utf8_lossy(&run.stdout) + String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}");
}

/// Needs no Python: the training left some of scikit-learn's answers beside the model.
#[test]
fn the_model_says_of_the_committed_sample_what_scikit_learn_said() {
    let path = recorded::root().join("crates/sentinel/model/softmax-eurusd-1h.sample.json");
    let text = std::fs::read_to_string(path).expect("the sample is part of the checkout");
    let sample: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let model = EmbeddedModel::shipped();
    assert_eq!(sample["model"], model.identity().model);
    assert_eq!(sample["version"], model.identity().version);
    let bars = recorded::bars();
    let numbers = |value: &serde_json::Value| -> Vec<f64> {
        let list = value.as_array().expect("a list");
        list.iter()
            .map(|cell| cell.as_f64().expect("a number"))
            .collect()
    };
    let rows = sample["rows"].as_array().expect("a list");
    assert!(rows.len() > 10);
    for row in rows {
        let (values, expected) = (numbers(&row["features"]), numbers(&row["probabilities"]));
        let values: [f64; 23] = values.try_into().expect("23");
        let open_time = row["open_time"].as_i64().expect("a time");
        same_probabilities(&model, values, &expected, &open_time.to_string());
        // And the features of that bar are those of the sample.
        let at = bars.iter().position(|bar| bar.open_time == open_time);
        let built = features::build(&bars[..=at.expect("one of the bars")]).expect("features");
        for ((found, expected), name) in built.values().iter().zip(values).zip(NAMES) {
            assert!(
                is_near(*found, expected, 1.0),
                "{name}: {found:e}, {expected:e}"
            );
        }
    }
}

fn same_probabilities(model: &EmbeddedModel, values: [f64; 23], expected: &[f64], which: &str) {
    let features = Features::new(values).expect("finite");
    let found = model.predict(&features).expect("probabilities").to_array();
    assert_eq!(expected.len(), 3);
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            (found - expected).abs() <= PROBABILITY,
            "{which}: {found}, scikit-learn says {expected}"
        );
    }
}
