//! Keys as nearly every writer spells them, taken apart where they stand: a start reads a million.
//!
//! Invariant: what is read here, [`Key::parse`](metricsd_shard::Key::parse) reads the same; everything out of the ordinary (escapes,
//! characters beyond ASCII, other blanks, labels out of order, names that are not legal) is left to it.

use metricsd_exporter::is_legal_label_name;

/// Labels that fit; keys with more are out of the ordinary.
const LABELS_MAX: usize = 8;

/// The parts of a key.
#[derive(Debug)]
pub(super) struct Plain<'a> {
    pub(super) family: &'a str,
    pub(super) sample: &'a str,
    pub(super) help: &'a str,
    labels: [(&'a str, &'a str); LABELS_MAX],
    label_count: usize,
}

impl<'a> Plain<'a> {
    pub(super) fn read(key: &'a [u8]) -> Option<Plain<'a>> {
        let mut rest = Rest(key);
        rest.skip(b"[")?;
        let family = rest.text()?;
        rest.skip(b", ")?;
        let sample = rest.text()?;
        rest.skip(b", {")?;
        let mut labels = [("", ""); LABELS_MAX];
        let mut label_count = 0;
        while rest.skip(b"}").is_none() {
            if label_count > 0 {
                rest.skip(b", ")?;
            }
            let name = rest.text()?;
            rest.skip(b": ")?;
            let value = rest.text()?;
            let is_in_order = label_count == 0 || labels[label_count - 1].0 < name;
            if !is_in_order || !is_legal_label_name(name) {
                return None;
            }
            *labels.get_mut(label_count)? = (name, value);
            label_count += 1;
        }
        rest.skip(b", ")?;
        let help = rest.text()?;
        rest.skip(b"]")?;
        let parts = Plain {
            family,
            sample,
            help,
            labels,
            label_count,
        };
        // A length beyond the limit is not ordinary either.
        let is_short = key.len() <= 1 << 16;
        (rest.0.is_empty() && is_short).then_some(parts)
    }

    /// Sorted by name, which are distinct and legal.
    pub(super) fn labels(&self) -> &[(&'a str, &'a str)] {
        &self.labels[..self.label_count]
    }
}

/// Whether a key is spelled as nearly every writer spells keys, and therefore is one.
pub fn is_plain_key(key: &[u8]) -> bool {
    Plain::read(key).is_some()
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn skip(&mut self, expected: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(expected)?;
        Some(())
    }

    /// A JSON string without escapes, of ASCII.
    fn text(&mut self) -> Option<&'a str> {
        self.skip(b"\"")?;
        let end = self
            .0
            .iter()
            .position(|byte| !matches!(byte, b' '..=b'~') || matches!(byte, b'"' | b'\\'))?;
        let (text, rest) = self.0.split_at(end);
        self.0 = rest;
        self.skip(b"\"")?;
        std::str::from_utf8(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use metricsd_shard::Key;
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(bytes: &[u8]) {
        let Some(plain) = Plain::read(bytes) else {
            return;
        };
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let key = Key {
            family: plain.family.to_owned(),
            sample: plain.sample.to_owned(),
            labels: plain.labels().iter().map(owned).collect(),
            help: plain.help.to_owned(),
        };
        assert_eq!(Key::parse(bytes), Ok(key));
    }

    #[test]
    fn what_writers_write_is_plain() {
        let key = br#"["f", "f_total", {"a": "1", "b": "x y"}, "Help."]"#;
        let plain = Plain::read(key).expect("nothing is out of the ordinary");
        assert_eq!(plain.labels(), [("a", "1"), ("b", "x y")]);
        check(key);
        assert!(Plain::read(br#"["f", "f", {"b": "", "a": ""}, ""]"#).is_none());
        assert!(Plain::read(br#"["f", "f", {"a": "\n"}, ""]"#).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn plain_keys_are_read_as_by_the_parser(
            text in prop::collection::vec(
                prop::sample::select(vec!["[", "\"f\"", ", ", "{", "\"a\"", "\"b\"", ": ", "}", "]", "\"\\n\"", "\"\"", " ", "\"é\""]), 0..24),
            labels in prop::collection::vec(("[a-c]{1,2}", "[ -~\n]{0,4}"), 0..10),
        ) {
            check(text.concat().as_bytes());
            let key = Key { family: "f".to_owned(), sample: "f_total".to_owned(), labels, help: "h".to_owned() };
            check(key.encode().as_bytes());
        }
    }
}
