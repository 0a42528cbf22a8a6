//! One page of metrics, read twice: leniently for what is on it, strictly for whether it is text 0.0.4.
//!
//! Invariant: only a line with a value is a sample; HELP and TYPE lines prove nothing. Pure.

use std::collections::BTreeMap;

use metricsd_exporter::{Family, Kind, Value, parse_text};

/// Prefixes of the daemon's own families.
const OWN_PREFIXES: [&str; 2] = ["metricsd_", "process_"];

/// Suffixes of the samples of a histogram or summary that only grow.
const GROWING_SUFFIXES: [&str; 2] = ["_bucket", "_count"];

/// Defects and losses that are named in one sentence; the exchange has the page.
const NAMED_MAX: usize = 5;

/// One sample, as it stands on the page.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Name and labels.
    pub series: String,
    /// The name.
    pub name: String,
    /// The value.
    pub value: f64,
}

/// A page.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The bytes as they came.
    pub bytes: Vec<u8>,
    /// The word of each TYPE line by name.
    pub types: BTreeMap<String, String>,
    /// The samples in the order of the page.
    pub samples: Vec<Sample>,
}

impl Page {
    /// Takes the samples out; lines that are none are left to [`defects`].
    pub fn read(bytes: Vec<u8>) -> Page {
        let text = String::from_utf8_lossy(&bytes);
        let mut types = BTreeMap::new();
        let mut samples = Vec::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                if let Some((name, kind)) = rest.split_once(' ') {
                    types.insert(name.to_owned(), kind.trim().to_owned());
                }
            } else if !line.starts_with('#')
                && let Some((series, value)) = line.rsplit_once(' ')
                && let Ok(value) = value.parse()
            {
                let name = series.split('{').next().unwrap_or(series).trim();
                samples.push(Sample {
                    series: series.to_owned(),
                    name: name.to_owned(),
                    value,
                });
            }
        }
        Page {
            types,
            samples,
            bytes,
        }
    }

    /// The value of a series.
    pub fn value(&self, series: &str) -> Option<f64> {
        let found = self.samples.iter().find(|sample| sample.series == series);
        found.map(|sample| sample.value)
    }

    /// The samples of a name.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Sample> {
        self.samples
            .iter()
            .filter(move |sample| sample.name == name)
    }

    /// The sum of the samples of a name whose labels contain this text; none if there is no such sample.
    pub fn total(&self, name: &str, label: &str) -> Option<f64> {
        let mut found = self
            .named(name)
            .filter(|sample| sample.series.contains(label))
            .peekable();
        found.peek()?;
        Some(found.map(|sample| sample.value).sum())
    }

    /// Merged samples: those of the sessions, not the daemon's own.
    pub fn merged(&self) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(|sample| !is_own(&sample.name))
    }

    /// Merged counters.
    pub fn counters(&self) -> impl Iterator<Item = &Sample> {
        self.merged()
            .filter(|sample| self.kind(&sample.name) == Some("counter"))
    }

    /// Everything merged that can only grow, by series: counters, buckets and counts.
    pub fn growing(&self) -> BTreeMap<&str, f64> {
        let grows = |sample: &&Sample| {
            self.kind(&sample.name) == Some("counter")
                || GROWING_SUFFIXES.iter().any(|suffix| {
                    let family = sample.name.strip_suffix(suffix);
                    family.is_some_and(|family| {
                        matches!(self.kind(family), Some("histogram" | "summary"))
                    })
                })
        };
        self.merged()
            .filter(grows)
            .map(|sample| (sample.series.as_str(), sample.value))
            .collect()
    }

    /// The families that have merged samples.
    pub fn merged_families(&self) -> usize {
        let has_samples = |name: &&String| {
            self.samples
                .iter()
                .any(|sample| sample.name.starts_with(name.as_str()))
        };
        self.types
            .keys()
            .filter(|name| !is_own(name))
            .filter(has_samples)
            .count()
    }

    fn kind(&self, name: &str) -> Option<&str> {
        self.types.get(name).map(String::as_str)
    }
}

fn is_own(name: &str) -> bool {
    OWN_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// What went back or away between two pages: one sentence each.
pub fn losses(before: &Page, after: &Page) -> Vec<String> {
    let now = after.growing();
    let mut losses = Vec::new();
    for (series, was) in before.growing() {
        match now.get(series) {
            None => losses.push(format!("{series} is gone, it was {was}")),
            Some(is) if *is < was => losses.push(format!("{series} fell from {was} to {is}")),
            Some(_) => {}
        }
    }
    losses
}

/// The first of several faults in one sentence, with the number of the others.
pub fn named(faults: &[String]) -> String {
    let shown = faults.len().min(NAMED_MAX);
    let rest = match faults.len() - shown {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    format!("{}{rest}", faults[..shown].join("; "))
}

/// What is wrong with a page; nothing if it is text 0.0.4, has every series once, and its counts are counts.
pub fn defects(page: &Page) -> Vec<String> {
    let families = match parse_text(&page.bytes) {
        Ok(families) => families,
        Err(err) => return vec![err.to_string()],
    };
    families.iter().flat_map(family_defects).collect()
}

fn family_defects(family: &Family) -> Vec<String> {
    let mut defects = Vec::new();
    for series in &family.series {
        let labels = &series.labels;
        let mut must = |name: &str, value: f64, is_count: bool| {
            if !value.is_finite() || (is_count && value < 0.0) {
                let wanted = if is_count {
                    "a finite number, not below 0"
                } else {
                    "a finite number"
                };
                defects.push(format!(
                    "{}{name} {labels:?} is {value}, expected {wanted}",
                    family.name
                ));
            }
        };
        match &series.value {
            Value::Single(value) if family.kind == Kind::Counter => must("_total", *value, true),
            // A gauge may be anything, but no strategy or risk figure is.
            Value::Single(value) if family.name.starts_with("peaktrade_") => {
                must("", *value, false);
            }
            Value::Single(_) => {}
            Value::Histogram { buckets, .. } => {
                buckets
                    .iter()
                    .for_each(|(_, count)| must("_bucket", *count, true));
                if !buckets.is_sorted_by(|(_, a), (_, b)| a <= b) {
                    defects.push(format!(
                        "{} {labels:?}: a bucket holds less than the one before it",
                        family.name
                    ));
                }
            }
            Value::Summary { count, .. } => must("_count", *count, true),
            Value::Samples(samples) if family.kind == Kind::Counter => {
                for (name, _, value) in samples {
                    if !value.is_finite() || *value < 0.0 {
                        defects.push(format!("{name} {labels:?} is {value}"));
                    }
                }
                defects.push(format!(
                    "{} is a counter whose samples do not end in _total",
                    family.name
                ));
            }
            Value::Samples(_) => defects.push(format!(
                "{} {labels:?} has samples that do not fit its type",
                family.name
            )),
        }
    }
    defects
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> Page {
        Page::read(text.as_bytes().to_vec())
    }

    #[test]
    fn a_help_line_is_no_sample() {
        let page =
            page("# HELP a_total x\n# TYPE a_total counter\n# TYPE b gauge\nb{x=\"1 2\"} 3\n");
        assert_eq!(page.named("a_total").count(), 0);
        assert_eq!(page.value("b{x=\"1 2\"}"), Some(3.0));
        assert_eq!(page.total("b", "x="), Some(3.0));
        assert_eq!(page.total("b", "y="), None);
        assert_eq!(page.merged_families(), 1);
    }

    #[test]
    fn what_fell_or_went_is_named_and_the_daemons_own_is_not_asked() {
        let before = page(
            "# TYPE a_total counter\na_total 5\n# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_sum 9\n# TYPE metricsd_x_total counter\nmetricsd_x_total 7\n",
        );
        let after = page("# TYPE a_total counter\na_total 4\n");
        assert_eq!(
            losses(&before, &after),
            [
                "a_total fell from 5 to 4",
                "h_bucket{le=\"1\"} is gone, it was 2"
            ]
        );
        assert!(losses(&before, &before).is_empty());
    }

    #[test]
    fn each_defect_of_a_page_is_found() {
        for (text, word) in [
            ("a 1\na 1\n", "a second time"),
            ("a 1\n# TYPE a gauge\n", "out of place"),
            ("# TYPE a_total counter\na_total -1\n", "not below 0"),
            ("# TYPE a_total counter\na_total NaN\n", "finite"),
            ("# TYPE peaktrade_x gauge\npeaktrade_x NaN\n", "finite"),
            (
                "# TYPE h histogram\nh_sum 1.0\nh_bucket{le=\"1.0\"} 2.0\nh_bucket{le=\"+Inf\"} 1.0\nh_count 1.0\n",
                "less than the one before",
            ),
            ("a one\n", "not a number"),
            ("# TYPE a counter\na 1\n", "_total"),
        ] {
            let found = defects(&page(text));
            assert!(
                found.iter().any(|defect| defect.contains(word)),
                "{text}: {found:?}"
            );
        }
        let fine = "# HELP a_total x\n# TYPE a_total counter\na_total 1.0\n# TYPE g gauge\ng NaN\n";
        assert_eq!(defects(&page(fine)), Vec::<String>::new());
    }
}
