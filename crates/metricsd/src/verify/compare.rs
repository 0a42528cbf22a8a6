//! A scrape between two readings of the files: what it may say, and where it says something else.
//!
//! Invariant: every sample of the scrape and of the readings is either compared or counted under the reason why it cannot be. Pure.

use std::collections::{BTreeMap, BTreeSet};

use metricsd_exporter::{Family, Kind, Series, Value, format_float};
use serde::Serialize;

use super::naive::{Labels, Model, Recomputed, Rule, SampleId};
use crate::policy::is_reserved;

/// What was compared and what was not, by reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Samples of the scrape that are not the daemon's own.
    pub scraped: usize,
    /// Did not move, and the scrape says the same.
    pub equal: usize,
    /// Grew meanwhile, and the scrape lies between.
    pub between: usize,
    /// At least what is known of them; the daemon may hold files open that have no name any more.
    pub at_least: usize,
    /// Not compared: gauges, or sums that may fall, that moved between the readings.
    pub moving: usize,
    /// Not compared: the writer set them back between the readings.
    pub went_back: usize,
    /// Not compared: gauges that depend on who lives, which takes leases to know, and what moves in files that only the daemon
    /// holds open.
    pub depend_on_liveness: usize,
    /// Not served, and need not be: came or went between the readings, or gauges that may be hidden.
    pub may_be_absent: usize,
    /// Not served, because there are more series than the limits allow.
    pub beyond_limit: usize,
}

/// How a sample differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DifferenceKind {
    /// Another value than it can have.
    Value,
    /// In the files, and not in the scrape.
    Missing,
    /// In the scrape, and in no file.
    Unaccounted,
}

/// A sample that differs. Numbers are spelled as in the exposition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// How.
    pub kind: DifferenceKind,
    /// Name and labels, as exposed.
    pub series: String,
    /// Recomputed before the scrape.
    pub before: Option<String>,
    /// What the scrape says.
    pub scraped: Option<String>,
    /// Recomputed after the scrape.
    pub after: Option<String>,
    /// It may be a coincidence, unless it differs in this way whenever it is looked at.
    #[serde(skip)]
    pub(super) chance: Option<Chance>,
}

/// How something differs that moves both ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chance {
    /// From a value that stood still, as far as two readings tell.
    Still,
    /// It is less than both readings.
    Below,
    /// It is more than both readings, or no number.
    Above,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    pub(super) counts: Counts,
    pub(super) differences: Vec<Difference>,
}

/// Compares. `scraped` has no sample of the daemon's own.
pub(super) fn compare(
    before: &Model,
    scraped: &BTreeMap<SampleId, f64>,
    after: &Model,
) -> Comparison {
    let mut comparison = Comparison::default();
    comparison.counts.scraped = scraped.len();
    let is_limited = before.is_limited || after.is_limited;
    let ids: BTreeSet<&SampleId> = before
        .samples
        .keys()
        .chain(after.samples.keys())
        .chain(scraped.keys())
        .collect();
    for id in ids {
        let (was, is) = (before.samples.get(id), after.samples.get(id));
        let value = scraped.get(id).copied();
        let counts = &mut comparison.counts;
        let judged = match (was, value, is) {
            (None, Some(_), None) => Err(DifferenceKind::Unaccounted),
            (Some(was), None, Some(is)) if !was.is_optional && !is.is_optional => {
                match is_limited {
                    true => Ok(&mut counts.beyond_limit),
                    false => Err(DifferenceKind::Missing),
                }
            }
            (_, None, _) => Ok(&mut counts.may_be_absent),
            (Some(was), Some(value), Some(is)) => judge(was, value, is, counts),
            // A series that came since the first reading, and grew from nothing.
            (None, Some(value), Some(is)) => judge(&from_nothing(is), value, is, counts),
            // What adds up does not end with its writer, whatever became of its file.
            (Some(was), Some(_), None) => match was.rule < Rule::Drifts {
                true => Ok(&mut counts.went_back),
                false => Ok(&mut counts.moving),
            },
        };
        match judged {
            Ok(count) => *count += 1,
            Err(kind) => comparison.differences.push(Difference {
                kind,
                series: spelled(id),
                before: was.map(|it| number(it.value)),
                scraped: value.map(number),
                after: is.map(|it| number(it.value)),
                chance: chance(was, value, is),
            }),
        }
    }
    comparison
}

/// Whether, and how, a difference may be one by chance.
fn chance(was: Option<&Recomputed>, value: Option<f64>, is: Option<&Recomputed>) -> Option<Chance> {
    let (first, last) = (was.or(is)?, is.or(was)?);
    match (first.rule.max(last.rule), value) {
        (Rule::Drifts, Some(value)) if value < first.value.min(last.value) => Some(Chance::Below),
        (Rule::Drifts, Some(_)) => Some(Chance::Above),
        (Rule::Moves, _) => Some(Chance::Still),
        _ => None,
    }
}

fn from_nothing(is: &Recomputed) -> Recomputed {
    Recomputed { value: 0.0, ..*is }
}

fn judge<'a>(
    was: &Recomputed,
    value: f64,
    is: &Recomputed,
    counts: &'a mut Counts,
) -> Result<&'a mut usize, DifferenceKind> {
    let held_still = same(was.value, is.value);
    match was.rule.max(is.rule) {
        Rule::Unknown => Ok(&mut counts.depend_on_liveness),
        Rule::Grows | Rule::Drifts | Rule::Moves if held_still => match same(was.value, value) {
            true => Ok(&mut counts.equal),
            false => Err(DifferenceKind::Value),
        },
        Rule::Moves => Ok(&mut counts.moving),
        // NaN has no order: what became it, or was it, may have been anything between.
        _ if !held_still && (was.value.is_nan() || is.value.is_nan()) => Ok(&mut counts.moving),
        Rule::Drifts => {
            let (least, most) = (was.value.min(is.value), was.value.max(is.value));
            match least <= value && value <= most {
                true => Ok(&mut counts.between),
                false => Err(DifferenceKind::Value),
            }
        }
        _ if was.value > is.value => Ok(&mut counts.went_back),
        Rule::Grows => match was.value <= value && value <= is.value {
            true => Ok(&mut counts.between),
            false => Err(DifferenceKind::Value),
        },
        // What was held open and has been absorbed since is known after all.
        Rule::GrowsBeyond => {
            let is_enough = was.value <= value || same(was.value, value);
            match is_enough && (is.rule == Rule::GrowsBeyond || value <= is.value) {
                true => Ok(&mut counts.at_least),
                false => Err(DifferenceKind::Value),
            }
        }
    }
}

/// Bit for bit, but all NaNs are alike.
fn same(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

/// Every sample of a page but those of the daemon's own families.
pub(super) fn samples_of(families: &[Family]) -> BTreeMap<SampleId, f64> {
    let mut samples = BTreeMap::new();
    for family in families {
        for series in &family.series {
            add_series(family, series, &mut samples);
        }
    }
    samples.retain(|(name, _), _| !is_reserved(name));
    samples
}

fn add_series(family: &Family, series: &Series, samples: &mut BTreeMap<SampleId, f64>) {
    let mut add = |suffix: &str, extra: Option<(&str, f64)>, value: f64| {
        let mut labels: Labels = series.labels.clone();
        labels.extend(extra.map(|(name, bound)| (name.to_owned(), number(bound))));
        labels.sort();
        samples.insert((format!("{}{suffix}", family.name), labels), value);
    };
    match &series.value {
        Value::Single(value) if family.kind == Kind::Counter => add("_total", None, *value),
        Value::Single(value) => add("", None, *value),
        Value::Histogram { buckets, sum } => {
            add("_sum", None, *sum);
            for &(bound, count) in buckets {
                add("_bucket", Some(("le", bound)), count);
            }
            if let Some(&(_, count)) = buckets.last() {
                add("_count", None, count);
            }
        }
        Value::Summary {
            count,
            sum,
            quantiles,
        } => {
            add("_count", None, *count);
            add("_sum", None, *sum);
            for &(quantile, value) in quantiles {
                add("", Some(("quantile", quantile)), value);
            }
        }
        Value::Samples(irregular) => {
            for (name, extra, value) in irregular {
                let mut labels = series.labels.clone();
                labels.retain(|(label, _)| extra.iter().all(|(other, _)| other != label));
                labels.extend(extra.iter().cloned());
                labels.sort();
                samples.insert((name.clone(), labels), *value);
            }
        }
    }
}

/// As in the exposition.
fn number(value: f64) -> String {
    let mut text = Vec::new();
    format_float(value, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn spelled((name, labels): &SampleId) -> String {
    if labels.is_empty() {
        return name.clone();
    }
    let pairs: Vec<String> = labels
        .iter()
        .map(|(label, value)| format!("{label}={value:?}"))
        .collect();
    format!("{name}{{{}}}", pairs.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(samples: &[(&str, f64, Rule)]) -> Model {
        let sample = |&(name, value, rule): &(&str, f64, Rule)| {
            let recomputed = Recomputed {
                value,
                rule,
                is_optional: false,
            };
            ((name.to_owned(), Vec::new()), recomputed)
        };
        Model {
            samples: samples.iter().map(sample).collect(),
            ..Model::default()
        }
    }

    fn scraped(value: f64) -> BTreeMap<SampleId, f64> {
        BTreeMap::from([(("x".to_owned(), Vec::new()), value)])
    }

    fn differs(was: f64, value: f64, is: f64, rule: Rule) -> bool {
        let compared = compare(
            &model(&[("x", was, rule)]),
            &scraped(value),
            &model(&[("x", is, rule)]),
        );
        !compared.differences.is_empty()
    }

    #[test]
    fn what_grows_lies_between_the_readings() {
        assert!(!differs(1.0, 1.0, 3.0, Rule::Grows));
        assert!(!differs(1.0, 3.0, 3.0, Rule::Grows));
        assert!(differs(1.0, 0.0, 3.0, Rule::Grows));
        assert!(differs(1.0, 4.0, 3.0, Rule::Grows));
        assert!(differs(1.0, f64::NAN, 3.0, Rule::Grows));
        assert!(!differs(f64::NAN, f64::NAN, f64::NAN, Rule::Grows));
        // The writer began anew: nothing can be said.
        assert!(!differs(3.0, 7.0, 1.0, Rule::Grows));
    }

    #[test]
    fn a_sum_of_gains_and_losses_differs_by_chance_and_is_suspected_of_more_only_in_one_direction()
    {
        let chance_of = |was: f64, value: f64, is: f64| {
            let compared = compare(
                &model(&[("x_sum", was, Rule::Drifts)]),
                &BTreeMap::from([(("x_sum".to_owned(), Vec::new()), value)]),
                &model(&[("x_sum", is, Rule::Drifts)]),
            );
            assert_eq!(
                compared.counts.between + compared.counts.equal,
                usize::from(compared.differences.is_empty())
            );
            compared.differences.first().map(|it| it.chance)
        };
        assert_eq!(chance_of(1.0, 2.0, 3.0), None);
        assert_eq!(chance_of(3.0, 2.0, 1.0), None);
        assert_eq!(chance_of(3.0, 3.0, 3.0), None);
        assert_eq!(chance_of(1.0, 4.0, 3.0), Some(Some(Chance::Above)));
        assert_eq!(chance_of(3.0, 4.0, 1.0), Some(Some(Chance::Above)));
        assert_eq!(chance_of(1.0, 0.0, 3.0), Some(Some(Chance::Below)));
        assert_eq!(chance_of(1.0, f64::NAN, 1.0), Some(Some(Chance::Above)));
    }

    #[test]
    fn what_becomes_nan_between_the_readings_is_not_compared() {
        assert!(!differs(1.0, f64::NAN, f64::NAN, Rule::Grows));
        assert!(!differs(1.0, 1.0, f64::NAN, Rule::Drifts));
        assert!(differs(f64::NAN, 1.0, f64::NAN, Rule::Grows));
    }

    #[test]
    fn what_moves_both_ways_is_compared_only_while_it_holds_still() {
        assert!(differs(1.0, 2.0, 1.0, Rule::Moves));
        assert!(!differs(1.0, 7.0, 2.0, Rule::Moves));
        assert!(!differs(1.0, 7.0, 1.0, Rule::Unknown));
    }

    #[test]
    fn what_the_daemon_holds_open_is_known_from_below_only() {
        assert!(!differs(2.0, 9.0, 2.0, Rule::GrowsBeyond));
        assert!(differs(2.0, 1.0, 2.0, Rule::GrowsBeyond));
    }

    #[test]
    fn a_series_is_missed_and_one_that_nobody_wrote_is_noticed() {
        let (none, some) = (model(&[]), model(&[("x", 1.0, Rule::Grows)]));
        let kinds = |before: &Model, scraped: &BTreeMap<SampleId, f64>, after: &Model| {
            let found = compare(before, scraped, after).differences;
            found.iter().map(|it| it.kind).collect::<Vec<_>>()
        };
        let empty = BTreeMap::new();
        assert_eq!(kinds(&some, &empty, &some), [DifferenceKind::Missing]);
        assert_eq!(
            kinds(&none, &scraped(1.0), &none),
            [DifferenceKind::Unaccounted]
        );
        // Born between the readings: not compared, and counted.
        assert_eq!(kinds(&none, &empty, &some), []);
        assert_eq!(compare(&none, &empty, &some).counts.may_be_absent, 1);
        // Gone from the files, which no total may be: looked at again.
        assert_eq!(compare(&some, &scraped(1.0), &none).counts.went_back, 1);
        assert_eq!(kinds(&none, &scraped(0.5), &some), []);
        assert_eq!(kinds(&none, &scraped(1.5), &some), [DifferenceKind::Value]);
    }
}
