//! What one set of features over 200 bars takes, from the bars at once and from the stream, and what the embedded model takes on top.
//!
//! `cargo bench -p sentinel --bench features`. One thread; every window of the shipped candles, twenty rounds; prints the median and the best
//! round. Nothing is asserted: a figure depends on the machine.

#[path = "../tests/recorded/mod.rs"]
mod recorded;

use std::hint::black_box;
use std::io::Write;
use std::time::Instant;

use market::Bar;
use sentinel::features::{self, BAR_COUNT, Features, Stream};
use sentinel::model::EmbeddedModel;

fn main() -> std::io::Result<()> {
    // Without `--bench` it is run as a test: once, to see that it works.
    let is_measured = std::env::args().any(|argument| argument == "--bench");
    let rounds = if is_measured { 20 } else { 1 };
    let bars = recorded::bars();
    let windows = bars.len() + 1 - BAR_COUNT;
    let model = EmbeddedModel::shipped();
    let all: Vec<Features> = bars.windows(BAR_COUNT).map(build).collect();

    let mut out = std::io::stdout().lock();
    let mut say = |what: &str, count: usize, run: &mut dyn FnMut()| {
        let mut microseconds: Vec<f64> = (0..rounds)
            .map(|_| {
                let begin = Instant::now();
                run();
                begin.elapsed().as_secs_f64() * 1e6 / count as f64
            })
            .collect();
        microseconds.sort_by(f64::total_cmp);
        let (median, best) = (microseconds[rounds / 2], microseconds[0]);
        writeln!(
            out,
            "sentinel {what}: {median:.2} us median, {best:.2} us best of {rounds} rounds of {count}"
        )
    };
    say("features over 200 bars", windows, &mut || {
        for window in bars.windows(BAR_COUNT) {
            black_box(build(black_box(window)));
        }
    })?;
    say("push and features of a stream", bars.len(), &mut || {
        let mut stream = Stream::new();
        for bar in &bars {
            let taken = stream.push(black_box(*bar));
            assert_eq!(taken, Ok(()), "the shipped candles are proper");
            let _ = black_box(stream.features());
        }
    })?;
    say("prediction of the embedded model", windows, &mut || {
        for features in &all {
            let _ = black_box(model.predict(black_box(features)));
        }
    })
}

fn build(window: &[Bar]) -> Features {
    features::build(window).expect("the shipped candles have features")
}
