//! The reader on bytes that no release wrote: random ones, random entries, files that grow, headers of every kind.
#![allow(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that does not hold"
)]

use metricsd_shard::{
    Damage, HEADER_LEN_BYTES, Key, Parsed, READ_LEN_MAX_BYTES, encode_entry, encode_header,
    entry_len_bytes, parse_from, read_value,
};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

/// A shard with these entries, and `spare` bytes of zeros behind them.
fn shard(entries: &[(Vec<u8>, f64, f64)], spare: usize) -> Vec<u8> {
    let body: Vec<u8> = entries
        .iter()
        .flat_map(|(key, value, timestamp)| encode_entry(key, *value, *timestamp))
        .collect();
    let mut bytes = encode_header(HEADER_LEN_BYTES + body.len()).to_vec();
    bytes.extend(body);
    bytes.resize(bytes.len() + spare, 0);
    bytes
}

fn key(name: &str) -> Vec<u8> {
    Key {
        family: name.into(),
        sample: name.into(),
        labels: Vec::new(),
        help: "h".into(),
    }
    .encode()
    .into_bytes()
}

fn parse(bytes: &[u8]) -> Parsed<'_> {
    parse_from(bytes, HEADER_LEN_BYTES)
}

fn with_used(mut bytes: Vec<u8>, used: i32) -> Vec<u8> {
    bytes[..4].copy_from_slice(&used.to_le_bytes());
    bytes
}

#[test]
fn a_fresh_shard_has_no_entries_and_no_damage() {
    let bytes = shard(&[], 64 << 10);
    assert_eq!(
        parse(&bytes),
        Parsed {
            entries: Vec::new(),
            end: HEADER_LEN_BYTES,
            damage: None
        }
    );
}

#[test]
fn every_kind_of_header_has_its_reason() {
    let bytes = shard(&[(key("a"), 1.0, 0.0), (key("b"), 2.0, 0.0)], 40);
    let used = i32::try_from(bytes.len() - 40).unwrap();
    let check = |bytes: &[u8], reason: Option<&str>, count: usize| {
        let parsed = parse(bytes);
        assert_eq!(
            parsed.damage.as_ref().map(Damage::reason),
            reason,
            "{:?}",
            parsed.damage
        );
        assert_eq!(parsed.entries.len(), count, "{:?}", parsed.damage);
    };
    check(&[], Some("empty"), 0);
    check(&bytes[..3], Some("short"), 0);
    check(&bytes[..7], Some("short"), 0);
    check(&[0; 8], Some("empty"), 0);
    check(&vec![0; 64 << 10], Some("empty"), 0);
    check(&with_used(bytes.clone(), -1), Some("truncated"), 0);
    check(&with_used(bytes.clone(), i32::MIN), Some("truncated"), 0);
    check(&with_used(bytes.clone(), 4), Some("truncated"), 0);
    check(&with_used(bytes.clone(), 7), Some("truncated"), 0);
    check(&with_used(bytes.clone(), 8), None, 0);
    check(&with_used(bytes.clone(), used - 1), Some("truncated"), 1);
    check(&with_used(bytes.clone(), used), None, 2);
    check(&with_used(bytes.clone(), used + 1), Some("truncated"), 2);
    check(&with_used(bytes.clone(), used + 40), Some("bad_key"), 2); // into the zeros
    // Beyond the end: the zeros come before it, and where they are not there, the end.
    check(&with_used(bytes.clone(), used + 41), Some("bad_key"), 2);
    check(&with_used(bytes.clone(), i32::MAX), Some("bad_key"), 2);
    let bytes = &bytes[..bytes.len() - 40];
    check(&with_used(bytes.to_vec(), used + 1), Some("truncated"), 2);
    check(&with_used(bytes.to_vec(), i32::MAX), Some("truncated"), 2);
}

#[test]
fn lengths_of_keys_that_lead_nowhere_end_the_walk() {
    let first = key("first");
    let second_at = HEADER_LEN_BYTES + entry_len_bytes(first.len());
    let bytes = shard(&[(first, 1.0, 0.0), (key("second"), 2.0, 0.0)], 0);
    for length in [0, -1, i32::MIN, i32::MAX, i32::MAX - 7, 1 << 20] {
        let mut bytes = bytes.clone();
        bytes[second_at..second_at + 4].copy_from_slice(&length.to_le_bytes());
        let parsed = parse(&bytes);
        assert_eq!(
            (parsed.entries.len(), parsed.end),
            (1, second_at),
            "length {length}"
        );
        let expected = if length <= 0 {
            Damage::BadKeyLength {
                offset: second_at,
                key_len: length,
            }
        } else {
            Damage::Overrun {
                offset: second_at,
                used_len_bytes: bytes.len(),
            }
        };
        assert_eq!(parsed.damage, Some(expected));
    }
}

#[test]
fn bad_keys_cost_only_themselves() {
    let bad: [&[u8]; 8] = [
        b"{}",
        b"not json at all",
        br#"["f", "s", {}]"#,
        br#"["f", "s", {"a": 1}, "h"]"#,
        br#"["f", "s", {}, "\ud800"]"#,
        b"[\"f\", \"s\", {}, \"\xff\"]",
        br#" ["f", "s", {}, "h"]"#,
        br#"["f", "s", {}, "h"] "#,
    ];
    let mut entries = vec![(key("first"), 1.0, 0.0)];
    entries.extend(bad.map(|bad| (bad.to_vec(), 2.0, 0.0)));
    entries.push((key("last"), 3.0, 0.0));
    let bytes = shard(&entries, 0);
    let parsed = parse(&bytes);
    let keys: Vec<&[u8]> = parsed.entries.iter().map(|entry| entry.key).collect();
    assert_eq!(keys, [key("first"), key("last")]);
    let offset = HEADER_LEN_BYTES + entry_len_bytes(key("first").len());
    assert_eq!(
        parsed.damage,
        Some(Damage::BadKey {
            offset,
            count: bad.len()
        })
    );
    assert_eq!(parsed.end, bytes.len());
}

#[test]
fn a_key_that_occurs_twice_is_given_twice() {
    let bytes = shard(&[(key("a"), 1.0, 0.0), (key("a"), 2.0, 0.0)], 0);
    let parsed = parse(&bytes);
    let values: Vec<f64> = parsed
        .entries
        .iter()
        .map(|entry| read_value(&bytes, entry.value_offset).0)
        .collect();
    assert_eq!(values, [1.0, 2.0]);
}

#[test]
fn beyond_the_limit_the_prefix_is_served_and_the_rest_reported() {
    let long = key(&"a".repeat(50_000));
    let entry_len = entry_len_bytes(long.len());
    let mut bytes = shard(
        &vec![(long, 1.0, 0.0); READ_LEN_MAX_BYTES / entry_len + 2],
        0,
    );
    let used_len_bytes = bytes.len();
    bytes.truncate(READ_LEN_MAX_BYTES);
    let parsed = parse(&bytes);
    assert_eq!(
        parsed.damage,
        Some(Damage::TooLarge {
            used_len_bytes,
            limit_bytes: READ_LEN_MAX_BYTES
        })
    );
    assert_eq!(
        parsed.entries.len(),
        (READ_LEN_MAX_BYTES - HEADER_LEN_BYTES) / entry_len
    );
}

#[test]
fn a_shard_that_shrank_below_what_was_parsed_is_damage() {
    let bytes = shard(&[(key("a"), 1.0, 0.0)], 0);
    let end = parse(&bytes).end;
    for (bytes, len_bytes) in [
        (with_used(bytes.clone(), 8), 8),
        (bytes[..end - 1].to_vec(), end - 1),
    ] {
        let parsed = parse_from(&bytes, end);
        assert_eq!(
            parsed,
            Parsed {
                entries: Vec::new(),
                end,
                damage: Some(Damage::Shrunk {
                    from: end,
                    len_bytes
                })
            }
        );
    }
    assert_eq!(
        parse_from(&bytes, usize::MAX).damage.unwrap().reason(),
        "truncated"
    );
}

#[test]
fn timestamps_of_any_century_are_not_taken_for_an_old_file() {
    let times = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        1.7e9,
        1_763_780_000.123_456,
        4.2e9,
        253_402_300_799.0,
        1e15,
        f64::NAN,
        f64::INFINITY,
    ];
    let entries: Vec<_> = times
        .into_iter()
        .map(|time| (key("a"), 1.0, time))
        .collect();
    let bytes = shard(&entries, 0);
    let parsed = parse(&bytes);
    assert_eq!((parsed.entries.len(), parsed.damage), (times.len(), None));
}

/// What a file of most-recent gauges is that were all set at `unix_seconds`, whole and in every state that damage leaves.
fn assert_times_are_no_keys(unix_seconds: f64) {
    let names = ["position_base", "equity_quote", "x"];
    let entries: Vec<_> = names
        .iter()
        .map(|name| (key(name), 1.0, unix_seconds))
        .collect();
    let bytes = shard(&entries, 0);
    for count in 0..=names.len() {
        let some = shard(&entries[..count], 64);
        let parsed = parse(&some);
        assert_eq!(
            (parsed.entries.len(), parsed.damage),
            (count, None),
            "{unix_seconds}"
        );
    }
    let first_end = HEADER_LEN_BYTES + entry_len_bytes(key(names[0]).len());
    let mut bad_key = bytes.clone();
    bad_key[first_end + 4] = 0;
    let mut bad_length = bytes.clone();
    bad_length[first_end..first_end + 4].copy_from_slice(b"name");
    for (damaged, count) in [
        (&bytes[..first_end], 1),
        (&bytes[..first_end + 9], 1),
        (&bytes[..bytes.len() - 9], 2),
        (&bad_key, 2),
        (&bad_length, 1),
    ] {
        let parsed = parse(damaged);
        assert_eq!(parsed.entries.len(), count, "{unix_seconds}");
        assert!(
            !matches!(parsed.damage, None | Some(Damage::OldFormat)),
            "{unix_seconds}"
        );
    }
}

/// Whether bytes 4 and 5 of this time are the two characters that every key begins with.
fn looks_like_the_start_of_a_key(unix_seconds: f64) -> bool {
    unix_seconds.to_le_bytes()[4..6] == *b"[\""
}

#[test]
fn times_with_the_first_characters_of_a_key_are_times() {
    let first_span = 1_753_836_544.0;
    let mut spans = 0;
    let mut start = first_span - f64::from(1 << 26) * 10.0;
    while start < f64::from(1_u32 << 31) {
        if start >= f64::from(1 << 30) {
            spans += 1;
            assert!(looks_like_the_start_of_a_key(start));
            assert!(!looks_like_the_start_of_a_key(start - 1.0));
            assert!(looks_like_the_start_of_a_key(start + 1023.0));
            assert!(!looks_like_the_start_of_a_key(start + 1024.0));
            for second in (0..1024).step_by(31) {
                for fraction in [0.0, 0.75, 0.123_456_7] {
                    assert_times_are_no_keys(start + f64::from(second) + fraction);
                }
            }
            // The lower half as small as the length of a key.
            for step in [14.0, 30.0, 40.0, 60.0, 200.0] {
                assert_times_are_no_keys(start + step / f64::from(1 << 22));
            }
        }
        start += f64::from(1 << 26);
    }
    assert_eq!(spans, 16);
}

#[test]
fn every_time_of_these_years_is_a_time() {
    let (start_of_2020, start_of_2039) = (1_577_836_800, 2_177_452_800_u32);
    let mut bytes = shard(&[(key("a"), 1.0, 0.0), (key("b"), 2.0, 0.0)], 0);
    let timestamps_at: Vec<usize> = parse(&bytes)
        .entries
        .iter()
        .map(|entry| entry.value_offset + 8)
        .collect();
    let mut hits = 0;
    for second in (start_of_2020..start_of_2039).step_by(512) {
        let unix_seconds = f64::from(second) + 0.5;
        hits += usize::from(looks_like_the_start_of_a_key(unix_seconds));
        for &at in &timestamps_at {
            bytes[at..at + 8].copy_from_slice(&unix_seconds.to_le_bytes());
        }
        let parsed = parse(&bytes);
        assert_eq!(
            (parsed.entries.len(), parsed.damage),
            (2, None),
            "{unix_seconds}"
        );
    }
    assert!(hits >= 9, "the spans were passed over");
}

/// A lone gauge set in milliseconds, which nobody should do, is a whole file of today's layout all the same.
#[test]
fn a_file_whose_entries_lead_to_its_end_is_never_old() {
    let magic = f64::from_le_bytes(*b"\x20\0\0\0[\"ab");
    let bytes = shard(&[(key("a"), 1.0, magic), (key("b"), 2.0, magic)], 8);
    assert_eq!(
        (parse(&bytes).entries.len(), parse(&bytes).damage),
        (2, None)
    );
}

#[test]
fn a_value_beyond_the_bytes_is_not_a_number() {
    for offset in [8, 9, 16, usize::MAX] {
        assert!(read_value(&[0; 8], offset).0.is_nan());
    }
    assert_eq!(read_value(&[0; 8], 0), (0.0, 0.0));
}

/// Names and texts of every kind of character, control characters and astral ones among them.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[ -~]{0,20}",
        vec(any::<char>(), 0..8).prop_map(String::from_iter)
    ]
}

fn any_key() -> impl Strategy<Value = Key> {
    (
        any_text(),
        any_text(),
        btree_map(any_text(), any_text(), 0..5),
        any_text(),
    )
        .prop_map(|(family, sample, labels, help)| Key {
            family,
            sample,
            labels: labels.into_iter().collect(),
            help,
        })
}

/// Bytes that are often nearly a shard: entries with good and bad keys, then some bytes replaced.
fn nearly_a_shard() -> impl Strategy<Value = Vec<u8>> {
    let key = prop_oneof![3 => any_key().prop_map(|key| key.encode().into_bytes()), 1 => vec(any::<u8>(), 0..40)];
    let entries = vec((key, any::<f64>(), any::<f64>()), 0..6);
    let damage = vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (entries, 0..64usize, damage).prop_map(|(entries, spare, damage)| {
        let mut bytes = shard(&entries, spare);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    })
}

/// What must hold whatever the bytes are.
fn assert_total(bytes: &[u8], from: usize) -> Result<(), TestCaseError> {
    let parsed = parse_from(bytes, from);
    let start = from.max(HEADER_LEN_BYTES);
    prop_assert!(parsed.end >= start);
    prop_assert!(parsed.end == start || parsed.end <= bytes.len());
    let mut last_end = start;
    for entry in &parsed.entries {
        prop_assert_eq!(
            &bytes[entry.value_offset - (entry_len_bytes(entry.key.len()) - 20)..]
                [..entry.key.len()],
            entry.key
        );
        prop_assert!(Key::parse(entry.key).is_ok());
        prop_assert!(entry.value_offset + 16 >= last_end + entry_len_bytes(entry.key.len()));
        last_end = entry.value_offset + 16;
        read_value(bytes, entry.value_offset);
    }
    prop_assert!(last_end <= parsed.end);
    if let Some(damage) = parsed.damage {
        prop_assert!(metricsd_shard::REASONS.contains(&damage.reason()));
        prop_assert!(!damage.to_string().is_empty());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_key_survives_encoding(key in any_key()) {
        let encoded = key.encode();
        prop_assert!(encoded.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
        prop_assert_eq!(Key::parse(encoded.as_bytes()), Ok(key));
    }

    #[test]
    fn any_entries_survive_encoding(entries in vec((any_key(), any::<f64>(), 0.0..4e9f64), 0..8), spare in 0..100usize) {
        let encoded: Vec<_> = entries.iter().map(|(key, value, time)| (key.encode().into_bytes(), *value, *time)).collect();
        let bytes = shard(&encoded, spare);
        let parsed = parse(&bytes);
        prop_assert_eq!(parsed.damage, None);
        prop_assert_eq!(parsed.end, bytes.len() - spare);
        prop_assert_eq!(parsed.entries.len(), entries.len());
        for (entry, (key, value, time)) in parsed.entries.iter().zip(&entries) {
            prop_assert_eq!(Key::parse(entry.key), Ok(key.clone()));
            let (read, read_time) = read_value(&bytes, entry.value_offset);
            prop_assert_eq!((read.to_bits(), read_time), (value.to_bits(), *time));
            prop_assert_eq!(entry.value_offset % 8, 0);
        }
    }

    #[test]
    fn a_growing_shard_parsed_step_by_step_is_the_shard_parsed_at_once(
        entries in vec((any_key(), any::<f64>(), 0.0..4e9f64), 1..8),
        steps in vec(0..8usize, 0..5),
    ) {
        let encoded: Vec<_> = entries.iter().map(|(key, value, time)| (key.encode().into_bytes(), *value, *time)).collect();
        let mut steps: Vec<usize> = steps.into_iter().map(|step| step.min(entries.len())).collect();
        steps.sort_unstable();
        steps.push(entries.len());
        let (mut from, mut found) = (HEADER_LEN_BYTES, Vec::new());
        for step in steps {
            let bytes = shard(&encoded[..step], 24);
            let parsed = parse_from(&bytes, from);
            prop_assert_eq!(parsed.damage, None);
            found.extend(parsed.entries.iter().map(|entry| (entry.key.to_vec(), entry.value_offset)));
            from = parsed.end;
        }
        let bytes = shard(&encoded, 24);
        let at_once: Vec<_> = parse(&bytes).entries.iter().map(|entry| (entry.key.to_vec(), entry.value_offset)).collect();
        prop_assert_eq!(found, at_once);
    }

    #[test]
    fn any_bytes_give_a_prefix_or_a_damage(bytes in vec(any::<u8>(), 0..300), from in 0..400usize) {
        assert_total(&bytes, HEADER_LEN_BYTES)?;
        assert_total(&bytes, from)?;
        Key::parse(&bytes).ok();
    }

    #[test]
    fn bytes_that_are_nearly_a_shard_give_a_prefix_or_a_damage(bytes in nearly_a_shard(), from in 0..400usize) {
        assert_total(&bytes, HEADER_LEN_BYTES)?;
        assert_total(&bytes, from)?;
    }

    #[test]
    fn what_is_checked_is_what_is_parsed(bytes in prop_oneof![
        vec(any::<u8>(), 0..40),
        (any_key(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(key, at, byte)| {
            let mut bytes = key.encode().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes
        }),
    ]) {
        prop_assert_eq!(Key::check(&bytes), Key::parse(&bytes).map(|_| ()));
    }
}
