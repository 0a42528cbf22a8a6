//! The key of an entry: JSON text `[family, sample, {label: value}, help]`. Pure.
//!
//! Invariant: `encode` writes exactly what Python's `json.dumps` writes, so that a series has one spelling whoever wrote it;
//! `parse` accepts any JSON spelling of the same shape and nothing else.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use thiserror::Error;

/// Longest key that is read, in bytes. A key is names, label values and a help text; a longer one is damage or an attack
/// on memory.
pub const KEY_LEN_MAX_BYTES: usize = 1 << 20;

/// Most labels that a key may have.
pub const LABEL_COUNT_MAX: usize = 256;

/// What an entry is a value of.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Metric family; a counter's without `_total`.
    pub family: String,
    /// Sample name: `x_total`, `x_bucket`, `x_sum`, `x_count`, or the family's name.
    pub sample: String,
    /// Distinct names with their values, sorted by name (code points); a bucket's `le` is among them.
    pub labels: Vec<(String, String)>,
    /// Help text.
    pub help: String,
}

/// A key that is not `[family, sample, {label: value}, help]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Longer than [`KEY_LEN_MAX_BYTES`].
    #[error("a key of {len_bytes} bytes; at most {KEY_LEN_MAX_BYTES} are accepted")]
    TooLong {
        /// Its length.
        len_bytes: usize,
    },
    /// More labels than [`LABEL_COUNT_MAX`].
    #[error("a key with {count} labels; at most {LABEL_COUNT_MAX} are accepted")]
    TooManyLabels {
        /// How many it has.
        count: usize,
    },
    /// Not JSON (a wrong character, bytes that are not UTF-8, half a surrogate pair, text that is cut short), or JSON of
    /// another shape.
    #[error(
        "a malformed key, wrong from column {column} on; expected the JSON text [family, sample, {{label: value}}, help]"
    )]
    Malformed {
        /// Where it goes wrong, counted from 1 in bytes.
        column: usize,
    },
}

impl Key {
    /// The key as Python's `json.dumps(.., sort_keys=True)` spells it; it is ASCII. Labels out of order are put in order.
    pub fn encode(&self) -> String {
        let mut labels: Vec<&(String, String)> = self.labels.iter().collect();
        labels.sort_by(|a, b| a.0.cmp(&b.0));
        let labels = labels
            .into_iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        encode_parts(&self.family, &self.sample, labels, &self.help)
    }

    /// Reads any JSON spelling of a key: raw UTF-8 or escapes, blanks anywhere, labels in any order. Of a label that occurs
    /// twice the last value holds, as in Python.
    ///
    /// # Errors
    /// Anything that is not four elements of the right types, or beyond the limits.
    pub fn parse(bytes: &[u8]) -> Result<Key, KeyError> {
        let (family, sample, mut labels, help) = read_shape::<String>(bytes)?;
        // Reversed first: the sort is stable, so the last of equal names comes first and is the one that is kept.
        labels.reverse();
        labels.sort_by(|a, b| a.0.cmp(&b.0));
        labels.dedup_by(|later, kept| later.0 == kept.0);
        Ok(Key {
            family,
            sample,
            labels,
            help,
        })
    }

    /// Whether [`Key::parse`] would accept these bytes, without building the key.
    ///
    /// # Errors
    /// Those of [`Key::parse`].
    pub fn check(bytes: &[u8]) -> Result<(), KeyError> {
        read_shape::<AnyString>(bytes).map(|_| ())
    }
}

/// As [`Key::encode`]; the labels are in order.
pub(crate) fn encode_parts<'a>(
    family: &str,
    sample: &str,
    labels: impl Iterator<Item = (&'a str, &'a str)>,
    help: &str,
) -> String {
    let mut out = String::with_capacity(64 + family.len() + sample.len() + help.len());
    out.push('[');
    push_string(&mut out, family);
    out.push_str(", ");
    push_string(&mut out, sample);
    out.push_str(", {");
    for (index, (name, value)) in labels.enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        push_string(&mut out, name);
        out.push_str(": ");
        push_string(&mut out, value);
    }
    out.push_str("}, ");
    push_string(&mut out, help);
    out.push(']');
    out
}

/// Whether these are a key's bytes and no others. Blanks around it, which JSON allows, mean that the length is damaged and
/// the value elsewhere: writers put them between key and value, and the length does not count them.
pub(crate) fn is_whole(key: &[u8]) -> bool {
    key.starts_with(b"[") && key.ends_with(b"]") && Key::check(key).is_ok()
}

/// Whether these bytes are a key of a release before 0.16: three elements, or label names and values as two lists.
pub(crate) fn is_old_shape(bytes: &[u8]) -> bool {
    type WithoutHelp = (AnyString, AnyString, Labels<AnyString>);
    type WithLists = (AnyString, AnyString, Vec<AnyString>, Vec<AnyString>);
    bytes.len() <= KEY_LEN_MAX_BYTES
        && (serde_json::from_slice::<WithoutHelp>(bytes).is_ok()
            || serde_json::from_slice::<WithLists>(bytes).is_ok())
}

/// Appends a JSON string as Python writes it: ASCII only, lower-case hexadecimal, `/` as it is, 0x7f escaped too.
fn push_string(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' => out.push(character),
            _ => character
                .encode_utf16(&mut [0; 2])
                .iter()
                .for_each(|&unit| push_escaped_unit(out, unit)),
        }
    }
    out.push('"');
}

fn push_escaped_unit(out: &mut String, unit: u16) {
    out.push_str("\\u");
    for shift in [12, 8, 4, 0] {
        out.push(char::from(
            b"0123456789abcdef"[usize::from((unit >> shift) & 0xf)],
        ));
    }
}

type Shape<S> = (S, S, Vec<(S, S)>, S);

/// The one description of a key's shape, for building a key (`S` = `String`) and for checking one (`S` = `AnyString`).
fn read_shape<'de, S: Deserialize<'de>>(bytes: &'de [u8]) -> Result<Shape<S>, KeyError> {
    if bytes.len() > KEY_LEN_MAX_BYTES {
        return Err(KeyError::TooLong {
            len_bytes: bytes.len(),
        });
    }
    // The message of `serde_json` may quote the input at length; the column says enough.
    let (family, sample, Labels(labels), help) =
        serde_json::from_slice::<(S, S, Labels<S>, S)>(bytes).map_err(|error| {
            KeyError::Malformed {
                column: error.column(),
            }
        })?;
    if labels.len() > LABEL_COUNT_MAX {
        return Err(KeyError::TooManyLabels {
            count: labels.len(),
        });
    }
    Ok((family, sample, labels, help))
}

/// The pairs of a JSON object in their order.
struct Labels<S>(Vec<(S, S)>);

impl<'de, S: Deserialize<'de>> Deserialize<'de> for Labels<S> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Labels<S>, D::Error> {
        struct Pairs<S>(PhantomData<S>);

        impl<'de, S: Deserialize<'de>> Visitor<'de> for Pairs<S> {
            type Value = Labels<S>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels<S>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Labels(pairs))
            }
        }

        deserializer.deserialize_map(Pairs(PhantomData))
    }
}

/// A string that is looked at and forgotten.
struct AnyString;

impl<'de> Deserialize<'de> for AnyString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<AnyString, D::Error> {
        struct Any;

        impl Visitor<'_> for Any {
            type Value = AnyString;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E>(self, _text: &str) -> Result<AnyString, E> {
                Ok(AnyString)
            }
        }

        deserializer.deserialize_str(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(labels: &[(&str, &str)], help: &str) -> Key {
        let labels = labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Key {
            family: "f".to_owned(),
            sample: "f_total".to_owned(),
            labels,
            help: help.to_owned(),
        }
    }

    #[test]
    fn spelling_is_that_of_json_dumps() {
        // Judge: python3 -c 'import json; print(json.dumps([..], sort_keys=True))'
        let check = |key: Key, expected: &str| {
            assert_eq!(key.encode(), expected);
            assert_eq!(Key::parse(expected.as_bytes()).as_ref(), Ok(&key));
        };
        check(key(&[], ""), r#"["f", "f_total", {}, ""]"#);
        check(
            key(&[("a", "1"), ("b", "2")], "h/h"),
            r#"["f", "f_total", {"a": "1", "b": "2"}, "h/h"]"#,
        );
        check(
            key(&[], "\"\\\n\r\t\u{8}\u{c}"),
            r#"["f", "f_total", {}, "\"\\\n\r\t\b\f"]"#,
        );
        check(
            key(&[], "\0\u{1f}\u{7f}\u{80}é€"),
            r#"["f", "f_total", {}, "\u0000\u001f\u007f\u0080\u00e9\u20ac"]"#,
        );
        check(
            key(&[], "\u{ffff}\u{10000}😀"),
            r#"["f", "f_total", {}, "\uffff\ud800\udc00\ud83d\ude00"]"#,
        );
        check(
            key(&[("Z", ""), ("a", ""), ("é", "")], ""),
            r#"["f", "f_total", {"Z": "", "a": "", "\u00e9": ""}, ""]"#,
        );
    }

    #[test]
    fn labels_out_of_order_are_put_in_order() {
        assert_eq!(
            key(&[("b", "2"), ("a", "1")], "").encode(),
            key(&[("a", "1"), ("b", "2")], "").encode()
        );
    }

    #[test]
    fn any_json_spelling_is_read() {
        let expected = key(&[("a", "é"), ("b", "2")], "h");
        for text in [
            r#"["f","f_total",{"b":"2","a":"é"},"h"]"#,
            " [ \"f\" ,\t\"f_total\" ,\r\n{ \"a\" : \"\\u00E9\" , \"b\" : \"2\" } , \"\\u0068\" ]  ",
            r#"["f","f_total",{"b":"1","a":"é","b":"2"},"h"]"#,
        ] {
            assert_eq!(
                Key::parse(text.as_bytes()).as_ref(),
                Ok(&expected),
                "{text}"
            );
        }
    }

    #[test]
    fn other_shapes_are_errors() {
        for text in [
            r#"["f", "s", {}]"#,
            r#"["f", "s", {}, "h", "more"]"#,
            r#"["f", "s", ["a"], ["1"]]"#,
            r#"["f", "s", {"a": 1}, "h"]"#,
            r#"["f", "s", {"a": null}, "h"]"#,
            r#"["f", "s", {}, null]"#,
            r#"[1, "s", {}, "h"]"#,
            r#"{"family": "f"}"#,
            r#""f""#,
        ] {
            assert!(
                matches!(Key::parse(text.as_bytes()), Err(KeyError::Malformed { .. })),
                "{text}"
            );
            assert_eq!(
                Key::check(text.as_bytes()),
                Key::parse(text.as_bytes()).map(|_| ())
            );
        }
    }

    #[test]
    fn what_is_not_json_is_an_error() {
        let texts: [&[u8]; 12] = [
            b"",
            b"    ",
            b"\0\0\0\0",
            b"[",
            br#"["f", "s", {}, "h""#,
            br#"["f", "s", {}, "h"] x"#,
            br#"["f", "s", {}, "\ud800"]"#,
            br#"["f", "s", {}, "\udc00\ud800"]"#,
            br#"["f", "s", {}, "\ud800\u0041"]"#,
            b"[\"f\", \"s\", {}, \"\xff\"]",
            b"[\"f\", \"s\", {}, \"\xed\xa0\x80\"]",
            b"[\"f\", \"s\", {}, \"\n\"]",
        ];
        for text in texts {
            assert!(
                matches!(Key::parse(text), Err(KeyError::Malformed { .. })),
                "{text:?}: {:?}",
                Key::parse(text)
            );
            assert_eq!(Key::check(text), Key::parse(text).map(|_| ()));
        }
    }

    #[test]
    fn limits_hold() {
        let long = format!(r#"["f", "s", {{}}, "{}"]"#, "h".repeat(KEY_LEN_MAX_BYTES));
        assert_eq!(
            Key::parse(long.as_bytes()),
            Err(KeyError::TooLong {
                len_bytes: long.len()
            })
        );

        let with_labels = |count: usize| {
            let labels: Vec<_> = (0..count)
                .map(|number| (format!("l{number:04}"), String::new()))
                .collect();
            Key {
                labels,
                ..key(&[], "")
            }
        };
        let most = with_labels(LABEL_COUNT_MAX);
        assert_eq!(Key::parse(most.encode().as_bytes()), Ok(most));
        let too_many = with_labels(LABEL_COUNT_MAX + 1).encode();
        assert_eq!(
            Key::parse(too_many.as_bytes()),
            Err(KeyError::TooManyLabels {
                count: LABEL_COUNT_MAX + 1
            })
        );
        assert_eq!(
            Key::check(too_many.as_bytes()),
            Err(KeyError::TooManyLabels {
                count: LABEL_COUNT_MAX + 1
            })
        );
    }

    #[test]
    fn error_text_does_not_quote_the_input() {
        let text = format!(r#"["f", "s", "{}", "h"]"#, "secret\u{1b}".repeat(100));
        let error = Key::parse(text.as_bytes()).unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn deep_nesting_is_an_error_and_not_an_overflow() {
        assert!(Key::parse("[".repeat(KEY_LEN_MAX_BYTES).as_bytes()).is_err());
        let nested = format!(r#"["f", "s", {}, "h"]"#, "{\"a\":".repeat(100_000));
        assert!(Key::parse(nested.as_bytes()).is_err());
    }

    #[test]
    fn old_shapes_are_three_elements_or_lists() {
        for text in [
            r#"["f", "s", {"a": "1"}]"#,
            r#"["f", "s", [], []]"#,
            r#"["f", "s", ["a"], ["1"]]"#,
        ] {
            assert!(is_old_shape(text.as_bytes()), "{text}");
        }
        for text in [
            r#"["f", "s", {}, "h"]"#,
            r#"["f", "s"]"#,
            r#"["f", "s", [], {}]"#,
            "x",
            "",
        ] {
            assert!(!is_old_shape(text.as_bytes()), "{text}");
        }
    }
}
