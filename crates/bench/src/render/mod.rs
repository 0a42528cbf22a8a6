//! Text of many series: what metricsd writes, other crates' encoders, and copies of memory as the limit.
//!
//! Invariant: every side shows the same series with the same numbers, one after another in each round, into memory that it has had before.

#[cfg(feature = "peers")]
mod peers;

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use metricsd_exporter::{Kind, NameFilter, PreparedFamily};

use crate::report::Report;
use crate::rounds::Spread;
use crate::sequence::Random;

/// How many series, and how many rounds there is time for.
const SIZES: [(usize, usize); 3] = [(10_000, 41), (100_000, 15), (1_000_000, 5)];
/// The same for a look.
const SIZES_SHORT: [(usize, usize); 2] = [(10_000, 9), (100_000, 5)];

/// The names that targets look up.
pub(crate) const OURS: &str = "metricsd";
pub(crate) const MEMCPY: &str = "limit: copy of the same bytes";
const PREFIXES: &str = "limit: copy of all but the numbers";

/// The family that every side shows.
const FAMILY: &str = "http_requests";

/// Which numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// 1 to 9 digits.
    Whole,
    /// 16 or 17 significant digits.
    Fractional,
}

impl Numbers {
    pub(crate) const ALL: [Numbers; 2] = [Numbers::Whole, Numbers::Fractional];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Numbers::Whole => "whole",
            Numbers::Fractional => "fractional",
        }
    }

    fn of(self, count: usize) -> Vec<f64> {
        let mut random = Random::new(42);
        (0..count)
            .map(|_| match self {
                Numbers::Whole => 10_f64.powf(random.fraction() * 9.0).floor(),
                Numbers::Fractional => random.fraction() * 1e4,
            })
            .collect()
    }
}

/// One side: writes the page and says how long it is.
struct Side {
    name: &'static str,
    write: Box<dyn FnMut() -> usize>,
}

/// The labels of a series by its number.
fn labels(number: usize) -> (&'static str, String) {
    (
        ["GET", "PUT"][number % 2],
        format!("/api/v1/items/{number:07}"),
    )
}

/// Measures all sizes and adds a table for each.
///
/// # Errors
/// When a side writes another page than expected.
pub(crate) fn measure(is_short: bool, report: &mut Report) -> Result<()> {
    report.line("\n## Rendering\n");
    report.line(
        "A page of counters with two labels, as text 0.0.4 or what the crate writes instead (prometheus-client and fastmetrics: OpenMetrics). \
         Nanoseconds a series, every side once a round. metricsd: the prepared families that it serves, into one buffer that is used again. \
         Numbers: whole ones of 1 to 9 digits, and fractions of 16 to 17.",
    );
    let sizes: &[(usize, usize)] = if is_short { &SIZES_SHORT } else { &SIZES };
    for &(count, rounds) in sizes {
        for numbers in Numbers::ALL {
            page(count, rounds, numbers, report)?;
        }
    }
    Ok(())
}

fn page(count: usize, rounds: usize, numbers: Numbers, report: &mut Report) -> Result<()> {
    report.line(&format!(
        "\n### {count} series, {} numbers ({rounds} rounds)\n",
        numbers.name()
    ));
    report.line("| | ns a series | x ours | bytes |");
    report.line("|---|---|---|---|");
    let values = numbers.of(count);
    let mut sides = own_sides(&values)?;
    #[cfg(feature = "peers")]
    sides.extend(peers::sides(&values, numbers));
    let mut figures = vec![Vec::new(); sides.len()];
    let mut bytes = vec![0; sides.len()];
    for (side, bytes) in sides.iter_mut().zip(&mut bytes) {
        *bytes = (side.write)();
    }
    for _ in 0..rounds {
        for (side, figures) in sides.iter_mut().zip(&mut figures) {
            let started = Instant::now();
            std::hint::black_box((side.write)());
            figures.push(started.elapsed().as_nanos() as f64 / count as f64);
        }
    }
    let spreads: Vec<Spread> = figures.into_iter().filter_map(Spread::of).collect();
    let ours = spreads.first().context("no rounds")?.median;
    for ((side, spread), bytes) in sides.iter().zip(spreads).zip(bytes) {
        report.line(&format!(
            "| {} | {:.1} ({:.1} to {:.1}) | {:.1} | {bytes} |",
            side.name,
            spread.median,
            spread.least,
            spread.greatest,
            spread.median / ours
        ));
        report.figure(
            &format!("render/{}/{count}/{}", numbers.name(), side.name),
            spread.median,
        );
    }
    Ok(())
}

fn own_sides(values: &[f64]) -> Result<Vec<Side>> {
    let mut family = PreparedFamily::new(FAMILY.to_owned(), "Requests".to_owned(), Kind::Counter)?;
    for number in 0..values.len() {
        let (method, path) = labels(number);
        family.push(&[("method", method), ("path", &path)])?;
    }
    let (mut page, mut prefixes) = (Vec::new(), Vec::new());
    let names = NameFilter::all();
    family.write(values.iter().copied().map(Some), &names, &mut page);
    let last = page
        .split(|&byte| byte == b'\n')
        .rev()
        .nth(1)
        .context("an empty page")?;
    ensure!(
        last.starts_with(b"http_requests_total{"),
        "the page ends in another family"
    );
    let mut ends = Vec::with_capacity(values.len());
    for line in page
        .split(|&byte| byte == b'\n')
        .filter(|line| line.starts_with(b"http_"))
    {
        let end = line
            .iter()
            .rposition(|&byte| byte == b' ')
            .map_or(0, |blank| blank + 1);
        prefixes.extend_from_slice(&line[..end]);
        ends.push(prefixes.len());
    }
    let source = page.clone();
    let (mut copied, mut copied_prefixes) = (vec![0; page.len()], Vec::with_capacity(page.len()));
    let values = values.to_vec();
    Ok(vec![
        Side {
            name: OURS,
            write: Box::new(move || {
                page.clear();
                family.write(values.iter().copied().map(Some), &names, &mut page);
                page.len()
            }),
        },
        Side {
            name: MEMCPY,
            write: Box::new(move || {
                copied.copy_from_slice(std::hint::black_box(&source));
                std::hint::black_box(&copied).len()
            }),
        },
        Side {
            name: PREFIXES,
            write: Box::new(move || {
                copied_prefixes.clear();
                let mut begin = 0;
                for &end in &ends {
                    copied_prefixes.extend_from_slice(&prefixes[begin..end]);
                    begin = end;
                }
                std::hint::black_box(&copied_prefixes).len()
            }),
        },
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_measured_for_both_kinds_of_numbers_and_the_limits_copy_as_much() {
        let mut report = Report::default();
        for numbers in Numbers::ALL {
            page(50, 3, numbers, &mut report).unwrap();
            let figure = |side: &str| report.noted(&format!("render/{}/50/{side}", numbers.name()));
            assert!(
                [OURS, MEMCPY, PREFIXES]
                    .iter()
                    .all(|side| figure(side).is_some_and(|ns| ns > 0.0))
            );
            let mut sides = own_sides(&numbers.of(50)).unwrap();
            let lengths: Vec<usize> = sides.iter_mut().map(|side| (side.write)()).collect();
            assert_eq!(lengths[0], lengths[1]);
            assert!(
                lengths[2] < lengths[0] && lengths[2] > lengths[0] / 2,
                "{lengths:?}"
            );
        }
    }
}
