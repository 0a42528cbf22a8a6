//! What one call costs: limits of the machine, our handles, other crates, Python; one thread and two.
//!
//! Invariant: a group's cases do the same work on the same values in the same interleaved run. A limit does the least that the work
//! needs, with no registry, no label and no second writer.

pub(crate) mod child;
mod facade;
mod labels;
mod limits;
mod ours;
#[cfg(feature = "peers")]
mod peers;
mod python;

use std::path::Path;

use anyhow::Result;

pub(crate) use ours::registry;

use crate::report::Report;
use crate::rounds::{self, Case, Effort, Outcome, Spread};

/// The groups, in the order of the report.
pub(crate) const GROUPS: [&str; 7] = [INC, ADD, SET, OBSERVE_11, OBSERVE_20, ENUMS, STRINGS];
pub(crate) const INC: &str = "counter inc";
pub(crate) const ADD: &str = "counter add of a fraction";
pub(crate) const SET: &str = "gauge set";
pub(crate) const OBSERVE_11: &str = "histogram observe, 11 buckets";
pub(crate) const OBSERVE_20: &str = "histogram observe, 20 buckets";
pub(crate) const ENUMS: &str = "two enum labels + inc";
pub(crate) const STRINGS: &str = "two string labels + inc";

/// The names that targets look up.
pub(crate) const LIMIT: &str = "limit: single-writer cell";
pub(crate) const LIMIT_IN_TURN: &str = "limit: 64 single-writer cells in turn";
pub(crate) const OURS: &str = "metricsd-client";
pub(crate) const OURS_IN_TURN: &str = "metricsd-client, 64 series in turn";
pub(crate) const OURS_BY_HANDLE: &str = "metricsd-client, `with` and `inc`";
pub(crate) const OURS_IN_MEMORY: &str = "metricsd-client, Mode A";

/// What is added where a fraction is.
pub(crate) const FRACTION: f64 = 0.25;

/// Upper bounds of the smaller histogram: the usual ones of latencies.
pub(crate) const BOUNDS_11: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Upper bounds of the larger one: powers of two from half a millisecond on.
pub(crate) fn bounds_20() -> [f64; 20] {
    std::array::from_fn(|power| 0.0005 * 2_f64.powi(power as i32))
}

/// Our own cases and the limits. `directory` gets the shards of this process.
pub(crate) fn own_cases(directory: &Path) -> Vec<Case> {
    let mut cases = limits::cases();
    cases.extend(ours::cases(directory));
    cases.extend(facade::cases(registry(directory)));
    cases
}

/// All cases, those of other crates included where they are compiled in.
pub(crate) fn all_cases(directory: &Path) -> Vec<Case> {
    #[allow(unused_mut, reason = "without the other crates nothing is added")]
    let mut cases = own_cases(directory);
    #[cfg(feature = "peers")]
    cases.extend(peers::cases());
    cases
}

/// Measures everything and adds a table for each group.
///
/// # Errors
/// When no directory can be made or Python does not run.
pub(crate) fn measure(
    python: &Path,
    directory: &Path,
    effort: Effort,
    report: &mut Report,
) -> Result<()> {
    report.line("\n## Hot path\n");
    report.line(&format!(
        "Nanoseconds a call as each thread sees it: medians of {} rounds with one thread and {} with two, every case once a round (in \
         brackets the least and the greatest). Two threads run on a processor each, fully overlapped: on the same series, or each on one of \
         its own. Values and labels come from random sequences of 65,536. `x limit` is the ratio to the group's first row with one thread.",
        effort.rounds_alone, effort.rounds_together
    ));
    if rounds::processors().len() < 2 {
        report.line("\nThere is one processor: nothing was measured with two threads.");
    }
    let outcomes = rounds::run(&all_cases(directory), effort);
    let of_python = python::measure(python, effort)?;
    for group in GROUPS {
        table(group, &outcomes, &of_python, report);
    }
    Ok(())
}

fn table(
    group: &str,
    outcomes: &[Outcome],
    of_python: &[(&'static str, Spread)],
    report: &mut Report,
) {
    report.line(&format!("\n### {group}\n"));
    report.line("| | one thread | x limit | two threads, same series | two threads, own series |");
    report.line("|---|---|---|---|---|");
    let mut limit = None;
    for outcome in outcomes.iter().filter(|outcome| outcome.group == group) {
        let limit = *limit.get_or_insert(outcome.alone.median);
        let shown = |spread: Option<Spread>| spread.map_or_else(|| "-".to_owned(), in_nanoseconds);
        report.line(&format!(
            "| {} | {} | {:.2} | {} | {} |",
            outcome.name,
            in_nanoseconds(outcome.alone),
            outcome.alone.median / limit,
            shown(outcome.same),
            shown(outcome.own)
        ));
        let key = |column: &str| format!("hot/{group}/{}/{column}", outcome.name);
        report.figure(&key("alone"), outcome.alone.median);
        if let Some(same) = outcome.same {
            report.figure(&key("same"), same.median);
        }
        if let Some(own) = outcome.own {
            report.figure(&key("own"), own.median);
        }
    }
    for (_, spread) in of_python.iter().filter(|(of, _)| *of == group) {
        report.line(&format!(
            "| Python's prometheus_client, multiprocess mode | {} | {:.0} | - | - |",
            in_nanoseconds(*spread),
            spread.median / limit.unwrap_or(f64::NAN)
        ));
        report.figure(&format!("hot/{group}/Python/alone"), spread.median);
    }
}

/// `median (least to greatest)`.
fn in_nanoseconds(spread: Spread) -> String {
    format!(
        "{:.2} ({:.2} to {:.2})",
        spread.median, spread.least, spread.greatest
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const TINY: Effort = Effort {
        rounds_alone: 2,
        rounds_together: 2,
        batch: Duration::from_micros(50),
    };

    #[test]
    fn every_row_of_ours_has_a_limit_in_front_and_a_figure_from_a_run() {
        let directory = crate::shards::scratch().unwrap();
        let outcomes = rounds::run(&own_cases(directory.path()), TINY);
        for group in GROUPS {
            let names: Vec<&str> = outcomes
                .iter()
                .filter(|outcome| outcome.group == group)
                .map(|outcome| outcome.name)
                .collect();
            assert_eq!(names.first(), Some(&LIMIT), "{group}");
            assert!(
                names.contains(&OURS) && names.contains(&OURS_IN_MEMORY),
                "{group}: {names:?}"
            );
        }
        let two = rounds::processors().len() > 1;
        for outcome in &outcomes {
            assert!(outcome.alone.median > 0.0, "{outcome:?}");
            assert_eq!(outcome.same.is_some(), two, "{outcome:?}");
        }
    }

    #[test]
    fn what_our_rows_measure_is_counted_in_the_shards_and_nothing_else() {
        let directory = crate::shards::scratch().unwrap();
        let cases = ours::cases(directory.path());
        let registry = registry(directory.path());
        let total = |family: &str| -> f64 {
            let page = registry.render();
            let lines = page.lines().filter(|line| line.starts_with(family));
            lines
                .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
                .sum()
        };
        for (group, family) in [
            (INC, "bench_incremented_total"),
            (OBSERVE_11, "bench_observed_11_seconds_count"),
            (ENUMS, "bench_enums_total"),
            (STRINGS, "bench_strings_total"),
        ] {
            let before = total(family);
            let case = cases
                .iter()
                .find(|case| case.group == group && case.name == OURS)
                .unwrap();
            for series in [0, 1] {
                (case.body)(rounds::Place { thread: 0, series }, 500);
            }
            // The other test of this process may count at the same time.
            assert!(total(family) - before >= 1_000.0, "{group}");
        }
    }
}
