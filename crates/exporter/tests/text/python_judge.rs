//! A Python interpreter with `prometheus_client`, asked over its standard streams.
//!
//! Invariant: one request is one line of JSON, one answer is one line of JSON; the interpreter ends with the test.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value as Json;

use crate::skip::skip;

/// Loads the library, then answers requests until its input ends.
const PROLOGUE: &str = r#"
import json, struct, sys
import prometheus_client
from prometheus_client.core import CollectorRegistry, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

def double(bits):
    return struct.unpack('>d', bytes.fromhex(bits))[0]

def bits(value):
    return struct.pack('>d', float(value)).hex()

def spell(request):
    return [floatToGoString(double(b)) for b in request]

def parse(text):
    return [[f.name, f.documentation, f.type, [[s.name, s.labels, bits(s.value)] for s in f.samples]]
            for f in text_string_to_metric_families(text)]

def generate(families):
    class Collector:
        def collect(self):
            for name, help, kind, samples in families:
                metric = Metric(name, help, kind)
                metric.samples = [Sample(n, dict(l), double(b)) for n, l, b in samples]
                yield metric
    registry = CollectorRegistry(support_collectors_without_names=True)
    registry.register(Collector())
    return registry

def write(request):
    return generate_latest(generate(request['families'])).decode('utf-8')

def write_only(request):
    return generate_latest(generate(request['families']).restricted_registry(request['names'])).decode('utf-8')

for line in sys.stdin:
    request = json.loads(line)
    answer = globals()[request['do']](request['with'])
    sys.stdout.write(json.dumps(answer) + '\n')
    sys.stdout.flush()
"#;

/// A running interpreter.
pub(crate) struct Python {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Python {
    /// Start one, or say on behalf of `test` why it is skipped.
    pub(crate) fn start(test: &str) -> Option<Python> {
        let given = std::env::var_os("METRICSD_TEST_PYTHON").map(PathBuf::from);
        let workspace =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/xtask/venv/bin/python");
        let can_import = |python: &PathBuf| {
            let import = Command::new(python)
                .args(["-c", "import prometheus_client"])
                .stderr(Stdio::null())
                .status();
            import.is_ok_and(|status| status.success())
        };
        let Some(python) = given.into_iter().chain([workspace]).find(can_import) else {
            skip(
                test,
                "no Python with prometheus_client; set METRICSD_TEST_PYTHON or run `cargo xtask test`",
            );
            return None;
        };
        let mut child = Command::new(python)
            .args(["-X", "utf8", "-c", PROLOGUE])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the interpreter that could import starts");
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        Some(Python {
            child,
            stdin,
            stdout,
        })
    }

    /// Ask for one thing; the interpreter's traceback is on stderr if there is no answer.
    pub(crate) fn ask(&mut self, what: &str, with: Json) -> Json {
        let request = serde_json::json!({ "do": what, "with": with });
        let stdin = self.stdin.as_mut().expect("open until dropped");
        writeln!(stdin, "{request}").expect("the interpreter reads");
        let mut answer = String::new();
        self.stdout
            .read_line(&mut answer)
            .expect("the interpreter answers");
        assert!(!answer.is_empty(), "Python refused: {request}");
        serde_json::from_str(&answer).expect("JSON")
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}
