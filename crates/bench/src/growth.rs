//! Growth: how time and memory follow shards, series, threads and ended processes, as tables and pictures.
//!
//! Invariant: what is claimed is drawn as a dashed line through one measured point, so that a picture shows where it does not hold.

use std::path::Path;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::time::{ClockId, clock_gettime};

use crate::collect::{self, Rounds};
use crate::curves::{Chart, Curve, Scale};
use crate::hot;
use crate::live::{Live, Shape};
use crate::report::Report;
use crate::rounds::{Case, Place, Spread, THREADS_MAX};

/// Live shards of 100 entries each.
const SHARDS: [u32; 4] = [10, 100, 1_000, 10_000];
/// Series of each of 100 shards.
const SERIES_OF_EACH: [u32; 5] = [1, 10, 100, 1_000, 10_000];
/// A thread works so long before its time is read.
const WORK: Duration = Duration::from_millis(20);

/// All curves but that of ended processes, which [`crate::dead`] has measured.
///
/// # Errors
/// When a side does not run.
pub(crate) fn measure(
    python: &Path,
    directory: &Path,
    is_short: bool,
    report: &mut Report,
) -> Result<()> {
    report.line("\n## Growth\n");
    report.line("Both axes are logarithmic where a number of threads is not counted. Dashed: what is claimed, through one measured point.");
    let short = |all: usize| if is_short { all - 1 } else { all };
    let of_shards: Vec<Shape> = SHARDS[..short(SHARDS.len())]
        .iter()
        .map(|&shards| Shape {
            shards,
            series: 100,
            has_own_series: false,
        })
        .collect();
    directories(
        "shards",
        "Warm scrape by live shards of 100 entries",
        "live shards",
        &of_shards,
        |shape| f64::from(shape.shards),
        python,
        report,
    )?;
    let of_series: Vec<Shape> = SERIES_OF_EACH[..short(SERIES_OF_EACH.len())]
        .iter()
        .map(|&series| Shape {
            shards: 100,
            series,
            has_own_series: true,
        })
        .collect();
    directories(
        "series",
        "Warm scrape by exposed series, in 100 live shards",
        "exposed series",
        &of_series,
        |shape| shape.exposed() as f64,
        python,
        report,
    )?;
    threads(directory, is_short, report);
    Ok(())
}

fn directories(
    name: &str,
    title: &str,
    axis: &str,
    shapes: &[Shape],
    size: impl Fn(Shape) -> f64,
    python: &Path,
    report: &mut Report,
) -> Result<()> {
    let (mut warm, mut limit, mut of_python) = (Vec::new(), Vec::new(), Vec::new());
    for &shape in shapes {
        let live = Live::new(shape)?;
        let sides = collect::compare(&live, Some(python), Rounds { all: 1, warm: 15 })?;
        let x = size(shape);
        warm.push((x, sides.warm.median() * 1e3));
        limit.push((x, sides.limit.median() * 1e3));
        of_python.push((x, sides.python.median() * 1e3));
    }
    let curves = vec![
        measured("metricsd, whole request", warm.clone()),
        measured("limit: strided loads", limit),
        measured("Python", of_python),
        linear(&warm),
    ];
    let chart = Chart {
        title: title.to_owned(),
        horizontal: axis.to_owned(),
        vertical: "milliseconds".to_owned(),
        scale: Scale::Logarithmic,
        curves,
    };
    draw(&format!("growth-{name}.svg"), &chart, report);
    Ok(())
}

/// A line through what was measured.
pub(crate) fn measured(name: &str, points: Vec<(f64, f64)>) -> Curve {
    Curve {
        name: name.to_owned(),
        points,
        is_claim: false,
    }
}

/// As many times the size, as many times the time, through the largest point.
fn linear(points: &[(f64, f64)]) -> Curve {
    let (x, y) = points.last().copied().unwrap_or((1.0, 1.0));
    let points = points.iter().map(|point| (point.0, y * point.0 / x));
    Curve {
        name: "linear".to_owned(),
        points: points.collect(),
        is_claim: true,
    }
}

/// The same time whatever the size, through the smallest point.
pub(crate) fn flat(points: &[(f64, f64)]) -> Curve {
    let y = points.first().map_or(1.0, |point| point.1);
    let points = points.iter().map(|point| (point.0, y));
    Curve {
        name: "flat".to_owned(),
        points: points.collect(),
        is_claim: true,
    }
}

/// The picture, and its points as a table.
pub(crate) fn draw(file_name: &str, chart: &Chart, report: &mut Report) {
    report.picture(file_name, &chart.title, chart.svg());
    let curves: Vec<&Curve> = chart
        .curves
        .iter()
        .filter(|curve| !curve.is_claim)
        .collect();
    let names: Vec<&str> = curves.iter().map(|curve| curve.name.as_str()).collect();
    report.line(&format!(
        "\n| {} | {} |",
        chart.horizontal,
        names.join(" | ")
    ));
    report.line(&format!("|---|{}", "---|".repeat(names.len())));
    let sizes = curves
        .first()
        .map(|curve| curve.points.as_slice())
        .unwrap_or_default();
    for (row, (size, _)) in sizes.iter().enumerate() {
        let cells: Vec<String> = curves
            .iter()
            .map(|curve| {
                curve
                    .points
                    .get(row)
                    .map_or_else(|| "-".to_owned(), |point| format!("{:.3}", point.1))
            })
            .collect();
        report.line(&format!("| {size} | {} |", cells.join(" | ")));
    }
}

/// Processor time of a call by the number of threads on one series; what is measured so stays true when there are more threads than
/// processors.
fn threads(directory: &Path, is_short: bool, report: &mut Report) {
    let rounds = if is_short { 3 } else { 9 };
    let cases = hot::all_cases(directory);
    for (group, file_name) in [
        (hot::INC, "growth-threads-inc.svg"),
        (hot::OBSERVE_11, "growth-threads-observe.svg"),
    ] {
        let of_group: Vec<&Case> = cases
            .iter()
            .filter(|case| {
                case.group == group
                    && ![hot::OURS_IN_MEMORY, hot::OURS_IN_TURN, hot::LIMIT_IN_TURN]
                        .contains(&case.name)
            })
            .collect();
        let mut figures = vec![vec![Vec::new(); THREADS_MAX]; of_group.len()];
        for _ in 0..rounds {
            for (case, figures) in of_group.iter().zip(&mut figures) {
                for (threads, figures) in (1..).zip(figures) {
                    figures.push(processor_nanoseconds(case, threads));
                }
            }
        }
        let mut curves: Vec<Curve> = of_group
            .iter()
            .zip(figures)
            .map(|(case, figures)| {
                let medians = figures.into_iter().filter_map(Spread::of);
                let points = (1..)
                    .zip(medians)
                    .map(|(threads, spread): (u32, Spread)| (f64::from(threads), spread.median));
                measured(
                    case.name.split(',').next().unwrap_or(case.name),
                    points.collect(),
                )
            })
            .collect();
        if let Some(ours) = curves.iter().find(|curve| curve.name == hot::OURS) {
            curves.push(flat(&ours.points.clone()));
        }
        let chart = Chart {
            title: format!("{group}: threads on one series"),
            horizontal: "threads".to_owned(),
            vertical: "ns of processor time a call".to_owned(),
            scale: Scale::Linear,
            curves,
        };
        draw(file_name, &chart, report);
    }
}

/// Of all threads together, by all their calls.
fn processor_nanoseconds(case: &Case, threads: usize) -> f64 {
    const CHUNK: u64 = 1_000;
    let (mut nanoseconds, mut calls) = (0.0, 0_u64);
    let all_are_there = Barrier::new(threads);
    let all_are_there = &all_are_there;
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || {
                    let place = Place { thread, series: 0 };
                    (case.body)(place, CHUNK);
                    all_are_there.wait();
                    let (began, before) = (Instant::now(), processor_time());
                    let mut calls = 0;
                    while began.elapsed() < WORK {
                        (case.body)(place, CHUNK);
                        calls += CHUNK;
                    }
                    (processor_time() - before, calls)
                })
            })
            .collect();
        for worker in workers {
            let (took, done) = worker.join().unwrap_or_default();
            nanoseconds += took;
            calls += done;
        }
    });
    nanoseconds / calls as f64
}

/// Nanoseconds of processor time that the calling thread has used.
pub(crate) fn processor_time() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}
