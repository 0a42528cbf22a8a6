//! Which names text 0.0.4 can carry, and the typed reason why a family or series is refused.
//!
//! Invariant: a name that passes here needs no escaping anywhere in the text, so no name can break a line of the output. Must not
//! touch: I/O, the clock, logging.

use crate::model::{Family, Series, Value};

/// Why a family, a series or a sample cannot be written. Callers count all of them under [`BadName::REASON`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// The family's name is not a legal metric name.
    #[error(
        "family name {name:?} is not legal in text 0.0.4; letters, digits, '_' and ':' are, not beginning with a digit"
    )]
    Family {
        /// The name as found.
        name: String,
    },
    /// An irregular sample's name is not a legal metric name.
    #[error(
        "sample name {name:?} is not legal in text 0.0.4; letters, digits, '_' and ':' are, not beginning with a digit"
    )]
    Sample {
        /// The name as found.
        name: String,
    },
    /// A label's name is not legal, or is reserved by a leading `__`.
    #[error(
        "label name {name:?} is not legal in text 0.0.4; letters, digits and '_' are, not beginning with a digit or '__'"
    )]
    Label {
        /// The name as found.
        name: String,
    },
    /// A label set names one label twice; a scraper would refuse the whole page.
    #[error("label {name:?} occurs twice in one label set; each name is allowed once")]
    DuplicateLabel {
        /// The name that occurs twice.
        name: String,
    },
    /// A label set whose text is longer than any that is kept.
    #[error("labels of {len} bytes in one set; up to {} are kept", u32::MAX)]
    TooLong {
        /// Bytes of the set as text.
        len: usize,
    },
}

impl BadName {
    /// The label value under which refusals of this kind are counted.
    pub const REASON: &'static str = "bad_name";
}

/// Whether `name` matches `[a-zA-Z_:][a-zA-Z0-9_:]*`, to the last byte (Python's check lets a trailing newline through).
pub fn is_legal_metric_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_' || b == b':')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':')
}

/// Whether `name` matches `[a-zA-Z_][a-zA-Z0-9_]*` and does not begin with `__`, which belongs to Prometheus itself
/// (`__name__` would rename the series).
pub fn is_legal_label_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    !name.starts_with("__")
        && bytes
            .next()
            .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Check everything of a family that text 0.0.4 writes unescaped; `Ok` means that all of it will be written.
pub fn check_family(family: &Family) -> Result<(), BadName> {
    if !is_legal_metric_name(&family.name) {
        return Err(BadName::Family {
            name: family.name.clone(),
        });
    }
    family.series.iter().try_for_each(check_series)
}

/// Check the label names and, for irregular samples, the sample names of one series.
pub fn check_series(series: &Series) -> Result<(), BadName> {
    check_labels(&series.labels)?;
    if let Value::Samples(samples) = &series.value {
        for (name, extra, _) in samples {
            if !is_legal_metric_name(name) {
                return Err(BadName::Sample { name: name.clone() });
            }
            check_labels(extra)?;
        }
    }
    Ok(())
}

/// Check the names of one label set, which need not be sorted.
pub fn check_labels<S: AsRef<str>>(labels: &[(S, S)]) -> Result<(), BadName> {
    for (index, (name, _)) in labels.iter().enumerate() {
        let name = name.as_ref();
        if !is_legal_label_name(name) {
            return Err(BadName::Label {
                name: name.to_owned(),
            });
        }
        let earlier = &labels[..index];
        if earlier.iter().any(|(earlier, _)| earlier.as_ref() == name) {
            return Err(BadName::DuplicateLabel {
                name: name.to_owned(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_need_no_escaping_are_legal() {
        for name in ["a", "_", ":", "a:b_9", "A9"] {
            assert!(is_legal_metric_name(name), "{name:?}");
        }
        for name in ["", "9a", "a.b", "a b", "a\n", "é", "a{", "a-b", "\0"] {
            assert!(!is_legal_metric_name(name), "{name:?}");
            assert!(!is_legal_label_name(name), "{name:?}");
        }
        for name in ["a", "_", "_a", "a9", "a__b"] {
            assert!(is_legal_label_name(name), "{name:?}");
        }
        for name in ["a:b", "__name__", "__", "__a"] {
            assert!(!is_legal_label_name(name), "{name:?}");
        }
    }
}
