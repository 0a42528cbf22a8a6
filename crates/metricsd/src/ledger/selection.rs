//! Which totals somebody asks about: all, those of a family, or one.
//!
//! Invariant: what is taken is spelled as a page of metrics spells it. Pure.

use std::str::FromStr;

use metricsd_exporter::{Value, parse_text};

/// What [`SeriesSelector`] takes, for messages.
pub const SERIES_ACCEPTED: &str =
    r#"a series as /metrics shows it, such as 'orders_total{side="buy"}'"#;

/// What is asked about.
#[derive(Debug, Clone, PartialEq)]
pub enum Selection {
    /// Every total.
    Everything,
    /// Those of a family, by its name or that of its samples.
    Family(String),
    /// One.
    Series(SeriesSelector),
}

/// One series: the name of its sample, and its labels.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesSelector {
    /// As it was given.
    pub text: String,
    /// The name of the sample.
    pub name: String,
    /// Sorted by name; without `le` where that is a bound.
    pub labels: Vec<(String, String)>,
    /// The label `le`, if it is a number.
    pub bound: Option<f64>,
}

impl FromStr for SeriesSelector {
    type Err = String;

    fn from_str(text: &str) -> Result<SeriesSelector, String> {
        let refuse = || format!("accepted is {SERIES_ACCEPTED}");
        // A line feed would begin another sample.
        if text.contains('\n') || text.starts_with('#') {
            return Err(refuse());
        }
        let families = parse_text(format!("{text} 1\n").as_bytes())
            .map_err(|err| format!("{}; {}", err.kind, refuse()))?;
        let [family] = families.as_slice() else {
            return Err(refuse());
        };
        let [series] = family.series.as_slice() else {
            return Err(refuse());
        };
        let Value::Single(1.0) = series.value else {
            return Err(refuse());
        };
        let mut labels = series.labels.clone();
        labels.sort();
        let bound = labels
            .iter()
            .find(|(name, _)| name == "le")
            .and_then(|(_, value)| parse_bound(value));
        if bound.is_some() {
            labels.retain(|(name, _)| name != "le");
        }
        Ok(SeriesSelector {
            text: text.to_owned(),
            name: family.name.clone(),
            labels,
            bound,
        })
    }
}

/// A bound as text 0.0.4 spells it.
fn parse_bound(text: &str) -> Option<f64> {
    match text {
        "+Inf" | "Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        _ => text.parse().ok().filter(|bound: &f64| bound.is_finite()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_read_as_a_page_spells_it() {
        let series: SeriesSelector = r#"a_total{side="b\"uy\\",account="ü"}"#.parse().unwrap();
        assert_eq!(series.name, "a_total");
        let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            series.labels,
            [label("account", "ü"), label("side", "b\"uy\\")]
        );
        let bucket: SeriesSelector = r#"h_bucket{le="0.5",x="1"}"#.parse().unwrap();
        assert_eq!(bucket.bound, Some(0.5));
        assert_eq!(bucket.labels, [label("x", "1")]);
        let bare: SeriesSelector = "a_total".parse().unwrap();
        assert!(bare.labels.is_empty() && bare.bound.is_none());
    }

    #[test]
    fn what_is_no_series_is_refused() {
        for text in ["", "a b", "a{", "{x=\"1\"}", "a 1\nb", "# a", "a{x=1}"] {
            let refused = text.parse::<SeriesSelector>();
            assert!(refused.is_err(), "{text:?}: {refused:?}");
        }
    }
}
