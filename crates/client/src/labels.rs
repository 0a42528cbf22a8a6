//! Label sets whose size is known when the program is compiled: `label_value!` enums inside `label_set!` structs.
//! Invariant: a label set maps one to one onto positions `0..COMBINATIONS`, and `COMBINATIONS` never exceeds
//! [`COMBINATIONS_MAX`].
//! It must not touch cells, files or locks.

/// Most series that one family may have. Bounds the memory of a family's table and what one program can add to a scrape: a
/// label set that could make more does not compile.
pub const COMBINATIONS_MAX: usize = 10_000;

/// Longest label value of a [`label_value!`](crate::label_value) enum, in bytes.
pub const VALUE_LEN_MAX_BYTES: usize = 128;

/// A type that a label can have. Made by [`label_value!`](crate::label_value) (a closed list) or
/// [`label_text!`](crate::label_text) (bounded text).
pub trait LabelValue: Copy + Send + Sync + 'static {
    /// How many different values there can be.
    const COUNT: usize;
    /// All values by [`index`](Self::index) where the list is closed; empty for text.
    const VALUES: &'static [&'static str];
    /// Number of this value, below [`COUNT`](Self::COUNT).
    fn index(self) -> usize;
    /// What stands in the exposition.
    fn as_str(self) -> &'static str;
    /// Whether this is text that arrived after its domain was full and is recorded as `other`.
    fn is_overflow(self) -> bool {
        false
    }
}

/// The labels of one family. Made by [`label_set!`](crate::label_set); `()` is the set of a family without labels.
pub trait LabelSet: Copy + Send + Sync + 'static {
    /// Label names in the order of the struct's fields.
    const NAMES: &'static [&'static str];
    /// How many different label sets there can be.
    const COMBINATIONS: usize;
    /// For each label its closed list of values; an empty list is text.
    const VALUES: &'static [&'static [&'static str]];
    /// Number of this label set, below [`COMBINATIONS`](Self::COMBINATIONS).
    fn position(&self) -> usize;
    /// The values in the order of [`NAMES`](Self::NAMES). Allocates: for the first touch of a series only.
    fn values(&self) -> Vec<&'static str>;
    /// Whether any value is text that arrived after its domain was full.
    fn has_overflow(&self) -> bool;
}

impl LabelSet for () {
    const NAMES: &'static [&'static str] = &[];
    const COMBINATIONS: usize = 1;
    const VALUES: &'static [&'static [&'static str]] = &[];

    fn position(&self) -> usize {
        0
    }

    fn values(&self) -> Vec<&'static str> {
        Vec::new()
    }

    fn has_overflow(&self) -> bool {
        false
    }
}

/// Whether every label of `L` has a closed list of values: such counters and histograms exist at zero from registration.
pub(crate) const fn is_finite<L: LabelSet>() -> bool {
    let mut label = 0;
    while label < L::VALUES.len() {
        if L::VALUES[label].is_empty() {
            return false;
        }
        label += 1;
    }
    true
}

/// The values at `position` of a finite label set: the inverse of [`LabelSet::position`].
pub(crate) fn values_at<L: LabelSet>(position: usize) -> Vec<&'static str> {
    let mut rest = position;
    let mut values: Vec<&'static str> = L::VALUES
        .iter()
        .rev()
        .map(|list| {
            let value = list[rest % list.len()];
            rest /= list.len();
            value
        })
        .collect();
    values.reverse();
    values
}

/// Declare an enum whose variants are the values of a label.
///
/// The list is closed, so every series exists from registration on and no input text can become a label value. Values are
/// printable ASCII, at most 128 bytes, and distinct; anything else does not compile.
///
/// ```
/// metricsd_client::label_value! {
///     /// Side of an order.
///     pub enum Side {
///         Buy = "buy",
///         Sell = "sell",
///     }
/// }
/// assert_eq!(Side::Sell.as_str(), "sell");
/// assert_eq!(Side::ALL, [Side::Buy, Side::Sell]);
/// ```
///
/// The same value twice does not compile:
/// ```compile_fail
/// metricsd_client::label_value! { pub enum Side { Buy = "buy", Sell = "buy" } }
/// ```
#[macro_export]
macro_rules! label_value {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $vis enum $name {
            $($(#[$variant_meta])* #[doc = ::core::concat!("`", $text, "`")] $variant),+
        }

        #[allow(dead_code, reason = "not every program reads the list back")]
        impl $name {
            /// Every value, in the order of declaration.
            $vis const ALL: &'static [$name] = &[$($name::$variant),+];

            /// What stands in the exposition.
            $vis const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }
        }

        impl ::core::fmt::Display for $name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl $crate::LabelValue for $name {
            const COUNT: usize = $name::ALL.len();
            const VALUES: &'static [&'static str] = &[$($text),+];

            #[inline]
            fn index(self) -> usize {
                self as usize
            }

            fn as_str(self) -> &'static str {
                $name::as_str(self)
            }
        }

        const _: () = $crate::__private::assert_label_values(<$name as $crate::LabelValue>::VALUES);
    };
}

/// Declare the labels of a family: one field per label, each of a [`label_value!`](crate::label_value) or
/// [`label_text!`](crate::label_text) type. The fields have the visibility of the struct.
///
/// ```
/// metricsd_client::label_value! { pub enum Side { Buy = "buy", Sell = "sell" } }
/// metricsd_client::label_value! { pub enum Outcome { Filled = "filled", Rejected = "rejected" } }
/// metricsd_client::label_set! {
///     /// Labels of an order.
///     pub struct OrderLabels { side: Side, outcome: Outcome }
/// }
/// let labels = OrderLabels { side: Side::Buy, outcome: Outcome::Filled };
/// # let _ = labels;
/// ```
///
/// A label name that stands for something without end, or that the format keeps for itself, does not compile: `symbol`,
/// `instrument`, `pair`, `ticker`, `isin`, `order_id`, `client_order_id`, `run_id`, `account`, `uuid`, `pid`, `le`, `quantile`.
///
/// ```compile_fail
/// metricsd_client::label_value! { pub enum Symbol { Eurusd = "EURUSD" } }
/// metricsd_client::label_set! { pub struct Labels { symbol: Symbol } }
/// ```
/// ```compile_fail
/// metricsd_client::label_value! { pub enum Bound { One = "1.0" } }
/// metricsd_client::label_set! { pub struct Labels { le: Bound } }
/// ```
///
/// Nor does a set that could make more than 10,000 series, or a field that is plain text:
/// ```compile_fail
/// metricsd_client::label_text! { pub struct A { spelling: Lower, len_max_bytes: 8, values_max: 200 } }
/// metricsd_client::label_set! { pub struct Labels { first: A, second: A } }
/// ```
/// ```compile_fail
/// metricsd_client::label_set! { pub struct Labels { reason: String } }
/// ```
#[macro_export]
macro_rules! label_set {
    ($(#[$meta:meta])* $vis:vis struct $name:ident { $($(#[$field_meta:meta])* $label:ident : $value:ty),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        $vis struct $name {
            $($(#[$field_meta])* #[allow(missing_docs, reason = "the label's type says what it means")] $vis $label: $value),+
        }

        impl $crate::LabelSet for $name {
            const NAMES: &'static [&'static str] = &[$($crate::__private::label_name(::core::stringify!($label))),+];
            const COMBINATIONS: usize = 1 $(* <$value as $crate::LabelValue>::COUNT)+;
            const VALUES: &'static [&'static [&'static str]] = &[$(<$value as $crate::LabelValue>::VALUES),+];

            #[inline]
            fn position(&self) -> usize {
                let position = 0;
                $(let position = position * <$value as $crate::LabelValue>::COUNT + $crate::LabelValue::index(self.$label);)+
                position
            }

            fn values(&self) -> ::std::vec::Vec<&'static str> {
                ::std::vec![$($crate::LabelValue::as_str(self.$label)),+]
            }

            #[inline]
            fn has_overflow(&self) -> bool {
                false $(|| $crate::LabelValue::is_overflow(self.$label))+
            }
        }

        $(const _: () = $crate::__private::assert_label_name(::core::stringify!($label));)+
        const _: () = ::core::assert!(
            <$name as $crate::LabelSet>::COMBINATIONS <= $crate::COMBINATIONS_MAX,
            "this label set could make more than 10,000 series; give it fewer labels or smaller domains"
        );
    };
}

/// Names a label can never have: the first ten stand for something without end (a series each, for ever), the last three belong
/// to the format.
const FORBIDDEN_LABEL_NAMES: [&str; 13] = [
    "symbol",
    "instrument",
    "pair",
    "ticker",
    "isin",
    "order_id",
    "client_order_id",
    "run_id",
    "account",
    "uuid",
    "pid",
    "le",
    "quantile",
];

/// Whether a label can never have this name: see `FORBIDDEN_LABEL_NAMES`.
pub(crate) fn is_forbidden_label_name(name: &str) -> bool {
    FORBIDDEN_LABEL_NAMES.contains(&name)
}

/// The label name that a field stands for: `r#type` is `type`.
#[doc(hidden)]
pub const fn label_name(field: &'static str) -> &'static str {
    match field.as_bytes() {
        [b'r', b'#', ..] => field.split_at(2).1,
        _ => field,
    }
}

/// Compile-time check of a field that becomes a label name.
#[doc(hidden)]
pub const fn assert_label_name(field: &'static str) {
    let name = label_name(field).as_bytes();
    let mut i = 0;
    while i < FORBIDDEN_LABEL_NAMES.len() {
        assert!(
            !bytes_equal(name, FORBIDDEN_LABEL_NAMES[i].as_bytes()),
            "forbidden label name: it stands for something without end (symbol, instrument, pair, ticker, isin, order_id, client_order_id, \
             run_id, account, uuid) or belongs to the format (pid, le, quantile)"
        );
        i += 1;
    }
    assert!(
        !(name.len() >= 2 && name[0] == b'_' && name[1] == b'_'),
        "label names that begin with __ belong to Prometheus"
    );
    let mut i = 0;
    while i < name.len() {
        let legal = name[i].is_ascii_alphanumeric() || name[i] == b'_';
        assert!(
            legal,
            "a label name consists of ASCII letters, digits and _"
        );
        i += 1;
    }
}

/// Compile-time check of the values of an enum.
#[doc(hidden)]
pub const fn assert_label_values(values: &'static [&'static str]) {
    let mut i = 0;
    while i < values.len() {
        let value = values[i].as_bytes();
        assert!(
            !value.is_empty(),
            "an empty label value is the same as no label"
        );
        assert!(
            value.len() <= VALUE_LEN_MAX_BYTES,
            "a label value has at most 128 bytes"
        );
        let mut at = 0;
        while at < value.len() {
            assert!(
                value[at] >= 0x20 && value[at] < 0x7f,
                "a label value consists of printable ASCII"
            );
            at += 1;
        }
        let mut other = i + 1;
        while other < values.len() {
            assert!(
                !bytes_equal(value, values[other].as_bytes()),
                "two variants have the same label value"
            );
            other += 1;
        }
        i += 1;
    }
}

const fn bytes_equal(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::label_value! { enum Side { Buy = "buy", Sell = "sell" } }
    crate::label_value! { enum Outcome { Filled = "filled", Rejected = "rejected", Blocked = "blocked" } }
    crate::label_set! { struct Order { side: Side, outcome: Outcome } }
    crate::label_set! { struct Keyword { r#type: Side } }

    #[test]
    fn every_label_set_has_its_own_position_and_the_position_gives_the_values_back() {
        let mut seen = Vec::new();
        for &side in Side::ALL {
            for &outcome in Outcome::ALL {
                let labels = Order { side, outcome };
                assert_eq!(values_at::<Order>(labels.position()), labels.values());
                seen.push(labels.position());
            }
        }
        assert_eq!(seen, (0..Order::COMBINATIONS).collect::<Vec<_>>());
        assert!(is_finite::<Order>());
    }

    #[test]
    fn a_label_may_be_a_keyword_of_the_language() {
        assert_eq!(Keyword::NAMES, ["type"]);
    }

    #[test]
    fn every_forbidden_name_is_refused_and_its_neighbours_are_not() {
        for name in FORBIDDEN_LABEL_NAMES {
            assert!(
                std::panic::catch_unwind(|| assert_label_name(name)).is_err(),
                "{name}"
            );
        }
        for name in ["strategy_id", "ccy", "side", "symbols", "le_", "limit_id"] {
            assert_label_name(name);
        }
        assert!(std::panic::catch_unwind(|| assert_label_name("__name__")).is_err());
    }
}
