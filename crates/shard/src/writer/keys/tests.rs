//! Keys come back as they were given, and equal ones once.

use super::*;

fn key(sample: &str, labels: &[(&str, &str)], help: &str) -> Key {
    let labels = labels
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Key {
        family: "f".to_owned(),
        sample: sample.to_owned(),
        labels,
        help: help.to_owned(),
    }
}

#[test]
fn every_key_is_found_again_and_reads_as_it_was_given() {
    let mut keys = Keys::default();
    let long = "é".repeat(300);
    let of = |number: usize| {
        let value = number.to_string();
        let labels: &[(&str, &str)] = match number % 5 {
            0 => &[],
            1 => &[("a", &value)],
            2 => &[("a", &value), ("b", "")],
            3 => &[("a", ""), ("b", &value)],
            _ => &[("a", &long), ("b", &value)],
        };
        let kind = [FileKind::Counter, FileKind::Histogram][number / 1_000];
        let sample = format!(
            "s{}",
            if number.is_multiple_of(5) {
                number
            } else {
                number % 7
            }
        );
        (kind, key(&sample, labels, &"h".repeat(number % 3)))
    };
    let kinds_and_keys: Vec<_> = (0..2_000).map(of).collect();
    for round in 0..2 {
        for (place, (kind, key)) in kinds_and_keys.iter().enumerate() {
            assert_eq!(
                keys.find_or_add(*kind, key.clone()),
                place,
                "{round} {key:?}"
            );
        }
        assert_eq!(keys.len, kinds_and_keys.len());
    }
    for (place, (kind, key)) in kinds_and_keys.iter().enumerate() {
        assert_eq!((keys.kind(place), &keys.key(place)), (*kind, key));
        assert_eq!(keys.text(place), key.encode());
    }
}

#[test]
fn what_differs_in_anything_is_another_key_and_the_order_of_labels_is_nothing() {
    let mut keys = Keys::default();
    let one = key("s", &[("a", "1"), ("b", "2")], "h");
    let others = [
        key("s2", &[("a", "1"), ("b", "2")], "h"),
        key("s", &[("a", "1"), ("b", "2")], ""),
        key("s", &[("a", "12"), ("b", "")], "h"),
        key("s", &[("a", ""), ("b", "12")], "h"),
        key("s", &[("a", "1"), ("c", "2")], "h"),
        key("s", &[("a", "1")], "h"),
        key("s", &[], "h"),
    ];
    assert_eq!(keys.find_or_add(FileKind::Counter, one.clone()), 0);
    for (place, other) in others.into_iter().enumerate() {
        assert_eq!(keys.find_or_add(FileKind::Counter, other), place + 1);
    }
    assert_eq!(keys.find_or_add(FileKind::Histogram, one), 8);
    let turned = key("s", &[("b", "2"), ("a", "1")], "h");
    assert_eq!(keys.find_or_add(FileKind::Counter, turned), 0);
}

#[test]
fn what_no_reader_accepts_reads_as_it_came_and_a_label_said_twice_as_a_reader_has_it() {
    let mut keys = Keys::default();
    let labels: Vec<_> = (0..300).map(|n| format!("l{n:03}")).collect();
    let labels: Vec<_> = labels.iter().map(|name| (name.as_str(), "x")).collect();
    let too_many = key("s", &labels, "h");
    let place = keys.find_or_add(FileKind::Counter, too_many.clone());
    assert_eq!(keys.key(place), too_many);
    let twice = key("s", &[("a", "1"), ("a", "2")], "h");
    let place = keys.find_or_add(FileKind::Counter, twice);
    assert_eq!(keys.key(place), key("s", &[("a", "2")], "h"));
}

#[test]
fn numbers_of_any_length_are_read_back() {
    for number in [
        0,
        1,
        127,
        128,
        300,
        16_383,
        16_384,
        usize::MAX >> 1,
        usize::MAX,
    ] {
        let mut bytes = Vec::new();
        push_number(&mut bytes, number);
        bytes.push(7);
        let mut rest = bytes.as_slice();
        assert_eq!(take_number(&mut rest), number);
        assert_eq!(rest, [7]);
    }
}
