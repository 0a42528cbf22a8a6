//! What a macro of the `metrics` crate costs over this recorder, beside the client's own handle, in one interleaved run.
//!
//! `cargo bench -p metricsd-recorder --bench facade` prints the median of the rounds for each case, in nanoseconds. Shards lie in a temporary
//! directory. Nothing is asserted: a figure depends on the machine.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::{self, Write};
use std::time::Instant;

use metrics::{counter, gauge, histogram, with_local_recorder};
use metricsd_client::{Registry, Settings, Target};
use metricsd_recorder::Recorder;

const CALLS: u32 = 20_000;
const METHODS: [&str; 3] = ["GET", "POST", "PUT"];
const PATHS: [&str; 8] = [
    "/api/v1/users",
    "/api/v1/users/:id",
    "/api/v1/products",
    "/api/v1/products/:id",
    "/api/v1/orders",
    "/api/v1/orders/:id",
    "/login",
    "/healthz",
];

/// What is measured: its name, and a call of it.
type Case = (&'static str, Box<dyn FnMut(usize)>);

fn main() -> io::Result<()> {
    // Without `--bench` it is run as a test: once, to see that it works.
    let rounds = if std::env::args().any(|argument| argument == "--bench") {
        101
    } else {
        1
    };
    let directory = tempfile::tempdir()?;
    let registry = Registry::start(Settings {
        program: "facade".to_owned(),
        version: String::new(),
        runs_as: "bench".to_owned(),
        target: Target::Shards {
            directory: directory.path().to_owned(),
        },
        labels: BTreeMap::new(),
        warnings: Vec::new(),
    });
    let recorder = Recorder::new(registry.clone());
    let own = registry.counter("own_total", "A handle of the client.");
    let own_histogram = registry.histogram("own_seconds", "Likewise.", &[0.1, 1.0]);
    let (methods, paths) = (black_box(METHODS), black_box(PATHS));
    let held = with_local_recorder(&recorder, || counter!("held"));

    let mut cases: Vec<Case> = vec![
        ("client: held handle, inc", Box::new(move |_| own.inc())),
        (
            "facade: held handle, increment",
            Box::new(move |_| held.increment(1)),
        ),
        (
            "facade: counter!(name)",
            Box::new(|_| counter!("plain").increment(1)),
        ),
        (
            "facade: counter!(name, two literals)",
            Box::new(|_| counter!("literal", "method" => "GET", "path" => "/login").increment(1)),
        ),
        (
            "facade: counter!(name, two strings of 3 x 8)",
            Box::new(move |n| {
                let (method, path) = (methods[n % 3], paths[n / 3 % 8]);
                counter!("strings", "method" => method, "path" => path).increment(1);
            }),
        ),
        (
            "facade: gauge!(name).set",
            Box::new(|n| gauge!("level").set(n as f64)),
        ),
        (
            "client: held handle, observe",
            Box::new(move |_| own_histogram.observe(black_box(0.5))),
        ),
        (
            "facade: histogram!(name).record",
            Box::new(|_| histogram!("step").record(black_box(0.5))),
        ),
    ];
    let mut times: Vec<Vec<f64>> = cases.iter().map(|_| Vec::new()).collect();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let numbers: Vec<usize> = (0..65_536)
        .map(|_| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random >> 40) as usize
        })
        .collect();
    with_local_recorder(&recorder, || {
        for _ in 0..rounds {
            for ((_, case), times) in cases.iter_mut().zip(&mut times) {
                let begin = Instant::now();
                for call in 0..CALLS as usize {
                    case(numbers[call % numbers.len()]);
                }
                times.push(begin.elapsed().as_nanos() as f64 / f64::from(CALLS));
            }
        }
    });
    let mut out = io::stdout().lock();
    for ((name, _), mut times) in cases.iter().zip(times) {
        times.sort_by(f64::total_cmp);
        writeln!(out, "{:8.2} {name}", times[times.len() / 2])?;
    }
    Ok(())
}
