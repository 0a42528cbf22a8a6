//! What a call costs: handles, label sets and text against what the machine allows, in one interleaved run.
//!
//! `cargo bench -p metricsd-client --bench hot [-- STARTS]` runs itself as `STARTS` processes, one after another (20 if none is said),
//! since where a process's memory lies can change a figure for its whole life; it prints, of the medians of those processes, the
//! median and the worst, in nanoseconds. Shards lie in a temporary directory. Nothing is asserted: a figure depends on the machine.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::{self, BufRead, Write};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use metricsd_client::{Counter, Registry, Settings, Target, label_set, label_text, label_value};

const ROUNDS: usize = 41;
const CALLS: usize = 20_000;
/// So many that the processor cannot learn the sequence of values.
const VALUES: usize = 1 << 16;

label_value! { enum Method { Get = "get", Post = "post", Put = "put" } }
label_value! { enum Path { A = "a", B = "b", C = "c", D = "d", E = "e", F = "f", G = "g", H = "h" } }
label_set! { struct Enums { method: Method, path: Path } }
label_text! { struct MethodText { spelling: Upper, len_max_bytes: 32, values_max: 8 } }
label_text! { struct PathText { spelling: Lower, len_max_bytes: 32, values_max: 16 } }
label_set! { struct Texts { method: MethodText, path: PathText } }

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
const ELEVEN: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

type Case<'a> = (&'static str, Box<dyn FnMut(usize) + 'a>);

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--one-process") {
        return one_process(ROUNDS);
    }
    // Without `--bench` it is run as a test: once, to see that it works.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return one_process(1);
    }
    let starts = arguments.iter().find_map(|argument| argument.parse().ok());
    let mut medians: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for _ in 0..starts.unwrap_or(20) {
        let output = Command::new(std::env::current_exe()?)
            .arg("--one-process")
            .output()?;
        for line in output.stdout.lines() {
            let line = line?;
            if let Some((nanoseconds, name)) = line.trim().split_once(' ') {
                let nanoseconds = nanoseconds.parse().map_err(io::Error::other)?;
                medians
                    .entry(name.trim().to_owned())
                    .or_default()
                    .push(nanoseconds);
            }
        }
    }
    let mut out = io::stdout().lock();
    writeln!(out, "{:>8} {:>8} {:>8}", "best", "median", "worst")?;
    for (name, mut of_starts) in medians {
        of_starts.sort_by(f64::total_cmp);
        let (best, worst) = (of_starts[0], of_starts[of_starts.len() - 1]);
        writeln!(
            out,
            "{best:8.2} {:8.2} {worst:8.2} {name}",
            of_starts[of_starts.len() / 2]
        )?;
    }
    Ok(())
}

/// Prints a line for each case: nanoseconds a call, and its name.
fn one_process(rounds: usize) -> io::Result<()> {
    let directory = tempfile::tempdir()?;
    let registry = Registry::start(Settings {
        program: "hot".to_owned(),
        version: String::new(),
        runs_as: "bench".to_owned(),
        target: Target::Shards {
            directory: directory.path().to_owned(),
        },
        labels: BTreeMap::new(),
        warnings: Vec::new(),
    });
    let random = random_numbers();
    let values: Vec<f64> = random
        .iter()
        .map(|n| 0.001 * 2f64.powf((n % 100_000) as f64 / 6_700.0))
        .collect();
    let mut cases = handles(&registry);
    cases.extend(histograms(&registry, &values));
    cases.extend(label_sets(&registry, &random));
    let mut times: Vec<Vec<f64>> = cases.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for ((_, case), times) in cases.iter_mut().zip(&mut times) {
            case(CALLS / 10);
            let begin = Instant::now();
            case(CALLS);
            times.push(begin.elapsed().as_nanos() as f64 / CALLS as f64);
        }
    }
    let mut out = io::stdout().lock();
    for ((name, _), mut times) in cases.iter().zip(times) {
        times.sort_by(f64::total_cmp);
        writeln!(out, "{:.3} {name}", times[times.len() / 2])?;
    }
    Ok(())
}

fn handles(registry: &Registry) -> Vec<Case<'_>> {
    let counter = registry.counter("held_total", "A counter whose handle is held.");
    let added = registry.counter("added_total", "A counter to which fractions are added.");
    let cell = AtomicU64::new(0);
    vec![
        (
            "1 limit: one f64 cell, load, add, store",
            repeat(move |_| add(&cell, 1.0)),
        ),
        ("1 counter.inc()", repeat(move |_| counter.inc())),
        (
            "1 counter.add(0.5)",
            repeat(move |_| added.add(black_box(0.5))),
        ),
    ]
}

fn histograms<'a>(registry: &Registry, values: &'a [f64]) -> Vec<Case<'a>> {
    let twenty: Vec<f64> = (0..20).map(|n| 0.0005 * 2f64.powi(n)).collect();
    let close: Vec<f64> = (1..=100).map(|n| f64::from(n) * 0.1).collect();
    let cells: Vec<AtomicU64> = (0..21).map(|_| AtomicU64::new(0)).collect();
    let known: Vec<usize> = values
        .iter()
        .map(|value| 1 + ELEVEN.partition_point(|bound| bound < value))
        .collect();
    let mut cases: Vec<Case<'a>> = vec![(
        "2 limit: bucket known, two f64 cells",
        repeat(move |n| {
            add(&cells[known[n % VALUES]], 1.0);
            add(&cells[0], values[n % VALUES]);
        }),
    )];
    for (case, name, bounds) in [
        ("2 observe, 11 buckets", "eleven", &ELEVEN[..]),
        ("2 observe, 20 buckets", "twenty", &twenty),
        ("2 observe, 100 close buckets", "close", &close),
    ] {
        let histogram = registry.histogram(name, "Values.", bounds);
        cases.push((case, repeat(move |n| histogram.observe(values[n % VALUES]))));
    }
    // The same two additions through handles, without the search.
    let (buckets, sum): (Vec<Counter>, Counter) = (
        (0..12)
            .map(|n| registry.counter(&format!("bucket_{n}_total"), "A bucket."))
            .collect(),
        registry.counter("sum_total", "A sum."),
    );
    let known: Vec<usize> = values
        .iter()
        .map(|value| ELEVEN.partition_point(|bound| bound < value))
        .collect();
    cases.push((
        "2 bucket known, two handles",
        repeat(move |n| {
            buckets[known[n % VALUES]].inc();
            sum.add(values[n % VALUES]);
        }),
    ));
    cases
}

fn label_sets<'a>(registry: &Registry, random: &'a [u64]) -> Vec<Case<'a>> {
    let both = |n: usize| {
        let number = random[n % VALUES];
        ((number % 3) as usize, (number / 3 % 8) as usize)
    };
    let enums = registry.counter_family::<Enums>("enums_total", "By enums.");
    let texts = registry.counter_family::<Texts>("texts_total", "By text.");
    let (same, elsewhere) = (texts.clone(), texts.clone());
    // So many that no thread remembers where all of them lie.
    let copies: Vec<(Vec<String>, Vec<String>)> = (0..256)
        .map(|_| {
            (
                METHODS.map(String::from).into(),
                PATHS.map(String::from).into(),
            )
        })
        .collect();
    let cells: Vec<AtomicU64> = (0..24).map(|_| AtomicU64::new(0)).collect();
    let (methods, paths) = (black_box(METHODS), black_box(PATHS));
    let all = registry.counter_family::<Enums>("held_enums_total", "By enums, handles held.");
    let held: Vec<Counter> = Path::ALL
        .iter()
        .flat_map(|&path| {
            Method::ALL
                .iter()
                .map(move |&method| Enums { method, path })
        })
        .map(|labels| all.with(&labels).clone())
        .collect();
    vec![
        (
            "3 limit: f64 cells by two indices",
            repeat(move |n| {
                let (method, path) = both(n);
                add(&cells[method * 8 + path], 1.0);
            }),
        ),
        (
            "3 handles by two indices, inc",
            repeat(move |n| {
                let (method, path) = both(n);
                held[path * 3 + method].inc();
            }),
        ),
        (
            "3 two enum labels, with().inc()",
            repeat(move |n| {
                let (method, path) = both(n);
                let labels = Enums {
                    method: Method::ALL[method],
                    path: Path::ALL[path],
                };
                enums.with(&labels).inc();
            }),
        ),
        (
            "4 two text labels, always the same",
            repeat(move |_| {
                let (method, path) = black_box((1, 2));
                let labels = Texts {
                    method: MethodText::new(methods[method]),
                    path: PathText::new(paths[path]),
                };
                same.with(&labels).inc();
            }),
        ),
        (
            "4 two text labels, with().inc()",
            repeat(move |n| {
                let (method, path) = both(n);
                let labels = Texts {
                    method: MethodText::new(methods[method]),
                    path: PathText::new(paths[path]),
                };
                texts.with(&labels).inc();
            }),
        ),
        (
            "4 two text labels, in one of 256 copies",
            repeat(move |n| {
                let (method, path) = both(n);
                let (methods, paths) = &copies[n % 256];
                let labels = Texts {
                    method: MethodText::new(&methods[method]),
                    path: PathText::new(&paths[path]),
                };
                elsewhere.with(&labels).inc();
            }),
        ),
    ]
}

fn repeat<'a>(mut call: impl FnMut(usize) + 'a) -> Box<dyn FnMut(usize) + 'a> {
    let mut start = 0;
    Box::new(move |calls| {
        let first = start;
        start += calls;
        for n in first..first + calls {
            call(n);
        }
    })
}

/// What a cell with one writer costs.
fn add(cell: &AtomicU64, amount: f64) {
    let sum = f64::from_bits(cell.load(Ordering::Relaxed)) + amount;
    cell.store(sum.to_bits(), Ordering::Relaxed);
}

fn random_numbers() -> Vec<u64> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 11
    };
    (0..VALUES).map(next).collect()
}
