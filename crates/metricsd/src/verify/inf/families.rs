//! Families by their samples: those that must be there are, those that need an event first are named, all have the promised types and
//! histograms the promised bounds.
//!
//! Invariant: a HELP or TYPE line is no evidence of a family. What is promised stands in [`contract`](super::contract) alone.

use metricsd_exporter::{Family, Kind, Value};

use super::contract::{DEFECTS, FAMILIES, First, Promised, Values, promised};
use super::reading::{Health, Samples, label_of};
use super::{Inspection, ids};
use crate::verify::evidence::Finding;
use crate::verify::page::named;
use crate::verify::record::{Book, Retry};

/// What the names of a sentinel's families begin with.
pub(super) const PREFIX: &str = "sentinel_";

/// Predictions before there is an index of their drift.
const PREDICTIONS_FOR_DRIFT: f64 = 100.0;

impl Inspection<'_> {
    pub(super) fn family_types(&self, book: &mut Book<'_>) {
        let check = (
            ids::FAMILY_TYPES,
            "The families are declared with the promised types, and there are no others",
        );
        self.judge(book, check, &["# TYPE"], Retry::NEVER, |page| {
            let wrong = FAMILIES.iter().chain([&DEFECTS]).filter_map(|promised| {
                let (name, kind) = (promised.name, promised.kind.as_str());
                match page.family(name) {
                    None => Some(format!("{name} is not declared")),
                    Some(family) if family.kind != promised.kind => Some(format!(
                        "{name} is {}, expected {kind}",
                        family.kind.as_str()
                    )),
                    Some(_) => None,
                }
            });
            let strange = page
                .families()
                .filter(|(name, _)| name.starts_with(PREFIX) && promised(name).is_none())
                .map(|(name, _)| format!("{name} is no family that is known"));
            let faults: Vec<String> = wrong.chain(strange).collect();
            if faults.is_empty() {
                return Finding::pass(format!(
                    "{} families, each of its promised type",
                    FAMILIES.len() + 1
                ));
            }
            Finding::fail(
                named(&faults),
                "verify with the metricsd of the sentinel's version; docs/metrics.md is the contract",
            )
        });
    }

    pub(super) fn histogram_buckets(&self, book: &mut Book<'_>) {
        let check = (
            ids::HISTOGRAM_BUCKETS,
            "Histograms have the promised upper bounds, infinity last",
        );
        self.judge(book, check, &[], Retry::NEVER, |page| {
            let histograms = || FAMILIES.iter().filter(|it| it.kind == Kind::Histogram);
            let faults: Vec<String> = histograms()
                .filter_map(|promised| bounds_fault(page, promised))
                .collect();
            if faults.is_empty() {
                Finding::pass(format!("{} histograms", histograms().count()))
            } else {
                Finding::fail(
                    named(&faults),
                    "verify with the metricsd of the sentinel's version; quantiles over other bounds are other numbers",
                )
            }
        });
    }

    pub(super) fn families_present(&mut self, book: &mut Book<'_>) {
        let title = "Every family that must have a sample by now has one, counters under every combination of their labels";
        let ended = book.step_with(ids::FAMILIES_PRESENT, title, self.retry, |probe| {
            let page = match self.samples(&[PREFIX], probe) {
                Ok(page) => page,
                Err(finding) => return finding,
            };
            // Without a health what needs an event is not asked for; that there is none is a failure of its own.
            let health = self.health(probe).ok().map(|(health, _)| health);
            let all = || FAMILIES.iter().chain([&DEFECTS]);
            let faults: Vec<String> = all()
                .filter(|promised| is_due(promised.first, &page, health.as_ref()))
                .flat_map(|promised| absences(&page, promised))
                .collect();
            if faults.is_empty() {
                let due = all()
                    .filter(|promised| is_due(promised.first, &page, health.as_ref()))
                    .count();
                return Finding::pass(format!("{due} families have the samples that they must"));
            }
            Finding::fail(
                named(&faults),
                "ask the sentinel itself; a family without a sample is absent, whatever HELP and TYPE say",
            )
        });
        self.has_waited(ended);
    }

    pub(super) fn families_later(&self, book: &mut Book<'_>) {
        let check = (
            ids::FAMILIES_LATER,
            "Families that need an event first have samples as well",
        );
        self.judge(book, check, &[PREFIX], Retry::NEVER, |page| {
            let waiting: Vec<String> = FAMILIES
                .iter()
                .filter(|promised| page.series(promised.name).is_empty())
                .filter_map(|promised| {
                    Some(format!("{} {}", promised.name, until(promised.first)?))
                })
                .collect();
            if waiting.is_empty() {
                Finding::pass("every family has a sample")
            } else {
                Finding::skip(
                    format!("no sample yet of {}", waiting.join("; ")),
                    "verify again after that; families_present fails if one stays away then",
                )
            }
        });
    }
}

/// What a family waits for.
fn until(first: First) -> Option<&'static str> {
    match first {
        First::Start => None,
        First::StageSuccess => Some("(before the first success of a stage)"),
        First::Bar => Some("(before the first bar)"),
        First::HundredPredictions => {
            Some("(before the hundredth prediction, and only of the embedded model)")
        }
        First::Heartbeat => Some("(before a gateway's first heartbeat; never in a dry run)"),
        First::ClockTold => Some("(before a gateway tells its time; never in a dry run)"),
    }
}

/// Whether what a family waits for has happened.
fn is_due(first: First, page: &Samples, health: Option<&Health>) -> bool {
    let gateway = health.and_then(|health| health.gateway.as_ref());
    let succeeded = |stage| health.is_some_and(|health| health.last_success(stage).is_some());
    match first {
        First::Start => true,
        First::StageSuccess => succeeded("fetch"),
        // Features are built of bars.
        First::Bar => succeeded("features"),
        First::HundredPredictions => {
            let is_embedded = page
                .series("sentinel_model_info")
                .iter()
                .any(|series| label_of(series, "origin") == Some("embedded"));
            let usable = page.sum("sentinel_prediction_confidence_ratio");
            is_embedded && usable >= PREDICTIONS_FOR_DRIFT
        }
        First::Heartbeat => gateway.is_some_and(|gateway| gateway.last_heartbeat.is_some()),
        First::ClockTold => gateway.is_some_and(|gateway| gateway.clock_offset_seconds.is_some()),
    }
}

/// What of a family is not there.
fn absences(page: &Samples, promised: &Promised) -> Vec<String> {
    let name = promised.name;
    if page.series(name).is_empty() {
        return vec![match page.family(name) {
            Some(_) => format!("{name} has a TYPE line and no sample"),
            None => format!("{name} is absent"),
        }];
    }
    if promised.kind != Kind::Counter {
        return Vec::new();
    }
    let combinations = combinations(promised.labels);
    let missing = combinations.iter().filter(|labels| {
        !page.series(name).iter().any(|series| {
            labels
                .iter()
                .all(|(label, value)| label_of(series, label) == Some(value))
        })
    });
    missing
        .map(|labels| format!("{name} has no sample for {labels:?}"))
        .collect()
}

/// Every combination of the labels whose values are closed sets.
fn combinations(labels: &[(&'static str, Values)]) -> Vec<Vec<(&'static str, &'static str)>> {
    let mut all = vec![Vec::new()];
    for (label, values) in labels {
        let Values::OneOf(values) = values else {
            continue;
        };
        all = all
            .iter()
            .flat_map(|some: &Vec<_>| {
                values.iter().map(move |value| {
                    let mut more = some.clone();
                    more.push((*label, *value));
                    more
                })
            })
            .collect();
    }
    all
}

fn bounds_fault(page: &Samples, promised: &Promised) -> Option<String> {
    let family: &Family = page.family(promised.name)?;
    family.series.iter().find_map(|series| {
        let Value::Histogram { buckets, .. } = &series.value else {
            return Some(format!("{} has no whole histogram", promised.name));
        };
        let found: Vec<f64> = buckets.iter().map(|(bound, _)| *bound).collect();
        (found != promised.bounds).then(|| {
            format!(
                "{} has the bounds {found:?}, expected {:?}",
                promised.name, promised.bounds
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::reading::tests::samples;
    use super::*;

    #[test]
    fn a_counter_must_be_there_under_every_combination_of_its_labels() {
        let calls = promised("sentinel_api_calls_total").unwrap();
        let page = |text: &str| samples(text, 0.0);
        let head = "# HELP sentinel_api_calls_total x\n# TYPE sentinel_api_calls_total counter\n";
        assert!(absences(&page(head), calls)[0].contains("has a TYPE line and no sample"));
        let one = format!("{head}sentinel_api_calls_total{{endpoint=\"hub\"}} 0.0\n");
        let missing = absences(&page(&one), calls);
        assert_eq!(missing.len(), 1);
        assert!(missing[0].contains("eodhd"), "{missing:?}");
        assert_eq!(
            combinations(promised("sentinel_api_errors_total").unwrap().labels).len(),
            22
        );
    }
}
