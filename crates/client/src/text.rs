//! Text as a label value, only where a program asks for it: sanitised, cut, and bounded in the number of different values.
//! Invariant: a domain never hands out more than `values_max` different values besides `other`, whatever it is given.
//! It must not touch cells or files.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

/// What is recorded for values that arrive after a domain is full.
pub const OTHER: &str = "other";

/// How raw text is spelled as a label value. Everything but ASCII is dropped, in all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// Trimmed, lower case, blanks to `_`, then only `a-z 0-9 _ . : -`; empty becomes `na`.
    Lower,
    /// Trimmed, upper case, blanks to `_`, then only `A-Z 0-9 _ . : -`; empty becomes `NA`.
    Upper,
    /// Upper case letters and digits only; empty becomes `NA`.
    Code,
}

/// The values that one text label has had in this process. Declared by [`label_text!`](crate::label_text).
#[derive(Debug)]
pub struct TextDomain {
    spelling: Spelling,
    len_max_bytes: usize,
    values_max: u16,
    known: RwLock<BTreeMap<&'static str, u16>>,
}

/// One sanitised value of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text {
    value: &'static str,
    index: u16,
    overflow: bool,
}

impl Text {
    /// What stands in the exposition.
    pub const fn as_str(self) -> &'static str {
        self.value
    }

    /// Number of the value inside its domain; the domain's `values_max` is `other`.
    pub const fn index(self) -> usize {
        self.index as usize
    }

    /// Whether the domain was full when this value arrived, so that it is recorded as `other`.
    pub const fn is_overflow(self) -> bool {
        self.overflow
    }
}

impl TextDomain {
    /// A domain of at most `values_max` values of at most `len_max_bytes` bytes. Evaluated at compile time, where a bad bound is
    /// an error.
    pub const fn new(spelling: Spelling, len_max_bytes: usize, values_max: usize) -> TextDomain {
        assert!(
            len_max_bytes >= 2 && len_max_bytes <= crate::VALUE_LEN_MAX_BYTES,
            "len_max_bytes is 2..=128"
        );
        assert!(
            values_max >= 1 && values_max < crate::COMBINATIONS_MAX,
            "values_max is 1..10,000"
        );
        TextDomain {
            spelling,
            len_max_bytes,
            values_max: values_max as u16,
            known: RwLock::new(BTreeMap::new()),
        }
    }

    /// The label value for `raw`. Takes a lock for the time of a look-up and allocates; a value is kept for the life of the
    /// process.
    pub fn text(&self, raw: &str) -> Text {
        let spelled = spell(self.spelling, self.len_max_bytes, raw);
        if spelled == OTHER {
            // Not an overflow: the caller said so. It shares the series of the overflow, since one key must not exist twice.
            return self.other(false);
        }
        if let Some((&value, &index)) = self
            .known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get_key_value(spelled.as_str())
        {
            return Text {
                value,
                index,
                overflow: false,
            };
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if let Some((&value, &index)) = known.get_key_value(spelled.as_str()) {
            return Text {
                value,
                index,
                overflow: false,
            };
        }
        let index = known.len() as u16;
        if index >= self.values_max {
            return self.other(true);
        }
        // Leaked on purpose: at most `values_max` times, and it makes a label value `Copy` and free to read.
        let value: &'static str = Box::leak(spelled.into_boxed_str());
        known.insert(value, index);
        Text {
            value,
            index,
            overflow: false,
        }
    }

    const fn other(&self, overflow: bool) -> Text {
        Text {
            value: OTHER,
            index: self.values_max,
            overflow,
        }
    }
}

fn spell(spelling: Spelling, len_max_bytes: usize, raw: &str) -> String {
    let spelled: String = raw
        .trim()
        .chars()
        .filter_map(|c| match spelling {
            Spelling::Lower => keep(if c == ' ' {
                '_'
            } else {
                c.to_ascii_lowercase()
            }),
            Spelling::Upper => keep(if c == ' ' {
                '_'
            } else {
                c.to_ascii_uppercase()
            }),
            Spelling::Code => c.is_ascii_alphanumeric().then_some(c.to_ascii_uppercase()),
        })
        .take(len_max_bytes)
        .collect();
    match (spelled.is_empty(), spelling) {
        (false, _) => spelled,
        (true, Spelling::Lower) => "na".to_owned(),
        (true, Spelling::Upper | Spelling::Code) => "NA".to_owned(),
    }
}

fn keep(c: char) -> Option<char> {
    (c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '-')).then_some(c)
}

/// Declare a label type that holds text: sanitised, cut at `len_max_bytes`, and at most `values_max` different values in the
/// life of the process; what comes later is recorded as `other` and counted as the defect `label_overflow`.
///
/// `spelling` is `Lower`, `Upper` or `Code` of [`Spelling`]. Prefer `label_value!`
/// wherever the values are known.
///
/// ```
/// metricsd_client::label_text! {
///     /// Name of a strategy, from the configuration.
///     pub struct StrategyId { spelling: Lower, len_max_bytes: 96, values_max: 2 }
/// }
/// assert_eq!(StrategyId::new(" MA Crossover/v2 ").as_str(), "ma_crossoverv2");
/// assert_eq!(StrategyId::new("").as_str(), "na");
/// assert_eq!(StrategyId::new("a third one").as_str(), "other");
/// ```
#[macro_export]
macro_rules! label_text {
    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        spelling: $spelling:ident, len_max_bytes: $len_max_bytes:expr, values_max: $values_max:expr $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $vis struct $name($crate::Text);

        #[allow(dead_code, reason = "not every program reads the value back")]
        impl $name {
            /// The sanitised value of `raw`. Takes a lock for the time of a look-up and allocates: make it once and keep it.
            $vis fn new(raw: &str) -> $name {
                static DOMAIN: $crate::TextDomain = $crate::TextDomain::new($crate::Spelling::$spelling, $len_max_bytes, $values_max);
                $name(DOMAIN.text(raw))
            }

            /// What stands in the exposition.
            $vis const fn as_str(self) -> &'static str {
                self.0.as_str()
            }
        }

        impl ::core::fmt::Display for $name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl $crate::LabelValue for $name {
            // One more than the domain holds: `other`.
            const COUNT: usize = $values_max + 1;
            const VALUES: &'static [&'static str] = &[];

            #[inline]
            fn index(self) -> usize {
                self.0.index()
            }

            fn as_str(self) -> &'static str {
                self.0.as_str()
            }

            #[inline]
            fn is_overflow(self) -> bool {
                self.0.is_overflow()
            }
        }
    };
}

label_text! {
    /// A currency code: upper case letters and digits, at most 8, empty is `NA`; at most 32 different ones in a process.
    pub struct CurrencyCode { spelling: Code, len_max_bytes: 8, values_max: 32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_text_is_spelled_by_the_rules_of_its_domain() {
        use Spelling::{Code, Lower, Upper};
        let table = [
            (Lower, 96, "  MA Crossover ", "ma_crossover"),
            (Lower, 96, "BTC/EUR strat", "btceur_strat"),
            (Lower, 96, "a_b-c.d:e;f", "a_b-c.d:ef"),
            (Lower, 96, "größe", "gre"),
            (Lower, 96, "line\nbreak\"quote\\", "linebreakquote"),
            (Lower, 4, "abcdefgh", "abcd"),
            (Lower, 96, "", "na"),
            (Lower, 96, "  ", "na"),
            (Lower, 96, "/// 日本", "_"),
            (Lower, 96, "日本", "na"),
            (Upper, 96, "ma crossover", "MA_CROSSOVER"),
            (Upper, 96, "\t", "NA"),
            (Code, 8, "eur", "EUR"),
            (Code, 8, " us-dt.x ", "USDTX"),
            (Code, 8, "abcdefghijk", "ABCDEFGH"),
            (Code, 8, "€", "NA"),
        ];
        for (spelling, len_max_bytes, raw, expected) in table {
            assert_eq!(
                spell(spelling, len_max_bytes, raw),
                expected,
                "{spelling:?} {raw:?}"
            );
        }
    }

    #[test]
    fn a_full_domain_answers_other_and_goes_on_knowing_what_it_knew() {
        let domain = TextDomain::new(Spelling::Lower, 16, 2);
        let first = domain.text("First");
        let second = domain.text("second");
        let third = domain.text("third");
        assert_eq!((first.index(), second.index(), third.index()), (0, 1, 2));
        assert_eq!((third.as_str(), third.is_overflow()), (OTHER, true));
        assert_eq!(domain.text(" first "), first);
        let said = domain.text("Other");
        assert_eq!(
            (said.as_str(), said.index(), said.is_overflow()),
            (OTHER, 2, false)
        );
    }

    #[test]
    fn threads_that_race_for_one_value_get_the_same_one() {
        let domain = TextDomain::new(Spelling::Lower, 16, 64);
        let texts: Vec<Vec<Text>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| (0..50).map(|n| domain.text(&format!("v{n}"))).collect()))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        assert!(texts.iter().all(|of_thread| *of_thread == texts[0]));
        let mut indices: Vec<usize> = texts[0].iter().map(|text| text.index()).collect();
        indices.sort_unstable();
        assert_eq!(indices, (0..50).collect::<Vec<_>>());
    }
}
