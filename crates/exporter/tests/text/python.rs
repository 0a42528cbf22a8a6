//! Differential tests against `prometheus_client`: numbers, pages and filters, in both directions.

use std::cell::RefCell;

use metricsd_exporter::{
    Family, Kind, NameFilter, Series, Value, format_float, write_text, write_text_filtered,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value as Json, json};

use crate::flat::{self, Flat};
use crate::python_judge::Python;

fn hex(v: f64) -> String {
    format!("{:016x}", v.to_bits())
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    })
}

/// Random bits, whole numbers, short decimals, and every neighbourhood in which a spelling rule changes.
fn numbers() -> Vec<f64> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut numbers: Vec<f64> = (0..60_000).map(|_| f64::from_bits(random())).collect();
    numbers.extend((0..20_000).map(|_| (random() >> (random() % 64)) as f64));
    numbers.extend((0..20_000).map(|_| {
        (random() % 1_000_000_000) as f64 / [10.0, 100.0, 1e3, 1e5, 1e9][(random() % 5) as usize]
    }));
    numbers.extend((-1074..1024).map(|power| 2f64.powi(power)));
    let edges = (-330..=309)
        .map(|power| format!("1e{power}").parse::<f64>().expect("a number"))
        .collect::<Vec<_>>();
    for edge in edges.into_iter().chain([
        0.0,
        5e-324,
        f64::MIN_POSITIVE,
        f64::MAX,
        f64::INFINITY,
        f64::NAN,
        9_007_199_254_740_992.0,
    ]) {
        let around = edge.to_bits().saturating_sub(3)..=edge.to_bits().saturating_add(3);
        numbers.extend(around.map(f64::from_bits));
    }
    let negated: Vec<f64> = numbers.iter().map(|v| -v).collect();
    numbers.extend(negated);
    numbers
}

#[test]
fn every_number_is_spelled_as_python_spells_it() {
    let Some(mut python) = Python::start("every_number_is_spelled_as_python_spells_it") else {
        return;
    };
    for numbers in numbers().chunks(10_000) {
        let request: Vec<String> = numbers.iter().map(|v| hex(*v)).collect();
        let expected = python.ask("spell", json!(request));
        for (index, v) in numbers.iter().enumerate() {
            let mut spelled = Vec::new();
            format_float(*v, &mut spelled);
            assert_eq!(
                Some(String::from_utf8_lossy(&spelled).as_ref()),
                expected[index].as_str(),
                "bits {}",
                hex(*v)
            );
        }
    }
}

#[test]
fn python_parses_what_was_written() {
    let Some(python) = Python::start("python_parses_what_was_written") else {
        return;
    };
    let python = RefCell::new(python);
    let checked = runner(400).run(&flat::families(), |families| {
        let mut page = Vec::new();
        let written = write_text(&families, &mut page);
        let page = String::from_utf8(page).expect("UTF-8 in, UTF-8 out");
        let parsed = python.borrow_mut().ask("parse", json!(page));
        let expected = flat::samples(&families);
        let found = samples_of(&parsed);
        prop_assert_eq!(written.samples, expected.len());
        prop_assert_eq!(found.len(), expected.len(), "{}", page);
        for (found, expected) in found.iter().zip(&expected) {
            prop_assert!(
                found.same(expected),
                "{:?} instead of {:?}",
                found,
                expected
            );
        }
        for (family, found) in families.iter().zip(parsed.as_array().expect("a list")) {
            let kind = if family.kind == Kind::Untyped {
                "unknown"
            } else {
                family.kind.as_str()
            };
            prop_assert_eq!(found[0].as_str(), Some(family.name.as_str()));
            prop_assert_eq!(found[1].as_str(), Some(family.help.as_str()));
            prop_assert_eq!(found[2].as_str(), Some(kind));
        }
        Ok(())
    });
    checked.expect("Python reads the values that were written");
}

fn samples_of(parsed: &Json) -> Vec<Flat> {
    let families = parsed.as_array().expect("a list of families");
    let samples = families
        .iter()
        .flat_map(|family| family[3].as_array().expect("a list of samples"));
    samples
        .map(|sample| {
            let labels = sample[1].as_object().expect("labels");
            let mut labels: Vec<(String, String)> = labels
                .iter()
                .map(|(name, value)| (name.clone(), value.as_str().expect("a string").to_string()))
                .collect();
            labels.sort();
            let bits = u64::from_str_radix(sample[2].as_str().expect("hex"), 16).expect("hex");
            Flat {
                name: sample[0].as_str().expect("a name").to_string(),
                labels,
                value: f64::from_bits(bits),
            }
        })
        .collect()
}

/// The families in the form in which the Python side builds its own from them.
fn for_python(families: &[Family]) -> Json {
    let family = |family: &Family| {
        let samples: Vec<Json> = flat::samples(std::slice::from_ref(family))
            .iter()
            .map(|s| json!([s.name, s.labels, hex(s.value)]))
            .collect();
        json!([family.name, family.help, family.kind.as_str(), samples])
    };
    families.iter().map(family).collect()
}

#[test]
fn pages_equal_pythons_byte_for_byte() {
    let Some(python) = Python::start("pages_equal_pythons_byte_for_byte") else {
        return;
    };
    let python = RefCell::new(python);
    let checked = runner(400).run(&flat::families(), |families| {
        let mut page = Vec::new();
        write_text(&families, &mut page);
        let expected = python
            .borrow_mut()
            .ask("write", json!({ "families": for_python(&families) }));
        prop_assert_eq!(std::str::from_utf8(&page).ok(), expected.as_str());
        Ok(())
    });
    checked.expect("both writers agree");
}

#[test]
fn filtered_pages_equal_pythons() {
    let Some(python) = Python::start("filtered_pages_equal_pythons") else {
        return;
    };
    let python = RefCell::new(python);
    let checked = runner(200).run(&(flat::families(), any::<u64>()), |(families, choice)| {
        // Every other sample name, and the family names, which reach nothing in counters and histograms.
        let names = flat::samples(&families)
            .into_iter()
            .map(|sample| sample.name)
            .chain(families.iter().map(|f| f.name.clone()));
        let names: Vec<String> = names
            .enumerate()
            .filter(|(at, _)| choice >> (at % 64) & 1 == 1)
            .map(|(_, name)| name)
            .collect();
        prop_assume!(!names.is_empty());
        let mut page = Vec::new();
        write_text_filtered(&families, &NameFilter::only(names.clone()), &mut page);
        let expected = python.borrow_mut().ask(
            "write_only",
            json!({ "families": for_python(&families), "names": names }),
        );
        prop_assert_eq!(std::str::from_utf8(&page).ok(), expected.as_str());
        Ok(())
    });
    checked.expect("both writers agree");
}

#[test]
fn samples_of_openmetrics_become_gauges_behind_their_family_as_in_python() {
    let Some(mut python) =
        Python::start("samples_of_openmetrics_become_gauges_behind_their_family_as_in_python")
    else {
        return;
    };
    let sample = |name: &str, value: f64| (name.to_string(), Vec::new(), value);
    let series = |path: &str| Series {
        labels: vec![("path".to_string(), path.to_string())],
        start_unix_seconds: None,
        value: Value::Samples(vec![
            sample("h_gsum", 1.5),
            sample("h_created", 1.7e9),
            sample("h_gcount", 2.0),
            sample("h_sum", 3.0),
        ]),
    };
    let family = Family {
        name: "h".to_string(),
        help: "a\\b\n".to_string(),
        kind: Kind::Histogram,
        series: vec![series("/"), series("/x")],
    };
    let mut page = Vec::new();
    write_text(std::slice::from_ref(&family), &mut page);
    let expected = python.ask("write", json!({ "families": for_python(&[family]) }));
    assert_eq!(std::str::from_utf8(&page).ok(), expected.as_str());
}
