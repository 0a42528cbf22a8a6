//! The reader against shards that real releases of `prometheus_client` wrote, whole and damaged in every place. Judge:
//! Python's own reader, whose answers are stored beside the shards.
#![allow(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that does not hold"
)]

mod golden_files;

use golden_files::{CURRENT, Expected, Golden, OLD, used_len};
use metricsd_shard::{Damage, HEADER_LEN_BYTES, Key, Parsed, ShardName, parse_from, read_value};

/// What a byte is replaced with: every single bit flipped, and a few at once.
const MASKS: [u8; 11] = [1, 2, 4, 8, 16, 32, 64, 128, 0xff, 0x0f, 0x55];

#[test]
fn every_release_from_0_18_on_reads_as_python_reads_it() {
    for golden in golden_files::of(&CURRENT) {
        let parsed = parse_from(&golden.bytes, HEADER_LEN_BYTES);
        let path = golden.path.display();
        assert_eq!(parsed.damage, None, "{path}");
        assert_eq!(parsed.end, used_len(&golden.bytes), "{path}");
        assert_eq!(parsed.entries.len(), golden.expected.len(), "{path}");
        assert!(!golden.expected.is_empty(), "{path}");
        for (entry, expected) in parsed.entries.iter().zip(&golden.expected) {
            assert_eq!(entry.key, expected.key.as_bytes(), "{path}");
            assert_eq!(entry.value_offset, expected.value_offset, "{path}");
            let (value, timestamp) = read_value(&golden.bytes, entry.value_offset);
            assert_eq!(
                (value.to_bits(), timestamp.to_bits()),
                expected.bits(),
                "{path}"
            );
            let key = Key::parse(entry.key).unwrap();
            assert_eq!(key, expected.parsed_key(), "{path}");
            assert_eq!(key.encode(), expected.key, "{path}");
        }
        ShardName::parse(golden.path.file_name().unwrap().to_str().unwrap()).unwrap();
    }
}

#[test]
fn every_release_from_0_18_on_writes_the_same_bytes() {
    let per_release = golden_files::of(&CURRENT).len() / CURRENT.len();
    assert_eq!(golden_files::distinct(&CURRENT).len(), per_release);
}

#[test]
fn every_release_before_0_18_is_refused_as_a_whole() {
    for golden in golden_files::of(&OLD) {
        let parsed = parse_from(&golden.bytes, HEADER_LEN_BYTES);
        assert_eq!(
            parsed.damage,
            Some(Damage::OldFormat),
            "{}",
            golden.path.display()
        );
        assert_eq!(
            (parsed.entries.len(), parsed.end),
            (0, HEADER_LEN_BYTES),
            "{}",
            golden.path.display()
        );
    }
}

#[test]
fn old_files_at_their_full_length_are_refused_too() {
    // The golden files lack the zeros up to 64 KiB or 1 MiB that a running process has on disk.
    for golden in golden_files::of(&OLD) {
        let mut bytes = golden.bytes;
        bytes.resize(1 << 20, 0);
        assert_eq!(
            parse_from(&bytes, HEADER_LEN_BYTES).damage,
            Some(Damage::OldFormat),
            "{}",
            golden.path.display()
        );
    }
}

#[test]
fn a_shard_cut_at_any_byte_gives_the_entries_before_the_cut() {
    for golden in golden_files::distinct(&CURRENT) {
        let used = used_len(&golden.bytes);
        for len in 0..=golden.bytes.len() {
            let parsed = parse_from(&golden.bytes[..len], HEADER_LEN_BYTES);
            let whole = golden
                .expected
                .iter()
                .filter(|expected| expected.range().end <= len)
                .count();
            assert_is_prefix(&parsed, &golden, whole);
            let damage = match len {
                0 => Some(Damage::Empty),
                1..HEADER_LEN_BYTES => Some(Damage::Short { len_bytes: len }),
                _ if len < used => Some(Damage::Truncated {
                    used_len_bytes: used,
                    len_bytes: len,
                }),
                _ => None,
            };
            assert_eq!(
                parsed.damage,
                damage,
                "{} cut to {len}",
                golden.path.display()
            );
        }
    }
}

#[test]
fn any_used_length_gives_the_entries_within_it() {
    for golden in golden_files::distinct(&CURRENT) {
        let old_end_of_first = golden.expected[0].range().end - 8;
        let mut bytes = golden.bytes.clone();
        for used in HEADER_LEN_BYTES..=used_len(&golden.bytes) {
            bytes[..4].copy_from_slice(&i32::try_from(used).unwrap().to_le_bytes());
            let parsed = parse_from(&bytes, HEADER_LEN_BYTES);
            let whole = golden
                .expected
                .iter()
                .filter(|expected| expected.range().end <= used)
                .count();
            assert_is_prefix(&parsed, &golden, whole);
            let ends_with_an_entry = used == parsed.end;
            assert_eq!(
                parsed.damage.is_none(),
                ends_with_an_entry,
                "{} used {used}",
                golden.path.display()
            );
            // One entry that ends after its value is exactly what an old release writes.
            assert_eq!(
                parsed.damage == Some(Damage::OldFormat),
                used == old_end_of_first,
                "{} used {used}",
                golden.path.display()
            );
        }
    }
}

#[test]
fn a_flipped_byte_costs_entries_and_never_invents_one() {
    for golden in golden_files::distinct(&CURRENT) {
        let mut bytes = golden.bytes.clone();
        for at in 0..bytes.len() {
            for mask in MASKS {
                bytes[at] ^= mask;
                let parsed = parse_from(&bytes, HEADER_LEN_BYTES);
                assert_genuine(&parsed, &golden, at);
                // Only a used length that stops after the first value looks like an old file.
                if parsed.damage == Some(Damage::OldFormat) {
                    assert!(
                        at < 4,
                        "{}: byte {at} flipped by {mask:#x} is taken for an old file",
                        golden.path.display()
                    );
                }
                bytes[at] ^= mask;
            }
        }
    }
}

#[test]
fn a_flipped_byte_in_a_value_costs_nothing_but_that_value() {
    for golden in golden_files::distinct(&CURRENT) {
        let mut bytes = golden.bytes.clone();
        for expected in &golden.expected {
            for at in expected.value_offset..expected.value_offset + 8 {
                bytes[at] ^= 0xff;
                let parsed = parse_from(&bytes, HEADER_LEN_BYTES);
                assert_is_prefix(&parsed, &golden, golden.expected.len());
                assert_eq!(parsed.damage, None);
                bytes[at] ^= 0xff;
            }
        }
    }
}

#[test]
fn an_old_file_cut_at_any_byte_gives_no_entry() {
    for golden in golden_files::distinct(&OLD) {
        for len in 0..used_len(&golden.bytes) {
            let parsed = parse_from(&golden.bytes[..len], HEADER_LEN_BYTES);
            assert!(
                parsed.entries.is_empty(),
                "{} cut to {len}",
                golden.path.display()
            );
            assert!(
                parsed.damage.is_some(),
                "{} cut to {len}",
                golden.path.display()
            );
        }
    }
}

/// One exception is inherent: a single entry whose used length was raised over the zeros behind it *is* a file of today's
/// layout, and its value is the right one.
#[test]
fn an_old_file_with_a_flipped_byte_is_never_misread() {
    for golden in golden_files::distinct(&OLD) {
        let mut bytes = golden.bytes.clone();
        let is_single = golden.path.ends_with("counter_1.db");
        for at in 0..used_len(&golden.bytes) {
            for mask in MASKS {
                bytes[at] ^= mask;
                let parsed = parse_from(&bytes, HEADER_LEN_BYTES);
                if !parsed.entries.is_empty() {
                    let path = golden.path.display();
                    assert!(
                        is_single && at < 4,
                        "{path}: byte {at} flipped by {mask:#x} gives {:?}",
                        parsed.entries
                    );
                    assert_eq!(parsed.entries.len(), 1, "{path}");
                    assert_eq!(
                        read_value(&bytes, parsed.entries[0].value_offset),
                        (3.0, 0.0),
                        "{path}"
                    );
                }
                bytes[at] ^= mask;
            }
        }
    }
}

fn assert_is_prefix(parsed: &Parsed<'_>, golden: &Golden, count: usize) {
    // A file that looks old gives nothing.
    let count = if parsed.damage == Some(Damage::OldFormat) {
        0
    } else {
        count
    };
    assert_eq!(parsed.entries.len(), count, "{}", golden.path.display());
    for (entry, expected) in parsed.entries.iter().zip(&golden.expected) {
        assert_eq!(
            (entry.key, entry.value_offset),
            (expected.key.as_bytes(), expected.value_offset)
        );
    }
}

/// Every entry stands where a genuine one stands, and has its key, unless the flipped byte is in that very key or its length.
fn assert_genuine(parsed: &Parsed<'_>, golden: &Golden, flipped: usize) {
    let mut last_offset = 0;
    for entry in &parsed.entries {
        let path = golden.path.display();
        assert!(entry.value_offset > last_offset, "{path}");
        last_offset = entry.value_offset;
        let genuine: &Expected = golden
            .expected
            .iter()
            .find(|expected| expected.value_offset == entry.value_offset)
            .unwrap_or_else(|| {
                panic!(
                    "{path}: byte {flipped} flipped invents an entry at {}",
                    entry.value_offset
                )
            });
        let key_start = genuine.range().start + 4;
        if !(key_start..key_start + genuine.key.len()).contains(&flipped) {
            assert_eq!(
                entry.key,
                genuine.key.as_bytes(),
                "{path}: byte {flipped} flipped"
            );
        }
    }
    let genuine_count = golden.expected.len();
    assert!(
        parsed.damage.is_some() || parsed.entries.len() == genuine_count || flipped < 4,
        "{}: byte {flipped} loses entries in silence",
        golden.path.display()
    );
}
