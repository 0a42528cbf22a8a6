//! A set of labels in one piece of bytes: each name and each value, with a zero byte behind it.
//!
//! Invariant: the order of the bytes is the order of the labels, name by name and value by value, and each set has one spelling. A zero
//! inside a name or value is followed by 0xff, which is in no text. Must not touch: what the labels mean.

use std::borrow::Cow;

/// Names or values end here.
const END: u8 = 0;
/// Behind [`END`]: it was none.
const NO_END: u8 = 0xff;

/// Appends one label.
pub(super) fn push(set: &mut Vec<u8>, name: &str, value: &str) {
    for text in [name, value] {
        let mut rest = text.as_bytes();
        while let Some(at) = rest.iter().position(|byte| *byte == END) {
            set.extend_from_slice(&rest[..=at]);
            set.push(NO_END);
            rest = &rest[at + 1..];
        }
        set.extend_from_slice(rest);
        set.push(END);
    }
}

/// The labels of a set, in their order.
pub(super) fn labels(set: &[u8]) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
    let mut labels = Vec::with_capacity(2);
    let mut rest = set;
    while !rest.is_empty() {
        let name = take(&mut rest);
        labels.push((name, take(&mut rest)));
    }
    labels
}

/// The first text of `rest`, which is left behind it.
fn take<'a>(rest: &mut &'a [u8]) -> Cow<'a, str> {
    let mut end = 0;
    let mut has_zeros = false;
    let text = loop {
        let found = rest[end..].iter().position(|byte| *byte == END);
        end += found.unwrap_or(rest.len() - end);
        match rest.get(end + 1) {
            Some(&NO_END) => {
                has_zeros = true;
                end += 2;
            }
            _ => break &rest[..end],
        }
    };
    *rest = rest.get(end + 1..).unwrap_or_default();
    let is_text = "made of texts, and cut where they were joined";
    if !has_zeros {
        return Cow::Borrowed(std::str::from_utf8(text).expect(is_text));
    }
    let text = text.iter().copied().filter(|byte| *byte != NO_END);
    Cow::Owned(String::from_utf8(text.collect()).expect(is_text))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_labels() -> impl Strategy<Value = Vec<(String, String)>> {
        prop::collection::vec(("[a-b_]{0,2}", "[\0\u{1}a-bé]{0,3}"), 0..4)
    }

    fn packed(labels: &[(String, String)]) -> Vec<u8> {
        let mut set = Vec::new();
        labels
            .iter()
            .for_each(|(name, value)| push(&mut set, name, value));
        set
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn sets_are_read_back_and_ordered_as_their_labels_are(a in any_labels(), b in any_labels()) {
            let set = packed(&a);
            let read = labels(&set).into_iter().map(|(name, value)| (name.into_owned(), value.into_owned()));
            prop_assert_eq!(&read.collect::<Vec<_>>(), &a);
            prop_assert_eq!(packed(&a).cmp(&packed(&b)), a.cmp(&b));
        }
    }
}
