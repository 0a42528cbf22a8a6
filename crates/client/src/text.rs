//! Text as a label value, only where a program asks for it: sanitised, cut, and bounded in the number of different values.
//! Invariant: a domain never hands out more than `values_max` different values besides `other`, whatever it is given; and a
//! value that it knows is found without a lock, so that a fork cannot take it away.
//! It must not touch cells or files.

mod recall;
mod values;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use recall::Raw;
use values::Values;

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
    /// Which domain of the process this is; 0 until it was asked for a value.
    number: AtomicU64,
    /// The values. For ever, since a value has a pointer into them.
    values: OnceLock<&'static Values>,
    /// How many there are. Held while one is added.
    count: Mutex<u16>,
}

/// One sanitised value of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text {
    /// A pointer to a slice and not the slice: a text is two words, which are returned in registers. More words, or parts of words,
    /// would be stored and loaded again, in another size, which a processor does not forward.
    value: &'static &'static str,
    /// The index in the domain, doubled; one more for an overflow.
    number: u32,
}

impl Text {
    const NONE: Text = Text::new(&OTHER, 0, false);

    const fn new(value: &'static &'static str, index: u16, overflow: bool) -> Text {
        let number = (index as u32) << 1 | overflow as u32;
        Text { value, number }
    }

    /// What stands in the exposition.
    pub const fn as_str(self) -> &'static str {
        self.value
    }

    /// Number of the value inside its domain; the domain's `values_max` is `other`.
    #[inline]
    pub const fn index(self) -> usize {
        (self.number >> 1) as usize
    }

    /// Whether the domain was full when this value arrived, so that it is recorded as `other`.
    #[inline]
    pub const fn is_overflow(self) -> bool {
        self.number & 1 == 1
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
            number: AtomicU64::new(0),
            values: OnceLock::new(),
            count: Mutex::new(0),
        }
    }

    /// The label value for `raw`. Text of at most 32 bytes that this thread has asked for not long ago is found without a lock, an
    /// allocation or a look at each of its characters, soonest where it lies where it lay then; other text allocates. A value that is new takes a lock, and is kept
    /// for the life of the process.
    #[inline]
    pub fn text(&self, raw: &str) -> Text {
        match self.raw(raw).and_then(|raw| raw.recall()) {
            Some(text) => text,
            None => self.text_elsewhere(raw),
        }
    }

    /// For text that does not lie where it lay, and text that is new.
    #[inline(never)]
    fn text_elsewhere(&self, raw: &str) -> Text {
        match self.raw(raw).and_then(|raw| raw.recall_moved()) {
            Some(text) => text,
            None => self.text_again(raw),
        }
    }

    #[inline]
    fn raw<'a>(&self, raw: &'a str) -> Option<Raw<'a>> {
        // Relaxed: the number says nothing about other memory.
        Raw::new(self.number.load(Ordering::Relaxed), raw)
    }

    #[cold]
    #[inline(never)]
    fn text_again(&self, raw: &str) -> Text {
        self.ensure_number();
        let text = self.look_up(raw);
        if let Some(raw) = self.raw(raw) {
            raw.learn(text);
        }
        text
    }

    /// Numbers and not addresses: a domain may move, and another one may lie where it was.
    fn ensure_number(&self) {
        static LAST: AtomicU64 = AtomicU64::new(0);
        if self.number.load(Ordering::Relaxed) == 0 {
            let number = 1 + LAST.fetch_add(1, Ordering::Relaxed);
            // Another thread may have been faster; then that number stands.
            let _stands =
                self.number
                    .compare_exchange(0, number, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    fn look_up(&self, raw: &str) -> Text {
        let spelled = spell(self.spelling, self.len_max_bytes, raw);
        if spelled == OTHER {
            // Not an overflow: the caller said so. It shares the series of the overflow, since one key must not exist twice.
            return self.other(false);
        }
        let values = self
            .values
            .get_or_init(|| Box::leak(Box::new(Values::new(self.values_max))));
        match values.find(&spelled) {
            Some((value, index)) => Text::new(value, index, false),
            None => self.insert(values, spelled),
        }
    }

    #[cold]
    fn insert(&self, values: &'static Values, spelled: String) -> Text {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((value, index)) = values.find(&spelled) {
            // Another thread was faster.
            return Text::new(value, index, false);
        }
        let index = *count;
        if index >= self.values_max {
            return self.other(true);
        }
        *count += 1;
        Text::new(values.insert(index, spelled), index, false)
    }

    const fn other(&self, overflow: bool) -> Text {
        Text::new(&OTHER, self.values_max, overflow)
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
            /// The sanitised value of `raw`. A value that is new takes a lock; text of more than 32 bytes, or that this thread has not
            /// asked for before, allocates.
            #[inline]
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

    /// As in a child that was forked while another thread made a new value.
    #[test]
    fn a_known_value_is_found_while_the_lock_is_taken_for_ever() {
        static DOMAIN: TextDomain = TextDomain::new(Spelling::Lower, 16, 9_000);
        let known: Vec<Text> = (0..4_500).map(|n| DOMAIN.text(&format!("v{n}"))).collect();
        std::mem::forget(DOMAIN.count.lock());
        let (done, finished) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let again: Vec<Text> = (0..4_500).map(|n| DOMAIN.text(&format!("v{n}"))).collect();
            done.send(again == known).unwrap();
        });
        let same = finished.recv_timeout(std::time::Duration::from_secs(30));
        assert_eq!(same, Ok(true), "a known value waits for the lock");
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
