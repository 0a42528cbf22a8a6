//! Python's own hot path, in the multiprocess mode whose files we write too.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::rounds::{Effort, Spread};

use super::{ADD, ENUMS, INC, OBSERVE_11, SET, STRINGS};

/// Prints a line for each round: nanoseconds a call of each thing, in the order of [`GROUPS`].
const PROGRAM: &str = "
import sys, time
from prometheus_client import Counter, Gauge, Histogram
counter, added = Counter('bench_inc', 'x'), Counter('bench_add', 'x')
gauge = Gauge('bench_set', 'x', multiprocess_mode='livemax')
histogram = Histogram('bench_observed', 'x', buckets=[.005, .01, .025, .05, .1, .25, .5, 1., 2.5, 5., 10.])
labelled = Counter('bench_labels', 'x', ['method', 'path'])
calls = [counter.inc, lambda: added.inc(0.25), lambda: gauge.set(0.25), lambda: histogram.observe(0.3), lambda: labelled.labels('get', 'api.v1.users').inc()]
for _ in range(int(sys.argv[1])):
    took = []
    for call in calls:
        start = time.perf_counter()
        for _ in range(2000):
            call()
        took.append((time.perf_counter() - start) / 2000 * 1e9)
    print(*took, flush=True)
";

/// The groups of a line. Labels are the same to Python, whatever they were made of.
const GROUPS: [&[&str]; 5] = [&[INC], &[ADD], &[SET], &[OBSERVE_11], &[ENUMS, STRINGS]];

/// Nanoseconds a call by group, right after the interleaved run.
///
/// # Errors
/// When Python does not run.
pub(crate) fn measure(python: &Path, effort: Effort) -> Result<Vec<(&'static str, Spread)>> {
    let directory = crate::shards::scratch()?;
    let output = Command::new(python)
        .args(["-c", PROGRAM, &effort.rounds_alone.min(51).to_string()])
        .env("PROMETHEUS_MULTIPROC_DIR", directory.path())
        .output()
        .context("starting Python")?;
    ensure!(
        output.status.success(),
        "Python's hot path ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let mut figures = vec![Vec::new(); GROUPS.len()];
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        for (word, figures) in line.split_whitespace().zip(&mut figures) {
            figures.push(word.parse().with_context(|| format!("reading '{line}'"))?);
        }
    }
    let spreads = GROUPS.iter().zip(figures);
    Ok(spreads
        .flat_map(|(groups, figures)| {
            let spread = Spread::of(figures);
            groups
                .iter()
                .filter_map(move |&group| Some((group, spread?)))
        })
        .collect())
}
