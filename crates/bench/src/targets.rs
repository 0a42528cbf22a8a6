//! The targets, each with the figure of this run: met, or missed by how much.
//!
//! Invariant: a figure that was not measured is said to be so; where another side is faster than the limit of the machine, that is said too,
//! because then no implementation could meet the target here.

use crate::collect;
use crate::hot::{ADD, ENUMS, INC, LIMIT, OBSERVE_11, OBSERVE_20, OURS, STRINGS};
use crate::memory;
use crate::render;
use crate::report::Report;

/// Which side of the bound is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    AtMost,
    AtLeast,
}

/// One line.
#[derive(Debug, Clone)]
struct Target {
    what: String,
    bound: Bound,
    wanted: f64,
    unit: &'static str,
    figure: Option<f64>,
    /// The same figure if our side were the limit of the machine.
    of_limit: Option<f64>,
}

impl Target {
    fn new(
        what: &str,
        bound: Bound,
        wanted: f64,
        unit: &'static str,
        figure: Option<f64>,
    ) -> Target {
        Target {
            what: what.to_owned(),
            bound,
            wanted,
            unit,
            figure,
            of_limit: None,
        }
    }

    fn is_met_by(&self, figure: f64) -> bool {
        match self.bound {
            Bound::AtMost => figure <= self.wanted,
            Bound::AtLeast => figure >= self.wanted,
        }
    }

    fn verdict(&self) -> String {
        let Some(figure) = self.figure else {
            return "not measured in this run".to_owned();
        };
        if self.is_met_by(figure) {
            return "met".to_owned();
        }
        let by = match self.bound {
            Bound::AtMost => figure / self.wanted,
            Bound::AtLeast => self.wanted / figure,
        };
        let mut verdict = format!("**missed** by a factor of {by:.2}");
        if let Some(of_limit) = self.of_limit.filter(|&of_limit| !self.is_met_by(of_limit)) {
            verdict += &format!(
                "; the limit itself gives {of_limit:.2}{} on this machine",
                self.unit
            );
        }
        verdict
    }

    fn line(&self) -> String {
        let wanted = match self.bound {
            Bound::AtMost => "at most",
            Bound::AtLeast => "at least",
        };
        let figure = self.figure.map_or_else(
            || "-".to_owned(),
            |figure| format!("{figure:.2}{}", self.unit),
        );
        format!(
            "| {} | {wanted} {}{} | {figure} | {} |",
            self.what,
            self.wanted,
            self.unit,
            self.verdict()
        )
    }
}

/// The table, to stand at the head of the report.
pub(crate) fn table(report: &Report) -> String {
    let mut text = "\n## Targets\n\nRatios are of medians in this run. `x limit`: how many times the limit of the machine; `x faster`: than the best of the other \
         crates, or than Python.\n\n| target | wanted | measured | |\n|---|---|---|---|\n"
        .to_owned();
    for target in all(report) {
        text += &target.line();
        text.push('\n');
    }
    text
}

fn all(report: &Report) -> Vec<Target> {
    let mut targets = hot_path(report);
    targets.extend(collection(report));
    targets.extend(rendering(report));
    targets.extend(memory_and_programs(report));
    targets
}

fn hot_path(report: &Report) -> Vec<Target> {
    let noted = |group: &str, name: &str, column: &str| {
        report.noted(&format!("hot/{group}/{name}/{column}"))
    };
    let times_limit = |group: &str, wanted| {
        let figure = ratio(noted(group, OURS, "alone"), noted(group, LIMIT, "alone"));
        Target::new(
            &format!("{group}, one thread"),
            Bound::AtMost,
            wanted,
            "x limit",
            figure,
        )
    };
    let times_faster = |group: &str, column: &str, wanted, what: &str| {
        let best = best_crate(report, group, column);
        Target {
            of_limit: ratio(best, noted(group, LIMIT, column)),
            ..Target::new(
                &format!("{group}, {what}"),
                Bound::AtLeast,
                wanted,
                "x faster",
                ratio(best, noted(group, OURS, column)),
            )
        }
    };
    let (alone, same) = (
        "one thread, any crate",
        "two threads on one series, any crate",
    );
    let mut targets = vec![
        times_limit(INC, 1.1),
        times_limit(ADD, 1.1),
        times_faster(INC, "alone", 2.0, alone),
        times_faster(ADD, "alone", 4.5, alone),
        times_faster(INC, "same", 10.0, same),
        times_faster(ADD, "same", 25.0, same),
    ];
    for group in [OBSERVE_11, OBSERVE_20] {
        targets.extend([
            times_limit(group, 1.5),
            times_faster(group, "alone", 5.5, alone),
            times_faster(group, "same", 20.0, same),
            Target::new(
                &format!("{group}, one thread, worst of the process starts"),
                Bound::AtMost,
                2.0,
                "x limit",
                report.noted(&format!("starts/{group}/{OURS}/worst ratio")),
            ),
        ]);
    }
    targets.extend([
        times_faster(ENUMS, "alone", 6.0, alone),
        times_faster(ENUMS, "same", 25.0, same),
        times_faster(STRINGS, "alone", 1.3, "one thread, any crate (portable)"),
        times_faster(STRINGS, "alone", 4.5, "one thread, any crate (with SIMD)"),
    ]);
    targets
}

/// The least figure of a group that is neither ours nor a limit nor Python's.
fn best_crate(report: &Report, group: &str, column: &str) -> Option<f64> {
    let beginning = format!("hot/{group}/");
    report
        .noted_below(&beginning)
        .filter(|(rest, _)| {
            !["limit", "metricsd", "Python"]
                .iter()
                .any(|own| rest.starts_with(own))
        })
        .filter(|(rest, _)| rest.ends_with(&format!("/{column}")))
        .map(|(_, figure)| figure)
        .min_by(f64::total_cmp)
}

fn collection(report: &Report) -> Vec<Target> {
    let first = collect::SHAPES[0];
    let name = format!("{} x {}", first.shards, first.series);
    let noted = |side: &str| report.noted(&format!("collect/{name}/{side}"));
    let (warm, python) = (noted("warm"), noted("Python"));
    let what = |rest: &str| format!("scrape of {name} live, {rest}");
    vec![
        Target::new(
            &what("warm"),
            Bound::AtMost,
            1.5,
            "x limit",
            ratio(warm, noted("limit")),
        ),
        Target::new(
            &what("warm, stretch"),
            Bound::AtMost,
            1.1,
            "x limit",
            ratio(warm, noted("limit")),
        ),
        Target::new(
            &what("warm, Python"),
            Bound::AtLeast,
            250.0,
            "x faster",
            ratio(python, warm),
        ),
        Target::new(
            &what("warm, Python, stretch"),
            Bound::AtLeast,
            400.0,
            "x faster",
            ratio(python, warm),
        ),
        Target::new(
            &what("cold, Python"),
            Bound::AtLeast,
            20.0,
            "x faster",
            ratio(python, noted("cold")),
        ),
        Target::new(
            "scrape of 10000 x 100 live, warm",
            Bound::AtMost,
            50.0,
            " ms",
            report
                .noted("collect/10000 x 100/warm")
                .map(|seconds| seconds * 1e3),
        ),
    ]
}

fn rendering(report: &Report) -> Vec<Target> {
    let mut targets = Vec::new();
    for (numbers, wanted) in [("whole", 15.0), ("fractional", 8.0)] {
        for count in [10_000, 100_000, 1_000_000] {
            let beginning = format!("render/{numbers}/{count}/");
            let ours = report.noted(&format!("{beginning}{}", render::OURS));
            let best = report
                .noted_below(&beginning)
                .filter(|(side, _)| *side != render::OURS && !side.starts_with("limit"))
                .map(|(_, figure)| figure)
                .min_by(f64::total_cmp);
            let limit = report.noted(&format!("{beginning}{}", render::MEMCPY));
            targets.push(Target {
                of_limit: ratio(best, limit),
                ..Target::new(
                    &format!("rendering {count} {numbers} numbers, next best"),
                    Bound::AtLeast,
                    wanted,
                    "x faster",
                    ratio(best, ours),
                )
            });
        }
    }
    targets.push(Target::new(
        "gzip",
        Bound::AtMost,
        6.0,
        " ns a byte",
        report.noted("compress/gzip/ns a byte"),
    ));
    targets
}

fn memory_and_programs(report: &Report) -> Vec<Target> {
    let client = report.noted(&format!(
        "memory/{}/{}",
        memory::child::COUNTER,
        memory::OURS
    ));
    vec![
        Target::new(
            "daemon, a shown series",
            Bound::AtMost,
            150.0,
            " bytes",
            report.noted("memory/daemon/series"),
        ),
        Target::new(
            "daemon, a live entry",
            Bound::AtMost,
            48.0,
            " bytes",
            report.noted("memory/daemon/entry"),
        ),
        Target::new(
            "program, a counter series beside its shard",
            Bound::AtMost,
            32.0,
            " bytes",
            client,
        ),
        Target::new(
            "telemetry in the paper session as it ships",
            Bound::AtMost,
            3.0,
            " %",
            report
                .noted("session/share as shipped")
                .map(|share| share * 100.0),
        ),
        Target::new(
            "telemetry in the session's step loop alone",
            Bound::AtMost,
            3.0,
            " %",
            report.noted("session/share").map(|share| share * 100.0),
        ),
        Target::new(
            "10 million updates a second, of a core",
            Bound::AtMost,
            100.0,
            " %",
            report
                .noted(&format!("pace/{INC}: {OURS}/share"))
                .map(|share| share * 100.0),
        ),
    ]
}

fn ratio(dividend: Option<f64>, divisor: Option<f64>) -> Option<f64> {
    Some(dividend? / divisor?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(bound: Bound, figure: Option<f64>, of_limit: Option<f64>) -> Target {
        Target {
            of_limit,
            ..Target::new("a", bound, 2.0, "x", figure)
        }
    }

    #[test]
    fn a_miss_is_said_with_its_factor_and_what_was_not_measured_is_no_miss() {
        let verdict = |bound, figure| target(bound, figure, None).verdict();
        assert_eq!(verdict(Bound::AtMost, Some(2.0)), "met");
        assert_eq!(
            verdict(Bound::AtMost, Some(3.0)),
            "**missed** by a factor of 1.50"
        );
        assert_eq!(verdict(Bound::AtLeast, Some(2.5)), "met");
        assert_eq!(
            verdict(Bound::AtLeast, Some(0.5)),
            "**missed** by a factor of 4.00"
        );
        assert_eq!(verdict(Bound::AtLeast, None), "not measured in this run");
    }

    #[test]
    fn a_target_that_the_machine_itself_misses_says_so_and_only_then() {
        let missed = target(Bound::AtLeast, Some(0.5), Some(0.6)).verdict();
        assert!(
            missed.ends_with("the limit itself gives 0.60x on this machine"),
            "{missed}"
        );
        let slow = target(Bound::AtLeast, Some(0.5), Some(3.0)).verdict();
        assert!(!slow.contains("limit"), "{slow}");
    }

    #[test]
    fn the_best_crate_is_neither_ours_nor_a_limit_nor_python() {
        let mut report = Report::default();
        for (name, figure) in [
            (OURS, 1.0),
            (LIMIT, 1.0),
            ("Python", 1.0),
            ("b", 7.0),
            ("c", 5.0),
        ] {
            report.figure(&format!("hot/{INC}/{name}/alone"), figure);
        }
        report.figure(&format!("hot/{INC}/c/same"), 2.0);
        assert_eq!(best_crate(&report, INC, "alone"), Some(5.0));
        let line = all(&report)
            .iter()
            .map(Target::line)
            .find(|line| line.contains("one thread, any crate"))
            .unwrap();
        assert!(
            line.contains("| at least 2x faster | 5.00x faster | met |"),
            "{line}"
        );
    }
}
