//! The vectors of the gateway protocol, which the Python peer reads too, and that peer's own self-test.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use program::secret::Secret;
use sentinel::gateway::protocol::{Json, Key, MAX_REPLY_BYTES, ProtocolError, Reply, Request};
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn vectors() -> Value {
    let path = root().join("docs/gateway-protocol-vectors.json");
    let text = std::fs::read_to_string(path).expect("the vectors are committed");
    serde_json::from_str(&text).expect("the vectors are JSON")
}

fn section<'a>(vectors: &'a Value, name: &str) -> &'a [Value] {
    let list = vectors[name].as_array().expect("a section is a list");
    assert!(!list.is_empty(), "{name} has no vectors");
    list
}

fn text<'a>(vector: &'a Value, field: &str) -> &'a str {
    vector[field]
        .as_str()
        .unwrap_or_else(|| panic!("{field} is a text in {vector}"))
}

fn key(vectors: &Value) -> Key {
    let secret = Secret::new(text(vectors, "secret")).expect("a text");
    Key::new(&secret).expect("a key")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let pair = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal digits");
    (0..text.len()).step_by(2).map(pair).collect()
}

fn wire(vector: &Value) -> Vec<u8> {
    match vector["wire_hex"].as_str() {
        Some(digits) => unhex(digits),
        None => text(vector, "wire").as_bytes().to_vec(),
    }
}

/// Decodes by the kind of the vector, and encodes again.
fn decode(vector: &Value, key: &Key) -> Result<Vec<u8>, ProtocolError> {
    let bytes = wire(vector);
    match text(vector, "kind") {
        "request" => Request::decode(&bytes, key)?.encode(key),
        "reply" => Reply::decode(&bytes, key)?.encode(key),
        other => panic!("{other} is no kind"),
    }
}

#[test]
fn canonical_bytes_are_those_of_the_vectors() {
    for vector in section(&vectors(), "canonical") {
        let value = Json::parse(text(vector, "text").as_bytes(), MAX_REPLY_BYTES);
        let canonical = value.expect("a value of the wire").canonical();
        assert_eq!(
            hex(&canonical),
            text(vector, "canonical_hex"),
            "{}",
            vector["name"]
        );
    }
}

#[test]
fn every_message_has_the_bytes_and_the_mac_of_its_vector() {
    let vectors = vectors();
    for vector in section(&vectors, "messages") {
        let object = serde_json::to_vec(&vector["object"]).expect("JSON");
        let object = Json::parse(&object, MAX_REPLY_BYTES).expect("a value of the wire");
        assert_eq!(
            hex(&object.canonical()),
            text(vector, "canonical_hex"),
            "{}",
            vector["name"]
        );
        let again = decode(vector, &key(&vectors))
            .unwrap_or_else(|error| panic!("{}: {error}", vector["name"]));
        let again = String::from_utf8(again).expect("JSON is UTF-8");
        assert_eq!(again, text(vector, "wire"), "{}", vector["name"]);
        assert!(again.contains(text(vector, "mac")), "{}", vector["name"]);
    }
}

#[test]
fn every_wrong_message_is_refused_with_the_code_of_its_vector() {
    let vectors = vectors();
    for vector in section(&vectors, "wire") {
        let code = decode(vector, &key(&vectors))
            .err()
            .map(|error| error.code().as_str());
        assert_eq!(code, vector["code"].as_str(), "{}", vector["name"]);
    }
}

/// The gateway's memory is the gateway's; what can be told without it, the form and the time, has to be told alike on both sides.
#[test]
fn the_steps_of_the_exchanges_are_as_timely_here_as_there() {
    let vectors = vectors();
    let mut late = 0;
    for exchange in section(&vectors, "exchanges") {
        for step in exchange["steps"].as_array().expect("steps") {
            let now = step["now"].as_i64().expect("milliseconds");
            let refused = step["payload"]["code"].as_str();
            let request = match Request::decode(&wire(step), &key(&vectors)) {
                Ok(request) => request,
                Err(error) => {
                    assert_eq!(Some(error.code().as_str()), refused, "{}", exchange["name"]);
                    continue;
                }
            };
            if !request.is_timely(now) {
                assert_eq!(refused, Some("late"), "{}", exchange["name"]);
                late += 1;
            }
        }
    }
    assert_eq!(
        late, 3,
        "late orders, orders from the future and late questions"
    );
}

/// The interpreter with pyzmq; without one the test is reported as skipped.
fn python(test: &str) -> Option<PathBuf> {
    let named = std::env::var_os("METRICSD_TEST_GATEWAY_PYTHON").map(PathBuf::from);
    let ours = root().join("target/xtask/gateway/bin/python");
    let works = |python: &PathBuf| {
        let check = Command::new(python).args(["-c", "import zmq"]).output();
        check.is_ok_and(|output| output.status.success())
    };
    let found = named.into_iter().chain([ours]).find(works);
    if found.is_none() {
        let why =
            "no Python with pyzmq (METRICSD_TEST_GATEWAY_PYTHON, target/xtask/gateway/bin/python)";
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

#[test]
fn the_reference_peer_passes_its_self_test() {
    let Some(python) = python("the_reference_peer_passes_its_self_test") else {
        return;
    };
    let output = Command::new(python)
        .arg("-B")
        .arg(root().join("ops/gateway/peer.py"))
        .arg("--self-test")
        .output()
        .expect("the interpreter that was just tried starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{complaint}");
    let vectors = vectors();
    let counts = ["canonical", "messages", "wire", "exchanges"]
        .map(|name| format!("{} {name}", section(&vectors, name).len()));
    assert_eq!(
        said.trim(),
        format!("PASS {}, 1 broker elsewhere, 1 process", counts.join(", "))
    );
}
