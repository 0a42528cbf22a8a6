//! Each way in which a file is no model is refused with a sentence that names the file, what was found and what is accepted.

use serde_json::{Value, json};

use super::*;

const PATH: &str = "some/model.json";

fn shipped() -> Value {
    serde_json::from_str(include_str!("../../../model/softmax-eurusd-1h.json")).expect("JSON")
}

fn refusal(document: &Value) -> String {
    let text = document.to_string();
    match parse(Path::new(PATH), text.as_bytes()) {
        Ok(_) => panic!("accepted"),
        Err(error) => error.to_string(),
    }
}

/// The shipped document with one value replaced.
fn with(pointer: &str, value: Value) -> Value {
    let mut document = shipped();
    *document.pointer_mut(pointer).expect("the key is there") = value;
    document
}

#[test]
fn the_numbers_of_the_file_are_the_numbers_of_the_model() {
    let document = with("/coefficients/2/22", json!(0.125));
    let model = parse(Path::new(PATH), document.to_string().as_bytes()).expect("a model");
    assert_eq!(model.coefficients[2][22], 0.125);
    assert_eq!(Some(model.mean[3]), document["mean"][3].as_f64());
    assert_eq!(
        Some(model.intercepts[1]),
        document["intercepts"][1].as_f64()
    );
}

#[test]
fn every_key_is_needed_and_no_other_is_known() {
    let keys: Vec<String> = shipped()
        .as_object()
        .expect("an object")
        .keys()
        .cloned()
        .collect();
    assert_eq!(keys.len(), 11);
    for key in keys {
        let mut document = shipped();
        document.as_object_mut().expect("an object").remove(&key);
        let said = refusal(&document);
        assert!(
            said.starts_with(PATH) && said.contains(&format!("missing field `{key}`")),
            "{said}"
        );
    }
    let mut document = shipped();
    document["coeficients"] = json!([]);
    let said = refusal(&document);
    assert!(
        said.contains("unknown field `coeficients`") && said.contains("`coefficients`"),
        "{said}"
    );
    let mut document = shipped();
    document["confidence_reference"]["share"] = json!([]);
    assert!(refusal(&document).contains("unknown field `share`"));
}

#[test]
fn other_features_classes_shapes_and_numbers_are_refused_by_name() {
    let mut swapped = shipped();
    swapped["feature_names"]
        .as_array_mut()
        .expect("a list")
        .swap(5, 6);
    let mut short = shipped();
    short["coefficients"][1]
        .as_array_mut()
        .expect("a list")
        .pop();
    let mut names = shipped();
    names["feature_names"].as_array_mut().expect("a list").pop();
    for (document, sentence) in [
        (
            with("/feature_schema_version", json!(2)),
            "feature_schema_version is 2; accepted: 1",
        ),
        (
            swapped,
            "feature_names[5] is \"ema_20\"; accepted: \"ema_10\"",
        ),
        (
            names,
            "feature_names is 22 long; accepted: 23 of them: [\"return_1\"",
        ),
        (
            with("/class_names", json!(["buy", "hold", "sell"])),
            "class_names[0] is \"buy\"; accepted: \"sell\"",
        ),
        (short, "coefficients[1] is 22 numbers; accepted: 23 numbers"),
        (
            with("/coefficients", json!([])),
            "coefficients is 0 rows; accepted: 3 rows",
        ),
        (
            with("/intercepts", json!([0.0, 1.0])),
            "intercepts is 2 numbers; accepted: 3 numbers",
        ),
        (
            with("/scale/3", json!(0.0)),
            "scale[3] is 0; accepted: more than 0",
        ),
        (
            with("/scale/3", json!(-1)),
            "scale[3] is -1; accepted: more than 0",
        ),
        (
            with("/model", json!("")),
            "model is \"\"; accepted: 1 to 64",
        ),
        (
            with("/version", json!("1\n2")),
            "version is \"1\\n2\"; accepted: 1 to 64",
        ),
        (
            with("/confidence_reference/bounds/0", json!(0.3)),
            "confidence_reference.bounds[0] is 0.3; accepted: 0.34",
        ),
        (
            with("/confidence_reference/shares/0", json!(0.9)),
            "confidence_reference.shares is [",
        ),
        (
            with("/confidence_reference/shares/0", json!(-0.1)),
            "accepted: shares of 0 to 1 that add up to 1",
        ),
    ] {
        let said = refusal(&document);
        assert!(
            said.starts_with(PATH) && said.contains(sentence),
            "{said}\nexpected: {sentence}"
        );
    }
}

#[test]
fn a_number_that_is_not_finite_is_refused() {
    let text = with("/mean/0", json!("HERE")).to_string();
    for spelling in ["NaN", "Infinity", "1e999", "null", "\"1\""] {
        let text = text.replace("\"HERE\"", spelling);
        let refused = parse(Path::new(PATH), text.as_bytes());
        assert!(
            matches!(refused, Err(EmbeddedModelError::Malformed { .. })),
            "{spelling}: {refused:?}"
        );
    }
    let fault = numbers::<2>("mean", &[0.0, f64::NAN]);
    assert_eq!(fault.map_err(|(key, ..)| key), Err("mean[1]".to_owned()));
}

#[test]
fn a_file_that_cannot_be_read_or_is_far_too_long_is_refused() {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("model.json");
    let missing = read(&path);
    assert!(
        matches!(&missing, Err(EmbeddedModelError::Unreadable { .. })),
        "{missing:?}"
    );
    std::fs::write(&path, vec![b' '; BYTES_MAX as usize + 1]).expect("written");
    let long = read(&path);
    assert!(
        matches!(&long, Err(EmbeddedModelError::TooLarge { .. })),
        "{long:?}"
    );
    std::fs::write(&path, &shipped().to_string().as_bytes()[..1_000]).expect("written");
    let cut = read(&path);
    assert!(
        matches!(&cut, Err(EmbeddedModelError::Malformed { .. })),
        "{cut:?}"
    );
    let text = include_str!("../../../model/softmax-eurusd-1h.json");
    std::fs::write(&path, text).expect("written");
    assert_eq!(read(&path).expect("a model"), EmbeddedModel::shipped());
}
