//! What it costs to write the page of merged shards, from the cells of a merge to the text.
//!
//! `cargo bench -p metricsd --bench page [SAMPLES...]`. All cases of one size run in turn, round by round; each is the median of its
//! rounds. Must not touch: anything but its own memory.
#![allow(missing_docs)]

use std::io::{self, Write};
use std::time::Instant;

use metricsd::merge::{Catalog, KeyId, LiveFirst, Plan, Reading, Source, Standing};
use metricsd::policy::{Policy, SeriesLimits};
use metricsd_exporter::NameFilter;
use metricsd_shard::FileKind;

/// Bounds of the histograms, as they are spelled in keys.
const BOUNDS: [&str; 12] = [
    "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1.0", "2.5", "5.0", "10.0", "+Inf",
];

fn main() -> io::Result<()> {
    let mut sizes: Vec<usize> = std::env::args()
        .filter_map(|arg| arg.parse().ok())
        .collect();
    if sizes.is_empty() {
        sizes = vec![10_000, 100_000, 1_000_000];
    }
    for size in sizes {
        let mut random = Random(42);
        let keys = counter_keys(size);
        let whole = (0..size).map(|_| 10_f64.powf(random.fraction() * 9.0).floor());
        run(
            "counters, whole",
            FileKind::Counter,
            &keys,
            &whole.collect::<Vec<_>>(),
        )?;
        let fractional = (0..size).map(|_| random.fraction() * 1e4);
        run(
            "counters, fractional",
            FileKind::Counter,
            &keys,
            &fractional.collect::<Vec<_>>(),
        )?;
        let keys = histogram_keys(size);
        let counts = keys.iter().map(|key| match key.contains("_sum") {
            true => random.fraction() * 1e4,
            false => (random.fraction() * 1000.0).floor(),
        });
        run(
            "histograms",
            FileKind::Histogram,
            &keys,
            &counts.collect::<Vec<_>>(),
        )?;
    }
    Ok(())
}

fn counter_keys(size: usize) -> Vec<String> {
    let key = |index: usize| {
        let method = ["GET", "PUT"][index % 2];
        format!(
            r#"["http_requests", "http_requests_total", {{"method": "{method}", "path": "/api/v1/items/{index:07}"}}, "Requests"]"#
        )
    };
    (0..size).map(key).collect()
}

fn histogram_keys(size: usize) -> Vec<String> {
    let mut keys = Vec::new();
    for index in 0..size / (BOUNDS.len() + 2) {
        let labels = format!(r#""strategy": "s{index:06}", "venue": "X{}""#, index % 7);
        let key = |suffix: &str, bound: &str| {
            format!(r#"["latency", "latency_{suffix}", {{{bound}{labels}}}, "Latency"]"#)
        };
        keys.push(key("sum", ""));
        keys.extend(BOUNDS.map(|bound| key("bucket", &format!(r#""le": "{bound}", "#))));
    }
    keys
}

fn run(title: &str, kind: FileKind, keys: &[String], values: &[f64]) -> io::Result<()> {
    let mut catalog = Catalog::default();
    let limits = SeriesLimits {
        series: usize::MAX,
        series_per_family: usize::MAX,
        ..SeriesLimits::default()
    };
    let policy = Policy {
        limits,
        ..Policy::default()
    };
    let ids: Vec<KeyId> = keys
        .iter()
        .map(|key| catalog.intern(key.as_bytes(), &policy))
        .collect();
    let source = Source {
        kind,
        id: "1",
        keys: &ids,
        timestamps: &[],
        standing: Standing::Unknown,
        discarded: &[],
        is_news: false,
    };
    let (mut plan, findings) = Plan::new(&catalog, &policy.limits, &[source], LiveFirst::Apply);
    assert!(findings.refusals.is_empty(), "all of it is served");
    let reading = Reading::Values {
        values,
        timestamps: &[],
    };
    let rounds = (20_000_000 / values.len()).clamp(9, 301);
    let (mut merging, mut kept, mut fresh) = (Vec::new(), Vec::new(), Vec::new());
    let mut page = Vec::new();
    let mut samples = 0;
    for _ in 0..rounds {
        let begin = Instant::now();
        plan.merge([reading]);
        merging.push(begin.elapsed().as_nanos() as f64);
        page.clear();
        let begin = Instant::now();
        samples = plan.write_text(&NameFilter::all(), &mut page).samples;
        kept.push(begin.elapsed().as_nanos() as f64);
        let begin = Instant::now();
        let mut page = Vec::with_capacity(page.len());
        plan.write_text(&NameFilter::all(), &mut page);
        fresh.push(begin.elapsed().as_nanos() as f64);
    }
    let mut to = io::stdout().lock();
    let bytes = page.len();
    writeln!(
        to,
        "{title}, {samples} samples, {bytes} bytes, {rounds} rounds: ns a sample, median and least"
    )?;
    for (name, times) in [
        ("merge", &mut merging),
        ("page, kept memory", &mut kept),
        ("page, fresh memory", &mut fresh),
    ] {
        times.sort_by(f64::total_cmp);
        let [median, least] = [times[times.len() / 2], times[0]].map(|time| time / samples as f64);
        writeln!(to, "  {name:20} {median:7.2} {least:7.2}")?;
    }
    Ok(())
}

/// Numbers, the same in every run.
struct Random(u64);

impl Random {
    /// From 0 up to 1.
    fn fraction(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1_u64 << 53) as f64
    }
}
